#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "cli/lab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSWORD_FILE LAB_DIR "/admin-password"

static json_t *plane_json(const struct lab_host *host, size_t p)
{
    char ip[64];

    snprintf(ip, sizeof(ip), "10.%d.%u.%u", lab_planes[p].net, host->cabinet, host->number);
    return json_pack("{s:s, s:s}", "dev", lab_planes[p].dev, "ip", ip);
}

static json_t *controllers_json(const struct lab *lab)
{
    json_t *list = json_array();
    char ip[64], cabinet[16];

    for (size_t i = 0; i < lab->count; i++) {
        const struct lab_host *host = &lab->host[i];

        if (!lab_is_controller(lab, host))
            continue;
        snprintf(cabinet, sizeof(cabinet), "c%u", host->cabinet);
        snprintf(ip, sizeof(ip), "10.10.%u.%u", host->cabinet, host->number);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s}", "host", host->name, "cabinet", cabinet, "ip", ip));
    }
    return list;
}

static json_t *config_json(const struct lab *lab, const struct lab_host *host)
{
    json_t *roles = json_pack("[s, s, s]", "compute", "network", "storage");
    json_t *storage = plane_json(host, 3), *config;
    char cabinet[16];

    if (lab_is_controller(lab, host))
        json_array_insert_new(roles, 0, json_string("controller"));
    json_put_str(storage, "driver", "dir");
    json_put_str(storage, "path", "/srv/vling");
    snprintf(cabinet, sizeof(cabinet), "c%u", host->cabinet);
    config = json_pack("{s:s, s:s, s:o, s:s, s:s, s:o, s:o, s:{s:s}, s:o, s:o, s:{s:s, s:s}}",
                       "host", host->name, "cabinet", cabinet, "roles", roles, "state_dir",
                       "/var/lib/vling", "run_dir", "/run/vling", "mgmt", plane_json(host, 0),
                       "tenant", plane_json(host, 1), "external", "dev", lab_planes[2].dev,
                       "storage", storage, "controllers", controllers_json(lab), "api", "vip",
                       LAB_VIP "/16", "dev", lab_planes[0].dev);
    /* SQLite is for one host alone: others could not reach it. */
    json_put_str(config, "store", lab->count > 1 ? "etcd" : "sqlite");
    if (config && lab_is_controller(lab, host))
        json_put_str(config, "admin_password_file", "/etc/vling/admin-password");
    return config;
}

static int make_folders(const struct lab_host *host, struct err *err)
{
    static const char *const parts[] = {"etc", "lib"};
    char path[PATH_MAX];
    int rc = file_mkdirs(LAB_DIR "/shared", 0755);

    for (size_t i = 0; rc == 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
        snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/%s", host->name, parts[i]);
        rc = file_mkdirs(path, 0755);
    }
    return rc < 0 ? err_set(err, rc, "cannot create a host's folders", strerror(-rc), NULL) : 0;
}

/* The administrator's password: drawn once, kept for openrc. */
static int password(char **ret, struct err *err)
{
    char drawn[ID_HEX_SIZE];
    int rc = file_read(PASSWORD_FILE, 256, ret, NULL);

    if (rc != -ENOENT)
        return rc < 0 ? err_why(err, rc, "cannot read " PASSWORD_FILE, "%s", strerror(-rc)) : 0;
    id_hex(drawn);
    rc = file_write_atomic(PASSWORD_FILE, drawn, strlen(drawn), 0600);
    if (rc < 0)
        return err_why(err, rc, "cannot write " PASSWORD_FILE, "%s", strerror(-rc));
    *ret = strdup(drawn);
    return *ret ? 0 : -ENOMEM;
}

int lab_write_config(const struct lab *lab, const struct lab_host *host, struct err *err)
{
    char path[PATH_MAX], *text = NULL, *secret = NULL;
    json_t *config;
    int rc = make_folders(host, err);

    if (rc < 0)
        return rc;
    config = config_json(lab, host);
    text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
    json_decref(config);
    if (!text)
        return -ENOMEM;
    snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/etc/vlingd.json", host->name);
    rc = file_write_atomic(path, text, strlen(text), 0644);
    free(text);
    if (rc == 0 && lab_is_controller(lab, host)) {
        rc = password(&secret, err);
        snprintf(path, sizeof(path), LAB_DIR "/hosts/%s/etc/admin-password", host->name);
        if (rc == 0)
            rc = file_write_atomic(path, secret, strlen(secret), 0600);
        free(secret);
    }
    return rc < 0 ? err_why(err, rc, "cannot write a host's configuration", "%s: %s", path,
                            strerror(-rc))
                  : 0;
}

int lab_print_openrc(struct err *err)
{
    char *secret = NULL;
    int rc = file_read(PASSWORD_FILE, 256, &secret, NULL);

    if (rc < 0)
        return err_set(err, rc, "cannot read the administrator's password", strerror(-rc),
                       "start a lab: vling lab up");
    printf("export OS_AUTH_URL=http://" LAB_VIP ":5000/v3\n"
           "export OS_IDENTITY_API_VERSION=3\n"
           "export OS_USERNAME=admin\n"
           "export OS_PASSWORD=%s\n"
           "export OS_PROJECT_NAME=admin\n"
           "export OS_USER_DOMAIN_NAME=Default\n"
           "export OS_PROJECT_DOMAIN_NAME=Default\n"
           "export OS_REGION_NAME=RegionOne\n"
           "export OS_INTERFACE=public\n",
           secret);
    free(secret);
    return 0;
}
