/* Role assignments: who has which role on what. */
#include "api/identity.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define LIST_MAX 10000

/* What the path names: /v3/{projects|domains}/{scope}/users/{user}..., /v3/system/users/{user}...
 */
struct grant {
    const char *kind, *scope_id, *user_id, *role_id;
    char id[300];
};

json_t *assignment_row(const char *user_id, const char *kind, const char *scope_id,
                       const char *role_id, char *ret_id, size_t size)
{
    snprintf(ret_id, size, "%s.%s.%s.%s", user_id, kind, scope_id, role_id);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", ret_id, "user_id", user_id, "role_id",
                     role_id, "scope_kind", kind, "scope_id", scope_id);
}

static bool must_exist(struct api_req *req, const char *table, const char *id)
{
    int64_t rev = 0;

    json_decref(mirror_get(req->db, table, id, &rev));
    if (rev == 0) {
        api_fail(req, 404, NULL, "Could not find %s: %.100s.", table, id);
        return false;
    }
    /* A grant must not outlive what it refers to. */
    store_txn_expect(req->txn, table, id, rev);
    return true;
}

/* False after answering 404. */
static bool read_grant(struct api_req *req, struct grant *grant)
{
    *grant = (struct grant){.kind = "system", .scope_id = "all"};
    grant->user_id = api_param(req, "user");
    grant->role_id = api_param(req, "role");
    if (api_param(req, "project")[0]) {
        grant->kind = "project";
        grant->scope_id = api_param(req, "project");
    } else if (api_param(req, "domain")[0]) {
        grant->kind = "domain";
        grant->scope_id = api_param(req, "domain");
    }
    snprintf(grant->id, sizeof(grant->id), "%.64s.%s.%.64s.%.64s", grant->user_id, grant->kind,
             grant->scope_id, grant->role_id);
    if (strcmp(grant->kind, "system") != 0 && !must_exist(req, grant->kind, grant->scope_id))
        return false;
    if (!must_exist(req, "user", grant->user_id))
        return false;
    return !grant->role_id[0] || must_exist(req, "role", grant->role_id);
}

static bool is_granted(struct api_req *req, const struct grant *grant)
{
    return mirror_count(req->db, "assignment", "WHERE id = ?", "s", grant->id) > 0;
}

void grants_put(struct api_req *req)
{
    struct grant grant;
    json_t *row;

    if (!read_grant(req, &grant))
        return;
    if (!is_granted(req, &grant)) {
        row = assignment_row(grant.user_id, grant.kind, grant.scope_id, grant.role_id, grant.id,
                             sizeof(grant.id));
        store_txn_put(req->txn, "assignment", grant.id, row);
        json_decref(row);
    }
    api_reply(req, 204, NULL);
}

void grants_check(struct api_req *req)
{
    struct grant grant;

    if (!read_grant(req, &grant))
        return;
    if (is_granted(req, &grant))
        api_reply(req, 204, NULL);
    else
        api_fail(req, 404, NULL, "Could not find role assignment with role: %.64s, user: %.64s.",
                 grant.role_id, grant.user_id);
}

/* Who loses a role on a project loses their application credentials there. The user's row is
 * written again so that none can be made of the role meanwhile. */
static void drop_credentials(struct api_req *req, const struct grant *grant)
{
    json_t *rows =
        mirror_select(req->db, "application_credential", "WHERE user_id = ? AND project_id = ?",
                      "ss", grant->user_id, grant->scope_id);
    json_t *user = mirror_get(req->db, "user", grant->user_id, NULL), *row;
    size_t i;

    json_array_foreach(rows, i, row)
        store_txn_delete(req->txn, "application_credential", json_str(row, "id", ""));
    mirror_txn_update(req->txn, "user", user);
    json_decref(user);
    json_decref(rows);
}

void grants_delete(struct api_req *req)
{
    struct grant grant;

    if (!read_grant(req, &grant))
        return;
    if (!is_granted(req, &grant)) {
        api_fail(req, 404, NULL, "Could not find role assignment with role: %.64s, user: %.64s.",
                 grant.role_id, grant.user_id);
        return;
    }
    store_txn_delete(req->txn, "assignment", grant.id);
    if (strcmp(grant.kind, "project") == 0)
        drop_credentials(req, &grant);
    api_reply(req, 204, NULL);
}

void grants_list(struct api_req *req)
{
    json_t *rows, *row, *list = json_array();
    struct grant grant;
    char self[400];
    size_t i;

    if (!read_grant(req, &grant)) {
        json_decref(list);
        return;
    }
    rows = mirror_select(req->db, "role",
                         "WHERE id IN (SELECT role_id FROM assignment WHERE user_id = ? AND "
                         "scope_kind = ? AND scope_id = ?) ORDER BY name",
                         "sss", grant.user_id, grant.kind, grant.scope_id);
    json_array_foreach(rows, i, row)
    {
        json_t *view = resource_view(&resource_role, row, true);

        snprintf(self, sizeof(self), "%s/v3/roles/%s", req->base_url, json_str(row, "id", ""));
        json_object_set_new(view, "links", json_pack("{s:s}", "self", self));
        json_array_append_new(list, view);
    }
    json_decref(rows);
    snprintf(self, sizeof(self), "%s%.250s", req->base_url, req->path);
    api_reply(req, 200,
              json_pack("{s:o, s:{s:n, s:s, s:n}}", "roles", list, "links", "next", "self", self,
                        "previous"));
}

bool identity_drop(struct api_req *req, const struct resource *resource, const char *where,
                   const char *id)
{
    size_t room = store_txn_room(req->txn), i;
    json_t *rows, *row;
    char sql[200];
    bool fits;

    snprintf(sql, sizeof(sql), "WHERE %s LIMIT ?2", where);
    rows = mirror_select(req->db, resource->table, sql, "si", id, (int64_t)room + 1);
    fits = json_array_size(rows) <= room;
    if (!fits)
        api_fail(req, 409, NULL,
                 "There are more %s than can be deleted at once: delete some first.",
                 resource->plural);
    json_array_foreach(rows, i, row)
    {
        if (fits)
            store_txn_delete(req->txn, resource->table, json_str(row, "id", ""));
    }
    json_decref(rows);
    return fits;
}

/* ---- /v3/role_assignments ---- */

/* {"id"} or, with names, {"id", "name", "domain": {"id", "name"}}. */
static json_t *reference(struct api_req *req, const char *table, const char *id, bool names)
{
    json_t *ref = json_pack("{s:s}", "id", id), *row;
    const char *domain;

    if (!names)
        return ref;
    row = mirror_get(req->db, table, id, NULL);
    json_put_str(ref, "name", json_str(row, "name", ""));
    domain = json_str(row, "domain_id", NULL);
    if (domain)
        json_object_set_new(ref, "domain", identity_domain_ref(req->db, domain));
    json_decref(row);
    return ref;
}

static json_t *scope_of(struct api_req *req, const json_t *row, bool names)
{
    const char *kind = json_str(row, "scope_kind", "");

    if (strcmp(kind, "system") == 0)
        return json_pack("{s:{s:b}}", "system", "all", 1);
    return json_pack("{s:o}", kind, reference(req, kind, json_str(row, "scope_id", ""), names));
}

static json_t *entry_of(struct api_req *req, const json_t *row, const char *role_id, bool names)
{
    const char *kind = json_str(row, "scope_kind", ""), *user = json_str(row, "user_id", "");
    char url[700];

    if (strcmp(kind, "system") == 0)
        snprintf(url, sizeof(url), "%s/v3/system/users/%s/roles/%s", req->base_url, user, role_id);
    else
        snprintf(url, sizeof(url), "%s/v3/%ss/%s/users/%s/roles/%s", req->base_url, kind,
                 json_str(row, "scope_id", ""), user, role_id);
    return json_pack("{s:o, s:o, s:o, s:{s:s}}", "role", reference(req, "role", role_id, names),
                     "user", reference(req, "user", user, names), "scope",
                     scope_of(req, row, names), "links", "assignment", url);
}

struct filter {
    char where[400];
    json_t *params;
};

static void add_filter(struct filter *filter, const char *condition, const char *value)
{
    size_t used = strlen(filter->where);

    snprintf(filter->where + used, sizeof(filter->where) - used, "%s %s", used ? " AND" : "WHERE",
             condition);
    if (value)
        json_array_append_new(filter->params, json_string(value));
}

static void read_filters(struct api_req *req, struct filter *filter)
{
    const char *user = api_query(req, "user.id"), *role = api_query(req, "role.id");
    const char *project = api_query(req, "scope.project.id");
    const char *domain = api_query(req, "scope.domain.id");

    if (user)
        add_filter(filter, "user_id = ?", user);
    if (role)
        add_filter(filter, "role_id = ?", role);
    if (project)
        add_filter(filter, "scope_kind = 'project' AND scope_id = ?", project);
    if (domain)
        add_filter(filter, "scope_kind = 'domain' AND scope_id = ?", domain);
    if (api_query(req, "scope.system"))
        add_filter(filter, "scope_kind = 'system'", NULL);
    if (api_query(req, "group.id")) /* there are no groups: nothing is assigned to one */
        add_filter(filter, "0", NULL);
}

/* A flag in a query is true unless it says otherwise. */
static bool flag(const struct api_req *req, const char *name)
{
    const char *value = api_query(req, name);

    return value && strcmp(value, "0") != 0 && strcasecmp(value, "false") != 0;
}

/* With `effective` the implied roles stand in the list too. */
static void add_entries(struct api_req *req, json_t *list, const json_t *row, bool names)
{
    json_t *roles, *role;
    size_t i;

    if (!flag(req, "effective")) {
        json_array_append_new(list, entry_of(req, row, json_str(row, "role_id", ""), names));
        return;
    }
    roles = identity_roles_implied(req->db, json_str(row, "role_id", ""));
    json_array_foreach(roles, i, role)
        json_array_append_new(list, entry_of(req, row, json_str(role, "id", ""), names));
    json_decref(roles);
}

void assignments_list(struct api_req *req)
{
    const char *user = api_query(req, "user.id");
    struct filter filter = {.where = ""};
    json_t *rows, *row, *list;
    char self[400], tail[64];
    size_t i;

    if (!req->auth.admin && (!user || strcmp(user, req->auth.user_id) != 0)) {
        api_fail(req, 403, NULL,
                 "You are not authorized to perform the requested action: "
                 "identity:list_role_assignments.");
        return;
    }
    filter.params = json_array();
    list = json_array();
    read_filters(req, &filter);
    snprintf(tail, sizeof(tail), " ORDER BY id LIMIT %d", LIST_MAX);
    strncat(filter.where, tail, sizeof(filter.where) - strlen(filter.where) - 1);
    rows = mirror_select_json(req->db, "assignment", filter.where, filter.params);
    json_array_foreach(rows, i, row) add_entries(req, list, row, flag(req, "include_names"));
    json_decref(rows);
    json_decref(filter.params);
    snprintf(self, sizeof(self), "%s/v3/role_assignments", req->base_url);
    api_reply(req, 200,
              json_pack("{s:o, s:{s:n, s:s, s:n}}", "role_assignments", list, "links", "next",
                        "self", self, "previous"));
}
