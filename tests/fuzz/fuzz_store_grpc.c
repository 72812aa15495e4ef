/* libFuzzer: what a peer says to be etcd's answer by gRPC. Nothing outside of it is read, and what
 * it said with its frame made right and with a good header behind it follows from what it says. Of
 * a transaction's answer: one more response behind it makes one more nested verdict, and no other.
 */
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

static bool read_txn(const unsigned char *text, size_t size, size_t count,
                     struct etcd_txn_answer *ret)
{
    unsigned char *frame = calloc(1, size + 5);
    bool good;

    must(frame != NULL);
    frame[3] = (unsigned char)(size >> 8);
    frame[4] = (unsigned char)size;
    if (size > 0)
        memcpy(frame + 5, text, size);
    good = etcd_grpc_read_txn(frame, size + 5, 1, count, ret);
    free(frame);
    return good;
}

static void try_txn(const uint8_t *bytes, size_t size)
{
    /* responses { response_txn { succeeded: true } }, and of the whole, false and true */
    static const unsigned char more[] = {3 << 3 | 2, 4, 4 << 3 | 2, 2, 2 << 3, 1};
    static const unsigned char no[] = {2 << 3, 0}, yes[] = {2 << 3, 1};
    unsigned char text[FRAME_MAX + sizeof(more) + sizeof(yes)];
    struct etcd_txn_answer answer, longer;
    bool whole = false;

    if (size > 0)
        memcpy(text, bytes, size);
    must(!read_txn(text, size, ETCD_NESTED_MAX + 1, &answer));
    for (size_t count = 0; count < ETCD_NESTED_MAX; count++) {
        if (!read_txn(text, size, count, &answer))
            continue; /* what is added might continue what it lacks */
        memcpy(text + size, yes, sizeof(yes));
        if (!read_txn(text, size + sizeof(yes), count, &answer))
            continue;
        must(answer.succeeded && !whole); /* there is one count of responses */
        whole = true;
        memcpy(text + size + sizeof(yes), more, sizeof(more));
        must(read_txn(text, size + sizeof(yes) + sizeof(more), count + 1, &longer));
        must(longer.nested[count]);
        for (size_t i = 0; i < count; i++)
            must(longer.nested[i] == answer.nested[i]);
        memcpy(text + size, no, sizeof(no)); /* then what did not happen says nothing */
        must(read_txn(text, size + sizeof(no), count + 1, &longer) && !longer.succeeded);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const unsigned char header[] = {1 << 3 | 2, 4, 3 << 3, 0x96, 0x01, 4 << 3};
    unsigned char frame[FRAME_MAX + 5 + sizeof(header) + 1] = {0};
    int64_t revision, alone;
    bool good;

    if (size > FRAME_MAX)
        return 0;
    try_txn(bytes, size);
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
