/* Who gets which name with which token, and certificates that are renewed: over real TLS on the
 * loopback, with rows in a mirror. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "loopback.h"
#include "node/certificate.h"
#include "node/pki.h"
#include "node/tokens.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY ((time_t)86400)
#define KEY "aaaa"
#define OTHER_KEY "bbbb"

static char dir[64];
static char c1_ip[LOOPBACK_SIZE], h2_ip[LOOPBACK_SIZE];
static struct node controller, host; /* c1 and h2 */
static uv_loop_t loop;
static struct mirror *db;
static int64_t revision;
static const char *const ips[] = {c1_ip, NULL};

static void must(int rc, const struct err *err)
{
    if (rc < 0)
        fail_msg("%d: %s: %s", rc, err->what, err->why);
}

static void put(const char *table, const char *id, json_t *row)
{
    struct store_change change = {.table = table, .id = id, .row = row, .revision = ++revision};

    mirror_apply(db, revision, &change, 1);
    json_decref(row);
}

static void put_host(const char *name, const char *key, const char *ip)
{
    put("host", name, json_pack("{s:s, s:s?, s:s}", "id", name, "key_id", key, "mgmt_ip", ip));
}

static void configure(struct node *node, const char *name, const char *ip)
{
    memset(node, 0, sizeof(*node));
    node->loop = &loop;
    node->mirror = db;
    node->config.sqlite = true;
    snprintf(node->config.host, sizeof(node->config.host), "%s", name);
    snprintf(node->config.mgmt_ip, sizeof(node->config.mgmt_ip), "%s", ip);
    snprintf(node->config.state_dir, sizeof(node->config.state_dir), "%s/%s", dir, name);
    snprintf(node->config.controllers[0].host, sizeof(node->config.controllers[0].host), "c1");
    snprintf(node->config.controllers[0].ip, sizeof(node->config.controllers[0].ip), "%s", c1_ip);
    node->config.controller_count = 1;
}

static int set_up(void **state)
{
    struct err err = {0};

    snprintf(dir, sizeof(dir), "/tmp/vling-t-tokens.XXXXXX");
    revision = 0;
    if (!mkdtemp(dir) || uv_loop_init(&loop) < 0 || !(db = mirror_open_detached(&err)))
        return -1;
    loopback_ip(0, c1_ip);
    loopback_ip(1, h2_ip);
    configure(&controller, "c1", c1_ip);
    configure(&host, "h2", h2_ip);
    controller.controller = true;
    must(pki_create_cluster(controller.config.state_dir, &err), &err);
    must(pki_issue_self(controller.config.state_dir, "c1", ips, &err), &err);
    must(certificate_look(&controller, &err), &err);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    json_decref(controller.joined);
    mirror_close(db);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0)
        return -1;
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

/* ---- verdicts ---- */

static enum join_verdict verdict(const char *name, const char *key, const char *hash, bool in_file)
{
    return tokens_judge(&controller,
                        &(struct join_candidate){
                            .host = name, .key_id = key, .token_hash = hash, .in_file = in_file});
}

static void put_token(const char *hash, const char *name, int64_t ends_in_ms, bool withdrawn)
{
    char id[13], end[32];

    snprintf(id, sizeof(id), "%.12s", hash);
    clock_iso(clock_wall_ms() + ends_in_ms, end, sizeof(end));
    put("join_token", id,
        json_pack("{s:s, s:s, s:s?, s:s, s:b}", "id", id, "hash", hash, "host", name, "expires_at",
                  end, "withdrawn", withdrawn));
}

static void tokens_have_an_end(void **state)
{
    static const char file[] = "0123456789abcdef", made[] = "fedcba9876543210";

    assert_int_equal(verdict("h5", KEY, file, true), JOIN_ADMIT);
    assert_int_equal(verdict("h6", KEY, file, false), JOIN_BAD_TOKEN);
    put_token(made, NULL, 60000, false);
    assert_int_equal(verdict("h6", KEY, made, false), JOIN_ADMIT);
    /* The row is found by the hash's beginning, but all of it counts. */
    assert_int_equal(verdict("h7", KEY, "fedcba9876540000", false), JOIN_BAD_TOKEN);
    put_token(made, NULL, -1000, false);
    assert_int_equal(verdict("h7", KEY, made, false), JOIN_BAD_TOKEN);
    /* That of the file, withdrawn for all controllers. */
    put_token(file, NULL, 60000, true);
    assert_int_equal(verdict("h7", KEY, file, true), JOIN_BAD_TOKEN);
}

static void names_belong_to_keys(void **state)
{
    static const char any[] = "0123456789abcdef", own[] = "fedcba9876543210";

    put_token(own, "h2", 60000, false);
    put_host("h2", OTHER_KEY, "10.0.0.2");
    put_host("h3", NULL, "10.0.0.3");
    assert_int_equal(verdict("h2", KEY, any, true), JOIN_NAME_TAKEN);
    assert_int_equal(verdict("h2", OTHER_KEY, any, true), JOIN_ADMIT);
    /* Known, but not by which key (its vlingd is older): rather not. */
    assert_int_equal(verdict("h3", KEY, any, true), JOIN_NAME_TAKEN);
    /* The controller itself, also while there are no rows. */
    assert_int_equal(verdict("c1", KEY, any, true), JOIN_NAME_TAKEN);
    assert_int_equal(verdict("c1", controller.key_id, any, true), JOIN_ADMIT);
    /* One that joined and has no row yet. */
    assert_int_equal(verdict("h4", KEY, any, true), JOIN_ADMIT);
    assert_int_equal(verdict("h4", OTHER_KEY, any, true), JOIN_NAME_TAKEN);
    assert_int_equal(verdict("h4", KEY, any, true), JOIN_ADMIT);
    /* An operator said so, of this host only. */
    assert_int_equal(verdict("h2", KEY, own, false), JOIN_ADMIT);
    assert_int_equal(verdict("h4", OTHER_KEY, own, false), JOIN_BAD_TOKEN);
}

/* ---- joining ---- */

static pid_t server_pid;
static char endpoint[32];

static void start_server(void)
{
    static const char *const names[] = {"c1", "c2", NULL};
    uint16_t port = 0;
    int ready[2];

    assert_int_equal(pipe(ready), 0);
    server_pid = fork();
    if (server_pid == 0) {
        struct err err = {0};
        struct join_server *server = join_server_start(
            &loop,
            &(struct join_server_options){.state_dir = controller.config.state_dir,
                                          .address = "127.0.0.1",
                                          .controllers = names,
                                          .settle = tokens_settle,
                                          .judge = tokens_judge,
                                          .arg = &controller},
            &err);

        port = server ? join_server_port(server) : 0;
        if (write(ready[1], &port, sizeof(port)) != sizeof(port) || !server)
            _exit(1);
        uv_run(&loop, UV_RUN_DEFAULT);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &port, sizeof(port)), sizeof(port));
    close(ready[0]);
    snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", port);
}

/* As `name`, from the folder of `machine`. */
static int join(const char *name, const char *machine, const char *token, struct err *err)
{
    const char *const endpoints[] = {endpoint, NULL};
    char folder[96];

    snprintf(folder, sizeof(folder), "%s/%s", dir, machine);
    return join_run(&(struct join_request){.state_dir = folder,
                                           .host = name,
                                           .ips = ips,
                                           .endpoints = endpoints,
                                           .token = token,
                                           .timeout_ms = 30000},
                    err);
}

static void a_stranger_takes_no_name(void **state)
{
    char token[JOIN_TOKEN_SIZE], path[128];
    struct err err = {0};

    must(join_token_get(controller.config.state_dir, token, &err), &err);
    put_host("h2", OTHER_KEY, "10.0.0.2");
    start_server();
    must(join("c2", "real", token, &err), &err);
    assert_int_equal(join("c2", "stranger", token, &err), -EPERM);
    assert_non_null(strstr(err.why, "vling token create --host"));
    assert_int_equal(join("h2", "stranger", token, &err), -EPERM);
    assert_int_equal(join("c1", "stranger", token, &err), -EPERM);
    snprintf(path, sizeof(path), "%s/stranger/pki/ca.key", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    /* Its answer was lost, or it is made to join again: the same machine. */
    must(join("c2", "real", token, &err), &err);
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
}

/* ---- renewal ---- */

static void load_pem(const char *folder, const char *name, gnutls_datum_t *ret)
{
    char path[256], *text = NULL;
    size_t size = 0;

    pki_path(folder, name, path, sizeof(path));
    assert_int_equal(file_read(path, PKI_PEM_MAX, &text, &size), 0);
    *ret = (gnutls_datum_t){(unsigned char *)text, (unsigned)size};
}

/* The certificate in `folder` as if it had been issued before. */
static void change_times(const char *folder, time_t begin, time_t end)
{
    gnutls_datum_t text, pem;
    gnutls_x509_crt_t crt, ca;
    gnutls_x509_privkey_t key;
    char path[256];

    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_init(&ca);
    gnutls_x509_privkey_init(&key);
    load_pem(folder, "host.crt", &text);
    assert_int_equal(gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
    free(text.data);
    load_pem(controller.config.state_dir, "ca.crt", &text);
    assert_int_equal(gnutls_x509_crt_import(ca, &text, GNUTLS_X509_FMT_PEM), 0);
    free(text.data);
    load_pem(controller.config.state_dir, "ca.key", &text);
    assert_int_equal(gnutls_x509_privkey_import(key, &text, GNUTLS_X509_FMT_PEM), 0);
    free(text.data);
    gnutls_x509_crt_set_activation_time(crt, begin);
    gnutls_x509_crt_set_expiration_time(crt, end);
    assert_int_equal(gnutls_x509_crt_sign2(crt, ca, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    pki_path(folder, "host.crt", path, sizeof(path));
    assert_int_equal(file_write_atomic(path, pem.data, pem.size, 0600), 0);
    gnutls_free(pem.data);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(crt);
}

static time_t days_left(const struct node *node)
{
    time_t begin, end;

    assert_int_equal(pki_times(node->config.state_dir, "host.crt", &begin, &end), 0);
    return (end - time(NULL)) / DAY;
}

/* h2 with a certificate, and a client that shows it. */
static void make_host(void)
{
    char *csr = NULL, *certificate = NULL, cert[300], key[300], ca[300];
    gnutls_datum_t authority;
    uint8_t cluster_key[PKI_CLUSTER_KEY_SIZE];
    struct err err = {0};

    must(pki_cluster_key(controller.config.state_dir, cluster_key, &err), &err);
    must(pki_request(host.config.state_dir, "h2", &csr, &err), &err);
    must(pki_sign(controller.config.state_dir, csr, "h2", NULL, &certificate, &err), &err);
    load_pem(controller.config.state_dir, "ca.crt", &authority);
    must(pki_install(host.config.state_dir, certificate, (char *)authority.data, NULL, cluster_key,
                     &err),
         &err);
    free(authority.data);
    free(certificate);
    free(csr);
    change_times(host.config.state_dir, time(NULL) - 20 * DAY, time(NULL) + DAY / 2);
    must(certificate_look(&host, &err), &err);
    pki_path(host.config.state_dir, "host.crt", cert, sizeof(cert));
    pki_path(host.config.state_dir, "host.key", key, sizeof(key));
    pki_path(host.config.state_dir, "ca.crt", ca, sizeof(ca));
    host.peer_client =
        http_client_new(&loop, &(struct http_client_options){ca, cert, key, false}, &err);
    assert_non_null(host.peer_client);
}

static void on_patience(uv_timer_t *timer)
{
    uv_stop(&loop);
}

/* h2 asks once. */
static void ask_once(void)
{
    uv_timer_t patience;

    host.renewal_ms = 0;
    certificate_check(&host);
    uv_timer_init(&loop, &patience);
    uv_timer_start(&patience, on_patience, 30000, 0);
    while (host.renewing && uv_is_active((uv_handle_t *)&patience))
        uv_run(&loop, UV_RUN_ONCE);
    assert_false(host.renewing);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void a_host_renews(void **state)
{
    char before[65];
    struct err err = {0};

    make_host();
    must(admin_start(&controller, &err), &err);
    /* Known by another key, not known, an address of another one, and as it should be. */
    put_host("h2", OTHER_KEY, h2_ip);
    ask_once();
    assert_int_equal(days_left(&host), 0);
    put_host("h2", host.key_id, c1_ip);
    ask_once();
    assert_int_equal(days_left(&host), 0);
    assert_false(host.restart);
    put_host("h2", host.key_id, h2_ip);
    ask_once();
    assert_true(host.restart);
    assert_in_range(days_left(&host), 729, 731);
    snprintf(before, sizeof(before), "%s", host.key_id);
    must(certificate_look(&host, &err), &err);
    assert_string_equal(host.key_id, before);
    /* And not again. */
    host.restart = false;
    ask_once();
    assert_false(host.restart);
    http_client_free(host.peer_client);
    http_server_stop(controller.peer_server);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void a_controller_renews(void **state)
{
    certificate_check(&controller);
    assert_false(controller.restart);
    change_times(controller.config.state_dir, time(NULL) - 700 * DAY, time(NULL) + 31 * DAY);
    certificate_check(&controller); /* it was looked at just now */
    assert_false(controller.restart);
    controller.renewal_ms = 0;
    certificate_check(&controller);
    assert_true(controller.restart);
    assert_in_range(days_left(&controller), 729, 731);
    assert_true(pki_has_ca_key(controller.config.state_dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokens_have_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_belong_to_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stranger_takes_no_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_renews, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_controller_renews, set_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
