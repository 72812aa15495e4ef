/* The resource tables; see resource.h for what a table is, docs/adding-a-resource.md for how to add
 * one. Each name is a variable resource_<name> and a row of resource_all. */
#ifndef VLING_MODEL_TABLES_H
#define VLING_MODEL_TABLES_H

#include "model/resource.h"

#define SERVER_METADATA_MAX 128  /* items */
#define SERVER_ACTIONS_MAX 32    /* that are remembered of one server */
#define FLAVOR_PROJECTS_MAX 1024 /* with access to a private flavor */

/* clang-format off */
#define TABLES(X)                                                                                  \
    /* cluster.c */                                                                                \
    X(host) X(module) X(event) X(setting) X(lease) X(join_token)                                                 \
    /* identity.c */                                                                               \
    X(domain) X(project) X(user) X(role) X(assignment) X(revocation) X(taken_name)                 \
    X(application_credential)                                                                      \
    /* image.c */                                                                                  \
    X(image) X(image_member)                                                                                       \
    /* compute.c */                                                                                \
    X(server) X(server_state) X(server_log) X(flavor) X(keypair) X(server_group) X(compute_quota)  \
    /* network.c */                                                                                \
    X(network) X(subnet) X(port) X(router) X(floatingip) X(security_group)                         \
    X(security_group_rule) X(ip) X(vni) X(guard) X(network_quota)
/* clang-format on */

#define TABLES_DECLARE(name) extern const struct resource resource_##name;
TABLES(TABLES_DECLARE)

#endif
