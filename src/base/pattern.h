/* Patterns that clients send to search by: extended regular expressions, in time that is at most
 * the product of the pattern's and the text's length. The C library's own take seconds to hours and
 * all memory for some patterns of twenty characters, which a service must not let strangers send.
 *
 * Known are . [a-z] [^a-z] [[:digit:]] ^ $ ( ) | * + ? {n} {n,} {n,m} and \d \w \s \D \W \S; a
 * backslash takes the meaning from other signs, also inside [ ]. There are no references to groups.
 * Bytes are compared: a character that is not ASCII counts as several for `.`. */
#ifndef VLING_BASE_PATTERN_H
#define VLING_BASE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#define PATTERN_SIZE_MAX 256 /* bytes of the text */

struct pattern;

/* NULL if the text is no pattern or asks for too much; `why` then tells it. */
struct pattern *pattern_new(const char *text, char *why, size_t why_size);
void pattern_free(struct pattern *pattern);

/* Does the pattern match anywhere in the text? */
bool pattern_find(const struct pattern *pattern, const char *text);

#endif
