#include "ha/neighbours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Three cabinets of three, the first of each a controller, not in order. */
static const struct neighbour_host nine[] = {
    {"c2", "c", false}, {"a1", "a", true},  {"b3", "b", false},
    {"a2", "a", false}, {"b1", "b", true},  {"b2", "b", false},
    {"c1", "c", true},  {"a3", "a", false}, {"c3", "c", false}};

static const char *text(const struct neighbour_host *hosts, size_t count, const char *self)
{
    static char line[100];
    size_t ret[NEIGHBOURS_MAX], n = neighbours_of(hosts, count, self, ret);

    line[0] = '\0';
    for (size_t i = 0; i < n; i++)
        sprintf(line + strlen(line), "%s ", hosts[ret[i]].id);
    return line;
}

static void two_in_other_cabinets(void **state)
{
    assert_string_equal(text(nine, 9, "a1"), "b2 c2 ");
    assert_string_equal(text(nine, 9, "a2"), "b3 c3 ");
    assert_string_equal(text(nine, 9, "a3"), "b2 c2 ");
    assert_string_equal(text(nine, 9, "b2"), "c3 a3 ");
    assert_string_equal(text(nine, 9, "c3"), "a2 b2 ");
    assert_string_equal(text(nine, 9, "zz"), "");
}

/* No host has to hear many more than another. */
static void they_are_spread(void **state)
{
    size_t heard[9] = {0};

    for (size_t i = 0; i < 9; i++) {
        size_t ret[NEIGHBOURS_MAX], n = neighbours_of(nine, 9, nine[i].id, ret);

        assert_int_equal(n, 2);
        for (size_t k = 0; k < n; k++) {
            assert_false(nine[ret[k]].controller);
            assert_string_not_equal(nine[ret[k]].cabinet, nine[i].cabinet);
            heard[ret[k]]++;
        }
    }
    for (size_t i = 0; i < 9; i++)
        assert_in_range(heard[i], nine[i].controller ? 0 : 2, nine[i].controller ? 0 : 4);
}

static void where_there_are_few_there_are_few(void **state)
{
    static const struct neighbour_host two[] = {{"a1", "a", true}, {"b1", "b", false}};
    static const struct neighbour_host one_cabinet[] = {{"a1", "a", true}, {"a2", "a", false}};

    assert_string_equal(text(two, 2, "a1"), "b1 ");
    assert_string_equal(text(two, 2, "b1"), "");
    assert_string_equal(text(one_cabinet, 2, "a1"), "");
    assert_string_equal(text(NULL, 0, "a1"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_in_other_cabinets),
        cmocka_unit_test(they_are_spread),
        cmocka_unit_test(where_there_are_few_there_are_few),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
