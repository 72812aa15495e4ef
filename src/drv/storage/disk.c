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
#include <unistd.h>

#define COPY_CHUNK (1024 * 1024)

struct disk_job {
    uv_work_t work;
    char image[PATH_MAX], sum[PATH_MAX], folder[PATH_MAX], temp[PATH_MAX], target[PATH_MAX];
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
        rc = err_why(&job->err, -errno, "cannot make the disk", "%s: %s", job->temp,
                     strerror(errno));
        close(from);
        return rc;
    }
    gnutls_hash_init(&hash, GNUTLS_DIG_SHA512);
    rc = copy_sparse(from, to, hash, ret_size);
    if (rc == 0 && ftruncate(to, (off_t)*ret_size) < 0)
        rc = -errno;
    if (rc == 0 && fsync(to) < 0)
        rc = -errno;
    close(from);
    close(to);
    if (rc < 0) {
        gnutls_hash_deinit(hash, NULL);
        return err_why(&job->err, rc, "cannot write the disk", "%s: %s", job->temp, strerror(-rc));
    }
    return check_sum(job, hash, *ret_size);
}

/* ---- growing ---- */

static int run_resize(const char *path, int64_t size_gb)
{
    char size[32];
    char *const argv[] = {"qemu-img", "resize", "-q", "-f", "qcow2", (char *)path, size, NULL};
    char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    int status;
    pid_t pid;

    snprintf(size, sizeof(size), "%lldG", (long long)size_gb);
    if (posix_spawn(&pid, "/usr/bin/qemu-img", NULL, NULL, argv, envp) != 0)
        return -ENOENT;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int grow(struct disk_job *job, uint64_t size)
{
    uint64_t wanted = (uint64_t)job->size_gb << 30;
    int rc;

    if (job->size_gb == 0)
        return 0;
    if (job->qcow2) {
        rc = run_resize(job->temp, job->size_gb);
        return rc < 0 ? err_set(&job->err, rc, "cannot grow the disk",
                                "qemu-img resize failed (is the image larger than the flavor?)",
                                "take a flavor with a larger disk")
                      : 0;
    }
    if (size > wanted)
        return err_set(&job->err, -EFBIG, "cannot make the disk",
                       "the image is larger than the flavor's disk",
                       "take a flavor with a larger disk");
    if (truncate(job->temp, (off_t)wanted) < 0)
        return err_why(&job->err, -errno, "cannot grow the disk", "%s", strerror(errno));
    return 0;
}

/* ---- the job ---- */

static void run(uv_work_t *work)
{
    struct disk_job *job = work->data;
    uint64_t size = 0;
    int fd;

    if (access(job->target, F_OK) == 0)
        return;
    job->rc = file_mkdirs(job->folder, 0711);
    if (job->rc < 0) {
        err_why(&job->err, job->rc, "cannot make the disk", "%s: %s", job->folder,
                strerror(-job->rc));
        return;
    }
    job->rc = copy_image(job, &size);
    if (job->rc == 0)
        job->rc = grow(job, size);
    if (job->rc == 0 && rename(job->temp, job->target) < 0)
        job->rc = err_why(&job->err, -errno, "cannot make the disk", "%s: %s", job->target,
                          strerror(errno));
    if (job->rc < 0) {
        unlink(job->temp);
        return;
    }
    fd = open(job->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static void after(uv_work_t *work, int status)
{
    struct disk_job *job = work->data;

    if (status < 0 && job->rc == 0)
        job->rc = err_set(&job->err, status, "cannot make the disk", NULL, NULL);
    job->done(job->arg, job->rc, job->rc < 0 ? &job->err : NULL);
    free(job);
}

void storage_dir_disk_create(struct storage_driver *d, const char *server_id, const char *image_id,
                             const char *image_format, int64_t size_gb, drv_done_cb *done,
                             void *arg)
{
    struct disk_job *job = calloc(1, sizeof(*job));
    char nonce[ID_HEX_SIZE];
    struct err err;

    if (!job || !storage_dir_safe_name(server_id) || !storage_dir_safe_name(image_id)) {
        err_set(&err, -EINVAL, "cannot make the disk", "the server has no image", NULL);
        free(job);
        done(arg, -EINVAL, &err);
        return;
    }
    job->qcow2 = strcmp(image_format, "qcow2") == 0;
    snprintf(job->image, sizeof(job->image), "%s/images/%s", d->path, image_id);
    snprintf(job->sum, sizeof(job->sum), "%s/images/%s.sum", d->path, image_id);
    snprintf(job->folder, sizeof(job->folder), "%s/disks/%s", d->path, server_id);
    id_hex(nonce);
    snprintf(job->temp, sizeof(job->temp), "%s/disks/%s/.root.%s", d->path, server_id, nonce);
    snprintf(job->target, sizeof(job->target), "%s/disks/%s/root.%s", d->path, server_id,
             job->qcow2 ? "qcow2" : "raw");
    job->size_gb = size_gb;
    job->done = done;
    job->arg = arg;
    job->work.data = job;
    if (uv_queue_work(d->loop, &job->work, run, after) < 0)
        after(&job->work, -EIO);
}

int storage_dir_disk_locate(struct storage_driver *d, const char *server_id, char *path,
                            size_t path_size, char *format, size_t format_size)
{
    static const char *const formats[] = {"raw", "qcow2"};

    if (!storage_dir_safe_name(server_id))
        return -ENOENT;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, path_size, "%s/disks/%s/root.%s", d->path, server_id, formats[i]);
        if (access(path, F_OK) == 0) {
            snprintf(format, format_size, "%s", formats[i]);
            return 0;
        }
    }
    return -ENOENT;
}

int storage_dir_disk_delete(struct storage_driver *d, const char *server_id)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
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
        unlink(path);
    }
    closedir(dir);
    return rmdir(folder) < 0 ? -errno : 0;
}
