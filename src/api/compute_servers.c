/* A new server, and the metadata of those that are there. */
#include "api/compute.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OWNER "compute:nova"

/* ---- create ---- */

static json_t *flavor_copy(const json_t *flavor)
{
    static const char *const keys[] = {"id",   "name",      "vcpus", "ram",
                                       "disk", "ephemeral", "swap",  "extra_specs"};
    json_t *copy = json_object();

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        json_object_set(copy, keys[i], json_object_get(flavor, keys[i]));
    return copy;
}

/* The row as no host has seen it yet: the planner looks for one with host_id null. */
static json_t *server_row(const struct api_req *req, const struct compute_request *want,
                          const char *id, const char *reservation, int64_t index)
{
    json_t *row = json_deep_copy(want->row), *groups = json_array();
    char name[300];

    if (want->count > 1) {
        snprintf(name, sizeof(name), "%s-%lld", json_str(want->row, "name", ""),
                 (long long)index + 1);
        json_put_str(row, "name", name);
    }
    for (size_t i = 0; i < want->group_count; i++)
        json_array_append_new(groups, json_string(want->group_list[i]));
    json_put_str(row, "id", id);
    json_put_str(row, "project_id", req->auth.project_id);
    json_put_str(row, "user_id", req->auth.user_id);
    json_put_str(row, "image_id", json_str(want->image, "id", ""));
    json_object_set_new(row, "flavor", flavor_copy(want->flavor));
    json_put_str(row, "flavor_id", json_str(want->flavor, "id", ""));
    json_put_str(row, "public_key", json_str(want->key, "public_key", NULL));
    json_object_set_new(row, "security_groups", groups);
    json_put_str(row, "server_group_id", want->server_group);
    json_put_int(row, "generation", 0);
    json_put_str(row, "power", "running");
    json_put_int(row, "reboot_serial", 0);
    json_put_bool(row, "reboot_hard", false);
    json_put_int(row, "launch_index", index);
    json_put_str(row, "reservation_id", reservation);
    json_put_str(row, "request_id", req->request_id);
    json_put_str(row, "created_at", req->now);
    json_put_str(row, "updated_at", req->now);
    return row;
}

/* The compute service has no 404 for what a request body names. */
static int as_bad_request(struct api_req *req, const char *what, const char *id)
{
    if (req->status == 404)
        return compute_bad(req, "%s %.64s could not be found.", what, id);
    return -EINVAL;
}

/* External networks are reached through routers; straight into one only an administrator may put a
 * server, by a port, too. */
static int check_external(struct api_req *req, const char *network_id, const char *port_id)
{
    json_t *port = port_id ? mirror_get_shared(req->db, "port", port_id) : NULL, *network;
    bool refused;

    network_id = json_str(port, "network_id", network_id);
    network = req->auth.admin ? NULL : mirror_get(req->db, "network", network_id, NULL);
    refused = json_bool(network, "external", false) && !json_bool(network, "shared", false) &&
              strcmp(json_str(network, "project_id", ""), req->auth.project_id) != 0;
    json_decref(network);
    if (refused)
        api_fail(req, 403, NULL,
                 "It is not allowed to create an interface on external network %.64s", network_id);
    json_decref(port);
    return refused ? -EPERM : 0;
}

static int make_ports(struct api_req *req, const struct compute_request *want, const char *id)
{
    const json_t *entry;
    size_t i;

    json_array_foreach(want->networks, i, entry)
    {
        const char *network = json_str(entry, "network_id", NULL);
        const char *port = json_str(entry, "port_id", NULL);
        struct api_port_spec spec = {
            .network_id = network,
            .project_id = req->auth.project_id,
            .device_id = id,
            .device_owner = OWNER,
            .device_index = (int)i,
            .security_groups = want->group_count ? want->group_list : NULL,
            .fixed_ip = json_str(entry, "fixed_ip", NULL),
        };

        if (port && api_port_attach(req, port, id, OWNER, (int)i) < 0)
            return as_bad_request(req, "Port", port);
        if (check_external(req, network, port) < 0)
            return -EPERM;
        if (!port && api_port_create(req, &spec, NULL) < 0)
            return as_bad_request(req, "Network", network);
    }
    return 0;
}

static void answer(struct api_req *req, const struct compute_request *want, const char *id,
                   const char *reservation)
{
    const char *given = json_str(want->body, "adminPass", NULL);
    json_t *groups = json_array(), *group;
    char random[ID_HEX_SIZE], location[400];

    for (size_t i = 0; i < want->group_count; i++) {
        group = mirror_get(req->db, "security_group", want->group_list[i], NULL);
        json_array_append_new(groups,
                              json_pack("{s:s}", "name", json_str(group, "name", "default")));
        json_decref(group);
    }
    if (want->group_count == 0)
        json_array_append_new(groups, json_pack("{s:s}", "name", "default"));
    id_hex(random);
    random[12] = '\0';
    snprintf(location, sizeof(location), "%s/v2.1/servers/%s", req->base_url, id);
    api_header(req, "Location", location);
    if (json_bool(want->body, "return_reservation_id", false)) {
        json_decref(groups);
        api_reply(req, 202, json_pack("{s:s}", "reservation_id", reservation));
        return;
    }
    api_reply(req, 202,
              json_pack("{s:{s:s, s:o, s:s, s:o, s:s}}", "server", "id", id, "links",
                        compute_links(req, "servers", id), "OS-DCF:diskConfig",
                        json_str(want->row, "disk_config", "MANUAL"), "security_groups", groups,
                        "adminPass", given ? given : random));
}

/* "r-" and eight characters, as Nova's. */
static void new_reservation(char out[12])
{
    char random[ID_HEX_SIZE];

    id_hex(random);
    snprintf(out, 12, "r-%.8s", random);
}

void compute_server_create(struct api_req *req)
{
    struct compute_request want;
    char id[ID_UUID_SIZE], first[ID_UUID_SIZE] = "", reservation[12];
    int rc = compute_request_read(req, &want);
    json_t *row;

    if (rc == 0 && !req->auth.project_id[0])
        rc = compute_bad(req, "A server belongs to a project: the token has none");
    if (rc == 0 && want.count > 1) {
        for (size_t i = 0; i < json_array_size(want.networks) && rc == 0; i++) {
            const json_t *entry = json_array_get(want.networks, i);

            if (json_str(entry, "port_id", NULL) || json_str(entry, "fixed_ip", NULL))
                rc = compute_bad(req, "A port or a fixed IP is for one server: the count is %lld",
                                 (long long)want.count);
        }
    }
    new_reservation(reservation);
    for (int64_t i = 0; i < want.count && rc == 0; i++) {
        id_uuid(id);
        if (i == 0)
            memcpy(first, id, sizeof(first));
        rc = make_ports(req, &want, id);
        if (rc < 0)
            break;
        row = server_row(req, &want, id, reservation, i);
        store_txn_create(req->txn, "server", id, row);
        json_decref(row);
    }
    if (rc == 0)
        answer(req, &want, first, reservation);
    compute_request_free(&want);
}

/* ---- metadata ---- */

static void put_metadata(struct api_req *req, json_t *server, json_t *metadata, json_t *reply,
                         unsigned status)
{
    if (compute_check_metadata(req, metadata) == 0) {
        json_object_set(server, "metadata", metadata);
        json_put_str(server, "updated_at", req->now);
        mirror_txn_update(req->txn, "server", server);
        api_reply(req, status, json_incref(reply));
    }
    json_decref(reply);
}

void compute_metadata_show(struct api_req *req)
{
    json_t *server = compute_server(req);

    if (server)
        api_reply(req, 200, json_pack("{s:O}", "metadata", json_object_get(server, "metadata")));
    json_decref(server);
}

static void change_metadata(struct api_req *req, bool merge)
{
    json_t *body = api_body_object(req, "metadata"), *server, *metadata;

    if (!body)
        return;
    server = compute_server_to_change(req);
    if (!server)
        return;
    metadata = merge ? json_deep_copy(json_object_get(server, "metadata")) : json_object();
    json_object_update(metadata, body);
    put_metadata(req, server, metadata, json_pack("{s:O}", "metadata", metadata), 200);
    json_decref(metadata);
    json_decref(server);
}

void compute_metadata_replace(struct api_req *req)
{
    change_metadata(req, false);
}

void compute_metadata_merge(struct api_req *req)
{
    change_metadata(req, true);
}

void compute_meta_show(struct api_req *req)
{
    const char *key = api_param(req, "key");
    json_t *server = compute_server(req), *value;

    if (!server)
        return;
    value = json_object_get(json_object_get(server, "metadata"), key);
    if (value)
        api_reply(req, 200, json_pack("{s:{s:O}}", "meta", key, value));
    else
        api_fail(req, 404, NULL, "Metadata item was not found");
    json_decref(server);
}

void compute_meta_put(struct api_req *req)
{
    const char *key = api_param(req, "key");
    json_t *body = api_body_object(req, "meta"), *server, *metadata;

    if (!body)
        return;
    if (json_object_size(body) != 1 || !json_object_get(body, key)) {
        compute_bad(req, "Request body and URI mismatch");
        return;
    }
    server = compute_server_to_change(req);
    if (!server)
        return;
    metadata = json_deep_copy(json_object_get(server, "metadata"));
    json_object_update(metadata, body);
    put_metadata(req, server, metadata, json_pack("{s:O}", "meta", body), 200);
    json_decref(metadata);
    json_decref(server);
}

void compute_meta_delete(struct api_req *req)
{
    const char *key = api_param(req, "key");
    json_t *server = compute_server_to_change(req), *metadata;

    if (!server)
        return;
    metadata = json_deep_copy(json_object_get(server, "metadata"));
    if (json_object_del(metadata, key) == 0)
        put_metadata(req, server, metadata, NULL, 204);
    else
        api_fail(req, 404, NULL, "Metadata item was not found");
    json_decref(metadata);
    json_decref(server);
}
