/* SPDX-License-Identifier: MIT
 *
 * Returning memory to the OS: slabs that are all free, and pages of magazines.
 *
 * Blocks go home by themselves (home.h), which shows which slabs are all free. A trim sends home what lies in the pool,
 * takes such slabs out of their homes, retires them and makes them idle.
 *
 * With no stale readers a free slab can go at once: all its blocks are in the library's hands, so nobody has a
 * pointer into it. With stale readers retired slabs wait for a grace period in batches, as deferred blocks do
 * (deferred.h), and whoever comes by after it makes them idle. Meanwhile an allocation of their class that would fail
 * for lack of memory takes them back.
 *
 *     held = bytes in the pool + bytes of the slabs on the free lists of all homes
 *
 * A heap trims itself when `held` outgrows a bound. The bound begins low, so that a program that frees what it had is
 * soon rid of it. When the program has taken idle slabs into use again that come to half of what the bound made the
 * last trim take, the bound rises to all that was taken back since, at least to its double and at most to retain_bytes,
 * so that one that frees and allocates in waves is soon left alone.
 *
 * The slabs that such a trim makes idle stay warm up to half the bound, because a program whose objects change their
 * size class needs them at once for another. The host's own trims leave warm what they are asked to leave.
 *
 * Between two flushes such a trim takes a slice, no more than the freeing thread can be made to wait for. At a flush it
 * takes all.
 *
 * Trims of a heap are serialised by its trim lock. A trim that the heap makes by itself passes over homes that are
 * busy; one that the host asks for, or an allocation that would fail, waits for them. Such a trim also takes what homes
 * keep in magazines (rack.h): of homes that are away, and then, if more than it was asked to leave is left, of all. It
 * leaves the two magazines of each cache, but empties handles that are offline.
 */
#ifndef FLI_TRIM_H
#define FLI_TRIM_H

#include "heap/heap.h"

/* Prepares a new heap. */
void fli_trim_init(struct fl_heap *heap);

/* Trims until at most `retain` free bytes are left in the library's hands. Returns the bytes given back. Waits for a
 * trim under way, never for a grace period. */
size_t fli_trim(struct fl_heap *heap, size_t retain);

/* Takes a retired slab of the class, if there is one, into a home again, without waiting for its grace period: its
 * blocks keep their class, so readers find in them what they find in any block that is free or used again. Waits for
 * a trim under way. */
void fli_trim_take_back(struct fl_heap *heap, unsigned class_index, struct fli_home *home);

/* Makes retired slabs idle whose grace period has ended, unless a trim is under way. */
void fli_trim_reclaim(struct fl_heap *heap);

/* Waits until the slabs that are retired now have been made idle, or cannot be. Returns the bytes given back. The
 * calling OS thread is in no section and holds no lock. */
size_t fli_trim_drain(struct fl_heap *heap);

/* Lets what waits wait for another grace period, unless the one it has been waiting for is the host's. In the child
 * of a fork, where no other thread runs. */
void fli_trim_wait_anew_stw(struct fl_heap *heap);

/* Whether retired slabs wait. A hint. */
static inline bool fli_trim_is_waiting(struct fl_heap *heap)
{
    return fli_load_relaxed(&heap->backing.slabs.retired) > 0; /* relaxed: a hint */
}

/* Blocks have been given away: trims if the heap holds more than its bound, unless a trim is under way. */
void fli_trim_if_grown(struct fl_heap *heap);

/* Takes a step with what is deferred (fli_deferred_advance), and trims likewise after blocks that it has released. */
void fli_trim_advance_deferred(struct fl_heap *heap);

/* A thread has flushed; `last` if no other is attached that is not about to leave. Trims all classes if the heap holds
 * more than its bound. A trim under way is enough, but for the last. */
void fli_trim_at_flush(struct fl_heap *heap, bool last);

#endif
