#include "node/agent_rows.h"
#include "base/clock.h"
#include "base/json.h"
#include "model/port.h"

#include <string.h>

#define COMMIT_TIMEOUT_MS 5000

static enum guest_want want_of(const json_t *server)
{
    const char *power = json_str(server, "power", "running");

    if (strcmp(power, "deleted") == 0)
        return GUEST_WANT_DELETED;
    if (strcmp(power, "stopped") == 0)
        return GUEST_WANT_STOPPED;
    return strcmp(power, "paused") == 0 ? GUEST_WANT_PAUSED : GUEST_WANT_RUNNING;
}

static enum guest_seen seen_of(const struct guest_info *guest)
{
    if (!guest)
        return GUEST_SEEN_ABSENT;
    switch (guest->power) {
    case GUEST_STARTING:
        return GUEST_SEEN_STARTING;
    case GUEST_RUNNING:
        return GUEST_SEEN_RUNNING;
    case GUEST_PAUSED:
        return GUEST_SEEN_PAUSED;
    case GUEST_STOPPED:
        return GUEST_SEEN_STOPPED;
    case GUEST_ABSENT:
        break;
    }
    return GUEST_SEEN_ABSENT;
}

void agent_view(struct mirror *db, const json_t *server, const struct guest_info *guest,
                struct guest_view *ret)
{
    json_t *state = mirror_get(db, "server_state", json_str(server, "id", ""), NULL);

    memset(ret, 0, sizeof(*ret));
    ret->want = want_of(server);
    ret->generation = json_int(server, "generation", 0);
    ret->reboot_serial = json_int(server, "reboot_serial", 0);
    ret->reboot_hard = json_bool(server, "reboot_hard", false);
    ret->leaving = json_str(server, "move_to", NULL) != NULL;
    ret->seen = seen_of(guest);
    ret->seen_generation = guest ? guest->generation : 0;
    ret->reported_reboot_serial = json_int(state, "reboot_serial", 0);
    ret->reported_running = json_int(state, "generation", -1) == ret->generation &&
                            strcmp(json_str(state, "power", ""), "running") == 0;
    json_decref(state);
}

json_t *agent_ports_of(struct mirror *db, const char *server_id)
{
    json_t *server = mirror_get(db, "server", server_id, NULL);
    json_t *ports = mirror_select(
        db, "port",
        "WHERE device_id = ? AND device_owner LIKE 'compute:%' AND " PORT_SERVES
        " ORDER BY IFNULL(json_extract(body, '$.device_index'), 99), json_extract(body, "
        "'$.created_at'), id",
        "ss", server_id, json_str(server, "project_id", ""));

    json_decref(server);
    return ports;
}

static const char *power_name(enum guest_seen seen)
{
    switch (seen) {
    case GUEST_SEEN_RUNNING:
        return "running";
    case GUEST_SEEN_PAUSED:
        return "paused";
    case GUEST_SEEN_STARTING:
        return "building";
    case GUEST_SEEN_STOPPED:
    case GUEST_SEEN_ABSENT:
        break;
    }
    return "stopped";
}

/* Puts `state` (read with "_rev", or new) under the condition that nobody else wrote it and that
 * the server still has the generation we speak of. */
static struct store_txn *txn_state(const json_t *server, json_t *state, bool is_new)
{
    struct store_txn *txn = store_txn_new();
    const char *id = json_str(server, "id", "");
    char now[32];

    json_put_str(state, "updated_at", clock_iso(clock_wall_ms(), now, sizeof(now)));
    store_txn_expect(txn, "server", id, json_int(server, "_rev", 0));
    if (is_new)
        store_txn_create(txn, "server_state", id, state);
    else
        mirror_txn_update(txn, "server_state", state);
    return txn;
}

static json_t *state_of(struct mirror *db, const json_t *server, bool *ret_new)
{
    json_t *state = mirror_get(db, "server_state", json_str(server, "id", ""), NULL);

    *ret_new = !state;
    if (!state) {
        state = json_object();
        json_put_str(state, "id", json_str(server, "id", ""));
    }
    return state;
}

struct store_txn *agent_txn_report(struct mirror *db, const json_t *server, enum guest_seen seen,
                                   int64_t reboot_serial)
{
    const char *power = power_name(seen), *host = json_str(server, "host_id", "");
    int64_t generation = json_int(server, "generation", 0);
    struct store_txn *txn;
    bool is_new;
    json_t *state = state_of(db, server, &is_new);
    char now[32];

    if (!is_new && json_int(state, "generation", -1) == generation &&
        strcmp(json_str(state, "power", ""), power) == 0 &&
        strcmp(json_str(state, "host_id", ""), host) == 0 &&
        json_int(state, "reboot_serial", 0) == reboot_serial &&
        !json_is_object(json_object_get(state, "fault"))) {
        json_decref(state);
        return NULL;
    }
    json_put_str(state, "host_id", host);
    json_put_int(state, "generation", generation);
    json_put_str(state, "power", power);
    json_put_int(state, "reboot_serial", reboot_serial);
    json_object_set_new(state, "fault", json_null());
    if (seen == GUEST_SEEN_RUNNING && !json_str(state, "launched_at", NULL))
        json_put_str(state, "launched_at", clock_iso(clock_wall_ms(), now, sizeof(now)));
    txn = txn_state(server, state, is_new);
    json_decref(state);
    return txn;
}

/* Told already: every further try fails in the same way. */
static bool is_told(const json_t *server, const json_t *state, const char *message)
{
    return json_int(state, "generation", -1) == json_int(server, "generation", 0) &&
           strcmp(json_str(state, "power", ""), "error") == 0 &&
           strcmp(json_str(json_object_get(state, "fault"), "message", ""), message) == 0;
}

void agent_report_fault(struct node *node, const json_t *server, const char *message)
{
    bool is_new;
    json_t *state = state_of(node->mirror, server, &is_new);
    struct store_txn *txn;
    char now[32];

    if (is_told(server, state, message)) {
        json_decref(state);
        return;
    }
    json_put_str(state, "host_id", json_str(server, "host_id", ""));
    json_put_int(state, "generation", json_int(server, "generation", 0));
    json_put_str(state, "power", "error");
    json_object_set_new(state, "fault",
                        json_pack("{s:i, s:s, s:s}", "code", 500, "message", message, "created",
                                  clock_iso(clock_wall_ms(), now, sizeof(now))));
    txn = txn_state(server, state, is_new);
    event_add(txn, &node->config, "warning", "server.fault", json_str(server, "id", ""), "%s",
              message);
    json_decref(state);
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, NULL, NULL);
}

/* ---- forgetting a server ---- */

static void forget_port(struct mirror *db, struct store_txn *txn, json_t *port)
{
    const char *id = json_str(port, "id", "");
    int64_t guard = 0;
    json_t *rows, *row;
    size_t i;

    if (json_bool(port, "kept", false)) {
        json_put_str(port, "device_id", "");
        json_put_str(port, "device_owner", "");
        json_put_str(port, "device_project", NULL);
        json_put_bool(port, "kept", false);
        mirror_txn_update(txn, "port", port);
        return;
    }
    rows = mirror_select(db, "floatingip", "WHERE port_id = ?", "s", id);
    json_array_foreach(rows, i, row)
    {
        json_put_str(row, "port_id", NULL);
        json_put_str(row, "fixed_ip_address", NULL);
        json_put_str(row, "router_id", NULL);
        json_put_str(row, "status", "DOWN");
        mirror_txn_update(txn, "floatingip", row);
    }
    json_decref(rows);
    rows = mirror_select(db, "ip", "WHERE port_id = ?", "s", id);
    json_array_foreach(rows, i, row) store_txn_delete(txn, "ip", json_str(row, "id", ""));
    json_decref(rows);
    /* Its guard moves when somebody gives it a floating IP at this moment. */
    json_decref(mirror_get(db, "guard", id, &guard));
    store_txn_expect(txn, "guard", id, guard);
    if (guard)
        store_txn_delete(txn, "guard", id);
    store_txn_expect(txn, "port", id, json_int(port, "_rev", 0));
    store_txn_delete(txn, "port", id);
}

struct store_txn *agent_txn_forget(struct mirror *db, const json_t *server)
{
    struct store_txn *txn = store_txn_new();
    const char *id = json_str(server, "id", "");
    json_t *ports = agent_ports_of(db, id), *port;
    size_t i;

    json_array_foreach(ports, i, port) forget_port(db, txn, port);
    json_decref(ports);
    store_txn_expect(txn, "server", id, json_int(server, "_rev", 0));
    store_txn_delete(txn, "server", id);
    store_txn_delete(txn, "server_state", id);
    return txn;
}

struct store_txn *agent_txn_accept_stop(const json_t *server)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_deep_copy(server);

    json_put_str(row, "power", "stopped");
    mirror_txn_update(txn, "server", row);
    json_decref(row);
    return txn;
}

struct store_txn *agent_txn_hand_over(const struct config *config, const json_t *server)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_deep_copy(server);
    const char *to = json_str(server, "move_to", config->host);

    event_add(txn, config, "info", "server.moved", json_str(server, "id", ""),
              "from %s, which is drained, to %s", config->host, to);
    json_put_str(row, "host_id", to);
    json_put_int(row, "generation", json_int(server, "generation", 0) + 1);
    json_object_set_new(row, "move_to", json_null());
    mirror_txn_update(txn, "server", row);
    json_decref(row);
    return txn;
}
