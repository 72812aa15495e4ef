/* What this host's networking should be, computed from the rows (form: drv/network/plan.md).
 * No I/O: reads the mirror only. Threads: the loop's. */
#ifndef VLING_NODE_NETPLAN_H
#define VLING_NODE_NETPLAN_H

#include "node/config.h"
#include "store/mirror.h"

/* A new reference to the plan of the host that `config` describes. */
json_t *netplan_compute(struct mirror *db, const struct config *config);

/* Is `table` one whose rows the plan depends on? */
bool netplan_depends_on(const char *table);

#endif
