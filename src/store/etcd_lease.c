#include "store/etcd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX ((size_t)64 * 1024)
#define REVOKE_MS 10000

/* ---- barriers: all that wait share one read; who comes during a read waits for the next ---- */

struct barrier {
    struct barrier *next;
    int64_t deadline_ms;
    store_barrier_cb *cb;
    void *arg;
};

struct etcd_barriers {
    struct barrier *waiting, *served;
    struct etcd_alarm alarm;
    struct etcd_alarm begin; /* a read, for all that come in this turn of the loop */
    bool reading;
    int64_t term; /* in which the last read was answered */
};

static void serve(struct etcd *etcd);

int etcd_barriers_open(struct etcd *etcd)
{
    etcd->barriers = calloc(1, sizeof(*etcd->barriers));
    return etcd->barriers ? 0 : -ENOMEM;
}

static void answer_all(struct barrier **list, int rc, int64_t revision)
{
    struct barrier *barrier;

    while ((barrier = *list)) {
        *list = barrier->next;
        barrier->cb(barrier->arg, rc, revision);
        free(barrier);
    }
}

static void answer_late(struct barrier **list, int64_t now)
{
    struct barrier *late = NULL, *barrier, **at = list;

    while ((barrier = *at)) {
        if (barrier->deadline_ms > now) {
            at = &barrier->next;
            continue;
        }
        *at = barrier->next;
        barrier->next = late;
        late = barrier;
    }
    answer_all(&late, -ETIMEDOUT, 0);
}

static void on_barrier_alarm(void *arg);

static void barriers_arm(struct etcd *etcd)
{
    struct etcd_barriers *barriers = etcd->barriers;
    int64_t first = INT64_MAX;

    for (struct barrier *barrier = barriers->waiting; barrier; barrier = barrier->next)
        if (barrier->deadline_ms < first)
            first = barrier->deadline_ms;
    for (struct barrier *barrier = barriers->served; barrier; barrier = barrier->next)
        if (barrier->deadline_ms < first)
            first = barrier->deadline_ms;
    if (first == INT64_MAX)
        etcd_alarm_stop(etcd, &barriers->alarm);
    else if (!barriers->alarm.set || barriers->alarm.due_ms != first)
        etcd_alarm_set(etcd, &barriers->alarm, first, on_barrier_alarm, etcd);
}

static void on_barrier_alarm(void *arg)
{
    struct etcd *etcd = arg;
    int64_t now = clock_now_ms();

    answer_late(&etcd->barriers->waiting, now);
    answer_late(&etcd->barriers->served, now);
    barriers_arm(etcd);
}

void etcd_barriers_close(struct etcd *etcd)
{
    answer_all(&etcd->barriers->served, -ECANCELED, 0);
    answer_all(&etcd->barriers->waiting, -ECANCELED, 0);
    free(etcd->barriers);
    etcd->barriers = NULL;
}

static void on_read(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;
    struct barrier *served = etcd->barriers->served;

    etcd->barriers->served = NULL;
    etcd->barriers->term = reply->term;
    if (reply->rc == -ECANCELED) {
        answer_all(&served, -ECANCELED, 0);
        return;
    }
    /* Who asks again from its answer comes into the next read together with the others. */
    answer_all(&served, reply->rc < 0 ? -ETIMEDOUT : 0, reply->revision);
    etcd->barriers->reading = false;
    serve(etcd);
}

static void on_begin(void *arg)
{
    serve(arg);
}

static int64_t last_deadline(const struct barrier *list)
{
    int64_t last = 0;

    for (; list; list = list->next)
        if (list->deadline_ms > last)
            last = list->deadline_ms;
    return last;
}

static void serve(struct etcd *etcd)
{
    struct etcd_barriers *barriers = etcd->barriers;

    if (!barriers->reading && barriers->waiting && !etcd->closing) {
        barriers->reading = true;
        barriers->served = barriers->waiting;
        barriers->waiting = NULL;
        etcd_ask_revision(etcd, last_deadline(barriers->served), on_read, etcd);
    }
    barriers_arm(etcd);
}

void etcd_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg)
{
    struct etcd *etcd = (struct etcd *)store;
    struct barrier *barrier = calloc(1, sizeof(*barrier));

    if (!barrier)
        abort();
    barrier->deadline_ms = clock_now_ms() + timeout_ms;
    barrier->cb = cb;
    barrier->arg = arg;
    barrier->next = etcd->barriers->waiting;
    etcd->barriers->waiting = barrier;
    if (!etcd->barriers->reading && !etcd->barriers->begin.set)
        etcd_alarm_set(etcd, &etcd->barriers->begin, 0, on_begin, etcd);
    if (!etcd->barriers->alarm.set || barrier->deadline_ms < etcd->barriers->alarm.due_ms)
        etcd_alarm_set(etcd, &etcd->barriers->alarm, barrier->deadline_ms, on_barrier_alarm, etcd);
}

/* ---- leases ---- */

struct lease_call {
    struct etcd *etcd;
    char *name;
    json_t *row;
    int64_t lease;
    int64_t deadline_ms;
    int64_t term; /* in which it was renewed */
    int rc;       /* what to answer after another request */
    store_lease_cb *cb;
    void *arg;
};

static struct lease_call *lease_call_new(struct store *store, int64_t lease, int timeout_ms,
                                         store_lease_cb *cb, void *arg)
{
    struct lease_call *call = calloc(1, sizeof(*call));

    if (!call)
        abort();
    call->etcd = (struct etcd *)store;
    call->lease = lease;
    call->deadline_ms = clock_now_ms() + timeout_ms;
    call->cb = cb;
    call->arg = arg;
    return call;
}

static void lease_call_end(struct lease_call *call, int rc)
{
    call->cb(call->arg, rc, call->lease);
    free(call->name);
    json_decref(call->row);
    free(call);
}

void etcd_lease_body(struct buf *body, int64_t lease)
{
    buf_init(body, BODY_MAX);
    buf_printf(body, "{\"ID\":\"%lld\"}", (long long)lease);
}

static void on_forgotten(void *arg, const struct etcd_reply *reply)
{
}

/* A lease that was granted for nothing. If this fails too, it runs out by itself. */
static void forget_lease(struct etcd *etcd, int64_t lease)
{
    struct buf body;

    if (etcd->closing)
        return;
    etcd_lease_body(&body, lease);
    etcd_op_start(etcd, "/v3/lease/revoke", &body, clock_now_ms() + REVOKE_MS, on_forgotten, NULL);
}

static void on_taken(void *arg, int rc, int64_t revision)
{
    struct lease_call *call = arg;

    if (rc < 0)
        forget_lease(call->etcd, call->lease);
    lease_call_end(call, rc == -EAGAIN ? -EEXIST : rc);
}

static void on_granted(void *arg, const struct etcd_reply *reply)
{
    struct lease_call *call = arg;
    int64_t left = call->deadline_ms - clock_now_ms();
    struct store_txn *txn;

    if (reply->rc == 0)
        call->lease = etcd_int(reply->json, "ID");
    if (call->lease <= 0) {
        lease_call_end(call, reply->rc == -ECANCELED ? -ECANCELED : -ETIMEDOUT);
        return;
    }
    txn = store_txn_new();
    store_txn_expect(txn, STORE_LEASE_TABLE, call->name, 0);
    store_txn_put_leased(txn, call->name, call->row);
    etcd_commit_leased(call->etcd, txn, call->lease, left > 0 ? (int)left : 0, on_taken, call);
}

static void on_refused(void *arg, const struct etcd_reply *reply)
{
    struct lease_call *call = arg;

    lease_call_end(call, reply->rc == -ECANCELED ? -ECANCELED : call->rc);
}

/* Answers from the loop, without having asked for anything. */
static void refuse(struct lease_call *call, int rc)
{
    call->rc = rc;
    etcd_ask_revision(call->etcd, 0, on_refused, call);
}

void etcd_lease_take(struct store *store, const char *name, json_t *row, int ttl_ms, int timeout_ms,
                     store_lease_cb *cb, void *arg)
{
    struct lease_call *call = lease_call_new(store, 0, timeout_ms, cb, arg);
    struct buf body;

    if (!store_name_ok(name) || !json_is_object(row) || ttl_ms <= 0) {
        refuse(call, -EINVAL);
        return;
    }
    call->name = strdup(name);
    call->row = json_incref(row);
    buf_init(&body, BODY_MAX);
    /* etcd chooses the id: a copy that arrives late grants a lease that nobody uses, and does not
     * bring back one that has run out. */
    buf_printf(&body, "{\"TTL\":\"%d\"}", (ttl_ms + 999) / 1000);
    etcd_op_start(call->etcd, "/v3/lease/grant", &body, call->deadline_ms, on_granted, call);
}

static void on_confirmed(void *arg, int rc, int64_t revision)
{
    struct lease_call *call = arg;

    if (rc == 0)
        rc = call->etcd->barriers->term == call->term ? call->rc : -ETIMEDOUT;
    lease_call_end(call, rc);
}

static void on_renewed(void *arg, const struct etcd_reply *reply)
{
    struct lease_call *call = arg;
    int64_t left = call->deadline_ms - clock_now_ms();

    if (reply->rc == -EREMOTEIO && reply->code == ETCD_NOT_FOUND) {
        lease_call_end(call, -ENOENT);
    } else if (reply->rc < 0) {
        lease_call_end(call, reply->rc == -ECANCELED ? -ECANCELED : -ETIMEDOUT);
    } else {
        /* A leader that was cut off a moment ago still answers, alone: it renews while another one
         * counts already, and does not know of newer leases. A linearizable read in the same term
         * tells that there was no other: whoever is elected later gives the lease its whole time
         * again. */
        call->term = reply->term;
        call->rc = reply->ttl > 0 ? 0 : -ENOENT;
        etcd_barrier(&call->etcd->store, left > 0 ? (int)left : 0, on_confirmed, call);
    }
}

void etcd_lease_renew(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                      void *arg)
{
    struct lease_call *call = lease_call_new(store, lease, timeout_ms, cb, arg);

    etcd_ask_renewal(call->etcd, lease, call->deadline_ms, on_renewed, call);
}

static void on_dropped(void *arg, const struct etcd_reply *reply)
{
    bool gone = reply->rc == 0 || (reply->rc == -EREMOTEIO && reply->code == ETCD_NOT_FOUND);

    if (gone)
        lease_call_end(arg, 0);
    else
        lease_call_end(arg, reply->rc == -ECANCELED ? -ECANCELED : -ETIMEDOUT);
}

void etcd_lease_drop(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                     void *arg)
{
    struct lease_call *call = lease_call_new(store, lease, timeout_ms, cb, arg);
    struct buf body;

    etcd_lease_body(&body, lease);
    etcd_op_start(call->etcd, "/v3/lease/revoke", &body, call->deadline_ms, on_dropped, call);
}
