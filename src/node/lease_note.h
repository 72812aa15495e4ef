/* "<run_dir>/lease": the lease that this host holds and its epoch, for the daemon after this one
 * and for a guard that has lost its page. Gone with the host's power, like all of the run folder.
 */
#ifndef VLING_NODE_LEASE_NOTE_H
#define VLING_NODE_LEASE_NOTE_H

#include <stdbool.h>
#include <stdint.h>

/* 0 or -errno. */
int lease_note_write(const char *run_dir, int64_t lease, int64_t epoch);
/* False: none was noted; both are 0 then. */
bool lease_note_read(const char *run_dir, int64_t *ret_lease, int64_t *ret_epoch);

#endif
