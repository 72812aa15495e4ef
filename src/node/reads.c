/* Layout of the file: the codec (pure), what is sent and heard, the gate, the start. */
#include "node/reads.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "io/address.h"
#include "node/controllers.h"
#include "node/frame.h"
#include "node/heartbeat_replay.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define WANTED_MS 1000 /* after the last read */

_Static_assert(READ_LEASE_BOOT_SIZE == HEARTBEAT_ID_SIZE, "lives are named alike");
_Static_assert(READ_LEASE_PEERS_MAX >= CONFIG_CONTROLLERS_MAX - 1,
               "room for all other controllers");

/* ---- the codec ---- */

int reads_encode(const struct reads_frame *frame, const uint8_t key[PKI_CLUSTER_KEY_SIZE],
                 uint8_t *ret)
{
    struct frame_writer w = {.bytes = ret, .limit = READS_FRAME_MAX - FRAME_MAC_SIZE};
    const struct read_lease_frame *lease = &frame->lease;

    if (!frame_name_ok(frame->sender, strnlen(frame->sender, LIVENESS_NAME_SIZE)))
        return -EINVAL;
    frame_put(&w, "VLRL", 4);
    frame_put_number(&w, VERSION, 1);
    frame_put(&w, frame->cluster, READS_ID_SIZE);
    frame_put(&w, lease->boot, READ_LEASE_BOOT_SIZE);
    frame_put(&w, lease->to, READ_LEASE_BOOT_SIZE);
    frame_put_number(&w, frame->sequence, 8);
    frame_put_number(&w, (uint64_t)lease->serial, 8);
    frame_put_number(&w, (uint64_t)lease->applied, 8);
    frame_put_number(&w, (uint64_t)lease->asked, 8);
    frame_put_number(&w, (uint64_t)lease->given, 8);
    frame_put_number(&w, (uint64_t)lease->floor, 8);
    frame_put_name(&w, frame->sender);
    return w.full ? -EINVAL : (int)frame_seal(&w, key);
}

/* Times and revisions are not negative, and nobody has to fear an overflow of their sums. */
static int64_t take_int(struct frame_reader *r)
{
    uint64_t value = frame_take_number(r, 8);

    if (value > INT64_MAX / 2)
        r->bad = true;
    return r->bad ? 0 : (int64_t)value;
}

int reads_decode(const uint8_t *bytes, size_t size, const uint8_t *key, struct reads_frame *ret)
{
    struct frame_reader r;
    char magic[4];
    int rc = size > READS_FRAME_MAX ? -EBADMSG : frame_open(&r, bytes, size, key);

    if (rc < 0)
        return rc;
    memset(ret, 0, sizeof(*ret));
    frame_take(&r, magic, 4);
    if (memcmp(magic, "VLRL", 4) != 0 || frame_take_number(&r, 1) != VERSION)
        return -EBADMSG;
    frame_take(&r, ret->cluster, READS_ID_SIZE);
    frame_take(&r, ret->lease.boot, READ_LEASE_BOOT_SIZE);
    frame_take(&r, ret->lease.to, READ_LEASE_BOOT_SIZE);
    ret->sequence = frame_take_number(&r, 8);
    ret->lease.serial = take_int(&r);
    ret->lease.applied = take_int(&r);
    ret->lease.asked = take_int(&r);
    ret->lease.given = take_int(&r);
    ret->lease.floor = take_int(&r);
    frame_take_name(&r, ret->sender, sizeof(ret->sender));
    return r.bad || r.left > 0 ? -EBADMSG : 0;
}

/* ---- sending and hearing ---- */

struct peer {
    char host[LIVENESS_NAME_SIZE];
    struct sockaddr_storage address;
};

struct reads {
    struct node *node;
    struct read_lease lease;
    struct peer peers[READ_LEASE_PEERS_MAX];
    size_t peer_count;
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    struct reads_frame frame; /* what is sent next: cluster, sender, sequence */
    struct heartbeat_replay replay;
    uv_udp_t udp;
    uv_timer_t ask;    /* while promises are wanted */
    uv_timer_t wake;   /* an answer waits for the end of a promise */
    int64_t read_ms;   /* the last one */
    int64_t verify_ms; /* when the question under way was put; 0: none is */
    bool asking, stopped;
    uint64_t at_once, asked;
    uint8_t buffer[READS_FRAME_MAX + 1];
};

/* Not queued: one that cannot leave now is repeated later. */
static void send_to(struct reads *reads, size_t peer, const struct read_lease_frame *lease)
{
    uint8_t bytes[READS_FRAME_MAX];
    uv_buf_t buf;
    int size;

    reads->frame.sequence++;
    reads->frame.lease = *lease;
    size = reads_encode(&reads->frame, reads->key, bytes);
    if (size < 0)
        return;
    buf = uv_buf_init((char *)bytes, (unsigned)size);
    uv_udp_try_send(&reads->udp, &buf, 1, (struct sockaddr *)&reads->peers[peer].address);
}

static void send_all(struct reads *reads, const struct read_lease_frame *lease)
{
    for (size_t i = 0; i < reads->peer_count; i++)
        send_to(reads, i, lease);
}

static size_t peer_at(const struct reads *reads, const char *host)
{
    size_t at = 0;

    while (at < reads->peer_count && strcmp(reads->peers[at].host, host) != 0)
        at++;
    return at;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct reads *reads = handle->data;

    *ret = uv_buf_init((char *)reads->buffer, sizeof(reads->buffer));
}

static void on_received(uv_udp_t *udp, ssize_t size, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags)
{
    struct reads *reads = udp->data;
    struct read_lease_frame answer;
    struct reads_frame frame;
    size_t peer;

    if (size <= 0 || !from || reads->stopped ||
        reads_decode((const uint8_t *)buf->base, (size_t)size, reads->key, &frame) < 0 ||
        memcmp(frame.cluster, reads->frame.cluster, READS_ID_SIZE) != 0)
        return;
    peer = peer_at(reads, frame.sender);
    if (peer == reads->peer_count ||
        !heartbeat_replay_check(&reads->replay, frame.sender, PLANE_MGMT, frame.lease.boot,
                                frame.sequence))
        return;
    if (read_lease_heard(&reads->lease, peer, &frame.lease, clock_now_ms(), &answer))
        send_to(reads, peer, &answer);
    mirror_gate_moved(reads->node->mirror);
}

/* ---- asking ---- */

static void on_verified(void *arg, int rc)
{
    struct reads *reads = arg;
    int64_t asked = reads->verify_ms;

    reads->verify_ms = 0;
    if (rc < 0 || reads->stopped)
        return;
    read_lease_applied(&reads->lease, mirror_revision(reads->node->mirror));
    read_lease_listed(&reads->lease, asked);
}

static void ask(struct reads *reads)
{
    int64_t now = clock_now_ms();
    struct read_lease_frame question;

    read_lease_ask(&reads->lease, now, &question);
    send_all(reads, &question);
    if (reads->verify_ms)
        return;
    reads->verify_ms = now;
    mirror_barrier(reads->node->mirror, READ_LEASE_SILENCE_MS, on_verified, reads);
}

static void on_ask(uv_timer_t *timer)
{
    struct reads *reads = timer->data;

    if (clock_now_ms() - reads->read_ms < WANTED_MS || !reads->lease.base) {
        ask(reads);
    } else {
        uv_timer_stop(timer);
        reads->asking = false;
    }
}

static void read_list(struct reads *reads)
{
    json_t *row = mirror_get(reads->node->mirror, "setting", CONTROLLERS_ROW, NULL);
    const json_t *value = json_object_get(row, "value");

    if (value)
        read_lease_list(&reads->lease, json_int(value, "serial", 0),
                        controllers_listed(value, reads->node->config.host));
    json_decref(row);
}

static void on_rows(void *arg, const struct store_change *changes, size_t n)
{
    struct reads *reads = arg;
    struct read_lease_frame news;
    bool list = !changes;

    if (reads->stopped)
        return;
    for (size_t i = 0; changes && i < n; i++)
        list = list || strcmp(changes[i].table, "setting") == 0;
    if (list)
        read_list(reads);
    read_lease_applied(&reads->lease, mirror_revision(reads->node->mirror));
    if (read_lease_confirm(&reads->lease, clock_now_ms(), &news))
        send_all(reads, &news);
}

/* ---- the gate ---- */

static void start_asking(struct reads *reads)
{
    if (reads->asking || reads->stopped)
        return;
    reads->asking = true;
    uv_timer_start(&reads->ask, on_ask, 0, READ_LEASE_ASK_MS);
}

static bool holds(void *arg)
{
    struct reads *reads = arg;
    bool held;

    reads->read_ms = clock_now_ms();
    start_asking(reads);
    held = read_lease_holds(&reads->lease, reads->read_ms);
    reads->at_once += held;
    reads->asked += !held;
    return held;
}

void reads_get_counters(const struct reads *reads, struct reads_counters *ret)
{
    *ret = (struct reads_counters){reads->at_once, reads->asked,
                                   read_lease_holds(&reads->lease, clock_now_ms())};
}

static void on_wake(uv_timer_t *timer)
{
    struct reads *reads = timer->data;

    mirror_gate_moved(reads->node->mirror);
}

static int may_show(void *arg, int64_t revision)
{
    struct reads *reads = arg;
    int64_t now = clock_now_ms(), wake;
    int may = reads->stopped ? -ECANCELED : read_lease_may_show(&reads->lease, revision, now);

    if (may == 0) {
        wake = read_lease_wake_ms(&reads->lease, now);
        if (wake < INT64_MAX)
            uv_timer_start(&reads->wake, on_wake, (uint64_t)(wake - now) + 1, 0);
    }
    return may;
}

/* ---- starting ---- */

static void list_peers(struct reads *reads)
{
    const struct config *c = &reads->node->config;

    for (size_t i = 0; i < c->controller_count; i++) {
        struct peer *peer = &reads->peers[reads->peer_count];

        if (strcmp(c->controllers[i].host, c->host) == 0)
            continue;
        snprintf(peer->host, sizeof(peer->host), "%s", c->controllers[i].host);
        /* An address that is none is never answered from: then this controller never holds. */
        address_parse(c->controllers[i].ip, READS_PORT, &peer->address, NULL);
        reads->peer_count++;
    }
}

static int open_socket(struct reads *reads)
{
    struct sockaddr_storage address;
    int rc = address_parse(reads->node->config.mgmt_ip, READS_PORT, &address, NULL);

    if (rc == 0)
        rc = uv_udp_bind(&reads->udp, (struct sockaddr *)&address, 0);
    return rc == 0 ? uv_udp_recv_start(&reads->udp, on_alloc, on_received) : rc;
}

static void open_handles(struct reads *reads)
{
    uv_udp_init(reads->node->loop, &reads->udp);
    uv_timer_init(reads->node->loop, &reads->ask);
    uv_timer_init(reads->node->loop, &reads->wake);
    reads->udp.data = reads->ask.data = reads->wake.data = reads;
}

struct reads *reads_start(struct node *node, struct err *err)
{
    struct reads *reads = calloc(1, sizeof(*reads));
    uint8_t boot[READ_LEASE_BOOT_SIZE];
    int rc;

    if (!reads) {
        err_set(err, -ENOMEM, "cannot start read leases", NULL, NULL);
        return NULL;
    }
    reads->node = node;
    if (pki_cluster_key(node->config.state_dir, reads->key, err) < 0) {
        free(reads);
        return NULL;
    }
    crypto_generichash(reads->frame.cluster, READS_ID_SIZE, reads->key, sizeof(reads->key), NULL,
                       0);
    snprintf(reads->frame.sender, sizeof(reads->frame.sender), "%s", node->config.host);
    list_peers(reads);
    id_random(boot, sizeof(boot));
    read_lease_init(&reads->lease, boot, node->config.controllers_serial, reads->peer_count,
                    clock_now_ms());
    open_handles(reads);
    rc = open_socket(reads);
    if (rc < 0) {
        err_why(err, rc, "cannot listen for other controllers", "%s port %d: %s",
                node->config.mgmt_ip, READS_PORT, uv_strerror(rc));
        reads_stop(reads);
        return NULL;
    }
    mirror_listen(node->mirror, on_rows, reads);
    if (mirror_ready(node->mirror))
        on_rows(reads, NULL, 0);
    mirror_set_gate(node->mirror,
                    &(struct mirror_gate){.holds = holds, .may_show = may_show, .arg = reads});
    start_asking(reads);
    return reads;
}

static void on_closed(uv_handle_t *handle)
{
}

/* Not freed: the mirror asks the gate to the end of the process. */
void reads_stop(struct reads *reads)
{
    if (!reads || reads->stopped)
        return;
    reads->stopped = true;
    uv_close((uv_handle_t *)&reads->udp, on_closed);
    uv_close((uv_handle_t *)&reads->ask, on_closed);
    uv_close((uv_handle_t *)&reads->wake, on_closed);
}
