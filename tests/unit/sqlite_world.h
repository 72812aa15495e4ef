/* A SQLite store in a folder of its own, and what tests do with it and its file. */
#include "base/clock.h"
#include "store/store.h"

#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ROW_SIZE 2000
#define MANY 3000 /* rows of which SQLite's cache cannot hold all */
#define PAGE 4096
#define WAIT_MS 20000

struct world {
    char dir[64], path[96];
    uv_loop_t loop;
    struct store *store;
    int resets;
    json_t *rows; /* id -> row, as the watcher was told */
};

static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    strcpy(w->dir, "/tmp/vling-test-sqlite-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "%s/store.sqlite", w->dir);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->rows = json_object();
    *state = w;
    return 0;
}

static inline void shut(struct world *w)
{
    store_close(w->store);
    w->store = NULL;
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static inline int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    if (w->store)
        shut(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    json_decref(w->rows);
    free(w);
    return 0;
}

/* ---- doing things with it ---- */

static inline void open_it(struct world *w)
{
    struct err err = {0};

    w->store = store_open_sqlite(&w->loop, w->path, &err);
    if (!w->store)
        fail_msg("%s: %s", err.what, err.why);
}

static inline void expect_refused(struct world *w, const char *what, const char *why)
{
    struct err err = {0};

    assert_null(store_open_sqlite(&w->loop, w->path, &err));
    if (!strstr(err.what, what) || !strstr(err.why, why) || !strstr(err.why, w->path))
        fail_msg("not '%s', '%s': %s: %s", what, why, err.what, err.why);
    if (strcmp(what, "damaged") == 0)
        assert_non_null(strstr(err.remedy, "vling restore"));
}

static inline void on_time(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Runs the loop until `*done`, or so long. */
static inline void run_while(struct world *w, const bool *done, uint64_t ms)
{
    uv_timer_t timer;
    bool over = false;

    uv_timer_init(&w->loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, ms, 0);
    while (!*done && !over)
        uv_run(&w->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

struct verdict {
    bool done;
    int rc;
    int64_t value; /* the revision, or the lease */
};

static inline void on_verdict(void *arg, int rc, int64_t value)
{
    *(struct verdict *)arg = (struct verdict){.done = true, .rc = rc, .value = value};
}

static inline void put(struct store_txn *txn, int number, size_t size)
{
    char *text = malloc(size + 1), id[16];
    json_t *row;

    memset(text, 'a' + number % 26, size);
    text[size] = '\0';
    row = json_pack("{s:i, s:s}", "number", number, "text", text);
    snprintf(id, sizeof(id), "r%06d", number);
    store_txn_put(txn, "host", id, row);
    json_decref(row);
    free(text);
}

static inline int commit(struct world *w, struct store_txn *txn)
{
    struct verdict verdict = {0};

    store_commit(w->store, txn, WAIT_MS, on_verdict, &verdict);
    run_while(w, &verdict.done, WAIT_MS);
    assert_true(verdict.done);
    return verdict.rc;
}

static inline void fill(struct world *w, int count)
{
    for (int i = 0; i < count; i += 100) {
        struct store_txn *txn = store_txn_new();

        for (int k = i; k < i + 100 && k < count; k++)
            put(txn, k, ROW_SIZE);
        assert_int_equal(commit(w, txn), 0);
    }
}

static inline void take(struct world *w, const struct store_change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (changes[i].row)
            json_object_set(w->rows, changes[i].id, changes[i].row);
        else
            json_object_del(w->rows, changes[i].id);
    }
}

static inline void on_reset(void *arg, int64_t revision, const struct store_change *changes,
                            size_t n)
{
    struct world *w = arg;

    w->resets++;
    json_object_clear(w->rows);
    take(w, changes, n);
}

static inline void on_changed(void *arg, int64_t revision, const struct store_change *changes,
                              size_t n)
{
    take(arg, changes, n);
}

static inline void watch(struct world *w)
{
    struct store_watcher watcher = {.reset = on_reset, .changed = on_changed, .arg = w};

    store_watch(w->store, &watcher);
}

static inline void read_all(struct world *w)
{
    struct verdict verdict = {0};
    struct store_txn *txn = store_txn_new();

    watch(w);
    store_txn_delete(txn, "host", "none"); /* comes after the load */
    store_commit(w->store, txn, WAIT_MS, on_verdict, &verdict);
    run_while(w, &verdict.done, WAIT_MS);
    assert_int_equal(w->resets, 1);
}

static inline void harm(struct world *w, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static inline off_t size_of(const char *path)
{
    struct stat stat_now;

    assert_int_equal(stat(path, &stat_now), 0);
    return stat_now.st_size;
}

/* Overwrites; gives back in `before` (if not NULL) what was there. */
static inline void overwrite(const char *path, off_t at, const void *bytes, size_t size,
                             void *before)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (before)
        assert_int_equal(pread(fd, before, size, at), size);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    close(fd);
}
