/* Time. Decisions use the monotonic clock (it counts while the machine is suspended and nobody can
 * set it); only what people read uses the wall clock. */
#ifndef VLING_BASE_CLOCK_H
#define VLING_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds of CLOCK_BOOTTIME. */
int64_t clock_now_ms(void);

/* Milliseconds since 1970 UTC. */
int64_t clock_wall_ms(void);

/* `wall_ms` as "2026-11-22T13:55:39Z" into `out` (at least 21 bytes); returns `out`. */
const char *clock_iso(int64_t wall_ms, char *out, size_t out_size);

/* As clock_iso with microseconds as Keystone writes them: "2026-11-22T13:55:39.000000Z". */
const char *clock_iso_us(int64_t wall_ms, char *out, size_t out_size);

/* Parses both forms above (also without the Z). Returns milliseconds since 1970, or -1. */
int64_t clock_parse_iso(const char *text);

#endif
