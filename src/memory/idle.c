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

/* The first chunk with cold slabs. There is one. */
static uint32_t find_cold(struct fli_slabs *slabs)
{
    while (fli_idle_chunk(slabs, slabs->lowest_cold)->cold == 0)
        slabs->lowest_cold++;
    return slabs->lowest_cold;
}

/* Makes all slabs of a chunk warm if all are cold and one huge page can serve them. Returns whether it did. */
static bool warm_up_chunk(struct fli_slabs *slabs, uint32_t chunk)
{
    bool huge = fli_huge_may_be(slabs, chunk) && fli_idle_chunk(slabs, chunk)->cold == ALL_SLABS &&
                fli_idle_chunk(slabs, chunk)->kept == 0;
    if (!huge || !fli_limit_take(slabs->limit, FLI_CHUNK_BYTES))
        return false;
    fli_huge_give(slabs, chunk);
    slabs->skipped_count -= (uint32_t)__builtin_popcount(fli_idle_chunk(slabs, chunk)->skipped);
    fli_idle_chunk(slabs, chunk)->cold = fli_idle_chunk(slabs, chunk)->skipped = 0;
    slabs->cold_count -= FLI_CHUNK_SLABS;
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

/* The lowest cold slab of all. There is one. */
static uint32_t find_lowest(struct fli_slabs *slabs)
{
    return find_row_in(slabs, find_cold(slabs), 1);
}

static uint32_t find_row(struct fli_slabs *slabs, uint32_t row)
{
    uint32_t first = find_cold(slabs), chunks = fli_idle_chunk_of(slabs->committed) + 1 - first, slab = 0;
    for (uint32_t i = 0; i < CHUNKS_LOOKED_AT && i < chunks && slab == 0; i++)
        slab = find_row_in(slabs, first + i, row);
    return slab;
}

/* Whether so many more slabs may be skipped. */
static bool may_skip(const struct fli_slabs *slabs, uint32_t count)
{
    size_t most = SKIPPED_FEW + slabs->committed / SKIPPED_SMALL_PART;
    return slabs->skipped_count + count <= fli_min(most, slabs->committed / SKIPPED_PART);
}

/* The cold slab to take; 0 if the first should be taken that was neither in use nor skipped. Those that were in use
 * come before it, and those that were skipped wait for a home that wants them. */
static uint32_t choose_cold(struct fli_slabs *slabs, uint32_t wanted, uint32_t row)
{
    if (slabs->cold_count == 0)
        return 0;
    if (is_committed(slabs, wanted) && fli_idle_is_cold(slabs, wanted))
        return wanted;
    bool may_grow = slabs->cold_count == slabs->skipped_count && may_skip(slabs, 0);
    if (may_grow && wanted == slabs->committed + 1)
        return 0;
    uint32_t slab = find_row(slabs, row);
    return slab != 0 || may_grow ? slab : find_lowest(slabs);
}

/* Takes a cold slab, whose bytes have been taken from the limit. */
static uint32_t take_cold(struct fli_slabs *slabs, uint32_t slab)
{
    uint32_t chunk = fli_idle_chunk_of(slab), bit = fli_idle_bit_of(slab);
    struct fli_chunk *of = fli_idle_chunk(slabs, chunk);
    bool skipped = (of->skipped & bit) != 0;
    slabs->kept_count -= (of->kept & bit) != 0;
    slabs->skipped_count -= skipped;
    slabs->reused_bytes += skipped ? 0 : FLI_SLAB_BYTES;
    of->kept &= ~bit;
    of->skipped &= ~bit;
    of->cold &= ~bit;
    slabs->cold_count--;
    if (of->cold == 0)
        fli_huge_give(slabs, chunk);
    return slab;
}

/* Skips the first slab that was never in use, if its memory is committed or can be, and it lies in a range. */
static bool skip_one(struct fli_slabs *slabs)
{
    uint32_t slab = slabs->committed + 1, chunk = fli_idle_chunk_of(slab);
    if (!may_skip(slabs, 1) || fli_range_of_slab(&slabs->ranges, slab) == NULL || fli_slab_commit(slabs) != 0)
        return false;
    slabs->committed = slab;
    slabs->cold_count++;
    slabs->skipped_count++;
    fli_idle_chunk(slabs, chunk)->cold |= fli_idle_bit_of(slab);
    fli_idle_chunk(slabs, chunk)->skipped |= fli_idle_bit_of(slab);
    slabs->lowest_cold = chunk < slabs->lowest_cold ? chunk : slabs->lowest_cold;
    return true;
}

/* Takes the first slab that was never in use, and skips those behind it of the same row. */
static uint32_t take_new(struct fli_slabs *slabs, uint32_t row)
{
    uint32_t slab = ++slabs->committed;
    while (slabs->committed + 1 - slab < row && skip_one(slabs))
        ;
    return slab;
}

/* Takes a slab that has no memory: a cold one, or the first that was never in use. Returns 0 if that is refused. */
static uint32_t warm_up(struct fli_slabs *slabs, uint32_t wanted, uint32_t row)
{
    uint32_t cold = choose_cold(slabs, wanted, row);
    if (cold == 0 && fli_slab_commit(slabs) != 0) {
        if (slabs->cold_count == 0)
            return 0;
        cold = find_lowest(slabs);
    }
    if (cold != 0 && !restore_chunk(slabs, fli_idle_chunk_of(cold)))
        return 0;
    if (cold != 0 && warm_up_chunk(slabs, fli_idle_chunk_of(cold))) {
        slabs->reused_bytes += FLI_SLAB_BYTES;
        return take_warm(slabs, cold);
    }
    if (!fli_limit_take(slabs->limit, FLI_SLAB_BYTES))
        return 0;
    return cold != 0 ? take_cold(slabs, cold) : take_new(slabs, row);
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
    if (fli_idle_chunk(slabs, chunk)->cold != ALL_SLABS || chunk < slabs->small_chunks)
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
    for (uint32_t slab = first; slab < first + count; slab++) {
        lose_class(slabs, slab);
        fli_idle_chunk(slabs, chunk)->cold |= fli_idle_bit_of(slab);
        fli_idle_chunk(slabs, chunk)->kept |= kept ? fli_idle_bit_of(slab) : 0;
    }
    slabs->cold_count += count;
    slabs->kept_count += kept ? count : 0;
    slabs->lowest_cold = chunk < slabs->lowest_cold ? chunk : slabs->lowest_cold;
    if (count < FLI_CHUNK_SLABS || chunk < slabs->small_chunks)
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
        slabs->kept_count--;
        returned += FLI_SLAB_BYTES;
    }
    return returned;
}

size_t fli_idle_return_kept(struct fli_slabs *slabs)
{
    size_t returned = 0;
    fli_lock(&slabs->lock);
    for (uint32_t chunk = 0; slabs->kept_count > 0 && chunk * FLI_CHUNK_SLABS < slabs->committed; chunk++)
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
