/* Floating IPs. */
#include "api/network.h"

#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *status_of(struct api_req *req, const json_t *row)
{
    json_t *port = net_get(req, "port", json_str(row, "port_id", ""));
    json_t *router = net_get(req, "router", json_str(row, "router_id", ""));
    bool up = port && net_host_up(req, json_str(router, "host_id", NULL));

    json_decref(port);
    json_decref(router);
    return up ? "ACTIVE" : "DOWN";
}

static json_t *complete(struct api_req *req, const json_t *row, json_t *view)
{
    static const char *const shown[] = {
        "name", "network_id", "mac_address", "admin_state_up", "device_id", "device_owner", NULL};
    json_t *port = net_get(req, "port", json_str(row, "port_id", "")), *details;
    char host[64];

    json_object_del(view, "name");
    json_put_str(view, "status", status_of(req, row));
    details = port ? json_object() : json_null();
    for (size_t i = 0; port && shown[i]; i++)
        json_object_set(details, shown[i], json_object_get(port, shown[i]));
    if (port)
        json_put_str(details, "status", net_port_status(req, port, host));
    json_object_set_new(view, "port_details", details);
    json_object_set_new(view, "port_forwardings", json_array());
    json_object_set_new(view, "qos_policy_id", json_null());
    json_decref(port);
    return view;
}

const struct net_kind net_floatingips = {
    .resource = &resource_floatingip,
    .status = status_of,
    .complete = complete,
};

/* The fixed address of the port that the floating IP is to lead to: the one asked for, or the first
 * of IPv4. */
static const json_t *choose_fixed(struct api_req *req, const json_t *port, const char *asked)
{
    const json_t *fixed;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
    {
        const char *ip = json_str(fixed, "ip_address", "");

        if (asked ? strcmp(ip, asked) == 0 : !strchr(ip, ':'))
            return fixed;
    }
    if (asked)
        api_fail(req, 400, "BadRequest",
                 "Bad floatingip request: Port %s does not have fixed ip %.50s.",
                 json_str(port, "id", ""), asked);
    else
        api_fail(req, 400, "BadRequest",
                 "Bad floatingip request: Cannot add floating IP to port %s that has no fixed IPv4 "
                 "addresses.",
                 json_str(port, "id", ""));
    return NULL;
}

/* One floating IP for one fixed address: the guard's revision is expected and moved. */
static int check_single(struct api_req *req, const json_t *row, const json_t *port,
                        const char *fixed_ip)
{
    const char *id = json_str(port, "id", "");
    json_t *others;
    int64_t rev = 0;
    bool taken;

    json_decref(mirror_get(req->db, "guard", id, &rev));
    store_txn_expect(req->txn, "guard", id, rev);
    net_use(req, id);
    others = mirror_select(req->db, "floatingip",
                           "WHERE port_id = ? AND fixed_ip_address = ? AND id <> ?", "sss", id,
                           fixed_ip, json_str(row, "id", ""));
    taken = json_array_size(others) > 0;
    if (taken)
        api_fail(
            req, 409, "FloatingIPPortAlreadyAssociated",
            "Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed "
            "IP already has a floating IP on external network %s.",
            json_str(row, "floating_ip_address", ""), json_str(row, "id", ""), id, fixed_ip,
            json_str(row, "floating_network_id", ""));
    json_decref(others);
    return taken ? -EBUSY : 0;
}

static int join(struct api_req *req, json_t *row, const json_t *port, const char *asked)
{
    const char *network_id = json_str(row, "floating_network_id", "");
    const json_t *fixed = choose_fixed(req, port, asked);
    char router_id[64];

    if (!fixed || check_single(req, row, port, json_str(fixed, "ip_address", "")) < 0)
        return -EINVAL;
    if (net_router_between(req, json_str(fixed, "subnet_id", ""), network_id, router_id) < 0) {
        api_fail(
            req, 404, "ExternalGatewayForFloatingIPNotFound",
            "External network %s is not reachable from subnet %s.  Therefore, cannot associate "
            "Port %s with a Floating IP.",
            network_id, json_str(fixed, "subnet_id", ""), json_str(port, "id", ""));
        return -ENOENT;
    }
    store_txn_expect(req->txn, "port", json_str(port, "id", ""), json_int(port, "_rev", 0));
    json_object_set(row, "port_id", json_object_get(port, "id"));
    json_object_set(row, "fixed_ip_address", json_object_get(fixed, "ip_address"));
    json_put_str(row, "router_id", router_id);
    return 0;
}

/* Makes the floating IP lead to `port_id` (NULL: nowhere). */
static int associate(struct api_req *req, json_t *row, const char *port_id, const char *asked)
{
    json_t *port;
    int rc;

    json_put_str(row, "port_id", NULL);
    json_put_str(row, "fixed_ip_address", NULL);
    json_put_str(row, "router_id", NULL);
    if (!port_id && asked) {
        api_fail(req, 400, "BadRequest",
                 "Bad floatingip request: fixed_ip_address cannot be specified without a port_id.");
        return -EINVAL;
    }
    if (!port_id)
        return 0;
    port = net_own(req, &net_ports, port_id);
    rc = port ? join(req, row, port, asked) : -ENOENT;
    json_decref(port);
    return rc;
}

/* The port on the external network that reserves the address. */
static int reserve(struct api_req *req, json_t *row, const json_t *network, const char *subnet_id)
{
    const char *asked = json_str(row, "floating_ip_address", NULL);
    const json_t *fixed;
    json_t *wanted = NULL, *port;
    int rc;

    if (asked || subnet_id) {
        json_t *want = json_object();

        if (asked)
            json_put_str(want, "ip_address", asked);
        if (subnet_id)
            json_put_str(want, "subnet_id", subnet_id);
        wanted = json_pack("[o]", want);
    }
    port = net_port_plain(req, json_str(network, "id", ""), "", "network:floatingip",
                          json_str(row, "id", ""));
    rc = port ? net_port_make(req, network, port, wanted) : -EINVAL;
    fixed = json_array_get(json_object_get(port, "fixed_ips"), 0);
    if (rc == 0 && !fixed) {
        api_fail(req, 409, "IpAddressGenerationFailure",
                 "No more IP addresses available on network %s.", json_str(network, "id", ""));
        rc = -ENOSPC;
    } else if (rc == 0) {
        json_object_set(row, "floating_ip_address", json_object_get(fixed, "ip_address"));
        json_object_set(row, "floating_port_id", json_object_get(port, "id"));
    }
    json_decref(wanted);
    json_decref(port);
    return rc;
}

/* subnet_id says where the address is to come from; it is no field of a floating IP. */
static json_t *new_row(struct api_req *req, const json_t *body)
{
    const json_t *subnet_id = json_object_get(body, "subnet_id");
    json_t *known, *row;

    if (subnet_id && !json_is_string(subnet_id) && !json_is_null(subnet_id)) {
        net_bad(req, "'subnet_id' must be the id of a subnet");
        return NULL;
    }
    known = json_copy((json_t *)body);
    json_object_del(known, "subnet_id");
    row = net_new(req, &net_floatingips, known);
    json_decref(known);
    return row;
}

static json_t *make(struct api_req *req, const json_t *body)
{
    json_t *row = new_row(req, body), *network = NULL, *port_id, *asked;
    int rc = -EINVAL;

    if (!row)
        return NULL;
    network = net_see(req, &net_networks, json_str(row, "floating_network_id", ""));
    if (network && !json_bool(network, "external", false))
        api_fail(req, 400, "BadRequest",
                 "Bad floatingip request: Network %s is not a valid external network.",
                 json_str(network, "id", ""));
    else if (network)
        rc = reserve(req, row, network, json_str(body, "subnet_id", NULL));
    json_decref(network);
    port_id = json_incref(json_object_get(row, "port_id"));
    asked = json_incref(json_object_get(row, "fixed_ip_address"));
    if (rc == 0)
        rc = associate(req, row, json_string_value(port_id), json_string_value(asked));
    json_decref(port_id);
    json_decref(asked);
    if (rc == 0) {
        net_create(req, "floatingip", row);
        return row;
    }
    json_decref(row);
    return NULL;
}

void net_floating_create(struct api_req *req)
{
    json_t *body = api_body_object(req, "floatingip"), *row = body ? make(req, body) : NULL;

    if (row)
        net_reply(req, 201, &net_floatingips, row);
    json_decref(row);
}

void net_floating_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_floatingips), *asked, *old, *port;
    const json_t *body = json_object_get(req->body, "floatingip");
    int rc;

    if (!row)
        return;
    old = json_incref(json_object_get(row, "port_id"));
    rc = net_change(req, &net_floatingips, row);
    if (rc == 0 &&
        (json_object_get(body, "port_id") || json_object_get(body, "fixed_ip_address"))) {
        /* A body without port_id keeps the port. */
        port = json_object_get(body, "port_id") ? json_object_get(body, "port_id") : old;
        asked = json_object_get(body, "fixed_ip_address");
        rc = associate(req, row, json_string_value(port), json_string_value(asked));
    }
    if (rc == 0) {
        net_put(req, "floatingip", row);
        net_reply(req, 200, &net_floatingips, row);
    }
    json_decref(old);
    json_decref(row);
}

void net_floating_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_floatingips), *port;

    if (!row)
        return;
    port = net_get(req, "port", json_str(row, "floating_port_id", ""));
    if (port)
        api_port_delete(req, port);
    net_remove(req, "floatingip", row);
    api_reply(req, 204, NULL);
    json_decref(port);
    json_decref(row);
}
