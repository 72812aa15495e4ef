#include "node/controllers.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "node/pki.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 65536
#define CALL_TIMEOUT_MS 3000
#define COMMIT_TIMEOUT_MS 5000
#define RESEAL_TICKS 20
#define CHECKS_A_SECOND 4
#define STEP_CHECKS (4 * CHECKS_A_SECOND) /* between two controllers that start again */

/* ---- the saved list ---- */

static void file_path(const char *state_dir, char *ret, size_t size)
{
    snprintf(ret, size, "%s/controllers.json", state_dir);
}

static int take_list(struct config *config, const json_t *value)
{
    const json_t *item;
    size_t i;

    config->controller_count = 0;
    config->controllers_serial = json_int(value, "serial", 0);
    json_array_foreach(json_object_get(value, "controllers"), i, item)
    {
        struct config_controller *c = &config->controllers[i];

        if (i >= CONFIG_CONTROLLERS_MAX)
            return -EINVAL;
        snprintf(c->host, sizeof(c->host), "%s", json_str(item, "host", ""));
        snprintf(c->cabinet, sizeof(c->cabinet), "%s", json_str(item, "cabinet", ""));
        snprintf(c->ip, sizeof(c->ip), "%s", json_str(item, "ip", ""));
        if (!c->host[0] || !c->ip[0])
            return -EINVAL;
        config->controller_count++;
    }
    return config->controller_count > 0 && config->controllers_serial > 0 ? 0 : -EINVAL;
}

/* The role follows from the list. */
static void take_role(struct config *config)
{
    bool listed = config_controller_index(config, config->host) >= 0;
    size_t i = 0;

    if (listed && !config_has_role(config, "controller"))
        json_array_insert_new(config->roles, 0, json_string("controller"));
    while (!listed && i < json_array_size(config->roles)) {
        const char *role = json_string_value(json_array_get(config->roles, i));

        if (role && strcmp(role, "controller") == 0)
            json_array_remove(config->roles, i);
        else
            i++;
    }
}

int controllers_load(struct config *config, struct err *err)
{
    char path[400], *text = NULL;
    size_t size;
    json_t *value;
    int rc;

    file_path(config->state_dir, path, sizeof(path));
    rc = file_read(path, FILE_MAX, &text, &size);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return err_why(err, rc, "cannot read the list of controllers", "%s: %s", path,
                       strerror(-rc));
    value = json_parse(text, size, NULL, 0);
    free(text);
    rc = take_list(config, value);
    json_decref(value);
    if (rc < 0)
        return err_set(err, rc, "the list of controllers is damaged", path,
                       "copy the file from another host of the cloud");
    take_role(config);
    return 0;
}

int controllers_save(const char *state_dir, const json_t *value, struct err *err)
{
    struct config check = {0};
    char path[400], *text;
    int rc = take_list(&check, value);

    if (rc < 0)
        return err_set(err, rc, "the list of controllers is damaged", NULL, NULL);
    file_path(state_dir, path, sizeof(path));
    text = json_dumps(value, JSON_INDENT(2));
    rc = text ? file_write_atomic(path, text, strlen(text), 0644) : -ENOMEM;
    free(text);
    return rc < 0 ? err_why(err, rc, "cannot save the list of controllers", "%s: %s", path,
                            strerror(-rc))
                  : 0;
}

bool controllers_listed(const json_t *value, const char *host)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(value, "controllers"), i, item)
    {
        if (strcmp(json_str(item, "host", ""), host) == 0)
            return true;
    }
    return false;
}

/* What is sealed: everything else, in one form, and what it is. */
static char *sealed_text(const json_t *value)
{
    json_t *bare = json_copy((json_t *)value);
    char *text, *ret = NULL;

    json_object_del(bare, "seal");
    text = json_dumps(bare, JSON_COMPACT | JSON_SORT_KEYS);
    if (text && asprintf(&ret, "vling controllers %s", text) < 0)
        ret = NULL;
    free(text);
    json_decref(bare);
    return ret;
}

int controllers_seal(const char *state_dir, json_t *value)
{
    char *text = sealed_text(value), seal[PKI_SEAL_SIZE];
    int rc = text ? pki_seal(state_dir, text, seal) : -ENOMEM;

    if (rc == 0)
        json_put_str(value, "seal", seal);
    free(text);
    return rc;
}

bool controllers_sealed(const char *state_dir, const json_t *value)
{
    const char *seal = json_str(value, "seal", NULL);
    char *text = seal ? sealed_text(value) : NULL;
    bool ok = text && pki_seal_ok(state_dir, text, seal);

    free(text);
    return ok;
}

/* The list that this host follows. */
static json_t *followed(const struct config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->controller_count; i++) {
        const struct config_controller *one = &c->controllers[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "host", one->host, "cabinet",
                                              one->cabinet, "ip", one->ip));
    }
    return json_pack("{s:I, s:o}", "serial", (json_int_t)c->controllers_serial, "controllers",
                     list);
}

json_t *controllers_value(struct node *node, int64_t *ret_rev)
{
    json_t *row = mirror_get(node->mirror, "setting", CONTROLLERS_ROW, ret_rev), *value;

    value = json_incref(json_object_get(row, "value"));
    json_decref(row);
    if (value && controllers_sealed(node->config.state_dir, value))
        return value;
    json_decref(value);
    return followed(&node->config);
}

/* ---- becoming a controller: the authority's key ---- */

static bool have_authority(struct node *node)
{
    char path[400], *text = NULL;
    bool there = pki_path(node->config.state_dir, "ca.key", path, sizeof(path)) == 0 &&
                 file_read(path, PKI_PEM_MAX, &text, NULL) == 0;

    if (there)
        sodium_memzero(text, strlen(text));
    free(text);
    return there;
}

static int keep(struct node *node, const char *name, const char *text)
{
    char path[400];
    int rc = text ? pki_path(node->config.state_dir, name, path, sizeof(path)) : -EBADMSG;

    return rc == 0 ? file_write_atomic(path, text, strlen(text), 0600) : rc;
}

/* The cloud's etcd is there: this member is not to found another one (store/etcd_server.h). */
static int note_founded(struct node *node)
{
    char path[400];

    snprintf(path, sizeof(path), "%s/etcd.joined", node->config.state_dir);
    return file_write_atomic(path, "1\n", 2, 0600);
}

static void on_authority(void *arg, const struct http_answer *answer)
{
    struct node *node = arg;
    json_t *body = answer->rc == 0 && answer->status == 200
                       ? json_parse(answer->body, answer->size, NULL, 0)
                       : NULL;
    int rc = answer->rc < 0 ? answer->rc : -EBADMSG;

    node->follow.asking = false;
    if (body)
        rc = keep(node, "join.token", json_str(body, "tokens", NULL));
    if (body && rc == 0)
        rc = note_founded(node);
    if (body && rc == 0 && json_bool(body, "members_only", false))
        rc = pki_set_members_only(node->config.state_dir);
    if (body && rc == 0)
        rc = keep(node, "ca.key", json_str(body, "ca_key", NULL));
    if (rc < 0)
        log_warn("becoming a controller: the authority's key did not come from %s: %s",
                 node->config.controllers[node->follow.asked % node->config.controller_count].host,
                 strerror(-rc));
    json_decref(body);
}

/* One controller after the other; the next check asks again. */
static void ask_authority(struct node *node)
{
    struct config *c = &node->config;
    char url[128];

    if (node->follow.asking || node->follow.checks % CHECKS_A_SECOND != 0)
        return;
    node->follow.asked++;
    snprintf(url, sizeof(url), "https://%s:%d/v1/authority",
             c->controllers[node->follow.asked % c->controller_count].ip, NODE_PEER_PORT);
    node->follow.asking =
        http_call(node->peer_client, &(struct http_call_options){.method = "GET",
                                                                 .url = url,
                                                                 .timeout_ms = CALL_TIMEOUT_MS,
                                                                 .answer_max = FILE_MAX,
                                                                 .done = on_authority,
                                                                 .arg = node}) != NULL;
}

/* ---- following ---- */

static int index_in(const json_t *value, const char *host)
{
    const json_t *list = json_object_get(value, "controllers");
    size_t i;

    for (i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_str(json_array_get(list, i), "host", ""), host) == 0)
            return (int)i;
    }
    return -1;
}

static void on_others_list(void *arg, const json_t *members)
{
    struct node *node = arg;

    node->follow.asking = false;
    if (members && strcmp(controllers_member_state(members, node->config.mgmt_ip), "none") == 0)
        node->follow.removed_serial = node->follow.serial;
}

/* Do the controllers of `value` say that this host's member is gone? As long as it is one of etcd's
 * it may be needed, be it for its own removal. */
static bool is_removed(struct node *node, const json_t *value)
{
    if (node->config.sqlite || node->follow.removed_serial == node->follow.serial)
        return true;
    if (!node->follow.asking && node->follow.checks % CHECKS_A_SECOND == 0) {
        node->follow.asking = true;
        controllers_members(node, value, node->config.host, on_others_list, node);
    }
    return false;
}

/* Is it this host's turn to start again with `value`? */
static bool is_due(struct node *node, const json_t *value)
{
    int index = index_in(value, node->config.host);
    unsigned checks = node->follow.checks++;

    if (index >= 0 && !node->controller) {
        if (have_authority(node))
            return true;
        ask_authority(node);
        return false;
    }
    if (index < 0 && node->controller)
        return is_removed(node, value);
    return checks >= CHECKS_A_SECOND + (index > 0 ? (unsigned)index * STEP_CHECKS : 0);
}

static void on_resealed(void *arg, int rc, int64_t revision)
{
    if (rc < 0 && rc != -EAGAIN)
        log_debug("the list of controllers is not sealed yet: %s", strerror(-rc));
}

/* A list from before there were seals: a controller that follows it seals it. */
static void reseal(struct node *node, json_t *row, int64_t rev)
{
    json_t *value = json_object_get(row, "value"), *own;
    struct store_txn *txn;

    if (!node->controller || !value || json_str(value, "seal", NULL) ||
        node->ticks % RESEAL_TICKS != 0)
        return;
    own = followed(&node->config);
    if (json_equal(own, value) && controllers_seal(node->config.state_dir, value) == 0) {
        txn = store_txn_new();
        store_txn_expect(txn, "setting", CONTROLLERS_ROW, rev);
        store_txn_put(txn, "setting", CONTROLLERS_ROW, row);
        store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_resealed, NULL);
    }
    json_decref(own);
}

static void follow(struct node *node, const json_t *value)
{
    struct err err;
    char line[700];

    if (!is_due(node, value))
        return;
    if (controllers_save(node->config.state_dir, value, &err) == 0) {
        log_info("the controllers changed: starting again");
        node->restart = true;
        uv_stop(node->loop);
    } else {
        log_error("%s", err_line(&err, line, sizeof(line)));
    }
}

void controllers_check(struct node *node)
{
    int64_t rev;
    json_t *row = mirror_get(node->mirror, "setting", CONTROLLERS_ROW, &rev);
    const json_t *value = json_object_get(row, "value");
    int64_t serial = json_int(value, "serial", 0);

    if (serial <= node->config.controllers_serial) {
        controllers_tidy(node);
        reseal(node, row, rev);
    } else if (rev != node->follow.forged_rev) {
        if (serial != node->follow.serial) {
            node->follow.serial = serial;
            node->follow.checks = 0;
        }
        if (controllers_sealed(node->config.state_dir, value)) {
            follow(node, value);
        } else {
            log_error("the list of controllers was written by none of them: it is not followed");
            node->follow.forged_rev = rev;
        }
    }
    json_decref(row);
}
