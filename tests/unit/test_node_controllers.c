/* Which changes of the controllers are let through: what counts is which of etcd's members answer.
 */
#include "base/json.h"
#include "node/controllers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char why[300];

/* "h1 h2 h3": controllers 10.0.0.1 and so on. */
static json_t *list_of(const char *digits)
{
    json_t *list = json_array();

    for (; *digits; digits++) {
        char host[8] = {'h', *digits}, ip[16] = "10.0.0.";

        ip[7] = *digits;
        json_array_append_new(list, json_pack("{s:s, s:s}", "host", host, "ip", ip));
    }
    return json_pack("{s:i, s:o}", "serial", 1, "controllers", list);
}

/* Members by number: those in `down` do not answer, those in `added` never ran. */
static json_t *members_of(const char *digits, const char *down, const char *added)
{
    json_t *members = json_array();

    for (; *digits; digits++) {
        char url[] = "https://10.0.0.x:2380";
        json_t *member, *urls = json_array();

        url[15] = *digits;
        if (!strchr(added, *digits))
            json_array_append_new(urls, json_string("https://client"));
        member = json_pack("{s:[s], s:o, s:b}", "peerURLs", url, "clientURLs", urls, "healthy",
                           strchr(down, *digits) == NULL && strchr(added, *digits) == NULL);
        json_array_append_new(members, member);
    }
    return members;
}

static bool removes(const char *list, const char *members, const char *down, const char *added,
                    const char *host)
{
    json_t *value = list_of(list), *all = members_of(members, down, added);
    bool refused = controllers_refuse_remove(value, all, host, why, sizeof(why));

    json_decref(value);
    json_decref(all);
    return !refused;
}

static bool adds(const char *list, const char *members, const char *down, const char *host,
                 const char *state)
{
    json_t *value = list_of(list), *all = members_of(members, down, "");
    json_t *row = state ? json_pack("{s:s, s:s}", "id", host, "state", state) : NULL;
    bool refused = controllers_refuse_add(value, all, host, row, why, sizeof(why));

    json_decref(value);
    json_decref(all);
    json_decref(row);
    return !refused;
}

static void a_removal_leaves_a_majority(void **state)
{
    assert_true(removes("123", "123", "", "", "h1"));
    assert_true(removes("123", "123", "1", "", "h1"));
    /* Their hosts may be up: the member that does not answer is what counts. */
    assert_false(removes("123", "123", "3", "", "h1"));
    assert_non_null(strstr(why, "only 1 of the 2 other controllers"));
    assert_true(removes("123", "123", "3", "", "h3"));
    assert_false(removes("12", "12", "2", "", "h2"));
    assert_true(removes("12", "12", "", "", "h2"));
    assert_true(removes("12345", "12345", "5", "", "h1"));
    assert_false(removes("12345", "12345", "45", "", "h1"));
    assert_true(removes("12345", "12345", "45", "", "h4"));
    assert_false(removes("1", "1", "", "", "h1"));
    assert_false(removes("123", "123", "", "", "h9"));
}

/* Changes that are written and not carried out yet count, too. */
static void unfinished_changes_count(void **state)
{
    assert_false(removes("124", "1234", "3", "4", "h1"));
    assert_false(removes("234", "1234", "34", "", "h4"));
    assert_false(removes("234", "23", "3", "", "h2"));
    assert_false(removes("23", "23", "", "2", "h3"));
}

static void an_addition_needs_all(void **state)
{
    assert_true(adds("123", "123", "", "h4", "up"));
    assert_false(adds("123", "123", "3", "h4", "up"));
    assert_non_null(strstr(why, "h3"));
    assert_false(adds("123", "1234", "4", "h5", "up"));
    assert_false(adds("123", "123", "", "h4", "lost"));
    assert_false(adds("123", "123", "", "h4", NULL));
    assert_false(adds("123", "123", "", "h3", "up"));
    assert_false(adds("1234567", "1234567", "", "h8", "up"));
}

static void states_of_members(void **state)
{
    json_t *members = members_of("123", "2", "3");

    assert_string_equal(controllers_member_state(members, "10.0.0.1"), "started");
    assert_string_equal(controllers_member_state(members, "10.0.0.2"), "down");
    assert_string_equal(controllers_member_state(members, "10.0.0.3"), "added");
    assert_string_equal(controllers_member_state(members, "10.0.0.4"), "none");
    assert_string_equal(controllers_member_state(NULL, "10.0.0.1"), "none");
    json_decref(members);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_removal_leaves_a_majority),
        cmocka_unit_test(unfinished_changes_count),
        cmocka_unit_test(an_addition_needs_all),
        cmocka_unit_test(states_of_members),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
