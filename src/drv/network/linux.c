#include "drv/network/linux.h"

#include "base/clock.h"
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
#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS 30000

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
    json_decref(driver->broken);
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
    driver->broken = json_object();
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
    json_object_clear(driver->broken);
}

/* ---- apply ---- */

/* One walk through a plan. What fails is tried again by itself, after pauses that grow: a tenant's
 * row that the kernel does not take must not make the host set up all the others each time. */
struct walk {
    struct network_driver *driver;
    const json_t *plan, *last; /* what is set up; NULL: unknown */
    struct err *err;
    json_t *seen; /* keys of all objects */
    int64_t now;
    int rc;        /* the first failure */
    bool waiting;  /* something failed earlier and its next try has not come */
    bool progress; /* something that failed earlier does no more: others may have lacked it */
};

static void key_of(char kind, const char *id, char ret[64])
{
    snprintf(ret, 64, "%c%s", kind, id);
}

static bool is_broken(const struct walk *walk, char kind, const char *id)
{
    char key[64];

    key_of(kind, id, key);
    return json_object_get(walk->driver->broken, key) != NULL;
}

/* Is the object to be set up now? */
static bool is_due(struct walk *walk, char kind, const char *id, bool changed)
{
    const json_t *broken;
    char key[64];

    key_of(kind, id, key);
    json_put_bool(walk->seen, key, true);
    broken = json_object_get(walk->driver->broken, key);
    if (changed || !broken)
        return changed;
    if (walk->progress || walk->now >= json_int(broken, "at", 0))
        return true;
    walk->waiting = true;
    return false;
}

static void outcome(struct walk *walk, char kind, const char *id, int rc, const char *what,
                    const char *why)
{
    int64_t pause;
    char key[64], text[192];

    key_of(kind, id, key);
    if (rc >= 0) {
        walk->progress |= json_object_del(walk->driver->broken, key) == 0;
        return;
    }
    pause = 2 * json_int(json_object_get(walk->driver->broken, key), "pause", PAUSE_FIRST_MS / 2);
    pause = pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause;
    json_object_set_new(walk->driver->broken, key,
                        json_pack("{s:I, s:I}", "at", (json_int_t)(clock_now_ms() + pause), "pause",
                                  (json_int_t)pause));
    snprintf(text, sizeof text, "cannot set up %s %s", what, id);
    log_warn("%s: %s", text, why && *why ? why : strerror(-rc));
    if (walk->rc == 0)
        walk->rc = err_set(walk->err, rc, text, why && *why ? why : strerror(-rc), NULL);
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

static void apply_port(struct walk *walk, const json_t *network, const json_t *port,
                       const json_t *old)
{
    const char *id = json_str(port, "id", "");
    char why[192] = "";
    int rc;

    if (!is_due(walk, 'p', id, !old || !json_equal((json_t *)old, (json_t *)port)))
        return;
    /* The filter first: the port must never be open without it. */
    rc = port_filter(port, is_broken(walk, 'p', id) ? NULL : old, why, sizeof why);
    if (rc == 0)
        outcome(walk, 'p', id, port_ensure(walk->driver, network, port), "port", NULL);
    else
        outcome(walk, 'p', id, rc, "the filter of port", why);
}

static void apply_network(struct walk *walk, const json_t *network)
{
    const json_t *old = by_id(json_object_get(walk->last, "networks"), network), *port;
    bool changed = !old || !json_equal((json_t *)old, (json_t *)network);
    const char *id = json_str(network, "id", "");
    size_t i;
    int rc;

    if (!changed && json_object_size(walk->driver->broken) == 0)
        return;
    if (is_due(walk, 'n', id, changed && !same_but(old, network, "ports"))) {
        rc = network_ensure(walk->driver, network, json_str(walk->plan, "tenant_ip", ""),
                            old && !is_broken(walk, 'n', id));
        outcome(walk, 'n', id, rc, "network", NULL);
    }
    json_array_foreach(json_object_get(network, "ports"), i, port)
        apply_port(walk, network, port, by_id(json_object_get(old, "ports"), port));
    if (json_is_object(json_object_get(network, "dhcp")) && is_due(walk, 'd', id, changed))
        outcome(walk, 'd', id, dhcpd_ensure(walk->driver, network), "DHCP of network", NULL);
}

static void apply_router(struct walk *walk, const json_t *router)
{
    const json_t *old = by_id(json_object_get(walk->last, "routers"), router);
    const char *id = json_str(router, "id", "");

    if (is_due(walk, 'r', id, !old || !json_equal((json_t *)old, (json_t *)router)))
        outcome(walk, 'r', id, router_ensure(walk->driver, router, walk->plan), "router", NULL);
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

static void walk_all(struct walk *walk, bool external)
{
    const char *ext = json_str(walk->plan, "ext_dev", ""), *key;
    const json_t *row;
    json_t *broken;
    void *next;
    size_t i;
    int rc;

    if (*ext && is_due(walk, 'x', ext, external)) {
        rc = external_ensure(walk->driver, ext, walk->last && !is_broken(walk, 'x', ext));
        outcome(walk, 'x', ext, rc, "the external device", NULL);
    }
    json_array_foreach(json_object_get(walk->plan, "networks"), i, row) apply_network(walk, row);
    json_array_foreach(json_object_get(walk->plan, "routers"), i, row) apply_router(walk, row);
    json_object_foreach_safe(walk->driver->broken, next, key, broken)
    {
        if (!json_object_get(walk->seen, key)) /* it is wanted no more */
            json_object_del(walk->driver->broken, key);
    }
}

static int driver_apply(struct network_driver *driver, const json_t *plan, struct err *err)
{
    struct walk walk = {.driver = driver, .plan = plan, .last = driver->last, .err = err};
    bool changed = !driver->last || !json_equal(driver->last, (json_t *)plan) ||
                   is_silenced(driver, json_str(plan, "ext_dev", NULL));

    if (!changed && json_object_size(driver->broken) == 0)
        return 0;
    walk.now = clock_now_ms();
    walk.seen = json_object();
    if (!same_head(walk.last, plan))
        walk.last = NULL;
    if (changed)
        sweep_all(driver, plan);
    walk_all(&walk, changed);
    json_decref(walk.seen);
    json_incref((json_t *)plan);
    json_decref(driver->last);
    driver->last = (json_t *)plan;
    if (walk.rc == 0 && walk.waiting)
        return err_set(err, -EAGAIN, "the network is not all set up",
                       "what failed before is tried again later", NULL);
    return walk.rc;
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
