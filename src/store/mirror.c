#include "store/mirror.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/resource.h"
#include "store/engine.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTENERS_MAX 8
#define STATEMENTS_MAX 64
#define SHARED_MAX 4096
#define TABLES_MAX 64 /* bits of mirror_tables */
#define PUT_BACK_MS 10000

/* One who waits for a revision. */
struct waiter {
    struct waiter *next, **link; /* what points to it in its list */
    int64_t revision;            /* -1: the barrier has not answered yet */
    int64_t deadline_ms;
    struct mirror *mirror;
    mirror_wait_cb *cb;
    void *arg;
    bool dead; /* answered already; its barrier's callback frees it */
};

struct mirror {
    struct store *store;
    sqlite3 *db;
    int64_t revision, changed_revision;
    uint64_t version;                   /* of the last change */
    uint64_t table_version[TABLES_MAX]; /* of the last change in each of resource_all */
    mirror_tables reads;
    bool refused; /* one of these reads */
    bool ready;
    struct {
        mirror_listener *call;
        void *arg;
    } listeners[LISTENERS_MAX];
    size_t listener_count;
    struct {
        sqlite3_stmt *stmt; /* NULL: free */
        uint64_t used;
        mirror_tables tables;     /* that it reads */
    } statements[STATEMENTS_MAX]; /* compiled once: the same few are asked again and again */
    uint64_t statements_used;
    mirror_tables compiling; /* the tables of the statement that is being compiled */
    json_t *shared;          /* "table/id" -> row, or null if there is none */
    struct waiter *asking;   /* for the revision to wait for; the store minds their deadlines */
    struct waiter *waiters;  /* for their revision */
    struct waiter *showing;  /* for the gate */
    struct mirror_gate gate;
    uv_timer_t *timer; /* the waiters' deadlines */
};

/* ---- failures ---- */

/* The rows are in memory, so this is no full disk or lost network: the memory is damaged, or there
 * is none left. To answer now would be to say that there is nothing, and guests would be destroyed
 * and rows deleted because of it. The next life reads everything from the store. */
static void give_up(struct mirror *mirror, const char *what)
{
    log_error("mirror: %s: %s. What it holds cannot be trusted: this process ends, the next one "
              "reads the store again",
              what, sqlite3_errmsg(mirror->db));
    abort();
}

/* ---- opening ---- */

static int run(struct mirror *mirror, const char *sql)
{
    char *why = NULL;
    int rc = sqlite3_exec(mirror->db, sql, NULL, NULL, &why);

    if (rc != SQLITE_OK)
        log_error("mirror: %s: %s", sql, why ? why : sqlite3_errmsg(mirror->db));
    sqlite3_free(why);
    return rc == SQLITE_OK ? 0 : -EIO;
}

static bool is_own_column(const char *name)
{
    return strcmp(name, "id") == 0 || strcmp(name, "rev") == 0 || strcmp(name, "body") == 0;
}

static int create_table(struct mirror *mirror, const struct resource *resource)
{
    char sql[8192];
    size_t len;
    int rc;

    len = (size_t)snprintf(sql, sizeof(sql),
                           "CREATE TABLE \"%s\" (id TEXT PRIMARY KEY, rev INTEGER NOT NULL, "
                           "body TEXT NOT NULL",
                           resource->table);
    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        if ((field->flags & FIELD_INDEX) && !is_own_column(field->name) && len < sizeof(sql))
            len += (size_t)snprintf(sql + len, sizeof(sql) - len,
                                    ", \"%s\" AS (json_extract(body, '$.%s')) VIRTUAL", field->name,
                                    field->name);
    }
    if (len < sizeof(sql))
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, ") WITHOUT ROWID");
    if (len >= sizeof(sql))
        return -E2BIG;
    rc = run(mirror, sql);
    for (size_t i = 0; rc == 0 && i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        if (!(field->flags & FIELD_INDEX) || is_own_column(field->name))
            continue;
        snprintf(sql, sizeof(sql), "CREATE INDEX \"%s.%s\" ON \"%s\" (\"%s\")", resource->table,
                 field->name, resource->table, field->name);
        rc = run(mirror, sql);
    }
    return rc;
}

/* The table's place in resource_all, TABLES_MAX if there is none of that name. */
static size_t table_at(const char *table)
{
    size_t at = 0;

    while (resource_all[at] && strcmp(resource_all[at]->table, table) != 0)
        at++;
    return resource_all[at] ? at : TABLES_MAX;
}

static mirror_tables set_of(const char *table)
{
    size_t at = table_at(table);

    return at < TABLES_MAX ? (mirror_tables)1 << at : 0;
}

/* SQLite asks about each table that a statement reads while it compiles it. */
static int on_access(void *arg, int action, const char *table, const char *column,
                     const char *database, const char *trigger)
{
    struct mirror *mirror = arg;

    if (action == SQLITE_READ && table)
        mirror->compiling |= set_of(table);
    return SQLITE_OK;
}

struct mirror *mirror_open_detached(struct err *err)
{
    struct mirror *mirror = calloc(1, sizeof(*mirror));
    int rc = 0;

    if (!mirror || sqlite3_open(":memory:", &mirror->db) != SQLITE_OK) {
        mirror_close(mirror);
        err_set(err, -ENOMEM, "cannot open the mirror", "out of memory", NULL);
        return NULL;
    }
    for (size_t i = 0; rc == 0 && resource_all[i]; i++)
        rc = i < TABLES_MAX ? create_table(mirror, resource_all[i]) : -E2BIG;
    sqlite3_set_authorizer(mirror->db, on_access, mirror);
    mirror->shared = json_object();
    if (rc < 0) {
        err_set(err, rc, "cannot open the mirror", sqlite3_errmsg(mirror->db), NULL);
        mirror_close(mirror);
        return NULL;
    }
    mirror->version = 1;
    mirror->ready = true;
    return mirror;
}

static void on_reset(void *arg, int64_t revision, const struct store_change *changes, size_t n);

static void on_changed(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    mirror_apply(arg, revision, changes, n);
}

struct mirror *mirror_open(struct store *store, struct err *err)
{
    struct mirror *mirror = mirror_open_detached(err);
    struct store_watcher watcher = {.reset = on_reset, .changed = on_changed, .arg = mirror};

    if (!mirror)
        return NULL;
    mirror->timer = calloc(1, sizeof(*mirror->timer));
    if (!mirror->timer) {
        mirror_close(mirror);
        err_set(err, -ENOMEM, "cannot open the mirror", "out of memory", NULL);
        return NULL;
    }
    uv_timer_init(store_loop(store), mirror->timer);
    mirror->timer->data = mirror;
    mirror->store = store;
    mirror->ready = false;
    store_watch(store, &watcher);
    return mirror;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void waiter_link(struct waiter **list, struct waiter *waiter)
{
    waiter->next = *list;
    waiter->link = list;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    *list = waiter;
}

static void waiter_unlink(struct waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
}

static void waiter_end(struct waiter *waiter, int rc)
{
    bool barrier_open = waiter->revision < 0;

    waiter->cb(waiter->arg, rc);
    if (barrier_open) {
        waiter->dead = true;
        waiter->mirror = NULL;
    } else {
        free(waiter);
    }
}

void mirror_close(struct mirror *mirror)
{
    struct store_watcher nobody = {0};
    struct waiter *waiter;

    if (!mirror)
        return;
    if (mirror->store)
        mirror->store->watcher = nobody;
    while ((waiter = mirror->waiters   ? mirror->waiters
                     : mirror->showing ? mirror->showing
                                       : mirror->asking)) {
        waiter_unlink(waiter);
        waiter_end(waiter, -ECANCELED);
    }
    if (mirror->timer)
        uv_close((uv_handle_t *)mirror->timer, free_handle);
    for (size_t i = 0; i < STATEMENTS_MAX; i++)
        sqlite3_finalize(mirror->statements[i].stmt);
    json_decref(mirror->shared);
    sqlite3_close(mirror->db);
    free(mirror);
}

/* ---- applying ---- */

static void bind_int(struct mirror *mirror, sqlite3_stmt *stmt, int at, int64_t value)
{
    if (sqlite3_bind_int64(stmt, at, value) != SQLITE_OK)
        give_up(mirror, sqlite3_sql(stmt));
}

static void bind_text(struct mirror *mirror, sqlite3_stmt *stmt, int at, const char *text)
{
    if ((text ? sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT)
              : sqlite3_bind_null(stmt, at)) != SQLITE_OK)
        give_up(mirror, sqlite3_sql(stmt));
}

/* ---- compiled statements: the same few are used again and again ---- */

/* Is the result a good one, or the fault of the statement alone? */
static bool memory_is_sound(int rc)
{
    rc &= 0xff;
    return rc == SQLITE_OK || rc == SQLITE_ERROR || rc == SQLITE_TOOBIG;
}

static sqlite3_stmt *compile_new(struct mirror *mirror, const char *sql, size_t at)
{
    sqlite3_stmt *stmt = NULL;
    const char *tail = NULL;

    int rc;

    mirror->compiling = 0;
    rc = sqlite3_prepare_v3(mirror->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, &tail);
    if (!memory_is_sound(rc))
        give_up(mirror, sql);
    if (rc != SQLITE_OK || (tail && *tail)) {
        log_error("mirror: %.1000s: %s", sql, sqlite3_errmsg(mirror->db));
        sqlite3_finalize(stmt);
        return NULL;
    }
    sqlite3_finalize(mirror->statements[at].stmt);
    mirror->statements[at].stmt = stmt;
    mirror->statements[at].used = ++mirror->statements_used;
    mirror->statements[at].tables = mirror->compiling;
    mirror->reads |= mirror->compiling;
    return stmt;
}

/* Compiled now or earlier; NULL: SQLite refuses it, as it is logged. To be ended with
 * end_statement, not finalized. */
static sqlite3_stmt *compile(struct mirror *mirror, const char *sql)
{
    size_t oldest = 0;

    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        sqlite3_stmt *stmt = mirror->statements[i].stmt;

        if (stmt && strcmp(sqlite3_sql(stmt), sql) == 0) {
            mirror->statements[i].used = ++mirror->statements_used;
            mirror->reads |= mirror->statements[i].tables;
            return stmt;
        }
        if (mirror->statements[i].used < mirror->statements[oldest].used)
            oldest = i;
    }
    return compile_new(mirror, sql, oldest);
}

static void end_statement(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

static bool shared_key(char key[2 * STORE_NAME_MAX + 2], const char *table, const char *id)
{
    int size = snprintf(key, 2 * STORE_NAME_MAX + 2, "%s/%s", table, id);

    return size > 0 && size < 2 * STORE_NAME_MAX + 2;
}

static void apply_one(struct mirror *mirror, const struct store_change *change)
{
    char sql[STORE_NAME_MAX + 64], key[2 * STORE_NAME_MAX + 2], *body = NULL;
    size_t at = table_at(change->table);
    sqlite3_stmt *stmt;

    if (at == TABLES_MAX) {
        log_debug("mirror: no table %s (written by a newer release?)", change->table);
        return;
    }
    mirror->table_version[at] = mirror->version;
    if (shared_key(key, change->table, change->id))
        json_object_del(mirror->shared, key);
    snprintf(sql, sizeof(sql),
             change->unreadable ? "UPDATE \"%s\" SET rev = ?2 WHERE id = ?1"
             : change->row      ? "INSERT OR REPLACE INTO \"%s\" (id, rev, body) VALUES (?, ?, ?)"
                                : "DELETE FROM \"%s\" WHERE id = ?",
             change->table);
    stmt = compile(mirror, sql);
    if (!stmt)
        give_up(mirror, sql);
    bind_text(mirror, stmt, 1, change->id);
    if (change->row || change->unreadable)
        bind_int(mirror, stmt, 2, change->revision);
    if (change->row) {
        body = json_dumps(change->row, JSON_COMPACT);
        bind_text(mirror, stmt, 3, body);
    }
    if (sqlite3_step(stmt) != SQLITE_DONE)
        give_up(mirror, key);
    end_statement(stmt);
    free(body);
}

static void must_run(struct mirror *mirror, const char *sql)
{
    if (run(mirror, sql) < 0)
        give_up(mirror, sql);
}

static void apply_all(struct mirror *mirror, const struct store_change *changes, size_t n)
{
    mirror->version += n > 0;
    if (n > 1)
        must_run(mirror, "BEGIN");
    for (size_t i = 0; i < n; i++)
        apply_one(mirror, &changes[i]);
    if (n > 1)
        must_run(mirror, "COMMIT");
}

/* 1, 0: not yet, -errno: never. */
static int reached(struct mirror *mirror, int64_t revision)
{
    return mirror->ready && revision <= mirror->revision;
}

static int may_show(struct mirror *mirror, int64_t revision)
{
    return mirror->gate.may_show ? mirror->gate.may_show(mirror->gate.arg, revision) : 1;
}

/* Takes one waiter that has got what it waits for, or whose time is over, off the list. */
static struct waiter *take_done(struct mirror *mirror, struct waiter *list, int64_t now,
                                int (*is_done)(struct mirror *mirror, int64_t revision),
                                int *ret_rc)
{
    for (struct waiter *waiter = list; waiter; waiter = waiter->next) {
        int done = is_done(mirror, waiter->revision);

        if (done != 0 || waiter->deadline_ms <= now) {
            waiter_unlink(waiter);
            *ret_rc = done > 0 ? 0 : done < 0 ? done : -ETIMEDOUT;
            return waiter;
        }
    }
    return NULL;
}

static int64_t first_deadline(const struct waiter *list, int64_t first)
{
    for (; list; list = list->next)
        if (list->deadline_ms < first)
            first = list->deadline_ms;
    return first;
}

static void wake_waiters(struct mirror *mirror);

static void on_timer(uv_timer_t *timer)
{
    wake_waiters(timer->data);
}

static void wake_waiters(struct mirror *mirror)
{
    int64_t now = clock_now_ms(), first;
    struct waiter *waiter;
    int rc;

    while ((waiter = take_done(mirror, mirror->waiters, now, reached, &rc)))
        waiter_end(waiter, rc);
    while ((waiter = take_done(mirror, mirror->showing, now, may_show, &rc)))
        waiter_end(waiter, rc);
    if (!mirror->timer)
        return;
    first = first_deadline(mirror->showing, first_deadline(mirror->waiters, INT64_MAX));
    if (first == INT64_MAX)
        uv_timer_stop(mirror->timer);
    else
        uv_timer_start(mirror->timer, on_timer, (uint64_t)(first - now), 0);
}

static void tell_listeners(struct mirror *mirror, const struct store_change *changes, size_t n)
{
    for (size_t i = 0; i < mirror->listener_count; i++)
        mirror->listeners[i].call(mirror->listeners[i].arg, changes, n);
}

static void on_put_back(void *arg, int rc, int64_t revision)
{
    if (rc == 0)
        log_warn("mirror: a row that could not be read was put back as it was");
    else if (rc != -EAGAIN) /* somebody else was first */
        log_error("mirror: a row that cannot be read could not be put back: %s", strerror(-rc));
}

/* Everybody who follows has the row as it was and tries this; the first one does it. A lease's row
 * cannot be put: it is kept until the lease ends. */
static void put_back(struct mirror *mirror, const struct store_change *change)
{
    struct store_txn *txn;
    mirror_tables reads = mirror->reads;
    int64_t rev = 0;
    json_t *row = NULL;

    if (table_at(change->table) < TABLES_MAX && strcmp(change->table, STORE_LEASE_TABLE) != 0)
        row = mirror_get(mirror, change->table, change->id, &rev);
    mirror->reads = reads;
    if (row && rev == change->revision) {
        txn = store_txn_new();
        json_object_del(row, "_rev");
        store_txn_expect(txn, change->table, change->id, rev);
        store_txn_put(txn, change->table, change->id, row);
        store_commit(mirror->store, txn, PUT_BACK_MS, on_put_back, NULL);
    }
    json_decref(row);
}

void mirror_apply(struct mirror *mirror, int64_t revision, const struct store_change *changes,
                  size_t n)
{
    apply_all(mirror, changes, n);
    for (size_t i = 0; mirror->store && i < n; i++)
        if (changes[i].unreadable)
            put_back(mirror, &changes[i]);
    if (revision > mirror->revision)
        mirror->revision = revision;
    if (n > 0) {
        mirror->changed_revision = mirror->revision;
        tell_listeners(mirror, changes, n);
    }
    wake_waiters(mirror);
}

static void on_reset(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct mirror *mirror = arg;
    char sql[STORE_NAME_MAX + 64];

    for (size_t i = 0; resource_all[i]; i++) {
        snprintf(sql, sizeof(sql), "DELETE FROM \"%s\"", resource_all[i]->table);
        must_run(mirror, sql);
    }
    json_object_clear(mirror->shared);
    apply_all(mirror, changes, n);
    mirror->version++;
    for (size_t i = 0; i < TABLES_MAX; i++)
        mirror->table_version[i] = mirror->version;
    mirror->revision = mirror->changed_revision = revision;
    mirror->ready = true;
    tell_listeners(mirror, NULL, 0);
    wake_waiters(mirror);
}

bool mirror_ready(const struct mirror *mirror)
{
    return mirror->ready;
}

int64_t mirror_revision(const struct mirror *mirror)
{
    return mirror->revision;
}

int64_t mirror_changed_revision(const struct mirror *mirror)
{
    return mirror->changed_revision;
}

uint64_t mirror_version(const struct mirror *mirror, mirror_tables tables)
{
    uint64_t last = 1;

    for (size_t i = 0; i < TABLES_MAX; i++) {
        if (tables & (mirror_tables)1 << i && mirror->table_version[i] > last)
            last = mirror->table_version[i];
    }
    return last;
}

void mirror_reads_begin(struct mirror *mirror)
{
    mirror->reads = 0;
    mirror->refused = false;
}

bool mirror_reads_refused(const struct mirror *mirror)
{
    return mirror->refused;
}

mirror_tables mirror_reads(const struct mirror *mirror)
{
    return mirror->reads;
}

void mirror_reads_add(struct mirror *mirror, mirror_tables tables)
{
    mirror->reads |= tables;
}

void mirror_listen(struct mirror *mirror, mirror_listener *listener, void *arg)
{
    if (mirror->listener_count == LISTENERS_MAX) {
        log_error("mirror: more than %d listeners", LISTENERS_MAX);
        abort();
    }
    mirror->listeners[mirror->listener_count].call = listener;
    mirror->listeners[mirror->listener_count++].arg = arg;
}

/* ---- waiting ---- */

static struct waiter *waiter_new(struct mirror *mirror, int64_t revision, int timeout_ms,
                                 mirror_wait_cb *cb, void *arg)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));

    if (!waiter)
        abort();
    waiter->mirror = mirror;
    waiter->revision = revision;
    waiter->deadline_ms = clock_now_ms() + timeout_ms;
    waiter->cb = cb;
    waiter->arg = arg;
    return waiter;
}

void mirror_wait(struct mirror *mirror, int64_t revision, int timeout_ms, mirror_wait_cb *cb,
                 void *arg)
{
    if (reached(mirror, revision)) {
        cb(arg, 0);
        return;
    }
    waiter_link(&mirror->waiters,
                waiter_new(mirror, revision < 0 ? 0 : revision, timeout_ms, cb, arg));
    wake_waiters(mirror);
}

static void on_barrier(void *arg, int rc, int64_t revision)
{
    struct waiter *waiter = arg;

    if (waiter->dead) {
        free(waiter);
        return;
    }
    waiter_unlink(waiter);
    waiter->revision = revision < 0 ? 0 : revision;
    if (rc < 0 || reached(waiter->mirror, waiter->revision)) {
        waiter_end(waiter, rc);
        return;
    }
    waiter_link(&waiter->mirror->waiters, waiter);
    wake_waiters(waiter->mirror);
}

void mirror_barrier(struct mirror *mirror, int timeout_ms, mirror_wait_cb *cb, void *arg)
{
    struct waiter *waiter;

    if (!mirror->store) {
        cb(arg, 0);
        return;
    }
    waiter = waiter_new(mirror, -1, timeout_ms, cb, arg);
    waiter_link(&mirror->asking, waiter);
    store_barrier(mirror->store, timeout_ms, on_barrier, waiter);
}

/* ---- the gate ---- */

void mirror_set_gate(struct mirror *mirror, const struct mirror_gate *gate)
{
    mirror->gate = *gate;
}

void mirror_gate_moved(struct mirror *mirror)
{
    wake_waiters(mirror);
}

void mirror_read(struct mirror *mirror, int timeout_ms, mirror_wait_cb *cb, void *arg)
{
    if (mirror->ready && mirror->gate.holds && mirror->gate.holds(mirror->gate.arg))
        cb(arg, 0);
    else
        mirror_barrier(mirror, timeout_ms, cb, arg);
}

void mirror_show(struct mirror *mirror, int64_t revision, int timeout_ms, mirror_wait_cb *cb,
                 void *arg)
{
    int may = may_show(mirror, revision);

    if (may != 0) {
        cb(arg, may < 0 ? may : 0);
        return;
    }
    waiter_link(&mirror->showing,
                waiter_new(mirror, revision < 0 ? 0 : revision, timeout_ms, cb, arg));
    wake_waiters(mirror);
}

/* ---- reading ---- */

static json_t *row_of(struct mirror *mirror, sqlite3_stmt *stmt)
{
    int64_t rev = sqlite3_column_int64(stmt, 0);
    const char *body = (const char *)sqlite3_column_text(stmt, 1);
    size_t size = (size_t)sqlite3_column_bytes(stmt, 1);
    json_t *row = body ? json_parse(body, size, NULL, 0) : NULL;

    if (!json_is_object(row))
        give_up(mirror, "a row is no JSON object any more");
    json_object_set_new(row, "_rev", json_integer(rev));
    return row;
}

json_t *mirror_get(struct mirror *mirror, const char *table, const char *id, int64_t *ret_rev)
{
    json_t *rows = mirror_select(mirror, table, "WHERE id = ?", "s", id);
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    if (ret_rev)
        *ret_rev = json_int(row, "_rev", 0);
    return row;
}

/* Keeps the row (NULL: that there is none) for all. */
static void share(struct mirror *mirror, const char *key, json_t *row)
{
    if (json_object_size(mirror->shared) >= SHARED_MAX)
        json_object_clear(mirror->shared);
    json_object_set(mirror->shared, key, row ? row : json_null());
}

json_t *mirror_get_shared(struct mirror *mirror, const char *table, const char *id)
{
    char key[2 * STORE_NAME_MAX + 2];
    json_t *row;

    if (!shared_key(key, table, id))
        return mirror_get(mirror, table, id, NULL);
    mirror->reads |= set_of(table);
    row = json_object_get(mirror->shared, key);
    if (row)
        return json_is_null(row) ? NULL : json_incref(row);
    row = mirror_get(mirror, table, id, NULL);
    share(mirror, key, row);
    return row;
}

/* "SELECT <what> FROM <table> <where>", compiled; NULL: SQLite refuses it. To be ended, not
 * finalized. */
static sqlite3_stmt *prepare(struct mirror *mirror, const char *what, const char *table,
                             const char *where)
{
    sqlite3_stmt *stmt;
    char *sql;

    if (!resource_find(table)) {
        log_error("mirror: there is no table %s", table);
        return NULL;
    }
    sql = sqlite3_mprintf("SELECT %s FROM \"%w\" %s", what, table, where);
    if (!sql)
        abort();
    stmt = compile(mirror, sql);
    sqlite3_free(sql);
    return stmt;
}

static sqlite3_stmt *prepare_rows(struct mirror *mirror, const char *table, const char *where)
{
    char what[3 * STORE_NAME_MAX + 32];

    snprintf(what, sizeof(what), "\"%s\".rev, \"%s\".body, \"%s\".id", table, table, table);
    return prepare(mirror, what, table, where);
}

static void bind_list(struct mirror *mirror, sqlite3_stmt *stmt, const char *types, va_list ap)
{
    for (int i = 0; types && types[i]; i++) {
        if (types[i] == 'i')
            bind_int(mirror, stmt, i + 1, va_arg(ap, int64_t));
        else
            bind_text(mirror, stmt, i + 1, va_arg(ap, const char *));
    }
}

/* Has nobody changed a row that was only lent? It costs what sharing saves: when testing only. */
static bool is_unharmed(struct mirror *mirror, const json_t *shared, sqlite3_stmt *stmt)
{
#ifdef __SANITIZE_ADDRESS__
    json_t *row = row_of(mirror, stmt);
    bool same = json_equal(row, shared);

    json_decref(row);
    return same;
#else
    return true;
#endif
}

/* The row that the statement is at, shared with all who ask. */
static json_t *shared_row_of(struct mirror *mirror, sqlite3_stmt *stmt, const char *table)
{
    const char *id = (const char *)sqlite3_column_text(stmt, 2);
    char key[2 * STORE_NAME_MAX + 2];
    json_t *row;

    if (!id || !shared_key(key, table, id))
        return row_of(mirror, stmt);
    row = json_object_get(mirror->shared, key);
    if (json_is_object(row)) {
        if (!is_unharmed(mirror, row, stmt)) {
            log_error("mirror: row %s, which is shared, was changed by a reader", key);
            abort();
        }
        return json_incref(row);
    }
    row = row_of(mirror, stmt);
    share(mirror, key, row);
    return row;
}

/* Runs the statement to its end. `shared`: the table, or NULL for rows of one's own. `foreign`:
 * requests had a say in the statement, so it may be one that SQLite refuses. */
static json_t *collect(struct mirror *mirror, sqlite3_stmt *stmt, const char *shared, bool foreign)
{
    json_t *rows = json_array();
    int rc = SQLITE_ERROR;

    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        json_array_append_new(rows,
                              shared ? shared_row_of(mirror, stmt, shared) : row_of(mirror, stmt));
    if (rc != SQLITE_DONE && !(foreign && memory_is_sound(rc)))
        give_up(mirror, stmt ? sqlite3_sql(stmt) : "a question of this program is no SQL");
    if (rc != SQLITE_DONE) {
        mirror->refused = true;
        json_array_clear(rows);
    }
    if (stmt)
        end_statement(stmt);
    return rows;
}

json_t *mirror_select(struct mirror *mirror, const char *table, const char *where,
                      const char *types, ...)
{
    sqlite3_stmt *stmt = prepare_rows(mirror, table, where);
    va_list ap;

    va_start(ap, types);
    if (stmt)
        bind_list(mirror, stmt, types, ap);
    va_end(ap);
    return collect(mirror, stmt, NULL, false);
}

json_t *mirror_select_shared(struct mirror *mirror, const char *table, const char *where,
                             const char *types, ...)
{
    sqlite3_stmt *stmt = prepare_rows(mirror, table, where);
    va_list ap;

    va_start(ap, types);
    if (stmt)
        bind_list(mirror, stmt, types, ap);
    va_end(ap);
    return collect(mirror, stmt, table, false);
}

static void bind_json(struct mirror *mirror, sqlite3_stmt *stmt, const json_t *params)
{
    const json_t *value;
    size_t i;

    json_array_foreach(params, i, value)
    {
        if (json_is_integer(value))
            bind_int(mirror, stmt, (int)i + 1, json_integer_value(value));
        else if (json_is_boolean(value))
            bind_int(mirror, stmt, (int)i + 1, json_is_true(value));
        else
            bind_text(mirror, stmt, (int)i + 1, json_string_value(value));
    }
}

json_t *mirror_select_json(struct mirror *mirror, const char *table, const char *where,
                           const json_t *params)
{
    sqlite3_stmt *stmt = prepare_rows(mirror, table, where);

    if (stmt)
        bind_json(mirror, stmt, params);
    return collect(mirror, stmt, NULL, true);
}

json_t *mirror_select_shared_json(struct mirror *mirror, const char *table, const char *where,
                                  const json_t *params)
{
    sqlite3_stmt *stmt = prepare_rows(mirror, table, where);

    if (stmt)
        bind_json(mirror, stmt, params);
    return collect(mirror, stmt, table, true);
}

static int64_t number_of(struct mirror *mirror, const char *what, const char *table,
                         const char *where, const char *types, va_list ap)
{
    sqlite3_stmt *stmt = prepare(mirror, what, table, where);
    int64_t number;

    if (!stmt)
        give_up(mirror, "a question of this program is no SQL");
    bind_list(mirror, stmt, types, ap);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        give_up(mirror, sqlite3_sql(stmt));
    number = sqlite3_column_int64(stmt, 0);
    end_statement(stmt);
    return number;
}

int64_t mirror_count(struct mirror *mirror, const char *table, const char *where, const char *types,
                     ...)
{
    int64_t count;
    va_list ap;

    va_start(ap, types);
    count = number_of(mirror, "COUNT(*)", table, where, types, ap);
    va_end(ap);
    return count;
}

int64_t mirror_sum(struct mirror *mirror, const char *table, const char *path, const char *where,
                   const char *types, ...)
{
    char what[STORE_NAME_MAX + 64] = "COUNT(*)";
    int64_t sum;
    va_list ap;

    if (path)
        snprintf(what, sizeof(what), "SUM(json_extract(body, '$.%s'))", path);
    va_start(ap, types);
    sum = number_of(mirror, what, table, where, types, ap);
    va_end(ap);
    return sum;
}

void mirror_txn_update(struct store_txn *txn, const char *table, json_t *row)
{
    const char *id = json_str(row, "id", NULL);

    store_txn_expect(txn, table, id, json_int(row, "_rev", 0));
    json_object_del(row, "_rev");
    store_txn_put(txn, table, id, row);
}
