#include "leased.h"
#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define START_MS 30000
#define READ_MS 5000

struct question {
    struct question *next;
    const char *table, *id;
    void (*done)(void *arg, int rc);
    void *arg;
    int rc;
};

static struct node nodes[LEASED_CONTROLLERS];
static struct question *waiting;
static uv_idle_t turn;

static void on_shown(void *arg, int rc)
{
    struct question *q = arg;

    q->done(q->arg, rc < 0 ? rc : q->rc);
    free(q);
}

static void on_read(void *arg, int rc)
{
    struct question *q = arg;
    struct mirror *mirror = nodes[0].mirror;
    json_t *row = rc == 0 ? mirror_get_shared(mirror, q->table, q->id) : NULL;

    q->rc = rc < 0 ? rc : row ? 0 : -ENOENT;
    json_decref(row);
    mirror_show(mirror, mirror_changed_revision(mirror), READ_MS, on_shown, q);
}

/* Those that wait when the turn begins; who asks again meanwhile waits for the next. */
static void on_turn(uv_idle_t *idle)
{
    struct question *q = waiting, *next;

    waiting = NULL;
    for (; q; q = next) {
        next = q->next;
        mirror_read(nodes[0].mirror, READ_MS, on_read, q);
    }
    if (!waiting)
        uv_idle_stop(idle);
}

void leased_read(const char *table, const char *id, void (*done)(void *arg, int rc), void *arg)
{
    struct question *q = malloc(sizeof(*q));

    if (!q)
        abort();
    *q = (struct question){.next = waiting, .table = table, .id = id, .done = done, .arg = arg};
    waiting = q;
    uv_idle_start(&turn, on_turn);
}

void leased_counters(uint64_t *ret_at_once, uint64_t *ret_asked)
{
    struct reads_counters counters;

    reads_get_counters(nodes[0].reads, &counters);
    *ret_at_once = counters.at_once;
    *ret_asked = counters.asked;
}

static int open_node(int i, const char *dir, const char *const addresses[LEASED_CONTROLLERS],
                     const struct store_etcd_options *others, struct err *err)
{
    struct node *node = &nodes[i];
    struct store_etcd_options options = *others;
    char writer[16];

    snprintf(node->config.host, sizeof(node->config.host), "m%d", i);
    snprintf(node->config.mgmt_ip, sizeof(node->config.mgmt_ip), "%s", addresses[i]);
    snprintf(node->config.state_dir, sizeof(node->config.state_dir), "%s", dir);
    node->config.controller_count = LEASED_CONTROLLERS;
    for (int k = 0; k < LEASED_CONTROLLERS; k++) {
        struct config_controller *controller = &node->config.controllers[k];

        snprintf(controller->host, sizeof(controller->host), "m%d", k);
        snprintf(controller->ip, sizeof(controller->ip), "%s", addresses[k]);
    }
    if (!node->mirror) {
        snprintf(writer, sizeof(writer), "bench%d", i);
        options.writer = writer;
        node->store = store_open_etcd(node->loop, &options, err);
        node->mirror = node->store ? mirror_open(node->store, err) : NULL;
    }
    node->reads = node->mirror ? reads_start(node, err) : NULL;
    return node->reads ? 0 : -EIO;
}

static void on_tick(uv_timer_t *timer)
{
}

static void on_nothing(void *arg, int rc)
{
}

static bool held(void)
{
    struct reads_counters counters;

    reads_get_counters(nodes[0].reads, &counters);
    return counters.held;
}

int leased_open(uv_loop_t *loop, const char *dir, struct mirror *first,
                const char *const addresses[LEASED_CONTROLLERS],
                const struct store_etcd_options *others, struct err *err)
{
    static uv_timer_t tick;
    unsigned char key[PKI_CLUSTER_KEY_SIZE];
    int64_t end = clock_now_ms() + START_MS;
    char path[128];
    int rc;

    memset(key, 7, sizeof(key));
    snprintf(path, sizeof(path), "%s/pki", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/pki/cluster.key", dir);
    rc = file_write_atomic(path, key, sizeof(key), 0600);
    if (rc < 0)
        return err_set(err, rc, "cannot write the cluster's key", path, NULL);
    uv_idle_init(loop, &turn);
    nodes[0].mirror = first;
    for (int i = 0; rc == 0 && i < LEASED_CONTROLLERS; i++) {
        nodes[i].loop = loop;
        rc = open_node(i, dir, addresses, others, err);
    }
    if (rc < 0)
        return rc;
    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_tick, 100, 100); /* so that each wait below ends */
    while (!held() && clock_now_ms() < end) {
        for (int i = 0; i < LEASED_CONTROLLERS; i++)
            mirror_read(nodes[i].mirror, READ_MS, on_nothing, NULL);
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&tick);
    return held() ? 0 : err_set(err, -ETIMEDOUT, "no read lease was given", NULL, NULL);
}
