/* Connections that a network namespace tracks (nf_conntrack), IPv4. */
#ifndef VLING_IO_CONNTRACK_H
#define VLING_IO_CONNTRACK_H

#include <netinet/in.h>
#include <stdbool.h>

struct conntrack {
    struct in_addr from, to;             /* of the first packet, as it came in */
    struct in_addr reply_from, reply_to; /* of its answer; differ from the above if translated */
    bool from_translated, to_translated;
};

/* Ends the tracking of all connections of namespace `netns_fd` (-1: the caller's own) for which
 * `keep` says no: their next packet counts as the first one. Returns how many, or -errno. */
int conntrack_prune(int netns_fd, bool (*keep)(void *arg, const struct conntrack *entry),
                    void *arg);

#endif
