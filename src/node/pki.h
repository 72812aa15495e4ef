/* The cluster's own certificates (X.509 through GnuTLS, ECDSA P-256).
 *
 * Files below <state_dir>/pki, mode 0600, replaced atomically:
 *   ca.crt, ca.key    the authority (the key on controllers only), 10 years
 *   host.crt, host.key  this host: CN = host name; SANs: host name, its addresses, localhost,
 *                       127.0.0.1, ::1; usable as server and as client; 2 years
 *   cluster.key       32 random bytes: authenticates heartbeats
 *   join.token        secrets that let hosts join (node/join.h)
 * Threads: any, but not two for the same folder. Strings returned are PEM, freed with free().
 */
#ifndef VLING_NODE_PKI_H
#define VLING_NODE_PKI_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PKI_CLUSTER_KEY_SIZE 32
#define PKI_FINGERPRINT_SIZE 65 /* hex SHA-256 and zero */
#define PKI_PEM_MAX 16384
#define PKI_IPS_MAX 8

/* "<state_dir>/pki/<name>" into `ret`. */
int pki_path(const char *state_dir, const char *name, char *ret, size_t size);

/* Makes the folder, the authority and the cluster key, unless they exist. */
int pki_create_cluster(const char *state_dir, struct err *err);
/* A host certificate by the authority in `state_dir` into host.crt and host.key there (what the
 * first controller does for itself). `ips`: NULL-terminated. */
int pki_issue_self(const char *state_dir, const char *host, const char *const *ips,
                   struct err *err);
/* Are host.crt, host.key, ca.crt and cluster.key here? */
bool pki_present(const char *state_dir);
bool pki_has_ca_key(const char *state_dir);

/* A fresh key (kept in host.key.new until pki_install) and a request signed with it. */
int pki_request(const char *state_dir, const char *host, char **ret_csr, struct err *err);
/* Controllers: signs a request for an ECDSA key whose CN is `host` (-EPERM otherwise). Nothing else
 * is taken from the request: the addresses are `ips`, the usages are ours. */
int pki_sign(const char *state_dir, const char *csr, const char *host, const char *const *ips,
             char **ret_certificate, struct err *err);
/* Checks an answer to pki_request (chain, key, name) and puts all files in place. `ca_key` may be
 * NULL. */
int pki_install(const char *state_dir, const char *certificate, const char *ca, const char *ca_key,
                const uint8_t cluster_key[PKI_CLUSTER_KEY_SIZE], struct err *err);

int pki_cluster_key(const char *state_dir, uint8_t ret[PKI_CLUSTER_KEY_SIZE], struct err *err);
/* Lower-case hex SHA-256 of the authority's DER form. */
int pki_fingerprint(const char *ca_pem, char ret[PKI_FINGERPRINT_SIZE]);
int pki_ca_fingerprint(const char *state_dir, char ret[PKI_FINGERPRINT_SIZE], struct err *err);
/* Days until host.crt ends (negative: it has). */
int pki_host_days_left(const char *state_dir, int *ret_days);
/* The public key of a certificate or request as hex SHA-256 (to tell whether it is the same). */
int pki_key_id(const char *pem, bool is_request, char ret[PKI_FINGERPRINT_SIZE]);

#endif
