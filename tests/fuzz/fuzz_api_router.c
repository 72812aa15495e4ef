/* libFuzzer: any method and path against the routes of every service. The answer must be that of a
 * second, slower matcher, which cuts paths and patterns into segments first.
 *
 * The first byte chooses the service, the second the method (or one that the input spells, up to a
 * newline). The rest is the path; bytes above 127 stand for the segments of one of the routes, so
 * that deep paths are found soon. */
#include "api/internal.h"
#include "base/buf.h"
#include "must.h"

#include <errno.h>
#include <string.h>

#define SEGMENTS_MAX 64
#define PATH_MAX_BYTES (64 * 1024)

struct segments {
    struct {
        const char *text;
        size_t size;
    } at[SEGMENTS_MAX];
    size_t count; /* SEGMENTS_MAX: there may be more */
};

static const struct api_service_ops *const services[] = {&api_identity, &api_compute, &api_network,
                                                         &api_image};
static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "DELETE"};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void cut(const char *path, struct segments *ret)
{
    ret->count = 0;
    while (*path && ret->count < SEGMENTS_MAX) {
        const char *end = strchr(path, '/');
        size_t size = end ? (size_t)(end - path) : strlen(path);

        if (size > 0) {
            ret->at[ret->count].text = path;
            ret->at[ret->count++].size = size;
        }
        path += end ? size + 1 : size;
    }
}

/* Does the path match? Then `ret` has what each parameter of the pattern stands for. */
static bool matches(const char *pattern, const struct segments *path, struct segments *ret)
{
    struct segments want;

    cut(pattern, &want);
    must(want.count < SEGMENTS_MAX);
    ret->count = 0;
    if (want.count != path->count)
        return false;
    for (size_t i = 0; i < want.count; i++) {
        if (want.at[i].text[0] == '{') {
            if (path->at[i].size > 255)
                return false; /* longer than any id or name */
            ret->at[ret->count++] = path->at[i];
        } else if (want.at[i].size != path->at[i].size ||
                   strncmp(want.at[i].text, path->at[i].text, want.at[i].size) != 0) {
            return false;
        }
    }
    return true;
}

static int find(const struct api_service_ops *service, const char *method, const char *path,
                const struct api_route **ret_route, struct segments *ret_params)
{
    struct segments segments;
    int rc = -ENOENT;

    cut(path, &segments);
    for (size_t i = 0; i < service->route_count; i++) {
        const struct api_route *route = &service->routes[i];
        bool head = strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0;

        if (!matches(route->path, &segments, ret_params))
            continue;
        if (head || strcmp(route->method, method) == 0) {
            *ret_route = route;
            return 0;
        }
        rc = -ENOTSUP;
    }
    return rc;
}

static void check_params(const struct api_req *req, const struct segments *params)
{
    must(req->param_count == params->count && params->count <= API_PARAMS_MAX);
    for (size_t i = 0; i < params->count; i++) {
        const char *value = req->params[i].value;

        must(strlen(value) == params->at[i].size &&
             memcmp(value, params->at[i].text, params->at[i].size) == 0);
        must(req->params[i].name[0] && strlen(req->params[i].name) < sizeof(req->params[i].name));
        must(strcmp(api_param(req, req->params[i].name), value) == 0);
    }
    must(strcmp(api_param(req, "no such parameter"), "") == 0);
}

static void check(const struct api_service_ops *service, const char *method, const char *path)
{
    static struct api_req req;
    const struct api_route *route = NULL;
    struct segments params;
    int want = find(service, method, path, &route, &params), rc;

    memset(&req, 0x5a, sizeof(req));
    req.route = NULL;
    rc = api_route_find(service, method, path, &req);
    must(rc == want);
    if (rc < 0) {
        must(req.param_count == 0 && !req.route);
        return;
    }
    must(req.route == route && route->handler);
    check_params(&req, &params);
}

/* A byte above 127 is the next pattern of the service, with its parameters as they are spelt. */
static void make_path(const struct api_service_ops *service, const uint8_t *bytes, size_t size,
                      struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        size_t route = bytes[i] & 0x7f;

        if (i + 1 < size)
            route = (route << 3 ^ bytes[i + 1]) % service->route_count;
        if (bytes[i] < 0x80)
            buf_add(out, &bytes[i], 1);
        else
            buf_str(out, service->routes[route % service->route_count].path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct api_service_ops *service;
    const uint8_t *end = NULL;
    char method[32];
    struct buf path;

    if (size < 2)
        return 0;
    service = services[bytes[0] % (sizeof(services) / sizeof(services[0]))];
    snprintf(method, sizeof(method), "%s", methods[bytes[1] % 7]);
    if (bytes[1] & 0x80)
        end = memchr(bytes + 2, '\n', size - 2);
    if (end && (size_t)(end - bytes - 2) < sizeof(method)) {
        memcpy(method, bytes + 2, (size_t)(end - bytes - 2));
        method[end - bytes - 2] = '\0';
    }
    buf_init(&path, PATH_MAX_BYTES);
    if (end)
        make_path(service, end + 1, size - (size_t)(end + 1 - bytes), &path);
    else
        make_path(service, bytes + 2, size - 2, &path);
    check(service, method, buf_text(&path));
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
        check(services[i], "GET", buf_text(&path));
    buf_free(&path);
    return 0;
}
