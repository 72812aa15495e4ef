/* Time is a number: what a whole cabinet's recovery waits for. */
#include "ha/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TICK_MS 100
#define COMMIT_MS 40
#define SERVERS 300

static struct turns turns;

static struct recovery_action action_of(enum recovery_kind kind, const char *format, int number)
{
    struct recovery_action action = {.kind = kind};

    snprintf(action.object, sizeof(action.object), format, number);
    return action;
}

static int clear(void **state)
{
    memset(&turns, 0, sizeof(turns));
    return 0;
}

/* A controller's loop: plans of at most 64 moves each tick, commits that take a while. Returns when
 * the last of the servers has moved; `death_ms`: when a second host dies, told in `ret_second`. */
static int64_t recover(int64_t delay_ms, int64_t death_ms, int64_t *ret_second)
{
    static int64_t moved_at[SERVERS]; /* 0: not under way, else when it is in the rows */
    static struct turn *under_way[SERVERS];
    struct turn *host = NULL;
    int left = SERVERS;

    memset(moved_at, 0, sizeof(moved_at));
    memset(under_way, 0, sizeof(under_way));
    *ret_second = -1;
    for (int64_t now = TICK_MS; now < 60000; now += TICK_MS) {
        int planned = 0;

        if (host) {
            turns_committed(host, now);
            host = NULL;
        }
        for (int i = 0; i < SERVERS; i++) {
            if (!under_way[i] || moved_at[i] > now)
                continue;
            turns_committed(under_way[i], moved_at[i]);
            under_way[i] = NULL;
            left--;
        }
        turns_forget(&turns, now);
        if (left == 0)
            return now;
        if (death_ms > 0 && now >= death_ms && *ret_second < 0) {
            struct recovery_action action = action_of(RECOVERY_HOST, "c2h%d", 1);

            host = turns_take(&turns, &action, now, now, delay_ms);
            if (host)
                *ret_second = now;
        }
        for (int i = 0; i < SERVERS && planned < 64; i++) {
            struct recovery_action action = action_of(RECOVERY_SERVER_MOVE, "server-%d", i);
            struct turn *turn;

            if (moved_at[i] && moved_at[i] <= now)
                continue;
            planned++;
            turn = turns_take(&turns, &action, now, now, delay_ms);
            if (!turn)
                continue;
            assert_null(under_way[i]);
            under_way[i] = turn;
            moved_at[i] = now + COMMIT_MS;
        }
    }
    return -1;
}

static void a_cabinet_of_300_servers_is_moved_in_seconds(void **state)
{
    int64_t second, took = recover(0, 0, &second);

    print_message("300 servers: %lld ms\n", (long long)took);
    assert_in_range(took, 1, 1500);
    /* The next in rank waits for its turn with each of them. */
    clear(NULL);
    took = recover(250, 0, &second);
    print_message("300 servers, second in rank: %lld ms\n", (long long)took);
    assert_in_range(took, 1, 3500);
}

static void a_second_death_does_not_wait(void **state)
{
    int64_t second;

    for (int64_t death = TICK_MS; death < 600; death += TICK_MS) {
        clear(NULL);
        assert_true(recover(0, death, &second) > 0);
        assert_int_equal(second, death);
    }
}

static void a_host_takes_the_place_of_one_that_waits(void **state)
{
    struct recovery_action host = action_of(RECOVERY_HOST, "h%d", 1);
    struct recovery_action late = action_of(RECOVERY_SERVER_MOVE, "s%d", TURNS_MAX);
    struct turn *turn;

    for (int i = 0; i < TURNS_MAX; i++) {
        struct recovery_action action = action_of(RECOVERY_SERVER_MOVE, "s%d", i);

        assert_null(turns_take(&turns, &action, 1000, 1, 250));
    }
    assert_null(turns_take(&turns, &late, 1100, 1, 0));
    turn = turns_take(&turns, &host, 1100, 1, 0);
    assert_non_null(turn);
    assert_int_equal(turn->kind, RECOVERY_HOST);
}

/* What is being committed is never overwritten: its answer is still to come. */
static void what_is_under_way_stays(void **state)
{
    struct recovery_action host = action_of(RECOVERY_HOST, "h%d", 1);
    struct turn *taken[TURNS_MAX];

    for (int i = 0; i < TURNS_MAX; i++) {
        struct recovery_action action = action_of(RECOVERY_SERVER_MOVE, "s%d", i);

        taken[i] = turns_take(&turns, &action, 1000, 1, 0);
        assert_non_null(taken[i]);
        assert_null(turns_take(&turns, &action, 1000, 1, 0));
    }
    turns_forget(&turns, 100000);
    assert_null(turns_take(&turns, &host, 100000, 1, 0));
    turns_committed(taken[5], 2);
    assert_ptr_equal(turns_take(&turns, &host, 100000, 1, 0), taken[5]);
}

static void one_that_is_done_waits_for_its_rows(void **state)
{
    struct recovery_action action = action_of(RECOVERY_SERVER_MOVE, "s%d", 1);
    struct turn *turn = turns_take(&turns, &action, 1000, 10, 0);

    turns_committed(turn, 20);
    assert_null(turns_take(&turns, &action, 1001, 19, 0));
    /* The rows are there and it is wanted all the same: a new one, whose time begins now. */
    assert_null(turns_take(&turns, &action, 1002, 20, 250));
    assert_non_null(turns_take(&turns, &action, 1252, 20, 250));
}

static void a_failure_is_tried_again(void **state)
{
    struct recovery_action action = action_of(RECOVERY_ROUTER, "r%d", 1);
    struct turn *turn = turns_take(&turns, &action, 1000, 1, 0);

    turns_failed(turn, true, 1100);
    assert_ptr_equal(turns_take(&turns, &action, 1100, 1, 100), turn);
    turns_failed(turn, false, 1200);
    assert_null(turns_take(&turns, &action, 1250, 1, 100));
    assert_non_null(turns_take(&turns, &action, 1300, 1, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_cabinet_of_300_servers_is_moved_in_seconds, clear),
        cmocka_unit_test_setup(a_second_death_does_not_wait, clear),
        cmocka_unit_test_setup(a_host_takes_the_place_of_one_that_waits, clear),
        cmocka_unit_test_setup(what_is_under_way_stays, clear),
        cmocka_unit_test_setup(one_that_is_done_waits_for_its_rows, clear),
        cmocka_unit_test_setup(a_failure_is_tried_again, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
