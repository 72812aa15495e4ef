/* Writes and linearizable reads through store.h, beside the same sent straight to the same etcd:
 * three members on this machine, one client process. The two sides take turns in short rounds, so
 * that a noisy machine is noisy for both; the medians of the rounds are printed, and their ratio.
 *
 *   bench_store [ROUNDS] [SECONDS]
 *
 * The peer is etcd as a client would ask it that does without mirror, shared barriers and knowing
 * for sure what became of a write whose answer was lost: once through its HTTP/JSON gateway with
 * kept connections and once by gRPC on one connection, both through the same libcurl, without
 * reading the answers. All write the same rows, about 200 bytes with one precondition, which the
 * mirror follows, and ask the same member.
 *
 * Reads are made in two ways: by a barrier each time, which those that wait share, and as the API
 * makes them, under a read lease between three controllers (leased.h). */
#include "../unit/certificates.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "io/http_client.h"
#include "leased.h"
#include "store/etcd_server.h"
#include "store/mirror.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS 3
#define ROUNDS_MAX 25
#define CLIENTS 64
#define LATENCIES_MAX 2000000 /* that are kept: the first ones */
#define ROW_PADDING 160
#define START_MS 60000
#define FAILURES_MAX 1000
#define CLIENT_PORT 23790
#define PEER_PORT 23800

static char dir[] = "/tmp/vling-bench-store-XXXXXX";
static uv_loop_t loop;
static struct etcd_server *servers[MEMBERS];
static struct store *store;
static struct mirror *mirror;
static struct http_client *http, *http2;
static const char *const urls[] = {"https://127.0.0.11:23790", "https://127.0.0.12:23790",
                                   "https://127.0.0.13:23790", NULL};

static struct certificates tls;

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* ---- the cluster ---- */

static void die(const char *what)
{
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static void start_members(void)
{
    static const struct etcd_server_peer peers[MEMBERS] = {
        {"m0", "127.0.0.11"}, {"m1", "127.0.0.12"}, {"m2", "127.0.0.13"}};
    char data[64], pid[64], log[64];
    struct err err;

    for (int i = 0; i < MEMBERS; i++) {
        struct etcd_server_options options = {.name = peers[i].name,
                                              .data_dir = data,
                                              .listen_ip = peers[i].ip,
                                              .own_ip_only = true,
                                              .client_port = CLIENT_PORT,
                                              .peer_port = PEER_PORT,
                                              .peers = peers,
                                              .peer_count = MEMBERS,
                                              .ca_file = tls.ca,
                                              .cert_file = tls.cert,
                                              .key_file = tls.key,
                                              .pid_file = pid,
                                              .log_file = log};

        snprintf(data, sizeof(data), "%s/d%d", dir, i);
        snprintf(pid, sizeof(pid), "%s/p%d", dir, i);
        snprintf(log, sizeof(log), "%s/l%d", dir, i);
        servers[i] = etcd_server_start(&loop, &options, &err);
        if (!servers[i])
            die(err.why);
    }
}

static void open_client(void)
{
    struct store_etcd_options options = {.endpoints = urls,
                                         .ca_file = tls.ca,
                                         .cert_file = tls.cert,
                                         .key_file = tls.key,
                                         .writer = "bench"};
    struct http_client_options by_tls = {
        .ca_file = tls.ca, .cert_file = tls.cert, .key_file = tls.key};
    int64_t end = clock_now_ms() + START_MS;
    struct err err;

    store = store_open_etcd(&loop, &options, &err);
    mirror = store ? mirror_open(store, &err) : NULL;
    http = http_client_new(&loop, &by_tls, &err);
    by_tls.http2 = true;
    http2 = http_client_new(&loop, &by_tls, &err);
    if (!mirror || !http || !http2)
        die(err.why);
    while (!mirror_ready(mirror) && clock_now_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    if (!mirror_ready(mirror))
        die("the three members of etcd do not answer");
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void stop_all(void)
{
    for (int i = 0; i < MEMBERS; i++) {
        int pid = servers[i] ? etcd_server_pid(servers[i]) : 0;

        if (pid > 0)
            kill(pid, SIGKILL);
    }
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- one phase: `width` clients that ask again as soon as they are answered ---- */

struct phase {
    void (*ask)(struct phase *phase, int client);
    int in_flight;
    bool over;
    size_t done, failed;
    int error; /* the last */
    int64_t began[CLIENTS];
    int64_t *latencies; /* microseconds */
};

struct question {
    struct phase *phase;
    int client;
};
static struct question questions[CLIENTS];
static unsigned counter;

static void answered(struct question *q, int rc)
{
    struct phase *phase = q->phase;

    phase->in_flight--;
    if (rc < 0) {
        phase->error = rc;
        if (++phase->failed > FAILURES_MAX)
            die("nearly everything fails");
    } else {
        if (phase->done < LATENCIES_MAX)
            phase->latencies[phase->done] = now_us() - phase->began[q->client];
        phase->done++;
    }
    if (phase->over)
        return;
    phase->began[q->client] = now_us();
    phase->in_flight++;
    phase->ask(phase, q->client);
}

static json_t *make_row(const char *id)
{
    char padding[ROW_PADDING + 1];

    memset(padding, 'x', ROW_PADDING);
    padding[ROW_PADDING] = '\0';
    return json_pack("{s:s, s:s}", "id", id, "value", padding);
}

static void on_committed(void *arg, int rc, int64_t revision)
{
    answered(arg, rc);
}

static void write_through_store(struct phase *phase, int client)
{
    struct store_txn *txn = store_txn_new();
    char id[32];
    json_t *row;

    snprintf(id, sizeof(id), "row%u", counter++ % 1000);
    row = make_row(id);
    store_txn_expect(txn, "setting", "none", 0);
    store_txn_put(txn, "setting", id, row);
    json_decref(row);
    store_commit(store, txn, 5000, on_committed, &questions[client]);
}

static void on_http(void *arg, const struct http_answer *answer)
{
    answered(arg, answer->rc < 0 ? answer->rc : answer->status == 200 ? 0 : -EIO);
}

static void put_base64(struct buf *b, const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = bytes;

    for (size_t i = 0; i < size; i += 3) {
        unsigned three = (unsigned)at[i] << 16 | (i + 1 < size ? (unsigned)at[i + 1] << 8 : 0) |
                         (i + 2 < size ? at[i + 2] : 0);

        buf_printf(b, "%c%c%c%c", digits[three >> 18], digits[three >> 12 & 63],
                   i + 1 < size ? digits[three >> 6 & 63] : '=',
                   i + 2 < size ? digits[three & 63] : '=');
    }
}

static void ask_etcd(struct question *q, const char *path, struct buf *body, bool grpc)
{
    static const char *const headers[] = {"TE: trailers", NULL};
    char url[160], endpoint[100] = "";
    struct store_status status;

    /* The member that the store uses: whether it leads makes a difference. */
    store_get_status(store, &status);
    sscanf(status.detail, "endpoint %99[^, ]", endpoint);
    snprintf(url, sizeof(url), "%s%s", endpoint, path);
    http_call(grpc ? http2 : http,
              &(struct http_call_options){.method = "POST",
                                          .url = url,
                                          .content_type = grpc ? "application/grpc" : NULL,
                                          .headers = grpc ? headers : NULL,
                                          .body = buf_text(body),
                                          .body_size = body->len,
                                          .timeout_ms = 5000,
                                          .done = on_http,
                                          .arg = q});
    buf_free(body);
}

/* What is written, the same through all three. */
static char *next_row(char *key, size_t size)
{
    char id[32], *text;
    json_t *row;

    snprintf(id, sizeof(id), "row%u", counter++ % 1000);
    snprintf(key, size, "/vling/row/setting/%s", id);
    row = make_row(id);
    text = json_dumps(row, JSON_COMPACT);
    json_decref(row);
    return text;
}

static const char absent[] = "/vling/row/setting/none", known[] = "/vling/row/setting/row7";

static void write_gateway(struct phase *phase, int client)
{
    char key[64], *text = next_row(key, sizeof(key));
    struct buf body;

    buf_init(&body, 4096);
    buf_str(&body, "{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"0\",\"key\":\"");
    put_base64(&body, absent, sizeof(absent) - 1);
    buf_str(&body, "\"}],\"success\":[{\"request_put\":{\"key\":\"");
    put_base64(&body, key, strlen(key));
    buf_str(&body, "\",\"value\":\"");
    put_base64(&body, text, strlen(text));
    buf_str(&body, "\"}}]}");
    ask_etcd(&questions[client], "/v3/kv/txn", &body, false);
    free(text);
}

/* A field of bytes in protobuf, shorter than 16 KiB. */
static void put_field(struct buf *b, int number, const void *bytes, size_t size)
{
    const unsigned char head[] = {(unsigned char)(number << 3 | 2),
                                  (unsigned char)(size & 0x7f) | 0x80, (unsigned char)(size >> 7)};

    buf_add(b, head, sizeof(head));
    buf_add(b, bytes, size);
}

static void ask_grpc(int client, const char *method, struct buf *message)
{
    const unsigned char head[] = {0, 0, 0, (unsigned char)(message->len >> 8),
                                  (unsigned char)message->len};
    struct buf body;

    buf_init(&body, 4096);
    buf_add(&body, head, sizeof(head));
    buf_add(&body, message->data, message->len);
    buf_free(message);
    ask_etcd(&questions[client], method, &body, true);
}

/* rpc.proto: Compare is result 1, target 2, key 3, mod_revision 6; TxnRequest is compare 1, success
 * 2; RequestOp's put is 2; PutRequest is key 1, value 2; RangeRequest's key is 1. */
static void write_grpc(struct phase *phase, int client)
{
    static const unsigned char target_mod[] = {2 << 3, 2}, revision_0[] = {6 << 3, 0};
    char key[64], *text = next_row(key, sizeof(key));
    struct buf compare, put, op, message;

    buf_init(&compare, 4096);
    buf_init(&put, 4096);
    buf_init(&op, 4096);
    buf_init(&message, 4096);
    buf_add(&compare, target_mod, sizeof(target_mod));
    put_field(&compare, 3, absent, sizeof(absent) - 1);
    buf_add(&compare, revision_0, sizeof(revision_0));
    put_field(&put, 1, key, strlen(key));
    put_field(&put, 2, text, strlen(text));
    put_field(&op, 2, put.data, put.len);
    put_field(&message, 1, compare.data, compare.len);
    put_field(&message, 2, op.data, op.len);
    buf_free(&compare);
    buf_free(&put);
    buf_free(&op);
    free(text);
    ask_grpc(client, "/etcdserverpb.KV/Txn", &message);
}

static void read_gateway(struct phase *phase, int client)
{
    struct buf body;

    buf_init(&body, 4096);
    buf_str(&body, "{\"key\":\"");
    put_base64(&body, known, sizeof(known) - 1);
    buf_str(&body, "\"}");
    ask_etcd(&questions[client], "/v3/kv/range", &body, false);
}

static void read_grpc(struct phase *phase, int client)
{
    struct buf message;

    buf_init(&message, 4096);
    put_field(&message, 1, known, sizeof(known) - 1);
    ask_grpc(client, "/etcdserverpb.KV/Range", &message);
}

static void take_row(struct question *question, int rc, json_t *row)
{
    if (rc == 0 && !row)
        rc = -ENOENT;
    json_decref(row);
    answered(question, rc);
}

static void on_read(void *arg, int rc)
{
    take_row(arg, rc, mirror_get_shared(mirror, "setting", "row7"));
}

static void read_barrier(struct phase *phase, int client)
{
    mirror_barrier(mirror, 5000, on_read, &questions[client]);
}

/* As who changes the row needs it: read from SQLite and taken apart each time. */
static void on_read_own(void *arg, int rc)
{
    take_row(arg, rc, mirror_get(mirror, "setting", "row7", NULL));
}

static void read_barrier_own(struct phase *phase, int client)
{
    mirror_barrier(mirror, 5000, on_read_own, &questions[client]);
}

static void on_leased(void *arg, int rc)
{
    answered(arg, rc);
}

static void read_leased(struct phase *phase, int client)
{
    leased_read("setting", "row7", on_leased, &questions[client]);
}

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left == right ? 0 : left < right ? -1 : 1;
}

struct figures {
    double rate, median_ms, p99_ms;
};

static struct figures measure(void (*ask)(struct phase *phase, int client), int width, int ms)
{
    static int64_t latencies[LATENCIES_MAX];
    struct phase phase = {.ask = ask, .latencies = latencies};
    int64_t began = now_us(), took;
    struct figures ret = {0};
    size_t kept;

    for (int i = 0; i < width; i++) {
        questions[i] = (struct question){&phase, i};
        phase.began[i] = now_us();
        phase.in_flight++;
        ask(&phase, i);
    }
    while (now_us() - began < ms * 1000LL)
        uv_run(&loop, UV_RUN_ONCE);
    took = now_us() - began;
    ret.rate = (double)phase.done * 1e6 / (double)took;
    phase.over = true;
    while (phase.in_flight > 0)
        uv_run(&loop, UV_RUN_ONCE);
    if (phase.failed > 0)
        fprintf(stderr, "%zu of %zu failed: %s\n", phase.failed, phase.failed + phase.done,
                strerror(-phase.error));
    if (phase.done == 0)
        die("nothing was answered");
    kept = phase.done < LATENCIES_MAX ? phase.done : LATENCIES_MAX;
    qsort(latencies, kept, sizeof(*latencies), by_size);
    ret.median_ms = (double)latencies[kept / 2] / 1000;
    ret.p99_ms = (double)latencies[kept * 99 / 100] / 1000;
    return ret;
}

/* ---- rounds ---- */

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left == right ? 0 : left < right ? -1 : 1;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), by_value);
    return values[count / 2];
}

/* The ways to write and to read, each with many and with one under way. */
enum { STORE, GATEWAY, GRPC, WAYS };

static const struct work {
    const char *name;
    int width;
    bool leased; /* with two more controllers that follow */
    void (*ask[WAYS])(struct phase *phase, int client);
} works[] = {
    {"writes, 64 in flight", CLIENTS, false, {write_through_store, write_gateway, write_grpc}},
    {"writes, one in flight", 1, false, {write_through_store, write_gateway, write_grpc}},
    {"reads by barrier, 64 clients", CLIENTS, false, {read_barrier, read_gateway, read_grpc}},
    {"  each a copy of its own", CLIENTS, false, {read_barrier_own, read_gateway, read_grpc}},
    {"reads by barrier, one client", 1, false, {read_barrier, read_gateway, read_grpc}},
    {"reads under a lease, 64 clients", CLIENTS, true, {read_leased, read_gateway, read_grpc}},
    {"reads under a lease, one client", 1, true, {read_leased, read_gateway, read_grpc}},
};
#define WORKS (sizeof(works) / sizeof(works[0]))

static struct figures figures[WORKS][WAYS][ROUNDS_MAX];

static void print_line(const struct work *work, const char *unit, size_t member, int rounds)
{
    const struct figures(*all)[ROUNDS_MAX] = figures[work - works];
    double of[WAYS], values[ROUNDS_MAX];

    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < rounds; i++)
            values[i] = *(const double *)((const char *)&all[way][i] + member);
        of[way] = median(values, rounds);
    }
    printf("%s\t%s\t%.4g\t%.4g\t%.4g\t%.3g\t%.3g\n", work->name, unit, of[STORE], of[GATEWAY],
           of[GRPC], of[STORE] / of[GATEWAY], of[STORE] / of[GRPC]);
}

static void run_rounds(bool leased, int rounds, int ms)
{
    for (int i = 0; i < rounds; i++) {
        for (size_t w = 0; w < WORKS; w++)
            for (int way = 0; works[w].leased == leased && way < WAYS; way++)
                figures[w][way][i] = measure(works[w].ask[way], works[w].width, ms);
        fprintf(stderr, "%sround %d of %d\n", leased ? "leased, " : "", i + 1, rounds);
    }
}

static void open_leased(void)
{
    static const char *const addresses[] = {"127.0.0.11", "127.0.0.12", "127.0.0.13"};
    struct store_etcd_options others = {
        .endpoints = urls, .ca_file = tls.ca, .cert_file = tls.cert, .key_file = tls.key};
    struct err err;

    if (leased_open(&loop, dir, mirror, addresses, &others, &err) < 0)
        die(err.why[0] ? err.why : err.what);
}

static void print_leased(void)
{
    uint64_t at_once, asked;

    leased_counters(&at_once, &asked);
    fprintf(stderr, "under the lease: %llu reads asked nobody, %llu took a barrier\n",
            (unsigned long long)at_once, (unsigned long long)asked);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 5, ms = (argc > 2 ? atoi(argv[2]) : 2) * 1000;

    if (rounds < 1 || rounds > ROUNDS_MAX || ms < 1000 || ms > 60000)
        die("usage: bench_store [ROUNDS 1..25] [SECONDS 1..60]");
    if (!mkdtemp(dir) || uv_loop_init(&loop) < 0)
        die("cannot begin");
    atexit(stop_all);
    if (make_certificates(dir, "IP:127.0.0.11,IP:127.0.0.12,IP:127.0.0.13,IP:127.0.0.1", &tls) != 0)
        die("openssl makes no certificates");
    start_members();
    open_client();
    run_rounds(false, rounds, ms);
    open_leased();
    run_rounds(true, rounds, ms);
    print_leased();
    puts("what\tunit\tstore\tgateway\tgrpc\tstore:gateway\tstore:grpc");
    for (size_t w = 0; w < WORKS; w++) {
        print_line(&works[w], "1/s", offsetof(struct figures, rate), rounds);
        print_line(&works[w], "ms, median", offsetof(struct figures, median_ms), rounds);
        print_line(&works[w], "ms, 99 %", offsetof(struct figures, p99_ms), rounds);
    }
    return 0;
}
