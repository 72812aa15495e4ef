/* Images in anonymous memory, disks that are only names. Hosts do not see each other's memory, so a
 * disk can be made out of any image: there is nothing in it. */
#include "base/json.h"
#include "drv/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct storage_driver {
    json_t *images; /* id -> descriptor */
    json_t *disks;  /* server's id -> true */
};

struct storage_upload {
    struct storage_driver *driver;
    char id[64];
    int fd;
};

static struct storage_driver *fake_open(uv_loop_t *loop, const json_t *config, struct err *err)
{
    struct storage_driver *driver = calloc(1, sizeof(*driver));

    if (!driver) {
        err_set(err, -ENOMEM, "cannot open the fake storage driver", NULL, NULL);
        return NULL;
    }
    driver->images = json_object();
    driver->disks = json_object();
    return driver;
}

static void fake_close(struct storage_driver *driver)
{
    const char *id;
    json_t *fd;

    json_object_foreach(driver->images, id, fd) close((int)json_integer_value(fd));
    json_decref(driver->images);
    json_decref(driver->disks);
    free(driver);
}

/* ---- images ---- */

static struct storage_upload *fake_upload_begin(struct storage_driver *driver, const char *image_id,
                                                struct err *err)
{
    struct storage_upload *upload = calloc(1, sizeof(*upload));
    int fd = upload ? memfd_create("image", MFD_CLOEXEC) : -1;

    if (fd < 0) {
        err_set(err, -ENOMEM, "cannot take the image", NULL, NULL);
        free(upload);
        return NULL;
    }
    upload->driver = driver;
    upload->fd = fd;
    snprintf(upload->id, sizeof(upload->id), "%s", image_id);
    return upload;
}

static int fake_upload_write(struct storage_upload *upload, const void *bytes, size_t size)
{
    ssize_t n = write(upload->fd, bytes, size);

    return n < 0 ? -errno : (size_t)n < size ? -ENOSPC : 0;
}

static int fake_upload_commit(struct storage_upload *upload, struct err *err)
{
    json_t *images = upload->driver->images;
    int rc = 0;

    if (json_object_get(images, upload->id)) {
        rc = err_set(err, -EEXIST, "cannot keep the image", "it is there already", NULL);
        close(upload->fd);
    } else {
        json_put_int(images, upload->id, upload->fd);
    }
    free(upload);
    return rc;
}

static void fake_upload_abort(struct storage_upload *upload)
{
    close(upload->fd);
    free(upload);
}

/* Opened anew, so that each reader has a place of its own. */
static int fake_image_open(struct storage_driver *driver, const char *image_id, int *ret_fd,
                           uint64_t *ret_size, struct err *err)
{
    json_t *kept = json_object_get(driver->images, image_id);
    char path[64];
    struct stat st;
    int fd = -1;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)json_integer_value(kept));
    if (kept)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (fd >= 0)
            close(fd);
        return err_set(err, -ENOENT, "cannot open the image", "it is not there", NULL);
    }
    *ret_fd = fd;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int fake_image_delete(struct storage_driver *driver, const char *image_id)
{
    json_t *kept = json_object_get(driver->images, image_id);

    if (!kept)
        return -ENOENT;
    close((int)json_integer_value(kept));
    json_object_del(driver->images, image_id);
    return 0;
}

/* ---- disks ---- */

static void fake_disk_create(struct storage_driver *driver, const char *server_id,
                             const char *image_id, const char *image_format, int64_t size_gb,
                             drv_done_cb *done, void *arg)
{
    json_put_bool(driver->disks, server_id, true);
    done(arg, 0, NULL);
}

static int fake_disk_locate(struct storage_driver *driver, const char *server_id, char *path,
                            size_t path_size, char *format, size_t format_size)
{
    if (!json_object_get(driver->disks, server_id))
        return -ENOENT;
    if ((size_t)snprintf(path, path_size, "fake:%s", server_id) >= path_size)
        return -ENAMETOOLONG;
    snprintf(format, format_size, "raw");
    return 0;
}

static int fake_disk_delete(struct storage_driver *driver, const char *server_id)
{
    return json_object_del(driver->disks, server_id) == 0 ? 0 : -ENOENT;
}

static int fake_space(struct storage_driver *driver, uint64_t *ret_total, uint64_t *ret_free)
{
    return -ENOTSUP;
}

const struct storage_ops storage_fake = {
    .name = "fake",
    .shared = true,
    .open = fake_open,
    .close = fake_close,
    .upload_begin = fake_upload_begin,
    .upload_write = fake_upload_write,
    .upload_commit = fake_upload_commit,
    .upload_abort = fake_upload_abort,
    .image_open = fake_image_open,
    .image_delete = fake_image_delete,
    .disk_create = fake_disk_create,
    .disk_locate = fake_disk_locate,
    .disk_delete = fake_disk_delete,
    .space = fake_space,
};
