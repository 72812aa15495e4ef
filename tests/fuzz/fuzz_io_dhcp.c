/* libFuzzer: any datagram through the DHCP parser; what it accepts is answered with leases of all
 * sizes, and each answer must be a message that ends, keeps to the client's limit and is read back.
 *
 * The first byte chooses: a whole datagram, or options behind a fixed part that is right. */
#include "io/dhcp.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

#define FIXED_SIZE 240
#define COOKIE_AT 236

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct dhcp_lease make_lease(const struct dhcp_request *request, unsigned kind)
{
    struct dhcp_lease lease = {.server = request->server, .seconds = 86400};

    if (!lease.server.s_addr)
        memcpy(&lease.server, "\x0a\0\0\2", 4);
    lease.ip = request->requested.s_addr ? request->requested : request->ciaddr;
    if (kind == 0)
        return lease;
    memset(&lease.mask, 0xff, 3);
    lease.router = lease.server;
    lease.route_count = kind == 1 ? 2 : DHCP_ROUTES_MAX;
    for (size_t i = 0; i < lease.route_count; i++) {
        lease.routes[i].to = request->requested;
        lease.routes[i].prefix = (uint8_t)(request->mac[i % 6] + i);
        lease.routes[i].via = request->giaddr;
    }
    lease.dns_count = kind == 1 ? 1 : DHCP_DNS_MAX;
    memset(lease.dns, 9, sizeof(lease.dns));
    memset(lease.name, 'n', kind == 1 ? 8 : sizeof(lease.name));
    lease.mtu = request->secs;
    return lease;
}

/* The size of the message up to its end mark. */
static size_t message_size(const uint8_t *out, size_t size)
{
    size_t at = FIXED_SIZE;

    while (at < size && out[at] != 255) {
        must(at + 2 < size && out[at] != 0);
        at += 2u + out[at + 1];
    }
    must(at < size);
    return at + 1;
}

static void answer(const struct dhcp_request *request, const struct dhcp_lease *lease)
{
    size_t limit = request->size_max > 576 ? request->size_max - 28u : 548;
    uint8_t *out = malloc(DHCP_SIZE_MAX);
    struct dhcp_request back;
    enum dhcp_way way = (enum dhcp_way)99;
    size_t size;

    must(out != NULL);
    size = dhcp_answer(request, lease, out, &way);
    must(size <= DHCP_SIZE_MAX && size <= limit);
    if (size > 0) {
        must(size >= 300 && way <= DHCP_BROADCAST);
        must((way == DHCP_TO_RELAY) == (request->giaddr.s_addr != 0));
        must(message_size(out, size) <= size);
        must(out[0] == 2);
        out[0] = 1; /* as if it were a request: the parser reads what was written */
        must(dhcp_parse(out, size, &back) == 0);
        must(back.type == DHCP_OFFER || back.type == DHCP_ACK || back.type == DHCP_NAK);
        must(back.xid == request->xid && memcmp(back.mac, request->mac, 6) == 0);
        must(back.server.s_addr == lease->server.s_addr);
        must(back.client_id_size == request->client_id_size &&
             memcmp(back.client_id, request->client_id, back.client_id_size) == 0);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint8_t head[4] = {1, 1, 6, 0}, cookie[4] = {99, 130, 83, 99};
    struct dhcp_request request;
    uint8_t *copy;
    size_t fixed;
    int rc;

    if (size == 0)
        return 0;
    fixed = bytes[0] & 1 ? FIXED_SIZE : 0;
    copy = calloc(1, fixed + size); /* the first byte's place is spare */
    must(copy != NULL);
    memcpy(copy + fixed, bytes + 1, size - 1);
    if (fixed) {
        memset(copy, bytes[0], COOKIE_AT);
        /* Options in these fields start with what the input starts with. */
        memcpy(copy + 44, bytes + 1, size - 1 < 64 ? size - 1 : 64);
        memcpy(copy + 108, bytes + 1, size - 1 < 128 ? size - 1 : 128);
        memcpy(copy, head, sizeof(head));
        memcpy(copy + COOKIE_AT, cookie, sizeof(cookie));
    }
    copy = realloc(copy, fixed + size - 1 ? fixed + size - 1 : 1);
    must(copy != NULL);
    rc = dhcp_parse(copy, fixed + size - 1, &request);
    free(copy);
    if (rc < 0)
        return 0;
    must(request.type >= DHCP_DISCOVER && request.type <= DHCP_INFORM);
    must(request.client_id_size <= sizeof(request.client_id));
    for (unsigned kind = 0; kind < 3; kind++) {
        struct dhcp_lease lease = make_lease(&request, kind);

        answer(&request, &lease);
    }
    return 0;
}
