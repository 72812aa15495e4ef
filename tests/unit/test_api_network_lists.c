/* Lists of the network service, and the length of lists of identity: filters, pages, markers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cloud.h"

static char net[64], subnet[64];

static void make_net(const struct person *who, const char *more, char id[64])
{
    ask_net(who, "POST", "/networks", fmt("{\"network\": {\"name\": \"n\"%s}}", more), 201);
    keep("network/id", id);
}

static void list(const struct person *who, const char *path, size_t want)
{
    char plural[64];

    ask_net(who, "GET", path, NULL, 200);
    snprintf(plural, sizeof(plural), "%.*s", (int)strcspn(path + 1, "?"), path + 1);
    for (char *at_dash = plural; (at_dash = strchr(at_dash, '-'));)
        *at_dash = '_';
    if (count(plural) != want)
        fail_msg("%s: %zu instead of %zu", path, count(plural), want);
}

static int with_network(void **state)
{
    cloud_wipe(state);
    put_host("h1", "c1", "[\"compute\", \"network\"]", "up");
    put_host("h2", "c2", "[\"network\"]", "lost");
    make_net(&alice, "", net);
    ask_net(&alice, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"10.0.0.0/24\", \"enable_dhcp\": false}}",
                net),
            201);
    keep("subnet/id", subnet);
    return 0;
}

/* ---- how much ---- */

/* `n` copies of a row with ids of their own. */
static void put_many(const char *table, const json_t *row, int n)
{
    for (int from = 0; from < n; from += 100) {
        job.txn = store_txn_new();
        for (int i = from; i < n && i < from + 100; i++) {
            json_t *copy = json_deep_copy(row);

            json_object_del(copy, "_rev");
            json_put_str(copy, "id", fmt("many-%d", i));
            json_put_str(copy, "name", fmt("many-%d", i));
            store_txn_put(job.txn, table, fmt("many-%d", i), copy);
            json_decref(copy);
        }
        assert_int_equal(on_loop(run_commit), 0);
    }
}

static void test_more_than_a_thousand(void **state)
{
    json_t *row = row_of("network", net);

    put_many("network", row, 1500);
    json_decref(row);
    list(&alice, "/networks", 1501);
    assert_null(at("networks_links"));
    list(&alice, "/networks?limit=1200", 1200);
    assert_string_equal(text("networks_links/0/rel"), "next");
    row = row_of("project", alice.project);
    put_many("project", row, 1500);
    json_decref(row);
    ask_service(API_IDENTITY, &admin, "GET", "/v3/projects", NULL, 200);
    assert_true(count("projects") > 1500);
    assert_string_equal(text("links/next"), "null");
    ask_service(API_IDENTITY, &admin, "GET", "/v3/projects?limit=1200", NULL, 200);
    assert_int_equal(count("projects"), 1200);
    assert_non_null(strstr(text("links/next"), "marker="));
    wipe("project", "WHERE id LIKE 'many-%'");
}

/* ---- filters ---- */

static void tag(const char *id, const char *tags)
{
    ask_net(&alice, "PUT", fmt("/networks/%s/tags", id), fmt("{\"tags\": [%s]}", tags), 200);
}

static void test_tags(void **state)
{
    char other[64], third[64];

    make_net(&alice, "", other);
    make_net(&alice, "", third);
    tag(net, "\"x\", \"y\"");
    tag(other, "\"x\"");
    list(&alice, "/networks?tags=x", 2);
    list(&alice, "/networks?tags=x,y", 1);
    list(&alice, "/networks?tags=x&tags=y,x", 1);
    list(&alice, "/networks?tags=x,z", 0);
    list(&alice, "/networks?tags-any=y,z", 1);
    list(&alice, "/networks?tags-any=y,x", 2);
    list(&alice, "/networks?not-tags=x,y", 2);
    list(&alice, "/networks?not-tags=x", 1);
    list(&alice, "/networks?not-tags-any=y,z", 2);
    list(&alice, "/networks?not-tags-any=x,y", 1);
    assert_string_equal(text("networks/0/id"), third);
    list(&alice, "/networks?tags=x&not-tags-any=y", 1);
    assert_string_equal(text("networks/0/id"), other);
}

static void test_mtu(void **state)
{
    char big[64];

    make_net(&alice, ", \"mtu\": 1400", big);
    list(&alice, "/networks?mtu=1400", 1);
    assert_string_equal(text("networks/0/id"), big);
    list(&alice, "/networks?mtu=1", 0);
}

static void test_agents(void **state)
{
    char last[64];

    list(&admin, "/agents", 5);
    list(&admin, "/agents?alive=True", 3);
    list(&admin, "/agents?alive=false", 2);
    list(&admin, "/agents?availability_zone=c2", 2);
    list(&admin, "/agents?availability_zone=c2&availability_zone=c1", 5);
    list(&admin, "/agents?availability_zone=None&host=h1&agent_type=L3%20agent", 1);
    list(&admin, "/agents?fields=id&fields=alive", 5);
    assert_int_equal(count("agents/0"), 2);
    list(&admin, "/agents?limit=2", 2);
    keep("agents/1/id", last);
    assert_string_equal(text("agents_links/0/rel"), "next");
    assert_non_null(strstr(text("agents_links/0/href"), fmt("limit=2&marker=%s", last)));
    list(&admin, fmt("/agents?limit=4&marker=%s", last), 3);
    assert_string_equal(text("agents_links/0/rel"), "previous");
    keep("agents/0/id", last);
    list(&admin, fmt("/agents?limit=1&page_reverse=True&marker=%s", last), 1);
    ask_net(&admin, "GET", "/agents?marker=none", NULL, 400);
    ask_net(&admin, "GET", "/agents?limit=x", NULL, 400);
    ask_net(&admin, "GET", fmt("/agents/%s?fields=host", last), NULL, 200);
    assert_int_equal(count("agent"), 1);
}

static void test_zones_and_extensions(void **state)
{
    list(&alice, "/availability_zones", 4);
    list(&alice, "/availability_zones?name=c2", 2);
    list(&alice, "/availability_zones?name=c2&resource=router", 1);
    ask_net(&alice, "GET", "/extensions?fields=alias", NULL, 200);
    assert_true(count("extensions") > 20);
    assert_int_equal(count("extensions/0"), 1);
    list(&alice, "/extensions?alias=router", 1);
}

/* All that is shown and no list is a filter: who looks for the rule of port 443 must not be told
 * that the one of port 22 is it. */
static void test_members_without_a_column(void **state)
{
    char group[64], open[64];

    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"g\"}}", 201);
    keep("security_group/id", group);
    for (int number = 22; number <= 24; number++)
        ask_net(&alice, "POST", "/security-group-rules",
                fmt("{\"security_group_rule\": {\"security_group_id\": \"%s\", \"direction\": "
                    "\"ingress\", \"protocol\": \"tcp\", \"port_range_min\": %d, "
                    "\"port_range_max\": %d}}",
                    group, number, number),
                201);
    list(&alice, fmt("/security-group-rules?security_group_id=%s&protocol=tcp", group), 3);
    list(&alice, fmt("/security-group-rules?security_group_id=%s&port_range_min=443", group), 0);
    list(&alice, fmt("/security-group-rules?security_group_id=%s&port_range_min=23", group), 1);
    assert_int_equal(num("security_group_rules/0/port_range_max"), 23);
    list(&alice, "/security-group-rules?port_range_max=22&port_range_max=24&limit=1", 1);
    assert_string_equal(text("security_group_rules_links/0/rel"), "next");
    list(&alice, "/security-group-rules?port_range_min=2x", 0);
    list(&alice, "/security-group-rules?remote_address_group_id=x", 0);
    list(&alice, "/security-group-rules?port_range_min=23&fields=id", 1);
    assert_int_equal(count("security_group_rules/0"), 1);
    list(&alice, "/subnets?subnetpool_id=x", 0);
    list(&alice, "/subnets?subnetpool_id=None&dns_nameservers=x&unheard_of=x", 1);
    make_net(&alice, ", \"port_security_enabled\": false", open);
    list(&alice, "/networks?port_security_enabled=False", 1);
    assert_string_equal(text("networks/0/id"), open);
    list(&alice, "/networks?port_security_enabled=True&revision_number=2", 1);
    assert_string_equal(text("networks/0/id"), net);
    list(&alice, "/networks?provider:network_type=flat", 2); /* not shown to members */
}

/* ---- status and pages ---- */

static void make_port(const char *more, char id[64])
{
    ask_net(&alice, "POST", "/ports", fmt("{\"port\": {\"network_id\": \"%s\"%s}}", net, more),
            201);
    keep("port/id", id);
}

/* Ports that are DOWN between ones that are ACTIVE: a page has as many as were asked for. */
static void test_status_and_limit(void **state)
{
    char router[64], id[64];

    ask_net(&alice, "POST", "/routers", "{\"router\": {\"name\": \"r\"}}", 201);
    keep("router/id", router);
    for (int i = 0; i < 3; i++)
        make_port(fmt(", \"name\": \"%d\"", 2 * i), id);
    for (int i = 0; i < 2; i++) {
        json_t *row;

        make_port(fmt(", \"name\": \"%d\"", 2 * i + 1), id);
        row = row_of("port", id);
        json_put_str(row, "device_id", router);
        json_put_str(row, "device_owner", "network:router_interface");
        put_row("port", row);
    }
    put_row("router", json_pack("{s:s, s:s, s:s}", "id", router, "project_id", alice.project,
                                "host_id", "h1"));
    list(&alice, "/ports?status=ACTIVE", 2);
    list(&alice, "/ports?status=DOWN", 3);
    list(&alice, "/ports?status=DOWN&status=ACTIVE", 5);
    list(&alice, "/ports?status=ACTIVE&limit=1&sort_key=name&sort_dir=asc", 1);
    assert_string_equal(text("ports/0/name"), "1");
    assert_string_equal(text("ports_links/0/rel"), "next");
    keep("ports/0/id", id);
    list(&alice, fmt("/ports?status=ACTIVE&limit=1&sort_key=name&sort_dir=asc&marker=%s", id), 1);
    assert_string_equal(text("ports/0/name"), "3");
    assert_string_equal(text("ports_links/0/rel"), "previous");
    list(&alice, "/ports?status=DOWN&limit=2&sort_key=name&sort_dir=asc", 2);
    assert_string_equal(text("ports/1/name"), "2");
    list(&alice, "/floatingips?status=DOWN&limit=1", 0);
}

/* More rows that do not match than are looked at in one go, before those that do. */
static void test_status_behind_many(void **state)
{
    json_t *row;
    char id[64];

    make_port(", \"name\": \"z\"", id);
    row = row_of("port", id);
    put_many("port", row, 1100);
    json_put_str(row, "device_owner", "network:floatingip");
    put_row("port", row);
    list(&alice, "/ports?status=N/A&limit=1&sort_key=name&sort_dir=asc", 1);
    assert_string_equal(text("ports/0/id"), id);
    assert_int_equal(count("ports_links"), 1);
}

static void test_security_group_filter(void **state)
{
    char group[64], id[64];

    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"web\"}}", 201);
    keep("security_group/id", group);
    make_port(fmt(", \"security_groups\": [\"%s\"]", group), id);
    make_port("", id);
    list(&alice, fmt("/ports?security_groups=%s", group), 1);
    list(&alice, "/ports", 2);
}

/* Somebody else's row is none of the list's: it cannot be told from one that is not there. */
static void test_foreign_markers(void **state)
{
    char theirs[64], open[64];

    make_net(&bob, "", theirs);
    make_net(&admin, ", \"shared\": true", open);
    ask_net(&alice, "GET", fmt("/networks?marker=%s", theirs), NULL, 400);
    ask_net(&alice, "GET", fmt("/networks?limit=1&marker=%s", theirs), NULL, 400);
    ask_net(&alice, "GET", fmt("/networks?marker=%s", net), NULL, 200);
    ask_net(&alice, "GET", fmt("/networks?marker=%s", open), NULL, 200);
    ask_net(&admin, "GET", fmt("/networks?marker=%s", theirs), NULL, 200);
    /* What else is asked for does not matter to the marker: it may change between two pages. */
    ask_net(&alice, "GET", fmt("/networks?name=other&tags=t&marker=%s", net), NULL, 200);
}

/* ---- who sets what ---- */

static void change(const char *body, long want)
{
    ask_net(&alice, "PUT", fmt("/networks/%s", net), fmt("{\"network\": {%s}}", body), want);
}

static void test_fields_of_administrators(void **state)
{
    char id[64];

    change("\"shared\": true", 403);
    assert_string_equal(text("NeutronError/type"), "PolicyNotAuthorized");
    change("\"router:external\": \"true\"", 403);
    change("\"shared\": false, \"router:external\": \"False\"", 200);
    make_net(&alice, ", \"shared\": false, \"router:external\": false", id);
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"router:external\": true}}", 403);
    ask_net(&admin, "PUT", fmt("/networks/%s", net), "{\"network\": {\"shared\": true}}", 200);
    change("\"shared\": true", 200);
    change("\"shared\": false", 403);
}

static void test_discovery_needs_a_token(void **state)
{
    ask_service(API_NETWORK, NULL, "GET", "/", NULL, 200);
    ask_service(API_NETWORK, NULL, "GET", "/v2.0/", NULL, 401);
    ask_service(API_NETWORK, &rita, "GET", "/v2.0/", NULL, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_more_than_a_thousand, with_network),
        cmocka_unit_test_setup(test_tags, with_network),
        cmocka_unit_test_setup(test_mtu, with_network),
        cmocka_unit_test_setup(test_agents, with_network),
        cmocka_unit_test_setup(test_zones_and_extensions, with_network),
        cmocka_unit_test_setup(test_members_without_a_column, with_network),
        cmocka_unit_test_setup(test_status_and_limit, with_network),
        cmocka_unit_test_setup(test_status_behind_many, with_network),
        cmocka_unit_test_setup(test_security_group_filter, with_network),
        cmocka_unit_test_setup(test_foreign_markers, with_network),
        cmocka_unit_test_setup(test_fields_of_administrators, with_network),
        cmocka_unit_test_setup(test_discovery_needs_a_token, with_network),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
