/* The holder's side of a lease, counted so that it always stops before the store lets go.
 *
 * The store counts a renewal from when it *received* it, the holder from when it *sent* it, and a
 * margin is taken off on top. Only acknowledged renewals count; acknowledgements may come late and
 * out of order. A lease that ran out and came back with the same epoch means that nobody has taken
 * over: go on. Another epoch means that somebody may have: what ran here must be destroyed before
 * anything may run again.
 * Pure: time is given by the caller (milliseconds of a monotonic clock).
 */
#ifndef VLING_HA_LEASE_H
#define VLING_HA_LEASE_H

#include <stdbool.h>
#include <stdint.h>

enum lease_state {
    LEASE_NONE, /* never held */
    LEASE_HELD,
    LEASE_EXPIRING, /* held, but more than half of it went by without a renewal */
    LEASE_LOST,     /* past the deadline */
};

/* What guests of this host may do. */
enum lease_verdict { LEASE_RUN, LEASE_PAUSE, LEASE_DESTROY };

struct lease;
/* `margin_ms` is less than `ttl_ms`. NULL: out of memory or bad arguments. */
struct lease *lease_new(int64_t ttl_ms, int64_t margin_ms);
void lease_free(struct lease *lease);

/* Of an earlier process that held a lease under `epoch`: what runs, runs under it. */
void lease_ran_under(struct lease *lease, int64_t epoch);
/* A renewal is being sent now; the number identifies it. */
uint64_t lease_sent(struct lease *lease, int64_t now);
/* Renewal `number` was acknowledged; `epoch` is the host's epoch as of then or later. 0, or -ENOENT
 * when the number is unknown (too old). */
int lease_acknowledged(struct lease *lease, uint64_t number, int64_t epoch);
/* The store says that the lease does not exist any more. Renewals under way no longer count. */
void lease_gone(struct lease *lease);
/* What ran under the old epoch has been destroyed. */
void lease_destroyed(struct lease *lease);

/* First moment at which nothing may run any more; INT64_MIN if never held. */
int64_t lease_deadline(const struct lease *lease);
enum lease_state lease_state(const struct lease *lease, int64_t now);
enum lease_verdict lease_verdict(const struct lease *lease, int64_t now);
/* Epoch under which guests run; -1 if never held. */
int64_t lease_epoch(const struct lease *lease);

#endif
