/* A client of QEMU's machine protocol (QMP: https://www.qemu.org/docs/master/interop/qmp-spec.html)
 * on a UNIX socket.
 *
 * Lifecycle.  qmp_open connects, reads the greeting and leaves negotiation mode; `ready` tells.
 * Then commands, each answered once. When the connection ends, waiting commands fail with -EPIPE
 * and `closed` is called; the object is freed with qmp_close. Limits.     A line of at most
 * QMP_LINE_MAX bytes, QMP_COMMANDS_MAX commands waiting, a timeout for each command (a hung QEMU
 * answers nothing). Threads.    The loop's.
 */
#ifndef VLING_IO_QMP_H
#define VLING_IO_QMP_H

#include <jansson.h>
#include <stddef.h>
#include <uv.h>

#define QMP_LINE_MAX (1024 * 1024)
#define QMP_COMMANDS_MAX 32

struct qmp;

struct qmp_events {
    void (*ready)(void *arg);
    void (*event)(void *arg, const char *name, const json_t *data);
    void (*closed)(void *arg, int rc); /* also when it never was ready */
    void *arg;
};

/* NULL: out of memory. A socket that does not exist is told through `closed`. */
struct qmp *qmp_open(uv_loop_t *loop, const char *socket_path, const struct qmp_events *events);
void qmp_close(struct qmp *qmp); /* no callback comes afterwards */

/* `rc`: 0 with `answer` ("return" member, borrowed); -EIO QEMU refused (`why` tells); -ETIMEDOUT;
 * -EPIPE connection lost; -EBUSY too many waiting. `done` may be NULL. */
typedef void qmp_done_cb(void *arg, int rc, const json_t *answer, const char *why);
void qmp_command(struct qmp *qmp, const char *name, json_t *arguments, int timeout_ms,
                 qmp_done_cb *done, void *arg);

/* ---- the parser, apart from I/O, for fuzzing ---- */

enum qmp_message_kind { QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT, QMP_OTHER };
struct qmp_message {
    enum qmp_message_kind kind;
    json_t *object;   /* whole message; the caller's to release */
    json_t *payload;  /* return value or event data; borrowed, may be NULL */
    const char *text; /* event name or error description; borrowed */
    json_int_t id;    /* of the command; -1 if none */
};
/* 0 or -EBADMSG. */
int qmp_parse(const char *line, size_t size, struct qmp_message *ret);

#endif
