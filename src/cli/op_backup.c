/* vling backup: all rows of the cloud into a file. */
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: vling backup FILE [--lab]\n\n"
    "Writes everything that the cloud knows (users, networks, servers, images' records ...) into\n"
    "FILE. It holds secrets and is readable by root only. The bytes of images and disks are not\n"
    "in it: they are in the storage. Run it on a controller. Into a new cloud with: vlingd restore "
    "--file FILE\n";

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
    if (rc < 0)
        return rc;
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
