/* Identifiers and random bytes (getrandom). Random values are data in a transaction: they are drawn
 * where a request is handled, never inside ha/. */
#ifndef VLING_BASE_ID_H
#define VLING_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>

#define ID_UUID_SIZE 37 /* with the terminating zero */
#define ID_HEX_SIZE 33

/* Fills `out` with random bytes; cannot fail (aborts if the kernel has no randomness). */
void id_random(void *out, size_t size);

/* A random UUID (RFC 9562 version 4) as "f4bc1590-c5f5-43b6-8fa6-2117d67742f9". */
void id_uuid(char out[ID_UUID_SIZE]);

/* A random UUID without dashes, as Keystone names projects and users. */
void id_hex(char out[ID_HEX_SIZE]);

/* Is `text` a UUID with all four dashes in their places or without any? */
bool id_is_uuid(const char *text);

#endif
