/* The readers of JSON fields, and what is refused of JSON from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    char why[200];
    json_t *value = json_parse(text, strlen(text), why, sizeof(why));

    if (!value)
        fail_msg("%s: %s", text, why);
    return value;
}

static void test_readers(void **state)
{
    json_t *o = parse("{\"s\": \"text\", \"empty\": \"\", \"i\": -7, \"big\": 9223372036854775807,"
                      " \"t\": true, \"f\": false, \"n\": null, \"r\": 1.0, \"one\": \"1\"}");

    assert_string_equal(json_str(o, "s", "no"), "text");
    assert_string_equal(json_str(o, "empty", "no"), "");
    assert_int_equal(json_int(o, "i", 0), -7);
    assert_true(json_int(o, "big", 0) == INT64_MAX);
    assert_true(json_bool(o, "t", false));
    assert_false(json_bool(o, "f", true));
    json_decref(o);
}

/* Another type is as good as missing: nothing is guessed out of it. */
static void test_fallbacks(void **state)
{
    static const char *const no_string[] = {"i", "t", "n", "r", "list", "missing", ""};
    static const char *const no_int[] = {"s", "t", "n", "r", "list", "missing", ""};
    static const char *const no_bool[] = {"s", "i", "n", "r", "list", "zero", "missing", ""};
    json_t *o = parse("{\"s\": \"1\", \"i\": 1, \"t\": true, \"n\": null, \"r\": 1.0,"
                      " \"zero\": 0, \"list\": [1, \"s\", true]}");
    json_t *list = json_object_get(o, "list");

    for (size_t i = 0; i < sizeof(no_string) / sizeof(no_string[0]); i++) {
        assert_string_equal(json_str(o, no_string[i], "fallback"), "fallback");
        assert_null(json_str(o, no_string[i], NULL));
    }
    for (size_t i = 0; i < sizeof(no_int) / sizeof(no_int[0]); i++)
        assert_int_equal(json_int(o, no_int[i], -3), -3);
    for (size_t i = 0; i < sizeof(no_bool) / sizeof(no_bool[0]); i++) {
        assert_true(json_bool(o, no_bool[i], true));
        assert_false(json_bool(o, no_bool[i], false));
    }
    assert_string_equal(json_str(NULL, "s", "fallback"), "fallback");
    assert_int_equal(json_int(NULL, "i", 4), 4);
    assert_true(json_bool(NULL, "t", true));
    assert_string_equal(json_str(list, "s", "fallback"), "fallback");
    json_decref(o);
}

static void test_writers(void **state)
{
    json_t *o = json_object(), *want;
    char text[] = "text";

    json_put_str(o, "s", text);
    text[0] = '#'; /* it was a copy */
    json_put_str(o, "none", NULL);
    json_put_int(o, "i", INT64_MIN);
    json_put_bool(o, "t", true);
    json_put_bool(o, "f", true);
    json_put_bool(o, "f", false); /* the last one counts */
    want = json_pack("{s:s, s:n, s:I, s:b, s:b}", "s", "text", "none", "i", (json_int_t)INT64_MIN,
                     "t", 1, "f", 0);
    assert_non_null(want);
    assert_true(json_equal(o, want));
    json_decref(want);
    json_decref(o);
}

static void test_membership(void **state)
{
    json_t *o = parse("{\"roles\": [\"compute\", 7, null, \"controller\"], \"text\": \"compute\","
                      " \"none\": []}");

    assert_true(json_has_str(o, "roles", "compute"));
    assert_true(json_has_str(o, "roles", "controller"));
    assert_false(json_has_str(o, "roles", "control"));
    assert_false(json_has_str(o, "roles", "7"));
    assert_false(json_has_str(o, "roles", ""));
    assert_false(json_has_str(o, "text", "compute"));
    assert_false(json_has_str(o, "none", "compute"));
    assert_false(json_has_str(o, "missing", "compute"));
    assert_false(json_has_str(NULL, "roles", "compute"));
    json_decref(o);
}

static void test_bad_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "]]]]",
        "{\"a\": 1,}",
        "{\"a\": 1} x",
        "{} {}",
        "[1, 2",
        "{'a': 1}",
        "{a: 1}",
        "{\"a\": 1, \"a\": 2}",
        "{\"a\": {\"b\": 1, \"b\": 1}}",
        "{\"a\": 99999999999999999999}",
        "[1e999]",
        "[01]",
        "[NaN]",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"line\nline\"",
        "\"open",
        "\"open\\",
        "// comment\n{}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char why[200] = "";
        json_t *value = json_parse(bad[i], strlen(bad[i]), why, sizeof(why));

        if (value)
            fail_msg("%s was taken", bad[i]);
        assert_true(strncmp(why, "line ", 5) == 0);
        assert_null(strchr(why, '\n'));
        assert_null(json_parse(bad[i], strlen(bad[i]), NULL, 0));
    }
    /* A zero byte is no end: what stands behind it would be passed over unseen. */
    assert_null(json_parse("1\0", 2, NULL, 0));
    assert_null(json_parse("[1\0, 2]", 8, NULL, 0));
    assert_null(json_parse("{}\0{}", 5, NULL, 0));
    assert_null(json_parse(NULL, 0, NULL, 0));
}

static void test_reasons_say_where(void **state)
{
    char why[200], small[8];

    assert_null(json_parse("{\"a\": 1,\n \"a\": 2}", 17, why, sizeof(why)));
    assert_true(strncmp(why, "line 2 ", 7) == 0);
    assert_null(json_parse("[", 1, small, sizeof(small)));
    assert_string_equal(small, "line 1 ");
}

/* A reason quotes the text; it goes into answers, which are JSON, and into the log. */
static void test_reasons_are_fit_to_show(void **state)
{
    static const char *const bad[] = {"\"\\nu\\\n",     "\"\xff\"", "[1, \x80]",
                                      "{\"a\": \xc3(}", "{\x1b[2J", "\"\xed\xa0\x80\""};
    char why[200];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *shown;

        assert_null(json_parse(bad[i], strlen(bad[i]), why, sizeof(why)));
        for (const char *at = why; *at; at++)
            assert_true((unsigned char)*at >= 0x20);
        shown = json_string(why);
        assert_non_null(shown);
        json_decref(shown);
    }
    /* The end of the buffer cuts a character. */
    for (size_t size = 20; size < 80; size++) {
        static const char open[] = "{\"a\": \"\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac";
        json_t *shown;

        assert_null(json_parse(open, sizeof(open) - 1, why, size));
        shown = json_string(why);
        assert_non_null(shown);
        json_decref(shown);
    }
}

static void clean_like_jansson(const char *text)
{
    json_t *given = json_string(text), *cleaned;
    char copy[8];
    bool control = false;

    for (const char *at = text; *at; at++)
        control |= (unsigned char)*at < 0x20 || *at == 0x7f;
    snprintf(copy, sizeof(copy), "%s", text);
    json_clean(copy);
    assert_int_equal(strlen(copy), strlen(text));
    assert_int_equal(json_is_text(text), given != NULL);
    assert_true(json_is_text(copy));
    cleaned = json_string(copy);
    if (!cleaned || (strcmp(copy, text) == 0) != (given && !control))
        fail_msg("bytes %02x %02x %02x %02x became \"%s\"", text[0] & 0xff, text[1] & 0xff,
                 text[2] & 0xff, text[3] & 0xff, copy);
    json_decref(given);
    json_decref(cleaned);
}

/* What is UTF-8 stays, nothing else does: as the JSON library sees it. */
static void test_clean(void **state)
{
    static const unsigned char edges[] = {1,    'a',  0x7f, 0x80, 0x8f, 0x90,
                                          0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    enum { EDGES = sizeof(edges) };
    char text[8] = "";

    for (unsigned i = 0; i < 256 * 256; i++) {
        memset(text, 0, sizeof(text));
        text[0] = (char)(i & 0xff);
        text[1] = (char)(text[0] ? i >> 8 : 0);
        clean_like_jansson(text);
    }
    for (unsigned first = 0xc0; first < 256; first++) {
        for (unsigned i = 0; i < EDGES * EDGES * EDGES; i++) {
            text[0] = (char)first;
            text[1] = (char)edges[i % EDGES];
            text[2] = (char)edges[i / EDGES % EDGES];
            text[3] = (char)edges[i / EDGES / EDGES];
            clean_like_jansson(text);
        }
    }
    snprintf(text, sizeof(text), "a\u20ac\n\xe2\x82"); /* the last one is cut */
    json_clean(text);
    assert_string_equal(text, "a\u20ac???");
}

static void test_only_the_given_bytes_are_read(void **state)
{
    static const char text[] = "[1, 2]]]]]garbage";
    char *exact = malloc(6);
    json_t *value;

    assert_non_null(exact);
    memcpy(exact, text, 6); /* no zero behind it */
    value = json_parse(exact, 6, NULL, 0);
    assert_int_equal(json_array_size(value), 2);
    json_decref(value);
    free(exact);
}

static void test_scalars_are_json_too(void **state)
{
    json_t *value = parse(" \"text\" ");

    assert_string_equal(json_string_value(value), "text");
    json_decref(value);
    value = parse("-0");
    assert_int_equal(json_integer_value(value), 0);
    json_decref(value);
}

/* `n` times `open`, a 1, `n` times `close`; the caller's to free. */
static char *nested(int n, const char *open, const char *close)
{
    size_t size = (size_t)n * (strlen(open) + strlen(close)) + 2, used = 0;
    char *text = malloc(size);

    assert_non_null(text);
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, size - used, "%s", open);
    used += (size_t)snprintf(text + used, size - used, "1");
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, size - used, "%s", close);
    return text;
}

static void test_depth(void **state)
{
    static const struct {
        const char *open, *close;
        int levels;
    } kinds[] = {
        {"[", "]", 1},
        {"{\"a\":", "}", 1},
        {"[{\"a\":", "}]", 2},
        {"[\"[[[[\\\"[[[\", \"\\\\\",", "]", 1}, /* brackets in strings are no depth */
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int most = JSON_DEPTH_MAX / kinds[i].levels;
        char *fits = nested(most, kinds[i].open, kinds[i].close);
        char *deeper = nested(most + 1, kinds[i].open, kinds[i].close), why[100] = "";
        json_t *value = parse(fits);

        assert_null(json_parse(deeper, strlen(deeper), why, sizeof(why)));
        assert_string_equal(why, "nested deeper than 64 levels");
        json_decref(value);
        value = json_parse_rows(deeper, strlen(deeper), why, sizeof(why));
        assert_non_null(value);
        json_decref(value);
        free(fits);
        free(deeper);
    }
}

/* What an attacker sends: depth only, never closed, far beyond any stack. */
static void test_a_million_brackets(void **state)
{
    size_t size = 1000000;
    char *text = malloc(size);
    char why[100];

    assert_non_null(text);
    memset(text, '[', size);
    assert_null(json_parse(text, size, why, sizeof(why)));
    assert_string_equal(why, "nested deeper than 64 levels");
    assert_null(json_parse_rows(text, size, why, sizeof(why)));
    assert_string_equal(why, "nested deeper than 72 levels");
    memset(text, ']', size / 2); /* a negative depth must not earn credit */
    assert_null(json_parse(text, size, why, sizeof(why)));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_writers),
        cmocka_unit_test(test_membership),
        cmocka_unit_test(test_bad_json_is_refused),
        cmocka_unit_test(test_reasons_say_where),
        cmocka_unit_test(test_reasons_are_fit_to_show),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_only_the_given_bytes_are_read),
        cmocka_unit_test(test_scalars_are_json_too),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_a_million_brackets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
