#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, size_t limit, char **ret_data, size_t *ret_size)
{
    char *data = NULL;
    size_t size = 0, cap = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    for (;;) {
        if (size + 1 >= cap) {
            char *more = realloc(data, cap = cap ? cap * 2 : 4096);

            if (!more) {
                rc = -ENOMEM;
                goto fail;
            }
            data = more;
        }
        got = read(fd, data + size, cap - size - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size += (size_t)got;
        if (size > limit) {
            rc = -EFBIG;
            goto fail;
        }
    }
    if (got < 0) {
        rc = -errno;
        goto fail;
    }
    close(fd);
    data[size] = '\0';
    *ret_data = data;
    if (ret_size)
        *ret_size = size;
    return 0;
fail:
    close(fd);
    free(data);
    return rc;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, data, size);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        data += put;
        size -= (size_t)put;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    int fd, rc;

    snprintf(copy, sizeof(copy), "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode)
{
    char temp[PATH_MAX];
    int fd, rc;

    if (snprintf(temp, sizeof(temp), "%s.tmp.%d", path, (int)getpid()) >= (int)sizeof(temp))
        return -ENAMETOOLONG;
    unlink(temp); /* of an earlier process of this number; nothing that stands there is followed */
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    rc = write_all(fd, data, size);
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(temp, path) < 0)
        rc = -errno;
    if (rc < 0) {
        unlink(temp);
        return rc;
    }
    return sync_folder_of(path);
}

/* A folder that is there already is as good as a new one; a file in its place is not. */
static int make_folder(const char *path, mode_t mode)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_mkdirs(const char *path, mode_t mode)
{
    char copy[PATH_MAX];
    int rc;

    if (path[0] == '\0')
        return -ENOENT;
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        rc = make_folder(copy, mode);
        if (rc < 0)
            return rc;
        *at = '/';
    }
    return make_folder(copy, mode);
}
