/* libFuzzer: any text as the host's configuration file. What is accepted keeps what config.h
 * promises to its readers and is the same after it was written and read again; what is refused says
 * why and leaves nothing behind.
 * The text is taken as it is; if it is an object, its members are also put over those of a good
 * file, so that each of them is seen by itself. */
#include "base/json.h"
#include "must.h"
#include "node/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char good[] =
    "{\"host\":\"c1h1\",\"cabinet\":\"c1\",\"roles\":[\"controller\",\"compute\"],"
    "\"mgmt\":{\"dev\":\"mgmt0\",\"ip\":\"10.10.1.1\"},"
    "\"tenant\":{\"dev\":\"tenant0\",\"ip\":\"10.20.1.1\"},"
    "\"controllers\":[{\"host\":\"c1h1\",\"cabinet\":\"c1\",\"ip\":\"10.10.1.1\"}]}";

static int file; /* in memory */
static char path[64];

static int load(const void *text, size_t size, struct config *ret, struct err *err)
{
    if (path[0] == '\0') {
        file = memfd_create("config", MFD_CLOEXEC);
        must(file >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    }
    must(ftruncate(file, 0) == 0);
    must(pwrite(file, text, size, 0) == (ssize_t)size);
    return config_load(path, ret, err);
}

/* ---- what must hold of a configuration that was accepted ---- */

static bool ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

#define must_end(array) must(ends(array, sizeof(array)))

static void check_texts(const struct config *c)
{
    must_end(c->host);
    must_end(c->cabinet);
    must_end(c->state_dir);
    must_end(c->run_dir);
    must_end(c->mgmt_dev);
    must_end(c->mgmt_ip);
    must_end(c->tenant_dev);
    must_end(c->tenant_ip);
    must_end(c->external_dev);
    must_end(c->storage_dev);
    must_end(c->storage_ip);
    must_end(c->storage_driver);
    must_end(c->storage_path);
    must_end(c->api_vip);
    must_end(c->api_dev);
    must_end(c->region);
}

static bool is_ip(const char *text)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static void check_controllers(const struct config *c)
{
    must(c->controller_count >= 1 && c->controller_count <= CONFIG_CONTROLLERS_MAX);
    for (size_t i = 0; i < c->controller_count; i++) {
        int index = config_controller_index(c, c->controllers[i].host);

        must_end(c->controllers[i].host);
        must_end(c->controllers[i].cabinet);
        must_end(c->controllers[i].ip);
        must(index >= 0 && (size_t)index <= i);
        must(strcmp(c->controllers[index].host, c->controllers[i].host) == 0);
    }
    must(config_controller_index(c, "") == -1);
}

static void check_addresses(const struct config *c)
{
    char vip[sizeof(c->api_vip)], few[4];

    must(is_ip(c->mgmt_ip) && is_ip(c->tenant_ip));
    must(c->storage_ip[0] == '\0' || is_ip(c->storage_ip));
    config_vip_address(c, vip, sizeof(vip));
    must(vip[0] == '\0' ? c->api_vip[0] == '\0' : is_ip(vip));
    config_vip_address(c, few, sizeof(few));
    must_end(few);
}

static void check_roles(const struct config *c)
{
    static const char *const known[] = {"controller", "compute", "network", "storage"};
    const json_t *role;
    size_t i;

    must(json_is_array(c->roles));
    json_array_foreach(c->roles, i, role)
    {
        bool found = false;

        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            found |= strcmp(json_string_value(role), known[k]) == 0;
        must(found && config_has_role(c, json_string_value(role)));
    }
    must(!config_has_role(c, "none"));
}

/* The same configuration again, after its members were written and read. */
static void check_again(struct config *c)
{
    char *text = json_dumps(c->raw, 0);
    struct config again;
    struct err err;

    must(text && load(text, strlen(text), &again, &err) == 0);
    must(json_equal(c->raw, again.raw) && json_equal(c->roles, again.roles));
    config_free(&again);
    again.raw = c->raw; /* only their contents are the same */
    again.roles = c->roles;
    must(memcmp(c, &again, sizeof(again)) == 0);
    again.raw = again.roles = NULL;
    free(text);
}

static void check(const void *text, size_t size)
{
    struct config config;
    struct err err;
    int rc;

    memset(&config, 0x5a, sizeof(config));
    memset(&err, 0, sizeof(err));
    rc = load(text, size, &config, &err);
    if (rc < 0) {
        must(err.code == rc && err.what[0] && err.why[0]);
        must_end(err.what);
        must_end(err.why);
        must(!config.raw && !config.roles);
        return;
    }
    must(config.host[0] && config.cabinet[0] && config.mgmt_dev[0] && config.tenant_dev[0]);
    check_texts(&config);
    check_controllers(&config);
    check_addresses(&config);
    check_roles(&config);
    check_again(&config);
    config_free(&config);
    must(!config.raw && !config.roles);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    json_t *over, *config;
    char *text;

    check(bytes, size);
    over = json_parse((const char *)bytes, size, NULL, 0);
    if (json_is_object(over)) {
        config = json_parse(good, strlen(good), NULL, 0);
        must(config && json_object_update(config, over) == 0);
        text = json_dumps(config, JSON_COMPACT);
        must(text != NULL);
        check(text, strlen(text));
        free(text);
        json_decref(config);
    }
    json_decref(over);
    return 0;
}
