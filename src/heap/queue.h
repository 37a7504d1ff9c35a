/* SPDX-License-Identifier: MIT
 *
 * Queues of dead objects that end later, in fl_run_pending (api/pending.h). Each thread has one: a pile without a
 * stack. Every object that a type or a heap asks to end later has words, so it always finds a place there. A queue
 * belongs to no stack of its thread.
 *
 * What a thread leaves is left to its heap, queue by queue. What OS threads drop that can have no handle waits in the
 * queue of the service thread. Any thread of the heap adopts both when its own queue is empty. So that one does, all are
 * alerted: the byte of each that its host's eval breaker reads is set. A thread clears its own byte, and then looks
 * again whether something is left.
 *
 *     something is pending for a thread, or is left to its heap  =>  its byte is set, or it is about to look
 *
 *     label  order    where                             pairs with
 *     Q1     release  a byte is set (thread.h)          Q2: what there is to do
 *     Q2     acquire  a thread clears its own byte      Q1
 */
#ifndef FLI_QUEUE_H
#define FLI_QUEUE_H

#include "heap/pile.h"

struct fli_queue {
    struct fli_pile pile;
    struct fli_queue *next; /* of those left to the heap */
};

static inline bool fli_queue_is_empty(const struct fli_queue *queue)
{
    return fli_load_hint(&queue->pile.count) == 0;
}

/* Puts an object into the queue of a thread. Returns false if memory is refused and the object has no words. The owning
 * thread, or under the lock of the service thread. */
bool fli_queue_put_owner(struct fli_thread *thread, struct fli_dead_object object);

/* Takes an object out of a queue. Returns false if there is none. The owning thread. */
static inline __attribute__((always_inline)) bool
fli_queue_take(struct fli_queue *queue, const struct fli_magazines *magazines, struct fli_dead_object *object)
{
    if (FLI_LIKELY(fli_pile_take_quickly(&queue->pile, magazines, object)))
        return true;
    if (fli_load_own(&queue->pile.count) == 0)
        return false;
    *object = fli_pile_take(&queue->pile, magazines);
    return true;
}

/* Takes into the thread's queue, which is empty, what a thread has left to the heap, or else the queue of the service
 * thread. Returns false if nothing is left. Locks. The owning thread. */
FLI_COLD bool fli_queue_adopt_owner(struct fli_thread *thread);

/* Whether there is anything to adopt. A hint. */
bool fli_queue_is_left(struct fl_heap *heap);

/* Alerts all threads of a heap. Locks. */
void fli_queue_alert_all(struct fl_heap *heap);

/* Clears the thread's byte, unless something is pending. Returns whether something is. The owning thread. */
bool fli_queue_settle_owner(struct fli_thread *thread);

/* Gives the magazines that the queue of a thread does not need to the pool. The owning thread, or any other while that is
 * stopped. */
void fli_queue_flush_owner(struct fli_thread *thread);

/* Ends the queue of a thread that is removed. What it holds is left to the heap. */
void fli_queue_leave_locked(struct fli_thread *thread);

#endif
