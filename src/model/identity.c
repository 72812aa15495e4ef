/* Keystone v3: https://docs.openstack.org/api-ref/identity/v3/ */
#include "model/tables.h"

#define CU (FIELD_CREATE | FIELD_UPDATE)
#define IDENTITY_EXTRA_MAX 64

/* An option that would limit somebody is obeyed or refused: nobody must believe in one that is only
 * kept. Null takes it back. */
static const struct field option_members[] = {
    {.name = "immutable", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = NULL},
};

static const struct field user_option_members[] = {
    {.name = "ignore_change_password_upon_first_use", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "ignore_password_expiry", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "ignore_lockout_failure_attempts", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "ignore_user_inactivity", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "lock_password", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "multi_factor_auth_enabled", .type = FIELD_BOOL, .flags = FIELD_NULL},
    {.name = "multi_factor_auth_rules", .type = FIELD_LIST, .flags = FIELD_NULL},
    {.name = NULL},
};

/* What most of Keystone's resources have. */
#define OPTIONS_FIELD                                                                              \
    {                                                                                              \
        .name = "options", .type = FIELD_OBJECT, .flags = CU, .members = option_members,           \
        .fallback = "{}",                                                                          \
        .doc = "{immutable}: true keeps it from changes and deletion until it is false again"      \
    }
#define EXTRA_FIELD                                                                                \
    {                                                                                              \
        .name = "extra", .type = FIELD_OBJECT, .flags = FIELD_INTERNAL, .max = IDENTITY_EXTRA_MAX, \
        .fallback = "{}",                                                                          \
        .doc = "what else a client gave; merged into the top level of the API's form"              \
    }
#define EXTRA "What the table does not know is kept and shown as given, as Keystone does."

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
    {.name = "enabled",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "true",
     .doc = "false: nobody of it gets in"},
    OPTIONS_FIELD,
    {.name = "tags",
     .type = FIELD_LIST,
     .of = FIELD_STR,
     .flags = CU,
     .fallback = "[]",
     .doc = "kept as given"},
    EXTRA_FIELD,
};

const struct resource resource_domain = {
    .table = "domain",
    .service = "identity",
    .singular = "domain",
    .plural = "domains",
    RESOURCE_FIELDS(domain_fields),
    .form = "Links are added. " EXTRA,
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
    {.name = "parent_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_NULL | FIELD_INDEX,
     .doc = "the project above it; its domain's if it has none"},
    {.name = "is_domain",
     .type = FIELD_BOOL,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .fallback = "false",
     .doc = "only false: domains are made as domains"},
    {.name = "description",
     .type = FIELD_STR,
     .flags = CU | FIELD_NULL,
     .max = 65535,
     .fallback = "\"\""},
    {.name = "enabled",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "true",
     .doc = "false: no token for it"},
    OPTIONS_FIELD,
    {.name = "tags",
     .type = FIELD_LIST,
     .of = FIELD_STR,
     .flags = CU,
     .max = 80,
     .fallback = "[]",
     .doc = "kept as given"},
    EXTRA_FIELD,
};

const struct resource resource_project = {
    .table = "project",
    .service = "identity",
    .singular = "project",
    .plural = "projects",
    RESOURCE_FIELDS(project_fields),
    .form =
        "Links are added. " EXTRA
        " Filters besides: tags, tags-any, not-tags, not-tags-any. Shown with parents_as_ids and "
        "subtree_as_ids: its place in the tree.",
    .doc = "Owns resources; the unit of isolation and quota.",
};

static const struct field user_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name", .type = FIELD_STR, .flags = FIELD_REQUIRED | CU | FIELD_INDEX, .min = 1},
    {.name = "domain_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_INDEX,
     .fallback = "\"default\""},
    {.name = "default_project_id",
     .type = FIELD_ID,
     .flags = CU | FIELD_NULL,
     .doc = "scope of tokens that ask for none"},
    {.name = "email", .type = FIELD_STR, .flags = CU | FIELD_NULL},
    {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_NULL, .max = 65535},
    {.name = "enabled",
     .type = FIELD_BOOL,
     .flags = CU | FIELD_INDEX,
     .fallback = "true",
     .doc = "false: cannot log in, and tokens are void"},
    {.name = "options",
     .type = FIELD_OBJECT,
     .flags = CU,
     .members = user_option_members,
     .fallback = "{}",
     .doc = "Keystone's; lock_password is obeyed, multi_factor_auth_enabled refused, and what the "
            "ignore_* except from is not there"},
    {.name = "password_hash",
     .type = FIELD_STR,
     .flags = FIELD_INTERNAL | FIELD_NULL | FIELD_SECRET,
     .doc = "bcrypt; null: cannot log in by password"},
    {.name = "password_serial",
     .type = FIELD_INT,
     .flags = FIELD_INTERNAL,
     .doc = "grows with every change; older tokens are void"},
    {.name = "password_expires_at", .type = FIELD_TIME, .flags = FIELD_NULL, .doc = "always null"},
    EXTRA_FIELD,
};

const struct resource resource_user = {
    .table = "user",
    .service = "identity",
    .singular = "user",
    .plural = "users",
    RESOURCE_FIELDS(user_fields),
    .form = "A password is given as password at create and update, and never shown. Links are "
            "added. " EXTRA,
    .doc = "Who can ask for a token.",
};

static const struct field role_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name", .type = FIELD_STR, .flags = FIELD_REQUIRED | CU | FIELD_INDEX, .min = 1},
    {.name = "domain_id",
     .type = FIELD_ID,
     .flags = FIELD_CREATE | FIELD_NULL,
     .doc = "kept as given"},
    {.name = "description", .type = FIELD_STR, .flags = CU | FIELD_NULL, .max = 65535},
    OPTIONS_FIELD,
    EXTRA_FIELD,
};

const struct resource resource_role = {
    .table = "role",
    .service = "identity",
    .singular = "role",
    .plural = "roles",
    RESOURCE_FIELDS(role_fields),
    .form = "Links are added. " EXTRA,
    .doc = "admin, member, reader and whatever the operator adds.",
};

/* id = "<user>.<scope kind>.<scope id>.<role>"; scope kind: project, domain or system ("all"). */
static const struct field assignment_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "role_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "scope_kind",
     .type = FIELD_STR,
     .flags = FIELD_INDEX,
     .doc = "project, domain or system"},
    {.name = "scope_id",
     .type = FIELD_ID,
     .flags = FIELD_INDEX,
     .doc = "of project or domain; system: all"},
};

const struct resource resource_assignment = {
    .table = "assignment",
    .service = "identity",
    .singular = "role_assignment",
    .plural = "role_assignments",
    RESOURCE_FIELDS(assignment_fields),
    .form = "Written by the routes of grants; shown as {role, user, scope}. Filters: user.id, "
            "role.id, scope.project.id, scope.domain.id, scope.system, effective, include_names.",
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
    {.name = "owner_id", .type = FIELD_ID, .flags = FIELD_INDEX, .doc = "whose name it is"},
};

const struct resource resource_taken_name = {
    .table = "taken_name",
    .singular = "taken_name",
    .plural = "taken_names",
    RESOURCE_FIELDS(taken_name_fields),
    .doc = "The name of a domain, project, user or role; makes two of the same name impossible.",
};

static const struct field application_credential_fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_INDEX,
     .min = 1},
    {.name = "description", .type = FIELD_STR, .flags = FIELD_CREATE | FIELD_NULL, .max = 65535},
    {.name = "user_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "project_id", .type = FIELD_ID, .flags = FIELD_INDEX},
    {.name = "expires_at", .type = FIELD_TIME, .flags = FIELD_NULL, .doc = "null: never"},
    {.name = "unrestricted",
     .type = FIELD_BOOL,
     .flags = FIELD_CREATE | FIELD_NULL,
     .fallback = "false",
     .doc = "its tokens may create and delete application credentials"},
    {.name = "roles",
     .type = FIELD_LIST,
     .doc = "ids of roles; those count that the user still has on the project"},
    {.name = "secret_hash",
     .type = FIELD_STR,
     .flags = FIELD_INTERNAL | FIELD_SECRET,
     .doc = "bcrypt of a secret that the user chose, else $blake2b$ and a hash in hex"},
};

const struct resource resource_application_credential = {
    .table = "application_credential",
    .service = "identity",
    .singular = "application_credential",
    .plural = "application_credentials",
    RESOURCE_FIELDS(application_credential_fields),
    .form = "Create also takes secret (none given: one is made), roles and expires_at; secret is "
            "shown this once. With access_rules it is refused: they are not offered.",
    .doc = "Lets a program act for a user on one project without the user's password.",
};
