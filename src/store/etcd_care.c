#include "store/etcd_care.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "io/http_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD_MS 60000
#define CALL_TIMEOUT_MS 60000 /* a large file is defragmented slowly */
#define MINUTE_MS 60000
#define WORTH_IT ((int64_t)64 * 1024 * 1024) /* smaller files are left as they are */

struct etcd_care {
    struct http_client *client;
    uv_timer_t *timer;
    char url[128];
    int members, turn; /* this one's place among them */
    bool busy, stopped, alarmed;
    int64_t size, used, revision;
    char member_id[32]; /* decimal, as the gateway writes it */
    void (*step)(struct etcd_care *care, const json_t *answer);
};

/* The gateway writes 64-bit numbers as texts. */
static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10)
                                 : json_int(object, key, 0);
}

/* ---- calls ---- */

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct etcd_care *care = arg;
    json_t *body;

    if (care->stopped)
        return;
    body = answer->rc == 0 && answer->status == 200
               ? json_parse(answer->body, answer->size, NULL, 0)
               : NULL;
    if (body) {
        care->step(care, body);
        json_decref(body);
        return;
    }
    care->busy = false;
    log_debug("etcd: looking after its space: %s",
              answer->rc < 0 ? strerror(-answer->rc) : "refused");
}

/* `body` is stolen. */
static void call(struct etcd_care *care, const char *path, json_t *body,
                 void (*step)(struct etcd_care *care, const json_t *answer))
{
    char *text = json_dumps(body, JSON_COMPACT), url[200];

    json_decref(body);
    snprintf(url, sizeof(url), "%s/v3/%s", care->url, path);
    care->step = step;
    care->busy =
        text && http_call(care->client, &(struct http_call_options){.method = "POST",
                                                                    .url = url,
                                                                    .body = text,
                                                                    .body_size = strlen(text),
                                                                    .timeout_ms = CALL_TIMEOUT_MS,
                                                                    .done = on_answer,
                                                                    .arg = care}) != NULL;
    free(text);
}

/* ---- steps ---- */

static void on_done(struct etcd_care *care, const json_t *answer)
{
    care->busy = false;
}

static void on_disarmed(struct etcd_care *care, const json_t *answer)
{
    care->busy = false;
    care->alarmed = false;
    log_warn("etcd: there is space again, the store accepts writes");
}

static void disarm(struct etcd_care *care, const json_t *answer)
{
    call(care, "maintenance/alarm",
         json_pack("{s:s, s:s, s:s}", "action", "DEACTIVATE", "memberID", care->member_id, "alarm",
                   "NOSPACE"),
         on_disarmed);
}

static void defragment_then_disarm(struct etcd_care *care, const json_t *answer)
{
    call(care, "maintenance/defragment", json_object(), disarm);
}

/* Compacting what is compacted already is refused; then only the rest is due. */
static void make_room(struct etcd_care *care)
{
    if (!care->alarmed)
        log_error("etcd: the store is full (%lld MiB): it takes no writes until old history is "
                  "gone; making room",
                  (long long)(care->size >> 20));
    if (care->alarmed) {
        care->alarmed = false;
        defragment_then_disarm(care, NULL);
        return;
    }
    care->alarmed = true;
    call(care, "kv/compaction",
         json_pack("{s:o, s:b}", "revision", json_sprintf("%lld", (long long)care->revision),
                   "physical", 1),
         defragment_then_disarm);
}

static bool is_our_turn(const struct etcd_care *care)
{
    return clock_wall_ms() / MINUTE_MS % care->members == care->turn;
}

static void on_alarms(struct etcd_care *care, const json_t *answer)
{
    const json_t *alarm;
    size_t i;

    json_array_foreach(json_object_get(answer, "alarms"), i, alarm)
    {
        if (strcmp(json_str(alarm, "alarm", ""), "NOSPACE") == 0 &&
            strcmp(json_str(alarm, "memberID", ""), care->member_id) == 0) {
            make_room(care);
            return;
        }
    }
    care->alarmed = false;
    if (care->size >= WORTH_IT && care->used < care->size / 2 && is_our_turn(care)) {
        log_info("etcd: defragmenting a file of %lld MiB with %lld MiB in it",
                 (long long)(care->size >> 20), (long long)(care->used >> 20));
        call(care, "maintenance/defragment", json_object(), on_done);
        return;
    }
    care->busy = false;
}

static void on_status(struct etcd_care *care, const json_t *answer)
{
    const json_t *header = json_object_get(answer, "header");

    care->size = number(answer, "dbSize");
    care->used = number(answer, "dbSizeInUse");
    care->revision = number(header, "revision");
    snprintf(care->member_id, sizeof(care->member_id), "%s", json_str(header, "member_id", ""));
    call(care, "maintenance/alarm", json_pack("{s:s}", "action", "GET"), on_alarms);
}

static void on_timer(uv_timer_t *timer)
{
    struct etcd_care *care = timer->data;

    if (!care->busy)
        call(care, "maintenance/status", json_object(), on_status);
}

/* ---- life ---- */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void take_options(struct etcd_care *care, const struct etcd_server_options *options)
{
    snprintf(care->url, sizeof(care->url), "%s://%s:%d", options->ca_file ? "https" : "http",
             options->listen_ip, options->client_port ? options->client_port : 2379);
    care->members = options->peer_count;
    for (int i = 0; i < options->peer_count; i++) {
        if (strcmp(options->peers[i].name, options->name) == 0)
            care->turn = i;
    }
}

struct etcd_care *etcd_care_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                  int period_ms)
{
    struct etcd_care *care = calloc(1, sizeof(*care));
    struct err err;

    if (!care)
        return NULL;
    care->timer = calloc(1, sizeof(*care->timer));
    care->client = http_client_new(loop,
                                   &(struct http_client_options){.ca_file = options->ca_file,
                                                                 .cert_file = options->cert_file,
                                                                 .key_file = options->key_file},
                                   &err);
    if (!care->timer || !care->client) {
        if (care->client)
            http_client_free(care->client);
        free(care->timer);
        free(care);
        return NULL;
    }
    take_options(care, options);
    uv_timer_init(loop, care->timer);
    care->timer->data = care;
    period_ms = period_ms > 0 ? period_ms : PERIOD_MS;
    uv_timer_start(care->timer, on_timer, (uint64_t)period_ms, (uint64_t)period_ms);
    return care;
}

void etcd_care_stop(struct etcd_care *care)
{
    if (!care)
        return;
    care->stopped = true;
    http_client_free(care->client);
    uv_close((uv_handle_t *)care->timer, free_timer);
    free(care);
}
