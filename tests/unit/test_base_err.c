/* Failures as people read them: what is filled, what is cut, what may be missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include <errno.h>
#include <string.h>

#include <cmocka.h>

static void test_all_parts(void **state)
{
    struct err err;
    char line[256];

    assert_int_equal(err_set(&err, -ENOENT, "cannot start web1", "no QEMU", "install it"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.what, "cannot start web1");
    assert_string_equal(err.why, "no QEMU");
    assert_string_equal(err.remedy, "install it");
    assert_ptr_equal(err_line(&err, line, sizeof(line)), line);
    assert_string_equal(line, "cannot start web1: no QEMU (install it)");
}

static void test_missing_parts(void **state)
{
    struct err err;
    char line[256];

    memset(&err, 'x', sizeof(err)); /* whatever it held before is gone */
    assert_int_equal(err_set(&err, -EACCES, "cannot read", NULL, NULL), -EACCES);
    assert_string_equal(err.why, strerror(EACCES));
    assert_string_equal(err.remedy, "");
    err_set(&err, -EACCES, "cannot read", "it is locked", NULL);
    assert_string_equal(err_line(&err, line, sizeof(line)), "cannot read: it is locked");
    err_set(&err, -EACCES, NULL, "it is locked", "");
    assert_string_equal(err.what, "");
    assert_string_equal(err_line(&err, line, sizeof(line)), ": it is locked");
}

static void test_nobody_wants_to_know(void **state)
{
    assert_int_equal(err_set(NULL, -EIO, "a", "b", "c"), -EIO);
    assert_int_equal(err_set(NULL, -EIO, NULL, NULL, NULL), -EIO);
    assert_int_equal(err_why(NULL, -EPERM, "a", "%d", 1), -EPERM);
}

static void test_formatted(void **state)
{
    struct err err;

    memset(&err, 'x', sizeof(err));
    assert_int_equal(err_why(&err, -EINVAL, "bad number", "%d is not within %s", 7, "1 and 6"),
                     -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_string_equal(err.what, "bad number");
    assert_string_equal(err.why, "7 is not within 1 and 6");
    assert_string_equal(err.remedy, "");
    /* A cause becomes part of what the caller says of it. */
    err_why(&err, -EIO, "cannot go on", "%s: %s", err.what, err.why);
    assert_string_equal(err.what, "cannot go on");
    assert_string_equal(err.why, "bad number: 7 is not within 1 and 6");
    /* Texts from outside are no formats. */
    err_set(&err, -EIO, "%s%n", "%s%n", "%s%n");
    assert_string_equal(err.what, "%s%n");
    assert_string_equal(err.why, "%s%n");
    assert_string_equal(err.remedy, "%s%n");
}

static void test_long_texts_are_cut(void **state)
{
    char text[1024], line[sizeof(struct err) + 16], small[6];
    struct err err;

    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    memset(&err, 'x', sizeof(err));
    err_set(&err, -EIO, text, text, text);
    assert_int_equal(strlen(err.what), sizeof(err.what) - 1);
    assert_int_equal(strlen(err.why), sizeof(err.why) - 1);
    assert_int_equal(strlen(err.remedy), sizeof(err.remedy) - 1);
    err_why(&err, -EIO, text, "%s", text);
    assert_int_equal(strlen(err.why), sizeof(err.why) - 1);
    err_set(&err, -EIO, text, text, text);
    assert_int_equal(strlen(err_line(&err, line, sizeof(line))),
                     sizeof(err.what) + sizeof(err.why) + sizeof(err.remedy) + 2);
    err_set(&err, -EIO, "what", "why", "remedy");
    assert_string_equal(err_line(&err, small, sizeof(small)), "what:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_parts),
        cmocka_unit_test(test_missing_parts),
        cmocka_unit_test(test_nobody_wants_to_know),
        cmocka_unit_test(test_formatted),
        cmocka_unit_test(test_long_texts_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
