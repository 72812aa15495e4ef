/* Key pairs: SSH public keys of users, and new pairs (Ed25519, in OpenSSH's own format).
 *
 * A private key is in the answer to its creation and nowhere else. */
#include "api/compute.h"

#include "base/json.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMENT "Generated-by-Vling"
#define BLOB_MAX 16384

/* ---- SSH's wire format (RFC 4251 section 5) ---- */

struct wire {
    unsigned char bytes[1024];
    size_t size;
};

static void put_raw(struct wire *wire, const void *bytes, size_t size)
{
    if (size > sizeof(wire->bytes) - wire->size)
        abort(); /* the few things written here have fixed sizes */
    memcpy(wire->bytes + wire->size, bytes, size);
    wire->size += size;
}

static void put_u32(struct wire *wire, uint32_t n)
{
    unsigned char bytes[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                              (unsigned char)(n >> 8), (unsigned char)n};

    put_raw(wire, bytes, 4);
}

static void put_string(struct wire *wire, const void *bytes, size_t size)
{
    put_u32(wire, (uint32_t)size);
    put_raw(wire, bytes, size);
}

static void put_public(struct wire *wire, const unsigned char *key)
{
    put_string(wire, "ssh-ed25519", 11);
    put_string(wire, key, crypto_sign_PUBLICKEYBYTES);
}

/* "PROTOCOL.key" of OpenSSH: an unencrypted private key. */
static void put_private(struct wire *wire, const unsigned char *key, const unsigned char *secret)
{
    struct wire inner = {.size = 0}, public = {.size = 0};
    uint32_t check = randombytes_random();

    put_public(&public, key);
    put_u32(&inner, check);
    put_u32(&inner, check);
    put_public(&inner, key);
    put_string(&inner, secret, crypto_sign_SECRETKEYBYTES);
    put_string(&inner, COMMENT, strlen(COMMENT));
    for (unsigned char pad = 1; inner.size % 8; pad++)
        put_raw(&inner, &pad, 1);
    put_raw(wire, "openssh-key-v1", 15);
    put_string(wire, "none", 4);
    put_string(wire, "none", 4);
    put_string(wire, "", 0);
    put_u32(wire, 1);
    put_string(wire, public.bytes, public.size);
    put_string(wire, inner.bytes, inner.size);
    sodium_memzero(&inner, sizeof(inner));
}

static json_t *private_text(const unsigned char *key, const unsigned char *secret)
{
    struct wire wire = {.size = 0};
    char base64[2048], text[2400] = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
    json_t *value;

    put_private(&wire, key, secret);
    sodium_bin2base64(base64, sizeof(base64), wire.bytes, wire.size,
                      sodium_base64_VARIANT_ORIGINAL);
    for (size_t at = 0; base64[at]; at += strnlen(base64 + at, 70)) {
        strncat(text, base64 + at, 70);
        strcat(text, "\n");
    }
    strcat(text, "-----END OPENSSH PRIVATE KEY-----\n");
    value = json_string(text);
    sodium_memzero(&wire, sizeof(wire));
    sodium_memzero(base64, sizeof(base64));
    sodium_memzero(text, sizeof(text));
    return value;
}

/* A new pair: public_key into `row`, the private one as a new reference. */
static json_t *generate(json_t *row)
{
    unsigned char key[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
    struct wire public = {.size = 0};
    char base64[256], text[400];
    json_t *private;

    crypto_sign_keypair(key, secret);
    put_public(&public, key);
    sodium_bin2base64(base64, sizeof(base64), public.bytes, public.size,
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof(text), "ssh-ed25519 %s %s", base64, COMMENT);
    json_put_str(row, "public_key", text);
    private = private_text(key, secret);
    sodium_memzero(secret, sizeof(secret));
    return private;
}

/* ---- public keys ---- */

/* MD5 of the key's blob as "c8:f9:..."; false if the text is no public key. */
static bool fingerprint(const char *text, char *ret, size_t size)
{
    const char *blob = strchr(text, ' '), *end = text + strcspn(text, "\r\n");
    unsigned char *bytes, md5[16];
    size_t type = blob ? (size_t)(blob - text) : 0, length, n;
    bool good;

    if (type == 0 || strlen(text) > BLOB_MAX || end[strspn(end, "\r\n")])
        return false;
    blob += strspn(blob, " ");
    length = strcspn(blob, " \r\n");
    bytes = malloc(length + 1);
    /* The blob begins with the type's name again. */
    good = bytes &&
           sodium_base642bin(bytes, length + 1, blob, length, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           n > 4 + type && bytes[0] == 0 && bytes[1] == 0 &&
           (size_t)(bytes[2] << 8 | bytes[3]) == type && memcmp(bytes + 4, text, type) == 0 &&
           gnutls_hash_fast(GNUTLS_DIG_MD5, bytes, n, md5) == 0;
    free(bytes);
    for (size_t i = 0; good && i < sizeof(md5); i++)
        snprintf(ret + 3 * i, size - 3 * i, i + 1 < sizeof(md5) ? "%02x:" : "%02x", md5[i]);
    return good;
}

/* ---- rows ---- */

void compute_keypair_id(const char *user_id, const char *name, char out[COMPUTE_KEYPAIR_ID_SIZE])
{
    unsigned char hash[32];
    char hex[2 * sizeof(hash) + 1];

    if (snprintf(out, COMPUTE_KEYPAIR_ID_SIZE, "%s.%s", user_id, name) < COMPUTE_KEYPAIR_ID_SIZE)
        return;
    crypto_generichash(hash, sizeof(hash), (const unsigned char *)name, strlen(name), NULL, 0);
    sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
    snprintf(out, COMPUTE_KEYPAIR_ID_SIZE, "%.64s.%s", user_id, hex);
}

/* Whose keys are meant: one's own; an administrator may name another user (2.10). */
static const char *owner_of(struct api_req *req, const char *given)
{
    if (!given || strcmp(given, req->auth.user_id) == 0)
        return req->auth.user_id;
    if (req->microversion >= MV(10) && req->auth.admin) {
        if (given[0] && strlen(given) <= 64)
            return given;
        compute_bad(req, "Invalid input for field/attribute user_id. It is an id of a user");
        return NULL;
    }
    api_fail(req, 403, NULL, "Only an administrator sees and changes another user's key pairs.");
    return NULL;
}

static json_t *find_key(struct api_req *req)
{
    const char *owner = owner_of(req, api_query(req, "user_id")), *name = api_param(req, "id");
    char id[COMPUTE_KEYPAIR_ID_SIZE];
    int64_t rev = 0;
    json_t *row;

    if (!owner)
        return NULL;
    compute_keypair_id(owner, name, id);
    row = mirror_get(req->db, "keypair", id, &rev);
    if (row)
        json_put_int(row, "_rev", rev);
    else
        api_fail(req, 404, NULL, "Keypair %.100s not found for user %s", name, owner);
    return row;
}

enum key_view { KEY_LISTED, KEY_CREATED, KEY_SHOWN };

static json_t *view_of(struct api_req *req, const json_t *row, enum key_view kind)
{
    json_t *view = compute_plain_view(req, &resource_keypair, row);

    if (kind == KEY_LISTED)
        json_object_del(view, "user_id");
    if (kind != KEY_SHOWN) {
        json_object_del(view, "created_at");
        return view;
    }
    json_put_int(view, "id", compute_number(json_str(row, "id", "")));
    json_object_set_new(view, "created_at", compute_time(json_str(row, "created_at", NULL)));
    json_put_bool(view, "deleted", false);
    json_object_set_new(view, "deleted_at", json_null());
    json_object_set_new(view, "updated_at", json_null());
    return view;
}

static json_t *select_keys(struct api_req *req, const char *owner)
{
    static const char *const others[] = {"user_id", NULL};
    struct compute_filter filter;
    json_t *rows = NULL;

    compute_filter_init(&filter);
    compute_filter_add(&filter, "user_id = ?", json_string(owner));
    if (compute_filter_fields(req, &filter, &resource_keypair, NULL, others) == 0) {
        buf_str(&filter.sql, " ORDER BY name");
        rows = mirror_select_json(req->db, "keypair", buf_text(&filter.sql), filter.params);
    }
    compute_filter_free(&filter);
    return rows;
}

void compute_key_list(struct api_req *req)
{
    const char *owner = owner_of(req, api_query(req, "user_id"));
    json_t *rows = owner ? select_keys(req, owner) : NULL, *row, *list;
    size_t i;

    if (!rows)
        return;
    list = json_array();
    json_array_foreach(rows, i, row)
        json_array_append_new(list, json_pack("{s:o}", "keypair", view_of(req, row, KEY_LISTED)));
    api_reply(req, 200, json_pack("{s:o}", "keypairs", list));
    json_decref(rows);
}

void compute_key_show(struct api_req *req)
{
    json_t *row = find_key(req);

    if (row)
        api_reply(req, 200, json_pack("{s:o}", "keypair", view_of(req, row, KEY_SHOWN)));
    json_decref(row);
}

void compute_key_delete(struct api_req *req)
{
    json_t *row = find_key(req);

    if (!row)
        return;
    store_txn_expect(req->txn, "keypair", json_str(row, "id", ""), json_int(row, "_rev", 0));
    store_txn_delete(req->txn, "keypair", json_str(row, "id", ""));
    api_reply(req, req->microversion >= MV(2) ? 204 : 202, NULL);
    json_decref(row);
}

/* ---- create ---- */

static bool is_key_name(const char *name)
{
    return name[0] && strlen(name) <= 255 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 @._-") ==
               strlen(name);
}

static int complete(struct api_req *req, json_t *row, const char *owner, json_t **ret_private)
{
    const char *name = json_str(row, "name", ""), *key = json_str(row, "public_key", NULL);
    char id[COMPUTE_KEYPAIR_ID_SIZE], print[64];
    json_t *there;

    if (!is_key_name(name))
        return compute_bad(req, "Keypair data is invalid: Keypair name contains unsafe characters");
    if (strcmp(json_str(row, "type", "ssh"), "ssh") != 0)
        return compute_bad(req, "Keypair data is invalid: only the type ssh is offered");
    if (!key)
        *ret_private = generate(row);
    if (!fingerprint(json_str(row, "public_key", ""), print, sizeof(print)))
        return compute_bad(req, "Keypair data is invalid: failed to generate fingerprint: the "
                                "public_key is not of the form \"<type> <base64> [comment]\"");
    compute_keypair_id(owner, name, id);
    there = mirror_get(req->db, "keypair", id, NULL);
    json_decref(there);
    if (there) {
        api_fail(req, 409, NULL, "Key pair '%s' already exists.", name);
        return -EEXIST;
    }
    json_put_str(row, "id", id);
    json_put_str(row, "user_id", owner);
    json_put_str(row, "fingerprint", print);
    json_put_str(row, "created_at", req->now);
    return 0;
}

void compute_key_create(struct api_req *req)
{
    static const char *const others[] = {"user_id", NULL};
    json_t *body = api_body_object(req, "keypair"), *given, *row = NULL, *view, *private = NULL;
    struct err err = {0};
    const json_t *user;
    const char *owner;

    if (!body)
        return;
    user = json_object_get(body, "user_id");
    if (user && !json_is_string(user) && !json_is_null(user)) {
        compute_bad(req, "Invalid input for field/attribute user_id. It is an id of a user");
        return;
    }
    owner = owner_of(req, json_string_value(user));
    if (!owner)
        return;
    given = compute_plain_members(req, &resource_keypair, body, FIELD_CREATE, others);
    if (!given)
        return;
    if (json_is_null(json_object_get(given, "public_key")))
        json_object_del(given, "public_key");
    if (resource_create(&resource_keypair, given, true, &row, &err) < 0) {
        api_fail_err(req, &err);
    } else if (complete(req, row, owner, &private) == 0) {
        store_txn_create(req->txn, "keypair", json_str(row, "id", ""), row);
        view = view_of(req, row, KEY_CREATED);
        if (private)
            json_object_set(view, "private_key", private);
        api_reply(req, req->microversion >= MV(2) ? 201 : 200, json_pack("{s:o}", "keypair", view));
    }
    json_decref(private);
    json_decref(row);
    json_decref(given);
}
