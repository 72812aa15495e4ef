/* Matching of paths: "/v3/users/{id}/projects" against the decoded path, segment by segment. A
 * trailing slash is the same path. Literal segments win over parameters by the order of the rows.
 */
#include "api/internal.h"

#include <errno.h>
#include <string.h>

static bool take_param(struct api_req *req, const char *name, size_t name_size, const char *value,
                       size_t value_size)
{
    size_t n = req->param_count;

    if (n == API_PARAMS_MAX || name_size >= sizeof(req->params[n].name) ||
        value_size >= sizeof(req->params[n].value))
        return false;
    memcpy(req->params[n].name, name, name_size);
    req->params[n].name[name_size] = '\0';
    memcpy(req->params[n].value, value, value_size);
    req->params[n].value[value_size] = '\0';
    req->param_count++;
    return true;
}

static bool match(const char *pattern, const char *path, struct api_req *req)
{
    req->param_count = 0;
    for (;;) {
        size_t want, got;

        pattern += strspn(pattern, "/");
        path += strspn(path, "/");
        want = strcspn(pattern, "/");
        got = strcspn(path, "/");
        if (want == 0 || got == 0)
            return want == got;
        if (pattern[0] == '{' && pattern[want - 1] == '}') {
            if (!take_param(req, pattern + 1, want - 2, path, got))
                return false;
        } else if (want != got || memcmp(pattern, path, want) != 0) {
            return false;
        }
        pattern += want;
        path += got;
    }
}

int api_route_find(const struct api_service_ops *service, const char *method, const char *path,
                   struct api_req *req)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    int rc = -ENOENT;

    for (size_t i = 0; i < service->route_count; i++) {
        const struct api_route *route = &service->routes[i];

        if (!match(route->path, path, req))
            continue;
        if (strcmp(route->method, wanted) == 0 || strcmp(route->method, method) == 0) {
            req->route = route;
            return 0;
        }
        rc = -ENOTSUP;
    }
    req->param_count = 0;
    return rc;
}

size_t api_route_statuses(const struct api_route *route, unsigned short out[API_STATUSES_MAX])
{
    size_t n = 0;

    for (; n < API_STATUSES_MAX && route->statuses[n]; n++)
        out[n] = route->statuses[n];
    if (n == 0)
        out[n++] = strcmp(route->method, "POST") == 0     ? 201
                   : strcmp(route->method, "DELETE") == 0 ? 204
                                                          : 200;
    return n;
}
