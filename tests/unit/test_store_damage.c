/* Damage of the files of a single controller's store: whatever takes away something that was
 * acknowledged is noticed and named, whatever a power cut may leave is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite_world.h"
#include "wal_maker.h"

#include "base/file.h"
#include "store/sqlite_file.h"
#include "store/wal_check.h"

#include <errno.h>

#define FRAME ((off_t)WAL_FRAME_HEADER + PAGE)
#define FEW 10 /* transactions that stay in the log */
#define LIMIT ((size_t)64 * 1024 * 1024)

/* ---- files ---- */

static const char *beside(struct world *w, const char *ending)
{
    static char path[2][160];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s%s", w->path, ending);
    return path[turn];
}

static void copy(const char *from, const char *to)
{
    char *bytes;
    size_t size;

    assert_int_equal(file_read(from, LIMIT, &bytes, &size), 0);
    assert_int_equal(file_write_atomic(to, bytes, size, 0600), 0);
    free(bytes);
}

/* The files as they are while the store is open are what a kill leaves. */
static void pull_the_plug(struct world *w)
{
    static const char *const endings[] = {"", "-wal", "-acked"};
    char to[160];

    for (size_t i = 0; i < 3; i++) {
        snprintf(to, sizeof(to), "%s/cut.sqlite%s", w->dir, endings[i]);
        copy(beside(w, endings[i]), to);
    }
    shut(w);
    snprintf(w->path, sizeof(w->path), "%s/cut.sqlite", w->dir);
}

static void flip(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static off_t place_of(const char *path, const char *text)
{
    char *bytes, *found;
    size_t size;
    off_t at;

    assert_int_equal(file_read(path, LIMIT, &bytes, &size), 0);
    found = memmem(bytes, size, text, strlen(text));
    assert_non_null(found);
    at = found - bytes;
    free(bytes);
    return at;
}

static void put_one(struct world *w, int number)
{
    struct store_txn *txn = store_txn_new();

    put(txn, number, 100);
    assert_int_equal(commit(w, txn), 0);
}

/* Some transactions, each a frame or more of the log, then a kill. */
static void write_few(struct world *w)
{
    open_it(w);
    for (int i = 0; i < FEW; i++)
        put_one(w, i);
    pull_the_plug(w);
}

static void expect_rows(struct world *w, size_t count)
{
    open_it(w);
    w->resets = 0;
    read_all(w);
    assert_int_equal(json_object_size(w->rows), count);
    shut(w);
}

static void expect_log_refused(struct world *w, const char *why)
{
    off_t size = size_of(beside(w, "-wal"));
    struct err err = {0};

    for (int i = 0; i < 2; i++) { /* the first time changes nothing */
        assert_null(store_open_sqlite(&w->loop, w->path, &err));
        if (!strstr(err.why, beside(w, "-wal")) || !strstr(err.why, why))
            fail_msg("not '%s': %s: %s", why, err.what, err.why);
        assert_non_null(strstr(err.remedy, "vling restore FILE"));
        assert_non_null(strstr(err.remedy, "move only -wal and -acked"));
        assert_int_equal(size_of(beside(w, "-wal")), size);
    }
}

/* ---- the log ---- */

static void what_a_kill_leaves_is_taken(void **state)
{
    write_few(*state);
    expect_rows(*state, FEW);
    expect_rows(*state, FEW);
}

/* Where the last transaction begins: behind the last but one frame that ends one. */
static off_t last_begins(const char *path)
{
    unsigned char *bytes;
    off_t begins = 0, next = 0;
    size_t size;

    assert_int_equal(file_read(path, LIMIT, (char **)&bytes, &size), 0);
    for (off_t i = 0; WAL_HEADER + (i + 1) * FRAME <= (off_t)size; i++) {
        if (wal_get(bytes + WAL_HEADER + i * FRAME + 4) == 0)
            continue;
        begins = next;
        next = i + 1;
    }
    free(bytes);
    return begins;
}

/* Each frame but those of the last transaction, in each of its parts. Nothing else would notice:
 * there is no PATH-acked. */
static void a_flipped_bit_is_refused(void **state)
{
    static const off_t parts[] = {1, 9, 13, 17, 21, WAL_FRAME_HEADER + 7, FRAME - 1};
    struct world *w = *state;
    off_t frames;

    write_few(w);
    unlink(beside(w, "-acked"));
    frames = last_begins(beside(w, "-wal"));
    assert_true(frames >= FEW - 1);
    for (off_t i = 0; i < frames; i++) {
        for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
            off_t at = WAL_HEADER + i * FRAME + parts[k];

            flip(beside(w, "-wal"), at);
            expect_log_refused(w, "damaged behind frame");
            flip(beside(w, "-wal"), at);
        }
    }
    expect_rows(w, FEW);
}

/* The remedy that loses the last changes works. */
static void the_log_can_be_moved_away(void **state)
{
    struct world *w = *state;

    open_it(w);
    put_one(w, 1);
    shut(w);
    write_few(w);
    flip(beside(w, "-wal"), WAL_HEADER + 100);
    expect_log_refused(w, "damaged behind frame 0");
    unlink(beside(w, "-wal"));
    expect_refused(w, "damaged", "was acknowledged");
    unlink(beside(w, "-acked"));
    expect_rows(w, 1);
}

static void torn_before_it_was_acknowledged(struct world *w, off_t *ret_before)
{
    open_it(w);
    for (int i = 0; i < FEW; i++)
        put_one(w, i);
    copy(beside(w, "-acked"), beside(w, "-before"));
    *ret_before = size_of(beside(w, "-wal"));
    fill(w, 50); /* of some frames */
    copy(beside(w, "-before"), beside(w, "-acked"));
    pull_the_plug(w);
    assert_true(size_of(beside(w, "-wal")) >= *ret_before + 5 * FRAME);
}

static void a_torn_end_is_taken(void **state)
{
    struct world *w = *state;
    char zeros[PAGE] = "";
    off_t before;

    torn_before_it_was_acknowledged(w, &before);
    copy(beside(w, "-wal"), beside(w, "-whole"));
    copy(w->path, beside(w, "-file"));
    for (int i = 0; i < 4; i++) {
        copy(beside(w, "-file"), w->path);
        copy(beside(w, "-whole"), beside(w, "-wal"));
        copy(beside(w, "-acked"), beside(w, "-kept"));
        if (i == 0) /* within the last frame */
            assert_int_equal(truncate(beside(w, "-wal"), size_of(beside(w, "-wal")) - 100), 0);
        else if (i == 1) /* without it */
            assert_int_equal(truncate(beside(w, "-wal"), size_of(beside(w, "-wal")) - FRAME), 0);
        else if (i == 2) /* its first page was not written, its last one was */
            overwrite(beside(w, "-wal"), before + WAL_FRAME_HEADER, zeros, sizeof(zeros), NULL);
        else
            overwrite(beside(w, "-wal"), before + 2 * FRAME, zeros, sizeof(zeros), NULL);
        expect_rows(w, FEW);
        copy(beside(w, "-kept"), beside(w, "-acked"));
    }
}

/* What looks like a torn end, but was acknowledged. */
static void a_lost_end_is_refused(void **state)
{
    struct world *w = *state;

    write_few(w);
    flip(beside(w, "-wal"), size_of(beside(w, "-wal")) - 1);
    expect_log_refused(w, "was acknowledged");
    flip(beside(w, "-wal"), size_of(beside(w, "-wal")) - 1);
    copy(beside(w, "-wal"), beside(w, "-whole"));
    assert_int_equal(truncate(beside(w, "-wal"), WAL_HEADER + 3 * FRAME), 0);
    expect_log_refused(w, "was acknowledged");
    copy(beside(w, "-whole"), beside(w, "-wal"));
    expect_rows(w, FEW);
}

static struct wal_report report_of(const char *path)
{
    struct wal_report report;
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    assert_int_equal(wal_check(file, &report), 0);
    fclose(file);
    return report;
}

/* The log began again: behind its end lie frames of the round before. */
static void remains_of_an_earlier_round_are_taken(void **state)
{
    struct world *w = *state;
    struct wal_report report;

    open_it(w);
    fill(w, MANY); /* SQLite copies the log into the file after each 1,000 pages */
    put_one(w, 1);
    pull_the_plug(w);
    report = report_of(beside(w, "-wal"));
    assert_int_equal(report.verdict, WAL_SOUND);
    assert_true(report.frames > 0 && report.frames == report.committed);
    assert_true(size_of(beside(w, "-wal")) > WAL_HEADER + (report.frames + 10) * FRAME);
    expect_rows(w, MANY);
}

static void an_empty_log_is_taken(void **state)
{
    struct world *w = *state;

    open_it(w);
    fill(w, 10);
    shut(w);
    assert_int_equal(file_write_atomic(beside(w, "-wal"), "", 0, 0600), 0);
    expect_rows(w, 10);
    assert_int_equal(file_write_atomic(beside(w, "-wal"), "half a header", 13, 0600), 0);
    expect_rows(w, 10);
}

static void a_bad_header_is_refused_if_frames_follow(void **state)
{
    struct world *w = *state;

    write_few(w);
    unlink(beside(w, "-acked"));
    for (off_t at = 0; at < WAL_HEADER; at++) {
        flip(beside(w, "-wal"), at);
        expect_log_refused(w, "damaged behind frame 0");
        flip(beside(w, "-wal"), at);
    }
    expect_rows(w, FEW);
    /* Nothing was written to it yet. */
    assert_int_equal(
        file_write_atomic(beside(w, "-wal"), "this is no header of 32 bytes...", WAL_HEADER, 0600),
        0);
    expect_rows(w, FEW);
}

/* As a machine with the other byte order writes it: SQLite reads it, and so do we. */
static void both_byte_orders_are_read(void **state)
{
    struct world *w = *state;
    unsigned char *bytes;
    uint32_t sum[2];
    size_t size;
    bool big_end;

    write_few(w);
    assert_int_equal(file_read(beside(w, "-wal"), LIMIT, (char **)&bytes, &size), 0);
    big_end = !(bytes[3] & 1);
    wal_seal_header(bytes, big_end, sum);
    for (size_t at = WAL_HEADER; at < size; at += FRAME)
        wal_seal_frame(bytes + at, PAGE, big_end, sum);
    assert_int_equal(file_write_atomic(beside(w, "-wal"), bytes, size, 0600), 0);
    free(bytes);
    flip(beside(w, "-wal"), WAL_HEADER + 100);
    expect_log_refused(w, "damaged behind frame 0");
    flip(beside(w, "-wal"), WAL_HEADER + 100);
    assert_int_equal(report_of(beside(w, "-wal")).verdict, WAL_SOUND);
    expect_rows(w, FEW);
}

static void the_log_is_empty_after_opening(void **state)
{
    struct world *w = *state;

    write_few(w);
    open_it(w);
    assert_int_equal(size_of(beside(w, "-wal")), 0);
}

/* It is only evidence. */
static void an_unreadable_record_is_no_damage(void **state)
{
    struct world *w = *state;

    write_few(w);
    flip(beside(w, "-acked"), 3);
    expect_rows(w, FEW);
    assert_int_equal(truncate(beside(w, "-acked"), 5), 0);
    expect_rows(w, FEW);
}

/* ---- rows ---- */

static void a_flipped_bit_in_a_row_is_refused(void **state)
{
    struct world *w = *state;

    open_it(w);
    for (int i = 0; i < FEW; i++)
        put_one(w, i);
    shut(w);
    flip(w->path, place_of(w->path, "dddddddd") + 5);
    expect_refused(w, "damaged", "the row host r000003 is not what was written");
    flip(w->path, place_of(w->path, "ddddd") + 5);
    expect_rows(w, FEW);
}

static void what_is_missing_or_old_is_refused(void **state)
{
    static const struct {
        const char *sql, *why;
    } damages[] = {
        {"DELETE FROM row WHERE id = 'r000003'", "rows are missing"},
        {"DELETE FROM lease", "rows are missing"},
        {"UPDATE row SET rev = (SELECT rev FROM was), body = (SELECT body FROM was), "
         "sum = (SELECT sum FROM was) WHERE id = 'r000003'; DROP TABLE was",
         "rows are missing, or as they were before"},
        {"UPDATE meta SET revision = revision + 5", "its revision is not what was written"},
        {"UPDATE meta SET total = total + 1", "its revision is not what was written"},
        {"UPDATE row SET lease = lease + 1 WHERE tab = 'lease'", "is not what was written"},
        {"UPDATE row SET id = 'r000099' WHERE id = 'r000003'", "is not what was written"},
        {"UPDATE lease SET ttl_ms = ttl_ms + 1", "a lease is not what was written"},
        {"DELETE FROM meta", "no revision"},
        {"DROP TABLE lease", "no such table"},
    };
    struct world *w = *state;
    json_t *row = json_object();

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct verdict verdict = {0};

        open_it(w);
        fill(w, 5);
        store_lease_take(w->store, "h1", row, 60000, WAIT_MS, on_verdict, &verdict);
        run_while(w, &verdict.done, WAIT_MS);
        assert_int_equal(verdict.rc, 0);
        shut(w);
        harm(w, "CREATE TABLE was AS SELECT * FROM row WHERE id = 'r000003'");
        open_it(w);
        put_one(w, 3);
        shut(w);
        harm(w, damages[i].sql);
        expect_refused(w, "damaged", damages[i].why);
        unlink(w->path);
    }
    json_decref(row);
}

/* Everything that changes the total: rows that come, change and go, refusals, leases that end. */
static void the_total_is_kept(void **state)
{
    struct world *w = *state;
    json_t *row = json_object();
    int64_t lease = 0;

    open_it(w);
    for (int i = 0; i < 4; i++) {
        struct verdict verdict = {0};
        struct store_txn *txn = store_txn_new();

        fill(w, 50);
        store_txn_delete(txn, "host", "r000007");
        store_txn_delete(txn, "host", "r999999");
        put(txn, 1, 100);
        put(txn, 1, 200);
        assert_int_equal(commit(w, txn), 0);
        txn = store_txn_new();
        put(txn, 2, 300);
        store_txn_create(txn, "host", "r000003", row);
        assert_int_equal(commit(w, txn), -EAGAIN);
        store_lease_take(w->store, "h1", row, 60000, WAIT_MS, on_verdict, &verdict);
        run_while(w, &verdict.done, WAIT_MS);
        assert_int_equal(verdict.rc, i == 0 || i == 3 ? 0 : -EEXIST);
        if (i == 0)
            lease = verdict.value;
        if (i == 2) {
            verdict.done = false;
            store_lease_drop(w->store, lease, WAIT_MS, on_verdict, &verdict);
            run_while(w, &verdict.done, WAIT_MS);
            assert_int_equal(verdict.rc, 0);
        }
        shut(w);
        open_it(w);
    }
    json_decref(row);
}

/* ---- files of before ---- */

#define OLD_SCHEMA                                                                                 \
    "PRAGMA journal_mode = WAL;"                                                                   \
    "CREATE TABLE row (tab TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, "                \
    "body TEXT NOT NULL, lease INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tab, id)) WITHOUT ROWID;"  \
    "CREATE INDEX row_lease ON row (lease) WHERE lease <> 0;"                                      \
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL);"                        \
    "CREATE TABLE meta (revision INTEGER NOT NULL);"                                               \
    "INSERT INTO meta VALUES (9);"                                                                 \
    "INSERT INTO lease VALUES (77, 600000);"                                                       \
    "INSERT INTO row VALUES ('lease', 'h1', 7, '{}', 77), ('host', 'r000003', 8, '{\"a\":1}', 0);"

static void an_older_file_gets_checksums(void **state)
{
    struct world *w = *state;

    harm(w, OLD_SCHEMA);
    expect_rows(w, 2);
    open_it(w);
    put_one(w, 1);
    shut(w);
    expect_rows(w, 3);
    harm(w, "UPDATE row SET body = '{\"a\":2}' WHERE id = 'r000003'");
    expect_refused(w, "damaged", "the row host r000003 is not what was written");
}

static void a_damaged_older_file_stays_as_it_is(void **state)
{
    struct world *w = *state;

    harm(w, OLD_SCHEMA "UPDATE row SET body = '{' WHERE id = 'r000003'");
    expect_refused(w, "damaged", "the row host r000003 cannot be read");
    expect_refused(w, "damaged", "the row host r000003 cannot be read");
    harm(w, "INSERT OR REPLACE INTO row VALUES ('host', 'r000003', 8, '{}', 0)"); /* five columns */
    expect_rows(w, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_a_kill_leaves_is_taken),
        T(a_flipped_bit_is_refused),
        T(the_log_can_be_moved_away),
        T(a_torn_end_is_taken),
        T(a_lost_end_is_refused),
        T(remains_of_an_earlier_round_are_taken),
        T(an_empty_log_is_taken),
        T(a_bad_header_is_refused_if_frames_follow),
        T(both_byte_orders_are_read),
        T(the_log_is_empty_after_opening),
        T(an_unreadable_record_is_no_damage),
        T(a_flipped_bit_in_a_row_is_refused),
        T(what_is_missing_or_old_is_refused),
        T(the_total_is_kept),
        T(an_older_file_gets_checksums),
        T(a_damaged_older_file_stays_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
