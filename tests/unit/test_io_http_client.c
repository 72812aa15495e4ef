/* The HTTP client against a small server of this test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "io/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVER "127.0.0.2" /* at 127.0.0.1 nobody listens at the same port */
#define PATIENCE_MS 30000

static int listener, port;
static int heard; /* pieces, by the client */
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

/* Until the client has heard so many pieces, or hung up. */
static void wait_for_client(int fd, int pieces)
{
    char byte;

    while (__atomic_load_n(&heard, __ATOMIC_RELAXED) < pieces &&
           recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
        usleep(1000);
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
        wait_for_client(fd, INT_MAX);
    else if (strstr(request, " /pieces ")) {
        say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        for (int i = 0; i < 3; i++) {
            say(fd, "piece\n");
            wait_for_client(fd, i + 1);
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
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(SERVER)};
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
    __atomic_add_fetch(&heard, 1, __ATOMIC_RELAXED);
}

static struct http_call *call_at(const char *host, const char *path, struct got *got,
                                 int timeout_ms, bool pieces, size_t answer_max, int to_port)
{
    char url[128];
    struct http_call_options options = {.method = "GET",
                                        .url = url,
                                        .timeout_ms = timeout_ms,
                                        .answer_max = answer_max,
                                        .done = on_done,
                                        .arg = got};

    snprintf(url, sizeof(url), "http://%s:%d%s", host, to_port, path);
    if (pieces)
        options.piece = on_piece;
    return http_call(client, &options);
}

static struct http_call *call(const char *path, struct got *got, int timeout_ms, bool pieces,
                              size_t answer_max, int to_port)
{
    return call_at(SERVER, path, got, timeout_ms, pieces, answer_max, to_port);
}

static void run(struct got *got)
{
    for (int i = 0; i < 2 * PATIENCE_MS && !got->done; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(got->done, 1);
}

static void answers_come(void **state)
{
    struct got got = {0}, missing = {0};

    call("/ok", &got, PATIENCE_MS, false, 0, port);
    call("/missing", &missing, PATIENCE_MS, false, 0, port);
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

    call("/ok", &refused, PATIENCE_MS, false, 0, 1);
    call("/silent", &silent, 2000, false, 0, port);
    call("/cut", &cut, PATIENCE_MS, false, 0, port);
    call("/ok", &big, PATIENCE_MS, false, 3, port);
    call("", &wrong, PATIENCE_MS, false, 0, 99999);
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

    call("/keep", &kept, PATIENCE_MS, false, 0, port);
    run(&kept);
    assert_string_equal(kept.body, "kept");
    assert_false(kept.sent_again);
    call("/ok", &again, PATIENCE_MS, false, 0, port);
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
    heard = 0;
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

/* ---- the sockets that curl makes and leaves ---- */

static int64_t processor_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_time(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* The loop waits for so long; it must not come round and round for a socket that is no more. */
static void sleeps_for(unsigned ms)
{
    int64_t before = processor_ms();
    uv_timer_t timer;

    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_time, ms, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_in_range(processor_ms() - before, 0, ms / 20);
}

/* A name with two addresses, at the first of which nobody listens. */
static void name_two(void)
{
    char path[] = "/tmp/vling-test-hosts-XXXXXX";
    FILE *hosts = fdopen(mkstemp(path), "w");

    fputs("127.0.0.1 two.test\n" SERVER " two.test\n", hosts);
    assert_int_equal(fclose(hosts), 0);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount(path, "/etc/hosts", NULL, MS_BIND, NULL), 0);
    unlink(path);
}

/* Its socket has the number of the one before. */
static void the_next_address_is_tried(void **state)
{
    struct got silent = {0};

    name_two();
    call_at("two.test", "/silent", &silent, 3000, false, 0, port);
    sleeps_for(1000);
    run(&silent);
    assert_int_equal(silent.rc, -ETIMEDOUT);
    assert_false(silent.sent_none); /* the server was reached, and said nothing */
}

/* A listener whose queue is full: who connects gets no answer. */
static int full_listener(int fillers[3], int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(SERVER)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&address, size);
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* What a program that is being started does with what it has inherited; here it also makes the
 * sockets tell of an event. */
static pid_t heir(void)
{
    int listens;
    socklen_t size = sizeof(listens);
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    usleep(1000000);
    for (int fd = 3; fd < 200; fd++)
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && !listens)
            shutdown(fd, SHUT_RDWR);
    pause();
    _exit(0);
}

/* A socket goes on as long as somebody has it, and with it what the loop was told to watch: a
 * descriptor that curl closes must have been taken from the loop before. */
static void what_others_inherited_is_not_watched(void **state)
{
    struct got got = {0};
    int to_port, fillers[3], full = full_listener(fillers, &to_port);
    pid_t pid;

    call("/ok", &got, 5000, false, 0, to_port);
    for (int i = 0; i < 20; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(got.done, 0);
    pid = heir();
    run(&got);
    assert_true(got.sent_none);
    sleeps_for(2500);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 3; i++)
        close(fillers[i]);
    close(full);
}

/* The other end of a connection, in the server's threads. */
static bool is_servers(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);

    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
           ntohs(address.sin_port) == port;
}

/* A program that runs for long (qemu-img) would keep the peer from seeing a connection's end. */
static void no_program_inherits_a_socket(void **state)
{
    struct got got = {0};
    bool before[200];
    int found = 0;

    for (int fd = 0; fd < 200; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    call("/silent", &got, 5000, false, 0, port);
    while (found == 0 && !got.done) {
        uv_run(&loop, UV_RUN_ONCE);
        for (int fd = 0; fd < 200; fd++) {
            int flags = before[fd] ? -1 : fcntl(fd, F_GETFD), type;
            socklen_t size = sizeof(type);

            if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
                continue;
            assert_true(flags & FD_CLOEXEC || is_servers(fd));
            found += !is_servers(fd);
        }
    }
    assert_true(found > 0);
    run(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(a_second_copy_is_told),
        cmocka_unit_test(streams_come_in_pieces),
        cmocka_unit_test(cancel_and_free_answer_everything),
        cmocka_unit_test(the_next_address_is_tried),
        cmocka_unit_test(what_others_inherited_is_not_watched),
        cmocka_unit_test(no_program_inherits_a_socket),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
