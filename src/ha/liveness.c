/* Hosts are kept sorted by name, so every tick goes through them in the same order. What observers
 * said is kept beside the host it is about. */
#include "ha/liveness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct observation {
    char observer[LIVENESS_NAME_SIZE];
    enum liveness_verdict verdict;
    int64_t when;
};

struct peer {
    char name[LIVENESS_NAME_SIZE];
    char domain[LIVENESS_NAME_SIZE];
    unsigned planes;
    bool expected;
    int64_t added;
    int64_t heard[PLANE_COUNT];    /* -1: never */
    int64_t unleased;              /* since when its lease is known to be gone; -1: it is there */
    char said[LIVENESS_NAME_SIZE]; /* by its row, and since when we have seen that */
    int64_t said_since;
    bool plane_down[PLANE_COUNT];
    enum liveness_verdict own, verdict;
    struct observation *seen;
    size_t seen_count, seen_cap;
};

struct liveness {
    char self[LIVENESS_NAME_SIZE], self_domain[LIVENESS_NAME_SIZE];
    int64_t silence_ms; /* after which a plane is down */
    int64_t grace_ms;
    struct peer *peers[LIVENESS_HOSTS_MAX];
    size_t count;
};

struct liveness *liveness_new(const struct liveness_options *options)
{
    struct liveness *l = calloc(1, sizeof(*l));
    int interval = options->interval_ms > 0 ? options->interval_ms : 200;
    int missed = options->missed_max > 0 ? options->missed_max : 5;

    if (!l)
        return NULL;
    snprintf(l->self, sizeof(l->self), "%s", options->self ? options->self : "");
    snprintf(l->self_domain, sizeof(l->self_domain), "%s",
             options->self_domain ? options->self_domain : "");
    l->silence_ms = (int64_t)interval * missed;
    l->grace_ms = options->start_grace_ms > 0 ? options->start_grace_ms : 10000;
    return l;
}

static void peer_free(struct peer *peer)
{
    free(peer->seen);
    free(peer);
}

void liveness_free(struct liveness *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        peer_free(l->peers[i]);
    free(l);
}

static struct peer *find(const struct liveness *l, const char *host, size_t *ret_at)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(l->peers[middle]->name, host);

        if (order == 0) {
            if (ret_at)
                *ret_at = middle;
            return l->peers[middle];
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (ret_at)
        *ret_at = low;
    return NULL;
}

static bool is_self(const struct liveness *l, const char *host)
{
    return strcmp(l->self, host) == 0;
}

static int insert(struct liveness *l, const char *host, size_t at, int64_t now, struct peer **ret)
{
    struct peer *peer;

    if (l->count == LIVENESS_HOSTS_MAX)
        return -ENOSPC;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return -ENOMEM;
    snprintf(peer->name, sizeof(peer->name), "%s", host);
    peer->added = now;
    peer->unleased = -1;
    for (size_t i = 0; i < PLANE_COUNT; i++)
        peer->heard[i] = -1;
    if (is_self(l, host))
        peer->own = peer->verdict = LIVE_ALIVE;
    memmove(&l->peers[at + 1], &l->peers[at], (l->count - at) * sizeof(l->peers[0]));
    l->peers[at] = peer;
    l->count++;
    *ret = peer;
    return 0;
}

int liveness_add_host(struct liveness *l, const char *host, const char *domain, unsigned planes,
                      bool expected, int64_t now)
{
    size_t at;
    struct peer *peer;
    int rc;

    if (!host[0] || strlen(host) >= LIVENESS_NAME_SIZE || strlen(domain) >= LIVENESS_NAME_SIZE)
        return -EINVAL;
    peer = find(l, host, &at);
    if (!peer) {
        rc = insert(l, host, at, now, &peer);
        if (rc < 0)
            return rc;
    }
    snprintf(peer->domain, sizeof(peer->domain), "%s", domain);
    peer->planes = planes ? planes : PLANE_BIT(PLANE_MGMT);
    if (expected && !peer->expected)
        peer->added = now;
    peer->expected = expected;
    return 0;
}

void liveness_remove_host(struct liveness *l, const char *host)
{
    size_t at;
    struct peer *peer = find(l, host, &at);

    if (!peer)
        return;
    peer_free(peer);
    l->count--;
    memmove(&l->peers[at], &l->peers[at + 1], (l->count - at) * sizeof(l->peers[0]));
    for (size_t i = 0; i < l->count; i++) {
        struct peer *other = l->peers[i];

        for (size_t k = 0; k < other->seen_count; k++) {
            if (strcmp(other->seen[k].observer, host) == 0)
                other->seen[k--] = other->seen[--other->seen_count];
        }
    }
}

int liveness_heard(struct liveness *l, const char *host, enum liveness_plane plane, int64_t now)
{
    struct peer *peer = find(l, host, NULL);

    if (!peer)
        return -ENOENT;
    if ((unsigned)plane >= PLANE_COUNT)
        return -EINVAL;
    if (now > peer->heard[plane])
        peer->heard[plane] = now;
    return 0;
}

void liveness_leased(struct liveness *l, const char *host, bool leased, int64_t now)
{
    struct peer *peer = find(l, host, NULL);

    if (peer && (leased || peer->unleased < 0))
        peer->unleased = leased ? -1 : now;
}

int64_t liveness_row_ms(struct liveness *l, const char *host, const char *said, int64_t now)
{
    struct peer *peer = find(l, host, NULL);

    if (!peer)
        return 0;
    if (!peer->said[0] || strncmp(peer->said, said, sizeof(peer->said) - 1) != 0) {
        snprintf(peer->said, sizeof(peer->said), "%s", said);
        peer->said_since = now;
    }
    return now - peer->said_since;
}

void liveness_stood_still(struct liveness *l, int64_t now)
{
    for (size_t i = 0; i < l->count; i++) {
        struct peer *peer = l->peers[i];

        for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
            if (peer->own == LIVE_ALIVE && peer->heard[plane] >= 0 && !peer->plane_down[plane])
                peer->heard[plane] = now;
        }
        if (peer->own == LIVE_UNKNOWN)
            peer->added = now;
    }
}

static struct observation *observation_of(struct peer *peer, const char *observer)
{
    struct observation *entry;

    for (size_t i = 0; i < peer->seen_count; i++) {
        if (strcmp(peer->seen[i].observer, observer) == 0)
            return &peer->seen[i];
    }
    if (peer->seen_count == peer->seen_cap) {
        size_t cap = peer->seen_cap ? peer->seen_cap * 2 : 4;
        struct observation *more = realloc(peer->seen, cap * sizeof(*more));

        if (!more)
            return NULL;
        peer->seen = more;
        peer->seen_cap = cap;
    }
    entry = &peer->seen[peer->seen_count++];
    memset(entry, 0, sizeof(*entry));
    snprintf(entry->observer, sizeof(entry->observer), "%s", observer);
    entry->when = INT64_MIN;
    return entry;
}

int liveness_observed(struct liveness *l, const char *observer, const char *host,
                      enum liveness_verdict verdict, int64_t now)
{
    struct peer *peer = find(l, host, NULL);
    struct observation *entry;

    /* Only hosts we know may speak (this also bounds the list), and nobody about himself. */
    if (!peer || !find(l, observer, NULL) || strcmp(observer, host) == 0)
        return -ENOENT;
    if ((unsigned)verdict > LIVE_LOST)
        return -EINVAL;
    entry = observation_of(peer, observer);
    if (!entry)
        return -ENOMEM;
    if (now >= entry->when) {
        entry->verdict = verdict;
        entry->when = now;
    }
    return 0;
}

/* ---- the verdict ---- */

int64_t liveness_last_heard(const struct liveness *l, const char *host)
{
    const struct peer *peer = find(l, host, NULL);
    int64_t last = -1;

    for (size_t i = 0; peer && i < PLANE_COUNT; i++) {
        if (peer->heard[i] > last)
            last = peer->heard[i];
    }
    return last;
}

int64_t liveness_idle_ms(const struct liveness *l, const char *host, int64_t now)
{
    const struct peer *peer = find(l, host, NULL);
    int64_t heard = liveness_last_heard(l, host), unheard, unleased;

    if (!peer)
        return INT64_MAX;
    unheard = is_self(l, host) ? 0 : now - (heard < 0 ? peer->added : heard);
    unleased = peer->unleased < 0 ? 0 : now - peer->unleased;
    return unheard > unleased ? unheard : unleased;
}

static enum liveness_verdict own_view(const struct liveness *l, const struct peer *peer,
                                      int64_t now)
{
    int64_t last = liveness_last_heard(l, peer->name);

    if (is_self(l, peer->name))
        return LIVE_ALIVE;
    if (last < 0)
        return peer->expected && now - peer->added >= l->grace_ms ? LIVE_SUSPECT : LIVE_UNKNOWN;
    return now - last >= l->silence_ms ? LIVE_SUSPECT : LIVE_ALIVE;
}

/* How many domains must agree: two, where the cloud has two besides the host's own. */
static size_t domains_needed(const struct liveness *l, const struct peer *peer)
{
    const char *first = NULL;

    for (size_t i = 0; i < l->count; i++) {
        const char *domain = l->peers[i]->domain;

        if (strcmp(domain, peer->domain) == 0)
            continue;
        if (first && strcmp(first, domain) != 0)
            return 2;
        first = domain;
    }
    if (first && strcmp(l->self_domain, peer->domain) != 0 && strcmp(first, l->self_domain) != 0)
        return 2;
    return 1;
}

/* Do all observers that can speak call `peer` silent, from enough domains? */
static bool confirmed(const struct liveness *l, const struct peer *peer, int64_t now)
{
    bool second = false;

    for (size_t i = 0; i < peer->seen_count; i++) {
        const struct observation *entry = &peer->seen[i];
        const struct peer *observer = find(l, entry->observer, NULL);

        if (!observer || observer->own != LIVE_ALIVE || entry->verdict == LIVE_UNKNOWN ||
            is_self(l, entry->observer) || now - entry->when >= l->silence_ms)
            continue;
        if (entry->verdict == LIVE_ALIVE)
            return false;
        if (strcmp(observer->domain, l->self_domain) != 0)
            second = true;
    }
    return second || domains_needed(l, peer) == 1;
}

static void tell_planes(struct liveness *l, struct peer *peer, int64_t now,
                        liveness_changed_cb *changed, void *arg)
{
    for (unsigned plane = 0; plane < PLANE_COUNT; plane++) {
        struct liveness_change change = {.host = peer->name, .plane = plane};
        bool down;

        if (!(peer->planes & PLANE_BIT(plane)) || is_self(l, peer->name))
            continue;
        /* All planes silent is no gray failure: that is the verdict's business. */
        if (peer->own != LIVE_ALIVE)
            continue;
        down = peer->heard[plane] < 0 ? now - peer->added >= l->grace_ms
                                      : now - peer->heard[plane] >= l->silence_ms;
        /* A dying host's planes run out one after the other, some milliseconds apart: only a plane
         * that stays silent while another one still spoke in this same window counts. */
        if (down && now - liveness_last_heard(l, peer->name) >= l->silence_ms / 2)
            continue;
        if (down == peer->plane_down[plane])
            continue;
        peer->plane_down[plane] = down;
        change.kind = down ? LIVENESS_PLANE_LOST : LIVENESS_PLANE_BACK;
        if (changed)
            changed(arg, &change);
    }
}

void liveness_tick(struct liveness *l, int64_t now, liveness_changed_cb *changed, void *arg)
{
    /* Own views first: the verdicts ask whether the observers are alive. */
    for (size_t i = 0; i < l->count; i++)
        l->peers[i]->own = own_view(l, l->peers[i], now);
    for (size_t i = 0; i < l->count; i++) {
        struct peer *peer = l->peers[i];
        struct liveness_change change = {
            .kind = LIVENESS_VERDICT, .host = peer->name, .from = peer->verdict};

        change.to = peer->own;
        /* Once lost, only being heard again changes it: observers that fall silent or disagree
         * later do not make a lost host a suspect. */
        if (peer->own == LIVE_SUSPECT && (peer->verdict == LIVE_LOST || confirmed(l, peer, now)))
            change.to = LIVE_LOST;
        peer->verdict = change.to;
        if (change.from != change.to && changed)
            changed(arg, &change);
        tell_planes(l, peer, now, changed, arg);
    }
}

enum liveness_verdict liveness_state(const struct liveness *l, const char *host)
{
    const struct peer *peer = find(l, host, NULL);

    if (is_self(l, host))
        return LIVE_ALIVE;
    return peer ? peer->verdict : LIVE_UNKNOWN;
}

enum liveness_verdict liveness_own_view(const struct liveness *l, const char *host)
{
    const struct peer *peer = find(l, host, NULL);

    if (is_self(l, host))
        return LIVE_ALIVE;
    return peer ? peer->own : LIVE_UNKNOWN;
}

bool liveness_plane_up(const struct liveness *l, const char *host, enum liveness_plane plane)
{
    const struct peer *peer = find(l, host, NULL);

    return peer && (unsigned)plane < PLANE_COUNT && (peer->planes & PLANE_BIT(plane)) &&
           peer->own == LIVE_ALIVE && !peer->plane_down[plane];
}

bool liveness_plane_silent(const struct liveness *l, const char *host, enum liveness_plane plane)
{
    const struct peer *peer = find(l, host, NULL);
    size_t heard = 0, total = 0;

    if (!peer || (unsigned)plane >= PLANE_COUNT || peer->own != LIVE_ALIVE ||
        !(peer->planes & PLANE_BIT(plane)) || !peer->plane_down[plane])
        return false;
    for (size_t i = 0; i < l->count; i++) {
        const struct peer *other = l->peers[i];

        if (other->own != LIVE_ALIVE || !(other->planes & PLANE_BIT(plane)))
            continue;
        total++;
        heard += !other->plane_down[plane];
    }
    return heard * 2 > total;
}

size_t liveness_views(const struct liveness *l, struct liveness_view *ret, size_t max)
{
    for (size_t i = 0; i < l->count && i < max; i++) {
        snprintf(ret[i].host, sizeof(ret[i].host), "%s", l->peers[i]->name);
        ret[i].own = l->peers[i]->own;
        ret[i].verdict = l->peers[i]->verdict;
    }
    return l->count;
}

const char *liveness_verdict_name(enum liveness_verdict verdict)
{
    static const char *const names[] = {"unknown", "alive", "suspect", "lost"};

    return (unsigned)verdict <= LIVE_LOST ? names[verdict] : "unknown";
}

const char *liveness_plane_name(enum liveness_plane plane)
{
    static const char *const names[] = {"management", "storage", "tenant"};

    return (unsigned)plane < PLANE_COUNT ? names[plane] : "unknown";
}
