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
    {.name = "owner",
     .type = FIELD_ID,
     .flags = CU | FIELD_INDEX | FIELD_ADMIN_SETS,
     .doc = "project"},
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
    {.name = "protected",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "false",
     .doc = "cannot be deleted"},
    {.name = "os_hidden",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "false",
     .doc = "not in lists"},
    {.name = "min_disk",
     .type = FIELD_INT,
     .flags = CU | FIELD_INDEX,
     .max = 2147483647,
     .fallback = "0",
     .doc = "GiB"},
    {.name = "min_ram",
     .type = FIELD_INT,
     .flags = CU | FIELD_INDEX,
     .max = 2147483647,
     .fallback = "0",
     .doc = "MiB"},
    {.name = "tags",
     .type = FIELD_LIST,
     .of = FIELD_STR,
     .flags = CU,
     .max = 128,
     .fallback = "[]"},
    {.name = "size", .type = FIELD_INT, .flags = FIELD_NULL | FIELD_INDEX, .doc = "bytes"},
    {.name = "virtual_size",
     .type = FIELD_INT,
     .flags = FIELD_NULL | FIELD_INDEX,
     .doc = "bytes of the disk that it makes"},
    {.name = "checksum",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INDEX,
     .doc = "MD5, as Glance still gives it"},
    {.name = "os_hash_algo", .type = FIELD_STR, .flags = FIELD_NULL | FIELD_INDEX, .doc = "sha512"},
    {.name = "os_hash_value",
     .type = FIELD_STR,
     .flags = FIELD_NULL | FIELD_INDEX,
     .doc = "SHA-512"},
    {.name = "blob",
     .type = FIELD_STR,
     .flags = FIELD_INTERNAL | FIELD_NULL | FIELD_INDEX,
     .doc = "under which name the storage keeps the bytes"},
    {.name = "properties",
     .type = FIELD_OBJECT,
     .flags = FIELD_INTERNAL,
     .max = 128,
     .fallback = "{}",
     .doc = "free properties; merged into the top level of the API's form"},
    {.name = "created_at", .type = FIELD_TIME, .flags = FIELD_INDEX},
    {.name = "updated_at", .type = FIELD_TIME, .flags = FIELD_INDEX},
};

const struct resource resource_image = {
    .table = "image",
    .service = "image",
    .singular = "image",
    .plural = "images",
    RESOURCE_FIELDS(image_fields),
    .form = "Members that are no field are free properties, texts at the top level. Update is a "
            "JSON patch (RFC 6902). Filters besides: "
            "tag, size_min, size_max, member_status, the name of a free property; texts as in:a,b, "
            "times as gte:TIME.",
    .doc = "What a root disk is made from.",
};

static const char *const member_statuses[] = {"pending", "accepted", "rejected", NULL};

static const struct field image_member_fields[] = {
    {.name = "id", .type = FIELD_STR, .flags = FIELD_INTERNAL, .doc = "image_id:member_id"},
    {.name = "image_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "member_id",
     .type = FIELD_ID,
     .flags = FIELD_INDEX,
     .doc = "project; at create given as `member`"},
    {.name = "status",
     .type = FIELD_STR,
     .flags = FIELD_UPDATE | FIELD_INDEX,
     .choices = member_statuses,
     .doc = "the member's own answer; accepted: the image stands in its lists"},
    {.name = "created_at", .type = FIELD_TIME, .flags = FIELD_INDEX},
    {.name = "updated_at", .type = FIELD_TIME},
};

const struct resource resource_image_member = {
    .table = "image_member",
    .service = "image",
    .singular = "member",
    .plural = "members",
    RESOURCE_FIELDS(image_member_fields),
    .title = "Image member",
    .form = "Create takes the project's id as `member`. Not wrapped in an object of the "
            "resource's name.",
    .doc = "A project that an image of visibility shared is shared with.",
};
