/* Ports. */
#include "api/network.h"

#include "base/id.h"
#include "base/json.h"
#include "model/port.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- how a port is seen ---- */

static const char *server_port(struct api_req *req, const json_t *port, char ret_host[64])
{
    const char *server_id = json_str(port, "device_id", "");
    json_t *server = mirror_get(req->db, "server", server_id, NULL);
    json_t *state = mirror_get(req->db, "server_state", server_id, NULL);
    bool current = state && json_int(state, "generation", -1) == json_int(server, "generation", -2);
    bool ours = port_serves(port, server);
    bool running = ours && current && strcmp(json_str(state, "power", ""), "running") == 0;

    snprintf(ret_host, 64, "%s", ours ? json_str(server, "host_id", "") : "");
    json_decref(server);
    json_decref(state);
    return running ? "ACTIVE" : "DOWN";
}

const char *net_port_status(struct api_req *req, const json_t *port, char ret_host[64])
{
    const char *owner = json_str(port, "device_owner", "");
    const char *device = json_str(port, "device_id", "");
    json_t *row = NULL;
    bool up;

    snprintf(ret_host, 64, "%s", json_str(port, "host_id", ""));
    if (!json_bool(port, "admin_state_up", true))
        return "DOWN";
    if (strncmp(owner, "compute:", 8) == 0)
        return server_port(req, port, ret_host);
    if (strcmp(owner, "network:floatingip") == 0)
        return "N/A";
    if (strcmp(owner, "network:dhcp") == 0) {
        json_t *hosts;

        row = net_get(req, "network", json_str(port, "network_id", ""));
        hosts = json_object_get(row, "dhcp_hosts");
        snprintf(ret_host, 64, "%s",
                 json_array_size(hosts) ? json_string_value(json_array_get(hosts, 0)) : "");
    } else if (strncmp(owner, "network:router_", 15) == 0) {
        row = net_get(req, "router", device);
        snprintf(ret_host, 64, "%s", json_str(row, "host_id", ""));
    } else {
        return "DOWN";
    }
    json_decref(row);
    up = net_host_up(req, ret_host);
    return up ? "ACTIVE" : "DOWN";
}

static json_t *complete(struct api_req *req, const json_t *row, json_t *view)
{
    char host[64];

    json_put_str(view, "status", net_port_status(req, row, host));
    json_object_set_new(view, "qos_policy_id", json_null());
    json_object_set_new(view, "qos_network_policy_id", json_null());
    json_object_set_new(view, "resource_request", json_null());
    json_put_str(view, "ip_allocation",
                 json_array_size(json_object_get(row, "fixed_ips")) ? "immediate" : "none");
    if (req->auth.admin) {
        json_put_str(view, "binding:host_id", host);
        json_object_set_new(view, "binding:profile", json_object());
        json_put_str(view, "binding:vif_type", host[0] ? "bridge" : "unbound");
        json_object_set_new(view, "binding:vif_details",
                            host[0] ? json_pack("{s:b}", "port_filter", 1) : json_object());
    }
    return view;
}

static const char *status_of(struct api_req *req, const json_t *row)
{
    char host[64];

    return net_port_status(req, row, host);
}

const struct net_kind net_ports = {
    .resource = &resource_port,
    .status = status_of,
    .complete = complete,
};

/* ---- who may say what about a port ---- */

static bool is_ours(const json_t *row)
{
    return strncmp(json_str(row, "device_owner", ""), "network:", 8) == 0;
}

/* The server or router that has the id, or NULL. */
static json_t *device_of(struct api_req *req, const char *id)
{
    json_t *row = id[0] ? net_get(req, "server", id) : NULL;

    return row || !id[0] ? row : net_get(req, "router", id);
}

static bool is_same(const json_t *row, const json_t *old, const char *key)
{
    return strcmp(json_str(row, key, ""), json_str(old, key, "")) == 0;
}

/* A port is joined with its device by the id that it names. So a tenant names only servers and
 * routers of the port's project, or what is no device of ours; and ports of routers and DHCP
 * servers (network:...) are made by routers and subnets. `old`: as it was; NULL: it is new. */
static int check_device(struct api_req *req, json_t *row, const json_t *old)
{
    const char *id = json_str(row, "device_id", ""), *project = json_str(row, "project_id", "");
    json_t *device;
    int rc = 0;

    if (is_same(row, old, "device_owner") && is_same(row, old, "device_id"))
        return 0;
    if ((is_ours(row) || is_ours(old)) &&
        net_admin_only(req, "A port with a device_owner network:*") < 0)
        return -EPERM;
    device = device_of(req, id);
    if (device)
        project = json_str(device, "project_id", "");
    if (!req->auth.admin && strcmp(project, json_str(row, "project_id", "")) != 0) {
        api_fail(req, 409, "DeviceIDNotOwnedByTenant",
                 "The following device_id %.64s is not owned by your tenant or matches another "
                 "tenants router.",
                 id);
        rc = -EPERM;
    }
    port_put_device_project(row, project);
    json_decref(device);
    return rc;
}

static bool wants_same(const json_t *wanted, const json_t *have)
{
    const char *ip = json_str(wanted, "ip_address", NULL);
    const char *subnet = json_str(wanted, "subnet_id", NULL);

    return ip && strcmp(ip, json_str(have, "ip_address", "")) == 0 &&
           (!subnet || strcmp(subnet, json_str(have, "subnet_id", "")) == 0);
}

static bool is_among(const json_t *fixed, const json_t *list)
{
    const json_t *have;
    size_t i;

    json_array_foreach(list, i, have)
    {
        if (wants_same(fixed, have))
            return true;
    }
    return false;
}

/* What only the network's owner may say about a port on it; `old` as above. */
static int check_rights(struct api_req *req, const json_t *network, const json_t *row,
                        const json_t *old)
{
    const json_t *fixed, *pairs = json_object_get(row, "allowed_address_pairs");
    size_t i;

    if (api_owns(req, json_str(network, "project_id", "")))
        return 0;
    if (!old && json_bool(network, "external", false) && !json_bool(network, "shared", false))
        return net_admin_only(req, "A port on an external network");
    if (!old && json_str(row, "mac_address", NULL))
        return net_admin_only(req, "A mac_address on another project's network");
    if (json_bool(row, "port_security_enabled", true) !=
        json_bool(old, "port_security_enabled", true))
        return net_admin_only(req, "port_security_enabled on another project's network");
    if (old ? !json_equal(pairs, json_object_get(old, "allowed_address_pairs"))
            : json_array_size(pairs) > 0)
        return net_admin_only(req, "allowed_address_pairs on another project's network");
    json_array_foreach(json_object_get(row, "fixed_ips"), i, fixed)
    {
        if (json_str(fixed, "ip_address", NULL) &&
            !is_among(fixed, json_object_get(old, "fixed_ips")))
            return net_admin_only(req, "A fixed address on another project's network");
    }
    return 0;
}

/* ---- what a client gives ---- */

/* Security groups by id; the rows' guards tell that they are in use. */
static int use_groups(struct api_req *req, const json_t *row)
{
    const json_t *groups = json_object_get(row, "security_groups"), *id;
    size_t i;

    json_array_foreach(groups, i, id)
    {
        const char *text = json_string_value(id);
        json_t *group = text ? net_get(req, "security_group", text) : NULL;
        bool ok = group && (req->auth.admin || strcmp(json_str(group, "project_id", ""),
                                                      json_str(row, "project_id", "-")) == 0);

        if (ok && json_int(group, "_rev", -1) > 0)
            store_txn_expect(req->txn, "security_group", text, json_int(group, "_rev", 0));
        json_decref(group);
        if (!ok) {
            api_fail(req, 404, "SecurityGroupNotFound", "Security group %.64s does not exist",
                     text ? text : "?");
            return -ENOENT;
        }
        net_use(req, text);
    }
    return 0;
}

static int fill_groups(struct api_req *req, const json_t *network, json_t *row)
{
    char id[64];

    if (json_object_get(row, "security_groups"))
        return use_groups(req, row);
    json_object_set_new(row, "security_groups", json_array());
    if (is_ours(row) || !json_bool(row, "port_security_enabled", true) ||
        !json_bool(network, "port_security_enabled", true) || !json_str(row, "project_id", "")[0])
        return 0;
    if (api_default_security_group(req, json_str(row, "project_id", ""), id) < 0)
        return -EINVAL;
    json_array_append_new(json_object_get(row, "security_groups"), json_string(id));
    net_use(req, id);
    return 0;
}

static int fill_mac(struct api_req *req, const char *network_id, json_t *row)
{
    char mac[18];
    const char *given = json_str(row, "mac_address", NULL);

    if (!given) {
        net_mac(req, network_id, mac);
        json_put_str(row, "mac_address", mac);
        return 0;
    }
    for (size_t i = 0; i < 18; i++)
        mac[i] = given[i] == '-' ? ':' : (char)tolower((unsigned char)given[i]);
    json_put_str(row, "mac_address", mac);
    if (mirror_count(req->db, "port", "WHERE network_id = ? AND mac_address = ?", "ss", network_id,
                     mac) == 0)
        return 0;
    api_fail(req, 409, "MacAddressInUse",
             "Unable to complete operation for network %s. The mac address %s is in use.",
             network_id, mac);
    return -EBUSY;
}

static int check_pairs(struct api_req *req, json_t *row)
{
    json_t *pairs = json_object_get(row, "allowed_address_pairs"), *pair;
    struct ip_cidr cidr;
    size_t i;

    json_array_foreach(pairs, i, pair)
    {
        if (ip_cidr_parse(json_str(pair, "ip_address", NULL), &cidr) < 0)
            return net_bad(req, "'allowed_address_pairs' needs an 'ip_address' in each pair");
        if (!json_str(pair, "mac_address", NULL))
            json_put_str(pair, "mac_address", json_str(row, "mac_address", ""));
    }
    return 0;
}

int net_port_make(struct api_req *req, const json_t *network, json_t *row, const json_t *wanted)
{
    const char *network_id = json_str(network, "id", "");
    json_t *fixed_ips = json_array();
    int rc;

    rc = fill_mac(req, network_id, row);
    if (rc == 0)
        rc = fill_groups(req, network, row);
    if (rc == 0)
        rc = check_pairs(req, row);
    if (rc == 0)
        rc = net_ips_take(req, network, wanted, json_str(row, "id", ""), fixed_ips);
    if (rc < 0) {
        json_decref(fixed_ips);
        return rc;
    }
    json_object_set_new(row, "fixed_ips", fixed_ips);
    if (json_int(network, "_rev", -1) > 0)
        store_txn_expect(req->txn, "network", network_id, json_int(network, "_rev", 0));
    net_use(req, network_id);
    net_create(req, "port", row);
    return 0;
}

json_t *net_port_plain(struct api_req *req, const char *network_id, const char *project_id,
                       const char *owner, const char *device_id)
{
    struct err err = {0};
    json_t *body = json_pack("{s:s, s:s, s:s}", "network_id", network_id, "device_owner", owner,
                             "device_id", device_id);
    json_t *row = NULL;

    if (resource_create(&resource_port, body, true, &row, &err) < 0)
        api_fail_err(req, &err);
    json_decref(body);
    if (!row)
        return NULL;
    net_begin(req, row, project_id);
    return row;
}

int api_port_create(struct api_req *req, const struct api_port_spec *spec, json_t **ret_port)
{
    json_t *network = net_see(req, &net_networks, spec->network_id), *row, *wanted = NULL;
    int rc;

    if (!network)
        return -ENOENT;
    row = net_port_plain(req, spec->network_id, spec->project_id,
                         spec->device_owner ? spec->device_owner : "",
                         spec->device_id ? spec->device_id : "");
    if (!row) {
        json_decref(network);
        return -EINVAL;
    }
    if (spec->name)
        json_put_str(row, "name", spec->name);
    json_put_int(row, "device_index", spec->device_index);
    if (spec->security_groups) {
        json_object_set_new(row, "security_groups", json_array());
        for (size_t i = 0; spec->security_groups[i]; i++)
            json_array_append_new(json_object_get(row, "security_groups"),
                                  json_string(spec->security_groups[i]));
    }
    if (spec->fixed_ip || spec->subnet_id) {
        json_t *want = json_object();

        if (spec->fixed_ip)
            json_put_str(want, "ip_address", spec->fixed_ip);
        if (spec->subnet_id)
            json_put_str(want, "subnet_id", spec->subnet_id);
        wanted = json_pack("[o]", want);
        json_object_set(row, "fixed_ips", wanted);
    }
    rc = check_rights(req, network, row, NULL);
    if (rc == 0)
        rc = net_port_make(req, network, row, wanted);
    if (rc == 0 && ret_port)
        *ret_port = json_incref(row);
    json_decref(wanted);
    json_decref(row);
    json_decref(network);
    return rc;
}

void api_port_delete(struct api_req *req, json_t *port)
{
    const char *id = json_str(port, "id", ""), *network_id = json_str(port, "network_id", "");
    json_t *fips = net_rows(req, "floatingip", "port_id", id), *row;
    size_t i;

    net_expect_unused(req, id);
    json_array_foreach(json_object_get(port, "fixed_ips"), i, row)
    {
        net_ip_release(req, network_id, json_str(row, "ip_address", ""));
    }
    json_array_foreach(fips, i, row)
    {
        json_put_str(row, "port_id", NULL);
        json_put_str(row, "fixed_ip_address", NULL);
        json_put_str(row, "router_id", NULL);
        net_put(req, "floatingip", row);
    }
    json_decref(fips);
    net_remove(req, "port", port);
}

int api_port_attach(struct api_req *req, const char *port_id, const char *device_id,
                    const char *device_owner, int device_index)
{
    json_t *port = net_own(req, &net_ports, port_id), *device;

    if (!port)
        return -ENOENT;
    if (json_str(port, "device_id", "")[0]) {
        api_fail(req, 409, NULL, "Port %s is still in use.", port_id);
        json_decref(port);
        return -EBUSY;
    }
    json_put_str(port, "device_id", device_id);
    json_put_str(port, "device_owner", device_owner);
    json_put_int(port, "device_index", device_index);
    json_put_bool(port, "kept", true);
    /* A server that is being made has no row yet and will be the requester's. */
    device = device_of(req, device_id);
    port_put_device_project(port, json_str(device, "project_id", req->auth.project_id));
    net_put(req, "port", port);
    json_decref(device);
    json_decref(port);
    return 0;
}

void api_port_release(struct api_req *req, json_t *port)
{
    if (!json_bool(port, "kept", false)) {
        api_port_delete(req, port);
        return;
    }
    json_put_str(port, "device_id", "");
    json_put_str(port, "device_owner", "");
    json_put_str(port, "device_project", NULL);
    json_put_bool(port, "kept", false);
    net_put(req, "port", port);
}

/* ---- handlers ---- */

static json_t *make(struct api_req *req, const json_t *body)
{
    json_t *row = net_new(req, &net_ports, body), *network, *wanted;
    int rc = -ENOENT;

    if (!row)
        return NULL;
    network = net_see(req, &net_networks, json_str(row, "network_id", ""));
    if (network) {
        wanted = json_object_get(row, "fixed_ips");
        rc = check_device(req, row, NULL);
        if (rc == 0)
            rc = check_rights(req, network, row, NULL);
        if (rc == 0 && !json_bool(network, "port_security_enabled", true))
            json_put_bool(row, "port_security_enabled", false);
        if (rc == 0) {
            json_incref(wanted);
            rc = net_port_make(req, network, row, wanted);
            json_decref(wanted);
        }
    }
    json_decref(network);
    if (rc == 0)
        return row;
    json_decref(row);
    return NULL;
}

void net_port_create(struct api_req *req)
{
    net_post(req, &net_ports, make);
}

/* Keeps the addresses that are wanted again, gives the others back and takes the new ones. */
static int change_ips(struct api_req *req, const json_t *network, json_t *row, const json_t *old)
{
    json_t *wanted = json_deep_copy(json_object_get(row, "fixed_ips")), *kept = json_array();
    const json_t *have;
    size_t i, k;
    int rc;

    json_array_foreach(old, i, have)
    {
        for (k = 0; k < json_array_size(wanted); k++) {
            if (wants_same(json_array_get(wanted, k), have))
                break;
        }
        if (k < json_array_size(wanted)) {
            json_array_remove(wanted, k);
            json_array_append(kept, (json_t *)have);
        } else {
            net_ip_release(req, json_str(network, "id", ""), json_str(have, "ip_address", ""));
        }
    }
    rc = net_ips_take(req, network, wanted, json_str(row, "id", ""), kept);
    json_decref(wanted);
    json_object_set_new(row, "fixed_ips", kept);
    return rc;
}

static int update(struct api_req *req, json_t *row)
{
    const json_t *body = json_object_get(req->body, "port");
    json_t *old = json_deep_copy(row);
    json_t *network = net_get(req, "network", json_str(row, "network_id", ""));
    int rc = net_change(req, &net_ports, row);

    if (rc == 0)
        rc = check_pairs(req, row);
    if (rc == 0)
        rc = check_device(req, row, old);
    if (rc == 0)
        rc = check_rights(req, network, row, old);
    if (rc == 0 && json_object_get(body, "security_groups"))
        rc = use_groups(req, row);
    if (rc == 0 && json_is_array(json_object_get(body, "fixed_ips")))
        rc = change_ips(req, network, row, json_object_get(old, "fixed_ips"));
    if (rc == 0 && json_int(network, "_rev", -1) > 0)
        store_txn_expect(req->txn, "network", json_str(network, "id", ""),
                         json_int(network, "_rev", 0));
    json_decref(old);
    json_decref(network);
    return rc;
}

void net_port_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_ports);

    if (row && update(req, row) == 0) {
        net_use(req, json_str(row, "network_id", ""));
        net_put(req, "port", row);
        net_reply(req, 200, &net_ports, row);
    }
    json_decref(row);
}

/* Without its port a network would be without DHCP and metadata for ever, and whoever cleans up all
 * ports of a network does not mean that. In Neutron an agent makes the port again; here it comes
 * back at once, with addresses drawn anew, while there are subnets with DHCP. */
static int renew_dhcp(struct api_req *req, json_t *port)
{
    const char *network_id = json_str(port, "network_id", "");
    json_t *network = net_get(req, "network", network_id);
    const json_t *fixed;
    size_t i;
    int rc;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, fixed)
        net_ip_release(req, network_id, json_str(fixed, "ip_address", ""));
    json_object_set_new(port, "fixed_ips", json_array());
    net_put(req, "port", port);
    rc = net_dhcp_sync(req, network);
    json_decref(network);
    return rc;
}

void net_port_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_ports);
    const char *owner = json_str(row, "device_owner", "");

    if (!row)
        return;
    if (strncmp(owner, "network:router_", 15) == 0 || strcmp(owner, "network:floatingip") == 0) {
        api_fail(req, 409, "ServicePortInUse",
                 "Port %s cannot be deleted directly via the port API: has device owner %s.",
                 json_str(row, "id", ""), owner);
    } else if (strcmp(owner, "network:dhcp") == 0) {
        if (renew_dhcp(req, row) == 0)
            api_reply(req, 204, NULL);
    } else {
        api_port_delete(req, row);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}
