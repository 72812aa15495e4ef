/* Which frames are new: per sender the present boot id with the last sequence number of each plane,
 * and the boot ids it had before (hashed into a small ring). Bounded; the sender unheard for
 * longest gives way. Pure. */
#ifndef VLING_NODE_HEARTBEAT_REPLAY_H
#define VLING_NODE_HEARTBEAT_REPLAY_H

#include "node/heartbeat.h"

#define REPLAY_OLD_BOOTS 8

struct heartbeat_replay_sender {
    char name[LIVENESS_NAME_SIZE];
    uint64_t used; /* counts up: for finding the one unheard for longest */
    uint8_t boot[HEARTBEAT_ID_SIZE];
    uint64_t sequence[PLANE_COUNT];
    uint8_t old_boots[REPLAY_OLD_BOOTS][HEARTBEAT_ID_SIZE];
    unsigned old_count;
};

struct heartbeat_replay {
    struct heartbeat_replay_sender senders[LIVENESS_HOSTS_MAX];
    uint64_t clock;
};

/* Is the frame new? Remembers it if so. */
bool heartbeat_replay_check(struct heartbeat_replay *replay, const char *sender,
                            enum liveness_plane plane, const uint8_t boot[HEARTBEAT_ID_SIZE],
                            uint64_t sequence);

#endif
