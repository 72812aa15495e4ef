#include "io/http_client.h"

#include "base/buf.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 300
#define ANSWER_MAX ((size_t)16 * 1024 * 1024)
#define CONNECTIONS_KEPT 128 /* curl counts those in use as well */

/* A call is born in the state NEW: curl must not be entered from inside one of its own callbacks,
 * so calls are started and cancelled by the client's timer when that is the case. */
enum call_state { CALL_NEW, CALL_RUNNING, CALL_FINISHED };

struct http_call {
    struct http_call *prev, *next;
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct buf answer;
    enum call_state state;
    bool cancelled;
    bool too_big;
    int copies; /* of the request that were sent, or begun */
    void (*piece)(void *arg, const void *bytes, size_t size);
    http_answer_cb *done;
    void *arg;
    char why[CURL_ERROR_SIZE];
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t *timer; /* curl's */
    uv_timer_t *kick;  /* ours: starts and cancels */
    struct http_call *calls;
    struct socket_watch *watches;
    char *ca_file, *cert_file, *key_file;
    bool http2;
    int inside;   /* how deep in curl or in a user's callback */
    bool closing; /* free when `inside` is 0 again */
};

/* One of curl's sockets on the loop, by a duplicate of our own: curl 7.88 closes a socket that did
 * not connect in time before it says so. Where a program that is being started still has a copy,
 * the loop would be told of that socket for ever, under a number that is somebody else's. */
struct socket_watch {
    struct socket_watch *next;
    struct http_client *client;
    curl_socket_t fd; /* curl's number of it */
    int own, events;
    uv_poll_t *poll; /* on `own`; NULL: none could be made */
};

static void client_destroy(struct http_client *client);
static void client_work(struct http_client *client);

static void enter(struct http_client *client)
{
    client->inside++;
}

/* Leaves a section that `enter` began. The client may be gone afterwards. */
static void leave(struct http_client *client)
{
    if (--client->inside == 0 && client->closing)
        client_destroy(client);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* ---- curl's sockets and timer on the loop ---- */

static void on_kick(uv_timer_t *timer)
{
    client_work(timer->data);
}

static void kick(struct http_client *client)
{
    uv_timer_start(client->kick, on_kick, 0, 0);
}

static void act(struct http_client *client, curl_socket_t fd, int events)
{
    int running;

    enter(client);
    curl_multi_socket_action(client->multi, fd, events, &running);
    client_work(client);
    leave(client);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *watch = poll->data;
    int flags = 0;

    if (status < 0)
        flags |= CURL_CSELECT_ERR;
    if (events & (UV_READABLE | UV_DISCONNECT))
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(watch->client, watch->fd, flags);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int timer_callback(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *client = arg;

    if (timeout_ms < 0)
        uv_timer_stop(client->timer);
    else
        uv_timer_start(client->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static void watch_end(struct socket_watch *watch)
{
    if (!watch->poll)
        return;
    uv_close((uv_handle_t *)watch->poll, free_handle);
    close(watch->own);
    watch->poll = NULL;
}

static int watch_begin(struct socket_watch *watch)
{
    uv_poll_t *poll = calloc(1, sizeof(*poll));
    int rc;

    watch->own = fcntl(watch->fd, F_DUPFD_CLOEXEC, 0);
    rc = watch->own < 0 ? -errno
         : poll         ? uv_poll_init(watch->client->loop, poll, watch->own)
                        : -ENOMEM;
    if (rc < 0) {
        if (watch->own >= 0)
            close(watch->own);
        free(poll);
        return rc;
    }
    poll->data = watch;
    watch->poll = poll;
    return uv_poll_start(poll, watch->events, on_poll);
}

static struct socket_watch *watch_new(struct http_client *client, curl_socket_t fd)
{
    struct socket_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return NULL;
    watch->client = client;
    watch->fd = fd;
    watch->next = client->watches;
    client->watches = watch;
    curl_multi_assign(client->multi, fd, watch);
    return watch;
}

static void watch_free(struct socket_watch *watch)
{
    struct socket_watch **at = &watch->client->watches;

    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    watch_end(watch);
    free(watch);
}

static int socket_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *client = arg;
    struct socket_watch *watch = socket_arg;

    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(client->multi, fd, NULL);
            watch_free(watch);
        }
        return 0;
    }
    if (!watch)
        watch = watch_new(client, fd);
    if (!watch)
        return -1;
    watch->events =
        (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (!watch->poll)
        return watch_begin(watch) < 0 ? -1 : 0;
    return uv_poll_start(watch->poll, watch->events, on_poll) < 0 ? -1 : 0;
}

/* No program that is started inherits it. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* ---- calls ---- */

static void call_free(struct http_call *call)
{
    if (call->easy)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    buf_free(&call->answer);
    free(call);
}

/* Takes the call off the client, tells its owner and frees it. */
static void call_finish(struct http_call *call, struct http_answer *answer)
{
    struct http_client *client = call->client;

    if (call->state == CALL_RUNNING)
        curl_multi_remove_handle(client->multi, call->easy);
    call->state = CALL_FINISHED;
    if (call->prev)
        call->prev->next = call->next;
    else
        client->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    enter(client);
    call->done(call->arg, answer);
    call_free(call);
    leave(client);
}

static void call_fail(struct http_call *call, int rc, const char *why)
{
    struct http_answer answer = {
        .rc = rc, .sent_none = call->state == CALL_NEW, .body = "", .why = why, .grpc_message = ""};

    call_finish(call, &answer);
}

static int errno_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return -ECONNREFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return -EPROTO;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return -EINVAL;
    default:
        return -ECONNRESET;
    }
}

/* In the trailers, or in the headers where there is no body. */
static const char *header_of(const struct http_call *call, const char *name)
{
    struct curl_header *found;

    return curl_easy_header(call->easy, name, 0, CURLH_HEADER | CURLH_TRAILER, -1, &found) ==
                   CURLHE_OK
               ? found->value
               : "";
}

static void call_complete(struct http_call *call, CURLcode code)
{
    struct http_answer answer = {.body = "", .why = "", .grpc_message = ""};
    long status = 0;

    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->cancelled) {
        answer.rc = -ECANCELED;
        answer.why = "cancelled";
    } else if (call->too_big || call->answer.failed) {
        answer.rc = -EMSGSIZE;
        answer.why = "the answer is larger than the limit";
    } else if (code != CURLE_OK) {
        answer.rc = errno_of(code);
        answer.why = call->why[0] ? call->why : curl_easy_strerror(code);
        answer.sent_none = call->copies == 0;
    } else {
        answer.status = (unsigned)status;
        if (call->client->http2) {
            answer.grpc_status = atoi(header_of(call, "grpc-status"));
            answer.grpc_message = header_of(call, "grpc-message");
        }
        answer.body = buf_text(&call->answer);
        answer.size = call->answer.len;
    }
    answer.sent_again = call->copies > 1;
    call_finish(call, &answer);
}

static size_t on_body(char *bytes, size_t one, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t size = one * count;

    if (call->cancelled)
        return 0;
    if (call->piece) {
        call->piece(call->arg, bytes, size);
        return size;
    }
    buf_add(&call->answer, bytes, size);
    if (call->answer.failed) {
        call->too_big = true;
        return 0;
    }
    return size;
}

/* Before each copy of the request: curl repeats by itself what it sent on a connection that the
 * peer had closed. */
static int on_copy(void *arg, char *peer, char *own, int peer_port, int own_port)
{
    struct http_call *call = arg;

    call->copies++;
    return CURL_PREREQFUNC_OK;
}

static void call_start(struct http_call *call)
{
    call->state = CALL_RUNNING;
    if (curl_multi_add_handle(call->client->multi, call->easy) != CURLM_OK) {
        call->state = CALL_NEW;
        call_fail(call, -ENOMEM, "curl refused the request");
    }
}

static void collect_finished(struct http_client *client)
{
    struct CURLMsg *message;
    struct http_call *call;
    CURLcode code;
    int left;

    while (!client->closing && (message = curl_multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call_complete(call, code);
    }
}

/* One call that waits for a start or for its end; from the head, since owners change the list. */
static struct http_call *next_waiting(struct http_client *client)
{
    for (struct http_call *call = client->calls; call; call = call->next)
        if (call->state == CALL_NEW || call->cancelled)
            return call;
    return NULL;
}

static void client_work(struct http_client *client)
{
    struct http_call *call;

    enter(client);
    collect_finished(client);
    while (!client->closing && (call = next_waiting(client))) {
        if (call->cancelled)
            call_fail(call, -ECANCELED, "cancelled");
        else
            call_start(call);
    }
    leave(client);
}

static struct curl_slist *headers_of(const struct http_call_options *options)
{
    struct curl_slist *list = NULL;
    char line[256];

    if (options->content_type) {
        snprintf(line, sizeof(line), "Content-Type: %s", options->content_type);
        list = curl_slist_append(list, line);
    }
    /* No waiting for "100 Continue": it would cost a round trip for each body. */
    list = curl_slist_append(list, "Expect:");
    for (size_t i = 0; options->headers && options->headers[i]; i++)
        list = curl_slist_append(list, options->headers[i]);
    return list;
}

static void set_tls(struct http_client *client, CURL *easy)
{
    if (client->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    curl_easy_setopt(easy, CURLOPT_CAPATH,
                     NULL); /* else all of the system's authorities are read */
    if (client->cert_file)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, client->cert_file);
    if (client->key_file)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, client->key_file);
}

static void set_options(struct http_call *call, const struct http_call_options *options)
{
    CURL *easy = call->easy;
    int connect_ms = options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;

    curl_easy_setopt(easy, CURLOPT_URL, options->url);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     call->client->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->why);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_copy);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)options->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    if (options->body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_size);
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, options->body);
    } else if (strcmp(options->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (strcmp(options->method, "HEAD") != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    set_tls(call->client, easy);
}

struct http_call *http_call(struct http_client *client, const struct http_call_options *options)
{
    struct http_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->easy = curl_easy_init();
    call->headers = headers_of(options);
    if (!call->easy || !call->headers || client->closing) {
        call_free(call);
        return NULL;
    }
    call->client = client;
    call->piece = options->piece;
    call->done = options->done;
    call->arg = options->arg;
    buf_init(&call->answer, options->answer_max ? options->answer_max : ANSWER_MAX);
    set_options(call, options);
    call->next = client->calls;
    if (call->next)
        call->next->prev = call;
    client->calls = call;
    kick(client);
    return call;
}

void http_call_cancel(struct http_call *call)
{
    call->cancelled = true;
    kick(call->client);
}

/* ---- the client ---- */

static char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

static uv_timer_t *timer_new(struct http_client *client)
{
    uv_timer_t *timer = calloc(1, sizeof(*timer));

    if (timer) {
        uv_timer_init(client->loop, timer);
        timer->data = client;
    }
    return timer;
}

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                                    struct err *err)
{
    struct http_client *client = calloc(1, sizeof(*client));

    if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        free(client);
        err_set(err, -ENOMEM, "cannot make an HTTP client", "out of memory", NULL);
        return NULL;
    }
    client->loop = loop;
    client->multi = curl_multi_init();
    client->timer = timer_new(client);
    client->kick = timer_new(client);
    if (options) {
        client->http2 = options->http2;
        client->ca_file = copy_of(options->ca_file);
        client->cert_file = copy_of(options->cert_file);
        client->key_file = copy_of(options->key_file);
    }
    if (!client->multi || !client->timer || !client->kick) {
        client_destroy(client);
        err_set(err, -ENOMEM, "cannot make an HTTP client", "out of memory", NULL);
        return NULL;
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, socket_callback);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, timer_callback);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    return client;
}

static void client_destroy(struct http_client *client)
{
    client->closing = true;
    client->inside++; /* callbacks below must not come back here */
    while (client->calls)
        call_fail(client->calls, -ECANCELED, "cancelled");
    if (client->multi)
        curl_multi_cleanup(client->multi);
    while (client->watches)
        watch_free(client->watches);
    if (client->timer)
        uv_close((uv_handle_t *)client->timer, free_handle);
    if (client->kick)
        uv_close((uv_handle_t *)client->kick, free_handle);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    free(client);
    curl_global_cleanup();
}

void http_client_free(struct http_client *client)
{
    if (!client || client->closing)
        return;
    client->closing = true;
    if (client->inside == 0)
        client_destroy(client);
}
