/* Join tokens as rows, and whose name is taken.
 *
 * Tokens.   Row join_token/<first 12 digits of the hash>: the SHA-256 of a token's secret, its end,
 *           the host it is for (or any). Every controller accepts them. The token of `vlingd init`
 *           is no row but a file of the controllers, since the first hosts join before there is a
 *           store; it has no end, and a row marks it as withdrawn.
 * Names.    A host's row tells the hash of its key. A certificate for its name is given to that key
 *           only, whatever the token, except by a token that was made for this very host: so nobody
 *           who learned a token takes the name, and the authority's key, of a controller. Names of
 *           hosts that did not start yet are remembered in this life of the daemon.
 * Threads.  The loop's.
 */
#ifndef VLING_NODE_TOKENS_H
#define VLING_NODE_TOKENS_H

#include "node/join.h"
#include "node/node.h"

/* The two hooks of join_server_options; `arg` is the node. */
void tokens_settle(void *arg, void (*go_on)(void *go_arg, int rc), void *go_arg);
enum join_verdict tokens_judge(void *arg, const struct join_candidate *candidate);

/* GET /v1/tokens; POST /v1/tokens {"create": {"host": NAME (or none), "hours": N}} or {"withdraw":
 * ID}. For controllers only. False: another path. */
bool tokens_serve(struct node *node, struct http_request *request);

#endif
