/* SPDX-License-Identifier: MIT
 *
 * Committing slabs, giving them a class and taking it from them. One lock per heap serialises this; it is taken once
 * for a slab's worth of blocks.
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

/* Bytes of the records of so many slabs, and of their bits: there is room for a slab 0. */
static size_t record_bytes(size_t slabs)
{
    return (slabs + 1) * sizeof(struct fli_slab);
}

static size_t bit_bytes(size_t slabs)
{
    return (slabs + 1) * FLI_SLAB_BIT_WORDS * sizeof(uint64_t);
}

static size_t chunk_bytes(size_t slabs)
{
    return (slabs / FLI_CHUNK_SLABS + 1) * sizeof(struct fli_chunk);
}

size_t fli_slabs_metadata_bytes(size_t span)
{
    size_t count = slab_count(span);
    return fli_round_up(count, FLI_PAGE) + fli_round_up(record_bytes(count), FLI_PAGE) +
           4 * fli_round_up(bit_bytes(count), FLI_PAGE) + fli_round_up(chunk_bytes(count), FLI_PAGE);
}

static char *lay_out(struct fli_region *region, char *at, size_t bytes)
{
    *region = (struct fli_region){.base = at, .reserved = fli_round_up(bytes, FLI_PAGE)};
    return at + region->reserved;
}

int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit, bool defers)
{
    size_t count = slab_count(span);
    char *at = lay_out(&slabs->memory, base, span);
    at = lay_out(&slabs->class_bytes, at, count);
    at = lay_out(&slabs->slab_records, at, record_bytes(count));
    at = lay_out(&slabs->free_words, at, bit_bytes(count));
    for (unsigned batch = 0; batch < 2; batch++) {
        at = lay_out(&slabs->deferred_words[batch], at, bit_bytes(count));
        slabs->deferred_bits[batch] = (void *)slabs->deferred_words[batch].base;
    }
    at = lay_out(&slabs->live_words, at, bit_bytes(count));
    lay_out(&slabs->chunk_words, at, chunk_bytes(count));

    slabs->base = base;
    slabs->span = span;
    slabs->classes = (void *)slabs->class_bytes.base;
    slabs->records = (void *)slabs->slab_records.base;
    slabs->free_bits = (void *)slabs->free_words.base;
    slabs->live_bits = (void *)slabs->live_words.base;
    slabs->chunks = (void *)slabs->chunk_words.base;
    slabs->limit = limit;
    slabs->defers = defers;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        slabs->by_class[c].block_bytes = bytes;
        slabs->by_class[c].blocks = (uint32_t)fli_min(FLI_SLAB_BYTES / bytes, FLI_SLAB_BLOCKS_MAX);
        slabs->by_class[c].reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
    }
    fli_mutex_init(&slabs->lock, FLI_RANK_MEMORY);
    /* Every class byte is readable from the start, so that any address in the range can be looked up. */
    return fli_region_reach(&slabs->class_bytes, count, 0);
}

void fli_slabs_close(struct fli_slabs *slabs)
{
    fli_region_close(&slabs->memory);
    fli_region_close(&slabs->class_bytes);
    fli_region_close(&slabs->slab_records);
    fli_region_close(&slabs->free_words);
    fli_region_close(&slabs->deferred_words[0]);
    fli_region_close(&slabs->deferred_words[1]);
    fli_region_close(&slabs->live_words);
    fli_region_close(&slabs->chunk_words);
    fli_mutex_close(&slabs->lock);
}

static int commit_bits_locked(struct fli_region *words, size_t count, size_t ahead, bool wanted)
{
    return wanted ? fli_region_reach(words, bit_bytes(count), bit_bytes(ahead)) : 0;
}

int fli_slab_commit(struct fli_slabs *slabs)
{
    size_t count = (size_t)slabs->committed + 1;
    size_t ahead = fli_max(COMMIT_SLABS, slabs->committed / 8);
    if (count > slab_count(slabs->span) ||
        fli_region_reach(&slabs->slab_records, record_bytes(count), record_bytes(ahead)) != 0 ||
        commit_bits_locked(&slabs->free_words, count, ahead, true) != 0 ||
        commit_bits_locked(&slabs->deferred_words[0], count, ahead, slabs->defers) != 0 ||
        commit_bits_locked(&slabs->deferred_words[1], count, ahead, slabs->defers) != 0 ||
        commit_bits_locked(&slabs->live_words, count, ahead, FLI_CHECKED) != 0 ||
        fli_region_reach(&slabs->chunk_words, chunk_bytes(count), chunk_bytes(ahead)) != 0)
        return -ENOMEM;
    size_t before = slabs->memory.committed;
    if (fli_region_reach(&slabs->memory, count << FLI_SLAB_SHIFT, ahead << FLI_SLAB_SHIFT) != 0)
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
    /* Relaxed: the slab is in hand. */
    for (unsigned w = 0; w < blocks / 64; w++)
        fli_store_relaxed(&bits[w], UINT64_MAX);
    if (blocks % 64 != 0)
        fli_store_relaxed(&bits[blocks / 64], bit_mask(blocks) - 1);
}

/* Enters a slab in hand into the class, all its blocks free. */
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
        fli_store_relaxed(used, fli_load_relaxed(used) | bit_mask(class_index)); /* relaxed: a hint where to look */
        if (FLI_CHECKED)
            fli_poison(fli_slab_start(slabs, slab), FLI_SLAB_BYTES);
        /* Relaxed: blocks of the slab reach other threads through the pool or through the host, both of which
         * order. */
        fli_store_relaxed(&slabs->classes[slab - 1], (uint8_t)class_index);
    }
    fli_unlock(&slabs->lock);
    return slab;
}

static size_t word_index(uint32_t slab, uint32_t block)
{
    return (size_t)slab * FLI_SLAB_BIT_WORDS + block / 64;
}

/* ---- Deferred blocks without a magazine. */

/* Whether a pointer is a block of the class whose slab is at home. */
static bool is_block_at_home(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return fli_slab_class_of(slabs, block) == class_index && fli_slab_is_block(slabs, class_index, block) &&
           /* Relaxed: a slab of which somebody holds a block has a home. */
           fli_load_relaxed(&fli_slab_at(slabs, fli_slab_number(slabs, block))->home) != NULL;
}

/* Whether a block is marked as deferred. */
static bool is_marked_locked(const struct fli_slabs *slabs, uint32_t slab, uint32_t index)
{
    fli_assert_held(&slabs->lock);
    size_t place = word_index(slab, index);
    return ((slabs->deferred_bits[0][place] | slabs->deferred_bits[1][place]) & bit_mask(index)) != 0;
}

bool fli_slab_defer(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    if (!is_block_at_home(slabs, class_index, block)) {
        fli_slab_note_stray(slabs, class_index, block, false);
        return false;
    }
    uint32_t slab = fli_slab_number(slabs, block), index = fli_slab_block_index(slabs, class_index, block);
    fli_lock(&slabs->lock);
    bool was_free = is_marked_locked(slabs, slab, index) || fli_slab_is_free(slabs, class_index, block);
    if (!was_free) {
        slabs->deferred_bits[slabs->collecting][word_index(slab, index)] |= bit_mask(index);
        slabs->deferred[slabs->collecting]++;
    }
    fli_unlock(&slabs->lock);
    if (was_free)
        fli_slab_note_stray(slabs, class_index, block, true);
    return !was_free;
}

/* ---- Batches of deferred blocks. */

size_t fli_slab_close_deferred(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    size_t waiting = slabs->deferred[slabs->collecting];
    slabs->collecting ^= 1;
    FLI_ASSERT(slabs->deferred[slabs->collecting] == 0);
    fli_unlock(&slabs->lock);
    return waiting;
}

unsigned fli_slab_take_deferred(struct fli_slabs *slabs, uint32_t slab, uint64_t *bits)
{
    unsigned count = 0;
    fli_lock(&slabs->lock);
    uint64_t *waiting = &slabs->deferred_bits[slabs->collecting ^ 1][word_index(slab, 0)];
    for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++) {
        count += (unsigned)__builtin_popcountll(waiting[w]);
        bits[w] = waiting[w];
        if (waiting[w] != 0)
            waiting[w] = 0;
    }
    slabs->deferred[slabs->collecting ^ 1] -= count;
    fli_unlock(&slabs->lock);
    return count;
}

size_t fli_slab_count_waiting(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    size_t count = slabs->deferred[slabs->collecting ^ 1];
    fli_unlock(&slabs->lock);
    return count;
}

uint32_t fli_slab_committed(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    uint32_t committed = slabs->committed;
    fli_unlock(&slabs->lock);
    return committed;
}

void fli_slab_count_deferred_stw(struct fli_slabs *slabs, size_t *counts)
{
    bool any = slabs->deferred[0] + slabs->deferred[1] > 0;
    for (uint32_t slab = 1; any && slab <= slabs->committed; slab++) {
        unsigned class_index = fli_load_relaxed(&slabs->classes[slab - 1]); /* relaxed: no other thread runs */
        for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++)
            for (unsigned batch = 0; batch < 2; batch++)
                counts[class_index] += (size_t)__builtin_popcountll(
                    slabs->deferred_bits[batch][word_index(slab, w * 64)]);
    }
}

void fli_slab_poison(struct fli_slabs *slabs, unsigned class_index, void *block)
{
    size_t bytes = slabs->by_class[class_index].block_bytes;
    size_t kept = fli_min(fli_round_up(slabs->stale_bytes, 16), bytes);
    fli_poison((char *)block + kept, bytes - kept);
}

/* ---- Leaving a class. */

/* Whether blocks of a slab are marked as deferred. */
static bool has_marks_locked(const struct fli_slabs *slabs, uint32_t slab)
{
    fli_assert_held(&slabs->lock);
    uint64_t marks = 0;
    if (FLI_LIKELY(slabs->deferred[0] + slabs->deferred[1] == 0))
        return false;
    for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++)
        marks |= slabs->deferred_bits[0][word_index(slab, 64 * w)] |
                 slabs->deferred_bits[1][word_index(slab, 64 * w)];
    return marks != 0;
}

/* Takes a slab that is all free out of its class. */
static void leave_class_locked(struct fli_slabs *slabs, uint32_t slab)
{
    fli_assert_held(&slabs->lock);
    struct fli_slab *record = fli_slab_at(slabs, slab);
    struct fli_slab_class *class = &slabs->by_class[record->class_index];
    fli_count(&class->slabs, (uint32_t)-1);
    /* Relaxed: the slab is in hand. */
    for (unsigned w = 0; w < fli_slab_words(record->blocks); w++)
        fli_store_relaxed(&fli_slab_free_bits(slabs, slab)[w], 0);
    record->free = 0;
    record->next = 0;
    fli_store_relaxed(&record->home, NULL);
    fli_count(&slabs->retired, 1);
}

bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab)
{
    FLI_ASSERT(fli_slab_at(slabs, slab)->free == fli_slab_at(slabs, slab)->blocks);
    fli_lock(&slabs->lock);
    bool may = !has_marks_locked(slabs, slab);
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

/* Whether none of the slabs from `first` up to `end` has a class, so that nobody writes to their bits, all zero. */
static bool are_idle_locked(const struct fli_slabs *slabs, uint32_t first, uint32_t end)
{
    for (uint32_t slab = first == 0 ? 1 : first; slab < end; slab++)
        if (fli_load_relaxed(&slabs->classes[slab - 1]) != 0) /* relaxed: under the lock */
            return false;
    return true;
}

size_t fli_slab_trim_metadata(struct fli_slabs *slabs)
{
    const uint32_t slabs_per_page = FLI_PAGE / (FLI_SLAB_BIT_WORDS * sizeof(uint64_t));
    size_t bytes = 0;
    fli_lock(&slabs->lock);
    for (uint32_t first = 0, end; first <= slabs->committed; first = end + slabs_per_page) {
        for (end = first; end <= slabs->committed; end += slabs_per_page)
            if (!are_idle_locked(slabs, end, (uint32_t)fli_min(end + slabs_per_page, slabs->committed + 1)))
                break;
        size_t run = (end - first) / slabs_per_page * FLI_PAGE;
        if (run > 0 && fli_os_decommit(fli_slab_free_bits(slabs, first), run) == 0)
            bytes += run;
    }
    fli_unlock(&slabs->lock);
    return bytes;
}

/* ---- Questions about blocks. */

static FLI_ATOMIC(uint64_t) * live_word(const struct fli_slabs *slabs, const void *block, uint32_t index)
{
    return &slabs->live_bits[word_index(fli_slab_number(slabs, block), index)];
}

bool fli_slab_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    FLI_ATOMIC(uint64_t) *word = live_word(slabs, block, index);
    /* Relaxed: one bit tells two owners of the same block apart; nothing else is read because of it. */
    uint64_t old = live ? fli_or_relaxed(word, bit_mask(index)) : fli_and_relaxed(word, ~bit_mask(index));
    return (old & bit_mask(index)) != 0;
}

bool fli_slab_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    return (fli_load_relaxed(live_word(slabs, block, index)) & bit_mask(index)) != 0; /* relaxed: as above */
}

bool fli_slab_is_free(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    /* Relaxed: a bit of a moment ago. */
    uint64_t word = fli_load_relaxed(&fli_slab_free_bits(slabs, fli_slab_number(slabs, block))[index / 64]);
    return (word & bit_mask(index)) != 0;
}

bool fli_slab_is_deferred(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    if (!slabs->defers)
        return false;
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    size_t place = word_index(fli_slab_number(slabs, block), index);
    fli_lock(&slabs->lock);
    uint64_t word = slabs->deferred_bits[0][place] | slabs->deferred_bits[1][place];
    fli_unlock(&slabs->lock);
    return (word & bit_mask(index)) != 0;
}

bool fli_slab_is_block(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    const struct fli_slab_class *class = &slabs->by_class[class_index];
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    return index < class->blocks &&
           fli_slab_start(slabs, fli_slab_number(slabs, block)) + index * class->block_bytes == block;
}
