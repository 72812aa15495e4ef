/* Drivers: the only code that touches machines, kernel networking and disks.
 *
 * Concept.   The node's agent compares the wanted rows with what a driver reports and calls it to
 *            make both equal. Every operation is idempotent: asking for what already is succeeds.
 *            Each kind of driver is a table of functions, chosen by its name.
 * Fake.      The `fake` ones keep all in memory and touch nothing; they are for simulator and scale
 *            tests only: what they say runs does not, and a restart forgets it.
 * Threads.   The loop's. An operation that takes long runs elsewhere (child process, worker thread)
 *            and reports through its callback from the loop.
 */
#ifndef VLING_DRV_DRIVER_H
#define VLING_DRV_DRIVER_H

#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

typedef void drv_done_cb(void *arg, int rc, const struct err *err); /* err valid if rc < 0 */

/* ---- compute: guests ---- */

enum guest_power { GUEST_ABSENT, GUEST_STARTING, GUEST_RUNNING, GUEST_PAUSED, GUEST_STOPPED };

#define GUEST_NICS_MAX 8

struct guest_nic {
    const char *tap; /* exists already, made by the network driver */
    const char *mac;
    int mtu;
};

struct guest_spec {
    const char *id; /* the server's */
    int64_t generation;
    const char *name;
    int vcpus;
    int ram_mb;
    const char *root_disk;    /* what the storage driver said: path or rbd: URL */
    const char *root_format;  /* "raw", "qcow2" */
    const char *config_drive; /* ISO 9660 path, or NULL */
    struct guest_nic nics[GUEST_NICS_MAX];
    size_t nic_count;
};

struct guest_info {
    char id[64];
    int64_t generation;
    enum guest_power power;
    int pid; /* 0: none */
    int64_t ram_mb;
};

struct compute_driver;
struct compute_ops {
    const char *name;
    /* `changed` is called when a guest stops, dies or changes state by itself. */
    struct compute_driver *(*open)(uv_loop_t *loop, const json_t *config,
                                   void (*changed)(void *arg, const char *id), void *arg,
                                   struct err *err);
    void (*close)(struct compute_driver *driver); /* guests go on */
    /* "kvm" or "tcg". */
    const char *(*accel)(struct compute_driver *driver);
    /* All guests of this host, also those adopted from an earlier vlingd, and those that have ended
     * and left something (GUEST_ABSENT). Fills at most `max`; returns how many there are. */
    size_t (*list)(struct compute_driver *driver, struct guest_info *ret, size_t max);
    bool (*get)(struct compute_driver *driver, const char *id, struct guest_info *ret);
    void (*start)(struct compute_driver *driver, const struct guest_spec *spec, drv_done_cb *done,
                  void *arg);
    /* Asks the guest to shut down (ACPI); after `grace_ms` it is killed. 0: killed at once, also
     * while a stop with grace is under way. */
    void (*stop)(struct compute_driver *driver, const char *id, int grace_ms, drv_done_cb *done,
                 void *arg);
    void (*pause)(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg);
    void (*resume)(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg);
    void (*reset)(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg);
    /* Kills it if it runs and removes everything the driver kept for it (not its disk). */
    void (*destroy)(struct compute_driver *driver, const char *id, drv_done_cb *done, void *arg);
    /* The last `max` bytes of the serial console's log; *ret is the caller's to free. */
    int (*console_log)(struct compute_driver *driver, const char *id, size_t max, char **ret,
                       size_t *ret_size);
    /* Path of the serial console's UNIX socket. */
    int (*console_socket)(struct compute_driver *driver, const char *id, char *ret, size_t size);
};

/* ---- storage: images and disks ---- */

struct storage_driver;
struct storage_upload;
struct storage_ops {
    const char *name;
    bool shared; /* a disk can be opened from any host */
    struct storage_driver *(*open)(uv_loop_t *loop, const json_t *config, struct err *err);
    void (*close)(struct storage_driver *driver);
    /* Image bytes. Upload: begin, write..., then commit or abort. Nothing is visible before commit,
     * which is durable when it returns. Abort also cleans up after a crash (begin does it too). */
    struct storage_upload *(*upload_begin)(struct storage_driver *driver, const char *image_id,
                                           struct err *err);
    int (*upload_write)(struct storage_upload *upload, const void *bytes, size_t size);
    int (*upload_commit)(struct storage_upload *upload, struct err *err); /* frees it */
    void (*upload_abort)(struct storage_upload *upload);                  /* frees it */
    /* An open descriptor of the image's bytes and their number. */
    int (*image_open)(struct storage_driver *driver, const char *image_id, int *ret_fd,
                      uint64_t *ret_size, struct err *err);
    int (*image_delete)(struct storage_driver *driver, const char *image_id);
    /* A new array of the ids of images whose bytes were last written `age` seconds ago or earlier,
     * whether complete or what is left of one; an id may be there twice. Any thread. NULL: images
     * do not outlive the driver. */
    json_t *(*image_list)(struct storage_driver *driver, int64_t age);
    /* A server's root disk out of an image, at least `size_gb` big (0: the image's size).
     * Idempotent: a disk that exists is left alone. Long: runs in a worker thread. */
    void (*disk_create)(struct storage_driver *driver, const char *server_id, const char *image_id,
                        const char *image_format, int64_t size_gb, drv_done_cb *done, void *arg);
    /* What QEMU opens: `path` and `format` filled; -ENOENT if there is no disk. */
    int (*disk_locate)(struct storage_driver *driver, const char *server_id, char *path,
                       size_t path_size, char *format, size_t format_size);
    int (*disk_delete)(struct storage_driver *driver, const char *server_id);
    /* As image_list: the ids of servers with a disk, or what is left of one. */
    json_t *(*disk_list)(struct storage_driver *driver, int64_t age);
    /* Total and free bytes of the place. */
    int (*space)(struct storage_driver *driver, uint64_t *ret_total, uint64_t *ret_free);
};

/* ---- network: one declarative plan ---- */

struct network_driver;

/* Called by the metadata service: who asks (network and the asking address) and for what. Returns
 * an HTTP status; the body in `ret_body` is the driver's to free. */
typedef unsigned network_metadata_cb(void *arg, const char *network_id, const char *client_ip,
                                     const char *method, const char *path, char **ret_body,
                                     size_t *ret_size);

/* The bridge that joins the routers' way out with the external device. While it is down, no router
 * of this host is heard outside; `apply` takes it up, after what is not wanted any more is gone. */
#define NETWORK_EXTERNAL_BRIDGE "br-ext"

struct network_ops {
    const char *name;
    struct network_driver *(*open)(uv_loop_t *loop, const json_t *config,
                                   network_metadata_cb *metadata, void *arg, struct err *err);
    /* The kernel's side stays as it is (a restarted vlingd must not disturb traffic). */
    void (*close)(struct network_driver *driver);
    /* Makes this host's networking equal to `plan` (drv/network/plan.md tells its form) and removes
     * what earlier plans made and this one lacks. Failures of single objects are collected, the
     * rest goes on; returns 0 or the first error. Called again with the same plan it tries only
     * what failed, when its pause is over, and returns -EAGAIN if that is still to come. Cheap when
     * nothing changed. The plan may be kept (by reference), and must not be changed any more. */
    int (*apply)(struct network_driver *driver, const json_t *plan, struct err *err);
    /* Removes everything the driver made on this host. */
    void (*clear)(struct network_driver *driver);
    /* Adds or removes an address (e.g. the API's virtual IP, "10.10.0.100/24") on a device of the
     * host and announces it (gratuitous ARP, RFC 5227; unsolicited NA, RFC 4861). */
    int (*address_add)(struct network_driver *driver, const char *dev, const char *cidr,
                       struct err *err);
    int (*address_remove)(struct network_driver *driver, const char *dev, const char *cidr);
    /* Is the address on the device now, whoever put it there? */
    bool (*address_here)(struct network_driver *driver, const char *dev, const char *cidr);
    /* Is a device's link up? */
    bool (*link_up)(struct network_driver *driver, const char *dev);
    /* The tap name of a port: at most 15 characters, the same on every host. */
    void (*tap_name)(const char *port_id, char ret[16]);
};

extern const struct compute_ops compute_qemu, compute_fake;
extern const struct storage_ops storage_dir, storage_fake;
extern const struct network_ops network_linux, network_fake;

/* The driver that calls itself `name`, or NULL. */
const struct compute_ops *compute_driver_find(const char *name);
const struct storage_ops *storage_driver_find(const char *name);
const struct network_ops *network_driver_find(const char *name);

#endif
