#include "api/quota.h"

#include "base/buf.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OVERS_MAX 16
#define LIST_MAX 1024
#define GUARD_SIZE 80

/* ---- limits ---- */

static int64_t fallback_of(const struct field *field)
{
    json_t *value = json_loads(field->fallback, JSON_DECODE_ANY, NULL);
    int64_t number = json_integer_value(value);

    json_decref(value);
    return number;
}

/* A quantity is a field with a fallback. */
static int64_t limit_in(const struct field *field, const json_t *own, const json_t *class)
{
    if (json_is_integer(json_object_get(own, field->name)))
        return json_int(own, field->name, 0);
    if (json_is_integer(json_object_get(class, field->name)))
        return json_int(class, field->name, 0);
    return fallback_of(field);
}

static json_t *limits_of(const struct resource *limits, const json_t *own, const json_t *class)
{
    json_t *all = json_object();

    for (size_t i = 0; i < limits->field_count; i++) {
        const struct field *field = &limits->fields[i];

        if (field->fallback)
            json_put_int(all, field->name, limit_in(field, own, class));
    }
    return all;
}

json_t *quota_limits(struct api_req *req, const struct resource *limits, const char *project)
{
    json_t *own = mirror_get(req->db, limits->table, project, NULL);
    json_t *class = mirror_get(req->db, limits->table, QUOTA_DEFAULT, NULL);
    json_t *all = limits_of(limits, own, class);

    json_decref(own);
    json_decref(class);
    return all;
}

int64_t quota_limit(struct api_req *req, const struct resource *limits, const char *project,
                    const char *name)
{
    json_t *all = quota_limits(req, limits, project);
    int64_t limit = json_int(all, name, -1);

    json_decref(all);
    return limit;
}

/* ---- use ---- */

static int64_t used_by(struct api_req *req, const struct resource *resource,
                       const struct quota_use *use, const char *owner)
{
    char where[96];

    snprintf(where, sizeof(where), "WHERE \"%s\" = ?", use->owner);
    return mirror_sum(req->db, resource->table, use->amount, where, "s", owner);
}

static bool is_by_project(const struct quota_use *use)
{
    return strcmp(use->owner, "project_id") == 0;
}

/* The project's use of the quantity; 0 for what nothing counts towards, or not by project. */
static int64_t project_use(struct api_req *req, const struct resource *limits, const char *name,
                           const char *project)
{
    int64_t sum = 0;

    for (size_t i = 0; resource_all[i]; i++) {
        const struct quota_use *use = resource_all[i]->quotas;

        for (; resource_all[i]->limits == limits && use && use->name; use++) {
            if (is_by_project(use) && strcmp(use->name, name) == 0)
                sum += used_by(req, resource_all[i], use, project);
        }
    }
    return sum;
}

json_t *quota_details(struct api_req *req, const struct resource *limits, const char *project,
                      const char *used_key)
{
    json_t *all = quota_limits(req, limits, project), *details = json_object(), *limit;
    const char *name;

    json_object_foreach(all, name, limit)
    {
        int64_t used = project_use(req, limits, name, project);

        json_object_set_new(details, name,
                            json_pack("{s:O, s:I, s:i}", "limit", limit, used_key, (json_int_t)used,
                                      "reserved", 0));
    }
    json_decref(all);
    return details;
}

/* ---- changes of limits ---- */

/* Without what cannot be set and is sent back as it was shown. */
static json_t *settable(const struct resource *limits, const json_t *wanted, const json_t *now)
{
    json_t *rest = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)wanted, key, value)
    {
        const struct field *field = resource_field(limits, key);

        if (!field || field->flags & FIELD_UPDATE || !json_equal(value, json_object_get(now, key)))
            json_object_set(rest, key, value);
    }
    return rest;
}

static int check_use(struct api_req *req, const struct resource *limits, const char *project,
                     const json_t *row, const json_t *given)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)given, name, value)
    {
        int64_t limit = json_int(row, name, -1);
        int64_t used = limit < 0 ? -1 : project_use(req, limits, name, project);

        if (used > limit) {
            api_fail(req, 400, NULL,
                     "Quota limit %lld for %s must be greater than or equal to already used and "
                     "reserved %lld.",
                     (long long)limit, name, (long long)used);
            return -EINVAL;
        }
    }
    return 0;
}

int quota_set(struct api_req *req, const struct resource *limits, const char *project,
              const json_t *wanted, bool check, json_t **ret_limits)
{
    json_t *now = quota_limits(req, limits, project), *given = settable(limits, wanted, now);
    json_t *row = mirror_get(req->db, limits->table, project, NULL);
    json_t *class = mirror_get(req->db, limits->table, QUOTA_DEFAULT, NULL);
    struct err err = {0};
    int rc;

    if (!row)
        row = json_pack("{s:s}", "id", project);
    rc = resource_update(limits, row, given, true, &err);
    if (rc < 0)
        api_fail_err(req, &err);
    else if (check)
        rc = check_use(req, limits, project, row, given);
    if (rc == 0)
        *ret_limits = limits_of(limits, row, class);
    if (rc == 0 && json_object_size(given) > 0)
        mirror_txn_update(req->txn, limits->table, row);
    json_decref(class);
    json_decref(row);
    json_decref(given);
    json_decref(now);
    return rc;
}

bool quota_reset(struct api_req *req, const struct resource *limits, const char *project)
{
    int64_t rev = 0;

    json_decref(mirror_get(req->db, limits->table, project, &rev));
    if (!rev)
        return false;
    store_txn_expect(req->txn, limits->table, project, rev);
    store_txn_delete(req->txn, limits->table, project);
    return true;
}

static void guard_of(const char *owner, char out[GUARD_SIZE])
{
    snprintf(out, GUARD_SIZE, "quota.%.64s", owner);
}

void quota_forget(struct api_req *req, const char *owner)
{
    char guard[GUARD_SIZE];
    int64_t rev = 0;

    guard_of(owner, guard);
    json_decref(mirror_get(req->db, "guard", guard, &rev));
    if (rev)
        store_txn_delete(req->txn, "guard", guard);
    quota_reset(req, &resource_compute_quota, owner);
    quota_reset(req, &resource_network_quota, owner);
}

/* ---- what a transaction needs ---- */

static int64_t amount_of(const json_t *row, const struct quota_use *use)
{
    const char *dot = use->amount ? strchr(use->amount, '.') : NULL;
    char key[64];

    if (!use->amount)
        return 1;
    if (!dot)
        return json_int(row, use->amount, 0);
    snprintf(key, sizeof(key), "%.*s", (int)(dot - use->amount), use->amount);
    return json_int(json_object_get(row, key), dot + 1, 0);
}

static bool is_new(struct api_req *req, const char *table, const char *id)
{
    json_t *row = NULL, *there;

    if (!store_txn_peek(req->txn, table, id, &row) || !row)
        return false;
    there = mirror_get(req->db, table, id, NULL);
    json_decref(there);
    return !there;
}

/* Is the row made along the way of what was asked for? */
static bool comes_along(struct api_req *req, const struct resource *resource, const json_t *row)
{
    if (resource == &resource_port)
        return strncmp(json_str(row, "device_owner", ""), "network:", 8) == 0;
    if (resource == &resource_security_group)
        return strcmp(json_str(row, "name", ""), "default") == 0;
    return resource == &resource_security_group_rule &&
           is_new(req, "security_group", json_str(row, "security_group_id", ""));
}

/* What the transaction adds to the use of each owner: {owner: amount}. */
static json_t *needs_of(struct api_req *req, const struct resource *resource,
                        const struct quota_use *use, const json_t *rows)
{
    json_t *needs = json_object(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *owner = json_str(row, use->owner, "");
        json_t *before = mirror_get(req->db, resource->table, json_str(row, "id", ""), NULL);
        int64_t more = amount_of(row, use);

        if (strcmp(json_str(before, use->owner, ""), owner) == 0)
            more -= amount_of(before, use);
        json_decref(before);
        if (owner[0] && more > 0 && !comes_along(req, resource, row))
            json_put_int(needs, owner, json_int(needs, owner, 0) + more);
    }
    return needs;
}

/* ---- admission ---- */

/* Lists for the message, and whose words to use. */
struct overs {
    size_t count;
    const struct resource *limits;
    const struct quota_use *first;
    struct buf names, quoted, wanted, used, allowed;
};

static void overs_add(struct overs *overs, const struct resource *resource,
                      const struct quota_use *use, int64_t more, int64_t used, int64_t limit)
{
    const char *between = overs->count ? ", " : "";

    if (!overs->count) {
        overs->first = use;
        overs->limits = resource->limits;
    }
    if (++overs->count > OVERS_MAX)
        return;
    buf_printf(&overs->names, "%s%s", between, use->name);
    buf_printf(&overs->quoted, "%s'%s'", between, use->name);
    buf_printf(&overs->wanted, "%s%lld", between, (long long)more);
    buf_printf(&overs->used, "%s%lld", between, (long long)used);
    buf_printf(&overs->allowed, "%s%lld", between, (long long)limit);
}

static void refuse(struct api_req *req, struct overs *overs)
{
    if (req->service->service == API_NETWORK)
        api_fail(req, 409, "OverQuota", "Quota exceeded for resources: [%s].",
                 buf_text(&overs->quoted));
    else if (overs->limits == &resource_network_quota)
        api_fail(req, 403, NULL, "Maximum number of %ss exceeded", overs->first->name);
    else if (overs->first->refusal)
        api_fail(req, 403, NULL, "%s", overs->first->refusal);
    else
        api_fail(req, 403, NULL,
                 "Quota exceeded for %s: Requested %s, but already used %s of %s %s",
                 buf_text(&overs->names), buf_text(&overs->wanted), buf_text(&overs->used),
                 buf_text(&overs->allowed), buf_text(&overs->names));
}

struct admission {
    struct overs overs;
    json_t *expected; /* {"<table> <id>": true}: rows of limits that are expected already */
    char *turn;
    size_t turn_size;
};

/* The limits must be the same at the commit, also where there are none. */
static void expect_limits(struct api_req *req, struct admission *admission,
                          const struct resource *limits, const char *id)
{
    char key[160];
    int64_t rev = 0;

    snprintf(key, sizeof(key), "%s %.64s", limits->table, id);
    if (!id[0] || json_object_get(admission->expected, key))
        return;
    json_put_bool(admission->expected, key, true);
    json_decref(mirror_get(req->db, limits->table, id, &rev));
    store_txn_expect(req->txn, limits->table, id, rev);
}

/* Moves the owner's guard, once in a transaction. */
static void take_guard(struct api_req *req, const char *owner, char *turn, size_t turn_size)
{
    json_t *row = NULL;
    char id[GUARD_SIZE];
    int64_t rev = 0;

    guard_of(owner, id);
    if (store_txn_peek(req->txn, "guard", id, &row))
        return;
    json_decref(mirror_get(req->db, "guard", id, &rev));
    store_txn_expect(req->txn, "guard", id, rev);
    row = json_pack("{s:s, s:s}", "id", id, "at", req->now);
    store_txn_put(req->txn, "guard", id, row);
    json_decref(row);
    if (!turn[0])
        snprintf(turn, turn_size, "%s", id);
}

static void admit_use(struct api_req *req, struct admission *admission,
                      const struct resource *resource, const struct quota_use *use,
                      const json_t *rows)
{
    json_t *needs = needs_of(req, resource, use, rows), *value;
    const char *owner;

    json_object_foreach(needs, owner, value)
    {
        const char *project = is_by_project(use) ? owner : req->auth.project_id;
        int64_t limit = quota_limit(req, resource->limits, project, use->name);
        int64_t more = json_integer_value(value), used;

        expect_limits(req, admission, resource->limits, project);
        expect_limits(req, admission, resource->limits, QUOTA_DEFAULT);
        if (limit < 0)
            continue;
        used = used_by(req, resource, use, owner);
        if (used + more > limit)
            overs_add(&admission->overs, resource, use, more, used, limit);
        take_guard(req, owner, admission->turn, admission->turn_size);
    }
    json_decref(needs);
}

bool quota_admit(struct api_req *req, char *ret_turn, size_t turn_size)
{
    struct admission admission = {
        .expected = json_object(), .turn = ret_turn, .turn_size = turn_size};
    struct overs *overs = &admission.overs;
    struct buf *const lists[] = {&overs->names, &overs->quoted, &overs->wanted, &overs->used,
                                 &overs->allowed};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        buf_init(lists[i], LIST_MAX);
    for (size_t i = 0; resource_all[i]; i++) {
        const struct quota_use *use = resource_all[i]->quotas;
        json_t *rows = use ? store_txn_rows(req->txn, resource_all[i]->table) : NULL;

        for (; json_array_size(rows) > 0 && use->name; use++)
            admit_use(req, &admission, resource_all[i], use, rows);
        json_decref(rows);
    }
    if (overs->count)
        refuse(req, overs);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        buf_free(lists[i]);
    json_decref(admission.expected);
    return overs->count == 0;
}
