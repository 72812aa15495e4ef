/* Three supervised members: one that loses its data, and one whose data are damaged, get them from
 * the others; one that is alone refuses to begin anew. */
#include "etcd_members.h"

static void founded(void **state)
{
    found_all();
}

static void lost_data_come_from_the_others(void **state)
{
    int64_t written = until_it_answers(0, true);

    kill_member(2);
    wipe(members[2].data);
    assert_true(until_it_answers(2, false) >= written);
    written = until_it_answers(2, true);
    /* A full member again: with it the loss of another one is survived. */
    kill_member(0);
    wipe(members[0].data);
    assert_true(until_it_answers(0, false) >= written);
}

static void damage(const char *data)
{
    char path[128];
    char garbage[4096];
    FILE *file;

    memset(garbage, 0x5a, sizeof(garbage));
    snprintf(path, sizeof(path), "%s/member/snap/db", data);
    file = fopen(path, "r+");
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        fwrite(garbage, sizeof(garbage), 1, file);
    fclose(file);
}

static void damaged_data_are_put_aside(void **state)
{
    int64_t written = until_it_answers(0, true), end = clock_now_ms() + PATIENCE_MS;
    char pattern[96];
    glob_t found = {0};

    kill_member(1);
    damage(members[1].data);
    snprintf(pattern, sizeof(pattern), "%s.damaged-*", members[1].data);
    while (glob(pattern, 0, NULL, &found) != 0 && clock_now_ms() < end)
        run_for(200);
    assert_int_equal(found.gl_pathc, 1);
    globfree(&found);
    assert_true(until_it_answers(1, false) >= written);
    assert_true(until_it_answers(1, true) > written);
}

/* Nobody can tell what was acknowledged: it waits for its operator. */
static void alone_it_does_not_begin_anew(void **state)
{
    for (int i = 0; i < MEMBERS; i++) {
        int pid = etcd_server_pid(members[i].server);

        etcd_server_stop(members[i].server, false);
        members[i].server = NULL;
        if (pid > 0)
            kill(pid, SIGKILL);
    }
    run_for(500);
    wipe(members[0].data);
    start(0, MEMBERS);
    run_for(6000);
    assert_int_equal(etcd_server_pid(members[0].server), 0);
    /* When the others are there again, so is it. */
    start(1, MEMBERS);
    start(2, MEMBERS);
    until_it_answers(1, true);
    until_it_answers(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(founded),
        cmocka_unit_test(lost_data_come_from_the_others),
        cmocka_unit_test(damaged_data_are_put_aside),
        cmocka_unit_test(alone_it_does_not_begin_anew),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
