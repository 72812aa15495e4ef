/* Guests that are only entries in a table: they run as soon as they are started and do nothing. */
#include "base/json.h"
#include "drv/driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct compute_driver {
    json_t *guests; /* id -> {"generation", "ram_mb", "power"} */
};

static struct compute_driver *fake_open(uv_loop_t *loop, const json_t *config,
                                        void (*changed)(void *arg, const char *id), void *arg,
                                        struct err *err)
{
    struct compute_driver *driver = calloc(1, sizeof(*driver));

    if (driver)
        driver->guests = json_object();
    else
        err_set(err, -ENOMEM, "cannot open the fake compute driver", NULL, NULL);
    return driver;
}

static void fake_close(struct compute_driver *driver)
{
    json_decref(driver->guests);
    free(driver);
}

static const char *fake_accel(struct compute_driver *driver)
{
    return "fake";
}

static void fill(const char *id, const json_t *guest, struct guest_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    snprintf(ret->id, sizeof(ret->id), "%s", id);
    ret->generation = json_int(guest, "generation", 0);
    ret->ram_mb = json_int(guest, "ram_mb", 0);
    ret->power = (enum guest_power)json_int(guest, "power", GUEST_ABSENT);
}

static size_t fake_list(struct compute_driver *driver, struct guest_info *ret, size_t max)
{
    const char *id;
    json_t *guest;
    size_t n = 0;

    json_object_foreach(driver->guests, id, guest)
    {
        if (n < max)
            fill(id, guest, &ret[n]);
        n++;
    }
    return n;
}

static bool fake_get(struct compute_driver *driver, const char *id, struct guest_info *ret)
{
    json_t *guest = json_object_get(driver->guests, id);

    if (guest)
        fill(id, guest, ret);
    return guest != NULL;
}

static void refuse(int rc, const char *why, drv_done_cb *done, void *arg)
{
    struct err err;

    err_set(&err, rc, "cannot act on the guest", why, NULL);
    done(arg, rc, &err);
}

static bool is_alive(const json_t *guest)
{
    return guest && json_int(guest, "power", GUEST_ABSENT) != GUEST_STOPPED;
}

static void fake_start(struct compute_driver *driver, const struct guest_spec *spec,
                       drv_done_cb *done, void *arg)
{
    json_t *guest = json_object_get(driver->guests, spec->id);

    if (is_alive(guest) && (json_int(guest, "generation", 0) != spec->generation ||
                            json_int(guest, "power", GUEST_ABSENT) != GUEST_RUNNING)) {
        refuse(-EBUSY, "a copy of it is here already", done, arg);
        return;
    }
    json_object_set_new(driver->guests, spec->id,
                        json_pack("{s:I, s:i, s:i}", "generation", (json_int_t)spec->generation,
                                  "ram_mb", spec->ram_mb, "power", GUEST_RUNNING));
    done(arg, 0, NULL);
}

static void set_power(struct compute_driver *driver, const char *id, enum guest_power power,
                      drv_done_cb *done, void *arg)
{
    json_t *guest = json_object_get(driver->guests, id);

    if (!is_alive(guest)) {
        refuse(-ENOENT, "it does not run here", done, arg);
        return;
    }
    json_put_int(guest, "power", power);
    done(arg, 0, NULL);
}

static void fake_stop(struct compute_driver *driver, const char *id, int grace_ms,
                      drv_done_cb *done, void *arg)
{
    set_power(driver, id, GUEST_STOPPED, done, arg);
}

static void fake_pause(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg)
{
    set_power(driver, id, GUEST_PAUSED, done, arg);
}

static void fake_run(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg)
{
    set_power(driver, id, GUEST_RUNNING, done, arg);
}

static void fake_destroy(struct compute_driver *driver, const char *id, drv_done_cb *done,
                         void *arg)
{
    json_object_del(driver->guests, id);
    done(arg, 0, NULL);
}

static int fake_console_log(struct compute_driver *driver, const char *id, size_t max, char **ret,
                            size_t *ret_size)
{
    if (!json_object_get(driver->guests, id))
        return -ENOENT;
    *ret = strdup("");
    *ret_size = 0;
    return *ret ? 0 : -ENOMEM;
}

static int fake_console_socket(struct compute_driver *driver, const char *id, char *ret,
                               size_t size)
{
    return -ENOENT;
}

const struct compute_ops compute_fake = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .accel = fake_accel,
    .list = fake_list,
    .get = fake_get,
    .start = fake_start,
    .stop = fake_stop,
    .pause = fake_pause,
    .resume = fake_run,
    .reset = fake_run,
    .destroy = fake_destroy,
    .console_log = fake_console_log,
    .console_socket = fake_console_socket,
};
