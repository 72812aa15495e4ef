#include "store/etcd_compare.h"

#include "base/json.h"
#include "io/http_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS 10000 /* a large store is hashed slowly */

struct etcd_compare {
    struct http_client *client;
    const struct etcd_server_options *options;
    etcd_compare_cb *cb; /* NULL: cancelled */
    void *arg;
    struct etcd_answered members[ETCD_COMPARE_MAX];
    int at;
    bool hashing, all;
    int64_t revision; /* that all who answered have */
};

/* ---- the decision ---- */

static int equal_to(const struct etcd_answered *members, int count, int which)
{
    int equal = 0;

    for (int i = 0; i < count; i++)
        equal += members[i].hashed && members[i].hash == members[which].hash;
    return equal;
}

void etcd_compare_judge(const struct etcd_answered *members, int count,
                        struct etcd_compared *ret_compared)
{
    struct etcd_compared c = {.agreed = -1, .odd = -1, .complete = true};
    int answered = 0, best = 0, known = -1;

    for (int i = 0; i < count; i++) {
        if (!members[i].hashed) {
            c.complete = false;
            continue;
        }
        if (known >= 0 && members[i].compacted != members[known].compacted) {
            *ret_compared = (struct etcd_compared){.agreed = -1, .odd = -1};
            return;
        }
        c.differ = c.differ || (known >= 0 && members[i].hash != members[known].hash);
        known = i;
        answered++;
        if (equal_to(members, count, i) > best) {
            best = equal_to(members, count, i);
            c.agreed = i;
        }
    }
    /* Alone it has nobody to be compared with. */
    if (count < 2 || best + count - answered < count / 2 + 1)
        c.verdict = ETCD_VERDICT_NO_MAJORITY;
    else if (best >= count / 2 + 1)
        c.verdict = ETCD_VERDICT_MAJORITY;
    for (int i = 0; c.verdict == ETCD_VERDICT_MAJORITY && i < count; i++) {
        if (!members[i].hashed || members[i].hash == members[c.agreed].hash)
            continue;
        c.odd = i;
        snprintf(c.odd_id, sizeof(c.odd_id), "%s", members[i].id);
    }
    *ret_compared = c;
}

/* ---- the questions ---- */

static void ask(struct etcd_compare *compare);

static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10)
                                 : json_int(object, key, 0);
}

static void take(struct etcd_compare *compare, const json_t *body)
{
    struct etcd_answered *m = &compare->members[compare->at];

    if (compare->hashing) {
        m->hash = number(body, "hash");
        m->compacted = number(body, "compact_revision");
        m->hashed = true;
        return;
    }
    m->revision = number(json_object_get(body, "header"), "revision");
    snprintf(m->id, sizeof(m->id), "%s",
             json_str(json_object_get(body, "header"), "member_id", ""));
    m->status = m->revision > 0;
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct etcd_compare *compare = arg;
    json_t *body;

    if (!compare->cb || answer->rc == -ECANCELED) {
        free(compare);
        return;
    }
    body = answer->rc == 0 && answer->status == 200
               ? json_parse(answer->body, answer->size, NULL, 0)
               : NULL;
    if (body)
        take(compare, body);
    json_decref(body);
    compare->at++;
    ask(compare);
}

static void end(struct etcd_compare *compare)
{
    struct etcd_compared compared;
    etcd_compare_cb *cb = compare->cb;
    void *arg = compare->arg;

    etcd_compare_judge(compare->members, compare->options->peer_count, &compared);
    free(compare);
    cb(arg, &compared);
}

/* The lowest revision of all who answered: who is behind did not differ. */
static void begin_hashing(struct etcd_compare *compare)
{
    compare->hashing = true;
    compare->at = 0;
    for (int i = 0; i < compare->options->peer_count; i++) {
        const struct etcd_answered *m = &compare->members[i];

        if (m->status && (compare->revision == 0 || m->revision < compare->revision))
            compare->revision = m->revision;
    }
}

static struct http_call *ask_one(struct etcd_compare *compare)
{
    const struct etcd_server_options *o = compare->options;
    int client = o->client_port ? o->client_port : 2379, peer = o->peer_port ? o->peer_port : 2380;
    char url[128], body[64] = "{}";

    snprintf(url, sizeof(url), "%s://%s:%d%s", o->ca_file ? "https" : "http",
             o->peers[compare->at].ip, compare->hashing ? peer : client,
             compare->hashing ? "/members/hashkv" : "/v3/maintenance/status");
    if (compare->hashing)
        snprintf(body, sizeof(body), "{\"revision\": %lld}", (long long)compare->revision);
    return http_call(compare->client,
                     &(struct http_call_options){.method = compare->hashing ? "GET" : "POST",
                                                 .url = url,
                                                 .body = body,
                                                 .body_size = strlen(body),
                                                 .timeout_ms = CALL_TIMEOUT_MS,
                                                 .done = on_answer,
                                                 .arg = compare});
}

static bool all_there(const struct etcd_compare *compare)
{
    for (int i = 0; i < compare->options->peer_count; i++) {
        if (!compare->members[i].status)
            return false;
    }
    return true;
}

static void ask(struct etcd_compare *compare)
{
    int count = compare->options->peer_count;

    if (compare->at >= count && !compare->hashing && !(compare->all && !all_there(compare)))
        begin_hashing(compare);
    while (compare->hashing && compare->at < count && !compare->members[compare->at].status)
        compare->at++;
    if (compare->at >= count || !ask_one(compare))
        end(compare);
}

struct etcd_compare *etcd_compare_start(struct http_client *client,
                                        const struct etcd_server_options *options, bool all,
                                        etcd_compare_cb *cb, void *arg)
{
    struct etcd_compare *compare = calloc(1, sizeof(*compare));

    if (!compare)
        return NULL;
    compare->client = client;
    compare->options = options;
    compare->all = all;
    compare->cb = cb;
    compare->arg = arg;
    if (!ask_one(compare)) {
        free(compare);
        return NULL;
    }
    return compare;
}

void etcd_compare_cancel(struct etcd_compare *compare)
{
    if (compare)
        compare->cb = NULL;
}
