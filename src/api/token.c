#include "api/token.h"

#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define BOX_MAX 700
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

static const unsigned char purpose[] = "vling token 1";

json_t *token_key_row(void)
{
    unsigned char key[KEY_SIZE];
    char hex[2 * KEY_SIZE + 1];

    randombytes_buf(key, sizeof(key));
    sodium_bin2hex(hex, sizeof(hex), key, sizeof(key));
    sodium_memzero(key, sizeof(key));
    return json_pack("{s:s, s:{s:[s]}}", "id", "token_key", "value", "keys", hex);
}

static bool read_key(const json_t *hex, unsigned char key[KEY_SIZE])
{
    const char *text = json_string_value(hex);
    size_t size;

    return text && sodium_hex2bin(key, KEY_SIZE, text, strlen(text), NULL, &size, NULL) == 0 &&
           size == KEY_SIZE;
}

/* The keys of the cluster as a new array. */
static json_t *load_keys(struct mirror *mirror)
{
    json_t *row = mirror_get(mirror, "setting", "token_key", NULL);
    json_t *keys = json_incref(json_object_get(json_object_get(row, "value"), "keys"));

    json_decref(row);
    return keys;
}

static char *to_json(const struct token *token)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s, s:I, s:s}", "u", token->user_id, "k",
        token->scope_kind, "s", token->scope_id, "m", (int)token->methods, "i",
        (json_int_t)token->issued_ms, "e", (json_int_t)token->expires_ms, "a", token->audit_id, "p",
        token->parent_audit_id, "n", (json_int_t)token->password_serial, "c", token->credential_id);
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    return text;
}

int token_seal(struct mirror *mirror, const struct token *token, char *out, size_t size)
{
    json_t *keys = load_keys(mirror);
    unsigned char key[KEY_SIZE], box[BOX_MAX];
    unsigned long long box_size = 0;
    char *text = to_json(token);
    int rc = 0;

    if (!read_key(json_array_get(keys, 0), key))
        rc = -ENOKEY;
    else if (!text || strlen(text) + NONCE_SIZE + TAG_SIZE > sizeof(box))
        rc = -EMSGSIZE;
    if (rc == 0) {
        randombytes_buf(box, NONCE_SIZE);
        crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE_SIZE, &box_size,
                                                   (const unsigned char *)text, strlen(text),
                                                   purpose, sizeof(purpose), NULL, box, key);
        if (sodium_base64_ENCODED_LEN(NONCE_SIZE + box_size, VARIANT) > size)
            rc = -EMSGSIZE;
        else
            sodium_bin2base64(out, size, box, NONCE_SIZE + (size_t)box_size, VARIANT);
    }
    sodium_memzero(key, sizeof(key));
    json_decref(keys);
    free(text);
    return rc;
}

static void copy_text(char *out, size_t size, const json_t *object, const char *key)
{
    snprintf(out, size, "%s", json_str(object, key, ""));
}

static int from_json(const char *text, size_t size, struct token *ret_token)
{
    json_t *object = json_parse(text, size, NULL, 0);

    if (!json_is_object(object)) {
        json_decref(object);
        return -EINVAL;
    }
    memset(ret_token, 0, sizeof(*ret_token));
    copy_text(ret_token->user_id, sizeof(ret_token->user_id), object, "u");
    copy_text(ret_token->scope_kind, sizeof(ret_token->scope_kind), object, "k");
    copy_text(ret_token->scope_id, sizeof(ret_token->scope_id), object, "s");
    copy_text(ret_token->audit_id, sizeof(ret_token->audit_id), object, "a");
    copy_text(ret_token->parent_audit_id, sizeof(ret_token->parent_audit_id), object, "p");
    copy_text(ret_token->credential_id, sizeof(ret_token->credential_id), object, "c");
    ret_token->methods = (unsigned)json_int(object, "m", 0);
    ret_token->issued_ms = json_int(object, "i", 0);
    ret_token->expires_ms = json_int(object, "e", 0);
    ret_token->password_serial = json_int(object, "n", -1);
    json_decref(object);
    return 0;
}

static int open_box(const unsigned char *box, size_t size, const unsigned char *key,
                    struct token *ret_token)
{
    unsigned char text[BOX_MAX];
    unsigned long long text_size;

    if (crypto_aead_xchacha20poly1305_ietf_decrypt(text, &text_size, NULL, box + NONCE_SIZE,
                                                   size - NONCE_SIZE, purpose, sizeof(purpose), box,
                                                   key) != 0)
        return -EINVAL;
    return from_json((const char *)text, (size_t)text_size, ret_token);
}

int token_open(struct mirror *mirror, const char *text, struct token *ret_token)
{
    unsigned char box[BOX_MAX], key[KEY_SIZE];
    size_t size, i;
    json_t *keys, *hex;
    int rc = -EINVAL;

    if (strlen(text) >= TOKEN_TEXT_MAX ||
        sodium_base642bin(box, sizeof(box), text, strlen(text), NULL, &size, NULL, VARIANT) != 0 ||
        size < NONCE_SIZE + TAG_SIZE)
        return -EINVAL;
    keys = load_keys(mirror);
    json_array_foreach(keys, i, hex)
    {
        if (rc < 0 && read_key(hex, key))
            rc = open_box(box, size, key, ret_token);
    }
    sodium_memzero(key, sizeof(key));
    json_decref(keys);
    return rc;
}

void token_audit_id(char out[32])
{
    unsigned char bytes[16];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2base64(out, 32, bytes, sizeof(bytes), VARIANT);
}
