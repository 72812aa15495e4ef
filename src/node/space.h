/* The room on the disks that a host needs: the state folder (on a controller etcd lives there) and
 * the place of images and server disks. What is wrong is told in the host's row (`alert`, shown by
 * `vling status`), by an event when it changes, and in the log. Threads. The loop's. */
#ifndef VLING_NODE_SPACE_H
#define VLING_NODE_SPACE_H

#include "node/node.h"

enum space_level { SPACE_FINE, SPACE_LOW, SPACE_FULL };

/* Low: less than a twentieth and less than 1 GiB is left; full: less than 16 MiB. In bytes. */
enum space_level space_level(uint64_t total, uint64_t available);

/* Brings row.alert (NULL: all is fine) up to date; when it changed, `txn` gets an event. */
void space_alert(struct node *node, json_t *row, struct store_txn *txn);

#endif
