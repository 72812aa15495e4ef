/* The plan of each host of a small cloud: one network over two hosts, a router and DHCP on a third.
 */
#include "base/json.h"
#include "node/netplan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const rows[][2] = {
    {"host", "{'id':'h1','cabinet':'c1','tenant_ip':'10.20.1.1'}"},
    {"host", "{'id':'h2','cabinet':'c2','tenant_ip':'10.20.2.1'}"},
    {"host", "{'id':'h3','cabinet':'c3','tenant_ip':'10.20.3.1'}"},
    {"network", "{'id':'n1','external':false,'segmentation_id':77,'mtu':1450,'dhcp_hosts':['h3']}"},
    {"network", "{'id':'x1','external':true,'mtu':1500}"},
    {"subnet", "{'id':'s1','network_id':'n1','cidr':'10.0.0.0/24','gateway_ip':'10.0.0.1',"
               "'enable_dhcp':true,'dns_nameservers':[],'host_routes':[]}"},
    {"subnet", "{'id':'sx','network_id':'x1','cidr':'172.24.4.0/24','gateway_ip':'172.24.4.1'}"},
    {"server", "{'project_id':'a','id':'v1','name':'web','host_id':'h1','generation':1}"},
    {"server", "{'project_id':'a','id':'v2','name':'db','host_id':'h2','generation':1}"},
    {"security_group", "{'id':'g1'}"},
    {"security_group_rule", "{'id':'r1','security_group_id':'g1','direction':'ingress',"
                            "'ethertype':'IPv4','protocol':'tcp','port_range_min':22,"
                            "'port_range_max':22,'remote_group_id':'g1'}"},
    {"port",
     "{'project_id':'a','id':'p1','network_id':'n1','mac_address':'fa:16:3e:00:00:01','device_id':'"
     "v1',"
     "'device_owner':'compute:nova','security_groups':['g1'],'port_security_enabled':true,"
     "'allowed_address_pairs':[],'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.5'}]}"},
    {"port",
     "{'project_id':'a','id':'p2','network_id':'n1','mac_address':'fa:16:3e:00:00:02','device_id':'"
     "v2',"
     "'device_owner':'compute:nova','security_groups':['g1'],'port_security_enabled':true,"
     "'allowed_address_pairs':[],'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.6'}]}"},
    {"port",
     "{'id':'p3','network_id':'n1','mac_address':'fa:16:3e:00:00:03','device_id':'dhcp-n1',"
     "'device_owner':'network:dhcp','fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.2'}]}"},
    {"port", "{'project_id':'a','id':'p4','network_id':'n1','mac_address':'fa:16:3e:00:00:04','"
             "device_id':'r1',"
             "'device_owner':'network:router_interface',"
             "'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.1'}]}"},
    {"port", "{'id':'p5','network_id':'x1','mac_address':'fa:16:3e:00:00:05','device_id':'r1',"
             "'device_owner':'network:router_gateway',"
             "'fixed_ips':[{'subnet_id':'sx','ip_address':'172.24.4.10'}]}"},
    {"router",
     "{'project_id':'a','id':'r1','host_id':'h3','admin_state_up':true,'gateway_port_id':'p5',"
     "'external_gateway_info':{'network_id':'x1','enable_snat':true},'routes':[]}"},
    {"floatingip", "{'id':'f1','floating_ip_address':'172.24.4.20','fixed_ip_address':'10.0.0.5',"
                   "'port_id':'p1','router_id':'r1'}"},
};

static void put_row(struct mirror *db, const char *table, const char *quoted)
{
    int64_t revision = mirror_revision(db) + 1;
    char text[1024];
    json_t *row;

    snprintf(text, sizeof(text), "%s", quoted);
    for (char *at = text; *at; at++) {
        if (*at == '\'')
            *at = '"';
    }
    row = json_parse(text, strlen(text), NULL, 0);
    assert_non_null(row);
    mirror_apply(
        db, revision,
        &(struct store_change){
            .table = table, .id = json_str(row, "id", ""), .row = row, .revision = revision},
        1);
    json_decref(row);
}

static struct mirror *small_cloud(void)
{
    struct mirror *db = mirror_open_detached(NULL);

    assert_non_null(db);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        put_row(db, rows[i][0], rows[i][1]);
    return db;
}

static json_t *plan_of(struct mirror *db, const char *host, const char *tenant_ip)
{
    struct config config = {0};

    snprintf(config.host, sizeof(config.host), "%s", host);
    snprintf(config.tenant_ip, sizeof(config.tenant_ip), "%s", tenant_ip);
    snprintf(config.external_dev, sizeof(config.external_dev), "ext0");
    return netplan_compute(db, &config);
}

static void compute_host_has_its_port(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan = plan_of(db, "h1", "10.20.1.1");
    json_t *network = json_array_get(json_object_get(plan, "networks"), 0);
    json_t *port = json_array_get(json_object_get(network, "ports"), 0);
    json_t *rule = json_array_get(json_object_get(port, "rules"), 0);

    assert_int_equal(json_array_size(json_object_get(plan, "routers")), 0);
    assert_int_equal(json_int(network, "vni", 0), 77);
    assert_int_equal(json_array_size(json_object_get(network, "ports")), 1);
    assert_string_equal(json_str(port, "id", ""), "p1");
    assert_true(json_has_str(port, "ips", "10.0.0.5"));
    /* The other server, the router's interface and the DHCP server are elsewhere. */
    assert_int_equal(json_array_size(json_object_get(network, "remotes")), 3);
    assert_true(json_is_null(json_object_get(network, "dhcp")));
    /* A remote group is resolved to the addresses of its members. */
    assert_true(json_has_str(rule, "remotes", "10.0.0.5/32"));
    assert_true(json_has_str(rule, "remotes", "10.0.0.6/32"));
    json_decref(plan);
    mirror_close(db);
}

/* A group of a thousand ports must not be worked out a thousand times. */
static void ports_of_a_group_share_its_rules(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *ports, *one, *two;

    put_row(db, "server", "{'id':'v2','project_id':'a','name':'db','host_id':'h1','generation':2}");
    plan = plan_of(db, "h1", "10.20.1.1");
    ports = json_object_get(json_array_get(json_object_get(plan, "networks"), 0), "ports");
    assert_int_equal(json_array_size(ports), 2);
    one = json_object_get(json_array_get(ports, 0), "rules");
    two = json_object_get(json_array_get(ports, 1), "rules");
    assert_int_equal(json_array_size(one), 1);
    assert_ptr_not_equal(one, two);
    assert_ptr_equal(json_array_get(one, 0), json_array_get(two, 0));
    json_decref(plan);
    mirror_close(db);
}

static void network_host_has_router_and_dhcp(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan = plan_of(db, "h3", "10.20.3.1");
    json_t *network = json_array_get(json_object_get(plan, "networks"), 0);
    json_t *router = json_array_get(json_object_get(plan, "routers"), 0);
    json_t *gateway = json_object_get(router, "gateway");
    json_t *floating = json_array_get(json_object_get(router, "floating"), 0);
    json_t *dhcp = json_object_get(network, "dhcp");

    assert_int_equal(json_array_size(json_object_get(network, "ports")), 0);
    assert_int_equal(json_array_size(json_object_get(network, "remotes")), 2);
    assert_true(json_has_str(dhcp, "ips", "10.0.0.2/24"));
    assert_int_equal(json_array_size(json_object_get(dhcp, "hosts")), 2);
    assert_int_equal(json_array_size(json_object_get(router, "interfaces")), 1);
    assert_true(json_has_str(gateway, "ips", "172.24.4.10/24"));
    assert_string_equal(json_str(gateway, "next_hop", ""), "172.24.4.1");
    assert_string_equal(json_str(floating, "ip", ""), "172.24.4.20");
    assert_string_equal(json_str(floating, "fixed", ""), "10.0.0.5");
    json_decref(plan);
    mirror_close(db);
}

/* Ports of another project that name r1 and v1 as their devices. */
static void put_foreign_ports(struct mirror *db)
{
    put_row(db, "network", "{'id':'n2','external':false,'segmentation_id':78,'dhcp_hosts':['h2']}");
    put_row(db, "port",
            "{'id':'p6','project_id':'b','network_id':'n2','device_id':'r1',"
            "'device_owner':'network:router_interface',"
            "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.1'}]}");
    put_row(db, "port",
            "{'id':'p7','project_id':'b','network_id':'n2','device_id':'v1',"
            "'device_owner':'compute:nova',"
            "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.5'}]}");
    put_row(db, "port",
            "{'id':'p8','project_id':'','network_id':'n2','device_id':'r1',"
            "'device_owner':'network:router_gateway','fixed_ips':[]}");
}

static json_t *network_of(json_t *plan, const char *id)
{
    json_t *network;
    size_t i;

    json_array_foreach(json_object_get(plan, "networks"), i, network)
    {
        if (strcmp(json_str(network, "id", ""), id) == 0)
            return network;
    }
    return NULL;
}

static void ports_of_another_project_are_not_joined(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *router, *dhcp;

    put_foreign_ports(db);
    plan = plan_of(db, "h3", "10.20.3.1");
    router = json_array_get(json_object_get(plan, "routers"), 0);
    assert_int_equal(json_array_size(json_object_get(router, "interfaces")), 1);
    assert_null(network_of(plan, "n2"));
    json_decref(plan);
    plan = plan_of(db, "h1", "10.20.1.1");
    assert_null(network_of(plan, "n2"));
    json_decref(plan);
    /* Nor is the server's name told there. */
    put_row(db, "port",
            "{'id':'p9','project_id':'b','network_id':'n2','device_owner':"
            "'network:dhcp','fixed_ips':[]}");
    plan = plan_of(db, "h2", "10.20.2.1");
    dhcp = json_object_get(network_of(plan, "n2"), "dhcp");
    assert_int_equal(json_array_size(json_object_get(dhcp, "hosts")), 1);
    assert_string_equal(json_str(json_array_get(json_object_get(dhcp, "hosts"), 0), "name", "web"),
                        "");
    json_decref(plan);
    mirror_close(db);
}

/* An administrator may join projects; the port's row says so. */
static void ports_for_another_project_are_joined(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *router;

    put_foreign_ports(db);
    put_row(db, "port",
            "{'id':'p6','project_id':'b','device_project':'a','network_id':'n2',"
            "'device_id':'r1','device_owner':'network:router_interface',"
            "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.1'}]}");
    put_row(db, "port",
            "{'id':'p7','project_id':'b','device_project':'a','network_id':'n2',"
            "'device_id':'v1','device_owner':'compute:nova',"
            "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.5'}]}");
    plan = plan_of(db, "h3", "10.20.3.1");
    router = json_array_get(json_object_get(plan, "routers"), 0);
    assert_int_equal(json_array_size(json_object_get(router, "interfaces")), 2);
    assert_non_null(network_of(plan, "n2"));
    json_decref(plan);
    plan = plan_of(db, "h1", "10.20.1.1");
    assert_int_equal(json_array_size(json_object_get(network_of(plan, "n2"), "ports")), 1);
    json_decref(plan);
    mirror_close(db);
}

static void a_host_without_anything_has_an_empty_plan(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan = plan_of(db, "h9", "10.20.9.1");

    assert_int_equal(json_array_size(json_object_get(plan, "networks")), 0);
    assert_int_equal(json_array_size(json_object_get(plan, "routers")), 0);
    json_decref(plan);
    mirror_close(db);
}

static const char port1[] =
    "{'project_id':'a','id':'p1','network_id':'n1','mac_address':'fa:16:3e:00:00:01','device_id':'"
    "v1',"
    "'device_owner':'compute:nova','security_groups':['g1'],'admin_state_up':%s,"
    "'allowed_address_pairs':[{'ip_address':'10.0.7.0/24'},{'ip_address':'10.0.0.99'}],"
    "'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.5'}]}";

static void put_port1(struct mirror *db, bool up)
{
    char text[1024];

    snprintf(text, sizeof(text), port1, up ? "true" : "false");
    put_row(db, "port", text);
}

static json_t *first_network(json_t *plan)
{
    return json_array_get(json_object_get(plan, "networks"), 0);
}

/* A group's members speak also from the addresses that they are allowed besides their own. */
static void pairs_are_members_of_their_group(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *port, *rule;

    put_port1(db, true);
    plan = plan_of(db, "h2", "10.20.2.1");
    port = json_array_get(json_object_get(first_network(plan), "ports"), 0);
    rule = json_array_get(json_object_get(port, "rules"), 0);
    assert_true(json_has_str(rule, "remotes", "10.0.0.5/32"));
    assert_true(json_has_str(rule, "remotes", "10.0.0.99/32"));
    assert_true(json_has_str(rule, "remotes", "10.0.7.0/24"));
    json_decref(plan);
    mirror_close(db);
}

static void a_port_that_is_down_carries_nothing(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *port;

    put_port1(db, true);
    plan = plan_of(db, "h1", "10.20.1.1");
    port = json_array_get(json_object_get(first_network(plan), "ports"), 0);
    assert_true(json_is_true(json_object_get(port, "up")));
    json_decref(plan);
    put_port1(db, false);
    /* Its tap stays, since the guest holds it open. */
    plan = plan_of(db, "h1", "10.20.1.1");
    port = json_array_get(json_object_get(first_network(plan), "ports"), 0);
    assert_string_equal(json_str(port, "id", ""), "p1");
    assert_true(json_is_false(json_object_get(port, "up")));
    json_decref(plan);
    plan = plan_of(db, "h2", "10.20.2.1");
    assert_int_equal(json_array_size(json_object_get(first_network(plan), "remotes")), 2);
    json_decref(plan);
    /* A router's interface and gateway. */
    put_row(db, "port",
            "{'id':'p4','network_id':'n1','mac_address':'fa:16:3e:00:00:04','device_id':'r1',"
            "'device_owner':'network:router_interface','admin_state_up':false,"
            "'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.1'}]}");
    put_row(db, "network", "{'id':'x1','external':true,'mtu':1500,'admin_state_up':false}");
    plan = plan_of(db, "h3", "10.20.3.1");
    port = json_array_get(json_object_get(plan, "routers"), 0);
    assert_int_equal(json_array_size(json_object_get(port, "interfaces")), 0);
    assert_true(json_is_null(json_object_get(port, "gateway")));
    json_decref(plan);
    mirror_close(db);
}

static void a_network_that_is_down_carries_nothing(void **state)
{
    struct mirror *db = small_cloud();
    json_t *plan, *port;

    put_row(db, "network",
            "{'id':'n1','external':false,'segmentation_id':77,'mtu':1450,"
            "'dhcp_hosts':['h3'],'admin_state_up':false}");
    plan = plan_of(db, "h1", "10.20.1.1");
    port = json_array_get(json_object_get(first_network(plan), "ports"), 0);
    assert_true(json_is_false(json_object_get(port, "up")));
    assert_int_equal(json_array_size(json_object_get(first_network(plan), "remotes")), 0);
    json_decref(plan);
    /* Neither DHCP nor the router's interface. */
    plan = plan_of(db, "h3", "10.20.3.1");
    assert_int_equal(json_array_size(json_object_get(plan, "networks")), 0);
    port = json_array_get(json_object_get(plan, "routers"), 0);
    assert_int_equal(json_array_size(json_object_get(port, "interfaces")), 0);
    json_decref(plan);
    mirror_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compute_host_has_its_port),
        cmocka_unit_test(ports_of_a_group_share_its_rules),
        cmocka_unit_test(network_host_has_router_and_dhcp),
        cmocka_unit_test(ports_of_another_project_are_not_joined),
        cmocka_unit_test(ports_for_another_project_are_joined),
        cmocka_unit_test(a_host_without_anything_has_an_empty_plan),
        cmocka_unit_test(pairs_are_members_of_their_group),
        cmocka_unit_test(a_port_that_is_down_carries_nothing),
        cmocka_unit_test(a_network_that_is_down_carries_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
