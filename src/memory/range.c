/* SPDX-License-Identifier: MIT */
#include "memory/range.h"
#include "memory/slab.h"

#include <errno.h>

/* The smallest range that is reserved when the OS refuses larger ones. */
#define RANGE_LEAST ((size_t)FLI_CHUNK_BYTES)

/* ---- Looking a range up. */

const struct fli_range *fli_range_beyond(const struct fli_ranges *ranges, uint32_t slab)
{
    /* R2: acquire, pairs with R1 in publish_locked: the ranges can be read. */
    uint32_t count = fli_load_acquire(&ranges->count);
    for (uint32_t i = 1; i < count; i++)
        if (slab - ranges->at[i].first < ranges->at[i].slabs)
            return &ranges->at[i];
    return NULL;
}

const struct fli_range *fli_range_around(const struct fli_ranges *ranges, const void *address)
{
    /* R3: acquire, pairs with R1 in publish_locked: the ranges can be read. */
    uint32_t count = fli_load_acquire(&ranges->count);
    for (uint32_t i = 1; i < count; i++)
        if (fli_range_has(&ranges->at[i], address))
            return &ranges->at[i];
    return NULL;
}

/* ---- How a range is laid out. */

static size_t chunk_count(size_t slabs)
{
    return (slabs + FLI_CHUNK_SLABS - 1) / FLI_CHUNK_SLABS;
}

/* Where in the table of so many slabs the chunks begin, and the rows. */
static size_t chunks_offset(size_t slabs)
{
    return fli_round_up(slabs, _Alignof(struct fli_chunk));
}

static size_t rows_offset(size_t slabs)
{
    return fli_round_up(chunks_offset(slabs) + chunk_count(slabs) * sizeof(struct fli_chunk),
                        _Alignof(struct fli_row));
}

/* Bytes that a part takes for the first `used` of so many slabs. */
static size_t part_bytes(unsigned part, size_t slabs, size_t used)
{
    if (part == FLI_RANGE_SLABS)
        return used << FLI_SLAB_SHIFT;
    if (part == FLI_RANGE_TABLE)
        return rows_offset(slabs) + used * sizeof(struct fli_row);
    if (part == FLI_RANGE_MARKS)
        return used * 2 * FLI_SLAB_BIT_WORDS * sizeof(uint64_t);
    return used * FLI_SLAB_BLOCKS_MAX * sizeof(uint32_t);
}

/* Bytes of address space for a part of so many slabs. */
static size_t reserved_bytes(unsigned part, size_t slabs, bool hardened)
{
    if (part == FLI_RANGE_STATES && !hardened)
        return 0;
    size_t guard = part == FLI_RANGE_SLABS ? fli_os_page() : 0;
    return fli_round_up(part_bytes(part, slabs, slabs), fli_os_page()) + guard;
}

size_t fli_range_metadata_bytes(size_t span, bool hardened)
{
    size_t slabs = span >> FLI_SLAB_SHIFT, bytes = 0;
    for (unsigned part = 0; part < FLI_RANGE_PARTS; part++)
        bytes += reserved_bytes(part, slabs, hardened);
    return bytes - span;
}

size_t fli_range_table_bytes(size_t span)
{
    return reserved_bytes(FLI_RANGE_TABLE, span >> FLI_SLAB_SHIFT, false);
}

/* The first part behind the slabs that is ever used. */
static unsigned first_used(struct fli_range_kind kind)
{
    return kind.defers ? FLI_RANGE_MARKS : kind.hardened ? FLI_RANGE_STATES : FLI_RANGE_TABLE;
}

static void lay_out(struct fli_range *range, struct fli_region *parts, char *base, size_t span,
                    struct fli_range_kind kind)
{
    size_t slabs = span >> FLI_SLAB_SHIFT;
    char *at = base, *ready = NULL;
    for (unsigned part = 0; part < FLI_RANGE_PARTS; part++) {
        size_t reserved = reserved_bytes(part, slabs, kind.hardened),
               guard = part == FLI_RANGE_SLABS ? fli_os_page() : 0;
        bool is_ready = part + kind.ready_parts >= FLI_RANGE_PARTS;
        parts[part] = (struct fli_region){.base = at, .reserved = reserved - guard};
        parts[part].usable = is_ready ? parts[part].reserved : 0;
        ready = is_ready && ready == NULL ? at : ready;
        at += reserved;
    }
    char *table = parts[FLI_RANGE_TABLE].base;
    /* With huge pages, the OS could bring back what a trim has returned. Parts before the first one that is used get no
     * advice: so they share a mapping with the slabs that are not committed. */
    char *used = parts[first_used(kind)].base, *end = ready != NULL ? ready : at;
    if (used < end)
        fli_os_advise_huge(used, (size_t)(end - used), false);
    range->base = base;
    range->span = span;
    range->slabs = (uint32_t)slabs;
    range->classes = (void *)table;
    range->chunks = (void *)(table + chunks_offset(slabs));
    range->rows = (void *)(table + rows_offset(slabs));
    range->marks = (void *)parts[FLI_RANGE_MARKS].base;
    range->states = kind.hardened ? (void *)parts[FLI_RANGE_STATES].base : NULL;
}

/* Makes the classes and chunks of a range readable. Returns 0 or -ENOMEM. */
static int open_range(const struct fli_range *range, struct fli_region *parts)
{
    return fli_region_reach(&parts[FLI_RANGE_TABLE], part_bytes(FLI_RANGE_TABLE, range->slabs, 0), 0);
}

int fli_ranges_init(struct fli_ranges *ranges, char *base, size_t span, size_t most, struct fli_range_kind kind)
{
    struct fli_range *first = &ranges->at[0];
    lay_out(first, ranges->parts[0], base, span, kind);
    first->first = 1;
    ranges->span = span;
    ranges->span_most = most;
    ranges->kind = kind;
    fli_store_own(&ranges->count, 1);
    return open_range(first, ranges->parts[0]);
}

static void close_parts(struct fli_region *parts)
{
    for (unsigned part = 0; part < FLI_RANGE_PARTS; part++)
        fli_region_close(&parts[part]);
}

/* Bytes of address space for a range that is not the first. A small one ends where a neighbour can begin. */
static size_t mapping_bytes(size_t span, bool hardened)
{
    size_t bytes = span + fli_range_metadata_bytes(span, hardened);
    return span < FLI_CHUNK_BYTES ? fli_round_up(bytes, FLI_SLAB_BYTES) : bytes;
}

static void release(struct fli_range *range)
{
    fli_os_release(range->base, mapping_bytes(range->span, range->states != NULL));
}

void fli_ranges_close(struct fli_ranges *ranges)
{
    for (uint32_t i = 0; i < fli_load_own(&ranges->count); i++) {
        close_parts(ranges->parts[i]);
        if (i > 0)
            release(&ranges->at[i]);
    }
}

/* ---- Growing. */

/* Address space for a range, which has its guard if it is small. NULL if the OS refuses. */
static char *reserve_space(size_t span, bool hardened)
{
    size_t bytes = mapping_bytes(span, hardened);
    if (span >= FLI_CHUNK_BYTES)
        return fli_os_reserve(bytes, FLI_CHUNK_BYTES);
    char *base = fli_os_reserve_usable(bytes, FLI_SLAB_BYTES);
    if (base == NULL || fli_os_guard(base + span, fli_os_page()))
        return base;
    fli_os_release(base, bytes);
    return NULL;
}

/* Reserves a range of `span` bytes behind all others, which cannot be seen yet. */
static bool reserve_locked(struct fli_ranges *ranges, size_t span)
{
    uint32_t count = fli_load_own(&ranges->count);
    char *base = reserve_space(span, ranges->kind.hardened);
    if (base == NULL)
        return false;
    struct fli_range *range = &ranges->at[count];
    struct fli_range_kind kind = ranges->kind;
    kind.ready_parts = span < FLI_CHUNK_BYTES ? FLI_RANGE_PARTS : 0;
    lay_out(range, ranges->parts[count], base, span, kind);
    range->first = ranges->at[count - 1].first + ranges->at[count - 1].slabs;
    if (open_range(range, ranges->parts[count]) == 0)
        return true;
    close_parts(ranges->parts[count]);
    release(range);
    return false;
}

static void publish_locked(struct fli_ranges *ranges)
{
    uint32_t count = fli_load_own(&ranges->count);
    ranges->span += ranges->at[count].span;
    /* R1: release, pairs with R2 in fli_range_beyond and R3 in fli_range_around: the range is whole. */
    fli_store_release(&ranges->count, count + 1);
}

/* Reserves more of a chunk of which the heap has a part, so that it has four times as much, or all of it. Returns false
 * if the OS refuses. */
static bool grow_in_chunk_locked(struct fli_ranges *ranges)
{
    if (!reserve_locked(ranges, fli_min(3 * ranges->span, FLI_CHUNK_BYTES - ranges->span)))
        return false;
    publish_locked(ranges);
    return true;
}

/* Reserves one more range. Returns false if the heap may not grow, or the OS refuses. */
static bool grow_locked(struct fli_ranges *ranges)
{
    if (ranges->span < FLI_CHUNK_BYTES)
        return grow_in_chunk_locked(ranges);
    size_t wanted = fli_max(ranges->span, ranges->usual);
    size_t span = fli_min(fli_min(wanted, fli_os_address_limit() / 8), ranges->span_most - ranges->span);
    if (fli_load_own(&ranges->count) == FLI_RANGES_MOST)
        return false;
    for (; span >= RANGE_LEAST; span /= 2) {
        span &= ~((size_t)FLI_CHUNK_BYTES - 1);
        if (reserve_locked(ranges, span)) {
            publish_locked(ranges);
            return true;
        }
    }
    return false;
}

int fli_ranges_commit(struct fli_ranges *ranges, uint32_t slab, size_t ahead)
{
    uint32_t last = fli_load_own(&ranges->count) - 1;
    if (slab - ranges->at[last].first >= ranges->at[last].slabs) {
        if (!grow_locked(ranges))
            return -ENOMEM;
        last++;
    }
    const struct fli_range *range = &ranges->at[last];
    size_t used = slab - range->first + 1, rest = FLI_CHUNK_SLABS - 1;
    /* The slabs come last: all that is committed of them has its metadata, also those of a chunk that are skipped. */
    for (unsigned part = FLI_RANGE_PARTS; part-- > 0;) {
        if ((part == FLI_RANGE_MARKS && !ranges->kind.defers) || (part == FLI_RANGE_STATES && !ranges->kind.hardened))
            continue;
        size_t step = part_bytes(part, range->slabs, ahead) - part_bytes(part, range->slabs, 0);
        size_t with = part == FLI_RANGE_SLABS ? used : fli_min(used + rest, range->slabs);
        if (fli_region_reach(&ranges->parts[last][part], part_bytes(part, range->slabs, with), step) != 0)
            return -ENOMEM;
    }
    return 0;
}

const struct fli_region *fli_ranges_last(const struct fli_ranges *ranges)
{
    return &ranges->parts[fli_load_own(&ranges->count) - 1][FLI_RANGE_SLABS];
}

size_t fli_ranges_committed(const struct fli_ranges *ranges)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < fli_load_own(&ranges->count); i++)
        for (unsigned part = 0; part < FLI_RANGE_PARTS; part++)
            bytes += ranges->parts[i][part].committed;
    return bytes;
}
