/* SPDX-License-Identifier: MIT
 *
 * Marks: a deferred block for which no magazine has room is marked in its slab.
 *
 *     marks of a slab    a row of bits that collects, and a row that waits as a batch for its grace period
 *     record->marks      how many bits of both rows are set
 *
 * There are two rows because the grace period of the batch that waits may have begun too early for a block marked now.
 * A single row would need a batch number per slab, and each new mark would move the whole slab to the later batch. Then
 * a slab that gets marks all the time is never released. A barrier could return before blocks deferred ahead of it are
 * free.
 *
 * The lock of the slabs guards all of this. The steps of deferred blocks (pool/deferred.c) call these functions.
 */
#ifndef FLI_MARK_H
#define FLI_MARK_H

#include "memory/slab.h"

/* Marks a block. Returns false for a stray, which is noted instead. Locks. */
bool fli_mark_set(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Whether a block is marked. Locks. */
bool fli_mark_is_set(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Begins a batch: the blocks marked so far wait from now on, and new marks belong to the next batch. No batch may be
 * waiting. Returns how many blocks wait. Locks. */
size_t fli_mark_close(struct fli_slabs *slabs);

/* Takes the waiting blocks of one slab: clears their marks and sets their bits in `bits` (FLI_SLAB_BIT_WORDS words).
 * Returns how many they are. Locks. */
unsigned fli_mark_take(struct fli_slabs *slabs, uint32_t slab, uint64_t *bits);

/* How many marked blocks still wait. Locks. */
size_t fli_mark_count_waiting(struct fli_slabs *slabs);

/* Adds the numbers of marked blocks to `counts`, by class. Called in the child of a fork, where no other thread
 * runs. */
void fli_mark_count_stw(const struct fli_slabs *slabs, size_t *counts);

/* Sets the bits of a slab's marked blocks in `bits`, and leaves the others there. No other thread uses the heap. */
void fli_mark_copy_stw(const struct fli_slabs *slabs, uint32_t slab, uint64_t *bits);

#endif
