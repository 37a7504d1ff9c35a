/* SPDX-License-Identifier: MIT */
#include "pool/deliver.h"
#include "memory/stray.h"

#include <string.h>

/* A row of at least ROW_LEAST neighbours goes home a word at a time. A new row is looked for every ROW_EVERY blocks. */
enum { ROW_LEAST = 4, ROW_EVERY = 16 };

/* So many blocks ahead, the bits are prefetched of a block in another slab. */
enum { AHEAD = 8 };

/* From so many blocks on, it is worth a look whether many lie in one slab, judged by a sample. */
enum { MANY_LEAST = FLI_RARE_PATHS ? 4 : 64, SAMPLES = 4 };

/* The most blocks of a slab for which this pays: of smaller ones a magazine has too few in a word of bits. */
enum { MANY_BLOCKS_MOST = FLI_SLAB_BLOCKS_MAX / 2 };

static inline bool is_same_slab(const void *a, const void *b)
{
    return (((uintptr_t)a ^ (uintptr_t)b) >> FLI_SLAB_SHIFT) == 0;
}

/* Whether the next blocks of an array are neighbours in memory, in rising or falling order. Stores the step from one to the
 * next. */
static inline bool begins_row(void *const *at, void *const *end, size_t block_bytes, ptrdiff_t *step)
{
    if (end - at < ROW_LEAST)
        return false;
    const char *first = (const char *)at[0], *second = (const char *)at[1], *third = (const char *)at[2];
    *step = second - first;
    return (size_t)(*step < 0 ? -*step : *step) == block_bytes && third - second == *step;
}

/* Sets bits of a word. Returns false and sets none if one of them is set already. */
static inline bool set_bits(FLI_ATOMIC(uint64_t) * word, uint64_t mask)
{
    uint64_t before = fli_load_own(word);
    if (FLI_UNLIKELY((before & mask) != 0))
        return false;
    fli_store_own(word, before | mask);
    return true;
}

/* Blocks of one slab that are sent home: those of an array from `at` on. */
struct delivery {
    void *const *at, *const *end; /* of the array */
    uintptr_t start;              /* of the slab */
    size_t bytes;                 /* of it that are blocks */
    FLI_ATOMIC(uint64_t) * bits;
    size_t block_bytes;
    uint32_t reciprocal, blocks; /* of the slab */
};

/* Whether the next four blocks lie at `expected` and in steps from there. */
static inline bool are_four(void *const *at, uintptr_t expected, uintptr_t step)
{
    return (((uintptr_t)at[0] ^ expected) | ((uintptr_t)at[1] ^ (expected + step)) |
            ((uintptr_t)at[2] ^ (expected + 2 * step)) | ((uintptr_t)at[3] ^ (expected + 3 * step))) == 0;
}

/* How many of the next blocks, at most `most`, lie in such a row. */
static inline unsigned row_length(const struct delivery *d, ptrdiff_t step, unsigned most)
{
    void *const *at = d->at, *const *end = at + fli_min(most, (size_t)(d->end - at));
    uintptr_t expected = (uintptr_t)*at;
    for (; end - at >= 4 && are_four(at, expected, (uintptr_t)step); at += 4)
        expected += 4 * (uintptr_t)step;
    for (; at < end && (uintptr_t)*at == expected; at++)
        expected += (uintptr_t)step;
    return (unsigned)(at - d->at);
}

/* The lowest `count` bits, from 1 to 64. */
static inline uint64_t low_bits(unsigned count)
{
    return UINT64_MAX >> (64 - count);
}

/* Delivers the next blocks if they lie in a row, as far as one word of bits goes. Returns how many. */
static inline unsigned put_row(struct delivery *d)
{
    ptrdiff_t step;
    uint64_t offset = (uintptr_t)*d->at - d->start, place = offset * d->reciprocal;
    uint32_t index = (uint32_t)(place >> 32), bit = index % 64;
    if (!begins_row(d->at, d->end, d->block_bytes, &step) || offset >= d->bytes || (uint32_t)place >= d->reciprocal)
        return 0;
    unsigned n = row_length(d, step, step > 0 ? (unsigned)fli_min(64 - bit, d->blocks - index) : bit + 1);
    if (!set_bits(&d->bits[index / 64], low_bits(n) << (step > 0 ? bit : bit + 1 - n)))
        return 0;
    d->at += n;
    return n;
}

/* Delivers the next blocks of the slab one at a time, at most `most`. Notes the strays among them. Returns how many
 * were no strays. */
static inline unsigned put_singly(struct fli_slabs *slabs, unsigned class_index, struct delivery *d, unsigned most)
{
    void *const *first = d->at, *const *end = first + fli_min(most, (size_t)(d->end - first));
    unsigned strays = 0;
    for (size_t offset; d->at < end && (offset = (uintptr_t)*d->at - d->start) < FLI_SLAB_BYTES; d->at++) {
        /* In units of 2^-32 blocks. At the start of a block, the lower half is less than `reciprocal`. */
        uint64_t place = (uint64_t)offset * d->reciprocal;
        uint32_t index = (uint32_t)(place >> 32);
        bool is_block = (uint32_t)place < d->reciprocal && offset < d->bytes;
        if (FLI_LIKELY(is_block && set_bits(&d->bits[index / 64], (uint64_t)1 << index % 64)))
            continue;
        fli_stray_note(slabs, class_index, *d->at, is_block);
        strays++;
    }
    return (unsigned)(d->at - first) - strays;
}

/* Prefetches what is needed to send a block of the class home, if it lies in the range; or else anything. (gcc drops
 * the calls of a function that does no more than this, unless it is always inline.) */
static inline __attribute__((always_inline)) void prefetch_home(const struct fli_range *range,
                                                                const struct fli_slab_class *of, const void *block)
{
    size_t slab = ((uintptr_t)block - (uintptr_t)range->base) >> FLI_SLAB_SHIFT;
    const struct fli_row *row = (const struct fli_row *)((uintptr_t)range->rows + slab * sizeof *row);
    uint64_t index = ((uintptr_t)block % FLI_SLAB_BYTES * of->reciprocal) >> 32;
    __builtin_prefetch(row);
    __builtin_prefetch((const void *)&row->free_bits[index / 64]);
}

/* Sends home the block at `at` and those behind it of the same slab, which has the row. Returns where the others
 * begin. */
static void *const *deliver_slab(struct fli_homes *homes, struct fli_home_class *class, unsigned class_index,
                                 struct fli_row *row, void *const *at, void *const *end)
{
    struct fli_slabs *slabs = homes->slabs;
    const struct fli_slab_class *of = &slabs->by_class[class_index];
    struct delivery d = {at,
                         end,
                         (uintptr_t)*at & ~(uintptr_t)(FLI_SLAB_BYTES - 1),
                         of->blocks * of->block_bytes,
                         row->free_bits,
                         of->block_bytes,
                         of->reciprocal,
                         of->blocks};
    unsigned count = 0;
    if (end - at > AHEAD)
        prefetch_home(&slabs->ranges.at[0], of, at[AHEAD]);
    while (d.at < end && (uintptr_t)*d.at - d.start < FLI_SLAB_BYTES) {
        unsigned in_row = put_row(&d);
        count += in_row > 0 ? in_row : put_singly(slabs, class_index, &d, ROW_EVERY);
    }
    fli_home_count_free(homes, class, &row->record, *at, count);
    return d.at;
}

/* Sends home a block alone: the next one in the array lies in another slab. Returns whether it was no stray. */
static inline bool deliver_one(struct fli_slabs *slabs, unsigned class_index, struct fli_row *row, const void *block)
{
    const struct fli_slab_class *of = &slabs->by_class[class_index];
    uint64_t place = (uintptr_t)block % FLI_SLAB_BYTES * of->reciprocal;
    uint32_t index = (uint32_t)(place >> 32);
    bool is_block = (uint32_t)place < of->reciprocal && index < of->blocks;
    if (FLI_LIKELY(is_block && set_bits(&row->free_bits[index / 64], (uint64_t)1 << index % 64)))
        return true;
    fli_stray_note(slabs, class_index, block, is_block);
    return false;
}

/* ---- Many blocks of one slab, in no order. */

/* Notes the blocks that `twice` names, in one word of a slab's bits, as freed twice. `first` is the block of its lowest
 * bit. */
FLI_COLD static unsigned note_twice(struct fli_slabs *slabs, unsigned class_index, const char *first, uint64_t twice)
{
    unsigned count = 0;
    for (; twice != 0; twice &= twice - 1, count++)
        fli_stray_note(slabs, class_index,
                       first + (unsigned)__builtin_ctzll(twice) * slabs->by_class[class_index].block_bytes, true);
    return count;
}

/* Sets bits of one word of a slab's bits, and notes those that are set already. Returns how many these are. */
static inline unsigned set_or_note(struct fli_slabs *slabs, unsigned class_index, FLI_ATOMIC(uint64_t) * word,
                                   const char *first, uint64_t mask)
{
    uint64_t before = fli_load_own(word);
    fli_store_own(word, before | mask);
    return FLI_UNLIKELY((before & mask) != 0) ? note_twice(slabs, class_index, first, before & mask) : 0;
}

/* Whether many of the blocks lie in the slab of the first one, and not in rows. */
static bool are_many(const struct fli_slab_class *of, void *const *at, void *const *end)
{
    size_t count = (size_t)(end - at);
    unsigned same = 0;
    ptrdiff_t step;
    if (count < MANY_LEAST || of->blocks > MANY_BLOCKS_MOST ||
        begins_row(at + count / 2, end, of->block_bytes, &step))
        return false;
    for (unsigned i = 1; i <= SAMPLES; i++)
        same += is_same_slab(*at, at[i * (count - 1) / SAMPLES]);
    return same >= SAMPLES / 2;
}

/* The bytes of a word of bits: 0 or 1 for each. */
struct spelled {
    uint64_t eights[8];
};

static inline bool has_some(const struct spelled *spelled)
{
    const uint64_t *at = spelled->eights;
    return (at[0] | at[1] | at[2] | at[3] | at[4] | at[5] | at[6] | at[7]) != 0;
}

/* The word of which these are the bytes. The factor moves the lowest bit of byte k to bit 56 + k. */
static inline uint64_t word_of(const struct spelled *spelled)
{
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t eight = spelled->eights[i];
        if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            eight = __builtin_bswap64(eight);
        word |= (eight * 0x0102040810204080u >> 56) << 8 * i;
    }
    return word;
}

/* Sends home those blocks that lie in the slab of the first one, which has the row. Each is noted in a byte of its own
 * at first: no store waits for the one before, as it does where a word of bits changes with each block. Moves the other
 * blocks down to `at`, and returns where they end. */
static __attribute__((noinline)) void **deliver_many(struct fli_homes *homes, struct fli_home_class *class,
                                                     unsigned class_index, struct fli_row *row, void **at, void **end)
{
    struct fli_slabs *slabs = homes->slabs;
    const struct fli_slab_class *of = &slabs->by_class[class_index];
    const uint32_t reciprocal = of->reciprocal, blocks = of->blocks;
    union {
        uint8_t bytes[MANY_BLOCKS_MOST];
        struct spelled words[MANY_BLOCKS_MOST / 64];
    } come;
    const char *start = (const char *)*at - (uintptr_t)*at % FLI_SLAB_BYTES;
    void **left = at;
    unsigned words = fli_slab_words(blocks), strays = 0;
    memset(&come, 0, words * sizeof come.words[0]);
    for (void *const *next = at; next < end; next++) {
        uint64_t offset = (uintptr_t)*next - (uintptr_t)start, place = offset * reciprocal, index = place >> 32;
        if (offset >= FLI_SLAB_BYTES) {
            *left++ = *next;
            continue;
        }
        bool is_block = (uint32_t)place < reciprocal && index < blocks;
        if (FLI_LIKELY(is_block && come.bytes[index] == 0)) {
            come.bytes[index] = 1;
            continue;
        }
        fli_stray_note(slabs, class_index, *next, is_block);
        strays++;
    }
    unsigned count = (unsigned)(end - left) - strays;
    for (unsigned w = 0; w < words; w++)
        if (has_some(&come.words[w]))
            count -= set_or_note(slabs, class_index, &row->free_bits[w], start + w * 64 * of->block_bytes,
                                 word_of(&come.words[w]));
    fli_home_count_free(homes, class, &row->record, start, count);
    return left;
}

/* ---- Deliveries. */

/* The row of a block's slab, if the block is one of the class and `home` is its home; or NULL. */
static inline struct fli_row *row_at_home(const struct fli_slabs *slabs, struct fli_home *home, unsigned class_index,
                                          const void *block)
{
    const struct fli_range *range = &slabs->ranges.at[0];
    if (FLI_UNLIKELY(!fli_range_has(range, block)) && (range = fli_range_around(&slabs->ranges, block)) == NULL)
        return NULL;
    if (FLI_UNLIKELY(fli_slab_class_in(range, block) != class_index))
        return NULL;
    struct fli_row *row = fli_slab_row_in(range, block);
    return FLI_LIKELY(fli_home_of_slab(&row->record) == home) ? row : NULL;
}

unsigned fli_deliver(struct fli_homes *homes, struct fli_home *home, unsigned class_index, void **blocks,
                     unsigned count)
{
    struct fli_slabs *slabs = homes->slabs;
    struct fli_home_class *class = &home->classes[class_index];
    void **end = blocks + count, **left = blocks;
    struct fli_row *many;
    fli_home_assert_held(home);
    while (are_many(&slabs->by_class[class_index], blocks, end) &&
           (many = row_at_home(slabs, home, class_index, *blocks)) != NULL)
        end = deliver_many(homes, class, class_index, many, blocks, end);
    for (void *const *at = blocks; at < end;) {
        struct fli_row *row = row_at_home(slabs, home, class_index, *at);
        if (FLI_UNLIKELY(row == NULL)) {
            *left++ = *at++;
        } else if (end - at >= ROW_LEAST && is_same_slab(at[0], at[ROW_LEAST - 1])) {
            at = deliver_slab(homes, class, class_index, row, at, end);
        } else {
            if (end - at > AHEAD)
                prefetch_home(&slabs->ranges.at[0], &slabs->by_class[class_index], at[AHEAD]);
            fli_home_count_free(homes, class, &row->record, *at, deliver_one(slabs, class_index, row, *at));
            at++;
        }
    }
    return (unsigned)(left - blocks);
}

void fli_deliver_bits(struct fli_homes *homes, struct fli_home *home, uint32_t slab, const uint64_t *bits)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    FLI_ATOMIC(uint64_t) *free_bits = fli_slab_free_bits(homes->slabs, slab);
    unsigned class_index = record->class_index, count = 0;
    fli_home_assert_held(home);
    const char *start = fli_slab_start(homes->slabs, slab);
    size_t word_bytes = 64 * homes->slabs->by_class[class_index].block_bytes;
    for (unsigned w = 0; w < fli_slab_words(record->blocks); w++)
        if (bits[w] != 0)
            count += (unsigned)__builtin_popcountll(bits[w]) -
                     set_or_note(homes->slabs, class_index, &free_bits[w], start + w * word_bytes, bits[w]);
    fli_home_count_free(homes, &home->classes[class_index], record, start, count);
}
