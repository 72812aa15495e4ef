/* Where a server goes: filters the hosts that can take it and picks the best by weight.
 *
 * Filters: role, state, maintenance, memory, vcpus (with overcommit), zone (= cabinet), pin, a hard
 * policy of the server's group.
 * Weights, in order: the group's policy (more or fewer members on the host; where they are to be
 * apart, also fewer in the cabinet), the host not to be near (spread), free memory of the cabinet,
 * free memory of the host, fewer servers, name. The same input always gives the same answer.
 */
#ifndef VLING_HA_PLACEMENT_H
#define VLING_HA_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct placement_host {
    const char *id;
    const char *cabinet;
    bool compute;                    /* has the role */
    bool up;                         /* state up */
    bool disabled;                   /* maintenance */
    int64_t vcpus, ram_mb;           /* what there is */
    int64_t vcpus_used, ram_mb_used; /* by servers placed there */
    int64_t servers;
};

struct placement_options {
    double vcpu_ratio;        /* overcommit; 0: 16.0 */
    int64_t host_reserved_mb; /* kept for the host itself */
};

/* Of a server group: https://docs.openstack.org/api-ref/compute/#server-groups-os-server-groups */
enum placement_policy {
    PLACEMENT_NO_POLICY,
    PLACEMENT_AFFINITY,      /* on one host */
    PLACEMENT_ANTI_AFFINITY, /* each on a host of its own */
    PLACEMENT_SOFT_AFFINITY, /* the same as wishes */
    PLACEMENT_SOFT_ANTI_AFFINITY,
};

struct placement_request {
    int64_t vcpus, ram_mb;
    const char *zone;          /* cabinet asked for; NULL or "": any */
    const char *host;          /* pin; NULL or "": any */
    const char *avoid_host;    /* never there (the host being left); NULL: none */
    const char *avoid_cabinet; /* rather not there; NULL: none */
    enum placement_policy policy;
    const size_t *mates; /* beside the hosts: members of its group there; NULL: it is in no group */
};

/* "soft-affinity"; unknown or NULL: no policy. */
enum placement_policy placement_policy_parse(const char *name);
/* What is left of a policy where it cannot be kept: the wish. */
enum placement_policy placement_policy_soften(enum placement_policy policy);

#define PLACEMENT_WHY_SIZE 256

/* Index of the host in `hosts`, or -ENOSPC with a sentence in `why` (PLACEMENT_WHY_SIZE) that
 * counts how many hosts failed at which filter. */
int placement_choose(const struct placement_host *hosts, size_t count,
                     const struct placement_options *options,
                     const struct placement_request *request, char *why);

/* Books the request on the host. */
void placement_take(struct placement_host *host, const struct placement_request *request);

#endif
