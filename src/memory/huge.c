/* SPDX-License-Identifier: MIT */
#include "memory/huge.h"
#include "memory/idle.h"

/* A heap is sparse if a half of its slabs, or more, are lone. One of so many chunks may have grown. */
enum { SPARSE_PART = 2, GROWN_CHUNKS = 2 };

static bool is_sparse(const struct fli_slabs *slabs)
{
    return slabs->lone_count * (size_t)SPARSE_PART >= slabs->committed;
}

static void advise(struct fli_slabs *slabs, uint32_t chunk, bool huge)
{
    fli_os_advise_huge(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES, huge);
}

/* Asks for huge pages in the first chunks, except those of which slabs have been cold. */
static void grow(struct fli_slabs *slabs)
{
    slabs->has_grown = true;
    for (uint32_t chunk = 0; chunk < slabs->small_chunks; chunk++)
        if (fli_idle_is_whole(slabs, chunk) && !fli_idle_chunk(slabs, chunk)->small)
            advise(slabs, chunk, true);
}

/* Decides on the first chunks, where slabs from `begin` to `end`, counted from 0, are new. */
static void choose_first(struct fli_slabs *slabs, size_t begin, size_t end)
{
    if (slabs->has_grown)
        return;
    if (is_sparse(slabs) && begin / FLI_CHUNK_SLABS <= slabs->small_chunks)
        slabs->small_chunks = (uint32_t)((end + FLI_CHUNK_SLABS - 1) / FLI_CHUNK_SLABS);
    else if (!is_sparse(slabs) && slabs->committed >= GROWN_CHUNKS * FLI_CHUNK_SLABS)
        grow(slabs);
}

void fli_huge_choose(struct fli_slabs *slabs, size_t before)
{
    const struct fli_region *last = fli_ranges_last(&slabs->ranges);
    size_t first = (size_t)slabs->ranges.at[fli_load_own(&slabs->ranges.count) - 1].first - 1;
    if (slabs->huge_pages && !slabs->huge_at_once)
        choose_first(slabs, first + (before >> FLI_SLAB_SHIFT), first + (last->committed >> FLI_SLAB_SHIFT));
    size_t small = slabs->small_chunks * (size_t)FLI_CHUNK_SLABS;
    size_t from = fli_max(before, (small - fli_min(small, first)) << FLI_SLAB_SHIFT);
    if ((slabs->huge_pages || slabs->small_pages) && from < last->committed)
        fli_os_advise_huge(last->base + from, last->committed - from, slabs->huge_pages);
}

void fli_huge_give(struct fli_slabs *slabs, uint32_t chunk)
{
    if (!fli_idle_chunk(slabs, chunk)->small || !fli_huge_may_be(slabs, chunk))
        return;
    fli_idle_chunk(slabs, chunk)->small = 0;
    advise(slabs, chunk, true);
}

void fli_huge_take(struct fli_slabs *slabs, uint32_t chunk)
{
    if (fli_idle_chunk(slabs, chunk)->small || !fli_idle_is_whole(slabs, chunk))
        return;
    fli_idle_chunk(slabs, chunk)->small = 1;
    advise(slabs, chunk, false);
}
