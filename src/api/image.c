/* Glance v2: https://docs.openstack.org/api-ref/image/v2/ */
#include "api/image.h"

#include "base/buf.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ERROR_PAGE_MAX 8192
#define WHERE_MAX 65536

/* Images of others that stand in a project's lists: project and wanted status are the parameters.
 */
#define SHARED                                                                                     \
    "visibility = 'shared' AND EXISTS (SELECT 1 FROM image_member WHERE image_id = image.id AND "  \
    "member_id = ? AND ? IN (image_member.status, 'all'))"

/* ---- rows ---- */

static bool is_owner(const struct api_req *req, const json_t *image)
{
    return api_owns(req, json_str(image, "owner", ""));
}

bool image_may_see(const struct api_req *req, const json_t *image)
{
    const char *visibility = json_str(image, "visibility", "");

    return is_owner(req, image) || strcmp(visibility, "public") == 0 ||
           strcmp(visibility, "community") == 0 ||
           (strcmp(visibility, "shared") == 0 && image_is_member(req, image));
}

json_t *image_see(struct api_req *req)
{
    const char *id = api_param(req, "id");
    int64_t rev = 0;
    json_t *image = mirror_get(req->db, "image", id, &rev);

    if (image && image_may_see(req, image)) {
        json_put_int(image, "_rev", rev);
        return image;
    }
    json_decref(image);
    api_fail(req, 404, NULL, "No image found with ID %.100s", id);
    return NULL;
}

json_t *image_own(struct api_req *req)
{
    json_t *image = image_see(req);

    if (!image || is_owner(req, image))
        return image;
    api_fail(req, 403, NULL, "You are not permitted to modify this image.");
    json_decref(image);
    return NULL;
}

void image_put(struct api_req *req, json_t *image)
{
    json_put_str(image, "updated_at", req->now);
    mirror_txn_update(req->txn, "image", image);
}

/* ---- views ---- */

json_t *image_view(const struct api_req *req, const json_t *image)
{
    const char *id = json_str(image, "id", "");
    json_t *view = resource_view(&resource_image, image, req->auth.admin);

    json_object_update_missing(view, json_object_get(image, "properties"));
    json_object_set_new(view, "self", json_sprintf("/v2/images/%s", id));
    json_object_set_new(view, "file", json_sprintf("/v2/images/%s/file", id));
    json_put_str(view, "schema", "/v2/schemas/image");
    return view;
}

void image_reply(struct api_req *req, unsigned status, const json_t *image)
{
    api_reply(req, status, image_view(req, image));
}

void image_show(struct api_req *req)
{
    json_t *image = image_see(req);

    if (image)
        image_reply(req, 200, image);
    json_decref(image);
}

/* ---- list ---- */

struct where {
    struct buf sql;
    json_t *params;
};

static bool is_one_of(const char *text, const char *const *choices)
{
    while (*choices && strcmp(text, *choices) != 0)
        choices++;
    return *choices != NULL;
}

static void add(struct where *where, const char *condition, json_t *param)
{
    buf_printf(&where->sql, "%s(%s)", where->sql.len ? " AND " : "", condition);
    if (param)
        json_array_append_new(where->params, param);
}

static int bad_filter(struct api_req *req, const char *key, const char *value)
{
    api_fail(req, 400, NULL, "Invalid value '%.40s' for the filter %s", value, key);
    return -EINVAL;
}

/* Community images are for who asks for them; what is shared with a project stands in its lists
 * when it said so, or when it asks for what waits for its word. */
static int by_visibility(struct api_req *req, struct where *where)
{
    static const char *const visibilities[] = {"public",    "private", "shared",
                                               "community", "all",     NULL};
    static const char *const statuses[] = {"accepted", "pending", "rejected", "all", NULL};
    const char *visibility = api_query(req, "visibility");
    const char *status = api_query(req, "member_status");
    bool community =
        visibility && (strcmp(visibility, "community") == 0 || strcmp(visibility, "all") == 0);

    if (visibility && !is_one_of(visibility, visibilities))
        return bad_filter(req, "visibility", visibility);
    if (status && !is_one_of(status, statuses))
        return bad_filter(req, "member_status", status);
    if (req->auth.admin)
        return 0;
    json_array_append_new(where->params, json_string(req->auth.project_id));
    json_array_append_new(where->params, json_string(req->auth.project_id));
    add(where,
        community ? "visibility IN ('public', 'community') OR owner = ? OR " SHARED
                  : "visibility = 'public' OR owner = ? OR " SHARED,
        json_string(status ? status : "accepted"));
    return 0;
}

static int by_size(struct api_req *req, struct where *where, const char *key, const char *compare)
{
    const char *text = api_query(req, key);
    char condition[64], *end;
    long long size;

    if (!text)
        return 0;
    size = strtoll(text, &end, 10);
    if (end == text || *end || size < 0)
        return bad_filter(req, key, text);
    snprintf(condition, sizeof(condition), "size %s ?", compare);
    add(where, condition, json_integer(size));
    return 0;
}

/* Tags, of which all must be there, and free properties. What is a field is api_list's. */
static void by_argument(void *arg, const char *name, const char *value)
{
    static const char *const others[] = {"limit",         "marker",   "sort",     "sort_key",
                                         "sort_dir",      "size_min", "size_max", "page_reverse",
                                         "member_status", NULL};
    struct where *where = arg;

    if (strcmp(value, "None") == 0 || is_one_of(name, others))
        return;
    if (strcmp(name, "tag") == 0) {
        add(where, "EXISTS (SELECT 1 FROM json_each(body, '$.tags') WHERE value = ?)",
            json_string(value));
    } else if (!resource_field(&resource_image, name)) {
        json_array_append_new(where->params, json_string(name));
        add(where,
            "EXISTS (SELECT 1 FROM json_each(body, '$.properties') WHERE key = ? AND value = ?)",
            json_string(value));
    }
}

/* The query as the client gave it, with another marker: Glance's links are relative. */
struct link {
    struct buf text;
};

static void put_argument(void *arg, const char *name, const char *value)
{
    struct link *link = arg;

    if (strcmp(name, "marker") == 0)
        return;
    buf_str(&link->text, strchr(buf_text(&link->text), '?') ? "&" : "?");
    api_url_escape(&link->text, name);
    buf_str(&link->text, "=");
    api_url_escape(&link->text, value);
}

static json_t *page_link(struct api_req *req, const char *marker)
{
    struct link link;
    json_t *text;

    buf_init(&link.text, WHERE_MAX);
    buf_str(&link.text, "/v2/images");
    http_query_each(req->http, put_argument, &link);
    if (marker)
        buf_printf(&link.text, "%smarker=%s", strchr(buf_text(&link.text), '?') ? "&" : "?",
                   marker);
    text = json_string(buf_text(&link.text));
    buf_free(&link.text);
    return text;
}

static void answer_list(struct api_req *req, json_t *rows, bool more)
{
    json_t *views = json_array(), *row, *reply;
    const char *last = NULL;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_array_append_new(views, image_view(req, row));
        last = json_str(row, "id", "");
    }
    reply = json_pack("{s:o, s:o, s:s}", "images", views, "first", page_link(req, NULL), "schema",
                      "/v2/schemas/images");
    if (more && last)
        json_object_set_new(reply, "next", page_link(req, last));
    api_reply(req, 200, reply);
}

void image_list(struct api_req *req)
{
    struct where where = {.params = json_array()};
    bool more = false;
    json_t *rows;

    buf_init(&where.sql, WHERE_MAX);
    if (!api_query(req, "os_hidden"))
        add(&where, "os_hidden IS NOT 1", NULL);
    http_query_each(req->http, by_argument, &where);
    if (by_visibility(req, &where) == 0 && by_size(req, &where, "size_min", ">=") == 0 &&
        by_size(req, &where, "size_max", "<=") == 0) {
        rows = where.sql.failed
                   ? NULL
                   : api_list(req, &resource_image, buf_text(&where.sql), where.params, &more);
        if (where.sql.failed)
            api_fail(req, 400, NULL, "Invalid query: too long.");
        if (rows)
            answer_list(req, rows, more);
        json_decref(rows);
    }
    buf_free(&where.sql);
    json_decref(where.params);
}

/* ---- discovery ---- */

static void versions(struct api_req *req)
{
    static const int minors[] = {9, 7, 6, 5, 4, 3, 2, 1, 0};
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++)
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:[{s:s, s:o}]}", "id", json_sprintf("v2.%d", minors[i]),
                            "status", i == 0 ? "CURRENT" : "SUPPORTED", "links", "rel", "self",
                            "href", json_sprintf("%s/v2/", req->base_url)));
    api_reply(req, 300, json_pack("{s:o}", "versions", list));
}

static json_t *schema_of_field(const struct field *field)
{
    static const char *const types[] = {
        [FIELD_STR] = "string",   [FIELD_ID] = "string",   [FIELD_INT] = "integer",
        [FIELD_BOOL] = "boolean", [FIELD_TIME] = "string", [FIELD_IP] = "string",
        [FIELD_CIDR] = "string",  [FIELD_MAC] = "string",  [FIELD_LIST] = "array",
        [FIELD_OBJECT] = "object"};
    json_t *property = json_object(), *choices;

    if (field->flags & FIELD_NULL)
        json_object_set_new(property, "type", json_pack("[s, s]", "null", types[field->type]));
    else
        json_put_str(property, "type", types[field->type]);
    if (!(field->flags & (FIELD_CREATE | FIELD_UPDATE)))
        json_put_bool(property, "readOnly", true);
    if (field->choices) {
        choices = json_array();
        for (size_t k = 0; field->choices[k]; k++)
            json_array_append_new(choices, json_string(field->choices[k]));
        json_object_set_new(property, "enum", choices);
    }
    return property;
}

/* The JSON schema of one, out of the resource's table. */
static json_t *schema_of(const struct resource *resource)
{
    json_t *properties = json_object();

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        if (!(field->flags & FIELD_INTERNAL))
            json_object_set_new(properties, field->json ? field->json : field->name,
                                schema_of_field(field));
    }
    json_object_set_new(properties, "schema",
                        json_pack("{s:s, s:b}", "type", "string", "readOnly", 1));
    return json_pack("{s:s, s:o}", "name", resource->singular, "properties", properties);
}

static json_t *schema_of_image(void)
{
    json_t *schema = schema_of(&resource_image);

    json_object_set_new(schema, "additionalProperties", json_pack("{s:s}", "type", "string"));
    json_object_set_new(schema, "links", json_array());
    return schema;
}

static void schema_image(struct api_req *req)
{
    api_reply(req, 200, schema_of_image());
}

static void schema_images(struct api_req *req)
{
    api_reply(req, 200,
              json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:s}, s:{s:s}, s:{s:s}}, s:[]}", "name",
                        "images", "properties", "images", "type", "array", "items",
                        schema_of_image(), "first", "type", "string", "next", "type", "string",
                        "schema", "type", "string", "links"));
}

static void schema_member(struct api_req *req)
{
    api_reply(req, 200, schema_of(&resource_image_member));
}

static void schema_members(struct api_req *req)
{
    api_reply(req, 200,
              json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:s}}, s:[]}", "name", "members", "properties",
                        "members", "type", "array", "items", schema_of(&resource_image_member),
                        "schema", "type", "string", "links"));
}

/* Images come by PUT .../file only. */
static void import_info(struct api_req *req)
{
    api_reply(req, 200,
              json_pack("{s:{s:s, s:s, s:[]}}", "import-methods", "description",
                        "Import methods available.", "type", "array", "value"));
}

/* ---- errors: pages of HTML, as Glance's ---- */

static void put_escaped(struct buf *page, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            buf_str(page, "&lt;");
        else if (*text == '>')
            buf_str(page, "&gt;");
        else if (*text == '&')
            buf_str(page, "&amp;");
        else if (*text == '"')
            buf_str(page, "&quot;");
        else
            buf_add(page, text, 1);
    }
}

static void error(struct api_req *req, const char *type, const char *message)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {413, "Request Entity Too Large"},
        {410, "Gone"},
        {416, "Requested Range Not Satisfiable"},
        {415, "Unsupported Media Type"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };
    const char *title = "Internal Server Error";
    struct buf page;

    (void)type;
    if (req->status == 401) {
        req->reply = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", 401, "title", "Unauthorized",
                               "message", message);
        return;
    }
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        if (titles[i].status == req->status)
            title = titles[i].title;
    }
    buf_init(&page, ERROR_PAGE_MAX);
    buf_printf(&page,
               "<html>\n <head>\n  <title>%u %s</title>\n </head>\n <body>\n  <h1>%u %s</h1>\n  ",
               req->status, title, req->status, title);
    put_escaped(&page, message);
    buf_str(&page, "<br /><br />\n\n\n\n </body>\n</html>");
    req->raw = strdup(buf_text(&page));
    req->raw_type = "text/html; charset=UTF-8";
    buf_free(&page);
}

/* ---- the service ---- */

#define ROUTE(how, where, function, bits, ...)                                                     \
    {                                                                                              \
        .method = how, .path = "/v2/" where, .handler = function, .flags = bits, __VA_ARGS__       \
    }

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/",
     .handler = versions,
     .flags = API_PUBLIC | API_NO_DB,
     .statuses = {300}},
    {.method = "GET",
     .path = "/versions",
     .handler = versions,
     .flags = API_PUBLIC | API_NO_DB,
     .statuses = {300}},
    ROUTE("GET", "schemas/image", schema_image, API_NO_DB),
    ROUTE("GET", "schemas/images", schema_images, API_NO_DB),
    ROUTE("GET", "schemas/member", schema_member, API_NO_DB),
    ROUTE("GET", "schemas/members", schema_members, API_NO_DB),
    ROUTE("GET", "info/import", import_info, API_NO_DB),
    ROUTE("GET", "images", image_list, API_STEADY),
    ROUTE("POST", "images", image_create, 0),
    ROUTE("GET", "images/{id}", image_show, 0),
    ROUTE("PATCH", "images/{id}", image_patch, 0),
    ROUTE("DELETE", "images/{id}", image_delete, 0),
    {.method = "PUT",
     .path = "/v2/images/{id}/file",
     .handler = image_upload,
     .flags = API_STREAM,
     .statuses = {204},
     .stream_begin = image_upload_begin,
     .stream_end = image_upload_end},
    ROUTE("GET", "images/{id}/file", image_download, 0, .statuses = {200, 204, 206}),
    ROUTE("PUT", "images/{id}/tags/{tag}", image_tag_put, 0, .statuses = {204}),
    ROUTE("DELETE", "images/{id}/tags/{tag}", image_tag_delete, 0),
    ROUTE("GET", "images/{id}/members", image_member_list, 0),
    ROUTE("POST", "images/{id}/members", image_member_create, 0, .statuses = {200}),
    ROUTE("GET", "images/{id}/members/{member}", image_member_show, 0),
    ROUTE("PUT", "images/{id}/members/{member}", image_member_update, 0),
    ROUTE("DELETE", "images/{id}/members/{member}", image_member_delete, 0),
    ROUTE("POST", "images/{id}/actions/deactivate", image_deactivate, API_ADMIN, .statuses = {204}),
    ROUTE("POST", "images/{id}/actions/reactivate", image_reactivate, API_ADMIN, .statuses = {204}),
};

const struct api_service_ops api_image = {
    .service = API_IMAGE,
    .type = "image",
    .name = "glance",
    .port = 9292,
    .catalog_path = "",
    .routes = routes,
    .route_count = sizeof(routes) / sizeof(routes[0]),
    .error = error,
};
