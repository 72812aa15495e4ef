/* The compute service over HTTP, all but servers: discovery and versions, flavors, key pairs,
 * security groups, zones, hypervisors, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud.h"

/* ---- discovery ---- */

static void test_discovery(void **state)
{
    ask_service(API_COMPUTE, NULL, "GET", "/", NULL, 200);
    assert_int_equal(count("versions"), 1);
    assert_string_equal(text("versions/0/id"), "v2.1");
    assert_string_equal(text("versions/0/status"), "CURRENT");
    assert_string_equal(text("versions/0/version"), "2.25");
    assert_string_equal(text("versions/0/min_version"), "2.1");
    assert_string_equal(text("versions/0/links/0/href"),
                        fmt("http://127.0.0.1:%d/v2.1/", cloud.ports[API_COMPUTE]));
    for (int i = 0; i < 2; i++) { /* with and without the slash */
        ask_service(API_COMPUTE, NULL, "GET", i ? "/v2.1" : "/v2.1/", NULL, 200);
        assert_string_equal(text("version/version"), "2.25");
        assert_string_equal(text("version/media-types/0/base"), "application/json");
    }
    get(NULL, "/flavors", 401);
    assert_int_equal(num("error/code"), 401);
    get(NULL, "/nothing", 404);
    assert_string_equal(message(), "The resource could not be found.");
    ask(&alice, "PATCH", "/flavors", "{}", 405);
    assert_int_equal(num("badMethod/code"), 405);
    get(&alice, "/extensions", 200);
    assert_true(count("extensions") > 0);
    get(&alice, "/extensions/os-keypairs", 200);
    assert_string_equal(text("extension/name"), "Keypairs");
    get(&alice, "/extensions/none", 404);
    ask(&alice, "POST", "/servers", "{", 400);
    assert_int_equal(num("badRequest/code"), 400);
}

static void test_microversions(void **state)
{
    static const struct {
        const char *ask, *answered;
        long status;
    } versions[] = {
        {NULL, "2.1", 200},
        {"2.1", "2.1", 200},
        {"2.25", "2.25", 200},
        {"latest", "2.25", 200},
        {"OpenStack-API-Version: identity 3.14, compute 2.10, image 2", "2.10", 200},
        {"OpenStack-API-Version: identity 3.14", "2.1", 200},
        {"X-OpenStack-Nova-API-Version: 2.9", "2.9", 200},
        {"X-OpenStack-Nova-API-Version: latest", "2.25", 200},
        {"X-OpenStack-Nova-API-Version;", "2.1", 200}, /* an empty header */
        {"2.26", "2.26", 406},
        {"2.0", "2.0", 406},
        {"3.1", "3.1", 406},
        {"1.5", "1.5", 406},
        {"2.99999", "2.99999", 406},
    };
    static const char *const malformed[] = {"2",    "2.",       ".1",      "2.01",
                                            "02.1", "2.1.1",    "2.-1",    "+2.1",
                                            "v2.1", "latest.1", "2.1beta", "2.999999"};

    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        microversion = versions[i].ask;
        get(&alice, "/flavors", versions[i].status);
        assert_string_equal(answer.version, fmt("compute %s", versions[i].answered));
        assert_string_equal(answer.nova_version, versions[i].answered);
        if (versions[i].status == 406)
            assert_non_null(strstr(message(), "Minimum is 2.1 and maximum is 2.25."));
    }
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        microversion = malformed[i];
        get(&alice, "/flavors", 400);
        assert_non_null(strstr(message(), "of invalid format"));
        assert_string_equal(answer.version, "compute 2.1");
    }
}

/* ---- flavors ---- */

static void make_flavor(const char *id, const char *more)
{
    ask(&admin, "POST", "/flavors",
        fmt("{\"flavor\": {\"id\": \"%s\", \"name\": \"f.%s\", \"ram\": 100, \"vcpus\": 2, "
            "\"disk\": 3%s}}",
            id, id, more),
        200);
}

static void test_flavor_life(void **state)
{
    ask(&admin, "POST", "/flavors",
        "{\"flavor\": {\"name\": \"texts\", \"ram\": \"256\", \"vcpus\": \"2\", \"disk\": \"0\", "
        "\"swap\": \"\", \"OS-FLV-EXT-DATA:ephemeral\": \"1\", \"id\": null}}",
        200);
    assert_int_equal(num("flavor/ram"), 256);
    assert_int_equal(num("flavor/OS-FLV-EXT-DATA:ephemeral"), 1);
    assert_int_equal(strlen(text("flavor/id")), 36); /* made for who gave none */
    ask(&admin, "DELETE", fmt("/flavors/%s", text("flavor/id")), NULL, 202);
    make_flavor("t1", ", \"swap\": 512, \"rxtx_factor\": 2.0");
    get(&alice, "/flavors/t1", 200);
    assert_string_equal(text("flavor/name"), "f.t1");
    assert_int_equal(num("flavor/vcpus"), 2);
    assert_int_equal(num("flavor/disk"), 3);
    assert_int_equal(num("flavor/swap"), 512);
    assert_true(json_is_true(at("flavor/os-flavor-access:is_public")));
    assert_true(json_is_false(at("flavor/OS-FLV-DISABLED:disabled")));
    assert_non_null(strstr(text("flavor/links/0/href"), "/v2.1/flavors/t1"));
    assert_string_equal(text("flavor/description"), "missing");
    make_flavor("t2", "");
    get(&alice, "/flavors/t2", 200);
    assert_string_equal(text("flavor/swap"), ""); /* none */
    ask(&admin, "DELETE", "/flavors/t1", NULL, 202);
    ask(&admin, "DELETE", "/flavors/t1", NULL, 404);
    get(&alice, "/flavors/t1", 404);
    make_flavor("t1", ""); /* id and name are free again */
    ask(&admin, "DELETE", "/flavors/t1", NULL, 202);
    ask(&admin, "DELETE", "/flavors/t2", NULL, 202);
}

static void test_bad_flavors(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"flavor\": []}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1}}",
        "{\"flavor\": {\"ram\": 1, \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 0, \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 0, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": -1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1.5, \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": \"much\", \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 99999999999, \"vcpus\": 1, \"disk\": 1}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"id\": \"a b\"}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"id\": \"a/b\"}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"id\": \"\"}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"rxtx_factor\": "
        "{\"a\": 1}}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"rxtx_factor\": "
        "0}}",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"colour\": 1}}",
    };
    const char *good = "{\"flavor\": {\"name\": \"m1.tiny\", \"ram\": 1, \"vcpus\": 1, \"disk\": "
                       "1, \"id\": \"other\"}}";

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ask(&admin, "POST", "/flavors", bad[i], 400);
    ask(&admin, "POST", "/flavors", good, 409);
    assert_string_equal(message(), "Flavor with name m1.tiny already exists.");
    ask(&admin, "POST", "/flavors",
        "{\"flavor\": {\"name\": \"x\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"id\": 1}}", 409);
    assert_string_equal(message(), "Flavor with ID 1 already exists.");
    ask(&alice, "POST", "/flavors", good, 403);
    ask(&alice, "DELETE", "/flavors/1", NULL, 403);
    get(&alice, "/flavors/none", 404);
    assert_string_equal(message(), "Flavor none could not be found.");
}

static void test_flavor_lists(void **state)
{
    const char *next;

    get(&rita, "/flavors", 200);
    assert_int_equal(count("flavors"), 7);
    assert_string_equal(text("flavors/0/name"), "m1.nano"); /* the smallest first */
    assert_int_equal(count("flavors/0"), 3);
    assert_null(at("flavors_links"));
    get(&rita, "/flavors/detail", 200);
    assert_int_equal(count("flavors"), 7);
    assert_int_equal(num("flavors/6/ram"), 16384);
    get(&rita, "/flavors?minRam=2048&minDisk=40", 200);
    assert_int_equal(count("flavors"), 3);
    get(&rita, "/flavors?minRam=lots", 400);
    get(&rita, "/flavors?limit=-1", 400);
    get(&rita, "/flavors?limit=x", 400);
    get(&rita, "/flavors?marker=none", 400);
    get(&rita, "/flavors/detail?limit=3&minRam=100", 200);
    assert_int_equal(count("flavors"), 3);
    assert_string_equal(text("flavors_links/0/rel"), "next");
    next = fmt("%s", text("flavors_links/0/href"));
    get(&rita, next, 200);
    assert_int_equal(count("flavors"), 3); /* 6 of 7 have 100 MiB and more */
    assert_string_equal(text("flavors/2/name"), "m1.xlarge");
    assert_null(at("flavors_links"));
    get(&rita, "/flavors?limit=7", 200);
    assert_null(at("flavors_links"));
}

static void test_private_flavors(void **state)
{
    make_flavor("secret", ", \"os-flavor-access:is_public\": false");
    get(&alice, "/flavors/secret", 404);
    get(&alice, "/flavors/secret/os-extra_specs", 404);
    get(&alice, "/flavors?is_public=None", 200);
    assert_int_equal(count("flavors"), 7);
    get(&alice, "/flavors?is_public=false", 200);
    assert_int_equal(count("flavors"), 7);
    get(&admin, "/flavors", 200);
    assert_int_equal(count("flavors"), 7);
    get(&admin, "/flavors?is_public=None", 200);
    assert_int_equal(count("flavors"), 8);
    get(&admin, "/flavors/detail?is_public=False", 200);
    assert_int_equal(count("flavors"), 1);
    assert_string_equal(text("flavors/0/id"), "secret");
    get(&admin, "/flavors/secret", 200);
    ask(&admin, "DELETE", "/flavors/secret", NULL, 202);
}

static void set_access(const char *flavor, const char *how, const char *project, long want)
{
    ask(&admin, "POST", fmt("/flavors/%s/action", flavor),
        fmt("{\"%s\": {\"tenant\": \"%s\"}}", how, project), want);
}

/* `flavor create --private --project`, `flavor set` and `unset`. */
static void test_flavor_access(void **state)
{
    make_flavor("open", "");
    make_flavor("closed", ", \"os-flavor-access:is_public\": false");
    get(&admin, "/flavors/closed/os-flavor-access", 200);
    assert_int_equal(count("flavor_access"), 0);
    get(&admin, "/flavors/open/os-flavor-access", 404);
    get(&alice, "/flavors/closed/os-flavor-access", 403);
    set_access("open", "addTenantAccess", alice.project, 409);
    set_access("closed", "addTenantAccess", "nobody", 400);
    set_access("none", "addTenantAccess", alice.project, 404);
    set_access("closed", "takeTenantAccess", alice.project, 400);
    ask(&alice, "POST", "/flavors/closed/action",
        fmt("{\"addTenantAccess\": {\"tenant\": \"%s\"}}", alice.project), 403);
    set_access("closed", "addTenantAccess", alice.project, 200);
    assert_int_equal(count("flavor_access"), 1);
    assert_string_equal(text("flavor_access/0/flavor_id"), "closed");
    assert_string_equal(text("flavor_access/0/tenant_id"), alice.project);
    set_access("closed", "addTenantAccess", alice.project, 409);
    set_access("closed", "removeTenantAccess", bob.project, 404);
    get(&rita, "/flavors/closed", 200); /* alice's project */
    assert_null(at("flavor/projects"));
    get(&bob, "/flavors/closed", 404);
    get(&rita, "/flavors?name=f.closed", 200);
    assert_int_equal(count("flavors"), 1);
    get(&bob, "/flavors?name=f.closed", 200);
    assert_int_equal(count("flavors"), 0);
    set_access("closed", "removeTenantAccess", alice.project, 200);
    assert_int_equal(count("flavor_access"), 0);
    get(&rita, "/flavors/closed", 404);
}

/* What a table marks as a filter is one. */
static void test_plain_filters(void **state)
{
    make_flavor("one", "");
    make_flavor("two", "");
    get(&rita, "/flavors?name=f.one&name=f.two", 200);
    assert_int_equal(count("flavors"), 2);
    get(&rita, "/flavors?id=two", 200);
    assert_int_equal(count("flavors"), 1);
    assert_string_equal(text("flavors/0/id"), "two");
    get(&rita, "/flavors?name=o%27%20OR%201=1", 200);
    assert_int_equal(count("flavors"), 0);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k1\"}}", 200);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k2\"}}", 200);
    get(&alice, "/os-keypairs?name=k2", 200);
    assert_int_equal(count("keypairs"), 1);
    assert_string_equal(text("keypairs/0/keypair/name"), "k2");
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k3\", \"type\": \"ssh\"}}",
        400); /* from 2.2 on */
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k3\", \"fingerprint\": \"x\"}}",
        400);
}

static void test_extra_specs(void **state)
{
    char body[8192] = "{\"extra_specs\": {\"a0\": \"1\"";

    make_flavor("s", "");
    get(&alice, "/flavors/s/os-extra_specs", 200);
    assert_int_equal(count("extra_specs"), 0);
    ask(&admin, "POST", "/flavors/s/os-extra_specs",
        "{\"extra_specs\": {\"hw:numa\": \"1\", \"b\": \"2\"}}", 200);
    assert_string_equal(text("extra_specs/hw:numa"), "1");
    ask(&admin, "PUT", "/flavors/s/os-extra_specs/b", "{\"b\": \"3\"}", 200);
    assert_string_equal(text("b"), "3");
    ask(&admin, "PUT", "/flavors/s/os-extra_specs/b", "{\"c\": \"3\"}", 400);
    ask(&admin, "PUT", "/flavors/s/os-extra_specs/b", "{\"b\": \"3\", \"c\": \"3\"}", 400);
    ask(&admin, "PUT", "/flavors/s/os-extra_specs/b", "{\"b\": []}", 400);
    get(&alice, "/flavors/s/os-extra_specs/b", 200);
    assert_string_equal(text("b"), "3");
    get(&alice, "/flavors/s/os-extra_specs/none", 404);
    ask(&alice, "POST", "/flavors/s/os-extra_specs", "{\"extra_specs\": {\"b\": \"9\"}}", 403);
    ask(&alice, "PUT", "/flavors/s/os-extra_specs/b", "{\"b\": \"9\"}", 403);
    ask(&alice, "DELETE", "/flavors/s/os-extra_specs/b", NULL, 403);
    ask(&admin, "DELETE", "/flavors/s/os-extra_specs/b", NULL, 200);
    ask(&admin, "DELETE", "/flavors/s/os-extra_specs/b", NULL, 404);
    ask(&admin, "POST", "/flavors/s/os-extra_specs", "{\"extra_specs\": {\"\": \"2\"}}", 400);
    for (int i = 1; i < 128; i++)
        snprintf(body + strlen(body), 32, ", \"a%d\": \"1\"", i);
    strcat(body, "}}");
    ask(&admin, "POST", "/flavors/s/os-extra_specs", body, 400); /* with hw:numa too many */
    ask(&admin, "DELETE", "/flavors/s/os-extra_specs/hw:numa", NULL, 200);
    ask(&admin, "POST", "/flavors/s/os-extra_specs", body, 200);
    get(&alice, "/flavors/s/os-extra_specs", 200);
    assert_int_equal(count("extra_specs"), 128);
    ask(&admin, "DELETE", "/flavors/s", NULL, 202);
}

/* Many at the same time want to give one name to flavors of different ids. */
static void *create_flavor(void *arg)
{
    struct answer mine = {0};
    char body[200];
    long status;

    snprintf(body, sizeof(body),
             "{\"flavor\": {\"name\": \"race\", \"ram\": 1, \"vcpus\": 1, \"disk\": 1, \"id\": "
             "\"race%d\"}}",
             (int)(intptr_t)arg);
    perform(&mine, API_COMPUTE, &admin, "POST", "/v2.1/flavors", body);
    status = mine.status;
    answer_clear(&mine);
    return (void *)(intptr_t)status;
}

static void test_one_of_many_gets_the_flavor_name(void **state)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    int won = 0, lost = 0;

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_flavor, (void *)(intptr_t)i), 0);
    for (int i = 0; i < THREADS; i++) {
        void *status;

        pthread_join(threads[i], &status);
        won += (intptr_t)status == 200;
        lost += (intptr_t)status == 409;
    }
    assert_int_equal(won, 1);
    assert_int_equal(lost, THREADS - 1);
    get(&admin, "/flavors?limit=1", 200); /* the smallest is the winner */
    assert_string_equal(text("flavors/0/name"), "race");
    ask(&admin, "DELETE", fmt("/flavors/%s", text("flavors/0/id")), NULL, 202);
}

/* ---- key pairs ---- */

#define RSA_KEY                                                                                    \
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQD1FpCmRsJyJ6DVEV4rNwMaTAKRitMAqzrvhmT/x45v16746EqJnR"   \
    "EjuqhGYF37GLyf3t4Tz5KnZn8f5z5/nmKOo3CryJRy7jmezRf0I8lC3CvF+6Ea54jpmTnPmjCMUqOz4J6wcmrU6D/"    \
    "gSr+U7mLN3gTZZm2yDEK2GC/SOY5D3+jtKAZeAWpMEmUbtYfD8/O/Atj4wnmcjXXgHyH+bp02Te/xzoN7Pliwz/"      \
    "qoj0f5XlP2lJZJpvG4mqb3jVO5rtD6kP9Oh3xqOga+o3Ygv/WJcP5mbrRPtTekR/b/"                           \
    "UP8A5d5wYA8zX0Rujxd17Hethnka+HUs7Xq8puLiYLZQoMMRFYQZxDQeWrPjtuOc8D8nhLl/cpuv/"                \
    "FfSVG8KN2YChfEZ/SeigaVg9T1uv8+hjdMqzi3zWU5EC5OeviY3vogIQvEJTyh+8gREt+aBHVu5VZRWj4yn7qyv02tu"  \
    "MUpCYaBWRWX7x4r2cJafa2EX0nEhLF59E7gHc0g2CM3jEW3iZbU= me@home"
#define ECDSA_KEY                                                                                  \
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGCHzv5iVncQ0ken2pu"  \
    "szJIxWv2dF5wKRXksdyrDr7V4eSPsPASkoNqtkpRBvxp4hQX/Bzos8B64XkRUJs+Peqc="
#define ED25519_BLOB "AAAAC3NzaC1lZDI1NTE5AAAAIPN5KExlAEAstwNSsvdLqvWhElfFZ0JmN+T09ZnVyDrc"
#define ED25519_KEY "ssh-ed25519 " ED25519_BLOB " me@home\\n"

/* The fingerprints are what `ssh-keygen -l -E md5` tells of them. */
static const struct {
    const char *key, *fingerprint;
} known_keys[] = {
    {RSA_KEY, "60:04:4d:e0:13:b1:ce:38:62:31:bc:17:fd:b5:c0:7d"},
    {ECDSA_KEY, "e2:db:d3:59:0e:d1:62:fd:32:5a:2b:34:4a:7e:4a:40"},
    {ED25519_KEY, "20:a3:0e:02:45:99:de:f9:61:5d:64:df:59:c1:22:e7"},
};

static void test_key_import(void **state)
{
    for (size_t i = 0; i < sizeof(known_keys) / sizeof(known_keys[0]); i++) {
        ask(&alice, "POST", "/os-keypairs",
            fmt("{\"keypair\": {\"name\": \"key %zu@home_.-\", \"public_key\": \"%s\"}}", i,
                known_keys[i].key),
            200);
        assert_string_equal(text("keypair/fingerprint"), known_keys[i].fingerprint);
        assert_string_equal(text("keypair/user_id"), alice.user);
        assert_string_equal(text("keypair/private_key"), "missing");
        assert_string_equal(text("keypair/type"), "missing"); /* before 2.2 */
    }
    ask(&alice, "POST", "/os-keypairs",
        "{\"keypair\": {\"name\": \"key 0@home_.-\", \"public_key\": \"" ECDSA_KEY "\"}}", 409);
    assert_string_equal(message(), "Key pair 'key 0@home_.-' already exists.");
    get(&alice, "/os-keypairs", 200);
    assert_int_equal(count("keypairs"), 3);
    assert_string_equal(text("keypairs/1/keypair/name"), "key 1@home_.-");
    get(&alice, "/os-keypairs/key%200@home_.-", 200);
    assert_string_equal(text("keypair/fingerprint"), known_keys[0].fingerprint);
    assert_string_equal(text("keypair/public_key"), RSA_KEY);
    assert_true(num("keypair/id") > 0);
    assert_true(json_is_false(at("keypair/deleted")));
    assert_int_equal(strlen(text("keypair/created_at")), 26);
    ask(&alice, "DELETE", "/os-keypairs/key%200@home_.-", NULL, 202);
    get(&alice, "/os-keypairs/key%200@home_.-", 404);
    microversion = "2.2";
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"n\", \"type\": \"ssh\"}}", 201);
    assert_string_equal(text("keypair/type"), "ssh");
    ask(&alice, "DELETE", "/os-keypairs/n", NULL, 204);
    ask(&alice, "DELETE", "/os-keypairs/n", NULL, 404);
}

static void test_bad_keys(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "ssh-rsa",
        "ssh-rsa ",
        "ssh-rsa AAAA",
        "ssh-rsa !!!!",
        " AAAAAAAA",             /* no type */
        "ssh-rsa " ED25519_BLOB, /* another type inside */
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\\nAAAAIPN5KExl\\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nAAAA\\n-----END OPENSSH PRIVATE KEY-----\\n",
        "ssh-ed25519 " ED25519_BLOB " a\\nb",
    };
    static const char *const names[] = {"", "a/b", "a\\nb", "\\u00e4", "a;b"};
    char *big = malloc(20001), *body = malloc(20200);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ask(&alice, "POST", "/os-keypairs",
            fmt("{\"keypair\": {\"name\": \"k\", \"public_key\": \"%s\"}}", bad[i]), 400);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ask(&alice, "POST", "/os-keypairs", fmt("{\"keypair\": {\"name\": \"%s\"}}", names[i]),
            400);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {}}", 400);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": 5}}", 400);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\", \"user_id\": 5}}", 400);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\", \"public_key\": 5}}", 400);
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\", \"type\": \"x509\"}}",
        400);
    ask(&alice, "POST", "/os-keypairs", NULL, 400);
    memset(big, 'A', 20000);
    big[20000] = '\0';
    snprintf(body, 20200, "{\"keypair\": {\"name\": \"k\", \"public_key\": \"ssh-rsa %s\"}}", big);
    ask(&alice, "POST", "/os-keypairs", body, 400);
    memset(big, 'k', 256); /* a name one too long */
    big[256] = '\0';
    ask(&alice, "POST", "/os-keypairs", fmt("{\"keypair\": {\"name\": \"%s\"}}", big), 400);
    ask(&alice, "POST", "/os-keypairs", fmt("{\"keypair\": {\"name\": \"%s\"}}", big + 1), 200);
    ask(&alice, "DELETE", fmt("/os-keypairs/%s", big + 1), NULL, 202);
    free(big);
    free(body);
    get(&alice, "/os-keypairs", 200);
    assert_int_equal(count("keypairs"), 0);
}

/* The first line that the command prints, or "". */
static void first_line(const char *command, char *out, int size)
{
    FILE *pipe = popen(command, "r");

    assert_non_null(pipe);
    if (!fgets(out, size, pipe))
        out[0] = '\0';
    pclose(pipe);
    out[strcspn(out, "\n")] = '\0';
}

static void test_generated_key(void **state)
{
    char line[1000], public[1000], md5[100];
    FILE *file;

    ask(&rita, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"made\", \"public_key\": null}}",
        200); /* a reader's key pairs are the reader's own */
    snprintf(public, sizeof(public), "%s", text("keypair/public_key"));
    snprintf(md5, sizeof(md5), "MD5:%s", text("keypair/fingerprint"));
    assert_int_equal(
        strncmp(text("keypair/private_key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n", 36), 0);
    file = fopen(fmt("%s/key", cloud.folder), "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(text("keypair/private_key"), file);
    fclose(file);
    get(&rita, "/os-keypairs/made", 200);
    assert_string_equal(text("keypair/public_key"), public);
    assert_string_equal(text("keypair/private_key"), "missing"); /* kept nowhere */
    if (system("command -v ssh-keygen >/dev/null") != 0)
        skip();
    first_line(fmt("ssh-keygen -y -P '' -f %s/key", cloud.folder), line, sizeof(line));
    assert_string_equal(line, public);
    first_line(fmt("ssh-keygen -l -E md5 -f %s/key", cloud.folder), line, sizeof(line));
    assert_non_null(strstr(line, md5));
}

static void test_other_users_keys(void **state)
{
    ask(&alice, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\"}}", 200);
    get(&bob, "/os-keypairs/k", 404);
    get(&rita, "/os-keypairs", 200); /* of the same project, not of the same user */
    assert_int_equal(count("keypairs"), 0);
    ask(&bob, "POST", "/os-keypairs", "{\"keypair\": {\"name\": \"k\"}}", 200);
    microversion = "2.10";
    get(&bob, fmt("/os-keypairs?user_id=%s", alice.user), 403);
    ask(&bob, "DELETE", fmt("/os-keypairs/k?user_id=%s", alice.user), NULL, 403);
    ask(&bob, "POST", "/os-keypairs",
        fmt("{\"keypair\": {\"name\": \"x\", \"user_id\": \"%s\"}}", alice.user), 403);
    get(&admin, fmt("/os-keypairs?user_id=%s", alice.user), 200);
    assert_int_equal(count("keypairs"), 1);
    ask(&admin, "POST", "/os-keypairs",
        fmt("{\"keypair\": {\"name\": \"x\", \"user_id\": \"%s\"}}", alice.user), 201);
    get(&alice, "/os-keypairs/x", 200);
    ask(&admin, "DELETE", fmt("/os-keypairs/x?user_id=%s", alice.user), NULL, 204);
    get(&alice, "/os-keypairs/x", 404);
    microversion = "2.9"; /* before 2.10 not even an administrator */
    get(&admin, fmt("/os-keypairs?user_id=%s", alice.user), 403);
}

/* ---- security groups ---- */

static void test_security_groups(void **state)
{
    char group[64];

    ask_net(&alice, "GET", "/security-groups", NULL, 200); /* makes the default group */
    ask_net(&alice, "POST", "/security-groups",
            "{\"security_group\": {\"name\": \"web\", \"description\": \"w\"}}", 201);
    keep("security_group/id", group);
    ask_net(&alice, "POST", "/security-group-rules",
            fmt("{\"security_group_rule\": {\"security_group_id\": \"%s\", \"direction\": "
                "\"ingress\", \"protocol\": \"tcp\", \"port_range_min\": 80, \"port_range_max\": "
                "90, \"remote_ip_prefix\": \"10.0.0.0/8\"}}",
                group),
            201);
    get(&alice, "/os-security-groups", 200);
    assert_int_equal(count("security_groups"), 2);
    assert_string_equal(text("security_groups/0/name"), "default");
    assert_int_equal(count("security_groups/0/rules"), 2); /* ingress only */
    assert_string_equal(text("security_groups/0/rules/0/group/name"), "default");
    assert_int_equal(count("security_groups/0/rules/0/ip_range"), 0);
    get(&rita, fmt("/os-security-groups/%s", group), 200);
    assert_string_equal(text("security_group/description"), "w");
    assert_string_equal(text("security_group/tenant_id"), alice.project);
    assert_int_equal(count("security_group/rules"), 1);
    assert_string_equal(text("security_group/rules/0/ip_protocol"), "tcp");
    assert_int_equal(num("security_group/rules/0/from_port"), 80);
    assert_int_equal(num("security_group/rules/0/to_port"), 90);
    assert_string_equal(text("security_group/rules/0/ip_range/cidr"), "10.0.0.0/8");
    get(&bob, fmt("/os-security-groups/%s", group), 404);
    get(&admin, fmt("/os-security-groups/%s", group), 200);
    get(&bob, "/os-security-groups", 200);
    assert_int_equal(count("security_groups"), 0);
}

/* ---- hosts ---- */

static void put_hosts(void)
{
    put_host("h1", "cab1", "[\"controller\", \"compute\"]", "up");
    put_host("h2", "cab2", "[\"compute\"]", "lost");
    put_host("h3", "cab2", "[\"compute\"]", "up");
    put_host("h4", "cab3", "[\"network\"]", "up");
}

/* A server as the planner has placed it on h1, of the flavor's size. */
static void put_server(const char *id, const char *project)
{
    put_row("server",
            json_pack("{s:s, s:s, s:s, s:s, s:{s:i, s:i, s:i, s:s}, s:s, s:i, s:s, s:{}, s:s, s:s}",
                      "id", id, "name", id, "project_id", project, "user_id", "u", "flavor",
                      "vcpus", 2, "ram", 512, "disk", 10, "name", "f", "host_id", "h1",
                      "generation", 1, "power", "running", "metadata", "created_at",
                      "2026-01-01T00:00:00Z", "updated_at", "2026-01-01T00:00:00Z"));
}

static void test_zones(void **state)
{
    json_t *host;

    get(&rita, "/os-availability-zone", 200);
    assert_int_equal(count("availabilityZoneInfo"), 0);
    put_hosts();
    get(&rita, "/os-availability-zone", 200);
    assert_int_equal(count("availabilityZoneInfo"), 2); /* cab3 has no compute host */
    assert_string_equal(text("availabilityZoneInfo/0/zoneName"), "cab1");
    assert_true(json_is_true(at("availabilityZoneInfo/1/zoneState/available"))); /* by h3 */
    assert_true(json_is_null(at("availabilityZoneInfo/1/hosts")));
    get(&alice, "/os-availability-zone/detail", 403);
    get(&admin, "/os-availability-zone/detail", 200);
    assert_int_equal(count("availabilityZoneInfo/1/hosts"), 2);
    assert_true(json_is_false(at("availabilityZoneInfo/1/hosts/h2/nova-compute/available")));
    assert_true(json_is_true(at("availabilityZoneInfo/1/hosts/h3/nova-compute/available")));
    assert_true(json_is_true(at("availabilityZoneInfo/0/hosts/h1/nova-conductor/active")));
    host = row_of("host", "h3");
    json_put_bool(host, "disabled", true);
    put_row("host", host);
    get(&rita, "/os-availability-zone", 200);
    assert_true(json_is_false(at("availabilityZoneInfo/1/zoneState/available")));
}

static void test_hypervisors(void **state)
{
    int64_t id;

    put_hosts();
    put_server("s1", alice.project);
    put_server("s2", bob.project);
    get(&alice, "/os-hypervisors", 403);
    get(&alice, "/os-hypervisors/detail", 403);
    get(&alice, "/os-hypervisors/statistics", 403);
    get(&admin, "/os-hypervisors", 200);
    assert_int_equal(count("hypervisors"), 3);
    assert_string_equal(text("hypervisors/0/hypervisor_hostname"), "h1");
    assert_string_equal(text("hypervisors/1/state"), "down");
    assert_string_equal(text("hypervisors/1/status"), "enabled");
    get(&admin, "/os-hypervisors/detail", 200);
    assert_int_equal(num("hypervisors/0/vcpus"), 8);
    assert_int_equal(num("hypervisors/0/vcpus_used"), 4);
    assert_int_equal(num("hypervisors/0/running_vms"), 2);
    assert_int_equal(num("hypervisors/0/free_ram_mb"), 16384 - 1024);
    assert_int_equal(num("hypervisors/0/free_disk_gb"), 80);
    assert_string_equal(text("hypervisors/0/service/host"), "h1");
    id = num("hypervisors/0/id");
    get(&admin, fmt("/os-hypervisors/%lld", (long long)id), 200);
    assert_string_equal(text("hypervisor/hypervisor_hostname"), "h1");
    get(&admin, "/os-hypervisors/h1", 404); /* names only from 2.53 on */
    get(&admin, "/os-hypervisors/statistics", 200);
    assert_int_equal(num("hypervisor_statistics/count"), 3);
    assert_int_equal(num("hypervisor_statistics/vcpus"), 24);
    assert_int_equal(num("hypervisor_statistics/vcpus_used"), 4);
    assert_int_equal(num("hypervisor_statistics/memory_mb"), 3 * 16384);
}

/* What the openstack command asks for in `hypervisor show NAME` and `list --matching`. */
static struct {
    const char *body;
    int rc;
    char host[64], path[256];
} host_says;

static void ask_host(void *arg, const char *host, const char *path, api_peer_cb *cb, void *cb_arg)
{
    snprintf(host_says.host, sizeof(host_says.host), "%s", host);
    snprintf(host_says.path, sizeof(host_says.path), "%s", path);
    cb(cb_arg, host_says.rc, 200, host_says.body, strlen(host_says.body));
}

static void test_one_hypervisor(void **state)
{
    int64_t ids[2];

    put_hosts();
    get(&admin, "/os-hypervisors", 200);
    ids[0] = num("hypervisors/0/id");
    ids[1] = num("hypervisors/1/id");
    host_says.body = "{\"uptime\": \" 17:37:14 up 2 days\"}";
    get(&alice, fmt("/os-hypervisors/%lld/uptime", (long long)ids[0]), 403);
    get(&admin, fmt("/os-hypervisors/%lld/uptime", (long long)ids[0]), 200);
    assert_string_equal(host_says.host, "h1");
    assert_string_equal(host_says.path, "/v1/uptime");
    assert_string_equal(text("hypervisor/uptime"), " 17:37:14 up 2 days");
    assert_string_equal(text("hypervisor/hypervisor_hostname"), "h1");
    get(&admin, fmt("/os-hypervisors/%lld/uptime", (long long)ids[1]), 400); /* lost */
    get(&admin, "/os-hypervisors/1/uptime", 404);
    host_says.body = "what?";
    get(&admin, fmt("/os-hypervisors/%lld/uptime", (long long)ids[0]), 503);
    host_says.rc = -ETIMEDOUT;
    get(&admin, fmt("/os-hypervisors/%lld/uptime", (long long)ids[0]), 503);
    get(&admin, "/os-hypervisors/h/search", 200);
    assert_int_equal(count("hypervisors"), 3);
    get(&admin, "/os-hypervisors/3/search", 200);
    assert_int_equal(count("hypervisors"), 1);
    assert_string_equal(text("hypervisors/0/hypervisor_hostname"), "h3");
    get(&admin, "/os-hypervisors/h4/search", 404); /* no compute host */
    get(&alice, "/os-hypervisors/h/search", 403);
    get(&admin, "/os-aggregates", 200);
    assert_int_equal(count("aggregates"), 0);
}

static void change_service(const struct person *who, const char *what, const char *body, long want)
{
    ask(who, "PUT", fmt("/os-services/%s", what), body, want);
}

static void test_service_set(void **state)
{
    json_t *host;

    put_hosts();
    change_service(&alice, "disable", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}", 403);
    change_service(&admin, "disable", "{\"host\": \"h1\"}", 400);
    change_service(&admin, "disable", "{\"host\": \"h4\", \"binary\": \"nova-compute\"}", 404);
    change_service(&admin, "disable", "{\"host\": \"h9\", \"binary\": \"nova-compute\"}", 404);
    change_service(&admin, "disable", "{\"host\": \"h1\", \"binary\": \"nova-conductor\"}", 400);
    change_service(&admin, "disable-log-reason", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}",
                   400);
    assert_int_equal(row_count("event", "WHERE kind LIKE 'host.%'"), 0);
    change_service(&admin, "disable-log-reason",
                   "{\"host\": \"h1\", \"binary\": \"nova-compute\", \"disabled_reason\": "
                   "\"new disks\"}",
                   200);
    assert_string_equal(text("service/status"), "disabled");
    assert_string_equal(text("service/disabled_reason"), "new disks");
    host = row_of("host", "h1");
    assert_true(json_bool(host, "disabled", false));
    json_decref(host);
    assert_int_equal(row_count("event", "WHERE kind = 'host.disabled' AND object = 'h1'"), 1);
    get(&admin, "/os-services?binary=nova-compute&host=h1", 200);
    assert_string_equal(text("services/0/status"), "disabled");
    assert_string_equal(text("services/0/disabled_reason"), "new disks");
    get(&admin, "/os-services?binary=nova-conductor&host=h1", 200); /* that goes on */
    assert_string_equal(text("services/0/status"), "enabled");
    assert_string_equal(text("services/0/disabled_reason"), "null");
    get(&admin, "/os-hypervisors/detail", 200);
    assert_string_equal(text("hypervisors/0/service/disabled_reason"), "new disks");
    change_service(&admin, "enable", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}", 200);
    assert_string_equal(text("service/status"), "enabled");
    assert_int_equal(row_count("event", "WHERE kind = 'host.enabled' AND object = 'h1'"), 1);
    change_service(&admin, "disable", "{\"host\": \"h1\", \"binary\": \"nova-compute\"}", 200);
    get(&admin, "/os-services?binary=nova-compute&host=h1", 200);
    assert_string_equal(text("services/0/status"), "disabled");
    assert_string_equal(text("services/0/disabled_reason"), "null");
}

static void test_services(void **state)
{
    put_hosts();
    get(&alice, "/os-services", 403);
    get(&admin, "/os-services", 200);
    assert_int_equal(count("services"), 5);
    assert_null(at("services/0/forced_down"));
    get(&admin, "/os-services?binary=nova-compute", 200);
    assert_int_equal(count("services"), 3);
    assert_string_equal(text("services/1/host"), "h2");
    assert_string_equal(text("services/1/state"), "down");
    assert_string_equal(text("services/1/zone"), "cab2");
    assert_string_equal(text("services/1/updated_at"), "2026-01-02T03:04:05.000000");
    get(&admin, "/os-services?binary=nova-compute&host=h3", 200);
    assert_int_equal(count("services"), 1);
    assert_string_equal(text("services/0/state"), "up");
    microversion = "2.11";
    get(&admin, "/os-services?host=h1&binary=nova-scheduler", 200);
    assert_int_equal(count("services"), 1);
    assert_true(json_is_false(at("services/0/forced_down")));
}

/* ---- limits, quotas, usage ---- */

static void test_limits(void **state)
{
    put_server("s1", alice.project);
    put_server("s2", alice.project);
    put_server("s3", bob.project);
    ask_net(&alice, "GET", "/security-groups", NULL, 200);
    get(&rita, "/limits", 200);
    assert_int_equal(num("limits/absolute/totalInstancesUsed"), 2);
    assert_int_equal(num("limits/absolute/totalCoresUsed"), 4);
    assert_int_equal(num("limits/absolute/totalRAMUsed"), 1024);
    assert_int_equal(num("limits/absolute/totalSecurityGroupsUsed"), 1);
    assert_int_equal(num("limits/absolute/maxTotalInstances"), -1);
    assert_int_equal(num("limits/absolute/maxServerMeta"), 128);
    assert_int_equal(count("limits/rate"), 0);
    get(&rita, fmt("/limits?tenant_id=%s", bob.project), 403); /* only administrators look there */
    get(&rita, fmt("/limits?tenant_id=%s", alice.project), 200);
    assert_int_equal(num("limits/absolute/totalInstancesUsed"), 2);
    get(&admin, fmt("/limits?tenant_id=%s", bob.project), 200);
    assert_int_equal(num("limits/absolute/totalInstancesUsed"), 1);
    get(&rita, fmt("/os-quota-sets/%s", alice.project), 200);
    assert_int_equal(num("quota_set/instances"), -1);
    assert_string_equal(text("quota_set/id"), alice.project);
    get(&rita, fmt("/os-quota-sets/%s/defaults", alice.project), 200);
    get(&rita, fmt("/os-quota-sets/%s", bob.project), 403);
    get(&admin, fmt("/os-quota-sets/%s", bob.project), 200);
}

static double number(const char *path)
{
    assert_true(json_is_number(at(path)));
    return json_number_value(at(path));
}

static void test_usage(void **state)
{
    put_server("s1", alice.project); /* since 2026-01-01 */
    put_server("s2", alice.project);
    get(&alice, fmt("/os-simple-tenant-usage/%s", bob.project), 403);
    get(&alice,
        fmt("/os-simple-tenant-usage/%s?start=2025-12-31T00:00:00&end=2026-01-01T12:00:00.000000",
            alice.project),
        200);
    assert_string_equal(text("tenant_usage/tenant_id"), alice.project);
    assert_int_equal(count("tenant_usage/server_usages"), 2);
    assert_true(number("tenant_usage/total_hours") == 24);
    assert_true(number("tenant_usage/total_vcpus_usage") == 48);
    assert_true(number("tenant_usage/total_memory_mb_usage") == 24 * 512);
    assert_true(number("tenant_usage/total_local_gb_usage") == 240);
    assert_true(number("tenant_usage/server_usages/0/hours") == 12);
    assert_string_equal(text("tenant_usage/server_usages/0/state"), "active");
    get(&admin, fmt("/os-simple-tenant-usage/%s?start=2026-01-01&end=2026-01-02", alice.project),
        200);
    assert_true(number("tenant_usage/total_hours") == 48);
    get(&alice, fmt("/os-simple-tenant-usage/%s", alice.project), 200);
    assert_true(number("tenant_usage/total_hours") == 0);
    get(&alice, fmt("/os-simple-tenant-usage/%s?start=2025-01-01&end=2025-02-01", alice.project),
        200);
    assert_true(number("tenant_usage/total_hours") == 0); /* before there was one */
    assert_int_equal(count("tenant_usage/server_usages"), 0);
    get(&alice, fmt("/os-simple-tenant-usage/%s?start=yesterday", alice.project), 400);
    get(&alice, fmt("/os-simple-tenant-usage/%s?end=2026-01-01Q", alice.project), 400);
    get(&alice, fmt("/os-simple-tenant-usage/%s?start=2026-01-02&end=2026-01-01", alice.project),
        400);
}

/* `usage list`: all projects that have servers. */
static void test_usages(void **state)
{
    get(&admin, "/os-simple-tenant-usage", 200);
    assert_int_equal(count("tenant_usages"), 0);
    put_server("s1", alice.project); /* since 2026-01-01 */
    put_server("s2", bob.project);
    put_server("s3", bob.project);
    get(&alice, "/os-simple-tenant-usage", 403);
    get(&admin, "/os-simple-tenant-usage?start=2025-12-31T00:00:00&end=2026-01-01T12:00:00", 200);
    assert_int_equal(count("tenant_usages"), 2);
    for (int i = 0; i < 2; i++) {
        bool red = strcmp(text(fmt("tenant_usages/%d/tenant_id", i)), alice.project) == 0;

        assert_true(number(fmt("tenant_usages/%d/total_hours", i)) == (red ? 12 : 24));
        assert_null(at(fmt("tenant_usages/%d/server_usages", i)));
    }
    get(&admin, "/os-simple-tenant-usage?start=2026-01-01&end=2026-01-02&detailed=1", 200);
    assert_int_equal(
        count("tenant_usages/0/server_usages") + count("tenant_usages/1/server_usages"), 3);
    get(&admin, "/os-simple-tenant-usage?start=2026-01-02&end=2026-01-01", 400);
}

static int start(void **state)
{
    cloud.peers.get = ask_host;
    return cloud_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_discovery, cloud_wipe),
        cmocka_unit_test_setup(test_microversions, cloud_wipe),
        cmocka_unit_test_setup(test_flavor_life, cloud_wipe),
        cmocka_unit_test_setup(test_bad_flavors, cloud_wipe),
        cmocka_unit_test_setup(test_flavor_lists, cloud_wipe),
        cmocka_unit_test_setup(test_private_flavors, cloud_wipe),
        cmocka_unit_test_setup(test_flavor_access, cloud_wipe),
        cmocka_unit_test_setup(test_plain_filters, cloud_wipe),
        cmocka_unit_test_setup(test_extra_specs, cloud_wipe),
        cmocka_unit_test_setup(test_one_of_many_gets_the_flavor_name, cloud_wipe),
        cmocka_unit_test_setup(test_key_import, cloud_wipe),
        cmocka_unit_test_setup(test_bad_keys, cloud_wipe),
        cmocka_unit_test_setup(test_generated_key, cloud_wipe),
        cmocka_unit_test_setup(test_other_users_keys, cloud_wipe),
        cmocka_unit_test_setup(test_security_groups, cloud_wipe),
        cmocka_unit_test_setup(test_zones, cloud_wipe),
        cmocka_unit_test_setup(test_hypervisors, cloud_wipe),
        cmocka_unit_test_setup(test_one_hypervisor, cloud_wipe),
        cmocka_unit_test_setup(test_services, cloud_wipe),
        cmocka_unit_test_setup(test_service_set, cloud_wipe),
        cmocka_unit_test_setup(test_limits, cloud_wipe),
        cmocka_unit_test_setup(test_usage, cloud_wipe),
        cmocka_unit_test_setup(test_usages, cloud_wipe),
    };

    return cmocka_run_group_tests(tests, start, cloud_stop);
}
