/* Between the files of the QEMU driver.
 *
 * Files of a guest, <run_dir>/guests/<server id>/ (lost with the host's power, as the guest is):
 *   spec.json     id, generation: who this is; written before the process starts
 *   pid           "<decimal pid>\n"; the guard signals this process after it has found the server's
 *                 id in its command line
 *   stopped       exists when the guest powered itself off or was asked to
 *   qemu.log      what QEMU says
 *   qemu/         qmp.sock, serial.sock, console.log: belongs to the guests' user and is not
 * trusted All but the last belong to root. A guest is started paused (-S) and let run only once its
 * pid file is there and QMP answers, so nothing of it runs that the guard would not know.
 */
#ifndef VLING_DRV_COMPUTE_QEMU_H
#define VLING_DRV_COMPUTE_QEMU_H

#include "drv/driver.h"
#include "io/qmp.h"

#define QEMU_ARGS_MAX 96
#define QEMU_BINARY "/usr/bin/qemu-system-x86_64"
#define QEMU_COMM "qemu-system-x86" /* its name in /proc: the first 15 characters */

struct qemu_args {
    char *argv[QEMU_ARGS_MAX];
    size_t count;
    bool failed;
};

/* qemu_args.c: the command line of `spec`; tap descriptors are passed from 3 on. */
void qemu_args_build(struct qemu_args *args, const struct guest_spec *spec, const char *dir,
                     const char *accel);
void qemu_args_free(struct qemu_args *args);

/* Who guests run as. */
struct qemu_user {
    unsigned uid, gid;
};

/* qemu_probe.c: "kvm" if a tiny guest gets through its firmware and boot sector within a second,
 * otherwise "tcg". Blocks at most that long; the result is kept in run_dir until the next boot. */
const char *qemu_probe_accel(const char *run_dir, const struct qemu_user *user);

/* qemu_files.c */
#define QEMU_OWN "qemu" /* the folder of what QEMU makes */
int qemu_dir(const char *run_dir, const char *id, char *ret, size_t size);
int qemu_dir_write_spec(const char *dir, const struct guest_spec *spec);
/* Generation from spec.json, or -1. */
int64_t qemu_dir_generation(const char *dir);
/* Is `pid` a living process of the guest (and not one that ended, or another's)? Of one that was
 * killed and is not dead yet there is no proof whose it is. */
bool qemu_runs(int pid, const char *id);
/* The live process of the guest, or 0. */
int qemu_dir_pid(const char *dir, const char *id);
/* The same without its pid file: whoever started it may have died before it wrote that. */
int qemu_find(const char *id);
int qemu_dir_write_pid(const char *dir, int pid);
bool qemu_dir_has(const char *dir, const char *file);
void qemu_dir_touch(const char *dir, const char *file);
void qemu_dir_remove(const char *dir);
/* Removes what belongs to one life of the process; the console's log stays. */
void qemu_dir_clean(const char *dir);
/* The last line of qemu.log: why QEMU ended. */
void qemu_dir_last_words(const char *dir, char *ret, size_t size);
int qemu_dir_console(const char *dir, size_t max, char **ret, size_t *ret_size);
/* Keeps the console's log below its limit. */
void qemu_dir_trim_console(const char *dir);
/* Makes the user that guests run as, if it is missing; fills its ids, with the group that may use
 * /dev/kvm where there is one. */
int qemu_guest_user(const char *name, struct qemu_user *ret, struct err *err);

#endif
