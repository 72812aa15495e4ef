/* What people do with servers that are there, over HTTP: actions, changes, delete, lists; and who
 * may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

/* ---- actions and states ---- */

/* What the last accepted action wants of the host. */
static void expect_wanted(const char *id, const char *power, int reboots)
{
    json_t *row = row_of("server", id);

    assert_string_equal(json_str(row, "power", ""), power);
    assert_int_equal(json_int(row, "reboot_serial", -1), reboots);
    json_decref(row);
}

static void refuse_action(const char *id, const char *what, const char *why)
{
    json_t *before = row_of("server", id), *after;

    action(&alice, id, what, 409);
    assert_string_equal(message(), why);
    after = row_of("server", id);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static void test_power(void **state)
{
    char id[64];

    create_running("vm", id);
    refuse_action(id, "\"os-start\": null",
                  fmt("Cannot 'start' instance %s while it is in vm_state active", id));
    refuse_action(id, "\"unpause\": null",
                  fmt("Cannot 'unpause' instance %s while it is in vm_state active", id));
    action(&alice, id, "\"os-stop\": null", 202);
    assert_null(answer.body);
    expect_wanted(id, "stopped", 0);
    refuse_action(id, "\"os-stop\": null",
                  fmt("Cannot 'stop' instance %s while it is in task_state powering-off", id));
    refuse_action(id, "\"pause\": null",
                  fmt("Cannot 'pause' instance %s while it is in task_state powering-off", id));
    refuse_action(id, "\"reboot\": {\"type\": \"SOFT\"}",
                  fmt("Cannot 'reboot' instance %s while it is in task_state powering-off", id));
    report(id, "stopped");
    refuse_action(id, "\"os-stop\": null",
                  fmt("Cannot 'stop' instance %s while it is in vm_state stopped", id));
    refuse_action(id, "\"reboot\": {\"type\": \"SOFT\"}",
                  fmt("Cannot 'reboot' instance %s while it is in vm_state stopped", id));
    action(&alice, id, "\"os-start\": null", 202);
    expect_wanted(id, "running", 0);
    get(&alice, server(id), 200);
    expect_states("SHUTOFF", "stopped", "powering-on", 4);
    report(id, "running");
    action(&alice, id, "\"pause\": null", 202);
    get(&alice, server(id), 200);
    expect_states("ACTIVE", "active", "pausing", 1);
    report(id, "paused");
    get(&alice, server(id), 200);
    expect_states("PAUSED", "paused", "null", 3);
    refuse_action(id, "\"pause\": null",
                  fmt("Cannot 'pause' instance %s while it is in vm_state paused", id));
    refuse_action(id, "\"os-stop\": null",
                  fmt("Cannot 'stop' instance %s while it is in vm_state paused", id));
    action(&alice, id, "\"unpause\": null", 202);
    get(&alice, server(id), 200);
    expect_states("PAUSED", "paused", "unpausing", 3);
}

static void test_reboot(void **state)
{
    char id[64];

    create_running("vm", id);
    action(&alice, id, "\"reboot\": {}", 400);
    action(&alice, id, "\"reboot\": null", 400);
    action(&alice, id, "\"reboot\": {\"type\": \"medium\"}", 400);
    action(&alice, id, "\"reboot\": {\"type\": \"SOFT\"}", 202);
    expect_wanted(id, "running", 1);
    get(&alice, server(id), 200);
    expect_states("REBOOT", "active", "rebooting", 1);
    refuse_action(id, "\"os-stop\": null",
                  fmt("Cannot 'stop' instance %s while it is in task_state rebooting", id));
    action(&alice, id, "\"reboot\": {\"type\": \"HARD\"}", 202); /* for who has no patience */
    expect_wanted(id, "running", 2);
    get(&alice, server(id), 200);
    expect_states("HARD_REBOOT", "active", "rebooting_hard", 1);
    report(id, "running");
    get(&alice, server(id), 200);
    expect_states("ACTIVE", "active", "null", 1);
    report(id, "stopped");
    action(&alice, id, "\"reboot\": {\"type\": \"HARD\"}", 202);
    expect_wanted(id, "running", 3);
    report(id, "error");
    action(&alice, id, "\"reboot\": {\"type\": \"HARD\"}", 202);
    expect_wanted(id, "running", 4);
}

static void test_actions_while_building(void **state)
{
    static const char *const refused[] = {"os-start", "os-stop", "pause", "unpause"};
    char id[64];

    create(&alice, "vm", "", id);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        action(&alice, id, fmt("\"%s\": null", refused[i]), 409);
        assert_non_null(strstr(message(), "while it is in vm_state building"));
    }
    action(&alice, id, "\"reboot\": {\"type\": \"HARD\"}", 409);
    action(&alice, id, "\"os-getConsoleOutput\": {}", 409);
    place(id, "h1", 1);
    report(id, "error");
    action(&alice, id, "\"os-start\": null", 409);
    action(&alice, id, "\"os-stop\": null", 202); /* out of an error one may stop */
    expect_wanted(id, "stopped", 0);
}

static void test_no_actions(void **state)
{
    char id[64];

    create_running("vm", id);
    action(&alice, id, "\"resize\": {\"flavorRef\": \"1\"}", 400);
    assert_string_equal(message(), "There is no such action: resize");
    action(&alice, id, "", 400);
    action(&alice, id, "\"os-stop\": null, \"lock\": null", 400);
    ask(&alice, "POST", fmt("/servers/%s/action", id), "[\"os-stop\"]", 400);
    ask(&alice, "POST", fmt("/servers/%s/action", id), NULL, 400);
    expect_wanted(id, "running", 0);
    action(&alice, NOTHING, "\"os-stop\": null", 404);
    assert_string_equal(message(), "Instance " NOTHING " could not be found.");
}

static void test_lock(void **state)
{
    static const char *const refused[] = {"\"os-stop\": null", "\"reboot\": {\"type\": \"HARD\"}",
                                          "\"addSecurityGroup\": {\"name\": \"default\"}"};
    char id[64];

    create_running("vm", id);
    action(&alice, id, "\"lock\": null", 202);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        refuse_action(id, refused[i], fmt("Instance %s is locked", id));
    ask(&alice, "DELETE", server(id), NULL, 409);
    ask(&alice, "PUT", server(id), "{\"server\": {\"name\": \"x\"}}", 409);
    ask(&alice, "PUT", fmt("/servers/%s/metadata", id), "{\"metadata\": {}}", 409);
    ask(&alice, "DELETE", fmt("/servers/%s/metadata/a", id), NULL, 409);
    microversion = "2.9";
    get(&alice, server(id), 200);
    assert_true(json_is_true(at("server/locked")));
    action(&admin, id, "\"os-stop\": null", 202); /* an administrator passes */
    action(&alice, id, "\"lock\": null", 202);    /* it is already */
    action(&rita, id, "\"unlock\": null", 403);
    action(&bob, id, "\"unlock\": null", 404);
    action(&alice, id, "\"unlock\": null", 202);
    get(&alice, server(id), 200);
    assert_true(json_is_false(at("server/locked")));
    ask(&alice, "DELETE", server(id), NULL, 204);
}

/* An administrator's lock is not undone by the owner; an owner's is by both. */
static void test_lock_of_an_administrator(void **state)
{
    char id[64];

    create_running("vm", id);
    action(&alice, id, "\"lock\": null", 202);
    action(&admin, id, "\"lock\": null", 202); /* the administrator's from now on */
    action(&alice, id, "\"lock\": null", 202); /* changes nothing */
    action(&alice, id, "\"unlock\": null", 403);
    assert_non_null(strstr(message(), "unlock_override"));
    action(&alice, id, "\"os-stop\": null", 409);
    action(&admin, id, "\"unlock\": null", 202);
    action(&alice, id, "\"os-stop\": null", 202);
    action(&alice, id, "\"lock\": null", 202);
    action(&admin, id, "\"unlock\": null", 202);
    action(&alice, id, "\"lock\": null", 202);
    action(&alice, id, "\"unlock\": null", 202); /* the owner's own again */
}

/* ---- what was done ---- */

/* The actions that the log tells, newest first. */
static void expect_log(const struct person *who, const char *id, const char *actions)
{
    char found[1000] = "";

    get(who, fmt("/servers/%s/os-instance-actions", id), 200);
    for (size_t i = 0; i < count("instanceActions"); i++)
        snprintf(found + strlen(found), 40, "%s%s", i ? " " : "",
                 text(fmt("instanceActions/%zu/action", i)));
    if (strcmp(found, actions) != 0)
        fail_msg("'%s' instead of '%s'", found, actions);
}

static void test_log(void **state)
{
    char id[64], request[64], stop[64];

    create(&alice, "vm", "", id);
    snprintf(request, sizeof(request), "%s", answer.request_id);
    expect_log(&rita, id, "create");
    assert_string_equal(text("instanceActions/0/request_id"), request);
    assert_string_equal(text("instanceActions/0/user_id"), alice.user);
    assert_string_equal(text("instanceActions/0/project_id"), alice.project);
    assert_string_equal(text("instanceActions/0/instance_uuid"), id);
    assert_string_equal(text("instanceActions/0/message"), "null");
    assert_int_equal(strlen(text("instanceActions/0/start_time")), 26);
    place(id, "h1", 1);
    report(id, "running");
    action(&alice, id, "\"pause\": null", 202);
    report(id, "paused");
    action(&alice, id, "\"unpause\": null", 202);
    report(id, "running");
    action(&alice, id, "\"reboot\": {\"type\": \"HARD\"}", 202);
    report(id, "running");
    action(&alice, id, "\"os-start\": null", 409); /* refused, hence not done */
    action(&admin, id, "\"os-stop\": null", 202);
    snprintf(stop, sizeof(stop), "%s", answer.request_id);
    report(id, "stopped");
    action(&alice, id, "\"os-start\": null", 202);
    expect_log(&rita, id, "start stop reboot unpause pause create");
    get(&rita, fmt("/servers/%s/os-instance-actions/%s", id, stop), 200);
    assert_string_equal(text("instanceAction/action"), "stop");
    assert_string_equal(text("instanceAction/user_id"), admin.user);
    assert_null(at("instanceAction/events"));
    get(&admin, fmt("/servers/%s/os-instance-actions/%s", id, stop), 200);
    assert_int_equal(count("instanceAction/events"), 0);
    get(&rita, fmt("/servers/%s/os-instance-actions/req-" NOTHING, id), 404);
    get(&bob, fmt("/servers/%s/os-instance-actions", id), 404);
    get(&bob, fmt("/servers/%s/os-instance-actions/%s", id, stop), 404);
    get(&rita, "/servers/" NOTHING "/os-instance-actions", 404);
}

/* It outlives the server, and stays bounded: so many of one server, and of so many that are gone.
 */
static void test_log_is_bounded(void **state)
{
    char id[64], first[64] = "", all[1000] = "delete";

    create(&alice, "busy", "", id);
    for (int i = 0; i < 2 * SERVER_ACTIONS_MAX; i++)
        action(&alice, id, i % 2 ? "\"unlock\": null" : "\"lock\": null", 202);
    get(&rita, fmt("/servers/%s/os-instance-actions", id), 200);
    assert_int_equal(count("instanceActions"), SERVER_ACTIONS_MAX);
    ask(&alice, "DELETE", server(id), NULL, 204);
    get(&rita, fmt("/servers/%s/os-instance-actions", id), 404); /* gone, as before 2.21 */
    microversion = "2.21";
    for (int i = 1; i < SERVER_ACTIONS_MAX; i++)
        strcat(all, i % 2 ? " unlock" : " lock");
    expect_log(&rita, id, all);
    get(&bob, fmt("/servers/%s/os-instance-actions", id), 404);
    for (int i = 0; i < 205; i++) {
        char other[64];

        create(&alice, "brief", "", other);
        ask(&alice, "DELETE", server(other), NULL, 204);
        if (i == 204)
            snprintf(first, sizeof(first), "%s", other);
    }
    assert_int_equal(row_count("server_log", ""), 200);
    expect_log(&rita, first, "delete create");
}

/* ---- security groups ---- */

static size_t groups_of(const char *id)
{
    ask_net(&alice, "GET", fmt("/ports?device_id=%s", id), NULL, 200);
    return count("ports/0/security_groups");
}

static void test_groups_of_a_server(void **state)
{
    char id[64], group[64];
    json_t *guard, *later;

    ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"web\"}}", 201);
    keep("security_group/id", group);
    create_running("vm", id);
    assert_int_equal(groups_of(id), 1);
    guard = row_of("guard", group);
    action(&alice, id, "\"addSecurityGroup\": {\"name\": \"web\"}", 202);
    assert_int_equal(groups_of(id), 2);
    later = row_of("guard", group); /* so that a delete at the same time is told */
    assert_int_not_equal(json_int(guard, "_rev", 0), json_int(later, "_rev", 0));
    json_decref(guard);
    json_decref(later);
    action(&alice, id, fmt("\"addSecurityGroup\": {\"name\": \"%s\"}", group), 202); /* by id */
    assert_int_equal(groups_of(id), 2);
    get(&alice, fmt("/servers/%s/os-security-groups", id), 200);
    assert_int_equal(count("security_groups"), 2);
    get(&alice, server(id), 200);
    assert_int_equal(count("server/security_groups"), 2);
    ask_net(&alice, "DELETE", fmt("/security-groups/%s", group), NULL, 409);
    action(&alice, id, "\"removeSecurityGroup\": {\"name\": \"default\"}", 202);
    assert_int_equal(groups_of(id), 1);
    action(&alice, id, "\"removeSecurityGroup\": {\"name\": \"default\"}", 404);
    assert_non_null(strstr(message(), "is not associated with the instance"));
    action(&alice, id, "\"removeSecurityGroup\": {\"name\": \"web\"}", 202);
    assert_int_equal(groups_of(id), 0);
    ask_net(&alice, "DELETE", fmt("/security-groups/%s", group), NULL, 204);
    action(&alice, id, "\"addSecurityGroup\": {\"name\": \"web\"}", 404);
    action(&alice, id, "\"addSecurityGroup\": {}", 400);
    action(&alice, id, "\"addSecurityGroup\": null", 400);
    get(&bob, fmt("/servers/%s/os-security-groups", id), 404);
}

/* Names are the project's own: two groups of one name need an id, another project's are not there.
 */
static void test_which_group(void **state)
{
    char id[64], groups[2][64], foreign[64];

    create_running("vm", id);
    for (int i = 0; i < 2; i++) {
        ask_net(&alice, "POST", "/security-groups", "{\"security_group\": {\"name\": \"twin\"}}",
                201);
        keep("security_group/id", groups[i]);
    }
    ask_net(&bob, "POST", "/security-groups", "{\"security_group\": {\"name\": \"blue\"}}", 201);
    keep("security_group/id", foreign);
    action(&alice, id, "\"addSecurityGroup\": {\"name\": \"twin\"}", 409);
    action(&alice, id, fmt("\"addSecurityGroup\": {\"name\": \"%s\"}", groups[1]), 202);
    action(&alice, id, "\"addSecurityGroup\": {\"name\": \"blue\"}", 404);
    action(&alice, id, fmt("\"addSecurityGroup\": {\"name\": \"%s\"}", foreign), 404);
    assert_int_equal(groups_of(id), 2);
    ask(&alice, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\", "
        "\"security_groups\": [{\"name\": \"twin\"}]}}",
        409);
}

/* ---- console ---- */

/* The host's answer, as the test wants it. */
static struct {
    int rc;
    unsigned status;
    const char *body;
    size_t size;
    char host[64], path[256];
} host_says;

static void ask_host(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg)
{
    snprintf(host_says.host, sizeof(host_says.host), "%s", host);
    snprintf(host_says.path, sizeof(host_says.path), "%s", path);
    cb(cb_arg, host_says.rc, host_says.status, host_says.body, host_says.size);
}

static void console(const char *id, const char *length, const char *want)
{
    action(&rita, id,
           fmt("\"os-getConsoleOutput\": {%s%s}", length[0] ? "\"length\": " : "", length), 200);
    if (strcmp(text("output"), want) != 0)
        fail_msg("length '%s': '%s' instead of '%s'", length, text("output"), want);
}

static void test_console(void **state)
{
    static const char *const bad[] = {"-2", "\"x\"", "1.5", "[]", "true", "99999999999"};
    static const char broken[] = "a\xff\0b\xc3\xa4\n";
    char id[64];

    create_running("vm", id);
    host_says.status = 200;
    host_says.body = "one\ntwo\nthree\n";
    host_says.size = 14;
    console(id, "", "one\ntwo\nthree\n");
    assert_string_equal(host_says.host, "h1");
    assert_int_equal(strncmp(host_says.path, fmt("/v1/console/%s", id), 48), 0);
    console(id, "null", "one\ntwo\nthree\n");
    console(id, "-1", "one\ntwo\nthree\n");
    console(id, "\"-1\"", "one\ntwo\nthree\n");
    console(id, "0", "");
    console(id, "1", "three\n");
    console(id, "\"2\"", "two\nthree\n");
    console(id, "3", "one\ntwo\nthree\n");
    console(id, "100", "one\ntwo\nthree\n");
    host_says.size = 13; /* the last line is not complete */
    console(id, "1", "three");
    host_says.size = 0;
    console(id, "5", "");
    host_says.body = broken; /* what is no text is told as one all the same */
    host_says.size = sizeof(broken) - 1;
    console(id, "", "a??b??\n");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        action(&alice, id, fmt("\"os-getConsoleOutput\": {\"length\": %s}", bad[i]), 400);
    action(&bob, id, "\"os-getConsoleOutput\": {}", 404);
    host_says.status = 404;
    action(&alice, id, "\"os-getConsoleOutput\": {}", 404);
    host_says.status = 500;
    action(&alice, id, "\"os-getConsoleOutput\": {}", 503);
    host_says.rc = -ETIMEDOUT;
    action(&alice, id, "\"os-getConsoleOutput\": {}", 503);
    host_says.rc = 0;
}

/* ---- change and delete ---- */

static void test_update(void **state)
{
    static const char *const bad[] = {"{}",
                                      "{\"server\": 5}",
                                      "{\"server\": {\"name\": \"\"}}",
                                      "{\"server\": {\"name\": \" \"}}",
                                      "{\"server\": {\"name\": null}}",
                                      "{\"server\": {\"name\": 5}}",
                                      "{\"server\": {}}",
                                      "{\"server\": {\"colour\": \"red\"}}",
                                      "{\"server\": {\"metadata\": {}}}",
                                      "{\"server\": {\"key_name\": \"k\"}}",
                                      "{\"server\": {\"locked\": true}}",
                                      "{\"server\": {\"host_id\": \"h2\"}}",
                                      "{\"server\": {\"accessIPv4\": \"fd00::1\"}}",
                                      "{\"server\": {\"accessIPv6\": \"192.0.2.1\"}}",
                                      "{\"server\": {\"OS-DCF:diskConfig\": \"SOME\"}}",
                                      "{\"server\": {\"description\": \"d\"}}"};
    char id[64];

    create_running("vm", id);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ask(&alice, "PUT", server(id), bad[i], 400);
    ask(&alice, "PUT", server(id),
        "{\"server\": {\"name\": \"new\", \"accessIPv4\": \"192.0.2.1\", \"accessIPv6\": "
        "\"fd00::1\", \"OS-DCF:diskConfig\": \"AUTO\"}}",
        200);
    assert_string_equal(text("server/accessIPv4"), "192.0.2.1");
    assert_string_equal(text("server/accessIPv6"), "fd00::1");
    assert_string_equal(text("server/OS-DCF:diskConfig"), "AUTO");
    assert_null(at("server/key_name"));
    assert_string_equal(text("server/name"), "new");
    assert_string_equal(text("server/status"), "ACTIVE");
    assert_string_equal(text("server/OS-EXT-STS:vm_state"), "missing");
    microversion = "2.19";
    get(&alice, server(id), 200);
    assert_string_equal(text("server/name"), "new");
    assert_string_equal(text("server/description"), "null"); /* is there from 2.19 on */
    ask(&alice, "PUT", server(id), "{\"server\": {\"description\": \"d\"}}", 200);
    assert_string_equal(text("server/description"), "d");
    ask(&alice, "PUT", server(id), "{\"server\": {\"description\": null}}", 200);
    get(&alice, server(id), 200);
    assert_string_equal(text("server/description"), "null");
    ask(&alice, "PUT", server(id), "{\"server\": {\"description\": 5}}", 400);
    ask(&alice, "PUT", server(NOTHING), "{\"server\": {\"name\": \"x\"}}", 404);
}

static void test_metadata(void **state)
{
    char id[64], path[100], body[4096];

    create(&alice, "vm", ", \"metadata\": {\"a\": \"1\", \"b\": \"2\"}", id);
    snprintf(path, sizeof(path), "/servers/%s/metadata", id);
    get(&rita, path, 200);
    assert_int_equal(count("metadata"), 2);
    ask(&alice, "POST", path, "{\"metadata\": {\"b\": \"3\", \"c\": \"4\"}}", 200);
    assert_int_equal(count("metadata"), 3);
    assert_string_equal(text("metadata/b"), "3");
    ask(&alice, "PUT", path, "{\"metadata\": {\"d\": \"5\"}}", 200);
    assert_int_equal(count("metadata"), 1);
    ask(&alice, "PUT", fmt("%s/e", path), "{\"meta\": {\"e\": \"6\"}}", 200);
    assert_string_equal(text("meta/e"), "6");
    ask(&alice, "PUT", fmt("%s/e", path), "{\"meta\": {\"f\": \"6\"}}", 400);
    ask(&alice, "PUT", fmt("%s/e", path), "{\"meta\": {\"e\": \"6\", \"f\": \"6\"}}", 400);
    ask(&alice, "PUT", fmt("%s/e", path), "{\"meta\": {\"e\": 6}}", 400);
    get(&rita, fmt("%s/e", path), 200);
    assert_string_equal(text("meta/e"), "6");
    get(&rita, fmt("%s/none", path), 404);
    ask(&alice, "DELETE", fmt("%s/e", path), NULL, 204);
    ask(&alice, "DELETE", fmt("%s/e", path), NULL, 404);
    ask(&alice, "POST", path, "{\"metadata\": {\"x\": null}}", 400);
    ask(&alice, "POST", path, "{\"meta\": {\"x\": \"y\"}}", 400);
    strcpy(body, "{\"metadata\": {\"0\": \"\"");
    for (int i = 1; i < 128; i++)
        snprintf(body + strlen(body), 32, ", \"%d\": \"\"", i);
    strcat(body, "}}");
    ask(&alice, "POST", path, body, 403); /* with d one too many */
    get(&rita, server(id), 200);
    assert_int_equal(count("server/metadata"), 1);
    ask(&alice, "PUT", path, body, 200);
    get(&rita, path, 200);
    assert_int_equal(count("metadata"), 128);
}

static void test_delete(void **state)
{
    char id[64];
    size_t ips = row_count("ip", "");

    create(&alice, "vm", "", id);
    assert_int_equal(row_count("ip", ""), ips + 1);
    ask(&alice, "DELETE", server(id), NULL, 204); /* no host has it */
    get(&alice, server(id), 404);
    assert_int_equal(row_count("port", fmt("WHERE device_id = '%s'", id)), 0);
    assert_int_equal(row_count("ip", ""), ips);
    ask(&alice, "DELETE", server(id), NULL, 404);
    create_running("vm", id);
    ask(&alice, "DELETE", server(id), NULL, 204); /* its host removes it first */
    get(&alice, server(id), 200);
    expect_states("ACTIVE", "active", "deleting", 1);
    expect_wanted(id, "deleted", 0);
    assert_int_equal(row_count("port", fmt("WHERE device_id = '%s'", id)), 1);
    refuse_action(id, "\"reboot\": {\"type\": \"HARD\"}",
                  fmt("Cannot 'reboot' instance %s while it is in task_state deleting", id));
    refuse_action(id, "\"os-stop\": null",
                  fmt("Cannot 'stop' instance %s while it is in task_state deleting", id));
    report(id, "stopped");
    refuse_action(id, "\"os-start\": null",
                  fmt("Cannot 'start' instance %s while it is in task_state deleting", id));
    ask(&alice, "DELETE", server(id), NULL, 204);
    expect_wanted(id, "deleted", 0);
}

/* ---- who may ---- */

static void test_other_projects(void **state)
{
    static const char *const paths[] = {"",
                                        "/metadata",
                                        "/metadata/a",
                                        "/ips",
                                        "/ips/inside",
                                        "/os-interface",
                                        "/os-security-groups"};
    static const char *const acts[] = {"\"os-stop\": null",
                                       "\"lock\": null",
                                       "\"unlock\": null",
                                       "\"reboot\": {\"type\": \"HARD\"}",
                                       "\"removeSecurityGroup\": {\"name\": \"default\"}",
                                       "\"os-getConsoleOutput\": {}"};
    char id[64];

    create_running("vm", id);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        get(&bob, fmt("/servers/%s%s", id, paths[i]), 404);
        assert_int_equal(num("itemNotFound/code"), 404);
    }
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        action(&bob, id, acts[i], 404);
    ask(&bob, "DELETE", server(id), NULL, 404);
    ask(&bob, "PUT", server(id), "{\"server\": {\"name\": \"bob's\"}}", 404);
    ask(&bob, "POST", fmt("/servers/%s/metadata", id), "{\"metadata\": {}}", 404);
    ask(&bob, "PUT", fmt("/servers/%s/metadata/a", id), "{\"meta\": {\"a\": \"b\"}}", 404);
    ask(&bob, "DELETE", fmt("/servers/%s/metadata/a", id), NULL, 404);
    expect_wanted(id, "running", 0);
    get(&admin, server(id), 200);
    get(&bob, "/servers", 200);
    assert_int_equal(count("servers"), 0);
    get(&bob, "/servers/detail?all_tenants=1", 403);
    get(&bob, fmt("/servers/detail?project_id=%s", alice.project), 200);
    assert_int_equal(count("servers"), 0);
    get(&bob, fmt("/servers?uuid=%s", id), 200);
    assert_int_equal(count("servers"), 0);
    get(&bob, "/servers?all_tenants=0", 200);
    create(&bob, "own", "", id);
    get(&bob, "/servers", 200);
    assert_int_equal(count("servers"), 1);
    get(&admin, "/servers", 200); /* of the project admin */
    assert_int_equal(count("servers"), 0);
    get(&admin, "/servers?all_tenants=True", 200);
    assert_int_equal(count("servers"), 2);
    get(&admin, fmt("/servers/detail?all_tenants=1&tenant_id=%s", bob.project), 200);
    assert_int_equal(count("servers"), 1);
    assert_string_equal(text("servers/0/name"), "own");
}

static void test_a_reader_changes_nothing(void **state)
{
    static const char *const acts[] = {"\"os-start\": null",
                                       "\"os-stop\": null",
                                       "\"pause\": null",
                                       "\"unpause\": null",
                                       "\"reboot\": {\"type\": \"HARD\"}",
                                       "\"lock\": null",
                                       "\"unlock\": null",
                                       "\"addSecurityGroup\": {\"name\": \"default\"}",
                                       "\"removeSecurityGroup\": {\"name\": \"default\"}"};
    char id[64];
    json_t *before, *after;

    create_running("vm", id);
    before = rows_of("server", "");
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        action(&rita, id, acts[i], 403);
        assert_int_equal(num("forbidden/code"), 403);
    }
    ask(&rita, "POST", "/servers",
        "{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"}}", 403);
    ask(&rita, "PUT", server(id), "{\"server\": {\"name\": \"x\"}}", 403);
    ask(&rita, "DELETE", server(id), NULL, 403);
    ask(&rita, "POST", fmt("/servers/%s/metadata", id), "{\"metadata\": {\"a\": \"b\"}}", 403);
    ask(&rita, "PUT", fmt("/servers/%s/metadata", id), "{\"metadata\": {\"a\": \"b\"}}", 403);
    ask(&rita, "PUT", fmt("/servers/%s/metadata/a", id), "{\"meta\": {\"a\": \"b\"}}", 403);
    ask(&rita, "DELETE", fmt("/servers/%s/metadata/a", id), NULL, 403);
    ask(&rita, "POST", "/flavors", "{\"flavor\": {}}", 403);
    after = rows_of("server", "");
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    get(&rita, server(id), 200);
    get(&rita, "/servers/detail", 200);
    assert_int_equal(count("servers"), 1);
}

/* ---- lists ---- */

/* The names in the list that the query gives, in order. */
static void expect_list(const struct person *who, const char *query, const char *names)
{
    char found[1000] = "";

    get(who, fmt("/servers%s", query), 200);
    for (size_t i = 0; i < count("servers"); i++)
        snprintf(found + strlen(found), 300, "%s%s", i ? " " : "",
                 text(fmt("servers/%zu/name", i)));
    if (strcmp(found, names) != 0)
        fail_msg("%s: '%s' instead of '%s'", query, found, names);
}

#define BY_NAME "sort_key=name&sort_dir=asc"

static void test_filters(void **state)
{
    char ids[3][64];

    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"a1", "a2", "b (x)"};

        create(&alice, names[i],
               fmt(", \"networks\": [{\"uuid\": \"%s\", \"fixed_ip\": \"10.0.0.%d\"}]", net,
                   11 + 10 * i),
               ids[i]);
    }
    place(ids[0], "h1", 1);
    report(ids[0], "running");
    place(ids[1], "h1", 1);
    report(ids[1], "stopped");
    expect_list(&rita, "?" BY_NAME, "a1 a2 b (x)");
    expect_list(&rita, "?sort_key=display_name&sort_dir=desc", "b (x) a2 a1");
    expect_list(&rita, "?name=a&" BY_NAME, "a1 a2");
    expect_list(&rita, "?name=^a[2-9]$&" BY_NAME, "a2");
    expect_list(&rita, "?name=1%7Cx&" BY_NAME, "a1 b (x)"); /* "1|x" */
    expect_list(&rita, "?name=none", "");
    expect_list(&rita, "?status=ACTIVE", "a1");
    expect_list(&rita, "?status=shutoff", "a2");
    expect_list(&rita, "/detail?status=BUILD", "b (x)");
    expect_list(&rita, "?status=nonsense", "");
    expect_list(&rita, "?status=ACTIVE&name=2", "");
    expect_list(&rita, "?ip=10.0.0.1", "a1");
    expect_list(&rita, "?ip=^10[.]0[.]0[.]&" BY_NAME, "a1 a2 b (x)");
    expect_list(&rita, "?ip6=10", "");
    expect_list(&rita, fmt("?uuid=%s", ids[1]), "a2");
    expect_list(&rita, "?flavor=42&image=" IMAGE "&" BY_NAME, "a1 a2 b (x)");
    expect_list(&rita, "?flavor=1", "");
    expect_list(&rita, "?image=" NOTHING, "");
    expect_list(&rita, "?id=1&uuid=2", "");
    expect_list(&rita, "?host=h1&" BY_NAME, "a1 a2 b (x)"); /* not for her to ask */
    expect_list(&admin, "?all_tenants=1&host=h1&" BY_NAME, "a1 a2");
    expect_list(&admin, fmt("?all_tenants=1&user_id=%s", bob.user), "");
    get(&rita, "/servers?name=(", 400);
    assert_non_null(strstr(message(), "Invalid filter field: name."));
    get(&rita, "/servers?name=*a", 400);
    get(&rita, "/servers?ip=[", 400);
}

/* Those that `openstack server list` has options for. */
static void test_more_filters(void **state)
{
    char ids[3][64], reservation[64];
    json_t *row;

    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\"}}", 200);
    create(&alice, "a", ", \"key_name\": \"k\", \"config_drive\": true", ids[0]);
    create(&alice, "b", "", ids[1]);
    create(&alice, "c", ", \"return_reservation_id\": false", ids[2]);
    place(ids[0], "h1", 1);
    report(ids[0], "running"); /* told at 2026-01-02T03:04:05Z */
    place(ids[1], "h1", 1);
    report(ids[1], "paused");
    expect_list(&rita, "?deleted=True", "");
    expect_list(&rita, "?deleted=False&" BY_NAME, "a b c");
    expect_list(&rita, "?key_name=k", "a");
    expect_list(&rita, "?key_name=none", "");
    expect_list(&rita, "?config_drive=True", "a");
    expect_list(&rita, "?config_drive=false&" BY_NAME, "b c");
    get(&rita, "/servers?config_drive=perhaps", 400);
    expect_list(&rita, "?vm_state=active", "a");
    expect_list(&rita, "?vm_state=building", "c");
    expect_list(&rita, "?power_state=1", "a");
    expect_list(&rita, "?power_state=paused", "b");
    get(&rita, "/servers?power_state=strong", 400);
    get(&rita, "/servers?power_state=8", 400);
    expect_list(&rita, "?availability_zone=cab1&" BY_NAME, "a b");
    expect_list(&rita, "?availability_zone=cab2", "");
    expect_list(&rita, fmt("?user_id=%s&" BY_NAME, alice.user), "a b c");
    expect_list(&rita, fmt("?user_id=%s", bob.user), "");
    microversion = "2.3";
    get(&admin, server(ids[0]), 200);
    keep("server/OS-EXT-SRV-ATTR:reservation_id", reservation);
    microversion = NULL;
    expect_list(&rita, fmt("?reservation_id=%s", reservation), "a");
    expect_list(&rita, "?reservation_id=r-none", "");
    for (int i = 0; i < 3; i++) {
        row = row_of("server", ids[i]);
        json_put_str(row, "updated_at", i == 2 ? "2026-01-03T00:00:00Z" : "2026-01-01T00:00:00Z");
        put_row("server", row);
    }
    expect_list(&rita, "?changes-since=2026-01-02T03:04:05Z&" BY_NAME, "a b c");
    expect_list(&rita, "?changes-since=2026-01-02T03:04:06Z", "c");
    expect_list(&rita, "?changes-since=2026-01-02T05:04:06%2B02:00", "c");
    expect_list(&rita, "?changes-since=2026-01-03", "c");
    expect_list(&rita, "?changes-since=2026-01-04T00:00:00.5Z", "");
    get(&rita, "/servers?changes-since=yesterday", 400);
    get(&rita, server(ids[0]), 200);
    assert_string_equal(text("server/updated"), "2026-01-02T03:04:05Z");
}

/* Names that would take the C library's regular expressions for ever do not hold up the service. */
static void test_costly_patterns(void **state)
{
    char name[256], id[64];

    memset(name, 'a', 255);
    name[255] = '\0';
    create(&alice, name, "", id);
    get(&rita, "/servers?name=(.*)(.*)(.*)(.*)(.*)%5C1%5C2%5C3%5C4%5C5b", 400);
    get(&rita, "/servers?name=((((a%7B50%7D)%7B50%7D)%7B50%7D)%7B50%7D)", 400);
    expect_list(&rita, "?name=(a%7Caa)*(a*)*(.*)*(.*)*(.*)*b", "");
    expect_list(&rita, "?name=^(a*)*$", name);
}

static void test_pages(void **state)
{
    char id[64], next[600];
    const char *names = "p 1 p 2 p 3 p 4 p 5";

    for (int i = 1; i <= 5; i++)
        create(&alice, fmt("p %d", i), "", id);
    create(&alice, "other", "", id);
    for (int detail = 0; detail < 2; detail++) {
        char all[200] = "";
        int pages = 0;

        snprintf(next, sizeof(next), "/servers%s?name=^p%%20[0-9]&limit=2&" BY_NAME,
                 detail ? "/detail" : "");
        while (next[0] && pages < 10) {
            get(&rita, next, 200);
            pages++;
            for (size_t i = 0; i < count("servers"); i++)
                snprintf(all + strlen(all), 20, "%s%s", all[0] ? " " : "",
                         text(fmt("servers/%zu/name", i)));
            snprintf(next, sizeof(next), "%s",
                     at("servers_links") ? text("servers_links/0/href") : "");
        }
        assert_string_equal(all, names);
        assert_int_equal(pages, 3);
    }
    expect_list(&rita, "?limit=0&name=other", "other");
    get(&rita, "/servers?limit=-1", 400);
    get(&rita, "/servers?limit=two", 400);
    get(&rita, "/servers?marker=" NOTHING, 400);
    assert_string_equal(message(), "marker [" NOTHING "] not found");
    get(&bob, fmt("/servers?marker=%s", id), 400); /* not bob's */
}

static int start(void **state)
{
    cloud.peers.get = ask_host;
    return cloud_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power, with_network),
        cmocka_unit_test_setup(test_reboot, with_network),
        cmocka_unit_test_setup(test_actions_while_building, with_network),
        cmocka_unit_test_setup(test_no_actions, with_network),
        cmocka_unit_test_setup(test_lock, with_network),
        cmocka_unit_test_setup(test_lock_of_an_administrator, with_network),
        cmocka_unit_test_setup(test_log, with_network),
        cmocka_unit_test_setup(test_log_is_bounded, with_network),
        cmocka_unit_test_setup(test_groups_of_a_server, with_network),
        cmocka_unit_test_setup(test_which_group, with_network),
        cmocka_unit_test_setup(test_console, with_network),
        cmocka_unit_test_setup(test_update, with_network),
        cmocka_unit_test_setup(test_metadata, with_network),
        cmocka_unit_test_setup(test_delete, with_network),
        cmocka_unit_test_setup(test_other_projects, with_network),
        cmocka_unit_test_setup(test_a_reader_changes_nothing, with_network),
        cmocka_unit_test_setup(test_filters, with_network),
        cmocka_unit_test_setup(test_more_filters, with_network),
        cmocka_unit_test_setup(test_costly_patterns, with_network),
        cmocka_unit_test_setup(test_pages, with_network),
    };

    return cmocka_run_group_tests(tests, start, cloud_stop);
}
