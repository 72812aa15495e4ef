/* libFuzzer: anything as a write-ahead log of SQLite. Whatever comes, the verdict is about what is
 * there, and what is said to be whole is whole by itself.
 *
 * The first byte chooses: the input is the log; or it says, a byte for each frame, what became of
 * a log that was right, and then what it proves is known. */
#include "../unit/wal_maker.h"
#include "must.h"

#include "store/wal_check.h"

#include <string.h>

/* First byte. */
#define MADE 1
#define BIG_END 2
#define BAD_HEADER 4
/* A frame's byte. */
#define COMMIT 1
#define BAD_PAGE 2  /* changed when the checksum was made */
#define BAD_SUM 4   /* the checksum was changed */
#define OLD_SALTS 8 /* left by a round before */
#define FRAMES_MAX 64
#define PAGE 512
#define FRAME (WAL_FRAME_HEADER + PAGE)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct wal_report check(const void *bytes, size_t size)
{
    struct wal_report report = {.frames = UINT32_MAX};
    FILE *file = size ? fmemopen((void *)bytes, size, "r") : fopen("/dev/null", "r");

    must(file);
    must(wal_check(file, &report) == 0);
    fclose(file);
    must(report.committed <= report.frames);
    return report;
}

/* What a log is cut to at its last commit is sound, and as long. */
static void check_whole_part(const uint8_t *bytes, size_t size)
{
    struct wal_report report = check(bytes, size), part;
    size_t page, end;

    if (report.committed == 0)
        return;
    page = wal_get(bytes + 8);
    end = WAL_HEADER + report.committed * (WAL_FRAME_HEADER + page);
    must(report.frames * (WAL_FRAME_HEADER + page) + WAL_HEADER <= size);
    part = check(bytes, end);
    must(part.verdict == WAL_SOUND);
    must(part.frames == report.committed && part.committed == report.committed);
    must(check(bytes, end - 1).verdict == WAL_TORN);
}

static void make_frame(uint8_t *frame, uint8_t what, bool big_end, uint32_t sum[2])
{
    memset(frame, what, FRAME);
    wal_put(frame, 1);
    wal_put(frame + 4, what & COMMIT ? 7 : 0);
    wal_put(frame + 8, what & OLD_SALTS ? 1 : 2);
    wal_put(frame + 12, what & OLD_SALTS ? 1 : 2);
    wal_seal_frame(frame, PAGE, big_end, sum);
    if (what & BAD_PAGE)
        frame[WAL_FRAME_HEADER] ^= 1;
    if (what & BAD_SUM)
        frame[20] ^= 1;
}

static void check_made(uint8_t how, const uint8_t *what, size_t count)
{
    static uint8_t log[WAL_HEADER + FRAMES_MAX * FRAME];
    uint32_t sum[2], good = 0, committed = 0;
    bool damaged = false, ended = false, leads = true;
    struct wal_report report;

    memset(log, 0, WAL_HEADER);
    wal_put(log + 4, 3007000);
    wal_put(log + 8, PAGE);
    wal_put(log + 16, 2);
    wal_put(log + 20, 2);
    wal_seal_header(log, how & BIG_END, sum);
    for (size_t i = 0; i < count; i++) {
        uint8_t before = i > 0 ? what[i - 1] : 0;
        bool fits = leads && !(what[i] & (BAD_PAGE | BAD_SUM | OLD_SALTS));

        make_frame(log + WAL_HEADER + i * FRAME, what[i], how & BIG_END, sum);
        damaged = damaged || (ended && fits && (before & COMMIT));
        ended = ended || !fits;
        if (!ended)
            good++;
        if (!ended && (what[i] & COMMIT))
            committed = good;
        /* The next frame continues the checksum that is there, or the one that should be. */
        leads = !(what[i] & BAD_SUM) || !(before & BAD_SUM || what[i] & BAD_PAGE);
    }
    if (how & BAD_HEADER)
        log[10] ^= 0x40;
    report = check(log, WAL_HEADER + count * FRAME);
    if (how & BAD_HEADER) {
        must(report.frames == 0);
        must(report.verdict == (count ? WAL_DAMAGED : WAL_TORN));
        return;
    }
    must(report.frames == good && report.committed == committed);
    must((report.verdict == WAL_DAMAGED) == damaged);
    check_whole_part(log, WAL_HEADER + count * FRAME);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    if (bytes[0] & MADE)
        check_made(bytes[0], bytes + 1, size - 1 < FRAMES_MAX ? size - 1 : FRAMES_MAX);
    else
        check_whole_part(bytes + 1, size - 1);
    return 0;
}
