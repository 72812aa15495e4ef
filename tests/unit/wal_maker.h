/* Writes the checksums of a write-ahead log of SQLite, after
 * https://www.sqlite.org/fileformat2.html#walformat and apart from the reader under test. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_HEADER 32
#define WAL_FRAME_HEADER 24

static inline void wal_put(unsigned char *at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(number >> (24 - 8 * i));
}

static inline uint32_t wal_get(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void wal_sum(uint32_t sum[2], bool big_end, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = wal_get(bytes + i);

        if (!big_end)
            word = __builtin_bswap32(word);
        /* The two sums take the words in turn, and each other. */
        sum[i / 4 % 2] += word + sum[(i / 4 + 1) % 2];
    }
}

/* The header of a log; `sum` is then what its first frame continues. */
static inline void wal_seal_header(unsigned char *header, bool big_end, uint32_t sum[2])
{
    wal_put(header, 0x377f0682u | big_end);
    sum[0] = sum[1] = 0;
    wal_sum(sum, big_end, header, 24);
    wal_put(header + 24, sum[0]);
    wal_put(header + 28, sum[1]);
}

static inline void wal_seal_frame(unsigned char *frame, size_t page_size, bool big_end,
                                  uint32_t sum[2])
{
    wal_sum(sum, big_end, frame, 8);
    wal_sum(sum, big_end, frame + WAL_FRAME_HEADER, page_size);
    wal_put(frame + 16, sum[0]);
    wal_put(frame + 20, sum[1]);
}
