/* The fake drivers: guests that run at once, disks that are names, and the choice by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "drv/driver.h"

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static uv_loop_t loop;
static int result;

static void on_done(void *arg, int rc, const struct err *err)
{
    assert_true((rc < 0) == (err != NULL));
    result = rc;
}

static void on_changed(void *arg, const char *id)
{
}

static void found_by_name(void **state)
{
    assert_ptr_equal(compute_driver_find("qemu"), &compute_qemu);
    assert_ptr_equal(compute_driver_find("fake"), &compute_fake);
    assert_ptr_equal(storage_driver_find("dir"), &storage_dir);
    assert_ptr_equal(storage_driver_find("fake"), &storage_fake);
    assert_ptr_equal(network_driver_find("linux"), &network_linux);
    assert_ptr_equal(network_driver_find("fake"), &network_fake);
    assert_null(compute_driver_find("dir"));
    assert_null(storage_driver_find("qemu"));
    assert_null(network_driver_find(""));
}

static enum guest_power power_of(struct compute_driver *driver, const char *id)
{
    struct guest_info info;

    return compute_fake.get(driver, id, &info) ? info.power : GUEST_ABSENT;
}

static void guests_run_at_once(void **state)
{
    const struct compute_ops *ops = &compute_fake;
    struct guest_spec one = {.id = "one", .generation = 3, .ram_mb = 64}, two = {.id = "two"};
    struct guest_info infos[1];
    struct err err;
    struct compute_driver *driver = ops->open(&loop, NULL, on_changed, NULL, &err);

    assert_non_null(driver);
    ops->pause(driver, "one", on_done, NULL);
    assert_int_equal(result, -ENOENT);
    ops->start(driver, &one, on_done, NULL);
    assert_int_equal(result, 0);
    assert_int_equal(ops->list(driver, infos, 1), 1);
    assert_string_equal(infos[0].id, "one");
    assert_int_equal(infos[0].generation, 3);
    assert_int_equal(infos[0].power, GUEST_RUNNING);
    ops->start(driver, &two, on_done, NULL);
    assert_int_equal(ops->list(driver, infos, 1), 2);

    ops->start(driver, &one, on_done, NULL);
    assert_int_equal(result, 0);
    one.generation = 4;
    ops->start(driver, &one, on_done, NULL);
    assert_int_equal(result, -EBUSY);
    ops->pause(driver, "one", on_done, NULL);
    assert_int_equal(power_of(driver, "one"), GUEST_PAUSED);
    ops->resume(driver, "one", on_done, NULL);
    assert_int_equal(power_of(driver, "one"), GUEST_RUNNING);
    ops->stop(driver, "one", 1000, on_done, NULL);
    assert_int_equal(power_of(driver, "one"), GUEST_STOPPED);
    ops->resume(driver, "one", on_done, NULL);
    assert_int_equal(result, -ENOENT);
    ops->start(driver, &one, on_done, NULL);
    assert_int_equal(result, 0);
    assert_int_equal(power_of(driver, "one"), GUEST_RUNNING);
    ops->destroy(driver, "one", on_done, NULL);
    assert_int_equal(result, 0);
    assert_int_equal(power_of(driver, "one"), GUEST_ABSENT);
    ops->destroy(driver, "one", on_done, NULL);
    assert_int_equal(result, 0);
    ops->close(driver);
}

static void images_are_kept_in_memory(void **state)
{
    const struct storage_ops *ops = &storage_fake;
    struct err err;
    struct storage_driver *driver = ops->open(&loop, NULL, &err);
    struct storage_upload *upload = ops->upload_begin(driver, "image", &err), *late;
    char text[8] = "";
    uint64_t size;
    int fd;

    assert_int_equal(ops->upload_write(upload, "ab", 2), 0);
    assert_int_equal(ops->upload_write(upload, "cde", 3), 0);
    assert_int_equal(ops->image_open(driver, "image", &fd, &size, &err), -ENOENT);
    late = ops->upload_begin(driver, "image", &err);
    assert_int_equal(ops->upload_commit(upload, &err), 0);
    assert_int_equal(ops->upload_commit(late, &err), -EEXIST);
    ops->upload_abort(ops->upload_begin(driver, "image", &err));
    for (int i = 0; i < 2; i++) { /* each reader begins at the beginning */
        assert_int_equal(ops->image_open(driver, "image", &fd, &size, &err), 0);
        assert_int_equal(size, 5);
        assert_int_equal(read(fd, text, sizeof(text)), 5);
        assert_memory_equal(text, "abcde", 5);
        close(fd);
    }
    assert_int_equal(ops->image_delete(driver, "image"), 0);
    assert_int_equal(ops->image_delete(driver, "image"), -ENOENT);
    ops->close(driver);
}

static void disks_are_names(void **state)
{
    const struct storage_ops *ops = &storage_fake;
    struct err err;
    struct storage_driver *driver = ops->open(&loop, NULL, &err);
    char path[80], format[16];

    assert_int_equal(ops->disk_locate(driver, "one", path, sizeof(path), format, sizeof(format)),
                     -ENOENT);
    ops->disk_create(driver, "one", "image", "qcow2", 1, on_done, NULL);
    assert_int_equal(result, 0);
    assert_int_equal(ops->disk_locate(driver, "one", path, sizeof(path), format, sizeof(format)),
                     0);
    assert_string_equal(format, "raw");
    assert_int_equal(ops->disk_locate(driver, "one", path, 3, format, sizeof(format)),
                     -ENAMETOOLONG);
    assert_int_equal(ops->disk_delete(driver, "one"), 0);
    assert_int_equal(ops->disk_delete(driver, "one"), -ENOENT);
    ops->close(driver);
}

static void taps_have_short_names(void **state)
{
    char one[16], two[16];

    network_fake.tap_name("0a1b2c3d-4e5f-4a6b-8c7d-0123456789ab", one);
    network_fake.tap_name("0a1b2c3d-4e60-4a6b-8c7d-0123456789ab", two);
    assert_true(strlen(one) < sizeof(one));
    assert_string_not_equal(one, two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_name),
        cmocka_unit_test(guests_run_at_once),
        cmocka_unit_test(images_are_kept_in_memory),
        cmocka_unit_test(disks_are_names),
        cmocka_unit_test(taps_have_short_names),
    };

    uv_loop_init(&loop);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
