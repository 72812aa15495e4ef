#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "io/address.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <cmocka.h>

static void test_both_families(void **state)
{
    struct sockaddr_storage address;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
    unsigned char bytes[16];
    socklen_t size = 0;

    assert_int_equal(address_parse("10.20.1.3", 7700, &address, &size), 0);
    assert_int_equal(size, sizeof(*v4));
    assert_int_equal(v4->sin_family, AF_INET);
    assert_int_equal(ntohs(v4->sin_port), 7700);
    assert_int_equal(ntohl(v4->sin_addr.s_addr), 0x0a140103);
    assert_int_equal(address_parse("fd00::1:2", 65535, &address, &size), 0);
    assert_int_equal(size, sizeof(*v6));
    assert_int_equal(v6->sin6_family, AF_INET6);
    assert_int_equal(ntohs(v6->sin6_port), 65535);
    inet_pton(AF_INET6, "fd00::1:2", bytes);
    assert_memory_equal(&v6->sin6_addr, bytes, sizeof(bytes));
    assert_int_equal(address_parse("::", 0, &address, NULL), 0);
    assert_int_equal(v6->sin6_family, AF_INET6);
}

static void test_what_is_no_address(void **state)
{
    static const char *const wrong[] = {"",         "h1",        "10.0.0",  "10.0.0.256",
                                        "1.2.3.4 ", "1.2.3.4:5", "fd00::g", "fd00:::1",
                                        "[::1]",    ":"};
    struct sockaddr_storage address, none = {0};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        memset(&address, 0xff, sizeof(address));
        assert_int_equal(address_parse(wrong[i], 7700, &address, NULL), -EINVAL);
        assert_memory_equal(&address, &none, sizeof(address));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_families),
        cmocka_unit_test(test_what_is_no_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
