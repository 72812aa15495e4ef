/* Networks. */
#include "api/network.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VNI_MIN 1000
#define VNI_MAX 16000000

static json_t *complete(struct api_req *req, const json_t *row, json_t *view)
{
    static const char *const nulls[] = {"ipv4_address_scope", "ipv6_address_scope", "qos_policy_id",
                                        NULL};
    json_t *subnets = net_rows(req, "subnet", "network_id", json_str(row, "id", "")), *subnet;
    json_t *ids = json_array();
    size_t i;

    json_array_foreach(subnets, i, subnet)
    {
        json_array_append(ids, json_object_get(subnet, "id"));
    }
    json_decref(subnets);
    json_object_set_new(view, "subnets", ids);
    for (i = 0; nulls[i]; i++)
        json_object_set_new(view, nulls[i], json_null());
    json_object_set_new(view, "availability_zone_hints", json_array());
    json_object_set_new(view, "availability_zones", json_array());
    json_put_bool(view, "l2_adjacency", true);
    if (json_bool(row, "external", false))
        json_put_bool(view, "is_default", false);
    return view;
}

const struct net_kind net_networks = {
    .resource = &resource_network,
    .seen_by_all = "shared = 1 OR external = 1",
    .complete = complete,
};

/* ---- VNIs ---- */

static bool vni_is_free(struct api_req *req, int64_t vni)
{
    char id[24];
    json_t *row;

    snprintf(id, sizeof(id), "%lld", (long long)vni);
    row = net_get(req, "vni", id);
    json_decref(row);
    return !row;
}

static int take_vni(struct api_req *req, json_t *row)
{
    int64_t vni = json_int(row, "segmentation_id", 0);
    uint32_t random;
    char id[24];
    json_t *used;

    if (vni && !vni_is_free(req, vni)) {
        api_fail(req, 409, "TunnelIdInUse",
                 "Unable to create the network. The tunnel ID %lld is in use.", (long long)vni);
        return -EBUSY;
    }
    while (!vni || !vni_is_free(req, vni)) {
        id_random(&random, sizeof(random));
        vni = VNI_MIN + random % (VNI_MAX - VNI_MIN + 1);
    }
    json_put_int(row, "segmentation_id", vni);
    snprintf(id, sizeof(id), "%lld", (long long)vni);
    used = json_pack("{s:s, s:O}", "id", id, "network_id", json_object_get(row, "id"));
    store_txn_create(req->txn, "vni", id, used);
    json_decref(used);
    return 0;
}

/* The kind of network: VXLAN between the hosts, or, for an external one, the wire outside. */
static int choose_type(struct api_req *req, json_t *row, const json_t *body)
{
    bool external = json_bool(row, "external", false);
    const char *type = json_str(row, "network_type", external ? "flat" : "vxlan");
    bool flat = strcmp(type, "flat") == 0;

    if (!flat && strcmp(type, "vxlan") != 0)
        return net_bad(req, "'provider:network_type' must be 'vxlan' or 'flat'");
    if (flat && !external)
        return net_bad(req, "a flat network must be 'router:external'");
    json_put_str(row, "network_type", type);
    if (!flat) {
        json_put_str(row, "physical_network", NULL);
        return take_vni(req, row);
    }
    if (!json_str(row, "physical_network", NULL))
        json_put_str(row, "physical_network", "external");
    json_object_set_new(row, "segmentation_id", json_null());
    if (!json_object_get(body, "mtu"))
        json_put_int(row, "mtu", 1500);
    return 0;
}

static json_t *make(struct api_req *req, const json_t *body)
{
    json_t *row = net_new(req, &net_networks, body);

    if (!row)
        return NULL;
    json_put_str(row, "status", "ACTIVE");
    if (choose_type(req, row, body) < 0) {
        json_decref(row);
        return NULL;
    }
    net_create(req, "network", row);
    return row;
}

void net_network_create(struct api_req *req)
{
    net_post(req, &net_networks, make);
}

/* An external network stays external while routers and floating IPs are on it. */
static int check_external_use(struct api_req *req, const json_t *row, bool was_external)
{
    const char *id = json_str(row, "id", "");

    if (!was_external || json_bool(row, "external", false))
        return 0;
    net_expect_unused(req, id);
    if (mirror_count(req->db, "port",
                     "WHERE network_id = ? AND device_owner IN ('network:router_gateway', "
                     "'network:floatingip')",
                     "s", id) == 0)
        return 0;
    api_fail(req, 409, "ExternalNetworkInUse",
             "External network %s cannot be updated to be made non-external, since it has existing "
             "gateway ports.",
             id);
    return -EBUSY;
}

void net_network_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_networks);
    bool external = json_bool(row, "external", false);

    if (row && net_change(req, &net_networks, row) == 0 &&
        check_external_use(req, row, external) == 0) {
        net_put(req, "network", row);
        net_reply(req, 200, &net_networks, row);
    }
    json_decref(row);
}

/* ---- delete ---- */

static void remove_rows(struct api_req *req, const json_t *row)
{
    const char *id = json_str(row, "id", "");
    json_t *ports = net_rows(req, "port", "network_id", id);
    json_t *subnets = net_rows(req, "subnet", "network_id", id), *one;
    char vni[24];
    size_t i;

    json_array_foreach(ports, i, one)
    {
        api_port_delete(req, one);
    }
    json_array_foreach(subnets, i, one)
    {
        net_remove(req, "subnet", one);
    }
    json_decref(ports);
    json_decref(subnets);
    if (json_int(row, "segmentation_id", 0)) {
        snprintf(vni, sizeof(vni), "%lld", (long long)json_int(row, "segmentation_id", 0));
        store_txn_delete(req->txn, "vni", vni);
    }
    net_remove(req, "network", row);
}

void net_network_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_networks);
    const char *id = json_str(row, "id", "");

    if (!row)
        return;
    net_expect_unused(req, id);
    if (mirror_count(req->db, "port", "WHERE network_id = ? AND device_owner <> 'network:dhcp'",
                     "s", id) > 0) {
        api_fail(req, 409, "NetworkInUse",
                 "Unable to complete operation on network %s. There are one or more ports still in "
                 "use on the network.",
                 id);
    } else {
        remove_rows(req, row);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}
