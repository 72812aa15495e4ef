#include "store/etcd_heal.h"

#include "base/json.h"
#include "base/log.h"
#include "io/http_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS 3000
#define OTHERS_MAX 8

struct etcd_heal {
    struct http_client *client;
    etcd_place_cb *cb;
    void *arg;
    uv_timer_t *end; /* the answer is given from here, off the client's stack */
    enum etcd_place place;
    char name[64], own_peer_url[128];
    char urls[OTHERS_MAX][128]; /* of the others, for clients */
    int url_count, at;
    void (*step)(struct etcd_heal *heal, const json_t *answer);
};

/* ---- the end ---- */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void heal_free(struct etcd_heal *heal)
{
    heal->cb = NULL;
    http_client_free(heal->client);
    uv_close((uv_handle_t *)heal->end, free_timer);
    free(heal);
}

static void on_end(uv_timer_t *timer)
{
    struct etcd_heal *heal = timer->data;
    etcd_place_cb *cb = heal->cb;
    enum etcd_place place = heal->place;
    void *arg = heal->arg;

    heal_free(heal);
    cb(arg, place);
}

static void finish(struct etcd_heal *heal, enum etcd_place place)
{
    heal->place = place;
    uv_timer_start(heal->end, on_end, 0, 0);
}

/* ---- calls ---- */

static void ask_members(struct etcd_heal *heal);

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct etcd_heal *heal = arg;
    json_t *body;

    if (!heal->cb)
        return; /* being freed */
    body = answer->rc == 0 && answer->status == 200
               ? json_parse(answer->body, answer->size, NULL, 0)
               : NULL;
    if (body) {
        heal->step(heal, body);
        json_decref(body);
        return;
    }
    if (answer->rc == 0)
        log_warn("etcd at %s refused: %.*s", heal->urls[heal->at],
                 answer->size < 200 ? (int)answer->size : 200, answer->body);
    heal->at++;
    ask_members(heal);
}

static void call(struct etcd_heal *heal, const char *path, const json_t *body,
                 void (*step)(struct etcd_heal *heal, const json_t *answer))
{
    char *text = json_dumps(body, JSON_COMPACT);
    char url[256];

    snprintf(url, sizeof(url), "%s/v3/cluster/member/%s", heal->urls[heal->at], path);
    heal->step = step;
    if (!text ||
        !http_call(heal->client, &(struct http_call_options){.method = "POST",
                                                             .url = url,
                                                             .body = text,
                                                             .body_size = text ? strlen(text) : 0,
                                                             .timeout_ms = CALL_TIMEOUT_MS,
                                                             .done = on_answer,
                                                             .arg = heal}))
        finish(heal, ETCD_PLACE_UNKNOWN);
    free(text);
}

/* ---- steps ---- */

static void on_added(struct etcd_heal *heal, const json_t *answer)
{
    log_info("etcd: this member was added to the others' cluster and gets its data from them");
    finish(heal, ETCD_PLACE_EXISTING);
}

static void add(struct etcd_heal *heal, const json_t *answer)
{
    json_t *body = json_pack("{s:[s]}", "peerURLs", heal->own_peer_url);

    call(heal, "add", body, on_added);
    json_decref(body);
}

static void remove_old(struct etcd_heal *heal, const char *id)
{
    json_t *body = json_pack("{s:s}", "ID", id);

    log_warn("etcd: this member has no data any more; the others forget what it was");
    call(heal, "remove", body, add);
    json_decref(body);
}

static bool is_us(const struct etcd_heal *heal, const json_t *member)
{
    return strcmp(json_str(member, "name", ""), heal->name) == 0 ||
           json_has_str(member, "peerURLs", heal->own_peer_url);
}

static void on_members(struct etcd_heal *heal, const json_t *answer)
{
    const json_t *member, *us = NULL;
    size_t i;

    json_array_foreach(json_object_get(answer, "members"), i, member)
    {
        if (is_us(heal, member))
            us = member;
    }
    if (!us)
        add(heal, NULL);
    else if (json_array_size(json_object_get(us, "clientURLs")) > 0)
        remove_old(heal, json_str(us, "ID", ""));
    else if (!json_str(us, "name", "")[0])
        finish(heal, ETCD_PLACE_EXISTING);
    else
        finish(heal, ETCD_PLACE_NEW);
}

static void ask_members(struct etcd_heal *heal)
{
    json_t *body;

    if (heal->at >= heal->url_count) {
        finish(heal, ETCD_PLACE_UNKNOWN);
        return;
    }
    body = json_object();
    call(heal, "list", body, on_members);
    json_decref(body);
}

/* ---- start ---- */

static void take_options(struct etcd_heal *heal, const struct etcd_server_options *options)
{
    const char *scheme = options->ca_file ? "https" : "http";
    int client = options->client_port ? options->client_port : 2379;
    int peer = options->peer_port ? options->peer_port : 2380;

    snprintf(heal->name, sizeof(heal->name), "%s", options->name);
    snprintf(heal->own_peer_url, sizeof(heal->own_peer_url), "%s://%s:%d", scheme,
             options->listen_ip, peer);
    for (int i = 0; i < options->peer_count && heal->url_count < OTHERS_MAX; i++) {
        if (strcmp(options->peers[i].name, options->name) == 0)
            continue;
        snprintf(heal->urls[heal->url_count++], sizeof(heal->urls[0]), "%s://%s:%d", scheme,
                 options->peers[i].ip, client);
    }
}

struct etcd_heal *etcd_heal_start(uv_loop_t *loop, const struct etcd_server_options *options,
                                  etcd_place_cb *cb, void *arg)
{
    struct etcd_heal *heal = calloc(1, sizeof(*heal));
    struct err err;

    if (!heal)
        return NULL;
    heal->end = calloc(1, sizeof(*heal->end));
    heal->client = http_client_new(loop,
                                   &(struct http_client_options){.ca_file = options->ca_file,
                                                                 .cert_file = options->cert_file,
                                                                 .key_file = options->key_file},
                                   &err);
    if (!heal->end || !heal->client) {
        if (heal->client)
            http_client_free(heal->client);
        free(heal->end);
        free(heal);
        return NULL;
    }
    uv_timer_init(loop, heal->end);
    heal->end->data = heal;
    heal->cb = cb;
    heal->arg = arg;
    take_options(heal, options);
    ask_members(heal);
    return heal;
}

void etcd_heal_cancel(struct etcd_heal *heal)
{
    if (heal)
        heal_free(heal);
}
