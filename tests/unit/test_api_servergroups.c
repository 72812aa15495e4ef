/* Server groups over HTTP: what is there, who may, microversions, hints at a server's create. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

#define GROUPS "/os-server-groups"

static const char *body(const char *name, const char *policies)
{
    return fmt("{\"server_group\": {\"name\": \"%s\", \"policies\": %s}}", name, policies);
}

static void make_group(const struct person *who, const char *name, const char *policy, char id[64])
{
    microversion = "2.15";
    ask(who, "POST", GROUPS, body(name, fmt("[\"%s\"]", policy)), 200);
    keep("server_group/id", id);
    microversion = NULL;
}

static void ask_for_server(const struct person *who, const char *hints, long want)
{
    ask(who, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"vm\", \"imageRef\": \"" IMAGE
            "\", \"flavorRef\": \"42\"}, %s}",
            hints),
        want);
}

static void test_life(void **state)
{
    char id[64];

    get(&alice, GROUPS, 200);
    assert_int_equal(count("server_groups"), 0);
    ask(&alice, "POST", GROUPS, body("web", "[\"anti-affinity\"]"), 200);
    keep("server_group/id", id);
    assert_string_equal(text("server_group/name"), "web");
    assert_string_equal(text("server_group/policies/0"), "anti-affinity");
    assert_int_equal(count("server_group/policies"), 1);
    assert_int_equal(count("server_group/members"), 0);
    assert_int_equal(count("server_group/metadata"), 0);
    assert_int_equal(count("server_group"), 5);
    get(&alice, fmt(GROUPS "/%s", id), 200);
    assert_string_equal(text("server_group/id"), id);
    assert_null(at("server_group/project_id"));
    microversion = "2.13";
    get(&alice, fmt(GROUPS "/%s", id), 200);
    assert_string_equal(text("server_group/project_id"), alice.project);
    assert_string_equal(text("server_group/user_id"), alice.user);
    ask(&alice, "DELETE", fmt(GROUPS "/%s", id), NULL, 204);
    assert_null(answer.body);
    get(&alice, fmt(GROUPS "/%s", id), 404);
    assert_string_equal(message(), fmt("Instance group %s could not be found.", id));
    ask(&alice, "DELETE", fmt(GROUPS "/%s", id), NULL, 404);
}

static void test_wrong_bodies(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "[\"affinity\", \"anti-affinity\"]",
        "[\"together\"]",
        "\"affinity\"",
        "[7]",
        "null",
        "[\"affinity\"], \"policy\": \"affinity\"",
        "[\"affinity\"], \"color\": \"red\"",
        "[\"affinity\"], \"project_id\": \"x\"",
        "[\"soft-affinity\"]",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ask(&alice, "POST", GROUPS, body("web", wrong[i]), 400);
    ask(&alice, "POST", GROUPS, body("", "[\"affinity\"]"), 400);
    ask(&alice, "POST", GROUPS, "{\"server_group\": {\"policies\": [\"affinity\"]}}", 400);
    microversion = "2.14";
    ask(&alice, "POST", GROUPS, body("web", "[\"soft-anti-affinity\"]"), 400);
    microversion = "2.15";
    ask(&alice, "POST", GROUPS, body("web", "[\"soft-anti-affinity\"]"), 200);
    assert_int_equal(row_count("server_group", ""), 1);
}

static void test_who_may(void **state)
{
    char reds[64], blues[64];

    ask(&rita, "POST", GROUPS, body("web", "[\"affinity\"]"), 403);
    make_group(&alice, "red", "affinity", reds);
    make_group(&bob, "blue", "affinity", blues);
    get(&rita, fmt(GROUPS "/%s", reds), 200);
    ask(&rita, "DELETE", fmt(GROUPS "/%s", reds), NULL, 403);
    get(&bob, fmt(GROUPS "/%s", reds), 404);
    ask(&bob, "DELETE", fmt(GROUPS "/%s", reds), NULL, 404);
    get(&bob, GROUPS "?all_projects=1", 200);
    assert_int_equal(count("server_groups"), 1);
    assert_string_equal(text("server_groups/0/id"), blues);
    get(&admin, GROUPS, 200);
    assert_int_equal(count("server_groups"), 0);
    get(&admin, GROUPS "?all_projects", 200);
    assert_int_equal(count("server_groups"), 2);
    get(&admin, fmt(GROUPS "/%s", reds), 200);
    get(&admin, GROUPS "?all_projects=True&limit=1&offset=1", 200);
    assert_int_equal(count("server_groups"), 1);
    get(&admin, GROUPS "?all_projects=True&offset=2", 200);
    assert_int_equal(count("server_groups"), 0);
    get(&alice, GROUPS "?limit=-1", 400);
    get(&alice, GROUPS "?offset=x", 400);
}

static void test_members(void **state)
{
    char id[64], first[64], second[64];

    make_group(&alice, "web", "soft-affinity", id);
    ask_for_server(&alice, fmt("\"os:scheduler_hints\": {\"group\": \"%s\"}", id), 202);
    keep("server/id", first);
    ask_for_server(&alice, fmt("\"OS-SCH-HNT:scheduler_hints\": {\"group\": \"%s\"}", id), 202);
    keep("server/id", second);
    ask_for_server(&alice, "\"os:scheduler_hints\": {\"different_host\": \"x\"}", 202);
    get(&alice, fmt(GROUPS "/%s", id), 200);
    assert_int_equal(count("server_group/members"), 2);
    assert_true(strcmp(text("server_group/members/0"), first) == 0 ||
                strcmp(text("server_group/members/1"), first) == 0);
    get(&alice, server(first), 200);
    assert_null(at("server/server_group_id"));
    ask(&alice, "DELETE", server(first), NULL, 204);
    get(&alice, GROUPS, 200);
    assert_int_equal(count("server_groups/0/members"), 1);
    assert_string_equal(text("server_groups/0/members/0"), second);
    ask(&alice, "DELETE", fmt(GROUPS "/%s", id), NULL, 204);
    get(&alice, server(second), 200);
}

static void test_wrong_hints(void **state)
{
    char id[64];

    make_group(&bob, "blue", "affinity", id);
    ask_for_server(&alice, "\"os:scheduler_hints\": []", 400);
    ask_for_server(&alice, "\"os:scheduler_hints\": {\"group\": [\"x\"]}", 400);
    ask_for_server(&alice, "\"os:scheduler_hints\": {\"group\": \"web\"}", 400);
    ask_for_server(&alice, "\"os:scheduler_hints\": {\"group\": \"" NOTHING "\"}", 400);
    assert_string_equal(message(), "Instance group " NOTHING " could not be found.");
    ask_for_server(&alice, fmt("\"os:scheduler_hints\": {\"group\": \"%s\"}", id), 400);
    assert_int_equal(row_count("server", ""), 0);
    assert_int_equal(row_count("port", "WHERE device_owner LIKE 'compute%'"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_life, with_network),
        cmocka_unit_test_setup(test_wrong_bodies, with_network),
        cmocka_unit_test_setup(test_who_may, with_network),
        cmocka_unit_test_setup(test_members, with_network),
        cmocka_unit_test_setup(test_wrong_hints, with_network),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
