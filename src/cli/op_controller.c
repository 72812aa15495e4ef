/* vling controller: which hosts are controllers, and changing that while the cloud runs. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 180000
#define ASK_AGAIN_MS 500
#define PATIENCE_MS 20000 /* daemons start again one after the other, and a new leader is found */

static const char *const columns[] = {"host",   "cabinet", "ip",      "state",
                                      "member", "leader",  "serving", NULL};

static const char help[] =
    "usage: vling controller list [-f table|json|value|tsv] [--lab]\n"
    "       vling controller add|remove HOST [--no-wait] [--lab]\n"
    "       vling controller replace OLD NEW [--lab]\n\n"
    "  list             the controllers: is the host up, does its member of the store answer\n"
    "                   (started; down: it does not; added: it never ran yet), which one leads "
    "it,\n"
    "                   does its daemon serve as controller\n"
    "  add HOST         makes a host of the cloud a controller as well\n"
    "  remove HOST      makes it an ordinary host again, also when it is dead for ever\n"
    "  replace OLD NEW  both, in the order that keeps a majority; OLD may be dead\n\n"
    "Changes are made on a controller. The daemons start again one after the other; guests and "
    "networking do not notice. It is\n"
    "refused where a majority would be lost. Keep an odd number, in different cabinets: three\n"
    "survive the loss of one, five of two.\n";

/* ---- waiting ---- */

static const json_t *find(const json_t *answer, const char *host)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(answer, "controllers"), i, row)
    {
        if (strcmp(json_str(row, "host", ""), host) == 0)
            return row;
    }
    return NULL;
}

/* Added: its member runs and its daemon serves. Removed: no member is left of it. */
static bool is_done(const json_t *answer, const char *host, bool added)
{
    const json_t *row = find(answer, host);

    if (added)
        return row && strcmp(json_str(row, "member", ""), "started") == 0 &&
               json_bool(row, "serving", false);
    return !row && (size_t)json_int(answer, "members", 0) ==
                       json_array_size(json_object_get(answer, "controllers"));
}

static int wait_for(struct cli_daemon *daemon, const char *host, bool added, struct err *err)
{
    int64_t end = clock_now_ms() + WAIT_MS;
    char last[80] = "";

    for (;;) {
        json_t *answer = NULL;
        struct err ignored;
        char now[80];
        bool done = false;

        /* The daemon that is asked starts again meanwhile, too. */
        if (cli_ask(daemon, "/v1/controllers", NULL, &answer, &ignored) == 0) {
            const json_t *row = find(answer, host);

            done = is_done(answer, host, added);
            snprintf(now, sizeof(now), "%s's member of the store: %s", host,
                     row ? json_str(row, "member", "") : "leaving");
            if (!done && strcmp(now, last) != 0)
                fprintf(stderr, "%s\n", now);
            snprintf(last, sizeof(last), "%s", now);
            json_decref(answer);
        }
        if (done)
            return 0;
        if (clock_now_ms() >= end)
            return err_set(err, -ETIMEDOUT, "the change is written, but not carried out yet", host,
                           "see: vling controller list, vling events");
        nanosleep(&(struct timespec){.tv_nsec = ASK_AGAIN_MS * 1000000L}, NULL);
    }
}

/* ---- changing it ---- */

/* The list when `host` is in it (`listed`) or is not; NULL: otherwise, or unknown. */
static json_t *list_if(struct cli_daemon *daemon, const char *host, bool listed)
{
    json_t *answer = NULL;
    struct err ignored;

    if (cli_ask(daemon, "/v1/controllers", NULL, &answer, &ignored) == 0 &&
        (find(answer, host) != NULL) == listed)
        return answer;
    json_decref(answer);
    return NULL;
}

/* A refusal counts at once, except where an earlier answer got lost and the change is written
 * already, and in a replacement (`patient`): its first half makes the controllers start again, so
 * a refusal may pass. */
static int ask_change(struct cli_daemon *daemon, const char *host, bool add, bool patient,
                      json_t **ret, struct err *err)
{
    json_t *body = json_pack("{s:s}", add ? "add" : "remove", host);
    json_t *before = list_if(daemon, host, !add), *after = NULL;
    int64_t end = clock_now_ms() + PATIENCE_MS;
    bool said = false;
    char line[700];
    int rc;

    for (;;) {
        rc = cli_ask(daemon, "/v1/controllers", body, ret, err);
        if (rc < 0 && before && (after = list_if(daemon, host, add))) {
            *ret = after;
            rc = 0;
        }
        if (rc == 0 || rc == -ENOENT || rc == -EPERM || (rc == -EREMOTEIO && !patient) ||
            clock_now_ms() >= end)
            break;
        if (!said)
            fprintf(stderr, "trying again: %s\n", err_line(err, line, sizeof(line)));
        said = true;
        nanosleep(&(struct timespec){.tv_nsec = ASK_AGAIN_MS * 1000000L}, NULL);
    }
    json_decref(before);
    json_decref(body);
    return rc;
}

static int change(struct cli_daemon *daemon, const char *host, bool add, bool wait, bool patient,
                  struct err *err)
{
    json_t *answer = NULL;
    int rc = ask_change(daemon, host, add, patient, &answer, err);
    size_t count = json_array_size(json_object_get(answer, "controllers"));

    json_decref(answer);
    if (rc == 0 && wait)
        rc = wait_for(daemon, host, add, err);
    if (rc < 0)
        return rc;
    printf("%s %s; there %s %zu\n", host, add ? "is a controller now" : "is no controller any more",
           count == 1 ? "is" : "are", count);
    return 0;
}

/* An even number costs one more and survives no more. */
static void advise(struct cli_daemon *daemon)
{
    struct err err;
    json_t *answer = NULL;
    size_t count;

    if (cli_ask(daemon, "/v1/controllers", NULL, &answer, &err) < 0)
        return;
    count = json_array_size(json_object_get(answer, "controllers"));
    if (count % 2 == 0)
        fprintf(stderr,
                "%zu controllers survive the loss of %zu, as %zu would: better make it an "
                "odd number\n",
                count, count / 2 - 1, count - 1);
    json_decref(answer);
}

/* Found out before anything is changed: a dead OLD is taken out before NEW can be refused. */
static int check_new(struct cli_daemon *daemon, const char *new, struct err *err)
{
    json_t *status = NULL, *host;
    const char *state = NULL;
    size_t i;
    int rc = cli_ask(daemon, "/v1/status", NULL, &status, err);

    json_array_foreach(json_object_get(status, "hosts"), i, host)
    {
        if (strcmp(json_str(host, "id", ""), new) == 0)
            state = json_str(host, "state", "");
    }
    if (rc == 0 && !state)
        rc = err_set(err, -ENOENT, "no such host", new, "see: vling host list");
    else if (rc == 0 && strcmp(state, "up") != 0)
        rc = err_set(err, -EHOSTDOWN, "this host is not up", new, "see: vling host list");
    json_decref(status);
    return rc;
}

/* With OLD's member alive the new one comes first, so that the number never falls. With OLD dead
 * one more member would need a majority that is not there, so OLD goes first. */
static int replace(struct cli_daemon *daemon, const char *old, const char *new, struct err *err)
{
    json_t *answer = NULL;
    const json_t *row;
    bool up;
    int rc = cli_ask(daemon, "/v1/controllers", NULL, &answer, err);

    if (rc < 0)
        return rc;
    row = find(answer, old);
    up = strcmp(json_str(row, "member", ""), "started") == 0;
    if (!row)
        rc = err_set(err, -ENOENT, "this host is no controller", old, "see: vling controller list");
    else if (find(answer, new))
        rc = err_set(err, -EEXIST, "this host is a controller already", new,
                     "see: vling controller list");
    else
        rc = check_new(daemon, new, err);
    json_decref(answer);
    if (rc == 0)
        rc = change(daemon, up ? new : old, up, true, true, err);
    if (rc == 0)
        rc = change(daemon, up ? old : new, !up, true, true, err);
    return rc;
}

static int list(struct cli_daemon *daemon, enum cli_format format, struct err *err)
{
    json_t *answer = NULL;
    int rc = cli_ask(daemon, "/v1/controllers", NULL, &answer, err);

    if (rc == 0)
        cli_print_rows(format, json_object_get(answer, "controllers"), columns);
    json_decref(answer);
    return rc;
}

int cmd_controller(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct cli_daemon *daemon = NULL;
    struct err err = {0};
    bool explain = argc < 2 || cli_wants_help(argc, argv);
    bool lab = cli_take_flag(&argc, argv, "--lab");
    bool no_wait = cli_take_flag(&argc, argv, "--no-wait");
    int rc = cli_take_format(&argc, argv, &format, &err);
    const char *verb = argc > 1 ? argv[1] : "";

    if (explain) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (rc == 0)
        rc = cli_daemon_open(lab, &daemon, &err);
    if (rc == 0)
        cli_daemon_patience(daemon, PATIENCE_MS);
    if (rc == 0 && strcmp(verb, "list") == 0 && argc == 2)
        rc = list(daemon, format, &err);
    else if (rc == 0 && strcmp(verb, "add") == 0 && argc == 3)
        rc = change(daemon, argv[2], true, !no_wait, false, &err);
    else if (rc == 0 && strcmp(verb, "remove") == 0 && argc == 3)
        rc = change(daemon, argv[2], false, !no_wait, false, &err);
    else if (rc == 0 && strcmp(verb, "replace") == 0 && argc == 4)
        rc = replace(daemon, argv[2], argv[3], &err);
    else if (rc == 0)
        rc = err_set(&err, -EINVAL, "cannot understand the command", verb,
                     "see: vling controller --help");
    if (rc == 0 && argc == 3)
        advise(daemon);
    cli_daemon_close(daemon);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}
