/* Subnets, and the DHCP port that a network with DHCP has. */
#include "api/network.h"

#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static json_t *complete(struct api_req *req, const json_t *row, json_t *view)
{
    static const char *const nulls[] = {"subnetpool_id", "ipv6_ra_mode", "ipv6_address_mode",
                                        "segment_id", NULL};

    (void)req;
    (void)row;
    for (size_t i = 0; nulls[i]; i++)
        json_object_set_new(view, nulls[i], json_null());
    json_object_set_new(view, "service_types", json_array());
    return view;
}

const struct net_kind net_subnets = {
    .resource = &resource_subnet,
    .seen_by_all = "network_id IN (SELECT id FROM network WHERE shared = 1 OR external = 1)",
    .complete = complete,
};

/* ---- pools ---- */

static void add_pool(json_t *pools, struct ip_addr first, struct ip_addr last)
{
    char start[IP_TEXT_SIZE], end[IP_TEXT_SIZE];

    if (ip_compare(&first, &last) <= 0)
        json_array_append_new(pools, json_pack("{s:s, s:s}", "start", ip_format(&first, start),
                                               "end", ip_format(&last, end)));
}

/* All hosts but the gateway. */
static void default_pools(json_t *row, const struct ip_cidr *cidr)
{
    struct ip_addr first = ip_cidr_first_host(cidr), last = ip_cidr_last_host(cidr), gateway;
    json_t *pools = json_array();

    if (ip_parse(json_str(row, "gateway_ip", NULL), &gateway) == 0 &&
        ip_cidr_is_host(cidr, &gateway)) {
        if (ip_compare(&first, &gateway) < 0)
            add_pool(pools, first, ip_before(gateway));
        if (ip_compare(&gateway, &last) < 0)
            add_pool(pools, ip_add(gateway, 1), last);
    } else {
        add_pool(pools, first, last);
    }
    json_object_set_new(row, "allocation_pools", pools);
}

static int check_pool(struct api_req *req, json_t *row, json_t *pool, const struct ip_cidr *cidr)
{
    const char *start = json_str(pool, "start", ""), *end = json_str(pool, "end", "");
    char text[IP_TEXT_SIZE];
    struct ip_addr first, last, gateway;

    if (ip_parse(start, &first) < 0 || ip_parse(end, &last) < 0 || ip_compare(&first, &last) > 0) {
        api_fail(req, 400, "InvalidAllocationPool", "The allocation pool %.50s-%.50s is not valid.",
                 start, end);
        return -EINVAL;
    }
    if (!ip_cidr_is_host(cidr, &first) || !ip_cidr_is_host(cidr, &last)) {
        api_fail(req, 400, "OutOfBoundsAllocationPool",
                 "The allocation pool %.50s-%.50s spans beyond the subnet cidr %s.", start, end,
                 json_str(row, "cidr", ""));
        return -EINVAL;
    }
    if (ip_parse(json_str(row, "gateway_ip", NULL), &gateway) == 0 &&
        ip_compare(&first, &gateway) <= 0 && ip_compare(&gateway, &last) <= 0) {
        api_fail(req, 409, "GatewayConflictWithAllocationPools",
                 "Gateway ip %s conflicts with allocation pool %.50s-%.50s.",
                 json_str(row, "gateway_ip", ""), start, end);
        return -EBUSY;
    }
    json_put_str(pool, "start", ip_format(&first, text));
    json_put_str(pool, "end", ip_format(&last, text));
    return 0;
}

static int check_pools(struct api_req *req, json_t *row, const struct ip_cidr *cidr)
{
    json_t *pools = json_object_get(row, "allocation_pools"), *pool;
    struct ip_addr a1, a2, b1, b2;
    size_t i, k;

    json_array_foreach(pools, i, pool)
    {
        if (check_pool(req, row, pool, cidr) < 0)
            return -EINVAL;
        ip_parse(json_str(pool, "start", ""), &a1);
        ip_parse(json_str(pool, "end", ""), &a2);
        for (k = 0; k < i; k++) {
            ip_parse(json_str(json_array_get(pools, k), "start", ""), &b1);
            ip_parse(json_str(json_array_get(pools, k), "end", ""), &b2);
            if (ip_compare(&a1, &b2) <= 0 && ip_compare(&b1, &a2) <= 0) {
                api_fail(req, 409, "OverlappingAllocationPools",
                         "Found overlapping allocation pools for subnet %s.",
                         json_str(row, "cidr", ""));
                return -EBUSY;
            }
        }
    }
    return 0;
}

/* ---- checks ---- */

static int check_lists(struct api_req *req, const json_t *row, const struct ip_cidr *cidr)
{
    const json_t *one;
    struct ip_cidr to;
    struct ip_addr addr;
    size_t i;

    json_array_foreach(json_object_get(row, "dns_nameservers"), i, one)
    {
        if (ip_parse(json_string_value(one), &addr) < 0)
            return net_bad(req, "'dns_nameservers' must be IP addresses");
    }
    json_array_foreach(json_object_get(row, "host_routes"), i, one)
    {
        if (net_route_parse(one, &to, &addr) < 0)
            return net_bad(req, "'host_routes' needs a 'destination' without host bits and a "
                                "'nexthop' of the same IP version in each route");
        if (ip_cidr_contains(cidr, &addr) && !ip_cidr_is_host(cidr, &addr))
            return net_bad(req, "a 'nexthop' of 'host_routes' is not the address of a host");
    }
    return 0;
}

static int check_gateway(struct api_req *req, json_t *row, const struct ip_cidr *cidr)
{
    const char *text = json_str(row, "gateway_ip", NULL);
    char out[IP_TEXT_SIZE];
    struct ip_addr gateway;

    if (!text)
        return 0;
    if (ip_parse(text, &gateway) < 0 || !ip_cidr_is_host(cidr, &gateway))
        return net_bad(req, "Gateway is not valid on subnet");
    json_put_str(row, "gateway_ip", ip_format(&gateway, out));
    return 0;
}

static int check_cidr(struct api_req *req, json_t *row, struct ip_cidr *cidr)
{
    char text[IP_CIDR_TEXT_SIZE];

    if (!json_str(row, "cidr", NULL)) {
        api_fail(req, 400, "BadRequest",
                 "Bad subnets request: a subnetpool must be specified in the absence of a cidr.");
        return -EINVAL;
    }
    if (ip_cidr_parse(json_str(row, "cidr", ""), cidr) < 0)
        return net_bad(req, "'cidr' is not a valid IP subnet");
    if (cidr->base.version != json_int(row, "ip_version", 0))
        return net_bad(req, "'cidr' and 'ip_version' do not match");
    if (cidr->prefix == 0)
        return net_bad(req, "0 is not allowed as CIDR prefix length");
    json_put_str(row, "cidr", ip_cidr_format(cidr, text));
    return 0;
}

static int check_overlap(struct api_req *req, const json_t *row, const struct ip_cidr *cidr)
{
    const char *network_id = json_str(row, "network_id", "");
    json_t *subnets = net_rows(req, "subnet", "network_id", network_id), *other;
    struct ip_cidr its;
    bool overlap = false;
    size_t i;

    json_array_foreach(subnets, i, other)
    {
        if (ip_cidr_parse(json_str(other, "cidr", ""), &its) == 0 && ip_cidr_overlaps(cidr, &its))
            overlap = true;
    }
    json_decref(subnets);
    if (!overlap)
        return 0;
    api_fail(req, 400, "InvalidInput",
             "Invalid input for operation: Requested subnet with cidr: %s for network: %s overlaps "
             "with another subnet.",
             json_str(row, "cidr", ""), network_id);
    return -EINVAL;
}

/* ---- DHCP ports ---- */

static const json_t *address_in(const json_t *fixed_ips, const char *subnet_id)
{
    const json_t *fixed;
    size_t i;

    json_array_foreach(fixed_ips, i, fixed)
    {
        if (strcmp(json_str(fixed, "subnet_id", ""), subnet_id) == 0)
            return fixed;
    }
    return NULL;
}

/* The addresses that the port is to have: kept or new ones in subnets with DHCP; the others are
 * given back. */
static int dhcp_addresses(struct api_req *req, const json_t *network, const char *port_id,
                          const json_t *old, json_t *fixed_ips)
{
    const char *network_id = json_str(network, "id", "");
    json_t *subnets = net_rows(req, "subnet", "network_id", network_id);
    const json_t *subnet, *fixed;
    size_t i;
    int rc = 0;

    json_array_foreach(subnets, i, subnet)
    {
        if (!json_bool(subnet, "enable_dhcp", false))
            continue;
        fixed = address_in(old, json_str(subnet, "id", ""));
        if (fixed)
            json_array_append(fixed_ips, (json_t *)fixed);
        else
            rc = net_ip_take(req, subnet, NULL, port_id, fixed_ips);
        if (rc == -ENOSPC)
            api_fail(req, 409, "IpAddressGenerationFailure",
                     "No more IP addresses available on network %s.", network_id);
        if (rc < 0)
            break;
    }
    json_decref(subnets);
    /* After an error the transaction is empty and has to stay so. */
    json_array_foreach(rc < 0 ? NULL : old, i, fixed)
    {
        if (!address_in(fixed_ips, json_str(fixed, "subnet_id", "")))
            net_ip_release(req, network_id, json_str(fixed, "ip_address", ""));
    }
    return rc;
}

int net_dhcp_sync(struct api_req *req, const json_t *network)
{
    const char *network_id = json_str(network, "id", "");
    json_t *port, *fixed_ips = json_array();
    char id[64], device[80], mac[18];
    int rc;

    /* One port a network, whoever makes it. */
    net_derived_id("dhcp", network_id, id);
    port = net_get(req, "port", id);
    rc = dhcp_addresses(req, network, id, json_object_get(port, "fixed_ips"), fixed_ips);
    if (rc == 0 && port && json_array_size(fixed_ips) == 0) {
        net_remove(req, "port", port);
    } else if (rc == 0 && port && !json_equal(fixed_ips, json_object_get(port, "fixed_ips"))) {
        json_object_set(port, "fixed_ips", fixed_ips);
        net_put(req, "port", port);
    } else if (rc == 0 && !port && json_array_size(fixed_ips) > 0) {
        snprintf(device, sizeof(device), "dhcp-%.64s", network_id);
        port = net_port_plain(req, network_id, json_str(network, "project_id", ""), "network:dhcp",
                              device);
        rc = port ? 0 : -ENOMEM;
        if (port) {
            net_mac(req, network_id, mac);
            json_put_str(port, "id", id);
            json_put_str(port, "mac_address", mac);
            json_object_set(port, "fixed_ips", fixed_ips);
            json_object_set_new(port, "security_groups", json_array());
            json_put_bool(port, "port_security_enabled", false);
            net_create(req, "port", port);
        }
    }
    json_decref(fixed_ips);
    json_decref(port);
    return rc;
}

/* ---- handlers ---- */

static int complete_new(struct api_req *req, json_t *row, const json_t *body)
{
    struct ip_cidr cidr;
    char text[IP_TEXT_SIZE];
    struct ip_addr first;

    if (check_cidr(req, row, &cidr) < 0 || check_overlap(req, row, &cidr) < 0)
        return -EINVAL;
    if (!json_object_get(body, "gateway_ip")) {
        first = ip_cidr_first_host(&cidr);
        json_put_str(row, "gateway_ip", ip_format(&first, text));
    }
    if (check_gateway(req, row, &cidr) < 0 || check_lists(req, row, &cidr) < 0)
        return -EINVAL;
    if (!json_object_get(row, "allocation_pools"))
        default_pools(row, &cidr);
    return check_pools(req, row, &cidr);
}

static json_t *make(struct api_req *req, const json_t *body)
{
    json_t *row = net_new(req, &net_subnets, body), *network = NULL;
    int rc = -EINVAL;

    if (row)
        network = net_own(req, &net_networks, json_str(row, "network_id", ""));
    if (network)
        rc = complete_new(req, row, body);
    if (rc == 0) {
        json_object_set(row, "project_id", json_object_get(network, "project_id"));
        net_create(req, "subnet", row);
        /* Also what makes two subnets that overlap impossible: the network's revision is
         * expected. */
        net_put(req, "network", network);
        rc = net_dhcp_sync(req, network);
    }
    json_decref(network);
    if (rc == 0)
        return row;
    json_decref(row);
    return NULL;
}

void net_subnet_create(struct api_req *req)
{
    net_post(req, &net_subnets, make);
}

/* A gateway address that a router holds stays. */
static int check_gateway_use(struct api_req *req, const json_t *row, const char *old)
{
    const char *now = json_str(row, "gateway_ip", "");
    char id[128];
    json_t *used, *port;
    bool held;

    if (!old[0] || strcmp(now, old) == 0)
        return 0;
    snprintf(id, sizeof(id), "%s.%s", json_str(row, "network_id", ""), old);
    used = net_get(req, "ip", id);
    port = used ? net_get(req, "port", json_str(used, "port_id", "")) : NULL;
    held = strncmp(json_str(port, "device_owner", ""), "network:router_interface", 24) == 0;
    if (held)
        api_fail(req, 409, "GatewayIpInUse",
                 "Current gateway ip %s already in use by port %s. Unable to update.", old,
                 json_str(port, "id", ""));
    json_decref(used);
    json_decref(port);
    return held ? -EBUSY : 0;
}

static int update(struct api_req *req, json_t *row)
{
    char old[IP_TEXT_SIZE];
    struct ip_cidr cidr;
    json_t *network;
    int rc;

    snprintf(old, sizeof(old), "%s", json_str(row, "gateway_ip", ""));
    rc = net_change(req, &net_subnets, row);
    if (rc == 0 && ip_cidr_parse(json_str(row, "cidr", ""), &cidr) < 0)
        rc = net_bad(req, "'cidr' is not a valid IP subnet");
    if (rc == 0)
        rc = check_gateway(req, row, &cidr);
    if (rc == 0)
        rc = check_gateway_use(req, row, old);
    if (rc == 0)
        rc = check_pools(req, row, &cidr);
    if (rc == 0)
        rc = check_lists(req, row, &cidr);
    if (rc < 0)
        return rc;
    net_put(req, "subnet", row);
    network = net_get(req, "network", json_str(row, "network_id", ""));
    rc = net_dhcp_sync(req, network);
    if (rc == 0 && network)
        net_put(req, "network", network);
    json_decref(network);
    return rc;
}

void net_subnet_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_subnets);

    if (row && update(req, row) == 0)
        net_reply(req, 200, &net_subnets, row);
    json_decref(row);
}

static bool in_use(struct api_req *req, const char *subnet_id)
{
    return mirror_count(req->db, "ip",
                        "WHERE subnet_id = ? AND port_id NOT IN (SELECT id FROM port WHERE "
                        "device_owner = 'network:dhcp')",
                        "s", subnet_id) > 0;
}

void net_subnet_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_subnets), *network;
    const char *id = json_str(row, "id", "");

    if (!row)
        return;
    net_expect_unused(req, json_str(row, "network_id", ""));
    if (in_use(req, id)) {
        api_fail(req, 409, "SubnetInUse",
                 "Unable to complete operation on subnet %s: One or more ports have an IP "
                 "allocation from this subnet.",
                 id);
        json_decref(row);
        return;
    }
    net_remove(req, "subnet", row);
    network = net_get(req, "network", json_str(row, "network_id", ""));
    if (network && net_dhcp_sync(req, network) == 0) {
        net_put(req, "network", network);
        api_reply(req, 204, NULL);
    }
    json_decref(network);
    json_decref(row);
}
