/* What was done to a server, by whom and when:
 * https://docs.openstack.org/api-ref/compute/#servers-actions-servers-os-instance-actions
 *
 * The creation stands in the server's own row; a row of server_log is there from the first thing on
 * that was done after it. It holds the newest SERVER_ACTIONS_MAX, and is written in the same
 * transaction as what it tells of. Of servers that were deleted the newest DELETED_MAX are kept, so
 * the table does not grow with time. */
#include "api/compute.h"

#include "base/json.h"
#include <string.h>

#define DELETED_MAX 200
#define TRIM_MAX 4 /* that one deletion removes: transactions have a limit */

/* ---- writing ---- */

static json_t *entry_of(const char *action, const char *request, const char *user,
                        const char *project, const char *time)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "action", action, "request_id", request,
                     "user_id", user, "project_id", project, "start_time", time);
}

static json_t *creation_of(const json_t *server)
{
    return entry_of("create", json_str(server, "request_id", ""), json_str(server, "user_id", ""),
                    json_str(server, "project_id", ""), json_str(server, "created_at", ""));
}

/* Deletes the oldest logs of deleted servers that are too many once one more is there. */
static void trim(struct api_req *req)
{
    json_t *rows = mirror_select(req->db, "server_log",
                                 "WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id "
                                 "LIMIT ? OFFSET ?",
                                 "ii", (int64_t)TRIM_MAX, (int64_t)DELETED_MAX - 1);
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
        store_txn_delete(req->txn, "server_log", json_str(row, "id", ""));
    json_decref(rows);
}

void compute_log(struct api_req *req, const json_t *server, const char *action)
{
    const char *id = json_str(server, "id", "");
    json_t *row = mirror_get(req->db, "server_log", id, NULL), *actions;
    bool deletes = strcmp(action, "delete") == 0, is_new = !row;

    if (is_new)
        row = json_pack("{s:s, s:s, s:[o], s:n}", "id", id, "project_id",
                        json_str(server, "project_id", ""), "actions", creation_of(server),
                        "deleted_at");
    actions = json_object_get(row, "actions");
    json_array_append_new(actions, entry_of(action, req->request_id, req->auth.user_id,
                                            req->auth.project_id, req->now));
    while (json_array_size(actions) > SERVER_ACTIONS_MAX)
        json_array_remove(actions, 0);
    if (deletes && !json_str(row, "deleted_at", NULL)) {
        json_put_str(row, "deleted_at", req->now);
        trim(req);
    }
    if (is_new)
        store_txn_create(req->txn, "server_log", id, row);
    else
        mirror_txn_update(req->txn, "server_log", row);
    json_decref(row);
}

/* ---- reading ---- */

/* All that is known of the server of the path, oldest first, or NULL after a 404. */
static json_t *actions_of(struct api_req *req)
{
    const char *id = api_param(req, "id"), *project;
    json_t *server = mirror_get_shared(req->db, "server", id);
    json_t *row = mirror_get_shared(req->db, "server_log", id), *actions = NULL;

    project = json_str(server ? server : row, "project_id", NULL);
    /* Those of servers that are gone are shown from 2.21 on. */
    if (project && api_owns(req, project) && (server || req->microversion >= MV(21)))
        actions = row ? json_copy(json_object_get(row, "actions"))
                      : json_pack("[o]", creation_of(server));
    else
        api_fail(req, 404, NULL, "Instance %.100s could not be found.", id);
    json_decref(server);
    json_decref(row);
    return actions;
}

static json_t *view_of(struct api_req *req, const json_t *entry)
{
    json_t *view = json_copy((json_t *)entry);

    json_put_str(view, "instance_uuid", api_param(req, "id"));
    json_object_set_new(view, "start_time", compute_time(json_str(entry, "start_time", NULL)));
    json_object_set_new(view, "message", json_null());
    return view;
}

void compute_log_list(struct api_req *req)
{
    json_t *actions = actions_of(req), *views = json_array();

    for (size_t i = json_array_size(actions); i > 0; i--) /* the newest first */
        json_array_append_new(views, view_of(req, json_array_get(actions, i - 1)));
    if (actions)
        api_reply(req, 200, json_pack("{s:O}", "instanceActions", views));
    json_decref(views);
    json_decref(actions);
}

void compute_log_show(struct api_req *req)
{
    const char *request = api_param(req, "request");
    json_t *actions = actions_of(req), *entry, *view = NULL;
    size_t i;

    if (!actions)
        return;
    json_array_foreach(actions, i, entry)
    {
        if (!view && strcmp(json_str(entry, "request_id", ""), request) == 0)
            view = view_of(req, entry);
    }
    if (!view) {
        api_fail(req, 404, NULL, "Action for request_id %.60s on instance %s not found", request,
                 api_param(req, "id"));
    } else {
        /* The steps of which Nova's actions are made: here one change of a row, no steps. */
        if (req->auth.admin)
            json_object_set_new(view, "events", json_array());
        api_reply(req, 200, json_pack("{s:o}", "instanceAction", view));
    }
    json_decref(actions);
}
