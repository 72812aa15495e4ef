#include "store/wal_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define HEADER_SIZE 32
#define FRAME_HEADER_SIZE 24
#define MAGIC 0x377f0682u /* the last bit: words of checksums have the big end first */
#define FORMAT 3007000u
#define PAGE_MIN 512u
#define PAGE_MAX 65536u

struct sum {
    uint32_t one, two;
};

struct log {
    bool big_end;
    uint32_t page_size, salts[2];
    struct sum sum; /* of the header */
};

struct frame {
    uint32_t page, commit, salts[2]; /* commit: pages of the database, or 0 */
    struct sum sum;
};

static uint32_t big(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t little(const unsigned char *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

/* `size` is a multiple of eight. */
static struct sum sum_on(struct sum sum, bool big_end, const unsigned char *bytes, size_t size)
{
    for (const unsigned char *at = bytes; at < bytes + size; at += 8) {
        sum.one += (big_end ? big(at) : little(at)) + sum.two;
        sum.two += (big_end ? big(at + 4) : little(at + 4)) + sum.one;
    }
    return sum;
}

static bool same(struct sum a, struct sum b)
{
    return a.one == b.one && a.two == b.two;
}

static bool read_header(const unsigned char *bytes, struct log *log)
{
    log->big_end = bytes[3] & 1;
    log->page_size = big(bytes + 8);
    log->salts[0] = big(bytes + 16);
    log->salts[1] = big(bytes + 20);
    log->sum = (struct sum){big(bytes + 24), big(bytes + 28)};
    return (big(bytes) & ~1u) == MAGIC && log->page_size >= PAGE_MIN &&
           log->page_size <= PAGE_MAX && (log->page_size & (log->page_size - 1)) == 0 &&
           same(sum_on((struct sum){0}, log->big_end, bytes, 24), log->sum);
}

/* The header is synced before the first frame is written (and as it is smaller than a sector, an
 * old one is replaced whole), so with anything behind it, it was right once. */
static int check_behind_bad_header(FILE *file, struct wal_report *report)
{
    int c;

    while ((c = getc(file)) != EOF)
        if (c != 0)
            report->verdict = WAL_DAMAGED;
    return ferror(file) ? -EIO : 0;
}

static struct frame frame_of(const unsigned char *bytes)
{
    return (struct frame){.page = big(bytes),
                          .commit = big(bytes + 4),
                          .salts = {big(bytes + 8), big(bytes + 12)},
                          .sum = {big(bytes + 16), big(bytes + 20)}};
}

static int check_frames(FILE *file, const struct log *log, unsigned char *bytes,
                        struct wal_report *report)
{
    size_t size = FRAME_HEADER_SIZE + log->page_size, n;
    struct sum stored = log->sum, counted = log->sum; /* up to the frame before */
    bool ended = false, commit = false;

    while ((n = fread(bytes, 1, size, file)) == size) {
        struct frame frame = frame_of(bytes);
        bool ours = frame.salts[0] == log->salts[0] && frame.salts[1] == log->salts[1];
        struct sum on_stored = sum_on(sum_on(stored, log->big_end, bytes, 8), log->big_end,
                                      bytes + FRAME_HEADER_SIZE, log->page_size);
        struct sum on_counted = sum_on(sum_on(counted, log->big_end, bytes, 8), log->big_end,
                                       bytes + FRAME_HEADER_SIZE, log->page_size);
        /* The damage may be in the checksum itself: then the one that we counted leads on. */
        bool fits =
            ours && frame.page > 0 && (same(on_stored, frame.sum) || same(on_counted, frame.sum));

        if (ended && fits && commit)
            report->verdict = WAL_DAMAGED;
        if (!ended && fits) {
            report->frames++;
            if (frame.commit)
                report->committed = report->frames;
        } else if (!ended) {
            ended = true;
            report->verdict = ours ? WAL_TORN : WAL_SOUND;
        }
        commit = frame.commit > 0;
        stored = frame.sum;
        counted = on_stored;
    }
    if (!ended && (n > 0 || report->committed < report->frames))
        report->verdict = WAL_TORN;
    return ferror(file) ? -EIO : 0;
}

int wal_check(FILE *file, struct wal_report *ret_report)
{
    struct wal_report report = {.verdict = WAL_SOUND};
    unsigned char header[HEADER_SIZE], *bytes;
    size_t n = fread(header, 1, sizeof(header), file);
    struct log log;
    int rc = 0;

    if (ferror(file))
        return -EIO;
    if (n < sizeof(header)) {
        report.verdict = n > 0 ? WAL_TORN : WAL_SOUND;
    } else if (!read_header(header, &log)) {
        report.verdict = WAL_TORN;
        rc = check_behind_bad_header(file, &report);
    } else if (big(header + 4) == FORMAT) {
        bytes = malloc(FRAME_HEADER_SIZE + log.page_size);
        rc = bytes ? check_frames(file, &log, bytes, &report) : -ENOMEM;
        free(bytes);
    }
    if (rc == 0)
        *ret_report = report;
    return rc;
}
