/* Identifiers: their form, that they differ, and what is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DRAWS 2000

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void assert_all_differ(char *ids, size_t size)
{
    qsort(ids, DRAWS, size, by_text);
    for (size_t i = 1; i < DRAWS; i++)
        assert_true(strcmp(ids + (i - 1) * size, ids + i * size) != 0);
}

static void test_uuids(void **state)
{
    static char ids[DRAWS][ID_UUID_SIZE];

    for (size_t i = 0; i < DRAWS; i++) {
        memset(ids[i], '#', sizeof(ids[i]));
        id_uuid(ids[i]);
        assert_int_equal(strlen(ids[i]), 36);
        assert_true(id_is_uuid(ids[i]));
        for (size_t k = 0; k < 36; k++) {
            if (k == 8 || k == 13 || k == 18 || k == 23)
                assert_int_equal(ids[i][k], '-');
            else
                assert_non_null(strchr("0123456789abcdef", ids[i][k]));
        }
        assert_int_equal(ids[i][14], '4');           /* version */
        assert_non_null(strchr("89ab", ids[i][19])); /* variant */
    }
    assert_all_differ(ids[0], ID_UUID_SIZE);
}

static void test_hex_ids(void **state)
{
    static char ids[DRAWS][ID_HEX_SIZE];

    for (size_t i = 0; i < DRAWS; i++) {
        memset(ids[i], '#', sizeof(ids[i]));
        id_hex(ids[i]);
        assert_int_equal(strlen(ids[i]), 32);
        assert_int_equal(strspn(ids[i], "0123456789abcdef"), 32);
        assert_int_equal(ids[i][12], '4');
        assert_non_null(strchr("89ab", ids[i][16]));
        assert_true(id_is_uuid(ids[i]));
    }
    assert_all_differ(ids[0], ID_HEX_SIZE);
}

/* Each bit is drawn both ways: 128 draws miss one of 512 bits once in 10^36 runs. */
static void test_random_bytes(void **state)
{
    unsigned char ones[64] = {0}, zeros[64] = {0}, bytes[66];

    for (int i = 0; i < 128; i++) {
        memset(bytes, 0x5a, sizeof(bytes));
        id_random(bytes + 1, 64);
        assert_int_equal(bytes[0], 0x5a);
        assert_int_equal(bytes[65], 0x5a);
        for (size_t k = 0; k < 64; k++) {
            ones[k] |= bytes[k + 1];
            zeros[k] |= (unsigned char)~bytes[k + 1];
        }
    }
    for (size_t k = 0; k < 64; k++) {
        assert_int_equal(ones[k], 0xff);
        assert_int_equal(zeros[k], 0xff);
    }
    id_random(bytes, 0);
    assert_int_equal(bytes[0], 0x5a);
}

/* More than the kernel gives in one piece without interruption (256 bytes), up to the last one. */
static void test_many_random_bytes(void **state)
{
    size_t size = 1 << 20;
    unsigned char *bytes = calloc(1, size + 1);
    size_t tail = 0;

    assert_non_null(bytes);
    id_random(bytes, size);
    for (size_t i = size - 64; i < size; i++)
        tail += bytes[i] != 0;
    assert_true(tail > 0);
    assert_int_equal(bytes[size], 0);
    free(bytes);
}

static void test_what_is_a_uuid(void **state)
{
    static const char *const good[] = {
        "f4bc1590-c5f5-43b6-8fa6-2117d67742f9", "F4BC1590-C5F5-43B6-8FA6-2117D67742F9",
        "f4bc1590c5f543b68fa62117d67742f9",     "00000000-0000-0000-0000-000000000000",
        "ffffffffffffffffffffffffffffffff",
    };
    static const char *const bad[] = {
        "",
        "-",
        "default",
        "f4bc1590-c5f5-43b6-8fa6-2117d67742f",
        "f4bc1590-c5f5-43b6-8fa6-2117d67742f99",
        "f4bc1590c5f543b68fa62117d67742f",
        "f4bc1590c5f543b68fa62117d67742f99",
        "g4bc1590-c5f5-43b6-8fa6-2117d67742f9",
        " 4bc1590c5f543b68fa62117d67742f9",
        "f4bc1590-c5f5-43b6-8fa6-2117d67742f9\n",
        "{f4bc1590-c5f5-43b6-8fa6-2117d67742f}",
        "../c1590-c5f5-43b6-8fa6-2117d67742f9",
        "------------------------------------",
        /* Right in number, wrong in place: another text for what may be the same id. */
        "f4bc-1590c5f5-43b6-8fa6-2117d67742f9",
        "----f4bc1590c5f543b68fa62117d67742f9",
        "f4bc1590c5f543b68fa62117d67742f9----",
        "f4bc1590-c5f543b68fa62117d67742f9",
        "f4bc1590-c5f5-43b6-8fa62117d67742f9",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!id_is_uuid(good[i]))
            fail_msg("\"%s\" was refused", good[i]);
    }
    assert_false(id_is_uuid(NULL));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (id_is_uuid(bad[i]))
            fail_msg("\"%s\" was taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuids),          cmocka_unit_test(test_hex_ids),
        cmocka_unit_test(test_random_bytes),   cmocka_unit_test(test_many_random_bytes),
        cmocka_unit_test(test_what_is_a_uuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
