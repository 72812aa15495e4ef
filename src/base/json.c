#include "base/json.h"

#include <stdio.h>
#include <string.h>

const char *json_str(const json_t *object, const char *key, const char *fallback)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? json_string_value(value) : fallback;
}

int64_t json_int(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool json_bool(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);

    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

void json_put_str(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, value ? json_string(value) : json_null());
}

void json_put_int(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, json_integer(value));
}

void json_put_bool(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

bool json_has_str(const json_t *object, const char *key, const char *value)
{
    const json_t *list = json_object_get(object, key), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), value) == 0)
            return true;
    }
    return false;
}

/* The bytes of the UTF-8 character at `text`, 0 if there is none (RFC 3629: no surrogates, nothing
 * longer than needed, nothing above U+10FFFF). */
static size_t character(const unsigned char *text)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t size;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    size = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    if (text[0] == 0xe0)
        low = 0xa0;
    else if (text[0] == 0xed)
        high = 0x9f;
    else if (text[0] == 0xf0)
        low = 0x90;
    else if (text[0] == 0xf4)
        high = 0x8f;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    return size;
}

bool json_is_text(const char *text)
{
    while (*text) {
        size_t size = character((const unsigned char *)text);

        if (size == 0)
            return false;
        text += size;
    }
    return true;
}

void json_clean(char *text)
{
    while (*text) {
        size_t size = character((const unsigned char *)text);

        if (size == 0 || (unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
        text += size ? size : 1;
    }
}

static bool is_within(const char *text, size_t size, int depth_max)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

bool json_depth_ok(const char *text, size_t size)
{
    return is_within(text, size, JSON_DEPTH_MAX);
}

static json_t *parse(const char *text, size_t size, int depth_max, char *ret_why, size_t why_size)
{
    json_error_t error;
    json_t *value;

    if (!is_within(text, size, depth_max)) {
        if (ret_why)
            snprintf(ret_why, why_size, "nested deeper than %d levels", depth_max);
        return NULL;
    }
    /* jansson passes over a zero byte behind some tokens; JSON has none anywhere. */
    if (size > 0 && memchr(text, '\0', size)) {
        if (ret_why)
            snprintf(ret_why, why_size, "a zero byte");
        return NULL;
    }
    value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value && ret_why) {
        snprintf(ret_why, why_size, "line %d column %d: %s", error.line, error.column, error.text);
        json_clean(ret_why); /* it quotes the text */
    }
    return value;
}

json_t *json_parse(const char *text, size_t size, char *ret_why, size_t why_size)
{
    return parse(text, size, JSON_DEPTH_MAX, ret_why, why_size);
}

json_t *json_parse_rows(const char *text, size_t size, char *ret_why, size_t why_size)
{
    return parse(text, size, JSON_DEPTH_MAX + JSON_ROWS_DEPTH, ret_why, why_size);
}
