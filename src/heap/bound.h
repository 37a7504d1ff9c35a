/* SPDX-License-Identifier: MIT
 *
 * The bound on what a heap holds before it trims itself. Threads that give blocks away or flush call this (api/,
 * thread.c).
 *
 *     held = bytes in the pool + bytes of the slabs on the free lists of all homes
 *
 * The bound begins low, so that a thread that has flushed or exits returns what it freed to the OS. While the threads
 * work it is 32 MiB at least: programs make again what they have just dropped, and what they do not use goes by decay
 * (decay.h). It rises when the program takes back much of what the latest trim has taken: idle slabs that come to half
 * of that. It rises to all that was taken back since that trim, at least to its double and at most to retain_bytes. So a
 * program that frees and allocates in waves soon has no trims between them.
 *
 * A look at what is held goes through all classes. So released blocks are a reason for one only when they come to an eighth
 * of the bound, or to two slices if that is less. Then the heap trims as much as has been released: else a program that
 * defers what it frees would come to hold far more than the bound.
 */
#ifndef FLI_BOUND_H
#define FLI_BOUND_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stddef.h>

struct fl_heap;

/* Under the trim lock, except that any thread may read `above`. */
struct fli_bound {
    FLI_ATOMIC(size_t) above;    /* held bytes past which the heap trims itself */
    FLI_ATOMIC(size_t) released; /* bytes of deferred blocks, since the heap last looked at what it holds; a hint */
    size_t took;                 /* bytes that the bound made the latest trim take; 0: already accounted for */
    uint64_t reused_before;      /* reused_bytes of the slabs right after that trim */
};

/* The bound of a new heap. */
void fli_bound_init(struct fl_heap *heap);

/* Says that the latest trim tells nothing about the bound. Under the trim lock. */
static inline void fli_bound_forget_trim(struct fli_bound *bound)
{
    bound->took = 0;
}

/* Lowers the bound by so many bytes, because the program has not used them. Under the trim lock. */
void fli_bound_fall_locked(struct fl_heap *heap, size_t bytes);

/* Called after a thread has given blocks away. Trims if the heap holds more than its bound, unless a trim is under
 * way. */
void fli_bound_keep(struct fl_heap *heap);

/* Does the same in a step that takes some ten microseconds, for a thread with a budget of time. That calls it more
 * often. */
void fli_bound_step(struct fl_heap *heap);

/* Called after so many bytes of deferred blocks have been released, perhaps none. Looks at the bound each time that enough
 * have been, and trims as many bytes as have been, some slices at most. */
void fli_bound_keep_released(struct fl_heap *heap, size_t bytes);

/* Takes a step with deferred blocks (fli_deferred_advance), and keeps the bound after what it has released. */
void fli_bound_advance_deferred(struct fl_heap *heap);

/* Called where an allocation would fail, with no lock held: waits a while, for grace periods that the calling thread does
 * not hold up itself, until what is deferred is free. Those of bp only: a thread that comes here with qsbr is in none of
 * its quiescent states, and the host's own cannot be waited for with a bound. */
void fli_bound_await_deferred(struct fl_heap *heap);

/* Called after a thread has flushed. Trims all classes if the heap holds more than its bound. It is the `last`
 * thread if all others that are attached have flushed for the last time. Only the last one waits for a trim that is
 * under way. */
void fli_bound_keep_at_flush(struct fl_heap *heap, bool last);

#endif
