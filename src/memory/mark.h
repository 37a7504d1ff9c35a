/* SPDX-License-Identifier: MIT
 *
 * Marks: deferred blocks for which there is no place in a magazine are marked in their slabs.
 *
 *     marks of a slab    a row of bits that collects, and a row that waits as a batch for its grace period
 *     record->marks      how many bits of both rows are set
 *
 * There are two rows because a block that is marked now must outlast readers for whom the batch that waits was begun too
 * early. A single row with the number of its batch would have to put off the whole slab to the later batch, again and
 * again while blocks of it are marked, and a barrier could return before what was deferred ahead of it is free.
 *
 * All of this is under the lock of the slabs.
 */
#ifndef FLI_MARK_H
#define FLI_MARK_H

#include "memory/slab.h"

/* Marks a block. Returns false for a stray, which is noted instead. Locks. */
bool fli_mark_set(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Whether a block is marked. Locks. */
bool fli_mark_is_set(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Begins a batch: what is marked waits from now on, and new marks are another batch's. None may be waiting. Returns
 * how many wait. Locks. */
size_t fli_mark_close(struct fli_slabs *slabs);

/* Of the blocks that wait, takes one slab's out: sets their bits in `bits` (FLI_SLAB_BIT_WORDS words). Returns how
 * many, 0 if none of the slab's waits. Locks. */
unsigned fli_mark_take(struct fli_slabs *slabs, uint32_t slab, uint64_t *bits);

/* How many marked blocks still wait. Locks. */
size_t fli_mark_count_waiting(struct fli_slabs *slabs);

/* Adds the blocks that are marked to `counts`, by class. In the child of a fork, where no other thread runs. */
void fli_mark_count_stw(const struct fli_slabs *slabs, size_t *counts);

#endif
