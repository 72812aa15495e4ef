/* libFuzzer: any datagram through the parser; what it accepts must encode to the same frame again.
 */
#include "node/heartbeat.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint8_t key[PKI_CLUSTER_KEY_SIZE] = {1};
    static struct heartbeat_frame frame, again;
    uint8_t out[HEARTBEAT_FRAME_MAX];
    int length;

    if (heartbeat_decode(bytes, size, NULL, &frame) < 0)
        return 0;
    length = heartbeat_encode(&frame, key, out);
    if (length != (int)size || heartbeat_decode(out, (size_t)length, key, &again) < 0 ||
        memcmp(&frame, &again, sizeof(frame)) != 0)
        abort();
    return 0;
}
