/* Two halves meet in one shared page: vlingd's writer at the top, the guard process below.
 *
 * The page has two parts. `wanted` is written by vlingd only, inside a sequence counter (odd while
 * being written); `status` is written by the guard only, one aligned word at a time. */
#include "node/guard.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/guard_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long a new guard may take until it watches. */
#define START_WAIT_MS 3000

struct guard {
    struct guard_page *page;
    struct guard_wanted wanted; /* what we wrote last */
};

int guard_page_open(const char *run_dir, struct guard_page **ret)
{
    char path[GUARD_PATH_MAX];
    struct guard_page *page;
    int fd, rc = 0;

    if (snprintf(path, sizeof(path), "%s/guard.state", run_dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, sizeof(struct guard_page)) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        rc = -errno;
    close(fd);
    if (rc == 0)
        *ret = page;
    return rc;
}

/* ---- the sequence counter ---- */

void guard_page_write(struct guard_page *page, const struct guard_wanted *wanted)
{
    /* An odd number was left by a writer that died in the middle: go on from there. */
    uint32_t sequence = __atomic_load_n(&page->sequence, __ATOMIC_RELAXED) | 1;

    __atomic_store_n(&page->sequence, sequence, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    memcpy(&page->wanted, wanted, sizeof(*wanted));
    page->magic = GUARD_MAGIC;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&page->sequence, sequence + 1, __ATOMIC_RELEASE);
}

bool guard_page_read(const struct guard_page *page, struct guard_wanted *ret)
{
    for (int i = 0; i < 100; i++) {
        uint32_t before = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
        struct guard_wanted copy;

        if (before & 1)
            continue;
        memcpy(&copy, (const void *)&page->wanted, sizeof(copy));
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE) != before)
            continue;
        if (page->magic != GUARD_MAGIC || copy.address_count > GUARD_ADDRESSES_MAX)
            return false;
        *ret = copy;
        return true;
    }
    return false;
}

/* ---- vlingd's half ---- */

static bool lock_held(const char *run_dir)
{
    char path[GUARD_PATH_MAX];
    bool held;
    int fd;

    if (snprintf(path, sizeof(path), "%s/guard.lock", run_dir) >= (int)sizeof(path))
        return false;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    held = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

static int spawn(const char *run_dir, const char *program)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        execl(program, program, "--guard", run_dir, (char *)NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

struct guard *guard_start(const char *run_dir, const char *program, struct err *err)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    int rc;

    if (!guard) {
        err_why(err, -ENOMEM, "cannot start the guard", "out of memory");
        return NULL;
    }
    rc = guard_page_open(run_dir, &guard->page);
    if (rc < 0) {
        err_why(err, rc, "cannot open the guard's state", "%s/guard.state: %s", run_dir,
                strerror(-rc));
        free(guard);
        return NULL;
    }
    if (!guard_page_read(guard->page, &guard->wanted)) {
        memset(&guard->wanted, 0, sizeof(guard->wanted));
        guard_page_write(guard->page, &guard->wanted);
    }
    /* A released guard is on its way out: take the order back before a new one reads it. */
    if (guard->wanted.order == GUARD_ORDER_RELEASE) {
        guard->wanted.order = GUARD_ORDER_WATCH;
        guard->wanted.deadline_ms = 0;
        guard_page_write(guard->page, &guard->wanted);
    }
    rc = lock_held(run_dir) ? 0 : spawn(run_dir, program);
    if (rc < 0) {
        err_why(err, rc, "cannot start the guard", "%s --guard %s failed: %s", program, run_dir,
                strerror(-rc));
        guard_close(guard);
        return NULL;
    }
    return guard;
}

void guard_close(struct guard *guard)
{
    if (!guard)
        return;
    munmap(guard->page, sizeof(*guard->page));
    free(guard);
}

void guard_update(struct guard *guard, int64_t deadline_ms, int64_t epoch)
{
    if (!guard)
        return;
    guard->wanted.deadline_ms = deadline_ms;
    guard->wanted.epoch = epoch;
    guard->wanted.order = GUARD_ORDER_WATCH;
    guard_page_write(guard->page, &guard->wanted);
}

void guard_alive(struct guard *guard)
{
    if (!guard)
        return;
    guard->wanted.turns++;
    guard_page_write(guard->page, &guard->wanted);
}

void guard_set_addresses(struct guard *guard, const struct guard_address *addresses, size_t count)
{
    if (!guard)
        return;
    if (count > GUARD_ADDRESSES_MAX)
        count = GUARD_ADDRESSES_MAX;
    memset(guard->wanted.addresses, 0, sizeof(guard->wanted.addresses));
    if (count > 0)
        memcpy(guard->wanted.addresses, addresses, count * sizeof(*addresses));
    guard->wanted.address_count = (uint32_t)count;
    guard_page_write(guard->page, &guard->wanted);
}

void guard_set_external(struct guard *guard, const char *dev)
{
    if (!guard)
        return;
    memset(guard->wanted.external, 0, sizeof(guard->wanted.external));
    snprintf(guard->wanted.external, sizeof(guard->wanted.external), "%s", dev);
    guard_page_write(guard->page, &guard->wanted);
}

void guard_destroy_guests(struct guard *guard)
{
    if (!guard)
        return;
    guard->wanted.order = GUARD_ORDER_DESTROY;
    guard_page_write(guard->page, &guard->wanted);
}

void guard_release(struct guard *guard)
{
    if (!guard)
        return;
    guard->wanted.order = GUARD_ORDER_RELEASE;
    guard_page_write(guard->page, &guard->wanted);
}

bool guard_running(const struct guard *guard)
{
    struct guard_status status;

    return guard && guard_status(guard, &status) == 0 &&
           clock_now_ms() - status.last_look_ms < START_WAIT_MS;
}

int guard_status(const struct guard *guard, struct guard_status *ret)
{
    const struct guard_report *report;
    struct guard_wanted wanted;

    if (!guard)
        return -ENODEV;
    report = &guard->page->report;
    if (!guard_page_read(guard->page, &wanted) || report->pid == 0)
        return -ENODATA;
    *ret = (struct guard_status){
        .pid = __atomic_load_n(&report->pid, __ATOMIC_RELAXED),
        .phase = __atomic_load_n(&report->phase, __ATOMIC_RELAXED),
        .deadline_ms = wanted.deadline_ms,
        .epoch = wanted.epoch,
        .last_look_ms = __atomic_load_n(&report->last_look_ms, __ATOMIC_RELAXED),
        .stops = __atomic_load_n(&report->stops, __ATOMIC_RELAXED),
        .resumes = __atomic_load_n(&report->resumes, __ATOMIC_RELAXED),
        .kills = __atomic_load_n(&report->kills, __ATOMIC_RELAXED),
        .realtime = report->realtime != 0,
        .locked = report->locked != 0,
    };
    return 0;
}

/* ---- starting the process ---- */

/* Writes one byte to `ready_fd` once it watches; never returns. */
static void become_guard(const char *run_dir, int lock_fd, int ready_fd)
{
    struct guard_process *process;
    int null_fd = open("/dev/null", O_RDWR), rc;

    setsid();
    if (chdir("/") < 0 || null_fd < 0)
        _exit(1);
    dup2(null_fd, 0);
    dup2(null_fd, 1);
    process = guard_process_new(run_dir, &rc);
    if (!process)
        _exit(1);
    guard_process_harden(process);
    if (write(ready_fd, "1", 1) != 1)
        _exit(1);
    close(ready_fd);
    for (;;) {
        if (!guard_process_look(process, clock_now_ms()))
            break;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = GUARD_LOOK_MS * 1000000L},
                        NULL);
    }
    close(lock_fd);
    _exit(0);
}

static int take_lock(const char *run_dir)
{
    char path[GUARD_PATH_MAX];
    int fd, rc;

    if (snprintf(path, sizeof(path), "%s/guard.lock", run_dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    rc = errno == EWOULDBLOCK ? -EALREADY : -errno;
    close(fd);
    return rc;
}

/* No descriptor of the daemon may live on in the guard: it would keep its sockets open. */
static void close_others(int kept)
{
    long limit = sysconf(_SC_OPEN_MAX);

    if (limit < 0 || limit > 65536)
        limit = 65536;
    for (int fd = 3; fd < limit; fd++) {
        if (fd != kept)
            close(fd);
    }
}

int guard_main(const char *run_dir)
{
    int lock_fd = take_lock(run_dir), ready[2], status;
    char byte;
    pid_t pid;

    if (lock_fd == -EALREADY)
        return 0;
    if (lock_fd < 0)
        return 1;
    close_others(lock_fd);
    if (pipe2(ready, O_CLOEXEC) < 0)
        return 1;
    pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0) {
        close(ready[0]);
        pid = fork();
        if (pid == 0)
            become_guard(run_dir, lock_fd, ready[1]);
        _exit(pid < 0 ? 1 : 0);
    }
    close(ready[1]);
    close(lock_fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    status = read(ready[0], &byte, 1) == 1 ? 0 : 1;
    close(ready[0]);
    return status;
}
