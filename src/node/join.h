/* How a host becomes a member.
 *
 * Token.   "vling1.<base64url of a secret of 16 bytes>.<hex SHA-256 of the CA certificate's DER>":
 *          lets a host in and tells it whom to trust. That of `vlingd init` is kept on every
 *          controller in <state_dir>/pki/join.token (one token a line); others the caller's hooks
 *          know (tokens.h).
 * Server.  HTTPS on the management address, port 7701, without client certificates: POST /join
 *          {host, secret, csr, ips} -> {certificate, ca, cluster_key (base64), founded,
 *          members_only (pki.h), controllers (the list, if it ever changed: controllers.h), ca_key
 *          and tokens (for hosts in the list only)}.
 * Names.   Who gets which name by which token is the caller's `judge`. Wrong secrets are answered
 *          after a delay.
 * Client.  Synchronous: tries the controllers in turn until one answers or the time is over.
 */
#ifndef VLING_NODE_JOIN_H
#define VLING_NODE_JOIN_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define JOIN_PORT 7701
#define JOIN_TOKEN_SIZE 128
#define JOIN_SECRET_SIZE 16
#define JOIN_HASH_SIZE 65  /* hex SHA-256 of a secret, and zero */
#define JOIN_TOKENS_MAX 16 /* in the file */

struct join_token {
    uint8_t secret[JOIN_SECRET_SIZE];
    char fingerprint[65];
};
/* -EINVAL if it is none. */
int join_token_parse(const char *text, struct join_token *ret);
void join_token_format(const struct join_token *token, char ret[JOIN_TOKEN_SIZE]);

void join_token_hash(const uint8_t secret[JOIN_SECRET_SIZE], char ret[JOIN_HASH_SIZE]);
/* Those of the file: how many, or -errno. */
int join_tokens_read(const char *state_dir, struct join_token *ret, size_t max);

/* The (first) token of this controller, made if there is none. */
int join_token_get(const char *state_dir, char ret[JOIN_TOKEN_SIZE], struct err *err);
/* Adopts a token given from outside (`vlingd init --token`): its fingerprint part may be empty
 * ("vling1.<secret>"), it is filled in with the CA's. */
int join_token_adopt(const char *state_dir, const char *text, struct err *err);

/* Who wants in. */
struct join_candidate {
    const char *host, *key_id; /* pki_key_id of the request */
    const char *token_hash;    /* join_token_hash of the secret that was shown */
    bool in_file;              /* it is one of join.token */
};

enum join_verdict { JOIN_ADMIT, JOIN_BAD_TOKEN, JOIN_NAME_TAKEN };

struct join_server_options {
    const char *state_dir;
    const char *address; /* management address */
    uint16_t port;       /* JOIN_PORT; 0: any */
    const char *const
        *controllers; /* names that get the CA key, NULL-terminated; kept by the caller */
    /* Brings up to date what `judge` goes by, then calls `go_on` once (rc < 0: it could not; the
     * host is told to try again). NULL: nothing to wait for. */
    void (*settle)(void *arg, void (*go_on)(void *go_arg, int rc), void *go_arg);
    /* NULL: the tokens of the file are good for every name. */
    enum join_verdict (*judge)(void *arg, const struct join_candidate *candidate);
    void *arg;
};

struct join_server;
struct join_server *join_server_start(uv_loop_t *loop, const struct join_server_options *options,
                                      struct err *err);
uint16_t join_server_port(const struct join_server *server);
void join_server_stop(struct join_server *server);

struct join_request {
    const char *state_dir;
    const char *host;
    const char *const *ips;       /* for the certificate; NULL-terminated */
    const char *const *endpoints; /* "10.10.1.1" or "10.10.1.1:7701", NULL-terminated */
    const char *token;
    bool controller;
    int timeout_ms; /* 0: 60000 */
};
/* Joins and installs all files below <state_dir>/pki. -EPERM: refused (no retry); -ETIMEDOUT. */
int join_run(const struct join_request *request, struct err *err);

#endif
