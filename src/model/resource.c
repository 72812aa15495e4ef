#include "model/tables.h"

#include "base/clock.h"
#include "base/json.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW(name) &resource_##name,
const struct resource *const resource_all[] = {TABLES(ROW) NULL};

const char *resource_title(const struct resource *resource, char *out, size_t size)
{
    snprintf(out, size, "%s", resource->title ? resource->title : resource->singular);
    out[0] = (char)toupper((unsigned char)out[0]);
    for (char *at = out; *at; at++)
        *at = *at == '_' ? ' ' : *at;
    return out;
}

static const char *api_name_of(const struct field *field)
{
    return field->json ? field->json : field->name;
}

const struct resource *resource_find(const char *table)
{
    for (size_t i = 0; resource_all[i]; i++) {
        if (strcmp(resource_all[i]->table, table) == 0)
            return resource_all[i];
    }
    return NULL;
}

const struct field *resource_field(const struct resource *resource, const char *api_name)
{
    for (size_t i = 0; i < resource->field_count; i++) {
        if (strcmp(api_name_of(&resource->fields[i]), api_name) == 0)
            return &resource->fields[i];
    }
    return NULL;
}

/* ---- one value ---- */

static int invalid(const struct field *field, struct err *err, const char *why)
{
    char what[sizeof(err->what)];

    snprintf(what, sizeof(what), "Invalid input for %s", api_name_of(field));
    return err_set(err, -EINVAL, what, why, NULL);
}

static size_t characters(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80; /* not a UTF-8 continuation byte */
    return n;
}

static int check_string(const struct field *field, const char *text, struct err *err)
{
    size_t length = characters(text);
    size_t max = field->max ? (size_t)field->max : RESOURCE_STR_MAX;
    char why[sizeof(err->why)];

    if (length < (size_t)field->min || length > max) {
        snprintf(why, sizeof(why), "the text has %zu characters, %lld to %zu are allowed", length,
                 (long long)field->min, max);
        return invalid(field, err, why);
    }
    return 0;
}

static bool is_ip(const char *text)
{
    unsigned char address[16];

    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* An address with a prefix length; a bare address means the longest prefix. */
static bool is_cidr(const char *text)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    unsigned long prefix;
    char *end;

    if (!slash)
        return is_ip(text);
    if ((size_t)(slash - text) >= sizeof(address) || !isdigit((unsigned char)slash[1]))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    prefix = strtoul(slash + 1, &end, 10);
    return *end == '\0' && is_ip(address) && prefix <= (strchr(address, ':') ? 128 : 32);
}

static bool is_mac(const char *text)
{
    if (strlen(text) != 17)
        return false;
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' && text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

/* A JSON integer, or its decimal text, which the OpenStack services accept too. */
static bool as_integer(const json_t *value, int64_t *ret_number)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value)) {
        *ret_number = json_integer_value(value);
        return true;
    }
    if (!text || !(isdigit((unsigned char)text[0]) || text[0] == '-'))
        return false;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && end != text;
}

static int check_integer(const struct field *field, const json_t *value, struct err *err)
{
    int64_t max = field->max ? field->max : INT64_MAX, number;
    int64_t min = field->min || field->max ? field->min : INT64_MIN;
    char why[sizeof(err->why)];

    if (!as_integer(value, &number))
        return invalid(field, err, "an integer is needed");
    if (number < min || number > max) {
        snprintf(why, sizeof(why), "%lld is not within %lld and %lld", (long long)number,
                 (long long)min, (long long)max);
        return invalid(field, err, why);
    }
    return 0;
}

static bool as_boolean(const json_t *value, bool *ret_value)
{
    const char *text = json_string_value(value);

    if (json_is_boolean(value))
        *ret_value = json_is_true(value);
    else if (text && strcasecmp(text, "true") == 0)
        *ret_value = true;
    else if (text && strcasecmp(text, "false") == 0)
        *ret_value = false;
    else
        return false;
    return true;
}

static int check_count(const struct field *field, size_t count, struct err *err)
{
    size_t max = field->max ? (size_t)field->max : RESOURCE_ELEMENTS_MAX;
    char why[sizeof(err->why)];

    if (count > max) {
        snprintf(why, sizeof(why), "%zu elements, at most %zu are allowed", count, max);
        return invalid(field, err, why);
    }
    return 0;
}

static int check_elements(const struct field *field, const json_t *list, struct err *err)
{
    const struct field element = {
        .name = field->name, .json = field->json, .type = field->of, .members = field->members};
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        int rc = resource_check(&element, one, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct field *member_of(const struct field *field, const char *name)
{
    const struct field *member = field->members;

    while (member->name && strcmp(member->name, name) != 0)
        member++;
    return member->name ? member : NULL;
}

/* The members that the table names have their types, and there are no others but null: that is how
 * clients leave out what they do not mean. */
static int check_members(const struct field *field, const json_t *object, struct err *err)
{
    char why[sizeof(err->why)];
    json_t *value;
    const char *key;
    int rc = 0;

    if (!field->members)
        return 0;
    json_object_foreach((json_t *)object, key, value)
    {
        const struct field *member = member_of(field, key);

        if (!member && !json_is_null(value)) {
            snprintf(why, sizeof(why), "there is no member '%.100s'", key);
            return invalid(field, err, why);
        }
        rc = member ? resource_check(member, value, err) : 0;
        if (rc < 0)
            return rc;
    }
    for (const struct field *member = field->members; member->name; member++) {
        if (member->flags & FIELD_REQUIRED && !json_object_get(object, member->name)) {
            snprintf(why, sizeof(why), "'%s' is missing", member->name);
            return invalid(field, err, why);
        }
    }
    return 0;
}

static int check_choice(const struct field *field, const json_t *value, struct err *err)
{
    const char *text = json_string_value(value);
    char why[sizeof(err->why)] = "allowed values are:";
    size_t used = strlen(why);

    if (!field->choices)
        return 0;
    for (size_t i = 0; field->choices[i]; i++) {
        if (text && strcmp(field->choices[i], text) == 0)
            return 0;
        if (used < sizeof(why))
            used += (size_t)snprintf(why + used, sizeof(why) - used, " %s", field->choices[i]);
    }
    return invalid(field, err, why);
}

static int check_text(const struct field *field, const char *text, struct err *err)
{
    if (!text)
        return invalid(field, err, "a string is needed");
    switch (field->type) {
    case FIELD_TIME:
        return clock_parse_iso(text) >= 0 ? 0 : invalid(field, err, "not an ISO 8601 time");
    case FIELD_IP:
        return is_ip(text) ? 0 : invalid(field, err, "not a valid IP address");
    case FIELD_CIDR:
        return is_cidr(text) ? 0 : invalid(field, err, "not a valid IP subnet");
    case FIELD_MAC:
        return is_mac(text) ? 0 : invalid(field, err, "not a valid MAC address");
    default:
        return check_string(field, text, err);
    }
}

int resource_check(const struct field *field, const json_t *value, struct err *err)
{
    bool truth;
    int rc;

    if (json_is_null(value))
        return field->flags & FIELD_NULL ? 0 : invalid(field, err, "must not be null");
    switch (field->type) {
    case FIELD_ANY:
        return 0;
    case FIELD_INT:
        rc = check_integer(field, value, err);
        break;
    case FIELD_BOOL:
        rc = as_boolean(value, &truth) ? 0 : invalid(field, err, "true or false is needed");
        break;
    case FIELD_LIST:
        rc = json_is_array(value) ? check_count(field, json_array_size(value), err)
                                  : invalid(field, err, "a list is needed");
        if (rc == 0)
            rc = check_elements(field, value, err);
        break;
    case FIELD_OBJECT:
        rc = json_is_object(value) ? check_count(field, json_object_size(value), err)
                                   : invalid(field, err, "an object is needed");
        if (rc == 0)
            rc = check_members(field, value, err);
        break;
    default:
        rc = check_text(field, json_string_value(value), err);
    }
    return rc < 0 ? rc : check_choice(field, value, err);
}

static json_t *normal(const struct field *field, const json_t *value);

static json_t *normal_list(const struct field *field, const json_t *list)
{
    const struct field element = {.type = field->of, .members = field->members};
    json_t *out = json_array();
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one) json_array_append_new(out, normal(&element, one));
    return out;
}

static json_t *normal_object(const struct field *field, const json_t *object)
{
    json_t *out = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)object, key, value)
    {
        const struct field *member = member_of(field, key);

        if (member)
            json_object_set_new(out, key, normal(member, value));
    }
    return out;
}

/* The stored form of a value that resource_check() took: one spelling for each meaning. */
static json_t *normal(const struct field *field, const json_t *value)
{
    const char *text = json_string_value(value);
    char mac[18], cidr[INET6_ADDRSTRLEN + 5];
    int64_t number;
    bool truth;

    if (field->type == FIELD_LIST && field->of != FIELD_ANY && json_is_array(value))
        return normal_list(field, value);
    if (field->type == FIELD_OBJECT && field->members && json_is_object(value))
        return normal_object(field, value);
    if (field->type == FIELD_INT && as_integer(value, &number))
        return json_integer(number);
    if (field->type == FIELD_BOOL && as_boolean(value, &truth))
        return json_boolean(truth);
    if (field->type == FIELD_MAC && text) {
        for (size_t i = 0; i < sizeof(mac); i++)
            mac[i] = text[i] == '-' ? ':' : (char)tolower((unsigned char)text[i]);
        return json_string(mac);
    }
    if (field->type == FIELD_CIDR && text && !strchr(text, '/')) {
        snprintf(cidr, sizeof(cidr), "%s/%d", text, strchr(text, ':') ? 128 : 32);
        return json_string(cidr);
    }
    return json_deep_copy(value);
}

/* ---- rows ---- */

/* Checks all members of `body` that need `flag` and puts them into `out` in stored form. */
static int take_members(const struct resource *resource, const json_t *body, unsigned flag,
                        bool admin, json_t *out, struct err *err)
{
    const char *key;
    json_t *value;
    int rc;

    if (!json_is_object(body))
        return err_why(err, -EINVAL, "Invalid input", "%s must be an object", resource->singular);
    json_object_foreach((json_t *)body, key, value)
    {
        const struct field *field = resource_field(resource, key);

        if (!field ||
            (field->flags & (FIELD_INTERNAL | FIELD_NOT_STORED) && !(field->flags & flag)))
            return err_why(err, -EINVAL, "Invalid input", "Unrecognized attribute '%.100s'", key);
        if (!(field->flags & flag))
            return err_why(err, -EINVAL, "Invalid input", "Attribute '%s' is read-only", key);
        if (field->flags & (FIELD_ADMIN | FIELD_ADMIN_SETS) && !admin)
            return err_why(err, -EPERM, "Not allowed", "'%s' may be set by administrators only",
                           key);
        rc = resource_check(field, value, err);
        if (rc < 0)
            return rc;
        if (json_object_set_new(out, field->name, normal(field, value)) < 0)
            return err_set(err, -ENOMEM, "Cannot build the row", NULL, NULL);
    }
    return 0;
}

static int fill_default(const struct field *field, json_t *row, struct err *err)
{
    json_t *value = NULL;

    if (json_object_get(row, field->name) || field->flags & FIELD_NOT_STORED)
        return 0;
    if (field->flags & FIELD_REQUIRED)
        return err_why(err, -EINVAL, "Invalid input", "'%s' is a required property",
                       api_name_of(field));
    if (field->fallback)
        value = json_loads(field->fallback, JSON_DECODE_ANY, NULL);
    else if (field->flags & FIELD_NULL)
        value = json_null();
    else
        return 0;
    return json_object_set_new(row, field->name, value) < 0
               ? err_set(err, -ENOMEM, "Cannot build the row", NULL, NULL)
               : 0;
}

int resource_create(const struct resource *resource, const json_t *body, bool admin,
                    json_t **ret_row, struct err *err)
{
    json_t *row = json_object();
    int rc = take_members(resource, body, FIELD_CREATE, admin, row, err);

    for (size_t i = 0; i < resource->field_count && rc == 0; i++)
        rc = fill_default(&resource->fields[i], row, err);
    if (rc < 0) {
        json_decref(row);
        return rc;
    }
    *ret_row = row;
    return 0;
}

int resource_update(const struct resource *resource, json_t *row, const json_t *body, bool admin,
                    struct err *err)
{
    json_t *changes = json_object();
    int rc = take_members(resource, body, FIELD_UPDATE, admin, changes, err);

    if (rc == 0 && json_object_update(row, changes) < 0)
        rc = err_set(err, -ENOMEM, "Cannot change the row", NULL, NULL);
    json_decref(changes);
    return rc;
}

json_t *resource_view(const struct resource *resource, const json_t *row, bool admin)
{
    json_t *view = json_object();

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        json_t *value = json_object_get(row, field->name);

        if (field->flags & (FIELD_INTERNAL | FIELD_FORMED) ||
            (field->flags & FIELD_ADMIN && !admin))
            continue;
        /* Copies of containers, so that a handler may complete the view without touching the
         * row, which may be on its way into a transaction or be shared. */
        if (json_is_object(value) || json_is_array(value))
            json_object_set_new(view, api_name_of(field), json_deep_copy(value));
        else
            json_object_set(view, api_name_of(field), value ? value : json_null());
    }
    return view;
}

void resource_hide_secrets(const struct resource *resource, json_t *row)
{
    for (size_t i = 0; i < resource->field_count; i++) {
        if (resource->fields[i].flags & FIELD_SECRET)
            json_object_del(row, resource->fields[i].name);
    }
}
