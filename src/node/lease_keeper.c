/* Takes and renews this host's lease ("host/<name>" in table lease).
 *
 * The lease outlives a restart of the daemon: its id is kept in <run_dir>/lease, so the next daemon
 * goes on renewing the same one and guests are not disturbed. After a power cut run_dir (a tmpfs)
 * is empty; then the daemon waits until the old lease has run out and takes a new one. The holder
 * counts from when it *sent* the last acknowledged renewal; the guard process gets that deadline
 * and acts on its own when it passes (node/guard.h). While no guard looks nothing is renewed: a
 * lease is the promise that the guests stop when it ends.
 *
 * No lease is taken before this host's row exists (node/bootstrap.c writes it as soon as the mirror
 * has something). So the epoch is known, and whoever finds neither a row nor a lease of a host, in
 * a cloud that was restored, knows that nothing of it can run (ha/recovery.h).
 *
 * Epochs.  The guard may be told of a renewal only with an epoch that was read *after* the lease
 * was taken. A lease that was just taken gets its epoch by a barrier and a look at the host's row
 * (on_synced), and only then is it written into the file. So the file says: this lease was held
 * while the epoch was this one. From then on the epoch cannot grow as long as the lease lives: the
 * transaction that makes it grow (the host is fenced) expects that the lease's row does not exist.
 * And a lease that ended does not come back, its id is never given again. So the daemon after this
 * one renews the lease of the file at once, before it has read any row, and an acknowledged renewal
 * proves that the epoch of the file still holds: the guard is told of it. What needs more than that
 * (starting guests, taking addresses) waits for the barrier as ever.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ha/lease.h"
#include "node/lease_note.h"
#include "node/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MARGIN_MS 300 /* the holder stops this much before the store lets go */
#define RENEW_INTERVAL_MS 500
#define RENEW_TIMEOUT_MS 1500
#define SOON_MS 100 /* between two looks while the lease is not renewed yet */
#define SYNC_TIMEOUT_MS 3000
#define CLEAN_MS 5000 /* whoever does not die in this time does not die soon */

enum keeper_state {
    KEEPER_IDLE,
    KEEPER_TAKING,
    KEEPER_SYNCING,  /* taken, or known from before; reading all that happened meanwhile */
    KEEPER_CLEANING, /* under a new epoch: what ran under the old one is being killed */
    KEEPER_HELD,
};

struct lease_keeper {
    struct node *node;
    uv_timer_t timer;
    enum keeper_state state;
    bool tried_old;  /* the id from before the restart was tried */
    int64_t lease;   /* the store's id of it */
    int64_t syncing; /* the lease for which the barrier is under way, 0: none is */
    int64_t epoch;
    bool epoch_known;          /* the epoch is one of this lease's time: see above */
    int64_t take_at, renew_at; /* not earlier */
    int64_t clean_at;          /* since when KEEPER_CLEANING */
    struct lease *count;       /* the holder's counting, on CLOCK_BOOTTIME */
    int in_flight;
    bool stopped;
};

struct renewal {
    struct lease_keeper *keeper;
    uint64_t number;
    int64_t lease;
};

static void lease_name(struct node *node, char *ret, size_t size)
{
    snprintf(ret, size, "host/%s", node->config.host);
}

static void remember(struct lease_keeper *keeper)
{
    lease_note_write(keeper->node->config.run_dir, keeper->lease, keeper->epoch);
}

static bool recall(struct lease_keeper *keeper)
{
    return lease_note_read(keeper->node->config.run_dir, &keeper->lease, &keeper->epoch);
}

static void extend(struct lease_keeper *keeper, uint64_t number)
{
    lease_acknowledged(keeper->count, number, keeper->epoch);
    if (keeper->epoch_known)
        guard_update(keeper->node->guard, lease_deadline(keeper->count), keeper->epoch);
}

static void lost(struct lease_keeper *keeper)
{
    log_warn("the lease of this host has run out: its guests stop until it is back");
    /* By its own count it may be held still: the clock of a machine that was frozen as a whole (a
     * virtual one) stands still, too, and etcd may have ended it early (ha/recovery.h). */
    guard_lease_gone(keeper->node->guard, clock_now_ms());
    keeper->state = KEEPER_IDLE;
    keeper->lease = 0;
    keeper->epoch_known = false;
    lease_gone(keeper->count);
}

/* ---- after taking: read everything up to now before acting on it ---- */

/* 0: this host has no row (yet, or any more: another store is in the place of the one before). */
static int64_t epoch_now(struct lease_keeper *keeper)
{
    json_t *host = mirror_get(keeper->node->mirror, "host", keeper->node->config.host, NULL);
    int64_t epoch = json_int(host, "epoch", host ? 1 : 0);

    json_decref(host);
    return epoch;
}

static void on_dropped(void *arg, int rc, int64_t lease)
{
    if (rc < 0 && rc != -ENOENT)
        log_debug("an old lease could not be dropped: %s", strerror(-rc));
}

static void hold(struct lease_keeper *keeper)
{
    keeper->state = KEEPER_HELD;
    log_info("lease held, epoch %lld", (long long)keeper->epoch);
    vip_check(keeper->node);
    agent_lease_held(keeper->node->agent);
}

static void on_killed(void *arg, int rc, const struct err *err)
{
    if (rc < 0 && rc != -ECANCELED) /* it is tried again */
        log_warn("a guest of the old epoch could not be killed: %s", err->why);
}

/* Kills every guest; how many are not dead yet. The guard does the same on its own. Destroyed, not
 * stopped: one that is found stopped has shut itself down and is not started again. */
static size_t kill_guests(struct node *node)
{
    size_t n = node->compute ? node->compute_ops->list(node->compute, NULL, 0) : 0, alive = 0;
    struct guest_info *guests = calloc(n + 1, sizeof(*guests));

    if (!guests)
        return 1;
    if (n > 0)
        node->compute_ops->list(node->compute, guests, n);
    for (size_t i = 0; i < n; i++) {
        if (guests[i].power == GUEST_STOPPED || guests[i].power == GUEST_ABSENT)
            continue;
        alive++;
        node->compute_ops->destroy(node->compute, guests[i].id, on_killed, NULL);
    }
    free(guests);
    return alive;
}

/* Others may run this host's guests by now: nothing starts here before all of the old are dead. One
 * whose disk does not answer cannot be killed; then this host gives its lease back, because with a
 * lease it would get servers, and keep its own, and start none of them. */
static void clean(struct lease_keeper *keeper)
{
    if (kill_guests(keeper->node) == 0) {
        lease_destroyed(keeper->count);
        hold(keeper);
    } else if (clock_now_ms() - keeper->clean_at > CLEAN_MS) {
        log_error("guests of the old epoch cannot be killed: no lease is held until they are dead");
        store_lease_drop(keeper->node->store, keeper->lease, RENEW_TIMEOUT_MS, on_dropped, keeper);
        lost(keeper);
    }
}

/* A lease is of no use while guests are here that have to be dead first. */
static bool must_clean_first(struct lease_keeper *keeper)
{
    if (lease_verdict(keeper->count, clock_now_ms()) != LEASE_DESTROY ||
        kill_guests(keeper->node) == 0)
        return false;
    keeper->take_at = clock_now_ms() + RENEW_INTERVAL_MS;
    return true;
}

static void on_synced(void *arg, int rc)
{
    struct lease_keeper *keeper = arg;

    bool of_now = keeper->syncing == keeper->lease;

    keeper->syncing = 0;
    /* Else the timer asks again. A barrier from before this lease was taken proves nothing; and one
     * from before the restart may not be there any more. */
    if (keeper->stopped || keeper->state != KEEPER_SYNCING || rc < 0 || !of_now ||
        lease_state(keeper->count, clock_now_ms()) == LEASE_NONE)
        return;
    if (epoch_now(keeper) != keeper->epoch) {
        /* This host was declared lost meanwhile, or its row is gone: the lease names an epoch that
         * is void. */
        store_lease_drop(keeper->node->store, keeper->lease, RENEW_TIMEOUT_MS, on_dropped, keeper);
        lost(keeper);
        return;
    }
    if (!keeper->epoch_known) {
        keeper->epoch_known = true;
        remember(keeper);
    }
    guard_update(keeper->node->guard, lease_deadline(keeper->count), keeper->epoch);
    if (lease_verdict(keeper->count, clock_now_ms()) != LEASE_DESTROY) {
        hold(keeper);
        return;
    }
    keeper->state = KEEPER_CLEANING;
    keeper->clean_at = clock_now_ms();
    clean(keeper);
}

/* As soon as the mirror has something to be made current. */
static void sync_rows(struct lease_keeper *keeper)
{
    if (keeper->syncing || !mirror_ready(keeper->node->mirror))
        return;
    keeper->syncing = keeper->lease;
    mirror_barrier(keeper->node->mirror, SYNC_TIMEOUT_MS, on_synced, keeper);
}

static void begin_sync(struct lease_keeper *keeper)
{
    keeper->state = KEEPER_SYNCING;
    sync_rows(keeper);
}

/* ---- renewing ---- */

static void on_renewed(void *arg, int rc, int64_t lease)
{
    struct renewal *renewal = arg;
    struct lease_keeper *keeper = renewal->keeper;

    keeper->in_flight--;
    if (!keeper->stopped && renewal->lease == keeper->lease) {
        if (rc == 0) {
            extend(keeper, renewal->number);
        } else if (rc == -ENOENT) {
            lost(keeper);
        }
    }
    free(renewal);
}

static void renew(struct lease_keeper *keeper)
{
    struct renewal *renewal = calloc(1, sizeof(*renewal));

    if (!renewal)
        return;
    keeper->renew_at = clock_now_ms() + RENEW_INTERVAL_MS - SOON_MS / 2;
    renewal->keeper = keeper;
    renewal->number = lease_sent(keeper->count, clock_now_ms());
    renewal->lease = keeper->lease;
    keeper->in_flight++;
    store_lease_renew(keeper->node->store, keeper->lease, RENEW_TIMEOUT_MS, on_renewed, renewal);
}

/* ---- taking ---- */

static void on_taken(void *arg, int rc, int64_t lease)
{
    struct renewal *renewal = arg;
    struct lease_keeper *keeper = renewal->keeper;

    keeper->in_flight--;
    if (!keeper->stopped && keeper->state == KEEPER_TAKING) {
        if (rc == 0) {
            keeper->lease = lease;
            keeper->epoch_known = false;
            extend(keeper, renewal->number);
            begin_sync(keeper);
        } else {
            keeper->state = KEEPER_IDLE;
        }
    }
    free(renewal);
}

static void take(struct lease_keeper *keeper)
{
    struct node *node = keeper->node;
    struct renewal *renewal;
    json_t *row;
    char name[80];

    if (!keeper->tried_old && recall(keeper)) {
        keeper->tried_old = true;
        keeper->epoch_known = true;
        renew(keeper);
        begin_sync(keeper);
        return;
    }
    keeper->tried_old = true;
    if (!mirror_ready(node->mirror) || epoch_now(keeper) == 0 || clock_now_ms() < keeper->take_at ||
        must_clean_first(keeper))
        return;
    renewal = calloc(1, sizeof(*renewal));
    if (!renewal)
        return;
    keeper->take_at = clock_now_ms() + RENEW_INTERVAL_MS;
    keeper->epoch = epoch_now(keeper);
    lease_name(node, name, sizeof(name));
    row = json_pack("{s:s, s:I, s:s}", "id", name, "epoch", (json_int_t)keeper->epoch, "boot",
                    node->boot_id);
    keeper->state = KEEPER_TAKING;
    keeper->in_flight++;
    renewal->keeper = keeper;
    renewal->number = lease_sent(keeper->count, clock_now_ms());
    store_lease_take(node->store, name, row, LEASE_TTL_MS, RENEW_TIMEOUT_MS, on_taken, renewal);
    json_decref(row);
}

static void step(struct lease_keeper *keeper)
{
    if (keeper->state >= KEEPER_SYNCING) {
        if (keeper->in_flight < 4 && clock_now_ms() >= keeper->renew_at)
            renew(keeper);
        if (keeper->state == KEEPER_SYNCING)
            sync_rows(keeper);
    } else if (keeper->state == KEEPER_IDLE && keeper->in_flight == 0) {
        take(keeper);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct lease_keeper *keeper = timer->data;

    guard_alive(keeper->node->guard);
    if (keeper->state == KEEPER_CLEANING)
        clean(keeper);
    if (guard_running(keeper->node->guard))
        step(keeper);
    uv_timer_start(timer, on_timer, keeper->state < KEEPER_CLEANING ? SOON_MS : RENEW_INTERVAL_MS,
                   0);
}

/* The guard outlived the daemon before this one, and its guests, too. Under another epoch it kills
 * them by itself; then they have to be known for destroyed, and not be found stopped. */
static void recall_epoch(struct lease_keeper *keeper)
{
    struct guard_status status;

    if (guard_status(keeper->node->guard, &status) == 0 && status.epoch > 0)
        lease_ran_under(keeper->count, status.epoch);
}

struct lease_keeper *lease_keeper_start(struct node *node)
{
    struct lease_keeper *keeper = calloc(1, sizeof(*keeper));

    if (!keeper)
        return NULL;
    keeper->node = node;
    keeper->count = lease_new(LEASE_TTL_MS, LEASE_MARGIN_MS);
    if (!keeper->count) {
        free(keeper);
        return NULL;
    }
    recall_epoch(keeper);
    uv_timer_init(node->loop, &keeper->timer);
    keeper->timer.data = keeper;
    uv_timer_start(&keeper->timer, on_timer, 0, 0);
    return keeper;
}

void lease_keeper_stop(struct lease_keeper *keeper)
{
    if (!keeper)
        return;
    keeper->stopped = true;
    uv_timer_stop(&keeper->timer);
}

bool lease_keeper_held(const struct lease_keeper *keeper)
{
    return keeper && keeper->state == KEEPER_HELD &&
           lease_verdict(keeper->count, clock_now_ms()) == LEASE_RUN;
}

int64_t lease_keeper_epoch(const struct lease_keeper *keeper)
{
    return keeper ? keeper->epoch : 0;
}
