/* The REST services: what every one of them shares.
 *
 * Data flow of one request (api/server.c):
 *   1. the route is found, the token checked, the body parsed;
 *   2. mirror_read(): the mirror holds everything acknowledged before;
 *   3. the handler runs: a plain function that reads rows from `req->db`, adds preconditions and
 *      changes to `req->txn`, and sets status and reply. It does no I/O and never waits;
 *   4. if the transaction has changes it is committed. A failed precondition means that somebody
 * was faster: the mirror catches up and the handler runs again (at most API_RETRIES times, then
 * 409);
 *   5. the mirror has reached the transaction's revision;
 *   6. mirror_show(): nobody can be told less any more; the reply is sent.
 * So handlers are linearizable, exactly-once and free of callbacks. What needs another host
 * (console log) or a stream (image bytes) is said in the request and done by the server.
 */
#ifndef VLING_API_API_H
#define VLING_API_API_H

#include "base/buf.h"
#include "io/http_server.h"
#include "model/tables.h"
#include "store/mirror.h"

#define API_RETRIES 16
#define API_PAGE_MAX 1000   /* rows of a page where the service has such a limit: compute, image */
#define API_LIST_MAX 100000 /* rows of a list of the other ones; more is on the next page */

struct api; /* all services of one controller */
struct api_req;

enum api_service { API_IDENTITY, API_COMPUTE, API_NETWORK, API_IMAGE, API_VOLUME, API_SERVICES };

/* Who asks, from the token. */
struct api_auth {
    bool valid;  /* there is a good token */
    bool admin;  /* has role admin (on the project or the system) */
    bool writer; /* admin or member; a mere reader must not change anything */
    char user_id[64], user_name[256], domain_id[64];
    char project_id[64], project_name[256]; /* "" for unscoped and domain scope */
    json_t *token; /* the token's content as GET /v3/auth/tokens shows it */
};

enum api_flag {
    API_PUBLIC = 1 << 0, /* no token needed */
    API_ADMIN = 1 << 1,  /* administrators only */
    API_READER = 1 << 2, /* readers may call it even though it is not a GET */
    API_NO_DB = 1 << 3,  /* answers without rows: no barrier is taken */
    API_STREAM = 1 << 4, /* body goes to the image sink (api/image.c) */
    /* The answer depends on the request, on who asks and on rows, and not on the time: its text is
     * kept until a row changes of those tables (api/known.h). For lists, which are asked for again
     * and again. */
    API_STEADY = 1 << 5,
};

typedef void api_handler(struct api_req *req);

#define API_STATUSES_MAX 3

struct api_route {
    const char *method;
    const char *path; /* "/v2.1/servers/{id}/action": {} matches one segment, see api_param */
    api_handler *handler;
    unsigned flags;
    /* What it can answer when all is well; none: 200, to POST 201, to DELETE 204. */
    unsigned short statuses[API_STATUSES_MAX];
    const struct resource *resource; /* whose rows it is about, where the handler asks for that */
    const char *doc; /* for the reference: what method, path and flags do not say; or NULL */
    /* API_STREAM only: called when the headers are here, after a mirror_read() and when the token
     * was checked; no byte of the body was read yet. Chooses where the body goes and keeps its
     * state in req->stream; the handler runs after the body, as usual, perhaps more than once.
     * Non-zero after api_fail(): the body is refused and the answer is that error. */
    int (*stream_begin)(struct api_req *req, struct http_sink *ret_sink);
    /* API_STREAM only: called exactly once when the request ends, however it ends (answered, client
     * gone before the end of the body, store unreachable), if stream_begin() returned 0. Gives back
     * req->stream; an upload that no handler committed is aborted here. */
    void (*stream_end)(struct api_req *req);
};

struct api_service_ops {
    enum api_service service;
    const char *type, *name;  /* "compute", "nova" */
    uint16_t port;            /* 8774 */
    const char *catalog_path; /* "/v2.1" */
    const struct api_route *routes;
    size_t route_count;
    /* Body of an error in this service's own format into req->reply / req->raw. */
    void (*error)(struct api_req *req, const char *type, const char *message);
    /* Headers on every answer (microversions); may be NULL. Returns false after api_fail. */
    bool (*prepare)(struct api_req *req);
};

#define API_PARAMS_MAX 6

struct api_req {
    struct api *api;
    const struct api_service_ops *service;
    const struct api_route *route;
    struct http_request *http;
    struct api_auth auth;
    const char *method, *path;
    struct {
        char name[32], value[256];
    } params[API_PARAMS_MAX];
    size_t param_count;
    json_t *body; /* parsed JSON or NULL */
    struct mirror *db;
    struct store_txn *txn;
    int microversion; /* compute: 2.73 is 273; 0 elsewhere */
    char request_id[48];
    char base_url[300]; /* "http://10.10.0.100:8774" as the client reached us */
    int64_t wall_ms;    /* time of the request, for created_at and updated_at */
    char now[32];       /* the same as ISO 8601 "...Z" */

    /* the answer */
    unsigned status;
    json_t *reply; /* sent as application/json; NULL: no body */
    char *raw;     /* instead of reply: text; freed by the server */
    const char *raw_type;
    int file_fd;                     /* -1, or the answer's body (owned) */
    uint64_t file_offset, file_size; /* what of it is sent */
    char file_sum[129];              /* SHA-512 in hex, once a job worked it out */

    /* ask another host before answering: GET https://<host>:7700<path>, then done() */
    struct {
        char host[64];
        char path[256];
        void (*done)(struct api_req *req, int rc, unsigned status, const char *body, size_t size);
    } peer;

    void *stream; /* API_STREAM: the upload */

    /* Called when the handler's transaction was committed (`rc` 0) or may have been (-EINPROGRESS),
     * before the answer is sent. */
    void (*after_commit)(struct api_req *req, int rc);
    char note[64]; /* for after_commit */
};

/* ---- for handlers ---- */
const char *api_param(const struct api_req *req, const char *name); /* "" if none */
const char *api_query(const struct api_req *req, const char *name); /* NULL if none; the literal
                                                                       "None" counts as none */
/* Appends the text as it stands in a URL's query. */
void api_url_escape(struct buf *out, const char *text);
void api_header(struct api_req *req, const char *name, const char *value);
/* Answers `status` with `reply` (stolen). */
void api_reply(struct api_req *req, unsigned status, json_t *reply);
/* Answers an error; drops the transaction. `type` is Neutron's exception name, or NULL. */
void api_fail(struct api_req *req, unsigned status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* From a struct err of model/: -EINVAL 400, -EPERM 403, -ENOENT 404, -EEXIST 409, else 500. */
void api_fail_err(struct api_req *req, const struct err *err);
/* May this requester see / change a row of `project_id`? */
bool api_owns(const struct api_req *req, const char *project_id);
/* The member `singular` of the body as an object, or NULL after answering 400. */
json_t *api_body_object(struct api_req *req, const char *singular);

/* List in SQL: filters from the query (fields flagged FIELD_INDEX under their API names, repeated
 * keys are OR), sort_key/sort_dir, limit/marker; in the identity service also name__contains and
 * Keystone's other comparisons. `where` adds conditions ("project_id = ?"), its parameters in
 * `params` (JSON array or NULL, borrowed); NULL: who is no administrator gets the rows of their own
 * project only. Returns rows (each with "_rev") and, in `ret_more` (may be NULL), whether a next
 * page exists. NULL after answering an error (bad marker: 400). */
json_t *api_list(struct api_req *req, const struct resource *resource, const char *where,
                 const json_t *params, bool *ret_more);

struct api_listing {
    const char *where; /* whose rows, as above: the marker is one of them, too */
    const json_t *params;
    const char *filter; /* which of them, besides what the query says; NULL: all */
    json_t *filter_params;
    /* Does the row belong to the list? For what SQL cannot tell; NULL: all do. */
    bool (*match)(struct api_req *req, const json_t *row, void *arg);
    void *arg;
};

/* As api_list(), with more to say. */
json_t *api_list_of(struct api_req *req, const struct resource *resource,
                    const struct api_listing *listing, bool *ret_more);

/* From a handler, which then returns: `job` runs on a worker thread (it must touch nothing but what
 * is the request's alone), and then the handler runs again. */
void api_work(struct api_req *req, void (*job)(struct api_req *req));

/* Appends an event row for operators to the transaction. */
void api_event(struct api_req *req, const char *severity, const char *kind, const char *object,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

/* ---- assembly ---- */

/* Bytes of images: implemented by node/ over the storage driver. */
struct api_images {
    void *(*begin)(void *arg, const char *image_id, struct err *err);
    int (*write)(void *upload, const void *bytes, size_t size);
    int (*commit)(void *upload, struct err *err);
    void (*abort)(void *upload);
    int (*open)(void *arg, const char *image_id, int *ret_fd, uint64_t *ret_size, struct err *err);
    int (*remove)(void *arg, const char *image_id);
    void *arg;
};

/* Calls to other hosts' agents: implemented by node/peer. */
typedef void api_peer_cb(void *arg, int rc, unsigned status, const char *body, size_t size);
struct api_peers {
    void (*get)(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg);
    void *arg;
};

struct api_options {
    uv_loop_t *loop;
    struct store *store;
    struct mirror *mirror;
    const char *address;              /* to listen on */
    const char *public_address;       /* the virtual IP: in the catalog */
    const char *cert_file, *key_file; /* TLS, or NULL */
    const char *region;
    unsigned token_seconds; /* life of a token; 0: an hour */
    unsigned password_cost; /* of new bcrypt hashes; 0: 12 */
    struct api_images images;
    struct api_peers peers;
};

struct api *api_start(const struct api_options *options, struct err *err);
void api_stop(struct api *api);
const struct api_options *api_get_options(const struct api *api);

/* The services. */
extern const struct api_service_ops api_identity, api_compute, api_network, api_image;

/* Writes the first rows of a new cloud into `txn`: domain default, project admin, user admin with
 * `admin_password`, roles admin, member, reader, token key, default flavors. */
int api_bootstrap(struct store_txn *txn, const char *admin_password, struct err *err);

#endif
