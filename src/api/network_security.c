/* Security groups and their rules. Every project has a group "default", made when first needed. */
#include "api/network.h"

#include "base/id.h"
#include "base/json.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- views ---- */

static json_t *complete_rule(struct api_req *req, const json_t *row, json_t *view)
{
    (void)req;
    json_object_del(view, "name");
    json_object_set_new(view, "remote_address_group_id", json_null());
    json_object_set(view, "normalized_cidr",
                    json_object_get(row, "remote_ip_prefix")
                        ? json_object_get(row, "remote_ip_prefix")
                        : json_object_get(view, "remote_ip_prefix"));
    return view;
}

const struct net_kind net_security_group_rules = {
    .resource = &resource_security_group_rule,
    .complete = complete_rule,
};

static json_t *complete_group(struct api_req *req, const json_t *row, json_t *view)
{
    json_t *rules =
        net_rows(req, "security_group_rule", "security_group_id", json_str(row, "id", ""));
    json_t *views = json_array(), *rule;
    size_t i;

    json_array_foreach(rules, i, rule)
    {
        json_array_append_new(views, net_view(req, &net_security_group_rules, rule));
    }
    json_decref(rules);
    json_object_set_new(view, "security_group_rules", views);
    json_put_bool(view, "shared", false);
    return view;
}

const struct net_kind net_security_groups = {
    .resource = &resource_security_group,
    .complete = complete_group,
};

/* ---- rules that a group is born with ---- */

static void add_rule(struct api_req *req, const json_t *group, const char *direction,
                     const char *ethertype, bool from_group)
{
    const char *group_id = json_str(group, "id", "");
    char id[64], name[128];
    json_t *row;

    snprintf(name, sizeof(name), "%s/%s/%s", group_id, direction, ethertype);
    net_derived_id("security_group_rule", name, id);
    row = json_pack("{s:s, s:s, s:s, s:O, s:[], s:s, s:s, s:i, s:s, s:s, s:s, s:n, s:n, s:n, s:n}",
                    "id", id, "name", "", "description", "", "project_id",
                    json_object_get(group, "project_id"), "tags", "created_at", req->now,
                    "updated_at", req->now, "revision_number", 0, "security_group_id", group_id,
                    "direction", direction, "ethertype", ethertype, "protocol", "port_range_min",
                    "port_range_max", "remote_ip_prefix");
    json_put_str(row, "remote_group_id", from_group ? group_id : NULL);
    net_create(req, "security_group_rule", row);
    json_decref(row);
}

static void add_first_rules(struct api_req *req, const json_t *group, bool is_default)
{
    add_rule(req, group, "egress", "IPv4", false);
    add_rule(req, group, "egress", "IPv6", false);
    if (is_default) {
        add_rule(req, group, "ingress", "IPv4", true);
        add_rule(req, group, "ingress", "IPv6", true);
    }
}

int api_default_security_group(struct api_req *req, const char *project_id, char ret_id[64])
{
    json_t *row;

    net_derived_id("default_security_group", project_id, ret_id);
    row = net_get(req, "security_group", ret_id);
    if (!row) {
        row = json_pack("{s:s, s:s, s:s, s:s, s:[], s:s, s:s, s:i, s:b}", "id", ret_id, "name",
                        "default", "description", "Default security group", "project_id",
                        project_id, "tags", "created_at", req->now, "updated_at", req->now,
                        "revision_number", 1, "stateful", 1);
        net_create(req, "security_group", row);
        add_first_rules(req, row, true);
    }
    json_decref(row);
    return 0;
}

int api_security_group_find(struct api_req *req, const char *project_id, const char *name_or_id,
                            char ret_id[64])
{
    json_t *rows;
    size_t n;

    if (strcmp(name_or_id, "default") == 0)
        return api_default_security_group(req, project_id, ret_id);
    rows = mirror_select(req->db, "security_group",
                         "WHERE project_id = ?1 AND (id = ?2 OR name = ?2) ORDER BY id <> ?2 "
                         "LIMIT 2",
                         "ss", project_id, name_or_id);
    n = json_array_size(rows);
    /* An id beats a name. */
    if (n > 1 && strcmp(json_str(json_array_get(rows, 0), "id", ""), name_or_id) == 0)
        n = 1;
    if (n == 1)
        snprintf(ret_id, 64, "%s", json_str(json_array_get(rows, 0), "id", ""));
    else if (n == 0)
        api_fail(req, 404, "SecurityGroupNotFound", "Security group %.100s not found.", name_or_id);
    else
        api_fail(req, 409, "NoUniqueMatch",
                 "Multiple security groups match '%.100s'. Use an ID to be more specific.",
                 name_or_id);
    json_decref(rows);
    return n == 1 ? 0 : n == 0 ? -ENOENT : -EEXIST;
}

int api_security_group_use(struct api_req *req, const char *id)
{
    json_t *group = net_get(req, "security_group", id);

    if (!group) {
        api_fail(req, 404, "SecurityGroupNotFound", "Security group %.64s does not exist", id);
        return -ENOENT;
    }
    if (json_int(group, "_rev", -1) > 0)
        store_txn_expect(req->txn, "security_group", id, json_int(group, "_rev", 0));
    net_use(req, id);
    json_decref(group);
    return 0;
}

/* ---- groups ---- */

void net_group_create(struct api_req *req)
{
    json_t *body = api_body_object(req, "security_group");
    json_t *row = body ? net_new(req, &net_security_groups, body) : NULL;

    if (!row)
        return;
    if (strcmp(json_str(row, "name", ""), "default") == 0) {
        api_fail(req, 409, "SecurityGroupDefaultAlreadyExists",
                 "Default security group already exists.");
    } else {
        net_create(req, "security_group", row);
        add_first_rules(req, row, false);
        net_reply(req, 201, &net_security_groups, row);
    }
    json_decref(row);
}

static bool is_plain_list(struct api_req *req)
{
    const char *name = api_query(req, "name"), *project = api_query(req, "project_id");

    if (!project)
        project = api_query(req, "tenant_id");
    return !api_query(req, "id") && !api_query(req, "marker") &&
           (!name || strcmp(name, "default") == 0) &&
           (!project || strcmp(project, req->auth.project_id) == 0);
}

/* A project's first look at its groups finds the default one. */
void net_group_list(struct api_req *req)
{
    char id[64];
    json_t *row;

    net_list(req, &net_security_groups);
    if (!req->auth.project_id[0] || req->status != 200 || !is_plain_list(req))
        return;
    net_derived_id("default_security_group", req->auth.project_id, id);
    row = net_get(req, "security_group", id);
    if (!row && api_default_security_group(req, req->auth.project_id, id) == 0) {
        row = net_get(req, "security_group", id);
        json_array_append_new(json_object_get(req->reply, "security_groups"),
                              net_view(req, &net_security_groups, row));
    }
    json_decref(row);
}

static bool is_default(const json_t *row)
{
    char id[64];

    net_derived_id("default_security_group", json_str(row, "project_id", ""), id);
    return strcmp(id, json_str(row, "id", "")) == 0;
}

void net_group_update(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_security_groups);

    if (row && net_change(req, &net_security_groups, row) == 0) {
        if (is_default(row) && strcmp(json_str(row, "name", ""), "default") != 0) {
            api_fail(req, 409, "SecurityGroupCannotUpdateDefault",
                     "Updating default security group not allowed.");
        } else {
            net_put(req, "security_group", row);
            net_reply(req, 200, &net_security_groups, row);
        }
    }
    json_decref(row);
}

void net_group_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_security_groups), *rules, *rule;
    const char *id = json_str(row, "id", "");
    size_t i;

    if (!row)
        return;
    net_expect_unused(req, id);
    if (is_default(row) && !req->auth.admin) {
        api_fail(req, 409, "SecurityGroupCannotRemoveDefault",
                 "Insufficient rights for removing default security group.");
    } else if (mirror_count(req->db, "port",
                            "WHERE EXISTS (SELECT 1 FROM json_each(body, '$.security_groups') AS g "
                            "WHERE g.value = ?)",
                            "s", id) > 0) {
        api_fail(req, 409, "SecurityGroupInUse", "Security Group %s in use.", id);
    } else {
        rules = mirror_select(req->db, "security_group_rule",
                              "WHERE security_group_id = ?1 OR remote_group_id = ?1 ORDER BY id",
                              "s", id);
        json_array_foreach(rules, i, rule)
        {
            net_remove(req, "security_group_rule", rule);
        }
        json_decref(rules);
        net_remove(req, "security_group", row);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
}

/* ---- rules ---- */

static const struct {
    const char *name;
    int number;
} protocols[] = {
    {"tcp", 6},         {"udp", 17},       {"icmp", 1},        {"ipv6-icmp", 58},
    {"icmpv6", 58},     {"ah", 51},        {"dccp", 33},       {"egp", 8},
    {"esp", 50},        {"gre", 47},       {"igmp", 2},        {"ipip", 4},
    {"ospf", 89},       {"pgm", 113},      {"rsvp", 46},       {"sctp", 132},
    {"udplite", 136},   {"vrrp", 112},     {"ipv6-encap", 41}, {"ipv6-frag", 44},
    {"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"ipv6-route", 43},
};

/* What a rule's protocol means, whichever way it is written: -1 for any, -2 if it means nothing. */
static int protocol_of(const json_t *row)
{
    const char *text = json_str(row, "protocol", NULL);
    bool v6 = strcmp(json_str(row, "ethertype", ""), "IPv6") == 0;
    int number = -2;

    if (!text)
        return -1;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcasecmp(text, protocols[i].name) == 0)
            number = protocols[i].number;
    }
    if (strspn(text, "0123456789") == strlen(text) && text[0] && strlen(text) <= 3 &&
        (text[0] != '0' || !text[1]) && atoi(text) <= 255)
        number = atoi(text);
    return v6 && number == 1 ? 58 : number; /* ICMP of this IP version */
}

static int check_protocol(struct api_req *req, json_t *row)
{
    static const int v6_only[] = {41, 43, 44, 58, 59, 60};
    const char *text = json_str(row, "protocol", NULL);
    bool v6 = strcmp(json_str(row, "ethertype", ""), "IPv6") == 0;
    char lower[32];
    int number;

    if (!text || strcasecmp(text, "any") == 0 || !text[0]) {
        json_put_str(row, "protocol", NULL);
        return 0;
    }
    number = protocol_of(row);
    if (number < 0) {
        api_fail(req, 400, "SecurityGroupRuleInvalidProtocol",
                 "Security group rule protocol %.50s not supported. Only protocol values tcp, udp, "
                 "icmp and so on, and integer representations [0 to 255] are supported.",
                 text);
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof(v6_only) / sizeof(v6_only[0]); i++) {
        if (!v6 && number == v6_only[i]) {
            api_fail(req, 400, "SecurityGroupEthertypeConflictWithProtocol",
                     "Invalid ethertype %s for protocol %.50s.", json_str(row, "ethertype", ""),
                     text);
            return -EINVAL;
        }
    }
    snprintf(lower, sizeof(lower), "%s", text);
    for (char *at = lower; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    /* Of its three names the API shows one. */
    json_put_str(row, "protocol", number == 58 && !isdigit(lower[0]) ? "ipv6-icmp" : lower);
    return 0;
}

static int check_icmp(struct api_req *req, int64_t type, int64_t code)
{
    if (type > 255 || code > 255) {
        api_fail(req, 400, "SecurityGroupInvalidIcmpValue",
                 "Invalid value for ICMP %s (%s) %lld. It must be 0 to 255.",
                 type > 255 ? "type" : "code", type > 255 ? "port-range-min" : "port-range-max",
                 (long long)(type > 255 ? type : code));
        return -EINVAL;
    }
    if (type < 0) {
        api_fail(req, 400, "SecurityGroupMissingIcmpType",
                 "ICMP code (port-range-max) %lld is provided but ICMP type (port-range-min) is "
                 "missing.",
                 (long long)code);
        return -EINVAL;
    }
    return 0;
}

static int check_ports(struct api_req *req, const json_t *row)
{
    int64_t min = json_int(row, "port_range_min", -1), max = json_int(row, "port_range_max", -1);
    int protocol = protocol_of(row);

    if (min < 0 && max < 0)
        return 0;
    switch (protocol) {
    case 1:
    case 58:
        return check_icmp(req, min, max);
    case 6:
    case 17:
    case 33:
    case 132:
    case 136:
        if (min > 0 && max >= min)
            return 0;
        if (min == 0 || max == 0)
            api_fail(req, 400, "SecurityGroupInvalidPortValue", "Invalid value for port 0.");
        else
            api_fail(req, 400, "SecurityGroupInvalidPortRange",
                     "For TCP/UDP protocols, port_range_min must be <= port_range_max");
        return -EINVAL;
    case -1:
        api_fail(req, 400, "SecurityGroupProtocolRequiredWithPorts",
                 "Must also specify protocol if port range is given.");
        return -EINVAL;
    default:
        api_fail(req, 400, "SecurityGroupInvalidProtocolForPort",
                 "Invalid protocol %.50s for port range, only supported for dccp, sctp, tcp, udp "
                 "and udplite.",
                 json_str(row, "protocol", ""));
        return -EINVAL;
    }
}

static int check_remote(struct api_req *req, json_t *row)
{
    const char *group = json_str(row, "remote_group_id", NULL);
    const char *prefix = json_str(row, "remote_ip_prefix", NULL);
    bool v6 = strcmp(json_str(row, "ethertype", ""), "IPv6") == 0;
    char text[IP_CIDR_TEXT_SIZE];
    struct ip_cidr cidr;
    json_t *remote;

    if (group && prefix) {
        api_fail(req, 400, "SecurityGroupRemoteGroupAndRemoteIpPrefix",
                 "Only remote_ip_prefix or remote_group_id may be provided.");
        return -EINVAL;
    }
    if (group) {
        remote = net_see(req, &net_security_groups, group);
        if (remote && json_int(remote, "_rev", -1) > 0)
            store_txn_expect(req->txn, "security_group", group, json_int(remote, "_rev", 0));
        json_decref(remote);
        if (!remote)
            return -ENOENT;
        net_use(req, group);
    }
    if (!prefix)
        return 0;
    if (ip_cidr_parse(prefix, &cidr) < 0 || (cidr.base.version == 6) != v6) {
        api_fail(req, 400, "SecurityGroupRuleParameterConflict",
                 "Conflicting value ethertype %s for CIDR %.60s", json_str(row, "ethertype", ""),
                 prefix);
        return -EINVAL;
    }
    json_put_str(row, "remote_ip_prefix", ip_cidr_format(&cidr, text));
    return 0;
}

/* Do two rules of a group let the same through? Everybody has three spellings. */
static bool same_rule(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"direction",      "ethertype",        "port_range_min",
                                       "port_range_max", "remote_ip_prefix", "remote_group_id"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *values[2] = {json_object_get(a, keys[i]), json_object_get(b, keys[i])};

        for (size_t k = 0; k < 2; k++) {
            const char *text = json_string_value(values[k]);

            if (json_is_null(values[k]) ||
                (text && strcmp(keys[i], "remote_ip_prefix") == 0 &&
                 (strcmp(text, "0.0.0.0/0") == 0 || strcmp(text, "::/0") == 0)))
                values[k] = NULL;
        }
        if (values[0] != values[1] && !json_equal(values[0], values[1]))
            return false;
    }
    return protocol_of(a) == protocol_of(b);
}

static int check_duplicate(struct api_req *req, const json_t *row)
{
    json_t *rules = net_rows(req, "security_group_rule", "security_group_id",
                             json_str(row, "security_group_id", "")),
           *rule;
    size_t i;

    json_array_foreach(rules, i, rule)
    {
        if (same_rule(rule, row)) {
            api_fail(req, 409, "SecurityGroupRuleExists",
                     "Security group rule already exists. Rule id is %s.",
                     json_str(rule, "id", ""));
            json_decref(rules);
            return -EEXIST;
        }
    }
    json_decref(rules);
    return 0;
}

/* The body, with a protocol that is a number as the text that it is stored as. */
static json_t *rule_body(const json_t *body)
{
    json_t *copy = json_copy((json_t *)body), *protocol = json_object_get(body, "protocol");
    char text[32];

    if (json_is_integer(protocol)) {
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(protocol));
        json_put_str(copy, "protocol", text);
    }
    return copy;
}

static json_t *make_rule(struct api_req *req, const json_t *body)
{
    json_t *given = rule_body(body), *group = NULL;
    json_t *row = net_new(req, &net_security_group_rules, given);
    bool good = false;

    json_decref(given);
    if (row)
        group = net_own(req, &net_security_groups, json_str(row, "security_group_id", ""));
    if (group)
        good = check_protocol(req, row) == 0 && check_ports(req, row) == 0 &&
               check_remote(req, row) == 0 && check_duplicate(req, row) == 0;
    if (good) {
        json_object_set(row, "project_id", json_object_get(group, "project_id"));
        json_put_int(row, "revision_number", 0);
        net_create(req, "security_group_rule", row);
        /* The group's revision is what keeps it from going, and two equal rules from coming. */
        net_put(req, "security_group", group);
    }
    json_decref(group);
    if (good)
        return row;
    json_decref(row);
    return NULL;
}

void net_rule_create(struct api_req *req)
{
    net_post(req, &net_security_group_rules, make_rule);
}

void net_rule_delete(struct api_req *req)
{
    json_t *row = net_own_param(req, &net_security_group_rules), *group;

    if (!row)
        return;
    group = net_get(req, "security_group", json_str(row, "security_group_id", ""));
    net_remove(req, "security_group_rule", row);
    if (group)
        net_put(req, "security_group", group);
    api_reply(req, 204, NULL);
    json_decref(group);
    json_decref(row);
}
