#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <string.h>

void vip_check(struct node *node)
{
    json_t *module;
    bool mine;
    struct err err;
    char line[700];

    if (!node->config.api_vip[0] || !node->controller)
        return;
    module = mirror_get(node->mirror, "module", "api-vip", NULL);
    mine = strcmp(json_str(module, "master", ""), node->config.host) == 0 &&
           lease_keeper_held(node->lease);
    json_decref(module);
    if (mine == node->vip_held)
        return;
    if (!mine) {
        node->network_ops->address_remove(node->network, node->config.api_dev,
                                          node->config.api_vip);
        node->vip_held = false;
        log_info("the API's address %s is not here any more", node->config.api_vip);
    } else if (node->network_ops->address_add(node->network, node->config.api_dev,
                                              node->config.api_vip, &err) == 0) {
        node->vip_held = true;
        log_info("the API's address %s is here now", node->config.api_vip);
    } else {
        log_warn("%s", err_line(&err, line, sizeof(line)));
    }
}
