/* A history of what clients of the store did and saw, and its judge.
 *
 * Idea.     The store's revisions say in which order transactions took effect, so nothing has to be
 *           searched: the history is right if that one order explains everything that anybody saw.
 * Truth.    One client's watch from the first revision to the last, without a reset.
 * Checked.  Acknowledged: took effect once, at the revision that was answered, with all its changes
 *           and nothing else. Refused: never took effect. Unknown: at most once. Preconditions held
 *           in the state right before. Whoever asks after somebody else was answered gets no older
 *           revision. What is read is the state at the revision it is said to have. Watches tell
 *           each change once, in order, and after a reset go on from its state.
 * Shared.   Transactions that share a revision touch nothing of each other, so each is judged by
 * the state before that revision. Times.    One thread, so the order of calls is the order of
 * events. */
#ifndef VLING_TESTS_HISTORY_H
#define VLING_TESTS_HISTORY_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_ROW 16
#define HISTORY_PARTS 3
#define HISTORY_ROWS_MAX 4096
#define HISTORY_CLIENTS 8

struct history_part {
    char row[HISTORY_ROW];
    int64_t revision; /* expected, or seen */
    int64_t value;    /* 0: deleted */
};

struct history_op {
    bool read, done;
    int rc;
    int64_t revision;
    int64_t floor;  /* the highest revision acknowledged to anybody when it began */
    int64_t value;  /* its own, in each row that it puts */
    int64_t effect; /* where it took effect, as the judge found; 0: nowhere */
    bool twice;
    struct history_part expect[HISTORY_PARTS], put[HISTORY_PARTS];
    size_t expects, puts;
    struct history_part *seen; /* a read: all rows */
    size_t seen_count;
};

struct history_event {
    bool reset; /* row "": the following events up to count are the state at `revision` */
    size_t count;
    int64_t revision;
    struct history_part part;
};

struct history_stream {
    struct history_event *events;
    size_t count, cap;
};

struct history {
    struct history_op **ops;
    size_t count, cap;
    int64_t acked, values;
    struct history_stream streams[HISTORY_CLIENTS];
    char why[300];
};

/* ---- recording ---- */

static inline void *history_grow(void *list, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return list;
    *cap = *cap ? 2 * *cap : 64;
    list = realloc(list, *cap * size);
    if (!list)
        abort();
    return list;
}

static inline struct history_op *history_begin(struct history *h, bool read)
{
    struct history_op *op = calloc(1, sizeof(*op));

    h->ops = history_grow(h->ops, h->count, &h->cap, sizeof(*h->ops));
    if (!op)
        abort();
    h->ops[h->count++] = op;
    op->read = read;
    op->floor = h->acked;
    op->value = ++h->values;
    return op;
}

static inline void history_expect(struct history_op *op, const char *row, int64_t revision)
{
    struct history_part *part = &op->expect[op->expects++];

    snprintf(part->row, sizeof(part->row), "%s", row);
    part->revision = revision;
}

static inline void history_put(struct history_op *op, const char *row, bool deleted)
{
    struct history_part *part = &op->put[op->puts++];

    snprintf(part->row, sizeof(part->row), "%s", row);
    part->value = deleted ? 0 : op->value;
}

static inline void history_end(struct history *h, struct history_op *op, int rc, int64_t revision)
{
    op->done = true;
    op->rc = rc;
    op->revision = revision;
    if (rc == 0 && revision > h->acked)
        h->acked = revision;
}

static inline void history_saw(struct history_op *op, const char *row, int64_t revision,
                               int64_t value)
{
    struct history_part *part;

    op->seen = realloc(op->seen, (op->seen_count + 1) * sizeof(*op->seen));
    if (!op->seen)
        abort();
    part = &op->seen[op->seen_count++];
    snprintf(part->row, sizeof(part->row), "%s", row);
    part->revision = revision;
    part->value = value;
}

static inline struct history_event *history_event(struct history *h, int client)
{
    struct history_stream *s = &h->streams[client];

    s->events = history_grow(s->events, s->count, &s->cap, sizeof(*s->events));
    memset(&s->events[s->count], 0, sizeof(*s->events));
    return &s->events[s->count++];
}

static inline void history_told(struct history *h, int client, const char *row, int64_t revision,
                                int64_t value)
{
    struct history_event *event = history_event(h, client);

    event->revision = revision;
    snprintf(event->part.row, sizeof(event->part.row), "%s", row);
    event->part.revision = revision;
    event->part.value = value;
}

/* Followed by `count` calls of history_told: the state. */
static inline void history_reset(struct history *h, int client, int64_t revision, size_t count)
{
    struct history_event *event = history_event(h, client);

    event->reset = true;
    event->revision = revision;
    event->count = count;
}

static inline void history_free(struct history *h)
{
    for (size_t i = 0; i < h->count; i++) {
        free(h->ops[i]->seen);
        free(h->ops[i]);
    }
    free(h->ops);
    for (size_t i = 0; i < HISTORY_CLIENTS; i++)
        free(h->streams[i].events);
    memset(h, 0, sizeof(*h));
}

/* ---- judging ---- */

/* The truth's state after a revision. */
struct history_state {
    const struct history_stream *truth;
    size_t at; /* events applied */
    struct history_part rows[HISTORY_ROWS_MAX];
    size_t count;
};

static inline struct history_part *history_row(struct history_state *state, const char *row)
{
    for (size_t i = 0; i < state->count; i++) {
        if (strcmp(state->rows[i].row, row) == 0)
            return &state->rows[i];
    }
    return NULL;
}

/* Applies all up to and including `revision`; states are asked for in any order. */
static inline void history_state_at(struct history_state *state, int64_t revision)
{
    if (state->at > 0 && state->truth->events[state->at - 1].revision > revision)
        state->at = state->count = 0;
    for (; state->at < state->truth->count; state->at++) {
        const struct history_event *event = &state->truth->events[state->at];
        struct history_part *row;

        if (event->revision > revision)
            break;
        if (event->reset)
            continue;
        row = history_row(state, event->part.row);
        if (!row && state->count == HISTORY_ROWS_MAX)
            abort();
        if (!row)
            row = &state->rows[state->count++];
        *row = event->part;
    }
}

static inline int64_t history_mod(struct history_state *state, const char *row)
{
    const struct history_part *part = history_row(state, row);

    return part && part->value ? part->revision : 0;
}

#define HISTORY_WRONG(h, ...) (snprintf((h)->why, sizeof((h)->why), __VA_ARGS__), (h)->why)

/* The truth's events of the transaction that wrote `value`: revision and number; more than one
 * revision is an error, told by `*ret_twice`. */
static inline int64_t history_find(const struct history_stream *truth, int64_t value,
                                   bool *ret_twice)
{
    int64_t revision = 0;

    *ret_twice = false;
    for (size_t i = 0; i < truth->count; i++) {
        const struct history_event *event = &truth->events[i];

        if (event->reset || event->part.value != value)
            continue;
        *ret_twice = *ret_twice || (revision && revision != event->revision);
        revision = event->revision;
    }
    return revision;
}

/* Its changes are at the revision, and no other one's are of rows that it wrote or relied on. */
static inline const char *history_check_effect(struct history *h, const struct history_op *op,
                                               int64_t revision)
{
    const struct history_stream *truth = &h->streams[0];
    size_t found = 0;

    for (size_t i = 0; i < truth->count; i++) {
        const struct history_event *event = &truth->events[i];
        bool touched = false, own = false;

        if (event->reset || event->revision != revision)
            continue;
        for (size_t k = 0; k < op->expects; k++)
            touched = touched || strcmp(op->expect[k].row, event->part.row) == 0;
        for (size_t k = 0; k < op->puts; k++) {
            if (strcmp(op->put[k].row, event->part.row) != 0)
                continue;
            touched = true;
            own = own || op->put[k].value == event->part.value;
        }
        found += own;
        if (touched && !own)
            return HISTORY_WRONG(h,
                                 "value %lld: %s was written by another one at its revision %lld",
                                 (long long)op->value, event->part.row, (long long)revision);
    }
    if (found != op->puts)
        return HISTORY_WRONG(h, "value %lld: %zu of %zu changes at revision %lld",
                             (long long)op->value, found, op->puts, (long long)revision);
    return NULL;
}

/* Each change is somebody's: of the ops with this effect, which begin at `at`. */
static inline const char *history_check_owners(struct history *h, size_t at)
{
    const struct history_stream *truth = &h->streams[0];
    int64_t revision = h->ops[at]->effect;
    size_t there = 0, wanted = 0;

    if (h->ops[at]->read || revision == 0 || (at > 0 && h->ops[at - 1]->effect == revision))
        return NULL;
    for (size_t i = at; i < h->count && h->ops[i]->effect == revision; i++)
        wanted += h->ops[i]->read ? 0 : h->ops[i]->puts;
    for (size_t i = 0; i < truth->count; i++)
        there += !truth->events[i].reset && truth->events[i].revision == revision;
    if (there != wanted)
        return HISTORY_WRONG(h, "%zu changes at revision %lld instead of %zu", there,
                             (long long)revision, wanted);
    return NULL;
}

static inline const char *history_check_write(struct history *h, struct history_state *state,
                                              const struct history_op *op)
{
    int64_t revision = op->effect;

    if (op->twice)
        return HISTORY_WRONG(h, "value %lld took effect twice", (long long)op->value);
    if (op->rc == 0 && revision != op->revision)
        return HISTORY_WRONG(h, "value %lld was acknowledged at revision %lld, but is at %lld",
                             (long long)op->value, (long long)op->revision, (long long)revision);
    if (op->rc != 0 && op->rc != -EINPROGRESS && revision)
        return HISTORY_WRONG(h, "value %lld was refused (%s), but is at revision %lld",
                             (long long)op->value, strerror(-op->rc), (long long)revision);
    if (!revision)
        return NULL;
    if (revision <= op->floor)
        return HISTORY_WRONG(h, "value %lld at revision %lld began after %lld was acknowledged",
                             (long long)op->value, (long long)revision, (long long)op->floor);
    history_state_at(state, revision - 1);
    for (size_t i = 0; i < op->expects; i++) {
        int64_t mod = history_mod(state, op->expect[i].row);

        if (mod != op->expect[i].revision)
            return HISTORY_WRONG(h, "value %lld expected %s at %lld, it was at %lld",
                                 (long long)op->value, op->expect[i].row,
                                 (long long)op->expect[i].revision, (long long)mod);
    }
    return history_check_effect(h, op, revision);
}

/* Rows that the truth has and a list has not are found by counting. */
static inline const char *history_check_rows(struct history *h, struct history_state *state,
                                             const struct history_part *rows, size_t count,
                                             int64_t revision, const char *who)
{
    size_t alive = 0;

    history_state_at(state, revision);
    for (size_t i = 0; i < state->count; i++)
        alive += state->rows[i].value != 0;
    for (size_t i = 0; i < count; i++) {
        const struct history_part *row = history_row(state, rows[i].row);

        if (!row || row->revision != rows[i].revision || row->value != rows[i].value)
            return HISTORY_WRONG(h, "%s at revision %lld: %s is %lld of %lld, it should be %lld",
                                 who, (long long)revision, rows[i].row, (long long)rows[i].value,
                                 (long long)rows[i].revision, row ? (long long)row->value : 0LL);
    }
    if (alive != count)
        return HISTORY_WRONG(h, "%s at revision %lld: %zu rows instead of %zu", who,
                             (long long)revision, count, alive);
    return NULL;
}

static inline const char *history_check_read(struct history *h, struct history_state *state,
                                             const struct history_op *op)
{
    if (op->rc != 0)
        return NULL;
    if (op->revision < op->floor)
        return HISTORY_WRONG(h, "a read at revision %lld began after %lld was acknowledged",
                             (long long)op->revision, (long long)op->floor);
    return history_check_rows(h, state, op->seen, op->seen_count, op->revision, "a read");
}

/* After a reset each change of the truth comes, in its order, to the end. */
static inline const char *history_check_stream(struct history *h, struct history_state *state,
                                               int client)
{
    const struct history_stream *s = &h->streams[client], *truth = &h->streams[0];
    struct history_part rows[512];
    const char *why;
    size_t at = 0;

    for (size_t i = 0; i < s->count; i++) {
        const struct history_event *event = &s->events[i];

        if (event->reset) {
            for (size_t k = 0; k < event->count && k < 512; k++)
                rows[k] = s->events[i + 1 + k].part;
            why = history_check_rows(h, state, rows, event->count, event->revision, "a reset");
            if (why)
                return why;
            for (at = 0; at < truth->count && truth->events[at].revision <= event->revision;)
                at++;
            i += event->count;
            continue;
        }
        if (at >= truth->count || truth->events[at].revision != event->revision ||
            strcmp(truth->events[at].part.row, event->part.row) != 0 ||
            truth->events[at].part.value != event->part.value)
            return HISTORY_WRONG(
                h, "client %d was told %s = %lld at %lld out of order, %s = %lld at %lld was next",
                client, event->part.row, (long long)event->part.value, (long long)event->revision,
                at < truth->count ? truth->events[at].part.row : "nothing",
                at < truth->count ? (long long)truth->events[at].part.value : 0,
                at < truth->count ? (long long)truth->events[at].revision : 0);
        at++;
    }
    if (at != truth->count)
        return HISTORY_WRONG(h, "client %d was told %zu of %zu changes", client, at, truth->count);
    return NULL;
}

static inline int history_by_effect(const void *a, const void *b)
{
    const struct history_op *left = *(struct history_op *const *)a;
    const struct history_op *right = *(struct history_op *const *)b;

    if (left->effect == right->effect) /* writes first */
        return left->read - right->read;
    return left->effect < right->effect ? -1 : 1;
}

/* In their order the judge goes through the states once. */
static inline void history_sort(struct history *h)
{
    for (size_t i = 0; i < h->count; i++) {
        struct history_op *op = h->ops[i];

        op->effect = op->read ? op->revision : history_find(&h->streams[0], op->value, &op->twice);
    }
    qsort(h->ops, h->count, sizeof(*h->ops), history_by_effect);
}

/* How many transactions took effect at the revision of another one. */
static inline size_t history_shared(struct history *h)
{
    size_t shared = 0;

    history_sort(h);
    for (size_t i = 0; i < h->count; i++) {
        const struct history_op *op = h->ops[i];
        bool before = i > 0 && !h->ops[i - 1]->read && h->ops[i - 1]->effect == op->effect;
        bool after =
            i + 1 < h->count && !h->ops[i + 1]->read && h->ops[i + 1]->effect == op->effect;

        shared += !op->read && op->effect > 0 && (before || after);
    }
    return shared;
}

/* NULL if one order explains everything; else what it does not explain. Stream 0 is the truth: it
 * begins with a reset and has no other. */
static inline const char *history_check(struct history *h, int clients)
{
    struct history_state *state = calloc(1, sizeof(*state));
    const struct history_stream *truth = &h->streams[0];
    const char *why = NULL;

    if (!state)
        abort();
    state->truth = truth;
    for (size_t i = 1; i < truth->count && !why; i++) {
        if (truth->events[i].reset)
            why = "the truth has a second reset: it cannot be judged by";
        else if (truth->events[i].revision < truth->events[i - 1].revision)
            why = "the truth goes back";
    }
    history_sort(h);
    for (size_t i = 0; i < h->count && !why; i++) {
        const struct history_op *op = h->ops[i];

        if (!op->done)
            why = "an operation never ended";
        else
            why = op->read ? history_check_read(h, state, op) : history_check_write(h, state, op);
        if (!why)
            why = history_check_owners(h, i);
    }
    for (int i = 1; i < clients && !why; i++)
        why = history_check_stream(h, state, i);
    free(state);
    return why;
}

#endif
