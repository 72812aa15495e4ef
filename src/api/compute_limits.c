/* Limits, quotas and usage:
 * https://docs.openstack.org/api-ref/compute/#quota-sets-os-quota-sets */
#include "api/compute.h"
#include "api/quota.h"

#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- limits ---- */

static const struct {
    const char *name;
    const struct resource *limits;
    const char *quota;
} absolute_limits[] = {
    {"maxTotalInstances", &resource_compute_quota, "instances"},
    {"maxTotalCores", &resource_compute_quota, "cores"},
    {"maxTotalRAMSize", &resource_compute_quota, "ram"},
    {"maxServerMeta", &resource_compute_quota, "metadata_items"},
    {"maxImageMeta", &resource_compute_quota, "metadata_items"},
    {"maxPersonality", &resource_compute_quota, "injected_files"},
    {"maxPersonalitySize", &resource_compute_quota, "injected_file_content_bytes"},
    {"maxTotalKeypairs", &resource_compute_quota, "key_pairs"},
    {"maxServerGroups", &resource_compute_quota, "server_groups"},
    {"maxServerGroupMembers", &resource_compute_quota, "server_group_members"},
    {"maxTotalFloatingIps", &resource_network_quota, "floatingip"},
    {"maxSecurityGroups", &resource_network_quota, "security_group"},
    {"maxSecurityGroupRules", &resource_network_quota, "security_group_rule"},
};

void compute_limits(struct api_req *req)
{
    static const char *const counted[][2] = {{"totalFloatingIpsUsed", "floatingip"},
                                             {"totalSecurityGroupsUsed", "security_group"},
                                             {"totalServerGroupsUsed", "server_group"}};
    const char *asked = api_query(req, "tenant_id");
    const char *project = asked ? asked : req->auth.project_id;
    struct compute_use use;
    json_t *absolute;

    if (asked && !api_owns(req, asked)) {
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:limits:other_project to be performed.");
        return;
    }
    use = compute_use_of(req, "project_id", project);
    absolute = json_object();
    for (size_t i = 0; i < sizeof(absolute_limits) / sizeof(absolute_limits[0]); i++)
        json_put_int(
            absolute, absolute_limits[i].name,
            quota_limit(req, absolute_limits[i].limits, project, absolute_limits[i].quota));
    json_put_int(absolute, "totalRAMUsed", use.ram_mb);
    json_put_int(absolute, "totalCoresUsed", use.vcpus);
    json_put_int(absolute, "totalInstancesUsed", use.servers);
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
        json_put_int(absolute, counted[i][0],
                     mirror_count(req->db, counted[i][1], "WHERE project_id = ?", "s", project));
    api_reply(req, 200, json_pack("{s:{s:[], s:o}}", "limits", "rate", "absolute", absolute));
}

/* ---- quotas ---- */

static bool may_see_quota(struct api_req *req)
{
    if (api_owns(req, api_param(req, "id")))
        return true;
    api_fail(req, 403, NULL,
             "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.");
    return false;
}

static void reply_set(struct api_req *req, const char *singular, const char *id, json_t *set)
{
    if (id)
        json_put_str(set, "id", id);
    api_reply(req, 200, json_pack("{s:o}", singular, set));
}

void compute_quota_show(struct api_req *req)
{
    const char *project = api_param(req, "id");

    if (may_see_quota(req))
        reply_set(req, "quota_set", project, quota_limits(req, &resource_compute_quota, project));
}

void compute_quota_defaults(struct api_req *req)
{
    if (may_see_quota(req))
        reply_set(req, "quota_set", api_param(req, "id"),
                  quota_limits(req, &resource_compute_quota, QUOTA_DEFAULT));
}

void compute_quota_detail(struct api_req *req)
{
    const char *project = api_param(req, "id");

    if (may_see_quota(req))
        reply_set(req, "quota_set", project,
                  quota_details(req, &resource_compute_quota, project, "in_use"));
}

/* Is it about a project that is there, and about all of it? */
static int check_project(struct api_req *req, const char *project)
{
    json_t *row = mirror_get(req->db, "project", project, NULL);
    bool there = row != NULL;

    json_decref(row);
    if (http_query(req->http, "user_id"))
        return compute_bad(req, "There are no quotas of single users of a project here");
    return there ? 0 : compute_bad(req, "Project ID %.64s is not a valid project.", project);
}

void compute_quota_update(struct api_req *req)
{
    const char *project = api_param(req, "id");
    json_t *body = api_body_object(req, "quota_set"), *wanted, *set = NULL;
    bool force = json_bool(body, "force", false);

    if (!body || check_project(req, project) < 0)
        return;
    wanted = json_copy(body);
    json_object_del(wanted, "force");
    if (quota_set(req, &resource_compute_quota, project, wanted, !force, &set) == 0)
        reply_set(req, "quota_set", NULL, set);
    json_decref(wanted);
}

void compute_quota_delete(struct api_req *req)
{
    const char *project = api_param(req, "id");

    if (http_query(req->http, "user_id")) {
        compute_bad(req, "There are no quotas of single users of a project here");
        return;
    }
    if (strcmp(project, QUOTA_DEFAULT) != 0)
        quota_reset(req, &resource_compute_quota, project);
    api_reply(req, 202, NULL);
}

/* The class "default" is all projects that have no limits of their own. */
void compute_quota_class_show(struct api_req *req)
{
    reply_set(req, "quota_class_set", api_param(req, "id"),
              quota_limits(req, &resource_compute_quota, QUOTA_DEFAULT));
}

void compute_quota_class_update(struct api_req *req)
{
    json_t *body = api_body_object(req, "quota_class_set"), *set = NULL;

    if (!body)
        return;
    if (strcmp(api_param(req, "id"), QUOTA_DEFAULT) != 0)
        compute_bad(req, "There is no quota class but 'default'");
    else if (quota_set(req, &resource_compute_quota, QUOTA_DEFAULT, body, false, &set) == 0)
        reply_set(req, "quota_class_set", NULL, set);
}

/* ---- usage ---- */

/* The time in the query, `missing` if there is none; -1 after an error. */
static int64_t time_asked(struct api_req *req, const char *name, int64_t missing)
{
    const char *text = api_query(req, name);
    int64_t ms = text ? compute_instant(text) : missing * 1000;

    if (ms < 0)
        compute_bad(req,
                    "Invalid input for query parameters %s. Value: %.40s. It must be a time "
                    "like 2026-11-22T13:55:39",
                    name, text);
    return ms < 0 ? -1 : ms / 1000;
}

static json_t *server_usage(const json_t *server, double hours, int64_t now)
{
    const json_t *flavor = json_object_get(server, "flavor");
    int64_t created = compute_instant(json_str(server, "created_at", "")) / 1000;

    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:s, s:o, s:n, s:I}", "instance_id",
                     json_str(server, "id", ""), "name", json_str(server, "name", ""), "tenant_id",
                     json_str(server, "project_id", ""), "flavor", json_str(flavor, "name", ""),
                     "hours", hours, "memory_mb", (json_int_t)json_int(flavor, "ram", 0),
                     "local_gb", (json_int_t)json_int(flavor, "disk", 0), "vcpus",
                     (json_int_t)json_int(flavor, "vcpus", 0), "state",
                     strcmp(json_str(server, "power", ""), "running") == 0 ? "active" : "stopped",
                     "started_at", compute_time(json_str(server, "created_at", NULL)), "ended_at",
                     "uptime", (json_int_t)(now - created));
}

/* From when to when, as the query says, in seconds; 0 or negative after an error. */
static int period_asked(struct api_req *req, int64_t *ret_start, int64_t *ret_end)
{
    int64_t now = req->wall_ms / 1000, end = time_asked(req, "end", now);
    int64_t start = end < 0 ? -1 : time_asked(req, "start", end);

    if (start < 0)
        return -EINVAL;
    if (start > end)
        return compute_bad(req,
                           "Invalid start time. The start time cannot occur after the end time.");
    *ret_start = start;
    *ret_end = end > now ? now : end;
    return 0;
}

/* Of the servers that are there: what was deleted is not remembered. */
static json_t *usage_of(struct api_req *req, const char *project, int64_t start, int64_t end)
{
    double hours = 0, vcpus = 0, ram = 0, disk = 0;
    json_t *rows, *row, *list = json_array();
    size_t i;

    rows = mirror_select_shared(req->db, "server", "WHERE project_id = ?", "s", project);
    json_array_foreach(rows, i, row)
    {
        const json_t *flavor = json_object_get(row, "flavor");
        int64_t created = compute_instant(json_str(row, "created_at", "")) / 1000;
        int64_t from = created > start ? created : start;
        double share = end > from ? (double)(end - from) / 3600 : 0;

        if (created > end)
            continue;
        hours += share;
        vcpus += share * (double)json_int(flavor, "vcpus", 0);
        ram += share * (double)json_int(flavor, "ram", 0);
        disk += share * (double)json_int(flavor, "disk", 0);
        json_array_append_new(list, server_usage(row, share, req->wall_ms / 1000));
    }
    json_decref(rows);
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:o, s:s, s:s}", "tenant_id", project,
                     "total_hours", hours, "total_vcpus_usage", vcpus, "total_memory_mb_usage", ram,
                     "total_local_gb_usage", disk, "server_usages", list, "start",
                     api_query(req, "start") ? api_query(req, "start") : req->now, "stop",
                     api_query(req, "end") ? api_query(req, "end") : req->now);
}

void compute_usage(struct api_req *req)
{
    const char *project = api_param(req, "id");
    int64_t start, end;

    if (!api_owns(req, project))
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:os-simple-tenant-usage:show "
                 "to be performed.");
    else if (period_asked(req, &start, &end) == 0)
        api_reply(req, 200, json_pack("{s:o}", "tenant_usage", usage_of(req, project, start, end)));
}

/* Of all projects that have servers; with detailed=1 also of each server. */
void compute_usages(struct api_req *req)
{
    const char *detailed = api_query(req, "detailed");
    json_t *projects, *row, *list, *usage;
    int64_t start, end;
    size_t i;

    if (period_asked(req, &start, &end) < 0)
        return;
    list = json_array();
    projects = mirror_select_shared(req->db, "project",
                                    "WHERE id IN (SELECT project_id FROM server) ORDER BY id", "");
    json_array_foreach(projects, i, row)
    {
        usage = usage_of(req, json_str(row, "id", ""), start, end);
        if (!detailed || strcmp(detailed, "1") != 0)
            json_object_del(usage, "server_usages");
        json_array_append_new(list, usage);
    }
    json_decref(projects);
    api_reply(req, 200, json_pack("{s:o}", "tenant_usages", list));
}
