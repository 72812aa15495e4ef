#include "base/file.h"
#include "cli/lab.h"
#include "cli/lab_net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEATH_WAIT_MS 60000 /* a guest may be writing to a slow disk */

/* In the new process: waits until the cables are plugged, then becomes `vling lab-init`. */
static void child_main(const struct lab *lab, const struct lab_host *host, int go)
{
    char log[PATH_MAX], dir[PATH_MAX + 64], ready;
    char *argv[] = {"vling", "lab-init", (char *)host->name, (char *)lab->vlingd, NULL};
    char *slash, *envp[] = {dir, "LANG=C.UTF-8", "HOME=/root", NULL};
    int fd, null;

    if (read(go, &ready, 1) != 1)
        _exit(1);
    snprintf(dir, sizeof(dir), "PATH=%s", lab->self);
    slash = strrchr(dir, '/');
    snprintf(slash, sizeof(dir) - (size_t)(slash - dir), ":/usr/sbin:/usr/bin:/sbin:/bin");
    snprintf(log, sizeof(log), LAB_DIR "/hosts/%s/vlingd.log", host->name);
    null = open("/dev/null", O_RDWR);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || null < 0)
        _exit(1);
    setsid();
    dup2(null, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    syscall(SYS_close_range, 3U, ~0U, 0U);
    execve(lab->self, argv, envp);
    _exit(1);
}

static int plug(const struct lab_host *host, pid_t pid, struct err *err)
{
    char path[64];
    int rc, ns;

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0)
        return err_why(err, -errno, "cannot start a host", "%s: %s", path, strerror(errno));
    rc = lab_wire_host(host, ns, err);
    close(ns);
    return rc;
}

int lab_host_on(struct lab *lab, struct lab_host *host, struct err *err)
{
    unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
    int go[2], rc;
    pid_t pid;

    if (lab_host_alive(host))
        return 0;
    if (pipe2(go, O_CLOEXEC) < 0)
        return -errno;
    fflush(NULL);
    pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        close(go[1]);
        child_main(lab, host, go[0]);
    }
    close(go[0]);
    if (pid < 0) {
        rc = err_why(err, -errno, "cannot start a host", "%s: %s", host->name, strerror(errno));
        close(go[1]);
        return rc;
    }
    host->pid = pid;
    host->start = lab_start_time(pid);
    rc = lab_save(lab, err);
    if (rc == 0)
        rc = plug(host, pid, err);
    if (rc == 0)
        rc = lab_wire_uplink(host->cabinet, true, err);
    if (rc == 0 && write(go[1], "1", 1) != 1)
        rc = -errno;
    close(go[1]); /* without the byte the child ends by itself */
    return rc;
}

/* A descriptor of the host's process 1, so that a reused pid is never hit; -1 if it is gone. */
static int hold(pid_t pid, unsigned long long start)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0U);

    if (fd >= 0 && start && lab_start_time(pid) != start) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int await_death(int fd, const char *name, struct err *err)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    if (poll(&wait, 1, DEATH_WAIT_MS) != 1)
        return err_why(err, -ETIMEDOUT, "cannot power off a host",
                       "%s: its processes do not end (one hangs in the kernel?)", name);
    return 0;
}

int lab_host_off(struct lab *lab, struct lab_host **hosts, size_t count, struct err *err)
{
    int fd[LAB_CABINETS_MAX * LAB_HOSTS_MAX], rc = 0, each;

    for (size_t i = 0; i < count; i++)
        fd[i] = hosts[i]->pid > 0 ? hold(hosts[i]->pid, hosts[i]->start) : -1;
    /* Links first: a process that is killed says goodbye on its connections. */
    for (size_t i = 0; i < count; i++) {
        each = lab_wire_unplug(hosts[i], err);
        if (each < 0)
            rc = each;
    }
    for (size_t i = 0; i < count; i++) {
        if (fd[i] >= 0)
            syscall(SYS_pidfd_send_signal, fd[i], SIGKILL, NULL, 0U);
    }
    for (size_t i = 0; i < count; i++) {
        each = fd[i] >= 0 ? await_death(fd[i], hosts[i]->name, err) : 0;
        if (each < 0)
            rc = each;
        else
            hosts[i]->pid = 0;
        if (fd[i] >= 0) {
            waitpid(hosts[i]->pid, NULL, WNOHANG);
            close(fd[i]);
        }
    }
    each = lab_save(lab, err);
    return rc < 0 ? rc : each;
}

/* Is this process `vling lab-init ...`, seen from outside? */
static bool is_lab_init(pid_t pid)
{
    char path[64], *text = NULL;
    size_t size = 0;
    bool is;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    if (file_read(path, 64 * 1024, &text, &size) < 0)
        return false;
    is = size > 15 && memcmp(text, "vling\0lab-init\0", 15) == 0;
    free(text);
    return is;
}

static void kill_init(pid_t pid, unsigned long long start)
{
    int fd = hold(pid, start);

    if (fd < 0)
        return;
    syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0U);
    await_death(fd, "host", NULL);
    close(fd);
}

void lab_host_kill_all(struct lab *lab)
{
    DIR *proc;
    struct dirent *entry;

    for (size_t i = 0; i < lab->count; i++) {
        if (lab->host[i].pid > 0 && lab->host[i].start)
            kill_init(lab->host[i].pid, lab->host[i].start);
        lab->host[i].pid = 0;
    }
    proc = opendir("/proc");
    if (!proc)
        return;
    while ((entry = readdir(proc))) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid > 1 && is_lab_init(pid))
            kill_init(pid, lab_start_time(pid));
    }
    closedir(proc);
}

/* ---- standing still ---- */

/* The PID namespace of a process, as the number of its inode; 0: it has ended. */
static ino_t pid_namespace(pid_t pid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static bool is_realtime(pid_t pid)
{
    int policy = sched_getscheduler(pid);

    return policy >= 0 && (policy & ~SCHED_RESET_ON_FORK) != SCHED_OTHER;
}

/* Sends `number` to the processes of the namespace that are (not) real-time; returns how many. */
static size_t signal_namespace(ino_t namespace, int number, bool realtime)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t count = 0;

    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid > 1 && pid_namespace(pid) == namespace && is_realtime(pid) == realtime &&
            kill(pid, number) == 0)
            count++;
    }
    if (proc)
        closedir(proc);
    return count;
}

int lab_host_freeze(const struct lab_host *host, bool freeze, struct err *err)
{
    int fd = hold(host->pid, host->start), number = freeze ? SIGSTOP : SIGCONT;
    ino_t namespace = fd < 0 ? 0 : pid_namespace(host->pid);
    size_t before = 0, now = 0;

    if (fd < 0 || namespace == 0)
        return err_why(err, -ESRCH, "the host is powered off", "%s", host->name);
    /* A process may have been starting another one: until a round finds no more. The guard, which
     * is a real-time process, goes on last: what it then stops is not continued by a later signal.
     */
    for (int round = 0; round < 10 && (round == 0 || (freeze && now != before)); round++) {
        before = now;
        now = signal_namespace(namespace, number, freeze);
        now += signal_namespace(namespace, number, !freeze);
    }
    close(fd);
    return 0;
}

static int enter_host(const struct lab_host *host, struct err *err)
{
    int kinds = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
    int fd = hold(host->pid, host->start), rc = 0;

    if (fd < 0)
        return err_why(err, -ESRCH, "the host is powered off", "%s", host->name);
    if (setns(fd, kinds) < 0)
        rc = err_why(err, -errno, "cannot enter a host", "%s: %s", host->name, strerror(errno));
    close(fd);
    return rc;
}

static int enter_internet(struct err *err)
{
    int fd = open(LAB_NS "/" LAB_INTERNET, O_RDONLY | O_CLOEXEC), rc = 0;

    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        rc = err_set(err, -errno, "cannot enter the namespace internet", strerror(errno), NULL);
    if (fd >= 0)
        close(fd);
    return rc;
}

int lab_exec(struct lab *lab, const char *name, char **argv, struct err *err)
{
    struct lab_host *host = lab_find(lab, name);
    char path[PATH_MAX + 64], *slash;
    int rc, status;
    pid_t pid;

    if (!host && strcmp(name, LAB_INTERNET) != 0)
        return err_why(err, -ENOENT, "no such host in the lab", "%s (see: vling lab status)", name);
    snprintf(path, sizeof(path), "%s", lab->self);
    slash = strrchr(path, '/');
    snprintf(slash, sizeof(path) - (size_t)(slash - path), ":/usr/sbin:/usr/bin:/sbin:/bin");
    rc = host ? enter_host(host, err) : enter_internet(err);
    if (rc < 0)
        return rc;
    pid = fork();
    if (pid == 0) {
        setenv("PATH", path, 1);
        if (host && chdir("/") < 0)
            _exit(126);
        execvp(argv[0], argv);
        fprintf(stderr, "vling: cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    if (pid < 0)
        return -errno;
    /* The terminal's signals reach the child too; this process only passes on how it ended. */
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
