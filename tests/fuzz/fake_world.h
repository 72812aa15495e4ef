/* A world for the store's engine in which time is a number and the peer of every request is the
 * target: it takes the place of uv's timers, of the clock, of random ids and of the HTTP client, so
 * that a run is quick and an input always does the same. Included once in a program, which then
 * needs nothing of what is defined here from the libraries.
 *
 * The target answers calls (in any order), lets time pass and lets the loop turn. */
#ifndef VLING_TESTS_FUZZ_FAKE_WORLD_H
#define VLING_TESTS_FUZZ_FAKE_WORLD_H

#include "base/clock.h"
#include "base/id.h"
#include "io/http_client.h"
#include "must.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_HANDLES_MAX 64
#define WORLD_TURNS_MAX 100000

/* ---- time and ids ---- */

static int64_t world_ms;
static uint64_t world_random;

int64_t clock_now_ms(void)
{
    return world_ms;
}

int64_t clock_wall_ms(void)
{
    return world_ms;
}

/* Nobody here makes texts of times. */
const char *clock_iso(int64_t wall_ms, char *out, size_t out_size)
{
    abort();
}

const char *clock_iso_us(int64_t wall_ms, char *out, size_t out_size)
{
    abort();
}

int64_t clock_parse_iso(const char *text)
{
    abort();
}

/* splitmix64 */
void id_random(void *out, size_t size)
{
    unsigned char *bytes = out;

    for (size_t i = 0; i < size; i++) {
        uint64_t z = (world_random += 0x9e3779b97f4a7c15u);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        bytes[i] = (unsigned char)(z ^ (z >> 31));
    }
}

void id_hex(char out[ID_HEX_SIZE])
{
    unsigned char bytes[16];

    id_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void id_uuid(char out[ID_UUID_SIZE])
{
    abort();
}

bool id_is_uuid(const char *text)
{
    abort();
}

/* ---- the loop: timers and handles that close ---- */

static struct {
    uv_timer_t *timers[WORLD_HANDLES_MAX];
    size_t timer_count;
    uv_handle_t *closing[WORLD_HANDLES_MAX];
    uv_close_cb closed[WORLD_HANDLES_MAX];
    size_t closing_count;
} world_loop;

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    must(world_loop.timer_count < WORLD_HANDLES_MAX);
    memset(timer, 0, sizeof(*timer));
    world_loop.timers[world_loop.timer_count++] = timer;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    must(repeat == 0);
    timer->timer_cb = cb;
    timer->timeout = (uint64_t)world_ms + timeout;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    timer->timer_cb = NULL;
    return 0;
}

void uv_update_time(uv_loop_t *loop)
{
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    size_t i = 0;

    while (i < world_loop.timer_count && (uv_handle_t *)world_loop.timers[i] != handle)
        i++;
    must(i < world_loop.timer_count && world_loop.closing_count < WORLD_HANDLES_MAX);
    world_loop.timers[i] = world_loop.timers[--world_loop.timer_count];
    world_loop.closing[world_loop.closing_count] = handle;
    world_loop.closed[world_loop.closing_count++] = cb;
}

/* ---- HTTP ---- */

struct http_client {
    struct http_call *calls;
};

struct http_call {
    struct http_call *prev, *next; /* of all calls, the oldest first */
    struct http_client *client;
    char *url, *body;
    int64_t deadline_ms; /* INT64_MAX: none */
    bool cancelled;
    bool sent_again; /* an earlier copy is on its own way */
    int copies;      /* of the request that were sent and not carried out */
    int64_t from;    /* of a watch: what is to be sent next */
    char *held;      /* its answer, on the way */
    void (*piece)(void *arg, const void *bytes, size_t size);
    http_answer_cb *done;
    void *arg;
};

static struct http_call *world_calls, *world_calls_last;
static size_t world_call_count;

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                                    struct err *err)
{
    return calloc(1, sizeof(struct http_client));
}

struct http_call *http_call(struct http_client *client, const struct http_call_options *options)
{
    struct http_call *call = calloc(1, sizeof(*call));

    must(call && options->body);
    call->client = client;
    call->url = strdup(options->url);
    call->body = strndup(options->body, options->body_size);
    call->deadline_ms = options->timeout_ms ? world_ms + options->timeout_ms : INT64_MAX;
    call->copies = 1;
    call->piece = options->piece;
    call->done = options->done;
    call->arg = options->arg;
    call->prev = world_calls_last;
    *(call->prev ? &call->prev->next : &world_calls) = call;
    world_calls_last = call;
    world_call_count++;
    return call;
}

void http_call_cancel(struct http_call *call)
{
    call->cancelled = true;
}

static void world_done(struct http_call *call, const struct http_answer *answer)
{
    *(call->prev ? &call->prev->next : &world_calls) = call->next;
    *(call->next ? &call->next->prev : &world_calls_last) = call->prev;
    world_call_count--;
    call->done(call->arg, answer);
    free(call->url);
    free(call->body);
    free(call->held);
    free(call);
}

/* What becomes of the copy of a request whose owner was told that there is no answer. */
static void world_lost(const struct http_call *call);

static void world_fail(struct http_call *call, int rc)
{
    struct http_answer answer = {
        .rc = rc, .sent_again = call->sent_again, .body = "", .why = "no answer"};

    world_lost(call);
    world_done(call, &answer);
}

static void world_answer(struct http_call *call, unsigned status, const char *body, size_t size)
{
    struct http_answer answer = {
        .status = status, .sent_again = call->sent_again, .body = body, .size = size, .why = ""};

    world_done(call, &answer);
}

void http_client_free(struct http_client *client)
{
    struct http_call *call, *next;

    for (call = world_calls; call; call = next) {
        next = call->next;
        if (call->client == client)
            world_fail(call, -ECANCELED);
    }
    free(client);
}

/* ---- turns ---- */

static bool world_turn_calls(void)
{
    for (struct http_call *call = world_calls; call; call = call->next) {
        if (call->cancelled || call->deadline_ms <= world_ms) {
            world_fail(call, call->cancelled ? -ECANCELED : -ETIMEDOUT);
            return true;
        }
    }
    return false;
}

static bool world_turn_timers(void)
{
    for (size_t i = 0; i < world_loop.timer_count; i++) {
        uv_timer_t *timer = world_loop.timers[i];
        uv_timer_cb cb = timer->timer_cb;

        if (cb && timer->timeout <= (uint64_t)world_ms) {
            timer->timer_cb = NULL;
            cb(timer);
            return true;
        }
    }
    return false;
}

/* Everything that is due. */
static void world_turn(void)
{
    for (int turns = 0; world_turn_timers() || world_turn_calls(); turns++)
        must(turns < WORLD_TURNS_MAX);
    while (world_loop.closing_count > 0) {
        world_loop.closing_count--;
        world_loop.closed[world_loop.closing_count](world_loop.closing[world_loop.closing_count]);
    }
}

/* When something is due next. */
static int64_t world_next_ms(void)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < world_loop.timer_count; i++)
        if (world_loop.timers[i]->timer_cb && (int64_t)world_loop.timers[i]->timeout < next)
            next = (int64_t)world_loop.timers[i]->timeout;
    for (struct http_call *call = world_calls; call; call = call->next)
        if (call->deadline_ms < next)
            next = call->deadline_ms;
    return next;
}

static void world_begin(void)
{
    must(world_loop.timer_count == 0 && !world_calls);
    world_ms = 1000000;
    world_random = 1;
}

#endif
