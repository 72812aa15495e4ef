/* Which hosts are controllers, and changing that while the cloud runs.
 *
 * The list.    Row setting/controllers: {"serial": N, "controllers": [{host, cabinet, ip}],
 *              "seal"}. A new cloud has no such row: the list of the configuration file counts
 *              until the first change (serial 0). Each host keeps a copy in
 *              <state_dir>/controllers.json, which from then on counts in place of the
 *              configuration's.
 * Trust.       Every host can write rows, but who is a controller gets the authority's key. So the
 *              list carries a seal by that key (pki_seal), and one without it is not followed.
 *              Changing it and fetching a backup is for controllers only.
 * Following.   A host that sees a newer list saves it and starts its own program again, the
 *              controllers one after the other: everything that depends on the list is read at the
 *              start, and guests and networking do not notice a restart. A host that is to become
 *              a controller fetches the authority's key from another one first. One that ceases to
 *              be waits until the others say that its etcd member was removed, however long that
 *              takes: until then its member may be needed for the majority.
 * etcd.        A new controller adds itself (store/etcd_heal.h). Members that are not in the list
 *              are removed by the controllers: they ask for the members first and for the list
 *              after that, so one that was just added is never taken for a removed one.
 * Threads.     The loop's.
 */
#ifndef VLING_NODE_CONTROLLERS_H
#define VLING_NODE_CONTROLLERS_H

#include "node/node.h"

#define CONTROLLERS_ROW "controllers"

/* Replaces the list of `config` (and its role "controller") by the saved one, if there is one. A
 * saved one that cannot be read is an error: the old list of the configuration could be wrong. */
int controllers_load(struct config *config, struct err *err);
/* Checks `value` (see above) and saves it. -EINVAL if it is no list. */
int controllers_save(const char *state_dir, const json_t *value, struct err *err);

/* Is `host` in the list `value`? */
bool controllers_listed(const json_t *value, const char *host);
/* Seals the list, as only a controller can; is it sealed? */
int controllers_seal(const char *state_dir, json_t *value);
bool controllers_sealed(const char *state_dir, const json_t *value);
/* The list that counts now: the row's value if it is sealed, else the one that this host follows.
 * New reference; `ret_rev` (may be NULL) is the row's revision, 0 without a row. */
json_t *controllers_value(struct node *node, int64_t *ret_rev);

/* Looks for a newer list and follows it; every quarter of a second. Sets node->restart in the end
 * and stops the loop. */
void controllers_check(struct node *node);

/* Did a controller ask? Answers 403 if not. */
bool controllers_only(struct node *node, struct http_request *request);
/* GET /v1/controllers, POST /v1/controllers {"add": HOST} or {"remove": HOST}, GET /v1/authority
 * (for hosts in the list only). */
bool controllers_serve(struct node *node, struct http_request *request);

/* ---- controllers_rules.c: decisions only ---- */

/* What is known of the member at `ip`: "started" (it answers and has a leader), "down" (it ran once
 * and does not answer), "added" (it never ran) or "none". `members` as below. */
const char *controllers_member_state(const json_t *members, const char *ip);
/* May `host` (its row; NULL: there is none) become a controller, or `name` cease to be one? True:
 * no, and `why` says why. Both changes need a majority that works, before and after. */
bool controllers_refuse_add(const json_t *value, const json_t *members, const char *name,
                            const json_t *host, char *why, size_t size);
bool controllers_refuse_remove(const json_t *value, const json_t *members, const char *name,
                               char *why, size_t size);

/* ---- controllers_etcd.c ---- */

/* The members of etcd as it lists them, each with the booleans "leader" and "healthy" (asked
 * itself, it answered and has a leader); NULL: nobody answered. Asks the controllers of `value`
 * other than `except` (may be NULL) one after the other for the list. */
typedef void controllers_members_cb(void *arg, const json_t *members);
void controllers_members(struct node *node, const json_t *value, const char *except,
                         controllers_members_cb *cb, void *arg);
/* Removes members that the list does not name; on controllers, now and then. */
void controllers_tidy(struct node *node);

#endif
