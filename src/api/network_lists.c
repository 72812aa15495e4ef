/* Lists, the same for all kinds of the network service: of rows, and of what is no row but made out
 * of others (agents, zones, extensions). */
#include "api/network.h"

#include "base/buf.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUERY_MAX                                                                                  \
    (64 * 1024) /* bytes of conditions and of a link: more than a request can have                 \
                 */

/* ---- what a view shows ---- */

/* {member: [wanted text, ...], ...} */
static void take_wanted(void *arg, const char *name, const char *value)
{
    json_t *wanted = json_object_get(arg, name);

    if (strcmp(value, "None") == 0)
        return;
    if (!wanted) {
        wanted = json_array();
        json_object_set_new(arg, name, wanted);
    }
    json_array_append_new(wanted, json_string(value));
}

static bool is_text(const json_t *value, const char *text)
{
    char number[24];

    if (json_is_boolean(value))
        return (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0) ==
               json_boolean_value(value);
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
    if (json_is_integer(value))
        return strcmp(number, text) == 0;
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* A member that the query names has one of the query's values; lists and objects have filters of
 * their own, or none. */
static bool is_wanted(const json_t *view, json_t *wanted)
{
    const char *name;
    json_t *values, *value;
    size_t i;

    json_object_foreach(wanted, name, values)
    {
        const json_t *member = json_object_get(view, name);
        bool found = !member || json_is_array(member) || json_is_object(member);

        json_array_foreach(values, i, value) found |= is_text(member, json_string_value(value));
        if (!found)
            return false;
    }
    return true;
}

/* ---- the query ---- */

/* Neutron's filters by tags: of those that are named the row has ... */
enum tags { TAGS_ALL, TAGS_ANY, TAGS_NOT_ALL, TAGS_NOT_ANY, TAGS_KINDS };

static const char *const tag_filters[TAGS_KINDS] = {"tags", "tags-any", "not-tags", "not-tags-any"};

struct query {
    const struct net_kind *kind;
    json_t *projects, *statuses, *ips, *groups;
    json_t *tags[TAGS_KINDS]; /* names as members */
    json_t *wanted;           /* of members that are no columns */
};

static void query_init(struct query *query, const struct net_kind *kind)
{
    query->kind = kind;
    query->projects = json_array();
    query->statuses = json_array();
    query->ips = json_array();
    query->groups = json_array();
    query->wanted = json_object();
    for (int i = 0; i < TAGS_KINDS; i++)
        query->tags[i] = json_object();
}

static void query_free(struct query *query)
{
    json_decref(query->projects);
    json_decref(query->statuses);
    json_decref(query->ips);
    json_decref(query->groups);
    json_decref(query->wanted);
    for (int i = 0; i < TAGS_KINDS; i++)
        json_decref(query->tags[i]);
}

/* "a,b" */
static void take_tags(json_t *tags, const char *text)
{
    while (*text) {
        size_t size = strcspn(text, ",");

        if (size > 0)
            json_object_setn_new(tags, text, size, json_true());
        text += size;
        text += *text == ',';
    }
}

static bool filters_by(const struct query *query, const char *name)
{
    const struct field *field = resource_field(query->kind->resource, name);

    return field && field->flags & FIELD_FILTER;
}

/* Does the argument say something else than what a member is to be, or is that for SQL? */
static bool is_dealt_with(const struct query *query, const char *name)
{
    static const char *const others[] = {"limit",    "marker",    "page_reverse", "sort_key",
                                         "sort_dir", "tenant_id", "fields",       NULL};
    const struct field *field = resource_field(query->kind->resource, name);

    for (size_t i = 0; others[i]; i++) {
        if (strcmp(others[i], name) == 0)
            return true;
    }
    for (int i = 0; i < TAGS_KINDS; i++) {
        if (strcmp(tag_filters[i], name) == 0)
            return true;
    }
    return field && field->flags & (FIELD_INDEX | FIELD_FILTER);
}

static void take_query(void *arg, const char *name, const char *value)
{
    struct query *query = arg;

    if (!is_dealt_with(query, name))
        take_wanted(query->wanted, name, value);
    for (int i = 0; i < TAGS_KINDS; i++) {
        if (strcmp(name, tag_filters[i]) == 0)
            take_tags(query->tags[i], value);
    }
    if (strcmp(name, "tenant_id") == 0)
        json_array_append_new(query->projects, json_string(value));
    else if (strcmp(name, "status") == 0 && query->kind->status)
        json_array_append_new(query->statuses, json_string(value));
    else if (strcmp(name, "fixed_ips") == 0 && filters_by(query, name))
        json_array_append_new(query->ips, json_string(value));
    else if (strcmp(name, "security_groups") == 0 && filters_by(query, name))
        json_array_append_new(query->groups, json_string(value));
}

/* The query again, for links to other pages. */
static void take_link(void *arg, const char *name, const char *value)
{
    struct buf *link = arg;

    if (strcmp(name, "marker") == 0 || strcmp(name, "page_reverse") == 0)
        return;
    api_url_escape(link, name);
    buf_str(link, "=");
    api_url_escape(link, value);
    buf_str(link, "&");
}

/* ---- conditions ---- */

/* Adds "(?, ...)" for all of them. */
static void add_values(struct buf *where, json_t *params, const json_t *values)
{
    json_t *value;
    size_t i;

    buf_str(where, "(");
    json_array_foreach(values, i, value)
    {
        buf_str(where, i ? ", ?" : "?");
        json_array_append(params, value);
    }
    buf_str(where, ")");
}

static void add_tags(struct buf *where, json_t *params, enum tags kind, const json_t *tags)
{
    bool any = kind == TAGS_ANY || kind == TAGS_NOT_ANY;
    bool not = kind == TAGS_NOT_ALL || kind == TAGS_NOT_ANY;
    json_t *names = json_array(), *value;
    const char *name;

    json_object_foreach((json_t *)tags, name, value)
        json_array_append_new(names, json_string(name));
    if (json_array_size(names) > 0) {
        buf_printf(where,
                   " AND %s (SELECT COUNT(DISTINCT t.value) FROM json_each(body, '$.tags') AS t "
                   "WHERE t.value IN ",
                   not ? "NOT" : "");
        add_values(where, params, names);
        buf_printf(where, ") >= %zu", any ? 1 : json_array_size(names));
    }
    json_decref(names);
}

/* fixed_ips=ip_address=10.0.0.5 and fixed_ips=subnet_id=...: all of them. */
static void add_ips(struct buf *where, json_t *params, const json_t *ips)
{
    json_t *value;
    size_t i;

    json_array_foreach(ips, i, value)
    {
        const char *text = json_string_value(value), *equals = strchr(text, '=');
        bool subnet = strncmp(text, "subnet_id=", 10) == 0;
        bool part = strncmp(text, "ip_address_substr=", 18) == 0;

        if (!equals)
            continue;
        buf_printf(where,
                   " AND EXISTS (SELECT 1 FROM json_each(body, '$.fixed_ips') AS f WHERE "
                   "json_extract(f.value, '$.%s') %s)",
                   subnet ? "subnet_id" : "ip_address", part ? "LIKE '%' || ? || '%'" : "= ?");
        json_array_append_new(params, json_string(equals + 1));
    }
}

static void add_conditions(struct buf *where, json_t *params, const struct query *query)
{
    buf_str(where, "1");
    if (json_array_size(query->projects) > 0) {
        buf_str(where, " AND project_id IN ");
        add_values(where, params, query->projects);
    }
    if (json_array_size(query->groups) > 0) {
        buf_str(where, " AND EXISTS (SELECT 1 FROM json_each(body, '$.security_groups') AS g "
                       "WHERE g.value IN ");
        add_values(where, params, query->groups);
        buf_str(where, ")");
    }
    add_ips(where, params, query->ips);
    for (int i = 0; i < TAGS_KINDS; i++)
        add_tags(where, params, (enum tags)i, query->tags[i]);
}

static bool has_status(struct api_req *req, const json_t *row, const struct query *query)
{
    const char *status = json_array_size(query->statuses) ? query->kind->status(req, row) : "";
    json_t *value;
    size_t i;

    json_array_foreach(query->statuses, i, value)
    {
        if (strcmp(json_string_value(value), status) == 0)
            return true;
    }
    return json_array_size(query->statuses) == 0;
}

/* What SQL cannot tell: what is computed, and what is shown without being a column. */
static bool passes(struct api_req *req, const json_t *row, void *arg)
{
    const struct query *query = arg;
    bool good = has_status(req, row, query);
    json_t *view;

    if (!good || json_object_size(query->wanted) == 0)
        return good;
    view = net_view(req, query->kind, row);
    good = is_wanted(view, query->wanted);
    json_decref(view);
    return good;
}

/* ---- answers ---- */

/* Links to the pages before and after `rows`, with limit, or where the list was cut. */
static json_t *links_of(struct api_req *req, const json_t *rows, bool more)
{
    json_t *links = json_array();
    size_t n = json_array_size(rows);
    struct buf query;

    buf_init(&query, QUERY_MAX);
    if (req->http)
        http_query_each(req->http, take_link, &query);
    if (more && n > 0)
        json_array_append_new(
            links,
            json_pack("{s:s, s:o}", "rel", "next", "href",
                      json_sprintf("%s%s?%smarker=%s", req->base_url, req->path, buf_text(&query),
                                   json_str(json_array_get(rows, n - 1), "id", ""))));
    if (n > 0)
        json_array_append_new(
            links,
            json_pack("{s:s, s:o}", "rel", "previous", "href",
                      json_sprintf("%s%s?%smarker=%s&page_reverse=True", req->base_url, req->path,
                                   buf_text(&query), json_str(json_array_get(rows, 0), "id", ""))));
    if (query.failed) {
        json_decref(links);
        links = NULL;
    }
    buf_free(&query);
    return links;
}

/* Answers with `views` (stolen), which are of `rows`. */
static void reply_views(struct api_req *req, const char *plural, json_t *views, const json_t *rows,
                        bool more)
{
    json_t *reply = json_pack("{s:o}", plural, views), *links = NULL;
    char key[64];

    snprintf(key, sizeof(key), "%s_links", plural);
    if (api_query(req, "limit") || more) {
        links = links_of(req, rows, more);
        json_object_set_new(reply, key, links);
        if (!links) {
            json_decref(reply);
            net_bad(req, "the query is too long");
            return;
        }
    }
    api_reply(req, 200, reply);
}

static void reply_rows(struct api_req *req, const struct net_kind *kind, const json_t *rows,
                       bool more)
{
    json_t *views = json_array(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_t *view = net_view(req, kind, row);

        net_keep_fields(req, view);
        json_array_append_new(views, view);
    }
    reply_views(req, kind->resource->plural, views, rows, more);
}

void net_list(struct api_req *req, const struct net_kind *kind)
{
    struct api_listing listing = {.where = "", .filter_params = json_array()};
    struct query query;
    struct buf filter;
    char seen[200];
    json_t *own = json_pack("[s]", req->auth.project_id), *rows = NULL;
    bool more = false;

    query_init(&query, kind);
    buf_init(&filter, QUERY_MAX);
    if (req->http)
        http_query_each(req->http, take_query, &query);
    snprintf(seen, sizeof(seen), "project_id = ? OR %s",
             kind->seen_by_all ? kind->seen_by_all : "0");
    if (!req->auth.admin) {
        listing.where = seen;
        listing.params = own;
    }
    add_conditions(&filter, listing.filter_params, &query);
    listing.filter = buf_text(&filter);
    if (json_array_size(query.statuses) > 0 || json_object_size(query.wanted) > 0) {
        listing.match = passes;
        listing.arg = &query;
    }
    if (filter.failed)
        net_bad(req, "the query is too long");
    else
        rows = api_list_of(req, kind->resource, &listing, &more);
    if (rows)
        reply_rows(req, kind, rows, more);
    json_decref(rows);
    json_decref(own);
    json_decref(listing.filter_params);
    buf_free(&filter);
    query_free(&query);
}

/* ---- what is no row ---- */

/* The page of `all` that marker and limit name; NULL after an error. */
static json_t *page_of(struct api_req *req, const json_t *all, bool *ret_more)
{
    const char *marker = api_query(req, "marker"), *text = api_query(req, "limit");
    bool back = strcasecmp(api_query(req, "page_reverse") ? api_query(req, "page_reverse") : "",
                           "true") == 0;
    size_t from = 0, to = json_array_size(all), limit = to, i = 0;
    json_t *page;
    char *end = NULL;

    if (text && strtoll(text, &end, 10) > 0)
        limit = (size_t)strtoll(text, NULL, 10);
    if (text && (end == text || *end || text[0] == '-')) {
        net_bad(req, "'limit' must be a number that is not negative");
        return NULL;
    }
    while (marker && i < to && strcmp(json_str(json_array_get(all, i), "id", ""), marker) != 0)
        i++;
    if (marker && i == to) {
        net_bad(req, "the marker could not be found");
        return NULL;
    }
    from = marker && !back ? i + 1 : 0;
    to = marker && back ? i : to;
    *ret_more = to - from > limit;
    if (*ret_more && back)
        from = to - limit;
    page = json_array();
    for (i = from; i < to && i < from + limit; i++)
        json_array_append(page, json_array_get(all, i));
    return page;
}

void net_list_views(struct api_req *req, const char *plural, json_t *views)
{
    json_t *wanted = json_object(), *all = json_array(), *view, *page, *shown;
    bool more = false;
    size_t i;

    if (req->http)
        http_query_each(req->http, take_wanted, wanted);
    json_array_foreach(views, i, view)
    {
        if (is_wanted(view, wanted))
            json_array_append(all, view);
    }
    page = page_of(req, all, &more);
    if (page) {
        shown = json_deep_copy(page);
        json_array_foreach(shown, i, view) net_keep_fields(req, view);
        reply_views(req, plural, shown, page, more);
    }
    json_decref(page);
    json_decref(all);
    json_decref(wanted);
    json_decref(views);
}
