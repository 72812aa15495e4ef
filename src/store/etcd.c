#include "store/etcd.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX ((size_t)96 * 1024 * 1024)
#define PAUSE_MS 40
#define SIZE_EVERY_MS 10000
#define REACHABLE_MS 3000
#define OVERDUE_MS 200
#define LOOK_MS 1000 /* how often, and how long for an answer */

/* How long an attempt may take before the next endpoint is tried: short at first, since a dead
 * cabinet must cost little and what is proposed while a leader is lost is lost, too; then longer,
 * since a busy machine must not be asked twice for nothing and a page of large rows takes its time
 * on a slow link. */
static int attempt_ms(int attempt)
{
    static const int times[] = {400, 400, 600, 1000, 1500, 2000, 4000, 8000};

    return times[attempt < 8 ? attempt : 7];
}

/* ---- alarms ---- */

static void on_timer(uv_timer_t *timer);

static void arm(struct etcd *etcd)
{
    int64_t now = clock_now_ms(), first = INT64_MAX;

    for (struct etcd_alarm *alarm = etcd->alarms; alarm; alarm = alarm->next)
        if (alarm->due_ms < first)
            first = alarm->due_ms;
    if (first == INT64_MAX) {
        uv_timer_stop(etcd->timer);
        return;
    }
    uv_update_time(etcd->store.loop);
    uv_timer_start(etcd->timer, on_timer, first > now ? (uint64_t)(first - now) : 0, 0);
}

void etcd_alarm_stop(struct etcd *etcd, struct etcd_alarm *alarm)
{
    if (!alarm->set)
        return;
    alarm->set = false;
    if (alarm->prev)
        alarm->prev->next = alarm->next;
    else
        etcd->alarms = alarm->next;
    if (alarm->next)
        alarm->next->prev = alarm->prev;
}

void etcd_alarm_set(struct etcd *etcd, struct etcd_alarm *alarm, int64_t due_ms,
                    void (*ring)(void *arg), void *arg)
{
    etcd_alarm_stop(etcd, alarm);
    alarm->due_ms = due_ms;
    alarm->ring = ring;
    alarm->arg = arg;
    alarm->set = true;
    alarm->prev = NULL;
    alarm->next = etcd->alarms;
    if (alarm->next)
        alarm->next->prev = alarm;
    etcd->alarms = alarm;
    arm(etcd);
}

static struct etcd_alarm *next_due(struct etcd *etcd, int64_t now)
{
    for (struct etcd_alarm *alarm = etcd->alarms; alarm; alarm = alarm->next)
        if (alarm->due_ms <= now)
            return alarm;
    return NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct etcd *etcd = timer->data;
    int64_t now = clock_now_ms();
    struct etcd_alarm *alarm;

    while (!etcd->closing && (alarm = next_due(etcd, now))) {
        etcd_alarm_stop(etcd, alarm);
        alarm->ring(alarm->arg);
    }
    if (!etcd->closing)
        arm(etcd);
}

/* ---- endpoints ---- */

void etcd_endpoint_ok(struct etcd *etcd, int endpoint, int64_t revision)
{
    etcd->endpoints[endpoint].last_ok_ms = clock_now_ms();
    if (revision > etcd->seen_revision)
        etcd->seen_revision = revision;
}

/* The one that answered last, of the others; in their order if none did. */
static int another(const struct etcd *etcd, int endpoint)
{
    int best = (endpoint + 1) % etcd->endpoint_count;

    for (int i = 2; i < etcd->endpoint_count; i++) {
        int other = (endpoint + i) % etcd->endpoint_count;

        if (etcd->endpoints[other].last_ok_ms > etcd->endpoints[best].last_ok_ms)
            best = other;
    }
    return best;
}

void etcd_endpoint_failed(struct etcd *etcd, int endpoint, const char *why)
{
    snprintf(etcd->last_error, sizeof(etcd->last_error), "%.40s: %.100s",
             etcd->endpoints[endpoint].url, why ? why : "no answer");
    if (etcd->current == endpoint)
        etcd->current = another(etcd, endpoint);
    etcd_watch_doubt(etcd, endpoint);
}

static void on_member(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;
    const char *leader = json_str(reply->json, "leader", "");

    if (reply->rc == 0 && reply->term == etcd->leader_term && *leader &&
        strcmp(leader, json_str(json_object_get(reply->json, "header"), "member_id", "")) == 0)
        etcd->leader = etcd->current = reply->endpoint;
}

/* A member that does not lead passes each question on; so those to the leader are quicker by a
 * quarter. This question each member answers by itself, also while there is no leader: who is alive
 * is known then. Nobody waits for it. */
static void look_around(struct etcd *etcd, int64_t term)
{
    if (etcd->endpoint_count == 1 || etcd->closing)
        return;
    if (term != etcd->leader_term)
        etcd->leader = -1;
    etcd->leader_term = term;
    etcd->looked_ms = clock_now_ms();
    for (int i = 0; i < etcd->endpoint_count; i++) {
        struct buf body;

        buf_init(&body, 64);
        buf_str(&body, "{}");
        etcd_op_probe(etcd, i, "/v3/maintenance/status", &body, LOOK_MS, on_member, etcd);
    }
}

/* ---- operations ---- */

static void op_try(void *arg);

static void op_finish(struct etcd_op *op, struct etcd_reply *reply)
{
    struct etcd *etcd = op->etcd;

    etcd_alarm_stop(etcd, &op->again);
    etcd_alarm_stop(etcd, &op->overdue);
    if (op->prev)
        op->prev->next = op->next;
    else
        etcd->ops = op->next;
    if (op->next)
        op->next->prev = op->prev;
    reply->open_copies = op->open_copies;
    reply->endpoint = op->endpoint;
    if (!reply->why)
        reply->why = "";
    op->cb(op->arg, reply);
    free(op->path);
    free(op->body);
    free(op);
}

static void op_end(struct etcd_op *op, int rc)
{
    struct etcd_reply reply = {.rc = rc};

    op_finish(op, &reply);
}

/* Does etcd's refusal decide, so that asking again would be answered the same? */
static bool decides(int code, const char *why)
{
    switch (code) {
    case ETCD_INVALID:
    case ETCD_NOT_FOUND:
    case ETCD_OUT_OF_RANGE:
        return true;
    case ETCD_EXHAUSTED:
        return strstr(why, "space exceeded") != NULL;
    default:
        return false;
    }
}

/* Sends again, elsewhere; at once unless every endpoint refused. */
static void op_again(struct etcd_op *op, const char *why, bool pause)
{
    int64_t now = clock_now_ms();

    etcd_endpoint_failed(op->etcd, op->endpoint, why);
    if (op->pinned >= 0 || now >= op->deadline_ms) {
        op_end(op, -ETIMEDOUT);
        return;
    }
    if (now - op->etcd->looked_ms >= LOOK_MS)
        look_around(op->etcd, op->etcd->leader_term);
    op->attempt++;
    etcd_alarm_set(op->etcd, &op->again, pause ? now + PAUSE_MS : now, op_try, op);
}

static void op_refused(struct etcd_op *op, int code, const char *why)
{
    struct etcd_reply reply = {.rc = -EREMOTEIO, .code = code, .why = why};

    op->refusals++;
    if (decides(code, why)) {
        etcd_endpoint_ok(op->etcd, op->endpoint, 0);
        op_finish(op, &reply);
        return;
    }
    op->open_copies = true;
    op_again(op, why, true);
}

static void op_refused_json(struct etcd_op *op, const json_t *json)
{
    op_refused(op, (int)json_int(json, "code", json_int(json, "grpc_code", ETCD_UNKNOWN)),
               json_str(json, "message", json_str(json, "error", "refused")));
}

static void op_done(struct etcd_op *op, struct etcd_reply *reply)
{
    struct etcd *etcd = op->etcd;

    etcd_endpoint_ok(etcd, op->endpoint, reply->revision);
    op_finish(op, reply);
    if (reply->term > etcd->leader_term)
        look_around(etcd, reply->term);
}

static struct http_client *open_http2(const struct etcd *etcd)
{
    const struct http_client_options options = {.ca_file = etcd->ca_file,
                                                .cert_file = etcd->cert_file,
                                                .key_file = etcd->key_file,
                                                .http2 = true};
    struct http_client *client = http_client_new(etcd->timer->loop, &options, NULL);

    if (!client)
        abort();
    return client;
}

/* libcurl keeps an HTTP/2 connection on which a call failed and sends the next one there, where it
 * closes one of HTTP/1.1. What is wrong with it would be wrong with every request that follows. */
static void renew_http2(struct etcd *etcd, struct http_client **client)
{
    struct http_client *old = *client;

    *client = open_http2(etcd);
    http_client_free(old); /* what else is under way calls back, now or soon, and tries again */
}

/* libcurl should have ended it before. */
static void op_overdue(void *arg)
{
    struct etcd_op *op = arg;

    log_warn("store: a request to %s was lost", op->etcd->endpoints[op->endpoint].url);
    renew_http2(op->etcd, op->client);
}

static void op_read_grpc(struct etcd_op *op, const struct http_answer *answer)
{
    struct etcd_grpc_answer said;

    if (answer->status == 200 && answer->grpc_status == 0 &&
        etcd_grpc_read(answer->body, answer->size, &said))
        op_done(op, &(struct etcd_reply){.revision = said.revision,
                                         .term = said.term,
                                         .ttl = said.ttl,
                                         .grpc = answer->body,
                                         .grpc_size = answer->size});
    else
        op_refused(op, answer->grpc_status ? answer->grpc_status : ETCD_UNKNOWN,
                   answer->grpc_message[0] ? answer->grpc_message : "refused");
}

static void op_read_json(struct etcd_op *op, const struct http_answer *answer)
{
    json_t *json = json_parse(answer->body, answer->size, NULL, 0);
    const json_t *result = json_object_get(json, "result"); /* so do streams, also with "error" */
    const json_t *header = json_object_get(result ? result : json, "header");
    struct etcd_reply reply = {.json = json,
                               .revision = etcd_int(header, "revision"),
                               .term = etcd_int(header, "raft_term"),
                               .ttl = etcd_int(result, "TTL")};

    if (json_is_object(json_object_get(json, "error")))
        op_refused_json(op, json_object_get(json, "error"));
    else if (answer->status != 200 || reply.revision <= 0)
        op_refused_json(op, json); /* or it is not etcd's */
    else
        op_done(op, &reply);
    json_decref(json);
}

static void op_answered(void *arg, const struct http_answer *answer)
{
    struct etcd_op *op = arg;

    op->call = NULL;
    etcd_alarm_stop(op->etcd, &op->overdue);
    if (op->etcd->closing || (answer->rc == -ECANCELED && !op->grpc)) {
        op_end(op, -ECANCELED);
        return;
    }
    if (op->grpc && answer->rc < 0 && answer->rc != -ECANCELED)
        renew_http2(op->etcd, op->client);
    if (answer->sent_again)
        op->open_copies = true;
    if (answer->rc < 0) {
        if (!answer->sent_none)
            op->open_copies = true;
        else
            op->refusals++;
        op_again(op, answer->why, op->refusals % op->etcd->endpoint_count == 0);
        return;
    }
    if (op->grpc)
        op_read_grpc(op, answer);
    else
        op_read_json(op, answer);
}

static void op_try(void *arg)
{
    struct etcd_op *op = arg;
    struct etcd *etcd = op->etcd;
    int64_t left = op->deadline_ms == INT64_MAX ? INT64_MAX : op->deadline_ms - clock_now_ms();
    int limit = op->pinned >= 0 ? 600000 : attempt_ms(op->attempt);
    char url[512];
    static const char *const grpc_headers[] = {"TE: trailers", NULL};
    struct http_call_options options = {.method = "POST",
                                        .url = url,
                                        .content_type =
                                            op->grpc ? "application/grpc" : "application/json",
                                        .headers = op->grpc ? grpc_headers : NULL,
                                        .body = op->body,
                                        .body_size = op->body_size,
                                        .answer_max = ANSWER_MAX,
                                        .done = op_answered,
                                        .arg = op};

    if (left <= 0) {
        op_end(op, -ETIMEDOUT);
        return;
    }
    op->endpoint = op->pinned >= 0 ? op->pinned : etcd->current;
    snprintf(url, sizeof(url), "%s%s", etcd->endpoints[op->endpoint].url, op->path);
    options.timeout_ms = left < limit ? (int)left : limit;
    op->call = http_call(*op->client, &options);
    if (!op->call)
        op_again(op, "out of memory", true);
    else if (op->grpc)
        etcd_alarm_set(etcd, &op->overdue, clock_now_ms() + options.timeout_ms + OVERDUE_MS,
                       op_overdue, op);
}

static struct etcd_op *op_new(struct etcd *etcd, const char *path, struct buf *body,
                              int64_t deadline_ms, etcd_op_cb *cb, void *arg)
{
    struct etcd_op *op = calloc(1, sizeof(*op));

    if (!op)
        abort();
    op->etcd = etcd;
    op->path = strdup(path);
    op->grpc = strncmp(path, "/v3/", 4) != 0;
    op->client = !op->grpc                          ? &etcd->http
                 : strcmp(path, ETCD_GRPC_TXN) == 0 ? &etcd->transactions
                                                    : &etcd->questions;
    op->body = malloc(body->len + 1);
    if (!op->path || !op->body || body->failed)
        abort();
    op->body_size = body->len;
    memcpy(op->body, buf_text(body), body->len + 1);
    buf_free(body);
    op->deadline_ms = deadline_ms;
    op->pinned = -1;
    op->endpoint = etcd->current;
    op->cb = cb;
    op->arg = arg;
    op->next = etcd->ops;
    if (op->next)
        op->next->prev = op;
    etcd->ops = op;
    return op;
}

struct etcd_op *etcd_op_start(struct etcd *etcd, const char *path, struct buf *body,
                              int64_t deadline_ms, etcd_op_cb *cb, void *arg)
{
    struct etcd_op *op = op_new(etcd, path, body, deadline_ms, cb, arg);

    if (deadline_ms > clock_now_ms() && !etcd->closing)
        op_try(op);
    else
        etcd_alarm_set(etcd, &op->again, 0, op_try, op);
    return op;
}

void etcd_op_probe(struct etcd *etcd, int endpoint, const char *path, struct buf *body,
                   int timeout_ms, etcd_op_cb *cb, void *arg)
{
    struct etcd_op *op = op_new(etcd, path, body, clock_now_ms() + timeout_ms, cb, arg);

    op->pinned = endpoint;
    op->endpoint = endpoint;
    op_try(op);
}

/* ---- opening and closing ---- */

static void etcd_free(struct etcd *etcd)
{
    for (int i = 0; i < etcd->endpoint_count; i++)
        free(etcd->endpoints[i].url);
    free(etcd->writer);
    free(etcd->ca_file);
    free(etcd->cert_file);
    free(etcd->key_file);
    free(etcd);
}

static void on_timer_closed(uv_handle_t *handle)
{
    etcd_free(handle->data);
    free(handle);
}

static void etcd_close(struct store *store)
{
    struct etcd *etcd = (struct etcd *)store;

    etcd->closing = true;
    etcd_watch_close(etcd);
    etcd_txns_close(etcd);
    http_client_free(etcd->http); /* ends every op that is under way */
    http_client_free(etcd->questions);
    http_client_free(etcd->transactions);
    while (etcd->ops) /* and these wait for their next attempt */
        op_end(etcd->ops, -ECANCELED);
    etcd_barriers_close(etcd);
    etcd_txns_free(etcd);
    uv_close((uv_handle_t *)etcd->timer, on_timer_closed);
}

static void on_size(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;

    if (reply->rc == 0)
        etcd->size_bytes = etcd_int(reply->json, "dbSize");
}

static void etcd_status(struct store *store, struct store_status *ret_status)
{
    struct etcd *etcd = (struct etcd *)store;
    int64_t now = clock_now_ms();
    char trouble[2 * ETCD_KEY_SIZE];
    struct buf body;

    for (int i = 0; i < etcd->endpoint_count; i++)
        if (etcd->endpoints[i].last_ok_ms > 0 && now - etcd->endpoints[i].last_ok_ms < REACHABLE_MS)
            ret_status->reachable = true;
    ret_status->revision = etcd->seen_revision;
    ret_status->size_bytes = etcd->size_bytes;
    if (etcd->leader < 0 && now - etcd->looked_ms >= LOOK_MS)
        look_around(etcd, etcd->leader_term); /* for who asks next */
    if (etcd->leader >= 0 && ret_status->reachable)
        snprintf(ret_status->leader, sizeof(ret_status->leader), "%.99s",
                 etcd->endpoints[etcd->leader].url);
    etcd_watch_trouble(etcd, trouble, sizeof(trouble));
    if (trouble[0])
        snprintf(ret_status->detail, sizeof(ret_status->detail), "%s", trouble);
    else
        snprintf(ret_status->detail, sizeof(ret_status->detail), "endpoint %.60s%s%s",
                 etcd->endpoints[etcd->current].url, etcd->last_error[0] ? ", last error " : "",
                 etcd->last_error);
    if (now - etcd->size_ms < SIZE_EVERY_MS || etcd->closing)
        return;
    etcd->size_ms = now;
    buf_init(&body, 64);
    buf_str(&body, "{}");
    etcd_op_start(etcd, "/v3/maintenance/status", &body, now + REACHABLE_MS, on_size, etcd);
}

static const struct store_engine engine_etcd = {
    .name = "etcd",
    .close = etcd_close,
    .commit = etcd_commit,
    .barrier = etcd_barrier,
    .watch = etcd_watch_start,
    .lease_take = etcd_lease_take,
    .lease_renew = etcd_lease_renew,
    .lease_drop = etcd_lease_drop,
    .status = etcd_status,
};

static char *copy_of(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        abort();
    return copy;
}

static int copy_options(struct etcd *etcd, const struct store_etcd_options *options)
{
    etcd->ca_file = copy_of(options->ca_file);
    etcd->cert_file = copy_of(options->cert_file);
    etcd->key_file = copy_of(options->key_file);
    etcd->secure = true;
    for (size_t i = 0; options->endpoints && options->endpoints[i]; i++) {
        etcd->secure = etcd->secure && strncmp(options->endpoints[i], "https://", 8) == 0;
        if (i == ETCD_ENDPOINTS_MAX)
            return -E2BIG;
        etcd->endpoints[i].url = strdup(options->endpoints[i]);
        if (!etcd->endpoints[i].url)
            return -ENOMEM;
        etcd->endpoint_count++;
    }
    etcd->writer = copy_of(options->writer);
    if (etcd->endpoint_count == 0 || !store_name_ok(etcd->writer) || strchr(etcd->writer, '/'))
        return -EINVAL;
    return 0;
}

struct store *store_open_etcd(uv_loop_t *loop, const struct store_etcd_options *options,
                              struct err *err)
{
    struct http_client_options http = {.ca_file = options->ca_file,
                                       .cert_file = options->cert_file,
                                       .key_file = options->key_file};
    struct etcd *etcd = calloc(1, sizeof(*etcd));
    int rc;

    if (!etcd || !(etcd->timer = calloc(1, sizeof(*etcd->timer))))
        abort();
    rc = copy_options(etcd, options);
    if (rc < 0) {
        err_set(err, rc, "cannot open the store", "the endpoints or the writer's name are wrong",
                NULL);
        free(etcd->timer);
        etcd_free(etcd);
        return NULL;
    }
    etcd->leader = etcd->endpoint_count == 1 ? 0 : -1;
    uv_timer_init(loop, etcd->timer);
    etcd->timer->data = etcd;
    etcd->http = http_client_new(loop, &http, err);
    if (etcd->secure) {
        etcd->questions = open_http2(etcd);
        etcd->transactions = open_http2(etcd);
    }
    if (!etcd->http || store_init(&etcd->store, &engine_etcd, loop) < 0 ||
        etcd_txns_open(etcd) < 0 || etcd_barriers_open(etcd) < 0 || etcd_watch_open(etcd) < 0)
        abort();
    return &etcd->store;
}
