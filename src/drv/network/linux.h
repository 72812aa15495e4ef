/* Kernel networking of one host: what the files of this folder share.
 *
 * Concept.   linux.c owns the driver and walks the plan; bridge.c makes a network's bridge, tunnel
 * and taps; filter.c writes a port's packet filter,
 * flows.c cuts what it allows no more; router.c makes a router's namespace; dhcpd.c
 * serves a network's addresses and metadata; announce.c tells neighbours of addresses. Links of
 * ours carry an alias "vling ...", tables are called "vling_...": by these a restarted daemon finds
 * what an earlier one made. Threads.   The loop's.
 */
#ifndef VLING_DRV_NETWORK_LINUX_H
#define VLING_DRV_NETWORK_LINUX_H

#include "base/buf.h"
#include "base/err.h"
#include "drv/driver.h"
#include "io/netlink.h"

#define NAME_SIZE 16
#define EXTERNAL_BRIDGE NETWORK_EXTERNAL_BRIDGE
#define ALIAS "vling"

struct announcer;
struct dhcpd;

struct network_driver {
    uv_loop_t *loop;
    struct netlink *nl;
    struct announcer *announcer;
    struct dhcpd *dhcpds; /* a list */
    network_metadata_cb *metadata;
    void *metadata_arg;
    char ns_dir[256];
    uid_t tap_owner;
    json_t *last;   /* the plan that was applied; NULL: unknown */
    json_t *broken; /* what of it failed: key -> {"at": next try in ms, "pause": ms} */
};

/* `prefix` and the first twelve hexadecimal digits of `id`. */
void name_of(const char *prefix, const char *id, char ret[NAME_SIZE]);
/* Is `text` usable as the name of a device, also inside a ruleset? */
bool name_valid(const char *text);
int ns_path(const struct network_driver *driver, const char *name, char *ret, size_t size);

/* bridge.c */
int link_finish(struct netlink *nl, const char *name, const char *alias, int master, int mtu);
int addrs_sync(struct netlink *nl, int index, const struct netlink_addr *want, size_t count,
               void (*added)(void *arg, const struct netlink_addr *addr), void *arg);
/* `known`: what this daemon set up before still holds, but for the difference. */
int bridge_ensure(struct network_driver *driver, const char *name, int mtu, bool known,
                  int *ret_index);
int network_ensure(struct network_driver *driver, const json_t *network, const char *tenant_ip,
                   bool known);
int port_ensure(struct network_driver *driver, const json_t *network, const json_t *port);
int external_ensure(struct network_driver *driver, const char *dev, bool known);
/* A veth from `bridge` into namespace `ns_fd`, named alike at both ends. */
int veth_ensure(struct network_driver *driver, struct netlink *inside, int ns_fd, const char *name,
                const char *bridge, const char *mac, int mtu, struct netlink_link *ret);

/* filter.c: `old` is the port as the filter has it now, NULL if that is not known. Connections that
 * the rules still allow go on. */
int port_filter(const json_t *port, const json_t *old, char *why, size_t why_size);
int bridge_filter(const char *bridge);

/* A security group's rule, without its remotes. */
struct rule {
    bool in, v6;
    int protocol; /* -1: any */
    int min, max; /* ports, or type and code of ICMP; -1: any */
};

/* False: the rule allows nothing. */
bool rule_read(const json_t *rule, struct rule *ret);

/* flows.c: does `port` allow all that `old` (NULL: unknown) did? */
bool flows_only_grew(const json_t *old, const json_t *port);
/* Forgets those of the known connections of `port` that its rules allow no more. */
int flows_cut(const json_t *port, const char *table);

/* router.c */
int router_ensure(struct network_driver *driver, const json_t *router, const json_t *plan);

/* dhcpd.c */
int dhcpd_ensure(struct network_driver *driver, const json_t *network);
/* Ends the servers of networks that `plan` gives no DHCP (NULL: all). */
void dhcpd_sweep(struct network_driver *driver, const json_t *plan);

/* announce.c */
int announcer_open(uv_loop_t *loop, struct announcer **ret);
void announcer_close(struct announcer *announcer);
/* Tells the neighbours of `dev` in `ns_fd` (kept as a duplicate; -1: here) at once and three times
 * more, a second apart. */
void announce(struct announcer *announcer, int ns_fd, const char *dev,
              const struct netlink_addr *addr);

#endif
