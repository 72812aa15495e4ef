/* The HTTP client against a small server of this test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "io/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int listener, port;
static uv_loop_t loop;
static struct http_client *client;

static void say(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return;
}

/* The next request on the connection is taken, too, and left without an answer. */
static void keep_then_drop(int fd)
{
    char request[4096];

    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept");
    if (recv(fd, request, sizeof(request), 0) <= 0)
        return;
}

/* Answers by the path: /ok, /keep, /pieces, /silent, /cut. */
static void serve_one(int fd)
{
    char request[4096];
    ssize_t size = 0, more;

    while (size < (ssize_t)sizeof(request) - 1 &&
           (more = recv(fd, request + size, sizeof(request) - 1 - (size_t)size, 0)) > 0) {
        size += more;
        request[size] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    if (strstr(request, " /ok "))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    else if (strstr(request, " /keep "))
        keep_then_drop(fd);
    else if (strstr(request, " /missing "))
        say(fd, "HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    else if (strstr(request, " /cut "))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\nhello");
    else if (strstr(request, " /silent "))
        usleep(1500000);
    else if (strstr(request, " /pieces ")) {
        say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        for (int i = 0; i < 3; i++) {
            say(fd, "piece\n");
            usleep(50000);
        }
    }
    close(fd);
}

static void *serve_thread(void *arg)
{
    serve_one((int)(intptr_t)arg);
    return NULL;
}

static void *server_thread(void *arg)
{
    pthread_t thread;
    int fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        if (pthread_create(&thread, NULL, serve_thread, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    return NULL;
}

static pthread_t server;

static int setup(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    port = ntohs(address.sin_port);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(pthread_create(&server, NULL, server_thread, NULL), 0);
    uv_loop_init(&loop);
    client = http_client_new(&loop, NULL, NULL);
    return client ? 0 : -1;
}

static int teardown(void **state)
{
    http_client_free(client);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    shutdown(listener, SHUT_RDWR);
    close(listener);
    return pthread_join(server, NULL);
}

struct got {
    int done, rc;
    bool sent_none, sent_again;
    unsigned status;
    char body[64];
    int pieces;
    struct http_call *cancel;
};

static void on_done(void *arg, const struct http_answer *answer)
{
    struct got *got = arg;

    got->done++;
    got->rc = answer->rc;
    got->sent_none = answer->sent_none;
    got->sent_again = answer->sent_again;
    got->status = answer->status;
    snprintf(got->body, sizeof(got->body), "%s", answer->body);
}

static void on_piece(void *arg, const void *bytes, size_t size)
{
    struct got *got = arg;

    got->pieces++;
    if (got->cancel)
        http_call_cancel(got->cancel);
}

static struct http_call *call(const char *path, struct got *got, int timeout_ms, bool pieces,
                              size_t answer_max, int to_port)
{
    char url[128];
    struct http_call_options options = {.method = "GET",
                                        .url = url,
                                        .timeout_ms = timeout_ms,
                                        .answer_max = answer_max,
                                        .done = on_done,
                                        .arg = got};

    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", to_port, path);
    if (pieces)
        options.piece = on_piece;
    return http_call(client, &options);
}

static void run(struct got *got)
{
    for (int i = 0; i < 5000 && !got->done; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(got->done, 1);
}

static void answers_come(void **state)
{
    struct got got = {0}, missing = {0};

    call("/ok", &got, 2000, false, 0, port);
    call("/missing", &missing, 2000, false, 0, port);
    assert_int_equal(got.done, 0);
    run(&got);
    run(&missing);
    assert_int_equal(got.status, 200);
    assert_string_equal(got.body, "hello");
    assert_int_equal(missing.rc, 0);
    assert_int_equal(missing.status, 404);
}

static void failures_are_told_apart(void **state)
{
    struct got refused = {0}, silent = {0}, cut = {0}, big = {0}, wrong = {0};

    call("/ok", &refused, 2000, false, 0, 1);
    call("/silent", &silent, 200, false, 0, port);
    call("/cut", &cut, 2000, false, 0, port);
    call("/ok", &big, 2000, false, 3, port);
    call("", &wrong, 2000, false, 0, 99999);
    run(&refused);
    run(&silent);
    run(&cut);
    run(&big);
    run(&wrong);
    assert_int_equal(refused.rc, -ECONNREFUSED);
    assert_true(refused.sent_none);
    assert_int_equal(silent.rc, -ETIMEDOUT);
    assert_false(silent.sent_none);
    assert_int_equal(cut.rc, -ECONNRESET);
    assert_int_equal(big.rc, -EMSGSIZE);
    assert_int_equal(wrong.rc, -EINVAL);
}

static void a_second_copy_is_told(void **state)
{
    struct got kept = {0}, again = {0};

    call("/keep", &kept, 2000, false, 0, port);
    run(&kept);
    assert_string_equal(kept.body, "kept");
    assert_false(kept.sent_again);
    call("/ok", &again, 2000, false, 0, port);
    run(&again);
    assert_string_equal(again.body, "hello"); /* on another connection */
    assert_true(again.sent_again);
}

static void streams_come_in_pieces(void **state)
{
    struct got got = {0}, ended = {0};

    call("/pieces", &got, 0, true, 0, port);
    run(&got);
    assert_int_equal(got.rc, 0);
    assert_true(got.pieces >= 2);
    assert_string_equal(got.body, "");
    ended.cancel = call("/pieces", &ended, 0, true, 0, port);
    run(&ended);
    assert_int_equal(ended.rc, -ECANCELED);
}

static void cancel_and_free_answer_everything(void **state)
{
    struct got one = {0}, two = {0};

    http_call_cancel(call("/silent", &one, 5000, false, 0, port));
    assert_int_equal(one.done, 0);
    run(&one);
    assert_int_equal(one.rc, -ECANCELED);
    call("/silent", &two, 5000, false, 0, port);
    for (int i = 0; i < 50; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    http_client_free(client);
    assert_int_equal(two.done, 1);
    assert_int_equal(two.rc, -ECANCELED);
    client = http_client_new(&loop, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(a_second_copy_is_told),
        cmocka_unit_test(streams_come_in_pieces),
        cmocka_unit_test(cancel_and_free_answer_everything),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
