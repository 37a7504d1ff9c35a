/* SPDX-License-Identifier: MIT */
#include "memory/mark.h"
#include "base/check.h"
#include "memory/block.h"
#include "memory/stray.h"

static unsigned waiting_row(const struct fli_marks *marks)
{
    return marks->collecting ^ 1;
}

static uint64_t *row_of(const struct fli_slabs *slabs, uint32_t slab, unsigned row)
{
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    return range->marks + (2 * (size_t)(slab - range->first) + row) * FLI_SLAB_BIT_WORDS;
}

static uint64_t bit_of(uint32_t index)
{
    return (uint64_t)1 << index % 64;
}

static bool is_set_locked(const struct fli_slabs *slabs, uint32_t slab, uint32_t index)
{
    fli_assert_held(&slabs->lock);
    uint64_t both = row_of(slabs, slab, 0)[index / 64] | row_of(slabs, slab, 1)[index / 64];
    return (both & bit_of(index)) != 0;
}

bool fli_mark_is_set(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    if (!slabs->defers)
        return false;
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    fli_lock(&slabs->lock);
    bool is_set = is_set_locked(slabs, fli_slab_number(slabs, block), index);
    fli_unlock(&slabs->lock);
    return is_set;
}

/* Whether a pointer is a block of the class whose slab is at home. */
static bool is_block_at_home(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return fli_slab_class_of(slabs, block) == class_index && fli_block_is_start(slabs, class_index, block) &&
           /* Relaxed: a slab has a home while a thread holds a block of it. */
           fli_load_relaxed(&fli_slab_at(slabs, fli_slab_number(slabs, block))->home) != NULL;
}

static void set_locked(struct fli_slabs *slabs, uint32_t slab, uint32_t index)
{
    fli_assert_held(&slabs->lock);
    unsigned row = slabs->marks.collecting;
    row_of(slabs, slab, row)[index / 64] |= bit_of(index);
    slabs->marks.count[row]++;
    fli_slab_at(slabs, slab)->marks++;
}

bool fli_mark_set(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    if (!is_block_at_home(slabs, class_index, block)) {
        fli_stray_note(slabs, class_index, block, false);
        return false;
    }
    uint32_t slab = fli_slab_number(slabs, block), index = fli_slab_block_index(slabs, class_index, block);
    fli_lock(&slabs->lock);
    bool was_free = is_set_locked(slabs, slab, index) || fli_block_is_free(slabs, class_index, block);
    if (!was_free)
        set_locked(slabs, slab, index);
    fli_unlock(&slabs->lock);
    if (was_free)
        fli_stray_note(slabs, class_index, block, true);
    return !was_free;
}

size_t fli_mark_close(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    slabs->marks.collecting ^= 1;
    FLI_ASSERT(slabs->marks.count[slabs->marks.collecting] == 0);
    size_t waiting = slabs->marks.count[waiting_row(&slabs->marks)];
    fli_unlock(&slabs->lock);
    return waiting;
}

/* Moves the bits of a row into `bits`. Returns how many there are. */
static unsigned take_row(uint64_t *row, uint64_t *bits)
{
    unsigned count = 0;
    for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++) {
        bits[w] = row[w];
        count += (unsigned)__builtin_popcountll(row[w]);
        if (row[w] != 0)
            row[w] = 0;
    }
    return count;
}

unsigned fli_mark_take(struct fli_slabs *slabs, uint32_t slab, uint64_t *bits)
{
    fli_lock(&slabs->lock);
    unsigned row = waiting_row(&slabs->marks), count = take_row(row_of(slabs, slab, row), bits);
    slabs->marks.count[row] -= count;
    fli_slab_at(slabs, slab)->marks = (uint16_t)(fli_slab_at(slabs, slab)->marks - count);
    fli_unlock(&slabs->lock);
    return count;
}

size_t fli_mark_count_waiting(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    size_t count = slabs->marks.count[waiting_row(&slabs->marks)];
    fli_unlock(&slabs->lock);
    return count;
}

void fli_mark_count_stw(const struct fli_slabs *slabs, size_t *counts)
{
    bool any = slabs->marks.count[0] + slabs->marks.count[1] > 0;
    for (uint32_t slab = 1; any && slab <= slabs->committed; slab++)
        counts[fli_slab_at(slabs, slab)->class_index] += fli_slab_at(slabs, slab)->marks;
}

void fli_mark_copy_stw(const struct fli_slabs *slabs, uint32_t slab, uint64_t *bits)
{
    if (fli_slab_at(slabs, slab)->marks == 0)
        return;
    for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++)
        bits[w] |= row_of(slabs, slab, 0)[w] | row_of(slabs, slab, 1)[w];
}
