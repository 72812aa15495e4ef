/* libFuzzer: read leases in a world of lost frames, wrong clocks and deaths (read_world.h), each
 * step of which the input chooses. */
#include "read_world.h"

#include <stdlib.h>

#define STEPS_MAX 6000

struct input {
    const uint8_t *at;
    size_t left;
};

static unsigned next(void *arg, unsigned bound)
{
    struct input *input = arg;
    unsigned value = 0;

    for (unsigned size = bound > 256 ? 2 : 1; size > 0 && input->left > 0; size--) {
        value = value << 8 | *input->at++;
        input->left--;
    }
    return value % bound;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct world world;
    struct input input = {bytes, size};

    world_begin(&world, (struct world_draw){next, &input});
    for (int i = 0; i < STEPS_MAX && input.left > 0; i++)
        world_step(&world);
    return 0;
}
