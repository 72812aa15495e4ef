/* libFuzzer: any bytes of a QMP peer, to the parser by the line and to the client over a socket,
 * while its owner sends commands and closes it from within every kind of callback.
 *
 * The first byte chooses what the owner does, the second the size of the pieces in which the bytes
 * arrive; the rest is what the peer sends. Some control characters, which no JSON text has, stand
 * for whole lines. */
#include "base/buf.h"
#include "base/json.h"
#include "io/qmp.h"
#include "must.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* First byte. */
#define GREET 1     /* the peer begins with a right greeting and the answer to the negotiation */
#define BUSY 2      /* as many commands as there may be, and some more */
#define CHAIN 4     /* each answer is followed by one more command */
#define CLOSE_AT 24 /* where the owner closes: nowhere, in an event, in an answer, when closed */
#define CLOSE_IN_EVENT 8
#define CLOSE_IN_ANSWER 16
#define CLOSE_IN_CLOSED 24

#define COMMANDS_MAX 100
#define TURNS_MAX 100000
#define PIECES_MAX 1000

struct owner {
    struct qmp *qmp; /* NULL: closed */
    unsigned how;
    unsigned sent, answered;
    bool answers[COMMANDS_MAX];
    bool ready, closed;
};

struct command {
    struct owner *owner;
    unsigned number;
};

static struct command commands[COMMANDS_MAX];

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* ---- the parser ---- */

static void parse(const uint8_t *bytes, size_t size)
{
    struct qmp_message m;

    if (qmp_parse((const char *)bytes, size, &m) < 0) {
        must(m.object == NULL);
        return;
    }
    must(json_is_object(m.object));
    must((m.kind == QMP_ERROR || m.kind == QMP_EVENT) == (m.text != NULL));
    must(m.kind != QMP_RETURN || m.payload);
    must(m.kind <= QMP_OTHER);
    must(m.text == NULL || strlen(m.text) <= size);
    json_decref(m.object);
}

static void parse_lines(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const uint8_t *end = memchr(bytes, '\n', size);
        size_t line = end ? (size_t)(end - bytes) : size;

        parse(bytes, line);
        bytes += end ? line + 1 : line;
        size -= end ? line + 1 : line;
    }
}

/* ---- the owner of a client ---- */

static void on_answer(void *arg, int rc, const json_t *answer, const char *why);

static void send_command(struct owner *o)
{
    struct command *c = &commands[o->sent];

    if (!o->qmp || o->sent == COMMANDS_MAX)
        return;
    *c = (struct command){o, o->sent++};
    qmp_command(o->qmp, "query-status", json_pack("{s:s}", "a", "b"), 60000, on_answer, c);
}

static void owner_close(struct owner *o)
{
    struct qmp *qmp = o->qmp;

    o->qmp = NULL;
    qmp_close(qmp);
}

static void on_answer(void *arg, int rc, const json_t *answer, const char *why)
{
    struct command *c = arg;
    struct owner *o = c->owner;

    must(!o->answers[c->number]); /* once */
    o->answers[c->number] = true;
    o->answered++;
    must(o->qmp != NULL); /* none after the close */
    must(rc == 0 || rc == -EIO || rc == -EPIPE || rc == -EBUSY);
    must((rc == 0) == (answer != NULL));
    must((rc == 0) == (why == NULL));
    if ((o->how & CLOSE_AT) == CLOSE_IN_ANSWER)
        owner_close(o);
    else if (o->how & CHAIN)
        send_command(o);
}

static void on_ready(void *arg)
{
    struct owner *o = arg;

    must(o->qmp && !o->ready && !o->closed);
    o->ready = true;
    for (unsigned i = 0; i < (o->how & BUSY ? QMP_COMMANDS_MAX + 2u : 2u); i++)
        send_command(o);
}

static void on_event(void *arg, const char *name, const json_t *data)
{
    struct owner *o = arg;

    must(o->qmp && !o->closed && name);
    if ((o->how & CLOSE_AT) == CLOSE_IN_EVENT)
        owner_close(o);
    else if (o->how & CHAIN)
        send_command(o);
}

static void on_closed(void *arg, int rc)
{
    struct owner *o = arg;

    must(o->qmp && !o->closed && rc < 0);
    o->closed = true;
    send_command(o); /* too late: it fails at once */
    must(o->answered == o->sent);
    if ((o->how & CLOSE_AT) == CLOSE_IN_CLOSED)
        owner_close(o);
}

/* ---- the peer ---- */

/* What the peer sends: the input with its control characters spelt out. */
static struct buf spell_out(const uint8_t *bytes, size_t size)
{
    struct buf out;

    buf_init(&out, QMP_LINE_MAX * 2);
    for (size_t i = 0; i < size; i++) {
        unsigned id = i + 1 < size ? bytes[i + 1] : 1;

        switch (bytes[i]) {
        case 1:
            buf_printf(&out, "{\"event\": \"STOP\", \"data\": {\"a\": %u}}\n", id);
            break;
        case 2:
            buf_printf(&out, "{\"event\": \"RESUME\"}\n");
            break;
        case 3:
            buf_printf(&out, "{\"return\": {\"a\": []}, \"id\": %u}\n", id);
            break;
        case 4:
            buf_printf(&out, "{\"error\": {\"desc\": \"no\"}, \"id\": %u}\n", id);
            break;
        case 5:
            buf_printf(&out, "{\"error\": %u, \"return\": null, \"id\": %u}\n", id, id);
            break;
        case 6:
            buf_printf(&out, "{\"QMP\": {}, \"id\": %u}\n", id);
            break;
        case 7: /* long, and in sum longer than a line may be */
            if (out.len < QMP_LINE_MAX + QMP_LINE_MAX / 2)
                buf_printf(&out, "[%*s%s", (int)id * 1024, "0]", id % 2 ? "\n" : "");
            break;
        default:
            buf_add(&out, &bytes[i], 1);
        }
    }
    must(!out.failed);
    return out;
}

/* A listening socket whose folder is gone as soon as the client is connected. */
static int open_pair(uv_loop_t *loop, struct owner *o)
{
    const struct qmp_events events = {
        .ready = on_ready, .event = on_event, .closed = on_closed, .arg = o};
    char folder[] = "/tmp/vling-fuzz-qmp-XXXXXX";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

    must(listener >= 0 && mkdtemp(folder));
    snprintf(name.sun_path, sizeof(name.sun_path), "%s/s", folder);
    must(bind(listener, (struct sockaddr *)&name, sizeof(name)) == 0);
    must(listen(listener, 1) == 0);
    o->qmp = qmp_open(loop, name.sun_path, &events);
    must(o->qmp != NULL);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    must(fd >= 0);
    close(listener);
    must(unlink(name.sun_path) == 0 && rmdir(folder) == 0);
    return fd;
}

/* Reads away what the client sends, which must be one JSON object a line. */
static void drain(int fd)
{
    static char text[64 * 1024];
    ssize_t size;

    while ((size = recv(fd, text, sizeof(text), MSG_DONTWAIT)) > 0) {
        char *at = text, *end;

        while ((end = memchr(at, '\n', (size_t)(text + size - at)))) {
            json_t *object = json_parse(at, (size_t)(end - at), NULL, 0);

            must(json_str(object, "execute", NULL) && json_int(object, "id", 0) > 0);
            json_decref(object);
            at = end + 1;
        }
    }
}

static void feed(uv_loop_t *loop, struct owner *o, int fd, const void *bytes, size_t size,
                 size_t piece)
{
    const char *at = bytes;

    for (unsigned turn = 0; size > 0 && o->qmp && !o->closed; turn++) {
        ssize_t sent = send(fd, at, size < piece ? size : piece, MSG_NOSIGNAL | MSG_DONTWAIT);

        must(turn < TURNS_MAX);
        uv_run(loop, UV_RUN_NOWAIT);
        drain(fd);
        if (sent < 0 && errno != EAGAIN)
            break;
        at += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
    }
}

static void talk(const void *bytes, size_t size, unsigned how, size_t piece)
{
    static const char greeting[] = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
                                   "{\"return\": {}, \"id\": 1}\r\n";
    struct owner o = {.how = how};
    static uv_loop_t loop;
    static bool ready;
    int fd;

    if (!ready)
        must(uv_loop_init(&loop) == 0);
    ready = true;
    fd = open_pair(&loop, &o);
    if (how & GREET)
        feed(&loop, &o, fd, greeting, sizeof(greeting) - 1, sizeof(greeting));
    for (unsigned turn = 0; how & GREET && !o.ready; turn++) {
        must(turn < TURNS_MAX && !o.closed);
        uv_run(&loop, UV_RUN_NOWAIT);
        drain(fd);
    }
    feed(&loop, &o, fd, bytes, size, piece > size / PIECES_MAX ? piece : size / PIECES_MAX);
    shutdown(fd, SHUT_WR);
    for (unsigned turn = 0; o.qmp && !o.closed; turn++) {
        must(turn < TURNS_MAX);
        uv_run(&loop, UV_RUN_NOWAIT);
        drain(fd);
    }
    if (o.qmp) {
        must(o.answered == o.sent); /* every command has its end */
        owner_close(&o);
    }
    must(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    must(!uv_loop_alive(&loop));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct buf out;

    if (size < 2)
        return 0;
    parse_lines(bytes + 2, size - 2);
    out = spell_out(bytes + 2, size - 2);
    parse_lines((const uint8_t *)out.data, out.len);
    talk(out.data, out.len, bytes[0], bytes[1] ? bytes[1] * (size_t)bytes[1] : 8);
    buf_free(&out);
    return 0;
}
