/* The etcd engine and answers that a real etcd gives only in rare moments, in a world where the
 * test is the peer and time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../fuzz/fake_world.h"

#include "base/json.h"
#include "base/log.h"
#include "store/mirror.h"

#include <stdio.h>

#include <cmocka.h>

#define WAIT_MS 5000

struct result {
    int calls, rc;
    int64_t value;
};

/* What the watcher saw. */
struct seen {
    int resets, changes;
    size_t rows;
    char last[32]; /* the id that changed last, with '-' before it if it is gone, '?' if it cannot
                      be read */
};

static struct store *store;

static void world_lost(const struct http_call *call)
{
}

static void on_result(void *arg, int rc, int64_t value)
{
    struct result *result = arg;

    result->calls++;
    result->rc = rc;
    result->value = value;
}

/* Answers the oldest request whose address ends like that. */
static void answer_with(const char *path, unsigned status, const char *text)
{
    for (struct http_call *call = world_calls; call; call = call->next) {
        size_t size = strlen(call->url), end = strlen(path);

        if (size < end || strcmp(call->url + size - end, path) != 0)
            continue;
        if (strcmp(path, "/v3/watch") == 0)
            call->piece(call->arg, text, strlen(text));
        else
            world_answer(call, status, text, strlen(text));
        world_turn();
        return;
    }
    fail_msg("nobody asks %s", path);
}

static void answer(const char *path, const char *text)
{
    answer_with(path, 200, text);
}

static void refuse(const char *path, const char *text)
{
    answer_with(path, 400, text);
}

static void wait_for_next(void)
{
    world_ms = world_next_ms();
    world_turn();
}

static int setup(void **state)
{
    static uv_loop_t loop;
    const char *endpoints[] = {"http://a", "http://b", NULL};
    struct store_etcd_options options = {.endpoints = endpoints, .writer = "c1"};

    log_set_level((enum log_level)0);
    world_begin();
    store = store_open_etcd(&loop, &options, NULL);
    return store ? 0 : -1;
}

static int teardown(void **state)
{
    store_close(store);
    world_turn();
    return world_calls ? -1 : 0;
}

/* ---- leases ---- */

static void a_renewal_counts_in_its_term_only(void **state)
{
    struct result first = {0}, second = {0}, third = {0};

    store_lease_renew(store, 77, WAIT_MS, on_result, &first);
    answer("/v3/lease/keepalive",
           "{\"result\":{\"header\":{\"revision\":\"9\",\"raft_term\":\"2\"},\"TTL\":\"4\"}}");
    assert_int_equal(first.calls, 0);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"9\",\"raft_term\":\"2\"}}");
    assert_int_equal(first.calls, 1);
    assert_int_equal(first.rc, 0);

    store_lease_renew(store, 77, WAIT_MS, on_result, &second);
    answer("/v3/lease/keepalive", /* of a leader that does not know that it is none any more */
           "{\"result\":{\"header\":{\"revision\":\"9\",\"raft_term\":\"2\"},\"TTL\":\"4\"}}");
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"9\",\"raft_term\":\"3\"}}");
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.rc, -ETIMEDOUT);

    store_lease_renew(store, 77, WAIT_MS, on_result, &third);
    answer("/v3/lease/keepalive",
           "{\"result\":{\"header\":{\"revision\":\"9\",\"raft_term\":\"3\"}}}");
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"9\",\"raft_term\":\"3\"}}");
    assert_int_equal(third.calls, 1);
    assert_int_equal(third.rc, -ENOENT);
}

/* ---- transactions ---- */

static void commit(struct result *result)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_pack("{s:s}", "name", "one");

    store_txn_create(txn, "server", "one", row);
    store_commit(store, txn, WAIT_MS, on_result, result);
    json_decref(row);
}

#define COMMITTED "\"succeeded\":true,\"responses\":[{},{\"response_txn\":{\"succeeded\":true}}]"

static void what_is_not_etcds_decides_nothing(void **state)
{
    static const char *const others[] = {
        "{}", "{\"succeeded\":true}", "{\"succeeded\":false}", "[]", "<html>", "{\"header\":{}}",
        ""};
    struct result result = {0};

    commit(&result);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"4\"}}");
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"5\"},\"succeeded\":true}");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        answer("/v3/kv/txn", others[i]);
        assert_int_equal(result.calls, 0);
        wait_for_next();
    }
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"6\"}," COMMITTED "}");
    assert_int_equal(result.calls, 1);
    assert_int_equal(result.rc, 0);
    assert_int_equal(result.value, 6);
}

static void a_second_process_registers_between(void **state)
{
    struct result result = {0};

    commit(&result);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"4\"}}");
    answer("/v3/kv/txn",
           "{\"header\":{\"revision\":\"5\"},\"responses\":[{\"response_range\":{}}]}");
    answer("/v3/kv/range",
           "{\"header\":{\"revision\":\"5\"},\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":\"5\"}]}");
    assert_non_null(strstr(world_calls->body, "\"mod_revision\":\"5\""));
    answer("/v3/kv/txn", /* its first copy was carried out */
           "{\"header\":{\"revision\":\"6\"},"
           "\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"YQ==\"}]}}]}");
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"7\"}," COMMITTED "}");
    assert_int_equal(result.calls, 1);
    assert_int_equal(result.rc, 0);
}

static void commit_row(const char *id, struct result *result)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_object();

    store_txn_put(txn, "server", id, row);
    store_commit(store, txn, WAIT_MS, on_result, result);
    json_decref(row);
}

static size_t requests(const char *path)
{
    size_t count = 0;

    for (const struct http_call *call = world_calls; call; call = call->next)
        count += strstr(call->url, path) != NULL;
    return count;
}

/* Four go as they come; what comes meanwhile goes together, except for what touches the same row;
 * each has its own verdict. */
static void those_that_wait_go_together(void **state)
{
    struct result first[4] = {0}, later[4] = {0};

    commit_row("a", &first[0]);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"4\"}}");
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"5\"},\"succeeded\":true}");
    for (int i = 1; i < 4; i++)
        commit_row("a", &first[i]);
    assert_int_equal(requests("/v3/kv/txn"), 4);
    commit_row("b", &later[0]);
    commit_row("c", &later[1]);
    commit_row("b", &later[2]);
    assert_int_equal(requests("/v3/kv/txn"), 4);
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"6\"}," COMMITTED "}");
    assert_int_equal(first[0].value, 6);
    assert_int_equal(requests("/v3/kv/txn"), 4); /* the two */
    for (int i = 1; i < 4; i++)
        answer("/v3/kv/txn", "{\"header\":{\"revision\":\"7\"}," COMMITTED "}");
    assert_int_equal(requests("/v3/kv/txn"), 2); /* and the third */
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"8\"},\"succeeded\":true,\"responses\":["
                         "{},{\"response_txn\":{\"succeeded\":true}},{\"response_txn\":{}}]}");
    assert_int_equal(later[0].rc, 0);
    assert_int_equal(later[0].value, 8);
    assert_int_equal(later[1].calls, 1);
    assert_int_equal(later[1].rc, -EAGAIN);
    assert_int_equal(later[2].calls, 0);
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"9\"}," COMMITTED "}");
    assert_int_equal(later[2].value, 9);
}

/* etcd says no to a batch: then each is asked for by itself, and one's fault is not the others'. */
static void a_refusal_is_one_transactions(void **state)
{
    struct result first[4] = {0}, later[2] = {0};

    commit_row("a", &first[0]);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"4\"}}");
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"5\"},\"succeeded\":true}");
    for (int i = 1; i < 4; i++)
        commit_row("a", &first[i]);
    commit_row("b", &later[0]);
    commit_row("c", &later[1]);
    for (int i = 0; i < 4; i++)
        answer("/v3/kv/txn", "{\"header\":{\"revision\":\"6\"}," COMMITTED "}");
    assert_int_equal(requests("/v3/kv/txn"), 1);
    refuse("/v3/kv/txn", "{\"error\":\"etcdserver: request is too large\",\"code\":3}");
    assert_int_equal(requests("/v3/kv/txn"), 2);
    assert_int_equal(later[0].calls + later[1].calls, 0);
    refuse("/v3/kv/txn", "{\"error\":\"etcdserver: request is too large\",\"code\":3}");
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"7\"}," COMMITTED "}");
    assert_int_equal(later[0].rc, -EMSGSIZE);
    assert_int_equal(later[1].rc, 0);
}

static void a_row_too_deep_to_be_read_is_not_written(void **state)
{
    struct store_txn *txn = store_txn_new();
    struct result result = {0};
    json_t *row = json_object();

    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        row = json_pack("{s:o}", "deep", row);
    store_txn_put(txn, "server", "one", row);
    store_commit(store, txn, WAIT_MS, on_result, &result);
    json_decref(row);
    world_turn();
    assert_int_equal(result.calls, 1);
    assert_int_equal(result.rc, -EINVAL);
}

/* ---- the feed ---- */

static void on_reset(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct seen *seen = arg;

    seen->resets++;
    seen->rows = n;
}

static void on_changed(void *arg, int64_t revision, const struct store_change *changes, size_t n)
{
    struct seen *seen = arg;

    seen->changes += (int)n;
    for (size_t i = 0; i < n; i++)
        snprintf(seen->last, sizeof(seen->last), "%s%s",
                 changes[i].row          ? ""
                 : changes[i].unreadable ? "?"
                                         : "-",
                 changes[i].id);
}

/* /vling/row/server/a and .../b, with the values {} and [1]. */
#define KEY_A "L3ZsaW5nL3Jvdy9zZXJ2ZXIvYQ=="
#define KEY_B "L3ZsaW5nL3Jvdy9zZXJ2ZXIvYg=="
#define OBJECT "e30="
#define LIST "WzFd"

static void half_a_load_is_none(void **state)
{
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};

    store_watch(store, &watcher);
    answer("/v3/kv/range",
           "{\"header\":{\"revision\":\"5\"},\"more\":true,\"kvs\":[{\"key\":\"" KEY_A
           "\",\"mod_revision\":\"4\",\"value\":\"" OBJECT "\"}]}");
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"},\"more\":true}");
    assert_int_equal(seen.resets, 0);
    wait_for_next();
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"},\"kvs\":[{\"key\":\"" KEY_B
                           "\",\"mod_revision\":\"5\",\"value\":\"" OBJECT "\"}]}");
    assert_int_equal(seen.resets, 1);
    assert_int_equal(seen.rows, 1);
}

static void a_row_that_cannot_be_read_is_not_gone(void **state)
{
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};
    struct store_status status;

    store_watch(store, &watcher);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"5\"}}");
    answer("/v3/watch", "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
                        "\",\"mod_revision\":\"6\",\"value\":\"" OBJECT "\"}}]}}\n");
    assert_string_equal(seen.last, "a");
    answer("/v3/watch", "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
                        "\",\"mod_revision\":\"7\",\"value\":\"" LIST "\"}}]}}\n{\"result\":");
    assert_string_equal(seen.last, "?a");
    store_get_status(store, &status);
    assert_string_equal(status.detail, "the row server/a cannot be read: put back what 'etcdctl "
                                       "get --rev=6 /vling/row/server/a' shows");
    answer("/v3/watch", "{\"events\":[{\"kv\":{\"key\":\"" KEY_B "\",\"mod_revision\":\"8\",");
    assert_string_equal(seen.last, "?a");
    answer("/v3/watch", "\"value\":\"" OBJECT "\"}}]}}\n");
    assert_string_equal(seen.last, "b");
    assert_int_equal(seen.changes, 3);
    answer("/v3/watch", "{\"result\":{\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"" KEY_A
                        "\",\"mod_revision\":\"9\"}}]}}\n");
    assert_string_equal(seen.last, "-a");
    store_get_status(store, &status);
    assert_null(strstr(status.detail, "cannot be read"));
}

/* To leave it out would be to say that it is deleted; and other members may have it as it was. */
static void a_load_with_a_row_that_cannot_be_read_is_none(void **state)
{
    static const char bad[] = "{\"header\":{\"revision\":\"6\"},\"kvs\":[{\"key\":\"" KEY_A
                              "\",\"mod_revision\":\"5\",\"value\":\"" LIST "\"},{\"key\":\"" KEY_B
                              "\",\"mod_revision\":\"4\",\"value\":\"" OBJECT "\"}]}";
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};
    struct store_status status;
    int64_t began = world_ms;

    store_watch(store, &watcher);
    answer("a/v3/kv/range", bad);
    assert_int_equal(requests("/v3/watch") + requests("/v3/kv/range"), 0);
    store_get_status(store, &status);
    assert_non_null(strstr(status.detail, "the row server/a cannot be read"));
    while (requests("/v3/kv/range") == 0)
        wait_for_next();
    assert_true(world_ms - began >= 1000); /* in peace */
    answer("b/v3/kv/range", bad);
    assert_int_equal(seen.resets, 0);
    while (requests("/v3/kv/range") == 0)
        wait_for_next();
    answer("/v3/kv/range",
           "{\"header\":{\"revision\":\"7\"},\"kvs\":[{\"key\":\"" KEY_B
           "\",\"mod_revision\":\"4\",\"value\":\"" OBJECT "\"}]}"); /* it was deleted */
    assert_int_equal(seen.resets, 1);
    assert_int_equal(seen.rows, 1);
    store_get_status(store, &status);
    assert_null(strstr(status.detail, "the row"));
}

/* Who follows still knows what the row was, and puts it back, if it is what was seen. */
static void a_row_that_cannot_be_read_is_put_back(void **state)
{
    struct mirror *mirror = mirror_open(store, NULL);
    json_t *row;
    int64_t rev;

    answer("/v3/kv/range", "{\"header\":{\"revision\":\"5\"},\"kvs\":[{\"key\":\"" KEY_A
                           "\",\"mod_revision\":\"5\",\"value\":\"" OBJECT "\"}]}");
    answer("/v3/watch",
           "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
           "\",\"mod_revision\":\"6\",\"value\":\"" LIST "\"}},{\"kv\":{\"key\":\"" KEY_B
           "\",\"mod_revision\":\"6\",\"value\":\"" LIST "\"}}]}}\n");
    row = mirror_get(mirror, "server", "a", &rev);
    assert_non_null(row);
    assert_int_equal(rev, 6);
    json_decref(row);
    assert_int_equal(mirror_count(mirror, "server", "", ""), 1);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"}}"); /* as whom to write */
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"8\"},\"succeeded\":true}");
    assert_int_equal(requests("/v3/kv/txn"), 1);
    for (struct http_call *call = world_calls; call; call = call->next) {
        if (!strstr(call->url, "/v3/kv/txn"))
            continue;
        assert_non_null(strstr(call->body, "\"key\":\"" KEY_A "\",\"value\":\"" OBJECT "\""));
        assert_non_null(strstr(call->body, "\"mod_revision\":\"6\""));
    }
    answer("/v3/kv/txn", "{\"header\":{\"revision\":\"9\"}," COMMITTED "}");
    assert_int_equal(requests("/v3/kv/txn"), 0);
    mirror_close(mirror);
}

/* The body of the watch that is open. */
static const char *watch_asked(void)
{
    for (struct http_call *call = world_calls; call; call = call->next)
        if (strstr(call->url, "/v3/watch"))
            return call->body;
    return "";
}

/* etcd lets a slow watcher skip what was compacted away before it was sent. */
static void what_a_watch_leaves_out_is_loaded(void **state)
{
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};

    store_watch(store, &watcher);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"5\"}}");
    assert_non_null(strstr(watch_asked(), "\"start_revision\":\"5\"")); /* not 6: etcd_watch.c */
    answer("/v3/watch", "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
                        "\",\"mod_revision\":\"5\",\"value\":\"" OBJECT "\"}}]}}\n");
    assert_int_equal(seen.changes, 0);
    answer("/v3/watch", "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
                        "\",\"mod_revision\":\"6\",\"value\":\"" OBJECT "\"}}]}}\n");
    assert_int_equal(seen.changes, 1);
    answer("/v3/watch",
           "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
           "\",\"mod_revision\":\"7\",\"value\":\"" OBJECT "\"}},{\"kv\":{\"key\":\"" KEY_B
           "\",\"mod_revision\":\"9\",\"value\":\"" OBJECT "\"}}]}}\n");
    assert_int_equal(seen.changes, 1);
    wait_for_next();
    assert_int_equal(requests("/v3/watch"), 0);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"9\"},\"kvs\":[{\"key\":\"" KEY_B
                           "\",\"mod_revision\":\"9\",\"value\":\"" OBJECT "\"}]}");
    assert_int_equal(seen.resets, 2);
    assert_int_equal(seen.rows, 1);
    assert_non_null(strstr(watch_asked(), "\"start_revision\":\"9\""));
}

/* A silent watch is checked by a read. What arrives meanwhile may be newer than the read. */
static void what_came_during_a_probe_is_no_step_back(void **state)
{
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};

    store_watch(store, &watcher);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"5\"}}");
    for (int i = 0; i < 100 && requests("/v3/kv/range") == 0; i++)
        wait_for_next();
    assert_int_equal(requests("/v3/kv/range"), 1);
    answer("/v3/watch",
           "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" KEY_A
           "\",\"mod_revision\":\"6\",\"value\":\"" OBJECT "\"}},{\"kv\":{\"key\":\"" KEY_B
           "\",\"mod_revision\":\"7\",\"value\":\"" OBJECT "\"}}]}}\n");
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"}}");
    assert_int_equal(requests("/v3/watch"), 1);
    assert_int_equal(seen.resets, 1);
    for (int i = 0; i < 100 && requests("/v3/kv/range") == 0; i++)
        wait_for_next();
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"}}"); /* but that is one */
    for (int i = 0; i < 100 && requests("/v3/kv/range") == 0; i++)
        wait_for_next();
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"6\"}}");
    assert_int_equal(seen.resets, 2);
}

/* Its member answers every question, so nothing else tells that its watch died. */
static void a_watch_that_brings_nothing_is_left(void **state)
{
    struct seen seen = {0};
    struct store_watcher watcher = {on_reset, on_changed, &seen};
    struct result barrier = {0};
    char text[64];

    store_watch(store, &watcher);
    answer("/v3/kv/range", "{\"header\":{\"revision\":\"5\"}}");
    assert_int_equal(requests("a/v3/watch"), 1);
    for (int i = 0; i < 30 && requests("a/v3/watch") == 1; i++) {
        world_ms += 100;
        world_turn();
        store_barrier(store, WAIT_MS, on_result, &barrier);
        world_turn();
        snprintf(text, sizeof(text), "{\"header\":{\"revision\":\"%d\"}}", 6 + i);
        answer("/v3/kv/range", text);
        assert_int_equal(barrier.calls, i + 1);
    }
    assert_int_equal(requests("a/v3/watch"), 0);
    wait_for_next();
    assert_int_equal(requests("b/v3/watch"), 1);
    assert_int_equal(seen.resets, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_renewal_counts_in_its_term_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_etcds_decides_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_process_registers_between, setup, teardown),
        cmocka_unit_test_setup_teardown(those_that_wait_go_together, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_one_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_too_deep_to_be_read_is_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(half_a_load_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_cannot_be_read_is_not_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_load_with_a_row_that_cannot_be_read_is_none, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_that_cannot_be_read_is_put_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_watch_leaves_out_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_came_during_a_probe_is_no_step_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watch_that_brings_nothing_is_left, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
