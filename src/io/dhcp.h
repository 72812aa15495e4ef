/* DHCPv4 messages (RFC 2131, 2132, 3442): bytes to a request, a request and a lease to an answer.
 *
 * Concept.   Pure: no socket, no clock, no allocation. The server keeps no state of its own: which
 *            client has which address is known beforehand, so any number of servers answer alike.
 * Errors.    Anything malformed is -EBADMSG; a message that a server has no answer to gives 0
 *            bytes.
 * Threads.   Any.
 */
#ifndef VLING_IO_DHCP_H
#define VLING_IO_DHCP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DHCP_SIZE_MAX 1400
#define DHCP_ROUTES_MAX 24
#define DHCP_DNS_MAX 4

enum dhcp_type {
    DHCP_DISCOVER = 1,
    DHCP_OFFER,
    DHCP_REQUEST,
    DHCP_DECLINE,
    DHCP_ACK,
    DHCP_NAK,
    DHCP_RELEASE,
    DHCP_INFORM,
};

struct dhcp_request {
    enum dhcp_type type;
    uint32_t xid; /* as on the wire, like all addresses below */
    uint16_t secs, flags;
    struct in_addr ciaddr, giaddr;
    uint8_t mac[6];
    struct in_addr requested; /* 0: none */
    struct in_addr server;    /* 0: none */
    uint16_t size_max;        /* the largest message the client takes */
    uint8_t client_id[255];
    size_t client_id_size;
};

struct dhcp_route {
    struct in_addr to;
    uint8_t prefix;
    struct in_addr via;
};

/* What one client gets. */
struct dhcp_lease {
    struct in_addr ip, mask, server;
    struct in_addr router; /* 0: none */
    struct in_addr dns[DHCP_DNS_MAX];
    size_t dns_count;
    struct dhcp_route routes[DHCP_ROUTES_MAX]; /* option 121; the default route among them */
    size_t route_count;
    char name[64];
    uint16_t mtu; /* 0: not told */
    uint32_t seconds;
};

/* How an answer travels. */
enum dhcp_way { DHCP_TO_RELAY, DHCP_TO_CIADDR, DHCP_TO_YIADDR, DHCP_BROADCAST };

int dhcp_parse(const void *bytes, size_t size, struct dhcp_request *ret);

/* Writes the answer of the server at `lease->server` into `out` (DHCP_SIZE_MAX bytes). Returns its
 * size, 0 if there is none to give. */
size_t dhcp_answer(const struct dhcp_request *request, const struct dhcp_lease *lease,
                   uint8_t out[DHCP_SIZE_MAX], enum dhcp_way *ret_way);

#endif
