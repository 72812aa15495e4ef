#include "node/sweep.h"
#include "base/log.h"
#include "node/node.h"

#include <stdlib.h>

#define BARRIER_TIMEOUT_MS 3000

struct sweep {
    struct node *node;
    uv_work_t work;
    json_t *ids;
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

static void sweep_free(struct sweep *sweep)
{
    json_decref(sweep->ids);
    free(sweep);
}

static void on_current(void *arg, int rc)
{
    struct sweep *sweep = arg;
    struct node *node = sweep->node;

    if (rc == 0 && !node->stopping)
        sweep_unnamed(node->mirror, node->storage_ops, node->storage, sweep->ids);
    sweep_free(sweep);
}

static void look(uv_work_t *work)
{
    struct sweep *sweep = work->data;
    struct node *node = sweep->node;

    sweep->ids = node->storage_ops->image_list(node->storage, SWEEP_AGE);
}

static void on_looked(uv_work_t *work, int status)
{
    struct sweep *sweep = work->data;

    if (status < 0 || sweep->node->stopping || json_array_size(sweep->ids) == 0)
        sweep_free(sweep);
    else
        mirror_barrier(sweep->node->mirror, BARRIER_TIMEOUT_MS, on_current, sweep);
}

void sweep_images(struct node *node)
{
    struct sweep *sweep = node->storage_ops->image_list ? calloc(1, sizeof(*sweep)) : NULL;

    if (!sweep)
        return;
    sweep->node = node;
    sweep->work.data = sweep;
    if (uv_queue_work(node->loop, &sweep->work, look, on_looked) < 0)
        sweep_free(sweep);
}
