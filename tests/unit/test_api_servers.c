/* Servers over HTTP: from the request to the committed rows, and from the rows that planner and
 * hosts write to what people see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

/* The same, which is to be refused. */
static void refuse(const struct person *who, const char *more, long status, const char *why)
{
    size_t servers = row_count("server", ""), ports = row_count("port", "");

    ask(who, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"%s}}",
            more),
        status);
    if (!strstr(message(), why))
        fail_msg("\"%s\" instead of \"%s\"", message(), why);
    assert_int_equal(row_count("server", ""), servers);
    assert_int_equal(row_count("port", ""), ports);
}

/* ---- create ---- */

static void test_create(void **state)
{
    char id[64], group[64];
    json_t *row;

    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"web\"}}", 201);
    keep("security_group/id", group);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\"}}", 200);
    create(&alice, "first",
           ", \"key_name\": \"k\", \"user_data\": \"aGVsbG8=\", \"metadata\": {\"a\": \"b\"}, "
           "\"config_drive\": \"True\", \"availability_zone\": \"cab1\", \"security_groups\": "
           "[{\"name\": \"web\"}, {\"name\": \"default\"}, {\"name\": \"web\"}], \"adminPass\": "
           "\"pw\"",
           id);
    assert_string_equal(text("server/adminPass"), "pw");
    assert_string_equal(text("server/OS-DCF:diskConfig"), "MANUAL");
    assert_int_equal(count("server/security_groups"), 2);
    assert_string_equal(text("server/security_groups/0/name"), "web");
    assert_string_equal(answer.location,
                        fmt("http://127.0.0.1:%d/v2.1/servers/%s", cloud.ports[API_COMPUTE], id));
    row = row_of("server", id);
    assert_string_equal(json_str(row, "project_id", ""), alice.project);
    assert_string_equal(json_str(row, "user_id", ""), alice.user);
    assert_string_equal(json_str(row, "power", ""), "running");
    assert_string_equal(json_str(row, "user_data", ""), "aGVsbG8=");
    assert_int_equal(strncmp(json_str(row, "public_key", ""), "ssh-ed25519 ", 12), 0);
    assert_int_equal(json_int(json_object_get(row, "flavor"), "ram", 0), 64);
    assert_true(json_is_null(json_object_get(row, "host_id")));
    assert_int_equal(json_int(row, "generation", -1), 0);
    json_decref(row);
    ask_net(&alice, "GET", fmt("/ports?device_id=%s", id), NULL, 200);
    assert_int_equal(count("ports"), 1);
    assert_string_equal(text("ports/0/network_id"), net); /* the only one, so it was meant */
    assert_string_equal(text("ports/0/device_owner"), "compute:nova");
    assert_int_equal(count("ports/0/security_groups"), 2);
    assert_string_equal(text("ports/0/security_groups/0"), group);
    get(&alice, server(id), 200);
    assert_string_equal(text("server/config_drive"), "True");
    assert_string_equal(text("server/metadata/a"), "b");
    create(&alice, "second", ", \"availability_zone\": \"nova\", \"config_drive\": null", id);
    assert_int_equal(strlen(text("server/adminPass")), 12);
    ask_net(&alice, "GET", fmt("/ports?device_id=%s", id), NULL, 200);
    assert_int_equal(count("ports/0/security_groups"), 1); /* default */
}

static void test_bad_bodies(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"server\": 7}",
        "{\"server\": {}}",
        "{\"server\": {\"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"  \", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": null, \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"none\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": []}}",
        "{\"server\": {\"name\": \"n\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"x\", \"flavorRef\": \"42\"}}",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" NOTHING "\", \"flavorRef\": \"42\"}}",
    };
    char name[257], id[64];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ask(&alice, "POST", "/servers", bad[i], 400);
    ask(&alice, "POST", "/servers", NULL, 400);
    memset(name, 'n', 256);
    name[256] = '\0';
    ask(&alice, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"%s\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": 42}}",
            name),
        400);
    assert_int_equal(row_count("server", ""), 0);
    create(&alice, name + 1, "", id);
    ask(&alice, "POST", "/servers", /* a number and a URL are ids too */
        fmt("{\"server\": {\"name\": \"n\", \"imageRef\": \"http://x/images/" IMAGE
            "\", \"flavorRef\": 42}}"),
        202);
}

static void test_bad_members(void **state)
{
    static const char *const bad[] = {
        ", \"key_name\": 5",
        ", \"user_data\": \"no base64!\"",
        ", \"user_data\": \"abc\"",
        ", \"config_drive\": \"perhaps\"",
        ", \"config_drive\": 3",
        ", \"metadata\": []",
        ", \"metadata\": {\"a\": 1}",
        ", \"metadata\": {\"\": \"b\"}",
        ", \"min_count\": 0",
        ", \"min_count\": 3, \"max_count\": 2",
        ", \"max_count\": 101",
        ", \"max_count\": -1",
        ", \"max_count\": \"many\"",
        ", \"networks\": 5",
        ", \"networks\": [5]",
        ", \"networks\": [{}]",
        ", \"networks\": [{\"uuid\": 5}]",
        ", \"networks\": [{\"fixed_ip\": \"10.0.0.9\"}]",
        ", \"networks\": [{\"uuid\": \"\"}]",
        ", \"security_groups\": {}",
        ", \"security_groups\": [{}]",
        ", \"security_groups\": [5]",
        ", \"availability_zone\": 5",
        ", \"block_device_mapping_v2\": [{\"boot_index\": 0}]",
        ", \"block_device_mapping_v2\": \"x\"",
        ", \"block_device_mapping\": {\"vda\": 1}",
        ", \"personality\": [{\"path\": \"/x\"}]",
        ", \"personality\": 5",
        ", \"adminPass\": 5",
        ", \"colour\": \"red\"",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(&alice, bad[i], 400, "");
    refuse(&alice, ", \"key_name\": \"none\"", 400, "Invalid key_name provided.");
    refuse(&alice, ", \"availability_zone\": \"cab9\"", 400, "availability zone is not available");
    refuse(&alice, ", \"availability_zone\": \"cab2\"", 400, "no cabinet with compute hosts");
    refuse(&alice, ", \"networks\": [{\"uuid\": \"" NOTHING "\"}]", 400,
           "Network " NOTHING " could not be found.");
    refuse(&alice, ", \"networks\": [{\"port\": \"" NOTHING "\"}]", 400,
           "Port " NOTHING " could not be found.");
    refuse(&alice, ", \"security_groups\": [{\"name\": \"none\"}]", 400,
           "Security group none not found for project");
}

static void test_limits_of_a_server(void **state)
{
    static char body[64 * 1024 * 2];
    char id[64];
    size_t used;

    used = (size_t)snprintf(body, sizeof(body), "%s", ", \"networks\": [");
    for (int i = 0; i < 9; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used, "%s{\"uuid\": \"%s\"}",
                                 i ? ", " : "", net);
    snprintf(body + used, sizeof(body) - used, "]");
    refuse(&alice, body, 400, "at most 8 networks");
    used = (size_t)snprintf(body, sizeof(body), "%s", ", \"metadata\": {\"0\": \"\"");
    for (int i = 1; i < 128; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used, ", \"%d\": \"\"", i);
    snprintf(body + used, sizeof(body) - used, ", \"x\": \"\"}");
    refuse(&alice, body, 403, "Maximum number of metadata items exceeds 128");
    snprintf(body + used, sizeof(body) - used, "}");
    create(&alice, "full", body, id);
    memset(body, 'v', 256);
    body[256] = '\0';
    refuse(&alice, fmt(", \"metadata\": {\"k\": \"%s\"}", body), 400, "255 characters");
    refuse(&alice, fmt(", \"metadata\": {\"%s\": \"v\"}", body), 400, "255 characters");
    create(&alice, "long", fmt(", \"metadata\": {\"%s\": \"%s\"}", body + 1, body + 1), id);
    used = (size_t)snprintf(body, sizeof(body),
                            "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE
                            "\", \"flavorRef\": \"42\", \"user_data\": \"");
    memset(body + used, 'A', 65536);
    snprintf(body + used + 65536, 10, "\"}}");
    ask(&alice, "POST", "/servers", body, 400); /* base64, but too long */
    assert_non_null(strstr(message(), "user_data"));
    snprintf(body + used + 65532, 10, "\"}}");
    ask(&alice, "POST", "/servers", body, 202);
}

static void test_images(void **state)
{
    static const struct {
        const char *more, *why;
    } images[] = {
        {"{\"status\": \"queued\"}", "is not active"},
        {"{\"status\": \"deactivated\"}", "is not active"},
        {"{\"disk_format\": \"iso\"}", "cannot be booted"},
        {"{\"visibility\": \"private\"}", "Can not find requested image"},
        {"{\"visibility\": \"shared\"}", "Can not find requested image"},
        {"{\"min_ram\": 65}", "memory is too small"},
    };

    for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++) {
        put_image(IMAGE, json_loads(images[i].more, 0, NULL));
        refuse(&alice, "", 400, images[i].why);
    }
    put_image(IMAGE, json_pack("{s:I}", "virtual_size", (json_int_t)1 << 31)); /* 2 GiB */
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"1\"}}", 400);
    assert_non_null(strstr(message(), "Flavor's disk is too small for requested image."));
    put_image(IMAGE, json_pack("{s:i}", "min_disk", 2));
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"1\"}}", 400);
    assert_non_null(strstr(message(), "min_disk is 2 GB"));
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"2\"}}", 202);
    put_image(IMAGE, json_pack("{s:s, s:s}", "visibility", "private", "owner", alice.project));
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}", 202);
}

static void test_several_at_once(void **state)
{
    char id[64], seen[3][64];

    create(&alice, "web", ", \"min_count\": 2, \"max_count\": \"3\"", id);
    get(&alice, "/servers/detail?sort_key=name&sort_dir=asc", 200);
    assert_int_equal(count("servers"), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(text(fmt("servers/%zu/name", i)), fmt("web-%zu", i + 1));
        keep(fmt("servers/%zu/addresses/inside/0/addr", i), seen[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
    assert_string_equal(text("servers/0/id"), id);
    refuse(&alice,
           fmt(", \"max_count\": 2, \"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": "
               "\"10.0.0.77\"}]",
               net),
           400, "A port or a fixed IP is for one server");
    refuse(&alice, ", \"max_count\": 100", 413, "too big"); /* more than one transaction holds */
}

static void test_which_network(void **state)
{
    char id[64], second[64], sub[64], external[64];

    create(&bob, "nowhere", "", id); /* blue has no network: a server without one */
    get(&bob, server(id), 200);
    assert_int_equal(count("server/addresses"), 0);
    assert_string_equal(text("server/security_groups"), "missing");
    make_network(&alice, "other", "10.1.0.0/24", second, sub);
    refuse(&alice, "", 409, "Multiple possible networks found");
    refuse(&alice, ", \"networks\": []", 409, "Multiple possible networks found");
    create(&alice, "both",
           fmt(", \"networks\": [{\"uuid\": \"%s\"}, {\"uuid\": \"%s\", \"fixed_ip\": "
               "\"10.1.0.50\"}]",
               net, second),
           id);
    get(&alice, server(id), 200);
    assert_int_equal(count("server/addresses"), 2);
    assert_string_equal(text("server/addresses/other/0/addr"), "10.1.0.50");
    assert_string_equal(text("server/addresses/other/0/OS-EXT-IPS:type"), "fixed");
    assert_int_equal(num("server/addresses/other/0/version"), 4);
    refuse(&bob, fmt(", \"networks\": [{\"uuid\": \"%s\"}]", net), 400, "could not be found");
    refuse(&alice, fmt(", \"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": \"10.9.9.9\"}]", net),
           400, "");
    refuse(&alice, fmt(", \"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": \"10.1.0.50\"}]", second),
           409, "");
    refuse(&alice,
           fmt(", \"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": \"10.1.0.60\"}, {\"uuid\": "
               "\"%s\", \"fixed_ip\": \"10.1.0.60\"}]",
               second, second),
           409, "");
    ask_net(&admin, "POST", "/networks",
            "{\"network\": {\"name\": \"public\", \"router:external\": true}}", 201);
    keep("network/id", external);
    refuse(&alice, fmt(", \"networks\": [{\"uuid\": \"%s\"}]", external), 403, "external network");
    create(&admin, "edge", fmt(", \"networks\": [{\"uuid\": \"%s\"}]", external), id);
}

/* A port that somebody made before: it serves one server, outlives it and is free again. */
static void test_own_port(void **state)
{
    char port[64], id[64];
    json_t *row;

    ask_net(&alice, "POST", "/ports",
            fmt("{\"port\": {\"network_id\": \"%s\", \"fixed_ips\": [{\"ip_address\": "
                "\"10.0.0.99\"}]}}",
                net),
            201);
    keep("port/id", port);
    refuse(&bob, fmt(", \"networks\": [{\"port\": \"%s\"}]", port), 400, "could not be found");
    refuse(&alice, fmt(", \"networks\": [{\"port\": \"%s\", \"fixed_ip\": \"10.0.0.5\"}]", port),
           400, "cannot be used with port");
    refuse(&alice, fmt(", \"networks\": [{\"port\": \"%s\"}, {\"port\": \"%s\"}]", port, port), 409,
           "is still in use");
    refuse(&alice, fmt(", \"max_count\": 2, \"networks\": [{\"port\": \"%s\"}]", port), 400,
           "is for one server");
    create(&alice, "one",
           fmt(", \"networks\": [{\"port\": \"%s\"}, {\"uuid\": \"%s\"}]", port, net), id);
    refuse(&alice, fmt(", \"networks\": [{\"port\": \"%s\"}]", port), 409, "is still in use");
    get(&alice, fmt("/servers/%s/os-interface", id), 200);
    assert_int_equal(count("interfaceAttachments"), 2);
    assert_string_equal(text("interfaceAttachments/0/port_id"), port);
    assert_string_equal(text("interfaceAttachments/0/port_state"), "DOWN");
    get(&alice, fmt("/servers/%s/ips", id), 200);
    assert_int_equal(count("addresses/inside"), 2);
    assert_string_equal(text("addresses/inside/0/addr"), "10.0.0.99");
    assert_int_equal(count("addresses/inside/0"), 2);
    get(&alice, fmt("/servers/%s/ips/inside", id), 200);
    assert_int_equal(count("inside"), 2);
    get(&alice, fmt("/servers/%s/ips/none", id), 404);
    ask(&alice, "DELETE", server(id), NULL, 204);
    assert_int_equal(row_count("port", fmt("WHERE device_id = '%s'", id)), 0);
    row = row_of("port", port);
    assert_non_null(row);
    assert_string_equal(json_str(row, "device_id", "?"), "");
    assert_string_equal(json_str(row, "device_owner", "?"), "");
    json_decref(row);
    create(&alice, "two",
           fmt(", \"networks\": [{\"uuid\": \"%s\"}, {\"port\": \"%s\"}]", net, port), id);
    get(&alice, fmt("/servers/%s/os-interface", id), 200); /* in the order of the request */
    assert_string_equal(text("interfaceAttachments/1/port_id"), port);
    ask(&alice, "DELETE", server(id), NULL, 204);
    ask_net(&alice, "DELETE", fmt("/ports/%s", port), NULL, 204);
}

/* ---- at the same time ---- */

struct rival {
    const char *body;
    long status;
    char id[64];
};

static void *create_rival(void *arg)
{
    struct rival *rival = arg;
    struct answer mine = {0};

    perform(&mine, API_COMPUTE, &alice, "POST", "/v2.1/servers", rival->body);
    rival->status = mine.status;
    snprintf(rival->id, sizeof(rival->id), "%s",
             json_str(json_object_get(mine.body, "server"), "id", ""));
    answer_clear(&mine);
    return NULL;
}

static size_t race(struct rival *rivals, size_t n, const char *body)
{
    pthread_t threads[16];
    size_t won = 0;

    for (size_t i = 0; i < n; i++) {
        rivals[i] = (struct rival){.body = body};
        assert_int_equal(pthread_create(&threads[i], NULL, create_rival, &rivals[i]), 0);
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        won += rivals[i].status == 202;
    }
    return won;
}

static void test_rivals_for_one_address(void **state)
{
    struct rival rivals[8];
    char body[500], port[64];

    snprintf(body, sizeof(body),
             "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\", "
             "\"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": \"10.0.0.200\"}]}}",
             net);
    assert_int_equal(race(rivals, 8, body), 1);
    for (size_t i = 0; i < 8; i++)
        assert_true(rivals[i].status == 202 || rivals[i].status == 409);
    assert_int_equal(row_count("server", ""), 1); /* the losers leave nothing */
    assert_int_equal(row_count("port", "WHERE device_owner = 'compute:nova'"), 1);
    ask_net(&alice, "POST", "/ports", fmt("{\"port\": {\"network_id\": \"%s\"}}", net), 201);
    keep("port/id", port);
    snprintf(body, sizeof(body),
             "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\", "
             "\"networks\": [{\"port\": \"%s\"}]}}",
             port);
    assert_int_equal(race(rivals, 8, body), 1);
    assert_int_equal(row_count("server", ""), 2);
}

static void test_creates_at_the_same_time(void **state)
{
    struct rival rivals[8];
    char body[500], addresses[8][64];

    snprintf(body, sizeof(body),
             "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": "
             "\"42\"}}");
    assert_int_equal(race(rivals, 8, body), 8);
    for (size_t i = 0; i < 8; i++) {
        get(&alice, server(rivals[i].id), 200);
        keep("server/addresses/inside/0/addr", addresses[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(addresses[i], addresses[j]);
    }
}

/* ---- how a server is shown ---- */

static void test_view_from_build_to_active(void **state)
{
    char id[64], host_id[64];

    create(&alice, "vm", "", id);
    get(&alice, server(id), 200);
    expect_states("BUILD", "building", "scheduling", 0);
    assert_int_equal(num("server/progress"), 0);
    assert_string_equal(text("server/hostId"), "");
    assert_string_equal(text("server/OS-SRV-USG:launched_at"), "null");
    place(id, "h1", 1);
    get(&alice, server(id), 200);
    expect_states("BUILD", "building", "spawning", 0);
    assert_int_equal(strlen(text("server/hostId")), 56);
    assert_string_equal(text("server/OS-EXT-AZ:availability_zone"), "cab1");
    keep("server/hostId", host_id);
    report(id, "building");
    get(&alice, server(id), 200);
    expect_states("BUILD", "building", "spawning", 0);
    report(id, "running");
    get(&alice, server(id), 200);
    expect_states("ACTIVE", "active", "null", 1);
    assert_string_equal(text("server/hostId"), host_id);
    assert_string_equal(text("server/OS-SRV-USG:launched_at"), "2026-01-02T03:04:05.000000");
    assert_string_equal(text("server/image/id"), IMAGE);
    assert_string_equal(text("server/flavor/id"), "42");
    assert_string_equal(text("server/tenant_id"), alice.project);
    assert_string_equal(text("server/user_id"), alice.user);
    assert_string_equal(text("server/key_name"), "null");
    assert_string_equal(text("server/config_drive"), "");
    assert_string_equal(text("server/security_groups/0/name"), "default");
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:host"), "missing"); /* administrators only */
    assert_string_equal(text("server/fault"), "missing");
    assert_int_equal(count("server/os-extended-volumes:volumes_attached"), 0);
    get(&admin, server(id), 200);
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:host"), "h1");
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:instance_name"), fmt("instance-%.8s", id));
    get(&rita, fmt("/servers/%s/os-interface", id), 200);
    assert_string_equal(text("interfaceAttachments/0/port_state"), "ACTIVE");
    place(id, "h2", 2); /* recovered elsewhere: what h1 says of generation 1 is void */
    get(&alice, server(id), 200);
    expect_states("REBUILD", "active", "rebuild_spawning", 0);
}

static void test_view_of_the_rest(void **state)
{
    char id[64];
    json_t *row;

    create_running("vm", id);
    action(&alice, id, "\"os-stop\": null", 202);
    get(&alice, server(id), 200);
    expect_states("ACTIVE", "active", "powering-off", 1);
    report(id, "stopped");
    get(&alice, server(id), 200);
    expect_states("SHUTOFF", "stopped", "null", 4);
    assert_string_equal(text("server/progress"), "missing");
    report(id, "error");
    get(&alice, server(id), 200);
    expect_states("ERROR", "error", "null", 0);
    assert_string_equal(text("server/fault/message"), "no disk");
    assert_null(at("server/fault/details"));
    assert_int_equal(num("server/fault/code"), 500);
    create(&alice, "nofit", "", id); /* the planner's own fault */
    row = row_of("server", id);
    json_object_set_new(row, "fault",
                        json_pack("{s:i, s:s, s:s}", "code", 500, "message", "No valid host",
                                  "created", "2026-01-02T03:04:05Z"));
    put_row("server", row);
    get(&alice, server(id), 200);
    expect_states("ERROR", "error", "null", 0);
    assert_string_equal(text("server/fault/message"), "No valid host");
    ask(&alice, "DELETE", server(id), NULL, 204); /* no host has it: gone at once */
    get(&alice, server(id), 404);
}

/* The owner learns what failed; why, and what to do, is for those who run the host. */
static void test_faults_tell_tenants_nothing_of_the_host(void **state)
{
    static const char *const texts[] = {
        "cannot make the config drive: No such file or directory (apt-get install genisoimage)",
        "cannot make the config drive (apt-get install genisoimage)",
        "cannot make the config drive"};
    char id[64];

    create_running("vm", id);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        json_t *row;

        report(id, "error");
        row = row_of("server_state", id);
        json_put_str(json_object_get(row, "fault"), "message", texts[i]);
        put_row("server_state", row);
        get(&rita, server(id), 200);
        assert_string_equal(text("server/fault/message"), "cannot make the config drive");
        assert_int_equal(count("server/fault"), 3);
        get(&admin, server(id), 200);
        assert_string_equal(text("server/fault/message"), "cannot make the config drive");
        assert_string_equal(text("server/fault/details"), texts[i]);
    }
}

/* The fields of the table: what it says of each is what clients meet. */
static void test_plain_fields(void **state)
{
    char id[64];
    json_t *row;

    create(&alice, "vm",
           ", \"accessIPv4\": \"192.0.2.7\", \"OS-DCF:diskConfig\": \"AUTO\", \"key_name\": null",
           id);
    assert_string_equal(text("server/OS-DCF:diskConfig"), "AUTO");
    get(&alice, server(id), 200);
    assert_string_equal(text("server/accessIPv4"), "192.0.2.7");
    assert_string_equal(text("server/accessIPv6"), "");
    assert_string_equal(text("server/OS-DCF:diskConfig"), "AUTO");
    assert_null(at("server/generation"));
    assert_null(at("server/host_id"));
    assert_null(at("server/flavor_id"));
    assert_null(at("server/user_data"));
    row = row_of("server", id); /* as older releases wrote it */
    json_object_del(row, "access_ipv4");
    json_object_del(row, "disk_config");
    json_object_del(row, "locked");
    put_row("server", row);
    microversion = "2.9";
    get(&alice, server(id), 200);
    assert_string_equal(text("server/accessIPv4"), "");
    assert_string_equal(text("server/OS-DCF:diskConfig"), "MANUAL");
    assert_true(json_is_false(at("server/locked")));
    microversion = NULL;
    refuse(&alice, ", \"description\": \"d\"", 400, "'description' was unexpected");
    refuse(&alice, ", \"locked\": true", 400, "'locked' was unexpected");
    refuse(&alice, ", \"host_id\": \"h1\"", 400, "'host_id' was unexpected");
    refuse(&alice, ", \"power\": \"stopped\"", 400, "'power' was unexpected");
    refuse(&alice, ", \"accessIPv4\": \"here\"", 400, "accessIPv4");
    refuse(&alice, ", \"accessIPv6\": \"192.0.2.7\"", 400, "accessIPv6");
    refuse(&alice, ", \"OS-DCF:diskConfig\": \"ALL\"", 400, "AUTO MANUAL");
    refuse(&alice, ", \"return_reservation_id\": 1", 400, "return_reservation_id");
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"r\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\", "
        "\"max_count\": 2, \"return_reservation_id\": true}}",
        202);
    assert_int_equal(strncmp(text("reservation_id"), "r-", 2), 0);
    get(&alice, fmt("/servers?reservation_id=%s", text("reservation_id")), 200);
    assert_int_equal(count("servers"), 2);
}

static void test_versions_of_the_view(void **state)
{
    char id[64];

    microversion = "2.19";
    create(&alice, "vm", ", \"description\": \"what for\", \"user_data\": \"aGVsbG8=\"", id);
    place(id, "h1", 1);
    get(&alice, server(id), 200);
    assert_string_equal(text("server/description"), "what for");
    assert_true(json_is_false(at("server/locked")));
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:user_data"), "missing");
    assert_string_equal(text("server/host_status"), "missing");
    get(&admin, server(id), 200);
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:user_data"), "aGVsbG8=");
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:hostname"), "vm");
    assert_string_equal(text("server/host_status"), "UP");
    microversion = NULL;
    get(&admin, server(id), 200);
    assert_string_equal(text("server/description"), "missing");
    assert_string_equal(text("server/locked"), "missing");
    assert_string_equal(text("server/OS-EXT-SRV-ATTR:hostname"), "missing");
}

static void test_floating_address(void **state)
{
    char id[64], external[64], router[64], port[64];

    create_running("vm", id);
    ask_net(&alice, "GET", fmt("/ports?device_id=%s", id), NULL, 200);
    keep("ports/0/id", port);
    ask_net(&admin, "POST", "/networks",
            "{\"network\": {\"name\": \"public\", \"router:external\": true}}", 201);
    keep("network/id", external);
    ask_net(&admin, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": "
                "\"172.24.4.0/24\", \"enable_dhcp\": false}}",
                external),
            201);
    ask_net(&alice, "POST", "/routers",
            fmt("{\"router\": {\"external_gateway_info\": {\"network_id\": \"%s\"}}}", external),
            201);
    keep("router/id", router);
    ask_net(&alice, "PUT", fmt("/routers/%s/add_router_interface", router),
            fmt("{\"subnet_id\": \"%s\"}", subnet), 200);
    ask_net(&alice, "POST", "/floatingips",
            fmt("{\"floatingip\": {\"floating_network_id\": \"%s\", \"floating_ip_address\": "
                "null, \"port_id\": \"%s\"}}",
                external, port),
            201);
    get(&alice, server(id), 200);
    assert_int_equal(count("server/addresses/inside"), 2);
    assert_string_equal(text("server/addresses/inside/0/OS-EXT-IPS:type"), "fixed");
    assert_string_equal(text("server/addresses/inside/1/OS-EXT-IPS:type"), "floating");
    assert_int_equal(strncmp(text("server/addresses/inside/1/addr"), "172.24.4.", 9), 0);
    assert_string_equal(text("server/addresses/inside/1/OS-EXT-IPS-MAC:mac_addr"),
                        text("server/addresses/inside/0/OS-EXT-IPS-MAC:mac_addr"));
    place(id, NULL, 2); /* so that it goes at once */
    ask(&alice, "DELETE", server(id), NULL, 204);
    ask_net(&alice, "GET", "/floatingips", NULL, 200);
    assert_int_equal(count("floatingips"), 1); /* points nowhere now */
    assert_string_equal(text("floatingips/0/port_id"), "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_create, with_network),
        cmocka_unit_test_setup(test_bad_bodies, with_network),
        cmocka_unit_test_setup(test_bad_members, with_network),
        cmocka_unit_test_setup(test_limits_of_a_server, with_network),
        cmocka_unit_test_setup(test_images, with_network),
        cmocka_unit_test_setup(test_several_at_once, with_network),
        cmocka_unit_test_setup(test_which_network, with_network),
        cmocka_unit_test_setup(test_own_port, with_network),
        cmocka_unit_test_setup(test_rivals_for_one_address, with_network),
        cmocka_unit_test_setup(test_creates_at_the_same_time, with_network),
        cmocka_unit_test_setup(test_view_from_build_to_active, with_network),
        cmocka_unit_test_setup(test_view_of_the_rest, with_network),
        cmocka_unit_test_setup(test_faults_tell_tenants_nothing_of_the_host, with_network),
        cmocka_unit_test_setup(test_plain_fields, with_network),
        cmocka_unit_test_setup(test_versions_of_the_view, with_network),
        cmocka_unit_test_setup(test_floating_address, with_network),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
