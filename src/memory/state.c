/* SPDX-License-Identifier: MIT */
#include "memory/state.h"
#include "base/check.h"
#include "memory/stray.h"

#include <string.h>

enum { KIND_SHIFT = 30, STEP = 32, ALIGNMENT = 16 };

#define KIND_UNUSED   0u
#define KIND_LIVE     (1u << KIND_SHIFT)
#define KIND_DEFERRED (2u << KIND_SHIFT)
#define KIND_FREE     (3u << KIND_SHIFT)
#define REST          (KIND_LIVE - 1)

static uint32_t kind_of(uint32_t word)
{
    return word & ~REST;
}

/* A block of size 0 may be freed as one of size 1: fl_aligned_size makes it that. */
static uint32_t size_in_word(size_t size)
{
    return size != 0 ? (uint32_t)size : 1;
}

static FLI_ATOMIC(uint32_t) * word_at(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    const struct fli_range *range = fli_range_of(&slabs->ranges, block);
    size_t slab = ((uintptr_t)block - (uintptr_t)range->base) >> FLI_SLAB_SHIFT;
    return &range->states[slab * FLI_SLAB_BLOCKS_MAX + fli_slab_block_index(slabs, class_index, block)];
}

/* ---- The checksum. */

/* Both halves of a product depend on all bits of both factors. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word_of(const struct fli_random_key *key, unsigned index)
{
    return (uint64_t)key->words[index] << 32 | key->words[index + 1];
}

/* Two sums that do not wait for each other, over pieces of STEP bytes in turn. */
struct sums {
    uint64_t even, odd;
};

static inline void add(const struct fli_random_key *key, struct sums *sums, const char *at)
{
    uint64_t words[4];
    memcpy(words, at, sizeof words);
    sums->even = fold(words[0] ^ word_of(key, 0), words[1] ^ sums->even);
    sums->odd = fold(words[2] ^ word_of(key, 2), words[3] ^ sums->odd);
}

/* Adds `size` bytes, behind which zeros are taken to follow. */
static inline void add_all(const struct fli_random_key *key, struct sums *sums, const char *at, size_t size)
{
    for (; size >= STEP; at += STEP, size -= STEP)
        add(key, sums, at);
    if (size > 0) {
        char rest[STEP] = {0};
        memcpy(rest, at, size);
        add(key, sums, rest);
    }
}

uint32_t fli_state_checksum(const struct fli_random_key *key, const char *at, size_t size)
{
    struct sums sums = {word_of(key, 4) ^ (uintptr_t)at, word_of(key, 6) + size};
    if (size <= FLI_STATE_WHOLE) {
        add_all(key, &sums, at, size);
    } else {
        add_all(key, &sums, at, FLI_STATE_WHOLE / 2);
        add_all(key, &sums, at + size - FLI_STATE_WHOLE / 2, FLI_STATE_WHOLE / 2);
    }
    return (uint32_t)(fold(sums.even ^ word_of(key, 6), sums.odd ^ word_of(key, 4)) >> 32) & REST;
}

/* The word of a free block. A tool that watches memory sees its writes, and forbids to read it. */
static uint32_t free_word(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    size_t bytes = fli_class_bytes(class_index), header = fli_min(fli_round_up(slabs->stale_bytes, ALIGNMENT), bytes);
    if (slabs->watched)
        return KIND_FREE;
    return KIND_FREE | fli_state_checksum(&slabs->key, (const char *)block + header, bytes - header);
}

/* ---- The life of a block. */

void fli_state_begin(struct fli_slabs *slabs, unsigned class_index, const void *block, size_t size)
{
    FLI_ATOMIC(uint32_t) *word = word_at(slabs, class_index, block);
    uint32_t before = fli_load_own(word);
    FLI_ASSERT(kind_of(before) == KIND_UNUSED || kind_of(before) == KIND_FREE);
    if (before != KIND_UNUSED && FLI_UNLIKELY(before != free_word(slabs, class_index, block)))
        fli_stray_note_written(slabs, block, fli_class_bytes(class_index), FLI_STRAY_WAS_FREE);
    fli_store_own(word, KIND_LIVE | size_in_word(size));
}

/* Judges the free of a block that has this word. */
static enum fli_state_result judge_word(uint32_t word, bool sized, size_t size, size_t *actual)
{
    if (FLI_UNLIKELY(kind_of(word) != KIND_LIVE))
        return FLI_STATE_NOT_LIVE;
    if (FLI_LIKELY(!sized || (word & REST) == size_in_word(size)))
        return FLI_STATE_DONE;
    *actual = word & REST;
    return FLI_STATE_WRONG_SIZE;
}

enum fli_state_result fli_state_end(struct fli_slabs *slabs, unsigned class_index, const void *block, bool deferred,
                                    bool sized, size_t size, size_t *actual)
{
    FLI_ATOMIC(uint32_t) *word = word_at(slabs, class_index, block);
    uint32_t before = fli_load_hint(word), next = KIND_DEFERRED;
    if (!deferred && kind_of(before) == KIND_LIVE)
        next = free_word(slabs, class_index, block);
    do {
        enum fli_state_result result = judge_word(before, sized, size, actual);
        if (FLI_UNLIKELY(result != FLI_STATE_DONE))
            return result;
        /* Relaxed: see the head of state.h. */
    } while (!fli_cas_weak(word, &before, next, memory_order_relaxed, memory_order_relaxed));
    return FLI_STATE_DONE;
}

/* A deferred block is free now. */
static void release(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    FLI_ATOMIC(uint32_t) *word = word_at(slabs, class_index, block);
    FLI_ASSERT(kind_of(fli_load_own(word)) == KIND_DEFERRED);
    fli_store_own(word, free_word(slabs, class_index, block));
}

void fli_state_release(struct fli_slabs *slabs, unsigned class_index, void *const *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        release(slabs, class_index, blocks[i]);
}

void fli_state_release_marked(struct fli_slabs *slabs, unsigned class_index, uint32_t slab, const uint64_t *bits)
{
    const char *start = fli_slab_start(slabs, slab);
    for (unsigned i = 0; i < slabs->by_class[class_index].blocks; i++)
        if ((bits[i / 64] >> i % 64 & 1) != 0)
            release(slabs, class_index, start + i * slabs->by_class[class_index].block_bytes);
}

void fli_state_resize(struct fli_slabs *slabs, unsigned class_index, const void *block, size_t size)
{
    fli_store_own(word_at(slabs, class_index, block), KIND_LIVE | size_in_word(size));
}

bool fli_state_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return kind_of(fli_load_hint(word_at(slabs, class_index, block))) == KIND_LIVE;
}

enum fli_state_result fli_state_judge(const struct fli_slabs *slabs, unsigned class_index, const void *block,
                                      bool sized, size_t size, size_t *actual)
{
    return judge_word(fli_load_hint(word_at(slabs, class_index, block)), sized, size, actual);
}

void fli_state_reset(struct fli_slabs *slabs, uint32_t slab, unsigned blocks)
{
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    FLI_ATOMIC(uint32_t) *words = range->states + (size_t)(slab - range->first) * FLI_SLAB_BLOCKS_MAX;
    fli_assert_held(&slabs->lock);
    for (unsigned i = 0; i < blocks; i++)
        if (fli_load_own(&words[i]) != KIND_UNUSED) /* so that unused pages get no memory */
            fli_store_own(&words[i], KIND_UNUSED);
}
