/* The guard's self-test: a child of our own is the guest, and the looks are taken at made-up times.
 */
#include "node/guard_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAKE_ID "5e1f7e57-0000-4000-8000-000000000001"
#define FAKE_NOW 1000000

struct self_test {
    char dir[64];
    char guests_dir[128], guest_dir[192], pid_file[224];
    pid_t child;
    int pipe[2];
    struct guard_process *process;
    struct guard_page *page;
};

/* A shell that waits for a line that never comes; its command line holds the id, from the moment on
 * at which the pipe `running` is closed by that. */
static int start_child(struct self_test *test)
{
    int running[2];
    FILE *file;
    char byte;

    if (pipe(test->pipe) < 0 || pipe2(running, O_CLOEXEC) < 0)
        return -errno;
    test->child = fork();
    if (test->child < 0)
        return -errno;
    if (test->child == 0) {
        dup2(test->pipe[0], 0);
        close(test->pipe[1]);
        execl("/bin/sh", "sh", "-c", "read line", FAKE_ID, (char *)NULL);
        _exit(127);
    }
    close(running[1]);
    while (read(running[0], &byte, 1) < 0 && errno == EINTR)
        continue;
    close(running[0]);
    file = fopen(test->pid_file, "we");
    if (!file)
        return -errno;
    fprintf(file, "%d\n", (int)test->child);
    return fclose(file) == 0 ? 0 : -errno;
}

static int set_up(struct self_test *test)
{
    int rc;

    snprintf(test->dir, sizeof(test->dir), "/tmp/vling-guard-test.XXXXXX");
    if (!mkdtemp(test->dir))
        return -errno;
    snprintf(test->guests_dir, sizeof(test->guests_dir), "%s/guests", test->dir);
    snprintf(test->guest_dir, sizeof(test->guest_dir), "%s/%s", test->guests_dir, FAKE_ID);
    snprintf(test->pid_file, sizeof(test->pid_file), "%s/pid", test->guest_dir);
    if (mkdir(test->guests_dir, 0700) < 0 || mkdir(test->guest_dir, 0700) < 0)
        return -errno;
    rc = start_child(test);
    if (rc < 0)
        return rc;
    rc = guard_page_open(test->dir, &test->page);
    if (rc < 0)
        return rc;
    test->process = guard_process_new(test->dir, &rc);
    return rc;
}

/* Does waitpid report what the signal should have done, within ten seconds of a busy machine? */
static bool child_became(struct self_test *test, int number)
{
    for (int i = 0; i < 2000; i++) {
        int status;

        if (waitpid(test->child, &status, WNOHANG | WUNTRACED | WCONTINUED) == test->child) {
            if (number == SIGKILL && WIFSIGNALED(status)) {
                test->child = 0;
                return WTERMSIG(status) == SIGKILL;
            }
            return number == SIGSTOP ? WIFSTOPPED(status)
                                     : number == SIGCONT && WIFCONTINUED(status);
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return false;
}

static void look(struct self_test *test, int64_t deadline, int64_t epoch, int64_t now)
{
    struct guard_wanted wanted = {.deadline_ms = deadline, .epoch = epoch};

    guard_page_write(test->page, &wanted);
    guard_process_look(test->process, now);
}

static int run(struct self_test *test, struct err *err)
{
    look(test, FAKE_NOW + 4000, 7, FAKE_NOW);
    look(test, FAKE_NOW + 4000, 7, FAKE_NOW + 4000);
    if (!child_became(test, SIGSTOP))
        return err_why(err, -EIO, "the guard does not work",
                       "a guest was not stopped at the deadline");
    look(test, FAKE_NOW + 9000, 7, FAKE_NOW + 5000);
    if (!child_became(test, SIGCONT))
        return err_why(err, -EIO, "the guard does not work",
                       "a guest was not resumed with its own epoch");
    look(test, FAKE_NOW + 9000, 8, FAKE_NOW + 5000);
    if (!child_became(test, SIGKILL))
        return err_why(err, -EIO, "the guard does not work",
                       "a guest was not destroyed after another epoch");
    return 0;
}

static void tear_down(struct self_test *test)
{
    char path[128];

    if (test->child > 0) {
        kill(test->child, SIGKILL);
        waitpid(test->child, NULL, 0);
    }
    if (test->pipe[1] > 0) {
        close(test->pipe[0]);
        close(test->pipe[1]);
    }
    guard_process_free(test->process);
    unlink(test->pid_file);
    rmdir(test->guest_dir);
    rmdir(test->guests_dir);
    snprintf(path, sizeof(path), "%s/guard.state", test->dir);
    unlink(path);
    rmdir(test->dir);
}

int guard_self_test(struct err *err)
{
    struct self_test test = {.pipe = {-1, -1}};
    int rc = set_up(&test);

    if (rc < 0)
        err_why(err, rc, "cannot prepare the guard's self-test", "%s", strerror(-rc));
    else
        rc = run(&test, err);
    tear_down(&test);
    return rc;
}
