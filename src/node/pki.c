#include "node/pki.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PKI_FILE_MODE 0600
#define DAY_SECONDS ((time_t)86400)
#define CA_DAYS 3652
#define HOST_DAYS 731
/* Clocks of hosts that boot for the first time may be a little off. */
#define BACKDATE_SECONDS 3600
#define SERIAL_SIZE 16
#define PATH_SIZE 512
#define HOST_NAME_MAX_LEN 63

int pki_path(const char *state_dir, const char *name, char *ret, size_t size)
{
    return snprintf(ret, size, "%s/pki/%s", state_dir, name) >= (int)size ? -ENAMETOOLONG : 0;
}

static int fail(struct err *err, int code, const char *what, int tls)
{
    return err_why(err, code, what, "%s", tls < 0 ? gnutls_strerror(tls) : strerror(-code));
}

static int load(const char *state_dir, const char *name, char **ret, size_t *ret_size)
{
    char path[PATH_SIZE];
    int rc = pki_path(state_dir, name, path, sizeof(path));

    return rc < 0 ? rc : file_read(path, PKI_PEM_MAX, ret, ret_size);
}

static int save(const char *state_dir, const char *name, const void *data, size_t size)
{
    char path[PATH_SIZE];
    int rc = pki_path(state_dir, name, path, sizeof(path));

    return rc < 0 ? rc : file_write_atomic(path, data, size, PKI_FILE_MODE);
}

static bool have(const char *state_dir, const char *name)
{
    char path[PATH_SIZE];

    return pki_path(state_dir, name, path, sizeof(path)) == 0 && access(path, R_OK) == 0;
}

static void wipe_free(char *text, size_t size)
{
    if (text)
        sodium_memzero(text, size);
    free(text);
}

static int make_folder(const char *state_dir)
{
    char path[PATH_SIZE];
    int rc = pki_path(state_dir, "", path, sizeof(path));

    if (rc < 0)
        return rc;
    path[strlen(path) - 1] = '\0';
    rc = file_mkdirs(path, 0700);
    return rc < 0 ? rc : chmod(path, 0700) < 0 ? -errno : 0;
}

/* ---- GnuTLS objects from and to PEM ---- */

static int key_new(gnutls_x509_privkey_t *ret)
{
    int rc = gnutls_x509_privkey_init(ret);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_privkey_generate(*ret, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rc < 0)
        gnutls_x509_privkey_deinit(*ret);
    return rc;
}

static int key_load(const char *state_dir, const char *name, gnutls_x509_privkey_t *ret)
{
    gnutls_datum_t pem = {0};
    char *text = NULL;
    size_t size = 0;
    int rc = load(state_dir, name, &text, &size);

    if (rc < 0)
        return GNUTLS_E_FILE_ERROR;
    pem.data = (unsigned char *)text;
    pem.size = (unsigned)size;
    rc = gnutls_x509_privkey_init(ret);
    if (rc >= 0) {
        rc = gnutls_x509_privkey_import(*ret, &pem, GNUTLS_X509_FMT_PEM);
        if (rc < 0)
            gnutls_x509_privkey_deinit(*ret);
    }
    wipe_free(text, size);
    return rc;
}

static int crt_import(const char *pem, gnutls_x509_crt_t *ret)
{
    gnutls_datum_t datum = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};
    int rc = gnutls_x509_crt_init(ret);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crt_import(*ret, &datum, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        gnutls_x509_crt_deinit(*ret);
    return rc;
}

static int crt_load(const char *state_dir, const char *name, gnutls_x509_crt_t *ret)
{
    char *text = NULL;
    int rc = load(state_dir, name, &text, NULL);

    if (rc < 0)
        return GNUTLS_E_FILE_ERROR;
    rc = crt_import(text, ret);
    free(text);
    return rc;
}

static int csr_import(const char *pem, gnutls_x509_crq_t *ret)
{
    gnutls_datum_t datum = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};
    int rc = gnutls_x509_crq_init(ret);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crq_import(*ret, &datum, GNUTLS_X509_FMT_PEM);
    if (rc >= 0)
        rc = gnutls_x509_crq_verify(*ret, 0);
    if (rc < 0)
        gnutls_x509_crq_deinit(*ret);
    return rc;
}

static int key_save(const char *state_dir, const char *name, gnutls_x509_privkey_t key)
{
    gnutls_datum_t pem = {0};
    int rc = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);

    if (rc < 0)
        return -EIO;
    rc = save(state_dir, name, pem.data, pem.size);
    sodium_memzero(pem.data, pem.size);
    gnutls_free(pem.data);
    return rc;
}

/* ---- certificates ---- */

static int set_times(gnutls_x509_crt_t crt, int days)
{
    unsigned char serial[SERIAL_SIZE];
    time_t now = time(NULL);
    int rc;

    randombytes_buf(serial, sizeof(serial));
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, no leading zero */
    rc = gnutls_x509_crt_set_version(crt, 3);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_activation_time(crt, now - BACKDATE_SECONDS);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_expiration_time(crt, now + days * DAY_SECONDS);
    return rc;
}

static int set_key_ids(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer)
{
    unsigned char id[64];
    size_t size = sizeof(id);
    int rc = gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA1, id, &size);

    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_key_id(crt, id, size);
    size = sizeof(id);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_key_id(issuer, GNUTLS_KEYID_USE_SHA1, id, &size);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_authority_key_id(crt, id, size);
    return rc;
}

static int make_ca(gnutls_x509_privkey_t key, gnutls_datum_t *ret_pem)
{
    gnutls_x509_crt_t crt;
    int rc = gnutls_x509_crt_init(&crt);

    if (rc < 0)
        return rc;
    rc = set_times(crt, CA_DAYS);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_dn(crt, "CN=Vling cluster CA", NULL);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key(crt, key);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_basic_constraints(crt, 1, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (rc >= 0)
        rc = set_key_ids(crt, crt);
    if (rc >= 0)
        rc = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, ret_pem);
    gnutls_x509_crt_deinit(crt);
    return rc;
}

static int add_ip(gnutls_x509_crt_t crt, const char *text)
{
    unsigned char bytes[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;

    if (inet_pton(family, text, bytes) != 1)
        return GNUTLS_E_INVALID_REQUEST;
    return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, bytes,
                                                family == AF_INET ? 4 : 16, GNUTLS_FSAN_APPEND);
}

static int set_names(gnutls_x509_crt_t crt, const char *name, const char *host,
                     const char *const *ips)
{
    static const char *const local[] = {"127.0.0.1", "::1", NULL};
    int rc;

    rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                       (unsigned)strlen(name));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host,
                                                  (unsigned)strlen(host), GNUTLS_FSAN_SET);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "localhost", 9,
                                                  GNUTLS_FSAN_APPEND);
    for (size_t i = 0; rc >= 0 && local[i]; i++)
        rc = add_ip(crt, local[i]);
    for (size_t i = 0; rc >= 0 && ips && ips[i] && i < PKI_IPS_MAX; i++) {
        if (ips[i][0])
            rc = add_ip(crt, ips[i]);
    }
    return rc;
}

/* Everything of a certificate but its key, then the signature. `name` is the CN. */
static int finish_host(const char *state_dir, gnutls_x509_crt_t crt, const char *name,
                       const char *host, const char *const *ips, gnutls_datum_t *ret_pem)
{
    gnutls_x509_privkey_t ca_key;
    gnutls_x509_crt_t ca;
    int rc = crt_load(state_dir, "ca.crt", &ca);

    if (rc < 0)
        return rc;
    rc = key_load(state_dir, "ca.key", &ca_key);
    if (rc < 0) {
        gnutls_x509_crt_deinit(ca);
        return rc;
    }
    rc = set_times(crt, HOST_DAYS);
    if (rc >= 0)
        rc = set_names(crt, name, host, ips);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    if (rc >= 0)
        rc = set_key_ids(crt, ca);
    if (rc >= 0)
        rc = gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, ret_pem);
    gnutls_x509_privkey_deinit(ca_key);
    gnutls_x509_crt_deinit(ca);
    return rc;
}

/* ---- the cluster ---- */

static int create_ca(const char *state_dir, struct err *err)
{
    static const char what[] = "cannot create the cluster's certificate authority";
    gnutls_x509_privkey_t key;
    gnutls_datum_t pem = {0};
    int tls = key_new(&key), rc;

    if (tls < 0)
        return fail(err, -EIO, what, tls);
    tls = make_ca(key, &pem);
    if (tls < 0) {
        gnutls_x509_privkey_deinit(key);
        return fail(err, -EIO, what, tls);
    }
    /* The key first: a certificate without its key would be taken for complete. */
    rc = key_save(state_dir, "ca.key", key);
    if (rc == 0)
        rc = save(state_dir, "ca.crt", pem.data, pem.size);
    gnutls_x509_privkey_deinit(key);
    gnutls_free(pem.data);
    return rc < 0 ? fail(err, rc, what, 0) : 0;
}

int pki_create_cluster(const char *state_dir, struct err *err)
{
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    int rc;

    if (sodium_init() < 0)
        return fail(err, -EIO, "cannot create keys", 0);
    rc = make_folder(state_dir);
    if (rc < 0)
        return fail(err, rc, "cannot create the folder for keys", 0);
    if (!have(state_dir, "ca.crt")) {
        rc = pki_set_members_only(state_dir);
        rc = rc < 0 ? fail(err, rc, "cannot write to the folder for keys", 0)
                    : create_ca(state_dir, err);
        if (rc < 0)
            return rc;
    }
    if (have(state_dir, "cluster.key"))
        return 0;
    randombytes_buf(key, sizeof(key));
    rc = save(state_dir, "cluster.key", key, sizeof(key));
    sodium_memzero(key, sizeof(key));
    return rc < 0 ? fail(err, rc, "cannot write the cluster key", 0) : 0;
}

static bool host_name_ok(const char *host)
{
    size_t len = strlen(host);

    if (len == 0 || len > HOST_NAME_MAX_LEN || strcmp(host, PKI_MEMBER_NAME) == 0)
        return false;
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

int pki_issue_self(const char *state_dir, const char *host, const char *const *ips, struct err *err)
{
    char *csr = NULL, *certificate = NULL, *ca = NULL;
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    int rc = pki_request(state_dir, host, &csr, err);

    if (rc == 0)
        rc = pki_sign(state_dir, csr, host, ips, &certificate, err);
    if (rc == 0) {
        rc = load(state_dir, "ca.crt", &ca, NULL);
        if (rc < 0)
            fail(err, rc, "cannot read the authority's certificate", 0);
    }
    if (rc == 0)
        rc = pki_cluster_key(state_dir, key, err);
    if (rc == 0)
        rc = pki_install(state_dir, certificate, ca, NULL, key, err);
    sodium_memzero(key, sizeof(key));
    free(csr);
    free(certificate);
    free(ca);
    return rc;
}

bool pki_present(const char *state_dir)
{
    return have(state_dir, "host.crt") && have(state_dir, "host.key") &&
           have(state_dir, "ca.crt") && have(state_dir, "cluster.key");
}

bool pki_has_ca_key(const char *state_dir)
{
    return have(state_dir, "ca.key");
}

/* ---- members of the store ---- */

static int make_member(const char *state_dir, const char *host, const char *const *ips,
                       gnutls_x509_privkey_t key, gnutls_datum_t *ret_pem)
{
    gnutls_x509_crt_t crt;
    int rc = gnutls_x509_crt_init(&crt);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crt_set_key(crt, key);
    if (rc >= 0)
        rc = finish_host(state_dir, crt, PKI_MEMBER_NAME, host, ips, ret_pem);
    gnutls_x509_crt_deinit(crt);
    return rc;
}

int pki_issue_member(const char *state_dir, const char *host, const char *const *ips,
                     struct err *err)
{
    static const char what[] = "cannot make the certificate of the store's member";
    gnutls_x509_privkey_t key;
    gnutls_datum_t pem = {0};
    time_t begin, end;
    int rc = 0, tls;

    if (have(state_dir, "etcd-peer.key") &&
        pki_times(state_dir, "etcd-peer.crt", &begin, &end) == 0 &&
        !pki_is_due(begin, end, time(NULL)))
        return 0;
    /* The same key again: etcd may read the two files at any moment. */
    tls = key_load(state_dir, "etcd-peer.key", &key);
    if (tls < 0) {
        tls = key_new(&key);
        if (tls < 0)
            return fail(err, -EIO, what, tls);
        rc = key_save(state_dir, "etcd-peer.key", key);
    }
    if (rc == 0) {
        tls = make_member(state_dir, host, ips, key, &pem);
        rc = tls < 0 ? -EIO : save(state_dir, "etcd-peer.crt", pem.data, pem.size);
    }
    gnutls_x509_privkey_deinit(key);
    gnutls_free(pem.data);
    return rc < 0 ? fail(err, rc, what, tls) : 0;
}

bool pki_members_only(const char *state_dir)
{
    return have(state_dir, "etcd-peer.only");
}

int pki_set_members_only(const char *state_dir)
{
    return save(state_dir, "etcd-peer.only", "1\n", 2);
}

/* ---- seals ---- */

static int sign_text(gnutls_x509_privkey_t x509, const gnutls_datum_t *text, gnutls_datum_t *ret)
{
    gnutls_privkey_t key;
    int rc = gnutls_privkey_init(&key);

    if (rc < 0)
        return rc;
    rc = gnutls_privkey_import_x509(key, x509, 0);
    if (rc >= 0)
        rc = gnutls_privkey_sign_data2(key, GNUTLS_SIGN_ECDSA_SHA256, 0, text, ret);
    gnutls_privkey_deinit(key);
    return rc;
}

int pki_seal(const char *state_dir, const char *text, char ret[PKI_SEAL_SIZE])
{
    gnutls_datum_t data = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
    gnutls_datum_t seal = {0};
    gnutls_x509_privkey_t key;
    int rc = key_load(state_dir, "ca.key", &key);

    if (rc < 0)
        return -ENOENT;
    rc = sign_text(key, &data, &seal) < 0 ? -EIO : 0;
    gnutls_x509_privkey_deinit(key);
    if (rc == 0 && sodium_base64_ENCODED_LEN(seal.size, sodium_base64_VARIANT_ORIGINAL) >
                       (size_t)PKI_SEAL_SIZE)
        rc = -EMSGSIZE;
    if (rc == 0)
        sodium_bin2base64(ret, PKI_SEAL_SIZE, seal.data, seal.size, sodium_base64_VARIANT_ORIGINAL);
    gnutls_free(seal.data);
    return rc;
}

bool pki_seal_ok(const char *state_dir, const char *text, const char *seal)
{
    gnutls_datum_t data = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
    unsigned char bytes[PKI_SEAL_SIZE];
    gnutls_datum_t signature = {.data = bytes};
    gnutls_x509_crt_t ca;
    gnutls_pubkey_t key;
    size_t size = 0;
    bool ok = false;

    if (sodium_base642bin(bytes, sizeof(bytes), seal, strlen(seal), NULL, &size, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        crt_load(state_dir, "ca.crt", &ca) < 0)
        return false;
    signature.size = (unsigned)size;
    if (gnutls_pubkey_init(&key) >= 0) {
        ok = gnutls_pubkey_import_x509(key, ca, 0) >= 0 &&
             gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_ECDSA_SHA256, 0, &data, &signature) >= 0;
        gnutls_pubkey_deinit(key);
    }
    gnutls_x509_crt_deinit(ca);
    return ok;
}

/* ---- request, signature, installation ---- */

static int make_csr(gnutls_x509_privkey_t key, const char *host, gnutls_datum_t *ret_pem)
{
    gnutls_x509_crq_t crq;
    int rc = gnutls_x509_crq_init(&crq);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crq_set_version(crq, 1);
    if (rc >= 0)
        rc = gnutls_x509_crq_set_dn_by_oid(crq, GNUTLS_OID_X520_COMMON_NAME, 0, host,
                                           (unsigned)strlen(host));
    if (rc >= 0)
        rc = gnutls_x509_crq_set_key(crq, key);
    if (rc >= 0)
        rc = gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, ret_pem);
    gnutls_x509_crq_deinit(crq);
    return rc;
}

int pki_request(const char *state_dir, const char *host, char **ret_csr, struct err *err)
{
    static const char what[] = "cannot make a certificate request";
    gnutls_x509_privkey_t key;
    gnutls_datum_t pem = {0};
    int rc, tls;

    if (!host_name_ok(host))
        return err_why(err, -EINVAL, what, "the host name \"%s\" is not usable", host);
    rc = make_folder(state_dir);
    if (rc < 0)
        return fail(err, rc, what, 0);
    /* An attempt whose answer was lost, or an earlier certificate: the same key again, because the
     * cloud knows the host by it. */
    tls = key_load(state_dir, "host.key.new", &key);
    if (tls < 0)
        tls = key_load(state_dir, "host.key", &key);
    if (tls < 0)
        tls = key_new(&key);
    if (tls < 0)
        return fail(err, -EIO, what, tls);
    tls = make_csr(key, host, &pem);
    rc = tls < 0 ? -EIO : key_save(state_dir, "host.key.new", key);
    gnutls_x509_privkey_deinit(key);
    if (rc == 0 && !(*ret_csr = strndup((char *)pem.data, pem.size)))
        rc = -ENOMEM;
    gnutls_free(pem.data);
    return rc < 0 ? fail(err, rc, what, tls) : 0;
}

static int check_csr_name(gnutls_x509_crq_t crq, const char *host)
{
    char name[256];
    size_t size = sizeof(name);

    if (gnutls_x509_crq_get_dn_by_oid(crq, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size) < 0 ||
        strlen(name) != size || strcmp(name, host) != 0)
        return -EPERM;
    return gnutls_x509_crq_get_pk_algorithm(crq, NULL) == GNUTLS_PK_ECDSA ? 0 : -EPERM;
}

int pki_sign(const char *state_dir, const char *csr, const char *host, const char *const *ips,
             char **ret_certificate, struct err *err)
{
    static const char what[] = "cannot sign a certificate";
    gnutls_x509_crq_t crq;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem = {0};
    int tls, rc = 0;

    if (!host_name_ok(host))
        return err_why(err, -EPERM, what, "bad host name");
    tls = csr_import(csr, &crq);
    if (tls < 0)
        return fail(err, -EINVAL, what, tls);
    if (check_csr_name(crq, host) < 0) {
        gnutls_x509_crq_deinit(crq);
        return err_why(err, -EPERM, what, "the request is not for an ECDSA key of host %s", host);
    }
    tls = gnutls_x509_crt_init(&crt);
    if (tls >= 0) {
        tls = gnutls_x509_crt_set_crq(crt, crq);
        if (tls >= 0)
            tls = finish_host(state_dir, crt, host, host, ips, &pem);
        gnutls_x509_crt_deinit(crt);
    }
    gnutls_x509_crq_deinit(crq);
    if (tls < 0)
        return fail(err, -EIO, what, tls);
    if (!(*ret_certificate = strndup((char *)pem.data, pem.size)))
        rc = -ENOMEM;
    gnutls_free(pem.data);
    return rc < 0 ? fail(err, rc, what, 0) : 0;
}

/* Is the certificate of the waiting key, and by this authority? */
static int check_answer(const char *state_dir, const char *certificate, const char *ca_pem)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt, ca;
    unsigned char left[64], right[64];
    size_t left_size = sizeof(left), right_size = sizeof(right);
    unsigned verdict = ~0u;
    int tls = crt_import(certificate, &crt);

    if (tls < 0)
        return tls;
    tls = crt_import(ca_pem, &ca);
    if (tls < 0)
        goto free_crt;
    tls = key_load(state_dir, "host.key.new", &key);
    if (tls < 0)
        goto free_ca;
    tls = gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, left, &left_size);
    if (tls >= 0)
        tls = gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, right, &right_size);
    if (tls >= 0 && (left_size != right_size || memcmp(left, right, left_size) != 0))
        tls = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
    if (tls >= 0)
        tls = gnutls_x509_crt_verify(crt, &ca, 1, 0, &verdict);
    if (tls >= 0 && verdict != 0)
        tls = GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
    gnutls_x509_privkey_deinit(key);
free_ca:
    gnutls_x509_crt_deinit(ca);
free_crt:
    gnutls_x509_crt_deinit(crt);
    return tls;
}

int pki_install(const char *state_dir, const char *certificate, const char *ca, const char *ca_key,
                const uint8_t cluster_key[PKI_CLUSTER_KEY_SIZE], struct err *err)
{
    static const char what[] = "cannot install the host's certificate";
    char from[PATH_SIZE], to[PATH_SIZE];
    int tls = check_answer(state_dir, certificate, ca), rc;

    if (tls < 0)
        return fail(err, -EBADMSG, what, tls);
    rc = save(state_dir, "ca.crt", ca, strlen(ca));
    if (rc == 0 && ca_key)
        rc = save(state_dir, "ca.key", ca_key, strlen(ca_key));
    if (rc == 0)
        rc = save(state_dir, "cluster.key", cluster_key, PKI_CLUSTER_KEY_SIZE);
    if (rc == 0)
        rc = pki_path(state_dir, "host.key.new", from, sizeof(from));
    if (rc == 0)
        rc = pki_path(state_dir, "host.key", to, sizeof(to));
    if (rc == 0 && rename(from, to) < 0)
        rc = -errno;
    /* Last: with it, everything is here (it also makes the rename before it durable). */
    if (rc == 0)
        rc = save(state_dir, "host.crt", certificate, strlen(certificate));
    return rc < 0 ? fail(err, rc, what, 0) : 0;
}

/* ---- small readers ---- */

int pki_cluster_key(const char *state_dir, uint8_t ret[PKI_CLUSTER_KEY_SIZE], struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    int rc = load(state_dir, "cluster.key", &data, &size);

    if (rc == 0 && size != PKI_CLUSTER_KEY_SIZE)
        rc = -EBADMSG;
    if (rc == 0)
        memcpy(ret, data, PKI_CLUSTER_KEY_SIZE);
    wipe_free(data, size);
    return rc < 0 ? fail(err, rc, "cannot read the cluster key", 0) : 0;
}

static void to_hex(const unsigned char digest[32], char ret[PKI_FINGERPRINT_SIZE])
{
    sodium_bin2hex(ret, PKI_FINGERPRINT_SIZE, digest, 32);
}

int pki_fingerprint(const char *ca_pem, char ret[PKI_FINGERPRINT_SIZE])
{
    unsigned char digest[32];
    size_t size = sizeof(digest);
    gnutls_x509_crt_t crt;

    if (crt_import(ca_pem, &crt) < 0)
        return -EINVAL;
    if (gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest, &size) < 0)
        size = 0;
    gnutls_x509_crt_deinit(crt);
    if (size != sizeof(digest))
        return -EINVAL;
    to_hex(digest, ret);
    return 0;
}

int pki_ca_fingerprint(const char *state_dir, char ret[PKI_FINGERPRINT_SIZE], struct err *err)
{
    char *pem = NULL;
    int rc = load(state_dir, "ca.crt", &pem, NULL);

    if (rc == 0)
        rc = pki_fingerprint(pem, ret);
    free(pem);
    return rc < 0 ? fail(err, rc, "cannot read the authority's certificate", 0) : 0;
}

int pki_times(const char *state_dir, const char *name, time_t *ret_begin, time_t *ret_end)
{
    gnutls_x509_crt_t crt;
    time_t begin, end;

    if (crt_load(state_dir, name, &crt) < 0)
        return -ENOENT;
    begin = gnutls_x509_crt_get_activation_time(crt);
    end = gnutls_x509_crt_get_expiration_time(crt);
    gnutls_x509_crt_deinit(crt);
    if (begin == (time_t)-1 || end == (time_t)-1)
        return -EINVAL;
    *ret_begin = begin;
    *ret_end = end;
    return 0;
}

bool pki_is_due(time_t begin, time_t end, time_t now)
{
    time_t third = (end - begin) / 3;

    return end - now < (third < PKI_RENEW_SECONDS ? third : PKI_RENEW_SECONDS);
}

int pki_key_id(const char *pem, bool is_request, char ret[PKI_FINGERPRINT_SIZE])
{
    unsigned char digest[32];
    size_t size = sizeof(digest);
    gnutls_x509_crq_t crq;
    gnutls_x509_crt_t crt;
    int tls;

    if (is_request) {
        if (csr_import(pem, &crq) < 0)
            return -EINVAL;
        tls = gnutls_x509_crq_get_key_id(crq, GNUTLS_KEYID_USE_SHA256, digest, &size);
        gnutls_x509_crq_deinit(crq);
    } else {
        if (crt_import(pem, &crt) < 0)
            return -EINVAL;
        tls = gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, digest, &size);
        gnutls_x509_crt_deinit(crt);
    }
    if (tls < 0 || size != sizeof(digest))
        return -EINVAL;
    to_hex(digest, ret);
    return 0;
}
