/* Packet filters of guests' ports, in the bridge family: one table a port.
 *
 * This kernel family tracks no connections everywhere, so a port remembers its own in dynamic sets:
 * an allowed packet of either direction enters (remote address, protocol, remote port, own port)
 * and packets of both directions that match an entry pass and keep it alive.
 *
 * From the guest: its own MACs and addresses only (ARP, IPv4, IPv6), never answers of a DHCP server
 * or a router's advertisement, then what its egress rules allow. Towards the guest: answers, DHCP,
 * what its ingress rules allow, and nothing else.
 */
#include "drv/network/linux.h"

#include "base/json.h"
#include "io/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RULESET_MAX (4u << 20)

int bridge_filter(const char *bridge)
{
    const char *id = bridge + (strncmp(bridge, "br-", 3) == 0 ? 3 : 2);
    char text[512];

    /* The host has no business in its guests' networks: nothing from a bridge is for itself. What a
     * bridge only forwards does not come in through the bridge's own device. */
    snprintf(text, sizeof text,
             "add table netdev vling_b_%s\ndelete table netdev vling_b_%s\n"
             "table netdev vling_b_%s {\n chain ingress {\n"
             "  type filter hook ingress device \"%s\" priority 0; policy drop;\n }\n}\n",
             id, id, id, bridge);
    return nft_apply(-1, text, NULL, 0);
}

/* ---- own addresses ---- */

static const char *addr_text(const struct netlink_addr *addr, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];

    inet_ntop(addr->family, addr->bytes, host, sizeof host);
    if (addr->prefix == (addr->family == AF_INET ? 32 : 128))
        snprintf(out, size, "%s", host);
    else
        snprintf(out, size, "%s/%d", host, addr->prefix);
    return out;
}

/* Lets packets of `addr` from `mac` go on to the rules. */
static void own_address(struct buf *b, const char *mac, const char *text)
{
    struct netlink_addr addr;
    char out[80];

    if (netlink_addr_parse(text, &addr) < 0)
        return;
    addr_text(&addr, out, sizeof out);
    if (addr.family == AF_INET) {
        buf_printf(b, "  ether saddr %s arp saddr ether %s arp saddr ip { 0.0.0.0, %s } accept\n",
                   mac, mac, out);
        buf_printf(b, "  ether saddr %s ip saddr %s goto out4\n", mac, out);
        return;
    }
    if (addr.prefix == 128) { /* the address that an advertisement speaks of must be its own too */
        buf_printf(b, "  ether saddr %s icmpv6 type nd-neighbor-advert @th,64,128 0x", mac);
        for (int i = 0; i < 16; i++)
            buf_printf(b, "%02x", addr.bytes[i]);
        buf_str(b, " accept\n");
    }
    buf_printf(b, "  ether saddr %s icmpv6 type != nd-neighbor-advert ip6 saddr %s goto out6\n",
               mac, out);
}

static void own_mac(struct buf *b, const char *mac)
{
    uint8_t m[6];
    char local[64];

    if (netlink_mac_parse(mac, m) < 0)
        return;
    snprintf(local, sizeof local, "fe80::%x:%xff:fe%02x:%x", (m[0] ^ 2) << 8 | m[1], m[2], m[3],
             m[4] << 8 | m[5]);
    own_address(b, mac, local);
    buf_printf(
        b, "  ether saddr %s ip6 saddr :: icmpv6 type { nd-neighbor-solicit, 131, 143 } accept\n",
        mac);
    buf_printf(b, "  ether saddr %s ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n", mac);
}

static void spoofing(struct buf *b, const json_t *port, const char *mac)
{
    const json_t *item;
    uint8_t bytes[6];
    size_t i;

    own_mac(b, mac);
    json_array_foreach(json_object_get(port, "ips"), i, item)
        own_address(b, mac, json_string_value(item));
    json_array_foreach(json_object_get(port, "pairs"), i, item)
    {
        const char *other = json_str(item, "mac_address", mac);

        if (netlink_mac_parse(other, bytes) < 0)
            continue;
        if (strcmp(other, mac) != 0)
            own_mac(b, other);
        own_address(b, other, json_str(item, "ip_address", NULL));
    }
}

/* ---- security group rules ---- */

static bool number(const char *text, int *ret)
{
    int value = 0;

    if (!*text || strlen(text) > 3)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + *text - '0';
    }
    *ret = value;
    return value < 256;
}

static int protocol_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"tcp", 6},       {"udp", 17},   {"icmp", 1},  {"ipv6-icmp", 58}, {"icmpv6", 58},
                 {"ah", 51},       {"dccp", 33},  {"egp", 8},   {"esp", 50},       {"gre", 47},
                 {"igmp", 2},      {"ospf", 89},  {"pgm", 113}, {"rsvp", 46},      {"sctp", 132},
                 {"udplite", 136}, {"vrrp", 112}, {"ipip", 4}};
    int value;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0)
            return known[i].number;
    }
    return number(name, &value) ? value : -1;
}

/* The match of protocol and ports; false: such a rule allows nothing. */
static bool rule_match(struct buf *b, const json_t *rule, bool v6)
{
    const char *name = json_str(rule, "protocol", NULL);
    int64_t min = json_int(rule, "min", -1), max = json_int(rule, "max", -1);
    int protocol;

    if (!name || strcmp(name, "any") == 0)
        return true;
    protocol = protocol_number(name);
    if (protocol < 0 || min > 65535 || max > 65535)
        return false;
    if (protocol == 1 && v6)
        protocol = 58; /* the API takes "icmp" for both */
    if (protocol == 1 || protocol == 58) {
        const char *family = protocol == 1 ? "icmp" : "icmpv6";

        buf_printf(b, "meta l4proto %d ", protocol);
        if (min >= 0 && min < 256)
            buf_printf(b, "%s type %d ", family, (int)min);
        if (max >= 0 && max < 256)
            buf_printf(b, "%s code %d ", family, (int)max);
        return true;
    }
    buf_printf(b, "meta l4proto %d ", protocol);
    if (min >= 0 || max >= 0)
        buf_printf(b, "th dport %d-%d ", min < 0 ? 0 : (int)min, max < 0 ? 65535 : (int)max);
    return min < 0 || max < 0 || min <= max;
}

/* One rule of the ruleset for each remote (they may overlap, which a set does not take). */
static void rule_write(struct buf *b, const json_t *rule, bool v6, bool in)
{
    const json_t *remotes = json_object_get(rule, "remotes"), *remote;
    const char *family = v6 ? "ip6" : "ip", *side = in ? "saddr" : "daddr";
    struct netlink_addr addr;
    struct buf match;
    char text[80];
    size_t i;

    buf_init(&match, 256);
    if (rule_match(&match, rule, v6)) {
        if (!json_is_array(remotes))
            buf_printf(b, "  %sgoto new%s%d\n", buf_text(&match), in ? "in" : "out", v6 ? 6 : 4);
        json_array_foreach(remotes, i, remote)
        {
            if (netlink_addr_parse(json_string_value(remote), &addr) < 0 ||
                (addr.family == AF_INET6) != v6)
                continue;
            buf_printf(b, "  %s %s %s %sgoto new%s%d\n", family, side,
                       addr_text(&addr, text, sizeof text), buf_text(&match), in ? "in" : "out",
                       v6 ? 6 : 4);
        }
    }
    buf_free(&match);
}

static void rules_write(struct buf *b, const json_t *port, bool v6, bool in)
{
    const json_t *rule;
    size_t i;

    json_array_foreach(json_object_get(port, "rules"), i, rule)
    {
        if (strcmp(json_str(rule, "direction", ""), in ? "ingress" : "egress") == 0 &&
            strcmp(json_str(rule, "ethertype", ""), v6 ? "IPv6" : "IPv4") == 0)
            rule_write(b, rule, v6, in);
    }
}

/* ---- the table ---- */

/* The chains of one family and direction: known connections, the rules, how one becomes known. */
static void direction_write(struct buf *b, const json_t *port, bool v6, bool in)
{
    const char *ip = v6 ? "ip6" : "ip", *icmp = v6 ? "icmpv6" : "icmp";
    const char *side = in ? "saddr" : "daddr", *dir = in ? "in" : "out";
    const char *far = in ? "sport" : "dport", *near = in ? "dport" : "sport";
    int n = v6 ? 6 : 4;
    char key[96];

    snprintf(key, sizeof key, "%s %s . meta l4proto . th %s . th %s", ip, side, far, near);
    /* How a connection becomes known. A full set must not stop what is allowed: hence `accept`
     * stands alone. */
    buf_printf(b,
               " chain new%s%d {\n"
               "  meta l4proto { 6, 17, 132 } update @flows%d { %s timeout 180s }\n"
               "  %s type echo-request update @pings%d { %s %s . %s id timeout 30s }\n"
               "  meta l4proto != { 1, 6, 17, 58, 132 } update @others%d { %s %s . meta l4proto "
               "timeout 180s }\n"
               "  accept\n }\n",
               dir, n, n, key, icmp, n, ip, side, icmp, n, ip, side);
    buf_printf(b, " chain %s%d {\n", dir, n);
    if (v6)
        buf_str(b, "  frag frag-off != 0 accept\n");
    else
        buf_str(b, "  ip frag-off & 0x1fff != 0 accept\n"); /* of no use without the first piece */
    buf_printf(
        b,
        "  meta l4proto 6 %s @flows%d tcp flags & rst != 0 update @flows%d { %s timeout 10s } "
        "accept\n"
        "  meta l4proto 6 %s @flows%d tcp flags & (syn | ack) == ack update @flows%d { %s "
        "timeout 1d } accept\n"
        "  meta l4proto { 17, 132 } %s @flows%d update @flows%d { %s timeout 180s } accept\n"
        "  meta l4proto 6 %s @flows%d accept\n"
        "  %s type echo-reply %s %s . %s id @pings%d accept\n"
        "  meta l4proto != { 1, 6, 17, 58, 132 } %s %s . meta l4proto @others%d accept\n"
        "  %s type { destination-unreachable, time-exceeded, parameter-problem%s } accept\n",
        key, n, n, key, key, n, n, key, key, n, n, key, key, n, icmp, ip, side, icmp, n, ip, side,
        n, icmp,
        v6 ? ", packet-too-big, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert,"
             " 130, 131, 132, 143"
           : "");
    if (in && v6)
        buf_str(b, "  icmpv6 type nd-router-advert accept\n");
    rules_write(b, port, v6, in);
    buf_str(b, "  drop\n }\n");
}

static void table_write(struct buf *b, const json_t *port, const char *name, const char *tap,
                        const char *mac)
{
    buf_printf(b, "table bridge %s {\n", name);
    for (int n = 4; n <= 6; n += 2) {
        const char *ip = n == 4 ? "ip" : "ip6";

        buf_printf(b,
                   " set flows%d { type %s . inet_proto . inet_service . inet_service; size 65535; "
                   "flags dynamic,timeout; timeout 180s; }\n"
                   " set pings%d { typeof %s saddr . %s id; size 4096; flags dynamic,timeout; "
                   "timeout 30s; }\n"
                   " set others%d { type %s . inet_proto; size 4096; flags dynamic,timeout; "
                   "timeout 180s; }\n",
                   n, n == 4 ? "ipv4_addr" : "ipv6_addr", n, ip, n == 4 ? "icmp" : "icmpv6", n,
                   n == 4 ? "ipv4_addr" : "ipv6_addr");
        direction_write(b, port, n == 6, true);
        direction_write(b, port, n == 6, false);
    }
    buf_str(b, " chain fromguest {\n"
               "  udp sport { 67, 547 } udp dport { 68, 546 } drop\n"
               "  icmpv6 type { nd-router-advert, nd-redirect } drop\n");
    spoofing(b, port, mac);
    buf_str(b, "  drop\n }\n chain toguest {\n"
               "  ether type arp accept\n"
               "  udp sport 67 udp dport 68 accept\n"
               "  udp sport 547 udp dport 546 accept\n"
               "  ether type ip goto in4\n  ether type ip6 goto in6\n  drop\n }\n");
    buf_printf(
        b,
        " chain pre {\n  type filter hook prerouting priority -200;\n  iifname \"%s\" goto "
        "fromguest\n }\n"
        " chain towards {\n  type filter hook forward priority 0;\n  oifname \"%s\" goto toguest\n"
        " }\n}\n",
        tap, tap);
}

int port_filter(const json_t *port, bool fresh, char *why, size_t why_size)
{
    const char *tap = json_str(port, "tap", ""), *mac = json_str(port, "mac", "");
    char name[32], hex[NAME_SIZE];
    uint8_t bytes[6];
    struct buf b;
    int rc;

    if (!name_valid(tap) || netlink_mac_parse(mac, bytes) < 0)
        return -EINVAL;
    name_of("p_", json_str(port, "id", ""), hex);
    snprintf(name, sizeof name, "vling_%s", hex);
    buf_init(&b, RULESET_MAX);
    buf_printf(&b, "add table bridge %s\n%s table bridge %s\n", name, fresh ? "delete" : "flush",
               name);
    if (json_bool(port, "secure", true))
        table_write(&b, port, name, tap, mac);
    else
        buf_printf(&b, "delete table bridge %s\n", name);
    if (!json_bool(port, "secure", true)) {
        buf_clear(&b);
        buf_printf(&b, "add table bridge %s\ndelete table bridge %s\n", name, name);
    }
    rc = b.failed ? -E2BIG : nft_apply(-1, buf_text(&b), why, why_size);
    buf_free(&b);
    /* A table of an earlier release may have other sets. */
    return rc < 0 && !fresh ? port_filter(port, true, why, why_size) : rc;
}
