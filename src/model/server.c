#include "model/server.h"
#include "base/json.h"

#include <stdbool.h>
#include <string.h>

static bool is(const json_t *row, const char *key, const char *value)
{
    return strcmp(json_str(row, key, ""), value) == 0;
}

static const json_t *fault_of(const json_t *row)
{
    const json_t *fault = json_object_get(row, "fault");

    return json_is_object(fault) ? fault : NULL;
}

static void set(struct server_status *ret, const char *status, const char *vm_state,
                int power_state)
{
    ret->status = status;
    ret->vm_state = vm_state;
    ret->power_state = power_state;
}

/* What was asked for and is not reached yet. */
static const char *task_of(const json_t *server, const json_t *state)
{
    if (json_int(server, "reboot_serial", 0) > json_int(state, "reboot_serial", 0) &&
        is(server, "power", "running"))
        return json_bool(server, "reboot_hard", false) ? "rebooting_hard" : "rebooting";
    if (is(server, "power", "stopped"))
        return is(state, "power", "stopped") ? NULL : "powering-off";
    if (is(server, "power", "paused"))
        return is(state, "power", "paused") ? NULL : "pausing";
    if (is(state, "power", "stopped"))
        return "powering-on";
    return is(state, "power", "paused") ? "unpausing" : NULL;
}

static void not_reported(const json_t *server, const json_t *state, struct server_status *ret)
{
    if (!json_str(server, "host_id", NULL)) {
        set(ret, "BUILD", "building", 0);
        ret->task_state = "scheduling";
    } else if (state && json_str(state, "launched_at", NULL)) {
        set(ret, "REBUILD", "active", 0);
        ret->task_state = "rebuild_spawning";
    } else {
        set(ret, "BUILD", "building", 0);
        ret->task_state = "spawning";
    }
}

void server_status(const json_t *server, const json_t *state, struct server_status *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->fault = fault_of(server);
    if (ret->fault) {
        set(ret, "ERROR", "error", 0);
    } else if (!state || json_int(state, "generation", -1) < json_int(server, "generation", 0) ||
               is(state, "power", "building")) {
        not_reported(server, state, ret);
    } else if (is(state, "power", "error")) {
        set(ret, "ERROR", "error", 0);
        ret->fault = fault_of(state);
    } else if (is(state, "power", "stopped")) {
        set(ret, "SHUTOFF", "stopped", 4);
        ret->task_state = task_of(server, state);
    } else if (is(state, "power", "paused")) {
        set(ret, "PAUSED", "paused", 3);
        ret->task_state = task_of(server, state);
    } else {
        set(ret, "ACTIVE", "active", 1);
        ret->task_state = task_of(server, state);
        if (!ret->task_state && json_str(server, "move_to", NULL)) {
            ret->status = "MIGRATING";
            ret->task_state = "migrating";
        }
        if (ret->task_state && strncmp(ret->task_state, "rebooting", 9) == 0)
            ret->status = strcmp(ret->task_state, "rebooting") == 0 ? "REBOOT" : "HARD_REBOOT";
    }
    if (is(server, "power", "deleted"))
        ret->task_state = "deleting";
}
