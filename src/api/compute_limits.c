/* Limits, quotas and usage. No quota is enforced yet, so all that count things are -1: unlimited.
 */
#include "api/compute.h"

#include "base/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNLIMITED (-1)

void compute_limits(struct api_req *req)
{
    const char *asked = api_query(req, "tenant_id");
    const char *project = asked && req->auth.admin ? asked : req->auth.project_id;
    struct compute_use use = compute_use_of(req, "project_id", project);
    json_t *absolute = json_object();
    static const struct {
        const char *name;
        int value;
    } fixed[] = {
        {"maxTotalInstances", UNLIMITED},
        {"maxTotalCores", UNLIMITED},
        {"maxTotalRAMSize", UNLIMITED},
        {"maxServerMeta", METADATA_MAX},
        {"maxImageMeta", METADATA_MAX},
        {"maxPersonality", 0},
        {"maxPersonalitySize", 0},
        {"maxTotalKeypairs", UNLIMITED},
        {"maxServerGroups", 0},
        {"maxServerGroupMembers", 0},
        {"maxTotalFloatingIps", UNLIMITED},
        {"maxSecurityGroups", UNLIMITED},
        {"maxSecurityGroupRules", UNLIMITED},
    };

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        json_put_int(absolute, fixed[i].name, fixed[i].value);
    json_put_int(absolute, "totalRAMUsed", use.ram_mb);
    json_put_int(absolute, "totalCoresUsed", use.vcpus);
    json_put_int(absolute, "totalInstancesUsed", use.servers);
    json_put_int(absolute, "totalFloatingIpsUsed",
                 mirror_count(req->db, "floatingip", "WHERE project_id = ?", "s", project));
    json_put_int(absolute, "totalSecurityGroupsUsed",
                 mirror_count(req->db, "security_group", "WHERE project_id = ?", "s", project));
    json_put_int(absolute, "totalServerGroupsUsed", 0);
    api_reply(req, 200, json_pack("{s:{s:[], s:o}}", "limits", "rate", "absolute", absolute));
}

void compute_quota(struct api_req *req)
{
    static const char *const counted[] = {
        "cores",     "fixed_ips", "floating_ips",         "instances",
        "key_pairs", "ram",       "security_group_rules", "security_groups"};
    const char *project = api_param(req, "id");
    json_t *set;

    if (!api_owns(req, project)) {
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:os-quota-sets:show to be "
                 "performed.");
        return;
    }
    set =
        json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "id", project,
                  "injected_file_content_bytes", 0, "injected_file_path_bytes", 0, "injected_files",
                  0, "metadata_items", METADATA_MAX, "server_group_members", 0, "server_groups", 0);
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
        json_put_int(set, counted[i], UNLIMITED);
    api_reply(req, 200, json_pack("{s:o}", "quota_set", set));
}

/* ---- usage ---- */

/* Seconds since 1970 of "2026-11-22T13:55:39", also with a fraction or a Z, or of "2026-11-22"; -1
 * if it is no time. */
static int64_t seconds_of(const char *iso)
{
    struct tm tm = {0};
    const char *rest = strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm);

    if (!rest) {
        memset(&tm, 0, sizeof(tm));
        rest = strptime(iso, "%Y-%m-%d", &tm);
    }
    if (!rest || rest[strspn(rest, ".0123456789Z")])
        return -1;
    return (int64_t)timegm(&tm);
}

/* The time in the query, `missing` if there is none; -1 after an error. */
static int64_t time_asked(struct api_req *req, const char *name, int64_t missing)
{
    const char *text = api_query(req, name);
    int64_t seconds = text ? seconds_of(text) : missing;

    if (seconds < 0)
        compute_bad(req,
                    "Invalid input for query parameters %s. Value: %.40s. It must be a time "
                    "like 2026-11-22T13:55:39",
                    name, text);
    return seconds;
}

static json_t *server_usage(const json_t *server, double hours, int64_t now)
{
    const json_t *flavor = json_object_get(server, "flavor");
    int64_t created = seconds_of(json_str(server, "created_at", ""));

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

/* Of the servers that are there: what was deleted is not remembered. */
void compute_usage(struct api_req *req)
{
    const char *project = api_param(req, "id");
    int64_t now = req->wall_ms / 1000, start, end;
    double hours = 0, vcpus = 0, ram = 0, disk = 0;
    json_t *rows, *row, *list, *usage;
    size_t i;

    if (!api_owns(req, project)) {
        api_fail(req, 403, NULL,
                 "Policy doesn't allow os_compute_api:os-simple-tenant-usage:show "
                 "to be performed.");
        return;
    }
    end = time_asked(req, "end", now);
    start = end < 0 ? -1 : time_asked(req, "start", end);
    if (end < 0 || start < 0)
        return;
    if (start > end) {
        compute_bad(req, "Invalid start time. The start time cannot occur after the end time.");
        return;
    }
    end = end > now ? now : end;
    list = json_array();
    rows = mirror_select(req->db, "server", "WHERE project_id = ?", "s", project);
    json_array_foreach(rows, i, row)
    {
        const json_t *flavor = json_object_get(row, "flavor");
        int64_t created = seconds_of(json_str(row, "created_at", ""));
        int64_t from = created > start ? created : start;
        double share = end > from ? (double)(end - from) / 3600 : 0;

        if (created > end)
            continue;
        hours += share;
        vcpus += share * (double)json_int(flavor, "vcpus", 0);
        ram += share * (double)json_int(flavor, "ram", 0);
        disk += share * (double)json_int(flavor, "disk", 0);
        json_array_append_new(list, server_usage(row, share, now));
    }
    json_decref(rows);
    usage = json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "tenant_id", project, "total_hours", hours,
                      "total_vcpus_usage", vcpus, "total_memory_mb_usage", ram,
                      "total_local_gb_usage", disk, "server_usages", list);
    json_put_str(usage, "start", api_query(req, "start") ? api_query(req, "start") : req->now);
    json_put_str(usage, "stop", api_query(req, "end") ? api_query(req, "end") : req->now);
    api_reply(req, 200, json_pack("{s:o}", "tenant_usage", usage));
}
