/* What a tenant may not do with ports, routers and floating IPs: to things of other tenants, and on
 * networks of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cloud.h"

static char alices_net[64], alices_subnet[64], bobs_net[64], bobs_subnet[64];
static char shared_net[64], shared_subnet[64], public_net[64], public_subnet[64];

/* Addresses that nobody asked for are drawn from .101 on, DHCP's too: tests may name others. */
static void make_net(const struct person *who, const char *more, const char *cidr, char net[64],
                     char subnet[64])
{
    int length = (int)(strrchr(cidr, '.') - cidr);

    ask_net(who, "POST", "/networks", fmt("{\"network\": {\"name\": \"n\"%s}}", more), 201);
    keep("network/id", net);
    ask_net(who, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": \"%s\", "
                "\"allocation_pools\": [{\"start\": \"%.*s.101\", \"end\": \"%.*s.254\"}]}}",
                net, cidr, length, cidr, length, cidr),
            201);
    keep("subnet/id", subnet);
}

static int with_networks(void **state)
{
    cloud_wipe(state);
    put_host("h1", "c1", "[\"compute\", \"network\"]", "up");
    put_image("10000000-0000-4000-8000-000000000001", NULL);
    make_net(&alice, "", "10.0.0.0/24", alices_net, alices_subnet);
    make_net(&bob, "", "10.1.0.0/24", bobs_net, bobs_subnet);
    make_net(&admin, ", \"shared\": true", "10.2.0.0/24", shared_net, shared_subnet);
    make_net(&admin, ", \"router:external\": true", "172.24.4.0/24", public_net, public_subnet);
    return 0;
}

static void port(const struct person *who, const char *net, const char *more, long want)
{
    ask_net(who, "POST", "/ports", fmt("{\"port\": {\"network_id\": \"%s\"%s}}", net, more), want);
}

static void make_port(const struct person *who, const char *net, const char *more, char id[64])
{
    port(who, net, more, 201);
    keep("port/id", id);
}

static void update_port(const struct person *who, const char *id, const char *body, long want)
{
    ask_net(who, "PUT", fmt("/ports/%s", id), fmt("{\"port\": {%s}}", body), want);
}

static void boot(const struct person *who, const char *networks, long want)
{
    ask(who, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"vm\", \"flavorRef\": \"1\", \"imageRef\": "
            "\"10000000-0000-4000-8000-000000000001\", \"networks\": [%s]}}",
            networks),
        want);
}

static void make_server(const struct person *who, const char *networks, char id[64])
{
    boot(who, networks, 202);
    keep("server/id", id);
}

static void make_router(const struct person *who, char id[64])
{
    ask_net(who, "POST", "/routers", "{\"router\": {\"name\": \"r\"}}", 201);
    keep("router/id", id);
}

static const char *type(void)
{
    return text("NeutronError/type");
}

/* ---- devices ---- */

/* CVE-2014-0056. */
static void test_port_in_a_foreign_router(void **state)
{
    char router[64], id[64];

    make_router(&alice, router);
    port(&bob, bobs_net,
         fmt(", \"device_owner\": \"network:router_interface\", \"device_id\": \"%s\"", router),
         403);
    assert_string_equal(type(), "PolicyNotAuthorized");
    make_port(&bob, bobs_net, "", id);
    update_port(
        &bob, id,
        fmt("\"device_owner\": \"network:router_interface\", \"device_id\": \"%s\"", router), 403);
    update_port(&bob, id, "\"device_owner\": \"network:dhcp\"", 403);
    update_port(&bob, id, fmt("\"device_id\": \"%s\"", router), 409);
    assert_string_equal(type(), "DeviceIDNotOwnedByTenant");
    update_port(&bob, id, "\"device_id\": \"my own box\"", 200);
    assert_int_equal(row_count("port", fmt("WHERE device_id = '%s'", router)), 0);
}

/* The interface of one's own router is not moved by the port either. */
static void test_ports_of_routers_stay(void **state)
{
    char router[64], id[64];

    make_router(&bob, router);
    ask_net(&bob, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", bobs_subnet), 200);
    keep("port_id", id);
    update_port(&bob, id, "\"device_owner\": \"\"", 403);
    update_port(&bob, id, "\"device_id\": \"elsewhere\"", 403);
    update_port(&bob, id, "\"name\": \"uplink\"", 200);
    update_port(
        &bob, id,
        fmt("\"device_owner\": \"network:router_interface\", \"device_id\": \"%s\"", router), 200);
}

static void test_port_of_a_foreign_server(void **state)
{
    char theirs[64], mine[64], id[64];

    make_server(&alice, fmt("{\"uuid\": \"%s\"}", alices_net), theirs);
    make_server(&bob, fmt("{\"uuid\": \"%s\"}", bobs_net), mine);
    port(&bob, bobs_net, fmt(", \"device_owner\": \"compute:nova\", \"device_id\": \"%s\"", theirs),
         409);
    assert_string_equal(type(), "DeviceIDNotOwnedByTenant");
    make_port(&bob, bobs_net, ", \"device_owner\": \"compute:nova\"", id);
    update_port(&bob, id, fmt("\"device_id\": \"%s\"", theirs), 409);
    update_port(&bob, id, fmt("\"device_id\": \"%s\"", mine), 200);
    assert_int_equal(row_count("port", fmt("WHERE device_id = '%s'", theirs)), 1);
}

/* Who may join two projects' things is noted in the port. */
static void test_administrators_join_projects(void **state)
{
    char server[64], router[64], id[64];
    json_t *row;

    make_port(&bob, bobs_net, "", id);
    make_server(&admin, fmt("{\"port\": \"%s\"}", id), server);
    row = row_of("port", id);
    assert_string_equal(json_str(row, "project_id", ""), bob.project);
    assert_string_equal(json_str(row, "device_project", ""), admin.project);
    json_decref(row);
    ask(&admin, "DELETE", fmt("/servers/%s", server), NULL, 204);
    row = row_of("port", id);
    assert_string_equal(json_str(row, "device_project", ""), "");
    json_decref(row);
    make_router(&alice, router);
    ask_net(&admin, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"port_id\": \"%s\"}", id), 200);
    ask_net(&alice, "DELETE", fmt("/routers/%s", router), NULL, 409);
    ask_net(&admin, "PUT", fmt("/routers/%s/remove_router_interface", router),
            fmt("{\"port_id\": \"%s\"}", id), 200);
    make_server(&alice, fmt("{\"uuid\": \"%s\"}", alices_net), server);
    make_port(&admin, bobs_net, fmt(", \"device_id\": \"%s\"", server), id);
    row = row_of("port", id);
    assert_string_equal(json_str(row, "device_project", ""), alice.project);
    json_decref(row);
    make_server(&admin, fmt("{\"uuid\": \"%s\"}", bobs_net), server);
}

/* A row that names a foreign router, from before that was refused, joins nothing. */
static void test_foreign_rows_join_nothing(void **state)
{
    char router[64], id[64], mine[64];
    json_t *row;

    ask_net(&alice, "POST", "/routers",
            fmt("{\"router\": {\"external_gateway_info\": {\"network_id\": \"%s\"}}}", public_net),
            201);
    keep("router/id", router);
    make_port(&bob, bobs_net, "", id);
    make_port(&bob, bobs_net, "", mine);
    row = row_of("port", id);
    json_put_str(row, "device_id", router);
    json_put_str(row, "device_owner", "network:router_interface");
    put_row("port", row);
    ask_net(&bob, "POST", "/floatingips",
            fmt("{\"floatingip\": {\"floating_network_id\": \"%s\", \"port_id\": \"%s\"}}",
                public_net, mine),
            404);
    assert_string_equal(type(), "ExternalGatewayForFloatingIPNotFound");
    ask_net(&alice, "PUT", fmt("/routers/%s", router),
            "{\"router\": {\"routes\": [{\"destination\": \"10.9.0.0/24\", \"nexthop\": "
            "\"10.1.0.9\"}]}}",
            400);
    ask_net(&alice, "DELETE", fmt("/routers/%s", router), NULL, 204);
}

/* Nor does it tell where a foreign server is and whether it runs. */
static void test_foreign_rows_tell_nothing(void **state)
{
    char server[64], id[64], mine[64];
    json_t *row;

    make_server(&alice, fmt("{\"uuid\": \"%s\"}", alices_net), server);
    row = row_of("server", server);
    json_put_str(row, "host_id", "h1");
    put_row("server_state",
            json_pack("{s:s, s:s, s:s, s:I}", "id", server, "power", "running", "host_id", "h1",
                      "generation", (json_int_t)json_int(row, "generation", 0)));
    put_row("server", row);
    make_port(&bob, bobs_net, "", id);
    row = row_of("port", id);
    json_put_str(row, "device_id", server);
    json_put_str(row, "device_owner", "compute:nova");
    put_row("port", row);
    ask_net(&admin, "GET", fmt("/ports/%s", id), NULL, 200);
    assert_string_equal(text("port/status"), "DOWN");
    assert_string_equal(text("port/binding:host_id"), "");
    ask_net(&admin, "GET", fmt("/ports?device_id=%s&project_id=%s", server, alice.project), NULL,
            200);
    keep("ports/0/id", mine);
    assert_string_not_equal(mine, id);
    assert_string_equal(text("ports/0/status"), "ACTIVE");
    assert_string_equal(text("ports/0/binding:host_id"), "h1");
}

/* ---- the external network ---- */

static void floating(const struct person *who, const char *address, long want)
{
    ask_net(who, "POST", "/floatingips",
            fmt("{\"floatingip\": {\"floating_network_id\": \"%s\", \"floating_ip_address\": "
                "\"%s\"}}",
                public_net, address),
            want);
}

static void test_floating_addresses(void **state)
{
    floating(&alice, "172.24.4.1", 403);
    floating(&alice, "172.24.4.50", 403);
    assert_string_equal(type(), "PolicyNotAuthorized");
    floating(&admin, "172.24.4.1", 409);
    assert_string_equal(type(), "IpAddressInUse");
    floating(&admin, "172.24.5.50", 400);
    floating(&admin, "172.24.4.50", 201);
    ask_net(&alice, "POST", "/floatingips",
            fmt("{\"floatingip\": {\"floating_network_id\": \"%s\", \"floating_ip_address\": "
                "null}}",
                public_net),
            201);
    port(&admin, public_net, ", \"fixed_ips\": [{\"ip_address\": \"172.24.4.1\"}]", 409);
    assert_int_equal(row_count("ip", fmt("WHERE id = '%s.172.24.4.1'", public_net)), 0);
}

static void test_routers_in_foreign_subnets(void **state)
{
    char router[64], id[64];

    make_router(&alice, router);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", public_subnet), 400);
    assert_non_null(strstr(text("NeutronError/message"), "not owned by project"));
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", shared_subnet), 400);
    make_port(&admin, public_net, fmt(", \"project_id\": \"%s\"", alice.project), id);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"port_id\": \"%s\"}", id), 400);
    make_port(&alice, shared_net, "", id);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"port_id\": \"%s\"}", id), 200);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", alices_subnet), 200);
}

/* ---- networks of others ---- */

static void test_ports_on_foreign_networks(void **state)
{
    char id[64];

    port(&alice, public_net, "", 403);
    assert_string_equal(type(), "PolicyNotAuthorized");
    port(&alice, shared_net, ", \"port_security_enabled\": false", 403);
    port(&alice, shared_net, ", \"allowed_address_pairs\": [{\"ip_address\": \"10.2.0.9\"}]", 403);
    port(&alice, shared_net, ", \"fixed_ips\": [{\"ip_address\": \"10.2.0.9\"}]", 403);
    port(&alice, shared_net, ", \"mac_address\": \"fa:16:3e:00:00:01\"", 403);
    make_port(&alice, shared_net,
              fmt(", \"port_security_enabled\": true, \"allowed_address_pairs\": [], "
                  "\"fixed_ips\": [{\"subnet_id\": \"%s\"}]",
                  shared_subnet),
              id);
    update_port(&alice, id, "\"port_security_enabled\": false", 403);
    update_port(&alice, id, "\"allowed_address_pairs\": [{\"ip_address\": \"10.2.0.9\"}]", 403);
    update_port(&alice, id, "\"fixed_ips\": [{\"ip_address\": \"10.2.0.9\"}]", 403);
    ask_net(&alice, "GET", fmt("/ports/%s", id), NULL, 200);
    update_port(&alice, id,
                fmt("\"name\": \"mine\", \"fixed_ips\": [{\"ip_address\": \"%s\"}]",
                    text("port/fixed_ips/0/ip_address")),
                200);
    update_port(&admin, id, "\"port_security_enabled\": false", 200);
    update_port(&alice, id, "\"name\": \"still mine\"", 200);
    make_port(&alice, alices_net,
              ", \"port_security_enabled\": false, \"allowed_address_pairs\": [{\"ip_address\": "
              "\"10.0.0.9\"}], \"fixed_ips\": [{\"ip_address\": \"10.0.0.77\"}]",
              id);
}

static void test_servers_on_foreign_networks(void **state)
{
    char id[64];

    boot(&alice, fmt("{\"uuid\": \"%s\", \"fixed_ip\": \"10.2.0.9\"}", shared_net), 403);
    boot(&alice, fmt("{\"uuid\": \"%s\"}", public_net), 403);
    make_port(&admin, public_net, fmt(", \"project_id\": \"%s\"", alice.project), id);
    boot(&alice, fmt("{\"port\": \"%s\"}", id), 403);
    make_server(&admin, fmt("{\"port\": \"%s\"}", id), id);
    make_server(&alice, fmt("{\"uuid\": \"%s\"}", shared_net), id);
    make_server(&alice, fmt("{\"uuid\": \"%s\", \"fixed_ip\": \"10.0.0.9\"}", alices_net), id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_port_in_a_foreign_router, with_networks),
        cmocka_unit_test_setup(test_ports_of_routers_stay, with_networks),
        cmocka_unit_test_setup(test_port_of_a_foreign_server, with_networks),
        cmocka_unit_test_setup(test_administrators_join_projects, with_networks),
        cmocka_unit_test_setup(test_foreign_rows_join_nothing, with_networks),
        cmocka_unit_test_setup(test_foreign_rows_tell_nothing, with_networks),
        cmocka_unit_test_setup(test_floating_addresses, with_networks),
        cmocka_unit_test_setup(test_routers_in_foreign_subnets, with_networks),
        cmocka_unit_test_setup(test_ports_on_foreign_networks, with_networks),
        cmocka_unit_test_setup(test_servers_on_foreign_networks, with_networks),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
