/* Time as numbers and as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const struct {
    int64_t ms;
    const char *iso;
} known[] = {
    {0, "1970-01-01T00:00:00Z"},
    {946684799000, "1999-12-31T23:59:59Z"},
    {951825600000, "2000-02-29T12:00:00Z"},
    {1709164800000, "2024-02-29T00:00:00Z"},
    {1795355739000, "2026-11-22T13:55:39Z"},
    {2147483648000, "2038-01-19T03:14:08Z"},
    {4107542400000, "2100-03-01T00:00:00Z"},
    {253402300799000, "9999-12-31T23:59:59Z"},
};
#define KNOWN (sizeof(known) / sizeof(known[0]))

static void check_known(void)
{
    char text[64], want[64];

    for (size_t i = 0; i < KNOWN; i++) {
        assert_ptr_equal(clock_iso(known[i].ms, text, sizeof(text)), text);
        assert_string_equal(text, known[i].iso);
        assert_true(clock_parse_iso(text) == known[i].ms);
        /* Parts of a second are dropped in the short form, kept in the long one. */
        clock_iso(known[i].ms + 999, text, sizeof(text));
        assert_string_equal(text, known[i].iso);
        assert_ptr_equal(clock_iso_us(known[i].ms + 45, text, sizeof(text)), text);
        snprintf(want, sizeof(want), "%.19s.045000Z", known[i].iso);
        assert_string_equal(text, want);
        assert_true(clock_parse_iso(text) == known[i].ms + 45);
    }
}

static void test_known_times(void **state)
{
    check_known();
}

/* The host's time zone must not matter: half an hour off, and with summer time. */
static void test_in_every_time_zone(void **state)
{
    static const char *const zones[] = {"XST-05:30", "EST5EDT", "CET-1CEST,M3.5.0,M10.5.0/3"};
    const char *before = getenv("TZ");
    char *kept = before ? strdup(before) : NULL;

    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        setenv("TZ", zones[i], 1);
        tzset();
        check_known();
    }
    if (kept)
        setenv("TZ", kept, 1);
    else
        unsetenv("TZ");
    tzset();
    free(kept);
}

static void test_spellings(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } table[] = {
        {"2026-11-22T13:55:39", 1795355739000},
        {"2026-11-22T13:55:39.5Z", 1795355739500},
        {"2026-11-22T13:55:39.25", 1795355739250},
        {"2026-11-22T13:55:39.123Z", 1795355739123},
        {"2026-11-22T13:55:39.123456Z", 1795355739123},
        {"2026-11-22T13:55:39.999999999Z", 1795355739999},
        {"2026-11-22T13:55:39.000000Z", 1795355739000},
        {"1999-12-31T23:59:60Z", 946684800000}, /* a leap second is the next one */
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (clock_parse_iso(table[i].text) != table[i].ms)
            fail_msg("%s gave %lld", table[i].text, (long long)clock_parse_iso(table[i].text));
    }
}

static void test_what_is_no_time(void **state)
{
    static const char *const bad[] = {
        "",
        "Z",
        "now",
        "1795355739",
        "2026-11-22",
        "2026-11-22T",
        "2026-11-22T13:55",
        "2026-11-22 13:55:39",
        "2026-11-22T13:55:39ZZ",
        "2026-11-22T13:55:39Z ",
        "2026-11-22T13:55:39,5Z",
        "2026-11-22T13:55:39.5x",
        "2026-11-22T13:55:39+01:00",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:62Z",
        /* Days that this month does not have. */
        "2026-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
    };

    assert_true(clock_parse_iso(NULL) == -1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (clock_parse_iso(bad[i]) != -1)
            fail_msg("\"%s\" gave %lld", bad[i], (long long)clock_parse_iso(bad[i]));
    }
}

/* Every day of four centuries, there and back: the calendar has no other rules. */
static void test_every_day(void **state)
{
    const int64_t day_ms = 86400000;
    char text[32], previous[32] = "";

    for (int64_t day = 0; day < 146097; day++) {
        int64_t ms = day * day_ms + day * 587 % 86400 * 1000;

        clock_iso(ms, text, sizeof(text));
        if (clock_parse_iso(text) != ms)
            fail_msg("day %lld is %s, which is %lld", (long long)day, text,
                     (long long)clock_parse_iso(text));
        assert_true(strcmp(previous, text) < 0); /* as text they sort by time */
        memcpy(previous, text, sizeof(text));
    }
}

static void test_a_small_buffer_cuts(void **state)
{
    char text[8];

    memset(text, '#', sizeof(text));
    clock_iso(0, text, 5);
    assert_memory_equal(text, "1970\0###", 8);
    clock_iso_us(0, text, 1);
    assert_memory_equal(text, "\0", 1);
}

static void test_the_clocks_go_on(void **state)
{
    struct timespec nap = {.tv_nsec = 30000000}, now;
    int64_t began = clock_now_ms(), wall = clock_wall_ms(), last = began;

    /* The wall clock may be set meanwhile, but not by a day. */
    clock_gettime(CLOCK_REALTIME, &now);
    assert_true(llabs((long long)now.tv_sec * 1000 - (long long)wall) < 86400000);
    nanosleep(&nap, NULL);
    assert_true(clock_now_ms() - began >= 29);
    for (int i = 0; i < 10000; i++) {
        int64_t next = clock_now_ms();

        assert_true(next >= last);
        last = next;
    }
    assert_true(last - began < 600000); /* milliseconds, not micro- or nanoseconds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_times),      cmocka_unit_test(test_in_every_time_zone),
        cmocka_unit_test(test_spellings),        cmocka_unit_test(test_what_is_no_time),
        cmocka_unit_test(test_every_day),        cmocka_unit_test(test_a_small_buffer_cuts),
        cmocka_unit_test(test_the_clocks_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
