/* The recovery planner: from all that is known to what should be changed now.
 *
 * Called by every controller whenever something changed and once in a while; it keeps no state, so
 * whoever runs it next goes on. Each action is one transaction for the caller, with the rows it
 * read as preconditions; when one fails the caller simply plans again.
 *
 * Rules
 *  - A host goes up -> suspect -> lost as the liveness verdict says, and also when its lease ran
 * out and stays away; lost -> fenced when it is proved that it writes no more: its lease row is
 * gone and its holder cannot count on it any more (may_hold_ms), or a fence agent says it is off. A
 * fenced host gets a new epoch: what still runs there is void. The transaction that sets `fenced`
 * needs the precondition that the lease row does not exist (unless power_off_proved), and so does
 *    each that moves or forgets a server.
 *  - That a lease's row is gone is no proof by itself: a leader of etcd 3.4 that stood still and
 * goes on ends leases that were renewed through the next leader meanwhile (etcd's issue 15247), and
 * their holders, who count by themselves, rely on them for almost their whole time. So the row has
 * to have been gone for that time, or the host unheard for it: who can renew a lease is heard.
 *  - A fenced host that holds a lease of its present epoch and is heard again is up.
 *  - Servers leave a fenced host without a lease only. On a move the zone is a wish, no condition:
 *    being back matters more. Routers and modules leave at `lost`.
 *  - A host without a row, of which a restored backup knows by its servers only: hosts write their
 *    row before they take a lease, so without either nothing of it can run. Its servers are treated
 *    as a fenced host's once that has been so for RECOVERY_ABSENT_MS, and the transaction needs the
 *    precondition that there is neither row nor lease. Its routers and DHCP leave at once.
 *  - Server groups: a hard policy decides where a server may begin. On a move it is kept if it can
 * be and is a wish if not; one that leaves a draining host stays rather than break it. Of each
 * group one server is placed in one plan: where the next one goes depends on it.
 *  - Draining: a place is chosen first, then the host shuts the server down and hands it over, a
 *    few at a time. One that is on its way goes on when draining ends; when its new host fails it
 *    gets another one, or stays. Paused servers stay. Routers and DHCP leave at once.
 *  - Gray: a host that is heard on some planes only stays up. That is written into its row, and
 *    with the tenant or external plane gone its routers and DHCP leave.
 *  - Brake: hosts that are all in one cabinet, or at most `scattered_max`, may be declared lost.
 * When more than half of the hosts there were go missing in several cabinets, the observer is
 * probably the one that is cut off: nothing is declared, and an event says so.
 *  - Order: hosts, modules, routers, DHCP, forgotten servers, servers by priority, then age, then
 * id.
 */
#ifndef VLING_HA_RECOVERY_H
#define VLING_HA_RECOVERY_H

#include "ha/liveness.h"
#include "ha/placement.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECOVERY_NAME_SIZE 64
#define RECOVERY_TEXT_SIZE 256
#define RECOVERY_DHCP_HOSTS 2
/* So long the servers of a host without a row wait for it. After a restore hosts come back by
 * themselves and go on with their servers, disks and all; a large machine takes some minutes to
 * start, and who restores a cloud may start one after the other. Safety does not depend on it: that
 * nothing of the host runs is proved by its row and its lease. */
#define RECOVERY_ABSENT_MS (5 * 60000)

enum host_state { HOST_JOINING, HOST_UP, HOST_SUSPECT, HOST_LOST, HOST_FENCED };
const char *host_state_name(enum host_state state); /* as in the row: "joining", "up" ... */
enum host_state host_state_parse(const char *name); /* unknown: HOST_JOINING */

struct recovery_host {
    const char *id;
    const char *cabinet;
    bool controller, compute, network; /* roles */
    bool disabled;
    bool draining;         /* and what runs there is moved while it is well */
    enum host_state state; /* of the row */
    int64_t epoch;         /* of the row */
    int64_t state_ms; /* so long this controller has seen the row in this state; no wall clock, that
                       * of who wrote it may be another one, and either may be put right */
    enum liveness_verdict verdict;
    bool lease_present;
    int64_t lease_epoch;   /* of the lease's row */
    int64_t may_hold_ms;   /* so long its holder may still count on a lease whose row is gone */
    bool power_off_proved; /* a fence agent confirmed it */
    bool uplink_down;      /* external or tenant plane gone: routers leave */
    unsigned silent;       /* bits of planes on which it is not heard, as in the row */
    unsigned silent_now;   /* the same as this controller sees it */
    int64_t vcpus, ram_mb;
};

enum server_power { SERVER_RUNNING, SERVER_STOPPED, SERVER_PAUSED, SERVER_DELETED };

struct recovery_server {
    const char *id;
    const char *host;    /* NULL or "": not placed yet */
    int64_t absent_ms;   /* so long its host has had neither a row nor a lease */
    const char *move_to; /* NULL or "": it stays; else its host is about to hand it over */
    const char *stays;   /* why it cannot leave a draining host, as told before; NULL or "" */
    int64_t generation;
    enum server_power power; /* wanted */
    int64_t vcpus, ram_mb;
    int priority; /* higher first */
    int64_t created_ms;
    const char *zone;             /* cabinet asked for */
    const char *group;            /* NULL or "": none */
    enum placement_policy policy; /* of the group */
    bool faulted;                 /* has a fault already: tried again, but not told again */
};

struct recovery_router {
    const char *id;
    const char *host;
    int64_t generation;
};

struct recovery_network {
    const char *id;
    const char *dhcp_hosts[RECOVERY_DHCP_HOSTS]; /* NULL or "" where there is none */
    bool dhcp_wanted;
};

struct recovery_module {
    const char *id;
    const char *master, *standby, *backup; /* NULL or "": none */
    int64_t generation;
};

struct recovery_options {
    int64_t suspect_ms_max; /* a suspect whose lease ran out is lost after this; 0: 3000 */
    size_t scattered_max;   /* 0: 1 */
    size_t dhcp_hosts;      /* for each network: 1 or 2; 0: 1 */
    double vcpu_ratio;      /* 0: 16.0 */
    int64_t host_reserved_mb;
    size_t leave_max; /* servers that leave a draining host at a time; 0: 2 */
    size_t moves_max; /* server actions in one plan; 0: 64 */
};

struct recovery_input {
    const struct recovery_host *hosts;
    size_t host_count;
    const struct recovery_server *servers;
    size_t server_count;
    const struct recovery_router *routers;
    size_t router_count;
    const struct recovery_network *networks;
    size_t network_count;
    const struct recovery_module *modules;
    size_t module_count;
    struct recovery_options options;
};

enum recovery_kind {
    RECOVERY_HOST,          /* object = host: set `state`, `epoch`, reason = text */
    RECOVERY_SERVER_MOVE,   /* object = server: host, generation (new), text: what `from` is */
    RECOVERY_SERVER_PLACE,  /* the same for a server that has no host yet */
    RECOVERY_SERVER_LEAVE,  /* object = server: its host (from) is to hand it over to `host` */
    RECOVERY_SERVER_STAYS,  /* object = server: it cannot leave the draining host `from`, text says
                             * why;  without text: that is over */
    RECOVERY_SERVER_FAULT,  /* object = server: text says why no host fits; without text: that is
                             * over, its host (from) is back */
    RECOVERY_SERVER_FORGET, /* object = server: wanted deleted, its host is fenced or absent: remove
                             * its rows */
    RECOVERY_ROUTER,        /* object = router: host ("" = none fits), generation (new) */
    RECOVERY_DHCP,          /* object = network: dhcp_hosts */
    RECOVERY_MODULE,        /* object = module: master, standby, backup, generation (new) */
    RECOVERY_PLANES,        /* object = host: `planes` (bits) are silent from now on */
    RECOVERY_HOLD,          /* nothing declared: text is the event (kind cloud.hold) */
};

struct recovery_action {
    enum recovery_kind kind;
    char object[RECOVERY_NAME_SIZE];
    char host[RECOVERY_NAME_SIZE];
    char from[RECOVERY_NAME_SIZE];
    enum host_state state;
    int64_t epoch;
    unsigned planes;
    int64_t generation;
    char master[RECOVERY_NAME_SIZE], standby[RECOVERY_NAME_SIZE], backup[RECOVERY_NAME_SIZE];
    char dhcp_hosts[RECOVERY_DHCP_HOSTS][RECOVERY_NAME_SIZE]; /* "" at the end */
    char text[RECOVERY_TEXT_SIZE];
};

/* Fills `ret` with at most `max` actions, the most urgent first; returns how many, or -ENOMEM.
 * Host actions apply to the next call: a host declared lost here is treated as such the next time.
 */
int recovery_plan(const struct recovery_input *input, struct recovery_action *ret, size_t max);

#endif
