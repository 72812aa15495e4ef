/* The network service's handlers over a detached mirror: requests run as the api core runs them,
 * the test plays the store (preconditions and all), so that races can be arranged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "api/internal.h"
#include "base/clock.h"
#include "base/json.h"
#include "store/engine.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mirror *mirror;
static int64_t revision;
static bool as_admin = true;
static const char *project = "p1";

/* The query, in the HTTP server's place. */
struct http_request {
    const char *pairs[1000][2];
};

const char *http_query(const struct http_request *request, const char *name)
{
    for (size_t i = 0; request->pairs[i][0]; i++) {
        if (strcmp(request->pairs[i][0], name) == 0)
            return request->pairs[i][1];
    }
    return NULL;
}

void http_query_each(const struct http_request *request,
                     void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; request->pairs[i][0]; i++)
        each(arg, request->pairs[i][0], request->pairs[i][1]);
}

const char *http_header(const struct http_request *request, const char *name)
{
    return NULL;
}

static struct http_request query;

struct call {
    struct api_call api;
    char method[16], path[300];
};

static struct call *begin(const char *method, const char *path, const char *body)
{
    struct call *call = calloc(1, sizeof(*call));
    struct api_req *req = &call->api.req;

    snprintf(call->method, sizeof(call->method), "%s", method);
    snprintf(call->path, sizeof(call->path), "%s", path);
    req->service = &api_network;
    req->method = call->method;
    req->path = call->path;
    req->auth = (struct api_auth){.valid = true, .admin = as_admin, .writer = true};
    snprintf(req->auth.project_id, sizeof(req->auth.project_id), "%s", project);
    req->body = body ? json_loads(body, 0, NULL) : NULL;
    assert_true(!body || req->body);
    req->http = &query;
    req->db = mirror;
    req->file_fd = -1;
    snprintf(req->base_url, sizeof(req->base_url), "http://cloud:9696");
    clock_iso(clock_wall_ms(), req->now, sizeof(req->now));
    assert_int_equal(api_route_find(&api_network, method, path, req), 0);
    return call;
}

static void run(struct call *call)
{
    struct api_req *req = &call->api.req;

    store_txn_free(req->txn);
    req->txn = store_txn_new();
    json_decref(req->reply);
    req->reply = NULL;
    req->route->handler(req);
}

/* What the store does. */
static int commit(struct call *call)
{
    struct store_txn *txn = call->api.req.txn;
    struct store_change changes[STORE_TXN_CHANGES_MAX];

    assert_int_equal(txn->rc, 0);
    for (size_t i = 0; i < txn->expect_count; i++) {
        int64_t rev = 0;

        json_decref(mirror_get(mirror, txn->expects[i].table, txn->expects[i].id, &rev));
        if (rev != txn->expects[i].revision)
            return -EAGAIN;
    }
    if (txn->change_count == 0)
        return 0;
    revision++;
    for (size_t i = 0; i < txn->change_count; i++)
        changes[i] = (struct store_change){.table = txn->changes[i].table,
                                           .id = txn->changes[i].id,
                                           .row = txn->changes[i].row,
                                           .revision = revision};
    mirror_apply(mirror, revision, changes, txn->change_count);
    return 0;
}

static json_t *end(struct call *call, unsigned *ret_status)
{
    struct api_req *req = &call->api.req;
    json_t *reply = req->reply;

    *ret_status = req->status;
    json_decref(req->body);
    store_txn_free(req->txn);
    free(call);
    return reply;
}

/* One request; the reply must have the status. */
static json_t *ask(const char *method, const char *path, const char *body, unsigned want)
{
    struct call *call = begin(method, path, body);
    unsigned status;
    json_t *reply;

    run(call);
    while (commit(call) < 0)
        run(call);
    reply = end(call, &status);
    if (status != want) {
        char *text = json_dumps(reply, 0);

        fail_msg("%s %s: %u instead of %u: %s", method, path, status, want, text ? text : "");
    }
    return reply;
}

static void expect_error(const char *method, const char *path, const char *body, unsigned want,
                         const char *type)
{
    json_t *reply = ask(method, path, body, want);

    assert_string_equal(json_str(json_object_get(reply, "NeutronError"), "type", ""), type);
    json_decref(reply);
}

static void quietly(const char *method, const char *path, const char *body, unsigned want)
{
    json_decref(ask(method, path, body, want));
}

/* The id in a reply's only object. */
static void take_id(json_t *reply, char id[64])
{
    snprintf(id, 64, "%s", json_str(json_object_iter_value(json_object_iter(reply)), "id", ""));
    assert_true(id[0]);
    json_decref(reply);
}

static void make(const char *collection, const char *body, char id[64])
{
    char path[100];

    snprintf(path, sizeof(path), "/v2.0/%s", collection);
    take_id(ask("POST", path, body, 201), id);
}

static const char *fmt(char *out, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(out, 1000, format, ap);
    va_end(ap);
    return out;
}

static int setup(void **state)
{
    struct err err;

    mirror = mirror_open_detached(&err);
    revision = 0;
    as_admin = true;
    project = "p1";
    query = (struct http_request){0};
    return mirror ? 0 : -1;
}

static int teardown(void **state)
{
    mirror_close(mirror);
    return 0;
}

static void make_network(const char *cidr, char network[64], char subnet[64])
{
    char b[1000];

    make("networks", "{\"network\":{\"name\":\"n\"}}", network);
    make("subnets",
         fmt(b, "{\"subnet\":{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"%s\"}}", network,
             cidr),
         subnet);
}

/* Addresses are drawn from .101 on: a test may name the others. */
static void make_external(char network[64], char subnet[64])
{
    char b[1000];

    make("networks", "{\"network\":{\"name\":\"public\",\"router:external\":true}}", network);
    make("subnets",
         fmt(b,
             "{\"subnet\":{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"172.24.4.0/24\","
             "\"allocation_pools\":[{\"start\":\"172.24.4.101\",\"end\":\"172.24.4.254\"}],"
             "\"enable_dhcp\":false}}",
             network),
         subnet);
}

/* ---- tests ---- */

static void test_network_life(void **state)
{
    char network[64], subnet[64], b[1000], port[64];
    json_t *reply, *object;

    make_network("10.0.0.0/24", network, subnet);
    reply = ask("GET", fmt(b, "/v2.0/networks/%s", network), NULL, 200);
    object = json_object_get(reply, "network");
    assert_string_equal(json_string_value(json_array_get(json_object_get(object, "subnets"), 0)),
                        subnet);
    assert_true(json_int(object, "provider:segmentation_id", 0) >= 1000);
    assert_string_equal(json_str(object, "tenant_id", ""), "p1");
    assert_int_equal(json_int(object, "revision_number", 0), 2);
    json_decref(reply);
    reply = ask("GET", fmt(b, "/v2.0/subnets/%s", subnet), NULL, 200);
    object = json_object_get(reply, "subnet");
    assert_string_equal(json_str(object, "gateway_ip", ""), "10.0.0.1");
    object = json_array_get(json_object_get(object, "allocation_pools"), 0);
    assert_string_equal(json_str(object, "start", ""), "10.0.0.2");
    assert_string_equal(json_str(object, "end", ""), "10.0.0.254");
    json_decref(reply);
    assert_int_equal(mirror_count(mirror, "port", "WHERE device_owner = 'network:dhcp'", ""), 1);
    expect_error("POST", "/v2.0/subnets",
                 fmt(b,
                     "{\"subnet\":{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":"
                     "\"10.0.0.128/25\"}}",
                     network),
                 400, "InvalidInput");
    make("ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", network), port);
    expect_error("DELETE", fmt(b, "/v2.0/networks/%s", network), NULL, 409, "NetworkInUse");
    expect_error("DELETE", fmt(b, "/v2.0/subnets/%s", subnet), NULL, 409, "SubnetInUse");
    quietly("DELETE", fmt(b, "/v2.0/ports/%s", port), NULL, 204);
    quietly("DELETE", fmt(b, "/v2.0/networks/%s", network), NULL, 204);
    expect_error("GET", fmt(b, "/v2.0/networks/%s", network), NULL, 404, "NetworkNotFound");
    assert_int_equal(mirror_count(mirror, "port", "", ""), 0);
    assert_int_equal(mirror_count(mirror, "ip", "", ""), 0);
    assert_int_equal(mirror_count(mirror, "vni", "", ""), 0);
    assert_int_equal(mirror_count(mirror, "subnet", "", ""), 0);
    assert_int_equal(mirror_count(mirror, "guard", "WHERE id = ?", "s", network), 0);
}

/* All hundred handlers see the same mirror before any of them is committed. */
static void test_parallel_ports(void **state)
{
    enum { PORTS = 100 };
    char network[64], subnet[64], b[1000];
    struct call *calls[PORTS];
    unsigned status;
    int retries = 0;

    make_network("10.0.0.0/25", network, subnet);
    fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", network);
    for (int i = 0; i < PORTS; i++) {
        calls[i] = begin("POST", "/v2.0/ports", b);
        run(calls[i]);
    }
    for (int i = 0; i < PORTS; i++) {
        while (commit(calls[i]) < 0) {
            run(calls[i]);
            retries++;
        }
        json_decref(end(calls[i], &status));
        assert_int_equal(status, 201);
    }
    assert_true(retries > 0);
    assert_int_equal(mirror_count(mirror, "ip", "", ""), PORTS + 1);
    assert_int_equal(mirror_count(mirror, "port",
                                  "WHERE id IN (SELECT id FROM port GROUP BY json_extract(body, "
                                  "'$.fixed_ips[0].ip_address'))",
                                  ""),
                     PORTS + 1);
    assert_int_equal(mirror_count(mirror, "security_group", "", ""), 1);
    assert_int_equal(mirror_count(mirror, "security_group_rule", "", ""), 4);
}

static void test_full_subnet(void **state)
{
    char network[64], subnet[64], port[64], b[1000];

    make_network("10.0.0.0/29", network, subnet);
    fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", network);
    for (int i = 0; i < 4; i++) /* 6 hosts, one is the gateway, one serves DHCP */
        make("ports", b, port);
    expect_error("POST", "/v2.0/ports", b, 409, "IpAddressGenerationFailure");
    expect_error("POST", "/v2.0/ports",
                 fmt(b,
                     "{\"port\":{\"network_id\":\"%s\",\"fixed_ips\":[{\"ip_address\":"
                     "\"10.0.0.2\"}]}}",
                     network),
                 409, "IpAddressInUse");
    expect_error("POST", "/v2.0/ports",
                 fmt(b,
                     "{\"port\":{\"network_id\":\"%s\",\"fixed_ips\":[{\"ip_address\":"
                     "\"10.9.0.2\"}]}}",
                     network),
                 400, "InvalidIpForNetwork");
}

/* A port that is born while its network is being deleted: one of the two must lose. */
static void test_delete_race(void **state)
{
    char network[64], subnet[64], b[1000];
    struct call *removal, *birth;
    unsigned status;

    make_network("10.0.0.0/24", network, subnet);
    removal = begin("DELETE", fmt(b, "/v2.0/networks/%s", network), NULL);
    birth = begin("POST", "/v2.0/ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", network));
    run(removal);
    run(birth);
    assert_int_equal(commit(birth), 0);
    assert_int_equal(commit(removal), -EAGAIN);
    run(removal);
    assert_int_equal(commit(removal), 0);
    json_decref(end(birth, &status));
    assert_int_equal(status, 201);
    json_decref(end(removal, &status));
    assert_int_equal(status, 409);
}

static void test_router_and_floating(void **state)
{
    char net[64], sub[64], ext[64], extsub[64], router[64], port[64], fip[64], b[1000], path[300];
    json_t *reply, *object;

    make_external(ext, extsub);
    make_network("10.0.0.0/24", net, sub);
    make("ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", net), port);
    fmt(b, "{\"floatingip\":{\"floating_network_id\":\"%s\",\"port_id\":\"%s\"}}", ext, port);
    expect_error("POST", "/v2.0/floatingips", b, 404, "ExternalGatewayForFloatingIPNotFound");
    make("routers",
         fmt(path,
             "{\"router\":{\"name\":\"r\",\"external_gateway_info\":{\"network_id\":\"%s\"}}}",
             ext),
         router);
    fmt(path, "/v2.0/routers/%s/add_router_interface", router);
    reply = ask("PUT", path, fmt(b, "{\"subnet_id\":\"%s\"}", sub), 200);
    assert_string_equal(json_str(reply, "network_id", ""), net);
    json_decref(reply);
    expect_error("PUT", path, b, 400, "BadRequest");
    assert_int_equal(mirror_count(mirror, "ip", "WHERE id = ?", "s", fmt(b, "%s.10.0.0.1", net)),
                     1);
    fmt(b, "{\"floatingip\":{\"floating_network_id\":\"%s\",\"port_id\":\"%s\"}}", ext, port);
    reply = ask("POST", "/v2.0/floatingips", b, 201);
    object = json_object_get(reply, "floatingip");
    assert_string_equal(json_str(object, "router_id", ""), router);
    assert_string_equal(json_str(json_object_get(object, "port_details"), "network_id", ""), net);
    take_id(reply, fip);
    expect_error("POST", "/v2.0/floatingips", b, 409, "FloatingIPPortAlreadyAssociated");
    fmt(path, "/v2.0/routers/%s/remove_router_interface", router);
    expect_error("PUT", path, fmt(b, "{\"subnet_id\":\"%s\"}", sub), 409,
                 "RouterInterfaceInUseByFloatingIP");
    expect_error("PUT", fmt(path, "/v2.0/routers/%s", router),
                 "{\"router\":{\"external_gateway_info\":{}}}", 409,
                 "RouterExternalGatewayInUseByFloatingIp");
    expect_error("DELETE", fmt(path, "/v2.0/routers/%s", router), NULL, 409, "RouterInUse");
    quietly("DELETE", fmt(path, "/v2.0/ports/%s", port), NULL, 204);
    reply = ask("GET", fmt(path, "/v2.0/floatingips/%s", fip), NULL, 200);
    object = json_object_get(reply, "floatingip");
    assert_true(json_is_null(json_object_get(object, "port_id")));
    assert_true(json_is_null(json_object_get(object, "router_id")));
    json_decref(reply);
    quietly("DELETE", fmt(path, "/v2.0/floatingips/%s", fip), NULL, 204);
    quietly("PUT", fmt(path, "/v2.0/routers/%s/remove_router_interface", router), "{}", 400);
    quietly("PUT", path, fmt(b, "{\"subnet_id\":\"%s\"}", sub), 200);
    quietly("DELETE", fmt(path, "/v2.0/routers/%s", router), NULL, 204);
    quietly("DELETE", fmt(path, "/v2.0/networks/%s", net), NULL, 204);
    quietly("DELETE", fmt(path, "/v2.0/networks/%s", ext), NULL, 204);
    assert_int_equal(mirror_count(mirror, "port", "", ""), 0);
    assert_int_equal(mirror_count(mirror, "ip", "", ""), 0);
}

static void test_security_groups(void **state)
{
    char group[64], rule[64], b[1000], path[300], net[64], sub[64], port[64];
    json_t *reply, *object;

    reply = ask("GET", "/v2.0/security-groups", NULL, 200);
    object = json_array_get(json_object_get(reply, "security_groups"), 0);
    assert_string_equal(json_str(object, "name", ""), "default");
    assert_int_equal(json_array_size(json_object_get(object, "security_group_rules")), 4);
    json_decref(reply);
    reply = ask("POST", "/v2.0/security-groups", "{\"security_group\":{\"name\":\"web\"}}", 201);
    object = json_object_get(reply, "security_group");
    assert_int_equal(json_array_size(json_object_get(object, "security_group_rules")), 2);
    take_id(reply, group);
    fmt(b,
        "{\"security_group_rule\":{\"security_group_id\":\"%s\",\"direction\":\"ingress\","
        "\"protocol\":\"TCP\",\"port_range_min\":80,\"port_range_max\":80}}",
        group);
    make("security-group-rules", b, rule);
    expect_error("POST", "/v2.0/security-group-rules", b, 409, "SecurityGroupRuleExists");
    fmt(b,
        "{\"security_group_rule\":{\"security_group_id\":\"%s\",\"direction\":\"ingress\","
        "\"protocol\":\"tcp\",\"port_range_min\":80,\"port_range_max\":8}}",
        group);
    expect_error("POST", "/v2.0/security-group-rules", b, 400, "SecurityGroupInvalidPortRange");
    quietly("DELETE", fmt(path, "/v2.0/security-group-rules/%s", rule), NULL, 204);
    make_network("10.0.0.0/24", net, sub);
    make("ports",
         fmt(b, "{\"port\":{\"network_id\":\"%s\",\"security_groups\":[\"%s\"]}}", net, group),
         port);
    expect_error("DELETE", fmt(path, "/v2.0/security-groups/%s", group), NULL, 409,
                 "SecurityGroupInUse");
    quietly("PUT", fmt(path, "/v2.0/ports/%s", port), "{\"port\":{\"security_groups\":[]}}", 200);
    quietly("DELETE", fmt(path, "/v2.0/security-groups/%s", group), NULL, 204);
    assert_int_equal(mirror_count(mirror, "security_group_rule", "", ""), 4);
}

/* Posts a rule of `group`; 201 or the error's type. */
static void try_rule(const char *group, const char *quoted, const char *want)
{
    char b[1000];

    fmt(b, "{\"security_group_rule\":{\"security_group_id\":\"%s\",\"direction\":\"ingress\",%s}}",
        group, quoted);
    for (char *at = b; *at; at++)
        *at = *at == '\'' ? '"' : *at;
    if (want)
        expect_error("POST", "/v2.0/security-group-rules", b,
                     strcmp(want, "SecurityGroupRuleExists") == 0 ? 409 : 400, want);
    else
        quietly("POST", "/v2.0/security-group-rules", b, 201);
}

/* A protocol has many spellings and one meaning. */
static void test_rules_by_meaning(void **state)
{
    static const char exists[] = "SecurityGroupRuleExists";
    static const struct {
        const char *rule, *want; /* NULL: made */
    } tried[] = {
        {"'protocol':'tcp','port_range_min':80,'port_range_max':80", NULL},
        {"'protocol':'6','port_range_min':80,'port_range_max':80", exists},
        {"'protocol':6,'port_range_min':80,'port_range_max':80", exists},
        {"'protocol':'6','port_range_min':81,'port_range_max':81", NULL},
        {"'protocol':'tcp','port_range_min':0,'port_range_max':80",
         "SecurityGroupInvalidPortValue"},
        {"'protocol':'tcp','port_range_min':80", "SecurityGroupInvalidPortRange"},
        {"'protocol':'udp','remote_ip_prefix':'0.0.0.0/0'", NULL},
        {"'protocol':'udp'", exists},
        {"'protocol':17", exists},
        {"'protocol':'0017'", "SecurityGroupRuleInvalidProtocol"},
        {"'protocol':'0058'", "SecurityGroupRuleInvalidProtocol"},
        {"'protocol':256", "SecurityGroupRuleInvalidProtocol"},
        {"'protocol':-1", "SecurityGroupRuleInvalidProtocol"},
        {"'protocol':132,'port_range_min':9,'port_range_max':9", NULL},
        {"'protocol':'ipv6-icmp'", "SecurityGroupEthertypeConflictWithProtocol"},
        {"'protocol':'58'", "SecurityGroupEthertypeConflictWithProtocol"},
        {"'protocol':'1','port_range_min':8", NULL},
        {"'protocol':'icmp','port_range_min':8", exists},
        {"'protocol':'icmp','port_range_min':256", "SecurityGroupInvalidIcmpValue"},
        {"'protocol':'icmp','port_range_max':0", "SecurityGroupMissingIcmpType"},
        {"'protocol':'58','ethertype':'IPv6','port_range_min':128,'port_range_max':0", NULL},
        {"'protocol':'icmp','ethertype':'IPv6','port_range_min':128,'port_range_max':0", exists},
        {"'protocol':'icmpv6','ethertype':'IPv6'", NULL},
        {"'protocol':'1','ethertype':'IPv6','remote_ip_prefix':'::/0'", exists},
        {"'protocol':'GRE'", NULL},
        {"'protocol':'47'", exists},
        {"'protocol':'gre','port_range_min':1,'port_range_max':1",
         "SecurityGroupInvalidProtocolForPort"},
        {"'port_range_min':1,'port_range_max':1", "SecurityGroupProtocolRequiredWithPorts"},
    };
    char group[64];

    make("security-groups", "{\"security_group\":{\"name\":\"web\"}}", group);
    for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++)
        try_rule(group, tried[i].rule, tried[i].want);
    /* Shown as given. */
    assert_int_equal(mirror_count(mirror, "security_group_rule", "WHERE protocol = '6'", ""), 1);
    assert_int_equal(mirror_count(mirror, "security_group_rule", "WHERE protocol = '132'", ""), 1);
    assert_int_equal(mirror_count(mirror, "security_group_rule", "WHERE protocol = 'gre'", ""), 1);
}

/* What a kernel does not take is not for a host to find out. */
static void test_routes(void **state)
{
    static const struct {
        const char *to, *hop;
        bool good;
    } tried[] = {
        {"10.9.2.0/24", "10.0.0.7", true},    {"10.9.2.5", "10.0.0.7", true},
        {"10.9.2.5/24", "10.0.0.7", false},   {"10.9.2.0/24", "10.0.0.0", false},
        {"10.9.2.0/24", "10.0.0.255", false}, {"10.9.2.0/24", "10.0.0.1", false},
        {"10.9.2.0/24", "10.1.0.7", false},   {"fd00:9::/64", "10.0.0.7", false},
        {"10.9.2.0/24", "172.24.4.9", true},  {"10.9.2.0/24", "FIP", false},
    };
    char net[64], sub[64], ext[64], extsub[64], router[64], port[64], b[1000], path[300], fip[64];
    json_t *reply;

    make_external(ext, extsub);
    make_network("10.0.0.0/24", net, sub);
    make("routers", fmt(b, "{\"router\":{\"external_gateway_info\":{\"network_id\":\"%s\"}}}", ext),
         router);
    quietly("PUT", fmt(path, "/v2.0/routers/%s/add_router_interface", router),
            fmt(b, "{\"subnet_id\":\"%s\"}", sub), 200);
    make("ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", net), port);
    fmt(b, "{\"floatingip\":{\"floating_network_id\":\"%s\",\"port_id\":\"%s\"}}", ext, port);
    reply = ask("POST", "/v2.0/floatingips", b, 201);
    snprintf(fip, sizeof(fip), "%s",
             json_str(json_object_get(reply, "floatingip"), "floating_ip_address", ""));
    json_decref(reply);
    for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
        const char *hop = strcmp(tried[i].hop, "FIP") == 0 ? fip : tried[i].hop;

        fmt(b, "{\"router\":{\"routes\":[{\"destination\":\"%s\",\"nexthop\":\"%s\"}]}}",
            tried[i].to, hop);
        quietly("PUT", fmt(path, "/v2.0/routers/%s", router), b, tried[i].good ? 200 : 400);
        if (strcmp(tried[i].hop, "172.24.4.9") == 0 || strcmp(tried[i].hop, "FIP") == 0 ||
            strcmp(tried[i].hop, "10.1.0.7") == 0 || strcmp(tried[i].hop, "10.0.0.1") == 0)
            continue; /* these are a router's concern only */
        fmt(b, "{\"subnet\":{\"host_routes\":[{\"destination\":\"%s\",\"nexthop\":\"%s\"}]}}",
            tried[i].to, hop);
        quietly("PUT", fmt(path, "/v2.0/subnets/%s", sub), b, tried[i].good ? 200 : 400);
    }
}

/* Another project sees what is shared or external, and nothing else. */
static void test_policy(void **state)
{
    char net[64], sub[64], ext[64], extsub[64], fip[64], b[1000], path[300];

    make_external(ext, extsub);
    make_network("10.0.0.0/24", net, sub);
    as_admin = false;
    project = "p2";
    expect_error("GET", fmt(path, "/v2.0/networks/%s", net), NULL, 404, "NetworkNotFound");
    expect_error("GET", fmt(path, "/v2.0/subnets/%s", sub), NULL, 404, "SubnetNotFound");
    expect_error("DELETE", fmt(path, "/v2.0/networks/%s", ext), NULL, 403, "PolicyNotAuthorized");
    expect_error("POST", "/v2.0/networks", "{\"network\":{\"shared\":true}}", 403,
                 "PolicyNotAuthorized");
    expect_error("POST", "/v2.0/ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", net), 404,
                 "NetworkNotFound");
    quietly("GET", fmt(path, "/v2.0/subnets/%s", extsub), NULL, 200);
    make("floatingips", fmt(b, "{\"floatingip\":{\"floating_network_id\":\"%s\"}}", ext), fip);
    project = "p3";
    expect_error("DELETE", fmt(path, "/v2.0/floatingips/%s", fip), NULL, 404, "FloatingIPNotFound");
}

static void test_bulk_and_updates(void **state)
{
    char net[64], sub[64], port[64], b[1000], path[300];
    json_t *reply;

    reply =
        ask("POST", "/v2.0/networks", "{\"networks\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", 201);
    assert_int_equal(json_array_size(json_object_get(reply, "networks")), 2);
    json_decref(reply);
    make("networks", "{\"network\":{}}", net);
    quietly("POST", "/v2.0/subnets",
            fmt(b,
                "{\"subnets\":[{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"10.0.0.0/24\"},"
                "{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"10.0.1.0/24\"}]}",
                net, net),
            201);
    assert_int_equal(mirror_count(mirror, "ip", "", ""), 2);
    fmt(b,
        "{\"subnets\":[{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"10.0.2.0/24\"},"
        "{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"10.0.2.0/25\"}]}",
        net, net);
    quietly("POST", "/v2.0/subnets", b, 400);
    assert_int_equal(mirror_count(mirror, "subnet", "", ""), 2);
    make("subnets",
         fmt(b, "{\"subnet\":{\"network_id\":\"%s\",\"ip_version\":6,\"cidr\":\"fd00:1::/64\"}}",
             net),
         sub);
    make("ports", fmt(b, "{\"port\":{\"network_id\":\"%s\"}}", net), port);
    assert_int_equal(mirror_count(mirror, "ip", "WHERE port_id = ?", "s", port), 2);
    quietly("PUT", fmt(path, "/v2.0/ports/%s", port),
            "{\"port\":{\"fixed_ips\":[{\"ip_address\":\"10.0.1.1\"}]}}", 200);
    assert_int_equal(mirror_count(mirror, "ip", "WHERE port_id = ?", "s", port), 1);
    quietly("PUT", fmt(path, "/v2.0/subnets/%s", sub), "{\"subnet\":{\"enable_dhcp\":false}}", 200);
    assert_int_equal(mirror_count(mirror, "ip", "WHERE subnet_id = ?", "s", sub), 0);
    quietly("PUT", fmt(path, "/v2.0/networks/%s/tags/red", net), NULL, 201);
    quietly("GET", path, NULL, 204);
    quietly("DELETE", path, NULL, 204);
    quietly("GET", path, NULL, 404);
    quietly("GET", "/v2.0/extensions/router", NULL, 200);
    quietly("GET", "/v2.0/extensions/nonsense", NULL, 404);
}

static void test_lists(void **state)
{
    char a[64], b[64], c[64];
    json_t *reply, *list;

    make("networks", "{\"network\":{\"name\":\"a\"}}", a);
    make("networks", "{\"network\":{\"name\":\"b\"}}", b);
    make("networks", "{\"network\":{\"name\":\"c\"}}", c);
    query = (struct http_request){{{"name", "a"}, {"name", "c"}, {"fields", "id"}}};
    reply = ask("GET", "/v2.0/networks", NULL, 200);
    list = json_object_get(reply, "networks");
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_object_size(json_array_get(list, 0)), 1);
    json_decref(reply);
    query = (struct http_request){{{"limit", "2"}, {"sort_key", "name"}, {"sort_dir", "asc"}}};
    reply = ask("GET", "/v2.0/networks", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "networks")), 2);
    list = json_object_get(reply, "networks_links");
    assert_string_equal(json_str(json_array_get(list, 0), "rel", ""), "next");
    assert_non_null(strstr(json_str(json_array_get(list, 0), "href", ""), b));
    json_decref(reply);
    query.pairs[3][0] = "marker";
    query.pairs[3][1] = b;
    reply = ask("GET", "/v2.0/networks", NULL, 200);
    list = json_object_get(reply, "networks");
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_str(json_array_get(list, 0), "id", ""), c);
    json_decref(reply);
    query = (struct http_request){{{"tenant_id", "p9"}}};
    reply = ask("GET", "/v2.0/networks", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "networks")), 0);
    json_decref(reply);
    as_admin = false;
    project = "p2";
    query = (struct http_request){0};
    reply = ask("GET", "/v2.0/networks", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "networks")), 0);
    json_decref(reply);
}

/* What only administrators are shown, only they find things by. */
static void test_hidden_fields_are_no_filters(void **state)
{
    char id[64];
    json_t *reply;

    make("networks", "{\"network\":{\"name\":\"a\",\"provider:segmentation_id\":77}}", id);
    for (int i = 0; i < 4; i++) {
        as_admin = i < 2;
        query = (struct http_request){{{"provider:segmentation_id", i % 2 ? "78" : "77"}}};
        reply = ask("GET", "/v2.0/networks", NULL, 200);
        assert_int_equal(json_array_size(json_object_get(reply, "networks")), i != 1);
        json_decref(reply);
    }
    query = (struct http_request){{{"sort_key", "provider:segmentation_id"}}};
    json_decref(ask("GET", "/v2.0/networks", NULL, 400));
    as_admin = true;
    json_decref(ask("GET", "/v2.0/networks", NULL, 200));
}

static void test_port_filters(void **state)
{
    char net[64], sub[64], port[64], b[1000];
    json_t *reply;

    make_network("10.0.0.0/24", net, sub);
    make("ports",
         fmt(b,
             "{\"port\":{\"network_id\":\"%s\",\"fixed_ips\":[{\"ip_address\":"
             "\"10.0.0.1\"}]}}",
             net),
         port);
    query = (struct http_request){{{"fixed_ips", "ip_address=10.0.0.1"}}};
    reply = ask("GET", "/v2.0/ports", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "ports")), 1);
    json_decref(reply);
    query = (struct http_request){{{"status", "ACTIVE"}}};
    reply = ask("GET", "/v2.0/ports", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "ports")), 0);
    json_decref(reply);
}

/* Conditions that do not fit are not left out. */
static void test_long_queries(void **state)
{
    static char value[70000];
    char id[64];

    make("networks", "{\"network\":{\"name\":\"a\"}}", id);
    memset(value, 'x', sizeof(value) - 1);
    query = (struct http_request){{{"limit", "1"}, {"name", value}}};
    quietly("GET", "/v2.0/networks", NULL, 400);
    query = (struct http_request){{{"name", "a"}, {"fields", value}}};
    quietly("GET", "/v2.0/networks", NULL, 200);
    for (size_t i = 0; i + 1 < sizeof(value); i += 2)
        value[i] = (char)('a' + i / 2 % 26);
    for (size_t i = 1; i + 1 < sizeof(value); i += 2)
        value[i] = ',';
    query = (struct http_request){{{"tags-any", value}}};
    quietly("GET", "/v2.0/networks", NULL, 200);
    for (size_t i = 0; i < 900; i++) {
        query.pairs[i][0] = "fixed_ips";
        query.pairs[i][1] = "ip_address=10.0.0.1";
    }
    quietly("GET", "/v2.0/ports", NULL, 400);
    quietly("GET", "/v2.0/networks", NULL, 200);
}

/* A list ends somewhere, and says so. */
static void test_longest_list(void **state)
{
    enum { AT_ONCE = 1000 };
    static struct store_change changes[AT_ONCE];
    static char ids[AT_ONCE][16];
    json_t *row = json_pack("{s:s, s:s, s:s}", "project_id", "p1", "name", "n", "direction",
                            "ingress"),
           *reply;

    for (int from = 0; from <= API_LIST_MAX; from += AT_ONCE) {
        revision++;
        for (int i = 0; i < AT_ONCE; i++) {
            snprintf(ids[i], sizeof(ids[i]), "%06d", from + i);
            changes[i] = (struct store_change){.table = "security_group_rule",
                                               .id = ids[i],
                                               .row = json_deep_copy(row),
                                               .revision = revision};
            json_put_str((json_t *)changes[i].row, "id", ids[i]);
        }
        mirror_apply(mirror, revision, changes, AT_ONCE);
        for (int i = 0; i < AT_ONCE; i++)
            json_decref((json_t *)changes[i].row);
    }
    query = (struct http_request){{{"sort_key", "id"}, {"sort_dir", "asc"}, {"fields", "id"}}};
    reply = ask("GET", "/v2.0/security-group-rules", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "security_group_rules")), API_LIST_MAX);
    assert_non_null(
        strstr(json_str(json_array_get(json_object_get(reply, "security_group_rules_links"), 0),
                        "href", ""),
               "sort_key=id&sort_dir=asc&fields=id&marker=099999"));
    json_decref(reply);
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_network_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parallel_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_subnet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_router_and_floating, setup, teardown),
        cmocka_unit_test_setup_teardown(test_security_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rules_by_meaning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hidden_fields_are_no_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_port_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_queries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_longest_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bulk_and_updates, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
