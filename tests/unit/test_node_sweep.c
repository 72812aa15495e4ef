/* Bytes that no image's row names: which of them go. */
#include "node/sweep.h"

#include "base/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NAMED "11111111-2222-4333-8444-555555555555"
#define LOST "22222222-2222-4333-8444-555555555555"

static struct mirror *db;
static json_t *gone;

static int forget(struct storage_driver *driver, const char *id)
{
    json_array_append_new(gone, json_string(id));
    return 0;
}

static const struct storage_ops ops = {.name = "test", .image_delete = forget};

static void put_image(int64_t revision, const char *id, const char *blob)
{
    json_t *row = json_pack("{s:s, s:s, s:s?}", "id", id, "status", "active", "blob", blob);
    struct store_change change = {.table = "image", .id = id, .row = row, .revision = revision};

    mirror_apply(db, revision, &change, 1);
    json_decref(row);
}

static int setup(void **state)
{
    struct err err;

    db = mirror_open_detached(&err);
    gone = json_array();
    return db ? 0 : -1;
}

static int teardown(void **state)
{
    mirror_close(db);
    json_decref(gone);
    return 0;
}

static size_t sweep(json_t *ids)
{
    size_t n = sweep_unnamed(db, &ops, NULL, ids);

    json_decref(ids);
    return n;
}

static void test_named_bytes_stay(void **state)
{
    put_image(1, "image", NAMED);
    assert_int_equal(sweep(json_pack("[s, s]", NAMED, LOST)), 1);
    assert_int_equal(json_array_size(gone), 1);
    assert_string_equal(json_string_value(json_array_get(gone, 0)), LOST);
    assert_int_equal(sweep(json_array()), 0);
}

/* A new cloud on an old folder: its rows may still be to come, from a backup. */
static void test_a_cloud_without_images_deletes_nothing(void **state)
{
    assert_int_equal(sweep(json_pack("[s]", LOST)), 0);
    put_image(1, "queued", NULL);
    assert_int_equal(sweep(json_pack("[s]", LOST)), 0);
    assert_int_equal(json_array_size(gone), 0);
}

static void test_it_is_bounded(void **state)
{
    json_t *ids = json_array();

    put_image(1, "image", NAMED);
    for (int i = 0; i < SWEEP_MAX + 10; i++)
        json_array_append_new(ids, json_sprintf("%08d-2222-4333-8444-555555555555", i));
    assert_int_equal(sweep(ids), SWEEP_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_named_bytes_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cloud_without_images_deletes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_it_is_bounded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
