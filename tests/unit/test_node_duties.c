/* The planner's transactions on a real store: who may take servers from a host without a row, after
 * a backup was restored, and who may not. */
#include "node/duties_rows.h"

#include "base/clock.h"
#include "base/json.h"
#include "model/server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static char dir[64];
static uv_loop_t loop;
static struct node node;
static struct absents absents;
static struct recovery_action actions[16];

static int set_up(void **state)
{
    json_t *config;
    struct err err;
    char path[100];

    memset(&node, 0, sizeof(node));
    memset(&absents, 0, sizeof(absents));
    snprintf(dir, sizeof(dir), "/tmp/vling-test-duties-XXXXXX");
    if (!mkdtemp(dir) || uv_loop_init(&loop) < 0)
        return -1;
    node.loop = &loop;
    node.storage_ops = storage_driver_find("fake");
    snprintf(node.config.host, sizeof(node.config.host), "h1");
    snprintf(path, sizeof(path), "%s/store.sqlite", dir);
    node.store = store_open_sqlite(&loop, path, &err);
    node.mirror = node.store ? mirror_open(node.store, &err) : NULL;
    while (node.mirror && !mirror_ready(node.mirror))
        uv_run(&loop, UV_RUN_ONCE);
    config = json_pack("{s:s, s:b}", "path", dir, "shared", 1);
    node.storage = node.storage_ops->open(&loop, config, &err);
    json_decref(config);
    return node.mirror && node.storage ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    node.storage_ops->close(node.storage);
    mirror_close(node.mirror);
    store_close(node.store);
    uv_run(&loop, UV_RUN_DEFAULT);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return uv_loop_close(&loop) == 0 && system(command) == 0 ? 0 : -1;
}

struct answer {
    int rc;
    int64_t revision;
};

static void on_committed(void *arg, int rc, int64_t revision)
{
    *(struct answer *)arg = (struct answer){rc, revision};
}

/* And waits until the mirror has it. */
static int commit(struct store_txn *txn)
{
    struct answer answer = {.rc = 1};

    store_commit(node.store, txn, 5000, on_committed, &answer);
    while (answer.rc == 1)
        uv_run(&loop, UV_RUN_ONCE);
    while (answer.rc == 0 && mirror_revision(node.mirror) < answer.revision)
        uv_run(&loop, UV_RUN_ONCE);
    return answer.rc;
}

static void put(const char *table, json_t *row)
{
    struct store_txn *txn = store_txn_new();

    store_txn_put(txn, table, json_str(row, "id", ""), row);
    json_decref(row);
    assert_int_equal(commit(txn), 0);
}

static void on_taken(void *arg, int rc, int64_t lease)
{
    *(int *)arg = rc;
}

static void take_lease(const char *host)
{
    char name[80];
    json_t *row;
    int rc = 1;

    snprintf(name, sizeof(name), "host/%s", host);
    row = json_pack("{s:s, s:i}", "id", name, "epoch", 1);
    store_lease_take(node.store, name, row, 60000, 5000, on_taken, &rc);
    json_decref(row);
    while (rc == 1)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(rc, 0);
}

static void put_cluster(bool restoring)
{
    put("setting", json_pack("{s:s, s:{s:s, s:b}}", "id", "cluster", "value", "made_by", "h1",
                             "restoring", restoring));
}

static void put_host(const char *id)
{
    put("host",
        json_pack("{s:s, s:s, s:[s], s:s, s:i, s:i, s:i}", "id", id, "cabinet", "c1", "roles",
                  "compute", "state", "up", "epoch", 1, "vcpus", 4, "ram_mb", 4096));
}

/* What a backup brings back: two servers of a host that has no row, one wanted deleted. */
static void restore(void)
{
    put_cluster(true);
    put("server", json_pack("{s:s, s:s, s:s, s:i}", "id", "s1", "host_id", "old", "power",
                            "running", "generation", 4));
    put("server", json_pack("{s:s, s:s, s:s, s:i}", "id", "s2", "host_id", "old", "power",
                            "deleted", "generation", 4));
    put_host("h1");
    take_lease("h1");
}

/* What the planner does to the servers at `now`: how many of them. */
static size_t plan(int64_t now)
{
    struct duties_input *input = duties_input_read(&node);
    size_t count = 0;
    int n;

    duties_input_watch(input, &node, &absents, now);
    n = recovery_plan(duties_input_get(input), actions, 16);
    for (int i = 0; i < n; i++) {
        if (actions[i].kind == RECOVERY_SERVER_MOVE || actions[i].kind == RECOVERY_SERVER_FORGET)
            actions[count++] = actions[i];
    }
    duties_input_free(input);
    return count;
}

static void it_is_waited_for_from_when_the_cloud_is_complete(void **state)
{
    json_t *row;

    restore();
    assert_int_equal(plan(0), 0);
    assert_int_equal(plan(2 * RECOVERY_ABSENT_MS), 0);
    put_cluster(false);
    assert_int_equal(plan(3 * RECOVERY_ABSENT_MS), 0);
    assert_int_equal(plan(4 * RECOVERY_ABSENT_MS - 1), 0);
    assert_int_equal(plan(4 * RECOVERY_ABSENT_MS), 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(commit(duties_txn(&node, &actions[i])), 0);
    row = mirror_get(node.mirror, "server", "s1", NULL);
    assert_string_equal(json_str(row, "host_id", ""), "h1");
    assert_int_equal(json_int(row, "generation", 0), 5);
    json_decref(row);
    assert_null(mirror_get(node.mirror, "server", "s2", NULL));
    row = mirror_select(node.mirror, "event", "WHERE kind = 'server.moved'", "");
    assert_int_equal(json_array_size(row), 1);
    assert_string_equal(json_str(json_array_get(row, 0), "text", ""),
                        "from old, which has not come back since a backup of this cloud was "
                        "restored, to h1");
    json_decref(row);
}

/* Its two servers are to go, by transactions that are not made yet. */
static void plan_two(struct store_txn *txns[2])
{
    restore();
    put_cluster(false);
    plan(0);
    assert_int_equal(plan(RECOVERY_ABSENT_MS), 2);
    for (int i = 0; i < 2; i++)
        txns[i] = duties_txn(&node, &actions[i]);
}

/* It comes up at the moment at which it is decided that it does not: it writes its row first. */
static void who_writes_its_row_keeps_its_servers(void **state)
{
    struct store_txn *txns[2];

    plan_two(txns);
    put_host("old");
    for (int i = 0; i < 2; i++)
        assert_int_equal(commit(txns[i]), -EAGAIN);
    assert_int_equal(plan(2 * RECOVERY_ABSENT_MS), 0);
    assert_int_equal(absents.count, 0);
}

/* One of an older release, which took its lease before it wrote its row. */
static void who_holds_a_lease_keeps_its_servers(void **state)
{
    struct store_txn *txns[2];

    plan_two(txns);
    take_lease("old");
    for (int i = 0; i < 2; i++)
        assert_int_equal(commit(txns[i]), -EAGAIN);
    for (int i = 0; i < 200 && absents.count > 0 && plan(RECOVERY_ABSENT_MS) > 0; i++)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(plan(3 * RECOVERY_ABSENT_MS), 0);
}

/* Whoever wrote the row has another wall clock, or one of the two was put right since. */
static void a_state_is_as_old_as_it_was_seen(void **state)
{
    static const char *const times[] = {"2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"};
    struct duties_input *input;

    node.liveness = liveness_new(&(struct liveness_options){.self = "h1", .self_domain = "c1"});
    for (int i = 0; i < 2; i++) {
        put("host",
            json_pack("{s:s, s:s, s:s}", "id", "h2", "state", "suspect", "since", times[i]));
        liveness_add_host(node.liveness, "h2", "c2", 0, true, clock_now_ms());
        for (int64_t ms = 0; ms <= 20; ms += 20) {
            nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
            input = duties_input_read(&node);
            assert_in_range(duties_input_get(input)->hosts[0].state_ms, ms, ms * 1000);
            duties_input_free(input);
        }
    }
    liveness_free(node.liveness);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* No host would take it; then its own is back. */
static void a_fault_ends_with_its_reason(void **state)
{
    struct recovery_action action = {
        .kind = RECOVERY_SERVER_FAULT, .object = "s1", .from = "h2", .text = "no room"};
    struct server_status status;
    json_t *row;

    put("server", json_pack("{s:s, s:s, s:i}", "id", "s1", "host_id", "h2", "generation", 1));
    for (int told = 0; told < 2; told++) {
        assert_int_equal(commit(duties_txn(&node, &action)), 0);
        row = mirror_get(node.mirror, "server", "s1", NULL);
        server_status(row, NULL, &status);
        if (told == 0)
            assert_string_equal(status.status, "ERROR");
        else
            assert_string_not_equal(status.status, "ERROR");
        json_decref(row);
        action.text[0] = '\0';
    }
    assert_int_equal(mirror_count(node.mirror, "event", "WHERE kind = 'server.host_back'", ""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_is_waited_for_from_when_the_cloud_is_complete),
        T(who_writes_its_row_keeps_its_servers),
        T(who_holds_a_lease_keeps_its_servers),
        T(a_state_is_as_old_as_it_was_seen),
        T(a_fault_ends_with_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
