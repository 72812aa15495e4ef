/* Who is alive: turns heartbeats that arrived, and what other observers say, into one verdict for
 * each host.
 *
 * Concept.  A host that was silent on every plane for `missed_max` intervals is *suspect*. A
 * suspect is *lost* once the observers that can speak (heard lately, with a fresh report of their
 *           own) all agree and they stand in enough different domains: two, or one where the cloud
 *           has no two domains besides the host's own. One observer that still hears the host keeps
 *           it a suspect. A single silent plane is a gray failure and is told separately.
 * Time.     Monotonic milliseconds given by the caller; nothing here reads a clock.
 * Errors.   0 or -errno. Unknown hosts are ignored (-ENOENT). Threads: none of its own.
 */
#ifndef VLING_HA_LIVENESS_H
#define VLING_HA_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIVENESS_HOSTS_MAX 256
#define LIVENESS_NAME_SIZE 64

enum liveness_plane { PLANE_MGMT, PLANE_STORAGE, PLANE_TENANT, PLANE_COUNT };
#define PLANE_BIT(plane) (1u << (plane))

/* LIVE_UNKNOWN: never heard (and not missed yet). */
enum liveness_verdict { LIVE_UNKNOWN, LIVE_ALIVE, LIVE_SUSPECT, LIVE_LOST };

struct liveness_options {
    const char *self;        /* this host: always alive, and an observer */
    const char *self_domain; /* its cabinet */
    int interval_ms;         /* 0: 200 */
    int missed_max;          /* 0: 5 */
    int start_grace_ms;      /* a host never heard is suspect after this; 0: 10000 */
};

struct liveness;
struct liveness *liveness_new(const struct liveness_options *options); /* NULL: out of memory */
void liveness_free(struct liveness *l);

/* Adds a host or changes its domain and planes (bits of planes it is heard on; 0: PLANE_MGMT).
 * `expected`: this observer is one that the host sends to, so silence from the start counts. */
int liveness_add_host(struct liveness *l, const char *host, const char *domain, unsigned planes,
                      bool expected, int64_t now);
void liveness_remove_host(struct liveness *l, const char *host);

/* A heartbeat of `host` arrived on `plane`. */
int liveness_heard(struct liveness *l, const char *host, enum liveness_plane plane, int64_t now);

/* Whether the host's lease is there, as of the rows that the observer has now. */
void liveness_leased(struct liveness *l, const char *host, bool leased, int64_t now);

/* For how long this observer has seen the host's row say the same of its state. `said`: the state
 * and its time in the row, which is only compared: it is by the clock of whoever wrote it. */
int64_t liveness_row_ms(struct liveness *l, const char *host, const char *said, int64_t now);

/* This observer did nothing for a while (its process was stopped, or something held it up): what
 * the others sent meanwhile is not read yet. Their silence, of those that were not silent before,
 * counts from now. To be called before the next tick. */
void liveness_stood_still(struct liveness *l, int64_t now);

/* `observer` said what it hears of `host` itself (LIVE_UNKNOWN: it has no opinion). */
int liveness_observed(struct liveness *l, const char *observer, const char *host,
                      enum liveness_verdict verdict, int64_t now);

enum liveness_change_kind { LIVENESS_VERDICT, LIVENESS_PLANE_LOST, LIVENESS_PLANE_BACK };
struct liveness_change {
    enum liveness_change_kind kind;
    const char *host;
    enum liveness_verdict from, to; /* LIVENESS_VERDICT */
    enum liveness_plane plane;      /* the others */
};
typedef void liveness_changed_cb(void *arg, const struct liveness_change *change);

/* Works out all verdicts, in order of host names. Call it every interval (or oftener). */
void liveness_tick(struct liveness *l, int64_t now, liveness_changed_cb *changed, void *arg);

/* As of the last tick. */
enum liveness_verdict liveness_state(const struct liveness *l, const char *host);
/* Only what this observer hears itself: what it tells the others (never LIVE_LOST). */
enum liveness_verdict liveness_own_view(const struct liveness *l, const char *host);
bool liveness_plane_up(const struct liveness *l, const char *host, enum liveness_plane plane);
/* Is it this plane of the host that is silent, and not the observer's own? Only when the observer
 * hears more than half of the hosts that are alive on the plane, itself among them. */
bool liveness_plane_silent(const struct liveness *l, const char *host, enum liveness_plane plane);
/* When `host` was last heard on any plane; -1: never. */
int64_t liveness_last_heard(const struct liveness *l, const char *host);

/* For how long the host was not heard on any plane, or its lease not there, whichever is longer: so
 * long ago, as far as this observer knows, it renewed its lease for the last time. INT64_MAX: it
 * does not know the host. */
int64_t liveness_idle_ms(const struct liveness *l, const char *host, int64_t now);

/* All hosts in order of names: fills at most `max`; returns how many there are. */
struct liveness_view {
    char host[LIVENESS_NAME_SIZE];
    enum liveness_verdict own, verdict;
};
size_t liveness_views(const struct liveness *l, struct liveness_view *ret, size_t max);

const char *liveness_verdict_name(enum liveness_verdict verdict);
const char *liveness_plane_name(enum liveness_plane plane);

#endif
