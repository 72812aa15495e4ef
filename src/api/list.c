/* Lists: filters, order and pages in SQL.
 *
 * A page is found by key, not by offset: the rows after the marker's own place in the order. The
 * order always ends with the id, so it is total and no row is shown twice or left out when rows
 * come and go between two pages. */
#include "api/internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SORT_KEYS_MAX 8
#define FILTER_VALUES_MAX 1000
#define SQL_MAX (256 * 1024)
#define LOOK_AT_ONCE 1000 /* rows that a `match` has to look at */

struct query {
    struct api_req *req;
    const struct resource *resource;
    json_t *filters; /* stored field name -> array of values */
    json_t *matches; /* [[condition, value], ...] */
    size_t values;
    struct {
        const char *column;
        bool down;
    } sort[SORT_KEYS_MAX + 1];
    size_t sort_count;
    bool dirs[SORT_KEYS_MAX]; /* sort_dir may stand before its sort_key */
    size_t dir_count;
    char bad[128]; /* what is wrong with the query, or "" */
    struct buf sql;
    json_t *params;
    int64_t limit;
    bool reverse;
};

/* ---- reading the query ---- */

/* The field as far as SQL knows it: the id and what is indexed. */
static const struct field *column_of(const struct resource *resource, const char *api_name)
{
    const struct field *field;

    if (strcmp(api_name, "tenant_id") == 0)
        api_name = "project_id";
    field = resource_field(resource, api_name);
    if (field && !(field->flags & FIELD_INDEX) && strcmp(field->name, "id") != 0)
        return NULL;
    return field;
}

/* What somebody is not shown, they must not find out by a filter or the order either. */
static bool is_hidden(const struct query *query, const struct field *field)
{
    return field->flags & FIELD_INTERNAL || (field->flags & FIELD_ADMIN && !query->req->auth.admin);
}

static bool is_image(const struct query *query)
{
    return query->req->service->service == API_IMAGE;
}

static void add_sort(struct query *query, const char *key, size_t size, bool down)
{
    const struct field *field;
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)size, key);
    field = column_of(query->resource, name);
    if (!field || is_hidden(query, field)) {
        snprintf(query->bad, sizeof(query->bad), "cannot sort by '%.60s'", name);
        return;
    }
    if (query->sort_count == SORT_KEYS_MAX) {
        snprintf(query->bad, sizeof(query->bad), "more than %d sort keys", SORT_KEYS_MAX);
        return;
    }
    query->sort[query->sort_count].column = field->name;
    query->sort[query->sort_count++].down = down;
}

/* Glance's "name:asc,created_at:desc". */
static void add_sort_list(struct query *query, const char *text)
{
    while (*text && !query->bad[0]) {
        size_t size = strcspn(text, ","), key = strcspn(text, ":,");
        bool up = size == key + 4 && strncmp(text + key, ":asc", 4) == 0;
        bool down = size == key || (size == key + 5 && strncmp(text + key, ":desc", 5) == 0);

        if (!up && !down)
            snprintf(query->bad, sizeof(query->bad), "an order is asc or desc");
        else
            add_sort(query, text, key, down);
        text += size;
        text += *text == ',';
    }
}

/* As SQLite's json_extract shows the value. */
static json_t *filter_value(const struct field *field, const char *text)
{
    char *end;
    long long number;

    if (field->type == FIELD_BOOL)
        return json_integer(strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0);
    number = strtoll(text, &end, 10);
    if (field->type == FIELD_INT && end != text && *end == '\0')
        return json_integer(number);
    return json_string(text);
}

static void add_filter(struct query *query, const struct field *field, const char *value)
{
    json_t *values = json_object_get(query->filters, field->name);

    if (!values) {
        values = json_array();
        json_object_set_new(query->filters, field->name, values);
    }
    if (++query->values > FILTER_VALUES_MAX) {
        snprintf(query->bad, sizeof(query->bad), "more than %d filters", FILTER_VALUES_MAX);
        return;
    }
    /* Keystone takes everything for true but these: `enabled` alone, too. */
    if (field->type == FIELD_BOOL && query->req->service->service == API_IDENTITY &&
        strcmp(value, "0") != 0 && strcasecmp(value, "false") != 0 && strcasecmp(value, "no") != 0)
        value = "true";
    json_array_append_new(values, filter_value(field, value));
}

/* Glance's name=in:a,"b,c": any of them. */
static void add_any_of(struct query *query, const struct field *field, const char *text)
{
    char value[4 * RESOURCE_STR_MAX + 1];

    while (!query->bad[0]) {
        bool quoted = *text == '"';
        size_t size = strcspn(text += quoted, quoted ? "\"" : ",");

        snprintf(value, sizeof(value), "%.*s", (int)size, text);
        add_filter(query, field, value);
        text += size;
        if (quoted && *text++ != '"')
            break;
        if (!*text)
            return;
        if (*text++ != ',')
            break;
    }
    snprintf(query->bad, sizeof(query->bad), "in: is followed by values with commas between");
}

/* Glance's created_at=gte:2026-11-22T13:55:39Z. */
static void add_time(struct query *query, const struct field *field, const char *text)
{
    static const struct {
        const char *name, *sql;
    } operators[] = {{"gt:", ">"}, {"gte:", ">="}, {"lt:", "<"}, {"lte:", "<="},
                     {"eq:", "="}, {"neq:", "<>"}, {"", "="}};
    char condition[100], time[32];
    size_t i = 0;
    int64_t ms;

    while (strncmp(text, operators[i].name, strlen(operators[i].name)) != 0)
        i++;
    ms = clock_parse_iso(text + strlen(operators[i].name));
    if (ms < 0 || ++query->values > FILTER_VALUES_MAX) {
        snprintf(query->bad, sizeof(query->bad), "%.40s is no time, as in gte:2026-11-22T13:55:39Z",
                 text);
        return;
    }
    snprintf(condition, sizeof(condition), "\"%s\" %s ?", field->name, operators[i].sql);
    json_array_append_new(query->matches,
                          json_pack("[s, s]", condition, clock_iso(ms, time, sizeof(time))));
}

static void add_image_filter(struct query *query, const struct field *field, const char *value)
{
    if (field->type == FIELD_TIME)
        add_time(query, field, value);
    else if (field->type != FIELD_BOOL && strncmp(value, "in:", 3) == 0)
        add_any_of(query, field, value + 3);
    else if (strcmp(field->name, "visibility") != 0 || strcmp(value, "all") != 0)
        add_filter(query, field, value);
}

/* Keystone's filters on a part of a text: name__contains and so on, with i without regard to case.
 * Each ? is the value. */
static const struct {
    const char *suffix, *condition;
} comparisons[] = {
    {"__contains", "instr(\"%s\", ?) > 0"},
    {"__icontains", "instr(lower(\"%s\"), lower(?)) > 0"},
    {"__startswith", "instr(\"%s\", ?) = 1"},
    {"__istartswith", "instr(lower(\"%s\"), lower(?)) = 1"},
    {"__endswith", "substr(\"%s\", -length(?)) = ?"},
    {"__iendswith", "substr(lower(\"%s\"), -length(?)) = lower(?)"},
};

static void add_match(struct query *query, const char *name, const char *value)
{
    const char *suffix = strstr(name, "__");
    const struct field *field;
    char column[64], condition[200];

    if (!suffix || !value[0] || query->req->service->service != API_IDENTITY)
        return;
    snprintf(column, sizeof(column), "%.*s", (int)(suffix - name), name);
    field = column_of(query->resource, column);
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
        if (!field || field->flags & FIELD_INTERNAL || strcmp(suffix, comparisons[i].suffix) != 0)
            continue;
        snprintf(condition, sizeof(condition), comparisons[i].condition, field->name);
        json_array_append_new(query->matches, json_pack("[s, s]", condition, value));
        if (++query->values > FILTER_VALUES_MAX)
            snprintf(query->bad, sizeof(query->bad), "more than %d filters", FILTER_VALUES_MAX);
    }
}

static void on_argument(void *arg, const char *name, const char *value)
{
    struct query *query = arg;
    const struct field *field;

    if (query->bad[0] || !value || strcmp(value, "None") == 0)
        return;
    if (strcmp(name, "sort_key") == 0) {
        add_sort(query, value, strlen(value), false);
    } else if (strcmp(name, "sort") == 0) {
        add_sort_list(query, value);
    } else if (strcmp(name, "sort_dir") == 0) {
        if (is_image(query) && strcmp(value, "asc") != 0 && strcmp(value, "desc") != 0)
            snprintf(query->bad, sizeof(query->bad), "an order is asc or desc");
        else if (query->dir_count < SORT_KEYS_MAX)
            query->dirs[query->dir_count++] = strcmp(value, "desc") == 0;
    } else if (strcmp(name, "page_reverse") == 0) {
        query->reverse = strcasecmp(value, "true") == 0;
    } else {
        field = column_of(query->resource, name);
        if (field && !is_hidden(query, field) && is_image(query))
            add_image_filter(query, field, value);
        else if (field && !is_hidden(query, field))
            add_filter(query, field, value);
        else if (!field)
            add_match(query, name, value);
    }
}

static void read_limit(struct query *query)
{
    const char *text = api_query(query->req, "limit");
    int64_t most = is_image(query) ? API_PAGE_MAX : API_LIST_MAX;
    char *end;

    query->limit = most;
    if (!text)
        return;
    query->limit = strtoll(text, &end, 10);
    if (*end || end == text || query->limit < 0)
        snprintf(query->bad, sizeof(query->bad), "'limit' must be a number that is not negative");
    else if (query->limit == 0 || query->limit > most)
        query->limit = most;
}

static void settle_order(struct query *query)
{
    const struct field *created = column_of(query->resource, "created_at");

    if (query->sort_count == 0 && created) {
        query->sort[query->sort_count].column = created->name;
        query->sort[query->sort_count++].down = query->dir_count == 0 || query->dirs[0];
    }
    /* Glance: downwards if nothing is said, and what is said once is said of all keys. */
    if (is_image(query) && api_query(query->req, "sort_key") && query->dir_count < 2) {
        for (size_t i = 0; i < query->sort_count; i++)
            query->sort[i].down = query->dir_count == 0 || query->dirs[0];
    }
    for (size_t i = 0; i < query->sort_count && i < query->dir_count; i++)
        query->sort[i].down = query->dirs[i];
    query->sort[query->sort_count].down = query->sort_count > 0 && query->sort[0].down;
    query->sort[query->sort_count++].column = "id";
    for (size_t i = 0; query->reverse && i < query->sort_count; i++)
        query->sort[i].down = !query->sort[i].down;
}

/* ---- writing the SQL ---- */

static void next_condition(struct query *query)
{
    buf_str(&query->sql, query->sql.len ? " AND " : "WHERE ");
}

static void put_filters(struct query *query)
{
    const char *column;
    json_t *values, *value;
    size_t i;

    json_object_foreach(query->filters, column, values)
    {
        next_condition(query);
        buf_printf(&query->sql, "\"%s\" IN (", column);
        json_array_foreach(values, i, value)
        {
            buf_str(&query->sql, i ? ",?" : "?");
            json_array_append(query->params, value);
        }
        buf_str(&query->sql, ")");
    }
}

static void put_matches(struct query *query)
{
    json_t *match;
    size_t i;

    json_array_foreach(query->matches, i, match)
    {
        const char *condition = json_string_value(json_array_get(match, 0));

        next_condition(query);
        buf_str(&query->sql, condition);
        for (const char *at = condition; (at = strchr(at, '?')); at++)
            json_array_append(query->params, json_array_get(match, 1));
    }
}

/* Nulls have a place in the order too. */
#define PLACE "IFNULL(\"%s\",'')"

static void put_place(struct query *query, const json_t *row, const char *column)
{
    json_t *value = json_object_get(row, column);

    if (json_is_string(value) || json_is_integer(value) || json_is_boolean(value))
        json_array_append(query->params, value);
    else
        json_array_append_new(query->params, json_string(""));
}

/* The rows after `row`: (a > ?) OR (a = ? AND b > ?) OR ... */
static void put_marker(struct query *query, const json_t *row)
{
    next_condition(query);
    buf_str(&query->sql, "(");
    for (size_t i = 0; i < query->sort_count; i++) {
        buf_str(&query->sql, i ? " OR (" : "(");
        for (size_t j = 0; j < i; j++) {
            buf_printf(&query->sql, PLACE " = ? AND ", query->sort[j].column);
            put_place(query, row, query->sort[j].column);
        }
        buf_printf(&query->sql, PLACE " %s ?)", query->sort[i].column,
                   query->sort[i].down ? "<" : ">");
        put_place(query, row, query->sort[i].column);
    }
    buf_str(&query->sql, ")");
}

static void put_order(struct query *query)
{
    for (size_t i = 0; i < query->sort_count; i++)
        buf_printf(&query->sql, "%s" PLACE "%s", i ? ", " : " ORDER BY ", query->sort[i].column,
                   query->sort[i].down ? " DESC" : "");
}

/* Whose rows the list is of, without what is asked for. */
static void put_scope(struct query *query, const struct api_listing *listing)
{
    if (listing->where && listing->where[0]) {
        next_condition(query);
        buf_printf(&query->sql, "(%s)", listing->where);
        if (listing->params)
            json_array_extend(query->params, (json_t *)listing->params);
    } else if (!listing->where && !query->req->auth.admin &&
               column_of(query->resource, "project_id")) {
        next_condition(query);
        buf_str(&query->sql, "project_id = ?");
        json_array_append_new(query->params, json_string(query->req->auth.project_id));
    }
}

/* ---- running it ---- */

/* A query with its own text and parameters, which begin as those of `query`. */
static struct query continued(const struct query *query)
{
    struct query more = *query;

    buf_init(&more.sql, SQL_MAX);
    buf_str(&more.sql, buf_text(&query->sql));
    more.sql.failed |= query->sql.failed;
    more.params = json_copy(query->params);
    return more;
}

/* NULL if the text is too long. */
static json_t *finish(struct query *query)
{
    json_t *rows = query->sql.failed
                       ? NULL
                       : mirror_select_shared_json(query->req->db, query->resource->table,
                                                   buf_text(&query->sql), query->params);

    buf_free(&query->sql);
    json_decref(query->params);
    return rows;
}

/* The marker is one of the list's own rows: what somebody is not shown, they must not find out by
 * its place in the order either. `query` has the scope and nothing else yet. */
static json_t *find_marker(const struct query *query, const char *id)
{
    struct query one = continued(query);
    json_t *rows, *row;

    next_condition(&one);
    buf_str(&one.sql, "id = ?");
    json_array_append_new(one.params, json_string(id));
    rows = finish(&one);
    row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return row;
}

/* Up to `count` rows after `from` (NULL: the first ones). */
static json_t *rows_after(const struct query *query, const json_t *from, int64_t count)
{
    struct query page = continued(query);

    if (from)
        put_marker(&page, from);
    put_order(&page);
    buf_printf(&page.sql, " LIMIT %lld", (long long)count);
    return finish(&page);
}

/* Those of `rows` that belong to the list, until there are enough of them. */
static void take_rows(const struct query *query, const struct api_listing *listing,
                      const json_t *rows, json_t *taken)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if ((int64_t)json_array_size(taken) <= query->limit &&
            (!listing->match || listing->match(query->req, row, listing->arg)))
            json_array_append(taken, row);
    }
}

static void reverse_rows(json_t *rows)
{
    size_t n = json_array_size(rows);

    for (size_t i = 0; i < n / 2; i++) {
        json_t *first = json_incref(json_array_get(rows, i));

        json_array_set(rows, i, json_array_get(rows, n - 1 - i));
        json_array_set_new(rows, n - 1 - i, first);
    }
}

/* One row more than the limit, if there are as many. What `match` does not want leaves no gap in
 * the page: the next rows take its place. */
static json_t *select_rows(const struct query *query, const struct api_listing *listing,
                           json_t *marker)
{
    int64_t count = listing->match ? LOOK_AT_ONCE : query->limit + 1;
    json_t *taken = json_array(), *rows, *from = json_incref(marker);
    bool end = false;

    while (!end && (int64_t)json_array_size(taken) <= query->limit) {
        rows = rows_after(query, from, count);
        if (!rows) {
            json_decref(taken);
            taken = NULL;
            break;
        }
        take_rows(query, listing, rows, taken);
        end = (int64_t)json_array_size(rows) < count;
        json_decref(from);
        from = json_incref(json_array_get(rows, json_array_size(rows) - 1));
        json_decref(rows);
    }
    json_decref(from);
    return taken;
}

static json_t *run(struct query *query, const struct api_listing *listing, bool *ret_more)
{
    const char *id = api_query(query->req, "marker");
    json_t *marker = NULL, *rows = NULL;
    bool more;

    put_scope(query, listing);
    if (id && id[0]) {
        marker = find_marker(query, id);
        if (!marker)
            snprintf(query->bad, sizeof(query->bad), "marker '%.80s' could not be found", id);
    }
    if (listing->filter) {
        next_condition(query);
        buf_printf(&query->sql, "(%s)", listing->filter);
        json_array_extend(query->params, listing->filter_params);
    }
    put_filters(query);
    put_matches(query);
    if (!query->bad[0])
        rows = select_rows(query, listing, marker);
    json_decref(marker);
    more = (int64_t)json_array_size(rows) > query->limit;
    if (more)
        json_array_remove(rows, json_array_size(rows) - 1);
    if (query->reverse)
        reverse_rows(rows);
    if (ret_more)
        *ret_more = more;
    return rows;
}

json_t *api_list_of(struct api_req *req, const struct resource *resource,
                    const struct api_listing *listing, bool *ret_more)
{
    struct query query = {.req = req, .resource = resource};
    json_t *rows = NULL;

    buf_init(&query.sql, SQL_MAX);
    query.filters = json_object();
    query.matches = json_array();
    query.params = json_array();
    http_query_each(req->http, on_argument, &query);
    read_limit(&query);
    settle_order(&query);
    if (!query.bad[0])
        rows = run(&query, listing, ret_more);
    if (!rows)
        api_fail(req, 400, "HTTPBadRequest", "Invalid query: %s.",
                 query.bad[0] ? query.bad : "too long");
    buf_free(&query.sql);
    json_decref(query.filters);
    json_decref(query.matches);
    json_decref(query.params);
    return rows;
}

json_t *api_list(struct api_req *req, const struct resource *resource, const char *where,
                 const json_t *params, bool *ret_more)
{
    const struct api_listing listing = {.where = where, .params = params};

    return api_list_of(req, resource, &listing, ret_more);
}
