/* vling token: what hosts join the cloud with. */
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: vling token list [-f table|json|value|tsv] [--lab]\n"
    "       vling token create [--host NAME] [--hours N] [--lab]\n"
    "       vling token withdraw ID [--lab]\n\n"
    "  list         the tokens that hosts can join with (vlingd join --token); not their secrets\n"
    "  create       a new one, printed once; good for 24 hours or N\n"
    "  withdraw ID  nobody joins with it any more, at no controller\n\n"
    "The token that vlingd init printed has no end: withdraw it when all hosts have joined. With\n"
    "an ordinary token only new names join: who has the name of a host that is known gets in with\n"
    "that host's key only. A host that lost its disk needs a token of its own: --host NAME.\n"
    "Run it on a controller.\n";

static int list(struct cli_daemon *daemon, enum cli_format format, struct err *err)
{
    json_t *answer = NULL;
    int rc = cli_ask(daemon, "/v1/tokens", NULL, &answer, err);

    if (rc == 0)
        cli_print_listed(format, json_object_get(answer, "tokens"), &resource_join_token);
    json_decref(answer);
    return rc;
}

static int create(struct cli_daemon *daemon, const char *host, const char *hours, struct err *err)
{
    json_t *body = json_object(), *options = json_object(), *answer = NULL;
    char *end = NULL;
    long n = hours ? strtol(hours, &end, 10) : 0;
    int rc = 0;

    if (hours && (*end || n < 1))
        rc = err_set(err, -EINVAL, "this is no number of hours", hours, NULL);
    if (host)
        json_put_str(options, "host", host);
    if (hours)
        json_put_int(options, "hours", n);
    json_object_set_new(body, "create", options);
    if (rc == 0)
        rc = cli_ask(daemon, "/v1/tokens", body, &answer, err);
    if (rc == 0) {
        puts(json_str(answer, "token", ""));
        fprintf(stderr, "token %s, for %s, until %s\n", json_str(answer, "id", ""),
                host ? host : "any new host", json_str(answer, "expires_at", ""));
    }
    json_decref(answer);
    json_decref(body);
    return rc;
}

static int withdraw(struct cli_daemon *daemon, const char *id, struct err *err)
{
    json_t *body = json_pack("{s:s}", "withdraw", id);
    int rc = cli_ask(daemon, "/v1/tokens", body, NULL, err);

    if (rc == 0)
        printf("%s is withdrawn\n", id);
    json_decref(body);
    return rc;
}

/* Takes "--name VALUE" out of the arguments; NULL if it is not there. */
static const char *take_option(int *argc, char **argv, const char *name)
{
    const char *value = NULL;

    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], name) != 0)
            continue;
        value = argv[i + 1];
        memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 2) * sizeof(*argv));
        *argc -= 2;
        break;
    }
    return value;
}

int cmd_token(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct cli_daemon *daemon = NULL;
    struct err err = {0};
    bool lab = cli_take_flag(&argc, argv, "--lab");
    const char *host = take_option(&argc, argv, "--host");
    const char *hours = take_option(&argc, argv, "--hours");
    int rc = cli_take_format(&argc, argv, &format, &err);
    const char *verb = argc > 1 ? argv[1] : "";

    if (argc < 2 || cli_is_help(verb)) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (rc == 0)
        rc = cli_daemon_open(lab, &daemon, &err);
    if (rc == 0 && strcmp(verb, "list") == 0 && argc == 2)
        rc = list(daemon, format, &err);
    else if (rc == 0 && strcmp(verb, "create") == 0 && argc == 2)
        rc = create(daemon, host, hours, &err);
    else if (rc == 0 && strcmp(verb, "withdraw") == 0 && argc == 3)
        rc = withdraw(daemon, argv[2], &err);
    else if (rc == 0)
        rc = err_set(&err, -EINVAL, "cannot understand the command", verb,
                     "see: vling token --help");
    cli_daemon_close(daemon);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}
