/* The plan is computed anew from all rows each time: it is a function of the state, so nothing can
 * be forgotten. `struct plan_ctx` carries what many parts need. */
#include "node/netplan.h"
#include "base/json.h"
#include "drv/driver.h"
#include "model/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan_ctx {
    struct mirror *db;
    const struct config *config;
    json_t *vteps;  /* host -> VXLAN end point */
    json_t *groups; /* security group -> its rules in the plan; its ports share them */
};

bool netplan_depends_on(const char *table)
{
    static const char *const tables[] = {
        "network",    "subnet", "port",           "router",
        "floatingip", "server", "security_group", "security_group_rule",
        "host",       NULL};

    for (size_t i = 0; tables[i]; i++) {
        if (strcmp(tables[i], table) == 0)
            return true;
    }
    return false;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* May the port carry anything? */
static bool is_up(struct plan_ctx *ctx, const json_t *port)
{
    json_t *network;
    bool up;

    if (!json_bool(port, "admin_state_up", true))
        return false;
    network = mirror_get(ctx->db, "network", json_str(port, "network_id", ""), NULL);
    up = json_bool(network, "admin_state_up", true);
    json_decref(network);
    return up;
}

static json_t *map_vteps(struct mirror *db)
{
    json_t *hosts = mirror_select(db, "host", "", ""), *vteps = json_object(), *host;
    size_t i;

    json_array_foreach(hosts, i, host)
        json_put_str(vteps, json_str(host, "id", "?"), json_str(host, "tenant_ip", ""));
    json_decref(hosts);
    return vteps;
}

/* ---- where a port's device is ---- */

/* The first host that serves DHCP on the port's network. */
static void dhcp_host(struct plan_ctx *ctx, const json_t *port, char *ret, size_t size)
{
    json_t *network = mirror_get(ctx->db, "network", json_str(port, "network_id", ""), NULL);
    json_t *first = json_array_get(json_object_get(network, "dhcp_hosts"), 0);

    if (json_is_string(first))
        snprintf(ret, size, "%s", json_string_value(first));
    json_decref(network);
}

/* The row of the port's server or router; NULL if there is none, or it is not the port's to name.
 */
static json_t *device_of(struct plan_ctx *ctx, const json_t *port)
{
    const char *owner = json_str(port, "device_owner", "");
    const char *device = json_str(port, "device_id", ""), *table = NULL;
    json_t *row;
    bool good;

    if (starts_with(owner, "compute:"))
        table = "server";
    else if (starts_with(owner, "network:router_"))
        table = "router";
    row = table ? mirror_get(ctx->db, table, device, NULL) : NULL;
    /* A gateway's port is of no project: the router names it. */
    good = strcmp(owner, "network:router_gateway") == 0
               ? strcmp(json_str(row, "gateway_port_id", ""), json_str(port, "id", "-")) == 0
               : port_serves(port, row);
    if (good)
        return row;
    json_decref(row);
    return NULL;
}

/* Host of the port into `ret`; "" when its device has no place (yet). Servers, routers and DHCP
 * servers move: their own rows say where they are; host_id of the port is only a fallback. */
static void port_host(struct plan_ctx *ctx, const json_t *port, char *ret, size_t size)
{
    json_t *row;

    ret[0] = '\0';
    if (strcmp(json_str(port, "device_owner", ""), "network:dhcp") == 0) {
        dhcp_host(ctx, port, ret, size);
        return;
    }
    row = device_of(ctx, port);
    snprintf(ret, size, "%s", json_str(row, "host_id", ""));
    json_decref(row);
}

/* Addresses of a port, with the subnet's prefix length if `with_prefix`. */
static json_t *port_ips(struct plan_ctx *ctx, const json_t *port, bool with_prefix)
{
    json_t *ips = json_array(), *fixed;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
    {
        const char *address = json_str(fixed, "ip_address", NULL), *slash = NULL;
        char text[80];

        if (!address)
            continue;
        if (with_prefix) {
            json_t *subnet = mirror_get(ctx->db, "subnet", json_str(fixed, "subnet_id", ""), NULL);
            const char *cidr = json_str(subnet, "cidr", "");

            slash = strchr(cidr, '/');
            snprintf(text, sizeof(text), "%s%s", address, slash ? slash : "");
            json_decref(subnet);
        } else {
            snprintf(text, sizeof(text), "%s", address);
        }
        json_array_append_new(ips, json_string(text));
    }
    return ips;
}

/* ---- security groups ---- */

static void add_members(json_t *members, const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        const char *address = json_str(item, "ip_address", NULL);
        char text[80];

        if (!address)
            continue;
        if (strchr(address, '/'))
            snprintf(text, sizeof(text), "%s", address);
        else
            snprintf(text, sizeof(text), "%s/%d", address, strchr(address, ':') ? 128 : 32);
        json_array_append_new(members, json_string(text));
    }
}

/* The addresses of all ports in a group, also those that they are allowed besides their own. */
static json_t *group_members(struct plan_ctx *ctx, const char *group_id)
{
    json_t *ports, *port, *members = json_array();
    size_t i;

    ports = mirror_select(ctx->db, "port",
                          "WHERE EXISTS (SELECT 1 FROM json_each(body, '$.security_groups') "
                          "WHERE value = ?)",
                          "s", group_id);
    json_array_foreach(ports, i, port)
    {
        add_members(members, json_object_get(port, "fixed_ips"));
        add_members(members, json_object_get(port, "allowed_address_pairs"));
    }
    json_decref(ports);
    return members;
}

static json_t *plan_rule(struct plan_ctx *ctx, const json_t *rule)
{
    const char *prefix = json_str(rule, "remote_ip_prefix", NULL);
    const char *group = json_str(rule, "remote_group_id", NULL);
    json_t *out = json_object();

    json_put_str(out, "direction", json_str(rule, "direction", "ingress"));
    json_put_str(out, "ethertype", json_str(rule, "ethertype", "IPv4"));
    json_put_str(out, "protocol", json_str(rule, "protocol", NULL));
    json_object_set(out, "min", json_object_get(rule, "port_range_min"));
    json_object_set(out, "max", json_object_get(rule, "port_range_max"));
    if (group) {
        json_object_set_new(out, "remotes", group_members(ctx, group));
    } else if (prefix) {
        json_object_set_new(out, "remotes", json_pack("[s]", prefix));
    } else {
        json_object_set_new(out, "remotes", json_null());
    }
    return out;
}

/* The group's rules, read once: each may name the addresses of very many ports. Borrowed. */
static json_t *group_rules(struct plan_ctx *ctx, const char *group_id)
{
    json_t *out = json_object_get(ctx->groups, group_id), *rules, *rule;
    size_t i;

    if (out)
        return out;
    out = json_array();
    rules = mirror_select(ctx->db, "security_group_rule", "WHERE security_group_id = ? ORDER BY id",
                          "s", group_id);
    json_array_foreach(rules, i, rule) json_array_append_new(out, plan_rule(ctx, rule));
    json_decref(rules);
    json_object_set_new(ctx->groups, group_id, out);
    return out;
}

static json_t *plan_rules(struct plan_ctx *ctx, const json_t *port)
{
    json_t *out = json_array(), *group;
    size_t i;

    json_array_foreach(json_object_get(port, "security_groups"), i, group)
    {
        if (json_is_string(group))
            json_array_extend(out, group_rules(ctx, json_string_value(group)));
    }
    return out;
}

/* ---- networks ---- */

static json_t *plan_local_port(struct plan_ctx *ctx, const json_t *port, bool up)
{
    json_t *out = json_object();

    char tap[16];

    network_linux.tap_name(json_str(port, "id", ""), tap);
    json_put_str(out, "id", json_str(port, "id", ""));
    json_put_str(out, "tap", tap);
    json_put_str(out, "mac", json_str(port, "mac_address", ""));
    json_object_set_new(out, "ips", port_ips(ctx, port, false));
    json_put_bool(out, "up", up);
    json_put_bool(out, "secure", json_bool(port, "port_security_enabled", true));
    json_object_set(out, "pairs", json_object_get(port, "allowed_address_pairs"));
    json_object_set_new(out, "rules", plan_rules(ctx, port));
    return out;
}

static json_t *plan_remote(struct plan_ctx *ctx, const json_t *port, const char *host)
{
    const char *vtep = json_str(ctx->vteps, host, "");
    json_t *out;

    if (!*vtep)
        return NULL;
    out = json_object();
    json_put_str(out, "mac", json_str(port, "mac_address", ""));
    json_object_set_new(out, "ips", port_ips(ctx, port, false));
    json_put_str(out, "vtep", vtep);
    return out;
}

static json_t *dhcp_hosts_of(struct plan_ctx *ctx, const json_t *ports)
{
    json_t *out = json_array(), *port, *fixed;
    size_t i, k;

    json_array_foreach(ports, i, port)
    {
        json_t *server;

        if (!starts_with(json_str(port, "device_owner", ""), "compute:"))
            continue;
        server = device_of(ctx, port);
        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            json_t *host = json_object();

            json_put_str(host, "port_id", json_str(port, "id", ""));
            json_put_str(host, "mac", json_str(port, "mac_address", ""));
            json_put_str(host, "ip", json_str(fixed, "ip_address", ""));
            json_put_str(host, "subnet_id", json_str(fixed, "subnet_id", ""));
            json_put_str(host, "name", json_str(server, "name", ""));
            json_array_append_new(out, host);
        }
        json_decref(server);
    }
    return out;
}

static json_t *plan_dhcp(struct plan_ctx *ctx, const json_t *dhcp_port, const char *network_id,
                         const json_t *ports)
{
    static const char *const keys[] = {
        "id", "cidr", "gateway_ip", "dns_nameservers", "host_routes", "enable_dhcp", NULL};
    json_t *out = json_object(), *subnets, *subnet, *list = json_array();
    size_t i;

    json_put_str(out, "port_id", json_str(dhcp_port, "id", ""));
    json_put_str(out, "mac", json_str(dhcp_port, "mac_address", ""));
    json_object_set_new(out, "ips", port_ips(ctx, dhcp_port, true));
    subnets = mirror_select(ctx->db, "subnet", "WHERE network_id = ? ORDER BY id", "s", network_id);
    json_array_foreach(subnets, i, subnet)
    {
        json_t *item = json_object();

        for (size_t k = 0; keys[k]; k++)
            json_object_set(item, keys[k], json_object_get(subnet, keys[k]));
        json_array_append_new(list, item);
    }
    json_decref(subnets);
    json_object_set_new(out, "subnets", list);
    json_object_set_new(out, "hosts", dhcp_hosts_of(ctx, ports));
    return out;
}

/* The network as this host needs it, or NULL when nothing of it is here. */
static json_t *plan_network(struct plan_ctx *ctx, const json_t *network)
{
    const char *id = json_str(network, "id", ""), *me = ctx->config->host;
    json_t *ports = mirror_select(ctx->db, "port", "WHERE network_id = ? ORDER BY id", "s", id);
    json_t *out = json_object(), *local = json_array(), *remotes = json_array();
    json_t *dhcp = NULL, *port;
    bool needed = false, network_up = json_bool(network, "admin_state_up", true);
    size_t i;

    json_array_foreach(ports, i, port)
    {
        const char *owner = json_str(port, "device_owner", "");
        bool up = network_up && json_bool(port, "admin_state_up", true);
        bool guest = starts_with(owner, "compute:");
        char host[64];

        port_host(ctx, port, host, sizeof(host));
        if (host[0] && strcmp(host, me) != 0) {
            json_t *remote = up ? plan_remote(ctx, port, host) : NULL;

            if (remote)
                json_array_append_new(remotes, remote);
        } else if (host[0] && (up || guest)) {
            needed = true;
            if (guest)
                json_array_append_new(local, plan_local_port(ctx, port, up));
            else if (strcmp(owner, "network:dhcp") == 0)
                dhcp = plan_dhcp(ctx, port, id, ports);
        }
    }
    json_decref(ports);
    json_put_str(out, "id", id);
    json_object_set(out, "vni", json_object_get(network, "segmentation_id"));
    json_object_set(out, "mtu", json_object_get(network, "mtu"));
    json_object_set_new(out, "gateway_macs", json_array());
    json_object_set_new(out, "remotes", remotes);
    json_object_set_new(out, "ports", local);
    json_object_set_new(out, "dhcp", dhcp ? dhcp : json_null());
    if (!needed) {
        json_decref(out);
        return NULL;
    }
    return out;
}

/* ---- routers ---- */

static json_t *plan_gateway(struct plan_ctx *ctx, const json_t *router)
{
    json_t *port = mirror_get(ctx->db, "port", json_str(router, "gateway_port_id", ""), NULL);
    json_t *info = json_object_get(router, "external_gateway_info"), *out, *subnet, *fixed;

    if (!port || !is_up(ctx, port)) {
        json_decref(port);
        return json_null();
    }
    out = json_object();
    json_put_str(out, "port_id", json_str(port, "id", ""));
    json_put_str(out, "mac", json_str(port, "mac_address", ""));
    json_object_set_new(out, "ips", port_ips(ctx, port, true));
    fixed = json_array_get(json_object_get(port, "fixed_ips"), 0);
    subnet = mirror_get(ctx->db, "subnet", json_str(fixed, "subnet_id", ""), NULL);
    json_put_str(out, "next_hop", json_str(subnet, "gateway_ip", NULL));
    json_put_bool(out, "snat", json_bool(info, "enable_snat", true));
    json_decref(subnet);
    json_decref(port);
    return out;
}

static json_t *plan_router(struct plan_ctx *ctx, const json_t *router)
{
    const char *id = json_str(router, "id", "");
    json_t *out = json_object(), *interfaces = json_array(), *floating = json_array();
    json_t *ports, *port, *fips, *fip;
    size_t i;

    ports = mirror_select(
        ctx->db, "port",
        "WHERE device_id = ? AND device_owner = 'network:router_interface' AND " PORT_SERVES
        " ORDER BY id",
        "ss", id, json_str(router, "project_id", ""));
    json_array_foreach(ports, i, port)
    {
        json_t *interface;

        if (!is_up(ctx, port))
            continue;
        interface = json_object();
        json_put_str(interface, "port_id", json_str(port, "id", ""));
        json_put_str(interface, "network_id", json_str(port, "network_id", ""));
        json_put_str(interface, "mac", json_str(port, "mac_address", ""));
        json_object_set_new(interface, "ips", port_ips(ctx, port, true));
        json_array_append_new(interfaces, interface);
    }
    json_decref(ports);
    fips = mirror_select(ctx->db, "floatingip",
                         "WHERE router_id = ? AND port_id IS NOT NULL ORDER BY id", "s", id);
    json_array_foreach(fips, i, fip)
    {
        json_array_append_new(floating, json_pack("{s:s, s:s}", "ip",
                                                  json_str(fip, "floating_ip_address", ""), "fixed",
                                                  json_str(fip, "fixed_ip_address", "")));
    }
    json_decref(fips);
    json_put_str(out, "id", id);
    json_object_set_new(out, "interfaces", interfaces);
    json_object_set_new(out, "gateway", plan_gateway(ctx, router));
    json_object_set_new(out, "floating", floating);
    json_object_set(out, "routes", json_object_get(router, "routes"));
    return out;
}

json_t *netplan_compute(struct mirror *db, const struct config *config)
{
    struct plan_ctx ctx = {
        .db = db, .config = config, .vteps = map_vteps(db), .groups = json_object()};
    json_t *plan = json_object(), *networks = json_array(), *routers = json_array(), *rows, *row;
    char vip[80];
    size_t i;

    config_vip_address(config, vip, sizeof(vip));
    json_put_str(plan, "tenant_ip", config->tenant_ip);
    json_put_str(plan, "ext_dev", config->external_dev[0] ? config->external_dev : NULL);
    json_put_str(plan, "api_vip", vip[0] ? vip : NULL);
    rows = mirror_select(db, "network", "WHERE external = 0 ORDER BY id", "");
    json_array_foreach(rows, i, row)
    {
        json_t *network = plan_network(&ctx, row);

        if (network)
            json_array_append_new(networks, network);
    }
    json_decref(rows);
    rows = mirror_select(db, "router", "WHERE host_id = ? ORDER BY id", "s", config->host);
    json_array_foreach(rows, i, row)
    {
        if (json_bool(row, "admin_state_up", true))
            json_array_append_new(routers, plan_router(&ctx, row));
    }
    json_decref(rows);
    json_object_set_new(plan, "networks", networks);
    json_object_set_new(plan, "routers", routers);
    json_decref(ctx.vteps);
    json_decref(ctx.groups);
    return plan;
}
