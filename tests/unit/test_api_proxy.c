/* The services behind a proxy that speaks TLS with the clients: no address that they are told leads
 * past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cloud.h"

static int start(void **state)
{
    cloud.public_address = "203.0.113.9";
    return cloud_start(state);
}

/* Asks with the header, or without one. */
static void ask_by(const char *header, enum api_service service, const char *path)
{
    microversion = header;
    ask_service(service, &admin, "GET", path, NULL, 200);
    microversion = NULL;
}

static void check_catalog(const char *header, const char *root)
{
    ask_by(header, API_IDENTITY, "/v3/auth/catalog");
    assert_int_equal(count("catalog"), 4);
    for (int i = 0; i < 12; i++) {
        const char *url = text(fmt("catalog/%d/endpoints/%d/url", i / 3, i % 3));

        if (strncmp(url, root, strlen(root)) != 0)
            fail_msg("%s: %s", header ? header : "no header", url);
    }
}

static void test_the_catalog(void **state)
{
    check_catalog(NULL, "http://203.0.113.9:");
    check_catalog("X-Forwarded-Proto: http", "http://203.0.113.9:");
    check_catalog("X-Forwarded-Proto: httpsome", "http://203.0.113.9:");
    check_catalog("X-Forwarded-Proto: https", "https://127.0.0.1:");
    check_catalog("X-Forwarded-Proto: HTTPS, http", "https://127.0.0.1:");
    check_catalog("X-Forwarded-Proto: http, https", "http://203.0.113.9:");
    check_catalog(NULL, "http://203.0.113.9:");
}

/* Twice each: the second answer is one that was kept. */
static void test_links(void **state)
{
    for (int i = 0; i < 4; i++) {
        const char *header = i % 2 ? "X-Forwarded-Proto: https" : NULL;
        const char *root = i % 2 ? "https://127.0.0.1:" : "http://127.0.0.1:";

        ask_by(header, API_IDENTITY, "/v3/users?limit=1");
        assert_memory_equal(text("links/next"), root, strlen(root));
        ask_by(header, API_COMPUTE, "/v2.1/flavors?limit=1");
        assert_memory_equal(text("flavors_links/0/href"), root, strlen(root));
        ask_by(header, API_COMPUTE, "/");
        assert_memory_equal(text("versions/0/links/0/href"), root, strlen(root));
        ask_by(header, API_NETWORK, "/");
        assert_memory_equal(text("versions/0/links/0/href"), root, strlen(root));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_catalog),
        cmocka_unit_test(test_links),
    };

    return cmocka_run_group_tests(tests, start, cloud_stop);
}
