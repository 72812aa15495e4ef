#include "ha/absent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int64_t see(struct absents *a, const char *host, bool leased, int64_t now)
{
    int64_t ms;

    absents_begin(a);
    ms = absents_see(a, host, leased, now);
    absents_see(a, host, leased, now); /* two servers of the same host */
    absents_end(a);
    return ms;
}

static void it_counts_from_the_first_look(void **state)
{
    struct absents a = {.count = 0};

    assert_int_equal(see(&a, "h1", false, 5000), 0);
    assert_int_equal(see(&a, "h1", false, 7000), 2000);
    assert_int_equal(a.count, 1);
    /* It holds a lease: it is not absent, and begins anew when that is gone. */
    assert_int_equal(see(&a, "h1", true, 8000), 0);
    assert_int_equal(see(&a, "h1", false, 9000), 1000);
    /* It has its row, or nothing is left there, or the cloud is not complete. */
    absents_begin(&a);
    absents_end(&a);
    assert_int_equal(a.count, 0);
    assert_int_equal(see(&a, "h1", false, 20000), 0);
}

static void each_is_counted_alone(void **state)
{
    struct absents a = {.count = 0};

    absents_begin(&a);
    absents_see(&a, "h1", false, 0);
    absents_end(&a);
    for (int64_t now = 1000; now <= 2000; now += 1000) {
        absents_begin(&a);
        assert_int_equal(absents_see(&a, "h2", false, now), now - 1000);
        assert_int_equal(absents_see(&a, "h1", false, now), now);
        absents_end(&a);
    }
    see(&a, "h2", false, 3000); /* h1 is back */
    assert_int_equal(a.count, 1);
    assert_string_equal(a.list[0].host, "h2");
}

static void who_finds_no_room_waits(void **state)
{
    struct absents a = {.count = 0};
    char name[80];

    absents_begin(&a);
    for (int i = 0; i < ABSENTS_MAX; i++) {
        snprintf(name, sizeof(name), "h%d", i);
        absents_see(&a, name, false, 0);
    }
    assert_int_equal(absents_see(&a, "late", false, 1000), 0);
    assert_int_equal(absents_see(&a, "late", false, 9000), 0);
    absents_end(&a);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    see(&a, "h0", false, 10000);
    assert_int_equal(see(&a, name, false, 10000), 0);
    assert_int_equal(see(&a, "late", false, 10000), 0);
    assert_int_equal(see(&a, "late", false, 10500), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_the_first_look),
        cmocka_unit_test(each_is_counted_alone),
        cmocka_unit_test(who_finds_no_room_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
