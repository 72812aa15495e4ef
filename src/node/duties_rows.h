/* Between the planner's structs (ha/recovery.h) and the rows. */
#ifndef VLING_NODE_DUTIES_ROWS_H
#define VLING_NODE_DUTIES_ROWS_H

#include "ha/absent.h"
#include "ha/recovery.h"
#include "node/node.h"

/* Everything the planner wants to know, read from the mirror and from liveness. The planner's input
 * points into the rows and lives as long as the struct. NULL: out of memory. */
struct duties_input;
struct duties_input *duties_input_read(struct node *node);
const struct recovery_input *duties_input_get(const struct duties_input *input);
/* Adds for how long the servers' hosts that have no row were absent, as this controller has watched
 * since the cloud was complete. */
void duties_input_watch(struct duties_input *input, struct node *node, struct absents *absents,
                        int64_t now);
void duties_input_free(struct duties_input *input);

/* The transaction that does `action`, with its event; NULL when its rows are gone or already so. */
struct store_txn *duties_txn(struct node *node, const struct recovery_action *action);

#endif
