/* The joining host's side. Two connections: the first one takes the authority's certificate that
 * the controller shows and compares its hash with the token's; the second one trusts that authority
 * only and carries the request. So nothing secret is sent before the controller has proved who it
 * is. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "io/address.h"
#include "node/controllers.h"
#include "node/join.h"
#include "node/pki.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define CALL_MS 8000
#define TOTAL_MS 60000
#define PAUSE_MS 500
#define ANSWER_MAX 131072
#define PATH_SIZE 512

struct endpoint {
    char ip[64];
    uint16_t port;
};

static int parse_endpoint(const char *text, struct endpoint *ret)
{
    const char *colon = strrchr(text, ':'), *end = text + strlen(text);
    bool v6 = strchr(text, ':') != colon;

    ret->port = JOIN_PORT;
    /* "[2001:db8::1]:7701", "2001:db8::1", "10.0.0.1:7701", "10.0.0.1" */
    if (text[0] == '[') {
        end = strchr(text++, ']');
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        colon = end[1] ? end + 1 : NULL;
    } else if (v6) {
        colon = NULL;
    } else if (colon) {
        end = colon;
    }
    if (colon) {
        char *rest;
        long port = strtol(colon + 1, &rest, 10);

        if (*rest || port <= 0 || port > 65535)
            return -EINVAL;
        ret->port = (uint16_t)port;
    }
    if (end == text || (size_t)(end - text) >= sizeof(ret->ip))
        return -EINVAL;
    memcpy(ret->ip, text, (size_t)(end - text));
    ret->ip[end - text] = '\0';
    return 0;
}

static int connect_to(const struct endpoint *endpoint)
{
    struct sockaddr_storage address;
    socklen_t size;
    struct timeval patience = {.tv_sec = CONNECT_MS / 1000};
    struct pollfd wait = {.events = POLLOUT};
    int fd, why = 0;

    if (address_parse(endpoint->ip, endpoint->port, &address, &size) < 0)
        return -EINVAL;
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    wait.fd = fd;
    if (connect(fd, (struct sockaddr *)&address, size) < 0) {
        why = errno;
        if (why == EINPROGRESS) {
            size = sizeof(why);
            if (poll(&wait, 1, CONNECT_MS) != 1)
                why = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) < 0)
                why = errno;
        }
    }
    if (why == 0 && fcntl(fd, F_SETFL, 0) < 0)
        why = errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (why == 0)
        return fd;
    close(fd);
    return -why;
}

/* The certificate among those shown that the token names, as PEM. */
static int find_pinned(gnutls_session_t session, const char *fingerprint, char **ret_pem)
{
    unsigned count = 0;
    const gnutls_datum_t *shown = gnutls_certificate_get_peers(session, &count);

    for (unsigned i = 0; shown && i < count && i < 8; i++) {
        unsigned char digest[crypto_hash_sha256_BYTES];
        char hex[PKI_FINGERPRINT_SIZE];
        gnutls_datum_t pem = {0};

        crypto_hash_sha256(digest, shown[i].data, shown[i].size);
        sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
        if (strcmp(hex, fingerprint) != 0)
            continue;
        if (gnutls_pem_base64_encode2("CERTIFICATE", &shown[i], &pem) < 0)
            return -ENOMEM;
        *ret_pem = strndup((char *)pem.data, pem.size);
        gnutls_free(pem.data);
        return *ret_pem ? 0 : -ENOMEM;
    }
    return -EACCES;
}

static int fetch_ca(const struct endpoint *endpoint, const char *fingerprint, char **ret_pem)
{
    gnutls_certificate_credentials_t credentials = NULL;
    gnutls_session_t session = NULL;
    int fd = connect_to(endpoint), rc = -EIO, tls;

    if (fd < 0)
        return fd;
    if (gnutls_certificate_allocate_credentials(&credentials) < 0)
        goto out;
    if (gnutls_init(&session, GNUTLS_CLIENT) < 0)
        goto out;
    gnutls_set_default_priority(session);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, CONNECT_MS);
    do
        tls = gnutls_handshake(session);
    while (tls < 0 && tls != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(tls));
    rc = tls < 0 ? -EPROTO : find_pinned(session, fingerprint, ret_pem);
out:
    if (session)
        gnutls_deinit(session);
    if (credentials)
        gnutls_certificate_free_credentials(credentials);
    close(fd);
    return rc;
}

/* ---- the request ---- */

struct answer {
    char *data;
    size_t len;
};

static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
    struct answer *answer = arg;
    char *more;

    size *= n;
    if (size > ANSWER_MAX - answer->len)
        return 0;
    more = realloc(answer->data, answer->len + size + 1);
    if (!more)
        return 0;
    memcpy(more + answer->len, bytes, size);
    answer->data = more;
    answer->len += size;
    more[answer->len] = '\0';
    return size;
}

/* The HTTP status, or -errno. */
static long post(const struct endpoint *endpoint, const char *ca_file, const char *body,
                 struct answer *answer, char why[CURL_ERROR_SIZE])
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *curl = curl_easy_init();
    char url[128];
    long status = -ENOMEM;

    if (curl && headers) {
        snprintf(url, sizeof(url),
                 strchr(endpoint->ip, ':') ? "https://[%s]:%u/join" : "https://%s:%u/join",
                 endpoint->ip, endpoint->port);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)CALL_MS);
        status = -EIO;
        if (curl_easy_perform(curl) == CURLE_OK)
            curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_slist_free_all(headers);
    if (curl)
        curl_easy_cleanup(curl);
    return status;
}

static char *make_body(const struct join_request *request, const struct join_token *token,
                       const char *csr)
{
    char secret[32], *text;
    json_t *body = json_object(), *ips = json_array();

    sodium_bin2base64(secret, sizeof(secret), token->secret, sizeof(token->secret),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    for (size_t i = 0; request->ips && request->ips[i] && i < PKI_IPS_MAX; i++) {
        if (request->ips[i][0])
            json_array_append_new(ips, json_string(request->ips[i]));
    }
    json_put_str(body, "host", request->host);
    json_put_str(body, "secret", secret);
    json_put_str(body, "csr", csr);
    json_object_set_new(body, "ips", ips);
    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static int install(const struct join_request *request, const char *pinned, const json_t *body,
                   struct err *err)
{
    static const char what[] = "cannot use the controller's answer";
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    const char *text = json_str(body, "cluster_key", ""), *rest, *tokens;
    const char *ca_key = json_str(body, "ca_key", NULL);
    const json_t *list = json_object_get(body, "controllers");
    char path[PATH_SIZE];
    size_t size = 0;
    int rc;

    if (sodium_base642bin(key, sizeof(key), text, strlen(text), NULL, &size, &rest,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        size != sizeof(key))
        return err_set(err, -EBADMSG, what, "the cluster key is missing", "");
    if (request->controller && !ca_key && !list)
        return err_set(err, -EPERM, what,
                       "this host is no controller in the configuration of the others",
                       "name it under \"controllers\" in their vlingd.json");
    if (list && (rc = controllers_save(request->state_dir, list, err)) < 0)
        return rc;
    if (ca_key && json_bool(body, "founded", false)) {
        snprintf(path, sizeof(path), "%s/etcd.joined", request->state_dir);
        rc = file_write_atomic(path, "1\n", 2, 0600);
        if (rc < 0)
            return err_why(err, rc, what, "%s", strerror(-rc));
    }
    tokens = json_str(body, "tokens", NULL);
    if (tokens) {
        rc = pki_path(request->state_dir, "join.token", path, sizeof(path));
        if (rc == 0)
            rc = file_write_atomic(path, tokens, strlen(tokens), 0600);
        if (rc < 0)
            return err_why(err, rc, what, "%s", strerror(-rc));
    }
    if (ca_key && json_bool(body, "members_only", false)) {
        rc = pki_set_members_only(request->state_dir);
        if (rc < 0)
            return err_why(err, rc, what, "%s", strerror(-rc));
    }
    rc = pki_install(request->state_dir, json_str(body, "certificate", ""), pinned, ca_key, key,
                     err);
    sodium_memzero(key, sizeof(key));
    return rc;
}

/* ---- trying ---- */

struct attempt {
    const struct join_request *request;
    struct join_token token;
    char *body;
    char ca_file[PATH_SIZE]; /* the pinned authority, while joining */
};

static int judge(long status, const struct answer *answer, const char *curl_why,
                 const struct endpoint *endpoint, json_t **ret_body, struct err *err)
{
    json_t *body = answer->data ? json_parse(answer->data, answer->len, NULL, 0) : NULL;
    int rc;

    if (status == 200 && json_is_object(body)) {
        *ret_body = body;
        return 0;
    }
    if (status == 403 || status == 400 || status == 409)
        rc = err_why(err, -EPERM, "the controller did not let this host in", "%s: %s", endpoint->ip,
                     json_str(body, "error", "no reason given"));
    else if (status < 0)
        rc = err_why(err, -EAGAIN, "cannot reach a controller", "%s: %s", endpoint->ip, curl_why);
    else
        rc = err_why(err, -EAGAIN, "the controller could not answer", "%s: status %ld: %s",
                     endpoint->ip, status, json_str(body, "error", ""));
    json_decref(body);
    return rc;
}

static int try_endpoint(struct attempt *attempt, const char *text, struct err *err)
{
    struct endpoint endpoint;
    struct answer answer = {0};
    char why[CURL_ERROR_SIZE] = "", *ca = NULL;
    json_t *body = NULL;
    int rc = parse_endpoint(text, &endpoint);

    if (rc < 0)
        return err_why(err, -EINVAL, "cannot join", "\"%s\" is no address", text);
    rc = fetch_ca(&endpoint, attempt->token.fingerprint, &ca);
    if (rc == -EACCES)
        return err_why(err, -EAGAIN, "cannot join", "%s does not belong to the token's cloud",
                       endpoint.ip);
    if (rc < 0)
        return err_why(err, -EAGAIN, "cannot reach a controller", "%s port %u: %s", endpoint.ip,
                       endpoint.port, strerror(-rc));
    rc = file_write_atomic(attempt->ca_file, ca, strlen(ca), 0600);
    if (rc < 0) {
        err_why(err, rc, "cannot join", "%s: %s", attempt->ca_file, strerror(-rc));
        goto out;
    }
    rc = judge(post(&endpoint, attempt->ca_file, attempt->body, &answer, why), &answer, why,
               &endpoint, &body, err);
    if (rc == 0)
        rc = install(attempt->request, ca, body, err);
    json_decref(body);
out:
    if (answer.data)
        sodium_memzero(answer.data, answer.len);
    free(answer.data);
    free(ca);
    return rc;
}

static int try_all(struct attempt *attempt, struct err *err)
{
    const char *const *endpoints = attempt->request->endpoints;
    int total = attempt->request->timeout_ms > 0 ? attempt->request->timeout_ms : TOTAL_MS;
    int64_t end = clock_now_ms() + total;

    for (;;) {
        for (size_t i = 0; endpoints[i]; i++) {
            int rc = try_endpoint(attempt, endpoints[i], err);

            if (rc != -EAGAIN)
                return rc;
            if (clock_now_ms() >= end)
                return err ? (err->code = -ETIMEDOUT) : -ETIMEDOUT;
        }
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

int join_run(const struct join_request *request, struct err *err)
{
    struct attempt attempt = {.request = request};
    char *csr = NULL;
    int rc;

    if (sodium_init() < 0 || join_token_parse(request->token, &attempt.token) < 0)
        return err_set(err, -EINVAL, "cannot join",
                       "the token has not the form "
                       "vling1.<secret>.<fingerprint>",
                       "copy it whole from a controller");
    if (!request->endpoints || !request->endpoints[0])
        return err_set(err, -EINVAL, "cannot join", "no controller is named", "");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    rc = pki_request(request->state_dir, request->host, &csr, err);
    if (rc < 0)
        return rc;
    rc = pki_path(request->state_dir, "ca.joining", attempt.ca_file, sizeof(attempt.ca_file));
    attempt.body = make_body(request, &attempt.token, csr);
    if (rc == 0 && attempt.body)
        rc = try_all(&attempt, err);
    else
        rc = err_set(err, -ENOMEM, "cannot join", "out of memory", "");
    unlink(attempt.ca_file);
    if (attempt.body)
        sodium_memzero(attempt.body, strlen(attempt.body));
    free(attempt.body);
    free(csr);
    return rc;
}
