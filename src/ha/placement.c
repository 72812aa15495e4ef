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

struct weight {
    bool away; /* from the cabinet to avoid */
    int64_t cabinet_free, free, servers;
    const char *name;
};

static bool better(const struct weight *a, const struct weight *b)
{
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

static void explain(const size_t rejected[REJECTS], size_t count, char *why)
{
    static const char *const names[REJECTS] = {
        [NOT_COMPUTE] = "without the role compute",
        [NOT_UP] = "not up",
        [DISABLED] = "in maintenance",
        [NOT_ASKED] = "not in the zone or not the host asked for",
        [AVOIDED] = "being left",
        [NO_MEMORY] = "without enough free memory",
        [NO_VCPU] = "without enough vcpus",
    };
    size_t len;

    len = (size_t)snprintf(why, PLACEMENT_WHY_SIZE, "No valid host was found: of %zu hosts", count);
    for (size_t i = 1; i < REJECTS; i++) {
        if (rejected[i] && len < PLACEMENT_WHY_SIZE)
            len += (size_t)snprintf(why + len, PLACEMENT_WHY_SIZE - len, ", %zu %s", rejected[i],
                                    names[i]);
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
