/* The guard: a process of its own that stops this host's guests when the lease runs out, whatever
 * vlingd does.
 *
 * Concept.  vlingd writes deadline and epoch into a small shared file, <run_dir>/guard.state, after
 *           each acknowledged renewal. The guard looks every 50 ms. From deadline - margin on, it
 *           sends SIGSTOP to every guest, removes the virtual addresses and takes the external
 *           bridge down, so that routers left here answer for no floating address. When the
 *           deadline is extended with the same epoch it sends SIGCONT and takes the bridge up
 *           again; with another epoch, or told to destroy, SIGKILL, and the bridge waits for
 *           vlingd, which knows the routers. It outlives vlingd: a restarted one finds it and goes
 *           on feeding it.
 * Guests.   <run_dir>/guests/<server id>/pid holds "<decimal pid>\n" (QEMU's -pidfile). A process
 *           is a guest only if its /proc/<pid>/cmdline contains the server's id.
 * File.     Two copies of the state, written by turns and numbered: one is always whole, and a
 *           writer that dies in the middle (vlingd was killed) leaves the last whole one in force,
 *           for the guard and for the next vlingd.
 * Hung.     A guard that did not look for a second is killed and replaced (guard_ensure). While
 *           there is none, vlingd renews no lease and looks in its place (guard_stand_in).
 * Clock.    CLOCK_BOOTTIME in milliseconds (base/clock.h).
 * Epoch.    guard_update's epoch must be one read *after* the lease was (re)taken: with a stale one
 *           the guard would resume guests that run elsewhere by now.
 * Safety.   No allocation and no writing to disk after start-up; memory is locked, the scheduling
 *           class real-time where permitted, and the kernel takes it last when memory runs short.
 * Threads.  The calls below from vlingd's loop only.
 */
#ifndef VLING_NODE_GUARD_H
#define VLING_NODE_GUARD_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUARD_ADDRESSES_MAX 8
#define GUARD_MARGIN_MS 150

struct guard;

/* Finds or starts the guard of `run_dir`. `program`: path of vlingd, run as
 * "<program> --guard <run_dir>". */
struct guard *guard_start(const char *run_dir, const char *program, struct err *err);
/* Lets go of the file; the guard process stays. */
void guard_close(struct guard *guard);

/* Everything below tolerates guard == NULL. */

/* Has the folder guests of before, that run or have ended and left something? */
bool guard_has_guests(const char *run_dir);

/* The lease is held until `deadline_ms` under `epoch`. */
void guard_update(struct guard *guard, int64_t deadline_ms, int64_t epoch);
/* The lease is gone before its deadline: guests stop at the next look, until guard_update. */
void guard_lease_gone(struct guard *guard, int64_t now);
/* vlingd's loop turned once more (shown in status). */
void guard_alive(struct guard *guard);
/* Addresses to remove at the deadline: "10.10.0.100" on device "mgmt0". Replaces the list. */
struct guard_address {
    char dev[16];
    char ip[46];
};
void guard_set_addresses(struct guard *guard, const struct guard_address *addresses, size_t count);
/* The bridge of the external network, to be down while the lease is lost. */
void guard_set_external(struct guard *guard, const char *dev);
/* Destroys all guests now (SIGKILL), until guard_update is called again. */
void guard_destroy_guests(struct guard *guard);
/* Clean stop (host leaves the cluster, no guests): the guard process ends. */
void guard_release(struct guard *guard);
/* Does a guard process look? If not, guard_ensure. Cheap: for every turn of the loop. */
bool guard_running(const struct guard *guard);
/* Finds one that looks, or starts one, after killing one that hangs. 0 or the error's code. */
int guard_ensure(struct guard *guard, const char *program, struct err *err);
/* Looks once as the guard would at `now`, in this process: for the time in which there is none. */
void guard_stand_in(struct guard *guard, int64_t now);

enum guard_phase { GUARD_IDLE, GUARD_WATCHING, GUARD_STOPPED, GUARD_KILLED };
struct guard_status {
    pid_t pid;
    enum guard_phase phase;
    int64_t deadline_ms, epoch;
    int64_t last_look_ms;           /* when the guard last looked: its own heartbeat */
    uint32_t stops, resumes, kills; /* signals sent, since its start */
    bool realtime, locked;
};
int guard_status(const struct guard *guard, struct guard_status *ret);

/* The guard process itself: `vlingd --guard <run_dir>`. Detaches (double fork), returns the exit
 * status of the caller's process: 0 once the guard watches, or is watching already. */
int guard_main(const char *run_dir);

/* Stops, resumes and kills a child of its own through the guard's code. 0 or -errno. */
int guard_self_test(struct err *err);

#endif
