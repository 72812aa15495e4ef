/* HTTP requests on the loop, over libcurl's multi-socket interface. Connections are kept and
 * shared by all requests of one client. Threads: the loop's only. */
#ifndef VLING_IO_HTTP_CLIENT_H
#define VLING_IO_HTTP_CLIENT_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_client;
struct http_call;

struct http_client_options {
    const char *ca_file, *cert_file, *key_file; /* PEM, or NULL */
    bool http2; /* HTTP/2 (RFC 9113) where TLS negotiates it; else HTTP/1.1 */
};

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                                    struct err *err);
/* Cancels what is under way: each `done` is called before this returns. From inside a callback of
 * the client's, the same happens right after that callback instead. */
void http_client_free(struct http_client *client);

struct http_answer {
    int rc;          /* 0, or -errno: no (complete) answer */
    bool sent_none;  /* rc < 0 and certainly nothing of the request reached the peer */
    bool sent_again; /* it was sent on a kept connection that died, and again on a new one: an
                      * earlier copy may reach the peer, too, and later */
    unsigned status;
    const char *body;
    size_t size;
    const char *why; /* text for rc < 0 */
    /* Of a client with `http2`: what a gRPC server says beside the body, "grpc-status" (0: good, or
     * it says none) and "grpc-message" ("" if there is none). */
    int grpc_status;
    const char *grpc_message;
};
typedef void http_answer_cb(void *arg, const struct http_answer *answer);

struct http_call_options {
    const char *method; /* "GET", "POST" ... */
    const char *url;
    const char *content_type;   /* or NULL */
    const char *const *headers; /* "Name: value", NULL-terminated; or NULL */
    const void *body;           /* copied */
    size_t body_size;
    int timeout_ms;         /* whole call; 0: none (streams) */
    int connect_timeout_ms; /* 0: 300 */
    size_t answer_max;      /* larger answers fail with -EMSGSIZE; 0: 16 MiB */
    /* Streams: called with each piece of the body as it arrives; then answer.body is empty. */
    void (*piece)(void *arg, const void *bytes, size_t size);
    http_answer_cb *done; /* exactly once, also after cancel of the client (-ECANCELED) */
    void *arg;
};
/* NULL: out of memory, or the client is being freed; then `done` is not called. */
struct http_call *http_call(struct http_client *client, const struct http_call_options *options);
/* `done` is called (from the loop) with -ECANCELED. */
void http_call_cancel(struct http_call *call);

#endif
