/* Each loss is tried on a copy of the hosts: what would be lost is marked fenced without a lease,
 * and the planner itself is asked where its servers would go. */
#include "ha/survive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool counts(const struct recovery_host *host)
{
    return host->state == HOST_UP || host->state == HOST_SUSPECT;
}

static bool is_hit(const struct recovery_host *host, const struct survive_loss *loss)
{
    return strcmp(loss->cabinet ? host->cabinet : host->id, loss->name) == 0;
}

struct trial {
    const struct recovery_input *in;
    struct recovery_host *hosts;
    struct recovery_action *actions;
    size_t action_max;
};

static void set_why(struct survive_loss *loss)
{
    loss->why[0] = '\0';
    if (!loss->quorum)
        snprintf(loss->why, sizeof(loss->why), "too few controllers would remain for a quorum");
    else if (!loss->capacity)
        snprintf(loss->why, sizeof(loss->why), "%zu of %zu servers would find no place elsewhere",
                 loss->servers_stranded, loss->servers);
    else if (!loss->network)
        snprintf(loss->why, sizeof(loss->why), "no host would remain that can run routers");
}

/* Marks what is lost; counts what remains. */
static void mark(struct trial *trial, struct survive_loss *loss)
{
    size_t controllers = 0, controllers_left = 0, network_left = 0;

    for (size_t i = 0; i < trial->in->host_count; i++) {
        struct recovery_host *host = &trial->hosts[i];

        *host = trial->in->hosts[i];
        controllers += host->controller;
        if (is_hit(host, loss)) {
            host->state = HOST_FENCED;
            host->lease_present = false;
            host->may_hold_ms = 0;
        } else if (counts(host)) {
            host->state = HOST_UP;
            controllers_left += host->controller;
            network_left += host->network && !host->disabled && !host->uplink_down;
        }
        host->verdict = counts(host) ? LIVE_ALIVE : LIVE_LOST;
    }
    loss->quorum = controllers == 0 || controllers_left * 2 > controllers;
    loss->network = trial->in->router_count == 0 || network_left > 0;
}

static int try_loss(struct trial *trial, struct survive_loss *loss)
{
    struct recovery_input input = *trial->in;
    size_t moved = 0;
    int count;

    mark(trial, loss);
    loss->servers = loss->servers_stranded = 0;
    for (size_t i = 0; i < input.server_count; i++) {
        for (size_t k = 0; k < input.host_count; k++) {
            if (input.servers[i].host && input.servers[i].power != SERVER_DELETED &&
                strcmp(input.servers[i].host, trial->hosts[k].id) == 0 &&
                is_hit(&trial->hosts[k], loss))
                loss->servers++;
        }
    }
    input.hosts = trial->hosts;
    input.router_count = input.network_count = input.module_count = 0;
    input.options.moves_max = input.server_count + 1;
    count = recovery_plan(&input, trial->actions, trial->action_max);
    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        const struct recovery_action *action = &trial->actions[i];

        if (action->kind != RECOVERY_SERVER_MOVE)
            continue;
        for (size_t k = 0; k < input.host_count; k++) {
            if (strcmp(trial->hosts[k].id, action->from) == 0 && is_hit(&trial->hosts[k], loss))
                moved++;
        }
    }
    loss->servers_stranded = loss->servers > moved ? loss->servers - moved : 0;
    loss->capacity = loss->servers_stranded == 0;
    set_why(loss);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct survive_loss *left = a, *right = b;

    if (left->cabinet != right->cabinet)
        return left->cabinet ? -1 : 1;
    return strcmp(left->name, right->name);
}

static size_t list_losses(const struct recovery_input *in, struct survive_loss *losses)
{
    size_t count = 0;

    for (size_t i = 0; i < in->host_count; i++) {
        bool known = false;

        for (size_t k = 0; k < count; k++)
            known = known || (losses[k].cabinet && is_hit(&in->hosts[i], &losses[k]));
        if (!known) {
            losses[count].cabinet = true;
            snprintf(losses[count++].name, RECOVERY_NAME_SIZE, "%s", in->hosts[i].cabinet);
        }
    }
    for (size_t i = 0; i < in->host_count; i++)
        snprintf(losses[count++].name, RECOVERY_NAME_SIZE, "%s", in->hosts[i].id);
    qsort(losses, count, sizeof(*losses), by_name);
    return count;
}

int survive_check(const struct recovery_input *input, struct survive_loss *ret, size_t max)
{
    struct trial trial = {.in = input};
    struct survive_loss *losses;
    size_t count;
    int rc = 0;

    if (input->host_count == 0)
        return 0;
    trial.action_max = input->host_count + input->server_count + 1;
    trial.hosts = calloc(input->host_count, sizeof(*trial.hosts));
    trial.actions = calloc(trial.action_max, sizeof(*trial.actions));
    losses = calloc(input->host_count * 2, sizeof(*losses));
    if (!trial.hosts || !trial.actions || !losses) {
        rc = -ENOMEM;
        goto out;
    }
    count = list_losses(input, losses);
    for (size_t i = 0; i < count && i < max && rc == 0; i++) {
        rc = try_loss(&trial, &losses[i]);
        ret[i] = losses[i];
    }
    if (rc == 0)
        rc = (int)count;
out:
    free(trial.hosts);
    free(trial.actions);
    free(losses);
    return rc;
}
