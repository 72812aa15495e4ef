/* Writes a transaction for etcd: as JSON for its gateway, or as a gRPC message.
 *
 * Use.     etcd_request_begin(); then for each level first its compares, then what is done on
 *          success, then on failure; etcd_request_end(). A nested transaction is one of the
 *          operations of the level around it.
 * Wire.    A gRPC message on HTTP/2 is a byte 0 (not compressed), its length in four bytes and its
 *          text in protobuf (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md,
 *          https://protobuf.dev/programming-guides/encoding/); the numbers of fields are those of
 *          etcd's rpc.proto. What is nested begins with its length, which is known at its end: room
 *          for it is left as a varint of fixed width.
 * Threads. None of its own.
 */
#ifndef VLING_STORE_ETCD_REQUEST_H
#define VLING_STORE_ETCD_REQUEST_H

#include "base/buf.h"

#include <stdint.h>

/* ---- pieces of gRPC ---- */

#define GRPC_HEAD 5 /* bytes before a message */

enum grpc_wire { GRPC_VARINT = 0, GRPC_64 = 1, GRPC_BYTES = 2, GRPC_32 = 5 };

void grpc_put_int(struct buf *b, unsigned field, int64_t value);
void grpc_put_bytes(struct buf *b, unsigned field, const void *bytes, size_t size);
/* The message that follows, and its length when it is whole. */
void grpc_begin(struct buf *b);
void grpc_end(struct buf *b);

/* ---- transactions ---- */

#define ETCD_REQUEST_DEPTH 2

enum etcd_branch { ETCD_COMPARES = 1, ETCD_SUCCESS, ETCD_FAILURE };

struct etcd_request {
    struct buf *b;
    bool grpc;
    int depth;
    struct {
        int branch;     /* JSON: the list that is open, with something in it; 0: none */
        size_t op;      /* gRPC: where the length of the operation under way is... */
        size_t request; /* ...and that of what it holds: a put, a transaction */
    } level[ETCD_REQUEST_DEPTH];
};

/* Writes into `b`, which was initialised with a limit; it belongs to the caller. */
void etcd_request_begin(struct etcd_request *r, struct buf *b, bool grpc);
void etcd_request_end(struct etcd_request *r);

/* That the last change of `key` was at `revision` (0: that there is no such key). */
void etcd_request_compare(struct etcd_request *r, const char *key, int64_t revision);
/* `lease` 0: none. `value` NULL: an empty one. */
void etcd_request_put(struct etcd_request *r, enum etcd_branch branch, const char *key,
                      const void *value, size_t size, int64_t lease);
/* `end` NULL: one key. Else all from `key` to before `end`. */
void etcd_request_delete(struct etcd_request *r, enum etcd_branch branch, const char *key,
                         const char *end);
void etcd_request_range(struct etcd_request *r, enum etcd_branch branch, const char *key,
                        const char *end);
void etcd_request_txn_begin(struct etcd_request *r, enum etcd_branch branch);
void etcd_request_txn_end(struct etcd_request *r);

#endif
