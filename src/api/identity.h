/* What the files of the identity service share. */
#ifndef VLING_API_IDENTITY_H
#define VLING_API_IDENTITY_H

#include "api/internal.h"
#include "api/token.h"

/* ---- auth.c ---- */

/* Is the token good as of the mirror? Fills `ret_auth` (token included, without the catalog) and
 * returns 0; -EACCES: user, project or domain is gone or disabled, the password was changed, the
 * token is revoked or has expired, or there is no role on the scope. */
int identity_resolve(struct api_req *req, const struct token *token, struct api_auth *ret_auth);

/* Names of the roles that `user_id` has on the scope, implied ones included, as a new array of
 * {id, name}. */
json_t *identity_roles_on(struct mirror *db, const char *user_id, const char *kind,
                          const char *scope_id);

/* The role and those that it implies, in the same form. */
json_t *identity_roles_implied(struct mirror *db, const char *role_id);

/* {"id", "name"} of a domain. */
json_t *identity_domain_ref(struct mirror *db, const char *domain_id);

/* Answers 401 as Keystone does. */
void identity_unauthorized(struct api_req *req, const char *message);

/* ---- catalog.c ---- */

/* The catalog for whoever sent `req`. `project_id` may be "". */
json_t *catalog_build(const struct api_req *req);

extern api_handler catalog_list, catalog_services, catalog_service, catalog_endpoints,
    catalog_endpoint, catalog_regions, catalog_region, identity_versions, identity_version;

/* ---- identity_auth.c ---- */
extern api_handler tokens_issue, tokens_show, tokens_revoke, auth_projects, auth_domains,
    auth_system;

/* ---- identity_rows.c ---- */
extern api_handler domains_create, domains_list, domains_show, domains_update, domains_delete;
extern api_handler projects_create, projects_list, projects_show, projects_update, projects_delete;
extern api_handler users_create, users_list, users_show, users_update, users_delete;
extern api_handler users_password, users_projects, groups_none;
extern api_handler roles_create, roles_list, roles_show, roles_update, roles_delete;

/* Creates a row of domain, project, user or role with its name, without asking; for bootstrap. */
void identity_first_row(struct store_txn *txn, const char *table, json_t *row);

/* ---- assignment.c ---- */
extern api_handler assignments_list, grants_list, grants_check, grants_put, grants_delete;

/* Adds the deletion of all assignments with `column` = `id` to the transaction; false after
 * answering an error (more than fit into one transaction). */
bool assignments_drop(struct api_req *req, const char *column, const char *id);

/* The row of a grant, as create or bootstrap writes it. */
json_t *assignment_row(const char *user_id, const char *kind, const char *scope_id,
                       const char *role_id, char *ret_id, size_t size);

#endif
