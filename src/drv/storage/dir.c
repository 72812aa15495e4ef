/* Storage in a directory: the embedded default for one machine, and for shared file systems.
 *
 *   images/<id>            the bytes        images/<id>.sum      "sha512 <hex> <size>\n"
 *   images/.upload-<id>.*  uploads that are not complete
 *   disks/<server>/root.<format>            disks/<server>/.root.*   being made
 *
 * Everything appears by rename after fsync, so what is visible is complete, and nothing visible is
 * ever replaced. The sum is checked when a disk is made out of an image. On a shared file system
 * several hosts work in the same folders: names in the making carry a random part, and only old
 * ones are swept.
 */
#include "drv/storage/dir.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct storage_upload {
    struct storage_driver *driver;
    char id[64], temp[PATH_MAX];
    int fd, failed; /* the first write's error: the bytes are not whole any more */
    uint64_t size;
    gnutls_hash_hd_t hash;
};

/* No dot, so that an id can be neither a path, nor a hidden name, nor another's `.sum`. */
bool storage_dir_safe_name(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length > 63)
        return false;
    for (const char *at = name; *at; at++) {
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
              (*at >= '0' && *at <= '9') || *at == '-' || *at == '_'))
            return false;
    }
    return true;
}

bool storage_dir_is_of_age(const char *path, int64_t age)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime >= age;
}

void storage_dir_sweep(const char *folder, const char *prefix, int age)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[PATH_MAX];

    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (storage_dir_is_of_age(path, age))
            unlink(path);
    }
    if (dir)
        closedir(dir);
}

int storage_dir_sync(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

/* NFS and CephFS have no rename that refuses to replace, but links; others have no links. */
int storage_dir_publish(const char *temp, const char *target)
{
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, target, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(temp, target) < 0)
        return -errno;
    unlink(temp);
    return 0;
}

/* What passes through the page cache of a host that is cut off is written when the host is back,
 * whoever has the disk by then; what is written directly is not. */
static void warn_of_late_writes(const char *path)
{
    char probe[PATH_MAX];
    int fd, direct;

    snprintf(probe, sizeof(probe), "%s/images/.upload-probe-XXXXXX", path);
    fd = mkostemp(probe, O_CLOEXEC);
    if (fd < 0)
        return;
    direct = open(probe, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (direct < 0)
        log_warn("%s takes no direct I/O: a write of a host that was cut off may reach a disk when "
                 "its server runs elsewhere already. Use a file system that has O_DIRECT, or say "
                 "\"shared\": false for storage",
                 path);
    else
        close(direct);
    close(fd);
    unlink(probe);
}

static struct storage_driver *dir_open(uv_loop_t *loop, const json_t *config, struct err *err)
{
    const json_t *place = json_object_get(config, "path");
    struct storage_driver *d = calloc(1, sizeof(*d));
    char path[PATH_MAX];
    int n, rc;

    if (!d) {
        err_set(err, -ENOMEM, "cannot open the storage folder", NULL, NULL);
        return NULL;
    }
    d->loop = loop;
    d->last = &d->first;
    n = snprintf(d->path, sizeof(d->path), "%s",
                 json_is_string(place) ? json_string_value(place) : "/srv/vling");
    snprintf(path, sizeof(path), "%s/images", d->path);
    rc = n < (int)sizeof(d->path) ? file_mkdirs(path, 0755) : -ENAMETOOLONG;
    if (rc == 0) {
        storage_dir_sweep(path, ".upload-", STORAGE_DIR_STALE);
        snprintf(path, sizeof(path), "%s/disks", d->path);
        rc = file_mkdirs(path, 0755);
    }
    if (rc == 0 && json_is_true(json_object_get(config, "shared")))
        warn_of_late_writes(d->path);
    if (rc < 0) {
        err_why(err, rc, "cannot open the storage folder", "%s: %s", path, strerror(-rc));
        free(d);
        return NULL;
    }
    return d;
}

/* Disks that are being made are finished first. */
static void dir_close(struct storage_driver *d)
{
    d->closed = true;
    if (d->copying == 0)
        free(d);
}

/* ---- uploads ---- */

static void upload_free(struct storage_upload *u)
{
    if (u->hash)
        gnutls_hash_deinit(u->hash, NULL);
    if (u->fd >= 0)
        close(u->fd);
    free(u);
}

static void upload_abort(struct storage_upload *u)
{
    unlink(u->temp);
    upload_free(u);
}

static struct storage_upload *upload_begin(struct storage_driver *d, const char *image_id,
                                           struct err *err)
{
    struct storage_upload *u;
    char nonce[ID_HEX_SIZE], folder[PATH_MAX];

    if (!storage_dir_safe_name(image_id)) {
        err_set(err, -EINVAL, "cannot store the image", "its id is no file name", NULL);
        return NULL;
    }
    u = calloc(1, sizeof(*u));
    if (!u) {
        err_set(err, -ENOMEM, "cannot store the image", NULL, NULL);
        return NULL;
    }
    u->driver = d;
    snprintf(u->id, sizeof(u->id), "%s", image_id);
    snprintf(folder, sizeof(folder), "%s/images", d->path);
    storage_dir_sweep(folder, ".upload-", STORAGE_DIR_STALE);
    id_hex(nonce);
    snprintf(u->temp, sizeof(u->temp), "%s/images/.upload-%s.%s", d->path, image_id, nonce);
    u->fd = open(u->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (u->fd < 0) {
        err_why(err, -errno, "cannot store the image", "%s: %s", u->temp, strerror(errno));
        upload_free(u);
        return NULL;
    }
    if (gnutls_hash_init(&u->hash, GNUTLS_DIG_SHA512) < 0) {
        u->hash = NULL;
        err_set(err, -EIO, "cannot store the image", "no SHA-512", NULL);
        upload_abort(u);
        return NULL;
    }
    return u;
}

static int upload_write(struct storage_upload *u, const void *bytes, size_t size)
{
    const char *at = bytes;
    size_t left = size;

    while (left > 0 && u->failed == 0) {
        ssize_t put = write(u->fd, at, left);

        if (put >= 0) {
            at += put;
            left -= (size_t)put;
        } else if (errno != EINTR) {
            u->failed = -errno;
        }
    }
    if (u->failed < 0)
        return u->failed;
    gnutls_hash(u->hash, bytes, size);
    u->size += size;
    return 0;
}

/* The sum comes first: an image that is visible has one. */
static int upload_publish(struct storage_upload *u, const char *line, const char *path)
{
    char sum[PATH_MAX], folder[PATH_MAX];
    int rc;

    if (access(path, F_OK) == 0)
        return -EEXIST;
    snprintf(folder, sizeof(folder), "%s/images", u->driver->path);
    snprintf(sum, sizeof(sum), "%s/images/%s.sum", u->driver->path, u->id);
    rc = file_write_atomic(sum, line, strlen(line), 0644);
    if (rc == 0) {
        rc = storage_dir_publish(u->temp, path);
        if (rc < 0 && rc != -EEXIST)
            unlink(sum);
    }
    return rc < 0 ? rc : storage_dir_sync(folder);
}

static int upload_commit(struct storage_upload *u, struct err *err)
{
    unsigned char digest[64];
    char path[PATH_MAX], line[200];
    int n, rc = u->failed;

    gnutls_hash_deinit(u->hash, digest);
    u->hash = NULL;
    n = snprintf(line, sizeof(line), "sha512 ");
    for (size_t i = 0; i < sizeof(digest); i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%02x", digest[i]);
    snprintf(line + n, sizeof(line) - (size_t)n, " %llu\n", (unsigned long long)u->size);
    if (rc == 0 && fsync(u->fd) < 0)
        rc = -errno;
    snprintf(path, sizeof(path), "%s/images/%s", u->driver->path, u->id);
    if (rc == 0)
        rc = upload_publish(u, line, path);
    if (rc < 0) {
        err_why(err, rc, "cannot store the image", "%s: %s", path, strerror(-rc));
        unlink(u->temp);
    }
    upload_free(u);
    return rc;
}

/* ---- images ---- */

static int image_open(struct storage_driver *d, const char *image_id, int *ret_fd,
                      uint64_t *ret_size, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int fd;

    if (!storage_dir_safe_name(image_id))
        return err_set(err, -ENOENT, "cannot open the image", "its id is no file name", NULL);
    snprintf(path, sizeof(path), "%s/images/%s", d->path, image_id);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = -errno;

        if (fd >= 0)
            close(fd);
        return err_why(err, rc, "cannot open the image", "%s: %s", path, strerror(-rc));
    }
    *ret_fd = fd;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int image_delete(struct storage_driver *d, const char *image_id)
{
    char path[PATH_MAX];
    int rc = 0;

    if (!storage_dir_safe_name(image_id))
        return -ENOENT;
    snprintf(path, sizeof(path), "%s/images/%s", d->path, image_id);
    if (unlink(path) < 0)
        rc = -errno;
    snprintf(path, sizeof(path), "%s/images/%s.sum", d->path, image_id);
    unlink(path);
    return rc;
}

/* Files of other names are not the driver's. */
static json_t *image_list(struct storage_driver *d, int64_t age)
{
    char folder[PATH_MAX], path[2 * PATH_MAX], id[64];
    json_t *ids = json_array();
    struct dirent *entry;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%s/images", d->path);
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name, *end = strchr(name, '.');
        size_t size = end ? (size_t)(end - name) : strlen(name);

        snprintf(id, sizeof(id), "%.*s", size < sizeof(id) ? (int)size : 0, name);
        snprintf(path, sizeof(path), "%s/%s", folder, name);
        if (id_is_uuid(id) && (!end || strcmp(end, ".sum") == 0) &&
            storage_dir_is_of_age(path, age))
            json_array_append_new(ids, json_string(id));
    }
    if (dir)
        closedir(dir);
    return ids;
}

static int dir_space(struct storage_driver *d, uint64_t *ret_total, uint64_t *ret_free)
{
    struct statvfs st;

    if (statvfs(d->path, &st) < 0)
        return -errno;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

const struct storage_ops storage_dir = {
    .name = "dir",
    .shared = true,
    .open = dir_open,
    .close = dir_close,
    .upload_begin = upload_begin,
    .upload_write = upload_write,
    .upload_commit = upload_commit,
    .upload_abort = upload_abort,
    .image_open = image_open,
    .image_delete = image_delete,
    .image_list = image_list,
    .disk_create = storage_dir_disk_create,
    .disk_locate = storage_dir_disk_locate,
    .disk_delete = storage_dir_disk_delete,
    .disk_list = storage_dir_disk_list,
    .space = dir_space,
};
