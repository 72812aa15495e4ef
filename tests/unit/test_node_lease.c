/* What a restarted daemon does with the lease of the one before, and what it waits for. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "node/node.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct node node;
static struct store *silent; /* never answers */
static int64_t taken;
static uv_timer_t timer;

static void on_end(uv_timer_t *ended)
{
    uv_stop(ended->loop);
}

static void spin(uint64_t ms)
{
    uv_update_time(node.loop);
    uv_timer_start(&timer, on_end, ms, 0);
    uv_run(node.loop, UV_RUN_DEFAULT);
}

/* A disk that others use, too, syncs when it likes. */
static void until(bool (*holds)(void))
{
    for (int i = 0; i < 2000 && !holds(); i++)
        spin(10);
    assert_true(holds());
}

static void on_taken(void *arg, int rc, int64_t lease)
{
    assert_int_equal(rc, 0);
    taken = lease;
    uv_stop(node.loop);
}

static int set_up(void **state)
{
    struct err err;
    char path[100];

    memset(&node, 0, sizeof(node));
    snprintf(dir, sizeof(dir), "/tmp/vling-t-lease.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    node.loop = uv_default_loop();
    snprintf(node.config.run_dir, sizeof(node.config.run_dir), "%s", dir);
    snprintf(node.config.host, sizeof(node.config.host), "h1");
    snprintf(path, sizeof(path), "%s/store.sqlite", dir);
    node.store = store_open_sqlite(node.loop, path, &err);
    /* A mirror that never gets any row, as that of a daemon that has just begun. */
    silent = store_open_etcd(
        node.loop,
        &(struct store_etcd_options){.endpoints = (const char *const[]){"http://127.0.0.1:1", NULL},
                                     .writer = "h1"},
        &err);
    node.mirror = silent ? mirror_open(silent, &err) : NULL;
    node.guard = guard_start(dir, "/proc/self/exe", &err);
    return node.store && node.mirror && node.guard ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    lease_keeper_stop(node.lease);
    spin(100);
    guard_release(node.guard);
    guard_close(node.guard);
    mirror_close(node.mirror);
    store_close(silent);
    store_close(node.store);
    spin(50);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

/* As the daemon before has left it. */
static void take_and_remember(int64_t epoch)
{
    json_t *row = json_pack("{s:s, s:I}", "id", "host/h1", "epoch", (json_int_t)epoch);
    char path[100], text[64];
    int n;

    store_lease_take(node.store, "host/h1", row, 4000, 1500, on_taken, NULL);
    json_decref(row);
    uv_run(node.loop, UV_RUN_DEFAULT);
    n = snprintf(text, sizeof(text), "%lld %lld\n", (long long)taken, (long long)epoch);
    snprintf(path, sizeof(path), "%s/lease", dir);
    assert_int_equal(file_write_atomic(path, text, (size_t)n, 0600), 0);
}

static struct guard_status guard_now(void)
{
    struct guard_status status;

    assert_int_equal(guard_status(node.guard, &status), 0);
    return status;
}

static int64_t seen;

static bool is_extended(void)
{
    return guard_now().deadline_ms > seen;
}

static bool is_held(void)
{
    return lease_keeper_held(node.lease);
}

static void the_old_lease_is_renewed_before_any_row_is_there(void **state)
{
    int64_t began;

    take_and_remember(5);
    assert_false(mirror_ready(node.mirror));
    began = clock_now_ms();
    node.lease = lease_keeper_start(&node);
    seen = 0;
    until(is_extended);
    assert_int_equal(guard_now().epoch, 5);
    seen = guard_now().deadline_ms;
    assert_true(seen >= began + 3500);
    /* And again and again, but nothing may begin: what else happened is not known. */
    until(is_extended);
    assert_false(lease_keeper_held(node.lease));
}

/* Somebody may have taken over: the epoch of the file says nothing any more. */
static void an_ended_lease_extends_nothing(void **state)
{
    char path[100];

    snprintf(path, sizeof(path), "%s/lease", dir);
    assert_int_equal(file_write_atomic(path, "12345 5\n", 8, 0600), 0);
    node.lease = lease_keeper_start(&node);
    spin(800);
    assert_int_equal(guard_now().deadline_ms, 0);
    assert_false(lease_keeper_held(node.lease));
}

static void on_lease_dropped(void *arg, int rc, int64_t lease)
{
    assert_int_equal(rc, 0);
    uv_stop(node.loop);
}

/* The clock of this machine, which stood still with it, still has seconds to go. */
static void guests_stop_when_the_store_has_no_lease(void **state)
{
    int64_t dropped;

    take_and_remember(5);
    node.lease = lease_keeper_start(&node);
    spin(300);
    assert_true(guard_now().deadline_ms > clock_now_ms() + 3000);
    assert_int_equal(guard_now().phase, GUARD_WATCHING);
    store_lease_drop(node.store, taken, 1500, on_lease_dropped, NULL);
    uv_run(node.loop, UV_RUN_DEFAULT);
    dropped = clock_now_ms();
    while (guard_now().phase != GUARD_STOPPED && clock_now_ms() < dropped + 2000)
        spin(50);
    assert_int_equal(guard_now().phase, GUARD_STOPPED);
    assert_true(guard_now().deadline_ms <= clock_now_ms());
    assert_int_equal(guard_now().epoch, 5);
}

static void nothing_is_renewed_while_no_guard_looks(void **state)
{
    pid_t pid = guard_now().pid;

    take_and_remember(5);
    kill(pid, SIGSTOP);
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
    node.lease = lease_keeper_start(&node);
    spin(800);
    assert_int_equal(guard_now().deadline_ms, 0);
    kill(pid, SIGCONT);
    seen = 0;
    until(is_extended);
}

static void on_written(void *arg, int rc, int64_t revision)
{
    assert_int_equal(rc, 0);
    uv_stop(node.loop);
}

static void put_host(int64_t epoch)
{
    struct store_txn *txn = store_txn_new();
    json_t *host = json_pack("{s:s, s:I}", "id", "h1", "epoch", (json_int_t)epoch);

    store_txn_put(txn, "host", "h1", host);
    store_commit(node.store, txn, 1500, on_written, NULL);
    json_decref(host);
    uv_run(node.loop, UV_RUN_DEFAULT);
}

/* The file is written when the epoch was read after the lease was taken, not before. */
static void a_new_lease_is_remembered_with_its_epoch(void **state)
{
    char path[100], *text = NULL;
    struct mirror *unready = node.mirror;
    struct err err;
    long long lease, epoch;

    snprintf(path, sizeof(path), "%s/lease", dir);
    node.lease = lease_keeper_start(&node);
    spin(300);
    assert_int_equal(guard_now().deadline_ms, 0);
    assert_int_not_equal(access(path, F_OK), 0);
    node.mirror = mirror_open(node.store, &err);
    assert_non_null(node.mirror);
    put_host(7);
    until(is_held);
    spin(300);
    mirror_close(unready);
    assert_true(guard_now().deadline_ms > clock_now_ms());
    assert_int_equal(file_read(path, 200, &text, NULL), 0);
    assert_int_equal(sscanf(text, "%lld %lld", &lease, &epoch), 2);
    assert_int_equal(epoch, 7);
    free(text);
}

static int64_t remembered(void)
{
    char path[100], *text = NULL;
    long long lease = 0;

    snprintf(path, sizeof(path), "%s/lease", dir);
    assert_int_equal(file_read(path, 200, &text, NULL), 0);
    assert_int_equal(sscanf(text, "%lld", &lease), 1);
    free(text);
    return lease;
}

static bool lease_is_there(void)
{
    json_t *row = mirror_get(node.mirror, "lease", "host/h1", NULL);

    json_decref(row);
    return row;
}

static bool has_row(void)
{
    json_t *row = mirror_get(node.mirror, "host", "h1", NULL);

    json_decref(row);
    return row;
}

static int64_t first_epoch(void)
{
    json_t *row;
    int64_t epoch;

    bootstrap_host_row(&node);
    until(has_row);
    row = mirror_get(node.mirror, "host", "h1", NULL);
    epoch = json_int(row, "epoch", 0);
    json_decref(row);
    return epoch;
}

/* Who finds neither a row nor a lease of this host takes its servers away. */
static void the_row_comes_before_the_lease(void **state)
{
    int64_t began = clock_wall_ms() / 1000, epoch;
    struct mirror *unready = node.mirror;
    struct err err;

    node.mirror = mirror_open(node.store, &err);
    node.lease = lease_keeper_start(&node);
    spin(800);
    assert_true(mirror_ready(node.mirror));
    assert_false(lease_is_there());
    epoch = first_epoch();
    assert_true(epoch >= began && epoch <= clock_wall_ms() / 1000);
    until(is_held);
    assert_int_equal(guard_now().epoch, epoch);
    mirror_close(unready);
}

/* An older backup was restored beside this host, whose guests run on: its row is new. */
static void an_epoch_of_before_does_not_come_back(void **state)
{
    int64_t before = clock_wall_ms() / 1000 + 1000000; /* the clock was put back */
    struct mirror *unready = node.mirror;
    struct err err;

    guard_update(node.guard, clock_now_ms() + 60000, before);
    node.mirror = mirror_open(node.store, &err);
    node.lease = lease_keeper_start(&node);
    spin(300);
    assert_int_equal(first_epoch(), before + 1);
    until(is_held);
    assert_int_equal(guard_now().epoch, before + 1);
    mirror_close(unready);
}

static void on_lease_written(void *arg, int rc, int64_t lease)
{
    *(int *)arg = rc;
    uv_stop(node.loop);
}

/* The store was replaced under a daemon that runs. */
static void without_its_row_no_lease_is_taken_again(void **state)
{
    struct store_txn *txn = store_txn_new();
    struct mirror *unready = node.mirror;
    struct err err;
    int rc = 1;

    node.mirror = mirror_open(node.store, &err);
    put_host(7);
    node.lease = lease_keeper_start(&node);
    until(is_held);
    store_txn_delete(txn, "host", "h1");
    store_commit(node.store, txn, 1500, on_written, NULL);
    uv_run(node.loop, UV_RUN_DEFAULT);
    store_lease_drop(node.store, remembered(), 1500, on_lease_written, &rc);
    uv_run(node.loop, UV_RUN_DEFAULT);
    assert_int_equal(rc, 0);
    spin(1500);
    assert_false(lease_is_there());
    assert_false(is_held());
    assert_true(guard_now().deadline_ms <= clock_now_ms());
    mirror_close(unready);
}

/* ---- a guest of an old epoch ---- */

static struct guest_info guest = {.id = "g", .generation = 1, .power = GUEST_RUNNING};
static bool mortal;

static size_t list_guest(struct compute_driver *driver, struct guest_info *ret, size_t max)
{
    if (max > 0)
        ret[0] = guest;
    return 1;
}

static void stop_guest(struct compute_driver *driver, const char *id, int grace_ms,
                       drv_done_cb *done, void *arg)
{
    if (mortal)
        guest.power = GUEST_STOPPED;
    done(arg, 0, NULL);
}

static void destroy_guest(struct compute_driver *driver, const char *id, drv_done_cb *done,
                          void *arg)
{
    if (mortal)
        guest.power = GUEST_ABSENT;
    done(arg, 0, NULL);
}

/* This host was fenced, and what ran here cannot be killed: its disk does not answer. */
static void who_cannot_clean_up_holds_no_lease(void **state)
{
    static const struct compute_ops ops = {
        .list = list_guest, .stop = stop_guest, .destroy = destroy_guest};
    struct mirror *unready = node.mirror;
    struct err err;
    int64_t end;

    node.mirror = mirror_open(node.store, &err);
    node.compute_ops = &ops;
    node.compute = (struct compute_driver *)&node;
    put_host(1);
    node.lease = lease_keeper_start(&node);
    until(is_held);
    put_host(2);
    store_lease_drop(node.store, remembered(), 1500, on_lease_dropped, NULL);
    uv_run(node.loop, UV_RUN_DEFAULT);
    /* It takes a new lease, of the new epoch, and gives it back. */
    for (end = clock_now_ms() + 3000; !lease_is_there() && clock_now_ms() < end;)
        spin(20);
    assert_true(lease_is_there());
    assert_false(lease_keeper_held(node.lease));
    for (end = clock_now_ms() + 8000; lease_is_there() && clock_now_ms() < end;)
        spin(50);
    assert_false(lease_is_there());
    spin(2000);
    assert_false(lease_is_there());
    mortal = true;
    for (end = clock_now_ms() + 3000; !lease_keeper_held(node.lease) && clock_now_ms() < end;)
        spin(50);
    assert_true(lease_keeper_held(node.lease));
    /* One that no other host had room for is to run here again; of a stopped one the agent would
     * take it that its user shut it down. */
    assert_int_equal(guest.power, GUEST_ABSENT);
    mirror_close(unready);
}

/* A daemon began anew and its host has another epoch: a backup was restored, or it was fenced. */
static void guests_of_an_epoch_before_the_start_are_destroyed(void **state)
{
    static const struct compute_ops ops = {
        .list = list_guest, .stop = stop_guest, .destroy = destroy_guest};
    struct mirror *unready = node.mirror;
    struct err err;

    guard_update(node.guard, clock_now_ms() + 60000, 5);
    guest.power = GUEST_RUNNING;
    mortal = true;
    node.mirror = mirror_open(node.store, &err);
    node.compute_ops = &ops;
    node.compute = (struct compute_driver *)&node;
    put_host(5);
    node.lease = lease_keeper_start(&node);
    until(is_held);
    assert_int_equal(guest.power, GUEST_RUNNING);
    lease_keeper_stop(node.lease);
    store_lease_drop(node.store, remembered(), 1500, on_lease_dropped, NULL);
    uv_run(node.loop, UV_RUN_DEFAULT);
    put_host(9);
    node.lease = lease_keeper_start(&node);
    until(is_held);
    assert_int_equal(guest.power, GUEST_ABSENT);
    assert_int_equal(guard_now().epoch, 9);
    mirror_close(unready);
}

/* Guard and daemon were killed at the same time, and the next daemon cannot begin: there is no
 * certificate. Guests of before may run here. */
static void there_is_a_guard_whatever_else_fails(void **state)
{
    char path[100], text[700];
    pid_t old = guard_now().pid, daemon;
    int n, status;

    kill(old, SIGKILL);
    n = snprintf(text, sizeof(text),
                 "{\"host\":\"h1\",\"cabinet\":\"c1\",\"roles\":[\"compute\"],"
                 "\"mgmt\":{\"dev\":\"lo\",\"ip\":\"127.0.0.1\"},\"tenant\":{\"dev\":\"lo\",\"ip\":"
                 "\"127.0.0.1\"},\"run_dir\":\"%s\","
                 "\"state_dir\":\"%s/state\",\"controllers\":[{\"host\":\"h2\","
                 "\"cabinet\":\"c2\",\"ip\":\"127.0.0.2\"}]}",
                 dir, dir);
    snprintf(path, sizeof(path), "%s/vlingd.json", dir);
    assert_int_equal(file_write_atomic(path, text, (size_t)n, 0600), 0);
    daemon = fork();
    if (daemon == 0) {
        execl("/proc/self/exe", "vlingd", "--daemon", path, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(daemon, &status, 0), daemon);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(guard_running(node.guard));
    assert_int_not_equal(guard_now().pid, old);
}

/* ---- the API's address, which goes with the lease ---- */

#define VIP "10.10.0.100/24"

static void on_committed(void *arg, int rc, int64_t revision)
{
    assert_int_equal(rc, 0);
    uv_stop(node.loop);
}

static const char *master;

static bool is_told(void)
{
    json_t *row = mirror_get(node.mirror, "module", "api-vip", NULL);
    bool is = strcmp(json_str(row, "master", ""), master) == 0;

    json_decref(row);
    return is;
}

static void set_master(const char *host)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_pack("{s:s, s:s}", "id", "api-vip", "master", host);

    store_txn_put(txn, "module", "api-vip", row);
    store_commit(node.store, txn, 1500, on_committed, NULL);
    json_decref(row);
    uv_run(node.loop, UV_RUN_DEFAULT);
    master = host;
    until(is_told);
}

static bool is_here(void)
{
    return node.network_ops->address_here(node.network, "mgmt0", VIP);
}

static void the_address_follows_the_kernel(void **state)
{
    struct mirror *unready = node.mirror;
    struct err err;

    node.controller = true;
    snprintf(node.config.api_vip, sizeof(node.config.api_vip), VIP);
    snprintf(node.config.api_dev, sizeof(node.config.api_dev), "mgmt0");
    node.network_ops = &network_fake;
    node.network = network_fake.open(node.loop, NULL, NULL, NULL, &err);
    node.mirror = mirror_open(node.store, &err);
    /* A daemon that was killed left it here; meanwhile another one holds it. */
    assert_int_equal(node.network_ops->address_add(node.network, "mgmt0", VIP, &err), 0);
    set_master("h2");
    put_host(1);
    node.lease = lease_keeper_start(&node);
    until(is_held);
    spin(100);
    assert_false(is_here());
    set_master("h1");
    vip_check(&node);
    assert_true(is_here());
    /* The guard took it away just before the lease was renewed after all. */
    node.network_ops->address_remove(node.network, "mgmt0", VIP);
    vip_check(&node);
    assert_true(is_here());
    set_master("h2");
    vip_check(&node);
    assert_false(is_here());
    mirror_close(unready);
    node.network_ops->close(node.network);
}

int main(int argc, char **argv)
{
    static const struct node_hooks none;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_old_lease_is_renewed_before_any_row_is_there, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_ended_lease_extends_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guests_stop_when_the_store_has_no_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_renewed_while_no_guard_looks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_lease_is_remembered_with_its_epoch, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_row_comes_before_the_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_epoch_of_before_does_not_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_its_row_no_lease_is_taken_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_cannot_clean_up_holds_no_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guests_of_an_epoch_before_the_start_are_destroyed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(there_is_a_guard_whatever_else_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_address_follows_the_kernel, set_up, tear_down),
    };

    if (argc == 3 && strcmp(argv[1], "--guard") == 0)
        return guard_main(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--daemon") == 0)
        return node_run(argv[2], &none);
    uv_timer_init(uv_default_loop(), &timer);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
