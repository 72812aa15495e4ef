/* The store of one controller and its file: damage is refused, a full disk and a kill lose nothing
 * that was acknowledged, nobody else may read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite_world.h"

#include "base/file.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* ---- who may read it ---- */

static unsigned mode_of(struct world *w, const char *ending)
{
    struct stat stat_now;
    char path[120];

    snprintf(path, sizeof(path), "%s%s", w->path, ending);
    assert_int_equal(stat(path, &stat_now), 0);
    return stat_now.st_mode & 07777;
}

static void it_is_private(void **state)
{
    struct world *w = *state;
    mode_t mask = umask(0022);

    open_it(w);
    fill(w, 1);
    assert_int_equal(mode_of(w, ""), 0600);
    assert_int_equal(mode_of(w, "-wal"), 0600);
    shut(w);
    /* An older release left it open to all. */
    assert_int_equal(chmod(w->path, 0644), 0);
    open_it(w);
    fill(w, 1);
    assert_int_equal(mode_of(w, ""), 0600);
    assert_int_equal(mode_of(w, "-wal"), 0600);
    umask(mask);
}

/* ---- damage ---- */

static void a_good_file_is_taken(void **state)
{
    struct world *w = *state;

    open_it(w);
    fill(w, MANY);
    shut(w);
    open_it(w);
    read_all(w);
    assert_int_equal(json_object_size(w->rows), MANY);
}

static void a_damaged_header_is_refused(void **state)
{
    struct world *w = *state;

    open_it(w);
    fill(w, 100);
    shut(w);
    overwrite(w->path, 0, "no SQLite file at all", 21, NULL);
    expect_refused(w, "damaged", "not a database");
}

static void half_a_file_is_refused(void **state)
{
    struct world *w = *state;

    open_it(w);
    fill(w, MANY);
    shut(w);
    assert_int_equal(truncate(w->path, size_of(w->path) / 2 / PAGE * PAGE), 0);
    expect_refused(w, "damaged", "");
}

static void damaged_pages_are_refused(void **state)
{
    struct world *w = *state;
    char noise[3 * PAGE];

    open_it(w);
    fill(w, MANY);
    shut(w);
    memset(noise, 0x5a, sizeof(noise));
    overwrite(w->path, size_of(w->path) / 2 / PAGE * PAGE, noise, sizeof(noise), NULL);
    expect_refused(w, "damaged", "");
}

static void a_damaged_row_is_refused(void **state)
{
    static const struct {
        const char *sql, *why;
    } damages[] = {
        {"UPDATE row SET body = substr(body, 2) WHERE id = 'r000007'", "cannot be read"},
        {"UPDATE row SET body = '[1]' WHERE id = 'r000007'", "cannot be read"},
        {"UPDATE row SET body = '{\"a\": \"\x01\"}' WHERE id = 'r000007'", "cannot be read"},
        {"UPDATE row SET rev = -1 WHERE id = 'r000007'", "cannot be read"},
        {"UPDATE row SET rev = 1000 WHERE id = 'r000007'", "is not what was written"},
    };
    struct world *w = *state;
    char why[80];

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        open_it(w);
        fill(w, 20);
        shut(w);
        harm(w, damages[i].sql);
        snprintf(why, sizeof(why), "the row host r000007 %s", damages[i].why);
        expect_refused(w, "damaged", why);
        unlink(w->path);
    }
}

static void a_lost_revision_is_refused(void **state)
{
    struct world *w = *state;

    open_it(w);
    fill(w, 20);
    shut(w);
    harm(w, "UPDATE meta SET revision = 0");
    expect_refused(w, "damaged", "no revision");
}

static void a_file_in_use_is_not_damaged(void **state)
{
    struct world *w = *state;
    int ready[2], status;
    pid_t pid;
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid = fork(); /* locks of files are a process's own */
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        open_it(w);
        status = (int)write(ready[1], "x", 1);
        pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    expect_refused(w, "cannot open", "in use");
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    open_it(w);
    close(ready[0]);
    close(ready[1]);
}

/* ---- a load that fails ---- */

static size_t lines_of(const char *path, const char *with)
{
    char *text, *line, *rest;
    size_t n = 0;

    assert_int_equal(file_read(path, 64 * 1024 * 1024, &text, NULL), 0);
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        n += strstr(line, with) != NULL;
    free(text);
    return n;
}

/* The disk gets damaged after the file was opened: nothing is told to the watcher, the log does not
 * fill the disk, and when it can be read again all is there. */
static void a_failing_load_is_repeated_in_peace(void **state)
{
    struct world *w = *state;
    static char noise[64 * PAGE], before[64 * PAGE];
    bool never = false;
    char log[96];
    int fd, real = dup(STDERR_FILENO);
    int64_t began, took;
    size_t said;
    off_t at;

    open_it(w);
    fill(w, MANY);
    shut(w);
    open_it(w);
    at = size_of(w->path) / 4 / PAGE * PAGE;
    memset(noise, 0x5a, sizeof(noise));
    overwrite(w->path, at, noise, sizeof(noise), before);
    snprintf(log, sizeof(log), "%s/log", w->dir);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDERR_FILENO);
    began = clock_now_ms();
    watch(w);
    do {
        run_while(w, &never, 500);
        took = clock_now_ms() - began;
        said = lines_of(log, "cannot read");
    } while (took < 2500 || (said < 2 && took < WAIT_MS));
    dup2(real, STDERR_FILENO);
    close(real);
    close(fd);
    if (said < 2 || (int64_t)said > took / 1000 + 1)
        fail_msg("said %zu times in %lld ms", said, (long long)took);
    assert_int_equal(w->resets, 0);
    overwrite(w->path, at, before, sizeof(before), NULL);
    while (w->resets == 0 && clock_now_ms() - began < 3 * WAIT_MS)
        run_while(w, &never, 100);
    assert_int_equal(w->resets, 1);
    assert_int_equal(json_object_size(w->rows), MANY);
}

/* ---- killed under load ---- */

#define IN_FLIGHT 64
#define KILLS 6

struct writer {
    struct world *w;
    int fd, next;
};

struct writing {
    struct writer *writer;
    int number;
};

static void write_next(struct writer *writer);

static void on_written(void *arg, int rc, int64_t revision)
{
    struct writing *writing = arg;
    struct writer *writer = writing->writer;

    if (rc == 0 && write(writer->fd, &writing->number, sizeof(int)) != sizeof(int))
        _exit(1);
    free(writing);
    write_next(writer);
}

static void write_next(struct writer *writer)
{
    struct writing *writing = malloc(sizeof(*writing));
    struct store_txn *txn = store_txn_new();

    writing->writer = writer;
    writing->number = writer->next++;
    put(txn, writing->number, 200);
    store_commit(writer->w->store, txn, WAIT_MS, on_written, writing);
}

/* In the child: writes for ever and says in the pipe what was acknowledged. */
static void write_for_ever(struct world *w, int fd, int first)
{
    struct writer writer = {.w = w, .fd = fd, .next = first};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (uv_loop_fork(&w->loop) < 0)
        _exit(1);
    open_it(w);
    for (int i = 0; i < IN_FLIGHT; i++)
        write_next(&writer);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    _exit(1);
}

static void a_kill_loses_nothing_acknowledged(void **state)
{
    struct world *w = *state;
    int *acknowledged = calloc(1000000, sizeof(int)), count = 0, first = 0;

    for (int round = 0; round < KILLS; round++) {
        int pipes[2], number, status;
        pid_t pid;

        assert_int_equal(pipe(pipes), 0);
        pid = fork();
        if (pid == 0)
            write_for_ever(w, pipes[1], first);
        close(pipes[1]);
        /* At another moment each time, and always in the middle of it. */
        for (int k = 0; k < 30 + 73 * round; k++) {
            assert_int_equal(read(pipes[0], &number, sizeof(number)), sizeof(number));
            acknowledged[count++] = number;
        }
        kill(pid, SIGKILL);
        while (read(pipes[0], &number, sizeof(number)) == sizeof(number))
            acknowledged[count++] = number;
        close(pipes[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        open_it(w);
        w->resets = 0;
        read_all(w);
        shut(w);
        for (int i = 0; i < count; i++) {
            char id[16];

            snprintf(id, sizeof(id), "r%06d", acknowledged[i]);
            if (!json_object_get(w->rows, id))
                fail_msg("round %d: %s was acknowledged and is gone", round, id);
            first = acknowledged[i] >= first ? acknowledged[i] + 1 : first;
        }
    }
    print_message("%d acknowledged, all are there\n", count);
    free(acknowledged);
}

/* ---- a full disk, in a mount namespace of its own ---- */

/* The step that went wrong, 0: none, 77: this machine does not let us. */
static int fill_the_disk(struct world *w)
{
    static char big[4096];
    char filler[120];
    int rc = 0, fd, written = 0;
    struct store_txn *txn;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", w->dir, "tmpfs", 0, "size=1m,mode=0700") < 0)
        return 77;
    if (uv_loop_fork(&w->loop) < 0)
        return 1;
    open_it(w);
    watch(w);
    fill(w, 10);
    snprintf(filler, sizeof(filler), "%s/filler", w->dir);
    fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, big, sizeof(big)) == sizeof(big))
        written++;
    close(fd);
    for (int i = 0; i < 20 && rc == 0; i++) {
        txn = store_txn_new();
        put(txn, 1000 + i, 60 * 1024);
        rc = commit(w, txn);
    }
    if (rc != -ENOSPC)
        return 2;
    if (json_object_get(w->rows, "r001019"))
        return 3;
    rc = (int)json_object_size(w->rows);
    /* With space again it goes on, and what was refused is not there. */
    if (unlink(filler) < 0)
        return 4;
    txn = store_txn_new();
    put(txn, 2000, 60 * 1024);
    if (commit(w, txn) != 0)
        return 5;
    shut(w);
    open_it(w);
    w->resets = 0;
    read_all(w);
    if ((int)json_object_size(w->rows) != rc + 1 || !json_object_get(w->rows, "r002000"))
        return 6;
    shut(w);
    return 0;
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    struct world *w = *state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fill_the_disk(w));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no mount namespaces here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_is_private),
        T(a_good_file_is_taken),
        T(a_damaged_header_is_refused),
        T(half_a_file_is_refused),
        T(damaged_pages_are_refused),
        T(a_damaged_row_is_refused),
        T(a_lost_revision_is_refused),
        T(a_file_in_use_is_not_damaged),
        T(a_failing_load_is_repeated_in_peace),
        T(a_kill_loses_nothing_acknowledged),
        T(a_full_disk_refuses_and_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
