/* The cluster's own certificates (X.509 through GnuTLS, ECDSA P-256).
 *
 * Files below <state_dir>/pki, mode 0600, replaced atomically:
 *   ca.crt, ca.key    the authority (the key on controllers only), 10 years
 *   host.crt, host.key  this host: CN = host name; SANs: host name, its addresses, localhost,
 *                       127.0.0.1, ::1; usable as server and as client; 2 years. The key is the
 *                       host's for good: a certificate is renewed for the same one
 *   etcd-peer.crt, .key  controllers: what members of the store show each other, CN =
 *                       PKI_MEMBER_NAME, which no host can get
 *   etcd-peer.only      is there: members accept nothing else from each other. A cloud that was
 *                       founded before there were such certificates does not have it
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
#include <time.h>

#define PKI_CLUSTER_KEY_SIZE 32
#define PKI_FINGERPRINT_SIZE 65 /* hex SHA-256 and zero */
#define PKI_PEM_MAX 16384
#define PKI_IPS_MAX 8
#define PKI_MEMBER_NAME "vling-etcd-peer"
#define PKI_RENEW_SECONDS ((time_t)90 * 86400)
#define PKI_SEAL_SIZE 128 /* base64 and zero */

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

/* Controllers: etcd-peer.crt and etcd-peer.key, unless they are there and last for long. */
int pki_issue_member(const char *state_dir, const char *host, const char *const *ips,
                     struct err *err);
/* Does, and from now on shall, a member of the store accept members only? */
bool pki_members_only(const char *state_dir);
int pki_set_members_only(const char *state_dir);

/* Controllers: signs `text` with the authority's key, so that every host can tell that a controller
 * wrote it. */
int pki_seal(const char *state_dir, const char *text, char ret[PKI_SEAL_SIZE]);
bool pki_seal_ok(const char *state_dir, const char *text, const char *seal);

/* The host's key, made if there is none (kept in host.key.new until pki_install), and a request
 * signed with it. */
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
/* When a certificate ("host.crt") begins and ends, in seconds of the wall clock. */
int pki_times(const char *state_dir, const char *name, time_t *ret_begin, time_t *ret_end);
/* Is it to be renewed at `now`? 90 days before its end, or in the last third of a shorter life. */
bool pki_is_due(time_t begin, time_t end, time_t now);
/* The public key of a certificate or request as hex SHA-256 (to tell whether it is the same). */
int pki_key_id(const char *pem, bool is_request, char ret[PKI_FINGERPRINT_SIZE]);

#endif
