/* Layout of the file: the codec (pure), then sockets and timers. */
#include "node/heartbeat.h"
#include "base/clock.h"
#include "base/id.h"
#include "io/address.h"
#include "node/frame.h"
#include "node/heartbeat_replay.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define EXTRA_ROUND_MS 50
/* Frames taken from one socket in one turn of the loop are bounded by libuv; a frame longer than
 * this is cut by the kernel and fails its MAC. */
#define RECEIVE_SIZE (HEARTBEAT_FRAME_MAX + 1)

int heartbeat_encode(const struct heartbeat_frame *frame, const uint8_t key[PKI_CLUSTER_KEY_SIZE],
                     uint8_t *ret)
{
    struct frame_writer w = {.bytes = ret, .limit = HEARTBEAT_FRAME_MAX - FRAME_MAC_SIZE};
    size_t views = 0;

    if (!frame_name_ok(frame->sender, strnlen(frame->sender, LIVENESS_NAME_SIZE)) ||
        (unsigned)frame->plane >= PLANE_COUNT)
        return -EINVAL;
    frame_put(&w, "VLHB", 4);
    frame_put_number(&w, VERSION, 1);
    frame_put_number(&w, frame->plane, 1);
    frame_put_number(&w, 0, 2); /* views: filled in below */
    frame_put(&w, frame->cluster, HEARTBEAT_ID_SIZE);
    frame_put(&w, frame->boot, HEARTBEAT_ID_SIZE);
    frame_put_number(&w, frame->sequence, 8);
    frame_put_number(&w, (uint64_t)frame->wall_ms, 8);
    frame_put_name(&w, frame->sender);
    for (size_t i = 0; i < frame->view_count && i < HEARTBEAT_VIEWS_MAX; i++) {
        const struct heartbeat_view *view = &frame->views[i];
        size_t len = strnlen(view->host, LIVENESS_NAME_SIZE);

        if (!frame_name_ok(view->host, len) || (unsigned)view->verdict > LIVE_LOST)
            return -EINVAL;
        if (w.limit - w.len < len + 2)
            break;
        frame_put_number(&w, view->verdict, 1);
        frame_put_name(&w, view->host);
        views++;
    }
    if (w.full)
        return -EMSGSIZE;
    ret[6] = (uint8_t)(views >> 8);
    ret[7] = (uint8_t)views;
    return (int)frame_seal(&w, key);
}

int heartbeat_decode(const uint8_t *bytes, size_t size, const uint8_t *key,
                     struct heartbeat_frame *ret)
{
    struct frame_reader r;
    char magic[4];
    int rc = size > HEARTBEAT_FRAME_MAX ? -EBADMSG : frame_open(&r, bytes, size, key);

    if (rc < 0)
        return rc;
    memset(ret, 0, sizeof(*ret));
    frame_take(&r, magic, 4);
    if (memcmp(magic, "VLHB", 4) != 0 || frame_take_number(&r, 1) != VERSION)
        return -EBADMSG;
    ret->plane = (enum liveness_plane)frame_take_number(&r, 1);
    ret->view_count = frame_take_number(&r, 2);
    frame_take(&r, ret->cluster, HEARTBEAT_ID_SIZE);
    frame_take(&r, ret->boot, HEARTBEAT_ID_SIZE);
    ret->sequence = frame_take_number(&r, 8);
    ret->wall_ms = (int64_t)frame_take_number(&r, 8);
    frame_take_name(&r, ret->sender, sizeof(ret->sender));
    if (r.bad || (unsigned)ret->plane >= PLANE_COUNT || ret->view_count > HEARTBEAT_VIEWS_MAX)
        return -EBADMSG;
    for (size_t i = 0; i < ret->view_count; i++) {
        ret->views[i].verdict = (enum liveness_verdict)frame_take_number(&r, 1);
        frame_take_name(&r, ret->views[i].host, sizeof(ret->views[i].host));
        if (r.bad || (unsigned)ret->views[i].verdict > LIVE_LOST)
            return -EBADMSG;
    }
    return r.left == 0 ? 0 : -EBADMSG;
}

/* ---- sockets ---- */

struct plane_socket {
    struct heartbeat *heartbeat;
    uv_udp_t udp;
    bool open;
};

struct target {
    enum liveness_plane plane;
    struct sockaddr_storage address;
};

struct heartbeat {
    struct plane_socket sockets[PLANE_COUNT];
    uv_timer_t timer;
    unsigned handles; /* to close before freeing */
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    uint16_t port;
    struct target targets[HEARTBEAT_PEERS_MAX];
    size_t target_count;
    struct heartbeat_frame frame; /* what is sent next */
    struct heartbeat_replay replay;
    struct heartbeat_counters counters;
    int64_t extra_round;
    void (*heard)(void *arg, const struct heartbeat_frame *frame);
    size_t (*views)(void *arg, struct heartbeat_view *ret, size_t max);
    void *arg;
    uint8_t buffer[RECEIVE_SIZE];
    struct heartbeat_frame received;
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct plane_socket *s = handle->data;

    *ret = uv_buf_init((char *)s->heartbeat->buffer, RECEIVE_SIZE);
}

static void on_received(uv_udp_t *udp, ssize_t size, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags)
{
    struct plane_socket *s = udp->data;
    struct heartbeat *h = s->heartbeat;
    int rc;

    if (size <= 0 || !from)
        return;
    h->counters.received++;
    rc = heartbeat_decode((const uint8_t *)buf->base, (size_t)size, h->key, &h->received);
    if (rc == 0 && memcmp(h->received.cluster, h->frame.cluster, HEARTBEAT_ID_SIZE) != 0)
        rc = -EACCES;
    if (rc < 0) {
        if (rc == -EACCES)
            h->counters.forged++;
        else
            h->counters.bad++;
        return;
    }
    if (strcmp(h->received.sender, h->frame.sender) == 0)
        return;
    if (!heartbeat_replay_check(&h->replay, h->received.sender, h->received.plane, h->received.boot,
                                h->received.sequence)) {
        h->counters.replayed++;
        return;
    }
    if (h->heard)
        h->heard(h->arg, &h->received);
}

/* Sends to all targets of all planes. Never queued: a heartbeat that cannot leave now is worthless
 * later. */
static void send_round(struct heartbeat *h)
{
    uint8_t bytes[PLANE_COUNT][HEARTBEAT_FRAME_MAX];
    int sizes[PLANE_COUNT];

    h->frame.sequence++;
    h->frame.wall_ms = clock_wall_ms();
    h->frame.view_count = h->views ? h->views(h->arg, h->frame.views, HEARTBEAT_VIEWS_MAX) : 0;
    if (h->frame.view_count > HEARTBEAT_VIEWS_MAX)
        h->frame.view_count = HEARTBEAT_VIEWS_MAX;
    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        h->frame.plane = plane;
        sizes[plane] =
            h->sockets[plane].open ? heartbeat_encode(&h->frame, h->key, bytes[plane]) : 0;
    }
    for (size_t i = 0; i < h->target_count; i++) {
        struct target *target = &h->targets[i];
        uv_buf_t buf;

        if (sizes[target->plane] <= 0)
            continue;
        buf = uv_buf_init((char *)bytes[target->plane], (unsigned)sizes[target->plane]);
        if (uv_udp_try_send(&h->sockets[target->plane].udp, &buf, 1,
                            (struct sockaddr *)&target->address) < 0)
            h->counters.send_errors++;
        else
            h->counters.sent++;
    }
}

static void on_timer(uv_timer_t *timer)
{
    send_round(timer->data);
}

static int open_plane(struct heartbeat *h, uv_loop_t *loop, unsigned plane, const char *ip)
{
    struct plane_socket *s = &h->sockets[plane];
    struct sockaddr_storage address;
    int rc = address_parse(ip, h->port, &address, NULL);

    if (rc < 0)
        return rc;
    rc = uv_udp_init(loop, &s->udp);
    if (rc < 0)
        return rc;
    h->handles++;
    s->heartbeat = h;
    s->udp.data = s;
    s->open = true;
    rc = uv_udp_bind(&s->udp, (struct sockaddr *)&address, 0);
    return rc < 0 ? rc : uv_udp_recv_start(&s->udp, on_alloc, on_received);
}

static void fill(struct heartbeat *h, const struct heartbeat_options *options)
{
    memcpy(h->key, options->key, sizeof(h->key));
    h->port = options->port ? options->port : HEARTBEAT_PORT;
    h->heard = options->heard;
    h->views = options->views;
    h->arg = options->arg;
    snprintf(h->frame.sender, sizeof(h->frame.sender), "%s", options->self);
    id_random(h->frame.boot, sizeof(h->frame.boot));
    /* The cluster's id is the hash of its key: two clouds never share one. */
    crypto_generichash(h->frame.cluster, sizeof(h->frame.cluster), options->key,
                       PKI_CLUSTER_KEY_SIZE, NULL, 0);
}

struct heartbeat *heartbeat_start(uv_loop_t *loop, const struct heartbeat_options *options,
                                  struct err *err)
{
    uint64_t interval = options->interval_ms > 0 ? (uint64_t)options->interval_ms : 200;
    struct heartbeat *h = NULL;

    if (sodium_init() < 0 || !frame_name_ok(options->self, strlen(options->self)) ||
        !(h = calloc(1, sizeof(*h)))) {
        err_why(err, -EINVAL, "cannot start heartbeats", "bad host name or out of memory");
        return NULL;
    }
    fill(h, options);
    uv_timer_init(loop, &h->timer);
    h->handles++;
    h->timer.data = h;
    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        const char *ip = options->addresses[plane];
        int rc;

        if (!ip || !ip[0])
            continue;
        /* Planes may share one address: the first socket serves it. */
        for (unsigned other = 0; other < plane; other++) {
            if (options->addresses[other] && strcmp(options->addresses[other], ip) == 0)
                ip = NULL;
            if (!ip)
                break;
        }
        if (!ip)
            continue;
        rc = open_plane(h, loop, plane, ip);
        if (rc < 0) {
            err_why(err, rc, "cannot listen for heartbeats", "%s port %u: %s",
                    options->addresses[plane], h->port, uv_strerror(rc));
            heartbeat_stop(h);
            return NULL;
        }
    }
    uv_timer_start(&h->timer, on_timer, 0, interval);
    return h;
}

static void on_closed(uv_handle_t *handle)
{
    struct heartbeat *h =
        handle->type == UV_TIMER ? handle->data : ((struct plane_socket *)handle->data)->heartbeat;

    if (--h->handles == 0) {
        sodium_memzero(h->key, sizeof(h->key));
        free(h);
    }
}

void heartbeat_stop(struct heartbeat *h)
{
    if (!h)
        return;
    h->heard = NULL;
    h->views = NULL;
    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        if (h->sockets[plane].open)
            uv_close((uv_handle_t *)&h->sockets[plane].udp, on_closed);
    }
    uv_close((uv_handle_t *)&h->timer, on_closed);
}

int heartbeat_set_peers(struct heartbeat *h, const struct heartbeat_peer *peers, size_t count)
{
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < count; i++) {
        struct target target = {.plane = peers[i].plane};

        if ((unsigned)peers[i].plane >= PLANE_COUNT || !h->sockets[peers[i].plane].open)
            continue;
        if (kept == HEARTBEAT_PEERS_MAX)
            return h->target_count = kept, -ENOSPC;
        if (address_parse(peers[i].ip, peers[i].port ? peers[i].port : h->port, &target.address,
                          NULL) < 0) {
            rc = -EINVAL;
            continue;
        }
        h->targets[kept++] = target;
    }
    h->target_count = kept;
    return rc;
}

void heartbeat_send_now(struct heartbeat *h)
{
    int64_t now = clock_now_ms();

    if (now - h->extra_round < EXTRA_ROUND_MS)
        return;
    h->extra_round = now;
    send_round(h);
}

void heartbeat_get_counters(const struct heartbeat *h, struct heartbeat_counters *ret)
{
    *ret = h->counters;
}
