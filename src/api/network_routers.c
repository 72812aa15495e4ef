/* Routers: interfaces in subnets, and the gateway on an external network. */
#include "api/network.h"

#include "base/json.h"
#include "model/port.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static json_t *complete(struct api_req *req, const json_t *row, json_t *view)
{
    json_t *host = mirror_get(req->db, "host", json_str(row, "host_id", ""), NULL);
    json_t *zones = json_array();

    if (json_str(host, "cabinet", NULL))
        json_array_append(zones, json_object_get(host, "cabinet"));
    json_decref(host);
    json_object_set_new(view, "availability_zones", zones);
    json_object_set_new(view, "availability_zone_hints", json_array());
    json_object_set_new(view, "flavor_id", json_null());
    if (req->auth.admin) {
        json_put_bool(view, "distributed", false);
        json_put_bool(view, "ha", false);
    }
    return view;
}

const struct net_kind net_routers = {
    .resource = &resource_router,
    .complete = complete,
};

static json_t *interfaces_of(struct api_req *req, const char *router_id)
{
    json_t *router = net_get(req, "router", router_id);
    json_t *rows =
        mirror_select(req->db, "port",
                      "WHERE device_id = ? AND "
                      "device_owner = 'network:router_interface' AND " PORT_SERVES " ORDER BY id",
                      "ss", router_id, json_str(router, "project_id", ""));

    json_decref(router);
    return rows;
}

int net_router_between(struct api_req *req, const char *subnet_id, const char *external_id,
                       char ret_id[64])
{
    json_t *rows = mirror_select(
        req->db, "router",
        "WHERE json_extract(body, '$.external_gateway_info.network_id') = ? AND "
        "(id, project_id) IN (SELECT device_id, " PORT_DEVICE_PROJECT
        " FROM port, json_each(port.body, '$.fixed_ips') AS f WHERE device_owner = "
        "'network:router_interface' AND json_extract(f.value, '$.subnet_id') = ?) ORDER BY id",
        "ss", external_id, subnet_id);
    json_t *router = json_array_get(rows, 0);

    if (router) {
        snprintf(ret_id, 64, "%s", json_str(router, "id", ""));
        store_txn_expect(req->txn, "router", ret_id, json_int(router, "_rev", 0));
        net_use(req, ret_id);
    }
    json_decref(rows);
    return router ? 0 : -ENOENT;
}

/* ---- the gateway ---- */

/* Floating IPs that go through the router, perhaps only those of one subnet. */
static bool has_floating(struct api_req *req, const char *router_id, const char *subnet_id)
{
    net_expect_unused(req, router_id);
    if (!subnet_id)
        return mirror_count(req->db, "floatingip", "WHERE router_id = ?", "s", router_id) > 0;
    return mirror_count(req->db, "floatingip",
                        "WHERE router_id = ? AND port_id IN (SELECT port_id FROM ip WHERE "
                        "subnet_id = ?)",
                        "ss", router_id, subnet_id) > 0;
}

static int drop_gateway(struct api_req *req, json_t *row)
{
    const char *id = json_str(row, "id", "");
    json_t *port = net_get(req, "port", json_str(row, "gateway_port_id", ""));

    if (port && has_floating(req, id, NULL)) {
        api_fail(req, 409, "RouterExternalGatewayInUseByFloatingIp",
                 "Gateway cannot be updated for router %s, since a gateway to external network is "
                 "required by one or more floating IPs.",
                 id);
        json_decref(port);
        return -EBUSY;
    }
    if (port)
        api_port_delete(req, port);
    json_decref(port);
    json_put_str(row, "gateway_port_id", NULL);
    json_object_set_new(row, "external_gateway_info", json_null());
    return 0;
}

static int make_gateway(struct api_req *req, json_t *row, const json_t *network,
                        const json_t *wanted, bool snat)
{
    const char *network_id = json_str(network, "id", "");
    json_t *port =
        net_port_plain(req, network_id, "", "network:router_gateway", json_str(row, "id", ""));
    int rc = port ? net_port_make(req, network, port, wanted) : -EINVAL;

    if (rc == 0 && json_array_size(json_object_get(port, "fixed_ips")) == 0) {
        api_fail(req, 400, "BadRequest",
                 "Bad router request: No IPs available for external "
                 "network %s.",
                 network_id);
        rc = -EINVAL;
    }
    if (rc == 0) {
        json_object_set(row, "gateway_port_id", json_object_get(port, "id"));
        json_object_set_new(row, "external_gateway_info",
                            json_pack("{s:s, s:b, s:O}", "network_id", network_id, "enable_snat",
                                      snat, "external_fixed_ips",
                                      json_object_get(port, "fixed_ips")));
    }
    json_decref(port);
    return rc;
}

/* Makes the gateway what `info` says; `old` is what it was. */
static int set_gateway(struct api_req *req, json_t *row, json_t *old, const json_t *info)
{
    const char *network_id = json_str(info, "network_id", NULL);
    json_t *wanted = json_object_get(info, "external_fixed_ips"), *network;
    bool snat = json_bool(info, "enable_snat", json_bool(old, "enable_snat", true));
    int rc = 0;

    if (json_object_size(info) == 0)
        return drop_gateway(req, row);
    if (!network_id)
        return net_bad(req, "'external_gateway_info' needs 'network_id'");
    if ((json_object_get(info, "enable_snat") || wanted) &&
        net_admin_only(req, "external_gateway_info:enable_snat or external_fixed_ips") < 0)
        return -EPERM;
    network = net_see(req, &net_networks, network_id);
    if (!network)
        return -ENOENT;
    if (!json_bool(network, "external", false)) {
        api_fail(req, 400, "BadRequest",
                 "Bad router request: Network %s is not an external "
                 "network.",
                 network_id);
        rc = -EINVAL;
    } else if (!wanted && strcmp(json_str(old, "network_id", ""), network_id) == 0) {
        json_object_set(row, "external_gateway_info", old);
        json_put_bool(old, "enable_snat", snat);
    } else {
        rc = drop_gateway(req, row);
        if (rc == 0)
            rc = make_gateway(req, row, network, wanted, snat);
    }
    json_decref(network);
    return rc;
}

/* ---- routers ---- */

static json_t *make(struct api_req *req, const json_t *body)
{
    json_t *row = net_new(req, &net_routers, body), *info;
    int rc = 0;

    if (!row)
        return NULL;
    info = json_incref(json_object_get(row, "external_gateway_info"));
    json_object_set_new(row, "external_gateway_info", json_null());
    json_put_str(row, "status", "ACTIVE");
    if (json_object_size(info) > 0)
        rc = set_gateway(req, row, NULL, info);
    json_decref(info);
    if (rc == 0) {
        net_create(req, "router", row);
        return row;
    }
    json_decref(row);
    return NULL;
}

void net_router_create(struct api_req *req)
{
    net_post(req, &net_routers, make);
}

int net_route_parse(const json_t *route, struct ip_cidr *ret_to, struct ip_addr *ret_hop)
{
    const char *text = json_str(route, "destination", NULL);
    char bare[IP_CIDR_TEXT_SIZE];
    struct ip_addr given, hop;
    struct ip_cidr to;

    if (ip_cidr_parse(text, &to) < 0 || ip_parse(json_str(route, "nexthop", NULL), &hop) < 0)
        return -EINVAL;
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(text, "/"), text);
    if (ip_parse(bare, &given) < 0 || ip_compare(&given, &to.base) != 0 ||
        to.base.version != hop.version)
        return -EINVAL;
    *ret_to = to;
    *ret_hop = hop;
    return 0;
}

static int bad_hop(struct api_req *req, const json_t *route, const char *why)
{
    api_fail(req, 400, "InvalidRoutes", "Invalid format for routes: the nexthop %s %s",
             json_str(route, "nexthop", ""), why);
    return -EINVAL;
}

/* The next hop must be somebody else on one of the router's subnets. */
static int check_hop(struct api_req *req, const json_t *row, const json_t *route,
                     const json_t *subnets, const struct ip_addr *hop)
{
    const char *id = json_str(row, "id", "");
    bool reached = false, host = false;
    const json_t *subnet;
    struct ip_cidr cidr;
    char text[IP_TEXT_SIZE];
    size_t i;

    json_array_foreach(subnets, i, subnet)
    {
        if (ip_cidr_parse(json_str(subnet, "cidr", ""), &cidr) < 0 || !ip_cidr_contains(&cidr, hop))
            continue;
        reached = true;
        host |= ip_cidr_is_host(&cidr, hop);
    }
    if (!reached)
        return bad_hop(req, route, "is not connected with router");
    if (!host)
        return bad_hop(req, route, "is not the address of a host");
    ip_format(hop, text);
    if (mirror_count(req->db, "port",
                     "WHERE device_id = ?1 AND EXISTS (SELECT 1 FROM json_each(body, "
                     "'$.fixed_ips') AS f WHERE json_extract(f.value, '$.ip_address') = ?2)",
                     "ss", id, text) > 0 ||
        mirror_count(req->db, "floatingip",
                     "WHERE router_id = ?1 AND json_extract(body, '$.floating_ip_address') = ?2",
                     "ss", id, text) > 0)
        return bad_hop(req, route, "is used by router");
    return 0;
}

static int check_routes(struct api_req *req, const json_t *row)
{
    const json_t *route, *routes = json_object_get(row, "routes");
    json_t *subnets;
    struct ip_cidr to;
    struct ip_addr hop;
    size_t i;
    int rc = 0;

    subnets = mirror_select(req->db, "subnet",
                            "WHERE id IN (SELECT json_extract(f.value, '$.subnet_id') FROM port, "
                            "json_each(port.body, '$.fixed_ips') AS f WHERE port.id = ? OR "
                            "device_id = ? AND device_owner = 'network:router_interface' "
                            "AND " PORT_SERVES ")",
                            "sss", json_str(row, "gateway_port_id", ""), json_str(row, "id", ""),
                            json_str(row, "project_id", ""));
    json_array_foreach(routes, i, route)
    {
        if (net_route_parse(route, &to, &hop) < 0)
            rc = net_bad(req, "'routes' needs a 'destination' without host bits and a 'nexthop' "
                              "of the same IP version in each route");
        else
            rc = check_hop(req, row, route, subnets, &hop);
        if (rc < 0)
            break;
    }
    json_decref(subnets);
    return rc;
}

static int update(struct api_req *req, json_t *row)
{
    json_t *old = json_incref(json_object_get(row, "external_gateway_info")), *info = NULL;
    const json_t *body = json_object_get(req->body, "router");
    int rc = net_change(req, &net_routers, row);

    if (rc == 0 && json_object_get(body, "external_gateway_info")) {
        info = json_incref(json_object_get(row, "external_gateway_info"));
        json_object_set(row, "external_gateway_info", old);
        rc = set_gateway(req, row, old, info);
        json_decref(info);
    }
    if (rc == 0 && json_object_get(body, "routes"))
        rc = check_routes(req, row);
    json_decref(old);
    return rc;
}

void net_router_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_routers);

    if (row && update(req, row) == 0) {
        net_put(req, "router", row);
        net_reply(req, 200, &net_routers, row);
    }
    json_decref(row);
}

/* ---- routes one by one ---- */

static bool is_same_route(const json_t *a, const json_t *b)
{
    struct ip_cidr to[2];
    struct ip_addr hop[2];

    return net_route_parse(a, &to[0], &hop[0]) == 0 && net_route_parse(b, &to[1], &hop[1]) == 0 &&
           to[0].prefix == to[1].prefix && ip_compare(&to[0].base, &to[1].base) == 0 &&
           ip_compare(&hop[0], &hop[1]) == 0;
}

static bool has_route(const json_t *routes, const json_t *wanted)
{
    const json_t *route;
    size_t i;

    json_array_foreach(routes, i, route)
    {
        if (is_same_route(route, wanted))
            return true;
    }
    return false;
}

/* The routes of `list` that are not among `others`, behind those of `first`, as a new array. */
static json_t *routes_but(const json_t *first, const json_t *list, const json_t *others)
{
    json_t *routes = first ? json_copy((json_t *)first) : json_array();
    const json_t *route;
    size_t i;

    json_array_foreach(list, i, route)
    {
        if (!has_route(others, route) && !has_route(routes, route))
            json_array_append(routes, (json_t *)route);
    }
    return routes;
}

/* {"router": {"routes": [...]}}: these and no others are added or removed, so that two clients who
 * do it at a time do not undo each other's change. What is so already is no error. */
static int edit_routes(struct api_req *req, json_t *row, bool add)
{
    size_t most = (size_t)resource_field(&resource_router, "routes")->max;
    json_t *old = json_incref(json_object_get(row, "routes")), *routes;
    const json_t *body = json_object_get(req->body, "router");
    int rc = net_change(req, &net_routers, row);

    if (rc == 0 && (json_object_size(body) != 1 || !json_is_array(json_object_get(body, "routes"))))
        rc = net_bad(req, "the body must have 'routes' and nothing else");
    if (rc == 0) {
        const json_t *given = json_object_get(row, "routes");

        routes = add ? routes_but(old, given, NULL) : routes_but(NULL, old, given);
        json_object_set_new(row, "routes", routes);
        if (add && json_array_size(routes) > most) {
            api_fail(req, 400, "RoutesExhausted",
                     "Unable to complete operation for %s. The number of routes exceeds the "
                     "maximum %zu.",
                     json_str(row, "id", ""), most);
            rc = -ENOSPC;
        } else if (add) {
            rc = check_routes(req, row);
        }
    }
    json_decref(old);
    return rc;
}

static void change_routes(struct api_req *req, bool add)
{
    json_t *row = net_own_param(req, &net_routers);

    if (row && edit_routes(req, row, add) == 0) {
        net_put(req, "router", row);
        net_reply(req, 200, &net_routers, row);
    }
    json_decref(row);
}

void net_router_add_routes(struct api_req *req)
{
    change_routes(req, true);
}

void net_router_remove_routes(struct api_req *req)
{
    change_routes(req, false);
}

/* ---- delete ---- */

void net_router_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_routers), *ports;
    const char *id = json_str(row, "id", "");

    if (!row)
        return;
    ports = interfaces_of(req, id);
    if (json_array_size(ports) > 0 || has_floating(req, id, NULL)) {
        api_fail(req, 409, "RouterInUse", "Router %s still has ports", id);
    } else if (drop_gateway(req, row) == 0) {
        net_remove(req, "router", row);
        api_reply(req, 204, NULL);
    }
    json_decref(ports);
    json_decref(row);
}

/* ---- interfaces ---- */

static int bad_router(struct api_req *req, const char *why)
{
    api_fail(req, 400, "BadRequest", "Bad router request: %s.", why);
    return -EINVAL;
}

/* A router is in a subnet once, and its subnets do not overlap. */
static int check_interface(struct api_req *req, const char *router_id, const char *subnet_id)
{
    json_t *ports = interfaces_of(req, router_id), *port, *fixed;
    json_t *subnet = net_get(req, "subnet", subnet_id);
    struct ip_cidr mine, its;
    size_t i, k;
    int rc = ip_cidr_parse(json_str(subnet, "cidr", ""), &mine);

    json_array_foreach(ports, i, port)
    {
        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            json_t *other = net_get(req, "subnet", json_str(fixed, "subnet_id", ""));

            if (rc == 0 && strcmp(json_str(other, "id", ""), subnet_id) == 0)
                rc = bad_router(req, "Router already has a port on the subnet");
            else if (rc == 0 && ip_cidr_parse(json_str(other, "cidr", ""), &its) == 0 &&
                     ip_cidr_overlaps(&mine, &its))
                rc = bad_router(req, "the subnet's cidr overlaps with that of another interface");
            json_decref(other);
        }
    }
    json_decref(ports);
    json_decref(subnet);
    return rc;
}

static json_t *add_by_subnet(struct api_req *req, const json_t *router, const char *subnet_id)
{
    json_t *subnet = net_see(req, &net_subnets, subnet_id), *network, *port = NULL, *wanted;
    int rc = -EINVAL;

    if (!subnet)
        return NULL;
    network = net_get(req, "network", json_str(subnet, "network_id", ""));
    if (!json_str(subnet, "gateway_ip", NULL)) {
        bad_router(req, "Subnet for router interface must have a gateway IP");
    } else if (!api_owns(req, json_str(subnet, "project_id", ""))) {
        /* It would take the gateway's address, on an external network the provider's own. */
        api_fail(req, 400, "BadRequest",
                 "Bad router request: Cannot add interface to router because subnet %s is not "
                 "owned by project making the request.",
                 subnet_id);
    } else if (check_interface(req, json_str(router, "id", ""), subnet_id) == 0) {
        port = net_port_plain(req, json_str(subnet, "network_id", ""),
                              json_str(router, "project_id", ""), "network:router_interface",
                              json_str(router, "id", ""));
        wanted = json_pack("[{s:s, s:O}]", "subnet_id", subnet_id, "ip_address",
                           json_object_get(subnet, "gateway_ip"));
        if (port)
            rc = net_port_make(req, network, port, wanted);
        json_decref(wanted);
    }
    json_decref(network);
    json_decref(subnet);
    if (rc == 0)
        return port;
    json_decref(port);
    return NULL;
}

/* Is the port on an external network of somebody else? */
static bool is_outside(struct api_req *req, const json_t *port)
{
    json_t *network = net_get(req, "network", json_str(port, "network_id", ""));
    bool outside = json_bool(network, "external", false) &&
                   !api_owns(req, json_str(network, "project_id", ""));

    json_decref(network);
    return outside;
}

static json_t *add_by_port(struct api_req *req, const json_t *router, const char *port_id)
{
    json_t *port = net_own(req, &net_ports, port_id);
    const json_t *fixed = json_object_get(port, "fixed_ips");
    size_t i;
    int rc = 0;

    if (!port)
        return NULL;
    if (json_str(port, "device_id", "")[0]) {
        api_fail(req, 409, "PortInUse",
                 "Unable to complete operation on port %s for network %s. Port already has an "
                 "attached device %s.",
                 port_id, json_str(port, "network_id", ""), json_str(port, "device_id", ""));
        rc = -EBUSY;
    } else if (json_array_size(fixed) == 0) {
        rc = bad_router(req, "Router port must have at least one fixed IP");
    } else if (is_outside(req, port)) {
        rc = bad_router(req, "a router is on an external network by its gateway");
    }
    for (i = 0; i < json_array_size(fixed) && rc == 0; i++)
        rc = check_interface(req, json_str(router, "id", ""),
                             json_str(json_array_get(fixed, i), "subnet_id", ""));
    if (rc < 0) {
        json_decref(port);
        return NULL;
    }
    json_object_set(port, "device_id", json_object_get(router, "id"));
    json_put_str(port, "device_owner", "network:router_interface");
    port_put_device_project(port, json_str(router, "project_id", ""));
    json_object_set_new(port, "security_groups", json_array());
    net_put(req, "port", port);
    return port;
}

static void reply_interface(struct api_req *req, const json_t *router, const json_t *port)
{
    json_t *reply = json_object(), *ids = json_array(), *fixed;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
    {
        json_array_append(ids, json_object_get(fixed, "subnet_id"));
    }
    json_object_set(reply, "id", json_object_get(router, "id"));
    json_object_set(reply, "tenant_id", json_object_get(router, "project_id"));
    json_object_set(reply, "port_id", json_object_get(port, "id"));
    json_object_set(reply, "network_id", json_object_get(port, "network_id"));
    json_object_set(reply, "subnet_id", json_array_get(ids, 0));
    json_object_set_new(reply, "subnet_ids", ids);
    api_reply(req, 200, reply);
}

void net_router_add_interface(struct api_req *req)
{
    json_t *router = net_own_param(req, &net_routers), *port = NULL;
    const char *subnet_id = json_str(req->body, "subnet_id", NULL);
    const char *port_id = json_str(req->body, "port_id", NULL);

    if (!router)
        return;
    if (!subnet_id == !port_id)
        bad_router(req, "Either subnet_id or port_id must be specified");
    else
        port =
            subnet_id ? add_by_subnet(req, router, subnet_id) : add_by_port(req, router, port_id);
    if (port) {
        /* Also what makes two interfaces at a time see each other. */
        net_put(req, "router", router);
        reply_interface(req, router, port);
    }
    json_decref(port);
    json_decref(router);
}

/* The interface by port or subnet, or NULL. */
static json_t *find_interface(struct api_req *req, const char *router_id, const char *port_id,
                              const char *subnet_id)
{
    json_t *ports = interfaces_of(req, router_id), *port, *fixed, *found = NULL;
    size_t i, k;

    json_array_foreach(ports, i, port)
    {
        bool match = !subnet_id;

        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            if (subnet_id && strcmp(json_str(fixed, "subnet_id", ""), subnet_id) == 0)
                match = true;
        }
        if (port_id && strcmp(json_str(port, "id", ""), port_id) != 0)
            match = false;
        if (match && !found)
            found = json_incref(port);
    }
    json_decref(ports);
    return found;
}

static int check_floating_stay(struct api_req *req, const char *router_id, const json_t *port)
{
    const json_t *fixed;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
    {
        if (!has_floating(req, router_id, json_str(fixed, "subnet_id", "")))
            continue;
        api_fail(
            req, 409, "RouterInterfaceInUseByFloatingIP",
            "Router interface for port %s on router %s cannot be deleted, as it is required by "
            "one or more floating IPs.",
            json_str(port, "id", ""), router_id);
        return -EBUSY;
    }
    return 0;
}

static bool has_hop_in(const json_t *routes, const json_t *subnet)
{
    const json_t *route;
    struct ip_cidr cidr, to;
    struct ip_addr hop;
    size_t i;

    if (ip_cidr_parse(json_str(subnet, "cidr", NULL), &cidr) < 0)
        return false;
    json_array_foreach(routes, i, route)
    {
        if (net_route_parse(route, &to, &hop) == 0 && ip_cidr_contains(&cidr, &hop))
            return true;
    }
    return false;
}

/* Without its interface there a static route would lead nowhere, and nobody would be told. */
static int check_routes_stay(struct api_req *req, const json_t *router, const json_t *port)
{
    const json_t *routes = json_object_get(router, "routes"), *fixed;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
    {
        const char *subnet_id = json_str(fixed, "subnet_id", "");
        json_t *subnet = net_get(req, "subnet", subnet_id);
        bool needed = has_hop_in(routes, subnet);

        json_decref(subnet);
        if (!needed)
            continue;
        api_fail(req, 409, "RouterInterfaceInUseByRoute",
                 "Router interface for subnet %s on router %s cannot be deleted, as it is required "
                 "by one or more routes.",
                 subnet_id, json_str(router, "id", ""));
        return -EBUSY;
    }
    return 0;
}

void net_router_remove_interface(struct api_req *req)
{
    json_t *router = net_own_param(req, &net_routers), *port;
    const char *subnet_id = json_str(req->body, "subnet_id", NULL);
    const char *port_id = json_str(req->body, "port_id", NULL);
    const char *id = json_str(router, "id", "");

    if (!router)
        return;
    port = subnet_id || port_id ? find_interface(req, id, port_id, subnet_id) : NULL;
    if (!subnet_id && !port_id) {
        bad_router(req, "Either subnet_id or port_id must be specified");
    } else if (!port) {
        api_fail(req, 404,
                 subnet_id ? "RouterInterfaceNotFoundForSubnet" : "RouterInterfaceNotFound",
                 "Router %s has no interface on %s %.64s", id, subnet_id ? "subnet" : "port",
                 subnet_id ? subnet_id : port_id);
    } else if (check_routes_stay(req, router, port) == 0 &&
               check_floating_stay(req, id, port) == 0) {
        net_put(req, "router", router);
        reply_interface(req, router, port);
        api_port_delete(req, port);
    }
    json_decref(port);
    json_decref(router);
}
