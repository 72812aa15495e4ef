/* Which decided actions this controller may commit now: a bounded memory of those that wait for
 * their turn or are being committed.
 *
 * All controllers decide the same at about the same time. To spare double work a controller commits
 * an action only when it has wanted it for as long as its rank says. An entry lives from the first
 * time the action is wanted until its commit is seen in the rows; one that nobody wants any more is
 * forgotten.
 * Full.    Entries that are done make room for any action, those that only wait for one of a host:
 *          without it nothing else of a host's death can be recovered. What finds no room is wanted
 *          again by the next plan.
 * Pure: time is given by the caller, milliseconds of a monotonic clock.
 */
#ifndef VLING_HA_TURNS_H
#define VLING_HA_TURNS_H

#include "ha/recovery.h"

#define TURNS_MAX 128
#define TURNS_FORGET_MS 5000

struct turn {
    enum recovery_kind kind;
    char object[RECOVERY_NAME_SIZE];
    int64_t first, last; /* when it was wanted */
    bool used, in_flight;
    int64_t done; /* the revision at which it was committed; 0: not yet */
};

struct turns {
    struct turn turns[TURNS_MAX];
};

/* The action is wanted at `now`, by rows as of `revision`. Returns its entry, now in flight, when
 * it is to be committed: the caller then calls turns_committed() or turns_failed() once. NULL: not
 * yet, or it is under way. */
struct turn *turns_take(struct turns *turns, const struct recovery_action *action, int64_t now,
                        int64_t revision, int64_t delay_ms);
void turns_committed(struct turn *turn, int64_t revision);
/* `lost`: somebody else was faster, so it is planned anew from the rows that come; else it is tried
 * again after the delay. */
void turns_failed(struct turn *turn, bool lost, int64_t now);
/* Once in a while. */
void turns_forget(struct turns *turns, int64_t now);

#endif
