#include "loopback.h"
#include "node/heartbeat.h"
#include "node/heartbeat_replay.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1, 2, 3};

static struct heartbeat_frame example(void)
{
    struct heartbeat_frame frame = {.sender = "host-a1",
                                    .boot = {7},
                                    .sequence = 42,
                                    .wall_ms = 1763856000123,
                                    .plane = PLANE_TENANT,
                                    .view_count = 2,
                                    .views = {{"host-b1", LIVE_ALIVE}, {"host-c1", LIVE_SUSPECT}}};
    return frame;
}

static void round_trip(void **state)
{
    struct heartbeat_frame frame = example(), back;
    uint8_t bytes[HEARTBEAT_FRAME_MAX];
    int size = heartbeat_encode(&frame, key, bytes);

    assert_true(size > 0);
    assert_int_equal(heartbeat_decode(bytes, (size_t)size, key, &back), 0);
    assert_memory_equal(&frame, &back, sizeof(frame));
    frame.view_count = HEARTBEAT_VIEWS_MAX;
    for (size_t i = 0; i < HEARTBEAT_VIEWS_MAX; i++) {
        memset(frame.views[i].host, 'x', LIVENESS_NAME_SIZE - 1);
        frame.views[i].host[LIVENESS_NAME_SIZE - 1] = '\0';
    }
    size = heartbeat_encode(&frame, key, bytes); /* too many: those that fit */
    assert_in_range(size, 1, HEARTBEAT_FRAME_MAX);
    assert_int_equal(heartbeat_decode(bytes, (size_t)size, key, &back), 0);
    assert_in_range(back.view_count, 15, HEARTBEAT_VIEWS_MAX - 1);
    strcpy(frame.sender, "bad name");
    assert_int_equal(heartbeat_encode(&frame, key, bytes), -EINVAL);
}

static void damage_is_noticed(void **state)
{
    struct heartbeat_frame frame = example(), back;
    uint8_t bytes[HEARTBEAT_FRAME_MAX];
    int size = heartbeat_encode(&frame, key, bytes);
    static const uint8_t other[PKI_CLUSTER_KEY_SIZE] = {9};

    assert_int_equal(heartbeat_decode(bytes, (size_t)size, other, &back), -EACCES);
    for (int i = 0; i < size; i++) {
        bytes[i] ^= 1;
        assert_int_equal(heartbeat_decode(bytes, (size_t)size, key, &back), -EACCES);
        bytes[i] ^= 1;
    }
    /* Cut at every length, with a MAC that nobody checks: never more than what is there. */
    for (int i = 0; i < size; i++) {
        uint8_t *exact = malloc((size_t)i + 1);

        memcpy(exact, bytes, (size_t)i);
        assert_int_equal(heartbeat_decode(exact, (size_t)i, NULL, &back), -EBADMSG);
        free(exact);
    }
}

static void replays(void **state)
{
    struct heartbeat_replay *replay = calloc(1, sizeof(*replay));
    const uint8_t first[HEARTBEAT_ID_SIZE] = {1}, second[HEARTBEAT_ID_SIZE] = {2};

    assert_true(heartbeat_replay_check(replay, "a", PLANE_MGMT, first, 5));
    assert_false(heartbeat_replay_check(replay, "a", PLANE_MGMT, first, 5));
    assert_false(heartbeat_replay_check(replay, "a", PLANE_MGMT, first, 4));
    assert_true(heartbeat_replay_check(replay, "a", PLANE_TENANT, first, 5));
    assert_true(heartbeat_replay_check(replay, "b", PLANE_MGMT, first, 1));
    assert_true(heartbeat_replay_check(replay, "a", PLANE_MGMT, second, 1));
    assert_false(heartbeat_replay_check(replay, "a", PLANE_MGMT, first, 6));
    for (int i = 0; i < LIVENESS_HOSTS_MAX * 2; i++) {
        char name[16];

        snprintf(name, sizeof(name), "h%d", i);
        assert_true(heartbeat_replay_check(replay, name, PLANE_MGMT, first, 1));
    }
    free(replay);
}

/* ---- two hosts on the loopback ---- */

struct pair {
    uv_loop_t loop;
    struct heartbeat *one, *two;
    int heard;
    enum liveness_verdict verdict;
};

static void on_heard(void *arg, const struct heartbeat_frame *frame)
{
    struct pair *pair = arg;

    assert_string_equal(frame->sender, "one");
    assert_int_equal(frame->plane, PLANE_MGMT);
    assert_int_equal(frame->view_count, 1);
    pair->verdict = frame->views[0].verdict;
    if (++pair->heard == 5)
        uv_stop(&pair->loop);
}

static size_t views(void *arg, struct heartbeat_view *ret, size_t max)
{
    strcpy(ret[0].host, "three");
    ret[0].verdict = LIVE_SUSPECT;
    return 1;
}

static void on_timeout(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void two_hosts(void **state)
{
    struct pair pair = {0};
    char ips[2][LOOPBACK_SIZE];
    struct heartbeat_options options = {
        .self = "one", .interval_ms = 20, .addresses = {ips[0]}, .views = views, .arg = &pair};
    struct heartbeat_peer peers[] = {{"two", "", 0, PLANE_MGMT}, {"two", "", 0, PLANE_TENANT}};
    struct heartbeat_counters counters;
    struct err err = {0};
    uv_timer_t timer;

    loopback_ip(0, ips[0]);
    loopback_ip(1, ips[1]);
    for (size_t i = 0; i < 2; i++)
        snprintf(peers[i].ip, sizeof(peers[i].ip), "%s", ips[1]);
    memcpy(options.key, key, sizeof(key));
    uv_loop_init(&pair.loop);
    pair.one = heartbeat_start(&pair.loop, &options, &err);
    assert_non_null(pair.one);
    options.self = "two";
    options.addresses[0] = ips[1];
    options.heard = on_heard;
    options.views = NULL;
    pair.two = heartbeat_start(&pair.loop, &options, &err);
    assert_non_null(pair.two);
    assert_int_equal(heartbeat_set_peers(pair.one, peers, 2), 0);
    uv_timer_init(&pair.loop, &timer);
    uv_timer_start(&timer, on_timeout, 30000, 0);
    uv_run(&pair.loop, UV_RUN_DEFAULT);
    assert_int_equal(pair.heard, 5);
    assert_int_equal(pair.verdict, LIVE_SUSPECT);
    heartbeat_get_counters(pair.two, &counters);
    assert_int_equal(counters.forged + counters.bad + counters.replayed, 0);
    heartbeat_stop(pair.one);
    heartbeat_stop(pair.two);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&pair.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&pair.loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(replays),
        cmocka_unit_test(two_hosts),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
