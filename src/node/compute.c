/* Opens the driver that runs guests, where there are some or may be. */
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <errno.h>

static void on_guest_changed(void *arg, const char *id)
{
    struct node *node = arg;

    agent_kick(node->agent);
}

int compute_open_anyway(struct node *node, struct err *err)
{
    struct config *c = &node->config;
    json_t *config = json_pack("{s:s, s:s, s:s}", "run_dir", c->run_dir, "state_dir", c->state_dir,
                               "user", "vling-guest");

    node->compute = node->compute_ops->open(node->loop, config, on_guest_changed, node, err);
    json_decref(config);
    if (node->compute)
        log_info("guests run under %s", node->compute_ops->accel(node->compute));
    return node->compute ? 0 : -EIO;
}

int compute_open(struct node *node, struct err *err)
{
    /* Guests of before run on, or have ended and left something, whatever the host's roles are. */
    bool needed =
        config_has_role(&node->config, "compute") || guard_has_guests(node->config.run_dir);

    return needed ? compute_open_anyway(node, err) : 0;
}
