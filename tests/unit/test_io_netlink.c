/* What the reader of MAC addresses takes; the rest of io/netlink.h needs root and is tested by
 * test_drv_network.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/netlink.h"

static void test_macs(void **state)
{
    /* The last three have 17 characters and six numbers, too. */
    static const char *const bad[] = {"",
                                      "fa:16:3e:00:00",
                                      "fa:16:3e:00:00:001",
                                      "fa-16-3e-00-00-01",
                                      "fa:16:3e:00:00:0g",
                                      "\n\n\n\n\n\n1:2:3:4:5:6",
                                      "+1:+2:+3:+4:+5:+6",
                                      " 1: 2: 3: 4: 5: 6"};
    uint8_t mac[6];

    assert_int_equal(netlink_mac_parse("fa:16:3E:00:7f:01", mac), 0);
    assert_memory_equal(mac, "\xfa\x16\x3e\x00\x7f\x01", 6);
    assert_true(netlink_mac_parse(NULL, mac) < 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(netlink_mac_parse(bad[i], mac) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_macs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
