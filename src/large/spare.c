/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed in this file: `kept` is a number that orders nothing.
 */
#include "large/spare.h"
#include "base/check.h"

void fli_spare_init(struct fli_spare *spare)
{
    *spare = (struct fli_spare){.bound = FLI_SPARE_FIRST};
    fli_ring_init(&spare->by_age);
    for (unsigned bin = 0; bin <= FLI_EXTENT_BINS; bin++)
        fli_ring_init(&spare->bins[bin]);
}

static bool is_filled(const struct fli_spare *spare, unsigned bin)
{
    return (spare->filled[bin / 64] >> bin % 64 & 1) != 0;
}

void fli_spare_put(struct fli_spare *spare, struct fli_extent *extent)
{
    unsigned bin = extent->bin;
    FLI_ASSERT(bin <= FLI_EXTENT_BINS);
    extent->state = FLI_EXTENT_SPARE;
    fli_ring_put_first(&spare->bins[bin], &extent->link);
    fli_ring_put_first(&spare->by_age, &extent->by_age);
    spare->filled[bin / 64] |= (uint64_t)1 << bin % 64;
    fli_count(&spare->kept, fli_extent_memory(extent));
}

static struct fli_extent *take(struct fli_spare *spare, struct fli_extent *extent)
{
    unsigned bin = extent->bin;
    fli_ring_remove(&extent->link);
    fli_ring_remove(&extent->by_age);
    if (fli_ring_is_empty(&spare->bins[bin]))
        spare->filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    extent->state = FLI_EXTENT_OUT;
    fli_count(&spare->kept, -fli_extent_memory(extent));
    return extent;
}

struct fli_extent *fli_spare_take(struct fli_spare *spare, size_t size)
{
    unsigned first = fli_extent_bin(size);
    for (unsigned bin = first; bin <= first + FLI_SPARE_BINS_ABOVE && bin < FLI_EXTENT_BINS; bin++)
        if (is_filled(spare, bin))
            return take(spare, FLI_RING_OF(spare->bins[bin].next, struct fli_extent, link));
    return NULL;
}

struct fli_extent *fli_spare_take_oldest(struct fli_spare *spare, size_t kept)
{
    if (fli_load_relaxed(&spare->kept) <= kept)
        return NULL;
    return take(spare, FLI_RING_OF(spare->by_age.previous, struct fli_extent, by_age));
}

void fli_spare_note_given_up(struct fli_spare *spare, size_t bytes)
{
    spare->given_up += bytes;
}

void fli_spare_note_mapped(struct fli_spare *spare, size_t bytes, size_t most)
{
    size_t regretted = fli_min(spare->given_up, bytes);
    spare->given_up -= regretted;
    spare->bound = fli_min(spare->bound + regretted, fli_max(most, FLI_SPARE_FIRST));
}
