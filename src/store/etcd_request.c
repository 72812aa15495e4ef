#include "store/etcd_request.h"
#include "store/etcd.h"

#include <string.h>

#define LENGTH_SIZE 4 /* bytes of a length that is written when it is known; up to 256 MiB */

enum { COMPARE_TARGET = 2, COMPARE_KEY = 3, COMPARE_MOD_REVISION = 6, TARGET_MOD = 2 };
enum { OP_RANGE = 1, OP_PUT = 2, OP_DELETE_RANGE = 3, OP_TXN = 4 }; /* of RequestOp */
enum { KEY = 1, RANGE_END = 2, PUT_VALUE = 2, PUT_LEASE = 3 };

static const char *const branch_names[] = {
    [ETCD_COMPARES] = "compare", [ETCD_SUCCESS] = "success", [ETCD_FAILURE] = "failure"};
static const char *const op_names[] = {[OP_RANGE] = "request_range",
                                       [OP_PUT] = "request_put",
                                       [OP_DELETE_RANGE] = "request_delete_range",
                                       [OP_TXN] = "request_txn"};

/* ---- pieces of gRPC ---- */

static void put_varint(struct buf *b, uint64_t value)
{
    unsigned char bytes[10];
    size_t size = 0;

    for (; value > 0x7f; value >>= 7)
        bytes[size++] = (unsigned char)(value | 0x80);
    bytes[size++] = (unsigned char)value;
    buf_add(b, bytes, size);
}

void grpc_put_int(struct buf *b, unsigned field, int64_t value)
{
    put_varint(b, field << 3 | GRPC_VARINT);
    put_varint(b, (uint64_t)value);
}

void grpc_put_bytes(struct buf *b, unsigned field, const void *bytes, size_t size)
{
    put_varint(b, field << 3 | GRPC_BYTES);
    put_varint(b, size);
    buf_add(b, bytes, size);
}

void grpc_begin(struct buf *b)
{
    buf_add(b, "\0\0\0\0", GRPC_HEAD);
}

void grpc_end(struct buf *b)
{
    size_t size = b->len - GRPC_HEAD;

    if (b->failed)
        return;
    for (int i = 0; i < 4; i++)
        b->data[1 + i] = (char)(size >> (24 - 8 * i));
}

/* Begins a field that is a message; returns where its length goes. */
static size_t open_field(struct buf *b, unsigned field)
{
    put_varint(b, field << 3 | GRPC_BYTES);
    buf_add(b, "\0\0\0", LENGTH_SIZE);
    return b->len - LENGTH_SIZE;
}

static void close_field(struct buf *b, size_t at)
{
    size_t size = b->len - at - LENGTH_SIZE;

    if (b->failed)
        return;
    for (int i = 0; i < LENGTH_SIZE; i++)
        b->data[at + (size_t)i] =
            (char)((size >> (7 * i) & 0x7f) | (i < LENGTH_SIZE - 1 ? 0x80 : 0));
}

/* ---- levels ---- */

/* JSON: the list of the branch is open after it. */
static void open_list(struct etcd_request *r, enum etcd_branch branch)
{
    if (r->level[r->depth].branch == (int)branch) {
        buf_str(r->b, ",");
    } else {
        if (r->level[r->depth].branch)
            buf_str(r->b, "],");
        buf_printf(r->b, "\"%s\":[", branch_names[branch]);
    }
    r->level[r->depth].branch = (int)branch;
}

static void close_level(struct etcd_request *r)
{
    buf_str(r->b, r->level[r->depth].branch ? "]}" : "}");
}

void etcd_request_begin(struct etcd_request *r, struct buf *b, bool grpc)
{
    memset(r, 0, sizeof(*r));
    r->b = b;
    r->grpc = grpc;
    if (grpc)
        grpc_begin(b);
    else
        buf_str(b, "{");
}

void etcd_request_end(struct etcd_request *r)
{
    if (r->grpc)
        grpc_end(r->b);
    else
        close_level(r);
}

/* ---- what a transaction consists of ---- */

void etcd_request_compare(struct etcd_request *r, const char *key, int64_t revision)
{
    size_t at;

    if (!r->grpc) {
        open_list(r, ETCD_COMPARES);
        buf_printf(r->b, "{\"target\":\"MOD\",\"mod_revision\":\"%lld\",", (long long)revision);
        etcd_put_key(r->b, "key", key);
        buf_str(r->b, "}");
        return;
    }
    at = open_field(r->b, ETCD_COMPARES);
    grpc_put_int(r->b, COMPARE_TARGET, TARGET_MOD);
    grpc_put_bytes(r->b, COMPARE_KEY, key, strlen(key));
    grpc_put_int(r->b, COMPARE_MOD_REVISION, revision);
    close_field(r->b, at);
}

/* Begins an operation: with gRPC two messages, one in the other. */
static void open_op(struct etcd_request *r, enum etcd_branch branch, int op)
{
    if (r->grpc) {
        r->level[r->depth].op = open_field(r->b, branch);
        r->level[r->depth].request = open_field(r->b, (unsigned)op);
    } else {
        open_list(r, branch);
        buf_printf(r->b, "{\"%s\":{", op_names[op]);
    }
}

static void close_op(struct etcd_request *r)
{
    if (r->grpc) {
        close_field(r->b, r->level[r->depth].request);
        close_field(r->b, r->level[r->depth].op);
    } else {
        buf_str(r->b, "}}");
    }
}

static void put_key(struct etcd_request *r, unsigned field, const char *name, const char *key)
{
    if (r->grpc)
        grpc_put_bytes(r->b, field, key, strlen(key));
    else
        etcd_put_key(r->b, name, key);
}

void etcd_request_put(struct etcd_request *r, enum etcd_branch branch, const char *key,
                      const void *value, size_t size, int64_t lease)
{
    open_op(r, branch, OP_PUT);
    put_key(r, KEY, "key", key);
    if (r->grpc && value) {
        grpc_put_bytes(r->b, PUT_VALUE, value, size);
    } else if (value) {
        buf_str(r->b, ",");
        etcd_put_base64(r->b, "value", value, size);
    }
    if (r->grpc && lease)
        grpc_put_int(r->b, PUT_LEASE, lease);
    else if (lease)
        buf_printf(r->b, ",\"lease\":\"%lld\"", (long long)lease);
    close_op(r);
}

static void put_keys(struct etcd_request *r, enum etcd_branch branch, int op, const char *key,
                     const char *end)
{
    open_op(r, branch, op);
    put_key(r, KEY, "key", key);
    if (end && !r->grpc)
        buf_str(r->b, ",");
    if (end)
        put_key(r, RANGE_END, "range_end", end);
    close_op(r);
}

void etcd_request_delete(struct etcd_request *r, enum etcd_branch branch, const char *key,
                         const char *end)
{
    put_keys(r, branch, OP_DELETE_RANGE, key, end);
}

void etcd_request_range(struct etcd_request *r, enum etcd_branch branch, const char *key,
                        const char *end)
{
    put_keys(r, branch, OP_RANGE, key, end);
}

void etcd_request_txn_begin(struct etcd_request *r, enum etcd_branch branch)
{
    open_op(r, branch, OP_TXN);
    r->depth++;
    memset(&r->level[r->depth], 0, sizeof(r->level[r->depth]));
}

void etcd_request_txn_end(struct etcd_request *r)
{
    if (!r->grpc && r->level[r->depth].branch)
        buf_str(r->b, "]");
    r->depth--;
    close_op(r);
}
