/* Who else hears a host: besides the controllers, a few hosts in other cabinets that are none.
 *
 * They tell the controllers whom they hear, so a host is not called lost while one of them still
 * hears it, and a death is confirmed from its own side of a cut, too. Everybody works it out from
 * the same rows, so a host knows from whom it is to hear without being told.
 * Pure.
 */
#ifndef VLING_HA_NEIGHBOURS_H
#define VLING_HA_NEIGHBOURS_H

#include <stdbool.h>
#include <stddef.h>

#define NEIGHBOURS_MAX 2

struct neighbour_host {
    const char *id, *cabinet;
    bool controller;
};

/* The neighbours of `self`: indices into `hosts`, in different cabinets. The hosts of a cabinet are
 * spread over those of another. Returns how many; `hosts` in any order. */
size_t neighbours_of(const struct neighbour_host *hosts, size_t count, const char *self,
                     size_t ret[NEIGHBOURS_MAX]);

#endif
