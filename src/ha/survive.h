/* Which single failures the cloud survives now: for each host and each cabinet, whether the
 * controllers that remain are a quorum and whether what runs there fits elsewhere. */
#ifndef VLING_HA_SURVIVE_H
#define VLING_HA_SURVIVE_H

#include "ha/recovery.h"

struct survive_loss {
    char name[RECOVERY_NAME_SIZE]; /* host or cabinet */
    bool cabinet;
    bool quorum;   /* of controllers remains */
    bool capacity; /* every server that would have to move finds a place */
    bool network;  /* a host for routers remains (or there are none) */
    size_t servers, servers_stranded;
    char why[RECOVERY_TEXT_SIZE]; /* "" when it is survived */
};

/* Fills at most `max` losses (cabinets first, then hosts, by name); returns how many there are, or
 * -ENOMEM. Takes the planner's own input; liveness is not looked at, only the rows' states. */
int survive_check(const struct recovery_input *input, struct survive_loss *ret, size_t max);

#endif
