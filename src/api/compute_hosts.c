/* Zones (cabinets) and hypervisors (compute hosts), as operators' tools ask for them. */
#include "api/compute.h"

#include "base/json.h"
#include <stdio.h>
#include <string.h>

/* ---- hosts ---- */

json_t *compute_hosts(struct api_req *req)
{
    return mirror_select(req->db, "host", "ORDER BY cabinet, id", "");
}

static bool has_role(const json_t *host, const char *role)
{
    return json_has_str(host, "roles", role);
}

bool compute_host_is_up(const json_t *host)
{
    return strcmp(json_str(host, "state", ""), "up") == 0;
}

struct compute_use compute_use_of(struct api_req *req, const char *field, const char *value)
{
    struct compute_use use = {0};
    char where[64];
    json_t *rows, *row;
    size_t i;

    snprintf(where, sizeof(where), "WHERE %s = ?", field);
    rows = mirror_select(req->db, "server", where, "s", value);
    json_array_foreach(rows, i, row)
    {
        const json_t *flavor = json_object_get(row, "flavor");

        use.servers++;
        use.vcpus += json_int(flavor, "vcpus", 0);
        use.ram_mb += json_int(flavor, "ram", 0);
        use.disk_gb += json_int(flavor, "disk", 0);
    }
    json_decref(rows);
    return use;
}

/* ---- zones ---- */

bool compute_zone_exists(struct api_req *req, const char *zone)
{
    json_t *hosts = mirror_select(req->db, "host", "WHERE cabinet = ?", "s", zone), *host;
    bool found = false;
    size_t i;

    json_array_foreach(hosts, i, host) found = found || has_role(host, "compute");
    json_decref(hosts);
    return found;
}

static json_t *host_services(const json_t *host)
{
    static const char *const binaries[][2] = {{"compute", "nova-compute"},
                                              {"controller", "nova-conductor"}};
    json_t *services = json_object();

    for (size_t i = 0; i < 2; i++) {
        if (has_role(host, binaries[i][0]))
            json_object_set_new(services, binaries[i][1],
                                json_pack("{s:b, s:b, s:o}", "available", compute_host_is_up(host),
                                          "active", !json_bool(host, "disabled", false),
                                          "updated_at",
                                          compute_time(json_str(host, "since", NULL))));
    }
    return services;
}

static json_t *zone_of(json_t *zones, const char *name, bool detail)
{
    json_t *zone;
    size_t i;

    json_array_foreach(zones, i, zone)
    {
        if (strcmp(json_str(zone, "zoneName", ""), name) == 0)
            return zone;
    }
    zone = json_pack("{s:s, s:{s:b}, s:o}", "zoneName", name, "zoneState", "available", 0, "hosts",
                     detail ? json_object() : json_null());
    json_array_append_new(zones, zone);
    return zone;
}

static void answer_zones(struct api_req *req, bool detail)
{
    json_t *hosts = compute_hosts(req), *host, *zones = json_array(), *zone;
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (!has_role(host, "compute"))
            continue;
        zone = zone_of(zones, json_str(host, "cabinet", ""), detail);
        if (compute_host_is_up(host) && !json_bool(host, "disabled", false))
            json_object_set_new(json_object_get(zone, "zoneState"), "available", json_true());
        if (detail)
            json_object_set_new(json_object_get(zone, "hosts"), json_str(host, "id", ""),
                                host_services(host));
    }
    api_reply(req, 200, json_pack("{s:o}", "availabilityZoneInfo", zones));
    json_decref(hosts);
}

void compute_zones(struct api_req *req)
{
    answer_zones(req, false);
}

void compute_zones_detail(struct api_req *req)
{
    answer_zones(req, true);
}

/* ---- hypervisors ---- */

static void put_capacity(struct api_req *req, const json_t *host, json_t *view)
{
    const char *name = json_str(host, "id", "");
    struct compute_use use = compute_use_of(req, "host_id", name);
    int64_t ram = json_int(host, "ram_mb", 0), disk = json_int(host, "disk_gb", 0);

    json_put_str(view, "hypervisor_type", "QEMU");
    json_put_int(view, "hypervisor_version", 7002000);
    json_put_str(view, "host_ip", json_str(host, "mgmt_ip", ""));
    json_object_set_new(view, "service",
                        json_pack("{s:I, s:s, s:o}", "id", (json_int_t)compute_number(name), "host",
                                  name, "disabled_reason", compute_disabled_reason(host)));
    json_put_int(view, "vcpus", json_int(host, "vcpus", 0));
    json_put_int(view, "memory_mb", ram);
    json_put_int(view, "local_gb", disk);
    json_put_int(view, "vcpus_used", use.vcpus);
    json_put_int(view, "memory_mb_used", use.ram_mb);
    json_put_int(view, "local_gb_used", use.disk_gb);
    json_put_int(view, "free_ram_mb", ram - use.ram_mb);
    json_put_int(view, "free_disk_gb", disk - use.disk_gb);
    json_put_int(view, "current_workload", 0);
    json_put_int(view, "running_vms", use.servers);
    json_put_int(view, "disk_available_least", disk - use.disk_gb);
    json_object_set_new(view, "cpu_info",
                        json_sprintf("{\"arch\": \"x86_64\", \"accelerator\": \"%s\"}",
                                     json_str(host, "accel", "")));
}

static json_t *hypervisor_view(struct api_req *req, const json_t *host, bool full)
{
    const char *name = json_str(host, "id", "");
    json_t *view =
        json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)compute_number(name),
                  "hypervisor_hostname", name, "state", compute_host_is_up(host) ? "up" : "down",
                  "status", json_bool(host, "disabled", false) ? "disabled" : "enabled");

    if (full)
        put_capacity(req, host, view);
    return view;
}

static void list_hypervisors(struct api_req *req, bool full)
{
    json_t *hosts = compute_hosts(req), *host, *list = json_array();
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (has_role(host, "compute"))
            json_array_append_new(list, hypervisor_view(req, host, full));
    }
    api_reply(req, 200, json_pack("{s:o}", "hypervisors", list));
    json_decref(hosts);
}

void compute_hypervisors(struct api_req *req)
{
    list_hypervisors(req, false);
}

void compute_hypervisors_detail(struct api_req *req)
{
    list_hypervisors(req, true);
}

/* The hypervisor of the path's id: a new reference, or NULL after a 404. */
static json_t *find_hypervisor(struct api_req *req)
{
    const char *id = api_param(req, "id");
    json_t *hosts = compute_hosts(req), *host, *found = NULL;
    char number[24];
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        snprintf(number, sizeof(number), "%lld",
                 (long long)compute_number(json_str(host, "id", "")));
        if (has_role(host, "compute") && strcmp(number, id) == 0)
            found = json_incref(host);
    }
    json_decref(hosts);
    if (!found)
        api_fail(req, 404, NULL, "Hypervisor with ID '%.40s' could not be found.", id);
    return found;
}

void compute_hypervisor_show(struct api_req *req)
{
    json_t *host = find_hypervisor(req);

    if (host)
        api_reply(req, 200, json_pack("{s:o}", "hypervisor", hypervisor_view(req, host, true)));
    json_decref(host);
}

/* {"uptime": text} of the host itself. */
static void uptime_here(struct api_req *req, int rc, unsigned status, const char *body, size_t size)
{
    json_t *said = rc == 0 && status == 200 ? json_parse(body, size, NULL, 0) : NULL;
    const char *uptime = json_str(said, "uptime", NULL);
    json_t *host = uptime ? find_hypervisor(req) : NULL, *view;

    if (host) {
        view = hypervisor_view(req, host, false);
        json_put_str(view, "uptime", uptime);
        api_reply(req, 200, json_pack("{s:o}", "hypervisor", view));
    } else if (!uptime) {
        api_fail(req, 503, NULL, "The host does not answer. Try again later.");
    }
    json_decref(host);
    json_decref(said);
}

void compute_hypervisor_uptime(struct api_req *req)
{
    json_t *host = find_hypervisor(req);
    const char *name = json_str(host, "id", "");

    if (host && !compute_host_is_up(host)) {
        compute_bad(req, "Service is unavailable at this time: %.64s is not up", name);
    } else if (host) {
        snprintf(req->peer.host, sizeof(req->peer.host), "%s", name);
        snprintf(req->peer.path, sizeof(req->peer.path), "/v1/uptime");
        req->peer.done = uptime_here;
    }
    json_decref(host);
}

/* Those with the text of the path in their name. */
void compute_hypervisor_search(struct api_req *req)
{
    const char *part = api_param(req, "id");
    json_t *hosts = compute_hosts(req), *host, *list = json_array();
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (has_role(host, "compute") && strstr(json_str(host, "id", ""), part))
            json_array_append_new(list, hypervisor_view(req, host, false));
    }
    if (json_array_size(list) > 0)
        api_reply(req, 200, json_pack("{s:O}", "hypervisors", list));
    else
        api_fail(req, 404, NULL, "No hypervisor matching '%.100s' could be found.", part);
    json_decref(list);
    json_decref(hosts);
}

/* `openstack hypervisor show` asks which of them its host is in; zones are cabinets here. */
void compute_aggregates(struct api_req *req)
{
    api_reply(req, 200, json_pack("{s:[]}", "aggregates"));
}

void compute_hypervisor_statistics(struct api_req *req)
{
    static const char *const sums[] = {"vcpus",       "memory_mb",           "local_gb",
                                       "vcpus_used",  "memory_mb_used",      "local_gb_used",
                                       "free_ram_mb", "free_disk_gb",        "current_workload",
                                       "running_vms", "disk_available_least"};
    json_t *hosts = compute_hosts(req), *host, *total = json_pack("{s:i}", "count", 0), *view;
    size_t i;

    for (size_t k = 0; k < sizeof(sums) / sizeof(sums[0]); k++)
        json_put_int(total, sums[k], 0);
    json_array_foreach(hosts, i, host)
    {
        if (!has_role(host, "compute"))
            continue;
        view = hypervisor_view(req, host, true);
        json_put_int(total, "count", json_int(total, "count", 0) + 1);
        for (size_t k = 0; k < sizeof(sums) / sizeof(sums[0]); k++)
            json_put_int(total, sums[k], json_int(total, sums[k], 0) + json_int(view, sums[k], 0));
        json_decref(view);
    }
    api_reply(req, 200, json_pack("{s:o}", "hypervisor_statistics", total));
    json_decref(hosts);
}
