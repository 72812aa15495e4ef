/* The API's view of image bytes (api.h, struct api_images) over the storage driver, and of other
 * hosts (struct api_peers) over the peer client. */
#include "assembly.h"
#include "api/api.h"
#include "base/json.h"
#include "node/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PEER_TIMEOUT_MS 3000
#define PEER_ANSWER_MAX (2 * 1024 * 1024)

struct upload {
    struct node *node;
    struct storage_upload *upload;
};

static void *images_begin(void *arg, const char *image_id, struct err *err)
{
    struct node *node = arg;
    struct upload *upload = calloc(1, sizeof(*upload));

    if (!upload) {
        err_set(err, -ENOMEM, "cannot take the image", NULL, NULL);
        return NULL;
    }
    upload->node = node;
    upload->upload = node->storage_ops->upload_begin(node->storage, image_id, err);
    if (!upload->upload) {
        free(upload);
        return NULL;
    }
    return upload;
}

static int images_write(void *arg, const void *bytes, size_t size)
{
    struct upload *upload = arg;

    return upload->node->storage_ops->upload_write(upload->upload, bytes, size);
}

static int images_commit(void *arg, struct err *err)
{
    struct upload *upload = arg;
    int rc = upload->node->storage_ops->upload_commit(upload->upload, err);

    free(upload);
    return rc;
}

static void images_abort(void *arg)
{
    struct upload *upload = arg;

    upload->node->storage_ops->upload_abort(upload->upload);
    free(upload);
}

static int images_open(void *arg, const char *image_id, int *ret_fd, uint64_t *ret_size,
                       struct err *err)
{
    struct node *node = arg;

    return node->storage_ops->image_open(node->storage, image_id, ret_fd, ret_size, err);
}

static int images_remove(void *arg, const char *image_id)
{
    struct node *node = arg;

    return node->storage_ops->image_delete(node->storage, image_id);
}

struct api_images assembly_images(struct node *node)
{
    struct api_images images = {images_begin, images_write,  images_commit, images_abort,
                                images_open,  images_remove, node};

    return images;
}

/* ---- peers ---- */

struct peer_get {
    api_peer_cb *cb;
    void *arg;
};

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct peer_get *get = arg;

    get->cb(get->arg, answer->rc, answer->status, answer->body, answer->size);
    free(get);
}

static void peers_get(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg)
{
    struct node *node = arg;
    json_t *row = mirror_get(node->mirror, "host", host, NULL);
    const char *ip = json_str(row, "mgmt_ip", NULL);
    struct peer_get *get = calloc(1, sizeof(*get));
    char url[512];

    if (!ip || !get) {
        free(get);
        json_decref(row);
        cb(cb_arg, ip ? -ENOMEM : -ENOENT, 0, NULL, 0);
        return;
    }
    get->cb = cb;
    get->arg = cb_arg;
    snprintf(url, sizeof(url), "https://%s:%d%s", ip, NODE_PEER_PORT, path);
    http_call(node->peer_client, &(struct http_call_options){.method = "GET",
                                                             .url = url,
                                                             .timeout_ms = PEER_TIMEOUT_MS,
                                                             .answer_max = PEER_ANSWER_MAX,
                                                             .done = on_answer,
                                                             .arg = get});
    json_decref(row);
}

struct api_peers assembly_peers(struct node *node)
{
    struct api_peers peers = {peers_get, node};

    return peers;
}

/* ---- the API ---- */

int assembly_start_api(struct node *node, struct err *err)
{
    char vip[80];
    struct api_options options = {
        .loop = node->loop,
        .store = node->store,
        .mirror = node->mirror,
        .address = "0.0.0.0",
        .public_address = vip,
        .region = node->config.region,
        .images = assembly_images(node),
        .peers = assembly_peers(node),
    };

    config_vip_address(&node->config, vip, sizeof(vip));
    node->api = api_start(&options, err);
    return node->api ? 0 : -EIO;
}

void assembly_stop_api(struct node *node)
{
    if (node->api)
        api_stop(node->api);
    node->api = NULL;
}

int assembly_bootstrap(struct store_txn *txn, const char *admin_password, struct err *err)
{
    return api_bootstrap(txn, admin_password, err);
}
