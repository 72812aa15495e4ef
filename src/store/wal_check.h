/* Does a write-ahead log of SQLite still hold what was written to it?
 *
 * Why.       SQLite ends the log at the first frame that does not fit its checksum and says
 *            nothing, so one flipped bit takes all commits behind it away.
 * Format.    https://www.sqlite.org/fileformat2.html#walformat: a header of 32 bytes, then frames
 *            of 24 bytes and a page. A frame carries two salts of its log and a checksum over all
 *            of the log up to it; one that ends a transaction says how many pages the database
 *            has. Frames with other salts may lie behind the log's end: they are of an earlier
 *            round and were copied into the database then.
 * Verdict.   A transaction's frames are written when the one before it was synced (that is what
 *            synchronous=FULL means). So after a power cut the last transaction may be there in
 *            part, in any order: nobody was told that it is done, and to leave it out is right. A
 *            frame that continues, by its checksum, one that ended a transaction was written after
 *            somebody was told. Such a frame behind one that does not fit is proof of damage.
 * Limits.    With no frame behind it a damaged last transaction looks like a torn one, and a log
 *            that was cut at the end of a transaction like a whole one. sqlite_file.h tells what
 *            notices these.
 */
#ifndef VLING_STORE_WAL_CHECK_H
#define VLING_STORE_WAL_CHECK_H

#include <stdint.h>
#include <stdio.h>

enum wal_verdict {
    WAL_SOUND,  /* or empty, or of a format that only SQLite can judge */
    WAL_TORN,   /* it ends in a transaction that was never acknowledged */
    WAL_DAMAGED /* acknowledged transactions would be lost */
};

struct wal_report {
    enum wal_verdict verdict;
    uint32_t frames;    /* how many fit, from the first on: the next one is damaged, or the end */
    uint32_t committed; /* of these, the ones of whole transactions */
};

/* Reads a log from where `file` stands to its end. 0 or -errno (it cannot be read, no memory);
 * `ret_report` is filled on success. Any thread. */
int wal_check(FILE *file, struct wal_report *ret_report);

#endif
