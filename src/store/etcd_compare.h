/* Which member of the store holds something else than the others?
 *
 * Concept.  etcd tells a member that differs only by the alarm CORRUPT, which stops all writes, or
 *           by not starting a member that finds others different; neither says who is right. Each
 *           member is asked for the hash of its keys at one revision, and what the majority of all
 *           members (also of those that do not answer) has is right.
 * Caution.  Hashes are comparable only when the same history was compacted away; else nothing is
 *           said this time.
 * Threads.  The loop's.
 * Source.   "/members/hashkv" at the peers' port is what etcd itself asks (etcdserver/corrupt.go of
 *           3.4); the JSON gateway has only a hash of the whole file.
 */
#ifndef VLING_STORE_ETCD_COMPARE_H
#define VLING_STORE_ETCD_COMPARE_H

#include "store/etcd_server.h"

#define ETCD_COMPARE_MAX 9

enum etcd_verdict {
    ETCD_VERDICT_NONE,        /* too few answered, or they are not comparable now */
    ETCD_VERDICT_MAJORITY,    /* a majority agrees */
    ETCD_VERDICT_NO_MAJORITY, /* and there will be none, whoever else answers */
};

struct etcd_answered {
    bool status, hashed; /* what it answered */
    int64_t revision, hash, compacted;
    char id[32]; /* decimal, as the gateway writes it */
};

struct etcd_compared {
    enum etcd_verdict verdict;
    int agreed;    /* the first of the majority, by its place among the peers */
    bool complete; /* all answered */
    bool differ;   /* some who answered differ */
    int odd;       /* one that differs from the majority; -1: none that answered */
    char odd_id[32];
};

/* The decision alone. */
void etcd_compare_judge(const struct etcd_answered *members, int count,
                        struct etcd_compared *ret_compared);

typedef void etcd_compare_cb(void *arg, const struct etcd_compared *compared);

struct http_client;
struct etcd_compare;
/* Asks all; `cb` is called once, from the loop, unless cancelled before. `all`: nothing is hashed
 * unless all are there. NULL: out of memory.
 * `options` outlive it, `client` too. */
struct etcd_compare *etcd_compare_start(struct http_client *client,
                                        const struct etcd_server_options *options, bool all,
                                        etcd_compare_cb *cb, void *arg);
/* No callback any more. Freed when `client` is. */
void etcd_compare_cancel(struct etcd_compare *compare);

#endif
