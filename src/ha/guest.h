/* What to do next with one guest on its host: a pure function of what is wanted (the server's row),
 * what was last reported (its state's row) and what the driver sees. The agent calls it again after
 * each action, so every operation continues after a crash at any step. */
#ifndef VLING_HA_GUEST_H
#define VLING_HA_GUEST_H

#include <stdbool.h>
#include <stdint.h>

enum guest_want { GUEST_WANT_RUNNING, GUEST_WANT_STOPPED, GUEST_WANT_PAUSED, GUEST_WANT_DELETED };
enum guest_seen {
    GUEST_SEEN_ABSENT,
    GUEST_SEEN_STARTING,
    GUEST_SEEN_RUNNING,
    GUEST_SEEN_PAUSED,
    GUEST_SEEN_STOPPED
};

struct guest_view {
    /* wanted */
    enum guest_want want;
    int64_t generation;
    int64_t reboot_serial;
    bool reboot_hard;
    /* seen by the driver */
    enum guest_seen seen;
    int64_t seen_generation;
    /* last reported (of this generation; false, 0 if none) */
    bool reported_running;
    int64_t reported_reboot_serial;
    bool leaving; /* wanted: to be handed over to another host, where it goes on */
};

enum guest_action {
    GUEST_DO_NOTHING, /* all is as wanted: report it */
    GUEST_DO_WAIT,    /* something is under way in the driver */
    GUEST_DO_DESTROY, /* a copy of an older generation, or one to be deleted */
    GUEST_DO_FORGET,  /* nothing runs any more: remove disk and rows */
    GUEST_DO_START,
    GUEST_DO_SHUTDOWN, /* ask it to stop, then kill */
    GUEST_DO_KILL,     /* hard reboot: kill, the next step starts it */
    GUEST_DO_PAUSE,
    GUEST_DO_RESUME,
    GUEST_DO_HAND_OVER,   /* nothing runs here any more: the other host may start it */
    GUEST_DO_ACCEPT_STOP, /* it shut itself down: from now on that is what is wanted */
};

enum guest_action guest_decide(const struct guest_view *view);

#endif
