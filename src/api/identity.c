/* The identity service (Keystone v3): its routes and its form of errors. */
#include "api/identity.h"

#include <stdio.h>

#define READ 0
#define OPEN API_PUBLIC
#define ADMIN API_ADMIN

/* {"GET", list} {"POST", create} {"GET", show} {"PATCH", update} {"DELETE", delete} */
#define ROWS(plural, list_flags, who)                                                              \
    {.method = "GET",                                                                              \
     .path = "/v3/" #plural,                                                                       \
     .handler = plural##_list,                                                                     \
     .flags = API_STEADY | (list_flags)},                                                          \
        {.method = "POST", .path = "/v3/" #plural, .handler = plural##_create, .flags = ADMIN},    \
        {.method = "GET", .path = "/v3/" #plural "/{id}", .handler = plural##_show, .doc = who},   \
        {.method = "PATCH",                                                                        \
         .path = "/v3/" #plural "/{id}",                                                           \
         .handler = plural##_update,                                                               \
         .flags = ADMIN},                                                                          \
    {                                                                                              \
        .method = "DELETE", .path = "/v3/" #plural "/{id}", .handler = plural##_delete,            \
        .flags = ADMIN                                                                             \
    }

#define GRANTS(scope)                                                                              \
    {.method = "GET",                                                                              \
     .path = scope "/users/{user}/roles",                                                          \
     .handler = grants_list,                                                                       \
     .flags = ADMIN},                                                                              \
        {.method = "GET",                                                                          \
         .path = scope "/users/{user}/roles/{role}",                                               \
         .handler = grants_check,                                                                  \
         .statuses = {204},                                                                        \
         .flags = ADMIN},                                                                          \
        {.method = "PUT",                                                                          \
         .path = scope "/users/{user}/roles/{role}",                                               \
         .handler = grants_put,                                                                    \
         .statuses = {204},                                                                        \
         .flags = ADMIN},                                                                          \
    {                                                                                              \
        .method = "DELETE", .path = scope "/users/{user}/roles/{role}", .handler = grants_delete,  \
        .flags = ADMIN                                                                             \
    }

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/",
     .handler = identity_versions,
     .flags = OPEN | API_NO_DB,
     .statuses = {300}},
    {.method = "GET", .path = "/v3", .handler = identity_version, .flags = OPEN | API_NO_DB},
    {.method = "POST",
     .path = "/v3/auth/tokens",
     .handler = tokens_issue,
     .flags = OPEN,
     .doc = "with a password, a token or an application credential"},
    {.method = "GET", .path = "/v3/auth/tokens", .handler = tokens_show},
    {.method = "DELETE", .path = "/v3/auth/tokens", .handler = tokens_revoke, .flags = API_READER},
    {.method = "GET", .path = "/v3/auth/catalog", .handler = catalog_list},
    {.method = "GET", .path = "/v3/auth/projects", .handler = auth_projects},
    {.method = "GET", .path = "/v3/auth/domains", .handler = auth_domains},
    {.method = "GET", .path = "/v3/auth/system", .handler = auth_system},
    ROWS(domains, ADMIN, "one's own; administrators: all"),
    ROWS(projects, ADMIN, "with a role on it; administrators: all"),
    {.method = "GET",
     .path = "/v3/projects/{id}/tags",
     .handler = tags_list,
     .doc = "with a role on it; administrators: all"},
    {.method = "PUT", .path = "/v3/projects/{id}/tags", .handler = tags_replace, .flags = ADMIN},
    {.method = "DELETE", .path = "/v3/projects/{id}/tags", .handler = tags_clear, .flags = ADMIN},
    {.method = "GET",
     .path = "/v3/projects/{id}/tags/{tag}",
     .handler = tag_check,
     .statuses = {204},
     .doc = "with a role on it; administrators: all"},
    {.method = "PUT",
     .path = "/v3/projects/{id}/tags/{tag}",
     .handler = tag_add,
     .statuses = {201},
     .flags = ADMIN},
    {.method = "DELETE",
     .path = "/v3/projects/{id}/tags/{tag}",
     .handler = tag_remove,
     .flags = ADMIN},
    ROWS(users, ADMIN, "oneself; administrators: all"),
    ROWS(roles, READ, NULL),
    {.method = "POST",
     .path = "/v3/users/{id}/password",
     .handler = users_password,
     .flags = OPEN,
     .statuses = {204},
     .doc = "with the old password"},
    {.method = "GET",
     .path = "/v3/users/{id}/projects",
     .handler = users_projects,
     .doc = "one's own; administrators: all"},
    {.method = "GET",
     .path = "/v3/users/{id}/groups",
     .handler = groups_none,
     .doc = "one's own; administrators: all"},
    {.method = "GET",
     .path = "/v3/users/{user}/application_credentials",
     .handler = credentials_list},
    {.method = "POST",
     .path = "/v3/users/{user}/application_credentials",
     .handler = credentials_create,
     .flags = API_READER},
    {.method = "GET",
     .path = "/v3/users/{user}/application_credentials/{id}",
     .handler = credentials_show},
    {.method = "DELETE",
     .path = "/v3/users/{user}/application_credentials/{id}",
     .handler = credentials_delete,
     .flags = API_READER},
    {.method = "GET", .path = "/v3/groups", .handler = groups_none, .flags = ADMIN},
    GRANTS("/v3/projects/{project}"),
    GRANTS("/v3/domains/{domain}"),
    GRANTS("/v3/system"),
    {.method = "GET",
     .path = "/v3/role_assignments",
     .handler = assignments_list,
     .doc = "one's own; administrators: all"},
    {.method = "GET", .path = "/v3/services", .handler = catalog_services, .flags = ADMIN},
    {.method = "GET", .path = "/v3/services/{id}", .handler = catalog_service, .flags = ADMIN},
    {.method = "GET", .path = "/v3/endpoints", .handler = catalog_endpoints, .flags = ADMIN},
    {.method = "GET", .path = "/v3/endpoints/{id}", .handler = catalog_endpoint, .flags = ADMIN},
    {.method = "GET", .path = "/v3/regions", .handler = catalog_regions},
    {.method = "GET", .path = "/v3/regions/{id}", .handler = catalog_region},
};

static const char *title_of(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Request Entity Too Large";
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

static void error(struct api_req *req, const char *type, const char *message)
{
    req->reply = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", (int)req->status, "title",
                           title_of(req->status), "message", message);
}

/* What an answer says depends on who asks. */
static bool prepare(struct api_req *req)
{
    api_header(req, "Vary", "X-Auth-Token");
    return true;
}

const struct api_service_ops api_identity = {
    .service = API_IDENTITY,
    .type = "identity",
    .name = "keystone",
    .port = 5000,
    .catalog_path = "/v3",
    .routes = routes,
    .route_count = sizeof(routes) / sizeof(routes[0]),
    .error = error,
    .prepare = prepare,
};
