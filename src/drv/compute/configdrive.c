#include "drv/compute/configdrive.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GENISOIMAGE "/usr/bin/genisoimage"

static const char *const versions[] = {"latest", "2018-08-27"};

struct build {
    uv_process_t process;
    char path[PATH_MAX], temp[PATH_MAX], tree[PATH_MAX];
    drv_done_cb *done;
    void *arg;
    int rc;
};

static int write_file(const char *folder, const char *name, const char *text, size_t size)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return file_write_atomic(path, text, size, 0600);
}

static int write_json(const char *folder, const char *name, const json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT);
    int rc = text ? write_file(folder, name, text, strlen(text)) : -ENOMEM;

    free(text);
    return rc;
}

static int write_tree(struct build *b, const struct configdrive_content *content)
{
    char folder[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < 2 && rc == 0; i++) {
        snprintf(folder, sizeof(folder), "%s/openstack/%s", b->tree, versions[i]);
        rc = file_mkdirs(folder, 0700);
        if (rc == 0)
            rc = write_json(folder, "meta_data.json", content->meta_data);
        if (rc == 0)
            rc = write_json(folder, "network_data.json", content->network_data);
        if (rc == 0 && content->user_data)
            rc = write_file(folder, "user_data", content->user_data, content->user_data_size);
    }
    return rc;
}

static void remove_tree(const char *tree)
{
    static const char *const files[] = {"meta_data.json", "network_data.json", "user_data"};
    char path[PATH_MAX];

    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 3; k++) {
            snprintf(path, sizeof(path), "%s/openstack/%s/%s", tree, versions[i], files[k]);
            unlink(path);
        }
        snprintf(path, sizeof(path), "%s/openstack/%s", tree, versions[i]);
        rmdir(path);
    }
    snprintf(path, sizeof(path), "%s/openstack", tree);
    rmdir(path);
    rmdir(tree);
}

void configdrive_remove(const char *path)
{
    char beside[PATH_MAX];

    unlink(path);
    snprintf(beside, sizeof(beside), "%s.tmp", path);
    unlink(beside);
    snprintf(beside, sizeof(beside), "%s.d", path);
    remove_tree(beside);
}

static void finish(struct build *b)
{
    struct err err;

    remove_tree(b->tree);
    if (b->rc < 0) {
        unlink(b->temp);
        err_set(&err, b->rc, "cannot make the config drive", strerror(-b->rc),
                b->rc == -ENOENT ? "apt-get install genisoimage" : NULL);
    }
    b->done(b->arg, b->rc, b->rc < 0 ? &err : NULL);
}

static void on_closed(uv_handle_t *handle)
{
    struct build *b = handle->data;

    finish(b);
    free(b);
}

static void on_ended(uv_process_t *process, int64_t status, int signal)
{
    struct build *b = process->data;

    b->rc = status == 0 && signal == 0 ? 0 : -EIO;
    /* User data may hold secrets. */
    if (b->rc == 0 && (chmod(b->temp, 0600) < 0 || rename(b->temp, b->path) < 0))
        b->rc = -errno;
    uv_close((uv_handle_t *)process, on_closed);
}

void configdrive_build(uv_loop_t *loop, const char *path, const struct configdrive_content *content,
                       drv_done_cb *done, void *arg)
{
    struct build *b = calloc(1, sizeof(*b));
    char *argv[] = {GENISOIMAGE, "-quiet", "-o", NULL, "-V", "config-2", "-J", "-r", NULL, NULL};
    uv_process_options_t options = {.file = GENISOIMAGE, .args = argv, .exit_cb = on_ended};
    struct err err;

    if (!b) {
        err_set(&err, -ENOMEM, "cannot make the config drive", NULL, NULL);
        done(arg, -ENOMEM, &err);
        return;
    }
    snprintf(b->path, sizeof(b->path), "%s", path);
    snprintf(b->temp, sizeof(b->temp), "%s.tmp", path);
    snprintf(b->tree, sizeof(b->tree), "%s.d", path);
    b->done = done;
    b->arg = arg;
    b->rc = write_tree(b, content);
    argv[3] = b->temp;
    argv[8] = b->tree;
    b->process.data = b;
    if (b->rc < 0) {
        finish(b);
        free(b);
        return;
    }
    b->rc = uv_spawn(loop, &b->process, &options);
    if (b->rc < 0)
        uv_close((uv_handle_t *)&b->process, on_closed); /* the loop knows it all the same */
}
