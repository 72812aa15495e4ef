/* libFuzzer: a pattern from outside, a zero byte, a text. Nothing is read or written outside, a
 * refusal says why, and what the pattern says of a text follows from what it says of its parts. */
#include "base/pattern.h"
#include "must.h"

#include <stdint.h>
#include <string.h>

#define TEXT_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* (pattern) and pattern| match what the pattern matches, and everything. */
static void check_wrapped(const char *pattern, const char *text, bool found)
{
    char wrapped[PATTERN_SIZE_MAX + 8], why[100];
    struct pattern *p;

    snprintf(wrapped, sizeof(wrapped), "(%s)", pattern);
    p = pattern_new(wrapped, why, sizeof(why));
    if (p)
        must(pattern_find(p, text) == found);
    pattern_free(p);
    snprintf(wrapped, sizeof(wrapped), "%s|", pattern);
    p = pattern_new(wrapped, why, sizeof(why));
    if (p)
        must(pattern_find(p, text));
    pattern_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char pattern[PATTERN_SIZE_MAX + 2] = "", text[TEXT_MAX + 1] = "", why[100] = "";
    size_t n = strnlen((const char *)bytes, size), rest = size - n;
    struct pattern *p;
    bool found;

    memcpy(pattern, bytes, n < sizeof(pattern) - 1 ? n : sizeof(pattern) - 1);
    if (rest > 1)
        memcpy(text, bytes + n + 1, rest - 1 < TEXT_MAX ? rest - 1 : TEXT_MAX);
    p = pattern_new(pattern, why, sizeof(why));
    must(p || why[0]);
    must(p == NULL || strlen(pattern) <= PATTERN_SIZE_MAX);
    if (!p)
        return 0;
    found = pattern_find(p, text);
    must(pattern_find(p, text) == found);
    check_wrapped(pattern, text, found);
    pattern_free(p);
    return 0;
}
