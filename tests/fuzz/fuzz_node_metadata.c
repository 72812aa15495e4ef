/* libFuzzer: what guests ask the metadata service: method and path, from an address. */
#include "base/json.h"
#include "base/log.h"
#include "must.h"
#include "node/node.h"

#include <sodium.h>
#include <string.h>

static struct node node;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void put(const char *table, const char *id, json_t *row)
{
    static int64_t revision;
    struct store_change change = {.table = table, .id = id, .row = row, .revision = ++revision};

    must(row != NULL);
    mirror_apply(node.mirror, revision, &change, 1);
    json_decref(row);
}

static void put_server(const char *id, const char *ip, const char *key, const char *user_data)
{
    put("server", id,
        json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:{s:s}}", "id", id, "name", "a b\xc3\xa9",
                  "project_id", "p", "public_key", key, "key_name", key, "user_data", user_data,
                  "metadata", "k", "v"));
    put("port", ip,
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}]}", "id", ip, "network_id", "n",
                  "device_id", id, "device_owner", "compute:c1", "mac_address", "fa:16:3e:00:00:01",
                  "fixed_ips", "subnet_id", "s", "ip_address", ip));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    log_set_level(LOG_LEVEL_ERROR);
    must(sodium_init() >= 0);
    node.mirror = mirror_open_detached(NULL);
    must(node.mirror != NULL);
    put("network", "n", json_pack("{s:s, s:i}", "id", "n", "mtu", 1450));
    put("subnet", "s", json_pack("{s:s, s:i}", "id", "s", "ip_version", 4));
    put_server("one", "10.0.0.1", "ssh-ed25519 AAAA", "aGVsbG8=");
    put_server("two", "10.0.0.2", NULL, "no base64");
    put("floatingip", "f",
        json_pack("{s:s, s:s, s:s}", "id", "f", "port_id", "10.0.0.1", "floating_ip_address",
                  "192.0.2.9"));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const from[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
    char *text = strndup((const char *)bytes, size), *line = text, *method, *body = NULL;
    size_t length = 0;
    unsigned status;

    must(text != NULL);
    method = strsep(&line, " ");
    for (size_t i = 0; line && i < 3; i++) {
        status = metadata_serve(&node, "n", from[i], method, line, &body, &length);
        must(status == 200 || status == 404 || status == 405);
        must((status == 200) == (body != NULL) && (i < 2 || status != 200));
        must(!body || strlen(body) == length);
        free(body);
    }
    free(text);
    return 0;
}
