#include "base/id.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void id_random(void *out, size_t size)
{
    unsigned char *at = out;
    ssize_t got;

    while (size > 0) {
        got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        at += got;
        size -= (size_t)got;
    }
}

static void uuid_bytes(unsigned char b[16])
{
    id_random(b, 16);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
}

void id_uuid(char out[ID_UUID_SIZE])
{
    unsigned char b[16];
    char *at = out;

    uuid_bytes(b);
    for (int i = 0; i < 16; i++)
        at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
}

void id_hex(char out[ID_HEX_SIZE])
{
    unsigned char b[16];

    uuid_bytes(b);
    for (int i = 0; i < 16; i++)
        sprintf(out + 2 * i, "%02x", b[i]);
}

bool id_is_uuid(const char *text)
{
    size_t length = text ? strnlen(text, ID_UUID_SIZE) : 0;

    if (length != ID_UUID_SIZE - 1 && length != ID_HEX_SIZE - 1)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dash = length == ID_UUID_SIZE - 1 && (i == 8 || i == 13 || i == 18 || i == 23);

        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}
