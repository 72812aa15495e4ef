/* A transaction in both of its forms. The bytes of the gRPC message are written out by hand from
 * etcd's rpc.proto, with the lengths of nested messages as varints of four bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store/etcd_request.h"

#include <cmocka.h>

/* If "k" was changed at 300 last: put "k" = "v" under lease 5 and, if there is no "n", delete it up
 * to "o"; else put "f" without a value. Otherwise read "k" and from "a" to "b". */
static void describe(struct buf *b, bool grpc)
{
    struct etcd_request r;

    buf_init(b, 4096);
    etcd_request_begin(&r, b, grpc);
    etcd_request_compare(&r, "k", 300);
    etcd_request_put(&r, ETCD_SUCCESS, "k", "v", 1, 5);
    etcd_request_txn_begin(&r, ETCD_SUCCESS);
    etcd_request_compare(&r, "n", 0);
    etcd_request_delete(&r, ETCD_SUCCESS, "n", "o");
    etcd_request_put(&r, ETCD_FAILURE, "f", NULL, 0, 0);
    etcd_request_txn_end(&r);
    etcd_request_range(&r, ETCD_FAILURE, "k", NULL);
    etcd_request_range(&r, ETCD_FAILURE, "a", "b");
    etcd_request_end(&r);
    assert_false(b->failed);
}

static void as_json(void **state)
{
    struct buf b;

    describe(&b, false);
    assert_string_equal(
        buf_text(&b),
        "{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"300\",\"key\":\"aw==\"}],"
        "\"success\":[{\"request_put\":{\"key\":\"aw==\",\"value\":\"dg==\",\"lease\":\"5\"}},"
        "{\"request_txn\":{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"0\","
        "\"key\":\"bg==\"}],\"success\":[{\"request_delete_range\":{\"key\":\"bg==\","
        "\"range_end\":\"bw==\"}}],\"failure\":[{\"request_put\":{\"key\":\"Zg==\"}}]}}],"
        "\"failure\":[{\"request_range\":{\"key\":\"aw==\"}},"
        "{\"request_range\":{\"key\":\"YQ==\",\"range_end\":\"Yg==\"}}]}");
    buf_free(&b);
}

static void as_grpc(void **state)
{
    /* field << 3 | 2, then its length */
#define NESTED(field, size) (field) << 3 | 2, 0x80 | (size), 0x80, 0x80, 0
    static const unsigned char expected[] = {
        /* clang-format off */
        0, 0, 0, 0, 111,
        NESTED(1, 8), 2 << 3, 2, 3 << 3 | 2, 1, 'k', 6 << 3, 0xac, 0x02,
        NESTED(2, 13), NESTED(2, 8), 1 << 3 | 2, 1, 'k', 2 << 3 | 2, 1, 'v', 3 << 3, 5,
        NESTED(2, 46), NESTED(4, 41),
            NESTED(1, 7), 2 << 3, 2, 3 << 3 | 2, 1, 'n', 6 << 3, 0,
            NESTED(2, 11), NESTED(3, 6), 1 << 3 | 2, 1, 'n', 2 << 3 | 2, 1, 'o',
            NESTED(3, 8), NESTED(2, 3), 1 << 3 | 2, 1, 'f',
        NESTED(3, 8), NESTED(1, 3), 1 << 3 | 2, 1, 'k',
        NESTED(3, 11), NESTED(1, 6), 1 << 3 | 2, 1, 'a', 2 << 3 | 2, 1, 'b',
        /* clang-format on */
    };
    struct buf b;

    describe(&b, true);
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_free(&b);
}

/* One that does not fit is said to have failed, and nothing is written outside of it. */
static void too_long(void **state)
{
    static const char value[200];
    struct buf b;

    for (int grpc = 0; grpc < 2; grpc++) {
        struct etcd_request r;

        buf_init(&b, 100);
        etcd_request_begin(&r, &b, grpc);
        etcd_request_txn_begin(&r, ETCD_SUCCESS);
        etcd_request_put(&r, ETCD_SUCCESS, "k", value, sizeof(value), 0);
        etcd_request_txn_end(&r);
        etcd_request_end(&r);
        assert_true(b.failed);
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_json),
        cmocka_unit_test(as_grpc),
        cmocka_unit_test(too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
