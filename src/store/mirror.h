/* The mirror: all rows of the store in an in-process SQLite database, fed by the watch.
 *
 * Filters, sorting, paging and joins are SQL and cost no network. Every resource of the model is an
 * SQL table of its name with the columns `id`, `rev`, `body` (the row's JSON) and one generated
 * column for each field that is flagged FIELD_INDEX (json_extract of body, with an index). A read
 * is linearizable after mirror_barrier(): it takes a store barrier and waits until the watch has
 * brought that revision. Where a gate is set (node/reads.h), mirror_read() may do without, and then
 * whatever is told to anybody goes through mirror_show() first.
 * Failures: a mirror that cannot be read (damaged memory, none left) ends the process, as a change
 * that cannot be applied does: "nothing" would be a wrong answer, which deletes and destroys. The
 * supervisor starts it again, and all is read from the store.
 * A row that cannot be read any more stays as it was, with the new revision, and is put back.
 * Threads: the loop's only. Rows that are returned are new references to fresh copies: the caller
 * may change them and must json_decref them.
 */
#ifndef VLING_STORE_MIRROR_H
#define VLING_STORE_MIRROR_H

#include "store/store.h"
#include <stdarg.h>

struct mirror;

/* Opens the mirror and starts the store's watch. */
struct mirror *mirror_open(struct store *store, struct err *err);
/* A mirror without a store, fed by mirror_apply: for unit tests of handlers and planners. */
struct mirror *mirror_open_detached(struct err *err);
void mirror_close(struct mirror *mirror);
void mirror_apply(struct mirror *mirror, int64_t revision, const struct store_change *changes,
                  size_t n);

/* Has the first reset arrived? */
bool mirror_ready(const struct mirror *mirror);
int64_t mirror_revision(const struct mirror *mirror);
/* The revision of the last change of a row: what the rows tell is true at it, too. */
int64_t mirror_changed_revision(const struct mirror *mirror);

/* A set of tables. What was worked out from rows holds as long as mirror_version() of the tables
 * that were read for it is the same: another number after each change of a row of one of them, and
 * never 0. */
typedef uint64_t mirror_tables;
#define MIRROR_EVERY_TABLE UINT64_MAX
uint64_t mirror_version(const struct mirror *mirror, mirror_tables tables);

/* The tables that were read, in whatever way (joins and subqueries, too), since the last
 * mirror_reads_begin(). mirror_reads_add() counts some as read: for the use of what was worked out
 * from them before. */
void mirror_reads_begin(struct mirror *mirror);
mirror_tables mirror_reads(const struct mirror *mirror);
/* Was one of them refused? Then its empty list says nothing. */
bool mirror_reads_refused(const struct mirror *mirror);
void mirror_reads_add(struct mirror *mirror, mirror_tables tables);

/* Called after every batch of changes was applied (and after a reset, with changes == NULL: look at
 * everything). Up to 8 listeners, never removed. */
typedef void mirror_listener(void *arg, const struct store_change *changes, size_t n);
void mirror_listen(struct mirror *mirror, mirror_listener *listener, void *arg);

/* Waits for the revision, or for a linearizable one. `rc` 0 or -ETIMEDOUT / -ECANCELED. `cb` is
 * called from inside the call when there is nothing to wait for (and always so without a store). */
typedef void mirror_wait_cb(void *arg, int rc);
void mirror_wait(struct mirror *mirror, int64_t revision, int timeout_ms, mirror_wait_cb *cb,
                 void *arg);
void mirror_barrier(struct mirror *mirror, int timeout_ms, mirror_wait_cb *cb, void *arg);

/* Who knows when the rows are as new as anything that anybody was told, and when something may be
 * told. Without a gate: never by itself, and always. */
struct mirror_gate {
    bool (*holds)(void *arg);
    /* 1: what is true at `revision` may be told now; 0: later, mirror_gate_moved() is called then;
     * -errno: never. */
    int (*may_show)(void *arg, int64_t revision);
    void *arg;
};
void mirror_set_gate(struct mirror *mirror, const struct mirror_gate *gate);
void mirror_gate_moved(struct mirror *mirror);

/* As mirror_barrier, and at once while the gate holds. Who found that others changed what was read
 * takes a barrier: the gate knows what was told, not what was committed. */
void mirror_read(struct mirror *mirror, int timeout_ms, mirror_wait_cb *cb, void *arg);
/* Waits until what is true at `revision` may be told. `rc` 0, the gate's -errno, -ETIMEDOUT or
 * -ECANCELED. `cb` is called from inside the call when there is nothing to wait for. */
void mirror_show(struct mirror *mirror, int64_t revision, int timeout_ms, mirror_wait_cb *cb,
                 void *arg);

/* One row, or NULL. `ret_rev` (may be NULL) gets its revision, 0 if there is none. */
json_t *mirror_get(struct mirror *mirror, const char *table, const char *id, int64_t *ret_rev);

/* The same row, taken apart once for all who ask for it until it changes. A new reference (to be
 * given back), but not a copy: neither the row nor anything in it may be changed. */
json_t *mirror_get_shared(struct mirror *mirror, const char *table, const char *id);

/* Rows as a JSON array. `where` is the rest of "SELECT body FROM <table> " in SQL (may be ""): e.g.
 * "WHERE host_id = ? ORDER BY rev LIMIT ?". `types` has one letter for each `?`: 's' const char *
 * (NULL binds NULL), 'i' int64_t. Returns a new array (empty if nothing matches). Each row carries
 * its revision in the extra member "_rev". */
json_t *mirror_select(struct mirror *mirror, const char *table, const char *where,
                      const char *types, ...);

/* As mirror_select, with the parameters in an array of JSON strings, integers and nulls. For SQL
 * that requests shape: if SQLite refuses it (too long, too deep) the array is empty and
 * mirror_reads_refused() true. */
json_t *mirror_select_json(struct mirror *mirror, const char *table, const char *where,
                           const json_t *params);

/* The same two for who only reads: rows as of mirror_get_shared in an array of one's own. For lists
 * of many rows most of the work is to take them apart. */
json_t *mirror_select_shared(struct mirror *mirror, const char *table, const char *where,
                             const char *types, ...);
json_t *mirror_select_shared_json(struct mirror *mirror, const char *table, const char *where,
                                  const json_t *params);

/* How many rows match; `where` as above. */
int64_t mirror_count(struct mirror *mirror, const char *table, const char *where, const char *types,
                     ...);

/* The sum of what stands at `path` ("flavor.ram") in the rows that match; NULL: 1 for each. */
int64_t mirror_sum(struct mirror *mirror, const char *table, const char *path, const char *where,
                   const char *types, ...);

/* Helper for writers: expects the revision that `row` had when it was read ("_rev"), removes
 * "_rev", and puts it. */
void mirror_txn_update(struct store_txn *txn, const char *table, json_t *row);

#endif
