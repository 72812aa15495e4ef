#include "node/config.h"
#include "base/file.h"
#include "base/json.h"
#include "drv/driver.h"
#include "io/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_SIZE_MAX (256 * 1024)

static const char *const known_roles[] = {"controller", "compute", "network", "storage", NULL};

/* Copies a string member; `fallback` NULL: it must be there. A member that is no string is refused:
 * the fallback would stand in for what somebody wanted. */
static int take(const json_t *from, const char *key, const char *fallback, char *to, size_t size,
                struct err *err)
{
    const json_t *given = json_object_get(from, key);
    const char *value = json_str(from, key, fallback);

    if (given && !json_is_string(given))
        return err_why(err, -EINVAL, "the configuration is wrong", "\"%s\" must be a text", key);
    if (!value || (!fallback && !value[0]))
        return err_why(err, -EINVAL, "the configuration is wrong", "\"%s\" is missing", key);
    if (strlen(value) >= size)
        return err_why(err, -EINVAL, "the configuration is wrong",
                       "\"%s\" is longer than %zu characters", key, size - 1);
    snprintf(to, size, "%s", value);
    return 0;
}

static bool is_ip(const char *text)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static int take_plane(const json_t *raw, const char *plane, char *dev, size_t dev_size, char *ip,
                      size_t ip_size, struct err *err)
{
    const json_t *object = json_object_get(raw, plane);
    int rc;

    if (!json_is_object(object))
        return err_why(err, -EINVAL, "the configuration is wrong",
                       "\"%s\" must be an object with \"dev\" and \"ip\"", plane);
    rc = take(object, "dev", NULL, dev, dev_size, err);
    if (rc == 0)
        rc = take(object, "ip", NULL, ip, ip_size, err);
    if (rc == 0 && !is_ip(ip))
        rc = err_why(err, -EINVAL, "the configuration is wrong", "\"%s\": \"%s\" is no IP address",
                     plane, ip);
    return rc;
}

static int take_roles(struct config *config, struct err *err)
{
    const json_t *roles = json_object_get(config->raw, "roles");
    const json_t *role;
    size_t i;

    if (!json_is_array(roles))
        return err_why(err, -EINVAL, "the configuration is wrong",
                       "\"roles\" must be a list of controller, compute, network, storage");
    json_array_foreach(roles, i, role)
    {
        size_t k = 0;

        while (known_roles[k] &&
               (!json_is_string(role) || strcmp(known_roles[k], json_string_value(role)) != 0))
            k++;
        if (!known_roles[k])
            return err_why(err, -EINVAL, "the configuration is wrong",
                           "\"roles\": element %zu is none of controller, compute, network, "
                           "storage",
                           i);
    }
    config->roles = json_deep_copy(roles);
    return config->roles ? 0 : -ENOMEM;
}

static int take_controllers(struct config *config, struct err *err)
{
    const json_t *list = json_object_get(config->raw, "controllers"), *item;
    size_t i;
    int rc = 0;

    if (json_array_size(list) == 0 || json_array_size(list) > CONFIG_CONTROLLERS_MAX)
        return err_why(err, -EINVAL, "the configuration is wrong",
                       "\"controllers\" must list 1 to %d hosts (3 for high availability)",
                       CONFIG_CONTROLLERS_MAX);
    json_array_foreach(list, i, item)
    {
        struct config_controller *c = &config->controllers[i];

        rc = take(item, "host", NULL, c->host, sizeof(c->host), err);
        if (rc == 0)
            rc = take(item, "cabinet", "", c->cabinet, sizeof(c->cabinet), err);
        if (rc == 0)
            rc = take(item, "ip", NULL, c->ip, sizeof(c->ip), err);
        if (rc < 0)
            return rc;
        if (!is_ip(c->ip))
            return err_why(err, -EINVAL, "the configuration is wrong",
                           "\"controllers\": \"%s\" is no IP address", c->ip);
        if (config_controller_index(config, c->host) >= 0)
            return err_why(err, -EINVAL, "the configuration is wrong",
                           "\"controllers\": \"%s\" is there twice", c->host);
        config->controller_count++;
    }
    return 0;
}

/* An optional object: missing, or really one. */
static int take_object(const json_t *raw, const char *key, const json_t **ret, struct err *err)
{
    *ret = json_object_get(raw, key);
    if (*ret && !json_is_object(*ret))
        return err_why(err, -EINVAL, "the configuration is wrong", "\"%s\" must be an object", key);
    return 0;
}

static int take_storage(struct config *c, struct err *err)
{
    const json_t *storage;
    int rc = take_object(c->raw, "storage", &storage, err);

    if (rc == 0)
        rc = take(storage, "dev", "", c->storage_dev, sizeof(c->storage_dev), err);
    if (rc == 0)
        rc = take(storage, "ip", "", c->storage_ip, sizeof(c->storage_ip), err);
    if (rc == 0)
        rc = take(storage, "path", "/srv/vling", c->storage_path, sizeof(c->storage_path), err);
    if (rc == 0 && c->storage_ip[0] && !is_ip(c->storage_ip))
        rc = err_why(err, -EINVAL, "the configuration is wrong",
                     "\"storage\": \"%s\" is no IP address", c->storage_ip);
    return rc;
}

/* The name of a driver of that kind: "compute": {"driver": ...}. */
static int take_driver(const json_t *raw, const char *kind, const char *fallback, char *to,
                       size_t size, struct err *err)
{
    const json_t *object;
    int rc = take_object(raw, kind, &object, err);

    return rc < 0 ? rc : take(object, "driver", fallback, to, size, err);
}

static int take_amount(const json_t *from, const char *key, int64_t *ret, struct err *err)
{
    const json_t *given = json_object_get(from, key);

    *ret = json_integer_value(given);
    if (!given || *ret > 0)
        return 0;
    return err_why(err, -EINVAL, "the configuration is wrong",
                   "\"%s\" must be a number that is greater than 0", key);
}

static int take_capacity(struct config *c, struct err *err)
{
    const json_t *compute;
    int rc = take_object(c->raw, "compute", &compute, err);

    if (rc == 0)
        rc = take_amount(compute, "vcpus", &c->vcpus, err);
    if (rc == 0)
        rc = take_amount(compute, "ram_mb", &c->ram_mb, err);
    return rc;
}

static int take_drivers(struct config *c, struct err *err)
{
    const char *wrong = NULL;
    int rc =
        take_driver(c->raw, "compute", "qemu", c->compute_driver, sizeof(c->compute_driver), err);

    if (rc == 0)
        rc = take_driver(c->raw, "network", "linux", c->network_driver, sizeof(c->network_driver),
                         err);
    if (rc == 0)
        rc = take_driver(c->raw, "storage", "dir", c->storage_driver, sizeof(c->storage_driver),
                         err);
    if (rc < 0)
        return rc;
    if (!compute_driver_find(c->compute_driver))
        wrong = c->compute_driver;
    else if (!network_driver_find(c->network_driver))
        wrong = c->network_driver;
    else if (!storage_driver_find(c->storage_driver))
        wrong = c->storage_driver;
    return wrong ? err_why(err, -EINVAL, "the configuration is wrong",
                           "\"driver\": there is no such driver \"%s\"", wrong)
                 : 0;
}

static int take_api(struct config *c, struct err *err)
{
    struct netlink_addr vip;
    const json_t *api;
    int rc = take_object(c->raw, "api", &api, err);

    if (rc == 0)
        rc = take(api, "vip", "", c->api_vip, sizeof(c->api_vip), err);
    if (rc == 0)
        rc = take(api, "dev", c->mgmt_dev, c->api_dev, sizeof(c->api_dev), err);
    if (rc == 0)
        rc = take(api, "region", "RegionOne", c->region, sizeof(c->region), err);
    if (rc == 0 && c->api_vip[0] && netlink_addr_parse(c->api_vip, &vip) < 0)
        rc = err_why(err, -EINVAL, "the configuration is wrong",
                     "\"vip\": \"%s\" is no address with a prefix length", c->api_vip);
    return rc;
}

static int take_store(struct config *c, struct err *err)
{
    char store[16];
    int rc = take(c->raw, "store", c->controller_count > 1 ? "etcd" : "sqlite", store,
                  sizeof(store), err);

    c->sqlite = rc == 0 && strcmp(store, "sqlite") == 0;
    if (rc == 0 && !c->sqlite && strcmp(store, "etcd") != 0)
        rc = err_why(err, -EINVAL, "the configuration is wrong",
                     "\"store\": \"%s\" is neither etcd nor sqlite", store);
    return rc;
}

static int take_all(struct config *c, struct err *err)
{
    const json_t *external;
    int rc;

    rc = take(c->raw, "host", NULL, c->host, sizeof(c->host), err);
    if (rc == 0)
        rc = take(c->raw, "cabinet", NULL, c->cabinet, sizeof(c->cabinet), err);
    if (rc == 0)
        rc = take(c->raw, "state_dir", "/var/lib/vling", c->state_dir, sizeof(c->state_dir), err);
    if (rc == 0)
        rc = take(c->raw, "run_dir", "/run/vling", c->run_dir, sizeof(c->run_dir), err);
    if (rc == 0)
        rc = take_plane(c->raw, "mgmt", c->mgmt_dev, sizeof(c->mgmt_dev), c->mgmt_ip,
                        sizeof(c->mgmt_ip), err);
    if (rc == 0)
        rc = take_plane(c->raw, "tenant", c->tenant_dev, sizeof(c->tenant_dev), c->tenant_ip,
                        sizeof(c->tenant_ip), err);
    if (rc == 0)
        rc = take_object(c->raw, "external", &external, err);
    if (rc == 0)
        rc = take(external, "dev", "", c->external_dev, sizeof(c->external_dev), err);
    if (rc == 0)
        rc = take_storage(c, err);
    if (rc == 0)
        rc = take_drivers(c, err);
    if (rc == 0)
        rc = take_capacity(c, err);
    if (rc == 0)
        rc = take_api(c, err);
    if (rc == 0)
        rc = take_roles(c, err);
    if (rc == 0)
        rc = take_controllers(c, err);
    if (rc == 0)
        rc = take_store(c, err);
    return rc;
}

int config_load(const char *path, struct config *ret, struct err *err)
{
    char *text = NULL, why[200];
    size_t size;
    int rc;

    memset(ret, 0, sizeof(*ret));
    rc = file_read(path, CONFIG_SIZE_MAX, &text, &size);
    if (rc < 0)
        return err_why(err, rc, "cannot read the configuration", "%s: %s", path, strerror(-rc));
    ret->raw = json_parse(text, size, why, sizeof(why));
    free(text);
    if (!ret->raw)
        return err_why(err, -EINVAL, "the configuration is no JSON", "%s: %s", path, why);
    rc = take_all(ret, err);
    if (rc < 0)
        config_free(ret);
    return rc;
}

void config_free(struct config *config)
{
    json_decref(config->roles);
    json_decref(config->raw);
    config->roles = config->raw = NULL;
}

bool config_has_role(const struct config *config, const char *role)
{
    const json_t *item;
    size_t i;

    json_array_foreach(config->roles, i, item)
    {
        if (strcmp(json_string_value(item), role) == 0)
            return true;
    }
    return false;
}

int config_controller_index(const struct config *config, const char *host)
{
    for (size_t i = 0; i < config->controller_count; i++) {
        if (strcmp(config->controllers[i].host, host) == 0)
            return (int)i;
    }
    return -1;
}

void config_own_ips(const struct config *config, const char *ret[3])
{
    size_t n = 0;

    ret[n++] = config->mgmt_ip;
    if (config->storage_ip[0] && strcmp(config->storage_ip, config->mgmt_ip) != 0)
        ret[n++] = config->storage_ip;
    ret[n] = NULL;
}

void config_vip_address(const struct config *config, char *ret, size_t size)
{
    char *slash;

    snprintf(ret, size, "%s", config->api_vip);
    slash = strchr(ret, '/');
    if (slash)
        *slash = '\0';
}
