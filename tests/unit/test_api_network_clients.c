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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_interface_that_a_route_needs, with_router),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
