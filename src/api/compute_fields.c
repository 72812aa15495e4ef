/* What the compute service takes, shows and filters by of a resource's plain fields: it follows
 * from the resource's table (model/compute.c), in the microversion that was asked for. Whatever has
 * a form of its own is put in by the resource's file. */
#include "api/compute.h"

#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUES_MAX 1000

static const char *api_name(const struct field *field)
{
    return field->json ? field->json : field->name;
}

static bool is_there(const struct api_req *req, const struct field *field)
{
    return !field->since || req->microversion >= MV(field->since);
}

/* ---- bodies ---- */

static bool is_among(const char *const *names, const char *name)
{
    while (names && *names && strcmp(*names, name) != 0)
        names++;
    return names && *names;
}

json_t *compute_plain_members(struct api_req *req, const struct resource *resource,
                              const json_t *body, unsigned flag, const char *const *others)
{
    json_t *plain = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)body, key, value)
    {
        const struct field *field = resource_field(resource, key);

        if (field && field->flags & flag && is_there(req, field)) {
            json_object_set(plain, key, value);
        } else if (!is_among(others, key)) {
            compute_bad(req,
                        "Invalid input for field/attribute %s. Additional properties are not "
                        "allowed ('%.60s' was unexpected)",
                        resource->singular, key);
            json_decref(plain);
            return NULL;
        }
    }
    return plain;
}

/* ---- views ---- */

json_t *compute_plain_view(struct api_req *req, const struct resource *resource, const json_t *row)
{
    json_t *view = resource_view(resource, row, req->auth.admin);

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        if (!is_there(req, field))
            json_object_del(view, api_name(field));
        else if (field->fallback && !json_object_get(row, field->name) &&
                 json_object_get(view, api_name(field))) /* the row is older than the field */
            json_object_set_new(view, api_name(field),
                                json_loads(field->fallback, JSON_DECODE_ANY, NULL));
    }
    return view;
}

/* ---- filters ---- */

void compute_filter_init(struct compute_filter *filter)
{
    buf_init(&filter->sql, 65536);
    filter->params = json_array();
}

void compute_filter_free(struct compute_filter *filter)
{
    buf_free(&filter->sql);
    json_decref(filter->params);
}

void compute_filter_add(struct compute_filter *filter, const char *condition, json_t *value)
{
    buf_printf(&filter->sql, "%s%s", filter->sql.len ? " AND " : "WHERE ", condition);
    if (value)
        json_array_append_new(filter->params, value);
}

struct arguments {
    struct api_req *req;
    const struct resource *resource;
    const struct compute_alias *aliases;
    const char *const *others;
    json_t *wanted; /* column -> [value, ...] */
    size_t count;
    char bad[160];
};

/* The field that lists can be filtered and sorted by under that name: one with a column that the
 * requester is shown. */
static const struct field *column_of(const struct api_req *req, const struct resource *resource,
                                     const char *name)
{
    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        bool named = strcmp(field->name, name) == 0 || strcmp(api_name(field), name) == 0;

        if (!named || field->flags & (FIELD_INTERNAL | FIELD_FORMED) || !is_there(req, field) ||
            (field->flags & FIELD_ADMIN && !req->auth.admin))
            continue;
        return field->flags & FIELD_INDEX || strcmp(field->name, "id") == 0 ? field : NULL;
    }
    return NULL;
}

static const struct compute_alias *alias_of(const struct api_req *req,
                                            const struct compute_alias *aliases, const char *name)
{
    for (; aliases && aliases->name; aliases++) {
        if (strcmp(aliases->name, name) == 0 && (req->auth.admin || !aliases->admin))
            return aliases;
    }
    return NULL;
}

/* As the column holds the value; NULL: it is none of the field's type. */
static json_t *value_of(const struct field *field, const char *text)
{
    char *end;
    long long number = strtoll(text, &end, 10);

    if (field && field->type == FIELD_INT)
        return *end || end == text ? NULL : json_integer(number);
    if (!field || field->type != FIELD_BOOL)
        return json_string(text);
    if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0)
        return json_integer(1);
    return !text[0] || strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0 ? json_integer(0)
                                                                                : NULL;
}

static void take_argument(void *arg, const char *name, const char *text)
{
    struct arguments *arguments = arg;
    const struct compute_alias *alias = alias_of(arguments->req, arguments->aliases, name);
    const struct field *field = alias ? NULL : column_of(arguments->req, arguments->resource, name);
    const char *column = alias ? alias->column : field ? field->name : NULL;
    json_t *values, *value;

    if (!column || arguments->bad[0] || strcmp(text, "None") == 0 ||
        (!alias && is_among(arguments->others, field->name)))
        return;
    value = value_of(field, text);
    if (!value || ++arguments->count > VALUES_MAX) {
        snprintf(arguments->bad, sizeof(arguments->bad), "%.40s. Value: %.60s", name, text);
        json_decref(value);
        return;
    }
    values = json_object_get(arguments->wanted, column);
    if (!values) {
        values = json_array();
        json_object_set_new(arguments->wanted, column, values);
    }
    json_array_append_new(values, value);
}

int compute_filter_fields(struct api_req *req, struct compute_filter *filter,
                          const struct resource *resource, const struct compute_alias *aliases,
                          const char *const *others)
{
    struct arguments arguments = {.req = req,
                                  .resource = resource,
                                  .aliases = aliases,
                                  .others = others,
                                  .wanted = json_object()};
    const char *column;
    json_t *values, *value;
    size_t i;

    http_query_each(req->http, take_argument, &arguments);
    json_object_foreach(arguments.wanted, column, values)
    {
        compute_filter_add(filter, column, NULL);
        buf_str(&filter->sql, " IN (");
        json_array_foreach(values, i, value)
        {
            buf_str(&filter->sql, i ? ",?" : "?");
            json_array_append(filter->params, value);
        }
        buf_str(&filter->sql, ")");
    }
    json_decref(arguments.wanted);
    if (arguments.bad[0])
        return compute_bad(req, "Invalid input for query parameters %s", arguments.bad);
    return 0;
}

void compute_filter_order(struct api_req *req, struct compute_filter *filter,
                          const struct resource *resource, const struct compute_alias *aliases)
{
    const char *key = api_query(req, "sort_key"), *dir = api_query(req, "sort_dir");
    const struct compute_alias *alias = key ? alias_of(req, aliases, key) : NULL;
    const struct field *field = key && !alias ? column_of(req, resource, key) : NULL;
    const char *column = alias ? alias->column : field ? field->name : "created_at";
    const char *down = dir && strcmp(dir, "asc") == 0 ? "" : " DESC";

    buf_printf(&filter->sql, " ORDER BY IFNULL(%s, '')%s, id%s", column, down, down);
}
