/* The way of a request through the services; the steps are told in api.h.
 *
 *   begin -> (body) -> handle -> read -> run -> [work -> run] -> commit -> wait -> [peer] -> send
 *                                         ^--- barrier <-- precondition failed --'
 *
 * A body that is streamed waits for a read of its own: begin -> read -> stream_begin -> (body).
 * Each step ends by starting the next one; a step that fails answers and goes to `send`. */
#include "api/internal.h"
#include "api/known.h"
#include "api/quota.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define IDLE_SECONDS 60

static const char unreachable[] =
    "The replicated store cannot be reached. Nothing was changed. Retry.";

struct listener {
    struct api *api;
    const struct api_service_ops *service;
    struct http_server *server;
};

struct api {
    struct api_options options; /* its strings are copies */
    struct listener listeners[API_SERVICES];
    size_t listener_count;
    struct known *known;
    size_t calls;           /* not yet answered */
    size_t working;         /* calls that wait for a worker */
    struct api_call *turns; /* those that take turns, as they came; the first of a name has it */
    bool stopping;
};

const struct api_options *api_get_options(const struct api *api)
{
    return &api->options;
}

struct known *api_known(const struct api *api)
{
    return api->known;
}

/* ---- life of a call ---- */

static void api_free(struct api *api)
{
    known_free(api->known);
    free((char *)api->options.address);
    free((char *)api->options.public_address);
    free((char *)api->options.cert_file);
    free((char *)api->options.key_file);
    free((char *)api->options.region);
    free(api);
}

static void clear_answer(struct api_req *req)
{
    struct api_call *call = api_call_of(req);

    json_decref(call->headers);
    call->headers = NULL;
    api_answer_drop(req);
    req->file_offset = req->file_size = 0;
    req->status = 0;
    req->after_commit = NULL;
}

static void clear_auth(struct api_req *req)
{
    json_decref(req->auth.token);
    memset(&req->auth, 0, sizeof(req->auth));
}

static void leave_turn(struct api_call *call);

static void call_free(struct api_call *call)
{
    struct api *api = call->req.api;

    leave_turn(call);
    clear_answer(&call->req);
    clear_auth(&call->req);
    json_decref(call->req.body);
    store_txn_free(call->req.txn);
    sodium_memzero(call->hashes, sizeof(call->hashes));
    free(call);
    if (--api->calls == 0 && api->stopping)
        api_free(api);
}

/* How the client reached us, for links in answers. */
static void fill_base_url(struct api_req *req)
{
    const char *host = http_header(req->http, "Host");
    bool tls = req->api->options.cert_file || api_by_tls_proxy(req);

    if (host && (strlen(host) > 255 || strpbrk(host, "\"'<>\\ \t/") || !json_is_text(host)))
        host = NULL; /* it is put into documents: nothing but a host and a port */
    if (host)
        snprintf(req->base_url, sizeof(req->base_url), "http%s://%s", tls ? "s" : "", host);
    else
        snprintf(req->base_url, sizeof(req->base_url), "http%s://%s:%u", tls ? "s" : "",
                 req->api->options.public_address ? req->api->options.public_address : "127.0.0.1",
                 req->service->port);
}

static struct api_call *call_new(struct listener *listener, struct http_request *http)
{
    struct api_call *call = calloc(1, sizeof(*call));
    struct api_req *req = &call->req;
    char uuid[ID_UUID_SIZE];

    if (!call)
        abort();
    listener->api->calls++;
    req->api = listener->api;
    req->service = listener->service;
    req->http = http;
    req->method = http_method(http);
    req->path = http_path(http);
    req->db = listener->api->options.mirror;
    req->txn = store_txn_new();
    req->file_fd = -1;
    req->wall_ms = clock_wall_ms();
    clock_iso(req->wall_ms, req->now, sizeof(req->now));
    id_uuid(uuid);
    snprintf(req->request_id, sizeof(req->request_id), "req-%s", uuid);
    fill_base_url(req);
    call->deadline_ms = clock_now_ms() + API_TIMEOUT_MS;
    return call;
}

/* ---- the last step ---- */

static void put_headers(struct api_call *call)
{
    struct api_req *req = &call->req;
    json_t *pair;
    size_t i;

    http_reply_header(req->http, "x-openstack-request-id", req->request_id);
    json_array_foreach(call->headers, i, pair)
    {
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));

        if (name && value)
            http_reply_header(req->http, name, value);
    }
    if (req->raw || req->file_fd >= 0)
        http_reply_header(req->http, "Content-Type",
                          req->raw_type ? req->raw_type : "application/octet-stream");
    else if (req->reply)
        http_reply_header(req->http, "Content-Type", "application/json");
}

static void send_now(struct api_call *call)
{
    struct api_req *req = &call->req;

    if (call->stream_open && req->route->stream_end)
        req->route->stream_end(req);
    call->stream_open = false;
    log_debug("api: %s %s %s %u %s", req->service->name, req->method, req->path, req->status,
              req->request_id);
    put_headers(call);
    if (req->file_fd >= 0) {
        http_reply_file(req->http, req->status, req->file_fd, req->file_offset, req->file_size);
        req->file_fd = -1;
    } else if (req->raw) {
        http_reply_text(req->http, req->status, req->raw);
        req->raw = NULL;
    } else {
        http_reply_text(req->http, req->status,
                        req->reply ? json_dumps(req->reply, JSON_COMPACT) : NULL);
    }
    call_free(call);
}

static void fail_and_send(struct api_call *call, unsigned status, const char *message)
{
    api_fail(&call->req, status, NULL, "%s", message);
    send_now(call);
}

static int time_left(const struct api_call *call)
{
    int64_t left = call->deadline_ms - clock_now_ms();

    return left < 1 ? 1 : (int)left;
}

static void on_shown(void *arg, int rc)
{
    struct api_call *call = arg;

    if (rc == 0)
        send_now(call);
    else if (call->written)
        fail_and_send(call, 503,
                      "The change was made, but this controller cannot show it now. Look before "
                      "you repeat it.");
    else
        fail_and_send(call, 503, "This controller cannot answer now. Retry.");
}

/* An answer leaves when nobody can be told less any more (ha/read_lease.h). */
static void send_answer(struct api_call *call)
{
    if (call->seen > 0)
        mirror_show(call->req.db, call->seen, time_left(call), on_shown, call);
    else
        send_now(call);
}

/* What is said from now on may tell of rows as they are now. */
static void note_seen(struct api_call *call)
{
    int64_t revision = mirror_changed_revision(call->req.db);

    if (revision > call->seen)
        call->seen = revision;
}

/* ---- another host's answer ---- */

static void on_peer(void *arg, int rc, unsigned status, const char *body, size_t size)
{
    struct api_call *call = arg;
    void (*done)(struct api_req *, int, unsigned, const char *, size_t) = call->req.peer.done;

    call->req.peer.host[0] = '\0';
    note_seen(call);
    done(&call->req, rc, status, body, size);
    if (call->req.status == 0)
        api_fail(&call->req, 500, NULL, "The handler gave no answer.");
    send_answer(call);
}

static void ask_peer_or_send(struct api_call *call)
{
    struct api_req *req = &call->req;
    const struct api_peers *peers = &req->api->options.peers;

    if (!req->peer.host[0] || !req->peer.done)
        send_answer(call);
    else if (!peers->get)
        fail_and_send(call, 503, "Other hosts cannot be asked here.");
    else
        peers->get(peers->arg, req->peer.host, req->peer.path, on_peer, call);
}

/* ---- commit ---- */

static void take_barrier(struct api_call *call);

static void on_mirrored(void *arg, int rc)
{
    struct api_call *call = arg;

    if (rc < 0) {
        log_warn("api: the mirror is late: %s", strerror(-rc));
        on_shown(call, rc);
        return;
    }
    ask_peer_or_send(call);
}

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct api_call *call = arg;

    if (call->req.after_commit && (rc == 0 || rc == -EINPROGRESS))
        call->req.after_commit(&call->req, rc);
    if (rc == 0) {
        leave_turn(call);
        call->written = true;
        call->seen = revision > call->seen ? revision : call->seen;
        mirror_wait(call->req.db, revision, time_left(call), on_mirrored, call);
        return;
    }
    /* Whoever has a turn competes with the other controllers only, and goes on while there is time.
     */
    if (rc == -EAGAIN && (call->turn[0] ? time_left(call) > 1 : ++call->attempts < API_RETRIES)) {
        take_barrier(call);
        return;
    }
    if (rc == -EAGAIN)
        fail_and_send(call, 409, "Others are changing the same things at the same time. Retry.");
    else if (rc == -EINPROGRESS)
        fail_and_send(call, 503,
                      "The replicated store did not answer in time. The change may still be made: "
                      "look before you repeat it.");
    else if (rc == -EMSGSIZE)
        fail_and_send(call, 413, "The change is too big for one transaction.");
    else if (rc == -ENOSPC)
        fail_and_send(call, 507, "The replicated store is full.");
    else
        fail_and_send(call, 503, unreachable);
}

/* ---- turns ---- */

/* May it commit now? If not, it comes back when those before it are through. */
static bool take_turn(struct api_call *call)
{
    struct api_call **at = &call->req.api->turns;
    bool mine = true;

    for (; *at && *at != call; at = &(*at)->next_turn)
        mine = mine && strcmp((*at)->turn, call->turn) != 0;
    *at = call;
    return mine;
}

static void leave_turn(struct api_call *call)
{
    struct api *api = call->req.api;
    struct api_call **at = &api->turns, *next;
    bool mine = true;

    for (; *at && *at != call; at = &(*at)->next_turn)
        mine = mine && strcmp((*at)->turn, call->turn) != 0;
    if (!*at)
        return;
    next = *at = call->next_turn;
    call->next_turn = NULL;
    while (next && strcmp(next->turn, call->turn) != 0)
        next = next->next_turn;
    if (!next || !mine)
        return;
    next->deadline_ms = clock_now_ms() + API_TIMEOUT_MS;
    if (api->stopping)
        fail_and_send(next, 503, "The service is shutting down.");
    else
        take_barrier(next);
}

static void commit_or_finish(struct api_call *call)
{
    struct api_req *req = &call->req;
    struct store_txn *txn = req->txn;

    if (store_txn_empty(txn)) {
        ask_peer_or_send(call);
        return;
    }
    if (!req->api->options.store) {
        fail_and_send(call, 503, "There is no store here: this service is read-only.");
        return;
    }
    if (call->turn[0] && !take_turn(call))
        return;
    req->txn = NULL; /* the store frees it */
    store_commit(req->api->options.store, txn, time_left(call), on_committed, call);
}

/* ---- the handler ---- */

static void run(struct api_call *call);

static void on_work(uv_work_t *work)
{
    struct api_call *call = work->data;

    call->job(&call->req);
}

static void on_worked(uv_work_t *work, int status)
{
    struct api_call *call = work->data;

    call->req.api->working--;
    call->job = NULL;
    call->deadline_ms = clock_now_ms() + API_TIMEOUT_MS;
    if (status < 0)
        fail_and_send(call, 503, "The service is shutting down.");
    else
        run(call);
}

static void start_work(struct api_call *call)
{
    struct api *api = call->req.api;

    call->work.data = call;
    if (api->working >= API_WORKING_MAX ||
        uv_queue_work(api->options.loop, &call->work, on_work, on_worked) < 0) {
        call->job = NULL;
        fail_and_send(call, 503, "Too many logins or uploads at the same time. Retry.");
        return;
    }
    api->working++;
}

void api_work(struct api_req *req, void (*job)(struct api_req *req))
{
    api_call_of(req)->job = job;
}

/* Everything up to the handler: may it run, and on what? */
static bool admit(struct api_call *call)
{
    struct api_req *req = &call->req;

    if (req->service->prepare && !req->service->prepare(req))
        return false;
    if (!api_authorize(req))
        return false;
    if (call->body_why[0]) {
        api_fail(req, 400, "HTTPBadRequest", "Malformed request body: %s", call->body_why);
        return false;
    }
    return true;
}

/* Holds what the handler wants to write against the quotas. */
static void hold_against_quotas(struct api_call *call, size_t headers)
{
    if (quota_admit(&call->req, call->turn, sizeof(call->turn)))
        return;
    while (json_array_size(call->headers) > headers) /* Location of what is not made */
        json_array_remove(call->headers, json_array_size(call->headers) - 1);
}

/* A list that SQLite refused to make is not an empty one, and nothing may follow from it. */
static void check_reads(struct api_req *req)
{
    if (!mirror_reads_refused(req->db))
        return;
    clear_answer(req);
    store_txn_free(req->txn);
    req->txn = store_txn_new();
    api_fail(req, 400, "HTTPBadRequest", "Invalid query: too many filters.");
}

/* Is the handler's answer nothing but its text, and that for as long as no row changes? */
static bool is_steady(const struct api_call *call, size_t headers)
{
    const struct api_req *req = &call->req;

    return req->route->flags & API_STEADY && req->status == 200 && req->reply &&
           store_txn_empty(req->txn) && json_array_size(call->headers) == headers;
}

static void run(struct api_call *call)
{
    struct api_req *req = &call->req;
    size_t headers;

    clear_answer(req);
    clear_auth(req);
    store_txn_free(req->txn);
    req->txn = store_txn_new();
    if (!(req->route->flags & API_NO_DB))
        note_seen(call);
    mirror_reads_begin(req->db); /* an answer that is kept follows from these tables */
    if (!admit(call) || (req->route->flags & API_STEADY && known_recall(req))) {
        send_answer(call);
        return;
    }
    headers = json_array_size(call->headers);
    req->route->handler(req);
    if (call->job) {
        start_work(call);
        return;
    }
    check_reads(req);
    if (is_steady(call, headers))
        known_keep(req);
    if (req->status < 400 && !store_txn_empty(req->txn))
        hold_against_quotas(call, headers);
    if (req->status == 0 && !req->peer.host[0])
        api_fail(req, 500, NULL, "The handler gave no answer.");
    commit_or_finish(call);
}

static void on_barrier(void *arg, int rc)
{
    struct api_call *call = arg;

    if (rc < 0)
        fail_and_send(call, 503, unreachable);
    else
        run(call);
}

static void take_barrier(struct api_call *call)
{
    mirror_barrier(call->req.db, time_left(call), on_barrier, call);
}

/* ---- the request arrives ---- */

/* May the body come, and where does it go? The rows are as new as those of a handler. */
static void begin_stream(void *arg, int rc)
{
    struct api_call *call = arg;
    struct api_req *req = &call->req;
    struct http_sink sink;

    if (rc == 0)
        note_seen(call);
    else
        api_fail(req, 503, NULL, "%s", unreachable);
    if (rc == 0 && admit(call) && req->route->stream_begin(req, &sink) == 0) {
        call->stream_open = true;
        http_use_sink(req->http, sink);
    } else {
        call->answered = true;
        http_refuse_body(req->http);
    }
    http_go_on(req->http); /* the call may be gone now */
}

static void check_argument(void *arg, const char *name, const char *value)
{
    bool *texts = arg;

    *texts = *texts && json_is_text(name) && (!value || json_is_text(value));
}

static void on_begin(void *arg, struct http_request *http)
{
    struct api_call *call = call_new(arg, http);
    struct api_req *req = &call->req;
    bool texts = json_is_text(req->path);
    int rc = api_route_find(req->service, req->method, req->path, req);

    http_set_user(http, call);
    http_query_each(http, check_argument, &texts);
    if (!texts) { /* neither rows nor filters could hold it */
        call->answered = true;
        api_fail(req, 400, "HTTPBadRequest", "The path and the query must be UTF-8.");
    } else if (rc < 0) {
        call->answered = true;
        if (rc == -ENOTSUP)
            api_fail(req, 405, "HTTPMethodNotAllowed", "The method %s is not allowed for %.200s.",
                     req->method, req->path);
        else
            api_fail(req, 404, "HTTPNotFound", "The resource could not be found.");
    } else if (req->route->flags & API_STREAM && req->route->stream_begin) {
        http_hold(http);
        mirror_read(req->db, time_left(call), begin_stream, call);
    }
}

static void parse_body(struct api_call *call)
{
    size_t size;
    const char *text = http_body(call->req.http, &size);

    if (size > 0)
        call->req.body = json_parse(text, size, call->body_why, sizeof(call->body_why));
    if (size > 0 && !call->req.body && !call->body_why[0])
        snprintf(call->body_why, sizeof(call->body_why), "no JSON");
}

static void on_handle(void *arg, struct http_request *http)
{
    struct api_call *call = http_user(http);
    struct api_req *req = &call->req;
    int rc = http_body_error(http);

    /* An upload takes its time; what follows has a limit of its own. */
    call->deadline_ms = clock_now_ms() + API_TIMEOUT_MS;
    if (call->answered) {
        send_answer(call);
    } else if (req->api->stopping) {
        fail_and_send(call, 503, "The service is shutting down.");
    } else if (rc == -EFBIG) {
        fail_and_send(call, 413, "The request body is too large.");
    } else if (rc == -ENOSPC || rc == -EDQUOT) {
        fail_and_send(call, 507, "There is no space left for it on the storage.");
    } else if (rc == -ECONNABORTED) {
        fail_and_send(call, 400, "The request body ended early.");
    } else if (rc < 0) {
        log_warn("api: %s %s: the body could not be taken: %s", req->method, req->path,
                 strerror(-rc));
        fail_and_send(call, 500, "The request body could not be stored.");
    } else {
        if (!(req->route->flags & API_STREAM))
            parse_body(call);
        if (req->route->flags & API_NO_DB)
            run(call);
        else
            mirror_read(req->db, time_left(call), on_barrier, call);
    }
}

/* ---- assembly ---- */

static const char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void copy_options(struct api *api, const struct api_options *options)
{
    api->options = *options;
    api->options.address = copy_of(options->address);
    api->options.public_address = copy_of(options->public_address);
    api->options.cert_file = copy_of(options->cert_file);
    api->options.key_file = copy_of(options->key_file);
    api->options.region =
        copy_of(options->region && options->region[0] ? options->region : "RegionOne");
    if (!api->options.token_seconds)
        api->options.token_seconds = API_TOKEN_SECONDS;
    if (!api->options.password_cost)
        api->options.password_cost = API_PASSWORD_COST;
}

static int start_listener(struct api *api, const struct api_service_ops *service, uint16_t port,
                          struct err *err)
{
    struct listener *listener = &api->listeners[api->listener_count];
    struct http_server_options http = {
        .address = api->options.address,
        .port = port,
        .cert_file = api->options.cert_file,
        .key_file = api->options.key_file,
        .body_max = API_BODY_MAX,
        .connections_max = CONNECTIONS_MAX,
        .connections_per_client = CONNECTIONS_MAX / 2,
        .idle_seconds = IDLE_SECONDS,
        .begin = on_begin,
        .handle = on_handle,
        .arg = listener,
    };

    listener->api = api;
    listener->service = service;
    listener->server = http_server_start(api->options.loop, &http, err);
    if (!listener->server)
        return -EIO;
    api->listener_count++;
    return 0;
}

struct api *api_start_services(const struct api_options *options,
                               const struct api_service_ops *const *services, uint16_t first_port,
                               struct err *err)
{
    struct api *api = calloc(1, sizeof(*api));

    if (!api || sodium_init() < 0) {
        free(api);
        err_set(err, -ENOMEM, "cannot start the API", NULL, NULL);
        return NULL;
    }
    copy_options(api, options);
    api->known = known_new(options->mirror);
    if (!api->known) {
        api_free(api);
        err_set(err, -ENOMEM, "cannot start the API", NULL, NULL);
        return NULL;
    }
    for (size_t i = 0; services[i] && i < API_SERVICES; i++) {
        uint16_t port = first_port ? (uint16_t)(first_port + i) : services[i]->port;

        if (start_listener(api, services[i], port, err) < 0) {
            api_stop(api);
            return NULL;
        }
    }
    return api;
}

uint16_t api_port(const struct api *api, enum api_service service)
{
    for (size_t i = 0; i < api->listener_count; i++) {
        if (api->listeners[i].service->service == service)
            return http_server_port(api->listeners[i].server);
    }
    return 0;
}

const struct api_service_ops *api_service_at(const struct api *api, size_t index)
{
    return index < api->listener_count ? api->listeners[index].service : NULL;
}

void api_stop(struct api *api)
{
    if (!api || api->stopping)
        return;
    api->stopping = true;
    api->calls++; /* a call that ends while the servers stop must not free the api */
    for (size_t i = 0; i < api->listener_count; i++)
        http_server_stop(api->listeners[i].server);
    if (--api->calls == 0)
        api_free(api);
}
