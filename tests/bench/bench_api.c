/* A load client for HTTP/1.1 on one address: N connections, each with one request under way, for a
 * time. It prints one JSON line. A server that closes the connection after its answer is connected
 * to again; that is its cost.
 *
 *   bench_api [-H HEADER]... [-d BODY] [-n REQUESTS] HOST:PORT CLIENTS SECONDS STATUS METHOD PATH
 *
 * COUNTER in the request is replaced by a number that is another one each time.
 * Answers with another status are counted as errors. Only what it needs of HTTP: Content-Length,
 * chunked bodies and the end of the connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define ANSWER_MAX (8 * 1024 * 1024)
#define SAMPLES_MAX 4000000

struct line {
    int fd;
    char *answer;
    size_t size, room;
    size_t body;      /* where it begins; 0: the head is not whole yet */
    long long length; /* of the body; -1: chunked; -2: until the end of the connection */
    bool closes;
    double started;
};

static struct sockaddr_in address;
static char *request, *counter; /* its place in the request, or NULL */
static size_t request_size;
static int wanted_status, epoll_fd;
static long limit; /* requests; 0: only the time counts */
static long started, done, errors;
static double bytes;
static float *samples;
static struct line lines[CLIENTS_MAX];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_api: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- one request ---- */

static void connect_line(struct line *line)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
    int on = 1;

    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (line->fd < 0 || connect(line->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect");
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(line->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, line->fd, &event) < 0)
        die("epoll");
}

/* The request is small: it fits into the socket's buffer. */
static void begin(struct line *line)
{
    char digits[16];

    if (counter) {
        snprintf(digits, sizeof(digits), "%07ld", started++ % 10000000);
        memcpy(counter, digits, 7);
    }
    line->started = now();
    if (line->fd < 0)
        connect_line(line);
    line->size = line->body = 0;
    if (send(line->fd, request, request_size, MSG_NOSIGNAL) == (ssize_t)request_size)
        return;
    /* It was closed while nothing was asked. */
    close(line->fd);
    connect_line(line);
    if (send(line->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
        die("send");
}

static void end(struct line *line)
{
    if (atoi(line->answer + 9) != wanted_status && errors++ == 0)
        fprintf(stderr, "bench_api: unexpected answer: %.*s\n",
                (int)(line->size < 600 ? line->size : 600), line->answer);
    if (done < SAMPLES_MAX)
        samples[done] = (float)(now() - line->started);
    done++;
    bytes += (double)line->size;
    if (!line->closes)
        return;
    close(line->fd);
    line->fd = -1;
}

/* ---- the answer ---- */

static void read_head(struct line *line)
{
    char *end_of_head = strstr(line->answer, "\r\n\r\n"), *at;

    if (!end_of_head)
        return;
    line->body = (size_t)(end_of_head + 4 - line->answer);
    line->length = -2;
    line->closes = false;
    for (at = strstr(line->answer, "\r\n"); at && at < end_of_head; at = strstr(at + 2, "\r\n")) {
        if (strncasecmp(at + 2, "Content-Length:", 15) == 0)
            line->length = atoll(at + 17);
        else if (strncasecmp(at + 2, "Transfer-Encoding: chunked", 26) == 0)
            line->length = -1;
        else if (strncasecmp(at + 2, "Connection: close", 17) == 0)
            line->closes = true;
    }
    if (line->length == -2)
        line->closes = true;
}

static bool is_whole(struct line *line)
{
    if (!line->body)
        read_head(line);
    if (!line->body || line->length == -2)
        return false;
    if (line->length >= 0)
        return line->size >= line->body + (size_t)line->length;
    return line->size >= 5 && memcmp(line->answer + line->size - 5, "0\r\n\r\n", 5) == 0;
}

/* False while the answer is not whole. */
static bool take(struct line *line)
{
    for (;;) {
        ssize_t n;

        if (line->room - line->size < 65536) {
            line->room = line->room * 2 + 131072;
            line->answer = line->room <= ANSWER_MAX ? realloc(line->answer, line->room) : NULL;
            if (!line->answer)
                die("an answer is too big");
        }
        n = recv(line->fd, line->answer + line->size, line->room - line->size - 1, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            die("recv");
        line->size += (size_t)n;
        line->answer[line->size] = '\0';
        if (is_whole(line))
            return true;
        if (n == 0 && !line->body)
            die("the server ended the connection without an answer");
        if (n == 0) {
            line->closes = true;
            return true;
        }
    }
}

/* ---- the run ---- */

static void run(int clients, double seconds)
{
    double deadline = now() + seconds;
    struct epoll_event events[CLIENTS_MAX];
    int open = clients;

    for (int i = 0; i < clients; i++) {
        lines[i].fd = -1;
        begin(&lines[i]);
    }
    while (open > 0) {
        int n = epoll_wait(epoll_fd, events, CLIENTS_MAX, 60000);

        if (n <= 0)
            die("no answer within a minute");
        for (int i = 0; i < n; i++) {
            struct line *line = events[i].data.ptr;

            if (!take(line))
                continue;
            end(line);
            if (now() < deadline && (!limit || done + open <= limit))
                begin(line);
            else
                open--;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static double percentile(double p)
{
    long n = done < SAMPLES_MAX ? done : SAMPLES_MAX;

    return n ? (double)samples[(long)((double)(n - 1) * p)] * 1000 : 0;
}

static void add(const char *text)
{
    size_t size = strlen(text);

    request = realloc(request, request_size + size + 1);
    if (!request)
        die("memory");
    memcpy(request + request_size, text, size + 1);
    request_size += size;
}

static void add_line(const char *name, const char *value)
{
    add(name);
    add(value);
    add("\r\n");
}

static void build_request(char **args, const char *host, const char *headers[], size_t n,
                          const char *body)
{
    char length[32];

    add(args[0]);
    add(" ");
    add(args[1]);
    add(" HTTP/1.1\r\n");
    add_line("Host: ", host);
    for (size_t i = 0; i < n; i++)
        add_line(headers[i], "");
    if (body) {
        snprintf(length, sizeof(length), "%zu", strlen(body));
        add_line("Content-Type: application/json\r\nContent-Length: ", length);
    }
    add("\r\n");
    if (body)
        add(body);
}

static void read_address(const char *text)
{
    char host[64];
    unsigned port;

    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "bench_api: %s is no ADDRESS:PORT\n", text);
        exit(2);
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
}

int main(int argc, char **argv)
{
    const char *headers[16], *body = NULL;
    size_t header_count = 0;
    double began, took;
    int c, clients;

    while ((c = getopt(argc, argv, "H:d:n:")) != -1) {
        if (c == 'H' && header_count < 16)
            headers[header_count++] = optarg;
        else if (c == 'd')
            body = optarg;
        else if (c == 'n')
            limit = atol(optarg);
        else
            return 2;
    }
    argv += optind;
    clients = argc - optind == 6 ? atoi(argv[1]) : 0;
    if (clients < 1 || clients > CLIENTS_MAX) {
        fputs("usage: bench_api [-H HEADER]... [-d BODY] [-n REQUESTS] HOST:PORT CLIENTS SECONDS "
              "STATUS METHOD PATH\n",
              stderr);
        return 2;
    }
    read_address(argv[0]);
    wanted_status = atoi(argv[3]);
    build_request(argv + 4, argv[0], headers, header_count, body);
    samples = malloc(SAMPLES_MAX * sizeof(*samples));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!samples || epoll_fd < 0)
        die("start");
    counter = strstr(request, "COUNTER");
    began = now();
    run(clients, atof(argv[2]));
    took = now() - began;
    qsort(samples, (size_t)(done < SAMPLES_MAX ? done : SAMPLES_MAX), sizeof(*samples), by_size);
    printf("{\"requests\": %ld, \"errors\": %ld, \"per_second\": %.2f, \"p50_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"bytes\": %.0f}\n",
           done, errors, (double)done / took, percentile(0.5), percentile(0.99),
           done ? bytes / (double)done : 0);
    return errors ? 1 : 0;
}
