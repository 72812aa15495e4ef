/* Domains over HTTP: their users and projects, their end, and lists of what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud.h"

static struct person guest = {.name = "guest"};
static char domain[64];

static void ask_id(const struct person *who, const char *method, const char *path, const char *body,
                   long want)
{
    ask_service(API_IDENTITY, who, method, path, body, want);
}

static const char *error_text(void)
{
    return text("error/message");
}

/* A row of its kind with the members, made by the administrator; its id. */
static void make(const char *kind, const char *members, char id[64])
{
    ask_id(&admin, "POST", fmt("/v3/%ss", kind), fmt("{\"%s\": {%s}}", kind, members), 201);
    keep(fmt("%s/id", kind), id);
}

/* User guest with the role on project site, both in `domain`. */
static void make_guest(const char *role)
{
    char role_id[64];

    make("user",
         fmt("\"name\": \"guest\", \"password\": \"secret\", \"domain_id\": \"%s\"", domain),
         guest.user);
    make("project", fmt("\"name\": \"site\", \"domain_id\": \"%s\"", domain), guest.project);
    ask_id(&admin, "GET", fmt("/v3/roles?name=%s", role), NULL, 200);
    keep("roles/0/id", role_id);
    ask_id(&admin, "PUT",
           fmt("/v3/projects/%s/users/%s/roles/%s", guest.project, guest.user, role_id), NULL, 204);
}

static void enter(const char *user_domain, long want)
{
    ask_id(NULL, "POST", "/v3/auth/tokens",
           fmt("{\"auth\": {\"identity\": {\"methods\": [\"password\"], \"password\": {\"user\": "
               "{\"name\": \"guest\", \"domain\": {\"name\": \"%s\"}, \"password\": \"secret\"}}}, "
               "\"scope\": {\"project\": {\"name\": \"site\", \"domain\": {\"name\": \"%s\"}}}}}",
               user_domain, user_domain),
           want);
    if (want == 201)
        snprintf(guest.token, sizeof(guest.token), "%s", answer.subject);
}

static void set_enabled(const char *id, bool enabled)
{
    ask_id(&admin, "PATCH", fmt("/v3/domains/%s", id),
           fmt("{\"domain\": {\"enabled\": %s}}", enabled ? "true" : "false"), 200);
}

static int setup(void **state)
{
    make("domain", "\"name\": \"partner\", \"description\": \"of a partner\"", domain);
    return 0;
}

static int teardown(void **state)
{
    set_enabled(domain, false);
    ask_id(&admin, "DELETE", fmt("/v3/domains/%s", domain), NULL, 204);
    return 0;
}

static void test_show_and_change(void **state)
{
    ask_id(&admin, "GET", fmt("/v3/domains/%s", domain), NULL, 200);
    assert_string_equal(text("domain/description"), "of a partner");
    assert_true(json_is_true(at("domain/enabled")));
    ask_id(&admin, "PATCH", fmt("/v3/domains/%s", domain),
           "{\"domain\": {\"name\": \"friend\", \"description\": \"of a friend\"}}", 200);
    ask_id(&admin, "GET", "/v3/domains?name=friend", NULL, 200);
    assert_int_equal(count("domains"), 1);
    ask_id(&admin, "POST", "/v3/domains", "{\"domain\": {\"name\": \"friend\"}}", 409);
    ask_id(&admin, "PATCH", fmt("/v3/domains/%s", domain), "{\"domain\": {\"name\": \"Default\"}}",
           409);
    ask_id(&admin, "GET", "/v3/domains/none", NULL, 404);
    assert_string_equal(error_text(), "Could not find domain: none.");
    ask_id(&alice, "GET", fmt("/v3/domains/%s", domain), NULL, 403);
    ask_id(&alice, "GET", "/v3/domains/default", NULL, 200);
}

static void test_names_are_each_domains_own(void **state)
{
    make_guest("member");
    ask_id(&admin, "POST", "/v3/users",
           fmt("{\"user\": {\"name\": \"guest\", \"domain_id\": \"%s\"}}", domain), 409);
    assert_non_null(strstr(error_text(), fmt("name guest at domain ID %s", domain)));
    ask_id(&admin, "POST", "/v3/users",
           fmt("{\"user\": {\"name\": \"alice\", \"domain_id\": \"%s\"}}", domain), 201);
    ask_id(&admin, "GET", "/v3/users?name=alice", NULL, 200);
    assert_int_equal(count("users"), 2);
    ask_id(&admin, "GET", fmt("/v3/users?name=alice&domain_id=%s", domain), NULL, 200);
    assert_int_equal(count("users"), 1);
    enter("partner", 201);
    assert_string_equal(text("token/user/domain/id"), domain);
    assert_string_equal(text("token/project/domain/name"), "partner");
    get(&guest, "/servers", 200);
    enter("Default", 401);
    ask_id(&admin, "POST", "/v3/projects",
           fmt("{\"project\": {\"name\": \"child\", \"parent_id\": \"%s\"}}", guest.project), 400);
    ask_id(&admin, "POST", "/v3/projects",
           fmt("{\"project\": {\"name\": \"child\", \"domain_id\": \"%s\", \"parent_id\": \"%s\"}}",
               domain, guest.project),
           201);
}

static void test_a_disabled_domain_lets_nobody_in(void **state)
{
    make_guest("member");
    enter("partner", 201);
    set_enabled(domain, false);
    get(&guest, "/servers", 401);
    enter("partner", 401);
    set_enabled(domain, true);
    enter("partner", 201);
}

static void test_it_takes_everything_with_it(void **state)
{
    make_guest("member");
    enter("partner", 201);
    ask_id(&guest, "POST", fmt("/v3/users/%s/application_credentials", guest.user),
           "{\"application_credential\": {\"name\": \"program\"}}", 201);
    ask_id(&admin, "DELETE", fmt("/v3/domains/%s", domain), NULL, 403);
    assert_string_equal(error_text(),
                        "Cannot delete a domain that is enabled, please disable it first.");
    set_enabled(domain, false);
    ask_id(&admin, "DELETE", fmt("/v3/domains/%s", domain), NULL, 204);
    get(&guest, "/servers", 401);
    ask_id(&admin, "GET", fmt("/v3/users/%s", guest.user), NULL, 404);
    ask_id(&admin, "GET", fmt("/v3/projects/%s", guest.project), NULL, 404);
    assert_int_equal(row_count("application_credential", ""), 0);
    assert_int_equal(row_count("assignment", fmt("WHERE user_id = '%s'", guest.user)), 0);
    assert_int_equal(row_count("taken_name", fmt("WHERE owner_id IN ('%s', '%s', '%s')", domain,
                                                 guest.user, guest.project)),
                     0);
    setup(NULL); /* the name is free again */
}

static void test_the_default_domain_stays(void **state)
{
    make_guest("admin");
    enter("partner", 201);
    set_enabled("default", false);
    ask_id(&admin, "GET", "/v3/domains", NULL, 401);
    perform(&answer, API_IDENTITY, &guest, "DELETE", "/v3/domains/default", NULL);
    assert_int_equal(answer.status, 403);
    ask_id(&guest, "PATCH", "/v3/domains/default", "{\"domain\": {\"enabled\": true}}", 200);
    ask_id(&admin, "GET", "/v3/domains", NULL, 200);
}

/* ---- what the tables do not know ---- */

static void keeps(const char *kind, const char *members)
{
    char id[64];

    ask_id(&admin, "POST", fmt("/v3/%ss", kind),
           fmt("{\"%s\": {\"name\": \"extra-%s\", \"colour\": \"red\", \"id\": \"mine\", "
               "\"extra\": 7, \"links\": 7, \"size\": {\"x\": 1}%s}}",
               kind, kind, members),
           201);
    keep(fmt("%s/id", kind), id);
    assert_string_not_equal(id, "mine");
    ask_id(&admin, "PATCH", fmt("/v3/%ss/%s", kind, id),
           fmt("{\"%s\": {\"colour\": \"blue\", \"shape\": null}}", kind), 200);
    ask_id(&admin, "GET", fmt("/v3/%ss/%s", kind, id), NULL, 200);
    assert_string_equal(text(fmt("%s/colour", kind)), "blue");
    assert_string_equal(text(fmt("%s/shape", kind)), "null");
    assert_int_equal(num(fmt("%s/size/x", kind)), 1);
    assert_string_equal(text(fmt("%s/extra", kind)), "missing");
    assert_string_equal(text(fmt("%s/password", kind)), "missing");
    assert_true(json_is_object(at(fmt("%s/links", kind))));
    ask_id(&admin, "DELETE", fmt("/v3/%ss/%s", kind, id), NULL, 204);
}

static void test_other_members_are_kept(void **state)
{
    char many[2000] = "";

    keeps("project", "");
    keeps("user", ", \"password\": \"secret\"");
    keeps("role", "");
    keeps("domain", ", \"enabled\": false");
    for (int i = 0; i < 65; i++)
        sprintf(many + strlen(many), ", \"k%d\": 1", i);
    ask_id(&admin, "POST", "/v3/projects", fmt("{\"project\": {\"name\": \"many\"%s}}", many), 400);
}

/* ---- projects ---- */

/* ---- options ---- */

static void set_option(const char *kind, const char *id, const char *members, long want)
{
    ask_id(&admin, "PATCH", fmt("/v3/%ss/%s", kind, id), fmt("{\"%s\": {%s}}", kind, members),
           want);
}

static void test_immutable_rows_stay(void **state)
{
    static const char *const kinds[] = {"project", "role", "domain"};
    char id[64];

    for (size_t i = 0; i < 3; i++) {
        make(kinds[i], "\"name\": \"rock\", \"options\": {\"immutable\": true}", id);
        set_option(kinds[i], id, "\"description\": \"sand\"", 403);
        assert_non_null(strstr(error_text(), "immutable"));
        set_option(kinds[i], id, "\"options\": {}", 403);
        set_option(kinds[i], id, "\"options\": {\"immutable\": false}, \"name\": \"sand\"", 403);
        ask_id(&admin, "DELETE", fmt("/v3/%ss/%s", kinds[i], id), NULL, 403);
        if (i == 0) {
            ask_id(&admin, "PUT", fmt("/v3/projects/%s/tags/sand", id), NULL, 403);
            ask_id(&admin, "PUT", fmt("/v3/projects/%s/tags", id), "{\"tags\": []}", 403);
        }
        set_option(kinds[i], id, "\"options\": {\"immutable\": \"perhaps\"}", 400);
        set_option(kinds[i], id, "\"options\": {\"immutable\": null}", 200);
        assert_int_equal(count(fmt("%s/options", kinds[i])), 0);
        set_option(kinds[i], id, "\"enabled\": false, \"name\": \"sand\"", 200);
        ask_id(&admin, "DELETE", fmt("/v3/%ss/%s", kinds[i], id), NULL, 204);
    }
}

/* Without them nobody is an administrator, or may do anything. */
static void test_the_first_roles_stay(void **state)
{
    static const char *const names[] = {"admin", "member", "reader"};
    char id[64];

    for (size_t i = 0; i < 3; i++) {
        ask_id(&admin, "GET", fmt("/v3/roles?name=%s", names[i]), NULL, 200);
        keep("roles/0/id", id);
        set_option("role", id, "\"name\": \"other\"", 403);
        ask_id(&admin, "DELETE", fmt("/v3/roles/%s", id), NULL, 403);
    }
}

static void change_password(const char *id, long want)
{
    ask_id(NULL, "POST", fmt("/v3/users/%s/password", id),
           "{\"user\": {\"original_password\": \"secret\", \"password\": \"secret\"}}", want);
}

/* What would limit a user is obeyed or refused. */
static void test_options_of_users(void **state)
{
    char id[64];

    ask_id(&admin, "POST", "/v3/users",
           "{\"user\": {\"name\": \"u\", \"options\": {\"multi_factor_auth_enabled\": true}}}",
           400);
    ask_id(&admin, "POST", "/v3/users",
           "{\"user\": {\"name\": \"u\", \"options\": {\"unheard_of\": true}}}", 400);
    make("user",
         "\"name\": \"u\", \"password\": \"secret\", \"options\": {\"lock_password\": true, "
         "\"ignore_password_expiry\": true}",
         id);
    change_password(id, 400);
    assert_non_null(strstr(error_text(), "cannot change your password"));
    set_option("user", id, "\"options\": {\"multi_factor_auth_enabled\": true}", 400);
    set_option("user", id, "\"options\": {\"lock_password\": null}", 200);
    assert_true(json_is_true(at("user/options/ignore_password_expiry")));
    assert_int_equal(count("user/options"), 1);
    change_password(id, 204);
    ask_id(&admin, "DELETE", fmt("/v3/users/%s", id), NULL, 204);
}

static void expect_projects(const char *query, size_t n)
{
    ask_id(&admin, "GET", fmt("/v3/projects?domain_id=%s&%s", domain, query), NULL, 200);
    if (count("projects") != n)
        fail_msg("%s: %zu instead of %zu: %s", query, count("projects"), n, answer.text);
}

static void test_tags(void **state)
{
    char ab[64], b[64], none[64], path[200];

    make("project",
         fmt("\"name\": \"ab\", \"domain_id\": \"%s\", \"tags\": [\"a\", \"b\"]", domain), ab);
    make("project", fmt("\"name\": \"b\", \"domain_id\": \"%s\"", domain), b);
    make("project", fmt("\"name\": \"none\", \"domain_id\": \"%s\"", domain), none);
    snprintf(path, sizeof(path), "/v3/projects/%s/tags", b);
    ask_id(&admin, "PUT", fmt("%s/b", path), NULL, 201);
    ask_id(&admin, "PUT", fmt("%s/b", path), NULL, 201);
    ask_id(&admin, "GET", fmt("%s/b", path), NULL, 204);
    ask_id(&admin, "GET", fmt("%s/a", path), NULL, 404);
    ask_id(&admin, "GET", path, NULL, 200);
    assert_int_equal(count("tags"), 1);
    expect_projects("tags=b", 2);
    expect_projects("tags=a,b", 1);
    expect_projects("tags-any=a,b", 2);
    expect_projects("not-tags=a,b", 2);
    expect_projects("not-tags-any=a,b", 1);
    expect_projects("tags=b&not-tags=a", 1);
    assert_string_equal(text("projects/0/name"), "b");
    ask_id(&admin, "GET", "/v3/projects?tags=", NULL, 400);
    ask_id(&alice, "GET", path, NULL, 403);
    ask_id(&alice, "PUT", fmt("%s/c", path), NULL, 403);
    ask_id(&admin, "DELETE", fmt("%s/a", path), NULL, 404);
    ask_id(&admin, "DELETE", fmt("%s/b", path), NULL, 204);
    ask_id(&admin, "PUT", path, "{\"tags\": [\"x\", \"y\"]}", 200);
    ask_id(&admin, "PUT", path, "{\"tags\": [7]}", 400);
    ask_id(&admin, "PUT", path, "{}", 400);
    expect_projects("tags=x,y", 1);
    ask_id(&admin, "DELETE", path, NULL, 204);
    expect_projects("tags-any=x,y,b", 1);
}

static void test_the_tree_is_shown(void **state)
{
    char top[64], middle[64], leaf[64];

    make("project", fmt("\"name\": \"top\", \"domain_id\": \"%s\"", domain), top);
    make("project",
         fmt("\"name\": \"middle\", \"domain_id\": \"%s\", \"parent_id\": \"%s\"", domain, top),
         middle);
    make("project",
         fmt("\"name\": \"leaf\", \"domain_id\": \"%s\", \"parent_id\": \"%s\"", domain, middle),
         leaf);
    ask_id(&admin, "GET", fmt("/v3/projects/%s?parents_as_ids", leaf), NULL, 200);
    assert_string_equal(text(fmt("project/parents/%s/%s/%s", middle, top, domain)), "null");
    assert_null(at("project/subtree"));
    ask_id(&admin, "GET", fmt("/v3/projects/%s?subtree_as_ids", top), NULL, 200);
    assert_string_equal(text(fmt("project/subtree/%s/%s", middle, leaf)), "null");
    assert_null(at("project/parents"));
}

static void test_other_peoples_groups(void **state)
{
    ask_id(&alice, "GET", fmt("/v3/users/%s/groups", alice.user), NULL, 200);
    ask_id(&admin, "GET", fmt("/v3/users/%s/groups", alice.user), NULL, 200);
    ask_id(&alice, "GET", fmt("/v3/users/%s/groups", bob.user), NULL, 403);
}

/* ---- lists ---- */

static void expect_users(const char *query, size_t n)
{
    ask_id(&admin, "GET", fmt("/v3/users?domain_id=%s&%s", domain, query), NULL, 200);
    if (count("users") != n)
        fail_msg("%s: %zu instead of %zu: %s", query, count("users"), n, answer.text);
}

static void test_filters(void **state)
{
    static const char *const names[] = {"Anna", "anton", "Bert", "Xanten%"};
    char id[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        make("user",
             fmt("\"name\": \"%s\", \"domain_id\": \"%s\", \"enabled\": %s", names[i], domain,
                 i ? "true" : "false"),
             id);
    expect_users("", 4);
    expect_users("name=anton", 1);
    expect_users("enabled=true", 3);
    expect_users("enabled=False", 1);
    expect_users("enabled", 3); /* without a value it means yes */
    expect_users("enabled=", 3);
    expect_users("enabled=0&name=anton", 0);
    expect_users("name__contains=an", 2);
    expect_users("name__icontains=AN", 3);
    expect_users("name__startswith=an", 1);
    expect_users("name__istartswith=an", 2);
    expect_users("name__endswith=n", 1);
    expect_users("name__iendswith=N", 1);
    expect_users("name__contains=%25", 1); /* no wildcard */
    expect_users("name__contains=_", 0);
    expect_users("name__contains=an&enabled=true&name__endswith=n", 1);
    expect_users("name__contains=%27%22)--", 0);
    expect_users("password_hash__contains=x", 4); /* no filter: takes and ignores it */
    expect_users("nonsense__contains=x", 4);
}

static void test_pages(void **state)
{
    char id[64], next[500];
    size_t seen = 0;
    int pages = 0;

    for (int i = 0; i < 7; i++)
        make("project", fmt("\"name\": \"p%d & more\", \"domain_id\": \"%s\"", 6 - i, domain), id);
    snprintf(next, sizeof(next),
             "/v3/projects?domain_id=%s&limit=3&sort_key=name&name__contains=%s", domain,
             "%20%26%20");
    while (next[0]) {
        assert_true(++pages <= 3);
        ask_id(&admin, "GET", next, NULL, 200);
        for (size_t i = 0; i < count("projects"); i++)
            assert_string_equal(text(fmt("projects/%zu/name", i)), fmt("p%zu & more", seen + i));
        seen += count("projects");
        snprintf(next, sizeof(next), "%s",
                 json_is_string(at("links/next")) ? text("links/next") : "");
    }
    assert_int_equal(seen, 7);
    assert_int_equal(pages, 3);
    ask_id(&admin, "GET", "/v3/projects?marker=none", NULL, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_show_and_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_each_domains_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_disabled_domain_lets_nobody_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_takes_everything_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_default_domain_stays, setup, teardown),
        cmocka_unit_test(test_other_members_are_kept),
        cmocka_unit_test(test_immutable_rows_stay),
        cmocka_unit_test(test_the_first_roles_stay),
        cmocka_unit_test(test_options_of_users),
        cmocka_unit_test_setup_teardown(test_tags, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_tree_is_shown, setup, teardown),
        cmocka_unit_test(test_other_peoples_groups),
        cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
