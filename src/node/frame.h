/* Frames between the hosts: bytes of a fixed order, sealed by a MAC of the cluster's key.
 *
 * A writer never writes past its limit and remembers that it wanted to; a reader never reads past
 * the end and remembers that, too. So a codec puts or takes all it has and asks once, at the end.
 * Numbers are big-endian; a name is its length in a byte and its characters. The MAC (libsodium
 * crypto_auth) stands at the end, over everything before it, and is checked before anything else.
 * Pure; any thread.
 */
#ifndef VLING_NODE_FRAME_H
#define VLING_NODE_FRAME_H

#include "node/pki.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAC_SIZE 32

struct frame_writer {
    uint8_t *bytes; /* FRAME_MAC_SIZE bytes longer than `limit` */
    size_t len, limit;
    bool full; /* something did not fit */
};

void frame_put(struct frame_writer *w, const void *bytes, size_t size);
/* The lowest `size` bytes of `value`, at most 8. */
void frame_put_number(struct frame_writer *w, uint64_t value, size_t size);
void frame_put_name(struct frame_writer *w, const char *name);
/* Appends the MAC; the size of the whole frame. */
size_t frame_seal(const struct frame_writer *w, const uint8_t key[PKI_CLUSTER_KEY_SIZE]);

struct frame_reader {
    const uint8_t *bytes;
    size_t left;
    bool bad; /* something was missing, or no name */
};

/* 0; -EBADMSG too short; -EACCES a wrong MAC. `key` NULL: it is not checked (fuzzing). */
int frame_open(struct frame_reader *r, const uint8_t *bytes, size_t size, const uint8_t *key);
/* Zeros if it is not all there. */
void frame_take(struct frame_reader *r, void *ret, size_t size);
uint64_t frame_take_number(struct frame_reader *r, size_t size);
/* At most `size - 1` characters; "" if bad. */
void frame_take_name(struct frame_reader *r, char *ret, size_t size);

/* Is it a host's name: 1 to 63 letters, digits, '-', '.', '_'? */
bool frame_name_ok(const char *name, size_t len);

#endif
