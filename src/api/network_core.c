/* Rows and views, the same for all kinds of the network service. */
#include "api/network.h"

#include "base/id.h"
#include "base/json.h"
#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BULK_MAX 32

/* ---- rows ---- */

json_t *net_get(struct api_req *req, const char *table, const char *id)
{
    json_t *row = NULL;
    int64_t rev = -1;

    if (store_txn_peek(req->txn, table, id, &row))
        row = row ? json_deep_copy(row) : NULL;
    else
        row = mirror_get(req->db, table, id, &rev);
    if (row)
        json_put_int(row, "_rev", rev);
    return row;
}

void net_put(struct api_req *req, const char *table, json_t *row)
{
    json_put_int(row, "revision_number", json_int(row, "revision_number", 0) + 1);
    json_put_str(row, "updated_at", req->now);
    if (json_int(row, "_rev", -1) >= 0) {
        mirror_txn_update(req->txn, table, row);
        return;
    }
    json_object_del(row, "_rev");
    store_txn_put(req->txn, table, json_str(row, "id", ""), row);
}

void net_create(struct api_req *req, const char *table, json_t *row)
{
    store_txn_create(req->txn, table, json_str(row, "id", ""), row);
}

void net_remove(struct api_req *req, const char *table, const json_t *row)
{
    const char *id = json_str(row, "id", "");

    if (json_int(row, "_rev", -1) >= 0)
        store_txn_expect(req->txn, table, id, json_int(row, "_rev", 0));
    store_txn_delete(req->txn, table, id);
}

json_t *net_rows(struct api_req *req, const char *table, const char *field, const char *value)
{
    char where[96];
    json_t *rows, *pending, *row, *all = json_array();
    size_t i;

    snprintf(where, sizeof(where), "WHERE %s = ? ORDER BY id", field);
    rows = mirror_select(req->db, table, where, "s", value);
    pending = store_txn_rows(req->txn, table);
    json_array_foreach(rows, i, row)
    {
        json_t *changed;

        if (!store_txn_peek(req->txn, table, json_str(row, "id", ""), &changed))
            json_array_append(all, row);
    }
    json_array_foreach(pending, i, row)
    {
        if (strcmp(json_str(row, field, ""), value) == 0) {
            json_t *copy = json_deep_copy(row);

            json_put_int(copy, "_rev", -1);
            json_array_append_new(all, copy);
        }
    }
    json_decref(rows);
    json_decref(pending);
    return all;
}

void net_use(struct api_req *req, const char *id)
{
    json_t *row = json_pack("{s:s, s:s}", "id", id, "at", req->now);

    store_txn_put(req->txn, "guard", id, row);
    json_decref(row);
}

void net_expect_unused(struct api_req *req, const char *id)
{
    int64_t rev = 0;

    json_decref(mirror_get(req->db, "guard", id, &rev));
    store_txn_expect(req->txn, "guard", id, rev);
    if (rev)
        store_txn_delete(req->txn, "guard", id);
}

void net_derived_id(const char *kind, const char *name, char out[64])
{
    unsigned char h[crypto_generichash_BYTES_MIN];
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, sizeof(h));
    crypto_generichash_update(&state, (const unsigned char *)kind, strlen(kind) + 1);
    crypto_generichash_update(&state, (const unsigned char *)name, strlen(name));
    crypto_generichash_final(&state, h, sizeof(h));
    h[6] = (unsigned char)((h[6] & 0x0f) | 0x80); /* RFC 9562 version 8: our own derivation */
    h[8] = (unsigned char)((h[8] & 0x3f) | 0x80);
    snprintf(out, 64, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0],
             h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13],
             h[14], h[15]);
}

bool net_host_up(struct api_req *req, const char *host)
{
    json_t *row = host && host[0] ? mirror_get_shared(req->db, "host", host) : NULL;
    bool up = row && strcmp(json_str(row, "state", ""), "up") == 0;

    json_decref(row);
    return up;
}

/* ---- who may ---- */

int net_bad(struct api_req *req, const char *why)
{
    api_fail(req, 400, "InvalidInput", "Invalid input for operation: %s.", why);
    return -EINVAL;
}

int net_admin_only(struct api_req *req, const char *what)
{
    if (req->auth.admin)
        return 0;
    api_fail(req, 403, "PolicyNotAuthorized", "%s is disallowed by policy", what);
    return -EPERM;
}

/* Networks that are shared or external are there for everybody, with their subnets. */
static bool is_open(struct api_req *req, const struct net_kind *kind, const json_t *row)
{
    json_t *network = NULL;
    bool open;

    if (kind->resource == &resource_subnet)
        row = network = net_get(req, "network", json_str(row, "network_id", ""));
    else if (kind->resource != &resource_network)
        return false;
    open = json_bool(row, "shared", false) || json_bool(row, "external", false);
    json_decref(network);
    return open;
}

/* "Security group rule": the type is SecurityGroupRuleNotFound. */
static void not_found(struct api_req *req, const struct resource *resource, const char *id)
{
    bool group = strncmp(resource->table, "security_group", 14) == 0, up = false;
    char title[64], type[80];
    size_t n = 0;

    resource_title(resource, title, sizeof(title));
    for (const char *at = title; *at; at++) {
        if (*at != ' ')
            type[n++] = up ? (char)toupper((unsigned char)*at) : *at;
        up = *at == ' ';
    }
    snprintf(type + n, sizeof(type) - n, "NotFound");
    api_fail(req, 404, type, group ? "%s %.100s does not exist" : "%s %.100s could not be found.",
             title, id);
}

json_t *net_see(struct api_req *req, const struct net_kind *kind, const char *id)
{
    json_t *row = id && id[0] ? net_get(req, kind->resource->table, id) : NULL;

    if (row && (api_owns(req, json_str(row, "project_id", "")) || is_open(req, kind, row)))
        return row;
    json_decref(row);
    not_found(req, kind->resource, id ? id : "");
    return NULL;
}

json_t *net_own(struct api_req *req, const struct net_kind *kind, const char *id)
{
    json_t *row = net_see(req, kind, id);

    if (!row || api_owns(req, json_str(row, "project_id", "")))
        return row;
    json_decref(row);
    api_fail(req, 403, "PolicyNotAuthorized", "%s of %s %.100s is disallowed by policy",
             req->method, kind->resource->singular, id);
    return NULL;
}

/* If-Match: revision_number=5 says which state of the row the client has seen: it does not want to
 * change another one. */
static int check_revision(struct api_req *req, const json_t *row)
{
    const char *text = req->http ? http_header(req->http, "If-Match") : NULL;
    int64_t now = json_int(row, "revision_number", 0);
    long long expected;
    char rest;

    if (!text || strcmp(text, "*") == 0)
        return 0;
    if (sscanf(text, "revision_number=%lld%c", &expected, &rest) != 1) {
        api_fail(req, 400, "HTTPBadRequest", "If-Match must be revision_number=NUMBER here.");
        return -EINVAL;
    }
    if (expected == now)
        return 0;
    api_fail(req, 412, "RevisionNumberConstraintFailed",
             "Constrained to %lld, but current revision is %lld", expected, (long long)now);
    return -EAGAIN;
}

json_t *net_own_param(struct api_req *req, const struct net_kind *kind)
{
    json_t *row = net_own(req, kind, api_param(req, "id"));

    if (!row || check_revision(req, row) == 0)
        return row;
    json_decref(row);
    return NULL;
}

/* ---- rows from clients ---- */

static bool is_blank(const json_t *value)
{
    if (json_is_null(value) || json_is_false(value))
        return true;
    if (json_is_string(value))
        return json_string_length(value) == 0;
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* Does the value leave the field as it is? `row`: as it is now; NULL: it is made. */
static bool is_as_before(const struct field *field, const json_t *row, const json_t *value)
{
    bool now = json_bool(row, field->name, field->fallback && strcmp(field->fallback, "true") == 0);
    const char *text = json_string_value(value);

    if (field->type != FIELD_BOOL)
        return row && json_equal(value, json_object_get(row, field->name));
    if (text)
        return strcasecmp(text, now ? "true" : "false") == 0;
    return json_is_boolean(value) && json_boolean_value(value) == now;
}

/* The members that matter: those of features we do not have are harmless while they are blank, null
 * means "not given" where a field has no null, and what only administrators set, others may say as
 * long as it changes nothing. */
static json_t *without_blanks(struct api_req *req, const struct resource *resource,
                              const json_t *row, const json_t *body)
{
    json_t *out = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)body, key, value)
    {
        const struct field *field = resource_field(resource, key);

        if (strcmp(key, "tenant_id") == 0 || strcmp(key, "project_id") == 0)
            continue;
        if (!field || field->flags & FIELD_NOT_STORED
                ? is_blank(value)
                : json_is_null(value) && !(field->flags & FIELD_NULL))
            continue;
        if (field && field->flags & FIELD_ADMIN_SETS && !req->auth.admin &&
            is_as_before(field, row, value))
            continue;
        json_object_set(out, key, value);
    }
    return out;
}

static int check_required(struct api_req *req, const struct resource *resource, const json_t *body)
{
    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        const char *name = field->json ? field->json : field->name;

        if (field->flags & FIELD_REQUIRED && !json_object_get(body, name)) {
            api_fail(req, 400, "HTTPBadRequest",
                     "Failed to parse request. Required attribute '%s' not specified", name);
            return -EINVAL;
        }
    }
    return 0;
}

/* The project that a new row is to belong to, or NULL after an error. */
static const char *project_of(struct api_req *req, const json_t *body)
{
    const json_t *given = json_object_get(body, "project_id");
    const char *project;

    if (!given || json_is_null(given))
        given = json_object_get(body, "tenant_id");
    project = json_string_value(given);
    if (given && !project && !json_is_null(given)) {
        net_bad(req, "'project_id' must be a text");
        return NULL;
    }
    if (!project || strcmp(project, req->auth.project_id) == 0) {
        if (req->auth.project_id[0])
            return req->auth.project_id;
        api_fail(req, 400, "HTTPBadRequest",
                 "Running without a project: the token is not scoped to one.");
        return NULL;
    }
    if (net_admin_only(req, "A resource for another project") < 0)
        return NULL;
    if (strlen(project) < 64)
        return project;
    net_bad(req, "'project_id' is too long");
    return NULL;
}

void net_begin(const struct api_req *req, json_t *row, const char *project_id)
{
    char id[ID_UUID_SIZE];

    id_uuid(id);
    json_put_str(row, "id", id);
    json_put_str(row, "project_id", project_id);
    json_put_str(row, "created_at", req->now);
    json_put_str(row, "updated_at", req->now);
    json_put_int(row, "revision_number", 1);
}

json_t *net_new(struct api_req *req, const struct net_kind *kind, const json_t *body)
{
    json_t *known, *row = NULL;
    const char *project;
    struct err err = {0};

    if (!json_is_object(body)) {
        net_bad(req, "the body must have an object");
        return NULL;
    }
    project = project_of(req, body);
    if (!project)
        return NULL;
    known = without_blanks(req, kind->resource, NULL, body);
    if (check_required(req, kind->resource, known) == 0 &&
        resource_create(kind->resource, known, req->auth.admin, &row, &err) < 0)
        api_fail_err(req, &err);
    json_decref(known);
    if (!row)
        return NULL;
    net_begin(req, row, project);
    return row;
}

int net_change(struct api_req *req, const struct net_kind *kind, json_t *row)
{
    json_t *body = api_body_object(req, kind->resource->singular), *known;
    struct err err = {0};
    int rc;

    if (!body)
        return -EINVAL;
    known = without_blanks(req, kind->resource, row, body);
    rc = resource_update(kind->resource, row, known, req->auth.admin, &err);
    json_decref(known);
    if (rc < 0)
        api_fail_err(req, &err);
    return rc;
}

/* ---- views ---- */

static void take_field(void *arg, const char *name, const char *value)
{
    if (strcmp(name, "fields") == 0 && value[0])
        json_array_append_new(arg, json_string(value));
}

void net_keep_fields(struct api_req *req, json_t *view)
{
    json_t *fields = json_array(), *wanted, *copy;
    size_t i;

    if (req->http)
        http_query_each(req->http, take_field, fields);
    if (json_array_size(fields) > 0) {
        copy = json_copy(view);
        json_object_clear(view);
        json_array_foreach(fields, i, wanted)
        {
            json_t *value = json_object_get(copy, json_string_value(wanted));

            if (value)
                json_object_set(view, json_string_value(wanted), value);
        }
        json_decref(copy);
    }
    json_decref(fields);
}

json_t *net_view(struct api_req *req, const struct net_kind *kind, const json_t *row)
{
    json_t *view = resource_view(kind->resource, row, req->auth.admin);

    json_object_set(view, "tenant_id", json_object_get(view, "project_id"));
    return kind->complete ? kind->complete(req, row, view) : view;
}

void net_reply(struct api_req *req, unsigned status, const struct net_kind *kind, const json_t *row)
{
    json_t *view = net_view(req, kind, row);

    if (strcmp(req->method, "GET") == 0)
        net_keep_fields(req, view);
    api_reply(req, status, json_pack("{s:o}", kind->resource->singular, view));
}

void net_show(struct api_req *req, const struct net_kind *kind)
{
    json_t *row = net_see(req, kind, api_param(req, "id"));

    if (row)
        net_reply(req, 200, kind, row);
    json_decref(row);
}

/* ---- POST ---- */

static void post_many(struct api_req *req, const struct net_kind *kind, const json_t *bodies,
                      json_t *(*make)(struct api_req *req, const json_t *body))
{
    json_t *rows = json_array(), *views = json_array(), *body, *row;
    size_t i;

    if (json_array_size(bodies) > BULK_MAX)
        net_bad(req, "too many objects in one request");
    else
        json_array_foreach(bodies, i, body)
        {
            row = make(req, body);
            if (!row)
                break;
            json_array_append_new(rows, row);
        }
    if (json_array_size(rows) < json_array_size(bodies)) {
        json_decref(rows);
        json_decref(views);
        return;
    }
    json_array_foreach(rows, i, row)
    {
        json_array_append_new(views, net_view(req, kind, row));
    }
    json_decref(rows);
    api_reply(req, 201, json_pack("{s:o}", kind->resource->plural, views));
}

void net_post(struct api_req *req, const struct net_kind *kind,
              json_t *(*make)(struct api_req *req, const json_t *body))
{
    json_t *many = json_object_get(req->body, kind->resource->plural), *body, *row;

    if (json_is_array(many)) {
        post_many(req, kind, many, make);
        return;
    }
    body = api_body_object(req, kind->resource->singular);
    row = body ? make(req, body) : NULL;
    if (row)
        net_reply(req, 201, kind, row);
    json_decref(row);
}
