/* Transactions that commit at most once, whatever happens to their answers.
 *
 * Those that wait at the same moment go to etcd as one batch, in one slot (etcd_slots.h): one etcd
 * transaction that is guarded by the slot and holds each of ours as a nested one, with its own
 * preconditions. So a busy store costs one round of the replicas for many writes, and a lone write
 * waits for nobody. In a batch no transaction touches what another one writes, so their order does
 * not matter; they share a revision. The batch's nonce is written into the slot, and into the lane
 * of each of them whose preconditions did not hold, so that both tell about every one when the
 * answer was lost. Where a batch was not carried out but a copy may still be on its way, the slot
 * is fenced (written anew under the same guard) before anything is reported.
 */
#include "store/etcd_slots.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FENCE_MS 600
#define RETRY_MS 300
#define QUEUE_MAX 10000
#define BATCH_MAX ETCD_NESTED_MAX /* and a lane for each; the first is the slot's own */
#define BATCH_SIZE_MAX ((size_t)256 * 1024)
#define BATCH_OPS_MAX                                                                              \
    100               /* of one transaction that shares a batch; etcd counts the levels' sum       \
                       */
#define BATCHES_MAX 4 /* on their way at a time; what comes meanwhile goes together */
#define SLOW_MS 100   /* one that takes longer is not waited for */
#define BODY_MAX ((size_t)4 * 1024 * 1024)

_Static_assert(BATCH_MAX == ETCD_LANES - 1, "a lane for each transaction of a batch");

struct batch;

struct etcd_txn {
    struct etcd_txn *prev, *next;
    struct etcd *etcd;
    struct store_txn *txn;
    struct batch *batch; /* NULL: it waits */
    int64_t lease;
    int64_t deadline_ms;
    int timeout_ms;
    store_commit_cb *cb;
    void *arg;
    int mistake; /* made while it was built */
    bool alone;  /* in a batch with others etcd refused it */
    bool answered;
    struct etcd_alarm alarm; /* its deadline */
};

struct batch {
    struct batch *next;
    struct etcd *etcd;
    struct etcd_txn *txns[BATCH_MAX];
    size_t count, size;
    struct etcd_slot slot;
    char nonce[ID_HEX_SIZE], fence[ID_HEX_SIZE];
    int64_t sent_ms;
    bool resolving; /* it was not carried out so far */
    int verdict;    /* once it never will be */
    bool again;     /* then its transactions may be sent anew... */
    bool refused;   /* ...each by itself: one of them is what etcd did not like */
    bool fences;    /* else the slot is only read */
    bool open_copies;
    struct etcd_alarm retry;
};

struct etcd_txns {
    struct etcd_txn *first, *last;
    size_t count;
    struct batch *batches;
    struct etcd_alarm nudge;
};

static void pump(struct etcd *etcd);

int etcd_txns_open(struct etcd *etcd)
{
    etcd->txns = calloc(1, sizeof(*etcd->txns));
    etcd->slots = calloc(1, sizeof(*etcd->slots));
    if (!etcd->txns || !etcd->slots)
        return -ENOMEM;
    etcd->slots->ready = pump;
    return 0;
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
    struct etcd_txns *txns = t->etcd->txns;

    etcd_alarm_stop(t->etcd, &t->alarm);
    if (t->prev)
        t->prev->next = t->next;
    else
        txns->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        txns->last = t->prev;
    txns->count--;
    answer(t, rc, revision);
    store_txn_free(t->txn);
    free(t);
}

static int64_t send_deadline(const struct etcd_txn *t)
{
    return t->deadline_ms - (t->timeout_ms / 3 < FENCE_MS ? t->timeout_ms / 3 : FENCE_MS);
}

static void on_deadline(void *arg)
{
    struct etcd_txn *t = arg;

    if (t->batch)
        answer(t, -EINPROGRESS, 0);
    else
        finish(t, t->mistake ? t->mistake : -ETIMEDOUT, 0);
}

/* ---- ending a batch ---- */

static void batch_free(struct batch *batch)
{
    struct etcd *etcd = batch->etcd;
    struct batch **at = &etcd->txns->batches;

    while (*at != batch)
        at = &(*at)->next;
    *at = batch->next;
    etcd_alarm_stop(etcd, &batch->retry);
    etcd_slot_give_back(etcd, &batch->slot);
    free(batch);
    pump(etcd);
}

/* All of them have the same end. */
static void batch_end(struct batch *batch, int rc)
{
    for (size_t i = 0; i < batch->count; i++)
        finish(batch->txns[i], rc, 0);
    batch_free(batch);
}

/* It never commits. What has time left goes again, in another slot. */
static void batch_dropped(struct batch *batch)
{
    int64_t now = clock_now_ms();

    for (size_t i = 0; i < batch->count; i++) {
        struct etcd_txn *t = batch->txns[i];

        if (!batch->again || t->answered || now >= send_deadline(t)) {
            finish(t, batch->verdict, 0);
            continue;
        }
        t->alone = batch->refused;
        t->batch = NULL;
    }
    batch_free(batch);
}

/* It was carried out; `committed` tells which transactions had their preconditions. */
static void batch_done(struct batch *batch, const bool *committed, int64_t revision)
{
    etcd_slot_moved(batch->etcd, &batch->slot, revision);
    for (size_t i = 0; i < batch->count; i++)
        finish(batch->txns[i], committed[i] ? 0 : -EAGAIN, committed[i] ? revision : 0);
    batch_free(batch);
}

void etcd_txns_close(struct etcd *etcd)
{
    struct etcd_txn *t, *next;
    struct batch *batch, *after;

    for (batch = etcd->txns->batches; batch; batch = after) {
        after = batch->next;
        if (batch->retry.set)
            batch_end(batch, -ECANCELED);
    }
    for (t = etcd->txns->first; t; t = next) {
        next = t->next;
        if (!t->batch)
            finish(t, -ECANCELED, 0);
    }
    etcd_alarm_stop(etcd, &etcd->txns->nudge);
}

void etcd_txns_free(struct etcd *etcd)
{
    free(etcd->slots);
    free(etcd->txns);
    etcd->txns = NULL;
}

/* ---- requests ---- */

static void put_change(struct etcd_request *r, const struct etcd_txn *t,
                       const struct txn_change *change)
{
    bool leased = t->lease && strcmp(change->table, STORE_LEASE_TABLE) == 0;
    char key[ETCD_KEY_SIZE];

    etcd_row_key(key, change->table, change->id);
    if (change->row)
        etcd_request_put(r, ETCD_SUCCESS, key, change->text, change->size, leased ? t->lease : 0);
    else
        etcd_request_delete(r, ETCD_SUCCESS, key, NULL);
}

static void put_txn(struct etcd_request *r, const struct batch *batch, size_t number)
{
    const struct etcd_txn *t = batch->txns[number];
    char key[ETCD_KEY_SIZE];

    etcd_request_txn_begin(r, ETCD_SUCCESS);
    for (size_t i = 0; i < t->txn->expect_count; i++) {
        etcd_row_key(key, t->txn->expects[i].table, t->txn->expects[i].id);
        etcd_request_compare(r, key, t->txn->expects[i].revision);
    }
    for (size_t i = 0; i < t->txn->change_count; i++)
        put_change(r, t, &t->txn->changes[i]);
    etcd_slot_put(r, ETCD_FAILURE, batch->etcd, &batch->slot, (int)number + 1, batch->nonce);
    etcd_request_txn_end(r);
}

static void batch_body(struct buf *b, const struct batch *batch)
{
    struct etcd_request r;

    buf_init(b, BODY_MAX);
    etcd_request_begin(&r, b, batch->etcd->secure);
    etcd_slot_guard(&r, batch->etcd, &batch->slot);
    /* etcd minds its quota for the sake of this put only: it does not look into nested ones. */
    etcd_slot_put(&r, ETCD_SUCCESS, batch->etcd, &batch->slot, 0, batch->nonce);
    for (size_t i = 0; i < batch->count; i++)
        put_txn(&r, batch, i);
    etcd_request_end(&r);
}

/* ---- answers ---- */

static void send_fence(void *arg);

/* The guard did not hold: what does the slot tell? */
static void on_slot_read(struct batch *batch, const json_t *json)
{
    struct etcd_slot_state state;
    bool committed[BATCH_MAX];

    etcd_slot_read(json, &state);
    if (!state.boot_there) {
        etcd_slot_lost(batch->etcd, &batch->slot);
        if (!batch->resolving && !batch->open_copies)
            batch_dropped(batch); /* no copy did anything, nor will */
        else
            batch_end(batch, -EINPROGRESS);
    } else if (strcmp(state.lanes[0], batch->nonce) == 0) {
        for (size_t i = 0; i < batch->count; i++)
            committed[i] = strcmp(state.lanes[i + 1], batch->nonce) != 0;
        batch_done(batch, committed, state.revision);
    } else if (strcmp(state.lanes[0], batch->fence) == 0) {
        etcd_slot_moved(batch->etcd, &batch->slot, state.revision);
        batch_dropped(batch);
    } else {
        log_error("store: slot %d of %s was written by somebody else", batch->slot.number,
                  batch->etcd->writer);
        etcd_slot_moved(batch->etcd, &batch->slot, state.revision);
        batch_end(batch, -EINPROGRESS);
    }
}

static void on_fenced(void *arg, const struct etcd_reply *reply)
{
    struct batch *batch = arg;

    if (reply->rc == -ECANCELED) {
        batch_end(batch, -ECANCELED);
    } else if (reply->rc < 0) {
        /* The store is full, say: nothing can be fenced until it is not. */
        etcd_alarm_set(batch->etcd, &batch->retry, clock_now_ms() + RETRY_MS, send_fence, batch);
    } else if (json_is_true(json_object_get(reply->json, "succeeded"))) {
        if (batch->fences)
            etcd_slot_moved(batch->etcd, &batch->slot, reply->revision);
        batch_dropped(batch);
    } else {
        on_slot_read(batch, reply->json);
    }
}

static void send_fence(void *arg)
{
    struct batch *batch = arg;
    struct etcd_request r;
    struct buf body;

    buf_init(&body, BODY_MAX);
    etcd_request_begin(&r, &body, false);
    etcd_slot_guard(&r, batch->etcd, &batch->slot);
    if (batch->fences)
        etcd_slot_put(&r, ETCD_SUCCESS, batch->etcd, &batch->slot, 0, batch->fence);
    etcd_slot_look(&r, batch->etcd, &batch->slot);
    etcd_request_end(&r);
    etcd_op_start(batch->etcd, "/v3/kv/txn", &body, INT64_MAX, on_fenced, batch);
}

/* Nobody knows that it was carried out; makes sure that it never will be, if it was not. A store
 * that is full takes no fence, but the slot is looked at: etcd may have applied what it answered
 * with "no space". */
static void resolve(struct batch *batch, int verdict, bool open_copies)
{
    struct etcd *etcd = batch->etcd;

    batch->verdict = verdict;
    batch->again = batch->refused ? batch->count > 1 && verdict != -ENOSPC : true;
    batch->resolving = true;
    batch->fences = batch->open_copies = open_copies;
    if (open_copies || verdict == -ENOSPC) {
        send_fence(batch);
        pump(etcd); /* others need not wait for it */
    } else {
        batch_dropped(batch);
    }
}

static int verdict_of(const struct batch *batch, const struct etcd_reply *reply)
{
    if (reply->rc != -EREMOTEIO)
        return -ETIMEDOUT;
    switch (reply->code) {
    case ETCD_EXHAUSTED:
        return -ENOSPC;
    case ETCD_INVALID:
        if (batch->count == 1)
            log_error("store: etcd refused a transaction: %s", reply->why);
        return strstr(reply->why, "too large") || strstr(reply->why, "too many") ? -EMSGSIZE
                                                                                 : -EINVAL;
    default: /* its lease has run out meanwhile */
        return -ETIMEDOUT;
    }
}

/* The responses behind the slot's are the transactions'. False: it is no answer of etcd. */
static bool read_json(const struct batch *batch, const json_t *json, struct etcd_txn_answer *ret)
{
    const json_t *list = json_object_get(json, "responses");

    ret->succeeded = json_is_true(json_object_get(json, "succeeded"));
    for (size_t i = 0; ret->succeeded && i < batch->count; i++) {
        const json_t *one = json_object_get(json_array_get(list, i + 1), "response_txn");

        if (!one)
            return false;
        ret->nested[i] = json_is_true(json_object_get(one, "succeeded"));
    }
    return true;
}

static bool read_verdicts(const struct batch *batch, const struct etcd_reply *reply,
                          struct etcd_txn_answer *ret)
{
    return reply->json ? read_json(batch, reply->json, ret)
                       : etcd_grpc_read_txn(reply->grpc, reply->grpc_size, 1, batch->count, ret);
}

static void on_batch(void *arg, const struct etcd_reply *reply)
{
    struct batch *batch = arg;
    struct etcd_txn_answer answer;

    if (reply->rc == -ECANCELED) {
        batch_end(batch, -ECANCELED);
    } else if (reply->rc < 0) {
        batch->refused = reply->rc == -EREMOTEIO;
        resolve(batch, verdict_of(batch, reply), reply->open_copies);
    } else if (!read_verdicts(batch, reply, &answer)) {
        resolve(batch, -ETIMEDOUT, true); /* the slot tells */
    } else if (!answer.succeeded) {
        batch->verdict = -ETIMEDOUT;
        batch->again = true;
        batch->open_copies = reply->open_copies;
        send_fence(batch); /* only to read: the guard has failed */
    } else {
        batch_done(batch, answer.nested, reply->revision);
    }
}

/* ---- making batches ---- */

static bool same_row(const char *table, const char *id, const struct txn_change *change)
{
    return strcmp(id, change->id) == 0 && strcmp(table, change->table) == 0;
}

/* Does `a` write what `b` writes or relies on? */
static bool disturbs(const struct store_txn *a, const struct store_txn *b)
{
    for (size_t i = 0; i < a->change_count; i++) {
        for (size_t k = 0; k < b->change_count; k++)
            if (same_row(b->changes[k].table, b->changes[k].id, &a->changes[i]))
                return true;
        for (size_t k = 0; k < b->expect_count; k++)
            if (same_row(b->expects[k].table, b->expects[k].id, &a->changes[i]))
                return true;
    }
    return false;
}

/* Once a lease has run out etcd refuses the whole batch. */
static bool goes_alone(const struct etcd_txn *t)
{
    return t->alone || t->lease || t->txn->change_count > BATCH_OPS_MAX ||
           t->txn->expect_count > BATCH_OPS_MAX;
}

static bool fits(const struct batch *batch, const struct etcd_txn *t)
{
    if (batch->count == 0)
        return true;
    if (batch->count == BATCH_MAX || batch->size + t->txn->size > BATCH_SIZE_MAX || goes_alone(t) ||
        goes_alone(batch->txns[0]))
        return false;
    for (size_t i = 0; i < batch->count; i++)
        if (disturbs(batch->txns[i]->txn, t->txn) || disturbs(t->txn, batch->txns[i]->txn))
            return false;
    return true;
}

/* Sends what waits, as far as it fits. */
static void send_batch(struct etcd *etcd, const struct etcd_slot *slot)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    int64_t deadline = INT64_MAX;
    struct buf body;

    if (!batch)
        abort();
    batch->etcd = etcd;
    batch->slot = *slot;
    batch->sent_ms = clock_now_ms();
    batch->next = etcd->txns->batches;
    etcd->txns->batches = batch;
    for (struct etcd_txn *t = etcd->txns->first; t && batch->count < BATCH_MAX; t = t->next) {
        if (t->batch || t->mistake || !fits(batch, t))
            continue;
        t->batch = batch;
        batch->txns[batch->count++] = t;
        batch->size += t->txn->size;
        if (send_deadline(t) < deadline)
            deadline = send_deadline(t);
    }
    id_hex(batch->nonce);
    id_hex(batch->fence);
    batch_body(&body, batch);
    etcd_op_start(etcd, etcd->secure ? ETCD_GRPC_TXN : "/v3/kv/txn", &body, deadline, on_batch,
                  batch);
}

static void on_nudge(void *arg)
{
    pump(arg);
}

/* May one more be on its way? If not, and nothing ends, pump() is called when it may. */
static bool may_send(struct etcd *etcd)
{
    int64_t now = clock_now_ms(), first_slow = INT64_MAX;
    int on_their_way = 0;

    for (const struct batch *batch = etcd->txns->batches; batch; batch = batch->next) {
        if (batch->resolving || now - batch->sent_ms >= SLOW_MS)
            continue;
        on_their_way++;
        if (batch->sent_ms + SLOW_MS < first_slow)
            first_slow = batch->sent_ms + SLOW_MS;
    }
    if (on_their_way < BATCHES_MAX)
        return true;
    etcd_alarm_set(etcd, &etcd->txns->nudge, first_slow, on_nudge, etcd);
    return false;
}

static bool anyone_waits(const struct etcd_txns *txns)
{
    for (const struct etcd_txn *t = txns->first; t; t = t->next)
        if (!t->batch && !t->mistake)
            return true;
    return false;
}

static void pump(struct etcd *etcd)
{
    struct etcd_slot slot;

    while (!etcd->closing && anyone_waits(etcd->txns) && may_send(etcd) &&
           etcd_slot_take(etcd, &slot))
        send_batch(etcd, &slot);
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
    t->mistake = txn->rc;
    if (t->mistake == 0 && txns->count >= QUEUE_MAX)
        t->mistake = -ETIMEDOUT;
    t->prev = txns->last;
    if (t->prev)
        t->prev->next = t;
    else
        txns->first = t;
    txns->last = t;
    txns->count++;
    etcd_alarm_set(etcd, &t->alarm, t->mistake ? 0 : t->deadline_ms, on_deadline, t);
    pump(etcd);
}

void etcd_commit(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                 void *arg)
{
    etcd_commit_leased((struct etcd *)store, txn, 0, timeout_ms, cb, arg);
}
