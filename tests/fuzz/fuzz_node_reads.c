/* libFuzzer: any datagram through the parser of read leases; what it accepts must encode to the
 * same frame again, and a controller that hears it stays in order. */
#include "must.h"
#include "node/reads.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1};
    static const uint8_t boot[READ_LEASE_BOOT_SIZE] = {2};
    static struct reads_frame frame, again;
    struct read_lease_frame answer;
    struct read_lease lease;
    uint8_t out[READS_FRAME_MAX];
    int length;

    if (reads_decode(bytes, size, NULL, &frame) < 0)
        return 0;
    length = reads_encode(&frame, key, out);
    must(length == (int)size);
    must(reads_decode(out, (size_t)length, key, &again) == 0);
    must(memcmp(&frame, &again, sizeof(frame)) == 0);
    read_lease_init(&lease, boot, 1, 2, 1000);
    for (size_t peer = 0; peer < 3; peer++) {
        read_lease_heard(&lease, peer, &frame.lease, 2000, &answer);
        must(read_lease_may_show(&lease, 1, 2000) >= 0);
        must(!read_lease_holds(&lease, 2000)); /* two promises of others, and no list */
    }
    return 0;
}
