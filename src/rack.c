/* SPDX-License-Identifier: MIT */
#include "rack.h"

static uint32_t cost(const struct fli_magazine *magazine, size_t block_bytes)
{
    return FLI_MAGAZINE_BYTES + (uint32_t)(fli_load_relaxed(&magazine->count) * block_bytes); /* relaxed: ours */
}

static uint32_t bound(const struct fli_rack_part *part)
{
    return (uint32_t)FLI_RACK_BYTES_FIRST << part->doublings;
}

bool fli_rack_put_owner(struct fli_rack_part *part, FLI_ATOMIC(uint32_t) * shelf,
                        const struct fli_magazines *magazines, struct fli_magazine *magazine, size_t block_bytes,
                        size_t most)
{
    uint32_t bytes = part->bytes + cost(magazine, block_bytes);
    if (bytes > most || bytes > bound(part))
        return false;
    /* Relaxed: the shelf and its magazines are the thread's; others read numbers of a moment ago. */
    fli_store_relaxed(&magazine->below, fli_magazine_weight(magazine) + fli_rack_blocks(shelf, magazines));
    fli_store_relaxed(&magazine->next, fli_load_relaxed(shelf));
    fli_store_relaxed(shelf, fli_magazine_index(magazines, magazine));
    part->bytes = bytes;
    return true;
}

struct fli_magazine *fli_rack_take_owner(struct fli_rack_part *part, FLI_ATOMIC(uint32_t) * shelf,
                                         const struct fli_magazines *magazines, size_t block_bytes)
{
    uint32_t top = fli_load_relaxed(shelf); /* relaxed: as above */
    if (top == 0) {
        part->doublings += bound(part) < FLI_RACK_BYTES_MOST;
        return NULL;
    }
    struct fli_magazine *magazine = fli_magazine_at(magazines, top);
    fli_store_relaxed(shelf, fli_load_relaxed(&magazine->next));
    part->bytes -= cost(magazine, block_bytes);
    return magazine;
}

uint64_t fli_rack_blocks(FLI_ATOMIC(uint32_t) * shelf, const struct fli_magazines *magazines)
{
    uint32_t top = fli_load_relaxed(shelf); /* relaxed: as above */
    return top != 0 ? fli_load_relaxed(&fli_magazine_at(magazines, top)->below) : 0;
}
