/* Every route of every service, with every kind of requester and with good and wrong bodies. Routes
 * come from the services' tables, bodies from the tables of resources (matrix_bodies.h), so a new
 * route or field is tested as soon as it is there. What an answer may be is what the reference says
 * (docs/api/): the route's own statuses, or an error of its service's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/known.h"
#include "api/token.h"
#include "base/clock.h"
#include "matrix_rows.h"

#include <malloc.h>
#include <sqlite3.h>

#define SERVICES (sizeof(services) / sizeof(services[0]))
/* Between two rounds, see memory_now(). Up to 8 KiB are what the allocator rounds up, and
 * connections that are not closed yet. A leak of 64 bytes for each rule of a security group that is
 * asked for is 30 KiB. */
#define MEMORY_SLACK (20 * 1024)
/* Some tens of KiB are the mirror's compiled statements: it keeps 64 of them, now larger ones. One
 * that is forgotten takes several KiB each time. */
#define SQLITE_SLACK (256 * 1024)
#define ROUTE_NAME(route) (route)->method, (route)->path

/* ---- requesters ---- */

static struct person liar = {.name = "somebody with a forged token"};
static struct person babbler = {.name = "somebody with a text for a token", .token = "no token"};
static struct person late = {.name = "somebody with an expired token"};
static struct person gone = {.name = "gone", .role = "admin", .project_name = "red"};
static struct person nobody = {.name = "nobody"};

enum rights { NO_TOKEN, STRANGER, READER, MEMBER, ADMIN };

static const struct requester {
    struct person *person;
    enum rights rights;
} requesters[] = {
    {&nobody, NO_TOKEN}, {&liar, NO_TOKEN}, {&babbler, NO_TOKEN},
    {&late, NO_TOKEN},   {&gone, NO_TOKEN}, {&bob, STRANGER},
    {&rita, READER},     {&alice, MEMBER},  {&admin, ADMIN},
};

#define NO_TOKENS 3 /* the first ones */
#define REQUESTERS (sizeof(requesters) / sizeof(requesters[0]))

static void seal_expired(void)
{
    struct token token = {.methods = TOKEN_PASSWORD, .scope_kind = "project"};

    snprintf(token.user_id, sizeof(token.user_id), "%s", admin.user);
    snprintf(token.scope_id, sizeof(token.scope_id), "%s", admin.project);
    token.issued_ms = clock_wall_ms() - 7200000;
    token.expires_ms = clock_wall_ms() - 1000;
    token_audit_id(token.audit_id);
    job_done(token_seal(cloud.mirror, &token, late.token, sizeof(late.token)));
}

static void make_strangers(void)
{
    size_t middle = strlen(admin.token) / 2;

    snprintf(liar.token, sizeof(liar.token), "%s", admin.token);
    liar.token[middle] = liar.token[middle] == 'A' ? 'B' : 'A';
    assert_int_equal(on_loop(seal_expired), 0);
    move_in(&gone);
    ask_service(API_IDENTITY, &admin, "DELETE", fmt("/v3/users/%s", gone.user), NULL, 204);
}

/* ---- the images' bytes: one file in memory ---- */

static int image_file = -1;

static void *image_begin(void *arg, const char *id, struct err *err)
{
    int *fd = malloc(sizeof(*fd));

    *fd = memfd_create("image", MFD_CLOEXEC);
    return fd;
}

static int image_write(void *upload, const void *bytes, size_t size)
{
    return write(*(int *)upload, bytes, size) == (ssize_t)size ? 0 : -EIO;
}

static int image_commit(void *upload, struct err *err)
{
    if (image_file >= 0)
        close(image_file);
    image_file = *(int *)upload;
    free(upload);
    return 0;
}

static void image_abort(void *upload)
{
    close(*(int *)upload);
    free(upload);
}

static int image_open(void *arg, const char *id, int *ret_fd, uint64_t *ret_size, struct err *err)
{
    *ret_fd = dup(image_file);
    *ret_size = (uint64_t)lseek(image_file, 0, SEEK_END);
    return *ret_fd < 0 ? err_set(err, -ENOENT, "cannot open the image", "there is none", NULL) : 0;
}

static int image_remove(void *arg, const char *id)
{
    return 0;
}

/* A host that says how long it has been up (node/admin.c), and that has a console log of every
 * server. */
static void peer_get(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg)
{
    const char *said = strcmp(path, "/v1/uptime") == 0
                           ? "{\"uptime\": \" 17:37:14 up 2 days,  3:04,  1 user,  load average: "
                             "0.10, 0.20, 0.30\"}"
                           : "one\ntwo\n";

    cb(cb_arg, 0, 200, said, strlen(said));
}

/* ---- the cloud ---- */

static int start(void **state)
{
    cloud.peers.get = peer_get;
    cloud.images = (struct api_images){.begin = image_begin,
                                       .write = image_write,
                                       .commit = image_commit,
                                       .abort = image_abort,
                                       .open = image_open,
                                       .remove = image_remove};
    cloud_start(state);
    matrix_client = curl_easy_init();
    make_strangers();
    with_network(state);
    strcpy(fixed.network, net);
    strcpy(fixed.subnet, subnet);
    ask_net(&admin, "POST", "/networks",
            "{\"network\": {\"name\": \"outside\", \"router:external\": true}}", 201);
    keep("network/id", fixed.external);
    ask_net(&admin, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"172.24.0.0/24\"}}",
                fixed.external),
            201);
    keep("subnet/id", fixed.external_subnet);
    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"fixed\"}}", 201);
    keep("security_group/id", fixed.group);
    return 0;
}

static int stop(void **state)
{
    curl_easy_cleanup(matrix_client);
    if (image_file >= 0)
        close(image_file);
    return cloud_stop(state);
}

/* ---- what an answer must look like ---- */

/* One request of the matrix, for messages. */
static struct {
    const struct api_service_ops *service;
    const struct api_route *route;
    const struct requester *who;
    const char *what;
    char *sent;
} asked;

#define WRONGS_SHOWN 60
static size_t wrongs;

/* Goes on, so that one run shows all that is wrong. */
static void wrong(const char *format, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (++wrongs > WRONGS_SHOWN)
        return;
    print_error("%s %s as %s with %s (%.200s): %ld: %s\n    %.200s\n", ROUTE_NAME(asked.route),
                asked.who->person->name, asked.what, asked.sent ? asked.sent : "-", answer.status,
                text, answer.text ? answer.text : "");
}

static void check_error(enum api_service service)
{
    const json_t *first = json_object_iter_value(json_object_iter(answer.body));

    if (service == API_IMAGE && answer.status != 401) {
        if (!answer.text || !strstr(answer.text, fmt("<title>%ld ", answer.status)))
            wrong("no error of Glance's");
    } else if (service == API_NETWORK && answer.status != 401) {
        if (!json_is_string(json_object_get(at("NeutronError"), "message")) ||
            !json_is_string(json_object_get(at("NeutronError"), "type")))
            wrong("no error of Neutron's");
    } else if (json_object_size(answer.body) != 1 || json_int(first, "code", 0) != answer.status ||
               !json_is_string(json_object_get(first, "message")) ||
               (service == API_IDENTITY && !at("error/title"))) {
        wrong("no error of %s", asked.service->name);
    }
}

static bool is_success(const struct api_route *route)
{
    unsigned short statuses[API_STATUSES_MAX];

    for (size_t i = 0, n = api_route_statuses(route, statuses); i < n; i++) {
        if (statuses[i] == answer.status)
            return true;
    }
    return false;
}

static void check_documented(void)
{
    if (answer.status >= 500)
        wrong("no bad request may be the service's fault");
    if (!is_success(asked.route) &&
        !api_error_known(asked.service->service, (unsigned)answer.status))
        wrong("the reference does not say so");
    if (answer.status >= 400 && strcmp(asked.route->method, "HEAD") != 0)
        check_error(asked.service->service);
}

/* ---- who may ---- */

static bool changes(const struct api_route *route)
{
    return strcmp(route->method, "GET") != 0;
}

/* Everybody may see these; all other ones belong to somebody. */
static bool is_shared(const struct api_route *route)
{
    static const char *const parts[] = {"/v3/roles/", "/v3/regions/", "/v2.1/extensions/",
                                        "/v2.1/flavors/", "/v2.0/extensions/"};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strncmp(route->path, parts[i], strlen(parts[i])) == 0)
            return true;
    }
    return false;
}

/* Is the id of a row of alice's in the answer? */
static void check_not_told(void)
{
    for (size_t i = 0; i < row_total; i++) {
        const struct api_route *show = route_for(rows[i].service, "GET", rows[i].part, true);

        if (strlen(rows[i].id) >= 32 && !(show && is_shared(show)) &&
            strcmp(rows[i].id, admin.project) != 0 && answer.text &&
            strstr(answer.text, rows[i].id) && !strstr(answer.text, fmt("%s.", rows[i].id)))
            wrong("the answer tells of %s %s", rows[i].part, rows[i].id);
    }
}

static void check_stranger(void)
{
    bool of_alice = strchr(asked.route->path, '{') && !is_shared(asked.route);

    if (answer.status < 300 && of_alice)
        wrong("it is not theirs");
    if (answer.status < 300 && !of_alice && !changes(asked.route))
        check_not_told();
}

static void check_rights(bool changed)
{
    enum rights rights = asked.who->rights;
    unsigned flags = asked.route->flags;

    if (flags & API_PUBLIC)
        return;
    if (rights == NO_TOKEN && answer.status != 401)
        wrong("401 is needed");
    if (rights == READER && changes(asked.route) && !(flags & (API_READER | API_ADMIN)) &&
        answer.status != 403)
        wrong("readers change nothing: 403 is needed");
    if (rights > NO_TOKEN && rights < ADMIN && flags & API_ADMIN && answer.status != 403)
        wrong("members do not administer: 403 is needed");
    if (rights == STRANGER)
        check_stranger();
    if (rights == READER && changed && strchr(asked.route->path, '{'))
        wrong("a reader changed what is alice's");
}

/* ---- one request ---- */

static uint64_t version;  /* of all that is stored */
static size_t version_of; /* the request after which it was read */

static void read_version(void)
{
    version = mirror_version(cloud.mirror, MIRROR_EVERY_TABLE);
    job_done(0);
}

static uint64_t version_now(void)
{
    if (version_of != asked_count)
        on_loop(read_version);
    version_of = asked_count;
    return version;
}

/* Keeps the answer: what is made and removed meanwhile gives others. */
static struct answer answer_aside(void)
{
    struct answer kept = answer;

    memset(&answer, 0, sizeof(answer));
    return kept;
}

static void answer_back(struct answer kept)
{
    answer_clear(&answer);
    answer = kept;
}

static bool is_grant(const struct api_route *route)
{
    return strstr(route->path, "/roles/{role}") != NULL;
}

/* Changes rows so that the route can do what it is for; true if it did. */
static bool prepare_rows(const struct api_service_ops *service, const struct api_route *route)
{
    json_t *row;

    if (strstr(route->path, "activate")) {
        row = row_of("image", row_id(service, "images"));
        json_put_str(row, "status", strstr(route->path, "reactivate") ? "deactivated" : "active");
        put_row("image", row);
    } else if (strstr(route->path, "os-flavor-access") ||
               strcmp(route->path, "/v2.1/flavors/{id}/action") == 0) {
        /* Only private ones have a list of projects. */
        row = row_of("flavor", row_id(service, "flavors"));
        json_put_bool(row, "is_public", false);
        json_object_set_new(row, "projects", json_pack("[s]", alice.project));
        put_row("flavor", row);
    } else if (strstr(route->path, "/os-services/")) {
        row = row_of("host", "h1");
        json_put_bool(row, "disabled", strstr(route->path, "enable") != NULL);
        put_row("host", row);
    } else {
        return false;
    }
    return true;
}

/* What must be so before the route can do what it is for; true if rows were changed for that. */
static bool prepare(const struct api_service_ops *service, const struct api_route *route,
                    const char *path)
{
    if (strstr(route->path, "remove_router_interface"))
        ask_as(&admin, service, route_for(service, "PUT", "add_router_interface", false), "PUT",
               fmt("/v2.0/routers/%s/add_router_interface", row_id(service, "routers")),
               fmt("{\"subnet_id\": \"%s\"}", fixed.subnet));
    if (is_grant(route) && strcmp(route->method, "PUT") != 0)
        ask_as(&admin, service, route, "PUT", path, NULL);
    if (strcmp(route->path, "/v2.0/quotas/{id}") == 0 && strcmp(route->method, "DELETE") == 0)
        ask_as(&admin, service, route, "PUT", path, "{\"quota\": {\"network\": 1000}}");
    if (strcmp(route->path, "/v3/auth/tokens") == 0 && !subject[0]) {
        struct person again = {.name = "alice", .role = "member", .project_name = "red"};

        login(&again);
        strcpy(subject, again.token);
        return true;
    }
    return prepare_rows(service, route);
}

static void remove_made(const struct api_service_ops *service, const char *part)
{
    char id[200];
    struct answer kept;

    snprintf(id, sizeof(id), "%s", id_answered());
    kept = answer_aside();
    if (strcmp(part, "servers") == 0) /* perhaps several */
        forget_servers(row_at(service, part)->id);
    else if (id[0])
        remove_row(service, part, id, asked.who->person);
    answer_back(kept);
}

/* Without what was said of its services. */
static void put_h1(void)
{
    put_host("h1", "cab1", "[\"controller\", \"compute\"]", "up");
    asked_count++;
}

/* After a change: what was made is removed, and what was changed is nobody's to find. */
static void undo(const struct api_service_ops *service, const struct api_route *route,
                 const char *path)
{
    const char *end = route->path + strlen(route->path), *part = part_before(route->path, &end);
    struct answer kept;
    struct parts parts;

    if (strcmp(route->method, "POST") == 0 && route_for(service, "DELETE", part, true) &&
        !is_key(part)) {
        remove_made(service, part);
        return;
    }
    kept = answer_aside();
    if (strcmp(route->path, "/v3/auth/tokens") == 0) {
        if (strcmp(route->method, "DELETE") == 0)
            subject[0] = '\0';
    } else if (is_grant(route)) {
        ask_as(&admin, service, route, "DELETE", path, NULL);
    } else if (strstr(route->path, "/os-services/")) {
        put_h1();
    } else {
        wipe("compute_quota", "");
        wipe("network_quota", "");
        asked_count++;
        path_with(service, route, &parts);
        while (parts.count > 0)
            drop_row(service, parts.name[--parts.count]);
    }
    answer_back(kept);
}

static void try(const struct api_service_ops *service, const struct api_route *route,
                const struct requester *who, const json_t *variant, bool *succeeded)
{
    enum body_kind kind = (enum body_kind)json_int(variant, "kind", 0);
    bool may = who->rights >= (route->flags & API_ADMIN ? ADMIN : MEMBER), prepared, changed;
    char path[1024];
    uint64_t before;

    asked.service = service;
    asked.route = route;
    asked.who = who;
    asked.what = json_str(variant, "what", "");
    snprintf(path, sizeof(path), "%s%s", path_of(service, route),
             asked.what[0] == '?' ? asked.what : "");
    asked.sent = body_text(json_object_get(variant, "body"));
    prepared = prepare(service, route, path);
    asked_count += prepared;
    before = version_now();
    ask_as(who->person == &nobody ? NULL : who->person, service, route, route->method, path,
           asked.sent);
    changed = version_now() != before;
    check_documented();
    check_rights(changed);
    if (answer.status >= 400 && changed)
        wrong("a refused request changed something");
    if (may && kind == BODY_BAD && answer.status != 400 && answer.status != 403)
        wrong("400 is needed");
    if (may && answer.status <= 300 && kind == BODY_GOOD)
        *succeeded = true;
    if (changed || prepared || is_grant(route))
        undo(service, route, path);
    free(asked.sent);
}

static void try_route(const struct api_service_ops *service, const struct api_route *route)
{
    json_t *variants = bodies_of(service, route), *variant;
    bool succeeded = false;
    size_t i;

    json_array_foreach(variants, i, variant)
    {
        for (size_t r = 0; r < REQUESTERS; r++) {
            /* Who is nobody is told so before the body is looked at: they take turns. */
            if (requesters[r].rights == NO_TOKEN && i > 0 && i % NO_TOKENS != r)
                continue;
            try(service, route, &requesters[r], variant, &succeeded);
        }
    }
    wrongs += !succeeded;
    if (!succeeded)
        print_error("%s %s was never answered well: is its good body one? %ld %s\n",
                    ROUTE_NAME(route), answer.status, answer.text ? answer.text : "");
    json_decref(variants);
}

/* ---- all of them ---- */

/* What a round leaves on purpose. */
static void tidy(void)
{
    /* The newest first: a port may have its address from a subnet that was there before it. */
    for (size_t i = row_total; i > 0; i--)
        drop_row(rows[i - 1].service, rows[i - 1].part);
    wipe("event", "");
    wipe("guard", "");
    wipe("revocation", "");
    /* Of deleted servers the newest 200 are kept, which is more than one round makes. */
    wipe("server_log", "");
    answer_clear(&answer);
}

static void one_round(void)
{
    for (size_t s = 0; s < SERVICES; s++) {
        for (size_t r = 0; r < services[s]->route_count; r++)
            try_route(services[s], &services[s]->routes[r]);
    }
    tidy();
}

static size_t stored(const char *table)
{
    return row_count(table, "");
}

/* The address sanitizer has an allocator of its own, and tells of each leak itself in the end. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

/* The mirror keeps some thousands of rows taken apart, and that there are none, and forgets them
 * all when there are too many. Asked twice for as many ids that nothing has, it knows only these.
 * Each of the 256 places for who the bearer of a token is gets somebody that nobody is. */
static void fill_mirror_and_bearers(void)
{
    static const struct known_bearer bearer;
    char id[32];

    for (int i = 0; i < 2 * 4096; i++) {
        snprintf(id, sizeof(id), "nothing-%04d", i % 4096);
        json_decref(mirror_get_shared(cloud.mirror, "project", id));
        known_put_bearer(api_known(cloud.api), id, &bearer);
    }
    job_done(0);
}

/* Likewise those for whole answers, by a list that always is as long. */
static void fill_answers(void)
{
    const struct api_route *list = route_for(&api_compute, "GET", "flavors", false);

    for (int i = 0; i < 8 * 256; i++)
        ask_as(&admin, &api_compute, list, "GET", fmt("/v2.1/flavors?matrix=%04d", i), NULL);
    answer_clear(&answer);
}

/* What is asked for and not given back, SQLite's apart: it depends on which statements were
 * the last ones. */
struct memory {
    size_t ours, of_sqlite;
};

static struct memory memory_now(void)
{
    struct memory memory;

    fill_answers();
    on_loop(fill_mirror_and_bearers);
    memory.of_sqlite = (size_t)sqlite3_memory_used();
    memory.ours = mallinfo2().uordblks - memory.of_sqlite;
    return memory;
}

static void check_grown(const char *whose, size_t before, size_t after, size_t slack)
{
    print_message("%s: %zu bytes before, %zu after\n", whose, before, after);
    if (after > before + slack)
        fail_msg("%s: %zu bytes are not given back", whose, after - before);
}

static void test_matrix(void **state)
{
    size_t counts[64];
    struct memory before, after;

    one_round();
    if (__sanitizer_get_current_allocated_bytes) {
        assert_int_equal(wrongs, 0);
        return;
    }
    for (size_t i = 0; resource_all[i]; i++)
        counts[i] = stored(resource_all[i]->table);
    before = memory_now();
    one_round();
    after = memory_now();
    for (size_t i = 0; resource_all[i]; i++) {
        if (stored(resource_all[i]->table) != counts[i])
            fail_msg("table %s has %zu rows after the round, before %zu", resource_all[i]->table,
                     stored(resource_all[i]->table), counts[i]);
    }
    assert_int_equal(wrongs, 0);
    print_message("%zu requests\n", asked_count);
    check_grown("memory", before.ours, after.ours, MEMORY_SLACK);
    check_grown("SQLite's memory", before.of_sqlite, after.of_sqlite, SQLITE_SLACK);
}

/* ---- what is not there ---- */

static void test_other_methods_and_paths(void **state)
{
    wrongs = 0;
    for (size_t s = 0; s < SERVICES; s++) {
        for (size_t r = 0; r < services[s]->route_count; r++) {
            asked.service = services[s];
            asked.route = &services[s]->routes[r];
            asked.who = &requesters[REQUESTERS - 1];
            asked.what = "another method";
            ask_as(&admin, services[s], asked.route, "PROPFIND", path_of(services[s], asked.route),
                   NULL);
            if (answer.status != 405)
                wrong("405 is needed");
            check_error(services[s]->service);
        }
        asked.what = "another path";
        perform(&answer, services[s]->service, &admin, "GET", "/v9/nothing/of/this/name", NULL);
        assert_int_equal(answer.status, 404);
        check_error(services[s]->service);
    }
    tidy();
    assert_int_equal(wrongs, 0);
}

/* The allocator's caches of each thread count as what is asked for: without them. They are set up
 * before main(), so the test begins anew. */
static void without_caches(char **argv)
{
    static const char *const name = "GLIBC_TUNABLES", *const value = "glibc.malloc.tcache_count=0";
    const char *now = getenv(name);

    if (now && strcmp(now, value) == 0)
        return;
    setenv(name, value, 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_other_methods_and_paths),
    };

    without_caches(argv);
    return cmocka_run_group_tests(tests, start, stop);
}
