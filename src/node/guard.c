/* Two halves meet in one shared page: vlingd's writer at the top, the guard process below.
 *
 * The page has two parts. What is wanted is written by vlingd only, into two copies by turns, so
 * that one of them is whole at every moment; `report` is written by the guard only, one aligned
 * word at a time. */
#include "node/guard.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/guard_process.h"
#include "node/lease_note.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A guard that did not look for so long is hung: forty looks are missing. What it would have had to
 * do in that time is still ahead, since vlingd renews a lease of 4 s. */
#define SILENT_MS 1000
/* How long a killed one may take until its lock is free. */
#define KILL_WAIT_MS 500

struct guard {
    struct guard_page *page;
    struct guard_wanted wanted; /* what we wrote last */
    char run_dir[GUARD_PATH_MAX];
    struct guard_process *stand_in; /* vlingd's own eyes while no guard looks */
    bool undying;                   /* the hung one was waited for once, in vain */
};

bool guard_has_guests(const char *run_dir)
{
    char path[GUARD_PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *folder;

    snprintf(path, sizeof(path), "%s/guests", run_dir);
    folder = opendir(path);
    while (folder && !found && (entry = readdir(folder)))
        found = entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return found;
}

/* A page that was never written, or in the form of another version: nothing in it can be believed.
 * When the lease of guests that run here ends is not known then. It may have ended by now, so they
 * stop at the first look, until it is renewed: at once by the next daemon, which finds its lease in
 * a file of its own, or never if this host is cut off. To let them go on for a lease's time would
 * be too long for one whose lease was about to end. */
static void begin_page(struct guard_page *page, const char *run_dir)
{
    struct guard_wanted wanted = {.order = GUARD_ORDER_WATCH};
    int64_t lease;
    int32_t pid = 0;

    /* A guard of the version before still runs: it is replaced like one that hangs. */
    if (page->magic == GUARD_MAGIC_OLD)
        memcpy(&pid, (const char *)page + GUARD_OLD_PID_AT, sizeof(pid));
    memset(page, 0, sizeof(*page));
    page->report.pid = pid;
    if (guard_has_guests(run_dir)) {
        wanted.deadline_ms = clock_now_ms();
        lease_note_read(run_dir, &lease, &wanted.epoch);
        page->report.run_epoch = wanted.epoch;
        guard_page_write(page, &wanted);
    }
    page->magic = GUARD_MAGIC;
}

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
    if (rc < 0)
        return rc;
    if (page->magic != GUARD_MAGIC)
        begin_page(page, run_dir);
    *ret = page;
    return 0;
}

/* ---- the two copies ---- */

/* Index of the newest whole copy as of now, or -1. */
static int newest(const struct guard_page *page, uint32_t *ret_number)
{
    int found = -1;

    for (int i = 0; i < 2; i++) {
        uint32_t ended = __atomic_load_n(&page->copies[i].ended, __ATOMIC_ACQUIRE);

        if (ended == 0 || __atomic_load_n(&page->copies[i].begun, __ATOMIC_ACQUIRE) != ended)
            continue;
        /* Numbers go round; the two are never far apart. */
        if (found >= 0 && (int32_t)(ended - *ret_number) < 0)
            continue;
        found = i;
        *ret_number = ended;
    }
    return found;
}

void guard_page_write(struct guard_page *page, const struct guard_wanted *wanted)
{
    uint32_t number = 0;
    int last = newest(page, &number);
    struct guard_copy *copy = &page->copies[last == 0];

    number = number + 1 ? number + 1 : 1;
    /* One that was torn with this same number must not look whole before it is. */
    __atomic_store_n(&copy->ended, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&copy->begun, number, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    memcpy(&copy->wanted, wanted, sizeof(*wanted));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&copy->ended, number, __ATOMIC_RELEASE);
}

bool guard_page_read(const struct guard_page *page, struct guard_wanted *ret)
{
    /* Again when vlingd wrote meanwhile, twice as of this copy: the other one is newer now. */
    for (int i = 0; i < 100; i++) {
        uint32_t number = 0;
        int at = newest(page, &number);
        struct guard_wanted copy;

        if (at < 0)
            return false;
        memcpy(&copy, (const void *)&page->copies[at].wanted, sizeof(copy));
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(&page->copies[at].begun, __ATOMIC_ACQUIRE) != number)
            continue;
        if (copy.address_count > GUARD_ADDRESSES_MAX)
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

/* The process of the report, if it is the guard of `run_dir`; never a stranger that got its number.
 */
static int open_guard_process(const struct guard_page *page, const char *run_dir)
{
    pid_t pid = __atomic_load_n(&page->report.pid, __ATOMIC_RELAXED);
    char path[64], text[GUARD_PATH_MAX + 300];
    ssize_t got;
    int fd, file;

    if (pid <= 1 || pid == getpid())
        return -ESRCH;
    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    file = open(path, O_RDONLY | O_CLOEXEC);
    got = file < 0 ? -1 : read(file, text, sizeof(text));
    if (file >= 0)
        close(file);
    if (got > 0 && memmem(text, (size_t)got, "--guard", sizeof("--guard")) &&
        memmem(text, (size_t)got, run_dir, strlen(run_dir) + 1))
        return fd;
    close(fd);
    return -ESRCH;
}

static bool is_looking(const struct guard_page *page)
{
    pid_t pid = __atomic_load_n(&page->report.pid, __ATOMIC_RELAXED);
    int64_t ago = clock_now_ms() - __atomic_load_n(&page->report.last_look_ms, __ATOMIC_RELAXED);

    /* A look in the future was before a start of the machine. */
    return pid > 0 && ago < SILENT_MS && ago > -SILENT_MS && (kill(pid, 0) == 0 || errno == EPERM);
}

/* Makes room for a new guard: one that holds the lock and does not look (hung, or stopped by a
 * signal) would keep it for ever, and stops nobody. 0: the lock is free. */
static int kill_hung(struct guard *guard)
{
    int fd = open_guard_process(guard->page, guard->run_dir);

    if (fd >= 0) {
        log_warn("the guard (process %d) does not look any more: killing it",
                 (int)guard->page->report.pid);
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        close(fd);
    }
    for (int waited = 0; lock_held(guard->run_dir); waited += 5) {
        if (waited >= KILL_WAIT_MS || guard->undying) {
            guard->undying = true;
            return -EBUSY;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    guard->undying = false;
    return 0;
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

/* Finds one that looks, or starts one. */
static int ensure(struct guard *guard, const char *program)
{
    int rc = 0;

    if (lock_held(guard->run_dir)) {
        /* One that was started a moment ago looks before it says that it is ready. */
        if (is_looking(guard->page))
            return 0;
        rc = kill_hung(guard);
    }
    return rc < 0 ? rc : spawn(guard->run_dir, program);
}

struct guard *guard_start(const char *run_dir, const char *program, struct err *err)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    int rc;

    if (!guard) {
        err_why(err, -ENOMEM, "cannot start the guard", "out of memory");
        return NULL;
    }
    snprintf(guard->run_dir, sizeof(guard->run_dir), "%s", run_dir);
    rc = guard_page_open(run_dir, &guard->page);
    if (rc < 0) {
        err_why(err, rc, "cannot open the guard's state", "%s/guard.state: %s", run_dir,
                strerror(-rc));
        free(guard);
        return NULL;
    }
    if (!guard_page_read(guard->page, &guard->wanted))
        guard_page_write(guard->page, &guard->wanted);
    /* A released guard is on its way out: take the order back before a new one reads it. */
    if (guard->wanted.order == GUARD_ORDER_RELEASE) {
        guard->wanted.order = GUARD_ORDER_WATCH;
        guard->wanted.deadline_ms = 0;
        guard_page_write(guard->page, &guard->wanted);
    }
    if (guard_ensure(guard, program, err) == 0)
        return guard;
    guard_close(guard);
    return NULL;
}

int guard_ensure(struct guard *guard, const char *program, struct err *err)
{
    int rc = ensure(guard, program);

    if (rc == 0) {
        guard_process_free(guard->stand_in);
        guard->stand_in = NULL;
        return 0;
    }
    return err_why(err, rc, "cannot start the guard",
                   rc == -EBUSY ? "one that does not look holds %s/guard.lock and does not die"
                                : "%s/guard.state: the new process failed",
                   guard->run_dir);
}

void guard_stand_in(struct guard *guard, int64_t now)
{
    int rc;

    if (!guard)
        return;
    if (!guard->stand_in)
        guard->stand_in = guard_process_new(guard->run_dir, &rc);
    if (guard->stand_in)
        guard_process_look(guard->stand_in, now);
}

void guard_close(struct guard *guard)
{
    if (!guard)
        return;
    guard_process_free(guard->stand_in);
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

void guard_lease_gone(struct guard *guard, int64_t now)
{
    /* No deadline at all: no lease was ever held, and none is to be watched. */
    if (!guard || guard->wanted.deadline_ms <= now)
        return;
    guard->wanted.deadline_ms = now;
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
    return guard && is_looking(guard->page);
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
    guard_process_announce(process, clock_now_ms());
    if (!guard_process_look(process, clock_now_ms()))
        _exit(0);
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
