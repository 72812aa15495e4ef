/* The cloud's own rows: hosts, modules, events, settings. */
#include "model/tables.h"

static const char *const host_states[] = {"joining", "up", "suspect", "lost", "fenced", NULL};

static const struct field host_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "host name"},
    {.name = "cabinet",
     .type = FIELD_STR,
     .flags = FIELD_INDEX | FIELD_LISTED,
     .doc = "failure domain"},
    {.name = "state",
     .type = FIELD_STR,
     .flags = FIELD_INDEX | FIELD_LISTED,
     .choices = host_states,
     .doc = "as the controllers decided it"},
    {.name = "lease",
     .type = FIELD_BOOL,
     .flags = FIELD_NOT_STORED | FIELD_LISTED,
     .doc = "held now"},
    {.name = "roles",
     .type = FIELD_LIST,
     .of = FIELD_STR,
     .flags = FIELD_LISTED,
     .doc = "controller, compute, network, storage"},
    {.name = "servers",
     .type = FIELD_INT,
     .flags = FIELD_NOT_STORED | FIELD_LISTED,
     .doc = "placed on it"},
    {.name = "routers",
     .type = FIELD_INT,
     .flags = FIELD_NOT_STORED | FIELD_LISTED,
     .doc = "placed on it"},
    {.name = "accel", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "kvm or tcg, as probed"},
    {.name = "version", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "of vlingd"},
    {.name = "disabled",
     .type = FIELD_BOOL,
     .flags = FIELD_LISTED,
     .doc = "no new servers here (maintenance)"},
    {.name = "disabled_reason",
     .type = FIELD_STR,
     .flags = FIELD_NULL,
     .max = 255,
     .doc = "as whoever disabled it said; null: nothing was said"},
    {.name = "mgmt_ip", .type = FIELD_IP, .flags = FIELD_LISTED, .doc = "management plane"},
    {.name = "age",
     .type = FIELD_STR,
     .flags = FIELD_NOT_STORED | FIELD_LISTED,
     .doc = "of the state"},
    {.name = "reason",
     .type = FIELD_STR,
     .flags = FIELD_LISTED,
     .max = 1024,
     .doc = "of the state"},
    {.name = "tenant_ip", .type = FIELD_IP, .doc = "tenant plane: the VXLAN end point"},
    {.name = "storage_ip", .type = FIELD_IP, .flags = FIELD_NULL, .doc = "storage plane"},
    {.name = "epoch",
     .type = FIELD_INT,
     .doc = "at first the time in seconds; grows each time the host was declared lost"},
    {.name = "since", .type = FIELD_TIME, .doc = "of the state"},
    {.name = "alert",
     .type = FIELD_STR,
     .flags = FIELD_NULL,
     .max = 1024,
     .doc = "what an operator should look after, as the host sees it"},
    {.name = "draining", .type = FIELD_BOOL, .doc = "what runs here is moved elsewhere"},
    {.name = "vcpus", .type = FIELD_INT, .doc = "of the machine"},
    {.name = "ram_mb", .type = FIELD_INT, .doc = "of the machine"},
    {.name = "disk_gb", .type = FIELD_INT, .doc = "of the machine"},
    {.name = "planes",
     .type = FIELD_OBJECT,
     .doc = "tenant, external -> up or down: the links as the host sees them"},
    {.name = "silent",
     .type = FIELD_LIST,
     .of = FIELD_STR,
     .doc = "planes on which the controllers do not hear it, though they do on others"},
    {.name = "key_id",
     .type = FIELD_STR,
     .doc = "hash of its public key: certificates of its name are for this one only"},
    {.name = "certificate_ends", .type = FIELD_TIME, .doc = "when, unless it is renewed before"},
};

const struct resource resource_host = {
    .table = "host",
    .singular = "host",
    .plural = "hosts",
    RESOURCE_FIELDS(host_fields),
    .doc = "One physical machine that runs vlingd.",
};

static const struct field module_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "e.g. api-vip"},
    {.name = "master",
     .type = FIELD_ID,
     .flags = FIELD_INDEX | FIELD_NULL | FIELD_LISTED,
     .doc = "host that does it"},
    {.name = "standby",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_LISTED,
     .doc = "host that does it next"},
    {.name = "backup",
     .type = FIELD_ID,
     .flags = FIELD_NULL | FIELD_LISTED,
     .doc = "host after that"},
    {.name = "generation",
     .type = FIELD_INT,
     .flags = FIELD_LISTED,
     .doc = "grows with every change of master"},
    {.name = "since", .type = FIELD_TIME, .doc = "of the master"},
    {.name = "age",
     .type = FIELD_STR,
     .flags = FIELD_NOT_STORED | FIELD_LISTED,
     .doc = "since then"},
};

const struct resource resource_module = {
    .table = "module",
    .singular = "module",
    .plural = "modules",
    RESOURCE_FIELDS(module_fields),
    .doc = "A part of the cloud that one host does at a time, and who does it next.",
};

static const struct field event_fields[] = {
    {.name = "id", .type = FIELD_STR, .doc = "sorts by time: <13 digits ms>-<8 hex>"},
    {.name = "time", .type = FIELD_TIME},
    {.name = "severity", .type = FIELD_STR, .doc = "info, warning, critical"},
    {.name = "kind", .type = FIELD_STR, .flags = FIELD_INDEX, .doc = "e.g. host.lost"},
    {.name = "object",
     .type = FIELD_STR,
     .flags = FIELD_INDEX,
     .doc = "what it is about: host or id"},
    {.name = "host", .type = FIELD_STR, .doc = "who says so"},
    {.name = "text", .type = FIELD_STR, .max = 1024},
};

const struct resource resource_event = {
    .table = "event",
    .singular = "event",
    .plural = "events",
    RESOURCE_FIELDS(event_fields),
    .doc = "Something an operator wants to know of; the oldest are trimmed.",
};

static const struct field setting_fields[] = {
    {.name = "id", .type = FIELD_STR, .doc = "name"},
    {.name = "value", .type = FIELD_ANY, .flags = FIELD_SECRET, .doc = "the token key's, for one"},
};

const struct resource resource_setting = {
    .table = "setting",
    .singular = "setting",
    .plural = "settings",
    RESOURCE_FIELDS(setting_fields),
    .doc = "Cluster-wide values: api_vip, token_key, ...",
};

static const struct field lease_fields[] = {
    {.name = "id", .type = FIELD_STR, .doc = "host/<name>"},
    {.name = "epoch", .type = FIELD_INT, .doc = "of the host"},
    {.name = "boot", .type = FIELD_STR, .doc = "random for each life of the holder"},
};

const struct resource resource_lease = {
    .table = "lease",
    .singular = "lease",
    .plural = "leases",
    RESOURCE_FIELDS(lease_fields),
    .doc = "Vanishes when its holder stops renewing.",
};

static const struct field join_token_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "the hash's first 12 digits"},
    {.name = "host",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_LISTED,
     .doc = "that may join with it, also with a new key; null: any new one"},
    {.name = "expires_at", .type = FIELD_TIME, .flags = FIELD_NULL | FIELD_LISTED},
    {.name = "created_at", .type = FIELD_TIME, .flags = FIELD_NULL | FIELD_LISTED},
    {.name = "made_by", .type = FIELD_STR, .flags = FIELD_LISTED, .doc = "host"},
    {.name = "hash", .type = FIELD_STR, .doc = "SHA-256 of the secret"},
    {.name = "withdrawn", .type = FIELD_BOOL, .doc = "the mark of a token that is no row"},
};

const struct resource resource_join_token = {
    .table = "join_token",
    .singular = "join_token",
    .plural = "join_tokens",
    RESOURCE_FIELDS(join_token_fields),
    .doc = "Lets hosts join the cloud.",
};
