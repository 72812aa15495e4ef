#include "io/qmp.h"
#include "base/buf.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum qmp_state { QMP_CONNECTING, QMP_GREETED, QMP_READY, QMP_BROKEN, QMP_CLOSING };

struct qmp_waiting {
    json_int_t id;
    int64_t deadline; /* uv_now */
    qmp_done_cb *done;
    void *arg;
};

struct qmp {
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_timer_t timer;
    enum qmp_state state;
    struct qmp_events events;
    struct buf in;
    char chunk[16384];
    json_int_t next_id;
    struct qmp_waiting waiting[QMP_COMMANDS_MAX];
    size_t waiting_count;
    int handles;
};

struct qmp_write {
    uv_write_t request;
    char *text;
};

int qmp_parse(const char *line, size_t size, struct qmp_message *ret)
{
    json_t *error;

    memset(ret, 0, sizeof(*ret));
    ret->kind = QMP_OTHER;
    ret->id = -1;
    ret->object = json_parse(line, size, NULL, 0);
    if (!json_is_object(ret->object)) {
        json_decref(ret->object);
        ret->object = NULL;
        return -EBADMSG;
    }
    ret->id = json_int(ret->object, "id", -1);
    error = json_object_get(ret->object, "error");
    if (json_object_get(ret->object, "QMP")) {
        ret->kind = QMP_GREETING;
    } else if (json_object_get(ret->object, "return")) {
        ret->kind = QMP_RETURN;
        ret->payload = json_object_get(ret->object, "return");
    } else if (error) {
        ret->kind = QMP_ERROR;
        ret->text = json_str(error, "desc", "unknown error");
    } else if (json_str(ret->object, "event", NULL)) {
        ret->kind = QMP_EVENT;
        ret->text = json_str(ret->object, "event", "");
        ret->payload = json_object_get(ret->object, "data");
    }
    return 0;
}

/* ---- waiting commands ---- */

static void finish(struct qmp *q, size_t index, int rc, const json_t *answer, const char *why)
{
    struct qmp_waiting w = q->waiting[index];

    q->waiting_count--;
    memmove(&q->waiting[index], &q->waiting[index + 1],
            (q->waiting_count - index) * sizeof(q->waiting[0]));
    if (w.done)
        w.done(w.arg, rc, answer, why);
}

static void broken(struct qmp *q, int rc)
{
    if (q->state == QMP_BROKEN || q->state == QMP_CLOSING)
        return;
    q->state = QMP_BROKEN;
    uv_read_stop((uv_stream_t *)&q->pipe);
    while (q->waiting_count > 0 && q->state == QMP_BROKEN)
        finish(q, 0, -EPIPE, NULL, "the connection to QEMU was lost");
    if (q->state == QMP_BROKEN)
        q->events.closed(q->events.arg, rc);
}

static void on_timer(uv_timer_t *timer)
{
    struct qmp *q = timer->data;
    int64_t now = (int64_t)uv_now(timer->loop);
    size_t i = 0;

    while (i < q->waiting_count && q->state != QMP_CLOSING) {
        if (q->waiting[i].deadline <= now)
            finish(q, i, -ETIMEDOUT, NULL, "QEMU does not answer");
        else
            i++;
    }
}

/* ---- writing ---- */

static void on_written(uv_write_t *request, int status)
{
    struct qmp_write *w = (struct qmp_write *)request;

    free(w->text);
    free(w);
}

static int send_object(struct qmp *q, json_t *object)
{
    struct qmp_write *w = calloc(1, sizeof(*w));
    uv_buf_t out;
    int rc;

    if (!w)
        return -ENOMEM;
    w->text = json_dumps(object, JSON_COMPACT);
    if (!w->text) {
        free(w);
        return -ENOMEM;
    }
    out = uv_buf_init(w->text, (unsigned)strlen(w->text));
    rc = uv_write(&w->request, (uv_stream_t *)&q->pipe, &out, 1, on_written);
    if (rc < 0)
        on_written(&w->request, rc);
    return rc;
}

void qmp_command(struct qmp *q, const char *name, json_t *arguments, int timeout_ms,
                 qmp_done_cb *done, void *arg)
{
    json_t *object = json_pack("{s:s, s:I}", "execute", name, "id", q->next_id);
    int rc = 0;

    if (arguments)
        json_object_set_new(object, "arguments", arguments);
    if (q->state != QMP_READY && q->state != QMP_GREETED)
        rc = -EPIPE;
    else if (q->waiting_count == QMP_COMMANDS_MAX)
        rc = -EBUSY;
    else
        rc = send_object(q, object);
    json_decref(object);
    if (rc < 0) {
        if (done)
            done(arg, rc == -EBUSY ? rc : -EPIPE, NULL, "QEMU cannot be reached");
        return;
    }
    q->waiting[q->waiting_count++] =
        (struct qmp_waiting){q->next_id++, (int64_t)uv_now(q->timer.loop) + timeout_ms, done, arg};
}

/* ---- reading ---- */

static void on_negotiated(void *arg, int rc, const json_t *answer, const char *why)
{
    struct qmp *q = arg;

    if (rc < 0) {
        broken(q, rc);
        return;
    }
    q->state = QMP_READY;
    q->events.ready(q->events.arg);
}

static void handle(struct qmp *q, const struct qmp_message *m)
{
    if (m->kind == QMP_GREETING && q->state == QMP_CONNECTING) {
        q->state = QMP_GREETED;
        qmp_command(q, "qmp_capabilities", NULL, 5000, on_negotiated, q);
        return;
    }
    if (m->kind == QMP_EVENT) {
        q->events.event(q->events.arg, m->text, m->payload);
        return;
    }
    for (size_t i = 0; i < q->waiting_count; i++) {
        if (q->waiting[i].id != m->id)
            continue;
        if (m->kind == QMP_RETURN)
            finish(q, i, 0, m->payload, NULL);
        else if (m->kind == QMP_ERROR)
            finish(q, i, -EIO, NULL, m->text);
        return;
    }
}

static void take_lines(struct qmp *q)
{
    char *end;

    while (q->state < QMP_BROKEN && q->in.len > 0 && (end = memchr(q->in.data, '\n', q->in.len))) {
        size_t size = (size_t)(end - q->in.data);
        struct qmp_message message;
        int rc = qmp_parse(q->in.data, size, &message);

        buf_consume(&q->in, size + 1);
        if (rc < 0) {
            broken(q, rc);
            return;
        }
        handle(q, &message);
        json_decref(message.object);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct qmp *q = handle->data;

    *out = uv_buf_init(q->chunk, sizeof(q->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *in)
{
    struct qmp *q = stream->data;

    if (size < 0) {
        broken(q, (int)size);
        return;
    }
    buf_add(&q->in, in->base, (size_t)size);
    if (q->in.failed) {
        broken(q, -EMSGSIZE);
        return;
    }
    take_lines(q);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct qmp *q = request->data;

    if (q->state == QMP_CLOSING)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&q->pipe, on_alloc, on_read);
    if (status < 0)
        broken(q, status);
}

struct qmp *qmp_open(uv_loop_t *loop, const char *socket_path, const struct qmp_events *events)
{
    struct qmp *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->events = *events;
    q->next_id = 1;
    q->handles = 2;
    buf_init(&q->in, QMP_LINE_MAX);
    uv_pipe_init(loop, &q->pipe, 0);
    uv_timer_init(loop, &q->timer);
    q->pipe.data = q->timer.data = q->connect.data = q;
    uv_timer_start(&q->timer, on_timer, 250, 250);
    uv_pipe_connect(&q->connect, &q->pipe, socket_path, on_connected);
    return q;
}

static void on_closed(uv_handle_t *handle)
{
    struct qmp *q = handle->data;

    if (--q->handles > 0)
        return;
    buf_free(&q->in);
    free(q);
}

void qmp_close(struct qmp *q)
{
    if (!q || q->state == QMP_CLOSING)
        return;
    q->state = QMP_CLOSING;
    q->waiting_count = 0;
    uv_close((uv_handle_t *)&q->pipe, on_closed);
    uv_close((uv_handle_t *)&q->timer, on_closed);
}
