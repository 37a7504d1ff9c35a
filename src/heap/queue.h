/* SPDX-License-Identifier: MIT
 *
 * Queues of dead objects that end later, in fl_run_pending (api/pending.h). Each thread has one. Every object that a
 * type or a heap asks to end later has words, so it always finds a place there. A queue belongs to no stack of its
 * thread.
 *
 *     dropped inside fl_run_pending ──> places: a stack with a window (dead.h) ──> taken
 *                                                 spill ↓ ↑ refill (spill.h)
 *     dropped elsewhere ──────────────────────────────> pile
 *
 * So what callbacks of fl_run_pending drop ends in the order in which fl_dealloc would have ended it. The places lie in a
 * magazine, which a thread has from its first run to its next flush. Without one all goes to the pile, as on a thread
 * that never runs anything.
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

#include "heap/spill.h"

struct fli_queue {
    struct fli_pile pile;
    FLI_ATOMIC(struct fli_dead_places *) places; /* their own pile stays empty; NULL: there are none */
    struct fli_queue *next;                      /* of those left to the heap */
};

/* How many objects lie in the places of a queue. */
static inline size_t fli_queue_placed(const struct fli_queue *queue)
{
    const struct fli_dead_places *places = fli_load_own(&queue->places);
    return places != NULL ? fli_load_hint(&places->count) : 0;
}

static inline bool fli_queue_is_empty(const struct fli_queue *queue)
{
    return fli_load_hint(&queue->pile.count) == 0 && fli_queue_placed(queue) == 0;
}

/* Puts an object into the queue of a thread. Returns false if memory is refused and the object has no words. The owning
 * thread, or under the lock of the service thread. */
bool fli_queue_put_owner(struct fli_thread *thread, struct fli_dead_object object);

/* Puts the object back that was taken out of the queue last. There is room where it was. The owning thread. */
void fli_queue_put_back_owner(struct fli_thread *thread, struct fli_dead_object object);

/* Gives the queue of a thread places, if it has something in it and memory is not refused. Called when a run begins. The
 * owning thread. */
void fli_queue_prepare_owner(struct fli_thread *thread);

/* Takes any object out of a queue. Returns false if there is none. The owning thread, here and below. */
bool fli_queue_take(struct fli_queue *queue, const struct fli_magazines *magazines, struct fli_dead_object *object);

/* Takes an object out of the places of a queue, from outside their window. Returns false if there is none. */
static inline __attribute__((always_inline)) bool fli_queue_take_quickly(struct fli_queue *queue,
                                                                         struct fli_dead_object *object)
{
    struct fli_dead_places *places = fli_load_own(&queue->places);
    return places != NULL && fli_dead_take_quickly(places, fli_load_own(&places->count), object);
}

/* fli_dead_exchange for a queue. */
static inline struct fli_dead_object fli_queue_exchange(struct fli_queue *queue, struct fli_dead_object object)
{
    struct fli_dead_places *places = fli_load_own(&queue->places);
    return places != NULL ? fli_dead_exchange(places, object) : object;
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

/* Gives the magazines that the queue of a thread does not need to the pool, its places included. The owning thread, or any
 * other while that is stopped. */
void fli_queue_flush_owner(struct fli_thread *thread);

/* Ends the queue of a thread that is removed. What it holds is left to the heap. */
void fli_queue_leave_locked(struct fli_thread *thread);

#endif
