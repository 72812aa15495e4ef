/* A server's status as Nova tells it, out of the wanted and the reported row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "model/server.h"
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Both rows in short. What is not named is absent, so that a case shows what it is about. */
struct rows {
    const char *want; /* power of `server` */
    const char *host; /* of `server`; NULL: not placed */
    const char *is;   /* power of `server_state`; NULL: no such row, "-": row without power */
    int generation, seen_generation;
    int reboot, seen_reboot;
    bool hard, launched, fault, seen_fault;
};

struct expected {
    const char *status, *vm_state, *task;
    int power_state;
};

static json_t *server_row(const struct rows *r)
{
    json_t *row =
        json_pack("{s:s, s:i, s:i, s:b, s:n}", "power", r->want, "generation", r->generation,
                  "reboot_serial", r->reboot, "reboot_hard", r->hard, "fault");

    json_put_str(row, "host_id", r->host);
    if (r->fault)
        json_object_set_new(row, "fault", json_pack("{s:s}", "message", "no host fits"));
    return row;
}

static json_t *state_row(const struct rows *r)
{
    json_t *row;

    if (!r->is)
        return NULL;
    row = json_pack("{s:i, s:i, s:n}", "generation", r->seen_generation, "reboot_serial",
                    r->seen_reboot, "fault");
    if (strcmp(r->is, "-") != 0)
        json_put_str(row, "power", r->is);
    json_put_str(row, "launched_at", r->launched ? "2026-11-22T13:55:39Z" : NULL);
    if (r->seen_fault)
        json_object_set_new(row, "fault", json_pack("{s:s}", "message", "QEMU ended"));
    return row;
}

static void describe(const struct rows *r, char *ret, size_t size)
{
    snprintf(ret, size,
             "want %s at %s, is %s; generation %d, seen %d; reboot %d, seen %d, hard %d; launched "
             "%d; faults %d %d",
             r->want, r->host ? r->host : "no host", r->is ? r->is : "nothing", r->generation,
             r->seen_generation, r->reboot, r->seen_reboot, r->hard, r->launched, r->fault,
             r->seen_fault);
}

static void expect_text(const struct rows *r, const char *what, const char *got, const char *want)
{
    char text[256];

    if (got == want || (got && want && strcmp(got, want) == 0))
        return;
    describe(r, text, sizeof(text));
    fail_msg("%s: %s is %s, not %s", text, what, got ? got : "none", want ? want : "none");
}

static void expect(const struct rows *r, const struct expected *e)
{
    json_t *server = server_row(r), *state = state_row(r);
    struct server_status got;

    server_status(server, state, &got);
    expect_text(r, "status", got.status, e->status);
    expect_text(r, "vm_state", got.vm_state, e->vm_state);
    expect_text(r, "task_state", got.task_state, e->task);
    assert_int_equal(got.power_state, e->power_state);
    json_decref(server);
    json_decref(state);
}

/* Every wanted power with every reported one, the same generation, no reboot asked for. */
static void test_what_is_wanted_and_what_is(void **state)
{
    static const struct {
        const char *want, *is;
        struct expected e;
    } table[] = {
        {"running", "building", {"BUILD", "building", "spawning", 0}},
        {"running", "running", {"ACTIVE", "active", NULL, 1}},
        {"running", "stopped", {"SHUTOFF", "stopped", "powering-on", 4}},
        {"running", "paused", {"PAUSED", "paused", "unpausing", 3}},
        {"running", "error", {"ERROR", "error", NULL, 0}},
        {"stopped", "building", {"BUILD", "building", "spawning", 0}},
        {"stopped", "running", {"ACTIVE", "active", "powering-off", 1}},
        {"stopped", "stopped", {"SHUTOFF", "stopped", NULL, 4}},
        {"stopped", "paused", {"PAUSED", "paused", "powering-off", 3}},
        {"stopped", "error", {"ERROR", "error", NULL, 0}},
        {"paused", "building", {"BUILD", "building", "spawning", 0}},
        {"paused", "running", {"ACTIVE", "active", "pausing", 1}},
        {"paused", "stopped", {"SHUTOFF", "stopped", "pausing", 4}},
        {"paused", "paused", {"PAUSED", "paused", NULL, 3}},
        {"paused", "error", {"ERROR", "error", NULL, 0}},
        {"deleted", "building", {"BUILD", "building", "deleting", 0}},
        {"deleted", "running", {"ACTIVE", "active", "deleting", 1}},
        {"deleted", "stopped", {"SHUTOFF", "stopped", "deleting", 4}},
        {"deleted", "paused", {"PAUSED", "paused", "deleting", 3}},
        {"deleted", "error", {"ERROR", "error", "deleting", 0}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct rows r = {.want = table[i].want,
                         .is = table[i].is,
                         .host = "c1h1",
                         .generation = 3,
                         .seen_generation = 3,
                         .reboot = 2,
                         .seen_reboot = 2};

        expect(&r, &table[i].e);
    }
}

static void test_before_the_first_report(void **state)
{
    static const struct {
        struct rows r;
        struct expected e;
    } table[] = {
        {{.want = "running"}, {"BUILD", "building", "scheduling", 0}},
        {{.want = "stopped"}, {"BUILD", "building", "scheduling", 0}},
        {{.want = "deleted"}, {"BUILD", "building", "deleting", 0}},
        {{.want = "running", .host = "c1h1"}, {"BUILD", "building", "spawning", 0}},
        {{.want = "paused", .host = "c1h1"}, {"BUILD", "building", "spawning", 0}},
        {{.want = "deleted", .host = "c1h1"}, {"BUILD", "building", "deleting", 0}},
        /* A reboot of what never ran is nothing of its own. */
        {{.want = "running", .host = "c1h1", .reboot = 1}, {"BUILD", "building", "spawning", 0}},
        /* Moved to another host before it ran at all: still the first build. */
        {{.want = "running",
          .host = "c2h1",
          .is = "building",
          .generation = 2,
          .seen_generation = 1},
         {"BUILD", "building", "spawning", 0}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        expect(&table[i].r, &table[i].e);
}

/* What a host of an older generation says does not count, whatever it says. */
static void test_recovery_on_another_host(void **state)
{
    static const char *const stale[] = {"building", "running", "stopped", "paused", "error", "-"};
    static const struct expected evacuated = {"REBUILD", "active", "rebuild_spawning", 0};
    static const struct expected deleted = {"REBUILD", "active", "deleting", 0};
    static const struct expected unplaced = {"BUILD", "building", "scheduling", 0};

    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++) {
        struct rows r = {.want = "running",
                         .host = "c2h1",
                         .is = stale[i],
                         .generation = 4,
                         .seen_generation = 3,
                         .reboot = 1,
                         .launched = true,
                         .seen_fault = true};

        expect(&r, &evacuated);
        r.want = "stopped";
        expect(&r, &evacuated);
        r.want = "deleted";
        expect(&r, &deleted);
        r.want = "running";
        r.host = NULL;
        expect(&r, &unplaced);
    }
    /* The new host reports: first that it builds, then as ever. */
    expect(&(struct rows){.want = "running",
                          .host = "c2h1",
                          .is = "building",
                          .generation = 4,
                          .seen_generation = 4,
                          .launched = true},
           &evacuated);
    expect(&(struct rows){.want = "running",
                          .host = "c2h1",
                          .is = "running",
                          .generation = 4,
                          .seen_generation = 4,
                          .launched = true},
           &(struct expected){"ACTIVE", "active", NULL, 1});
}

static void test_reboot(void **state)
{
    static const struct {
        const char *want, *is;
        bool hard;
        int reboot, seen_reboot;
        struct expected e;
    } table[] = {
        {"running", "running", false, 1, 0, {"REBOOT", "active", "rebooting", 1}},
        {"running", "running", true, 1, 0, {"HARD_REBOOT", "active", "rebooting_hard", 1}},
        {"running", "running", false, 7, 3, {"REBOOT", "active", "rebooting", 1}},
        /* Done; the kind of the last one does not matter any more. */
        {"running", "running", true, 7, 7, {"ACTIVE", "active", NULL, 1}},
        /* A row of the future (a restored backup): nothing is asked for. */
        {"running", "running", false, 3, 7, {"ACTIVE", "active", NULL, 1}},
        /* A hard reboot starts what is off, and goes through it. */
        {"running", "stopped", true, 1, 0, {"SHUTOFF", "stopped", "rebooting_hard", 4}},
        {"running", "stopped", false, 1, 0, {"SHUTOFF", "stopped", "rebooting", 4}},
        {"running", "paused", true, 1, 0, {"PAUSED", "paused", "rebooting_hard", 3}},
        {"running", "error", true, 1, 0, {"ERROR", "error", NULL, 0}},
        /* Stopped or paused after the reboot was asked for: the later wish counts. */
        {"stopped", "running", false, 1, 0, {"ACTIVE", "active", "powering-off", 1}},
        {"stopped", "stopped", true, 1, 0, {"SHUTOFF", "stopped", NULL, 4}},
        {"paused", "running", true, 1, 0, {"ACTIVE", "active", "pausing", 1}},
        {"deleted", "running", true, 1, 0, {"ACTIVE", "active", "deleting", 1}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct rows r = {.want = table[i].want,
                         .is = table[i].is,
                         .host = "c1h1",
                         .hard = table[i].hard,
                         .reboot = table[i].reboot,
                         .seen_reboot = table[i].seen_reboot};

        expect(&r, &table[i].e);
    }
}

/* `message`: whose fault is told, NULL: none. */
static void expect_fault(const struct rows *r, const char *status, const char *message)
{
    json_t *server = server_row(r), *state = state_row(r);
    struct server_status got;

    server_status(server, state, &got);
    expect_text(r, "status", got.status, status);
    expect_text(r, "fault", json_str(got.fault, "message", NULL), message);
    json_decref(server);
    json_decref(state);
}

static void test_faults(void **state)
{
    struct rows r = {.want = "running", .is = "error", .host = "c1h1", .seen_fault = true};

    expect_fault(&r, "ERROR", "QEMU ended");
    r.fault = true;
    expect_fault(&r, "ERROR", "no host fits");
    r.is = "running";
    expect_fault(&r, "ERROR", "no host fits");
    r.is = NULL;
    r.host = NULL;
    expect_fault(&r, "ERROR", "no host fits");
    r.want = "deleted";
    expect(&r, &(struct expected){"ERROR", "error", "deleting", 0});
    /* A fault that the host overcame, and one of an older generation, are not told. */
    r = (struct rows){.want = "running", .is = "running", .host = "c1h1", .seen_fault = true};
    expect_fault(&r, "ACTIVE", NULL);
    r.is = "error";
    r.generation = 1;
    expect_fault(&r, "BUILD", NULL);
    r.generation = 0;
    r.seen_fault = false;
    expect_fault(&r, "ERROR", NULL);
}

/* Rows that lack members, as one from an older version may. */
static void test_poor_rows(void **state)
{
    json_t *server = json_object(), *reported = json_object();
    struct server_status got;

    server_status(server, NULL, &got);
    assert_string_equal(got.status, "BUILD");
    assert_string_equal(got.task_state, "scheduling");
    server_status(server, reported, &got);
    assert_string_equal(got.status, "BUILD"); /* it tells of no generation at all */
    json_put_int(reported, "generation", 0);
    server_status(server, reported, &got);
    assert_string_equal(got.status, "ACTIVE");
    assert_null(got.task_state);
    json_object_set_new(server, "fault", json_string("no object"));
    server_status(server, reported, &got);
    assert_string_equal(got.status, "ACTIVE");
    assert_null(got.fault);
    json_decref(server);
    json_decref(reported);
}

/* Which words of Nova go together. */
static bool fits(const struct server_status *s)
{
    static const struct expected known[] = {
        {"BUILD", "building", NULL, 0},  {"REBUILD", "active", NULL, 0},
        {"ERROR", "error", NULL, 0},     {"ACTIVE", "active", NULL, 1},
        {"REBOOT", "active", NULL, 1},   {"HARD_REBOOT", "active", NULL, 1},
        {"SHUTOFF", "stopped", NULL, 4}, {"PAUSED", "paused", NULL, 3},
    };
    bool busy = strcmp(s->status, "BUILD") == 0 || strstr(s->status, "RE") == s->status ||
                strcmp(s->status, "HARD_REBOOT") == 0;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(s->status, known[i].status) == 0)
            return strcmp(s->vm_state, known[i].vm_state) == 0 &&
                   s->power_state == known[i].power_state && (!busy || s->task_state) &&
                   (!s->fault || strcmp(s->status, "ERROR") == 0);
    }
    return false;
}

/* All combinations of all inputs: none gives a status that clients do not know, or one that
 * contradicts itself; what is to be deleted says so; and neither row is touched. */
static void test_every_combination_is_sane(void **state)
{
    static const char *const want[] = {"running", "stopped", "paused", "deleted"};
    static const char *const is[] = {NULL,      "-",      "building", "running",
                                     "stopped", "paused", "error"};
    size_t tried = 0;

    for (unsigned n = 0; n < 4 * 7 * 256; n++) {
        unsigned bits = n / 28;
        struct rows r = {.want = want[n % 4],
                         .is = is[n / 4 % 7],
                         .host = bits & 1 ? "c1h1" : NULL,
                         .generation = 1,
                         .seen_generation = (bits >> 1) & 1,
                         .reboot = (bits >> 2) & 1,
                         .hard = (bits >> 3) & 1,
                         .launched = (bits >> 4) & 1,
                         .fault = (bits >> 5) & 1,
                         .seen_fault = (bits >> 6) & 1,
                         .seen_reboot = (bits >> 7) & 1};
        json_t *server = server_row(&r), *reported = state_row(&r);
        json_t *server_copy = json_deep_copy(server), *reported_copy = json_deep_copy(reported);
        struct server_status got;
        char text[256];

        server_status(server, reported, &got);
        describe(&r, text, sizeof(text));
        if (!fits(&got))
            fail_msg("%s gives %s, %s, %s, %d", text, got.status, got.vm_state,
                     got.task_state ? got.task_state : "no task", got.power_state);
        if ((n % 4 == 3) != (got.task_state && strcmp(got.task_state, "deleting") == 0))
            fail_msg("%s gives the task %s", text, got.task_state ? got.task_state : "none");
        assert_true(json_equal(server, server_copy));
        assert_true(!reported || json_equal(reported, reported_copy));
        json_decref(server);
        json_decref(reported);
        json_decref(server_copy);
        json_decref(reported_copy);
        tried++;
    }
    assert_int_equal(tried, 7168);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_wanted_and_what_is),
        cmocka_unit_test(test_before_the_first_report),
        cmocka_unit_test(test_recovery_on_another_host),
        cmocka_unit_test(test_reboot),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_poor_rows),
        cmocka_unit_test(test_every_combination_is_sane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
