#include "node/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "node/controllers.h"
#include "node/pki.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define CHECK_MS (10 * 60 * 1000)
#define RETRY_MS (60 * 1000)
#define CALL_TIMEOUT_MS 5000
#define READ_TIMEOUT_MS 3000
#define WARN_SECONDS ((time_t)30 * 86400)
#define TURNS 30

/* ---- this host's own ---- */

static char *read_pem(const struct config *c, const char *name)
{
    char path[400], *text = NULL;

    if (pki_path(c->state_dir, name, path, sizeof(path)) < 0 ||
        file_read(path, PKI_PEM_MAX, &text, NULL) < 0)
        return NULL;
    return text;
}

int certificate_look(struct node *node, struct err *err)
{
    char *pem = read_pem(&node->config, "host.crt");
    time_t begin, end;
    int rc = pem ? pki_key_id(pem, false, node->key_id) : -ENOENT;

    if (rc == 0)
        rc = pki_times(node->config.state_dir, "host.crt", &begin, &end);
    free(pem);
    if (rc < 0)
        return err_why(err, rc, "cannot read this host's certificate", "%s/pki/host.crt: %s",
                       node->config.state_dir, strerror(-rc));
    clock_iso((int64_t)end * 1000, node->certificate_ends, sizeof(node->certificate_ends));
    return 0;
}

static void use_new(struct node *node)
{
    log_info("this host's certificate was renewed: starting again");
    node->restart = true;
    uv_stop(node->loop);
}

static int install(struct node *node, const char *certificate, struct err *err)
{
    uint8_t key[PKI_CLUSTER_KEY_SIZE];
    char *ca = read_pem(&node->config, "ca.crt");
    int rc = ca ? pki_cluster_key(node->config.state_dir, key, err)
                : err_set(err, -ENOENT, "cannot read the authority's certificate", NULL, NULL);

    if (rc == 0)
        rc = pki_install(node->config.state_dir, certificate, ca, NULL, key, err);
    explicit_bzero(key, sizeof(key));
    free(ca);
    return rc;
}

static void on_certificate(void *arg, const struct http_answer *answer)
{
    struct node *node = arg;
    json_t *body;
    struct err err;
    char line[700];

    node->renewing = false;
    if (answer->rc == -ECANCELED)
        return;
    body = answer->rc == 0 ? json_parse(answer->body, answer->size, NULL, 0) : NULL;
    if (answer->rc == 0 && answer->status == 200) {
        if (install(node, json_str(body, "certificate", ""), &err) == 0)
            use_new(node);
        else
            log_error("%s", err_line(&err, line, sizeof(line)));
    } else {
        log_warn("this host's certificate is not renewed yet: %s",
                 answer->rc < 0 ? answer->why : json_str(body, "error", "no answer"));
    }
    json_decref(body);
}

/* One controller after the other, a minute apart. */
static int ask(struct node *node, struct err *err)
{
    const struct config *c = &node->config;
    char *csr = NULL, *text = NULL, url[128];
    json_t *body;
    int rc = pki_request(c->state_dir, c->host, &csr, err);

    if (rc < 0)
        return rc;
    body = json_pack("{s:s}", "csr", csr);
    text = json_dumps(body, JSON_COMPACT);
    snprintf(url, sizeof(url), "https://%s:%d/v1/certificate",
             c->controllers[node->renewals++ % c->controller_count].ip, NODE_PEER_PORT);
    node->renewing = text && http_call(node->peer_client,
                                       &(struct http_call_options){.method = "POST",
                                                                   .url = url,
                                                                   .body = text,
                                                                   .body_size = strlen(text),
                                                                   .timeout_ms = CALL_TIMEOUT_MS,
                                                                   .done = on_certificate,
                                                                   .arg = node});
    json_decref(body);
    free(text);
    free(csr);
    return 0;
}

/* The last third of the time in which it is due is for trying again. */
static bool is_turn(const char *host, time_t begin, time_t end, time_t now)
{
    time_t due = end - (end - begin) / 3, step;
    unsigned turn = 0;

    if (!pki_is_due(begin, end, now))
        return false;
    if (due < end - PKI_RENEW_SECONDS)
        due = end - PKI_RENEW_SECONDS;
    step = (end - due) / 3 / TURNS;
    for (; *host; host++)
        turn = turn * 31 + (unsigned char)*host;
    return now >= due + (time_t)(turn % TURNS) * step;
}

void certificate_check(struct node *node)
{
    const struct config *c = &node->config;
    int64_t now_ms = clock_now_ms();
    time_t begin, end, now = time(NULL);
    struct err err = {0};
    const char *ips[3];
    char line[700];
    int rc = 0;

    if (node->renewing || now_ms < node->renewal_ms ||
        pki_times(c->state_dir, "host.crt", &begin, &end) < 0)
        return;
    node->renewal_ms = now_ms + CHECK_MS;
    config_own_ips(c, ips);
    /* etcd reads its files whenever it needs them. */
    if (node->etcd)
        rc = pki_issue_member(c->state_dir, c->host, ips, &err);
    if (rc == 0 && is_turn(c->host, begin, end, now)) {
        node->renewal_ms = now_ms + RETRY_MS;
        if (end - now < WARN_SECONDS)
            log_warn("this host's certificate ends at %s", node->certificate_ends);
        if (!node->controller)
            rc = ask(node, &err);
        else if ((rc = pki_issue_self(c->state_dir, c->host, ips, &err)) == 0)
            use_new(node);
    }
    if (rc < 0)
        log_error("%s", err_line(&err, line, sizeof(line)));
}

/* ---- others' ---- */

struct pending {
    struct node *node;
    struct http_request *request;
    char host[64];
    json_t *body;
};

/* Is an address of the row another host's, or another controller's? */
static bool is_others(struct node *node, const char *host, const char *const *ips)
{
    json_t *value = controllers_value(node, NULL), *item;
    bool others = false;
    size_t k;

    for (size_t i = 0; ips[i] && !others; i++) {
        others = mirror_count(node->mirror, "host",
                              "WHERE id != ? AND ? IN (json_extract(body, '$.mgmt_ip'), "
                              "json_extract(body, '$.storage_ip'))",
                              "ss", host, ips[i]) > 0;
        json_array_foreach(json_object_get(value, "controllers"), k, item)
        {
            if (strcmp(json_str(item, "ip", ""), ips[i]) == 0)
                others = others || strcmp(json_str(item, "host", ""), host) != 0;
        }
    }
    json_decref(value);
    return others;
}

static void issue(struct node *node, struct http_request *request, const char *host,
                  const char *csr)
{
    json_t *row = mirror_get(node->mirror, "host", host, NULL);
    const char *mgmt = json_str(row, "mgmt_ip", ""), *storage = json_str(row, "storage_ip", "");
    const char *ips[] = {mgmt, storage[0] && strcmp(mgmt, storage) != 0 ? storage : NULL, NULL};
    char key_id[PKI_FINGERPRINT_SIZE], *certificate = NULL;
    struct err err = {0};

    if (pki_key_id(csr, true, key_id) < 0) {
        admin_error(request, 400, "the body must be {\"csr\": a certificate request}");
    } else if (strcmp(json_str(row, "key_id", ""), key_id) != 0) {
        admin_error(request, 409, "this host is known by another key");
    } else if (is_others(node, host, ips)) {
        admin_error(request, 409, "an address of this host is another host's, too");
    } else if (pki_sign(node->config.state_dir, csr, host, ips, &certificate, &err) < 0) {
        admin_error(request, err.code == -EPERM ? 403 : 500, err.why);
    } else {
        log_info("the certificate of host %s was renewed", host);
        admin_reply(request, 200, json_pack("{s:s}", "certificate", certificate));
    }
    free(certificate);
    json_decref(row);
}

static void on_read(void *arg, int rc)
{
    struct pending *p = arg;

    if (rc < 0)
        admin_error(p->request, 503, "the store cannot be reached: try again");
    else
        issue(p->node, p->request, p->host, json_str(p->body, "csr", ""));
    json_decref(p->body);
    free(p);
}

bool certificate_serve(struct node *node, struct http_request *request)
{
    const char *who = http_client_name(request), *text;
    struct pending *p;
    size_t size;

    if (strcmp(http_path(request), "/v1/certificate") != 0)
        return false;
    if (strcmp(http_method(request), "POST") != 0 || !who || strlen(who) >= sizeof(p->host)) {
        admin_error(request, 400, "POST is expected, from a host");
    } else if (!node->controller) {
        admin_error(request, 503, "this host is no controller");
    } else if (!(p = calloc(1, sizeof(*p)))) {
        admin_error(request, 503, "out of memory");
    } else {
        p->node = node;
        p->request = request;
        snprintf(p->host, sizeof(p->host), "%s", who);
        text = http_body(request, &size);
        p->body = json_parse(text, size, NULL, 0);
        mirror_barrier(node->mirror, READ_TIMEOUT_MS, on_read, p);
    }
    return true;
}
