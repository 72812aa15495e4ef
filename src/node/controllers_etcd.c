/* etcd's own list of members, asked for and tidied up. */
#include "base/json.h"
#include "base/log.h"
#include "node/controllers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS 2000
#define BARRIER_TIMEOUT_MS 3000
#define TIDY_CHECKS 12 /* of a quarter of a second */

struct question {
    struct node *node;
    json_t *urls; /* of those that are asked for the list, one after the other */
    size_t at, waiting;
    json_t *members;
    controllers_members_cb *cb;
    void *arg;
};

/* One of the members, asked for its own state. */
struct probe {
    struct question *question;
    json_t *member;
};

static bool post(struct node *node, const char *base, const char *path, const char *body,
                 http_answer_cb *done, void *arg)
{
    char url[300];

    snprintf(url, sizeof(url), "%s/v3/%s", base, path);
    return http_call(node->peer_client, &(struct http_call_options){.method = "POST",
                                                                    .url = url,
                                                                    .body = body,
                                                                    .body_size = strlen(body),
                                                                    .timeout_ms = CALL_TIMEOUT_MS,
                                                                    .done = done,
                                                                    .arg = arg}) != NULL;
}

static json_t *body_of(const struct http_answer *answer)
{
    return answer->rc == 0 && answer->status == 200
               ? json_parse(answer->body, answer->size, NULL, 0)
               : NULL;
}

static void answer(struct question *q)
{
    q->cb(q->arg, q->members);
    json_decref(q->members);
    json_decref(q->urls);
    free(q);
}

static void ask(struct question *q);

/* A member without a leader answers, too: alone it is of no use. */
static void on_status(void *arg, const struct http_answer *http)
{
    struct probe *probe = arg;
    struct question *q = probe->question;
    json_t *body = body_of(http);
    const char *leader = json_str(body, "leader", "");

    if (leader[0] && strcmp(leader, "0") != 0) {
        json_put_bool(probe->member, "healthy", true);
        json_put_bool(probe->member, "leader",
                      strcmp(json_str(probe->member, "ID", "-"), leader) == 0);
    }
    json_decref(body);
    free(probe);
    if (--q->waiting == 0)
        answer(q);
}

static void ask_each(struct question *q)
{
    json_t *member;
    size_t i;

    q->waiting = 1;
    json_array_foreach(q->members, i, member)
    {
        const char *url =
            json_string_value(json_array_get(json_object_get(member, "clientURLs"), 0));
        struct probe *probe = url ? malloc(sizeof(*probe)) : NULL;

        json_put_bool(member, "healthy", false);
        json_put_bool(member, "leader", false);
        if (!probe)
            continue;
        *probe = (struct probe){q, member};
        if (post(q->node, url, "maintenance/status", "{}", on_status, probe))
            q->waiting++;
        else
            free(probe);
    }
    if (--q->waiting == 0)
        answer(q);
}

static void on_list(void *arg, const struct http_answer *http)
{
    struct question *q = arg;
    json_t *body = http->rc == -ECANCELED ? NULL : body_of(http);

    q->at++;
    if (!body && http->rc != -ECANCELED) {
        ask(q);
        return;
    }
    q->members = json_incref(json_object_get(body, "members"));
    json_decref(body);
    ask_each(q);
}

static void ask(struct question *q)
{
    const char *url = json_string_value(json_array_get(q->urls, q->at));

    if (!url || !post(q->node, url, "cluster/member/list", "{}", on_list, q))
        answer(q);
}

void controllers_members(struct node *node, const json_t *value, const char *except,
                         controllers_members_cb *cb, void *arg)
{
    struct question *q = calloc(1, sizeof(*q));
    const json_t *item;
    char url[100];
    size_t i;

    if (!q) {
        cb(arg, NULL);
        return;
    }
    q->node = node;
    q->cb = cb;
    q->arg = arg;
    q->urls = json_array();
    json_array_foreach(json_object_get(value, "controllers"), i, item)
    {
        snprintf(url, sizeof(url), "https://%s:2379", json_str(item, "ip", ""));
        if (!node->config.sqlite && (!except || strcmp(json_str(item, "host", ""), except) != 0))
            json_array_append_new(q->urls, json_string(url));
    }
    ask(q);
}

/* ---- tidying up ---- */

struct tidy {
    struct node *node;
    json_t *members;
};

static void on_removed(void *arg, const struct http_answer *http)
{
    struct node *node = arg;

    if (http->rc == 0 && http->status == 200)
        log_info("etcd: a member that is no controller any more was removed");
    else if (http->rc != -ECANCELED)
        log_warn("etcd: a member that is no controller any more stays for now: %s",
                 http->rc < 0 ? http->why : "it was refused");
    node->follow.tidying = false;
}

/* Known by its peer address, also before it was started for the first time. */
static bool is_listed(const json_t *member, const json_t *value)
{
    const json_t *item;
    char url[100];
    size_t i;

    json_array_foreach(json_object_get(value, "controllers"), i, item)
    {
        snprintf(url, sizeof(url), "https://%s:2380", json_str(item, "ip", ""));
        if (json_has_str(member, "peerURLs", url))
            return true;
    }
    return false;
}

/* One at a time: each removal changes what the next one needs. */
static void remove_one(struct node *node, const json_t *members, const json_t *value)
{
    const json_t *member;
    char body[64], own[100];
    size_t i;

    json_array_foreach(members, i, member)
    {
        if (is_listed(member, value))
            continue;
        snprintf(body, sizeof(body), "{\"ID\": \"%s\"}", json_str(member, "ID", ""));
        snprintf(own, sizeof(own), "https://%s:2379", node->config.mgmt_ip);
        node->follow.tidying = post(node, own, "cluster/member/remove", body, on_removed, node);
        return;
    }
}

static void on_current(void *arg, int rc)
{
    struct tidy *tidy = arg;
    struct node *node = tidy->node;

    node->follow.tidying = false;
    if (rc == 0) {
        json_t *value = controllers_value(node, NULL);

        if (json_int(value, "serial", 0) == node->config.controllers_serial)
            remove_one(node, tidy->members, value);
        json_decref(value);
    }
    json_decref(tidy->members);
    free(tidy);
}

static void on_members(void *arg, const json_t *members)
{
    struct tidy *tidy = arg;

    if (!members) {
        tidy->node->follow.tidying = false;
        free(tidy);
        return;
    }
    tidy->members = json_incref((json_t *)members);
    mirror_barrier(tidy->node->mirror, BARRIER_TIMEOUT_MS, on_current, tidy);
}

void controllers_tidy(struct node *node)
{
    struct tidy *tidy;
    json_t *value;

    if (!node->controller || node->config.sqlite || node->config.controllers_serial == 0 ||
        node->follow.tidying || node->follow.checks++ % TIDY_CHECKS != 0)
        return;
    tidy = calloc(1, sizeof(*tidy));
    if (!tidy)
        return;
    tidy->node = node;
    node->follow.tidying = true;
    value = controllers_value(node, NULL);
    controllers_members(node, value, NULL, on_members, tidy);
    json_decref(value);
}
