/* Servers that are there: list, show, change, delete. */
#include "api/compute.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/pattern.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- list ---- */

struct filter {
    struct buf sql;
    json_t *params;
    struct pattern *name, *ip, *ip6; /* or NULL */
    const char *status;              /* of the API, or NULL */
};

static void add_condition(struct filter *filter, const char *column, const char *value)
{
    buf_printf(&filter->sql, "%s%s = ?", filter->sql.len ? " AND " : "WHERE ", column);
    json_array_append_new(filter->params, json_string(value));
}

/* Project: one's own, unless an administrator asks for all or for another one. */
static int filter_project(struct api_req *req, struct filter *filter)
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
        add_condition(filter, "project_id", project);
    return 0;
}

static void filter_order(struct api_req *req, struct filter *filter)
{
    static const struct {
        const char *key, *column;
    } keys[] = {{"created_at", "created_at"}, {"display_name", "name"},    {"name", "name"},
                {"updated_at", "updated_at"}, {"host", "host_id"},         {"uuid", "id"},
                {"user_id", "user_id"},       {"project_id", "project_id"}};
    const char *key = api_query(req, "sort_key"), *dir = api_query(req, "sort_dir");
    const char *column = "created_at", *down = dir && strcmp(dir, "asc") == 0 ? "" : " DESC";

    for (size_t i = 0; key && i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(keys[i].key, key) == 0)
            column = keys[i].column;
    }
    buf_printf(&filter->sql, " ORDER BY IFNULL(%s, '')%s, id%s", column, down, down);
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

static int filter_read(struct api_req *req, struct filter *filter)
{
    static const struct {
        const char *key, *column;
        bool admin;
    } simple[] = {{"image", "image_id", false},
                  {"flavor", "flavor_id", false},
                  {"user_id", "user_id", true},
                  {"host", "host_id", true},
                  {"availability_zone", "availability_zone", false},
                  {"uuid", "id", false}};
    const char *value;

    if (filter_project(req, filter) < 0)
        return -EPERM;
    for (size_t i = 0; i < sizeof(simple) / sizeof(simple[0]); i++) {
        value = api_query(req, simple[i].key);
        if (value && (req->auth.admin || !simple[i].admin))
            add_condition(filter, simple[i].column, value);
    }
    filter_order(req, filter);
    filter->status = api_query(req, "status");
    if (filter_pattern(req, "name", &filter->name) < 0 ||
        filter_pattern(req, "ip", &filter->ip) < 0 || filter_pattern(req, "ip6", &filter->ip6) < 0)
        return -EINVAL;
    return 0;
}

/* Has the server a fixed address that matches? */
static bool has_address(struct api_req *req, const struct filter *filter, const json_t *server)
{
    json_t *ports = compute_server_ports(req, json_str(server, "id", "")), *port, *fixed;
    bool v4 = !filter->ip, v6 = !filter->ip6;
    size_t i, k;

    json_array_foreach(ports, i, port)
    {
        json_array_foreach(json_object_get(port, "fixed_ips"), k, fixed)
        {
            const char *ip = json_str(fixed, "ip_address", "");

            if (strchr(ip, ':'))
                v6 = v6 || pattern_find(filter->ip6, ip);
            else
                v4 = v4 || pattern_find(filter->ip, ip);
        }
    }
    json_decref(ports);
    return v4 && v6;
}

static bool passes(struct api_req *req, const struct filter *filter, const json_t *server)
{
    struct server_status status;
    json_t *state;
    bool same;

    if (filter->name && !pattern_find(filter->name, json_str(server, "name", "")))
        return false;
    if ((filter->ip || filter->ip6) && !has_address(req, filter, server))
        return false;
    if (!filter->status)
        return true;
    compute_status(req, server, &status, &state);
    same = strcasecmp(status.status, filter->status) == 0;
    json_decref(state);
    return same;
}

static json_t *select_servers(struct api_req *req)
{
    struct filter filter = {.params = json_array()};
    json_t *rows = NULL, *kept = NULL, *row;
    size_t i;

    buf_init(&filter.sql, 4096);
    if (filter_read(req, &filter) == 0 && !filter.sql.failed) {
        rows = mirror_select_shared_json(req->db, "server", buf_text(&filter.sql), filter.params);
        kept = json_array();
        json_array_foreach(rows, i, row)
        {
            if (passes(req, &filter, row))
                json_array_append(kept, row);
        }
    }
    pattern_free(filter.name);
    pattern_free(filter.ip);
    pattern_free(filter.ip6);
    json_decref(rows);
    json_decref(filter.params);
    buf_free(&filter.sql);
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

static int take_text(struct api_req *req, const json_t *body, const char *key, json_t *server)
{
    const json_t *value = json_object_get(body, key);
    const char *text = json_string_value(value);
    bool name = strcmp(key, "name") == 0;

    if (!value)
        return 0;
    if (name ? !text || !text[strspn(text, " ")] || strlen(text) > 255
             : !(json_is_null(value) || (text && strlen(text) <= 255)))
        return compute_bad(req,
                           "Invalid input for field/attribute %s. It must be a text of at most "
                           "255 characters",
                           key);
    json_object_set(server, key, (json_t *)value);
    return 0;
}

void compute_server_update(struct api_req *req)
{
    json_t *body = api_body_object(req, "server"), *server;

    if (!body)
        return;
    server = compute_server_to_change(req);
    if (!server)
        return;
    if (take_text(req, body, "name", server) == 0 &&
        (req->microversion < MV(19) || take_text(req, body, "description", server) == 0)) {
        json_put_str(server, "updated_at", req->now);
        api_reply(req, 200,
                  json_pack("{s:o}", "server", compute_server_view(req, server, COMPUTE_CHANGED)));
        mirror_txn_update(req->txn, "server", server);
    }
    json_decref(server);
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
