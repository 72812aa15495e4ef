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

#define EVERY_SERVICE (~0U)

const struct api_error api_errors[] = {
    {400, EVERY_SERVICE, "body, query or a field is wrong; the message names it"},
    {401, EVERY_SERVICE, "no valid token"},
    {403, EVERY_SERVICE, "the role, or a limit, forbids it"},
    {404, EVERY_SERVICE, "there is no such path or thing, or it is another project's"},
    {405, EVERY_SERVICE, "the path does not know this method"},
    {406, 1U << API_COMPUTE, "no such microversion"},
    {409, EVERY_SERVICE, "it is in use, or there already, or others are changing it: try again"},
    {412, 1U << API_NETWORK, "it has another revision_number than If-Match says"},
    {413, EVERY_SERVICE, "the body is too large"},
    {415, 1U << API_IMAGE, "the bytes are not of the type, or of the format, that was said"},
    {416, 1U << API_IMAGE, "the image has no such range"},
    {500, 1U << API_IMAGE, "the image's bytes are not those that were uploaded"},
    {503, EVERY_SERVICE,
     "the replicated store or another host cannot be reached; the message says whether something "
     "may have been changed"},
    {507, EVERY_SERVICE, "no space is left"},
    {0, 0, NULL},
};

bool api_error_known(enum api_service service, unsigned status)
{
    for (size_t i = 0; api_errors[i].status; i++) {
        if (api_errors[i].status == status)
            return api_errors[i].services >> service & 1;
    }
    return false;
}
