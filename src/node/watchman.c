/* Heartbeats to the controllers and a few neighbours; ha/liveness over what arrives. Controllers
 * give verdicts, the others only tell them whom they hear. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ha/neighbours.h"
#include "node/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEIGHBOUR_TICK_MS 100

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

    if (!node->liveness) {
        liveness_heard(node->neighbour, frame->sender, frame->plane, now);
        return;
    }
    liveness_heard(node->liveness, frame->sender, frame->plane, now);
    for (size_t i = 0; i < frame->view_count; i++)
        liveness_observed(node->liveness, frame->sender, frame->views[i].host,
                          frame->views[i].verdict, now);
}

static size_t fill_views(void *arg, struct heartbeat_view *ret, size_t max)
{
    struct node *node = arg;
    struct liveness_view views[HEARTBEAT_VIEWS_MAX];
    size_t n = liveness_views(node->liveness ? node->liveness : node->neighbour, views,
                              HEARTBEAT_VIEWS_MAX);

    n = n < HEARTBEAT_VIEWS_MAX ? n : HEARTBEAT_VIEWS_MAX;
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++) {
        snprintf(ret[i].host, sizeof(ret[i].host), "%s", views[i].host);
        ret[i].verdict = views[i].own;
    }
    return n;
}

/* ---- neighbours ---- */

/* One for each row, with pointers into the rows. To be freed. */
static struct neighbour_host *read_neighbours(const struct config *c, const json_t *rows)
{
    struct neighbour_host *hosts = calloc(json_array_size(rows) + 1, sizeof(*hosts));
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (!hosts)
            break;
        hosts[i].id = json_str(row, "id", "");
        hosts[i].cabinet = json_str(row, "cabinet", "");
        hosts[i].controller = config_controller_index(c, hosts[i].id) >= 0;
    }
    return hosts;
}

static size_t add_peer(const struct config *c, struct heartbeat_peer *peers, size_t n,
                       const char *host, const char *const ips[PLANE_COUNT])
{
    for (int plane = 0; plane < PLANE_COUNT; plane++) {
        if (strcmp(host, c->host) == 0 || !ips[plane] || !*ips[plane] ||
            !own_address(c, (enum liveness_plane)plane) || n == HEARTBEAT_PEERS_MAX)
            continue;
        snprintf(peers[n].host, sizeof(peers[n].host), "%s", host);
        snprintf(peers[n].ip, sizeof(peers[n].ip), "%s", ips[plane]);
        peers[n].port = 0;
        peers[n].plane = (enum liveness_plane)plane;
        n++;
    }
    return n;
}

/* On the management plane alone: a host that lost only that one loses its lease, whoever hears it
 * elsewhere, and it is the controllers that tell which of its planes is cut. */
static size_t list_neighbours(struct node *node, struct heartbeat_peer *peers, size_t n)
{
    json_t *rows = mirror_select(node->mirror, "host", "ORDER BY id", "");
    struct neighbour_host *hosts = read_neighbours(&node->config, rows);
    size_t found[NEIGHBOURS_MAX],
        count = hosts ? neighbours_of(hosts, json_array_size(rows), node->config.host, found) : 0;

    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(rows, found[i]);
        const char *ips[PLANE_COUNT] = {[PLANE_MGMT] = json_str(row, "mgmt_ip", NULL)};

        n = add_peer(&node->config, peers, n, hosts[found[i]].id, ips);
    }
    free(hosts);
    json_decref(rows);
    return n;
}

/* Those that send here, and no others: one that has other neighbours by now would seem silent. */
static void update_neighbours(struct node *node)
{
    json_t *rows = mirror_select(node->mirror, "host", "ORDER BY id", "");
    struct neighbour_host *hosts = read_neighbours(&node->config, rows);
    size_t count = hosts ? json_array_size(rows) : 0;

    for (size_t i = 0; i < count; i++) {
        size_t found[NEIGHBOURS_MAX], n = neighbours_of(hosts, count, hosts[i].id, found);
        bool here = false;

        for (size_t k = 0; k < n; k++)
            here = here || strcmp(hosts[found[k]].id, node->config.host) == 0;
        if (here)
            liveness_add_host(node->neighbour, hosts[i].id, hosts[i].cabinet, 0, false,
                              clock_now_ms());
        else
            liveness_remove_host(node->neighbour, hosts[i].id);
    }
    free(hosts);
    json_decref(rows);
}

static void on_neighbour_changed(void *arg, const struct liveness_change *change)
{
    struct node *node = arg;

    if (change->kind == LIVENESS_VERDICT)
        heartbeat_send_now(node->heartbeat);
}

static void on_neighbour_timer(uv_timer_t *timer)
{
    struct node *node = timer->data;

    liveness_tick(node->neighbour, clock_now_ms(), on_neighbour_changed, node);
}

/* ---- all hosts ---- */

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

        n = add_peer(c, peers, n, c->controllers[i].host, ips);
        json_decref(row);
    }
    return list_neighbours(node, peers, n);
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
    else
        update_neighbours(node);
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
    struct liveness *watched;
    int rc = pki_cluster_key(node->config.state_dir, options.key, err);

    if (rc < 0)
        return rc;
    for (int plane = 0; plane < PLANE_COUNT; plane++)
        options.addresses[plane] = own_address(&node->config, (enum liveness_plane)plane);
    watched = liveness_new(
        &(struct liveness_options){.self = node->config.host, .self_domain = node->config.cabinet});
    if (!watched)
        return err_set(err, -ENOMEM, "cannot watch the hosts", NULL, NULL);
    *(node->controller ? &node->liveness : &node->neighbour) = watched;
    node->heartbeat = heartbeat_start(node->loop, &options, err);
    if (!node->heartbeat)
        return -EIO;
    uv_timer_init(node->loop, &node->neighbour_timer);
    node->neighbour_timer.data = node;
    if (node->neighbour)
        uv_timer_start(&node->neighbour_timer, on_neighbour_timer, NEIGHBOUR_TICK_MS,
                       NEIGHBOUR_TICK_MS);
    mirror_listen(node->mirror, on_rows, node);
    refresh(node);
    return 0;
}

void watchman_stop(struct node *node)
{
    uv_timer_stop(&node->neighbour_timer);
    if (node->heartbeat)
        heartbeat_stop(node->heartbeat);
    node->heartbeat = NULL;
}
