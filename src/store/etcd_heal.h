/* How a member without data takes its place: as a first member of a new cluster, or again in a
 * cluster that knows it.
 *
 * The danger.  A member that lost its data and starts under its old id with an empty log may vote
 *              for one that lacks what was acknowledged. So a member that once took part never
 *              starts as new: the others remove it and add it again, and it gets all data from
 *              them.
 * Steps.       The others are asked one after the other for their list of members. Known there with
 *              client URLs: it has run before, so it is removed and added. Known by name but never
 *              started: the cluster is just being founded. Known without a name: it was added
 *              before and did not start yet. Unknown: it is added.
 * Threads.     The loop's.
 * Source.      https://etcd.io/docs/v3.4/op-guide/runtime-configuration/
 */
#ifndef VLING_STORE_ETCD_HEAL_H
#define VLING_STORE_ETCD_HEAL_H

#include "store/etcd_server.h"

enum etcd_place {
    ETCD_PLACE_NEW,      /* start with --initial-cluster-state new */
    ETCD_PLACE_EXISTING, /* start with existing: the others expect it */
    ETCD_PLACE_UNKNOWN,  /* nobody answered, or the change was refused: ask again later */
};

typedef void etcd_place_cb(void *arg, enum etcd_place place);

struct etcd_heal;
/* Asks; `cb` is called once, from the loop, unless cancelled before. NULL: out of memory. */
struct etcd_heal *etcd_heal_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                  etcd_place_cb *cb, void *arg);
/* No callback any more. After the callback the object is gone by itself. */
void etcd_heal_cancel(struct etcd_heal *heal);

#endif
