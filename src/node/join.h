/* How a host becomes a member.
 *
 * Token.   "vling1.<base64url of a secret of 16 bytes>.<hex SHA-256 of the CA certificate's DER>":
 *          lets a host in and tells it whom to trust. The secret is kept on every controller in
 *          <state_dir>/pki/join.token (one token a line).
 * Server.  HTTPS on the management address, port 7701, without client certificates: POST /join
 *          {host, secret, csr, ips} -> {certificate, ca, cluster_key (base64), founded,
 *          members_only (pki.h), controllers (the list, if it ever changed: controllers.h), ca_key
 * and tokens (for hosts in the list only)}. Names.   A name that was issued before may be issued
 * again to whoever holds a valid token (a reinstalled host); the caller's `issued` hook may refuse
 * it. Secrets are compared in constant time, and wrong ones are answered after a delay. Client.
 * Synchronous: tries the controllers in turn until one answers or the time is over.
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

struct join_token {
    uint8_t secret[JOIN_SECRET_SIZE];
    char fingerprint[65];
};
/* -EINVAL if it is none. */
int join_token_parse(const char *text, struct join_token *ret);
void join_token_format(const struct join_token *token, char ret[JOIN_TOKEN_SIZE]);

/* The (first) token of this controller, made if there is none. */
int join_token_get(const char *state_dir, char ret[JOIN_TOKEN_SIZE], struct err *err);
/* Adopts a token given from outside (`vlingd init --token`): its fingerprint part may be empty
 * ("vling1.<secret>"), it is filled in with the CA's. */
int join_token_adopt(const char *state_dir, const char *text, struct err *err);

struct join_server_options {
    const char *state_dir;
    const char *address; /* management address */
    uint16_t port;       /* JOIN_PORT; 0: any */
    const char *const
        *controllers; /* names that get the CA key, NULL-terminated; kept by the caller */
    /* May `host` get a certificate for the key `key_id`? NULL: always. 0 or -errno (answered 409).
     */
    int (*issued)(void *arg, const char *host, const char *key_id);
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
