/* SPDX-License-Identifier: MIT
 *
 * Committing, carving, parking and retiring slabs. One lock per heap serialises what changes a slab's state; it is
 * taken once for a magazine's worth of blocks. The bits are atomics of their own, because a free may park a block at
 * any time.
 *
 * Orders: a bit set by fli_slab_park is a block handed over, so setting releases and taking acquires.
 */
#include "slab.h"
#include "check.h"
#include "sanitizer.h"

#include <errno.h>

enum { COMMIT_SLABS = 64 }; /* slabs committed at a time, at least */

static size_t slab_count(size_t span)
{
    return span >> FLI_SLAB_SHIFT;
}

static size_t bit_bytes(size_t slabs)
{
    return slabs * FLI_SLAB_BIT_WORDS * sizeof(uint64_t);
}

size_t fli_slabs_metadata_bytes(size_t span)
{
    size_t count = slab_count(span);
    return fli_round_up(count, FLI_PAGE) + fli_round_up(count * sizeof(struct fli_slab), FLI_PAGE) +
           2 * fli_round_up(bit_bytes(count), FLI_PAGE);
}

static char *lay_out(struct fli_region *region, char *at, size_t bytes)
{
    *region = (struct fli_region){.base = at, .reserved = fli_round_up(bytes, FLI_PAGE)};
    return at + region->reserved;
}

int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit)
{
    size_t count = slab_count(span);
    char *at = lay_out(&slabs->memory, base, span);
    at = lay_out(&slabs->class_bytes, at, count);
    at = lay_out(&slabs->slab_records, at, count * sizeof(struct fli_slab));
    at = lay_out(&slabs->free_words, at, bit_bytes(count));
    lay_out(&slabs->live_words, at, bit_bytes(count));

    slabs->base = base;
    slabs->span = span;
    slabs->classes = (void *)slabs->class_bytes.base;
    slabs->slabs = (void *)slabs->slab_records.base;
    slabs->free_bits = (void *)slabs->free_words.base;
    slabs->live_bits = (void *)slabs->live_words.base;
    slabs->limit = limit;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        slabs->by_class[c].block_bytes = bytes;
        slabs->by_class[c].reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
    }
    pthread_mutex_init(&slabs->lock, NULL);
    /* Every class byte is readable from the start, so that any address in the range can be looked up. */
    return fli_region_reach(&slabs->class_bytes, count, 0);
}

void fli_slabs_close(struct fli_slabs *slabs)
{
    fli_region_close(&slabs->memory);
    fli_region_close(&slabs->class_bytes);
    fli_region_close(&slabs->slab_records);
    fli_region_close(&slabs->free_words);
    fli_region_close(&slabs->live_words);
    pthread_mutex_destroy(&slabs->lock);
}

/* Commits the memory of the next slab and of its metadata, and of some more. */
static int commit_locked(struct fli_slabs *slabs)
{
    size_t count = (size_t)slabs->committed + 1;
    size_t ahead = fli_max(COMMIT_SLABS, slabs->committed / 8);
    if (count > slab_count(slabs->span) ||
        fli_region_reach(&slabs->slab_records, count * sizeof(struct fli_slab), ahead * sizeof(struct fli_slab)) !=
            0 ||
        fli_region_reach(&slabs->free_words, bit_bytes(count), bit_bytes(ahead)) != 0 ||
        (FLI_CHECKED && fli_region_reach(&slabs->live_words, bit_bytes(count), bit_bytes(ahead)) != 0))
        return -ENOMEM;
    return fli_region_reach(&slabs->memory, count << FLI_SLAB_SHIFT, ahead << FLI_SLAB_SHIFT);
}

/* A slab without a class: an idle one, or the next of the range. Returns number + 1, or 0. */
static uint32_t obtain_locked(struct fli_slabs *slabs)
{
    if (!fli_limit_take(slabs->limit, FLI_SLAB_BYTES))
        return 0;
    uint32_t slab = slabs->idle;
    if (slab != 0) {
        slabs->idle = slabs->slabs[slab - 1].next;
        slabs->idle_count--;
        return slab;
    }
    if (commit_locked(slabs) != 0) {
        fli_limit_give(slabs->limit, FLI_SLAB_BYTES);
        return 0;
    }
    return ++slabs->committed;
}

/* Gives the class a fresh slab to carve. */
static bool begin_slab_locked(struct fli_slabs *slabs, unsigned class_index)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    uint32_t slab = obtain_locked(slabs);
    if (slab == 0)
        return false;
    slabs->slabs[slab - 1] = (struct fli_slab){.next = class->list,
                                               .blocks = (uint16_t)(FLI_SLAB_BYTES / class->block_bytes)};
    class->list = slab;
    class->carving = slab;
    class->slabs++;
    if (FLI_CHECKED)
        fli_poison(fli_slab_start(slabs, slab - 1), FLI_SLAB_BYTES);
    /* Relaxed: blocks of the slab reach other threads through the pool or through the host, both of which order. */
    fli_store_relaxed(&slabs->classes[slab - 1], (uint8_t)class_index);
    return true;
}

unsigned fli_slab_carve(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    pthread_mutex_lock(&slabs->lock);
    unsigned done = 0;
    if (class->carving != 0 || begin_slab_locked(slabs, class_index)) {
        struct fli_slab *slab = &slabs->slabs[class->carving - 1];
        char *next = fli_slab_start(slabs, class->carving - 1) + slab->carved * class->block_bytes;
        done = (unsigned)fli_min(count, (size_t)(slab->blocks - slab->carved));
        for (unsigned i = done; i-- > 0; next += class->block_bytes)
            blocks[i] = next;
        slab->carved = (uint16_t)(slab->carved + done);
        class->carved += done;
        if (slab->carved == slab->blocks)
            class->carving = 0;
    }
    pthread_mutex_unlock(&slabs->lock);
    return done;
}

static FLI_ATOMIC(uint64_t) * bit_word(FLI_ATOMIC(uint64_t) * words, uint32_t number, uint32_t block)
{
    return &words[(size_t)number * FLI_SLAB_BIT_WORDS + block / 64];
}

static uint64_t bit_mask(uint32_t block)
{
    return (uint64_t)1 << (block % 64);
}

void fli_slab_park(struct fli_slabs *slabs, unsigned class_index, unsigned count, void *const *blocks)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t index = fli_slab_block_index(slabs, class_index, blocks[i]);
        FLI_ATOMIC(uint64_t) *word = bit_word(slabs->free_bits, fli_slab_number(slabs, blocks[i]), index);
        /* S1: release, pairs with S2 in fli_slab_collect, S3 in take_bits and S4 in all_parked: what the last owner
         * wrote to the block is visible to the next. */
        uint64_t old = fli_or_release(word, bit_mask(index));
        FLI_ASSERT((old & bit_mask(index)) == 0);
        (void)old;
    }
    fli_add_relaxed(&slabs->by_class[class_index].parked,
                    count); /* relaxed: a hint that there is something to find */
}

static unsigned words_of(const struct fli_slab *slab)
{
    return (slab->blocks + 63u) / 64;
}

unsigned fli_slab_collect(struct fli_slabs *slabs, unsigned class_index, uint32_t slab, void **blocks)
{
    char *start = fli_slab_start(slabs, slab - 1);
    size_t block_bytes = slabs->by_class[class_index].block_bytes;
    unsigned words = words_of(&slabs->slabs[slab - 1]);
    unsigned done = 0;
    for (unsigned w = words; w-- > 0;) {
        FLI_ATOMIC(uint64_t) *word = bit_word(slabs->free_bits, slab - 1, w * 64);
        if (fli_load_relaxed(word) == 0) /* relaxed: a bit set meanwhile is found the next time */
            continue;
        /* S2: acquire, pairs with S1 in fli_slab_park. */
        for (uint64_t bits = fli_exchange_acquire(word, 0); bits != 0;) {
            unsigned bit = 63u - (unsigned)__builtin_clzll(bits);
            bits &= ~((uint64_t)1 << bit);
            blocks[done++] = start + (w * 64 + bit) * block_bytes;
        }
    }
    fli_sub_relaxed(&slabs->by_class[class_index].parked, done); /* relaxed: as in fli_slab_park */
    return done;
}

/* Takes set bits of one word, at most `count`. */
static unsigned take_bits(FLI_ATOMIC(uint64_t) * word, unsigned count, char *first, size_t block_bytes, void **blocks)
{
    uint64_t wanted = 0, bits = fli_load_relaxed(word); /* relaxed: a hint, the bits are taken below */
    for (unsigned n = 0; n < count && bits != 0; n++) {
        wanted |= bits & -bits;
        bits &= bits - 1;
    }
    /* S3: acquire, pairs with S1 in fli_slab_park. */
    wanted &= fli_and_acquire(word, ~wanted);
    unsigned done = 0;
    for (; wanted != 0; wanted &= wanted - 1)
        blocks[done++] = first + (unsigned)__builtin_ctzll(wanted) * block_bytes;
    return done;
}

unsigned fli_slab_unpark(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    unsigned done = 0;
    pthread_mutex_lock(&slabs->lock);
    for (uint32_t slab = class->list; slab != 0 && done < count; slab = slabs->slabs[slab - 1].next) {
        char *start = fli_slab_start(slabs, slab - 1);
        for (unsigned w = 0; w < words_of(&slabs->slabs[slab - 1]) && done < count; w++)
            done += take_bits(bit_word(slabs->free_bits, slab - 1, w * 64), count - done,
                              start + w * 64 * class->block_bytes, class->block_bytes, blocks + done);
    }
    pthread_mutex_unlock(&slabs->lock);
    fli_sub_relaxed(&class->parked, done); /* relaxed: as in fli_slab_park */
    return done;
}

bool fli_slab_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    FLI_ATOMIC(uint64_t) *word = bit_word(slabs->live_bits, fli_slab_number(slabs, block), index);
    /* Relaxed: one bit tells two owners of the same block apart; nothing else is read because of it. */
    uint64_t old = live ? fli_or_relaxed(word, bit_mask(index)) : fli_and_relaxed(word, ~bit_mask(index));
    return (old & bit_mask(index)) != 0;
}

static bool is_set(const struct fli_slabs *slabs, FLI_ATOMIC(uint64_t) * words, unsigned class_index,
                   const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    FLI_ATOMIC(uint64_t) *word = bit_word(words, fli_slab_number(slabs, block), index);
    return (fli_load_relaxed(word) & bit_mask(index)) != 0; /* relaxed: one bit, nothing else is read because of it */
}

bool fli_slab_is_parked(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return is_set(slabs, slabs->free_bits, class_index, block);
}

bool fli_slab_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return is_set(slabs, slabs->live_bits, class_index, block);
}

bool fli_slab_is_block(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    uint32_t number = fli_slab_number(slabs, block);
    pthread_mutex_lock(&slabs->lock);
    bool carved = index < slabs->slabs[number].carved;
    pthread_mutex_unlock(&slabs->lock);
    return carved && fli_slab_start(slabs, number) + index * slabs->by_class[class_index].block_bytes == block;
}

uint32_t fli_slab_newest(struct fli_slabs *slabs, unsigned class_index)
{
    pthread_mutex_lock(&slabs->lock);
    uint32_t slab = slabs->by_class[class_index].list;
    pthread_mutex_unlock(&slabs->lock);
    return slab;
}

static bool all_parked(struct fli_slabs *slabs, uint32_t slab)
{
    const struct fli_slab *record = &slabs->slabs[slab - 1];
    unsigned parked = 0;
    for (unsigned w = 0; w < words_of(record); w++) {
        /* S4: acquire, pairs with S1 in fli_slab_park: the owners' last accesses come before the slab is retired. */
        parked += (unsigned)__builtin_popcountll(fli_load_acquire(bit_word(slabs->free_bits, slab - 1, w * 64)));
    }
    return parked == record->carved;
}

/* Takes a slab out of its class's list. */
static void unlink_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t previous, uint32_t slab)
{
    uint32_t *link = &class->list;
    if (previous != 0)
        link = &slabs->slabs[previous - 1].next;
    while (*link != slab) /* slabs that came in front since the walk began */
        link = &slabs->slabs[*link - 1].next;
    *link = slabs->slabs[slab - 1].next;
}

unsigned fli_slab_retire(struct fli_slabs *slabs, unsigned class_index, uint32_t previous, uint32_t slab)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    struct fli_slab *record = &slabs->slabs[slab - 1];
    pthread_mutex_lock(&slabs->lock);
    unsigned blocks = all_parked(slabs, slab) ? record->carved : 0;
    if (blocks > 0) {
        unlink_locked(slabs, class, previous, slab);
        if (class->carving == slab)
            class->carving = 0;
        class->slabs--;
        class->carved -= record->carved;
        fli_sub_relaxed(&class->parked, record->carved); /* relaxed: as in fli_slab_park */
        for (unsigned w = 0; w < words_of(record); w++)
            fli_store_relaxed(bit_word(slabs->free_bits, slab - 1, w * 64), 0); /* relaxed: the blocks are ours */
        /* Relaxed: nobody holds a block of the slab whose class could matter to him. */
        fli_store_relaxed(&slabs->classes[slab - 1], 0);
    }
    pthread_mutex_unlock(&slabs->lock);
    return blocks;
}

size_t fli_slab_make_idle(struct fli_slabs *slabs, uint32_t first, uint32_t count)
{
    size_t bytes = (size_t)count << FLI_SLAB_SHIFT;
    /* A failure leaves the pages with the process: the slabs can serve again all the same. */
    size_t returned = fli_os_decommit(fli_slab_start(slabs, first), bytes) == 0 ? bytes : 0;
    pthread_mutex_lock(&slabs->lock);
    for (uint32_t number = first + count; number-- > first;) {
        slabs->slabs[number] = (struct fli_slab){.next = slabs->idle};
        slabs->idle = number + 1;
    }
    slabs->idle_count += count;
    pthread_mutex_unlock(&slabs->lock);
    fli_limit_give(slabs->limit, bytes);
    return returned;
}
