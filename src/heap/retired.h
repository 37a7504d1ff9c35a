/* SPDX-License-Identifier: MIT
 *
 * Slabs that have been retired while readers may still look at them: only in a heap with stale readers. Trims retire
 * them. They collect and wait in batches (grace/batch.h).
 *
 *     retired slabs = collecting + waiting
 *
 * When the grace period of a batch has ended, its slabs are made idle. If no grace period can be had, they become
 * free slabs of their classes again. Meanwhile an allocation of their class that would fail for lack of memory takes
 * them back.
 */
#ifndef FLI_RETIRED_H
#define FLI_RETIRED_H

#include "grace/batch.h"
#include "pool/exchange.h"

struct fl_heap;

/* Lists of slabs. Under the trim lock. */
struct fli_retired {
    FLI_PLAIN(uint32_t) collecting, waiting;
    size_t warm_most; /* how many idle slabs stay warm when retired ones become idle */
    struct fli_batch batch;
};

/* Begins with no slabs, in a new heap whose grace periods have been initialised. */
void fli_retired_init(struct fl_heap *heap);

/* Takes the steps that are possible now. Returns the bytes that went to the OS. Under the trim lock. */
size_t fli_retired_reclaim_locked(struct fl_heap *heap);

/* Takes the steps that are possible now, unless a trim is under way. */
void fli_retired_reclaim(struct fl_heap *heap);

/* Takes a retired slab of the class, if there is one, back into a home without waiting for its grace period. Its
 * blocks keep their class, so readers see in them what they see in any free or reused block. Waits for a trim under
 * way. */
void fli_retired_take_back(struct fl_heap *heap, unsigned class_index, struct fli_home *home);

/* Waits until the slabs that are retired now have been made idle, or cannot be. Returns the bytes that went to the
 * OS. The calling OS thread is in no section and holds no lock. */
size_t fli_retired_drain(struct fl_heap *heap);

/* Lets about `bytes` bytes of idle slabs stay warm from now on, and makes others cold. At first none stay. Returns the
 * bytes that went to the OS. Waits for a trim under way. */
size_t fli_retired_keep_warm(struct fl_heap *heap, size_t bytes);

/* Lets the waiting slabs wait anew. In the child of a fork, where no other thread runs. */
void fli_retired_wait_anew_stw(struct fl_heap *heap);

#endif
