/* A router: a namespace with a veth to each network's bridge and one to the external bridge, kernel
 * forwarding, and translation of addresses (nftables, ip family, where connections are tracked). */
#include "drv/network/linux.h"

#include "base/json.h"
#include "io/conntrack.h"
#include "io/netns.h"
#include "io/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RULESET_MAX (1u << 20)

struct router {
    struct network_driver *driver;
    const json_t *row, *plan;
    struct netlink *nl; /* inside */
    int ns_fd;
    char gateway[NAME_SIZE]; /* "" if there is none */
    char gateway_ip[INET_ADDRSTRLEN];
    const char *announce_dev;
};

static void address_added(void *arg, const struct netlink_addr *addr)
{
    struct router *router = arg;

    announce(router->driver->announcer, router->ns_fd, router->announce_dev, addr);
}

/* Appends the addresses `texts`; returns the new number. */
static size_t addrs_parse(const json_t *texts, struct netlink_addr *out, size_t count, size_t max)
{
    const json_t *text;
    size_t i;

    json_array_foreach(texts, i, text)
    {
        if (count < max && netlink_addr_parse(json_string_value(text), &out[count]) == 0)
            count++;
    }
    return count;
}

static int network_mtu_of(const json_t *plan, const char *network_id)
{
    const json_t *network;
    size_t i;

    json_array_foreach(json_object_get(plan, "networks"), i, network)
    {
        if (strcmp(json_str(network, "id", ""), network_id) == 0)
            return (int)json_int(network, "mtu", 1450);
    }
    return 1450;
}

static int interface_ensure(struct router *router, const json_t *interface)
{
    const char *network = json_str(interface, "network_id", "");
    struct netlink_addr addrs[32];
    struct netlink_link link;
    char name[NAME_SIZE], bridge[NAME_SIZE];
    size_t count;
    int rc;

    name_of("vr", json_str(interface, "port_id", ""), name);
    name_of("br", network, bridge);
    rc = veth_ensure(router->driver, router->nl, router->ns_fd, name, bridge,
                     json_str(interface, "mac", ""), network_mtu_of(router->plan, network), &link);
    if (rc < 0)
        return rc;
    count = addrs_parse(json_object_get(interface, "ips"), addrs, 0, 32);
    router->announce_dev = name;
    return addrs_sync(router->nl, link.index, addrs, count, address_added, router);
}

static int gateway_ensure(struct router *router, const json_t *gateway)
{
    const json_t *floating = json_object_get(router->row, "floating"), *item;
    size_t max = 32 + json_array_size(floating), count, i;
    struct netlink_addr *addrs = calloc(max, sizeof *addrs);
    struct netlink_link link;
    int rc;

    if (!addrs)
        return -ENOMEM;
    rc = veth_ensure(router->driver, router->nl, router->ns_fd, router->gateway, EXTERNAL_BRIDGE,
                     json_str(gateway, "mac", ""), 0, &link);
    if (rc < 0)
        goto out;
    count = addrs_parse(json_object_get(gateway, "ips"), addrs, 0, 32);
    for (i = 0; i < count && !router->gateway_ip[0]; i++) {
        if (addrs[i].family == AF_INET)
            inet_ntop(AF_INET, addrs[i].bytes, router->gateway_ip, sizeof router->gateway_ip);
    }
    json_array_foreach(floating, i, item)
    {
        if (netlink_addr_parse(json_str(item, "ip", NULL), &addrs[count]) == 0 &&
            addrs[count].family == AF_INET)
            count++;
    }
    router->announce_dev = router->gateway;
    rc = addrs_sync(router->nl, link.index, addrs, count, address_added, router);
out:
    free(addrs);
    return rc;
}

/* ---- routes ---- */

#define ROUTES_MAX 128

struct routes {
    struct netlink_route items[ROUTES_MAX];
    size_t count;
};

static void route_collect(void *arg, const struct netlink_route *route)
{
    struct routes *routes = arg;

    if (routes->count < ROUTES_MAX)
        routes->items[routes->count++] = *route;
}

/* The kernel takes no bits behind the prefix. */
static void addr_mask(struct netlink_addr *addr)
{
    for (int i = 0; i < 16; i++) {
        int bits = addr->prefix - 8 * i;

        addr->bytes[i] &= bits >= 8 ? 0xff : bits <= 0 ? 0 : (uint8_t)(0xff << (8 - bits));
    }
}

static void route_want(struct routes *routes, const char *to, const char *via)
{
    struct netlink_route route = {0};
    struct netlink_addr hop;

    if (netlink_addr_parse(to, &route.to) < 0 || netlink_addr_parse(via, &hop) < 0 ||
        hop.family != route.to.family)
        return;
    addr_mask(&route.to);
    memcpy(route.via, hop.bytes, sizeof route.via);
    route_collect(routes, &route);
}

static bool route_same(const struct netlink_route *a, const struct netlink_route *b)
{
    return memcmp(&a->to, &b->to, sizeof a->to) == 0 && memcmp(a->via, b->via, sizeof a->via) == 0;
}

static bool route_in(const struct routes *routes, const struct netlink_route *route)
{
    for (size_t i = 0; i < routes->count; i++) {
        if (route_same(&routes->items[i], route))
            return true;
    }
    return false;
}

static int routes_sync(struct router *router, const json_t *gateway)
{
    struct routes want = {0}, have = {0};
    const char *next_hop = json_str(gateway, "next_hop", NULL);
    const json_t *row;
    size_t i;
    int rc, first;

    if (next_hop)
        route_want(&want, strchr(next_hop, ':') ? "::/0" : "0.0.0.0/0", next_hop);
    json_array_foreach(json_object_get(router->row, "routes"), i, row)
        route_want(&want, json_str(row, "destination", NULL), json_str(row, "nexthop", NULL));
    first = netlink_routes(router->nl, route_collect, &have);
    for (i = 0; i < have.count; i++) {
        if (!route_in(&want, &have.items[i]))
            netlink_route_delete(router->nl, &have.items[i]);
    }
    for (i = 0; i < want.count; i++) {
        if (route_in(&have, &want.items[i]))
            continue;
        rc = netlink_route_add(router->nl, &want.items[i]);
        if (rc < 0 && first == 0)
            first = rc;
    }
    return first;
}

/* ---- rules ---- */

/* The elements of a map of floating addresses; returns how many. */
static size_t map_write(struct buf *b, const json_t *floating, bool to_fixed)
{
    struct netlink_addr ip, fixed;
    char a[INET_ADDRSTRLEN], c[INET_ADDRSTRLEN];
    const json_t *item;
    size_t i, count = 0;

    json_array_foreach(floating, i, item)
    {
        if (netlink_addr_parse(json_str(item, "ip", NULL), &ip) < 0 || ip.family != AF_INET ||
            netlink_addr_parse(json_str(item, "fixed", NULL), &fixed) < 0 ||
            fixed.family != AF_INET)
            continue;
        inet_ntop(AF_INET, ip.bytes, a, sizeof a);
        inet_ntop(AF_INET, fixed.bytes, c, sizeof c);
        buf_printf(b, "%s%s : %s", count++ ? ", " : "", to_fixed ? a : c, to_fixed ? c : a);
    }
    return count;
}

/* Guests reach neither the hosts' tunnel addresses nor the API's virtual IP's network plane. */
static void hosts_write(struct buf *b, const json_t *plan)
{
    static const char *const keys[] = {"tenant_ip", "api_vip"};
    struct netlink_addr addr;
    char text[INET_ADDRSTRLEN];

    for (size_t i = 0; i < 2; i++) {
        if (netlink_addr_parse(json_str(plan, keys[i], NULL), &addr) < 0 || addr.family != AF_INET)
            continue;
        inet_ntop(AF_INET, addr.bytes, text, sizeof text);
        buf_printf(b, "  ip daddr %s drop\n", text);
    }
}

static void nat_write(struct buf *b, const struct router *router, const json_t *gateway)
{
    const json_t *floating = json_object_get(router->row, "floating");
    const char *gw = router->gateway;
    struct buf out, in;
    bool any;

    buf_init(&out, RULESET_MAX);
    buf_init(&in, RULESET_MAX);
    any = map_write(&in, floating, true) > 0 && map_write(&out, floating, false) > 0;
    buf_str(b, " chain pre {\n  type nat hook prerouting priority -100;\n");
    if (any)
        buf_printf(b, "  dnat to ip daddr map { %s }\n", buf_text(&in));
    buf_str(b, " }\n chain post {\n  type nat hook postrouting priority 100;\n");
    /* A connection from inside to a floating address of the same router comes back through it only
     * if its source is translated, too. */
    if (any)
        buf_printf(b,
                   "  oifname \"%s\" snat to ip saddr map { %s }\n"
                   "  iifname != \"%s\" ct status dnat snat to ip saddr map { %s }\n",
                   gw, buf_text(&out), gw, buf_text(&out));
    if (router->gateway_ip[0]) {
        if (any)
            buf_printf(b, "  iifname != \"%s\" ct status dnat snat to %s\n", gw,
                       router->gateway_ip);
        if (json_bool(gateway, "snat", true))
            buf_printf(b, "  oifname \"%s\" iifname != \"%s\" snat to %s\n", gw, gw,
                       router->gateway_ip);
    }
    buf_str(b, " }\n");
    buf_free(&out);
    buf_free(&in);
}

static int rules_apply(struct router *router, const json_t *gateway)
{
    char why[160];
    struct buf b;
    int rc;

    buf_init(&b, 4 * RULESET_MAX);
    buf_str(&b, "add table ip vling_router\ndelete table ip vling_router\n"
                "table ip vling_router {\n chain forward {\n"
                "  type filter hook forward priority 0;\n");
    hosts_write(&b, router->plan);
    if (router->gateway[0] && json_bool(gateway, "snat", true))
        buf_printf(&b,
                   "  iifname \"%s\" ct state established,related accept\n"
                   "  iifname \"%s\" ct status dnat accept\n"
                   "  iifname \"%s\" drop\n",
                   router->gateway, router->gateway, router->gateway);
    buf_str(&b, " }\n");
    if (router->gateway[0])
        nat_write(&b, router, gateway);
    buf_str(&b, "}\n");
    rc = b.failed ? -E2BIG : nft_apply(router->ns_fd, buf_text(&b), why, sizeof why);
    buf_free(&b);
    return rc;
}

/* ---- known connections ---- */

struct translations {
    struct in_addr gateway;
    bool snat;
    struct in_addr (*pairs)[2]; /* floating, fixed */
    size_t count;
};

static bool is_pair(const struct translations *t, struct in_addr floating, struct in_addr fixed)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->pairs[i][0].s_addr == floating.s_addr && t->pairs[i][1].s_addr == fixed.s_addr)
            return true;
    }
    return false;
}

static bool is_floating(const struct translations *t, struct in_addr addr)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->pairs[i][0].s_addr == addr.s_addr)
            return true;
    }
    return false;
}

/* Would the connection be translated as it is, began it now? */
static bool still_so(void *arg, const struct conntrack *entry)
{
    const struct translations *t = arg;

    if (entry->to_translated && !is_pair(t, entry->to, entry->reply_from))
        return false;
    /* It came before the address was one of the map's. */
    if (!entry->to_translated && is_floating(t, entry->to))
        return false;
    if (!entry->from_translated || is_pair(t, entry->reply_to, entry->from))
        return true;
    return entry->reply_to.s_addr == t->gateway.s_addr && (t->snat || entry->to_translated);
}

/* The rules see the first packet of a connection only: without this, a client would go on talking
 * to the server that a floating address led to before. */
static int connections_prune(struct router *router, const json_t *gateway)
{
    const json_t *floating = json_object_get(router->row, "floating"), *item;
    struct translations t = {.snat = json_bool(gateway, "snat", true)};
    size_t i;
    int rc;

    t.pairs = calloc(json_array_size(floating) + 1, sizeof *t.pairs);
    if (!t.pairs)
        return -ENOMEM;
    json_array_foreach(floating, i, item)
    {
        if (inet_pton(AF_INET, json_str(item, "ip", ""), &t.pairs[t.count][0]) == 1 &&
            inet_pton(AF_INET, json_str(item, "fixed", ""), &t.pairs[t.count][1]) == 1)
            t.count++;
    }
    inet_pton(AF_INET, router->gateway_ip, &t.gateway);
    rc = conntrack_prune(router->ns_fd, still_so, &t);
    free(t.pairs);
    return rc < 0 ? rc : 0;
}

/* ---- the whole ---- */

struct sweep {
    const struct router *router;
    int indexes[64];
    size_t count;
};

static void sweep_link(void *arg, const struct netlink_link *link)
{
    struct sweep *sweep = arg;
    const json_t *interface;
    char name[NAME_SIZE];
    size_t i;

    if (strncmp(link->alias, ALIAS, strlen(ALIAS)) != 0 ||
        strcmp(link->name, sweep->router->gateway) == 0)
        return;
    json_array_foreach(json_object_get(sweep->router->row, "interfaces"), i, interface)
    {
        name_of("vr", json_str(interface, "port_id", ""), name);
        if (strcmp(link->name, name) == 0)
            return;
    }
    if (sweep->count < 64)
        sweep->indexes[sweep->count++] = link->index;
}

static int router_fill(struct router *router, const json_t *gateway)
{
    const json_t *interface;
    struct netlink_link lo;
    struct sweep sweep = {.router = router};
    size_t i;
    int rc, first = 0;

    if (netlink_link_get(router->nl, "lo", &lo) == 0 && !lo.up)
        netlink_set_up(router->nl, lo.index, true);
    netns_sysctl(router->ns_fd, "ipv4/ip_forward", "1");
    netns_sysctl(router->ns_fd, "ipv6/conf/all/forwarding", "1");
    netlink_links(router->nl, sweep_link, &sweep);
    for (i = 0; i < sweep.count; i++)
        netlink_link_delete(router->nl, sweep.indexes[i]);
    json_array_foreach(json_object_get(router->row, "interfaces"), i, interface)
    {
        rc = interface_ensure(router, interface);
        first = first ? first : rc;
    }
    if (json_is_object(gateway)) {
        rc = gateway_ensure(router, gateway);
        first = first ? first : rc;
    }
    rc = rules_apply(router, gateway);
    if (rc == 0)
        rc = connections_prune(router, gateway);
    first = first ? first : rc;
    rc = routes_sync(router, gateway);
    return first ? first : rc;
}

int router_ensure(struct network_driver *driver, const json_t *row, const json_t *plan)
{
    const json_t *gateway = json_object_get(row, "gateway");
    struct router router = {.driver = driver, .row = row, .plan = plan};
    char name[NAME_SIZE], path[320];
    int rc;

    name_of("r-", json_str(row, "id", ""), name);
    rc = ns_path(driver, name, path, sizeof path);
    if (rc == 0)
        rc = netns_ensure(path);
    if (rc < 0)
        return rc;
    router.ns_fd = netns_open(path);
    if (router.ns_fd < 0)
        return router.ns_fd;
    if (json_is_object(gateway))
        name_of("vg", json_str(gateway, "port_id", ""), router.gateway);
    rc = netlink_open(router.ns_fd, &router.nl);
    if (rc == 0)
        rc = router_fill(&router, gateway);
    netlink_close(router.nl);
    close(router.ns_fd);
    return rc;
}
