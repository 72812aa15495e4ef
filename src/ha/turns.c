#include "ha/turns.h"

#include <stdio.h>
#include <string.h>

/* What may be overwritten: nothing is there, it is done, or (for a host's action) it only waits. */
static bool gives_way(const struct turn *turn, bool host)
{
    if (!turn->used)
        return true;
    return !turn->in_flight && (turn->done > 0 || (host && turn->kind != RECOVERY_HOST));
}

static struct turn *find(struct turns *turns, const struct recovery_action *action)
{
    bool host = action->kind == RECOVERY_HOST;
    struct turn *room = NULL;

    for (size_t i = 0; i < TURNS_MAX; i++) {
        struct turn *turn = &turns->turns[i];

        if (turn->used && turn->kind == action->kind && strcmp(turn->object, action->object) == 0)
            return turn;
        /* An empty one first, then one that is done. */
        if (gives_way(turn, host) && (!room || (room->used && !turn->used) ||
                                      (room->used && room->done == 0 && turn->done > 0)))
            room = turn;
    }
    if (room)
        room->used = false;
    return room;
}

struct turn *turns_take(struct turns *turns, const struct recovery_action *action, int64_t now,
                        int64_t revision, int64_t delay_ms)
{
    struct turn *turn = find(turns, action);

    if (!turn)
        return NULL;
    if (turn->used && turn->done > revision) {
        turn->last = now;
        return NULL; /* decided by rows that do not show it yet */
    }
    if (!turn->used || turn->done > 0) {
        *turn = (struct turn){.kind = action->kind, .used = true, .first = now};
        snprintf(turn->object, sizeof(turn->object), "%s", action->object);
    }
    turn->last = now;
    if (turn->in_flight || now - turn->first < delay_ms)
        return NULL;
    turn->in_flight = true;
    return turn;
}

void turns_committed(struct turn *turn, int64_t revision)
{
    turn->in_flight = false;
    turn->done = revision > 0 ? revision : 1;
}

void turns_failed(struct turn *turn, bool lost, int64_t now)
{
    turn->in_flight = false;
    if (!lost)
        turn->first = now;
}

void turns_forget(struct turns *turns, int64_t now)
{
    for (size_t i = 0; i < TURNS_MAX; i++) {
        struct turn *turn = &turns->turns[i];

        if (turn->used && !turn->in_flight && now - turn->last > TURNS_FORGET_MS)
            turn->used = false;
    }
}
