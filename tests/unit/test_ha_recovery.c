#include "ha/placement.h"
#include "ha/recovery.h"
#include "ha/survive.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct cloud {
    struct recovery_host hosts[9];
    struct recovery_server servers[8];
    struct recovery_router routers[2];
    struct recovery_network networks[1];
    struct recovery_module modules[1];
    struct recovery_input in;
    struct recovery_action actions[32];
    int count;
    char text[4000];
};

static const char *const names[] = {"a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"};
static const char *const cabinets[] = {"a", "b", "c"};

/* Three cabinets of three; x1 are controllers, x2 and x3 run servers and routers. */
static void make_cloud(struct cloud *c)
{
    memset(c, 0, sizeof(*c));
    for (size_t i = 0; i < 9; i++) {
        c->hosts[i] = (struct recovery_host){.id = names[i],
                                             .cabinet = cabinets[i / 3],
                                             .controller = i % 3 == 0,
                                             .compute = i % 3 != 0,
                                             .network = i % 3 != 0,
                                             .state = HOST_UP,
                                             .state_ms = 1000000,
                                             .epoch = 1,
                                             .verdict = LIVE_ALIVE,
                                             .lease_present = true,
                                             .lease_epoch = 1,
                                             .vcpus = 4,
                                             .ram_mb = 4096};
    }
    c->modules[0] = (struct recovery_module){
        .id = "api-vip", .master = "a1", .standby = "b1", .backup = "c1", .generation = 1};
    c->in = (struct recovery_input){.hosts = c->hosts,
                                    .host_count = 9,
                                    .servers = c->servers,
                                    .routers = c->routers,
                                    .networks = c->networks,
                                    .modules = c->modules,
                                    .module_count = 1};
}

static void describe(struct cloud *c, const struct recovery_action *a)
{
    char *at = c->text + strlen(c->text);

    switch (a->kind) {
    case RECOVERY_HOST:
        sprintf(at, "%s=%s/%lld ", a->object, host_state_name(a->state), (long long)a->epoch);
        break;
    case RECOVERY_SERVER_MOVE:
    case RECOVERY_SERVER_PLACE:
    case RECOVERY_ROUTER:
        sprintf(at, "%s:%s>%s/%lld ", a->object, a->from, a->host, (long long)a->generation);
        break;
    case RECOVERY_SERVER_LEAVE:
        sprintf(at, "%s:%s~%s ", a->object, a->from, a->host);
        break;
    case RECOVERY_SERVER_STAYS:
        sprintf(at, "%s:%s!%s ", a->object, a->from, a->text);
        break;
    case RECOVERY_SERVER_FAULT:
        sprintf(at, a->text[0] ? "%s!fault " : "%s!over ", a->object);
        break;
    case RECOVERY_SERVER_FORGET:
        sprintf(at, "%s!forget ", a->object);
        break;
    case RECOVERY_DHCP:
        sprintf(at, "%s=dhcp:%s,%s ", a->object, a->dhcp_hosts[0], a->dhcp_hosts[1]);
        break;
    case RECOVERY_MODULE:
        sprintf(at, "%s=%s,%s,%s/%lld ", a->object, a->master, a->standby, a->backup,
                (long long)a->generation);
        break;
    case RECOVERY_PLANES:
        sprintf(at, "%s-%x ", a->object, a->planes);
        break;
    case RECOVERY_HOLD:
        sprintf(at, "hold ");
        break;
    }
}

static const char *plan(struct cloud *c)
{
    c->text[0] = '\0';
    c->count = recovery_plan(&c->in, c->actions, 32);
    for (int i = 0; i < c->count; i++)
        describe(c, &c->actions[i]);
    return c->text;
}

static void silence(struct cloud *c, size_t from, size_t to, enum liveness_verdict verdict)
{
    for (size_t i = from; i <= to; i++)
        c->hosts[i].verdict = verdict;
}

static void set_server(struct cloud *c, const char *id, const char *host)
{
    c->servers[c->in.server_count++] = (struct recovery_server){
        .id = id, .host = host, .generation = 1, .vcpus = 1, .ram_mb = 1024};
}

/* Two at a time, each with a place before it leaves; none twice. */
static void a_drained_host_is_left(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    set_server(&c, "s1", "a2");
    set_server(&c, "s2", "a2");
    set_server(&c, "s3", "a2");
    set_server(&c, "s4", "b2");
    c.hosts[1].disabled = true;
    assert_string_equal(plan(&c), "");
    c.hosts[1].draining = true;
    assert_string_equal(plan(&c), "s1:a2~c2 s2:a2~b3 ");
    c.servers[1].power = SERVER_PAUSED;
    c.servers[2].power = SERVER_STOPPED;
    assert_string_equal(plan(&c), "s1:a2~c2 s3:a2~b3 ");
    c.servers[0].move_to = "c2";
    c.servers[2].move_to = "b3";
    c.servers[1].power = SERVER_RUNNING;
    assert_string_equal(plan(&c), "");
    c.servers[0].host = "c2";
    c.servers[0].move_to = NULL;
    assert_string_equal(plan(&c), "s2:a2~c3 ");
}

/* What is on its way gets there, elsewhere, or stays; it is never left without a host. */
static void a_server_on_its_way_is_not_forgotten(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.servers[0].move_to = "b2";
    assert_string_equal(plan(&c), "");
    c.hosts[4].disabled = true;
    assert_string_equal(plan(&c), "s1:a2~c2 ");
    for (size_t i = 0; i < 9; i++)
        c.hosts[i].disabled = i != 1;
    c.in.module_count = 0;
    assert_string_equal(plan(&c), "s1:a2~a2 ");
    c.servers[0].move_to = "a2";
    assert_string_equal(plan(&c), "");
    c.servers[0].power = SERVER_DELETED;
    c.servers[0].move_to = "b2";
    assert_string_equal(plan(&c), "");
}

/* Nothing is shut down for which there is no room. */
static void without_room_a_server_stays(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.servers[0].ram_mb = 4000;
    c.hosts[1].draining = c.hosts[1].disabled = true;
    for (size_t i = 2; i < 9; i++)
        c.hosts[i].ram_mb = 2048;
    plan(&c);
    assert_non_null(strstr(c.text, "s1:a2!No valid host was found."));
    assert_non_null(strstr(c.text, "5 without enough free memory"));
    c.servers[0].stays = "told before";
    assert_string_equal(plan(&c), "");
    c.hosts[2].ram_mb = 4096;
    assert_string_equal(plan(&c), "s1:a2~a3 ");
    c.hosts[1].draining = c.hosts[1].disabled = false;
    assert_string_equal(plan(&c), "s1:a2! ");
}

/* A drained host that dies is a dead host. */
static void a_drained_host_may_die(void **state)
{
    struct cloud c;

    (void)state;
    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.servers[0].move_to = "b2";
    c.hosts[1].draining = c.hosts[1].disabled = true;
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].epoch = 2;
    c.hosts[1].verdict = LIVE_LOST;
    c.hosts[1].lease_present = false;
    assert_string_equal(plan(&c), "s1:a2>c2/2 ");
}

static void all_is_well(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    assert_string_equal(plan(&c), "");
}

/* Each step is what the rows say next; the server moves only when host and lease are gone. */
static void a_host_dies_step_by_step(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.routers[0] = (struct recovery_router){.id = "r1", .host = "a2", .generation = 3};
    c.in.router_count = 1;
    c.hosts[1].verdict = LIVE_SUSPECT;
    assert_string_equal(plan(&c), "a2=suspect/1 ");
    c.hosts[1].state = HOST_SUSPECT;
    c.hosts[1].state_ms = 0;
    assert_string_equal(plan(&c), "");
    c.hosts[1].verdict = LIVE_LOST;
    assert_string_equal(plan(&c), "a2=lost/1 r1:a2>a3/4 ");
    c.hosts[1].state = HOST_LOST;
    c.routers[0].host = "a3";
    assert_string_equal(plan(&c), ""); /* its lease is still there */
    c.hosts[1].lease_present = false;
    assert_string_equal(plan(&c), "a2=fenced/2 ");
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].epoch = 2;
    assert_string_equal(plan(&c), "s1:a2>b2/2 ");
    c.servers[0].host = "b2";
    c.hosts[1].verdict = LIVE_ALIVE;
    assert_string_equal(plan(&c), ""); /* heard, but without a lease */
    c.hosts[1].lease_present = true;
    assert_string_equal(plan(&c), ""); /* a lease of the old epoch is none */
    c.hosts[1].lease_epoch = 2;
    assert_string_equal(plan(&c), "a2=up/2 ");
}

/* etcd may have ended a lease early: its holder does not know, and runs its servers. */
static void a_lease_that_ended_early_fences_nobody(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    set_server(&c, "s2", "a2");
    c.servers[1].power = SERVER_DELETED;
    c.hosts[1].state = HOST_LOST;
    c.hosts[1].verdict = LIVE_LOST;
    c.hosts[1].lease_present = false;
    c.hosts[1].may_hold_ms = 1;
    assert_string_equal(plan(&c), "");
    /* Nor does anything leave it that was fenced before and has taken its new lease since. */
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].epoch = 2;
    assert_string_equal(plan(&c), "");
    c.hosts[1].may_hold_ms = 0;
    assert_string_equal(plan(&c), "s2!forget s1:a2>b2/2 ");
    c.hosts[1].state = HOST_LOST;
    c.hosts[1].may_hold_ms = 1;
    c.hosts[1].power_off_proved = true;
    assert_string_equal(plan(&c), "a2=fenced/3 ");
}

/* A restored backup knows the host by its servers only: they wait for it, then they leave. */
static void a_host_without_a_row_is_waited_for(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "x1");
    set_server(&c, "s2", "x1");
    set_server(&c, "s3", "a2");
    c.servers[1].power = SERVER_DELETED;
    c.servers[2].move_to = "x1"; /* it was leaving for it */
    assert_string_equal(plan(&c), "s3:a2~b2 ");
    c.servers[2].move_to = NULL;
    for (size_t i = 0; i < 2; i++)
        c.servers[i].absent_ms = RECOVERY_ABSENT_MS - 1;
    assert_string_equal(plan(&c), "");
    for (size_t i = 0; i < 2; i++)
        c.servers[i].absent_ms = RECOVERY_ABSENT_MS;
    assert_string_equal(plan(&c), "s2!forget s1:x1>b2/2 ");
    assert_non_null(strstr(c.actions[1].text, "restored"));
    c.servers[0].ram_mb = 99999; /* no place: told once */
    assert_string_equal(plan(&c), "s2!forget s1!fault ");
    c.servers[0].faulted = true;
    assert_string_equal(plan(&c), "s2!forget ");
    /* It came back. */
    c.hosts[8].id = "x1";
    assert_string_equal(plan(&c), "s1!over ");
    c.servers[0].faulted = false;
    assert_string_equal(plan(&c), "");
}

static void routers_and_dhcp_do_not_wait_for_a_host_without_a_row(void **state)
{
    struct cloud c;

    make_cloud(&c);
    c.routers[0] = (struct recovery_router){.id = "r1", .host = "x1", .generation = 3};
    c.in.router_count = 1;
    c.networks[0] =
        (struct recovery_network){.id = "n1", .dhcp_hosts = {"x1", "b2"}, .dhcp_wanted = true};
    c.in.network_count = 1;
    c.modules[0].standby = "x1";
    assert_string_equal(plan(&c), "api-vip=a1,c1,b1/1 r1:x1>a2/4 n1=dhcp:b2, ");
}

/* Its servers go on: they are heard on the planes that are left. */
static void routers_and_dhcp_leave_a_host_whose_uplink_is_down(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.routers[0] = (struct recovery_router){.id = "r1", .host = "a2", .generation = 3};
    c.in.router_count = 1;
    c.networks[0] =
        (struct recovery_network){.id = "n1", .dhcp_hosts = {"a2"}, .dhcp_wanted = true};
    c.in.network_count = 1;
    assert_string_equal(plan(&c), "");
    c.hosts[1].silent_now = PLANE_BIT(PLANE_TENANT);
    assert_string_equal(plan(&c), "a2-4 "); /* into its row first, for all controllers */
    c.hosts[1].silent = PLANE_BIT(PLANE_TENANT);
    c.hosts[1].uplink_down = true;
    plan(&c);
    assert_non_null(strstr(c.text, "r1:a2>a3/4 "));
    assert_non_null(strstr(c.text, "n1"));
    assert_null(strstr(c.text, "s1"));
    /* With nobody to take them they stay. */
    for (size_t i = 0; i < 9; i++)
        c.hosts[i].uplink_down = true;
    assert_string_equal(plan(&c), "");
    c.hosts[1].silent_now = 0;
    assert_string_equal(plan(&c), "a2-0 ");
}

static void a_fenced_host_that_took_its_lease_keeps_its_servers(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].epoch = c.hosts[1].lease_epoch = 2;
    assert_string_equal(plan(&c), "a2=up/2 ");
    c.hosts[1].verdict = LIVE_SUSPECT;
    assert_string_equal(plan(&c), "a2=lost/2 ");
}

static void a_lease_that_stays_away(void **state)
{
    struct cloud c;

    make_cloud(&c);
    c.hosts[4].lease_present = false;
    assert_string_equal(plan(&c), "b2=suspect/1 ");
    c.hosts[4].state = HOST_SUSPECT;
    c.hosts[4].state_ms = 2999;
    assert_string_equal(plan(&c), "");
    c.hosts[4].state_ms = 3000;
    assert_string_equal(plan(&c), "b2=lost/1 ");
    c.hosts[4].verdict = LIVE_UNKNOWN; /* cold start: more patience */
    assert_string_equal(plan(&c), "");
}

static void brake(void **state)
{
    struct cloud c;

    make_cloud(&c);
    silence(&c, 0, 2, LIVE_LOST); /* one whole cabinet: go */
    assert_string_equal(plan(&c), "a1=lost/1 a2=lost/1 a3=lost/1 api-vip=b1,c1,/2 ");
    silence(&c, 3, 4, LIVE_LOST); /* five of nine in two cabinets: hold */
    assert_string_equal(plan(&c), "a1=suspect/1 a2=suspect/1 a3=suspect/1 b1=suspect/1 "
                                  "b2=suspect/1 hold api-vip=c1,,/2 ");
    make_cloud(&c);
    silence(&c, 1, 1, LIVE_LOST); /* two scattered of nine: go */
    silence(&c, 4, 4, LIVE_LOST);
    assert_string_equal(plan(&c), "a2=lost/1 b2=lost/1 ");
}

static void modules_change_hands(void **state)
{
    struct cloud c;

    make_cloud(&c);
    c.hosts[0].state = HOST_LOST;
    c.hosts[0].verdict = LIVE_LOST;
    assert_string_equal(plan(&c), "api-vip=b1,c1,/2 ");
    c.modules[0] = (struct recovery_module){
        .id = "api-vip", .master = "b1", .standby = "c1", .backup = "", .generation = 2};
    assert_string_equal(plan(&c), "");
    c.hosts[0].state = HOST_UP;
    c.hosts[0].verdict = LIVE_ALIVE;
    assert_string_equal(plan(&c), "api-vip=b1,c1,a1/2 "); /* it comes back last, no new master */
    make_cloud(&c);
    c.hosts[0].verdict = LIVE_SUSPECT;
    c.hosts[0].state = HOST_SUSPECT;
    assert_string_equal(plan(&c), "");
}

static void order_and_capacity(void **state)
{
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "low", "a2");
    set_server(&c, "high", "a2");
    set_server(&c, "gone", "a2");
    set_server(&c, "big", "a2");
    set_server(&c, "new", NULL);
    c.servers[1].priority = 10;
    c.servers[2].power = SERVER_DELETED;
    c.servers[3].ram_mb = 99999;
    c.servers[3].priority = 5;
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].lease_present = false;
    assert_string_equal(plan(&c), "gone!forget high:a2>b2/2 big!fault low:a2>c2/2 new:>b3/2 ");
    c.servers[3].faulted = true;
    assert_string_equal(plan(&c), "gone!forget high:a2>b2/2 low:a2>c2/2 new:>b3/2 ");
    /* Its host comes back before there is room elsewhere. */
    c.hosts[1].lease_present = true;
    c.hosts[1].state = HOST_UP;
    assert_string_equal(plan(&c), "big!over new:>b2/2 ");
}

static void dhcp_goes_to_two_cabinets(void **state)
{
    struct cloud c;

    make_cloud(&c);
    c.networks[0] = (struct recovery_network){.id = "n1", .dhcp_wanted = true};
    c.in.network_count = 1;
    c.in.options.dhcp_hosts = 2;
    assert_string_equal(plan(&c), "n1=dhcp:a2,b2 ");
    c.networks[0].dhcp_hosts[0] = "a2";
    c.networks[0].dhcp_hosts[1] = "b2";
    assert_string_equal(plan(&c), "");
    c.hosts[1].state = HOST_LOST;
    c.hosts[1].verdict = LIVE_LOST;
    assert_string_equal(plan(&c), "n1=dhcp:b2,a3 ");
}

static void the_order_of_rows_does_not_matter(void **state)
{
    struct cloud c, turned;
    char first[4000];

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    set_server(&c, "s2", "a2");
    c.hosts[1].state = HOST_FENCED;
    c.hosts[1].lease_present = false;
    snprintf(first, sizeof(first), "%s", plan(&c));
    make_cloud(&turned);
    for (size_t i = 0; i < 9; i++)
        turned.hosts[i] = c.hosts[8 - i];
    set_server(&turned, "s2", "a2");
    set_server(&turned, "s1", "a2");
    assert_string_equal(plan(&turned), first);
    assert_int_equal(recovery_plan(&c.in, c.actions, 1), 1);
}

static void placement_table(void **state)
{
    struct placement_host hosts[] = {
        {.id = "a", .cabinet = "x", .compute = true, .up = true, .vcpus = 2, .ram_mb = 2000},
        {.id = "b", .cabinet = "y", .compute = true, .up = true, .vcpus = 2, .ram_mb = 3000},
        {.id = "c", .cabinet = "z", .compute = true, .up = false, .vcpus = 9, .ram_mb = 9000},
        {.id = "d", .cabinet = "y", .compute = false, .up = true, .vcpus = 9, .ram_mb = 9000},
    };
    const struct {
        struct placement_request request;
        int want;
    } rows[] = {
        {{.vcpus = 1, .ram_mb = 500}, 1},
        {{.vcpus = 1, .ram_mb = 500, .zone = "x"}, 0},
        {{.vcpus = 1, .ram_mb = 500, .host = "a"}, 0},
        {{.vcpus = 1, .ram_mb = 500, .avoid_host = "b"}, 0},
        {{.vcpus = 1, .ram_mb = 500, .avoid_cabinet = "y"}, 0},
        {{.vcpus = 1, .ram_mb = 500, .zone = "z"}, -ENOSPC},
        {{.vcpus = 1, .ram_mb = 5000}, -ENOSPC},
        {{.vcpus = 3, .ram_mb = 500}, -ENOSPC},
    };
    struct placement_options options = {0};
    char why[PLACEMENT_WHY_SIZE];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(placement_choose(hosts, 4, &options, &rows[i].request, why), rows[i].want);
    assert_string_equal(why, "No valid host was found. There are 4 hosts: 1 without the role "
                             "compute, 1 not up, 2 without enough vcpus");
    placement_take(&hosts[1], &(struct placement_request){.ram_mb = 1500});
    assert_int_equal(placement_choose(hosts, 4, &options, &rows[0].request, why), 0);
    hosts[0].disabled = true;
    assert_int_equal(placement_choose(hosts, 4, &options, &rows[0].request, why), 1);
    options.host_reserved_mb = 1400;
    assert_int_equal(placement_choose(hosts, 4, &options, &rows[0].request, why), -ENOSPC);
}

static void survivability(void **state)
{
    struct survive_loss losses[12];
    struct cloud c;

    make_cloud(&c);
    set_server(&c, "s1", "a2");
    assert_int_equal(survive_check(&c.in, losses, 12), 12);
    for (size_t i = 0; i < 12; i++)
        assert_string_equal(losses[i].why, "");
    assert_true(losses[0].cabinet);
    assert_string_equal(losses[0].name, "a");
    assert_int_equal(losses[0].servers, 1);
    c.hosts[3].state = HOST_FENCED; /* a controller is down already */
    c.servers[0].ram_mb = 4096;
    set_server(&c, "s2", "b2");
    for (size_t i = 4; i < 9; i++)
        c.hosts[i].ram_mb = 2048;
    survive_check(&c.in, losses, 12);
    assert_false(losses[0].quorum);
    assert_true(losses[1].quorum);
    assert_int_equal(losses[0].servers_stranded, 1);
    assert_false(losses[0].capacity);
    assert_string_equal(losses[4].name, "a2");
    assert_true(losses[4].capacity); /* a3 is big enough */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(a_drained_host_is_left),
        cmocka_unit_test(a_server_on_its_way_is_not_forgotten),
        cmocka_unit_test(without_room_a_server_stays),
        cmocka_unit_test(a_drained_host_may_die),
        cmocka_unit_test(a_host_dies_step_by_step),
        cmocka_unit_test(a_lease_that_ended_early_fences_nobody),
        cmocka_unit_test(a_host_without_a_row_is_waited_for),
        cmocka_unit_test(routers_and_dhcp_do_not_wait_for_a_host_without_a_row),
        cmocka_unit_test(a_fenced_host_that_took_its_lease_keeps_its_servers),
        cmocka_unit_test(a_lease_that_stays_away),
        cmocka_unit_test(brake),
        cmocka_unit_test(modules_change_hands),
        cmocka_unit_test(order_and_capacity),
        cmocka_unit_test(dhcp_goes_to_two_cabinets),
        cmocka_unit_test(the_order_of_rows_does_not_matter),
        cmocka_unit_test(routers_and_dhcp_leave_a_host_whose_uplink_is_down),
        cmocka_unit_test(placement_table),
        cmocka_unit_test(survivability),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
