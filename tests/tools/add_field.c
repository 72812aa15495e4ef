/* The field that docs/adding-a-resource.md adds to the table of servers, tried as users would;
 * test_add_resource.sh builds this in a copy of the sources that has the lines of the page. No
 * other line of the sources knows of the field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud_servers.h"

static void refused(const char *more)
{
    ask(&alice, "POST", "/servers",
        fmt("{\"server\": {\"name\": \"n\", \"imageRef\": \"" IMAGE "\", \"flavorRef\": \"42\"%s}}",
            more),
        400);
    assert_non_null(strstr(message(), "purpose"));
    assert_int_equal(row_count("server", ""), 0);
}

static void test_create_checks_it(void **state)
{
    char id[64];

    microversion = "2.9";
    refused(", \"purpose\": 5");
    refused(", \"purpose\": null");
    refused(", \"purpose\": \"longer than 20 letters\"");
    microversion = "2.8";
    refused(", \"purpose\": \"web\"");
    microversion = "2.9";
    create(&alice, "one", ", \"purpose\": \"exactly 20 letters !\"", id);
    get(&rita, server(id), 200);
    assert_string_equal(text("server/purpose"), "exactly 20 letters !");
    create(&alice, "two", "", id);
    get(&rita, server(id), 200);
    assert_string_equal(text("server/purpose"), "");
}

static void test_answers_have_it(void **state)
{
    char id[64];
    json_t *row;

    microversion = "2.9";
    create(&alice, "vm", ", \"purpose\": \"web\"", id);
    get(&rita, "/servers/detail", 200);
    assert_string_equal(text("servers/0/purpose"), "web");
    ask(&alice, "PUT", server(id), "{\"server\": {\"purpose\": 5}}", 400);
    ask(&alice, "PUT", server(id), "{\"server\": {\"purpose\": \"mail\"}}", 200);
    assert_string_equal(text("server/purpose"), "mail");
    get(&rita, server(id), 200);
    assert_string_equal(text("server/purpose"), "mail");
    assert_string_equal(text("server/name"), "vm");
    row = row_of("server", id); /* made before there was the field */
    json_object_del(row, "purpose");
    put_row("server", row);
    get(&rita, server(id), 200);
    assert_string_equal(text("server/purpose"), "");
    microversion = "2.8";
    get(&rita, server(id), 200);
    assert_null(at("server/purpose"));
    ask(&alice, "PUT", server(id), "{\"server\": {\"purpose\": \"mail\"}}", 400);
}

static void test_lists_filter_and_sort_by_it(void **state)
{
    char ids[3][64];

    microversion = "2.9";
    create(&alice, "a", ", \"purpose\": \"web\"", ids[0]);
    create(&alice, "b", ", \"purpose\": \"mail\"", ids[1]);
    create(&alice, "c", ", \"purpose\": \"dns\"", ids[2]);
    get(&rita, "/servers?purpose=mail", 200);
    assert_int_equal(count("servers"), 1);
    assert_string_equal(text("servers/0/id"), ids[1]);
    get(&rita, "/servers?purpose=none", 200);
    assert_int_equal(count("servers"), 0);
    get(&rita, "/servers/detail?purpose=web&purpose=dns&sort_key=purpose&sort_dir=asc", 200);
    assert_int_equal(count("servers"), 2);
    assert_string_equal(text("servers/0/id"), ids[2]);
    assert_string_equal(text("servers/1/id"), ids[0]);
    microversion = "2.8"; /* what is not shown cannot be found out either */
    get(&rita, "/servers?purpose=mail", 200);
    assert_int_equal(count("servers"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_create_checks_it, with_network),
        cmocka_unit_test_setup(test_answers_have_it, with_network),
        cmocka_unit_test_setup(test_lists_filter_and_sort_by_it, with_network),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
