/* The file of the SQLite store: opening it, and noticing when it is not what was written.
 *
 * Why.       A row that is missing would be a server to destroy, so a file that does not pass is
 *            refused, with its name and the remedy, and left as it is.
 * Checks at opening. SQLite has no checksums of pages. So there is one in each row; one in `meta`
 *            over the revision and `total`, the sum of all rows' checksums (a row that is missing,
 *            or a page as it was once, has good checksums itself); the write-ahead log is read
 *            before SQLite does (wal_check.h); and beside the file, PATH-acked says which revision
 *            was acknowledged last.
 * PATH-acked is written after each batch was synced, but not synced itself: that would double the
 *            time of a commit. So a process that ended leaves it exact, and whatever is missing
 *            then is noticed. After a power cut it may be as old as the kernel lets dirty pages
 *            be, about half a minute: what was acknowledged later, and was lost from the log's end
 *            without a trace in the log, is not noticed. It is never ahead of the file.
 * Log.       What is in the write-ahead log moves into the file at opening, once all was checked,
 *            and the log becomes empty: it then has no remains of transactions that were torn.
 * Older files, without checksums, get them when they are opened. A vlingd of before cannot be used
 *            with the file again: rows that it writes are refused.
 * Threads.   One at a time.
 */
#ifndef VLING_STORE_SQLITE_FILE_H
#define VLING_STORE_SQLITE_FILE_H

#include "base/err.h"
#include <jansson.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What moves with each commit. */
struct sqlite_state {
    int64_t revision;
    uint64_t total; /* of sqlite_file_sum() of all rows and leases, modulo 2^64 */
};

struct sqlite_file {
    sqlite3 *db;
    char *path;
    struct sqlite_state state; /* of the last commit, or of the one that is under way */
    int acked;                 /* PATH-acked; -1: it cannot be written */
};

/* Opens and checks the file, or makes a new one. On failure -EBADMSG (damaged), -EBUSY (another
 * vlingd has it) or another -errno with `err` filled, and nothing was changed. In either case
 * sqlite_file_close() ends it. `path` is copied. */
int sqlite_file_open(struct sqlite_file *file, const char *path, struct err *err);
void sqlite_file_close(struct sqlite_file *file);

/* The checksum of a row: eight bytes of BLAKE2b (RFC 7693) over all of it. */
int64_t sqlite_file_sum(const char *table, const char *id, int64_t revision, int64_t lease,
                        const char *body, size_t size);
/* The same of an entry of the table of leases. */
int64_t sqlite_file_lease_sum(int64_t lease, int64_t ttl_ms);

/* The columns that sqlite_file_row() needs, in this order. */
#define SQLITE_FILE_COLUMNS "tab, id, rev, body, lease, sum"
/* The row at which `stmt` stands, as a new object. NULL if it is not what was written, with the
 * reason in `why`. */
json_t *sqlite_file_row(sqlite3_stmt *stmt, char *why, size_t why_size);

/* Writes `state` within the transaction that is under way. 0 or -errno. */
int sqlite_file_put_state(struct sqlite_file *file);
/* `state` was committed and synced, and will be acknowledged. */
void sqlite_file_acked(struct sqlite_file *file);

/* NULL, and it is logged, if SQLite refuses it. To be ended with sqlite3_finalize (NULL, too). */
sqlite3_stmt *sqlite_file_prepare(struct sqlite_file *file, const char *sql);
/* 0 or -errno. */
int sqlite_file_run(struct sqlite_file *file, const char *sql);
/* Of a result of SQLite: 0, -ENOSPC or -EIO. */
int sqlite_file_errno(int rc);

#endif
