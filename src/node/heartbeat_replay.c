#include "node/heartbeat_replay.h"

#include <stdio.h>
#include <string.h>

static struct heartbeat_replay_sender *find(struct heartbeat_replay *replay, const char *name,
                                            bool *ret_new)
{
    struct heartbeat_replay_sender *oldest = &replay->senders[0];

    *ret_new = false;
    for (size_t i = 0; i < LIVENESS_HOSTS_MAX; i++) {
        struct heartbeat_replay_sender *sender = &replay->senders[i];

        if (sender->used && strcmp(sender->name, name) == 0)
            return sender;
        if (sender->used < oldest->used)
            oldest = sender;
    }
    memset(oldest, 0, sizeof(*oldest));
    snprintf(oldest->name, sizeof(oldest->name), "%s", name);
    *ret_new = true;
    return oldest;
}

static bool was_before(const struct heartbeat_replay_sender *sender, const uint8_t *boot)
{
    for (unsigned i = 0; i < sender->old_count && i < REPLAY_OLD_BOOTS; i++) {
        if (memcmp(sender->old_boots[i], boot, HEARTBEAT_ID_SIZE) == 0)
            return true;
    }
    return false;
}

bool heartbeat_replay_check(struct heartbeat_replay *replay, const char *name,
                            enum liveness_plane plane, const uint8_t boot[HEARTBEAT_ID_SIZE],
                            uint64_t sequence)
{
    bool is_new;
    struct heartbeat_replay_sender *sender = find(replay, name, &is_new);

    if (is_new) {
        memcpy(sender->boot, boot, HEARTBEAT_ID_SIZE);
    } else if (memcmp(sender->boot, boot, HEARTBEAT_ID_SIZE) != 0) {
        if (was_before(sender, boot))
            return false;
        memcpy(sender->old_boots[sender->old_count++ % REPLAY_OLD_BOOTS], sender->boot,
               HEARTBEAT_ID_SIZE);
        memcpy(sender->boot, boot, HEARTBEAT_ID_SIZE);
        memset(sender->sequence, 0, sizeof(sender->sequence));
    }
    /* Sequence numbers start at 1. */
    if (sequence <= sender->sequence[plane])
        return false;
    sender->sequence[plane] = sequence;
    sender->used = ++replay->clock;
    return true;
}
