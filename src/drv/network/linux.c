#include "drv/network/linux.h"

#include "base/json.h"
#include "base/log.h"
#include "io/netns.h"
#include "io/nft.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_PREFIX "vling_"

/* ---- names ---- */

void name_of(const char *prefix, const char *id, char ret[NAME_SIZE])
{
    size_t at = (size_t)snprintf(ret, NAME_SIZE, "%.2s", prefix);

    for (; *id && at < 14; id++) {
        if (isxdigit((unsigned char)*id))
            ret[at++] = (char)tolower((unsigned char)*id);
    }
    ret[at] = 0;
}

bool name_valid(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

    return size > 0 && size < NAME_SIZE && !text[size];
}

int ns_path(const struct network_driver *driver, const char *name, char *ret, size_t size)
{
    return (size_t)snprintf(ret, size, "%s/%s", driver->ns_dir, name) < size ? 0 : -ENAMETOOLONG;
}

static void tap_name(const char *port_id, char ret[16])
{
    name_of("vt", port_id, ret);
}

/* ---- life ---- */

static void driver_close(struct network_driver *driver)
{
    if (!driver)
        return;
    dhcpd_sweep(driver, NULL);
    announcer_close(driver->announcer);
    netlink_close(driver->nl);
    json_decref(driver->last);
    free(driver);
}

static struct network_driver *driver_open(uv_loop_t *loop, const json_t *config,
                                          network_metadata_cb *metadata, void *arg, struct err *err)
{
    struct network_driver *driver = calloc(1, sizeof *driver);
    const struct passwd *user = getpwnam("vling-guest");
    int rc;

    if (!driver) {
        err_set(err, -ENOMEM, "cannot start the network driver", "out of memory", NULL);
        return NULL;
    }
    driver->loop = loop;
    driver->metadata = metadata;
    driver->metadata_arg = arg;
    driver->tap_owner = user ? user->pw_uid : (uid_t)-1;
    rc = (size_t)snprintf(driver->ns_dir, sizeof driver->ns_dir, "%s/netns",
                          json_str(config, "run_dir", "/run/vling")) < sizeof driver->ns_dir
             ? netns_dir(driver->ns_dir)
             : -ENAMETOOLONG;
    if (rc == 0)
        rc = netlink_open(-1, &driver->nl);
    if (rc == 0)
        rc = announcer_open(loop, &driver->announcer);
    if (rc < 0) {
        err_set(err, rc, "cannot start the network driver", strerror(-rc),
                "vlingd needs root and kernel networking");
        driver_close(driver);
        return NULL;
    }
    /* Bridged packets are filtered in the bridge family; through the IP families they would meet
     * the host's own rules, and overlapping tenants' addresses would meet each other. */
    netns_sysctl(-1, "bridge/bridge-nf-call-iptables", "0");
    netns_sysctl(-1, "bridge/bridge-nf-call-ip6tables", "0");
    netns_sysctl(-1, "bridge/bridge-nf-call-arptables", "0");
    return driver;
}

/* ---- leftovers ---- */

static void want(json_t *wanted, const char *prefix, const char *id)
{
    char name[NAME_SIZE];

    name_of(prefix, id, name);
    json_put_bool(wanted, name, true);
}

/* The names of all links, namespaces ("d-", "r-") and tables ("p_", "b_") of `plan`. */
static json_t *wanted_names(const json_t *plan)
{
    json_t *wanted = json_object();
    const json_t *row, *item;
    size_t i, j;

    json_array_foreach(json_object_get(plan, "networks"), i, row)
    {
        const char *id = json_str(row, "id", "");

        want(wanted, "br", id);
        want(wanted, "vx", id);
        want(wanted, "b_", id);
        if (json_is_object(json_object_get(row, "dhcp"))) {
            want(wanted, "vd", id);
            want(wanted, "d-", id);
        }
        json_array_foreach(json_object_get(row, "ports"), j, item)
        {
            json_put_bool(wanted, json_str(item, "tap", ""), true);
            want(wanted, "p_", json_str(item, "id", ""));
        }
    }
    json_array_foreach(json_object_get(plan, "routers"), i, row)
    {
        want(wanted, "r-", json_str(row, "id", ""));
        json_array_foreach(json_object_get(row, "interfaces"), j, item)
            want(wanted, "vr", json_str(item, "port_id", ""));
        if (json_is_object(json_object_get(row, "gateway")))
            want(wanted, "vg", json_str(json_object_get(row, "gateway"), "port_id", ""));
    }
    if (json_str(plan, "ext_dev", NULL)) {
        json_put_bool(wanted, EXTERNAL_BRIDGE, true);
        json_put_bool(wanted, "b_ext", true);
    }
    return wanted;
}

struct sweep {
    const json_t *wanted;
    json_t *doomed;
};

static void sweep_link(void *arg, const struct netlink_link *link)
{
    struct sweep *sweep = arg;

    if (strncmp(link->alias, ALIAS, strlen(ALIAS)) == 0 &&
        !json_object_get(sweep->wanted, link->name))
        json_put_int(sweep->doomed, link->name, link->index);
}

static void sweep_links(struct network_driver *driver, const json_t *wanted)
{
    struct sweep sweep = {wanted, json_object()};
    const char *name;
    json_t *index;

    netlink_links(driver->nl, sweep_link, &sweep);
    json_object_foreach(sweep.doomed, name, index)
        netlink_link_delete(driver->nl, (int)json_integer_value(index));
    json_decref(sweep.doomed);
}

static void sweep_namespaces(struct network_driver *driver, const json_t *wanted)
{
    DIR *dir = opendir(driver->ns_dir);
    struct dirent *entry;
    char path[520];

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || json_object_get(wanted, entry->d_name))
            continue;
        snprintf(path, sizeof path, "%s/%s", driver->ns_dir, entry->d_name);
        netns_remove(path);
    }
    closedir(dir);
}

static void sweep_tables(const char *family, const json_t *wanted)
{
    struct buf list, text;
    char *line, *rest, command[32];

    snprintf(command, sizeof command, "list tables %s", family);
    buf_init(&list, 1u << 20);
    buf_init(&text, 1u << 20);
    if (nft_list(-1, command, &list) == 0 && list.data) {
        for (line = strtok_r(list.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            const char *name = strstr(line, TABLE_PREFIX);

            if (name && !json_object_get(wanted, name + strlen(TABLE_PREFIX)))
                buf_printf(&text, "delete table %s %s\n", family, name);
        }
    }
    if (text.len > 0 && !text.failed)
        nft_apply(-1, buf_text(&text), NULL, 0);
    buf_free(&list);
    buf_free(&text);
}

static void sweep_all(struct network_driver *driver, const json_t *plan)
{
    json_t *wanted = wanted_names(plan);

    dhcpd_sweep(driver, plan);
    sweep_links(driver, wanted);
    sweep_namespaces(driver, wanted);
    sweep_tables("bridge", wanted);
    sweep_tables("netdev", wanted);
    json_decref(wanted);
}

static void driver_clear(struct network_driver *driver)
{
    sweep_all(driver, NULL);
    json_decref(driver->last);
    driver->last = NULL;
}

/* ---- apply ---- */

/* Collects the failures of single objects. */
struct outcome {
    int rc;
    struct err *err;
};

static void failed(struct outcome *outcome, int rc, const char *what, const char *id,
                   const char *why)
{
    char text[192];

    if (rc >= 0)
        return;
    snprintf(text, sizeof text, "cannot set up %s %s", what, id);
    log_warn("%s: %s", text, why && *why ? why : strerror(-rc));
    if (outcome->rc == 0)
        outcome->rc = err_set(outcome->err, rc, text, why && *why ? why : strerror(-rc), NULL);
}

static const json_t *by_id(const json_t *list, const json_t *row)
{
    const char *id = json_str(row, "id", "");
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (strcmp(json_str(item, "id", ""), id) == 0)
            return item;
    }
    return NULL;
}

static bool same_but(const json_t *a, const json_t *b, const char *key)
{
    json_t *x, *y;
    bool same;

    if (!a || !b)
        return false;
    x = json_copy((json_t *)a);
    y = json_copy((json_t *)b);
    json_object_del(x, key);
    json_object_del(y, key);
    same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static void apply_port(struct network_driver *driver, const json_t *network, const json_t *port,
                       const json_t *old, struct outcome *outcome)
{
    const char *id = json_str(port, "id", "");
    char why[192] = "";
    int rc;

    if (old && json_equal((json_t *)old, (json_t *)port))
        return;
    /* The filter first: the port must never be open without it. */
    rc = port_filter(port, old != NULL, why, sizeof why);
    if (rc == 0)
        failed(outcome, port_ensure(driver, network, port), "port", id, NULL);
    else
        failed(outcome, rc, "the filter of port", id, why);
}

static void apply_network(struct network_driver *driver, const json_t *plan, const json_t *network,
                          const json_t *old, struct outcome *outcome)
{
    const char *id = json_str(network, "id", "");
    const json_t *port;
    size_t i;

    if (old && json_equal((json_t *)old, (json_t *)network))
        return;
    if (!same_but(old, network, "ports"))
        failed(outcome, network_ensure(driver, network, json_str(plan, "tenant_ip", "")), "network",
               id, NULL);
    json_array_foreach(json_object_get(network, "ports"), i, port)
        apply_port(driver, network, port, by_id(json_object_get(old, "ports"), port), outcome);
    if (json_is_object(json_object_get(network, "dhcp")))
        failed(outcome, dhcpd_ensure(driver, network), "DHCP of network", id, NULL);
}

/* What the networks and routers take from the plan's head. */
static bool same_head(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"tenant_ip", "ext_dev", "api_vip"};

    for (size_t i = 0; a && i < 3; i++) {
        if (strcmp(json_str(a, keys[i], ""), json_str(b, keys[i], "")) != 0)
            return false;
    }
    return a != NULL;
}

/* Did the guard take the external bridge down? */
static bool is_silenced(struct network_driver *driver, const char *ext)
{
    struct netlink_link link;

    return ext && *ext && netlink_link_get(driver->nl, EXTERNAL_BRIDGE, &link) == 0 && !link.up;
}

static int driver_apply(struct network_driver *driver, const json_t *plan, struct err *err)
{
    const json_t *last = driver->last, *row, *old;
    const char *ext = json_str(plan, "ext_dev", NULL);
    struct outcome outcome = {0, err};
    size_t i;

    if (last && json_equal((json_t *)last, (json_t *)plan) && !is_silenced(driver, ext))
        return 0;
    if (!same_head(last, plan))
        last = NULL;
    sweep_all(driver, plan);
    if (ext && *ext)
        failed(&outcome, external_ensure(driver, ext), "the external device", ext, NULL);
    json_array_foreach(json_object_get(plan, "networks"), i, row)
    {
        old = by_id(json_object_get(last, "networks"), row);
        apply_network(driver, plan, row, old, &outcome);
    }
    json_array_foreach(json_object_get(plan, "routers"), i, row)
    {
        old = by_id(json_object_get(last, "routers"), row);
        if (!old || !json_equal((json_t *)old, (json_t *)row))
            failed(&outcome, router_ensure(driver, row, plan), "router", json_str(row, "id", ""),
                   NULL);
    }
    json_decref(driver->last);
    /* After a failure nothing is taken for granted the next time. */
    driver->last = outcome.rc == 0 ? json_incref((json_t *)plan) : NULL;
    return outcome.rc;
}

/* ---- addresses of the host ---- */

static int address_add(struct network_driver *driver, const char *dev, const char *cidr,
                       struct err *err)
{
    struct netlink_addr addr;
    struct netlink_link link;
    int rc = netlink_addr_parse(cidr, &addr);

    if (rc == 0)
        rc = netlink_link_get(driver->nl, dev, &link);
    if (rc == 0)
        rc = netlink_addr_add(driver->nl, link.index, &addr);
    if (rc < 0 && rc != -EEXIST)
        return err_why(err, rc, "cannot take the address", "%s on %s: %s", cidr, dev,
                       strerror(-rc));
    announce(driver->announcer, -1, dev, &addr);
    return 0;
}

static int address_remove(struct network_driver *driver, const char *dev, const char *cidr)
{
    struct netlink_addr addr;
    struct netlink_link link;
    int rc = netlink_addr_parse(cidr, &addr);

    if (rc == 0)
        rc = netlink_link_get(driver->nl, dev, &link);
    if (rc == 0)
        rc = netlink_addr_delete(driver->nl, link.index, &addr);
    return rc == -EADDRNOTAVAIL ? 0 : rc;
}

struct address_search {
    struct netlink_addr wanted;
    bool found;
};

static void compare_address(void *arg, const struct netlink_addr *addr)
{
    struct address_search *search = arg;

    if (addr->family == search->wanted.family &&
        memcmp(addr->bytes, search->wanted.bytes, addr->family == AF_INET ? 4 : 16) == 0)
        search->found = true;
}

static bool address_here(struct network_driver *driver, const char *dev, const char *cidr)
{
    struct address_search search = {.found = false};
    struct netlink_link link;

    return netlink_addr_parse(cidr, &search.wanted) == 0 &&
           netlink_link_get(driver->nl, dev, &link) == 0 &&
           netlink_addrs(driver->nl, link.index, compare_address, &search) == 0 && search.found;
}

static bool link_up(struct network_driver *driver, const char *dev)
{
    struct netlink_link link;

    return netlink_link_get(driver->nl, dev, &link) == 0 && link.up && link.running;
}

const struct network_ops network_linux = {
    .name = "linux",
    .open = driver_open,
    .close = driver_close,
    .apply = driver_apply,
    .clear = driver_clear,
    .address_add = address_add,
    .address_remove = address_remove,
    .address_here = address_here,
    .link_up = link_up,
    .tap_name = tap_name,
};
