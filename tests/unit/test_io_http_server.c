/* The HTTP server on a loop of its own thread, and clients that behave badly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "io/http_server.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_MAX 1000

static uv_loop_t loop;
static uv_async_t stopper;
static pthread_t thread;
static struct http_server *server, *tls_server;
static struct http_server *impatient; /* only here a busy client may count as idle */
static char folder[] = "/tmp/vling-test-http-XXXXXX";
static size_t sunk;
static size_t poured; /* of the body made of pour_byte() */
static bool poured_wrong;
static int begun, handled, aborted;
static bool told; /* requests that are held until they are told may go on */

/* ---- the handler: answers by the path ---- */

struct later {
    uv_timer_t timer;
    struct http_request *request;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_later(uv_timer_t *timer)
{
    struct later *later = timer->data;

    http_reply(later->request, 200, "late", 4);
    uv_close((uv_handle_t *)timer, on_closed);
}

static void start_timer(struct http_request *request, unsigned after_ms, uv_timer_cb cb)
{
    struct later *later = calloc(1, sizeof(*later));

    later->request = request;
    later->timer.data = later;
    uv_timer_init(&loop, &later->timer);
    uv_timer_start(&later->timer, cb, after_ms, 0);
}

static void answer_later(struct http_request *request, unsigned after_ms)
{
    start_timer(request, after_ms, on_later);
}

static int sink_write(void *arg, const void *bytes, size_t size)
{
    sunk += size;
    return 0;
}

static int sink_fail(void *arg, const void *bytes, size_t size)
{
    return -ENOSPC;
}

static char pour_byte(size_t at)
{
    return (char)('a' + at * 7 % 26 + at / 1000 % 3);
}

static int sink_pour(void *arg, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        poured_wrong |= ((const char *)bytes)[i] != pour_byte(poured + i);
    poured += size;
    return 0;
}

static void let_go(struct http_request *request)
{
    if (strcmp(http_path(request), "/held/sink") == 0)
        http_use_sink(request, (struct http_sink){.write = sink_pour});
    if (strncmp(http_path(request), "/held/refused", 13) == 0)
        http_refuse_body(request);
    http_go_on(request);
}

static void on_held(uv_timer_t *timer)
{
    struct later *later = timer->data;

    let_go(later->request);
    uv_close((uv_handle_t *)timer, on_closed);
}

static void on_ask(uv_timer_t *timer)
{
    if (told)
        on_held(timer);
    else
        uv_timer_start(timer, on_ask, 5, 0);
}

/* For the milliseconds in the query, or until it is told; without them only inside `begin`. */
static void hold(struct http_request *request)
{
    const char *ms = http_query(request, "ms");

    http_hold(request);
    if (ms && strcmp(ms, "told") == 0)
        start_timer(request, 5, on_ask);
    else if (ms)
        start_timer(request, (unsigned)atoi(ms), on_held);
    else
        let_go(request);
}

static void on_begin(void *arg, struct http_request *request)
{
    begun++;
    if (strncmp(http_path(request), "/held/", 6) == 0)
        hold(request);
    if (strcmp(http_path(request), "/sink") == 0)
        http_use_sink(request, (struct http_sink){.write = sink_write});
    if (strcmp(http_path(request), "/full") == 0)
        http_use_sink(request, (struct http_sink){.write = sink_fail});
}

static void answer_echo(struct http_request *request)
{
    char text[2048];
    size_t size;
    const char *body = http_body(request, &size), *query = http_query(request, "q");

    snprintf(text, sizeof(text), "%s %s q=%s body=%.*s name=%s", http_method(request),
             http_path(request), query ? query : "-", (int)size, body,
             http_client_name(request) ? http_client_name(request) : "-");
    http_reply_header(request, "X-Good", "yes");
    http_reply_header(request, "X-Bad", "a\r\nX-Injected: yes");
    http_reply(request, 200, text, strlen(text));
}

static void on_handle(void *arg, struct http_request *request)
{
    int rc = http_body_error(request);
    FILE *file;

    handled++;
    aborted += rc == -ECONNABORTED;
    if (rc == -EFBIG) {
        http_reply(request, 413, "big", 3);
    } else if (rc < 0) {
        http_reply(request, 507, "no", 2);
    } else if (strcmp(http_path(request), "/later") == 0 ||
               strcmp(http_path(request), "/held/refused/later") == 0) {
        answer_later(request, 50);
    } else if (strcmp(http_path(request), "/much-later") == 0) {
        answer_later(request, 5000);
    } else if (strcmp(http_path(request), "/held/refused") == 0) {
        http_reply(request, 403, "refused", 7);
    } else if (strcmp(http_path(request), "/none") == 0) {
        http_reply(request, 204, "not sent", 8);
    } else if (strcmp(http_path(request), "/file") == 0) {
        file = tmpfile();
        fputs("0123456789", file);
        fflush(file);
        http_reply_file(request, 200, dup(fileno(file)), 2, 5);
        fclose(file);
    } else {
        answer_echo(request);
    }
}

/* ---- the world around ---- */

static void on_stop(uv_async_t *async)
{
    http_server_stop(server);
    http_server_stop(impatient);
    http_server_stop(tls_server);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run_loop(void *arg)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static void make_certificates(void)
{
    char command[2000];

    snprintf(command, sizeof(command),
             "cd %s && for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt "
             "ec_paramgen_curve:P-256 -nodes -keyout $ca.key -out $ca.crt -days 2 -subj /CN=$ca "
             "2>/dev/null; done && for n in server client stranger; do openssl req -newkey ec "
             "-pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n "
             "2>/dev/null; ca=ca; [ $n = stranger ] && ca=other; openssl x509 -req -in $n.csr -CA "
             "$ca.crt -CAkey $ca.key -CAcreateserial -out $n.crt -days 2 2>/dev/null; done",
             folder);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    struct http_server_options options = {.address = "127.0.0.1",
                                          .body_max = BODY_MAX,
                                          .connections_max = 20,
                                          .connections_per_client = 15,
                                          .idle_seconds = 60,
                                          .begin = on_begin,
                                          .handle = on_handle};
    static char cert[100], key[100], ca[100];
    struct err err;

    assert_non_null(mkdtemp(folder));
    make_certificates();
    uv_loop_init(&loop);
    uv_async_init(&loop, &stopper, on_stop);
    server = http_server_start(&loop, &options, &err);
    assert_non_null(server);
    options.idle_seconds = 2;
    impatient = http_server_start(&loop, &options, &err);
    assert_non_null(impatient);
    options.idle_seconds = 60;
    snprintf(cert, sizeof(cert), "%s/server.crt", folder);
    snprintf(key, sizeof(key), "%s/server.key", folder);
    snprintf(ca, sizeof(ca), "%s/ca.crt", folder);
    options.cert_file = cert;
    options.key_file = key;
    options.client_ca_file = ca;
    tls_server = http_server_start(&loop, &options, &err);
    assert_non_null(tls_server);
    return pthread_create(&thread, NULL, run_loop, NULL);
}

static int teardown(void **state)
{
    char command[100];

    /* The last test has stopped the servers. */
    pthread_join(thread, NULL);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(begun, handled);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* ---- a client that can do anything ---- */

/* `from`: the last byte of 127.0.0.x. */
static int dial_from(unsigned from, const struct http_server *to)
{
    struct sockaddr_in own = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffU) | from)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(to)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static int dial(void)
{
    return dial_from(1, server);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Waits until so many are counted, or half a minute. */
static void wait_for(const int *count, int want)
{
    for (int i = 0; i < 30000 && __atomic_load_n(count, __ATOMIC_RELAXED) < want; i++)
        usleep(1000);
}

/* Everything until `mark` has come, the line is closed, or half a minute has gone. */
static const char *hear(int fd, const char *mark)
{
    static char text[65536];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    size_t used = 0;
    ssize_t got = 0;

    text[0] = '\0';
    while (!(mark && strstr(text, mark)) && poll(&wait, 1, 30000) > 0 &&
           (got = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0) {
        used += (size_t)got;
        text[used] = '\0';
    }
    return text;
}

static bool is_silent(int fd, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    return poll(&wait, 1, ms) == 0;
}

static void test_answers_and_keeps_the_line(void **state)
{
    const char *text;
    int fd = dial();

    say(fd, "GET /a%20b?q=x%2By HTTP/1.1\r\nHost: h\r\n\r\n");
    text = hear(fd, "name=-");
    assert_non_null(strstr(text, "200 OK"));
    assert_non_null(strstr(text, "GET /a b q=x+y body= name=-"));
    assert_non_null(strstr(text, "X-Good: yes"));
    assert_null(strstr(text, "X-Injected"));
    say(fd, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_non_null(strstr(hear(fd, "name=-"), "POST /p q=- body=hello"));
    say(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_non_null(strstr(hear(fd, "name=-"), "body=abcde"));
    say(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(strstr(hear(fd, "late"), "200 OK"));
    say(fd, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    text = hear(fd, "\r\n\r\n");
    assert_non_null(strstr(text, " 204 "));
    assert_null(strstr(text, "not sent"));
    say(fd, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n23456"), "Content-Length: 5"));
    close(fd);
}

static void test_a_sink_takes_any_size(void **state)
{
    static char piece[10000];
    int fd = dial();

    memset(piece, 'x', sizeof(piece));
    say(fd, "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 100; i++)
        assert_int_equal(send(fd, piece, sizeof(piece), 0), sizeof(piece));
    assert_non_null(strstr(hear(fd, "\r\n\r\n"), "200 OK"));
    assert_int_equal(sunk, 1000000);
    say(fd, "PUT /full HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(hear(fd, "no"), "507"));
    close(fd);
}

static void test_limits(void **state)
{
    static char big[100000];
    char head[200];
    int fd = dial();

    memset(big, 'x', sizeof(big));
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
             BODY_MAX + 1);
    say(fd, head);
    assert_int_equal(send(fd, big, BODY_MAX + 1, 0), BODY_MAX + 1);
    assert_non_null(strstr(hear(fd, "big"), " 413 "));
    close(fd);

    fd = dial();
    say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n");
    assert_non_null(strstr(hear(fd, "big"), " 413 "));
    close(fd);

    fd = dial();
    say(fd, "GET / HTTP/1.1\r\nHost: h\r\nX-Big: ");
    send(fd, big, sizeof(big), MSG_NOSIGNAL);
    send(fd, "\r\n\r\n", 4, MSG_NOSIGNAL);
    assert_null(strstr(hear(fd, NULL), " 200 "));
    close(fd);
}

/* Each takes its share of the connection's memory: what fits is answered, and so is what does not,
 * before the line counts as idle. */
static void test_many_arguments(void **state)
{
    static const int counts[] = {100, 500, 520, 1000, 3000, 20000};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        static char text[200000];
        size_t size = (size_t)snprintf(text, sizeof(text), "GET /echo?a=0");
        int fd = dial();
        const char *answer;

        for (int k = 0; k < counts[i]; k++)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "&id=%d", k % 10);
        size += (size_t)snprintf(text + size, sizeof(text) - size, " HTTP/1.1\r\nHost: h\r\n\r\n");
        send(fd, text, size, MSG_NOSIGNAL);
        assert_false(is_silent(fd, 30000));
        answer = hear(fd, "\r\n\r\n");
        print_message("%d arguments: %.30s\n", counts[i], answer);
        assert_true(counts[i] > 3000 || answer[0]);
        assert_int_equal(strstr(answer, " 200 ") != NULL, counts[i] <= 500);
        close(fd);
    }
}

static void test_garbage(void **state)
{
    static const char *const garbage[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET / HTTP/9.9\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /%00%ff%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        int fd = dial_from(1, impatient);

        send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        hear(fd, NULL);
        close(fd);
    }
    test_answers_and_keeps_the_line(state);
}

/* Where a body ends is said once, or what follows it might be taken for another request. */
static void test_two_ends_of_a_body(void **state)
{
    static const char *const framings[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 35\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
    };
    int before = begun;

    for (size_t i = 0; i < sizeof(framings) / sizeof(framings[0]); i++) {
        int fd = dial();
        const char *answer;

        say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\n");
        say(fd, framings[i]);
        say(fd, "\r\n0\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
        answer = hear(fd, NULL);
        if (strncmp(answer, "HTTP/1.1 400 ", 13) != 0)
            fail_msg("%s: %s", framings[i], answer);
        assert_null(strstr(answer + 1, "HTTP/1.1 "));
        close(fd);
    }
    assert_int_equal(begun, before);
}

static void test_clients_that_go_away(void **state)
{
    int before = aborted, fd = dial();
    char byte;

    say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
    usleep(100000);
    close(fd); /* in the middle of the body */
    fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    close(fd); /* before the answer */
    fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    /* Half closed counts as gone, as it does for most servers: the line is closed, with or without
     * the answer, and not left open. */
    shutdown(fd, SHUT_WR);
    hear(fd, NULL);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    wait_for(&aborted, before + 1);
    assert_int_equal(aborted, before + 1);
}

/* The rest of a body, and at once the end: that is seen now, not when the line counts as idle. */
static void test_a_body_that_is_cut(void **state)
{
    int before = aborted, fd = dial();

    say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    assert_false(is_silent(fd, 30000));
    wait_for(&aborted, before + 1);
    assert_int_equal(aborted, before + 1);
    close(fd);
}

/* ---- held requests ---- */

static void test_a_held_request_goes_on(void **state)
{
    static const char *const ways[] = {"", "?ms=0", "?ms=told"};
    static const struct {
        const char *rest, *body;
    } bodies[] = {
        {"Content-Length: 5\r\n\r\nhello", "body=hello "},
        {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "body=abcde "},
        {"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "body= "},
        {"Content-Length: 0\r\n\r\n", "body= "},
        {"\r\n", "body= "},
    };
    char text[500];
    int fd = dial();

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
            const char *answers;
            int before = handled;

            told = false;
            /* The next request stands behind its body. */
            snprintf(
                text, sizeof(text),
                "PUT /held/echo%s HTTP/1.1\r\nHost: h\r\n%sGET /next HTTP/1.1\r\nHost: h\r\n\r\n",
                ways[k], bodies[i].rest);
            say(fd, text);
            if (strcmp(ways[k], "?ms=told") == 0) {
                assert_true(is_silent(fd, 50));
                assert_int_equal(handled, before);
                told = true;
            }
            answers = hear(fd, "GET /next q=- body= name=-");
            assert_non_null(strstr(answers, "PUT /held/echo"));
            assert_non_null(strstr(answers, bodies[i].body));
            assert_non_null(strstr(answers, "GET /next"));
            assert_int_equal(handled, before + 2);
        }
    }
    /* The body comes when the request is held, and when it is not any more. */
    say(fd, "PUT /held/echo?ms=100 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n");
    usleep(50000);
    say(fd, "abc");
    usleep(150000);
    say(fd, "def");
    assert_non_null(strstr(hear(fd, "name=-"), "body=abcdef "));
    close(fd);
}

static void test_a_held_client_is_not_told_to_continue(void **state)
{
    static const char head[] = "PUT /held/%s?ms=told HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                               "Expect: 100-continue\r\n\r\n";
    const char *answer;
    char text[200];
    int fd = dial();

    told = false;
    snprintf(text, sizeof(text), head, "echo");
    say(fd, text);
    assert_true(is_silent(fd, 50));
    told = true;
    assert_non_null(strstr(hear(fd, "\r\n\r\n"), " 100 Continue"));
    say(fd, "abc");
    assert_non_null(strstr(hear(fd, "name=-"), "body=abc "));
    /* What nobody wants is not asked for. */
    told = false;
    snprintf(text, sizeof(text), head, "refused");
    say(fd, text);
    assert_true(is_silent(fd, 50));
    told = true;
    answer = hear(fd, NULL);
    assert_non_null(strstr(answer, " 403 "));
    assert_null(strstr(answer, " 100 "));
    close(fd);
}

static void test_a_body_that_is_refused(void **state)
{
    const char *answers;
    int fd = dial();

    say(fd, "PUT /held/refused?ms=20 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
            "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    answers = hear(fd, "name=-");
    assert_non_null(strstr(answers, " 403 "));
    assert_non_null(strstr(answers, "GET /next"));
    say(fd, "PUT /held/refused HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\n\r\n");
    assert_non_null(strstr(hear(fd, "refused"), " 403 "));
    say(fd, "PUT /held/refused/later HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(hear(fd, "late"), " 200 "));
    /* This one would take a while. */
    say(fd,
        "PUT /held/refused?ms=20 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nabc");
    assert_non_null(strstr(hear(fd, NULL), " 403 "));
    close(fd);
    fd = dial();
    say(fd, "PUT /held/refused/later?ms=20 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n"
            "\r\nabc");
    assert_non_null(strstr(hear(fd, NULL), "late"));
    close(fd);
}

/* Sends what the line takes within `ms` of the body from `*at` on. */
static void pour(int fd, size_t *at, size_t end, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    static char piece[65536];

    while (*at < end && poll(&wait, 1, ms) > 0) {
        size_t size = end - *at < sizeof(piece) ? end - *at : sizeof(piece);
        ssize_t sent;

        for (size_t i = 0; i < size; i++)
            piece[i] = pour_byte(*at + i);
        sent = send(fd, piece, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(sent > 0);
        *at += (size_t)sent;
    }
}

static void test_the_body_of_a_held_request_waits(void **state)
{
    const size_t size = 40000000;
    size_t at = 0;
    int fd = dial();

    poured = 0;
    told = false;
    say(fd, "PUT /held/sink?ms=told HTTP/1.1\r\nHost: h\r\nContent-Length: 40000000\r\n\r\n");
    pour(fd, &at, size, 200);
    assert_true(at < size); /* the line is full */
    assert_int_equal(poured, 0);
    told = true;
    pour(fd, &at, size, 30000);
    assert_int_equal(at, size);
    assert_non_null(strstr(hear(fd, "name=-"), "200 OK"));
    assert_int_equal(poured, size);
    assert_false(poured_wrong);
    close(fd);
}

static void test_clients_that_go_away_while_held(void **state)
{
    static const char *const bodies[] = {"", "a", "abc"};
    int before = aborted, begun_before = begun;

    told = false;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        int fd = dial();

        say(fd, "PUT /held/echo?ms=told HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
        say(fd, bodies[i]);
        wait_for(&begun, begun_before + 1 + (int)i);
        close(fd);
    }
    usleep(50000);
    assert_int_equal(begun, begun_before + 3);
    assert_int_equal(aborted, before); /* nobody is told before it goes on */
    told = true;
    wait_for(&handled, begun);
    assert_int_equal(handled, begun);
    assert_in_range(aborted, before + 2, before + 3); /* one body was whole */
}

/* The client is not to blame for the time that it is held. */
static void test_held_is_not_idle(void **state)
{
    int fd = dial_from(1, impatient);

    told = false;
    say(fd, "PUT /held/echo?ms=told HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    assert_true(is_silent(fd, 3000));
    told = true;
    usleep(200000);
    say(fd, "bc");
    assert_non_null(strstr(hear(fd, "name=-"), "body=abc "));
    close(fd);
}

static void test_an_idle_client_is_cut(void **state)
{
    char byte;
    int fd = dial_from(1, impatient);

    say(fd, "GET / HT");
    assert_false(is_silent(fd, 30000));
    while (recv(fd, &byte, 1, 0) > 0)
        ;
    close(fd);
}

static void test_connections_are_bounded(void **state)
{
    int fds[40], fd;
    bool served = false;

    for (int i = 0; i < 40; i++)
        fds[i] = dial();
    usleep(100000);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    /* The places of the closed connections become free when the server has seen it. */
    for (int tries = 0; tries < 50 && !served; tries++) {
        usleep(100000);
        fd = dial();
        send(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27, MSG_NOSIGNAL);
        served = strstr(hear(fd, "name=-"), "200 OK") != NULL;
        close(fd);
    }
    assert_true(served);
}

/* One client has as many as it is given, what is more is cut at once, and another one is served. */
static void test_one_client_cannot_take_all(void **state)
{
    int fds[40], fd;

    for (int i = 0; i < 40; i++)
        fds[i] = dial();
    struct pollfd waits[] = {{.fd = fds[39], .events = POLLIN}, {.fd = fds[0], .events = POLLIN}};

    assert_int_equal(poll(waits, 2, 8000), 1);
    assert_int_not_equal(waits[0].revents, 0);
    fd = dial_from(2, server);
    say(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(strstr(hear(fd, "name=-"), "200 OK"));
    close(fd);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    usleep(100000);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    char *out = arg;

    strncat(out, data, size * n < 500 ? size * n : 500);
    return size * n;
}

/* Status of a request with that client certificate (NULL: none), 0 if the line failed. With a body
 * it is a POST. */
static long tls_ask(const char *name, const char *path, const char *body, char *out)
{
    char url[100], cert[100], key[100];
    CURL *curl = curl_easy_init();
    long status = 0;

    out[0] = '\0';
    snprintf(url, sizeof(url), "https://127.0.0.1:%u%s", http_server_port(tls_server), path);
    snprintf(cert, sizeof(cert), "%s/%s.crt", folder, name ? name : "");
    snprintf(key, sizeof(key), "%s/%s.key", folder, name ? name : "");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (name) {
        curl_easy_setopt(curl, CURLOPT_SSLCERT, cert);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, key);
    }
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    return status;
}

static void test_tls_needs_our_certificate(void **state)
{
    char text[1000];

    assert_int_equal(tls_ask("client", "/x", NULL, text), 200);
    assert_non_null(strstr(text, "name=client"));
    assert_int_not_equal(tls_ask(NULL, "/x", NULL, text), 200);
    assert_int_not_equal(tls_ask("stranger", "/x", NULL, text), 200);
}

static void test_a_held_request_over_tls(void **state)
{
    const size_t size = 300000;
    char *body = calloc(1, size + 1), text[1000];

    for (size_t i = 0; i < size; i++)
        body[i] = pour_byte(i);
    poured = 0;
    assert_int_equal(tls_ask("client", "/held/sink?ms=100", body, text), 200);
    assert_int_equal(poured, size);
    assert_false(poured_wrong);
    free(body);
}

static void test_bad_options(void **state)
{
    struct http_server_options options = {.address = "nonsense",
                                          .body_max = 1,
                                          .connections_max = 1,
                                          .idle_seconds = 1,
                                          .handle = on_handle};
    struct err err;
    uv_loop_t other;

    uv_loop_init(&other);
    assert_null(http_server_start(&other, &options, &err));
    options.address = "127.0.0.1";
    options.port = http_server_port(server);
    assert_null(http_server_start(&other, &options, &err));
    assert_int_equal(err.code, -EADDRINUSE);
    options.port = 0;
    options.cert_file = "/nowhere";
    assert_null(http_server_start(&other, &options, &err));
    options.cert_file = options.key_file = "/etc/passwd";
    assert_null(http_server_start(&other, &options, &err));
    uv_run(&other, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&other), 0);
}

/* Last: leaves requests that go on and are answered after the server has stopped. */
static void test_stop_with_requests_under_way(void **state)
{
    int fd = dial(), held = dial(), before = aborted;
    int begun_before = begun, handled_before = handled;

    told = false;
    say(fd, "GET /much-later HTTP/1.1\r\nHost: h\r\n\r\n");
    say(held, "PUT /held/sink?ms=told HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
    wait_for(&begun, begun_before + 2);
    wait_for(&handled, handled_before + 1);
    uv_async_send(&stopper);
    assert_non_null(strstr(hear(fd, NULL), " 503 "));
    assert_non_null(strstr(hear(held, NULL), " 503 "));
    assert_int_equal(handled, begun - 1);
    told = true;
    wait_for(&handled, begun);
    assert_int_equal(aborted, before + 1);
    close(fd);
    close(held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_and_keeps_the_line),
        cmocka_unit_test(test_a_sink_takes_any_size),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_arguments),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_two_ends_of_a_body),
        cmocka_unit_test(test_clients_that_go_away),
        cmocka_unit_test(test_a_body_that_is_cut),
        cmocka_unit_test(test_a_held_request_goes_on),
        cmocka_unit_test(test_a_held_client_is_not_told_to_continue),
        cmocka_unit_test(test_a_body_that_is_refused),
        cmocka_unit_test(test_the_body_of_a_held_request_waits),
        cmocka_unit_test(test_clients_that_go_away_while_held),
        cmocka_unit_test(test_held_is_not_idle),
        cmocka_unit_test(test_an_idle_client_is_cut),
        cmocka_unit_test(test_connections_are_bounded),
        cmocka_unit_test(test_one_client_cannot_take_all),
        cmocka_unit_test(test_tls_needs_our_certificate),
        cmocka_unit_test(test_a_held_request_over_tls),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_stop_with_requests_under_way),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
