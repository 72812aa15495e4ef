/* The QEMU driver with real guests: a boot sector that writes a line to the serial port and halts.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "drv/compute/configdrive.h"
#include "drv/compute/qemu.h"
#include "drv/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define QEMU "/usr/bin/qemu-system-x86_64"

/* xor ax, ax; mov ds, ax; mov dx, 0x3f8; mov si, text; next: lodsb; test al, al; jz end;
 * out dx, al; jmp next; end: sti; hlt; jmp end; text "VLING-BOOT\n" */
static const unsigned char boot_code[] = {0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xf8, 0x03, 0xbe, 0x16,
                                          0x7c, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8,
                                          0xfb, 0xf4, 0xeb, 0xfc, 'V',  'L',  'I',  'N',  'G',
                                          '-',  'B',  'O',  'O',  'T',  '\n', 0};

/* mov dx, 0x604; mov ax, 0x2400; out dx, ax; end: hlt; jmp end: ACPI sleep state S3 */
static const unsigned char sleep_code[] = {0xba, 0x04, 0x06, 0xb8, 0x00,
                                           0x24, 0xef, 0xf4, 0xeb, 0xfd};

struct ctx {
    uv_loop_t loop;
    char dir[64], disk[128], sleepy[128], run[128];
    struct compute_driver *driver;
    int done_rc, done_count, changes;
};

static struct ctx ctx;
/* Before a start the driver ends a QEMU of the same id, whoever has started it: this run's own. */
static char guest[ID_UUID_SIZE];

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

static void make_disk(const char *path, const unsigned char *code, size_t size)
{
    unsigned char sector[512] = {0};

    memcpy(sector, code, size);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    assert_int_equal(file_write_atomic(path, sector, sizeof(sector), 0600), 0);
    assert_int_equal(truncate(path, 1024 * 1024), 0); /* SeaBIOS reads no smaller disk */
}

static int setup(void **state)
{
    char path[160];

    if (getuid() != 0)
        return 0;
    id_uuid(guest);
    strcpy(ctx.dir, "/tmp/vling-test-compute-XXXXXX");
    assert_non_null(mkdtemp(ctx.dir));
    chmod(ctx.dir, 0755);
    snprintf(ctx.disk, sizeof(ctx.disk), "%s/disk.raw", ctx.dir);
    snprintf(ctx.run, sizeof(ctx.run), "%s/run", ctx.dir);
    assert_int_equal(file_mkdirs(ctx.run, 0755), 0);
    snprintf(ctx.sleepy, sizeof(ctx.sleepy), "%s/sleepy.raw", ctx.dir);
    make_disk(ctx.disk, boot_code, sizeof(boot_code));
    make_disk(ctx.sleepy, sleep_code, sizeof(sleep_code));
    snprintf(path, sizeof(path), "%s/for-the-daemon-only", ctx.dir);
    assert_true(open(path, O_RDWR | O_CREAT, 0600) >= 0); /* without O_CLOEXEC, as libraries do */
    uv_loop_init(&ctx.loop);
    open_driver();
    return 0;
}

static int teardown(void **state)
{
    char command[160];

    if (getuid() != 0)
        return 0;
    compute_qemu.destroy(ctx.driver, guest, on_done, NULL);
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
    bool found = compute_qemu.console_log(ctx.driver, guest, 65536, &text, &size) == 0 &&
                 strstr(text, "VLING-BOOT");

    free(text);
    return found;
}

static bool is_absent(void)
{
    struct guest_info info;

    return !compute_qemu.get(ctx.driver, guest, &info);
}

static bool is_running(void)
{
    struct guest_info info;

    return compute_qemu.get(ctx.driver, guest, &info) && info.power == GUEST_RUNNING;
}

static int try_start_from(const char *disk, int64_t generation)
{
    struct guest_spec spec = {.id = guest,
                              .generation = generation,
                              .name = "tiny, with a comma",
                              .vcpus = 1,
                              .ram_mb = 16,
                              .root_disk = disk,
                              .root_format = "raw"};

    compute_qemu.start(ctx.driver, &spec, on_done, NULL);
    return finish();
}

static int try_start(int64_t generation)
{
    return try_start_from(ctx.disk, generation);
}

static void start(int64_t generation)
{
    assert_int_equal(try_start(generation), 0);
}

static struct guest_info info_now(void)
{
    struct guest_info info;

    assert_true(compute_qemu.get(ctx.driver, guest, &info));
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
    compute_qemu.pause(ctx.driver, guest, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(info_now().power, GUEST_PAUSED);
    compute_qemu.resume(ctx.driver, guest, on_done, NULL);
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

/* Whoever started it may have died before it wrote that. */
static void is_adopted_without_its_pid_file(void **state)
{
    char path[256];
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    snprintf(path, sizeof(path), "%s/guests/%s/pid", ctx.run, guest);
    assert_int_equal(unlink(path), 0);
    reopen_driver();
    assert_true(wait_for(is_running));
    assert_int_equal(info_now().pid, pid);
}

/* /run is full: no pid file can be written. A guest that the guard knows goes on, one that it does
 * not know is ended, and before that nobody takes it for absent. */
static void is_adopted_when_nothing_can_be_written(void **state)
{
    char path[256], in_the_way[300];
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    snprintf(path, sizeof(path), "%s/guests/%s/pid", ctx.run, guest);
    snprintf(in_the_way, sizeof(in_the_way), "%s.tmp.%d", path, (int)getpid());
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    reopen_driver();
    assert_int_equal(info_now().power, GUEST_STARTING);
    assert_true(wait_for(is_running));
    assert_int_equal(info_now().pid, pid);
    assert_int_equal(unlink(path), 0);
    reopen_driver();
    assert_int_equal(info_now().power, GUEST_STARTING);
    assert_true(wait_for(is_absent));
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(rmdir(in_the_way), 0);
    start(1);
}

static void *wait_for_ever(void *arg)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
    for (;;)
        pause();
    return arg;
}

/* As a process whose first thread was killed while another one waits for the disk. */
static void live_on_headless(int ready)
{
    pthread_t thread;

    prctl(PR_SET_NAME, "qemu-system-x86_64");
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0 && write(ready, "1", 1) == 1)
        syscall(SYS_exit, 0);
    _exit(1);
}

/* Its write may still come: neither here nor elsewhere may another one start. */
static void one_that_is_not_dead_yet_lives(void **state)
{
    char dir[] = "/tmp/vling-test-compute-XXXXXX", path[64], text[8];
    int ready[2], pid, found = -1;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0)
        live_on_headless(ready[1]);
    assert_int_equal(read(ready[0], text, 1), 1);
    assert_int_equal(qemu_dir_write_pid(dir, pid), 0);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    for (int i = 0; i < 200 && found != 0; i++) {
        FILE *file = fopen(path, "r");

        found = fgetc(file) == EOF ? 0 : -1;
        fclose(file);
        usleep(5000);
    }
    assert_int_equal(qemu_dir_pid(dir, guest), pid);
    kill(pid, SIGKILL);
    for (int i = 0; i < 200 && qemu_dir_pid(dir, guest) != 0; i++)
        usleep(5000);
    assert_int_equal(qemu_dir_pid(dir, guest), 0); /* though nobody has waited for it */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    snprintf(path, sizeof(path), "%s/pid", dir);
    unlink(path);
    rmdir(dir);
}

/* One line of /proc/<pid>/status, from its colon on. */
static void status_line(int pid, const char *name, char ret[128])
{
    char path[64], line[256];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    file = fopen(path, "r");
    assert_non_null(file);
    ret[0] = '\0';
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, strlen(name)) == 0)
            snprintf(ret, 128, "%.127s", line + strlen(name));
    }
    fclose(file);
}

/* Whoever gets out of the machine into QEMU finds a sandbox, and nothing of the daemon's. */
static void is_locked_in(void **state)
{
    char path[300], line[128];
    struct stat st;
    int pid, fds = 0;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    status_line(pid, "Seccomp:", line);
    assert_int_equal(atoi(line), 2);
    status_line(pid, "CapEff:", line);
    assert_int_equal(strtoull(line, NULL, 16), 0);
    status_line(pid, "Groups:", line);
    assert_int_equal(strtol(line, NULL, 10), 0);
    snprintf(path, sizeof(path), "%s/guests/%s", ctx.run, guest);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_mode & 022, 0);
    for (int fd = 0; fd < 256; fd++) {
        char target[300];
        ssize_t size;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
        size = readlink(path, target, sizeof(target) - 1);
        if (size < 0)
            continue;
        target[size] = '\0';
        fds++;
        assert_null(strstr(target, "for-the-daemon-only"));
    }
    assert_true(fds > 3);
}

/* QEMU that a signal ends, as when the host shuts down, is no guest that powered itself off. */
static void a_terminated_process_is_no_shutdown(void **state)
{
    if (getuid() != 0)
        skip();
    ctx.changes = 0;
    kill(info_now().pid, SIGTERM);
    assert_true(wait_for(is_absent));
    start(2);
}

/* Also when QMP is away: the button cannot be pressed, but its time ends. */
static void one_without_a_socket_can_be_stopped(void **state)
{
    char path[300];

    if (getuid() != 0)
        skip();
    snprintf(path, sizeof(path), "%s/guests/%s/qemu/qmp.sock", ctx.run, guest);
    assert_int_equal(unlink(path), 0);
    reopen_driver();
    compute_qemu.stop(ctx.driver, guest, 500, on_done, NULL);
    assert_int_equal(finish(), 0);
    start(2);
}

/* What QEMU cannot do with it ends as an error, not never; and it can be stopped. */
static void one_that_sleeps_is_not_waited_for(void **state)
{
    int64_t end = clock_now_ms() + PATIENCE_MS;
    int rc = 0;

    if (getuid() != 0)
        skip();
    compute_qemu.stop(ctx.driver, guest, 0, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(try_start_from(ctx.sleepy, 2), 0);
    /* Until it has got so far it can be paused. */
    while (rc == 0 && clock_now_ms() < end) {
        compute_qemu.pause(ctx.driver, guest, on_done, NULL);
        rc = finish();
        if (rc == 0) {
            compute_qemu.resume(ctx.driver, guest, on_done, NULL);
            assert_int_equal(finish(), 0);
            usleep(20000);
        }
    }
    assert_int_equal(rc, -EBUSY);
    compute_qemu.stop(ctx.driver, guest, 0, on_done, NULL);
    assert_int_equal(finish(), 0);
    start(2);
}

/* A process of an earlier start that nobody watches any more does not get a second one beside it.
 */
static void a_forgotten_process_is_ended_first(void **state)
{
    char path[300], aside[310];
    int pid;

    if (getuid() != 0)
        skip();
    pid = info_now().pid;
    snprintf(path, sizeof(path), "%s/guests/%s", ctx.run, guest);
    snprintf(aside, sizeof(aside), "%s/aside", ctx.dir);
    assert_int_equal(rename(path, aside), 0);
    reopen_driver();
    assert_true(is_absent());
    assert_int_equal(try_start(2), -EBUSY);
    for (int64_t end = clock_now_ms() + PATIENCE_MS; kill(pid, 0) == 0 && clock_now_ms() < end;) {
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
        waitpid(pid, NULL, WNOHANG);
        usleep(5000);
    }
    assert_int_equal(kill(pid, 0), -1);
    start(2);
}

static bool is_stopped(void)
{
    struct guest_info info;

    return compute_qemu.get(ctx.driver, guest, &info) && info.power == GUEST_STOPPED;
}

/* What it is asked fails in time, and it can be stopped; also by a daemon that finds it so. */
static void one_that_hangs_can_be_stopped(void **state)
{
    if (getuid() != 0)
        skip();
    kill(info_now().pid, SIGSTOP);
    compute_qemu.pause(ctx.driver, guest, on_done, NULL);
    assert_true(finish() < 0);
    compute_qemu.stop(ctx.driver, guest, 500, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_true(is_stopped());
    start(2);
    kill(info_now().pid, SIGSTOP);
    reopen_driver();
    assert_true(wait_for(is_running));
    compute_qemu.pause(ctx.driver, guest, on_done, NULL);
    assert_true(finish() < 0);
    compute_qemu.stop(ctx.driver, guest, 500, on_done, NULL);
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
    compute_qemu.stop(ctx.driver, guest, 500, on_done, NULL); /* the boot sector ignores ACPI */
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
    compute_qemu.destroy(ctx.driver, guest, on_done, NULL);
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
    assert_string_equal(info[0].id, guest);
    compute_qemu.destroy(ctx.driver, guest, on_done, NULL);
    assert_int_equal(finish(), 0);
    assert_int_equal(compute_qemu.list(ctx.driver, info, 2), 0);
    snprintf(path, sizeof(path), "%s/guests/%s", ctx.run, guest);
    assert_int_equal(access(path, F_OK), -1);
}

static void count_handle(uv_handle_t *handle, void *arg)
{
    size_t *count = arg;

    (*count)++;
}

static size_t handles(void)
{
    size_t count = 0;

    uv_walk(&ctx.loop, count_handle, &count);
    return count;
}

/* A program that cannot run is no harm: nothing of it stays on the loop. */
static void what_cannot_be_spawned_is_forgotten(void **state)
{
    struct guest_spec spec = {.id = "22222222-2222-4333-8444-555555555555",
                              .generation = 1,
                              .name = "x",
                              .vcpus = 1,
                              .ram_mb = 16,
                              .root_disk = ctx.disk,
                              .root_format = "raw"};
    json_t *empty = json_object();
    struct configdrive_content content = {.meta_data = empty, .network_data = empty};
    char path[160];
    size_t before;

    if (getuid() != 0)
        skip();
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("/dev/null", QEMU, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount("/dev/null", "/usr/bin/genisoimage", NULL, MS_BIND, NULL), 0);
    snprintf(path, sizeof(path), "%s/drive.iso", ctx.dir);
    compute_qemu.start(ctx.driver, &spec, on_done, NULL);
    assert_true(finish() < 0);
    before = handles();
    for (int i = 0; i < 8; i++) {
        compute_qemu.start(ctx.driver, &spec, on_done, NULL);
        assert_true(finish() < 0);
        configdrive_build(&ctx.loop, path, &content, on_done, NULL);
        assert_true(finish() < 0);
        uv_run(&ctx.loop, UV_RUN_NOWAIT);
        assert_int_equal(handles(), before);
    }
    umount("/usr/bin/genisoimage");
    umount(QEMU);
    json_decref(empty);
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
        cmocka_unit_test(is_adopted_when_nothing_can_be_written),
        cmocka_unit_test(one_that_is_not_dead_yet_lives),
        cmocka_unit_test(is_locked_in),
        cmocka_unit_test(a_terminated_process_is_no_shutdown),
        cmocka_unit_test(one_without_a_socket_can_be_stopped),
        cmocka_unit_test(one_that_sleeps_is_not_waited_for),
        cmocka_unit_test(a_forgotten_process_is_ended_first),
        cmocka_unit_test(a_killed_process_is_noticed),
        cmocka_unit_test(stop_kills_after_its_grace),
        cmocka_unit_test(one_that_hangs_can_be_stopped),
        cmocka_unit_test(destroys),
        cmocka_unit_test(what_an_ended_one_left_is_listed),
        cmocka_unit_test(what_cannot_be_spawned_is_forgotten),
        cmocka_unit_test(does_not_start_without_its_tap),
        cmocka_unit_test(refuses_ids_that_are_paths),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
