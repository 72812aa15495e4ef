/* In the place of io/http_server.c: one server, one request at a time, handed over directly.
 *
 * An input of the targets that use it is a text: the name in the client's certificate ("-": none),
 * method and path in the first line, the body after it. */
#ifndef VLING_TESTS_FUZZ_FAKE_HTTP_H
#define VLING_TESTS_FUZZ_FAKE_HTTP_H

#include "base/buf.h"
#include "io/http_server.h"
#include "must.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#define PAIRS_MAX 16

struct http_server {
    struct http_server_options options;
};

struct http_request {
    char *who, *method, *path, *body;
    size_t size;
    struct {
        char *name, *value;
    } query[PAIRS_MAX];
    size_t query_count;
    bool replied;
    unsigned status;
    struct buf reply;
};

static struct http_server fake_server;

struct http_server *http_server_start(uv_loop_t *on, const struct http_server_options *options,
                                      struct err *err)
{
    fake_server.options = *options;
    return &fake_server;
}

uint16_t http_server_port(const struct http_server *server)
{
    return 1;
}

void http_server_stop(struct http_server *server)
{
}

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
    for (size_t i = 0; i < request->query_count; i++) {
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    }
    return NULL;
}

const char *http_header(const struct http_request *request, const char *name)
{
    return NULL;
}

const char *http_body(const struct http_request *request, size_t *ret_size)
{
    *ret_size = request->size;
    return request->body;
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
    return 0;
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    must(name && value && !request->replied);
}

void http_reply(struct http_request *request, unsigned status, const void *body, size_t size)
{
    must(!request->replied);
    request->replied = true;
    request->status = status;
    buf_add(&request->reply, body ? body : "", size);
}

void http_reply_text(struct http_request *request, unsigned status, char *text)
{
    http_reply(request, status, text, text ? strlen(text) : 0);
    free(text);
}

static char *fake_word(char **text)
{
    char *word = strsep(text, " ");

    if (!*text)
        *text = word + strlen(word);
    return word;
}

/* Takes the input apart; `text` (changed, terminated) must live as long as the request. */
static void fake_request(struct http_request *request, char *text, size_t size)
{
    char *line = text, *end = memchr(text, '\n', size), *query, *pair;

    memset(request, 0, sizeof(*request));
    buf_init(&request->reply, (size_t)64 * 1024 * 1024);
    if (!end)
        end = text + size;
    request->body = end < text + size ? end + 1 : end;
    request->size = (size_t)(text + size - request->body);
    *end = '\0';
    request->who = fake_word(&line);
    if (strcmp(request->who, "-") == 0)
        request->who = NULL;
    request->method = fake_word(&line);
    request->path = line;
    query = strchr(line, '?');
    if (query)
        *query++ = '\0';
    while (query && (pair = strsep(&query, "&")) && request->query_count < PAIRS_MAX) {
        char *value = strchr(pair, '=');

        if (value)
            *value++ = '\0';
        request->query[request->query_count].name = pair;
        request->query[request->query_count++].value = value ? value : pair + strlen(pair);
    }
}

/* What every answer must be: one, a known status, and JSON where `json`. */
static void fake_check(struct http_request *request, bool json)
{
    must(request->replied && request->status >= 200 && request->status <= 503);
    must(request->status != 500);
    if (json) {
        json_t *reply =
            json_loadb(buf_text(&request->reply), request->reply.len, JSON_DECODE_ANY, NULL);

        must(reply != NULL);
        must(request->status < 400 || json_is_string(json_object_get(reply, "error")));
        json_decref(reply);
    }
    buf_free(&request->reply);
}

#endif
