/* The reader of resource tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "base/json.h"
#include "model/tables.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const colours[] = {"red", "green", NULL};

static const struct field fields[] = {
    {.name = "id", .type = FIELD_STR},
    {.name = "name",
     .json = "api:name",
     .type = FIELD_STR,
     .flags = FIELD_REQUIRED | FIELD_CREATE | FIELD_UPDATE,
     .min = 1,
     .max = 4},
    {.name = "size", .type = FIELD_INT, .flags = FIELD_CREATE, .min = -2, .max = 10},
    {.name = "on", .type = FIELD_BOOL, .flags = FIELD_CREATE, .fallback = "true"},
    {.name = "colour", .type = FIELD_STR, .flags = FIELD_CREATE, .choices = colours},
    {.name = "mac", .type = FIELD_MAC, .flags = FIELD_CREATE},
    {.name = "ip", .type = FIELD_IP, .flags = FIELD_CREATE | FIELD_NULL},
    {.name = "net", .type = FIELD_CIDR, .flags = FIELD_CREATE},
    {.name = "list", .type = FIELD_LIST, .flags = FIELD_CREATE, .max = 2},
    {.name = "nets", .type = FIELD_LIST, .of = FIELD_CIDR, .flags = FIELD_CREATE, .max = 2},
    {.name = "at", .type = FIELD_TIME, .flags = FIELD_CREATE},
    {.name = "secret", .type = FIELD_STR, .flags = FIELD_INTERNAL, .fallback = "\"s\""},
    {.name = "host", .type = FIELD_STR, .flags = FIELD_CREATE | FIELD_ADMIN},
};

static const struct resource thing = {
    .table = "thing", .singular = "thing", .plural = "things", RESOURCE_FIELDS(fields)};

/* Creates from JSON text; the row (or NULL) and, in `ret_rc`, the code. */
static json_t *create(const char *text, bool admin, int *ret_rc)
{
    json_t *body = json_loads(text, JSON_DECODE_ANY, NULL), *row = NULL;
    struct err err;

    assert_non_null(body);
    *ret_rc = resource_create(&thing, body, admin, &row, &err);
    json_decref(body);
    return row;
}

static void test_all_tables_are_found(void **state)
{
    for (size_t i = 0; resource_all[i]; i++) {
        assert_ptr_equal(resource_find(resource_all[i]->table), resource_all[i]);
        assert_true(resource_all[i]->field_count > 0);
        for (size_t j = 0; j < resource_all[i]->field_count; j++) {
            const char *fallback = resource_all[i]->fields[j].fallback;
            json_t *value = fallback ? json_loads(fallback, JSON_DECODE_ANY, NULL) : NULL;

            assert_true(!fallback || value);
            json_decref(value);
        }
    }
    assert_null(resource_find("no such table"));
}

static void test_defaults_and_normal_forms(void **state)
{
    json_t *row;
    int rc;

    row = create("{\"api:name\": \"a\", \"size\": \"7\", \"mac\": \"AA-bb-CC-00-11-22\","
                 " \"net\": \"10.0.0.1\", \"colour\": \"red\"}",
                 false, &rc);
    assert_int_equal(rc, 0);
    assert_string_equal(json_str(row, "name", ""), "a");
    assert_int_equal(json_int(row, "size", 0), 7);
    assert_string_equal(json_str(row, "mac", ""), "aa:bb:cc:00:11:22");
    assert_string_equal(json_str(row, "net", ""), "10.0.0.1/32");
    assert_true(json_bool(row, "on", false));
    assert_string_equal(json_str(row, "secret", ""), "s");
    assert_true(json_is_null(json_object_get(row, "ip")));
    assert_null(json_object_get(row, "list"));
    json_decref(row);
}

static void test_bad_input_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "7",
        "{\"api:name\": \"\"}",
        "{\"api:name\": \"abcde\"}",
        "{\"api:name\": 7}",
        "{\"api:name\": null}",
        "{\"name\": \"a\"}",
        "{\"api:name\": \"a\", \"id\": \"x\"}",
        "{\"api:name\": \"a\", \"secret\": \"x\"}",
        "{\"api:name\": \"a\", \"size\": 11}",
        "{\"api:name\": \"a\", \"size\": -3}",
        "{\"api:name\": \"a\", \"size\": \"7x\"}",
        "{\"api:name\": \"a\", \"size\": 1.5}",
        "{\"api:name\": \"a\", \"size\": \"99999999999999999999\"}",
        "{\"api:name\": \"a\", \"on\": \"maybe\"}",
        "{\"api:name\": \"a\", \"colour\": \"blue\"}",
        "{\"api:name\": \"a\", \"mac\": \"aa:bb:cc:00:11\"}",
        "{\"api:name\": \"a\", \"ip\": \"10.0.0.256\"}",
        "{\"api:name\": \"a\", \"net\": \"10.0.0.0/33\"}",
        "{\"api:name\": \"a\", \"net\": \"10.0.0.0/-1\"}",
        "{\"api:name\": \"a\", \"net\": \"10.0.0.0/\"}",
        "{\"api:name\": \"a\", \"list\": [1, 2, 3]}",
        "{\"api:name\": \"a\", \"at\": \"yesterday\"}",
    };
    int rc;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(create(bad[i], true, &rc));
        if (rc != -EINVAL)
            fail_msg("%s gave %d", bad[i], rc);
    }
}

static void test_length_counts_characters(void **state)
{
    json_t *row;
    int rc;

    row = create("{\"api:name\": \"\\u00e4\\u00f6\\u00fc\\u00df\"}", false, &rc);
    assert_int_equal(rc, 0);
    json_decref(row);
}

static void test_only_administrators_set_admin_fields(void **state)
{
    json_t *row, *view;
    int rc;

    assert_null(create("{\"api:name\": \"a\", \"host\": \"h\"}", false, &rc));
    assert_int_equal(rc, -EPERM);
    row = create("{\"api:name\": \"a\", \"host\": \"h\"}", true, &rc);
    assert_int_equal(rc, 0);
    view = resource_view(&thing, row, false);
    assert_null(json_object_get(view, "host"));
    assert_null(json_object_get(view, "secret"));
    assert_null(json_object_get(view, "name"));
    assert_string_equal(json_str(view, "api:name", ""), "a");
    assert_true(json_is_null(json_object_get(view, "list")));
    json_decref(view);
    view = resource_view(&thing, row, true);
    assert_string_equal(json_str(view, "host", ""), "h");
    json_decref(view);
    json_decref(row);
}

static void test_an_update_is_all_or_nothing(void **state)
{
    json_t *row = json_pack("{s:s, s:i}", "name", "a", "size", 1);
    json_t *good = json_pack("{s:s}", "api:name", "b");
    json_t *bad = json_pack("{s:s, s:i}", "api:name", "c", "size", 2);
    struct err err;

    assert_int_equal(resource_update(&thing, row, bad, true, &err), -EINVAL);
    assert_string_equal(json_str(row, "name", ""), "a");
    assert_int_equal(resource_update(&thing, row, good, true, &err), 0);
    assert_string_equal(json_str(row, "name", ""), "b");
    assert_int_equal(json_int(row, "size", 0), 1);
    json_decref(row);
    json_decref(good);
    json_decref(bad);
}

static void test_elements_of_lists(void **state)
{
    static const char *const bad[] = {"[\"10.0.0.0/33\"]", "[\"10.0.0.1\", 5]", "[null]",
                                      "[\"::\", \"::1\", \"::2\"]", "\"10.0.0.1\""};
    int rc;
    json_t *row =
        create("{\"api:name\": \"a\", \"nets\": [\"10.0.0.1\", \"fd00::/8\"]}", false, &rc);

    assert_int_equal(rc, 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(row, "nets"), 0)),
                        "10.0.0.1/32");
    assert_string_equal(json_string_value(json_array_get(json_object_get(row, "nets"), 1)),
                        "fd00::/8");
    json_decref(row);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128];

        snprintf(text, sizeof(text), "{\"api:name\": \"a\", \"nets\": %s}", bad[i]);
        row = create(text, false, &rc);
        assert_null(row);
        assert_int_equal(rc, -EINVAL);
    }
}

static void test_titles(void **state)
{
    char title[32], little[4];

    assert_string_equal(resource_title(&resource_floatingip, title, sizeof(title)), "Floating IP");
    assert_string_equal(resource_title(&resource_security_group_rule, title, sizeof(title)),
                        "Security group rule");
    assert_string_equal(resource_title(&resource_network, little, sizeof(little)), "Net");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_tables_are_found),
        cmocka_unit_test(test_defaults_and_normal_forms),
        cmocka_unit_test(test_bad_input_is_refused),
        cmocka_unit_test(test_elements_of_lists),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_length_counts_characters),
        cmocka_unit_test(test_only_administrators_set_admin_fields),
        cmocka_unit_test(test_an_update_is_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
