#include "node/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char good[] =
    "{\"host\":\"c1h1\",\"cabinet\":\"c1\",\"roles\":[\"controller\",\"compute\"],"
    "\"mgmt\":{\"dev\":\"mgmt0\",\"ip\":\"10.10.1.1\"},"
    "\"tenant\":{\"dev\":\"tenant0\",\"ip\":\"10.20.1.1\"},"
    "\"controllers\":[{\"host\":\"c1h1\",\"cabinet\":\"c1\",\"ip\":\"10.10.1.1\"},"
    "{\"host\":\"c2h1\",\"cabinet\":\"c2\",\"ip\":\"10.10.2.1\"},"
    "{\"host\":\"c3h1\",\"cabinet\":\"c3\",\"ip\":\"10.10.3.1\"}],"
    "\"api\":{\"vip\":\"10.10.0.100/16\"}}";

static int load(const char *text, struct config *config, struct err *err)
{
    char path[] = "/tmp/vling-test-config-XXXXXX";
    int fd = mkstemp(path), rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    rc = config_load(path, config, err);
    unlink(path);
    return rc;
}

static void reads_a_good_one(void **state)
{
    struct config config;
    struct err err;
    char vip[80];

    assert_int_equal(load(good, &config, &err), 0);
    assert_string_equal(config.host, "c1h1");
    assert_string_equal(config.tenant_ip, "10.20.1.1");
    assert_string_equal(config.state_dir, "/var/lib/vling");
    assert_int_equal(config.controller_count, 3);
    assert_false(config.sqlite);
    assert_true(config_has_role(&config, "compute"));
    assert_false(config_has_role(&config, "storage"));
    assert_int_equal(config_controller_index(&config, "c3h1"), 2);
    assert_int_equal(config_controller_index(&config, "c3h2"), -1);
    config_vip_address(&config, vip, sizeof(vip));
    assert_string_equal(vip, "10.10.0.100");
    config_free(&config);
}

/* Every wrong file is refused with a text that names what is wrong. */
static void refuses_wrong_ones(void **state)
{
    static const struct {
        const char *from, *to, *names;
    } rows[] = {
        {"\"host\":\"c1h1\",", "", "host"},
        {"\"compute\"", "\"cooking\"", "roles"},
        {"10.20.1.1", "10.20.1", "tenant"},
        {"\"dev\":\"mgmt0\",", "", "dev"},
        {"\"cabinet\":\"c1\",\"roles\"", "\"cabinet\":7,\"roles\"", "cabinet"},
        {"}}", "}", "JSON"},
        {"\"host\":\"c1h1\",\"cabinet\":\"c1\",\"roles\"",
         "\"host\":\"\",\"cabinet\":\"c1\",\"roles\"", "host"},
        {"\"ip\":\"10.10.2.1\"", "\"ip\":\"c2h1\"", "c2h1"},
        {"\"host\":\"c3h1\"", "\"host\":\"c2h1\"", "twice"},
        {"10.10.0.100/16", "10.10.0.100/33", "vip"},
        {"\"10.10.0.100/16\"", "16", "vip"},
        {"{\"vip\":\"10.10.0.100/16\"}", "\"10.10.0.100/16\"", "api"},
        {"\"api\"", "\"store\":\"sqllite\",\"api\"", "sqllite"},
        {"\"api\"", "\"store\":true,\"api\"", "store"},
        {"\"api\"", "\"state_dir\":null,\"api\"", "state_dir"},
        {"\"api\"", "\"external\":\"eth1\",\"api\"", "external"},
        {"\"api\"", "\"storage\":{\"ip\":\"10.30.1\"},\"api\"", "10.30.1"},
        {"\"api\"", "\"compute\":{\"vcpus\":0},\"api\"", "vcpus"},
        {"\"api\"", "\"compute\":{\"ram_mb\":\"64\"},\"api\"", "ram_mb"},
        {"\"api\"", "\"compute\":{\"driver\":\"qmu\"},\"api\"", "qmu"},
        {"\"api\"", "\"storage\":{\"driver\":\"linux\"},\"api\"", "linux"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[2048], line[700];
        const char *at = strstr(good, rows[i].from);
        struct config config;
        struct err err;

        assert_non_null(at);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, rows[i].to,
                 at + strlen(rows[i].from));
        assert_true(load(text, &config, &err) < 0);
        assert_non_null(strstr(err_line(&err, line, sizeof(line)), rows[i].names));
    }
}

static void tells_a_missing_file(void **state)
{
    struct config config;
    struct err err;

    assert_int_equal(config_load("/nonexistent/vlingd.json", &config, &err), -ENOENT);
    assert_non_null(strstr(err.why, "/nonexistent/vlingd.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_good_one),
        cmocka_unit_test(refuses_wrong_ones),
        cmocka_unit_test(tells_a_missing_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
