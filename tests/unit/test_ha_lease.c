#include "ha/lease.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void counts_from_sending(void **state)
{
    struct lease *lease = lease_new(4000, 300);
    uint64_t first, second;

    assert_int_equal(lease_state(lease, 0), LEASE_NONE);
    assert_int_equal(lease_verdict(lease, 0), LEASE_PAUSE);
    first = lease_sent(lease, 1000);
    second = lease_sent(lease, 1500);
    assert_int_equal(lease_acknowledged(lease, second, 5), 0);
    assert_int_equal(lease_deadline(lease), 1500 + 3700);
    /* A late answer to an earlier renewal shortens nothing. */
    assert_int_equal(lease_acknowledged(lease, first, 5), 0);
    assert_int_equal(lease_deadline(lease), 1500 + 3700);
    assert_int_equal(lease_state(lease, 3500), LEASE_HELD);
    assert_int_equal(lease_state(lease, 3501), LEASE_EXPIRING);
    assert_int_equal(lease_verdict(lease, 5199), LEASE_RUN);
    assert_int_equal(lease_verdict(lease, 5200), LEASE_PAUSE);
    assert_int_equal(lease_acknowledged(lease, 99, 5), -ENOENT);
    lease_free(lease);
}

static void epoch_decides(void **state)
{
    struct lease *lease = lease_new(4000, 300);

    lease_acknowledged(lease, lease_sent(lease, 0), 5);
    assert_int_equal(lease_verdict(lease, 9000), LEASE_PAUSE);
    lease_acknowledged(lease, lease_sent(lease, 9000), 5);
    assert_int_equal(lease_verdict(lease, 9000), LEASE_RUN);
    lease_gone(lease);
    assert_int_equal(lease_verdict(lease, 9000), LEASE_PAUSE);
    lease_acknowledged(lease, lease_sent(lease, 9500), 6);
    assert_int_equal(lease_verdict(lease, 9500), LEASE_DESTROY);
    assert_int_equal(lease_epoch(lease), 5);
    lease_destroyed(lease);
    assert_int_equal(lease_verdict(lease, 9500), LEASE_RUN);
    assert_int_equal(lease_epoch(lease), 6);
    lease_free(lease);
}

/* What runs was started by an earlier process. */
static void an_earlier_epoch_decides_as_well(void **state)
{
    struct lease *lease = lease_new(4000, 300);

    lease_ran_under(lease, 5);
    assert_int_equal(lease_verdict(lease, 0), LEASE_PAUSE);
    lease_acknowledged(lease, lease_sent(lease, 0), 5);
    assert_int_equal(lease_verdict(lease, 0), LEASE_RUN);
    lease_ran_under(lease, 5);
    lease_acknowledged(lease, lease_sent(lease, 100), 6);
    assert_int_equal(lease_verdict(lease, 100), LEASE_DESTROY);
    lease_destroyed(lease);
    assert_int_equal(lease_verdict(lease, 100), LEASE_RUN);
    lease_free(lease);
}

static void renewals_before_the_end_do_not_count(void **state)
{
    struct lease *lease = lease_new(4000, 300);
    uint64_t number = lease_sent(lease, 0);

    lease_gone(lease);
    assert_int_equal(lease_acknowledged(lease, number, 1), -ENOENT);
    assert_int_equal(lease_state(lease, 1), LEASE_NONE);
    assert_null(lease_new(1000, 1000));
    lease_free(lease);
}

/* ---- property: the holder stops before the store lets go ---- */

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#define IN_FLIGHT 8
struct message {
    bool busy, received, lost_answer;
    uint64_t number;
    int64_t arrives, answered;
};

/* A store that counts from reception, answers that are late or lost, ticks of one millisecond.
 * Whenever the holder may run, the store must still keep its lease. */
static void run_seed(uint64_t seed)
{
    const int64_t ttl = 4000;
    struct lease *lease = lease_new(ttl, 1);
    struct message messages[IN_FLIGHT] = {0};
    int64_t store_until = 0, sends = 0;

    for (int64_t now = 1; now < 60000; now++) {
        if (random_next(&seed) % 500 == 0) {
            struct message *m = &messages[sends++ % IN_FLIGHT];

            *m = (struct message){.busy = true, .number = lease_sent(lease, now)};
            m->arrives = now + (int64_t)(random_next(&seed) % 3000);
            m->answered = m->arrives + (int64_t)(random_next(&seed) % 3000);
            m->lost_answer = random_next(&seed) % 4 == 0;
            if (random_next(&seed) % 4 == 0)
                m->busy = false; /* never arrives */
        }
        for (size_t i = 0; i < IN_FLIGHT; i++) {
            struct message *m = &messages[i];

            if (m->busy && !m->received && now >= m->arrives) {
                m->received = true;
                if (store_until == 0 || now < store_until)
                    store_until = now + ttl;
                else
                    m->lost_answer = true; /* run out: the store would say so */
            }
            if (m->busy && m->received && now >= m->answered) {
                if (!m->lost_answer)
                    lease_acknowledged(lease, m->number, 1);
                m->busy = false;
            }
        }
        if (lease_verdict(lease, now) == LEASE_RUN && now >= store_until)
            fail_msg("at %lld the holder runs, the store let go at %lld", (long long)now,
                     (long long)store_until);
        if (store_until && now >= store_until)
            break;
    }
    lease_free(lease);
}

static void holder_stops_first(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++)
        run_seed(seed * 0x9e3779b97f4a7c15u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_sending),
        cmocka_unit_test(epoch_decides),
        cmocka_unit_test(an_earlier_epoch_decides_as_well),
        cmocka_unit_test(renewals_before_the_end_do_not_count),
        cmocka_unit_test(holder_stops_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
