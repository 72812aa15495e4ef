/* What the files of the api core share: the call behind a request, routes, tokens.
 *
 * Lifecycle of a call.  Born when a request's headers are here, freed after its answer was handed
 * to the HTTP server. In between exactly one thing at a time is under way for it (body, barrier,
 * hashing, commit, mirror, another host), see server.c.
 */
#ifndef VLING_API_INTERNAL_H
#define VLING_API_INTERNAL_H

#include "api/api.h"

#define API_BODY_MAX (1024 * 1024)
#define API_TIMEOUT_MS 10000
#define API_TOKEN_SECONDS 3600
#define API_PASSWORD_COST 12
#define API_PASSWORD_MAX 128 /* bytes; bcrypt looks at 72 of them */
#define API_HASHES_MAX 2     /* in one request: the old and the new password */
#define API_WORKING_MAX 64   /* requests that wait for a worker thread at the same time */

/* One password hashing, remembered so that a handler that runs again finds the result. */
struct api_hash {
    char phrase[API_PASSWORD_MAX + 1];
    char setting[128];
    char result[128]; /* "" until done; "*" when crypt failed */
    bool fresh;       /* a new hash was asked for, not a comparison */
};

struct api_call {
    struct api_req req; /* first: the helpers find the call by its request */
    json_t *headers;    /* [[name, value], ...] of the answer */
    struct api_hash hashes[API_HASHES_MAX];
    size_t hash_count;
    void (*job)(struct api_req *req); /* to be done by a worker before the handler runs again */
    uv_work_t work;
    char body_why[160]; /* the body is no JSON because ... */
    int attempts;
    int64_t seen; /* what the answer tells is true at this revision; 0: it tells nothing of rows */
    int64_t deadline_ms;
    char turn[96];              /* what it commits in turn with others; "" if nothing */
    struct api_call *next_turn; /* in the queue of those that take turns */
    bool answered;              /* before the handler could run */
    bool written;               /* its transaction was committed */
    bool stream_open;           /* stream_begin() succeeded and the upload was not yet handled */
};

static inline struct api_call *api_call_of(struct api_req *req)
{
    return (struct api_call *)req;
}

/* ---- request.c ---- */

/* Did the request come through a proxy that spoke TLS with the client (X-Forwarded-Proto)? Then
 * what the client is told of addresses is the proxy's: our own would lead past it, in the clear.
 * Whoever sends the header without a proxy changes the answer to themselves only. */
bool api_by_tls_proxy(const struct api_req *req);

/* Forgets the answer's body, wherever it was to come from. */
void api_answer_drop(struct api_req *req);

/* ---- router.c ---- */

/* Finds the route of `method` and `path` and fills `req->route` and `req->params`. 0, -ENOENT no
 * such path, -ENOTSUP the path does not know this method. A HEAD finds the GET of its path. */
int api_route_find(const struct api_service_ops *service, const char *method, const char *path,
                   struct api_req *req);

/* What the route can answer when all is well; the number of statuses in `out`. */
size_t api_route_statuses(const struct api_route *route, unsigned short out[API_STATUSES_MAX]);

/* An error that some of the services answer; what is not in the table no service answers. */
struct api_error {
    unsigned short status;
    unsigned services; /* 1 << API_COMPUTE ... */
    const char *meaning;
};

/* The last one has the status 0. */
extern const struct api_error api_errors[];

/* May the service answer this error? */
bool api_error_known(enum api_service service, unsigned status);

/* ---- auth.c ---- */

/* Fills `req->auth` from the request's X-Auth-Token as of the mirror; true if the route may be
 * called, else an error was answered. */
bool api_authorize(struct api_req *req);

/* ---- password.c ---- */

/* Does `phrase` match `hash`? 1 yes, 0 no, -EINPROGRESS: return from the handler, it runs again
 * when a worker thread knows; -EINVAL the phrase is too long. */
int api_password_check(struct api_req *req, const char *phrase, const char *hash);

/* A new bcrypt hash of `phrase` in `*ret_hash` (owned by the request): 0, -EINPROGRESS or -EINVAL
 * as above. */
int api_password_hash(struct api_req *req, const char *phrase, const char **ret_hash);

/* Computes one hash; any thread. */
void api_hash_run(struct api_hash *hash);

/* A hash at once, on the calling thread; for the first start of a cloud. 0 or -errno. */
int api_hash_now(const char *phrase, unsigned cost, char *out, size_t out_size);

/* ---- server.c ---- */

/* As api_start() with the services to offer, NULL-terminated; `first_port` other than 0 puts them
 * on the ports from there instead of their own. */
struct api *api_start_services(const struct api_options *options,
                               const struct api_service_ops *const *services, uint16_t first_port,
                               struct err *err);

/* The port a service really listens on, 0 if it is not offered. */
uint16_t api_port(const struct api *api, enum api_service service);

struct known *api_known(const struct api *api);

/* The services on offer, in order; NULL after the last one. */
const struct api_service_ops *api_service_at(const struct api *api, size_t index);

#endif
