/* SPDX-License-Identifier: MIT */
#include "memory/huge.h"
#include "memory/idle.h"

/* Slabs are sparse if such a part of them, or more, are lone. */
enum { SPARSE_PART = 3 };

static bool is_sparse(const struct fli_slabs *slabs)
{
    return slabs->lone_count * (size_t)SPARSE_PART >= slabs->committed;
}

/* Gives the last of the first chunks, which have small pages, huge ones. */
static void end_small(struct fli_slabs *slabs)
{
    uint32_t chunk = --slabs->small_chunks;
    fli_idle_chunk(slabs, chunk)->small = 1;
    if (fli_idle_chunk(slabs, chunk)->cold != 0)
        return; /* it gets them when it is all in use */
    fli_huge_give(slabs, chunk);
    fli_os_collapse(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES);
}

/* Moves the bound of the first chunks, where slabs from `begin` to `end`, counted from 0, are new. */
static void move_bound(struct fli_slabs *slabs, size_t begin, size_t end)
{
    if (!is_sparse(slabs) && slabs->small_chunks > 1)
        end_small(slabs);
    else if (is_sparse(slabs) && begin / FLI_CHUNK_SLABS <= slabs->small_chunks)
        slabs->small_chunks = (uint32_t)((end + FLI_CHUNK_SLABS - 1) / FLI_CHUNK_SLABS);
}

void fli_huge_choose(struct fli_slabs *slabs, size_t before)
{
    const struct fli_region *last = fli_ranges_last(&slabs->ranges);
    size_t first = (size_t)slabs->ranges.at[fli_load_own(&slabs->ranges.count) - 1].first - 1;
    if (slabs->huge_pages && !slabs->huge_at_once)
        move_bound(slabs, first + (before >> FLI_SLAB_SHIFT), first + (last->committed >> FLI_SLAB_SHIFT));
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
    fli_os_advise_huge(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES, true);
}

void fli_huge_take(struct fli_slabs *slabs, uint32_t chunk)
{
    if (fli_idle_chunk(slabs, chunk)->small || !fli_idle_is_whole(slabs, chunk))
        return;
    fli_idle_chunk(slabs, chunk)->small = 1;
    fli_os_advise_huge(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES, false);
}
