/* Nova v2.1: https://docs.openstack.org/api-ref/compute/
 *
 * A server has two rows: `server` is what is wanted and is written by the API and by the
 * controllers' planner (host_id, generation); `server_state` is what is, and is written only by the
 * agent of the host that owns the server's generation. model/server.h joins them into a status. */
#include "model/tables.h"

#define CU (FIELD_CREATE | FIELD_UPDATE)

static const char *const powers[] = {"running", "stopped", "paused", "deleted", NULL};
static const char *const disk_configs[] = {"AUTO", "MANUAL", NULL};
static const char *const lockers[] = {"owner", "admin", NULL};

/* Most are shown as they stand; api/compute_view.c shows those with FIELD_FORMED and adds what
 * follows from other rows. */
static const struct field server_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | CU | FIELD_INDEX,
     .min = 1,
     .doc = "not only blanks; as a filter a regular expression"},
    {.name = "project_id", .json = "tenant_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_NULL, .since = 19},
    {.name = "access_ipv4",
     .json = "accessIPv4",
     .type = FIELD_STR,
     .flags = CU,
     .fallback = "\"\"",
     .doc = "an IPv4 address, or empty; kept as given"},
    {.name = "access_ipv6",
     .json = "accessIPv6",
     .type = FIELD_STR,
     .flags = CU,
     .fallback = "\"\"",
     .doc = "an IPv6 address, or empty; kept as given"},
    {.name = "disk_config",
     .json = "OS-DCF:diskConfig",
     .type = FIELD_STR,
     .flags = CU,
     .choices = disk_configs,
     .fallback = "\"MANUAL\"",
     .doc = "kept as given: nothing inside of a disk is changed"},
    {.name = "image_id",
     .type = FIELD_ID,
     .flags = FIELD_INDEX | FIELD_FORMED,
     .doc = "\"\" when booted from a volume"},
    {.name = "flavor",
     .type = FIELD_OBJECT,
     .flags = FIELD_FORMED,
     .doc = "copy: id name vcpus ram disk ephemeral swap extra_specs"},
    {.name = "flavor_id",
     .type = FIELD_ID,
     .flags = FIELD_INDEX | FIELD_FORMED,
     .doc = "of the flavor it was made from"},
    {.name = "key_name",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX,
     .doc = "of the user's key pair"},
    {.name = "public_key",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INTERNAL,
     .max = 16384,
     .doc = "as it was at create"},
    {.name = "user_data",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_FORMED | FIELD_SECRET,
     .max = 65535,
     .doc = "base64"},
    {.name = "metadata",
     .type = FIELD_OBJECT,
     .flags = FIELD_CREATE,
     .max = SERVER_METADATA_MAX,
     .fallback = "{}",
     .doc = "of texts"},
    {.name = "security_groups",
     .type = FIELD_LIST,
     .flags = FIELD_FORMED,
     .doc = "ids of those given at create"},
    {.name = "config_drive",
     .type = FIELD_BOOL,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .fallback = "false",
     .doc = "has one; shown as \"True\" or \"\""},
    {.name = "availability_zone",
     .type = FIELD_STR,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX | FIELD_FORMED,
     .doc = "asked for; a zone is a cabinet"},
    {.name = "server_group_id",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_INDEX | FIELD_INTERNAL,
     .doc = "whose policy places it; null: none"},
    {.name = "host_id",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_INDEX | FIELD_FORMED,
     .doc = "planner's choice; null: not placed yet"},
    {.name = "generation",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .doc = "grows with each move; older writers are void"},
    {.name = "move_to",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_INTERNAL,
     .doc = "planner's: where its host is to hand it over to; null: it stays"},
    {.name = "stays",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INTERNAL,
     .doc = "planner's: why it cannot leave its drained host; null: it can, or need not"},
    {.name = "power",
     .type = FIELD_STR,
     .flags = FIELD_INDEX | FIELD_INTERNAL,
     .choices = powers,
     .doc = "wanted"},
    {.name = "reboot_serial",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .doc = "grows with each reboot asked for"},
    {.name = "reboot_hard",
     .type = FIELD_BOOL,
     .flags = FIELD_INTERNAL,
     .doc = "the last reboot asked for"},
    {.name = "locked",
     .type = FIELD_BOOL,
     .fallback = "false",
     .since = 9,
     .doc = "true: only administrators change the server"},
    {.name = "locked_by",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INTERNAL,
     .choices = lockers,
     .doc = "an administrator's lock is not undone by the owner"},
    {.name = "launch_index",
     .json = "OS-EXT-SRV-ATTR:launch_index",
     .type = FIELD_INT,
     .flags = FIELD_ADMIN,
     .since = 3,
     .doc = "among those of one request"},
    {.name = "reservation_id",
     .json = "OS-EXT-SRV-ATTR:reservation_id",
     .type = FIELD_STR,
     .flags = FIELD_ADMIN | FIELD_NULL | FIELD_INDEX,
     .since = 3,
     .doc = "of the request that made it; also its owner may filter by it"},
    {.name = "request_id",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INTERNAL,
     .doc = "of the request that made it"},
    {.name = "fault",
     .type = FIELD_OBJECT,
     .flags = FIELD_NULL | FIELD_FORMED,
     .doc = "planner's: code, message, created (e.g. no host fits)"},
    {.name = "created_at", .json = "created", .type = FIELD_TIME, .flags = FIELD_INDEX},
    {.name = "updated_at",
     .json = "updated",
     .type = FIELD_TIME,
     .flags = FIELD_INDEX,
     .doc = "or later, when its host told something new"},
};

const struct resource resource_server = {
    .table = "server",
    .service = "compute",
    .singular = "server",
    .plural = "servers",
    RESOURCE_FIELDS(server_fields),
    .quotas =
        (const struct quota_use[]){
            {.name = "cores", .owner = "project_id", .amount = "flavor.vcpus"},
            {.name = "instances", .owner = "project_id"},
            {.name = "ram", .owner = "project_id", .amount = "flavor.ram"},
            {.name = "server_group_members",
             .owner = "server_group_id",
             .refusal = "Quota exceeded, too many servers in group"},
            {.name = NULL},
        },
    .limits = &resource_compute_quota,
    .form =
        "Create also takes Nova's imageRef, flavorRef, networks, security_groups, adminPass, "
        "min_count, max_count, return_reservation_id and the scheduler hint group. Shown are also "
        "status, task and power state, addresses, fault, image, flavor, host, zone and links, made "
        "from this row, its server_state and its ports. More filters: image, flavor, uuid, "
        "reservation_id, status, vm_state, power_state (number or name), availability_zone, ip, "
        "ip6, changes-since; of administrators also host and all_tenants with tenant_id. Servers "
        "that were deleted are not remembered: deleted and the status DELETED find none.",
    .doc = "A virtual server (VPS), as wanted.",
};

/* id = the server's. Written at what is done to a server after its creation (which the server's own
 * row tells); the row outlives the server for a while. */
static const struct field server_log_fields[] = {
    {.name = "id", .type = FIELD_STR, .doc = "the server's"},
    {.name = "project_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "actions",
     .type = FIELD_LIST,
     .max = SERVER_ACTIONS_MAX,
     .doc = "the newest, oldest first: action, request_id, user_id, project_id, start_time"},
    {.name = "deleted_at",
     .type = FIELD_TIME,
     .flags = FIELD_NULL | FIELD_INDEX,
     .doc = "of the server: null while nobody deleted it"},
};

const struct resource resource_server_log = {
    .table = "server_log",
    .singular = "server_log",
    .plural = "server_logs",
    RESOURCE_FIELDS(server_log_fields),
    .doc = "What was asked to be done to a server, by whom and when.",
};

static const char *const observed[] = {"building", "running", "stopped", "paused", "error", NULL};

static const struct field server_state_fields[] = {
    {.name = "id", .type = FIELD_STR, .doc = "the server's"},
    {.name = "host_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "generation",
     .type = FIELD_INT,
     .doc = "which of the server's generations this tells of"},
    {.name = "power", .type = FIELD_STR, .flags = FIELD_INDEX, .choices = observed, .doc = "seen"},
    {.name = "reboot_serial", .type = FIELD_INT, .doc = "last reboot done"},
    {.name = "fault", .type = FIELD_OBJECT, .flags = FIELD_NULL, .doc = "code, message, created"},
    {.name = "launched_at", .type = FIELD_TIME, .flags = FIELD_NULL, .doc = "first began to run"},
    {.name = "updated_at", .type = FIELD_TIME},
};

const struct resource resource_server_state = {
    .table = "server_state",
    .singular = "server_state",
    .plural = "server_states",
    RESOURCE_FIELDS(server_state_fields),
    .doc = "A server as its host's agent sees it.",
};

static const struct field flavor_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_CREATE},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .min = 1},
    {.name = "vcpus",
     .type = FIELD_INT,
     .flags = FIELD_REQUIRED | FIELD_CREATE,
     .min = 1,
     .max = 256},
    {.name = "ram",
     .type = FIELD_INT,
     .flags = FIELD_REQUIRED | FIELD_CREATE,
     .min = 1,
     .max = 16777216,
     .doc = "MiB"},
    {.name = "disk",
     .type = FIELD_INT,
     .flags = FIELD_REQUIRED | FIELD_CREATE,
     .max = 1048576,
     .doc = "GiB; 0: as big as the image"},
    {.name = "ephemeral",
     .json = "OS-FLV-EXT-DATA:ephemeral",
     .type = FIELD_INT,
     .flags = FIELD_CREATE,
     .max = 1048576,
     .fallback = "0",
     .doc = "GiB, kept as given"},
    {.name = "swap",
     .type = FIELD_INT,
     .flags = FIELD_CREATE,
     .max = 1048576,
     .fallback = "0",
     .doc = "MiB, kept as given"},
    {.name = "rxtx_factor",
     .type = FIELD_ANY,
     .flags = FIELD_CREATE,
     .fallback = "1.0",
     .doc = "kept as given"},
    {.name = "is_public",
     .json = "os-flavor-access:is_public",
     .type = FIELD_BOOL,
     .flags = FIELD_CREATE,
     .fallback = "true",
     .doc = "false: administrators see it, and the projects that have access"},
    {.name = "disabled",
     .json = "OS-FLV-DISABLED:disabled",
     .type = FIELD_BOOL,
     .fallback = "false"},
    {.name = "extra_specs",
     .type = FIELD_OBJECT,
     .flags = FIELD_INTERNAL,
     .fallback = "{}",
     .doc = "kept as given"},
    {.name = "projects",
     .type = FIELD_LIST,
     .of = FIELD_ID,
     .flags = FIELD_INTERNAL,
     .max = FLAVOR_PROJECTS_MAX,
     .fallback = "[]",
     .doc = "that have access to a private one"},
};

const struct resource resource_flavor = {
    .table = "flavor",
    .service = "compute",
    .singular = "flavor",
    .plural = "flavors",
    RESOURCE_FIELDS(flavor_fields),
    .form = "Links are added. More filters: is_public (administrators), minRam, minDisk.",
    .doc = "A size of server.",
};

/* id = "<user id>.<name>"; a long name stands there as its hash */
static const struct field keypair_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_INTERNAL},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .min = 1},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "type",
     .type = FIELD_STR,
     .flags = FIELD_CREATE,
     .fallback = "\"ssh\"",
     .since = 2,
     .doc = "ssh"},
    {.name = "public_key",
     .type = FIELD_STR,
     .flags = FIELD_CREATE,
     .max = 16384,
     .doc = "none given: a pair is made"},
    {.name = "fingerprint", .type = FIELD_STR, .doc = "MD5 of the key"},
    {.name = "created_at", .type = FIELD_TIME},
};

const struct resource resource_keypair = {
    .table = "keypair",
    .service = "compute",
    .singular = "keypair",
    .plural = "keypairs",
    RESOURCE_FIELDS(keypair_fields),
    .quotas =
        (const struct quota_use[]){
            {.name = "key_pairs",
             .owner = "user_id",
             .refusal = "Quota exceeded, too many key pairs."},
            {.name = NULL},
        },
    .limits = &resource_compute_quota,
    .form = "Without public_key a pair is made, and private_key is shown this once.",
    .doc = "A user's SSH public key.",
};

static const char *const policies[] = {"affinity", "anti-affinity", "soft-affinity",
                                       "soft-anti-affinity", NULL};

/* Its members are the servers whose server_group_id it is. */
static const struct field server_group_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .min = 1},
    {.name = "policy",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_FORMED,
     .choices = policies,
     .doc = "the one element of the list policies"},
    {.name = "project_id", .type = FIELD_ID, .flags = FIELD_INDEX, .since = 13},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX, .since = 13},
    {.name = "created_at", .type = FIELD_TIME, .flags = FIELD_INDEX | FIELD_INTERNAL},
};

const struct resource resource_server_group = {
    .table = "server_group",
    .service = "compute",
    .singular = "server_group",
    .plural = "server_groups",
    RESOURCE_FIELDS(server_group_fields),
    .quotas =
        (const struct quota_use[]){
            {.name = "server_groups",
             .owner = "project_id",
             .refusal = "Quota exceeded, too many server groups."},
            {.name = NULL},
        },
    .limits = &resource_compute_quota,
    .form = "The policy stands in the list policies; members lists the servers. Administrators "
            "list those of everybody with all_projects.",
    .doc = "Servers that are to be on one host, or each on a host of its own.",
};

/* id = the project's, or "default" for the class of those that have none of their own. Only what
 * was set is stored. Nothing is limited (-1) until an operator says so: a create under a limit
 * waits for the other ones of its project. */
#define LIMIT(quantity)                                                                            \
    {                                                                                              \
        .name = quantity, .type = FIELD_INT, .flags = CU, .min = -1, .max = INT32_MAX,             \
        .fallback = "-1"                                                                           \
    }
#define FIXED(quantity, value, why)                                                                \
    {                                                                                              \
        .name = quantity, .type = FIELD_INT, .fallback = value, .doc = why                         \
    }

static const struct field compute_quota_fields[] = {
    {.name = "id", .type = FIELD_STR},
    LIMIT("cores"),
    FIXED("fixed_ips", "-1", "limited by the network service's port"),
    FIXED("floating_ips", "-1", "limited by the network service"),
    FIXED("injected_file_content_bytes", "0", "not offered"),
    FIXED("injected_file_path_bytes", "0", "not offered"),
    FIXED("injected_files", "0", "not offered"),
    LIMIT("instances"),
    LIMIT("key_pairs"),
    {.name = "metadata_items",
     .type = FIELD_INT,
     .flags = CU,
     .max = SERVER_METADATA_MAX,
     .fallback = "128",
     .doc = "of one server"},
    LIMIT("ram"),
    FIXED("security_group_rules", "-1", "limited by the network service"),
    FIXED("security_groups", "-1", "limited by the network service"),
    LIMIT("server_group_members"),
    LIMIT("server_groups"),
};

const struct resource resource_compute_quota = {
    .table = "compute_quota",
    .service = "compute",
    .title = "quota",
    .singular = "quota_set",
    .plural = "quota_sets",
    RESOURCE_FIELDS(compute_quota_fields),
    .doc = "How much of the compute service a project may have.",
};
