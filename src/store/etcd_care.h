/* Looks after the space of the etcd member beside this controller.
 *
 * History that nobody needs is compacted away by etcd itself, but the file keeps its size until it
 * is defragmented, and a member whose file reached the quota raises an alarm that makes the whole
 * store read-only until somebody compacts, defragments and takes the alarm back. This does so.
 *
 * Turns.    Each member looks after itself only, and defragments (it does not answer meanwhile)
 * only in its own minute of the clock, so that never two are busy at the same time; an alarm does
 * not wait for its turn. Threads.  The loop's. Source.
 * https://etcd.io/docs/v3.4/op-guide/maintenance/
 */
#ifndef VLING_STORE_ETCD_CARE_H
#define VLING_STORE_ETCD_CARE_H

#include "store/etcd_server.h"

struct etcd_care;

/* Looks every `period_ms` (0: a minute). NULL: out of memory. */
struct etcd_care *etcd_care_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                  int period_ms);
void etcd_care_stop(struct etcd_care *care);

#endif
