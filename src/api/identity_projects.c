/* What projects have beyond domains, users and roles: tags, and a place in a tree.
 * https://docs.openstack.org/api-ref/identity/v3/#project-tags */
#include "api/identity.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define TAGS_ASKED_MAX 80
#define DEPTH_MAX 16 /* of the tree, as far as it is shown */

/* ---- filters ---- */

/* "a,b": the condition that the row has all of them, or any. */
static bool put_tags(struct api_req *req, struct buf *where, json_t *params, const char *text,
                     const char *between)
{
    size_t n = 0;

    for (; *text && n < TAGS_ASKED_MAX; n++) {
        size_t size = strcspn(text, ",");

        buf_printf(where, "%sEXISTS (SELECT 1 FROM json_each(body, '$.tags') WHERE value = ?)",
                   n ? between : "(");
        json_array_append_new(params, json_stringn(text, size));
        text += size;
        text += *text == ',';
    }
    if (*text || n == 0) {
        api_fail(req, 400, NULL, "A filter by tags names 1 to %d of them.", TAGS_ASKED_MAX);
        return false;
    }
    buf_str(where, ")");
    return true;
}

bool identity_tag_filters(struct api_req *req, struct buf *where, json_t *params)
{
    static const struct {
        const char *name, *prefix, *between;
    } filters[] = {{"tags", "", " AND "},
                   {"tags-any", "", " OR "},
                   {"not-tags", "NOT ", " AND "},
                   {"not-tags-any", "NOT ", " OR "}};

    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        const char *text = api_query(req, filters[i].name);

        if (!text)
            continue;
        buf_printf(where, "%s%s", where->len ? " AND " : "", filters[i].prefix);
        if (!put_tags(req, where, params, text, filters[i].between))
            return false;
    }
    return true;
}

/* ---- the tree ---- */

/* {"above": {"above that": null}}; the domain is the last one. */
static json_t *parents_of(struct api_req *req, const json_t *project, int depth)
{
    const char *id = json_str(project, "parent_id", NULL);
    json_t *parent, *ids;

    if (!id || depth == DEPTH_MAX)
        return json_null();
    parent = mirror_get(req->db, "project", id, NULL);
    ids = json_pack("{s:o}", id, parent ? parents_of(req, parent, depth + 1) : json_null());
    json_decref(parent);
    return ids;
}

/* {"below": {"below that": null}, ...} */
static json_t *children_of(struct api_req *req, const char *id, int depth)
{
    json_t *rows = mirror_select(req->db, "project", "WHERE parent_id = ? ORDER BY id LIMIT ?",
                                 "si", id, (int64_t)API_PAGE_MAX);
    json_t *ids = json_array_size(rows) && depth < DEPTH_MAX ? json_object() : json_null(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *child = json_str(row, "id", "");

        if (json_is_object(ids))
            json_object_set_new(ids, child, children_of(req, child, depth + 1));
    }
    json_decref(rows);
    return ids;
}

void identity_put_family(struct api_req *req, const json_t *project, json_t *view)
{
    if (http_query(req->http, "parents_as_ids"))
        json_object_set_new(view, "parents", parents_of(req, project, 0));
    if (http_query(req->http, "subtree_as_ids"))
        json_object_set_new(view, "subtree", children_of(req, json_str(project, "id", ""), 0));
}

/* ---- /v3/projects/{id}/tags ---- */

/* The project of the path, or NULL after answering. */
static json_t *find_project(struct api_req *req)
{
    const char *id = api_param(req, "id");
    json_t *row = NULL;

    if (!req->auth.admin &&
        mirror_count(req->db, "assignment",
                     "WHERE user_id = ? AND scope_kind = 'project' AND scope_id = ?", "ss",
                     req->auth.user_id, id) == 0) {
        api_fail(req, 403, NULL, "You are not authorized to perform the requested action.");
        return NULL;
    }
    row = mirror_get(req->db, "project", id, NULL);
    if (!row)
        api_fail(req, 404, NULL, "Could not find project: %.100s.", id);
    return row;
}

static json_t *links_of(struct api_req *req)
{
    return json_pack("{s:n, s:o, s:n}", "next", "self",
                     json_sprintf("%s%.500s", req->base_url, req->path), "previous");
}

void tags_list(struct api_req *req)
{
    json_t *row = find_project(req), *tags = json_object_get(row, "tags");

    if (row)
        api_reply(req, 200,
                  json_pack("{s:o, s:o}", "tags", tags ? json_deep_copy(tags) : json_array(),
                            "links", links_of(req)));
    json_decref(row);
}

/* Changes the project's tags to `tags` (stolen) as an update does; false after answering. */
static bool put(struct api_req *req, json_t *row, json_t *tags)
{
    json_t *change = json_pack("{s:o}", "tags", tags);
    struct err err = {0};
    bool good = identity_may_change(req, "project", row, change);

    if (good && resource_update(&resource_project, row, change, req->auth.admin, &err) < 0) {
        api_fail_err(req, &err);
        good = false;
    }
    json_decref(change);
    if (good)
        mirror_txn_update(req->txn, "project", row);
    return good;
}

void tags_replace(struct api_req *req)
{
    json_t *given = json_object_get(req->body, "tags"), *row;

    if (!json_is_array(given)) {
        api_fail(req, 400, NULL, "'tags' is a required property: a list of texts.");
        return;
    }
    row = find_project(req);
    if (row && put(req, row, json_deep_copy(given)))
        api_reply(req, 200, json_pack("{s:O, s:o}", "tags", given, "links", links_of(req)));
    json_decref(row);
}

void tags_clear(struct api_req *req)
{
    json_t *row = find_project(req);

    if (row && put(req, row, json_array()))
        api_reply(req, 204, NULL);
    json_decref(row);
}

/* The project if it has the tag of the path, or NULL after answering. */
static json_t *find_tagged(struct api_req *req)
{
    json_t *row = find_project(req);

    if (!row || json_has_str(row, "tags", api_param(req, "tag")))
        return row;
    json_decref(row);
    api_fail(req, 404, NULL, "Could not find project tag: %.100s.", api_param(req, "tag"));
    return NULL;
}

void tag_check(struct api_req *req)
{
    json_t *row = find_tagged(req);

    if (row)
        api_reply(req, 204, NULL);
    json_decref(row);
}

void tag_add(struct api_req *req)
{
    json_t *row = find_project(req), *tags;
    const char *tag = api_param(req, "tag");

    if (!row)
        return;
    tags = json_deep_copy(json_object_get(row, "tags"));
    tags = json_is_array(tags) ? tags : json_array();
    if (!json_has_str(row, "tags", tag))
        json_array_append_new(tags, json_string(tag));
    if (put(req, row, tags))
        api_reply(req, 201, NULL);
    json_decref(row);
}

void tag_remove(struct api_req *req)
{
    json_t *row = find_tagged(req), *tags = json_array(), *tag;
    size_t i;

    json_array_foreach(json_object_get(row, "tags"), i, tag)
    {
        if (strcmp(json_string_value(tag), api_param(req, "tag")) != 0)
            json_array_append(tags, tag);
    }
    if (row && put(req, row, json_incref(tags)))
        api_reply(req, 204, NULL);
    json_decref(tags);
    json_decref(row);
}
