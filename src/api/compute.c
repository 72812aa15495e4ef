/* Nova v2.1: https://docs.openstack.org/api-ref/compute/
 *
 * What the microversions up to the highest one change of what is here; for fields the resources'
 * tables say it (`since`):
 *   2.2   key pairs: type; 201 on create, 204 on delete
 *   2.3   servers: hostname, launch_index, root_device_name, user_data ... (administrators)
 *   2.9   servers: locked
 *   2.10  key pairs of another user (administrators)
 *   2.11  services: forced_down
 *   2.13  server groups: project_id, user_id
 *   2.15  server groups: soft policies
 *   2.16  servers: host_status (administrators)
 *   2.19  servers: description
 *   2.21  what was done to servers that were deleted
 * A version in between changes only what is not offered. */
#include "api/compute.h"

#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINOR_MAX 25
#define NEXT_MAX 65536
#define UPDATED "2013-07-23T11:33:21Z"

/* ---- what all files use ---- */

static json_t *link_to(struct api_req *req, const char *rel, const char *prefix,
                       const char *collection, const char *id)
{
    return json_pack("{s:s, s:o}", "rel", rel, "href",
                     json_sprintf("%s%s/%s/%s", req->base_url, prefix, collection, id));
}

json_t *compute_links(struct api_req *req, const char *collection, const char *id)
{
    return json_pack("[o, o]", link_to(req, "self", "/v2.1", collection, id),
                     link_to(req, "bookmark", "", collection, id));
}

json_t *compute_bookmark(struct api_req *req, const char *collection, const char *id)
{
    return json_pack("[o]", link_to(req, "bookmark", "", collection, id));
}

static void take_argument(void *arg, const char *name, const char *value)
{
    struct buf *href = arg;

    if (strcmp(name, "marker") == 0)
        return;
    api_url_escape(href, name);
    buf_str(href, "=");
    api_url_escape(href, value);
    buf_str(href, "&");
}

/* [{"rel": "next"}] for a page that ended with the row `last_id`. */
static json_t *next_link(struct api_req *req, const char *last_id)
{
    struct buf href;
    json_t *link;

    buf_init(&href, NEXT_MAX);
    buf_printf(&href, "%s%s?", req->base_url, req->path);
    http_query_each(req->http, take_argument, &href);
    buf_str(&href, "marker=");
    api_url_escape(&href, last_id);
    link = json_pack("[{s:s, s:s}]", "rel", "next", "href", buf_text(&href));
    buf_free(&href);
    return link;
}

int compute_bad(struct api_req *req, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    api_fail(req, 400, NULL, "%s", text);
    return -EINVAL;
}

json_t *compute_time(const char *iso)
{
    if (!iso || strlen(iso) < 19)
        return json_null();
    return json_sprintf("%.19s.000000", iso);
}

int64_t compute_instant(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    int hours = 0, minutes = 0;
    char sign[2] = "+", end;

    if (rest && (*rest == 'T' || *rest == ' '))
        rest = strptime(rest + 1, "%H:%M:%S", &tm);
    if (!rest)
        return -1;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest && strcmp(rest, "Z") != 0 &&
        sscanf(rest, "%1[+-]%2d:%2d%c", sign, &hours, &minutes, &end) != 3 &&
        sscanf(rest, "%1[+-]%2d%2d%c", sign, &hours, &minutes, &end) != 3)
        return -1;
    return (timegm(&tm) - (sign[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60)) * 1000;
}

int64_t compute_number(const char *name)
{
    unsigned char h[crypto_generichash_BYTES_MIN];
    int64_t number;

    crypto_generichash(h, sizeof(h), (const unsigned char *)name, strlen(name), NULL, 0);
    number = (int64_t)(h[0] & 0x7f) << 24 | h[1] << 16 | h[2] << 8 | h[3];
    return number ? number : 1;
}

int64_t compute_whole(const json_t *value, int64_t max)
{
    const char *text = json_string_value(value);
    char *end;
    long long number;

    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else {
        if (!text || !text[0] || strlen(text) > 12)
            return -1;
        number = strtoll(text, &end, 10);
        if (*end)
            return -1;
    }
    return number >= 0 && number <= max ? number : -1;
}

/* The query's `limit` (1 to API_PAGE_MAX), or negative after an error. */
static int64_t page_limit(struct api_req *req)
{
    const char *text = api_query(req, "limit");
    json_t *value = text ? json_string(text) : NULL;
    int64_t limit = text ? compute_whole(value, INT32_MAX) : API_PAGE_MAX;

    json_decref(value);
    if (limit < 0)
        return compute_bad(req,
                           "Invalid input for query parameters limit. Value: %.40s. It must "
                           "be a number that is not negative",
                           text);
    return limit == 0 || limit > API_PAGE_MAX ? API_PAGE_MAX : limit;
}

/* Keeps of `rows` (stolen) the page after the query's marker, at most `limit` rows. NULL after an
 * error (no such marker). `ret_more`: rows follow. */
static json_t *page_of(struct api_req *req, json_t *rows, int64_t limit, bool *ret_more)
{
    const char *marker = api_query(req, "marker");
    json_t *page = json_array(), *row;
    bool found = !marker;
    size_t i;

    *ret_more = false;
    json_array_foreach(rows, i, row)
    {
        if (!found) {
            found = strcmp(json_str(row, "id", ""), marker) == 0;
            continue;
        }
        if ((int64_t)json_array_size(page) == limit) {
            *ret_more = true;
            break;
        }
        json_array_append(page, row);
    }
    json_decref(rows);
    if (found)
        return page;
    json_decref(page);
    compute_bad(req, "marker [%.64s] not found", marker);
    return NULL;
}

void compute_list(struct api_req *req, const char *collection, json_t *rows, compute_row_view *view,
                  int kind)
{
    int64_t limit = rows ? page_limit(req) : -1;
    bool more = false;
    json_t *page, *views, *row, *reply;
    const char *last = "";
    char links[64];
    size_t i;

    if (limit < 0) {
        json_decref(rows);
        return;
    }
    page = page_of(req, rows, limit, &more);
    if (!page)
        return;
    views = json_array();
    json_array_foreach(page, i, row)
    {
        json_array_append_new(views, view(req, row, kind));
        last = json_str(row, "id", "");
    }
    reply = json_pack("{s:o}", collection, views);
    snprintf(links, sizeof(links), "%s_links", collection);
    if (more)
        json_object_set_new(reply, links, next_link(req, last));
    api_reply(req, 200, reply);
    json_decref(page);
}

/* ---- discovery ---- */

static json_t *version_entry(struct api_req *req)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:[{s:s, s:o}]}", "id", "v2.1", "status", "CURRENT",
                     "version", json_sprintf("2.%d", MINOR_MAX), "min_version", "2.1", "updated",
                     UPDATED, "links", "rel", "self", "href",
                     json_sprintf("%s/v2.1/", req->base_url));
}

static void versions(struct api_req *req)
{
    api_reply(req, 200, json_pack("{s:[o]}", "versions", version_entry(req)));
}

static void version(struct api_req *req)
{
    json_t *entry = version_entry(req);

    json_array_append_new(json_object_get(entry, "links"),
                          json_pack("{s:s, s:s, s:s}", "rel", "describedby", "type", "text/html",
                                    "href", "http://docs.openstack.org/"));
    json_object_set_new(entry, "media-types",
                        json_pack("[{s:s, s:s}]", "base", "application/json", "type",
                                  "application/vnd.openstack.compute+json;version=2.1"));
    api_reply(req, 200, json_pack("{s:o}", "version", entry));
}

static const struct {
    const char *alias, *name;
} extensions[] = {
    {"os-availability-zone", "AvailabilityZone"},
    {"os-console-output", "ConsoleOutput"},
    {"os-hypervisors", "Hypervisors"},
    {"os-keypairs", "Keypairs"},
    {"os-quota-class-sets", "QuotaClasses"},
    {"os-quota-sets", "Quotas"},
    {"os-scheduler-hints", "SchedulerHints"},
    {"os-security-groups", "SecurityGroups"},
    {"os-server-groups", "ServerGroups"},
    {"os-services", "Services"},
    {"os-simple-tenant-usage", "SimpleTenantUsage"},
};

static json_t *extension_view(size_t i)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:[]}", "alias", extensions[i].alias, "name",
                     extensions[i].name, "namespace",
                     "http://docs.openstack.org/compute/ext/fake_xml", "updated",
                     "2014-12-03T00:00:00Z", "description", extensions[i].name, "links");
}

static void extension_list(struct api_req *req)
{
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
        json_array_append_new(list, extension_view(i));
    api_reply(req, 200, json_pack("{s:o}", "extensions", list));
}

static void extension_show(struct api_req *req)
{
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        if (strcmp(extensions[i].alias, api_param(req, "id")) == 0) {
            api_reply(req, 200, json_pack("{s:o}", "extension", extension_view(i)));
            return;
        }
    }
    api_fail(req, 404, NULL, "The resource could not be found.");
}

/* ---- microversions ---- */

/* The version text asked for: "compute 2.10" in the one header, "2.10" in the other, or NULL. */
static const char *version_asked(struct api_req *req)
{
    const char *at = http_header(req->http, "OpenStack-API-Version");

    for (; at && *at; at += *at == ',') {
        at += strspn(at, " ");
        if (strncmp(at, "compute ", 8) == 0)
            return at + 8 + strspn(at + 8, " ");
        at += strcspn(at, ",");
    }
    return http_header(req->http, "X-OpenStack-Nova-API-Version");
}

static void put_version_headers(struct api_req *req, const char *text)
{
    char value[48];

    snprintf(value, sizeof(value), "compute %s", text);
    api_header(req, "OpenStack-API-Version", value);
    api_header(req, "X-OpenStack-Nova-API-Version", text);
    api_header(req, "Vary", "OpenStack-API-Version");
    api_header(req, "Vary", "X-OpenStack-Nova-API-Version");
    api_header(req, "x-compute-request-id", req->request_id);
}

/* "2.10" -> major and minor. */
static bool read_version(const char *text, int *ret_major, int *ret_minor)
{
    char major[8], minor[8], rest;

    if (sscanf(text, "%5[0-9].%5[0-9]%c", major, minor, &rest) != 2 || major[0] == '0' ||
        (minor[0] == '0' && minor[1]))
        return false;
    *ret_major = atoi(major);
    *ret_minor = atoi(minor);
    return true;
}

static bool prepare(struct api_req *req)
{
    const char *asked = version_asked(req);
    char text[32];
    int major = 2, minor = 1;

    if (!asked || !asked[0])
        asked = "2.1";
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(asked, ", "), asked);
    req->microversion = MV(1);
    if (strcmp(text, "latest") == 0) {
        minor = MINOR_MAX;
        snprintf(text, sizeof(text), "2.%d", minor);
    } else if (!read_version(text, &major, &minor)) {
        put_version_headers(req, "2.1");
        compute_bad(req,
                    "API Version String %.20s is of invalid format. Must be of format "
                    "MajorNum.MinorNum.",
                    text);
        return false;
    }
    put_version_headers(req, text);
    if (major != 2 || minor < 1 || minor > MINOR_MAX) {
        api_fail(req, 406, NULL,
                 "Version %s is not supported by the API. Minimum is 2.1 and maximum is 2.%d.",
                 text, MINOR_MAX);
        return false;
    }
    req->microversion = MV(minor);
    return true;
}

/* ---- errors ---- */

static void error(struct api_req *req, const char *type, const char *message)
{
    static const struct {
        unsigned status;
        const char *name;
    } names[] = {
        {400, "badRequest"},         {403, "forbidden"},          {404, "itemNotFound"},
        {405, "badMethod"},          {409, "conflictingRequest"}, {413, "overLimit"},
        {415, "badMediaType"},       {429, "overLimit"},          {501, "notImplemented"},
        {503, "serviceUnavailable"},
    };
    const char *name = "computeFault";

    (void)type;
    if (req->status == 401) {
        req->reply = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", 401, "title", "Unauthorized",
                               "message", message);
        return;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].status == req->status)
            name = names[i].name;
    }
    req->reply = json_pack("{s:{s:i, s:s}}", name, "code", (int)req->status, "message", message);
}

/* ---- the service ---- */

#define ROUTE(how, where, function, bits, ...)                                                     \
    {                                                                                              \
        .method = how, .path = "/v2.1/" where, .handler = function, .flags = bits, __VA_ARGS__     \
    }

static const struct api_route routes[] = {
    {.method = "GET", .path = "/", .handler = versions, .flags = API_PUBLIC | API_NO_DB},
    ROUTE("GET", "", version, API_PUBLIC | API_NO_DB),
    ROUTE("GET", "extensions", extension_list, API_NO_DB),
    ROUTE("GET", "extensions/{id}", extension_show, API_NO_DB),
    ROUTE("GET", "servers", compute_server_list, API_STEADY),
    ROUTE("POST", "servers", compute_server_create, 0, .statuses = {202}),
    ROUTE("GET", "servers/detail", compute_server_detail, API_STEADY),
    ROUTE("GET", "servers/{id}", compute_server_show, 0),
    ROUTE("PUT", "servers/{id}", compute_server_update, 0),
    ROUTE("DELETE", "servers/{id}", compute_server_delete, 0),
    ROUTE("POST", "servers/{id}/action", compute_server_action, API_READER, .statuses = {200, 202},
          .doc = "those that change nothing for readers, too"),
    ROUTE("GET", "servers/{id}/metadata", compute_metadata_show, 0),
    ROUTE("PUT", "servers/{id}/metadata", compute_metadata_replace, 0),
    ROUTE("POST", "servers/{id}/metadata", compute_metadata_merge, 0, .statuses = {200}),
    ROUTE("GET", "servers/{id}/metadata/{key}", compute_meta_show, 0),
    ROUTE("PUT", "servers/{id}/metadata/{key}", compute_meta_put, 0),
    ROUTE("DELETE", "servers/{id}/metadata/{key}", compute_meta_delete, 0),
    ROUTE("GET", "servers/{id}/ips", compute_ips, 0),
    ROUTE("GET", "servers/{id}/ips/{network}", compute_ips_of, 0),
    ROUTE("GET", "servers/{id}/os-interface", compute_interfaces, 0),
    ROUTE("GET", "servers/{id}/os-security-groups", compute_server_groups, 0),
    ROUTE("GET", "servers/{id}/os-instance-actions", compute_log_list, 0,
          .doc = "of deleted servers from 2.21 on, as long as they are remembered"),
    ROUTE("GET", "servers/{id}/os-instance-actions/{request}", compute_log_show, 0),
    ROUTE("GET", "os-security-groups", compute_group_list, 0),
    ROUTE("GET", "os-security-groups/{id}", compute_group_show, 0),
    ROUTE("GET", "os-server-groups", compute_servergroup_list, 0),
    ROUTE("POST", "os-server-groups", compute_servergroup_create, 0, .statuses = {200}),
    ROUTE("GET", "os-server-groups/{id}", compute_servergroup_show, 0),
    ROUTE("DELETE", "os-server-groups/{id}", compute_servergroup_delete, 0),
    ROUTE("GET", "flavors", compute_flavor_list, API_STEADY),
    ROUTE("POST", "flavors", compute_flavor_create, API_ADMIN, .statuses = {200}),
    ROUTE("GET", "flavors/detail", compute_flavor_detail, API_STEADY),
    ROUTE("GET", "flavors/{id}", compute_flavor_show, 0),
    ROUTE("DELETE", "flavors/{id}", compute_flavor_delete, API_ADMIN, .statuses = {202}),
    ROUTE("POST", "flavors/{id}/action", compute_flavor_action, API_ADMIN, .statuses = {200}),
    ROUTE("GET", "flavors/{id}/os-flavor-access", compute_flavor_access, API_ADMIN),
    ROUTE("GET", "flavors/{id}/os-extra_specs", compute_specs_show, 0),
    ROUTE("POST", "flavors/{id}/os-extra_specs", compute_specs_merge, API_ADMIN, .statuses = {200}),
    ROUTE("GET", "flavors/{id}/os-extra_specs/{key}", compute_spec_show, 0),
    ROUTE("PUT", "flavors/{id}/os-extra_specs/{key}", compute_spec_put, API_ADMIN),
    ROUTE("DELETE", "flavors/{id}/os-extra_specs/{key}", compute_spec_delete, API_ADMIN,
          .statuses = {200}),
    ROUTE("GET", "os-keypairs", compute_key_list, 0),
    ROUTE("POST", "os-keypairs", compute_key_create, API_READER, .statuses = {200, 201},
          .doc = "201 from 2.2 on"),
    ROUTE("GET", "os-keypairs/{id}", compute_key_show, 0),
    ROUTE("DELETE", "os-keypairs/{id}", compute_key_delete, API_READER, .statuses = {202, 204},
          .doc = "204 from 2.2 on"),
    ROUTE("GET", "os-availability-zone", compute_zones, 0),
    ROUTE("GET", "os-availability-zone/detail", compute_zones_detail, API_ADMIN),
    ROUTE("GET", "os-hypervisors", compute_hypervisors, API_ADMIN),
    ROUTE("GET", "os-hypervisors/detail", compute_hypervisors_detail, API_ADMIN),
    ROUTE("GET", "os-hypervisors/statistics", compute_hypervisor_statistics, API_ADMIN),
    ROUTE("GET", "os-hypervisors/{id}", compute_hypervisor_show, API_ADMIN),
    ROUTE("GET", "os-hypervisors/{id}/uptime", compute_hypervisor_uptime, API_ADMIN),
    ROUTE("GET", "os-hypervisors/{id}/search", compute_hypervisor_search, API_ADMIN),
    ROUTE("GET", "os-aggregates", compute_aggregates, API_ADMIN),
    ROUTE("GET", "os-services", compute_services, API_ADMIN),
    ROUTE("PUT", "os-services/enable", compute_service_enable, API_ADMIN),
    ROUTE("PUT", "os-services/disable", compute_service_disable, API_ADMIN),
    ROUTE("PUT", "os-services/disable-log-reason", compute_service_disable_reason, API_ADMIN),
    ROUTE("GET", "limits", compute_limits, 0),
    ROUTE("GET", "os-quota-sets/{id}", compute_quota_show, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("PUT", "os-quota-sets/{id}", compute_quota_update, API_ADMIN),
    ROUTE("DELETE", "os-quota-sets/{id}", compute_quota_delete, API_ADMIN, .statuses = {202}),
    ROUTE("GET", "os-quota-sets/{id}/defaults", compute_quota_defaults, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("GET", "os-quota-sets/{id}/detail", compute_quota_detail, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("GET", "os-quota-class-sets/{id}", compute_quota_class_show, API_ADMIN),
    ROUTE("PUT", "os-quota-class-sets/{id}", compute_quota_class_update, API_ADMIN),
    ROUTE("GET", "os-simple-tenant-usage", compute_usages, API_ADMIN),
    ROUTE("GET", "os-simple-tenant-usage/{id}", compute_usage, 0,
          .doc = "one's own project; administrators: all"),
};

const struct api_service_ops api_compute = {
    .service = API_COMPUTE,
    .type = "compute",
    .name = "nova",
    .port = 8774,
    .catalog_path = "/v2.1",
    .routes = routes,
    .route_count = sizeof(routes) / sizeof(routes[0]),
    .error = error,
    .prepare = prepare,
};
