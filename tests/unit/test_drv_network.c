/* The Linux network driver in a network namespace of this process's own, with guests that are
 * namespaces at the other ends of veths in the place of taps. `a` is the guest under test; it and
 * `b` have no stack that would answer, so that the test says every frame itself. `c` and `d` are
 * hosts with addresses, `w` is the world outside. Nothing is left behind: all of it, also the
 * mounts, ends with the process. */
#include "base/json.h"
#include "drv/driver.h"
#include "drv/network/linux.h"
#include "io/netlink.h"
#include "io/netns.h"
#include "io/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NETWORK "0123456789ab"
#define BRIDGE "br" NETWORK
#define PORT_A "aaaaaaaaaaaa"
#define PORT_B "bbbbbbbbbbbb"
#define MAC_A "fa:16:3e:00:00:0a"
#define MAC_B "fa:16:3e:00:00:0b"
#define TABLE_A "vling_p_" PORT_A
#define PATIENCE_MS 5000

#define ANY "{'direction':'egress','ethertype':'IPv4'},{'direction':'egress','ethertype':'IPv6'}"
#define TCP_FROM(remotes)                                                                          \
    "{'direction':'ingress','ethertype':'IPv4','protocol':'tcp','min':22,'max':22,"                \
    "'remotes':[" remotes "]}"

struct guest {
    int ns, fd; /* namespace, packet socket on e0 */
};

/* What is to be in the plan. */
struct wish {
    const char *rules, *pairs, *routers, *more_ports, *ext;
};

static struct {
    bool usable;
    uv_loop_t loop;
    struct network_driver *driver;
    struct netlink *nl;
    struct guest a, b, c, d, w;
    unsigned markers;
} env;

/* ---- the plan ---- */

static json_t *quoted(const char *text)
{
    char *copy = strdup(text);
    json_t *json;

    for (char *at = copy; *at; at++)
        *at = *at == '\'' ? '"' : *at;
    json = json_parse(copy, strlen(copy), NULL, 0);
    free(copy);
    assert_non_null(json);
    return json;
}

static json_t *plan_of(const struct wish *wish)
{
    static char text[16384];

    snprintf(text, sizeof text,
             "{'tenant_ip':'127.0.0.1','ext_dev':%s,'networks':[{'id':'" NETWORK "','vni':77,"
             "'mtu':1450,'remotes':[],'ports':["
             "{'id':'" PORT_A "','tap':'vt" PORT_A "','mac':'" MAC_A "','ips':['10.0.0.5',"
             "'fd00::5'],'pairs':[%s],'rules':[%s]},"
             "{'id':'" PORT_B "','tap':'vt" PORT_B "','mac':'" MAC_B "','ips':[],'secure':false}"
             "%s%s]}],'routers':[%s]}",
             wish->ext ? wish->ext : "null", wish->pairs ? wish->pairs : "",
             wish->rules ? wish->rules : "", wish->more_ports ? "," : "",
             wish->more_ports ? wish->more_ports : "", wish->routers ? wish->routers : "");
    return quoted(text);
}

static int apply(const struct wish *wish)
{
    json_t *plan = plan_of(wish);
    struct err err;
    int rc = network_linux.apply(env.driver, plan, &err);

    json_decref(plan);
    return rc;
}

static void apply_rules(const char *rules)
{
    assert_int_equal(apply(&(struct wish){.rules = rules}), 0);
}

static void open_driver(void)
{
    json_t *config = json_pack("{s:s}", "run_dir", "/mnt/run");
    struct err err;

    env.driver = network_linux.open(&env.loop, config, NULL, NULL, &err);
    json_decref(config);
    assert_non_null(env.driver);
}

static void close_driver(void)
{
    network_linux.close(env.driver);
    uv_run(&env.loop, UV_RUN_NOWAIT);
}

/* As when the daemon starts anew: it knows nothing of what was there. */
static void reopen_driver(void)
{
    close_driver();
    open_driver();
}

/* ---- guests ---- */

static int packet_socket(void *arg)
{
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

    here.sll_ifindex = (int)if_nametoindex("e0");
    return fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0 ? fd : -errno;
}

/* A guest behind `dev`, with an address if `ip` is given. */
static void make_guest(struct guest *guest, const char *dev, const char *mac, const char *ip)
{
    struct netlink_link link;
    struct netlink_addr addr;
    struct netlink *nl;
    uint8_t bytes[6];
    char path[64];

    snprintf(path, sizeof path, "/mnt/ns-%s", dev);
    assert_int_equal(netns_ensure(path), 0);
    guest->ns = netns_open(path);
    assert_true(guest->ns >= 0);
    netns_sysctl(guest->ns, "ipv6/conf/default/disable_ipv6", "1");
    assert_int_equal(netlink_veth_add(env.nl, dev, "test", "e0", guest->ns), 0);
    assert_int_equal(netlink_link_get(env.nl, dev, &link), 0);
    assert_string_equal(link.alias, "test");
    assert_int_equal(netlink_set_up(env.nl, link.index, true), 0);
    assert_int_equal(netlink_open(guest->ns, &nl), 0);
    assert_int_equal(netlink_link_get(nl, "e0", &link), 0);
    assert_int_equal(netlink_mac_parse(mac, bytes), 0);
    assert_int_equal(netlink_set_mac(nl, link.index, bytes), 0);
    assert_int_equal(netlink_set_up(nl, link.index, true), 0);
    if (ip) {
        assert_int_equal(netlink_addr_parse(ip, &addr), 0);
        assert_int_equal(netlink_addr_add(nl, link.index, &addr), 0);
    }
    netlink_close(nl);
    guest->fd = netns_run(guest->ns, packet_socket, NULL);
    assert_true(guest->fd >= 0);
}

static void end_guest(struct guest *guest, const char *dev)
{
    struct netlink_link link;
    char path[64];

    close(guest->fd);
    close(guest->ns);
    if (netlink_link_get(env.nl, dev, &link) == 0)
        netlink_link_delete(env.nl, link.index);
    snprintf(path, sizeof path, "/mnt/ns-%s", dev);
    assert_int_equal(netns_remove(path), 0);
}

/* ---- frames ---- */

struct frame {
    uint8_t bytes[256];
    size_t size;
};

static void put(struct frame *f, const void *bytes, size_t size)
{
    assert_true(f->size + size <= sizeof f->bytes);
    memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
}

static void put16(struct frame *f, unsigned value)
{
    put(f, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static void put_mac(struct frame *f, const char *mac)
{
    uint8_t bytes[6];

    assert_int_equal(netlink_mac_parse(mac, bytes), 0);
    put(f, bytes, 6);
}

static void put_ip(struct frame *f, const char *ip)
{
    struct netlink_addr addr;

    assert_int_equal(netlink_addr_parse(ip, &addr), 0);
    put(f, addr.bytes, addr.family == AF_INET ? 4 : 16);
}

static struct frame arp(const char *from, const char *mac, const char *ip, const char *target)
{
    struct frame f = {.size = 0};

    put_mac(&f, "ff:ff:ff:ff:ff:ff");
    put_mac(&f, from);
    put(&f, "\x08\x06\0\x01\x08\0\x06\x04\0\x01", 10);
    put_mac(&f, mac);
    put_ip(&f, ip);
    put_mac(&f, "00:00:00:00:00:00");
    put_ip(&f, target);
    return f;
}

/* An IP packet with `payload`. */
static struct frame packet(const char *src_mac, const char *dst_mac, const char *src,
                           const char *dst, int protocol, const void *payload, size_t size)
{
    struct frame f = {.size = 0};

    put_mac(&f, dst_mac);
    put_mac(&f, src_mac);
    if (strchr(src, ':')) {
        put(&f, "\x86\xdd\x60\0\0\0", 6);
        put16(&f, (unsigned)size);
        put(&f, (uint8_t[]){(uint8_t)protocol, 255}, 2);
    } else {
        put(&f, "\x08\0\x45\0", 4);
        put16(&f, 20 + (unsigned)size);
        put(&f, (uint8_t[]){0, 0, 0, 0, 64, (uint8_t)protocol, 0, 0}, 8);
    }
    put_ip(&f, src);
    put_ip(&f, dst);
    put(&f, payload, size);
    return f;
}

static struct frame udp(bool from_a, const char *src, const char *dst, unsigned sport,
                        unsigned dport)
{
    uint8_t data[8] = {
        (uint8_t)(sport >> 8), (uint8_t)sport, (uint8_t)(dport >> 8), (uint8_t)dport, 0, 8};

    return packet(from_a ? MAC_A : MAC_B, from_a ? MAC_B : MAC_A, src, dst, IPPROTO_UDP, data, 8);
}

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static struct frame tcp(bool from_a, const char *src, const char *dst, unsigned sport,
                        unsigned dport, int flags)
{
    uint8_t data[20] = {(uint8_t)(sport >> 8), (uint8_t)sport, (uint8_t)(dport >> 8),
                        (uint8_t)dport,        [12] = 0x50,    [13] = (uint8_t)flags};

    return packet(from_a ? MAC_A : MAC_B, from_a ? MAC_B : MAC_A, src, dst, IPPROTO_TCP, data, 20);
}

static struct frame icmp(bool from_a, const char *src, const char *dst, int type, int code)
{
    uint8_t data[8] = {(uint8_t)type, (uint8_t)code, 0, 0, 0x12, 0x34};

    return packet(from_a ? MAC_A : MAC_B, from_a ? MAC_B : MAC_A, src, dst,
                  strchr(src, ':') ? IPPROTO_ICMPV6 : IPPROTO_ICMP, data, 8);
}

static struct frame advert(const char *src, const char *target)
{
    uint8_t data[24] = {136, 0, 0, 0, 0x20};
    struct netlink_addr addr;

    assert_int_equal(netlink_addr_parse(target, &addr), 0);
    memcpy(data + 8, addr.bytes, 16);
    return packet(MAC_A, MAC_B, src, "ff02::1", IPPROTO_ICMPV6, data, sizeof data);
}

/* The next frame that came in, none after PATIENCE_MS. */
static struct frame receive(int fd)
{
    struct sockaddr_ll from;
    struct frame f = {.size = 0};
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    while (poll(&ready, 1, PATIENCE_MS) == 1) {
        socklen_t size = sizeof from;
        ssize_t got = recvfrom(fd, f.bytes, sizeof f.bytes, 0, (struct sockaddr *)&from, &size);

        if (got > 0 && from.sll_pkttype != PACKET_OUTGOING) {
            f.size = (size_t)got;
            break;
        }
    }
    return f;
}

/* Does `f` arrive? After it goes a request that always does, so that nothing has to be waited for.
 */
static bool passes(struct guest *from, struct guest *to, struct frame f)
{
    char target[32];
    struct frame marker, got;
    bool seen = false;

    snprintf(target, sizeof target, "10.200.%u.%u", env.markers / 256, env.markers % 256);
    env.markers++;
    marker = from == &env.a ? arp(MAC_A, MAC_A, "10.0.0.5", target)
                            : arp(MAC_B, MAC_B, "10.0.0.6", target);
    assert_int_equal(send(from->fd, f.bytes, f.size, 0), f.size);
    assert_int_equal(send(from->fd, marker.bytes, marker.size, 0), marker.size);
    for (;;) {
        got = receive(to->fd);
        assert_true(got.size > 0);
        if (got.size == marker.size && memcmp(got.bytes, marker.bytes, marker.size) == 0)
            return seen;
        seen |= got.size == f.size && memcmp(got.bytes, f.bytes, f.size) == 0;
    }
}

static bool out(struct frame f)
{
    return passes(&env.a, &env.b, f);
}

static bool in(struct frame f)
{
    return passes(&env.b, &env.a, f);
}

/* ---- life ---- */

static int setup_all(void **state)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("test", "/mnt", "tmpfs", 0, NULL) < 0 || netns_dir("/mnt/ns") < 0)
        return 0;
    env.usable = true;
    sched_setaffinity(0, sizeof one, &one); /* frames stay in their order */
    uv_loop_init(&env.loop);
    assert_int_equal(netlink_open(-1, &env.nl), 0);
    make_guest(&env.a, "vt" PORT_A, MAC_A, NULL);
    make_guest(&env.b, "vt" PORT_B, MAC_B, NULL);
    return 0;
}

static int teardown_all(void **state)
{
    if (!env.usable)
        return 0;
    end_guest(&env.a, "vt" PORT_A);
    end_guest(&env.b, "vt" PORT_B);
    netlink_close(env.nl);
    return uv_loop_close(&env.loop);
}

static int setup(void **state)
{
    if (env.usable)
        open_driver();
    return 0;
}

/* The tables go, the guests' links stay. */
static int teardown(void **state)
{
    if (!env.usable)
        return 0;
    close_driver();
    return nft_apply(-1, "flush ruleset", NULL, 0);
}

static void need_root(void)
{
    if (!env.usable)
        skip();
}

/* ---- what a guest may call its own ---- */

static void a_guest_is_only_itself(void **state)
{
    need_root();
    apply_rules(ANY);
    assert_true(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
    assert_false(out(udp(true, "10.0.0.9", "10.0.0.6", 1000, 2000)));
    assert_false(out(udp(false, "10.0.0.5", "10.0.0.6", 1000, 2000))); /* the MAC is another's */
    assert_true(out(arp(MAC_A, MAC_A, "10.0.0.5", "10.0.0.6")));
    assert_false(out(arp(MAC_A, MAC_A, "10.0.0.9", "10.0.0.6")));
    assert_false(out(arp(MAC_A, MAC_B, "10.0.0.5", "10.0.0.6")));
    assert_false(out(arp(MAC_B, MAC_A, "10.0.0.5", "10.0.0.6")));
    assert_true(out(arp(MAC_A, MAC_A, "0.0.0.0", "10.0.0.5"))); /* a probe (RFC 5227) */
    /* No DHCP server, no router. */
    assert_false(out(udp(true, "10.0.0.5", "10.0.0.6", 67, 68)));
    assert_false(out(udp(true, "fd00::5", "fd00::6", 547, 546)));
    assert_false(out(icmp(true, "fd00::5", "ff02::1", 134, 0)));
    assert_false(out(icmp(true, "fd00::5", "fd00::6", 137, 0)));
}

static void a_guest_speaks_ipv6(void **state)
{
    need_root();
    apply_rules(ANY);
    assert_true(out(udp(true, "fd00::5", "fd00::6", 1000, 2000)));
    assert_true(in(udp(false, "fd00::6", "fd00::5", 2000, 1000)));
    assert_true(out(tcp(true, "fd00::5", "fd00::6", 1000, 2000, SYN)));
    assert_true(out(tcp(true, "fe80::f816:3eff:fe00:a", "fe80::1", 1000, 2000, SYN)));
    assert_true(out(icmp(true, "fd00::5", "fd00::6", 128, 0)));
    assert_true(in(icmp(false, "fd00::6", "fd00::5", 129, 0)));
    assert_false(out(udp(true, "fd00::9", "fd00::6", 1000, 2000)));
    assert_false(out(tcp(true, "fe80::9", "fe80::1", 1000, 2000, SYN)));
    assert_true(out(advert("fd00::5", "fd00::5")));
    assert_true(out(advert("fd00::5", "fe80::f816:3eff:fe00:a")));
    assert_false(out(advert("fd00::5", "fd00::6")));
}

static void pairs_widen_what_is_its_own(void **state)
{
    struct wish wish = {.rules = ANY,
                        .pairs = "{'ip_address':'10.0.7.0/24'},{'ip_address':'fd00:7::/44'},"
                                 "{'ip_address':'10.0.0.9','mac_address':'fa:16:3e:00:00:99'}"};
    struct frame other;

    need_root();
    assert_int_equal(apply(&wish), 0);
    assert_true(out(udp(true, "10.0.7.200", "10.0.0.6", 1000, 2000)));
    assert_false(out(udp(true, "10.0.8.1", "10.0.0.6", 1000, 2000)));
    assert_true(out(udp(true, "fd00:7::9", "fd00::6", 1000, 2000)));
    assert_true(out(advert("fd00:7::9", "fd00:7::9")));
    assert_true(out(advert("fd00:7::9", "fd00:7:f:ffff::9")));
    assert_false(out(advert("fd00:7::9", "fd00:7:10::9")));
    other = packet("fa:16:3e:00:00:99", MAC_B, "10.0.0.9", "10.0.0.6", 253, "", 0);
    assert_true(out(other));
    other = packet("fa:16:3e:00:00:99", MAC_B, "10.0.0.5", "10.0.0.6", 253, "", 0);
    assert_false(out(other));
    other = packet(MAC_A, MAC_B, "10.0.0.9", "10.0.0.6", 253, "", 0);
    assert_false(out(other));
}

static void all_addresses_may_be_its_own(void **state)
{
    need_root();
    assert_int_equal(apply(&(struct wish){.rules = ANY,
                                          .pairs = "{'ip_address':'0.0.0.0/0'},"
                                                   "{'ip_address':'::/0'}"}),
                     0);
    assert_true(out(udp(true, "10.77.0.1", "10.0.0.6", 1000, 2000)));
    assert_true(out(udp(true, "fd77::1", "fd00::6", 1000, 2000)));
    assert_true(out(advert("fd77::1", "fd77::1")));
    assert_true(out(arp(MAC_A, MAC_A, "10.77.0.1", "10.0.0.6")));
    assert_false(out(udp(true, "10.77.0.1", "10.0.0.6", 67, 68)));
}

static bool is_silent(struct guest *from, struct guest *to, struct frame f)
{
    struct pollfd ready = {.fd = to->fd, .events = POLLIN};
    uint8_t bytes[256];

    while (recv(to->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(send(from->fd, f.bytes, f.size, 0), f.size);
    return poll(&ready, 1, 50) == 0;
}

static void what_is_down_carries_nothing(void **state)
{
    struct err err;

    need_root();
    for (int secure = 0; secure < 2; secure++) {
        json_t *plan = plan_of(&(struct wish){.rules = ANY}), *port;

        assert_int_equal(network_linux.apply(env.driver, plan, &err), 0);
        assert_true(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
        json_decref(plan);
        plan = plan_of(&(struct wish){.rules = ANY});
        port = json_array_get(
            json_object_get(json_array_get(json_object_get(plan, "networks"), 0), "ports"), 0);
        json_put_bool(port, "up", false);
        json_put_bool(port, "secure", secure);
        assert_int_equal(network_linux.apply(env.driver, plan, &err), 0);
        json_decref(plan);
        assert_true(is_silent(&env.a, &env.b, udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
        assert_true(is_silent(&env.a, &env.b, arp(MAC_A, MAC_A, "10.0.0.5", "10.0.0.6")));
        assert_true(is_silent(&env.b, &env.a, arp(MAC_B, MAC_B, "10.0.0.6", "10.0.0.5")));
    }
    apply_rules(ANY);
    assert_true(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
}

/* ---- rules ---- */

static void without_rules_only_dhcp_and_arp_go_out(void **state)
{
    need_root();
    apply_rules("");
    assert_false(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
    assert_false(out(tcp(true, "10.0.0.5", "10.0.0.6", 1000, 2000, SYN)));
    assert_false(out(icmp(true, "10.0.0.5", "10.0.0.6", 8, 0)));
    assert_false(in(udp(false, "10.0.0.6", "10.0.0.5", 1000, 2000)));
    assert_true(out(udp(true, "0.0.0.0", "255.255.255.255", 68, 67)));
    assert_true(out(udp(true, "10.0.0.5", "10.0.0.2", 68, 67))); /* a lease is renewed */
    assert_true(in(udp(false, "10.0.0.2", "10.0.0.5", 67, 68)));
    assert_false(out(udp(true, "10.0.0.9", "10.0.0.2", 68, 67)));
    assert_false(out(udp(true, "10.0.0.5", "10.0.0.2", 67, 67)));
    assert_true(out(arp(MAC_A, MAC_A, "10.0.0.5", "10.0.0.6")));
}

static void icmp_by_type_and_code(void **state)
{
    need_root();
    apply_rules("{'direction':'egress','ethertype':'IPv4','protocol':'icmp','min':8},"
                "{'direction':'ingress','ethertype':'IPv4','protocol':'icmp','min':13,'max':0}");
    assert_false(in(icmp(false, "10.0.0.6", "10.0.0.5", 0, 0)));
    assert_true(out(icmp(true, "10.0.0.5", "10.0.0.6", 8, 0)));
    assert_true(in(icmp(false, "10.0.0.6", "10.0.0.5", 0, 0))); /* the answer */
    assert_false(out(icmp(true, "10.0.0.5", "10.0.0.6", 13, 0)));
    assert_false(in(icmp(false, "10.0.0.6", "10.0.0.5", 8, 0)));
    assert_true(in(icmp(false, "10.0.0.6", "10.0.0.5", 13, 0)));
    assert_false(in(icmp(false, "10.0.0.6", "10.0.0.5", 13, 1)));
    assert_false(in(icmp(false, "10.0.0.6", "10.0.0.5", 5, 0)));
    assert_true(in(icmp(false, "10.0.0.6", "10.0.0.5", 3, 4))); /* path MTU discovery */
    assert_false(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
}

static void port_ranges_have_edges(void **state)
{
    static const struct {
        unsigned port;
        bool open;
    } tried[] = {{1, false},  {99, false},  {100, true},    {150, true},
                 {200, true}, {201, false}, {65534, false}, {65535, true}};

    need_root();
    apply_rules(
        "{'direction':'ingress','ethertype':'IPv4','protocol':'tcp','min':100,'max':200},"
        "{'direction':'ingress','ethertype':'IPv4','protocol':'6','min':65535,'max':65535}");
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        assert_true(in(tcp(false, "10.0.0.6", "10.0.0.5", 1000, tried[i].port, SYN)) ==
                    tried[i].open);
        assert_false(in(udp(false, "10.0.0.6", "10.0.0.5", 1000, tried[i].port)));
    }
}

/* ---- connections ---- */

/* Port 22 of the guest talks with `remote`. */
static void connect_from(const char *remote)
{
    assert_true(in(tcp(false, remote, "10.0.0.5", 40000, 22, SYN)));
    assert_true(out(tcp(true, "10.0.0.5", remote, 22, 40000, SYN | ACK)));
    assert_true(in(tcp(false, remote, "10.0.0.5", 40000, 22, ACK)));
}

static bool goes_on(const char *remote)
{
    bool there = out(tcp(true, "10.0.0.5", remote, 22, 40000, ACK));

    return in(tcp(false, remote, "10.0.0.5", 40000, 22, ACK)) && there;
}

static void a_new_member_leaves_connections_alone(void **state)
{
    need_root();
    apply_rules(TCP_FROM("'10.0.0.6/32'"));
    assert_false(out(tcp(true, "10.0.0.5", "10.0.0.6", 22, 40000, ACK)));
    connect_from("10.0.0.6");
    apply_rules(TCP_FROM("'10.0.0.6/32','10.0.0.7/32'"));
    assert_true(goes_on("10.0.0.6"));
    connect_from("10.0.0.7");
    apply_rules(TCP_FROM("'10.0.0.6/32','10.0.0.7/32','0.0.0.0/0'"));
    assert_true(goes_on("10.0.0.6"));
    /* Also when nothing is known of what was before. */
    reopen_driver();
    apply_rules(TCP_FROM("'10.0.0.6/32','10.0.0.7/32'"));
    assert_true(goes_on("10.0.0.6"));
    assert_true(goes_on("10.0.0.7"));
}

static void a_member_that_leaves_is_cut(void **state)
{
    need_root();
    apply_rules(TCP_FROM("'10.0.0.6/32','10.0.0.7/32'"));
    connect_from("10.0.0.6");
    connect_from("10.0.0.7");
    apply_rules(TCP_FROM("'10.0.0.7/32'"));
    assert_false(out(tcp(true, "10.0.0.5", "10.0.0.6", 22, 40000, ACK)));
    assert_false(in(tcp(false, "10.0.0.6", "10.0.0.5", 40000, 22, ACK)));
    assert_true(goes_on("10.0.0.7"));
    /* The rule goes while no daemon runs. */
    reopen_driver();
    apply_rules("");
    assert_false(out(tcp(true, "10.0.0.5", "10.0.0.7", 22, 40000, ACK)));
    assert_false(in(tcp(false, "10.0.0.7", "10.0.0.5", 40000, 22, ACK)));
}

/* What the guest says on a connection that was cut must not open it again, though the guest may
 * speak to anybody. */
static void a_cut_connection_stays_cut(void **state)
{
    need_root();
    apply_rules(ANY "," TCP_FROM("'10.0.0.6/32'"));
    connect_from("10.0.0.6");
    assert_true(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 53)));
    assert_true(out(tcp(true, "10.0.0.5", "10.0.0.6", 1001, 80, SYN)));
    apply_rules(ANY);
    assert_false(goes_on("10.0.0.6"));
    assert_false(goes_on("10.0.0.6"));
    /* What began inside is allowed still. */
    assert_true(in(udp(false, "10.0.0.6", "10.0.0.5", 53, 1000)));
    assert_true(in(tcp(false, "10.0.0.6", "10.0.0.5", 80, 1001, SYN | ACK)));
    /* A new connection of the same ports begins with a SYN. */
    apply_rules(ANY "," TCP_FROM("'10.0.0.6/32'"));
    connect_from("10.0.0.6");
    assert_true(goes_on("10.0.0.6"));
}

static void other_protocols_and_ipv6_are_cut_too(void **state)
{
    static const uint8_t esp[8] = {1};
    struct frame f = packet(MAC_B, MAC_A, "10.0.0.6", "10.0.0.5", 50, esp, 8);
    struct frame back = packet(MAC_A, MAC_B, "10.0.0.5", "10.0.0.6", 50, esp, 8);

    need_root();
    apply_rules("{'direction':'ingress','ethertype':'IPv4','protocol':'50'},"
                "{'direction':'ingress','ethertype':'IPv6','protocol':'udp','min':9,'max':9,"
                "'remotes':['fd00::/64']}");
    assert_true(in(f));
    assert_true(out(back));
    assert_true(in(udp(false, "fd00::6", "fd00::5", 1000, 9)));
    assert_true(out(udp(true, "fd00::5", "fd00::6", 9, 1000)));
    apply_rules("{'direction':'ingress','ethertype':'IPv4','protocol':'50',"
                "'remotes':['10.0.0.7/32']},"
                "{'direction':'ingress','ethertype':'IPv6','protocol':'udp','min':8,'max':9,"
                "'remotes':['fd00::6/127']}");
    assert_false(in(f));
    assert_false(out(back));
    assert_true(out(udp(true, "fd00::5", "fd00::6", 9, 1000)));
    apply_rules("{'direction':'ingress','ethertype':'IPv6','protocol':'udp','min':8,'max':8}");
    assert_false(out(udp(true, "fd00::5", "fd00::6", 9, 1000)));
}

/* ---- routers ---- */

#define ROUTER(floating, routes)                                                                   \
    "{'id':'cccccccccccc','interfaces':[{'port_id':'dddddddddddd','network_id':'" NETWORK          \
    "','mac':'fa:16:3e:00:00:01','ips':['10.0.0.1/24']}],'gateway':{'port_id':'eeeeeeeeeeee',"     \
    "'mac':'fa:16:3e:00:00:02','ips':['172.24.4.10/24'],'next_hop':'172.24.4.1','snat':true},"     \
    "'floating':[" floating "],'routes':[" routes "]}"
#define FLOATING(fixed) "{'ip':'172.24.4.20','fixed':'" fixed "'}"
#define PORT_C                                                                                     \
    "{'id':'c0c0c0c0c0c0','tap':'vtc0c0c0c0c0c0','mac':'fa:16:3e:00:00:0c','ips':[],"              \
    "'secure':false}"
#define PORT_D                                                                                     \
    "{'id':'d0d0d0d0d0d0','tap':'vtd0d0d0d0d0d0','mac':'fa:16:3e:00:00:0d','ips':[],"              \
    "'secure':false}"

static int apply_router(const char *router)
{
    int rc = apply(&(struct wish){
        .ext = "'ext0'", .routers = router, .more_ports = PORT_C "," PORT_D, .rules = ANY});

    uv_run(&env.loop, UV_RUN_NOWAIT);
    return rc;
}

static int setup_hosts(void **state)
{
    struct netlink_route route = {.to = {.family = AF_INET}, .via = {10, 0, 0, 1}};
    struct netlink *nl;

    if (!env.usable)
        return 0;
    make_guest(&env.c, "vtc0c0c0c0c0c0", "fa:16:3e:00:00:0c", "10.0.0.7/24");
    make_guest(&env.d, "vtd0d0d0d0d0d0", "fa:16:3e:00:00:0d", "10.0.0.8/24");
    make_guest(&env.w, "ext0", "fa:16:3e:00:00:f0", "172.24.4.1/24");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(netlink_open(i ? env.c.ns : env.d.ns, &nl), 0);
        assert_int_equal(netlink_route_add(nl, &route), 0);
        netlink_close(nl);
    }
    return setup(state);
}

static int teardown_hosts(void **state)
{
    if (!env.usable)
        return 0;
    end_guest(&env.c, "vtc0c0c0c0c0c0");
    end_guest(&env.d, "vtd0d0d0d0d0d0");
    end_guest(&env.w, "ext0");
    return teardown(state);
}

static int udp_socket(void *arg)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(*(uint16_t *)arg)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return bind(fd, (struct sockaddr *)&here, sizeof here) == 0 ? fd : -errno;
}

static int udp_open(const struct guest *guest, uint16_t port)
{
    int fd = netns_run(guest->ns, udp_socket, &port);

    assert_true(fd >= 0);
    return fd;
}

/* Sends to `ip`, port 9; true if it comes to `to` in that time. `ret` says from where. */
static bool reaches(int from, const char *ip, int to, int patience_ms, struct sockaddr_in *ret)
{
    struct pollfd ready = {.fd = to, .events = POLLIN};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(9)};
    socklen_t size = sizeof *ret;
    char byte;

    inet_pton(AF_INET, ip, &there.sin_addr);
    assert_int_equal(sendto(from, "x", 1, 0, (struct sockaddr *)&there, sizeof there), 1);
    return poll(&ready, 1, patience_ms) == 1 &&
           recvfrom(to, &byte, 1, 0, (struct sockaddr *)ret, &size) == 1;
}

static void a_floating_address_moves_with_its_connections(void **state)
{
    struct sockaddr_in from;
    char text[32];
    int c, d, w, client, inner;

    need_root();
    assert_int_equal(apply_router(ROUTER("", "")), 0);
    c = udp_open(&env.c, 9);
    d = udp_open(&env.d, 9);
    w = udp_open(&env.w, 9);
    client = udp_open(&env.w, 1000);
    inner = udp_open(&env.c, 1000);
    /* Without a floating address: outwards only, through the gateway's. */
    assert_true(reaches(inner, "172.24.4.1", w, PATIENCE_MS, &from));
    assert_string_equal(inet_ntop(AF_INET, &from.sin_addr, text, sizeof text), "172.24.4.10");
    assert_int_equal(apply_router(ROUTER(FLOATING("10.0.0.7"), "")), 0);
    assert_true(reaches(client, "172.24.4.20", c, PATIENCE_MS, &from));
    close(inner);
    inner = udp_open(&env.c, 1001);
    assert_true(reaches(inner, "172.24.4.1", w, PATIENCE_MS, &from));
    assert_string_equal(inet_ntop(AF_INET, &from.sin_addr, text, sizeof text), "172.24.4.20");
    /* It moves: the same client, by the same port, gets to the other host at once. */
    assert_int_equal(apply_router(ROUTER(FLOATING("10.0.0.8"), "")), 0);
    assert_true(reaches(client, "172.24.4.20", d, PATIENCE_MS, &from));
    assert_true(reaches(inner, "172.24.4.1", w, PATIENCE_MS, &from));
    assert_string_equal(inet_ntop(AF_INET, &from.sin_addr, text, sizeof text), "172.24.4.10");
    /* A change beside it leaves the connection alone (the answer is of a known one). */
    assert_int_equal(apply_router(ROUTER(FLOATING("10.0.0.8"), "{'destination':'10.9.2.5/24',"
                                                               "'nexthop':'10.0.0.7'}")),
                     0);
    assert_int_equal(sendto(w, "x", 1, 0, (struct sockaddr *)&from, sizeof from), 1);
    assert_int_equal(poll(&(struct pollfd){.fd = inner, .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(recv(inner, text, 1, 0), 1);
    assert_int_equal(apply_router(ROUTER("", "")), 0);
    assert_false(reaches(client, "172.24.4.20", d, 200, &from));
    close(c);
    close(d);
    close(w);
    close(client);
    close(inner);
}

/* ---- failures, and a daemon killed at any instant ---- */

static bool table_there(const char *family, const char *table)
{
    struct buf out;
    char command[64];
    bool there;

    buf_init(&out, 1 << 16);
    snprintf(command, sizeof command, "list tables %s", family);
    assert_int_equal(nft_list(-1, command, &out), 0);
    there = out.data && strstr(out.data, table);
    buf_free(&out);
    return there;
}

/* Ends the pause of all that failed, or makes it long; returns the longest there was. The clock of
 * a machine that has other things to do decides nothing. */
static int64_t pauses(bool over)
{
    const char *key;
    json_t *broken;
    int64_t longest = 0;

    json_object_foreach(env.driver->broken, key, broken)
    {
        if (json_int(broken, "pause", 0) > longest)
            longest = json_int(broken, "pause", 0);
        json_put_int(broken, "at", over ? 0 : INT64_MAX);
    }
    return longest;
}

/* One router's bad route must not make the host set up everything each second. */
static void what_fails_is_tried_again_alone(void **state)
{
    static const char bad[] = ROUTER("", "{'destination':'10.9.2.0/24','nexthop':'10.77.0.1'},"
                                         "{'destination':'10.9.3.0/24','nexthop':'10.0.0.7'}");

    need_root();
    assert_int_equal(apply_router(bad), -ENETUNREACH);
    assert_true(table_there("bridge", TABLE_A));
    assert_int_equal(nft_apply(-1, "delete table bridge " TABLE_A, NULL, 0), 0);
    assert_int_equal(pauses(false), 1000);
    assert_int_equal(apply_router(bad), -EAGAIN);
    pauses(true);
    assert_int_equal(apply_router(bad), -ENETUNREACH);
    assert_false(table_there("bridge", TABLE_A)); /* nobody looked at it */
    assert_int_equal(pauses(false), 2000);
    /* What changes is tried at once. */
    assert_int_equal(apply_router(ROUTER("", "")), 0);
    assert_int_equal(apply_router(ROUTER("", "")), 0);
    /* What is wanted no more is forgotten, also how often it failed. */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(apply_router(bad), -ENETUNREACH);
        assert_true(pauses(true) <= 30000);
    }
    assert_int_equal(pauses(true), 30000);
    apply_rules(ANY);
    assert_int_equal(pauses(true), 0);
}

/* Ports do not wait for the end of their own pauses when what they lacked is there. */
static void a_late_bridge_brings_its_ports(void **state)
{
    struct netlink_link link;
    char key[64];

    need_root();
    /* Something else has the bridge's name. */
    apply_rules("");
    assert_int_equal(netlink_link_get(env.nl, BRIDGE, &link), 0);
    assert_int_equal(netlink_link_delete(env.nl, link.index), 0);
    reopen_driver();
    assert_int_equal(netlink_veth_add(env.nl, BRIDGE, "test", "other", -1), 0);
    assert_true(apply(&(struct wish){.rules = ANY}) < 0);
    assert_int_equal(netlink_link_get(env.nl, BRIDGE, &link), 0);
    assert_int_equal(netlink_link_delete(env.nl, link.index), 0);
    assert_int_equal(pauses(false), 1000);
    assert_int_equal(apply(&(struct wish){.rules = ANY}), -EAGAIN);
    snprintf(key, sizeof key, "n%s", NETWORK);
    json_put_int(json_object_get(env.driver->broken, key), "at", 0);
    apply_rules(ANY);
    assert_true(out(udp(true, "10.0.0.5", "10.0.0.6", 1000, 2000)));
}

static void write_ipv6(const char *value)
{
    assert_int_equal(netns_sysctl(-1, "ipv6/conf/" BRIDGE "/disable_ipv6", value), 0);
}

static bool ipv6_is_off(void)
{
    FILE *file = fopen("/proc/sys/net/ipv6/conf/" BRIDGE "/disable_ipv6", "re");
    int value = file ? fgetc(file) : 0;

    if (file)
        fclose(file);
    return value == '1';
}

static void a_new_daemon_closes_the_bridge_again(void **state)
{
    need_root();
    apply_rules(ANY);
    assert_true(table_there("netdev", "vling_b_" NETWORK));
    assert_true(ipv6_is_off());
    assert_int_equal(nft_apply(-1, "flush ruleset", NULL, 0), 0);
    write_ipv6("0");
    reopen_driver();
    apply_rules(ANY);
    assert_true(table_there("netdev", "vling_b_" NETWORK));
    assert_true(table_there("bridge", TABLE_A));
    assert_true(ipv6_is_off());
}

static void links_are_born_with_their_alias(void **state)
{
    struct netlink_link link;

    need_root();
    assert_int_equal(netlink_bridge_add(env.nl, "brtest", "vling"), 0);
    assert_int_equal(netlink_link_get(env.nl, "brtest", &link), 0);
    assert_string_equal(link.alias, "vling");
    assert_int_equal(netlink_bridge_add(env.nl, "brtest", "vling"), -EEXIST);
    assert_int_equal(netlink_tap_add(env.nl, "vttest", "vling port", (uid_t)-1), 0);
    assert_int_equal(netlink_link_get(env.nl, "vttest", &link), 0);
    assert_string_equal(link.alias, "vling port");
    /* Both are leftovers for who does not want them. */
    apply_rules(ANY);
    assert_int_equal(netlink_link_get(env.nl, "brtest", &link), -ENODEV);
    assert_int_equal(netlink_link_get(env.nl, "vttest", &link), -ENODEV);
}

static void count_ours(void *arg, const struct netlink_link *link)
{
    *(int *)arg += strncmp(link->alias, "vling", 5) == 0;
}

/* Last: it takes the guests' links along. */
static void clear_leaves_nothing(void **state)
{
    int ours = 0;

    need_root();
    assert_int_equal(apply_router(ROUTER(FLOATING("10.0.0.7"), "")), 0);
    netlink_links(env.nl, count_ours, &ours);
    assert_true(ours > 6);
    network_linux.clear(env.driver);
    ours = 0;
    netlink_links(env.nl, count_ours, &ours);
    assert_int_equal(ours, 0);
    assert_false(table_there("bridge", "vling"));
    assert_false(table_there("netdev", "vling"));
    assert_int_equal(netns_open("/mnt/run/netns/r-cccccccccccc"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_guest_is_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_speaks_ipv6, setup, teardown),
        cmocka_unit_test_setup_teardown(pairs_widen_what_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(all_addresses_may_be_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_down_carries_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(without_rules_only_dhcp_and_arp_go_out, setup, teardown),
        cmocka_unit_test_setup_teardown(icmp_by_type_and_code, setup, teardown),
        cmocka_unit_test_setup_teardown(port_ranges_have_edges, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_member_leaves_connections_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_member_that_leaves_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_connection_stays_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(other_protocols_and_ipv6_are_cut_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_floating_address_moves_with_its_connections, setup_hosts,
                                        teardown_hosts),
        cmocka_unit_test_setup_teardown(what_fails_is_tried_again_alone, setup_hosts,
                                        teardown_hosts),
        cmocka_unit_test_setup_teardown(a_late_bridge_brings_its_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_daemon_closes_the_bridge_again, setup, teardown),
        cmocka_unit_test_setup_teardown(links_are_born_with_their_alias, setup, teardown),
        cmocka_unit_test_setup_teardown(clear_leaves_nothing, setup_hosts, teardown_hosts),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
