/* SPDX-License-Identifier: MIT
 *
 * Decay: memory that a heap holds and has not used for options.decay_ms goes back to the OS.
 *
 *     held = bytes of slabs that are all free + those of warm idle slabs + those of spare extents + pooled ones
 *            + those of large blocks in racks
 *     low  = the least of what was held at the looks of a period: nothing of it was used meanwhile
 *     due  = what was low in the period before: it goes back in the course of this one
 *
 * Empty magazines in the pool that no look of a period found in use go back at its end. Metadata of slabs follows at the
 * end of a period in which nothing went back any more, or when much has gone back since metadata last did.
 *
 * A look is taken by a slow half that finds it due, eight times in a period. So a heap that falls quiet shrinks as long
 * as a trickle of allocations or frees goes on. After a silence longer than a period the first look makes all that is
 * held due at once. A look returns no more than a thread can be made to wait for; the next one comes earlier then. A
 * thread with a budget of time takes a look in steps. Meanwhile the look stays due, and the next thread that finds it so
 * goes on with it.
 *
 * The bound on what the heap holds (bound.h) falls by what goes back.
 */
#ifndef FLI_DECAY_H
#define FLI_DECAY_H

#include "base/atomic.h"
#include "grace/grace.h"

#include <stdbool.h>
#include <stddef.h>

struct fl_heap;

/* Under the trim lock, but for `next` and what is constant. */
struct fli_decay {
    uint64_t step;             /* ns between two looks, constant; 0: there is no decay */
    FLI_ATOMIC(uint64_t) next; /* when the next look is due, fli_grace_now_about */
    unsigned looks;            /* taken in this period */
    bool hurries;              /* the look at hand returns as much as one may: the next one comes earlier */
    size_t low, due;           /* bytes */
    FLI_ATOMIC(size_t) rest;   /* bytes that the look at hand has not returned yet */
    size_t empty_low;          /* the least bytes of empty magazines */
    /* heap->trimmed_bytes when the period began, and when metadata last went back. */
    uint64_t trimmed, trimmed_with_metadata;
};

/* The decay of a new heap. */
void fli_decay_init(struct fl_heap *heap);

/* Takes a look, unless a trim is under way. No lock may be held. Keeps errno. */
FLI_COLD void fli_decay_look(struct fl_heap *heap);

/* Takes a step of a look (trim.h), unless a trim is under way. No lock may be held. Keeps errno. */
FLI_COLD void fli_decay_step(struct fl_heap *heap);

/* Bytes that further steps of the look at hand are to return. A hint. */
static inline size_t fli_decay_rest(const struct fli_decay *decay)
{
    return fli_load_hint(&decay->rest);
}

/* Bytes that the heap holds, as a number of a moment ago. */
size_t fli_decay_held(struct fl_heap *heap);

/* Whether a look is due. A hint. */
static inline bool fli_decay_is_due(struct fli_decay *decay)
{
    return decay->step != 0 && fli_grace_now_about() >= fli_load_hint(&decay->next);
}

#endif
