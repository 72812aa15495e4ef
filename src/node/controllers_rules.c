/* Which changes of the controllers the store survives. What counts are etcd's members that answer:
 * a host may be up while its member cannot run. */
#include "base/json.h"
#include "node/controllers.h"

#include <stdio.h>
#include <string.h>

static const json_t *member_at(const json_t *members, const char *ip)
{
    const json_t *member;
    char url[100];
    size_t i;

    snprintf(url, sizeof(url), "https://%s:2380", ip);
    json_array_foreach(members, i, member)
    {
        if (json_has_str(member, "peerURLs", url))
            return member;
    }
    return NULL;
}

const char *controllers_member_state(const json_t *members, const char *ip)
{
    const json_t *member = member_at(members, ip);

    if (!member)
        return "none";
    if (json_bool(member, "healthy", false))
        return "started";
    return json_array_size(json_object_get(member, "clientURLs")) > 0 ? "down" : "added";
}

static const json_t *entry_of(const json_t *value, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(value, "controllers"), i, item)
    {
        if (strcmp(json_str(item, "host", ""), name) == 0)
            return item;
    }
    return NULL;
}

static bool runs(const json_t *members, const json_t *entry)
{
    return strcmp(controllers_member_state(members, json_str(entry, "ip", "")), "started") == 0;
}

static size_t count_healthy(const json_t *members)
{
    const json_t *member;
    size_t i, n = 0;

    json_array_foreach(members, i, member) n += json_bool(member, "healthy", false);
    return n;
}

bool controllers_refuse_add(const json_t *value, const json_t *members, const char *name,
                            const json_t *host, char *why, size_t size)
{
    const json_t *list = json_object_get(value, "controllers"), *item;
    size_t i;

    if (entry_of(value, name))
        return snprintf(why, size, "%s is a controller already", name);
    if (!host)
        return snprintf(why, size, "there is no host %s: see vling host list", name);
    if (strcmp(json_str(host, "state", ""), "up") != 0)
        return snprintf(why, size, "%s is not up", name);
    if (json_array_size(list) >= CONFIG_CONTROLLERS_MAX)
        return snprintf(why, size, "there are %d controllers already", CONFIG_CONTROLLERS_MAX);
    json_array_foreach(list, i, item)
    {
        if (!runs(members, item))
            return snprintf(why, size,
                            "the store's member on controller %s does not answer, and one more "
                            "controller would raise the majority that is needed: mend, remove or "
                            "replace it first",
                            json_str(item, "host", ""));
    }
    /* One that was removed from the list and is still a member counts for etcd. */
    if (count_healthy(members) < json_array_size(members))
        return snprintf(why, size,
                        "a member of the store does not answer: see vling controller "
                        "list");
    return false;
}

/* etcd itself needs more than half of its members to remove one, and more than half of the rest
 * afterwards; and so do the controllers that will be left in the list. */
bool controllers_refuse_remove(const json_t *value, const json_t *members, const char *name,
                               char *why, size_t size)
{
    const json_t *list = json_object_get(value, "controllers"), *item, *own;
    size_t i, n = json_array_size(list), total = json_array_size(members), listed = 0;
    size_t healthy = count_healthy(members), others, rest;

    own = entry_of(value, name);
    if (!own)
        return snprintf(why, size, "%s is no controller: see vling controller list", name);
    if (n == 1)
        return snprintf(why, size, "%s is the only controller", name);
    json_array_foreach(list, i, item) listed += item != own && runs(members, item);
    others = healthy - runs(members, own);
    rest = total - (member_at(members, json_str(own, "ip", "")) != NULL);
    if (healthy * 2 > total && others * 2 > rest && listed * 2 > n - 1)
        return false;
    return snprintf(why, size,
                    "the store's members on only %zu of the %zu other controllers answer: without "
                    "%s there would be no majority",
                    listed, n - 1, name);
}
