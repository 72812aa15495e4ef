/* Neutron v2.0: https://docs.openstack.org/api-ref/network/v2/ Discovery, errors, and what is not a
 * kind of row: extensions, agents, zones, tags. */
#include "api/network.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define TAGS_MAX 50

/* ---- discovery ---- */

static json_t *link_to(struct api_req *req, const char *path)
{
    return json_pack("[{s:s, s:o}]", "rel", "self", "href",
                     json_sprintf("%s%s", req->base_url, path));
}

static void versions(struct api_req *req)
{
    api_reply(req, 200,
              json_pack("{s:[{s:s, s:s, s:o}]}", "versions", "id", "v2.0", "status", "CURRENT",
                        "links", link_to(req, "/v2.0/")));
}

/* "security-groups": what the route lists the rows of, or NULL. */
static const char *collection_of(const struct api_route *route)
{
    bool list = route->resource && strcmp(route->method, "GET") == 0 && !strchr(route->path, '{');

    return list ? route->path + strlen("/v2.0/") : NULL;
}

static void resources(struct api_req *req)
{
    json_t *list = json_array();

    for (size_t i = 0; i < req->service->route_count; i++) {
        const struct api_route *route = &req->service->routes[i];
        const char *collection = collection_of(route);

        if (collection)
            json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name",
                                                  route->resource->singular, "collection",
                                                  collection, "links", link_to(req, route->path)));
    }
    api_reply(req, 200, json_pack("{s:o}", "resources", list));
}

static const struct {
    const char *alias, *name, *description;
} extensions[] = {
    {"agent", "agent", "The agent management extension."},
    {"allowed-address-pairs", "Allowed Address Pairs", "Provides allowed address pairs"},
    {"availability_zone", "Availability Zone", "The availability zone extension."},
    {"binding", "Port Binding", "Expose port bindings of a virtual port to external application"},
    {"ext-gw-mode", "Neutron L3 Configurable external gateway mode",
     "Extension of the router abstraction for specifying whether SNAT should occur on the external "
     "gateway"},
    {"external-net", "Neutron external network",
     "Adds external network attribute to network "
     "resource."},
    {"extra_dhcp_opt", "Neutron Extra DHCP options", "Extra options configuration for DHCP."},
    {"extraroute", "Neutron Extra Route", "Extra routes configuration for L3 router"},
    {"extraroute-atomic", "Atomically add/remove extra routes",
     "Edit extra routes of a router on server side by atomically adding/removing extra routes"},
    {"fip-port-details", "Floating IP Port Details Extension",
     "Add port_details attribute to Floating IP resource"},
    {"net-mtu", "Network MTU", "Provides MTU attribute for a network resource."},
    {"net-mtu-writable", "Network MTU (writable)",
     "Provides a writable MTU attribute for a network "
     "resource."},
    {"pagination", "Pagination support", "Extension that indicates that pagination is enabled."},
    {"port-security", "Port Security", "Provides port security"},
    {"project-id", "project_id field enabled",
     "Extension that indicates that project_id field is "
     "enabled."},
    {"provider", "Provider Network", "Expose mapping of virtual networks to physical networks"},
    {"quota-check-limit", "Quota engine limit check",
     "Support for checking the resource usage before applying a new quota limit"},
    {"quota_details", "Quota details management support",
     "Expose functions for quotas usage statistics per project"},
    {"quotas", "Quota management support", "Expose functions for quotas management per tenant"},
    {"revision-if-match", "If-Match constraints based on revision_number",
     "Extension indicating that If-Match based on revision_number is supported."},
    {"router", "Neutron L3 Router",
     "Router abstraction for basic L3 forwarding between L2 Neutron "
     "networks and access to external networks via a NAT gateway."},
    {"security-group", "security-group", "The security groups extension."},
    {"sorting", "Sorting support", "Extension that indicates that sorting is enabled."},
    {"standard-attr-description", "standard-attr-description",
     "Extension to add descriptions to standard attributes"},
    {"standard-attr-revisions", "Resource revision numbers",
     "This extension will display the revision number of neutron resources."},
    {"standard-attr-tag",
     "Tag support for resources with standard attribute: port, subnet, network, "
     "router, floatingip, security_group",
     "Enables to set tag on resources."},
    {"standard-attr-timestamp", "Resource timestamps",
     "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard "
     "attributes."},
    {"stateful-security-group", "Stateful security group",
     "Indicates if the security group is stateful or not"},
};

#define EXTENSIONS (sizeof(extensions) / sizeof(extensions[0]))

static json_t *extension_view(size_t i)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:[]}", "alias", extensions[i].alias, "name",
                     extensions[i].name, "description", extensions[i].description, "updated",
                     "2026-11-01T00:00:00-00:00", "links");
}

static void extension_list(struct api_req *req)
{
    json_t *list = json_array();

    for (size_t i = 0; i < EXTENSIONS; i++)
        json_array_append_new(list, extension_view(i));
    net_list_views(req, "extensions", list);
}

static void extension_show(struct api_req *req)
{
    const char *alias = api_param(req, "id");

    for (size_t i = 0; i < EXTENSIONS; i++) {
        if (strcmp(extensions[i].alias, alias) == 0) {
            api_reply(req, 200, json_pack("{s:o}", "extension", extension_view(i)));
            return;
        }
    }
    api_fail(req, 404, "HTTPNotFound", "Extension with alias %.64s does not exist", alias);
}

/* ---- hosts as agents and zones ---- */

static void add_agent(struct api_req *req, json_t *list, const json_t *host, const char *role,
                      const char *type, const char *binary)
{
    const char *name = json_str(host, "id", "");
    bool up = strcmp(json_str(host, "state", ""), "up") == 0;
    char key[160], id[64];

    if (!json_has_str(host, "roles", role))
        return;
    snprintf(key, sizeof(key), "%.64s/%s", name, binary);
    net_derived_id("agent", key, id);
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:b, s:b, s:s, s:s?, s:s?, s:s, s:{}}",
                        "id", id, "agent_type", type, "binary", binary, "host", name,
                        "availability_zone", json_str(host, "cabinet", NULL), "topic", "N/A",
                        "admin_state_up", !json_bool(host, "disabled", false), "alive", up,
                        "heartbeat_timestamp", up ? req->now : json_str(host, "since", req->now),
                        "created_at", json_str(host, "since", NULL), "started_at",
                        json_str(host, "since", NULL), "description", "", "configurations"));
}

static json_t *agents_of(struct api_req *req)
{
    json_t *hosts = mirror_select(req->db, "host", "ORDER BY id", ""), *host, *list = json_array();
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        add_agent(req, list, host, "compute", "Linux bridge agent", "vling-bridge-agent");
        add_agent(req, list, host, "network", "L3 agent", "vling-l3-agent");
        add_agent(req, list, host, "network", "DHCP agent", "vling-dhcp-agent");
    }
    json_decref(hosts);
    return list;
}

static void agent_list(struct api_req *req)
{
    net_list_views(req, "agents", agents_of(req));
}

static void agent_show(struct api_req *req)
{
    json_t *all = agents_of(req), *agent, *found = NULL;
    size_t i;

    json_array_foreach(all, i, agent)
    {
        if (strcmp(json_str(agent, "id", ""), api_param(req, "id")) == 0)
            found = json_incref(agent);
    }
    json_decref(all);
    if (found) {
        net_keep_fields(req, found);
        api_reply(req, 200, json_pack("{s:o}", "agent", found));
    } else {
        api_fail(req, 404, "AgentNotFound", "Agent %.64s could not be found.",
                 api_param(req, "id"));
    }
}

/* A cabinet is a zone. */
static void zone_list(struct api_req *req)
{
    json_t *hosts = mirror_select(req->db, "host", "ORDER BY cabinet, id", ""), *host;
    json_t *list = json_array();
    const char *last = "";
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        const char *zone = json_str(host, "cabinet", "");

        if (!zone[0] || strcmp(zone, last) == 0 || !json_has_str(host, "roles", "network"))
            continue;
        last = zone;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", zone, "resource", "router",
                                              "state", "available"));
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", zone, "resource",
                                              "network", "state", "available"));
    }
    json_decref(hosts);
    net_list_views(req, "availability_zones", list);
}

/* ---- tags ---- */

static json_t *tagged_row(struct api_req *req, const char **ret_table)
{
    for (size_t i = 0; i < req->service->route_count; i++) {
        const struct api_route *route = &req->service->routes[i];
        const struct net_kind kind = {.resource = route->resource};
        const char *collection = collection_of(route);

        if (!collection || strcmp(collection, api_param(req, "collection")) != 0)
            continue;
        *ret_table = route->resource->table;
        return strcmp(req->method, "GET") == 0 ? net_see(req, &kind, api_param(req, "id"))
                                               : net_own(req, &kind, api_param(req, "id"));
    }
    api_fail(req, 404, "HTTPNotFound", "The resource could not be found.");
    return NULL;
}

static void put_tags(struct api_req *req, const char *table, json_t *row, json_t *tags,
                     unsigned status, json_t *reply)
{
    json_object_set(row, "tags", tags);
    net_put(req, table, row);
    api_reply(req, status, reply);
}

static void tags_show(struct api_req *req)
{
    const char *table;
    json_t *row = tagged_row(req, &table);

    if (row)
        api_reply(req, 200, json_pack("{s:O}", "tags", json_object_get(row, "tags")));
    json_decref(row);
}

static void tags_put(struct api_req *req)
{
    const char *table;
    json_t *row = tagged_row(req, &table), *given = json_object_get(req->body, "tags"), *tag;
    json_t *tags = json_array();
    bool good = json_is_array(given) && json_array_size(given) <= TAGS_MAX;
    size_t i;

    json_array_foreach(given, i, tag)
    {
        bool known = false;

        for (size_t k = 0; k < json_array_size(tags); k++)
            known |= json_equal(json_array_get(tags, k), tag);
        good = good && json_is_string(tag) && json_string_length(tag) <= 255;
        if (!known)
            json_array_append(tags, tag);
    }
    if (row && good)
        put_tags(req, table, row, tags, 200, json_pack("{s:O}", "tags", tags));
    else if (row)
        net_bad(req, "'tags' must be a list of at most 50 texts");
    json_decref(tags);
    json_decref(row);
}

static void tags_delete(struct api_req *req)
{
    const char *table;
    json_t *row = tagged_row(req, &table), *tags = json_array();

    if (row)
        put_tags(req, table, row, tags, 204, NULL);
    json_decref(tags);
    json_decref(row);
}

/* GET: is it there? PUT: now it is. DELETE: now it is not. */
static void tag_one(struct api_req *req)
{
    const char *table;
    json_t *row = tagged_row(req, &table), *tags, *tag;
    const char *name = api_param(req, "tag");
    bool there = false;
    size_t i;

    if (!row)
        return;
    tags = json_deep_copy(json_object_get(row, "tags"));
    for (i = 0; i < json_array_size(tags) && !there; i++) {
        tag = json_array_get(tags, i);
        there = json_is_string(tag) && strcmp(json_string_value(tag), name) == 0;
    }
    if (strcmp(req->method, "PUT") == 0 && json_array_size(tags) >= TAGS_MAX) {
        net_bad(req, "there are 50 tags already");
    } else if (strcmp(req->method, "PUT") == 0) {
        if (!there)
            json_array_append_new(tags, json_string(name));
        put_tags(req, table, row, tags, 201, NULL);
    } else if (!there) {
        api_fail(req, 404, "TagNotFound", "Tag %.100s could not be found.", name);
    } else if (strcmp(req->method, "DELETE") == 0) {
        json_array_remove(tags, i - 1);
        put_tags(req, table, row, tags, 204, NULL);
    } else {
        api_reply(req, 204, NULL);
    }
    json_decref(tags);
    json_decref(row);
}

/* ---- kinds that never have rows here ---- */

static void empty_list(struct api_req *req)
{
    const char *last = strrchr(req->path, '/');
    char key[64];

    snprintf(key, sizeof(key), "%.60s", last ? last + 1 : "");
    for (char *at = key; *at; at++)
        *at = *at == '-' ? '_' : *at;
    api_reply(req, 200, json_pack("{s:[]}", key));
}

/* ---- the service ---- */

static void error(struct api_req *req, const char *type, const char *message)
{
    if (req->status == 401) {
        req->reply = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", 401, "title", "Unauthorized",
                               "message", message);
        return;
    }
    if (!type)
        type = req->status == 400   ? "HTTPBadRequest"
               : req->status == 403 ? "PolicyNotAuthorized"
               : req->status == 404 ? "HTTPNotFound"
               : req->status == 409 ? "Conflict"
                                    : "HTTPInternalServerError";
    req->reply = json_pack("{s:{s:s, s:s, s:s}}", "NeutronError", "type", type, "message", message,
                           "detail", "");
}

#define ROUTE(how, where, function, bits, ...)                                                     \
    {                                                                                              \
        .method = how, .path = "/v2.0/" where, .handler = function, .flags = bits, __VA_ARGS__     \
    }
#define ABOUT(how, where, function, table)                                                         \
    ROUTE(how, where, function, 0, .resource = &resource_##table)
#define READ(path, list, table)                                                                    \
    ROUTE("GET", path, list, API_STEADY, .resource = &resource_##table),                           \
        ABOUT("GET", path "/{id}", net_plain_show, table)
#define MAKE(path, name, table)                                                                    \
    ABOUT("POST", path, net_##name##_create, table),                                               \
        ABOUT("DELETE", path "/{id}", net_##name##_delete, table)
#define UPDATE(path, name, table) ABOUT("PUT", path "/{id}", net_##name##_update, table)
/* A resource that needs nothing but its table. */
#define PLAIN(path, table)                                                                         \
    READ(path, net_plain_list, table), MAKE(path, plain, table), UPDATE(path, plain, table)

static const struct api_route routes[] = {
    {.method = "GET", .path = "/", .handler = versions, .flags = API_PUBLIC | API_NO_DB},
    ROUTE("GET", "", resources, API_NO_DB),
    READ("networks", net_plain_list, network),
    MAKE("networks", network, network),
    UPDATE("networks", network, network),
    READ("subnets", net_plain_list, subnet),
    MAKE("subnets", subnet, subnet),
    UPDATE("subnets", subnet, subnet),
    READ("ports", net_plain_list, port),
    MAKE("ports", port, port),
    UPDATE("ports", port, port),
    READ("routers", net_plain_list, router),
    MAKE("routers", router, router),
    UPDATE("routers", router, router),
    ROUTE("PUT", "routers/{id}/add_router_interface", net_router_add_interface, 0),
    ROUTE("PUT", "routers/{id}/remove_router_interface", net_router_remove_interface, 0),
    ROUTE("PUT", "routers/{id}/add_extraroutes", net_router_add_routes, 0),
    ROUTE("PUT", "routers/{id}/remove_extraroutes", net_router_remove_routes, 0),
    READ("floatingips", net_plain_list, floatingip),
    MAKE("floatingips", floating, floatingip),
    UPDATE("floatingips", floating, floatingip),
    READ("security-groups", net_group_list, security_group),
    MAKE("security-groups", group, security_group),
    UPDATE("security-groups", group, security_group),
    READ("security-group-rules", net_plain_list, security_group_rule),
    MAKE("security-group-rules", rule, security_group_rule),
    ROUTE("GET", "extensions", extension_list, API_NO_DB),
    ROUTE("GET", "extensions/{id}", extension_show, API_NO_DB),
    ROUTE("GET", "agents", agent_list, API_ADMIN),
    ROUTE("GET", "agents/{id}", agent_show, API_ADMIN),
    ROUTE("GET", "availability_zones", zone_list, 0),
    ROUTE("GET", "quotas", net_quota_list, API_ADMIN),
    ROUTE("GET", "quotas/{id}", net_quota_show, 0, .doc = "one's own project; administrators: all"),
    ROUTE("PUT", "quotas/{id}", net_quota_update, API_ADMIN),
    ROUTE("DELETE", "quotas/{id}", net_quota_delete, API_ADMIN),
    ROUTE("GET", "quotas/{id}/default", net_quota_default, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("GET", "quotas/{id}/details.json", net_quota_details, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("GET", "quotas/{id}/details", net_quota_details, 0,
          .doc = "one's own project; administrators: all"),
    ROUTE("GET", "subnetpools", empty_list, 0),
    ROUTE("GET", "address-groups", empty_list, 0),
    ROUTE("GET", "address-scopes", empty_list, 0),
    ROUTE("GET", "{collection}/{id}/tags", tags_show, 0),
    ROUTE("PUT", "{collection}/{id}/tags", tags_put, 0),
    ROUTE("DELETE", "{collection}/{id}/tags", tags_delete, 0),
    ROUTE("GET", "{collection}/{id}/tags/{tag}", tag_one, 0, .statuses = {204}),
    ROUTE("PUT", "{collection}/{id}/tags/{tag}", tag_one, 0, .statuses = {201}),
    ROUTE("DELETE", "{collection}/{id}/tags/{tag}", tag_one, 0),
};

const struct api_service_ops api_network = {
    .service = API_NETWORK,
    .type = "network",
    .name = "neutron",
    .port = 9696,
    .catalog_path = "",
    .routes = routes,
    .route_count = sizeof(routes) / sizeof(routes[0]),
    .error = error,
};
