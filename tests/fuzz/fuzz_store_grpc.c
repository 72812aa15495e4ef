/* libFuzzer: what a peer says to be etcd's answer by gRPC. Nothing outside of it is read, and what
 * it said with its frame made right and with a good header behind it follows from what it says. */
#include "must.h"
#include "store/etcd.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A copy without room behind it, so that the sanitizer sees each byte read outside. */
static bool read_exactly(const uint8_t *bytes, size_t size, int64_t *ret_revision)
{
    unsigned char *copy = malloc(size ? size : 1);
    struct etcd_grpc_answer said;
    bool good;

    must(copy != NULL);
    if (size > 0)
        memcpy(copy, bytes, size);
    good = etcd_grpc_read(copy, size, &said);
    *ret_revision = said.revision;
    must(!good || *ret_revision > 0);
    must(size == 0 || memcmp(copy, bytes, size) == 0);
    free(copy);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const unsigned char header[] = {1 << 3 | 2, 4, 3 << 3, 0x96, 0x01, 4 << 3};
    unsigned char frame[FRAME_MAX + 5 + sizeof(header) + 1] = {0};
    int64_t revision, alone;
    bool good;

    if (size > FRAME_MAX)
        return 0;
    read_exactly(bytes, size, &revision);
    frame[3] = (unsigned char)(size >> 8);
    frame[4] = (unsigned char)size;
    if (size > 0)
        memcpy(frame + 5, bytes, size);
    good = read_exactly(frame, size + 5, &alone);
    must(!read_exactly(frame, size + 4, &revision) && !read_exactly(frame, size + 6, &revision));
    /* of two headers the last one counts (protobuf merges them) */
    memcpy(frame + 5 + size, header, sizeof(header));
    frame[3] = (unsigned char)((size + 6) >> 8);
    frame[4] = (unsigned char)(size + 6);
    must(!good || !read_exactly(frame, size + 11, &revision)); /* raft_term lacks its value */
    frame[5 + size + 1] = 3;
    frame[3] = (unsigned char)((size + 5) >> 8);
    frame[4] = (unsigned char)(size + 5);
    must(!good || (read_exactly(frame, size + 10, &revision) && revision == 150));
    return 0;
}
