/* The identity service over HTTP, on the SQLite store, with a clock that is not waited for: the
 * whole way from the socket to the committed row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "api/identity.h"
#include "base/clock.h"
#include "base/json.h"
#include <cmocka.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uv_loop_t loop;
static uv_async_t stopper;
static pthread_t thread;
static struct store *store;
static struct mirror *mirror;
static struct api *api;
static int port;
static char folder[] = "/tmp/vling-test-identity-XXXXXX";

/* ---- the service ---- */

static void on_bootstrapped(void *arg, int rc, int64_t revision)
{
    *(int *)arg = rc;
    uv_stop(&loop);
}

static void on_stop(uv_async_t *async)
{
    api_stop(api);
    mirror_close(mirror);
    store_close(store);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run_loop(void *arg)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static int setup(void **state)
{
    static const struct api_service_ops *const services[] = {&api_identity, NULL};
    struct api_options options = {.address = "127.0.0.1", .region = "R", .password_cost = 4};
    struct store_txn *txn = store_txn_new();
    char path[100];
    struct err err;
    int rc = -1;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/db", folder);
    curl_global_init(CURL_GLOBAL_ALL);
    uv_loop_init(&loop);
    store = store_open_sqlite(&loop, path, &err);
    assert_non_null(store);
    mirror = mirror_open(store, &err);
    assert_non_null(mirror);
    assert_int_equal(api_bootstrap(txn, "secret", &err), 0);
    store_commit(store, txn, 60000, on_bootstrapped, &rc);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(rc, 0);
    uv_async_init(&loop, &stopper, on_stop);
    options.loop = &loop;
    options.store = store;
    options.mirror = mirror;
    /* Another run of this test may be on the machine. */
    for (int i = 0; i < 20 && !api; i++) {
        port = 20000 + (getpid() + i * 997) % 10000;
        api = api_start_services(&options, services, (uint16_t)port, &err);
    }
    assert_non_null(api);
    return pthread_create(&thread, NULL, run_loop, NULL);
}

static int teardown(void **state)
{
    char command[100];

    uv_async_send(&stopper);
    pthread_join(thread, NULL);
    assert_int_equal(uv_loop_close(&loop), 0);
    curl_global_cleanup();
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* ---- the client ---- */

struct answer {
    long status;
    json_t *body;
    char text[65536];
    char subject[2000], authenticate[500], request_id[100];
};

static struct answer answer;

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    size_t used = strlen(answer.text);

    if (used + size * n >= sizeof(answer.text))
        return 0;
    memcpy(answer.text + used, data, size * n);
    answer.text[used + size * n] = '\0';
    return size * n;
}

static void take_header(const char *line, size_t size, const char *name, char *out, size_t out_size)
{
    size_t n = strlen(name);

    if (size > n + 4 && strncasecmp(line, name, n) == 0)
        snprintf(out, out_size, "%.*s", (int)(size - n - 4), line + n + 2);
}

static size_t on_head(char *line, size_t size, size_t n, void *arg)
{
    take_header(line, n, "X-Subject-Token", answer.subject, sizeof(answer.subject));
    take_header(line, n, "WWW-Authenticate", answer.authenticate, sizeof(answer.authenticate));
    take_header(line, n, "x-openstack-request-id", answer.request_id, sizeof(answer.request_id));
    return size * n;
}

static struct curl_slist *headers_of(const char *token, const char *subject)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
    char line[2200];

    if (token) {
        snprintf(line, sizeof(line), "X-Auth-Token: %s", token);
        list = curl_slist_append(list, line);
    }
    if (subject) {
        snprintf(line, sizeof(line), "X-Subject-Token: %s", subject);
        list = curl_slist_append(list, line);
    }
    return list;
}

static long call_with(const char *method, const char *path, const char *token, const char *subject,
                      const char *body)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = headers_of(token, subject);
    char url[500];

    json_decref(answer.body);
    memset(&answer, 0, sizeof(answer));
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", port, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    answer.body = json_loads(answer.text, 0, NULL);
    assert_true(strncmp(answer.request_id, "req-", 4) == 0);
    return answer.status;
}

static long call(const char *method, const char *path, const char *token, const char *body)
{
    return call_with(method, path, token, NULL, body);
}

static const char *const admin_scope = "{\"project\": {\"name\": \"admin\", \"domain\": {\"id\": "
                                       "\"default\"}}}";

/* A token in `out`; the status. */
static long login(const char *user, const char *password, const char *scope, char out[2000])
{
    char body[1500];

    snprintf(
        body, sizeof(body),
        "{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": {\"user\": "
        "{\"name\": \"%s\", \"domain\": {\"name\": \"Default\"}, \"password\": \"%s\"}}}%s%s}}",
        user, password, scope ? ", \"scope\": " : "", scope ? scope : "");
    call("POST", "/v3/auth/tokens", NULL, body);
    memcpy(out, answer.subject, 2000);
    return answer.status;
}

static void created_id(const char *singular, char out[64])
{
    assert_int_equal(answer.status, 201);
    snprintf(out, 64, "%s", json_str(json_object_get(answer.body, singular), "id", ""));
}

static size_t count(const char *key)
{
    return json_array_size(json_object_get(answer.body, key));
}

/* The id of the one of that name. */
static void find(const char *plural, const char *name, const char *token, char out[64])
{
    char path[200];

    snprintf(path, sizeof(path), "/v3/%s?name=%s", plural, name);
    assert_int_equal(call("GET", path, token, NULL), 200);
    assert_int_equal(count(plural), 1);
    snprintf(out, 64, "%s",
             json_str(json_array_get(json_object_get(answer.body, plural), 0), "id", ""));
}

/* ---- tests ---- */

static void test_versions_need_no_token(void **state)
{
    assert_int_equal(call("GET", "/", NULL, NULL), 300);
    assert_int_equal(call("GET", "/v3", NULL, NULL), 200);
    assert_int_equal(call("GET", "/v3/", NULL, NULL), 200);
    assert_int_equal(call("GET", "/v3/projects", NULL, NULL), 401);
    assert_true(strncmp(answer.authenticate, "Keystone uri=\"http://127.0.0.1:", 31) == 0);
    assert_int_equal(json_int(json_object_get(answer.body, "error"), "code", 0), 401);
    assert_int_equal(call("GET", "/v3/nothing", NULL, NULL), 404);
    assert_int_equal(call("PUT", "/v3/projects", NULL, NULL), 405);
}

static void test_login(void **state)
{
    char token[2000];
    json_t *content;

    assert_int_equal(login("admin", "secret", admin_scope, token), 201);
    content = json_object_get(answer.body, "token");
    assert_int_equal(json_array_size(json_object_get(content, "roles")), 3);
    assert_int_equal(json_array_size(json_object_get(content, "catalog")), 1);
    assert_string_equal(json_str(json_object_get(content, "project"), "name", ""), "admin");
    assert_true(clock_parse_iso(json_str(content, "expires_at", "")) > clock_wall_ms() + 3500000);
    assert_int_equal(login("admin", "wrong", admin_scope, token), 401);
    assert_int_equal(login("nobody", "secret", admin_scope, token), 401);
    assert_int_equal(login("admin", "", admin_scope, token), 401);
    assert_int_equal(login("admin", "secret", "{\"project\": {\"id\": \"none\"}}", token), 401);
    assert_int_equal(login("admin", "secret", "{\"nonsense\": 1}", token), 400);
    assert_int_equal(login("admin", "secret", "{\"system\": {\"all\": true}}", token), 201);
    assert_int_equal(login("admin", "secret", "{\"domain\": {\"id\": \"default\"}}", token), 401);
    assert_int_equal(login("admin", "secret", NULL, token), 201);
    assert_null(json_object_get(json_object_get(answer.body, "token"), "roles"));
    assert_int_equal(call("GET", "/v3/projects", token, NULL), 403);
    assert_int_equal(call("GET", "/v3/auth/projects", token, NULL), 200);
    assert_int_equal(count("projects"), 1);
}

static void test_bad_bodies(void **state)
{
    static const char *const bad[] = {
        "{",
        "[]",
        "7",
        "{\"auth\": 1}",
        "{\"auth\": {}}",
        "{\"auth\": {\"identity\": {\"methods\": []}}}",
        "{\"auth\": {\"identity\": {\"methods\": [\"password\"]}}}",
        "{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": {\"user\": 1}}}}",
        "{\"auth\": {\"identity\": {\"methods\": [\"token\"], \"token\": {}}}}",
    };
    char token[2000], *big = malloc(1100000);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(call("POST", "/v3/auth/tokens", NULL, bad[i]), 400);
    memset(big, 'x', 1099999);
    big[1099999] = '\0';
    assert_int_equal(call("POST", "/v3/auth/tokens", NULL, big), 413);
    free(big);
    assert_int_equal(login("admin", "secret", admin_scope, token), 201);
    assert_int_equal(call("POST", "/v3/projects", token, "{\"project\": {}}"), 400);
    assert_int_equal(call("POST", "/v3/projects", token, "{\"project\": {\"name\": 7}}"), 400);
    assert_int_equal(call("POST", "/v3/projects", token,
                          "{\"project\": {\"name\": \"x\", \"domain_id\": \"none\"}}"),
                     404);
}

static void test_forged_tokens(void **state)
{
    char token[2000];
    size_t size;

    assert_int_equal(login("admin", "secret", admin_scope, token), 201);
    assert_int_equal(call("GET", "/v3/projects", token, NULL), 200);
    size = strlen(token);
    for (size_t i = 0; i < size; i += 37) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(call("GET", "/v3/projects", token, NULL), 401);
        token[i] = was;
    }
    token[size - 4] = '\0';
    assert_int_equal(call("GET", "/v3/projects", token, NULL), 401);
    assert_int_equal(call("GET", "/v3/projects", "gibberish", NULL), 401);
    assert_int_equal(call("GET", "/v3/projects", "=", NULL), 401);
}

static void test_projects(void **state)
{
    char token[2000], id[64], path[200];

    assert_int_equal(login("admin", "secret", admin_scope, token), 201);
    call("POST", "/v3/projects", token, "{\"project\": {\"name\": \"p\", \"extra\": 1}}");
    created_id("project", id);
    assert_int_equal(call("POST", "/v3/projects", token, "{\"project\": {\"name\": \"p\"}}"), 409);
    snprintf(path, sizeof(path), "/v3/projects/%s", id);
    assert_int_equal(call("GET", path, token, NULL), 200);
    assert_string_equal(json_str(json_object_get(answer.body, "project"), "parent_id", ""),
                        "default");
    assert_int_equal(call("HEAD", path, token, NULL), 200);
    assert_int_equal(call("PATCH", path, token, "{\"project\": {\"name\": \"admin\"}}"), 409);
    assert_int_equal(call("PATCH", path, token, "{\"project\": {\"name\": \"q\"}}"), 200);
    assert_int_equal(call("GET", "/v3/projects?name=p", token, NULL), 200);
    assert_int_equal(count("projects"), 0);
    assert_int_equal(call("GET", "/v3/projects?limit=1&sort_key=name&sort_dir=desc", token, NULL),
                     200);
    assert_int_equal(count("projects"), 1);
    assert_int_equal(call("GET", "/v3/projects?limit=-1", token, NULL), 400);
    assert_int_equal(call("GET", "/v3/projects?marker=none", token, NULL), 400);
    assert_int_equal(call("GET", "/v3/projects?sort_key=options", token, NULL), 400);
    assert_int_equal(call("DELETE", path, token, NULL), 204);
    assert_int_equal(call("GET", path, token, NULL), 404);
    assert_int_equal(call("DELETE", path, token, NULL), 404);
    call("POST", "/v3/projects", token, "{\"project\": {\"name\": \"q\"}}"); /* is free again */
    created_id("project", id);
    snprintf(path, sizeof(path), "/v3/projects/%s", id);
    assert_int_equal(call("DELETE", path, token, NULL), 204);
}

/* A user `bob` with role `role` on a new project `bobs`. */
static void make_bob(const char *admin, const char *role, char user[64], char project[64])
{
    char role_id[64], path[300];

    call("POST", "/v3/projects", admin, "{\"project\": {\"name\": \"bobs\"}}");
    created_id("project", project);
    call("POST", "/v3/users", admin, "{\"user\": {\"name\": \"bob\", \"password\": \"one\"}}");
    created_id("user", user);
    assert_null(strstr(answer.text, "$2b$"));
    find("roles", role, admin, role_id);
    snprintf(path, sizeof(path), "/v3/projects/%s/users/%s/roles/%s", project, user, role_id);
    assert_int_equal(call("HEAD", path, admin, NULL), 404);
    assert_int_equal(call("PUT", path, admin, NULL), 204);
    assert_int_equal(call("PUT", path, admin, NULL), 204);
    assert_int_equal(call("HEAD", path, admin, NULL), 204);
}

static void drop_bob(const char *admin, const char *user, const char *project)
{
    char path[200];

    snprintf(path, sizeof(path), "/v3/users/%s", user);
    assert_int_equal(call("DELETE", path, admin, NULL), 204);
    snprintf(path, sizeof(path), "/v3/projects/%s", project);
    assert_int_equal(call("DELETE", path, admin, NULL), 204);
}

static const char *const bob_scope =
    "{\"project\": {\"name\": \"bobs\", \"domain\": {\"id\": \"default\"}}}";

static void test_a_member_may_little(void **state)
{
    char admin[2000], bob[2000], user[64], project[64], path[300];

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    make_bob(admin, "member", user, project);
    assert_int_equal(login("bob", "one", admin_scope, bob), 401);
    assert_int_equal(login("bob", "one", bob_scope, bob), 201);
    assert_int_equal(call("GET", "/v3/users", bob, NULL), 403);
    assert_int_equal(call("GET", "/v3/projects", bob, NULL), 403);
    assert_int_equal(call("POST", "/v3/projects", bob, "{\"project\": {\"name\": \"z\"}}"), 403);
    assert_int_equal(call("GET", "/v3/role_assignments", bob, NULL), 403);
    snprintf(path, sizeof(path), "/v3/projects/%s", project);
    assert_int_equal(call("GET", path, bob, NULL), 200);
    snprintf(path, sizeof(path), "/v3/users/%s", user);
    assert_int_equal(call("GET", path, bob, NULL), 200);
    assert_int_equal(call("PATCH", path, bob, "{\"user\": {\"name\": \"king\"}}"), 403);
    snprintf(path, sizeof(path), "/v3/users/%s/projects", user);
    assert_int_equal(call("GET", path, bob, NULL), 200);
    assert_int_equal(count("projects"), 1);
    assert_int_equal(call_with("GET", "/v3/auth/tokens", bob, admin, NULL), 403);
    assert_int_equal(call_with("GET", "/v3/auth/tokens", admin, bob, NULL), 200);
    drop_bob(admin, user, project);
    assert_int_equal(call("GET", path, bob, NULL), 401); /* the user is gone, so is the token */
}

static void test_roles_count_now(void **state)
{
    char admin[2000], bob[2000], user[64], project[64], role[64], path[300];

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    make_bob(admin, "member", user, project);
    assert_int_equal(login("bob", "one", bob_scope, bob), 201);
    find("roles", "member", admin, role);
    snprintf(path, sizeof(path), "/v3/role_assignments?user.id=%s&include_names=True&effective",
             user);
    assert_int_equal(call("GET", path, admin, NULL), 200);
    assert_int_equal(count("role_assignments"), 2); /* member and, implied, reader */
    assert_non_null(strstr(answer.text, "\"name\":\"bobs\""));
    assert_int_equal(call("GET", "/v3/auth/catalog", bob, NULL), 200);
    snprintf(path, sizeof(path), "/v3/projects/%s/users/%s/roles/%s", project, user, role);
    assert_int_equal(call("DELETE", path, admin, NULL), 204);
    assert_int_equal(call("DELETE", path, admin, NULL), 404);
    assert_int_equal(call("GET", "/v3/auth/catalog", bob, NULL), 401);
    drop_bob(admin, user, project);
}

static void test_passwords(void **state)
{
    char admin[2000], bob[2000], none[2000], user[64], project[64], path[300];

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    make_bob(admin, "reader", user, project);
    assert_int_equal(login("bob", "one", bob_scope, bob), 201);
    snprintf(path, sizeof(path), "/v3/users/%s/password", user);
    assert_int_equal(call("POST", path, bob,
                          "{\"user\": {\"original_password\": \"no\", \"password\": \"two\"}}"),
                     401);
    assert_int_equal(call("POST", path, bob,
                          "{\"user\": {\"original_password\": \"one\", \"password\": \"two\"}}"),
                     204);
    assert_int_equal(call("GET", "/v3/auth/catalog", bob, NULL), 401);
    assert_int_equal(login("bob", "one", bob_scope, bob), 401);
    assert_int_equal(login("bob", "two", bob_scope, bob), 201);
    snprintf(path, sizeof(path), "/v3/users/%s", user);
    assert_int_equal(call("PATCH", path, admin, "{\"user\": {\"password\": \"three\"}}"), 200);
    assert_int_equal(login("bob", "three", bob_scope, bob), 201);
    assert_int_equal(call("PATCH", path, admin, "{\"user\": {\"enabled\": false}}"), 200);
    assert_int_equal(login("bob", "three", bob_scope, none), 401);
    assert_int_equal(call("GET", "/v3/auth/catalog", bob, NULL), 401);
    assert_int_equal(call("PATCH", path, admin, "{\"user\": {\"enabled\": true}}"), 200);
    assert_int_equal(call("GET", "/v3/auth/catalog", bob, NULL), 401);
    drop_bob(admin, user, project);
}

static void test_revocation_and_rescoping(void **state)
{
    char first[2000], second[2000], other[2000], body[3000];
    char expires[64];

    assert_int_equal(login("admin", "secret", NULL, first), 201);
    snprintf(expires, sizeof(expires), "%s",
             json_str(json_object_get(answer.body, "token"), "expires_at", ""));
    snprintf(body, sizeof(body),
             "{\"auth\": {\"identity\": {\"methods\": [\"token\"], \"token\": {\"id\": \"%s\"}}, "
             "\"scope\": %s}}",
             first, admin_scope);
    assert_int_equal(call("POST", "/v3/auth/tokens", NULL, body), 201);
    assert_string_equal(json_str(json_object_get(answer.body, "token"), "expires_at", ""), expires);
    memcpy(second, answer.subject, sizeof(second));
    assert_int_equal(login("admin", "secret", admin_scope, other), 201);
    assert_int_equal(call_with("HEAD", "/v3/auth/tokens", other, second, NULL), 200);
    assert_int_equal(call_with("DELETE", "/v3/auth/tokens", other, second, NULL), 204);
    assert_int_equal(call_with("GET", "/v3/auth/tokens", other, second, NULL), 404);
    assert_int_equal(call("GET", "/v3/projects", second, NULL), 401);
    assert_int_equal(call("GET", "/v3/auth/projects", first, NULL), 200);
}

static void test_domains(void **state)
{
    char admin[2000], domain[64], path[200], body[300];

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    call("POST", "/v3/domains", admin, "{\"domain\": {\"name\": \"d\"}}");
    created_id("domain", domain);
    snprintf(body, sizeof(body), "{\"user\": {\"name\": \"admin\", \"domain_id\": \"%s\"}}",
             domain);
    assert_int_equal(call("POST", "/v3/users", admin, body), 201);
    snprintf(path, sizeof(path), "/v3/users?domain_id=%s", domain);
    assert_int_equal(call("GET", path, admin, NULL), 200);
    assert_int_equal(count("users"), 1);
    snprintf(path, sizeof(path), "/v3/domains/%s", domain);
    assert_int_equal(call("DELETE", path, admin, NULL), 403);
    assert_int_equal(call("PATCH", path, admin, "{\"domain\": {\"enabled\": false}}"), 200);
    assert_int_equal(call("DELETE", path, admin, NULL), 204);
    snprintf(path, sizeof(path), "/v3/users?domain_id=%s", domain);
    assert_int_equal(call("GET", path, admin, NULL), 200);
    assert_int_equal(count("users"), 0);
}

static void test_ids_of_the_catalog_stay(void **state)
{
    char admin[2000], id[64], path[200];

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    find("services", "keystone", admin, id);
    assert_string_equal(id, "f9c14907de45153a47ca6ed1907cac1d");
    snprintf(path, sizeof(path), "/v3/services/%s", id);
    assert_int_equal(call("GET", path, admin, NULL), 200);
    assert_int_equal(call("GET", "/v3/services/none", admin, NULL), 404);
    assert_int_equal(call("GET", "/v3/endpoints?interface=public", admin, NULL), 200);
    assert_int_equal(count("endpoints"), 1);
    assert_int_equal(call("GET", "/v3/regions/R", admin, NULL), 200);
}

/* ---- two at the same time: one name ---- */

static void *create_same(void *arg)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = headers_of(arg, NULL);
    char url[100];
    long status = 0;

    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v3/projects", port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "{\"project\": {\"name\": \"race\"}}");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return (void *)(intptr_t)status;
}

static void test_one_of_many_gets_the_name(void **state)
{
    char admin[2000];
    pthread_t threads[8];
    int won = 0, lost = 0;

    assert_int_equal(login("admin", "secret", admin_scope, admin), 201);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, create_same, admin);
    for (int i = 0; i < 8; i++) {
        void *status;

        pthread_join(threads[i], &status);
        won += (intptr_t)status == 201;
        lost += (intptr_t)status == 409;
    }
    assert_int_equal(won, 1);
    assert_int_equal(lost, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_need_no_token),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_forged_tokens),
        cmocka_unit_test(test_projects),
        cmocka_unit_test(test_a_member_may_little),
        cmocka_unit_test(test_roles_count_now),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_revocation_and_rescoping),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_ids_of_the_catalog_stay),
        cmocka_unit_test(test_one_of_many_gets_the_name),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
