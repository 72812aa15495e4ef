/* Tokens and the server's side; the client's side is join_client.c. */
#include "node/join.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "io/http_server.h"
#include "node/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_PREFIX "vling1."
#define TOKENS_FILE_MAX 8192
#define BODY_MAX 32768
#define CONNECTIONS_MAX 64
#define IDLE_SECONDS 20
/* A wrong secret is answered after this, so that guessing is slow (it is hopeless anyway). */
#define REFUSE_DELAY_MS 1000
#define PATH_SIZE 512

/* ---- tokens ---- */

static bool is_fingerprint(const char *text)
{
    return strlen(text) == PKI_FINGERPRINT_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == PKI_FINGERPRINT_SIZE - 1;
}

/* The fingerprint may be missing; then it is "". */
static int parse_loosely(const char *text, struct join_token *ret)
{
    struct join_token token = {0};
    const char *end, *dot;
    size_t size = 0;

    if (strncmp(text, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0)
        return -EINVAL;
    text += strlen(TOKEN_PREFIX);
    dot = strchr(text, '.');
    if (sodium_base642bin(token.secret, sizeof(token.secret), text,
                          dot ? (size_t)(dot - text) : strlen(text), NULL, &size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        size != sizeof(token.secret) || end != (dot ? dot : text + strlen(text)))
        return -EINVAL;
    if (dot && dot[1]) {
        if (!is_fingerprint(dot + 1))
            return -EINVAL;
        memcpy(token.fingerprint, dot + 1, PKI_FINGERPRINT_SIZE);
    }
    *ret = token;
    return 0;
}

int join_token_parse(const char *text, struct join_token *ret)
{
    struct join_token token;

    if (parse_loosely(text, &token) < 0 || !token.fingerprint[0])
        return -EINVAL;
    *ret = token;
    return 0;
}

void join_token_format(const struct join_token *token, char ret[JOIN_TOKEN_SIZE])
{
    char secret[32];

    sodium_bin2base64(secret, sizeof(secret), token->secret, sizeof(token->secret),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(ret, JOIN_TOKEN_SIZE, TOKEN_PREFIX "%s.%s", secret, token->fingerprint);
}

void join_token_hash(const uint8_t secret[JOIN_SECRET_SIZE], char ret[JOIN_HASH_SIZE])
{
    unsigned char digest[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(digest, secret, JOIN_SECRET_SIZE);
    sodium_bin2hex(ret, JOIN_HASH_SIZE, digest, sizeof(digest));
}

int join_tokens_read(const char *state_dir, struct join_token *ret, size_t max)
{
    char path[PATH_SIZE], *text = NULL, *rest, *line;
    size_t size = 0, count = 0;
    int rc = pki_path(state_dir, "join.token", path, sizeof(path));

    if (rc == 0)
        rc = file_read(path, TOKENS_FILE_MAX, &text, &size);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    for (line = strtok_r(text, "\n", &rest); line && count < max;
         line = strtok_r(NULL, "\n", &rest)) {
        if (join_token_parse(line, &ret[count]) == 0)
            count++;
    }
    sodium_memzero(text, size);
    free(text);
    return (int)count;
}

static int write_tokens(const char *state_dir, const struct join_token *tokens, size_t count)
{
    char path[PATH_SIZE], text[JOIN_TOKENS_MAX * (JOIN_TOKEN_SIZE + 1)] = "";
    size_t len = 0;
    int rc = pki_path(state_dir, "join.token", path, sizeof(path));

    for (size_t i = 0; i < count && i < JOIN_TOKENS_MAX; i++) {
        char line[JOIN_TOKEN_SIZE];

        join_token_format(&tokens[i], line);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", line);
    }
    if (rc == 0)
        rc = file_write_atomic(path, text, len, 0600);
    sodium_memzero(text, sizeof(text));
    return rc;
}

static int add_token(const char *state_dir, const struct join_token *token)
{
    struct join_token tokens[JOIN_TOKENS_MAX];
    int count = join_tokens_read(state_dir, tokens, JOIN_TOKENS_MAX);

    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        if (sodium_memcmp(tokens[i].secret, token->secret, sizeof(token->secret)) == 0)
            return 0;
    }
    if (count == JOIN_TOKENS_MAX)
        return -ENOSPC;
    tokens[count] = *token;
    return write_tokens(state_dir, tokens, (size_t)count + 1);
}

int join_token_get(const char *state_dir, char ret[JOIN_TOKEN_SIZE], struct err *err)
{
    struct join_token token = {0};
    int count, rc;

    if (sodium_init() < 0)
        return err_why(err, -EIO, "cannot make a join token", "libsodium does not start");
    count = join_tokens_read(state_dir, &token, 1);
    if (count == 0) {
        rc = pki_ca_fingerprint(state_dir, token.fingerprint, err);
        if (rc < 0)
            return rc;
        randombytes_buf(token.secret, sizeof(token.secret));
        count = write_tokens(state_dir, &token, 1);
    }
    if (count < 0)
        return err_why(err, count, "cannot keep the join token", "%s", strerror(-count));
    join_token_format(&token, ret);
    return 0;
}

int join_token_adopt(const char *state_dir, const char *text, struct err *err)
{
    static const char what[] = "cannot take over the join token";
    char fingerprint[PKI_FINGERPRINT_SIZE];
    struct join_token token;
    int rc;

    if (sodium_init() < 0 || parse_loosely(text, &token) < 0)
        return err_set(err, -EINVAL, what, "it has not the form vling1.<secret>.<fingerprint>", "");
    rc = pki_ca_fingerprint(state_dir, fingerprint, err);
    if (rc < 0)
        return rc;
    if (token.fingerprint[0] && strcmp(token.fingerprint, fingerprint) != 0)
        return err_set(err, -EINVAL, what, "it belongs to another cloud", "");
    memcpy(token.fingerprint, fingerprint, sizeof(fingerprint));
    rc = add_token(state_dir, &token);
    return rc < 0 ? err_why(err, rc, what, "%s", strerror(-rc)) : 0;
}

/* ---- the server ---- */

struct join_server {
    uv_loop_t *loop;
    struct http_server *http;
    char state_dir[PATH_SIZE];
    const char *const *controllers;
    void (*settle)(void *arg, void (*go_on)(void *go_arg, int rc), void *go_arg);
    enum join_verdict (*judge)(void *arg, const struct join_candidate *candidate);
    void *arg;
};

struct refusal {
    uv_timer_t timer;
    struct http_request *request;
};

static void reply_error(struct http_request *request, unsigned status, const char *why)
{
    json_t *body = json_pack("{s:s}", "error", why);
    char *text = json_dumps(body, JSON_COMPACT);

    http_reply_header(request, "Content-Type", "application/json");
    http_reply(request, status, text, text ? strlen(text) : 0);
    free(text);
    json_decref(body);
}

static void on_refusal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_refuse(uv_timer_t *timer)
{
    struct refusal *refusal = timer->data;

    reply_error(refusal->request, 403, "the token is not valid");
    uv_close((uv_handle_t *)timer, on_refusal_closed);
}

static void refuse_later(struct join_server *server, struct http_request *request)
{
    struct refusal *refusal = calloc(1, sizeof(*refusal));

    if (!refusal) {
        reply_error(request, 403, "the token is not valid");
        return;
    }
    refusal->request = request;
    uv_timer_init(server->loop, &refusal->timer);
    refusal->timer.data = refusal;
    uv_timer_start(&refusal->timer, on_refuse, REFUSE_DELAY_MS, 0);
}

/* `ret_hash` of the secret that was shown; is it one of the file? -EINVAL: it is none at all. */
static int look_at_secret(struct join_server *server, const char *text, bool *ret_in_file,
                          char ret_hash[JOIN_HASH_SIZE])
{
    struct join_token tokens[JOIN_TOKENS_MAX];
    uint8_t secret[JOIN_SECRET_SIZE] = {0};
    size_t size = 0;
    int count;

    if (sodium_base642bin(secret, sizeof(secret), text, strlen(text), NULL, &size, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        size != sizeof(secret))
        return -EINVAL;
    *ret_in_file = false;
    count = join_tokens_read(server->state_dir, tokens, JOIN_TOKENS_MAX);
    /* All are compared, whichever matches. */
    for (int i = 0; i < count; i++)
        *ret_in_file |= sodium_memcmp(tokens[i].secret, secret, sizeof(secret)) == 0;
    sodium_memzero(tokens, sizeof(tokens));
    join_token_hash(secret, ret_hash);
    return 0;
}

static int read_ips(const json_t *body, const char *ret[PKI_IPS_MAX + 1])
{
    json_t *list = json_object_get(body, "ips"), *item;
    unsigned char bytes[16];
    size_t i;

    memset(ret, 0, (PKI_IPS_MAX + 1) * sizeof(*ret));
    if (json_array_size(list) > PKI_IPS_MAX)
        return -EINVAL;
    json_array_foreach(list, i, item)
    {
        const char *ip = json_string_value(item);

        if (!ip || inet_pton(strchr(ip, ':') ? AF_INET6 : AF_INET, ip, bytes) != 1)
            return -EINVAL;
        ret[i] = ip;
    }
    return 0;
}

static bool is_controller(const struct join_server *server, const char *host)
{
    for (size_t i = 0; server->controllers && server->controllers[i]; i++) {
        if (strcmp(server->controllers[i], host) == 0)
            return true;
    }
    return false;
}

/* Adds a file of pki/ as text; false if it cannot be read. */
static bool put_file(struct join_server *server, json_t *answer, const char *key, const char *name)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;

    if (pki_path(server->state_dir, name, path, sizeof(path)) < 0 ||
        file_read(path, PKI_PEM_MAX, &text, &size) < 0)
        return false;
    json_put_str(answer, key, text);
    sodium_memzero(text, size);
    free(text);
    return true;
}

static bool put_cluster_key(struct join_server *server, json_t *answer)
{
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    char text[64];

    if (pki_cluster_key(server->state_dir, key, NULL) < 0)
        return false;
    sodium_bin2base64(text, sizeof(text), key, sizeof(key), sodium_base64_VARIANT_ORIGINAL);
    json_put_str(answer, "cluster_key", text);
    sodium_memzero(key, sizeof(key));
    sodium_memzero(text, sizeof(text));
    return true;
}

/* Did this controller's store take part in a cluster? Then one that comes now is not there to found
 * it (store/etcd_heal.h). */
static bool is_founded(const struct join_server *server)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%s/etcd.joined", server->state_dir);
    return access(path, F_OK) == 0;
}

/* The list of controllers, if it is not any more what the configurations say. */
static void put_list(struct join_server *server, json_t *answer)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    json_t *list;

    snprintf(path, sizeof(path), "%s/controllers.json", server->state_dir);
    if (file_read(path, PKI_PEM_MAX, &text, &size) < 0)
        return;
    list = json_parse(text, size, NULL, 0);
    if (list)
        json_object_set_new(answer, "controllers", list);
    free(text);
}

static json_t *make_answer(struct join_server *server, const char *host, const char *certificate)
{
    json_t *answer = json_object();
    bool complete;

    json_put_str(answer, "certificate", certificate);
    json_put_bool(answer, "founded", is_founded(server));
    json_put_bool(answer, "members_only", pki_members_only(server->state_dir));
    put_list(server, answer);
    complete = put_file(server, answer, "ca", "ca.crt") && put_cluster_key(server, answer);
    if (complete && is_controller(server, host))
        complete = put_file(server, answer, "ca_key", "ca.key") &&
                   put_file(server, answer, "tokens", "join.token");
    if (complete)
        return answer;
    json_decref(answer);
    return NULL;
}

static enum join_verdict judge(struct join_server *server, const json_t *body, const char *key_id)
{
    char hash[JOIN_HASH_SIZE];
    struct join_candidate candidate = {
        .host = json_str(body, "host", ""), .key_id = key_id, .token_hash = hash};

    if (look_at_secret(server, json_str(body, "secret", ""), &candidate.in_file, hash) < 0)
        return JOIN_BAD_TOKEN;
    if (server->judge)
        return server->judge(server->arg, &candidate);
    return candidate.in_file ? JOIN_ADMIT : JOIN_BAD_TOKEN;
}

static void sign_for(struct join_server *server, struct http_request *request, const json_t *body,
                     const char *const *ips)
{
    const char *host = json_str(body, "host", ""), *csr = json_str(body, "csr", "");
    char *certificate = NULL, *text = NULL;
    json_t *answer = NULL;
    struct err err = {0};

    if (pki_sign(server->state_dir, csr, host, ips, &certificate, &err) < 0) {
        reply_error(request, err.code == -EPERM || err.code == -EINVAL ? 400 : 500, err.why);
        return;
    }
    answer = make_answer(server, host, certificate);
    text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (text) {
        http_reply_header(request, "Content-Type", "application/json");
        http_reply(request, 200, text, strlen(text));
        log_info("host %s joined from %s", host, http_client_ip(request));
        sodium_memzero(text, strlen(text));
    } else {
        reply_error(request, 500, "this controller's keys cannot be read");
    }
    free(text);
    json_decref(answer);
    free(certificate);
}

/* A request that waits for what it is judged by. */
struct asking {
    struct join_server *server;
    struct http_request *request;
    json_t *body;
};

static void let_in(struct join_server *server, struct http_request *request, const json_t *body)
{
    const char *ips[PKI_IPS_MAX + 1];
    char key_id[PKI_FINGERPRINT_SIZE] = "";
    bool sound =
        read_ips(body, ips) == 0 && pki_key_id(json_str(body, "csr", ""), true, key_id) == 0;

    switch (judge(server, body, key_id)) {
    case JOIN_BAD_TOKEN:
        log_warn("a host at %s tried to join with a wrong token", http_client_ip(request));
        refuse_later(server, request);
        break;
    case JOIN_NAME_TAKEN:
        log_warn("a host at %s tried to join by the name %.63s of another one",
                 http_client_ip(request), json_str(body, "host", ""));
        reply_error(request, 409,
                    "a host of this name is a member already, with another key: if it was "
                    "installed anew, run on a controller: vling token create --host NAME");
        break;
    case JOIN_ADMIT:
        if (sound)
            sign_for(server, request, body, ips);
        else
            reply_error(request, 400, "host, csr and ips are needed, ips at most 8 addresses");
        break;
    }
}

static void on_settled(void *arg, int rc)
{
    struct asking *asking = arg;

    if (rc < 0)
        reply_error(asking->request, 503, "the store cannot be reached: try again");
    else
        let_in(asking->server, asking->request, asking->body);
    json_decref(asking->body);
    free(asking);
}

static void on_request(void *arg, struct http_request *request)
{
    struct join_server *server = arg;
    size_t size = 0;
    const char *text = http_body(request, &size);
    struct asking *asking;
    json_t *body;

    if (strcmp(http_path(request), "/join") != 0) {
        reply_error(request, 404, "only /join is here");
        return;
    }
    if (strcmp(http_method(request), "POST") != 0) {
        reply_error(request, 405, "POST is expected");
        return;
    }
    body = http_body_error(request) == 0 && text ? json_parse(text, size, NULL, 0) : NULL;
    asking = json_is_object(body) ? malloc(sizeof(*asking)) : NULL;
    if (!asking) {
        reply_error(request, 400, "a JSON object is expected");
        json_decref(body);
        return;
    }
    *asking = (struct asking){server, request, body};
    if (server->settle)
        server->settle(server->arg, on_settled, asking);
    else
        on_settled(asking, 0);
}

/* The joining host does not have the authority's certificate yet: the server must show it too. */
static int write_chain(const char *state_dir, char *ret_path, size_t size)
{
    char path[PATH_SIZE], *host = NULL, *ca = NULL, *chain = NULL;
    int rc = pki_path(state_dir, "host.crt", path, sizeof(path));

    if (rc == 0)
        rc = file_read(path, PKI_PEM_MAX, &host, NULL);
    if (rc == 0)
        rc = pki_path(state_dir, "ca.crt", path, sizeof(path));
    if (rc == 0)
        rc = file_read(path, PKI_PEM_MAX, &ca, NULL);
    if (rc == 0)
        rc = pki_path(state_dir, "join.chain", ret_path, size);
    if (rc == 0)
        rc = asprintf(&chain, "%s%s", host, ca) < 0 ? -ENOMEM : 0;
    if (rc == 0)
        rc = file_write_atomic(ret_path, chain, strlen(chain), 0600);
    free(host);
    free(ca);
    free(chain);
    return rc;
}

struct join_server *join_server_start(uv_loop_t *loop, const struct join_server_options *options,
                                      struct err *err)
{
    struct join_server *server = calloc(1, sizeof(*server));
    char chain[PATH_SIZE], key[PATH_SIZE];
    struct http_server_options http = {.address = options->address,
                                       .port = options->port,
                                       .cert_file = chain,
                                       .key_file = key,
                                       .body_max = BODY_MAX,
                                       .connections_max = CONNECTIONS_MAX,
                                       .idle_seconds = IDLE_SECONDS,
                                       .handle = on_request,
                                       .arg = server};
    int rc = server ? 0 : -ENOMEM;

    if (rc == 0 && sodium_init() < 0)
        rc = -EIO;
    if (rc == 0)
        rc = write_chain(options->state_dir, chain, sizeof(chain));
    if (rc == 0)
        rc = pki_path(options->state_dir, "host.key", key, sizeof(key));
    if (rc < 0) {
        err_why(err, rc, "cannot start listening for hosts that join", "%s", strerror(-rc));
        free(server);
        return NULL;
    }
    server->loop = loop;
    snprintf(server->state_dir, sizeof(server->state_dir), "%s", options->state_dir);
    server->controllers = options->controllers;
    server->settle = options->settle;
    server->judge = options->judge;
    server->arg = options->arg;
    server->http = http_server_start(loop, &http, err);
    if (!server->http) {
        free(server);
        return NULL;
    }
    return server;
}

uint16_t join_server_port(const struct join_server *server)
{
    return http_server_port(server->http);
}

void join_server_stop(struct join_server *server)
{
    if (!server)
        return;
    http_server_stop(server->http);
    free(server);
}
