/* libFuzzer: what clients send for every resource of the model. A row that was made of it holds
 * only what the table allows and is the same when it is made again out of itself; a change that is
 * refused changes nothing; a view shows what the reader may see and all of that.
 *
 * The first byte chooses the resource, the second how the bodies are made: of the input's JSON
 * texts (the second one behind a zero byte), or of fields and values that the input chooses. */
#include "base/json.h"
#include "model/tables.h"
#include "must.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FROM_TEXT 1
#define ADMIN 2

struct input {
    const uint8_t *at;
    size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static const char *api_name(const struct field *field)
{
    return field->json ? field->json : field->name;
}

/* ---- bodies ---- */

static json_t *body_of_text(struct input *in)
{
    const uint8_t *zero = in->left ? memchr(in->at, '\0', in->left) : NULL;
    size_t size = zero ? (size_t)(zero - in->at) : in->left;
    json_t *body = json_parse((const char *)in->at, size, NULL, 0);

    in->at += zero ? size + 1 : size;
    in->left -= zero ? size + 1 : size;
    return body;
}

/* A text as long as a byte says, of characters of one or of three bytes. */
static json_t *long_text(uint8_t length)
{
    char text[255 * 3 + 1];
    size_t used = 0;

    for (size_t i = 0; i < length; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", length % 2 ? "a" : "€");
    text[used] = '\0';
    return json_string(text);
}

static json_t *value_of_bytes(struct input *in, const struct field *field)
{
    static const char *const texts[] = {"10.0.0.0/24",
                                        "10.0.0.7",
                                        "fd00::/64",
                                        "::1",
                                        "FA-16-3E-00-00-01",
                                        "true",
                                        "False",
                                        "12",
                                        "-1",
                                        "0",
                                        "9223372036854775808",
                                        "2026-11-22T13:55:39Z",
                                        "",
                                        "default",
                                        "10.0.0.0/33",
                                        "::/129"};
    uint8_t kind = next(in), more = next(in);
    size_t choices = 0;

    while (field->choices && field->choices[choices])
        choices++;
    switch (kind % 10) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(more & 1);
    case 2:
        return json_integer((int8_t)more);
    case 3:
        return json_integer((int64_t)(field->max + (int8_t)more));
    case 4:
        return long_text(more);
    case 5:
        return more < 128 ? json_object() : json_array();
    case 6:
        return json_pack("[{s:s}, i, n]", "a", "b", more);
    case 7:
        return choices ? json_string(field->choices[more % choices]) : json_real(more);
    default:
        return json_string(texts[more % (sizeof(texts) / sizeof(texts[0]))]);
    }
}

static json_t *body_of_bytes(const struct resource *resource, struct input *in)
{
    json_t *body = json_object();

    for (uint8_t count = next(in) % 32; count > 0; count--) {
        const struct field *field = &resource->fields[next(in) % resource->field_count];

        json_object_set_new(body, api_name(field), value_of_bytes(in, field));
    }
    return body;
}

/* ---- what must hold ---- */

static void check_failure(const struct err *err, int rc)
{
    must(rc == -EINVAL || rc == -EPERM);
    must(err->code == rc && err->what[0]);
    must(memchr(err->what, '\0', sizeof(err->what)) && memchr(err->why, '\0', sizeof(err->why)));
}

static void check_row(const struct resource *resource, const json_t *row)
{
    const char *name;
    json_t *value;
    size_t known = 0;

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];

        value = json_object_get(row, field->name);
        if (!value) {
            must(!(field->flags & FIELD_REQUIRED));
            continue;
        }
        known++;
        must(!(field->flags & FIELD_NOT_STORED) || field->flags & FIELD_CREATE);
        must(resource_check(field, value, NULL) == 0);
    }
    must(known == json_object_size(row));
    json_object_foreach((json_t *)row, name, value) must(value != NULL);
}

/* What a client may give of a row, given again, makes the same row: one spelling for each value. */
static void check_again(const struct resource *resource, const json_t *row)
{
    json_t *body = json_object(), *again = NULL;

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        json_t *value = json_object_get(row, field->name);

        if (value && field->flags & FIELD_CREATE)
            json_object_set(body, api_name(field), value);
    }
    must(resource_create(resource, body, true, &again, NULL) == 0);
    must(json_equal(row, again));
    json_decref(again);
    json_decref(body);
}

static void check_view(const struct resource *resource, const json_t *row, bool admin)
{
    json_t *view = resource_view(resource, row, admin);
    size_t shown = 0;

    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        json_t *value = json_object_get(row, field->name);

        if (field->flags & (FIELD_INTERNAL | FIELD_FORMED) ||
            (field->flags & FIELD_ADMIN && !admin))
            continue;
        shown++;
        must(value ? json_equal(json_object_get(view, api_name(field)), value)
                   : json_is_null(json_object_get(view, api_name(field))));
    }
    must(shown == json_object_size(view));
    json_decref(view);
}

static json_t *create(const struct resource *resource, const json_t *body, bool admin)
{
    struct err err = {0};
    json_t *row = NULL, *other = NULL;
    json_t *before = json_deep_copy(body);
    int rc = resource_create(resource, body, admin, &row, &err);

    must(!body || json_equal(body, before));
    json_decref(before);
    if (rc < 0) {
        must(row == NULL);
        check_failure(&err, rc);
        return NULL;
    }
    check_row(resource, row);
    check_again(resource, row);
    /* An administrator may do whatever others may. */
    must(resource_create(resource, body, true, &other, NULL) == 0 && json_equal(row, other));
    json_decref(other);
    return row;
}

static void update(const struct resource *resource, json_t *row, const json_t *body, bool admin)
{
    struct err err = {0};
    json_t *before = json_deep_copy(row);
    int rc = resource_update(resource, row, body, admin, &err);

    if (rc < 0) {
        check_failure(&err, rc);
        must(json_equal(row, before));
    }
    for (size_t i = 0; i < resource->field_count; i++) {
        const struct field *field = &resource->fields[i];
        json_t *value = json_object_get(row, field->name);

        if (!(field->flags & FIELD_UPDATE) ||
            (field->flags & (FIELD_ADMIN | FIELD_ADMIN_SETS) && !admin))
            must(value == NULL ? !json_object_get(before, field->name)
                               : json_equal(value, json_object_get(before, field->name)));
    }
    json_decref(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = {bytes, size};
    const struct resource *resource;
    json_t *body, *change, *row;
    size_t count = 0;
    uint8_t which = next(&in), how = next(&in);

    while (resource_all[count])
        count++;
    resource = resource_all[which % count];
    body = how & FROM_TEXT ? body_of_text(&in) : body_of_bytes(resource, &in);
    change = how & FROM_TEXT ? body_of_text(&in) : body_of_bytes(resource, &in);
    row = create(resource, body, how & ADMIN);
    if (!row)
        row = json_object(); /* a row of an older version lacks fields */
    check_view(resource, row, true);
    check_view(resource, row, false);
    update(resource, row, change, how & ADMIN);
    check_view(resource, row, true);
    check_view(resource, row, false);
    json_decref(row);
    json_decref(change);
    json_decref(body);
    return 0;
}
