/* Bytes and disks that no row names: which of them go. */
#include "node/sweep.h"

#include "base/json.h"
#include <errno.h>
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

static int refusals; /* how many deletions fail before one succeeds */

static int forget_disk(struct storage_driver *driver, const char *id)
{
    return refusals-- > 0 ? -EIO : forget(driver, id);
}

static const struct storage_ops ops = {
    .name = "test", .image_delete = forget, .disk_delete = forget_disk};
static struct sweep_memory memory;

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
    memory.disks = NULL;
    refusals = 0;
    return db ? 0 : -1;
}

static int teardown(void **state)
{
    mirror_close(db);
    json_decref(gone);
    json_decref(memory.disks);
    return 0;
}

static size_t swept_disks(json_t *ids)
{
    size_t n = sweep_disks(db, &ops, NULL, ids, &memory);

    json_decref(ids);
    return n;
}

static size_t swept(json_t *ids)
{
    size_t n = sweep_unnamed(db, &ops, NULL, ids);

    json_decref(ids);
    return n;
}

static void test_named_bytes_stay(void **state)
{
    put_image(1, "image", NAMED);
    assert_int_equal(swept(json_pack("[s, s]", NAMED, LOST)), 1);
    assert_int_equal(json_array_size(gone), 1);
    assert_string_equal(json_string_value(json_array_get(gone, 0)), LOST);
    assert_int_equal(swept(json_array()), 0);
}

/* A new cloud on an old folder: its rows may still be to come, from a backup. */
static void test_a_cloud_without_images_deletes_nothing(void **state)
{
    assert_int_equal(swept(json_pack("[s]", LOST)), 0);
    put_image(1, "queued", NULL);
    assert_int_equal(swept(json_pack("[s]", LOST)), 0);
    assert_int_equal(json_array_size(gone), 0);
}

static void test_it_is_bounded(void **state)
{
    json_t *ids = json_array();

    put_image(1, "image", NAMED);
    for (int i = 0; i < SWEEP_MAX + 10; i++)
        json_array_append_new(ids, json_sprintf("%08d-2222-4333-8444-555555555555", i));
    assert_int_equal(swept(ids), SWEEP_MAX);
}

static void put_server(int64_t revision, const char *id)
{
    json_t *row = json_pack("{s:s, s:s}", "id", id, "name", "one");
    struct store_change change = {.table = "server", .id = id, .row = row, .revision = revision};

    mirror_apply(db, revision, &change, 1);
    json_decref(row);
}

static void test_a_disk_goes_when_two_looks_found_no_server(void **state)
{
    put_server(1, NAMED);
    assert_int_equal(swept_disks(json_pack("[s, s]", NAMED, LOST)), 0);
    assert_int_equal(swept_disks(json_pack("[s, s]", NAMED, LOST)), 1);
    assert_int_equal(json_array_size(gone), 1);
    assert_string_equal(json_string_value(json_array_get(gone, 0)), LOST);
    /* Not there in between: the count begins anew. */
    assert_int_equal(swept_disks(json_array()), 0);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
}

static void test_a_disk_whose_server_appears_stays(void **state)
{
    put_server(1, NAMED);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    put_server(2, LOST);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    assert_int_equal(json_array_size(gone), 0);
}

static void test_without_servers_no_disk_is_deleted(void **state)
{
    put_image(1, "image", NAMED);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    put_server(2, NAMED);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 1);
}

static void test_a_deletion_that_failed_is_tried_again(void **state)
{
    put_server(1, NAMED);
    refusals = 1;
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 0);
    assert_int_equal(swept_disks(json_pack("[s]", LOST)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_named_bytes_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cloud_without_images_deletes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_it_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_disk_goes_when_two_looks_found_no_server, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_disk_whose_server_appears_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_servers_no_disk_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_deletion_that_failed_is_tried_again, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
