#include "store/engine.h"

#include "base/id.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- building a transaction ---- */

struct store_txn *store_txn_new(void)
{
    struct store_txn *txn = calloc(1, sizeof(*txn));

    if (!txn)
        abort();
    return txn;
}

static void change_clear(struct txn_change *change)
{
    free(change->table);
    free(change->id);
    free(change->text);
    json_decref(change->row);
    memset(change, 0, sizeof(*change));
}

void store_txn_free(struct store_txn *txn)
{
    if (!txn)
        return;
    for (size_t i = 0; i < txn->expect_count; i++) {
        free(txn->expects[i].table);
        free(txn->expects[i].id);
    }
    for (size_t i = 0; i < txn->change_count; i++)
        change_clear(&txn->changes[i]);
    free(txn);
}

bool store_txn_empty(const struct store_txn *txn)
{
    return txn->change_count == 0 && txn->rc == 0;
}

bool store_name_ok(const char *name)
{
    size_t size = 0;

    if (!name)
        return false;
    for (; name[size]; size++)
        if ((unsigned char)name[size] < 0x20 || name[size] == 0x7f || size == STORE_NAME_MAX)
            return false;
    return size > 0;
}

static void mistake(struct store_txn *txn, int rc)
{
    if (txn->rc == 0)
        txn->rc = rc;
}

static bool names_ok(struct store_txn *txn, const char *table, const char *id)
{
    if (store_name_ok(table) && store_name_ok(id) && !strchr(table, '/'))
        return true;
    mistake(txn, -EINVAL);
    return false;
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        abort();
    return copy;
}

size_t store_txn_room(const struct store_txn *txn)
{
    return STORE_TXN_CHANGES_MAX - txn->change_count;
}

void store_txn_expect(struct store_txn *txn, const char *table, const char *id, int64_t revision)
{
    struct txn_expect *expect;

    if (!names_ok(txn, table, id))
        return;
    if (txn->expect_count == STORE_TXN_CHANGES_MAX) {
        mistake(txn, -EMSGSIZE);
        return;
    }
    expect = &txn->expects[txn->expect_count++];
    expect->table = copy_of(table);
    expect->id = copy_of(id);
    expect->revision = revision;
}

/* The place for a change of the row: its earlier change in this transaction, cleared, or a new one.
 */
static struct txn_change *change_at(struct store_txn *txn, const char *table, const char *id)
{
    struct txn_change *change;
    size_t i;

    if (!names_ok(txn, table, id))
        return NULL;
    for (i = 0; i < txn->change_count; i++)
        if (strcmp(txn->changes[i].table, table) == 0 && strcmp(txn->changes[i].id, id) == 0)
            break;
    if (i == STORE_TXN_CHANGES_MAX) {
        mistake(txn, -EMSGSIZE);
        return NULL;
    }
    change = &txn->changes[i];
    if (i == txn->change_count) {
        txn->change_count++;
        txn->size += strlen(table) + strlen(id);
    } else {
        txn->size -= change->size;
        change_clear(change);
    }
    change->table = copy_of(table);
    change->id = copy_of(id);
    return change;
}

static void put(struct store_txn *txn, const char *table, const char *id, json_t *row)
{
    struct txn_change *change;

    if (!json_is_object(row)) {
        mistake(txn, -EINVAL);
        return;
    }
    change = change_at(txn, table, id);
    if (!change)
        return;
    change->row = json_incref(row);
    change->text = json_dumps(row, JSON_COMPACT);
    change->size = change->text ? strlen(change->text) : 0;
    txn->size += change->size;
    if (!change->text || !json_depth_ok(change->text, change->size))
        mistake(txn, -EINVAL);
    else if (change->size > STORE_ROW_SIZE_MAX || txn->size > STORE_TXN_SIZE_MAX)
        mistake(txn, -EMSGSIZE);
}

void store_txn_put(struct store_txn *txn, const char *table, const char *id, json_t *row)
{
    if (table && strcmp(table, STORE_LEASE_TABLE) == 0)
        mistake(txn, -EINVAL);
    else
        put(txn, table, id, row);
}

void store_txn_put_leased(struct store_txn *txn, const char *name, json_t *row)
{
    put(txn, STORE_LEASE_TABLE, name, row);
}

void store_txn_delete(struct store_txn *txn, const char *table, const char *id)
{
    change_at(txn, table, id);
}

void store_txn_create(struct store_txn *txn, const char *table, const char *id, json_t *row)
{
    store_txn_expect(txn, table, id, 0);
    store_txn_put(txn, table, id, row);
}

bool store_txn_peek(const struct store_txn *txn, const char *table, const char *id,
                    json_t **ret_row)
{
    for (size_t i = 0; i < txn->change_count; i++) {
        const struct txn_change *change = &txn->changes[i];

        if (strcmp(change->table, table) == 0 && strcmp(change->id, id) == 0) {
            *ret_row = change->row;
            return true;
        }
    }
    return false;
}

json_t *store_txn_rows(const struct store_txn *txn, const char *table)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < txn->change_count; i++) {
        if (txn->changes[i].row && strcmp(txn->changes[i].table, table) == 0)
            json_array_append(rows, txn->changes[i].row);
    }
    return rows;
}

/* ---- calls, passed on to the engine ---- */

int store_init(struct store *store, const struct store_engine *engine, uv_loop_t *loop)
{
    store->engine = engine;
    store->loop = loop;
    store->closer = calloc(1, sizeof(*store->closer));
    if (!store->closer)
        return -ENOMEM;
    uv_timer_init(loop, store->closer);
    store->closer->data = store;
    return 0;
}

uv_loop_t *store_loop(struct store *store)
{
    return store->loop;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void on_close(uv_timer_t *timer)
{
    struct store *store = timer->data;

    uv_close((uv_handle_t *)timer, free_handle);
    store->engine->close(store);
}

/* The engine is taken apart from a clean stack: the caller may be inside one of its callbacks. */
void store_close(struct store *store)
{
    if (!store || store->closing)
        return;
    store->closing = true;
    memset(&store->watcher, 0, sizeof(store->watcher));
    uv_timer_start(store->closer, on_close, 0, 0);
}

static void nobody_waits(void *arg, int rc, int64_t revision)
{
}

void store_commit(struct store *store, struct store_txn *txn, int timeout_ms, store_commit_cb *cb,
                  void *arg)
{
    store->engine->commit(store, txn, timeout_ms, cb ? cb : nobody_waits, arg);
}

void store_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg)
{
    store->engine->barrier(store, timeout_ms, cb, arg);
}

void store_watch(struct store *store, const struct store_watcher *watcher)
{
    store->watcher = *watcher;
    if (!store->watching) {
        store->watching = true;
        store->engine->watch(store);
    }
}

int64_t store_lease_id_new(void)
{
    uint64_t id;

    id_random(&id, sizeof(id));
    return (int64_t)(id >> 11) + 1;
}

void store_lease_take(struct store *store, const char *name, json_t *row, int ttl_ms,
                      int timeout_ms, store_lease_cb *cb, void *arg)
{
    store->engine->lease_take(store, name, row, ttl_ms, timeout_ms, cb, arg);
}

void store_lease_renew(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                       void *arg)
{
    store->engine->lease_renew(store, lease, timeout_ms, cb, arg);
}

void store_lease_drop(struct store *store, int64_t lease, int timeout_ms, store_lease_cb *cb,
                      void *arg)
{
    store->engine->lease_drop(store, lease, timeout_ms, cb, arg);
}

void store_get_status(struct store *store, struct store_status *ret_status)
{
    memset(ret_status, 0, sizeof(*ret_status));
    ret_status->engine = store->engine->name;
    store->engine->status(store, ret_status);
}
