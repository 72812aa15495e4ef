/* The compute service's own header: what its files share.
 *
 * Files.      compute.c          routes, discovery, versions, errors
 *             compute_fields.c   plain fields of all resources, as their tables say
 *             compute_view.c     how a server is shown: addresses, groups, status
 *             compute_show.c     list, show, change and delete servers; what lies below one
 *             compute_request.c  what a client may ask for in a new server
 *             compute_servers.c  a new server; its metadata
 *             compute_actions.c  POST servers/{id}/action
 *             compute_log.c      what was done to a server
 *             compute_flavors.c, compute_keypairs.c; compute_groups.c security groups
 *             compute_servergroups.c server groups
 *             compute_hosts.c    hypervisors, zones; compute_services.c services
 *             compute_limits.c   limits, quotas, usage
 * Versions.   Every answer is in the microversion that the client asked for: since when a field is
 *             there is said in its resource's table (`since`); for what is no field handlers
 *             compare req->microversion with MV(minor). compute.c tells what each one changes.
 * Ownership.  Rows and views are new references. Functions that return int answer the error with
 *             api_fail() themselves and return a negative number.
 */
#ifndef VLING_API_COMPUTE_H
#define VLING_API_COMPUTE_H

#include "api/ports.h"
#include "base/buf.h"
#include "model/server.h"

#define MV(minor) (200 + (minor))

/* ---- compute.c ---- */

/* {"rel": "self"} and {"rel": "bookmark"} of a thing: compute_links(req, "servers", id). */
json_t *compute_links(struct api_req *req, const char *collection, const char *id);
json_t *compute_bookmark(struct api_req *req, const char *collection, const char *id);
/* Answers 400; returns -EINVAL. */
int compute_bad(struct api_req *req, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "2026-11-22T13:55:39Z" as Nova writes times of what is not a server's created and updated:
 * without the Z, with microseconds; null stays null. */
json_t *compute_time(const char *iso);
/* A time out of a query ("2026-11-22", "2026-11-22T13:55:39Z", "... +00:00") in ms; -1: it is none.
 */
int64_t compute_instant(const char *text);
/* A positive number that follows from a name: for what had integers as ids before 2.53. */
int64_t compute_number(const char *name);
/* A whole number, also as text, in 0..max; -1 if it is none. */
int64_t compute_whole(const json_t *value, int64_t max);
/* How a list shows a row: a new reference. */
typedef json_t *compute_row_view(struct api_req *req, const json_t *row, int kind);
/* Answers with the page of `rows` (stolen; NULL: the error is answered already) that the query's
 * marker and limit ask for, each as `view` shows it, and with a link to the next page if rows
 * follow. */
void compute_list(struct api_req *req, const char *collection, json_t *rows, compute_row_view *view,
                  int kind);

/* ---- compute_fields.c ---- */

/* The members of `body` that the resource takes at `flag` (FIELD_CREATE, FIELD_UPDATE), for
 * resource_create() and resource_update(). `others` (NULL-terminated, or NULL) are those that the
 * handler reads itself. NULL after an error: there are more. */
json_t *compute_plain_members(struct api_req *req, const struct resource *resource,
                              const json_t *body, unsigned flag, const char *const *others);
/* The row as its table shows it, a new reference to be completed. */
json_t *compute_plain_view(struct api_req *req, const struct resource *resource, const json_t *row);

/* What a list's query asks for, as the rest of a SELECT. */
struct compute_filter {
    struct buf sql;
    json_t *params;
};
/* Another name under which a query means a column; the last one has no name. */
struct compute_alias {
    const char *name, *column;
    bool admin; /* for administrators only */
};
void compute_filter_init(struct compute_filter *filter);
void compute_filter_free(struct compute_filter *filter);
/* One more condition ("project_id = ?") with its value (stolen), or NULL for none. */
void compute_filter_add(struct compute_filter *filter, const char *condition, json_t *value);
/* Those that the query names of the fields with FIELD_INDEX, and of the aliases (or NULL); but not
 * `others` (NULL-terminated, or NULL), which the handler takes. 0 or negative after an error. */
int compute_filter_fields(struct api_req *req, struct compute_filter *filter,
                          const struct resource *resource, const struct compute_alias *aliases,
                          const char *const *others);
/* The query's sort_key and sort_dir; ends the SQL. */
void compute_filter_order(struct api_req *req, struct compute_filter *filter,
                          const struct resource *resource, const struct compute_alias *aliases);

/* ---- compute_view.c ---- */

/* A server by the path's {id} with "_rev", or NULL after a 404. */
json_t *compute_server(struct api_req *req);
/* The same, which the requester may also change: not locked by somebody else. */
json_t *compute_server_to_change(struct api_req *req);
/* The strings in `ret` live as long as `*ret_state` (new reference or NULL) and `server`. */
void compute_status(struct api_req *req, const json_t *server, struct server_status *ret,
                    json_t **ret_state);
/* When the server changed last: by a request, or by what its host told. */
const char *compute_updated(const json_t *server, const json_t *state);
/* The ports of a server in their order, to be read only; and such that may be changed. */
json_t *compute_server_ports(struct api_req *req, const char *server_id);
json_t *compute_server_own_ports(struct api_req *req, const char *server_id);
/* {"<network name>": [{version, addr, ...}]}; `plain` without the OS-EXT members. */
json_t *compute_addresses(struct api_req *req, const json_t *ports, bool plain);

enum compute_view { COMPUTE_BRIEF, COMPUTE_CHANGED, COMPUTE_FULL };
/* `kind`: an enum compute_view. */
json_t *compute_server_view(struct api_req *req, const json_t *server, int kind);

/* ---- compute_request.c ---- */

#define COMPUTE_GROUPS_MAX 16

struct compute_request {
    const json_t *body;       /* the object "server" */
    json_t *row;              /* of the plain fields, checked */
    const char *server_group; /* id out of the scheduler hints, or NULL */
    json_t *image, *flavor;   /* rows */
    json_t *key;              /* row, or NULL */
    json_t *networks;         /* [{network_id, port_id?, fixed_ip?}] */
    char groups[COMPUTE_GROUPS_MAX][64];
    const char *group_list[COMPUTE_GROUPS_MAX + 1]; /* ids, NULL-terminated */
    size_t group_count;
    int64_t count;
};

/* 0; or negative after an error. compute_request_free() in both cases. */
int compute_request_read(struct api_req *req, struct compute_request *request);
void compute_request_free(struct compute_request *request);
/* Is it an object of as many texts as the quota metadata_items allows? 0 or negative after an
 * error. */
int compute_check_metadata(struct api_req *req, const json_t *metadata);
/* The rules that a server's table cannot say, on the members given at create or update. */
int compute_check_plain(struct api_req *req, const json_t *given);

/* ---- compute_log.c ---- */

/* Remembers in the transaction that the requester did `action` ("start") to the server. */
void compute_log(struct api_req *req, const json_t *server, const char *action);

/* ---- compute_flavors.c ---- */

/* The flavor `id` (also as the end of a URL) as the requester may use it, or NULL after an error
 * with `status`. */
json_t *compute_flavor_find(struct api_req *req, const char *id, unsigned status);

/* ---- compute_servergroups.c ---- */

/* A server begins to be in the group: it must be there and must not go in this moment. 0 or
 * negative after an error. */
int compute_servergroup_use(struct api_req *req, const char *id);

/* ---- compute_keypairs.c ---- */

#define COMPUTE_KEYPAIR_ID_SIZE 256 /* the store's limit for ids, with the zero */

/* The id of the row: "<user id>.<name>", or with a hash of the name where that is too long. */
void compute_keypair_id(const char *user_id, const char *name, char out[COMPUTE_KEYPAIR_ID_SIZE]);

/* ---- compute_hosts.c ---- */

json_t *compute_hosts(struct api_req *req); /* all rows */
bool compute_host_is_up(const json_t *host);
/* Why it is disabled, or null: a new reference. */
json_t *compute_disabled_reason(const json_t *host);
bool compute_zone_exists(struct api_req *req, const char *zone);
struct compute_use {
    int64_t servers, vcpus, ram_mb, disk_gb;
};
/* What the servers whose column `field` is `value` use together. */
struct compute_use compute_use_of(struct api_req *req, const char *field, const char *value);

/* ---- handlers ---- */
api_handler compute_server_create, compute_server_list, compute_server_detail, compute_server_show,
    compute_server_update, compute_server_delete, compute_server_action;
api_handler compute_metadata_show, compute_metadata_replace, compute_metadata_merge,
    compute_meta_show, compute_meta_put, compute_meta_delete, compute_ips, compute_ips_of,
    compute_interfaces;
api_handler compute_group_list, compute_group_show, compute_server_groups;
api_handler compute_servergroup_list, compute_servergroup_show, compute_servergroup_create,
    compute_servergroup_delete;
api_handler compute_flavor_list, compute_flavor_detail, compute_flavor_show, compute_flavor_create,
    compute_flavor_delete, compute_specs_show, compute_specs_merge, compute_spec_show,
    compute_spec_put, compute_spec_delete, compute_flavor_access, compute_flavor_action;
api_handler compute_key_list, compute_key_show, compute_key_create, compute_key_delete;
api_handler compute_zones, compute_zones_detail, compute_hypervisors, compute_hypervisors_detail,
    compute_hypervisor_statistics, compute_hypervisor_show, compute_hypervisor_uptime,
    compute_hypervisor_search, compute_aggregates;
api_handler compute_services, compute_service_enable, compute_service_disable,
    compute_service_disable_reason;
api_handler compute_log_list, compute_log_show;
api_handler compute_limits, compute_usage, compute_usages, compute_quota_show,
    compute_quota_defaults, compute_quota_detail, compute_quota_update, compute_quota_delete,
    compute_quota_class_show, compute_quota_class_update;

#endif
