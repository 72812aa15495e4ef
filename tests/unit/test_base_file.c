/* Whole small files: limits, and that a replaced file is old or new, also when the disk is full or
 * the writer is killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct folder {
    char path[64];
};

static int make_folder(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    snprintf(f->path, sizeof(f->path), "/tmp/vling-test-file-XXXXXX");
    *state = f;
    return mkdtemp(f->path) ? 0 : -1;
}

/* Two levels of folders, which is all that these tests make. */
static void empty_folder(const char *path, int levels)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char name[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (levels > 0)
            empty_folder(name, levels - 1);
        remove(name);
    }
    if (dir)
        closedir(dir);
}

static int remove_folder(void **state)
{
    struct folder *f = *state;
    int rc;

    empty_folder(f->path, 3);
    rc = rmdir(f->path);
    free(f);
    return rc;
}

/* A path in the folder; overwritten by the fourth call after it. */
static const char *in(const struct folder *f, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", f->path, name);
    return path;
}

static int entries_in(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void expect_content(const char *path, const char *text)
{
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_read(path, 4096, &data, &size), 0);
    assert_int_equal(size, strlen(text));
    assert_string_equal(data, text);
    free(data);
}

/* ---- reading ---- */

static void test_read_at_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 8191, 8192, 100000};
    static char bytes[100000];
    const char *path = in(*state, "f");

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 % 251); /* with zeros in it */
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *data = NULL;
        size_t size = 12345;

        assert_int_equal(file_write_atomic(path, bytes, sizes[i], 0600), 0);
        assert_int_equal(file_read(path, sizes[i], &data, &size), 0);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(data, bytes, size);
        assert_int_equal(data[size], 0);
        free(data);
        data = bytes;
        if (sizes[i] > 0) {
            assert_int_equal(file_read(path, sizes[i] - 1, &data, &size), -EFBIG);
            assert_ptr_equal(data, bytes); /* untouched on failure */
            assert_int_equal(size, sizes[i]);
        }
    }
}

static void test_read_failures(void **state)
{
    struct folder *f = *state;
    char *data = NULL;

    assert_int_equal(file_read(in(f, "missing"), 100, &data, NULL), -ENOENT);
    assert_int_equal(file_read(in(f, "missing/f"), 100, &data, NULL), -ENOENT);
    assert_int_equal(file_read(f->path, 100, &data, NULL), -EISDIR);
    assert_int_equal(file_write_atomic(in(f, "f"), "x", 1, 0600), 0);
    assert_int_equal(file_read(in(f, "f/g"), 100, &data, NULL), -ENOTDIR);
    assert_null(data);
}

/* Files of the kernel say that they are empty, and one may not end at all. */
static void test_read_what_has_no_size(void **state)
{
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_read("/proc/self/stat", 65536, &data, &size), 0);
    assert_true(size > 10);
    assert_int_equal(strtol(data, NULL, 10), getpid());
    free(data);
    data = NULL;
    assert_int_equal(file_read("/dev/zero", 100000, &data, NULL), -EFBIG);
    assert_null(data);
    assert_int_equal(file_read("/dev/null", 0, &data, NULL), 0);
    assert_string_equal(data, "");
    free(data);
}

/* ---- replacing ---- */

static void test_write_replaces(void **state)
{
    struct folder *f = *state;
    const char *path = in(f, "f");
    mode_t mask = umask(022);
    struct stat st;

    assert_int_equal(file_write_atomic(path, "a long first text", 17, 0644), 0);
    expect_content(path, "a long first text");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(file_write_atomic(path, "short", 5, 0600), 0);
    expect_content(path, "short");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600); /* a secret does not keep the old mode */
    assert_int_equal(file_write_atomic(path, "", 0, 0600), 0);
    expect_content(path, "");
    assert_int_equal(entries_in(f->path), 1);
    umask(mask);
}

/* Who has the old file open goes on reading the old one. */
static void test_write_leaves_the_open_file_alone(void **state)
{
    const char *path = in(*state, "f");
    char bytes[8] = "";
    int fd;

    assert_int_equal(file_write_atomic(path, "old", 3, 0600), 0);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_write_atomic(path, "new", 3, 0600), 0);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 3);
    assert_string_equal(bytes, "old");
    close(fd);
    expect_content(path, "new");
}

static void test_write_failures(void **state)
{
    struct folder *f = *state;
    char long_name[PATH_MAX + 64];

    assert_int_equal(file_write_atomic(in(f, "missing/f"), "x", 1, 0600), -ENOENT);
    assert_int_equal(entries_in(f->path), 0);
    assert_int_equal(file_write_atomic(in(f, "f"), "x", 1, 0600), 0);
    assert_int_equal(file_write_atomic(in(f, "f/g"), "x", 1, 0600), -ENOTDIR);
    expect_content(in(f, "f"), "x");
    assert_int_equal(mkdir(in(f, "d"), 0700), 0);
    assert_int_equal(file_write_atomic(in(f, "d"), "x", 1, 0600), -EISDIR);
    assert_int_equal(entries_in(f->path), 2); /* f and d, nothing half-made */
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(file_write_atomic(long_name, "x", 1, 0600), -ENAMETOOLONG);
}

/* Without a folder in its name: the folder to be synced is the current one. */
static void test_write_relative(void **state)
{
    struct folder *f = *state;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(here >= 0);
    assert_int_equal(chdir(f->path), 0);
    assert_int_equal(file_write_atomic("f", "x", 1, 0600), 0);
    assert_int_equal(file_mkdirs("a/b", 0700), 0);
    assert_int_equal(fchdir(here), 0);
    close(here);
    expect_content(in(f, "f"), "x");
    assert_int_equal(entries_in(in(f, "a/b")), 0);
}

/* ---- a full disk, in a mount namespace of its own ---- */

#define BIG (1 << 20)

/* The step that went wrong, 0: none, 77: this machine does not let us. */
static int fill_the_disk(const char *folder)
{
    char path[PATH_MAX], filler[PATH_MAX], *data = NULL;
    static char big[BIG];
    size_t size = 0;
    int rc;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=128k,mode=0700") < 0)
        return 77;
    snprintf(path, sizeof(path), "%s/f", folder);
    snprintf(filler, sizeof(filler), "%s/filler", folder);
    memset(big, 'b', sizeof(big));
    if (file_write_atomic(path, "old", 3, 0600) != 0)
        return 1;
    if (file_write_atomic(path, big, sizeof(big), 0600) != -ENOSPC)
        return 2;
    if (file_read(path, 100, &data, &size) != 0 || size != 3 || memcmp(data, "old", 3) != 0)
        return 3;
    if (entries_in(folder) != 1)
        return 4; /* what was written in part would keep the disk full */
    if (file_write_atomic(filler, big, 100 * 1024, 0600) != 0)
        return 5;
    if (file_write_atomic(path, big, 64 * 1024, 0600) != -ENOSPC || entries_in(folder) != 2)
        return 6;
    rc = unlink(filler);
    if (rc < 0 || file_write_atomic(path, big, 64 * 1024, 0600) != 0)
        return 7;
    free(data);
    if (mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, "size=128k,mode=0700") < 0)
        return 8;
    if (file_write_atomic(path, "new", 3, 0600) != -EROFS)
        return 9;
    data = NULL;
    if (file_read(path, BIG, &data, &size) != 0 || size != 64 * 1024 || data[0] != 'b')
        return 10;
    free(data);
    return 0;
}

static void test_a_full_disk_keeps_the_old_file(void **state)
{
    struct folder *f = *state;
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(fill_the_disk(f->path));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip(); /* no right to mount here */
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(entries_in(f->path), 0); /* the mount was the child's alone */
}

/* ---- a writer that is killed ---- */

static void write_for_ever(const char *path, int ready)
{
    static char bytes[40000];

    /* Bounded all the same, should nobody kill it. */
    for (unsigned i = 0; i < 1000000; i++) {
        size_t size = i % 2 ? sizeof(bytes) : sizeof(bytes) / 7;

        memset(bytes, i % 2 ? 'l' : 's', size);
        if (file_write_atomic(path, bytes, size, 0600) != 0)
            _exit(1);
        if (i == 0 && write(ready, "x", 1) != 1)
            _exit(1);
    }
    _exit(1);
}

/* All of the short or all of the long content. */
static void expect_whole(const char *path)
{
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_read(path, 100000, &data, &size), 0);
    assert_true(size == 40000 || size == 40000 / 7);
    for (size_t i = 0; i < size; i++) {
        if (data[i] != (size == 40000 ? 'l' : 's'))
            fail_msg("byte %zu of %zu is %d", i, size, data[i]);
    }
    free(data);
}

static void test_readers_and_a_killed_writer(void **state)
{
    const char *path = in(*state, "f");

    for (int round = 0; round < 8; round++) {
        int ends[2], status = 0;
        char byte;
        pid_t child;

        assert_int_equal(pipe(ends), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            write_for_ever(path, ends[1]);
        close(ends[1]);
        assert_int_equal(read(ends[0], &byte, 1), 1);
        close(ends[0]);
        for (int i = 0; i < 10 + round * 7; i++)
            expect_whole(path);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it wrote until it was killed */
        expect_whole(path);
    }
}

/* ---- folders ---- */

static void test_mkdirs(void **state)
{
    struct folder *f = *state;
    mode_t mask = umask(022);
    struct stat st;

    assert_int_equal(file_mkdirs(in(f, "a/b/c"), 0750), 0);
    assert_int_equal(stat(in(f, "a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(stat(in(f, "a/b/c"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(file_mkdirs(in(f, "a/b/c"), 0700), 0);
    assert_int_equal(stat(in(f, "a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750); /* what is there stays as it is */
    assert_int_equal(file_mkdirs(in(f, "a//d/"), 0700), 0);
    assert_int_equal(stat(in(f, "a/d"), &st), 0);
    assert_int_equal(file_mkdirs("/", 0700), 0);
    assert_int_equal(file_mkdirs(f->path, 0700), 0);
    umask(mask);
}

static void test_mkdirs_failures(void **state)
{
    struct folder *f = *state;
    char long_name[PATH_MAX + 1];

    assert_int_equal(file_write_atomic(in(f, "file"), "x", 1, 0600), 0);
    assert_int_equal(file_mkdirs(in(f, "file"), 0700), -ENOTDIR);
    assert_int_equal(file_mkdirs(in(f, "file/a"), 0700), -ENOTDIR);
    assert_int_equal(file_mkdirs(in(f, "file/a/b"), 0700), -ENOTDIR);
    expect_content(in(f, "file"), "x");
    assert_int_equal(symlink("file", in(f, "link")), 0);
    assert_int_equal(file_mkdirs(in(f, "link"), 0700), -ENOTDIR);
    assert_int_equal(symlink(".", in(f, "here")), 0);
    assert_int_equal(file_mkdirs(in(f, "here/a"), 0700), 0);
    assert_int_equal(file_mkdirs(in(f, "here"), 0700), 0);
    assert_int_equal(entries_in(in(f, "a")), 0);
    assert_int_equal(file_mkdirs("", 0700), -ENOENT);
    memset(long_name, '/', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(file_mkdirs(long_name, 0700), -ENAMETOOLONG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_read_at_every_size),
        TEST(test_read_failures),
        TEST(test_read_what_has_no_size),
        TEST(test_write_replaces),
        TEST(test_write_leaves_the_open_file_alone),
        TEST(test_write_failures),
        TEST(test_write_relative),
        TEST(test_a_full_disk_keeps_the_old_file),
        TEST(test_readers_and_a_killed_writer),
        TEST(test_mkdirs),
        TEST(test_mkdirs_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
