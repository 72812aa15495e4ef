/* The host's own HTTP service on port 7700, for other hosts and for the `vling` command. Both show
 * a certificate of the cluster's CA; nobody else gets past the TLS handshake.
 *
 *   GET  /v1/status            what this controller or host knows of the cloud
 *   GET  /v1/rows?table=T      all rows of a table (secrets left out)
 *   GET  /v1/backup            all rows with their secrets; for controllers only
 *   GET  /v1/events?after=REVISION&limit=N   the next in the order of their commits; without
 *                              `after` the last
 *   GET  /v1/console/<server>?max=BYTES
 *   GET  /v1/uptime            of the machine
 *   GET, POST /v1/controllers, GET /v1/authority: see controllers.h; changes by controllers only
 *   GET, POST /v1/tokens: see tokens.h; for controllers only
 *   POST /v1/certificate: see certificate.h
 *   POST /v1/host/<name>, /v1/cabinet/<name>  {"disabled": bool, "draining": bool (false if
 *                              missing)}: one host, or all of a cabinet in one transaction
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ha/survive.h"
#include "model/server.h"
#include "model/tables.h"
#include "node/backup.h"
#include "node/certificate.h"
#include "node/controllers.h"
#include "node/duties_rows.h"
#include "node/node.h"
#include "node/pki.h"
#include "node/reads.h"
#include "node/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <utmpx.h>

#define BODY_MAX (64 * 1024)
#define CONSOLE_MAX (1024 * 1024)
#define READ_TIMEOUT_MS 2000
#define COMMIT_TIMEOUT_MS 5000
#define EVENTS_MAX 1000

/* A request that waits for a barrier or a commit. */
struct pending {
    struct node *node;
    struct http_request *request;
    void (*answer)(struct pending *pending);
    bool stale;
};

void admin_reply(struct http_request *request, unsigned status, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);

    http_reply_header(request, "Content-Type", "application/json");
    http_reply(request, text ? status : 500, text ? text : "", text ? strlen(text) : 0);
    free(text);
    json_decref(body);
}

void admin_error(struct http_request *request, unsigned status, const char *message)
{
    admin_reply(request, status, json_pack("{s:s}", "error", message));
}

/* ---- status ---- */

static json_t *count_servers(struct mirror *db)
{
    json_t *counts = json_object(), *servers = mirror_select(db, "server", "", ""), *server;
    size_t i;

    json_array_foreach(servers, i, server)
    {
        json_t *state = mirror_get(db, "server_state", json_str(server, "id", ""), NULL);
        struct server_status status;

        server_status(server, state, &status);
        json_put_int(counts, status.status, json_int(counts, status.status, 0) + 1);
        json_decref(state);
    }
    json_decref(servers);
    return counts;
}

static json_t *list_hosts(struct mirror *db)
{
    json_t *hosts = mirror_select(db, "host", "ORDER BY id", ""), *host;
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        char name[80];
        json_t *lease;

        snprintf(name, sizeof(name), "host/%s", json_str(host, "id", ""));
        lease = mirror_get(db, "lease", name, NULL);
        json_put_bool(host, "lease", lease != NULL);
        json_put_int(
            host, "servers",
            mirror_count(db, "server", "WHERE host_id = ?", "s", json_str(host, "id", "")));
        json_put_int(
            host, "routers",
            mirror_count(db, "router", "WHERE host_id = ?", "s", json_str(host, "id", "")));
        json_object_del(host, "_rev");
        json_decref(lease);
    }
    return hosts;
}

/* Who plans: all controllers do, and the first one that is alive acts first (duties.c). */
static json_t *planner_module(struct node *node)
{
    static const char *const places[] = {"master", "standby", "backup"};
    json_t *module = json_pack("{s:s}", "id", "planner");
    size_t at = 0;

    for (size_t i = 0; i < node->config.controller_count && at < 3; i++) {
        json_t *host = mirror_get(node->mirror, "host", node->config.controllers[i].host, NULL);

        if (strcmp(json_str(host, "state", ""), "up") == 0)
            json_put_str(module, places[at++], node->config.controllers[i].host);
        json_decref(host);
    }
    while (at < 3)
        json_object_set_new(module, places[at++], json_null());
    return module;
}

/* Who leads the store; the others hold the same and take over by election. */
static json_t *store_module(struct node *node, const struct store_status *store)
{
    static const char *const places[] = {"master", "standby", "backup"};
    const struct config *c = &node->config;
    json_t *module =
        json_pack("{s:s, s:n, s:n, s:n}", "id", "store", places[0], places[1], places[2]);
    size_t at = 1;

    if (c->sqlite)
        json_put_str(module, places[0], c->host);
    for (size_t i = 0; i < c->controller_count && !c->sqlite; i++) {
        json_t *host = mirror_get(node->mirror, "host", c->controllers[i].host, NULL);
        char url[100];

        snprintf(url, sizeof(url), "https://%s:2379", c->controllers[i].ip);
        if (strcmp(store->leader, url) == 0)
            json_put_str(module, places[0], c->controllers[i].host);
        else if (at < 3 && strcmp(json_str(host, "state", ""), "up") == 0)
            json_put_str(module, places[at++], c->controllers[i].host);
        json_decref(host);
    }
    return module;
}

/* {host: [id, ...]} of the rows of `table` that name a host in `key`; "" stands for nowhere. */
static json_t *list_holders(struct mirror *db, const char *table, const char *key)
{
    json_t *holders = json_object(), *rows = mirror_select(db, table, "ORDER BY id", ""), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const json_t *value = json_object_get(row, key);
        const char *host =
            json_string_value(json_is_array(value) ? json_array_get(value, 0) : value);

        if (json_is_array(value) && !host)
            continue; /* it has none, and wants none */
        if (!json_object_get(holders, host ? host : ""))
            json_object_set_new(holders, host ? host : "", json_array());
        json_array_append(json_object_get(holders, host ? host : ""), json_object_get(row, "id"));
    }
    json_decref(rows);
    return holders;
}

static json_t *list_modules(struct node *node, const struct store_status *store)
{
    json_t *modules = mirror_select(node->mirror, "module", "ORDER BY id", ""), *module;
    size_t i;

    json_array_foreach(modules, i, module) json_object_del(module, "_rev");
    json_array_append_new(modules, planner_module(node));
    json_array_append_new(modules, store_module(node, store));
    return modules;
}

#define LOSSES_MAX 256

/* What would happen if each cabinet and each host were lost now. */
static json_t *list_losses(struct node *node)
{
    struct survive_loss *losses = calloc(LOSSES_MAX, sizeof(*losses));
    struct duties_input *input = duties_input_read(node);
    json_t *list = json_array();
    int n = losses && input ? survive_check(duties_input_get(input), losses, LOSSES_MAX) : 0;

    for (int i = 0; i < n && i < LOSSES_MAX; i++) {
        const struct survive_loss *loss = &losses[i];

        json_array_append_new(
            list, json_pack("{s:s, s:s, s:b, s:I, s:I, s:s}", "loss", loss->name, "kind",
                            loss->cabinet ? "cabinet" : "host", "survived", loss->why[0] == '\0',
                            "servers", (json_int_t)loss->servers, "stranded",
                            (json_int_t)loss->servers_stranded, "why", loss->why));
    }
    duties_input_free(input);
    free(losses);
    return list;
}

static json_t *count_reads(const struct node *node)
{
    struct reads_counters counters;

    if (!node->reads)
        return json_null();
    reads_get_counters(node->reads, &counters);
    return json_pack("{s:b, s:I, s:I}", "lease_held", counters.held, "at_once",
                     (json_int_t)counters.at_once, "asked", (json_int_t)counters.asked);
}

static void answer_status(struct pending *pending)
{
    struct node *node = pending->node;
    struct store_status store;
    json_t *body = json_object();

    store_get_status(node->store, &store);
    json_put_str(body, "host", node->config.host);
    json_put_str(body, "version", VLING_VERSION);
    json_put_bool(body, "stale", pending->stale);
    json_put_bool(body, "lease_held", lease_keeper_held(node->lease));
    json_object_set_new(body, "store",
                        json_pack("{s:s, s:b, s:I, s:I, s:s}", "engine", store.engine, "reachable",
                                  store.reachable, "revision", (json_int_t)store.revision,
                                  "size_bytes", (json_int_t)store.size_bytes, "detail",
                                  store.detail));
    json_object_set_new(body, "reads", count_reads(node));
    json_object_set_new(body, "hosts", list_hosts(node->mirror));
    json_object_set_new(body, "modules", list_modules(node, &store));
    json_object_set_new(body, "routers", list_holders(node->mirror, "router", "host_id"));
    json_object_set_new(body, "dhcp", list_holders(node->mirror, "network", "dhcp_hosts"));
    json_object_set_new(body, "servers", count_servers(node->mirror));
    json_object_set_new(body, "losses", list_losses(node));
    admin_reply(pending->request, 200, body);
}

/* ---- rows and events ---- */

static void hide_secrets(const struct resource *resource, json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_object_del(row, "_rev");
        resource_hide_secrets(resource, row);
    }
}

static void answer_rows(struct pending *pending)
{
    const char *table = http_query(pending->request, "table");
    const struct resource *resource = table ? resource_find(table) : NULL;
    json_t *rows;

    if (!resource) {
        admin_error(pending->request, 404, "there is no such table");
        return;
    }
    rows = mirror_select(pending->node->mirror, resource->table, "ORDER BY id", "");
    hide_secrets(resource, rows);
    admin_reply(pending->request, 200, json_pack("{s:o}", "rows", rows));
}

/* "_rev" is told as "revision". Those of one commit are told together: where the limit may have cut
 * some off, they all come with the next question. */
static void number_events(json_t *events, int64_t limit)
{
    size_t n = json_array_size(events);
    int64_t last = json_int(json_array_get(events, n ? n - 1 : 0), "_rev", 0);
    json_t *event;
    size_t i;

    if ((int64_t)n == limit && json_int(json_array_get(events, 0), "_rev", 0) != last) {
        while (json_int(json_array_get(events, n - 1), "_rev", 0) == last)
            json_array_remove(events, --n);
    }
    json_array_foreach(events, i, event)
    {
        json_object_set(event, "revision", json_object_get(event, "_rev"));
        json_object_del(event, "_rev");
    }
}

static void answer_events(struct pending *pending)
{
    const char *after = http_query(pending->request, "after");
    const char *limit = http_query(pending->request, "limit");
    int64_t n = limit ? strtoll(limit, NULL, 10) : 100;
    json_t *events;

    if (n < 1 || n > EVENTS_MAX)
        n = EVENTS_MAX;
    if (after && *after)
        events =
            mirror_select(pending->node->mirror, "event", "WHERE rev > ? ORDER BY rev, id LIMIT ?",
                          "ii", (int64_t)strtoll(after, NULL, 10), n);
    else
        events = mirror_select(pending->node->mirror, "event",
                               "WHERE id IN (SELECT id FROM event ORDER BY rev DESC, id DESC LIMIT "
                               "?) ORDER BY rev, id",
                               "i", n);
    number_events(events, n);
    admin_reply(pending->request, 200, json_pack("{s:o}", "events", events));
}

static void on_read(void *arg, int rc)
{
    struct pending *pending = arg;

    /* Without the store an operator still wants to see the last known state, marked as such. */
    pending->stale = rc < 0;
    pending->answer(pending);
    free(pending);
}

static void read_then(struct node *node, struct http_request *request,
                      void (*answer)(struct pending *pending))
{
    struct pending *pending = calloc(1, sizeof(*pending));

    if (!pending) {
        admin_error(request, 503, "out of memory");
        return;
    }
    pending->node = node;
    pending->request = request;
    pending->answer = answer;
    mirror_barrier(node->mirror, READ_TIMEOUT_MS, on_read, pending);
}

static void answer_backup(struct pending *pending)
{
    if (pending->stale)
        admin_error(pending->request, 503,
                    "the store cannot be reached: a backup now could be old");
    else
        admin_reply(pending->request, 200, backup_make(pending->node));
}

/* ---- changing a host ---- */

static void on_host_written(void *arg, int rc, int64_t revision)
{
    struct pending *pending = arg;

    if (rc == 0)
        admin_reply(pending->request, 200, json_object());
    else
        admin_error(pending->request, rc == -EAGAIN ? 409 : 503,
                    rc == -EAGAIN ? "somebody else changed it at the same time: try again"
                                  : "the store cannot be reached: try again");
    free(pending);
}

static void put_host_change(struct node *node, struct store_txn *txn, json_t *host, bool disabled,
                            bool draining)
{
    bool was_disabled = json_bool(host, "disabled", false);
    const char *name = json_str(host, "id", "");

    if (draining && !json_bool(host, "draining", false))
        event_add(txn, &node->config, "info", "host.draining", name,
                  "what runs here is moved elsewhere");
    else if (disabled != was_disabled)
        event_add(txn, &node->config, "info", disabled ? "host.disabled" : "host.enabled", name,
                  "%s", disabled ? "no new servers are placed here" : "new servers may come again");
    if (!disabled)
        json_put_str(host, "disabled_reason", NULL);
    json_put_bool(host, "disabled", disabled);
    json_put_bool(host, "draining", draining);
    mirror_txn_update(txn, "host", host);
}

static bool disks_are_shared(const struct node *node)
{
    return node->storage_ops->shared &&
           json_bool(json_object_get(node->config.raw, "storage"), "shared", true);
}

/* The host of that name, or all hosts of the cabinet. */
static json_t *hosts_named(struct mirror *db, bool cabinet, const char *name)
{
    return mirror_select(db, "host", cabinet ? "WHERE cabinet = ?" : "WHERE id = ?", "s", name);
}

static void change_hosts(struct node *node, struct http_request *request, bool cabinet,
                         const char *name)
{
    size_t size, i;
    const char *text = http_body(request, &size);
    json_t *body = json_parse(text, size, NULL, 0);
    json_t *hosts = hosts_named(node->mirror, cabinet, name), *host;
    bool draining = json_bool(body, "draining", false);
    bool disabled = draining || json_bool(body, "disabled", false);
    struct pending *pending = NULL;
    struct store_txn *txn;

    if (!json_is_object(body) || !json_is_boolean(json_object_get(body, "disabled"))) {
        admin_error(request, 400, "the body must be {\"disabled\": true or false}");
    } else if (json_array_size(hosts) == 0) {
        admin_error(request, 404, cabinet ? "there is no such cabinet" : "there is no such host");
    } else if (draining && !disks_are_shared(node)) {
        admin_error(request, 409,
                    "the servers' disks are on the host itself: other hosts could "
                    "not open them");
    } else if ((pending = calloc(1, sizeof(*pending)))) {
        pending->request = request;
        txn = store_txn_new();
        json_array_foreach(hosts, i, host) put_host_change(node, txn, host, disabled, draining);
        store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_host_written, pending);
    } else {
        admin_error(request, 503, "out of memory");
    }
    json_decref(hosts);
    json_decref(body);
}

/* ---- console ---- */

static void answer_console(struct node *node, struct http_request *request, const char *id)
{
    const char *max_text = http_query(request, "max");
    long long max = max_text ? strtoll(max_text, NULL, 10) : 65536;
    char *text = NULL;
    size_t size = 0;
    int rc = -ENOENT;

    if (max < 1 || max > CONSOLE_MAX)
        max = CONSOLE_MAX;
    if (node->compute)
        rc = node->compute_ops->console_log(node->compute, id, (size_t)max, &text, &size);
    if (rc < 0) {
        admin_error(request, 404, "this host has no console log of that server");
        return;
    }
    http_reply_header(request, "Content-Type", "application/octet-stream");
    http_reply(request, 200, text, size);
    free(text);
}

/* ---- uptime ---- */

/* In the words of the command uptime, which clients of the compute service take apart. */
static void answer_uptime(struct http_request *request)
{
    const double scale = 1 << SI_LOAD_SHIFT;
    time_t now = time(NULL);
    struct sysinfo info;
    struct utmpx *entry;
    struct tm tm;
    int users = 0;

    sysinfo(&info);
    localtime_r(&now, &tm);
    setutxent();
    while ((entry = getutxent()))
        users += entry->ut_type == USER_PROCESS;
    endutxent();
    admin_reply(
        request, 200,
        json_pack("{s:o}", "uptime",
                  json_sprintf(" %02d:%02d:%02d up %ld days, %2ld:%02ld,  %d user%s,  load "
                               "average: %.2f, %.2f, %.2f",
                               tm.tm_hour, tm.tm_min, tm.tm_sec, info.uptime / 86400,
                               info.uptime / 3600 % 24, info.uptime / 60 % 60, users,
                               users == 1 ? "" : "s", (double)info.loads[0] / scale,
                               (double)info.loads[1] / scale, (double)info.loads[2] / scale)));
}

static void handle(void *arg, struct http_request *request)
{
    struct node *node = arg;
    const char *path = http_path(request), *method = http_method(request);
    bool get = strcmp(method, "GET") == 0;

    if (http_body_error(request) < 0)
        admin_error(request, 413, "the body is too large");
    else if (controllers_serve(node, request) || tokens_serve(node, request) ||
             certificate_serve(node, request))
        return;
    else if (get && strcmp(path, "/v1/status") == 0)
        read_then(node, request, answer_status);
    else if (get && strcmp(path, "/v1/rows") == 0)
        read_then(node, request, answer_rows);
    else if (get && strcmp(path, "/v1/backup") == 0) {
        if (controllers_only(node, request))
            read_then(node, request, answer_backup);
    } else if (get && strcmp(path, "/v1/events") == 0)
        read_then(node, request, answer_events);
    else if (get && strncmp(path, "/v1/console/", 12) == 0)
        answer_console(node, request, path + 12);
    else if (get && strcmp(path, "/v1/uptime") == 0)
        answer_uptime(request);
    else if (strcmp(method, "POST") == 0 && strncmp(path, "/v1/host/", 9) == 0)
        change_hosts(node, request, false, path + 9);
    else if (strcmp(method, "POST") == 0 && strncmp(path, "/v1/cabinet/", 12) == 0)
        change_hosts(node, request, true, path + 12);
    else
        admin_error(request, 404, "there is no such call");
}

int admin_start(struct node *node, struct err *err)
{
    char cert[300], key[300], ca[300];
    struct http_server_options options = {
        .address = node->config.mgmt_ip,
        .port = NODE_PEER_PORT,
        .cert_file = cert,
        .key_file = key,
        .client_ca_file = ca,
        .body_max = BODY_MAX,
        .connections_max = 200,
        .idle_seconds = 60,
        .handle = handle,
        .arg = node,
    };

    snprintf(cert, sizeof(cert), "%s/pki/host.crt", node->config.state_dir);
    snprintf(key, sizeof(key), "%s/pki/host.key", node->config.state_dir);
    snprintf(ca, sizeof(ca), "%s/pki/ca.crt", node->config.state_dir);
    node->peer_server = http_server_start(node->loop, &options, err);
    return node->peer_server ? 0 : -EIO;
}
