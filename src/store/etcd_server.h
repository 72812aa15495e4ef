/* The etcd member beside this controller: its command line, and keeping it running.
 *
 * Lifecycle. etcd_server_start adopts the member that an earlier vlingd left running (pid file and
 * the process's own command line agree) or starts it; when it dies it is started again with
 * growing pauses. A vlingd that ends leaves its member running, so that a restart of vlingd costs
 * the cluster nothing; etcd_server_stop with `kill` ends it.
 * Data.      A member is what its log (member/wal) says. One that took part once
 *            ("<data_dir>.joined" says so) and has no log any more (what is left is put aside as
 *            "<data_dir>.incomplete-<time>"), or whose data etcd cannot read
 * ("....damaged-<time>"), or that the others removed meanwhile ("....removed-<time>"), is added to
 * the others' cluster again (etcd_heal.h); it never begins with nothing under its old name. Alone
 * it waits for its operator. Errors.    What etcd says goes to `log_file`; deaths are logged.
 * Threads.   The loop's.
 */
#ifndef VLING_STORE_ETCD_SERVER_H
#define VLING_STORE_ETCD_SERVER_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct etcd_server;

struct etcd_server_peer {
    const char *name, *ip;
};

struct etcd_server_options {
    const char *binary;    /* NULL: "etcd", found in PATH */
    const char *name;      /* of this member; one of `peers` */
    const char *data_dir;  /* made if missing (0700) */
    const char *listen_ip; /* clients at listen_ip:client_port and 127.0.0.1:client_port */
    bool own_ip_only;      /* clients at listen_ip only: several members on one machine */
    int client_port;       /* 0: 2379 */
    int peer_port;         /* 0: 2380 */
    const struct etcd_server_peer *peers; /* all members, this one too */
    int peer_count;
    const char *token;                          /* the cluster's, NULL: "vling" */
    const char *ca_file, *cert_file, *key_file; /* for clients and peers; all NULL: plain (tests) */
    /* Between members, in place of the above; NULL: the above. Members whose certificate has
     * another CN than `peer_cn` (NULL: any) are refused. */
    const char *peer_cert_file, *peer_key_file, *peer_cn;
    const char *pid_file, *log_file;
    int64_t quota_bytes; /* of its file; 0: 2 GiB */
    int care_ms;         /* how often its space is looked at (etcd_care.h); 0: every minute */
    int64_t log_bytes;   /* of log_file, from which on it is begun again; 0: 16 MiB */
    /* What an operator must know, also when the store takes no writes now; severity as an event's.
     * It is logged already. May be NULL. */
    void (*tell)(void *arg, const char *severity, const char *text);
    void *tell_arg;
};

/* NULL and `err` when the options are wrong or the folder cannot be made. That etcd cannot be
 * started now is logged and tried again. */
struct etcd_server *etcd_server_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                      struct err *err);

/* For a host that is no member any more: ends the process that may still run on `data_dir` and puts
 * the data aside as "<data_dir>.removed-<time>". */
void etcd_server_retire(const char *data_dir, const char *pid_file);

/* 0 while it is not running. */
int etcd_server_pid(const struct etcd_server *server);

/* Stops watching over the member and frees `server` (from the loop); `kill`: ends the member too.
 */
void etcd_server_stop(struct etcd_server *server, bool kill);

#endif
