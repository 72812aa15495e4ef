/* Neutron v2.0: https://docs.openstack.org/api-ref/network/v2/ */
#include "model/tables.h"

#define CU (FIELD_CREATE | FIELD_UPDATE)
#define COMMON                                                                                     \
    {.name = "id", .type = FIELD_STR, .flags = FIELD_INDEX},                                       \
        {.name = "name", .type = FIELD_STR, .flags = CU | FIELD_INDEX, .fallback = "\"\""},        \
        {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_INDEX, .fallback = "\"\""}, \
        {.name = "project_id",                                                                     \
         .type = FIELD_ID,                                                                         \
         .flags = FIELD_INDEX,                                                                     \
         .doc = "the token's; administrators may give another one at create"},                     \
        {.name = "tags",                                                                           \
         .type = FIELD_LIST,                                                                       \
         .flags = FIELD_FILTER,                                                                    \
         .fallback = "[]",                                                                         \
         .doc = "set by the routes of tags; filters: tags, tags-any, not-tags, not-tags-any"},     \
        {.name = "created_at", .type = FIELD_TIME}, {.name = "updated_at", .type = FIELD_TIME},    \
    {                                                                                              \
        .name = "revision_number", .type = FIELD_INT, .doc = "counts updates, from 1"              \
    }

static const struct field network_fields[] = {
    COMMON,
    {.name = "admin_state_up", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "true"},
    {.name = "status", .type = FIELD_STR, .flags = FIELD_INDEX, .doc = "ACTIVE"},
    {.name = "shared",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX | FIELD_ADMIN_SETS,
     .fallback = "false",
     .doc = "all projects may use it"},
    {.name = "external",
     .json = "router:external",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX | FIELD_ADMIN_SETS,
     .fallback = "false",
     .doc = "leads outside: for gateways and floating IPs"},
    {.name = "mtu",
     .type = FIELD_INT,
     .flags = CU | FIELD_INDEX,
     .min = 68,
     .max = 65535,
     .fallback = "1450",
     .doc = "bytes; a flat one: 1500"},
    {.name = "port_security_enabled",
     .type = FIELD_BOOL,
     .flags = CU,
     .fallback = "true",
     .doc = "of new ports"},
    {.name = "network_type",
     .json = "provider:network_type",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_ADMIN | FIELD_INDEX,
     .doc = "vxlan, or flat for an external one"},
    {.name = "physical_network",
     .json = "provider:physical_network",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_ADMIN | FIELD_NULL,
     .doc = "the wire of a flat one"},
    {.name = "segmentation_id",
     .json = "provider:segmentation_id",
     .type = FIELD_INT,
     .flags = FIELD_CREATE | FIELD_ADMIN | FIELD_NULL | FIELD_INDEX,
     .min = 1,
     .max = 16777215,
     .doc = "the VNI; its uniqueness is held by a row of table vni"},
    {.name = "dhcp_hosts",
     .type = FIELD_LIST,
     .flags = FIELD_INTERNAL,
     .fallback = "[]",
     .doc = "planner's choice of the hosts that serve DHCP and metadata"},
};

const struct resource resource_network = {
    .table = "network",
    .service = "network",
    .singular = "network",
    .plural = "networks",
    RESOURCE_FIELDS(network_fields),
    RESOURCE_COUNTS("network", resource_network_quota),
    .form = "Shown besides: subnets, availability zones and members of features that are not "
            "offered, null.",
    .doc = "A tenant's or an external layer 2 network.",
};

static const struct field pool_members[] = {
    {.name = "start", .type = FIELD_IP, .flags = FIELD_REQUIRED},
    {.name = "end", .type = FIELD_IP, .flags = FIELD_REQUIRED},
    {.name = NULL},
};

static const struct field route_members[] = {
    {.name = "destination", .type = FIELD_STR, .flags = FIELD_REQUIRED},
    {.name = "nexthop", .type = FIELD_IP, .flags = FIELD_REQUIRED},
    {.name = NULL},
};

static const struct field address_members[] = {
    {.name = "subnet_id", .type = FIELD_ID, .flags = FIELD_NULL},
    {.name = "ip_address", .type = FIELD_IP, .flags = FIELD_NULL},
    {.name = NULL},
};

static const struct field subnet_fields[] = {
    COMMON,
    {.name = "network_id", .type = FIELD_ID, .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX},
    {.name = "ip_version",
     .type = FIELD_INT,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .min = 4,
     .max = 6},
    {.name = "cidr",
     .type = FIELD_CIDR,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .doc = "of the addresses; needed"},
    {.name = "gateway_ip",
     .type = FIELD_IP,
     .flags = CU | FIELD_NULL | FIELD_INDEX,
     .doc = "none given: the first address; null: none"},
    {.name = "enable_dhcp",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "true",
     .doc = "addresses and metadata are told by DHCP"},
    {.name = "allocation_pools",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = CU,
     .max = 64,
     .members = pool_members,
     .doc = "of {start, end}"},
    {.name = "dns_nameservers",
     .type = FIELD_LIST,
     .of = FIELD_IP,
     .flags = CU,
     .max = 5,
     .fallback = "[]"},
    {.name = "host_routes",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = CU,
     .max = 20,
     .fallback = "[]",
     .members = route_members,
     .doc = "of {destination, nexthop}"},
};

const struct resource resource_subnet = {
    .table = "subnet",
    .service = "network",
    .singular = "subnet",
    .plural = "subnets",
    RESOURCE_FIELDS(subnet_fields),
    RESOURCE_COUNTS("subnet", resource_network_quota),
    .doc = "Addresses of a network.",
};

static const struct field pair_members[] = {
    {.name = "ip_address", .type = FIELD_STR, .flags = FIELD_REQUIRED},
    {.name = "mac_address", .type = FIELD_MAC, .flags = FIELD_NULL},
    {.name = NULL},
};

static const struct field dhcp_option_members[] = {
    {.name = "opt_name", .type = FIELD_STR, .flags = FIELD_REQUIRED},
    {.name = "opt_value", .type = FIELD_STR, .flags = FIELD_NULL},
    {.name = "ip_version", .type = FIELD_INT, .flags = FIELD_NULL, .min = 4, .max = 6},
    {.name = NULL},
};

static const struct field port_fields[] = {
    COMMON,
    {.name = "network_id", .type = FIELD_ID, .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX},
    {.name = "mac_address",
     .type = FIELD_MAC,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .doc = "none given: one is drawn"},
    {.name = "fixed_ips",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = CU | FIELD_FILTER,
     .max = 16,
     .members = address_members,
     .doc = "of {subnet_id, ip_address}; uniqueness is held by rows of table ip"},
    {.name = "device_id",
     .type = FIELD_STR,
     .flags = CU | FIELD_INDEX,
     .fallback = "\"\"",
     .doc = "the server or router behind it; another project's: by administrators"},
    {.name = "device_owner",
     .type = FIELD_STR,
     .flags = CU | FIELD_INDEX,
     .fallback = "\"\"",
     .doc = "compute:<zone> network:router_interface network:router_gateway network:dhcp "
            "network:floatingip; network:*: by administrators"},
    {.name = "admin_state_up",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "true",
     .doc = "false: carries nothing"},
    {.name = "status",
     .type = FIELD_STR,
     .flags = FIELD_NOT_STORED | FIELD_FILTER,
     .doc = "ACTIVE or DOWN"},
    {.name = "security_groups",
     .type = FIELD_LIST,
     .of = FIELD_ID,
     .flags = CU | FIELD_FILTER,
     .max = 64,
     .doc = "none given: the project's default one"},
    {.name = "port_security_enabled",
     .type = FIELD_BOOL,
     .flags = CU,
     .fallback = "true",
     .doc = "false: neither security groups nor anti-spoofing"},
    {.name = "allowed_address_pairs",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = CU,
     .max = 32,
     .fallback = "[]",
     .members = pair_members,
     .doc = "of {ip_address, mac_address}"},
    {.name = "extra_dhcp_opts",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = CU,
     .max = 32,
     .fallback = "[]",
     .members = dhcp_option_members,
     .doc = "of {opt_name, opt_value}, kept as given"},
    {.name = "host_id",
     .json = "binding:host_id",
     .type = FIELD_STR,
     .flags = CU | FIELD_ADMIN | FIELD_INDEX,
     .fallback = "\"\"",
     .doc = "where the port's device is now: follows server, router and DHCP placement"},
    {.name = "vnic_type",
     .json = "binding:vnic_type",
     .type = FIELD_STR,
     .flags = CU,
     .fallback = "\"normal\"",
     .doc = "kept as given"},
    {.name = "device_index",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .doc = "place among the ports of its server, from 0, as the client named them"},
    {.name = "device_project",
     .type = FIELD_ID,
     .flags = FIELD_INTERNAL | FIELD_NULL,
     .doc = "whose the device is, where an administrator joined two projects' things; null: the "
            "port's own project's"},
    {.name = "kept",
     .type = FIELD_BOOL,
     .flags = FIELD_INTERNAL,
     .fallback = "false",
     .doc = "stays when its server is deleted: a client made it before the server"},
};

const struct resource resource_port = {
    .table = "port",
    .service = "network",
    .singular = "port",
    .plural = "ports",
    RESOURCE_FIELDS(port_fields),
    RESOURCE_COUNTS("port", resource_network_quota),
    .form =
        "On a network of another project only administrators choose `mac_address` and "
        "addresses, set `port_security_enabled` or give `allowed_address_pairs`, and on an "
        "external one only they make ports. The port of DHCP comes back when it is deleted while "
        "a subnet has DHCP.",
    .doc = "A connection to a network: MAC and IP addresses.",
};

static const struct field gateway_members[] = {
    {.name = "network_id", .type = FIELD_ID, .flags = FIELD_NULL},
    {.name = "enable_snat", .type = FIELD_BOOL},
    {.name = "external_fixed_ips",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .max = 16,
     .members = address_members},
    {.name = NULL},
};

static const struct field router_fields[] = {
    COMMON,
    {.name = "admin_state_up", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "true"},
    {.name = "status", .type = FIELD_STR, .flags = FIELD_INDEX, .fallback = "\"ACTIVE\""},
    {.name = "external_gateway_info",
     .type = FIELD_OBJECT,
     .flags = CU | FIELD_NULL,
     .members = gateway_members,
     .doc = "network_id, enable_snat, external_fixed_ips"},
    {.name = "routes",
     .type = FIELD_LIST,
     .of = FIELD_OBJECT,
     .flags = FIELD_UPDATE,
     .max = 30,
     .fallback = "[]",
     .members = route_members,
     .doc = "of {destination, nexthop}"},
    {.name = "gateway_port_id",
     .type = FIELD_ID,
     .flags = FIELD_INTERNAL | FIELD_NULL,
     .doc = "its port on the external network"},
    {.name = "host_id",
     .type = FIELD_ID,
     .flags = FIELD_INTERNAL | FIELD_NULL | FIELD_INDEX,
     .doc = "planner's choice: which host runs it"},
    {.name = "generation",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .fallback = "0",
     .doc = "grows with each move"},
};

const struct resource resource_router = {
    .table = "router",
    .service = "network",
    .singular = "router",
    .plural = "routers",
    RESOURCE_FIELDS(router_fields),
    RESOURCE_COUNTS("router", resource_network_quota),
    .doc = "Joins subnets; NAT and floating IPs to an external network.",
};

static const struct field floatingip_fields[] = {
    COMMON,
    {.name = "floating_network_id",
     .type = FIELD_ID,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .doc = "the external network"},
    {.name = "floating_ip_address",
     .type = FIELD_IP,
     .flags = FIELD_CREATE | FIELD_INDEX | FIELD_ADMIN_SETS,
     .doc = "none given: one is drawn"},
    {.name = "port_id",
     .type = FIELD_ID,
     .flags = CU | FIELD_NULL | FIELD_INDEX,
     .doc = "where it leads; null: nowhere"},
    {.name = "fixed_ip_address",
     .type = FIELD_IP,
     .flags = CU | FIELD_NULL | FIELD_INDEX,
     .doc = "which of the port's addresses"},
    {.name = "router_id",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_INDEX,
     .doc = "that translates it"},
    {.name = "status",
     .type = FIELD_STR,
     .flags = FIELD_NOT_STORED | FIELD_FILTER,
     .doc = "ACTIVE or DOWN"},
    {.name = "floating_port_id",
     .type = FIELD_ID,
     .flags = FIELD_INTERNAL,
     .doc = "the port on the external network that reserves the address"},
};

const struct resource resource_floatingip = {
    .table = "floatingip",
    .service = "network",
    .title = "floating IP",
    .singular = "floatingip",
    .plural = "floatingips",
    RESOURCE_FIELDS(floatingip_fields),
    RESOURCE_COUNTS("floatingip", resource_network_quota),
    .form = "Shown besides: port_details.",
    .doc = "An external address that leads to a port.",
};

static const struct field security_group_fields[] = {
    COMMON,
    {.name = "stateful",
     .type = FIELD_BOOL,
     .flags = CU,
     .fallback = "true",
     .doc = "kept as given"},
};

const struct resource resource_security_group = {
    .table = "security_group",
    .service = "network",
    .singular = "security_group",
    .plural = "security_groups",
    RESOURCE_FIELDS(security_group_fields),
    RESOURCE_COUNTS("security_group", resource_network_quota),
    .form = "Shown besides: security_group_rules.",
    .doc = "What traffic a port lets in and out.",
};

static const char *const directions[] = {"ingress", "egress", NULL};
static const char *const ethertypes[] = {"IPv4", "IPv6", NULL};

static const struct field security_group_rule_fields[] = {
    COMMON,
    {.name = "security_group_id",
     .type = FIELD_ID,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX},
    {.name = "direction",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .choices = directions},
    {.name = "ethertype",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .choices = ethertypes,
     .fallback = "\"IPv4\""},
    {.name = "protocol",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX,
     .doc = "name or number; null: any"},
    {.name = "port_range_min",
     .type = FIELD_INT,
     .flags = FIELD_CREATE | FIELD_NULL,
     .max = 65535,
     .doc = "ICMP: type"},
    {.name = "port_range_max",
     .type = FIELD_INT,
     .flags = FIELD_CREATE | FIELD_NULL,
     .max = 65535,
     .doc = "ICMP: code"},
    {.name = "remote_ip_prefix",
     .type = FIELD_CIDR,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX,
     .doc = "whom it speaks with; null: anybody"},
    {.name = "remote_group_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX,
     .doc = "ports of this group"},
};

const struct resource resource_security_group_rule = {
    .table = "security_group_rule",
    .service = "network",
    .singular = "security_group_rule",
    .plural = "security_group_rules",
    RESOURCE_FIELDS(security_group_rule_fields),
    RESOURCE_COUNTS("security_group_rule", resource_network_quota),
    .doc = "One thing that a security group lets through.",
};

/* id = "<network id>.<address>": whoever creates the row owns the address. */
static const struct field ip_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "subnet_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "port_id", .type = FIELD_ID, .flags = FIELD_INDEX},
};

const struct resource resource_ip = {
    .table = "ip",
    .singular = "ip",
    .plural = "ips",
    RESOURCE_FIELDS(ip_fields),
    .doc = "One used address; makes double allocation impossible.",
};

/* id = the VNI in decimal. */
static const struct field vni_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "network_id", .type = FIELD_ID, .flags = FIELD_INDEX},
};

const struct resource resource_vni = {
    .table = "vni",
    .singular = "vni",
    .plural = "vnis",
    RESOURCE_FIELDS(vni_fields),
    .doc = "One used VXLAN network identifier.",
};

/* id = the id of what is guarded. Who begins to use a thing writes its guard without a
 * precondition, so users do not disturb each other; who removes the thing expects the guard unmoved
 * since it saw that nobody uses it. */
static const struct field guard_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "at", .type = FIELD_TIME, .doc = "of the last new use"},
};

const struct resource resource_guard = {
    .table = "guard",
    .singular = "guard",
    .plural = "guards",
    RESOURCE_FIELDS(guard_fields),
    .doc = "Keeps a network, security group, port or router from going while somebody begins to "
           "use it.",
};

/* id = the project's. Only what was set is stored; what is missing has the default, which is
 * "unlimited" (-1): a create under a limit waits for the other ones of its project. */
#define LIMIT(quantity)                                                                            \
    {                                                                                              \
        .name = quantity, .type = FIELD_INT, .flags = CU, .min = -1, .max = INT32_MAX,             \
        .fallback = "-1"                                                                           \
    }
#define NEVER_ANY(quantity)                                                                        \
    {                                                                                              \
        .name = quantity, .type = FIELD_INT, .fallback = "0", .doc = "not offered"                 \
    }

static const struct field network_quota_fields[] = {
    {.name = "id", .type = FIELD_STR},
    LIMIT("network"),
    LIMIT("subnet"),
    LIMIT("port"),
    LIMIT("router"),
    LIMIT("floatingip"),
    LIMIT("security_group"),
    LIMIT("security_group_rule"),
    NEVER_ANY("subnetpool"),
    NEVER_ANY("rbac_policy"),
};

const struct resource resource_network_quota = {
    .table = "network_quota",
    .service = "network",
    .title = "quota",
    .singular = "quota",
    .plural = "quotas",
    RESOURCE_FIELDS(network_quota_fields),
    .doc = "How much of the network a project may have.",
};
