/* The two requests that are made all the time, "what is your revision?" and a lease's renewal, go
 * to etcd as gRPC instead of through its JSON gateway: half the time, since the gateway is a second
 * server that asks the first. Two short requests and three integers out of their answers are
 * written and read here; it would take a library and its compiler otherwise. Without TLS, HTTP/2 is
 * not negotiated and the gateway is asked. A renewal is a stream for etcd: one request, its end,
 * one answer.
 *
 * A gRPC message on HTTP/2 is a byte 0 (not compressed), its length in four bytes and its text in
 * protobuf (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md,
 * https://protobuf.dev/programming-guides/encoding/); the numbers of fields are those of etcd's
 * rpc.proto. */
#include "store/etcd.h"

#define FRAME_HEAD 5
#define BODY_MAX 256
#define VARINT_MAX 10 /* bytes of an integer of 64 bits */

static const char nothing[] = "/vling/none"; /* a key that nobody writes */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { RANGE_KEY = 1, RANGE_COUNT_ONLY = 9 };                          /* of RangeRequest */
enum { KEEP_ALIVE_ID = 1 };                                            /* its request */
enum { ANSWER_HEADER = 1, HEADER_REVISION = 3, HEADER_RAFT_TERM = 4 }; /* of both answers */
enum { KEEP_ALIVE_TTL = 3 };                                           /* its answer */

static void ask_gateway(struct buf *body)
{
    buf_str(body, "{\"count_only\":true,");
    etcd_put_key(body, "key", nothing);
    buf_str(body, "}");
}

static void ask_grpc(struct buf *body)
{
    const unsigned char key_size = sizeof(nothing) - 1;
    const unsigned char head[FRAME_HEAD + 2] = {
        0, 0, 0, 0, 2 + key_size + 2, RANGE_KEY << 3 | WIRE_BYTES, key_size};
    const unsigned char tail[] = {RANGE_COUNT_ONLY << 3 | WIRE_VARINT, 1};

    buf_add(body, head, sizeof(head));
    buf_str(body, nothing);
    buf_add(body, tail, sizeof(tail));
}

void etcd_ask_revision(struct etcd *etcd, int64_t deadline_ms, etcd_op_cb *cb, void *arg)
{
    struct buf body;

    buf_init(&body, BODY_MAX);
    if (etcd->secure)
        ask_grpc(&body);
    else
        ask_gateway(&body);
    etcd_op_start(etcd, etcd->secure ? "/etcdserverpb.KV/Range" : "/v3/kv/range", &body,
                  deadline_ms, cb, arg);
}

static void renew_by_gateway(struct buf *body, int64_t lease)
{
    buf_printf(body, "{\"ID\":\"%lld\"}", (long long)lease);
}

static void renew_by_grpc(struct buf *body, int64_t lease)
{
    unsigned char frame[FRAME_HEAD + 1 + VARINT_MAX] = {[FRAME_HEAD] =
                                                            KEEP_ALIVE_ID << 3 | WIRE_VARINT};
    uint64_t left = (uint64_t)lease;
    size_t size = FRAME_HEAD + 1;

    for (; left > 0x7f; left >>= 7)
        frame[size++] = (unsigned char)(left | 0x80);
    frame[size++] = (unsigned char)left;
    frame[FRAME_HEAD - 1] = (unsigned char)(size - FRAME_HEAD);
    buf_add(body, frame, size);
}

void etcd_ask_renewal(struct etcd *etcd, int64_t lease, int64_t deadline_ms, etcd_op_cb *cb,
                      void *arg)
{
    struct buf body;

    buf_init(&body, BODY_MAX);
    if (etcd->secure)
        renew_by_grpc(&body, lease);
    else
        renew_by_gateway(&body, lease);
    etcd_op_start(etcd, etcd->secure ? "/etcdserverpb.Lease/LeaseKeepAlive" : "/v3/lease/keepalive",
                  &body, deadline_ms, cb, arg);
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
    case WIRE_VARINT:
        return take_varint(in, ret_value);
    case WIRE_BYTES:
        if (!take_varint(in, &size))
            return false;
        break;
    case WIRE_64:
    case WIRE_32:
        size = (tag & 7) == WIRE_64 ? 8 : 4;
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

bool etcd_grpc_read(const void *bytes, size_t size, struct etcd_grpc_answer *ret)
{
    const unsigned char *head = bytes;
    struct bytes in = {head + FRAME_HEAD, head + size}, inner;
    uint64_t number, value, length;
    bool found = false;

    *ret = (struct etcd_grpc_answer){0};
    if (size < FRAME_HEAD || head[0] != 0)
        return false;
    length = (uint64_t)head[1] << 24 | (uint64_t)head[2] << 16 | (uint64_t)head[3] << 8 | head[4];
    if (length != size - FRAME_HEAD)
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
