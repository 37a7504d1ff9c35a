/* SPDX-License-Identifier: MIT
 *
 * The magazines in which a heap holds free blocks, wherever these are:
 *
 *     caches of threads: loaded, previous        a thread's magazines of deferred blocks
 *     what a thread has set aside (reserve.h)
 *     submitted magazines: collecting, waiting   the pool        the racks of homes
 *
 * Free blocks that are in no magazine are bits of their slab (memory/slab.h), marks in it (memory/mark.h), or extents
 * (large/large.h). Magazines with dead objects (heap/dead.h) hold no free blocks.
 *
 * fl_heap_check and the heap walk look at all of them. No other thread uses the heap meanwhile.
 */
#ifndef FLI_HELD_H
#define FLI_HELD_H

#include "memory/magazine.h"

struct fl_heap;

/* One magazine, and the free blocks in it. */
struct fli_held {
    const char *place;             /* where it is, for error texts */
    unsigned class_index;          /* of the blocks; 0 on a list of empty magazines */
    uint32_t index;                /* of the magazine, on a list */
    struct fli_magazine *above;    /* the one before it on a list, or NULL */
    struct fli_magazine *magazine; /* NULL: a list names an index that no magazine has */
    void *const *blocks;
    size_t count;
};

/* Is told of a magazine. Whatever it returns other than 0 ends the visit. */
typedef int (*fli_held_visitor)(void *context, const struct fli_held *held);

/* Tells the visitor of each magazine, the empty ones included. Returns 0, or what the visitor returned. Under the
 * registry lock. */
int fli_held_visit_locked(struct fl_heap *heap, fli_held_visitor visitor, void *context);

#endif
