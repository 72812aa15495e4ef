/* A failure as a person reads it: what went wrong, why, and what to do about it.
 *
 * Mechanics return 0 or -errno. Where the text reaches a person (an operator, an API client, the
 * log) the function also takes a `struct err *` and fills it on failure. `err` may be NULL.
 * The texts are kept inside the struct (truncated, never allocated), so there is nothing to free.
 */
#ifndef VLING_BASE_ERR_H
#define VLING_BASE_ERR_H

struct err {
    int code;         /* -errno */
    char what[192];   /* "cannot start the guest web1" */
    char why[256];    /* "qemu-system-x86_64: no such file" */
    char remedy[192]; /* "apt-get install qemu-system-x86", or "" */
};

/* Fills `err` (if not NULL) and returns `code`, so a caller can `return err_set(...)`.
 * `what`, `why` and `remedy` may be NULL. */
int err_set(struct err *err, int code, const char *what, const char *why, const char *remedy);

/* As err_set; `why` is printf-formatted and there is no remedy. */
int err_why(struct err *err, int code, const char *what, const char *why_format, ...)
    __attribute__((format(printf, 4, 5)));

/* One line "what: why (remedy)" into `out`; returns `out`. */
const char *err_line(const struct err *err, char *out, unsigned long out_size);

#endif
