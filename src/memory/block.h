/* SPDX-License-Identifier: MIT
 *
 * Questions about single blocks: what is the start of one, which are free in their slab, and in checked builds which ones
 * the host has.
 */
#ifndef FLI_BLOCK_H
#define FLI_BLOCK_H

#include "memory/slab.h"

/* Whether an address inside a slab of the class is the start of a block. */
bool fli_block_is_start(const struct fli_slabs *slabs, unsigned class_index, const void *address);

/* Whether the block's free bit is set. */
bool fli_block_is_free(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Marks the block live or not, and returns what it was. Checked builds only. */
bool fli_block_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live);
bool fli_block_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Tells AddressSanitizer that a block is free: what of it no stale reader may read. Checked builds only. */
void fli_block_poison(struct fli_slabs *slabs, unsigned class_index, void *block);

#endif
