/* What handlers call: parameters, answers, rows. */
#include "api/internal.h"

#include "base/buf.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *api_param(const struct api_req *req, const char *name)
{
    for (size_t i = 0; i < req->param_count; i++) {
        if (strcmp(req->params[i].name, name) == 0)
            return req->params[i].value;
    }
    return "";
}

const char *api_query(const struct api_req *req, const char *name)
{
    const char *value = req->http ? http_query(req->http, name) : NULL;

    /* Clients print an unset Python value into the query. */
    return value && strcmp(value, "None") != 0 ? value : NULL;
}

bool api_by_tls_proxy(const struct api_req *req)
{
    const char *scheme = req->http ? http_header(req->http, "X-Forwarded-Proto") : NULL;

    /* Several proxies make a list; the first one is the client's. */
    return scheme && strcspn(scheme, " ,") == 5 && strncasecmp(scheme, "https", 5) == 0;
}

void api_url_escape(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-_.~", *text))
            buf_printf(out, "%c", *text);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

void api_header(struct api_req *req, const char *name, const char *value)
{
    struct api_call *call = api_call_of(req);

    if (!call->headers)
        call->headers = json_array();
    json_array_append_new(call->headers, json_pack("[s, s]", name, value));
}

void api_answer_drop(struct api_req *req)
{
    json_decref(req->reply);
    req->reply = NULL;
    free(req->raw);
    req->raw = NULL;
    req->raw_type = NULL;
    if (req->file_fd >= 0)
        close(req->file_fd);
    req->file_fd = -1;
    memset(&req->peer, 0, sizeof(req->peer));
}

void api_reply(struct api_req *req, unsigned status, json_t *reply)
{
    if (req->reply != reply)
        json_decref(req->reply);
    req->status = status;
    req->reply = reply;
}

void api_fail(struct api_req *req, unsigned status, const char *type, const char *format, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    json_clean(message); /* it quotes the request */
    api_answer_drop(req);
    store_txn_free(req->txn);
    req->txn = store_txn_new();
    req->status = status;
    req->service->error(req, type, message);
}

void api_fail_err(struct api_req *req, const struct err *err)
{
    char line[sizeof(err->what) + sizeof(err->why) + sizeof(err->remedy) + 8];
    unsigned status = 500;

    if (err->code == -EINVAL)
        status = 400;
    else if (err->code == -EPERM || err->code == -EACCES)
        status = 403;
    else if (err->code == -ENOENT)
        status = 404;
    else if (err->code == -EEXIST || err->code == -EBUSY)
        status = 409;
    err_line(err, line, sizeof(line));
    if (status == 500)
        log_warn("api: %s %s: %s", req->method, req->path, line);
    api_fail(req, status, NULL, "%s", line);
}

bool api_owns(const struct api_req *req, const char *project_id)
{
    if (req->auth.admin)
        return true;
    return req->auth.project_id[0] && project_id && strcmp(req->auth.project_id, project_id) == 0;
}

json_t *api_body_object(struct api_req *req, const char *singular)
{
    json_t *object = json_object_get(req->body, singular);

    if (json_is_object(object))
        return object;
    api_fail(req, 400, "HTTPBadRequest", "The body must have the object '%s'.", singular);
    return NULL;
}

void api_event(struct api_req *req, const char *severity, const char *kind, const char *object,
               const char *format, ...)
{
    unsigned char bytes[4];
    json_t *row;
    char id[40], host[65] = "", text[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    json_clean(text);
    id_random(bytes, sizeof(bytes));
    gethostname(host, sizeof(host) - 1);
    snprintf(id, sizeof(id), "%013lld-%02x%02x%02x%02x", (long long)req->wall_ms, bytes[0],
             bytes[1], bytes[2], bytes[3]);
    row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", id, "time", req->now, "severity",
                    severity, "kind", kind, "object", object, "host", host, "text", text);
    store_txn_create(req->txn, "event", id, row);
    json_decref(row);
}
