/* Images without their bytes: create, change, delete, tags. */
#include "api/image.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROPERTIES_MAX 128
#define TAGS_MAX 128

static int bad(struct api_req *req, unsigned status, const char *what, const char *name)
{
    api_fail(req, status, NULL, what, name);
    return -EINVAL;
}

/* Members that the API shows and nobody sets. */
static bool is_made(const char *name)
{
    return strcmp(name, "self") == 0 || strcmp(name, "file") == 0 || strcmp(name, "schema") == 0 ||
           strcmp(name, "locations") == 0 || strcmp(name, "stores") == 0;
}

static int check_property(struct api_req *req, const char *name, const json_t *value)
{
    if (!name[0] || strlen(name) > 255)
        return bad(req, 400, "A property's name has 1 to 255 characters: '%.40s'", name);
    if (!json_is_string(value))
        return bad(req, 400, "Provided object does not match schema 'image': %.100s is no string",
                   name);
    if (json_string_length(value) > 65535)
        return bad(req, 400, "The property %.100s is too long", name);
    return 0;
}

/* What only administrators set, others may say as long as it is so. */
static bool is_own_owner(const struct api_req *req, const char *name, const json_t *value)
{
    const char *text = json_string_value(value);

    return !req->auth.admin && strcmp(name, "owner") == 0 && text && req->auth.project_id[0] &&
           strcmp(text, req->auth.project_id) == 0;
}

/* Sorts the members of a client's object into fields and free properties. */
static int split(struct api_req *req, const json_t *body, json_t *fields, json_t *properties)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)body, name, value)
    {
        const struct field *field = resource_field(&resource_image, name);

        if (is_own_owner(req, name, value))
            continue;
        if (is_made(name) || (field && !(field->flags & (FIELD_CREATE | FIELD_UPDATE))))
            return bad(req, 403, "Attribute '%.100s' is read-only.", name);
        if (field) {
            json_object_set(fields, name, value);
            continue;
        }
        if (check_property(req, name, value) < 0)
            return -EINVAL;
        json_object_set(properties, name, value);
    }
    if (json_object_size(properties) > PROPERTIES_MAX)
        return bad(req, 413, "An image has at most 128 properties%s", "");
    return 0;
}

static int check_tag(struct api_req *req, const char *tag)
{
    if (!tag || !tag[0] || strlen(tag) > 255)
        return bad(req, 400, "A tag is a text of 1 to 255 characters%s", "");
    return 0;
}

/* Tags are a set. */
static int tidy_tags(struct api_req *req, json_t *image)
{
    json_t *tags = json_array(), *tag, *seen = json_object();
    size_t i;
    int rc = 0;

    json_array_foreach(json_object_get(image, "tags"), i, tag)
    {
        if (check_tag(req, json_string_value(tag)) < 0) {
            rc = -EINVAL;
            break;
        }
        if (!json_object_get(seen, json_string_value(tag)))
            json_array_append(tags, tag);
        json_object_set(seen, json_string_value(tag), json_true());
    }
    json_decref(seen);
    json_object_set_new(image, "tags", tags);
    return rc;
}

static int check_rights(struct api_req *req, const json_t *image)
{
    const char *visibility = json_str(image, "visibility", "");

    if (!req->auth.admin && strcmp(visibility, "public") == 0)
        return bad(req, 403, "Only an administrator makes an image public%s", "");
    return 0;
}

/* ---- create ---- */

static int complete(struct api_req *req, json_t *image, json_t *properties)
{
    char id[ID_UUID_SIZE];
    json_t *there;

    if (!json_str(image, "id", NULL)) {
        id_uuid(id);
        json_put_str(image, "id", id);
    } else if (!id_is_uuid(json_str(image, "id", "")) || strlen(json_str(image, "id", "")) != 36) {
        return bad(req, 400, "Invalid image id '%.60s': it is no UUID", json_str(image, "id", ""));
    }
    there = mirror_get(req->db, "image", json_str(image, "id", ""), NULL);
    json_decref(there);
    if (there)
        return bad(req, 409, "Image ID %s already exists!", json_str(image, "id", ""));
    if (!json_str(image, "owner", NULL))
        json_put_str(image, "owner", req->auth.project_id);
    json_put_str(image, "status", "queued");
    json_put_str(image, "created_at", req->now);
    json_put_str(image, "updated_at", req->now);
    json_object_set(image, "properties", properties);
    if (tidy_tags(req, image) < 0)
        return -EINVAL;
    return check_rights(req, image);
}

void image_create(struct api_req *req)
{
    json_t *fields = json_object(), *properties = json_object(), *image = NULL;
    struct err err = {0};
    char location[400];

    if (!json_is_object(req->body))
        bad(req, 400, "The body must be a JSON object%s", "");
    else if (split(req, req->body, fields, properties) == 0) {
        if (resource_create(&resource_image, fields, req->auth.admin, &image, &err) < 0) {
            api_fail_err(req, &err);
        } else if (complete(req, image, properties) == 0) {
            store_txn_create(req->txn, "image", json_str(image, "id", ""), image);
            snprintf(location, sizeof(location), "%s/v2/images/%s", req->base_url,
                     json_str(image, "id", ""));
            api_header(req, "Location", location);
            image_reply(req, 201, image);
        }
    }
    json_decref(image);
    json_decref(fields);
    json_decref(properties);
}

/* ---- change ---- */

/* The one name in a JSON pointer (RFC 6901) of one level. */
static int name_of(struct api_req *req, const char *path, char *ret, size_t size)
{
    size_t n = 0;

    if (!path || path[0] != '/' || strchr(path + 1, '/') || strlen(path) >= size)
        return bad(req, 400, "Invalid JSON pointer for this resource: '%.100s'",
                   path ? path : "(none)");
    for (path++; *path; path++) {
        if (*path == '~' && (path[1] == '0' || path[1] == '1')) {
            path++;
            ret[n++] = *path == '0' ? '~' : '/';
        } else if (*path == '~') {
            return bad(req, 400, "Invalid JSON pointer for this resource: '%.100s'", path);
        } else {
            ret[n++] = *path;
        }
    }
    ret[n] = '\0';
    return n ? 0 : bad(req, 400, "Invalid JSON pointer for this resource: '/'%s", "");
}

/* What the bytes are was looked at when they came: a raw image that is later called qcow2 could
 * name any file of the host as its backing file. */
static bool is_settled(const json_t *image, const char *name, const json_t *value)
{
    return (strcmp(name, "disk_format") == 0 || strcmp(name, "container_format") == 0) &&
           strcmp(json_str(image, "status", ""), "queued") != 0 &&
           !json_equal(json_object_get(image, name), value);
}

static int change_field(struct api_req *req, json_t *image, const char *name, json_t *value)
{
    json_t *one = json_object();
    struct err err = {0};
    int rc;

    json_object_set(one, name, value ? value : json_null());
    rc = resource_update(&resource_image, image, one, req->auth.admin, &err);
    if (rc < 0)
        api_fail_err(req, &err);
    json_decref(one);
    return rc;
}

static int apply_operation(struct api_req *req, json_t *image, const json_t *operation)
{
    const char *op = json_str(operation, "op", "");
    json_t *value = json_object_get(operation, "value");
    json_t *properties = json_object_get(image, "properties");
    const struct field *field;
    char name[300];
    bool removes = strcmp(op, "remove") == 0, replaces = strcmp(op, "replace") == 0;

    if (!removes && !replaces && strcmp(op, "add") != 0)
        return bad(req, 400, "Operation objects must have op add, replace or remove, not '%.40s'",
                   op);
    if (name_of(req, json_str(operation, "path", NULL), name, sizeof(name)) < 0)
        return -EINVAL;
    if (!removes && !value)
        return bad(req, 400, "Operation \"%.20s\" requires a member named \"value\".", op);
    field = resource_field(&resource_image, name);
    if (is_made(name) || (field && !(field->flags & FIELD_UPDATE)))
        return bad(req, 403, "Attribute '%.100s' is read-only.", name);
    if (!removes && is_own_owner(req, name, value)) /* whoever may change it is its owner */
        return 0;
    if (field && removes)
        return bad(req, 403, "Property %.100s may not be removed.", name);
    if (field && is_settled(image, name, value))
        return bad(req, 403, "Attribute %.100s can be only replaced for a queued image.", name);
    if (field)
        return change_field(req, image, name, value);
    if ((removes || replaces) && !json_object_get(properties, name))
        return bad(req, 409, "Property %.100s does not exist.", name);
    if (removes)
        return json_object_del(properties, name);
    if (check_property(req, name, value) < 0)
        return -EINVAL;
    json_object_set(properties, name, value);
    if (json_object_size(properties) > PROPERTIES_MAX)
        return bad(req, 413, "An image has at most 128 properties%s", "");
    return 0;
}

static int apply_all(struct api_req *req, json_t *image)
{
    const json_t *operation;
    size_t i;

    if (!json_is_array(req->body))
        return bad(req, 400, "Request body must be a JSON array of operation objects.%s", "");
    json_array_foreach(req->body, i, operation)
    {
        if (apply_operation(req, image, operation) < 0)
            return -EINVAL;
    }
    return 0;
}

void image_patch(struct api_req *req)
{
    json_t *image = image_own(req);
    char was[32];

    if (!image)
        return;
    snprintf(was, sizeof(was), "%s", json_str(image, "visibility", ""));
    if (!json_is_object(json_object_get(image, "properties")))
        json_object_set_new(image, "properties", json_object());
    if (apply_all(req, image) == 0 && tidy_tags(req, image) == 0 &&
        (strcmp(was, json_str(image, "visibility", "")) == 0 || check_rights(req, image) == 0)) {
        image_put(req, image);
        image_reply(req, 200, image);
    }
    json_decref(image);
}

/* ---- delete ---- */

static void remove_bytes(struct api_req *req, int rc)
{
    const struct api_images *images = &api_get_options(req->api)->images;

    if (rc == 0 && images->remove && req->note[0])
        images->remove(images->arg, req->note);
}

void image_delete(struct api_req *req)
{
    json_t *image = image_own(req);
    const char *id;

    if (!image)
        return;
    id = json_str(image, "id", "");
    if (json_bool(image, "protected", false)) {
        api_fail(req, 403, NULL, "Image %s is protected and cannot be deleted.", id);
    } else {
        store_txn_expect(req->txn, "image", id, json_int(image, "_rev", 0));
        store_txn_delete(req->txn, "image", id);
        image_members_forget(req, image);
        /* The bytes go when the row is gone for certain. */
        snprintf(req->note, sizeof(req->note), "%s", json_str(image, "blob", ""));
        req->after_commit = remove_bytes;
        api_reply(req, 204, NULL);
    }
    json_decref(image);
}

/* ---- tags and actions ---- */

static void change_tag(struct api_req *req, bool add)
{
    const char *tag = api_param(req, "tag");
    json_t *image, *tags, *one;
    bool had = false;
    size_t i;

    if (check_tag(req, tag) < 0)
        return;
    image = image_own(req);
    if (!image)
        return;
    tags = json_object_get(image, "tags");
    for (i = json_array_size(tags); i-- > 0;) {
        one = json_array_get(tags, i);
        if (strcmp(json_string_value(one), tag) != 0)
            continue;
        had = true;
        if (!add)
            json_array_remove(tags, i);
    }
    if (add && !had)
        json_array_append_new(tags, json_string(tag));
    if (!add && !had) {
        api_fail(req, 404, NULL, "The image has no tag '%.100s'", tag);
    } else if (json_array_size(tags) > TAGS_MAX) {
        api_fail(req, 413, NULL, "An image has at most %d tags", TAGS_MAX);
    } else {
        if (had != add)
            image_put(req, image);
        api_reply(req, 204, NULL);
    }
    json_decref(image);
}

void image_tag_put(struct api_req *req)
{
    change_tag(req, true);
}

void image_tag_delete(struct api_req *req)
{
    change_tag(req, false);
}

static void set_status(struct api_req *req, const char *from, const char *to)
{
    json_t *image = image_see(req);
    const char *status;

    if (!image)
        return;
    status = json_str(image, "status", "");
    if (strcmp(status, to) == 0) {
        api_reply(req, 204, NULL);
    } else if (strcmp(status, from) != 0) {
        api_fail(req, 403, NULL, "Not allowed to go from status %s to %s", status, to);
    } else {
        json_put_str(image, "status", to);
        image_put(req, image);
        api_reply(req, 204, NULL);
    }
    json_decref(image);
}

void image_deactivate(struct api_req *req)
{
    set_status(req, "active", "deactivated");
}

void image_reactivate(struct api_req *req)
{
    set_status(req, "deactivated", "active");
}
