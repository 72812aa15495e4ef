/* A cloud without hosts for tests of the API: the services over HTTP on the SQLite store, people
 * who use it, and the test in the place of planner and hosts: it writes their rows.
 *
 * Threads.  The services run on a thread of their own; the test's thread is their client. What the
 * test reads and writes in the store itself is done by that thread, see on_loop().
 * Answers.  ask() leaves the last one in `answer`; at(), text() and num() look into its body. */
#ifndef VLING_TESTS_CLOUD_H
#define VLING_TESTS_CLOUD_H

#include "api/internal.h"
#include "base/json.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CLOUD_TIMEOUT_S 60L

/* ---- people ---- */

struct person {
    const char *name, *role, *project_name;
    char token[2000], user[64], project[64];
};

static struct person admin = {.name = "admin", .role = "admin", .project_name = "admin"};
static struct person alice = {.name = "alice", .role = "member", .project_name = "red"};
static struct person rita = {.name = "rita", .role = "reader", .project_name = "red"};
static struct person bob = {.name = "bob", .role = "member", .project_name = "blue"};

/* ---- the services ---- */

static struct {
    uv_loop_t loop;
    uv_async_t stopper, caller;
    pthread_t thread;
    struct store *store;
    struct mirror *mirror;
    struct api *api;
    int ports[API_SERVICES];
    char folder[64];
    struct api_peers peers;     /* set before cloud_start() */
    struct api_images images;   /* likewise */
    const char *public_address; /* likewise; NULL: none */
} cloud;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t ready;
    void (*run)(void); /* calls job_done() in the end, perhaps later */
    struct store_txn *txn;
    const char *table, *where;
    json_t *rows;
    int rc;
    bool done;
} job = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ready = PTHREAD_COND_INITIALIZER};

static inline void job_done(int rc)
{
    pthread_mutex_lock(&job.mutex);
    job.rc = rc;
    job.done = true;
    pthread_cond_signal(&job.ready);
    pthread_mutex_unlock(&job.mutex);
}

static inline void on_call(uv_async_t *async)
{
    job.run();
}

/* Runs the job on the services' thread and waits for it. */
static inline int on_loop(void (*run)(void))
{
    pthread_mutex_lock(&job.mutex);
    job.run = run;
    job.done = false;
    uv_async_send(&cloud.caller);
    while (!job.done)
        pthread_cond_wait(&job.ready, &job.mutex);
    pthread_mutex_unlock(&job.mutex);
    return job.rc;
}

static inline void on_stop(uv_async_t *async)
{
    api_stop(cloud.api);
    mirror_close(cloud.mirror);
    store_close(cloud.store);
    uv_close((uv_handle_t *)&cloud.caller, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static inline void *run_loop(void *arg)
{
    uv_run(&cloud.loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline void on_bootstrapped(void *arg, int rc, int64_t revision)
{
    *(int *)arg = rc;
    uv_stop(&cloud.loop);
}

static inline void cloud_listen(void)
{
    static const struct api_service_ops *const services[] = {&api_identity, &api_compute,
                                                             &api_network, &api_image, NULL};
    struct api_options options = {.address = "127.0.0.1", .region = "R", .password_cost = 4};
    struct err err;

    options.loop = &cloud.loop;
    options.store = cloud.store;
    options.mirror = cloud.mirror;
    options.peers = cloud.peers;
    options.images = cloud.images;
    options.public_address = cloud.public_address;
    /* Another run of this test may be on the machine. */
    for (int i = 0; i < 50 && !cloud.api; i++)
        cloud.api = api_start_services(&options, services,
                                       (uint16_t)(12000 + (getpid() * 4 + i * 996) % 18000), &err);
    assert_non_null(cloud.api);
    for (int i = 0; i < API_SERVICES; i++)
        cloud.ports[i] = api_port(cloud.api, (enum api_service)i);
}

/* ---- the client ---- */

struct answer {
    long status;
    json_t *body;
    char *text;
    size_t size;
    char subject[2000], location[500], version[100], nova_version[100];
    char request_id[64];
    char names[2000]; /* of all headers: "name: name: " */
};

static struct answer answer;
static const char *microversion; /* of the next requests to compute; NULL: none is asked for */

static inline size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct answer *to = arg;

    to->text = realloc(to->text, to->size + size * n + 1);
    assert_non_null(to->text);
    memcpy(to->text + to->size, data, size * n);
    to->size += size * n;
    to->text[to->size] = '\0';
    return size * n;
}

static inline void take_header(const char *line, size_t size, const char *name, char *out,
                               size_t out_size)
{
    size_t n = strlen(name);

    if (size > n + 4 && strncasecmp(line, name, n) == 0 && line[n] == ':')
        snprintf(out, out_size, "%.*s", (int)(size - n - 4), line + n + 2);
}

static inline size_t on_head(char *line, size_t size, size_t n, void *arg)
{
    struct answer *to = arg;
    size_t used = strlen(to->names);
    const char *colon = memchr(line, ':', n);

    if (colon)
        snprintf(to->names + used, sizeof(to->names) - used, "%.*s: ", (int)(colon - line), line);
    take_header(line, n, "X-Subject-Token", to->subject, sizeof(to->subject));
    take_header(line, n, "Location", to->location, sizeof(to->location));
    take_header(line, n, "X-OpenStack-Request-ID", to->request_id, sizeof(to->request_id));
    take_header(line, n, "OpenStack-API-Version", to->version, sizeof(to->version));
    take_header(line, n, "X-OpenStack-Nova-API-Version", to->nova_version,
                sizeof(to->nova_version));
    return size * n;
}

static inline struct curl_slist *headers_of(const struct person *who)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
    char line[2200];

    if (who) {
        snprintf(line, sizeof(line), "X-Auth-Token: %s", who->token);
        list = curl_slist_append(list, line);
    }
    if (microversion) {
        snprintf(line, sizeof(line), "%s%s",
                 strpbrk(microversion, ":;") ? "" : "OpenStack-API-Version: compute ",
                 microversion);
        list = curl_slist_append(list, line);
    }
    return list;
}

static inline void answer_clear(struct answer *a)
{
    json_decref(a->body);
    free(a->text);
    memset(a, 0, sizeof(*a));
}

/* One request by `curl`, which keeps its connection. */
static inline void perform_by(CURL *curl, struct curl_slist *headers, struct answer *to,
                              enum api_service service, const char *method, const char *path,
                              const char *body)
{
    char url[2048];

    answer_clear(to);
    if (path[0] == '/')
        snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", cloud.ports[service], path);
    else
        snprintf(url, sizeof(url), "%s", path);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, CLOUD_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, to);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, to);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &to->status);
    to->body = to->text ? json_loads(to->text, 0, NULL) : NULL;
}

/* One request; any thread. `path` may be a whole URL. */
static inline void perform(struct answer *to, enum api_service service, const struct person *who,
                           const char *method, const char *path, const char *body)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = headers_of(who);

    perform_by(curl, headers, to, service, method, path, body);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
}

/* Was the success that of the route table, and hence of the reference? */
static inline void check_success(enum api_service service, const char *method, const char *path)
{
    static const struct api_service_ops *const services[] = {&api_identity, &api_compute,
                                                             &api_network, &api_image};
    unsigned short statuses[API_STATUSES_MAX];
    struct api_req *req = calloc(1, sizeof(*req));
    char plain[2048];
    bool known = false;

    snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(path, "?"), path);
    if (answer.status < 400 && path[0] == '/' &&
        api_route_find(services[service], method, plain, req) == 0) {
        for (size_t i = 0, n = api_route_statuses(req->route, statuses); i < n; i++)
            known |= statuses[i] == answer.status;
        if (!known)
            fail_msg("%s %s: %ld is not in the route table", method, path, answer.status);
    }
    free(req);
}

static inline void ask_service(enum api_service service, const struct person *who,
                               const char *method, const char *path, const char *body, long want)
{
    perform(&answer, service, who, method, path, body);
    if (answer.status != want)
        fail_msg("%s %s %s as %s: %ld instead of %ld: %s", method, path, body ? body : "",
                 who ? who->name : "nobody", answer.status, want, answer.text ? answer.text : "");
    check_success(service, method, path);
}

/* A request to compute; `path` follows "/v2.1" or is a whole URL. The answer must have `want`. */
static inline void ask(const struct person *who, const char *method, const char *path,
                       const char *body, long want)
{
    char full[2048];

    snprintf(full, sizeof(full), "%s%s", path[0] == '/' ? "/v2.1" : "", path);
    ask_service(API_COMPUTE, who, method, full, body, want);
}

/* As ask(), with GET. */
static inline void get(const struct person *who, const char *path, long want)
{
    ask(who, "GET", path, NULL, want);
}

/* A request to the network service; `path` follows "/v2.0". */
static inline void ask_net(const struct person *who, const char *method, const char *path,
                           const char *body, long want)
{
    char full[2048];

    snprintf(full, sizeof(full), "/v2.0%s", path);
    ask_service(API_NETWORK, who, method, full, body, want);
}

/* ---- looking into the answer ---- */

/* printf into one of several buffers that take turns. */
static inline const char *fmt(const char *format, ...)
{
    static char texts[8][8192];
    static unsigned turn;
    char *text = texts[turn++ % 8];
    va_list ap;

    va_start(ap, format);
    assert_true((size_t)vsnprintf(text, sizeof(texts[0]), format, ap) < sizeof(texts[0]));
    va_end(ap);
    return text;
}

/* at("servers/0/name"): borrowed, NULL if there is none. */
static inline json_t *at(const char *path)
{
    json_t *value = answer.body;

    while (value && *path) {
        size_t n = strcspn(path, "/");
        char key[128];

        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(key))
                                     : json_object_get(value, key);
        path += n + (path[n] == '/');
    }
    return value;
}

/* "null" and "missing" for what is no text. */
static inline const char *text(const char *path)
{
    const json_t *value = at(path);

    return json_is_string(value) ? json_string_value(value) : value ? "null" : "missing";
}

static inline int64_t num(const char *path)
{
    assert_true(json_is_integer(at(path)));
    return json_integer_value(at(path));
}

static inline size_t count(const char *path)
{
    assert_non_null(at(path));
    return json_is_array(at(path)) ? json_array_size(at(path)) : json_object_size(at(path));
}

/* The message of an error of compute. */
static inline const char *message(void)
{
    return json_str(json_object_iter_value(json_object_iter(answer.body)), "message", "");
}

static inline void keep(const char *path, char id[64])
{
    assert_true(json_is_string(at(path)));
    snprintf(id, 64, "%s", text(path));
}

/* ---- rows, as planner and hosts write them ---- */

static inline void on_mirrored(void *arg, int rc)
{
    job_done(rc);
}

static inline void on_committed(void *arg, int rc, int64_t revision)
{
    if (rc == 0)
        mirror_wait(cloud.mirror, revision, 60000, on_mirrored, NULL);
    else
        job_done(rc);
}

static inline void run_commit(void)
{
    store_commit(cloud.store, job.txn, 60000, on_committed, NULL);
}

static inline void run_select(void)
{
    job.rows = mirror_select(cloud.mirror, job.table, job.where, "");
    job_done(0);
}

static inline void put_row(const char *table, json_t *row)
{
    assert_non_null(row);
    job.txn = store_txn_new();
    json_object_del(row, "_rev");
    store_txn_put(job.txn, table, json_str(row, "id", ""), row);
    json_decref(row);
    assert_int_equal(on_loop(run_commit), 0);
}

static inline json_t *rows_of(const char *table, const char *where)
{
    job.table = table;
    job.where = where;
    assert_int_equal(on_loop(run_select), 0);
    return job.rows;
}

static inline json_t *row_of(const char *table, const char *id)
{
    json_t *rows = rows_of(table, fmt("WHERE id = '%s'", id));
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    return row;
}

static inline size_t row_count(const char *table, const char *where)
{
    json_t *rows = rows_of(table, where);
    size_t n = json_array_size(rows);

    json_decref(rows);
    return n;
}

/* Removes rows of a table. */
static inline void wipe(const char *table, const char *where)
{
    json_t *rows = rows_of(table, where), *row;
    size_t i, n = json_array_size(rows);

    for (size_t from = 0; from < n; from += 100) {
        job.txn = store_txn_new();
        json_array_foreach(rows, i, row)
        {
            if (i >= from && i < from + 100)
                store_txn_delete(job.txn, table, json_str(row, "id", ""));
        }
        assert_int_equal(on_loop(run_commit), 0);
    }
    json_decref(rows);
}

static inline void put_host(const char *name, const char *cabinet, const char *roles,
                            const char *state)
{
    json_t *list = json_loads(roles, 0, NULL);

    put_row("host", json_pack("{s:s, s:s, s:o, s:s, s:s, s:i, s:s, s:i, s:i, s:i, s:s, s:b}", "id",
                              name, "cabinet", cabinet, "roles", list, "mgmt_ip", "10.10.1.1",
                              "state", state, "epoch", 1, "since", "2026-01-02T03:04:05Z", "vcpus",
                              8, "ram_mb", 16384, "disk_gb", 100, "accel", "kvm", "disabled", 0));
}

/* An image that can be booted, of nobody and for everybody; `more` (stolen) is put over it. */
static inline void put_image(const char *id, json_t *more)
{
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s}", "id", id, "name",
                  "image", "owner", "nobody", "status", "active", "visibility", "public",
                  "disk_format", "qcow2", "container_format", "bare", "min_disk", 0, "min_ram", 0,
                  "size", 1048576, "virtual_size", 1048576, "created_at", "2026-01-01T00:00:00Z");

    if (more)
        json_object_update(row, more);
    json_decref(more);
    put_row("image", row);
}

/* ---- start and stop ---- */

static inline void login(struct person *who)
{
    ask_service(
        API_IDENTITY, NULL, "POST", "/v3/auth/tokens",
        fmt("{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": "
            "{\"user\": {\"name\": \"%s\", \"domain\": {\"id\": \"default\"}, \"password\": "
            "\"secret\"}}}, \"scope\": {\"project\": {\"name\": \"%s\", \"domain\": {\"id\": "
            "\"default\"}}}}}",
            who->name, who->project_name),
        201);
    snprintf(who->token, sizeof(who->token), "%s", answer.subject);
    keep("token/user/id", who->user);
    keep("token/project/id", who->project);
}

/* A user with the role on the project, both made if need be. */
static inline void move_in(struct person *who)
{
    char user[64], role[64];

    ask_service(API_IDENTITY, &admin, "GET", fmt("/v3/projects?name=%s", who->project_name), NULL,
                200);
    if (count("projects") == 0)
        ask_service(API_IDENTITY, &admin, "POST", "/v3/projects",
                    fmt("{\"project\": {\"name\": \"%s\"}}", who->project_name), 201);
    keep(at("project") ? "project/id" : "projects/0/id", who->project);
    ask_service(API_IDENTITY, &admin, "POST", "/v3/users",
                fmt("{\"user\": {\"name\": \"%s\", \"password\": \"secret\"}}", who->name), 201);
    keep("user/id", user);
    ask_service(API_IDENTITY, &admin, "GET", fmt("/v3/roles?name=%s", who->role), NULL, 200);
    keep("roles/0/id", role);
    ask_service(API_IDENTITY, &admin, "PUT",
                fmt("/v3/projects/%s/users/%s/roles/%s", who->project, user, role), NULL, 204);
    login(who);
}

static inline int cloud_start(void **state)
{
    struct store_txn *txn = store_txn_new();
    struct err err;
    int rc = -1;

    snprintf(cloud.folder, sizeof(cloud.folder), "/tmp/vling-test-cloud-XXXXXX");
    assert_non_null(mkdtemp(cloud.folder));
    curl_global_init(CURL_GLOBAL_ALL);
    uv_loop_init(&cloud.loop);
    cloud.store = store_open_sqlite(&cloud.loop, fmt("%s/db", cloud.folder), &err);
    assert_non_null(cloud.store);
    cloud.mirror = mirror_open(cloud.store, &err);
    assert_non_null(cloud.mirror);
    assert_int_equal(api_bootstrap(txn, "secret", &err), 0);
    store_commit(cloud.store, txn, 60000, on_bootstrapped, &rc);
    uv_run(&cloud.loop, UV_RUN_DEFAULT);
    assert_int_equal(rc, 0);
    uv_async_init(&cloud.loop, &cloud.stopper, on_stop);
    uv_async_init(&cloud.loop, &cloud.caller, on_call);
    cloud_listen();
    assert_int_equal(pthread_create(&cloud.thread, NULL, run_loop, NULL), 0);
    login(&admin);
    move_in(&alice);
    move_in(&rita);
    move_in(&bob);
    return 0;
}

/* Has each row the fields of its table and no other ones? */
static inline void check_rows(void)
{
    json_t *rows, *row, *value;
    const char *key;
    size_t i;

    for (size_t r = 0; resource_all[r]; r++) {
        rows = rows_of(resource_all[r]->table, "");
        json_array_foreach(rows, i, row)
        {
            json_object_foreach(row, key, value)
            {
                const struct field *field = resource_all[r]->fields;
                const struct field *end = field + resource_all[r]->field_count;

                while (field < end && strcmp(field->name, key) != 0)
                    field++;
                if (strcmp(key, "_rev") != 0 && (field == end || field->flags & FIELD_NOT_STORED))
                    fail_msg("table %s has no field %s", resource_all[r]->table, key);
            }
        }
        json_decref(rows);
    }
}

static inline int cloud_stop(void **state)
{
    check_rows();
    uv_async_send(&cloud.stopper);
    pthread_join(cloud.thread, NULL);
    assert_int_equal(uv_loop_close(&cloud.loop), 0);
    answer_clear(&answer);
    curl_global_cleanup();
    return system(fmt("rm -r %s", cloud.folder));
}

/* What the tests of servers and networks leave. */
static inline int cloud_wipe(void **state)
{
    static const char *const tables[] = {
        "server",       "server_state", "port",         "floatingip",
        "router",       "subnet",       "network",      "security_group_rule",
        "ip",           "vni",          "guard",        "security_group",
        "keypair",      "image",        "image_member", "host",
        "server_group", "server_log",   "event"};

    check_rows();
    microversion = NULL;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        wipe(tables[i], "");
    wipe("taken_name", "WHERE owner_id IN (SELECT id FROM flavor)");
    wipe("flavor", "WHERE id NOT IN ('42', '84', '1', '2', '3', '4', '5')");
    return 0;
}

#endif
