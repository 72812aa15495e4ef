/* Backups: all rows of the cloud in one file, and a new cloud out of it.
 *
 * The file. JSON {"vling_backup": 1, "version", "revision", "time", "rows": [{"table", "row"}...]}.
 *           It holds everything but what the hosts say of themselves (their rows, leases, the
 * modules they hold): they say it again. It holds secrets (password hashes, the key of tokens):
 *           mode 0600. The bytes of images and disks are the storage's and not in it.
 * Restoring. Into a new cloud only: the file lies in <state_dir>/restore.json of one controller
 *           when its vlingd starts with an empty store. Rows go in by the hundred, servers last, so
 *           that nobody acts on a server whose ports are not there yet. A crash in between goes on
 *           where it was. It is also the way from one machine (SQLite) to three controllers (etcd).
 */
#ifndef VLING_NODE_BACKUP_H
#define VLING_NODE_BACKUP_H

#include "node/node.h"

/* The whole file as a new object: what the mirror holds now. */
json_t *backup_make(struct node *node);

/* Is `backup` a backup that this version reads? 0 or -EINVAL / -ENOTSUP. */
int backup_check(const json_t *backup, struct err *err);

/* Called again and again on a controller. True while a restore is under way or due: then nobody
 * else may write the first rows. */
bool restore_step(struct node *node);

/* "<state_dir>/restore.json" */
void restore_path(const struct config *config, char *ret, size_t size);

#endif
