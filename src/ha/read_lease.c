#include "ha/read_lease.h"

#include <errno.h>
#include <string.h>

_Static_assert(READ_LEASE_HELD_MS + READ_LEASE_HELD_MS / 8 <= READ_LEASE_GIVEN_MS,
               "a holder's promise ends first");
_Static_assert(READ_LEASE_SILENCE_MS > READ_LEASE_GIVEN_MS + READ_LEASE_GIVEN_MS / 8 &&
                   READ_LEASE_SILENCE_MS > READ_LEASE_LISTED_MS + READ_LEASE_LISTED_MS / 8,
               "after a start nothing from before is relied on any more");

void read_lease_init(struct read_lease *lease, const uint8_t boot[READ_LEASE_BOOT_SIZE],
                     int64_t serial, size_t peer_count, int64_t now_ms)
{
    memset(lease, 0, sizeof(*lease));
    memcpy(lease->boot, boot, READ_LEASE_BOOT_SIZE);
    lease->serial = serial;
    lease->peer_count = peer_count < READ_LEASE_PEERS_MAX ? peer_count : READ_LEASE_PEERS_MAX;
    lease->outdated = peer_count > READ_LEASE_PEERS_MAX; /* not all could be asked */
    lease->silent_until = now_ms + READ_LEASE_SILENCE_MS;
    lease->listed_until = lease->asked_until = now_ms;
    for (size_t i = 0; i < lease->peer_count; i++)
        lease->peers[i].given_until = lease->peers[i].held_until = now_ms;
}

void read_lease_applied(struct read_lease *lease, int64_t revision)
{
    if (revision > lease->applied)
        lease->applied = revision;
}

void read_lease_list(struct read_lease *lease, int64_t serial, bool here)
{
    if (serial <= lease->serial)
        return;
    lease->outdated = true;
    if (!here)
        lease->removed = true; /* also if it is listed again later: that is for its next life */
}

void read_lease_listed(struct read_lease *lease, int64_t asked_ms)
{
    if (!lease->base)
        lease->base = lease->applied;
    if (!lease->outdated && asked_ms + READ_LEASE_LISTED_MS > lease->listed_until)
        lease->listed_until = asked_ms + READ_LEASE_LISTED_MS;
}

bool read_lease_holds(const struct read_lease *lease, int64_t now_ms)
{
    if (lease->outdated || lease->removed || now_ms >= lease->listed_until ||
        lease->applied < lease->shown)
        return false;
    for (size_t i = 0; i < lease->peer_count; i++) {
        const struct read_lease_peer *peer = &lease->peers[i];

        if (now_ms >= peer->held_until || lease->applied < peer->floor)
            return false;
    }
    return true;
}

/* ---- showing ---- */

static bool waits_for(const struct read_lease_peer *peer, int64_t revision, int64_t now_ms)
{
    return now_ms < peer->given_until && peer->applied < revision;
}

int read_lease_may_show(struct read_lease *lease, int64_t revision, int64_t now_ms)
{
    bool may = now_ms >= lease->silent_until;

    if (lease->removed)
        return -ESTALE;
    for (size_t i = 0; i < lease->peer_count; i++) {
        struct read_lease_peer *peer = &lease->peers[i];

        if (!waits_for(peer, revision, now_ms))
            continue;
        if (!peer->waited_for)
            peer->waited_since = now_ms;
        if (revision > peer->waited_for)
            peer->waited_for = revision;
        may = false;
    }
    if (may && revision > lease->shown)
        lease->shown = revision;
    return may;
}

int64_t read_lease_wake_ms(const struct read_lease *lease, int64_t now_ms)
{
    int64_t wake = now_ms < lease->silent_until ? lease->silent_until : INT64_MAX;

    for (size_t i = 0; i < lease->peer_count; i++) {
        const struct read_lease_peer *peer = &lease->peers[i];

        if (waits_for(peer, peer->waited_for, now_ms) && peer->given_until < wake)
            wake = peer->given_until;
    }
    return wake;
}

/* ---- frames ---- */

static void fill(const struct read_lease *lease, struct read_lease_frame *ret)
{
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->boot, lease->boot, READ_LEASE_BOOT_SIZE);
    ret->serial = lease->serial;
    ret->applied = lease->applied;
}

void read_lease_ask(struct read_lease *lease, int64_t now_ms, struct read_lease_frame *ret)
{
    fill(lease, ret);
    if (lease->outdated || lease->removed)
        return;
    ret->asked = now_ms;
    lease->asked_until = now_ms + READ_LEASE_GIVEN_MS;
}

bool read_lease_confirm(const struct read_lease *lease, int64_t now_ms,
                        struct read_lease_frame *ret)
{
    fill(lease, ret);
    return now_ms < lease->asked_until;
}

/* Another life of the peer: what its last one was promised stays promised to the end. */
static bool know_life(struct read_lease_peer *peer, const uint8_t boot[READ_LEASE_BOOT_SIZE],
                      int64_t now_ms)
{
    if (memcmp(peer->boot, boot, READ_LEASE_BOOT_SIZE) == 0)
        return true;
    if (now_ms < peer->given_until)
        return false;
    memcpy(peer->boot, boot, READ_LEASE_BOOT_SIZE);
    peer->applied = peer->waited_for = 0;
    return true;
}

static void take_promise(struct read_lease *lease, struct read_lease_peer *peer,
                         const struct read_lease_frame *frame, int64_t now_ms)
{
    if (memcmp(frame->to, lease->boot, READ_LEASE_BOOT_SIZE) != 0 || frame->given > now_ms)
        return;
    if (frame->floor > peer->floor)
        peer->floor = frame->floor;
    if (frame->given + READ_LEASE_HELD_MS > peer->held_until)
        peer->held_until = frame->given + READ_LEASE_HELD_MS;
}

static bool too_slow(const struct read_lease_peer *peer, int64_t now_ms)
{
    return peer->waited_for && now_ms - peer->waited_since > READ_LEASE_PATIENCE_MS;
}

bool read_lease_heard(struct read_lease *lease, size_t at, const struct read_lease_frame *frame,
                      int64_t now_ms, struct read_lease_frame *ret)
{
    struct read_lease_peer *peer = &lease->peers[at];

    if (at >= lease->peer_count || !know_life(peer, frame->boot, now_ms))
        return false;
    if (frame->applied > peer->applied)
        peer->applied = frame->applied;
    if (peer->applied >= peer->waited_for || now_ms >= peer->given_until)
        peer->waited_for = 0;
    if (frame->serial != lease->serial || lease->outdated || lease->removed)
        return false;
    if (frame->given > 0)
        take_promise(lease, peer, frame, now_ms);
    if (frame->asked <= 0 || !lease->base || too_slow(peer, now_ms))
        return false;
    peer->given_until = now_ms + READ_LEASE_GIVEN_MS;
    fill(lease, ret);
    memcpy(ret->to, frame->boot, READ_LEASE_BOOT_SIZE);
    ret->given = frame->asked;
    ret->floor = lease->shown > lease->base ? lease->shown : lease->base;
    return true;
}
