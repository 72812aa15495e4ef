#include "node/frame.h"
#include "ha/liveness.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

_Static_assert(PKI_CLUSTER_KEY_SIZE == crypto_auth_KEYBYTES, "the cluster's key is the MAC's");
_Static_assert(FRAME_MAC_SIZE == crypto_auth_BYTES, "the MAC's size");

bool frame_name_ok(const char *name, size_t len)
{
    if (len == 0 || len >= LIVENESS_NAME_SIZE)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];

        if (!isalnum(c) && c != '-' && c != '.' && c != '_')
            return false;
    }
    return true;
}

/* ---- writing ---- */

void frame_put(struct frame_writer *w, const void *bytes, size_t size)
{
    if (w->full || w->limit - w->len < size) {
        w->full = true;
        return;
    }
    memcpy(w->bytes + w->len, bytes, size);
    w->len += size;
}

void frame_put_number(struct frame_writer *w, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    frame_put(w, bytes, size);
}

void frame_put_name(struct frame_writer *w, const char *name)
{
    size_t len = strlen(name);

    frame_put_number(w, len, 1);
    frame_put(w, name, len);
}

size_t frame_seal(const struct frame_writer *w, const uint8_t key[PKI_CLUSTER_KEY_SIZE])
{
    crypto_auth(w->bytes + w->len, w->bytes, w->len, key);
    return w->len + FRAME_MAC_SIZE;
}

/* ---- reading ---- */

int frame_open(struct frame_reader *r, const uint8_t *bytes, size_t size, const uint8_t *key)
{
    if (size < FRAME_MAC_SIZE)
        return -EBADMSG;
    *r = (struct frame_reader){.bytes = bytes, .left = size - FRAME_MAC_SIZE};
    return key && crypto_auth_verify(bytes + r->left, bytes, r->left, key) != 0 ? -EACCES : 0;
}

void frame_take(struct frame_reader *r, void *ret, size_t size)
{
    if (r->bad || r->left < size) {
        r->bad = true;
        memset(ret, 0, size);
        return;
    }
    memcpy(ret, r->bytes, size);
    r->bytes += size;
    r->left -= size;
}

uint64_t frame_take_number(struct frame_reader *r, size_t size)
{
    uint8_t bytes[8];
    uint64_t value = 0;

    frame_take(r, bytes, size);
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

void frame_take_name(struct frame_reader *r, char *ret, size_t size)
{
    size_t len = frame_take_number(r, 1);

    ret[0] = '\0';
    if (r->bad || len >= size) {
        r->bad = true;
        return;
    }
    frame_take(r, ret, len);
    ret[len] = '\0';
    if (!frame_name_ok(ret, len))
        r->bad = true;
}
