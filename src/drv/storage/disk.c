/* Root disks of the `dir` driver: a copy of the image, made in a worker thread. */
#include "base/buf.h"
#include "base/file.h"
#include "base/id.h"
#include "drv/storage/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COPY_CHUNK (1024 * 1024)

struct disk_job {
    uv_work_t work;
    struct storage_driver *driver;
    struct disk_job *next;
    char image[PATH_MAX], sum[PATH_MAX], disks[PATH_MAX], folder[PATH_MAX], temp[PATH_MAX];
    char target[PATH_MAX];
    bool qcow2;
    int64_t size_gb;
    int rc;
    struct err err;
    drv_done_cb *done;
    void *arg;
};

/* ---- copying ---- */

static bool all_zero(const char *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* Copies and hashes; blocks of zeroes stay holes. */
static int copy_sparse(int from, int to, gnutls_hash_hd_t hash, uint64_t *ret_size)
{
    char *chunk = malloc(COPY_CHUNK);
    uint64_t at = 0;
    int rc = chunk ? 0 : -ENOMEM;

    while (rc == 0) {
        ssize_t got = read(from, chunk, COPY_CHUNK);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rc = got < 0 ? -errno : 0;
            break;
        }
        gnutls_hash(hash, chunk, (size_t)got);
        for (ssize_t done = 0; rc == 0 && !all_zero(chunk, (size_t)got) && done < got;) {
            ssize_t put = pwrite(to, chunk + done, (size_t)(got - done), (off_t)at + done);

            if (put < 0 && errno != EINTR)
                rc = -errno;
            else if (put > 0)
                done += put;
        }
        at += (uint64_t)got;
    }
    free(chunk);
    *ret_size = at;
    return rc;
}

static int check_sum(struct disk_job *job, gnutls_hash_hd_t hash, uint64_t size)
{
    unsigned char digest[64];
    char expected[200], *found = NULL;
    int n, rc;

    gnutls_hash_deinit(hash, digest);
    n = snprintf(expected, sizeof(expected), "sha512 ");
    for (size_t i = 0; i < sizeof(digest); i++)
        n += snprintf(expected + n, sizeof(expected) - (size_t)n, "%02x", digest[i]);
    snprintf(expected + n, sizeof(expected) - (size_t)n, " %llu\n", (unsigned long long)size);
    rc = file_read(job->sum, 1024, &found, NULL);
    if (rc == 0 && strcmp(found, expected) != 0)
        rc = -EBADMSG;
    free(found);
    if (rc < 0)
        return err_set(&job->err, rc, "the image is damaged",
                       rc == -EBADMSG ? "its bytes do not match the checksum taken at upload"
                                      : "its checksum file cannot be read",
                       "delete the image and upload it again");
    return 0;
}

static int copy_image(struct disk_job *job, uint64_t *ret_size)
{
    int from = open(job->image, O_RDONLY | O_CLOEXEC), to = -1, rc;
    gnutls_hash_hd_t hash;

    if (from < 0)
        return err_why(&job->err, -errno, "the image cannot be opened", "%s: %s", job->image,
                       strerror(errno));
    to = open(job->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) {
        rc = err_why(&job->err, -errno, "cannot make the disk", "%s: %s", job->target,
                     strerror(errno));
        close(from);
        return rc;
    }
    rc = gnutls_hash_init(&hash, GNUTLS_DIG_SHA512) < 0 ? -EIO : 0;
    if (rc < 0)
        hash = NULL;
    else
        rc = copy_sparse(from, to, hash, ret_size);
    if (rc == 0 && ftruncate(to, (off_t)*ret_size) < 0)
        rc = -errno;
    close(from);
    if (close(to) < 0 && rc == 0)
        rc = -errno;
    if (rc < 0) {
        if (hash)
            gnutls_hash_deinit(hash, NULL);
        return err_why(&job->err, rc, "cannot write the disk", "%s: %s", job->target,
                       strerror(-rc));
    }
    return check_sum(job, hash, *ret_size);
}

/* ---- growing ---- */

/* The first line that qemu-img complains with, without its name. */
static void read_complaint(int fd, char *ret, size_t size)
{
    char text[512];
    size_t length = 0;
    ssize_t got;

    /* Read to the end, also what does not fit, so that the writer never waits. */
    do {
        char rest[512];

        got = read(fd, rest, sizeof(rest));
        for (ssize_t i = 0; i < got && length < sizeof(text) - 1; i++)
            text[length++] = rest[i];
    } while (got > 0 || (got < 0 && errno == EINTR));
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    snprintf(ret, size, "%s", strncmp(text, "qemu-img: ", 10) == 0 ? text + 10 : text);
}

static int run_resize(const char *path, int64_t size_gb, char *ret_why, size_t why_size)
{
    char size[32];
    char *const argv[] = {"qemu-img", "resize", "-q", "-f", "qcow2", (char *)path, size, NULL};
    char *const envp[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    posix_spawn_file_actions_t actions;
    int status, fds[2], rc;
    pid_t pid;

    snprintf(size, sizeof(size), "%lldG", (long long)size_gb);
    if (pipe2(fds, O_CLOEXEC) < 0) {
        snprintf(ret_why, why_size, "%s", strerror(errno));
        return -errno;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    rc = -posix_spawn(&pid, "/usr/bin/qemu-img", &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc < 0)
        snprintf(ret_why, why_size, "/usr/bin/qemu-img: %s", strerror(-rc));
    else
        read_complaint(fds[0], ret_why, why_size);
    close(fds[0]);
    while (rc == 0 && waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            rc = -errno;
    }
    if (rc < 0)
        return rc;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return strstr(ret_why, "No space left") ? -ENOSPC : -EIO;
}

/* The size in a qcow2's header, big endian; 0 if it is none. */
static uint64_t qcow2_size(const char *path)
{
    unsigned char head[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
    uint64_t size = 0;

    if (fd >= 0)
        close(fd);
    if (got != (ssize_t)sizeof(head) || memcmp(head, "QFI\xfb", 4) != 0)
        return 0;
    for (size_t i = 24; i < 32; i++)
        size = size << 8 | head[i];
    return size;
}

static int grow(struct disk_job *job, uint64_t size)
{
    uint64_t wanted = (uint64_t)job->size_gb << 30;
    char why[200];
    int rc;

    if (job->qcow2) {
        size = qcow2_size(job->temp);
        if (size == 0)
            return err_set(&job->err, -EINVAL, "cannot make the disk", "the image is no qcow2",
                           "upload the image again with its right disk format");
    }
    if (job->size_gb == 0 || size == wanted)
        return 0;
    if (size > wanted)
        return err_set(&job->err, -EFBIG, "cannot make the disk",
                       "the image is larger than the flavor's disk",
                       "take a flavor with a larger disk");
    if (job->qcow2) {
        rc = run_resize(job->temp, job->size_gb, why, sizeof(why));
        return rc < 0 ? err_why(&job->err, rc, "cannot grow the disk", "%s", why) : 0;
    }
    if (truncate(job->temp, (off_t)wanted) < 0)
        return err_why(&job->err, -errno, "cannot grow the disk", "%s: %s", job->target,
                       strerror(errno));
    return 0;
}

/* ---- the job ---- */

static int locate(const char *folder, char *path, size_t path_size, const char **ret_format)
{
    static const char *const formats[] = {"raw", "qcow2"};

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, path_size, "%s/root.%s", folder, formats[i]);
        if (access(path, F_OK) == 0) {
            *ret_format = formats[i];
            return 0;
        }
        if (errno != ENOENT)
            return -errno;
    }
    return -ENOENT;
}

/* The server's own folder only: were the place above it made here too, a shared file system that
 * is not mounted would get a second, empty copy below its mount point. */
static int make_folder(struct disk_job *job)
{
    int rc = mkdir(job->folder, 0711) < 0 && errno != EEXIST ? -errno : 0;

    if (rc == 0)
        rc = storage_dir_sync(job->disks);
    return rc < 0 ? err_why(&job->err, rc, "cannot make the disk", "%s: %s", job->folder,
                            strerror(-rc))
                  : 0;
}

/* After growing, because its bytes and its size are to be there before its name is. */
static int publish(struct disk_job *job)
{
    int fd = open(job->temp, O_RDONLY | O_CLOEXEC), rc;

    rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        rc = storage_dir_publish(job->temp, job->target);
    /* Another host was faster while this one copied. Its guest may have written already. */
    if (rc == -EEXIST) {
        unlink(job->temp);
        rc = 0;
    }
    if (rc == 0)
        rc = storage_dir_sync(job->folder);
    return rc < 0 ? err_why(&job->err, rc, "cannot make the disk", "%s: %s", job->target,
                            strerror(-rc))
                  : 0;
}

static void run(uv_work_t *work)
{
    struct disk_job *job = work->data;
    const char *format;
    char path[PATH_MAX + 16];
    uint64_t size = 0;

    job->rc = locate(job->folder, path, sizeof(path), &format);
    if (job->rc == 0)
        return;
    if (job->rc != -ENOENT) {
        err_why(&job->err, job->rc, "cannot make the disk", "%s: %s", path, strerror(-job->rc));
        return;
    }
    job->rc = make_folder(job);
    if (job->rc < 0)
        return;
    storage_dir_sweep(job->folder, ".root.", STORAGE_DIR_STALE);
    job->rc = copy_image(job, &size);
    if (job->rc == 0)
        job->rc = grow(job, size);
    if (job->rc == 0)
        job->rc = publish(job);
    if (job->rc < 0)
        unlink(job->temp);
    else /* nobody needs another copy any more, least of all one whose maker was killed */
        storage_dir_sweep(job->folder, ".root.", 0);
}

static void begin(struct disk_job *job);

static void after(uv_work_t *work, int status)
{
    struct disk_job *job = work->data, *next;
    struct storage_driver *d = job->driver;

    if (status < 0 && job->rc == 0)
        job->rc = err_set(&job->err, status, "cannot make the disk", NULL, NULL);
    d->copying--;
    next = d->first;
    if (next) {
        d->first = next->next;
        if (!d->first)
            d->last = &d->first;
        begin(next);
    }
    job->done(job->arg, job->rc, job->rc < 0 ? &job->err : NULL);
    free(job);
    if (d->closed && d->copying == 0)
        free(d);
}

static void begin(struct disk_job *job)
{
    struct storage_driver *d = job->driver;

    /* Never fails: there is a function to run. */
    d->copying++;
    uv_queue_work(d->loop, &job->work, run, after);
}

void storage_dir_disk_create(struct storage_driver *d, const char *server_id, const char *image_id,
                             const char *image_format, int64_t size_gb, drv_done_cb *done,
                             void *arg)
{
    bool named = storage_dir_safe_name(server_id) && storage_dir_safe_name(image_id);
    struct disk_job *job = named ? calloc(1, sizeof(*job)) : NULL;
    char nonce[ID_HEX_SIZE];
    struct err err;

    if (!job) {
        err_set(&err, named ? -ENOMEM : -EINVAL, "cannot make the disk",
                named         ? NULL
                : image_id[0] ? "the id of the server or its image is no file name"
                              : "the server has no image",
                NULL);
        done(arg, err.code, &err);
        return;
    }
    job->qcow2 = strcmp(image_format, "qcow2") == 0;
    snprintf(job->image, sizeof(job->image), "%s/images/%s", d->path, image_id);
    snprintf(job->sum, sizeof(job->sum), "%s/images/%s.sum", d->path, image_id);
    snprintf(job->disks, sizeof(job->disks), "%s/disks", d->path);
    snprintf(job->folder, sizeof(job->folder), "%s/disks/%s", d->path, server_id);
    id_hex(nonce);
    snprintf(job->temp, sizeof(job->temp), "%s/disks/%s/.root.%s", d->path, server_id, nonce);
    snprintf(job->target, sizeof(job->target), "%s/disks/%s/root.%s", d->path, server_id,
             job->qcow2 ? "qcow2" : "raw");
    job->size_gb = size_gb;
    job->done = done;
    job->arg = arg;
    job->work.data = job;
    job->driver = d;
    if (d->copying < STORAGE_DIR_COPIES) {
        begin(job);
        return;
    }
    *d->last = job;
    d->last = &job->next;
}

int storage_dir_disk_locate(struct storage_driver *d, const char *server_id, char *path,
                            size_t path_size, char *format, size_t format_size)
{
    const char *found = NULL;
    char folder[PATH_MAX];
    int rc;

    if (!storage_dir_safe_name(server_id))
        return -ENOENT;
    snprintf(folder, sizeof(folder), "%s/disks/%s", d->path, server_id);
    rc = locate(folder, path, path_size, &found);
    if (rc == 0)
        snprintf(format, format_size, "%s", found);
    return rc;
}

int storage_dir_disk_delete(struct storage_driver *d, const char *server_id)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
    int rc = 0;
    DIR *dir;

    if (!storage_dir_safe_name(server_id))
        return -ENOENT;
    snprintf(folder, sizeof(folder), "%s/disks/%s", d->path, server_id);
    dir = opendir(folder);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        /* What another host removed meanwhile is gone all the same. */
        if (unlink(path) < 0 && errno != ENOENT && rc == 0)
            rc = -errno;
    }
    closedir(dir);
    if (rc == 0 && rmdir(folder) < 0)
        rc = -errno;
    return rc;
}

/* Has nothing in the folder changed for so long? A guest that writes changes its disk's time. */
static bool is_old(const char *folder, int64_t age)
{
    char path[2 * PATH_MAX];
    struct dirent *entry;
    DIR *dir = opendir(folder);
    struct stat st;
    bool old = dir && fstat(dirfd(dir), &st) == 0 && time(NULL) - st.st_mtime >= age;

    while (old && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        old = storage_dir_is_of_age(path, age);
    }
    if (dir)
        closedir(dir);
    return old;
}

/* Folders of other names are not the driver's. */
json_t *storage_dir_disk_list(struct storage_driver *d, int64_t age)
{
    char folder[PATH_MAX], path[2 * PATH_MAX];
    json_t *ids = json_array();
    struct dirent *entry;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%s/disks", d->path);
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (id_is_uuid(entry->d_name) && is_old(path, age))
            json_array_append_new(ids, json_string(entry->d_name));
    }
    if (dir)
        closedir(dir);
    return ids;
}
