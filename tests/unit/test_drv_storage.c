/* The `dir` storage driver: nothing half done is ever visible, whatever fails in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "drv/driver.h"

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGE_SIZE (3 * 1024 * 1024 + 17)

static uv_loop_t loop;
static char folder[64], path[512];
static struct storage_driver *driver;
static const struct storage_ops *const ops = &storage_dir;

static const char *below(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static struct storage_driver *open_at(const char *where, struct err *err)
{
    json_t *config = json_pack("{s:s}", "path", where);
    struct storage_driver *opened = ops->open(&loop, config, err);

    json_decref(config);
    return opened;
}

static int setup(void **state)
{
    struct err err;

    snprintf(folder, sizeof(folder), "/tmp/vling-test-storage-XXXXXX");
    assert_non_null(mkdtemp(folder));
    uv_loop_init(&loop);
    driver = open_at(folder, &err);
    assert_non_null(driver);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    ops->close(driver);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

/* How many files, hidden ones too. */
static size_t count(const char *name)
{
    DIR *dir = opendir(below(name));
    struct dirent *entry;
    size_t n = 0;

    while (dir && (entry = readdir(dir)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return n;
}

/* Bytes that tell where they are, with a hole in the middle. */
static char *content(void)
{
    char *bytes = calloc(1, IMAGE_SIZE);

    for (size_t i = 0; i < IMAGE_SIZE; i++) {
        if (i < 1024 * 1024 || i > 2 * 1024 * 1024)
            bytes[i] = (char)(i * 31 >> 3);
    }
    return bytes;
}

static void upload(const char *id)
{
    struct err err;
    struct storage_upload *u = ops->upload_begin(driver, id, &err);
    char *bytes = content();

    assert_non_null(u);
    for (size_t at = 0; at < IMAGE_SIZE; at += 100000)
        assert_int_equal(
            ops->upload_write(u, bytes + at, at + 100000 < IMAGE_SIZE ? 100000 : IMAGE_SIZE - at),
            0);
    assert_int_equal(ops->upload_commit(u, &err), 0);
    free(bytes);
}

struct outcome {
    int rc;
    struct err err;
};

static void on_done(void *arg, int rc, const struct err *err)
{
    struct outcome *outcome = arg;

    outcome->rc = rc;
    if (rc < 0)
        outcome->err = *err;
}

static struct outcome create(const char *server, const char *image, const char *format, int64_t gb)
{
    struct outcome outcome = {.rc = 1};

    ops->disk_create(driver, server, image, format, gb, on_done, &outcome);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_not_equal(outcome.rc, 1);
    return outcome;
}

/* ---- images ---- */

static void test_an_image_is_there_after_commit_only(void **state)
{
    struct err err;
    struct storage_upload *u = ops->upload_begin(driver, "image", &err);
    uint64_t size = 0;
    char head[4];
    int fd = -1;

    assert_non_null(u);
    assert_int_equal(ops->upload_write(u, "abcd", 4), 0);
    assert_int_equal(ops->image_open(driver, "image", &fd, &size, &err), -ENOENT);
    assert_int_equal(ops->upload_commit(u, &err), 0);
    assert_int_equal(ops->image_open(driver, "image", &fd, &size, &err), 0);
    assert_int_equal(size, 4);
    assert_int_equal(read(fd, head, 4), 4);
    assert_memory_equal(head, "abcd", 4);
    close(fd);
    assert_int_equal(ops->image_delete(driver, "image"), 0);
    assert_int_equal(ops->image_delete(driver, "image"), -ENOENT);
    assert_int_equal(count("images"), 0);
}

static void test_an_aborted_upload_leaves_nothing(void **state)
{
    struct err err;
    struct storage_upload *u = ops->upload_begin(driver, "image", &err);

    assert_int_equal(ops->upload_write(u, "abcd", 4), 0);
    ops->upload_abort(u);
    assert_int_equal(count("images"), 0);
}

static void test_ids_are_no_paths(void **state)
{
    static const char *const bad[] = {
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        ".hidden",
        "a\nb",
        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    struct err err;
    uint64_t size;
    int fd;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(ops->upload_begin(driver, bad[i], &err));
        assert_true(ops->image_open(driver, bad[i], &fd, &size, &err) < 0);
        assert_true(ops->image_delete(driver, bad[i]) < 0);
        assert_int_equal(create(bad[i], "image", "raw", 1).rc, -EINVAL);
        assert_int_equal(create("server", bad[i], "raw", 1).rc, -EINVAL);
        assert_true(ops->disk_delete(driver, bad[i]) < 0);
    }
    assert_int_equal(count("images"), 0);
    assert_int_equal(count("disks"), 0);
}

/* ---- what is there ---- */

#define OLD "11111111-2222-4333-8444-555555555555"
#define YOUNG "22222222-2222-4333-8444-555555555555"
#define REST "33333333-2222-4333-8444-555555555555"

static void write_file(const char *name, int64_t age)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    int fd = open(below(name), O_WRONLY | O_CREAT, 0600);

    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void expect_listed(int64_t age, const char *const *ids, size_t n)
{
    json_t *list = ops->image_list(driver, age), *one;
    size_t i;

    assert_int_equal(json_array_size(list), n);
    json_array_foreach(list, i, one)
    {
        bool known = false;

        for (size_t k = 0; k < n; k++)
            known |= strcmp(ids[k], json_string_value(one)) == 0;
        assert_true(known);
    }
    json_decref(list);
}

static void test_only_old_images_are_listed(void **state)
{
    static const char *const ids[] = {OLD, REST, YOUNG};

    write_file("images/" OLD, 7200);
    write_file("images/" REST ".sum", 7200);
    write_file("images/" YOUNG, 10);
    write_file("images/.upload-" OLD ".x", 7200);
    write_file("images/" OLD ".bak", 7200);
    write_file("images/notes", 7200);
    assert_int_equal(mkdir(below("images/44444444-2222-4333-8444-555555555555"), 0700), 0);
    expect_listed(3600, ids, 2);
    expect_listed(0, ids, 3);
    expect_listed(86400, ids, 0);
}

/* ---- disks ---- */

static void test_what_a_killed_maker_left_goes_with_the_next(void **state)
{
    int fd;

    upload("image");
    assert_int_equal(mkdir(below("disks/server"), 0711), 0);
    fd = open(below("disks/server/.root.0123"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "half", 4), 4);
    close(fd);
    assert_int_equal(create("server", "image", "raw", 0).rc, 0);
    assert_int_equal(count("disks/server"), 1);
}

static void test_a_disk_has_the_images_bytes_and_the_flavors_size(void **state)
{
    char *bytes = content(), *read_back = malloc(IMAGE_SIZE), found[256], format[16];
    struct stat st;
    int fd;

    upload("image");
    assert_int_equal(create("server", "image", "raw", 1).rc, 0);
    assert_int_equal(
        ops->disk_locate(driver, "server", found, sizeof(found), format, sizeof(format)), 0);
    assert_string_equal(format, "raw");
    fd = open(found, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 1LL << 30);
    assert_true((int64_t)st.st_blocks * 512 < IMAGE_SIZE); /* holes stay holes */
    assert_int_equal(read(fd, read_back, IMAGE_SIZE), IMAGE_SIZE);
    assert_memory_equal(read_back, bytes, IMAGE_SIZE);
    close(fd);
    free(bytes);
    free(read_back);
    assert_int_equal(ops->disk_delete(driver, "server"), 0);
    assert_int_equal(
        ops->disk_locate(driver, "server", found, sizeof(found), format, sizeof(format)), -ENOENT);
    assert_int_equal(count("disks"), 0);
}

/* What a guest wrote must survive a second start, with or without the image. */
static void test_a_disk_that_is_there_is_left_alone(void **state)
{
    char found[256], format[16], byte = 0;
    int fd;

    upload("image");
    assert_int_equal(create("server", "image", "raw", 1).rc, 0);
    ops->disk_locate(driver, "server", found, sizeof(found), format, sizeof(format));
    fd = open(found, O_RDWR);
    assert_int_equal(pwrite(fd, "!", 1, 5), 1);
    assert_int_equal(create("server", "image", "raw", 1).rc, 0);
    assert_int_equal(ops->image_delete(driver, "image"), 0);
    assert_int_equal(create("server", "image", "raw", 1).rc, 0);
    assert_int_equal(pread(fd, &byte, 1, 5), 1);
    assert_int_equal(byte, '!');
    close(fd);
}

static void test_a_damaged_image_is_refused(void **state)
{
    struct outcome outcome;
    int fd;

    upload("image");
    fd = open(below("images/image"), O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 100), 1);
    close(fd);
    outcome = create("server", "image", "raw", 1);
    assert_int_equal(outcome.rc, -EBADMSG);
    assert_non_null(strstr(outcome.err.why, "checksum"));
    assert_int_equal(count("disks/server"), 0);
}

static void test_what_cannot_be_made_says_why(void **state)
{
    struct outcome outcome = create("server", "nowhere", "raw", 1);
    struct err err;

    assert_int_equal(outcome.rc, -ENOENT);
    assert_non_null(strstr(outcome.err.why, "nowhere"));
    assert_int_equal(count("disks/server"), 0);
    assert_int_equal(ops->disk_delete(driver, "server"), 0);
    assert_null(open_at("/dev/null/storage", &err));
    assert_true(err.why[0] != '\0');
}

/* ---- a full disk ---- */

static void fill(void)
{
    struct err err;
    struct storage_driver *small = open_at(folder, &err);
    struct storage_upload *u = ops->upload_begin(small, "image", &err);
    char *bytes = content();
    int rc = 0;

    assert_non_null(u);
    for (int i = 0; i < 8 && rc == 0; i++)
        rc = ops->upload_write(u, bytes, IMAGE_SIZE);
    assert_int_equal(rc, -ENOSPC);
    ops->upload_abort(u);
    assert_int_equal(count("images"), 0);
    u = ops->upload_begin(small, "image", &err);
    assert_int_equal(ops->upload_write(u, bytes, IMAGE_SIZE), 0);
    assert_int_equal(ops->upload_commit(u, &err), 0);
    assert_int_equal(ops->upload_write(u = ops->upload_begin(small, "other", &err), bytes, 2500000),
                     0);
    ops->close(driver);
    driver = small;
    assert_int_equal(create("server", "image", "raw", 1).rc, -ENOSPC);
    assert_int_equal(count("disks/server"), 0);
    ops->upload_abort(u);
    assert_int_equal(create("server", "image", "raw", 1).rc, 0);
    free(bytes);
}

/* In a process of its own, whose mount nobody else sees. */
static void test_a_full_disk_leaves_nothing_half_done(void **state)
{
    int status;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", folder, "tmpfs", 0, "size=6m") < 0)
            _exit(77);
        uv_loop_fork(&loop);
        fill();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* mounting is not allowed here */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- many at a time ---- */

#define COPIES 8

static int finished;

static void on_finished(void *arg, int rc, const struct err *err)
{
    finished++;
}

static void work_nothing(uv_work_t *work)
{
}

static void on_worked(uv_work_t *work, int status)
{
    *(bool *)work->data = true;
}

static void on_stuck(uv_timer_t *timer)
{
    uv_stop(&loop);
}

/* An image that is a pipe without a writer: each copy of it waits, as on a slow disk. */
static void test_copies_leave_threads_for_others(void **state)
{
    static bool worked[2];
    uv_work_t work[2];
    static uv_timer_t stuck;
    char id[16];
    int fd;

    finished = 0;
    assert_int_equal(mkfifo(below("images/slow"), 0600), 0);
    for (int i = 0; i < COPIES; i++) {
        snprintf(id, sizeof(id), "server%d", i);
        ops->disk_create(driver, id, "slow", "raw", 0, on_finished, NULL);
    }
    uv_timer_init(&loop, &stuck);
    uv_timer_start(&stuck, on_stuck, 10000, 0);
    for (int i = 0; i < 2; i++) {
        worked[i] = false;
        work[i].data = &worked[i];
        assert_int_equal(uv_queue_work(&loop, &work[i], work_nothing, on_worked), 0);
    }
    while (!(worked[0] && worked[1]) && uv_is_active((uv_handle_t *)&stuck))
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(worked[0] && worked[1]);
    assert_int_equal(finished, 0);
    /* Those that wait in the pipe read its end; for the others there is no image any more. */
    fd = open(below("images/slow"), O_RDWR);
    assert_true(fd >= 0);
    unlink(below("images/slow"));
    close(fd);
    while (finished < COPIES && uv_is_active((uv_handle_t *)&stuck))
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(finished, COPIES);
    uv_close((uv_handle_t *)&stuck, NULL);
}

static void test_disks_are_listed_when_they_are_old(void **state)
{
    json_t *ids;

    assert_int_equal(mkdir(below("disks/11111111-2222-4333-8444-555555555555"), 0700), 0);
    assert_int_equal(mkdir(below("disks/lost+found"), 0700), 0);
    ids = ops->disk_list(driver, 3600);
    assert_int_equal(json_array_size(ids), 0);
    json_decref(ids);
    ids = ops->disk_list(driver, 0);
    assert_int_equal(json_array_size(ids), 1);
    json_decref(ids);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_an_image_is_there_after_commit_only),
        TEST(test_an_aborted_upload_leaves_nothing),
        TEST(test_ids_are_no_paths),
        TEST(test_only_old_images_are_listed),
        TEST(test_what_a_killed_maker_left_goes_with_the_next),
        TEST(test_a_disk_has_the_images_bytes_and_the_flavors_size),
        TEST(test_a_disk_that_is_there_is_left_alone),
        TEST(test_a_damaged_image_is_refused),
        TEST(test_what_cannot_be_made_says_why),
        TEST(test_a_full_disk_leaves_nothing_half_done),
        TEST(test_copies_leave_threads_for_others),
        TEST(test_disks_are_listed_when_they_are_old),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
