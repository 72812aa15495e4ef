/* vling status, host, cabinet: what GET /v1/status says, for people and for scripts. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int cli_status(bool lab, json_t **ret, struct err *err)
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

/* How many of the asked controller's API reads needed no question to the store. */
static void print_reads(const json_t *reads)
{
    int64_t at_once = json_int(reads, "at_once", 0);
    int64_t all = at_once + json_int(reads, "asked", 0);

    if (all > 0)
        printf("reads: %lld of the API since its start, %lld %% of them under a read lease\n",
               (long long)all, (long long)(100 * at_once / all));
}

/* How many of what each host holds: `where` is an object of lists. */
static void print_holders(const char *what, const json_t *where)
{
    const json_t *list;
    const char *host;

    printf("%s:", what);
    if (json_object_size(where) == 0)
        printf(" none");
    json_object_foreach((json_t *)where, host, list)
        printf(" %s (%zu)", host[0] ? host : "nowhere", json_array_size(list));
    printf("\n");
}

static void print_status(json_t *status)
{
    const json_t *store = json_object_get(status, "store");
    json_t *servers = json_object_get(status, "servers"), *count, *rows;
    const char *key;

    printf("asked: %s, vling %s%s\n", json_str(status, "host", "-"),
           json_str(status, "version", "-"),
           json_bool(status, "lease_held", true) ? "" : ", which does not hold its lease");
    if (json_bool(status, "stale", false))
        printf("WARNING: the store has no majority here: this is what was known before, not how "
               "it is now\n");
    printf("store: %s, %s, revision %lld, %lld KiB  %s\n", json_str(store, "engine", "-"),
           json_bool(store, "reachable", false) ? "reachable" : "NOT reachable",
           (long long)json_int(store, "revision", 0),
           (long long)json_int(store, "size_bytes", 0) / 1024, json_str(store, "detail", ""));
    print_reads(json_object_get(status, "reads"));
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
    print_holders("routers", json_object_get(status, "routers"));
    print_holders("DHCP of networks", json_object_get(status, "dhcp"));
    print_losses(json_object_get(status, "losses"));
}

int cmd_status(int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct err err = {0};
    json_t *status;
    bool help = cli_wants_help(argc, argv);
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc = cli_take_format(&argc, argv, &format, &err);

    if (help) {
        printf(
            "usage: vling status [-f table|json|value|tsv] [--lab]\n\n"
            "The cloud at a glance: the replicated store, cabinets, hosts with their leases and\n"
            "roles, who is master, standby and backup of each module, where routers and DHCP are,\n"
            "and which losses of a cabinet or host would be survived now.\n"
            "--lab asks the lab on this machine even where a vlingd is configured.\n");
        return 0;
    }
    if (rc == 0 && argc > 1)
        rc = err_set(&err, -EINVAL, "cannot understand the command", argv[1],
                     "see: vling status --help");
    if (rc == 0)
        rc = cli_status(lab, &status, &err);
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

/* ---- hosts and cabinets: the same verbs ---- */

struct place_kind {
    const char *help;
    const char *remedy; /* of a command that nobody understands */
    bool cabinet;
    void (*list)(enum cli_format format, const json_t *status);
    int (*show)(enum cli_format format, const json_t *status, const char *name, struct err *err);
};

static int read_place(const struct place_kind *kind, const char *name, bool lab,
                      enum cli_format format, struct err *err)
{
    json_t *status;
    int rc = cli_status(lab, &status, err);

    if (rc < 0)
        return rc;
    if (name)
        rc = kind->show(format, status, name, err);
    else
        kind->list(format, status);
    json_decref(status);
    return rc;
}

static int place_command(const struct place_kind *kind, int argc, char **argv)
{
    enum cli_format format = CLI_TABLE;
    struct err err = {0};
    bool help = argc < 2 || cli_wants_help(argc, argv);
    bool lab = cli_take_flag(&argc, argv, "--lab");
    int rc = cli_take_format(&argc, argv, &format, &err);
    bool no_wait = cli_take_flag(&argc, argv, "--no-wait");
    const char *verb = argc > 1 ? argv[1] : "", *name = argc == 3 ? argv[2] : NULL;
    enum cli_change change = cli_change_of(verb);

    if (help) {
        fputs(kind->help, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (rc == 0 && (strcmp(verb, "list") == 0 ? argc == 2 : strcmp(verb, "show") == 0 && name))
        rc = read_place(kind, name, lab, format, &err);
    else if (rc == 0 && change != CLI_CHANGE_NONE && name)
        rc = cli_change_place(lab, kind->cabinet, name, change, !no_wait, &err);
    else if (rc == 0)
        rc = err_set(&err, -EINVAL, "cannot understand the command", verb, kind->remedy);
    return rc < 0 ? cli_failed(rc, &err) : 0;
}

static void host_list(enum cli_format format, const json_t *status)
{
    put_ages(json_object_get(status, "hosts"));
    cli_print_listed(format, json_object_get(status, "hosts"), &resource_host);
}

static int host_show(enum cli_format format, const json_t *status, const char *name,
                     struct err *err)
{
    json_t *host = find_host(status, name);

    if (!host)
        return err_set(err, -ENOENT, "no such host", name, "see: vling host list");
    cli_print_object(format, host);
    return 0;
}

static const struct place_kind host_kind = {
    .help = "usage: vling host list|show [HOST] [-f table|json|value|tsv] [--lab]\n"
            "       vling host enable|disable|drain HOST [--no-wait] [--lab]\n\n"
            "  list            all hosts: state, lease, roles, servers\n"
            "  show HOST       all that is known about one\n"
            "  disable HOST    nothing new is placed on it; what runs there goes on\n"
            "  drain HOST      the same, and what runs there moves elsewhere: servers are\n"
            "                  shut down and started there, a few at a time (never so many\n"
            "                  that there is no room); routers and DHCP go first\n"
            "  enable HOST     take it back\n",
    .remedy = "see: vling host --help",
    .list = host_list,
    .show = host_show,
};

int cmd_host(int argc, char **argv)
{
    return place_command(&host_kind, argc, argv);
}

static void cabinet_list(enum cli_format format, const json_t *status)
{
    json_t *rows = cabinets_of(status);

    cli_print_rows(format, rows, cabinet_columns);
    json_decref(rows);
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

static const struct place_kind cabinet_kind = {
    .help = "usage: vling cabinet list|show [CABINET] [-f table|json|value|tsv] [--lab]\n"
            "       vling cabinet enable|disable|drain CABINET [--no-wait] [--lab]\n\n"
            "  list            all cabinets (failure domains): hosts, how many are up, servers\n"
            "  show CABINET    one of them, with its hosts\n"
            "  disable CABINET nothing new is placed on any of its hosts\n"
            "  drain CABINET   the same, and what runs there moves to the other cabinets; all its\n"
            "                  hosts at once, so that nothing moves to a neighbour first\n"
            "  enable CABINET  take it back\n",
    .remedy = "see: vling cabinet --help",
    .cabinet = true,
    .list = cabinet_list,
    .show = cabinet_show,
};

int cmd_cabinet(int argc, char **argv)
{
    return place_command(&cabinet_kind, argc, argv);
}
