/* SPDX-License-Identifier: MIT
 *
 * Questions about single blocks. Is an address the start of one? Is a block free in its slab? In checked builds: does
 * the host have it? The slow halves of api/ and the checks of frees ask, in any thread. About a block that another
 * thread frees meanwhile, the answer is a hint.
 */
#ifndef FLI_BLOCK_H
#define FLI_BLOCK_H

#include "memory/slab.h"

/* Whether an address inside a slab of the class is the start of a block. */
bool fli_block_is_start(const struct fli_slabs *slabs, unsigned class_index, const void *address);

/* Whether the block's free bit is set. */
bool fli_block_is_free(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Marks the block as live or not live. Returns whether it was live. Checked builds only. */
bool fli_block_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live);
bool fli_block_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Tells AddressSanitizer that a block is free: only its first bytes, which stale readers may read, stay accessible.
 * Checked builds only. */
void fli_block_poison(struct fli_slabs *slabs, unsigned class_index, void *block);

#endif
