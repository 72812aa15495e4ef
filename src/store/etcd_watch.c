/* The feed of changes: load everything once, then follow a watch over all of etcd's keys.
 *
 * All keys, since then every revision of etcd brings an event, and the feed always knows how far it
 * is without progress notifications. A watch whose endpoint stopped answering, or that lags behind
 * a revision we have seen elsewhere, is opened again at another endpoint.
 * A revision that is left out is seen as well, and everything is loaded again: etcd before 3.4.31
 * goes on behind a gap, without a word, when a watcher is slow and what it waits for is compacted
 * away (etcd issue 17529). The deletions of the revision that is compacted to may be missing from a
 * watch that begins there (issues 18089, 19179): a watch is opened one revision too early, so that
 * one that we need is never the first.
 * A row that cannot be read is passed on as such while following. When everything is loaded it
 * cannot be left out, as that would delete it, so nothing is delivered: the next endpoint is asked
 * (its member may have the row as it was), and again, until who has seen the row has put it back,
 * or the operator has.
 */
#include "store/etcd.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 128
#define LINE_MAX_SIZE ((size_t)256 * 1024 * 1024)
#define TICK_MS 250
#define SILENCE_MS 700
#define DOUBT_MS 300
#define LAG_MS 1000 /* doubled with each watch that brought nothing */
#define LAG_MAX_MS 8000
#define PROBE_MS 500
#define REOPEN_MS 50
#define LOAD_MS 30000
#define UNREADABLE_MS 1000

enum watch_state { WATCH_IDLE, WATCH_LOADING, WATCH_FOLLOWING };

struct etcd_watch {
    struct etcd *etcd;
    enum watch_state state;
    int64_t revision; /* delivered */
    /* loading */
    struct etcd_changes loaded;
    int64_t load_revision;
    bool load_unreadable; /* one of `loaded` is */
    json_t *unreadable;   /* "table/id" of each row that cannot be read -> its revision */
    /* following */
    struct http_call *call;
    bool cancelled; /* `call` was told to end */
    int endpoint;
    int64_t byte_ms;   /* the last byte, or the opening */
    int64_t behind_ms; /* since when a revision seen elsewhere has not come; 0: it has */
    int64_t lag_ms;    /* how long that may take */
    bool probing;
    int64_t probe_revision; /* delivered before the probe was sent */
    bool reload;            /* compacted */
    struct buf line;
    struct etcd_alarm tick, again;
};

static void load(void *arg);
static void follow(void *arg);

int etcd_watch_open(struct etcd *etcd)
{
    struct etcd_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return -ENOMEM;
    watch->etcd = etcd;
    watch->lag_ms = LAG_MS;
    watch->unreadable = json_object();
    buf_init(&watch->line, LINE_MAX_SIZE);
    etcd->watch = watch;
    return 0;
}

static void watch_free(struct etcd_watch *watch)
{
    etcd_changes_free(&watch->loaded);
    json_decref(watch->unreadable);
    buf_free(&watch->line);
    free(watch);
}

void etcd_watch_close(struct etcd *etcd)
{
    struct etcd_watch *watch = etcd->watch;

    etcd_alarm_stop(etcd, &watch->tick);
    etcd_alarm_stop(etcd, &watch->again);
    if (!watch->call && watch->state != WATCH_LOADING && !watch->probing)
        watch_free(watch);
    etcd->watch = NULL;
}

/* At closing, the last callback of the watch frees it. */
static bool was_last(struct etcd_watch *watch)
{
    if (!watch->etcd->closing)
        return false;
    if (!watch->call && watch->state != WATCH_LOADING && !watch->probing)
        watch_free(watch);
    return true;
}

/* ---- rows that cannot be read ---- */

static const char *describe(const char *name, int64_t revision, char *out, size_t out_size)
{
    char key[ETCD_KEY_SIZE], table[STORE_NAME_MAX + 1];
    const char *slash = strchr(name, '/');

    snprintf(table, sizeof(table), "%.*s", (int)(slash - name), name);
    etcd_row_key(key, table, slash + 1);
    snprintf(out, out_size,
             "the row %s cannot be read: put back what 'etcdctl get --rev=%lld %s' "
             "shows",
             name, (long long)revision - 1, key);
    json_clean(out);
    return out;
}

/* Remembers which rows cannot be read, and says it once for each revision of a row. */
static void note_readable(struct etcd_watch *watch, const struct store_change *change)
{
    char name[2 * STORE_NAME_MAX + 2], text[2 * ETCD_KEY_SIZE];

    if (!change || (!change->unreadable && json_object_size(watch->unreadable) == 0))
        return;
    snprintf(name, sizeof(name), "%s/%s", change->table, change->id);
    if (!change->unreadable) {
        json_object_del(watch->unreadable, name);
    } else if (json_int(watch->unreadable, name, 0) != change->revision) {
        json_object_set_new_nocheck(watch->unreadable, name, json_integer(change->revision));
        log_error("store: %s", describe(name, change->revision, text, sizeof(text)));
    }
}

void etcd_watch_trouble(const struct etcd *etcd, char *out, size_t out_size)
{
    json_t *unreadable = etcd->watch ? etcd->watch->unreadable : NULL;
    void *first = json_object_iter(unreadable);

    *out = '\0';
    if (first)
        describe(json_object_iter_key(first), json_integer_value(json_object_iter_value(first)),
                 out, out_size);
}

/* ---- loading ---- */

static void load_page(struct etcd_watch *watch, const char *from);

static void load_again(struct etcd_watch *watch, int after_ms)
{
    etcd_changes_free(&watch->loaded);
    watch->state = WATCH_IDLE;
    etcd_alarm_set(watch->etcd, &watch->again, clock_now_ms() + after_ms, load, watch);
}

static void loaded_all(struct etcd_watch *watch)
{
    struct store *store = &watch->etcd->store;

    watch->revision = watch->load_revision;
    watch->state = WATCH_FOLLOWING;
    json_object_clear(watch->unreadable);
    if (store->watcher.reset)
        store->watcher.reset(store->watcher.arg, watch->revision, watch->loaded.list,
                             watch->loaded.count);
    etcd_changes_free(&watch->loaded);
    follow(watch);
}

static void load_elsewhere(struct etcd_watch *watch, int endpoint)
{
    etcd_endpoint_failed(watch->etcd, endpoint, "a row cannot be read");
    load_again(watch, UNREADABLE_MS);
}

static void on_page(void *arg, const struct etcd_reply *reply)
{
    struct etcd_watch *watch = arg;
    json_t *kvs, *kv;
    char *last = NULL;
    bool more;
    size_t i;

    if (watch->etcd->closing) {
        watch->state = WATCH_IDLE;
        was_last(watch);
        return;
    }
    if (reply->rc < 0) {
        load_again(watch, REOPEN_MS);
        return;
    }
    if (watch->load_revision == 0)
        watch->load_revision = reply->revision;
    kvs = json_object_get(reply->json, "kvs");
    json_array_foreach(kvs, i, kv)
    {
        const struct store_change *change = etcd_changes_add(&watch->loaded, kv, false);

        watch->load_unreadable = watch->load_unreadable || (change && change->unreadable);
        note_readable(watch, change);
    }
    more = json_is_true(json_object_get(reply->json, "more"));
    if (more && json_array_size(kvs) > 0)
        last = etcd_base64_decode(
            json_str(json_array_get(kvs, json_array_size(kvs) - 1), "key", ""), NULL);
    if (last)
        load_page(watch, last);
    else if (more)
        load_again(watch, REOPEN_MS);
    else if (watch->load_unreadable)
        load_elsewhere(watch, reply->endpoint);
    else
        loaded_all(watch);
    free(last);
}

/* The next rows, from behind the key `from`; a key's successor is the key with a zero byte. */
static void load_page(struct etcd_watch *watch, const char *from)
{
    struct buf body;

    buf_init(&body, 16384);
    buf_printf(&body, "{\"limit\":\"%d\",\"revision\":\"%lld\",", PAGE_ROWS,
               (long long)watch->load_revision);
    if (from)
        etcd_put_base64(&body, "key", from, strlen(from) + 1);
    else
        etcd_put_key(&body, "key", "/vling/lease/");
    buf_str(&body, ",");
    etcd_put_key(&body, "range_end", "/vling/row0");
    buf_str(&body, "}");
    etcd_op_start(watch->etcd, "/v3/kv/range", &body, clock_now_ms() + LOAD_MS, on_page, watch);
}

static void load(void *arg)
{
    struct etcd_watch *watch = arg;

    watch->state = WATCH_LOADING;
    watch->load_revision = 0;
    watch->load_unreadable = false;
    watch->reload = false;
    load_page(watch, NULL);
}

/* ---- following ---- */

static void stop_call(struct etcd_watch *watch)
{
    if (watch->call && !watch->cancelled) {
        watch->cancelled = true;
        http_call_cancel(watch->call);
    }
}

static void on_gap(struct etcd_watch *watch, int64_t from, int64_t to)
{
    log_warn("store: etcd's watch left out revisions %lld to %lld; loading everything",
             (long long)from, (long long)to);
    watch->reload = true;
    stop_call(watch);
}

static void on_events(struct etcd_watch *watch, const json_t *events)
{
    struct store *store = &watch->etcd->store;
    struct etcd_changes changes = {0};
    int64_t revision = watch->revision;
    const json_t *event;
    size_t i;

    json_array_foreach(events, i, event)
    {
        const json_t *kv = json_object_get(event, "kv");
        int64_t mod = etcd_int(kv, "mod_revision");

        if (mod <= watch->revision)
            continue;
        if (mod > revision + 1) {
            on_gap(watch, revision + 1, mod - 1);
            etcd_changes_free(&changes);
            return;
        }
        revision = mod;
        note_readable(
            watch,
            etcd_changes_add(&changes, kv, strcmp(json_str(event, "type", "PUT"), "DELETE") == 0));
    }
    if (revision > watch->revision) {
        watch->revision = revision;
        watch->behind_ms = 0;
        watch->lag_ms = LAG_MS;
        if (revision > watch->etcd->seen_revision)
            etcd_endpoint_ok(watch->etcd, watch->endpoint, revision);
        if (store->watcher.changed)
            store->watcher.changed(store->watcher.arg, revision, changes.list, changes.count);
    }
    etcd_changes_free(&changes);
}

static void on_line(struct etcd_watch *watch, const char *text, size_t size)
{
    json_t *json = json_parse(text, size, NULL, 0), *result = json_object_get(json, "result");

    if (!result || json_is_true(json_object_get(result, "canceled"))) {
        if (etcd_int(result, "compact_revision") > 0) {
            log_info("store: the watch is behind etcd's history; loading everything");
            watch->reload = true;
        }
        stop_call(watch);
    } else {
        on_events(watch, json_object_get(result, "events"));
    }
    json_decref(json);
}

static void on_piece(void *arg, const void *bytes, size_t size)
{
    struct etcd_watch *watch = arg;
    size_t begin = 0, fresh = watch->line.len; /* no line ends before that */
    const char *end;

    if (watch->etcd->closing || watch->cancelled)
        return;
    watch->byte_ms = clock_now_ms();
    watch->etcd->endpoints[watch->endpoint].last_ok_ms = watch->byte_ms;
    buf_add(&watch->line, bytes, size);
    if (watch->line.failed) {
        watch->reload = true;
        stop_call(watch);
        return;
    }
    while (!watch->cancelled && begin < watch->line.len &&
           (end = memchr(watch->line.data + fresh, '\n', watch->line.len - fresh))) {
        size_t len = (size_t)(end - watch->line.data) - begin;

        if (len > 0)
            on_line(watch, watch->line.data + begin, len);
        begin = fresh = begin + len + 1;
    }
    buf_consume(&watch->line, begin);
    if (watch->line.len == 0 && watch->line.cap > 1024 * 1024)
        buf_free(&watch->line);
}

static void on_watch_end(void *arg, const struct http_answer *answer)
{
    struct etcd_watch *watch = arg;
    struct etcd *etcd = watch->etcd;

    watch->call = NULL;
    if (was_last(watch))
        return;
    if (!watch->reload)
        etcd_endpoint_failed(etcd, watch->endpoint, answer->rc < 0 ? answer->why : "watch ended");
    etcd_alarm_stop(etcd, &watch->tick);
    etcd_alarm_set(etcd, &watch->again, clock_now_ms() + REOPEN_MS, watch->reload ? load : follow,
                   watch);
}

static void on_probe(void *arg, const struct etcd_reply *reply)
{
    struct etcd_watch *watch = arg;

    watch->probing = false;
    if (was_last(watch))
        return;
    /* What came while it was asked may well be newer than its answer. */
    if (reply->rc == 0 && reply->revision < watch->probe_revision) {
        log_warn("store: etcd went back from revision %lld to %lld; loading everything",
                 (long long)watch->probe_revision, (long long)reply->revision);
        watch->etcd->seen_revision = reply->revision; /* or it would seem to lag for ever */
        watch->reload = true;
        stop_call(watch);
    } else if (reply->rc != 0 && reply->endpoint == watch->endpoint) {
        stop_call(watch);
    }
}

static void probe(struct etcd_watch *watch)
{
    struct buf body;

    watch->probing = true;
    watch->probe_revision = watch->revision;
    buf_init(&body, 1024);
    buf_str(&body, "{\"count_only\":true,");
    etcd_put_key(&body, "key", "/vling/none");
    buf_str(&body, "}");
    etcd_op_probe(watch->etcd, watch->endpoint, "/v3/kv/range", &body, PROBE_MS, on_probe, watch);
}

/* When something came from the watch's endpoint last. */
static int64_t heard_ms(const struct etcd_watch *watch)
{
    int64_t ok_ms = watch->etcd->endpoints[watch->endpoint].last_ok_ms;

    return ok_ms < watch->byte_ms ? watch->byte_ms : ok_ms;
}

/* Opening a watch elsewhere costs little (nothing is loaded again), waiting costs seconds. */
void etcd_watch_doubt(struct etcd *etcd, int endpoint)
{
    struct etcd_watch *watch = etcd->watch;

    if (watch && watch->call && watch->endpoint == endpoint &&
        clock_now_ms() - heard_ms(watch) > DOUBT_MS)
        stop_call(watch);
}

/* Others may write all the time: what counts is since when nothing came of what they wrote. */
static bool lags(struct etcd_watch *watch, int64_t now)
{
    if (watch->revision >= watch->etcd->seen_revision)
        watch->behind_ms = 0;
    else if (watch->behind_ms == 0)
        watch->behind_ms = now;
    return watch->behind_ms > 0 && now - watch->behind_ms > watch->lag_ms &&
           now - watch->byte_ms > watch->lag_ms;
}

static void on_tick(void *arg)
{
    struct etcd_watch *watch = arg;
    struct etcd *etcd = watch->etcd;
    int64_t now = clock_now_ms();

    if (!watch->call)
        return;
    if (lags(watch, now)) {
        if (watch->lag_ms < LAG_MAX_MS)
            watch->lag_ms *= 2;
        stop_call(watch);
    } else if (!watch->probing && now - heard_ms(watch) > SILENCE_MS) {
        probe(watch);
    }
    etcd_alarm_set(etcd, &watch->tick, now + TICK_MS, on_tick, watch);
}

static void follow(void *arg)
{
    struct etcd_watch *watch = arg;
    struct etcd *etcd = watch->etcd;
    char url[512];
    struct buf body;
    struct http_call_options options = {.method = "POST",
                                        .url = url,
                                        .content_type = "application/json",
                                        .piece = on_piece,
                                        .done = on_watch_end,
                                        .arg = watch};

    watch->endpoint = etcd->current;
    watch->byte_ms = clock_now_ms();
    watch->behind_ms = 0;
    watch->cancelled = false;
    buf_clear(&watch->line);
    snprintf(url, sizeof(url), "%s/v3/watch", etcd->endpoints[watch->endpoint].url);
    buf_init(&body, 1024);
    buf_printf(&body, "{\"create_request\":{\"start_revision\":\"%lld\",",
               (long long)watch->revision);
    /* From "\0" to "\0": every key there is. */
    etcd_put_base64(&body, "key", "\0", 1);
    buf_str(&body, ",");
    etcd_put_base64(&body, "range_end", "\0", 1);
    buf_str(&body, "}}");
    options.body = buf_text(&body);
    options.body_size = body.len;
    watch->call = http_call(etcd->http, &options);
    buf_free(&body);
    if (watch->call)
        etcd_alarm_set(etcd, &watch->tick, watch->byte_ms + TICK_MS, on_tick, watch);
    else
        etcd_alarm_set(etcd, &watch->again, watch->byte_ms + REOPEN_MS, follow, watch);
}

void etcd_watch_start(struct store *store)
{
    load(((struct etcd *)store)->watch);
}
