/* An HTTP/1.1 server (RFC 9110, 9112) on the loop, over libmicrohttpd.
 *
 * Lifecycle.  For each request: `begin` (headers are here; it may choose a sink for the body, or
 * hold the request until it can), the body is collected (up to `body_max`) or streamed into the
 * sink, then `handle`. Somebody then calls http_reply() or http_reply_file() exactly once, at once
 * or later. A client that goes away meanwhile is no concern of the handler: `handle` is called for
 * every request that `begin` saw, and the request object lives until it was answered, even when the
 * server was stopped meanwhile (headers and query are gone then).
 * Limits.     Header size, body size, connections, idle time: set in the options. The idle time
 * does not count while a request is held or waits for its answer.
 * Threads.    The loop's only (libmicrohttpd in external epoll mode, its descriptor polled by
 * libuv).
 */
#ifndef VLING_IO_HTTP_SERVER_H
#define VLING_IO_HTTP_SERVER_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_server;
struct http_request;

/* Where a streamed body goes. `write` returns 0 or -errno (then the rest is discarded and `handle`
 * sees the code in http_body_error). The sink is closed by whoever handles the request. */
struct http_sink {
    int (*write)(void *arg, const void *bytes, size_t size);
    void *arg;
};

struct http_server_options {
    const char *address;              /* IPv4 or IPv6 literal; "0.0.0.0" */
    uint16_t port;                    /* 0: any (see http_server_port) */
    const char *netns;                /* path of a network namespace to listen in, or NULL */
    const char *cert_file, *key_file; /* PEM; both NULL: no TLS */
    const char *client_ca_file;       /* PEM: clients must show a certificate of this CA */
    size_t body_max;                  /* bytes of a collected body; larger: 413 */
    unsigned connections_max;
    unsigned connections_per_client; /* of one address, so that it cannot take all; 0: no limit */
    unsigned idle_seconds;
    void (*begin)(void *arg, struct http_request *request); /* may be NULL */
    void (*handle)(void *arg, struct http_request *request);
    void *arg;
};

struct http_server *http_server_start(uv_loop_t *loop, const struct http_server_options *options,
                                      struct err *err);
uint16_t http_server_port(const struct http_server *server);
void http_server_stop(struct http_server *server);

/* ---- the request ---- all strings live until the reply */
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request); /* decoded, without the query */
const char *http_query(const struct http_request *request, const char *name); /* decoded or NULL */
void http_query_each(const struct http_request *request,
                     void (*each)(void *arg, const char *name, const char *value), void *arg);
const char *http_header(const struct http_request *request, const char *name); /* or NULL */
const char *http_body(const struct http_request *request, size_t *ret_size);
const char *http_client_ip(const struct http_request *request);
/* CN of the client's certificate, or NULL. */
const char *http_client_name(const struct http_request *request);
/* 0; -EFBIG collected body over the limit; -ECONNABORTED the client went away before the end of the
 * body (the reply goes nowhere, but is due all the same); or what the sink returned. */
int http_body_error(const struct http_request *request);

/* From `begin`, or while the request is held: streams the body there instead of collecting it. */
void http_use_sink(struct http_request *request, struct http_sink sink);

/* The same for a body that nobody wants: the answer is known. It is thrown away; if the client
 * waits for "100 Continue", or announces more than 64 MiB, `handle` is called at once instead, and
 * the line is closed after the answer. */
void http_refuse_body(struct http_request *request);

/* From `begin` only: no byte of the body is read before http_go_on(), and `handle` is not called;
 * whoever holds a request bounds the time. Its client is not watched meanwhile. */
void http_hold(struct http_request *request);
/* Once for a request that was held, from inside `begin` or later. If the client is known to be gone
 * or the server was stopped (perhaps long ago: the options' `arg` must still be there), `handle` is
 * called from inside the call, and the request may be gone when it returns. No errors. */
void http_go_on(struct http_request *request);

/* A place for the handler's own data. */
void http_set_user(struct http_request *request, void *user);
void *http_user(const struct http_request *request);

/* ---- the reply ---- */
void http_reply_header(struct http_request *request, const char *name, const char *value);
/* Copies `body`. A 204, 205 or 304 is sent without body. */
void http_reply(struct http_request *request, unsigned status, const void *body, size_t size);
/* The same with a text from malloc() that is freed after it was sent; NULL: no body. */
void http_reply_text(struct http_request *request, unsigned status, char *text);
/* Sends `size` bytes of `fd` from `offset`; takes ownership of `fd`. */
void http_reply_file(struct http_request *request, unsigned status, int fd, uint64_t offset,
                     uint64_t size);

#endif
