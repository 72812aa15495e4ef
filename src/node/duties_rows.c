#include "node/duties_rows.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "node/agent_rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_RESERVED_MB 512

struct duties_input {
    struct recovery_input input;
    json_t *rows[5];                 /* hosts, servers, routers, networks, modules */
    json_t *groups;                  /* of servers */
    struct recovery_server *servers; /* the input's */
};

static const char *const api_module = "api-vip";

/* ---- reading ---- */

/* A host that is no controller does not watch the others; it only shows what is known (status). */
static enum liveness_verdict verdict_of(struct node *node, const char *host)
{
    if (!node->liveness)
        return LIVE_UNKNOWN;
    return strcmp(host, node->config.host) == 0 ? LIVE_ALIVE : liveness_state(node->liveness, host);
}

/* Of the controllers that hear the plane themselves the first one says who does not speak on it, so
 * that two who hear differently do not contradict each other in turns. */
static bool is_judge(struct node *node, const char *host, enum liveness_plane plane)
{
    for (size_t i = 0; i < node->config.controller_count; i++) {
        const char *controller = node->config.controllers[i].host;

        if (strcmp(controller, host) != 0 && verdict_of(node, controller) == LIVE_ALIVE &&
            liveness_plane_up(node->liveness, controller, plane))
            return strcmp(controller, node->config.host) == 0;
    }
    return false;
}

static void read_planes(struct node *node, const json_t *row, struct recovery_host *to)
{
    const json_t *planes = json_object_get(row, "planes");

    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        bool silent = json_has_str(row, "silent", liveness_plane_name(plane));

        to->silent |= silent ? PLANE_BIT(plane) : 0;
        /* One that is not heard at all is the verdict's business. */
        if (to->verdict == LIVE_ALIVE && node->liveness && is_judge(node, to->id, plane))
            silent = liveness_plane_silent(node->liveness, to->id, plane);
        to->silent_now |= silent ? PLANE_BIT(plane) : 0;
    }
    to->uplink_down = (to->silent & PLANE_BIT(PLANE_TENANT)) ||
                      strcmp(json_str(planes, "tenant", ""), "down") == 0 ||
                      strcmp(json_str(planes, "external", ""), "down") == 0;
}

static int64_t may_hold_ms(struct node *node, const char *host, bool leased)
{
    int64_t now = clock_now_ms(), idle;

    if (!node->liveness)
        return 0;
    liveness_leased(node->liveness, host, leased, now);
    idle = liveness_idle_ms(node->liveness, host, now);
    return idle < LEASE_TTL_MS ? LEASE_TTL_MS - idle : 0;
}

static int64_t state_ms(struct node *node, const json_t *row)
{
    char said[64];

    if (!node->liveness)
        return 0;
    snprintf(said, sizeof(said), "%s %s", json_str(row, "state", ""), json_str(row, "since", ""));
    return liveness_row_ms(node->liveness, json_str(row, "id", ""), said, clock_now_ms());
}

static json_t *lease_of(struct node *node, const char *host)
{
    char name[80];

    snprintf(name, sizeof(name), "host/%s", host);
    return mirror_get(node->mirror, "lease", name, NULL);
}

static void read_hosts(struct node *node, json_t *rows, struct recovery_host *to)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_t *lease;

        to[i].id = json_str(row, "id", "");
        to[i].cabinet = json_str(row, "cabinet", "");
        to[i].controller = json_has_str(row, "roles", "controller");
        to[i].compute = json_has_str(row, "roles", "compute");
        to[i].network = json_has_str(row, "roles", "network");
        to[i].disabled = json_bool(row, "disabled", false);
        to[i].draining = json_bool(row, "draining", false);
        to[i].state = host_state_parse(json_str(row, "state", ""));
        to[i].epoch = json_int(row, "epoch", 1);
        to[i].state_ms = state_ms(node, row);
        to[i].verdict = verdict_of(node, to[i].id);
        lease = lease_of(node, to[i].id);
        to[i].lease_present = lease != NULL;
        to[i].lease_epoch = json_int(lease, "epoch", 0);
        to[i].may_hold_ms = may_hold_ms(node, to[i].id, lease != NULL);
        json_decref(lease);
        to[i].vcpus = json_int(row, "vcpus", 1);
        to[i].ram_mb = json_int(row, "ram_mb", 0);
        read_planes(node, row, &to[i]);
    }
}

static enum server_power power_of(const char *name)
{
    if (strcmp(name, "deleted") == 0)
        return SERVER_DELETED;
    if (strcmp(name, "stopped") == 0)
        return SERVER_STOPPED;
    return strcmp(name, "paused") == 0 ? SERVER_PAUSED : SERVER_RUNNING;
}

static enum placement_policy policy_of(const json_t *groups, const char *id)
{
    const json_t *group;
    size_t i;

    json_array_foreach(groups, i, group)
    {
        if (strcmp(json_str(group, "id", ""), id) == 0)
            return placement_policy_parse(json_str(group, "policy", NULL));
    }
    return PLACEMENT_NO_POLICY; /* the group was deleted, its servers stay */
}

static void read_servers(json_t *rows, const json_t *groups, struct recovery_server *to)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const json_t *flavor = json_object_get(row, "flavor");
        const char *priority = json_str(json_object_get(row, "metadata"), "ha:priority", "0");

        to[i].id = json_str(row, "id", "");
        to[i].host = json_str(row, "host_id", NULL);
        to[i].move_to = json_str(row, "move_to", NULL);
        to[i].stays = json_str(row, "stays", NULL);
        to[i].generation = json_int(row, "generation", 0);
        to[i].power = power_of(json_str(row, "power", "running"));
        to[i].vcpus = json_int(flavor, "vcpus", 1);
        to[i].ram_mb = json_int(flavor, "ram", 64);
        to[i].priority = (int)strtol(priority, NULL, 10);
        to[i].created_ms = clock_parse_iso(json_str(row, "created_at", ""));
        to[i].zone = json_str(row, "availability_zone", NULL);
        to[i].group = json_str(row, "server_group_id", NULL);
        to[i].policy = to[i].group ? policy_of(groups, to[i].group) : PLACEMENT_NO_POLICY;
        to[i].faulted = json_is_object(json_object_get(row, "fault"));
    }
}

static void read_networks(struct mirror *db, json_t *rows, struct recovery_network *to)
{
    json_t *row, *host;
    size_t i, k;

    json_array_foreach(rows, i, row)
    {
        to[i].id = json_str(row, "id", "");
        to[i].dhcp_wanted =
            mirror_count(db, "port", "WHERE network_id = ? AND device_owner = 'network:dhcp'", "s",
                         to[i].id) > 0;
        json_array_foreach(json_object_get(row, "dhcp_hosts"), k, host)
        {
            if (k < RECOVERY_DHCP_HOSTS && json_is_string(host))
                to[i].dhcp_hosts[k] = json_string_value(host);
        }
    }
}

static void read_rest(struct duties_input *in, struct recovery_router *routers,
                      struct recovery_module *modules)
{
    json_t *row;
    size_t i;

    json_array_foreach(in->rows[2], i, row)
    {
        routers[i].id = json_str(row, "id", "");
        routers[i].host = json_str(row, "host_id", NULL);
        routers[i].generation = json_int(row, "generation", 0);
    }
    modules[0].id = api_module;
    json_array_foreach(in->rows[4], i, row)
    {
        modules[i].id = json_str(row, "id", "");
        modules[i].master = json_str(row, "master", NULL);
        modules[i].standby = json_str(row, "standby", NULL);
        modules[i].backup = json_str(row, "backup", NULL);
        modules[i].generation = json_int(row, "generation", 0);
    }
}

struct duties_input *duties_input_read(struct node *node)
{
    struct duties_input *in = calloc(1, sizeof(*in));
    size_t n[5];
    void *arrays[5];
    static const size_t sizes[5] = {sizeof(struct recovery_host), sizeof(struct recovery_server),
                                    sizeof(struct recovery_router), sizeof(struct recovery_network),
                                    sizeof(struct recovery_module)};

    if (!in)
        return NULL;
    in->rows[0] = mirror_select(node->mirror, "host", "ORDER BY id", "");
    in->rows[1] = mirror_select(node->mirror, "server", "ORDER BY id", "");
    in->rows[2] = mirror_select(node->mirror, "router", "ORDER BY id", "");
    in->rows[3] = mirror_select(node->mirror, "network", "WHERE external = 0 ORDER BY id", "");
    in->rows[4] = mirror_select(node->mirror, "module", "ORDER BY id", "");
    in->groups = mirror_select(node->mirror, "server_group", "ORDER BY id", "");
    for (int i = 0; i < 5; i++) {
        n[i] = json_array_size(in->rows[i]);
        arrays[i] = calloc(n[i] + 1, sizes[i]);
        if (!arrays[i])
            abort();
    }
    read_hosts(node, in->rows[0], arrays[0]);
    read_servers(in->rows[1], in->groups, arrays[1]);
    read_networks(node->mirror, in->rows[3], arrays[3]);
    read_rest(in, arrays[2], arrays[4]);
    in->input = (struct recovery_input){
        .hosts = arrays[0],
        .host_count = n[0],
        .servers = in->servers = arrays[1],
        .server_count = n[1],
        .routers = arrays[2],
        .router_count = n[2],
        .networks = arrays[3],
        .network_count = n[3],
        .modules = arrays[4],
        .module_count = n[4] ? n[4] : 1, /* the module's row is made by the first plan */
        .options = {.host_reserved_mb = HOST_RESERVED_MB},
    };
    return in;
}

const struct recovery_input *duties_input_get(const struct duties_input *input)
{
    return &input->input;
}

static int by_name(const void *name, const void *host)
{
    return strcmp(name, ((const struct recovery_host *)host)->id);
}

static bool has_row(const struct recovery_input *in, const char *host)
{
    return bsearch(host, in->hosts, in->host_count, sizeof(*in->hosts), by_name) != NULL;
}

void duties_input_watch(struct duties_input *in, struct node *node, struct absents *absents,
                        int64_t now)
{
    /* While rows are still being restored, one that is missing says nothing. */
    size_t count = cloud_complete(node) ? in->input.server_count : 0;

    absents_begin(absents);
    for (size_t i = 0; i < count; i++) {
        struct recovery_server *server = &in->servers[i];
        json_t *lease;

        if (!server->host || !server->host[0] || has_row(&in->input, server->host))
            continue;
        lease = lease_of(node, server->host);
        server->absent_ms = absents_see(absents, server->host, lease != NULL, now);
        json_decref(lease);
    }
    absents_end(absents);
}

void duties_input_free(struct duties_input *in)
{
    if (!in)
        return;
    free((void *)in->input.hosts);
    free((void *)in->input.servers);
    free((void *)in->input.routers);
    free((void *)in->input.networks);
    free((void *)in->input.modules);
    for (int i = 0; i < 5; i++)
        json_decref(in->rows[i]);
    json_decref(in->groups);
    free(in);
}

/* ---- writing ---- */

static void stamp(json_t *row, const char *key)
{
    char now[32];

    json_put_str(row, key, clock_iso_us(clock_wall_ms(), now, sizeof(now)));
}

static void put_name(json_t *row, const char *key, const char *name)
{
    json_put_str(row, key, name[0] ? name : NULL);
}

/* The proof on which a fenced host's writers are taken for gone: its lease's row does not exist. */
static void expect_no_lease(struct store_txn *txn, const char *host)
{
    char name[80];

    snprintf(name, sizeof(name), "host/%s", host);
    store_txn_expect(txn, STORE_LEASE_TABLE, name, 0);
}

/* The same, and the host's row is still the one that was decided on, or there is still none. */
static void expect_left_behind(struct node *node, struct store_txn *txn, const char *host)
{
    int64_t revision;

    json_decref(mirror_get(node->mirror, "host", host, &revision));
    store_txn_expect(txn, "host", host, revision);
    expect_no_lease(txn, host);
}

static void txn_host(struct node *node, struct store_txn *txn, json_t *row,
                     const struct recovery_action *a)
{
    const char *severity = a->state == HOST_UP        ? "info"
                           : a->state == HOST_SUSPECT ? "warning"
                                                      : "critical";
    char kind[40];

    json_put_str(row, "state", host_state_name(a->state));
    json_put_int(row, "epoch", a->epoch);
    json_put_str(row, "reason", a->text);
    stamp(row, "since");
    if (a->state == HOST_FENCED)
        expect_no_lease(txn, a->object);
    snprintf(kind, sizeof(kind), "host.%s", host_state_name(a->state));
    event_add(txn, &node->config, severity, kind, a->object, "%s", a->text);
    mirror_txn_update(txn, "host", row);
}

static void txn_planes(struct node *node, struct store_txn *txn, json_t *row,
                       const struct recovery_action *a)
{
    json_t *silent = json_array();

    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        const char *name = liveness_plane_name(plane);
        bool was = json_has_str(row, "silent", name), is = a->planes & PLANE_BIT(plane);

        if (is)
            json_array_append_new(silent, json_string(name));
        if (is != was)
            event_add(txn, &node->config, is ? "warning" : "info",
                      is ? "host.plane_lost" : "host.plane_back", a->object,
                      is ? "not heard on the %s plane any more, only on others"
                         : "heard on the %s plane again",
                      name);
    }
    json_object_set_new(row, "silent", silent);
    mirror_txn_update(txn, "host", row);
}

/* Members of a group are placed one after the other: of two controllers that chose places at the
 * same time, each without the other's choice, one has to choose again. */
static void take_group_turn(struct node *node, struct store_txn *txn, const json_t *server)
{
    const char *group = json_str(server, "server_group_id", NULL);
    json_t *guard;
    int64_t revision;
    char now[32];

    if (!group)
        return;
    json_decref(mirror_get(node->mirror, "guard", group, &revision));
    store_txn_expect(txn, "guard", group, revision);
    guard =
        json_pack("{s:s, s:s}", "id", group, "at", clock_iso(clock_wall_ms(), now, sizeof(now)));
    store_txn_put(txn, "guard", group, guard);
    json_decref(guard);
}

/* Puts a server on a host. A move needs the proof that the old host's copy writes no more, in the
 * same transaction: the lease is gone and the host's row is still the one that was decided on. */
static void txn_server(struct node *node, struct store_txn *txn, json_t *row,
                       const struct recovery_action *a)
{
    int64_t revision;
    bool move = a->kind == RECOVERY_SERVER_MOVE;

    if (move)
        expect_left_behind(node, txn, a->from);
    json_decref(mirror_get(node->mirror, "host", a->host, &revision));
    store_txn_expect(txn, "host", a->host, revision);
    take_group_turn(node, txn, row);
    json_put_str(row, "host_id", a->host);
    json_put_int(row, "generation", a->generation);
    json_object_set_new(row, "fault", json_null());
    json_object_set_new(row, "move_to", json_null());
    json_object_set_new(row, "stays", json_null());
    if (move)
        event_add(txn, &node->config, "warning", "server.moved", a->object,
                  "from %s, which %s, to %s", a->from, a->text, a->host);
    else
        event_add(txn, &node->config, "info", "server.placed", a->object, "on %s", a->host);
    mirror_txn_update(txn, "server", row);
}

/* Only says where to; the host itself hands the server over when nothing of it runs there. */
static void txn_leave(struct node *node, struct store_txn *txn, json_t *row,
                      const struct recovery_action *a)
{
    take_group_turn(node, txn, row);
    json_put_str(row, "move_to", a->host);
    json_object_set_new(row, "stays", json_null());
    event_add(txn, &node->config, "info", "server.leaving", a->object, "%s is drained: to %s",
              a->from, a->host);
    mirror_txn_update(txn, "server", row);
}

static void txn_stays(struct node *node, struct store_txn *txn, json_t *row,
                      const struct recovery_action *a)
{
    json_put_str(row, "stays", a->text[0] ? a->text : NULL);
    if (a->text[0])
        event_add(txn, &node->config, "warning", "server.stays", a->object,
                  "cannot leave %s, which is drained: %s", a->from, a->text);
    mirror_txn_update(txn, "server", row);
}

static void txn_fault(struct node *node, struct store_txn *txn, json_t *row,
                      const struct recovery_action *a)
{
    char now[32];

    if (!a->text[0]) {
        json_object_set_new(row, "fault", json_null());
        event_add(txn, &node->config, "info", "server.host_back", a->object,
                  "no host would take it, and now %s is back", a->from);
        mirror_txn_update(txn, "server", row);
        return;
    }
    json_object_set_new(row, "fault",
                        json_pack("{s:i, s:s, s:s}", "code", 500, "message", a->text, "created",
                                  clock_iso(clock_wall_ms(), now, sizeof(now))));
    event_add(txn, &node->config, "warning", "server.no_host", a->object, "%s", a->text);
    mirror_txn_update(txn, "server", row);
}

static void txn_dhcp(struct store_txn *txn, json_t *row, const struct recovery_action *a)
{
    json_t *hosts = json_array();

    for (size_t i = 0; i < RECOVERY_DHCP_HOSTS && a->dhcp_hosts[i][0]; i++)
        json_array_append_new(hosts, json_string(a->dhcp_hosts[i]));
    json_object_set_new(row, "dhcp_hosts", hosts);
    mirror_txn_update(txn, "network", row);
}

static void fill_module(struct node *node, struct store_txn *txn, json_t *row,
                        const struct recovery_action *a)
{
    bool moved = strcmp(json_str(row, "master", ""), a->master) != 0;

    if (moved)
        event_add(txn, &node->config, json_str(row, "master", NULL) ? "warning" : "info",
                  "module.moved", a->object, "master is %s now (was %s)", a->master,
                  json_str(row, "master", "nobody"));
    put_name(row, "master", a->master);
    put_name(row, "standby", a->standby);
    put_name(row, "backup", a->backup);
    json_put_int(row, "generation", a->generation);
    stamp(row, "since");
}

static struct store_txn *txn_module(struct node *node, const struct recovery_action *a)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = mirror_get(node->mirror, "module", a->object, NULL);
    bool is_new = !row;

    if (is_new) {
        row = json_object();
        json_put_str(row, "id", a->object);
    }
    fill_module(node, txn, row, a);
    if (is_new)
        store_txn_create(txn, "module", a->object, row);
    else
        mirror_txn_update(txn, "module", row);
    json_decref(row);
    return txn;
}

static struct store_txn *txn_forget(struct node *node, const struct recovery_action *a)
{
    json_t *server = mirror_get(node->mirror, "server", a->object, NULL);
    struct store_txn *txn = NULL;
    int rc = 0;

    if (server) {
        txn = agent_txn_forget(node->mirror, server);
        if (json_str(server, "host_id", NULL))
            expect_left_behind(node, txn, json_str(server, "host_id", ""));
        if (node->storage_ops->shared)
            rc = node->storage_ops->disk_delete(node->storage, a->object);
        /* The server goes all the same: nobody could do more about it than the sweep
         * (node/sweep.h), which deletes the disk later. */
        if (rc < 0 && rc != -ENOENT)
            log_warn("the disk of the deleted server %s stays for now: %s", a->object,
                     strerror(-rc));
    }
    json_decref(server);
    return txn;
}

static const char *table_of(enum recovery_kind kind)
{
    switch (kind) {
    case RECOVERY_HOST:
    case RECOVERY_PLANES:
        return "host";
    case RECOVERY_ROUTER:
        return "router";
    case RECOVERY_DHCP:
        return "network";
    default:
        return "server";
    }
}

struct store_txn *duties_txn(struct node *node, const struct recovery_action *a)
{
    struct store_txn *txn;
    json_t *row;

    if (a->kind == RECOVERY_MODULE)
        return txn_module(node, a);
    if (a->kind == RECOVERY_SERVER_FORGET)
        return txn_forget(node, a);
    row = mirror_get(node->mirror, table_of(a->kind), a->object, NULL);
    if (!row)
        return NULL;
    txn = store_txn_new();
    if (a->kind == RECOVERY_HOST) {
        txn_host(node, txn, row, a);
    } else if (a->kind == RECOVERY_PLANES) {
        txn_planes(node, txn, row, a);
    } else if (a->kind == RECOVERY_SERVER_FAULT) {
        txn_fault(node, txn, row, a);
    } else if (a->kind == RECOVERY_SERVER_LEAVE) {
        txn_leave(node, txn, row, a);
    } else if (a->kind == RECOVERY_SERVER_STAYS) {
        txn_stays(node, txn, row, a);
    } else if (a->kind == RECOVERY_ROUTER) {
        put_name(row, "host_id", a->host);
        json_put_int(row, "generation", a->generation);
        event_add(txn, &node->config, a->from[0] ? "warning" : "info", "router.placed", a->object,
                  "on %s%s%s", a->host[0] ? a->host : "no host", a->text[0] ? ": " : "", a->text);
        mirror_txn_update(txn, "router", row);
    } else if (a->kind == RECOVERY_DHCP) {
        txn_dhcp(txn, row, a);
    } else {
        txn_server(node, txn, row, a);
    }
    json_decref(row);
    return txn;
}
