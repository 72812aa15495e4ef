/* vling status, host, cabinet: what GET /v1/status says, for people and for scripts. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DRAIN_STILL_MS 120000

static const char *const cabinet_columns[] = {"id",      "hosts", "up", "controllers",
                                              "servers", "state", NULL};

/* `since` (milliseconds or ISO text) becomes the member "age". */
static void put_ages(json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const json_t *since = json_object_get(row, "since");
        int64_t ms = json_is_string(since) ? clock_parse_iso(json_string_value(since))
                                           : json_int(row, "since", -1);
        char age[32] = "-";

        if (ms > 0)
            cli_age(clock_wall_ms() - ms, age, sizeof(age));
        json_put_str(row, "age", age);
    }
}

static int get_status(bool lab, json_t **ret, struct err *err)
{
    struct cli_daemon *daemon;
    int rc = cli_daemon_open(lab, &daemon, err);

    if (rc < 0)
        return rc;
    rc = cli_ask(daemon, "/v1/status", NULL, ret, err);
    cli_daemon_close(daemon);
    return rc;
}

static json_t *find_host(const json_t *status, const char *name)
{
    json_t *host;
    size_t i;

    json_array_foreach(json_object_get(status, "hosts"), i, host)
    {
        if (strcmp(json_str(host, "id", ""), name) == 0)
            return host;
    }
    return NULL;
}

static bool host_is_up(const json_t *host)
{
    return strcmp(json_str(host, "state", ""), "up") == 0;
}

/* One row a cabinet, counted from the hosts. */
static json_t *cabinets_of(const json_t *status)
{
    json_t *by_name = json_object(), *rows = json_array(), *host, *row;
    const char *name;
    size_t i;

    json_array_foreach(json_object_get(status, "hosts"), i, host)
    {
        const char *cabinet = json_str(host, "cabinet", "");

        row = json_object_get(by_name, cabinet);
        if (!row) {
            row = json_pack("{s:s, s:i, s:i, s:i, s:i}", "id", cabinet, "hosts", 0, "up", 0,
                            "controllers", 0, "servers", 0);
            json_object_set_new(by_name, cabinet, row);
        }
        json_put_int(row, "hosts", json_int(row, "hosts", 0) + 1);
        json_put_int(row, "up", json_int(row, "up", 0) + (host_is_up(host) ? 1 : 0));
        json_put_int(row, "servers", json_int(row, "servers", 0) + json_int(host, "servers", 0));
        if (json_has_str(host, "roles", "controller"))
            json_put_int(row, "controllers", json_int(row, "controllers", 0) + 1);
    }
    json_object_foreach(by_name, name, row)
    {
        int64_t up = json_int(row, "up", 0);

        json_put_str(row, "state",
                     up == json_int(row, "hosts", 0) ? "up"
                     : up == 0                       ? "down"
                                                     : "degraded");
        json_array_append(rows, row);
    }
    json_decref(by_name);
    return rows;
}

/* All cabinets, and of the hosts those that are told apart by not being survived. */
static void print_losses(const json_t *losses)
{
    static const char *const columns[] = {"loss", "kind", "survived", "servers", "why", NULL};
    json_t *shown = json_array(), *loss;
    size_t i, hosts = 0, fine = 0;

    json_array_foreach((json_t *)losses, i, loss)
    {
        bool host = strcmp(json_str(loss, "kind", ""), "host") == 0;
        bool survived = json_bool(loss, "survived", false);

        hosts += host;
        fine += host && survived;
        if (!host || !survived)
            json_array_append(shown, loss);
    }
    printf("\nWhat would be survived now (any one of these)\n");
    cli_print_rows(CLI_TABLE, shown, columns);
    printf("hosts: the loss of %zu of %zu would be survived\n", fine, hosts);
    json_decref(shown);
}

/* What the hosts themselves complain of, and what they should. */
static void print_alerts(const json_t *hosts)
{
    const json_t *host;
    char text[300];
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (json_str(host, "alert", NULL))
            printf("%s: %s\n", json_str(host, "id", "?"), json_str(host, "alert", ""));
        if (cli_certificate_alert(host, clock_wall_ms(), text, sizeof(text)))
            printf("%s\n", text);
    }
}

/* Hosts of several versions: an upgrade that is under way, or one that was forgotten. */
static void tell_versions(const json_t *hosts)
{
    const char *first = NULL;
    const json_t *host;
    size_t i;

    json_array_foreach((json_t *)hosts, i, host)
    {
        const char *version = json_str(host, "version", "-");

        if (first && strcmp(first, version) != 0) {
            printf("\nversions differ: %s and %s (see the column)", first, version);
            return;
        }
        first = version;
    }
}

static void print_status(json_t *status)
{
    const json_t *store = json_object_get(status, "store");
    json_t *servers = json_object_get(status, "servers"), *count, *rows;
    const char *key;

    printf("asked: %s, vling %s\n", json_str(status, "host", "-"),
           json_str(status, "version", "-"));
    printf("store: %s, %s, revision %lld, %lld KiB  %s\n", json_str(store, "engine", "-"),
           json_bool(store, "reachable", false) ? "reachable" : "NOT reachable",
           (long long)json_int(store, "revision", 0),
           (long long)json_int(store, "size_bytes", 0) / 1024, json_str(store, "detail", ""));
    printf("servers:");
    if (json_object_size(servers) == 0)
        printf(" none");
    json_object_foreach(servers, key, count)
        printf(" %lld %s", (long long)json_integer_value(count), key);
    tell_versions(json_object_get(status, "hosts"));
    printf("\n\nCabinets\n");
    rows = cabinets_of(status);
    cli_print_rows(CLI_TABLE, rows, cabinet_columns);
    json_decref(rows);
    printf("\nHosts\n");
    put_ages(json_object_get(status, "hosts"));
    cli_print_listed(CLI_TABLE, json_object_get(status, "hosts"), &resource_host);
    print_alerts(json_object_get(status, "hosts"));
    printf("\nWho holds what\n");
    put_ages(json_object_get(status, "modules"));
    cli_print_listed(CLI_TABLE, json_object_get(status, "modules"), &resource_module);
    print_losses(json_object_get(status, "losses"));
}

int cmd_status(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct err err = {0};
    json_t *status;
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc = cli_take_format(&argc, argv, &format, &err);

    if (argc > 1 && cli_is_help(argv[1])) {
        printf(
            "usage: vling status [-f table|json|value|tsv] [--lab]\n\n"
            "The cloud at a glance: the replicated store, cabinets, hosts with their leases and\n"
            "roles, who holds what (the API's virtual IP), and which losses of a cabinet or host\n"
            "would be survived now.\n"
            "--lab asks the lab on this machine even where a vlingd is configured.\n");
        return 0;
    }
    if (rc == 0 && argc > 1)
        rc = err_set(&err, -EINVAL, "cannot understand the command", argv[1],
                     "see: vling status --help");
    if (rc == 0)
        rc = get_status(lab, &status, &err);
    if (rc < 0)
        return cli_failed(rc, &err);
    if (format == CLI_TABLE)
        print_status(status);
    else if (format == CLI_JSON)
        cli_print_object(CLI_JSON, status);
    else
        cli_print_listed(format, json_object_get(status, "hosts"), &resource_host);
    json_decref(status);
    return 0;
}

static int host_list(bool lab, enum cli_format format, struct err *err)
{
    json_t *status;
    int rc = get_status(lab, &status, err);

    if (rc < 0)
        return rc;
    put_ages(json_object_get(status, "hosts"));
    cli_print_listed(format, json_object_get(status, "hosts"), &resource_host);
    json_decref(status);
    return 0;
}

static int host_show(bool lab, enum cli_format format, const char *name, struct err *err)
{
    json_t *status, *host;
    int rc = get_status(lab, &status, err);

    if (rc < 0)
        return rc;
    host = find_host(status, name);
    if (host)
        cli_print_object(format, host);
    else
        rc = err_set(err, -ENOENT, "no such host", name, "see: vling host list");
    json_decref(status);
    return rc;
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

/* What still is on the host: its servers and routers. */
static size_t list_left(struct cli_daemon *daemon, const char *name, json_t *left, struct err *err)
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
            if (strcmp(json_str(row, "host_id", ""), name) == 0)
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
static int wait_drained(struct cli_daemon *daemon, const char *name, struct err *err)
{
    static const char *const columns[] = {"kind", "id", "name", "power", "to", "why", NULL};
    int64_t since = clock_now_ms();
    size_t before = SIZE_MAX;

    for (;;) {
        json_t *left = json_array();
        size_t count = list_left(daemon, name, left, err);

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

static int host_drain(bool lab, const char *name, bool wait, struct err *err)
{
    struct cli_daemon *daemon;
    json_t *body, *status = NULL;
    const json_t *host = NULL;
    char path[160];
    int rc = get_status(lab, &status, err);

    if (rc == 0 && (strlen(name) > 64 || !(host = find_host(status, name))))
        rc = err_set(err, -ENOENT, "no such host", name, "see: vling host list");
    if (rc == 0)
        rc = cli_daemon_open(lab, &daemon, err);
    if (rc < 0) {
        json_decref(status);
        return rc;
    }
    warn_of_room(status, name);
    snprintf(path, sizeof(path), "/v1/host/%s", name);
    body = json_pack("{s:b, s:b}", "disabled", true, "draining", true);
    rc = cli_ask(daemon, path, body, NULL, err);
    json_decref(body);
    if (rc == 0 && wait)
        rc = wait_drained(daemon, name, err);
    cli_daemon_close(daemon);
    if (rc == 0)
        printf("%s %s; take it back with: vling host enable %s\n", name,
               wait ? "is drained" : "is being drained", name);
    if (rc == 0 && json_has_str(host, "roles", "controller"))
        fprintf(stderr, "it is still a controller (vling controller replace %s HOST)\n", name);
    json_decref(status);
    return rc;
}

static int host_disable(bool lab, const char *name, bool disabled, struct err *err)
{
    struct cli_daemon *daemon;
    json_t *body, *status;
    char path[160];
    int rc = get_status(lab, &status, err);

    if (rc < 0)
        return rc;
    if (!find_host(status, name) || strlen(name) > 64)
        rc = err_set(err, -ENOENT, "no such host", name, "see: vling host list");
    json_decref(status);
    if (rc == 0)
        rc = cli_daemon_open(lab, &daemon, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "/v1/host/%s", name);
    body = json_pack("{s:b}", "disabled", disabled);
    rc = cli_ask(daemon, path, body, NULL, err);
    json_decref(body);
    cli_daemon_close(daemon);
    if (rc == 0)
        printf("%s is %s\n", name, disabled ? "disabled: nothing new is placed on it" : "enabled");
    return rc;
}

int cmd_host(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct err err = {0};
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc = cli_take_format(&argc, argv, &format, &err);
    bool no_wait = cli_take_flag(&argc, argv, "--no-wait");
    const char *verb = argc > 1 ? argv[1] : "", *name = argc == 3 ? argv[2] : NULL;

    if (cli_is_help(verb) || argc < 2) {
        fprintf(argc < 2 ? stderr : stdout,
                "usage: vling host list|show [HOST] [-f table|json|value|tsv] [--lab]\n"
                "       vling host enable|disable|drain HOST [--no-wait] [--lab]\n\n"
                "  list            all hosts: state, lease, roles, servers\n"
                "  show HOST       all that is known about one\n"
                "  disable HOST    nothing new is placed on it; what runs there goes on\n"
                "  drain HOST      the same, and what runs there moves elsewhere: servers are\n"
                "                  shut down and started there, a few at a time (never so many\n"
                "                  that there is no room); routers and DHCP go first\n"
                "  enable HOST     take it back\n");
        return argc < 2 ? 2 : 0;
    }
    if (rc == 0 && strcmp(verb, "list") == 0 && argc == 2)
        rc = host_list(lab, format, &err);
    else if (rc == 0 && strcmp(verb, "show") == 0 && name)
        rc = host_show(lab, format, name, &err);
    else if (rc == 0 && strcmp(verb, "drain") == 0 && name)
        rc = host_drain(lab, name, !no_wait, &err);
    else if (rc == 0 && (strcmp(verb, "enable") == 0 || strcmp(verb, "disable") == 0) && name)
        rc = host_disable(lab, name, verb[0] == 'd', &err);
    else if (rc == 0)
        rc =
            err_set(&err, -EINVAL, "cannot understand the command", verb, "see: vling host --help");
    return rc < 0 ? cli_failed(rc, &err) : 0;
}

static int cabinet_show(enum cli_format format, const json_t *status, const char *name,
                        struct err *err)
{
    json_t *rows = cabinets_of(status), *row, *host, *members;
    size_t i, k;
    int rc = err_set(err, -ENOENT, "no such cabinet", name, "see: vling cabinet list");

    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_str(row, "id", ""), name) != 0)
            continue;
        members = json_array();
        json_array_foreach(json_object_get(status, "hosts"), k, host)
        {
            if (strcmp(json_str(host, "cabinet", ""), name) == 0)
                json_array_append(members, json_object_get(host, "id"));
        }
        json_object_set_new(row, "members", members);
        cli_print_object(format, row);
        rc = 0;
    }
    json_decref(rows);
    return rc;
}

int cmd_cabinet(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct err err = {0};
    json_t *status = NULL, *rows;
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc = cli_take_format(&argc, argv, &format, &err);
    bool list = argc == 2 && strcmp(argv[1], "list") == 0;
    bool show = argc == 3 && strcmp(argv[1], "show") == 0;

    if (argc < 2 || cli_is_help(argv[1])) {
        fprintf(
            argc < 2 ? stderr : stdout,
            "usage: vling cabinet list|show [CABINET] [-f table|json|value|tsv] [--lab]\n\n"
            "  list            all cabinets (failure domains): hosts, how many are up, servers\n"
            "  show CABINET    one of them, with its hosts\n");
        return argc < 2 ? 2 : 0;
    }
    if (rc == 0 && !list && !show)
        rc = err_set(&err, -EINVAL, "cannot understand the command", argv[1],
                     "see: vling cabinet --help");
    if (rc == 0)
        rc = get_status(lab, &status, &err);
    if (rc == 0 && show)
        rc = cabinet_show(format, status, argv[2], &err);
    if (rc == 0 && list) {
        rows = cabinets_of(status);
        cli_print_rows(format, rows, cabinet_columns);
        json_decref(rows);
    }
    json_decref(status);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}
