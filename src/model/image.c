/* Glance v2: https://docs.openstack.org/api-ref/image/v2/ */
#include "model/tables.h"

#define CU (FIELD_CREATE | FIELD_UPDATE)

static const char *const disk_formats[] = {"raw",  "qcow2", "iso", "vmdk", "vdi", "vhd",
                                           "vhdx", "ploop", "aki", "ari",  "ami", NULL};
static const char *const container_formats[] = {"bare", "ovf", "ova",        "docker", "aki",
                                                "ari",  "ami", "compressed", NULL};
static const char *const visibilities[] = {"public", "private", "shared", "community", NULL};

static const struct field image_fields[] = {
    {.name = "id", .type = FIELD_ID, .flags = FIELD_CREATE},
    {.name = "name", .type = FIELD_STR, .flags = CU | FIELD_NULL | FIELD_INDEX},
    {.name = "owner", .type = FIELD_ID, .flags = CU | FIELD_INDEX | FIELD_ADMIN},
    {.name = "status",
     .type = FIELD_STR,
     .flags = FIELD_INDEX,
     .doc = "queued saving active killed deactivated"},
    {.name = "visibility",
     .type = FIELD_STR,
     .flags = CU | FIELD_INDEX,
     .choices = visibilities,
     .fallback = "\"shared\""},
    {.name = "disk_format",
     .type = FIELD_STR,
     .flags = CU | FIELD_NULL | FIELD_INDEX,
     .choices = disk_formats},
    {.name = "container_format",
     .type = FIELD_STR,
     .flags = CU | FIELD_NULL | FIELD_INDEX,
     .choices = container_formats},
    {.name = "protected", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "false"},
    {.name = "os_hidden", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "false"},
    {.name = "min_disk", .type = FIELD_INT, .flags = CU, .max = 2147483647, .fallback = "0"},
    {.name = "min_ram", .type = FIELD_INT, .flags = CU, .max = 2147483647, .fallback = "0"},
    {.name = "tags", .type = FIELD_LIST, .flags = CU, .max = 128, .fallback = "[]"},
    {.name = "size", .type = FIELD_INT, .flags = FIELD_NULL},
    {.name = "virtual_size", .type = FIELD_INT, .flags = FIELD_NULL},
    {.name = "checksum",
     .type = FIELD_STR,
     .flags = FIELD_NULL,
     .doc = "MD5, as Glance still gives it"},
    {.name = "os_hash_algo", .type = FIELD_STR, .flags = FIELD_NULL},
    {.name = "os_hash_value", .type = FIELD_STR, .flags = FIELD_NULL, .doc = "SHA-512"},
    {.name = "blob",
     .type = FIELD_STR,
     .flags = FIELD_INTERNAL | FIELD_NULL,
     .doc = "under which name the storage keeps the bytes"},
    {.name = "properties",
     .type = FIELD_OBJECT,
     .flags = FIELD_INTERNAL,
     .max = 128,
     .fallback = "{}",
     .doc = "free properties; merged into the top level of the API's form"},
    {.name = "created_at", .type = FIELD_TIME, .flags = FIELD_INDEX},
    {.name = "updated_at", .type = FIELD_TIME},
};

const struct resource resource_image = {
    .table = "image",
    .singular = "image",
    .plural = "images",
    RESOURCE_FIELDS(image_fields),
    .doc = "What a root disk is made from.",
};
