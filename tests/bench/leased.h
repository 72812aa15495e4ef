/* Reads under a read lease, for bench_store: the caller's mirror becomes the first of three
 * controllers, the other two get stores and mirrors of their own in this process, and all three
 * promise each other what controllers do (node/reads.h), by frames over loopback. */
#ifndef VLING_TESTS_LEASED_H
#define VLING_TESTS_LEASED_H

#include "node/reads.h"
#include "store/mirror.h"

#define LEASED_CONTROLLERS 3

/* `dir` is where the cluster's key is put, `addresses` are the controllers', `others` how the
 * second and the third reach etcd. Runs the loop until the first holds a lease. 0 or -errno and
 * `err`. */
int leased_open(uv_loop_t *loop, const char *dir, struct mirror *first,
                const char *const addresses[LEASED_CONTROLLERS],
                const struct store_etcd_options *others, struct err *err);

/* One read as the API makes it: the gate, the row, and whether it may be told. `done` is called
 * from the loop, never from inside. */
void leased_read(const char *table, const char *id, void (*done)(void *arg, int rc), void *arg);

/* Reads so far that asked nobody, and those that took a barrier. */
void leased_counters(uint64_t *ret_at_once, uint64_t *ret_asked);

#endif
