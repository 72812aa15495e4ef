/* What enable, disable and drain do to a host, or to all hosts of a cabinet at once. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DRAIN_STILL_MS 120000

enum cli_change cli_change_of(const char *verb)
{
    static const char *const verbs[] = {
        [CLI_ENABLE] = "enable", [CLI_DISABLE] = "disable", [CLI_DRAIN] = "drain"};

    for (size_t i = CLI_ENABLE; i <= CLI_DRAIN; i++) {
        if (strcmp(verb, verbs[i]) == 0)
            return (enum cli_change)i;
    }
    return CLI_CHANGE_NONE;
}

/* The rows of the host, or of all hosts of the cabinet. */
static json_t *hosts_of(const json_t *status, bool cabinet, const char *name)
{
    json_t *list = json_array(), *host;
    size_t i;

    json_array_foreach(json_object_get(status, "hosts"), i, host)
    {
        if (strcmp(json_str(host, cabinet ? "cabinet" : "id", ""), name) == 0)
            json_array_append(list, host);
    }
    return list;
}

static const json_t *host_in(const json_t *hosts, const char *id)
{
    const json_t *host;
    size_t i;

    json_array_foreach((json_t *)hosts, i, host)
    {
        if (strcmp(json_str(host, "id", ""), id) == 0)
            return host;
    }
    return NULL;
}

/* Of the losses: what would not find a place elsewhere. */
static void warn_of_room(const json_t *status, const char *name)
{
    const json_t *loss;
    size_t i;

    json_array_foreach(json_object_get(status, "losses"), i, loss)
    {
        if (strcmp(json_str(loss, "loss", ""), name) == 0 && json_int(loss, "stranded", 0) > 0)
            fprintf(stderr, "for %lld of its servers there is no room elsewhere now: they stay\n",
                    (long long)json_int(loss, "stranded", 0));
    }
}

static const char *why_left(const json_t *row)
{
    if (strcmp(json_str(row, "power", ""), "paused") == 0)
        return "it is paused";
    return json_str(row, "stays", "");
}

/* What still is on the hosts: servers and routers. */
static size_t list_left(struct cli_daemon *daemon, const json_t *hosts, json_t *left,
                        struct err *err)
{
    static const char *const paths[] = {"/v1/rows?table=server", "/v1/rows?table=router"};
    size_t i;

    for (size_t k = 0; k < 2; k++) {
        json_t *answer = NULL, *row;
        int rc = cli_ask(daemon, paths[k], NULL, &answer, err);

        if (rc < 0)
            return SIZE_MAX;
        json_array_foreach(json_object_get(answer, "rows"), i, row)
        {
            if (host_in(hosts, json_str(row, "host_id", "")))
                json_array_append_new(
                    left,
                    json_pack("{s:s, s:O, s:O, s:s, s:s, s:s}", "kind", k ? "router" : "server",
                              "id", json_object_get(row, "id"), "name",
                              json_object_get(row, "name"), "power", json_str(row, "power", ""),
                              "to", json_str(row, "move_to", ""), "why", why_left(row)));
        }
        json_decref(answer);
    }
    return json_array_size(left);
}

/* Until nothing is left, or for DRAIN_STILL_MS nothing has left. */
static int wait_drained(struct cli_daemon *daemon, const char *name, const json_t *hosts,
                        struct err *err)
{
    static const char *const columns[] = {"kind", "id", "name", "power", "to", "why", NULL};
    int64_t since = clock_now_ms();
    size_t before = SIZE_MAX;

    for (;;) {
        json_t *left = json_array();
        size_t count = list_left(daemon, hosts, left, err);

        if (count != SIZE_MAX && count != before) {
            fprintf(stderr, "%s: servers and routers left: %zu\n", name, count);
            before = count;
            since = clock_now_ms();
        }
        if (count == 0 || clock_now_ms() - since > DRAIN_STILL_MS) {
            if (count != 0 && count != SIZE_MAX)
                cli_print_rows(CLI_TABLE, left, columns);
            json_decref(left);
            break;
        }
        json_decref(left);
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
    return before == 0 ? 0
                       : err_set(err, -ETIMEDOUT, "these do not leave", name,
                                 "paused servers stay until they run; others need room elsewhere "
                                 "(vling status); it goes on when there is");
}

static int ask_change(struct cli_daemon *daemon, bool cabinet, const char *name,
                      enum cli_change change, struct err *err)
{
    json_t *body =
        json_pack("{s:b, s:b}", "disabled", change != CLI_ENABLE, "draining", change == CLI_DRAIN);
    char path[160];
    int rc;

    snprintf(path, sizeof(path), "/v1/%s/%s", cabinet ? "cabinet" : "host", name);
    rc = cli_ask(daemon, path, body, NULL, err);
    json_decref(body);
    return rc;
}

static void tell(const char *kind, const char *name, enum cli_change change, bool wait,
                 const json_t *hosts)
{
    const json_t *host;
    size_t i;

    if (change != CLI_DRAIN) {
        printf("%s %s\n", name, change == CLI_DISABLE ? "gets nothing new" : "is taken back");
        return;
    }
    printf("%s %s; take it back with: vling %s enable %s\n", name,
           wait ? "is drained" : "is being drained", kind, name);
    json_array_foreach((json_t *)hosts, i, host)
    {
        if (json_has_str(host, "roles", "controller"))
            fprintf(stderr, "%s is still a controller (vling controller replace %s HOST)\n",
                    json_str(host, "id", ""), json_str(host, "id", ""));
    }
}

int cli_change_place(bool lab, bool cabinet, const char *name, enum cli_change change, bool wait,
                     struct err *err)
{
    struct cli_daemon *daemon = NULL;
    json_t *status = NULL, *hosts;
    int rc = cli_status(lab, &status, err);

    if (rc < 0)
        return rc;
    hosts = hosts_of(status, cabinet, name);
    if (strlen(name) > 64 || json_array_size(hosts) == 0)
        rc = err_set(err, -ENOENT, cabinet ? "no such cabinet" : "no such host", name,
                     cabinet ? "see: vling cabinet list" : "see: vling host list");
    if (rc == 0)
        rc = cli_daemon_open(lab, &daemon, err);
    if (rc == 0 && change == CLI_DRAIN)
        warn_of_room(status, name);
    if (rc == 0)
        rc = ask_change(daemon, cabinet, name, change, err);
    if (rc == 0 && change == CLI_DRAIN && wait)
        rc = wait_drained(daemon, name, hosts, err);
    if (rc == 0)
        tell(cabinet ? "cabinet" : "host", name, change, wait, hosts);
    cli_daemon_close(daemon);
    json_decref(hosts);
    json_decref(status);
    return rc;
}
