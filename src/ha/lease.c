#include "ha/lease.h"

#include <errno.h>
#include <stdlib.h>

/* Renewals under way whose answer may still come. */
#define SENT_MAX 16

struct lease {
    int64_t ttl_ms, margin_ms;
    uint64_t next;  /* number of the next renewal */
    uint64_t first; /* renewals before this one no longer count */
    int64_t sent[SENT_MAX];
    bool acknowledged;
    int64_t last_sent; /* of the latest acknowledged renewal */
    int64_t deadline;
    bool gone;
    int64_t epoch;     /* of what runs */
    int64_t new_epoch; /* latest acknowledged */
};

struct lease *lease_new(int64_t ttl_ms, int64_t margin_ms)
{
    struct lease *lease;

    if (ttl_ms <= 0 || margin_ms < 0 || margin_ms >= ttl_ms)
        return NULL;
    lease = calloc(1, sizeof(*lease));
    if (!lease)
        return NULL;
    lease->ttl_ms = ttl_ms;
    lease->margin_ms = margin_ms;
    lease->deadline = INT64_MIN;
    lease->epoch = lease->new_epoch = -1;
    return lease;
}

void lease_free(struct lease *lease)
{
    free(lease);
}

void lease_ran_under(struct lease *lease, int64_t epoch)
{
    lease->epoch = lease->new_epoch = epoch;
}

uint64_t lease_sent(struct lease *lease, int64_t now)
{
    lease->sent[lease->next % SENT_MAX] = now;
    return lease->next++;
}

int lease_acknowledged(struct lease *lease, uint64_t number, int64_t epoch)
{
    int64_t sent;

    if (number >= lease->next || number < lease->first || lease->next - number > SENT_MAX)
        return -ENOENT;
    sent = lease->sent[number % SENT_MAX];
    if (!lease->acknowledged || sent > lease->last_sent || lease->gone) {
        lease->last_sent = sent;
        lease->deadline = sent + lease->ttl_ms - lease->margin_ms;
    }
    lease->acknowledged = true;
    lease->gone = false;
    /* An answer that overtook a later one tells an older epoch: epochs only grow. */
    if (epoch > lease->new_epoch)
        lease->new_epoch = epoch;
    if (lease->epoch < 0)
        lease->epoch = lease->new_epoch;
    return 0;
}

void lease_gone(struct lease *lease)
{
    lease->gone = true;
    lease->first = lease->next;
}

void lease_destroyed(struct lease *lease)
{
    lease->epoch = lease->new_epoch;
}

int64_t lease_deadline(const struct lease *lease)
{
    return lease->gone ? INT64_MIN : lease->deadline;
}

enum lease_state lease_state(const struct lease *lease, int64_t now)
{
    if (!lease->acknowledged)
        return LEASE_NONE;
    if (lease->gone || now >= lease->deadline)
        return LEASE_LOST;
    return now - lease->last_sent > lease->ttl_ms / 2 ? LEASE_EXPIRING : LEASE_HELD;
}

enum lease_verdict lease_verdict(const struct lease *lease, int64_t now)
{
    enum lease_state state = lease_state(lease, now);

    if (lease->epoch != lease->new_epoch)
        return LEASE_DESTROY;
    return state == LEASE_HELD || state == LEASE_EXPIRING ? LEASE_RUN : LEASE_PAUSE;
}

int64_t lease_epoch(const struct lease *lease)
{
    return lease->epoch;
}
