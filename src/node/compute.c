/* Opens the driver that runs guests, where there are some or may be. */
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

static void on_guest_changed(void *arg, const char *id)
{
    struct node *node = arg;

    agent_kick(node->agent);
}

/* Guests of before: they run on, or have ended and left something, whatever the host's roles are.
 */
static bool has_guests(const struct config *c)
{
    char path[400];
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/guests", c->run_dir);
    dir = opendir(path);
    while (dir && !found && (entry = readdir(dir)))
        found = entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return found;
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
    bool needed = config_has_role(&node->config, "compute") || has_guests(&node->config);

    return needed ? compute_open_anyway(node, err) : 0;
}
