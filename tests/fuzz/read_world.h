/* A world of controllers with read leases, for the unit test (drawn at random) and the fuzz target
 * (drawn by libFuzzer): the real ha/read_lease.c on each, beside a store that is only a counter.
 *
 * What is played: commits anywhere; rows that arrive late; answers that wait and answers that are
 * sent; frames lost and delayed; clocks that differ in offset and, by up to a tenth, in rate;
 * controllers that stand still, die, start again with rows as old as one likes, are taken out of
 * the list and put back.
 *
 * What must hold: whoever reads is told nothing older than anybody was told before it asked.
 */
#ifndef VLING_TESTS_FUZZ_READ_WORLD_H
#define VLING_TESTS_FUZZ_READ_WORLD_H

#include "ha/read_lease.h"
#include "must.h"

#include <errno.h>
#include <string.h>

#define NODES 4
#define FRAMES_MAX 96
#define ANSWERS_MAX 12

struct world_draw {
    unsigned (*next)(void *arg, unsigned bound); /* 0 <= result < bound */
    void *arg;
};

struct world_answer {
    bool there;
    int64_t seen;  /* what it tells; -1: a read that waits for `needs` */
    int64_t needs; /* rows up to here, before it may be told */
    int64_t least; /* what was told when it was asked for */
};

struct world_node {
    bool up;
    int64_t paused_until, offset, rate; /* local ms = offset + true ms * (1000 + rate) / 1000 */
    struct read_lease lease;
    int64_t serial, applied, ask_at;
    unsigned members; /* of its list */
    int64_t verify_asked, verify_revision;
    uint64_t sent;
    uint8_t heard_boot[NODES][READ_LEASE_BOOT_SIZE];
    uint64_t heard[NODES];
    struct world_answer answers[ANSWERS_MAX];
};

struct world_frame {
    bool there;
    int from, to;
    int64_t due;
    uint64_t number;
    struct read_lease_frame frame;
};

struct world {
    struct world_draw draw;
    int64_t now, revision, shown;
    int64_t serial, serial_revision; /* of the list that counts, and since which revision */
    unsigned members;
    uint64_t lives;
    struct world_node nodes[NODES];
    struct world_frame frames[FRAMES_MAX];
    uint64_t read_at_once, read_by_barrier, answered; /* what happened */
};

static inline unsigned world_drawn(struct world *w, unsigned bound)
{
    return w->draw.next(w->draw.arg, bound);
}

static inline int64_t world_local(const struct world *w, const struct world_node *node)
{
    return node->offset + w->now * (1000 + node->rate) / 1000;
}

static inline bool world_runs(const struct world *w, const struct world_node *node)
{
    return node->up && w->now >= node->paused_until;
}

/* The place of `other` among the peers of `self`; -1: it is none. */
static inline int world_peer(const struct world_node *self, int own, int other)
{
    int at = 0;

    if (other == own || !(self->members & 1u << other))
        return -1;
    for (int i = 0; i < other; i++)
        at += i != own && self->members & 1u << i;
    return at;
}

static inline void world_send(struct world *w, int from, int to,
                              const struct read_lease_frame *frame)
{
    int at = 0;

    while (at < FRAMES_MAX && w->frames[at].there)
        at++;
    w->nodes[from].sent++;
    if (at == FRAMES_MAX || world_drawn(w, 12) == 0)
        return; /* lost */
    w->frames[at] = (struct world_frame){.there = true,
                                         .from = from,
                                         .to = to,
                                         .due = w->now + world_drawn(w, 8),
                                         .number = w->nodes[from].sent,
                                         .frame = *frame};
    if (world_drawn(w, 16) == 0)
        w->frames[at].due += world_drawn(w, 1500);
}

static inline void world_send_all(struct world *w, int from, const struct read_lease_frame *frame)
{
    for (int to = 0; to < NODES; to++) {
        if (world_peer(&w->nodes[from], from, to) >= 0)
            world_send(w, from, to, frame);
    }
}

/* Frames arrive in the order in which they were sent, or not at all; an old life is not heard any
 * more (what node/heartbeat_replay.h sees to). */
static inline bool world_new(struct world_node *node, const struct world_frame *f)
{
    if (memcmp(node->heard_boot[f->from], f->frame.boot, READ_LEASE_BOOT_SIZE) < 0) {
        memcpy(node->heard_boot[f->from], f->frame.boot, READ_LEASE_BOOT_SIZE);
        node->heard[f->from] = 0;
    } else if (memcmp(node->heard_boot[f->from], f->frame.boot, READ_LEASE_BOOT_SIZE) > 0) {
        return false;
    }
    if (f->number <= node->heard[f->from])
        return false;
    node->heard[f->from] = f->number;
    return true;
}

static inline void world_deliver(struct world *w)
{
    for (int i = 0; i < FRAMES_MAX; i++) {
        struct world_frame *f = &w->frames[i];
        struct world_node *node = &w->nodes[f->to];
        struct read_lease_frame answer;
        int peer;

        if (!f->there || f->due > w->now || (node->up && !world_runs(w, node)))
            continue;
        f->there = false;
        peer = world_peer(node, f->to, f->from);
        if (node->up && peer >= 0 && world_new(node, f) &&
            read_lease_heard(&node->lease, (size_t)peer, &f->frame, world_local(w, node), &answer))
            world_send(w, f->to, f->from, &answer);
    }
}

static inline void world_know_list(struct world *w, int at)
{
    struct world_node *node = &w->nodes[at];

    if (node->applied >= w->serial_revision)
        read_lease_list(&node->lease, w->serial, w->members & 1u << at);
}

/* ---- what a client does ---- */

static inline struct world_answer *world_answer_new(struct world_node *node)
{
    for (int i = 0; i < ANSWERS_MAX; i++) {
        if (!node->answers[i].there)
            return &node->answers[i];
    }
    return NULL;
}

static inline void world_read(struct world *w, struct world_node *node)
{
    struct world_answer *answer = world_answer_new(node);

    if (!answer)
        return;
    if (read_lease_holds(&node->lease, world_local(w, node))) {
        must(node->applied >= w->shown);
        w->read_at_once++;
        *answer = (struct world_answer){.there = true, .seen = node->applied};
    } else {
        *answer = (struct world_answer){
            .there = true, .seen = -1, .needs = w->revision, .least = w->shown};
    }
}

static inline void world_write(struct world *w, struct world_node *node)
{
    struct world_answer *answer = world_answer_new(node);

    w->revision++;
    if (answer)
        *answer = (struct world_answer){.there = true, .seen = w->revision, .needs = w->revision};
}

static inline void world_answer(struct world *w, struct world_node *node)
{
    for (int i = 0; i < ANSWERS_MAX; i++) {
        struct world_answer *answer = &node->answers[i];
        int may;

        if (!answer->there || node->applied < answer->needs)
            continue;
        if (answer->seen < 0) {
            must(node->applied >= answer->least);
            w->read_by_barrier++;
            answer->seen = node->applied;
        }
        may = read_lease_may_show(&node->lease, answer->seen, world_local(w, node));
        must(may != 0 || read_lease_wake_ms(&node->lease, world_local(w, node)) < INT64_MAX);
        if (may == 0)
            continue;
        answer->there = false;
        w->answered += may > 0;
        if (may > 0 && answer->seen > w->shown)
            w->shown = answer->seen;
    }
}

/* ---- what a controller does ---- */

static inline void world_apply(struct world *w, int at)
{
    struct world_node *node = &w->nodes[at];
    struct read_lease_frame news;
    int64_t behind = w->revision - node->applied;

    if (behind > 0)
        node->applied += world_drawn(w, 2) ? behind : 1 + world_drawn(w, (unsigned)behind);
    world_know_list(w, at);
    read_lease_applied(&node->lease, node->applied);
    if (node->verify_asked && node->applied >= node->verify_revision) {
        read_lease_listed(&node->lease, node->verify_asked);
        node->verify_asked = 0;
    }
    if (read_lease_confirm(&node->lease, world_local(w, node), &news))
        world_send_all(w, at, &news);
}

static inline void world_ask(struct world *w, int at)
{
    struct world_node *node = &w->nodes[at];
    int64_t local = world_local(w, node);
    struct read_lease_frame question;

    if (local < node->ask_at)
        return;
    node->ask_at = local + READ_LEASE_ASK_MS;
    read_lease_ask(&node->lease, local, &question);
    world_send_all(w, at, &question);
    if (!node->verify_asked) {
        node->verify_asked = local;
        node->verify_revision = w->revision;
    }
}

static inline void world_start(struct world *w, int at)
{
    struct world_node *node = &w->nodes[at];
    uint8_t boot[READ_LEASE_BOOT_SIZE] = {0};
    int64_t offset = node->offset, rate = node->rate, old = (int64_t)world_drawn(w, 20);
    int peers = 0;

    if (!(w->members & 1u << at))
        return;
    w->lives++;
    for (int i = 0; i < 8; i++)
        boot[i] = (uint8_t)(w->lives >> (56 - 8 * i));
    *node = (struct world_node){.up = true, .offset = offset, .rate = rate};
    node->serial = w->serial;
    node->members = w->members;
    node->applied = w->revision > old ? w->revision - old : 0;
    for (int i = 0; i < NODES; i++)
        peers += world_peer(node, at, i) >= 0;
    read_lease_init(&node->lease, boot, node->serial, (size_t)peers, world_local(w, node));
    world_know_list(w, at);
    read_lease_applied(&node->lease, node->applied);
}

static inline void world_change_list(struct world *w)
{
    unsigned other = w->members ^ 1u << world_drawn(w, NODES);

    if (!other)
        return;
    w->members = other;
    w->serial++;
    w->serial_revision = ++w->revision;
}

static inline void world_upset(struct world *w, int at)
{
    struct world_node *node = &w->nodes[at];

    switch (world_drawn(w, 8)) {
    case 0:
        node->up = false;
        break;
    case 1:
        world_change_list(w);
        break;
    case 2:
    case 3:
        node->paused_until = w->now + world_drawn(w, 1500);
        break;
    default: /* follows a newer list, or comes back */
        if (!node->up || (world_runs(w, node) && node->lease.outdated))
            world_start(w, at);
    }
}

static inline void world_step(struct world *w)
{
    int at = (int)world_drawn(w, NODES);
    struct world_node *node = &w->nodes[at];
    unsigned what = world_drawn(w, 256);

    if (what < 1) {
        world_upset(w, at);
    } else if (what < 64) {
        w->now += 1 + world_drawn(w, 12);
        world_deliver(w);
        for (int i = 0; i < NODES; i++) {
            if (world_runs(w, &w->nodes[i]))
                world_ask(w, i);
        }
    } else if (world_runs(w, node)) {
        if (what < 120)
            world_apply(w, at);
        else if (what < 176)
            world_answer(w, node);
        else if (what < 240)
            world_read(w, node);
        else
            world_write(w, node);
    }
}

static inline void world_begin(struct world *w, struct world_draw draw)
{
    memset(w, 0, sizeof(*w));
    w->draw = draw;
    w->revision = 100;
    w->members = 7;
    for (int i = 0; i < NODES; i++) {
        w->nodes[i].offset = 1 + world_drawn(w, 5000);
        w->nodes[i].rate = (int64_t)world_drawn(w, 101) - 50;
        world_start(w, i);
    }
}

#endif
