#include "node/sweep.h"
#include "base/log.h"
#include "node/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BARRIER_TIMEOUT_MS 3000

struct sweep {
    struct node *node;
    struct sweep_memory *memory;
    uv_work_t work;
    json_t *images, *disks;
};

size_t sweep_unnamed(struct mirror *db, const struct storage_ops *ops,
                     struct storage_driver *storage, const json_t *ids)
{
    size_t deleted = 0;
    const json_t *one;
    size_t i;

    if (mirror_count(db, "image", "WHERE blob IS NOT NULL", "") == 0)
        return 0;
    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);

        if (deleted == SWEEP_MAX)
            break;
        if (mirror_count(db, "image", "WHERE blob = ?", "s", id) > 0)
            continue;
        ops->image_delete(storage, id);
        log_info("deleted the bytes %s: no image has them", id);
        deleted++;
    }
    return deleted;
}

static bool holds(const json_t *ids, const char *id)
{
    const json_t *one;
    size_t i;

    json_array_foreach(ids, i, one)
    {
        if (strcmp(json_string_value(one), id) == 0)
            return true;
    }
    return false;
}

size_t sweep_disks(struct mirror *db, const struct storage_ops *ops, struct storage_driver *storage,
                   const json_t *ids, struct sweep_memory *memory)
{
    json_t *unnamed = json_array();
    size_t deleted = 0, i;
    const json_t *one;

    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        int rc;

        if (mirror_count(db, "server", "WHERE id = ?", "s", id) > 0)
            continue;
        json_array_append_new(unnamed, json_string(id));
        if (deleted == SWEEP_MAX || !holds(memory->disks, id) ||
            mirror_count(db, "server", "", "") == 0)
            continue;
        rc = ops->disk_delete(storage, id);
        if (rc < 0 && rc != -ENOENT) {
            log_warn("the disk %s, which no server has, cannot be deleted: %s", id, strerror(-rc));
            continue;
        }
        log_info("deleted the disk %s: no server has it", id);
        deleted++;
    }
    json_decref(memory->disks);
    memory->disks = unnamed;
    return deleted;
}

static void sweep_free(struct sweep *sweep)
{
    json_decref(sweep->images);
    json_decref(sweep->disks);
    free(sweep);
}

static void on_current(void *arg, int rc)
{
    struct sweep *sweep = arg;
    struct node *node = sweep->node;

    if (rc == 0 && !node->stopping) {
        sweep_unnamed(node->mirror, node->storage_ops, node->storage, sweep->images);
        sweep_disks(node->mirror, node->storage_ops, node->storage, sweep->disks, sweep->memory);
    }
    sweep_free(sweep);
}

static void look(uv_work_t *work)
{
    struct sweep *sweep = work->data;
    const struct storage_ops *ops = sweep->node->storage_ops;

    sweep->images = ops->image_list(sweep->node->storage, SWEEP_AGE);
    sweep->disks = ops->disk_list(sweep->node->storage, SWEEP_AGE);
}

static void on_looked(uv_work_t *work, int status)
{
    struct sweep *sweep = work->data;

    if (status < 0 || sweep->node->stopping)
        sweep_free(sweep);
    else
        mirror_barrier(sweep->node->mirror, BARRIER_TIMEOUT_MS, on_current, sweep);
}

void sweep(struct node *node, struct sweep_memory *memory)
{
    const struct storage_ops *ops = node->storage_ops;
    struct sweep *sweep = ops->image_list && ops->disk_list ? calloc(1, sizeof(*sweep)) : NULL;

    if (!sweep)
        return;
    sweep->node = node;
    sweep->memory = memory;
    sweep->work.data = sweep;
    if (uv_queue_work(node->loop, &sweep->work, look, on_looked) < 0)
        sweep_free(sweep);
}
