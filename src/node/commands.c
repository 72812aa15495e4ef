#include "node/commands.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "node/backup.h"
#include "node/config.h"
#include "node/join.h"
#include "node/pki.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const struct err *err)
{
    char line[700];

    fprintf(stderr, "vlingd: %s\n", err_line(err, line, sizeof(line)));
    return 1;
}

static int keep_password(const struct config *config, const char *from, struct err *err)
{
    char path[400], *password = NULL, hex[ID_HEX_SIZE];
    int rc;

    snprintf(path, sizeof(path), "%s/admin-password", config->state_dir);
    if (!from && access(path, R_OK) == 0)
        return 0;
    if (from) {
        rc = file_read(from, 1024, &password, NULL);
        if (rc < 0)
            return err_why(err, rc, "cannot read the password of user admin", "%s: %s", from,
                           strerror(-rc));
    } else {
        id_hex(hex);
        password = strdup(hex);
    }
    if (!password || !password[0] || password[0] == '\n') {
        free(password);
        return err_why(err, -EINVAL, "cannot use the password of user admin", "it is empty");
    }
    rc = file_write_atomic(path, password, strlen(password), 0600);
    free(password);
    return rc < 0 ? err_why(err, rc, "cannot write the password of user admin", "%s: %s", path,
                            strerror(-rc))
                  : 0;
}

/* This host's certificate and, where there is none yet, the cluster's authority. */
static int enrol_here(const struct config *config, char token[JOIN_TOKEN_SIZE], struct err *err)
{
    const char *ips[3];
    int rc = 0;

    if (config_controller_index(config, config->host) < 0)
        return err_why(err, -EINVAL, "this is not a host to begin with",
                       "%s is not among \"controllers\"", config->host);
    if ((rc = file_mkdirs(config->state_dir, 0755)) < 0)
        return err_why(err, rc, "cannot make the state folder", "%s: %s", config->state_dir,
                       strerror(-rc));
    config_own_ips(config, ips);
    rc = pki_create_cluster(config->state_dir, err);
    if (rc == 0 && !pki_present(config->state_dir))
        rc = pki_issue_self(config->state_dir, config->host, ips, err);
    return rc < 0 ? rc : join_token_get(config->state_dir, token, err);
}

int command_init(const char *config_path, const char *password_file)
{
    struct config config;
    struct err err;
    char token[JOIN_TOKEN_SIZE];
    int rc = config_load(config_path, &config, &err);

    if (rc < 0)
        return fail(&err);
    rc = enrol_here(&config, token, &err);
    if (!password_file)
        password_file = json_str(config.raw, "admin_password_file", NULL);
    if (rc == 0)
        rc = keep_password(&config, password_file, &err);
    config_free(&config);
    if (rc < 0)
        return fail(&err);
    puts(token);
    return 0;
}

int command_join(const char *config_path, const char *token)
{
    struct config config;
    struct err err;
    const char *ips[3], *endpoints[CONFIG_CONTROLLERS_MAX + 1];
    size_t n = 0;
    int rc;

    if (!token) {
        fputs("vlingd join: --token is missing. The first controller prints it: vlingd init\n",
              stderr);
        return 2;
    }
    rc = config_load(config_path, &config, &err);
    if (rc < 0)
        return fail(&err);
    config_own_ips(&config, ips);
    for (size_t i = 0; i < config.controller_count; i++) {
        if (strcmp(config.controllers[i].host, config.host) != 0)
            endpoints[n++] = config.controllers[i].ip;
    }
    endpoints[n] = NULL;
    rc = file_mkdirs(config.state_dir, 0755);
    if (rc == 0)
        rc = join_run(&(struct join_request){.state_dir = config.state_dir,
                                             .host = config.host,
                                             .ips = ips,
                                             .endpoints = endpoints,
                                             .token = token,
                                             .controller = config_controller_index(
                                                               &config, config.host) >= 0},
                      &err);
    else
        err_why(&err, rc, "cannot make the state folder", "%s: %s", config.state_dir,
                strerror(-rc));
    if (rc == 0)
        printf("%s is a member of the cluster; start vlingd\n", config.host);
    config_free(&config);
    return rc < 0 ? fail(&err) : 0;
}

int command_check(const char *config_path)
{
    struct config config;
    struct err err;

    if (config_load(config_path, &config, &err) < 0)
        return fail(&err);
    printf("%s: host %s, cabinet %s, %zu controllers\n", config_path, config.host, config.cabinet,
           config.controller_count);
    config_free(&config);
    return 0;
}

/* A store that is there must not be mixed with a backup. */
static int check_no_store(const struct config *config, struct err *err)
{
    static const char *const parts[] = {"etcd/member", "store.sqlite"};
    char path[400];

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", config->state_dir, parts[i]);
        if (access(path, F_OK) == 0)
            return err_set(err, -EEXIST, "there is a store already", path,
                           "stop vlingd and its etcd on all controllers and move their stores "
                           "(etcd, etcd.joined, store.sqlite) away first");
    }
    return 0;
}

/* Whoever has the password of user admin founds a cloud when it finds an empty store. To restore on
 * another controller is safe only once that cloud was there: then nobody founds one any more. */
static int check_founder(const struct config *config, struct err *err)
{
    char password[400], founded[400];

    snprintf(password, sizeof(password), "%s/admin-password", config->state_dir);
    bootstrap_founded_path(config, founded, sizeof(founded));
    if (!pki_present(config->state_dir) || access(password, F_OK) == 0 ||
        access(founded, F_OK) == 0)
        return 0;
    return err_set(err, -EPERM, "this is not the controller to restore on",
                   "'vlingd init' ran on another one, which would found a new, empty cloud "
                   "meanwhile",
                   "run it there, or remove <state_dir>/admin-password there and make an empty "
                   "file <state_dir>/cloud-founded here");
}

static int keep_backup(const struct config *config, const json_t *backup, struct err *err)
{
    char path[400], *text = json_dumps(backup, JSON_COMPACT);
    int rc;

    restore_path(config, path, sizeof(path));
    rc = text ? file_write_atomic(path, text, strlen(text), 0600) : -ENOMEM;
    free(text);
    return rc < 0 ? err_why(err, rc, "cannot keep the backup", "%s: %s", path, strerror(-rc)) : 0;
}

static void say_what_follows(const struct config *config, const json_t *backup, const char *token)
{
    printf("%zu rows of %s are restored when vlingd starts here. Its users have the passwords of "
           "then.\n",
           json_array_size(json_object_get(backup, "rows")), json_str(backup, "time", "?"));
    if (!token[0] || config->sqlite)
        return;
    printf("Start it now. The rows go in as soon as most of the %zu controllers run; on each of "
           "the other hosts:\n    vlingd join --token %s\n",
           config->controller_count, token);
}

int command_restore(const char *config_path, const char *file)
{
    struct config config;
    struct err err;
    char token[JOIN_TOKEN_SIZE] = "";
    json_t *backup = NULL;
    bool sealed = true;
    int rc;

    if (!file) {
        fputs("vlingd restore: --file is missing: a file of \"vling backup\"\n", stderr);
        return 2;
    }
    rc = config_load(config_path, &config, &err);
    if (rc < 0)
        return fail(&err);
    rc = check_no_store(&config, &err);
    if (rc == 0 && !(backup = backup_read(file, &sealed, &err)))
        rc = -EINVAL;
    if (rc == 0)
        rc = check_founder(&config, &err);
    if (rc == 0 && !pki_present(config.state_dir))
        rc = enrol_here(&config, token, &err);
    if (rc == 0)
        rc = keep_backup(&config, backup, &err);
    if (!sealed)
        fputs("vlingd: warning: the backup has no checksum; whether it is what was saved cannot "
              "be told\n",
              stderr);
    if (rc == 0)
        say_what_follows(&config, backup, token);
    json_decref(backup);
    config_free(&config);
    return rc < 0 ? fail(&err) : 0;
}
