/* Servers in the cloud of cloud.h: how the tests make them, and what planner and hosts say of them.
 */
#ifndef VLING_TESTS_CLOUD_SERVERS_H
#define VLING_TESTS_CLOUD_SERVERS_H

#include "cloud.h"

#define IMAGE "11111111-2222-4333-8444-555555555555"
#define NOTHING "99999999-2222-4333-8444-555555555555"

static char net[64], subnet[64];

/* ---- what the tests begin with ---- */

/* Addresses that nobody asked for are drawn from .101 on, but not .200: tests ask for the others.
 */
static inline void make_network(const struct person *who, const char *name, const char *cidr,
                                char id[64], char subnet_id[64])
{
    int length = (int)(strrchr(cidr, '.') - cidr);

    ask_net(who, "POST", "/networks", fmt("{\"network\": {\"name\": \"%s\"}}", name), 201);
    keep("network/id", id);
    ask_net(who, "POST", "/subnets",
            fmt("{\"subnet\": {\"network_id\": \"%s\", \"ip_version\": 4, \"cidr\": \"%s\", "
                "\"allocation_pools\": [{\"start\": \"%.*s.101\", \"end\": \"%.*s.199\"}, "
                "{\"start\": \"%.*s.201\", \"end\": \"%.*s.254\"}]}}",
                id, cidr, length, cidr, length, cidr, length, cidr, length, cidr),
            201);
    keep("subnet/id", subnet_id);
}

/* An image, two cabinets, and alice's network. */
static inline int with_network(void **state)
{
    cloud_wipe(state);
    put_image(IMAGE, NULL);
    put_host("h1", "cab1", "[\"controller\", \"compute\"]", "up");
    put_host("h2", "cab2", "[\"network\"]", "up");
    make_network(&alice, "inside", "10.0.0.0/24", net, subnet);
    return 0;
}

/* Creates a server of the smallest flavor; `more` goes into the body. */
static inline void create(const struct person *who, const char *name, const char *more, char id[64])
{
    ask(who, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"%s\", \"imageRef\": \"" IMAGE
            "\", \"flavorRef\": \"42\"%s}}",
            name, more),
        202);
    keep("server/id", id);
}

/* As the planner does. */
static inline void place(const char *id, const char *host, int generation)
{
    json_t *row = row_of("server", id);

    json_put_str(row, "host_id", host);
    json_put_int(row, "generation", generation);
    put_row("server", row);
}

/* As the host does, of the generation that the server has. */
static inline void report(const char *id, const char *power)
{
    json_t *row = row_of("server", id);
    json_t *state = json_pack(
        "{s:s, s:s, s:I, s:s, s:I, s:n, s:s, s:s}", "id", id, "host_id",
        json_str(row, "host_id", "h1"), "generation", (json_int_t)json_int(row, "generation", 0),
        "power", power, "reboot_serial", (json_int_t)json_int(row, "reboot_serial", 0), "fault",
        "launched_at", "2026-01-02T03:04:05Z", "updated_at", "2026-01-02T03:04:05Z");

    if (strcmp(power, "building") == 0)
        json_object_set_new(state, "launched_at", json_null());
    if (strcmp(power, "error") == 0)
        json_object_set_new(state, "fault",
                            json_pack("{s:i, s:s, s:s}", "code", 500, "message", "no disk",
                                      "created", "2026-01-02T03:04:05Z"));
    json_decref(row);
    put_row("server_state", state);
}

/* A server of alice's that runs on h1. */
static inline void create_running(const char *name, char id[64])
{
    create(&alice, name, "", id);
    place(id, "h1", 1);
    report(id, "running");
}

static inline void action(const struct person *who, const char *id, const char *what, long want)
{
    ask(who, "POST", fmt("/servers/%s/action", id), fmt("{%s}", what), want);
}

static inline const char *server(const char *id)
{
    return fmt("/servers/%s", id);
}

/* The last answer shows a server in these states. */
static inline void expect_states(const char *status, const char *vm, const char *task, int power)
{
    assert_string_equal(text("server/status"), status);
    assert_string_equal(text("server/OS-EXT-STS:vm_state"), vm);
    assert_string_equal(text("server/OS-EXT-STS:task_state"), task);
    assert_int_equal(num("server/OS-EXT-STS:power_state"), power);
}

#endif
