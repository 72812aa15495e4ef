#include "ha/liveness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const hosts[] = {"a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"};

static struct liveness *nine(void)
{
    struct liveness *l = liveness_new(
        &(struct liveness_options){.self = "a1", .self_domain = "a", .start_grace_ms = 3000});

    for (size_t i = 0; i < 9; i++) {
        char domain[2] = {hosts[i][0], 0};

        assert_int_equal(liveness_add_host(l, hosts[i], domain,
                                           PLANE_BIT(PLANE_MGMT) | PLANE_BIT(PLANE_TENANT), true,
                                           0),
                         0);
    }
    return l;
}

/* All hosts not named in `silent` are heard and call those in `silent` suspect, `from`..`to`. */
static void pass(struct liveness *l, int64_t from, int64_t to, const char *silent,
                 liveness_changed_cb *cb, void *arg)
{
    for (int64_t now = from; now <= to; now += 200) {
        for (size_t i = 0; i < 9; i++) {
            if (strstr(silent, hosts[i]))
                continue;
            liveness_heard(l, hosts[i], PLANE_MGMT, now);
            liveness_heard(l, hosts[i], PLANE_TENANT, now);
            for (size_t k = 0; k < 9; k++)
                liveness_observed(l, hosts[i], hosts[k],
                                  strstr(silent, hosts[k]) && now >= from + 1000 ? LIVE_SUSPECT
                                                                                 : LIVE_ALIVE,
                                  now);
        }
        liveness_tick(l, now, cb, arg);
    }
}

static void note(void *arg, const struct liveness_change *change)
{
    char *text = arg;

    if (change->kind == LIVENESS_VERDICT)
        sprintf(text + strlen(text), "%s:%s ", change->host, liveness_verdict_name(change->to));
    else
        sprintf(text + strlen(text), "%s:%s%s ", change->host,
                change->kind == LIVENESS_PLANE_LOST ? "-" : "+",
                liveness_plane_name(change->plane));
}

static void a_host_is_lost_and_comes_back(void **state)
{
    struct liveness *l = nine();
    char text[2000] = "";

    pass(l, 0, 1000, "", NULL, NULL);
    pass(l, 1200, 2200, "b2", note, text);
    assert_string_equal(text, "b2:suspect b2:lost "); /* the others agree one round later */
    text[0] = '\0';
    pass(l, 2400, 2600, "", note, text);
    assert_string_equal(text, "b2:alive ");
    liveness_free(l);
}

static void one_dissenter_keeps_it_suspect(void **state)
{
    struct liveness *l = nine();

    pass(l, 0, 1000, "", NULL, NULL);
    for (int64_t now = 1200; now <= 4000; now += 200) {
        for (size_t i = 0; i < 9; i++) {
            if (strcmp(hosts[i], "b2") == 0)
                continue;
            liveness_heard(l, hosts[i], PLANE_MGMT, now);
            liveness_observed(l, hosts[i], "b2", i == 7 ? LIVE_ALIVE : LIVE_SUSPECT, now);
        }
        liveness_tick(l, now, NULL, NULL);
    }
    assert_int_equal(liveness_state(l, "b2"), LIVE_SUSPECT);
    liveness_free(l);
}

static void a_whole_cabinet(void **state)
{
    struct liveness *l = nine();

    pass(l, 0, 1000, "", NULL, NULL);
    pass(l, 1200, 3000, "c1 c2 c3", NULL, NULL);
    assert_int_equal(liveness_state(l, "c1"), LIVE_LOST);
    assert_int_equal(liveness_state(l, "c3"), LIVE_LOST);
    assert_int_equal(liveness_state(l, "b1"), LIVE_ALIVE);
    liveness_free(l);
}

/* Cut off with its own cabinet, nobody elsewhere can confirm: no host may be called lost. */
static void the_one_cut_off_declares_nothing(void **state)
{
    struct liveness *l = nine();

    pass(l, 0, 1000, "", NULL, NULL);
    pass(l, 1200, 6000, "b1 b2 b3 c1 c2 c3", NULL, NULL);
    for (size_t i = 3; i < 9; i++)
        assert_int_equal(liveness_state(l, hosts[i]), LIVE_SUSPECT);
    liveness_free(l);
}

/* When a host can have renewed its lease for the last time. */
static void how_long_a_host_is_idle(void **state)
{
    struct liveness *l = nine();

    assert_true(liveness_idle_ms(l, "x9", 0) == INT64_MAX);
    assert_int_equal(liveness_idle_ms(l, "b2", 500), 500); /* known so long and never heard */
    pass(l, 0, 1000, "", NULL, NULL);
    assert_int_equal(liveness_idle_ms(l, "b2", 1300), 300);
    liveness_leased(l, "b2", true, 1300);
    assert_int_equal(liveness_idle_ms(l, "b2", 1300), 300);
    /* It is heard all the time, but its lease is gone. */
    liveness_leased(l, "b2", false, 1400);
    liveness_leased(l, "b2", false, 1500);
    pass(l, 1600, 5000, "", NULL, NULL);
    assert_int_equal(liveness_idle_ms(l, "b2", 5000), 3600);
    liveness_leased(l, "b2", true, 5000);
    assert_int_equal(liveness_idle_ms(l, "b2", 5000), 0);
    liveness_leased(l, "b2", false, 5100);
    assert_int_equal(liveness_idle_ms(l, "b2", 7000), 2000);
    /* The observer always hears itself. */
    assert_int_equal(liveness_idle_ms(l, "a1", 7000), 0);
    liveness_free(l);
}

/* A controller that was stopped for a while has heard nobody: that says nothing about them. Where
 * there are no two other cabinets nobody would contradict. */
static void who_stood_still_suspects_nobody(void **state)
{
    struct liveness *l = liveness_new(&(struct liveness_options){.self = "a1", .self_domain = "a"});
    char text[2000] = "";

    for (size_t i = 0; i < 5; i++)
        liveness_add_host(l, hosts[i], i < 3 ? "a" : "b", 0, true, 0);
    for (int64_t now = 0; now <= 3000; now += 100) {
        for (size_t i = 0; i < 4; i++) {
            if (i != 2 || now < 1000)
                liveness_heard(l, hosts[i], PLANE_MGMT, now);
        }
        liveness_tick(l, now, NULL, NULL);
    }
    assert_int_equal(liveness_state(l, "a3"), LIVE_LOST);
    liveness_stood_still(l, 10000);
    liveness_tick(l, 10000, note, text);
    assert_string_equal(text, "");
    liveness_heard(l, "b1", PLANE_MGMT, 10100);
    liveness_tick(l, 11000, note, text);
    assert_string_equal(text, "a2:lost ");
    assert_int_equal(liveness_state(l, "b1"), LIVE_ALIVE);
    assert_int_equal(liveness_state(l, "a3"), LIVE_LOST);
    /* One that was never heard was not waited for meanwhile. */
    assert_int_equal(liveness_state(l, "b2"), LIVE_UNKNOWN);
    liveness_free(l);
}

static void one_plane_is_gray(void **state)
{
    struct liveness *l = nine();
    char text[2000] = "";

    pass(l, 0, 1000, "", NULL, NULL);
    for (int64_t now = 1200; now <= 2400; now += 200) {
        for (size_t i = 0; i < 9; i++) {
            liveness_heard(l, hosts[i], PLANE_MGMT, now);
            if (i != 4)
                liveness_heard(l, hosts[i], PLANE_TENANT, now);
        }
        liveness_tick(l, now, note, text);
    }
    assert_string_equal(text, "b2:-tenant ");
    assert_false(liveness_plane_up(l, "b2", PLANE_TENANT));
    assert_true(liveness_plane_silent(l, "b2", PLANE_TENANT));
    assert_false(liveness_plane_silent(l, "b2", PLANE_MGMT));
    assert_false(liveness_plane_silent(l, "b3", PLANE_TENANT));
    assert_int_equal(liveness_state(l, "b2"), LIVE_ALIVE);
    liveness_heard(l, "b2", PLANE_TENANT, 2500);
    text[0] = '\0';
    liveness_tick(l, 2500, note, text);
    assert_string_equal(text, "b2:+tenant ");
    liveness_free(l);
}

/* The observer's own cable, or a cut between cabinets: it hears a third of the hosts on the plane,
 * and says nothing of the others. */
static void the_own_plane_is_cut(void **state)
{
    struct liveness *l = nine();

    pass(l, 0, 1000, "", NULL, NULL);
    for (int64_t now = 1200; now <= 2400; now += 200) {
        for (size_t i = 0; i < 9; i++) {
            liveness_heard(l, hosts[i], PLANE_MGMT, now);
            if (i < 3)
                liveness_heard(l, hosts[i], PLANE_TENANT, now);
        }
        liveness_tick(l, now, NULL, NULL);
    }
    for (size_t i = 0; i < 9; i++)
        assert_false(liveness_plane_silent(l, hosts[i], PLANE_TENANT));
    assert_false(liveness_plane_up(l, "b2", PLANE_TENANT));
    liveness_free(l);
}

static void never_heard(void **state)
{
    struct liveness *l = nine();

    liveness_tick(l, 2900, NULL, NULL);
    assert_int_equal(liveness_own_view(l, "b1"), LIVE_UNKNOWN);
    liveness_tick(l, 3000, NULL, NULL);
    assert_int_equal(liveness_own_view(l, "b1"), LIVE_SUSPECT);
    assert_int_equal(liveness_state(l, "a1"), LIVE_ALIVE);
    assert_int_equal(liveness_heard(l, "zz", PLANE_MGMT, 1), -ENOENT);
    assert_int_equal(liveness_observed(l, "zz", "b1", LIVE_ALIVE, 1), -ENOENT);
    assert_int_equal(liveness_observed(l, "b1", "b1", LIVE_ALIVE, 1), -ENOENT);
    liveness_remove_host(l, "b1");
    assert_int_equal(liveness_state(l, "b1"), LIVE_UNKNOWN);
    liveness_free(l);
}

static void a_row_is_as_old_as_it_was_seen(void **state)
{
    struct liveness *l = liveness_new(&(struct liveness_options){.self = "a1", .self_domain = "a"});

    assert_int_equal(liveness_row_ms(l, "b1", "lost 1", 100), 0); /* nobody knows it */
    liveness_add_host(l, "b1", "b", 0, true, 0);
    assert_int_equal(liveness_row_ms(l, "b1", "lost 1", 5000), 0);
    assert_int_equal(liveness_row_ms(l, "b1", "lost 1", 6000), 1000);
    assert_int_equal(liveness_row_ms(l, "b1", "lost 2", 7000), 0);
    assert_int_equal(liveness_row_ms(l, "b1", "fenced 2", 7500), 0);
    assert_int_equal(liveness_row_ms(l, "b1", "fenced 2", 9000), 1500);
    liveness_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_lost_and_comes_back),
        cmocka_unit_test(one_dissenter_keeps_it_suspect),
        cmocka_unit_test(a_whole_cabinet),
        cmocka_unit_test(the_one_cut_off_declares_nothing),
        cmocka_unit_test(how_long_a_host_is_idle),
        cmocka_unit_test(who_stood_still_suspects_nobody),
        cmocka_unit_test(one_plane_is_gray),
        cmocka_unit_test(the_own_plane_is_cut),
        cmocka_unit_test(never_heard),
        cmocka_unit_test(a_row_is_as_old_as_it_was_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
