/* How a server is shown: its row, what its host says of it, its ports. */
#include "api/compute.h"

#include "base/json.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

/* ---- rows ---- */

json_t *compute_server(struct api_req *req)
{
    const char *id = api_param(req, "id");
    int64_t rev = 0;
    json_t *row = mirror_get(req->db, "server", id, &rev);

    if (row && api_owns(req, json_str(row, "project_id", ""))) {
        json_put_int(row, "_rev", rev);
        return row;
    }
    json_decref(row);
    api_fail(req, 404, NULL, "Instance %.100s could not be found.", id);
    return NULL;
}

json_t *compute_server_to_change(struct api_req *req)
{
    json_t *server = compute_server(req);

    if (!server)
        return NULL;
    if (json_bool(server, "locked", false) && !req->auth.admin) {
        api_fail(req, 409, NULL, "Instance %s is locked", json_str(server, "id", ""));
        json_decref(server);
        return NULL;
    }
    return server;
}

void compute_status(struct api_req *req, const json_t *server, struct server_status *ret,
                    json_t **ret_state)
{
    *ret_state = mirror_get_shared(req->db, "server_state", json_str(server, "id", ""));
    server_status(server, *ret_state, ret);
}

#define PORTS_OF                                                                                   \
    "WHERE device_id = ? AND device_owner LIKE 'compute:%' "                                       \
    "ORDER BY IFNULL(json_extract(body, '$.device_index'), 99), "                                  \
    "json_extract(body, '$.created_at'), id"

json_t *compute_server_ports(struct api_req *req, const char *server_id)
{
    return mirror_select_shared(req->db, "port", PORTS_OF, "s", server_id);
}

json_t *compute_server_own_ports(struct api_req *req, const char *server_id)
{
    return mirror_select(req->db, "port", PORTS_OF, "s", server_id);
}

/* ---- addresses ---- */

static void add_address(json_t *list, const char *address, const char *mac, const char *type)
{
    json_t *entry =
        json_pack("{s:i, s:s}", "version", strchr(address, ':') ? 6 : 4, "addr", address);

    if (type) {
        json_put_str(entry, "OS-EXT-IPS:type", type);
        json_put_str(entry, "OS-EXT-IPS-MAC:mac_addr", mac);
    }
    json_array_append_new(list, entry);
}

static void add_port(struct api_req *req, json_t *list, const json_t *port, bool plain)
{
    const char *mac = json_str(port, "mac_address", "");
    json_t *floating = mirror_select_shared(req->db, "floatingip", "WHERE port_id = ?", "s",
                                            json_str(port, "id", ""));
    const json_t *ip, *row;
    size_t i;

    json_array_foreach(json_object_get(port, "fixed_ips"), i, ip)
        add_address(list, json_str(ip, "ip_address", ""), mac, plain ? NULL : "fixed");
    json_array_foreach(floating, i, row)
        add_address(list, json_str(row, "floating_ip_address", ""), mac, plain ? NULL : "floating");
    json_decref(floating);
}

json_t *compute_addresses(struct api_req *req, const json_t *ports, bool plain)
{
    json_t *all = json_object(), *network, *list;
    const json_t *port;
    size_t i;

    json_array_foreach(ports, i, port)
    {
        const char *name;

        network = mirror_get_shared(req->db, "network", json_str(port, "network_id", ""));
        name = json_str(network, "name", "");
        list = json_object_get(all, name);
        if (!list) {
            list = json_array();
            json_object_set_new(all, name, list);
        }
        add_port(req, list, port, plain);
        json_decref(network);
    }
    return all;
}

/* [{"name": ...}] of the groups on the ports, each name once. */
static json_t *group_names(struct api_req *req, const json_t *ports)
{
    json_t *names = json_array(), *seen = json_object(), *group;
    const json_t *port, *id;
    size_t i, j;

    json_array_foreach(ports, i, port)
    {
        json_array_foreach(json_object_get(port, "security_groups"), j, id)
        {
            group = mirror_get_shared(req->db, "security_group", json_string_value(id));
            if (group && !json_object_get(seen, json_str(group, "name", ""))) {
                json_put_int(seen, json_str(group, "name", ""), 1);
                json_array_append_new(names,
                                      json_pack("{s:s}", "name", json_str(group, "name", "")));
            }
            json_decref(group);
        }
    }
    json_decref(seen);
    return names;
}

/* ---- views ---- */

/* The same for all servers of a project on one host, and tells nothing of the host's name. */
static json_t *host_hash(const json_t *server)
{
    const char *host = json_str(server, "host_id", NULL);
    char text[256], hex[57];
    unsigned char h[28];

    if (!host)
        return json_string("");
    snprintf(text, sizeof(text), "%s%s", json_str(server, "project_id", ""), host);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA224, text, strlen(text), h) < 0)
        return json_string("");
    for (size_t i = 0; i < sizeof(h); i++)
        snprintf(hex + 2 * i, 3, "%02x", h[i]);
    return json_string(hex);
}

static void put_origin(struct api_req *req, const json_t *server, json_t *view)
{
    const char *image = json_str(server, "image_id", "");
    const char *flavor = json_str(server, "flavor_id", "");

    json_object_set_new(view, "image",
                        image[0] ? json_pack("{s:s, s:o}", "id", image, "links",
                                             compute_bookmark(req, "images", image))
                                 : json_string(""));
    json_object_set_new(
        view, "flavor",
        json_pack("{s:s, s:o}", "id", flavor, "links", compute_bookmark(req, "flavors", flavor)));
}

static void put_host(struct api_req *req, const json_t *server, json_t *view)
{
    const char *host = json_str(server, "host_id", NULL);
    json_t *row = host ? mirror_get_shared(req->db, "host", host) : NULL;
    char name[32];

    json_put_str(view, "OS-EXT-AZ:availability_zone", json_str(row, "cabinet", ""));
    if (req->auth.admin) {
        snprintf(name, sizeof(name), "instance-%.8s", json_str(server, "id", ""));
        json_put_str(view, "OS-EXT-SRV-ATTR:host", host);
        json_put_str(view, "OS-EXT-SRV-ATTR:hypervisor_hostname", host);
        json_put_str(view, "OS-EXT-SRV-ATTR:instance_name", name);
        if (req->microversion >= MV(16))
            json_put_str(view, "host_status",
                         !row                                            ? ""
                         : strcmp(json_str(row, "state", ""), "up") != 0 ? "DOWN"
                         : json_bool(row, "disabled", false)             ? "MAINTENANCE"
                                                                         : "UP");
    }
    json_decref(row);
}

const char *compute_updated(const json_t *server, const json_t *state)
{
    const char *wanted = json_str(server, "updated_at", ""), *told;

    told = json_str(state, "updated_at", "");
    return strcmp(told, wanted) > 0 ? told : wanted;
}

/* Of a host's "what: why (remedy)" what failed, in general words: the rest is the operator's
 * business, and stands in the log, in `vling events` and here for administrators. */
static void put_fault(const struct api_req *req, const json_t *fault, bool of_host, json_t *view)
{
    const char *message = json_str(fault, "message", ""), *why = strstr(message, ": ");
    const char *remedy = strstr(message, " (");
    size_t size = strlen(message);

    if (of_host && why)
        size = (size_t)(why - message);
    if (of_host && remedy && (size_t)(remedy - message) < size)
        size = (size_t)(remedy - message);
    json_object_set_new(view, "fault",
                        json_pack("{s:I, s:s%, s:s}", "code",
                                  (json_int_t)json_int(fault, "code", 500), "message", message,
                                  size, "created", json_str(fault, "created", "")));
    if (req->auth.admin)
        json_put_str(json_object_get(view, "fault"), "details", message);
}

static void put_status(struct api_req *req, const json_t *server, json_t *view)
{
    struct server_status status;
    json_t *state;
    const char *launched;

    compute_status(req, server, &status, &state);
    launched = json_str(state, "launched_at", NULL);
    json_put_str(view, "updated", compute_updated(server, state));
    json_put_str(view, "status", status.status);
    json_put_str(view, "OS-EXT-STS:vm_state", status.vm_state);
    json_put_str(view, "OS-EXT-STS:task_state", status.task_state);
    json_put_int(view, "OS-EXT-STS:power_state", status.power_state);
    json_object_set_new(view, "OS-SRV-USG:launched_at", compute_time(launched));
    json_object_set_new(view, "OS-SRV-USG:terminated_at", json_null());
    if (status.fault)
        put_fault(req, status.fault, status.fault == json_object_get(state, "fault"), view);
    else if (strcmp(status.status, "SHUTOFF") != 0 && strcmp(status.status, "PAUSED") != 0)
        json_put_int(view, "progress", 0);
    json_decref(state);
}

/* What is no plain field of the administrators' attributes, from 2.3 on. */
static void put_attributes(const struct api_req *req, const json_t *server, json_t *view)
{
    if (req->microversion < MV(3) || !req->auth.admin)
        return;
    json_put_str(view, "OS-EXT-SRV-ATTR:hostname", json_str(server, "name", ""));
    json_put_str(view, "OS-EXT-SRV-ATTR:kernel_id", "");
    json_put_str(view, "OS-EXT-SRV-ATTR:ramdisk_id", "");
    json_put_str(view, "OS-EXT-SRV-ATTR:root_device_name", "/dev/vda");
    json_put_str(view, "OS-EXT-SRV-ATTR:user_data", json_str(server, "user_data", NULL));
}

/* The answer to a change has less. */
static void shorten(json_t *view)
{
    static const char *const left_out[] = {"OS-EXT-STS:vm_state",
                                           "OS-EXT-STS:task_state",
                                           "OS-EXT-STS:power_state",
                                           "OS-SRV-USG:launched_at",
                                           "OS-SRV-USG:terminated_at",
                                           "config_drive",
                                           "key_name"};

    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
        json_object_del(view, left_out[i]);
}

json_t *compute_server_view(struct api_req *req, const json_t *server, int kind)
{
    const char *id = json_str(server, "id", "");
    json_t *view, *ports, *groups;

    if (kind == COMPUTE_BRIEF)
        return json_pack("{s:s, s:s, s:o}", "id", id, "name", json_str(server, "name", ""), "links",
                         compute_links(req, "servers", id));
    view = compute_plain_view(req, &resource_server, server);
    ports = compute_server_ports(req, id);
    json_object_set_new(view, "links", compute_links(req, "servers", id));
    put_status(req, server, view);
    json_object_set_new(view, "hostId", host_hash(server));
    put_origin(req, server, view);
    json_object_set_new(view, "addresses", compute_addresses(req, ports, false));
    json_put_str(view, "config_drive", json_bool(server, "config_drive", false) ? "True" : "");
    if (kind == COMPUTE_FULL) {
        put_host(req, server, view);
        groups = group_names(req, ports);
        if (json_array_size(groups) > 0)
            json_object_set(view, "security_groups", groups);
        json_decref(groups);
        json_object_set_new(view, "os-extended-volumes:volumes_attached", json_array());
    } else {
        shorten(view);
    }
    put_attributes(req, server, view);
    json_decref(ports);
    return view;
}
