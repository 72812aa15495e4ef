#include "ha/guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct row {
    struct guest_view view;
    enum guest_action expect;
};

static void decides_each_case(void **state)
{
    static const struct row rows[] = {
        /* want, generation, serial, hard, seen, seen generation, was running, serial done */
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_ABSENT, 0, false, 0, false}, GUEST_DO_START},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, false},
         GUEST_DO_NOTHING},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_STOPPED, 1, true, 0, false},
         GUEST_DO_ACCEPT_STOP},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_STOPPED, 1, false, 0, false}, GUEST_DO_START},
        {{GUEST_WANT_RUNNING, 1, 1, false, GUEST_SEEN_STOPPED, 1, true, 0, false}, GUEST_DO_START},
        {{GUEST_WANT_RUNNING, 1, 1, false, GUEST_SEEN_RUNNING, 1, true, 0, false},
         GUEST_DO_SHUTDOWN},
        {{GUEST_WANT_RUNNING, 1, 1, true, GUEST_SEEN_RUNNING, 1, true, 0, false}, GUEST_DO_KILL},
        {{GUEST_WANT_RUNNING, 1, 1, true, GUEST_SEEN_PAUSED, 1, true, 0, false}, GUEST_DO_KILL},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_PAUSED, 1, true, 0, false}, GUEST_DO_RESUME},
        {{GUEST_WANT_RUNNING, 2, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, false},
         GUEST_DO_DESTROY},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_STARTING, 1, false, 0, false}, GUEST_DO_WAIT},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, false},
         GUEST_DO_SHUTDOWN},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_PAUSED, 1, true, 0, false}, GUEST_DO_KILL},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_STOPPED, 1, true, 0, false},
         GUEST_DO_NOTHING},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_ABSENT, 0, true, 0, false}, GUEST_DO_NOTHING},
        {{GUEST_WANT_STOPPED, 3, 0, false, GUEST_SEEN_STOPPED, 2, true, 0, false},
         GUEST_DO_DESTROY},
        {{GUEST_WANT_PAUSED, 1, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, false}, GUEST_DO_PAUSE},
        {{GUEST_WANT_PAUSED, 1, 0, false, GUEST_SEEN_PAUSED, 1, false, 0, false}, GUEST_DO_NOTHING},
        {{GUEST_WANT_PAUSED, 1, 0, false, GUEST_SEEN_ABSENT, 0, false, 0, false}, GUEST_DO_START},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, true},
         GUEST_DO_SHUTDOWN},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_STARTING, 1, true, 0, true}, GUEST_DO_WAIT},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_STOPPED, 1, true, 0, true},
         GUEST_DO_HAND_OVER},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_ABSENT, 0, true, 0, true},
         GUEST_DO_HAND_OVER},
        {{GUEST_WANT_RUNNING, 1, 0, false, GUEST_SEEN_PAUSED, 1, true, 0, true}, GUEST_DO_RESUME},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_STOPPED, 1, false, 0, true},
         GUEST_DO_HAND_OVER},
        {{GUEST_WANT_STOPPED, 1, 0, false, GUEST_SEEN_PAUSED, 1, false, 0, true}, GUEST_DO_KILL},
        {{GUEST_WANT_PAUSED, 1, 0, false, GUEST_SEEN_PAUSED, 1, false, 0, true}, GUEST_DO_NOTHING},
        {{GUEST_WANT_RUNNING, 2, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, true}, GUEST_DO_DESTROY},
        {{GUEST_WANT_DELETED, 1, 0, false, GUEST_SEEN_ABSENT, 0, true, 0, true}, GUEST_DO_FORGET},
        {{GUEST_WANT_DELETED, 1, 0, false, GUEST_SEEN_RUNNING, 1, true, 0, false},
         GUEST_DO_DESTROY},
        {{GUEST_WANT_DELETED, 1, 0, false, GUEST_SEEN_STARTING, 1, true, 0, false},
         GUEST_DO_DESTROY},
        {{GUEST_WANT_DELETED, 1, 0, false, GUEST_SEEN_ABSENT, 0, true, 0, false}, GUEST_DO_FORGET},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        print_message("case %zu\n", i);
        assert_int_equal(guest_decide(&rows[i].view), rows[i].expect);
    }
}

/* An older generation never survives a step, whatever else is true. */
static void never_keeps_an_old_generation(void **state)
{
    struct guest_view v = {.generation = 7, .seen_generation = 6};

    (void)state;
    for (int want = GUEST_WANT_RUNNING; want <= GUEST_WANT_DELETED; want++) {
        for (int seen = GUEST_SEEN_STARTING; seen <= GUEST_SEEN_STOPPED; seen++) {
            for (int bits = 0; bits < 8; bits++) {
                v.want = (enum guest_want)want;
                v.seen = (enum guest_seen)seen;
                v.reboot_hard = bits & 1;
                v.reported_running = bits & 2;
                v.reboot_serial = bits & 4 ? 1 : 0;
                assert_int_equal(guest_decide(&v), GUEST_DO_DESTROY);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides_each_case),
        cmocka_unit_test(never_keeps_an_old_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
