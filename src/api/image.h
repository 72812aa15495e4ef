/* The image service's own header: what its files share.
 *
 * Files.      image.c        routes, discovery, errors, how an image is shown, lists
 *             image_rows.c   create, change (JSON patch), delete, tags, actions
 *             image_files.c  the bytes: upload and download
 *             image_members.c  with whom an image is shared
 * Bytes.      Stored under a name of their own for each upload (the row's member `blob`), so that
 *             two uploads of one image cannot mix; the row names the one that won.
 */
#ifndef VLING_API_IMAGE_H
#define VLING_API_IMAGE_H

#include "api/api.h"

/* ---- image.c ---- */

/* Owners, members and administrators see any; the others what is public or of the community. */
bool image_may_see(const struct api_req *req, const json_t *image);
/* An image that the requester may see, with "_rev"; NULL after a 404. */
json_t *image_see(struct api_req *req);
/* One that the requester may change; NULL after a 404 or 403. */
json_t *image_own(struct api_req *req);
json_t *image_view(const struct api_req *req, const json_t *image);
void image_reply(struct api_req *req, unsigned status, const json_t *image);
/* Writes a changed row. */
void image_put(struct api_req *req, json_t *image);

/* ---- image_members.c ---- */

/* Is the image shared with the requester's project, whatever that says to it? */
bool image_is_member(const struct api_req *req, const json_t *image);
/* Deletes all its members with an image. */
void image_members_forget(struct api_req *req, const json_t *image);

/* ---- handlers ---- */
api_handler image_list, image_show, image_create, image_patch, image_delete, image_tag_put,
    image_tag_delete, image_deactivate, image_reactivate, image_upload, image_download,
    image_member_list, image_member_show, image_member_create, image_member_update,
    image_member_delete;

/* ---- image_files.c ---- */
int image_upload_begin(struct api_req *req, struct http_sink *ret_sink);
void image_upload_end(struct api_req *req);

#endif
