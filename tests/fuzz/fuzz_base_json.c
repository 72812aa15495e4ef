/* libFuzzer: any bytes as a JSON text from outside. What is accepted keeps the promised limits, is
 * the same after it was written and read again, and every reader takes every value of it. */
#include "base/json.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The readers never trust a type: they give the value only if it is what they are named for. */
static void read_member(const json_t *object, const char *key, const json_t *value)
{
    static const char fallback[] = "fallback";
    bool both = json_bool(object, key, true) != json_bool(object, key, false);
    const char *text = json_str(object, key, fallback);

    must((text == fallback) == !json_is_string(value));
    must(json_is_string(value) || json_str(object, key, NULL) == NULL);
    must(both == !json_is_boolean(value));
    if (json_is_integer(value))
        must(json_int(object, key, 0) == json_integer_value(value));
    else
        must(json_int(object, key, 77) == 77);
    if (json_array_size(value) > 0) {
        const char *first = json_string_value(json_array_get(value, 0));

        must(!first || json_has_str(object, key, first));
    } else {
        must(!json_has_str(object, key, text));
    }
}

static void change_member(json_t *object, const char *key)
{
    json_t *copy = json_copy(object);

    json_put_str(copy, key, key);
    must(strcmp(json_str(copy, key, ""), key) == 0);
    json_put_int(copy, key, INT64_MIN);
    must(json_int(copy, key, 0) == INT64_MIN);
    json_put_bool(copy, key, true);
    must(json_bool(copy, key, false));
    json_put_str(copy, key, NULL);
    must(json_is_null(json_object_get(copy, key)));
    must(json_object_size(copy) == json_object_size(object));
    json_decref(copy);
}

static void walk(json_t *value, int depth)
{
    json_t *item;
    const char *key;
    size_t i;

    must(depth <= JSON_DEPTH_MAX + 1);
    json_array_foreach(value, i, item) walk(item, depth + 1);
    json_object_foreach(value, key, item)
    {
        read_member(value, key, item);
        change_member(value, key);
        walk(item, depth + 1);
    }
    must(json_str(value, "no such member", NULL) == NULL);
}

static void write_and_read(const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    json_t *again;

    must(text != NULL);
    again = json_parse(text, strlen(text), NULL, 0);
    must(again && json_equal(again, value));
    json_decref(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char why[100];
    json_t *value, *silent;

    memset(why, 'x', sizeof(why));
    value = json_parse((const char *)bytes, size, why, sizeof(why));
    silent = json_parse((const char *)bytes, size, NULL, 0);
    must(!value == !silent);
    json_decref(silent);
    if (!value) {
        must(memchr(why, '\0', sizeof(why)) && why[0] && !strchr(why, '\n'));
        return 0;
    }
    must(!memchr(bytes, '\0', size));
    walk(value, 1);
    write_and_read(value);
    json_decref(value);
    return 0;
}
