/* The agent's reading and writing of rows, apart from its actions. */
#ifndef VLING_NODE_AGENT_ROWS_H
#define VLING_NODE_AGENT_ROWS_H

#include "drv/driver.h"
#include "ha/guest.h"
#include "node/node.h"

/* Fills `ret` from the rows and the driver's view (`guest` NULL: none). */
void agent_view(struct mirror *db, const json_t *server, const struct guest_info *guest,
                struct guest_view *ret);

/* The server's ports in the order in which they were made. New reference. */
json_t *agent_ports_of(struct mirror *db, const char *server_id);

/* Transactions, for the caller to commit. */
/* What the host sees of the server; NULL if the row says so already. */
struct store_txn *agent_txn_report(struct mirror *db, const json_t *server, enum guest_seen seen,
                                   int64_t reboot_serial);
/* Removes the server with everything that was its own. */
struct store_txn *agent_txn_forget(struct mirror *db, const json_t *server);
/* The guest powered itself off: stopped is what is wanted from now on. */
struct store_txn *agent_txn_accept_stop(const json_t *server);
/* Nothing of the server runs here any more: the host in its row's move_to has it from now on. */
struct store_txn *agent_txn_hand_over(const struct config *config, const json_t *server);

/* Commits a fault for the server's state, best effort. */
void agent_report_fault(struct node *node, const json_t *server, const char *message);

#endif
