/* Small readers over jansson values (RFC 8259). A row is a json_t object; these read one field
 * without five lines of checks. None takes ownership; `object` may be NULL. */
#ifndef VLING_BASE_JSON_H
#define VLING_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Limits for every JSON text that comes from outside. */
#define JSON_DEPTH_MAX 64
#define JSON_ROWS_DEPTH 8 /* around rows */

/* The string at `key`, or `fallback` if it is missing or no string. Lives as long as `object`. */
const char *json_str(const json_t *object, const char *key, const char *fallback);
int64_t json_int(const json_t *object, const char *key, int64_t fallback);
bool json_bool(const json_t *object, const char *key, bool fallback);

/* Sets `key` to a copy of `value`, or to null if `value` is NULL. */
void json_put_str(json_t *object, const char *key, const char *value);
void json_put_int(json_t *object, const char *key, int64_t value);
void json_put_bool(json_t *object, const char *key, bool value);

/* Is the string `value` an element of the array at `key`? */
bool json_has_str(const json_t *object, const char *key, const char *value);

/* Makes `text` fit to be shown in a JSON text or a line of a log: what is no UTF-8 (input, or a
 * character that a buffer's end cut) and control characters become '?'. */
void json_clean(char *text);
/* Is it UTF-8 as a JSON text may hold it? */
bool json_is_text(const char *text);

/* Does the text nest no deeper than JSON_DEPTH_MAX, so that json_parse will take it again? */
bool json_depth_ok(const char *text, size_t size);

/* Parses `size` bytes, rejecting depth over JSON_DEPTH_MAX, duplicate keys, zero bytes and trailing
 * ones. Returns a new reference or NULL and, in `ret_why` (if not NULL), a one-line reason. */
json_t *json_parse(const char *text, size_t size, char *ret_why, size_t why_size);
/* The same for our own texts that hold whole rows, each of which may be JSON_DEPTH_MAX deep. */
json_t *json_parse_rows(const char *text, size_t size, char *ret_why, size_t why_size);

#endif
