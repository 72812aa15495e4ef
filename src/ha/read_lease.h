/* Read leases: linearizable reads that ask nobody.
 *
 * Idea.       A controller that reads asks each of the others for a promise: "for some hundred
 *             milliseconds I show nobody a change that you have not applied". While it holds the
 *             promises of all the others its own rows are as new as anything that anybody was
 *             shown, and it answers from them at once. Whoever gave a promise lets an answer wait
 *             until the holder said that it has applied what the answer tells, or until the promise
 *             is over. Without all promises a read asks the store, as ever: so a controller that is
 *             dead or cut off costs the others the rest of its promise once, and nobody's safety.
 *             (Moraru, Andersen, Kaminsky: Paxos Quorum Leases, SoCC 2014; here all others grant.)
 * Why right.  X shows revision R at time t, B reads at a later u with the promise of X. If the
 *             promise was given before t, X waited for B to have applied R. If after t, it carries
 *             a floor of at least R, below which B does not use it. A holder counts a promise from
 *             when it sent the question, the giver from when it answered, and the holder's is the
 *             shorter one, so differences of the clocks' rates up to an eighth do no harm. A giver
 *             that starts again has forgotten what it promised, so it shows nothing for as long as
 *             a promise can last; and it has forgotten what it showed, so it promises nothing until
 *             a linearizable read gave it a floor.
 * The list.   Who "all the others" are is the list of controllers, known by its serial number.
 *             Promises count between equal serials only. A holder also makes sure again and again,
 *             by a linearizable read, that its list still counts; a controller that is new shows
 *             nothing until that knowledge of the others has run out, which is the same silence as
 *             after a start. One that was removed shows nothing any more.
 * Pure.       No clock, no I/O: times are the caller's monotonic milliseconds. One thread.
 */
#ifndef VLING_HA_READ_LEASE_H
#define VLING_HA_READ_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READ_LEASE_PEERS_MAX 8
#define READ_LEASE_BOOT_SIZE 16

#define READ_LEASE_GIVEN_MS 400   /* a promise, as its giver counts it */
#define READ_LEASE_HELD_MS 350    /* the same, as its holder counts it */
#define READ_LEASE_LISTED_MS 350  /* how long a list that was seen to count is relied on */
#define READ_LEASE_SILENCE_MS 500 /* after a start; longer than all of the above */
#define READ_LEASE_ASK_MS 100     /* how often to ask for promises while they are wanted */
#define READ_LEASE_PATIENCE_MS 20 /* who lets an answer wait for longer gets no new promise */

/* What one controller tells another. */
struct read_lease_frame {
    uint8_t boot[READ_LEASE_BOOT_SIZE]; /* the sender's life */
    uint8_t to[READ_LEASE_BOOT_SIZE];   /* with `given`: the life that asked */
    int64_t serial;                     /* of the sender's list */
    int64_t applied;                    /* whatever the sender reads from now on is as new */
    int64_t asked;                      /* > 0: asks for a promise; the sender's time */
    int64_t given;                      /* > 0: the receiver's `asked`, promised */
    int64_t floor;                      /* with `given`: the sender has shown at most this */
};

struct read_lease_peer {
    uint8_t boot[READ_LEASE_BOOT_SIZE];
    int64_t applied;     /* what it confirmed */
    int64_t given_until; /* the promise to it */
    int64_t waited_since, waited_for;
    int64_t held_until, floor; /* the promise from it */
};

struct read_lease {
    uint8_t boot[READ_LEASE_BOOT_SIZE];
    int64_t serial;
    bool outdated, removed; /* a newer list counts; without this controller */
    int64_t applied, shown;
    int64_t base; /* > 0: earlier lives showed at most this */
    int64_t silent_until, listed_until, asked_until;
    struct read_lease_peer peers[READ_LEASE_PEERS_MAX];
    size_t peer_count;
};

/* A new life, `boot` of which there was none before, among `peer_count` others. */
void read_lease_init(struct read_lease *lease, const uint8_t boot[READ_LEASE_BOOT_SIZE],
                     int64_t serial, size_t peer_count, int64_t now_ms);

/* The rows have reached `revision`. */
void read_lease_applied(struct read_lease *lease, int64_t revision);
/* The list of `serial` counts now; `here`: with this controller in it. The own or an older one says
 * nothing. */
void read_lease_list(struct read_lease *lease, int64_t serial, bool here);
/* The rows have reached what a linearizable read gave that was begun at `asked_ms`, which
 * read_lease_applied() was told, and the list in them was told by read_lease_list(). Needed once
 * after the start, too. */
void read_lease_listed(struct read_lease *lease, int64_t asked_ms);

/* May a read that begins now be answered from the rows as they are? */
bool read_lease_holds(const struct read_lease *lease, int64_t now_ms);

/* May somebody be shown what is true at `revision`? 1: yes, now; 0: not yet, ask again when
 * something was heard or at read_lease_wake_ms(); -ESTALE: never, ask another controller. */
int read_lease_may_show(struct read_lease *lease, int64_t revision, int64_t now_ms);
/* The next moment at which read_lease_may_show() may change by itself; INT64_MAX: none. */
int64_t read_lease_wake_ms(const struct read_lease *lease, int64_t now_ms);

/* Fills the question for promises. */
void read_lease_ask(struct read_lease *lease, int64_t now_ms, struct read_lease_frame *ret);
/* Should the others hear of read_lease_applied() at once? Then `ret` is what to tell them. */
bool read_lease_confirm(const struct read_lease *lease, int64_t now_ms,
                        struct read_lease_frame *ret);
/* A frame of `peer`, genuine and sent after all that were heard of it before. True: `ret` is the
 * answer to it. */
bool read_lease_heard(struct read_lease *lease, size_t peer, const struct read_lease_frame *frame,
                      int64_t now_ms, struct read_lease_frame *ret);

#endif
