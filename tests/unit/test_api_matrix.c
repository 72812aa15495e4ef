/* Every route of every service with every kind of requester and with bodies that are wrong. What is
 * asked follows from the route tables, so a new route is tested as soon as it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/token.h"
#include "base/clock.h"
#include "cloud.h"

#define NOBODYS_ID "00000000-0000-4000-8000-000000000000"

static const struct api_service_ops *const services[] = {&api_identity, &api_compute, &api_network,
                                                         &api_image};

/* The route's path with an id that nothing has. */
static const char *path_of(const struct api_route *route)
{
    static char path[512];
    size_t n = 0;

    for (const char *at = route->path; *at; at++) {
        if (*at == '{') {
            n += (size_t)snprintf(path + n, sizeof(path) - n, "%s", NOBODYS_ID);
            at = strchr(at, '}');
        } else {
            path[n++] = *at;
        }
    }
    path[n] = '\0';
    return path;
}

static bool changes(const struct api_route *route)
{
    return strcmp(route->method, "GET") != 0 && strcmp(route->method, "HEAD") != 0;
}

/* ---- what an error must look like ---- */

static void check_error(enum api_service service)
{
    const json_t *first = json_object_iter_value(json_object_iter(answer.body));

    if (service == API_IMAGE && answer.status != 401) {
        assert_non_null(answer.text);
        assert_non_null(strstr(answer.text, fmt("<title>%ld ", answer.status)));
        return;
    }
    if (!answer.body)
        fail_msg("an error %ld without a body", answer.status);
    if (service == API_NETWORK && answer.status != 401) {
        assert_true(json_is_string(json_object_get(at("NeutronError"), "message")));
        assert_true(json_is_string(json_object_get(at("NeutronError"), "type")));
        return;
    }
    assert_int_equal(json_object_size(answer.body), 1);
    assert_true(json_is_string(json_object_get(first, "message")));
    assert_int_equal(json_int(first, "code", 0), answer.status);
}

static bool is_documented(long status)
{
    static const long statuses[] = {200, 201, 202, 203, 204, 300, 400, 401,
                                    403, 404, 405, 409, 413, 415, 501, 503};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i] == status)
            return true;
    }
    return false;
}

static void try(const struct api_service_ops *service, const struct api_route *route,
                const struct person *who, const char *body)
{
    perform(&answer, service->service, who, route->method, path_of(route), body);
    if (!is_documented(answer.status))
        fail_msg("%s %s with %s as %s: %ld: %s", route->method, route->path, body ? body : "-",
                 who ? who->name : "nobody", answer.status, answer.text ? answer.text : "");
    if (answer.status >= 400 && strcmp(route->method, "HEAD") != 0)
        check_error(service->service);
}

static void must_be(const struct api_route *route, const char *who, long status)
{
    if (answer.status != status)
        fail_msg("%s %s as %s: %ld instead of %ld: %s", route->method, route->path, who,
                 answer.status, status, answer.text ? answer.text : "");
}

static void each_route(void (*test)(const struct api_service_ops *service,
                                    const struct api_route *route))
{
    for (size_t s = 0; s < sizeof(services) / sizeof(services[0]); s++) {
        for (size_t r = 0; r < services[s]->route_count; r++)
            test(services[s], &services[s]->routes[r]);
    }
}

/* ---- tokens ---- */

static struct person liar = {.name = "somebody with a forged token"};
static struct person late = {.name = "somebody with an expired token"};
static struct person gone = {.name = "a user who was deleted"};

static void seal_expired(void)
{
    struct token token = {.methods = TOKEN_PASSWORD, .scope_kind = "project"};

    snprintf(token.user_id, sizeof(token.user_id), "%s", admin.user);
    snprintf(token.scope_id, sizeof(token.scope_id), "%s", admin.project);
    token.issued_ms = clock_wall_ms() - 7200000;
    token.expires_ms = clock_wall_ms() - 1000;
    token_audit_id(token.audit_id);
    job_done(token_seal(cloud.mirror, &token, late.token, sizeof(late.token)));
}

static void without_token(const struct api_service_ops *service, const struct api_route *route)
{
    const struct person *const strangers[] = {NULL, &liar, &late, &gone};

    if (route->flags & API_PUBLIC)
        return;
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        try(service, route, strangers[i], changes(route) ? "{}" : NULL);
        must_be(route, strangers[i] ? strangers[i]->name : "nobody", 401);
    }
}

static void test_no_route_without_a_token(void **state)
{
    size_t middle = strlen(admin.token) / 2;

    snprintf(liar.token, sizeof(liar.token), "%s", admin.token);
    liar.token[middle] = liar.token[middle] == 'A' ? 'B' : 'A';
    assert_int_equal(on_loop(seal_expired), 0);
    gone.role = "admin";
    gone.project_name = "red";
    gone.name = "gone";
    move_in(&gone);
    ask_service(API_IDENTITY, &admin, "DELETE", fmt("/v3/users/%s", gone.user), NULL, 204);
    each_route(without_token);
}

/* ---- roles ---- */

static void as_reader(const struct api_service_ops *service, const struct api_route *route)
{
    if (route->flags & (API_PUBLIC | API_READER) || !changes(route))
        return;
    try(service, route, &rita, "{}");
    must_be(route, "a reader", 403);
}

static void as_member(const struct api_service_ops *service, const struct api_route *route)
{
    if (!(route->flags & API_ADMIN))
        return;
    try(service, route, &alice, changes(route) ? "{}" : NULL);
    must_be(route, "a member", 403);
}

static void test_readers_change_nothing(void **state)
{
    each_route(as_reader);
}

static void test_members_do_not_administer(void **state)
{
    each_route(as_member);
}

/* ---- bodies ---- */

static void with_bodies(const struct api_service_ops *service, const struct api_route *route)
{
    static const char *const bodies[] = {
        NULL,
        "{}",
        "[]",
        "null",
        "\"text\"",
        "7",
        "{\"server\": 1, \"network\": [], \"user\": null}",
        "{\"server\": {}, \"network\": {}, \"subnet\": {}, \"port\": {}, \"router\": {}, "
        "\"floatingip\": {}, \"security_group\": {}, \"security_group_rule\": {}, \"flavor\": {}, "
        "\"keypair\": {}, \"user\": {}, \"project\": {}, \"role\": {}, \"domain\": {}, \"auth\": "
        "{}, "
        "\"metadata\": {}, \"meta\": {}, \"extra_specs\": {}, \"application_credential\": {}}",
        "{\"server\": {\"name\": 7, \"flavorRef\": [], \"imageRef\": {}, \"networks\": 3}, "
        "\"subnet\": {\"cidr\": 7, \"network_id\": [], \"ip_version\": \"x\"}, \"port\": "
        "{\"network_id\": {}, \"fixed_ips\": 7}, \"flavor\": {\"name\": [], \"ram\": -1}, "
        "\"keypair\": "
        "{\"name\": {}, \"public_key\": 7}, \"user\": {\"name\": 7}, \"auth\": {\"identity\": 7}}"};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        try(service, route, &admin, changes(route) ? bodies[i] : NULL);
}

static void with_broken_body(const struct api_service_ops *service, const struct api_route *route)
{
    if (!changes(route) || route->flags & API_STREAM)
        return;
    try(service, route, &admin, "{\"half\": ");
    must_be(route, "an administrator with half a body", 400);
}

static void test_wrong_bodies_get_documented_answers(void **state)
{
    each_route(with_bodies);
}

static void test_half_a_body_is_refused(void **state)
{
    each_route(with_broken_body);
}

/* ---- what is not there ---- */

static void with_wrong_method(const struct api_service_ops *service, const struct api_route *route)
{
    perform(&answer, service->service, &admin, "PROPFIND", path_of(route), NULL);
    must_be(route, "an administrator with another method", 405);
    check_error(service->service);
}

static void test_other_methods(void **state)
{
    each_route(with_wrong_method);
}

static void test_other_paths(void **state)
{
    for (size_t s = 0; s < sizeof(services) / sizeof(services[0]); s++) {
        perform(&answer, services[s]->service, &admin, "GET", "/v9/nothing/of/this/name", NULL);
        assert_int_equal(answer.status, 404);
        check_error(services[s]->service);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_route_without_a_token),
        cmocka_unit_test(test_readers_change_nothing),
        cmocka_unit_test(test_members_do_not_administer),
        cmocka_unit_test(test_half_a_body_is_refused),
        cmocka_unit_test(test_other_methods),
        cmocka_unit_test(test_other_paths),
        cmocka_unit_test(test_wrong_bodies_get_documented_answers),
    };

    return cmocka_run_group_tests(tests, cloud_start, cloud_stop);
}
