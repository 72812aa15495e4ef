/* libFuzzer: what strangers send to the port where hosts join. In the input $s stands for a good
 * secret, $c and $d for requests of the hosts h5 and h2 (which is known by another key). */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "fake_http.h"
#include "node/certificate.h"
#include "node/join.h"
#include "node/pki.h"
#include "node/tokens.h"

#include <dlfcn.h>
#include <sodium.h>

#define TEXT_MAX 65536

static uv_loop_t loop;
static struct node node;
static char secret[32], csr[2][2048]; /* the requests as they stand in JSON */
static char dir[64];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A wrong secret is answered after a second. Nobody waits for that here. */
int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    int (*real)(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);

    *(void **)&real = dlsym(RTLD_NEXT, "uv_timer_start");
    return real(timer, cb, 0, repeat);
}

static void remove_dir(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", dir);
}

static void make_request(const char *host, char *ret, size_t size)
{
    char folder[128], *pem = NULL;

    snprintf(folder, sizeof(folder), "%s/%s", dir, host);
    must(pki_request(folder, host, &pem, NULL) == 0);
    for (const char *at = pem; *at && size > 3; at++) {
        *ret++ = *at == '\n' ? '\\' : *at;
        if (*at == '\n')
            *ret++ = 'n';
        size -= 2;
    }
    *ret = '\0';
    free(pem);
}

static void put(const char *table, const char *id, json_t *row)
{
    static int64_t revision;
    struct store_change change = {.table = table, .id = id, .row = row, .revision = ++revision};

    mirror_apply(node.mirror, revision, &change, 1);
    json_decref(row);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const ips[] = {"10.0.0.1", NULL}, *const controllers[] = {"h1", NULL};
    char text[JOIN_TOKEN_SIZE];

    log_set_level(LOG_LEVEL_ERROR);
    snprintf(dir, sizeof(dir), "/tmp/vling-fuzz-join.XXXXXX");
    must(sodium_init() >= 0 && uv_loop_init(&loop) == 0 && mkdtemp(dir));
    atexit(remove_dir);
    node.config.sqlite = true;
    snprintf(node.config.host, sizeof(node.config.host), "h1");
    snprintf(node.config.state_dir, sizeof(node.config.state_dir), "%s/h1", dir);
    must(pki_create_cluster(node.config.state_dir, NULL) == 0);
    must(pki_issue_self(node.config.state_dir, "h1", ips, NULL) == 0);
    must(certificate_look(&node, NULL) == 0);
    node.mirror = mirror_open_detached(NULL);
    must(node.mirror != NULL);
    must(join_token_get(node.config.state_dir, text, NULL) == 0);
    snprintf(secret, sizeof(secret), "%.*s", (int)strcspn(text + 7, "."), text + 7);
    make_request("h5", csr[0], sizeof(csr[0]));
    make_request("h2", csr[1], sizeof(csr[1]));
    put("host", "h2", json_pack("{s:s, s:s}", "id", "h2", "key_id", "00"));
    must(join_server_start(&loop,
                           &(struct join_server_options){.state_dir = node.config.state_dir,
                                                         .address = "127.0.0.1",
                                                         .controllers = controllers,
                                                         .settle = tokens_settle,
                                                         .judge = tokens_judge,
                                                         .arg = &node},
                           NULL) != NULL);
    return 0;
}

static void expand(const uint8_t *bytes, size_t size, struct buf *text)
{
    for (size_t i = 0; i < size; i++) {
        char next = i + 1 < size && bytes[i] == '$' ? (char)bytes[i + 1] : 0;
        const char *value = next == 's'   ? secret
                            : next == 'c' ? csr[0]
                            : next == 'd' ? csr[1]
                                          : NULL;

        if (value)
            buf_str(text, value);
        else
            buf_add(text, &bytes[i], 1);
        i += value != NULL;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct http_request request;
    struct buf text;
    json_t *reply;

    buf_init(&text, TEXT_MAX);
    expand(bytes, size, &text);
    if (!text.failed && text.len > 0) {
        fake_request(&request, text.data, text.len);
        fake_begin(&request);
        fake_finish(&request, false);
        uv_run(&loop, UV_RUN_DEFAULT);
        if (request.status == 200) {
            reply = json_loads(buf_text(&request.reply), 0, NULL);
            /* The only one that is let in with its key: its name is nobody's. */
            must(json_str(reply, "certificate", NULL) && !json_str(reply, "ca_key", NULL));
            json_decref(reply);
        }
        fake_check(&request);
    }
    buf_free(&text);
    return 0;
}
