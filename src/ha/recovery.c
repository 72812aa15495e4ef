/* One pass over everything for each part, in a fixed order. The hosts and servers are sorted by
 * pointer first, so that the same rows give the same plan in whatever order they were read. */
#include "ha/recovery.h"
#include "ha/placement.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A host fenced so short a time ago belongs to the same incident as one that goes missing now. For
 * a controller that has just begun all are: so long it holds rather than declare too many lost. */
#define INCIDENT_MS 10000
/* How much longer a host is waited for that this controller never heard (cold start). */
#define UNKNOWN_PATIENCE 5

struct plan {
    const struct recovery_input *in;
    struct recovery_options options;
    const struct recovery_host **hosts; /* by id */
    struct placement_host *places;      /* beside `hosts` */
    size_t *routers;                    /* beside `hosts`: how many each runs */
    size_t *dhcp;
    size_t *leaving;                        /* servers that each is about to hand over */
    const struct recovery_server **servers; /* in order of urgency */
    const char **groups;                    /* of which a server was placed in this plan */
    size_t group_count;
    size_t *mates; /* beside `hosts`, for the server that is looked at */
    struct recovery_action *ret;
    size_t count, max;
};

static const char *const state_names[] = {"joining", "up", "suspect", "lost", "fenced"};

const char *host_state_name(enum host_state state)
{
    return (unsigned)state <= HOST_FENCED ? state_names[state] : "joining";
}

enum host_state host_state_parse(const char *name)
{
    for (unsigned i = 0; name && i <= HOST_FENCED; i++) {
        if (strcmp(state_names[i], name) == 0)
            return i;
    }
    return HOST_JOINING;
}

static bool given(const char *text)
{
    return text && text[0];
}

static void copy(char ret[RECOVERY_NAME_SIZE], const char *text)
{
    snprintf(ret, RECOVERY_NAME_SIZE, "%s", text ? text : "");
}

/* A new action, or NULL when there is no room: what is left out comes with the next plan. */
static struct recovery_action *emit(struct plan *plan, enum recovery_kind kind, const char *object)
{
    struct recovery_action *action;

    if (plan->count == plan->max)
        return NULL;
    action = &plan->ret[plan->count++];
    memset(action, 0, sizeof(*action));
    action->kind = kind;
    copy(action->object, object);
    return action;
}

/* Index among the sorted hosts, or -1. */
static int host_index(const struct plan *plan, const char *id)
{
    size_t low = 0, high = plan->in->host_count;

    while (given(id) && low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(plan->hosts[middle]->id, id);

        if (order == 0)
            return (int)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static const struct recovery_host *host_of(const struct plan *plan, const char *id)
{
    int at = host_index(plan, id);

    return at < 0 ? NULL : plan->hosts[at];
}

/* May it get new work? */
static bool is_fit(const struct recovery_host *host)
{
    return host && host->state == HOST_UP && !host->disabled && host->verdict != LIVE_SUSPECT &&
           host->verdict != LIVE_LOST;
}

/* Is it given up by the controllers? A suspect is not. */
static bool is_gone(const struct recovery_host *host)
{
    return !host || host->state == HOST_LOST || host->state == HOST_FENCED;
}

/* Is it proved that nothing of the host's earlier epoch writes any more? */
static bool is_cut_off(const struct recovery_host *host)
{
    return (!host->lease_present && host->may_hold_ms <= 0) || host->power_off_proved;
}

/* ---- hosts ---- */

static bool lease_valid(const struct recovery_host *host)
{
    return host->lease_present && host->lease_epoch == host->epoch;
}

/* Should it be declared lost, if the brake allows? */
static bool is_missing(const struct plan *plan, const struct recovery_host *host)
{
    int64_t patience = plan->options.suspect_ms_max;

    if (host->state != HOST_UP && host->state != HOST_SUSPECT)
        return false;
    if (host->verdict == LIVE_LOST || host->power_off_proved)
        return true;
    if (host->state != HOST_SUSPECT || host->lease_present)
        return false;
    if (host->verdict == LIVE_UNKNOWN)
        patience *= UNKNOWN_PATIENCE;
    return host->state_ms >= patience;
}

/* Does it look like part of the present incident: about to be lost, or lost just now? */
static bool in_incident(const struct plan *plan, const struct recovery_host *host)
{
    if (host->state == HOST_LOST || host->state == HOST_FENCED)
        return host->state_ms < INCIDENT_MS;
    if (host->state == HOST_JOINING)
        return false;
    return is_missing(plan, host) || host->verdict == LIVE_SUSPECT;
}

/* Are too many hosts in too many cabinets missing? */
static bool brake(const struct plan *plan, size_t *ret_missing, size_t *ret_total)
{
    const char *cabinet = NULL;
    bool scattered = false;
    size_t missing = 0, total = 0;

    for (size_t i = 0; i < plan->in->host_count; i++) {
        const struct recovery_host *host = plan->hosts[i];
        bool incident = in_incident(plan, host);

        if (incident || host->state == HOST_UP || host->state == HOST_SUSPECT)
            total++;
        if (!incident)
            continue;
        missing++;
        if (cabinet && strcmp(cabinet, host->cabinet) != 0)
            scattered = true;
        cabinet = host->cabinet;
    }
    *ret_missing = missing;
    *ret_total = total;
    return scattered && missing > plan->options.scattered_max && missing * 2 > total;
}

static void set_host(struct plan *plan, const struct recovery_host *host, enum host_state state,
                     const char *reason)
{
    struct recovery_action *action = emit(plan, RECOVERY_HOST, host->id);

    if (!action)
        return;
    action->state = state;
    action->epoch = state == HOST_FENCED ? host->epoch + 1 : host->epoch;
    snprintf(action->text, sizeof(action->text), "%s", reason);
}

static void plan_present_host(struct plan *plan, const struct recovery_host *host, bool hold)
{
    bool well = host->verdict == LIVE_ALIVE && lease_valid(host);

    if (is_missing(plan, host) && !hold) {
        set_host(plan, host, HOST_LOST,
                 host->power_off_proved          ? "the power is off"
                 : host->verdict == LIVE_LOST    ? "not heard by any observer"
                 : host->verdict == LIVE_UNKNOWN ? "not heard since the start, and no lease"
                                                 : "the lease has run out and was not taken again");
        return;
    }
    if (host->state == HOST_SUSPECT) {
        if (well)
            set_host(plan, host, HOST_UP, "heard again");
        return;
    }
    if (host->verdict == LIVE_SUSPECT || host->verdict == LIVE_LOST)
        set_host(plan, host, HOST_SUSPECT, "heartbeats missed");
    else if (!host->lease_present)
        set_host(plan, host, HOST_SUSPECT, "the lease has run out");
}

static void plan_host(struct plan *plan, const struct recovery_host *host, bool hold)
{
    bool well = host->verdict == LIVE_ALIVE && lease_valid(host);

    switch (host->state) {
    case HOST_JOINING:
        if (well)
            set_host(plan, host, HOST_UP, "joined");
        break;
    case HOST_UP:
    case HOST_SUSPECT:
        plan_present_host(plan, host, hold);
        break;
    case HOST_LOST:
        if (is_cut_off(host))
            set_host(plan, host, HOST_FENCED,
                     host->power_off_proved ? "the power is off" : "the lease has run out");
        else if (well)
            set_host(plan, host, HOST_UP, "heard again, its lease never ran out");
        break;
    case HOST_FENCED:
        if (well)
            set_host(plan, host, HOST_UP, "back with a new epoch");
        else if (lease_valid(host))
            /* It works again but we do not hear it: its servers are its own, so do not move them.
             */
            set_host(plan, host, HOST_LOST, "holds its lease, but is not heard");
        break;
    }
}

static void plan_hosts(struct plan *plan)
{
    size_t missing, total;
    bool hold = brake(plan, &missing, &total), held_back = false;

    for (size_t i = 0; i < plan->in->host_count; i++) {
        held_back = held_back || is_missing(plan, plan->hosts[i]);
        plan_host(plan, plan->hosts[i], hold);
    }
    if (hold && held_back) {
        struct recovery_action *action = emit(plan, RECOVERY_HOLD, "cloud");

        if (action)
            snprintf(action->text, sizeof(action->text),
                     "%zu of %zu hosts are missing in several cabinets: nothing is moved, since "
                     "this controller is probably the one that is cut off",
                     missing, total);
    }
}

static void plan_planes(struct plan *plan)
{
    for (size_t i = 0; i < plan->in->host_count; i++) {
        const struct recovery_host *host = plan->hosts[i];
        struct recovery_action *action;

        if (host->state != HOST_UP || host->silent == host->silent_now)
            continue;
        action = emit(plan, RECOVERY_PLANES, host->id);
        if (action)
            action->planes = host->silent_now;
    }
}

/* ---- modules ---- */

struct trio {
    const struct recovery_host *host[3]; /* master, standby, backup */
};

static bool in_trio(const struct trio *trio, const struct recovery_host *host)
{
    return trio->host[0] == host || trio->host[1] == host || trio->host[2] == host;
}

static bool cabinet_in_trio(const struct trio *trio, const char *cabinet)
{
    for (size_t i = 0; i < 3; i++) {
        if (trio->host[i] && strcmp(trio->host[i]->cabinet, cabinet) == 0)
            return true;
    }
    return false;
}

/* The first fit controller by name that is not in it; one in a cabinet of its own if there is. */
static const struct recovery_host *next_controller(const struct plan *plan, const struct trio *trio,
                                                   bool other_cabinet)
{
    for (size_t i = 0; i < plan->in->host_count; i++) {
        const struct recovery_host *host = plan->hosts[i];

        if (host->controller && is_fit(host) && !in_trio(trio, host) &&
            !(other_cabinet && cabinet_in_trio(trio, host->cabinet)))
            return host;
    }
    return NULL;
}

static const struct recovery_host *pick_master(const struct plan *plan,
                                               const struct recovery_module *module)
{
    const char *const wishes[] = {module->master, module->standby, module->backup};
    const struct recovery_host *master = host_of(plan, module->master), *host;
    struct trio none = {{0}};

    for (size_t i = 0; i < 3; i++) {
        host = host_of(plan, wishes[i]);
        if (host && host->controller && is_fit(host))
            return host;
        /* A master that is only suspect keeps its part until it is confirmed lost. */
        if (i == 0 && host && host->controller && !host->disabled && !is_gone(host) &&
            host->verdict != LIVE_LOST)
            return host;
    }
    host = next_controller(plan, &none, false);
    return host ? host : master;
}

static void plan_module(struct plan *plan, const struct recovery_module *module)
{
    const char *const now[3] = {module->master, module->standby, module->backup};
    struct trio trio = {{pick_master(plan, module)}};
    struct recovery_action *action;
    bool same = true;

    if (!trio.host[0])
        return;
    /* Who has a part keeps it, while it is fit and in a cabinet of its own. */
    for (size_t i = 1; i < 3; i++) {
        const struct recovery_host *host = host_of(plan, now[i]);

        if (host && host->controller && is_fit(host) && !in_trio(&trio, host) &&
            !cabinet_in_trio(&trio, host->cabinet))
            trio.host[i] = host;
    }
    if (!trio.host[1]) {
        trio.host[1] = trio.host[2];
        trio.host[2] = NULL;
    }
    for (size_t i = 1; i < 3; i++) {
        if (!trio.host[i])
            trio.host[i] = next_controller(plan, &trio, true);
        if (!trio.host[i])
            trio.host[i] = next_controller(plan, &trio, false);
    }
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(trio.host[i] ? trio.host[i]->id : "", now[i] ? now[i] : "") != 0)
            same = false;
    }
    if (same || !(action = emit(plan, RECOVERY_MODULE, module->id)))
        return;
    copy(action->master, trio.host[0]->id);
    copy(action->standby, trio.host[1] ? trio.host[1]->id : "");
    copy(action->backup, trio.host[2] ? trio.host[2]->id : "");
    copy(action->from, module->master);
    action->generation = module->generation + (strcmp(action->master, action->from) != 0 ? 1 : 0);
}

/* ---- routers and DHCP ---- */

static bool can_route(const struct recovery_host *host)
{
    return is_fit(host) && host->network && !host->uplink_down;
}

/* The host with the role network that does least of `load`; NULL if none fits. */
static const struct recovery_host *least_loaded(const struct plan *plan, const size_t *load,
                                                const char *const avoid[], size_t avoid_count,
                                                bool other_cabinet)
{
    const struct recovery_host *best = NULL;
    size_t best_load = 0;

    for (size_t i = 0; i < plan->in->host_count; i++) {
        const struct recovery_host *host = plan->hosts[i];
        bool out = !can_route(host);

        for (size_t k = 0; k < avoid_count && !out; k++) {
            const struct recovery_host *other = host_of(plan, avoid[k]);

            out = other == host ||
                  (other && other_cabinet && strcmp(other->cabinet, host->cabinet) == 0);
        }
        if (out || (best && load[i] >= best_load))
            continue;
        best = host;
        best_load = load[i];
    }
    return best;
}

static void plan_router(struct plan *plan, const struct recovery_router *router)
{
    const struct recovery_host *now = host_of(plan, router->host), *next;
    struct recovery_action *action;
    bool stays = now && !is_gone(now) && now->network && !now->uplink_down &&
                 now->state != HOST_JOINING && now->verdict != LIVE_LOST && !now->draining;

    if (stays)
        return;
    next = least_loaded(plan, plan->routers, NULL, 0, false);
    if (!next || next == now || !(action = emit(plan, RECOVERY_ROUTER, router->id)))
        return;
    copy(action->host, next->id);
    copy(action->from, router->host);
    action->generation = router->generation + 1;
    plan->routers[host_index(plan, next->id)]++;
}

static void plan_network(struct plan *plan, const struct recovery_network *network)
{
    const char *chosen[RECOVERY_DHCP_HOSTS] = {0};
    const struct recovery_host *host;
    struct recovery_action *action;
    size_t count = 0, want = network->dhcp_wanted ? plan->options.dhcp_hosts : 0, had = 0;
    bool same = true;

    for (size_t i = 0; i < RECOVERY_DHCP_HOSTS; i++) {
        host = host_of(plan, network->dhcp_hosts[i]);
        had += given(network->dhcp_hosts[i]);
        if (host && !is_gone(host) && host->network && host->state != HOST_JOINING &&
            host->verdict != LIVE_LOST && !host->draining && !host->uplink_down && count < want)
            chosen[count++] = host->id;
    }
    while (count < want) {
        host = least_loaded(plan, plan->dhcp, chosen, count, true);
        if (!host)
            host = least_loaded(plan, plan->dhcp, chosen, count, false);
        if (!host)
            break;
        plan->dhcp[host_index(plan, host->id)]++;
        chosen[count++] = host->id;
    }
    for (size_t i = 0; i < RECOVERY_DHCP_HOSTS; i++) {
        if (strcmp(chosen[i] ? chosen[i] : "",
                   network->dhcp_hosts[i] ? network->dhcp_hosts[i] : "") != 0)
            same = false;
    }
    /* With nobody to serve it, the old entry does no harm and shows where it was. */
    if (same || (want > 0 && count == 0 && had > 0))
        return;
    action = emit(plan, RECOVERY_DHCP, network->id);
    for (size_t i = 0; action && i < count; i++)
        copy(action->dhcp_hosts[i], chosen[i]);
}

/* ---- servers ---- */

/* Is it proved that nothing of it runs on its host, and that it may be taken from there? */
static bool is_left_behind(const struct plan *plan, const struct recovery_server *server)
{
    const struct recovery_host *host = host_of(plan, server->host);

    if (!host)
        return server->absent_ms >= RECOVERY_ABSENT_MS;
    return host->state == HOST_FENCED && is_cut_off(host);
}

static void forget_servers(struct plan *plan)
{
    for (size_t i = 0; i < plan->in->server_count; i++) {
        const struct recovery_server *server = plan->servers[i];
        struct recovery_action *action;

        if (server->power != SERVER_DELETED)
            continue;
        if (given(server->host) && !is_left_behind(plan, server))
            continue;
        action = emit(plan, RECOVERY_SERVER_FORGET, server->id);
        if (!action)
            return;
        copy(action->from, server->host);
        action->generation = server->generation;
    }
}

/* Where the other members of the server's group are and are about to be. To be together counts only
 * where they stay: nobody can follow them to where they leave, as this one does. */
static void count_mates(const struct plan *plan, const struct recovery_server *server)
{
    bool together =
        server->policy == PLACEMENT_AFFINITY || server->policy == PLACEMENT_SOFT_AFFINITY;

    memset(plan->mates, 0, plan->in->host_count * sizeof(*plan->mates));
    for (size_t i = 0; i < plan->in->server_count; i++) {
        const struct recovery_server *other = &plan->in->servers[i];
        int now = host_index(plan, other->host), next = host_index(plan, other->move_to);

        if (other == server || other->power == SERVER_DELETED || !given(other->group) ||
            strcmp(other->group, server->group) != 0)
            continue;
        if (next >= 0)
            plan->mates[next]++;
        if (now >= 0 && now != next &&
            !(together && (next >= 0 || plan->hosts[now]->draining || is_gone(plan->hosts[now]))))
            plan->mates[now]++;
    }
}

static bool group_waits(const struct plan *plan, const struct recovery_server *server)
{
    for (size_t i = 0; given(server->group) && i < plan->group_count; i++) {
        if (strcmp(plan->groups[i], server->group) == 0)
            return true;
    }
    return false;
}

/* What may be given up so that there is a place at all. */
enum wish { WISH_NOTHING, WISH_ZONE, WISH_ZONE_AND_POLICY };

static int find_place(struct plan *plan, const struct recovery_server *server, enum wish wish,
                      char *why)
{
    struct placement_options options = {.vcpu_ratio = plan->options.vcpu_ratio,
                                        .host_reserved_mb = plan->options.host_reserved_mb};
    struct placement_request request = {.vcpus = server->vcpus,
                                        .ram_mb = server->ram_mb,
                                        .avoid_host = server->host,
                                        .policy = server->policy};
    int at = -ENOSPC;

    if (given(server->group)) {
        count_mates(plan, server);
        request.mates = plan->mates;
    }
    for (int policy = 0; policy <= (wish == WISH_ZONE_AND_POLICY) && at < 0; policy++) {
        request.policy = policy ? placement_policy_soften(server->policy) : server->policy;
        for (int zone = 0; zone <= (wish >= WISH_ZONE) && at < 0; zone++) {
            request.zone = zone ? NULL : server->zone;
            at = placement_choose(plan->places, plan->in->host_count, &options, &request, why);
        }
    }
    if (at >= 0)
        placement_take(&plan->places[at], &request);
    if (at >= 0 && given(server->group))
        plan->groups[plan->group_count++] = server->group;
    return at;
}

static bool needs_place(const struct plan *plan, const struct recovery_server *server)
{
    if (server->power == SERVER_DELETED)
        return false;
    return !given(server->host) || is_left_behind(plan, server);
}

/* No host would take it, and then its own came back with it. */
static bool fault_is_over(const struct plan *plan, const struct recovery_server *server)
{
    const struct recovery_host *host = host_of(plan, server->host);

    return server->faulted && server->power != SERVER_DELETED && host && host->state == HOST_UP;
}

static void plan_servers(struct plan *plan)
{
    size_t moves = 0;

    for (size_t i = 0; i < plan->in->server_count && moves < plan->options.moves_max; i++) {
        const struct recovery_server *server = plan->servers[i];
        bool moving = given(server->host);
        struct recovery_action *action;
        char why[PLACEMENT_WHY_SIZE];
        int at;

        if (fault_is_over(plan, server)) {
            action = emit(plan, RECOVERY_SERVER_FAULT, server->id);
            if (!action)
                return;
            moves++;
            copy(action->from, server->host);
            continue;
        }
        if (!needs_place(plan, server) || group_waits(plan, server))
            continue;
        at = find_place(plan, server, moving ? WISH_ZONE_AND_POLICY : WISH_NOTHING, why);
        if (at < 0 && server->faulted)
            continue;
        action = emit(plan,
                      at < 0   ? RECOVERY_SERVER_FAULT
                      : moving ? RECOVERY_SERVER_MOVE
                               : RECOVERY_SERVER_PLACE,
                      server->id);
        if (!action)
            return;
        moves++;
        copy(action->from, server->host);
        action->generation = server->generation + (at >= 0);
        if (at >= 0)
            copy(action->host, plan->hosts[at]->id);
        if (at < 0)
            snprintf(action->text, sizeof(action->text), "%s", why);
        else if (moving)
            snprintf(action->text, sizeof(action->text), "%s",
                     host_of(plan, server->host)
                         ? "is cut off"
                         : "has not come back since a backup of this cloud was restored");
    }
}

/* Is it on its way to a host that can still take it, or back to its own? */
static bool on_its_way(const struct plan *plan, const struct recovery_server *server)
{
    return given(server->move_to) &&
           (is_fit(host_of(plan, server->move_to)) || strcmp(server->move_to, server->host) == 0);
}

static bool may_leave(const struct plan *plan, const struct recovery_server *server)
{
    const struct recovery_host *host = host_of(plan, server->host);

    return host && host->state == HOST_UP && host->verdict != LIVE_LOST &&
           server->power != SERVER_DELETED && server->power != SERVER_PAUSED;
}

/* Told once, and what was told is taken back when it is over. */
static void tell_of_stay(struct plan *plan, const struct recovery_server *server, const char *why)
{
    struct recovery_action *action;

    if (given(server->stays) == given(why))
        return;
    action = emit(plan, RECOVERY_SERVER_STAYS, server->id);
    if (!action)
        return;
    copy(action->from, server->host);
    snprintf(action->text, sizeof(action->text), "%s", why);
}

static void plan_leaving(struct plan *plan)
{
    for (size_t i = 0; i < plan->in->server_count; i++) {
        const struct recovery_server *server = plan->servers[i];
        int at = host_index(plan, server->host);

        if (at >= 0 && on_its_way(plan, server))
            plan->leaving[at]++;
    }
    for (size_t i = 0; i < plan->in->server_count; i++) {
        const struct recovery_server *server = plan->servers[i];
        int from = host_index(plan, server->host), to;
        struct recovery_action *action;
        char why[PLACEMENT_WHY_SIZE];

        if (!may_leave(plan, server) || on_its_way(plan, server) || group_waits(plan, server))
            continue;
        if (!given(server->move_to) && !plan->hosts[from]->draining) {
            tell_of_stay(plan, server, "");
            continue;
        }
        if (!given(server->move_to) && plan->leaving[from] >= plan->options.leave_max)
            continue;
        to = find_place(plan, server, WISH_ZONE, why);
        if (to < 0 && !given(server->move_to)) {
            tell_of_stay(plan, server, why);
            continue;
        }
        action = emit(plan, RECOVERY_SERVER_LEAVE, server->id);
        if (!action)
            return;
        plan->leaving[from]++;
        copy(action->from, server->host);
        copy(action->host, to < 0 ? server->host : plan->hosts[to]->id);
        action->generation = server->generation;
    }
}

/* ---- setting up ---- */

static int by_host_id(const void *a, const void *b)
{
    const struct recovery_host *const *left = a, *const *right = b;

    return strcmp((*left)->id, (*right)->id);
}

static int by_urgency(const void *a, const void *b)
{
    const struct recovery_server *left = *(const struct recovery_server *const *)a;
    const struct recovery_server *right = *(const struct recovery_server *const *)b;
    bool left_runs = left->power == SERVER_RUNNING, right_runs = right->power == SERVER_RUNNING;

    if (left->priority != right->priority)
        return left->priority > right->priority ? -1 : 1;
    if (left_runs != right_runs)
        return left_runs ? -1 : 1;
    if (left->created_ms != right->created_ms)
        return left->created_ms < right->created_ms ? -1 : 1;
    return strcmp(left->id, right->id);
}

static void set_defaults(struct recovery_options *options)
{
    if (options->suspect_ms_max <= 0)
        options->suspect_ms_max = 3000;
    if (options->scattered_max == 0)
        options->scattered_max = 1;
    if (options->dhcp_hosts == 0)
        options->dhcp_hosts = 1;
    if (options->dhcp_hosts > RECOVERY_DHCP_HOSTS)
        options->dhcp_hosts = RECOVERY_DHCP_HOSTS;
    if (options->leave_max == 0)
        options->leave_max = 2;
    if (options->moves_max == 0)
        options->moves_max = 64;
}

static void count_loads(struct plan *plan)
{
    const struct recovery_input *in = plan->in;

    for (size_t i = 0; i < in->host_count; i++) {
        const struct recovery_host *host = plan->hosts[i];

        plan->places[i] = (struct placement_host){.id = host->id,
                                                  .cabinet = host->cabinet,
                                                  .compute = host->compute,
                                                  .up = is_fit(host) ||
                                                        (host->disabled && host->state == HOST_UP),
                                                  .disabled = host->disabled,
                                                  .vcpus = host->vcpus,
                                                  .ram_mb = host->ram_mb};
    }
    for (size_t i = 0; i < in->server_count; i++) {
        const struct recovery_server *server = &in->servers[i];
        struct placement_request request = {.vcpus = server->vcpus, .ram_mb = server->ram_mb};
        int at = host_index(plan, server->host);

        /* One being deleted counts until it is gone. */
        if (at >= 0)
            placement_take(&plan->places[at], &request);
        at = host_index(plan, server->move_to);
        if (at >= 0 && strcmp(server->move_to, server->host) != 0)
            placement_take(&plan->places[at], &request);
    }
    for (size_t i = 0; i < in->router_count; i++) {
        int at = host_index(plan, in->routers[i].host);

        if (at >= 0)
            plan->routers[at]++;
    }
    for (size_t i = 0; i < in->network_count; i++) {
        for (size_t k = 0; k < RECOVERY_DHCP_HOSTS; k++) {
            int at = host_index(plan, in->networks[i].dhcp_hosts[k]);

            if (at >= 0)
                plan->dhcp[at]++;
        }
    }
}

static int set_up(struct plan *plan)
{
    const struct recovery_input *in = plan->in;
    size_t hosts = in->host_count ? in->host_count : 1;
    size_t servers = in->server_count ? in->server_count : 1;

    plan->hosts = calloc(hosts, sizeof(*plan->hosts));
    plan->places = calloc(hosts, sizeof(*plan->places));
    plan->routers = calloc(hosts, sizeof(*plan->routers));
    plan->dhcp = calloc(hosts, sizeof(*plan->dhcp));
    plan->leaving = calloc(hosts, sizeof(*plan->leaving));
    plan->mates = calloc(hosts, sizeof(*plan->mates));
    plan->servers = calloc(servers, sizeof(*plan->servers));
    plan->groups = calloc(servers, sizeof(*plan->groups));
    if (!plan->hosts || !plan->places || !plan->routers || !plan->dhcp || !plan->leaving ||
        !plan->mates || !plan->servers || !plan->groups)
        return -ENOMEM;
    for (size_t i = 0; i < in->host_count; i++)
        plan->hosts[i] = &in->hosts[i];
    for (size_t i = 0; i < in->server_count; i++)
        plan->servers[i] = &in->servers[i];
    qsort(plan->hosts, in->host_count, sizeof(*plan->hosts), by_host_id);
    qsort(plan->servers, in->server_count, sizeof(*plan->servers), by_urgency);
    set_defaults(&plan->options);
    count_loads(plan);
    return 0;
}

int recovery_plan(const struct recovery_input *input, struct recovery_action *ret, size_t max)
{
    struct plan plan = {.in = input, .options = input->options, .ret = ret, .max = max};
    int rc = set_up(&plan);

    if (rc == 0) {
        plan_hosts(&plan);
        plan_planes(&plan);
        for (size_t i = 0; i < input->module_count; i++)
            plan_module(&plan, &input->modules[i]);
        for (size_t i = 0; i < input->router_count; i++)
            plan_router(&plan, &input->routers[i]);
        for (size_t i = 0; i < input->network_count; i++)
            plan_network(&plan, &input->networks[i]);
        forget_servers(&plan);
        plan_servers(&plan);
        plan_leaving(&plan);
        rc = (int)plan.count;
    }
    free(plan.hosts);
    free(plan.places);
    free(plan.routers);
    free(plan.dhcp);
    free(plan.leaving);
    free(plan.mates);
    free(plan.groups);
    free(plan.servers);
    return rc;
}
