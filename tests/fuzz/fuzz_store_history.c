/* libFuzzer: what the store promises, whatever happens to its requests. The input is a script: two
 * clients write, read and watch, and each request is carried out and answered, carried out and its
 * answer lost, lost before that, carried out late (also after its sender ended and began again), or
 * refused; time passes, history is compacted. Then all is calm, and what is still on its way is
 * carried out.
 *
 * Checked against etcd's own order: a transaction commits at most once, only if its preconditions
 * held directly before it, with all of its changes; an answer is true and stays true; a barrier is
 * not older than what anybody was told; who watches has at each revision what etcd had then. */
#include "fake_etcd.h"

#include "base/log.h"
#include "store/store.h"

#include <stdio.h>

#define CLIENTS 2
#define ROWS 5
#define OPS_MAX 128
#define BARRIERS_MAX 128
#define LATE_MAX 64
#define CALM_STEPS_MAX 5000
#define SAME_WRITER 1 /* first byte: both clients write under one name, by mistake */

struct input {
    const uint8_t *at;
    size_t left;
};

struct row {
    int64_t revision; /* 0: there is none */
    int op;           /* that wrote it */
};

struct client {
    struct store *store;
    const char *writer;
    bool ready;
    int64_t revision;
    struct row rows[ROWS]; /* as the watcher told */
};

struct op {
    bool put[ROWS], deleted[ROWS], expects[ROWS];
    int64_t expected[ROWS];
    int commits;
    int64_t revision; /* of the commit */
    bool answered, refused;
};

struct barrier {
    int64_t told; /* the newest revision anybody had been told of */
    bool answered;
};

static struct client clients[CLIENTS];
static struct op ops[OPS_MAX];
static struct barrier barriers[BARRIERS_MAX];
static int op_count, barrier_count;
static int64_t told;

static struct {
    char *url, *body;
} late[LATE_MAX];
static size_t late_count;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* ---- what etcd did ---- */

/* The row of an etcd key, -1: no row's. */
static int row_of_key(const char *key)
{
    static const char prefix[] = ETCD_ROW_PREFIX "server/r";

    return strncmp(key, prefix, sizeof(prefix) - 1) == 0 ? atoi(key + sizeof(prefix) - 1) : -1;
}

static int op_of_row(const json_t *row)
{
    int64_t op = json_int(row, "op", -1);

    must(op >= 0 && op < op_count);
    return (int)op;
}

static int op_of_version(const struct version *version)
{
    size_t size;
    char *text = etcd_base64_decode(version->value64, &size);
    json_t *row = json_parse(text, size, NULL, 0);
    int op = op_of_row(row);

    json_decref(row);
    free(text);
    return op;
}

/* The row among the versions before `end`, not later than `revision`. */
static struct row row_at(int which, int64_t revision, size_t end)
{
    for (size_t i = end; i-- > 0;) {
        const struct version *version = &fake.versions[i];

        if (version->mod > revision || row_of_key(version->key) != which)
            continue;
        if (version->deleted)
            return (struct row){0};
        return (struct row){version->mod, op_of_version(version)};
    }
    return (struct row){0};
}

/* Which of what was done at this moment is the op's: all that it wanted, and nothing else is there
 * of rows that it touches or relies on. */
static void check_commit(struct op *op, size_t first, bool *mine)
{
    must(op->commits++ == 0);
    must(!op->refused);
    op->revision = fake.revision + 1;
    for (int row = 0; row < ROWS; row++) {
        struct row before = row_at(row, fake.revision, first);
        size_t puts = 0, deletes = 0, others = 0;

        for (size_t i = first; i < fake.count; i++) {
            if (row_of_key(fake.versions[i].key) != row)
                continue;
            if (fake.versions[i].deleted && op->deleted[row])
                deletes++;
            else if (!fake.versions[i].deleted && &ops[op_of_version(&fake.versions[i])] == op)
                puts++;
            else
                others++;
            mine[i - first] |= op->put[row] || op->deleted[row];
        }
        must(!op->expects[row] || before.revision == op->expected[row]);
        must(puts == op->put[row]);
        must(deletes == (op->deleted[row] && before.revision > 0));
        must(others == 0 || (!op->put[row] && !op->deleted[row] && !op->expects[row]));
    }
}

static void fake_committed(size_t first)
{
    bool *mine = calloc(fake.count - first, sizeof(*mine));
    bool seen[OPS_MAX] = {0};

    for (size_t i = first; i < fake.count; i++) {
        const struct version *version = &fake.versions[i];
        int op;

        if (row_of_key(version->key) < 0 || version->deleted)
            continue;
        op = op_of_version(version);
        if (!seen[op])
            check_commit(&ops[op], first, mine);
        seen[op] = true;
    }
    for (size_t i = first; i < fake.count; i++) /* nothing writes rows but transactions */
        must(mine[i - first] || row_of_key(fake.versions[i].key) < 0);
    free(mine);
}

/* ---- what clients are told ---- */

static void tell(int64_t revision)
{
    if (revision > told)
        told = revision;
}

static void on_commit(void *arg, int rc, int64_t revision)
{
    struct op *op = arg;
    bool expects = false;

    must(!op->answered);
    op->answered = true;
    if (rc == 0) {
        must(op->commits == 1 && revision == op->revision);
        tell(revision);
    } else if (rc != -EINPROGRESS && rc != -ECANCELED) {
        must(rc == -EAGAIN || rc == -ETIMEDOUT || rc == -ENOSPC);
        must(op->commits == 0);
        op->refused = true;
        for (int row = 0; row < ROWS; row++)
            expects |= op->expects[row];
        must(rc != -EAGAIN || expects);
    }
}

static void on_barrier(void *arg, int rc, int64_t revision)
{
    struct barrier *barrier = arg;

    must(!barrier->answered);
    barrier->answered = true;
    must(rc == 0 || rc == -ETIMEDOUT || rc == -ECANCELED);
    if (rc == 0) {
        must(revision >= barrier->told && revision <= fake.revision);
        tell(revision);
    }
}

static void take_change(struct client *client, const struct store_change *change)
{
    int row = change->id[1] - '0';

    must(strcmp(change->table, "server") == 0 && change->id[0] == 'r' && !change->id[2]);
    must(row >= 0 && row < ROWS);
    client->rows[row] = (struct row){0};
    if (change->row)
        client->rows[row] = (struct row){change->revision, op_of_row(change->row)};
}

static void check_client(const struct client *client)
{
    must(client->revision <= fake.revision);
    for (int row = 0; row < ROWS; row++) {
        struct row true_row = row_at(row, client->revision, fake.count);

        must(client->rows[row].revision == true_row.revision);
        must(client->rows[row].op == true_row.op);
    }
}

static void on_reset(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct client *client = arg;

    must(revision >= client->revision);
    client->revision = revision;
    client->ready = true;
    memset(client->rows, 0, sizeof(client->rows));
    for (size_t i = 0; i < n; i++)
        take_change(client, &changes[i]);
    check_client(client);
}

static void on_changed(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct client *client = arg;
    int64_t last = client->revision + 1;

    must(client->ready && revision > client->revision);
    for (size_t i = 0; i < n; i++) {
        must(changes[i].revision >= last && changes[i].revision <= revision);
        last = changes[i].revision;
        take_change(client, &changes[i]);
    }
    client->revision = revision;
    check_client(client);
}

/* ---- what clients do ---- */

static void client_open(struct client *client)
{
    static uv_loop_t loop;
    const char *endpoints[] = {"http://a", "http://b", "http://c", NULL};
    struct store_etcd_options options = {.endpoints = endpoints, .writer = client->writer};
    struct store_watcher watcher = {on_reset, on_changed, client};

    client->store = store_open_etcd(&loop, &options, NULL);
    must(client->store);
    client->revision = 0;
    client->ready = false;
    store_watch(client->store, &watcher);
}

static void client_close(struct client *client)
{
    store_close(client->store);
    world_turn();
    client->store = NULL;
}

static const char *row_id(int row)
{
    static char id[16];

    snprintf(id, sizeof(id), "r%d", row);
    return id;
}

static void expect(struct store_txn *txn, struct op *op, int row, int64_t revision)
{
    op->expects[row] = true;
    op->expected[row] = revision;
    store_txn_expect(txn, "server", row_id(row), revision);
}

static void put(struct store_txn *txn, struct op *op, int row)
{
    json_t *body = json_pack("{s:i}", "op", (int)(op - ops));

    op->put[row] = true;
    store_txn_put(txn, "server", row_id(row), body);
    json_decref(body);
}

static void commit(struct client *client, uint8_t how, int timeout_ms)
{
    struct store_txn *txn;
    struct op *op = &ops[op_count];
    int row = how % ROWS, other = (row + 1) % ROWS;

    if (op_count == OPS_MAX)
        return;
    op_count++;
    txn = store_txn_new();
    switch (how / ROWS % 5) {
    case 0: /* as it comes */
        break;
    case 1: /* a create */
        expect(txn, op, row, 0);
        break;
    case 2: /* an update */
        expect(txn, op, row, client->rows[row].revision);
        break;
    case 3: /* a move */
        expect(txn, op, other, client->rows[other].revision);
        op->deleted[other] = true;
        store_txn_delete(txn, "server", row_id(other));
        break;
    default: /* two creates */
        expect(txn, op, row, 0);
        expect(txn, op, other, 0);
        put(txn, op, other);
    }
    put(txn, op, row);
    store_commit(client->store, txn, timeout_ms, on_commit, op);
}

static void ask(struct client *client, int timeout_ms)
{
    if (barrier_count == BARRIERS_MAX)
        return;
    barriers[barrier_count].told = told;
    store_barrier(client->store, timeout_ms, on_barrier, &barriers[barrier_count++]);
}

/* ---- what happens to requests ---- */

static bool is_watch(const struct http_call *call)
{
    return strstr(call->url, "/v3/watch") != NULL;
}

static void world_lost(const struct http_call *call)
{
    if (call->copies == 0 || !strstr(call->url, "/v3/kv/txn") || late_count == LATE_MAX)
        return;
    late[late_count].url = strdup(call->url);
    late[late_count++].body = strdup(call->body);
}

static void carry_out_late(size_t i)
{
    char *url = late[i].url, *body = late[i].body;

    late[i] = late[--late_count];
    json_decref(fake_do(url, body));
    free(url);
    free(body);
}

/* Some of what the watch has not sent yet, in two pieces. */
static void feed(struct http_call *call, uint8_t less, uint8_t cut)
{
    struct buf text;
    size_t size;

    buf_init(&text, (size_t)16 * 1024 * 1024);
    fake_watch(call, fake.revision - less, &text);
    must(!text.failed);
    size = text.len < cut ? text.len : cut;
    if (size > 0)
        call->piece(call->arg, text.data, size);
    if (text.len > size)
        call->piece(call->arg, text.data + size, text.len - size);
    buf_free(&text);
}

static void serve(struct http_call *call, uint8_t less, uint8_t cut)
{
    json_t *answer;
    char *text;

    if (is_watch(call)) {
        feed(call, less, cut);
        return;
    }
    answer = fake_do(call->url, call->body);
    text = json_dumps(answer, JSON_COMPACT);
    call->copies = 0;
    world_answer(call, json_object_get(answer, "code") ? 400 : 200, text, strlen(text));
    free(text);
    json_decref(answer);
}

static void refuse(struct http_call *call, uint8_t how)
{
    static const char *const answers[] = {
        "{\"error\":\"etcdserver: request timed out\",\"code\":14}",
        "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}",
        "{\"error\":\"etcdserver: too many requests\",\"code\":8}",
        "bad gateway",
    };
    const char *answer = answers[how / 2 % 4];

    if (is_watch(call)) {
        fake_watch_skip(call);
        return;
    }
    if (how & 1 && how / 2 % 4 != 2) { /* done all the same */
        json_decref(fake_do(call->url, call->body));
        call->copies = 0;
    } else if (how / 2 % 4 == 1) {
        call->copies = 0; /* etcd has decided */
    }
    world_lost(call); /* else it may still come */
    world_answer(call, 503, answer, strlen(answer));
}

static void lose(struct http_call *call, uint8_t how)
{
    struct http_answer nothing = {.rc = -ECONNREFUSED, .sent_none = true, .body = "", .why = ""};

    if (how % 4 == 0 && !call->sent_again) {
        world_done(call, &nothing);
        return;
    }
    if (how % 4 == 1 && !is_watch(call)) { /* the connection died, and it is sent on another one */
        world_lost(call);
        call->sent_again = true;
        return;
    }
    if (how % 4 == 2 && !is_watch(call)) {
        json_decref(fake_do(call->url, call->body));
        call->copies = 0;
    }
    world_fail(call, -ECONNRESET);
}

static struct http_call *some_call(struct input *in)
{
    size_t which = next(in);
    struct http_call *call = world_calls;

    for (which = world_call_count ? which % world_call_count : 0; which > 0; which--)
        call = call->next;
    return call;
}

static void step(struct input *in)
{
    uint8_t what = next(in);
    struct client *client = &clients[what / 16 % CLIENTS];
    struct http_call *call = what % 16 >= 4 && what % 16 <= 10 ? some_call(in) : NULL;
    int64_t due = world_next_ms();

    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        what = next(in);
        commit(client, what, 20 * next(in));
        break;
    case 3:
        ask(client, 20 * next(in));
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        what = next(in);
        if (call)
            serve(call, what % 4, what / 4);
        break;
    case 8:
    case 9:
        if (call)
            lose(call, next(in));
        break;
    case 10:
        if (call)
            refuse(call, next(in));
        break;
    case 11:
        if (late_count > 0)
            carry_out_late(next(in) % late_count);
        break;
    case 12:
        world_ms = due == INT64_MAX || due < world_ms ? world_ms : due;
        break;
    case 13:
        world_ms += next(in);
        break;
    case 14:
        client_close(client);
        client_open(client);
        break;
    default:
        what = next(in) % 4;
        if (fake.revision - what > fake.compacted)
            fake.compacted = fake.revision - what;
    }
    world_turn();
}

/* ---- the end: everything works, and what was on its way arrives ---- */

static bool settled(void)
{
    for (int i = 0; i < op_count; i++)
        if (!ops[i].answered)
            return false;
    for (int i = 0; i < barrier_count; i++)
        if (!barriers[i].answered)
            return false;
    for (int i = 0; i < CLIENTS; i++)
        if (!clients[i].ready || clients[i].revision != fake.revision)
            return false;
    return true;
}

static void calm_down(void)
{
    int steps = 0;

    for (; !settled(); steps++) {
        struct http_call *call = world_calls, *after;

        must(steps < CALM_STEPS_MAX);
        for (size_t i = world_call_count; i > 0 && call; i--, call = after) {
            after = call->next;
            serve(call, 0, 0);
        }
        world_ms += 5;
        world_turn();
    }
}

static void end(void)
{
    calm_down();
    while (late_count > 0)
        carry_out_late(late_count - 1);
    calm_down();
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    while (late_count > 0)
        carry_out_late(0);
    fake_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = {bytes, size};
    uint8_t how = next(&in);

    log_set_level((enum log_level)0);
    world_begin();
    fake_begin();
    memset(ops, 0, sizeof(ops));
    memset(barriers, 0, sizeof(barriers));
    op_count = barrier_count = 0;
    told = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].writer = i > 0 && !(how & SAME_WRITER) ? "c2" : "c1";
        client_open(&clients[i]);
    }
    while (in.left > 0 && fake.count < VERSIONS_MAX / 2)
        step(&in);
    end();
    return 0;
}
