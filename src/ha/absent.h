/* Hosts that rows speak of and that have no row themselves: for how long.
 *
 * Concept.  Hosts are not in a backup, where servers were is. So a cloud that was restored knows
 *           such hosts by name only, until they start and write their rows. For each the memory
 *           counts how long it was seen without a row and without a lease; either begins it anew.
 * Use.      absents_begin, absents_see for each server's host without a row, absents_end: what was
 *           not seen in between is forgotten.
 * Time.     Monotonic milliseconds given by the caller. Threads: none of its own.
 */
#ifndef VLING_HA_ABSENT_H
#define VLING_HA_ABSENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABSENT_NAME_SIZE 64
/* More than a cloud has hosts. Who finds no room is counted later, when others are done. */
#define ABSENTS_MAX 256

struct absent {
    char host[ABSENT_NAME_SIZE];
    int64_t since;
    bool seen;
};

struct absents {
    struct absent list[ABSENTS_MAX];
    size_t count;
};

void absents_begin(struct absents *absents);
/* It has no row now, and a lease or none. Returns for how long it has had neither. */
int64_t absents_see(struct absents *absents, const char *host, bool leased, int64_t now);
void absents_end(struct absents *absents);

#endif
