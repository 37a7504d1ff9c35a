/* SPDX-License-Identifier: MIT
 *
 * The slots of a heap: which handle has which, and what the object layer does when handles come and go. The first
 * object that a handle creates gives it a slot, and the first of a heap makes the table.
 *
 *     slots 1 to `used` = of handles + on the list of free ones + retired
 *
 * A slot is retired in the child of a fork if a thread that is gone was merging its objects: one of them may say that
 * it counts in `local` though it is merged. Such a slot gets no owner any more. Slot 0 stands for none.
 *
 * The registry lock guards which handle has which slot.
 */
#ifndef FLI_SLOTS_H
#define FLI_SLOTS_H

#include "heap/guest.h"
#include "object/layout.h"
#include "object/slot.h"

#include <freelane/object.h>

/* The highest number of a slot: what `local` of a linked object begins with is no slot's (count.h). */
enum { FLI_SLOTS_MOST = FLI_RARE_PATHS ? 64 : (FLI_LOCAL_LINKED >> FLI_LOCAL_BITS) - 1 };

struct fli_slots {
    struct fli_guest guest;
    struct fli_region memory;       /* of the slots */
    uint32_t used;                  /* slots that have been in use: numbers 1 to this */
    uint32_t free;                  /* the first free one; 0: none is */
    FLI_ATOMIC(bool) full;          /* there was no slot for a handle, and none was given back since */
    struct fli_stack dead;          /* magazines of objects that are dead, and not deallocated yet */
    FLI_ATOMIC(uint64_t) overflows; /* these two as in struct fl_object_stats */
    FLI_ATOMIC(uint64_t) refused;
    struct fl_object_layout layout; /* of the heap's objects; constant once a handle has a slot */
    struct fl_object_stats gone; /* of what handles have kept, once they keep nothing more; under the registry lock */
};

/* The slots of a heap, or NULL if it has had no objects. Any thread. */
static inline struct fli_slots *fli_slots_of(struct fl_heap *heap)
{
    return (struct fli_slots *)(void *)fli_guest_of(heap);
}

/* Likewise, and makes them if there are none; NULL if memory is refused. Locks. */
struct fli_slots *fli_slots_obtain(struct fl_heap *heap);

/* The layout of the heap's objects. The heap is NULL where memory for the default one is refused. Any thread. */
static inline const struct fl_object_layout *fli_slots_layout(struct fl_heap *heap)
{
    const struct fli_slots *slots = heap != NULL ? fli_slots_of(heap) : NULL;
    return slots != NULL ? &slots->layout : &fli_layout_own;
}

static inline struct fli_slot *fli_slots_at(const struct fli_slots *slots, uint32_t number)
{
    return (struct fli_slot *)(void *)slots->memory.base + number;
}

/* The slot of a handle, or NULL. The owning thread. */
static inline struct fli_slot *fli_slots_mine(const struct fli_thread *thread)
{
    return thread->guest != 0 ? fli_slots_at(fli_slots_of(thread->heap), thread->guest) : NULL;
}

/* What `local` of the handle's objects begins with; 0 if it has no slot, or is offline. The owning thread. */
static inline uint32_t fli_slots_mark(const struct fli_thread *thread)
{
    const struct fli_slot *slot = fli_slots_mine(thread);
    if (slot == NULL || (fli_load_own(&slot->state) & FLI_SLOT_ONLINE) == 0)
        return 0;
    return thread->guest << FLI_LOCAL_BITS;
}

/* Gives a handle a slot, if it has none and there is one. Keeps errno. The owning thread. Locks. */
void fli_slots_join(struct fli_thread *thread);

/* What merging works with, on behalf of the thread. */
struct fli_merging fli_slots_merging(struct fli_thread *thread, struct fli_slots *slots);

/* Whether there are dead objects that were not deallocated a moment ago. Any thread. */
static inline bool fli_slots_have_dead(struct fli_slots *slots)
{
    return fli_stack_top(&slots->dead) != 0;
}

/* Deallocates the dead objects that merges have found. While some are left, the byte of the handle says so, because the
 * host may leave a callback. `face` is the caller's handle. No lock may be held. */
void fli_slots_end_dead(struct fl_thread *face, struct fl_heap *heap);

/* Reports what a drop or a merge has found wrong, as misuse of fl_decref. The heap is NULL if there is none. No lock may be
 * held. */
void fli_slots_report(struct fl_heap *heap, const struct fl_object_layout *layout, const struct fl_counts *counts,
                      enum fli_drop why);

#endif
