/* What a store engine is, for the files of this room only.
 *
 * Concept.   store.c checks and collects a transaction into a plain list; an engine commits it. The
 * engine's struct begins with `struct store`, so that a store is freed by its engine.
 * Lifecycle. open -> any calls -> close (called once, from a clean stack of the loop: the engine
 * answers everything with -ECANCELED and frees itself when its handles are closed).
 * Ownership. commit takes the transaction; every other pointer is borrowed for the call.
 * Threads.   The loop's. An engine may use worker threads inside.
 */
#ifndef VLING_STORE_ENGINE_H
#define VLING_STORE_ENGINE_H

#include "store/store.h"

#define STORE_NAME_MAX 255 /* a table, an id, a lease's name */
#define STORE_TXN_SIZE_MAX (1024 * 1024)

struct txn_expect {
    char *table, *id;
    int64_t revision;
};

struct txn_change {
    char *table, *id;
    json_t *row; /* NULL: delete */
    char *text;  /* the row as JSON */
    size_t size;
};

struct store_txn {
    struct txn_expect expects[STORE_TXN_CHANGES_MAX];
    size_t expect_count;
    struct txn_change changes[STORE_TXN_CHANGES_MAX];
    size_t change_count;
    size_t size;
    int rc; /* the first mistake made while it was built */
};

struct store_engine {
    const char *name;
    void (*close)(struct store *store);
    void (*commit)(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                   void *arg);
    void (*barrier)(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg);
    void (*watch)(struct store *store);
    void (*lease_take)(struct store *store, const char *name, json_t *row, int ttl_ms,
                       int timeout_ms, store_lease_cb *cb, void *arg);
    void (*lease_renew)(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                        void *arg);
    void (*lease_drop)(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                       void *arg);
    void (*status)(struct store *store, struct store_status *ret_status);
};

struct store {
    const struct store_engine *engine;
    uv_loop_t *loop;
    struct store_watcher watcher;
    bool watching;
    bool closing;
    uv_timer_t *closer;
};

/* Fills the common part. 0 or -ENOMEM. */
int store_init(struct store *store, const struct store_engine *engine, uv_loop_t *loop);

uv_loop_t *store_loop(struct store *store);

/* A lease's row, which store_txn_put refuses. */
void store_txn_put_leased(struct store_txn *txn, const char *name, json_t *row);

/* Is `name` fit for a table's name, an id or a lease's name: 1..STORE_NAME_MAX printable bytes? */
bool store_name_ok(const char *name);

/* Lease ids: random, positive, small enough for every JSON reader. */
int64_t store_lease_id_new(void);

#endif
