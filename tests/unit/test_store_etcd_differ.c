/* Three supervised members, one of which holds a bit that the others do not: the majority takes it
 * out, it gets its data from them, and writes go on. */
#include "etcd_members.h"

static int told, told_critical;

static void on_told(void *arg, const char *severity, const char *text)
{
    told++;
    told_critical += strcmp(severity, "critical") == 0;
}

static void founded(void **state)
{
    care_ms = 1000;
    tell = on_told;
    found_all();
}

/* In the file that etcd has mapped: its keys and values are there as they are. */
static int flip_marks(int i)
{
    static char bytes[32 * 1024 * 1024];
    char path[128];
    size_t size;
    FILE *file;
    int flipped = 0;

    snprintf(path, sizeof(path), "%s/member/snap/db", members[i].data);
    file = fopen(path, "r+");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof(bytes), file);
    for (char *at = bytes; (at = memmem(at, (size_t)(bytes + size - at), "MARK", 4)); at++) {
        fseek(file, at - bytes, SEEK_SET);
        fputc('m', file);
        flipped++;
    }
    fclose(file);
    return flipped;
}

/* What was written comes into the file a little later. */
static void flip_a_bit(int i)
{
    int64_t end = clock_now_ms() + PATIENCE_MS;

    while (flip_marks(i) == 0) {
        assert_true(clock_now_ms() < end);
        run_for(100);
    }
}

static void put_mark(int i)
{
    char command[256];

    snprintf(command, sizeof(command),
             "curl -sf %s/v3/kv/put -d '{\"key\": \"YQ==\", \"value\": \"TUFSS01BUks=\"}' "
             ">/dev/null",
             members[i].url);
    for (int k = 0; k < 60 && system(command) != 0; k++)
        run_for(500);
}

/* What etcd itself does when it finds it, once an hour. */
static void raise_alarm(int i)
{
    char command[256];

    snprintf(command, sizeof(command),
             "curl -sf %s/v3/maintenance/alarm -d "
             "'{\"action\": \"ACTIVATE\", \"memberID\": \"5\", \"alarm\": \"CORRUPT\"}' >/dev/null",
             members[i].url);
    assert_int_equal(system(command), 0);
}

static void one_that_differs_is_rebuilt(void **state)
{
    int64_t written, end = clock_now_ms() + PATIENCE_MS;

    put_mark(0);
    written = until_it_answers(2, false);
    flip_a_bit(2);
    raise_alarm(0);
    while (put_aside(2, "removed") == 0 && clock_now_ms() < end)
        run_for(200);
    assert_int_equal(put_aside(2, "removed"), 1);
    assert_true(until_it_answers(1, true) > written);
    assert_true(until_it_answers(2, false) > written);
    assert_int_equal(put_aside(0, "removed") + put_aside(1, "removed"), 0);
    assert_true(told >= 2 && told_critical >= 1);
}

/* The two that are there differ: the third one must tell who is right. */
static void without_a_majority_nothing_is_decided(void **state)
{
    int64_t end = clock_now_ms() + PATIENCE_MS;

    power_off(2);
    put_mark(0);
    flip_a_bit(1);
    told = told_critical = 0;
    raise_alarm(0);
    while (told_critical == 0 && clock_now_ms() < end)
        run_for(100);
    assert_true(told_critical >= 1);
    assert_int_not_equal(ask(0, true).rc, 0);
    assert_int_equal(put_aside(0, "removed") + put_aside(1, "removed"), 0);
    /* The third one decides. */
    start(2, MEMBERS);
    assert_true(until_it_answers(0, true) > 0);
    until_it_answers(1, false);
    assert_int_equal(put_aside(1, "removed"), 1);
    assert_int_equal(put_aside(0, "removed"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(founded),
        cmocka_unit_test(one_that_differs_is_rebuilt),
        cmocka_unit_test(without_a_majority_nothing_is_decided),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
