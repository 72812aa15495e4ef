#include "drv/compute/qemu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define POWER_BUTTON_MS 5000
#define QMP_TIMEOUT_MS 5000
#define CONNECT_RETRY_MS 50
#define START_TIMEOUT_MS 30000
#define ADOPT_TIMEOUT_MS 10000
#define SHOW_MS 1000
#define ASKED_MS 15000 /* for what a guest is asked while it runs */
#define HOUSEKEEPING_MS 5000

enum op_kind { OP_NONE, OP_START, OP_STOP, OP_PAUSE, OP_RESUME, OP_RESET, OP_DESTROY };

struct guest {
    struct compute_driver *driver;
    struct guest *next;
    char id[64], dir[PATH_MAX];
    int64_t generation;
    enum guest_power power;
    int pid, pidfd;
    bool adopted;     /* an earlier daemon started it; perhaps in this process */
    uv_poll_t *death; /* on the pidfd */
    struct qmp *qmp;
    bool qmp_ready;
    bool failing, shown; /* stopped by an error; has gone on for a while since */
    uv_timer_t *timer;   /* reconnecting, grace of a stop, time limit of a start, see `shown` */
    int64_t deadline;
    enum op_kind op;
    drv_done_cb *done;
    void *done_arg;
};

struct compute_driver {
    uv_loop_t *loop;
    char run_dir[256];
    const char *accel;
    struct qemu_user user;
    void (*changed)(void *arg, const char *id);
    void *changed_arg;
    struct guest *guests;
    uv_timer_t housekeeping;
};

static void on_timer(uv_timer_t *timer);
static void connect_qmp(struct guest *g);

/* ---- small things ---- */

static struct guest *find(struct compute_driver *d, const char *id)
{
    for (struct guest *g = d->guests; g; g = g->next) {
        if (strcmp(g->id, id) == 0)
            return g;
    }
    return NULL;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* Is it something that a guest is asked while it runs, with a time limit of its own? */
static bool is_asked(const struct guest *g)
{
    return g->op == OP_PAUSE || g->op == OP_RESUME || g->op == OP_RESET;
}

static void end_op(struct guest *g, int rc, const char *what, const char *why)
{
    drv_done_cb *done = g->done;
    struct err err;

    if (is_asked(g)) {
        g->deadline = 0;
        if (g->qmp)
            uv_timer_stop(g->timer);
    }
    g->op = OP_NONE;
    g->done = NULL;
    if (!done)
        return;
    if (rc < 0)
        err_set(&err, rc, what, why, NULL);
    done(g->done_arg, rc, rc < 0 ? &err : NULL);
}

static void set_power(struct guest *g, enum guest_power power)
{
    if (g->power == power)
        return;
    g->power = power;
    g->driver->changed(g->driver->changed_arg, g->id);
}

static struct guest *guest_new(struct compute_driver *d, const char *id)
{
    struct guest *g = calloc(1, sizeof(*g));

    if (!g || qemu_dir(d->run_dir, id, g->dir, sizeof(g->dir)) < 0) {
        free(g);
        return NULL;
    }
    g->timer = calloc(1, sizeof(*g->timer));
    if (!g->timer) {
        free(g);
        return NULL;
    }
    g->driver = d;
    g->pidfd = -1;
    snprintf(g->id, sizeof(g->id), "%s", id);
    uv_timer_init(d->loop, g->timer);
    g->timer->data = g;
    g->next = d->guests;
    d->guests = g;
    return g;
}

static void stop_watching(struct guest *g)
{
    if (g->death)
        uv_close((uv_handle_t *)g->death, free_handle);
    g->death = NULL;
    if (g->pidfd >= 0)
        close(g->pidfd);
    g->pidfd = -1;
}

static void drop_process(struct guest *g)
{
    uv_timer_stop(g->timer);
    qmp_close(g->qmp);
    g->qmp = NULL;
    g->qmp_ready = false;
    stop_watching(g);
    if (g->adopted && g->pid > 0)
        waitpid(g->pid, NULL, WNOHANG);
    g->adopted = false;
    g->pid = 0;
}

static void guest_free(struct guest *g)
{
    struct guest **at = &g->driver->guests;

    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    drop_process(g);
    uv_close((uv_handle_t *)g->timer, free_handle);
    free(g);
}

/* ---- death ---- */

/* The process is gone: what that means depends on what was being done. */
static void died(struct guest *g)
{
    enum op_kind op = g->op;
    char why[300];

    drop_process(g);
    if (op == OP_DESTROY) {
        struct guest copy = *g;

        qemu_dir_remove(g->dir);
        guest_free(g);
        copy.done(copy.done_arg, 0, NULL);
        return;
    }
    if (op == OP_STOP || qemu_dir_has(g->dir, "stopped")) {
        qemu_dir_touch(g->dir, "stopped");
        set_power(g, GUEST_STOPPED);
        end_op(g, 0, NULL, NULL);
        return;
    }
    qemu_dir_last_words(g->dir, why, sizeof(why));
    log_warn("guest %s: QEMU has ended: %s", g->id, why[0] ? why : "killed");
    set_power(g, GUEST_ABSENT);
    end_op(g, -EIO, "QEMU has ended", why[0] ? why : "it was killed");
}

static int watch_process(struct guest *g, int pid);

/* Whether it really ended is looked up: taking a living guest for a dead one would let a second
 * copy of it start. */
static void on_death(uv_poll_t *poll, int status, int events)
{
    struct guest *g = poll->data;

    if (!qemu_runs(g->pid, g->id)) {
        died(g);
        return;
    }
    log_warn("guest %s: the end of process %d was told (status %d, events %d), but it runs", g->id,
             g->pid, status, events);
    stop_watching(g);
    if (watch_process(g, g->pid) < 0)
        died(g);
}

static int watch_process(struct guest *g, int pid)
{
    int rc;

    g->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (g->pidfd < 0)
        return -errno;
    g->pid = pid;
    g->death = calloc(1, sizeof(*g->death));
    if (!g->death)
        return -ENOMEM;
    rc = uv_poll_init(g->driver->loop, g->death, g->pidfd);
    if (rc < 0) {
        free(g->death);
        g->death = NULL;
        return rc;
    }
    g->death->data = g;
    return uv_poll_start(g->death, UV_READABLE, on_death);
}

static void kill_process(struct guest *g)
{
    if (g->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0);
}

/* ---- QMP ---- */

static void is_running(struct guest *g)
{
    set_power(g, GUEST_RUNNING);
    /* Let go on after an error, it has to show that it can; while it is being stopped, the timer
     * counts the grace. */
    if (g->op == OP_STOP || (g->op == OP_RESUME && g->failing && !g->shown))
        return;
    uv_timer_stop(g->timer);
    g->failing = false;
    if (g->op == OP_START || g->op == OP_RESUME)
        end_op(g, 0, NULL, NULL);
}

static void is_paused(struct guest *g, bool by_error)
{
    g->failing = g->failing || by_error;
    set_power(g, GUEST_PAUSED);
    if (g->op == OP_PAUSE)
        end_op(g, 0, NULL, NULL);
    else if (g->op == OP_RESUME && by_error)
        end_op(g, -EIO, "the guest cannot go on", "its disk is full or fails, or it panicked");
}

static void on_status(void *arg, int rc, const json_t *answer, const char *why)
{
    struct guest *g = arg;
    const char *status = json_str(answer, "status", "");

    if (rc < 0) {
        if (g->op == OP_PAUSE || g->op == OP_RESUME)
            end_op(g, rc, "QEMU does not say how the guest is", why);
        return;
    }
    if (strcmp(status, "running") == 0) {
        is_running(g);
    } else if (strcmp(status, "paused") == 0) {
        is_paused(g, false);
    } else if (strcmp(status, "shutdown") == 0) {
        qemu_dir_touch(g->dir, "stopped");
        kill_process(g);
    } else if (strcmp(status, "prelaunch") == 0 && g->op != OP_START) {
        /* Its starter died before it let it run. */
        kill_process(g);
    } else if (strcmp(status, "guest-panicked") == 0 || strcmp(status, "io-error") == 0 ||
               strcmp(status, "internal-error") == 0 || strcmp(status, "watchdog") == 0) {
        is_paused(g, true);
    } else if (strcmp(status, "suspended") == 0 && g->op != OP_PAUSE) {
        is_running(g); /* ACPI S3: it sleeps by its own will */
    } else if (is_asked(g)) {
        end_op(g, -EBUSY, "the guest cannot do that now",
               strcmp(status, "suspended") == 0 ? "it sleeps (ACPI S3): wake it first" : status);
    }
}

static void ask_status(struct guest *g)
{
    if (g->qmp_ready)
        qmp_command(g->qmp, "query-status", NULL, QMP_TIMEOUT_MS, on_status, g);
}

static void on_let_run(void *arg, int rc, const json_t *answer, const char *why)
{
    struct guest *g = arg;

    if (rc < 0 && g->op == OP_START) {
        log_warn("guest %s: QEMU does not let it run: %s", g->id, why ? why : strerror(-rc));
        kill_process(g);
        return;
    }
    ask_status(g);
}

static void on_qmp_ready(void *arg)
{
    struct guest *g = arg;

    g->qmp_ready = true;
    if (g->pid == 0) {
        int pid = qemu_dir_pid(g->dir, g->id);

        if (pid == 0 || watch_process(g, pid) < 0)
            return;
    }
    if (g->op == OP_START)
        qmp_command(g->qmp, "cont", NULL, QMP_TIMEOUT_MS, on_let_run, g);
    else
        ask_status(g);
}

static void on_qmp_event(void *arg, const char *name, const json_t *data)
{
    struct guest *g = arg;

    /* Also told when QEMU itself is ended by a signal, as when the host shuts down: that is no wish
     * of the guest, and it is to run again. */
    if (strcmp(name, "SHUTDOWN") == 0 && json_bool(data, "guest", false)) {
        qemu_dir_touch(g->dir, "stopped");
        kill_process(g);
    } else if (strcmp(name, "STOP") == 0 || strcmp(name, "RESUME") == 0) {
        ask_status(g);
    }
}

static void on_qmp_closed(void *arg, int rc)
{
    struct guest *g = arg;

    qmp_close(g->qmp);
    g->qmp = NULL;
    g->qmp_ready = false;
    if (!uv_is_active((uv_handle_t *)g->timer))
        uv_timer_start(g->timer, on_timer, CONNECT_RETRY_MS, CONNECT_RETRY_MS);
}

static void connect_qmp(struct guest *g)
{
    char path[PATH_MAX + 16];
    struct qmp_events events = {on_qmp_ready, on_qmp_event, on_qmp_closed, g};

    snprintf(path, sizeof(path), "%s/" QEMU_OWN "/qmp.sock", g->dir);
    g->qmp = qmp_open(g->driver->loop, path, &events);
}

/* A guest that is still booting does not see it: it is pressed again and again. */
static void press_power_button(struct guest *g)
{
    if (g->qmp_ready)
        qmp_command(g->qmp, "system_powerdown", NULL, QMP_TIMEOUT_MS, NULL, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct guest *g = timer->data;
    bool late = g->deadline && (int64_t)uv_now(timer->loop) >= g->deadline;

    if (late && (g->op == OP_STOP || g->op == OP_START)) {
        uv_timer_stop(timer);
        kill_process(g);
    } else if (late && is_asked(g)) {
        end_op(g, -ETIMEDOUT, "QEMU did not do what it was asked", "it takes too long");
    } else if (late && g->power == GUEST_STARTING) {
        /* Adopted, and it says nothing: it hangs, but its process lives and can be killed by
         * whoever stops, reboots or deletes it. */
        log_warn("guest %s: QEMU does not answer", g->id);
        g->deadline = 0;
        set_power(g, GUEST_RUNNING);
    } else if (!g->qmp) {
        connect_qmp(g);
    } else if (g->op == OP_STOP) {
        press_power_button(g);
    } else if (g->op == OP_RESUME) {
        g->shown = true;
        ask_status(g);
    }
}

/* ---- starting ---- */

/* The network driver makes taps, with their filters; opening one that is not there would make one
 * without. */
static int open_tap(const char *name)
{
    struct ifreq request;
    int fd, rc = 0;

    if (if_nametoindex(name) == 0)
        return -errno;
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    memset(&request, 0, sizeof(request));
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNGETIFF, &request) < 0)
        rc = -errno;
    else if (!(request.ifr_flags & IFF_PERSIST)) /* it went in between, and this one is new */
        rc = -ENODEV;
    if (rc == 0)
        return fd;
    close(fd); /* and with it the new one goes */
    return rc;
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    uv_close((uv_handle_t *)process, free_handle);
}

static void give_to_guest_user(struct guest *g, const struct guest_spec *spec)
{
    struct compute_driver *d = g->driver;
    char own[PATH_MAX + 8];

    snprintf(own, sizeof(own), "%s/" QEMU_OWN, g->dir);
    if (chown(own, d->user.uid, d->user.gid) < 0 ||
        chown(spec->root_disk, d->user.uid, d->user.gid) < 0 ||
        (spec->config_drive && chown(spec->config_drive, d->user.uid, d->user.gid) < 0))
        log_warn("guest %s: its files cannot be given to the guests' user: %s", g->id,
                 strerror(errno));
}

static int spawn(struct guest *g, const struct guest_spec *spec, struct err *err)
{
    struct compute_driver *d = g->driver;
    uv_stdio_container_t stdio[3 + GUEST_NICS_MAX];
    uv_process_options_t options = {0};
    uv_process_t *process = calloc(1, sizeof(*process));
    struct qemu_args args;
    char log[PATH_MAX + 16];
    int fds[GUEST_NICS_MAX], rc = 0, log_fd;
    size_t n = 0;

    snprintf(log, sizeof(log), "%s/qemu.log", g->dir);
    log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (; n < spec->nic_count && rc == 0; n++) {
        fds[n] = open_tap(spec->nics[n].tap);
        if (fds[n] < 0) {
            rc = err_why(err, fds[n], "cannot connect the server to its network", "%s: %s",
                         spec->nics[n].tap, strerror(-fds[n]));
            break;
        }
        stdio[3 + n] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fds[n]};
    }
    qemu_args_build(&args, spec, g->dir, d->accel);
    stdio[0].flags = UV_IGNORE;
    stdio[1] = stdio[2] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = log_fd};
    options.exit_cb = on_process_exit;
    options.file = QEMU_BINARY;
    options.args = args.argv;
    options.flags = UV_PROCESS_DETACHED | UV_PROCESS_SETUID | UV_PROCESS_SETGID;
    options.uid = d->user.uid;
    options.gid = d->user.gid;
    options.stdio = stdio;
    options.stdio_count = 3 + (int)spec->nic_count;
    if (rc == 0 && (args.failed || log_fd < 0 || !process))
        rc = err_set(err, -ENOMEM, "cannot start QEMU", NULL, NULL);
    /* Libraries open sockets without O_CLOEXEC; QEMU gets none of them. */
    close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    if (rc < 0) {
        free(process);
    } else if ((rc = uv_spawn(d->loop, process, &options)) < 0) {
        err_why(err, rc, "cannot start QEMU", "%s: %s", QEMU_BINARY, uv_strerror(rc));
        uv_close((uv_handle_t *)process, free_handle); /* the loop knows it all the same */
    } else {
        g->pid = process->pid;
        uv_unref((uv_handle_t *)process);
    }
    qemu_args_free(&args);
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    if (log_fd >= 0)
        close(log_fd);
    return rc;
}

/* There must be none. Should there be one that nobody watches, it is ended before another starts.
 */
static int end_forgotten(struct guest *g, struct err *err)
{
    int pid = qemu_dir_pid(g->dir, g->id);

    if (pid == 0)
        pid = qemu_find(g->id);
    if (pid == 0)
        return 0;
    log_error("guest %s: process %d of an earlier start still runs: killing it", g->id, pid);
    kill(pid, SIGKILL);
    return err_set(err, -EBUSY, "cannot start the server", "an earlier copy of it is being ended",
                   NULL);
}

static int prepare(struct guest *g, const struct guest_spec *spec, struct err *err)
{
    char own[PATH_MAX + 8];
    int rc = end_forgotten(g, err);

    if (rc < 0)
        return rc;
    snprintf(own, sizeof(own), "%s/" QEMU_OWN, g->dir);
    rc = file_mkdirs(own, 0755);

    if (rc == 0) {
        qemu_dir_clean(g->dir);
        rc = qemu_dir_write_spec(g->dir, spec);
    }
    if (rc < 0)
        return err_why(err, rc, "cannot prepare the server's start", "%s: %s", g->dir,
                       strerror(-rc));
    give_to_guest_user(g, spec);
    rc = spawn(g, spec, err);
    if (rc < 0)
        return rc;
    rc = watch_process(g, g->pid);
    if (rc == 0)
        rc = qemu_dir_write_pid(g->dir, g->pid);
    if (rc < 0) {
        kill(g->pid, SIGKILL);
        err_set(err, rc, "QEMU cannot be watched", strerror(-rc), NULL);
    }
    return rc;
}

static void qemu_start(struct compute_driver *d, const struct guest_spec *spec, drv_done_cb *done,
                       void *arg)
{
    struct guest *g = find(d, spec->id);
    struct err err;
    int rc;

    if (g && (g->pid != 0 || g->op != OP_NONE)) {
        rc = g->power == GUEST_RUNNING && g->generation == spec->generation ? 0 : -EBUSY;
        err_set(&err, -EBUSY, "cannot start the server", "a copy of it is here already", NULL);
        done(arg, rc, rc < 0 ? &err : NULL);
        return;
    }
    if (!g)
        g = guest_new(d, spec->id);
    if (!g) {
        err_set(&err, -EINVAL, "cannot start the server", "its id is no UUID", NULL);
        done(arg, -EINVAL, &err);
        return;
    }
    g->generation = spec->generation;
    rc = prepare(g, spec, &err);
    if (rc < 0) {
        drop_process(g);
        g->power = GUEST_ABSENT;
        done(arg, rc, &err);
        return;
    }
    g->op = OP_START;
    g->done = done;
    g->done_arg = arg;
    g->power = GUEST_STARTING;
    g->deadline = (int64_t)uv_now(d->loop) + START_TIMEOUT_MS;
    uv_timer_start(g->timer, on_timer, CONNECT_RETRY_MS, CONNECT_RETRY_MS);
}

/* ---- the other operations ---- */

static void on_command(void *arg, int rc, const json_t *answer, const char *why)
{
    struct guest *g = arg;

    if (g->op == OP_NONE)
        return;
    if (rc < 0)
        end_op(g, rc, "QEMU did not do what it was asked", why);
    else if (g->op == OP_RESET)
        end_op(g, 0, NULL, NULL);
    else if (g->op == OP_RESUME && g->failing)
        uv_timer_start(g->timer, on_timer, SHOW_MS, SHOW_MS);
    else
        ask_status(g);
}

static struct guest *begin(struct compute_driver *d, const char *id, enum op_kind op,
                           drv_done_cb *done, void *arg)
{
    struct guest *g = find(d, id);
    struct err err;

    /* One that hangs can be stopped all the same: it is killed when its time is over. */
    if (!g || g->pid == 0 || g->op != OP_NONE || (op != OP_STOP && !g->qmp_ready)) {
        int rc = !g || g->pid == 0 ? -ENOENT : g->op != OP_NONE ? -EBUSY : -ETIMEDOUT;

        err_set(&err, rc, "cannot act on the guest",
                rc == -ENOENT  ? "it does not run here"
                : rc == -EBUSY ? "something else is being done with it"
                               : "QEMU does not answer",
                "a hard reboot kills and starts it");
        done(arg, rc, &err);
        return NULL;
    }
    g->op = op;
    g->done = done;
    g->done_arg = arg;
    if (is_asked(g)) {
        g->deadline = (int64_t)uv_now(d->loop) + ASKED_MS;
        uv_timer_start(g->timer, on_timer, ASKED_MS, SHOW_MS);
    }
    return g;
}

static void qemu_stop(struct compute_driver *d, const char *id, int grace_ms, drv_done_cb *done,
                      void *arg)
{
    struct guest *g = find(d, id);
    uint64_t period = grace_ms < POWER_BUTTON_MS ? (uint64_t)grace_ms : POWER_BUTTON_MS;

    if (g && g->op == OP_STOP && grace_ms <= 0) {
        kill_process(g); /* hurries the stop that is under way */
        done(arg, 0, NULL);
        return;
    }
    g = begin(d, id, OP_STOP, done, arg);
    if (!g)
        return;
    if (grace_ms <= 0) {
        kill_process(g);
        return;
    }
    g->deadline = (int64_t)uv_now(d->loop) + grace_ms;
    uv_timer_start(g->timer, on_timer, period, period);
    press_power_button(g);
}

static void qemu_pause(struct compute_driver *d, const char *id, drv_done_cb *done, void *arg)
{
    struct guest *g = begin(d, id, OP_PAUSE, done, arg);

    if (g)
        qmp_command(g->qmp, "stop", NULL, QMP_TIMEOUT_MS, on_command, g);
}

static void qemu_resume(struct compute_driver *d, const char *id, drv_done_cb *done, void *arg)
{
    struct guest *g = begin(d, id, OP_RESUME, done, arg);

    if (!g)
        return;
    g->shown = false;
    qmp_command(g->qmp, "cont", NULL, QMP_TIMEOUT_MS, on_command, g);
}

static void qemu_reset(struct compute_driver *d, const char *id, drv_done_cb *done, void *arg)
{
    struct guest *g = begin(d, id, OP_RESET, done, arg);

    if (g)
        qmp_command(g->qmp, "system_reset", NULL, QMP_TIMEOUT_MS, on_command, g);
}

/* Takes over whatever is under way: destroying must always work. */
static void qemu_destroy(struct compute_driver *d, const char *id, drv_done_cb *done, void *arg)
{
    struct guest *g = find(d, id);

    if (g && g->op != OP_NONE)
        end_op(g, -ECANCELED, "the guest is being destroyed", NULL);
    if (!g || g->pid == 0) {
        char dir[PATH_MAX];

        if (g)
            guest_free(g);
        if (qemu_dir(d->run_dir, id, dir, sizeof(dir)) == 0)
            qemu_dir_remove(dir);
        done(arg, 0, NULL);
        return;
    }
    g->op = OP_DESTROY;
    g->done = done;
    g->done_arg = arg;
    kill_process(g);
}

/* ---- looking ---- */

static void fill(const struct guest *g, struct guest_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    snprintf(ret->id, sizeof(ret->id), "%s", g->id);
    ret->generation = g->generation;
    ret->power = g->power;
    ret->pid = g->pid;
}

static size_t qemu_list(struct compute_driver *d, struct guest_info *ret, size_t max)
{
    size_t n = 0;

    for (struct guest *g = d->guests; g; g = g->next) {
        if (n < max)
            fill(g, &ret[n]);
        n++;
    }
    return n;
}

static bool qemu_get(struct compute_driver *d, const char *id, struct guest_info *ret)
{
    struct guest *g = find(d, id);

    if (!g || g->power == GUEST_ABSENT)
        return false;
    fill(g, ret);
    return true;
}

static int qemu_console_log(struct compute_driver *d, const char *id, size_t max, char **ret,
                            size_t *ret_size)
{
    char dir[PATH_MAX];
    int rc = qemu_dir(d->run_dir, id, dir, sizeof(dir));

    return rc < 0 ? rc : qemu_dir_console(dir, max, ret, ret_size);
}

static int qemu_console_socket(struct compute_driver *d, const char *id, char *ret, size_t size)
{
    char dir[PATH_MAX];
    int rc = qemu_dir(d->run_dir, id, dir, sizeof(dir));

    if (rc < 0 || !qemu_dir_has(dir, QEMU_OWN "/serial.sock"))
        return rc < 0 ? rc : -ENOENT;
    return snprintf(ret, size, "%s/" QEMU_OWN "/serial.sock", dir) < (int)size ? 0 : -ENAMETOOLONG;
}

/* ---- opening: adopt what runs ---- */

/* The guard finds a guest by its pid file alone: one that gets none (/run is full) may not go on. A
 * guest without one has never run, since it is written before. */
static void name_process(struct guest *g)
{
    int rc = qemu_dir_write_pid(g->dir, g->pid);

    if (rc == 0)
        return;
    log_error("guest %s: process %d cannot be told to the guard, so it is killed: %s", g->id,
              g->pid, strerror(-rc));
    kill_process(g);
}

static void adopt(struct compute_driver *d, const char *id)
{
    struct guest *g = guest_new(d, id);
    bool named;
    int pid;

    if (!g)
        return;
    g->generation = qemu_dir_generation(g->dir);
    pid = qemu_dir_pid(g->dir, id);
    named = pid != 0;
    g->adopted = true;
    if (pid == 0 && !qemu_dir_has(g->dir, "stopped"))
        pid = qemu_find(id);
    if (pid != 0 && watch_process(g, pid) == 0) {
        /* Until it says. Whatever fails now, it is here as long as its process is: an absent one
         * would be handed over, or its disk deleted. */
        g->power = GUEST_STARTING;
        g->deadline = (int64_t)uv_now(d->loop) + ADOPT_TIMEOUT_MS;
        uv_timer_start(g->timer, on_timer, 1, CONNECT_RETRY_MS);
        log_info("guest %s of generation %lld goes on", id, (long long)g->generation);
        if (!named)
            name_process(g);
    } else {
        g->power = qemu_dir_has(g->dir, "stopped") ? GUEST_STOPPED : GUEST_ABSENT;
    }
}

static void adopt_all(struct compute_driver *d)
{
    char path[300];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/guests", d->run_dir);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            adopt(d, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct compute_driver *d = timer->data;

    for (struct guest *g = d->guests; g; g = g->next)
        qemu_dir_trim_console(g->dir);
}

static struct compute_driver *qemu_open(uv_loop_t *loop, const json_t *config,
                                        void (*changed)(void *arg, const char *id), void *arg,
                                        struct err *err)
{
    struct compute_driver *d = calloc(1, sizeof(*d));
    char path[300];

    if (!d || access(QEMU_BINARY, X_OK) < 0) {
        err_set(err, -ENOENT, "cannot run guests", QEMU_BINARY " is not installed",
                "apt-get install qemu-system-x86");
        free(d);
        return NULL;
    }
    d->loop = loop;
    d->changed = changed;
    d->changed_arg = arg;
    snprintf(d->run_dir, sizeof(d->run_dir), "%s", json_str(config, "run_dir", "/run/vling"));
    snprintf(path, sizeof(path), "%s/guests", d->run_dir);
    if (file_mkdirs(path, 0755) < 0 ||
        qemu_guest_user(json_str(config, "user", "vling-guest"), &d->user, err) < 0) {
        free(d);
        return NULL;
    }
    adopt_all(d);
    d->accel = qemu_probe_accel(d->run_dir, &d->user);
    uv_timer_init(loop, &d->housekeeping);
    d->housekeeping.data = d;
    uv_timer_start(&d->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
    uv_unref((uv_handle_t *)&d->housekeeping);
    return d;
}

static void free_driver(uv_handle_t *handle)
{
    free(handle->data);
}

static void qemu_close(struct compute_driver *d)
{
    while (d->guests) {
        d->guests->done = NULL;
        guest_free(d->guests);
    }
    uv_close((uv_handle_t *)&d->housekeeping, free_driver);
}

static const char *qemu_accel(struct compute_driver *d)
{
    return d->accel;
}

const struct compute_ops compute_qemu = {
    .name = "qemu",
    .open = qemu_open,
    .close = qemu_close,
    .accel = qemu_accel,
    .list = qemu_list,
    .get = qemu_get,
    .start = qemu_start,
    .stop = qemu_stop,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .reset = qemu_reset,
    .destroy = qemu_destroy,
    .console_log = qemu_console_log,
    .console_socket = qemu_console_socket,
};
