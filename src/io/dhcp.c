#include "io/dhcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* RFC 2131 figure 1: offsets of the fixed part, then the magic cookie and the options. */
enum {
    AT_OP = 0,
    AT_HTYPE = 1,
    AT_HLEN = 2,
    AT_XID = 4,
    AT_SECS = 8,
    AT_FLAGS = 10,
    AT_CIADDR = 12,
    AT_YIADDR = 16,
    AT_SIADDR = 20,
    AT_GIADDR = 24,
    AT_CHADDR = 28,
    AT_SNAME = 44,
    AT_FILE = 108,
    AT_COOKIE = 236,
    AT_OPTIONS = 240,
    SIZE_MIN = 300, /* BOOTP's; some clients drop anything smaller */
    MESSAGE_MIN = 548,
};

enum {
    OPT_PAD = 0,
    OPT_MASK = 1,
    OPT_ROUTER = 3,
    OPT_DNS = 6,
    OPT_HOST_NAME = 12,
    OPT_MTU = 26,
    OPT_REQUESTED = 50,
    OPT_LEASE = 51,
    OPT_OVERLOAD = 52,
    OPT_TYPE = 53,
    OPT_SERVER = 54,
    OPT_SIZE_MAX = 57,
    OPT_T1 = 58,
    OPT_T2 = 59,
    OPT_CLIENT_ID = 61,
    OPT_ROUTES = 121,
    OPT_END = 255,
};

/* Values of OPT_OVERLOAD: the fields that hold options too (RFC 2132 9.3). */
enum { IN_FILE = 1, IN_SNAME = 2 };

static const uint8_t cookie[4] = {99, 130, 83, 99};

/* ---- in ---- */

static int option_read(struct dhcp_request *request, unsigned *overload, uint8_t code,
                       const uint8_t *data, size_t size)
{
    switch (code) {
    case OPT_TYPE:
        if (size != 1)
            return -EBADMSG;
        request->type = data[0];
        return 0;
    case OPT_REQUESTED:
    case OPT_SERVER:
        if (size != 4)
            return -EBADMSG;
        memcpy(code == OPT_SERVER ? &request->server : &request->requested, data, 4);
        return 0;
    case OPT_OVERLOAD:
        if (size != 1 || data[0] < IN_FILE || data[0] > (IN_FILE | IN_SNAME))
            return -EBADMSG;
        *overload = data[0];
        return 0;
    case OPT_SIZE_MAX:
        if (size != 2)
            return -EBADMSG;
        request->size_max = (uint16_t)(data[0] << 8 | data[1]);
        return 0;
    case OPT_CLIENT_ID:
        memcpy(request->client_id, data, size);
        request->client_id_size = size;
        return 0;
    default:
        return 0;
    }
}

static int options_read(struct dhcp_request *request, unsigned *overload, const uint8_t *in,
                        size_t size)
{
    size_t at = 0;

    while (at < size && in[at] != OPT_END) {
        if (in[at] == OPT_PAD) {
            at++;
            continue;
        }
        if (at + 2 > size || in[at + 1] > size - at - 2 ||
            option_read(request, overload, in[at], in + at + 2, in[at + 1]) < 0)
            return -EBADMSG;
        at += 2u + in[at + 1];
    }
    return 0;
}

int dhcp_parse(const void *bytes, size_t size, struct dhcp_request *ret)
{
    const uint8_t *in = bytes;
    struct dhcp_request request = {0};
    unsigned overload = 0, ignored;

    if (size < AT_OPTIONS || in[AT_OP] != 1 || in[AT_HTYPE] != 1 || in[AT_HLEN] != 6 ||
        memcmp(in + AT_COOKIE, cookie, sizeof cookie) != 0)
        return -EBADMSG;
    memcpy(&request.xid, in + AT_XID, 4);
    memcpy(&request.secs, in + AT_SECS, 2);
    memcpy(&request.flags, in + AT_FLAGS, 2);
    memcpy(&request.ciaddr, in + AT_CIADDR, 4);
    memcpy(&request.giaddr, in + AT_GIADDR, 4);
    memcpy(request.mac, in + AT_CHADDR, 6);
    if (options_read(&request, &overload, in + AT_OPTIONS, size - AT_OPTIONS) < 0)
        return -EBADMSG;
    if (overload & IN_FILE &&
        options_read(&request, &ignored, in + AT_FILE, AT_COOKIE - AT_FILE) < 0)
        return -EBADMSG;
    if (overload & IN_SNAME &&
        options_read(&request, &ignored, in + AT_SNAME, AT_FILE - AT_SNAME) < 0)
        return -EBADMSG;
    if (request.type < DHCP_DISCOVER || request.type > DHCP_INFORM)
        return -EBADMSG;
    *ret = request;
    return 0;
}

/* ---- out ---- */

struct writer {
    uint8_t *out;
    size_t at, limit; /* one byte before the limit is kept for the end mark */
};

/* Leaves the option out if it does not fit: the ones that a client needs come first. */
static void option(struct writer *w, uint8_t code, const void *data, size_t size)
{
    if (size == 0 || size > 255 || w->at + 2 + size + 1 > w->limit)
        return;
    w->out[w->at++] = code;
    w->out[w->at++] = (uint8_t)size;
    memcpy(w->out + w->at, data, size);
    w->at += size;
}

static void option_u32(struct writer *w, uint8_t code, uint32_t value)
{
    value = htonl(value);
    option(w, code, &value, sizeof value);
}

static void option_routes(struct writer *w, const struct dhcp_lease *lease)
{
    uint8_t data[DHCP_ROUTES_MAX * 9];
    size_t size = 0;

    for (size_t i = 0; i < lease->route_count && i < DHCP_ROUTES_MAX; i++) {
        const struct dhcp_route *route = &lease->routes[i];
        size_t bytes = (route->prefix + 7u) / 8u;
        uint32_t to;

        if (route->prefix > 32)
            continue;
        /* A guest's kernel refuses a destination with bits behind its prefix. */
        to = route->prefix ? route->to.s_addr & htonl(UINT32_MAX << (32 - route->prefix)) : 0;
        data[size++] = route->prefix;
        memcpy(data + size, &to, bytes);
        memcpy(data + size + bytes, &route->via, 4);
        size += bytes + 4;
    }
    option(w, OPT_ROUTES, data, size);
}

static void options_lease(struct writer *w, const struct dhcp_lease *lease, bool timed)
{
    uint16_t mtu = htons(lease->mtu);

    if (timed) {
        option_u32(w, OPT_LEASE, lease->seconds);
        option_u32(w, OPT_T1, lease->seconds / 2);
        option_u32(w, OPT_T2, (uint32_t)((uint64_t)lease->seconds * 7 / 8));
    }
    option(w, OPT_MASK, &lease->mask, 4);
    option_routes(w, lease);
    if (lease->router.s_addr)
        option(w, OPT_ROUTER, &lease->router, 4);
    option(w, OPT_DNS, lease->dns,
           4 * (lease->dns_count < DHCP_DNS_MAX ? lease->dns_count : DHCP_DNS_MAX));
    if (lease->mtu >= 68)
        option(w, OPT_MTU, &mtu, 2);
    option(w, OPT_HOST_NAME, lease->name, strnlen(lease->name, sizeof lease->name));
}

/* RFC 2131 4.3.2: which of the four states the client is in follows from what it filled in. */
static enum dhcp_type answer_type(const struct dhcp_request *request,
                                  const struct dhcp_lease *lease)
{
    struct in_addr asked = request->requested.s_addr ? request->requested : request->ciaddr;

    switch (request->type) {
    case DHCP_DISCOVER:
        return DHCP_OFFER;
    case DHCP_INFORM:
        return DHCP_ACK;
    case DHCP_REQUEST:
        if (request->server.s_addr && request->server.s_addr != lease->server.s_addr)
            return 0; /* another server was chosen */
        return asked.s_addr == lease->ip.s_addr ? DHCP_ACK : DHCP_NAK;
    default:
        return 0;
    }
}

static enum dhcp_way answer_way(const struct dhcp_request *request, enum dhcp_type type)
{
    if (request->giaddr.s_addr)
        return DHCP_TO_RELAY;
    if (type == DHCP_NAK)
        return DHCP_BROADCAST;
    if (request->ciaddr.s_addr)
        return DHCP_TO_CIADDR;
    return ntohs(request->flags) & 0x8000 ? DHCP_BROADCAST : DHCP_TO_YIADDR;
}

size_t dhcp_answer(const struct dhcp_request *request, const struct dhcp_lease *lease,
                   uint8_t out[DHCP_SIZE_MAX], enum dhcp_way *ret_way)
{
    enum dhcp_type type = answer_type(request, lease);
    struct writer w = {.out = out, .at = AT_OPTIONS, .limit = MESSAGE_MIN};
    uint8_t code = (uint8_t)type;

    if (!type)
        return 0;
    /* The client counts IP and UDP headers (28 bytes) too. */
    if (request->size_max > MESSAGE_MIN + 28)
        w.limit = request->size_max - 28u < DHCP_SIZE_MAX ? request->size_max - 28u : DHCP_SIZE_MAX;
    memset(out, 0, DHCP_SIZE_MAX);
    out[AT_OP] = 2;
    out[AT_HTYPE] = 1;
    out[AT_HLEN] = 6;
    memcpy(out + AT_XID, &request->xid, 4);
    memcpy(out + AT_FLAGS, &request->flags, 2);
    memcpy(out + AT_GIADDR, &request->giaddr, 4);
    memcpy(out + AT_CHADDR, request->mac, 6);
    memcpy(out + AT_COOKIE, cookie, sizeof cookie);
    option(&w, OPT_TYPE, &code, 1);
    option(&w, OPT_SERVER, &lease->server, 4);
    option(&w, OPT_CLIENT_ID, request->client_id, request->client_id_size); /* RFC 6842 */
    if (type == DHCP_NAK && request->giaddr.s_addr)
        out[AT_FLAGS] |= 0x80; /* the relay shall broadcast it: the client has no address */
    if (type != DHCP_NAK) {
        memcpy(out + AT_CIADDR, &request->ciaddr, type == DHCP_ACK ? 4 : 0);
        if (request->type != DHCP_INFORM)
            memcpy(out + AT_YIADDR, &lease->ip, 4);
        options_lease(&w, lease, request->type != DHCP_INFORM);
    }
    out[w.at++] = OPT_END;
    *ret_way = answer_way(request, type);
    return w.at < SIZE_MIN ? SIZE_MIN : w.at;
}
