/* Heartbeats to the controllers; on controllers also ha/liveness over what arrives. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *own_address(const struct config *c, enum liveness_plane plane)
{
    const char *ip = plane == PLANE_MGMT     ? c->mgmt_ip
                     : plane == PLANE_TENANT ? c->tenant_ip
                                             : c->storage_ip;

    return ip[0] ? ip : NULL;
}

static void on_heard(void *arg, const struct heartbeat_frame *frame)
{
    struct node *node = arg;
    int64_t now = clock_now_ms();

    if (!node->liveness)
        return;
    liveness_heard(node->liveness, frame->sender, frame->plane, now);
    for (size_t i = 0; i < frame->view_count; i++)
        liveness_observed(node->liveness, frame->sender, frame->views[i].host,
                          frame->views[i].verdict, now);
}

static size_t fill_views(void *arg, struct heartbeat_view *ret, size_t max)
{
    struct node *node = arg;
    struct liveness_view views[HEARTBEAT_VIEWS_MAX];
    size_t n;

    if (!node->liveness)
        return 0;
    n = liveness_views(node->liveness, views, HEARTBEAT_VIEWS_MAX);
    n = n < HEARTBEAT_VIEWS_MAX ? n : HEARTBEAT_VIEWS_MAX;
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++) {
        snprintf(ret[i].host, sizeof(ret[i].host), "%s", views[i].host);
        ret[i].verdict = views[i].own;
    }
    return n;
}

/* The controllers' addresses: of the management plane from the configuration (known before any row
 * is), of the others from the hosts' rows. */
static size_t list_peers(struct node *node, struct heartbeat_peer *peers)
{
    struct config *c = &node->config;
    size_t n = 0;

    for (size_t i = 0; i < c->controller_count; i++) {
        json_t *row = mirror_get(node->mirror, "host", c->controllers[i].host, NULL);
        const char *ips[PLANE_COUNT] = {[PLANE_MGMT] = c->controllers[i].ip,
                                        [PLANE_TENANT] = json_str(row, "tenant_ip", NULL),
                                        [PLANE_STORAGE] = json_str(row, "storage_ip", NULL)};

        for (int plane = 0; plane < PLANE_COUNT; plane++) {
            if (strcmp(c->controllers[i].host, c->host) == 0 || !ips[plane] || !*ips[plane] ||
                !own_address(c, (enum liveness_plane)plane) || n == HEARTBEAT_PEERS_MAX)
                continue;
            snprintf(peers[n].host, sizeof(peers[n].host), "%s", c->controllers[i].host);
            snprintf(peers[n].ip, sizeof(peers[n].ip), "%s", ips[plane]);
            peers[n].port = 0;
            peers[n].plane = (enum liveness_plane)plane;
            n++;
        }
        json_decref(row);
    }
    return n;
}

/* The planes on which a host is to be heard here. Planes that share an address are one: frames go
 * through the first one's socket only. And on a plane that this host does not have it hears nobody.
 */
static unsigned planes_of(const struct config *c, const json_t *host)
{
    const char *mgmt = json_str(host, "mgmt_ip", ""), *tenant = json_str(host, "tenant_ip", ""),
               *storage = json_str(host, "storage_ip", "");
    unsigned planes = PLANE_BIT(PLANE_MGMT);

    if (*storage && own_address(c, PLANE_STORAGE) && strcmp(storage, mgmt) != 0)
        planes |= PLANE_BIT(PLANE_STORAGE);
    if (*tenant && own_address(c, PLANE_TENANT) && strcmp(tenant, mgmt) != 0 &&
        strcmp(tenant, storage) != 0)
        planes |= PLANE_BIT(PLANE_TENANT);
    return planes;
}

static void update_hosts(struct node *node)
{
    json_t *hosts = mirror_select(node->mirror, "host", "", ""), *host;
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        liveness_add_host(node->liveness, json_str(host, "id", ""), json_str(host, "cabinet", ""),
                          planes_of(&node->config, host), true, clock_now_ms());
    }
    json_decref(hosts);
}

static void refresh(struct node *node)
{
    static struct heartbeat_peer peers[HEARTBEAT_PEERS_MAX];

    heartbeat_set_peers(node->heartbeat, peers, list_peers(node, peers));
    if (node->liveness)
        update_hosts(node);
}

static void on_rows(void *arg, const struct store_change *changes, size_t n)
{
    struct node *node = arg;
    bool dirty = !changes;

    for (size_t i = 0; changes && i < n; i++)
        dirty = dirty || strcmp(changes[i].table, "host") == 0;
    if (dirty && !node->stopping)
        refresh(node);
}

int watchman_start(struct node *node, struct err *err)
{
    struct heartbeat_options options = {
        .self = node->config.host, .heard = on_heard, .views = fill_views, .arg = node};
    int rc = pki_cluster_key(node->config.state_dir, options.key, err);

    if (rc < 0)
        return rc;
    for (int plane = 0; plane < PLANE_COUNT; plane++)
        options.addresses[plane] = own_address(&node->config, (enum liveness_plane)plane);
    if (node->controller) {
        node->liveness = liveness_new(&(struct liveness_options){
            .self = node->config.host, .self_domain = node->config.cabinet});
        if (!node->liveness)
            return err_set(err, -ENOMEM, "cannot watch the hosts", NULL, NULL);
    }
    node->heartbeat = heartbeat_start(node->loop, &options, err);
    if (!node->heartbeat)
        return -EIO;
    mirror_listen(node->mirror, on_rows, node);
    refresh(node);
    return 0;
}

void watchman_stop(struct node *node)
{
    if (node->heartbeat)
        heartbeat_stop(node->heartbeat);
    node->heartbeat = NULL;
}
