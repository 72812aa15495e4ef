/* Process 1 of a lab host: what firmware, kernel and service manager are to a real one. It sees the
 * machine's files, with the host's own configuration, disk and run folder put over them. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/lab.h"
#include "cli/lab_net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONFIG "/etc/vling/vlingd.json"
#define TOKEN "/etc/vling/join-token"
#define RESTART_MS 1000

struct init {
    const char *host, *vlingd;
    unsigned cabinet, number;
    bool first; /* makes the cluster; the others join it */
    pid_t child;
    bool enrolling;
    int64_t next_ms;
};

static int mount_over(const char *from, const char *to, const char *type, unsigned long flags,
                      const char *options, struct err *err)
{
    if (mount(from, to, type, flags, options) < 0)
        return err_why(err, -errno, "cannot mount", "%s on %s: %s", from, to, strerror(errno));
    return 0;
}

/* A fresh /sys shows this namespace's devices; the control groups are mounted below the old one. */
static int mount_sys(struct err *err)
{
    int cgroup = open("/sys/fs/cgroup", O_PATH | O_CLOEXEC);
    char link[64];
    int rc = mount_over("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err);

    if (rc == 0 && cgroup >= 0) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", cgroup);
        if (mount(link, "/sys/fs/cgroup", NULL, MS_BIND | MS_REC, NULL) < 0)
            log_warn("lab: no control groups in this host: %s", strerror(errno));
    }
    if (cgroup >= 0)
        close(cgroup);
    return rc;
}

/* This mount namespace got a copy of the lab's namespace files: holding them would keep the
 * switches alive after `vling lab down`. */
static void drop_lab_namespaces(void)
{
    char path[PATH_MAX];
    DIR *dir = opendir(LAB_NS);
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        snprintf(path, sizeof(path), LAB_NS "/%s", entry->d_name);
        if (entry->d_name[0] != '.')
            umount2(path, MNT_DETACH);
    }
    closedir(dir);
}

static int mount_all(const struct init *init, struct err *err)
{
    static const char *const binds[][2] = {{"etc", "/etc/vling"}, {"lib", "/var/lib/vling"}};
    char from[PATH_MAX];
    int rc = mount_over("none", "/", NULL, MS_REC | MS_PRIVATE, NULL, err);

    if (rc == 0)
        rc = mount_over("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err);
    if (rc == 0)
        rc = mount_sys(err);
    drop_lab_namespaces();
    for (size_t i = 0; rc == 0 && i < sizeof(binds) / sizeof(binds[0]); i++) {
        snprintf(from, sizeof(from), LAB_DIR "/hosts/%s/%s", init->host, binds[i][0]);
        rc = mount_over(from, binds[i][1], NULL, MS_BIND, NULL, err);
    }
    if (rc == 0)
        rc = mount_over(LAB_DIR "/shared", "/srv/vling", NULL, MS_BIND, NULL, err);
    if (rc == 0)
        rc = mount_over("tmpfs", "/run/vling", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", err);
    if (rc == 0)
        rc = mount_over("tmpfs", "/run/netns", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", err);
    /* iproute2 and vlingd bind namespaces below; they must be able to share the mount. */
    if (rc == 0)
        rc = mount_over("none", "/run/netns", NULL, MS_SHARED | MS_REC, NULL, err);
    return rc;
}

static int network(const struct init *init, struct err *err)
{
    struct lab_net *net;
    char address[64];
    int rc = lab_net_open(NULL, &net, err);

    if (rc < 0)
        return rc;
    rc = lab_net_set_up(net, "lo", true, err);
    for (size_t p = 0; rc == 0 && p < LAB_PLANES; p++) {
        snprintf(address, sizeof(address), "10.%d.%u.%u/16", lab_planes[p].net, init->cabinet,
                 init->number);
        if (lab_planes[p].net)
            rc = lab_net_address(net, lab_planes[p].dev, address, err);
        if (rc == 0)
            rc = lab_net_set_up(net, lab_planes[p].dev, true, err);
    }
    lab_net_close(net);
    return rc;
}

static bool enrolled(void)
{
    return access("/var/lib/vling/pki/host.crt", R_OK) == 0;
}

/* In the child. */
static void run_vlingd(const struct init *init)
{
    sigset_t none;
    char *token = NULL;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (!init->enrolling) {
        execl(init->vlingd, "vlingd", "--config", CONFIG, NULL);
    } else if (init->first) {
        int fd = open(TOKEN ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600);

        if (fd < 0 || dup2(fd, 1) < 0)
            _exit(1);
        execl(init->vlingd, "vlingd", "init", "--config", CONFIG, NULL);
    } else if (file_read(TOKEN, 4096, &token, NULL) == 0) {
        token[strcspn(token, "\r\n")] = '\0';
        execl(init->vlingd, "vlingd", "join", "--config", CONFIG, "--token", token, NULL);
    }
    log_error("lab: cannot run %s: %s", init->vlingd, strerror(errno));
    _exit(127);
}

static void start_vlingd(struct init *init)
{
    init->enrolling = !enrolled();
    init->child = fork();
    if (init->child == 0)
        run_vlingd(init);
    if (init->child < 0)
        init->next_ms = clock_now_ms() + RESTART_MS;
}

static void ended(struct init *init, int status)
{
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    init->child = 0;
    if (init->enrolling && init->first && good && rename(TOKEN ".new", TOKEN) < 0)
        log_error("lab: cannot keep the join token: %s", strerror(errno));
    if (init->enrolling && good && enrolled())
        return;
    log_warn("lab: vlingd %s %d%s, again in %d ms",
             WIFSIGNALED(status) ? "was killed by signal" : "ended with status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
             init->enrolling ? " while joining" : "", RESTART_MS);
    init->next_ms = clock_now_ms() + RESTART_MS;
}

/* Ends only by a signal: SIGKILL is the power cut, SIGTERM the orderly end. */
static void supervise(struct init *init, const sigset_t *signals)
{
    for (;;) {
        struct timespec wait = {.tv_sec = 5};
        int64_t now = clock_now_ms();
        int status, sig;
        pid_t pid;

        if (init->child <= 0 && now >= init->next_ms)
            start_vlingd(init);
        if (init->child <= 0) {
            wait.tv_sec = 0;
            wait.tv_nsec = 100 * 1000000L;
        }
        sig = sigtimedwait(signals, NULL, &wait);
        if (sig == SIGTERM) {
            if (init->child > 0) {
                kill(init->child, SIGTERM);
                waitpid(init->child, NULL, 0);
            }
            return;
        }
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid == init->child)
                ended(init, status);
        }
    }
}

int lab_init_main(int argc, char **argv)
{
    struct init init = {0};
    sigset_t signals;
    struct err err = {0};
    char line[700];
    int rc;

    if (argc != 3 || getpid() != 1 ||
        sscanf(argv[1], "c%1uh%1u", &init.cabinet, &init.number) != 2) {
        fprintf(stderr, "vling lab-init is process 1 of a lab host; start one: vling lab up\n");
        return 2;
    }
    init.host = argv[1];
    init.vlingd = argv[2];
    init.first = strcmp(init.host, "c1h1") == 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    rc = mount_all(&init, &err);
    if (rc == 0)
        rc = network(&init, &err);
    if (rc == 0 && sethostname(init.host, strlen(init.host)) < 0)
        rc = err_set(&err, -errno, "cannot set the host name", strerror(errno), NULL);
    if (rc < 0) {
        log_error("lab: %s: %s", init.host, err_line(&err, line, sizeof(line)));
        return 1;
    }
    log_info("lab: %s: power on", init.host);
    supervise(&init, &signals);
    return 0;
}
