/* A growing byte buffer born with a limit. Always zero-terminated after the last byte (the zero is
 * not counted in `len`). Growing past the limit, running out of memory, or a format that fails sets
 * `failed` and drops the bytes: check once at the end. Not for several threads. */
#ifndef VLING_BASE_BUF_H
#define VLING_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL until the first byte */
    size_t len;
    size_t cap;
    size_t limit;
    bool failed;
};

void buf_init(struct buf *b, size_t limit);
void buf_free(struct buf *b); /* releases the bytes; the buffer can be used again */
void buf_clear(struct buf *b);
void buf_add(struct buf *b, const void *bytes, size_t size);
void buf_str(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes. */
void buf_consume(struct buf *b, size_t size);

/* The text, "" when empty; owned by the buffer. */
const char *buf_text(const struct buf *b);

#endif
