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

/* The bound for the trim at hand: if the last one's work was in vain, a higher one. */
size_t fli_bound_adapt_locked(struct fl_heap *heap);

/* Notes that the bound made a trim take so many bytes out of the pool, to see how much of it will be taken back. */
void fli_bound_note_trim_locked(struct fl_heap *heap, size_t bytes);

/* What the latest trim took says nothing about the bound. */
void fli_bound_forget_trim_locked(struct fl_heap *heap);

#endif
