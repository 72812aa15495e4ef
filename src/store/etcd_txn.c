/* Transactions that commit at most once, whatever happens to their answers.
 *
 * Each process of a writer registers a random `boot` with all its slots, once; registering removes
 * the keys of the earlier boots for good. A transaction takes a free slot and is guarded: it
 * commits only while the slot's key is there with the revision that we know, and it writes its own
 * nonce into the slot. So a copy that arrives later or twice fails, and a failed copy tells by the
 * slot's content whether another one was committed; repeating is safe. Where the transaction did
 * not commit but a copy may still be on its way, the slot is fenced (written anew under the same
 * guard) before anything but success is reported. Without boots, a late copy from a dead process
 * could meet a slot at the revision it expects.
 */
#include "store/etcd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 64 /* all are put in one transaction; etcd takes 128 changes */
#define FENCE_MS 600
#define RETRY_MS 300
#define QUEUE_MAX 10000
#define BODY_MAX ((size_t)4 * 1024 * 1024)

enum txn_state { TXN_WAITING, TXN_SENT, TXN_RESOLVING };

struct etcd_txn {
    struct etcd_txn *prev, *next;
    struct etcd *etcd;
    struct store_txn *txn;
    int64_t lease;
    int64_t deadline_ms;
    int timeout_ms;
    store_commit_cb *cb;
    void *arg;
    enum txn_state state;
    int slot; /* -1: none */
    char boot[ID_HEX_SIZE], nonce[ID_HEX_SIZE], fence[ID_HEX_SIZE];
    int verdict; /* once it is known that it never commits */
    bool fences; /* else the slot is only read */
    bool answered;
    struct etcd_alarm alarm; /* its deadline */
    struct etcd_alarm retry; /* of the fence */
};

struct slot {
    int64_t revision;
    bool busy;
};

struct etcd_txns {
    struct etcd_txn *first, *last;
    size_t count;
    char boot[ID_HEX_SIZE];
    bool registered, registering;
    struct slot slots[SLOTS];
};

static void pump(struct etcd *etcd);
static void resolve(struct etcd_txn *t, int verdict, bool open_copies);

int etcd_txns_open(struct etcd *etcd)
{
    etcd->txns = calloc(1, sizeof(*etcd->txns));
    return etcd->txns ? 0 : -ENOMEM;
}

/* ---- keys ---- */

/* Written at each registration. */
static void writer_key(const struct etcd *etcd, char key[ETCD_KEY_SIZE])
{
    snprintf(key, ETCD_KEY_SIZE, "%s%s", ETCD_WRITER_PREFIX, etcd->writer);
}

static void boot_key(const struct etcd *etcd, const char *boot, char key[ETCD_KEY_SIZE])
{
    snprintf(key, ETCD_KEY_SIZE, "%s%s/%s", ETCD_WRITER_PREFIX, etcd->writer, boot);
}

static void slot_key(const struct etcd_txn *t, char key[ETCD_KEY_SIZE])
{
    snprintf(key, ETCD_KEY_SIZE, "%s%s/%s/%d", ETCD_WRITER_PREFIX, t->etcd->writer, t->boot,
             t->slot);
}

/* ---- ending one ---- */

static void answer(struct etcd_txn *t, int rc, int64_t revision)
{
    if (t->answered)
        return;
    t->answered = true;
    t->cb(t->arg, rc, revision);
}

static void finish(struct etcd_txn *t, int rc, int64_t revision)
{
    struct etcd *etcd = t->etcd;
    struct etcd_txns *txns = etcd->txns;

    etcd_alarm_stop(etcd, &t->alarm);
    etcd_alarm_stop(etcd, &t->retry);
    if (t->prev)
        t->prev->next = t->next;
    else
        txns->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        txns->last = t->prev;
    txns->count--;
    if (t->slot >= 0)
        txns->slots[t->slot].busy = false;
    answer(t, rc, revision);
    store_txn_free(t->txn);
    free(t);
    pump(etcd);
}

static void slot_moved(struct etcd_txn *t, int64_t revision)
{
    struct etcd_txns *txns = t->etcd->txns;

    if (strcmp(t->boot, txns->boot) == 0)
        txns->slots[t->slot].revision = revision;
}

void etcd_txns_close(struct etcd *etcd)
{
    struct etcd_txn *t, *next;

    for (t = etcd->txns->first; t; t = next) {
        next = t->next;
        if (t->state == TXN_WAITING || t->retry.set)
            finish(t, -ECANCELED, 0);
    }
}

void etcd_txns_free(struct etcd *etcd)
{
    free(etcd->txns);
    etcd->txns = NULL;
}

static void on_deadline(void *arg)
{
    struct etcd_txn *t = arg;

    if (t->state == TXN_WAITING)
        finish(t, t->verdict ? t->verdict : -ETIMEDOUT, 0);
    else
        answer(t, -EINPROGRESS, 0);
}

/* ---- registering this process ---- */

static void begin_register(struct etcd *etcd);

static void on_registered(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;
    struct etcd_txns *txns = etcd->txns;
    const json_t *boot = json_object_get(
        json_array_get(json_object_get(reply->json, "responses"), 0), "response_range");
    int64_t revision;

    txns->registering = false;
    if (reply->rc == -ECANCELED)
        return;
    if (reply->rc < 0) {
        log_error("store: etcd refused the registration of %s: %s", etcd->writer, reply->why);
        return;
    }
    if (!json_is_true(json_object_get(reply->json, "succeeded")) &&
        json_array_size(json_object_get(boot, "kvs")) == 0) {
        begin_register(etcd); /* another process was registered between reading and this */
        return;
    }
    /* An earlier copy may have done it: the boot and its slots have the same revision. */
    revision = json_is_true(json_object_get(reply->json, "succeeded"))
                   ? reply->revision
                   : etcd_int(json_array_get(json_object_get(boot, "kvs"), 0), "mod_revision");
    txns->registered = true;
    for (int i = 0; i < SLOTS; i++)
        txns->slots[i].revision = revision;
    pump(etcd);
}

static void put_empty_slots(struct buf *b, const struct etcd *etcd)
{
    char key[ETCD_KEY_SIZE];

    for (int i = 0; i < SLOTS; i++) {
        snprintf(key, sizeof(key), "%s%s/%s/%d", ETCD_WRITER_PREFIX, etcd->writer, etcd->txns->boot,
                 i);
        buf_str(b, ",{\"request_put\":{");
        etcd_put_key(b, "key", key);
        buf_str(b, "}}");
    }
}

/* Deletes the writer's keys on both sides of the new boot's and puts that with its slots, if nobody
 * registered since `revision`: a copy that arrives after a later boot's must not bring this one
 * back. */
static void register_boot(struct etcd *etcd, int64_t revision)
{
    char writer[ETCD_KEY_SIZE], key[ETCD_KEY_SIZE], bound[ETCD_KEY_SIZE];
    struct buf body;

    id_hex(etcd->txns->boot);
    writer_key(etcd, writer);
    boot_key(etcd, etcd->txns->boot, key);
    buf_init(&body, BODY_MAX);
    buf_printf(&body, "{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"%lld\",",
               (long long)revision);
    etcd_put_key(&body, "key", writer);
    buf_str(&body, "}],\"success\":[{\"request_delete_range\":{");
    snprintf(bound, sizeof(bound), "%s%s/", ETCD_WRITER_PREFIX, etcd->writer);
    etcd_put_key(&body, "key", bound);
    buf_str(&body, ",");
    etcd_put_key(&body, "range_end", key);
    buf_str(&body, "}},{\"request_delete_range\":{");
    snprintf(bound, sizeof(bound), "%s%s/%s0", ETCD_WRITER_PREFIX, etcd->writer, etcd->txns->boot);
    etcd_put_key(&body, "key", bound);
    buf_str(&body, ",");
    snprintf(bound, sizeof(bound), "%s%s0", ETCD_WRITER_PREFIX, etcd->writer);
    etcd_put_key(&body, "range_end", bound);
    buf_str(&body, "}},{\"request_put\":{");
    etcd_put_key(&body, "key", key);
    buf_str(&body, "}},{\"request_put\":{");
    etcd_put_key(&body, "key", writer);
    buf_str(&body, "}}");
    put_empty_slots(&body, etcd);
    buf_str(&body, "],\"failure\":[{\"request_range\":{");
    etcd_put_key(&body, "key", key);
    buf_str(&body, "}}]}");
    etcd_op_start(etcd, "/v3/kv/txn", &body, INT64_MAX, on_registered, etcd);
}

static void on_writer_read(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;

    if (reply->rc < 0)
        etcd->txns->registering = false;
    else
        register_boot(
            etcd, etcd_int(json_array_get(json_object_get(reply->json, "kvs"), 0), "mod_revision"));
}

static void begin_register(struct etcd *etcd)
{
    char key[ETCD_KEY_SIZE];
    struct buf body;

    etcd->txns->registering = true;
    writer_key(etcd, key);
    buf_init(&body, BODY_MAX);
    buf_str(&body, "{");
    etcd_put_key(&body, "key", key);
    buf_str(&body, "}");
    etcd_op_start(etcd, "/v3/kv/range", &body, INT64_MAX, on_writer_read, etcd);
}

static void boot_lost(struct etcd_txn *t)
{
    struct etcd_txns *txns = t->etcd->txns;

    if (strcmp(t->boot, txns->boot) != 0 || !txns->registered)
        return;
    txns->registered = false;
    log_warn("store: another process writes as %s; registering anew", t->etcd->writer);
}

/* ---- requests ---- */

/* A slot whose boot is gone is gone as well, and is never put again. */
static void put_guard(struct buf *b, const struct etcd_txn *t)
{
    char key[ETCD_KEY_SIZE];

    slot_key(t, key);
    buf_printf(b, "{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"%lld\",",
               (long long)t->etcd->txns->slots[t->slot].revision);
    etcd_put_key(b, "key", key);
    buf_str(b, "}");
}

static void put_slot(struct buf *b, const struct etcd_txn *t, const char *nonce)
{
    char key[ETCD_KEY_SIZE];

    slot_key(t, key);
    buf_str(b, "{\"request_put\":{");
    etcd_put_key(b, "key", key);
    buf_str(b, ",");
    etcd_put_key(b, "value", nonce);
    buf_str(b, "}}");
}

/* On failure: what is in the slot, and is the boot still there? */
static void put_failure(struct buf *b, const struct etcd_txn *t)
{
    char key[ETCD_KEY_SIZE];

    slot_key(t, key);
    buf_str(b, "\"failure\":[{\"request_range\":{");
    etcd_put_key(b, "key", key);
    boot_key(t->etcd, t->boot, key);
    buf_str(b, "}},{\"request_range\":{");
    etcd_put_key(b, "key", key);
    buf_str(b, "}}]}");
}

static void put_change(struct buf *b, const struct etcd_txn *t, const struct txn_change *change)
{
    char key[ETCD_KEY_SIZE];

    etcd_row_key(key, change->table, change->id);
    buf_str(b, change->row ? "{\"request_put\":{" : "{\"request_delete_range\":{");
    etcd_put_key(b, "key", key);
    if (change->row) {
        buf_str(b, ",");
        etcd_put_base64(b, "value", change->text, change->size);
        if (t->lease && strcmp(change->table, STORE_LEASE_TABLE) == 0)
            buf_printf(b, ",\"lease\":\"%lld\"", (long long)t->lease);
    }
    buf_str(b, "}},");
}

static void txn_body(struct buf *b, const struct etcd_txn *t)
{
    char key[ETCD_KEY_SIZE];

    buf_init(b, BODY_MAX);
    put_guard(b, t);
    for (size_t i = 0; i < t->txn->expect_count; i++) {
        const struct txn_expect *expect = &t->txn->expects[i];

        etcd_row_key(key, expect->table, expect->id);
        buf_printf(b, ",{\"target\":\"MOD\",\"mod_revision\":\"%lld\",",
                   (long long)expect->revision);
        etcd_put_key(b, "key", key);
        buf_str(b, "}");
    }
    buf_str(b, "],\"success\":[");
    for (size_t i = 0; i < t->txn->change_count; i++)
        put_change(b, t, &t->txn->changes[i]);
    put_slot(b, t, t->nonce);
    buf_str(b, "],");
    put_failure(b, t);
}

/* ---- answers ---- */

/* What the failure branch read. */
struct slot_state {
    bool boot_there;
    char *value; /* of the slot; NULL: no key */
    int64_t revision;
};

static void slot_state_read(const json_t *json, struct slot_state *ret)
{
    const json_t *list = json_object_get(json, "responses");
    const json_t *slot = json_object_get(json_array_get(list, 0), "response_range");
    const json_t *boot = json_object_get(json_array_get(list, 1), "response_range");
    const json_t *kv = json_array_get(json_object_get(slot, "kvs"), 0);

    ret->boot_there = json_array_size(json_object_get(boot, "kvs")) > 0;
    ret->value = kv ? etcd_base64_decode(json_str(kv, "value", ""), NULL) : NULL;
    ret->revision = etcd_int(kv, "mod_revision");
}

static bool value_is(const struct slot_state *state, const char *nonce)
{
    return state->value && strcmp(state->value, nonce) == 0;
}

static void on_guard_failed(struct etcd_txn *t, const struct etcd_reply *reply)
{
    struct slot_state state;
    bool mine, fenced;

    slot_state_read(reply->json, &state);
    mine = value_is(&state, t->nonce);
    fenced = value_is(&state, t->fence);
    free(state.value);
    if (state.boot_there && (mine || fenced)) {
        slot_moved(t, state.revision);
        finish(t, mine ? 0 : t->verdict, mine ? state.revision : 0);
    } else if (!state.boot_there && t->state == TXN_SENT && !reply->open_copies) {
        boot_lost(t); /* this copy was the only one, and it did nothing */
        t->etcd->txns->slots[t->slot].busy = false;
        t->slot = -1;
        t->state = TXN_WAITING;
        pump(t->etcd);
    } else if (!state.boot_there) {
        boot_lost(t);
        finish(t, -EINPROGRESS, 0);
    } else if (state.revision == t->etcd->txns->slots[t->slot].revision && t->state == TXN_SENT) {
        resolve(t, -EAGAIN, reply->open_copies);
    } else {
        log_error("store: slot %d of %s was written by somebody else", t->slot, t->etcd->writer);
        slot_moved(t, state.revision);
        finish(t, -EINPROGRESS, 0);
    }
}

static void send_fence(void *arg);

static void on_fenced(void *arg, const struct etcd_reply *reply)
{
    struct etcd_txn *t = arg;

    if (reply->rc == -ECANCELED) {
        finish(t, -ECANCELED, 0);
    } else if (reply->rc < 0) {
        /* The store is full, say: nothing can be fenced until it is not. */
        etcd_alarm_set(t->etcd, &t->retry, clock_now_ms() + RETRY_MS, send_fence, t);
    } else if (json_is_true(json_object_get(reply->json, "succeeded"))) {
        if (t->fences)
            slot_moved(t, reply->revision);
        finish(t, t->verdict, 0);
    } else {
        on_guard_failed(t, reply);
    }
}

static void send_fence(void *arg)
{
    struct etcd_txn *t = arg;
    struct buf body;

    buf_init(&body, BODY_MAX);
    put_guard(&body, t);
    buf_str(&body, "],\"success\":[");
    if (t->fences)
        put_slot(&body, t, t->fence);
    buf_str(&body, "],");
    put_failure(&body, t);
    etcd_op_start(t->etcd, "/v3/kv/txn", &body, INT64_MAX, on_fenced, t);
}

/* It was not committed so far; makes sure that it never will be, then reports `verdict`. A store
 * that is full takes no fence, but the slot is looked at: etcd may have applied what it answered
 * with "no space". */
static void resolve(struct etcd_txn *t, int verdict, bool open_copies)
{
    t->verdict = verdict;
    t->state = TXN_RESOLVING;
    t->fences = open_copies;
    if (open_copies || verdict == -ENOSPC)
        send_fence(t);
    else
        finish(t, verdict, 0);
}

static int verdict_of(const struct etcd_reply *reply)
{
    if (reply->rc != -EREMOTEIO)
        return -ETIMEDOUT;
    switch (reply->code) {
    case ETCD_EXHAUSTED:
        return -ENOSPC;
    case ETCD_INVALID:
        log_error("store: etcd refused a transaction: %s", reply->why);
        return strstr(reply->why, "too large") || strstr(reply->why, "too many") ? -EMSGSIZE
                                                                                 : -EINVAL;
    default: /* its lease has run out meanwhile */
        return -ETIMEDOUT;
    }
}

static void on_txn(void *arg, const struct etcd_reply *reply)
{
    struct etcd_txn *t = arg;

    if (reply->rc == -ECANCELED) {
        finish(t, -ECANCELED, 0);
    } else if (reply->rc < 0) {
        resolve(t, verdict_of(reply), reply->open_copies);
    } else if (json_is_true(json_object_get(reply->json, "succeeded"))) {
        slot_moved(t, reply->revision);
        finish(t, 0, reply->revision);
    } else {
        on_guard_failed(t, reply);
    }
}

/* ---- starting ---- */

static void start(struct etcd_txn *t, int slot)
{
    struct etcd_txns *txns = t->etcd->txns;
    int spare = t->timeout_ms / 3 < FENCE_MS ? t->timeout_ms / 3 : FENCE_MS;
    struct buf body;

    t->slot = slot;
    t->state = TXN_SENT;
    txns->slots[slot].busy = true;
    memcpy(t->boot, txns->boot, sizeof(t->boot));
    id_hex(t->nonce);
    id_hex(t->fence);
    txn_body(&body, t);
    etcd_op_start(t->etcd, "/v3/kv/txn", &body, t->deadline_ms - spare, on_txn, t);
}

static int free_slot(const struct etcd_txns *txns)
{
    for (int i = 0; i < SLOTS; i++)
        if (!txns->slots[i].busy)
            return i;
    return -1;
}

static struct etcd_txn *next_waiting(struct etcd_txns *txns)
{
    for (struct etcd_txn *t = txns->first; t; t = t->next)
        if (t->state == TXN_WAITING && t->verdict == 0)
            return t;
    return NULL;
}

static void pump(struct etcd *etcd)
{
    struct etcd_txns *txns = etcd->txns;
    struct etcd_txn *t;
    int slot;

    while (!etcd->closing && (t = next_waiting(txns))) {
        if (!txns->registered) {
            if (!txns->registering)
                begin_register(etcd);
            return;
        }
        slot = free_slot(txns);
        if (slot < 0)
            return;
        start(t, slot);
    }
}

void etcd_commit_leased(struct etcd *etcd, struct store_txn *txn, int64_t lease, int timeout_ms,
                        store_commit_cb *cb, void *arg)
{
    struct etcd_txns *txns = etcd->txns;
    struct etcd_txn *t = calloc(1, sizeof(*t));

    if (!t)
        abort();
    t->etcd = etcd;
    t->txn = txn;
    t->lease = lease;
    t->timeout_ms = timeout_ms;
    t->deadline_ms = clock_now_ms() + timeout_ms;
    t->cb = cb;
    t->arg = arg;
    t->slot = -1;
    t->verdict = txn->rc;
    if (t->verdict == 0 && txns->count >= QUEUE_MAX)
        t->verdict = -ETIMEDOUT;
    t->prev = txns->last;
    if (t->prev)
        t->prev->next = t;
    else
        txns->first = t;
    txns->last = t;
    txns->count++;
    etcd_alarm_set(etcd, &t->alarm, t->verdict ? 0 : t->deadline_ms, on_deadline, t);
    pump(etcd);
}

void etcd_commit(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                 void *arg)
{
    etcd_commit_leased((struct etcd *)store, txn, 0, timeout_ms, cb, arg);
}
