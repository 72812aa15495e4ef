/* With real processes: shells that wait stand for guests; their command line holds the id. */
#include "base/clock.h"
#include "node/guard.h"
#include "node/guard_process.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], program[64];

static void rest(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* Is it what it was started as? Until then it has our own command line. */
static bool is_named(pid_t pid, const char *named)
{
    char path[64], text[512];
    FILE *file;
    size_t size, wanted = strlen(named);

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    file = fopen(path, "r");
    size = file ? fread(text, 1, sizeof(text), file) : 0;
    if (file)
        fclose(file);
    return memmem(text, size, named, wanted) != NULL;
}

/* A process whose command line holds `named`, registered as guest `id`. */
static pid_t start_guest(const char *id, const char *named)
{
    char path[256];
    FILE *file;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "sleep 60 >/dev/null 2>&1 & wait", named, (char *)NULL);
        _exit(127);
    }
    snprintf(path, sizeof(path), "%s/guests", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/guests/%s", dir, id);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/guests/%s/pid", dir, id);
    file = fopen(path, "w");
    fprintf(file, "%d\n", (int)pid);
    fclose(file);
    for (int i = 0; i < 2000 && !is_named(pid, named); i++)
        rest(10);
    return pid;
}

static char state_of(pid_t pid)
{
    char path[64], text[512] = "", *end;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file)
        return '-';
    if (fread(text, 1, sizeof(text) - 1, file) == 0)
        text[0] = '\0';
    fclose(file);
    end = strrchr(text, ')');
    return end ? end[2] : '-';
}

static bool becomes(pid_t pid, char state, int ms)
{
    for (; ms > 0; ms -= 10) {
        if (state_of(pid) == state)
            return true;
        rest(10);
    }
    return false;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int make_dir(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/vling-t-guard.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

#define ID "0a57f1b2-7c55-4b5e-9d1a-3f1a52d7c001"
#define OTHER "0a57f1b2-7c55-4b5e-9d1a-3f1a52d7c002"

static void self_test(void **state)
{
    struct err err = {0};

    assert_int_equal(guard_self_test(&err), 0);
}

/* A pid file may outlive its guest, and the number may be somebody else's by then. */
static void strangers_are_left_alone(void **state)
{
    struct guard_page *page;
    struct guard_process *process;
    struct guard_wanted wanted = {.deadline_ms = 1000, .epoch = 1};
    pid_t stranger = start_guest(ID, OTHER);
    int rc;

    assert_int_equal(guard_page_open(dir, &page), 0);
    process = guard_process_new(dir, &rc);
    guard_page_write(page, &wanted);
    assert_true(guard_process_look(process, 5000));
    assert_int_equal(page->report.phase, GUARD_STOPPED);
    assert_false(becomes(stranger, 'T', 200));
    wanted.order = GUARD_ORDER_DESTROY;
    guard_page_write(page, &wanted);
    guard_process_look(process, 5000);
    assert_int_equal(page->report.kills, 0);
    guard_process_free(process);
    end(stranger);
}

/* As a writer that is killed in the middle leaves it: the older copy is half overwritten. */
static void tear(struct guard_page *page, int64_t deadline_ms)
{
    struct guard_copy *older = &page->copies[page->copies[0].ended > page->copies[1].ended];

    older->begun = page->copies[older == &page->copies[0]].ended + 1;
    older->ended = 0;
    older->wanted.deadline_ms = deadline_ms;
}

/* ... and the next vlingd does not begin with nothing. */
static void a_torn_state_leaves_the_last_one(void **state)
{
    struct guard_page *page;
    struct guard_wanted wanted = {.deadline_ms = 10000, .epoch = 7, .external = "br-ext"};
    struct guard_wanted read;
    struct guard_status status;
    struct guard *guard;
    struct err err;

    assert_int_equal(guard_page_open(dir, &page), 0);
    assert_false(guard_page_read(page, &read));
    for (int i = 0; i < 5; i++) {
        wanted.deadline_ms = 4000000000000 + i;
        guard_page_write(page, &wanted);
        tear(page, 1);
        assert_true(guard_page_read(page, &read));
        assert_true(read.deadline_ms == wanted.deadline_ms);
        guard = guard_start(dir, program, &err);
        assert_non_null(guard);
        assert_int_equal(guard_status(guard, &status), 0);
        assert_true(status.deadline_ms == wanted.deadline_ms);
        assert_int_equal(status.epoch, 7);
        guard_alive(guard);
        assert_int_equal(guard_status(guard, &status), 0);
        assert_true(status.deadline_ms == wanted.deadline_ms);
        guard_close(guard);
    }
    guard = guard_start(dir, program, &err);
    guard_release(guard);
    guard_close(guard);
}

static void a_torn_state_is_not_acted_on(void **state)
{
    struct guard_page *page;
    struct guard_process *process;
    struct guard_wanted wanted = {.deadline_ms = 10000, .epoch = 1};
    int rc;

    assert_int_equal(guard_page_open(dir, &page), 0);
    process = guard_process_new(dir, &rc);
    guard_page_write(page, &wanted);
    guard_process_look(process, 1000);
    assert_int_equal(page->report.phase, GUARD_WATCHING);
    /* The writer died in the middle: a far deadline is half there. */
    tear(page, 99999999);
    guard_process_look(process, 9800);
    assert_int_equal(page->report.phase, GUARD_WATCHING);
    guard_process_look(process, 10000);
    assert_int_equal(page->report.phase, GUARD_STOPPED);
    /* The next writer starts over. */
    wanted.deadline_ms = 20000;
    guard_page_write(page, &wanted);
    guard_process_look(process, 10001);
    assert_int_equal(page->report.phase, GUARD_WATCHING);
    guard_process_free(process);
}

static bool is_up(const char *dev)
{
    char command[128];

    snprintf(command, sizeof(command), "ip -o link show dev %s up | grep -q %s", dev, dev);
    return system(command) == 0;
}

/* A bridge in a network namespace of this test's own. */
static void routers_are_silent_without_a_lease(void **state)
{
    struct guard_page *page;
    struct guard_process *process;
    struct guard_wanted wanted = {.deadline_ms = 10000, .epoch = 1, .external = "br-ext"};
    int rc;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(system("ip link add br-ext type bridge && ip link set br-ext up"), 0);
    assert_int_equal(guard_page_open(dir, &page), 0);
    process = guard_process_new(dir, &rc);
    guard_page_write(page, &wanted);
    guard_process_look(process, 1000);
    assert_true(is_up("br-ext"));
    guard_process_look(process, 10000);
    assert_false(is_up("br-ext"));
    /* Nobody takes it up behind the guard's back. */
    assert_int_equal(system("ip link set br-ext up"), 0);
    guard_process_look(process, 10025);
    assert_false(is_up("br-ext"));
    /* The same epoch: nobody took over meanwhile. */
    wanted.deadline_ms = 20000;
    guard_page_write(page, &wanted);
    guard_process_look(process, 11000);
    assert_true(is_up("br-ext"));
    guard_process_look(process, 20000);
    assert_false(is_up("br-ext"));
    /* Another one: vlingd knows which routers are still this host's. */
    wanted.deadline_ms = 30000;
    wanted.epoch = 2;
    guard_page_write(page, &wanted);
    guard_process_look(process, 21000);
    assert_int_equal(page->report.phase, GUARD_WATCHING);
    assert_false(is_up("br-ext"));
    guard_process_free(process);
}

static struct guard *start(void)
{
    struct err err = {0};
    struct guard *guard = guard_start(dir, program, &err);

    if (!guard)
        fail_msg("%s: %s", err.what, err.why);
    return guard;
}

static bool phase_is(struct guard *guard, enum guard_phase phase, int ms)
{
    struct guard_status status;

    for (; ms > 0; ms -= 10) {
        if (guard_status(guard, &status) == 0 && status.phase == phase)
            return true;
        rest(10);
    }
    return false;
}

/* Without a file of its own: the children keep the command line, which names them all. */
static int play_guests(char **ids)
{
    for (; *ids; ids++) {
        char path[256];
        pid_t pid;
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", dir, *ids);
        mkdir(path, 0700);
        strcat(path, "/pid");
        pid = fork();
        if (pid == 0) {
            for (;;)
                pause();
        }
        file = fopen(path, "w");
        fprintf(file, "%d\n", (int)pid);
        fclose(file);
    }
    pause();
    return 0;
}

#define MANY 520

/* More guests than a look once had room for: none is skipped. */
static void every_guest_is_stopped(void **state)
{
    struct guard_page *page;
    struct guard_process *process;
    struct guard_wanted wanted = {.deadline_ms = 1000, .epoch = 1};
    static char guests[96], ids[MANY][40], last[160];
    static char *argv[MANY + 4] = {"guests", "--guests", guests};
    struct stat written;
    pid_t keeper;
    int rc;

    snprintf(guests, sizeof(guests), "%s/guests", dir);
    mkdir(guests, 0700);
    for (int i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof(ids[i]), "0a57f1b2-7c55-4b5e-9d1a-%012d", i);
        argv[3 + i] = ids[i];
    }
    snprintf(last, sizeof(last), "%s/%s/pid", guests, ids[MANY - 1]);
    keeper = fork();
    if (keeper == 0) {
        setpgid(0, 0);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    for (int i = 0; i < 6000 && (stat(last, &written) < 0 || written.st_size == 0); i++)
        rest(10);
    assert_int_equal(guard_page_open(dir, &page), 0);
    process = guard_process_new(dir, &rc);
    guard_page_write(page, &wanted);
    assert_true(guard_process_look(process, 5000));
    assert_int_equal(page->report.stops, MANY);
    wanted.order = GUARD_ORDER_DESTROY;
    guard_page_write(page, &wanted);
    guard_process_look(process, 5000);
    assert_int_equal(page->report.kills, MANY);
    guard_process_free(process);
    kill(-keeper, SIGKILL);
    end(keeper);
}

static bool has_address(void)
{
    return system("ip -o addr show dev mgmt0 | grep -q 10.10.0.100/24") == 0;
}

/* vlingd may add it again after the guard's first look: it has not noticed yet. */
static void addresses_are_removed_at_every_look(void **state)
{
    struct guard_page *page;
    struct guard_process *process;
    struct guard_wanted wanted = {.deadline_ms = 10000,
                                  .epoch = 1,
                                  .address_count = 1,
                                  .addresses = {{.dev = "mgmt0", .ip = "10.10.0.100"}}};
    int rc;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(system("ip link add mgmt0 type bridge && ip link set mgmt0 up && "
                            "ip addr add 10.10.0.100/24 dev mgmt0"),
                     0);
    assert_int_equal(guard_page_open(dir, &page), 0);
    process = guard_process_new(dir, &rc);
    guard_page_write(page, &wanted);
    guard_process_look(process, 1000);
    assert_true(has_address());
    for (int i = 0; i < 3; i++) {
        guard_process_look(process, 9900 + 25 * i);
        assert_false(has_address());
        assert_int_equal(system("ip addr add 10.10.0.100/24 dev mgmt0"), 0);
    }
    guard_process_free(process);
}

/* A guard that hangs holds its lock, and looks at nothing. */
static void a_hung_guard_is_replaced(void **state)
{
    pid_t guest = start_guest(ID, ID);
    struct guard *guard = start();
    struct guard_status status, again;
    struct err err;

    guard_update(guard, clock_now_ms() + 60000, 3);
    assert_true(phase_is(guard, GUARD_WATCHING, 5000));
    guard_status(guard, &status);
    assert_int_equal(kill(status.pid, SIGSTOP), 0);
    assert_true(becomes(status.pid, 'T', 5000));
    rest(1200);
    assert_false(guard_running(guard));
    assert_int_equal(guard_ensure(guard, program, &err), 0);
    assert_true(guard_running(guard));
    guard_status(guard, &again);
    assert_int_not_equal(again.pid, status.pid);
    assert_true(strchr("-Z", state_of(status.pid)) != NULL);
    /* It knows what the old one knew. */
    assert_int_equal(again.epoch, 3);
    assert_int_equal(again.deadline_ms, status.deadline_ms);
    /* A restarted vlingd does the same. */
    assert_int_equal(kill(again.pid, SIGSTOP), 0);
    assert_true(becomes(again.pid, 'T', 5000));
    rest(1200);
    guard_close(guard);
    guard = start();
    assert_true(guard_running(guard));
    guard_update(guard, clock_now_ms() + 200, 3);
    assert_true(becomes(guest, 'T', 5000));
    end(guest);
    guard_release(guard);
    guard_close(guard);
}

/* A guard of the version before this form of the page does not read it: it is replaced. */
static void an_older_guard_is_replaced(void **state)
{
    struct guard *guard = start();
    struct guard_status status, again;
    struct guard_page *page;
    int32_t pid;

    guard_status(guard, &status);
    guard_close(guard);
    assert_int_equal(guard_page_open(dir, &page), 0);
    kill(status.pid, SIGSTOP);
    assert_true(becomes(status.pid, 'T', 5000));
    pid = status.pid;
    memset(page, 0, sizeof(*page));
    page->magic = GUARD_MAGIC_OLD;
    memcpy((char *)page + GUARD_OLD_PID_AT, &pid, sizeof(pid));
    guard = start();
    assert_true(guard_running(guard));
    assert_int_equal(guard_status(guard, &again), 0);
    assert_int_not_equal(again.pid, status.pid);
    assert_int_equal(again.deadline_ms, 0);
    assert_true(strchr("-Z", state_of(status.pid)) != NULL);
    guard_release(guard);
    guard_close(guard);
}

/* Another version's page: what it says cannot be read, but its guests are there. */
static void begin_with_a_foreign_page(void)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/guard.state", dir);
    file = fopen(path, "w");
    for (int i = 0; i < 300; i++)
        fwrite("form", 1, 4, file);
    fclose(file);
    snprintf(path, sizeof(path), "%s/lease", dir);
    file = fopen(path, "w");
    fputs("77 5\n", file);
    fclose(file);
}

/* The host is cut off when the daemon is replaced: nothing renews the lease. */
static void guests_of_another_version_are_guarded(void **state)
{
    pid_t guest = start_guest(ID, ID);
    struct guard_status status;
    struct guard *guard;

    begin_with_a_foreign_page();
    guard = start();
    assert_true(becomes(guest, 'T', 5000));
    assert_int_equal(guard_status(guard, &status), 0);
    assert_int_equal(status.epoch, 5);
    assert_int_equal(status.phase, GUARD_STOPPED);
    /* It was not for long. */
    guard_update(guard, clock_now_ms() + 60000, 5);
    assert_true(becomes(guest, 'S', 5000));
    end(guest);
    guard_release(guard);
    guard_close(guard);
}

/* It was, and others run its guests by now. */
static void guests_of_another_version_and_epoch_are_killed(void **state)
{
    pid_t guest = start_guest(ID, ID);
    struct guard *guard;

    begin_with_a_foreign_page();
    guard = start();
    assert_true(becomes(guest, 'T', 5000));
    guard_update(guard, clock_now_ms() + 60000, 6);
    assert_true(becomes(guest, 'Z', 5000));
    end(guest);
    guard_release(guard);
    guard_close(guard);
}

static void without_guests_another_version_leaves_nothing(void **state)
{
    struct guard_status status;
    struct guard *guard;

    begin_with_a_foreign_page();
    guard = start();
    assert_int_equal(guard_status(guard, &status), 0);
    assert_int_equal(status.deadline_ms, 0);
    assert_int_equal(status.phase, GUARD_IDLE);
    guard_release(guard);
    guard_close(guard);
}

/* Killed, it is missed at once; and vlingd looks itself should no new one start. */
static void somebody_looks_without_a_guard(void **state)
{
    pid_t guest = start_guest(ID, ID);
    struct guard *guard = start();
    struct guard_status status;
    struct err err;

    guard_update(guard, clock_now_ms() + 60000, 3);
    assert_true(phase_is(guard, GUARD_WATCHING, 5000));
    guard_status(guard, &status);
    kill(status.pid, SIGKILL);
    for (int i = 0; i < 30 && guard_running(guard); i++)
        rest(10);
    /* Where nobody reaps orphans it is a zombie for a while, and only its silence tells. */
    if (state_of(status.pid) == '-')
        assert_false(guard_running(guard));
    rest(1100);
    assert_int_not_equal(guard_ensure(guard, "/nonexistent", &err), 0);
    guard_stand_in(guard, status.deadline_ms - 10000);
    assert_int_not_equal(state_of(guest), 'T');
    guard_stand_in(guard, status.deadline_ms);
    assert_true(becomes(guest, 'T', 5000));
    assert_false(guard_running(guard)); /* vlingd is no guard: it may be killed */
    guard_update(guard, clock_now_ms() + 60000, 3);
    assert_int_equal(guard_ensure(guard, program, &err), 0);
    assert_true(becomes(guest, 'S', 5000));
    end(guest);
    guard_release(guard);
    guard_close(guard);
}

static long oom_score_adj(pid_t pid)
{
    char path[64], text[32] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    file = fopen(path, "r");
    if (!file || !fgets(text, sizeof(text), file))
        fail();
    fclose(file);
    return strtol(text, NULL, 10);
}

static void it_is_killed_last_when_memory_runs_short(void **state)
{
    struct guard *guard = start();
    struct guard_status status;
    FILE *own = fopen("/proc/self/oom_score_adj", "w");
    bool permitted = own && fputs("-1000", own) >= 0 && fflush(own) == 0;

    if (own)
        fclose(own);
    assert_int_equal(guard_status(guard, &status), 0);
    if (permitted)
        assert_int_equal(oom_score_adj(status.pid), -1000);
    guard_release(guard);
    guard_close(guard);
}

static void the_process_outlives_its_starter(void **state)
{
    pid_t guest = start_guest(ID, ID);
    struct guard *guard = start();
    struct guard_status status, again;

    guard_update(guard, clock_now_ms() + 3000, 3);
    assert_true(phase_is(guard, GUARD_WATCHING, 5000));
    guard_status(guard, &status);
    /* As after a restart of the daemon: the same process is found. */
    guard_close(guard);
    guard = start();
    assert_int_equal(guard_status(guard, &again), 0);
    assert_int_equal(again.pid, status.pid);
    assert_true(guard_running(guard));
    assert_int_not_equal(state_of(guest), 'T');
    /* Nobody extends it: stopped before the deadline, resumed when it is back. */
    assert_true(becomes(guest, 'T', 10000));
    guard_update(guard, clock_now_ms() + 60000, 3);
    assert_true(becomes(guest, 'S', 5000));
    guard_update(guard, clock_now_ms() + 60000, 4);
    assert_true(becomes(guest, 'Z', 5000));
    end(guest);
    guest = start_guest(OTHER, OTHER);
    guard_destroy_guests(guard);
    assert_true(becomes(guest, 'Z', 5000));
    end(guest);
    guard_release(guard);
    for (int i = 0; i < 500 && !strchr("-Z", state_of(status.pid)); i++)
        rest(10);
    assert_true(strchr("-Z", state_of(status.pid)) != NULL);
    guard_close(guard);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_test),
        cmocka_unit_test_setup_teardown(strangers_are_left_alone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_torn_state_is_not_acted_on, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_torn_state_leaves_the_last_one, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(every_guest_is_stopped, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_hung_guard_is_replaced, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(an_older_guard_is_replaced, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(guests_of_another_version_are_guarded, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(guests_of_another_version_and_epoch_are_killed, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(without_guests_another_version_leaves_nothing, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(somebody_looks_without_a_guard, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(it_is_killed_last_when_memory_runs_short, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(addresses_are_removed_at_every_look, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(routers_are_silent_without_a_lease, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_process_outlives_its_starter, make_dir, remove_dir),
    };

    /* guard_start runs "<program> --guard <run_dir>": this test is that program. */
    if (argc == 3 && strcmp(argv[1], "--guard") == 0)
        return guard_main(argv[2]);
    if (argc > 3 && strcmp(argv[1], "--guests") == 0) {
        snprintf(dir, sizeof(dir), "%.63s", argv[2]);
        return play_guests(argv + 3);
    }
    snprintf(program, sizeof(program), "/proc/self/exe");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
