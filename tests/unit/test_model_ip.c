#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "model/ip.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct ip_addr at(const char *text)
{
    struct ip_addr addr;

    assert_int_equal(ip_parse(text, &addr), 0);
    return addr;
}

static struct ip_cidr net(const char *text)
{
    struct ip_cidr cidr;

    assert_int_equal(ip_cidr_parse(text, &cidr), 0);
    return cidr;
}

static void is(struct ip_addr addr, const char *text)
{
    char out[IP_TEXT_SIZE];

    assert_string_equal(ip_format(&addr, out), text);
}

static void test_text(void **state)
{
    static const char *const bad[] = {"",      "10.0.0", "10.0.0.256", "10.0.0.1/24", "x",
                                      "1:2:3", ":::",    "10.0.0.1 ",  NULL};
    struct ip_addr addr;

    is(at("10.0.0.1"), "10.0.0.1");
    is(at("2001:DB8:0:0::1"), "2001:db8::1");
    for (size_t i = 0; bad[i]; i++)
        assert_int_equal(ip_parse(bad[i], &addr), -EINVAL);
    assert_int_equal(ip_parse(NULL, &addr), -EINVAL);
}

static void test_arithmetic(void **state)
{
    struct ip_addr a = at("10.0.0.255"), b = at("10.0.2.0"), low = at("::"), high = at("ffff::");

    is(ip_add(a, 1), "10.0.1.0");
    is(ip_add(at("255.255.255.255"), 1), "0.0.0.0");
    is(ip_before(at("10.0.1.0")), "10.0.0.255");
    is(ip_add(at("2001:db8::ffff"), 1), "2001:db8::1:0");
    assert_int_equal(ip_count(&a, &b), 258);
    assert_int_equal(ip_count(&b, &a), 0);
    assert_int_equal(ip_count(&a, &a), 1);
    assert_true(ip_count(&low, &high) == UINT64_MAX);
    assert_int_equal(ip_count(&a, &high), 0);
    assert_true(ip_compare(&a, &b) < 0 && ip_compare(&b, &a) > 0 && ip_compare(&a, &low) < 0);
}

static void test_cidr(void **state)
{
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/",  "10.0.0.0/-1",   "10.0.0.0/8x",
                                      "/8",          "fd00::/129", "10.0.0.0/0008", NULL};
    struct ip_cidr a = net("10.1.2.3/16"), b = net("10.1.128.0/17"), c = net("10.2.0.0/16");
    struct ip_cidr tiny = net("10.0.0.4/31"), six = net("fd00::5/64"), any = net("0.0.0.0/0");
    struct ip_addr in = at("10.1.255.255"), out = at("10.2.0.0"), first = at("10.1.0.0");
    char text[IP_CIDR_TEXT_SIZE];

    assert_string_equal(ip_cidr_format(&a, text), "10.1.0.0/16");
    assert_true(ip_cidr_contains(&a, &in) && !ip_cidr_contains(&a, &out));
    assert_false(ip_cidr_contains(&six, &in));
    assert_true(ip_cidr_overlaps(&a, &b) && ip_cidr_overlaps(&b, &a));
    assert_true(!ip_cidr_overlaps(&a, &c) && ip_cidr_overlaps(&any, &c));
    assert_false(ip_cidr_overlaps(&any, &six));
    is(ip_cidr_first_host(&a), "10.1.0.1");
    is(ip_cidr_last_host(&a), "10.1.255.254");
    is(ip_cidr_last(&a), "10.1.255.255");
    is(ip_cidr_first_host(&tiny), "10.0.0.4");
    is(ip_cidr_last_host(&tiny), "10.0.0.5");
    is(ip_cidr_last_host(&six), "fd00::ffff:ffff:ffff:ffff");
    assert_true(!ip_cidr_is_host(&a, &in) && !ip_cidr_is_host(&a, &first));
    for (size_t i = 0; bad[i]; i++)
        assert_int_equal(ip_cidr_parse(bad[i], &a), -EINVAL);
}

static bool is_odd_or_low(void *arg, const struct ip_addr *addr)
{
    ++*(int *)arg;
    return addr->bytes[15] % 2 || addr->bytes[15] < 4;
}

static void test_next_free(void **state)
{
    struct ip_addr first = at("10.0.0.1"), last = at("10.0.0.5"), start = at("10.0.0.5"), found;
    int looked = 0;

    assert_int_equal(ip_next_free(&first, &last, &start, 99, is_odd_or_low, &looked, &found), 0);
    is(found, "10.0.0.4");
    assert_int_equal(looked, 5);
    last = at("10.0.0.3");
    assert_int_equal(ip_next_free(&first, &last, &start, 99, is_odd_or_low, &looked, &found),
                     -ENOSPC);
    assert_int_equal(ip_next_free(&first, &last, &first, 1, is_odd_or_low, &looked, &found),
                     -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_cidr),
        cmocka_unit_test(test_next_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
