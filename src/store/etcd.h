/* The etcd engine's inside, for the etcd_*.c files.
 *
 * Concept.   etcd's JSON gateway over HTTP/1.1, and gRPC for what there is much of. An `etcd_op` is
 * one request that may be sent again: it goes to the endpoint that answered last, moves on when
 * that fails, and calls back once, with an answer that decides or with -ETIMEDOUT / -ECANCELED. It
 * says whether a copy of the request may still be on its way (`open_copies`). Reads, renewals and
 * guarded transactions may all be repeated safely; etcd_txn.c explains why the last. Threads.   The
 * loop's.
 */
#ifndef VLING_STORE_ETCD_H
#define VLING_STORE_ETCD_H

#include "base/buf.h"
#include "io/http_client.h"
#include "store/engine.h"

#define ETCD_ENDPOINTS_MAX 16
#define ETCD_ROW_PREFIX "/vling/row/"
#define ETCD_LEASE_PREFIX "/vling/lease/"
#define ETCD_WRITER_PREFIX "/vling/writer/"
#define ETCD_KEY_SIZE (2 * STORE_NAME_MAX + 32)

/* gRPC codes as the gateway writes them. */
enum etcd_code {
    ETCD_UNKNOWN = 2,
    ETCD_INVALID = 3,
    ETCD_NOT_FOUND = 5,
    ETCD_EXHAUSTED = 8,
    ETCD_OUT_OF_RANGE = 11,
};

/* A moment at which something is called; one uv timer serves the whole list. */
struct etcd_alarm {
    struct etcd_alarm *prev, *next;
    int64_t due_ms;
    void (*ring)(void *arg);
    void *arg;
    bool set;
};

struct etcd_reply {
    int rc;   /* 0: answered 200; -EREMOTEIO: etcd refused, see `code`; -ETIMEDOUT, -ECANCELED */
    int code; /* enum etcd_code */
    const char *why;  /* etcd's message */
    json_t *json;     /* rc 0; borrowed; NULL from gRPC */
    const void *grpc; /* then this, borrowed, too */
    size_t grpc_size;
    int endpoint;
    int64_t revision; /* header.revision */
    int64_t term;     /* header.raft_term */
    int64_t ttl;      /* of a renewal: seconds, 0: the lease has run out */
    bool open_copies; /* a copy of the request may still take effect */
};
typedef void etcd_op_cb(void *arg, const struct etcd_reply *reply);

struct etcd_op {
    struct etcd_op *prev, *next;
    struct etcd *etcd;
    char *path, *body;
    size_t body_size;
    bool grpc; /* else the gateway's JSON */
    struct http_client **client;
    int64_t deadline_ms; /* INT64_MAX: none */
    int attempt;
    int endpoint; /* of the attempt under way */
    int pinned;   /* use only this endpoint, once; -1: any */
    int refusals; /* connections refused in a row */
    bool open_copies;
    struct http_call *call;
    struct etcd_alarm again;
    struct etcd_alarm overdue; /* of gRPC */
    etcd_op_cb *cb;
    void *arg;
};

struct etcd_endpoint {
    char *url;
    int64_t last_ok_ms;
};

struct etcd_txns;
struct etcd_slots;
struct etcd_watch;
struct etcd_barriers;

struct etcd {
    struct store store;
    struct http_client *http; /* for the gateway */
    /* For gRPC: a connection that is given up because of a slow transaction is none of those on
     * which leases are renewed. */
    struct http_client *questions, *transactions;
    struct etcd_endpoint endpoints[ETCD_ENDPOINTS_MAX];
    int endpoint_count;
    bool secure;         /* all of them by TLS */
    int current;         /* asked first: the leader, if it answers */
    int leader;          /* its endpoint; -1: not known in this term */
    int64_t leader_term; /* in which it was looked for */
    int64_t looked_ms;
    char *writer, *ca_file, *cert_file, *key_file;
    uv_timer_t *timer;
    struct etcd_alarm *alarms;
    struct etcd_op *ops;
    bool closing;
    int64_t seen_revision;
    int64_t size_bytes, size_ms;
    char last_error[160];
    struct etcd_txns *txns;
    struct etcd_slots *slots;
    struct etcd_watch *watch;
    struct etcd_barriers *barriers;
};

/* ---- etcd.c ---- */

void etcd_alarm_set(struct etcd *etcd, struct etcd_alarm *alarm, int64_t due_ms,
                    void (*ring)(void *arg), void *arg);
void etcd_alarm_stop(struct etcd *etcd, struct etcd_alarm *alarm);

/* Takes `body`. Calls `cb` exactly once, never from inside. A path outside of the gateway's "/v3/"
 * is a gRPC method (etcd_grpc.c). */
struct etcd_op *etcd_op_start(struct etcd *etcd, const char *path, struct buf *body,
                              int64_t deadline_ms, etcd_op_cb *cb, void *arg);
/* One attempt at one endpoint. */
void etcd_op_probe(struct etcd *etcd, int endpoint, const char *path, struct buf *body,
                   int timeout_ms, etcd_op_cb *cb, void *arg);

void etcd_endpoint_ok(struct etcd *etcd, int endpoint, int64_t revision);
/* Others should try elsewhere. */
void etcd_endpoint_failed(struct etcd *etcd, int endpoint, const char *why);

/* ---- etcd_json.c ---- */

/* `"name":"<base64 of bytes>"`. */
void etcd_put_base64(struct buf *b, const char *name, const void *bytes, size_t size);
void etcd_put_key(struct buf *b, const char *name, const char *key);
/* Decodes into new memory, zero-terminated. NULL if it is no base64. */
char *etcd_base64_decode(const char *text, size_t *ret_size);
/* An int64 that the gateway writes as a string. */
int64_t etcd_int(const json_t *object, const char *key);
const char *etcd_row_key(char key[ETCD_KEY_SIZE], const char *table, const char *id);

/* Changes collected from key-value pairs; owns what they point to. */
struct etcd_changes {
    struct store_change *list;
    size_t count, cap;
};
/* Adds the pair if its key is a row's or a lease's, and returns the change (borrowed, until the
 * next one); NULL: of another key. */
const struct store_change *etcd_changes_add(struct etcd_changes *changes, const json_t *kv,
                                            bool deleted);
void etcd_changes_free(struct etcd_changes *changes);

/* ---- etcd_grpc.c ---- */

#define ETCD_GRPC_RANGE "/etcdserverpb.KV/Range"
#define ETCD_GRPC_RENEW "/etcdserverpb.Lease/LeaseKeepAlive"
#define ETCD_GRPC_TXN "/etcdserverpb.KV/Txn"

/* A linearizable read of nothing: the answer's revision and term are all that it tells. By gRPC,
 * or through the gateway where there is no TLS. */
void etcd_ask_revision(struct etcd *etcd, int64_t deadline_ms, etcd_op_cb *cb, void *arg);
/* Renews a lease; the answer's `ttl` tells whether it lives. By the same ways. */
void etcd_ask_renewal(struct etcd *etcd, int64_t lease, int64_t deadline_ms, etcd_op_cb *cb,
                      void *arg);

struct etcd_grpc_answer {
    int64_t revision, term; /* of the header; revision > 0 */
    int64_t ttl;            /* of a renewal, else 0 */
};
/* What an answer to one of the two says. False: it is none. */
bool etcd_grpc_read(const void *bytes, size_t size, struct etcd_grpc_answer *ret);

#define ETCD_NESTED_MAX 16
struct etcd_txn_answer {
    bool succeeded;
    bool nested[ETCD_NESTED_MAX]; /* if it did: did those in it? */
};
/* What etcd says of a transaction that on success does `before` other things and then `count`
 * nested transactions. False: it is no answer to that. */
bool etcd_grpc_read_txn(const void *bytes, size_t size, size_t before, size_t count,
                        struct etcd_txn_answer *ret);

/* ---- etcd_txn.c ---- */

int etcd_txns_open(struct etcd *etcd);
void etcd_txns_close(struct etcd *etcd);
/* Frees the list; after every op has called back. */
void etcd_txns_free(struct etcd *etcd);
void etcd_commit(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                 void *arg);
/* As etcd_commit, with the rows that are put in the table "lease" bound to `lease`. */
void etcd_commit_leased(struct etcd *etcd, struct store_txn *txn, int64_t lease, int timeout_ms,
                        store_commit_cb *cb, void *arg);

/* ---- etcd_lease.c: leases and barriers ---- */

int etcd_barriers_open(struct etcd *etcd);
void etcd_barriers_close(struct etcd *etcd);
void etcd_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg);
void etcd_lease_take(struct store *store, const char *name, json_t *row, int ttl_ms, int timeout_ms,
                     store_lease_cb *cb, void *arg);
void etcd_lease_renew(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                      void *arg);
void etcd_lease_drop(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                     void *arg);
/* Begins `body` and names the lease in it, as the gateway wants it. */
void etcd_lease_body(struct buf *body, int64_t lease);

/* ---- etcd_watch.c ---- */

int etcd_watch_open(struct etcd *etcd);
void etcd_watch_close(struct etcd *etcd);
/* A request to the endpoint failed: leaves it if the watch is there and has heard nothing either.
 */
void etcd_watch_doubt(struct etcd *etcd, int endpoint);
void etcd_watch_start(struct store *store);
/* Which row cannot be read, and the remedy, in words for a person; "": all can. */
void etcd_watch_trouble(const struct etcd *etcd, char *out, size_t out_size);

#endif
