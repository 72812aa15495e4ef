/* POST servers/{id}/action:
 * https://docs.openstack.org/api-ref/compute/#servers-run-an-action-servers-action
 *
 * An action changes what is wanted; the host's agent brings it about, and the answer does not wait
 * for that. Which state allows which action is as in Nova. */
#include "api/compute.h"

#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONSOLE_BYTES_MAX (256 * 1024)

struct action {
    const char *key;    /* in the body */
    const char *name;   /* in messages */
    const char *states; /* vm_states that allow it; NULL: all */
    void (*run)(struct api_req *req, json_t *server, const json_t *args);
};

static void put(struct api_req *req, json_t *server, const char *action)
{
    compute_log(req, server, action);
    json_put_str(server, "updated_at", req->now);
    mirror_txn_update(req->txn, "server", server);
    api_reply(req, 202, NULL);
}

static void want_power(struct api_req *req, json_t *server, const char *power, const char *action)
{
    json_put_str(server, "power", power);
    put(req, server, action);
}

static void start(struct api_req *req, json_t *server, const json_t *args)
{
    (void)args;
    want_power(req, server, "running", "start");
}

static void stop(struct api_req *req, json_t *server, const json_t *args)
{
    (void)args;
    want_power(req, server, "stopped", "stop");
}

static void pause_server(struct api_req *req, json_t *server, const json_t *args)
{
    (void)args;
    want_power(req, server, "paused", "pause");
}

static void unpause_server(struct api_req *req, json_t *server, const json_t *args)
{
    (void)args;
    want_power(req, server, "running", "unpause");
}

static void reboot(struct api_req *req, json_t *server, const json_t *args)
{
    const char *type = json_str(args, "type", "");
    bool hard = strcmp(type, "HARD") == 0;
    struct server_status status;
    json_t *state;

    if (!hard && strcmp(type, "SOFT") != 0) {
        compute_bad(req, "Invalid input for field/attribute type. It must be HARD or SOFT");
        return;
    }
    compute_status(req, server, &status, &state);
    if (!hard && strcmp(status.vm_state, "active") != 0) {
        api_fail(req, 409, NULL, "Cannot 'reboot' instance %s while it is in vm_state %s",
                 json_str(server, "id", ""), status.vm_state);
    } else if (!hard && status.task_state) {
        api_fail(req, 409, NULL, "Cannot 'reboot' instance %s while it is in task_state %s",
                 json_str(server, "id", ""), status.task_state);
    } else {
        json_put_int(server, "reboot_serial", json_int(server, "reboot_serial", 0) + 1);
        json_put_bool(server, "reboot_hard", hard);
        want_power(req, server, "running", "reboot");
    }
    json_decref(state);
}

/* Nova's owner is whoever acts within the server's project. */
static bool is_owner(const struct api_req *req, const json_t *server)
{
    return strcmp(req->auth.project_id, json_str(server, "project_id", "")) == 0;
}

/* What is locked its owner cannot lock otherwise; an administrator makes the owner's lock theirs.
 */
static void lock_server(struct api_req *req, json_t *server, const json_t *args)
{
    bool owner = is_owner(req, server);

    (void)args;
    if (json_bool(server, "locked", false) && owner) {
        api_reply(req, 202, NULL);
        return;
    }
    json_put_bool(server, "locked", true);
    json_put_str(server, "locked_by", owner ? "owner" : "admin");
    put(req, server, "lock");
}

/* The owner undoes only the owner's own lock. */
static void unlock_server(struct api_req *req, json_t *server, const json_t *args)
{
    (void)args;
    if (strcmp(json_str(server, "locked_by", "owner"), "admin") == 0 && !req->auth.admin) {
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be "
                 "performed.");
        return;
    }
    json_put_bool(server, "locked", false);
    json_put_str(server, "locked_by", NULL);
    put(req, server, "unlock");
}

/* ---- security groups ---- */

static json_t *without(const json_t *ids, const char *id)
{
    json_t *rest = json_array();
    const json_t *one;
    size_t i;

    json_array_foreach(ids, i, one)
    {
        if (strcmp(json_string_value(one), id) != 0)
            json_array_append(rest, (json_t *)one);
    }
    return rest;
}

static void change_groups(struct api_req *req, json_t *server, const json_t *args, bool add)
{
    const char *name = json_str(args, "name", NULL), *id = json_str(server, "id", "");
    json_t *ports, *port, *ids;
    char group[64];
    size_t i, changed = 0;

    if (!name) {
        compute_bad(req, "Invalid input for field/attribute name. 'name' is a required property");
        return;
    }
    if (api_security_group_find(req, json_str(server, "project_id", ""), name, group) < 0)
        return;
    if (add && api_security_group_use(req, group) < 0)
        return;
    ports = compute_server_own_ports(req, id);
    json_array_foreach(ports, i, port)
    {
        if (json_has_str(port, "security_groups", group) == add)
            continue;
        ids = without(json_object_get(port, "security_groups"), group);
        if (add)
            json_array_append_new(ids, json_string(group));
        json_object_set_new(port, "security_groups", ids);
        json_put_int(port, "revision_number", json_int(port, "revision_number", 0) + 1);
        json_put_str(port, "updated_at", req->now);
        mirror_txn_update(req->txn, "port", port);
        changed++;
    }
    if (!add && changed == 0)
        api_fail(req, 404, NULL, "Security group %.100s is not associated with the instance %s",
                 name, id);
    else
        api_reply(req, 202, NULL);
    json_decref(ports);
}

static void add_group(struct api_req *req, json_t *server, const json_t *args)
{
    change_groups(req, server, args, true);
}

static void remove_group(struct api_req *req, json_t *server, const json_t *args)
{
    change_groups(req, server, args, false);
}

/* ---- console ---- */

/* The last `lines` lines of a text. */
static const char *tail(const char *text, size_t size, int64_t lines)
{
    const char *at = text + size;

    if (size && at[-1] == '\n')
        at--;
    while (at > text) {
        if (at[-1] == '\n' && --lines <= 0)
            break;
        at--;
    }
    return at;
}

/* JSON texts hold neither zeros nor broken UTF-8; a console may. */
static json_t *clean_text(const char *text, size_t size)
{
    json_t *value = json_stringn(text, size);
    char *copy;

    if (value && !memchr(text, '\0', size))
        return value;
    json_decref(value);
    copy = malloc(size + 1);
    if (!copy)
        return json_string("");
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        copy[i] = c >= 0x80 || c == 0 ? '?' : (char)c;
    }
    value = json_stringn(copy, size);
    free(copy);
    return value;
}

/* How many lines are asked for: INT32_MAX for all (null, -1); -1 if it is no number of lines. */
static int64_t lines_of(const json_t *args)
{
    const json_t *length = json_object_get(args, "length");
    const char *text = json_string_value(length);

    if (!length || json_is_null(length) || (text && strcmp(text, "-1") == 0) ||
        (json_is_integer(length) && json_integer_value(length) == -1))
        return INT32_MAX;
    return compute_whole(length, INT32_MAX);
}

static void console_here(struct api_req *req, int rc, unsigned status, const char *body,
                         size_t size)
{
    const json_t *args = json_object_get(req->body, "os-getConsoleOutput");
    int64_t lines = lines_of(args);
    const char *from;

    if (rc < 0 || status >= 500) {
        api_fail(req, 503, NULL, "The host of the instance does not answer. Try again later.");
        return;
    }
    if (status != 200) {
        api_fail(req, 404, NULL, "Instance %.64s has no console log yet.", api_param(req, "id"));
        return;
    }
    from = lines == 0 ? body + size : tail(body, size, lines);
    api_reply(req, 200,
              json_pack("{s:o}", "output", clean_text(from, size - (size_t)(from - body))));
}

static void console_output(struct api_req *req, json_t *server, const json_t *args)
{
    const char *host = json_str(server, "host_id", NULL);

    if (lines_of(args) < 0) {
        compute_bad(req, "Invalid input for field/attribute length. It must be a whole number, or "
                         "-1 for all");
        return;
    }
    if (!host) {
        api_fail(req, 409, NULL, "Instance %s is not ready", json_str(server, "id", ""));
        return;
    }
    snprintf(req->peer.host, sizeof(req->peer.host), "%s", host);
    snprintf(req->peer.path, sizeof(req->peer.path), "/v1/console/%s?max=%d",
             json_str(server, "id", ""), CONSOLE_BYTES_MAX);
    req->peer.done = console_here;
}

/* ---- which ---- */

static const struct action actions[] = {
    {"os-start", "start", "stopped", start},
    {"os-stop", "stop", "active error", stop},
    {"pause", "pause", "active", pause_server},
    {"unpause", "unpause", "paused", unpause_server},
    {"reboot", "reboot", "active stopped paused error", reboot},
    {"lock", "lock", NULL, lock_server},
    {"unlock", "unlock", NULL, unlock_server},
    {"addSecurityGroup", "addSecurityGroup", NULL, add_group},
    {"removeSecurityGroup", "removeSecurityGroup", NULL, remove_group},
    {"os-getConsoleOutput", "getConsoleOutput", NULL, console_output},
};

static const struct action *find(const json_t *body)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]) && json_object_size(body) == 1;
         i++) {
        if (json_object_get(body, actions[i].key))
            return &actions[i];
    }
    return NULL;
}

/* Does the server's state allow the action? Otherwise 409. */
static bool allowed(struct api_req *req, const struct action *action, const json_t *server)
{
    const char *id = json_str(server, "id", "");
    struct server_status status;
    json_t *state;
    bool hard_reboot = strcmp(action->key, "reboot") == 0;
    bool fine = true;

    if (!action->states)
        return true;
    compute_status(req, server, &status, &state);
    if (!strstr(action->states, status.vm_state)) {
        fine = false;
        api_fail(req, 409, NULL, "Cannot '%s' instance %s while it is in vm_state %s", action->name,
                 id, status.vm_state);
    } else if (status.task_state && (!hard_reboot || strcmp(status.task_state, "deleting") == 0)) {
        fine = false;
        api_fail(req, 409, NULL, "Cannot '%s' instance %s while it is in task_state %s",
                 action->name, id, status.task_state);
    }
    json_decref(state);
    return fine;
}

void compute_server_action(struct api_req *req)
{
    const struct action *action = find(req->body);
    bool looks = action && strcmp(action->key, "os-getConsoleOutput") == 0;
    bool locks = action && (action->run == lock_server || action->run == unlock_server);
    json_t *server;

    if (!action) {
        compute_bad(req, "There is no such action: %.60s",
                    json_object_size(req->body) == 1
                        ? json_object_iter_key(json_object_iter(req->body))
                        : "the body must have the one member that names it");
        return;
    }
    if (!looks && !req->auth.writer) {
        api_fail(req, 403, NULL, "Policy doesn't allow os_compute_api:servers:%s to be performed.",
                 action->name);
        return;
    }
    server = looks || locks ? compute_server(req) : compute_server_to_change(req);
    if (server && allowed(req, action, server))
        action->run(req, server, json_object_get(req->body, action->key));
    json_decref(server);
}
