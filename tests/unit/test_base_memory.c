/* What is given back after the start comes back when it is touched, and nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* KiB of files that are mapped into this process. */
static long mapped_files(void)
{
    char *text = NULL;
    const char *at;
    long kib = -1;

    assert_int_equal(file_read("/proc/self/status", 65536, &text, NULL), 0);
    at = strstr(text, "RssFile:");
    if (at)
        kib = strtol(at + strlen("RssFile:"), NULL, 10);
    free(text);
    return kib;
}

static char written[3 * 4096] = "written by hand";
static const char constant[] = "of the program's file";

static void pages_are_given_back_and_come_back(void **state)
{
    unsigned char one[32], two[32];
    char uuid[64];
    long before, after;
    json_t *json;

    assert_true(sodium_init() >= 0);
    crypto_generichash(one, sizeof(one), (const unsigned char *)constant, sizeof(constant), NULL,
                       0);
    before = mapped_files();
    memory_drop_start_pages();
    after = mapped_files();
    assert_true(before > 0 && after > 0);
    assert_true(after < before);
    for (int i = 0; i < 3; i++) {
        memory_drop_start_pages();
        crypto_generichash(two, sizeof(two), (const unsigned char *)constant, sizeof(constant),
                           NULL, 0);
        assert_memory_equal(one, two, sizeof(one));
        assert_string_equal(written, "written by hand");
        id_uuid(uuid);
        assert_int_equal(strlen(uuid), 36);
        json = json_loads("{\"a\": [1, 2]}", 0, NULL);
        assert_int_equal(json_array_size(json_object_get(json, "a")), 2);
        json_decref(json);
        memset(written + 4096, i, 4096);
    }
    assert_int_equal(written[4096], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_given_back_and_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
