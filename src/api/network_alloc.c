/* Addresses. A used one has a row in table `ip`; whoever creates the row owns the address. Free
 * ones are looked for from a random place, so that requests at the same time seldom choose the
 * same. */
#include "api/network.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void ip_row_id(const char *network_id, const char *ip, char out[128])
{
    snprintf(out, 128, "%.64s.%.50s", network_id, ip);
}

bool net_ip_is_free(struct api_req *req, const char *network_id, const char *ip)
{
    char id[128];
    json_t *row;

    ip_row_id(network_id, ip, id);
    row = net_get(req, "ip", id);
    json_decref(row);
    return !row;
}

void net_ip_release(struct api_req *req, const char *network_id, const char *ip)
{
    char id[128];
    json_t *row;

    ip_row_id(network_id, ip, id);
    row = net_get(req, "ip", id);
    if (row)
        net_remove(req, "ip", row);
    json_decref(row);
}

static void add_ip(struct api_req *req, const json_t *subnet, const char *ip, const char *port_id,
                   json_t *fixed_ips)
{
    const char *subnet_id = json_str(subnet, "id", "");
    char id[128];
    json_t *row;

    ip_row_id(json_str(subnet, "network_id", ""), ip, id);
    row = json_pack("{s:s, s:s, s:s}", "id", id, "subnet_id", subnet_id, "port_id", port_id);
    if (net_ip_is_free(req, json_str(subnet, "network_id", ""), ip)) {
        json_t *deleted;

        /* Given back earlier in this transaction: the row is there until then. */
        if (store_txn_peek(req->txn, "ip", id, &deleted))
            store_txn_put(req->txn, "ip", id, row);
        else
            store_txn_create(req->txn, "ip", id, row);
    }
    json_decref(row);
    json_array_append_new(fixed_ips,
                          json_pack("{s:s, s:s}", "subnet_id", subnet_id, "ip_address", ip));
}

/* On an external network the gateway is the provider's, not a port of ours. */
static bool is_outer_gateway(struct api_req *req, const json_t *subnet, const char *ip)
{
    json_t *network = net_get(req, "network", json_str(subnet, "network_id", ""));
    bool external = json_bool(network, "external", false);

    json_decref(network);
    return external && strcmp(json_str(subnet, "gateway_ip", ""), ip) == 0;
}

static int take_given(struct api_req *req, const json_t *subnet, const char *ip,
                      const char *port_id, json_t *fixed_ips)
{
    const char *network_id = json_str(subnet, "network_id", "");
    char text[IP_TEXT_SIZE];
    struct ip_cidr cidr;
    struct ip_addr addr;

    if (ip_parse(ip, &addr) < 0)
        return net_bad(req, "'ip_address' is not a valid IP address");
    if (ip_cidr_parse(json_str(subnet, "cidr", ""), &cidr) < 0 || !ip_cidr_is_host(&cidr, &addr)) {
        api_fail(req, 400, "InvalidIpForSubnet",
                 "IP address %.50s is not a valid IP for the specified subnet.", ip);
        return -EINVAL;
    }
    ip_format(&addr, text);
    if (!net_ip_is_free(req, network_id, text) || is_outer_gateway(req, subnet, text)) {
        api_fail(req, 409, "IpAddressInUse",
                 "Unable to complete operation for network %s. The IP address %s is in use.",
                 network_id, text);
        return -EBUSY;
    }
    add_ip(req, subnet, text, port_id, fixed_ips);
    return 0;
}

static bool is_used(void *arg, const struct ip_addr *addr)
{
    char text[IP_TEXT_SIZE];

    return json_object_get(arg, ip_format(addr, text)) != NULL;
}

/* The used addresses of a subnet as members of an object; its gateway's is for the gateway. */
static json_t *used_of(struct api_req *req, const json_t *subnet)
{
    json_t *rows = net_rows(req, "ip", "subnet_id", json_str(subnet, "id", "")), *row;
    json_t *used = json_object();
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *dot = strchr(json_str(row, "id", ""), '.');

        if (dot)
            json_object_set_new(used, dot + 1, json_true());
    }
    json_decref(rows);
    if (json_str(subnet, "gateway_ip", NULL))
        json_object_set_new(used, json_str(subnet, "gateway_ip", ""), json_true());
    return used;
}

static int find_free(const json_t *subnet, const json_t *used, struct ip_addr *ret_addr)
{
    const json_t *pools = json_object_get(subnet, "allocation_pools");
    size_t n = json_array_size(pools);
    uint64_t random, tries = json_object_size(used) + 1;

    id_random(&random, sizeof(random));
    for (size_t i = 0; i < n; i++) {
        const json_t *pool = json_array_get(pools, (i + random % n) % n);
        struct ip_addr first, last, start;
        uint64_t count;

        if (ip_parse(json_str(pool, "start", ""), &first) < 0 ||
            ip_parse(json_str(pool, "end", ""), &last) < 0)
            continue;
        count = ip_count(&first, &last);
        /* Small numbers are nicer to read where there is plenty. */
        start = ip_add(first, count ? random / n % (count < 65536 ? count : 65536) : 0);
        if (ip_next_free(&first, &last, &start, tries, is_used, (void *)used, ret_addr) == 0)
            return 0;
    }
    return -ENOSPC;
}

int net_ip_take(struct api_req *req, const json_t *subnet, const char *ip, const char *port_id,
                json_t *fixed_ips)
{
    char text[IP_TEXT_SIZE];
    struct ip_addr addr;
    json_t *used;
    int rc;

    if (ip)
        return take_given(req, subnet, ip, port_id, fixed_ips);
    used = used_of(req, subnet);
    rc = find_free(subnet, used, &addr);
    json_decref(used);
    if (rc == 0)
        add_ip(req, subnet, ip_format(&addr, text), port_id, fixed_ips);
    return rc;
}

static int no_more(struct api_req *req, const json_t *network)
{
    api_fail(req, 409, "IpAddressGenerationFailure",
             "No more IP addresses available on network %s.", json_str(network, "id", ""));
    return -ENOSPC;
}

/* Any address: one of each family that the network has. */
static int take_any(struct api_req *req, const json_t *network, const json_t *subnets,
                    const char *port_id, json_t *fixed_ips)
{
    const json_t *subnet;
    size_t i;

    for (int version = 4; version <= 6; version += 2) {
        int rc = 0;

        json_array_foreach(subnets, i, subnet)
        {
            if (json_int(subnet, "ip_version", 0) != version)
                continue;
            rc = net_ip_take(req, subnet, NULL, port_id, fixed_ips);
            if (rc != -ENOSPC)
                break;
        }
        if (rc == -ENOSPC)
            return no_more(req, network);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The subnet that a wanted address is in: by its id, or the one that contains the address. */
static const json_t *subnet_of(struct api_req *req, const json_t *subnets, const json_t *want)
{
    const char *id = json_str(want, "subnet_id", NULL), *ip = json_str(want, "ip_address", NULL);
    const json_t *subnet;
    struct ip_cidr cidr;
    struct ip_addr addr;
    size_t i;

    if (ip && ip_parse(ip, &addr) < 0) {
        net_bad(req, "'ip_address' is not a valid IP address");
        return NULL;
    }
    if (!id && !ip) {
        net_bad(req, "each of 'fixed_ips' needs 'subnet_id' or 'ip_address'");
        return NULL;
    }
    json_array_foreach(subnets, i, subnet)
    {
        if (id ? strcmp(json_str(subnet, "id", ""), id) == 0
               : ip_cidr_parse(json_str(subnet, "cidr", ""), &cidr) == 0 &&
                     ip_cidr_contains(&cidr, &addr))
            return subnet;
    }
    if (id)
        net_bad(req, "failed to create port: the given subnet is not on the port's network");
    else
        api_fail(req, 400, "InvalidIpForNetwork",
                 "IP address %.50s is not a valid IP for any of the subnets on the specified "
                 "network.",
                 ip);
    return NULL;
}

int net_ips_take(struct api_req *req, const json_t *network, const json_t *wanted,
                 const char *port_id, json_t *fixed_ips)
{
    json_t *subnets = net_rows(req, "subnet", "network_id", json_str(network, "id", ""));
    const json_t *want, *subnet;
    size_t i;
    int rc = 0;

    if (!wanted)
        rc = take_any(req, network, subnets, port_id, fixed_ips);
    json_array_foreach(wanted, i, want)
    {
        subnet = subnet_of(req, subnets, want);
        rc = subnet
                 ? net_ip_take(req, subnet, json_str(want, "ip_address", NULL), port_id, fixed_ips)
                 : -EINVAL;
        if (rc == -ENOSPC)
            no_more(req, network);
        if (rc < 0)
            break;
    }
    json_decref(subnets);
    return rc;
}

void net_mac(struct api_req *req, const char *network_id, char out[18])
{
    unsigned char b[3];

    do {
        id_random(b, sizeof(b));
        snprintf(out, 18, "fa:16:3e:%02x:%02x:%02x", b[0], b[1], b[2]);
    } while (mirror_count(req->db, "port", "WHERE network_id = ? AND mac_address = ?", "ss",
                          network_id, out) > 0);
}
