#include "store/sqlite_file.h"

#include "base/json.h"
#include "base/log.h"
#include "store/engine.h"
#include "store/wal_check.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define ACKED_FORMAT "%020lld %016llx\n"
#define ACKED_SIZE 38
/* Where SQLite puts its locks: https://www.sqlite.org/fileformat2.html#the_lock_byte_page */
#define LOCKS_AT 0x40000000
#define LOCKS_SIZE 512

/* ---- SQL ---- */

sqlite3_stmt *sqlite_file_prepare(struct sqlite_file *file, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(file->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        log_error("store: %s: %s", sql, sqlite3_errmsg(file->db));
    return stmt;
}

int sqlite_file_errno(int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return 0;
    return (rc & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO;
}

int sqlite_file_run(struct sqlite_file *file, const char *sql)
{
    return sqlite_file_errno(sqlite3_exec(file->db, sql, NULL, NULL, NULL));
}

/* ---- checksums ---- */

static int64_t sum_of(const char *table, const char *id, int64_t one, int64_t two, const char *body,
                      size_t size)
{
    int64_t numbers[2] = {one, two}, sum;
    unsigned char hash[crypto_generichash_BYTES_MIN];
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, sizeof(hash));
    crypto_generichash_update(&state, (const unsigned char *)table, strlen(table) + 1);
    crypto_generichash_update(&state, (const unsigned char *)id, strlen(id) + 1);
    crypto_generichash_update(&state, (const unsigned char *)numbers, sizeof(numbers));
    crypto_generichash_update(&state, (const unsigned char *)body, size);
    crypto_generichash_final(&state, hash, sizeof(hash));
    memcpy(&sum, hash, sizeof(sum));
    return sum;
}

int64_t sqlite_file_sum(const char *table, const char *id, int64_t revision, int64_t lease,
                        const char *body, size_t size)
{
    return sum_of(table, id, revision, lease, body, size);
}

/* No table of rows has an empty name. */
int64_t sqlite_file_lease_sum(int64_t lease, int64_t ttl_ms)
{
    return sum_of("", "lease", lease, ttl_ms, "", 0);
}

static int64_t state_sum(const struct sqlite_state *state)
{
    return sum_of("", "meta", state->revision, (int64_t)state->total, "", 0);
}

/* The SQL functions row_sum(tab, id, rev, lease, body) and lease_sum(id, ttl_ms). */
static void sql_row_sum(sqlite3_context *context, int n, sqlite3_value **values)
{
    const char *table = (const char *)sqlite3_value_text(values[0]);
    const char *id = (const char *)sqlite3_value_text(values[1]);
    const char *body = (const char *)sqlite3_value_text(values[4]);

    if (table && id && body)
        sqlite3_result_int64(context, sqlite_file_sum(table, id, sqlite3_value_int64(values[2]),
                                                      sqlite3_value_int64(values[3]), body,
                                                      (size_t)sqlite3_value_bytes(values[4])));
}

static void sql_lease_sum(sqlite3_context *context, int n, sqlite3_value **values)
{
    sqlite3_result_int64(context, sqlite_file_lease_sum(sqlite3_value_int64(values[0]),
                                                        sqlite3_value_int64(values[1])));
}

json_t *sqlite_file_row(sqlite3_stmt *stmt, char *why, size_t why_size)
{
    const char *table = (const char *)sqlite3_column_text(stmt, 0);
    const char *id = (const char *)sqlite3_column_text(stmt, 1);
    const char *body = (const char *)sqlite3_column_text(stmt, 3);
    size_t size = (size_t)sqlite3_column_bytes(stmt, 3);
    int64_t revision = sqlite3_column_int64(stmt, 2);
    json_t *row = body ? json_parse(body, size, NULL, 0) : NULL;
    const char *what = NULL;

    if (!json_is_object(row) || !store_name_ok(table) || !store_name_ok(id) || revision <= 0)
        what = "cannot be read";
    else if (sqlite_file_sum(table, id, revision, sqlite3_column_int64(stmt, 4), body, size) !=
             sqlite3_column_int64(stmt, 5))
        what = "is not what was written";
    if (!what)
        return row;
    json_decref(row);
    snprintf(why, why_size, "the row %.60s %.60s %s", table ? table : "?", id ? id : "?", what);
    json_clean(why);
    return NULL;
}

int sqlite_file_put_state(struct sqlite_file *file)
{
    sqlite3_stmt *stmt =
        sqlite_file_prepare(file, "UPDATE meta SET revision = ?, total = ?, sum = ?");
    int rc;

    if (!stmt)
        return -EIO;
    sqlite3_bind_int64(stmt, 1, file->state.revision);
    sqlite3_bind_int64(stmt, 2, (int64_t)file->state.total);
    sqlite3_bind_int64(stmt, 3, state_sum(&file->state));
    rc = sqlite_file_errno(sqlite3_step(stmt));
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- why it is refused ---- */

static int damaged(struct sqlite_file *file, struct err *err, const char *why)
{
    char text[256];

    snprintf(text, sizeof(text), "%s: %s", file->path, why);
    return err_set(err, -EBADMSG, "the store's file is damaged", text,
                   "move it and what lies beside it (-wal, -acked) away, then restore a backup: "
                   "vling restore FILE");
}

/* What was acknowledged last is not there any more. */
static int changes_lost(struct err *err, const char *path, const char *why)
{
    char text[256];

    snprintf(text, sizeof(text), "%s: %s", path, why);
    return err_set(err, -EBADMSG, "the store's last changes are damaged", text,
                   "move store.sqlite, -wal and -acked away, then restore a backup: vling restore "
                   "FILE. To go on without the last changes move only -wal and -acked away");
}

static int in_use(struct sqlite_file *file, struct err *err)
{
    return err_why(err, -EBUSY, "cannot open the store",
                   "%s: it is in use; another vlingd runs here", file->path);
}

/* Why SQLite's last call failed. Our SQL is right, so it is not our file's that SQLite refuses. */
static int cannot_open(struct sqlite_file *file, struct err *err)
{
    const char *why = sqlite3_errmsg(file->db);
    int code = sqlite3_errcode(file->db) & 0xff;

    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR)
        return damaged(file, err, why);
    if (code == SQLITE_BUSY)
        return in_use(file, err);
    return err_why(err, -EIO, "cannot open the store", "%s: %s", file->path, why);
}

/* ---- what lies beside it ---- */

static const char *beside(const struct sqlite_file *file, const char *ending, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s%s", file->path, ending);
    return path;
}

/* SQLite gives the files that it makes beside it the same mode. What was acknowledged of a file
 * that is not there any more says nothing about a new one. */
static int keep_private(struct sqlite_file *file, struct err *err)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal", "-acked"};
    char path[PATH_SIZE];
    int fd;

    if (access(file->path, F_OK) < 0 && errno == ENOENT)
        unlink(beside(file, "-acked", path));
    fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (chmod(beside(file, endings[i], path), 0600) < 0 && (errno != ENOENT || i == 0))
            return err_why(err, -errno, "cannot open the store", "%s: %s", path, strerror(errno));
    }
    return 0;
}

/* Who has the file open may be writing its log while we read it. */
static bool is_locked(const struct sqlite_file *file)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_AT, .l_len = LOCKS_SIZE};
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    bool locked = fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

    if (fd >= 0)
        close(fd);
    return locked;
}

/* Before SQLite reads it: it would leave out all behind the first damaged frame. */
static int check_log(struct sqlite_file *file, struct err *err)
{
    char path[PATH_SIZE], why[128];
    struct wal_report report;
    struct stat database;
    FILE *log;
    int rc;

    if (is_locked(file))
        return in_use(file, err);
    /* SQLite removes the log of an empty file. */
    if (stat(file->path, &database) == 0 && database.st_size == 0)
        return 0;
    log = fopen(beside(file, "-wal", path), "re");
    if (!log && errno == ENOENT)
        return 0;
    rc = log ? wal_check(log, &report) : -errno;
    if (log)
        fclose(log);
    if (rc < 0)
        return err_why(err, rc, "cannot open the store", "%s: %s", path, strerror(-rc));
    if (report.verdict == WAL_TORN)
        log_warn("store: %s ends in a transaction that was cut off before it was acknowledged: "
                 "it is left out",
                 path);
    if (report.verdict != WAL_DAMAGED)
        return 0;
    snprintf(why, sizeof(why), "damaged behind frame %u; acknowledged changes lie behind that",
             report.frames);
    return changes_lost(err, path, why);
}

static size_t acked_text(char text[ACKED_SIZE + 1], int64_t revision)
{
    int64_t sum = sum_of("", "acked", revision, 0, "", 0);

    return (size_t)snprintf(text, ACKED_SIZE + 1, ACKED_FORMAT, (long long)revision,
                            (unsigned long long)sum);
}

/* The revision in PATH-acked; 0: none that could be read, which proves nothing. */
static int64_t read_acked(const struct sqlite_file *file)
{
    char text[ACKED_SIZE + 1] = "", right[ACKED_SIZE + 1], path[PATH_SIZE];
    int fd = open(beside(file, "-acked", path), O_RDONLY | O_CLOEXEC);
    long long revision = 0;
    ssize_t size;

    if (fd < 0)
        return 0;
    size = read(fd, text, ACKED_SIZE);
    close(fd);
    if (size == ACKED_SIZE)
        revision = strtoll(text, NULL, 10);
    acked_text(right, revision);
    if (size == ACKED_SIZE && memcmp(text, right, ACKED_SIZE) == 0)
        return revision;
    log_warn("store: %s cannot be read: whether the last changes are there is not known", path);
    return 0;
}

static int check_acked(struct sqlite_file *file, struct err *err)
{
    int64_t acked = read_acked(file);
    char path[PATH_SIZE], why[160];

    if (acked <= file->state.revision)
        return 0;
    snprintf(why, sizeof(why), "revision %lld was acknowledged, the file holds %lld",
             (long long)acked, (long long)file->state.revision);
    return changes_lost(err, beside(file, "-wal", path), why);
}

/* A full or failing disk takes nothing but this evidence. */
void sqlite_file_acked(struct sqlite_file *file)
{
    char text[ACKED_SIZE + 1];
    size_t size = acked_text(text, file->state.revision);

    if (file->acked >= 0 && pwrite(file->acked, text, size, 0) != (ssize_t)size)
        log_debug("store: %s-acked: %s", file->path, strerror(errno));
}

static void open_acked(struct sqlite_file *file)
{
    char path[PATH_SIZE];

    file->acked = open(beside(file, "-acked", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file->acked < 0)
        log_warn("store: %s: %s", path, strerror(errno));
    sqlite_file_acked(file);
}

/* ---- opening ---- */

static int open_database(struct sqlite_file *file, struct err *err)
{
    static const char settings[] =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA locking_mode = EXCLUSIVE;";
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;

    if (sqlite3_open(file->path, &file->db) != SQLITE_OK)
        return cannot_open(file, err);
    sqlite3_extended_result_codes(file->db, 1);
    /* What is refused stays as it is. */
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (sqlite3_create_function(file->db, "row_sum", 5, flags, NULL, sql_row_sum, NULL, NULL) ||
        sqlite3_create_function(file->db, "lease_sum", 2, flags, NULL, sql_lease_sum, NULL, NULL) ||
        sqlite_file_run(file, settings) < 0)
        return cannot_open(file, err);
    return 0;
}

static int check_pages(struct sqlite_file *file, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_file_prepare(file, "PRAGMA integrity_check(1)");
    const char *verdict;
    int rc = 0;

    if (!stmt || sqlite3_step(stmt) != SQLITE_ROW) {
        rc = cannot_open(file, err);
    } else {
        verdict = (const char *)sqlite3_column_text(stmt, 0);
        if (!verdict || strcmp(verdict, "ok") != 0)
            rc = damaged(file, err, verdict ? verdict : "?");
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* A number that the statement gives; -1: it fails. */
static int64_t ask(struct sqlite_file *file, const char *sql)
{
    sqlite3_stmt *stmt = sqlite_file_prepare(file, sql);
    int64_t number = -1;

    if (stmt && sqlite3_step(stmt) == SQLITE_ROW)
        number = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return number;
}

/* Begins a transaction, and in it makes the tables of a new file or gives an older one checksums.
 * `ret_older`: what its total is has to be counted. */
static int make_tables(struct sqlite_file *file, bool *ret_older, struct err *err)
{
    static const char fresh[] =
        "CREATE TABLE row (tab TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, "
        "body TEXT NOT NULL, lease INTEGER NOT NULL DEFAULT 0, sum INTEGER NOT NULL, "
        "PRIMARY KEY (tab, id)) WITHOUT ROWID;"
        "CREATE INDEX row_lease ON row (lease) WHERE lease <> 0;"
        "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL, "
        "sum INTEGER NOT NULL);"
        "CREATE TABLE meta (revision INTEGER NOT NULL, total INTEGER NOT NULL, "
        "sum INTEGER NOT NULL);"
        "INSERT INTO meta VALUES (1, 0, 0);";
    static const char older[] = "ALTER TABLE row ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE lease ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE meta ADD COLUMN total INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE meta ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;"
                                "UPDATE row SET sum = row_sum(tab, id, rev, lease, body);"
                                "UPDATE lease SET sum = lease_sum(id, ttl_ms);";
    int64_t tables = ask(file, "SELECT count(*) FROM sqlite_schema");
    int64_t sums = ask(file, "SELECT count(*) FROM pragma_table_info('meta') WHERE name = 'sum'");

    *ret_older = tables > 0 && sums == 0;
    if (tables < 0 || sums < 0 || sqlite_file_run(file, "BEGIN IMMEDIATE") < 0 ||
        (tables == 0 && sqlite_file_run(file, fresh) < 0) ||
        (*ret_older && sqlite_file_run(file, older) < 0))
        return cannot_open(file, err);
    if (tables == 0) {
        file->state.revision = 1;
        return sqlite_file_put_state(file) < 0 ? cannot_open(file, err) : 0;
    }
    return 0;
}

static int read_state(struct sqlite_file *file, bool older, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_file_prepare(file, "SELECT revision, total, sum FROM meta");
    bool good = older;

    if (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
        file->state.revision = sqlite3_column_int64(stmt, 0);
        file->state.total = (uint64_t)sqlite3_column_int64(stmt, 1);
        good = good || sqlite3_column_int64(stmt, 2) == state_sum(&file->state);
    }
    sqlite3_finalize(stmt);
    if (file->state.revision <= 0)
        return damaged(file, err, "it has no revision");
    return good ? 0 : damaged(file, err, "its revision is not what was written");
}

static int check_row(struct sqlite_file *file, sqlite3_stmt *stmt, struct err *err)
{
    char why[160];
    json_t *row = sqlite_file_row(stmt, why, sizeof(why));

    json_decref(row);
    if (!row)
        return damaged(file, err, why);
    if (sqlite3_column_int64(stmt, 2) > file->state.revision)
        return damaged(file, err, "a row is newer than its revision");
    return 0;
}

static int check_rows(struct sqlite_file *file, uint64_t *total, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_file_prepare(file, "SELECT " SQLITE_FILE_COLUMNS " FROM row");
    int step = SQLITE_ERROR, rc = 0;

    while (stmt && rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        rc = check_row(file, stmt, err);
        *total += (uint64_t)sqlite3_column_int64(stmt, 5);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = cannot_open(file, err);
    sqlite3_finalize(stmt);
    return rc;
}

static int check_leases(struct sqlite_file *file, uint64_t *total, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_file_prepare(file, "SELECT sum, lease_sum(id, ttl_ms) FROM lease");
    int step = SQLITE_ERROR;
    bool good = true;

    while (stmt && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        good = good && sqlite3_column_int64(stmt, 0) == sqlite3_column_int64(stmt, 1);
        *total += (uint64_t)sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    if (step != SQLITE_DONE)
        return cannot_open(file, err);
    return good ? 0 : damaged(file, err, "a lease is not what was written");
}

/* Within the transaction, so that a file of before is not changed unless it is sound. */
static int check_contents(struct sqlite_file *file, bool older, struct err *err)
{
    uint64_t total = 0;
    int rc = read_state(file, older, err);

    if (rc == 0)
        rc = check_acked(file, err);
    if (rc == 0)
        rc = check_rows(file, &total, err);
    if (rc == 0)
        rc = check_leases(file, &total, err);
    if (rc < 0)
        return rc;
    if (!older && total != file->state.total)
        return damaged(file, err, "rows are missing, or as they were before");
    file->state.total = total;
    if ((older && sqlite_file_put_state(file) < 0) || sqlite_file_run(file, "COMMIT") < 0)
        return cannot_open(file, err);
    return 0;
}

int sqlite_file_open(struct sqlite_file *file, const char *path, struct err *err)
{
    bool older;
    int rc;

    memset(file, 0, sizeof(*file));
    file->acked = -1;
    file->path = strdup(path);
    if (!file->path)
        abort();
    rc = keep_private(file, err);
    if (rc == 0)
        rc = check_log(file, err);
    if (rc == 0)
        rc = open_database(file, err);
    if (rc == 0)
        rc = check_pages(file, err);
    if (rc == 0)
        rc = make_tables(file, &older, err);
    if (rc == 0)
        rc = check_contents(file, older, err);
    if (rc < 0)
        return rc;
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    if (sqlite_file_run(file, "PRAGMA wal_checkpoint(TRUNCATE)") < 0)
        log_warn("store: %s: %s", path, sqlite3_errmsg(file->db));
    open_acked(file);
    return 0;
}

void sqlite_file_close(struct sqlite_file *file)
{
    sqlite3_close(file->db);
    if (file->acked >= 0)
        close(file->acked);
    free(file->path);
    memset(file, 0, sizeof(*file));
    file->acked = -1;
}
