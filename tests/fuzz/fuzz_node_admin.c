/* libFuzzer: what other hosts ask a controller on its own port (/v1/...). The store and etcd's
 * members are played here; rows that were changed are put back after each input. */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "drv/driver.h"
#include "fake_http.h"
#include "node/certificate.h"
#include "node/join.h"
#include "node/node.h"
#include "node/pki.h"
#include "store/engine.h"

#include <errno.h>
#include <sodium.h>

#define TEXT_MAX 65536
#define CALLS_MAX 16
#define UNDO_MAX STORE_TXN_CHANGES_MAX

static uv_loop_t loop;
static struct node node;
static char dir[64];
static int64_t revision;
static struct {
    http_answer_cb *done;
    void *arg;
    const char *text;
} calls[CALLS_MAX];
static size_t call_count;
static struct {
    store_commit_cb *cb;
    void *arg;
    int rc;
} pending;
static struct {
    char table[64], id[STORE_NAME_MAX + 1];
    json_t *row;
} undo[UNDO_MAX];
static size_t undo_count;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* ---- in the place of the lease, of HTTP to others and of the store ---- */

bool lease_keeper_held(const struct lease_keeper *keeper)
{
    return true;
}

struct http_client *http_client_new(uv_loop_t *on, const struct http_client_options *options,
                                    struct err *err)
{
    return NULL;
}

void http_client_free(struct http_client *client)
{
}

struct http_call *http_call(struct http_client *client, const struct http_call_options *options)
{
    static const char members[] =
        "{\"members\": [{\"ID\": \"1\", \"name\": \"h1\", \"peerURLs\": "
        "[\"https://10.0.0.1:2380\"],"
        "\"clientURLs\": [\"https://10.0.0.1:2379\"]}, {\"ID\": \"2\", \"name\": \"h2\","
        "\"peerURLs\": [\"https://10.0.0.2:2380\"], \"clientURLs\": [\"https://10.0.0.2:2379\"]}]}";

    must(call_count < CALLS_MAX);
    calls[call_count].done = options->done;
    calls[call_count].arg = options->arg;
    calls[call_count++].text =
        strstr(options->url, "member/list") ? members : "{\"leader\": \"1\"}";
    return (struct http_call *)calls;
}

void http_call_cancel(struct http_call *call)
{
}

static void apply(const char *table, const char *id, json_t *row)
{
    struct store_change change = {.table = table, .id = id, .row = row, .revision = ++revision};

    mirror_apply(node.mirror, revision, &change, 1);
}

static int commit(struct store_txn *txn)
{
    must(txn->rc == 0 || txn->rc == -EMSGSIZE || txn->rc == -EINVAL);
    if (txn->rc < 0)
        return txn->rc;
    for (size_t i = 0; i < txn->change_count; i++) {
        const struct txn_change *change = &txn->changes[i];

        must(undo_count < UNDO_MAX && strlen(change->table) < sizeof(undo[0].table));
        snprintf(undo[undo_count].table, sizeof(undo[0].table), "%s", change->table);
        snprintf(undo[undo_count].id, sizeof(undo[0].id), "%s", change->id);
        undo[undo_count++].row = mirror_get(node.mirror, change->table, change->id, NULL);
        apply(change->table, change->id, change->row);
    }
    return 0;
}

static void engine_commit(struct store *store, struct store_txn *txn, int timeout_ms,
                          store_commit_cb *cb, void *arg)
{
    must(!pending.cb);
    pending.cb = cb;
    pending.arg = arg;
    pending.rc = commit(txn);
    store_txn_free(txn);
}

static void engine_status(struct store *store, struct store_status *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->engine = "fuzz";
}

static void undo_all(void)
{
    while (undo_count > 0) {
        undo_count--;
        apply(undo[undo_count].table, undo[undo_count].id, undo[undo_count].row);
        json_decref(undo[undo_count].row);
    }
}

/* ---- the controller ---- */

static void put(const char *table, const char *id, json_t *row)
{
    must(row != NULL);
    apply(table, id, row);
    json_decref(row);
}

static void remove_dir(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", dir);
}

static void put_host(const char *name, const char *ip)
{
    put("host", name,
        json_pack("{s:s, s:s, s:s, s:s, s:[s], s:s, s:i, s:i, s:b}", "id", name, "cabinet", name,
                  "state", "up", "mgmt_ip", ip, "roles", "compute", "key_id", "00", "vcpus", 4,
                  "ram_mb", 4096, "disabled", 0));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct store_engine engine = {
        .name = "fuzz", .commit = engine_commit, .status = engine_status};
    static struct store store = {.engine = &engine, .loop = &loop};
    static const char *const ips[] = {"10.0.0.1", NULL};
    struct config *c = &node.config;
    char token[JOIN_TOKEN_SIZE];

    log_set_level(LOG_LEVEL_ERROR);
    snprintf(dir, sizeof(dir), "/tmp/vling-fuzz-admin.XXXXXX");
    must(sodium_init() >= 0 && uv_loop_init(&loop) == 0 && mkdtemp(dir));
    atexit(remove_dir);
    node.loop = &loop;
    node.store = &store;
    node.controller = true;
    node.storage_ops = storage_driver_find("fake");
    snprintf(c->host, sizeof(c->host), "h1");
    snprintf(c->mgmt_ip, sizeof(c->mgmt_ip), "10.0.0.1");
    snprintf(c->state_dir, sizeof(c->state_dir), "%s/h1", dir);
    for (int i = 0; i < 2; i++) {
        snprintf(c->controllers[i].host, sizeof(c->controllers[i].host), "h%d", i + 1);
        snprintf(c->controllers[i].ip, sizeof(c->controllers[i].ip), "10.0.0.%d", i + 1);
    }
    c->controller_count = 2;
    must(pki_create_cluster(c->state_dir, NULL) == 0);
    must(pki_issue_self(c->state_dir, "h1", ips, NULL) == 0);
    must(join_token_get(c->state_dir, token, NULL) == 0);
    must(certificate_look(&node, NULL) == 0);
    node.mirror = mirror_open_detached(NULL);
    must(node.mirror && node.storage_ops);
    put_host("h1", "10.0.0.1");
    put_host("h2", "10.0.0.2");
    put_host("h3", "10.0.0.3");
    put("setting", "token_key", json_pack("{s:s, s:s}", "id", "token_key", "value", "secret-hash"));
    put("user", "u", json_pack("{s:s, s:s}", "id", "u", "password_hash", "secret-hash"));
    must(admin_start(&node, NULL) == 0);
    return 0;
}

static void turn(struct http_request *request)
{
    while (!request->replied || call_count > 0) {
        store_commit_cb *cb = pending.cb;

        pending.cb = NULL;
        if (cb) {
            cb(pending.arg, pending.rc, revision);
        } else {
            must(call_count > 0); /* or nobody would ever answer */
            call_count--;
            calls[call_count].done(calls[call_count].arg,
                                   &(struct http_answer){.status = 200,
                                                         .body = calls[call_count].text,
                                                         .size = strlen(calls[call_count].text)});
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct http_request request;
    char *text = size > 0 && size < TEXT_MAX ? calloc(1, size + 1) : NULL;
    bool controller, secret;

    if (!text)
        return 0;
    memcpy(text, bytes, size);
    fake_request(&request, text, size);
    /* Only such names are in the authority's certificates. */
    if (request.who && request.who[strspn(request.who, "abcdefghijklmnopqrstuvwxyz0123456789-_.")])
        request.who = NULL;
    controller = request.who && (strcmp(request.who, "h1") == 0 || strcmp(request.who, "h2") == 0);
    fake_begin(&request);
    fake_finish(&request, false);
    turn(&request);
    /* Nobody but a controller gets or changes what is for controllers; what the asker said itself
     * may be told back. */
    secret = memmem(request.reply.data, request.reply.len, "secret-hash", 11) ||
             memmem(request.reply.data, request.reply.len, "PRIVATE KEY", 11);
    must(controller || !secret || memmem(bytes, size, "secret-hash", 11) ||
         memmem(bytes, size, "PRIVATE KEY", 11));
    for (size_t i = 0; i < undo_count; i++)
        must(controller ||
             (strcmp(undo[i].table, "setting") != 0 && strcmp(undo[i].table, "join_token") != 0));
    fake_check(&request);
    undo_all();
    free(text);
    return 0;
}
