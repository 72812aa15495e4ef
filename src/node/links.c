/* The cables of this host, as it sees them itself: member `planes` of its row. Nobody sends
 * heartbeats on the external plane, so only the host can tell that this one is gone; of the tenant
 * plane it knows sooner than those who do not hear it any more. */
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <string.h>

/* A link that was down at so many looks in a row is; one that only trembles moves no router, nor
 * does one that the driver is about to take up. */
#define DOWN_LOOKS 4

static const char *const names[NODE_LINKS] = {"tenant", "external"};

/* "" for one that does not matter: only routers use the external one. */
static const char *device(const struct node *node, int link)
{
    if (link == 0)
        return node->config.tenant_dev;
    return config_has_role(&node->config, "network") ? node->config.external_dev : "";
}

bool links_changed(struct node *node)
{
    bool changed = false;

    /* Before the lease is held the driver has taken nothing up yet. */
    if (!lease_keeper_held(node->lease))
        return false;
    for (int i = 0; i < NODE_LINKS; i++) {
        const char *dev = device(node, i);
        bool was_down = node->links_down[i] >= DOWN_LOOKS;

        if (!dev[0] || node->network_ops->link_up(node->network, dev))
            node->links_down[i] = 0;
        else if (node->links_down[i] < DOWN_LOOKS)
            node->links_down[i]++;
        changed = changed || was_down != (node->links_down[i] >= DOWN_LOOKS);
    }
    return changed;
}

void links_fill(struct node *node, json_t *row, struct store_txn *txn)
{
    json_t *before = json_object_get(row, "planes"), *planes = json_object();

    for (int i = 0; i < NODE_LINKS; i++) {
        bool down = node->links_down[i] >= DOWN_LOOKS;
        bool was_down = strcmp(json_str(before, names[i], "up"), "down") == 0;

        if (!device(node, i)[0])
            continue;
        json_put_str(planes, names[i], down ? "down" : "up");
        if (down == was_down)
            continue;
        event_add(txn, &node->config, down ? "warning" : "info",
                  down ? "host.link_down" : "host.link_up", node->config.host,
                  "the %s link (%s) is %s", names[i], device(node, i), down ? "down" : "up again");
        log_warn("the %s link (%s) is %s", names[i], device(node, i), down ? "down" : "up again");
    }
    json_object_set_new(row, "planes", planes);
}
