/* vling backup: all rows of the cloud into a file. vling restore: a cloud out of such a file. */
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "model/backup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: vling backup FILE [--lab]\n\n"
    "Writes everything that the cloud knows (users, networks, servers, images' records ...) into\n"
    "FILE. It holds secrets and is readable by root only. The bytes of images and disks are not\n"
    "in it: they are in the storage. Run it on a controller. Into a new cloud with: vling restore "
    "FILE\n";

static const char restore_help[] =
    "usage: vling restore FILE [--config FILE]\n\n"
    "Makes a cloud out of what vling backup wrote: all its users, networks, servers ... with "
    "their\n"
    "ids and passwords. On one controller, before its vlingd runs; the rows are written when "
    "vlingd\n"
    "starts. Images and disks must be in the storage as they were.\n\n"
    "  a lost cloud        Stop vlingd and its etcd on all controllers, move their stores (etcd,\n"
    "                      etcd.joined, store.sqlite in the state folder) away, restore on one of\n"
    "                      them, start vlingd on all.\n"
    "  one machine to three controllers\n"
    "                      1. On the one machine: vling backup FILE; stop its vlingd for good.\n"
    "                      2. Write /etc/vling/vlingd.json for the three, with all of them in\n"
    "                         \"controllers\" and without \"store\": \"sqlite\".\n"
    "                      3. On the first: vling restore FILE. It makes the cluster's authority,\n"
    "                         too, in place of vlingd init, and says how the others join.\n"
    "                      4. Start vlingd there; join and start the others.\n"
    "                      The one machine can be one of the three: move pki, store.sqlite and\n"
    "                      what lies beside it out of its state folder after step 1.\n\n"
    "  --config FILE       instead of /etc/vling/vlingd.json\n";

/* Is it what the daemon had, and can it be restored? */
static int check(const json_t *backup, struct err *err)
{
    bool sealed;
    int rc = backup_check(backup, &sealed, err);

    if (rc == 0 && !sealed)
        fputs("vling: warning: this daemon is older and its backups have no checksum\n", stderr);
    return rc;
}

static int run(const char *file, bool lab, struct err *err)
{
    struct cli_daemon *daemon;
    json_t *backup = NULL;
    char *text;
    int rc = cli_daemon_open(lab, &daemon, err);

    if (rc < 0)
        return rc;
    rc = cli_ask(daemon, "/v1/backup", NULL, &backup, err);
    cli_daemon_close(daemon);
    if (rc == 0)
        rc = check(backup, err);
    if (rc < 0) {
        json_decref(backup);
        return rc;
    }
    text = json_dumps(backup, JSON_COMPACT);
    rc = text ? file_write_atomic(file, text, strlen(text), 0600) : -ENOMEM;
    if (rc < 0)
        err_why(err, rc, "cannot write the backup", "%s: %s", file, strerror(-rc));
    else
        printf("%zu rows as of revision %lld are in %s\n",
               json_array_size(json_object_get(backup, "rows")),
               (long long)json_int(backup, "revision", 0), file);
    free(text);
    json_decref(backup);
    return rc;
}

int cmd_backup(int argc, char **argv)
{
    struct err err = {0};
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc;

    if (argc != 2 || cli_is_help(argv[1])) {
        fputs(help, argc == 2 ? stdout : stderr);
        return argc == 2 ? 0 : 2;
    }
    rc = run(argv[1], lab, &err);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}

/* The daemon's program knows how: the one beside this, or in its folder for daemons, or by PATH. */
static int run_vlingd(char *const argv[])
{
    static const char *const places[] = {"vlingd", "../sbin/vlingd"};
    char self[PATH_MAX], path[PATH_MAX + 32];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[size > 0 ? size : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < 2; i++) {
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - self), self, places[i]);
        execv(path, argv);
    }
    execvp("vlingd", argv);
    return -errno;
}

int cmd_restore(int argc, char **argv)
{
    const char *config = "/etc/vling/vlingd.json", *file = NULL;
    bool wrong = false;
    struct err err;
    int rc;

    for (int i = 1; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(restore_help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            config = argv[++i];
        else if (argv[i][0] != '-' && !file)
            file = argv[i];
        else
            wrong = true;
    }
    if (wrong || !file) {
        fputs(restore_help, stderr);
        return 2;
    }
    rc = run_vlingd(
        (char *[]){"vlingd", "restore", "--file", (char *)file, "--config", (char *)config, NULL});
    err_set(&err, rc, "cannot run vlingd", strerror(-rc), "it is installed beside vling");
    return cli_failed(rc, &err);
}
