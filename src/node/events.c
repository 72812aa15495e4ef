#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT_TIMEOUT_MS 5000
#define STORE_RETRY_MS 5000
#define EVENTS_TRIM_MAX 100 /* etcd takes 128 changes in a transaction */

void event_add(struct store_txn *txn, const struct config *config, const char *severity,
               const char *kind, const char *object, const char *format, ...)
{
    json_t *row = json_object();
    char id[32], text[1024], time[32];
    int64_t now = clock_wall_ms();
    unsigned nonce;
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    id_random(&nonce, sizeof(nonce));
    snprintf(id, sizeof(id), "%013lld-%08x", (long long)now, nonce);
    json_put_str(row, "id", id);
    json_put_str(row, "time", clock_iso_us(now, time, sizeof(time)));
    json_put_str(row, "severity", severity);
    json_put_str(row, "kind", kind);
    json_put_str(row, "object", object);
    json_put_str(row, "host", config->host);
    json_put_str(row, "text", text);
    store_txn_create(txn, "event", id, row);
    json_decref(row);
}

/* ---- events of the store itself ---- */

/* The store may take no writes just now: that is what is told. */
struct store_event {
    struct node *node;
    uv_timer_t again;
    char severity[16], text[600];
};

static void on_gone(uv_handle_t *handle)
{
    free(handle->data);
}

static void write_event(uv_timer_t *timer);

static void on_written(void *arg, int rc, int64_t revision)
{
    struct store_event *event = arg;

    if (rc < 0 && !event->node->stopping)
        uv_timer_start(&event->again, write_event, STORE_RETRY_MS, 0);
    else
        uv_close((uv_handle_t *)&event->again, on_gone);
}

static void write_event(uv_timer_t *timer)
{
    struct store_event *event = timer->data;
    struct node *node = event->node;
    struct store_txn *txn;

    if (node->stopping || !node->store) {
        on_written(event, node->stopping ? 0 : -EAGAIN, 0);
        return;
    }
    txn = store_txn_new();
    event_add(txn, &node->config, event->severity, "store.members", node->config.host, "%s",
              event->text);
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_written, event);
}

void event_store(void *arg, const char *severity, const char *text)
{
    struct node *node = arg;
    struct store_event *event = calloc(1, sizeof(*event));

    if (!event)
        return;
    event->node = node;
    snprintf(event->severity, sizeof(event->severity), "%s", severity);
    snprintf(event->text, sizeof(event->text), "%s", text);
    uv_timer_init(node->loop, &event->again);
    event->again.data = event;
    uv_timer_start(&event->again, write_event, 0, 0);
}

/* ---- trimming ---- */

static void on_trimmed(void *arg, int rc, int64_t revision)
{
    if (rc < 0)
        log_debug("old events stay for now: %s", strerror(-rc));
}

void events_trim(struct node *node, int64_t keep)
{
    int64_t there = mirror_count(node->mirror, "event", "", ""), extra = there - keep;
    struct store_txn *txn;
    json_t *rows, *row;
    size_t i;

    if (extra <= 0)
        return;
    rows = mirror_select(node->mirror, "event", "ORDER BY id LIMIT ?", "i",
                         extra < EVENTS_TRIM_MAX ? extra : (int64_t)EVENTS_TRIM_MAX);
    txn = store_txn_new();
    json_array_foreach(rows, i, row) store_txn_delete(txn, "event", json_str(row, "id", ""));
    json_decref(rows);
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_trimmed, node);
}
