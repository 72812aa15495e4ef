#include "ha/guest.h"

static enum guest_action decide_running(const struct guest_view *v)
{
    bool reboot = v->reboot_serial > v->reported_reboot_serial;

    switch (v->seen) {
    case GUEST_SEEN_ABSENT:
        return GUEST_DO_START;
    case GUEST_SEEN_STOPPED:
        /* Nobody asked for it, and it was up before: the guest itself powered off. */
        return v->reported_running && !reboot ? GUEST_DO_ACCEPT_STOP : GUEST_DO_START;
    case GUEST_SEEN_RUNNING:
        if (!reboot)
            return GUEST_DO_NOTHING;
        return v->reboot_hard ? GUEST_DO_KILL : GUEST_DO_SHUTDOWN;
    case GUEST_SEEN_PAUSED:
        return reboot && v->reboot_hard ? GUEST_DO_KILL : GUEST_DO_RESUME;
    case GUEST_SEEN_STARTING:
        break;
    }
    return GUEST_DO_WAIT;
}

static enum guest_action decide_leaving(const struct guest_view *v)
{
    if (v->seen == GUEST_SEEN_RUNNING)
        return GUEST_DO_SHUTDOWN;
    if (v->seen == GUEST_SEEN_PAUSED)
        return v->want == GUEST_WANT_RUNNING ? GUEST_DO_RESUME : GUEST_DO_KILL;
    return GUEST_DO_HAND_OVER;
}

enum guest_action guest_decide(const struct guest_view *v)
{
    bool here = v->seen != GUEST_SEEN_ABSENT;

    if (here && v->seen_generation != v->generation)
        return GUEST_DO_DESTROY;
    if (v->want == GUEST_WANT_DELETED)
        return here ? GUEST_DO_DESTROY : GUEST_DO_FORGET;
    if (v->seen == GUEST_SEEN_STARTING)
        return GUEST_DO_WAIT;
    /* A paused guest has its state in this host's memory only: it stays until it runs. */
    if (v->leaving && v->want != GUEST_WANT_PAUSED)
        return decide_leaving(v);
    if (v->want == GUEST_WANT_RUNNING)
        return decide_running(v);
    if (v->want == GUEST_WANT_STOPPED) {
        if (v->seen == GUEST_SEEN_PAUSED)
            return GUEST_DO_KILL;
        return v->seen == GUEST_SEEN_RUNNING ? GUEST_DO_SHUTDOWN : GUEST_DO_NOTHING;
    }
    if (v->seen == GUEST_SEEN_PAUSED)
        return GUEST_DO_NOTHING;
    return v->seen == GUEST_SEEN_RUNNING ? GUEST_DO_PAUSE : GUEST_DO_START;
}
