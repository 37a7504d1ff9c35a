/* SPDX-License-Identifier: MIT
 *
 * Slots: who owns objects, and the queue of those that other threads hand to the owner.
 *
 *     a thread drops the last reference that it sees            the owner
 *       the object goes into a magazine of the thread
 *       the magazine goes to the queue                 ──>        takes the queue as a whole
 *       PENDING is set in the state                               merges each object (count.h)
 *
 *     state        who may write `local` of the slot's objects
 *     0            nobody: its owner is offline or gone
 *     ONLINE       the owner
 *     CLAIMED      the thread that merges in the place of an owner who is not there, and then only that thread
 *     both         the owner, which merges
 *
 *     PENDING      the queue has had a magazine since it was last taken
 *
 * The state is one word, and every change of it is a read-modify-write. So a thread that hands an object over either
 * comes before the owner leaves: then the owner finds PENDING, merges first, and leaves only while the bit is not set.
 * Or it comes after: then it finds nobody there, claims the slot, and merges. (If it finds the slot like that at first, it
 * may do so without the queue.) Of several such threads one claims the slot; the others' PENDING holds that one until it
 * has merged their objects, too. An owner that comes back, and a new thread that takes the slot, wait until it is not
 * claimed. No code of the host runs while it is: dead objects go onto a stack, and are deallocated once the slot is
 * released.
 *
 * The next owner of a slot owns its objects: S3 lets it see the `local` of each.
 *
 * The queue is a stack of magazines (pool.h), which threads fill before they put them there (hand.h). An object is not
 * linked through itself, because it lives. Each object is in at most one magazine, once: QUEUED in its header says so.
 *
 *     label  order    where                                   pairs with
 *     S1     release  PENDING is set                          S2: the magazine is on the queue
 *     S2     acquire  it is cleared: the slot is claimed      S1 S3 S5 S6
 *     S3     acq_rel  a claim ends, or PENDING is cleared     S1 S2 S4
 *     S4     acquire  an owner comes                          S3 S5 S6: `local` of its objects
 *     S5 S6  release  an owner leaves                         S2 S4
 *     S7     release  the byte is set                         S8: PENDING
 *     S8     acquire  the owner clears it                     S7
 */
#ifndef FLI_SLOT_H
#define FLI_SLOT_H

#include "object/count.h"
#include "pool/pool.h"

enum {
    FLI_SLOT_ONLINE = 1,
    FLI_SLOT_CLAIMED = 2,
    FLI_SLOT_PENDING = 4,

    /* Objects in a magazine of a queue, at most. */
    FLI_SLOT_OBJECTS = FLI_RARE_PATHS ? 2 : FLI_MAGAZINE_SLOTS,

    /* A thread collects objects for so many owners at a time. */
    FLI_OUTS = FLI_RARE_PATHS ? 1 : 8,
};

/* Objects that a thread hands over to one owner: a magazine of them that is not in the owner's queue yet, or NULL. */
struct fli_out {
    struct fli_magazine *magazine;
    struct fli_slot *owner;
    uint32_t number; /* of the owner's slot */
};

/* It lies in memory that reads as zeros at first, and is never unmapped while the heap exists. */
struct fli_slot {
    struct fli_stack queue;
    FLI_ATOMIC(uint32_t) state;
    FLI_ATOMIC(uint8_t) handed;    /* the byte for the host's eval breaker */
    uint32_t next_free;            /* under the registry lock */
    struct fli_out outs[FLI_OUTS]; /* of the slot's thread, which alone uses them, by the owner's number */
    uint32_t open;                 /* outs that have a magazine; likewise */
    bool keeps;                    /* dead objects may be kept for the owner (construct.h) */
};

/* What merging works with, and what it finds. */
struct fli_merging {
    const struct fli_magazines *magazines;
    struct fli_stack *dead;  /* gets magazines of dead objects */
    struct fli_stack *empty; /* gets empty magazines */
    struct fli_pool_counters *counters;
    struct fl_counts *wrong; /* those of an object of which more references were dropped than there were */
    enum fli_drop why;       /* FLI_DROP_BELOW or FLI_DROP_IMMORTAL, if there is such an object */
};

/* Whether the slot has an owner now. A hint to other threads. */
static inline bool fli_slot_is_online(const struct fli_slot *slot)
{
    return (fli_load_hint(&slot->state) & FLI_SLOT_ONLINE) != 0;
}

/* Sets the byte, to tell of what is no object in the queue. */
static inline void fli_slot_tell_owner(struct fli_slot *slot)
{
    if (fli_load_hint(&slot->handed) == 0)
        /* Relaxed: the byte orders nothing here. An exchange keeps what another thread's S7 has released. */
        fli_exchange(&slot->handed, 1, memory_order_relaxed);
}

/* Puts a magazine of objects into the queue of a slot. Returns whether nobody is there who would merge them: then the
 * caller claims the slot and merges. Any thread. Lock-free. */
bool fli_slot_hand(struct fli_slot *slot, const struct fli_magazines *magazines, struct fli_magazine *magazine,
                   struct fli_pool_counters *counters);

/* Claims a slot whose owner is not there, and whose queue has something. Returns false if that is not so now. Any
 * thread. */
bool fli_slot_claim(struct fli_slot *slot);

/* Claims a slot whose owner is not there, and whose queue has nothing. Returns false if that is not so now. Any
 * thread. */
bool fli_slot_claim_idle(struct fli_slot *slot);

/* Claims the slot if its queue has something. The owner. */
bool fli_slot_claim_owner(struct fli_slot *slot);

/* Merges what is in the queue, and releases the slot, which the caller has claimed. */
void fli_slot_merge(struct fli_slot *slot, struct fli_merging *merging);

/* Releases the slot, which the caller has claimed. Merges what has come into the queue meanwhile. */
void fli_slot_release(struct fli_slot *slot, struct fli_merging *merging);

/* Makes the calling thread the owner. Waits while another thread merges. */
void fli_slot_enter(struct fli_slot *slot);

/* Makes the slot one without an owner. Returns false, and changes nothing, if its queue has something. The owner. */
bool fli_slot_leave(struct fli_slot *slot);

/* The owner's thread is gone, and has not left. Whoever hands something over next merges what is pending. Returns
 * whether no thread has claimed the slot. */
bool fli_slot_remove(struct fli_slot *slot);

#endif
