/* vlingd: the one program on every host. */
#include "assembly.h"
#include "base/log.h"
#include "node/commands.h"
#include "node/guard.h"
#include "node/node.h"

#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "vlingd " VLING_VERSION ": the Vling daemon, one on every host\n"
    "\n"
    "  vlingd [--config FILE] [--verbose]\n"
    "      Runs the daemon in the foreground (a service manager restarts it).\n"
    "  vlingd init [--config FILE] [--admin-password-file FILE]\n"
    "      Once, on the first controller: makes the cluster's certificate authority, this host's\n"
    "      certificate and the password of user admin, and prints the token that other hosts join\n"
    "      with. It has no end: withdraw it when all have joined (vling token). The password is "
    "read from --admin-password-file or the configuration's\n"
    "      \"admin_password_file\", else a random one is made and kept in\n"
    "      <state_dir>/admin-password.\n"
    "  vlingd join --token TOKEN [--config FILE]\n"
    "      On every other host, once: gets its certificate from a running controller.\n"
    "  vlingd restore --file FILE [--config FILE]\n"
    "      On the first controller, in place of init, or on the one that init ran on: all that a\n"
    "      backup holds (\"vling backup\") is written into the empty store when vlingd starts.\n"
    "      The operator's word for it is \"vling restore FILE\".\n"
    "  vlingd check [--config FILE]\n"
    "      Reads the configuration and says what is wrong with it.\n"
    "\n"
    "The configuration is /etc/vling/vlingd.json unless --config says otherwise.\n";

static const struct node_hooks hooks = {
    .start_api = assembly_start_api,
    .stop_api = assembly_stop_api,
    .bootstrap = assembly_bootstrap,
};

struct arguments {
    const char *config, *token, *password_file, *file;
};

static int parse(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"token", required_argument, NULL, 't'},
        {"admin-password-file", required_argument, NULL, 'p'},
        {"file", required_argument, NULL, 'f'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int c;

    ret->config = "/etc/vling/vlingd.json";
    while ((c = getopt_long(argc, argv, "c:t:f:vhV", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config = optarg;
            break;
        case 't':
            ret->token = optarg;
            break;
        case 'p':
            ret->password_file = optarg;
            break;
        case 'f':
            ret->file = optarg;
            break;
        case 'v':
            log_set_level(LOG_LEVEL_DEBUG);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'V':
            puts(VLING_VERSION);
            exit(0);
        default:
            fputs("Try 'vlingd --help'.\n", stderr);
            return -1;
        }
    }
    return 0;
}

/* Starts itself again where it ends with that wish: by the file it runs from, even if another
 * version was installed over it meanwhile. */
static int run(const char *config, char **argv)
{
    int status = node_run(config, &hooks);

    if (status != NODE_RESTART)
        return status;
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    execv("/proc/self/exe", argv);
    perror("vlingd: cannot start again");
    return 1;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    const char *command;

    signal(SIGPIPE, SIG_IGN);
    /* libuv's workers, set before the first use: password hashes, uploads and disks share them with
     * SQLite's transactions, which the lease's renewal is one of. Who keeps one for long limits
     * himself (STORAGE_DIR_COPIES), so that some are always free. */
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    if (sodium_init() < 0) {
        fputs("vlingd: libsodium cannot be initialised\n", stderr);
        return 1;
    }
    if (argc >= 3 && strcmp(argv[1], "--guard") == 0)
        return guard_main(argv[2]);
    if (parse(argc, argv, &arguments) < 0)
        return 2;
    command = optind < argc ? argv[optind] : "run";
    if (optind + 1 < argc) {
        fprintf(stderr, "vlingd: unexpected argument '%s'. Try 'vlingd --help'.\n",
                argv[optind + 1]);
        return 2;
    }
    if (strcmp(command, "run") == 0)
        return run(arguments.config, argv);
    if (strcmp(command, "init") == 0)
        return command_init(arguments.config, arguments.password_file);
    if (strcmp(command, "join") == 0)
        return command_join(arguments.config, arguments.token);
    if (strcmp(command, "restore") == 0)
        return command_restore(arguments.config, arguments.file);
    if (strcmp(command, "check") == 0)
        return command_check(arguments.config);
    fprintf(stderr, "vlingd: unknown command '%s'. Try 'vlingd --help'.\n", command);
    return 2;
}
