/* Heartbeats: small authenticated UDP frames, port 7702, on every plane.
 *
 * Every interval each host sends one frame to each peer address: who it is, which life (boot id), a
 * sequence number, the plane, its wall time, and how it sees the other hosts itself, so that the
 * receiver can confirm a suspicion.
 *
 * Frame (big-endian), at most HEARTBEAT_FRAME_MAX bytes:
 *   "VLHB" u8 version=1 u8 plane u16 views | cluster id [16] | boot id [16] | u64 sequence
 *   | u64 wall ms | u8 n, sender name | views x { u8 verdict, u8 n, host name } | MAC [32]
 * The MAC (libsodium crypto_auth) over everything before it is checked first. Replays: for each
 * (sender, plane) sequence numbers only grow within a boot id; a boot id that was followed by
 * another one is never accepted again.
 * Threads: the loop's.
 */
#ifndef VLING_NODE_HEARTBEAT_H
#define VLING_NODE_HEARTBEAT_H

#include "base/err.h"
#include "ha/liveness.h"
#include "node/pki.h"
#include <uv.h>

#define HEARTBEAT_PORT 7702
#define HEARTBEAT_FRAME_MAX 1400
#define HEARTBEAT_VIEWS_MAX 64
#define HEARTBEAT_PEERS_MAX 64
#define HEARTBEAT_ID_SIZE 16

struct heartbeat_view {
    char host[LIVENESS_NAME_SIZE];
    enum liveness_verdict verdict; /* the sender's own view */
};

struct heartbeat_frame {
    char sender[LIVENESS_NAME_SIZE];
    uint8_t cluster[HEARTBEAT_ID_SIZE];
    uint8_t boot[HEARTBEAT_ID_SIZE];
    uint64_t sequence;
    int64_t wall_ms;
    enum liveness_plane plane;
    size_t view_count;
    struct heartbeat_view views[HEARTBEAT_VIEWS_MAX];
};

/* Size of the frame in `ret` (HEARTBEAT_FRAME_MAX bytes), or -EMSGSIZE / -EINVAL. Views that do not
 * fit are left out. */
int heartbeat_encode(const struct heartbeat_frame *frame, const uint8_t key[PKI_CLUSTER_KEY_SIZE],
                     uint8_t *ret);
/* 0; -EBADMSG for anything that is not exactly a frame; -EACCES for a wrong MAC. `key` NULL: the
 * MAC is not checked (fuzzing). */
int heartbeat_decode(const uint8_t *bytes, size_t size, const uint8_t *key,
                     struct heartbeat_frame *ret);

struct heartbeat_peer {
    char host[LIVENESS_NAME_SIZE];
    char ip[46];
    uint16_t port; /* 0: HEARTBEAT_PORT */
    enum liveness_plane plane;
};

struct heartbeat_options {
    const char *self;
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    /* Own address for each plane; NULL: none. They may be the same. */
    const char *addresses[PLANE_COUNT];
    uint16_t port;   /* 0: HEARTBEAT_PORT */
    int interval_ms; /* 0: 200 */
    /* A frame arrived, is genuine and new. `frame` is valid during the call. */
    void (*heard)(void *arg, const struct heartbeat_frame *frame);
    /* Fills what this host sees, before each round; returns how many. May be NULL. */
    size_t (*views)(void *arg, struct heartbeat_view *ret, size_t max);
    void *arg;
};

struct heartbeat;
struct heartbeat *heartbeat_start(uv_loop_t *loop, const struct heartbeat_options *options,
                                  struct err *err);
void heartbeat_stop(struct heartbeat *heartbeat);
/* To whom frames are sent; replaces the list. Peers on planes without own address are skipped. */
int heartbeat_set_peers(struct heartbeat *heartbeat, const struct heartbeat_peer *peers,
                        size_t count);
/* Sends a round now (a verdict changed). At most one extra round in 50 ms. */
void heartbeat_send_now(struct heartbeat *heartbeat);

struct heartbeat_counters {
    uint64_t sent, send_errors, received, bad, forged, replayed;
};
void heartbeat_get_counters(const struct heartbeat *heartbeat, struct heartbeat_counters *ret);

#endif
