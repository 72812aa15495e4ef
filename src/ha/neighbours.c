#include "ha/neighbours.h"

#include <string.h>

static bool is_candidate(const struct neighbour_host *host, const char *cabinet)
{
    return !host->controller && strcmp(host->cabinet, cabinet) == 0;
}

/* The next cabinet after `cabinet` by name, cyclic, that has candidates; NULL: none. */
static const char *next_cabinet(const struct neighbour_host *hosts, size_t count,
                                const char *cabinet)
{
    const char *after = NULL, *first = NULL;

    for (size_t i = 0; i < count; i++) {
        const char *name = hosts[i].cabinet;

        if (hosts[i].controller)
            continue;
        if (!first || strcmp(name, first) < 0)
            first = name;
        if (strcmp(name, cabinet) > 0 && (!after || strcmp(name, after) < 0))
            after = name;
    }
    return after ? after : first;
}

/* How many before it by name stand in its cabinet. */
static size_t rank_of(const struct neighbour_host *hosts, size_t count,
                      const struct neighbour_host *host)
{
    size_t rank = 0;

    for (size_t i = 0; i < count; i++)
        rank += strcmp(hosts[i].cabinet, host->cabinet) == 0 && strcmp(hosts[i].id, host->id) < 0;
    return rank;
}

/* The `rank`th candidate of a cabinet that has one, counted round. */
static size_t pick(const struct neighbour_host *hosts, size_t count, const char *cabinet,
                   size_t rank)
{
    size_t candidates = 0;

    for (size_t i = 0; i < count; i++)
        candidates += is_candidate(&hosts[i], cabinet);
    for (size_t i = 0; i < count; i++) {
        size_t before = 0;

        if (!is_candidate(&hosts[i], cabinet))
            continue;
        for (size_t k = 0; k < count; k++)
            before += is_candidate(&hosts[k], cabinet) && strcmp(hosts[k].id, hosts[i].id) < 0;
        if (before == rank % candidates)
            return i;
    }
    return count;
}

size_t neighbours_of(const struct neighbour_host *hosts, size_t count, const char *self,
                     size_t ret[NEIGHBOURS_MAX])
{
    const struct neighbour_host *own = NULL;
    const char *cabinet;
    size_t found = 0;

    for (size_t i = 0; i < count && !own; i++)
        own = strcmp(hosts[i].id, self) == 0 ? &hosts[i] : NULL;
    if (!own)
        return 0;
    for (cabinet = next_cabinet(hosts, count, own->cabinet);
         found < NEIGHBOURS_MAX && cabinet && strcmp(cabinet, own->cabinet) != 0;
         cabinet = next_cabinet(hosts, count, cabinet)) {
        size_t at = pick(hosts, count, cabinet, rank_of(hosts, count, own));

        if (at == count || (found > 0 && at == ret[0]))
            break;
        ret[found++] = at;
    }
    return found;
}
