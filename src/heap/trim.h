/* SPDX-License-Identifier: MIT
 *
 * Trims: returning memory to the OS, of slabs that are all free and of empty magazines.
 *
 * Free blocks at home (home.h) show which slabs are all free. A trim sends the blocks in the pool home, takes such
 * slabs out of their homes, retires them and makes them idle.
 *
 * Without stale readers, a retired slab can be made idle at once. All its blocks are free, so the host has no
 * pointer into it. With stale readers the slab waits for a grace period first (retired.h).
 *
 * A heap trims itself when it holds more than its bound (bound.h). Between two flushes such a trim takes a slice: no
 * more than the freeing thread can be made to wait for. At a flush it takes everything above the bound. It passes
 * over homes that are busy. The slabs that it makes idle stay warm up to half the bound: a program whose objects
 * change their size class needs them at once.
 *
 * A trim that the host asks for, or that an allocation needs that would fail, waits for homes that are busy. It
 * leaves idle slabs warm only within the bytes that it may leave. It also takes what homes keep in magazines (rack.h),
 * first of homes that are away. If more is left then than it may leave, it takes that of all homes. It does not
 * touch the two magazines of each cache, but flushes handles that are offline.
 *
 * The trim lock makes the trims of a heap run one at a time.
 */
#ifndef FLI_TRIM_H
#define FLI_TRIM_H

#include "heap/heap.h"

/* Trims until the heap holds at most `retain` free bytes. Returns the bytes that went to the OS. Waits for a trim
 * under way, never for a grace period. */
size_t fli_trim(struct fl_heap *heap, size_t retain);

/* How many bytes a freeing thread can be made to wait for. A slice is twice what a thread gives away between two looks at
 * the bound (exchange.h). A step takes some ten microseconds: where a budget of time is to be kept, steps come more often
 * than slices do elsewhere. */
enum { FLI_TRIM_SLICE = 2 << 20, FLI_TRIM_STEP = 2 * FLI_SLAB_BYTES };

/* Takes a slice or a step of `bytes` bytes towards holding less. Returns the bytes of the slabs that it has retired. Under
 * the trim lock. */
size_t fli_trim_slice_locked(struct fl_heap *heap, size_t bytes);

/* Returns about `bytes` bytes to the OS: of warm slabs, then of slabs that are all free, then of pooled blocks and of
 * large ones in racks, as far as these leave slabs all free. With stale readers only warm slabs go at once, the others
 * after a grace period. Passes over homes that are busy. Returns the bytes that went to the OS now. Under the trim
 * lock. */
size_t fli_trim_return_locked(struct fl_heap *heap, size_t bytes);

/* Returns to the OS the pages that consist of empty magazines in the pool, but leaves the pool all but `bytes` bytes of
 * these. Under the trim lock. */
void fli_trim_empty_locked(struct fl_heap *heap, size_t bytes);

/* Trims a heap that holds `held` free bytes in the pool and in free slabs until at most `retain` are left. Passes
 * over homes that are busy. Returns the bytes of the slabs that it has retired. Under the trim lock. */
size_t fli_trim_down_locked(struct fl_heap *heap, size_t held, size_t retain);

/* Bytes of the blocks in the pool, and of the slabs on the free lists of all homes, a moment ago. */
size_t fli_trim_pooled_bytes(struct fli_backing *backing);
size_t fli_trim_free_slab_bytes(struct fli_backing *backing);

/* Both together. */
size_t fli_trim_held_bytes(struct fli_backing *backing);

/* Bytes of the empty magazines in the pool, a moment ago. */
size_t fli_trim_empty_bytes(struct fli_backing *backing);

#endif
