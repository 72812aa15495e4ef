/* Bytes of images that no row names: a controller died after an upload was durable and before a row
 * named it, or after a row was deleted and before its bytes were.
 *
 * Nobody's upload is taken away: only what was last written SWEEP_AGE ago is looked at, and an
 * upload that takes that long between its last byte and its row was given up long ago. The rows are
 * read after the folder and as of then, so what was named meanwhile is seen. */
#ifndef VLING_NODE_SWEEP_H
#define VLING_NODE_SWEEP_H

#include "drv/driver.h"
#include "store/mirror.h"

#define SWEEP_AGE (6 * 3600) /* seconds */
#define SWEEP_MAX 100        /* images deleted at once */

struct node;

/* Looks for them on a worker thread and deletes them when the mirror is current; at most SWEEP_MAX,
 * the others next time. */
void sweep_images(struct node *node);

/* Deletes those of `ids` (strings) that no image's row names; returns how many. None while there is
 * no image at all: then the rows are probably still to be restored. */
size_t sweep_unnamed(struct mirror *db, const struct storage_ops *ops,
                     struct storage_driver *storage, const json_t *ids);

#endif
