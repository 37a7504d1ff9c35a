/* SPDX-License-Identifier: MIT
 *
 * Slabs that have been retired while readers may still look at them (only in a heap with stale readers). They collect
 * and wait as batches do (grace/batch.h). When a grace period has ended, the slabs of its batch are made idle; where none
 * can be had, they are free slabs of their classes again. Meanwhile an allocation of their class that would fail for lack
 * of memory takes them back.
 */
#ifndef FLI_RETIRED_H
#define FLI_RETIRED_H

#include "grace/batch.h"
#include "pool/exchange.h"

struct fl_heap;

/* Lists of slabs. Under the trim lock. */
struct fli_retired {
    uint32_t collecting, waiting;
    struct fli_batch batch;
};

/* No slabs of a new heap, whose grace periods are made. */
void fli_retired_init(struct fl_heap *heap);

/* Takes what steps can be taken. Returns the bytes given back. Under the trim lock. */
size_t fli_retired_reclaim_locked(struct fl_heap *heap);

/* The same, unless a trim is under way. */
void fli_retired_reclaim(struct fl_heap *heap);

/* Takes a retired slab of the class, if there is one, into a home again, without waiting for its grace period: its
 * blocks keep their class, so readers find in them what they find in any block that is free or used again. Waits for
 * a trim under way. */
void fli_retired_take_back(struct fl_heap *heap, unsigned class_index, struct fli_home *home);

/* Waits until the slabs that are retired now have been made idle, or cannot be. Returns the bytes given back. The
 * calling OS thread is in no section and holds no lock. */
size_t fli_retired_drain(struct fl_heap *heap);

/* Lets what waits wait anew. In the child of a fork, where no other thread runs. */
void fli_retired_wait_anew_stw(struct fl_heap *heap);

#endif
