#include "io/netns.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct job {
    int fd; /* -2: a new namespace */
    int (*work)(void *arg);
    void *arg;
    int rc;
};

static void *job_thread(void *arg)
{
    struct job *job = arg;
    int rc = job->fd == -2 ? unshare(CLONE_NEWNET) : setns(job->fd, CLONE_NEWNET);

    job->rc = rc < 0 ? -errno : job->work(job->arg);
    return NULL;
}

static int job_run(struct job *job)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, job_thread, job);

    if (rc != 0)
        return -rc;
    pthread_join(thread, NULL);
    return job->rc;
}

int netns_run(int fd, int (*work)(void *arg), void *arg)
{
    struct job job = {.fd = fd, .work = work, .arg = arg};

    return fd < 0 ? work(arg) : job_run(&job);
}

int netns_dir(const char *dir)
{
    int rc = file_mkdirs(dir, 0700);

    if (rc < 0)
        return rc;
    if (mount(NULL, dir, NULL, MS_PRIVATE, NULL) == 0)
        return 0; /* a mount point already */
    if (mount(dir, dir, NULL, MS_BIND, NULL) < 0 || mount(NULL, dir, NULL, MS_PRIVATE, NULL) < 0)
        return -errno;
    return 0;
}

static int bind_here(void *arg)
{
    return mount("/proc/thread-self/ns/net", arg, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

int netns_ensure(const char *path)
{
    struct job job = {.fd = -2, .work = bind_here, .arg = (void *)path};
    int fd = netns_open(path);
    int rc;

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (fd != -ENOENT)
        return fd;
    fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    close(fd);
    rc = job_run(&job);
    if (rc < 0)
        unlink(path);
    return rc;
}

int netns_remove(const char *path)
{
    if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        return -errno;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int netns_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct statfs fs;

    if (fd < 0)
        return -errno;
    if (fstatfs(fd, &fs) == 0 && fs.f_type == NSFS_MAGIC)
        return fd;
    close(fd);
    return -ENOENT; /* a file that a crash or a reboot left: nothing is kept there */
}

struct sysctl {
    const char *name;
    const char *value;
};

static int sysctl_write(void *arg)
{
    const struct sysctl *sysctl = arg;
    size_t size = strlen(sysctl->value);
    char path[256];
    int fd, rc = 0;

    snprintf(path, sizeof path, "/proc/sys/net/%s", sysctl->name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, sysctl->value, size) != (ssize_t)size)
        rc = errno ? -errno : -EIO;
    close(fd);
    return rc;
}

int netns_sysctl(int fd, const char *name, const char *value)
{
    struct sysctl sysctl = {name, value};

    return netns_run(fd, sysctl_write, &sysctl);
}
