/* Unsolicited announcements: gratuitous ARP requests (RFC 5227) and neighbour advertisements
 * (RFC 4861 7.2.6). Also switches and other hosts' bridges learn from them where an address is. */
#include "drv/network/linux.h"
#include "io/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PENDING_MAX 4096
#define REPEATS 4

struct pending {
    struct pending *next;
    int ns_fd;
    int left;
    char dev[NAME_SIZE];
    struct netlink_addr addr;
};

struct announcer {
    uv_timer_t timer;
    struct pending *list;
    size_t count;
};

static size_t arp_frame(uint8_t *out, const uint8_t mac[6], const uint8_t ip[4])
{
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};

    memset(out, 0xff, 6);
    memcpy(out + 6, mac, 6);
    memcpy(out + 12, "\x08\x06", 2);
    memcpy(out + 14, head, 8);
    memcpy(out + 22, mac, 6);
    memcpy(out + 28, ip, 4);
    memset(out + 32, 0, 6);
    memcpy(out + 38, ip, 4);
    return 42;
}

static size_t na_frame(uint8_t *out, const uint8_t mac[6], const uint8_t ip[16])
{
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
    uint8_t *v6 = out + 14, *icmp = out + 54;
    uint32_t sum = 32 + IPPROTO_ICMPV6;

    memset(out, 0, 86);
    memcpy(out, "\x33\x33\0\0\0\x01", 6);
    memcpy(out + 6, mac, 6);
    memcpy(out + 12, "\x86\xdd\x60", 3);
    v6[5] = 32;
    v6[6] = IPPROTO_ICMPV6;
    v6[7] = 255;
    memcpy(v6 + 8, ip, 16);
    memcpy(v6 + 24, all_nodes, 16);
    icmp[0] = 136;
    icmp[4] = 0x20; /* override */
    memcpy(icmp + 8, ip, 16);
    icmp[24] = 2; /* target link-layer address */
    icmp[25] = 1;
    memcpy(icmp + 26, mac, 6);
    for (int i = 8; i < 72; i += 2)
        sum += (uint32_t)(v6[i] << 8 | v6[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum;
    icmp[2] = (uint8_t)(sum >> 8);
    icmp[3] = (uint8_t)sum;
    return 86;
}

static int send_now(void *arg)
{
    const struct pending *item = arg;
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
    struct ifreq request = {0};
    uint8_t frame[128];
    size_t size;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = 0;

    if (fd < 0)
        return -errno;
    memcpy(request.ifr_name, item->dev, sizeof request.ifr_name);
    to.sll_ifindex = (int)if_nametoindex(item->dev);
    if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) {
        rc = -errno;
        goto out;
    }
    size = item->addr.family == AF_INET
               ? arp_frame(frame, (uint8_t *)request.ifr_hwaddr.sa_data, item->addr.bytes)
               : na_frame(frame, (uint8_t *)request.ifr_hwaddr.sa_data, item->addr.bytes);
    memcpy(to.sll_addr, frame, 6);
    if (sendto(fd, frame, size, 0, (struct sockaddr *)&to, sizeof to) < 0)
        rc = -errno;
out:
    close(fd);
    return rc;
}

static void drop(struct announcer *announcer, struct pending **at)
{
    struct pending *item = *at;

    *at = item->next;
    if (item->ns_fd >= 0)
        close(item->ns_fd);
    free(item);
    announcer->count--;
}

static void on_timer(uv_timer_t *timer)
{
    struct announcer *announcer = timer->data;
    struct pending **at = &announcer->list;

    while (*at) {
        int rc = netns_run((*at)->ns_fd, send_now, *at);

        if (--(*at)->left <= 0 || rc == -ENODEV) /* the device went: nothing to tell */
            drop(announcer, at);
        else
            at = &(*at)->next;
    }
    if (!announcer->list)
        uv_timer_stop(timer);
}

int announcer_open(uv_loop_t *loop, struct announcer **ret)
{
    struct announcer *announcer = calloc(1, sizeof *announcer);

    if (!announcer)
        return -ENOMEM;
    uv_timer_init(loop, &announcer->timer);
    announcer->timer.data = announcer;
    *ret = announcer;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void announcer_close(struct announcer *announcer)
{
    if (!announcer)
        return;
    while (announcer->list)
        drop(announcer, &announcer->list);
    uv_close((uv_handle_t *)&announcer->timer, on_closed);
}

void announce(struct announcer *announcer, int ns_fd, const char *dev,
              const struct netlink_addr *addr)
{
    struct pending *item;

    if (announcer->count >= PENDING_MAX)
        return;
    item = calloc(1, sizeof *item);
    if (!item)
        return;
    item->ns_fd = ns_fd < 0 ? -1 : fcntl(ns_fd, F_DUPFD_CLOEXEC, 0);
    if (ns_fd >= 0 && item->ns_fd < 0) {
        free(item);
        return;
    }
    item->left = REPEATS;
    strncpy(item->dev, dev, sizeof item->dev - 1);
    item->addr = *addr;
    item->next = announcer->list;
    announcer->list = item;
    announcer->count++;
    /* At once, but after the caller has brought its device up. */
    uv_timer_start(&announcer->timer, on_timer, 0, 1000);
}
