/* libFuzzer: whole requests to the REST services: route, token, body, handler, transaction, answer.
 *
 * This file and fake_http.h stand in the place of the store and of the HTTP server, so that nothing
 * waits, nothing is random but ids, and each input begins with the same cloud. An input is a text
 * of requests:
 *
 *   na POST /v2.0/networks?fields=id      service (i c n g) and user (a s m r x), fate (a space:
 * all is well; !: the store cannot be reached; -: the client goes away), method, path
 *   X-OpenStack-Nova-API-Version: 2.19    headers, if any
 *   {"network": {"name": "$p"}}           body
 *                                         an empty line before the next request
 *
 * with $1 to $9 for the ids of what was created so far, $p and $u for the administrators' project
 * and user, $m for a role, $t for the last token. */
#include "api/identity.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "fake_http.h"
#include "store/engine.h"

#include <sodium.h>
#include <sys/mman.h>

#define REQUESTS_MAX 8
#define TEXT_MAX (1024 * 1024)
#define UNDO_MAX (REQUESTS_MAX * STORE_TXN_CHANGES_MAX)
#define CONFLICTS_MAX 2 /* of one request; nobody else writes */

enum fate { WELL = ' ', STORE_AWAY = '!', CLIENT_GONE = '-' };

struct undo {
    char *table, *id;
    json_t *row;
};

static uv_loop_t loop;
static struct mirror *mirror;
static int64_t revision;
static struct store store;
static enum fate fate;     /* of the request under way */
static unsigned conflicts; /* likewise */
static struct undo undo[UNDO_MAX];
static size_t undo_count;
/* What the store or a peer answers from the loop. */
static struct {
    store_commit_cb *commit;
    store_barrier_cb *barrier;
    api_peer_cb *peer;
    void *arg;
    int rc;
} pending;

static char tokens[4][TOKEN_TEXT_MAX]; /* of the users a, s, m, r */
static char admin_project[64], admin_user[64], member_role[64];
static char ids[9][64], last_token[TOKEN_TEXT_MAX];
static size_t id_count;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* ---- in the place of the store ---- */

/* What is written must be what the table of the resource tells. */
static void check_row(const struct txn_change *change)
{
    const struct resource *resource = resource_find(change->table);
    const char *key;
    json_t *value;

    must(resource != NULL);
    json_object_foreach(change->row, key, value)
    {
        const struct field *field = NULL;
        struct err err;

        for (size_t i = 0; i < resource->field_count && !field; i++) {
            if (strcmp(resource->fields[i].name, key) == 0)
                field = &resource->fields[i];
        }
        if (!field || (!json_is_null(value) && resource_check(field, value, &err) < 0)) {
            fprintf(stderr, "%s.%s in %s: %s\n", change->table, key, change->text,
                    field ? err.why : "no such field");
            must(!"a row is what its table tells");
        }
    }
}

static void apply(const char *table, const char *id, json_t *row)
{
    struct store_change change = {.table = table, .id = id, .row = row, .revision = ++revision};

    mirror_apply(mirror, revision, &change, 1);
}

static int commit(struct store_txn *txn)
{
    struct store_change changes[STORE_TXN_CHANGES_MAX];

    must(txn->rc == 0 || txn->rc == -EMSGSIZE);
    if (txn->rc < 0)
        return txn->rc;
    for (size_t i = 0; i < txn->expect_count; i++) {
        int64_t rev = 0;

        json_decref(mirror_get(mirror, txn->expects[i].table, txn->expects[i].id, &rev));
        if (rev != txn->expects[i].revision)
            return -EAGAIN;
    }
    revision++;
    for (size_t i = 0; i < txn->change_count; i++) {
        const struct txn_change *change = &txn->changes[i];

        if (change->row)
            check_row(change);
        must(undo_count < UNDO_MAX);
        undo[undo_count].table = strdup(change->table);
        undo[undo_count].id = strdup(change->id);
        undo[undo_count++].row = mirror_get(mirror, change->table, change->id, NULL);
        changes[i] = (struct store_change){
            .table = change->table, .id = change->id, .row = change->row, .revision = revision};
    }
    mirror_apply(mirror, revision, changes, txn->change_count);
    return 0;
}

static bool is_pending(void)
{
    return pending.commit || pending.barrier || pending.peer;
}

static void engine_watch(struct store *on)
{
    on->watcher.reset(on->watcher.arg, revision, NULL, 0);
}

static void engine_barrier(struct store *on, int timeout_ms, store_barrier_cb *cb, void *arg)
{
    must(!is_pending());
    pending.barrier = cb;
    pending.arg = arg;
    pending.rc = fate == STORE_AWAY ? -ETIMEDOUT : 0;
}

static void engine_commit(struct store *on, struct store_txn *txn, int timeout_ms,
                          store_commit_cb *cb, void *arg)
{
    must(!is_pending() && fate != STORE_AWAY);
    pending.commit = cb;
    pending.arg = arg;
    pending.rc = commit(txn);
    if (pending.rc == -EAGAIN)
        must(++conflicts <= CONFLICTS_MAX);
    store_txn_free(txn);
}

static void undo_all(void)
{
    while (undo_count > 0) {
        struct undo *last = &undo[--undo_count];

        apply(last->table, last->id, last->row);
        json_decref(last->row);
        free(last->table);
        free(last->id);
    }
}

/* ---- images and other hosts ---- */

#define BLOBS_MAX (2 * REQUESTS_MAX)

struct blob {
    char name[64]; /* "" until its upload is whole */
    size_t size;
    unsigned char bytes[2048];
};

static struct blob blobs[BLOBS_MAX];
static size_t blob_count;

struct upload {
    struct blob blob;
    char name[64];
};

static void *image_begin(void *arg, const char *image_id, struct err *err)
{
    struct upload *upload = calloc(1, sizeof(*upload));

    must(upload && strlen(image_id) < sizeof(upload->name));
    snprintf(upload->name, sizeof(upload->name), "%s", image_id);
    return upload;
}

static int image_write(void *arg, const void *bytes, size_t size)
{
    struct upload *upload = arg;

    if (size > sizeof(upload->blob.bytes) - upload->blob.size)
        return -ENOSPC;
    memcpy(upload->blob.bytes + upload->blob.size, bytes, size);
    upload->blob.size += size;
    return 0;
}

static int image_commit(void *arg, struct err *err)
{
    struct upload *upload = arg;

    must(blob_count < BLOBS_MAX);
    blobs[blob_count] = upload->blob;
    memcpy(blobs[blob_count++].name, upload->name, sizeof(upload->name));
    free(upload);
    return 0;
}

static struct blob *blob_find(const char *name)
{
    for (size_t i = 0; i < blob_count; i++)
        if (strcmp(blobs[i].name, name) == 0)
            return &blobs[i];
    return NULL;
}

/* A row never names bytes that are not there. */
static int image_open(void *arg, const char *image_id, int *ret_fd, uint64_t *ret_size,
                      struct err *err)
{
    struct blob *blob = blob_find(image_id);

    must(blob != NULL);
    *ret_fd = memfd_create("image", MFD_CLOEXEC);
    *ret_size = blob->size;
    must(*ret_fd >= 0 && write(*ret_fd, blob->bytes, blob->size) == (ssize_t)blob->size);
    return 0;
}

static int image_remove(void *arg, const char *image_id)
{
    struct blob *blob = blob_find(image_id);

    if (blob)
        blob->name[0] = 0;
    return 0;
}

static void peer_get(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg)
{
    must(!is_pending() && host[0] && path[0] == '/');
    for (const char *at = path; *at; at++)
        must((unsigned char)*at > 0x20 && *at != 0x7f); /* or it would be two lines or words */
    pending.peer = cb;
    pending.arg = cb_arg;
}

/* Calls back what is due. */
static void turn(const struct http_request *request)
{
    static const char text[] = "console\nof a guest\xff\n";
    store_commit_cb *on_commit = pending.commit;
    store_barrier_cb *on_barrier = pending.barrier;
    api_peer_cb *on_peer = pending.peer;

    pending.commit = NULL;
    pending.barrier = NULL;
    pending.peer = NULL;
    if (on_commit)
        on_commit(pending.arg, pending.rc, revision);
    else if (on_barrier)
        on_barrier(pending.arg, pending.rc, revision);
    else if (on_peer)
        on_peer(pending.arg, 0, 200, text, sizeof(text) - 1);
    else
        must(uv_run(&loop, UV_RUN_ONCE) || request->replied || is_pending());
}

/* ---- the first rows ---- */

static void put(const struct resource *resource, const char *id, json_t *more)
{
    json_t *body = json_object(), *row = NULL;

    if (resource_field(resource, "name"))
        json_put_str(body, "name", id);
    if (resource_create(resource, body, true, &row, NULL) < 0)
        row = json_object();
    json_put_str(row, "id", id);
    json_object_update(row, more);
    apply(resource->table, id, row);
    json_decref(row);
    json_decref(body);
    json_decref(more);
}

static void put_grant(const char *user, const char *role)
{
    char id[300];
    json_t *row = assignment_row(user, "project", "p1", role, id, sizeof(id));

    apply("assignment", id, row);
    json_decref(row);
}

static void seal(char out[TOKEN_TEXT_MAX], const char *user, const char *kind, const char *scope,
                 int serial)
{
    struct token token = {
        .methods = TOKEN_PASSWORD, .expires_ms = INT64_C(4102444800000), .password_serial = serial};

    snprintf(token.user_id, sizeof(token.user_id), "%s", user);
    snprintf(token.scope_kind, sizeof(token.scope_kind), "%s", kind);
    snprintf(token.scope_id, sizeof(token.scope_id), "%s", scope);
    token_audit_id(token.audit_id);
    must(token_seal(mirror, &token, out, TOKEN_TEXT_MAX) == 0);
}

/* The id of the row of `table` that has the name. */
static void find_id(const char *table, const char *name, char out[64])
{
    json_t *rows = mirror_select(mirror, table, "WHERE name = ?", "s", name);

    must(json_array_size(rows) == 1);
    snprintf(out, 64, "%s", json_str(json_array_get(rows, 0), "id", ""));
    json_decref(rows);
}

/* A login must not take the quarter of a second that is right for a real cloud. */
static void make_login_cheap(void)
{
    json_t *row = mirror_get(mirror, "user", admin_user, NULL);
    char hash[128];

    must(api_hash_now("secret", 4, hash, sizeof(hash)) == 0);
    json_put_str(row, "password_hash", hash);
    apply("user", admin_user, row);
    json_decref(row);
}

/* A server of p1 that runs on c1h1. */
static void put_server(void)
{
    put(&resource_server, "s1",
        json_pack("{s:s, s:s, s:s, s:{s:i, s:i, s:i}, s:s, s:[], s:s, s:i, s:s, s:i, s:s}",
                  "project_id", "p1", "user_id", "u1", "image_id", "", "flavor", "vcpus", 1, "ram",
                  64, "disk", 0, "flavor_id", "42", "security_groups", "host_id", "c1h1",
                  "generation", 1, "power", "running", "reboot_serial", 0, "created_at",
                  "2026-11-22T13:55:39Z"));
    put(&resource_server_state, "s1",
        json_pack("{s:s, s:i, s:s, s:i, s:s}", "host_id", "c1h1", "generation", 1, "power",
                  "running", "reboot_serial", 0, "launched_at", "2026-11-22T13:56:00Z"));
}

static void first_rows(void)
{
    struct store_txn *txn = store_txn_new();
    char reader_role[64];

    must(api_bootstrap(txn, "secret", NULL) == 0 && txn->rc == 0);
    for (size_t i = 0; i < txn->change_count; i++)
        apply(txn->changes[i].table, txn->changes[i].id, txn->changes[i].row);
    store_txn_free(txn);
    find_id("project", "admin", admin_project);
    find_id("user", "admin", admin_user);
    find_id("role", "member", member_role);
    find_id("role", "reader", reader_role);
    put(&resource_project, "p1", json_pack("{s:s}", "parent_id", "default"));
    put(&resource_user, "u1", json_pack("{s:i}", "password_serial", 0));
    put(&resource_user, "u2", json_pack("{s:i}", "password_serial", 0));
    put_grant("u1", member_role);
    put_grant("u2", reader_role);
    for (int i = 1; i <= 3; i++) {
        char id[8];

        snprintf(id, sizeof(id), "c%dh1", i);
        put(&resource_host, id,
            json_pack("{s:s#, s:[s, s, s], s:s, s:s, s:s, s:i, s:i, s:i, s:s}", "cabinet", id, 2,
                      "roles", "controller", "compute", "network", "mgmt_ip", "10.10.1.1",
                      "tenant_ip", "10.20.1.1", "state", "up", "vcpus", 8, "ram_mb", 16384,
                      "disk_gb", 100, "accel", "kvm"));
    }
    make_login_cheap();
    put_server();
    seal(tokens[0], admin_user, "project", admin_project, 1);
    seal(tokens[1], admin_user, "system", "all", 1);
    seal(tokens[2], "u1", "project", "p1", 0);
    seal(tokens[3], "u2", "project", "p1", 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct api_service_ops *const services[] = {&api_identity, &api_compute,
                                                             &api_network, &api_image, NULL};
    static const struct store_engine engine = {
        .name = "fuzz", .commit = engine_commit, .barrier = engine_barrier, .watch = engine_watch};
    static struct api *api;
    struct api_options options = {
        .loop = &loop,
        .store = &store,
        .address = "127.0.0.1",
        .region = "R",
        .password_cost = 4,
        .images = {image_begin, image_write, image_commit, free, image_open, image_remove, NULL},
        .peers = {.get = peer_get},
    };

    log_set_level(LOG_LEVEL_ERROR);
    must(sodium_init() >= 0 && uv_loop_init(&loop) == 0);
    must(store_init(&store, &engine, &loop) == 0);
    mirror = mirror_open(&store, NULL);
    must(mirror != NULL);
    first_rows();
    options.mirror = mirror;
    api = api_start_services(&options, services, 0, NULL);
    must(api && fake_server_count == 4);
    return 0;
}

/* ---- requests ---- */

static void add_header(struct http_request *request, char *name, char *value)
{
    if (request->header_count == FAKE_PAIRS_MAX)
        return;
    for (char *at = value; *at; at++)
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at; /* such ones never arrive */
    request->headers[request->header_count++] = (struct fake_pair){name, value};
}

/* Reads the lines before the body, and where the body is. */
static void take_head(struct http_request *request, char *text)
{
    char *line = strsep(&text, "\n");

    line += strlen(line) < 3 ? strlen(line) : 3;
    request->method = strsep(&line, " ");
    if (line)
        fake_uri(request, line);
    else
        request->path = "/";
    while (text && text[0] != '{' && text[0] != '[') {
        char *end = strchr(text, '\n'), *colon = strstr(text, ": ");

        if (!colon || (end && colon > end))
            break;
        *colon = '\0';
        if (end)
            *end = '\0';
        add_header(request, text, colon + 2);
        text = end ? end + 1 : NULL;
    }
    request->body = text ? text : "";
    request->size = strlen(request->body);
}

/* The first "id" of the answer, its own or of the object in it. */
static void note_id(const struct http_request *request, const json_t *reply)
{
    const json_t *inner = json_object_iter_value(json_object_iter((json_t *)reply));
    const char *id = json_str(reply, "id", json_str(inner, "id", NULL));

    if (id && strcmp(request->method, "POST") == 0 && request->status < 300 && id_count < 9)
        snprintf(ids[id_count++], sizeof(ids[0]), "%s", id);
}

static void check_reply(const struct http_request *request)
{
    const char *type = fake_answer_header(request, "Content-Type");
    const char *token = fake_answer_header(request, "X-Subject-Token");
    json_t *reply = NULL;

    must(fake_answer_header(request, "x-openstack-request-id") && !request->reply.failed);
    must(request->status >= 200 && request->status < 500 + 8 && request->status != 500);
    must(request->status != 503 || fate == STORE_AWAY);
    must(request->status == 503 || fate != STORE_AWAY || !request->was_held);
    if (token)
        snprintf(last_token, sizeof(last_token), "%s", token);
    if (request->status == 204 || request->status == 304) {
        must(request->reply.len == 0);
        return;
    }
    if (request->status >= 400)
        must(request->reply.len > 0);
    if (type && strncasecmp(type, "application/json", 16) == 0) {
        reply = json_loads(buf_text(&request->reply), JSON_REJECT_DUPLICATES, NULL);
        must(reply != NULL);
        note_id(request, reply);
        json_decref(reply);
    }
}

static void ask(char *text)
{
    static const char letters[] = "icng", users[] = "asmr";
    struct http_request *request = calloc(1, sizeof(*request));
    const char *at = text[0] ? strchr(letters, text[0]) : NULL;
    char user = text[0] ? text[1] : 0;

    must(request != NULL);
    fate = user && (text[2] == STORE_AWAY || text[2] == CLIENT_GONE) ? (enum fate)text[2] : WELL;
    conflicts = 0;
    fake_init(request, &fake_servers[at ? (size_t)(at - letters) : (unsigned char)text[0] % 4u]);
    take_head(request, text);
    at = user ? strchr(users, user) : NULL;
    if (at)
        add_header(request, "X-Auth-Token", tokens[at - users]);
    fake_begin(request);
    request->gone = request->held && fate == CLIENT_GONE;
    while (request->held)
        turn(request);
    if (!request->handled)
        fake_finish(request, fate == CLIENT_GONE);
    while (!request->replied)
        turn(request);
    must(!is_pending());
    check_reply(request);
    fake_free(request);
    free(request);
}

/* One request with what its `$` stand for. */
static void spell_out(const char *text, size_t size, struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        char next = i + 1 < size ? text[i + 1] : 0;

        if (text[i] != '$' || !strchr("123456789pumt", next) || !next) {
            buf_add(out, text[i] ? &text[i] : " ", 1);
            continue;
        }
        i++;
        buf_str(out, next == 'p'   ? admin_project
                     : next == 'u' ? admin_user
                     : next == 'm' ? member_role
                     : next == 't' ? last_token
                                   : ids[next - '1']);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;

    memset(ids, 0, sizeof(ids));
    id_count = blob_count = 0;
    snprintf(last_token, sizeof(last_token), "%s", tokens[0]);
    for (unsigned i = 0; i < REQUESTS_MAX && size > 0; i++) {
        const char *end = memmem(text, size, "\n\n", 2);
        size_t length = end ? (size_t)(end - text) : size;
        struct buf request;

        buf_init(&request, TEXT_MAX);
        spell_out(text, length, &request);
        if (request.len > 0)
            ask(request.data);
        buf_free(&request);
        text += end ? length + 2 : length;
        size -= end ? length + 2 : length;
    }
    undo_all();
    return 0;
}
