/* Looks after the etcd member beside this controller.
 *
 * Space.    History that nobody needs is compacted away by etcd itself, but the file keeps its size
 *           until it is defragmented, and a member whose file reached the quota raises the alarm
 *           NOSPACE, which makes the whole store read-only until somebody compacts, defragments and
 *           takes the alarm back. Each does so for itself, and who did takes back the alarms of
 *           members that do not answer or are none any more, too.
 * Turns.    Each member defragments (it does not answer meanwhile) only in its own minute of the
 *           clock, so that never two are busy at the same time; an alarm does not wait for its
 * turn. Content.  The alarm CORRUPT, or a member that etcd did not start because others differ,
 * makes the members be compared (etcd_compare.h). The majority takes one that differs out; it gets
 *           its data from them again (etcd_server.h). When all who answer hold the same, the first
 *           of them takes the alarm back. Without a majority the operator is told.
 * Log.      etcd's own is copied to "<log_file>.1" and begun again when it is large.
 * Threads.  The loop's.
 * Source.   https://etcd.io/docs/v3.4/op-guide/maintenance/
 */
#ifndef VLING_STORE_ETCD_CARE_H
#define VLING_STORE_ETCD_CARE_H

#include "store/etcd_server.h"

struct etcd_care;

/* Looks every `period_ms` (0: a minute). `options` outlive it. NULL: out of memory. */
struct etcd_care *etcd_care_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                  int period_ms);
void etcd_care_stop(struct etcd_care *care);

/* The members may differ: they are compared until all were found to hold the same. */
void etcd_care_doubt(struct etcd_care *care);
bool etcd_care_doubts(const struct etcd_care *care);

/* Is it the minute of the member at place `turn`? */
bool etcd_care_is_turn(int64_t wall_ms, int members, int turn);

#endif
