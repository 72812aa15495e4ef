/* A network's DHCP and metadata server: a namespace with a veth to the bridge, in which this
 * process holds a UDP socket (port 67) and an HTTP listener (169.254.169.254:80). */
#include "drv/network/linux.h"

#include "base/json.h"
#include "base/log.h"
#include "io/dhcp.h"
#include "io/http_server.h"
#include "io/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define METADATA_IP "169.254.169.254"
#define LEASE_SECONDS 86400
#define BURST_MAX 64

struct dhcpd {
    struct dhcpd *next;
    struct network_driver *driver;
    char network_id[64], dev[NAME_SIZE];
    json_t *conf; /* the plan's "dhcp" */
    uint16_t mtu;
    uv_poll_t *poll; /* outlives this until the loop closed it */
    int fd;
    struct http_server *http;
};

/* ---- leases ---- */

static bool within(struct in_addr ip, const struct netlink_addr *net)
{
    uint32_t mask = net->prefix ? 0xffffffffu << (32 - net->prefix) : 0;
    struct in_addr base;

    memcpy(&base, net->bytes, 4);
    return ((ntohl(ip.s_addr) ^ ntohl(base.s_addr)) & mask) == 0;
}

static const json_t *by_id(const json_t *list, const char *id)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (strcmp(json_str(item, "id", ""), id) == 0)
            return item;
    }
    return NULL;
}

static void lease_route(struct dhcp_lease *lease, const char *to, const char *via)
{
    struct dhcp_route *route = &lease->routes[lease->route_count];
    struct netlink_addr net;

    if (lease->route_count >= DHCP_ROUTES_MAX || netlink_addr_parse(to, &net) < 0 ||
        net.family != AF_INET || inet_pton(AF_INET, via, &route->via) != 1)
        return;
    memcpy(&route->to, net.bytes, 4);
    route->prefix = (uint8_t)net.prefix;
    lease->route_count++;
}

/* Fills what the subnet tells; false: this server has no address in it. */
static bool lease_subnet(const json_t *conf, const json_t *subnet, struct dhcp_lease *lease)
{
    const char *gateway = json_str(subnet, "gateway_ip", NULL);
    struct netlink_addr net, own;
    char server[INET_ADDRSTRLEN];
    const json_t *item;
    size_t i;

    if (netlink_addr_parse(json_str(subnet, "cidr", NULL), &net) < 0 || net.family != AF_INET ||
        !within(lease->ip, &net))
        return false;
    json_array_foreach(json_object_get(conf, "ips"), i, item)
    {
        if (netlink_addr_parse(json_string_value(item), &own) == 0 && own.family == AF_INET) {
            struct in_addr ip;

            memcpy(&ip, own.bytes, 4);
            if (within(ip, &net))
                lease->server = ip;
        }
    }
    if (!lease->server.s_addr)
        return false;
    lease->mask.s_addr = htonl(net.prefix ? 0xffffffffu << (32 - net.prefix) : 0);
    inet_ntop(AF_INET, &lease->server, server, sizeof server);
    lease_route(lease, METADATA_IP "/32", server);
    if (gateway && inet_pton(AF_INET, gateway, &lease->router) == 1)
        lease_route(lease, "0.0.0.0/0", gateway);
    json_array_foreach(json_object_get(subnet, "host_routes"), i, item)
        lease_route(lease, json_str(item, "destination", NULL), json_str(item, "nexthop", ""));
    json_array_foreach(json_object_get(subnet, "dns_nameservers"), i, item)
    {
        if (lease->dns_count < DHCP_DNS_MAX && json_is_string(item) &&
            inet_pton(AF_INET, json_string_value(item), &lease->dns[lease->dns_count]) == 1)
            lease->dns_count++;
    }
    return true;
}

static bool lease_find(const struct dhcpd *dhcpd, const uint8_t mac[6], struct dhcp_lease *ret)
{
    const json_t *host, *subnet;
    uint8_t bytes[6];
    size_t i;

    json_array_foreach(json_object_get(dhcpd->conf, "hosts"), i, host)
    {
        struct dhcp_lease lease = {.mtu = dhcpd->mtu, .seconds = LEASE_SECONDS};

        if (netlink_mac_parse(json_str(host, "mac", NULL), bytes) < 0 ||
            memcmp(bytes, mac, 6) != 0 ||
            inet_pton(AF_INET, json_str(host, "ip", ""), &lease.ip) != 1)
            continue;
        subnet = by_id(json_object_get(dhcpd->conf, "subnets"), json_str(host, "subnet_id", ""));
        if (!subnet || !json_bool(subnet, "enable_dhcp", true) ||
            !lease_subnet(dhcpd->conf, subnet, &lease))
            continue;
        snprintf(lease.name, sizeof lease.name, "%s", json_str(host, "name", ""));
        *ret = lease;
        return true;
    }
    return false;
}

/* ---- the socket ---- */

static void answer_send(const struct dhcpd *dhcpd, const struct dhcp_request *request,
                        const struct dhcp_lease *lease, const uint8_t *out, size_t size,
                        enum dhcp_way way)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(68)};
    struct arpreq arp = {.arp_flags = ATF_COM, .arp_ha.sa_family = ARPHRD_ETHER};

    to.sin_addr.s_addr = INADDR_BROADCAST;
    if (way == DHCP_TO_RELAY) {
        to.sin_addr = request->giaddr;
        to.sin_port = htons(67);
    } else if (way == DHCP_TO_CIADDR) {
        to.sin_addr = request->ciaddr;
    } else if (way == DHCP_TO_YIADDR) {
        /* The client cannot answer an ARP request for an address that it does not have yet. */
        to.sin_addr = lease->ip;
        memcpy(&arp.arp_pa, &to, sizeof to);
        memcpy(arp.arp_ha.sa_data, request->mac, 6);
        memcpy(arp.arp_dev, dhcpd->dev, sizeof arp.arp_dev);
        if (ioctl(dhcpd->fd, SIOCSARP, &arp) < 0)
            to.sin_addr.s_addr = INADDR_BROADCAST;
    }
    /* A lost answer is asked for again. */
    (void)!sendto(dhcpd->fd, out, size, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct dhcpd *dhcpd = poll->data;
    uint8_t in[2048], out[DHCP_SIZE_MAX];

    for (int i = 0; i < BURST_MAX; i++) {
        ssize_t size = recv(dhcpd->fd, in, sizeof in, MSG_DONTWAIT);
        struct dhcp_request request;
        struct dhcp_lease lease;
        enum dhcp_way way;
        size_t answer;

        if (size < 0)
            return;
        if (dhcp_parse(in, (size_t)size, &request) < 0 || !lease_find(dhcpd, request.mac, &lease))
            continue;
        answer = dhcp_answer(&request, &lease, out, &way);
        if (answer > 0)
            answer_send(dhcpd, &request, &lease, out, answer, way);
    }
}

static int socket_open(void *arg)
{
    struct dhcpd *dhcpd = arg;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(67)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, dhcpd->dev, (socklen_t)strlen(dhcpd->dev)) <
            0 ||
        bind(fd, (struct sockaddr *)&any, sizeof any) < 0) {
        int rc = -errno;

        close(fd);
        return rc;
    }
    return fd;
}

/* ---- metadata ---- */

static void on_metadata(void *arg, struct http_request *request)
{
    struct dhcpd *dhcpd = arg;
    char *body = NULL;
    size_t size = 0;
    unsigned status;

    status = dhcpd->driver->metadata(dhcpd->driver->metadata_arg, dhcpd->network_id,
                                     http_client_ip(request), http_method(request),
                                     http_path(request), &body, &size);
    http_reply(request, status, body ? body : "", size);
    free(body);
}

static void metadata_start(struct dhcpd *dhcpd, const char *path)
{
    struct http_server_options options = {
        .address = METADATA_IP,
        .port = 80,
        .netns = path,
        .body_max = 4096,
        .connections_max = 256,
        .idle_seconds = 15,
        .handle = on_metadata,
        .arg = dhcpd,
    };
    struct err err;
    char line[640];

    if (!dhcpd->driver->metadata || dhcpd->http)
        return;
    dhcpd->http = http_server_start(dhcpd->driver->loop, &options, &err);
    if (!dhcpd->http)
        log_error("network %s has no metadata: %s", dhcpd->network_id,
                  err_line(&err, line, sizeof line));
}

/* ---- life ---- */

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void dhcpd_free(struct dhcpd *dhcpd)
{
    if (dhcpd->poll) {
        uv_poll_stop(dhcpd->poll);
        uv_close((uv_handle_t *)dhcpd->poll, on_closed);
    }
    if (dhcpd->fd >= 0)
        close(dhcpd->fd);
    if (dhcpd->http)
        http_server_stop(dhcpd->http);
    json_decref(dhcpd->conf);
    free(dhcpd);
}

static int listen_ensure(struct dhcpd *dhcpd, int ns_fd)
{
    if (dhcpd->fd >= 0)
        return 0;
    dhcpd->fd = netns_run(ns_fd, socket_open, dhcpd);
    if (dhcpd->fd < 0)
        return dhcpd->fd;
    dhcpd->poll = calloc(1, sizeof *dhcpd->poll);
    if (!dhcpd->poll || uv_poll_init(dhcpd->driver->loop, dhcpd->poll, dhcpd->fd) < 0) {
        free(dhcpd->poll);
        dhcpd->poll = NULL;
        close(dhcpd->fd);
        dhcpd->fd = -1;
        return -ENOMEM;
    }
    dhcpd->poll->data = dhcpd;
    uv_poll_start(dhcpd->poll, UV_READABLE, on_readable);
    return 0;
}

static struct dhcpd *dhcpd_get(struct network_driver *driver, const char *network_id)
{
    struct dhcpd *dhcpd;

    for (dhcpd = driver->dhcpds; dhcpd; dhcpd = dhcpd->next) {
        if (strcmp(dhcpd->network_id, network_id) == 0)
            return dhcpd;
    }
    dhcpd = calloc(1, sizeof *dhcpd);
    if (!dhcpd)
        return NULL;
    dhcpd->driver = driver;
    dhcpd->fd = -1;
    snprintf(dhcpd->network_id, sizeof dhcpd->network_id, "%s", network_id);
    name_of("vd", network_id, dhcpd->dev);
    dhcpd->next = driver->dhcpds;
    driver->dhcpds = dhcpd;
    return dhcpd;
}

struct added {
    struct network_driver *driver;
    int ns_fd;
    const char *dev;
};

static void address_added(void *arg, const struct netlink_addr *addr)
{
    struct added *added = arg;
    struct netlink_addr metadata;

    netlink_addr_parse(METADATA_IP, &metadata);
    if (memcmp(addr, &metadata, sizeof metadata) != 0) /* that one other hosts have as well */
        announce(added->driver->announcer, added->ns_fd, added->dev, addr);
}

static int namespace_fill(struct dhcpd *dhcpd, int ns_fd, const json_t *network, const json_t *conf)
{
    struct added added = {dhcpd->driver, ns_fd, dhcpd->dev};
    struct netlink_addr addrs[33];
    struct netlink_link link;
    struct netlink *nl;
    char bridge[NAME_SIZE];
    const json_t *text;
    size_t count = 0, i;
    int rc = netlink_open(ns_fd, &nl);

    if (rc < 0)
        return rc;
    name_of("br", dhcpd->network_id, bridge);
    if (netlink_link_get(nl, "lo", &link) == 0 && !link.up)
        netlink_set_up(nl, link.index, true);
    json_array_foreach(json_object_get(conf, "ips"), i, text)
    {
        if (count < 32 && netlink_addr_parse(json_string_value(text), &addrs[count]) == 0)
            count++;
    }
    netlink_addr_parse(METADATA_IP, &addrs[count++]);
    rc = veth_ensure(dhcpd->driver, nl, ns_fd, dhcpd->dev, bridge, json_str(conf, "mac", ""),
                     dhcpd->mtu, &link);
    if (rc == 0)
        rc = addrs_sync(nl, link.index, addrs, count, address_added, &added);
    netlink_close(nl);
    return rc;
}

int dhcpd_ensure(struct network_driver *driver, const json_t *network)
{
    json_t *conf = json_object_get(network, "dhcp");
    struct dhcpd *dhcpd = dhcpd_get(driver, json_str(network, "id", ""));
    char name[NAME_SIZE], path[320];
    int ns_fd, rc;

    if (!dhcpd)
        return -ENOMEM;
    json_decref(dhcpd->conf);
    dhcpd->conf = json_incref(conf);
    dhcpd->mtu = (uint16_t)json_int(network, "mtu", 1450);
    name_of("d-", dhcpd->network_id, name);
    rc = ns_path(driver, name, path, sizeof path);
    if (rc == 0)
        rc = netns_ensure(path);
    if (rc < 0)
        return rc;
    ns_fd = netns_open(path);
    if (ns_fd < 0)
        return ns_fd;
    rc = namespace_fill(dhcpd, ns_fd, network, conf);
    if (rc == 0)
        rc = listen_ensure(dhcpd, ns_fd);
    if (rc == 0)
        metadata_start(dhcpd, path);
    close(ns_fd);
    return rc;
}

void dhcpd_sweep(struct network_driver *driver, const json_t *plan)
{
    const json_t *networks = json_object_get(plan, "networks");
    struct dhcpd **at = &driver->dhcpds;

    while (*at) {
        struct dhcpd *dhcpd = *at;
        const json_t *network = by_id(networks, dhcpd->network_id);

        if (network && json_is_object(json_object_get(network, "dhcp"))) {
            at = &dhcpd->next;
            continue;
        }
        *at = dhcpd->next;
        dhcpd_free(dhcpd);
    }
}
