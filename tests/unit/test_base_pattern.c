/* Patterns: against the C library's on small ones, and what the C library cannot take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pattern.h"
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1 found, 0 not, -1 no pattern. */
static int find(const char *pattern, const char *text)
{
    char why[100] = "";
    struct pattern *p = pattern_new(pattern, why, sizeof(why));
    int found;

    if (!p) {
        assert_true(why[0]);
        return -1;
    }
    found = pattern_find(p, text);
    pattern_free(p);
    return found;
}

static void test_what_matches(void **state)
{
    static const struct {
        const char *pattern, *text;
        int found;
    } cases[] = {
        {"", "", 1},
        {"", "a", 1},
        {"web", "my web 1", 1},
        {"^web", "my web 1", 0},
        {"1$", "my web 1", 1},
        {"^$", "", 1},
        {"^$", "a", 0},
        {"a$b", "a$b", 0},
        {"a\\$b", "a$b", 1},
        {"^web-[0-9]+$", "web-17", 1},
        {"^web-[0-9]+$", "web-17a", 0},
        {"^(a|bc|)d$", "bcd", 1},
        {"^(a|bc|)d$", "d", 1},
        {"^(a|bc|)d$", "abcd", 0},
        {"^a|b$", "xb", 1},
        {"^a|b$", "xbx", 0},
        {"a.c", "abc", 1},
        {"a.c", "ac", 0},
        {"^a?b*c+$", "c", 1},
        {"^a?b*c+$", "abbbcc", 1},
        {"^a?b*c+$", "aac", 0},
        {"^a{2}$", "aa", 1},
        {"^a{2}$", "aaa", 0},
        {"^a{2,}$", "a", 0},
        {"^a{2,}$", "aaaa", 1},
        {"^a{0,2}$", "", 1},
        {"^a{0,2}$", "aa", 1},
        {"^a{0,2}$", "aaa", 0},
        {"^a{1,3}b$", "aaab", 1},
        {"^a{1,3}b$", "aaaab", 0},
        {"^xa{0}y$", "xy", 1},
        {"^(ab|c){2,3}$", "abcab", 1},
        {"^(ab|c){2,3}$", "ab", 0},
        {"^a{0,}$", "", 1},
        {"^a*?$", "aa", 1},
        {"[^a-c]", "abc", 0},
        {"[^a-c]", "abcd", 1},
        {"^[]a]+$", "]a", 1},
        {"^[^]a]$", "]", 0},
        {"^[a-]+$", "a-", 1},
        {"^[-a]+$", "a-", 1},
        {"^[.*]$", "x", 0},
        {"^[[:alpha:]_]+$", "ab_", 1},
        {"^[[:digit:]]$", "a", 0},
        {"^[\\]\\-\\\\]+$", "]-\\", 1},
        {"^[\\d.]+$", "10.0", 1},
        {"^\\d\\w\\s$", "1_ ", 1},
        {"^\\D\\W\\S$", "a-b", 1},
        {"^\\D$", "1", 0},
        {"\\.", "a", 0},
        {"(^a)+", "a", 1},
        {"(()*)*x", "x", 1},
        {"^\xc3\xa4$", "\xc3\xa4", 1},
        {"^[^a]$", "\xff", 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (find(cases[i].pattern, cases[i].text) != cases[i].found)
            fail_msg("'%s' in '%s'", cases[i].pattern, cases[i].text);
    }
}

static void test_what_is_refused(void **state)
{
    static const char *const bad[] = {
        "(",     ")",      "a)",     "(a",      "[",      "[a",    "[]",
        "[z-a]", "*",      "+a",     "a|*",     "(*a)",   "{1}",   "a{",
        "a{}",   "a{,1}",  "a{2,1}", "a{256}",  "a{1,x}", "a{1,2", "\\",
        "\\1",   "(a)\\1", "\\b",    "[[:x:]]", "[\\",    "[\\b]", "a{99999999999999}"};
    char long_one[300], why[100];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (find(bad[i], "a") != -1)
            fail_msg("'%s' was taken", bad[i]);
    }
    memset(long_one, 'a', PATTERN_SIZE_MAX + 1);
    long_one[PATTERN_SIZE_MAX + 1] = '\0';
    assert_int_equal(find(long_one, "a"), -1);
    assert_int_equal(find(long_one + 1, "a"), 0);
    memset(long_one, '(', 120);
    memset(long_one + 120, ')', 120);
    long_one[240] = '\0';
    assert_null(pattern_new(long_one, why, sizeof(why)));
    assert_string_equal(why, "its groups are too deep");
}

/* Each of these costs the C library seconds or gigabytes. */
static void test_what_would_take_for_ever(void **state)
{
    static const char *const greedy[] = {
        "(.*)(.*)(.*)(.*)(.*)(.*)b",        "((((a+)+)+)+)+b", "(a|a|a|.)*(a|aa)*(a*)*b",
        "(.?.?.?.?.?.?.?.?.?.?.?.?){20}b",  "(a?){250}b",      "((((){250}){250}){250}){250}b",
        "((((a{0}){250}){250}){250}){250}b"};
    char text[5001];

    memset(text, 'a', 5000);
    text[5000] = '\0';
    for (size_t i = 0; i < sizeof(greedy) / sizeof(greedy[0]); i++)
        assert_int_equal(find(greedy[i], text), 0);
    text[4999] = 'b';
    for (size_t i = 0; i < sizeof(greedy) / sizeof(greedy[0]); i++)
        assert_int_equal(find(greedy[i], text), 1);
    assert_int_equal(find("((((a{50}){50}){50}){50})", text), -1);
    assert_int_equal(find("(((((((((((a{2}){2}){2}){2}){2}){2}){2}){2}){2}){2}){2})", text), -1);
}

/* ---- against the C library ---- */

static uint32_t seed = 12345;

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* A small random pattern that means the same to both. */
static void put_random(char *out, int depth)
{
    uint32_t pieces = 1 + below(3);

    for (uint32_t i = 0; i < pieces; i++) {
        static const char *const atoms[] = {"a", "b", ".", "[ab]", "[^a]", "c"};
        static const char *const repeats[] = {"", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,1}"};

        if (depth > 0 && below(3) == 0) {
            strcat(out, "(");
            put_random(out, depth - 1);
            if (below(2)) {
                strcat(out, "|");
                put_random(out, depth - 1);
            }
            strcat(out, ")");
        } else {
            strcat(out, atoms[below(sizeof(atoms) / sizeof(atoms[0]))]);
        }
        strcat(out, repeats[below(sizeof(repeats) / sizeof(repeats[0]))]);
    }
}

static void test_like_the_c_library(void **state)
{
    int found = 0, missed = 0;

    for (int i = 0; i < 3000; i++) {
        char pattern[PATTERN_SIZE_MAX * 4] = "", text[12] = "";
        regex_t regex;
        int want;

        if (below(2))
            strcat(pattern, "^");
        put_random(pattern, 2);
        if (below(2))
            strcat(pattern, "$");
        if (strlen(pattern) > PATTERN_SIZE_MAX)
            continue;
        assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
        for (int k = 0; k < 8; k++) {
            size_t n = below(8);

            for (size_t j = 0; j < n; j++)
                text[j] = (char)('a' + below(3));
            text[n] = '\0';
            want = regexec(&regex, text, 0, NULL, 0) == 0;
            if (find(pattern, text) != want)
                fail_msg("'%s' in '%s': not %d", pattern, text, want);
            found += want;
            missed += !want;
        }
        regfree(&regex);
    }
    assert_true(found > 1000 && missed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_matches),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_what_would_take_for_ever),
        cmocka_unit_test(test_like_the_c_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
