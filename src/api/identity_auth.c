/* Getting, showing and revoking tokens. */
#include "api/identity.h"
#include "api/known.h"

#include "base/clock.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PURGE_MAX 50 /* revocations that have run out, removed with each new one */

/* A user that does not exist costs the same time as one who does: behind the cost of new hashes. */
#define NOBODY_HASH "$2b$%02u$abcdefghijklmnopqrstuuFHxCu3WJd2.tYSYYMzDzI2sBRbMPXUW"

static const char refusal[] = "The request you have made requires authentication.";

/* ---- names ---- */

/* The one row of `table` with that name in that domain, or NULL. */
static json_t *by_name(struct mirror *db, const char *table, const char *name,
                       const char *domain_id)
{
    json_t *rows =
        mirror_select(db, table, "WHERE name = ? AND domain_id = ? LIMIT 1", "ss", name, domain_id);
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    return row;
}

/* The domain that {"id"} or {"name"} names. */
static json_t *find_domain(struct mirror *db, const json_t *ref)
{
    const char *id = json_str(ref, "id", NULL), *name = json_str(ref, "name", NULL);
    json_t *rows, *row;

    if (id)
        return mirror_get(db, "domain", id, NULL);
    if (!name)
        return NULL;
    rows = mirror_select(db, "domain", "WHERE name = ? LIMIT 1", "s", name);
    row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return row;
}

/* The user or project that {"id"} or {"name", "domain": {...}} names. */
static json_t *find_named(struct mirror *db, const char *table, const json_t *ref)
{
    const char *id = json_str(ref, "id", NULL), *name = json_str(ref, "name", NULL);
    json_t *domain, *row = NULL;

    if (id)
        return mirror_get(db, table, id, NULL);
    domain = find_domain(db, json_object_get(ref, "domain"));
    if (domain && name)
        row = by_name(db, table, name, json_str(domain, "id", ""));
    json_decref(domain);
    return row;
}

/* ---- who ---- */

/* The token is to be of that user; false if another method said that it is of somebody else. */
static bool claim(struct token *token, const json_t *user)
{
    const char *id = json_str(user, "id", "");

    if (!user || (token->user_id[0] && strcmp(token->user_id, id) != 0))
        return false;
    snprintf(token->user_id, sizeof(token->user_id), "%s", id);
    token->password_serial = json_int(user, "password_serial", 0);
    return true;
}

/* 0 and the token's user part, -EINPROGRESS, or a negative code after answering. */
static int by_password(struct api_req *req, const json_t *method, struct token *token)
{
    const json_t *ref = json_object_get(method, "user");
    const char *phrase = json_str(ref, "password", NULL);
    char nobody[sizeof(NOBODY_HASH) + 8];
    json_t *user;
    int match;

    if (!phrase || (!json_str(ref, "id", NULL) && !json_str(ref, "name", NULL))) {
        api_fail(req, 400, NULL, "The method 'password' needs a user and its password.");
        return -EINVAL;
    }
    user = find_named(req->db, "user", ref);
    snprintf(nobody, sizeof(nobody), NOBODY_HASH, api_get_options(req->api)->password_cost);
    match = api_password_check(req, phrase, json_str(user, "password_hash", nobody));
    if (match == 1 && claim(token, user)) {
        token->methods |= TOKEN_PASSWORD;
    } else if (match != -EINPROGRESS) {
        identity_unauthorized(req, refusal);
        match = -EACCES;
    }
    json_decref(user);
    return match == 1 ? 0 : match;
}

static int by_token(struct api_req *req, const json_t *method, struct token *token)
{
    const char *text = json_str(method, "id", NULL);
    struct api_auth auth;
    struct token given;

    if (!text) {
        api_fail(req, 400, NULL, "The method 'token' needs the id of a token.");
        return -EINVAL;
    }
    if (identity_bearer(req, text, &given, &auth) < 0) {
        identity_unauthorized(req, refusal);
        return -EACCES;
    }
    json_decref(auth.token);
    if (token->user_id[0] && strcmp(token->user_id, given.user_id) != 0) {
        identity_unauthorized(req, refusal);
        return -EACCES;
    }
    memcpy(token->user_id, given.user_id, sizeof(token->user_id));
    token->password_serial = given.password_serial;
    token->methods |= given.methods | TOKEN_TOKEN;
    token->expires_ms = given.expires_ms; /* a token does not prolong itself */
    memcpy(token->credential_id, given.credential_id, sizeof(token->credential_id));
    memcpy(token->parent_audit_id,
           given.parent_audit_id[0] ? given.parent_audit_id : given.audit_id,
           sizeof(token->parent_audit_id));
    return 0;
}

static int incomplete(struct api_req *req, const char *attribute)
{
    api_fail(req, 400, NULL,
             "Expecting to find %s in application credential. The server could not comply with the "
             "request since it is either malformed or otherwise incorrect. The client is assumed "
             "to be in error.",
             attribute);
    return -EINVAL;
}

/* The credential that {"id"} or {"name", "user": {...}} names, or NULL after answering. */
static json_t *find_credential(struct api_req *req, const json_t *method)
{
    const char *id = json_str(method, "id", NULL), *name = json_str(method, "name", NULL);
    json_t *user, *row = NULL;

    if (id) {
        row = mirror_get(req->db, "application_credential", id, NULL);
        if (!row)
            api_fail(req, 404, NULL, "Could not find Application Credential: %.100s.", id);
        return row;
    }
    user = find_named(req->db, "user", json_object_get(method, "user"));
    if (!name || !json_is_object(json_object_get(method, "user")))
        incomplete(req, name ? "user" : "id or name");
    else if (!user || !(row = identity_credential_named(req->db, json_str(user, "id", ""), name)))
        identity_unauthorized(req, refusal);
    json_decref(user);
    return row;
}

static int by_credential(struct api_req *req, const json_t *method, struct token *token)
{
    const char *secret = json_str(method, "secret", NULL);
    json_t *row = find_credential(req, method), *user;
    int match;

    if (!row)
        return -ENOENT;
    user = mirror_get(req->db, "user", json_str(row, "user_id", ""), NULL);
    match = secret ? identity_credential_check(req, row, secret) : 0;
    if (match == 1 && claim(token, user)) {
        snprintf(token->credential_id, sizeof(token->credential_id), "%s", json_str(row, "id", ""));
        token->methods |= TOKEN_CREDENTIAL;
    } else if (match != -EINPROGRESS) {
        identity_unauthorized(req, refusal);
        match = -EACCES;
    }
    json_decref(user);
    json_decref(row);
    return match == 1 ? 0 : match;
}

static int identify(struct api_req *req, const json_t *identity, struct token *token)
{
    json_t *methods = json_object_get(identity, "methods"), *name;
    size_t i;
    int rc;

    if (json_array_size(methods) == 0 || json_array_size(methods) > 4) {
        api_fail(req, 400, NULL, "auth.identity.methods must name at least one method.");
        return -EINVAL;
    }
    json_array_foreach(methods, i, name)
    {
        const char *text = json_is_string(name) ? json_string_value(name) : "";

        if (strcmp(text, "password") == 0) {
            rc = by_password(req, json_object_get(identity, text), token);
        } else if (strcmp(text, "token") == 0) {
            rc = by_token(req, json_object_get(identity, text), token);
        } else if (strcmp(text, "application_credential") == 0) {
            rc = by_credential(req, json_object_get(identity, text), token);
        } else {
            identity_unauthorized(req, "Attempted to authenticate with an unsupported method.");
            rc = -EACCES;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- on what ---- */

static int set_scope(struct token *token, const char *kind, const json_t *row)
{
    const char *id = json_str(row, "id", NULL);

    if (!id || strlen(id) >= sizeof(token->scope_id))
        return -EACCES;
    snprintf(token->scope_kind, sizeof(token->scope_kind), "%s", kind);
    snprintf(token->scope_id, sizeof(token->scope_id), "%s", id);
    return 0;
}

/* Without a scope in the request: the user's default project if there is a role on it. */
static void default_scope(struct api_req *req, struct token *token)
{
    json_t *user = mirror_get(req->db, "user", token->user_id, NULL);
    const char *project = json_str(user, "default_project_id", NULL);
    json_t *row = project ? mirror_get(req->db, "project", project, NULL) : NULL;
    json_t *roles = identity_roles_on(req->db, token->user_id, "project", project ? project : "");

    if (row && json_array_size(roles) > 0 && json_bool(row, "enabled", true))
        set_scope(token, "project", row);
    json_decref(roles);
    json_decref(row);
    json_decref(user);
}

static int find_scope(struct api_req *req, const json_t *scope, struct token *token)
{
    json_t *project = json_object_get(scope, "project"), *row;
    json_t *domain = json_object_get(scope, "domain");
    int rc;

    if (!scope) {
        default_scope(req, token);
        return 0;
    }
    if (json_is_string(scope) || json_object_get(scope, "unscoped"))
        return 0;
    if (json_object_get(scope, "system")) {
        strcpy(token->scope_kind, "system");
        strcpy(token->scope_id, "all");
        return 0;
    }
    if (!json_is_object(project) && !json_is_object(domain))
        return -EINVAL;
    row = project ? find_named(req->db, "project", project) : find_domain(req->db, domain);
    rc = set_scope(token, project ? "project" : "domain", row);
    json_decref(row);
    return rc;
}

/* A token of an application credential is for its project, and ends when it does. 0, or a negative
 * code after answering. */
static int bind_to_credential(struct api_req *req, const json_t *auth_body, struct token *token)
{
    json_t *row;
    const char *expires;

    if (json_object_get(auth_body, "scope")) {
        if (json_has_str(json_object_get(auth_body, "identity"), "methods",
                         "application_credential"))
            identity_unauthorized(req, "Error authenticating with application credential: "
                                       "Application credentials cannot request a scope.");
        else
            api_fail(req, 403, NULL,
                     "You are not authorized to perform the requested action: Using an application "
                     "credential token to create a scoped token is not allowed..");
        return -EACCES;
    }
    row = mirror_get(req->db, "application_credential", token->credential_id, NULL);
    expires = json_str(row, "expires_at", NULL);
    snprintf(token->scope_kind, sizeof(token->scope_kind), "project");
    snprintf(token->scope_id, sizeof(token->scope_id), "%s", json_str(row, "project_id", ""));
    if (expires && clock_parse_iso(expires) < token->expires_ms)
        token->expires_ms = clock_parse_iso(expires);
    json_decref(row);
    return 0;
}

/* ---- the handlers ---- */

static void reply_token(struct api_req *req, unsigned status, const struct token *token,
                        json_t *view)
{
    json_t *shown = json_copy(view);

    json_decref(view);
    if (token->scope_kind[0] && !api_query(req, "nocatalog"))
        json_object_set_new(shown, "catalog", catalog_build(req));
    api_reply(req, status, json_pack("{s:o}", "token", shown));
}

void tokens_issue(struct api_req *req)
{
    json_t *auth_body = api_body_object(req, "auth");
    struct token token = {.expires_ms = 0};
    char text[TOKEN_TEXT_MAX];
    struct api_auth auth;
    int rc;

    if (!auth_body || identify(req, json_object_get(auth_body, "identity"), &token) < 0)
        return;
    token.issued_ms = req->wall_ms / 1000 * 1000;
    if (!token.expires_ms)
        token.expires_ms =
            token.issued_ms + (int64_t)api_get_options(req->api)->token_seconds * 1000;
    if (token.credential_id[0]) {
        rc = bind_to_credential(req, auth_body, &token);
        if (rc < 0)
            return;
    } else {
        rc = find_scope(req, json_object_get(auth_body, "scope"), &token);
    }
    if (rc == -EINVAL) {
        api_fail(req, 400, NULL, "auth.scope must name a project, a domain or the system.");
        return;
    }
    token_audit_id(token.audit_id);
    if (rc < 0 || identity_resolve(req, &token, &auth) < 0) {
        identity_unauthorized(req, refusal);
        return;
    }
    if (token_seal(req->db, &token, text, sizeof(text)) < 0) {
        json_decref(auth.token);
        api_fail(req, 503, NULL, "The cloud has no token key yet.");
        return;
    }
    api_header(req, "X-Subject-Token", text);
    reply_token(req, 201, &token, auth.token);
}

/* The token in X-Subject-Token; false after answering. Only its owner and administrators may ask.
 */
static bool read_subject(struct api_req *req, struct token *ret_token, struct api_auth *ret_auth)
{
    const char *text = http_header(req->http, "X-Subject-Token");

    if (!text || identity_bearer(req, text, ret_token, ret_auth) < 0) {
        api_fail(req, 404, NULL, "Could not find token.");
        return false;
    }
    if (!req->auth.admin && strcmp(req->auth.user_id, ret_token->user_id) != 0) {
        json_decref(ret_auth->token);
        api_fail(req, 403, NULL, "You are not authorized to perform the requested action.");
        return false;
    }
    return true;
}

void tokens_show(struct api_req *req)
{
    struct api_auth auth;
    struct token token;

    if (!read_subject(req, &token, &auth))
        return;
    api_header(req, "X-Subject-Token", http_header(req->http, "X-Subject-Token"));
    if (known_recall(req)) { /* both tokens are good at this moment */
        json_decref(auth.token);
        return;
    }
    reply_token(req, 200, &token, auth.token);
    known_keep(req);
}

static void purge_revocations(struct api_req *req)
{
    json_t *rows = mirror_select(req->db, "revocation", "WHERE expires_at < ? LIMIT ?", "si",
                                 req->now, (int64_t)PURGE_MAX);
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
        store_txn_delete(req->txn, "revocation", json_str(row, "id", ""));
    json_decref(rows);
}

void tokens_revoke(struct api_req *req)
{
    struct api_auth auth;
    struct token token;
    char expires[32];
    json_t *row;

    if (!read_subject(req, &token, &auth))
        return;
    json_decref(auth.token);
    purge_revocations(req);
    row = json_pack("{s:s, s:s}", "id", token.audit_id, "expires_at",
                    clock_iso(token.expires_ms, expires, sizeof(expires)));
    store_txn_put(req->txn, "revocation", token.audit_id, row);
    json_decref(row);
    api_reply(req, 204, NULL);
}

/* ---- what a token could be scoped to ---- */

static void reply_scopes(struct api_req *req, const struct resource *resource, const char *kind)
{
    json_t *rows, *list = json_array(), *row;
    char where[300], self[400];
    size_t i;

    snprintf(where, sizeof(where),
             "WHERE enabled = 1 AND id IN (SELECT scope_id FROM assignment WHERE user_id = ? AND "
             "scope_kind = ?) ORDER BY name LIMIT %d",
             API_PAGE_MAX);
    rows = mirror_select(req->db, resource->table, where, "ss", req->auth.user_id, kind);
    json_array_foreach(rows, i, row)
    {
        json_t *view = resource_view(resource, row, false);

        snprintf(self, sizeof(self), "%s/v3/%s/%s", req->base_url, resource->plural,
                 json_str(row, "id", ""));
        json_object_set_new(view, "links", json_pack("{s:s}", "self", self));
        json_array_append_new(list, view);
    }
    json_decref(rows);
    snprintf(self, sizeof(self), "%s/v3/auth/%s", req->base_url, resource->plural);
    api_reply(req, 200,
              json_pack("{s:o, s:{s:n, s:s, s:n}}", resource->plural, list, "links", "next", "self",
                        self, "previous"));
}

void auth_projects(struct api_req *req)
{
    reply_scopes(req, &resource_project, "project");
}

void auth_domains(struct api_req *req)
{
    reply_scopes(req, &resource_domain, "domain");
}

void auth_system(struct api_req *req)
{
    json_t *roles = identity_roles_on(req->db, req->auth.user_id, "system", "all");
    json_t *list = json_array();

    if (json_array_size(roles) > 0)
        json_array_append_new(list, json_pack("{s:b}", "all", 1));
    json_decref(roles);
    api_reply(req, 200, json_pack("{s:o}", "system", list));
}
