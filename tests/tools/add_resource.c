/* The resource of docs/adding-a-resource.md, tried as its users would; test_add_resource.sh builds
 * this in a copy of the sources that has the lines of the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud.h"

static void wipe_groups(void)
{
    wipe("address_group", "");
    wipe("network_quota", "");
}

static void make(const struct person *who, const char *members, char id[64])
{
    ask_net(who, "POST", "/address-groups", fmt("{\"address_group\": {%s}}", members), 201);
    keep("address_group/id", id);
}

static void refused(const char *members)
{
    ask_net(&alice, "POST", "/address-groups", fmt("{\"address_group\": {%s}}", members), 400);
    assert_string_not_equal(text("NeutronError/message"), "missing");
}

static void test_create_fills_and_checks(void **state)
{
    char id[64], many[8000] = "\"192.0.2.0\"", name[300] = "";

    wipe_groups();
    make(&alice, "\"name\": \"offices\", \"addresses\": [\"192.0.2.7\", \"fd00::/8\"]", id);
    assert_string_equal(text("address_group/project_id"), alice.project);
    assert_string_equal(text("address_group/addresses/0"), "192.0.2.7/32");
    assert_string_equal(text("address_group/addresses/1"), "fd00::/8");
    assert_int_equal(num("address_group/rank"), 50);
    assert_int_equal(num("address_group/revision_number"), 1);
    refused("\"rank\": 0");
    refused("\"rank\": 101");
    refused("\"rank\": \"high\"");
    refused("\"addresses\": [\"192.0.2.0/33\"]");
    refused("\"addresses\": \"192.0.2.0\"");
    refused("\"colour\": \"red\"");
    refused("\"id\": \"mine\"");
    for (int i = 0; i < 256; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), ", \"10.0.0.%d\"", i);
    refused(fmt("\"addresses\": [%s]", many));
    memset(name, 'a', 256);
    refused(fmt("\"name\": \"%s\"", name));
    assert_int_equal(row_count("address_group", ""), 1);
    make(&alice, "\"rank\": 1", id);
    make(&alice, "\"rank\": 100", id);
}

static void test_lists_filter_sort_and_page(void **state)
{
    char low[64], high[64], middle[64];

    wipe_groups();
    make(&alice, "\"name\": \"low\", \"rank\": 7", low);
    make(&alice, "\"name\": \"high\", \"rank\": 70", high);
    make(&alice, "\"name\": \"middle\"", middle);
    ask_net(&alice, "GET", "/address-groups?rank=70", NULL, 200);
    assert_int_equal(count("address_groups"), 1);
    assert_string_equal(text("address_groups/0/id"), high);
    ask_net(&alice, "GET", "/address-groups?rank=70&rank=7", NULL, 200);
    assert_int_equal(count("address_groups"), 2);
    ask_net(&alice, "GET", "/address-groups?name=middle", NULL, 200);
    assert_string_equal(text("address_groups/0/id"), middle);
    ask_net(&alice, "GET", "/address-groups?sort_key=rank&sort_dir=asc&limit=2", NULL, 200);
    assert_int_equal(count("address_groups"), 2);
    assert_string_equal(text("address_groups/0/id"), low);
    assert_string_equal(text("address_groups/1/id"), middle);
    assert_int_equal(count("address_groups_links"), 2);
    ask_net(&alice, "GET", "/address-groups?sort_key=addresses", NULL, 400);
}

static void test_a_project_is_alone(void **state)
{
    char id[64];

    wipe_groups();
    make(&alice, "\"name\": \"ours\"", id);
    ask_net(&bob, "GET", "/address-groups", NULL, 200);
    assert_int_equal(count("address_groups"), 0);
    ask_net(&bob, "GET", fmt("/address-groups/%s", id), NULL, 404);
    assert_string_equal(text("NeutronError/type"), "AddressGroupNotFound");
    ask_net(&bob, "PUT", fmt("/address-groups/%s", id),
            "{\"address_group\": {\"name\": \"theirs\"}}", 404);
    ask_net(&bob, "DELETE", fmt("/address-groups/%s", id), NULL, 404);
    ask_net(&bob, "PUT", fmt("/address-groups/%s/tags/a", id), NULL, 404);
    ask_net(&bob, "PUT", fmt("/address-groups/%s/add_addresses", id),
            "{\"address_group\": {\"addresses\": [\"10.0.0.1\"]}}", 404);
    ask_net(&bob, "POST", "/address-groups",
            fmt("{\"address_group\": {\"project_id\": \"%s\"}}", alice.project), 403);
    ask_net(&admin, "GET", fmt("/address-groups?project_id=%s", alice.project), NULL, 200);
    assert_int_equal(count("address_groups"), 1);
    ask_net(&admin, "GET", fmt("/address-groups/%s", id), NULL, 200);
}

static void test_readers_only_read(void **state)
{
    char id[64];

    wipe_groups();
    make(&alice, "\"name\": \"ours\"", id);
    ask_net(&rita, "GET", fmt("/address-groups/%s", id), NULL, 200);
    ask_net(&rita, "GET", "/address-groups", NULL, 200);
    assert_int_equal(count("address_groups"), 1);
    ask_net(&rita, "POST", "/address-groups", "{\"address_group\": {\"name\": \"no\"}}", 403);
    ask_net(&rita, "PUT", fmt("/address-groups/%s", id), "{\"address_group\": {\"name\": \"no\"}}",
            403);
    ask_net(&rita, "DELETE", fmt("/address-groups/%s", id), NULL, 403);
    assert_int_equal(row_count("address_group", "WHERE name = 'ours'"), 1);
}

static void test_update_tags_delete(void **state)
{
    char id[64];

    wipe_groups();
    make(&alice, "\"name\": \"first\"", id);
    ask_net(&alice, "PUT", fmt("/address-groups/%s", id),
            "{\"address_group\": {\"name\": \"second\", \"rank\": 3}}", 200);
    assert_string_equal(text("address_group/name"), "second");
    assert_int_equal(num("address_group/revision_number"), 2);
    ask_net(&alice, "PUT", fmt("/address-groups/%s", id), "{\"address_group\": {\"rank\": 300}}",
            400);
    ask_net(&alice, "PUT", fmt("/address-groups/%s/tags/blue", id), NULL, 201);
    ask_net(&alice, "GET", "/address-groups?tags=blue", NULL, 200);
    assert_string_equal(text("address_groups/0/name"), "second");
    assert_int_equal(num("address_groups/0/rank"), 3);
    ask_net(&alice, "DELETE", fmt("/address-groups/%s", id), NULL, 204);
    ask_net(&alice, "GET", fmt("/address-groups/%s", id), NULL, 404);
}

static void test_actions(void **state)
{
    char id[64];

    wipe_groups();
    make(&alice, "\"addresses\": [\"10.0.0.1\", \"10.0.0.2\"]", id);
    ask_net(&alice, "PUT", fmt("/address-groups/%s/add_addresses", id),
            "{\"address_group\": {\"addresses\": [\"10.0.0.2/32\", \"10.1.0.0/16\"]}}", 200);
    assert_int_equal(count("address_group/addresses"), 3);
    ask_net(&alice, "PUT", fmt("/address-groups/%s/remove_addresses", id),
            "{\"address_group\": {\"addresses\": [\"10.0.0.1\", \"10.9.9.9\"]}}", 200);
    assert_int_equal(count("address_group/addresses"), 2);
    assert_string_equal(text("address_group/addresses/0"), "10.0.0.2/32");
    assert_string_equal(text("address_group/addresses/1"), "10.1.0.0/16");
    ask_net(&alice, "PUT", fmt("/address-groups/%s/add_addresses", id),
            "{\"address_group\": {\"addresses\": [\"everywhere\"]}}", 400);
    ask_net(&alice, "PUT", fmt("/address-groups/%s/remove_addresses", id),
            "{\"address_group\": {\"name\": \"none\"}}", 400);
    ask_net(&alice, "GET", fmt("/address-groups/%s", id), NULL, 200);
    assert_int_equal(count("address_group/addresses"), 2);
}

static void test_quota(void **state)
{
    char id[64];

    wipe_groups();
    ask_net(&admin, "PUT", fmt("/quotas/%s", alice.project), "{\"quota\": {\"address_group\": 1}}",
            200);
    make(&alice, "\"name\": \"the one\"", id);
    ask_net(&alice, "POST", "/address-groups", "{\"address_group\": {}}", 409);
    assert_string_equal(text("NeutronError/type"), "OverQuota");
    make(&bob, "\"name\": \"another project's\"", id);
    ask_net(&alice, "GET", fmt("/quotas/%s/details", alice.project), NULL, 200);
    assert_int_equal(num("quota/address_group/used"), 1);
    wipe_groups();
}

static void test_is_found(void **state)
{
    bool found = false;
    json_t *one;
    size_t i;

    ask_net(&alice, "GET", "/", NULL, 200);
    json_array_foreach(at("resources"), i, one)
    {
        found |= strcmp(json_str(one, "collection", ""), "address-groups") == 0;
    }
    assert_true(found);
    ask_net(&alice, "GET", "/extensions/address-group", NULL, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_fills_and_checks),
        cmocka_unit_test(test_lists_filter_sort_and_page),
        cmocka_unit_test(test_a_project_is_alone),
        cmocka_unit_test(test_readers_only_read),
        cmocka_unit_test(test_update_tags_delete),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_is_found),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
