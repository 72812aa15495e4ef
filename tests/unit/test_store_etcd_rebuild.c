/* Three supervised members: one whose log is gone, one whose folder is emptied, one that the others
 * removed. Nothing that was acknowledged is lost, and each is a full member again. */
#include "etcd_members.h"

static void founded(void **state)
{
    found_all();
}

/* m0 has no log any more, m1 lacks what was acknowledged: the two must not agree without m2. */
static void without_its_log_it_does_not_vote(void **state)
{
    int64_t written, end = clock_now_ms() + 2 * PATIENCE_MS;

    power_off(1);
    until_it_answers(0, true);
    written = until_it_answers(2, true);
    power_off(0);
    power_off(2);
    wipe_in(0, "member/wal");
    start(0, MEMBERS);
    start(1, MEMBERS);
    while (put_aside(0, "incomplete") == 0 && clock_now_ms() < end)
        run_for(200);
    assert_int_equal(put_aside(0, "incomplete"), 1);
    run_for(6000);
    assert_int_equal(etcd_server_pid(members[0].server), 0);
    start(2, MEMBERS);
    assert_true(until_it_answers(1, false) >= written);
    assert_true(until_it_answers(0, false) >= written);
    assert_true(until_it_answers(0, true) > written);
}

static void an_emptied_folder_is_filled_by_the_others(void **state)
{
    int64_t written = until_it_answers(0, true);
    char path[128];

    power_off(1);
    wipe_in(1, "member");
    snprintf(path, sizeof(path), "%s/member", members[1].data);
    assert_int_equal(mkdir(path, 0700), 0);
    start(1, MEMBERS);
    assert_true(until_it_answers(1, false) >= written);
    assert_true(until_it_answers(1, true) > written);
}

/* As a rebuild that was cut: the others know another id than that of the data. */
static void one_that_was_removed_is_taken_back(void **state)
{
    int64_t written = until_it_answers(0, true), end = clock_now_ms() + PATIENCE_MS;
    char command[512];

    snprintf(command, sizeof(command),
             "id=$(curl -s %s/v3/cluster/member/list -d '{}' | "
             "grep -o '\"ID\":\"[0-9]*\",\"name\":\"m2\"' | grep -o '[0-9][0-9]*' | head -n 1) && "
             "curl -sf %s/v3/cluster/member/remove -d \"{\\\"ID\\\": \\\"$id\\\"}\" >/dev/null",
             members[0].url, members[0].url);
    while (system(command) != 0 && clock_now_ms() < end)
        run_for(1000);
    while (put_aside(2, "removed") == 0 && clock_now_ms() < end)
        run_for(200);
    assert_int_equal(put_aside(2, "removed"), 1);
    assert_true(until_it_answers(2, false) >= written);
    assert_true(until_it_answers(2, true) > written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(founded),
        cmocka_unit_test(without_its_log_it_does_not_vote),
        cmocka_unit_test(an_emptied_folder_is_filled_by_the_others),
        cmocka_unit_test(one_that_was_removed_is_taken_back),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
