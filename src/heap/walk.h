/* SPDX-License-Identifier: MIT
 *
 * A walk of a heap: which of its blocks are free, from its begin to its end. The world is stopped meanwhile: no other
 * thread of the host is inside the library, and none allocates or frees on the heap.
 *
 *     free = bits of the slabs + marks + blocks in magazines (held.h) + all blocks of slabs that are at no home
 *     live = blocks of all slabs - free, and large blocks that are neither free nor deferred
 *
 * So dead objects that wait for their callbacks (dead.h) are live. Those of up to FL_BLOCK_MAX bytes that a layer above
 * keeps are taken to be free, once the walk has begun. All that a walk knows lies in a mapping of its own. Nothing in
 * the heap changes but the word that says that there is a walk. The trim lock guards that word, so that the library's
 * own thread leaves the heap alone meanwhile (decay.h).
 *
 * The threads that walk read the word without a lock: the host has stopped the world for them.
 *
 * fork: a walk belongs to the OS thread that has begun it. The child keeps the walk of the thread that forks, and drops
 * any other. What is free does not change when the child deals with threads that it does not have.
 */
#ifndef FLI_WALK_H
#define FLI_WALK_H

#include "heap/heap.h"
#include "large/inside.h"

struct fli_walk {
    uintptr_t owner; /* the number of the OS thread that has begun it */
    size_t bytes;    /* of its mapping */
    uint32_t slabs;  /* the highest number of a slab */
    struct fli_inside large;
    /* By slab and block: it is free. FLI_SLAB_BIT_WORDS words for each slab, and for the number 0. */
    uint64_t free_bits[];
};

/* Begins a walk. Returns 0; -ENOMEM if the OS refuses memory; or -EBUSY if the heap is being walked. */
int fli_walk_begin(struct fl_heap *heap);

/* Takes the blocks in which a layer above keeps dead objects (guest.h) to be free. */
void fli_walk_hide_kept(struct fl_heap *heap);

/* Ends the walk that is under way. */
void fli_walk_end(struct fl_heap *heap);

/* The walk that is under way, or NULL. */
static inline const struct fli_walk *fli_walk_of(struct fl_heap *heap)
{
    return fli_load_hint(&heap->walk);
}

/* Whether a call that allocates or frees would disturb a walk. Only checked builds notice. */
static inline bool fli_walk_is_disturbed(const struct fl_heap *heap)
{
    return FLI_CHECKED && fli_load_hint(&heap->walk) != NULL;
}

/* The live blocks among 64 of a slab of a class: block 64 * word and the ones behind it, a bit for each. */
uint64_t fli_walk_live(const struct fli_walk *walk, const struct fli_slabs *slabs, uint32_t slab,
                       unsigned class_index, unsigned word);

/* In checked builds: a block that the host has and that is free, or that neither is so. A thread had it in hand. NULL
 * if there is none. */
const void *fli_walk_contradiction(struct fl_heap *heap);

/* In the child of a fork: drops a walk that the calling thread has not begun. */
void fli_walk_leave_behind_stw(struct fl_heap *heap);

#endif
