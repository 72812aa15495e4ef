/* The bytes of images.
 *
 * An upload goes to the storage driver while it arrives; what it is gets known on the way: its
 * size, its MD5 and SHA-512, whether a qcow2 is one and refers to nothing outside itself. When all
 * is there a worker thread makes it durable, and then the handler makes the row name it. Whatever
 * happens before that leaves the row as it was, and the bytes are removed. */
#include "api/image.h"
#include "api/internal.h"

#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_SIZE 104 /* of a qcow2 version 3 header */

enum upload_state {
    UPLOAD_ARRIVING,
    UPLOAD_DURABLE, /* complete under `blob`, no row names it yet */
    UPLOAD_FAILED,
    UPLOAD_NAMED, /* a transaction that names it was committed, or may have been */
};

struct upload {
    const struct api_images *images;
    void *bytes; /* the driver's; NULL once committed or aborted */
    char blob[ID_UUID_SIZE];
    enum upload_state state;
    uint64_t size;
    gnutls_hash_hd_t md5, sha512;
    char md5_hex[33], sha512_hex[129];
    unsigned char head[HEAD_SIZE];
    size_t head_size;
    struct err err;
};

/* ---- arriving ---- */

static int take(void *arg, const void *bytes, size_t size)
{
    struct upload *upload = arg;
    size_t n = sizeof(upload->head) - upload->head_size;

    n = n < size ? n : size;
    memcpy(upload->head + upload->head_size, bytes, n);
    upload->head_size += n;
    upload->size += size;
    gnutls_hash(upload->md5, bytes, size);
    gnutls_hash(upload->sha512, bytes, size);
    return upload->images->write(upload->bytes, bytes, size);
}

static void upload_free(struct upload *upload)
{
    if (upload->md5)
        gnutls_hash_deinit(upload->md5, NULL);
    if (upload->sha512)
        gnutls_hash_deinit(upload->sha512, NULL);
    if (upload->bytes)
        upload->images->abort(upload->bytes);
    free(upload);
}

static int check_queued(struct api_req *req, const json_t *image)
{
    const char *status = json_str(image, "status", "");

    if (strcmp(status, "queued") == 0)
        return 0;
    api_fail(req, 409, NULL, "Image status transition from %s to saving is not allowed", status);
    return -EEXIST;
}

static int check_begin(struct api_req *req)
{
    const char *type = http_header(req->http, "Content-Type");
    json_t *image = image_own(req);
    int rc;

    if (!image)
        return -ENOENT;
    rc = check_queued(req, image);
    if (rc == 0 && (!type || strncasecmp(type, "application/octet-stream", 24) != 0)) {
        api_fail(req, 415, NULL, "The bytes of an image are sent as application/octet-stream.");
        rc = -EINVAL;
    }
    if (rc == 0 &&
        (!json_str(image, "disk_format", NULL) || !json_str(image, "container_format", NULL))) {
        api_fail(req, 400, NULL,
                 "Properties disk_format, container_format must be set prior to saving data.");
        rc = -EINVAL;
    }
    json_decref(image);
    return rc;
}

int image_upload_begin(struct api_req *req, struct http_sink *ret_sink)
{
    const struct api_images *images = &api_get_options(req->api)->images;
    struct upload *upload;

    if (check_begin(req) < 0)
        return -EINVAL;
    if (!images->begin) {
        api_fail(req, 503, NULL, "This controller has no storage for images.");
        return -ENODEV;
    }
    upload = calloc(1, sizeof(*upload));
    if (!upload) {
        api_fail(req, 503, NULL, "Out of memory.");
        return -ENOMEM;
    }
    upload->images = images;
    id_uuid(upload->blob);
    upload->bytes = images->begin(images->arg, upload->blob, &upload->err);
    if (!upload->bytes || gnutls_hash_init(&upload->md5, GNUTLS_DIG_MD5) < 0 ||
        gnutls_hash_init(&upload->sha512, GNUTLS_DIG_SHA512) < 0) {
        api_fail_err(req, &upload->err);
        upload_free(upload);
        return -EIO;
    }
    req->stream = upload;
    *ret_sink = (struct http_sink){.write = take, .arg = upload};
    return 0;
}

void image_upload_end(struct api_req *req)
{
    struct upload *upload = req->stream;

    if (upload->state == UPLOAD_DURABLE)
        upload->images->remove(upload->images->arg, upload->blob);
    upload_free(upload);
    req->stream = NULL;
}

/* ---- what arrived ---- */

static uint64_t be(const unsigned char *bytes, size_t size)
{
    uint64_t n = 0;

    for (size_t i = 0; i < size; i++)
        n = n << 8 | bytes[i];
    return n;
}

/* A qcow2 (docs/interop/qcow2 of QEMU) may name other files, which then would be read as the
 * guest's disk: the host's own, or another tenant's. Refused. NULL or what is wrong. */
static const char *look_at_qcow2(const struct upload *upload, uint64_t *ret_size)
{
    const unsigned char *head = upload->head;
    uint64_t version;

    if (upload->head_size < 72 || memcmp(head, "QFI\xfb", 4) != 0)
        return "it is no qcow2";
    version = be(head + 4, 4);
    if (version != 2 && version != 3)
        return "its qcow2 version is unknown";
    if (be(head + 8, 8) != 0)
        return "a qcow2 with a backing file";
    if (be(head + 32, 4) != 0)
        return "an encrypted qcow2";
    if (version == 3 && (upload->head_size < HEAD_SIZE || be(head + 72, 8) & 4))
        return "a qcow2 with an external data file";
    *ret_size = be(head + 24, 8);
    return NULL;
}

static int inspect(struct api_req *req, const struct upload *upload, const json_t *image,
                   uint64_t *ret_virtual)
{
    const char *why = NULL;

    *ret_virtual = upload->size;
    if (upload->size == 0)
        why = "it is empty";
    else if (strcmp(json_str(image, "disk_format", ""), "qcow2") == 0)
        why = look_at_qcow2(upload, ret_virtual);
    if (!why)
        return 0;
    api_fail(req, 415, NULL, "The image's content is refused: %s.", why);
    return -EINVAL;
}

static void to_hex(const unsigned char *bytes, size_t size, char *out)
{
    for (size_t i = 0; i < size; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* On a worker thread: nobody else touches the upload meanwhile. */
static void make_durable(struct api_req *req)
{
    struct upload *upload = req->stream;
    unsigned char digest[64];

    gnutls_hash_deinit(upload->md5, digest);
    upload->md5 = NULL;
    to_hex(digest, 16, upload->md5_hex);
    gnutls_hash_deinit(upload->sha512, digest);
    upload->sha512 = NULL;
    to_hex(digest, 64, upload->sha512_hex);
    upload->state =
        upload->images->commit(upload->bytes, &upload->err) < 0 ? UPLOAD_FAILED : UPLOAD_DURABLE;
    upload->bytes = NULL;
}

/* Committed or unknown: from now on the bytes may be some row's. */
static void named(struct api_req *req, int rc)
{
    (void)rc;
    ((struct upload *)req->stream)->state = UPLOAD_NAMED;
}

static void name_bytes(struct api_req *req, const struct upload *upload, json_t *image,
                       uint64_t virtual_size)
{
    json_put_str(image, "status", "active");
    json_put_str(image, "blob", upload->blob);
    json_put_int(image, "size", (int64_t)upload->size);
    json_put_int(image, "virtual_size", (int64_t)virtual_size);
    json_put_str(image, "checksum", upload->md5_hex);
    json_put_str(image, "os_hash_algo", "sha512");
    json_put_str(image, "os_hash_value", upload->sha512_hex);
    image_put(req, image);
    req->after_commit = named;
    api_reply(req, 204, NULL);
}

void image_upload(struct api_req *req)
{
    struct upload *upload = req->stream;
    json_t *image = image_own(req);
    uint64_t virtual_size;

    if (!image)
        return;
    if (check_queued(req, image) == 0 && inspect(req, upload, image, &virtual_size) == 0) {
        if (upload->state == UPLOAD_ARRIVING)
            api_work(req, make_durable);
        else if (upload->state == UPLOAD_FAILED)
            api_fail_err(req, &upload->err);
        else
            name_bytes(req, upload, image, virtual_size);
    }
    json_decref(image);
}

/* ---- download ---- */

/* What `Range: bytes=...` (RFC 7233, 2.1) asks of `size` bytes. 1 and a part, 0 everything (no
 * header, another unit, several parts), -ERANGE nothing of it is there. */
static int range_of(const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_size)
{
    uint64_t from, to = size - 1;
    char *end;

    if (!header || strncasecmp(header, "bytes=", 6) != 0 ||
        strspn(header + 6, "0123456789-") == 0 || header[6 + strspn(header + 6, "0123456789-")])
        return 0;
    header += 6;
    errno = 0;
    if (*header == '-') { /* the last so many */
        to = strtoull(header + 1, &end, 10);
        *ret_from = to < size ? size - to : 0;
        *ret_size = size - *ret_from;
        return *end || end == header + 1 ? 0 : to > 0 ? 1 : -ERANGE;
    }
    from = strtoull(header, &end, 10);
    if (*end++ != '-')
        return 0;
    if (*end)
        to = strtoull(end, &end, 10);
    if (*end || errno || to < from)
        return from >= size ? -ERANGE : 0;
    *ret_from = from;
    *ret_size = (to < size ? to + 1 : size) - from;
    return from < size ? 1 : -ERANGE;
}

static void answer_bytes(struct api_req *req, const json_t *image)
{
    const char *checksum = json_str(image, "checksum", NULL);
    uint64_t size = req->file_size;
    char range[100];
    int rc = range_of(http_header(req->http, "Range"), size, &req->file_offset, &req->file_size);

    if (rc < 0) {
        api_fail(req, 416, NULL, "The image has %llu bytes.", (unsigned long long)size);
        snprintf(range, sizeof(range), "bytes */%llu", (unsigned long long)size);
        api_header(req, "Content-Range", range);
        return;
    }
    if (rc > 0) {
        snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)req->file_offset,
                 (unsigned long long)(req->file_offset + req->file_size - 1),
                 (unsigned long long)size);
        api_header(req, "Content-Range", range);
    } else if (checksum) {
        api_header(req, "Content-MD5", checksum);
    }
    req->raw_type = "application/octet-stream";
    req->status = rc > 0 ? 206 : 200;
}

/* ---- are they still what was uploaded? ---- */

/* Files that were read to the end and found right, so that this is done once on each controller
 * while a file stays as it is. Only the loop's thread looks at them. */
#define KNOWN_GOOD_MAX 64

struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

static struct stamp known_good[KNOWN_GOOD_MAX];
static size_t known_good_count;

static bool is_known_good(const struct stamp *stamp)
{
    for (size_t i = 0; i < KNOWN_GOOD_MAX; i++) {
        const struct stamp *known = &known_good[i];

        if (known->size > 0 && known->dev == stamp->dev && known->ino == stamp->ino &&
            known->size == stamp->size && known->changed.tv_sec == stamp->changed.tv_sec &&
            known->changed.tv_nsec == stamp->changed.tv_nsec)
            return true;
    }
    return false;
}

/* On a worker thread: the SHA-512 of the open file. */
static void sum_file(struct api_req *req)
{
    unsigned char bytes[64 * 1024], digest[64];
    gnutls_hash_hd_t hash;
    off_t at = 0;
    ssize_t n;

    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA512) < 0)
        return;
    while ((n = pread(req->file_fd, bytes, sizeof(bytes), at)) > 0) {
        gnutls_hash(hash, bytes, (size_t)n);
        at += n;
    }
    gnutls_hash_deinit(hash, digest);
    if (n == 0)
        to_hex(digest, sizeof(digest), req->file_sum);
}

static void damaged(struct api_req *req, const json_t *image)
{
    log_error("image %s: its bytes are not those that were uploaded", json_str(image, "id", ""));
    api_fail(req, 500, NULL,
             "The image's bytes are damaged: they are not those that were uploaded. Upload them to "
             "a new image.");
}

static void check_bytes(struct api_req *req, const json_t *image)
{
    const char *sum = json_str(image, "os_hash_value", NULL);
    struct stamp stamp = {0};
    struct stat st;

    if (fstat(req->file_fd, &st) == 0)
        stamp = (struct stamp){st.st_dev, st.st_ino, st.st_size, st.st_ctim};
    if (req->file_sum[0] && sum && strcmp(req->file_sum, sum) == 0 && !is_known_good(&stamp))
        known_good[known_good_count++ % KNOWN_GOOD_MAX] = stamp;
    if ((int64_t)req->file_size != json_int(image, "size", 0) ||
        (req->file_sum[0] && sum && strcmp(req->file_sum, sum) != 0))
        damaged(req, image);
    else if (!sum || req->file_sum[0] || is_known_good(&stamp))
        answer_bytes(req, image);
    else
        api_work(req, sum_file);
}

static void send_bytes(struct api_req *req, const json_t *image)
{
    const struct api_images *images = &api_get_options(req->api)->images;
    const char *id = json_str(image, "id", "");
    struct err err = {0};

    if (!images->open) {
        api_fail(req, 503, NULL, "This controller has no storage for images.");
    } else if (images->open(images->arg, json_str(image, "blob", ""), &req->file_fd,
                            &req->file_size, &err) < 0) {
        log_error("image %s: %s: %s", id, err.what, err.why);
        api_fail(req, 503, NULL, "The image's bytes cannot be read here: %s", err.why);
    } else {
        check_bytes(req, image);
    }
}

void image_download(struct api_req *req)
{
    json_t *image = image_see(req);
    const char *status;

    if (!image)
        return;
    status = json_str(image, "status", "");
    if (strcmp(status, "deactivated") == 0 && !req->auth.admin)
        api_fail(req, 403, NULL,
                 "The requested image has been deactivated. Image data download "
                 "is forbidden.");
    else if (strcmp(status, "active") != 0 && strcmp(status, "deactivated") != 0)
        api_reply(req, 204, NULL);
    else
        send_bytes(req, image);
    json_decref(image);
}
