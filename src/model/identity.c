/* Keystone v3: https://docs.openstack.org/api-ref/identity/v3/ */
#include "model/tables.h"

#define CU (FIELD_CREATE | FIELD_UPDATE)

static const struct field domain_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | CU | FIELD_INDEX,
     .min = 1,
     .max = 64},
    {.name = "description",
     .type = FIELD_STR,
     .flags = CU | FIELD_NULL,
     .max = 65535,
     .fallback = "\"\""},
    {.name = "enabled", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "true"},
    {.name = "options", .type = FIELD_OBJECT, .flags = CU, .fallback = "{}"},
    {.name = "tags", .type = FIELD_LIST, .flags = CU, .fallback = "[]"},
};

const struct resource resource_domain = {
    .table = "domain",
    .singular = "domain",
    .plural = "domains",
    RESOURCE_FIELDS(domain_fields),
    .doc = "A name space of projects and users.",
};

static const struct field project_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | CU | FIELD_INDEX,
     .min = 1,
     .max = 64},
    {.name = "domain_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .fallback = "\"default\""},
    {.name = "parent_id", .type = FIELD_ID, .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX},
    {.name = "is_domain", .type = FIELD_BOOL, .flags = FIELD_CREATE, .fallback = "false"},
    {.name = "description",
     .type = FIELD_STR,
     .flags = CU | FIELD_NULL,
     .max = 65535,
     .fallback = "\"\""},
    {.name = "enabled", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "true"},
    {.name = "options", .type = FIELD_OBJECT, .flags = CU, .fallback = "{}"},
    {.name = "tags", .type = FIELD_LIST, .flags = CU, .max = 80, .fallback = "[]"},
};

const struct resource resource_project = {
    .table = "project",
    .singular = "project",
    .plural = "projects",
    RESOURCE_FIELDS(project_fields),
    .doc = "Owns resources; the unit of isolation and quota.",
};

static const struct field user_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name", .type = FIELD_STR, .flags = FIELD_REQUIRED | CU | FIELD_INDEX, .min = 1},
    {.name = "domain_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .fallback = "\"default\""},
    {.name = "default_project_id", .type = FIELD_ID, .flags = CU | FIELD_NULL},
    {.name = "email", .type = FIELD_STR, .flags = CU | FIELD_NULL},
    {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_NULL, .max = 65535},
    {.name = "enabled", .type = FIELD_BOOL, .flags = CU | FIELD_INDEX, .fallback = "true"},
    {.name = "options", .type = FIELD_OBJECT, .flags = CU, .fallback = "{}"},
    {.name = "password_hash",
     .type = FIELD_STR,
     .flags = FIELD_INTERNAL | FIELD_NULL,
     .doc = "bcrypt; null: cannot log in by password"},
    {.name = "password_serial",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .doc = "grows with every change; older tokens are void"},
    {.name = "password_expires_at", .type = FIELD_TIME, .flags = FIELD_NULL},
};

const struct resource resource_user = {
    .table = "user",
    .singular = "user",
    .plural = "users",
    RESOURCE_FIELDS(user_fields),
    .doc = "Who can ask for a token.",
};

static const struct field role_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name", .type = FIELD_STR, .flags = FIELD_REQUIRED | CU | FIELD_INDEX, .min = 1},
    {.name = "domain_id", .type = FIELD_ID, .flags = FIELD_CREATE | FIELD_NULL},
    {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_NULL, .max = 65535},
    {.name = "options", .type = FIELD_OBJECT, .flags = CU, .fallback = "{}"},
};

const struct resource resource_role = {
    .table = "role",
    .singular = "role",
    .plural = "roles",
    RESOURCE_FIELDS(role_fields),
    .doc = "admin, member, reader and whatever the operator adds.",
};

/* id = "<user>.<scope kind>.<scope id>.<role>"; scope kind: project, domain or system ("all"). */
static const struct field assignment_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "role_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "scope_kind", .type = FIELD_STR, .flags = FIELD_INDEX},
    {.name = "scope_id", .type = FIELD_ID, .flags = FIELD_INDEX},
};

const struct resource resource_assignment = {
    .table = "assignment",
    .singular = "role_assignment",
    .plural = "role_assignments",
    RESOURCE_FIELDS(assignment_fields),
    .doc = "A user's role on a project, domain or the system.",
};

/* id = the audit id of a token that was revoked before its time. */
static const struct field revocation_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "expires_at",
     .type = FIELD_TIME,
     .flags = FIELD_INDEX,
     .doc = "of the token; afterwards the row is of no use and is deleted"},
};

const struct resource resource_revocation = {
    .table = "revocation",
    .singular = "revocation",
    .plural = "revocations",
    RESOURCE_FIELDS(revocation_fields),
    .doc = "A token that is void although it has not expired.",
};

/* id = a hash of kind, domain and name. */
static const struct field taken_name_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "owner_id", .type = FIELD_ID, .flags = FIELD_INDEX},
};

const struct resource resource_taken_name = {
    .table = "taken_name",
    .singular = "taken_name",
    .plural = "taken_names",
    RESOURCE_FIELDS(taken_name_fields),
    .doc = "The name of a domain, project, user or role; makes two of the same name impossible.",
};
