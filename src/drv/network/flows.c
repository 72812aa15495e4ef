/* The connections that a port's filter knows (see filter.c), when its rules change.
 *
 * A server that joins a group adds an address to the rules of all other members: that must not
 * touch their connections. When something was taken away, the new rules are in force first, so that
 * nothing enters the sets any more that they do not allow; then the sets are read, and what no rule
 * of the direction it began in allows is deleted. TCP connections that are cut are remembered:
 * their next packet from the other side may be allowed by itself and would make them known again.
 */
#include "drv/network/linux.h"

#include "base/json.h"
#include "io/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX (64u << 20)
#define TRIES 3

/* ---- what became of the rules ---- */

/* Are all of `some` in `all`? (Groups have thousands of members.) */
static bool texts_in(const json_t *some, const json_t *all)
{
    json_t *known = json_object();
    const json_t *text;
    bool in = true;
    size_t i;

    json_array_foreach(all, i, text)
        json_put_bool(known, json_string_value(text) ? json_string_value(text) : "", true);
    json_array_foreach(some, i, text)
    {
        if (!json_object_get(known, json_string_value(text) ? json_string_value(text) : ""))
            in = false;
    }
    json_decref(known);
    return in;
}

static bool same_value(const json_t *a, const json_t *b, const char *key)
{
    json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

    return json_equal(x, y) || ((!x || json_is_null(x)) && (!y || json_is_null(y)));
}

static bool rule_covers(const json_t *rule, const json_t *old)
{
    static const char *const keys[] = {"direction", "ethertype", "protocol", "min", "max"};
    const json_t *now = json_object_get(rule, "remotes"), *then = json_object_get(old, "remotes");

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!same_value(rule, old, keys[i]))
            return false;
    }
    return !json_is_array(now) || (json_is_array(then) && texts_in(then, now));
}

bool flows_only_grew(const json_t *old, const json_t *port)
{
    const json_t *was, *rule;
    size_t i, k;

    if (!old)
        return false;
    if (!json_bool(old, "secure", true) || !json_bool(old, "up", true))
        return true; /* it knew no connections */
    json_array_foreach(json_object_get(old, "rules"), i, was)
    {
        bool covered = false;

        json_array_foreach(json_object_get(port, "rules"), k, rule)
        {
            if (rule_covers(rule, was)) {
                covered = true;
                break;
            }
        }
        if (!covered)
            return false;
    }
    return true;
}

/* ---- what the rules allow ---- */

struct allowed {
    struct rule rule;
    bool anybody;
    struct netlink_addr *remotes;
    size_t count;
};

struct judge {
    struct allowed *rules;
    size_t count;
};

struct flow {
    bool in, v6; /* where it began */
    uint8_t remote[16];
    int protocol, remote_port, own_port; /* ports -1: it has none that are known */
};

static void judge_free(struct judge *judge)
{
    for (size_t i = 0; i < judge->count; i++)
        free(judge->rules[i].remotes);
    free(judge->rules);
}

static int allowed_read(struct allowed *allowed, const json_t *row)
{
    const json_t *remotes = json_object_get(row, "remotes"), *remote;
    size_t i;

    allowed->anybody = !json_is_array(remotes);
    if (json_array_size(remotes) == 0)
        return 0;
    allowed->remotes = calloc(json_array_size(remotes), sizeof *allowed->remotes);
    if (!allowed->remotes)
        return -ENOMEM;
    json_array_foreach(remotes, i, remote)
    {
        struct netlink_addr *addr = &allowed->remotes[allowed->count];

        if (netlink_addr_parse(json_string_value(remote), addr) == 0 &&
            (addr->family == AF_INET6) == allowed->rule.v6)
            allowed->count++;
    }
    return 0;
}

static int judge_read(struct judge *judge, const json_t *rules)
{
    const json_t *row;
    size_t i;
    int rc = 0;

    judge->rules = calloc(json_array_size(rules) + 1, sizeof *judge->rules);
    if (!judge->rules)
        return -ENOMEM;
    json_array_foreach(rules, i, row)
    {
        if (rc == 0 && rule_read(row, &judge->rules[judge->count].rule))
            rc = allowed_read(&judge->rules[judge->count++], row);
    }
    return rc;
}

static bool addr_contains(const struct netlink_addr *net, const uint8_t *host)
{
    int bytes = net->prefix / 8, bits = net->prefix % 8;

    return memcmp(net->bytes, host, (size_t)bytes) == 0 &&
           (bits == 0 || (net->bytes[bytes] ^ host[bytes]) >> (8 - bits) == 0);
}

static bool is_allowed(const struct judge *judge, const struct flow *flow)
{
    int port = flow->in ? flow->own_port : flow->remote_port;

    for (size_t i = 0; i < judge->count; i++) {
        const struct allowed *one = &judge->rules[i];

        if (one->rule.in != flow->in || one->rule.v6 != flow->v6 ||
            (one->rule.protocol >= 0 && one->rule.protocol != flow->protocol) ||
            (one->rule.min >= 0 && port >= 0 && (port < one->rule.min || port > one->rule.max)))
            continue;
        if (one->anybody)
            return true;
        for (size_t k = 0; k < one->count; k++) {
            if (addr_contains(&one->remotes[k], flow->remote))
                return true;
        }
    }
    return false;
}

/* ---- the sets ---- */

/* Reads "10.0.0.6 . 6 . 40000 . 22 timeout ..." or "10.0.0.6 . 47 timeout ...". */
static bool flow_read(const char *text, struct flow *ret, char *remote, size_t size)
{
    size_t length = strcspn(text, " ");
    int n;

    ret->remote_port = ret->own_port = -1;
    if (length >= size)
        return false;
    memcpy(remote, text, length);
    remote[length] = 0;
    n = sscanf(text + length, " . %d . %d . %d", &ret->protocol, &ret->remote_port, &ret->own_port);
    return (n == 1 || n == 3) && inet_pton(ret->v6 ? AF_INET6 : AF_INET, remote, ret->remote) == 1;
}

/* One element of set `set`: is it to go, its deletion is appended to `out`. */
static void element(const struct judge *judge, const char *table, const char *set, const char *text,
                    struct buf *out)
{
    size_t length = strlen(set);
    struct flow flow = {.in = strstr(set, "in") != NULL, .v6 = set[length - 1] == '6'};
    char remote[INET6_ADDRSTRLEN], key[96];

    if (!flow_read(text, &flow, remote, sizeof remote) || is_allowed(judge, &flow))
        return;
    if (flow.own_port < 0)
        snprintf(key, sizeof key, "%s . %d", remote, flow.protocol);
    else
        snprintf(key, sizeof key, "%s . %d . %d . %d", remote, flow.protocol, flow.remote_port,
                 flow.own_port);
    buf_printf(out, "delete element bridge %s %s { %s }\n", table, set, key);
    if (flow.protocol == IPPROTO_TCP)
        buf_printf(out, "add element bridge %s cut%d { %s timeout 1h }\n", table, flow.v6 ? 6 : 4,
                   key);
}

/* Goes through the elements of a listing: "set NAME {", then "elements = { A, B,", "C }". */
static void listing(const struct judge *judge, const char *table, char *text, struct buf *out)
{
    char *line, *rest, *item, *next, set[32] = "";
    bool inside = false;

    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        line += strspn(line, " \t");
        sscanf(line, "set %31s {", set);
        if (strncmp(line, "elements = {", 12) == 0) {
            inside = true;
            line += 12;
        }
        if (!inside)
            continue;
        if (strchr(line, '}'))
            inside = false;
        for (item = strtok_r(line, ",}", &next); item; item = strtok_r(NULL, ",}", &next))
            element(judge, table, set, item + strspn(item, " \t"), out);
    }
}

static int cut_once(const struct judge *judge, const char *table)
{
    static const char *const sets[] = {"flowsin4",  "flowsout4",  "flowsin6",  "flowsout6",
                                       "othersin4", "othersout4", "othersin6", "othersout6"};
    struct buf list, out;
    char command[96];
    int rc = 0;

    buf_init(&list, LIST_MAX);
    buf_init(&out, LIST_MAX);
    /* One by one: libnftables looks only for the last one's name of several. */
    for (size_t i = 0; rc == 0 && i < sizeof sets / sizeof *sets; i++) {
        snprintf(command, sizeof command, "list set bridge %s %s", table, sets[i]);
        rc = nft_list(-1, command, &list);
    }
    if (rc == 0 && list.data)
        listing(judge, table, list.data, &out);
    if (rc == 0 && out.failed)
        rc = -E2BIG;
    if (rc == 0 && out.len > 0)
        rc = nft_apply(-1, buf_text(&out), NULL, 0);
    buf_free(&list);
    buf_free(&out);
    return rc;
}

int flows_cut(const json_t *port, const char *table)
{
    struct judge judge = {0};
    int rc = judge_read(&judge, json_object_get(port, "rules"));
    int tries = 0;

    /* An entry that ends between the reading and the deletion makes the latter fail. */
    while (rc == 0) {
        rc = cut_once(&judge, table);
        if (rc != -ENOENT || ++tries == TRIES)
            break;
        rc = 0;
    }
    judge_free(&judge);
    return rc;
}
