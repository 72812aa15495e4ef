/* A config drive: an ISO 9660 file system with the label config-2, as cloud-init and others read it
 * (https://docs.openstack.org/nova/latest/user/config-drive.html). Made by genisoimage in a child
 * process; the tree it is made from is removed again. */
#ifndef VLING_DRV_COMPUTE_CONFIGDRIVE_H
#define VLING_DRV_COMPUTE_CONFIGDRIVE_H

#include "drv/driver.h"

struct configdrive_content {
    json_t *meta_data;    /* borrowed */
    json_t *network_data; /* borrowed */
    char *user_data;      /* borrowed, or NULL */
    size_t user_data_size;
};

/* Replaces `path` atomically. `content` is read during the call only. */
void configdrive_build(uv_loop_t *loop, const char *path, const struct configdrive_content *content,
                       drv_done_cb *done, void *arg);

/* Removes the drive and what a build of it that was killed has left. */
void configdrive_remove(const char *path);

#endif
