/* libFuzzer: who holds a lease never believes in it longer than the store does. The input is a
 * script: two holders take, renew and drop leases; requests are answered at once, answered late,
 * lost or refused; the leader of etcd changes, and the old one may be cut off and go on renewing
 * for a while what it knows, in its own term; time passes and leases run out.
 *
 * A renewal that is said to be good is checked against the new leader's count, one that is said to
 * be too late against what really ended. */
#include "fake_etcd.h"

#include "base/log.h"
#include "store/store.h"

#include <stdio.h>

#define HOLDERS 2
#define ENDPOINTS 3
#define REQUESTS_MAX 200
#define LATE_MAX 64
#define CALM_STEPS_MAX 5000
#define TTL_MS 4000
#define STALE_MS_MAX 3000

struct input {
    const uint8_t *at;
    size_t left;
};

struct holder {
    struct store *store;
    int64_t lease; /* 0: none */
};

struct request {
    struct holder *holder;
    int64_t lease, sent_ms;
    bool answered;
};

static struct holder holders[HOLDERS];
static struct request requests[REQUESTS_MAX];
static int request_count;
static bool dropped[FAKE_LEASES_MAX];

/* An old leader that is cut off from the others, but not from its clients. */
static struct {
    int leader; /* an endpoint */
    int old;    /* -1: none */
    int64_t old_term, until_ms;
    int64_t known[FAKE_LEASES_MAX];
    size_t known_count;
} cluster;

static struct {
    char *url, *body;
} late[LATE_MAX];
static size_t late_count;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static void fake_committed(size_t first)
{
}

/* ---- what holders do and are told ---- */

static struct request *request_new(struct holder *holder)
{
    struct request *request = &requests[request_count];

    if (request_count == REQUESTS_MAX)
        return NULL;
    request_count++;
    *request = (struct request){.holder = holder, .lease = holder->lease, .sent_ms = world_ms};
    return request;
}

static void on_taken(void *arg, int rc, int64_t lease)
{
    struct request *request = arg;

    must(!request->answered);
    request->answered = true;
    must(rc == 0 || rc == -EEXIST || rc == -ETIMEDOUT || rc == -EINPROGRESS || rc == -ECANCELED);
    if (rc == 0) {
        must(fake_lease(lease));
        request->holder->lease = lease;
    }
}

static void on_renewed(void *arg, int rc, int64_t id)
{
    struct request *request = arg;
    const struct fake_lease *lease = fake_lease(request->lease);

    must(!request->answered && id == request->lease);
    request->answered = true;
    must(rc == 0 || rc == -ENOENT || rc == -ETIMEDOUT || rc == -ECANCELED);
    if (rc == 0 && !dropped[lease - fake.leases])
        must(request->sent_ms + TTL_MS <= lease->end_ms);
    must(rc != -ENOENT || lease->over);
}

static void on_dropped(void *arg, int rc, int64_t id)
{
    struct request *request = arg;

    must(!request->answered);
    request->answered = true;
    must(rc == 0 || rc == -ETIMEDOUT || rc == -ECANCELED);
    must(rc != 0 || fake_lease(request->lease)->over);
}

static void act(struct holder *holder, uint8_t what, int timeout_ms)
{
    struct request *request = request_new(holder);
    json_t *row;

    if (!request)
        return;
    if (holder->lease == 0) {
        row = json_object();
        store_lease_take(holder->store, "h1", row, TTL_MS, timeout_ms, on_taken, request);
        json_decref(row);
    } else if (what % 8 == 0) {
        dropped[fake_lease(holder->lease) - fake.leases] = true;
        store_lease_drop(holder->store, holder->lease, timeout_ms, on_dropped, request);
        holder->lease = 0;
    } else {
        store_lease_renew(holder->store, holder->lease, timeout_ms, on_renewed, request);
    }
}

/* ---- etcd's leaders and time ---- */

static void elect(uint8_t how)
{
    if (cluster.old >= 0)
        return;
    if (how & 1) {
        cluster.old = cluster.leader;
        cluster.old_term = fake.term;
        cluster.until_ms = world_ms + STALE_MS_MAX * (how / 2) / 128;
        cluster.known_count = 0;
        for (size_t i = 0; i < fake.lease_count; i++)
            if (!fake.leases[i].over)
                cluster.known[cluster.known_count++] = fake.leases[i].id;
    }
    cluster.leader = (cluster.leader + 1) % ENDPOINTS;
    fake.term++;
    for (size_t i = 0; i < fake.lease_count; i++) /* who is elected gives them their whole time */
        if (!fake.leases[i].over)
            fake.leases[i].end_ms = world_ms + fake.leases[i].ttl_ms;
}

/* Lets time pass, and leases run out when they do. */
static void pass(int64_t to_ms)
{
    struct fake_lease *first;

    do {
        first = NULL;
        for (size_t i = 0; i < fake.lease_count; i++)
            if (!fake.leases[i].over && fake.leases[i].end_ms <= to_ms &&
                (!first || fake.leases[i].end_ms < first->end_ms))
                first = &fake.leases[i];
        if (first)
            fake_end_lease(first);
    } while (first);
    world_ms = to_ms;
    if (cluster.old >= 0 && cluster.until_ms <= world_ms)
        cluster.old = -1;
}

/* ---- requests ---- */

static bool is_watch(const struct http_call *call)
{
    return strstr(call->url, "/v3/watch") != NULL;
}

static void world_lost(const struct http_call *call)
{
    if (call->copies == 0 || call->url[7] - 'a' == cluster.old || is_watch(call) ||
        late_count == LATE_MAX)
        return;
    late[late_count].url = strdup(call->url);
    late[late_count++].body = strdup(call->body);
}

static void carry_out_late(size_t i)
{
    char *url = late[i].url, *body = late[i].body;

    late[i] = late[--late_count];
    json_decref(fake_do(url, body));
    free(url);
    free(body);
}

/* The old leader still renews, by itself; nothing else works there. */
static json_t *do_stale(const struct http_call *call)
{
    json_t *request = json_parse(call->body, strlen(call->body), NULL, 0), *answer;
    int64_t id = etcd_int(request, "ID"), term = fake.term;
    const struct fake_lease known = {.ttl_ms = TTL_MS};
    bool knows = false;

    json_decref(request);
    if (!strstr(call->url, "/v3/lease/keepalive"))
        return fake_error(14, "etcdserver: request timed out");
    for (size_t i = 0; i < cluster.known_count; i++)
        knows |= cluster.known[i] == id;
    fake.term = cluster.old_term;
    answer = fake_renewed(knows ? &known : NULL);
    fake.term = term;
    return answer;
}

static void carry_out(struct http_call *call)
{
    bool stale = call->url[7] - 'a' == cluster.old;
    json_t *answer;

    if (call->held)
        return;
    answer = stale ? do_stale(call) : fake_do(call->url, call->body);
    call->copies = 0;
    call->held = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
}

static void serve(struct http_call *call)
{
    char *text;

    if (is_watch(call))
        return;
    carry_out(call);
    text = call->held;
    call->held = NULL;
    world_answer(call, strstr(text, "\"code\"") ? 400 : 200, text, strlen(text));
    free(text);
}

static struct http_call *some_call(struct input *in)
{
    size_t which = next(in);
    struct http_call *call = world_calls;

    for (which = world_call_count ? which % world_call_count : 0; which > 0; which--)
        call = call->next;
    return call;
}

static void step(struct input *in)
{
    uint8_t what = next(in);
    struct http_call *call = what % 16 >= 3 && what % 16 <= 9 ? some_call(in) : NULL;
    int64_t due = world_next_ms();

    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        act(&holders[what / 16 % HOLDERS], what / 32, 200 + 20 * next(in));
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        if (call)
            serve(call);
        break;
    case 7:
        if (call && !is_watch(call))
            carry_out(call); /* and the answer waits */
        break;
    case 8:
    case 9:
        if (call)
            world_fail(call, -ECONNRESET);
        break;
    case 10:
        if (late_count > 0)
            carry_out_late(next(in) % late_count);
        break;
    case 11:
        elect(next(in));
        break;
    case 12:
    case 13:
        if (due != INT64_MAX && due > world_ms)
            pass(due);
        break;
    default:
        pass(world_ms + next(in) * (what % 16 == 14 ? 1 : 16));
    }
    world_turn();
}

/* ---- all ---- */

static void calm_down(void)
{
    for (int steps = 0, open = 1; open > 0; steps++) {
        struct http_call *call = world_calls, *after;

        must(steps < CALM_STEPS_MAX);
        for (size_t i = world_call_count; i > 0 && call; i--, call = after) {
            after = call->next;
            serve(call);
        }
        pass(world_ms + 10);
        world_turn();
        open = 0;
        for (int i = 0; i < request_count; i++)
            open += !requests[i].answered;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uv_loop_t loop;
    static const char *const writers[] = {"c1", "c2"};
    const char *endpoints[] = {"http://a", "http://b", "http://c", NULL};
    struct input in = {bytes, size};

    log_set_level((enum log_level)0);
    world_begin();
    fake_begin();
    memset(&cluster, 0, sizeof(cluster));
    memset(dropped, 0, sizeof(dropped));
    cluster.old = -1;
    request_count = 0;
    for (int i = 0; i < HOLDERS; i++) {
        struct store_etcd_options options = {.endpoints = endpoints, .writer = writers[i]};

        holders[i] = (struct holder){.store = store_open_etcd(&loop, &options, NULL)};
        must(holders[i].store);
    }
    while (in.left > 0 && fake.count < VERSIONS_MAX / 2 && fake.lease_count < FAKE_LEASES_MAX / 2)
        step(&in);
    calm_down();
    for (int i = 0; i < HOLDERS; i++)
        store_close(holders[i].store);
    world_turn();
    while (late_count > 0)
        carry_out_late(0);
    fake_end();
    return 0;
}
