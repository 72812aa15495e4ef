/* What the API keeps until a row changes: it is never older than the rows, and never somebody
 * else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/known.h"
#include "base/clock.h"
#include "cloud.h"

#define IMAGE "11111111-2222-4333-8444-555555555555"

static size_t images_named(const struct person *who, const char *name)
{
    ask_service(API_IMAGE, who, "GET", fmt("/v2/images?name=%s", name), NULL, 200);
    return count("images");
}

static void lists_follow_the_rows(void **state)
{
    char id[64];

    for (int i = 0; i < 3; i++)
        assert_int_equal(images_named(&alice, "fresh"), 0);
    put_image(IMAGE, json_pack("{s:s}", "name", "fresh"));
    for (int i = 0; i < 3; i++)
        assert_int_equal(images_named(&alice, "fresh"), 1);
    put_image(IMAGE, json_pack("{s:s}", "name", "old"));
    assert_int_equal(images_named(&alice, "fresh"), 0);

    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"one\"}}", 201);
    keep("network/id", id);
    for (int i = 0; i < 3; i++) {
        ask_net(&alice, "GET", "/networks", NULL, 200);
        assert_int_equal(count("networks"), 1);
    }
    ask_net(&alice, "DELETE", fmt("/networks/%s", id), NULL, 204);
    ask_net(&alice, "GET", "/networks", NULL, 200);
    assert_int_equal(count("networks"), 0);
}

static void every_request_has_its_own_answer(void **state)
{
    char id[64];

    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"one\"}}", 201);
    keep("network/id", id);
    for (int i = 0; i < 2; i++) {
        ask_net(&alice, "GET", "/networks", NULL, 200);
        assert_int_equal(count("networks"), 1);
        ask_net(&bob, "GET", "/networks", NULL, 200);
        assert_int_equal(count("networks"), 0);
        ask_net(&alice, "GET", "/networks?name=two", NULL, 200);
        assert_int_equal(count("networks"), 0);
        ask_net(&alice, "GET", "/ports", NULL, 200);
        assert_null(at("networks"));
        ask_service(API_NETWORK, NULL, "GET", "/v2.0/networks", NULL, 401);
        ask_service(API_IDENTITY, &admin, "GET", "/v3/users", NULL, 200);
        assert_int_equal(count("users"), 4);
        ask_service(API_IDENTITY, &bob, "GET", "/v3/users", NULL, 403);
        microversion = "2.1";
        get(&alice, "/flavors", 200);
        assert_string_equal(answer.version, "compute 2.1");
        microversion = "2.19";
        get(&alice, "/flavors", 200);
        assert_string_equal(answer.version, "compute 2.19");
        microversion = NULL;
    }
    ask_net(&alice, "DELETE", fmt("/networks/%s", id), NULL, 204);
}

/* Links are as the client reached us. */
static void links_are_those_of_the_request(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "127.0.0.1"};

    for (int i = 0; i < 3; i++) {
        const char *path = fmt("http://%s:%d/v3/users", hosts[i], cloud.ports[API_IDENTITY]);

        ask_service(API_IDENTITY, &admin, "GET", path, NULL, 200);
        assert_string_equal(text("links/self"), path);
    }
}

/* More lists than are kept. */
static void pages_are_right_when_many_are_asked_for(void **state)
{
    for (int round = 0; round < 2; round++) {
        for (size_t limit = 1; limit <= 400; limit++) {
            ask_service(API_IDENTITY, &admin, "GET", fmt("/v3/users?limit=%zu", limit), NULL, 200);
            assert_int_equal(count("users"), limit < 4 ? limit : 4);
        }
    }
}

static int64_t expires_ms;

/* As if the token "known" had been opened a moment ago. */
static void run_put_bearer(void)
{
    struct known_bearer bearer = {.token = {.expires_ms = expires_ms},
                                  .auth = {.valid = true, .admin = true}};

    snprintf(bearer.auth.user_id, sizeof(bearer.auth.user_id), "%s", admin.user);
    bearer.auth.token = json_object();
    mirror_reads_begin(cloud.mirror);
    json_decref(mirror_get(cloud.mirror, "image", IMAGE, NULL));
    known_put_bearer(api_known(cloud.api), "known", &bearer);
    json_decref(bearer.auth.token);
    job_done(0);
}

static void a_known_token_ends_in_time(void **state)
{
    struct person who = {.name = "known", .token = "known"};

    expires_ms = clock_wall_ms() + 3600 * 1000;
    on_loop(run_put_bearer);
    ask_service(API_IDENTITY, &who, "GET", "/v3/users", NULL, 200);
    expires_ms = clock_wall_ms() - 1;
    on_loop(run_put_bearer);
    ask_service(API_IDENTITY, &who, "GET", "/v3/users", NULL, 401);
}

/* It was worked out from the images here. */
static void a_known_token_ends_with_the_rows_it_follows_from(void **state)
{
    struct person who = {.name = "known", .token = "known"};
    char id[64];

    expires_ms = clock_wall_ms() + 3600 * 1000;
    on_loop(run_put_bearer);
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"one\"}}", 201);
    keep("network/id", id);
    ask_service(API_IDENTITY, &who, "GET", "/v3/users", NULL, 200);
    put_image(IMAGE, NULL);
    ask_service(API_IDENTITY, &who, "GET", "/v3/users", NULL, 401);
    ask_net(&alice, "DELETE", fmt("/networks/%s", id), NULL, 204);
}

/* A list follows also from the rows that made its reader somebody: the roles here. */
static void a_list_ends_with_its_readers_rights(void **state)
{
    char role[64], grant[300];

    ask_service(API_IDENTITY, &admin, "GET", "/v3/roles?name=reader", NULL, 200);
    keep("roles/0/id", role);
    snprintf(grant, sizeof(grant), "/v3/projects/%s/users/%s/roles/%s", rita.project, rita.user,
             role);
    for (int i = 0; i < 2; i++)
        get(&rita, "/servers", 200);
    ask_service(API_IDENTITY, &admin, "DELETE", grant, NULL, 204);
    get(&rita, "/servers", 401);
    ask_service(API_IDENTITY, &admin, "PUT", grant, NULL, 204);
    get(&rita, "/servers", 200);
}

static void a_shown_token_ends_with_its_revocation(void **state)
{
    static const char path[] = "/v3/auth/tokens";

    microversion = fmt("X-Subject-Token: %s", rita.token);
    for (int i = 0; i < 2; i++) {
        ask_service(API_IDENTITY, &admin, "GET", path, NULL, 200);
        assert_string_equal(text("token/user/name"), "rita");
        assert_string_equal(answer.subject, rita.token);
        assert_non_null(at("token/catalog/0"));
        ask_service(API_IDENTITY, &admin, "GET", "/v3/auth/tokens?nocatalog", NULL, 200);
        assert_null(at("token/catalog"));
        ask_service(API_IDENTITY, &bob, "GET", path, NULL, 403);
    }
    ask_service(API_IDENTITY, &admin, "DELETE", path, NULL, 204);
    ask_service(API_IDENTITY, &admin, "GET", path, NULL, 404);
    microversion = NULL;
    login(&rita);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_follow_the_rows),
        cmocka_unit_test(every_request_has_its_own_answer),
        cmocka_unit_test(links_are_those_of_the_request),
        cmocka_unit_test(pages_are_right_when_many_are_asked_for),
        cmocka_unit_test(a_known_token_ends_in_time),
        cmocka_unit_test(a_known_token_ends_with_the_rows_it_follows_from),
        cmocka_unit_test(a_list_ends_with_its_readers_rights),
        cmocka_unit_test(a_shown_token_ends_with_its_revocation),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
