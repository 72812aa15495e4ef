/* Renewing certificates: 90 days before their end, by themselves.
 *
 * A controller issues its own anew (and the one of its member of the store). Another host asks a
 * controller: POST /v1/certificate {"csr"} over mutual TLS -> {"certificate"}. It is issued for the
 * name in the certificate that the host shows, to the key in its row, with the addresses in its
 * row, as far as no other host has them. The daemon then starts itself again, as after a change of
 * the controllers: everything reads the new one. Hosts take their turns by their names, so that
 * they do not all start again on the same day.
 * Threads. The loop's.
 */
#ifndef VLING_NODE_CERTIFICATE_H
#define VLING_NODE_CERTIFICATE_H

#include "node/node.h"

/* At the start: what node->key_id and node->certificate_ends tell. */
int certificate_look(struct node *node, struct err *err);
/* Now and then: renews what is due. */
void certificate_check(struct node *node);
/* False: another path. */
bool certificate_serve(struct node *node, struct http_request *request);

#endif
