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

/* Opens a token's text and resolves it. 0, or -EACCES: no token of this cloud, or not good any
 * more. The view in `ret_auth` may be others' too: it must not be changed. */
int identity_bearer(struct api_req *req, const char *text, struct token *ret_token,
                    struct api_auth *ret_auth);

/* Names of the roles that `user_id` has on the scope, implied ones included, as a new array of
 * {id, name}. */
json_t *identity_roles_on(struct mirror *db, const char *user_id, const char *kind,
                          const char *scope_id);

/* The role and those that it implies, in the same form. */
json_t *identity_roles_implied(struct mirror *db, const char *role_id);

/* Is the role among an array of {id, name}? */
bool identity_has_role(const json_t *roles, const char *role_id);

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

/* The members of the body that the table lets a client give with `flag`: Keystone takes and ignores
 * what it does not know. A new object. */
json_t *identity_known(const struct resource *resource, const json_t *body, unsigned flag);

/* Answers a list (stolen) with its links; `next_id` is the id after which another page would begin,
 * NULL: there is none. */
void identity_reply_list(struct api_req *req, const char *plural, json_t *list,
                         const char *next_id);

/* Is the row not immutable, or does the body do nothing but change that? False after answering 403.
 * `title`: "project". */
bool identity_may_change(struct api_req *req, const char *title, const json_t *row,
                         const json_t *body);

/* Creates a row of domain, project, user or role with its name, without asking; for bootstrap. */
void identity_first_row(struct store_txn *txn, const char *table, json_t *row);

/* ---- identity_projects.c ---- */
#define IDENTITY_TAGS_SQL_MAX 16384

/* The query's tags, tags-any, not-tags and not-tags-any as a condition and its parameters (added to
 * `params`); false after answering 400. */
bool identity_tag_filters(struct api_req *req, struct buf *where, json_t *params);

/* With parents_as_ids and subtree_as_ids in the query: puts the ids of the projects above and below
 * into the view. */
void identity_put_family(struct api_req *req, const json_t *project, json_t *view);

extern api_handler tags_list, tags_replace, tags_clear, tag_check, tag_add, tag_remove;

/* ---- identity_credentials.c ---- */
extern api_handler credentials_list, credentials_create, credentials_show, credentials_delete;

/* The user's application credential of that name, or NULL. */
json_t *identity_credential_named(struct mirror *db, const char *user_id, const char *name);

/* Is it the credential's secret? As api_password_check(). */
int identity_credential_check(struct api_req *req, const json_t *row, const char *secret);

/* ---- assignment.c ---- */
extern api_handler assignments_list, grants_list, grants_check, grants_put, grants_delete;

/* Adds the deletion of all rows that match `where` (SQL with one parameter, `id`) to the
 * transaction; false after answering an error (more than fit into it). */
bool identity_drop(struct api_req *req, const struct resource *resource, const char *where,
                   const char *id);

/* The row of a grant, as create or bootstrap writes it. */
json_t *assignment_row(const char *user_id, const char *kind, const char *scope_id,
                       const char *role_id, char *ret_id, size_t size);

#endif
