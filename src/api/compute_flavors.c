/* Flavors and their extra specs. */
#include "api/compute.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPECS_MAX 128

json_t *compute_flavor_find(struct api_req *req, const char *id, unsigned status)
{
    int64_t rev = 0;
    json_t *row;

    if (strrchr(id, '/'))
        id = strrchr(id, '/') + 1;
    row = mirror_get(req->db, "flavor", id, &rev);
    if (row && (json_bool(row, "is_public", true) || req->auth.admin ||
                json_has_str(row, "projects", req->auth.project_id))) {
        json_put_int(row, "_rev", rev);
        return row;
    }
    json_decref(row);
    api_fail(req, status, NULL, "Flavor %.100s could not be found.", id);
    return NULL;
}

static json_t *view_of(struct api_req *req, const json_t *row, int full)
{
    const char *id = json_str(row, "id", "");
    json_t *view;

    if (!full)
        return json_pack("{s:s, s:s, s:o}", "id", id, "name", json_str(row, "name", ""), "links",
                         compute_links(req, "flavors", id));
    view = compute_plain_view(req, &resource_flavor, row);
    /* Before 2.75 no swap is an empty text. */
    if (json_int(row, "swap", 0) == 0)
        json_put_str(view, "swap", "");
    json_object_set_new(view, "links", compute_links(req, "flavors", id));
    return view;
}

/* Public flavors and those that one's project has access to; an administrator may ask for the
 * private ones (is_public=False) or for all (None). */
static void filter_public(struct api_req *req, struct compute_filter *filter)
{
    const char *text = http_query(req->http, "is_public");

    if (req->auth.admin && text && strcasecmp(text, "none") == 0)
        return;
    if (req->auth.admin && text && (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0))
        compute_filter_add(filter, "json_extract(body, '$.is_public') = 0", NULL);
    else
        compute_filter_add(filter,
                           "(json_extract(body, '$.is_public') IS NOT 0 OR EXISTS (SELECT 1 FROM "
                           "json_each(body, '$.projects') AS p WHERE p.value = ?))",
                           json_string(req->auth.project_id));
}

/* At least as much as the query's `key` says of the field. */
static int filter_least(struct api_req *req, struct compute_filter *filter, const char *key,
                        const char *condition)
{
    const char *text = api_query(req, key);
    json_t *value = text ? json_string(text) : NULL;
    int64_t least = value ? compute_whole(value, INT32_MAX) : 0;

    json_decref(value);
    if (least < 0)
        return compute_bad(req, "Invalid filter: minRam and minDisk are whole numbers");
    if (text)
        compute_filter_add(filter, condition, json_integer(least));
    return 0;
}

static json_t *select_flavors(struct api_req *req)
{
    struct compute_filter filter;
    json_t *rows = NULL;

    compute_filter_init(&filter);
    filter_public(req, &filter);
    if (filter_least(req, &filter, "minRam", "json_extract(body, '$.ram') >= ?") == 0 &&
        filter_least(req, &filter, "minDisk", "json_extract(body, '$.disk') >= ?") == 0 &&
        compute_filter_fields(req, &filter, &resource_flavor, NULL, NULL) == 0) {
        buf_str(&filter.sql, " ORDER BY json_extract(body, '$.ram'), id");
        rows = filter.sql.failed
                   ? NULL
                   : mirror_select_json(req->db, "flavor", buf_text(&filter.sql), filter.params);
        if (!rows)
            compute_bad(req, "The query is too long");
    }
    compute_filter_free(&filter);
    return rows;
}

void compute_flavor_list(struct api_req *req)
{
    compute_list(req, "flavors", select_flavors(req), view_of, false);
}

void compute_flavor_detail(struct api_req *req)
{
    compute_list(req, "flavors", select_flavors(req), view_of, true);
}

void compute_flavor_show(struct api_req *req)
{
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404);

    if (row)
        api_reply(req, 200, json_pack("{s:o}", "flavor", view_of(req, row, true)));
    json_decref(row);
}

/* ---- create, delete ---- */

/* Clients give numbers as texts, and "auto" or null for an id to be made. */
static json_t *tidy(const json_t *body)
{
    static const char *const numbers[] = {"ram",  "disk", "vcpus", "OS-FLV-EXT-DATA:ephemeral",
                                          "swap", NULL};
    json_t *tidied = json_copy((json_t *)body), *factor = json_object_get(body, "rxtx_factor");
    const json_t *given = json_object_get(body, "id");
    const char *id = json_str(body, "id", NULL);
    char made[ID_UUID_SIZE], number[24];
    int64_t value;

    for (size_t i = 0; numbers[i]; i++) {
        value = compute_whole(json_object_get(body, numbers[i]), INT32_MAX);
        if (value >= 0)
            json_put_int(tidied, numbers[i], value);
        else if (strcmp(json_str(body, numbers[i], "-"), "") == 0)
            json_put_int(tidied, numbers[i], 0);
    }
    if (json_is_string(factor))
        json_object_set_new(tidied, "rxtx_factor",
                            json_real(strtod(json_string_value(factor), NULL)));
    if (json_is_integer(given)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(given));
        json_put_str(tidied, "id", number);
    } else if (!given || json_is_null(given) || (id && strcmp(id, "auto") == 0)) {
        id_uuid(made);
        json_put_str(tidied, "id", made);
    }
    return tidied;
}

static bool is_plain_id(const char *id)
{
    return id[0] && strlen(id) <= 255 &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               strlen(id);
}

/* Names are unique: whoever creates the row of table taken_name that is the name's hash owns it. */
static void name_id(const json_t *row, char out[33])
{
    const char *name = json_str(row, "name", "");
    crypto_generichash_state state;
    unsigned char hash[16];

    crypto_generichash_init(&state, NULL, 0, sizeof(hash));
    crypto_generichash_update(&state, (const unsigned char *)"flavor", 7);
    crypto_generichash_update(&state, (const unsigned char *)name, strlen(name));
    crypto_generichash_final(&state, hash, sizeof(hash));
    sodium_bin2hex(out, 33, hash, sizeof(hash));
}

static void take_name(struct api_req *req, const json_t *row)
{
    json_t *taken;
    char id[33];

    name_id(row, id);
    taken = json_pack("{s:s, s:s}", "id", id, "owner_id", json_str(row, "id", ""));
    store_txn_create(req->txn, "taken_name", id, taken);
    json_decref(taken);
}

static bool is_factor(const json_t *value)
{
    return json_is_number(value) && json_number_value(value) > 0 && json_number_value(value) < 1e38;
}

static void create_row(struct api_req *req, json_t *row)
{
    const char *id = json_str(row, "id", ""), *name = json_str(row, "name", "");
    json_t *same = mirror_get(req->db, "flavor", id, NULL);

    if (!is_plain_id(id))
        compute_bad(req, "Invalid input for field/attribute id. It is made of letters, digits, "
                         ". - and _");
    else if (!is_factor(json_object_get(row, "rxtx_factor")))
        compute_bad(req, "Invalid input for field/attribute rxtx_factor. It must be a number "
                         "above 0");
    else if (same)
        api_fail(req, 409, NULL, "Flavor with ID %s already exists.", id);
    else if (mirror_count(req->db, "flavor", "WHERE name = ?", "s", name) > 0)
        api_fail(req, 409, NULL, "Flavor with name %s already exists.", name);
    else {
        take_name(req, row);
        store_txn_create(req->txn, "flavor", id, row);
        api_reply(req, 200, json_pack("{s:o}", "flavor", view_of(req, row, true)));
    }
    json_decref(same);
}

void compute_flavor_create(struct api_req *req)
{
    json_t *body = api_body_object(req, "flavor"), *given, *tidied, *row = NULL;
    struct err err = {0};

    given = body ? compute_plain_members(req, &resource_flavor, body, FIELD_CREATE, NULL) : NULL;
    if (!given)
        return;
    tidied = tidy(given);
    json_decref(given);
    if (resource_create(&resource_flavor, tidied, true, &row, &err) < 0)
        api_fail_err(req, &err);
    else
        create_row(req, row);
    json_decref(row);
    json_decref(tidied);
}

void compute_flavor_delete(struct api_req *req)
{
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404);
    char name[33];

    if (!row)
        return;
    name_id(row, name);
    store_txn_delete(req->txn, "taken_name", name);
    store_txn_expect(req->txn, "flavor", json_str(row, "id", ""), json_int(row, "_rev", 0));
    store_txn_delete(req->txn, "flavor", json_str(row, "id", ""));
    api_reply(req, 202, NULL);
    json_decref(row);
}

/* ---- access to private ones ---- */

static void reply_access(struct api_req *req, const json_t *row)
{
    const char *id = json_str(row, "id", "");
    json_t *list = json_array(), *project;
    size_t i;

    json_array_foreach(json_object_get(row, "projects"), i, project)
        json_array_append_new(list, json_pack("{s:s, s:O}", "flavor_id", id, "tenant_id", project));
    api_reply(req, 200, json_pack("{s:o}", "flavor_access", list));
}

void compute_flavor_access(struct api_req *req)
{
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404);

    if (row && json_bool(row, "is_public", true))
        api_fail(req, 404, NULL, "Access list not available for public flavors.");
    else if (row)
        reply_access(req, row);
    json_decref(row);
}

static int add_access(struct api_req *req, json_t *row, json_t *projects, const char *project)
{
    json_t *there = mirror_get_shared(req->db, "project", project);
    const char *id = json_str(row, "id", "");
    bool known = there != NULL;

    json_decref(there);
    if (!known)
        return compute_bad(req, "Project ID %.64s is not a valid project.", project);
    if (json_array_size(projects) >= FLAVOR_PROJECTS_MAX)
        return compute_bad(req, "At most %d projects have access to one flavor",
                           FLAVOR_PROJECTS_MAX);
    if (json_bool(row, "is_public", true))
        api_fail(req, 409, NULL, "Can not add access to a public flavor.");
    else if (json_has_str(row, "projects", project))
        api_fail(req, 409, NULL,
                 "Flavor access already exists for flavor %s and project %s combination.", id,
                 project);
    else
        return json_array_append_new(projects, json_string(project));
    return -EEXIST;
}

static int remove_access(struct api_req *req, const json_t *row, json_t *projects,
                         const char *project)
{
    for (size_t i = 0; i < json_array_size(projects); i++) {
        if (strcmp(json_string_value(json_array_get(projects, i)), project) == 0)
            return json_array_remove(projects, i);
    }
    api_fail(req, 404, NULL, "Flavor access not found for %s / %.64s combination.",
             json_str(row, "id", ""), project);
    return -ENOENT;
}

/* {"addTenantAccess": {"tenant": id}} or removeTenantAccess. */
void compute_flavor_action(struct api_req *req)
{
    const json_t *add = json_object_get(req->body, "addTenantAccess");
    const json_t *args = add ? add : json_object_get(req->body, "removeTenantAccess");
    const char *project = json_str(args, "tenant", NULL);
    json_t *row, *projects;
    int rc;

    if (!args || json_object_size(req->body) != 1 || !project) {
        compute_bad(req, "The body must have addTenantAccess or removeTenantAccess with a tenant");
        return;
    }
    row = compute_flavor_find(req, api_param(req, "id"), 404);
    if (!row)
        return;
    projects = json_object_get(row, "projects");
    projects = projects ? json_copy(projects) : json_array();
    rc = add ? add_access(req, row, projects, project) : remove_access(req, row, projects, project);
    json_object_set_new(row, "projects", projects);
    if (rc == 0) {
        reply_access(req, row);
        mirror_txn_update(req->txn, "flavor", row);
    }
    json_decref(row);
}

/* ---- extra specs ---- */

static json_t *specs_of(const json_t *row)
{
    json_t *specs = json_object_get(row, "extra_specs");

    return json_is_object(specs) ? json_deep_copy(specs) : json_object();
}

void compute_specs_show(struct api_req *req)
{
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404);

    if (row)
        api_reply(req, 200, json_pack("{s:o}", "extra_specs", specs_of(row)));
    json_decref(row);
}

void compute_spec_show(struct api_req *req)
{
    const char *key = api_param(req, "key");
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404), *specs, *value;

    if (!row)
        return;
    specs = specs_of(row);
    value = json_object_get(specs, key);
    if (value)
        api_reply(req, 200, json_pack("{s:O}", key, value));
    else
        api_fail(req, 404, NULL, "Flavor %s has no extra specs with key %.100s.",
                 json_str(row, "id", ""), key);
    json_decref(specs);
    json_decref(row);
}

static int merge(struct api_req *req, json_t *specs, const json_t *more)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)more, key, value)
    {
        if (!key[0] || strlen(key) > 255 || !(json_is_string(value) || json_is_number(value)) ||
            (json_is_string(value) && json_string_length(value) > 255))
            return compute_bad(req,
                               "Invalid input for field/attribute extra_specs. Keys and values "
                               "are texts of at most 255 characters");
        json_object_set(specs, key, value);
    }
    if (json_object_size(specs) > SPECS_MAX)
        return compute_bad(req, "A flavor has at most %d extra specs", SPECS_MAX);
    return 0;
}

static void merge_and_answer(struct api_req *req, const json_t *more, const char *wrapper)
{
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404), *specs;

    if (!row)
        return;
    specs = specs_of(row);
    if (merge(req, specs, more) == 0) {
        json_object_set(row, "extra_specs", specs);
        mirror_txn_update(req->txn, "flavor", row);
        api_reply(req, 200,
                  wrapper ? json_pack("{s:O}", wrapper, specs) : json_deep_copy((json_t *)more));
    }
    json_decref(specs);
    json_decref(row);
}

void compute_specs_merge(struct api_req *req)
{
    json_t *body = api_body_object(req, "extra_specs");

    if (body)
        merge_and_answer(req, body, "extra_specs");
}

void compute_spec_put(struct api_req *req)
{
    const char *key = api_param(req, "key");

    if (!json_is_object(req->body) || json_object_size(req->body) != 1 ||
        !json_object_get(req->body, key))
        compute_bad(req, "Request body and URI mismatch");
    else
        merge_and_answer(req, req->body, NULL);
}

void compute_spec_delete(struct api_req *req)
{
    const char *key = api_param(req, "key");
    json_t *row = compute_flavor_find(req, api_param(req, "id"), 404), *specs;

    if (!row)
        return;
    specs = specs_of(row);
    if (json_object_del(specs, key) == 0) {
        json_object_set(row, "extra_specs", specs);
        mirror_txn_update(req->txn, "flavor", row);
        api_reply(req, 200, NULL);
    } else {
        api_fail(req, 404, NULL, "Flavor %s has no extra specs with key %.100s.",
                 json_str(row, "id", ""), key);
    }
    json_decref(specs);
    json_decref(row);
}
