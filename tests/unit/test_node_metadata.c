/* Whom the metadata service takes for which server, and which ports a server has. */
#include "base/json.h"
#include "node/agent_rows.h"
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "secret" */
static const char server[] =
    "{'id':'v1','project_id':'alice','name':'web','user_data':'c2VjcmV0','host_id':'h1'}";
static const char own_port[] =
    "{'id':'p1','project_id':'alice','network_id':'n1','device_id':'v1','device_owner':"
    "'compute:nova','mac_address':'fa:16:3e:00:00:01',"
    "'fixed_ips':[{'subnet_id':'s1','ip_address':'10.0.0.5'}]}";
static const char foreign_port[] =
    "{'id':'p2','project_id':'bob','network_id':'n2','device_id':'v1','device_owner':"
    "'compute:nova','mac_address':'fa:16:3e:00:00:02',"
    "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.5'}]}";
static const char lent_port[] =
    "{'id':'p2','project_id':'bob','device_project':'alice','network_id':'n2','device_id':'v1',"
    "'device_owner':'compute:nova','mac_address':'fa:16:3e:00:00:02',"
    "'fixed_ips':[{'subnet_id':'s2','ip_address':'10.1.0.5'}]}";

static struct node node;

static void put_row(const char *table, const char *quoted)
{
    int64_t revision = mirror_revision(node.mirror) + 1;
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
        node.mirror, revision,
        &(struct store_change){
            .table = table, .id = json_str(row, "id", ""), .row = row, .revision = revision},
        1);
    json_decref(row);
}

static int setup(void **state)
{
    node.mirror = mirror_open_detached(NULL);
    put_row("server", server);
    put_row("port", own_port);
    put_row("port", foreign_port);
    return 0;
}

static int teardown(void **state)
{
    mirror_close(node.mirror);
    return 0;
}

static void ask(const char *network, const char *ip, unsigned want, const char *text)
{
    char *body = NULL;
    size_t size = 0;

    assert_int_equal(
        metadata_serve(&node, network, ip, "GET", "/openstack/latest/user_data", &body, &size),
        want);
    if (text)
        assert_string_equal(body, text);
    free(body);
}

static size_t links_of_server(void)
{
    json_t *row = mirror_get(node.mirror, "server", "v1", NULL);
    json_t *doc = metadata_network(node.mirror, row);
    size_t n = json_array_size(json_object_get(doc, "links"));

    json_decref(doc);
    json_decref(row);
    return n;
}

static size_t ports_of_server(void)
{
    json_t *ports = agent_ports_of(node.mirror, "v1");
    size_t n = json_array_size(ports);

    json_decref(ports);
    return n;
}

/* Bob's port says that it is Alice's server, and Bob has a guest with that address. */
static void a_foreign_port_is_told_nothing(void **state)
{
    ask("n1", "10.0.0.5", 200, "secret");
    ask("n2", "10.1.0.5", 404, NULL);
    assert_int_equal(links_of_server(), 1);
    assert_int_equal(ports_of_server(), 1);
}

static void a_port_lent_by_an_administrator_works(void **state)
{
    put_row("port", lent_port);
    ask("n2", "10.1.0.5", 200, "secret");
    assert_int_equal(links_of_server(), 2);
    assert_int_equal(ports_of_server(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_foreign_port_is_told_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_port_lent_by_an_administrator_works, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
