/* A server's status as Nova tells it, out of what is wanted (row `server`) and what is (row
 * `server_state`): https://docs.openstack.org/api-guide/compute/server_concepts.html
 *
 * A server that is being recovered on another host (its generation grew, the new host has not
 * reported yet) is REBUILD with the task rebuild_spawning, as Nova shows an evacuation.
 */
#ifndef VLING_MODEL_SERVER_H
#define VLING_MODEL_SERVER_H

#include <jansson.h>

struct server_status {
    const char *status;     /* "ACTIVE" */
    const char *vm_state;   /* "active" */
    const char *task_state; /* "powering-off", or NULL */
    int power_state;        /* 0 none, 1 running, 3 paused, 4 shut down */
    const json_t *fault;    /* borrowed from the rows; NULL: none */
};

/* `state` may be NULL: no host has reported yet. Pure. */
void server_status(const json_t *server, const json_t *state, struct server_status *ret);

#endif
