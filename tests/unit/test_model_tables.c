/* Every entry of every resource table: what no compiler sees in a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "model/tables.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FLAGS_BY_ADMIN (FIELD_ADMIN | FIELD_ADMIN_SETS)
#define FLAGS_ALL                                                                                  \
    (FIELD_REQUIRED | FIELD_CREATE | FIELD_UPDATE | FIELD_INDEX | FIELD_INTERNAL | FIELD_ADMIN |   \
     FIELD_NULL | FIELD_NOT_STORED | FIELD_LISTED | FIELD_ADMIN_SETS | FIELD_FILTER |              \
     FIELD_FORMED | FIELD_SECRET)

static const char *api_name(const struct field *field)
{
    return field->json ? field->json : field->name;
}

/* Calls `check` for each field of each table; it fails with `where` in its message. */
static void for_each_field(void (*check)(const char *where, const struct field *field))
{
    size_t fields = 0;

    for (size_t i = 0; resource_all[i]; i++) {
        for (size_t k = 0; k < resource_all[i]->field_count; k++, fields++) {
            const struct field *field = &resource_all[i]->fields[k];
            char where[128];

            snprintf(where, sizeof(where), "%s.%s", resource_all[i]->table,
                     field->name ? field->name : "(no name)");
            check(where, field);
        }
    }
    assert_true(fields > 100);
}

/* What may become the name of a SQL table or column without quotes. */
static bool is_word(const char *text)
{
    size_t length = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;

    return length > 0 && text[length] == '\0' && isalpha((unsigned char)text[0]) && length < 64;
}

static void test_names_of_resources(void **state)
{
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];

        assert_true(is_word(r->table));
        assert_true(is_word(r->singular));
        assert_true(is_word(r->plural));
        assert_string_not_equal(r->singular, r->plural);
        assert_true(r->doc && r->doc[0] && r->doc[strlen(r->doc) - 1] == '.');
        assert_ptr_equal(resource_find(r->table), r);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(r->table, resource_all[k]->table);
            assert_string_not_equal(r->plural, resource_all[k]->plural);
        }
    }
    assert_null(resource_find(""));
}

static void test_names_of_fields(void **state)
{
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];

        assert_true(r->field_count >= 2);
        assert_string_equal(r->fields[0].name, "id"); /* the key of every row */
        for (size_t k = 0; k < r->field_count; k++) {
            const struct field *f = &r->fields[k];

            if (!is_word(f->name))
                fail_msg("%s has a field %s", r->table, f->name ? f->name : "without a name");
            if (f->json && (!f->json[0] || strcmp(f->json, f->name) == 0))
                fail_msg("%s.%s: an API name that says nothing", r->table, f->name);
            if (resource_field(r, api_name(f)) != f)
                fail_msg("%s has two fields %s", r->table, api_name(f));
            for (size_t m = 0; m < k; m++) {
                if (strcmp(f->name, r->fields[m].name) == 0)
                    fail_msg("%s has two fields %s", r->table, f->name);
            }
        }
        assert_null(resource_field(r, "no such field"));
    }
}

/* Flags that exclude each other or mean nothing without another. */
static void check_flags(const char *where, const struct field *f)
{
    if (f->flags & ~(unsigned)FLAGS_ALL)
        fail_msg("%s: unknown flags", where);
    if (f->flags & FIELD_REQUIRED && !(f->flags & FIELD_CREATE))
        fail_msg("%s: nobody can give what is required", where);
    if (f->flags & FIELD_REQUIRED && f->flags & FLAGS_BY_ADMIN)
        fail_msg("%s: only administrators can give what is required", where);
    if (f->flags & FIELD_REQUIRED && f->fallback)
        fail_msg("%s: required, hence the fallback is never used", where);
    if (f->flags & FIELD_INTERNAL && f->flags & (FIELD_CREATE | FIELD_UPDATE))
        fail_msg("%s: a client may give what is never shown", where);
    if (f->flags & FIELD_FORMED && f->flags & (FIELD_INTERNAL | FIELD_NOT_STORED))
        fail_msg("%s: nobody is shown it, hence it has no form", where);
    if (f->flags & FIELD_NOT_STORED && (f->fallback || f->flags & (FIELD_INDEX | FIELD_REQUIRED)))
        fail_msg("%s: computed, hence it has no fallback and no column", where);
    if (f->flags & FIELD_FILTER && f->flags & (FIELD_INDEX | FIELD_INTERNAL))
        fail_msg("%s: a filter by its column, or of what is never shown", where);
    if (strcmp(f->name, "id") == 0 && f->flags & (FIELD_NULL | FIELD_UPDATE | FIELD_NOT_STORED))
        fail_msg("%s: the key changes or is missing", where);
}

static void test_flags(void **state)
{
    for_each_field(check_flags);
}

/* What is called a secret is flagged as one, and nothing that a service shows is. */
static void check_secret(const char *where, const struct field *f)
{
    size_t size = strlen(f->name);
    bool is_named = strstr(f->name, "secret") || strcmp(f->name, "user_data") == 0 ||
                    (size > 5 && strcmp(f->name + size - 5, "_hash") == 0);

    if (is_named && !(f->flags & FIELD_SECRET))
        fail_msg("%s: operators are shown it", where);
    if (f->flags & FIELD_SECRET && f->flags & (FIELD_LISTED | FIELD_INDEX | FIELD_NOT_STORED))
        fail_msg("%s: a secret can be found out", where);
}

static void test_secrets(void **state)
{
    json_t *row = json_pack("{s:s, s:s, s:s}", "id", "u", "name", "anna", "password_hash", "$2b$");

    for_each_field(check_secret);
    resource_hide_secrets(&resource_user, row);
    assert_null(json_object_get(row, "password_hash"));
    assert_int_equal(json_object_size(row), 2);
    json_decref(row);
    row = json_pack("{s:s, s:s, s:s}", "id", "c", "secret_hash", "$2b$", "user_id", "u");
    resource_hide_secrets(&resource_application_credential, row);
    assert_int_equal(json_object_size(row), 2);
    json_decref(row);
    row = json_pack("{s:s, s:s, s:s}", "id", "s", "user_data", "cGFzcw==", "name", "web");
    resource_hide_secrets(&resource_server, row);
    assert_int_equal(json_object_size(row), 2);
    json_decref(row);
    row = json_pack("{s:s, s:s}", "id", "token_key", "value", "k");
    resource_hide_secrets(&resource_setting, row);
    assert_int_equal(json_object_size(row), 1);
    json_decref(row);
}

static void check_bounds(const char *where, const struct field *f)
{
    bool bounded = f->type == FIELD_STR || f->type == FIELD_ID || f->type == FIELD_INT ||
                   f->type == FIELD_LIST || f->type == FIELD_OBJECT;

    if (f->type > FIELD_OBJECT || f->of > FIELD_OBJECT)
        fail_msg("%s: no such type", where);
    if (f->of != FIELD_ANY && f->type != FIELD_LIST)
        fail_msg("%s: only a list has elements", where);
    if (f->max && f->min > f->max)
        fail_msg("%s: from %lld to %lld", where, (long long)f->min, (long long)f->max);
    if (f->type != FIELD_INT && (f->min < 0 || f->max < 0))
        fail_msg("%s: a length below zero", where);
    if (!bounded && (f->min || f->max))
        fail_msg("%s: bounds that nobody looks at", where);
    if ((f->type == FIELD_LIST || f->type == FIELD_OBJECT) && f->min)
        fail_msg("%s: a least count, which is not checked", where);
    if ((f->type == FIELD_STR || f->type == FIELD_ID) && !f->max && f->min > 255)
        fail_msg("%s: longer than the usual limit", where);
}

static void test_bounds(void **state)
{
    for_each_field(check_bounds);
}

static void check_fallback(const char *where, const struct field *f)
{
    json_t *value;
    char why[200] = "";
    struct err err;

    if (!f->fallback)
        return;
    value = json_parse(f->fallback, strlen(f->fallback), why, sizeof(why));
    if (!value)
        fail_msg("%s: the fallback %s: %s", where, f->fallback, why);
    if (resource_check(f, value, &err) != 0)
        fail_msg("%s: the fallback %s: %s", where, f->fallback, err.why);
    /* It goes into the row as it is, hence in the stored form. */
    if (f->type == FIELD_INT && !json_is_integer(value))
        fail_msg("%s: the fallback %s is no number", where, f->fallback);
    if (f->type == FIELD_BOOL && !json_is_boolean(value))
        fail_msg("%s: the fallback %s is neither true nor false", where, f->fallback);
    json_decref(value);
}

static void test_fallbacks_are_valid(void **state)
{
    for_each_field(check_fallback);
}

static void check_choices(const char *where, const struct field *f)
{
    size_t count = 0;
    struct err err;
    json_t *other;

    if (!f->choices)
        return;
    if (f->type != FIELD_STR)
        fail_msg("%s: choices are texts", where);
    for (; f->choices[count]; count++) {
        json_t *value = json_string(f->choices[count]);

        if (resource_check(f, value, &err) != 0)
            fail_msg("%s: the choice %s: %s", where, f->choices[count], err.why);
        json_decref(value);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(f->choices[i], f->choices[count]) == 0)
                fail_msg("%s: the choice %s twice", where, f->choices[i]);
        }
        if (count > 100)
            fail_msg("%s: the choices do not end", where);
    }
    if (count < 2)
        fail_msg("%s: no choice", where);
    other = json_string("none of these");
    if (resource_check(f, other, &err) != -EINVAL)
        fail_msg("%s: takes what is no choice", where);
    if (!strstr(err.why, f->choices[0]))
        fail_msg("%s: does not say what is allowed: %s", where, err.why);
    json_decref(other);
}

static void test_choices(void **state)
{
    for_each_field(check_choices);
}

/* ---- what the tables make of clients' objects ---- */

/* A value that the field takes; NULL: none is known. */
static json_t *sample(const struct field *f)
{
    char text[300];
    size_t length = f->min > 0 ? (size_t)f->min : 1;

    switch (f->type) {
    case FIELD_STR:
    case FIELD_ID:
        memset(text, 'a', sizeof(text));
        return f->choices ? json_string(f->choices[0])
                          : json_stringn(text, length < sizeof(text) ? length : sizeof(text));
    case FIELD_INT:
        return json_integer(f->min);
    case FIELD_BOOL:
        return json_true();
    case FIELD_TIME:
        return json_string("2026-11-22T13:55:39Z");
    case FIELD_IP:
        return json_string("192.0.2.1");
    case FIELD_CIDR:
        return json_string("192.0.2.0/24");
    case FIELD_MAC:
        return json_string("02:00:00:00:00:01");
    case FIELD_LIST:
        return json_array();
    case FIELD_OBJECT:
        return json_object();
    case FIELD_ANY:
        return json_integer(1);
    }
    return NULL;
}

static json_t *body_of(const struct resource *r, unsigned flag, bool admin)
{
    json_t *body = json_object();

    for (size_t i = 0; i < r->field_count; i++) {
        const struct field *f = &r->fields[i];

        if (f->flags & flag && (admin || !(f->flags & FLAGS_BY_ADMIN)))
            json_object_set_new(body, api_name(f), sample(f));
    }
    return body;
}

/* The least that a client must give makes a row in which every stored field has a valid value. */
static void test_least_create(void **state)
{
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];
        json_t *body = body_of(r, FIELD_REQUIRED, false), *row = NULL;
        struct err err = {0};

        if (resource_create(r, body, false, &row, &err) != 0)
            fail_msg("%s: %s: %s", r->table, err.what, err.why);
        for (size_t k = 0; k < r->field_count; k++) {
            const struct field *f = &r->fields[k];
            const json_t *value = json_object_get(row, f->name);

            if (f->flags & FIELD_NOT_STORED && value)
                fail_msg("%s.%s is stored", r->table, f->name);
            if (f->fallback && !value)
                fail_msg("%s.%s has no value", r->table, f->name);
            if (value && resource_check(f, value, &err) != 0)
                fail_msg("%s.%s: %s", r->table, f->name, err.why);
        }
        json_decref(row);
        json_decref(body);
    }
}

/* Without any one of the required fields nothing is made. */
static void test_each_required_field_is_required(void **state)
{
    size_t tried = 0;

    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];

        for (size_t k = 0; k < r->field_count; k++) {
            json_t *body, *row = NULL;
            struct err err = {0};

            if (!(r->fields[k].flags & FIELD_REQUIRED))
                continue;
            body = body_of(r, FIELD_REQUIRED, true);
            json_object_del(body, api_name(&r->fields[k]));
            assert_int_equal(resource_create(r, body, true, &row, &err), -EINVAL);
            assert_null(row);
            assert_non_null(strstr(err.why, api_name(&r->fields[k])));
            json_decref(body);
            tried++;
        }
    }
    assert_true(tried > 10);
}

static void expect_refused(const struct resource *r, const struct field *f, unsigned flag,
                           bool admin, int code)
{
    json_t *body = json_object(), *row = NULL, *kept = json_object();
    struct err err = {0};
    int rc;

    json_object_set_new(body, api_name(f), sample(f));
    rc = flag == FIELD_CREATE ? resource_create(r, body, admin, &row, &err)
                              : resource_update(r, kept, body, admin, &err);
    if (rc != code)
        fail_msg("%s.%s at %s gave %d, not %d", r->table, f->name,
                 flag == FIELD_CREATE ? "create" : "update", rc, code);
    assert_int_equal(json_object_size(kept), 0);
    json_decref(body);
    json_decref(kept);
}

/* For every field, both ways to write it and both kinds of users: what the flags do not allow is
 * refused, so that no client sets a host, a state, a secret or a time. */
static void test_nobody_writes_what_the_flags_forbid(void **state)
{
    static const unsigned ways[] = {FIELD_CREATE, FIELD_UPDATE};
    size_t refused = 0;

    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];

        for (size_t k = 0; k < r->field_count * 2; k++) {
            const struct field *f = &r->fields[k / 2];
            unsigned way = ways[k % 2];

            if (!(f->flags & way)) {
                expect_refused(r, f, way, true, -EINVAL);
                expect_refused(r, f, way, false, -EINVAL);
                refused++;
            } else if (f->flags & FLAGS_BY_ADMIN) {
                expect_refused(r, f, way, false, -EPERM);
                refused++;
            }
        }
    }
    assert_true(refused > 100);
}

/* Everything that may be given is taken at create and at update, and seen again; internal fields
 * are never seen, those for administrators by nobody else. */
static void test_full_rows_and_their_views(void **state)
{
    for (size_t i = 0; resource_all[i]; i++) {
        const struct resource *r = resource_all[i];
        json_t *body = body_of(r, FIELD_CREATE, true), *row = NULL;
        json_t *change = body_of(r, FIELD_UPDATE, true), *views[2];
        struct err err = {0};

        if (resource_create(r, body, true, &row, &err) != 0 ||
            resource_update(r, row, change, true, &err) != 0)
            fail_msg("%s: %s: %s", r->table, err.what, err.why);
        for (size_t k = 0; k < r->field_count; k++)
            json_object_set_new(row, r->fields[k].name, sample(&r->fields[k]));
        views[0] = resource_view(r, row, false);
        views[1] = resource_view(r, row, true);
        for (size_t k = 0; k < r->field_count * 2; k++) {
            const struct field *f = &r->fields[k / 2];
            const json_t *seen = json_object_get(views[k % 2], api_name(f));
            bool hidden = f->flags & (FIELD_INTERNAL | FIELD_FORMED) ||
                          (f->flags & FIELD_ADMIN && k % 2 == 0);

            if (hidden == (seen != NULL))
                fail_msg("%s.%s is %s", r->table, f->name, seen ? "shown" : "hidden");
            if (seen && !json_equal(seen, json_object_get(row, f->name)))
                fail_msg("%s.%s is shown as something else", r->table, f->name);
        }
        json_decref(views[0]);
        json_decref(views[1]);
        json_decref(change);
        json_decref(body);
        json_decref(row);
    }
}

/* A value of each wrong type, and null: a field takes what its type says and nothing else. */
static void check_types(const char *where, const struct field *f)
{
    static const char *const values[] = {"[]", "{}", "true", "1.5", "\"\\u001b\"", "null"};
    struct err err;
    json_t *good = sample(f);

    assert_int_equal(resource_check(f, good, &err), 0);
    json_decref(good);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        json_t *value = json_loads(values[i], JSON_DECODE_ANY, NULL);
        bool text = f->type == FIELD_STR || f->type == FIELD_ID;
        bool fits = json_is_null(value)      ? f->flags & FIELD_NULL
                    : f->type == FIELD_ANY   ? true
                    : json_is_array(value)   ? f->type == FIELD_LIST
                    : json_is_object(value)  ? f->type == FIELD_OBJECT
                    : json_is_boolean(value) ? f->type == FIELD_BOOL
                    : json_is_string(value)  ? text && !f->choices && f->min <= 1
                                             : false;

        if ((resource_check(f, value, &err) == 0) != fits)
            fail_msg("%s: %s is %s", where, values[i], fits ? "refused" : "taken");
        json_decref(value);
    }
}

static void test_types(void **state)
{
    for_each_field(check_types);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_resources),
        cmocka_unit_test(test_names_of_fields),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_fallbacks_are_valid),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_least_create),
        cmocka_unit_test(test_each_required_field_is_required),
        cmocka_unit_test(test_nobody_writes_what_the_flags_forbid),
        cmocka_unit_test(test_full_rows_and_their_views),
        cmocka_unit_test(test_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
