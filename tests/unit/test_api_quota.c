/* Quotas over HTTP: limits of projects, what is refused, and that many who ask at the same time
 * never get more than there is, at one controller and at three. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

static const char *quota_set_of(const struct person *who)
{
    return fmt("/os-quota-sets/%s", who->project);
}

static const char *quotas_of(const struct person *who)
{
    return fmt("/quotas/%s", who->project);
}

static void limit(const struct person *who, const char *limits)
{
    ask(&admin, "PUT", quota_set_of(who), fmt("{\"quota_set\": {%s}}", limits), 200);
}

static void limit_net(const struct person *who, const char *limits)
{
    ask_net(&admin, "PUT", quotas_of(who), fmt("{\"quota\": {%s}}", limits), 200);
}

static int start(void **state)
{
    with_network(state);
    wipe("compute_quota", "");
    wipe("network_quota", "");
    return 0;
}

static const char *new_server(const char *more)
{
    return fmt("{\"server\": {\"name\": \"vm\", \"imageRef\": \"" IMAGE
               "\", \"flavorRef\": \"42\"%s}}",
               more);
}

static void refuse_server(const struct person *who, const char *more, const char *why)
{
    ask(who, "POST", "/servers", new_server(more), 403);
    assert_string_equal(message(), why);
    assert_string_equal(answer.location, "");
}

/* ---- limits ---- */

static void test_limits_of_projects(void **state)
{
    get(&alice, quota_set_of(&alice), 200);
    assert_string_equal(text("quota_set/id"), alice.project);
    assert_int_equal(num("quota_set/instances"), -1);
    assert_int_equal(num("quota_set/metadata_items"), 128);
    assert_int_equal(num("quota_set/injected_files"), 0);
    assert_int_equal(count("quota_set"), 15);
    limit(&alice, "\"instances\": 3, \"cores\": \"7\"");
    assert_null(at("quota_set/id"));
    assert_int_equal(num("quota_set/instances"), 3);
    assert_int_equal(num("quota_set/cores"), 7);
    limit(&alice, "\"ram\": 4096, \"injected_files\": 0");
    get(&rita, quota_set_of(&alice), 200);
    assert_int_equal(num("quota_set/instances"), 3);
    assert_int_equal(num("quota_set/ram"), 4096);
    get(&rita, fmt("%s/defaults", quota_set_of(&alice)), 200);
    assert_int_equal(num("quota_set/instances"), -1);
    get(&bob, quota_set_of(&bob), 200);
    assert_int_equal(num("quota_set/instances"), -1);
    get(&alice, "/limits", 200);
    assert_int_equal(num("limits/absolute/maxTotalInstances"), 3);
    assert_int_equal(num("limits/absolute/maxTotalCores"), 7);
    assert_int_equal(num("limits/absolute/maxTotalRAMSize"), 4096);
    ask(&admin, "DELETE", quota_set_of(&alice), NULL, 202);
    get(&alice, quota_set_of(&alice), 200);
    assert_int_equal(num("quota_set/instances"), -1);
    assert_int_equal(row_count("compute_quota", ""), 0);
}

/* Projects that have no limit of their own have the class's. */
static void test_class(void **state)
{
    limit(&alice, "\"cores\": -1");
    ask(&admin, "PUT", "/os-quota-class-sets/default",
        "{\"quota_class_set\": {\"instances\": 1, \"cores\": 2}}", 200);
    assert_int_equal(num("quota_class_set/instances"), 1);
    get(&admin, "/os-quota-class-sets/default", 200);
    assert_int_equal(num("quota_class_set/cores"), 2);
    assert_string_equal(text("quota_class_set/id"), "default");
    get(&alice, quota_set_of(&alice), 200);
    assert_int_equal(num("quota_set/instances"), 1);
    assert_int_equal(num("quota_set/cores"), -1); /* said so */
    get(&alice, fmt("%s/defaults", quota_set_of(&alice)), 200);
    assert_int_equal(num("quota_set/cores"), 2);
    ask(&alice, "POST", "/servers", new_server(""), 202);
    refuse_server(&alice, "",
                  "Quota exceeded for instances: Requested 1, but already used 1 of 1 "
                  "instances");
    ask(&admin, "PUT", "/os-quota-class-sets/gold", "{\"quota_class_set\": {\"instances\": 1}}",
        400);
}

static void test_wrong_limits(void **state)
{
    static const char *const wrong[] = {
        "{\"quota_set\": {\"instances\": -2}}",     "{\"quota_set\": {\"instances\": \"many\"}}",
        "{\"quota_set\": {\"instances\": null}}",   "{\"quota_set\": {\"castles\": 1}}",
        "{\"quota_set\": {\"injected_files\": 5}}", "{\"quota_set\": {\"metadata_items\": 129}}",
        "{\"quota_set\": {\"id\": \"x\"}}",         "{\"quota_set\": []}"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ask(&admin, "PUT", quota_set_of(&alice), wrong[i], 400);
    ask(&admin, "PUT", "/os-quota-sets/nowhere", "{\"quota_set\": {\"instances\": 1}}", 400);
    assert_string_equal(message(), "Project ID nowhere is not a valid project.");
    ask(&admin, "PUT", fmt("%s?user_id=x", quota_set_of(&alice)),
        "{\"quota_set\": {\"instances\": 1}}", 400);
    ask(&alice, "PUT", quota_set_of(&alice), "{\"quota_set\": {\"instances\": 1}}", 403);
    ask(&alice, "DELETE", quota_set_of(&alice), NULL, 403);
    get(&alice, "/os-quota-class-sets/default", 403);
    ask_net(&admin, "PUT", quotas_of(&alice), "{\"quota\": {\"port\": -2}}", 400);
    ask_net(&admin, "PUT", quotas_of(&alice), "{\"quota\": {\"castle\": 1}}", 400);
    ask_net(&admin, "PUT", "/quotas/nowhere", "{\"quota\": {\"port\": 1}}", 404);
    ask_net(&alice, "PUT", quotas_of(&alice), "{\"quota\": {\"port\": 1}}", 403);
    assert_int_equal(row_count("compute_quota", ""), 0);
    assert_int_equal(row_count("network_quota", ""), 0);
}

static void test_below_use(void **state)
{
    ask(&alice, "POST", "/servers", new_server(", \"max_count\": 2"), 202);
    ask(&admin, "PUT", quota_set_of(&alice), "{\"quota_set\": {\"instances\": 1}}", 400);
    assert_string_equal(message(), "Quota limit 1 for instances must be greater than or equal to "
                                   "already used and reserved 2.");
    limit(&alice, "\"instances\": 2");
    limit(&alice, "\"instances\": 1, \"force\": true");
    refuse_server(&alice, "",
                  "Quota exceeded for instances: Requested 1, but already used 2 of 1 "
                  "instances");
    ask_net(&admin, "PUT", quotas_of(&alice), "{\"quota\": {\"port\": 1, \"check_limit\": true}}",
            400);
    limit_net(&alice, "\"port\": 1");
}

static void test_gone_with_the_project(void **state)
{
    char id[64];

    ask_service(API_IDENTITY, &admin, "POST", "/v3/projects",
                "{\"project\": {\"name\": \"shortlived\"}}", 201);
    keep("project/id", id);
    ask(&admin, "PUT", fmt("/os-quota-sets/%s", id), "{\"quota_set\": {\"instances\": 1}}", 200);
    ask_net(&admin, "PUT", fmt("/quotas/%s", id), "{\"quota\": {\"port\": 1}}", 200);
    ask_service(API_IDENTITY, &admin, "DELETE", fmt("/v3/projects/%s", id), NULL, 204);
    assert_int_equal(row_count("compute_quota", ""), 0);
    assert_int_equal(row_count("network_quota", ""), 0);
}

/* ---- compute ---- */

static void test_servers(void **state)
{
    char id[64];

    limit(&alice, "\"instances\": 2, \"cores\": 3, \"ram\": 200");
    refuse_server(&alice, ", \"max_count\": 3",
                  "Quota exceeded for instances: Requested 3, but already used 0 of 2 instances");
    ask(&alice, "POST", "/servers", new_server(", \"min_count\": 2"), 202);
    keep("server/id", id);
    limit(&alice, "\"ram\": 128");
    refuse_server(&alice, "",
                  "Quota exceeded for instances, ram: Requested 1, 64, but already used 2, 128 of "
                  "2, 128 instances, ram");
    assert_int_equal(row_count("server", ""), 2);
    assert_int_equal(row_count("port", "WHERE device_owner LIKE 'compute%'"), 2);
    get(&alice, fmt("%s/detail", quota_set_of(&alice)), 200);
    assert_int_equal(num("quota_set/instances/limit"), 2);
    assert_int_equal(num("quota_set/instances/in_use"), 2);
    assert_int_equal(num("quota_set/ram/in_use"), 128);
    assert_int_equal(num("quota_set/cores/in_use"), 2);
    assert_int_equal(num("quota_set/cores/reserved"), 0);
    /* Whom it does not concern. */
    ask(&admin, "POST", "/servers", new_server(""), 202);
    /* Changes of what is there are no use of more. */
    ask(&alice, "PUT", server(id), "{\"server\": {\"name\": \"other\"}}", 200);
    ask(&alice, "DELETE", server(id), NULL, 204);
    wipe("server", "WHERE power = 'deleted'"); /* as planner and hosts do */
    ask(&alice, "POST", "/servers", new_server(""), 202);
}

static void test_ports_of_servers(void **state)
{
    limit_net(&alice, "\"port\": 2");
    ask(&alice, "POST", "/servers", new_server(""), 202); /* beside the network's DHCP port */
    refuse_server(&alice, "", "Maximum number of ports exceeded");
}

static void test_keys_groups_metadata(void **state)
{
    char group[64];

    limit(&alice, "\"key_pairs\": 1, \"server_groups\": 1, \"server_group_members\": 2, "
                  "\"metadata_items\": 1");
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"a\"}}", 200);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"b\"}}", 403);
    assert_string_equal(message(), "Quota exceeded, too many key pairs.");
    ask(&rita, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"b\"}}", 200); /* each user */
    ask(&alice, "POST", "/os-server-groups",
        "{\"server_group\": {\"name\": \"a\", \"policies\": [\"affinity\"]}}", 200);
    keep("server_group/id", group);
    ask(&alice, "POST", "/os-server-groups",
        "{\"server_group\": {\"name\": \"b\", \"policies\": [\"affinity\"]}}", 403);
    assert_string_equal(message(), "Quota exceeded, too many server groups.");
    for (int i = 0; i < 3; i++)
        ask(&alice, "POST", "/servers",
            fmt("{\"server\": {\"name\": \"vm\", \"imageRef\": \"" IMAGE
                "\", \"flavorRef\": \"42\"}, \"os:scheduler_hints\": {\"group\": \"%s\"}}",
                group),
            i < 2 ? 202 : 403);
    assert_string_equal(message(), "Quota exceeded, too many servers in group");
    ask(&alice, "POST", "/servers", new_server(""), 202);
    refuse_server(&alice, ", \"metadata\": {\"a\": \"1\", \"b\": \"2\"}",
                  "Maximum number of metadata items exceeds 1");
    get(&alice, "/limits", 200);
    assert_int_equal(num("limits/absolute/maxServerGroups"), 1);
    assert_int_equal(num("limits/absolute/totalServerGroupsUsed"), 1);
    assert_int_equal(num("limits/absolute/maxServerGroupMembers"), 2);
    assert_int_equal(num("limits/absolute/maxServerMeta"), 1);
    assert_int_equal(num("limits/absolute/maxTotalKeypairs"), 1);
}

/* ---- network ---- */

static void over(const char *path, const char *body, const char *what)
{
    ask_net(&alice, "POST", path, body, 409);
    assert_string_equal(text("NeutronError/type"), "OverQuota");
    assert_string_equal(text("NeutronError/message"),
                        fmt("Quota exceeded for resources: ['%s'].", what));
}

static void test_network(void **state)
{
    ask_net(&alice, "GET", quotas_of(&alice), NULL, 200);
    assert_int_equal(num("quota/network"), -1);
    assert_int_equal(num("quota/rbac_policy"), 0);
    limit_net(&alice, "\"network\": 2, \"subnet\": 1, \"router\": 0, \"force\": true");
    assert_int_equal(num("quota/network"), 2);
    over("/networks", "{\"networks\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"c\"}]}",
         "network");
    assert_int_equal(row_count("network", ""), 1);
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"a\"}}", 201);
    over("/networks", "{\"network\": {\"name\": \"b\"}}", "network");
    over("/subnets",
         fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
             "\"10.9.0.0/24\"}}",
             net),
         "subnet");
    over("/routers", "{\"router\": {\"name\": \"r\"}}", "router");
    limit_net(&alice, "\"router\": 1");
    ask_net(&alice, "POST", "/routers", "{\"router\": {\"name\": \"r\"}}", 201);
    ask_net(&rita, "GET", fmt("%s/details.json", quotas_of(&alice)), NULL, 200);
    assert_int_equal(num("quota/network/limit"), 2);
    assert_int_equal(num("quota/network/used"), 2);
    assert_int_equal(num("quota/network/reserved"), 0);
    ask_net(&alice, "GET", fmt("%s/default", quotas_of(&alice)), NULL, 200);
    assert_int_equal(num("quota/network"), -1);
    ask_net(&bob, "GET", quotas_of(&alice), NULL, 403);
    ask_net(&admin, "GET", "/quotas", NULL, 200);
    assert_int_equal(count("quotas"), 1);
    assert_string_equal(text("quotas/0/project_id"), alice.project);
    assert_int_equal(num("quotas/0/subnet"), 1);
    ask_net(&admin, "DELETE", quotas_of(&alice), NULL, 204);
    ask_net(&admin, "DELETE", quotas_of(&alice), NULL, 404);
    assert_string_equal(text("NeutronError/type"), "TenantQuotaNotFound");
    ask_net(&alice, "POST", "/networks", "{\"network\": {\"name\": \"b\"}}", 201);
}

/* The group that everybody has is no reason to refuse anything, nor are the first rules of one. */
static void test_security_groups(void **state)
{
    char group[64];

    limit_net(&alice, "\"security_group\": 0, \"security_group_rule\": 0");
    ask_net(&alice, "GET", "/security-groups", NULL, 200);
    assert_int_equal(count("security_groups"), 1);
    over("/security-groups", "{\"security_group\": {\"name\": \"web\"}}", "security_group");
    limit_net(&alice, "\"security_group\": 2");
    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"web\"}}", 201);
    keep("security_group/id", group);
    assert_true(count("security_group/security_group_rules") > 0);
    over("/security-groups", "{\"security_group\": {\"name\": \"db\"}}", "security_group");
    over("/security-group-rules",
         fmt("{\"security_group_rule\": {\"security_group_id\": \"%s\", \"direction\": "
             "\"ingress\"}}",
             group),
         "security_group_rule");
    get(&alice, "/limits", 200);
    assert_int_equal(num("limits/absolute/maxSecurityGroups"), 2);
    assert_int_equal(num("limits/absolute/totalSecurityGroupsUsed"), 2);
}

/* An administrator's network for a project counts as the project's. */
static void test_for_another_project(void **state)
{
    limit_net(&bob, "\"network\": 1");
    ask_net(&admin, "POST", "/networks",
            fmt("{\"networks\": [{\"project_id\": \"%s\"}, {\"project_id\": \"%s\"}]}", bob.project,
                bob.project),
            409);
    ask_net(&admin, "POST", "/networks",
            fmt("{\"networks\": [{\"project_id\": \"%s\"}, {\"project_id\": \"%s\"}]}", bob.project,
                admin.project),
            201);
}

/* ---- many at the same time ---- */

#define CONTROLLERS 3
#define CLIENTS 25
#define REQUESTS 4

/* More services on the same rows, as other controllers have. They have turns of their own, so that
 * only the store's preconditions keep them apart. */
static struct api *controllers[CONTROLLERS];

static void run_start_controllers(void)
{
    static const struct api_service_ops *const services[] = {&api_compute, &api_network, NULL};
    struct api_options options = {.address = "127.0.0.1", .region = "R", .password_cost = 4};
    struct err err;

    options.loop = &cloud.loop;
    options.store = cloud.store;
    options.mirror = cloud.mirror;
    for (int i = 0; i < 50 * CONTROLLERS; i++) {
        struct api **api = &controllers[i % CONTROLLERS];

        if (!*api)
            *api = api_start_services(&options, services,
                                      (uint16_t)(31000 + (getpid() * 8 + i * 74) % 1500), &err);
    }
    job_done(0);
}

static void run_stop_controllers(void)
{
    for (int i = 0; i < CONTROLLERS; i++)
        api_stop(controllers[i]);
    job_done(0);
}

struct client {
    pthread_t thread;
    enum api_service service;
    int port;
    const char *path, *body; /* "%d" stands for the client's number */
    int number;
    long status[REQUESTS];
};

static void *run_client(void *arg)
{
    struct client *client = arg;
    struct answer reply = {0};
    char url[256], body[1024];

    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", client->port, client->path);
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(body, sizeof(body), client->body, client->number * REQUESTS + i);
        perform(&reply, client->service, &alice, "POST", url, body);
        client->status[i] = reply.status;
    }
    answer_clear(&reply);
    return NULL;
}

/* All clients at once over so many controllers; of all answers `good` are `made`, the others are
 * `refused`. */
static void rush(enum api_service service, const char *path, const char *body, int controller_count,
                 int good, long made, long refused)
{
    struct client clients[CLIENTS];
    int made_count = 0;

    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.service = service,
                                     .port = api_port(controllers[i % controller_count], service),
                                     .path = path,
                                     .body = body,
                                     .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        for (int k = 0; k < REQUESTS; k++) {
            if (clients[i].status[k] != made && clients[i].status[k] != refused)
                fail_msg("%s: %ld", path, clients[i].status[k]);
            made_count += clients[i].status[k] == made;
        }
    }
    assert_int_equal(made_count, good);
}

static void test_rush_for_servers(void **state)
{
    static const char body[] =
        "{\"server\": {\"name\": \"vm%d\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}";

    limit(&alice, "\"instances\": 10, \"cores\": 12");
    rush(API_COMPUTE, "/v2.1/servers", body, 1, 10, 202, 403);
    assert_int_equal(row_count("server", ""), 10);
    limit(&alice, "\"instances\": 30");
    rush(API_COMPUTE, "/v2.1/servers", body, CONTROLLERS, 2, 202, 403);
    limit(&alice, "\"cores\": 100");
    rush(API_COMPUTE, "/v2.1/servers", body, CONTROLLERS, 18, 202, 403);
    assert_int_equal(row_count("server", ""), 30);
    assert_int_equal(row_count("port", "WHERE device_owner LIKE 'compute%'"), 30);
}

static void test_rush_for_networks(void **state)
{
    static const char body[] = "{\"network\": {\"name\": \"n%d\"}}";

    limit_net(&alice, "\"network\": 13");
    rush(API_NETWORK, "/v2.0/networks", body, CONTROLLERS, 12, 201, 409);
    assert_int_equal(row_count("network", ""), 13);
}

static void test_rush_with_room(void **state)
{
    static const char body[] = "{\"server_group\": {\"name\": \"g%d\", \"policies\": "
                               "[\"affinity\"]}}";

    limit(&alice, "\"server_groups\": 1000");
    rush(API_COMPUTE, "/v2.1/os-server-groups", body, CONTROLLERS, CLIENTS * REQUESTS, 200, 403);
    assert_int_equal(row_count("server_group", ""), CLIENTS * REQUESTS);
}

/* ---- all ---- */

static int start_all(void **state)
{
    cloud_start(state);
    assert_int_equal(on_loop(run_start_controllers), 0);
    for (int i = 0; i < CONTROLLERS; i++)
        assert_non_null(controllers[i]);
    return 0;
}

static int stop_all(void **state)
{
    assert_int_equal(on_loop(run_stop_controllers), 0);
    return cloud_stop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_limits_of_projects, start),
        cmocka_unit_test_setup(test_class, start),
        cmocka_unit_test_setup(test_wrong_limits, start),
        cmocka_unit_test_setup(test_below_use, start),
        cmocka_unit_test_setup(test_gone_with_the_project, start),
        cmocka_unit_test_setup(test_servers, start),
        cmocka_unit_test_setup(test_ports_of_servers, start),
        cmocka_unit_test_setup(test_keys_groups_metadata, start),
        cmocka_unit_test_setup(test_network, start),
        cmocka_unit_test_setup(test_security_groups, start),
        cmocka_unit_test_setup(test_for_another_project, start),
        cmocka_unit_test_setup(test_rush_for_servers, start),
        cmocka_unit_test_setup(test_rush_for_networks, start),
        cmocka_unit_test_setup(test_rush_with_room, start),
    };

    return cmocka_run_group_tests(tests, start_all, stop_all);
}
