#include "ha/placement.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum reject {
    FITS,
    NOT_COMPUTE,
    NOT_UP,
    DISABLED,
    NOT_ASKED,
    AVOIDED,
    NOT_TOGETHER,
    NOT_APART,
    NO_MEMORY,
    NO_VCPU,
    REJECTS
};

static bool given(const char *text)
{
    return text && text[0];
}

static int64_t ram_free(const struct placement_host *host, const struct placement_options *options)
{
    return host->ram_mb - options->host_reserved_mb - host->ram_mb_used;
}

enum placement_policy placement_policy_parse(const char *name)
{
    static const char *const names[] = {[PLACEMENT_AFFINITY] = "affinity",
                                        [PLACEMENT_ANTI_AFFINITY] = "anti-affinity",
                                        [PLACEMENT_SOFT_AFFINITY] = "soft-affinity",
                                        [PLACEMENT_SOFT_ANTI_AFFINITY] = "soft-anti-affinity"};

    for (unsigned i = PLACEMENT_AFFINITY; name && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return PLACEMENT_NO_POLICY;
}

enum placement_policy placement_policy_soften(enum placement_policy policy)
{
    if (policy == PLACEMENT_AFFINITY)
        return PLACEMENT_SOFT_AFFINITY;
    return policy == PLACEMENT_ANTI_AFFINITY ? PLACEMENT_SOFT_ANTI_AFFINITY : policy;
}

static bool is_apart(enum placement_policy policy)
{
    return policy == PLACEMENT_ANTI_AFFINITY || policy == PLACEMENT_SOFT_ANTI_AFFINITY;
}

static enum reject check(const struct placement_host *host, const struct placement_options *options,
                         const struct placement_request *request)
{
    double ratio = options->vcpu_ratio > 0 ? options->vcpu_ratio : 16.0;

    if (!host->compute)
        return NOT_COMPUTE;
    if (given(request->zone) && strcmp(request->zone, host->cabinet) != 0)
        return NOT_ASKED;
    if (given(request->host) && strcmp(request->host, host->id) != 0)
        return NOT_ASKED;
    if (given(request->avoid_host) && strcmp(request->avoid_host, host->id) == 0)
        return AVOIDED;
    if (!host->up)
        return NOT_UP;
    if (host->disabled)
        return DISABLED;
    if (request->ram_mb > ram_free(host, options))
        return NO_MEMORY;
    /* One server never gets more vcpus than there are CPUs: overcommit is for the sum. */
    if (request->vcpus > host->vcpus)
        return NO_VCPU;
    if ((double)(host->vcpus_used + request->vcpus) > (double)host->vcpus * ratio)
        return NO_VCPU;
    return FITS;
}

/* What the group's hard policy says of the host at `at`. */
static enum reject check_group(const struct placement_request *request, size_t at, size_t count)
{
    if (!request->mates)
        return FITS;
    if (request->policy == PLACEMENT_ANTI_AFFINITY && request->mates[at] > 0)
        return NOT_APART;
    if (request->policy != PLACEMENT_AFFINITY || request->mates[at] > 0)
        return FITS;
    for (size_t i = 0; i < count; i++) {
        if (request->mates[i] > 0)
            return NOT_TOGETHER;
    }
    return FITS;
}

static int64_t cabinet_free(const struct placement_host *hosts, size_t count,
                            const struct placement_options *options, const char *cabinet)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        if (hosts[i].compute && hosts[i].up && !hosts[i].disabled &&
            strcmp(hosts[i].cabinet, cabinet) == 0)
            sum += ram_free(&hosts[i], options);
    }
    return sum;
}

static size_t cabinet_mates(const struct placement_host *hosts, size_t count,
                            const struct placement_request *request, const char *cabinet)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += strcmp(hosts[i].cabinet, cabinet) == 0 ? request->mates[i] : 0;
    return sum;
}

struct weight {
    int64_t near, cabinet_near; /* members of its group; negative where they are to be apart */
    bool away;                  /* from the cabinet to avoid */
    int64_t cabinet_free, free, servers;
    const char *name;
};

static bool better(const struct weight *a, const struct weight *b)
{
    if (a->near != b->near)
        return a->near > b->near;
    if (a->cabinet_near != b->cabinet_near)
        return a->cabinet_near > b->cabinet_near;
    if (a->away != b->away)
        return a->away;
    if (a->cabinet_free != b->cabinet_free)
        return a->cabinet_free > b->cabinet_free;
    if (a->free != b->free)
        return a->free > b->free;
    if (a->servers != b->servers)
        return a->servers < b->servers;
    return strcmp(a->name, b->name) < 0;
}

static void weigh_group(struct weight *weight, const struct placement_host *hosts, size_t count,
                        const struct placement_request *request, size_t at)
{
    if (is_apart(request->policy)) {
        weight->near = -(int64_t)request->mates[at];
        weight->cabinet_near = -(int64_t)cabinet_mates(hosts, count, request, hosts[at].cabinet);
    } else {
        weight->near = (int64_t)request->mates[at];
    }
}

static void explain(const size_t rejected[REJECTS], size_t count, char *why)
{
    static const char *const names[REJECTS] = {
        [NOT_COMPUTE] = "without the role compute",
        [NOT_UP] = "not up",
        [DISABLED] = "in maintenance",
        [NOT_ASKED] = "not in the zone or not the host asked for",
        [AVOIDED] = "being left",
        [NOT_TOGETHER] = "without the other servers of the group",
        [NOT_APART] = "with another server of the group",
        [NO_MEMORY] = "without enough free memory",
        [NO_VCPU] = "without enough vcpus",
    };
    const char *between = ": ";
    size_t len = (size_t)snprintf(why, PLACEMENT_WHY_SIZE,
                                  "No valid host was found. There are %zu hosts", count);

    for (size_t i = 1; i < REJECTS; i++) {
        if (!rejected[i] || len >= PLACEMENT_WHY_SIZE)
            continue;
        len += (size_t)snprintf(why + len, PLACEMENT_WHY_SIZE - len, "%s%zu %s", between,
                                rejected[i], names[i]);
        between = ", ";
    }
}

int placement_choose(const struct placement_host *hosts, size_t count,
                     const struct placement_options *options,
                     const struct placement_request *request, char *why)
{
    size_t rejected[REJECTS] = {0};
    struct weight best = {0};
    int found = -ENOSPC;

    for (size_t i = 0; i < count; i++) {
        enum reject reject = check(&hosts[i], options, request);
        struct weight weight;

        if (reject == FITS)
            reject = check_group(request, i, count);
        rejected[reject]++;
        if (reject != FITS)
            continue;
        weight = (struct weight){
            .away = !given(request->avoid_cabinet) ||
                    strcmp(request->avoid_cabinet, hosts[i].cabinet) != 0,
            .cabinet_free = cabinet_free(hosts, count, options, hosts[i].cabinet),
            .free = ram_free(&hosts[i], options),
            .servers = hosts[i].servers,
            .name = hosts[i].id,
        };
        if (request->mates && request->policy != PLACEMENT_NO_POLICY)
            weigh_group(&weight, hosts, count, request, i);
        if (found < 0 || better(&weight, &best)) {
            best = weight;
            found = (int)i;
        }
    }
    if (found < 0 && why)
        explain(rejected, count, why);
    return found;
}

void placement_take(struct placement_host *host, const struct placement_request *request)
{
    host->ram_mb_used += request->ram_mb;
    host->vcpus_used += request->vcpus;
    host->servers++;
}
