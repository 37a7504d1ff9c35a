/* SPDX-License-Identifier: MIT
 *
 * Objects that end later: which these are, and how they come into the queue that fl_run_pending empties (heap/dead.h).
 */
#ifndef FLI_API_PENDING_H
#define FLI_API_PENDING_H

#include "heap/thread.h"

/* What struct fli_thread says of fl_run_pending with a budget of time. The heap's upkeep that comes with frees and
 * allocations is then left to it, so that the budget counts it. It takes steps between two objects. */
enum {
    FLI_NOT_TIMED,
    FLI_TIMED,        /* it runs, unless the host has left it */
    FLI_TIMED_UPKEEP, /* upkeep has been left to it */
};

/* Leaves upkeep that may be due to a fl_run_pending with a budget of time. Returns whether there is one on the stack. */
static inline __attribute__((always_inline)) bool fli_pending_leave_upkeep(struct fli_thread *thread)
{
    if (FLI_LIKELY(thread->timed == FLI_NOT_TIMED))
        return false;
    bool runs = FLI_FRAME_BEGIN <= thread->dead->drain.caller.address;
    thread->timed = runs ? FLI_TIMED_UPKEEP : FLI_NOT_TIMED;
    return runs;
}

/* Whether dead objects of the type end later in the thread's heap. For a stand-in: whether they might. */
static inline bool fli_pending_is_later(const struct fli_thread *thread, const struct fl_type *type)
{
    return (type->later & thread->later) != 0;
}

/* Puts an object that is clearly one of its type into the queue of an attached thread, as far as that takes no magazine.
 * Returns false otherwise. The handle's thread. */
static inline bool fli_pending_put_quickly(struct fli_thread *thread, struct fli_dead_object object)
{
    struct fli_queue *queue = thread->queue;
    struct fli_dead_places *places = thread->dead->runs ? fli_load_own(&queue->places) : NULL;
    bool waits = places != NULL ? fli_dead_put_quickly(places, object) || fli_dead_put_many(places, object)
                                : fli_pile_put_quickly(&queue->pile, &thread->heap->backing.magazines, object);
    if (FLI_LIKELY(waits))
        fli_store_hint(&thread->is_pending, 1);
    return waits;
}

/* Puts an object into the queue. Reports misuse if its type cannot end later. What callbacks of fl_run_pending have
 * dropped ends at once if it finds no place. The handle's thread; no lock may be held. */
void fli_pending_queue(struct fli_thread *thread, struct fli_dead_object object);

/* Does the same for an OS thread that can have no handle. Returns false if the object is not to end later. Locks. */
FLI_COLD bool fli_pending_queue_late(struct fl_thread *face, struct fl_heap *heap, struct fli_dead_object object);

/* Reports, as misuse of the public function, that dead objects of the type cannot wait for fl_run_pending. */
FLI_COLD void fli_pending_report(const char *call, const void *object, const struct fl_type *type);

#endif
