/* vling events: the log of what the cloud saw and did, oldest first. */
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS_LIMIT 500

static const char help[] =
    "usage: vling events [-F] [-n N] [-f table|json|value|tsv] [--lab]\n\n"
    "What the cloud saw and did, oldest first: hosts lost and back, servers moved, addresses\n"
    "taken over.\n"
    "  -F, --follow, -f alone   go on as new ones appear (until Ctrl-C)\n"
    "  -n N                     the last N (100, at most 500)\n";

struct options {
    enum cli_format format;
    bool follow, lab;
    long last;
};

static bool take_last(const char *text, long *ret)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end != '\0' || value < 1 || value > EVENTS_LIMIT)
        return false;
    *ret = value;
    return true;
}

static bool format_named(const char *name, enum cli_format *ret)
{
    static const char *const formats[] = {"table", "json", "value", "tsv"};

    for (size_t k = 0; k < 4; k++) {
        if (strcmp(name, formats[k]) == 0) {
            *ret = (enum cli_format)k;
            return true;
        }
    }
    return false;
}

/* "-f" is the format where a format's name follows, else it follows the log, as with tail. */
static int parse(int argc, char **argv, struct options *o, struct err *err)
{
    *o = (struct options){.format = CLI_TABLE, .last = 100};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        bool dash_f = strcmp(argv[i], "-f") == 0;

        if (strncmp(argv[i], "--format=", 9) == 0 && format_named(argv[i] + 9, &o->format)) {
            continue;
        } else if (!dash_f && strncmp(argv[i], "-f", 2) == 0 &&
                   format_named(argv[i] + 2, &o->format)) {
            continue;
        } else if ((dash_f || strcmp(argv[i], "--format") == 0) && format_named(next, &o->format)) {
            i++;
        } else if (dash_f || strcmp(argv[i], "-F") == 0 || strcmp(argv[i], "--follow") == 0) {
            o->follow = true;
        } else if (strcmp(argv[i], "--lab") == 0) {
            o->lab = true;
        } else if (strcmp(argv[i], "-n") == 0 && take_last(next, &o->last)) {
            i++;
        } else {
            return err_set(err, -EINVAL, "cannot understand the command", argv[i],
                           "see: vling events --help");
        }
    }
    return 0;
}

/* The members that every event has, then the rest in one cell. */
static void print_event(enum cli_format format, const json_t *event)
{
    static const char *const head[] = {"time", "severity", "kind", "object", "host", "text", NULL};
    char cell[512];
    bool first = true;

    if (format == CLI_JSON) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        return;
    }
    for (size_t i = 0; head[i]; i++) {
        cli_cell(json_object_get(event, head[i]), cell, sizeof(cell));
        printf("%s%s", first ? "" : format == CLI_TSV ? "\t" : "  ", cell);
        first = false;
    }
    putchar('\n');
}

/* `after` is a revision; < 0: the last `limit` events. */
static int fetch(struct cli_daemon *daemon, int64_t after, long limit, json_t **ret,
                 struct err *err)
{
    char path[128];

    if (after >= 0)
        snprintf(path, sizeof(path), "/v1/events?after=%lld&limit=%ld", (long long)after, limit);
    else
        snprintf(path, sizeof(path), "/v1/events?limit=%ld", limit);
    return cli_ask(daemon, path, NULL, ret, err);
}

/* Prints what is new after `*after` and moves it on. They come in the order of their commits, so
 * none is missed because some host's clock is behind. */
static int print_new(struct cli_daemon *daemon, const struct options *o, int64_t *after,
                     struct err *err)
{
    long limit = *after >= 0 ? EVENTS_LIMIT : o->last;
    size_t got;
    int rc;

    do {
        json_t *answer = NULL, *list;

        rc = fetch(daemon, *after, limit, &answer, err);
        list = json_object_get(answer, "events");
        got = json_array_size(list);
        for (size_t i = 0; i < got; i++) {
            const json_t *event = json_array_get(list, i);

            *after = json_int(event, "revision", *after);
            print_event(o->format, event);
        }
        json_decref(answer);
    } while (rc == 0 && got > 0 && limit == EVENTS_LIMIT && o->follow);
    fflush(stdout);
    return rc;
}

static int run(struct cli_daemon *daemon, const struct options *o, struct err *err)
{
    struct timespec pause = {.tv_nsec = 500 * 1000000L};
    int64_t after = -1;
    int rc = print_new(daemon, o, &after, err);

    while (rc == 0 && o->follow) {
        if (after < 0)
            after = 0; /* no event yet: the first one is new */
        nanosleep(&pause, NULL);
        /* A controller that dies is what one wants to watch: go on. */
        print_new(daemon, o, &after, NULL);
    }
    return rc;
}

int cmd_events(int argc, char **argv)
{
    struct cli_daemon *daemon;
    struct options options;
    struct err err = {0};
    int rc;

    if (cli_wants_help(argc, argv)) {
        fputs(help, stdout);
        return 0;
    }
    rc = parse(argc, argv, &options, &err);
    if (rc == 0)
        rc = cli_daemon_open(options.lab, &daemon, &err);
    if (rc < 0)
        return cli_failed(rc, &err);
    rc = run(daemon, &options, &err);
    cli_daemon_close(daemon);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}
