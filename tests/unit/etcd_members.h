/* Three supervised members on addresses of their own, for the tests of what happens to them. */
#ifndef VLING_TESTS_ETCD_MEMBERS_H
#define VLING_TESTS_ETCD_MEMBERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "loopback.h"
#include "store/etcd_server.h"
#include "store/store.h"

#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMBERS 3
#define PATIENCE_MS 90000

static char dir[] = "/tmp/vling-test-members-XXXXXX";
static uv_loop_t loop;
static char ips[MEMBERS][LOOPBACK_SIZE];
static int care_ms; /* of members that are started from now on; and who is told */
static void (*tell)(void *arg, const char *severity, const char *text);

static const struct etcd_server_peer peers[MEMBERS] = {
    {"m0", ips[0]}, {"m1", ips[1]}, {"m2", ips[2]}};
static struct member {
    char data[64], pid[64], log[64], url[64];
    struct etcd_server *server;
} members[MEMBERS];

static inline void start(int i, int count)
{
    struct member *m = &members[i];
    struct etcd_server_options options = {.name = peers[i].name,
                                          .data_dir = m->data,
                                          .listen_ip = peers[i].ip,
                                          .own_ip_only = true,
                                          .peers = peers,
                                          .peer_count = count,
                                          .pid_file = m->pid,
                                          .log_file = m->log,
                                          .care_ms = care_ms,
                                          .tell = tell};
    struct err err;

    m->server = etcd_server_start(&loop, &options, &err);
    assert_non_null(m->server);
}

static inline int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < MEMBERS; i++) {
        loopback_ip((unsigned)i, ips[i]);
        snprintf(members[i].data, sizeof(members[i].data), "%s/d%d", dir, i);
        snprintf(members[i].pid, sizeof(members[i].pid), "%s/p%d", dir, i);
        snprintf(members[i].log, sizeof(members[i].log), "%s/l%d", dir, i);
        snprintf(members[i].url, sizeof(members[i].url), "http://%s:2379", ips[i]);
    }
    return uv_loop_init(&loop);
}

static inline int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static inline void wipe(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int teardown(void **state)
{
    for (int i = 0; i < MEMBERS; i++) {
        int pid = members[i].server ? etcd_server_pid(members[i].server) : 0;

        etcd_server_stop(members[i].server, false);
        if (pid > 0)
            kill(pid, SIGKILL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    wipe(dir);
    return 0;
}

static inline void run_for(int ms)
{
    int64_t end = clock_now_ms() + ms;

    while (clock_now_ms() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

struct result {
    int rc;
    int64_t revision;
};

static inline void on_result(void *arg, int rc, int64_t revision)
{
    *(struct result *)arg = (struct result){rc, revision};
}

/* One try against one member only. */
static inline struct result ask(int i, bool write)
{
    const char *endpoints[] = {members[i].url, NULL};
    struct store_etcd_options options = {.endpoints = endpoints, .writer = "t"};
    struct store *store = store_open_etcd(&loop, &options, NULL);
    struct result result = {1, 0};
    struct store_txn *txn;
    json_t *row = json_pack("{s:s}", "id", "x");

    if (write) {
        txn = store_txn_new();
        store_txn_put(txn, "setting", "x", row);
        store_commit(store, txn, 5000, on_result, &result);
    } else {
        store_barrier(store, 5000, on_result, &result);
    }
    for (int k = 0; k < 100 && result.rc == 1; k++)
        run_for(100);
    store_close(store);
    run_for(20);
    json_decref(row);
    return result;
}

static inline int64_t until_it_answers(int i, bool write)
{
    int64_t end = clock_now_ms() + PATIENCE_MS;
    struct result result;

    do {
        result = ask(i, write);
        if (result.rc < 0)
            run_for(500);
    } while (result.rc != 0 && clock_now_ms() < end);
    assert_int_equal(result.rc, 0);
    return result.revision;
}

static inline bool took_part(int i)
{
    char path[80];

    snprintf(path, sizeof(path), "%s.joined", members[i].data);
    return access(path, F_OK) == 0;
}

static inline void until_all_took_part(void)
{
    int64_t end = clock_now_ms() + PATIENCE_MS;

    while (clock_now_ms() < end && !(took_part(0) && took_part(1) && took_part(2)))
        run_for(200);
    for (int i = 0; i < MEMBERS; i++)
        assert_true(took_part(i));
}

static inline void kill_member(int i)
{
    int pid = etcd_server_pid(members[i].server);

    assert_true(pid > 0);
    kill(pid, SIGKILL);
}

/* The process and who watches over it. */
static inline void power_off(int i)
{
    int pid = members[i].server ? etcd_server_pid(members[i].server) : 0;

    etcd_server_stop(members[i].server, false);
    members[i].server = NULL;
    if (pid > 0)
        kill(pid, SIGKILL);
    run_for(300);
}

static inline void wipe_in(int i, const char *folder)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", members[i].data, folder);
    wipe(path);
}

/* How many "<data>.<as>-<time>" there are. */
static inline int put_aside(int i, const char *as)
{
    char pattern[128];
    glob_t found = {0};
    int count;

    snprintf(pattern, sizeof(pattern), "%s.%s-*", members[i].data, as);
    count = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static inline void found_all(void)
{
    for (int i = 0; i < MEMBERS; i++)
        start(i, MEMBERS);
    until_it_answers(0, true);
    until_all_took_part();
    for (int i = 0; i < MEMBERS; i++)
        until_it_answers(i, false);
}

#endif
