#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "model/backup.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MAX (256 * 1024)
#define CANDIDATES_MAX 8
#define PAUSE_MS 300 /* before all are asked again */

/* One host that can be asked, and the files that prove who we are. */
struct target {
    char ip[64], pki[PATH_MAX];
};

struct cli_daemon {
    struct target target[CANDIDATES_MAX];
    size_t count, current;
    int64_t patience_ms;
    CURL *curl;
};

/* The list of controllers as it was changed while running, beside the folder of certificates. */
static json_t *saved_controllers(const char *pki)
{
    char path[PATH_MAX + 32], *text = NULL;
    json_t *saved;
    size_t size;

    snprintf(path, sizeof(path), "%s/../controllers.json", pki);
    if (file_read(path, CONFIG_MAX, &text, &size) < 0)
        return NULL;
    saved = json_parse(text, size, NULL, 0);
    free(text);
    return saved;
}

/* They answer when this host's own daemon does not. */
static void take_controllers(struct cli_daemon *daemon, const json_t *controllers)
{
    const struct target own = daemon->target[0];
    const json_t *one;
    size_t i;

    json_array_foreach(controllers, i, one)
    {
        const char *ip = json_str(one, "ip", "");

        if (daemon->count == 0 || daemon->count == CANDIDATES_MAX || strcmp(ip, own.ip) == 0)
            continue;
        daemon->target[daemon->count] = own;
        snprintf(daemon->target[daemon->count++].ip, sizeof(own.ip), "%s", ip);
    }
}

/* The host that `path` configures; `pki` NULL: its certificates are where it says. */
static int take_target(const char *path, const char *pki, struct cli_daemon *daemon)
{
    struct target *ret = &daemon->target[0];
    char *text = NULL;
    json_t *config, *saved;
    size_t size;
    int rc = file_read(path, CONFIG_MAX, &text, &size);

    if (rc < 0)
        return rc;
    config = json_parse(text, size, NULL, 0);
    free(text);
    snprintf(ret->ip, sizeof(ret->ip), "%s", json_str(json_object_get(config, "mgmt"), "ip", ""));
    if (pki)
        snprintf(ret->pki, sizeof(ret->pki), "%s", pki);
    else
        snprintf(ret->pki, sizeof(ret->pki), "%s/pki",
                 json_str(config, "state_dir", "/var/lib/vling"));
    daemon->count = ret->ip[0] ? 1 : 0;
    saved = saved_controllers(ret->pki);
    take_controllers(daemon, json_object_get(saved ? saved : config, "controllers"));
    json_decref(saved);
    json_decref(config);
    return daemon->count ? 0 : -EINVAL;
}

/* The newest list of controllers that a host of the lab saved; NULL: it never changed. */
static json_t *lab_controllers(const struct lab *lab)
{
    json_t *newest = NULL;

    for (size_t i = 0; i < lab->count; i++) {
        char pki[PATH_MAX];
        json_t *saved;

        snprintf(pki, sizeof(pki), LAB_DIR "/hosts/%s/lib/pki", lab->host[i].name);
        saved = saved_controllers(pki);
        if (json_int(saved, "serial", 0) > json_int(newest, "serial", 0)) {
            json_decref(newest);
            newest = json_incref(saved);
        }
        json_decref(saved);
    }
    return newest;
}

static bool in_list(const json_t *value, const char *host)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(value, "controllers"), i, one)
    {
        if (strcmp(json_str(one, "host", ""), host) == 0)
            return true;
    }
    return false;
}

/* A controller: not every host is let do everything. */
static int lab_targets(struct cli_daemon *daemon, struct err *err)
{
    struct lab lab;
    char path[PATH_MAX], pki[PATH_MAX];
    json_t *list;
    int rc = lab_load(&lab, err);

    if (rc < 0)
        return rc;
    list = lab_controllers(&lab);
    for (size_t i = 0; i < lab.count && daemon->count == 0; i++) {
        const struct lab_host *host = &lab.host[i];

        if (!lab_host_alive(host) ||
            !(list ? in_list(list, host->name) : lab_is_controller(&lab, host)))
            continue;
        snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/etc/vlingd.json", host->name);
        snprintf(pki, sizeof(pki), LAB_DIR "/hosts/%s/lib/pki", host->name);
        take_target(path, pki, daemon);
    }
    json_decref(list);
    lab_close(&lab);
    if (daemon->count == 0)
        return err_set(err, -ENOENT, "no controller of the lab is running", "all are powered off",
                       "vling lab power on all");
    return 0;
}

static int find_targets(struct cli_daemon *daemon, bool lab, struct err *err)
{
    int rc = lab ? -ENOENT : take_target("/etc/vling/vlingd.json", NULL, daemon);

    if (rc == 0)
        return 0;
    if (rc != -ENOENT)
        return err_why(err, rc, "cannot read /etc/vling/vlingd.json", "%s", strerror(-rc));
    rc = lab_targets(daemon, err);
    if (rc == -ENOENT && !lab && access(LAB_DIR, F_OK) < 0)
        return err_set(err, rc, "this is no host of a cloud and there is no lab",
                       "there is no /etc/vling/vlingd.json",
                       "run it on a host, or start a lab: vling lab up");
    return rc;
}

/* Only root reads the host's key. */
static int may_prove(const struct target *target, struct err *err)
{
    char key[PATH_MAX + 16];

    snprintf(key, sizeof(key), "%s/host.key", target->pki);
    if (access(key, R_OK) < 0 && errno == EACCES)
        return err_why(err, -EACCES, "cannot ask vlingd", "%s: %s", key, strerror(EACCES));
    return 0;
}

int cli_daemon_open(bool lab, struct cli_daemon **ret, struct err *err)
{
    struct cli_daemon *daemon = calloc(1, sizeof(*daemon));
    int rc;

    if (!daemon)
        return -ENOMEM;
    rc = find_targets(daemon, lab, err);
    if (rc == 0)
        rc = may_prove(&daemon->target[0], err);
    if (rc == 0) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        daemon->curl = curl_easy_init();
        rc = daemon->curl ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        free(daemon);
        return rc;
    }
    *ret = daemon;
    return 0;
}

void cli_daemon_close(struct cli_daemon *daemon)
{
    if (!daemon)
        return;
    curl_easy_cleanup(daemon->curl);
    free(daemon);
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct buf *body = arg;

    buf_add(body, bytes, size * count);
    return body->failed ? 0 : size * count;
}

/* One request to one host. -EHOSTUNREACH: nothing of it arrived. */
static int ask_one(struct cli_daemon *daemon, const struct target *target, const char *path,
                   const char *body, struct buf *answer, long *ret_status,
                   char why[CURL_ERROR_SIZE])
{
    char url[512], ca[PATH_MAX + 16], cert[PATH_MAX + 16], key[PATH_MAX + 16];
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *curl = daemon->curl;
    CURLcode rc;

    snprintf(url, sizeof(url), "https://%s:7700%s", target->ip, path);
    snprintf(ca, sizeof(ca), "%s/ca.crt", target->pki);
    snprintf(cert, sizeof(cert), "%s/host.crt", target->pki);
    snprintf(key, sizeof(key), "%s/host.key", target->pki);
    why[0] = '\0';
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    curl_easy_setopt(curl, CURLOPT_SSLCERT, cert);
    curl_easy_setopt(curl, CURLOPT_SSLKEY, key);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 1500L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 15000L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    }
    rc = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    if (rc != CURLE_OK && !why[0])
        snprintf(why, CURL_ERROR_SIZE, "%s", curl_easy_strerror(rc));
    if (rc == CURLE_COULDNT_CONNECT)
        return -EHOSTUNREACH;
    return rc == CURLE_OK ? 0 : rc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
}

static int read_answer(const char *path, long status, const struct buf *answer, json_t **ret,
                       struct err *err)
{
    char why[160] = "";
    json_t *json =
        answer->len ? json_parse_rows(answer->data, answer->len, why, sizeof(why)) : NULL;
    const char *text = json_str(json, "error", NULL);
    int rc = 0;

    if (!text)
        text = json_str(json, "message", "");
    if (status == 404)
        rc = err_why(err, -ENOENT, "the daemon does not know that", "%s %s", path, text);
    else if (status == 403)
        rc = err_why(err, -EPERM, "this host may not do that", "%s", text);
    else if (status >= 400 || status < 200)
        rc = err_why(err, -EREMOTEIO, "the daemon refused", "HTTP %ld on %s: %s", status, path,
                     text[0] ? text : buf_text(answer));
    else if (ret && !json)
        rc = err_why(err, -EBADMSG, "the daemon's answer is no JSON", "%s: %s", path, why);
    if (rc == 0 && ret)
        *ret = json;
    else
        json_decref(json);
    return rc;
}

/* What is asked once of each, until one takes it. */
struct question {
    const char *path, *body; /* body NULL: only reads */
    struct buf answer;
    long status;
    char why[CURL_ERROR_SIZE];
};

static int ask_round(struct cli_daemon *daemon, struct question *q)
{
    int rc = -EHOSTUNREACH;

    for (size_t tried = 0; tried < daemon->count; tried++) {
        buf_clear(&q->answer);
        q->status = 0;
        rc = ask_one(daemon, &daemon->target[daemon->current], q->path, q->body, &q->answer,
                     &q->status, q->why);
        /* Reading can be repeated elsewhere, also if that host is just stopping (503); a change
         * only if it certainly did not arrive. */
        if ((rc == 0 && (q->body || q->status != 503)) || (q->body && rc != -EHOSTUNREACH))
            break;
        daemon->current = (daemon->current + 1) % daemon->count;
    }
    return rc;
}

int cli_ask(struct cli_daemon *daemon, const char *path, const json_t *body, json_t **ret,
            struct err *err)
{
    int64_t end = clock_now_ms() + daemon->patience_ms;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct question q = {.path = path, .body = text};
    int rc;

    if (body && !text)
        return -ENOMEM;
    buf_init(&q.answer, BACKUP_SIZE_MAX); /* nothing is larger */
    for (;;) {
        rc = ask_round(daemon, &q);
        if (clock_now_ms() >= end || (rc == 0 && q.status != 503))
            break;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
    if (rc < 0 && q.answer.failed)
        rc = err_why(err, -EFBIG, "the daemon's answer is too large", "%s: more than %zu MiB", path,
                     BACKUP_SIZE_MAX >> 20);
    else if (rc < 0)
        err_set(err, rc, "vlingd does not answer", q.why,
                "is it running? journalctl -u vlingd; in a lab: vling lab status");
    else
        rc = read_answer(path, q.status, &q.answer, ret, err);
    buf_free(&q.answer);
    free(text);
    return rc;
}

void cli_daemon_patience(struct cli_daemon *daemon, int64_t timeout_ms)
{
    daemon->patience_ms = timeout_ms;
}

static size_t drop_body(char *bytes, size_t size, size_t count, void *arg)
{
    return size * count;
}

/* Does the identity service answer at the virtual IP? */
static bool api_answers(void)
{
    CURL *curl = curl_easy_init();
    long status = 0;

    if (!curl)
        return false;
    curl_easy_setopt(curl, CURLOPT_URL, "http://" LAB_VIP ":5000/v3");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    return status == 200;
}

static size_t hosts_up(struct cli_daemon **daemon)
{
    json_t *status = NULL, *host;
    size_t i, up = 0;

    if (!*daemon && cli_daemon_open(true, daemon, NULL) < 0)
        return 0;
    if (cli_ask(*daemon, "/v1/status", NULL, &status, NULL) < 0)
        return 0;
    json_array_foreach(json_object_get(status, "hosts"), i, host)
    {
        if (strcmp(json_str(host, "state", ""), "up") == 0 && json_bool(host, "lease", false))
            up++;
    }
    json_decref(status);
    return up;
}

int lab_wait_ready(struct lab *lab, int64_t timeout_ms, struct err *err)
{
    struct timespec pause = {.tv_nsec = 200 * 1000000L};
    int64_t start = clock_now_ms(), now = start;
    struct cli_daemon *daemon = NULL;
    size_t up = 0, last = (size_t)-1;
    bool api = false, said = false;

    for (; now < start + timeout_ms; now = clock_now_ms()) {
        api = api || api_answers();
        up = hosts_up(&daemon);
        if (up != last)
            printf("%5.1f s  %zu of %zu hosts are up\n", (double)(now - start) / 1000, up,
                   lab->count);
        if (api && !said)
            printf("%5.1f s  the API answers at http://" LAB_VIP ":5000/v3\n",
                   (double)(now - start) / 1000);
        fflush(stdout);
        said = api;
        last = up;
        if (api && up == lab->count)
            break;
        nanosleep(&pause, NULL);
    }
    cli_daemon_close(daemon);
    if (!api || up < lab->count)
        return err_why(err, -ETIMEDOUT, "the lab did not come up",
                       "%zu of %zu hosts are up, the API %s (logs: " LAB_DIR "/hosts/*/vlingd.log)",
                       up, lab->count, api ? "answers" : "is silent");
    return 0;
}
