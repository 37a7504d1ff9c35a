/* SPDX-License-Identifier: MIT
 *
 * Commits slabs, gives them a class and takes it away. One lock per heap serialises this. A thread takes it once for
 * all blocks of a slab.
 */
#include "memory/slab.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/sanitizer.h"
#include "memory/huge.h"
#include "memory/idle.h"
#include "memory/state.h"

#include <errno.h>
#include <string.h>

/* From one block to the next. On a watched heap, at least 16 bytes lie between them, and blocks are aligned as ever. */
static size_t stride_of(const struct fli_slabs *slabs, size_t bytes)
{
    size_t alignment = bytes & -bytes;
    return bytes + (slabs->watched ? fli_min(alignment, FL_ALIGNMENT_MAX) : 0);
}

static void describe_class(struct fli_slab_class *class, size_t bytes)
{
    class->block_bytes = bytes;
    class->blocks = (uint32_t)fli_min(FLI_SLAB_BYTES / bytes, FLI_SLAB_BLOCKS_MAX);
    class->reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
}

int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, size_t most, struct fli_limit *limit,
                   bool defers)
{
    slabs->limit = limit;
    slabs->defers = defers;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        describe_class(&slabs->by_class[c], stride_of(slabs, fli_class_bytes(c)));
    fli_mutex_init(&slabs->lock, FLI_RANK_MEMORY);
    return fli_ranges_init(
        &slabs->ranges, base, span, most,
        (struct fli_range_kind){.defers = defers, .hardened = slabs->hardened, .ready_parts = slabs->ready_parts});
}

void fli_slabs_close(struct fli_slabs *slabs)
{
    fli_ranges_close(&slabs->ranges);
    fli_mutex_close(&slabs->lock);
}

size_t fli_slabs_reserved(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    size_t bytes = slabs->ranges.span;
    fli_unlock(&slabs->lock);
    return bytes;
}

int fli_slab_commit(struct fli_slabs *slabs)
{
    fli_assert_held(&slabs->lock);
    const struct fli_region *last = fli_ranges_last(&slabs->ranges);
    size_t chunks = fli_max(1, slabs->committed / 8 / FLI_CHUNK_SLABS); /* whole ones: huge.h */
    size_t before = last->committed;
    int failed = fli_ranges_commit(&slabs->ranges, slabs->committed + 1, chunks * FLI_CHUNK_SLABS);
    if (failed == 0 && slabs->small_pages)
        fli_huge_refuse(slabs, last == fli_ranges_last(&slabs->ranges) ? before : 0);
    return failed;
}

static uint64_t bit_mask(uint32_t block)
{
    return (uint64_t)1 << (block % 64);
}

/* ---- Beginning a slab. */

/* Sets the bits of all blocks of a slab of the class. */
static void free_all_locked(struct fli_slabs *slabs, uint32_t slab, unsigned blocks)
{
    FLI_ATOMIC(uint64_t) *bits = fli_slab_free_bits(slabs, slab);
    for (unsigned w = 0; w < blocks / 64; w++)
        fli_store_own(&bits[w], UINT64_MAX);
    if (blocks % 64 != 0)
        fli_store_own(&bits[blocks / 64], bit_mask(blocks) - 1);
}

/* Gives a slab in hand the class, with all its blocks free. */
static void enter_class_locked(struct fli_slabs *slabs, unsigned class_index, uint32_t slab)
{
    fli_assert_held(&slabs->lock);
    struct fli_slab_class *class = &slabs->by_class[class_index];
    struct fli_slab *record = fli_slab_at(slabs, slab);
    record->blocks = record->free = (uint16_t) class->blocks;
    record->class_index = (uint16_t)class_index;
    free_all_locked(slabs, slab, class->blocks);
    fli_count(&class->slabs, 1);
}

/* Begins a slab in hand, which has no class. */
static void begin_locked(struct fli_slabs *slabs, unsigned class_index, uint32_t slab)
{
    enter_class_locked(slabs, class_index, slab);
    FLI_ATOMIC(uint64_t) *used = &slabs->ever_used[class_index / 64];
    fli_store_own(used, fli_load_own(used) | bit_mask(class_index));
    if (FLI_UNLIKELY(slabs->hardened))
        fli_state_reset(slabs, slab, slabs->by_class[class_index].blocks);
    if (FLI_CHECKED || slabs->watched)
        fli_poison(fli_slab_start(slabs, slab), FLI_SLAB_BYTES);
    /* Relaxed: blocks of the slab reach other threads only through the pool or the host, and both order. */
    fli_store_relaxed(fli_slab_class_at(slabs, slab), (uint8_t)class_index);
}

uint32_t fli_slab_begin(struct fli_slabs *slabs, unsigned class_index, uint32_t wanted, uint32_t row)
{
    fli_lock(&slabs->lock);
    uint32_t slab = fli_idle_obtain(slabs, wanted, row);
    if (slab != 0) {
        begin_locked(slabs, class_index, slab);
        slabs->lone_count += fli_slab_at(slabs, slab)->is_lone = wanted == 0;
        fli_count(&slabs->begun, 1);
    }
    fli_unlock(&slabs->lock);
    return slab;
}

uint32_t fli_slab_committed(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    uint32_t committed = slabs->committed;
    fli_unlock(&slabs->lock);
    return committed;
}

/* ---- Leaving a class. */

/* Takes a slab, whose blocks are all free, out of its class. */
static void leave_class_locked(struct fli_slabs *slabs, uint32_t slab)
{
    fli_assert_held(&slabs->lock);
    struct fli_slab *record = fli_slab_at(slabs, slab);
    struct fli_slab_class *class = &slabs->by_class[record->class_index];
    fli_count(&class->slabs, (uint32_t)-1);
    for (unsigned w = 0; w < fli_slab_words(record->blocks); w++)
        fli_store_own(&fli_slab_free_bits(slabs, slab)[w], 0);
    record->free = 0;
    fli_store_own(&record->home, NULL);
    fli_count(&slabs->retired, 1);
}

bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab)
{
    FLI_ASSERT(fli_slab_at(slabs, slab)->free == fli_slab_at(slabs, slab)->blocks);
    fli_lock(&slabs->lock);
    bool may = fli_slab_at(slabs, slab)->marks == 0;
    if (FLI_LIKELY(may))
        leave_class_locked(slabs, slab);
    fli_unlock(&slabs->lock);
    return may;
}

void fli_slab_unretire(struct fli_slabs *slabs, uint32_t slab)
{
    fli_lock(&slabs->lock);
    enter_class_locked(slabs, fli_slab_at(slabs, slab)->class_index, slab);
    fli_count(&slabs->retired, (uint32_t)-1);
    fli_unlock(&slabs->lock);
}

bool fli_slab_begin_anew(struct fli_slabs *slabs, unsigned class_index, uint32_t slab)
{
    FLI_ASSERT(fli_slab_at(slabs, slab)->free == fli_slab_at(slabs, slab)->blocks && slabs->stale_bytes == 0);
    fli_lock(&slabs->lock);
    bool may = fli_slab_at(slabs, slab)->marks == 0;
    if (FLI_LIKELY(may)) {
        leave_class_locked(slabs, slab);
        fli_count(&slabs->retired, (uint32_t)-1);
        begin_locked(slabs, class_index, slab);
    }
    fli_unlock(&slabs->lock);
    return may;
}

/* ---- Metadata. */

/* A table of a range with a row of so many bytes for each slab. */
struct table {
    const struct fli_range *range;
    char *rows;
    size_t row;
};

/* Whether a page of a table tells only of cold slabs, and of such as were never in use. It can then be all zero. */
static bool tells_nothing_locked(struct fli_slabs *slabs, const struct table *table, const char *page, size_t bytes)
{
    fli_assert_held(&slabs->lock);
    const struct fli_range *range = table->range;
    size_t offset = (size_t)(page - table->rows), row = table->row;
    uint32_t first = range->first + (uint32_t)(offset / row);
    uint32_t end = range->first + (uint32_t)((offset + bytes - 1) / row) + 1;
    for (uint32_t slab = first; slab < end && slab <= slabs->committed; slab++)
        if (!fli_idle_is_cold(slabs, slab))
            return false;
    return true;
}

/* Returns pages of a table to the OS, of whose rows the first `used` have been in use. */
static size_t trim_table_locked(struct fli_slabs *slabs, const struct table *table, size_t used)
{
    fli_assert_held(&slabs->lock);
    size_t page = fli_os_page(), bytes = 0;
    char *at = (char *)fli_round_up((uintptr_t)table->rows, page), *end;
    char *upto = (char *)fli_round_up((uintptr_t)(table->rows + used * table->row), page);
    for (; at < upto; at = end + page) {
        for (end = at; end < upto && tells_nothing_locked(slabs, table, end, page); end += page)
            ;
        if (end > at && fli_os_decommit(at, (size_t)(end - at)) == 0)
            bytes += (size_t)(end - at);
    }
    return bytes;
}

size_t fli_slab_trim_metadata(struct fli_slabs *slabs)
{
    size_t bytes = 0;
    fli_lock(&slabs->lock);
    for (uint32_t i = 0; i < fli_load_own(&slabs->ranges.count); i++) {
        const struct fli_range *range = &slabs->ranges.at[i];
        uint32_t used = slabs->committed - fli_min(slabs->committed, range->first - 1);
        used = (uint32_t)fli_min(used, range->slabs);
        bytes += trim_table_locked(slabs, &(struct table){range, (char *)range->rows, sizeof *range->rows}, used);
        if (slabs->hardened)
            bytes += trim_table_locked(
                slabs, &(struct table){range, (char *)range->states, FLI_SLAB_BLOCKS_MAX * sizeof *range->states},
                used);
    }
    fli_unlock(&slabs->lock);
    return bytes;
}
