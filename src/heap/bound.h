/* SPDX-License-Identifier: MIT
 *
 * The bound on what a heap holds before it trims itself.
 *
 *     held = bytes in the pool + bytes of the slabs on the free lists of all homes
 *
 * The bound begins low, so that a program that frees what it had is soon rid of it. When the program has taken idle
 * slabs into use again that come to half of what the bound made the last trim take, the bound rises to all that was
 * taken back since, at least to its double and at most to retain_bytes, so that one that frees and allocates in waves is
 * soon left alone.
 */
#ifndef FLI_BOUND_H
#define FLI_BOUND_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stddef.h>

struct fl_heap;

/* Under the trim lock, but for `above`. */
struct fli_bound {
    FLI_ATOMIC(size_t) above; /* held bytes past which the heap trims itself */
    size_t took;              /* bytes that the bound made the latest trim take; 0: already accounted for */
    uint64_t reused_before;   /* reused_bytes of the slabs after it */
};

/* The bound of a new heap. */
void fli_bound_init(struct fl_heap *heap);

/* What the latest trim took says nothing about the bound. Under the trim lock. */
static inline void fli_bound_forget_trim(struct fli_bound *bound)
{
    bound->took = 0;
}

/* Blocks have been given away: trims if the heap holds more than its bound, unless a trim is under way. */
void fli_bound_keep(struct fl_heap *heap);

/* Takes a step with what is deferred (fli_deferred_advance), and trims likewise after blocks that it has released. */
void fli_bound_advance_deferred(struct fl_heap *heap);

/* A thread has flushed; `last` if no other is attached that is not about to leave. Trims all classes if the heap holds
 * more than its bound. A trim under way is enough, but for the last. */
void fli_bound_keep_at_flush(struct fl_heap *heap, bool last);

#endif
