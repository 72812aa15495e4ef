/* The headers of an upload wait for rows that are as new as those of every other read. The test
 * stands between the services and their store: it sees each barrier, writes rows that "another
 * controller" has just written, or answers for a store that cannot be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include "cloud.h"
#include "store/engine.h"

#define RAW "{\"disk_format\": \"raw\", \"container_format\": \"bare\"}"

/* ---- storage: counts what it gets ---- */

static int begun, aborted;
static size_t stored;

static void *bytes_begin(void *arg, const char *id, struct err *err)
{
    begun++;
    stored = 0;
    return &stored;
}

static int bytes_write(void *upload, const void *bytes, size_t size)
{
    stored += size;
    return 0;
}

static int bytes_commit(void *upload, struct err *err)
{
    return 0;
}

static void bytes_abort(void *upload)
{
    aborted++;
}

/* ---- between services and store; on the services' thread ---- */

static const struct store_engine *real;
static json_t *late_rows; /* {"table": row}: there at the next barrier, and not before */
static bool away;         /* the store cannot be reached: barriers run out of time */
static bool stuck;        /* the next barrier is answered when the store is closed */
static struct {
    uv_timer_t timer;
    store_barrier_cb *cb;
    void *arg;
} pending;
static int barriers;

static void on_away(uv_timer_t *timer)
{
    pending.cb(pending.arg, -ETIMEDOUT, 0);
}

static void on_late(void *arg, int rc, int64_t revision)
{
    real->barrier(arg, 10000, pending.cb, pending.arg);
}

/* One at a time. */
static void engine_barrier(struct store *store, int timeout_ms, store_barrier_cb *cb, void *arg)
{
    struct store_txn *txn;
    const char *table;
    json_t *row;

    barriers++;
    pending.cb = cb;
    pending.arg = arg;
    if (away) {
        uv_timer_start(&pending.timer, on_away, 20, 0);
    } else if (late_rows) {
        txn = store_txn_new();
        json_object_foreach(late_rows, table, row)
            store_txn_put(txn, table, json_str(row, "id", ""), row);
        json_decref(late_rows);
        late_rows = NULL;
        store_commit(store, txn, timeout_ms, on_late, store);
    } else if (!stuck) {
        real->barrier(store, timeout_ms, cb, arg);
    }
}

static void engine_close(struct store *store)
{
    if (stuck)
        pending.cb(pending.arg, -ECANCELED, 0);
    uv_close((uv_handle_t *)&pending.timer, NULL);
    real->close(store);
}

static void run_intercept(void)
{
    static struct store_engine engine;

    real = cloud.store->engine;
    engine = *real;
    engine.barrier = engine_barrier;
    engine.close = engine_close;
    cloud.store->engine = &engine;
    uv_timer_init(&cloud.loop, &pending.timer);
    job_done(0);
}

static void run_go_away(void)
{
    away = true;
    job_done(0);
}

static void run_come_back(void)
{
    away = false;
    job_done(0);
}

static void run_get_stuck(void)
{
    stuck = true;
    job_done(0);
}

static json_t *rows_to_come;

static void run_late(void)
{
    late_rows = rows_to_come;
    job_done(0);
}

static void run_ask(void)
{
    job_done(barriers);
}

/* Takes the row away until somebody asks for a barrier. */
static void make_late(const char *table, const char *id)
{
    json_t *row = row_of(table, id);

    assert_non_null(row);
    json_object_del(row, "_rev");
    wipe(table, fmt("WHERE id = '%s'", id));
    rows_to_come = json_pack("{s:o}", table, row);
    assert_int_equal(on_loop(run_late), 0);
}

/* ---- requests ---- */

static void make_image(char id[64])
{
    ask_service(API_IMAGE, &alice, "POST", "/v2/images", RAW, 201);
    keep("id", id);
}

static void upload(const char *id, const char *body, long want)
{
    struct curl_slist *headers = curl_slist_append(NULL, fmt("X-Auth-Token: %s", alice.token));
    CURL *curl = curl_easy_init();

    headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    perform_by(curl, headers, &answer, API_IMAGE, "PUT", fmt("/v2/images/%s/file", id), body);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    if (answer.status != want)
        fail_msg("%ld instead of %ld: %s", answer.status, want, answer.text ? answer.text : "");
}

/* The headers of an upload of that size, and no body. */
static int send_head(const char *id, const char *size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)cloud.ports[API_IMAGE]),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *head = fmt("PUT /v2/images/%s/file HTTP/1.1\r\nHost: h\r\nX-Auth-Token: %s\r\n"
                           "Content-Type: application/octet-stream\r\nContent-Length: %s\r\n\r\n",
                           id, alice.token, size);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, head, strlen(head), 0), strlen(head));
    return fd;
}

static void expect_status(const char *id, const char *status)
{
    ask_service(API_IMAGE, &alice, "GET", fmt("/v2/images/%s", id), NULL, 200);
    assert_string_equal(text("status"), status);
}

/* ---- the tests ---- */

static void test_the_image_was_just_made_elsewhere(void **state)
{
    char id[64];

    make_image(id);
    make_late("image", id);
    upload(id, "0123456789", 204);
    assert_int_equal(stored, 10);
    expect_status(id, "active");
}

static void test_the_user_was_just_made_elsewhere(void **state)
{
    char id[64];

    make_image(id);
    make_late("user", alice.user);
    upload(id, "0123456789", 204);
    expect_status(id, "active");
}

static void test_the_image_was_just_deleted_elsewhere(void **state)
{
    char id[64];
    int before = begun;

    make_image(id);
    rows_to_come = json_pack("{s:o}", "image", row_of("image", id));
    json_object_del(json_object_get(rows_to_come, "image"), "_rev");
    json_put_str(json_object_get(rows_to_come, "image"), "status", "deleted");
    assert_int_equal(on_loop(run_late), 0);
    upload(id, "0123456789", 409);
    assert_int_equal(begun, before);
}

static void test_the_store_cannot_be_reached(void **state)
{
    char id[64], bytes[2000] = "";
    int before = begun, fd;
    size_t used = 0;
    ssize_t got;

    make_image(id);
    assert_int_equal(on_loop(run_go_away), 0);
    upload(id, "0123456789", 503);
    assert_non_null(strstr(answer.text, "cannot be reached"));
    /* A body that would take a while is not waited for. */
    fd = send_head(id, "99999999999");
    while ((got = recv(fd, bytes + used, sizeof(bytes) - 1 - used, 0)) > 0)
        used += (size_t)got;
    close(fd);
    assert_non_null(strstr(bytes, " 503 "));
    assert_non_null(strstr(bytes, "cannot be reached"));
    assert_int_equal(begun, before);
    assert_int_equal(on_loop(run_come_back), 0);
    expect_status(id, "queued");
    upload(id, "0123456789", 204);
}

/* Waits until so many barriers were asked for since there were `before`. */
static void wait_for_barriers(int before, int count)
{
    for (int i = 0; i < 6000 && on_loop(run_ask) < before + count; i++)
        usleep(10000);
    assert_int_equal(on_loop(run_ask), before + count);
}

static void wait_for_count(const int *counted, int want)
{
    for (int i = 0; i < 6000 && __atomic_load_n(counted, __ATOMIC_RELAXED) < want; i++)
        usleep(10000);
}

/* The body is cut: what was begun is given up. And a client that is gone before the answer of the
 * store leaves nothing. */
static void test_clients_that_go_away(void **state)
{
    char id[64];
    int before = aborted, begun_before = begun, barriers_before;

    make_image(id);
    barriers_before = on_loop(run_ask);
    for (int i = 0; i < 2; i++) {
        int fd = send_head(id, "10");

        if (i == 0)
            wait_for_count(&begun, begun_before + 1);
        close(fd);
    }
    wait_for_barriers(barriers_before, 2);
    wait_for_count(&aborted, before + 1);
    usleep(100000);
    assert_in_range(aborted, before + 1, before + 2);
    expect_status(id, "queued");
    upload(id, "0123456789", 204);
}

/* Last: leaves an upload that waits for the store, which answers while it is closed. */
static void test_stop_while_an_upload_waits(void **state)
{
    char id[64];
    int before, fd;

    make_image(id);
    before = on_loop(run_ask);
    assert_int_equal(on_loop(run_get_stuck), 0);
    fd = send_head(id, "10");
    wait_for_barriers(before, 1);
    close(fd);
}

static int start(void **state)
{
    cloud.images = (struct api_images){
        .begin = bytes_begin, .write = bytes_write, .commit = bytes_commit, .abort = bytes_abort};
    return cloud_start(state) || on_loop(run_intercept);
}

static int setup(void **state)
{
    return on_loop(run_come_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_image_was_just_made_elsewhere, setup),
        cmocka_unit_test_setup(test_the_user_was_just_made_elsewhere, setup),
        cmocka_unit_test_setup(test_the_image_was_just_deleted_elsewhere, setup),
        cmocka_unit_test_setup(test_the_store_cannot_be_reached, setup),
        cmocka_unit_test_setup(test_clients_that_go_away, setup),
        cmocka_unit_test_setup(test_stop_while_an_upload_waits, setup),
    };

    return cmocka_run_group_tests(tests, start, cloud_stop);
}
