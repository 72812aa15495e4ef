/* A supervised etcd member with TLS: starts, is started again, is adopted, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "certificates.h"
#include "loopback.h"
#include "store/etcd_server.h"
#include "store/store.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/vling-test-member-XXXXXX";
static struct certificates files;
static char ip[LOOPBACK_SIZE], data[64], pid_file[64], log_file[64], url[64];
static const struct etcd_server_peer self = {"m0", ip};
static struct etcd_server_options options = {.name = "m0",
                                             .data_dir = data,
                                             .listen_ip = ip,
                                             .own_ip_only = true,
                                             .peers = &self,
                                             .peer_count = 1,
                                             .ca_file = files.ca,
                                             .cert_file = files.cert,
                                             .key_file = files.key,
                                             .pid_file = pid_file,
                                             .log_file = log_file};
static uv_loop_t loop;

static int setup(void **state)
{
    char names[32];

    assert_non_null(mkdtemp(dir));
    loopback_ip(0, ip);
    snprintf(data, sizeof(data), "%s/data", dir);
    snprintf(pid_file, sizeof(pid_file), "%s/pid", dir);
    snprintf(log_file, sizeof(log_file), "%s/log", dir);
    snprintf(url, sizeof(url), "https://%s:2379", ip);
    snprintf(names, sizeof(names), "IP:%s", ip);
    assert_int_equal(make_certificates(dir, names, &files), 0);
    return uv_loop_init(&loop);
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void run_for(int ms)
{
    int64_t end = clock_now_ms() + ms;

    while (clock_now_ms() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void on_barrier(void *arg, int rc, int64_t revision)
{
    *(int *)arg = rc;
}

static int barrier_rc(bool with_cert)
{
    const char *endpoints[] = {url, NULL};
    struct store_etcd_options store_options = {.endpoints = endpoints,
                                               .ca_file = files.ca,
                                               .cert_file = with_cert ? files.cert : NULL,
                                               .key_file = with_cert ? files.key : NULL,
                                               .writer = "t"};
    struct store *store = store_open_etcd(&loop, &store_options, NULL);
    int rc = 1;

    store_barrier(store, with_cert ? 15000 : 2000, on_barrier, &rc);
    for (int i = 0; i < 200 && rc == 1; i++)
        run_for(100);
    store_close(store);
    run_for(50);
    return rc;
}

/* Until another process than `pid` runs. */
static void wait_for_next(const struct etcd_server *server, int pid)
{
    int64_t end = clock_now_ms() + 30000;
    int next;

    do {
        run_for(20);
        next = etcd_server_pid(server);
    } while ((next == 0 || next == pid) && clock_now_ms() < end);
    assert_true(next > 0 && next != pid);
}

static void member_is_kept_running(void **state)
{
    struct etcd_server *server = etcd_server_start(&loop, &options, NULL);
    int first, second;

    assert_non_null(server);
    assert_int_equal(barrier_rc(true), 0);
    assert_int_equal(barrier_rc(false), -ETIMEDOUT);
    first = etcd_server_pid(server);
    kill(first, SIGKILL);
    wait_for_next(server, first);
    assert_int_equal(barrier_rc(true), 0);
    second = etcd_server_pid(server);
    etcd_server_stop(server, false); /* as if this process restarted */
    run_for(200);
    server = etcd_server_start(&loop, &options, NULL);
    assert_int_equal(etcd_server_pid(server), second);
    kill(second, SIGKILL);
    wait_for_next(server, second);
    assert_int_equal(barrier_rc(true), 0);
    first = etcd_server_pid(server);
    etcd_server_stop(server, true);
    for (int i = 0; i < 300 && kill(first, 0) == 0; i++)
        run_for(100);
    assert_int_equal(kill(first, 0), -1);
}

struct commit {
    int rc;
    bool done;
};

static void on_commit(void *arg, int rc, int64_t revision)
{
    *(struct commit *)arg = (struct commit){rc, true};
}

static int put_big(struct store *store, int i)
{
    struct commit commit = {0};
    struct store_txn *txn = store_txn_new();
    char *text = malloc(200001), id[32];
    json_t *row;

    memset(text, 'x', 200000);
    text[200000] = '\0';
    snprintf(id, sizeof(id), "big-%d", i % 4);
    row = json_pack("{s:s, s:s}", "id", id, "value", text);
    store_txn_put(txn, "setting", id, row);
    json_decref(row);
    free(text);
    store_commit(store, txn, 5000, on_commit, &commit);
    for (int k = 0; k < 1000 && !commit.done; k++)
        run_for(10);
    assert_true(commit.done);
    return commit.rc;
}

/* The same rows are written until their history fills the quota: soon after that writes go on. */
static void a_full_store_makes_room(void **state)
{
    const char *endpoints[] = {url, NULL};
    struct store_etcd_options store_options = {.endpoints = endpoints,
                                               .ca_file = files.ca,
                                               .cert_file = files.cert,
                                               .key_file = files.key,
                                               .writer = "t"};
    struct etcd_server_options small = options;
    struct etcd_server *server;
    struct store *store;
    bool full = false;
    int rc = 0, pid;

    small.quota_bytes = 8 * 1024 * 1024;
    small.care_ms = 3000;
    server = etcd_server_start(&loop, &small, NULL);
    assert_non_null(server);
    assert_int_equal(barrier_rc(true), 0);
    store = store_open_etcd(&loop, &store_options, NULL);
    for (int i = 0; i < 200 && !full; i++)
        full = put_big(store, i) == -ENOSPC;
    assert_true(full);
    for (int i = 0; i < 60 && (rc = put_big(store, i)) < 0; i++)
        run_for(1000);
    assert_int_equal(rc, 0);
    store_close(store);
    pid = etcd_server_pid(server);
    etcd_server_stop(server, true);
    for (int i = 0; i < 100 && kill(pid, 0) == 0; i++)
        run_for(100);
}

static void end_member(struct etcd_server *server)
{
    int pid = etcd_server_pid(server);

    etcd_server_stop(server, true);
    for (int i = 0; i < 100 && pid > 0 && kill(pid, 0) == 0; i++)
        run_for(100);
}

static void wipe(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* With an empty log it would show what its file holds and lose what is written. */
static void alone_without_its_log_it_waits(void **state)
{
    static const char *const gone[] = {"member/wal", "member/snap"};
    struct etcd_server *server = etcd_server_start(&loop, &options, NULL);
    char path[128], joined[80];

    assert_int_equal(barrier_rc(true), 0);
    snprintf(joined, sizeof(joined), "%s.joined", data);
    for (int i = 0; i < 200 && access(joined, F_OK) < 0; i++)
        run_for(100);
    end_member(server);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", data, gone[i]);
        wipe(path);
        server = etcd_server_start(&loop, &options, NULL);
        run_for(1000);
        assert_int_equal(etcd_server_pid(server), 0);
        snprintf(path, sizeof(path), "%s/member", data);
        assert_int_equal(access(path, F_OK), 0);
        end_member(server);
    }
    /* The remedy: nobody knows of an earlier life then. */
    assert_int_equal(unlink(joined), 0);
    server = etcd_server_start(&loop, &options, NULL);
    assert_int_equal(barrier_rc(true), 0);
    end_member(server);
}

/* What an etcd leaves that ends before it has a log does not pile up. */
static void a_cut_beginning_leaves_nothing(void **state)
{
    struct etcd_server_options other = options;
    struct etcd_server *server;
    char script[80], folder[80], left[120];
    FILE *file;

    snprintf(script, sizeof(script), "%s/script", dir);
    snprintf(folder, sizeof(folder), "%s/other", dir);
    snprintf(left, sizeof(left), "test -z \"$(ls -A %s)\" && ! ls -d %s.* 2>/dev/null", folder,
             folder);
    file = fopen(script, "w");
    fprintf(file, "#!/bin/sh\nmkdir -p %s/member/snap && echo x >>%s/member/snap/db\n", folder,
            folder);
    fclose(file);
    chmod(script, 0700);
    other.binary = script;
    other.data_dir = folder;
    server = etcd_server_start(&loop, &other, NULL);
    run_for(2000);
    while (etcd_server_pid(server) > 0) /* not in the middle of one */
        run_for(10);
    assert_int_equal(system(left), 0);
    etcd_server_stop(server, true);
    run_for(100);
}

/* One that etcd does not start because another member holds something else is not the wrong one
 * for that: it runs, so that all can be compared. */
static void who_finds_others_different_runs_all_the_same(void **state)
{
    struct etcd_server_options other = options;
    struct etcd_server *server;
    char script[80], folder[80], runs[80], command[200];
    FILE *file;
    int pid;

    snprintf(script, sizeof(script), "%s/differs", dir);
    snprintf(folder, sizeof(folder), "%s/third", dir);
    snprintf(command, sizeof(command), "mkdir -p %s/member/wal && echo x >%s/member/wal/0.wal",
             folder, folder);
    assert_int_equal(system(command), 0);
    file = fopen(script, "w");
    snprintf(runs, sizeof(runs), "%s/runs", dir);
    fprintf(file,
            "#!/bin/sh\n"
            "case \"$*\" in *corrupt-check=true*)\n"
            "  echo 'etcdserver/corrupt.go: found data inconsistency with peers'; exit 1\n"
            "esac\n"
            ": >%s\n"
            "exec sleep 60\n",
            runs);
    fclose(file);
    chmod(script, 0700);
    other.binary = script;
    other.data_dir = folder;
    server = etcd_server_start(&loop, &other, NULL);
    for (int i = 0; i < 300 && access(runs, F_OK) < 0; i++)
        run_for(100);
    pid = etcd_server_pid(server);
    assert_true(pid > 0);
    run_for(1000);
    assert_int_equal(etcd_server_pid(server), pid);
    etcd_server_stop(server, true);
    kill(pid, SIGKILL);
    run_for(100);
    snprintf(command, sizeof(command), "test -e %s/member/wal/0.wal", folder);
    assert_int_equal(system(command), 0);
}

static void wrong_options_are_refused(void **state)
{
    struct etcd_server_options wrong = options;
    struct err err = {0};

    wrong.name = "stranger";
    assert_null(etcd_server_start(&loop, &wrong, &err));
    assert_int_equal(err.code, -EINVAL);
    wrong = options;
    wrong.key_file = NULL;
    assert_null(etcd_server_start(&loop, &wrong, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(member_is_kept_running),
        cmocka_unit_test(a_full_store_makes_room),
        cmocka_unit_test(alone_without_its_log_it_waits),
        cmocka_unit_test(a_cut_beginning_leaves_nothing),
        cmocka_unit_test(who_finds_others_different_runs_all_the_same),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
