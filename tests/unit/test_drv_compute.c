/* The QEMU driver with real guests: a boot sector that writes a line to the serial port and halts.
 */
#include "base/clock.h"
#include "base/file.h"
#include "drv/driver.h"

#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST "11111111-2222-4333-8444-555555555555"
#define PATIENCE_MS 60000

/* xor ax, ax; mov ds, ax; mov dx, 0x3f8; mov si, text; next: lodsb; test al, al; jz end;
 * out dx, al; jmp next; end: sti; hlt; jmp end; text "VLING-BOOT\n" */
static const unsigned char boot_code[] = {0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xf8, 0x03, 0xbe, 0x16,
                                          0x7c, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8,
                                          0xfb, 0xf4, 0xeb, 0xfc, 'V',  'L',  'I',  'N',  'G',
                                          '-',  'B',  'O',  'O',  'T',  '\n', 0};

struct ctx {
    uv_loop_t loop;
    char dir[64], disk[128], run[128];
    struct compute_driver *driver;
    int done_rc, done_count, changes;
};

static struct ctx ctx;

static void on_changed(void *arg, const char *id)
{
    ctx.changes++;
}

static void on_done(void *arg, int rc, const struct err *err)
{
    char line[700];

    ctx.done_rc = rc;
    ctx.done_count++;
    if (rc < 0)
        print_message("done: %s\n", err_line(err, line, sizeof(line)));
}

static void open_driver(void)
{
    struct err err;
    json_t *config = json_pack("{s:s, s:s, s:s}", "run_dir", ctx.run, "state_dir", ctx.dir, "user",
                               "vling-guest");

    ctx.driver = compute_qemu.open(&ctx.loop, config, on_changed, NULL, &err);
    json_decref(config);
    assert_non_null(ctx.driver);
}

static int setup(void **state)
{
    unsigned char sector[512] = {0};

    if (getuid() != 0)
        return 0;
    strcpy(ctx.dir, "/tmp/vling-test-compute-XXXXXX");
    assert_non_null(mkdtemp(ctx.dir));
    chmod(ctx.dir, 0755);
    snprintf(ctx.disk, sizeof(ctx.disk), "%s/disk.raw", ctx.dir);
    snprintf(ctx.run, sizeof(ctx.run), "%s/run", ctx.dir);
    assert_int_equal(file_mkdirs(ctx.run, 0755), 0);
    memcpy(sector, boot_code, sizeof(boot_code));
    sector[510] = 0x55;
    sector[511] = 0xaa;
    assert_int_equal(file_write_atomic(ctx.disk, sector, sizeof(sector), 0600), 0);
    assert_int_equal(truncate(ctx.disk, 1024 * 1024), 0); /* SeaBIOS reads no smaller disk */
    uv_loop_init(&ctx.loop);
    open_driver();
    return 0;
}

static int teardown(void **state)
{
    char command[160];

    if (getuid() != 0)
        return 0;
    compute_qemu.destroy(ctx.driver, GUEST, on_done, NULL);
    for (int i = 0; i < 200; i++) {
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
        usleep(5000);
    }
    compute_qemu.close(ctx.driver);
    for (int i = 0; i < 10; i++)
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
    uv_loop_close(&ctx.loop);
    snprintf(command, sizeof(command), "rm -rf %s", ctx.dir);
    return system(command);
}

/* Runs the loop until `until()` or patience ends. */
static bool wait_for(bool (*until)(void))
{
    int64_t end = clock_now_ms() + PATIENCE_MS;

    while (clock_now_ms() < end) {
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
        if (until())
            return true;
        usleep(5000);
    }
    return false;
}

static bool is_done(void)
{
    return ctx.done_count > 0;
}

static int finish(void)
{
    assert_true(wait_for(is_done));
    ctx.done_count = 0;
    return ctx.done_rc;
}

static bool has_booted(void)
{
    char *text = NULL;
    size_t size = 0;
    bool found = compute_qemu.console_log(ctx.driver, GUEST, 65536, &text, &size) == 0 &&
                 strstr(text, "VLING-BOOT");

    free(text);
    return found;
}

static bool is_absent(void)
{
    struct guest_info info;

    return !compute_qemu.get(ctx.driver, GUEST, &info);
}

static bool is_running(void)
{
    struct guest_info info;

    return compute_qemu.get(ctx.driver, GUEST, &info) && info.power == GUEST_RUNNING;
}

static void start(int64_t generation)
{
    struct guest_spec spec = {.id = GUEST,
                              .generation = generation,
                              .name = "tiny, with a comma",
                              .vcpus = 1,
                              .ram_mb = 16,
                              .root_disk = ctx.disk,
                              .root_format = "raw"};

    compute_qemu.start(ctx.driver, &spec, on_done, NULL);
    assert_int_equal(finish(), 0);
}

static struct guest_info info_now(void)
{
    struct guest_info info;

    assert_true(compute_qemu.get(ctx.driver, GUEST, &info));
    return info;
}

static void starts_pauses_resumes(void **state)
{
    char path[64];
    struct stat st;

    if (getuid() != 0)
        skip();
    start(1);
    assert_int_equal(info_now().power, GUEST_RUNNING);
    assert_true(wait_for(has_booted));
    snprintf(path, sizeof(path), "/proc/%d", info_now().pid);
    assert_int_equal(stat(path, &st), 0);
    assert_int_not_equal(st.st_uid, 0); /* not as root */
    compute_qemu.pause(ctx.driver, GUEST, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(info_now().power, GUEST_PAUSED);
    compute_qemu.resume(ctx.driver, GUEST, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(info_now().power, GUEST_RUNNING);
}

static void reopen_driver(void)
{
    compute_qemu.close(ctx.driver);
    for (int i = 0; i < 10; i++)
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
    open_driver();
}

/* A daemon that went away and came back finds the same process, undisturbed. */
static void is_adopted(void **state)
{
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    reopen_driver();
    assert_true(wait_for(is_running));
    assert_int_equal(info_now().pid, pid);
    assert_int_equal(info_now().generation, 1);
}

/* QEMU writes its pid file a moment after its start; whoever started it may be dead by then. */
static void is_adopted_without_its_pid_file(void **state)
{
    char path[256];
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    snprintf(path, sizeof(path), "%s/guests/%s/pid", ctx.run, GUEST);
    assert_int_equal(unlink(path), 0);
    reopen_driver();
    assert_true(wait_for(is_running));
    assert_int_equal(info_now().pid, pid);
}

static bool is_stopped(void)
{
    struct guest_info info;

    return compute_qemu.get(ctx.driver, GUEST, &info) && info.power == GUEST_STOPPED;
}

/* What it is asked fails in time, and it can be stopped; also by a daemon that finds it so. */
static void one_that_hangs_can_be_stopped(void **state)
{
    if (getuid() != 0)
        skip();
    kill(info_now().pid, SIGSTOP);
    compute_qemu.pause(ctx.driver, GUEST, on_done, NULL);
    assert_true(finish() < 0);
    compute_qemu.stop(ctx.driver, GUEST, 500, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_true(is_stopped());
    start(2);
    kill(info_now().pid, SIGSTOP);
    reopen_driver();
    assert_true(wait_for(is_running));
    compute_qemu.pause(ctx.driver, GUEST, on_done, NULL);
    assert_true(finish() < 0);
    compute_qemu.stop(ctx.driver, GUEST, 500, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_true(is_stopped());
    start(2);
}

static void a_killed_process_is_noticed(void **state)
{
    if (getuid() != 0)
        skip();
    ctx.changes = 0;
    kill(info_now().pid, SIGKILL);
    assert_true(wait_for(is_absent));
    assert_true(ctx.changes > 0);
    start(2);
    assert_int_equal(info_now().generation, 2);
}

static void stop_kills_after_its_grace(void **state)
{
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    compute_qemu.stop(ctx.driver, GUEST, 500, on_done, NULL); /* the boot sector ignores ACPI */
    assert_int_equal(finish(), 0);
    assert_int_equal(info_now().power, GUEST_STOPPED);
    assert_int_equal(kill(pid, 0), -1);
    start(2);
}

static void destroys(void **state)
{
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    compute_qemu.destroy(ctx.driver, GUEST, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_true(is_absent());
    assert_int_equal(kill(pid, 0), -1);
}

/* Its server may belong to another host by now: somebody has to see that there is something. */
static void what_an_ended_one_left_is_listed(void **state)
{
    struct guest_info info[2];
    char path[256];

    if (getuid() != 0)
        skip();
    start(3);
    kill(info_now().pid, SIGKILL);
    assert_true(wait_for(is_absent));
    reopen_driver();
    assert_true(is_absent());
    assert_int_equal(compute_qemu.list(ctx.driver, info, 2), 1);
    assert_int_equal(info[0].power, GUEST_ABSENT);
    assert_string_equal(info[0].id, GUEST);
    compute_qemu.destroy(ctx.driver, GUEST, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(compute_qemu.list(ctx.driver, info, 2), 0);
    snprintf(path, sizeof(path), "%s/guests/%s", ctx.run, GUEST);
    assert_int_equal(access(path, F_OK), -1);
}

/* One that the kernel would make when it is opened would have neither filter nor network. */
static void does_not_start_without_its_tap(void **state)
{
    static const char other[] = "22222222-2222-4333-8444-555555555555";
    struct guest_info info;
    unsigned made;
    bool there;
    int rc;
    struct guest_spec spec = {.id = other,
                              .generation = 1,
                              .name = "lonely",
                              .vcpus = 1,
                              .ram_mb = 16,
                              .root_disk = ctx.disk,
                              .root_format = "raw",
                              .nics = {{.tap = "vt-nd-none", .mac = "fa:16:3e:00:00:01"}},
                              .nic_count = 1};

    if (getuid() != 0)
        skip();
    compute_qemu.start(ctx.driver, &spec, on_done, NULL);
    rc = finish();
    made = if_nametoindex("vt-nd-none");
    there = compute_qemu.get(ctx.driver, other, &info);
    compute_qemu.destroy(ctx.driver, other, on_done, NULL); /* leaves nothing, whatever it was */
    finish();
    assert_int_equal(rc, -ENODEV);
    assert_int_equal(made, 0);
    assert_false(there);
}

static void refuses_ids_that_are_paths(void **state)
{
    struct guest_spec spec = {.id = "../../etc", .name = "x", .root_disk = "/dev/null"};

    if (getuid() != 0)
        skip();
    compute_qemu.start(ctx.driver, &spec, on_done, NULL);
    assert_true(finish() < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_pauses_resumes),
        cmocka_unit_test(is_adopted),
        cmocka_unit_test(is_adopted_without_its_pid_file),
        cmocka_unit_test(a_killed_process_is_noticed),
        cmocka_unit_test(stop_kills_after_its_grace),
        cmocka_unit_test(one_that_hangs_can_be_stopped),
        cmocka_unit_test(destroys),
        cmocka_unit_test(what_an_ended_one_left_is_listed),
        cmocka_unit_test(does_not_start_without_its_tap),
        cmocka_unit_test(refuses_ids_that_are_paths),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
