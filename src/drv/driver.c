#include "drv/driver.h"

#include <string.h>

static const struct compute_ops *const compute_drivers[] = {&compute_qemu, &compute_fake};
static const struct storage_ops *const storage_drivers[] = {&storage_dir, &storage_fake};
static const struct network_ops *const network_drivers[] = {&network_linux, &network_fake};

const struct compute_ops *compute_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(compute_drivers) / sizeof(compute_drivers[0]); i++) {
        if (strcmp(compute_drivers[i]->name, name) == 0)
            return compute_drivers[i];
    }
    return NULL;
}

const struct storage_ops *storage_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(storage_drivers) / sizeof(storage_drivers[0]); i++) {
        if (strcmp(storage_drivers[i]->name, name) == 0)
            return storage_drivers[i];
    }
    return NULL;
}

const struct network_ops *network_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(network_drivers) / sizeof(network_drivers[0]); i++) {
        if (strcmp(network_drivers[i]->name, name) == 0)
            return network_drivers[i];
    }
    return NULL;
}
