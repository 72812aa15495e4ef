/* A network that holds no plan: every one is applied at once, every device is up. */
#include "drv/driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct network_driver {
    uv_loop_t *loop;
    char address[80]; /* the last one added and not removed */
};

static struct network_driver *fake_open(uv_loop_t *loop, const json_t *config,
                                        network_metadata_cb *metadata, void *arg, struct err *err)
{
    struct network_driver *driver = calloc(1, sizeof(*driver));

    if (driver)
        driver->loop = loop;
    else
        err_set(err, -ENOMEM, "cannot open the fake network driver", NULL, NULL);
    return driver;
}

static void fake_close(struct network_driver *driver)
{
    free(driver);
}

static int fake_apply(struct network_driver *driver, const json_t *plan, struct err *err)
{
    return 0;
}

static void fake_clear(struct network_driver *driver)
{
}

static int fake_address_add(struct network_driver *driver, const char *dev, const char *cidr,
                            struct err *err)
{
    snprintf(driver->address, sizeof(driver->address), "%s", cidr);
    return 0;
}

static bool fake_address_here(struct network_driver *driver, const char *dev, const char *cidr)
{
    return strcmp(driver->address, cidr) == 0;
}

static int fake_address_remove(struct network_driver *driver, const char *dev, const char *cidr)
{
    if (fake_address_here(driver, dev, cidr))
        driver->address[0] = '\0';
    return 0;
}

static bool fake_link_up(struct network_driver *driver, const char *dev)
{
    return true;
}

static void fake_tap_name(const char *port_id, char ret[16])
{
    snprintf(ret, 16, "vt%.13s", port_id);
}

const struct network_ops network_fake = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .apply = fake_apply,
    .clear = fake_clear,
    .address_add = fake_address_add,
    .address_remove = fake_address_remove,
    .address_here = fake_address_here,
    .link_up = fake_link_up,
    .tap_name = fake_tap_name,
};
