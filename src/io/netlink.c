#include "io/netlink.h"

#include "io/netns.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct netlink {
    struct nl_sock *sock;
};

/* One request and what its answers do. */
struct exchange {
    void (*valid)(struct exchange *exchange, struct nlmsghdr *header);
    void *each; /* the caller's function, by the kind of request */
    void *arg;
    int index;
    int rc;
    int left; /* answers to come after the next one */
    bool done;
};

/* ---- the exchange ---- */

static int open_socket(void *arg)
{
    struct nl_sock *sock = arg;

    return nl_connect(sock, NETLINK_ROUTE) < 0 ? -EIO : 0;
}

int netlink_open(int netns_fd, struct netlink **ret)
{
    struct timeval timeout = {.tv_sec = 5};
    struct netlink *nl = calloc(1, sizeof *nl);
    int rc;

    if (!nl)
        return -ENOMEM;
    nl->sock = nl_socket_alloc();
    if (!nl->sock) {
        free(nl);
        return -ENOMEM;
    }
    nl_socket_disable_auto_ack(nl->sock);
    /* Port numbers of libnl's generator are per process, those of the kernel per namespace. */
    nl_socket_set_local_port(nl->sock, 0);
    rc = netns_run(netns_fd, open_socket, nl->sock);
    if (rc < 0) {
        netlink_close(nl);
        return rc;
    }
    setsockopt(nl_socket_get_fd(nl->sock), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    nl_socket_set_msg_buf_size(nl->sock, 65536);
    *ret = nl;
    return 0;
}

void netlink_close(struct netlink *nl)
{
    if (!nl)
        return;
    nl_socket_free(nl->sock);
    free(nl);
}

static int on_valid(struct nl_msg *msg, void *arg)
{
    struct exchange *exchange = arg;
    struct nlmsghdr *header = nlmsg_hdr(msg);

    if (exchange->valid)
        exchange->valid(exchange, header);
    if (!(header->nlmsg_flags & NLM_F_MULTI))
        exchange->done = true;
    return NL_OK;
}

static int on_end(struct nl_msg *msg, void *arg)
{
    struct exchange *exchange = arg;

    exchange->done = exchange->left-- == 0;
    return NL_STOP;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
    struct exchange *exchange = arg;

    if (exchange->rc == 0)
        exchange->rc = error->error ? error->error : -EIO;
    exchange->done = exchange->left-- == 0;
    return NL_STOP;
}

/* Feeds the answers of what was sent to `exchange`. */
static int exchange_receive(struct netlink *nl, struct exchange *exchange)
{
    struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
    int rc;

    if (!cb)
        return -ENOMEM;
    nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, exchange);
    nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_end, exchange);
    nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_end, exchange);
    nl_cb_err(cb, NL_CB_CUSTOM, on_error, exchange);
    while (!exchange->done) {
        int left = exchange->left;

        rc = nl_recvmsgs(nl->sock, cb);
        /* An error that the kernel answered is in the exchange already, and more may come. */
        if (rc < 0 && !exchange->done && exchange->left == left) {
            exchange->rc = rc == -NLE_AGAIN ? -ETIMEDOUT : -EIO;
            break;
        }
    }
    nl_cb_put(cb);
    return exchange->rc;
}

/* Sends and frees `msg`, feeds the answers to `exchange`. */
static int exchange_run(struct netlink *nl, struct nl_msg *msg, struct exchange *exchange)
{
    int rc = nl_send_auto(nl->sock, msg);

    nlmsg_free(msg);
    if (rc < 0)
        return rc == -NLE_NOMEM ? -ENOMEM : -EIO;
    return exchange_receive(nl, exchange);
}

static struct nl_msg *message(int type, int flags, const void *body, size_t size)
{
    struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

    if (msg && nlmsg_append(msg, (void *)body, size, NLMSG_ALIGNTO) < 0) {
        nlmsg_free(msg);
        msg = NULL;
    }
    return msg;
}

static int change(struct netlink *nl, struct nl_msg *msg)
{
    struct exchange exchange = {0};

    nlmsg_hdr(msg)->nlmsg_flags |= NLM_F_ACK;
    return exchange_run(nl, msg, &exchange);
}

/* ---- text ---- */

int netlink_addr_parse(const char *text, struct netlink_addr *ret)
{
    struct netlink_addr addr = {0};
    const char *slash = text ? strchr(text, '/') : NULL;
    char host[64], *end;
    size_t size;
    long prefix;

    if (!text)
        return -EINVAL;
    size = slash ? (size_t)(slash - text) : strlen(text);
    if (size >= sizeof host)
        return -EINVAL;
    memcpy(host, text, size);
    host[size] = 0;
    addr.family = strchr(host, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(addr.family, host, addr.bytes) != 1)
        return -EINVAL;
    addr.prefix = addr.family == AF_INET ? 32 : 128;
    if (slash) {
        prefix = strtol(slash + 1, &end, 10);
        if (end == slash + 1 || *end || prefix < 0 || prefix > addr.prefix)
            return -EINVAL;
        addr.prefix = (int)prefix;
    }
    *ret = addr;
    return 0;
}

int netlink_mac_parse(const char *text, uint8_t ret[6])
{
    unsigned b[6];

    if (!text || strlen(text) != 17)
        return -EINVAL;
    /* Whoever takes the text may write it on into a ruleset: nothing but digits and colons. */
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return -EINVAL;
    }
    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]);
    for (int i = 0; i < 6; i++)
        ret[i] = (uint8_t)b[i];
    return 0;
}

/* ---- links ---- */

static void link_kind(struct nlattr *info, struct netlink_link *link)
{
    struct nlattr *kind = nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND);

    if (kind)
        snprintf(link->kind, sizeof link->kind, "%.*s", nla_len(kind), (char *)nla_data(kind));
}

static void link_read(struct exchange *exchange, struct nlmsghdr *header)
{
    void (*each)(void *, const struct netlink_link *) = exchange->each;
    struct netlink_link link = {0};
    struct ifinfomsg *info;
    struct nlattr *attr;
    int rest;

    if (header->nlmsg_type != RTM_NEWLINK || !nlmsg_valid_hdr(header, sizeof *info))
        return;
    info = nlmsg_data(header);
    link.index = info->ifi_index;
    link.up = info->ifi_flags & IFF_UP;
    link.running = info->ifi_flags & IFF_RUNNING;
    nlmsg_for_each_attr(attr, header, sizeof *info, rest)
    {
        switch (nla_type(attr)) {
        case IFLA_IFNAME:
            nla_strlcpy(link.name, attr, sizeof link.name);
            break;
        case IFLA_IFALIAS:
            nla_strlcpy(link.alias, attr, sizeof link.alias);
            break;
        case IFLA_MASTER:
            link.master = (int)nla_get_u32(attr);
            break;
        case IFLA_MTU:
            link.mtu = (int)nla_get_u32(attr);
            break;
        case IFLA_ADDRESS:
            nla_memcpy(link.mac, attr, sizeof link.mac);
            break;
        case IFLA_LINKINFO:
            link_kind(attr, &link);
            break;
        }
    }
    each(exchange->arg, &link);
}

static void link_copy(void *arg, const struct netlink_link *link)
{
    *(struct netlink_link *)arg = *link;
}

int netlink_link_get(struct netlink *nl, const char *name, struct netlink_link *ret)
{
    struct ifinfomsg info = {0};
    struct netlink_link found = {0};
    struct exchange exchange = {.valid = link_read, .each = (void *)link_copy, .arg = &found};
    struct nl_msg *msg;
    int rc;

    if (!name || !*name || strlen(name) >= IFNAMSIZ)
        return -EINVAL;
    msg = message(RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    if (!msg)
        return -ENOMEM;
    nla_put_string(msg, IFLA_IFNAME, name);
    rc = exchange_run(nl, msg, &exchange);
    if (rc < 0)
        return rc;
    if (!found.index)
        return -ENODEV;
    *ret = found;
    return 0;
}

int netlink_links(struct netlink *nl, void (*each)(void *arg, const struct netlink_link *link),
                  void *arg)
{
    struct ifinfomsg info = {0};
    struct exchange exchange = {.valid = link_read, .each = (void *)each, .arg = arg};
    struct nl_msg *msg = message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &info, sizeof info);

    return msg ? exchange_run(nl, msg, &exchange) : -ENOMEM;
}

/* A request for a new link, with its link info opened up to the data's attributes. */
static struct nl_msg *link_new(const char *name, const char *kind, struct nlattr **ret_info,
                               struct nlattr **ret_data)
{
    struct ifinfomsg info = {0};
    struct nl_msg *msg =
        message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);

    if (!msg)
        return NULL;
    nla_put_string(msg, IFLA_IFNAME, name);
    *ret_info = nla_nest_start(msg, IFLA_LINKINFO);
    nla_put_string(msg, IFLA_INFO_KIND, kind);
    *ret_data = nla_nest_start(msg, IFLA_INFO_DATA);
    return msg;
}

/* Makes the link and sets its alias, which the kernel does not take in one message. It carries out
 * both messages of one call without a stop between, so that no killed process leaves a link that
 * nobody knows to be ours. */
static int link_born(struct netlink *nl, struct nl_msg *msg, const char *name, const char *alias)
{
    struct ifinfomsg info = {0};
    struct nl_msg *second = message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &info, sizeof info);
    struct exchange exchange = {.left = 1};
    int rc = -ENOMEM;

    if (second && nla_put_string(second, IFLA_IFNAME, name) == 0 &&
        nla_put_string(second, IFLA_IFALIAS, alias) == 0) {
        size_t size = NLMSG_ALIGN(nlmsg_hdr(msg)->nlmsg_len), more = nlmsg_hdr(second)->nlmsg_len;
        char *both = calloc(1, size + more);

        nlmsg_hdr(msg)->nlmsg_flags |= NLM_F_ACK;
        nl_complete_msg(nl->sock, msg);
        nl_complete_msg(nl->sock, second);
        if (both) {
            memcpy(both, nlmsg_hdr(msg), nlmsg_hdr(msg)->nlmsg_len);
            memcpy(both + size, nlmsg_hdr(second), more);
            rc = nl_sendto(nl->sock, both, size + more) < 0 ? -EIO : 0;
        }
        free(both);
        if (rc == 0)
            rc = exchange_receive(nl, &exchange);
    }
    nlmsg_free(second);
    nlmsg_free(msg);
    return rc;
}

int netlink_bridge_add(struct netlink *nl, const char *name, const char *alias)
{
    struct nlattr *info, *data;
    struct nl_msg *msg = link_new(name, "bridge", &info, &data);

    if (!msg)
        return -ENOMEM;
    nla_put_u32(msg, IFLA_BR_FORWARD_DELAY, 0);
    nla_put_u32(msg, IFLA_BR_STP_STATE, 0);
    nla_put_u8(msg, IFLA_BR_MCAST_SNOOPING, 0);
    nla_nest_end(msg, data);
    nla_nest_end(msg, info);
    return link_born(nl, msg, name, alias);
}

int netlink_vxlan_add(struct netlink *nl, const char *name, const char *alias, uint32_t vni,
                      struct in_addr local, uint16_t port)
{
    struct nlattr *info, *data;
    struct nl_msg *msg = link_new(name, "vxlan", &info, &data);

    if (!msg)
        return -ENOMEM;
    nla_put_u32(msg, IFLA_VXLAN_ID, vni);
    nla_put(msg, IFLA_VXLAN_LOCAL, sizeof local, &local);
    nla_put_u16(msg, IFLA_VXLAN_PORT, htons(port));
    nla_put_u8(msg, IFLA_VXLAN_LEARNING, 0);
    nla_nest_end(msg, data);
    nla_nest_end(msg, info);
    return link_born(nl, msg, name, alias);
}

int netlink_veth_add(struct netlink *nl, const char *name, const char *alias, const char *peer,
                     int peer_fd)
{
    struct ifinfomsg peer_info = {0};
    struct nlattr *info, *data, *other;
    struct nl_msg *msg = link_new(name, "veth", &info, &data);

    if (!msg)
        return -ENOMEM;
    other = nla_nest_start(msg, VETH_INFO_PEER);
    nlmsg_append(msg, &peer_info, sizeof peer_info, NLMSG_ALIGNTO);
    nla_put_string(msg, IFLA_IFNAME, peer);
    if (peer_fd >= 0)
        nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)peer_fd);
    nla_nest_end(msg, other);
    nla_nest_end(msg, data);
    nla_nest_end(msg, info);
    return link_born(nl, msg, name, alias);
}

int netlink_tap_add(struct netlink *nl, const char *name, const char *alias, uid_t owner)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct netlink_link link;
    int rc;

    if (fd < 0)
        return -errno;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    /* Until it is persistent it goes with this process. */
    rc = ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : netlink_link_get(nl, name, &link);
    if (rc == 0)
        rc = netlink_set_alias(nl, link.index, alias);
    if (rc == 0 && ((owner != (uid_t)-1 && ioctl(fd, TUNSETOWNER, (unsigned long)owner) < 0) ||
                    ioctl(fd, TUNSETPERSIST, 1) < 0))
        rc = -errno;
    close(fd);
    return rc;
}

static struct nl_msg *link_message(int type, int index, unsigned flags, unsigned mask)
{
    struct ifinfomsg info = {.ifi_index = index, .ifi_flags = flags, .ifi_change = mask};

    return message(type, NLM_F_REQUEST, &info, sizeof info);
}

int netlink_link_delete(struct netlink *nl, int index)
{
    struct nl_msg *msg = link_message(RTM_DELLINK, index, 0, 0);

    return msg ? change(nl, msg) : -ENOMEM;
}

static int set_u32(struct netlink *nl, int index, int attr, uint32_t value)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0, 0);

    if (!msg)
        return -ENOMEM;
    nla_put_u32(msg, attr, value);
    return change(nl, msg);
}

int netlink_set_master(struct netlink *nl, int index, int master)
{
    return set_u32(nl, index, IFLA_MASTER, (uint32_t)master);
}

int netlink_set_mtu(struct netlink *nl, int index, int mtu)
{
    return set_u32(nl, index, IFLA_MTU, (uint32_t)mtu);
}

int netlink_set_up(struct netlink *nl, int index, bool up)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, up ? IFF_UP : 0, IFF_UP);

    return msg ? change(nl, msg) : -ENOMEM;
}

int netlink_set_mac(struct netlink *nl, int index, const uint8_t mac[6])
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0, 0);

    if (!msg)
        return -ENOMEM;
    nla_put(msg, IFLA_ADDRESS, 6, mac);
    return change(nl, msg);
}

int netlink_set_alias(struct netlink *nl, int index, const char *alias)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0, 0);

    if (!msg)
        return -ENOMEM;
    nla_put_string(msg, IFLA_IFALIAS, alias);
    return change(nl, msg);
}

/* ---- addresses ---- */

static int family_size(int family)
{
    return family == AF_INET ? 4 : 16;
}

static int addr_change(struct netlink *nl, int type, int flags, int index,
                       const struct netlink_addr *addr)
{
    struct ifaddrmsg info = {.ifa_family = (uint8_t)addr->family,
                             .ifa_prefixlen = (uint8_t)addr->prefix,
                             .ifa_flags = addr->family == AF_INET6 ? IFA_F_NODAD : 0,
                             .ifa_index = (unsigned)index};
    struct nl_msg *msg = message(type, NLM_F_REQUEST | flags, &info, sizeof info);
    struct in_addr broadcast;

    if (!msg)
        return -ENOMEM;
    nla_put(msg, IFA_LOCAL, family_size(addr->family), addr->bytes);
    nla_put(msg, IFA_ADDRESS, family_size(addr->family), addr->bytes);
    if (addr->family == AF_INET && addr->prefix < 31 && type == RTM_NEWADDR) {
        memcpy(&broadcast, addr->bytes, 4);
        broadcast.s_addr |= htonl(0xffffffffu >> addr->prefix);
        nla_put(msg, IFA_BROADCAST, 4, &broadcast);
    }
    return change(nl, msg);
}

int netlink_addr_add(struct netlink *nl, int index, const struct netlink_addr *addr)
{
    return addr_change(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, addr);
}

int netlink_addr_delete(struct netlink *nl, int index, const struct netlink_addr *addr)
{
    return addr_change(nl, RTM_DELADDR, 0, index, addr);
}

static void addr_read(struct exchange *exchange, struct nlmsghdr *header)
{
    void (*each)(void *, const struct netlink_addr *) = exchange->each;
    struct netlink_addr addr = {0};
    struct nlattr *local, *address;
    struct ifaddrmsg *info;

    if (header->nlmsg_type != RTM_NEWADDR || !nlmsg_valid_hdr(header, sizeof *info))
        return;
    info = nlmsg_data(header);
    if ((int)info->ifa_index != exchange->index || info->ifa_scope != RT_SCOPE_UNIVERSE ||
        (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
        return;
    local = nlmsg_find_attr(header, sizeof *info, IFA_LOCAL);
    address = nlmsg_find_attr(header, sizeof *info, IFA_ADDRESS);
    if (!local)
        local = address;
    if (!local)
        return;
    addr.family = info->ifa_family;
    addr.prefix = info->ifa_prefixlen;
    nla_memcpy(addr.bytes, local, family_size(addr.family));
    each(exchange->arg, &addr);
}

int netlink_addrs(struct netlink *nl, int index,
                  void (*each)(void *arg, const struct netlink_addr *addr), void *arg)
{
    struct ifaddrmsg info = {.ifa_family = AF_UNSPEC};
    struct exchange exchange = {
        .valid = addr_read, .each = (void *)each, .arg = arg, .index = index};
    struct nl_msg *msg = message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &info, sizeof info);

    return msg ? exchange_run(nl, msg, &exchange) : -ENOMEM;
}

/* ---- forwarding entries ---- */

static int fdb_change(struct netlink *nl, int type, int flags, int index,
                      const struct netlink_fdb *entry)
{
    struct ndmsg info = {.ndm_family = AF_BRIDGE,
                         .ndm_ifindex = index,
                         .ndm_state = NUD_NOARP | NUD_PERMANENT,
                         .ndm_flags = NTF_SELF};
    struct nl_msg *msg = message(type, NLM_F_REQUEST | flags, &info, sizeof info);

    if (!msg)
        return -ENOMEM;
    nla_put(msg, NDA_LLADDR, 6, entry->mac);
    nla_put(msg, NDA_DST, 4, &entry->remote);
    return change(nl, msg);
}

int netlink_fdb_add(struct netlink *nl, int index, const struct netlink_fdb *entry)
{
    static const uint8_t flood[6];
    bool many = memcmp(entry->mac, flood, 6) == 0;

    /* Of the flood entry there are many; of a MAC only one, which may have moved. */
    return fdb_change(nl, RTM_NEWNEIGH, NLM_F_CREATE | (many ? NLM_F_APPEND : NLM_F_REPLACE), index,
                      entry);
}

int netlink_fdb_delete(struct netlink *nl, int index, const struct netlink_fdb *entry)
{
    return fdb_change(nl, RTM_DELNEIGH, 0, index, entry);
}

static void fdb_read(struct exchange *exchange, struct nlmsghdr *header)
{
    void (*each)(void *, const struct netlink_fdb *) = exchange->each;
    struct netlink_fdb entry = {0};
    struct nlattr *mac, *remote;
    struct ndmsg *info;

    if (header->nlmsg_type != RTM_NEWNEIGH || !nlmsg_valid_hdr(header, sizeof *info))
        return;
    info = nlmsg_data(header);
    mac = nlmsg_find_attr(header, sizeof *info, NDA_LLADDR);
    remote = nlmsg_find_attr(header, sizeof *info, NDA_DST);
    if (info->ndm_ifindex != exchange->index || !mac || !remote || nla_len(remote) != 4)
        return;
    nla_memcpy(entry.mac, mac, sizeof entry.mac);
    nla_memcpy(&entry.remote, remote, sizeof entry.remote);
    each(exchange->arg, &entry);
}

int netlink_fdbs(struct netlink *nl, int index,
                 void (*each)(void *arg, const struct netlink_fdb *entry), void *arg)
{
    struct ndmsg info = {.ndm_family = AF_BRIDGE, .ndm_ifindex = index};
    struct exchange exchange = {
        .valid = fdb_read, .each = (void *)each, .arg = arg, .index = index};
    struct nl_msg *msg = message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, &info, sizeof info);

    return msg ? exchange_run(nl, msg, &exchange) : -ENOMEM;
}

/* ---- routes ---- */

static int route_change(struct netlink *nl, int type, int flags, const struct netlink_route *route)
{
    struct rtmsg info = {.rtm_family = (uint8_t)route->to.family,
                         .rtm_dst_len = (uint8_t)route->to.prefix,
                         .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_STATIC,
                         .rtm_scope = RT_SCOPE_UNIVERSE,
                         .rtm_type = RTN_UNICAST};
    struct nl_msg *msg = message(type, NLM_F_REQUEST | flags, &info, sizeof info);
    int size = family_size(route->to.family);

    if (!msg)
        return -ENOMEM;
    if (route->to.prefix > 0)
        nla_put(msg, RTA_DST, size, route->to.bytes);
    nla_put(msg, RTA_GATEWAY, size, route->via);
    if (route->index > 0)
        nla_put_u32(msg, RTA_OIF, (uint32_t)route->index);
    return change(nl, msg);
}

int netlink_route_add(struct netlink *nl, const struct netlink_route *route)
{
    return route_change(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

int netlink_route_delete(struct netlink *nl, const struct netlink_route *route)
{
    return route_change(nl, RTM_DELROUTE, 0, route);
}

static void route_read(struct exchange *exchange, struct nlmsghdr *header)
{
    void (*each)(void *, const struct netlink_route *) = exchange->each;
    struct netlink_route route = {0};
    struct nlattr *to, *via, *out;
    struct rtmsg *info;

    if (header->nlmsg_type != RTM_NEWROUTE || !nlmsg_valid_hdr(header, sizeof *info))
        return;
    info = nlmsg_data(header);
    if (info->rtm_table != RT_TABLE_MAIN || info->rtm_protocol != RTPROT_STATIC ||
        (info->rtm_family != AF_INET && info->rtm_family != AF_INET6))
        return;
    to = nlmsg_find_attr(header, sizeof *info, RTA_DST);
    via = nlmsg_find_attr(header, sizeof *info, RTA_GATEWAY);
    out = nlmsg_find_attr(header, sizeof *info, RTA_OIF);
    if (!via)
        return;
    route.to.family = info->rtm_family;
    route.to.prefix = info->rtm_dst_len;
    if (to)
        nla_memcpy(route.to.bytes, to, family_size(route.to.family));
    nla_memcpy(route.via, via, family_size(route.to.family));
    route.index = out ? (int)nla_get_u32(out) : 0;
    each(exchange->arg, &route);
}

int netlink_routes(struct netlink *nl, void (*each)(void *arg, const struct netlink_route *route),
                   void *arg)
{
    struct rtmsg info = {0};
    struct exchange exchange = {.valid = route_read, .each = (void *)each, .arg = arg};
    struct nl_msg *msg = message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, &info, sizeof info);

    return msg ? exchange_run(nl, msg, &exchange) : -ENOMEM;
}
