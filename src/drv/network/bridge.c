/* A network on this host: a bridge, a VXLAN device whose forwarding entries come from the plan (no
 * learning, no multicast), and a tap for each guest's port. */
#include "drv/network/linux.h"

#include "base/json.h"
#include "io/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VXLAN_PORT 4789

/* ---- links ---- */

/* What every link of ours gets; writes only what differs. */
int link_finish(struct netlink *nl, const char *name, const char *alias, int master, int mtu)
{
    struct netlink_link link;
    int rc = netlink_link_get(nl, name, &link);

    if (rc == 0 && strcmp(link.alias, alias) != 0)
        rc = netlink_set_alias(nl, link.index, alias);
    if (rc == 0 && mtu > 0 && link.mtu != mtu)
        rc = netlink_set_mtu(nl, link.index, mtu);
    if (rc == 0 && master > 0 && link.master != master)
        rc = netlink_set_master(nl, link.index, master);
    if (rc == 0 && !link.up)
        rc = netlink_set_up(nl, link.index, true);
    return rc;
}

/* link_finish for the host's side: the host itself must not speak on tenants' links. */
static int host_link_finish(struct netlink *nl, const char *name, const char *alias, int master,
                            int mtu)
{
    char path[64];

    snprintf(path, sizeof path, "ipv6/conf/%s/disable_ipv6", name);
    netns_sysctl(-1, path, "1"); /* absent when the kernel has no IPv6 */
    return link_finish(nl, name, alias, master, mtu);
}

int bridge_ensure(struct network_driver *driver, const char *name, int mtu, bool known,
                  int *ret_index)
{
    struct netlink_link link;
    int rc = netlink_link_get(driver->nl, name, &link);

    if (rc == -ENODEV) {
        rc = netlink_bridge_add(driver->nl, name, ALIAS);
        known = false;
    }
    /* An earlier daemon may have been killed before it came to this. */
    if (rc == 0 && !known)
        rc = bridge_filter(name);
    if (rc == 0)
        rc = host_link_finish(driver->nl, name, ALIAS, 0, mtu);
    if (rc == 0)
        rc = netlink_link_get(driver->nl, name, &link);
    if (rc == 0)
        *ret_index = link.index;
    return rc;
}

int veth_ensure(struct network_driver *driver, struct netlink *inside, int ns_fd, const char *name,
                const char *bridge, const char *mac, int mtu, struct netlink_link *ret)
{
    struct netlink_link link, master;
    uint8_t bytes[6];
    int rc = netlink_mac_parse(mac, bytes);

    if (rc == 0)
        rc = netlink_link_get(driver->nl, bridge, &master);
    if (rc < 0)
        return rc;
    if (netlink_link_get(inside, name, &link) < 0) {
        /* An end without its other end is of no use. */
        if (netlink_link_get(driver->nl, name, &link) == 0)
            netlink_link_delete(driver->nl, link.index);
        rc = netlink_veth_add(driver->nl, name, ALIAS, name, ns_fd);
        if (rc < 0)
            return rc;
    }
    rc = netlink_link_get(inside, name, &link);
    if (rc == 0 && memcmp(link.mac, bytes, 6) != 0)
        rc = netlink_set_mac(inside, link.index, bytes);
    if (rc == 0)
        rc = link_finish(inside, name, ALIAS, 0, mtu);
    if (rc == 0)
        rc = host_link_finish(driver->nl, name, ALIAS, master.index, mtu);
    return rc == 0 ? netlink_link_get(inside, name, ret) : rc;
}

/* ---- addresses ---- */

struct addr_list {
    struct netlink_addr *items;
    size_t count;
};

static void addr_collect(void *arg, const struct netlink_addr *addr)
{
    struct addr_list *list = arg;
    struct netlink_addr *grown;

    grown = realloc(list->items, (list->count + 1) * sizeof *grown);
    if (!grown)
        return;
    list->items = grown;
    list->items[list->count++] = *addr;
}

static bool addr_in(const struct netlink_addr *addr, const struct netlink_addr *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (memcmp(addr, &list[i], sizeof *addr) == 0)
            return true;
    }
    return false;
}

int addrs_sync(struct netlink *nl, int index, const struct netlink_addr *want, size_t count,
               void (*added)(void *arg, const struct netlink_addr *addr), void *arg)
{
    struct addr_list have = {0};
    int rc = netlink_addrs(nl, index, addr_collect, &have);
    int first = rc;

    /* Removing a primary address takes its secondaries along, so what is missing is found after. */
    for (size_t i = 0; rc == 0 && i < have.count; i++) {
        if (!addr_in(&have.items[i], want, count))
            netlink_addr_delete(nl, index, &have.items[i]);
    }
    for (size_t i = 0; first == 0 && i < count; i++) {
        rc = netlink_addr_add(nl, index, &want[i]);
        if (rc == 0 && added)
            added(arg, &want[i]);
        if (rc < 0 && rc != -EEXIST && first == 0)
            first = rc;
    }
    free(have.items);
    return first;
}

/* ---- the tunnel ---- */

struct fdb_list {
    struct netlink_fdb *items;
    size_t count;
    bool failed;
};

static void fdb_collect(void *arg, const struct netlink_fdb *entry)
{
    struct fdb_list *list = arg;
    struct netlink_fdb *grown = realloc(list->items, (list->count + 1) * sizeof *grown);

    if (!grown) {
        list->failed = true;
        return;
    }
    list->items = grown;
    list->items[list->count++] = *entry;
}

static bool fdb_in(const struct fdb_list *list, const struct netlink_fdb *entry)
{
    for (size_t i = 0; i < list->count; i++) {
        if (memcmp(&list->items[i], entry, sizeof *entry) == 0)
            return true;
    }
    return false;
}

static void fdb_wanted(const json_t *network, struct fdb_list *ret)
{
    struct netlink_fdb entry, flood;
    const json_t *remote;
    size_t i;

    json_array_foreach(json_object_get(network, "remotes"), i, remote)
    {
        memset(&entry, 0, sizeof entry);
        if (inet_pton(AF_INET, json_str(remote, "vtep", ""), &entry.remote) != 1)
            continue;
        flood = entry;
        if (!fdb_in(ret, &flood))
            fdb_collect(ret, &flood);
        if (netlink_mac_parse(json_str(remote, "mac", NULL), entry.mac) == 0 &&
            !fdb_in(ret, &entry))
            fdb_collect(ret, &entry);
    }
}

static int fdb_sync(struct netlink *nl, int index, const json_t *network)
{
    struct fdb_list want = {0}, have = {0};
    int rc = netlink_fdbs(nl, index, fdb_collect, &have);
    int first = rc, one;

    fdb_wanted(network, &want);
    if (want.failed || have.failed)
        first = -ENOMEM;
    for (size_t i = 0; first == 0 && i < have.count; i++) {
        if (!fdb_in(&want, &have.items[i]))
            netlink_fdb_delete(nl, index, &have.items[i]);
    }
    for (size_t i = 0; rc == 0 && i < want.count; i++) {
        if (fdb_in(&have, &want.items[i]))
            continue;
        one = netlink_fdb_add(nl, index, &want.items[i]);
        if (one < 0 && one != -EEXIST && first == 0)
            first = one;
    }
    free(want.items);
    free(have.items);
    return first;
}

static int tunnel_ensure(struct network_driver *driver, const json_t *network,
                         const char *tenant_ip, int master, int mtu)
{
    uint32_t vni = (uint32_t)json_int(network, "vni", 0);
    struct netlink_link link;
    struct in_addr local;
    char name[NAME_SIZE], alias[64];
    int rc;

    if (inet_pton(AF_INET, tenant_ip, &local) != 1 || vni == 0 || vni >= 1u << 24)
        return -EINVAL;
    name_of("vx", json_str(network, "id", ""), name);
    /* These cannot be changed later; the alias tells whether they still hold. */
    snprintf(alias, sizeof alias, ALIAS " %u %s", vni, tenant_ip);
    rc = netlink_link_get(driver->nl, name, &link);
    if (rc == 0 && strcmp(link.alias, alias) != 0) {
        netlink_link_delete(driver->nl, link.index);
        rc = -ENODEV;
    }
    if (rc == -ENODEV)
        rc = netlink_vxlan_add(driver->nl, name, alias, vni, local, VXLAN_PORT);
    if (rc == 0)
        rc = host_link_finish(driver->nl, name, alias, master, mtu);
    if (rc == 0)
        rc = netlink_link_get(driver->nl, name, &link);
    return rc == 0 ? fdb_sync(driver->nl, link.index, network) : rc;
}

static int network_mtu(const json_t *network)
{
    int mtu = (int)json_int(network, "mtu", 1450);

    return mtu < 576 || mtu > 9216 ? 1450 : mtu;
}

int network_ensure(struct network_driver *driver, const json_t *network, const char *tenant_ip,
                   bool known)
{
    char name[NAME_SIZE];
    int index, rc;

    name_of("br", json_str(network, "id", ""), name);
    rc = bridge_ensure(driver, name, network_mtu(network), known, &index);
    return rc == 0 ? tunnel_ensure(driver, network, tenant_ip, index, network_mtu(network)) : rc;
}

int port_ensure(struct network_driver *driver, const json_t *network, const json_t *port)
{
    const char *tap = json_str(port, "tap", "");
    struct netlink_link bridge, link;
    char name[NAME_SIZE];
    int rc;

    if (!name_valid(tap))
        return -EINVAL;
    name_of("br", json_str(network, "id", ""), name);
    rc = netlink_link_get(driver->nl, name, &bridge);
    if (rc < 0)
        return rc;
    rc = netlink_link_get(driver->nl, tap, &link);
    if (rc == -ENODEV)
        rc = netlink_tap_add(driver->nl, tap, ALIAS " port", driver->tap_owner);
    return rc == 0 ? host_link_finish(driver->nl, tap, ALIAS " port", bridge.index,
                                      network_mtu(network))
                   : rc;
}

int external_ensure(struct network_driver *driver, const char *dev, bool known)
{
    struct netlink_link link;
    int index, rc;

    rc = netlink_link_get(driver->nl, dev, &link);
    if (rc == 0)
        rc = bridge_ensure(driver, EXTERNAL_BRIDGE, 0, known, &index);
    if (rc == 0 && link.master != index)
        rc = netlink_set_master(driver->nl, link.index, index);
    if (rc == 0 && !link.up)
        rc = netlink_set_up(driver->nl, link.index, true);
    return rc;
}
