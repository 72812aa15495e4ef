/* Inside of the guard (node/guard.h): the shared page and one look. Separate so that tests can take
 * single looks at times of their choice. */
#ifndef VLING_NODE_GUARD_PROCESS_H
#define VLING_NODE_GUARD_PROCESS_H

#include "node/guard.h"

#define GUARD_MAGIC 0x33475256u
/* Of the form before the two copies: nothing but the guard's process id is taken from it. */
#define GUARD_MAGIC_OLD 0x32475256u
#define GUARD_OLD_PID_AT 552
#define GUARD_LOOK_MS 50
#define GUARD_PATH_MAX 512

enum guard_order { GUARD_ORDER_WATCH, GUARD_ORDER_DESTROY, GUARD_ORDER_RELEASE };

struct guard_wanted {
    int64_t deadline_ms; /* 0: no lease was ever held, nothing to watch */
    int64_t epoch;
    uint64_t turns; /* of vlingd's loop */
    uint32_t order;
    uint32_t address_count;
    struct guard_address addresses[GUARD_ADDRESSES_MAX];
    char external[16]; /* the bridge's name; "": there is none */
};

struct guard_report {
    int32_t pid;
    uint32_t phase;
    int64_t last_look_ms;
    uint32_t stops, resumes, kills;
    uint32_t realtime, locked;
    /* Under which epoch guests were stopped: a guard that was replaced meanwhile must know it. */
    uint32_t stopped;
    int64_t run_epoch;
};

/* `begun` is written before the state and `ended` after it: it is whole when both are the same. */
struct guard_copy {
    uint32_t begun, ended; /* number of the writing, from 1; 0: never */
    struct guard_wanted wanted;
};

struct guard_page {
    uint32_t magic;
    uint32_t unused;
    struct guard_copy copies[2];
    struct guard_report report;
};

/* A page that is new, or in the form of another version, begins anew; where guests are, with a
 * deadline that has passed. */
int guard_page_open(const char *run_dir, struct guard_page **ret);
/* One writer only. Overwrites the older of the two copies. */
void guard_page_write(struct guard_page *page, const struct guard_wanted *wanted);
/* The newer one of the whole copies. False: never written. */
bool guard_page_read(const struct guard_page *page, struct guard_wanted *ret);

struct guard_process;
struct guard_process *guard_process_new(const char *run_dir, int *ret_rc);
/* From now on the page says that this process is the guard, and when it looked. */
void guard_process_announce(struct guard_process *process, int64_t now);
void guard_process_free(struct guard_process *process);
/* Locks memory and asks for a real-time class; what is not permitted is shown in the status. */
void guard_process_harden(struct guard_process *process);
/* Looks once and acts. False: released, the process ends. */
bool guard_process_look(struct guard_process *process, int64_t now);

#endif
