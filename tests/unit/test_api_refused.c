/* A query that SQLite refuses is an error, and no empty list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud.h"

#include <sqlite3.h>

/* SQLite takes conditions that are 1,000 deep, which no URL reaches; here less. */
#define DEPTH 60

static int limit_depth(sqlite3 *db, const char **why, const struct sqlite3_api_routines *api)
{
    sqlite3_limit(db, SQLITE_LIMIT_EXPR_DEPTH, DEPTH);
    return SQLITE_OK;
}

static void test_too_many_filters(void **state)
{
    char path[2000] = "/v3/users?name=admin";

    ask_service(API_IDENTITY, &admin, "GET", path, NULL, 200);
    assert_int_equal(count("users"), 1);
    for (int i = 0; i < DEPTH + 10; i++)
        strcat(path, "&name__contains=admin");
    ask_service(API_IDENTITY, &admin, "GET", path, NULL, 400);
    assert_non_null(strstr(message(), "too many filters"));
    ask_service(API_IDENTITY, &admin, "GET", "/v3/users?name=admin&name__contains=admin", NULL,
                200);
    assert_int_equal(count("users"), 1);
}

static int start(void **state)
{
    sqlite3_auto_extension((void (*)(void))limit_depth);
    return cloud_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_many_filters),
    };

    return cmocka_run_group_tests(tests, start, cloud_stop);
}
