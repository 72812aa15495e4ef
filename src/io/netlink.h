/* Routing netlink (links, addresses, bridge forwarding entries, routes) of one network namespace.
 *
 * Ownership. netlink_open() makes a handle that netlink_close() frees.
 * Errors.    0 (or an index) or -errno as the kernel said. Adding what exists is -EEXIST.
 * Threads.   One at a time a handle; calls block until the kernel answers (5 s at most).
 */
#ifndef VLING_IO_NETLINK_H
#define VLING_IO_NETLINK_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct netlink;

struct netlink_link {
    int index;
    char name[IFNAMSIZ];
    char kind[16];
    char alias[64];
    int master;
    int mtu;
    bool up;      /* administratively */
    bool running; /* the carrier is there */
    uint8_t mac[6];
};

struct netlink_addr {
    int family; /* AF_INET or AF_INET6 */
    int prefix;
    uint8_t bytes[16];
};

struct netlink_fdb {
    uint8_t mac[6];
    struct in_addr remote; /* VXLAN: the other end point */
};

struct netlink_route {
    struct netlink_addr to; /* prefix 0: the default route */
    uint8_t via[16];
    int index; /* the device, 0: whatever the gateway is on */
};

int netlink_open(int netns_fd, struct netlink **ret);
void netlink_close(struct netlink *nl);

/* Text to address: "10.0.0.1/24", "fe80::1"; no prefix means all bits. 0 or -EINVAL. */
int netlink_addr_parse(const char *text, struct netlink_addr *ret);
int netlink_mac_parse(const char *text, uint8_t ret[6]);

int netlink_link_get(struct netlink *nl, const char *name, struct netlink_link *ret);
int netlink_links(struct netlink *nl, void (*each)(void *arg, const struct netlink_link *link),
                  void *arg);
/* A link has its alias as soon as it stays, also when the caller is killed at any instant. */
int netlink_bridge_add(struct netlink *nl, const char *name, const char *alias);
int netlink_vxlan_add(struct netlink *nl, const char *name, const char *alias, uint32_t vni,
                      struct in_addr local, uint16_t port);
/* The other end, `peer`, is born in namespace `peer_fd` (-1: beside this one), without alias. */
int netlink_veth_add(struct netlink *nl, const char *name, const char *alias, const char *peer,
                     int peer_fd);
/* A persistent tap device in the caller's own namespace, which must be that of `nl`; `owner`
 * (uid_t)-1: root only. */
int netlink_tap_add(struct netlink *nl, const char *name, const char *alias, uid_t owner);
int netlink_link_delete(struct netlink *nl, int index);

int netlink_set_master(struct netlink *nl, int index, int master); /* 0: none */
int netlink_set_mtu(struct netlink *nl, int index, int mtu);
int netlink_set_up(struct netlink *nl, int index, bool up);
int netlink_set_mac(struct netlink *nl, int index, const uint8_t mac[6]);
int netlink_set_alias(struct netlink *nl, int index, const char *alias);

int netlink_addr_add(struct netlink *nl, int index, const struct netlink_addr *addr);
int netlink_addr_delete(struct netlink *nl, int index, const struct netlink_addr *addr);
/* Addresses of scope global only. */
int netlink_addrs(struct netlink *nl, int index,
                  void (*each)(void *arg, const struct netlink_addr *addr), void *arg);

int netlink_fdb_add(struct netlink *nl, int index, const struct netlink_fdb *entry);
int netlink_fdb_delete(struct netlink *nl, int index, const struct netlink_fdb *entry);
int netlink_fdbs(struct netlink *nl, int index,
                 void (*each)(void *arg, const struct netlink_fdb *entry), void *arg);

/* Routes of the main table that were added through here (protocol static). */
int netlink_route_add(struct netlink *nl, const struct netlink_route *route);
int netlink_route_delete(struct netlink *nl, const struct netlink_route *route);
int netlink_routes(struct netlink *nl, void (*each)(void *arg, const struct netlink_route *route),
                   void *arg);

#endif
