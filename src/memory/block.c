/* SPDX-License-Identifier: MIT */
#include "memory/block.h"
#include "base/sanitizer.h"

bool fli_block_is_start(const struct fli_slabs *slabs, unsigned class_index, const void *address)
{
    const struct fli_slab_class *class = &slabs->by_class[class_index];
    uint32_t index = fli_slab_block_index(slabs, class_index, address);
    return index < class->blocks &&
           fli_slab_start(slabs, fli_slab_number(slabs, address)) + index * class->block_bytes == address;
}

static uint64_t bit_of(uint32_t index)
{
    return (uint64_t)1 << index % 64;
}

bool fli_block_is_free(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    uint64_t word = fli_load_hint(&fli_slab_row_of(slabs, block)->free_bits[index / 64]);
    return (word & bit_of(index)) != 0;
}

static FLI_ATOMIC(uint64_t) * live_word(const struct fli_slabs *slabs, const void *block, uint32_t index)
{
    return &fli_slab_row_of(slabs, block)->live_bits[index / 64];
}

bool fli_block_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    FLI_ATOMIC(uint64_t) *word = live_word(slabs, block, index);
    /* Relaxed: the bit only shows that a block has two owners; no other memory is read because of it. */
    uint64_t old = live ? fli_or_relaxed(word, bit_of(index)) : fli_and_relaxed(word, ~bit_of(index));
    return (old & bit_of(index)) != 0;
}

bool fli_block_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    return (fli_load_hint(live_word(slabs, block, index)) & bit_of(index)) != 0;
}

void fli_block_poison(struct fli_slabs *slabs, unsigned class_index, void *block)
{
    size_t bytes = slabs->by_class[class_index].block_bytes;
    size_t kept = fli_min(fli_round_up(slabs->stale_bytes, 16), bytes);
    fli_poison((char *)block + kept, bytes - kept);
}
