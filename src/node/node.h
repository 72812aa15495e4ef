/* The daemon: one struct that holds everything, one loop that owns it.
 *
 * Parts (each in its own file, all on the loop's thread):
 *   lease_keeper  takes and renews this host's lease, feeds the guard
 *   agent         makes guests and networking match the rows of this host
 *   duties        on controllers: feeds ha/recovery with what is, commits what it decides
 *   admin         the peer and operator endpoints on port 7700
 *   watchman      heartbeats and ha/liveness
 *   reads         on controllers: read leases, so that API reads ask nobody
 * They know each other only through this struct and the mirror's rows.
 */
#ifndef VLING_NODE_NODE_H
#define VLING_NODE_NODE_H

#include "drv/driver.h"
#include "ha/liveness.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "node/config.h"
#include "node/guard.h"
#include "node/heartbeat.h"
#include "store/mirror.h"

#define NODE_PEER_PORT 7700
#define NODE_JOIN_PORT 7701
#define NODE_LINKS 2 /* tenant, external */

struct agent;
struct duties;
struct lease_keeper;
struct etcd_server;
struct join_server;
struct node;
struct reads;
struct api;

/* What the daemon needs from rooms that node/ may not know; filled in by main. */
struct node_hooks {
    int (*start_api)(struct node *node, struct err *err);
    void (*stop_api)(struct node *node);
    int (*bootstrap)(struct store_txn *txn, const char *admin_password, struct err *err);
};

struct node {
    const struct node_hooks *hooks;
    uv_loop_t *loop;
    const char *config_path;
    struct config config;
    char boot_id[40]; /* random for each life of the daemon */
    bool controller;

    struct store *store;
    struct mirror *mirror;
    struct etcd_server *etcd;
    struct http_client *peer_client;
    struct http_server *peer_server;
    struct join_server *join;
    json_t *joined;  /* host -> key_id of who joined in this life of the daemon; tokens.c */
    char key_id[65]; /* of this host's certificate, and when it ends: certificate.c */
    char certificate_ends[32];
    int64_t renewal_ms; /* when to look at it next */
    unsigned renewals;
    bool renewing;
    struct api *api;

    const struct compute_ops *compute_ops;
    struct compute_driver *compute;
    const struct storage_ops *storage_ops;
    struct storage_driver *storage;
    const struct network_ops *network_ops;
    struct network_driver *network;

    struct guard *guard;
    struct heartbeat *heartbeat;
    struct liveness *liveness;  /* on controllers: all hosts */
    struct liveness *neighbour; /* on others: those that send here, see ha/neighbours.h */
    uv_timer_t neighbour_timer;
    struct lease_keeper *lease;
    struct agent *agent;
    struct duties *duties;
    struct reads *reads;     /* reads.h; on controllers of etcd */
    struct restore *restore; /* backup.c; NULL: none under way */
    bool founding;           /* a new cloud's first rows are being written, or were */

    unsigned ticks;
    unsigned links_down[NODE_LINKS]; /* links.c: looks in a row at which each was down */
    unsigned guard_missed;           /* looks in a row that found none */
    uv_timer_t tick;
    bool stopping;
    bool restart; /* the program is to start again in this process */
    struct {
        int64_t serial;         /* of the list that is being followed */
        int64_t removed_serial; /* of the list as whose follower this host is no member any more */
        int64_t forged_rev;     /* revision of a list that no controller wrote */
        unsigned checks, asked;
        bool asking, tidying;
    } follow; /* controllers.c */
    uv_signal_t sigterm, sigint, sighup;
};

#define NODE_RESTART (-1)

/* Runs the daemon until SIGTERM or SIGINT; on SIGHUP the roles are read again from the file.
 * Returns the exit status, or NODE_RESTART: the same program is to be executed again in this
 * process, since the controllers changed. Guests and networking go on after it ends; the next one
 * adopts them. */
int node_run(const char *config_path, const struct node_hooks *hooks);

/* ---- compute.c ---- */
/* Opens the driver that runs guests, if the host has that role or guests of before; or whether it
 * has or not. */
int compute_open(struct node *node, struct err *err);
int compute_open_anyway(struct node *node, struct err *err);

/* ---- bootstrap.c ---- */
/* On the controller that `vlingd init` ran on: writes a new cloud's first rows, once. Later an
 * empty store is no reason to: it waits for a backup, or for the note of the next function to go.
 */
void bootstrap_check(struct node *node);
/* "<state_dir>/cloud-founded": this controller has seen a complete cloud. */
void bootstrap_founded_path(const struct config *config, char *ret, size_t size);
/* Writes or refreshes the row of this host (addresses, roles, capacity, version). */
void bootstrap_host_row(struct node *node);

/* ---- backup.c ---- */
/* Are all rows there? Not before a cloud was founded, and not while a backup is being restored:
 * then a row that is missing says nothing. */
bool cloud_complete(struct node *node);

/* ---- lease_keeper.c ---- */
/* Its holder counts on it for less, from when it sent what was answered. */
#define LEASE_TTL_MS 4000
struct lease_keeper *lease_keeper_start(struct node *node);
void lease_keeper_stop(struct lease_keeper *keeper);
/* Does this host hold its lease now, by the holder's own (earlier) counting? */
bool lease_keeper_held(const struct lease_keeper *keeper);
int64_t lease_keeper_epoch(const struct lease_keeper *keeper);

/* ---- agent.c ---- */
struct agent *agent_start(struct node *node, struct err *err);
void agent_stop(struct agent *agent);
/* Something may differ: look again soon. Cheap, may be called often. */
void agent_kick(struct agent *agent);
/* Others may have taken over what this host had, and the guard has silenced it: everything is made
 * sure of again. */
void agent_lease_held(struct agent *agent);

/* ---- watchman.c ---- */
/* Heartbeats to and from the others, fed into ha/liveness. */
int watchman_start(struct node *node, struct err *err);
void watchman_stop(struct node *node);

/* ---- vip.c ---- */
/* Holds the API's virtual IP exactly while this controller is the master of module api-vip. */
void vip_check(struct node *node);
/* The daemon ends in order: another controller takes it. */
void vip_drop(struct node *node);

/* ---- links.c ---- */
/* Looks at the tenant's and the external link; true when the row of this host is to be written. */
bool links_changed(struct node *node);
/* Writes what was seen into this host's row, with events of what changed. */
void links_fill(struct node *node, json_t *row, struct store_txn *txn);

/* ---- duties.c ---- */
struct duties *duties_start(struct node *node);
void duties_stop(struct duties *duties);

/* ---- admin.c ---- */
int admin_start(struct node *node, struct err *err);
/* Answers; take the reference of `body`. */
void admin_reply(struct http_request *request, unsigned status, json_t *body);
void admin_error(struct http_request *request, unsigned status, const char *message);

/* ---- metadata.c ---- */
/* EC2- and OpenStack-style metadata for the server that owns `client_ip` on `network_id`; see
 * network_metadata_cb. `arg` is the node. */
unsigned metadata_serve(void *arg, const char *network_id, const char *client_ip,
                        const char *method, const char *path, char **ret_body, size_t *ret_size);
/* The same documents for a config drive. New references; `user_data` may be NULL (decoded). */
json_t *metadata_document(struct mirror *db, const json_t *server);
json_t *metadata_network(struct mirror *db, const json_t *server);
char *metadata_user_data(const json_t *server, size_t *ret_size);

/* ---- events.c ---- */
/* Deletes the oldest events beyond `keep`, some hundred at a time. */
void events_trim(struct node *node, int64_t keep);
/* Adds a row of table `event` to `txn`. */
void event_add(struct store_txn *txn, const struct config *config, const char *severity,
               const char *kind, const char *object, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Writes an event on its own, as soon as the store takes it. `arg` is the node. */
void event_store(void *arg, const char *severity, const char *text);

#endif
