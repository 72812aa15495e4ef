/* Bodies for test_api_matrix.c: good ones and wrong ones, out of the fields of a resource's table.
 * What a resource cannot tell (actions, metadata, logins) has a good body in `special`, and the
 * wrong ones are made of it by taking members away and putting other values in their place.
 *
 * A body may hold {collection} for the id of a row of that collection, see matrix_rows.h. */
#ifndef VLING_TESTS_MATRIX_BODIES_H
#define VLING_TESTS_MATRIX_BODIES_H

#include "cloud_servers.h"

#define KEY "key1" /* of metadata, extra specs, tags */
#define NOBODYS_ID "00000000-0000-4000-8000-000000000000"

enum body_kind {
    BODY_GOOD,
    BODY_BAD, /* by the table: whoever may call the route gets 400 */
    BODY_ANY, /* strange: any documented answer, but no success for who may not */
};

static const struct {
    const char *method, *path, *body;
} special[] = {
    {"POST", "/v3/auth/tokens",
     "{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": {\"user\": {\"name\": "
     "\"alice\", \"domain\": {\"id\": \"default\"}, \"password\": \"secret\"}}}, \"scope\": "
     "{\"project\": {\"name\": \"red\", \"domain\": {\"id\": \"default\"}}}}}"},
    {"POST", "/v3/users/{id}/password",
     "{\"user\": {\"original_password\": \"secret\", \"password\": \"other\"}}"},
    {"POST", "/v2.1/servers",
     "{\"server\": {\"name\": \"matrix\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\", "
     "\"networks\": [{\"uuid\": \"{network}\"}], \"metadata\": {\"a\": \"b\"}, "
     "\"security_groups\": [{\"name\": \"default\"}], \"user_data\": \"IyEvYmluL3NoCg==\", "
     "\"config_drive\": true, \"min_count\": 1, \"max_count\": 1}}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"lock\": null}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"os-stop\": null}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"os-start\": null}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"pause\": null}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"reboot\": {\"type\": \"HARD\"}}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"addSecurityGroup\": {\"name\": \"default\"}}"},
    {"POST", "/v2.1/servers/{id}/action", "{\"os-getConsoleOutput\": {\"length\": 3}}"},
    {"PUT", "/v2.1/servers/{id}/metadata", "{\"metadata\": {\"" KEY "\": \"value\"}}"},
    {"POST", "/v2.1/servers/{id}/metadata", "{\"metadata\": {\"" KEY "\": \"value\"}}"},
    {"PUT", "/v2.1/servers/{id}/metadata/{key}", "{\"meta\": {\"" KEY "\": \"value\"}}"},
    {"POST", "/v2.1/os-server-groups",
     "{\"server_group\": {\"name\": \"matrix\", \"policies\": [\"affinity\"]}}"},
    {"POST", "/v2.1/flavors/{id}/os-extra_specs", "{\"extra_specs\": {\"" KEY "\": \"value\"}}"},
    {"PUT", "/v2.1/flavors/{id}/os-extra_specs/{key}", "{\"" KEY "\": \"value\"}"},
    {"POST", "/v2.1/flavors/{id}/action",
     "{\"addTenantAccess\": {\"tenant\": \"{other-project}\"}}"},
    {"POST", "/v2.1/flavors/{id}/action",
     "{\"removeTenantAccess\": {\"tenant\": \"{own-project}\"}}"},
    {"PUT", "/v2.1/os-services/enable", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}"},
    {"PUT", "/v2.1/os-services/disable", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}"},
    {"PUT", "/v2.1/os-services/disable-log-reason",
     "{\"host\": \"h1\", \"binary\": \"nova-compute\", \"disabled_reason\": \"new disks\"}"},
    {"PUT", "/v2.1/os-quota-class-sets/{id}", "{\"quota_class_set\": {\"cores\": 100000}}"},
    {"PUT", "/v2.0/routers/{id}/add_router_interface", "{\"subnet_id\": \"{subnet}\"}"},
    {"PUT", "/v2.0/routers/{id}/remove_router_interface", "{\"subnet_id\": \"{subnet}\"}"},
    {"PUT", "/v2.0/routers/{id}/add_extraroutes", "{\"router\": {\"routes\": []}}"},
    {"PUT", "/v2.0/routers/{id}/remove_extraroutes",
     "{\"router\": {\"routes\": [{\"destination\": \"10.9.0.0/16\", \"nexthop\": "
     "\"10.0.0.9\"}]}}"},
    {"PUT", "/v3/projects/{id}/tags", "{\"tags\": [\"a\", \"b\"]}"},
    {"PUT", "/v2.0/{collection}/{id}/tags", "{\"tags\": [\"a\", \"b\"]}"},
    {"PUT", "/v2/images/{id}/file", "\"bytes\""},
    {"POST", "/v2/images/{id}/members", "{\"member\": \"{other-project}\"}"},
    /* What these do is said by the path. */
    {"PUT", "/v3/projects/{project}/users/{user}/roles/{role}", NULL},
    {"PUT", "/v3/domains/{domain}/users/{user}/roles/{role}", NULL},
    {"PUT", "/v3/system/users/{user}/roles/{role}", NULL},
    {"PUT", "/v3/projects/{id}/tags/{tag}", NULL},
    {"PUT", "/v2/images/{id}/tags/{tag}", NULL},
    {"POST", "/v2/images/{id}/actions/deactivate", NULL},
    {"POST", "/v2/images/{id}/actions/reactivate", NULL},
    {"PUT", "/v2.0/{collection}/{id}/tags/{tag}", NULL},
};

#define SPECIALS (sizeof(special) / sizeof(special[0]))

/* What a good body has beside the required fields, as JSON; see value_from(). */
static const struct {
    const char *table, *member, *value;
} besides[] = {
    {"subnet", "cidr", "\"10.#.#.0/24\""},
    {"subnet", "ip_version", "4"},
    {"domain", "enabled", "false"}, /* else it could not be deleted */
    {"user", "password", "\"secret\""},
    {"security_group_rule", "remote_ip_prefix", "\"10.#.#.0/24\""},
    {"security_group_rule", "protocol", "\"tcp\""},
    {"image", "disk_format", "\"raw\""},
    {"image", "container_format", "\"bare\""},
};

/* Rows that fields of these names refer to. */
static const struct {
    const char *field, *value;
} references[] = {
    {"network_id", "{network}"},
    {"security_group_id", "{group}"},
    {"floating_network_id", "{external}"},
    {"domain_id", "default"},
    {"default_project_id", "{other-project}"},
    {"owner", "{own-project}"},
};

/* What is not as strict as the table; without a text: whatever the value. Besides, null may mean
 * "not given" in a body for creation, and everywhere in the network service's. */
static const struct {
    const char *table, *field, *value, *reason;
} lenient[] = {
    {"server", "metadata", NULL, "is changed by its own routes; here it is ignored"},
    {"flavor", "id", "7", "numbers are taken for their text"},
    {"flavor", "id", "-7", "numbers are taken for their text"},
    {"flavor", "id", "9223372036854775807", "numbers are taken for their text"},
    {"flavor", "disk", "\"\"", "clients send no swap as an empty text"},
    {"flavor", "ephemeral", "\"\"", "clients send no swap as an empty text"},
    {"flavor", "swap", "\"\"", "clients send no swap as an empty text"},
    {"flavor", "description", NULL, "is taken from a later microversion on and ignored before"},
    {"security_group_rule", "protocol", "7", "numbers are taken for their text, as Neutron does"},
};

/* Application credentials name no service, because they have no page of their own. */
static const char *service_of(const struct resource *resource)
{
    return resource->service ? resource->service : "identity";
}

static bool is_lenient(const struct resource *resource, const struct field *field,
                       const json_t *value, unsigned flag)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    bool found = json_is_null(value) &&
                 (flag == FIELD_CREATE || strcmp(service_of(resource), "network") == 0);

    for (size_t i = 0; i < sizeof(lenient) / sizeof(lenient[0]) && !found; i++)
        found = strcmp(lenient[i].table, resource->table) == 0 &&
                strcmp(lenient[i].field, field->name) == 0 &&
                (!lenient[i].value || strcmp(lenient[i].value, text) == 0);
    free(text);
    return found;
}

static unsigned body_serial;

/* ---- values ---- */

/* Two # are one number of its own in two parts. Always as long, so that memory can be compared. */
static json_t *value_from(const char *text)
{
    char made[100];
    size_t n = 0;
    unsigned number = body_serial++ % 10000;

    for (; *text; text++) {
        if (*text == '#') {
            n += (size_t)snprintf(made + n, sizeof(made) - n, "%u", 100 + number % 100);
            number /= 100;
        } else {
            made[n++] = *text;
        }
        assert_true(n < sizeof(made) - 1);
    }
    made[n] = '\0';
    return json_loads(made, JSON_DECODE_ANY, NULL);
}

static json_t *good_value(const struct field *field, enum field_type type)
{
    for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++) {
        if (strcmp(references[i].field, field->name) == 0)
            return json_string(references[i].value);
    }
    if (field->choices)
        return json_string(field->choices[0]);
    switch (type) {
    case FIELD_STR:
        return json_sprintf("matrix-%08u", body_serial++);
    case FIELD_ID:
        return json_string(NOBODYS_ID);
    case FIELD_INT:
        return json_integer(field->max ? field->max : field->min ? field->min : 1);
    case FIELD_BOOL:
        return json_true();
    case FIELD_TIME:
        return json_string("2126-11-22T13:55:39Z");
    case FIELD_IP:
        return json_string("10.0.0.77");
    case FIELD_CIDR:
        return value_from("\"10.#.#.0/24\"");
    case FIELD_MAC:
        return value_from("\"fa:16:3e:00:00:77\"");
    case FIELD_LIST:
        return json_array();
    case FIELD_OBJECT:
        return json_object();
    default:
        return json_integer(1);
    }
}

static const char *const wrong_texts[] = {"null", "true",        "7",
                                          "-7",   "\"\"",        "\"no \\u00e9 such\"",
                                          "[7]",  "{\"a\": {}}", "9223372036854775807"};

/* A list of n values like `one` (stolen), or an object of so many members. */
static json_t *many(const struct field *field, int64_t n, json_t *one)
{
    json_t *all = field->type == FIELD_LIST ? json_array() : json_object();
    char key[16];

    for (int64_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "k%lld", (long long)i);
        if (field->type == FIELD_LIST)
            json_array_append(all, one);
        else
            json_object_set(all, key, one);
    }
    json_decref(one);
    return all;
}

static json_t *long_text(int64_t n)
{
    char *text = malloc((size_t)n + 1);
    json_t *value;

    memset(text, 'x', (size_t)n);
    text[n] = '\0';
    value = json_string(text);
    free(text);
    return value;
}

/* Values beyond the field's bounds, and one step within the wrong type's. */
static json_t *wrong_values(const struct field *field)
{
    int64_t elements = field->max ? field->max : RESOURCE_ELEMENTS_MAX;
    json_t *values = json_array();

    for (size_t i = 0; i < sizeof(wrong_texts) / sizeof(wrong_texts[0]); i++)
        json_array_append_new(values, json_loads(wrong_texts[i], JSON_DECODE_ANY, NULL));
    if (field->type == FIELD_STR || field->type == FIELD_ID)
        json_array_append_new(values, long_text((field->max ? field->max : RESOURCE_STR_MAX) + 1));
    if (field->type == FIELD_INT && field->max)
        json_array_append_new(values, json_integer(field->max + 1));
    if (field->type == FIELD_INT && (field->min || field->max))
        json_array_append_new(values, json_integer(field->min - 1));
    if (field->type == FIELD_INT)
        json_array_append_new(values, json_string("9223372036854775808"));
    if (field->type == FIELD_LIST)
        json_array_append_new(values, many(field, elements + 1, good_value(field, field->of)));
    if (field->type == FIELD_OBJECT)
        json_array_append_new(values, many(field, elements + 1, json_string("")));
    if (field->type == FIELD_IP)
        json_array_append_new(values, json_string("10.0.0.256"));
    if (field->type == FIELD_CIDR)
        json_array_append_new(values, json_string("10.0.0.0/33"));
    return values;
}

/* ---- bodies of a resource ---- */

static void add_body(json_t *list, enum body_kind kind, const char *what, const char *name,
                     json_t *body)
{
    json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "kind", (int)kind, "what",
                                          json_sprintf("%s%s", what, name), "body", body));
}

enum which { FIRST, ALL };

static json_t *good_members(const struct resource *resource, unsigned flag, enum which updates)
{
    json_t *members = json_object();

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        if (flag == FIELD_CREATE ? field->flags & FIELD_REQUIRED : field->flags & FIELD_UPDATE) {
            json_object_set_new(members, field->json ? field->json : field->name,
                                good_value(field, field->type));
            if (flag == FIELD_UPDATE && updates == FIRST)
                break;
        }
    }
    for (size_t i = 0; i < sizeof(besides) / sizeof(besides[0]) && flag == FIELD_CREATE; i++) {
        if (strcmp(besides[i].table, resource->table) == 0)
            json_object_set_new(members, besides[i].member, value_from(besides[i].value));
    }
    return members;
}

/* As the service wants it: in an object of the resource's name; Glance's is plain, and to update a
 * patch. Steals `members`. */
static json_t *wrapped(const struct resource *resource, const char *method, json_t *members)
{
    const char *key;
    json_t *value, *patch;

    if (strcmp(service_of(resource), "image") != 0)
        return json_pack("{s:o}", resource->singular, members);
    if (strcmp(method, "PATCH") != 0)
        return members;
    patch = json_array();
    json_object_foreach(members, key, value)
        json_array_append_new(patch, json_pack("{s:s, s:o, s:O}", "op", "replace", "path",
                                               json_sprintf("/%s", key), "value", value));
    json_decref(members);
    return patch;
}

static void add_field(json_t *list, const struct resource *resource, const char *method,
                      const struct field *field, unsigned flag)
{
    const char *name = field->json ? field->json : field->name;
    json_t *values = wrong_values(field), *value, *members;
    struct err err;
    size_t i;

    json_array_foreach(values, i, value)
    {
        bool bad =
            resource_check(field, value, &err) < 0 && !is_lenient(resource, field, value, flag);

        members = flag == FIELD_CREATE ? good_members(resource, flag, FIRST) : json_object();
        json_object_set(members, name, value);
        add_body(list, bad ? BODY_BAD : BODY_ANY, "a strange ", name,
                 wrapped(resource, method, members));
    }
    json_decref(values);
    members = flag == FIELD_CREATE ? good_members(resource, flag, FIRST) : json_object();
    json_object_set_new(members, name, good_value(field, field->type));
    add_body(list, BODY_ANY, "a good ", name, wrapped(resource, method, members));
    if (flag == FIELD_CREATE && field->flags & FIELD_REQUIRED) {
        members = good_members(resource, flag, FIRST);
        json_object_del(members, name);
        add_body(list, BODY_BAD, "without ", name, wrapped(resource, method, members));
    }
}

static void add_resource_bodies(json_t *list, const struct resource *resource, const char *method,
                                unsigned flag, enum which updates)
{
    json_t *members = good_members(resource, flag, updates);

    add_body(list, BODY_GOOD, "good", "", wrapped(resource, method, members));
    for (size_t i = 0; i < resource->field_count; i++) {
        if (resource->fields[i].flags & flag)
            add_field(list, resource, method, &resource->fields[i], flag);
    }
    members = good_members(resource, flag, FIRST);
    json_object_set_new(members, "no_such_member", json_integer(1));
    add_body(list, BODY_ANY, "an unknown member", "", wrapped(resource, method, members));
}

/* ---- bodies out of a good one ---- */

static void add_changed(json_t *list, json_t *root, json_t *node)
{
    json_t *names = json_array(), *name, *old, *strange;
    const char *key;
    size_t i;

    json_object_foreach(node, key, old) json_array_append_new(names, json_string(key));
    json_array_foreach(names, i, name)
    {
        key = json_string_value(name);
        old = json_incref(json_object_get(node, key));
        json_object_del(node, key);
        add_body(list, BODY_ANY, "without ", key, json_deep_copy(root));
        for (size_t k = 0; k < sizeof(wrong_texts) / sizeof(wrong_texts[0]); k++) {
            strange = json_loads(wrong_texts[k], JSON_DECODE_ANY, NULL);
            json_object_set_new(node, key, strange);
            add_body(list, BODY_ANY, "a strange ", key, json_deep_copy(root));
        }
        json_object_set_new(node, key, long_text(70000));
        add_body(list, BODY_ANY, "a long ", key, json_deep_copy(root));
        json_object_set_new(node, key, old);
        if (json_is_object(old))
            add_changed(list, root, old);
        if (json_is_object(json_array_get(old, 0)))
            add_changed(list, root, json_array_get(old, 0));
    }
    json_decref(names);
}

/* ---- of a route ---- */

/* The table of a path's collection ("os-server-groups"), or NULL. */
static const struct resource *resource_of(const struct api_service_ops *service,
                                          const char *collection)
{
    char plural[64];

    snprintf(plural, sizeof(plural), "%s",
             strncmp(collection, "os-", 3) == 0 ? collection + 3 : collection);
    for (char *at = plural; *at; at++)
        *at = *at == '-' ? '_' : *at;
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *resource = resource_all[i];

        if (strcmp(service_of(resource), service->type) == 0 &&
            strcmp(resource->plural, plural) == 0)
            return resource;
    }
    return NULL;
}

/* The literal part of the path that ends before `end`, or after which a parameter stands that does;
 * moves `end` before it. "" for none. */
static const char *part_before(const char *path, const char **end)
{
    static char name[64];
    const char *from;

    do {
        for (from = *end; from > path && from[-1] != '/'; from--)
            ;
        snprintf(name, sizeof(name), "%.*s", (int)(*end - from), from);
        *end = from > path ? from - 1 : path;
    } while (name[0] == '{' && *end > path);
    return name;
}

/* What a route's body is about: the rows of the last part of its path, or, for an action, those of
 * a part before. */
struct subject {
    const struct resource *resource;
    bool action, one; /* one row, not the collection */
};

static struct subject subject_of(const struct api_service_ops *service,
                                 const struct api_route *route)
{
    const char *end = route->path + strlen(route->path);
    struct subject subject = {.one = end[-1] == '}'};

    subject.resource = resource_of(service, part_before(route->path, &end));
    while (!subject.resource && end > route->path) {
        subject.action = true;
        subject.resource = resource_of(service, part_before(route->path, &end));
    }
    return subject;
}

/* Adds the good bodies that `special` has, at most `max`; false if the route is not in it. */
static bool add_special(json_t *list, const struct api_route *route, size_t max)
{
    bool found = false;

    for (size_t i = 0; i < SPECIALS && json_array_size(list) < max; i++) {
        if (strcmp(special[i].method, route->method) != 0 ||
            strcmp(special[i].path, route->path) != 0)
            continue;
        found = true;
        if (special[i].body)
            json_array_append_new(list, json_loads(special[i].body, JSON_DECODE_ANY, NULL));
    }
    return found;
}

static unsigned flag_of(const struct subject *about)
{
    return about->one || about->action ? FIELD_UPDATE : FIELD_CREATE;
}

/* One good body of the route; null: it takes none. */
static json_t *good_body(const struct api_service_ops *service, const struct api_route *route)
{
    struct subject about = subject_of(service, route);
    json_t *list = json_array(), *good;
    bool found = add_special(list, route, 1);

    if (found || !about.resource)
        good = json_incref(json_array_get(list, 0));
    else
        good = wrapped(about.resource, route->method,
                       good_members(about.resource, flag_of(&about), about.action ? ALL : FIRST));
    json_decref(list);
    return good ? good : json_null();
}

static void add_plain(json_t *list, const struct resource *resource)
{
    static const char *const plain[] = {"{}", "[]", "\"text\"", "7", "[{}]"};

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        add_body(list, BODY_ANY, "a body of another form", "",
                 json_loads(plain[i], JSON_DECODE_ANY, NULL));
    if (!resource)
        return;
    add_body(list, BODY_ANY, "nothing in ", resource->singular,
             json_pack("{s:{}}", resource->singular));
    add_body(list, BODY_ANY, "a list in ", resource->singular,
             json_pack("{s:[]}", resource->singular));
}

/* A list has no body, but a query: it is said in the place of what the body is. */
static void add_queries(json_t *list, const struct api_route *route)
{
    static const char *const queries[] = {"?limit=-1",
                                          "?limit=99999999999999999999",
                                          "?limit=many",
                                          "?limit=1",
                                          "?marker=nobody",
                                          "?sort_key=nothing&sort_dir=up",
                                          "?fields=nothing&name=&id=%00",
                                          "?changes-since=never&all_tenants=maybe&is_public=maybe"};

    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        if (strcmp(route->method, "GET") == 0 && !strchr(route->path, '{'))
            add_body(list, BODY_ANY, queries[i], "", json_null());
    }
}

/* Everything that the route is tried with: a list of {kind, what, body}; a body of null is none. */
static json_t *bodies_of(const struct api_service_ops *service, const struct api_route *route)
{
    struct subject about = subject_of(service, route);
    json_t *list = json_array(), *goods = json_array(), *good;
    size_t i;

    if (strcmp(route->method, "GET") == 0 || strcmp(route->method, "DELETE") == 0) {
        json_decref(goods);
        add_body(list, BODY_GOOD, "nothing", "", json_null());
        add_queries(list, route);
        return list;
    }
    if (!add_special(goods, route, SPECIALS) && about.resource)
        add_resource_bodies(list, about.resource, route->method, flag_of(&about),
                            about.action ? ALL : FIRST);
    json_array_foreach(goods, i, good)
    {
        add_body(list, BODY_GOOD, "good", "", json_deep_copy(good));
        add_changed(list, good, good);
    }
    json_decref(goods);
    add_body(list, json_array_size(list) ? BODY_ANY : BODY_GOOD, "nothing", "", json_null());
    add_plain(list, about.resource);
    return list;
}

#endif
