#include "base/buf.h"
#include "base/file.h"
#include "cli/lab.h"
#include "cli/lab_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RULES_MAX (1024 * 1024)

static void switch_path(unsigned cabinet, char *ret, size_t size)
{
    snprintf(ret, size, LAB_NS "/sw-c%u", cabinet);
}

static void host_mac(const struct lab_host *host, size_t plane, char ret[18])
{
    snprintf(ret, 18, "02:76:6c:%02zx:%02x:%02x", plane, host->cabinet, host->number);
}

/* A switch needs neither addresses of its own nor the machine's packet filter. */
static int quiet_switch(void *arg, struct err *err)
{
    static const char *const files[][2] = {
        {"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
        {"/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"},
        {"/proc/sys/net/bridge/bridge-nf-call-iptables", "0"},
        {"/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0"},
        {"/proc/sys/net/bridge/bridge-nf-call-arptables", "0"},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        int fd = open(files[i][0], O_WRONLY | O_CLOEXEC);

        /* Not every kernel has each of them, and a switch works without. */
        if (fd >= 0 && write(fd, files[i][1], 1) < 0 && errno != EINVAL)
            err_why(err, -errno, "cannot set up a switch", "%s: %s", files[i][0], strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static int make_switch(const char *name, struct lab_net **ret, struct err *err)
{
    struct lab_net *net = NULL;
    char path[128];
    int rc;

    snprintf(path, sizeof(path), LAB_NS "/%s", name);
    rc = lab_ns_create(name, err);
    if (rc == 0)
        rc = lab_ns_inside(path, quiet_switch, NULL, err);
    if (rc == 0)
        rc = lab_net_open(path, &net, err);
    for (size_t p = 0; rc == 0 && p < LAB_PLANES; p++)
        rc = lab_net_bridge(net, lab_planes[p].name, err);
    if (rc < 0) {
        lab_net_close(net);
        return rc;
    }
    *ret = net;
    return 0;
}

/* One cabinet's switch and its four links to the core. */
static int make_cabinet(unsigned cabinet, struct lab_net *core, struct err *err)
{
    struct lab_net *net = NULL;
    char name[LAB_NAME_SIZE], path[128], port[32], uplink[32];
    int rc, ns;

    snprintf(name, sizeof(name), "sw-c%u", cabinet);
    rc = make_switch(name, &net, err);
    if (rc < 0)
        return rc;
    switch_path(cabinet, path, sizeof(path));
    ns = open(path, O_RDONLY | O_CLOEXEC);
    for (size_t p = 0; rc == 0 && p < LAB_PLANES; p++) {
        struct lab_net_veth veth = {
            .name = port, .peer = uplink, .peer_ns = ns, .bridge = lab_planes[p].name};

        snprintf(port, sizeof(port), "c%u-%s", cabinet, lab_planes[p].name);
        snprintf(uplink, sizeof(uplink), "up-%s", lab_planes[p].name);
        rc = lab_net_veth(core, &veth, err);
        if (rc == 0)
            rc = lab_net_port(net, uplink, lab_planes[p].name, err);
    }
    if (ns >= 0)
        close(ns);
    lab_net_close(net);
    return rc;
}

/* A leg of the core in another namespace: `dev` there with `address`. */
static int make_leg(struct lab_net *core, const char *plane, const char *ns_path, const char *dev,
                    const char *address, struct err *err)
{
    char port[32];
    struct lab_net_veth veth = {.name = port, .peer = dev, .bridge = plane};
    struct lab_net *there = NULL;
    int rc;

    snprintf(port, sizeof(port), "leg-%s", plane);
    veth.peer_ns = open(ns_path, O_RDONLY | O_CLOEXEC);
    rc = lab_net_veth(core, &veth, err);
    if (rc == 0)
        rc = lab_net_open(ns_path, &there, err);
    if (rc == 0)
        rc = lab_net_address(there, dev, address, err);
    if (rc == 0)
        rc = lab_net_set_up(there, dev, true, err);
    if (rc == 0 && strcmp(dev, LAB_ROOT_DEV) != 0)
        rc = lab_net_set_up(there, "lo", true, err);
    lab_net_close(there);
    if (veth.peer_ns >= 0)
        close(veth.peer_ns);
    return rc;
}

int lab_wire_up(const struct lab *lab, struct err *err)
{
    struct lab_net *core = NULL;
    int rc = make_switch(LAB_CORE, &core, err);

    for (unsigned c = 1; rc == 0 && c <= lab->cabinets; c++)
        rc = make_cabinet(c, core, err);
    if (rc == 0)
        rc =
            make_leg(core, "mgmt", "/proc/thread-self/ns/net", LAB_ROOT_DEV, LAB_ROOT_ADDRESS, err);
    if (rc == 0)
        rc = lab_ns_create(LAB_INTERNET, err);
    if (rc == 0)
        rc = make_leg(core, "ext", LAB_NS "/" LAB_INTERNET, "inet0", LAB_INTERNET_ADDRESS, err);
    lab_net_close(core);
    return rc;
}

static int open_switch(unsigned cabinet, struct lab_net **ret, struct err *err)
{
    char path[128];

    switch_path(cabinet, path, sizeof(path));
    return lab_net_open(path, ret, err);
}

int lab_wire_host(const struct lab_host *host, int netns, struct err *err)
{
    struct lab_net *net;
    char port[32], mac[18];
    int rc = open_switch(host->cabinet, &net, err);

    if (rc < 0)
        return rc;
    for (size_t p = 0; rc == 0 && p < LAB_PLANES; p++) {
        struct lab_net_veth veth = {.name = port,
                                    .peer = lab_planes[p].dev,
                                    .peer_ns = netns,
                                    .peer_mac = mac,
                                    .bridge = lab_planes[p].name};

        snprintf(port, sizeof(port), "%s-%s", host->name, lab_planes[p].name);
        host_mac(host, p, mac);
        /* What an earlier run of the host left behind. */
        rc = lab_net_delete(net, port, err);
        if (rc == 0)
            rc = lab_net_veth(net, &veth, err);
    }
    lab_net_close(net);
    return rc;
}

int lab_wire_unplug(const struct lab_host *host, struct err *err)
{
    struct lab_net *net;
    char port[32];
    int rc = open_switch(host->cabinet, &net, err), each;

    if (rc < 0)
        return rc;
    for (size_t p = 0; p < LAB_PLANES; p++) {
        snprintf(port, sizeof(port), "%s-%s", host->name, lab_planes[p].name);
        each = lab_net_set_up(net, port, false, NULL);
        if (each < 0 && each != -ENODEV)
            rc = err_why(err, each, "cannot cut a link", "%s: %s", port, strerror(-each));
    }
    lab_net_close(net);
    return rc;
}

int lab_wire_link(const struct lab_host *host, const char *plane, bool up, struct err *err)
{
    struct lab_net *net;
    char port[32];
    int rc = open_switch(host->cabinet, &net, err);

    if (rc < 0)
        return rc;
    snprintf(port, sizeof(port), "%s-%s", host->name, plane);
    rc = lab_net_set_up(net, port, up, err);
    lab_net_close(net);
    return rc;
}

int lab_wire_link_is_up(const struct lab_host *host, const char *plane)
{
    struct lab_net *net;
    char port[32];
    int rc = open_switch(host->cabinet, &net, NULL);

    if (rc < 0)
        return rc;
    snprintf(port, sizeof(port), "%s-%s", host->name, plane);
    rc = lab_net_is_up(net, port);
    lab_net_close(net);
    return rc == -ENODEV ? 0 : rc;
}

int lab_wire_uplink(unsigned cabinet, bool up, struct err *err)
{
    struct lab_net *net;
    char uplink[32];
    int rc = open_switch(cabinet, &net, err);

    if (rc < 0)
        return rc;
    for (size_t p = 0; rc == 0 && p < LAB_PLANES; p++) {
        snprintf(uplink, sizeof(uplink), "up-%s", lab_planes[p].name);
        rc = lab_net_set_up(net, uplink, up, err);
    }
    lab_net_close(net);
    return rc;
}

bool lab_wire_stands(void)
{
    struct statfs fs;

    return statfs(LAB_NS "/" LAB_CORE, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

void lab_wire_down(void)
{
    struct lab_net *root;
    char name[LAB_NAME_SIZE];

    if (lab_net_open(NULL, &root, NULL) == 0) {
        lab_net_delete(root, LAB_ROOT_DEV, NULL);
        lab_net_close(root);
    }
    for (unsigned c = 1; c <= LAB_CABINETS_MAX; c++) {
        snprintf(name, sizeof(name), "sw-c%u", c);
        lab_ns_delete(name);
    }
    lab_ns_delete(LAB_CORE);
    lab_ns_delete(LAB_INTERNET);
    rmdir(LAB_NS);
    rmdir(LAB_RUN);
}

/* In the switch of `to`: nothing that `from` sends comes out of the port of `to`. */
static void rule_host(struct buf *rules, const struct lab_host *from, const struct lab_host *to)
{
    char mac[18];

    for (size_t p = 0; p < LAB_PLANES; p++) {
        host_mac(from, p, mac);
        buf_printf(rules, "add rule bridge vl cut oifname \"%s-%s\" ether saddr %s drop\n",
                   to->name, lab_planes[p].name, mac);
    }
}

static void rules_of_core(const struct lab *lab, struct buf *rules)
{
    const json_t *pair;
    size_t i;

    json_array_foreach(lab->partitions, i, pair)
    {
        unsigned a = lab_cabinet(lab, json_string_value(json_array_get(pair, 0)));
        unsigned b = lab_cabinet(lab, json_string_value(json_array_get(pair, 1)));

        for (size_t p = 0; a && b && p < LAB_PLANES; p++)
            buf_printf(rules,
                       "add rule bridge vl cut iifname \"c%u-%s\" oifname \"c%u-%s\" drop\n"
                       "add rule bridge vl cut iifname \"c%u-%s\" oifname \"c%u-%s\" drop\n",
                       a, lab_planes[p].name, b, lab_planes[p].name, b, lab_planes[p].name, a,
                       lab_planes[p].name);
    }
}

/* Does `name` mean this host, or its cabinet? */
static bool means(const struct lab *lab, const char *name, const struct lab_host *host)
{
    return strcmp(name, host->name) == 0 || lab_cabinet(lab, name) == host->cabinet;
}

static void rules_of_cabinet(struct lab *lab, unsigned cabinet, struct buf *rules)
{
    const json_t *pair;
    size_t i;

    json_array_foreach(lab->partitions, i, pair)
    {
        const char *a = json_string_value(json_array_get(pair, 0));
        const char *b = json_string_value(json_array_get(pair, 1));

        for (size_t from = 0; from < lab->count; from++) {
            for (size_t to = 0; to < lab->count; to++) {
                const struct lab_host *f = &lab->host[from], *t = &lab->host[to];

                if (t->cabinet == cabinet && ((means(lab, a, f) && means(lab, b, t)) ||
                                              (means(lab, b, f) && means(lab, a, t))))
                    rule_host(rules, f, t);
            }
        }
    }
}

static int load_rules(void *arg, struct err *err)
{
    struct buf *rules = arg;
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    int rc = 0;

    if (!nft)
        return -ENOMEM;
    nft_ctx_buffer_error(nft);
    if (rules->failed || nft_run_cmd_from_buffer(nft, buf_text(rules)) != 0)
        rc = err_why(err, -EIO, "cannot partition the lab", "%.200s",
                     rules->failed ? "too many rules" : nft_ctx_get_error_buffer(nft));
    nft_ctx_free(nft);
    return rc;
}

int lab_wire_partitions(struct lab *lab, struct err *err)
{
    static const char head[] =
        "add table bridge vl\n"
        "delete table bridge vl\n"
        "add table bridge vl\n"
        "add chain bridge vl cut { type filter hook forward priority 0; policy accept; }\n";
    char path[128];
    struct buf rules;
    int rc = 0;

    for (unsigned c = 0; rc == 0 && c <= lab->cabinets; c++) {
        buf_init(&rules, RULES_MAX);
        buf_str(&rules, head);
        if (c == 0)
            rules_of_core(lab, &rules);
        else
            rules_of_cabinet(lab, c, &rules);
        switch_path(c, path, sizeof(path));
        rc = lab_ns_inside(c == 0 ? LAB_NS "/" LAB_CORE : path, load_rules, &rules, err);
        buf_free(&rules);
    }
    return rc;
}
