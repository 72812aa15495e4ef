/* Three members in network namespaces of their own, three clients that write and read, and somebody
 * who kills, stops and cuts off the members meanwhile. Afterwards one order must explain all that
 * everybody was told (history.h). The judge itself is tried on histories that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/json.h"
#include "certificates.h"
#include "history.h"
#include "io/http_client.h"
#include "store/etcd_server.h"
#include "store/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMBERS 3
#define CLIENTS 4    /* the first one only watches: the truth */
#define IN_FLIGHT 16 /* of each */
#define ROWS 12      /* that all write */
#define CHAOS_MS 35000
#define MORE_CHAOS_MS 120000 /* as long as too little was done */
#define SETTLE_MS 120000
#define OP_TIMEOUT_MS 3000

/* ---- the judge, judged ---- */

static struct history judged;

static struct history_op *wrote(const char *row, int64_t expect, int rc, int64_t revision)
{
    struct history_op *op = history_begin(&judged, false);

    if (expect >= 0)
        history_expect(op, row, expect);
    history_put(op, row, false);
    history_end(&judged, op, rc, revision);
    return op;
}

static void told(const struct history_op *op, int64_t revision)
{
    for (int client = 0; client < 2; client++)
        history_told(&judged, client, op->put[0].row, revision, op->value);
}

static void begin(void)
{
    memset(&judged, 0, sizeof(judged));
    for (int client = 0; client < 2; client++)
        history_reset(&judged, client, 1, 0);
}

static void expect_verdict(const char *word)
{
    const char *why = history_check(&judged, 2);

    if (word && (!why || !strstr(why, word)))
        fail_msg("expected \"%s\", got \"%s\"", word, why ? why : "all is well");
    if (!word && why)
        fail_msg("%s", why);
    history_free(&judged);
}

static void a_right_history(void **state)
{
    struct history_op *op;

    begin();
    told(wrote("a", 0, 0, 5), 5);
    told(wrote("a", 5, 0, 7), 7);
    wrote("a", 5, -EAGAIN, 0);
    told(wrote("b", 0, -EINPROGRESS, 0), 8);
    wrote("b", 0, -EINPROGRESS, 0);
    op = history_begin(&judged, true);
    history_saw(op, "a", 7, 2);
    history_end(&judged, op, 0, 7);
    told(wrote("c", 0, -EINPROGRESS, 0), 9);
    told(wrote("d", 0, 0, 9), 9);
    assert_int_equal(history_shared(&judged), 2);
    expect_verdict(NULL);
}

static void wrong_histories(void **state)
{
    struct history_op *op;

    begin();
    wrote("a", 0, 0, 5);
    expect_verdict("acknowledged at revision 5, but is at 0");
    begin();
    told(wrote("a", 0, -EAGAIN, 0), 5);
    expect_verdict("was refused");
    begin();
    op = wrote("a", -1, -EINPROGRESS, 0);
    told(op, 5);
    told(op, 6);
    expect_verdict("twice");
    begin();
    told(wrote("a", -1, -EINPROGRESS, 0), 5);
    op = history_begin(&judged, false);
    history_expect(op, "a", 0);
    history_put(op, "b", false);
    history_end(&judged, op, 0, 5);
    told(op, 5);
    expect_verdict("a was written by another one");
    begin();
    told(wrote("a", -1, 0, 5), 5);
    for (int client = 0; client < 2; client++)
        history_told(&judged, client, "b", 5, 0);
    expect_verdict("2 changes at revision 5 instead of 1");
    begin();
    told(wrote("a", 0, 0, 5), 5);
    told(wrote("a", 0, 0, 6), 6);
    expect_verdict("expected a at 0, it was at 5");
    begin();
    told(wrote("a", -1, 0, 9), 9);
    told(wrote("b", -1, 0, 8), 8);
    expect_verdict("goes back");
    begin();
    op = wrote("a", -1, 0, 9);
    told(wrote("b", -1, 0, 8), 8);
    told(op, 9);
    expect_verdict("began after 9");
    begin();
    told(wrote("a", -1, 0, 5), 5);
    op = history_begin(&judged, true);
    history_end(&judged, op, 0, 4);
    expect_verdict("a read at revision 4");
    begin();
    told(wrote("a", -1, 0, 5), 5);
    op = history_begin(&judged, true);
    history_end(&judged, op, 0, 5);
    expect_verdict("0 rows instead of 1");
    begin();
    op = wrote("a", -1, 0, 5);
    history_told(&judged, 0, "a", 5, op->value);
    expect_verdict("was told 1 of 2");
    begin();
    op = wrote("a", -1, 0, 5);
    told(op, 5);
    history_told(&judged, 1, "a", 5, op->value);
    expect_verdict("out of order");
}

/* ---- members, each in a network namespace of its own ---- */

static char dir[] = "/tmp/vling-test-history-XXXXXX";
static uv_loop_t loop;
static struct member {
    int netns;
    char name[8], ip[24], url[64], binary[64], data[64], pid[64], log[64];
    struct etcd_server *server;
} members[MEMBERS];
static struct etcd_server_peer peers[MEMBERS];
static struct certificates tls;

static void run(const char *format, ...)
{
    char command[512];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(command, sizeof(command), format, ap);
    va_end(ap);
    assert_true(n < (int)sizeof(command));
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* A child makes the namespace and its end of the cable, and stays until we hold the namespace. */
static void in_child(int i, int ready, int hold)
{
    char command[256], byte = unshare(CLONE_NEWNET) == 0 ? 1 : 0;

    snprintf(command, sizeof(command),
             "ip link add e0 type veth peer name p%d netns %d && ip link set lo up && "
             "ip addr add 10.77.0.%d/24 dev e0 && ip link set e0 up",
             i, (int)getppid(), i + 1);
    if (byte && system(command) != 0)
        byte = 0;
    if (write(ready, &byte, 1) == 1)
        while (read(hold, &byte, 1) < 0 && errno == EINTR)
            continue;
    _exit(0);
}

static int make_netns(int i)
{
    int ready[2], hold[2], fd;
    char path[64], byte = 0;
    pid_t child;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(hold[1]);
        in_child(i, ready[1], hold[0]);
    }
    close(ready[1]);
    close(hold[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)child);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(ready[0]);
    close(hold[1]);
    waitpid(child, NULL, 0);
    return fd;
}

/* What the supervisor starts: etcd in its namespace; it dies with us, however we die. */
static void write_binary(const struct member *m)
{
    FILE *file = fopen(m->binary, "w");

    assert_non_null(file);
    fprintf(file,
            "#!/bin/sh\nexec nsenter --net=/proc/%d/fd/%d setpriv --pdeathsig KILL etcd \"$@\"\n",
            (int)getpid(), m->netns);
    fclose(file);
    assert_int_equal(chmod(m->binary, 0700), 0);
}

static void start_member(int i)
{
    struct member *m = &members[i];
    struct etcd_server_options options = {.binary = m->binary,
                                          .name = m->name,
                                          .data_dir = m->data,
                                          .listen_ip = m->ip,
                                          .own_ip_only = true,
                                          .peers = peers,
                                          .peer_count = MEMBERS,
                                          .ca_file = tls.ca,
                                          .cert_file = tls.cert,
                                          .key_file = tls.key,
                                          .pid_file = m->pid,
                                          .log_file = m->log};
    struct err err;

    m->server = etcd_server_start(&loop, &options, &err);
    assert_non_null(m->server);
}

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    assert_int_equal(
        make_certificates(dir, "IP:10.77.0.1,IP:10.77.0.2,IP:10.77.0.3,IP:127.0.0.1", &tls), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    run("ip link set lo up && ip link add br0 type bridge && ip link set br0 up && "
        "ip addr add 10.77.0.254/24 dev br0");
    for (int i = 0; i < MEMBERS; i++) {
        struct member *m = &members[i];

        snprintf(m->name, sizeof(m->name), "m%d", i);
        snprintf(m->ip, sizeof(m->ip), "10.77.0.%d", i + 1);
        snprintf(m->url, sizeof(m->url), "https://10.77.0.%d:2379", i + 1);
        snprintf(m->binary, sizeof(m->binary), "%s/b%d", dir, i);
        snprintf(m->data, sizeof(m->data), "%s/d%d", dir, i);
        snprintf(m->pid, sizeof(m->pid), "%s/p%d", dir, i);
        snprintf(m->log, sizeof(m->log), "%s/l%d", dir, i);
        peers[i] = (struct etcd_server_peer){m->name, m->ip};
        m->netns = make_netns(i);
        run("ip link set p%d master br0 up", i);
        write_binary(m);
    }
    for (int i = 0; i < MEMBERS; i++)
        start_member(i);
    return 0;
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    for (int i = 0; i < MEMBERS; i++) {
        int pid = members[i].server ? etcd_server_pid(members[i].server) : 0;

        etcd_server_stop(members[i].server, false);
        if (pid > 0)
            kill(pid, SIGKILL);
        close(members[i].netns);
    }
    /* After a failure clients may be open still: the loop would not end by itself. */
    for (int i = 0; i < 300 && uv_run(&loop, UV_RUN_NOWAIT); i++)
        usleep(10000);
    uv_loop_close(&loop);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* ---- clients ---- */

static struct history history;
static struct client {
    int index;
    struct store *store;
    struct mirror *mirror;
    int in_flight;
} clients[CLIENTS];
static unsigned seed;
static bool over; /* nothing new is begun */
static size_t acknowledged, refused, unknown, reads;

static unsigned dice(unsigned sides)
{
    return (unsigned)rand_r(&seed) / 7 % sides;
}

struct operation {
    struct client *client;
    struct history_op *op;
};

static struct operation *begin_operation(struct client *client, bool read)
{
    struct operation *o = calloc(1, sizeof(*o));

    assert_non_null(o);
    o->client = client;
    o->op = history_begin(&history, read);
    client->in_flight++;
    return o;
}

static void end_operation(struct operation *o, int rc, int64_t revision)
{
    history_end(&history, o->op, rc, revision);
    o->client->in_flight--;
    free(o);
}

static void on_committed(void *arg, int rc, int64_t revision)
{
    acknowledged += rc == 0;
    unknown += rc == -EINPROGRESS;
    refused += rc < 0 && rc != -EINPROGRESS;
    end_operation(arg, rc, revision);
}

/* The truth counts a revision as soon as it is told; the mirror's rows carry theirs. */
static void on_read(void *arg, int rc)
{
    struct operation *o = arg;
    json_t *rows = mirror_select(o->client->mirror, "setting", "ORDER BY id", ""), *row;
    size_t i;

    json_array_foreach(rows, i, row) history_saw(
        o->op, json_str(row, "id", ""), json_int(row, "_rev", 0), json_int(row, "value", 0));
    json_decref(rows);
    reads += rc == 0;
    end_operation(o, rc, mirror_revision(o->client->mirror));
}

static void put(struct operation *o, struct store_txn *txn, const char *row, bool deleted)
{
    json_t *body = json_pack("{s:s, s:I}", "id", row, "value", (json_int_t)o->op->value);

    history_put(o->op, row, deleted);
    if (deleted)
        store_txn_delete(txn, "setting", row);
    else
        store_txn_put(txn, "setting", row, body);
    json_decref(body);
}

static int64_t expect(struct operation *o, struct store_txn *txn, const char *row)
{
    int64_t revision;

    json_decref(mirror_get(o->client->mirror, "setting", row, &revision));
    history_expect(o->op, row, revision);
    store_txn_expect(txn, "setting", row, revision);
    return revision;
}

/* A deletion carries a put, which tells whose it is. */
static void write_something(struct client *client)
{
    struct operation *o = begin_operation(client, false);
    struct store_txn *txn = store_txn_new();
    unsigned kind = dice(10), first = dice(ROWS), second = (first + 1 + dice(ROWS - 1)) % ROWS;
    char a[HISTORY_ROW], b[HISTORY_ROW];

    snprintf(a, sizeof(a), "r%u", first);
    snprintf(b, sizeof(b), "r%u", second);
    if (kind < 5) {
        expect(o, txn, a);
        put(o, txn, a, false);
    } else if (kind < 7) {
        put(o, txn, a, false);
        put(o, txn, b, false);
    } else if (kind < 9) {
        expect(o, txn, a);
        if (expect(o, txn, b) > 0)
            put(o, txn, b, true);
        put(o, txn, a, false);
    } else {
        snprintf(a, sizeof(a), "new%u", dice(60));
        history_expect(o->op, a, 0);
        store_txn_expect(txn, "setting", a, 0);
        put(o, txn, a, false);
    }
    store_commit(client->store, txn, OP_TIMEOUT_MS, on_committed, o);
}

static void work(void)
{
    for (int i = 1; i < CLIENTS && !over; i++) {
        struct client *client = &clients[i];

        while (mirror_ready(client->mirror) && client->in_flight < IN_FLIGHT) {
            if (dice(5) == 0)
                mirror_barrier(client->mirror, OP_TIMEOUT_MS, on_read,
                               begin_operation(client, true));
            else
                write_something(client);
        }
    }
}

static void on_changes(void *arg, const struct store_change *changes, size_t n)
{
    struct client *client = arg;
    json_t *rows, *row;
    size_t i;

    for (i = 0; changes && i < n; i++) {
        if (strcmp(changes[i].table, "setting") == 0)
            history_told(&history, client->index, changes[i].id, changes[i].revision,
                         changes[i].row ? json_int(changes[i].row, "value", 0) : 0);
    }
    if (changes || n > 0)
        return;
    rows = mirror_select(client->mirror, "setting", "ORDER BY rev", "");
    history_reset(&history, client->index, mirror_revision(client->mirror), json_array_size(rows));
    json_array_foreach(rows, i, row)
        history_told(&history, client->index, json_str(row, "id", ""), json_int(row, "_rev", 0),
                     json_int(row, "value", 0));
    json_decref(rows);
}

/* Each has another member in the first place, as three controllers have. */
static void open_clients(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        char writer[16];
        const char *endpoints[] = {members[i % MEMBERS].url, members[(i + 1) % MEMBERS].url,
                                   members[(i + 2) % MEMBERS].url, NULL};
        struct store_etcd_options options = {.endpoints = endpoints,
                                             .ca_file = tls.ca,
                                             .cert_file = tls.cert,
                                             .key_file = tls.key,
                                             .writer = writer};
        struct err err;

        snprintf(writer, sizeof(writer), "c%d", i);
        c->index = i;
        c->store = store_open_etcd(&loop, &options, &err);
        assert_non_null(c->store);
        c->mirror = mirror_open(c->store, &err);
        assert_non_null(c->mirror);
        mirror_listen(c->mirror, on_changes, c);
    }
}

static void close_clients(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        mirror_close(clients[i].mirror);
        store_close(clients[i].store);
    }
}

/* ---- the one who breaks things ---- */

static void spin(int ms)
{
    int64_t end = clock_now_ms() + ms;

    while (clock_now_ms() < end) {
        work();
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(500);
    }
}

static void signal_member(int i, int number)
{
    int pid = etcd_server_pid(members[i].server);

    if (pid > 0)
        kill(pid, number);
}

static void cut_pair(int i, int j, const char *verb)
{
    run("nsenter --net=/proc/%d/fd/%d ip route %s blackhole %s/32", (int)getpid(), members[i].netns,
        verb, members[j].ip);
}

static unsigned compactions_asked, compactions;

static void on_compacted(void *arg, const struct http_answer *answer)
{
    if (answer->rc == 0 && answer->status == 200)
        compactions++;
}

/* Up to where the truth has come, so that it never has to begin anew; others may have to. */
static void compact(struct http_client *http)
{
    char url[128], body[64];

    compactions_asked++;
    snprintf(body, sizeof(body), "{\"revision\": \"%lld\"}",
             (long long)mirror_revision(clients[0].mirror));
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(url, sizeof(url), "%s/v3/kv/compaction", members[i].url);
        http_call(http, &(struct http_call_options){.method = "POST",
                                                    .url = url,
                                                    .body = body,
                                                    .body_size = strlen(body),
                                                    .timeout_ms = 1000,
                                                    .done = on_compacted});
    }
}

static void break_something(struct http_client *http)
{
    int i = (int)dice(MEMBERS), j = (i + 1 + (int)dice(MEMBERS - 1)) % MEMBERS;

    switch (dice(7)) {
    case 0:
        signal_member(i, SIGKILL);
        break;
    case 1:
        signal_member(i, SIGKILL);
        signal_member(j, SIGKILL);
        break;
    case 2:
        for (int k = 0; k < MEMBERS; k++)
            signal_member(k, SIGKILL);
        break;
    case 3:
        signal_member(i, SIGSTOP);
        spin(2500);
        signal_member(i, SIGCONT);
        break;
    case 4:
        run("ip link set p%d down", i);
        spin(1000);
        compact(http);
        spin(2500);
        run("ip link set p%d up", i);
        break;
    case 5:
        cut_pair(i, j, "add");
        spin(3000);
        cut_pair(i, j, "del");
        break;
    default:
        compact(http);
        break;
    }
}

/* ---- the test ---- */

static bool all_ended(void)
{
    for (int i = 1; i < CLIENTS; i++) {
        if (clients[i].in_flight > 0)
            return false;
    }
    return true;
}

struct barrier {
    int rc;
    bool done;
};

static void on_barrier(void *arg, int rc)
{
    *(struct barrier *)arg = (struct barrier){rc, true};
}

/* What everybody knows at the end, for whoever has to find out why it is not all. */
static void print_state(void)
{
    struct store_status status;
    char command[128];

    for (int i = 0; i < CLIENTS; i++) {
        store_get_status(clients[i].store, &status);
        print_message("client %d: revision %lld, the mirror's %lld, %d under way, %s\n", i,
                      (long long)status.revision, (long long)mirror_revision(clients[i].mirror),
                      clients[i].in_flight, status.detail);
    }
    for (int i = 0; i < MEMBERS; i++) {
        print_message("the end of the log of %s:\n", members[i].name);
        snprintf(command, sizeof(command), "tail -n 8 %s | cut -c1-300", members[i].log);
        if (system(command) != 0)
            print_message("cannot be read\n");
    }
}

/* Until everybody has been told everything: a barrier answered to each, one after the other. */
static void settle(void)
{
    int64_t end = clock_now_ms() + SETTLE_MS;

    over = true;
    while (!all_ended() && clock_now_ms() < end)
        spin(20);
    if (!all_ended())
        print_state();
    assert_true(all_ended());
    spin(2 * OP_TIMEOUT_MS); /* what is unknown may still take effect */
    for (int i = 0; i < CLIENTS; i++) {
        struct barrier barrier = {.rc = -EAGAIN};

        while (barrier.rc < 0 && clock_now_ms() < end) {
            barrier.done = false;
            mirror_barrier(clients[i].mirror, 5000, on_barrier, &barrier);
            while (!barrier.done)
                spin(5);
        }
        if (barrier.rc != 0)
            print_state();
        assert_int_equal(barrier.rc, 0);
    }
}

/* On a busy machine hardly anything is done between two faults. */
static bool is_enough(void)
{
    return acknowledged > 200 && reads > 50;
}

static void one_order_explains_everything(void **state)
{
    int64_t end = clock_now_ms() + SETTLE_MS;
    struct http_client *http;
    const char *why;
    struct err err;

    seed = (unsigned)time(NULL) ^ (unsigned)getpid();
    print_message("seed %u\n", seed);
    http = http_client_new(&loop,
                           &(struct http_client_options){
                               .ca_file = tls.ca, .cert_file = tls.cert, .key_file = tls.key},
                           &err);
    open_clients();
    while (!mirror_ready(clients[0].mirror) && clock_now_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(mirror_ready(clients[0].mirror));
    end = clock_now_ms() + CHAOS_MS;
    while (clock_now_ms() < end || (!is_enough() && clock_now_ms() < end + MORE_CHAOS_MS)) {
        spin(700 + (int)dice(1500));
        break_something(http);
    }
    settle();
    print_message("%zu acknowledged, %zu refused, %zu unknown, %zu reads, %zu changes\n",
                  acknowledged, refused, unknown, reads, history.streams[0].count);
    assert_true(acknowledged > 50);
    print_message("%zu transactions shared a revision\n", history_shared(&history));
    assert_true(history_shared(&history) > 10);
    assert_true(reads > 10);
    print_message("compacted %u times of %u\n", compactions, MEMBERS * compactions_asked);
    assert_true(compactions > 0 || compactions_asked < 6);
    why = history_check(&history, CLIENTS);
    if (why)
        fail_msg("%s", why);
    http_client_free(http);
    close_clients();
    history_free(&history);
}

int main(void)
{
    const struct CMUnitTest judge[] = {
        cmocka_unit_test(a_right_history),
        cmocka_unit_test(wrong_histories),
    };
    const struct CMUnitTest chaos[] = {
        cmocka_unit_test(one_order_explains_everything),
    };
    int failed = cmocka_run_group_tests(judge, NULL, NULL);

    return failed + cmocka_run_group_tests(chaos, setup, teardown);
}
