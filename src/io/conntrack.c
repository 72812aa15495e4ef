#include "io/conntrack.h"

#include "io/netns.h"

#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_MAX 65536
#define TUPLE_MAX 256

/* What names an entry to the kernel. */
struct doomed {
    struct doomed *next;
    uint8_t tuple[TUPLE_MAX], id[4];
    int tuple_size;
    bool has_id;
};

struct prune {
    bool (*keep)(void *arg, const struct conntrack *entry);
    void *arg;
    struct doomed *doomed;
    int rc;
};

static int open_socket(void *arg)
{
    struct timeval timeout = {.tv_sec = 5};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0) {
        int rc = -errno;

        close(fd);
        return rc;
    }
    return fd;
}

static struct nl_msg *message(int type, int flags)
{
    struct nfgenmsg head = {.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    struct nl_msg *msg =
        nlmsg_alloc_simple(NFNL_SUBSYS_CTNETLINK << 8 | type, NLM_F_REQUEST | flags);

    if (msg && nlmsg_append(msg, &head, sizeof head, NLMSG_ALIGNTO) < 0) {
        nlmsg_free(msg);
        msg = NULL;
    }
    return msg;
}

/* Sends and frees `msg`; `each` (may be NULL) sees the entries of the answer. */
static int ask(int fd, struct nl_msg *msg, void (*each)(void *arg, struct nlmsghdr *header),
               void *arg)
{
    char *answer = malloc(ANSWER_MAX);
    int rc = answer ? 1 : -ENOMEM; /* 1: goes on */

    if (rc > 0 && send(fd, nlmsg_hdr(msg), nlmsg_hdr(msg)->nlmsg_len, 0) < 0)
        rc = -errno;
    nlmsg_free(msg);
    while (rc > 0) {
        ssize_t got = recv(fd, answer, ANSWER_MAX, 0);
        struct nlmsghdr *header = (struct nlmsghdr *)answer;
        int size = (int)got;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
        for (; rc > 0 && nlmsg_ok(header, size); header = nlmsg_next(header, &size)) {
            if (header->nlmsg_type == NLMSG_ERROR)
                rc = ((struct nlmsgerr *)nlmsg_data(header))->error;
            else if (header->nlmsg_type == NLMSG_DONE)
                rc = 0;
            else if (each)
                each(arg, header);
        }
    }
    free(answer);
    return rc;
}

static bool tuple_read(struct nlattr *tuple, struct in_addr *from, struct in_addr *to)
{
    struct nlattr *ip = tuple ? nla_find(nla_data(tuple), nla_len(tuple), CTA_TUPLE_IP) : NULL;
    struct nlattr *src = ip ? nla_find(nla_data(ip), nla_len(ip), CTA_IP_V4_SRC) : NULL;
    struct nlattr *dst = ip ? nla_find(nla_data(ip), nla_len(ip), CTA_IP_V4_DST) : NULL;

    if (!src || !dst || nla_len(src) != 4 || nla_len(dst) != 4)
        return false;
    nla_memcpy(from, src, 4);
    nla_memcpy(to, dst, 4);
    return true;
}

static void on_entry(void *arg, struct nlmsghdr *header)
{
    const int head = sizeof(struct nfgenmsg);
    struct prune *prune = arg;
    struct conntrack entry = {0};
    struct nlattr *orig, *reply, *id, *status;
    struct doomed *doomed;
    uint32_t bits;

    if (!nlmsg_valid_hdr(header, head))
        return;
    orig = nlmsg_find_attr(header, head, CTA_TUPLE_ORIG);
    reply = nlmsg_find_attr(header, head, CTA_TUPLE_REPLY);
    id = nlmsg_find_attr(header, head, CTA_ID);
    status = nlmsg_find_attr(header, head, CTA_STATUS);
    bits = status && nla_len(status) == 4 ? ntohl(nla_get_u32(status)) : 0;
    entry.from_translated = bits & IPS_SRC_NAT;
    entry.to_translated = bits & IPS_DST_NAT;
    if (!tuple_read(orig, &entry.from, &entry.to) ||
        !tuple_read(reply, &entry.reply_from, &entry.reply_to) || nla_len(orig) > TUPLE_MAX ||
        prune->keep(prune->arg, &entry))
        return;
    doomed = calloc(1, sizeof *doomed);
    if (!doomed) {
        prune->rc = -ENOMEM;
        return;
    }
    doomed->tuple_size = nla_len(orig);
    memcpy(doomed->tuple, nla_data(orig), (size_t)nla_len(orig));
    doomed->has_id = id && nla_len(id) == 4;
    if (doomed->has_id)
        memcpy(doomed->id, nla_data(id), 4);
    doomed->next = prune->doomed;
    prune->doomed = doomed;
}

static int end(int fd, const struct doomed *doomed)
{
    struct nl_msg *msg = message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
    int rc;

    if (!msg)
        return -ENOMEM;
    nla_put(msg, CTA_TUPLE_ORIG | NLA_F_NESTED, doomed->tuple_size, doomed->tuple);
    if (doomed->has_id)
        nla_put(msg, CTA_ID, 4, doomed->id);
    rc = ask(fd, msg, NULL, NULL);
    return rc == -ENOENT ? 0 : rc; /* it ended by itself */
}

int conntrack_prune(int netns_fd, bool (*keep)(void *arg, const struct conntrack *entry), void *arg)
{
    struct prune prune = {.keep = keep, .arg = arg};
    int fd = netns_run(netns_fd, open_socket, NULL), count = 0, rc;
    struct nl_msg *msg;

    if (fd < 0)
        return fd;
    msg = message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
    rc = msg ? ask(fd, msg, on_entry, &prune) : -ENOMEM;
    while (prune.doomed) {
        struct doomed *doomed = prune.doomed;
        int one = end(fd, doomed);

        count += one == 0;
        rc = rc < 0 ? rc : one;
        prune.doomed = doomed->next;
        free(doomed);
    }
    close(fd);
    rc = rc < 0 ? rc : prune.rc;
    return rc < 0 ? rc : count;
}
