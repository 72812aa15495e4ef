/* libmicrohttpd keeps its sockets in an epoll set of its own; that one descriptor is polled by
 * libuv, and a timer stands in for its timeouts. A request that is held, or not answered at once,
 * is suspended and resumed by http_go_on() or http_reply().
 *
 * libmicrohttpd calls on_access() once with the headers, for each piece of the body, and once more
 * at its end. The calls without bytes look alike, and after a suspension it repeats the one during
 * which it was suspended: the request has to know where it is (`open`). An answer can be given in
 * such a call only, so not in the middle of a body; after one that was given with the headers the
 * line is closed. */
#include "io/http_server.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "io/address.h"
#include "io/netns.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTION_MEMORY (64 * 1024) /* bounds the header section and the arguments, too */
#define ARGUMENTS_MAX 512             /* of a URI */
#define REPLY_HEADERS_MAX 32
#define DISCARD_MAX (64 * 1024 * 1024) /* of a body that is too big, before the line is cut */
#define PEM_MAX (256 * 1024)
#define AT_ONCE_MAX 16 /* turns of the loop in a row that libmicrohttpd may ask for */
#define SLOW_TURN_MS 2 /* then it is asked this often */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct http_server {
    uv_loop_t *loop;
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t idle; /* stands for a timer of 0 ms */
    unsigned at_once;
    unsigned connections; /* as of the last turn */
    int open_handles;
    uint16_t port;
    char *cert, *key, *client_ca; /* PEM texts */
    struct http_request *requests;
    bool running; /* inside MHD_run() */
    bool again;   /* a connection was resumed */
    bool called;  /* a request came on in this turn */
    bool stopping;
};

struct http_request {
    struct http_server *server;        /* NULL once it was stopped */
    struct MHD_Connection *connection; /* NULL once the client is gone */
    struct http_request *next, **link;
    char *method, *path;
    void (*handle)(void *arg, struct http_request *request); /* as of the server's options */
    void *arg;
    struct buf body;
    struct http_sink sink;
    uint64_t discarded;
    int body_error;
    void *user;
    bool held;    /* by `begin`, until http_go_on() */
    bool refused; /* its body is not wanted */
    bool open;    /* the headers are dealt with: what comes now is the body, or its end */
    bool handled, suspended, replied;
    bool pinned; /* hand_over_cut() works with it */
    unsigned status;
    struct MHD_Response *response;
    struct {
        char *name, *value;
    } headers[REPLY_HEADERS_MAX];
    size_t header_count;
    char client_ip[INET6_ADDRSTRLEN];
    char client_name[256];
};

/* ---- the loop ---- */

static void on_timer(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);
static void stop_now(struct http_server *server);

/* libmicrohttpd says that it has work at once. A timer of 0 ms, started from a timer, would run
 * again before anything else of the loop does; and a TLS handshake whose other side is silent keeps
 * saying so (the other side may be this very process). So: at once a few times, then slowly. */
static void run_again(struct http_server *server)
{
    if (server->at_once++ < AT_ONCE_MAX) {
        uv_timer_stop(&server->timer);
        uv_idle_start(&server->idle, on_idle);
    } else {
        uv_timer_start(&server->timer, on_timer, SLOW_TURN_MS, 0);
    }
}

/* Did connections end in this turn? At its limit libmicrohttpd stops listening, and it begins again
 * only in the turn after one in which there was room. */
static bool has_more_room(struct http_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    unsigned before = server->connections;

    server->connections = info ? info->num_connections : 0;
    return server->connections < before;
}

/* When the end of the line comes together with the last bytes, libmicrohttpd takes the bytes and
 * does not look for more, and a body that will never be whole would keep its sink until the
 * connection counts as idle. Shut down, the line shows once more that it has ended. */
static void end_cut_bodies(struct http_server *server)
{
    for (struct http_request *request = server->requests; request; request = request->next) {
        const union MHD_ConnectionInfo *info =
            request->handled || !request->connection
                ? NULL
                : MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        char byte;

        if (info && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            shutdown(info->connect_fd, SHUT_RDWR);
    }
}

static void pump(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    server->running = true;
    server->again = false;
    uv_idle_stop(&server->idle);
    server->called = false;
    MHD_run(server->daemon);
    /* What it could not read it gives up in the turn after, and asks for none. */
    if (!server->called)
        MHD_run(server->daemon);
    end_cut_bodies(server);
    server->running = false;
    if (server->stopping)
        stop_now(server);
    else if (has_more_room(server) || server->again)
        run_again(server);
    else if (MHD_get_timeout(server->daemon, &timeout_ms) != MHD_YES)
        uv_timer_stop(&server->timer);
    else if (timeout_ms == 0)
        run_again(server);
    else {
        server->at_once = 0;
        uv_timer_start(&server->timer, on_timer, timeout_ms, 0);
    }
}

static void on_idle(uv_idle_t *idle)
{
    pump(idle->data);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct http_server *server = poll->data;

    server->at_once = 0;
    pump(server);
}

/* ---- life of a request ---- */

static struct http_request *request_new(struct http_server *server,
                                        struct MHD_Connection *connection, const char *method,
                                        const char *path)
{
    struct http_request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->method = strdup(method);
    request->path = strdup(path);
    if (!request->method || !request->path) {
        free(request->method);
        free(request->path);
        free(request);
        return NULL;
    }
    request->server = server;
    request->connection = connection;
    request->handle = server->options.handle;
    request->arg = server->options.arg;
    buf_init(&request->body, server->options.body_max);
    request->next = server->requests;
    request->link = &server->requests;
    if (request->next)
        request->next->link = &request->next;
    server->requests = request;
    return request;
}

static void request_unlink(struct http_request *request)
{
    if (!request->server)
        return;
    *request->link = request->next;
    if (request->next)
        request->next->link = request->link;
    request->server = NULL;
}

/* Frees the request if neither the client nor the handler has an interest in it any more. */
static void request_release(struct http_request *request)
{
    if (request->connection || !request->replied || request->pinned)
        return;
    request_unlink(request);
    if (request->response)
        MHD_destroy_response(request->response);
    for (size_t i = 0; i < request->header_count; i++) {
        free(request->headers[i].name);
        free(request->headers[i].value);
    }
    buf_free(&request->body);
    free(request->method);
    free(request->path);
    free(request);
}

static void note_client(struct http_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;

    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, request->client_ip,
                  sizeof(request->client_ip));
    else if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, request->client_ip,
                  sizeof(request->client_ip));
}

/* The common name of a client certificate that our CA signed and that is valid now. */
static int read_client_name(struct MHD_Connection *connection, char *out, size_t size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    const gnutls_datum_t *chain;
    gnutls_x509_crt_t cert;
    unsigned status = 1, n = 0;
    int rc;

    if (!info || gnutls_certificate_verify_peers2(info->tls_session, &status) < 0 || status != 0)
        return -EACCES;
    chain = gnutls_certificate_get_peers(info->tls_session, &n);
    if (!chain || n == 0 || gnutls_x509_crt_init(&cert) < 0)
        return -EACCES;
    rc = gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out, &size);
    gnutls_x509_crt_deinit(cert);
    return rc < 0 ? -EACCES : 0;
}

/* ---- libmicrohttpd's callbacks ---- */

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/plain");
    MHD_add_response_header(response, "Connection", "close");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Not while stopping: libmicrohttpd must not be stopped while connections are suspended. */
static enum MHD_Result suspend(struct http_server *server, struct http_request *request)
{
    if (server->stopping)
        return refuse(request->connection, 503, "The service is shutting down.\n");
    request->suspended = true;
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

static void resume(struct http_request *request)
{
    request->suspended = false;
    MHD_resume_connection(request->connection);
    request->server->again = true;
    request->server->at_once = 0;
    run_again(request->server);
}

static enum MHD_Result on_end(struct http_server *server, struct http_request *request)
{
    if (!request->handled) {
        request->handled = true;
        request->handle(request->arg, request);
    }
    if (!request->replied)
        return suspend(server, request);
    return MHD_queue_response(request->connection, request->status, request->response);
}

/* Is the answer given instead of reading the body? A small one that nobody wants is read first all
 * the same: who is still sending might not see the answer. */
static bool is_answered_early(const struct http_server *server, const struct http_request *request)
{
    const char *length = http_header(request, "Content-Length");
    const char *expect = http_header(request, "Expect");
    uint64_t announced = length ? strtoull(length, NULL, 10) : 0;

    if (request->refused)
        return announced > DISCARD_MAX || (expect && strcasecmp(expect, "100-continue") == 0);
    return !request->sink.write && announced > server->options.body_max + (uint64_t)DISCARD_MAX;
}

/* The headers are here. Comes again when a request that was held goes on. */
static enum MHD_Result on_headers(struct http_server *server, struct http_request *request)
{
    if (request->held)
        return suspend(server, request);
    request->open = true;
    if (!is_answered_early(server, request))
        return MHD_YES;
    if (!request->refused)
        request->body_error = -EFBIG;
    return on_end(server, request);
}

struct framing {
    unsigned lengths, encodings;
    bool strange;
};

static enum MHD_Result note_framing(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct framing *framing = cls;

    if (strcasecmp(name, "Content-Length") == 0) {
        framing->lengths++;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        framing->encodings++;
        framing->strange |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

/* Does the request say in two ways where its body ends (RFC 9112, 6.3)? A proxy in front might go
 * by the other one, and then the rest of the body would be a request in somebody else's name. */
static bool is_ambiguous(struct MHD_Connection *connection)
{
    struct framing framing = {0};

    MHD_get_connection_values(connection, MHD_HEADER_KIND, note_framing, &framing);
    return framing.lengths + framing.encodings > 1 || framing.strange;
}

static enum MHD_Result on_request(struct http_server *server, struct MHD_Connection *connection,
                                  const char *path, const char *method, void **ret_request)
{
    char name[256] = "";
    struct http_request *request;

    if (server->options.client_ca_file && read_client_name(connection, name, sizeof(name) - 1) < 0)
        return refuse(connection, 403, "A certificate of this cluster's CA is needed.\n");
    if (is_ambiguous(connection))
        return refuse(connection, 400, "The end of the body is not said in one way.\n");
    request = request_new(server, connection, method, path);
    if (!request)
        return MHD_NO;
    *ret_request = request;
    snprintf(request->client_name, sizeof(request->client_name), "%s", name);
    note_client(request);
    if (server->options.begin)
        server->options.begin(server->options.arg, request);
    return on_headers(server, request);
}

static enum MHD_Result on_bytes(struct http_request *request, const char *bytes, size_t size)
{
    if (request->refused)
        return MHD_YES;
    if (request->body_error == 0 && request->sink.write) {
        request->body_error = request->sink.write(request->sink.arg, bytes, size);
    } else if (request->body_error == 0) {
        buf_add(&request->body, bytes, size);
        if (request->body.failed)
            request->body_error = -EFBIG;
    }
    if (request->body_error && !request->sink.write) {
        request->discarded += size;
        if (request->discarded > DISCARD_MAX)
            return MHD_NO;
    }
    return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *bytes,
                                 size_t *size, void **slot)
{
    struct http_server *server = cls;
    struct http_request *request = *slot;
    enum MHD_Result result;

    server->called = true;
    if (!request)
        return on_request(server, connection, path, method, slot);
    if (!request->open)
        return on_headers(server, request);
    if (*size == 0)
        return on_end(server, request);
    result = on_bytes(request, bytes, *size);
    *size = 0;
    return result;
}

/* The end of a request whose body will never be whole. */
static void hand_over_cut(struct http_request *request)
{
    request->handled = true;
    request->body_error = -ECONNABORTED;
    request->pinned = true;
    request->handle(request->arg, request);
    request->pinned = false;
    request_release(request);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    struct http_request *request = *slot;

    *slot = NULL;
    if (!request)
        return;
    request->connection = NULL;
    if (request->handled)
        request_release(request);
    else if (!request->held)
        hand_over_cut(request);
}

/* Each argument takes memory of the connection's, and when that is all gone libmicrohttpd neither
 * answers nor closes. So that end is made here. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    static const char answer[] = "HTTP/1.1 414 URI Too Long\r\nConnection: close\r\n"
                                 "Content-Length: 0\r\n\r\n";
    const struct http_server *server = cls;
    const union MHD_ConnectionInfo *info;
    size_t arguments = 0;

    for (; *uri; uri++)
        arguments += *uri == '&';
    if (arguments < ARGUMENTS_MAX)
        return NULL;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!info)
        return NULL;
    if (!server->cert)
        send(info->connect_fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(info->connect_fd, SHUT_RDWR);
    return NULL;
}

static void on_log(void *cls, const char *format, va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof(text), format, ap);
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("http: %s", text);
}

/* ---- start and stop ---- */

struct listening {
    const struct http_server_options *options;
    uint16_t port;
};

/* Returns the listening socket. May run in a helper thread that sits in another namespace. */
static int listen_here(void *arg)
{
    struct listening *listening = arg;
    struct sockaddr_storage address;
    socklen_t size;
    int rc = address_parse(listening->options->address, listening->options->port, &address, &size);
    int on = 1, fd;

    if (rc < 0)
        return rc;
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* A virtual IP may arrive at this host later than its server. */
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    listening->port =
        ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                           : ((struct sockaddr_in6 *)&address)->sin6_port);
    return fd;
}

static int open_socket(struct http_server *server)
{
    struct listening listening = {.options = &server->options};
    int netns, fd;

    if (server->options.netns) {
        netns = netns_open(server->options.netns);
        if (netns < 0)
            return netns;
        fd = netns_run(netns, listen_here, &listening);
        close(netns);
    } else {
        fd = listen_here(&listening);
    }
    server->port = listening.port;
    return fd;
}

static int read_pem(const char *path, char **ret_text, struct err *err)
{
    int rc = path ? file_read(path, PEM_MAX, ret_text, NULL) : 0;

    return rc < 0 ? err_why(err, rc, "cannot start the HTTP server", "%s: %s", path, strerror(-rc))
                  : 0;
}

static int read_pems(struct http_server *server, struct err *err)
{
    const struct http_server_options *options = &server->options;
    int rc = read_pem(options->cert_file, &server->cert, err);

    if (rc == 0)
        rc = read_pem(options->key_file, &server->key, err);
    if (rc == 0)
        rc = read_pem(options->client_ca_file, &server->client_ca, err);
    return rc;
}

static int start_daemon(struct http_server *server, int fd)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem items[8];
    size_t n = 0;

    if (server->cert && server->key) {
        flags |= MHD_USE_TLS;
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, server->cert};
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, server->key};
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES};
        if (server->client_ca)
            items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, server->client_ca};
    }
    items[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        server->options.connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        server->options.connections_per_client, MHD_OPTION_CONNECTION_TIMEOUT,
        server->options.idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    return server->daemon ? 0 : -EIO;
}

static void server_free(struct http_server *server)
{
    free(server->cert);
    free(server->key);
    free(server->client_ca);
    free(server);
}

static void on_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;

    if (--server->open_handles == 0)
        server_free(server);
}

static int attach(struct http_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = info ? uv_poll_init(server->loop, &server->poll, info->epoll_fd) : -EIO;

    if (rc < 0)
        return rc;
    uv_timer_init(server->loop, &server->timer);
    uv_idle_init(server->loop, &server->idle);
    server->poll.data = server->timer.data = server->idle.data = server;
    server->open_handles = 3;
    uv_poll_start(&server->poll, UV_READABLE, on_readable);
    uv_timer_start(&server->timer, on_timer, 0, 0);
    return 0;
}

struct http_server *http_server_start(uv_loop_t *loop, const struct http_server_options *options,
                                      struct err *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    int fd = -1, rc;

    if (!server) {
        err_set(err, -ENOMEM, "cannot start the HTTP server", NULL, NULL);
        return NULL;
    }
    server->loop = loop;
    server->options = *options;
    if (read_pems(server, err) < 0)
        goto fail;
    rc = fd = open_socket(server);
    if (rc < 0) {
        err_why(err, rc, "cannot start the HTTP server", "%s port %u: %s", options->address,
                options->port, strerror(-rc));
        goto fail;
    }
    rc = start_daemon(server, fd);
    if (rc == 0)
        rc = attach(server);
    if (rc == 0)
        return server;
    err_set(err, rc, "cannot start the HTTP server",
            server->daemon ? "its descriptor cannot be polled" : "bad certificate, key or limits",
            NULL);
    if (server->daemon)
        MHD_stop_daemon(server->daemon); /* closes the socket */
    else
        close(fd);
fail:
    server_free(server);
    return NULL;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

static void stop_now(struct http_server *server)
{
    struct http_request *request, *next;

    uv_close((uv_handle_t *)&server->poll, on_closed); /* before its descriptor is closed */
    uv_timer_stop(&server->timer);
    uv_idle_stop(&server->idle);
    /* libmicrohttpd must not be stopped while connections are suspended: they get a 503. */
    for (request = server->requests; request; request = request->next) {
        if (request->suspended)
            MHD_resume_connection(request->connection);
        request->suspended = false;
    }
    MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
    for (request = server->requests; request; request = next) {
        next = request->next;
        request->connection = NULL;
        request_unlink(request);
        request_release(request);
    }
    uv_close((uv_handle_t *)&server->timer, on_closed);
    uv_close((uv_handle_t *)&server->idle, on_closed);
}

void http_server_stop(struct http_server *server)
{
    if (!server || server->stopping)
        return;
    server->stopping = true;
    if (!server->running) /* else by pump(), when libmicrohttpd is off the stack */
        stop_now(server);
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
    const char *value = NULL;
    enum MHD_Result found = MHD_NO;

    if (request->connection)
        found = MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                              strlen(name), &value, NULL);
    return found == MHD_YES && !value ? "" : value;
}

struct each {
    void (*call)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result on_each(void *cls, enum MHD_ValueKind kind, const char *name,
                               const char *value)
{
    struct each *each = cls;

    each->call(each->arg, name, value ? value : "");
    return MHD_YES;
}

void http_query_each(const struct http_request *request,
                     void (*call)(void *arg, const char *name, const char *value), void *arg)
{
    struct each each = {call, arg};

    if (request->connection)
        MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, on_each, &each);
}

const char *http_header(const struct http_request *request, const char *name)
{
    return request->connection
               ? MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name)
               : NULL;
}

const char *http_body(const struct http_request *request, size_t *ret_size)
{
    if (ret_size)
        *ret_size = request->body.len;
    return buf_text(&request->body);
}

const char *http_client_ip(const struct http_request *request)
{
    return request->client_ip;
}

const char *http_client_name(const struct http_request *request)
{
    return request->client_name[0] ? request->client_name : NULL;
}

int http_body_error(const struct http_request *request)
{
    return request->body_error;
}

void http_use_sink(struct http_request *request, struct http_sink sink)
{
    request->sink = sink;
}

void http_refuse_body(struct http_request *request)
{
    request->refused = true;
}

void http_hold(struct http_request *request)
{
    request->held = true;
}

void http_go_on(struct http_request *request)
{
    if (!request->held)
        return;
    request->held = false;
    if (request->suspended)
        resume(request);
    else if (!request->connection) /* libmicrohttpd has forgotten it */
        hand_over_cut(request);
}

void http_set_user(struct http_request *request, void *user)
{
    request->user = user;
}

void *http_user(const struct http_request *request)
{
    return request->user;
}

/* ---- the reply ---- */

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    size_t n = request->header_count;

    /* A value with a line break would be a second header. */
    if (n == REPLY_HEADERS_MAX || strpbrk(value, "\r\n") || strpbrk(name, "\r\n"))
        return;
    request->headers[n].name = strdup(name);
    request->headers[n].value = strdup(value);
    request->header_count++;
}

static void reply_with(struct http_request *request, unsigned status, struct MHD_Response *response)
{
    if (request->replied) { /* a second answer is a mistake of the handler: the first one stands */
        log_error("http: a request was answered twice: %s %s", request->method, request->path);
        if (response)
            MHD_destroy_response(response);
        return;
    }
    if (!response) {
        status = 500;
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    }
    for (size_t i = 0; response && i < request->header_count; i++) {
        if (request->headers[i].name && request->headers[i].value)
            MHD_add_response_header(response, request->headers[i].name, request->headers[i].value);
    }
    request->status = status;
    request->response = response;
    request->replied = true;
    if (request->suspended)
        resume(request);
    if (request->handled)
        request_release(request);
}

static bool is_without_body(unsigned status)
{
    return status == 204 || status == 205 || status == 304;
}

void http_reply(struct http_request *request, unsigned status, const void *body, size_t size)
{
    if (is_without_body(status))
        size = 0;
    reply_with(
        request, status,
        MHD_create_response_from_buffer(size, size ? (void *)body : NULL,
                                        size ? MHD_RESPMEM_MUST_COPY : MHD_RESPMEM_PERSISTENT));
}

void http_reply_text(struct http_request *request, unsigned status, char *text)
{
    struct MHD_Response *response = NULL;

    if (text && !is_without_body(status))
        response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response) {
        reply_with(request, status, response);
        return;
    }
    free(text);
    http_reply(request, status, NULL, 0);
}

void http_reply_file(struct http_request *request, unsigned status, int fd, uint64_t offset,
                     uint64_t size)
{
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(size, fd, offset);

    if (!response)
        close(fd);
    reply_with(request, status, response);
}
