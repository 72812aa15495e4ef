/* When a disk is called full. */
#include "node/space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void test_levels(void **state)
{
    assert_int_equal(space_level(100 * GIB, 50 * GIB), SPACE_FINE);
    assert_int_equal(space_level(100 * GIB, 2 * GIB), SPACE_FINE); /* a gibibyte is enough */
    assert_int_equal(space_level(100 * GIB, 900 * MIB), SPACE_LOW);
    assert_int_equal(space_level(GIB, 100 * MIB), SPACE_FINE); /* a small disk may be small */
    assert_int_equal(space_level(GIB, 50 * MIB), SPACE_LOW);
    assert_int_equal(space_level(GIB, 15 * MIB), SPACE_FULL);
    assert_int_equal(space_level(1000 * GIB, 0), SPACE_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
