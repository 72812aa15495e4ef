/* The file of a backup: what is taken, and that a change of it is seen. */
#include "model/backup.h"

#include "base/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *backup_new(void)
{
    return json_pack("{s:i, s:s, s:i, s:s, s:[{s:s, s:{s:s, s:{s:s}}}, {s:s, s:{s:s, s:s, s:f}}]}",
                     "vling_backup", 1, "version", "0.1.0", "revision", 7, "time",
                     "2026-11-28T00:00:00Z", "rows", "table", "setting", "row", "id", "cluster",
                     "value", "made_by", "h1", "table", "server", "row", "id", "s1", "name", "web",
                     "weight", 0.1);
}

static json_t *sealed(void)
{
    json_t *backup = backup_new();

    backup_seal(backup);
    return backup;
}

static void expect_refused(const json_t *backup, const char *why)
{
    struct err err = {0};
    bool is_sealed;

    assert_true(backup_check(backup, &is_sealed, &err) < 0);
    if (!strstr(err.why, why))
        fail_msg("not '%s': %s: %s", why, err.what, err.why);
}

static void test_a_sealed_one_is_taken(void **state)
{
    json_t *backup = sealed();
    bool is_sealed = false;

    assert_int_equal(backup_check(backup, &is_sealed, NULL), 0);
    assert_true(is_sealed);
    assert_int_equal(json_int(backup, "row_count", 0), 2);
    assert_int_equal(strlen(json_str(backup, "sha512", "")), 128);
    json_decref(backup);
}

/* Its content counts, not its form. */
static void test_the_form_does_not_matter(void **state)
{
    static const size_t forms[] = {JSON_COMPACT, JSON_INDENT(4), JSON_SORT_KEYS | JSON_INDENT(2),
                                   JSON_ENSURE_ASCII};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        json_t *backup = sealed(), *again;
        char *text = json_dumps(backup, forms[i]);
        bool is_sealed;

        again = json_loads(text, 0, NULL);
        assert_int_equal(backup_check(again, &is_sealed, NULL), 0);
        free(text);
        json_decref(again);
        json_decref(backup);
    }
}

static void test_each_changed_bit_is_seen(void **state)
{
    json_t *backup = sealed();
    char *text = json_dumps(backup, JSON_COMPACT);
    size_t size = strlen(text), seen = 0;

    for (size_t i = 0; i < 8 * size; i++) {
        json_t *changed;
        bool is_sealed = true;

        text[i / 8] ^= 1 << i % 8;
        changed = json_loadb(text, size, 0, NULL);
        /* Without the member "sha512" it is one of an older release. */
        if (changed && backup_check(changed, &is_sealed, NULL) == 0 && is_sealed &&
            !json_equal(changed, backup))
            fail_msg("bit %zu of %s", i, text);
        seen += changed != NULL;
        json_decref(changed);
        text[i / 8] ^= 1 << i % 8;
    }
    assert_true(seen > size); /* most changes leave it JSON */
    free(text);
    json_decref(backup);
}

static void test_a_lost_row_is_seen(void **state)
{
    json_t *backup = sealed();

    json_array_remove(json_object_get(backup, "rows"), 1);
    expect_refused(backup, "it has 1 rows and says that it has 2");
    json_put_int(backup, "row_count", 1);
    expect_refused(backup, "SHA-512");
    json_decref(backup);
}

static void test_one_of_an_older_release_is_taken(void **state)
{
    json_t *backup = backup_new();
    bool is_sealed = true;

    assert_int_equal(backup_check(backup, &is_sealed, NULL), 0);
    assert_false(is_sealed);
    json_decref(backup);
}

static void test_what_is_none_is_refused(void **state)
{
    json_t *backup = json_object();

    expect_refused(backup, "it is none");
    json_put_int(backup, "vling_backup", 2);
    expect_refused(backup, "version unknown");
    json_put_int(backup, "vling_backup", 1);
    expect_refused(backup, "no rows");
    json_object_set_new(backup, "rows", json_array());
    expect_refused(backup, "setting/cluster is missing");
    json_decref(backup);
    backup = backup_new();
    json_put_str(json_array_get(json_object_get(backup, "rows"), 1), "table", "lease");
    expect_refused(backup, "row 1 (table \"lease\") is damaged");
    json_put_str(json_array_get(json_object_get(backup, "rows"), 1), "table", "nonsense");
    expect_refused(backup, "row 1 (table \"nonsense\") is damaged");
    json_decref(backup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sealed_one_is_taken),
        cmocka_unit_test(test_the_form_does_not_matter),
        cmocka_unit_test(test_each_changed_bit_is_seen),
        cmocka_unit_test(test_a_lost_row_is_seen),
        cmocka_unit_test(test_one_of_an_older_release_is_taken),
        cmocka_unit_test(test_what_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
