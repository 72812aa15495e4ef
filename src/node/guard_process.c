/* What the guard does at each look. No allocation after guard_process_new: folders are read with
 * getdents64 into a fixed buffer, files with read into the stack. run_dir and /proc are in memory,
 * so nothing here waits for a disk.
 *
 * Stopping is repeated at every look while the lease is lost: a guest that appears meanwhile
 * (vlingd was just starting it) is stopped as well. */
#include "node/guard_process.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dirent64_raw {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

struct guard_process {
    struct guard_page *page;
    char guests_dir[GUARD_PATH_MAX];
    int netlink_fd;
    uint32_t netlink_seq;
    struct guard_wanted last; /* the last whole state */
    bool have_last;
    bool announced;
    _Alignas(8) char names[32768];
    char cmdline[65536];
};

struct guard_process *guard_process_new(const char *run_dir, int *ret_rc)
{
    struct guard_process *process = calloc(1, sizeof(*process));

    *ret_rc = -ENOMEM;
    if (!process)
        return NULL;
    *ret_rc = guard_page_open(run_dir, &process->page);
    if (*ret_rc < 0)
        goto fail;
    *ret_rc = -ENAMETOOLONG;
    if (snprintf(process->guests_dir, sizeof(process->guests_dir), "%s/guests", run_dir) >=
        (int)sizeof(process->guests_dir) - 80)
        goto fail;
    process->netlink_fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    *ret_rc = 0;
    return process;
fail:
    if (process->page)
        munmap(process->page, sizeof(*process->page));
    free(process);
    return NULL;
}

void guard_process_announce(struct guard_process *process, int64_t now)
{
    __atomic_store_n(&process->page->report.last_look_ms, now, __ATOMIC_RELAXED);
    __atomic_store_n(&process->page->report.pid, (int32_t)getpid(), __ATOMIC_RELAXED);
    process->announced = true;
}

void guard_process_free(struct guard_process *process)
{
    if (!process)
        return;
    if (process->netlink_fd >= 0)
        close(process->netlink_fd);
    munmap(process->page, sizeof(*process->page));
    free(process);
}

/* Guests take most of the memory there is: when it runs short, the guard is the last to be killed.
 */
static void spare_from_oom(void)
{
    static const char least[] = "-1000";
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t put = fd < 0 ? -1 : write(fd, least, sizeof(least) - 1);

    (void)put; /* not permitted: it stays as the daemon's */
    if (fd >= 0)
        close(fd);
}

void guard_process_harden(struct guard_process *process)
{
    struct sched_param param = {.sched_priority = 10};

    spare_from_oom();
    process->page->report.locked = mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
    process->page->report.realtime =
        sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0;
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* a shutdown kills all: the guard must be the last that goes */
    signal(SIGPIPE, SIG_IGN);
}

/* ---- guests ---- */

static ssize_t read_file(const char *path, char *ret, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    size_t len = 0;
    ssize_t got = 0;

    if (fd < 0)
        return -errno;
    while (len < size - 1 && (got = read(fd, ret + len, size - 1 - len)) > 0)
        len += (size_t)got;
    close(fd);
    ret[len] = '\0';
    return (ssize_t)len;
}

/* The pid in the file, or 0. */
static pid_t read_pid(const char *path)
{
    char text[32];
    long pid = 0;

    if (read_file(path, text, sizeof(text)) <= 0)
        return 0;
    for (size_t i = 0; isdigit((unsigned char)text[i]) && pid < 100000000; i++)
        pid = pid * 10 + (text[i] - '0');
    return pid > 1 ? (pid_t)pid : 0;
}

/* Opens the process if it really is this guest. The handle is taken first: should the process end
 * between the check and the signal, nobody else can get it. */
static int open_guest(struct guard_process *process, pid_t pid, const char *id)
{
    char path[64];
    ssize_t len;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    len = read_file(path, process->cmdline, sizeof(process->cmdline));
    if (len > 0 && memmem(process->cmdline, (size_t)len, id, strlen(id)))
        return fd;
    close(fd);
    return -ESRCH;
}

static bool is_stopped(struct guard_process *process, pid_t pid)
{
    char path[64], *end;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (read_file(path, process->cmdline, 1024) <= 0)
        return false;
    end = strrchr(process->cmdline, ')');
    return end && end[1] == ' ' && end[2] == 'T';
}

static void signal_guest(struct guard_process *process, const char *id, int number)
{
    struct guard_report *report = &process->page->report;
    char path[GUARD_PATH_MAX];
    uint32_t *counter = number == SIGSTOP   ? &report->stops
                        : number == SIGCONT ? &report->resumes
                                            : &report->kills;
    pid_t pid;
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s/pid", process->guests_dir, id) >= (int)sizeof(path))
        return;
    pid = read_pid(path);
    if (pid == 0)
        return;
    fd = open_guest(process, pid, id);
    if (fd < 0)
        return;
    /* Already as wanted: no signal, so that the counters tell of changes. */
    if (number == SIGKILL || is_stopped(process, pid) == (number == SIGCONT)) {
        if (syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) == 0)
            __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
    }
    close(fd);
}

static void signal_all(struct guard_process *process, int number)
{
    int fd = open(process->guests_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long got;

    if (fd < 0)
        return;
    while ((got = syscall(SYS_getdents64, fd, process->names, sizeof(process->names))) > 0) {
        for (long at = 0; at < got;) {
            struct dirent64_raw *entry = (struct dirent64_raw *)(process->names + at);

            at += entry->reclen;
            /* A name too short would be found in any command line. */
            if (entry->name[0] == '.' || strlen(entry->name) < 8)
                continue;
            signal_guest(process, entry->name, number);
        }
    }
    close(fd);
}

/* ---- virtual addresses ---- */

struct address_message {
    struct nlmsghdr head;
    struct ifaddrmsg body;
    char attributes[64];
};

static void put_address(struct address_message *message, uint16_t type, const void *bytes,
                        size_t size)
{
    struct rtattr *attribute =
        (struct rtattr *)((char *)message + NLMSG_ALIGN(message->head.nlmsg_len));

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    memcpy(RTA_DATA(attribute), bytes, size);
    message->head.nlmsg_len =
        NLMSG_ALIGN(message->head.nlmsg_len) + (uint32_t)RTA_ALIGN(attribute->rta_len);
}

/* The prefix length is not known here. For IPv4 the kernel looks at it only when IFA_ADDRESS is
 * given; for IPv6 it must be right, so each is tried. One that is absent does no harm. */
static void remove_address(struct guard_process *process, const struct guard_address *address)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    unsigned char bytes[16];
    char dev[sizeof(address->dev)], ip[sizeof(address->ip)];
    int family, longest, shortest;
    unsigned index;

    snprintf(dev, sizeof(dev), "%.*s", (int)sizeof(address->dev) - 1, address->dev);
    snprintf(ip, sizeof(ip), "%.*s", (int)sizeof(address->ip) - 1, address->ip);
    family = strchr(ip, ':') ? AF_INET6 : AF_INET;
    longest = family == AF_INET ? 32 : 128;
    shortest = family == AF_INET ? 32 : 1;
    index = if_nametoindex(dev);
    if (index == 0 || inet_pton(family, ip, bytes) != 1)
        return;
    for (int length = longest; length >= shortest; length--) {
        struct address_message message = {
            .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                     .nlmsg_type = RTM_DELADDR,
                     .nlmsg_flags = NLM_F_REQUEST,
                     .nlmsg_seq = ++process->netlink_seq},
            .body = {.ifa_family = (unsigned char)family,
                     .ifa_prefixlen = (unsigned char)length,
                     .ifa_index = index}};

        put_address(&message, IFA_LOCAL, bytes, (size_t)longest / 8);
        if (sendto(process->netlink_fd, &message, message.head.nlmsg_len, 0,
                   (struct sockaddr *)&kernel, sizeof(kernel)) < 0 &&
            errno != EAGAIN)
            break;
        /* The errors for absent ones come back here. */
        while (recv(process->netlink_fd, process->names, sizeof(process->names), MSG_DONTWAIT) > 0)
            ;
    }
}

static void remove_addresses(struct guard_process *process)
{
    if (process->netlink_fd < 0)
        return;
    for (uint32_t i = 0; i < process->last.address_count; i++)
        remove_address(process, &process->last.addresses[i]);
}

/* ---- the external network ---- */

/* Routers are in namespaces whose way out is this bridge; one that is down passes nothing on. */
static void set_external(struct guard_process *process, bool up)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    char dev[sizeof(process->last.external)];
    struct {
        struct nlmsghdr head;
        struct ifinfomsg body;
    } message = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                 .nlmsg_type = RTM_NEWLINK,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++process->netlink_seq},
        .body = {.ifi_family = AF_UNSPEC, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP}};

    snprintf(dev, sizeof(dev), "%.*s", (int)sizeof(dev) - 1, process->last.external);
    message.body.ifi_index = dev[0] ? (int)if_nametoindex(dev) : 0;
    if (message.body.ifi_index == 0 || process->netlink_fd < 0)
        return;
    sendto(process->netlink_fd, &message, message.head.nlmsg_len, 0, (struct sockaddr *)&kernel,
           sizeof(kernel));
    while (recv(process->netlink_fd, process->names, sizeof(process->names), MSG_DONTWAIT) > 0)
        ;
}

/* Again at every look: vlingd may have added or made it, or taken it up, before it noticed. */
static void silence(struct guard_process *process)
{
    remove_addresses(process);
    set_external(process, false);
}

/* ---- one look ---- */

static void enter(struct guard_process *process, enum guard_phase phase)
{
    __atomic_store_n(&process->page->report.phase, (uint32_t)phase, __ATOMIC_RELAXED);
}

/* Guests of another epoch may not go on: somebody else may run them by now. */
static void check_epoch(struct guard_process *process)
{
    struct guard_report *report = &process->page->report;

    if (report->run_epoch != 0 && report->run_epoch != process->last.epoch)
        signal_all(process, SIGKILL);
    report->run_epoch = process->last.epoch;
}

bool guard_process_look(struct guard_process *process, int64_t now)
{
    struct guard_report *report = &process->page->report;
    struct guard_wanted wanted;
    bool same_epoch;

    if (guard_page_read(process->page, &wanted)) {
        process->last = wanted;
        process->have_last = true;
    }
    if (process->announced)
        __atomic_store_n(&report->last_look_ms, now, __ATOMIC_RELAXED);
    if (!process->have_last)
        return true;
    if (process->last.order == GUARD_ORDER_RELEASE)
        return false;
    if (process->last.order == GUARD_ORDER_DESTROY) {
        silence(process);
        signal_all(process, SIGKILL);
        report->stopped = 0;
        report->run_epoch = 0;
        enter(process, GUARD_KILLED);
        return true;
    }
    if (process->last.deadline_ms == 0) {
        enter(process, GUARD_IDLE);
        return true;
    }
    if (now >= process->last.deadline_ms - GUARD_MARGIN_MS) {
        signal_all(process, SIGSTOP);
        silence(process);
        report->stopped = 1;
        enter(process, GUARD_STOPPED);
        return true;
    }
    same_epoch = report->run_epoch == process->last.epoch;
    check_epoch(process);
    if (report->stopped) {
        signal_all(process, SIGCONT);
        if (same_epoch)
            set_external(process, true);
    }
    report->stopped = 0;
    enter(process, GUARD_WATCHING);
    return true;
}
