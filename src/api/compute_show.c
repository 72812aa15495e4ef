/* Servers that are there: list, show, change, delete. */
#include "api/compute.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/pattern.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- list ---- */

/* What SQL cannot look at: patterns, and what follows from several rows. */
struct wanted {
    struct pattern *name, *ip, *ip6; /* or NULL */
    const char *status, *vm_state;   /* of the API, or NULL */
    int64_t power_state;             /* or -1 */
    char since[24];                  /* or "" */
    bool nothing;                    /* only what is not remembered was asked for */
};

static const struct compute_alias aliases[] = {{"image", "image_id", false},
                                               {"flavor", "flavor_id", false},
                                               {"host", "host_id", true},
                                               {"uuid", "id", false},
                                               {"display_name", "name", false},
                                               {"reservation_id", "reservation_id", false},
                                               {NULL, NULL, false}};

static bool is_true(const char *text)
{
    return text && (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

/* Project: one's own, unless an administrator asks for all or for another one. */
static int filter_project(struct api_req *req, struct compute_filter *filter)
{
    const char *text = api_query(req, "all_tenants"), *project = api_query(req, "project_id");
    bool all = text && strcmp(text, "0") != 0 && strcasecmp(text, "false") != 0;

    if (!project)
        project = api_query(req, "tenant_id");
    if (all && !req->auth.admin) {
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be "
                 "performed.");
        return -EPERM;
    }
    if (!all)
        project = req->auth.project_id;
    if (project)
        compute_filter_add(filter, "project_id = ?", json_string(project));
    return 0;
}

/* The zone that is shown is the cabinet of the server's host. */
static void filter_zone(struct api_req *req, struct compute_filter *filter)
{
    const char *zone = api_query(req, "availability_zone");

    if (zone)
        compute_filter_add(filter, "host_id IN (SELECT id FROM host WHERE cabinet = ?)",
                           json_string(zone));
}

/* The query's `key` as a pattern; it stays NULL if there is none. */
static int filter_pattern(struct api_req *req, const char *key, struct pattern **ret)
{
    const char *text = api_query(req, key);
    char why[100];

    if (!text)
        return 0;
    *ret = pattern_new(text, why, sizeof(why));
    if (*ret)
        return 0;
    return compute_bad(req, "Invalid filter field: %s. It is no regular expression: %s", key, why);
}

/* A number as in the view, or Nova's name of it. */
static int filter_power(struct api_req *req, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t number;
    } states[] = {{"NOSTATE", 0},  {"RUNNING", 1}, {"PAUSED", 3},
                  {"SHUTDOWN", 4}, {"CRASHED", 6}, {"SUSPENDED", 7}};
    const char *text = api_query(req, "power_state");
    json_t *value = text ? json_string(text) : NULL;

    *ret = value ? compute_whole(value, 7) : -1;
    json_decref(value);
    for (size_t i = 0; text && i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcasecmp(text, states[i].name) == 0)
            *ret = states[i].number;
    }
    if (text && *ret < 0)
        return compute_bad(req, "Invalid input for query parameters power_state. Value: %.40s",
                           text);
    return 0;
}

static int filter_since(struct api_req *req, char *ret, size_t size)
{
    const char *text = api_query(req, "changes-since");
    int64_t ms = text ? compute_instant(text) : 0;

    if (ms < 0)
        return compute_bad(req,
                           "Invalid input for query parameters changes-since. Value: %.40s. "
                           "It is no time like 2026-11-22T13:55:39Z",
                           text);
    if (text)
        clock_iso(ms, ret, size);
    return 0;
}

static int filter_read(struct api_req *req, struct compute_filter *filter, struct wanted *wanted)
{
    static const char *const others[] = {"name", "project_id", NULL};

    if (filter_project(req, filter) < 0)
        return -EPERM;
    filter_zone(req, filter);
    if (compute_filter_fields(req, filter, &resource_server, aliases, others) < 0)
        return -EINVAL;
    compute_filter_order(req, filter, &resource_server, aliases);
    wanted->status = api_query(req, "status");
    wanted->vm_state = api_query(req, "vm_state");
    wanted->nothing = is_true(api_query(req, "deleted"));
    if (filter_pattern(req, "name", &wanted->name) < 0 ||
        filter_pattern(req, "ip", &wanted->ip) < 0 ||
        filter_pattern(req, "ip6", &wanted->ip6) < 0 ||
        filter_power(req, &wanted->power_state) < 0 ||
        filter_since(req, wanted->since, sizeof(wanted->since)) < 0)
        return -EINVAL;
    return filter->sql.failed ? compute_bad(req, "The query is too long") : 0;
}

/* Has the server a fixed address that matches? */
static bool has_address(struct api_req *req, const struct wanted *wanted, const json_t *server)
{
    json_t *ports = compute_server_ports(req, json_str(server, "id", "")), *port, *fixed;
    bool v4 = !wanted->ip, v6 = !wanted->ip6;
    size_t i, k;

    json_array_foreach(ports, i, port)
    {
        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            const char *ip = json_str(fixed, "ip_address", "");

            if (strchr(ip, ':'))
                v6 = v6 || pattern_find(wanted->ip6, ip);
            else
                v4 = v4 || pattern_find(wanted->ip, ip);
        }
    }
    json_decref(ports);
    return v4 && v6;
}

static bool passes(struct api_req *req, const struct wanted *wanted, const json_t *server)
{
    struct server_status status;
    json_t *state;
    bool fits;

    if (wanted->nothing ||
        (wanted->name && !pattern_find(wanted->name, json_str(server, "name", ""))))
        return false;
    if ((wanted->ip || wanted->ip6) && !has_address(req, wanted, server))
        return false;
    if (!wanted->status && !wanted->vm_state && wanted->power_state < 0 && !wanted->since[0])
        return true;
    compute_status(req, server, &status, &state);
    fits = (!wanted->status || strcasecmp(status.status, wanted->status) == 0) &&
           (!wanted->vm_state || strcasecmp(status.vm_state, wanted->vm_state) == 0) &&
           (wanted->power_state < 0 || status.power_state == wanted->power_state) &&
           strcmp(compute_updated(server, state), wanted->since) >= 0;
    json_decref(state);
    return fits;
}

static json_t *select_servers(struct api_req *req)
{
    struct wanted wanted = {.power_state = -1};
    struct compute_filter filter;
    json_t *rows = NULL, *kept = NULL, *row;
    size_t i;

    compute_filter_init(&filter);
    if (filter_read(req, &filter, &wanted) == 0) {
        rows = mirror_select_shared_json(req->db, "server", buf_text(&filter.sql), filter.params);
        kept = json_array();
        json_array_foreach(rows, i, row)
        {
            if (passes(req, &wanted, row))
                json_array_append(kept, row);
        }
    }
    pattern_free(wanted.name);
    pattern_free(wanted.ip);
    pattern_free(wanted.ip6);
    json_decref(rows);
    compute_filter_free(&filter);
    return kept;
}

void compute_server_list(struct api_req *req)
{
    compute_list(req, "servers", select_servers(req), compute_server_view, COMPUTE_BRIEF);
}

void compute_server_detail(struct api_req *req)
{
    compute_list(req, "servers", select_servers(req), compute_server_view, COMPUTE_FULL);
}

void compute_server_show(struct api_req *req)
{
    json_t *server = compute_server(req);

    if (!server)
        return;
    api_reply(req, 200,
              json_pack("{s:o}", "server", compute_server_view(req, server, COMPUTE_FULL)));
    json_decref(server);
}

/* ---- change ---- */

void compute_server_update(struct api_req *req)
{
    json_t *body = api_body_object(req, "server"), *given, *server;
    struct err err = {0};

    given = body ? compute_plain_members(req, &resource_server, body, FIELD_UPDATE, NULL) : NULL;
    if (!given)
        return;
    server = json_object_size(given) ? compute_server_to_change(req) : NULL;
    if (json_object_size(given) == 0) {
        compute_bad(req, "Invalid input for field/attribute server. {} does not have enough "
                         "properties");
    } else if (server && compute_check_plain(req, given) == 0) {
        if (resource_update(&resource_server, server, given, req->auth.admin, &err) < 0) {
            api_fail_err(req, &err);
        } else {
            json_put_str(server, "updated_at", req->now);
            api_reply(
                req, 200,
                json_pack("{s:o}", "server", compute_server_view(req, server, COMPUTE_CHANGED)));
            mirror_txn_update(req->txn, "server", server);
        }
    }
    json_decref(server);
    json_decref(given);
}

/* A server that no host has yet is gone at once; else its host removes the guest first. */
void compute_server_delete(struct api_req *req)
{
    json_t *server = compute_server_to_change(req), *ports, *port;
    const char *id;
    size_t i;

    if (!server)
        return;
    id = json_str(server, "id", "");
    compute_log(req, server, "delete");
    if (json_str(server, "host_id", NULL)) {
        json_put_str(server, "power", "deleted");
        json_put_str(server, "updated_at", req->now);
        mirror_txn_update(req->txn, "server", server);
    } else {
        ports = compute_server_own_ports(req, id);
        json_array_foreach(ports, i, port) api_port_release(req, port);
        json_decref(ports);
        store_txn_expect(req->txn, "server", id, json_int(server, "_rev", 0));
        store_txn_delete(req->txn, "server", id);
        store_txn_delete(req->txn, "server_state", id);
    }
    api_reply(req, 204, NULL);
    json_decref(server);
}

/* ---- what lies below a server ---- */

void compute_ips(struct api_req *req)
{
    json_t *server = compute_server(req), *ports;

    if (!server)
        return;
    ports = compute_server_ports(req, json_str(server, "id", ""));
    api_reply(req, 200, json_pack("{s:o}", "addresses", compute_addresses(req, ports, true)));
    json_decref(ports);
    json_decref(server);
}

void compute_ips_of(struct api_req *req)
{
    json_t *server = compute_server(req), *ports, *all, *list;
    const char *name = api_param(req, "network");

    if (!server)
        return;
    ports = compute_server_ports(req, json_str(server, "id", ""));
    all = compute_addresses(req, ports, true);
    list = json_object_get(all, name);
    if (list)
        api_reply(req, 200, json_pack("{s:O}", name, list));
    else
        api_fail(req, 404, NULL, "Network name not found");
    json_decref(all);
    json_decref(ports);
    json_decref(server);
}

void compute_interfaces(struct api_req *req)
{
    json_t *server = compute_server(req), *ports, *port, *list = json_array();
    struct server_status status;
    json_t *state;
    size_t i;

    if (!server) {
        json_decref(list);
        return;
    }
    compute_status(req, server, &status, &state);
    ports = compute_server_ports(req, json_str(server, "id", ""));
    json_array_foreach(ports, i, port)
    {
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:O}", "net_id", json_str(port, "network_id", ""),
                            "port_id", json_str(port, "id", ""), "mac_addr",
                            json_str(port, "mac_address", ""), "port_state",
                            strcmp(status.status, "ACTIVE") == 0 ? "ACTIVE" : "DOWN", "fixed_ips",
                            json_object_get(port, "fixed_ips")));
    }
    api_reply(req, 200, json_pack("{s:o}", "interfaceAttachments", list));
    json_decref(state);
    json_decref(ports);
    json_decref(server);
}
