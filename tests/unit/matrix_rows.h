/* The rows that test_api_matrix.c asks about: one of each collection, made by its own route as
 * alice (where that takes an administrator, as the administrator) when it is needed, and made anew
 * after it was changed. A collection that nothing can be made of has the first row of its list. */
#ifndef VLING_TESTS_MATRIX_ROWS_H
#define VLING_TESTS_MATRIX_ROWS_H

#include "matrix_bodies.h"

#include <sys/mman.h>

#define ROWS_MAX 64

static const struct api_service_ops *const services[] = {&api_identity, &api_compute, &api_network,
                                                         &api_image};

/* ---- asking ---- */

static CURL *matrix_client;
static char subject[2000]; /* a token of alice's to show or revoke; "": it is void */
static size_t asked_count;

static void ask_as(const struct person *who, const struct api_service_ops *service,
                   const struct api_route *route, const char *method, const char *path,
                   const char *body)
{
    struct curl_slist *headers = NULL;
    char line[2200];

    snprintf(line, sizeof(line), "Content-Type: %s",
             route->flags & API_STREAM ? "application/octet-stream"
             : strcmp(route->method, "PATCH") == 0 && service->service == API_IMAGE
                 ? "application/openstack-images-v2.1-json-patch"
                 : "application/json");
    headers = curl_slist_append(headers, line);
    headers = curl_slist_append(headers, "X-OpenStack-Nova-API-Version: latest");
    if (who) {
        snprintf(line, sizeof(line), "X-Auth-Token: %s", who->token);
        headers = curl_slist_append(headers, line);
    }
    if (strcmp(route->path, "/v3/auth/tokens") == 0) {
        snprintf(line, sizeof(line), "X-Subject-Token: %s", subject);
        headers = curl_slist_append(headers, line);
    }
    asked_count++;
    perform_by(matrix_client, headers, &answer, service->service, method, path, body);
    curl_slist_free_all(headers);
}

static const struct person *owner_of(const struct api_route *route)
{
    return route->flags & API_ADMIN ? &admin : &alice;
}

/* ---- what is there all the time ---- */

static struct {
    char network[64], subnet[64], external[64], external_subnet[64], group[64];
} fixed;

static const char *fixed_named(const char *name)
{
    const struct {
        const char *name, *id;
    } all[] = {{"network", fixed.network},     {"subnet", fixed.subnet},
               {"external", fixed.external},   {"group", fixed.group},
               {"own-project", alice.project}, {"other-project", admin.project}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].name, name) == 0)
            return all[i].id;
    }
    return NULL;
}

/* Parameters after these parts of a path are no rows of their own. */
static const char *fixed_at(const struct api_route *route, const char *part)
{
    static const struct {
        const char *start, *part, *id;
    } all[] = {{"/v3/users/{", "users", alice.user},
               {"/v3/projects/{id}", "projects", alice.project},
               {"/v2.1/os-quota-sets/", "os-quota-sets", alice.project},
               {"/v2.1/os-quota-class-sets/", "os-quota-class-sets", "default"},
               {"/v2.1/os-simple-tenant-usage/", "os-simple-tenant-usage", alice.project},
               {"/v2.1/os-security-groups/", "os-security-groups", fixed.group},
               {"/v2.1/os-hypervisors/{id}/search", "os-hypervisors", "h"}, /* a part of a name */
               {"/v2.1/servers/{id}/ips/", "ips", "inside"},
               {"/v2.0/quotas/", "quotas", alice.project}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        /* Whoever changes or deletes people and projects gets ones of their own. */
        bool person = i < 2 && !strstr(route->path, "application_credentials") &&
                      (strcmp(route->method, "GET") != 0 || strstr(route->path, "/tags"));

        if (!person && strncmp(route->path, all[i].start, strlen(all[i].start)) == 0 &&
            strcmp(all[i].part, part) == 0)
            return all[i].id;
    }
    return NULL;
}

/* ---- rows ---- */

static struct row {
    const struct api_service_ops *service;
    char part[64], parent[64]; /* collection; that of the row it belongs to, or "" */
    char id[200];              /* "": there is none now */
} rows[ROWS_MAX];
static size_t row_total;

static const char *row_id(const struct api_service_ops *service, const char *part);

#define PARTS_MAX 8

/* The parts of a path whose parameters stand for rows. */
struct parts {
    char name[PARTS_MAX][64];
    size_t count;
};

/* The path with the ids of rows. */
static const char *path_with(const struct api_service_ops *service, const struct api_route *route,
                             struct parts *ret_parts)
{
    static char paths[4][1024];
    static unsigned turn;
    char *path = paths[turn++ % 4], part[64] = "";
    size_t n = 0;

    ret_parts->count = 0;
    for (const char *at = route->path; *at;) {
        const char *end = at + 1 + strcspn(at + 1, "/"), *id = NULL;

        if (at[1] == '{' && strncmp(at, "/{collection}", 13) != 0) {
            id = fixed_at(route, part);
            if (!id) {
                id = row_id(service, part);
                assert_true(ret_parts->count < PARTS_MAX);
                strcpy(ret_parts->name[ret_parts->count++], part);
            }
        } else if (at[1] == '{') {
            strcpy(part, "networks");
        } else {
            snprintf(part, sizeof(part), "%.*s", (int)(end - at - 1), at + 1);
        }
        n += (size_t)snprintf(path + n, sizeof(paths[0]) - n, "/%s", id ? id : part);
        at = end;
    }
    path[n] = '\0';
    return path;
}

static const char *path_of(const struct api_service_ops *service, const struct api_route *route)
{
    struct parts parts;

    return path_with(service, route, &parts);
}

/* Is `path` ".../<part>", or with `one` ".../<part>/{something}"? */
static bool ends_with(const char *path, const char *part, bool one)
{
    const char *end = one ? strrchr(path, '/') : path + strlen(path);
    size_t n = strlen(part);

    return (!one || end[1] == '{') && (size_t)(end - path) > n && end[-1 - (ptrdiff_t)n] == '/' &&
           strncmp(end - n, part, n) == 0;
}

static const struct api_route *route_for(const struct api_service_ops *service, const char *method,
                                         const char *part, bool one)
{
    for (size_t i = 0; i < service->route_count; i++) {
        if (strcmp(service->routes[i].method, method) == 0 &&
            ends_with(service->routes[i].path, part, one))
            return &service->routes[i];
    }
    return NULL;
}

/* The body as text, with ids in place of {names}; to be freed. NULL for none. */
static char *body_text(const json_t *body)
{
    char *text = json_is_null(body) ? NULL : json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    struct buf out;

    if (!text || !strchr(text, '{') || strlen(text) > 60000)
        return text;
    buf_init(&out, 1 << 20);
    for (const char *at = text; *at;) {
        size_t n = *at == '{' ? strcspn(at + 1, "{}\": ") : 0;
        char name[64];
        const char *id = NULL;

        if (n > 0 && n < sizeof(name) && at[n + 1] == '}') {
            snprintf(name, sizeof(name), "%.*s", (int)n, at + 1);
            id = fixed_named(name);
        }
        if (id)
            buf_str(&out, id);
        else
            buf_add(&out, at, 1);
        at += id ? n + 2 : 1;
    }
    free(text);
    text = strdup(buf_text(&out));
    buf_free(&out);
    return text;
}

/* The id in the last answer: of the one thing in it, or of the first one of a list. */
static const char *id_answered(void)
{
    static const char *const names[] = {"id", "alias", "name", "member_id", "request_id"};
    const json_t *thing = answer.body,
                 *inner = json_object_iter_value(json_object_iter(answer.body));

    if (json_is_array(inner))
        thing = json_array_get(inner, 0);
    else if (json_is_object(inner) && !json_str(thing, "id", NULL))
        thing = inner;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *id = json_object_get(thing, names[i]);

        if (json_is_string(id))
            return json_string_value(id);
        if (json_is_integer(id) && !json_object_get(thing, "fingerprint"))
            return fmt("%lld", (long long)json_integer_value(id));
    }
    return "";
}

static void send_good(const struct api_service_ops *service, const struct api_route *route)
{
    json_t *body = good_body(service, route);
    char *sent = body_text(body);

    ask_as(owner_of(route), service, route, route->method, path_of(service, route), sent);
    if (answer.status >= 300)
        fail_msg("%s %s %s: there is no row to ask about: %ld %s", route->method, route->path,
                 sent ? sent : "", answer.status, answer.text ? answer.text : "");
    free(sent);
    json_decref(body);
}

static void find_parent(const struct api_route *route, struct row *row)
{
    const char *end = strrchr(route->path, '{'), *path = route->path;

    row->parent[0] = '\0';
    end = path + strlen(path);
    if (strcmp(part_before(path, &end), row->part) == 0 && end > path && end[-1] == '}')
        snprintf(row->parent, sizeof(row->parent), "%s", part_before(path, &end));
    if (strncmp(path, "/v2.0/{collection}", 18) == 0)
        strcpy(row->parent, "networks");
}

/* Is it a member of a row, with a name, and no row? */
static bool is_key(const char *part)
{
    return strcmp(part, "metadata") == 0 || strcmp(part, "os-extra_specs") == 0;
}

/* By POST to the collection; by PUT of a key; or else what the list has. */
static void make_row(struct row *row)
{
    const struct api_route *post = route_for(row->service, "POST", row->part, false);
    const struct api_route *put = route_for(row->service, "PUT", row->part, true);
    const struct api_route *list = route_for(row->service, "GET", row->part, false);
    bool key = put && (!post || is_key(row->part));

    if (post && !key) {
        find_parent(post, row);
        send_good(row->service, post);
        snprintf(row->id, sizeof(row->id), "%s", id_answered());
    } else if (key) {
        find_parent(put, row);
        strcpy(row->id, KEY);
        send_good(row->service, put);
    } else if (list) {
        ask_as(&admin, row->service, list, "GET", path_of(row->service, list), NULL);
        snprintf(row->id, sizeof(row->id), "%s", id_answered());
    }
    if (!row->id[0])
        fail_msg("%s: there is no row to ask about", row->part);
    if (strcmp(row->part, "servers") == 0) {
        place(row->id, "h1", 1);
        report(row->id, "running");
    }
}

static struct row *row_at(const struct api_service_ops *service, const char *part)
{
    size_t i = 0;

    while (i < row_total && (rows[i].service != service || strcmp(rows[i].part, part) != 0))
        i++;
    assert_true(i < ROWS_MAX);
    if (i == row_total) {
        row_total++;
        rows[i] = (struct row){.service = service};
        snprintf(rows[i].part, sizeof(rows[i].part), "%s", part);
    }
    return &rows[i];
}

static const char *row_id(const struct api_service_ops *service, const char *part)
{
    struct row *row = row_at(service, part);

    if (!row->id[0])
        make_row(row);
    return row->id;
}

/* As their hosts do when servers were deleted: all but one. */
static void forget_servers(const char *but)
{
    wipe("ip", fmt("WHERE port_id IN (SELECT id FROM port WHERE device_owner LIKE 'compute:%%' AND "
                   "device_id <> '%s')",
                   but));
    wipe("port", fmt("WHERE device_owner LIKE 'compute:%%' AND device_id <> '%s'", but));
    wipe("server_state", fmt("WHERE id <> '%s'", but));
    wipe("server", fmt("WHERE id <> '%s'", but));
    asked_count++;
}

static void remove_interface(const char *router)
{
    const struct api_route *route =
        route_for(&api_network, "PUT", "remove_router_interface", false);

    ask_as(&admin, &api_network, route, "PUT",
           fmt("/v2.0/routers/%s/remove_router_interface", router),
           fmt("{\"subnet_id\": \"%s\"}", fixed.subnet));
}

/* Removes a row that `who` made. */
static void remove_row(const struct api_service_ops *service, const char *part, const char *id,
                       const struct person *who)
{
    const struct api_route *gone = route_for(service, "DELETE", part, true);
    struct row *row = row_at(service, part);
    char path[1024], old[200];

    if (!gone || fixed_at(gone, part))
        return;
    if (gone->flags & API_ADMIN)
        who = &admin;
    if (strcmp(part, "routers") == 0)
        remove_interface(id);
    if (strcmp(part, "domains") == 0) /* an enabled one cannot be deleted */
        ask_as(&admin, service, gone, "PATCH", fmt("/v3/domains/%s", id),
               "{\"domain\": {\"enabled\": false}}");
    if (strcmp(part, "images") == 0) {
        json_t *image = row_of("image", id);

        if (json_bool(image, "protected", false)) {
            json_object_set_new(image, "protected", json_false());
            put_row("image", json_incref(image));
        }
        json_decref(image);
    }
    strcpy(old, row->id);
    strcpy(row->id, id);
    snprintf(path, sizeof(path), "%s", path_of(service, gone));
    strcpy(row->id, old);
    ask_as(who, service, gone, "DELETE", path, NULL);
    if (answer.status >= 400 && answer.status != 404)
        print_error("%s %s cannot be removed: %ld %s\n", part, id, answer.status,
                    answer.text ? answer.text : "");
    if (strcmp(part, "servers") == 0)
        forget_servers("");
}

/* The row was changed or is gone: the next one who needs it gets another. */
static void drop_row(const struct api_service_ops *service, const char *part)
{
    struct row *row = row_at(service, part);
    char id[200];

    if (!row->id[0])
        return;
    for (size_t i = 0; i < row_total; i++) {
        if (rows[i].service == service && strcmp(rows[i].parent, part) == 0)
            rows[i].id[0] = '\0';
    }
    snprintf(id, sizeof(id), "%s", row->id);
    if (!route_for(service, "POST", part, false) || is_key(part)) {
        row->id[0] = '\0'; /* it goes with what it belongs to */
        return;
    }
    /* An administrator may remove everything but what is of alice's alone. */
    remove_row(service, part, id,
               strcmp(part, "os-keypairs") == 0 || strcmp(part, "application_credentials") == 0
                   ? &alice
                   : &admin);
    row->id[0] = '\0';
}

#endif
