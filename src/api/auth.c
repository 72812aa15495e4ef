/* Who asks, and may they? Everything that can change during a token's life is read here, from the
 * mirror, at every request. */
#include "api/identity.h"
#include "api/known.h"

#include "base/clock.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

json_t *identity_domain_ref(struct mirror *db, const char *domain_id)
{
    json_t *row = mirror_get(db, "domain", domain_id, NULL);
    json_t *ref =
        json_pack("{s:s, s:s}", "id", domain_id, "name", json_str(row, "name", domain_id));

    json_decref(row);
    return ref;
}

/* ---- roles ---- */

static bool has_role(const json_t *roles, const char *name)
{
    json_t *role;
    size_t i;

    json_array_foreach(roles, i, role)
    {
        if (strcmp(json_str(role, "name", ""), name) == 0)
            return true;
    }
    return false;
}

bool identity_has_role(const json_t *roles, const char *role_id)
{
    json_t *role;
    size_t i;

    json_array_foreach(roles, i, role)
    {
        if (strcmp(json_str(role, "id", ""), role_id) == 0)
            return true;
    }
    return false;
}

static void add_implied(struct mirror *db, json_t *roles, const char *name)
{
    json_t *found, *role;
    size_t i;

    if (has_role(roles, name))
        return;
    found = mirror_select(db, "role", "WHERE name = ? LIMIT 1", "s", name);
    json_array_foreach(found, i, role) json_array_append_new(
        roles, json_pack("{s:s, s:s}", "id", json_str(role, "id", ""), "name", name));
    json_decref(found);
}

static void imply(struct mirror *db, json_t *roles)
{
    if (has_role(roles, "admin"))
        add_implied(db, roles, "member");
    if (has_role(roles, "member"))
        add_implied(db, roles, "reader");
}

json_t *identity_roles_on(struct mirror *db, const char *user_id, const char *kind,
                          const char *scope_id)
{
    json_t *roles = json_array(), *role, *found;
    size_t i;

    found = mirror_select(db, "role",
                          "WHERE id IN (SELECT role_id FROM assignment WHERE user_id = ? AND "
                          "scope_kind = ? AND scope_id = ?) ORDER BY name",
                          "sss", user_id, kind, scope_id);
    json_array_foreach(found, i, role)
        json_array_append_new(roles, json_pack("{s:s, s:s}", "id", json_str(role, "id", ""), "name",
                                               json_str(role, "name", "")));
    json_decref(found);
    imply(db, roles);
    return roles;
}

json_t *identity_roles_implied(struct mirror *db, const char *role_id)
{
    json_t *role = mirror_get(db, "role", role_id, NULL), *roles;

    roles = json_pack("[{s:s, s:s}]", "id", role_id, "name", json_str(role, "name", ""));
    imply(db, roles);
    json_decref(role);
    return roles;
}

/* ---- the token against the rows ---- */

static bool is_enabled(struct mirror *db, const char *table, const char *id)
{
    json_t *row = mirror_get(db, table, id, NULL);
    bool enabled = row && json_bool(row, "enabled", true);

    json_decref(row);
    return enabled;
}

static bool is_revoked(struct mirror *db, const struct token *token)
{
    return mirror_count(db, "revocation", "WHERE id = ?", "s", token->audit_id) > 0;
}

/* Puts the scope into the view; false if it is gone or disabled. */
static bool put_scope(struct api_req *req, const struct token *token, struct api_auth *auth)
{
    json_t *row;
    bool good;

    if (strcmp(token->scope_kind, "system") == 0) {
        json_object_set_new(auth->token, "system", json_pack("{s:b}", "all", 1));
        return true;
    }
    if (strcmp(token->scope_kind, "domain") == 0) {
        json_object_set_new(auth->token, "domain", identity_domain_ref(req->db, token->scope_id));
        return is_enabled(req->db, "domain", token->scope_id);
    }
    row = mirror_get(req->db, "project", token->scope_id, NULL);
    good = row && json_bool(row, "enabled", true) &&
           is_enabled(req->db, "domain", json_str(row, "domain_id", ""));
    if (good) {
        snprintf(auth->project_id, sizeof(auth->project_id), "%s", token->scope_id);
        snprintf(auth->project_name, sizeof(auth->project_name), "%s", json_str(row, "name", ""));
        json_object_set_new(
            auth->token, "project",
            json_pack("{s:s, s:s, s:o}", "id", auth->project_id, "name", auth->project_name,
                      "domain", identity_domain_ref(req->db, json_str(row, "domain_id", ""))));
        json_object_set_new(auth->token, "is_domain", json_false());
    }
    json_decref(row);
    return good;
}

/* Leaves of `roles` what the token's application credential names, and puts it into the view; false
 * if it is gone. */
static bool put_credential(struct api_req *req, const struct token *token, json_t *roles,
                           json_t *view)
{
    json_t *row = mirror_get(req->db, "application_credential", token->credential_id, NULL);
    bool good = row && strcmp(json_str(row, "user_id", ""), token->user_id) == 0 &&
                strcmp(json_str(row, "project_id", ""), token->scope_id) == 0;

    for (size_t i = json_array_size(roles); i-- > 0;) {
        if (!json_has_str(row, "roles", json_str(json_array_get(roles, i), "id", "")))
            json_array_remove(roles, i);
    }
    if (good)
        json_object_set_new(view, "application_credential",
                            json_pack("{s:s, s:s, s:b}", "id", token->credential_id, "name",
                                      json_str(row, "name", ""), "restricted",
                                      !json_bool(row, "unrestricted", false)));
    json_decref(row);
    return good;
}

static bool put_roles(struct api_req *req, const struct token *token, struct api_auth *auth)
{
    json_t *roles;

    if (!token->scope_kind[0])
        return !token->credential_id[0];
    roles = identity_roles_on(req->db, token->user_id, token->scope_kind, token->scope_id);
    if (token->credential_id[0] && !put_credential(req, token, roles, auth->token))
        json_array_clear(roles);
    auth->admin = has_role(roles, "admin");
    auth->writer = auth->admin || has_role(roles, "member");
    json_object_set_new(auth->token, "roles", roles);
    return json_array_size(roles) > 0 && put_scope(req, token, auth);
}

static json_t *view_of(struct api_req *req, const struct token *token, const json_t *user)
{
    char issued[40], expires[40];
    json_t *methods = json_array(), *audit = json_array(), *view;

    if (token->methods & TOKEN_PASSWORD)
        json_array_append_new(methods, json_string("password"));
    if (token->methods & TOKEN_TOKEN)
        json_array_append_new(methods, json_string("token"));
    if (token->methods & TOKEN_CREDENTIAL)
        json_array_append_new(methods, json_string("application_credential"));
    json_array_append_new(audit, json_string(token->audit_id));
    if (token->parent_audit_id[0])
        json_array_append_new(audit, json_string(token->parent_audit_id));
    view = json_pack(
        "{s:o, s:o, s:s, s:s, s:{s:s, s:s, s:o, s:n}}", "methods", methods, "audit_ids", audit,
        "expires_at", clock_iso_us(token->expires_ms, expires, sizeof(expires)), "issued_at",
        clock_iso_us(token->issued_ms, issued, sizeof(issued)), "user", "id", token->user_id,
        "name", json_str(user, "name", ""), "domain",
        identity_domain_ref(req->db, json_str(user, "domain_id", "")), "password_expires_at");
    return view;
}

int identity_resolve(struct api_req *req, const struct token *token, struct api_auth *ret_auth)
{
    json_t *user = mirror_get(req->db, "user", token->user_id, NULL);
    bool good;

    memset(ret_auth, 0, sizeof(*ret_auth));
    good = user && token->expires_ms > req->wall_ms && json_bool(user, "enabled", true) &&
           json_int(user, "password_serial", 0) == token->password_serial &&
           is_enabled(req->db, "domain", json_str(user, "domain_id", "")) &&
           !is_revoked(req->db, token);
    if (good) {
        snprintf(ret_auth->user_id, sizeof(ret_auth->user_id), "%s", token->user_id);
        snprintf(ret_auth->user_name, sizeof(ret_auth->user_name), "%s",
                 json_str(user, "name", ""));
        snprintf(ret_auth->domain_id, sizeof(ret_auth->domain_id), "%s",
                 json_str(user, "domain_id", ""));
        ret_auth->token = view_of(req, token, user);
        good = put_roles(req, token, ret_auth);
    }
    json_decref(user);
    if (!good) {
        json_decref(ret_auth->token);
        memset(ret_auth, 0, sizeof(*ret_auth));
        return -EACCES;
    }
    ret_auth->valid = true;
    return 0;
}

int identity_bearer(struct api_req *req, const char *text, struct token *ret_token,
                    struct api_auth *ret_auth)
{
    struct known *known = api_known(req->api);
    const struct known_bearer *bearer = known_bearer(known, text);

    if (!bearer) {
        struct known_bearer fresh;

        if (token_open(req->db, text, &fresh.token) < 0 ||
            identity_resolve(req, &fresh.token, &fresh.auth) < 0)
            return -EACCES;
        known_put_bearer(known, text, &fresh);
        *ret_token = fresh.token;
        *ret_auth = fresh.auth;
        return 0;
    }
    if (bearer->token.expires_ms <= req->wall_ms)
        return -EACCES;
    *ret_token = bearer->token;
    *ret_auth = bearer->auth;
    json_incref(ret_auth->token);
    return 0;
}

/* ---- may the route be called? ---- */

void identity_unauthorized(struct api_req *req, const char *message)
{
    uint16_t port = api_port(req->api, API_IDENTITY);
    char value[400], host[256];
    const char *colon;

    /* The identity service's address: the same host at its port. */
    snprintf(host, sizeof(host), "%s", req->base_url);
    colon = strrchr(host, ':');
    if (colon && colon > strstr(host, "://") && !strchr(colon, ']'))
        host[colon - host] = '\0';
    snprintf(value, sizeof(value), "Keystone uri=\"%s:%u\"", host, port ? port : api_identity.port);
    api_fail(req, 401, NULL, "%s", message);
    api_header(req, "WWW-Authenticate", value);
}

static bool is_read(const struct api_req *req)
{
    return strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0 ||
           (req->route->flags & API_READER) != 0;
}

bool api_authorize(struct api_req *req)
{
    const char *text = http_header(req->http, "X-Auth-Token");
    unsigned flags = req->route->flags;
    struct token token;

    if (text && text[0])
        identity_bearer(req, text, &token, &req->auth);
    if (flags & API_PUBLIC)
        return true;
    if (!req->auth.valid) {
        identity_unauthorized(req, "The request you have made requires authentication.");
        return false;
    }
    if ((flags & API_ADMIN && !req->auth.admin) || (!is_read(req) && !req->auth.writer)) {
        api_fail(req, 403, "PolicyNotAuthorized",
                 "You are not authorized to perform the requested action.");
        return false;
    }
    if (req->service->service != API_IDENTITY && !req->auth.project_id[0] &&
        (!req->auth.admin || strcmp(req->method, "POST") == 0)) {
        api_fail(req, 403, "PolicyNotAuthorized", "A token with a project as its scope is needed.");
        return false;
    }
    return true;
}
