/* What joins rooms that may not know each other (only main.c and its helpers may include all):
 * the API's view of image bytes and of other hosts, made from the node's drivers and clients. */
#ifndef VLING_ASSEMBLY_H
#define VLING_ASSEMBLY_H

#include "api/api.h"

struct node;

struct api_images assembly_images(struct node *node);
struct api_peers assembly_peers(struct node *node);

/* Starts the REST services of a controller. */
int assembly_start_api(struct node *node, struct err *err);
void assembly_stop_api(struct node *node);
/* Puts a new cloud's first rows into `txn`. */
int assembly_bootstrap(struct store_txn *txn, const char *admin_password, struct err *err);

#endif
