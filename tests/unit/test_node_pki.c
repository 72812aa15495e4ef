/* Certificates, and joining over real TLS on the loopback: the server on a loop in a child process,
 * the (synchronous) client here. */
#include "base/file.h"
#include "node/controllers.h"
#include "node/join.h"
#include "node/pki.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], first[96], second[96];
static const char *const ips[] = {"127.0.0.1", "10.10.1.1", NULL};
static const char *const controllers[] = {"c1", "c2", NULL};
static pid_t server_pid;
static char endpoint[32];
static int timeout_ms;

static int set_up(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/vling-t-pki.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(first, sizeof(first), "%s/c1", dir);
    snprintf(second, sizeof(second), "%s/h2", dir);
    server_pid = 0;
    timeout_ms = 30000;
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    if (server_pid > 0) {
        kill(server_pid, SIGKILL);
        waitpid(server_pid, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

static void must(int rc, const struct err *err)
{
    if (rc < 0)
        fail_msg("%d: %s: %s", rc, err->what, err->why);
}

static void make_first(void)
{
    struct err err = {0};

    must(pki_create_cluster(first, &err), &err);
    must(pki_issue_self(first, "c1", ips, &err), &err);
}

static char *content(const char *state_dir, const char *name)
{
    char path[256], *text = NULL;

    pki_path(state_dir, name, path, sizeof(path));
    assert_int_equal(file_read(path, PKI_PEM_MAX, &text, NULL), 0);
    return text;
}

static void makes_a_cluster_once(void **state)
{
    char before[PKI_FINGERPRINT_SIZE], after[PKI_FINGERPRINT_SIZE], path[256], command[400];
    struct err err = {0};
    struct stat info;
    time_t begin, end;

    assert_false(pki_present(first));
    make_first();
    assert_true(pki_present(first));
    assert_true(pki_has_ca_key(first));
    must(pki_ca_fingerprint(first, before, &err), &err);
    must(pki_create_cluster(first, &err), &err);
    must(pki_ca_fingerprint(first, after, &err), &err);
    assert_string_equal(before, after);
    assert_int_equal(pki_times(first, "host.crt", &begin, &end), 0);
    assert_in_range((end - time(NULL)) / 86400, 729, 731);
    pki_path(first, "host.key", path, sizeof(path));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    /* Another implementation agrees about chain, purposes and names. */
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof(command),
                 "openssl verify -x509_strict -CAfile %s/pki/ca.crt -purpose %s -verify_ip "
                 "10.10.1.1 -verify_hostname c1 %s/pki/host.crt >/dev/null 2>&1",
                 first, i ? "sslserver" : "sslclient", first);
        assert_int_equal(system(command), 0);
    }
}

static void signs_only_what_was_asked(void **state)
{
    char *csr = NULL, *certificate = NULL, *ca, *forged = NULL;
    uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1};
    struct err err = {0};

    make_first();
    must(pki_request(second, "h2", &csr, &err), &err);
    assert_int_equal(pki_sign(first, csr, "h3", ips, &certificate, &err), -EPERM);
    assert_int_equal(pki_sign(first, "rubbish", "h2", ips, &certificate, &err), -EINVAL);
    assert_int_equal(pki_sign(first, csr, "../h2", ips, &certificate, &err), -EPERM);
    must(pki_sign(first, csr, "h2", ips, &certificate, &err), &err);
    ca = content(first, "ca.crt");
    /* A certificate for somebody else's key is not installed. */
    forged = content(first, "host.crt");
    assert_int_equal(pki_install(second, forged, ca, NULL, key, &err), -EBADMSG);
    assert_false(pki_present(second));
    must(pki_install(second, certificate, ca, NULL, key, &err), &err);
    assert_true(pki_present(second));
    assert_false(pki_has_ca_key(second));
    free(csr);
    free(certificate);
    free(ca);
    free(forged);
}

/* What members of the store show each other is no host's certificate, and no host can get one. */
static void members_have_their_own(void **state)
{
    char *csr = NULL, *certificate = NULL, *before, *after, command[400];
    struct err err = {0};

    make_first();
    assert_true(pki_members_only(first));
    must(pki_issue_member(first, "c1", ips, &err), &err);
    snprintf(command, sizeof(command),
             "openssl verify -x509_strict -CAfile %s/pki/ca.crt -purpose sslserver -verify_ip "
             "10.10.1.1 -verify_hostname c1 %s/pki/etcd-peer.crt >/dev/null 2>&1 && openssl x509 "
             "-noout -subject -in %s/pki/etcd-peer.crt | grep -q 'CN = vling-etcd-peer'",
             first, first, first);
    assert_int_equal(system(command), 0);
    before = content(first, "etcd-peer.crt");
    must(pki_issue_member(first, "c1", ips, &err), &err);
    after = content(first, "etcd-peer.crt");
    assert_string_equal(before, after);
    assert_int_equal(pki_request(second, PKI_MEMBER_NAME, &csr, &err), -EINVAL);
    must(pki_request(second, "h2", &csr, &err), &err);
    assert_int_equal(pki_sign(first, csr, PKI_MEMBER_NAME, ips, &certificate, &err), -EPERM);
    assert_int_not_equal(pki_issue_member(second, "h2", ips, &err), 0);
    free(csr);
    free(before);
    free(after);
}

/* An interrupted attempt and a later one are of the same host. */
static void a_host_keeps_its_key(void **state)
{
    char *csr = NULL, *certificate = NULL, *ca, ids[4][PKI_FINGERPRINT_SIZE];
    uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1};
    struct err err = {0};

    make_first();
    for (int i = 0; i < 3; i++) {
        must(pki_request(second, "h2", &csr, &err), &err);
        assert_int_equal(pki_key_id(csr, true, ids[i]), 0);
        if (i == 1) {
            must(pki_sign(first, csr, "h2", ips, &certificate, &err), &err);
            ca = content(first, "ca.crt");
            must(pki_install(second, certificate, ca, NULL, key, &err), &err);
            assert_int_equal(pki_key_id(certificate, false, ids[3]), 0);
            free(certificate);
            free(ca);
        }
        free(csr);
    }
    for (int i = 1; i < 4; i++)
        assert_string_equal(ids[0], ids[i]);
}

static void seals(void **state)
{
    json_t *value = json_pack("{s:i, s:[{s:s, s:s, s:s}]}", "serial", 3, "controllers", "host",
                              "c1", "cabinet", "a", "ip", "10.10.1.1");
    char *csr = NULL, *certificate = NULL, *ca;
    uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1};
    struct err err = {0};

    make_first();
    must(pki_request(second, "h2", &csr, &err), &err);
    must(pki_sign(first, csr, "h2", ips, &certificate, &err), &err);
    ca = content(first, "ca.crt");
    must(pki_install(second, certificate, ca, NULL, key, &err), &err);
    assert_false(controllers_sealed(first, value));
    assert_int_not_equal(controllers_seal(second, value), 0); /* no controller */
    assert_int_equal(controllers_seal(first, value), 0);
    assert_true(controllers_sealed(first, value));
    assert_true(controllers_sealed(second, value)); /* every host can tell */
    json_object_set_new(value, "serial", json_integer(4));
    assert_false(controllers_sealed(second, value));
    json_object_set_new(value, "seal", json_string("AAAA"));
    assert_false(controllers_sealed(second, value));
    json_decref(value);
    free(csr);
    free(certificate);
    free(ca);
}

/* The last 90 days of two years, the last third of less. */
static void when_it_is_renewed(void **state)
{
    const time_t day = 86400;

    assert_false(pki_is_due(0, 731 * day, 640 * day));
    assert_true(pki_is_due(0, 731 * day, 642 * day));
    assert_true(pki_is_due(0, 731 * day, 800 * day));
    assert_false(pki_is_due(0, 30 * day, 19 * day));
    assert_true(pki_is_due(0, 30 * day, 21 * day));
}

static void tokens(void **state)
{
    char text[JOIN_TOKEN_SIZE], again[JOIN_TOKEN_SIZE], shortened[64];
    struct join_token token;
    struct err err = {0};

    make_first();
    must(join_token_get(first, text, &err), &err);
    must(join_token_get(first, again, &err), &err);
    assert_string_equal(text, again);
    assert_int_equal(join_token_parse(text, &token), 0);
    join_token_format(&token, again);
    assert_string_equal(text, again);
    assert_int_equal(join_token_parse("vling1.abc.def", &token), -EINVAL);
    assert_int_equal(join_token_parse("", &token), -EINVAL);
    snprintf(shortened, sizeof(shortened), "%.29s", text);
    assert_int_equal(join_token_parse(shortened, &token), -EINVAL);
    must(join_token_adopt(first, shortened, &err), &err);
    assert_int_equal(join_token_adopt(first, "vling1.x", &err), -EINVAL);
}

/* ---- joining ---- */

static void serve(int ready)
{
    struct err err = {0};
    uv_loop_t loop;
    struct join_server *server;
    uint16_t port;

    uv_loop_init(&loop);
    server = join_server_start(&loop,
                               &(struct join_server_options){.state_dir = first,
                                                             .address = "127.0.0.1",
                                                             .controllers = controllers},
                               &err);
    if (!server)
        _exit(1);
    port = join_server_port(server);
    if (write(ready, &port, sizeof(port)) != sizeof(port))
        _exit(1);
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

static void start_server(void)
{
    uint16_t port = 0;
    int ready[2];

    assert_int_equal(pipe(ready), 0);
    server_pid = fork();
    if (server_pid == 0)
        serve(ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &port, sizeof(port)), sizeof(port));
    close(ready[0]);
    snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", port);
}

static int join(const char *host, const char *token, bool controller, struct err *err)
{
    const char *const endpoints[] = {"127.0.0.1:1", endpoint, NULL}; /* the first one is down */

    return join_run(&(struct join_request){.state_dir = second,
                                           .host = host,
                                           .ips = ips,
                                           .endpoints = endpoints,
                                           .token = token,
                                           .controller = controller,
                                           .timeout_ms = timeout_ms},
                    err);
}

static void a_host_joins(void **state)
{
    char token[JOIN_TOKEN_SIZE], *ours, *theirs, path[256];
    uint8_t left[PKI_CLUSTER_KEY_SIZE], right[PKI_CLUSTER_KEY_SIZE];
    struct err err = {0};

    make_first();
    must(join_token_get(first, token, &err), &err);
    start_server();
    must(join("h2", token, false, &err), &err);
    assert_true(pki_present(second));
    assert_false(pki_has_ca_key(second));
    pki_path(second, "join.token", path, sizeof(path));
    assert_int_not_equal(access(path, F_OK), 0);
    must(pki_cluster_key(first, left, &err), &err);
    must(pki_cluster_key(second, right, &err), &err);
    assert_memory_equal(left, right, sizeof(left));
    /* No controller by its own word alone. */
    assert_int_equal(join("h2", token, true, &err), -EPERM);
    assert_false(pki_has_ca_key(second));
    must(join("c2", token, true, &err), &err);
    assert_true(pki_has_ca_key(second));
    ours = content(first, "join.token");
    theirs = content(second, "join.token");
    assert_string_equal(ours, theirs);
    free(ours);
    free(theirs);
}

static void wrong_tokens(void **state)
{
    char token[JOIN_TOKEN_SIZE], wrong[JOIN_TOKEN_SIZE];
    struct err err = {0};

    make_first();
    must(join_token_get(first, token, &err), &err);
    start_server();
    snprintf(wrong, sizeof(wrong), "%s", token);
    wrong[7] = wrong[7] == 'A' ? 'B' : 'A'; /* the secret */
    assert_int_equal(join("h2", wrong, false, &err), -EPERM);
    snprintf(wrong, sizeof(wrong), "%s", token);
    wrong[40] = wrong[40] == 'a' ? 'b' : 'a'; /* the authority: nothing is sent to it */
    timeout_ms = 3000;
    assert_int_equal(join("h2", wrong, false, &err), -ETIMEDOUT);
    assert_false(pki_present(second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_a_cluster_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signs_only_what_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_have_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_keeps_its_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seals, set_up, tear_down),
        cmocka_unit_test(when_it_is_renewed),
        cmocka_unit_test_setup_teardown(tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_joins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_tokens, set_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
