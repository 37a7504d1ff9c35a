/* SPDX-License-Identifier: MIT
 *
 * Giving memory back: slabs whose blocks are all pooled, and pages of empty magazines.
 *
 * A trim parks the pooled blocks of a class in their slabs' free bits, which sorts them by slab and address; takes
 * the slabs that are all free from the class, decommits and idles them; and fills magazines with what is left, in
 * address order, for the pool. Meanwhile the blocks are parked, so other threads find them (cache.h) and need not
 * carve.
 *
 * Trims of a heap are serialised by its trim lock. With no stale readers a slab can go at once: all its blocks are in
 * the library's hands, so nobody has a pointer into it.
 */
#ifndef FLI_TRIM_H
#define FLI_TRIM_H

#include "heap.h"

/* Trims until at most `retain` pooled bytes are left. Returns the bytes given back. Waits for a trim under way. */
size_t fli_trim(struct fl_heap *heap, size_t retain);

/* The pool has grown: trims if it holds more than the heap retains, unless a trim is under way. */
void fli_trim_if_grown(struct fli_backing *backing);

/* Pooled and parked bytes of the heap, a moment ago. */
size_t fli_trim_free_bytes(struct fli_backing *backing);

#endif
