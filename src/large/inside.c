/* SPDX-License-Identifier: MIT */
#include "large/inside.h"

enum { PIECES_MOST = 3 }; /* for which a block is entered */

static unsigned log2_of(size_t number)
{
    return 63u - (unsigned)__builtin_clzll(number);
}

/* The slot where the search for a piece of 2^size_log2 bytes begins. Multiplicative hashing, by the golden ratio. */
static size_t slot_of(const struct fli_inside *inside, uintptr_t address, unsigned size_log2)
{
    uint64_t key = (uint64_t)(address >> size_log2) << 6 | size_log2;
    return (size_t)(key * 0x9e3779b97f4a7c15u >> inside->shift);
}

static size_t slot_behind(const struct fli_inside *inside, size_t slot)
{
    return (slot + 1) & (((size_t)1 << (64 - inside->shift)) - 1);
}

size_t fli_inside_slots(struct fli_large *large)
{
    size_t blocks = fli_large_count(large).blocks;
    return (size_t)2 << log2_of(2 * PIECES_MOST * blocks + 1);
}

static void enter_piece(struct fli_inside *inside, const struct fli_extent *extent, uintptr_t address,
                        unsigned size_log2)
{
    size_t slot = slot_of(inside, address, size_log2);
    while (inside->slots[slot] != NULL)
        slot = slot_behind(inside, slot);
    inside->slots[slot] = extent;
}

static void enter(struct fli_inside *inside, const struct fli_extent *extent, size_t size)
{
    unsigned size_log2 = log2_of(size);
    uintptr_t start = (uintptr_t)fli_extent_block(extent), last = (start + size - 1) >> size_log2;
    for (uintptr_t piece = start >> size_log2; piece <= last; piece++)
        enter_piece(inside, extent, piece << size_log2, size_log2);
    inside->sizes |= (uint64_t)1 << size_log2;
}

void fli_inside_make(struct fli_inside *inside, struct fli_large *large, const struct fli_extent **slots,
                     size_t count)
{
    *inside = (struct fli_inside){.slots = slots, .shift = 64 - log2_of(count)};
    for (const struct fli_extent *extent = fli_large_first(large); extent != NULL; extent = extent->next_made)
        if (fli_extent_live_size(extent) > 0)
            enter(inside, extent, fli_extent_live_size(extent));
}

static const struct fli_extent *find_of_size(const struct fli_inside *inside, uintptr_t address, unsigned size_log2)
{
    size_t slot = slot_of(inside, address, size_log2);
    const struct fli_extent *extent;
    for (; (extent = inside->slots[slot]) != NULL; slot = slot_behind(inside, slot))
        if (address - (uintptr_t)fli_extent_block(extent) < fli_extent_live_size(extent))
            return extent;
    return NULL;
}

const struct fli_extent *fli_inside_find(const struct fli_inside *inside, const void *address)
{
    const struct fli_extent *extent = NULL;
    for (uint64_t sizes = inside->sizes; sizes != 0 && extent == NULL; sizes &= sizes - 1)
        extent = find_of_size(inside, (uintptr_t)address, (unsigned)__builtin_ctzll(sizes));
    return extent;
}
