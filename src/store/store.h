/* The replicated state, behind one small interface.
 *
 * Concept.   A store is an ordered history of transactions over rows. A row is a JSON object named
 *            by (table, id). Each committed transaction gets the next revision, which it may share
 *            with others that were committed together with it and do not touch what it touches; a
 *            row carries the revision of its last change. Writers are optimistic: a transaction
 *            names the revisions it relied on and fails as a whole with -EAGAIN if one moved.
 * Engines.   etcd (three members, any number of vlingd as clients), SQLite on disk (one
 *            controller), and, for the simulator, one in memory. Each is a `struct store_engine`
 *            (engine.h).
 * Unknowns.  A transaction whose answer was lost is neither repeated nor guessed: the engine reads
 *            (and, where needed, fences) until it knows, and only then calls back. So a callback's
 *            verdict is final: 0 = committed exactly once, anything else = not committed and never
 *            will be. While the store cannot be reached the callback waits until the deadline and
 *            then fails with -ETIMEDOUT *only if* the engine is sure; if it cannot be sure it keeps
 *            the operation open and answers -EINPROGRESS ("may still commit").
 * Unreadable. A row that holds no JSON object (a foreign writer, a damage that etcd did not notice)
 *            is never taken for deleted: what belongs to it would be destroyed. SQLite's file is
 *            refused (sqlite_file.h). With etcd, who follows keeps the row and the mirror puts it
 *            back; who begins asks the other members, again and again, and says so in the log and
 *            in the status, with the remedy.
 * Threads.   Everything on the loop's thread. Callbacks run from the loop, never from inside the
 *            call that started the operation.
 * Layout.    etcd keys: /vling/row/<table>/<id> = JSON; /vling/lease/<name> = JSON, bound to a
 *            lease; /vling/writer/... = what resolves unknown outcomes (etcd_slots.h). Leases
 *            appear to watchers as rows of the table "lease".
 */
#ifndef VLING_STORE_STORE_H
#define VLING_STORE_STORE_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct store;
struct store_txn;

#define STORE_LEASE_TABLE "lease"
#define STORE_TXN_CHANGES_MAX 120 /* etcd's default limit is 128 operations */
#define STORE_ROW_SIZE_MAX (256 * 1024)

/* ---- opening ---- */

struct store_etcd_options {
    const char *const *endpoints;               /* "https://10.10.1.1:2379", NULL-terminated */
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL for plain http (tests only) */
    const char *writer;                         /* unique name of this vlingd, e.g. its host name */
};

/* Both open without waiting for the store to be reachable. NULL and `err` on failure. */
struct store *store_open_etcd(uv_loop_t *loop, const struct store_etcd_options *options,
                              struct err *err);
struct store *store_open_sqlite(uv_loop_t *loop, const char *path, struct err *err);

/* Fails what is under way with -ECANCELED and frees the store once its handles are closed. */
void store_close(struct store *store);

/* ---- transactions ---- */

/* `rc`: 0 committed at `revision`; -EAGAIN a precondition failed; -ETIMEDOUT not committed;
 * -EINPROGRESS unknown at the deadline; -EMSGSIZE too big; -ENOSPC the store is full (its quota
 * alarm); -EINVAL a bad name or row, or a put into the table "lease" (delete and expect are allowed
 * there); -ECANCELED closed. */
typedef void store_commit_cb(void *arg, int rc, int64_t revision);

struct store_txn *store_txn_new(void);
void store_txn_free(struct store_txn *txn);
/* No changes, and none that was dropped because of a mistake: to commit that is a failure. */
bool store_txn_empty(const struct store_txn *txn);

/* Precondition: the row's revision is `revision`; 0 means that the row must not exist. */
void store_txn_expect(struct store_txn *txn, const char *table, const char *id, int64_t revision);

/* Writes the whole row (a later change of the same row in the transaction replaces it); takes a
 * reference of `row` (not changed afterwards by the caller). */
void store_txn_put(struct store_txn *txn, const char *table, const char *id, json_t *row);
void store_txn_delete(struct store_txn *txn, const char *table, const char *id);

/* As expect(0) and put: a create. */
void store_txn_create(struct store_txn *txn, const char *table, const char *id, json_t *row);

/* How many more rows it can change. */
size_t store_txn_room(const struct store_txn *txn);

/* What the transaction does to the row so far: true if it writes or deletes it, and then `ret_row`
 * is what it leaves (borrowed; NULL: deleted). */
bool store_txn_peek(const struct store_txn *txn, const char *table, const char *id,
                    json_t **ret_row);
/* The rows of `table` that the transaction writes, as a new array. */
json_t *store_txn_rows(const struct store_txn *txn, const char *table);

/* Commits and frees `txn`. `timeout_ms` counts from now. `cb` may be NULL: nobody waits. */
void store_commit(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                  void *arg);

/* ---- reading ---- */

/* Linearizable: `revision` is at least that of every transaction acknowledged (to anybody) before
 * the call. Calls that wait at the same time share one round trip. */
typedef void store_barrier_cb(void *arg, int rc, int64_t revision);
void store_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg);

struct store_change {
    const char *table;
    const char *id;
    json_t *row; /* NULL: deleted, or `unreadable`; borrowed */
    int64_t revision;
    bool unreadable; /* there is a row, but what it holds is no JSON object */
};

struct store_watcher {
    /* Everything at `revision` follows (first start, or history was compacted away): drop what you
     * have; `changes` are all rows. It does not come while one of them is unreadable. */
    void (*reset)(void *arg, int64_t revision, const struct store_change *changes, size_t n);
    /* The changes of one or more whole transactions, in order, up to and including `revision`.
     * n == 0: progress only, nothing changed up to `revision`. Of an unreadable row the watcher
     * keeps what it was before. */
    void (*changed)(void *arg, int64_t revision, const struct store_change *changes, size_t n);
    void *arg;
};

/* Starts feeding the (only) watcher: one reset, then changes, for ever, across reconnections. */
void store_watch(struct store *store, const struct store_watcher *watcher);

/* ---- leases ---- */

/* A lease binds one row of table "lease" (id = `name`, row = `row`) to its holder's renewals: the
 * row vanishes `ttl_ms` (etcd rounds up to whole seconds) after the last renewal the store
 * received. `lease` ids outlive the process: a restarted holder may go on renewing one. */
typedef void store_lease_cb(void *arg, int rc, int64_t lease);

/* Creates lease and row; -EEXIST if the row exists (somebody, or an earlier self, holds it). */
void store_lease_take(struct store *store, const char *name, json_t *row, int ttl_ms,
                      int timeout_ms, store_lease_cb *cb, void *arg);
/* `rc` 0: alive for another ttl counted from when the call was *sent*; -ENOENT: it has run out. */
void store_lease_renew(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                       void *arg);
/* Ends a lease at once. For others' leases: only after the holder was fenced. */
void store_lease_drop(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                      void *arg);

/* ---- for status pages ---- */

struct store_status {
    const char *engine; /* "etcd", "sqlite" */
    bool reachable;
    int64_t revision; /* highest seen */
    int64_t size_bytes;
    char leader[100]; /* its endpoint, "" if there is none or none is known */
    char detail[256]; /* endpoint in use, last error, a row that cannot be read */
};
void store_get_status(struct store *store, struct store_status *ret_status);

#endif
