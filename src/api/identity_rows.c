/* Domains, projects, users and roles: create, list, show, change, delete.
 *
 * The four differ in a row of `kinds` only. A name is unique in its domain: whoever creates the row
 * of table taken_name that is its hash owns it, also when two controllers are asked at once. */
#include "api/identity.h"
#include "api/quota.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define NEXT_MAX 8192
#define EXTRA_BYTES_MAX 16384

struct kind {
    const struct resource *resource;
    const char *title; /* in messages, as Keystone writes it */
    bool in_domain;    /* names are unique in a domain only */
    /* What goes with it: conditions on the rows that refer to it, or NULL. */
    const char *assignments, *credentials;
};

static const struct kind domain_kind = {&resource_domain, "domain", false, "scope_id = ?", NULL};
static const struct kind project_kind = {&resource_project, "project", true, "scope_id = ?",
                                         "project_id = ?"};
static const struct kind user_kind = {&resource_user, "user", true, "user_id = ?", "user_id = ?"};
static const struct kind role_kind = {
    &resource_role, "role", false, "role_id = ?",
    "EXISTS (SELECT 1 FROM json_each(body, '$.roles') WHERE value = ?)"};

/* ---- names ---- */

static void name_id(const struct kind *kind, const json_t *row, char out[33])
{
    const char *domain = kind->in_domain ? json_str(row, "domain_id", "") : "";
    const char *name = json_str(row, "name", "");
    crypto_generichash_state state;
    unsigned char hash[16];

    crypto_generichash_init(&state, NULL, 0, sizeof(hash));
    crypto_generichash_update(&state, (const unsigned char *)kind->resource->table,
                              strlen(kind->resource->table) + 1);
    crypto_generichash_update(&state, (const unsigned char *)domain, strlen(domain) + 1);
    crypto_generichash_update(&state, (const unsigned char *)name, strlen(name));
    crypto_generichash_final(&state, hash, sizeof(hash));
    sodium_bin2hex(out, 33, hash, sizeof(hash));
}

/* Takes the name of `row` in the transaction; false after answering 409. */
static bool take_name(struct api_req *req, const struct kind *kind, const json_t *row)
{
    json_t *taken, *mine;
    char id[33];

    name_id(kind, row, id);
    taken = mirror_get(req->db, "taken_name", id, NULL);
    json_decref(taken);
    if (taken) {
        const char *domain = kind->in_domain ? json_str(row, "domain_id", "") : "";

        api_fail(req, 409, NULL,
                 "Conflict occurred attempting to store %s - Duplicate entry found with name "
                 "%.100s%s%.64s.",
                 kind->title, json_str(row, "name", ""), domain[0] ? " at domain ID " : "", domain);
        return false;
    }
    mine = json_pack("{s:s, s:s}", "id", id, "owner_id", json_str(row, "id", ""));
    store_txn_create(req->txn, "taken_name", id, mine);
    json_decref(mine);
    return true;
}

static void drop_name(struct api_req *req, const struct kind *kind, const json_t *row)
{
    char id[33];

    name_id(kind, row, id);
    store_txn_delete(req->txn, "taken_name", id);
}

/* ---- views ---- */

static void drop_null(json_t *view, const char *key)
{
    if (json_is_null(json_object_get(view, key)))
        json_object_del(view, key);
}

static json_t *view_of(const struct api_req *req, const struct kind *kind, const json_t *row)
{
    json_t *view = resource_view(kind->resource, row, req->auth.admin);
    char self[400];

    snprintf(self, sizeof(self), "%s/v3/%s/%s", req->base_url, kind->resource->plural,
             json_str(row, "id", ""));
    json_object_set_new(view, "links", json_pack("{s:s}", "self", self));
    json_object_update_missing(view, json_object_get(row, "extra"));
    if (kind == &user_kind) {
        drop_null(view, "email");
        drop_null(view, "description");
        drop_null(view, "default_project_id");
    }
    if (kind == &project_kind && json_is_null(json_object_get(view, "parent_id")))
        json_object_set(view, "parent_id", json_object_get(view, "domain_id"));
    return view;
}

static void reply_row(struct api_req *req, unsigned status, const struct kind *kind,
                      const json_t *row)
{
    api_reply(req, status, json_pack("{s:o}", kind->resource->singular, view_of(req, kind, row)));
}

/* The row named by the path, or NULL after answering 404. */
static json_t *row_of(struct api_req *req, const struct kind *kind)
{
    const char *id = api_param(req, "id");
    json_t *row = mirror_get(req->db, kind->resource->table, id, NULL);

    if (!row)
        api_fail(req, 404, NULL, "Could not find %s: %.100s.", kind->title, id);
    return row;
}

static void take_argument(void *arg, const char *name, const char *value)
{
    struct buf *url = arg;

    if (strcmp(name, "marker") == 0)
        return;
    api_url_escape(url, name);
    buf_str(url, "=");
    api_url_escape(url, value);
    buf_str(url, "&");
}

void identity_reply_list(struct api_req *req, const char *plural, json_t *list, const char *next_id)
{
    struct buf next;
    char self[600];
    bool more;

    buf_init(&next, NEXT_MAX);
    snprintf(self, sizeof(self), "%s%.250s", req->base_url, req->path);
    buf_printf(&next, "%s?", self);
    http_query_each(req->http, take_argument, &next);
    buf_printf(&next, "marker=%s", next_id ? next_id : "");
    more = next_id && !next.failed;
    api_reply(req, 200,
              json_pack("{s:o, s:{s:s?, s:s, s:n}}", plural, list, "links", "next",
                        more ? buf_text(&next) : NULL, "self", self, "previous"));
    buf_free(&next);
}

static void list_rows(struct api_req *req, const struct kind *kind, const char *where,
                      const json_t *params)
{
    bool more = false;
    json_t *rows = api_list(req, kind->resource, where, params, &more), *row;
    json_t *list = json_array();
    const char *last = NULL;
    size_t i;

    if (!rows) {
        json_decref(list);
        return;
    }
    json_array_foreach(rows, i, row)
    {
        json_array_append_new(list, view_of(req, kind, row));
        last = json_str(row, "id", NULL);
    }
    identity_reply_list(req, kind->resource->plural, list, more ? last : NULL);
    json_decref(rows);
}

/* ---- create and change ---- */

json_t *identity_known(const struct resource *resource, const json_t *body, unsigned flag)
{
    json_t *known = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)body, key, value)
    {
        const struct field *field = resource_field(resource, key);

        if (field && field->flags & flag)
            json_object_set(known, key, value);
    }
    return known;
}

/* Keeps the members of the body that the table does not know; false after answering 400. */
static bool put_extra(struct api_req *req, const struct kind *kind, const json_t *body, json_t *row)
{
    const struct field *field = resource_field(kind->resource, "extra");
    json_t *extra = json_deep_copy(json_object_get(row, field->name)), *value;
    const char *key;
    struct err err = {0};
    bool good;

    extra = json_is_object(extra) ? extra : json_object();
    json_object_foreach((json_t *)body, key, value)
    {
        if (!resource_field(kind->resource, key) && strcmp(key, "password") != 0 &&
            strcmp(key, "original_password") != 0 && strcmp(key, "links") != 0)
            json_object_set(extra, key, value);
    }
    good = resource_check(field, extra, &err) == 0;
    if (!good)
        api_fail_err(req, &err);
    else if (json_dumpb(extra, NULL, 0, JSON_COMPACT) > EXTRA_BYTES_MAX) {
        good = false;
        api_fail(req, 400, NULL,
                 "Invalid input: the members that are no attributes of a %s have "
                 "more than %d bytes.",
                 kind->title, EXTRA_BYTES_MAX);
    }
    json_object_set_new(row, field->name, extra);
    return good;
}

/* ---- options ---- */

/* The options that the body has are put over those of before, null takes one away; false after
 * answering 400. */
static bool put_options(struct api_req *req, json_t *row, const json_t *before)
{
    const json_t *given = json_object_get(row, "options"), *value;
    json_t *options = json_object();
    const char *key;
    bool good;

    json_object_update(options, json_object_get(before, "options"));
    json_object_update(options, (json_t *)given);
    json_object_foreach((json_t *)given, key, value)
    {
        if (json_is_null(value))
            json_object_del(options, key);
    }
    json_object_set_new(row, "options", options);
    good = !json_bool(options, "multi_factor_auth_enabled", false) ||
           json_bool(json_object_get(before, "options"), "multi_factor_auth_enabled", false);
    if (!good)
        api_fail(req, 400, NULL,
                 "Invalid input for options: multi_factor_auth_enabled is not offered, a password "
                 "would do.");
    return good;
}

static bool is_immutable(const json_t *row)
{
    return json_bool(json_object_get(row, "options"), "immutable", false);
}

bool identity_may_change(struct api_req *req, const char *title, const json_t *row,
                         const json_t *body)
{
    const json_t *options = json_object_get(body, "options");
    bool frees = json_object_size(body) == 1 && json_object_get(options, "immutable") &&
                 !json_bool(options, "immutable", false);

    if (!is_immutable(row) || frees)
        return true;
    api_fail(req, 403, NULL,
             "Unable to update immutable %s resource: %.64s. Set resource option \"immutable\" to "
             "false first.",
             title, json_str(row, "id", ""));
    return false;
}

/* ---- references ---- */

/* Refers `key` of the row to an existing row of `table` (or to nothing)? */
static bool refers(struct api_req *req, const json_t *row, const char *key, const char *table)
{
    const char *id = json_str(row, key, NULL);
    int64_t rev = 0;

    if (!id)
        return true;
    json_decref(mirror_get(req->db, table, id, &rev));
    if (rev == 0) {
        api_fail(req, 404, NULL, "Could not find %s: %.100s.", table, id);
        return false;
    }
    store_txn_expect(req->txn, table, id, rev);
    return true;
}

/* A project is in the domain of its parent. */
static bool parent_ok(struct api_req *req, const json_t *row, const char *parent_id)
{
    json_t *parent = mirror_get(req->db, "project", parent_id, NULL);
    bool good = strcmp(json_str(parent, "domain_id", ""), json_str(row, "domain_id", "")) == 0;

    json_decref(parent);
    if (!good)
        api_fail(req, 400, NULL,
                 "Cannot create project, the parent %.64s and its project must be in the same "
                 "domain.",
                 parent_id);
    return good;
}

static bool references_ok(struct api_req *req, const struct kind *kind, json_t *row)
{
    const char *parent = json_str(row, "parent_id", NULL);
    const char *domain = json_str(row, "domain_id", NULL);

    if (kind->in_domain && !refers(req, row, "domain_id", "domain"))
        return false;
    if (kind != &project_kind)
        return true;
    if (json_bool(row, "is_domain", false)) {
        api_fail(req, 400, NULL, "A project cannot act as a domain here: create a domain.");
        return false;
    }
    if (!parent || (domain && strcmp(parent, domain) == 0)) {
        json_object_set(row, "parent_id", json_object_get(row, "domain_id"));
        return true;
    }
    return refers(req, row, "parent_id", "project") && parent_ok(req, row, parent);
}

/* Sets a new password from the body. 0; -EINPROGRESS: return and run again; else answered. */
static int put_password(struct api_req *req, const json_t *body, json_t *row)
{
    const json_t *password = json_object_get(body, "password");
    const char *hash = NULL;
    int rc;

    if (!password || json_is_null(password))
        return 0;
    rc = json_is_string(password) ? api_password_hash(req, json_string_value(password), &hash)
                                  : -EINVAL;
    if (rc == -EINVAL)
        api_fail(req, 400, NULL, "The password must be a text of 1 to %d bytes.", API_PASSWORD_MAX);
    if (rc < 0)
        return rc;
    json_put_str(row, "password_hash", hash);
    json_put_int(row, "password_serial", json_int(row, "password_serial", 0) + 1);
    return 0;
}

static void create(struct api_req *req, const struct kind *kind)
{
    json_t *body = api_body_object(req, kind->resource->singular), *known, *row = NULL;
    struct err err;
    char id[ID_HEX_SIZE];
    int rc;

    if (!body)
        return;
    known = identity_known(kind->resource, body, FIELD_CREATE);
    rc = resource_create(kind->resource, known, req->auth.admin, &row, &err);
    json_decref(known);
    if (rc < 0) {
        api_fail_err(req, &err);
        return;
    }
    id_hex(id);
    json_put_str(row, "id", id);
    if (put_options(req, row, NULL) && put_extra(req, kind, body, row) &&
        references_ok(req, kind, row) && take_name(req, kind, row) &&
        (kind != &user_kind || put_password(req, body, row) == 0)) {
        store_txn_create(req->txn, kind->resource->table, id, row);
        reply_row(req, 201, kind, row);
    }
    json_decref(row);
}

static bool drop_credentials(struct api_req *req, const struct kind *kind, const char *id)
{
    return !kind->credentials ||
           identity_drop(req, &resource_application_credential, kind->credentials, id);
}

/* Tokens and application credentials of who is disabled stay void when they are enabled again. */
static bool void_if_disabled(struct api_req *req, json_t *row, bool was_enabled)
{
    if (!was_enabled || json_bool(row, "enabled", true))
        return true;
    json_put_int(row, "password_serial", json_int(row, "password_serial", 0) + 1);
    return drop_credentials(req, &user_kind, json_str(row, "id", ""));
}

static void update(struct api_req *req, const struct kind *kind)
{
    json_t *body = api_body_object(req, kind->resource->singular), *row, *before, *known;
    struct err err;
    int rc;

    if (!body || !(row = row_of(req, kind)))
        return;
    before = json_deep_copy(row);
    if (!identity_may_change(req, kind->title, row, body))
        goto out;
    known = identity_known(kind->resource, body, FIELD_UPDATE);
    rc = resource_update(kind->resource, row, known, req->auth.admin, &err);
    json_decref(known);
    if (rc < 0) {
        api_fail_err(req, &err);
        goto out;
    }
    if (!put_options(req, row, before) || !put_extra(req, kind, body, row))
        goto out;
    if (strcmp(json_str(row, "name", ""), json_str(before, "name", "")) != 0) {
        if (!take_name(req, kind, row))
            goto out;
        drop_name(req, kind, before);
    }
    if (kind == &user_kind) {
        if (put_password(req, body, row) < 0 ||
            !void_if_disabled(req, row, json_bool(before, "enabled", true)))
            goto out;
    }
    mirror_txn_update(req->txn, kind->resource->table, row);
    reply_row(req, 200, kind, row);
out:
    json_decref(before);
    json_decref(row);
}

/* ---- delete ---- */

/* Everything of one row into the transaction; false after answering. */
static bool drop_row(struct api_req *req, const struct kind *kind, const json_t *row)
{
    const char *id = json_str(row, "id", "");

    drop_name(req, kind, row);
    quota_forget(req, id);
    store_txn_expect(req->txn, kind->resource->table, id, json_int(row, "_rev", 0));
    store_txn_delete(req->txn, kind->resource->table, id);
    return identity_drop(req, &resource_assignment, kind->assignments, id) &&
           drop_credentials(req, kind, id);
}

static bool may_delete(struct api_req *req, const struct kind *kind, const json_t *row)
{
    if (!is_immutable(row))
        return true;
    api_fail(req, 403, NULL,
             "Unable to delete immutable %s resource: %.64s. Set resource option \"immutable\" to "
             "false first.",
             kind->title, json_str(row, "id", ""));
    return false;
}

static void delete (struct api_req *req, const struct kind *kind)
{
    json_t *row = row_of(req, kind);

    if (row && may_delete(req, kind, row) && drop_row(req, kind, row))
        api_reply(req, 204, NULL);
    json_decref(row);
}

/* Users and projects of a domain go with it. */
static bool drop_members(struct api_req *req, const struct kind *kind, const char *domain_id)
{
    json_t *rows = mirror_select(req->db, kind->resource->table, "WHERE domain_id = ? LIMIT ?",
                                 "si", domain_id, (int64_t)STORE_TXN_CHANGES_MAX);
    json_t *row;
    bool good = json_array_size(rows) <= STORE_TXN_CHANGES_MAX / 6;
    size_t i;

    if (!good)
        api_fail(req, 409, NULL,
                 "The domain has too many %s to be deleted at once: delete them "
                 "first.",
                 kind->resource->plural);
    json_array_foreach(rows, i, row) good = good && drop_row(req, kind, row);
    json_decref(rows);
    return good;
}

/* ---- domains ---- */

void domains_create(struct api_req *req)
{
    create(req, &domain_kind);
}

void domains_list(struct api_req *req)
{
    list_rows(req, &domain_kind, "", NULL);
}

void domains_show(struct api_req *req)
{
    json_t *row;

    if (!req->auth.admin && strcmp(req->auth.domain_id, api_param(req, "id")) != 0) {
        api_fail(req, 403, NULL,
                 "You are not authorized to perform the requested action: "
                 "identity:get_domain.");
        return;
    }
    row = row_of(req, &domain_kind);
    if (row)
        reply_row(req, 200, &domain_kind, row);
    json_decref(row);
}

void domains_update(struct api_req *req)
{
    update(req, &domain_kind);
}

void domains_delete(struct api_req *req)
{
    json_t *row = row_of(req, &domain_kind);
    const char *id = api_param(req, "id");

    if (row && json_bool(row, "enabled", true))
        api_fail(req, 403, NULL,
                 "Cannot delete a domain that is enabled, please disable it first.");
    else if (row && strcmp(id, "default") == 0) /* who names no domain means this one */
        api_fail(req, 403, NULL,
                 "You are not authorized to perform the requested action: delete the default "
                 "domain.");
    else if (row && may_delete(req, &domain_kind, row) && drop_members(req, &project_kind, id) &&
             drop_members(req, &user_kind, id) && drop_row(req, &domain_kind, row))
        api_reply(req, 204, NULL);
    json_decref(row);
}

/* ---- projects ---- */

void projects_create(struct api_req *req)
{
    create(req, &project_kind);
}

void projects_list(struct api_req *req)
{
    struct buf where;
    json_t *params = json_array();

    buf_init(&where, IDENTITY_TAGS_SQL_MAX);
    if (identity_tag_filters(req, &where, params))
        list_rows(req, &project_kind, buf_text(&where), params);
    json_decref(params);
    buf_free(&where);
}

static bool has_role_on(struct api_req *req, const char *project_id)
{
    return mirror_count(req->db, "assignment",
                        "WHERE user_id = ? AND scope_kind = 'project' AND scope_id = ?", "ss",
                        req->auth.user_id, project_id) > 0;
}

void projects_show(struct api_req *req)
{
    json_t *row;

    if (!req->auth.admin && !has_role_on(req, api_param(req, "id"))) {
        api_fail(req, 403, NULL,
                 "You are not authorized to perform the requested action: "
                 "identity:get_project.");
        return;
    }
    row = row_of(req, &project_kind);
    if (row) {
        json_t *view = view_of(req, &project_kind, row);

        identity_put_family(req, row, view);
        api_reply(req, 200, json_pack("{s:o}", "project", view));
    }
    json_decref(row);
}

void projects_update(struct api_req *req)
{
    update(req, &project_kind);
}

void projects_delete(struct api_req *req)
{
    if (mirror_count(req->db, "project", "WHERE parent_id = ?", "s", api_param(req, "id")) > 0)
        api_fail(req, 403, NULL,
                 "Cannot delete the project %.100s since it is not a leaf in the "
                 "hierarchy.",
                 api_param(req, "id"));
    else
        delete (req, &project_kind);
}

/* ---- users ---- */

static bool is_self(const struct api_req *req)
{
    return strcmp(req->auth.user_id, api_param(req, "id")) == 0;
}

static bool admin_or_self(struct api_req *req)
{
    if (req->auth.admin || is_self(req))
        return true;
    api_fail(req, 403, NULL, "You are not authorized to perform the requested action.");
    return false;
}

void users_create(struct api_req *req)
{
    create(req, &user_kind);
}

void users_list(struct api_req *req)
{
    list_rows(req, &user_kind, "", NULL);
}

void users_show(struct api_req *req)
{
    json_t *row = admin_or_self(req) ? row_of(req, &user_kind) : NULL;

    if (row)
        reply_row(req, 200, &user_kind, row);
    json_decref(row);
}

void users_update(struct api_req *req)
{
    update(req, &user_kind);
}

void users_delete(struct api_req *req)
{
    delete (req, &user_kind);
}

/* Needs no token: the old password is the proof. */
void users_password(struct api_req *req)
{
    json_t *body = api_body_object(req, "user"), *row;
    const char *old = json_str(body, "original_password", NULL);
    const char *hash;
    int match;

    if (!body)
        return;
    if (!old || !json_str(body, "password", NULL)) {
        api_fail(req, 400, NULL, "'original_password' and 'password' are required properties.");
        return;
    }
    row = mirror_get(req->db, "user", api_param(req, "id"), NULL);
    hash = json_str(row, "password_hash", NULL);
    match = hash ? api_password_check(req, old, hash) : 0;
    if (match != -EINPROGRESS && (match != 1 || !json_bool(row, "enabled", true)))
        identity_unauthorized(req, "The request you have made requires authentication.");
    else if (match == 1 && json_bool(json_object_get(row, "options"), "lock_password", false))
        api_fail(req, 400, NULL,
                 "You cannot change your password at this time due to password policy disallowing "
                 "password changes. Please contact your administrator to reset your password.");
    else if (match == 1 && put_password(req, body, row) == 0) {
        mirror_txn_update(req->txn, "user", row);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}

void users_projects(struct api_req *req)
{
    json_t *params;

    if (!admin_or_self(req))
        return;
    params = json_pack("[s]", api_param(req, "id"));
    list_rows(
        req, &project_kind,
        "id IN (SELECT scope_id FROM assignment WHERE user_id = ? AND scope_kind = 'project')",
        params);
    json_decref(params);
}

/* There are no groups of users here, so every list of them is empty. */
void groups_none(struct api_req *req)
{
    if (api_param(req, "id")[0] && !admin_or_self(req))
        return;
    identity_reply_list(req, "groups", json_array(), NULL);
}

/* ---- roles ---- */

void roles_create(struct api_req *req)
{
    create(req, &role_kind);
}

void roles_list(struct api_req *req)
{
    list_rows(req, &role_kind, "", NULL);
}

void roles_show(struct api_req *req)
{
    json_t *row = row_of(req, &role_kind);

    if (row)
        reply_row(req, 200, &role_kind, row);
    json_decref(row);
}

void roles_update(struct api_req *req)
{
    update(req, &role_kind);
}

void roles_delete(struct api_req *req)
{
    delete (req, &role_kind);
}

/* ---- the first rows of a cloud ---- */

static const struct kind *kind_of(const char *table)
{
    static const struct kind *const kinds[] = {&domain_kind, &project_kind, &user_kind, &role_kind};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i]->resource->table, table) == 0)
            return kinds[i];
    }
    return NULL;
}

void identity_first_row(struct store_txn *txn, const char *table, json_t *row)
{
    json_t *taken;
    char id[33];

    name_id(kind_of(table), row, id);
    taken = json_pack("{s:s, s:s}", "id", id, "owner_id", json_str(row, "id", ""));
    store_txn_create(txn, "taken_name", id, taken);
    store_txn_create(txn, table, json_str(row, "id", ""), row);
    json_decref(taken);
}
