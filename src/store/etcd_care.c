#include "store/etcd_care.h"
#include "store/etcd_compare.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "io/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PERIOD_MS 60000
#define DOUBT_PERIOD_MS 5000  /* while the members may differ */
#define CALL_TIMEOUT_MS 60000 /* a large file is defragmented slowly */
#define OTHER_TIMEOUT_MS 3000
#define MINUTE_MS 60000
#define AGREED_TIMES 3
#define WORTH_IT ((int64_t)64 * 1024 * 1024) /* smaller files are left as they are */
#define LOG_BYTES ((off_t)16 * 1024 * 1024)

struct etcd_care {
    const struct etcd_server_options *options;
    uv_loop_t *loop;
    struct http_client *client;
    uv_timer_t *timer;
    char url[128];
    int members, turn; /* this one's place among them */
    int period_ms;
    bool busy, stopped;
    int64_t size, used, revision;
    char member_id[32]; /* decimal, as the gateway writes it */
    void (*step)(struct etcd_care *care, const json_t *answer);

    json_t *alarms;  /* of this round */
    json_t *list;    /* the members, as etcd knows them */
    size_t at;       /* the alarm that is being looked at */
    json_t *disarms; /* ids of members whose NOSPACE is to be taken back */
    bool full;       /* it was told */

    struct etcd_compare *compare;
    bool doubt;         /* members may differ, alarm or not */
    bool settled;       /* those who answer hold the same; only the others are missing */
    bool hopeless;      /* that no majority agrees was told */
    int odd, odd_times; /* who differed in the last comparison, how often in a row */
    int agreed_times;   /* all who answered held the same and the alarm was still on */
    struct log_copy *copying;
};

/* The gateway writes 64-bit numbers as texts. */
static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10)
                                 : json_int(object, key, 0);
}

/* ---- calls ---- */

/* A step gets NULL when there is no answer or a refusal. */
static void on_answer(void *arg, const struct http_answer *answer)
{
    struct etcd_care *care = arg;
    json_t *body;

    if (care->stopped)
        return;
    body = answer->rc == 0 && answer->status == 200
               ? json_parse(answer->body, answer->size, NULL, 0)
               : NULL;
    if (!body)
        log_debug("etcd: looking after it: %s", answer->rc < 0 ? strerror(-answer->rc) : "refused");
    care->step(care, body);
    json_decref(body);
}

/* `body` is stolen. */
static void call_at(struct etcd_care *care, const char *base, const char *path, json_t *body,
                    int timeout_ms, void (*step)(struct etcd_care *care, const json_t *answer))
{
    char *text = json_dumps(body, JSON_COMPACT), url[300];

    json_decref(body);
    snprintf(url, sizeof(url), "%s/v3/%s", base, path);
    care->step = step;
    care->busy =
        text && http_call(care->client, &(struct http_call_options){.method = "POST",
                                                                    .url = url,
                                                                    .body = text,
                                                                    .body_size = strlen(text),
                                                                    .timeout_ms = timeout_ms,
                                                                    .done = on_answer,
                                                                    .arg = care}) != NULL;
    free(text);
}

static void call(struct etcd_care *care, const char *path, json_t *body,
                 void (*step)(struct etcd_care *care, const json_t *answer))
{
    call_at(care, care->url, path, body, CALL_TIMEOUT_MS, step);
}

static void on_done(struct etcd_care *care, const json_t *answer)
{
    care->busy = false;
}

static bool is_alarm(const json_t *alarm, const char *kind)
{
    return strcmp(json_str(alarm, "alarm", ""), kind) == 0;
}

static bool has_alarm(const struct etcd_care *care, const char *kind)
{
    const json_t *alarm;
    size_t i;

    json_array_foreach(care->alarms, i, alarm)
    {
        if (is_alarm(alarm, kind))
            return true;
    }
    return false;
}

static void disarm(struct etcd_care *care, const char *kind, const char *id,
                   void (*step)(struct etcd_care *care, const json_t *answer))
{
    call(care, "maintenance/alarm",
         json_pack("{s:s, s:s, s:s}", "action", "DEACTIVATE", "memberID", id, "alarm", kind), step);
}

static void tell(struct etcd_care *care, const char *severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(struct etcd_care *care, const char *severity, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    log_line(strcmp(severity, "critical") == 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "etcd: %s",
             text);
    if (care->options->tell)
        care->options->tell(care->options->tell_arg, severity, text);
}

/* ---- space ---- */

static void on_disarmed(struct etcd_care *care, const json_t *answer);

static void disarm_next(struct etcd_care *care)
{
    char id[32];

    if (json_array_size(care->disarms) == 0) {
        care->busy = false;
        care->full = false;
        log_warn("etcd: there is space again, the store accepts writes");
        return;
    }
    snprintf(id, sizeof(id), "%s", json_string_value(json_array_get(care->disarms, 0)));
    json_array_remove(care->disarms, 0);
    disarm(care, "NOSPACE", id, on_disarmed);
}

static void on_disarmed(struct etcd_care *care, const json_t *answer)
{
    care->busy = false;
    if (answer)
        disarm_next(care);
}

static void on_defragmented(struct etcd_care *care, const json_t *answer)
{
    on_disarmed(care, answer);
}

/* Compacting what is compacted already is refused; then only the rest is due. */
static void defragment(struct etcd_care *care, const json_t *answer)
{
    call(care, "maintenance/defragment", json_object(), on_defragmented);
}

static void make_room(struct etcd_care *care)
{
    if (!care->full)
        log_error("etcd: the store is full (%lld MiB): it takes no writes until old history is "
                  "gone; making room",
                  (long long)(care->size >> 20));
    care->full = true;
    call(care, "kv/compaction",
         json_pack("{s:o, s:b}", "revision", json_sprintf("%lld", (long long)care->revision),
                   "physical", 1),
         defragment);
}

/* Where `id` answers clients, or NULL: it is no member any more, or did not start yet. */
static const char *url_of(const struct etcd_care *care, const char *id)
{
    const json_t *member;
    size_t i;

    json_array_foreach(json_object_get(care->list, "members"), i, member)
    {
        if (strcmp(json_str(member, "ID", ""), id) == 0)
            return json_string_value(json_array_get(json_object_get(member, "clientURLs"), 0));
    }
    return NULL;
}

static void look_at_alarms(struct etcd_care *care);

static void on_other(struct etcd_care *care, const json_t *answer)
{
    const json_t *alarm = json_array_get(care->alarms, care->at);

    if (!answer)
        json_array_append(care->disarms, json_object_get(alarm, "memberID"));
    care->at++;
    look_at_alarms(care);
}

/* One that runs makes room itself and takes its own alarm back. For one that does not, nobody would
 * ever; if its file is full still, it says so again when it is back. */
static void look_at_alarms(struct etcd_care *care)
{
    const json_t *alarm;
    const char *id, *url;

    for (; (alarm = json_array_get(care->alarms, care->at)); care->at++) {
        if (!is_alarm(alarm, "NOSPACE"))
            continue;
        id = json_str(alarm, "memberID", "");
        url = url_of(care, id);
        if (url && strcmp(id, care->member_id) != 0) {
            call_at(care, url, "maintenance/status", json_object(), OTHER_TIMEOUT_MS, on_other);
            return;
        }
        json_array_append(care->disarms, json_object_get(alarm, "memberID"));
    }
    if (json_array_size(care->disarms) > 0)
        make_room(care);
    else
        care->busy = false;
}

static void on_list(struct etcd_care *care, const json_t *answer)
{
    if (!answer) {
        care->busy = false;
        return;
    }
    json_decref(care->list);
    care->list = json_incref((json_t *)answer);
    json_array_clear(care->disarms);
    care->at = 0;
    look_at_alarms(care);
}

bool etcd_care_is_turn(int64_t wall_ms, int members, int turn)
{
    return wall_ms / MINUTE_MS % members == turn;
}

static void look_at_size(struct etcd_care *care)
{
    care->busy = false;
    if (care->size < WORTH_IT || care->used >= care->size / 2 ||
        !etcd_care_is_turn(clock_wall_ms(), care->members, care->turn))
        return;
    log_info("etcd: defragmenting a file of %lld MiB with %lld MiB in it",
             (long long)(care->size >> 20), (long long)(care->used >> 20));
    call(care, "maintenance/defragment", json_object(), on_done);
}

/* ---- members that differ ---- */

static void on_timer(uv_timer_t *timer);

static void look_again_soon(struct etcd_care *care)
{
    int soon = care->period_ms < DOUBT_PERIOD_MS ? care->period_ms : DOUBT_PERIOD_MS;

    care->busy = false;
    uv_timer_start(care->timer, on_timer, (uint64_t)soon, (uint64_t)care->period_ms);
}

static void on_accepted(struct etcd_care *care, const json_t *answer);

static void accept_next(struct etcd_care *care)
{
    const json_t *alarm;

    for (; (alarm = json_array_get(care->alarms, care->at)); care->at++) {
        if (!is_alarm(alarm, "CORRUPT"))
            continue;
        care->at++;
        disarm(care, "CORRUPT", json_str(alarm, "memberID", ""), on_accepted);
        return;
    }
    tell(care, "warning",
         "the members of the store that answer hold the same again; it accepts writes");
    care->busy = false;
}

static void on_accepted(struct etcd_care *care, const json_t *answer)
{
    care->busy = false;
    if (answer)
        accept_next(care);
}

/* Each may ask for it, and one is answered that it is done. */
static void on_taken_out(struct etcd_care *care, const json_t *answer)
{
    look_again_soon(care);
    if (answer)
        tell(care, "critical",
             "%s held other data than the majority of the store's members: they took it out, and "
             "it gets its data from them again",
             care->options->peers[care->odd].name);
}

/* Two comparisons in a row must say so. Then the others forget it; its own supervisor puts its data
 * aside and has it taken back (etcd_server.c). */
static void take_out(struct etcd_care *care, const struct etcd_compared *c)
{
    const struct etcd_server_options *o = care->options;
    char url[128];

    care->odd_times = care->odd == c->odd ? care->odd_times + 1 : 1;
    care->odd = c->odd;
    if (care->odd_times < 2) {
        look_again_soon(care);
        return;
    }
    snprintf(url, sizeof(url), "%s://%s:%d", o->ca_file ? "https" : "http", o->peers[c->agreed].ip,
             o->client_port ? o->client_port : 2379);
    call_at(care, url, "cluster/member/remove", json_pack("{s:s}", "ID", c->odd_id),
            OTHER_TIMEOUT_MS, on_taken_out);
}

/* Nothing is decided: the operator must know. */
static void tell_undecided(struct etcd_care *care, const struct etcd_compared *c)
{
    care->busy = false;
    if (care->hopeless || (c->verdict == ETCD_VERDICT_NONE && !c->differ))
        return;
    care->hopeless = true;
    if (c->verdict == ETCD_VERDICT_NONE)
        tell(care, "critical",
             "the store's members hold different data, and only those that do not answer can tell "
             "who is right: bring them back");
    else
        tell(care, "critical",
             "the store's members hold different data and no majority agrees, so it takes no "
             "writes: stop all but the one that is right, move the others' folder etcd away and "
             "start them again, then \"etcdctl alarm disarm\"; or restore a backup");
}

static void on_compared(void *arg, const struct etcd_compared *c)
{
    struct etcd_care *care = arg;

    care->compare = NULL;
    if (c->verdict != ETCD_VERDICT_MAJORITY) {
        tell_undecided(care, c);
        return;
    }
    care->hopeless = false;
    if (c->odd >= 0) {
        care->settled = false;
        care->doubt = true; /* also when the alarm is gone: until it is back */
        take_out(care, c);
        return;
    }
    care->odd_times = 0;
    care->doubt = care->settled = !c->complete;
    care->at = 0;
    care->busy = false;
    if (!has_alarm(care, "CORRUPT"))
        care->agreed_times = 0;
    /* One does it: the first, if it looks after its member now. */
    else if (c->agreed == care->turn || ++care->agreed_times > AGREED_TIMES)
        accept_next(care);
}

static void compare(struct etcd_care *care)
{
    care->compare =
        etcd_compare_start(care->client, care->options,
                           care->settled && !has_alarm(care, "CORRUPT"), on_compared, care);
    care->busy = care->compare != NULL;
}

void etcd_care_doubt(struct etcd_care *care)
{
    if (care) {
        care->doubt = true;
        care->settled = false;
    }
}

bool etcd_care_doubts(const struct etcd_care *care)
{
    return care && care->doubt;
}

/* ---- a round ---- */

static void on_alarms(struct etcd_care *care, const json_t *answer)
{
    if (!answer) {
        care->busy = false;
        return;
    }
    json_decref(care->alarms);
    care->alarms = json_incref(json_object_get(answer, "alarms"));
    if (has_alarm(care, "CORRUPT")) {
        compare(care);
    } else if (has_alarm(care, "NOSPACE")) {
        call(care, "cluster/member/list", json_object(), on_list);
    } else if (care->doubt) {
        compare(care);
    } else {
        care->full = care->hopeless = false;
        look_at_size(care);
    }
}

static void on_status(struct etcd_care *care, const json_t *answer)
{
    const json_t *header = json_object_get(answer, "header");

    if (!answer) {
        care->busy = false;
        return;
    }
    care->size = number(answer, "dbSize");
    care->used = number(answer, "dbSizeInUse");
    care->revision = number(header, "revision");
    snprintf(care->member_id, sizeof(care->member_id), "%s", json_str(header, "member_id", ""));
    call(care, "maintenance/alarm", json_pack("{s:s}", "action", "GET"), on_alarms);
}

/* ---- etcd's log ---- */

struct log_copy {
    uv_fs_t request;
    struct etcd_care *care; /* NULL: gone */
    char path[];
};

/* etcd has the file open to append, so it goes on at the beginning. What it wrote since the copy is
 * lost, and without space for a copy all: the disk matters more. */
static void on_copied(uv_fs_t *request)
{
    struct log_copy *copy = request->data;

    if (truncate(copy->path, 0) < 0)
        log_warn("cannot shorten %s: %s", copy->path, strerror(errno));
    if (copy->care)
        copy->care->copying = NULL;
    uv_fs_req_cleanup(request);
    free(copy);
}

static void bound_log(struct etcd_care *care)
{
    const char *path = care->options->log_file;
    off_t limit = care->options->log_bytes ? (off_t)care->options->log_bytes : LOG_BYTES;
    struct log_copy *copy;
    char old[4096];
    struct stat st;

    if (!path || care->copying || stat(path, &st) < 0 || st.st_size < limit)
        return;
    copy = calloc(1, sizeof(*copy) + strlen(path) + 1);
    if (!copy)
        return;
    strcpy(copy->path, path);
    copy->request.data = copy;
    copy->care = care;
    snprintf(old, sizeof(old), "%s.1", path);
    if (uv_fs_copyfile(care->loop, &copy->request, path, old, 0, on_copied) < 0)
        free(copy);
    else
        care->copying = copy;
}

static void on_timer(uv_timer_t *timer)
{
    struct etcd_care *care = timer->data;

    bound_log(care);
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
    care->options = options;
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
    care->loop = loop;
    uv_timer_init(loop, care->timer);
    care->timer->data = care;
    care->period_ms = period_ms > 0 ? period_ms : PERIOD_MS;
    care->disarms = json_array();
    care->odd = -1;
    uv_timer_start(care->timer, on_timer, (uint64_t)care->period_ms, (uint64_t)care->period_ms);
    return care;
}

void etcd_care_stop(struct etcd_care *care)
{
    if (!care)
        return;
    care->stopped = true;
    if (care->copying)
        care->copying->care = NULL;
    etcd_compare_cancel(care->compare);
    http_client_free(care->client);
    uv_close((uv_handle_t *)care->timer, free_timer);
    json_decref(care->alarms);
    json_decref(care->list);
    json_decref(care->disarms);
    free(care);
}
