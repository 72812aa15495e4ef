/* Our answers beside recorded ones of the real services, field by field: status, headers, which
 * members there are and of what type. tests/api/golden/recorded.json holds the calls in the order
 * in which they were made; differences.txt beside it lists what may differ, and why: a line is
 *
 *   call (a pattern) <tab> where <tab> missing|extra|type|status|header <tab> reason
 *
 * A difference that is not listed fails, and so does a line that nothing differs by any more.
 * VLING_GOLDEN=print prints all that differs.
 *
 * Lists count as the union of their elements. A null says nothing of a type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

#include <fnmatch.h>

#define NAMES_MAX 16
#define LINES_MAX 400

/* What {name} in a recording stands for. */
static struct {
    char name[32], id[64];
} names[NAMES_MAX];
static size_t name_count;

static struct {
    char text[600];
    const char *call, *where, *kind, *reason;
    size_t used;
} lines[LINES_MAX];
static size_t line_count, unlisted;
static bool print_all;

static void name(const char *key, const char *id)
{
    size_t i = 0;

    while (i < name_count && strcmp(names[i].name, key) != 0)
        i++;
    assert_true(i < NAMES_MAX);
    snprintf(names[i].name, sizeof(names[i].name), "%s", key);
    snprintf(names[i].id, sizeof(names[i].id), "%s", id);
    if (i == name_count)
        name_count++;
}

/* A copy with the names replaced; to be freed. */
static char *named(const char *text)
{
    struct buf b;

    buf_init(&b, 65536);
    while (*text) {
        const char *end = *text == '{' ? strpbrk(text + 1, "{}\" ") : NULL;
        size_t i = 0, n = end && *end == '}' ? (size_t)(end - text - 1) : 0;

        while (n > 0 && i < name_count &&
               (strlen(names[i].name) != n || strncmp(names[i].name, text + 1, n) != 0))
            i++;
        if (n > 0 && i < name_count) {
            buf_str(&b, names[i].id);
            text = end + 1;
        } else {
            buf_add(&b, text++, 1);
        }
    }
    text = strdup(buf_text(&b));
    buf_free(&b);
    return (char *)text;
}

/* ---- differences ---- */

static void read_lines(void)
{
    FILE *file = fopen(VLING_SOURCE "/tests/api/golden/differences.txt", "r");
    char text[600];

    assert_non_null(file);
    while (fgets(text, sizeof(text), file)) {
        char *at = lines[line_count].text;

        if (text[0] == '#' || text[0] == '\n')
            continue;
        assert_true(line_count < LINES_MAX);
        snprintf(at, sizeof(text), "%.*s", (int)strcspn(text, "\n"), text);
        lines[line_count].call = strsep(&at, "\t");
        lines[line_count].where = strsep(&at, "\t");
        lines[line_count].kind = strsep(&at, "\t");
        lines[line_count].reason = at;
        if (!at || strlen(at) < 10)
            fail_msg("differences.txt: a line without a reason: %s", text);
        line_count++;
    }
    fclose(file);
}

static void differs(const char *call, const char *where, const char *kind, const char *detail)
{
    bool listed = false;

    for (size_t i = 0; i < line_count; i++) {
        if (fnmatch(lines[i].call, call, 0) == 0 && fnmatch(lines[i].where, where, 0) == 0 &&
            strcmp(lines[i].kind, kind) == 0) {
            lines[i].used++;
            listed = true;
        }
    }
    unlisted += !listed;
    if (!listed || print_all)
        print_error("%s\t%s\t%s\t%s\n", call, where, kind, detail);
}

/* ---- comparing ---- */

static void compare(const char *call, const char *where, const json_t *recorded, const json_t *our);

/* Adds `more`'s members to `all`: the first value that is not null stays, lists become longer. */
static void add_members(json_t *all, const json_t *more)
{
    const char *key;
    json_t *value, *old;

    json_object_foreach((json_t *)more, key, value)
    {
        old = json_object_get(all, key);
        if (json_is_array(old) && json_is_array(value))
            json_array_extend(old, value);
        else if (json_is_object(old) && json_is_object(value))
            add_members(old, value);
        else if (!old || json_is_null(old))
            json_object_set_new(all, key, json_deep_copy(value));
    }
}

/* One element that stands for all of the list, or of a map's values; NULL: there is none. */
static json_t *united(const json_t *list)
{
    json_t *all = NULL, *value;
    const char *key;
    size_t i;

    json_array_foreach(list, i, value)
    {
        if (!all)
            all = json_deep_copy(value);
        else if (json_is_object(all) && json_is_object(value))
            add_members(all, value);
    }
    json_object_foreach((json_t *)list, key, value)
    {
        if (!all)
            all = json_deep_copy(value);
        else if (json_is_array(all) && json_is_array(value))
            json_array_extend(all, value);
        else if (json_is_object(all) && json_is_object(value))
            add_members(all, value);
    }
    return all;
}

/* Its members are named by what it describes. */
static bool is_map(const char *where)
{
    static const char *const ends[] = {"/addresses", "/hosts", "/hosts/*"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t size = strlen(ends[i]), length = strlen(where);

        if (length >= size && strcmp(where + length - size, ends[i]) == 0)
            return true;
    }
    return false;
}

static void compare_lists(const char *call, const char *where, const json_t *recorded,
                          const json_t *our)
{
    json_t *theirs = united(recorded), *ours = united(our);

    if (theirs && ours)
        compare(call, fmt("%s/*", where), theirs, ours);
    else if (theirs)
        differs(call, fmt("%s/*", where), "missing", "the list is empty");
    json_decref(theirs);
    json_decref(ours);
}

static void compare_objects(const char *call, const char *where, const json_t *recorded,
                            const json_t *our)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)recorded, key, value)
    {
        if (json_object_get(our, key))
            compare(call, fmt("%s/%s", where, key), value, json_object_get(our, key));
        else
            differs(call, fmt("%s/%s", where, key), "missing", "");
    }
    json_object_foreach((json_t *)our, key, value)
    {
        if (!json_object_get(recorded, key))
            differs(call, fmt("%s/%s", where, key), "extra", "");
    }
}

static const char *type_name(const json_t *value)
{
    return json_is_string(value)    ? "string"
           : json_is_number(value)  ? "number"
           : json_is_boolean(value) ? "boolean"
           : json_is_object(value)  ? "object"
           : json_is_array(value)   ? "list"
                                    : "null";
}

static void compare(const char *call, const char *where, const json_t *recorded, const json_t *our)
{
    char place[512];

    snprintf(place, sizeof(place), "%s", where); /* fmt's buffers take turns */
    if (json_is_null(recorded) || json_is_null(our))
        return;
    if (strcmp(type_name(recorded), type_name(our)) != 0)
        differs(call, place, "type", fmt("%s, ours %s", type_name(recorded), type_name(our)));
    else if (json_is_array(recorded) || (json_is_object(recorded) && is_map(place)))
        compare_lists(call, place, recorded, our);
    else if (json_is_object(recorded))
        compare_objects(call, place, recorded, our);
}

static void compare_headers(const char *call, const json_t *recorded)
{
    const json_t *value;
    size_t i;

    json_array_foreach(recorded, i, value)
    {
        if (!strcasestr(answer.names, fmt("%s: ", json_string_value(value))))
            differs(call, json_string_value(value), "header", "is missing");
    }
}

/* ---- making the calls ---- */

static enum api_service service_of(const char *word)
{
    static const char *const words[API_SERVICES] = {
        [API_IDENTITY] = "identity",
        [API_COMPUTE] = "compute",
        [API_NETWORK] = "network",
        [API_IMAGE] = "image",
    };
    int i = 0;

    while (i < API_SERVICES && (!words[i] || strcmp(words[i], word) != 0))
        i++;
    assert_true(i < API_SERVICES);
    return (enum api_service)i;
}

static void keep_names(const json_t *keep_list)
{
    const char *key;
    json_t *where;

    json_object_foreach((json_t *)keep_list, key, where) name(key, text(json_string_value(where)));
    if (json_object_get(keep_list, "server")) {
        place(text("server/id"), "h1", 1);
        report(text("server/id"), "running");
    }
}

/* As its host does when a server was deleted. */
static void forget_server(void)
{
    char *id = named("{server}");

    wipe("ip", fmt("WHERE port_id IN (SELECT id FROM port WHERE device_id = '%s')", id));
    wipe("port", fmt("WHERE device_id = '%s'", id));
    wipe("server_state", fmt("WHERE id = '%s'", id));
    wipe("server", fmt("WHERE id = '%s'", id));
    free(id);
}

static void replay(const json_t *recording)
{
    const char *call = json_str(recording, "name", ""), *version;
    char *line = named(json_str(recording, "call", ""));
    char *path = strchr(line, ' ') + 1, *body = NULL, *dump;
    long status = (long)json_int(recording, "status", 0);

    dump = json_dumps(json_object_get(recording, "request"), JSON_COMPACT);
    if (dump)
        body = named(dump);
    path[-1] = '\0';
    version = json_str(recording, "version", NULL);
    microversion = version;
    perform(&answer, service_of(json_str(recording, "service", "")),
            json_bool(recording, "nobody", false) ? NULL : &admin, line, path, body);
    if (answer.status != status)
        differs(call, "", "status", fmt("%ld, ours %ld %s", status, answer.status, answer.text));
    compare_headers(call, json_object_get(recording, "headers"));
    if (json_object_get(recording, "body") && (answer.status < 300) == (status < 300))
        compare(call, "", json_object_get(recording, "body"), answer.body);
    if (answer.status < 300)
        keep_names(json_object_get(recording, "keep"));
    if (strcmp(call, "compute-servers-delete") == 0)
        forget_server();
    microversion = NULL;
    free(dump);
    free(body);
    free(line);
}

/* What the recorded cloud had before. */
static void prepare(void)
{
    char id[64], sub[64];

    put_image(IMAGE, json_pack("{s:s, s:s}", "name", "cirros-a", "owner", admin.project));
    put_image(NOTHING, NULL);
    put_host("h1", "cab1", "[\"controller\", \"compute\", \"network\"]", "up");
    name("image", IMAGE);
    name("project", admin.project);
    ask_net(&admin, "POST", "/networks",
            "{\"network\": {\"name\": \"public\", \"router:external\": true}}", 201);
    keep("network/id", id);
    name("public", id);
    ask_net(&admin, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"172.24.0.0/24\", \"enable_dhcp\": false}}",
                id),
            201);
    make_network(&admin, "demo-net", "10.9.0.0/24", id, sub);
    name("demo-net", id);
    create(&admin, "other", fmt(", \"networks\": [{\"uuid\": \"%s\"}]", id), sub);
}

static void answers_are_as_recorded(void **state)
{
    json_t *recorded = json_load_file(VLING_SOURCE "/tests/api/golden/recorded.json", 0, NULL);
    const json_t *each;
    size_t i;

    assert_non_null(recorded);
    print_all = getenv("VLING_GOLDEN") && strcmp(getenv("VLING_GOLDEN"), "print") == 0;
    read_lines();
    prepare();
    json_array_foreach(recorded, i, each) replay(each);
    for (i = 0; i < line_count; i++) {
        if (lines[i].used == 0)
            print_error("differences.txt: nothing differs by: %s %s %s\n", lines[i].call,
                        lines[i].where, lines[i].kind);
        unlisted += lines[i].used == 0;
    }
    json_decref(recorded);
    if (unlisted > 0)
        fail_msg("%zu differences: mend the API, or tests/api/golden/differences.txt", unlisted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_as_recorded)};

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
