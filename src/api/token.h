/* Tokens: what a client shows with each request.
 *
 * A token is self-contained: its content is encrypted and authenticated (XChaCha20-Poly1305) with
 * the cluster's key, so that every controller can read it and none has to store it. What can change
 * during its life (user disabled, password changed, roles, revocation) is looked up when it is
 * used. The keys are the row setting/token_key; the first one seals, all of them open. */
#ifndef VLING_API_TOKEN_H
#define VLING_API_TOKEN_H

#include "store/mirror.h"

#define TOKEN_TEXT_MAX 1024

enum token_method { TOKEN_PASSWORD = 1 << 0, TOKEN_TOKEN = 1 << 1, TOKEN_CREDENTIAL = 1 << 2 };

struct token {
    char user_id[64];
    char scope_kind[16]; /* "project", "domain", "system", or "" */
    char scope_id[64];   /* "all" for the system */
    unsigned methods;
    int64_t issued_ms, expires_ms;
    char audit_id[32];
    char parent_audit_id[32]; /* of the first token of a chain of tokens, or "" */
    int64_t password_serial;
    char credential_id[64]; /* of the application credential that it was made from, or "" */
};

/* Text form into `out` (TOKEN_TEXT_MAX bytes). 0, -ENOKEY (the cloud has no key yet) or -EMSGSIZE.
 */
int token_seal(struct mirror *mirror, const struct token *token, char *out, size_t size);

/* 0 or -EINVAL: not sealed by this cloud. Does not look at the times. */
int token_open(struct mirror *mirror, const char *text, struct token *ret_token);

/* A fresh audit id (32 bytes with the zero at most). */
void token_audit_id(char out[32]);

/* A new random key as the row of setting/token_key. */
json_t *token_key_row(void);

#endif
