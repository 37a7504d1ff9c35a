/* SPDX-License-Identifier: MIT
 *
 * Commits slabs, gives them a class and takes it away. One lock per heap serialises this. A thread takes it once for
 * all blocks of a slab.
 */
#include "memory/slab.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/sanitizer.h"
#include "memory/idle.h"

#include <errno.h>
#include <string.h>

enum { COMMIT_SLABS = 64 }; /* slabs committed at a time, at least */

static size_t slab_count(size_t span)
{
    return span >> FLI_SLAB_SHIFT;
}

/* ---- The parts of the mapping. */

/* Bytes that a part takes for so many slabs. Records and bits have room for a slab 0, which does not exist. */
static size_t part_bytes(unsigned part, size_t slabs)
{
    const size_t row = FLI_SLAB_BIT_WORDS * sizeof(uint64_t);
    switch (part) {
    case FLI_SLAB_MEMORY:
        return slabs << FLI_SLAB_SHIFT;
    case FLI_SLAB_CLASSES:
        return slabs;
    case FLI_SLAB_RECORDS:
        return (slabs + 1) * sizeof(struct fli_slab);
    case FLI_SLAB_MARKS:
        return (slabs + 1) * 2 * row;
    case FLI_SLAB_CHUNKS:
        return (slabs / FLI_CHUNK_SLABS + 1) * sizeof(struct fli_chunk);
    default:
        return (slabs + 1) * row;
    }
}

size_t fli_slabs_metadata_bytes(size_t span)
{
    size_t bytes = 0;
    for (unsigned part = FLI_SLAB_MEMORY + 1; part < FLI_SLAB_PARTS; part++)
        bytes += fli_round_up(part_bytes(part, slab_count(span)), fli_os_page());
    return bytes;
}

static void lay_out(struct fli_slabs *slabs, char *at, size_t count)
{
    for (unsigned part = 0; part < FLI_SLAB_PARTS; part++) {
        size_t reserved = fli_round_up(part_bytes(part, count), fli_os_page());
        slabs->parts[part] = (struct fli_region){.base = at, .reserved = reserved};
        at += reserved;
    }
    slabs->classes = (void *)slabs->parts[FLI_SLAB_CLASSES].base;
    slabs->records = (void *)slabs->parts[FLI_SLAB_RECORDS].base;
    slabs->free_bits = (void *)slabs->parts[FLI_SLAB_FREE_BITS].base;
    slabs->marks.bits = (void *)slabs->parts[FLI_SLAB_MARKS].base;
    slabs->live_bits = (void *)slabs->parts[FLI_SLAB_LIVE_BITS].base;
    slabs->chunks = (void *)slabs->parts[FLI_SLAB_CHUNKS].base;
}

static void describe_class(struct fli_slab_class *class, size_t bytes)
{
    class->block_bytes = bytes;
    class->blocks = (uint32_t)fli_min(FLI_SLAB_BYTES / bytes, FLI_SLAB_BLOCKS_MAX);
    class->reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
}

int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit, bool defers)
{
    size_t count = slab_count(span);
    lay_out(slabs, base, count);
    slabs->base = base;
    slabs->span = span;
    slabs->limit = limit;
    slabs->defers = defers;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        describe_class(&slabs->by_class[c], fli_class_bytes(c));
    fli_mutex_init(&slabs->lock, FLI_RANK_MEMORY);
    /* Every class byte is readable from the start, so that any address in the range can be looked up. */
    return fli_region_reach(&slabs->parts[FLI_SLAB_CLASSES], count, 0);
}

void fli_slabs_close(struct fli_slabs *slabs)
{
    for (unsigned part = 0; part < FLI_SLAB_PARTS; part++)
        fli_region_close(&slabs->parts[part]);
    fli_mutex_close(&slabs->lock);
}

/* Whether a part is needed in this build and heap. */
static bool is_wanted(const struct fli_slabs *slabs, unsigned part)
{
    return (part != FLI_SLAB_MARKS || slabs->defers) && (part != FLI_SLAB_LIVE_BITS || FLI_CHECKED);
}

/* Makes a part usable for `count` slabs, and for some more if it has to grow. Returns whether it is. */
static bool reach(struct fli_slabs *slabs, unsigned part, size_t count)
{
    size_t ahead = fli_max(COMMIT_SLABS, slabs->committed / 8);
    return !is_wanted(slabs, part) ||
           fli_region_reach(&slabs->parts[part], part_bytes(part, count), part_bytes(part, ahead)) == 0;
}

int fli_slab_commit(struct fli_slabs *slabs)
{
    fli_assert_held(&slabs->lock);
    size_t count = (size_t)slabs->committed + 1, before = slabs->parts[FLI_SLAB_MEMORY].committed;
    if (count > slab_count(slabs->span))
        return -ENOMEM;
    for (unsigned part = FLI_SLAB_RECORDS; part < FLI_SLAB_PARTS; part++)
        if (!reach(slabs, part, count))
            return -ENOMEM;
    if (!reach(slabs, FLI_SLAB_MEMORY, count))
        return -ENOMEM;
    fli_idle_advise_new(slabs, before);
    return 0;
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

uint32_t fli_slab_begin(struct fli_slabs *slabs, unsigned class_index)
{
    fli_lock(&slabs->lock);
    uint32_t slab = fli_idle_obtain(slabs);
    if (slab != 0) {
        enter_class_locked(slabs, class_index, slab);
        FLI_ATOMIC(uint64_t) *used = &slabs->ever_used[class_index / 64];
        fli_store_own(used, fli_load_own(used) | bit_mask(class_index));
        if (FLI_CHECKED)
            fli_poison(fli_slab_start(slabs, slab), FLI_SLAB_BYTES);
        /* Relaxed: blocks of the slab reach other threads only through the pool or the host, and both order. */
        fli_store_relaxed(&slabs->classes[slab - 1], (uint8_t)class_index);
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

/* Whether no slab from `first` up to `end` has a class. Their bits are then zero, and no thread writes to them. */
static bool are_idle_locked(const struct fli_slabs *slabs, uint32_t first, uint32_t end)
{
    for (uint32_t slab = first == 0 ? 1 : first; slab < end; slab++)
        if (fli_load_own(&slabs->classes[slab - 1]) != 0)
            return false;
    return true;
}

size_t fli_slab_trim_metadata(struct fli_slabs *slabs)
{
    const size_t page = fli_os_page();
    const uint32_t slabs_per_page = (uint32_t)(page / (FLI_SLAB_BIT_WORDS * sizeof(uint64_t)));
    size_t bytes = 0;
    fli_lock(&slabs->lock);
    for (uint32_t first = 0, end; first <= slabs->committed; first = end + slabs_per_page) {
        for (end = first; end <= slabs->committed; end += slabs_per_page)
            if (!are_idle_locked(slabs, end, (uint32_t)fli_min(end + slabs_per_page, slabs->committed + 1)))
                break;
        size_t run = (end - first) / slabs_per_page * page;
        if (run > 0 && fli_os_decommit(fli_slab_free_bits(slabs, first), run) == 0)
            bytes += run;
    }
    fli_unlock(&slabs->lock);
    return bytes;
}
