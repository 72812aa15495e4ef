#include "../fuzz/read_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define T READ_LEASE_SILENCE_MS /* the first moment after the silence of one that began at 0 */

static const uint8_t boot_a[READ_LEASE_BOOT_SIZE] = {1}, boot_b[READ_LEASE_BOOT_SIZE] = {2};

struct pair {
    struct read_lease a, b;
};

/* Two controllers: `b` holds a promise of `a`, asked for at `now`. */
static void begin(struct pair *p, int64_t now)
{
    struct read_lease_frame ask, answer, none;

    read_lease_init(&p->a, boot_a, 7, 1, 0);
    read_lease_init(&p->b, boot_b, 7, 1, 0);
    read_lease_applied(&p->a, 50);
    read_lease_applied(&p->b, 50);
    assert_int_equal(read_lease_may_show(&p->a, 50, now), 1);
    read_lease_listed(&p->b, now);
    read_lease_ask(&p->b, now, &ask);
    assert_false(read_lease_holds(&p->b, now));
    assert_false(read_lease_heard(&p->a, 0, &ask, now, &answer)); /* what did it show before? */
    read_lease_listed(&p->a, now);
    assert_true(read_lease_heard(&p->a, 0, &ask, now, &answer));
    assert_false(read_lease_heard(&p->b, 0, &answer, now, &none));
    assert_true(read_lease_holds(&p->b, now));
}

static void an_answer_waits_for_the_holder(void **state)
{
    struct read_lease_frame news, none;
    struct pair p;

    begin(&p, T);
    assert_int_equal(read_lease_may_show(&p.a, 50, T), 1);
    assert_int_equal(read_lease_may_show(&p.a, 51, T + 1), 0);
    assert_int_equal(read_lease_wake_ms(&p.a, T + 1), T + READ_LEASE_GIVEN_MS);
    read_lease_applied(&p.b, 51);
    assert_true(read_lease_confirm(&p.b, T + 2, &news));
    assert_false(read_lease_heard(&p.a, 0, &news, T + 2, &none));
    assert_int_equal(read_lease_may_show(&p.a, 51, T + 2), 1);
    /* A holder that is dead costs the rest of its promise. */
    assert_int_equal(read_lease_may_show(&p.a, 52, T + READ_LEASE_GIVEN_MS - 1), 0);
    assert_int_equal(read_lease_may_show(&p.a, 52, T + READ_LEASE_GIVEN_MS), 1);
}

static void the_holder_stops_first(void **state)
{
    struct read_lease_frame ask, answer, none;
    struct pair p;

    begin(&p, T);
    /* Counted from when it asked, however late the answer comes. */
    read_lease_ask(&p.b, T + 100, &ask);
    read_lease_listed(&p.b, T + 100);
    assert_true(read_lease_heard(&p.a, 0, &ask, T + 200, &answer));
    assert_false(read_lease_heard(&p.b, 0, &answer, T + 400, &none));
    assert_true(read_lease_holds(&p.b, T + 100 + READ_LEASE_HELD_MS - 1));
    assert_false(read_lease_holds(&p.b, T + 100 + READ_LEASE_HELD_MS));
    assert_int_equal(read_lease_may_show(&p.a, 51, T + 200 + READ_LEASE_GIVEN_MS - 1), 0);
}

static void a_promise_has_a_floor(void **state)
{
    struct read_lease_frame ask, answer, none;
    struct pair p;

    begin(&p, T);
    assert_int_equal(read_lease_may_show(&p.a, 60, T + READ_LEASE_GIVEN_MS), 1);
    read_lease_ask(&p.b, T + 500, &ask);
    read_lease_listed(&p.b, T + 500);
    assert_true(read_lease_heard(&p.a, 0, &ask, T + 500, &answer));
    assert_false(read_lease_heard(&p.b, 0, &answer, T + 500, &none));
    assert_false(read_lease_holds(&p.b, T + 501));
    read_lease_applied(&p.b, 60);
    assert_true(read_lease_holds(&p.b, T + 501));
}

static void the_slow_get_no_new_promise(void **state)
{
    struct read_lease_frame ask, answer;
    struct pair p;

    begin(&p, T);
    assert_int_equal(read_lease_may_show(&p.a, 51, T + 10), 0);
    read_lease_ask(&p.b, T + 100, &ask);
    assert_false(read_lease_heard(&p.a, 0, &ask, T + 100, &answer));
    read_lease_applied(&p.b, 51);
    read_lease_ask(&p.b, T + 110, &ask);
    assert_true(read_lease_heard(&p.a, 0, &ask, T + 110, &answer));
}

static void a_start_is_silent(void **state)
{
    struct read_lease lease;

    read_lease_init(&lease, boot_a, 7, 2, 1000);
    assert_int_equal(read_lease_may_show(&lease, 1, 1000 + T - 1), 0);
    assert_int_equal(read_lease_wake_ms(&lease, 1000), 1000 + T);
    assert_int_equal(read_lease_may_show(&lease, 1, 1000 + T), 1);
}

static void another_life_gets_nothing_before_the_end_of_the_last(void **state)
{
    static const uint8_t later[READ_LEASE_BOOT_SIZE] = {3};
    struct read_lease_frame ask, answer;
    struct read_lease again;
    struct pair p;

    begin(&p, T);
    read_lease_init(&again, later, 7, 1, T + 10);
    read_lease_applied(&again, 40);
    read_lease_ask(&again, T + 20, &ask);
    assert_false(read_lease_heard(&p.a, 0, &ask, T + 20, &answer));
    assert_int_equal(read_lease_may_show(&p.a, 51, T + 20), 0); /* the dead one's word counts */
    assert_true(read_lease_heard(&p.a, 0, &ask, T + READ_LEASE_GIVEN_MS, &answer));
    /* What the last one confirmed says nothing of the new one's rows. */
    assert_int_equal(read_lease_may_show(&p.a, 50, T + READ_LEASE_GIVEN_MS), 0);
    /* And what the last one was promised is nothing to the new one. */
    read_lease_applied(&again, 90);
    memcpy(answer.to, boot_b, sizeof(boot_b));
    read_lease_listed(&again, T + 20);
    read_lease_heard(&again, 0, &answer, T + 30, &ask);
    assert_false(read_lease_holds(&again, T + 30));
}

static void a_newer_list_ends_it(void **state)
{
    struct read_lease_frame ask, answer;
    struct pair p;

    begin(&p, T);
    read_lease_list(&p.b, 7, true);
    assert_true(read_lease_holds(&p.b, T + 1));
    read_lease_list(&p.b, 8, true);
    assert_false(read_lease_holds(&p.b, T + 1));
    read_lease_ask(&p.b, T + 1, &ask);
    assert_int_equal(ask.asked, 0);
    assert_int_equal(read_lease_may_show(&p.b, 50, T + 1), 1); /* listed: goes on to answer */
    read_lease_list(&p.b, 9, false);
    assert_int_equal(read_lease_may_show(&p.b, 50, T + 1), -ESTALE);
    read_lease_list(&p.b, 10, true);
    assert_int_equal(read_lease_may_show(&p.b, 50, T + 1), -ESTALE);
    /* Promises count between equal lists only, and only while the list is known to count. */
    begin(&p, T);
    read_lease_ask(&p.b, T + 1, &ask);
    ask.serial = 6;
    assert_false(read_lease_heard(&p.a, 0, &ask, T + 1, &answer));
    read_lease_ask(&p.b, T + 300, &ask);
    assert_true(read_lease_heard(&p.a, 0, &ask, T + 300, &answer));
    read_lease_heard(&p.b, 0, &answer, T + 300, &ask);
    assert_false(read_lease_holds(&p.b, T + READ_LEASE_LISTED_MS));
    read_lease_listed(&p.b, T + 300);
    assert_true(read_lease_holds(&p.b, T + READ_LEASE_LISTED_MS));
}

static void one_alone_needs_nobody(void **state)
{
    struct read_lease lease;

    read_lease_init(&lease, boot_a, 0, 0, 0);
    assert_false(read_lease_holds(&lease, T));
    read_lease_listed(&lease, T);
    assert_true(read_lease_holds(&lease, T));
    assert_int_equal(read_lease_may_show(&lease, 9, T), 1);
    assert_false(read_lease_holds(&lease, T)); /* its own rows are behind what it showed */
    read_lease_applied(&lease, 9);
    assert_true(read_lease_holds(&lease, T));
}

/* ---- a world of them ---- */

static unsigned next(void *arg, unsigned bound)
{
    uint64_t *seed = arg; /* xorshift64* */

    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (unsigned)((*seed * 2685821657736338717ull) >> 33) % bound;
}

static void nobody_is_told_less_than_somebody_before(void **state)
{
    static struct world world;
    uint64_t at_once = 0, by_barrier = 0, answered = 0;

    for (uint64_t seed = 1; seed <= 1000; seed++) {
        uint64_t random = seed * 0x9e3779b97f4a7c15ull;

        world_begin(&world, (struct world_draw){next, &random});
        for (int i = 0; i < 6000; i++)
            world_step(&world);
        at_once += world.read_at_once;
        by_barrier += world.read_by_barrier;
        answered += world.answered;
    }
    printf("reads at once %llu, by barrier %llu, answers %llu\n", (unsigned long long)at_once,
           (unsigned long long)by_barrier, (unsigned long long)answered);
    /* It would prove nothing if nobody ever held a lease or nothing was ever told. */
    assert_true(at_once > 1000 * 100);
    assert_true(by_barrier > 1000 * 10);
    assert_true(answered > 1000 * 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_the_holder),
        cmocka_unit_test(the_holder_stops_first),
        cmocka_unit_test(a_promise_has_a_floor),
        cmocka_unit_test(the_slow_get_no_new_promise),
        cmocka_unit_test(a_start_is_silent),
        cmocka_unit_test(another_life_gets_nothing_before_the_end_of_the_last),
        cmocka_unit_test(a_newer_list_ends_it),
        cmocka_unit_test(one_alone_needs_nobody),
        cmocka_unit_test(nobody_is_told_less_than_somebody_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
