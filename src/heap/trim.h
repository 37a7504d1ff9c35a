/* SPDX-License-Identifier: MIT
 *
 * Returning memory to the OS: slabs that are all free, and pages of magazines.
 *
 * Blocks go home by themselves (home.h), which shows which slabs are all free. A trim sends home what lies in the pool,
 * takes such slabs out of their homes, retires them and makes them idle.
 *
 * With no stale readers a free slab can go at once: all its blocks are in the library's hands, so nobody has a
 * pointer into it. With stale readers it waits for a grace period (retired.h).
 *
 * A heap trims itself when it holds more than its bound (bound.h).
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

/* Trims until at most `retain` free bytes are left in the library's hands. Returns the bytes given back. Waits for a
 * trim under way, never for a grace period. */
size_t fli_trim(struct fl_heap *heap, size_t retain);

/* Blocks have been given away: trims if the heap holds more than its bound, unless a trim is under way. */
void fli_trim_if_grown(struct fl_heap *heap);

/* Takes a step with what is deferred (fli_deferred_advance), and trims likewise after blocks that it has released. */
void fli_trim_advance_deferred(struct fl_heap *heap);

/* A thread has flushed; `last` if no other is attached that is not about to leave. Trims all classes if the heap holds
 * more than its bound. A trim under way is enough, but for the last. */
void fli_trim_at_flush(struct fl_heap *heap, bool last);

#endif
