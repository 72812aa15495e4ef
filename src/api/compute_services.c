/* The services of the cloud, as far as Nova has a name for them:
 * https://docs.openstack.org/api-ref/compute/#compute-services-os-services
 *
 * nova-compute stands for what a host runs of servers. To disable it is what `vling host disable`
 * does: nothing new is placed there. */
#include "api/compute.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define REASON_MAX 255

json_t *compute_disabled_reason(const json_t *host)
{
    const char *reason = json_str(host, "disabled_reason", NULL);

    return reason && json_bool(host, "disabled", false) ? json_string(reason) : json_null();
}

static void add_service(struct api_req *req, json_t *list, const json_t *host, const char *binary)
{
    const char *name = json_str(host, "id", "");
    const char *want_host = api_query(req, "host"), *want_binary = api_query(req, "binary");
    /* Controllers go on whatever a host is to be spared of. */
    bool disabled = json_bool(host, "disabled", false) && strcmp(binary, "nova-compute") == 0;
    json_t *service;
    char key[128];

    if ((want_host && strcmp(want_host, name) != 0) ||
        (want_binary && strcmp(want_binary, binary) != 0))
        return;
    snprintf(key, sizeof(key), "%s.%.60s", binary, name);
    service = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o}", "binary", binary, "host", name,
                        "id", (json_int_t)compute_number(key), "zone",
                        json_str(host, "cabinet", ""), "status", disabled ? "disabled" : "enabled",
                        "state", compute_host_is_up(host) ? "up" : "down", "updated_at",
                        compute_time(json_str(host, "since", NULL)), "disabled_reason",
                        disabled ? compute_disabled_reason(host) : json_null());
    if (req->microversion >= MV(11))
        json_put_bool(service, "forced_down", false);
    json_array_append_new(list, service);
}

void compute_services(struct api_req *req)
{
    json_t *hosts = compute_hosts(req), *host, *list = json_array();
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (json_has_str(host, "roles", "controller")) {
            add_service(req, list, host, "nova-conductor");
            add_service(req, list, host, "nova-scheduler");
        }
        if (json_has_str(host, "roles", "compute"))
            add_service(req, list, host, "nova-compute");
    }
    api_reply(req, 200, json_pack("{s:o}", "services", list));
    json_decref(hosts);
}

/* ---- enable, disable ---- */

/* The compute host that the body names, or NULL after an error. */
static json_t *host_of(struct api_req *req)
{
    const char *name = json_str(req->body, "host", NULL);
    const char *binary = json_str(req->body, "binary", NULL);
    json_t *host;

    if (!name || !binary) {
        compute_bad(req, "The body must have host and binary");
        return NULL;
    }
    host = mirror_get(req->db, "host", name, NULL);
    if (host && json_has_str(host, "roles", "compute") && strcmp(binary, "nova-compute") == 0)
        return host;
    if (host && strcmp(binary, "nova-compute") != 0)
        compute_bad(req, "Only nova-compute can be enabled and disabled, not %.60s", binary);
    else
        api_fail(req, 404, NULL, "Could not find binary %.60s on host %.64s.", binary, name);
    json_decref(host);
    return NULL;
}

static void change_service(struct api_req *req, bool disabled, const char *reason)
{
    json_t *host = host_of(req), *view;
    bool was = json_bool(host, "disabled", false);

    if (!host)
        return;
    view = json_pack("{s:O, s:O, s:s}", "host", json_object_get(host, "id"), "binary",
                     json_object_get(req->body, "binary"), "status",
                     disabled ? "disabled" : "enabled");
    if (reason)
        json_put_str(view, "disabled_reason", reason);
    if (was != disabled)
        api_event(req, "info", disabled ? "host.disabled" : "host.enabled",
                  json_str(host, "id", ""), "%s%s%s",
                  disabled ? "no new servers are placed here" : "new servers may come again",
                  reason ? ": " : "", reason ? reason : "");
    json_put_bool(host, "disabled", disabled);
    json_put_str(host, "disabled_reason", reason);
    if (!disabled)
        json_put_bool(host, "draining", false);
    mirror_txn_update(req->txn, "host", host);
    api_reply(req, 200, json_pack("{s:o}", "service", view));
    json_decref(host);
}

void compute_service_enable(struct api_req *req)
{
    change_service(req, false, NULL);
}

void compute_service_disable(struct api_req *req)
{
    change_service(req, true, NULL);
}

void compute_service_disable_reason(struct api_req *req)
{
    const char *reason = json_str(req->body, "disabled_reason", NULL);

    if (!reason || !reason[0] || strlen(reason) > REASON_MAX)
        compute_bad(req,
                    "Invalid input for field/attribute disabled_reason. It must be a text of "
                    "1 to %d characters",
                    REASON_MAX);
    else
        change_service(req, true, reason);
}
