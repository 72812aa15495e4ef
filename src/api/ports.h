/* Ports, as the compute service sees them: what a server's create and delete need of the network.
 *
 * All of it is a handler's work: rows are read from `req->db`, changes go into `req->txn`; nothing
 * waits. Addresses are made unique by rows of the table `ip` whose id is "<network id>.<address>":
 * two transactions that chose the same address cannot both be committed, and the loser's handler
 * runs again. One request that makes several ports never gives out one address twice, since what
 * the transaction holds so far is kept in mind (see port_alloc.h).
 */
#ifndef VLING_API_PORTS_H
#define VLING_API_PORTS_H

#include "api/api.h"

struct api_port_spec {
    const char *network_id;
    const char *project_id;
    const char *device_id;    /* NULL: "" */
    const char *device_owner; /* "compute:nova"; NULL: "" */
    int device_index;         /* place among the device's ports */
    const char *name;         /* NULL: "" */
    /* Ids, NULL-terminated; NULL: the project's default group (none for "network:..." owners). */
    const char *const *security_groups;
    const char *fixed_ip;  /* or NULL: any free one */
    const char *subnet_id; /* or NULL: any subnet of the network */
};

/* Makes a port. 0 and, in `ret_port` (may be NULL), a new reference of its row; or negative after
 * api_fail(). */
int api_port_create(struct api_req *req, const struct api_port_spec *spec, json_t **ret_port);

/* Removes the port's row and those of its addresses; floating IPs that pointed to it point nowhere
 * then. `port` is a row with "_rev" (borrowed). */
void api_port_delete(struct api_req *req, json_t *port);

/* Gives the client's own port to a server, as its port number `device_index`: 0, or negative after
 * api_fail() (no such port, or in use). It stays when the server goes. */
int api_port_attach(struct api_req *req, const char *port_id, const char *device_id,
                    const char *device_owner, int device_index);

/* The server of the port goes: what was made for the server is deleted, a client's own port is free
 * again. */
void api_port_release(struct api_req *req, json_t *port);

/* A security group that the project may use, by name or id. 0; or negative after api_fail(): 404 if
 * there is none, 409 if several have that name. The name "default" always exists. */
int api_security_group_find(struct api_req *req, const char *project_id, const char *name_or_id,
                            char ret_id[64]);

/* A port begins to be in the group: it must not go in this moment. 0 or negative after api_fail().
 */
int api_security_group_use(struct api_req *req, const char *id);

/* The id of the project's group `default`, which is created in this transaction if there is none
 * yet. The id is derived from the project's, so that it cannot be made twice. 0 or negative after
 * api_fail(). */
int api_default_security_group(struct api_req *req, const char *project_id, char ret_id[64]);

#endif
