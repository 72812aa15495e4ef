/* The host's configuration file (/etc/vling/vlingd.json). Read once at start; what may change while
 * running (roles, maintenance) is also a row of table `host`. */
#ifndef VLING_NODE_CONFIG_H
#define VLING_NODE_CONFIG_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_CONTROLLERS_MAX 7

struct config_controller {
    char host[64], cabinet[64], ip[64];
};

struct config {
    char host[64], cabinet[64];
    json_t *roles; /* array of strings */
    char state_dir[256], run_dir[256];
    char mgmt_dev[32], mgmt_ip[64];
    char tenant_dev[32], tenant_ip[64];
    char external_dev[32]; /* "" if there is none */
    char storage_dev[32], storage_ip[64];
    char compute_driver[32], network_driver[32], storage_driver[32]; /* names, of drv/driver.h */
    char storage_path[256];
    int64_t vcpus, ram_mb; /* what guests may have here; 0: what the machine has */
    char api_vip[80];      /* "10.10.0.100/16", or "" */
    char api_dev[32];
    char region[64];
    bool sqlite; /* one controller on its own machine: no etcd */
    struct config_controller controllers[CONFIG_CONTROLLERS_MAX];
    size_t controller_count;
    int64_t controllers_serial; /* of the list (controllers.h); 0: as configured */
    json_t *raw;
};

/* Reads and checks `path`. 0 or -errno with an `err` that names the member that is wrong. */
int config_load(const char *path, struct config *ret, struct err *err);
void config_free(struct config *config);

bool config_has_role(const struct config *config, const char *role);
/* Index of `host` among the controllers, or -1. */
int config_controller_index(const struct config *config, const char *host);
/* The host's own addresses, for its certificates; ends with NULL. */
void config_own_ips(const struct config *config, const char *ret[3]);
/* The virtual IP without its prefix length into `ret`; "" if none. */
void config_vip_address(const struct config *config, char *ret, size_t size);

#endif
