/* libFuzzer: anything as the answers of etcd and as what is stored in it. Whatever comes,
 * everything that was asked is answered once, a success names a revision, and the mirror holds
 * those rows that are JSON objects, each as it came last; one that is no object any more stays as
 * it was, and nothing is loaded while there is one.
 *
 * The first byte chooses: the input is the answers themselves, one behind each zero byte; or keys
 * and values, from which right answers are made. */
#include "fake_world.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "store/engine.h"
#include "store/etcd.h"
#include "store/mirror.h"

#include <stdio.h>

/* First byte. */
#define ROWS 1   /* keys and values */
#define REFUSE 2 /* texts come with a status that is not 200 */
#define STEPS_MAX 300
#define PAGE 3
#define TEXT_MAX ((size_t)1024 * 1024)

struct input {
    const uint8_t *at;
    size_t left;
};

struct asked {
    int answers;
};

static struct asked commit_asked, barrier_asked, take_asked, renew_asked;
static struct store *store;
static struct mirror *mirror;
static json_t *seen; /* tables and ids, in turn */
static int64_t watched;
static int64_t revision; /* of the etcd that is made up */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* The bytes up to the next zero byte; "" at the end. */
static char *next_text(struct input *in)
{
    size_t size = in->left ? strnlen((const char *)in->at, in->left) : 0;
    char *text = strndup(size ? (const char *)in->at : "", size);

    in->at += size < in->left ? size + 1 : size;
    in->left -= size < in->left ? size + 1 : size;
    must(text);
    return text;
}

static void world_lost(const struct http_call *call)
{
}

/* ---- what is asked ---- */

static void on_asked(void *arg, int rc, int64_t value)
{
    struct asked *asked = arg;

    must(asked->answers++ == 0);
    must(rc <= 0);
    must(rc < 0 || value > 0);
}

static void on_changed(void *arg, int64_t to, const struct store_change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        must(store_name_ok(changes[i].table) && store_name_ok(changes[i].id));
        must(!changes[i].row || json_is_object(changes[i].row));
        must(!changes[i].row || !changes[i].unreadable);
        json_array_append_new(seen, json_string_nocheck(changes[i].table));
        json_array_append_new(seen, json_string_nocheck(changes[i].id));
    }
    must(to > watched);
    watched = to;
    mirror_apply(mirror, to, changes, n);
}

/* One mirror serves all inputs, since to make one is slow: it is emptied by hand. */
static void empty_mirror(void)
{
    for (size_t i = 0; i < json_array_size(seen); i += 2) {
        struct store_change gone = {.table = json_string_value(json_array_get(seen, i)),
                                    .id = json_string_value(json_array_get(seen, i + 1))};

        mirror_apply(mirror, 0, &gone, 1);
    }
    json_array_clear(seen);
}

static void on_reset(void *arg, int64_t to, const struct store_change *changes, size_t n)
{
    must(to > 0);
    for (size_t i = 0; i < n; i++)
        must(changes[i].row);
    empty_mirror();
    watched = to - 1;
    on_changed(arg, to, changes, n);
}

static void ask(void)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_pack("{s:s}", "name", "one");

    store_txn_create(txn, "server", "one", row);
    store_commit(store, txn, 5000, on_asked, &commit_asked);
    store_barrier(store, 5000, on_asked, &barrier_asked);
    store_lease_take(store, "h1", row, 4000, 5000, on_asked, &take_asked);
    store_lease_renew(store, 77, 5000, on_asked, &renew_asked);
    json_decref(row);
}

/* ---- texts as they are ---- */

static bool is_watch(const struct http_call *call)
{
    return strstr(call->url, "/v3/watch") != NULL;
}

static void answer_text(struct http_call *call, struct input *in, uint8_t how)
{
    char *text = next_text(in);
    size_t size = strlen(text);

    if (is_watch(call)) {
        call->piece(call->arg, text, size);
        call->piece(call->arg, "\n", 1);
    } else {
        world_answer(call, how & REFUSE ? 400 : 200, text, size);
    }
    free(text);
}

/* ---- keys and values ---- */

struct pair {
    char *key, *value; /* value NULL: deleted */
};

static void put_pair(struct buf *b, const struct pair *pair)
{
    etcd_put_key(b, "key", pair->key);
    buf_printf(b, ",\"mod_revision\":\"%lld\"", (long long)revision);
    if (pair->value) {
        buf_str(b, ",");
        etcd_put_key(b, "value", pair->value);
    }
}

static struct pair next_pair(struct input *in, bool may_delete)
{
    static const char *const begins[] = {ETCD_ROW_PREFIX "server/", ETCD_ROW_PREFIX "host/",
                                         ETCD_LEASE_PREFIX, ETCD_ROW_PREFIX, ""};
    uint8_t how = next(in);
    char *end = next_text(in), key[4096];
    struct pair pair = {0};

    snprintf(key, sizeof(key), "%s%s", begins[how % 5], end);
    free(end);
    pair.key = strdup(key);
    must(pair.key);
    if (!may_delete || how < 200)
        pair.value = next_text(in);
    return pair;
}

/* Its id if it is a server's row. */
static const char *server_of(const struct pair *pair)
{
    static const char begin[] = ETCD_ROW_PREFIX "server/";
    const char *id = pair->key + strlen(begin);

    return strncmp(pair->key, begin, strlen(begin)) == 0 && store_name_ok(id) ? id : NULL;
}

static bool can_be_read(const struct pair *pair)
{
    json_t *row = json_parse(pair->value, strlen(pair->value), NULL, 0);
    bool object = json_is_object(row);

    json_decref(row);
    return object;
}

/* The row is in the mirror if and only if it is in the store; `before` is what was there if it
 * cannot be read now. */
static void check_pair(const struct pair *pair, const json_t *before)
{
    json_t *row = NULL, *mirrored;
    const char *id = server_of(pair);
    int64_t rev;

    if (!id)
        return;
    if (pair->value && can_be_read(pair))
        row = json_parse(pair->value, strlen(pair->value), NULL, 0);
    else if (pair->value && before)
        row = json_deep_copy(before);
    mirrored = mirror_get(mirror, "server", id, &rev);
    must((row != NULL) == (mirrored != NULL));
    if (mirrored) {
        must(rev == revision);
        json_object_set_new(row, "_rev", json_integer(rev));
        must(json_equal(row, mirrored));
    }
    json_decref(mirrored);
    json_decref(row);
}

static void pair_free(struct pair *pair)
{
    free(pair->key);
    free(pair->value);
}

static void put_header(struct buf *b)
{
    buf_printf(b, "\"header\":{\"revision\":\"%lld\",\"raft_term\":\"2\"}", (long long)revision);
}

/* One page, the only one. */
static void answer_page(struct http_call *call, struct input *in)
{
    struct pair pairs[PAGE];
    bool all_read = true;
    struct buf b;

    revision++;
    buf_init(&b, TEXT_MAX);
    buf_str(&b, "{");
    put_header(&b);
    buf_str(&b, ",\"kvs\":[");
    for (size_t i = 0; i < PAGE; i++) {
        pairs[i] = next_pair(in, false);
        all_read = all_read && can_be_read(&pairs[i]);
        buf_str(&b, i ? ",{" : "{");
        put_pair(&b, &pairs[i]);
        buf_str(&b, "}");
    }
    buf_str(&b, "]}");
    must(!b.failed);
    world_answer(call, 200, buf_text(&b), b.len);
    must(!all_read || watched == revision);
    if (watched == revision)
        check_pair(&pairs[PAGE - 1], NULL);
    for (size_t i = 0; i < PAGE; i++) {
        must(watched != revision || !server_of(&pairs[i]) || can_be_read(&pairs[i]));
        pair_free(&pairs[i]);
    }
    buf_free(&b);
}

static void send_event(struct http_call *call, struct input *in)
{
    struct pair pair = next_pair(in, true);
    uint8_t half = next(in);
    const char *id = server_of(&pair);
    json_t *before = id ? mirror_get(mirror, "server", id, NULL) : NULL;
    struct buf b;
    size_t cut;

    revision++;
    buf_init(&b, TEXT_MAX);
    buf_str(&b, "{\"result\":{");
    put_header(&b);
    buf_printf(&b, ",\"events\":[{%s\"kv\":{", pair.value ? "" : "\"type\":\"DELETE\",");
    put_pair(&b, &pair);
    buf_str(&b, "}}]}}\n");
    must(!b.failed);
    cut = b.len * half / 256;
    call->piece(call->arg, b.data, cut);
    call->piece(call->arg, b.data + cut, b.len - cut);
    must(watched == revision);
    check_pair(&pair, before);
    json_decref(before);
    pair_free(&pair);
    buf_free(&b);
}

static bool is_page(const struct http_call *call)
{
    return strstr(call->body, "\"limit\"") != NULL;
}

static void answer_rows(struct http_call *call, struct input *in)
{
    struct buf b;

    if (is_watch(call)) {
        send_event(call, in);
    } else if (is_page(call)) {
        answer_page(call, in);
    } else {
        buf_init(&b, TEXT_MAX);
        buf_str(&b, "{");
        put_header(&b);
        buf_str(&b, ",\"succeeded\":true,\"result\":{");
        put_header(&b);
        buf_str(&b, ",\"TTL\":\"4\"}}");
        world_answer(call, 200, buf_text(&b), b.len);
        buf_free(&b);
    }
}

/* ---- all ---- */

static void play(struct input *in, uint8_t how)
{
    for (int steps = 0; in->left > 0 && steps < STEPS_MAX; steps++) {
        struct http_call *call = world_calls;

        for (size_t which = next(in) % (world_call_count ? world_call_count : 1); which; which--)
            call = call->next;
        if (!call)
            world_ms = world_next_ms();
        else if (how & ROWS)
            answer_rows(call, in);
        else
            answer_text(call, in, how);
        world_turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uv_loop_t loop;
    const char *endpoints[] = {"http://a", "http://b", NULL};
    struct store_watcher watcher = {.reset = on_reset, .changed = on_changed};
    struct store_etcd_options options = {.endpoints = endpoints, .writer = "c1"};
    struct input in = {bytes, size};
    uint8_t how = next(&in);

    log_set_level((enum log_level)0);
    world_begin();
    revision = 1;
    watched = 0;
    memset(&commit_asked, 0, sizeof(commit_asked));
    barrier_asked = take_asked = renew_asked = commit_asked;
    if (!mirror) {
        mirror = mirror_open_detached(NULL);
        seen = json_array();
    }
    store = store_open_etcd(&loop, &options, NULL);
    must(store && mirror && seen);
    store_watch(store, &watcher);
    ask();
    play(&in, how);
    store_close(store);
    world_turn();
    empty_mirror();
    must(commit_asked.answers && barrier_asked.answers);
    must(take_asked.answers && renew_asked.answers);
    return 0;
}
