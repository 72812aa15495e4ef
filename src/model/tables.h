/* The resource tables, one variable for each; see resource.h for what a table is. */
#ifndef VLING_MODEL_TABLES_H
#define VLING_MODEL_TABLES_H

#include "model/resource.h"

/* cluster.c */
extern const struct resource resource_host, resource_module, resource_event, resource_setting,
    resource_lease;
/* identity.c */
extern const struct resource resource_domain, resource_project, resource_user, resource_role,
    resource_assignment, resource_revocation, resource_taken_name;
/* image.c */
extern const struct resource resource_image;
/* compute.c */
extern const struct resource resource_server, resource_server_state, resource_flavor,
    resource_keypair, resource_server_group, resource_compute_quota;
#define SERVER_METADATA_MAX 128 /* items */
/* network.c */
extern const struct resource resource_network, resource_subnet, resource_port, resource_router,
    resource_floatingip, resource_security_group, resource_security_group_rule, resource_ip,
    resource_vni, resource_guard, resource_network_quota;

#endif
