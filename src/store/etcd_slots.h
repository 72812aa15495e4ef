/* The slots through which this process writes to etcd.
 *
 * Concept.   What may be sent twice must not take effect twice. Each process of a writer registers
 *            a random `boot` with all its slots, once; registering removes the keys of the earlier
 *            boots for good. A request that writes takes a free slot and is guarded: it takes
 *            effect only while the slot's key has the revision that we know, and it writes its own
 *            nonce into the slot. So a copy that arrives later or twice does nothing, and a failed
 *            copy tells by the slot's content whether another one took effect. Without boots, a
 *            late copy from a dead process could meet a slot at the revision it expects.
 * Keys.      <writer> is written at each registration; <writer>/<boot> and <writer>/<boot>/<slot>
 *            are put by it; <writer>/<boot>/<slot>/<lane> may be written by what the slot guards.
 * Lane 0 is the slot. Threads.   The loop's.
 */
#ifndef VLING_STORE_ETCD_SLOTS_H
#define VLING_STORE_ETCD_SLOTS_H

#include "base/id.h"
#include "store/etcd.h"
#include "store/etcd_request.h"

#define ETCD_SLOTS 64 /* all are put in one transaction; etcd takes 128 changes */
#define ETCD_LANES 17

struct etcd_slots {
    char boot[ID_HEX_SIZE];
    bool registered, registering;
    struct {
        int64_t revision;
        bool busy;
    } list[ETCD_SLOTS];
    void (*ready)(struct etcd *etcd); /* this process was registered */
};

/* A slot as its user sees it. */
struct etcd_slot {
    char boot[ID_HEX_SIZE];
    int number;
};

/* Takes a free slot; false if there is none, or this process is not registered (yet: `ready` will
 * be called). */
bool etcd_slot_take(struct etcd *etcd, struct etcd_slot *ret);
void etcd_slot_give_back(struct etcd *etcd, const struct etcd_slot *slot);
/* It was written at `revision`. */
void etcd_slot_moved(struct etcd *etcd, const struct etcd_slot *slot, int64_t revision);
/* Its boot is not there any more: another process writes under our name. Registers anew. */
void etcd_slot_lost(struct etcd *etcd, const struct etcd_slot *slot);

/* The compare by which a request is guarded. */
void etcd_slot_guard(struct etcd_request *r, const struct etcd *etcd, const struct etcd_slot *slot);
/* The put into the slot (lane 0) or into another one of its lanes. */
void etcd_slot_put(struct etcd_request *r, enum etcd_branch branch, const struct etcd *etcd,
                   const struct etcd_slot *slot, int lane, const char *nonce);
/* On failure: what is in the slot and its lanes, and is the boot still there? */
void etcd_slot_look(struct etcd_request *r, const struct etcd *etcd, const struct etcd_slot *slot);

/* What the failure branch read. */
struct etcd_slot_state {
    bool boot_there;
    int64_t revision;
    char lanes[ETCD_LANES][ID_HEX_SIZE]; /* "": no key, or nothing that we wrote */
};
void etcd_slot_read(const json_t *answer, struct etcd_slot_state *ret);

#endif
