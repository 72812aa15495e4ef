/* Quotas: how much of what a project may have.
 *
 * Concept.  A resource's table says what its rows count towards (struct quota_use). After a handler
 *           succeeded, the rows that its transaction makes or changes are summed up and held
 * against the limits; handlers know nothing of it. What a request only makes along the way (default
 * groups and rules, ports of routers and DHCP) counts, but is not refused, as in Neutron. Races.
 * "There are less than ten" is a statement about rows that do not exist yet, which no precondition
 * can name. So where there is a limit, the transaction expects and moves one row of the table guard
 * for each owner that it counted for: of two that counted at the same time one counts again. It
 * also expects the rows of the limits. Without a limit nothing is moved, and creates do not disturb
 * each other. Turns.    Many creates of one owner at one controller would only make each other
 * fail, so they take turns (server.c). Between controllers the guard alone decides. Limits.   Of a
 * project: its own row, else the row "default", else the table's fallback. -1 is unlimited. */
#ifndef VLING_API_QUOTA_H
#define VLING_API_QUOTA_H

#include "api/api.h"

#define QUOTA_DEFAULT "default"

/* May the transaction of `req` be committed? If so it has the preconditions that make it sure, and
 * `ret_turn` the name of the turn to take ("" if none). False after answering an error. */
bool quota_admit(struct api_req *req, char *ret_turn, size_t turn_size);

/* The project's limit of one quantity of `limits`. */
int64_t quota_limit(struct api_req *req, const struct resource *limits, const char *project,
                    const char *name);
/* All of them: {name: limit}. New reference. */
json_t *quota_limits(struct api_req *req, const struct resource *limits, const char *project);
/* {name: {"limit", `used_key`, "reserved"}}. What is not counted by project has used 0. */
json_t *quota_details(struct api_req *req, const struct resource *limits, const char *project,
                      const char *used_key);

/* Sets the members of `wanted` for the project (or QUOTA_DEFAULT); `check`: 400 if a limit would be
 * below what is used. 0 and the new limits in `*ret_limits`, or negative after an error. */
int quota_set(struct api_req *req, const struct resource *limits, const char *project,
              const json_t *wanted, bool check, json_t **ret_limits);
/* The project has the defaults again. False if it had nothing else. */
bool quota_reset(struct api_req *req, const struct resource *limits, const char *project);
/* A project, user or server group goes: what was kept here for it goes, too. */
void quota_forget(struct api_req *req, const char *owner);

#endif
