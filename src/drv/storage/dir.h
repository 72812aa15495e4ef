/* Between the files of the `dir` storage driver. */
#ifndef VLING_DRV_STORAGE_DIR_H
#define VLING_DRV_STORAGE_DIR_H

#include "drv/driver.h"

/* Disks that are made at a time; the others wait in a queue. A copy keeps a thread busy for
 * seconds, and the threads are shared with what must be answered at once: SQLite's transactions
 * with the lease's renewal among them, password hashes, names. */
#define STORAGE_DIR_COPIES 2

struct disk_job;
struct storage_driver {
    uv_loop_t *loop;
    char path[256];
    int copying;
    struct disk_job *first, **last; /* those that wait */
    bool closed;                    /* freed by the last job */
};

/* May `name` (an id from outside) be a file's name below the driver's folders? */
bool storage_dir_safe_name(const char *name);
/* Makes the names in a folder durable. */
int storage_dir_sync(const char *folder);
/* Gives the complete file `temp` its name `target`; -EEXIST if there is one, which stays. */
int storage_dir_publish(const char *temp, const char *target);
/* Removes what crashed writers left behind: files of that age (seconds) and older. */
#define STORAGE_DIR_STALE (6 * 3600) /* long after any writer would have ended */
/* Is it a file that was last written that long ago? */
bool storage_dir_is_of_age(const char *path, int64_t age);
void storage_dir_sweep(const char *folder, const char *prefix, int age);

/* disk.c; see struct storage_ops */
void storage_dir_disk_create(struct storage_driver *driver, const char *server_id,
                             const char *image_id, const char *image_format, int64_t size_gb,
                             drv_done_cb *done, void *arg);
int storage_dir_disk_locate(struct storage_driver *driver, const char *server_id, char *path,
                            size_t path_size, char *format, size_t format_size);
int storage_dir_disk_delete(struct storage_driver *driver, const char *server_id);
json_t *storage_dir_disk_list(struct storage_driver *driver, int64_t age);

#endif
