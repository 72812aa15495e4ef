/* One suite over each engine: SQLite in a temporary file, and three etcd members on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "certificates.h"
#include "loopback.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMBERS 3
#define WAIT_MS 60000
#define ROWS_MAX 200000

struct row {
    char id[64];
    int64_t revision;
    int value;
};

/* What the watcher saw. */
struct seen {
    int resets, batches;
    int64_t revision;
    bool ordered;
    struct row rows[ROWS_MAX];
    size_t count;
    int deletes;
};

struct world {
    bool etcd;
    char dir[64];
    struct certificates tls;
    pid_t pid[MEMBERS];
    char ip[MEMBERS][LOOPBACK_SIZE];
    uv_loop_t loop;
    struct store *store;
    struct seen *seen;
};

struct result {
    bool done;
    int rc;
    int64_t value;
};

/* ---- etcd's members ---- */

static void exec_member(const struct world *world, int i)
{
    char name[16], data[96], client[64], peer[64], cluster[256], log[96];
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(name, sizeof(name), "m%d", i);
    snprintf(data, sizeof(data), "%s/m%d", world->dir, i);
    snprintf(log, sizeof(log), "%s/m%d.log", world->dir, i);
    snprintf(client, sizeof(client), "https://%s:2379", world->ip[i]);
    snprintf(peer, sizeof(peer), "http://%s:2380", world->ip[i]);
    snprintf(cluster, sizeof(cluster), "m0=http://%s:2380,m1=http://%s:2380,m2=http://%s:2380",
             world->ip[0], world->ip[1], world->ip[2]);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execlp("etcd", "etcd", "--name", name, "--data-dir", data, "--listen-client-urls", client,
           "--advertise-client-urls", client, "--listen-peer-urls", peer,
           "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
           "--initial-cluster-state", "new", "--heartbeat-interval", "50", "--election-timeout",
           "500", "--pre-vote", "--logger", "zap", "--cert-file", world->tls.cert, "--key-file",
           world->tls.key, "--trusted-ca-file", world->tls.ca, "--client-cert-auth", (char *)NULL);
    _exit(127);
}

static void member_start(struct world *world, int i)
{
    world->pid[i] = fork();
    if (world->pid[i] == 0)
        exec_member(world, i);
}

static void member_kill(struct world *world, int i)
{
    if (world->pid[i] <= 0)
        return;
    kill(world->pid[i], SIGKILL);
    waitpid(world->pid[i], NULL, 0);
    world->pid[i] = 0;
}

/* The member whose status names itself as the leader; -1: none. */
static int leader(const struct world *world)
{
    char command[512], line[1024];

    for (int i = 0; i < MEMBERS; i++) {
        const char *leader_at, *member_at;
        FILE *pipe;
        size_t size;

        if (world->pid[i] <= 0)
            continue;
        snprintf(command, sizeof(command),
                 "curl -s -m 2 --cacert %s --cert %s --key %s -X POST -d '{}' "
                 "https://%s:2379/v3/maintenance/status",
                 world->tls.ca, world->tls.cert, world->tls.key, world->ip[i]);
        pipe = popen(command, "r");
        size = fread(line, 1, sizeof(line) - 1, pipe);
        line[size] = '\0';
        pclose(pipe);
        leader_at = strstr(line, "\"leader\":\"");
        member_at = strstr(line, "\"member_id\":\"");
        if (leader_at && member_at &&
            strtoull(leader_at + 10, NULL, 10) == strtoull(member_at + 13, NULL, 10))
            return i;
    }
    return -1;
}

/* ---- the loop ---- */

static bool run_until(struct world *world, bool (*condition)(void *arg), void *arg, int timeout_ms)
{
    int64_t end = clock_now_ms() + timeout_ms;

    while (!condition(arg) && clock_now_ms() < end) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        usleep(500);
    }
    return condition(arg);
}

static bool never(void *arg)
{
    return false;
}

static bool is_done(void *arg)
{
    return ((struct result *)arg)->done;
}

static void on_result(void *arg, int rc, int64_t value)
{
    struct result *result = arg;

    assert_false(result->done);
    *result = (struct result){.done = true, .rc = rc, .value = value};
}

static int finish(struct world *world, struct result *result)
{
    assert_false(result->done);
    assert_true(run_until(world, is_done, result, WAIT_MS));
    return result->rc;
}

static json_t *row_of(int value)
{
    return json_pack("{s:i}", "value", value);
}

static int commit(struct world *world, struct store_txn *txn, int64_t *ret_revision)
{
    struct result result = {0};
    int rc;

    store_commit(world->store, txn, 8000, on_result, &result);
    rc = finish(world, &result);
    if (ret_revision)
        *ret_revision = result.value;
    return rc;
}

static void put(struct store_txn *txn, const char *id, int value)
{
    json_t *row = row_of(value);

    store_txn_put(txn, "host", id, row);
    json_decref(row);
}

static void on_seen(struct seen *seen, int64_t revision, const struct store_change *changes,
                    size_t n)
{
    seen->batches++;
    for (size_t i = 0; i < n; i++) {
        struct row *row;

        if (changes[i].revision > revision || changes[i].revision <= seen->revision)
            seen->ordered = false;
        if (!changes[i].row)
            seen->deletes++;
        assert_true(seen->count < ROWS_MAX);
        row = &seen->rows[seen->count++];
        snprintf(row->id, sizeof(row->id), "%s", changes[i].id);
        row->revision = changes[i].revision;
        row->value = changes[i].row ? (int)json_int(changes[i].row, "value", 0) : -1;
    }
    if (revision < seen->revision)
        seen->ordered = false;
    seen->revision = revision;
}

static void on_reset(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct seen *seen = arg;

    seen->resets++;
    seen->count = 0;
    seen->revision = 0;
    on_seen(seen, revision, changes, n);
}

static void on_changed(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    on_seen(arg, revision, changes, n);
}

static bool has_reset(void *arg)
{
    return ((struct seen *)arg)->resets > 0;
}

struct reach {
    const struct seen *seen;
    int64_t revision;
};

static bool has_reached(void *arg)
{
    const struct reach *reach = arg;

    return reach->seen->resets > 0 && reach->seen->revision >= reach->revision;
}

static void watch(struct world *world)
{
    struct store_watcher watcher = {.reset = on_reset, .changed = on_changed, .arg = world->seen};

    memset(world->seen, 0, sizeof(*world->seen));
    world->seen->ordered = true;
    store_watch(world->store, &watcher);
    assert_true(run_until(world, has_reset, world->seen, WAIT_MS));
}

static bool reaches(struct world *world, int64_t revision)
{
    struct reach reach = {.seen = world->seen, .revision = revision};

    return run_until(world, has_reached, &reach, WAIT_MS);
}

/* The last thing that the watcher saw of a row: its value, -1 deleted, -2 nothing. */
static int last_value(const struct seen *seen, const char *id)
{
    for (size_t i = seen->count; i > 0; i--)
        if (strcmp(seen->rows[i - 1].id, id) == 0)
            return seen->rows[i - 1].value;
    return -2;
}

/* ---- worlds ---- */

static void open_store(struct world *world)
{
    struct err err = {0};

    if (world->etcd) {
        char urls[MEMBERS][64];
        const char *endpoints[MEMBERS + 1] = {urls[0], urls[1], urls[2], NULL};
        struct store_etcd_options options = {.endpoints = endpoints,
                                             .ca_file = world->tls.ca,
                                             .cert_file = world->tls.cert,
                                             .key_file = world->tls.key,
                                             .writer = "tester"};

        for (int i = 0; i < MEMBERS; i++)
            snprintf(urls[i], sizeof(urls[i]), "https://%s:2379", world->ip[i]);
        world->store = store_open_etcd(&world->loop, &options, &err);
    } else {
        char path[96];

        snprintf(path, sizeof(path), "%s/store.db", world->dir);
        world->store = store_open_sqlite(&world->loop, path, &err);
    }
    if (!world->store)
        fail_msg("%s: %s", err.what, err.why);
}

static void shut_store(struct world *world)
{
    store_close(world->store);
    world->store = NULL;
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

static int world_new(void **state, bool etcd)
{
    struct world *world = calloc(1, sizeof(*world));
    char names[80];

    world->etcd = etcd;
    world->seen = calloc(1, sizeof(*world->seen));
    strcpy(world->dir, "/tmp/vling-test-store-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    for (unsigned i = 0; i < MEMBERS; i++)
        loopback_ip(i, world->ip[i]);
    snprintf(names, sizeof(names), "IP:%s,IP:%s,IP:%s", world->ip[0], world->ip[1], world->ip[2]);
    if (etcd)
        assert_int_equal(make_certificates(world->dir, names, &world->tls), 0);
    for (int i = 0; etcd && i < MEMBERS; i++)
        member_start(world, i);
    *state = world;
    return 0;
}

static int setup_sqlite(void **state)
{
    return world_new(state, false);
}

static int setup_etcd(void **state)
{
    return world_new(state, true);
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    struct world *world = *state;

    for (int i = 0; i < MEMBERS; i++)
        member_kill(world, i);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(world->seen);
    free(world);
    return 0;
}

/* Members that have just been started take a while; transactions have no time for that. */
static void wait_for_members(struct world *world)
{
    int64_t end = clock_now_ms() + WAIT_MS;
    int rc;

    do {
        struct result result = {0};

        store_barrier(world->store, 8000, on_result, &result);
        rc = finish(world, &result);
    } while (rc < 0 && clock_now_ms() < end);
    assert_int_equal(rc, 0);
}

static int begin(void **state)
{
    struct world *world = *state;

    for (int i = 0; world->etcd && i < MEMBERS; i++)
        if (world->pid[i] <= 0)
            member_start(world, i);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    open_store(world);
    wait_for_members(world);
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;

    if (world->store)
        shut_store(world);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    return 0;
}

/* ---- transactions ---- */

static void preconditions_decide(void **state)
{
    struct world *world = *state;
    struct store_txn *txn = store_txn_new();
    int64_t first, second, third;

    assert_true(store_txn_empty(txn));
    put(txn, "pre", 1);
    assert_false(store_txn_empty(txn));
    assert_int_equal(commit(world, txn, &first), 0);
    txn = store_txn_new();
    store_txn_expect(txn, "host", "pre", first);
    put(txn, "pre", 2);
    assert_int_equal(commit(world, txn, &second), 0);
    assert_true(second > first);
    txn = store_txn_new();
    store_txn_expect(txn, "host", "pre", first);
    put(txn, "pre", 3);
    put(txn, "pre-other", 3);
    assert_int_equal(commit(world, txn, NULL), -EAGAIN);
    txn = store_txn_new();
    store_txn_expect(txn, "host", "pre-other", 0); /* nothing of the failed one is there */
    store_txn_expect(txn, "host", "pre", second);
    store_txn_delete(txn, "host", "pre");
    assert_int_equal(commit(world, txn, &third), 0);
    txn = store_txn_new();
    store_txn_expect(txn, "host", "pre", second);
    assert_int_equal(commit(world, txn, NULL), -EAGAIN);
    watch(world);
    assert_true(reaches(world, third));
    assert_int_equal(last_value(world->seen, "pre"), -2);
    assert_int_equal(last_value(world->seen, "pre-other"), -2);
}

static void creates_do_not_double(void **state)
{
    struct world *world = *state;
    struct result results[20] = {0};
    int created = 0;

    for (int i = 0; i < 20; i++) {
        struct store_txn *txn = store_txn_new();
        json_t *row = row_of(i);

        store_txn_create(txn, "host", "once", row);
        json_decref(row);
        store_commit(world->store, txn, 8000, on_result, &results[i]);
        assert_false(results[i].done); /* never from inside the call */
    }
    for (int i = 0; i < 20; i++) {
        assert_true(run_until(world, is_done, &results[i], WAIT_MS));
        assert_true(results[i].rc == 0 || results[i].rc == -EAGAIN);
        created += results[i].rc == 0;
    }
    assert_int_equal(created, 1);
}

static void bad_transactions_are_refused(void **state)
{
    struct world *world = *state;
    struct store_txn *txn = store_txn_new();
    char *text = malloc(STORE_ROW_SIZE_MAX + 1);
    json_t *row;

    memset(text, 'x', STORE_ROW_SIZE_MAX);
    text[STORE_ROW_SIZE_MAX] = '\0';
    row = json_pack("{s:s}", "text", text);
    store_txn_put(txn, "host", "big", row);
    json_decref(row);
    free(text);
    assert_int_equal(commit(world, txn, NULL), -EMSGSIZE);
    txn = store_txn_new();
    for (int i = 0; i <= STORE_TXN_CHANGES_MAX; i++) {
        char id[16];

        snprintf(id, sizeof(id), "many-%d", i);
        put(txn, id, i);
    }
    assert_int_equal(commit(world, txn, NULL), -EMSGSIZE);
    txn = store_txn_new();
    put(txn, "", 1);
    assert_int_equal(commit(world, txn, NULL), -EINVAL);
    txn = store_txn_new();
    store_txn_put(txn, STORE_LEASE_TABLE, "x", NULL);
    assert_int_equal(commit(world, txn, NULL), -EINVAL);
}

static void big_transactions_fit(void **state)
{
    struct world *world = *state;
    struct store_txn *txn = store_txn_new();
    int64_t revision;

    for (int i = 0; i < STORE_TXN_CHANGES_MAX; i++) {
        char id[16];

        snprintf(id, sizeof(id), "fit-%d", i);
        store_txn_expect(txn, "host", id, 0);
        put(txn, id, i);
    }
    assert_int_equal(commit(world, txn, &revision), 0);
    watch(world);
    assert_true(reaches(world, revision));
    assert_int_equal(last_value(world->seen, "fit-119"), 119);
}

/* ---- watch, barrier ---- */

static void watch_is_ordered(void **state)
{
    struct world *world = *state;
    struct result results[200] = {0};
    int64_t last = 0;

    watch(world);
    assert_int_equal(world->seen->resets, 1);
    for (int i = 0; i < 200; i++) {
        struct store_txn *txn = store_txn_new();
        char id[16];

        snprintf(id, sizeof(id), "w%d", i % 10);
        put(txn, id, i);
        store_commit(world->store, txn, 8000, on_result, &results[i]);
    }
    for (int i = 0; i < 200; i++) {
        assert_true(run_until(world, is_done, &results[i], WAIT_MS));
        assert_int_equal(results[i].rc, 0);
        if (results[i].value > last)
            last = results[i].value;
    }
    assert_true(reaches(world, last));
    assert_true(world->seen->ordered);
    assert_int_equal(world->seen->resets, 1);
    for (int i = 0; i < 200; i++) { /* each at the revision it was acknowledged with */
        size_t found = 0;

        for (size_t k = 0; k < world->seen->count; k++)
            found += world->seen->rows[k].revision == results[i].value &&
                     world->seen->rows[k].value == i;
        assert_int_equal(found, 1);
    }
}

static void reset_brings_everything(void **state)
{
    struct world *world = *state;
    int64_t revision = 0;

    for (int t = 0; t < 5; t++) {
        struct store_txn *txn = store_txn_new();

        for (int i = 0; i < 100; i++) {
            char id[32];

            snprintf(id, sizeof(id), "all-%d-%d", t, i);
            put(txn, id, i);
        }
        assert_int_equal(commit(world, txn, &revision), 0);
    }
    shut_store(world);
    open_store(world);
    watch(world);
    assert_true(world->seen->revision >= revision);
    for (int i = 0; i < 100; i++) {
        char id[32];

        snprintf(id, sizeof(id), "all-4-%d", i);
        assert_int_equal(last_value(world->seen, id), i);
    }
}

static void barrier_is_not_behind(void **state)
{
    struct world *world = *state;
    struct result results[50] = {0};
    struct store_txn *txn = store_txn_new();
    int64_t revision;

    put(txn, "barrier", 1);
    assert_int_equal(commit(world, txn, &revision), 0);
    for (int i = 0; i < 50; i++)
        store_barrier(world->store, 5000, on_result, &results[i]);
    for (int i = 0; i < 50; i++) {
        assert_true(run_until(world, is_done, &results[i], WAIT_MS));
        assert_int_equal(results[i].rc, 0);
        assert_true(results[i].value >= revision);
    }
}

static void close_cancels(void **state)
{
    struct world *world = *state;
    struct result commit_result = {0}, barrier_result = {0}, lease_result = {0};
    struct store_txn *txn = store_txn_new();
    json_t *row = row_of(1);

    put(txn, "closed", 1);
    watch(world);
    store_commit(world->store, txn, 5000, on_result, &commit_result);
    store_barrier(world->store, 5000, on_result, &barrier_result);
    store_lease_take(world->store, "closed", row, 1000, 5000, on_result, &lease_result);
    json_decref(row);
    shut_store(world);
    assert_true(commit_result.done && barrier_result.done && lease_result.done);
}

/* ---- leases ---- */

static int take(struct world *world, const char *name, int ttl_ms, int64_t *ret_lease)
{
    struct result result = {0};
    json_t *row = row_of(7);
    int rc;

    store_lease_take(world->store, name, row, ttl_ms, 8000, on_result, &result);
    json_decref(row);
    rc = finish(world, &result);
    *ret_lease = result.value;
    return rc;
}

static int renew(struct world *world, int64_t lease)
{
    struct result result = {0};

    store_lease_renew(world->store, lease, 8000, on_result, &result);
    return finish(world, &result);
}

struct expect_value {
    struct world *world;
    const char *id;
    int value;
};

static bool has_value(void *arg)
{
    const struct expect_value *expect = arg;

    return last_value(expect->world->seen, expect->id) == expect->value;
}

static void leases_live_and_expire(void **state)
{
    struct world *world = *state;
    struct expect_value there = {world, "holder/a", 7}, gone = {world, "holder/a", -1};
    int64_t lease, other, renewed = 0;

    watch(world);
    assert_int_equal(take(world, "holder/a", 4000, &lease), 0);
    assert_true(lease > 0);
    assert_true(run_until(world, has_value, &there, WAIT_MS));
    assert_int_equal(take(world, "holder/a", 4000, &other), -EEXIST);
    for (int i = 0; i < 12; i++) {
        run_until(world, never, NULL, 500);
        renewed = clock_now_ms();
        assert_int_equal(renew(world, lease), 0);
    }
    assert_int_equal(last_value(world->seen, "holder/a"), 7);
    assert_true(run_until(world, has_value, &gone, WAIT_MS));
    assert_true(clock_now_ms() - renewed >= 4000); /* not early */
    assert_int_equal(renew(world, lease), -ENOENT);
    assert_int_equal(take(world, "holder/a", 4000, &lease), 0);
}

static void restarted_holder_renews(void **state)
{
    struct world *world = *state;
    struct expect_value gone = {world, "holder/b", -1};
    struct result dropped = {0};
    int64_t lease;

    assert_int_equal(take(world, "holder/b", 60000, &lease), 0);
    shut_store(world);
    open_store(world);
    assert_int_equal(renew(world, lease), 0);
    watch(world);
    assert_int_equal(last_value(world->seen, "holder/b"), 7);
    store_lease_drop(world->store, lease, 8000, on_result, &dropped);
    assert_int_equal(finish(world, &dropped), 0);
    assert_true(run_until(world, has_value, &gone, 30000)); /* not by its end */
    assert_int_equal(renew(world, lease), -ENOENT);
}

static void abandoned_lease_expires_after_restart(void **state)
{
    struct world *world = *state;
    struct expect_value gone = {world, "holder/c", -1};
    int64_t lease;

    assert_int_equal(take(world, "holder/c", 6000, &lease), 0);
    shut_store(world);
    open_store(world);
    watch(world);
    assert_int_equal(last_value(world->seen, "holder/c"), 7);
    assert_true(run_until(world, has_value, &gone, WAIT_MS));
}

/* ---- what only several members can suffer ---- */

struct writer {
    struct world *world;
    int next, acknowledged, refused, unknown;
    int64_t revision[ROWS_MAX];
    int rc[ROWS_MAX];
    int under_way;
    int64_t last_ack_ms, gap_ms;
    bool stop;
};

struct write {
    struct writer *writer;
    int number;
};

static void write_next(struct writer *writer);

static void on_written(void *arg, int rc, int64_t revision)
{
    struct write *write = arg;
    struct writer *writer = write->writer;
    int64_t now = clock_now_ms();

    writer->rc[write->number] = rc;
    writer->revision[write->number] = revision;
    writer->under_way--;
    if (rc == 0) {
        writer->acknowledged++;
        if (writer->last_ack_ms && now - writer->last_ack_ms > writer->gap_ms)
            writer->gap_ms = now - writer->last_ack_ms;
        writer->last_ack_ms = now;
    } else if (rc == -EINPROGRESS) {
        writer->unknown++;
    } else {
        writer->refused++;
    }
    free(write);
    if (!writer->stop)
        write_next(writer);
}

static void write_next(struct writer *writer)
{
    struct write *write = malloc(sizeof(*write));
    struct store_txn *txn = store_txn_new();
    json_t *row = row_of(writer->next);
    char id[32];

    if (writer->next == ROWS_MAX - 100)
        fail_msg("too many writes");
    write->writer = writer;
    write->number = writer->next++;
    writer->under_way++;
    snprintf(id, sizeof(id), "load-%d", write->number);
    store_txn_create(txn, "host", id, row);
    json_decref(row);
    store_commit(writer->world->store, txn, 8000, on_written, write);
}

static bool writer_idle(void *arg)
{
    return ((struct writer *)arg)->under_way == 0;
}

static void check_load(struct writer *writer, const struct seen *seen)
{
    static int times[ROWS_MAX];

    memset(times, 0, sizeof(times));
    for (size_t i = 0; i < seen->count; i++) {
        int number;

        if (sscanf(seen->rows[i].id, "load-%d", &number) != 1)
            continue;
        times[number]++;
        if (writer->rc[number] == 0)
            assert_int_equal(seen->rows[i].revision, writer->revision[number]);
        else if (writer->rc[number] != -EINPROGRESS)
            fail_msg("write %d was reported as %d and is there", number, writer->rc[number]);
    }
    for (int i = 0; i < writer->next; i++) {
        if (writer->rc[i] == 0 && times[i] != 1)
            fail_msg("write %d was acknowledged and is there %d times", i, times[i]);
    }
}

/* Between two terms there is none for a while. */
static int next_leader(struct world *world)
{
    int64_t end = clock_now_ms() + WAIT_MS;
    int i;

    while ((i = leader(world)) < 0 && clock_now_ms() < end)
        run_until(world, never, NULL, 100);
    assert_true(i >= 0);
    return i;
}

static void members_die_under_load(void **state)
{
    struct world *world = *state;
    struct writer *writer = calloc(1, sizeof(*writer));
    struct result barrier = {0};
    int dead;

    writer->world = world;
    watch(world);
    for (int i = 0; i < 16; i++)
        write_next(writer);
    for (int round = 0; round < 2; round++) {
        run_until(world, never, NULL, 1500);
        dead = next_leader(world);
        writer->gap_ms = 0;
        writer->last_ack_ms = clock_now_ms();
        member_kill(world, dead);
        run_until(world, never, NULL, 4000);
        print_message("leader killed: longest gap between acknowledged writes %lld ms\n",
                      (long long)writer->gap_ms);
        member_start(world, dead);
        run_until(world, never, NULL, 3000);
    }
    writer->stop = true;
    assert_true(run_until(world, writer_idle, writer, WAIT_MS));
    store_barrier(world->store, 8000, on_result, &barrier);
    assert_int_equal(finish(world, &barrier), 0);
    assert_true(reaches(world, barrier.value));
    print_message("%d written, %d acknowledged, %d refused, %d unknown\n", writer->next,
                  writer->acknowledged, writer->refused, writer->unknown);
    assert_true(writer->acknowledged > 100);
    assert_true(world->seen->ordered);
    assert_int_equal(world->seen->resets, 1);
    check_load(writer, world->seen);
    free(writer);
}

/* In the shell `$e` is etcdctl; "x" is a key that nobody has. */
static void by_hand(const struct world *world, const char *script)
{
    char command[1024];

    snprintf(command, sizeof(command),
             "export ETCDCTL_API=3; "
             "e='etcdctl --endpoints=https://%s:2379 --cacert=%s --cert=%s --key=%s'; %s",
             world->ip[0], world->tls.ca, world->tls.cert, world->tls.key, script);
    assert_int_equal(system(command), 0);
}

/* The client sleeps (its loop does not run) while history is written and thrown away: up to the
 * last revision of what the script does. Then it has all that is there. */
static void overtake(struct world *world, const char *script)
{
    struct store_txn *txn = store_txn_new();
    int64_t revision = 0;

    for (int i = 0; i < MEMBERS; i++)
        member_kill(world, i);
    for (int i = 0; i < MEMBERS; i++)
        member_start(world, i);
    by_hand(world, "for i in $(seq 60); do $e get x && break; sleep 0.5; done >/dev/null 2>&1");
    by_hand(world, script);
    by_hand(world, "r=$($e get x -w json | sed 's/.*\"revision\":\\([0-9]*\\).*/\\1/'); "
                   "$e compact --physical $r >/dev/null");
    put(txn, "after", 5);
    assert_int_equal(commit(world, txn, &revision), 0);
    assert_true(reaches(world, revision));
    assert_int_equal(world->seen->resets, 2);
}

static void compaction_resets(void **state)
{
    struct world *world = *state;

    watch(world);
    overtake(world, "$e put /vling/row/host/compacted '{\"value\":9}' >/dev/null; "
                    "for i in 1 2 3; do $e put /vling/row/host/other '{\"value\":1}'; done "
                    ">/dev/null");
    assert_int_equal(last_value(world->seen, "compacted"), 9);
}

/* etcd 3.4 leaves the deletions of that revision out of a watch that begins there. */
static void deletions_at_the_compaction(void **state)
{
    struct world *world = *state;
    struct store_txn *txn = store_txn_new();

    watch(world);
    put(txn, "doomed", 1);
    assert_int_equal(commit(world, txn, NULL), 0);
    overtake(world, "printf '\\nput /vling/row/host/kept {}\\ndel /vling/row/host/doomed\\n\\n\\n' "
                    "| $e txn >/dev/null");
    assert_int_equal(last_value(world->seen, "doomed"), -2);
    assert_int_equal(last_value(world->seen, "kept"), 0);
}

/* The member that the store asks. */
static int in_use(const struct world *world)
{
    struct store_status status = {0};
    char ip[LOOPBACK_SIZE] = "";

    store_get_status(world->store, &status);
    sscanf(status.detail, "endpoint https://%15[0-9.]", ip);
    for (int i = 0; i < MEMBERS; i++)
        if (strcmp(world->ip[i], ip) == 0)
            return i;
    fail_msg("it asks '%s'", status.detail);
    return -1;
}

static bool asks_the_leader(void *arg)
{
    struct world *world = arg;
    struct result result = {0};

    store_barrier(world->store, 1000, on_result, &result);
    finish(world, &result);
    return in_use(world) == leader(world);
}

static void the_leader_is_asked(void **state)
{
    struct world *world = *state;
    int first;

    assert_true(run_until(world, asks_the_leader, world, WAIT_MS));
    first = in_use(world);
    member_kill(world, first);
    assert_true(run_until(world, asks_the_leader, world, WAIT_MS));
    assert_int_not_equal(in_use(world), first);
    member_start(world, first);
    assert_true(run_until(world, asks_the_leader, world, WAIT_MS));
}

static void silent_member_is_left(void **state)
{
    struct world *world = *state;
    struct store_txn *txn;
    int64_t revision, started;
    int member;

    watch(world);
    run_until(world, asks_the_leader, world, WAIT_MS);
    member = in_use(world);
    kill(world->pid[member], SIGSTOP); /* connections stay open and nothing answers */
    started = clock_now_ms();
    txn = store_txn_new();
    put(txn, "silent", 6);
    assert_int_equal(commit(world, txn, &revision), 0);
    print_message("write accepted %lld ms after the member fell silent\n",
                  (long long)(clock_now_ms() - started));
    assert_true(reaches(world, revision));
    print_message("and watched after %lld ms\n", (long long)(clock_now_ms() - started));
    kill(world->pid[member], SIGCONT);
    assert_int_equal(last_value(world->seen, "silent"), 6);
}

static void nothing_reachable_is_said(void **state)
{
    struct world *world = *state;
    struct store_txn *txn = store_txn_new();
    struct result result = {0};

    for (int i = 0; i < MEMBERS; i++)
        member_kill(world, i);
    put(txn, "nowhere", 1);
    store_commit(world->store, txn, 1500, on_result, &result);
    assert_int_equal(finish(world, &result), -ETIMEDOUT);
    memset(&result, 0, sizeof(result));
    store_barrier(world->store, 1000, on_result, &result);
    assert_int_equal(finish(world, &result), -ETIMEDOUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define COMMON                                                                                     \
    T(preconditions_decide), T(creates_do_not_double), T(bad_transactions_are_refused),            \
        T(big_transactions_fit), T(watch_is_ordered), T(reset_brings_everything),                  \
        T(barrier_is_not_behind), T(close_cancels), T(leases_live_and_expire),                     \
        T(restarted_holder_renews), T(abandoned_lease_expires_after_restart)

int main(void)
{
    const struct CMUnitTest over_sqlite[] = {COMMON};
    const struct CMUnitTest over_etcd[] = {
        COMMON,
        T(the_leader_is_asked),
        T(silent_member_is_left),
        T(members_die_under_load),
        T(compaction_resets),
        T(deletions_at_the_compaction),
        T(nothing_reachable_is_said),
    };
    int failed = 0;

    signal(SIGPIPE, SIG_IGN);
    failed += cmocka_run_group_tests_name("sqlite", over_sqlite, setup_sqlite, teardown);
    failed += cmocka_run_group_tests_name("etcd", over_etcd, setup_etcd, teardown);
    return failed;
}
