/* The one question that is asked all the time, "what is your revision?", goes to etcd as gRPC
 * instead of through its JSON gateway: half the time, since the gateway is a second server that
 * asks the first. One request with fixed bytes and two integers out of the answer are written and
 * read here; it would take a library and its compiler otherwise. Without TLS, HTTP/2 is not
 * negotiated and the gateway is asked.
 *
 * A gRPC message on HTTP/2 is a byte 0 (not compressed), its length in four bytes and its text in
 * protobuf (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md,
 * https://protobuf.dev/programming-guides/encoding/); the numbers of fields are those of etcd's
 * rpc.proto. */
#include "store/etcd.h"

#define FRAME_HEAD 5
#define BODY_MAX 256

static const char nothing[] = "/vling/none"; /* a key that nobody writes */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { RANGE_KEY = 1, RANGE_COUNT_ONLY = 9 };                          /* of RangeRequest */
enum { ANSWER_HEADER = 1, HEADER_REVISION = 3, HEADER_RAFT_TERM = 4 }; /* of RangeResponse */

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

static bool read_header(struct bytes in, int64_t *ret_revision, int64_t *ret_term)
{
    uint64_t number, value;
    struct bytes inner;

    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == HEADER_REVISION)
            *ret_revision = (int64_t)value;
        else if (number == HEADER_RAFT_TERM)
            *ret_term = (int64_t)value;
    }
    return *ret_revision > 0;
}

bool etcd_grpc_read(const void *bytes, size_t size, int64_t *ret_revision, int64_t *ret_term)
{
    const unsigned char *head = bytes;
    struct bytes in = {head + FRAME_HEAD, head + size}, inner;
    uint64_t number, value, length;
    bool found = false;

    *ret_revision = *ret_term = 0;
    if (size < FRAME_HEAD || head[0] != 0)
        return false;
    length = (uint64_t)head[1] << 24 | (uint64_t)head[2] << 16 | (uint64_t)head[3] << 8 | head[4];
    if (length != size - FRAME_HEAD)
        return false;
    while (in.at < in.end) {
        if (!take_field(&in, &number, &value, &inner))
            return false;
        if (number == ANSWER_HEADER)
            found = read_header(inner, ret_revision, ret_term);
    }
    return found;
}
