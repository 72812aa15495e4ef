/* Read leases between the controllers (ha/read_lease.h), as the mirror's gate: while this
 * controller holds one, API reads are answered from the mirror without a question to etcd.
 *
 * Frames.    UDP, port 7703, on the management plane, to the other controllers (big-endian):
 *              "VLRL" u8 version=1 | cluster id [16] | boot [16] | to [16] | u64 sequence
 *              | i64 serial, applied, asked, given, floor | u8 n, sender name | MAC [32]
 *            Genuine and new by the same rules as heartbeats. One that is lost costs time only.
 * When.      Asked for while there are reads, and for a second after the last one: an idle cloud
 *            sends nothing, and what it writes waits for nobody.
 * What not.  What `vling` shows (node/admin.c) takes a barrier and goes past the gate: it may be
 *            a moment ahead of what a client of the API is told.
 * Threads.   The loop's.
 */
#ifndef VLING_NODE_READS_H
#define VLING_NODE_READS_H

#include "ha/liveness.h"
#include "ha/read_lease.h"
#include "node/node.h"

#define READS_PORT 7703
#define READS_FRAME_MAX 256
#define READS_ID_SIZE 16

struct reads_frame {
    uint8_t cluster[READS_ID_SIZE];
    uint64_t sequence;
    char sender[LIVENESS_NAME_SIZE];
    struct read_lease_frame lease;
};

/* The size of the frame in `ret` (READS_FRAME_MAX bytes), or -EINVAL for a bad name. */
int reads_encode(const struct reads_frame *frame, const uint8_t key[PKI_CLUSTER_KEY_SIZE],
                 uint8_t *ret);
/* 0; -EBADMSG for anything that is not exactly a frame; -EACCES for a wrong MAC. `key` NULL: the
 * MAC is not checked (fuzzing). */
int reads_decode(const uint8_t *bytes, size_t size, const uint8_t *key, struct reads_frame *ret);

struct reads_counters {
    uint64_t at_once, asked; /* reads without and with a question to etcd */
    bool held;               /* a read now needs none */
};
void reads_get_counters(const struct reads *reads, struct reads_counters *ret);

/* On controllers of etcd: sets the mirror's gate. NULL and `err` on failure. */
struct reads *reads_start(struct node *node, struct err *err);
void reads_stop(struct reads *reads);

#endif
