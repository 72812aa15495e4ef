/* Application credentials: a program acts for a user on one project without the user's password.
 *
 * What a credential may do is looked up at each request, as for every token (auth.c): its row must
 * be there, and of the roles it names those count that the user still has on the project. Whoever
 * creates one writes the user's row again, and so does who takes a role from the user: names are
 * unique, the limit holds and nothing is made of a role that is being lost, also when two
 * controllers are asked at once.
 *
 * Secrets. One that is made here has 512 random bits. Nobody can try so many however fast the hash
 * is, so it is hashed once, and a program's login costs no processor time. One that a person chose
 * may be as easy to guess as a password and is hashed like one. */
#include "api/identity.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define USER_MAX 50 /* of one user: they are deleted with the user in one transaction */
#define SECRET_BYTES 64
#define QUICK_MARK "$blake2b$"
#define QUICK_SIZE (sizeof(QUICK_MARK) + 64)
#define CANNOT_COMPLY                                                                              \
    " The server could not comply with the request since it is either malformed or otherwise "     \
    "incorrect. The client is assumed to be in error."

static const char forbidden[] = "You are not authorized to perform the requested action";

/* ---- secrets ---- */

static void quick_hash(const char *secret, char out[QUICK_SIZE])
{
    unsigned char hash[32];

    crypto_generichash(hash, sizeof(hash), (const unsigned char *)secret, strlen(secret), NULL, 0);
    memcpy(out, QUICK_MARK, sizeof(QUICK_MARK));
    sodium_bin2hex(out + strlen(QUICK_MARK), 65, hash, sizeof(hash));
}

static void make_secret(char *out, size_t size)
{
    unsigned char bytes[SECRET_BYTES];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2base64(out, size, bytes, sizeof(bytes), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof(bytes));
}

int identity_credential_check(struct api_req *req, const json_t *row, const char *secret)
{
    const char *hash = json_str(row, "secret_hash", "");
    char quick[QUICK_SIZE];

    if (strncmp(hash, QUICK_MARK, strlen(QUICK_MARK)) != 0)
        return api_password_check(req, secret, hash);
    quick_hash(secret, quick);
    return strlen(hash) == strlen(quick) && sodium_memcmp(hash, quick, strlen(quick)) == 0;
}

/* The secret of the body, or a new one, into `out`, and its hash into the row. 0; -EINPROGRESS:
 * return and run again; else answered. */
static int put_secret(struct api_req *req, const json_t *body, json_t *row, char *out, size_t size)
{
    const json_t *given = json_object_get(body, "secret");
    char quick[QUICK_SIZE];
    const char *hash = quick;
    int rc = 0;

    if (given && !json_is_null(given) && !json_is_string(given)) {
        rc = -EINVAL;
    } else if (json_string_length(given) == 0) {
        make_secret(out, size);
        quick_hash(out, quick);
    } else {
        rc = api_password_hash(req, json_string_value(given), &hash);
        snprintf(out, size, "%s", json_string_value(given));
    }
    if (rc == -EINVAL)
        api_fail(req, 400, NULL, "The secret must be a text of 1 to %d bytes.", API_PASSWORD_MAX);
    if (rc == 0)
        json_put_str(row, "secret_hash", hash);
    return rc;
}

/* ---- views ---- */

static json_t *view_of(const struct api_req *req, const json_t *row)
{
    json_t *view = resource_view(&resource_application_credential, row, true);
    json_t *roles = json_array(), *id;
    char self[500];
    size_t i;

    json_array_foreach(json_object_get(row, "roles"), i, id)
    {
        json_t *role = mirror_get(req->db, "role", json_string_value(id), NULL);

        if (role)
            json_array_append_new(roles, resource_view(&resource_role, role, true));
        json_decref(role);
    }
    json_object_set_new(view, "roles", roles);
    snprintf(self, sizeof(self), "%s/v3/users/%s/application_credentials/%s", req->base_url,
             json_str(row, "user_id", ""), json_str(row, "id", ""));
    json_object_set_new(view, "links", json_pack("{s:s}", "self", self));
    return view;
}

json_t *identity_credential_named(struct mirror *db, const char *user_id, const char *name)
{
    json_t *rows = mirror_select(db, "application_credential",
                                 "WHERE user_id = ? AND name = ? LIMIT 1", "ss", user_id, name);
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    return row;
}

/* ---- who may ---- */

static bool is_owner(const struct api_req *req)
{
    return strcmp(req->auth.user_id, api_param(req, "user")) == 0;
}

/* False after answering 403. */
static bool may(struct api_req *req, bool allowed, const char *action)
{
    if (!allowed)
        api_fail(req, 403, NULL, "%s: identity:%s.", forbidden, action);
    return allowed;
}

/* A token of a restricted credential must not make others, or the credential would be no limit. */
static bool is_unrestricted(struct api_req *req)
{
    const json_t *credential = json_object_get(req->auth.token, "application_credential");

    if (!json_bool(credential, "restricted", false))
        return true;
    api_fail(req, 403, NULL,
             "%s: Using method 'application_credential' is not allowed for managing additional "
             "application credentials..",
             forbidden);
    return false;
}

/* The row named by the path, or NULL after answering 404. */
static json_t *row_of(struct api_req *req)
{
    const char *id = api_param(req, "id");
    json_t *row = mirror_get(req->db, "application_credential", id, NULL);

    if (row && strcmp(json_str(row, "user_id", ""), api_param(req, "user")) == 0)
        return row;
    json_decref(row);
    api_fail(req, 404, NULL, "Could not find Application Credential: %.100s.", id);
    return NULL;
}

/* ---- create ---- */

static int invalid(struct api_req *req, const char *detail)
{
    api_fail(req, 400, NULL, "Invalid application credential: %s", detail);
    return -EINVAL;
}

/* The role that {"id"} or {"name"} names, with those that it implies; NULL after answering. */
static json_t *wanted_roles(struct api_req *req, const json_t *ref)
{
    const char *id = json_str(ref, "id", NULL), *name = json_str(ref, "name", NULL);
    json_t *found = NULL, *roles = NULL;

    if (!id && name) {
        found = mirror_select(req->db, "role", "WHERE name = ? LIMIT 1", "s", name);
        id = json_str(json_array_get(found, 0), "id", NULL);
    }
    if (id)
        roles = identity_roles_implied(req->db, id);
    else if (name)
        api_fail(req, 404, NULL, "Could not find role: %.100s.", name);
    else
        invalid(req, "each of 'roles' must be an object with an 'id' or a 'name'.");
    json_decref(found);
    return roles;
}

/* Adds to `ids` the roles that are in the token; the others are an error. */
static int add_roles(struct api_req *req, json_t *ids, const json_t *roles)
{
    const json_t *mine = json_object_get(req->auth.token, "roles");
    json_t *role;
    size_t i;

    json_array_foreach(roles, i, role)
    {
        const char *id = json_str(role, "id", "");

        if (!identity_has_role(mine, id))
            return invalid(req, "Cannot create an application credential with unassigned role");
        json_array_append_new(ids, json_string(id));
    }
    return 0;
}

/* The roles of the body, or else all that the token has. */
static int put_roles(struct api_req *req, const json_t *body, json_t *row)
{
    const json_t *given = json_object_get(body, "roles");
    json_t *ids = json_array(), *ref;
    int rc = 0;
    size_t i;

    json_object_set_new(row, "roles", ids);
    if (given && !json_is_null(given) && !json_is_array(given))
        return invalid(req, "'roles' must be a list.");
    if (json_array_size(given) == 0)
        return add_roles(req, ids, json_object_get(req->auth.token, "roles"));
    if (json_array_size(given) > json_array_size(json_object_get(req->auth.token, "roles")))
        return invalid(req, "Cannot create an application credential with unassigned role");
    json_array_foreach(given, i, ref)
    {
        json_t *roles = wanted_roles(req, ref);

        rc = roles ? add_roles(req, ids, roles) : -EINVAL;
        json_decref(roles);
        if (rc < 0)
            break;
    }
    return rc;
}

/* Rules that limit a credential to some requests are not kept here, so nobody must believe that
 * they hold. */
static int check_rules(struct api_req *req, const json_t *body)
{
    const json_t *rules = json_object_get(body, "access_rules");

    if (!rules || json_is_null(rules) || (json_is_array(rules) && json_array_size(rules) == 0))
        return 0;
    return invalid(req, "'access_rules' are not offered: its tokens could do more than they say.");
}

static int put_expiry(struct api_req *req, const json_t *body, json_t *row)
{
    const json_t *given = json_object_get(body, "expires_at");
    int64_t time_ms = json_is_string(given) ? clock_parse_iso(json_string_value(given)) : -1;
    char text[40];

    if (!given || json_is_null(given))
        return 0;
    if (time_ms < 0)
        api_fail(req, 400, NULL, "Timestamp not in expected format." CANNOT_COMPLY);
    else if (time_ms <= req->wall_ms)
        api_fail(req, 400, NULL, "The 'expires_at' must not be before now." CANNOT_COMPLY);
    else
        json_put_str(row, "expires_at", clock_iso_us(time_ms, text, sizeof(text)));
    return time_ms > req->wall_ms ? 0 : -EINVAL;
}

/* Name and limit, kept by writing the user's row again. */
static int take_place(struct api_req *req, const json_t *row)
{
    const char *name = json_str(row, "name", "");
    json_t *same = identity_credential_named(req->db, req->auth.user_id, name), *user;

    json_decref(same);
    if (same) {
        api_fail(req, 409, NULL,
                 "Conflict occurred attempting to store application_credential - Duplicate entry "
                 "found with name %s.",
                 name);
        return -EEXIST;
    }
    if (mirror_count(req->db, "application_credential", "WHERE user_id = ?", "s",
                     req->auth.user_id) >= USER_MAX) {
        api_fail(req, 403, NULL,
                 "Unable to create additional application credentials, maximum of %d already "
                 "exceeded for user.",
                 USER_MAX);
        return -EPERM;
    }
    user = mirror_get(req->db, "user", req->auth.user_id, NULL);
    mirror_txn_update(req->txn, "user", user);
    json_decref(user);
    return 0;
}

/* A new row from the body, or NULL after answering. */
static json_t *row_from(struct api_req *req, const json_t *body)
{
    json_t *known = identity_known(&resource_application_credential, body, FIELD_CREATE);
    json_t *row = NULL;
    struct err err;
    int rc = resource_create(&resource_application_credential, known, true, &row, &err);

    json_decref(known);
    if (rc < 0) {
        api_fail_err(req, &err);
        return NULL;
    }
    if (check_rules(req, body) < 0 || put_roles(req, body, row) < 0 ||
        put_expiry(req, body, row) < 0 || take_place(req, row) < 0) {
        json_decref(row);
        return NULL;
    }
    json_put_str(row, "user_id", req->auth.user_id);
    json_put_str(row, "project_id", req->auth.project_id);
    return row;
}

void credentials_create(struct api_req *req)
{
    char id[ID_HEX_SIZE], secret[API_PASSWORD_MAX + 1];
    json_t *body, *row, *view;

    if (!may(req, is_owner(req), "create_application_credential") || !is_unrestricted(req))
        return;
    if (!req->auth.project_id[0]) {
        invalid(req, "a token with a project as its scope is needed.");
        return;
    }
    body = api_body_object(req, "application_credential");
    row = body ? row_from(req, body) : NULL;
    if (row && put_secret(req, body, row, secret, sizeof(secret)) == 0) {
        id_hex(id);
        json_put_str(row, "id", id);
        store_txn_create(req->txn, "application_credential", id, row);
        view = view_of(req, row);
        json_put_str(view, "secret", secret); /* shown this once */
        api_reply(req, 201, json_pack("{s:o}", "application_credential", view));
    }
    sodium_memzero(secret, sizeof(secret));
    json_decref(row);
}

/* ---- list, show, delete ---- */

void credentials_list(struct api_req *req)
{
    json_t *params, *rows, *row, *list;
    const char *last = NULL;
    bool more = false;
    size_t i;

    if (!may(req, is_owner(req) || req->auth.admin, "list_application_credentials"))
        return;
    params = json_pack("[s]", api_param(req, "user"));
    rows = api_list(req, &resource_application_credential, "user_id = ?", params, &more);
    json_decref(params);
    if (!rows)
        return;
    list = json_array();
    json_array_foreach(rows, i, row)
    {
        json_array_append_new(list, view_of(req, row));
        last = json_str(row, "id", NULL);
    }
    identity_reply_list(req, "application_credentials", list, more ? last : NULL);
    json_decref(rows);
}

void credentials_show(struct api_req *req)
{
    json_t *row = may(req, is_owner(req) || req->auth.admin, "get_application_credential")
                      ? row_of(req)
                      : NULL;

    if (row)
        api_reply(req, 200, json_pack("{s:o}", "application_credential", view_of(req, row)));
    json_decref(row);
}

void credentials_delete(struct api_req *req)
{
    json_t *row;

    if (!may(req, is_owner(req) || req->auth.admin, "delete_application_credential") ||
        !is_unrestricted(req))
        return;
    row = row_of(req);
    if (row) {
        store_txn_delete(req->txn, "application_credential", json_str(row, "id", ""));
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}
