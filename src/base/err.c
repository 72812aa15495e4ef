#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

int err_set(struct err *err, int code, const char *what, const char *why, const char *remedy)
{
    if (err) {
        err->code = code;
        copy(err->what, sizeof(err->what), what);
        copy(err->why, sizeof(err->why), why ? why : strerror(-code));
        copy(err->remedy, sizeof(err->remedy), remedy);
    }
    return code;
}

int err_why(struct err *err, int code, const char *what, const char *why_format, ...)
{
    char why[sizeof(err->why)];
    va_list ap;

    va_start(ap, why_format);
    vsnprintf(why, sizeof(why), why_format, ap);
    va_end(ap);
    return err_set(err, code, what, why, NULL);
}

const char *err_line(const struct err *err, char *out, unsigned long out_size)
{
    snprintf(out, out_size, "%s: %s%s%s%s", err->what, err->why, err->remedy[0] ? " (" : "",
             err->remedy, err->remedy[0] ? ")" : "");
    return out;
}
