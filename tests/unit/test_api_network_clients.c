/* What clients of the network service rely on: that what is needed is not taken away, and that what
 * they say counts or is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cloud.h"

static char net[64], subnet[64], router[64];

/* Addresses that nobody asked for are drawn from .101 on, DHCP's too: tests may name others. */
static void make_subnet(const char *cidr, char id[64])
{
    int length = (int)(strrchr(cidr, '.') - cidr);

    ask_net(&alice, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": \"%s\", "
                "\"allocation_pools\": [{\"start\": \"%.*s.101\", \"end\": \"%.*s.254\"}]}}",
                net, cidr, length, cidr, length, cidr),
            201);
    keep("subnet/id", id);
}

static int with_router(void **state)
{
    cloud_wipe(state);
    put_host("h1", "c1", "[\"compute\", \"network\"]", "up");
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"n\"}}", 201);
    keep("network/id", net);
    make_subnet("10.0.0.0/24", subnet);
    ask_net(&alice, "POST", "/routers", "{\"router\": {\"name\": \"r\"}}", 201);
    keep("router/id", router);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", subnet), 200);
    return 0;
}

static const char *type(void)
{
    return text("NeutronError/type");
}

/* With ' for ". */
static const char *quoted(char *body)
{
    for (char *at_quote = body; (at_quote = strchr(at_quote, '\''));)
        *at_quote = '"';
    return body;
}

/* ---- routers ---- */

static void set_routes(const char *routes)
{
    ask_net(&alice, "PUT", fmt("/routers/%s", router),
            fmt("{\"router\": {\"routes\": [%s]}}", routes), 200);
}

static void remove_interface(const char *key, const char *id, long want)
{
    ask_net(&alice, "PUT", fmt("/routers/%s/remove_router_interface", router),
            fmt("{\"%s\": \"%s\"}", key, id), want);
}

static void test_an_interface_that_a_route_needs(void **state)
{
    char other[64], port[64];

    make_subnet("10.0.1.0/24", other);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", other), 200);
    keep("port_id", port);
    set_routes("{\"destination\": \"10.9.0.0/24\", \"nexthop\": \"10.0.1.9\"}");
    remove_interface("subnet_id", other, 409);
    assert_string_equal(type(), "RouterInterfaceInUseByRoute");
    assert_non_null(strstr(text("NeutronError/message"), other));
    remove_interface("port_id", port, 409);
    assert_string_equal(type(), "RouterInterfaceInUseByRoute");
    remove_interface("subnet_id", subnet, 200);
    set_routes("");
    remove_interface("subnet_id", other, 200);
}

static void edit_routes(const char *how, const char *routes, long want, size_t left)
{
    ask_net(&alice, "PUT", fmt("/routers/%s/%s_extraroutes", router, how),
            fmt("{\"router\": {\"routes\": [%s]}}", routes), want);
    if (want == 200)
        assert_int_equal(count("router/routes"), left);
}

#define TO(net, hop) "{\"destination\": \"10." net "\", \"nexthop\": \"10.0.0." hop "\"}"

/* What `openstack router add route` sends. */
static void test_routes_one_by_one(void **state)
{
    static char many[4000];

    edit_routes("add", TO("9.0.0/24", "9"), 200, 1);
    edit_routes("add", TO("9.1.0/24", "9") ", " TO("9.0.0/24", "9"), 200, 2);
    assert_string_equal(text("router/routes/1/destination"), "10.9.1.0/24");
    edit_routes("add", "", 200, 2);
    edit_routes("add", TO("9.0.0/24", "1"), 400, 0); /* the router itself */
    assert_string_equal(type(), "InvalidRoutes");
    edit_routes("add", "{\"destination\": \"10.9.2.0/24\"}", 400, 0);
    edit_routes("add", TO("9.0.0/24", "10"), 200, 3); /* another way to the same place */
    edit_routes("remove", TO("9.0.0/24", "9"), 200, 2);
    edit_routes("remove", TO("9.0.0/24", "9") ", " TO("9.7.0/24", "9"), 200, 2);
    edit_routes("remove", TO("9.1.0/24", "9") ", " TO("9.0.0/24", "10"), 200, 0);
    for (int i = 0; i < 29; i++)
        strcat(many, fmt("%s{\"destination\": \"10.8.%d.0/24\", \"nexthop\": \"10.0.0.9\"}",
                         i ? ", " : "", i));
    edit_routes("add", many, 200, 29);
    edit_routes("add", TO("9.0.0/24", "9") ", " TO("9.1.0/24", "9"), 400, 0);
    assert_string_equal(type(), "RoutesExhausted");
    edit_routes("add", TO("9.0.0/24", "9"), 200, 30);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_extraroutes", router),
            "{\"router\": {\"routes\": [], \"name\": \"x\"}}", 400);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_extraroutes", router), "{\"router\": {}}", 400);
    ask_net(&bob, "PUT", fmt("/routers/%s/remove_extraroutes", router),
            fmt("{\"router\": {\"routes\": [%s]}}", many), 404);
    ask_net(&rita, "PUT", fmt("/routers/%s/remove_extraroutes", router),
            "{\"router\": {\"routes\": []}}", 403);
    ask_net(&alice, "GET", fmt("/routers/%s", router), NULL, 200);
    assert_int_equal(count("router/routes"), 30);
}

/* ---- objects within objects ---- */

/* A MAC that is none would go into the ruleset of the host that the port's guest is on. */
static void test_members_of_ports(void **state)
{
    static const char *const wrong[] = {
        /* %1$s: the subnet */
        "'allowed_address_pairs': [{'ip_address': '10.0.0.9', 'mac_address': 'none'}]",
        "'allowed_address_pairs': [{'ip_address': '::', 'mac_address': ' 1: 2: 3: 4: 5: 6'}]",
        "'allowed_address_pairs': [{'ip_address': '10.0.0.9', 'mac_address': 5}]",
        "'allowed_address_pairs': [{'ip_address': '10.0.0.9', 'mac': 'fa:16:3e:00:00:01'}]",
        "'allowed_address_pairs': [{'mac_address': 'fa:16:3e:00:00:01'}]",
        "'allowed_address_pairs': [{'ip_address': 5}]",
        "'fixed_ips': [{'subnet_id': '%1$s', 'ip_address': 5}]",
        "'fixed_ips': [{'subnet_id': '%1$s', 'ip_adress': '10.0.0.9'}]",
        "'fixed_ips': [{'subnet_id': 5, 'ip_address': '10.0.0.9'}]",
        "'extra_dhcp_opts': [{'opt_name': 5, 'opt_value': 'x'}]",
        "'extra_dhcp_opts': [{'opt_value': 'x'}]",
    };
    char body[500];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(body, sizeof(body), fmt("{'port': {'network_id': '%s', %s}}", net, wrong[i]),
                 subnet);
        ask_net(&alice, "POST", "/ports", quoted(body), 400);
    }
    snprintf(body, sizeof(body),
             "{'port': {'network_id': '%s', 'fixed_ips': [{'subnet_id': '%s', 'ip_address': "
             "null}], 'allowed_address_pairs': [{'ip_address': '10.0.0.9', 'mac_address': "
             "'FA-16-3E-00-00-0A'}, {'ip_address': '10.0.8.0/24', 'mac_address': null}]}}",
             net, subnet);
    ask_net(&alice, "POST", "/ports", quoted(body), 201);
    assert_string_equal(text("port/allowed_address_pairs/0/mac_address"), "fa:16:3e:00:00:0a");
    assert_string_equal(text("port/allowed_address_pairs/1/ip_address"), "10.0.8.0/24");
    assert_string_equal(text("port/allowed_address_pairs/1/mac_address"), text("port/mac_address"));
}

static void test_members_of_subnets(void **state)
{
    static const char *const wrong[] = {
        "'allocation_pools': [{'start': '10.0.2.5'}]",
        "'allocation_pools': [{'start': '10.0.2.5', 'end': '10.0.2.9', 'step': 2}]",
        "'allocation_pools': [{'start': 5, 'end': '10.0.2.9'}]",
        "'host_routes': [{'destination': '10.9.0.0/16', 'nexthop': '10.0.2.9', 'metric': 1}]",
        "'host_routes': [{'destination': '10.9.0.0/16'}]",
    };
    char body[500];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(body, sizeof(body),
                 "{'subnet': {'network_id': '%s', 'ip_version': 4, 'cidr': '10.0.2.0/24', %s}}",
                 net, wrong[i]);
        ask_net(&alice, "POST", "/subnets", quoted(body), 400);
    }
}

static void gateway(const char *members, long want)
{
    char body[500];

    snprintf(body, sizeof(body), "{'router': {'external_gateway_info': {%s}}}", members);
    ask_net(&admin, "PUT", fmt("/routers/%s", router), quoted(body), want);
}

/* Truth may be written as a text; a text that is taken for nothing would leave SNAT on. */
static void test_members_of_gateways(void **state)
{
    char outer[64];

    ask_net(&admin, "POST", "/networks", "{\"network\": {\"router:external\": true}}", 201);
    keep("network/id", outer);
    ask_net(&admin, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"172.24.4.0/24\"}}",
                outer),
            201);
    gateway(fmt("'network_id': '%s', 'enable_snat': 7", outer), 400);
    gateway(fmt("'network_id': '%s', 'enable_snat': null", outer), 400);
    gateway(fmt("'network_id': '%s', 'external_fixed_ips': 7", outer), 400);
    gateway(fmt("'network_id': '%s', 'external_fixed_ips': [{'subnet': 'x'}]", outer), 400);
    gateway(fmt("'network_id': '%s', 'snat': false", outer), 400);
    gateway("'network_id': 7", 400);
    gateway(fmt("'network_id': '%s', 'enable_snat': 'False', 'qos_policy_id': null", outer), 200);
    assert_true(json_is_false(at("router/external_gateway_info/enable_snat")));
    assert_null(at("router/external_gateway_info/qos_policy_id"));
    gateway("", 200);
    assert_true(json_is_null(at("router/external_gateway_info")));
}

/* What is no field of the row has a type, too. */
static void test_members_that_are_no_fields(void **state)
{
    char outer[64];

    ask_net(&alice, "POST", "/networks", "{\"network\": {\"project_id\": 5}}", 400);
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"tenant_id\": [\"x\"]}}", 400);
    ask_net(&alice, "POST", "/networks",
            fmt("{\"network\": {\"project_id\": null, \"tenant_id\": \"%s\"}}", bob.project), 403);
    ask_net(&alice, "POST", "/networks",
            fmt("{\"network\": {\"project_id\": null, \"tenant_id\": \"%s\"}}", alice.project),
            201);
    ask_net(&admin, "POST", "/networks", "{\"network\": {\"router:external\": true}}", 201);
    keep("network/id", outer);
    ask_net(&admin, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"172.24.4.0/24\"}}",
                outer),
            201);
    for (int i = 0; i < 2; i++)
        ask_net(&alice, "POST", "/floatingips",
                fmt("{\"floatingip\": {\"floating_network_id\": \"%s\", \"subnet_id\": %s}}", outer,
                    i ? "null" : "5"),
                i ? 201 : 400);
}

/* ---- DHCP ---- */

/* Whoever deletes all ports of a network does not want its guests to lose DHCP for ever. */
static void test_the_port_of_dhcp_comes_back(void **state)
{
    char port[64], second[64];

    make_subnet("10.0.3.0/24", second);
    ask_net(&alice, "GET", fmt("/ports?network_id=%s&device_owner=network:dhcp", net), NULL, 200);
    assert_int_equal(count("ports"), 1);
    keep("ports/0/id", port);
    ask_net(&alice, "DELETE", fmt("/ports/%s", port), NULL, 204);
    ask_net(&alice, "GET", fmt("/ports?network_id=%s&device_owner=network:dhcp", net), NULL, 200);
    assert_int_equal(count("ports/0/fixed_ips"), 2);
    keep("ports/0/id", port);
    assert_int_equal(row_count("ip", fmt("WHERE port_id = '%s'", port)), 2);
    assert_int_equal(
        row_count("ip", fmt("WHERE id = '%s.%s'", net, text("ports/0/fixed_ips/0/ip_address"))), 1);
    ask_net(&alice, "DELETE", fmt("/subnets/%s", second), NULL, 204);
    assert_int_equal(row_count("ip", fmt("WHERE port_id = '%s'", port)), 1);
    ask_net(&alice, "PUT", fmt("/subnets/%s", subnet), "{\"subnet\": {\"enable_dhcp\": false}}",
            200);
    assert_int_equal(row_count("port", "WHERE device_owner = 'network:dhcp'"), 0);
    assert_int_equal(row_count("ip", fmt("WHERE port_id = '%s'", port)), 0);
}

/* ---- revisions ---- */

static void if_match(const char *value, const char *method, const char *path, const char *body,
                     long want)
{
    microversion = fmt("If-Match: %s", value); /* a header, as it stands */
    ask_net(&alice, method, path, body, want);
    microversion = NULL;
}

static void test_a_revision_that_is_not_the_one(void **state)
{
    static const char body[] = "{\"network\": {\"name\": \"mine\"}}";
    char path[100];
    int64_t now;

    snprintf(path, sizeof(path), "/networks/%s", net);
    ask_net(&alice, "GET", "/extensions/revision-if-match", NULL, 200);
    ask_net(&alice, "GET", path, NULL, 200);
    now = num("network/revision_number");
    if_match(fmt("revision_number=%lld", (long long)now - 1), "PUT", path, body, 412);
    assert_string_equal(type(), "RevisionNumberConstraintFailed");
    if_match(fmt("revision_number=%lld", (long long)now + 1), "DELETE", path, NULL, 412);
    if_match("revision_number=x", "PUT", path, body, 400);
    if_match("\"an etag\"", "PUT", path, body, 400);
    ask_net(&alice, "GET", path, NULL, 200);
    assert_string_equal(text("network/name"), "n");
    assert_int_equal(num("network/revision_number"), now);
    if_match(fmt("revision_number=%lld", (long long)now), "PUT", path, body, 200);
    assert_int_equal(num("network/revision_number"), now + 1);
    if_match("*", "PUT", path, body, 200);
    if_match("revision_number=1", "PUT", fmt("/routers/%s/remove_router_interface", router),
             fmt("{\"subnet_id\": \"%s\"}", subnet), 412);
    microversion = "If-Match: revision_number=1";
    ask_net(&bob, "PUT", path, body, 404);
    microversion = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_interface_that_a_route_needs, with_router),
        cmocka_unit_test_setup(test_routes_one_by_one, with_router),
        cmocka_unit_test_setup(test_members_of_ports, with_router),
        cmocka_unit_test_setup(test_members_of_subnets, with_router),
        cmocka_unit_test_setup(test_members_of_gateways, with_router),
        cmocka_unit_test_setup(test_members_that_are_no_fields, with_router),
        cmocka_unit_test_setup(test_the_port_of_dhcp_comes_back, with_router),
        cmocka_unit_test_setup(test_a_revision_that_is_not_the_one, with_router),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
