/* Packet filters of guests' ports, in the bridge family: one table a port.
 *
 * This kernel family tracks no connections everywhere, so a port remembers its own in dynamic sets:
 * an allowed packet enters (remote address, protocol, remote port, own port), and packets of both
 * directions that match an entry pass and keep it alive. Each direction has its own sets, so that
 * flows.c can tell which rules must still allow a connection.
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

/* Lets packets of address `text` from `mac` go on to the rules. */
static void own_address(struct buf *b, const char *mac, const char *text)
{
    struct netlink_addr addr;
    char out[80];

    if (netlink_addr_parse(text, &addr) < 0)
        return;
    addr_text(&addr, out, sizeof out);
    if (addr.family == AF_INET6) {
        buf_printf(b, "  ether saddr %s ip6 saddr %s goto out6\n", mac, out);
        return;
    }
    buf_printf(b, "  ether saddr %s arp saddr ether %s arp saddr ip %s accept\n", mac, mac, out);
    /* A lease is renewed from the address itself (RFC 2131 4.3.6), whatever the rules say. */
    buf_printf(b,
               "  ether saddr %s ip saddr %s udp sport 68 udp dport 67 accept\n"
               "  ether saddr %s ip saddr %s goto out4\n",
               mac, out, mac, out);
}

/* Lets neighbour advertisements from `mac` through that speak of address `text`. */
static void own_advert(struct buf *b, const char *mac, const char *text)
{
    struct netlink_addr addr;

    if (netlink_addr_parse(text, &addr) < 0 || addr.family != AF_INET6)
        return;
    buf_printf(b, "  ether saddr %s icmpv6 type nd-neighbor-advert", mac);
    for (int k = 0; k < 2 && addr.prefix > 0; k++) {
        buf_str(b, k == 0 ? " @th,64,128 & 0x" : " == 0x");
        for (int i = 0; i < 16; i++) {
            int bits = addr.prefix - 8 * i;
            uint8_t mask = bits >= 8 ? 0xff : bits <= 0 ? 0 : (uint8_t)(0xff << (8 - bits));

            buf_printf(b, "%02x", k == 0 ? mask : addr.bytes[i] & mask);
        }
    }
    buf_str(b, " accept\n");
}

/* The link-local address that a guest with this MAC gives itself. */
static const char *local_address(const char *mac, char *out, size_t size)
{
    uint8_t m[6];

    if (netlink_mac_parse(mac, m) < 0)
        return NULL;
    snprintf(out, size, "fe80::%x:%xff:fe%02x:%x", (m[0] ^ 2) << 8 | m[1], m[2], m[3],
             m[4] << 8 | m[5]);
    return out;
}

static void own_mac(struct buf *b, const char *mac)
{
    char local[64];

    own_address(b, mac, local_address(mac, local, sizeof local));
    buf_printf(
        b, "  ether saddr %s ip6 saddr :: icmpv6 type { nd-neighbor-solicit, 131, 143 } accept\n",
        mac);
    buf_printf(b,
               "  ether saddr %s ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n"
               "  ether saddr %s arp saddr ether %s arp saddr ip 0.0.0.0 accept\n",
               mac, mac, mac);
}

static void each_own(struct buf *b, const json_t *port, const char *mac,
                     void (*write)(struct buf *b, const char *mac, const char *text))
{
    const json_t *item;
    uint8_t bytes[6];
    size_t i;

    json_array_foreach(json_object_get(port, "ips"), i, item)
        write(b, mac, json_string_value(item));
    json_array_foreach(json_object_get(port, "pairs"), i, item)
    {
        const char *other = json_str(item, "mac_address", mac);

        if (netlink_mac_parse(other, bytes) == 0)
            write(b, other, json_str(item, "ip_address", NULL));
    }
}

/* All that a guest may call its own. Advertisements first: whoever they come from, the address that
 * they speak of counts. */
static void spoofing(struct buf *b, const json_t *port, const char *mac)
{
    const json_t *item;
    char local[64];
    uint8_t bytes[6];
    size_t i;

    own_advert(b, mac, local_address(mac, local, sizeof local));
    json_array_foreach(json_object_get(port, "pairs"), i, item)
        own_advert(b, json_str(item, "mac_address", mac),
                   local_address(json_str(item, "mac_address", mac), local, sizeof local));
    each_own(b, port, mac, own_advert);
    buf_str(b, "  icmpv6 type nd-neighbor-advert drop\n");
    own_mac(b, mac);
    json_array_foreach(json_object_get(port, "pairs"), i, item)
    {
        const char *other = json_str(item, "mac_address", mac);

        if (netlink_mac_parse(other, bytes) == 0 && strcmp(other, mac) != 0)
            own_mac(b, other);
    }
    each_own(b, port, mac, own_address);
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
    } known[] = {{"tcp", 6},         {"udp", 17},       {"icmp", 1},        {"ipv6-icmp", 58},
                 {"icmpv6", 58},     {"ah", 51},        {"dccp", 33},       {"egp", 8},
                 {"esp", 50},        {"gre", 47},       {"igmp", 2},        {"ospf", 89},
                 {"pgm", 113},       {"rsvp", 46},      {"sctp", 132},      {"udplite", 136},
                 {"vrrp", 112},      {"ipip", 4},       {"ipv6-encap", 41}, {"ipv6-frag", 44},
                 {"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"ipv6-route", 43}};
    int value;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0)
            return known[i].number;
    }
    return number(name, &value) ? value : -1;
}

bool rule_read(const json_t *rule, struct rule *ret)
{
    const char *name = json_str(rule, "protocol", NULL);
    int64_t min = json_int(rule, "min", -1), max = json_int(rule, "max", -1);

    ret->in = strcmp(json_str(rule, "direction", ""), "ingress") == 0;
    ret->v6 = strcmp(json_str(rule, "ethertype", ""), "IPv6") == 0;
    ret->protocol = ret->min = ret->max = -1;
    if (!name || strcmp(name, "any") == 0)
        return true;
    ret->protocol = protocol_number(name);
    if (ret->protocol < 0 || min > 65535 || max > 65535)
        return false;
    if (ret->protocol == 1 && ret->v6)
        ret->protocol = 58; /* the API takes "icmp" for both */
    ret->min = min < 0 ? -1 : (int)min;
    ret->max = max < 0 ? -1 : (int)max;
    if (ret->protocol == 1 || ret->protocol == 58 || (min < 0 && max < 0))
        return true;
    ret->min = ret->min < 0 ? 0 : ret->min;
    ret->max = ret->max < 0 ? 65535 : ret->max;
    return ret->min <= ret->max;
}

/* The match of protocol and ports. */
static void match_write(struct buf *b, const struct rule *rule)
{
    const char *family = rule->protocol == 1 ? "icmp" : "icmpv6";

    if (rule->protocol < 0)
        return;
    buf_printf(b, "meta l4proto %d ", rule->protocol);
    if (rule->protocol == 1 || rule->protocol == 58) {
        if (rule->min >= 0 && rule->min < 256)
            buf_printf(b, "%s type %d ", family, rule->min);
        if (rule->max >= 0 && rule->max < 256)
            buf_printf(b, "%s code %d ", family, rule->max);
    } else if (rule->min >= 0) {
        buf_printf(b, "th dport %d-%d ", rule->min, rule->max);
    }
}

/* One rule of the ruleset for each remote (they may overlap, which a set does not take). */
static void rule_write(struct buf *b, const json_t *row, const struct rule *rule)
{
    const json_t *remotes = json_object_get(row, "remotes"), *remote;
    const char *family = rule->v6 ? "ip6" : "ip", *side = rule->in ? "saddr" : "daddr";
    struct netlink_addr addr;
    struct buf match;
    char text[80];
    size_t i;

    buf_init(&match, 256);
    match_write(&match, rule);
    if (!json_is_array(remotes))
        buf_printf(b, "  %sgoto new%s%d\n", buf_text(&match), rule->in ? "in" : "out",
                   rule->v6 ? 6 : 4);
    json_array_foreach(remotes, i, remote)
    {
        if (netlink_addr_parse(json_string_value(remote), &addr) < 0 ||
            (addr.family == AF_INET6) != rule->v6)
            continue;
        buf_printf(b, "  %s %s %s %sgoto new%s%d\n", family, side,
                   addr_text(&addr, text, sizeof text), buf_text(&match), rule->in ? "in" : "out",
                   rule->v6 ? 6 : 4);
    }
    buf_free(&match);
}

static void rules_write(struct buf *b, const json_t *port, bool v6, bool in)
{
    const json_t *row;
    struct rule rule;
    size_t i;

    json_array_foreach(json_object_get(port, "rules"), i, row)
    {
        if (rule_read(row, &rule) && rule.in == in && rule.v6 == v6)
            rule_write(b, row, &rule);
    }
}

/* ---- the table ---- */

/* How packets of a flow look in one direction, as a key of the flow sets. */
static const char *key_of(bool v6, bool in, char *out, size_t size)
{
    snprintf(out, size, "%s %s . meta l4proto . th %s . th %s", v6 ? "ip6" : "ip",
             in ? "saddr" : "daddr", in ? "sport" : "dport", in ? "dport" : "sport");
    return out;
}

/* How a connection becomes known, and how it is kept. A full set must not stop what is allowed:
 * hence `accept` stands alone. */
static void known_write(struct buf *b, bool v6, bool in)
{
    const char *ip = v6 ? "ip6" : "ip", *icmp = v6 ? "icmpv6" : "icmp";
    const char *side = in ? "saddr" : "daddr", *dir = in ? "in" : "out";
    int n = v6 ? 6 : 4;
    char key[96];

    key_of(v6, in, key, sizeof key);
    buf_printf(b,
               " chain new%s%d {\n"
               "  meta l4proto { 6, 17, 132 } update @flows%s%d { %s timeout 180s }\n"
               "  %s type echo-request update @pings%d { %s %s . %s id timeout 30s }\n"
               "  meta l4proto != { 1, 6, 17, 58, 132 } update @others%s%d { %s %s . meta l4proto "
               "timeout 180s }\n"
               "  accept\n }\n",
               dir, n, dir, n, key, icmp, n, ip, side, icmp, dir, n, ip, side);
    for (int i = 0; i < 2; i++) {
        const char *begun = i == 0 ? "in" : "out";

        buf_printf(b,
                   " chain %sflows%s%d {\n"
                   "  tcp flags & rst != 0 update @flows%s%d { %s timeout 10s } accept\n"
                   "  tcp flags & (syn | ack) == ack update @flows%s%d { %s timeout 1d } accept\n"
                   "  meta l4proto { 17, 132 } update @flows%s%d { %s timeout 180s } accept\n"
                   "  accept\n }\n",
                   dir, begun, n, begun, n, key, begun, n, key, begun, n, key);
    }
}

/* The chain of one family and direction: known connections, then the rules. */
static void direction_write(struct buf *b, const json_t *port, bool v6, bool in)
{
    const char *ip = v6 ? "ip6" : "ip", *icmp = v6 ? "icmpv6" : "icmp";
    const char *side = in ? "saddr" : "daddr", *dir = in ? "in" : "out";
    int n = v6 ? 6 : 4;
    char key[96];

    key_of(v6, in, key, sizeof key);
    known_write(b, v6, in);
    buf_printf(b, " chain %s%d {\n", dir, n);
    if (v6)
        buf_str(b, "  frag frag-off != 0 accept\n");
    else
        buf_str(b, "  ip frag-off & 0x1fff != 0 accept\n"); /* of no use without the first piece */
    for (int i = 0; i < 2; i++) {
        const char *begun = i == 0 ? "in" : "out";

        buf_printf(b,
                   "  meta l4proto { 6, 17, 132 } %s @flows%s%d goto %sflows%s%d\n"
                   "  meta l4proto != { 1, 6, 17, 58, 132 } %s %s . meta l4proto @others%s%d "
                   "accept\n",
                   key, begun, n, dir, begun, n, ip, side, begun, n);
    }
    /* A connection that was cut must not begin anew out of its middle through the rules of the
     * other direction. */
    buf_printf(b,
               "  tcp flags & syn == 0 %s @cut%d update @cut%d { %s timeout 1h } drop\n"
               "  %s type echo-reply %s %s . %s id @pings%d accept\n"
               "  %s type { destination-unreachable, time-exceeded, parameter-problem%s } accept\n",
               key, n, n, key, icmp, ip, side, icmp, n, icmp,
               v6 ? ", packet-too-big, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert,"
                    " 130, 131, 132, 143"
                  : "");
    if (in && v6)
        buf_str(b, "  icmpv6 type nd-router-advert accept\n");
    rules_write(b, port, v6, in);
    buf_str(b, "  drop\n }\n");
}

static void sets_write(struct buf *b, bool v6)
{
    static const char *const flows[] = {"flowsin", "flowsout", "cut"};
    static const char *const others[] = {"othersin", "othersout"};
    const char *addr = v6 ? "ipv6_addr" : "ipv4_addr";
    int n = v6 ? 6 : 4;

    for (int i = 0; i < 3; i++)
        buf_printf(b,
                   " set %s%d { type %s . inet_proto . inet_service . inet_service; size 65535; "
                   "flags dynamic,timeout; timeout 180s; }\n",
                   flows[i], n, addr);
    for (int i = 0; i < 2; i++)
        buf_printf(b,
                   " set %s%d { type %s . inet_proto; size 4096; flags dynamic,timeout; "
                   "timeout 180s; }\n",
                   others[i], n, addr);
    buf_printf(b,
               " set pings%d { typeof %s saddr . %s id; size 4096; flags dynamic,timeout; "
               "timeout 30s; }\n",
               n, v6 ? "ip6" : "ip", v6 ? "icmpv6" : "icmp");
}

static void table_write(struct buf *b, const json_t *port, const char *name, const char *tap,
                        const char *mac)
{
    buf_printf(b, "table bridge %s {\n", name);
    for (int v6 = 0; v6 < 2; v6++) {
        sets_write(b, v6);
        direction_write(b, port, v6, true);
        direction_write(b, port, v6, false);
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

/* A port that is to carry nothing keeps its tap, which the guest holds open. */
static void down_write(struct buf *b, const char *name, const char *tap)
{
    buf_printf(b,
               "table bridge %s {\n"
               " chain pre {\n  type filter hook prerouting priority -200;\n"
               "  iifname \"%s\" drop\n }\n"
               " chain towards {\n  type filter hook forward priority 0;\n"
               "  oifname \"%s\" drop\n }\n}\n",
               name, tap, tap);
}

static int table_apply(const json_t *port, const char *table, bool fresh, char *why,
                       size_t why_size)
{
    const char *tap = json_str(port, "tap", ""), *mac = json_str(port, "mac", "");
    struct buf b;
    int rc;

    buf_init(&b, RULESET_MAX);
    buf_printf(&b, "add table bridge %s\n%s table bridge %s\n", table, fresh ? "delete" : "flush",
               table);
    if (json_bool(port, "up", true))
        table_write(&b, port, table, tap, mac);
    else
        down_write(&b, table, tap);
    rc = b.failed ? -E2BIG : nft_apply(-1, buf_text(&b), why, why_size);
    buf_free(&b);
    return rc;
}

int port_filter(const json_t *port, const json_t *old, char *why, size_t why_size)
{
    char table[32], hex[NAME_SIZE], text[128];
    uint8_t bytes[6];
    int rc;

    if (!name_valid(json_str(port, "tap", "")) ||
        netlink_mac_parse(json_str(port, "mac", ""), bytes) < 0)
        return -EINVAL;
    name_of("p_", json_str(port, "id", ""), hex);
    snprintf(table, sizeof table, "vling_%s", hex);
    if (!json_bool(port, "up", true))
        return table_apply(port, table, true, why, why_size);
    if (!json_bool(port, "secure", true)) {
        snprintf(text, sizeof text, "add table bridge %s\ndelete table bridge %s\n", table, table);
        return nft_apply(-1, text, why, why_size);
    }
    rc = table_apply(port, table, false, why, why_size);
    if (rc == 0 && !flows_only_grew(old, port))
        rc = flows_cut(port, table);
    /* A table of an earlier release may have other sets; and rather no connections than those that
     * nothing allows. */
    return rc < 0 ? table_apply(port, table, true, why, why_size) : rc;
}
