/* The controllers' duties: what ha/recovery decides, carried out as transactions.
 *
 * Every controller does this at the same time. Each action is one transaction whose preconditions
 * are the rows that it was decided on, so of several controllers one wins and the others see that
 * it is done. To spare double work a controller acts only after a delay by its rank among those
 * alive.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ha/turns.h"
#include "node/duties_rows.h"
#include "node/node.h"
#include "node/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 100
#define STALL_MS 500 /* half of the silence that makes a suspect */
#define PLAN_INTERVAL_MS 1000
#define RANK_DELAY_MS 250
#define ACTIONS_MAX TURNS_MAX
#define COMMIT_TIMEOUT_MS 3000
#define HOLD_REPEAT_MS 30000
#define TRIM_INTERVAL_MS 60000
#define EVENTS_KEEP 10000
#define SWEEP_INTERVAL_MS 3600000
#define SWEEP_FIRST_MS 60000 /* after the start */

/* A commit that is under way. */
struct errand {
    struct duties *duties;
    struct turn *turn;
};

struct duties {
    struct node *node;
    uv_timer_t timer;
    bool dirty;
    int64_t ticked_at;
    int64_t planned_at;
    int64_t trimmed_at, sweep_at;
    int64_t held_at; /* last time the brake was told */
    struct turns turns;
    struct sweep_memory sweep;
    struct absents absents;
};

static bool concerns_us(const char *table)
{
    static const char *const tables[] = {"host",   "lease",   "server", "router",
                                         "module", "network", "subnet", NULL};

    for (size_t i = 0; tables[i]; i++) {
        if (strcmp(tables[i], table) == 0)
            return true;
    }
    return false;
}

static void on_rows(void *arg, const struct store_change *changes, size_t n)
{
    struct duties *duties = arg;

    if (!changes)
        duties->dirty = true;
    for (size_t i = 0; changes && i < n; i++)
        duties->dirty = duties->dirty || concerns_us(changes[i].table);
}

static void on_liveness(void *arg, const struct liveness_change *change)
{
    struct duties *duties = arg;

    duties->dirty = true;
    if (change->kind == LIVENESS_VERDICT) {
        log_info("liveness: %s is %s (was %s)", change->host, liveness_verdict_name(change->to),
                 liveness_verdict_name(change->from));
        heartbeat_send_now(duties->node->heartbeat);
    } else {
        log_info("liveness: %s plane of %s is %s", liveness_plane_name(change->plane), change->host,
                 change->kind == LIVENESS_PLANE_LOST ? "silent" : "heard again");
    }
}

/* ---- whose turn ---- */

/* How many controllers before this one (in order of configuration) are alive. */
static int rank_of(struct node *node)
{
    int rank = 0;

    for (size_t i = 0; i < node->config.controller_count; i++) {
        const char *host = node->config.controllers[i].host;

        if (strcmp(host, node->config.host) == 0)
            break;
        rank += liveness_state(node->liveness, host) == LIVE_ALIVE;
    }
    return rank;
}

/* ---- carrying out ---- */

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct errand *errand = arg;

    errand->duties->dirty = true;
    if (rc == 0) {
        turns_committed(errand->turn, revision);
    } else {
        turns_failed(errand->turn, rc == -EAGAIN, clock_now_ms());
        if (rc != -EAGAIN)
            log_debug("duty on %s was not written: %s", errand->turn->object, strerror(-rc));
    }
    free(errand);
}

static void tell_hold(struct duties *duties, const struct recovery_action *action, int64_t now)
{
    struct store_txn *txn;

    if (duties->held_at && now - duties->held_at < HOLD_REPEAT_MS)
        return;
    duties->held_at = now;
    log_warn("holding: %s", action->text);
    txn = store_txn_new();
    event_add(txn, &duties->node->config, "critical", "cloud.hold", "", "%s", action->text);
    store_commit(duties->node->store, txn, COMMIT_TIMEOUT_MS, NULL, NULL);
}

static void carry_out(struct duties *duties, const struct recovery_action *action, int64_t now,
                      int rank)
{
    struct errand *errand;
    struct store_txn *txn;
    struct turn *turn;

    if (action->kind == RECOVERY_HOLD) {
        tell_hold(duties, action, now);
        return;
    }
    turn = turns_take(&duties->turns, action, now, mirror_revision(duties->node->mirror),
                      (int64_t)rank * RANK_DELAY_MS);
    if (!turn)
        return;
    txn = duties_txn(duties->node, action);
    errand = txn ? malloc(sizeof(*errand)) : NULL;
    if (!errand) {
        store_txn_free(txn);
        turns_failed(turn, true, now);
        return;
    }
    *errand = (struct errand){.duties = duties, .turn = turn};
    store_commit(duties->node->store, txn, COMMIT_TIMEOUT_MS, on_committed, errand);
}

/* No change of a row tells when a lost host may be fenced: it only takes its time. */
static bool fence_waits(const struct recovery_input *in)
{
    for (size_t i = 0; i < in->host_count; i++) {
        const struct recovery_host *host = &in->hosts[i];

        if (host->state == HOST_LOST && !host->lease_present && host->may_hold_ms > 0)
            return true;
    }
    return false;
}

static void plan(struct duties *duties, int64_t now)
{
    static struct recovery_action actions[ACTIONS_MAX];
    struct duties_input *input = duties_input_read(duties->node);
    int n, rank;

    if (!input)
        return;
    duties_input_watch(input, duties->node, &duties->absents, now);
    n = recovery_plan(duties_input_get(input), actions, ACTIONS_MAX);
    rank = rank_of(duties->node);
    for (int i = 0; i < n; i++)
        carry_out(duties, &actions[i], now, rank);
    /* What waits for its turn is looked at again at the next tick. */
    duties->dirty = n > 0 || fence_waits(duties_input_get(input));
    duties->planned_at = now;
    duties_input_free(input);
}

static void on_timer(uv_timer_t *timer)
{
    struct duties *duties = timer->data;
    int64_t now = clock_now_ms();

    /* The loop reads what others sent after its timers: who was held up would find them silent. */
    if (now - duties->ticked_at > STALL_MS)
        liveness_stood_still(duties->node->liveness, now);
    duties->ticked_at = now;
    liveness_tick(duties->node->liveness, now, on_liveness, duties);
    if (!mirror_ready(duties->node->mirror))
        return;
    if (duties->dirty || now - duties->planned_at >= PLAN_INTERVAL_MS)
        plan(duties, now);
    turns_forget(&duties->turns, now);
    if (now - duties->trimmed_at >= TRIM_INTERVAL_MS && rank_of(duties->node) == 0) {
        duties->trimmed_at = now;
        events_trim(duties->node, EVENTS_KEEP);
    }
    if (now >= duties->sweep_at) {
        duties->sweep_at = now + SWEEP_INTERVAL_MS;
        sweep(duties->node, &duties->sweep);
    }
}

struct duties *duties_start(struct node *node)
{
    struct duties *duties = calloc(1, sizeof(*duties));

    if (!duties)
        return NULL;
    duties->node = node;
    duties->ticked_at = clock_now_ms();
    duties->sweep_at = duties->ticked_at + SWEEP_FIRST_MS;
    uv_timer_init(node->loop, &duties->timer);
    duties->timer.data = duties;
    mirror_listen(node->mirror, on_rows, duties);
    uv_timer_start(&duties->timer, on_timer, TICK_MS, TICK_MS);
    return duties;
}

void duties_stop(struct duties *duties)
{
    if (duties)
        uv_timer_stop(&duties->timer);
}
