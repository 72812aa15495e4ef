/* Backups into new clouds: all rows arrive, also large ones; a race has one winner; an empty store
 * is founded once; until all rows are there guests are left alone. */
#include "node/backup.h"

#include "base/file.h"
#include "base/json.h"
#include "node/commands.h"
#include "node/pki.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVERS 40
#define USER_DATA (53 * 1024)
#define SMALL 250
#define PATIENCE_LOOKS 1200 /* a minute */

/* A controller with a store of its own, as far as backups need it. */
struct world {
    char dir[64];
    uv_loop_t loop;
    struct node node;
    int founded;
};

static struct world *world;

/* agent.c asks. */
bool lease_keeper_held(const struct lease_keeper *keeper)
{
    return true;
}

static int found(struct store_txn *txn, const char *password, struct err *err)
{
    json_t *row = json_pack("{s:s}", "id", password);

    world->founded++;
    store_txn_put(txn, "user", password, row);
    json_decref(row);
    return 0;
}

static const struct node_hooks hooks = {.bootstrap = found};

static void on_time(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void run_for(uint64_t ms)
{
    uv_timer_t timer;
    bool over = false;

    uv_timer_init(&world->loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, ms, 0);
    while (!over)
        uv_run(&world->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&world->loop, UV_RUN_NOWAIT);
}

static const char *in(const char *name)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", world->dir, name);
    return path;
}

static bool there(const char *name)
{
    return access(in(name), F_OK) == 0;
}

static void open_world(void)
{
    struct node *node = &world->node;
    struct err err;

    assert_int_equal(uv_loop_init(&world->loop), 0);
    node->loop = &world->loop;
    node->hooks = &hooks;
    node->founding = false;
    node->store = store_open_sqlite(&world->loop, in("store.sqlite"), &err);
    assert_non_null(node->store);
    node->mirror = mirror_open(node->store, &err);
    assert_non_null(node->mirror);
    while (!mirror_ready(node->mirror))
        uv_run(&world->loop, UV_RUN_ONCE);
}

static int setup(void **state)
{
    world = calloc(1, sizeof(*world));
    strcpy(world->dir, "/tmp/vling-test-backup-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    snprintf(world->node.config.state_dir, sizeof(world->node.config.state_dir), "%s", world->dir);
    snprintf(world->node.config.host, sizeof(world->node.config.host), "h1");
    open_world();
    return 0;
}

static void close_world(void)
{
    mirror_close(world->node.mirror);
    store_close(world->node.store);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    assert_null(world->node.restore);
    close_world();
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(world);
    return 0;
}

/* ---- rows ---- */

static void on_rc(void *arg, int rc, int64_t revision)
{
    *(int *)arg = rc;
}

static void put(const char *table, json_t *row)
{
    struct store_txn *txn = store_txn_new();
    int rc = 1;

    store_txn_put(txn, table, json_str(row, "id", ""), row);
    json_decref(row);
    store_commit(world->node.store, txn, 5000, on_rc, &rc);
    while (rc == 1)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(rc, 0);
}

static void put_cluster(const char *made_by, bool restoring)
{
    put("setting", json_pack("{s:s, s:{s:s, s:b}}", "id", "cluster", "value", "made_by", made_by,
                             "restoring", restoring));
}

static void add(json_t *rows, const char *table, json_t *row)
{
    json_array_append_new(rows, json_pack("{s:s, s:o}", "table", table, "row", row));
}

static json_t *deep(int levels)
{
    json_t *value = json_object();

    for (int i = 1; i < levels; i++)
        value = json_pack("{s:o}", "a", value);
    return value;
}

/* Sealed rows: small ones, one as deep as the store takes, servers with much user data. */
static json_t *backup_of(int small, int servers)
{
    json_t *rows = json_array(), *backup;
    char *data = malloc(USER_DATA + 1), id[32];

    add(rows, "setting", json_pack("{s:s, s:{s:s}}", "id", "cluster", "value", "made_by", "old"));
    for (int i = 0; i < small; i++) {
        snprintf(id, sizeof(id), "u%d", i);
        add(rows, "user", json_pack("{s:s, s:s}", "id", id, "name", id));
    }
    add(rows, "user", json_pack("{s:s, s:o}", "id", "deep", "options", deep(JSON_DEPTH_MAX - 1)));
    memset(data, 'x', USER_DATA);
    data[USER_DATA] = '\0';
    for (int i = 0; i < servers; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        add(rows, "server", json_pack("{s:s, s:s}", "id", id, "user_data", data));
    }
    free(data);
    backup = json_pack("{s:i, s:s, s:i, s:o}", "vling_backup", 1, "time", "then", "revision", 9,
                       "rows", rows);
    backup_seal(backup);
    return backup;
}

static void save(const json_t *backup, const char *name)
{
    assert_int_equal(json_dump_file(backup, in(name), JSON_COMPACT), 0);
}

static size_t count(const char *table)
{
    return (size_t)mirror_count(world->node.mirror, table, "", "");
}

/* Looks again and again, as the daemon does. */
static void look(int times)
{
    for (int i = 0; i < times; i++) {
        bootstrap_check(&world->node);
        run_for(50);
    }
}

/* Looks until the file is there. */
static void look_until(const char *name)
{
    for (int i = 0; i < PATIENCE_LOOKS && !there(name); i++)
        look(1);
    assert_true(there(name));
}

/* ---- restoring ---- */

static void test_large_rows_are_restored(void **state)
{
    json_t *backup = backup_of(SMALL, SERVERS), *again;

    save(backup, "restore.json");
    look(1);
    for (int i = 0; i < PATIENCE_LOOKS && world->node.restore; i++) {
        assert_false(cloud_complete(&world->node));
        look(1);
    }
    assert_null(world->node.restore);
    assert_true(cloud_complete(&world->node));
    assert_int_equal(count("server"), SERVERS);
    again = backup_make(&world->node);
    assert_int_equal(json_int(again, "row_count", 0), json_int(backup, "row_count", 0));
    assert_int_equal(count("user"), SMALL + 1);
    /* It can be restored in its turn. */
    save(again, "again");
    json_decref(again);
    again = backup_read(in("again"), &(bool){false}, NULL);
    assert_non_null(again);
    assert_true(there("restore.json.done"));
    assert_false(there("restore.json"));
    json_decref(again);
    json_decref(backup);
}

static void test_a_row_that_is_too_large_is_named(void **state)
{
    json_t *backup = backup_of(3, 0);
    char *data = calloc(1, STORE_ROW_SIZE_MAX + 1);
    struct err err = {0};
    bool sealed;

    memset(data, 'x', STORE_ROW_SIZE_MAX);
    add(json_object_get(backup, "rows"), "server",
        json_pack("{s:s, s:s}", "id", "giant", "user_data", data));
    backup_seal(backup);
    save(backup, "file");
    assert_null(backup_read(in("file"), &sealed, &err));
    assert_int_equal(err.code, -EMSGSIZE);
    assert_non_null(strstr(err.why, "server giant"));
    free(data);
    json_decref(backup);
}

/* What the store never takes (a name that is too long) ends it. */
static void test_what_the_store_refuses_ends_it(void **state)
{
    json_t *backup = backup_of(3, 0);
    int64_t revision;
    char name[300];

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    add(json_object_get(backup, "rows"), "server", json_pack("{s:s}", "id", name));
    backup_seal(backup);
    save(backup, "restore.json");
    look_until("restore.json.refused");
    revision = mirror_revision(world->node.mirror);
    look(4);
    assert_int_equal(mirror_revision(world->node.mirror), revision);
    assert_null(world->node.restore);
    assert_false(cloud_complete(&world->node));
    assert_int_equal(count("server"), 0);
    json_decref(backup);
}

static void test_a_crash_in_between_goes_on(void **state)
{
    json_t *backup = backup_of(SMALL, SERVERS);

    put_cluster("h1", true); /* what the life before wrote */
    save(backup, "restore.json");
    assert_false(cloud_complete(&world->node));
    look_until("restore.json.done");
    assert_true(cloud_complete(&world->node));
    assert_int_equal(count("server"), SERVERS);
    json_decref(backup);
}

/* ---- who is first ---- */

static void test_a_cloud_is_not_restored_over(void **state)
{
    json_t *backup = backup_of(3, 0);

    put_cluster("h2", false);
    save(backup, "restore.json");
    look_until("restore.json.refused");
    assert_false(there("restore.json"));
    assert_int_equal(count("user"), 0);
    assert_null(world->node.restore);
    json_decref(backup);
}

/* Two controllers with a backup each: their rows are not mixed. */
static void test_two_restores_are_not_mixed(void **state)
{
    json_t *backup = backup_of(3, 0);

    put_cluster("h2", true);
    save(backup, "restore.json");
    look_until("restore.json.refused");
    assert_int_equal(count("user"), 0);
    assert_false(cloud_complete(&world->node));
    json_decref(backup);
}

/* Another controller founds a cloud while this one has begun to look at its file. */
static void test_a_lost_race_ends(void **state)
{
    json_t *backup = backup_of(3, 0);

    save(backup, "restore.json");
    bootstrap_check(&world->node);
    assert_non_null(world->node.restore);
    put_cluster("h2", false);
    look_until("restore.json.refused");
    assert_null(world->node.restore);
    assert_int_equal(count("user"), 0);
    json_decref(backup);
}

/* ---- founding ---- */

static void test_a_cloud_is_founded_once(void **state)
{
    assert_int_equal(file_write_atomic(in("admin-password"), "secret\n", 7, 0600), 0);
    look_until("cloud-founded");
    assert_int_equal(world->founded, 1); /* however long the first rows took */
    assert_int_equal(mirror_count(world->node.mirror, "user", "WHERE id = 'secret'", ""), 1);
    /* The store is lost. */
    close_world();
    unlink(in("store.sqlite"));
    unlink(in("store.sqlite-wal"));
    open_world();
    look(3);
    assert_int_equal(world->founded, 1);
    assert_int_equal(count("setting"), 0);
    /* The operator wants an empty one. */
    unlink(in("cloud-founded"));
    look_until("cloud-founded");
    assert_int_equal(world->founded, 2);
    assert_true(cloud_complete(&world->node));
}

static void test_a_restored_cloud_has_its_own_password(void **state)
{
    json_t *backup = backup_of(3, 1);

    assert_int_equal(file_write_atomic(in("admin-password"), "secret\n", 7, 0600), 0);
    save(backup, "restore.json");
    look_until("cloud-founded");
    assert_int_equal(world->founded, 0);
    assert_int_equal(count("server"), 1);
    assert_false(there("admin-password"));
    json_decref(backup);
}

/* ---- the command ---- */

static void write_config(void)
{
    FILE *file = fopen(in("vlingd.json"), "w");

    fprintf(file,
            "{\"host\": \"h1\", \"cabinet\": \"c1\", \"roles\": [\"controller\"], "
            "\"state_dir\": \"%s/state\", \"run_dir\": \"%s/run\", "
            "\"mgmt\": {\"dev\": \"lo\", \"ip\": \"127.0.0.1\"}, "
            "\"tenant\": {\"dev\": \"lo\", \"ip\": \"127.0.0.1\"}, "
            "\"controllers\": [{\"host\": \"h1\", \"cabinet\": \"c1\", \"ip\": \"127.0.0.1\"}]}",
            world->dir, world->dir);
    fclose(file);
}

static void test_restore_in_place_of_init(void **state)
{
    json_t *backup = backup_of(3, 0);

    write_config();
    save(backup, "file");
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 0);
    assert_true(there("state/pki/host.crt"));
    assert_true(there("state/restore.json"));
    assert_false(there("state/admin-password")); /* nobody founds another one */
    json_decref(backup);
}

static void test_restore_where_it_is_safe(void **state)
{
    json_t *backup = backup_of(3, 0);

    write_config();
    save(backup, "file");
    assert_int_equal(command_init(in("vlingd.json"), NULL), 0);
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 0);
    assert_true(there("state/restore.json"));
    unlink(in("state/restore.json"));
    /* A second controller of a new cluster: the first would found a cloud. */
    unlink(in("state/admin-password"));
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 1);
    assert_false(there("state/restore.json"));
    /* A second controller of a cloud that was lost. */
    assert_int_equal(file_write_atomic(in("state/cloud-founded"), "", 0, 0644), 0);
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 0);
    assert_true(there("state/restore.json"));
    unlink(in("state/restore.json"));
    /* There is a store. */
    assert_int_equal(file_write_atomic(in("state/store.sqlite"), "x", 1, 0600), 0);
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 1);
    assert_false(there("state/restore.json"));
    json_decref(backup);
}

static void test_a_changed_file_is_refused(void **state)
{
    json_t *backup = backup_of(3, 0);

    write_config();
    json_put_int(backup, "revision", 10);
    save(backup, "file");
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 1);
    assert_false(there("state/restore.json"));
    json_object_del(backup, "sha512"); /* of an older release, for all that can be told */
    save(backup, "file");
    assert_int_equal(command_restore(in("vlingd.json"), in("file")), 0);
    json_decref(backup);
}

/* ---- guests ---- */

static void on_started(void *arg, int rc, const struct err *err)
{
    *(int *)arg = rc;
}

static size_t guests(void)
{
    static struct guest_info list[4];

    return world->node.compute_ops->list(world->node.compute, list, 4);
}

static void on_guest(void *arg, const char *id)
{
}

static void open_drivers(void)
{
    struct node *node = &world->node;
    json_t *config = json_pack("{s:s, s:s, s:s, s:b}", "run_dir", world->dir, "state_dir",
                               world->dir, "path", world->dir, "shared", 1);
    struct err err;

    node->compute_ops = compute_driver_find("fake");
    node->network_ops = network_driver_find("fake");
    node->storage_ops = storage_driver_find("fake");
    node->compute = node->compute_ops->open(node->loop, config, on_guest, node, &err);
    node->network = node->network_ops->open(node->loop, config, NULL, node, &err);
    node->storage = node->storage_ops->open(node->loop, config, &err);
    assert_true(node->compute && node->network && node->storage);
    json_decref(config);
}

/* A guest is no stray while the rows are not there: before a cloud is, and during a restore. */
static void look_after_a_guest(void)
{
    struct guest_spec spec = {.id = "g1", .generation = 1, .name = "g1", .vcpus = 1, .ram_mb = 64};
    struct node *node = &world->node;
    struct err err;
    int rc = 1;

    open_drivers();
    node->compute_ops->start(node->compute, &spec, on_started, &rc);
    for (int i = 0; i < 100 && rc == 1; i++)
        run_for(20);
    assert_int_equal(rc, 0);
    assert_int_equal(guests(), 1);
    node->agent = agent_start(node, &err);
    run_for(2500);
    assert_int_equal(guests(), 1);
    put_cluster("h2", true);
    run_for(2500);
    assert_int_equal(guests(), 1);
    put_cluster("h2", false);
    for (int i = 0; i < 100 && guests() > 0; i++)
        run_for(50);
    assert_int_equal(guests(), 0); /* now it is one */
}

/* This host gave up its role compute and began anew with an empty /run: nothing here tells of its
 * servers but their rows. */
static void look_after_a_row(void)
{
    struct node *node = &world->node;
    struct store_txn *txn = store_txn_new();
    json_t *row = json_pack("{s:s, s:s, s:s, s:i}", "id", "s1", "host_id", "h1", "power", "stopped",
                            "generation", 1);
    json_t *state = NULL;
    struct err err;

    open_drivers();
    node->compute_ops->close(node->compute);
    node->compute = NULL;
    put_cluster("h2", false);
    node->agent = agent_start(node, &err);
    run_for(1500);
    assert_null(node->compute);
    store_txn_put(txn, "server", "s1", row);
    store_commit(node->store, txn, 1500, NULL, NULL);
    json_decref(row);
    for (int i = 0; i < 100 && !state; i++) {
        run_for(50);
        state = mirror_get(node->mirror, "server_state", "s1", NULL);
    }
    assert_non_null(node->compute);
    assert_string_equal(json_str(state, "power", ""), "stopped");
    json_decref(state);
}

/* In a process of its own: an agent ends with it only. */
static void with_an_agent(void (*check)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        setup(NULL);
        check();
        nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_guests_wait_for_their_rows(void **state)
{
    with_an_agent(look_after_a_guest);
}

static void test_servers_without_the_role_are_looked_after(void **state)
{
    with_an_agent(look_after_a_row);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_large_rows_are_restored),
        T(test_a_row_that_is_too_large_is_named),
        T(test_what_the_store_refuses_ends_it),
        T(test_a_crash_in_between_goes_on),
        T(test_a_cloud_is_not_restored_over),
        T(test_two_restores_are_not_mixed),
        T(test_a_lost_race_ends),
        T(test_a_cloud_is_founded_once),
        T(test_a_restored_cloud_has_its_own_password),
        T(test_restore_in_place_of_init),
        T(test_restore_where_it_is_safe),
        T(test_a_changed_file_is_refused),
        cmocka_unit_test(test_guests_wait_for_their_rows),
        cmocka_unit_test(test_servers_without_the_role_are_looked_after),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
