#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t limit)
{
    memset(b, 0, sizeof(*b));
    b->limit = limit;
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->limit);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

static bool reserve(struct buf *b, size_t more)
{
    size_t cap;
    char *data;

    if (b->failed || more > b->limit - b->len) {
        b->failed = true;
        return false;
    }
    if (b->len + more + 1 <= b->cap)
        return true;
    cap = b->cap ? b->cap : 256;
    while (cap < b->len + more + 1)
        cap *= 2;
    data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t size)
{
    if (size == 0 || !reserve(b, size))
        return;
    memcpy(b->data + b->len, bytes, size);
    b->len += size;
    b->data[b->len] = '\0';
}

void buf_str(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list ap, again;
    int size;

    va_start(ap, format);
    va_copy(again, ap);
    size = vsnprintf(NULL, 0, format, ap);
    if (size < 0)
        b->failed = true;
    if (size > 0 && reserve(b, (size_t)size)) {
        vsnprintf(b->data + b->len, (size_t)size + 1, format, again);
        b->len += (size_t)size;
    }
    va_end(again);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t size)
{
    if (size > b->len)
        size = b->len;
    if (size == 0)
        return;
    memmove(b->data, b->data + size, b->len - size + 1);
    b->len -= size;
}

const char *buf_text(const struct buf *b)
{
    return b->data ? b->data : "";
}
