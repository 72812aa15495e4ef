/* A resource is declared once: a table of its fields. Stored form, validation, defaults, SQL
 * columns, JSON in and out, who may read or write, filters and the reference page follow from the
 * rows of that table. Adding a field touches one place.
 *
 * A row is a JSON object with the *stored* names. The API name of a field is the same unless
 * `json` says otherwise. What cannot be said in a table (links, addresses, actions) is a hook in
 * the service's file under api/.
 */
#ifndef VLING_MODEL_RESOURCE_H
#define VLING_MODEL_RESOURCE_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESOURCE_STR_MAX 255       /* characters, where a field's max is 0 */
#define RESOURCE_ELEMENTS_MAX 1024 /* of lists and objects, likewise */

enum field_type {
    FIELD_ANY,
    FIELD_STR,  /* min..max: length in characters */
    FIELD_ID,   /* reference to another row; not checked for existence here */
    FIELD_INT,  /* min..max: bounds, inclusive */
    FIELD_BOOL, /* also accepts "true", "false" */
    FIELD_TIME, /* "2026-11-22T13:55:39Z" */
    FIELD_IP,   /* IPv4 or IPv6 address */
    FIELD_CIDR,
    FIELD_MAC,
    FIELD_LIST,   /* max: elements, each of the type `of` */
    FIELD_OBJECT, /* max: members; which ones, if `members` says so */
};

enum field_flag {
    FIELD_REQUIRED = 1 << 0,   /* at create */
    FIELD_CREATE = 1 << 1,     /* a client may give it at create */
    FIELD_UPDATE = 1 << 2,     /* and at update */
    FIELD_INDEX = 1 << 3,      /* SQL column, filter */
    FIELD_INTERNAL = 1 << 4,   /* stored, never shown */
    FIELD_ADMIN = 1 << 5,      /* shown to and set by administrators only */
    FIELD_NULL = 1 << 6,       /* null is allowed */
    FIELD_NOT_STORED = 1 << 7, /* computed at reading */
    FIELD_LISTED = 1 << 8,     /* column where the operator's command lists the rows */
    FIELD_ADMIN_SETS = 1 << 9, /* shown to all, set by administrators only */
    FIELD_FILTER = 1 << 10,    /* a filter by the service's own handler, not by a column */
    FIELD_FORMED = 1 << 11,    /* shown in a form of its own, which the service makes */
    FIELD_SECRET = 1 << 12,    /* in backups only: rows that are shown to operators lack it */
};

struct field {
    const char *name;
    const char *json; /* API name, or NULL: same */
    enum field_type type;
    enum field_type of; /* FIELD_LIST: type of the elements, with its usual bounds */
    unsigned flags;
    int64_t min, max;
    const char *fallback; /* JSON text put when the client gave none; NULL: null if FIELD_NULL */
    const char *const *choices; /* NULL-terminated, or NULL */
    /* FIELD_OBJECT, or FIELD_LIST of such: the members it may have, each with its type; the last
     * one has no name. NULL: any. */
    const struct field *members;
    int since; /* compute: there from the microversion 2.<since> on; 0: always */
    const char *doc;
};

/* A quantity that a project may be limited in, and what a row adds to it. */
struct quota_use {
    const char *name;    /* "cores": a field of the resource that holds the limits */
    const char *owner;   /* indexed field of the row: whose rows are summed up, "project_id" */
    const char *amount;  /* where in the row, "flavor.vcpus"; NULL: 1 */
    const char *refusal; /* the service's own words when there is too much; NULL: the usual ones */
};

struct resource {
    const char *table;
    const char *singular, *plural; /* in the API's bodies */
    const struct field *fields;
    size_t field_count;
    const struct quota_use *quotas; /* what the rows count towards; the last one has no name */
    const struct resource *limits;  /* where these limits stand */
    const char *service; /* type of the service that offers it ("network"); NULL: the cloud's own */
    const char *title;   /* in messages; NULL: "Security group" follows from "security_group" */
    const char *form;    /* how the service's form differs from the fields; NULL: it does not */
    const char *doc;
};

/* Each row counts as one towards the project's limit `quota`. */
#define RESOURCE_COUNTS(quota, where)                                                              \
    .quotas = (const struct quota_use[]){{.name = quota, .owner = "project_id"}, {.name = NULL}},  \
    .limits = &(where)
#define RESOURCE_FIELDS(array) .fields = array, .field_count = sizeof(array) / sizeof((array)[0])

/* All resources of the program, NULL-terminated. */
extern const struct resource *const resource_all[];
const struct resource *resource_find(const char *table);
/* How messages and pages call it: "Security group". `out` is always terminated. */
const char *resource_title(const struct resource *resource, char *out, size_t size);
const struct field *resource_field(const struct resource *resource, const char *api_name);

/* Builds a new row from a client's object at create: checks each member against the table, rejects
 * unknown or read-only ones, fills defaults. `admin`: fields of administrators may be given.
 * 0 and a new reference in `*ret_row`; -EINVAL / -EPERM with `err` naming the field. The row's id,
 * times and project are the caller's to add. */
int resource_create(const struct resource *resource, const json_t *body, bool admin,
                    json_t **ret_row, struct err *err);

/* Changes `row` by a client's object at update (members flagged FIELD_UPDATE). */
int resource_update(const struct resource *resource, json_t *row, const json_t *body, bool admin,
                    struct err *err);

/* The API's form: a new object with API names, without internal fields, those with
 * FIELD_FORMED (and without FIELD_ADMIN
 * ones unless `admin`). Missing fields are null. */
json_t *resource_view(const struct resource *resource, const json_t *row, bool admin);

/* Takes out of the stored row what is FIELD_SECRET. */
void resource_hide_secrets(const struct resource *resource, json_t *row);

/* Checks one value; 0 or -EINVAL. */
int resource_check(const struct field *field, const json_t *value, struct err *err);

#endif
