/* The API's virtual address, compared with the kernel at each look: the guard takes it away on its
 * own when the lease is about to end, and a daemon that was killed leaves it behind. */
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <string.h>

static bool is_mine(struct node *node)
{
    json_t *module = mirror_get(node->mirror, "module", "api-vip", NULL);
    bool mine = strcmp(json_str(module, "master", ""), node->config.host) == 0 &&
                lease_keeper_held(node->lease);

    json_decref(module);
    return mine;
}

void vip_check(struct node *node)
{
    const struct config *c = &node->config;
    bool mine, here;
    struct err err;
    char line[700];

    if (!c->api_vip[0] || !node->controller)
        return;
    mine = is_mine(node);
    here = node->network_ops->address_here(node->network, c->api_dev, c->api_vip);
    if (here && !mine) {
        node->network_ops->address_remove(node->network, c->api_dev, c->api_vip);
        log_info("the API's address %s is not here any more", c->api_vip);
    } else if (mine && !here) {
        if (node->network_ops->address_add(node->network, c->api_dev, c->api_vip, &err) < 0)
            log_warn("%s", err_line(&err, line, sizeof(line)));
        else
            log_info("the API's address %s is here now", c->api_vip);
    }
}

void vip_drop(struct node *node)
{
    const struct config *c = &node->config;

    if (c->api_vip[0] && node->controller)
        node->network_ops->address_remove(node->network, c->api_dev, c->api_vip);
}
