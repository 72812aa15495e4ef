/* Application credentials over HTTP: what they may do, and what ends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cloud.h"

static struct person robot = {.name = "a program"};

static void ask_id(const struct person *who, const char *method, const char *path, const char *body,
                   long want)
{
    ask_service(API_IDENTITY, who, method, path, body, want);
}

static const char *path_of(const struct person *who, const char *id)
{
    return fmt("/v3/users/%s/application_credentials%s%s", who->user, id[0] ? "/" : "", id);
}

/* Creates one with `members` ("\"name\": ..."); its id and secret. */
static void create(const struct person *who, const char *members, char id[64], char secret[129])
{
    ask_id(who, "POST", path_of(who, ""), fmt("{\"application_credential\": {%s}}", members), 201);
    keep("application_credential/id", id);
    snprintf(secret, 129, "%s", text("application_credential/secret"));
}

/* A token by the method application_credential with `members`, into robot.token. */
static void enter(const char *members, long want)
{
    ask_id(NULL, "POST", "/v3/auth/tokens",
           fmt("{\"auth\": {\"identity\": {\"methods\": [\"application_credential\"], "
               "\"application_credential\": {%s}}}}",
               members),
           want);
    snprintf(robot.token, sizeof(robot.token), "%s", answer.subject);
}

static void enter_by_id(const char *id, const char *secret, long want)
{
    enter(fmt("\"id\": \"%s\", \"secret\": \"%s\"", id, secret), want);
}

static const char *role_id(const char *name)
{
    ask_id(&admin, "GET", fmt("/v3/roles?name=%s", name), NULL, 200);
    return fmt("%s", text("roles/0/id"));
}

static const char *error_text(void)
{
    return text("error/message");
}

static int setup(void **state)
{
    login(&admin);
    login(&alice);
    wipe("application_credential", "");
    return 0;
}

static void test_a_program_works_with_it(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"backup\", \"description\": \"nightly\"", id, secret);
    assert_int_equal(strlen(secret), 86);
    assert_string_equal(text("application_credential/project_id"), alice.project);
    assert_string_equal(text("application_credential/expires_at"), "null");
    assert_true(json_is_false(at("application_credential/unrestricted")));
    assert_int_equal(count("application_credential/roles"), 2); /* member and, implied, reader */
    enter_by_id(id, secret, 201);
    assert_string_equal(text("token/methods/0"), "application_credential");
    assert_string_equal(text("token/application_credential/id"), id);
    assert_string_equal(text("token/application_credential/name"), "backup");
    assert_true(json_is_true(at("token/application_credential/restricted")));
    assert_string_equal(text("token/project/id"), alice.project);
    assert_string_equal(text("token/user/id"), alice.user);
    assert_int_equal(count("token/catalog"), 4);
    ask_net(&robot, "POST", "/networks", "{\"network\": {\"name\": \"by-program\"}}", 201);
    assert_string_equal(text("network/project_id"), alice.project);
    get(&robot, "/servers", 200);
    enter(fmt("\"name\": \"backup\", \"user\": {\"id\": \"%s\"}, \"secret\": \"%s\"", alice.user,
              secret),
          201);
    enter(fmt("\"name\": \"backup\", \"user\": {\"name\": \"alice\", \"domain\": {\"id\": "
              "\"default\"}}, \"secret\": \"%s\"",
              secret),
          201);
}

static void test_the_secret_is_shown_once(void **state)
{
    char id[64], secret[129];
    json_t *row;

    create(&alice, "\"name\": \"once\"", id, secret);
    ask_id(&alice, "GET", path_of(&alice, id), NULL, 200);
    assert_null(strstr(answer.text, secret));
    assert_null(strstr(answer.text, "secret"));
    assert_string_equal(text("application_credential/name"), "once");
    ask_id(&alice, "GET", path_of(&alice, ""), NULL, 200);
    assert_int_equal(count("application_credentials"), 1);
    assert_null(strstr(answer.text, "secret"));
    ask_id(&alice, "GET", fmt("%s?name=other", path_of(&alice, "")), NULL, 200);
    assert_int_equal(count("application_credentials"), 0);
    row = row_of("application_credential", id);
    assert_null(strstr(json_str(row, "secret_hash", ""), secret));
    assert_int_equal(strncmp(json_str(row, "secret_hash", ""), "$blake2b$", 9), 0);
    json_decref(row);
}

static void test_a_chosen_secret_is_hashed_like_a_password(void **state)
{
    char id[64], secret[129];
    json_t *row;

    create(&alice, "\"name\": \"chosen\", \"secret\": \"se\\\"same\"", id, secret);
    assert_string_equal(secret, "se\"same");
    row = row_of("application_credential", id);
    assert_int_equal(strncmp(json_str(row, "secret_hash", ""), "$2b$", 4), 0);
    json_decref(row);
    enter_by_id(id, "se\\\"same", 201);
    enter_by_id(id, "sesame", 401);
}

static void test_who_does_not_get_in(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"door\"", id, secret);
    enter_by_id(id, "wrong", 401);
    enter_by_id(id, "", 401);
    enter(fmt("\"id\": \"%s\"", id), 401);
    enter_by_id("0123", secret, 404);
    assert_string_equal(error_text(), "Could not find Application Credential: 0123.");
    enter(fmt("\"secret\": \"%s\"", secret), 400);
    enter(fmt("\"name\": \"door\", \"secret\": \"%s\"", secret), 400);
    enter(
        fmt("\"name\": \"door\", \"user\": {\"id\": \"%s\"}, \"secret\": \"%s\"", bob.user, secret),
        401);
    enter(fmt("\"name\": \"gate\", \"user\": {\"id\": \"%s\"}, \"secret\": \"%s\"", alice.user,
              secret),
          401);
    ask_id(NULL, "POST", "/v3/auth/tokens",
           fmt("{\"auth\": {\"identity\": {\"methods\": [\"application_credential\"], "
               "\"application_credential\": {\"id\": \"%s\", \"secret\": \"%s\"}}, \"scope\": "
               "{\"project\": {\"id\": \"%s\"}}}}",
               id, secret, alice.project),
           401);
    assert_non_null(strstr(error_text(), "cannot request a scope"));
    /* somebody else's password does not make it theirs */
    ask_id(
        NULL, "POST", "/v3/auth/tokens",
        fmt("{\"auth\": {\"identity\": {\"methods\": [\"password\", \"application_credential\"], "
            "\"password\": {\"user\": {\"id\": \"%s\", \"password\": \"secret\"}}, "
            "\"application_credential\": {\"id\": \"%s\", \"secret\": \"%s\"}}}}",
            bob.user, id, secret),
        401);
}

static void test_bad_requests(void **state)
{
    static const struct {
        const char *members;
        long status;
    } bad[] = {
        {"", 400},
        {"\"name\": 7", 400},
        {"\"name\": \"\"", 400},
        {"\"name\": \"x\", \"secret\": 7", 400},
        {"\"name\": \"x\", \"roles\": 7", 400},
        {"\"name\": \"x\", \"roles\": [7]", 400},
        {"\"name\": \"x\", \"roles\": [{}]", 400},
        {"\"name\": \"x\", \"roles\": [{\"name\": \"no-such-role\"}]", 404},
        {"\"name\": \"x\", \"roles\": [{\"id\": \"no-such-role\"}]", 400},
        {"\"name\": \"x\", \"roles\": [{\"name\": \"admin\"}]", 400},
        {"\"name\": \"x\", \"expires_at\": 7", 400},
        {"\"name\": \"x\", \"expires_at\": \"soon\"", 400},
        {"\"name\": \"x\", \"expires_at\": \"2020-01-01T00:00:00Z\"", 400},
        {"\"name\": \"x\", \"unrestricted\": \"perhaps\"", 400},
    };
    char id[64], secret[129];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ask_id(&alice, "POST", path_of(&alice, ""),
               fmt("{\"application_credential\": {%s}}", bad[i].members), bad[i].status);
    ask_id(&alice, "POST", path_of(&bob, ""), "{\"application_credential\": {\"name\": \"x\"}}",
           403);
    ask_id(&admin, "POST", path_of(&bob, ""), "{\"application_credential\": {\"name\": \"x\"}}",
           403);
    create(&alice, "\"name\": \"twice\"", id, secret);
    ask_id(&alice, "POST", path_of(&alice, ""),
           "{\"application_credential\": {\"name\": \"twice\"}}", 409);
    assert_non_null(strstr(error_text(), "Duplicate entry found with name twice"));
    create(&admin, "\"name\": \"twice\"", id, secret); /* names are each user's own */
}

/* A credential must not be able to do more than its maker believes. */
static void test_access_rules_are_refused(void **state)
{
    static const char *const rules[] = {
        "[{\"method\": \"GET\", \"path\": \"/v2.1/servers\", \"service\": \"compute\"}]",
        "[{\"id\": \"abc\"}]", "{}", "7"};
    char id[64], secret[129];

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        ask_id(&alice, "POST", path_of(&alice, ""),
               fmt("{\"application_credential\": {\"name\": \"ruled\", \"access_rules\": %s}}",
                   rules[i]),
               400);
    assert_non_null(strstr(error_text(), "access_rules"));
    ask_id(&alice, "GET", path_of(&alice, ""), NULL, 200);
    assert_int_equal(count("application_credentials"), 0);
    create(&alice, "\"name\": \"none\", \"access_rules\": []", id, secret);
    create(&alice, "\"name\": \"null\", \"access_rules\": null", id, secret);
}

static void test_others_do_not_see_it(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"mine\"", id, secret);
    ask_id(&bob, "GET", path_of(&alice, ""), NULL, 403);
    ask_id(&bob, "GET", path_of(&alice, id), NULL, 403);
    ask_id(&bob, "DELETE", path_of(&alice, id), NULL, 403);
    ask_id(&bob, "GET", path_of(&bob, id), NULL, 404);
    ask_id(&bob, "DELETE", path_of(&bob, id), NULL, 404);
    ask_id(&admin, "GET", path_of(&alice, id), NULL, 200);
    ask_id(&admin, "DELETE", path_of(&alice, id), NULL, 204);
    ask_id(&alice, "GET", path_of(&alice, id), NULL, 404);
}

static void test_fewer_roles(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"eyes\", \"roles\": [{\"name\": \"reader\"}]", id, secret);
    assert_int_equal(count("application_credential/roles"), 1);
    enter_by_id(id, secret, 201);
    assert_int_equal(count("token/roles"), 1);
    assert_string_equal(text("token/roles/0/name"), "reader");
    get(&robot, "/servers", 200);
    ask_net(&robot, "POST", "/networks", "{\"network\": {\"name\": \"no\"}}", 403);
    create(&admin, "\"name\": \"small\", \"roles\": [{\"name\": \"member\"}]", id, secret);
    enter_by_id(id, secret, 201);
    assert_int_equal(count("token/roles"), 2);
    ask_id(&robot, "GET", "/v3/users", NULL, 403); /* its owner is an administrator, it is not */
}

static void test_restricted_means_no_others(void **state)
{
    char id[64], secret[129], child[64], free_id[64], free_secret[129];

    create(&alice, "\"name\": \"restricted\"", id, secret);
    create(&alice,
           "\"name\": \"free\", \"unrestricted\": true, \"roles\": [{\"name\": \"reader\"}]",
           free_id, free_secret);
    enter_by_id(id, secret, 201);
    ask_id(&robot, "POST", path_of(&alice, ""), "{\"application_credential\": {\"name\": \"c\"}}",
           403);
    assert_non_null(strstr(error_text(), "managing additional application credentials"));
    ask_id(&robot, "DELETE", path_of(&alice, free_id), NULL, 403);
    ask_id(&robot, "GET", path_of(&alice, ""), NULL, 200);
    enter_by_id(free_id, free_secret, 201);
    assert_true(json_is_false(at("token/application_credential/restricted")));
    ask_id(&robot, "POST", path_of(&alice, ""),
           "{\"application_credential\": {\"name\": \"c\", \"roles\": [{\"name\": \"member\"}]}}",
           400); /* not more than it has itself */
    ask_id(&robot, "POST", path_of(&alice, ""), "{\"application_credential\": {\"name\": \"c\"}}",
           201);
    assert_int_equal(count("application_credential/roles"), 1);
    keep("application_credential/id", child);
    ask_id(&robot, "DELETE", path_of(&alice, child), NULL, 204);
}

static void exchange(const char *scope, long want)
{
    ask_id(
        NULL, "POST", "/v3/auth/tokens",
        fmt("{\"auth\": {\"identity\": {\"methods\": [\"token\"], \"token\": {\"id\": \"%s\"}}%s}}",
            robot.token, scope),
        want);
    snprintf(robot.token, sizeof(robot.token), "%s", answer.subject);
}

static void test_a_new_token_is_bound_too(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"chain\", \"roles\": [{\"name\": \"reader\"}]", id, secret);
    enter_by_id(id, secret, 201);
    exchange("", 201);
    assert_string_equal(text("token/application_credential/id"), id);
    assert_int_equal(count("token/roles"), 1);
    ask_id(&robot, "POST", path_of(&alice, ""), "{\"application_credential\": {\"name\": \"c\"}}",
           403);
    exchange(fmt(", \"scope\": {\"project\": {\"id\": \"%s\"}}", alice.project), 403);
}

static void test_tokens_end_with_it(void **state)
{
    char id[64], secret[129], iso[40];
    int64_t end = clock_wall_ms() / 1000 * 1000 + 900000;
    char token[2000];
    json_t *row;

    create(&alice,
           fmt("\"name\": \"short\", \"expires_at\": \"%s\"", clock_iso_us(end, iso, sizeof(iso))),
           id, secret);
    assert_string_equal(text("application_credential/expires_at"), iso);
    enter_by_id(id, secret, 201);
    assert_string_equal(text("token/expires_at"), iso);
    get(&robot, "/servers", 200);
    snprintf(token, sizeof(token), "%s", robot.token);
    row = row_of("application_credential", id);
    json_put_str(row, "expires_at", "2026-01-01T00:00:00.000000Z");
    put_row("application_credential", row);
    enter_by_id(id, secret, 401);
    snprintf(robot.token, sizeof(robot.token), "%s", token);
    get(&robot, "/servers", 200);
    ask_id(&alice, "DELETE", path_of(&alice, id), NULL, 204);
    get(&robot, "/servers", 401);
    enter_by_id(id, secret, 404);
    create(&alice, "\"name\": \"short\"", id,
           secret); /* the name is free, the old token stays void */
    get(&robot, "/servers", 401);
}

static void test_it_outlives_a_password(void **state)
{
    char id[64], secret[129];

    create(&alice, "\"name\": \"steady\"", id, secret);
    enter_by_id(id, secret, 201);
    ask_id(&admin, "PATCH", fmt("/v3/users/%s", alice.user),
           "{\"user\": {\"password\": \"secret\"}}", 200);
    get(&robot, "/servers", 401); /* tokens from before are void */
    enter_by_id(id, secret, 201);
    get(&robot, "/servers", 200);
}

/* ---- what ends it ---- */

static struct person carol = {.name = "carol", .role = "member", .project_name = "green"};

/* A new carol with a credential; robot has a token of it. */
static void with_carol(char id[64], char secret[129])
{
    move_in(&carol);
    create(&carol, "\"name\": \"hers\"", id, secret);
    enter_by_id(id, secret, 201);
    get(&robot, "/servers", 200);
}

static void without_carol(void)
{
    ask_id(&admin, "DELETE", fmt("/v3/users/%s", carol.user), NULL, 204);
    get(&robot, "/servers", 401);
    assert_int_equal(row_count("application_credential", ""), 0);
}

static void test_it_dies_with_the_user(void **state)
{
    char id[64], secret[129];

    with_carol(id, secret);
    without_carol();
    enter_by_id(id, secret, 404);
}

static void test_it_dies_when_the_user_is_disabled(void **state)
{
    char id[64], secret[129];

    with_carol(id, secret);
    ask_id(&admin, "PATCH", fmt("/v3/users/%s", carol.user), "{\"user\": {\"enabled\": false}}",
           200);
    get(&robot, "/servers", 401);
    ask_id(&admin, "PATCH", fmt("/v3/users/%s", carol.user), "{\"user\": {\"enabled\": true}}",
           200);
    enter_by_id(id, secret, 404);
    without_carol();
}

static void test_it_dies_with_the_project(void **state)
{
    char id[64], secret[129];

    with_carol(id, secret);
    ask_id(&admin, "DELETE", fmt("/v3/projects/%s", carol.project), NULL, 204);
    get(&robot, "/servers", 401);
    enter_by_id(id, secret, 404);
    without_carol();
}

static void test_it_dies_with_the_role(void **state)
{
    char id[64], secret[129], path[400];

    with_carol(id, secret);
    snprintf(path, sizeof(path), "/v3/projects/%s/users/%s/roles/%s", carol.project, carol.user,
             role_id("member"));
    ask_id(&admin, "DELETE", path, NULL, 204);
    get(&robot, "/servers", 401);
    ask_id(&admin, "PUT", path, NULL, 204);
    get(&robot, "/servers", 401);
    enter_by_id(id, secret, 404);
    without_carol();
}

static void test_it_dies_with_a_role_that_is_deleted(void **state)
{
    char id[64], secret[129], role[64];

    with_carol(id, secret);
    ask_id(&admin, "POST", "/v3/roles", "{\"role\": {\"name\": \"special\"}}", 201);
    keep("role/id", role);
    ask_id(&admin, "PUT", fmt("/v3/projects/%s/users/%s/roles/%s", carol.project, carol.user, role),
           NULL, 204);
    login(&carol);
    create(&carol, "\"name\": \"special\", \"roles\": [{\"name\": \"special\"}]", id, secret);
    enter_by_id(id, secret, 201);
    ask_id(&admin, "DELETE", fmt("/v3/roles/%s", role), NULL, 204);
    enter_by_id(id, secret, 404);
    assert_int_equal(row_count("application_credential", ""), 1);
    without_carol();
}

/* ---- many ---- */

static void test_no_more_than_the_limit(void **state)
{
    char id[64], secret[129];

    move_in(&carol);
    for (int i = 0; i < 50; i++)
        create(&carol, fmt("\"name\": \"n%d\"", i), id, secret);
    ask_id(&carol, "POST", path_of(&carol, ""), "{\"application_credential\": {\"name\": \"n\"}}",
           403);
    assert_non_null(strstr(error_text(), "maximum of 50"));
    snprintf(robot.token, sizeof(robot.token), "%s", carol.token);
    without_carol();
}

static void *create_same(void *arg)
{
    struct answer mine = {0};
    long status;

    perform(&mine, API_IDENTITY, &alice, "POST", arg,
            "{\"application_credential\": {\"name\": \"race\"}}");
    status = mine.status;
    answer_clear(&mine);
    return (void *)(intptr_t)status;
}

static void test_one_of_many_gets_the_name(void **state)
{
    pthread_t threads[8];
    char path[200];
    int won = 0, lost = 0;

    snprintf(path, sizeof(path), "%s", path_of(&alice, ""));
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_same, path), 0);
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
        cmocka_unit_test_setup(test_a_program_works_with_it, setup),
        cmocka_unit_test_setup(test_the_secret_is_shown_once, setup),
        cmocka_unit_test_setup(test_a_chosen_secret_is_hashed_like_a_password, setup),
        cmocka_unit_test_setup(test_who_does_not_get_in, setup),
        cmocka_unit_test_setup(test_bad_requests, setup),
        cmocka_unit_test_setup(test_access_rules_are_refused, setup),
        cmocka_unit_test_setup(test_others_do_not_see_it, setup),
        cmocka_unit_test_setup(test_fewer_roles, setup),
        cmocka_unit_test_setup(test_restricted_means_no_others, setup),
        cmocka_unit_test_setup(test_a_new_token_is_bound_too, setup),
        cmocka_unit_test_setup(test_tokens_end_with_it, setup),
        cmocka_unit_test_setup(test_it_outlives_a_password, setup),
        cmocka_unit_test_setup(test_it_dies_with_the_user, setup),
        cmocka_unit_test_setup(test_it_dies_when_the_user_is_disabled, setup),
        cmocka_unit_test_setup(test_it_dies_with_the_project, setup),
        cmocka_unit_test_setup(test_it_dies_with_the_role, setup),
        cmocka_unit_test_setup(test_it_dies_with_a_role_that_is_deleted, setup),
        cmocka_unit_test_setup(test_no_more_than_the_limit, setup),
        cmocka_unit_test_setup(test_one_of_many_gets_the_name, setup),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
