/* The growing byte buffer: its limit, its zero at the end, and that failure sticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

static void test_empty(void **state)
{
    struct buf b;

    buf_init(&b, 100);
    assert_string_equal(buf_text(&b), "");
    buf_add(&b, "", 0);
    buf_str(&b, "");
    buf_printf(&b, "%s", "");
    buf_consume(&b, 7);
    buf_clear(&b);
    assert_string_equal(buf_text(&b), "");
    assert_int_equal(b.len, 0);
    assert_false(b.failed);
    buf_free(&b);
    buf_free(&b);
}

static void test_adds_in_order_and_ends_with_zero(void **state)
{
    struct buf b;

    buf_init(&b, 100);
    buf_str(&b, "one");
    buf_add(&b, "\0two", 4);
    buf_printf(&b, "-%d-%s", 3, "four");
    assert_int_equal(b.len, 14);
    assert_memory_equal(b.data, "one\0two-3-four", 15);
    assert_false(b.failed);
    buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.limit, 100);
    buf_str(&b, "again");
    assert_string_equal(buf_text(&b), "again");
    buf_free(&b);
}

/* Sizes around each doubling, in single bytes and in one piece. */
static void test_grows_to_the_limit(void **state)
{
    static const size_t sizes[] = {1, 254, 255, 256, 257, 511, 512, 513, 4095, 4096, 65537};
    static char bytes[65537];

    memset(bytes, 'x', sizeof(bytes));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf one, many;

        buf_init(&one, sizes[i]);
        buf_init(&many, sizes[i]);
        buf_add(&one, bytes, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            buf_add(&many, bytes, 1);
        assert_false(one.failed);
        assert_false(many.failed);
        assert_int_equal(one.len, sizes[i]);
        assert_int_equal(many.len, sizes[i]);
        assert_memory_equal(one.data, bytes, sizes[i]);
        assert_memory_equal(many.data, bytes, sizes[i]);
        assert_int_equal(one.data[sizes[i]], 0);
        assert_int_equal(many.data[sizes[i]], 0);
        buf_add(&one, bytes, 1);
        buf_printf(&many, "%c", 'x');
        assert_true(one.failed);
        assert_true(many.failed);
        assert_int_equal(one.len, sizes[i]);
        assert_int_equal(many.len, sizes[i]);
        buf_free(&one);
        buf_free(&many);
    }
}

/* Whoever adds ten pieces and looks once at the end must not find the ninth missing silently. */
static void test_failure_sticks_until_cleared(void **state)
{
    struct buf b;

    buf_init(&b, 8);
    buf_str(&b, "12345");
    buf_str(&b, "6789");
    assert_true(b.failed);
    buf_str(&b, "6");
    buf_printf(&b, "%d", 7);
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "12345");
    buf_consume(&b, 5);
    buf_str(&b, "a");
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "");
    buf_clear(&b);
    assert_false(b.failed);
    buf_str(&b, "12345678");
    assert_false(b.failed);
    assert_string_equal(buf_text(&b), "12345678");
    buf_free(&b);
}

static void test_no_room_at_all(void **state)
{
    struct buf b;

    buf_init(&b, 0);
    buf_add(&b, "x", 0);
    assert_false(b.failed);
    buf_str(&b, "x");
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "");
    buf_free(&b);
    assert_false(b.failed);
}

/* A size beyond any memory must not wrap round the check of the limit. */
static void test_a_size_that_would_wrap(void **state)
{
    struct buf b;

    buf_init(&b, 1000);
    buf_str(&b, "abc");
    buf_add(&b, "abc", SIZE_MAX);
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "abc");
    buf_clear(&b);
    buf_add(&b, "abc", SIZE_MAX - 2);
    assert_true(b.failed);
    buf_free(&b);
}

static void test_consume(void **state)
{
    struct buf b;

    buf_init(&b, 10);
    buf_str(&b, "0123456789");
    buf_consume(&b, 0);
    assert_string_equal(buf_text(&b), "0123456789");
    buf_consume(&b, 3);
    assert_string_equal(buf_text(&b), "3456789");
    assert_int_equal(b.len, 7);
    buf_str(&b, "abc"); /* the room is free again */
    assert_false(b.failed);
    assert_string_equal(buf_text(&b), "3456789abc");
    buf_consume(&b, 11);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_text(&b), "");
    buf_free(&b);
}

/* A text that cannot be written out counts as lost, not as empty. */
static void test_a_format_that_fails(void **state)
{
    struct buf b;

    buf_init(&b, 100);
    buf_str(&b, "abc");
    buf_printf(&b, "%ls", L"\x20ac"); /* no such character in the C locale */
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "abc");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_adds_in_order_and_ends_with_zero),
        cmocka_unit_test(test_grows_to_the_limit),
        cmocka_unit_test(test_failure_sticks_until_cleared),
        cmocka_unit_test(test_no_room_at_all),
        cmocka_unit_test(test_a_size_that_would_wrap),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_a_format_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
