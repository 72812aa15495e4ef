/* The mirror: tables from the model, filters in SQL, revisions, listeners, waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "store/mirror.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct store_change host(const char *id, const char *cabinet, int64_t revision)
{
    json_t *row = json_pack("{s:s, s:s, s:i}", "id", id, "cabinet", cabinet, "vcpus", 4);

    return (struct store_change){.table = "host", .id = id, .row = row, .revision = revision};
}

static void apply_hosts(struct mirror *mirror)
{
    struct store_change changes[] = {host("h1", "A", 5), host("h2", "B", 6), host("h3", "A", 7)};

    mirror_apply(mirror, 7, changes, 3);
    for (int i = 0; i < 3; i++)
        json_decref(changes[i].row);
}

static int open_mirror(void **state)
{
    struct err err = {0};

    *state = mirror_open_detached(&err);
    assert_non_null(*state);
    apply_hosts(*state);
    return 0;
}

static int close_mirror(void **state)
{
    mirror_close(*state);
    return 0;
}

static void rows_are_selected(void **state)
{
    struct mirror *mirror = *state;
    json_t *rows = mirror_select(mirror, "host", "WHERE cabinet = ? ORDER BY id DESC", "s", "A");

    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_str(json_array_get(rows, 0), "id", ""), "h3");
    assert_int_equal(json_int(json_array_get(rows, 0), "_rev", 0), 7);
    json_decref(rows);
    rows = mirror_select(mirror, "host", "WHERE rev > ? LIMIT ?", "ii", (int64_t)5, (int64_t)1);
    assert_int_equal(json_array_size(rows), 1);
    json_decref(rows);
    rows = mirror_select(mirror, "host", "WHERE cabinet IS ?", "s", NULL);
    assert_int_equal(json_array_size(rows), 0);
    json_decref(rows);
    assert_int_equal(mirror_count(mirror, "host", "WHERE cabinet = ?", "s", "A"), 2);
    assert_int_equal(mirror_count(mirror, "host", "", ""), 3);
}

static void parameters_come_as_json(void **state)
{
    json_t *params = json_pack("[s, i]", "A", 1), *rows;

    rows = mirror_select_json(*state, "host", "WHERE cabinet = ? LIMIT ?", params);
    assert_int_equal(json_array_size(rows), 1);
    json_decref(rows);
    json_decref(params);
}

/* SQL that requests shape is refused, and that can be told from an empty list. */
static void foreign_sql_is_refused(void **state)
{
    static const char *const wrong[] = {"WHERE nonsense = 1", "WHERE", "; DELETE FROM host",
                                        "WHERE 1=1; DELETE FROM host",
                                        "WHERE json_extract(body, 'nonsense')"};

    for (size_t i = 0; i < 5; i++) {
        json_t *rows;

        mirror_reads_begin(*state);
        rows = mirror_select_json(*state, "host", wrong[i], NULL);
        assert_int_equal(json_array_size(rows), 0);
        assert_true(mirror_reads_refused(*state));
        json_decref(rows);
        mirror_reads_begin(*state);
        rows = mirror_select_shared_json(*state, "host", wrong[i], NULL);
        assert_int_equal(json_array_size(rows), 0);
        assert_true(mirror_reads_refused(*state));
        json_decref(rows);
    }
    mirror_reads_begin(*state);
    json_decref(mirror_select_json(*state, "host", "WHERE cabinet = 'nowhere'", NULL));
    assert_false(mirror_reads_refused(*state));
    assert_int_equal(mirror_count(*state, "host", "", ""), 3);
}

/* It is in the store, so it is not deleted; who changes it next says what was seen of it. */
static void an_unreadable_row_stays_as_it_was(void **state)
{
    struct store_change changes[] = {
        {.table = "host", .id = "h2", .revision = 9, .unreadable = true},
        {.table = "host", .id = "h9", .revision = 9, .unreadable = true},
        {.table = "unknown", .id = "h2", .revision = 9, .unreadable = true}};
    json_t *shared = mirror_get_shared(*state, "host", "h2"), *row;
    int64_t rev;

    mirror_apply(*state, 9, changes, 3);
    row = mirror_get(*state, "host", "h2", &rev);
    assert_string_equal(json_str(row, "cabinet", ""), "B");
    assert_int_equal(rev, 9);
    json_decref(row);
    json_decref(shared);
    shared = mirror_get_shared(*state, "host", "h2");
    assert_int_equal(json_int(shared, "_rev", 0), 9);
    json_decref(shared);
    assert_null(mirror_get(*state, "host", "h9", NULL));
    assert_int_equal(mirror_count(*state, "host", "", ""), 3);
}

/* ---- what cannot be read ends the process ---- */

/* The database of the mirror that was opened last: to harm it. */
static sqlite3 *opened;

static int note_opened(sqlite3 *db, const char **why, const struct sqlite3_api_routines *api)
{
    opened = db;
    return SQLITE_OK;
}

static void harm(const char *sql)
{
    if (sqlite3_exec(opened, sql, NULL, NULL, NULL) != SQLITE_OK)
        _exit(2);
}

/* The root page of the table is another's. */
static void damage_pages(void)
{
    harm("PRAGMA writable_schema = ON");
    harm("UPDATE sqlite_schema SET rootpage = "
         "(SELECT rootpage FROM sqlite_schema WHERE name = 'host.cabinet') WHERE name = 'host'");
    harm("PRAGMA writable_schema = RESET");
}

static void damage_a_row(void)
{
    harm("UPDATE host SET body = '[1]' WHERE id = 'h2'");
}

static void take_memory(void)
{
    sqlite3_hard_heap_limit64(1);
}

static void read_all(struct mirror *mirror)
{
    json_decref(mirror_select(mirror, "host", "", ""));
}

static void read_all_shared(struct mirror *mirror)
{
    json_decref(mirror_select_shared_json(mirror, "host", "", NULL));
}

static void read_one(struct mirror *mirror)
{
    json_decref(mirror_get_shared(mirror, "host", "h2"));
}

static void count(struct mirror *mirror)
{
    mirror_count(mirror, "host", "WHERE cabinet > ?", "s", "");
}

static void read_wrong_sql(struct mirror *mirror)
{
    json_decref(mirror_select(mirror, "host", "WHERE nonsense = 1", ""));
}

static void count_no_table(struct mirror *mirror)
{
    mirror_count(mirror, "no_such_table", "", "");
}

static void no_harm(void)
{
}

/* Does a process that does this end by abort()? */
static bool ends(void (*damage)(void), void (*act)(struct mirror *mirror))
{
    struct mirror *mirror;
    struct err err;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        sqlite3_auto_extension((void (*)(void))note_opened);
        mirror = mirror_open_detached(&err);
        if (!mirror)
            _exit(1);
        apply_hosts(mirror);
        damage();
        act(mirror);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void what_cannot_be_read_ends_it(void **state)
{
    static void (*const reads[])(struct mirror *) = {read_all, read_all_shared, read_one, count};

    for (size_t i = 0; i < 4; i++) {
        assert_false(ends(no_harm, reads[i]));
        assert_true(ends(damage_pages, reads[i]));
        assert_true(ends(take_memory, reads[i]));
    }
    assert_true(ends(damage_a_row, read_all));
    assert_true(ends(damage_a_row, read_all_shared));
    assert_true(ends(damage_a_row, read_one));
}

static void what_cannot_be_applied_ends_it(void **state)
{
    assert_false(ends(no_harm, apply_hosts));
    assert_true(ends(take_memory, apply_hosts));
    assert_true(ends(damage_pages, apply_hosts));
}

static void own_sql_is_right(void **state)
{
    assert_true(ends(no_harm, read_wrong_sql));
    assert_true(ends(no_harm, count_no_table));
}

static void one_row_is_got(void **state)
{
    int64_t revision = -1;
    json_t *row = mirror_get(*state, "host", "h2", &revision);

    assert_string_equal(json_str(row, "cabinet", ""), "B");
    assert_int_equal(revision, 6);
    json_decref(row);
    assert_null(mirror_get(*state, "host", "h9", &revision));
    assert_int_equal(revision, 0);
}

static void a_shared_row_is_read_once(void **state)
{
    json_t *one = mirror_get_shared(*state, "host", "h2");
    json_t *two = mirror_get_shared(*state, "host", "h2"), *changed;

    assert_ptr_equal(one, two);
    assert_string_equal(json_str(one, "cabinet", ""), "B");
    for (int i = 0; i < 2; i++)
        assert_null(mirror_get_shared(*state, "host", "h9"));
    changed = json_deep_copy(one);
    json_put_str(changed, "cabinet", "C");
    mirror_apply(
        *state, 100,
        &(struct store_change){.table = "host", .id = "h2", .row = changed, .revision = 100}, 1);
    json_decref(two);
    two = mirror_get_shared(*state, "host", "h2");
    assert_string_equal(json_str(two, "cabinet", ""), "C");
    assert_string_equal(json_str(one, "cabinet", ""), "B"); /* who has it keeps it */
    json_decref(one);
    json_decref(two);
    json_decref(changed);
}

static void change_host(struct mirror *mirror, const char *id, const char *cabinet,
                        int64_t revision)
{
    struct store_change change = host(id, cabinet, revision);

    mirror_apply(mirror, revision, &change, 1);
    json_decref(change.row);
}

static void selected_rows_are_shared(void **state)
{
    static const char a[] = "WHERE cabinet = ? ORDER BY id";
    struct mirror *mirror = *state;
    json_t *params = json_pack("[s]", "A");
    json_t *one = mirror_select_shared(mirror, "host", a, "s", "A");
    json_t *two = mirror_select_shared_json(mirror, "host", a, params);
    json_t *got = mirror_get_shared(mirror, "host", "h1");
    json_t *own = mirror_select(mirror, "host", a, "s", "A");

    assert_int_equal(json_array_size(one), 2);
    assert_ptr_not_equal(one, two);
    assert_ptr_equal(json_array_get(one, 0), json_array_get(two, 0));
    assert_ptr_equal(json_array_get(one, 0), got);
    assert_ptr_not_equal(json_array_get(one, 0), json_array_get(own, 0));
    assert_true(json_equal(one, own));
    json_decref(two);
    change_host(mirror, "h3", "A", 50);
    two = mirror_select_shared(mirror, "host", a, "s", "A");
    assert_ptr_equal(json_array_get(one, 0),
                     json_array_get(two, 0)); /* the other one is the same */
    assert_ptr_not_equal(json_array_get(one, 1), json_array_get(two, 1));
    assert_int_equal(json_int(json_array_get(two, 1), "_rev", 0), 50);
    json_decref(one);
    json_decref(two);
    json_decref(own);
    json_decref(got);
    json_decref(params);
}

/* More rows than are shared. */
static void very_many_rows_are_right(void **state)
{
    struct mirror *mirror = *state;
    char id[32];

    for (int i = 0; i < 5000; i++) {
        snprintf(id, sizeof(id), "many-%04d", i);
        change_host(mirror, id, "M", 100 + i);
    }
    for (int round = 0; round < 2; round++) {
        json_t *rows =
            mirror_select_shared(mirror, "host", "WHERE cabinet = 'M' ORDER BY id", NULL);

        assert_int_equal(json_array_size(rows), 5000);
        for (int i = 0; i < 5000; i++)
            assert_int_equal(json_int(json_array_get(rows, (size_t)i), "_rev", 0), 100 + i);
        json_decref(rows);
    }
}

static void versions_are_those_of_tables(void **state)
{
    struct mirror *mirror = *state;
    mirror_tables hosts, users, both, none;
    uint64_t before[4];

    mirror_reads_begin(mirror);
    none = mirror_reads(mirror);
    assert_int_equal(none, 0);
    json_decref(mirror_select(mirror, "user", "", ""));
    users = mirror_reads(mirror);
    mirror_reads_begin(mirror);
    json_decref(mirror_get_shared(mirror, "host", "h1"));
    hosts = mirror_reads(mirror);
    mirror_reads_add(mirror, users);
    both = mirror_reads(mirror);
    assert_true(hosts && users && hosts != users && both == (hosts | users));
    before[0] = mirror_version(mirror, none);
    before[1] = mirror_version(mirror, users);
    before[2] = mirror_version(mirror, hosts);
    before[3] = mirror_version(mirror, both);
    change_host(mirror, "h1", "C", 60);
    assert_true(mirror_version(mirror, none) == before[0] && before[0] > 0);
    assert_true(mirror_version(mirror, users) == before[1] && before[1] > 0);
    assert_true(mirror_version(mirror, hosts) > before[2]);
    assert_true(mirror_version(mirror, both) > before[3]);
    assert_true(mirror_version(mirror, MIRROR_EVERY_TABLE) == mirror_version(mirror, hosts));
}

/* In whatever way a table is read, and no matter if the statement was compiled before. */
static void every_read_is_noted(void **state)
{
    struct mirror *mirror = *state;
    mirror_tables hosts, seen[6];

    mirror_reads_begin(mirror);
    mirror_count(mirror, "host", "", "");
    hosts = mirror_reads(mirror);
    assert_true(hosts);
    for (int round = 0; round < 2; round++) {
        memset(seen, 0, sizeof(seen));
        for (size_t i = 0; i < 6; i++) {
            mirror_reads_begin(mirror);
            if (i == 0)
                mirror_count(mirror, "user", "WHERE EXISTS (SELECT 1 FROM host)", "");
            else if (i == 1)
                json_decref(mirror_select(mirror, "user", "WHERE id IN (SELECT id FROM host)", ""));
            else if (i == 2)
                json_decref(
                    mirror_select_shared(mirror, "user", "JOIN host ON host.id = user.id", ""));
            else if (i == 3)
                mirror_sum(mirror, "host", "vcpus", "", "");
            else if (i == 4) /* what is not there was looked for */
                json_decref(mirror_get_shared(mirror, "host", "none"));
            else
                json_decref(mirror_get(mirror, "host", "h1", NULL));
            seen[i] = mirror_reads(mirror);
        }
        for (size_t i = 0; i < 6; i++)
            assert_true((seen[i] & hosts) == hosts && (i < 3) == (seen[i] != hosts));
    }
}

struct heard {
    int calls;
    size_t changes;
    bool all;
};

static void on_change(void *arg, const struct store_change *changes, size_t n)
{
    struct heard *heard = arg;

    heard->calls++;
    heard->changes += n;
    heard->all = heard->all || !changes;
}

static void listeners_hear(void **state)
{
    struct store_change changes[] = {host("h2", "C", 8),
                                     {.table = "host", .id = "h1", .revision = 8},
                                     {.table = "of_a_newer_release", .id = "x", .revision = 8}};
    struct heard heard = {0};

    mirror_listen(*state, on_change, &heard);
    mirror_apply(*state, 8, changes, 3);
    json_decref(changes[0].row);
    mirror_apply(*state, 9, NULL, 0);
    assert_int_equal(heard.calls, 1);
    assert_int_equal(heard.changes, 3);
    assert_int_equal(mirror_revision(*state), 9);
    assert_int_equal(mirror_count(*state, "host", "", ""), 2);
    assert_int_equal(mirror_count(*state, "host", "WHERE cabinet = ?", "s", "C"), 1);
}

static void on_wait(void *arg, int rc)
{
    *(int *)arg = rc;
}

static void waiting_ends_with_the_revision(void **state)
{
    int rc = 1, now = 1, barrier = 1, closed = 1;
    struct mirror *mirror = mirror_open_detached(NULL);

    mirror_wait(*state, 7, 1000, on_wait, &now);
    assert_int_equal(now, 0);
    mirror_wait(*state, 8, 1000, on_wait, &rc);
    assert_int_equal(rc, 1);
    mirror_apply(*state, 8, NULL, 0);
    assert_int_equal(rc, 0);
    mirror_barrier(*state, 1000, on_wait, &barrier);
    assert_int_equal(barrier, 0);
    mirror_wait(mirror, 1, 1000, on_wait, &closed);
    mirror_close(mirror);
    assert_int_equal(closed, -ECANCELED);
}

static void on_commit(void *arg, int rc, int64_t revision)
{
    *(int64_t *)arg = rc == 0 ? revision : rc;
}

static void run_while(uv_loop_t *loop, const int *rc)
{
    for (int i = 0; i < 5000 && *rc == 1; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void a_store_feeds_it(void **state)
{
    char dir[] = "/tmp/vling-test-mirror-XXXXXX", path[64];
    struct mirror *mirror;
    struct store *store;
    struct store_txn *txn;
    int barrier = 1, late = 1, stale = 1;
    int64_t first = 0, second = 0;
    struct heard heard = {0};
    uv_loop_t loop;
    json_t *row = json_pack("{s:s, s:s}", "id", "h1", "cabinet", "A");

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/store.db", dir);
    uv_loop_init(&loop);
    store = store_open_sqlite(&loop, path, NULL);
    mirror = mirror_open(store, NULL);
    mirror_listen(mirror, on_change, &heard);
    assert_false(mirror_ready(mirror));
    txn = store_txn_new();
    store_txn_create(txn, "host", "h1", row);
    store_commit(store, txn, 5000, on_commit, &first);
    json_decref(row);
    mirror_barrier(mirror, 5000, on_wait, &barrier);
    run_while(&loop, &barrier);
    assert_int_equal(barrier, 0);
    assert_true(mirror_ready(mirror) && heard.all);
    row = mirror_get(mirror, "host", "h1", NULL);
    assert_int_equal(json_int(row, "_rev", 0), first);
    txn = store_txn_new();
    json_put_str(row, "cabinet", "B");
    mirror_txn_update(txn, "host", row);
    assert_null(json_object_get(row, "_rev"));
    store_commit(store, txn, 5000, on_commit, &second);
    for (int i = 0; i < 10000 && !second; i++) /* a barrier waits for what was acknowledged */
        uv_run(&loop, UV_RUN_ONCE);
    barrier = 1;
    mirror_barrier(mirror, 5000, on_wait, &barrier);
    run_while(&loop, &barrier);
    assert_true(second > first);
    assert_int_equal(mirror_count(mirror, "host", "WHERE cabinet = 'B'", ""), 1);
    mirror_wait(mirror, second + 100, 50, on_wait, &late);
    run_while(&loop, &late);
    assert_int_equal(late, -ETIMEDOUT);
    mirror_barrier(mirror, 5000, on_wait, &stale);
    mirror_close(mirror);
    assert_int_equal(stale, -ECANCELED);
    store_close(store);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    json_decref(row);
    unlink(path);
    snprintf(path, sizeof(path), "%s/store.db-acked", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_mirror, close_mirror)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rows_are_selected),
        T(parameters_come_as_json),
        T(foreign_sql_is_refused),
        T(an_unreadable_row_stays_as_it_was),
        T(what_cannot_be_read_ends_it),
        T(what_cannot_be_applied_ends_it),
        T(own_sql_is_right),
        T(one_row_is_got),
        T(a_shared_row_is_read_once),
        T(selected_rows_are_shared),
        T(very_many_rows_are_right),
        T(versions_are_those_of_tables),
        T(every_read_is_noted),
        T(listeners_hear),
        T(waiting_ends_with_the_revision),
        T(a_store_feeds_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
