/* What the commands of `vling` share: output formats, failures, and the question to a daemon.
 *
 * Exit statuses: 0 done; 1 failed, with one line on standard error that says what to do; 2 the
 * command line could not be understood. Not for several threads. */
#ifndef VLING_CLI_CLI_H
#define VLING_CLI_CLI_H

#include "base/err.h"
#include "cli/lab.h"
#include "model/tables.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cli_out.c ----------------------------------------------------------------------------------- */

enum cli_format { CLI_TABLE, CLI_JSON, CLI_VALUE, CLI_TSV };

/* Takes "-f FORMAT", "-fFORMAT" and "--format FORMAT" out of the arguments. */
int cli_take_format(int *argc, char **argv, enum cli_format *ret, struct err *err);
/* Takes the flag `name` out of the arguments; was it there? */
bool cli_take_flag(int *argc, char **argv, const char *name);
bool cli_is_help(const char *argument);
/* Is an explanation asked for: "help" as the first word, "--help" or "-h" anywhere? */
bool cli_wants_help(int argc, char **argv);

/* `rows`: array of objects. `columns` ends with NULL; what is missing, null or empty is "-". JSON
 * prints the rows as they are. */
void cli_print_rows(enum cli_format format, const json_t *rows, const char *const *columns);
/* The same with the fields of the table that are FIELD_LISTED as columns. */
void cli_print_listed(enum cli_format format, const json_t *rows, const struct resource *resource);
/* One object as a table of two columns, all its members. */
void cli_print_object(enum cli_format format, const json_t *object);
/* A value as a cell shows it; `ret` is always terminated. */
void cli_cell(const json_t *value, char *ret, size_t size);
/* "3s", "12m", "5h" ... since `ms`. */
void cli_age(int64_t ms, char *ret, size_t size);

/* Should an operator look after the certificate of `host` (a row)? Then `ret` says why. */
bool cli_certificate_alert(const json_t *host, int64_t now_ms, char *ret, size_t size);

/* Prints the failure; the exit status. */
int cli_failed(int rc, const struct err *err);

/* cli_ask.c ----------------------------------------------------------------------------------- */

struct cli_daemon;

/* The daemon of this host (/etc/vling/vlingd.json); where there is none, or with `lab`, one of the
 * running hosts of the lab. */
int cli_daemon_open(bool lab, struct cli_daemon **ret, struct err *err);
void cli_daemon_close(struct cli_daemon *daemon);
/* `body` NULL: GET, else POST. `ret` (may be NULL) is the caller's to release. Asks another host
 * when one does not answer (lab only). */
int cli_ask(struct cli_daemon *daemon, const char *path, const json_t *body, json_t **ret,
            struct err *err);
/* For changes while which daemons start again: cli_ask goes on asking so long (0 to begin with)
 * when no host answers or the one that does has no store at the moment (503). A change may then
 * arrive twice. */
void cli_daemon_patience(struct cli_daemon *daemon, int64_t timeout_ms);

/* Waits until the API answers and all hosts are up; prints what it waits for. */
int lab_wait_ready(struct lab *lab, int64_t timeout_ms, struct err *err);

/* op_status.c: what GET /v1/status answers; the caller's to release. */
int cli_status(bool lab, json_t **ret, struct err *err);

/* op_drain.c ---------------------------------------------------------------------------------- */

enum cli_change { CLI_CHANGE_NONE, CLI_ENABLE, CLI_DISABLE, CLI_DRAIN };

enum cli_change cli_change_of(const char *verb);
/* Changes a host, or all hosts of a cabinet in one step, and says so. `wait`: until a drained one
 * is empty. */
int cli_change_place(bool lab, bool cabinet, const char *name, enum cli_change change, bool wait,
                     struct err *err);

/* op_*.c -------------------------------------------------------------------------------------- */

int cmd_status(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_host(int argc, char **argv);
int cmd_controller(int argc, char **argv);
int cmd_cabinet(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_console(int argc, char **argv);

#endif
