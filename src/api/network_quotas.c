/* Quotas: https://docs.openstack.org/api-ref/network/v2/#quotas-extension-quotas */
#include "api/network.h"
#include "api/quota.h"

#include "base/json.h"

static bool may_see(struct api_req *req)
{
    if (api_owns(req, api_param(req, "id")))
        return true;
    return net_admin_only(req, "The quota of another project") == 0;
}

static void reply_quota(struct api_req *req, json_t *quota)
{
    api_reply(req, 200, json_pack("{s:o}", "quota", quota));
}

void net_quota_show(struct api_req *req)
{
    if (may_see(req))
        reply_quota(req, quota_limits(req, &resource_network_quota, api_param(req, "id")));
}

void net_quota_default(struct api_req *req)
{
    if (may_see(req))
        reply_quota(req, quota_limits(req, &resource_network_quota, QUOTA_DEFAULT));
}

void net_quota_details(struct api_req *req)
{
    if (may_see(req))
        reply_quota(req, quota_details(req, &resource_network_quota, api_param(req, "id"), "used"));
}

/* Of the projects that have limits of their own. */
void net_quota_list(struct api_req *req)
{
    json_t *rows = mirror_select(req->db, "network_quota", "ORDER BY id", "");
    json_t *list = json_array(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *project = json_str(row, "id", "");
        json_t *quota = quota_limits(req, &resource_network_quota, project);

        json_put_str(quota, "project_id", project);
        json_put_str(quota, "tenant_id", project);
        json_array_append_new(list, quota);
    }
    json_decref(rows);
    api_reply(req, 200, json_pack("{s:o}", "quotas", list));
}

/* Unlike the compute service this one looks at what is used only when it is asked to. */
void net_quota_update(struct api_req *req)
{
    const char *project = api_param(req, "id");
    json_t *body = api_body_object(req, "quota"), *there, *wanted, *quota = NULL;
    bool check = json_bool(body, "check_limit", false);

    if (!body)
        return;
    there = mirror_get(req->db, "project", project, NULL);
    json_decref(there);
    if (!there) {
        api_fail(req, 404, "ProjectNotFound", "Project %.64s could not be found.", project);
        return;
    }
    wanted = json_copy(body);
    json_object_del(wanted, "check_limit");
    json_object_del(wanted, "force");
    json_object_del(wanted, "project_id");
    json_object_del(wanted, "tenant_id");
    if (quota_set(req, &resource_network_quota, project, wanted, check, &quota) == 0)
        reply_quota(req, quota);
    json_decref(wanted);
}

void net_quota_delete(struct api_req *req)
{
    const char *project = api_param(req, "id");

    if (quota_reset(req, &resource_network_quota, project))
        api_reply(req, 204, NULL);
    else
        api_fail(req, 404, "TenantQuotaNotFound", "Quota for tenant %.64s could not be found.",
                 project);
}
