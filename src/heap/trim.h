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
 * A heap trims itself when it holds more than its bound (bound.h). The slabs that such a trim makes idle stay warm up to half the bound, because a program whose objects change their
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

/* One step towards holding `bytes` bytes less: as little as keeps up with the frees, because the thread that frees waits
 * for it. Returns the bytes of the slabs that it has taken out of homes. Under the trim lock. */
size_t fli_trim_slice_locked(struct fl_heap *heap, size_t bytes);

/* Trims a heap that holds `held` free bytes in the pool and in free slabs until at most `retain` are left. Passes over
 * homes that are busy. Returns as above. Under the trim lock. */
size_t fli_trim_down_locked(struct fl_heap *heap, size_t held, size_t retain);

/* Bytes of the blocks in the pool, and of the slabs on the free lists of all homes, a moment ago. */
size_t fli_trim_pooled_bytes(struct fli_backing *backing);
size_t fli_trim_free_slab_bytes(struct fli_backing *backing);

#endif
