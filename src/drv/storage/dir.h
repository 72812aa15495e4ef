/* Between the files of the `dir` storage driver. */
#ifndef VLING_DRV_STORAGE_DIR_H
#define VLING_DRV_STORAGE_DIR_H

#include "drv/driver.h"

struct storage_driver {
    uv_loop_t *loop;
    char path[256];
};

/* May `name` (an id from outside) be a file's name below the driver's folders? */
bool storage_dir_safe_name(const char *name);
/* Makes the names in a folder durable. */
int storage_dir_sync(const char *folder);
/* Gives the complete file `temp` its name `target`; -EEXIST if there is one, which stays. */
int storage_dir_publish(const char *temp, const char *target);
/* Removes what crashed writers left behind: files of that age (seconds) and older. */
#define STORAGE_DIR_STALE (6 * 3600) /* long after any writer would have ended */
void storage_dir_sweep(const char *folder, const char *prefix, int age);

/* disk.c; see struct storage_ops */
void storage_dir_disk_create(struct storage_driver *driver, const char *server_id,
                             const char *image_id, const char *image_format, int64_t size_gb,
                             drv_done_cb *done, void *arg);
int storage_dir_disk_locate(struct storage_driver *driver, const char *server_id, char *path,
                            size_t path_size, char *format, size_t format_size);
int storage_dir_disk_delete(struct storage_driver *driver, const char *server_id);

#endif
