/* The network service's own header: what its files share.
 *
 * Files.      network.c       routes, discovery, errors, what is not a row
 *             network_core.c  rows and views of all kinds; network_lists.c their lists
 *             network_nets.c  networks; network_subnets.c subnets and DHCP ports
 *             network_alloc.c addresses; network_ports.c ports; network_routers.c routers;
 *             network_floating.c floating IPs; network_security.c security groups and rules;
 *             network_quotas.c quotas; network_plain.c what needs no file of its own
 * Changes.    A handler reads a row with net_get(), changes it and gives it to net_put(): so
 * several changes of one row in a request add up, and the revision it was read at is expected.
 * Races.      "Nobody uses it" is a statement about rows that do not exist, which no precondition
 * can name. So whoever begins to use a thing calls net_use() and whoever removes the thing
 *             net_expect_unused() before looking for users (table guard).
 * Ownership.  Rows are new references, views too. Functions that return int answer the error with
 *             api_fail() themselves and return a negative number.
 */
#ifndef VLING_API_NETWORK_H
#define VLING_API_NETWORK_H

#include "api/ports.h"
#include "model/ip.h"

struct net_kind {
    const struct resource *resource;
    const char *seen_by_all; /* SQL: which rows others than the owner see, too; NULL: none */
    /* Adds to the view what no field says; NULL: nothing. */
    json_t *(*complete)(struct api_req *req, const json_t *row, json_t *view);
    /* The status, where it is computed: lists are filtered by it; NULL: it is stored, or none. */
    const char *(*status)(struct api_req *req, const json_t *row);
};

extern const struct net_kind net_networks, net_subnets, net_ports, net_routers, net_floatingips,
    net_security_groups, net_security_group_rules;

/* ---- network_core.c ---- */

/* The row as this transaction leaves it so far, with "_rev" (-1: written by this transaction). */
json_t *net_get(struct api_req *req, const char *table, const char *id);
/* A row that the requester may see; else 404. */
json_t *net_see(struct api_req *req, const struct net_kind *kind, const char *id);
/* A row that the requester may change; else 404 or 403. */
json_t *net_own(struct api_req *req, const struct net_kind *kind, const char *id);
/* A row by the id in the request's path, in the state that If-Match names; else also 412. */
json_t *net_own_param(struct api_req *req, const struct net_kind *kind);

/* Writes a changed row: counts its revision and sets its time. */
void net_put(struct api_req *req, const char *table, json_t *row);
/* Writes a new row. */
void net_create(struct api_req *req, const char *table, json_t *row);
void net_remove(struct api_req *req, const char *table, const json_t *row);
/* Rows of `table` whose indexed field `field` is `value`, as this transaction leaves them so far.
 */
json_t *net_rows(struct api_req *req, const char *table, const char *field, const char *value);

void net_use(struct api_req *req, const char *id);
void net_expect_unused(struct api_req *req, const char *id);

/* A new row from a client's object: id, project, times and defaults. NULL after an error. */
json_t *net_new(struct api_req *req, const struct net_kind *kind, const json_t *body);
/* Gives a row that is about to be created its id, project, times and first revision. */
void net_begin(const struct api_req *req, json_t *row, const char *project_id);
/* Changes `row` by the body's object. 0 or negative after an error. */
int net_change(struct api_req *req, const struct net_kind *kind, json_t *row);

json_t *net_view(struct api_req *req, const struct net_kind *kind, const json_t *row);
void net_reply(struct api_req *req, unsigned status, const struct net_kind *kind,
               const json_t *row);
/* Leaves the members that the query's `fields` name. */
void net_keep_fields(struct api_req *req, json_t *view);
void net_show(struct api_req *req, const struct net_kind *kind);
/* POST of one object or of a list of them: `make` creates one and returns its row, or NULL after an
 * error. */
void net_post(struct api_req *req, const struct net_kind *kind,
              json_t *(*make)(struct api_req *req, const json_t *body));
/* Answers 403 unless an administrator asks. */
int net_admin_only(struct api_req *req, const char *what);
/* A UUID that follows from its `kind` and `name`. */
void net_derived_id(const char *kind, const char *name, char out[64]);
/* Is the host there and well? */
bool net_host_up(struct api_req *req, const char *host);
int net_bad(struct api_req *req, const char *why);
/* A route {destination, nexthop}: -EINVAL also for a destination with host bits, which no kernel
 * takes, and for two versions of IP. */
int net_route_parse(const json_t *route, struct ip_cidr *ret_to, struct ip_addr *ret_hop);

/* ---- network_lists.c ---- */

void net_list(struct api_req *req, const struct net_kind *kind);
/* Answers with those of `views` (an array, stolen) that the query wants: filters by their members,
 * limit and marker (where they have an id), fields. */
void net_list_views(struct api_req *req, const char *plural, json_t *views);

/* ---- network_alloc.c ---- */

/* One address for the port `port_id`, added to `fixed_ips`: `ip` or, if NULL, any free one of the
 * subnet. 0; -ENOSPC without an answer (the subnet is full); or negative after an error. */
int net_ip_take(struct api_req *req, const json_t *subnet, const char *ip, const char *port_id,
                json_t *fixed_ips);
/* The addresses that a client asked for ({subnet_id, ip_address} each; NULL: any) added to
 * `fixed_ips`. */
int net_ips_take(struct api_req *req, const json_t *network, const json_t *wanted,
                 const char *port_id, json_t *fixed_ips);
void net_ip_release(struct api_req *req, const char *network_id, const char *ip);
bool net_ip_is_free(struct api_req *req, const char *network_id, const char *ip);
void net_mac(struct api_req *req, const char *network_id, char out[18]);

/* ---- network_ports.c ---- */

/* Completes and creates the port row `row` (borrowed; from net_new or net_port_plain) with the
 * wanted fixed_ips. */
int net_port_make(struct api_req *req, const json_t *network, json_t *row, const json_t *wanted);
/* A port row without addresses for a device of ours. */
json_t *net_port_plain(struct api_req *req, const char *network_id, const char *project_id,
                       const char *owner, const char *device_id);
/* "ACTIVE" or "DOWN", and the host it is at ("" if none; lives as long as the request's strings).
 */
const char *net_port_status(struct api_req *req, const json_t *port, char ret_host[64]);

/* ---- network_subnets.c ---- */

/* Makes the network's DHCP port have an address in each subnet with DHCP, and only there. */
int net_dhcp_sync(struct api_req *req, const json_t *network);

/* ---- network_routers.c ---- */

/* The router that joins the port's subnet with the external network: 0 and its id, or -ENOENT. */
int net_router_between(struct api_req *req, const char *subnet_id, const char *external_id,
                       char ret_id[64]);

/* ---- network_plain.c ---- */

/* For the resource that the route names: what its table tells all of, rows of a project that are
 * changed by it alone. Those with a struct net_kind are shown by it. */
api_handler net_plain_create, net_plain_list, net_plain_show, net_plain_update, net_plain_delete;

/* ---- handlers ---- */
api_handler net_network_create, net_network_update, net_network_delete;
api_handler net_subnet_create, net_subnet_update, net_subnet_delete;
api_handler net_port_create, net_port_update, net_port_delete;
api_handler net_router_create, net_router_update, net_router_delete, net_router_add_interface,
    net_router_remove_interface, net_router_add_routes, net_router_remove_routes;
api_handler net_floating_create, net_floating_update, net_floating_delete;
api_handler net_group_create, net_group_list, net_group_update, net_group_delete;
api_handler net_quota_list, net_quota_show, net_quota_default, net_quota_details, net_quota_update,
    net_quota_delete;
api_handler net_rule_create, net_rule_delete;

#endif
