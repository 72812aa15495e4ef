/* Server groups: where placement and the recovery planner put their members. */
#include "ha/placement.h"
#include "ha/recovery.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOSTS 4
#define STEPS 20

/* ---- one choice ---- */

static int choose(enum placement_policy policy, size_t m0, size_t m1, size_t m2, size_t m3,
                  char *why)
{
    /* Without a group the order is d, c, b, a. */
    const struct placement_host hosts[HOSTS] = {
        {.id = "a", .cabinet = "x", .compute = true, .up = true, .vcpus = 4, .ram_mb = 1000},
        {.id = "b", .cabinet = "x", .compute = true, .up = true, .vcpus = 4, .ram_mb = 2000},
        {.id = "c", .cabinet = "y", .compute = true, .up = true, .vcpus = 4, .ram_mb = 3000},
        {.id = "d", .cabinet = "y", .compute = true, .up = true, .vcpus = 4, .ram_mb = 4000},
    };
    const size_t mates[HOSTS] = {m0, m1, m2, m3};
    struct placement_options options = {0};
    struct placement_request request = {
        .vcpus = 1, .ram_mb = 500, .policy = policy, .mates = mates};

    return placement_choose(hosts, HOSTS, &options, &request, why);
}

static void hard_policies(void **state)
{
    char why[PLACEMENT_WHY_SIZE];

    (void)state;
    assert_int_equal(choose(PLACEMENT_NO_POLICY, 1, 0, 0, 0, why), 3);
    assert_int_equal(choose(PLACEMENT_AFFINITY, 0, 0, 0, 0, why), 3);
    assert_int_equal(choose(PLACEMENT_AFFINITY, 1, 0, 0, 0, why), 0);
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 0, 0, 0, 0, why), 3);
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 0, 1, 0, 1, why), 2);
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 0, 1, 1, 1, why), 0);
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 1, 1, 2, 1, why), -ENOSPC);
    assert_string_equal(why, "No valid host was found. There are 4 hosts: 4 with another server "
                             "of the group");
}

static void soft_policies(void **state)
{
    (void)state;
    assert_int_equal(choose(PLACEMENT_SOFT_AFFINITY, 0, 0, 0, 0, NULL), 3);
    assert_int_equal(choose(PLACEMENT_SOFT_AFFINITY, 1, 2, 0, 0, NULL), 1);
    assert_int_equal(choose(PLACEMENT_SOFT_ANTI_AFFINITY, 1, 1, 2, 1, NULL), 1);
    assert_int_equal(choose(PLACEMENT_SOFT_ANTI_AFFINITY, 3, 3, 3, 2, NULL), 3);
}

/* Where servers are to be apart, a cabinet without any of them is better than one with room. */
static void apart_over_cabinets(void **state)
{
    (void)state;
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 0, 0, 0, 1, NULL), 1);
    assert_int_equal(choose(PLACEMENT_SOFT_ANTI_AFFINITY, 0, 0, 0, 1, NULL), 1);
    assert_int_equal(choose(PLACEMENT_ANTI_AFFINITY, 1, 0, 0, 0, NULL), 3);
}

static void names_of_policies(void **state)
{
    (void)state;
    assert_int_equal(placement_policy_parse("affinity"), PLACEMENT_AFFINITY);
    assert_int_equal(placement_policy_parse("soft-anti-affinity"), PLACEMENT_SOFT_ANTI_AFFINITY);
    assert_int_equal(placement_policy_parse("Affinity"), PLACEMENT_NO_POLICY);
    assert_int_equal(placement_policy_parse(NULL), PLACEMENT_NO_POLICY);
    assert_int_equal(placement_policy_soften(PLACEMENT_AFFINITY), PLACEMENT_SOFT_AFFINITY);
    assert_int_equal(placement_policy_soften(PLACEMENT_ANTI_AFFINITY),
                     PLACEMENT_SOFT_ANTI_AFFINITY);
    assert_int_equal(placement_policy_soften(PLACEMENT_NO_POLICY), PLACEMENT_NO_POLICY);
}

/* ---- plans, carried out ---- */

struct cloud {
    struct recovery_host hosts[HOSTS];
    struct recovery_server servers[8];
    struct recovery_module module;
    struct recovery_input in;
    size_t faults;
};

static void make_cloud(struct cloud *c)
{
    static const char *const names[HOSTS] = {"a", "b", "c", "d"};
    static const char *const cabinets[HOSTS] = {"x", "x", "y", "y"};

    memset(c, 0, sizeof(*c));
    for (size_t i = 0; i < HOSTS; i++)
        c->hosts[i] = (struct recovery_host){.id = names[i],
                                             .cabinet = cabinets[i],
                                             .compute = true,
                                             .state = HOST_UP,
                                             .epoch = 1,
                                             .verdict = LIVE_ALIVE,
                                             .lease_present = true,
                                             .lease_epoch = 1,
                                             .vcpus = 4,
                                             .ram_mb = 4096};
    c->in = (struct recovery_input){.hosts = c->hosts, .host_count = HOSTS, .servers = c->servers};
}

static void add(struct cloud *c, const char *id, enum placement_policy policy)
{
    c->servers[c->in.server_count++] = (struct recovery_server){
        .id = id, .generation = 1, .vcpus = 1, .ram_mb = 512, .group = "g", .policy = policy};
}

static const char *name_of(const struct cloud *c, const char *host)
{
    for (size_t i = 0; i < HOSTS; i++) {
        if (strcmp(c->hosts[i].id, host) == 0)
            return c->hosts[i].id;
    }
    fail_msg("no host %s", host);
    return NULL;
}

static void apply(struct cloud *c, const struct recovery_action *action)
{
    for (size_t i = 0; i < c->in.server_count; i++) {
        struct recovery_server *server = &c->servers[i];

        if (strcmp(server->id, action->object) != 0)
            continue;
        if (action->kind == RECOVERY_SERVER_STAYS) {
            server->stays = action->text[0] ? "told" : NULL;
            continue;
        }
        server->faulted = action->kind == RECOVERY_SERVER_FAULT && action->text[0];
        c->faults += server->faulted;
        if (server->faulted)
            continue;
        server->host = name_of(c, action->host); /* one that is drained hands over at once */
        server->stays = NULL;
    }
}

/* Plans and carries out until nothing is left to do. */
static void settle(struct cloud *c)
{
    struct recovery_action actions[16];
    int n = 1;

    for (int step = 0; step < STEPS && n > 0; step++) {
        n = recovery_plan(&c->in, actions, 16);
        for (int i = 0; i < n; i++)
            apply(c, &actions[i]);
    }
    assert_int_equal(n, 0);
}

static const char *where(const struct cloud *c)
{
    static char text[64];

    text[0] = '\0';
    for (size_t i = 0; i < c->in.server_count; i++)
        strcat(text, c->servers[i].host ? c->servers[i].host : "-");
    return text;
}

static void die(struct cloud *c, size_t host)
{
    c->hosts[host].state = HOST_FENCED;
    c->hosts[host].verdict = LIVE_LOST;
    c->hosts[host].lease_present = false;
}

static void apart(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    for (size_t i = 0; i < 5; i++)
        add(&c, (const char *const[]){"1", "2", "3", "4", "5"}[i], PLACEMENT_ANTI_AFFINITY);
    settle(&c);
    assert_string_equal(where(&c), "acbd-");
    assert_int_equal(c.faults, 1);
    /* One goes: the one that waited gets its place. */
    c.servers[1].power = SERVER_DELETED;
    settle(&c);
    assert_string_equal(where(&c), "acbdc");
    assert_false(c.servers[4].faulted);
}

/* Each plan places one member, so that no two are placed without knowledge of each other. */
static void one_after_the_other(void **state)
{
    struct recovery_action actions[16];
    struct cloud c;

    (void)state;
    make_cloud(&c);
    add(&c, "1", PLACEMENT_ANTI_AFFINITY);
    add(&c, "2", PLACEMENT_ANTI_AFFINITY);
    add(&c, "3", PLACEMENT_NO_POLICY);
    c.servers[2].group = NULL;
    assert_int_equal(recovery_plan(&c.in, actions, 16), 2);
    assert_string_equal(actions[0].object, "1");
    assert_string_equal(actions[1].object, "3");
}

static void apart_after_a_death(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    add(&c, "1", PLACEMENT_ANTI_AFFINITY);
    add(&c, "2", PLACEMENT_ANTI_AFFINITY);
    add(&c, "3", PLACEMENT_ANTI_AFFINITY);
    settle(&c);
    assert_string_equal(where(&c), "acb");
    die(&c, 0);
    settle(&c);
    assert_string_equal(where(&c), "dcb");
    /* Nowhere to be alone: being back matters more. */
    die(&c, 2);
    settle(&c);
    assert_string_equal(where(&c), "dbb");
    assert_int_equal(c.faults, 0);
}

static void together(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    add(&c, "1", PLACEMENT_AFFINITY);
    add(&c, "2", PLACEMENT_AFFINITY);
    add(&c, "3", PLACEMENT_AFFINITY);
    settle(&c);
    assert_string_equal(where(&c), "aaa");
    die(&c, 0);
    settle(&c);
    assert_string_equal(where(&c), "ccc");
    c.servers[0].ram_mb = 4096 - 1024;
    add(&c, "4", PLACEMENT_AFFINITY);
    settle(&c);
    assert_string_equal(where(&c), "ccc-");
    assert_int_equal(c.faults, 1);
}

/* A wish is never a reason not to run. */
static void soft_ones(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    for (size_t i = 0; i < 5; i++)
        add(&c, (const char *const[]){"1", "2", "3", "4", "5"}[i], PLACEMENT_SOFT_ANTI_AFFINITY);
    settle(&c);
    assert_string_equal(where(&c), "acbda");
    assert_int_equal(c.faults, 0);
}

static void draining(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    add(&c, "1", PLACEMENT_AFFINITY);
    add(&c, "2", PLACEMENT_AFFINITY);
    settle(&c);
    c.hosts[0].disabled = c.hosts[0].draining = true;
    settle(&c);
    assert_string_equal(where(&c), "cc");
    for (size_t i = 0; i < 2; i++)
        c.servers[i].policy = PLACEMENT_ANTI_AFFINITY;
    c.servers[0].host = "b";
    c.hosts[3].disabled = true;
    c.hosts[2].disabled = c.hosts[2].draining = true;
    settle(&c);
    assert_string_equal(where(&c), "bc"); /* the only other host has a member of the group */
    assert_non_null(c.servers[1].stays);
    c.hosts[0].disabled = c.hosts[0].draining = false;
    settle(&c);
    assert_string_equal(where(&c), "ba");
    assert_null(c.servers[1].stays);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hard_policies),
        cmocka_unit_test(soft_policies),
        cmocka_unit_test(apart_over_cabinets),
        cmocka_unit_test(names_of_policies),
        cmocka_unit_test(apart),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(apart_after_a_death),
        cmocka_unit_test(together),
        cmocka_unit_test(soft_ones),
        cmocka_unit_test(draining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
