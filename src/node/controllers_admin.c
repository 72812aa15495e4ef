/* What is asked of a host about controllers, and the changes that an operator makes. */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "node/controllers.h"
#include "node/pki.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_TIMEOUT_MS 3000
#define COMMIT_TIMEOUT_MS 5000

struct pending {
    struct node *node;
    struct http_request *request;
    char host[64];
    bool add;
    json_t *value;
};

static void pending_free(struct pending *p)
{
    json_decref(p->value);
    free(p);
}

/* ---- the list ---- */

/* "member": what etcd's member of that host does (controllers_member_state). */
static void put_member(json_t *row, const json_t *members)
{
    const json_t *member;
    char url[100];
    size_t i;

    snprintf(url, sizeof(url), "https://%s:2380", json_str(row, "ip", ""));
    json_put_str(row, "member", controllers_member_state(members, json_str(row, "ip", "")));
    json_put_bool(row, "leader", false);
    json_array_foreach(members, i, member)
    {
        if (json_has_str(member, "peerURLs", url))
            json_put_bool(row, "leader", json_bool(member, "leader", false));
    }
}

static void on_members(void *arg, const json_t *members)
{
    struct pending *p = arg;
    json_t *list = json_object_get(p->value, "controllers"), *row;
    size_t i;

    json_array_foreach(list, i, row)
    {
        json_t *host = mirror_get(p->node->mirror, "host", json_str(row, "host", ""), NULL);

        json_put_str(row, "state", json_str(host, "state", "unknown"));
        json_put_bool(row, "serving", json_has_str(host, "roles", "controller"));
        json_decref(host);
        put_member(row, members);
    }
    json_object_del(p->value, "seal");
    json_object_set_new(p->value, "members", json_integer((json_int_t)json_array_size(members)));
    json_object_set_new(p->value, "sqlite", json_boolean(p->node->config.sqlite));
    admin_reply(p->request, 200, json_incref(p->value));
    pending_free(p);
}

static void list(struct pending *p)
{
    json_t *value = controllers_value(p->node, NULL);

    p->value = json_deep_copy(value);
    json_decref(value);
    controllers_members(p->node, p->value, NULL, on_members, p);
}

/* ---- changing it ---- */

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct pending *p = arg;

    if (rc == 0)
        admin_reply(p->request, 200, json_incref(p->value));
    else
        admin_error(p->request, rc == -EAGAIN ? 409 : 503,
                    rc == -EAGAIN ? "somebody else changed it at the same time: try again"
                                  : "the store cannot be reached: try again");
    pending_free(p);
}

/* The next list, in p->value. */
static void apply(struct pending *p, const json_t *host)
{
    json_t *list = json_object_get(p->value, "controllers");
    size_t i = 0;

    json_put_int(p->value, "serial", json_int(p->value, "serial", 0) + 1);
    if (p->add)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "host", p->host, "cabinet",
                                              json_str(host, "cabinet", ""), "ip",
                                              json_str(host, "mgmt_ip", "")));
    while (!p->add && i < json_array_size(list)) {
        if (strcmp(json_str(json_array_get(list, i), "host", ""), p->host) == 0)
            json_array_remove(list, i);
        else
            i++;
    }
}

static void commit(struct pending *p, int64_t rev)
{
    struct node *node = p->node;
    struct store_txn *txn = store_txn_new();
    json_t *row;

    row = json_pack("{s:s, s:O}", "id", CONTROLLERS_ROW, "value", p->value);
    store_txn_expect(txn, "setting", CONTROLLERS_ROW, rev);
    store_txn_put(txn, "setting", CONTROLLERS_ROW, row);
    event_add(txn, &node->config, "warning", p->add ? "controller.added" : "controller.removed",
              p->host, "by an operator; there are %zu controllers now",
              json_array_size(json_object_get(p->value, "controllers")));
    json_decref(row);
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_committed, p);
}

/* The row is read after the members were asked: what changed meanwhile is judged as it is now. */
static void on_asked(void *arg, const json_t *members)
{
    struct pending *p = arg;
    struct node *node = p->node;
    json_t *host = mirror_get(node->mirror, "host", p->host, NULL), *value;
    char why[300] = "no member of the store answers";
    bool refused = !members;
    int64_t rev;

    value = controllers_value(node, &rev);
    p->value = json_deep_copy(value);
    json_decref(value);
    if (members && p->add)
        refused = controllers_refuse_add(p->value, members, p->host, host, why, sizeof(why));
    else if (members)
        refused = controllers_refuse_remove(p->value, members, p->host, why, sizeof(why));
    if (!refused) {
        apply(p, host);
        refused = controllers_seal(node->config.state_dir, p->value) < 0;
        if (refused)
            snprintf(why, sizeof(why), "this host is no controller: ask one of them");
    }
    if (refused) {
        admin_error(p->request, !members ? 503 : p->add && !host ? 404 : 409, why);
        pending_free(p);
    } else {
        commit(p, rev);
    }
    json_decref(host);
}

static void change(struct pending *p)
{
    json_t *value = controllers_value(p->node, NULL);

    controllers_members(p->node, value, NULL, on_asked, p);
    json_decref(value);
}

static void on_read(void *arg, int rc)
{
    struct pending *p = arg;

    if (rc < 0) {
        admin_error(p->request, 503, "the store cannot be reached: try again");
        pending_free(p);
    } else if (p->host[0]) {
        change(p);
    } else {
        list(p);
    }
}

static struct pending *pending_new(struct node *node, struct http_request *request)
{
    struct pending *p = calloc(1, sizeof(*p));

    if (!p) {
        admin_error(request, 503, "out of memory");
        return NULL;
    }
    p->node = node;
    p->request = request;
    return p;
}

static void serve_change(struct node *node, struct http_request *request)
{
    size_t size;
    const char *text = http_body(request, &size);
    json_t *body = json_parse(text, size, NULL, 0);
    const char *add = json_str(body, "add", ""), *remove = json_str(body, "remove", "");
    struct pending *p;

    if (!add[0] == !remove[0] || strlen(add) >= sizeof(p->host) ||
        strlen(remove) >= sizeof(p->host)) {
        admin_error(request, 400, "the body must be {\"add\": HOST} or {\"remove\": HOST}");
    } else if (node->config.sqlite) {
        admin_error(request, 409,
                    "this cloud's store is SQLite on one machine: make a backup and restore it "
                    "into a cloud of three controllers (vling backup --help)");
    } else if ((p = pending_new(node, request))) {
        p->add = add[0];
        snprintf(p->host, sizeof(p->host), "%s%s", add, remove);
        mirror_barrier(node->mirror, READ_TIMEOUT_MS, on_read, p);
    }
    json_decref(body);
}

/* ---- who may ask ---- */

/* A host's certificate proves which host it is; what is for operators is asked from a controller.
 */
bool controllers_only(struct node *node, struct http_request *request)
{
    const char *who = http_client_name(request);
    json_t *value = controllers_value(node, NULL), *item;
    bool ok = who && controllers_listed(value, who);
    char text[600];
    size_t i, len;

    if (!ok) {
        len = (size_t)snprintf(text, sizeof(text),
                               "%.63s is no controller: run it on one:", who ? who : "this");
        json_array_foreach(json_object_get(value, "controllers"), i, item)
        {
            if (len < sizeof(text))
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %.63s", i ? "," : "",
                                        json_str(item, "host", ""));
        }
        admin_error(request, 403, text);
    }
    json_decref(value);
    return ok;
}

/* ---- the authority's key, for a host that is to be a controller ---- */

static bool put_secret(struct node *node, json_t *answer, const char *key, const char *name)
{
    char path[400], *text = NULL;
    bool there = pki_path(node->config.state_dir, name, path, sizeof(path)) == 0 &&
                 file_read(path, PKI_PEM_MAX, &text, NULL) == 0;

    if (there) {
        json_put_str(answer, key, text);
        sodium_memzero(text, strlen(text));
    }
    free(text);
    return there;
}

static void serve_authority(struct node *node, struct http_request *request)
{
    const char *who = http_client_name(request);
    json_t *value = controllers_value(node, NULL), *answer = json_object();

    json_put_bool(answer, "members_only", pki_members_only(node->config.state_dir));
    if (!node->controller || !who || !controllers_listed(value, who)) {
        admin_error(request, 403, "only controllers get this, and only from controllers");
    } else if (put_secret(node, answer, "ca_key", "ca.key") &&
               put_secret(node, answer, "tokens", "join.token")) {
        log_info("%s becomes a controller: it got the authority's key", who);
        admin_reply(request, 200, json_incref(answer));
    } else {
        admin_error(request, 500, "this controller's keys cannot be read");
    }
    json_decref(answer);
    json_decref(value);
}

bool controllers_serve(struct node *node, struct http_request *request)
{
    const char *path = http_path(request);
    bool get = strcmp(http_method(request), "GET") == 0;
    struct pending *p;

    if (get && strcmp(path, "/v1/authority") == 0) {
        serve_authority(node, request);
        return true;
    }
    if (strcmp(path, "/v1/controllers") != 0)
        return false;
    if (!get) {
        if (controllers_only(node, request))
            serve_change(node, request);
    } else if ((p = pending_new(node, request)))
        mirror_barrier(node->mirror, READ_TIMEOUT_MS, on_read, p);
    return true;
}
