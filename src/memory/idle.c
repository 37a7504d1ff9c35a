/* SPDX-License-Identifier: MIT */
#include "memory/idle.h"
#include "base/check.h"
#include "base/lock.h"
#include "memory/huge.h"
#include "memory/slab_list.h"

/* All slabs of a chunk. */
#define ALL_SLABS UINT32_MAX

/* At most a few slabs and a small part of all are skipped, and no more than a quarter of all. */
enum { SKIPPED_PART = 4, SKIPPED_FEW = 16, SKIPPED_SMALL_PART = 16 };

/* In how many chunks a row of cold slabs is looked for. */
enum { CHUNKS_LOOKED_AT = 8 };

/* Whether a number is that of a committed slab; 0 stands for none. */
static bool is_committed(const struct fli_slabs *slabs, uint32_t slab)
{
    return slab != 0 && slab <= slabs->committed;
}

/* ---- Where memory that could be written counts. */

static void withdraw_chunk(struct fli_slabs *slabs, uint32_t chunk)
{
    struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
    if (!slabs->strict || of->cold != ALL_SLABS || of->kept != 0 || of->withdrawn || !fli_idle_is_whole(slabs, chunk))
        return;
    of->withdrawn = fli_os_withdraw(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES);
    of->small |= of->withdrawn; /* what was asked for is forgotten */
}

/* Makes a chunk usable again if it was withdrawn. Returns whether it is. */
static bool restore_chunk(struct fli_slabs *slabs, uint32_t chunk)
{
    struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
    if (!of->withdrawn)
        return true;
    of->withdrawn = !fli_os_restore(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES);
    if (!of->withdrawn && !fli_huge_may_be(slabs, chunk))
        fli_os_advise_huge(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES, false);
    return !of->withdrawn;
}

/* ---- Taking a slab. */

static void keep_warm(struct fli_slabs *slabs, uint32_t slab)
{
    fli_slab_list_add(slabs, &slabs->warm, slab);
    fli_idle_chunk(slabs, fli_idle_chunk_of(slab))->warm |= fli_idle_bit_of(slab);
    slabs->warm_count++;
}

/* Takes the warm slab that is wanted, or any; 0 if there is none. */
static uint32_t take_warm(struct fli_slabs *slabs, uint32_t wanted)
{
    if (slabs->warm_count == 0)
        return 0;
    bool has = is_committed(slabs, wanted) && fli_idle_is_warm(slabs, wanted);
    uint32_t slab = has ? wanted : slabs->warm;
    fli_slab_list_remove(slabs, &slabs->warm, slab);
    fli_idle_chunk(slabs, fli_idle_chunk_of(slab))->warm &= ~fli_idle_bit_of(slab);
    slabs->warm_count--;
    return slab;
}

/* What is known of the cold slabs of a chunk's kind. */
static struct fli_cold *cold_of(struct fli_slabs *slabs, uint32_t chunk)
{
    return &slabs->cold[fli_idle_chunk(slabs, chunk)->kind];
}

static bool is_of(const struct fli_slabs *slabs, uint32_t chunk, enum fli_kind kind)
{
    return fli_idle_chunk(slabs, chunk)->kind == kind;
}

/* The first chunk of the kind with cold slabs. There is one. */
static uint32_t find_cold(struct fli_slabs *slabs, enum fli_kind kind)
{
    uint32_t *chunk = &slabs->cold[kind].lowest;
    while (fli_idle_chunk(slabs, *chunk)->cold == 0 || !is_of(slabs, *chunk, kind))
        ++*chunk;
    return *chunk;
}

/* Makes all slabs of a chunk warm if all are cold and one huge page can serve them. Returns whether it did. */
static bool warm_up_chunk(struct fli_slabs *slabs, uint32_t chunk)
{
    bool huge = fli_huge_may_be(slabs, chunk) && fli_idle_chunk(slabs, chunk)->cold == ALL_SLABS &&
                fli_idle_chunk(slabs, chunk)->kept == 0;
    if (!huge || !fli_limit_take(slabs->limit, FLI_CHUNK_BYTES))
        return false;
    fli_huge_give(slabs, chunk);
    cold_of(slabs, chunk)->skipped -= (uint32_t)__builtin_popcount(fli_idle_chunk(slabs, chunk)->skipped);
    cold_of(slabs, chunk)->count -= FLI_CHUNK_SLABS;
    fli_idle_chunk(slabs, chunk)->cold = fli_idle_chunk(slabs, chunk)->skipped = 0;
    for (uint32_t slab = (chunk + 1) * FLI_CHUNK_SLABS; slab > chunk * FLI_CHUNK_SLABS; slab--)
        keep_warm(slabs, slab);
    return true;
}

/* The lowest slab of a chunk that begins a row of so many cold ones; 0 if there is none. */
static uint32_t find_row_in(const struct fli_slabs *slabs, uint32_t chunk, uint32_t row)
{
    uint32_t starts = fli_idle_chunk(slabs, chunk)->cold;
    for (uint32_t n = 1; n < row && starts != 0; n++)
        starts &= starts >> 1;
    return starts != 0 ? chunk * FLI_CHUNK_SLABS + (uint32_t)__builtin_ctz(starts) + 1 : 0;
}

/* The lowest cold slab of a kind. There is one. */
static uint32_t find_lowest(struct fli_slabs *slabs, enum fli_kind kind)
{
    return find_row_in(slabs, find_cold(slabs, kind), 1);
}

static uint32_t find_row(struct fli_slabs *slabs, enum fli_kind kind, uint32_t row)
{
    uint32_t first = find_cold(slabs, kind), chunks = fli_idle_chunk_of(slabs->committed) + 1 - first, slab = 0;
    for (uint32_t i = 0; i < CHUNKS_LOOKED_AT && i < chunks && slab == 0; i++)
        slab = is_of(slabs, first + i, kind) ? find_row_in(slabs, first + i, row) : 0;
    return slab;
}

/* Whether so many more slabs of a kind may be skipped. */
static bool may_skip(const struct fli_slabs *slabs, enum fli_kind kind, uint32_t count)
{
    size_t most = SKIPPED_FEW + slabs->committed / SKIPPED_SMALL_PART;
    return slabs->cold[kind].skipped + count <= fli_min(most, slabs->committed / SKIPPED_PART);
}

/* The cold slab of a kind to take; 0 if the first should be taken that was neither in use nor skipped. Those that were
 * in use come before it, and those that were skipped wait for who wants them. */
static uint32_t choose_cold(struct fli_slabs *slabs, enum fli_kind kind, uint32_t wanted, uint32_t row)
{
    const struct fli_cold *cold = &slabs->cold[kind];
    if (cold->count == 0)
        return 0;
    if (is_committed(slabs, wanted) && fli_idle_is_cold(slabs, wanted) &&
        is_of(slabs, fli_idle_chunk_of(wanted), kind))
        return wanted;
    bool may_grow = cold->count == cold->skipped && may_skip(slabs, kind, 0);
    if (may_grow && wanted == slabs->committed + 1)
        return 0;
    uint32_t slab = find_row(slabs, kind, row);
    return slab != 0 || may_grow ? slab : find_lowest(slabs, kind);
}

/* Takes a cold slab, whose bytes have been taken from the limit. */
static uint32_t take_cold(struct fli_slabs *slabs, uint32_t slab)
{
    uint32_t chunk = fli_idle_chunk_of(slab), bit = fli_idle_bit_of(slab);
    struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
    bool skipped = (of->skipped & bit) != 0;
    cold_of(slabs, chunk)->kept -= (of->kept & bit) != 0;
    cold_of(slabs, chunk)->skipped -= skipped;
    slabs->reused_bytes += skipped ? 0 : FLI_SLAB_BYTES;
    of->kept &= ~bit;
    of->skipped &= ~bit;
    of->cold &= ~bit;
    cold_of(slabs, chunk)->count--;
    if (of->cold == 0)
        fli_huge_give(slabs, chunk);
    return slab;
}

/* Counts the first slab that was never in use, which has memory. If it is the first of its chunk, that becomes one of
 * the kind. */
static uint32_t add_one(struct fli_slabs *slabs, enum fli_kind kind)
{
    if (slabs->committed % FLI_CHUNK_SLABS == 0)
        fli_huge_open(slabs, fli_idle_chunk_of(slabs->committed + 1), kind);
    return ++slabs->committed;
}

/* Skips the first slab that was never in use, which has memory. */
static void skip_one(struct fli_slabs *slabs, enum fli_kind kind)
{
    uint32_t slab = add_one(slabs, kind), chunk = fli_idle_chunk_of(slab);
    struct fli_cold *cold = cold_of(slabs, chunk);
    cold->count++;
    cold->skipped++;
    cold->lowest = chunk < cold->lowest ? chunk : cold->lowest;
    fli_idle_chunk(slabs, chunk)->cold |= fli_idle_bit_of(slab);
    fli_idle_chunk(slabs, chunk)->skipped |= fli_idle_bit_of(slab);
}

/* Whether the first slab that was never in use lies in a range. The last chunk of a heap may end within. */
static bool lies_in_range(const struct fli_slabs *slabs)
{
    return fli_range_of_slab(&slabs->ranges, slabs->committed + 1) != NULL;
}

/* Skips it if it may be skipped, its memory is committed or can be, and it lies in a range. */
static bool try_skip(struct fli_slabs *slabs, enum fli_kind kind)
{
    if (!may_skip(slabs, kind, 1) || !lies_in_range(slabs) || fli_slab_commit(slabs) != 0)
        return false;
    skip_one(slabs, kind);
    return true;
}

/* Commits the memory of the first slab that was never in use. If that lies in a chunk of another kind, skips the rest of
 * the chunk before. Returns false if the OS refuses memory. */
static bool reach(struct fli_slabs *slabs, enum fli_kind kind)
{
    while (slabs->committed % FLI_CHUNK_SLABS != 0 && !is_of(slabs, fli_idle_chunk_of(slabs->committed), kind) &&
           lies_in_range(slabs))
        skip_one(slabs, kind);
    return fli_slab_commit(slabs) == 0;
}

/* Takes the first slab that was never in use, which has memory, and skips those behind it of the same row. */
static uint32_t take_new(struct fli_slabs *slabs, enum fli_kind kind, uint32_t row)
{
    uint32_t slab = add_one(slabs, kind);
    while (slabs->committed + 1 - slab < row && try_skip(slabs, kind))
        ;
    return slab;
}

/* The lowest cold slab of any kind; 0 if there is none. */
static uint32_t find_any(struct fli_slabs *slabs)
{
    for (unsigned kind = 0; kind < FLI_KINDS; kind++)
        if (slabs->cold[kind].count > 0)
            return find_lowest(slabs, (enum fli_kind)kind);
    return 0;
}

/* Takes a slab that has no memory: a cold one, or the first that was never in use. Returns 0 if that is refused. */
static uint32_t warm_up(struct fli_slabs *slabs, uint32_t wanted, uint32_t row)
{
    enum fli_kind kind = fli_huge_kind(slabs, wanted == 0);
    uint32_t cold = choose_cold(slabs, kind, wanted, row);
    if (cold == 0 && !reach(slabs, kind)) {
        cold = find_any(slabs);
        if (cold == 0)
            return 0;
    }
    if (cold != 0 && !restore_chunk(slabs, fli_idle_chunk_of(cold)))
        return 0;
    if (cold != 0 && warm_up_chunk(slabs, fli_idle_chunk_of(cold))) {
        slabs->reused_bytes += FLI_SLAB_BYTES;
        return take_warm(slabs, cold);
    }
    if (!fli_limit_take(slabs->limit, FLI_SLAB_BYTES))
        return 0;
    return cold != 0 ? take_cold(slabs, cold) : take_new(slabs, kind, row);
}

uint32_t fli_idle_obtain(struct fli_slabs *slabs, uint32_t wanted, uint32_t row)
{
    uint32_t slab = take_warm(slabs, wanted);
    if (slab == 0)
        return warm_up(slabs, wanted, row);
    slabs->reused_bytes += FLI_SLAB_BYTES;
    return slab;
}

/* ---- Making slabs idle. */

/* Takes the class of a retired slab away. */
static void lose_class(struct fli_slabs *slabs, uint32_t slab)
{
    /* Relaxed: no thread holds a block of the slab, so none needs its class. */
    fli_store_relaxed(fli_slab_class_at(slabs, slab), 0);
    fli_count(&slabs->retired, (uint32_t)-1);
    slabs->lone_count -= fli_slab_at(slabs, slab)->is_lone;
    fli_slab_at(slabs, slab)->is_lone = false;
}

/* Makes retired slabs from the list warm while fewer than `most` are warm. If more were warm already, retires those
 * beyond `most` again. The slabs left on the list are retired. */
static void make_warm(struct fli_slabs *slabs, uint32_t *retired, size_t most)
{
    fli_lock(&slabs->lock);
    while (*retired != 0 && slabs->warm_count < most) {
        uint32_t slab = fli_slab_list_take(slabs, retired);
        lose_class(slabs, slab);
        keep_warm(slabs, slab);
    }
    while (slabs->warm_count > most) {
        fli_slab_list_add(slabs, retired, take_warm(slabs, 0));
        fli_count(&slabs->retired, 1);
    }
    fli_unlock(&slabs->lock);
}

/* Chooses the page size of a chunk of which slabs have become cold. */
static void settle_chunk(struct fli_slabs *slabs, uint32_t chunk)
{
    if (fli_idle_chunk(slabs, chunk)->cold != ALL_SLABS || is_of(slabs, chunk, FLI_SPARSE))
        fli_huge_take(slabs, chunk);
    else if (fli_idle_is_whole(slabs, chunk))
        /* Returns the chunk once more as a whole: this frees its page table, whose place a huge page can take. */
        fli_os_decommit(fli_idle_chunk_start(slabs, chunk), FLI_CHUNK_BYTES);
}

/* Makes `count` retired slabs of one chunk cold, from `first` up. They are `kept` if the OS did not take their
 * memory. */
static void keep_cold(struct fli_slabs *slabs, uint32_t first, uint32_t count, bool kept)
{
    uint32_t chunk = fli_idle_chunk_of(first);
    fli_lock(&slabs->lock);
    struct fli_cold *cold = cold_of(slabs, chunk);
    for (uint32_t slab = first; slab < first + count; slab++) {
        lose_class(slabs, slab);
        fli_idle_chunk(slabs, chunk)->cold |= fli_idle_bit_of(slab);
        fli_idle_chunk(slabs, chunk)->kept |= kept ? fli_idle_bit_of(slab) : 0;
    }
    cold->count += count;
    cold->kept += kept ? count : 0;
    cold->lowest = chunk < cold->lowest ? chunk : cold->lowest;
    if (count < FLI_CHUNK_SLABS || is_of(slabs, chunk, FLI_SPARSE))
        settle_chunk(slabs, chunk);
    withdraw_chunk(slabs, chunk);
    fli_unlock(&slabs->lock);
    fli_limit_give(slabs->limit, (size_t)count << FLI_SLAB_SHIFT);
}

/* Returns the memory of `count` retired slabs of one chunk to the OS, from `first` up, and makes them cold. Returns the
 * bytes returned to the OS. */
static size_t make_run_cold(struct fli_slabs *slabs, uint32_t first, uint32_t count)
{
    size_t bytes = (size_t)count << FLI_SLAB_SHIFT, returned = 0;
    bool done = fli_os_decommit(fli_slab_start(slabs, first), bytes) == 0;
    if (done || count == 1) {
        keep_cold(slabs, first, count, !done);
        return done ? bytes : 0;
    }
    /* One locked page makes the OS refuse the whole run. */
    for (uint32_t i = 0; i < count; i++)
        returned += make_run_cold(slabs, first + i, 1);
    return returned;
}

/* Takes a run of slabs side by side, of one chunk, off a list that has the highest number first. Returns the lowest of
 * them, and in `*count` how many they are. */
static uint32_t take_run(struct fli_slabs *slabs, uint32_t *list, uint32_t *count)
{
    uint32_t lowest = fli_slab_list_take(slabs, list), chunk = fli_idle_chunk_of(lowest);
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, lowest);
    for (*count = 1; *list != 0 && *list == lowest - 1 && *list >= range->first && fli_idle_chunk_of(*list) == chunk;
         ++*count)
        lowest = fli_slab_list_take(slabs, list);
    return lowest;
}

size_t fli_idle_make(struct fli_slabs *slabs, uint32_t retired, size_t warm_most)
{
    size_t returned = 0;
    make_warm(slabs, &retired, warm_most);
    fli_slab_list_sort(slabs, &retired);
    while (retired != 0) {
        uint32_t count, lowest = take_run(slabs, &retired, &count);
        returned += make_run_cold(slabs, lowest, count);
    }
    return returned;
}

/* Tries again to return the memory of the kept slabs of a chunk. Returns the bytes returned to the OS. Under the
 * lock. */
static size_t return_kept_of(struct fli_slabs *slabs, uint32_t chunk)
{
    size_t returned = 0;
    for (uint32_t left = fli_idle_chunk(slabs, chunk)->kept; left != 0; left &= left - 1) {
        uint32_t slab = chunk * FLI_CHUNK_SLABS + (uint32_t)__builtin_ctz(left) + 1;
        if (fli_os_decommit(fli_slab_start(slabs, slab), FLI_SLAB_BYTES) != 0)
            continue;
        fli_idle_chunk(slabs, chunk)->kept &= ~fli_idle_bit_of(slab);
        cold_of(slabs, chunk)->kept--;
        returned += FLI_SLAB_BYTES;
    }
    return returned;
}

size_t fli_idle_return_kept(struct fli_slabs *slabs)
{
    size_t returned = 0;
    fli_lock(&slabs->lock);
    for (uint32_t chunk = 0; fli_idle_kept_count(slabs) > 0 && chunk * FLI_CHUNK_SLABS < slabs->committed; chunk++)
        returned += return_kept_of(slabs, chunk);
    fli_unlock(&slabs->lock);
    return returned;
}

size_t fli_idle_warm_bytes(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    size_t bytes = (size_t)slabs->warm_count << FLI_SLAB_SHIFT;
    fli_unlock(&slabs->lock);
    return bytes;
}
