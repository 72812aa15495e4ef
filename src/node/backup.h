/* Backups: all rows of the cloud in one file (model/backup.h), and a new cloud out of it.
 *
 * Restoring. Into a new cloud only: the file lies in <state_dir>/restore.json of one controller
 *           when its vlingd starts with an empty store. Rows go in by transactions of some hundred
 *           KiB, servers last, so that nobody acts on a server whose ports are not there yet. A
 *           crash in between goes on where it was. It is also the way from one machine (SQLite) to
 *           three controllers (etcd).
 * Races.    The row setting/cluster says who makes the cloud: whoever creates it first. A
 *           restoring controller is named in it until all rows are there; until then hosts touch
 *           neither guests nor networking. Who comes second says so once and puts its file aside.
 */
#ifndef VLING_NODE_BACKUP_H
#define VLING_NODE_BACKUP_H

#include "model/backup.h"
#include "node/node.h"

/* The whole file as a new object: what the mirror holds now. */
json_t *backup_make(struct node *node);

/* The file of a backup, checked: it can be restored. NULL and `err`, or a new reference. */
json_t *backup_read(const char *path, bool *ret_sealed, struct err *err);

/* Called again and again on a controller. True while a restore is under way or due: then nobody
 * else may write the first rows. */
bool restore_step(struct node *node);

/* "<state_dir>/restore.json" */
void restore_path(const struct config *config, char *ret, size_t size);

#endif
