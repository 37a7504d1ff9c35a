/* SPDX-License-Identifier: MIT */
#include "memory/huge.h"

/* A heap is sparse if a half of its slabs, or more, are lone; it has dense chunks if more than a third are not. */
enum { SPARSE_PART = 2, DENSE_PART = 3 };

/* ---- What a heap is like. */

static uint32_t in_use(const struct fli_slabs *slabs)
{
    return slabs->committed - fli_idle_cold_count(slabs) - slabs->warm_count;
}

static bool is_sparse(const struct fli_slabs *slabs)
{
    return slabs->lone_count * (size_t)SPARSE_PART >= in_use(slabs);
}

/* Whether slabs that are not lone should lie in dense chunks. */
static bool is_dense(const struct fli_slabs *slabs)
{
    uint32_t others = in_use(slabs) - slabs->lone_count;
    return others >= FLI_HUGE_FEW && others * (size_t)DENSE_PART > in_use(slabs) &&
           fli_limit_left(slabs->limit) >= FLI_CHUNK_BYTES;
}

/* ---- Choosing a kind. */

/* The chunk of the last slab that is in use or was skipped, if there are further slabs in it; or NULL. */
static const struct fli_chunk *open_chunk(const struct fli_slabs *slabs)
{
    bool is_open = slabs->committed % FLI_CHUNK_SLABS != 0;
    return is_open ? fli_idle_chunk(slabs, fli_idle_chunk_of(slabs->committed)) : NULL;
}

/* Whether the heap begins small, and the rest of its first chunk is not reserved (range.h). */
static bool is_in_part(const struct fli_slabs *slabs)
{
    return open_chunk(slabs) != NULL && !fli_idle_is_whole(slabs, fli_idle_chunk_of(slabs->committed));
}

enum fli_kind fli_huge_kind(const struct fli_slabs *slabs, bool is_lone)
{
    if (!slabs->huge_pages || slabs->huge_at_once)
        return FLI_DENSE;
    if (is_in_part(slabs))
        return FLI_SPARSE;
    if (fli_idle_kept_count(slabs) > 0)
        return slabs->cold[FLI_SPARSE].kept > 0 ? FLI_SPARSE : FLI_DENSE;
    if (!is_lone && is_dense(slabs))
        return FLI_DENSE;
    const struct fli_chunk *open = open_chunk(slabs);
    bool has_sparse = slabs->cold[FLI_SPARSE].count > 0 || (open != NULL && open->kind == FLI_SPARSE);
    return has_sparse || is_sparse(slabs) ? FLI_SPARSE : FLI_DENSE;
}

/* ---- Asking for pages. */

static void advise(struct fli_slabs *slabs, uint32_t chunk, bool huge)
{
    fli_os_advise_huge(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES, huge);
}

/* Makes a sparse chunk a dense one. */
static void make_dense(struct fli_slabs *slabs, uint32_t chunk)
{
    struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
    struct fli_cold *from = &slabs->cold[FLI_SPARSE], *to = &slabs->cold[FLI_DENSE];
    uint32_t cold = (uint32_t)__builtin_popcount(of->cold), skipped = (uint32_t)__builtin_popcount(of->skipped);
    uint32_t kept = (uint32_t)__builtin_popcount(of->kept);
    from->count -= cold;
    to->count += cold;
    from->kept -= kept;
    to->kept += kept;
    from->skipped -= skipped;
    to->skipped += skipped;
    to->lowest = (uint32_t)fli_min(to->lowest, chunk);
    of->kind = FLI_DENSE;
    advise(slabs, chunk, true);
}

/* Makes the sparse chunks dense ones, except those of which slabs have been cold after use. */
static void grow(struct fli_slabs *slabs)
{
    slabs->has_grown = true;
    for (uint32_t chunk = 0; chunk * FLI_CHUNK_SLABS < slabs->committed; chunk++) {
        const struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
        if (of->kind == FLI_SPARSE && !of->small && fli_idle_is_whole(slabs, chunk))
            make_dense(slabs, chunk);
    }
}

void fli_huge_open(struct fli_slabs *slabs, uint32_t chunk, enum fli_kind kind)
{
    fli_idle_chunk(slabs, chunk)->kind = (uint8_t)kind;
    if (kind == FLI_SPARSE || !slabs->huge_pages)
        return;
    if (fli_idle_is_whole(slabs, chunk))
        advise(slabs, chunk, true);
    if (!slabs->has_grown && !is_sparse(slabs) && in_use(slabs) >= FLI_HUGE_GROWN_CHUNKS * FLI_CHUNK_SLABS)
        grow(slabs);
}

void fli_huge_refuse(struct fli_slabs *slabs, size_t before)
{
    const struct fli_region *last = fli_ranges_last(&slabs->ranges);
    if (before < last->committed)
        fli_os_advise_huge(last->base + before, last->committed - before, false);
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
