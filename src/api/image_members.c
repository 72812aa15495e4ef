/* Image members: https://docs.openstack.org/api-ref/image/v2/#sharing
 *
 * The owner of an image of visibility "shared" lets single projects see it; each of these says by
 * its status whether the image stands in its lists. A member's row has the name of the pair, so
 * there cannot be two; whoever makes or removes one moves the image's row, so an image that is
 * being deleted gets no more. */
#include "api/image.h"

#include "base/json.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MEMBERS_MAX 100    /* deleted with the image, in one transaction */
#define MEMBER_NAME_MAX 64 /* characters of a project's id */
#define ROW_ID_SIZE 400

static const char *row_id(const char *image_id, const char *member, char out[ROW_ID_SIZE])
{
    snprintf(out, ROW_ID_SIZE, "%.100s:%.255s", image_id, member);
    return out;
}

static json_t *find(const struct api_req *req, const json_t *image, const char *member)
{
    char id[ROW_ID_SIZE];

    return mirror_get(req->db, "image_member", row_id(json_str(image, "id", ""), member, id), NULL);
}

bool image_is_member(const struct api_req *req, const json_t *image)
{
    json_t *row = req->auth.project_id[0] ? find(req, image, req->auth.project_id) : NULL;

    json_decref(row);
    return row != NULL;
}

static bool is_shared(struct api_req *req, const json_t *image)
{
    if (strcmp(json_str(image, "visibility", ""), "shared") == 0)
        return true;
    api_fail(req, 403, NULL, "Only shared images have members.");
    return false;
}

static json_t *view_of(const struct api_req *req, const json_t *row)
{
    json_t *view = resource_view(&resource_image_member, row, req->auth.admin);

    json_put_str(view, "schema", "/v2/schemas/member");
    return view;
}

static json_t *rows_of(struct api_req *req, const json_t *image)
{
    return mirror_select(req->db, "image_member", "WHERE image_id = ? ORDER BY created_at, id", "s",
                         json_str(image, "id", ""));
}

/* ---- reading ---- */

void image_member_list(struct api_req *req)
{
    json_t *image = image_see(req), *views, *rows, *row;
    size_t i;

    if (image && is_shared(req, image)) {
        bool all = api_owns(req, json_str(image, "owner", ""));

        views = json_array();
        rows = rows_of(req, image);
        json_array_foreach(rows, i, row)
        {
            if (all || api_owns(req, json_str(row, "member_id", "")))
                json_array_append_new(views, view_of(req, row));
        }
        json_decref(rows);
        api_reply(req, 200,
                  json_pack("{s:o, s:s}", "members", views, "schema", "/v2/schemas/members"));
    }
    json_decref(image);
}

/* The member of the path, of an image that the requester may see; NULL after an error. Members do
 * not learn of each other. */
static json_t *find_param(struct api_req *req, json_t *image)
{
    const char *member = api_param(req, "member");
    json_t *row = NULL;

    if (!image)
        return NULL;
    if (api_owns(req, json_str(image, "owner", "")) || api_owns(req, member))
        row = find(req, image, member);
    if (!row)
        api_fail(req, 404, NULL, "%.100s not found in the member list of the image %s.", member,
                 json_str(image, "id", ""));
    return row;
}

void image_member_show(struct api_req *req)
{
    json_t *image = image_see(req), *row = find_param(req, image);

    if (row)
        api_reply(req, 200, view_of(req, row));
    json_decref(row);
    json_decref(image);
}

/* ---- changing ---- */

static bool is_name(const char *member)
{
    size_t size = member ? strlen(member) : 0;

    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)member[i]) && !strchr("-_.", member[i]))
            return false;
    }
    return size > 0 && size <= MEMBER_NAME_MAX;
}

static void add(struct api_req *req, json_t *image, const char *member)
{
    const char *image_id = json_str(image, "id", "");
    char id[ROW_ID_SIZE];
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", row_id(image_id, member, id),
                            "image_id", image_id, "member_id", member, "status", "pending",
                            "created_at", req->now, "updated_at", req->now);

    store_txn_create(req->txn, "image_member", id, row);
    api_reply(req, 200, view_of(req, row));
    json_decref(row);
    mirror_txn_update(req->txn, "image", image);
}

void image_member_create(struct api_req *req)
{
    const char *member = json_str(req->body, "member", NULL);
    json_t *image = image_own(req), *there;

    if (image && is_shared(req, image)) {
        there = is_name(member) ? find(req, image, member) : NULL;
        if (!is_name(member))
            api_fail(req, 400, NULL,
                     "Member to be added not specified: 'member' is a project's id");
        else if (there)
            api_fail(req, 409, NULL, "Image member %s already exists for image %s", member,
                     json_str(image, "id", ""));
        else if (mirror_count(req->db, "image_member", "WHERE image_id = ?", "s",
                              json_str(image, "id", "")) >= MEMBERS_MAX)
            api_fail(req, 413, NULL, "An image has at most %d members", MEMBERS_MAX);
        else
            add(req, image, member);
        json_decref(there);
    }
    json_decref(image);
}

/* A project answers for itself: not even the owner may accept for it. */
void image_member_update(struct api_req *req)
{
    json_t *image = image_see(req), *row = find_param(req, image);
    json_t *asked = json_object();
    struct err err = {0};

    json_object_set(asked, "status", json_object_get(req->body, "status"));
    if (row && !api_owns(req, json_str(row, "member_id", ""))) {
        api_fail(req, 403, NULL, "You are not permitted to modify 'status' on this image member.");
    } else if (row && json_object_size(asked) == 0) {
        api_fail(req, 400, NULL, "Status not specified");
    } else if (row && resource_update(&resource_image_member, row, asked, true, &err) < 0) {
        api_fail_err(req, &err);
    } else if (row) {
        json_put_str(row, "updated_at", req->now);
        api_reply(req, 200, view_of(req, row));
        mirror_txn_update(req->txn, "image_member", row);
    }
    json_decref(asked);
    json_decref(row);
    json_decref(image);
}

void image_member_delete(struct api_req *req)
{
    json_t *image = image_own(req), *row = find_param(req, image);

    if (row) {
        store_txn_expect(req->txn, "image_member", json_str(row, "id", ""),
                         json_int(row, "_rev", 0));
        store_txn_delete(req->txn, "image_member", json_str(row, "id", ""));
        mirror_txn_update(req->txn, "image", image);
        api_reply(req, 204, NULL);
    }
    json_decref(row);
    json_decref(image);
}

void image_members_forget(struct api_req *req, const json_t *image)
{
    json_t *rows = rows_of(req, image), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        store_txn_delete(req->txn, "image_member", json_str(row, "id", ""));
    }
    json_decref(rows);
}
