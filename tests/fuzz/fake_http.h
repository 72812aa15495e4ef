/* In the place of io/http_server.c: requests that the target makes up are handed over directly,
 * one at a time.
 *
 * A request's way: fake_init(), then the target (or fake_request()) fills in method, path and the
 * rest; fake_begin(); as long as it is held, the target does what it waits for; fake_finish();
 * again as long as it was not replied; fake_free(). All texts must live as long as the request. */
#ifndef VLING_TESTS_FUZZ_FAKE_HTTP_H
#define VLING_TESTS_FUZZ_FAKE_HTTP_H

#include "base/buf.h"
#include "io/http_server.h"
#include "must.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FAKE_SERVERS_MAX 8
#define FAKE_PAIRS_MAX 64
#define FAKE_REPLY_MAX ((size_t)64 * 1024 * 1024)

struct http_server {
    struct http_server_options options;
};

struct fake_pair {
    char *name, *value;
};

struct http_request {
    const struct http_server_options *options;
    const char *who, *method, *path, *body;
    size_t size;
    struct fake_pair query[FAKE_PAIRS_MAX], headers[FAKE_PAIRS_MAX];
    size_t query_count, header_count;
    struct http_sink sink;
    int body_error;
    void *user;
    bool gone; /* the client is */
    bool begun, held, was_held, refused, handled;
    /* the answer */
    bool replied;
    unsigned status;
    struct fake_pair answer_headers[FAKE_PAIRS_MAX]; /* copies */
    size_t answer_header_count;
    struct buf reply;
};

/* In the order in which they were started. */
static struct http_server fake_servers[FAKE_SERVERS_MAX];
static size_t fake_server_count;

struct http_server *http_server_start(uv_loop_t *on, const struct http_server_options *options,
                                      struct err *err)
{
    must(fake_server_count < FAKE_SERVERS_MAX);
    fake_servers[fake_server_count].options = *options;
    return &fake_servers[fake_server_count++];
}

uint16_t http_server_port(const struct http_server *server)
{
    return (uint16_t)(5000 + (server - fake_servers));
}

void http_server_stop(struct http_server *server)
{
}

/* ---- the request ---- */

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_path(const struct http_request *request)
{
    return request->path;
}

const char *http_query(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count && !request->gone; i++) {
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    }
    return NULL;
}

void http_query_each(const struct http_request *request,
                     void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; i < request->query_count && !request->gone; i++)
        each(arg, request->query[i].name, request->query[i].value);
}

const char *http_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count && !request->gone; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    }
    return NULL;
}

const char *http_body(const struct http_request *request, size_t *ret_size)
{
    if (ret_size)
        *ret_size = request->sink.write ? 0 : request->size;
    return request->sink.write ? "" : request->body;
}

const char *http_client_ip(const struct http_request *request)
{
    return "192.0.2.1";
}

const char *http_client_name(const struct http_request *request)
{
    return request->who;
}

int http_body_error(const struct http_request *request)
{
    return request->body_error;
}

void http_set_user(struct http_request *request, void *user)
{
    request->user = user;
}

void *http_user(const struct http_request *request)
{
    return request->user;
}

/* ---- before the body ---- */

static inline bool fake_at_headers(const struct http_request *request)
{
    return !request->begun || request->held;
}

static inline void fake_hand_over(struct http_request *request)
{
    must(!request->held && !request->handled);
    request->handled = true;
    request->options->handle(request->options->arg, request);
}

void http_use_sink(struct http_request *request, struct http_sink sink)
{
    must(fake_at_headers(request) && sink.write);
    request->sink = sink;
}

void http_refuse_body(struct http_request *request)
{
    must(fake_at_headers(request));
    request->refused = true;
}

void http_hold(struct http_request *request)
{
    must(!request->begun && !request->held);
    request->held = request->was_held = true;
}

void http_go_on(struct http_request *request)
{
    must(request->held);
    request->held = false;
    if (!request->gone)
        return;
    request->body_error = -ECONNABORTED;
    fake_hand_over(request);
}

/* ---- the answer ---- */

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    struct fake_pair *pair = &request->answer_headers[request->answer_header_count++];

    must(name && value && name[0] && !request->replied && request->handled);
    must(request->answer_header_count < FAKE_PAIRS_MAX);
    for (const char *at = value; *at; at++)
        must((unsigned char)*at >= 0x20 && *at != 0x7f); /* or it would end the header */
    pair->name = strdup(name);
    pair->value = strdup(value);
}

void http_reply(struct http_request *request, unsigned status, const void *body, size_t size)
{
    must(!request->replied && request->handled);
    request->replied = true;
    request->status = status;
    buf_add(&request->reply, body ? body : "", size);
}

void http_reply_text(struct http_request *request, unsigned status, char *text)
{
    http_reply(request, status, text, text ? strlen(text) : 0);
    free(text);
}

void http_reply_file(struct http_request *request, unsigned status, int fd, uint64_t offset,
                     uint64_t size)
{
    must(fd >= 0 && lseek(fd, 0, SEEK_END) >= (off_t)(offset + size));
    close(fd);
    http_reply(request, status, "file", 4);
}

static inline const char *fake_answer_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->answer_header_count; i++) {
        if (strcasecmp(request->answer_headers[i].name, name) == 0)
            return request->answer_headers[i].value;
    }
    return NULL;
}

/* ---- for the target ---- */

static inline void fake_init(struct http_request *request, const struct http_server *server)
{
    memset(request, 0, sizeof(*request));
    request->options = &server->options;
    request->method = request->path = request->body = "";
    buf_init(&request->reply, FAKE_REPLY_MAX);
}

static inline void fake_begin(struct http_request *request)
{
    if (request->options->begin)
        request->options->begin(request->options->arg, request);
    request->begun = true;
}

/* The body comes, in two pieces if somebody takes pieces; or its end is missing. */
static inline void fake_finish(struct http_request *request, bool cut)
{
    size_t half = request->size / 2;

    if (request->sink.write && !request->refused) {
        request->body_error = request->sink.write(request->sink.arg, request->body, half);
        if (request->body_error == 0 && !cut)
            request->body_error =
                request->sink.write(request->sink.arg, request->body + half, request->size - half);
    }
    if (cut) {
        request->gone = true;
        request->body_error = -ECONNABORTED;
    }
    fake_hand_over(request);
}

static inline void fake_free(struct http_request *request)
{
    must(request->replied);
    for (size_t i = 0; i < request->answer_header_count; i++) {
        free(request->answer_headers[i].name);
        free(request->answer_headers[i].value);
    }
    buf_free(&request->reply);
}

static inline int fake_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
}

/* Decodes %xx and + in place. */
static inline void fake_decode(char *text)
{
    char *out = text;

    for (; *text; text++) {
        int high = *text == '%' ? fake_hex(text[1]) : -1;
        int low = high >= 0 ? fake_hex(text[2]) : -1;

        *out++ = low >= 0 ? (char)(high << 4 | low) : *text == '+' ? ' ' : *text;
        text += low >= 0 ? 2 : 0;
    }
    *out = '\0';
}

/* Takes "/path?name=value&..." apart, in place. */
static inline void fake_uri(struct http_request *request, char *uri)
{
    char *query = strchr(uri, '?'), *pair, *save = NULL;

    if (query)
        *query++ = '\0';
    fake_decode(uri);
    request->path = uri;
    for (pair = query ? strtok_r(query, "&", &save) : NULL;
         pair && request->query_count < FAKE_PAIRS_MAX; pair = strtok_r(NULL, "&", &save)) {
        char *value = strchr(pair, '=');

        if (value)
            *value++ = '\0';
        else
            value = pair + strlen(pair);
        fake_decode(pair);
        fake_decode(value);
        request->query[request->query_count++] = (struct fake_pair){pair, value};
    }
}

static inline char *fake_word(char **text)
{
    char *word = strsep(text, " ");

    if (!*text)
        *text = word + strlen(word);
    return word;
}

/* A request to the first server from a text (changed, terminated): the name in the client's
 * certificate ("-": none), method and path in the first line, the body after it. */
static inline void fake_request(struct http_request *request, char *text, size_t size)
{
    char *line = text, *end = memchr(text, '\n', size);

    fake_init(request, &fake_servers[0]);
    if (!end)
        end = text + size;
    request->body = end < text + size ? end + 1 : end;
    request->size = (size_t)(text + size - request->body);
    *end = '\0';
    request->who = fake_word(&line);
    if (strcmp(request->who, "-") == 0)
        request->who = NULL;
    request->method = fake_word(&line);
    fake_uri(request, line);
}

/* What every answer must be: one, a known status, and JSON. Frees the request's parts. */
static inline void fake_check(struct http_request *request)
{
    json_t *reply =
        json_loadb(buf_text(&request->reply), request->reply.len, JSON_DECODE_ANY, NULL);

    must(request->replied && request->status >= 200 && request->status <= 503);
    must(request->status != 500 && reply);
    must(request->status < 400 || json_is_string(json_object_get(reply, "error")));
    json_decref(reply);
    fake_free(request);
}

#endif
