/* What no row names any more. Bytes of images: a controller died after an upload was durable and
 * before a row named it, or after a row was deleted and before its bytes were. Root disks: their
 * deletion failed, or a host that had lost the server meanwhile finished a copy that had waited.
 *
 * Nobody's upload or disk is taken away: only what was last written SWEEP_AGE ago is looked at, and
 * an upload that takes that long between its last byte and its row was given up long ago. The rows
 * are read after the folder and as of then, so what was named meanwhile is seen. A disk goes only
 * when two looks, an interval apart, found no server for it. */
#ifndef VLING_NODE_SWEEP_H
#define VLING_NODE_SWEEP_H

#include "drv/driver.h"
#include "store/mirror.h"

#define SWEEP_AGE (6 * 3600) /* seconds */
#define SWEEP_MAX 100        /* images, and disks, deleted at once */

struct node;

/* What one sweep remembers for the next. */
struct sweep_memory {
    json_t *disks; /* ids that had no server; NULL: none was looked for yet */
};

/* Looks for them on a worker thread and deletes them when the mirror is current; at most SWEEP_MAX
 * of each, the others next time. `memory` belongs to the caller and outlives the sweep. */
void sweep(struct node *node, struct sweep_memory *memory);

/* Deletes those of `ids` (strings) that no image's row names; returns how many. None while there is
 * no image at all: then the rows are probably still to be restored. */
size_t sweep_unnamed(struct mirror *db, const struct storage_ops *ops,
                     struct storage_driver *storage, const json_t *ids);

/* The same for disks that no server's row names and that were in `memory` already; it holds those
 * found now afterwards. None is deleted while there is no server at all. */
size_t sweep_disks(struct mirror *db, const struct storage_ops *ops, struct storage_driver *storage,
                   const json_t *ids, struct sweep_memory *memory);

#endif
