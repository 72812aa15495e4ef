/* What is asked all the time goes to etcd as gRPC instead of through its JSON gateway, which is a
 * second server that asks the first: "what is your revision?", a lease's renewal and transactions
 * (etcd_request.h). Two short requests are written here and a few integers are read out of the
 * answers; it would take a library and its compiler otherwise. Without TLS, HTTP/2 is not
 * negotiated and the gateway is asked. A renewal is a stream for etcd: one request, its end, one
 * answer. */
#include "store/etcd.h"
#include "store/etcd_request.h"

#define BODY_MAX 256

static const char nothing[] = "/vling/none"; /* a key that nobody writes */

enum { RANGE_KEY = 1, RANGE_COUNT_ONLY = 9 };                          /* of RangeRequest */
enum { KEEP_ALIVE_ID = 1 };                                            /* its request */
enum { ANSWER_HEADER = 1, HEADER_REVISION = 3, HEADER_RAFT_TERM = 4 }; /* of all answers */
enum { KEEP_ALIVE_TTL = 3 };                                           /* its answer */
enum { TXN_SUCCEEDED = 2, TXN_RESPONSES = 3, RESPONSE_TXN = 4 };

static void ask_gateway(struct buf *body)
{
    buf_str(body, "{\"count_only\":true,");
    etcd_put_key(body, "key", nothing);
    buf_str(body, "}");
}

static void ask_grpc(struct buf *body)
{
    grpc_begin(body);
    grpc_put_bytes(body, RANGE_KEY, nothing, sizeof(nothing) - 1);
    grpc_put_int(body, RANGE_COUNT_ONLY, 1);
    grpc_end(body);
}

void etcd_ask_revision(struct etcd *etcd, int64_t deadline_ms, etcd_op_cb *cb, void *arg)
{
    struct buf body;

    buf_init(&body, BODY_MAX);
    if (etcd->secure)
        ask_grpc(&body);
    else
        ask_gateway(&body);
    etcd_op_start(etcd, etcd->secure ? ETCD_GRPC_RANGE : "/v3/kv/range", &body, deadline_ms, cb,
                  arg);
}

static void renew_by_grpc(struct buf *body, int64_t lease)
{
    buf_init(body, BODY_MAX);
    grpc_begin(body);
    grpc_put_int(body, KEEP_ALIVE_ID, lease);
    grpc_end(body);
}

void etcd_ask_renewal(struct etcd *etcd, int64_t lease, int64_t deadline_ms, etcd_op_cb *cb,
                      void *arg)
{
    struct buf body;

    if (etcd->secure)
        renew_by_grpc(&body, lease);
    else
        etcd_lease_body(&body, lease);
    etcd_op_start(etcd, etcd->secure ? ETCD_GRPC_RENEW : "/v3/lease/keepalive", &body, deadline_ms,
                  cb, arg);
}

struct bytes {
    const unsigned char *at, *end;
};

static bool take_varint(struct bytes *in, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        *ret |= (uint64_t)(*in->at & 0x7f) << shift;
        if (!(*in->at++ & 0x80))
            return true;
    }
    return false;
}

/* The next field: its number, and its value or its bytes. */
static bool take_field(struct bytes *in, uint64_t *ret_number, uint64_t *ret_value,
                       struct bytes *ret_bytes)
{
    uint64_t tag, size;

    *ret_value = 0;
    if (!take_varint(in, &tag))
        return false;
    *ret_number = tag >> 3;
    *ret_bytes = (struct bytes){in->at, in->at};
    switch (tag & 7) {
    case GRPC_VARINT:
        return take_varint(in, ret_value);
    case GRPC_BYTES:
        if (!take_varint(in, &size))
            return false;
        break;
    case GRPC_64:
    case GRPC_32:
        size = (tag & 7) == GRPC_64 ? 8 : 4;
        break;
    default:
        return false;
    }
    if (size > (uint64_t)(in->end - in->at))
        return false;
    *ret_bytes = (struct bytes){in->at, in->at + size};
    in->at += size;
    return true;
}

static bool read_header(struct bytes in, struct etcd_grpc_answer *ret)
{
    uint64_t number, value;
    struct bytes inner;

    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == HEADER_REVISION)
            ret->revision = (int64_t)value;
        else if (number == HEADER_RAFT_TERM)
            ret->term = (int64_t)value;
    }
    return ret->revision > 0;
}

/* The message behind its head. False: it is not exactly one. */
static bool open_message(const void *bytes, size_t size, struct bytes *ret)
{
    const unsigned char *head = bytes;
    uint64_t length;

    if (size < GRPC_HEAD || head[0] != 0)
        return false;
    length = (uint64_t)head[1] << 24 | (uint64_t)head[2] << 16 | (uint64_t)head[3] << 8 | head[4];
    *ret = (struct bytes){head + GRPC_HEAD, head + size};
    return length == size - GRPC_HEAD;
}

bool etcd_grpc_read(const void *bytes, size_t size, struct etcd_grpc_answer *ret)
{
    struct bytes in, inner;
    uint64_t number, value;
    bool found = false;

    *ret = (struct etcd_grpc_answer){0};
    if (!open_message(bytes, size, &in))
        return false;
    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == ANSWER_HEADER)
            found = read_header(inner, ret);
        else if (number == KEEP_ALIVE_TTL)
            ret->ttl = (int64_t)value;
    }
    return found;
}

/* Did the nested transaction in this response succeed? False: there is none in it. */
static bool read_nested(struct bytes in, bool *ret)
{
    uint64_t number, value;
    struct bytes inner, txn = {0};

    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == RESPONSE_TXN)
            txn = inner;
    }
    if (!txn.at)
        return false;
    *ret = false;
    while (txn.at < txn.end) {
        if (!take_field(&txn, &number, &value, &inner))
            return false;
        if (number == TXN_SUCCEEDED)
            *ret = value != 0;
    }
    return true;
}

bool etcd_grpc_read_txn(const void *bytes, size_t size, size_t before, size_t count,
                        struct etcd_txn_answer *ret)
{
    struct bytes in, inner;
    uint64_t number, value;
    size_t responses = 0;
    bool good = true;

    *ret = (struct etcd_txn_answer){0};
    if (count > ETCD_NESTED_MAX || !open_message(bytes, size, &in))
        return false;
    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == TXN_SUCCEEDED)
            ret->succeeded = value != 0;
        if (number != TXN_RESPONSES)
            continue;
        if (responses >= before && responses < before + count)
            good = read_nested(inner, &ret->nested[responses - before]) && good;
        responses++;
    }
    return !ret->succeeded || (good && responses == before + count);
}
