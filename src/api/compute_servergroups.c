/* Server groups: https://docs.openstack.org/api-ref/compute/#server-groups-os-server-groups
 *
 * A group is a row of its own that never changes; its members are the servers that name it. So a
 * server that goes leaves its group by itself, and a new one only needs that the group is there. */
#include "api/compute.h"
#include "api/quota.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <string.h>

static json_t *members_of(struct api_req *req, const char *id)
{
    json_t *rows = mirror_select(req->db, "server",
                                 "WHERE server_group_id = ? AND power <> 'deleted' "
                                 "ORDER BY created_at, id",
                                 "s", id);
    json_t *ids = json_array(), *row;
    size_t i;

    json_array_foreach(rows, i, row) json_array_append(ids, json_object_get(row, "id"));
    json_decref(rows);
    return ids;
}

static json_t *view_of(struct api_req *req, const json_t *row)
{
    json_t *view = compute_plain_view(req, &resource_server_group, row);

    json_object_set_new(view, "policies", json_pack("[s]", json_str(row, "policy", "")));
    json_object_set_new(view, "members", members_of(req, json_str(row, "id", "")));
    json_object_set_new(view, "metadata", json_object());
    return view;
}

/* The group of the path with "_rev", or NULL after a 404. */
static json_t *find_group(struct api_req *req)
{
    const char *id = api_param(req, "id");
    json_t *row = mirror_get(req->db, "server_group", id, NULL);

    if (row && api_owns(req, json_str(row, "project_id", "")))
        return row;
    json_decref(row);
    api_fail(req, 404, NULL, "Instance group %.100s could not be found.", id);
    return NULL;
}

void compute_servergroup_show(struct api_req *req)
{
    json_t *row = find_group(req);

    if (row)
        api_reply(req, 200, json_pack("{s:o}", "server_group", view_of(req, row)));
    json_decref(row);
}

/* A number of the query that is not negative; `missing` if there is none; -1 after an error. */
static int64_t number_asked(struct api_req *req, const char *name, int64_t missing)
{
    const char *text = api_query(req, name);
    json_t *value = text ? json_string(text) : NULL;
    int64_t number = text ? compute_whole(value, INT32_MAX) : missing;

    json_decref(value);
    if (number < 0)
        compute_bad(req,
                    "Invalid input for query parameters %s. Value: %.40s. It must be a number "
                    "that is not negative",
                    name, text);
    return number;
}

static json_t *select_groups(struct api_req *req, int64_t limit, int64_t offset)
{
    bool all = req->auth.admin && http_query(req->http, "all_projects");
    struct compute_filter filter;
    json_t *rows = NULL;

    compute_filter_init(&filter);
    if (!all)
        compute_filter_add(&filter, "project_id = ?", json_string(req->auth.project_id));
    if (compute_filter_fields(req, &filter, &resource_server_group, NULL, NULL) == 0) {
        buf_str(&filter.sql, " ORDER BY created_at, id LIMIT ? OFFSET ?");
        json_array_append_new(filter.params, json_integer(limit));
        json_array_append_new(filter.params, json_integer(offset));
        rows = mirror_select_json(req->db, "server_group", buf_text(&filter.sql), filter.params);
    }
    compute_filter_free(&filter);
    return rows;
}

void compute_servergroup_list(struct api_req *req)
{
    int64_t limit = number_asked(req, "limit", API_PAGE_MAX);
    int64_t offset = limit < 0 ? -1 : number_asked(req, "offset", 0);
    json_t *rows, *views, *row;
    size_t i;

    if (limit < 0 || offset < 0)
        return;
    rows = select_groups(req, limit == 0 || limit > API_PAGE_MAX ? API_PAGE_MAX : limit, offset);
    if (!rows)
        return;
    views = json_array();
    json_array_foreach(rows, i, row) json_array_append_new(views, view_of(req, row));
    json_decref(rows);
    api_reply(req, 200, json_pack("{s:o}", "server_groups", views));
}

/* The row's members out of the body's, where the one policy stands in a list (as until 2.63). */
static json_t *row_of(struct api_req *req, const json_t *body)
{
    static const char *const others[] = {"policies", NULL};
    const json_t *policies = json_object_get(body, "policies");
    const char *policy = json_string_value(json_array_get(policies, 0));
    json_t *plain, *row = NULL;
    struct err err = {0};

    if (json_object_get(body, "policy")) {
        compute_bad(req, "Invalid input for field/attribute server_group. Additional properties "
                         "are not allowed ('policy' was unexpected)");
        return NULL;
    }
    plain = compute_plain_members(req, &resource_server_group, body, FIELD_CREATE, others);
    if (!plain)
        return NULL;
    json_put_str(plain, "policy", policy);
    if (json_array_size(policies) != 1 || !policy)
        compute_bad(req, "Invalid input for field/attribute policies. It must be a list of one "
                         "policy");
    else if (strncmp(policy, "soft-", 5) == 0 && req->microversion < MV(15))
        compute_bad(req,
                    "Invalid input for field/attribute policies. '%.40s' is offered from 2.15 on",
                    policy);
    else if (resource_create(&resource_server_group, plain, false, &row, &err) < 0)
        api_fail_err(req, &err);
    json_decref(plain);
    return row;
}

void compute_servergroup_create(struct api_req *req)
{
    json_t *body = api_body_object(req, "server_group"), *row;
    char id[ID_UUID_SIZE];

    if (!body)
        return;
    if (!req->auth.project_id[0]) {
        compute_bad(req, "A server group belongs to a project: the token has none");
        return;
    }
    row = row_of(req, body);
    if (!row)
        return;
    id_uuid(id);
    json_put_str(row, "id", id);
    json_put_str(row, "project_id", req->auth.project_id);
    json_put_str(row, "user_id", req->auth.user_id);
    json_put_str(row, "created_at", req->now);
    store_txn_create(req->txn, "server_group", id, row);
    api_reply(req, 200, json_pack("{s:o}", "server_group", view_of(req, row)));
    json_decref(row);
}

/* Its servers stay where they are; nothing binds them any more. */
void compute_servergroup_delete(struct api_req *req)
{
    json_t *row = find_group(req);
    const char *id = json_str(row, "id", "");

    if (!row)
        return;
    store_txn_expect(req->txn, "server_group", id, json_int(row, "_rev", 0));
    store_txn_delete(req->txn, "server_group", id);
    store_txn_delete(req->txn, "guard", id);
    quota_forget(req, id);
    api_reply(req, 204, NULL);
    json_decref(row);
}

int compute_servergroup_use(struct api_req *req, const char *id)
{
    int64_t rev = 0;
    json_t *row;
    bool there;

    if (!id_is_uuid(id))
        return compute_bad(req,
                           "Invalid input for field/attribute group. Value: %.60s. It is not a "
                           "'uuid'",
                           id);
    row = mirror_get(req->db, "server_group", id, &rev);
    there = row && api_owns(req, json_str(row, "project_id", ""));
    json_decref(row);
    if (!there)
        return compute_bad(req, "Instance group %s could not be found.", id);
    /* It must not be deleted between this look and the commit. */
    store_txn_expect(req->txn, "server_group", id, rev);
    return 0;
}
