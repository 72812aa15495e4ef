/* The store of a single controller: one SQLite file with full synchronisation.
 *
 * Operations collect in a list; one batch at a time goes to a worker thread, which runs it as one
 * SQL transaction with one fsync, so that many writers share it and the loop never waits for the
 * disk. Only the worker touches the database while a batch is out, only the loop when none is.
 * Leases: their ids and times to live are rows; their ends are kept in memory by the boot-time
 * clock. At opening every lease gets its whole time again (as at a change of etcd's leader: only
 * ever longer), so a renewal costs no write.
 * Damage: at opening the whole file is checked and every row read (sqlite_file.h).
 * Secrets: the rows hold keys and password hashes, so the files are their owner's alone.
 */
#include "store/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/sqlite_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 256
#define REFUSED_AGAIN_MS 1000

enum op_kind { OP_COMMIT, OP_BARRIER, OP_LOAD, OP_TAKE, OP_RENEW, OP_END_LEASE };

struct op {
    struct op *next;
    enum op_kind kind;
    struct store_txn *txn;
    int64_t lease;
    int ttl_ms;
    int64_t deadline_ms; /* INT64_MAX: none */
    store_commit_cb *cb; /* store_barrier_cb and store_lease_cb have the same shape */
    void *arg;
    /* what the worker found */
    int rc;
    int64_t revision;
    struct store_change *changes;
    size_t change_count, change_cap;
};

struct lease {
    struct lease *next;
    int64_t id;
    int ttl_ms;
    int64_t end_ms;
    bool ending; /* its end is in the queue */
};

struct sqlite {
    struct store store;
    struct sqlite_file file;  /* the worker's while a batch is out */
    sqlite3_stmt *find, *put; /* compiled once: each change needs both */
    uv_work_t work;
    uv_timer_t *kick;         /* starts a batch */
    uv_timer_t *lease_timer;  /* the next end of a lease */
    uv_timer_t *load_timer;   /* a load that failed, once more */
    struct op *first, **last; /* waiting */
    struct op *batch;         /* at the worker */
    struct op *barriers;      /* for the loop alone */
    bool working, closing;
    bool loaded;            /* the watcher got its reset */
    int64_t known_revision; /* the loop's */
    int64_t size_bytes;
    struct lease *leases;
    int handles;
};

/* ---- the worker's part ---- */

static sqlite3_stmt *prepare(struct sqlite *s, const char *sql)
{
    return sqlite_file_prepare(&s->file, sql);
}

static int run(struct sqlite *s, const char *sql)
{
    return sqlite_file_run(&s->file, sql);
}

static void bind_row(sqlite3_stmt *stmt, const char *table, const char *id)
{
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, id, -1, SQLITE_STATIC);
}

struct found {
    int64_t revision; /* 0: there is no such row */
    int64_t sum;
};

/* An open statement would keep the transaction open, and the bound texts are not its own. */
static void end_kept(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

static int find_row(struct sqlite *s, const char *table, const char *id, struct found *ret_found)
{
    int rc;

    if (!s->find)
        s->find = prepare(s, "SELECT rev, sum FROM row WHERE tab = ? AND id = ?");
    if (!s->find)
        return -EIO;
    bind_row(s->find, table, id);
    rc = sqlite3_step(s->find);
    *ret_found = (struct found){0};
    if (rc == SQLITE_ROW)
        *ret_found =
            (struct found){sqlite3_column_int64(s->find, 0), sqlite3_column_int64(s->find, 1)};
    end_kept(s->find);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -EIO;
}

/* What the total of the checksums becomes when one takes another's place; 0 stands for none. */
static void count_sum(struct sqlite *s, int64_t before, int64_t after)
{
    s->file.state.total += (uint64_t)after - (uint64_t)before;
}

static struct store_change *add_change(struct op *op)
{
    if (op->change_count == op->change_cap) {
        op->change_cap = op->change_cap ? 2 * op->change_cap : 8;
        op->changes = realloc(op->changes, op->change_cap * sizeof(*op->changes));
        if (!op->changes)
            abort();
    }
    memset(&op->changes[op->change_count], 0, sizeof(op->changes[0]));
    return &op->changes[op->change_count++];
}

static void note_change(struct op *op, const char *table, const char *id, json_t *row,
                        int64_t revision)
{
    struct store_change *change = add_change(op);

    change->table = strdup(table);
    change->id = strdup(id);
    change->row = row;
    change->revision = revision;
    if (!change->table || !change->id)
        abort();
}

static int put_row(struct sqlite *s, struct op *op, const struct txn_change *change)
{
    static const char sql[] = "INSERT OR REPLACE INTO row (" SQLITE_FILE_COLUMNS ") "
                              "VALUES (?, ?, ?, ?, ?, ?)";
    int64_t sum = sqlite_file_sum(change->table, change->id, op->revision, op->lease, change->text,
                                  change->size);
    struct found before;
    int rc = find_row(s, change->table, change->id, &before);

    if (!s->put)
        s->put = prepare(s, sql);
    if (rc < 0 || !s->put)
        return -EIO;
    bind_row(s->put, change->table, change->id);
    sqlite3_bind_int64(s->put, 3, op->revision);
    sqlite3_bind_text(s->put, 4, change->text, (int)change->size, SQLITE_STATIC);
    sqlite3_bind_int64(s->put, 5, op->lease);
    sqlite3_bind_int64(s->put, 6, sum);
    rc = sqlite_file_errno(sqlite3_step(s->put));
    end_kept(s->put);
    count_sum(s, before.sum, sum);
    return rc;
}

static int delete_row(struct sqlite *s, const struct txn_change *change)
{
    sqlite3_stmt *stmt = prepare(s, "DELETE FROM row WHERE tab = ? AND id = ?");
    int rc;

    if (!stmt)
        return -EIO;
    bind_row(stmt, change->table, change->id);
    rc = sqlite_file_errno(sqlite3_step(stmt));
    sqlite3_finalize(stmt);
    return rc;
}

static int do_commit(struct sqlite *s, struct op *op)
{
    struct store_txn *txn = op->txn;
    struct found found;
    int rc = 0;

    for (size_t i = 0; i < txn->expect_count; i++) {
        if (find_row(s, txn->expects[i].table, txn->expects[i].id, &found) < 0)
            return -EIO;
        if (found.revision != txn->expects[i].revision)
            return -EAGAIN;
    }
    op->revision = s->file.state.revision + 1;
    for (size_t i = 0; rc == 0 && i < txn->change_count; i++) {
        const struct txn_change *change = &txn->changes[i];

        if (change->row) {
            rc = put_row(s, op, change);
        } else {
            rc = find_row(s, change->table, change->id, &found);
            if (rc == 0 && found.revision == 0)
                continue; /* nothing to delete: no event */
            if (rc == 0)
                rc = delete_row(s, change);
            count_sum(s, found.sum, 0);
        }
        /* The row object belongs to the loop's thread: only its pointer is moved here. */
        note_change(op, change->table, change->id, change->row, op->revision);
    }
    if (rc == 0)
        s->file.state.revision = op->revision;
    return rc;
}

/* As many of `values` as the statement has parameters. */
static int exec_int(struct sqlite *s, const char *sql, const int64_t *values)
{
    sqlite3_stmt *stmt = prepare(s, sql);
    int rc;

    if (!stmt)
        return -EIO;
    for (int i = 0; i < sqlite3_bind_parameter_count(stmt); i++)
        sqlite3_bind_int64(stmt, i + 1, values[i]);
    rc = sqlite_file_errno(sqlite3_step(stmt));
    sqlite3_finalize(stmt);
    return rc;
}

static int do_take(struct sqlite *s, struct op *op)
{
    int64_t values[] = {op->lease, op->ttl_ms, sqlite_file_lease_sum(op->lease, op->ttl_ms)};
    int rc = do_commit(s, op);

    if (rc == -EAGAIN)
        return -EEXIST;
    if (rc == 0)
        rc = exec_int(s, "INSERT INTO lease (id, ttl_ms, sum) VALUES (?, ?, ?)", values);
    count_sum(s, 0, values[2]);
    return rc;
}

/* Removes a lease with its rows. */
static int do_end_lease(struct sqlite *s, struct op *op)
{
    sqlite3_stmt *stmt = prepare(s, "SELECT tab, id, sum FROM row WHERE lease = ?1 "
                                    "UNION ALL SELECT NULL, NULL, sum FROM lease WHERE id = ?1");
    int rc;

    if (!stmt)
        return -EIO;
    op->revision = s->file.state.revision + 1;
    sqlite3_bind_int64(stmt, 1, op->lease);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(stmt, 0);

        count_sum(s, sqlite3_column_int64(stmt, 2), 0);
        if (table)
            note_change(op, table, (const char *)sqlite3_column_text(stmt, 1), NULL, op->revision);
    }
    sqlite3_finalize(stmt);
    rc = sqlite_file_errno(rc);
    if (rc == 0)
        rc = exec_int(s, "DELETE FROM row WHERE lease = ?", &op->lease);
    if (rc == 0)
        rc = exec_int(s, "DELETE FROM lease WHERE id = ?", &op->lease);
    if (rc == 0 && op->change_count > 0)
        s->file.state.revision = op->revision;
    return rc;
}

static int do_load(struct sqlite *s, struct op *op)
{
    sqlite3_stmt *stmt = prepare(s, "SELECT " SQLITE_FILE_COLUMNS " FROM row ORDER BY rev");
    char why[160];
    int rc;

    if (!stmt)
        return -EIO;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        json_t *row = sqlite_file_row(stmt, why, sizeof(why));

        if (!row) { /* it was good when the file was opened */
            log_error("store: %s: %s", s->file.path, why);
            sqlite3_finalize(stmt);
            return -EIO;
        }
        note_change(op, (const char *)sqlite3_column_text(stmt, 0),
                    (const char *)sqlite3_column_text(stmt, 1), row, sqlite3_column_int64(stmt, 2));
    }
    if (rc != SQLITE_DONE)
        log_error("store: cannot read %s: %s", s->file.path, sqlite3_errmsg(s->file.db));
    sqlite3_finalize(stmt);
    op->revision = s->file.state.revision;
    return sqlite_file_errno(rc);
}

static int do_op(struct sqlite *s, struct op *op)
{
    switch (op->kind) {
    case OP_COMMIT:
        return do_commit(s, op);
    case OP_TAKE:
        return do_take(s, op);
    case OP_END_LEASE:
        return do_end_lease(s, op);
    case OP_LOAD:
        return do_load(s, op);
    case OP_BARRIER:
    case OP_RENEW:
        op->revision = s->file.state.revision;
        return 0;
    }
    return -EINVAL;
}

static bool writes(const struct op *op)
{
    return op->kind == OP_COMMIT || op->kind == OP_TAKE || op->kind == OP_END_LEASE;
}

/* Nothing of the batch is in the file, or (a failed fsync) nobody knows. */
static void fail_batch(struct sqlite *s, int rc, struct sqlite_state before)
{
    int code = sqlite3_extended_errcode(s->file.db);
    bool unknown = code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;

    log_error("store: cannot write %s: %s", s->file.path, sqlite3_errmsg(s->file.db));
    run(s, "ROLLBACK");
    s->file.state = before;
    for (struct op *op = s->batch; op; op = op->next)
        if (writes(op))
            op->rc = unknown ? -EINPROGRESS : rc == -ENOSPC ? -ENOSPC : -ETIMEDOUT;
        else if (op->kind == OP_LOAD)
            op->rc = -EIO; /* it may have read what was taken back */
        else
            op->revision = before.revision;
}

static void on_work(uv_work_t *work)
{
    struct sqlite *s = work->data;
    struct sqlite_state before = s->file.state;
    bool dirty = false;
    int rc = 0;

    for (struct op *op = s->batch; op; op = op->next)
        dirty = dirty || (writes(op) && op->rc == 0);
    if (dirty)
        rc = run(s, "BEGIN IMMEDIATE");
    for (struct op *op = s->batch; rc == 0 && op; op = op->next) {
        if (op->rc < 0)
            continue;
        op->rc = do_op(s, op);
        if ((op->rc == -EIO || op->rc == -ENOSPC) && op->kind != OP_LOAD)
            rc = op->rc; /* half done: the whole batch goes back */
    }
    if (rc == 0 && memcmp(&s->file.state, &before, sizeof(before)) != 0)
        rc = sqlite_file_put_state(&s->file);
    if (dirty && rc == 0)
        rc = run(s, "COMMIT");
    if (rc < 0)
        fail_batch(s, rc, before);
    else if (dirty)
        sqlite_file_acked(&s->file);
}

/* ---- the loop's part: the queue ---- */

static void kick(struct sqlite *s);
static void arm_leases(struct sqlite *s);

static void op_free(struct op *op)
{
    for (size_t i = 0; i < op->change_count; i++) {
        free((char *)op->changes[i].table);
        free((char *)op->changes[i].id);
        if (op->kind == OP_LOAD)
            json_decref(op->changes[i].row);
    }
    free(op->changes);
    store_txn_free(op->txn);
    free(op);
}

static struct op *op_new(struct sqlite *s, enum op_kind kind, int timeout_ms, store_commit_cb *cb,
                         void *arg)
{
    struct op *op = calloc(1, sizeof(*op));

    if (!op)
        abort();
    op->kind = kind;
    op->deadline_ms = timeout_ms < 0 ? INT64_MAX : clock_now_ms() + timeout_ms;
    op->cb = cb;
    op->arg = arg;
    *s->last = op;
    s->last = &op->next;
    kick(s);
    return op;
}

static struct lease *lease_find(struct sqlite *s, int64_t id)
{
    for (struct lease *lease = s->leases; lease; lease = lease->next)
        if (lease->id == id)
            return lease;
    return NULL;
}

static void lease_add(struct sqlite *s, int64_t id, int ttl_ms)
{
    struct lease *lease = calloc(1, sizeof(*lease));

    if (!lease)
        abort();
    lease->id = id;
    lease->ttl_ms = ttl_ms;
    lease->end_ms = clock_now_ms() + ttl_ms;
    lease->next = s->leases;
    s->leases = lease;
}

static void lease_remove(struct sqlite *s, int64_t id)
{
    for (struct lease **at = &s->leases; *at; at = &(*at)->next) {
        struct lease *lease = *at;

        if (lease->id == id) {
            *at = lease->next;
            free(lease);
            return;
        }
    }
}

/* What a finished operation means for the leases in memory. */
static void leases_follow(struct sqlite *s, struct op *op)
{
    struct lease *lease = op->lease ? lease_find(s, op->lease) : NULL;

    if (op->kind == OP_TAKE && op->rc == 0) {
        lease_add(s, op->lease, op->ttl_ms);
    } else if (op->kind == OP_RENEW && op->rc == 0) {
        if (lease && !lease->ending)
            lease->end_ms = clock_now_ms() + lease->ttl_ms;
        else
            op->rc = -ENOENT;
    } else if (op->kind == OP_END_LEASE && op->rc == 0) {
        lease_remove(s, op->lease);
    } else if (op->kind == OP_END_LEASE && lease) {
        lease->ending = false; /* the disk refused: once more, later */
        lease->end_ms = clock_now_ms() + REFUSED_AGAIN_MS;
    }
}

static void on_load_timer(uv_timer_t *timer)
{
    op_new(timer->data, OP_LOAD, -1, NULL, NULL);
}

static void tell_watcher(struct sqlite *s, const struct op *op)
{
    struct store_watcher *watcher = &s->store.watcher;

    if (op->kind == OP_LOAD && op->rc < 0) {
        uv_update_time(s->store.loop);
        uv_timer_start(s->load_timer, on_load_timer, REFUSED_AGAIN_MS, 0);
    } else if (op->kind == OP_LOAD) {
        s->loaded = true;
        if (watcher->reset)
            watcher->reset(watcher->arg, op->revision, op->changes, op->change_count);
    } else if (writes(op) && op->rc == 0 && s->loaded && watcher->changed) {
        watcher->changed(watcher->arg, op->revision, op->changes, op->change_count);
    }
}

static void op_answer(struct op *op)
{
    bool lease = op->kind == OP_TAKE || op->kind == OP_RENEW || op->kind == OP_END_LEASE;

    if (op->cb)
        op->cb(op->arg, op->rc, lease ? op->lease : op->revision);
    op_free(op);
}

static void close_now(struct sqlite *s);

static void on_worked(uv_work_t *work, int status)
{
    struct sqlite *s = work->data;
    struct op *op, *batch = s->batch;
    sqlite3_stmt *stmt;

    s->batch = NULL;
    s->working = false;
    s->known_revision = s->file.state.revision;
    stmt = prepare(s, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    if (stmt && sqlite3_step(stmt) == SQLITE_ROW)
        s->size_bytes = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    /* A committed operation that was closed over is still committed: its verdict is said. */
    while ((op = batch)) {
        batch = op->next;
        leases_follow(s, op);
        tell_watcher(s, op);
        op_answer(op);
    }
    if (s->closing) {
        close_now(s);
        return;
    }
    arm_leases(s);
    kick(s);
}

/* There is no other writer, so what was acknowledged is what the loop knows: no need to ask the
 * worker, and none to wait for the disk. */
static void answer_barriers(struct sqlite *s, int rc)
{
    struct op *op, *barriers = s->barriers;

    s->barriers = NULL;
    while ((op = barriers)) {
        barriers = op->next;
        op->rc = rc;
        op->revision = s->known_revision;
        op_answer(op);
    }
}

static void on_kick(uv_timer_t *timer)
{
    struct sqlite *s = timer->data;
    int64_t now = clock_now_ms();
    struct op **end = &s->first;

    answer_barriers(s, 0);
    if (s->working || s->closing || !s->first)
        return;
    for (int i = 0; i < BATCH_MAX && *end; i++) {
        struct op *op = *end;

        if (op->rc == 0 && op->deadline_ms < now)
            op->rc = -ETIMEDOUT;
        end = &op->next;
    }
    s->batch = s->first;
    s->first = *end;
    *end = NULL;
    if (!s->first)
        s->last = &s->first;
    s->working = true;
    uv_queue_work(s->store.loop, &s->work, on_work, on_worked);
}

static void kick(struct sqlite *s)
{
    if (!s->working && !s->closing && s->first)
        uv_timer_start(s->kick, on_kick, 0, 0);
}

/* ---- leases ---- */

static void on_lease_timer(uv_timer_t *timer)
{
    struct sqlite *s = timer->data;
    int64_t now = clock_now_ms();

    for (struct lease *lease = s->leases; lease; lease = lease->next) {
        if (lease->ending || lease->end_ms > now)
            continue;
        lease->ending = true;
        op_new(s, OP_END_LEASE, -1, NULL, NULL)->lease = lease->id;
    }
    arm_leases(s);
}

static void arm_leases(struct sqlite *s)
{
    int64_t now = clock_now_ms(), first = INT64_MAX;

    for (struct lease *lease = s->leases; lease; lease = lease->next)
        if (!lease->ending && lease->end_ms < first)
            first = lease->end_ms;
    uv_update_time(s->store.loop);
    if (first == INT64_MAX)
        uv_timer_stop(s->lease_timer);
    else
        uv_timer_start(s->lease_timer, on_lease_timer, first > now ? (uint64_t)(first - now) : 0,
                       0);
}

static void sqlite_lease_take(struct store *store, const char *name, json_t *row, int ttl_ms,
                              int timeout_ms, store_lease_cb *cb, void *arg)
{
    struct sqlite *s = (struct sqlite *)store;
    struct op *op = op_new(s, OP_TAKE, timeout_ms, cb, arg);

    op->txn = store_txn_new();
    store_txn_expect(op->txn, STORE_LEASE_TABLE, name, 0);
    store_txn_put_leased(op->txn, name, row);
    op->rc = ttl_ms > 0 ? op->txn->rc : -EINVAL;
    op->lease = store_lease_id_new();
    op->ttl_ms = ttl_ms;
}

static void sqlite_lease_renew(struct store *store, int64_t lease, int timeout_ms,
                               store_lease_cb *cb, void *arg)
{
    op_new((struct sqlite *)store, OP_RENEW, timeout_ms, cb, arg)->lease = lease;
}

static void sqlite_lease_drop(struct store *store, int64_t lease, int timeout_ms,
                              store_lease_cb *cb, void *arg)
{
    op_new((struct sqlite *)store, OP_END_LEASE, timeout_ms, cb, arg)->lease = lease;
}

/* ---- the rest of the table ---- */

static void sqlite_commit(struct store *store, struct store_txn *txn, int timeout_ms,
                          store_commit_cb *cb, void *arg)
{
    struct op *op = op_new((struct sqlite *)store, OP_COMMIT, timeout_ms, cb, arg);

    op->txn = txn;
    op->rc = txn->rc;
}

static void sqlite_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg)
{
    struct sqlite *s = (struct sqlite *)store;
    struct op *op = calloc(1, sizeof(*op));

    if (!op)
        abort();
    op->kind = OP_BARRIER;
    op->cb = cb;
    op->arg = arg;
    op->next = s->barriers;
    s->barriers = op;
    uv_timer_start(s->kick, on_kick, 0, 0);
}

static void sqlite_watch(struct store *store)
{
    op_new((struct sqlite *)store, OP_LOAD, -1, NULL, NULL);
}

static void sqlite_status(struct store *store, struct store_status *ret_status)
{
    struct sqlite *s = (struct sqlite *)store;

    ret_status->reachable = true;
    ret_status->revision = s->known_revision;
    ret_status->size_bytes = s->size_bytes;
    snprintf(ret_status->detail, sizeof(ret_status->detail), "file %.240s", s->file.path);
}

static void sqlite_free(struct sqlite *s)
{
    struct lease *lease;

    while ((lease = s->leases)) {
        s->leases = lease->next;
        free(lease);
    }
    sqlite3_finalize(s->find);
    sqlite3_finalize(s->put);
    sqlite_file_close(&s->file);
    free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct sqlite *s = handle->data;

    free(handle);
    if (--s->handles == 0)
        sqlite_free(s);
}

static void close_now(struct sqlite *s)
{
    struct op *op;

    while (s->barriers)
        answer_barriers(s, -ECANCELED);
    while ((op = s->first)) {
        s->first = op->next;
        op->rc = -ECANCELED;
        op_answer(op);
    }
    s->last = &s->first;
    s->handles = 3;
    uv_close((uv_handle_t *)s->kick, on_handle_closed);
    uv_close((uv_handle_t *)s->load_timer, on_handle_closed);
    uv_close((uv_handle_t *)s->lease_timer, on_handle_closed);
}

static void sqlite_close(struct store *store)
{
    struct sqlite *s = (struct sqlite *)store;

    s->closing = true;
    if (!s->working)
        close_now(s);
}

static const struct store_engine engine_sqlite = {
    .name = "sqlite",
    .close = sqlite_close,
    .commit = sqlite_commit,
    .barrier = sqlite_barrier,
    .watch = sqlite_watch,
    .lease_take = sqlite_lease_take,
    .lease_renew = sqlite_lease_renew,
    .lease_drop = sqlite_lease_drop,
    .status = sqlite_status,
};

/* ---- opening ---- */

static int read_leases(struct sqlite *s, struct err *err)
{
    sqlite3_stmt *stmt = prepare(s, "SELECT id, ttl_ms FROM lease");
    int step = SQLITE_ERROR;

    while (stmt && (step = sqlite3_step(stmt)) == SQLITE_ROW)
        lease_add(s, sqlite3_column_int64(stmt, 0), sqlite3_column_int(stmt, 1));
    sqlite3_finalize(stmt);
    if (step == SQLITE_DONE)
        return 0;
    return err_why(err, -EIO, "cannot open the store", "%s: %s", s->file.path,
                   sqlite3_errmsg(s->file.db));
}

static uv_timer_t *timer_new(struct sqlite *s)
{
    uv_timer_t *timer = calloc(1, sizeof(*timer));

    if (!timer)
        abort();
    uv_timer_init(s->store.loop, timer);
    timer->data = s;
    return timer;
}

struct store *store_open_sqlite(uv_loop_t *loop, const char *path, struct err *err)
{
    struct sqlite *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->last = &s->first;
    s->work.data = s;
    if (sqlite_file_open(&s->file, path, err) < 0 || read_leases(s, err) < 0) {
        sqlite_free(s);
        return NULL;
    }
    s->known_revision = s->file.state.revision;
    if (store_init(&s->store, &engine_sqlite, loop) < 0)
        abort();
    s->kick = timer_new(s);
    s->lease_timer = timer_new(s);
    s->load_timer = timer_new(s);
    arm_leases(s);
    return &s->store;
}
