/* SPDX-License-Identifier: MIT */
#include "pool/home.h"
#include "base/check.h"
#include "base/lock.h"
#include "memory/slab_list.h"
#include "memory/stray.h"
#include "pool/pool.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* For how long a lock is tried: looks at it, and turns of the processor offered to others between. */
enum { LOOKS = FLI_MODEL ? 2 : 64, TURNS = FLI_RARE_PATHS ? 1 : 8 };

/* Blocks that lie in a row are sent home a word at a time: so many at least, looked for every so many blocks. */
enum { ROW_LEAST = 4, ROW_EVERY = 16 };

/* Slabs by which the start of a run of free ones is looked for. */
enum { RUN_MOST = 64 };

/* ---- The lock. */

bool fli_home_try(struct fli_home *home)
{
    uint32_t open = 0;
    /* W1: acquire, pairs with W2 in fli_home_unlock. Failure: relaxed, nothing is read then. */
    return (fli_load_relaxed(&home->lock) == 0 &&
            fli_cas_strong(&home->lock, &open, 1, FL_MO_HOME_LOCK, memory_order_relaxed)) ||
           (FLI_UNLIKELY(fli_lock_is_forking()) && fli_lock_is_held());
}

static bool try_a_while(struct fli_home *home)
{
    for (unsigned look = 0; look < LOOKS; look++)
        if (fli_home_try(home))
            return true;
    return false;
}

bool fli_home_try_briefly(struct fli_home *home)
{
    for (unsigned turn = 0; turn < TURNS; turn++) {
        if (FLI_LIKELY(try_a_while(home)))
            return true;
        sched_yield();
    }
    return false;
}

void fli_home_wait(struct fli_home *home)
{
    while (!try_a_while(home))
        sched_yield();
}

void fli_home_unlock(struct fli_home *home)
{
    /* W2: release, pairs with W1 in fli_home_try: all that was done under the lock. */
    if (FLI_LIKELY(!fli_lock_is_forking()))
        fli_store_order(&home->lock, 0, FL_MO_HOME_UNLOCK);
}

/* ---- The lists. */

static bool is_on_list(const struct fli_slab *record)
{
    return record->list < FLI_HOME_LISTS;
}

static void unlink_slab(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab)
{
    unsigned list = fli_slab_at(homes->slabs, slab)->list;
    fli_slab_list_remove(homes->slabs, &class->lists[list], slab);
    if (list == FLI_HOME_FREE)
        fli_sub_relaxed(&homes->free_slabs, 1); /* relaxed: a counter */
}

static void link_slab(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab)
{
    unsigned list = fli_slab_at(homes->slabs, slab)->list;
    fli_slab_list_add(homes->slabs, &class->lists[list], slab);
    if (list == FLI_HOME_FREE)
        fli_add_relaxed(&homes->free_slabs, 1); /* relaxed: a counter */
}

/* The list on which a slab with so many free blocks belongs. */
static unsigned list_for(const struct fli_slab *record)
{
    if (record->free == 0)
        return FLI_HOME_FULL;
    return (unsigned)record->free * FLI_HOME_QUARTERS / record->blocks;
}

/* The number of free blocks at which it belongs on another one. */
static unsigned end_of(const struct fli_slab *record)
{
    if (record->list == FLI_HOME_FULL)
        return 1;
    if (record->list >= FLI_HOME_FREE)
        return UINT16_MAX;
    return ((record->list + 1u) * record->blocks + FLI_HOME_QUARTERS - 1) / FLI_HOME_QUARTERS;
}

/* Moves a slab to a list, or to none. */
static void move_slab(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab, unsigned list)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    if (is_on_list(record))
        unlink_slab(homes, class, slab);
    record->list = (uint16_t)list;
    record->moves_at = (uint16_t)end_of(record);
    if (is_on_list(record))
        link_slab(homes, class, slab);
}

static void count_free(struct fli_home_class *class, unsigned change)
{
    fli_count(&class->free, change);
}

/* ---- Sending blocks home. */

/* Counts blocks whose bits have been set. */
static inline void count_put(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab, unsigned count)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    record->free = (uint16_t)(record->free + count);
    count_free(class, count);
    if (FLI_UNLIKELY(record->free >= record->moves_at))
        move_slab(homes, class, slab, list_for(record));
}

/* Sets bits of a word. Returns false, and has set none, if one of them is set already. */
static inline bool set_bits(FLI_ATOMIC(uint64_t) * word, uint64_t mask)
{
    uint64_t before = fli_load_relaxed(word); /* relaxed: the lock orders */
    if (FLI_UNLIKELY((before & mask) != 0))
        return false;
    fli_store_relaxed(word, before | mask); /* relaxed: the lock orders */
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

/* Whether the next blocks lie in the order of their addresses, up or down, one beside the other. Stores the step from
 * one to the next. */
static inline bool begins_row(const struct delivery *d, ptrdiff_t *step)
{
    if (d->end - d->at < ROW_LEAST)
        return false;
    const char *first = (const char *)d->at[0], *second = (const char *)d->at[1], *third = (const char *)d->at[2];
    *step = second - first;
    return (size_t)(*step < 0 ? -*step : *step) == d->block_bytes && third - second == *step;
}

/* Of the next blocks, how many, at most `most`, lie in such a row. */
static inline unsigned row_length(const struct delivery *d, ptrdiff_t step, unsigned most)
{
    const char *expected = (const char *)*d->at;
    unsigned n = 0;
    most = (unsigned)fli_min(most, (size_t)(d->end - d->at));
    for (; n < most && d->at[n] == expected; n++)
        expected += step;
    return n;
}

/* The lowest `count` bits, of 1 to 64. */
static inline uint64_t low_bits(unsigned count)
{
    return UINT64_MAX >> (64 - count);
}

/* Delivers the next blocks if they lie in a row: those of one word. Returns how many. */
static inline unsigned put_row(struct delivery *d)
{
    ptrdiff_t step;
    uint64_t offset = (uintptr_t)*d->at - d->start, place = offset * d->reciprocal;
    uint32_t index = (uint32_t)(place >> 32), bit = index % 64;
    if (!begins_row(d, &step) || offset >= d->bytes || (uint32_t)place >= d->reciprocal)
        return 0;
    unsigned n = row_length(d, step, step > 0 ? (unsigned)fli_min(64 - bit, d->blocks - index) : bit + 1);
    if (!set_bits(&d->bits[index / 64], low_bits(n) << (step > 0 ? bit : bit + 1 - n)))
        return 0;
    d->at += n;
    return n;
}

/* Delivers the next blocks, one at a time, up to one of another slab or `most`. Notes the strays among them. Returns how
 * many were none. */
static inline unsigned put_singly(struct fli_slabs *slabs, unsigned class_index, struct delivery *d, unsigned most)
{
    void *const *first = d->at, *const *end = first + fli_min(most, (size_t)(d->end - first));
    unsigned strays = 0;
    for (size_t offset; d->at < end && (offset = (uintptr_t)*d->at - d->start) < FLI_SLAB_BYTES; d->at++) {
        /* In units of 2^-32 blocks: the lower half is less than `reciprocal` if it is the start of a block. */
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

/* Sends home the block at `at`, and those behind it that lie in the same slab. Returns where the others begin. */
static void *const *deliver(struct fli_homes *homes, struct fli_home_class *class, unsigned class_index,
                            void *const *at, void *const *end)
{
    struct fli_slabs *slabs = homes->slabs;
    uint32_t slab = fli_slab_number(slabs, *at);
    const struct fli_slab_class *of = &slabs->by_class[class_index];
    struct delivery d = {at,
                         end,
                         (uintptr_t)fli_slab_start(slabs, slab),
                         of->blocks * of->block_bytes,
                         fli_slab_free_bits(slabs, slab),
                         of->block_bytes,
                         of->reciprocal,
                         of->blocks};
    unsigned count = 0;
    while (d.at < end && (uintptr_t)*d.at - d.start < FLI_SLAB_BYTES) {
        unsigned row = put_row(&d);
        count += row > 0 ? row : put_singly(slabs, class_index, &d, ROW_EVERY);
    }
    count_put(homes, class, slab, count);
    return d.at;
}

/* Whether a block is one of the class, and `home` its slab's. */
static inline bool is_at_home(const struct fli_slabs *slabs, struct fli_home *home, unsigned class_index,
                              const void *block)
{
    return FLI_LIKELY(fli_slab_class_of(slabs, block) == class_index && fli_home_of(slabs, block) == home);
}

unsigned fli_home_put(struct fli_homes *homes, struct fli_home *home, unsigned class_index, void **blocks,
                      unsigned count)
{
    void *const *end = blocks + count;
    void **left = blocks;
    fli_home_assert_held(home);
    for (void *const *at = blocks; at < end;)
        if (is_at_home(homes->slabs, home, class_index, *at))
            at = deliver(homes, &home->classes[class_index], class_index, at, end);
        else
            *left++ = *at++;
    return (unsigned)(left - blocks);
}

/* Notes those of the blocks that `twice` names, of a word of a slab's bits, as freed twice. */
FLI_COLD static void note_twice(struct fli_slabs *slabs, unsigned class_index, uint32_t slab, unsigned word,
                                uint64_t twice)
{
    for (; twice != 0; twice &= twice - 1) {
        size_t index = word * 64 + (unsigned)__builtin_ctzll(twice);
        fli_stray_note(slabs, class_index,
                       fli_slab_start(slabs, slab) + index * slabs->by_class[class_index].block_bytes, true);
    }
}

void fli_home_put_bits(struct fli_homes *homes, struct fli_home *home, uint32_t slab, const uint64_t *bits)
{
    const struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    unsigned class_index = record->class_index;
    fli_home_assert_held(home);
    for (unsigned w = 0; w < fli_slab_words(record->blocks); w++) {
        /* Relaxed: the lock orders. */
        uint64_t twice = bits[w] & fli_load_relaxed(&fli_slab_free_bits(homes->slabs, slab)[w]);
        uint64_t mask = bits[w] & ~twice;
        note_twice(homes->slabs, class_index, slab, w, twice);
        set_bits(&fli_slab_free_bits(homes->slabs, slab)[w], mask);
        count_put(homes, &home->classes[class_index], slab, (unsigned)__builtin_popcountll(mask));
    }
}

/* ---- Taking blocks. */

/* Stores pointers to the blocks that a word of bits names, lowest address first, from `end` down. */
static inline void **spread(uint64_t word, char *start, size_t block_bytes, void **end)
{
    if (FLI_LIKELY(word == UINT64_MAX)) {
        for (unsigned i = 0; i < 64; i += 4, start += 4 * block_bytes) {
            *--end = start;
            *--end = start + block_bytes;
            *--end = start + 2 * block_bytes;
            *--end = start + 3 * block_bytes;
        }
        return end;
    }
    for (; word != 0; word &= word - 1)
        *--end = start + (unsigned)__builtin_ctzll(word) * block_bytes;
    return end;
}

/* The lowest `count` of the bits of a word that has more. */
static uint64_t lowest(uint64_t word, unsigned count)
{
    uint64_t rest = word;
    while (count-- > 0)
        rest &= rest - 1;
    return word & ~rest;
}

/* Takes up to `count` of the slab's free blocks, lowest address first, from the end of the array down. */
static unsigned take_from(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab, unsigned count,
                          void **end)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    FLI_ATOMIC(uint64_t) *bits = fli_slab_free_bits(homes->slabs, slab);
    size_t block_bytes = homes->slabs->by_class[record->class_index].block_bytes;
    char *start = fli_slab_start(homes->slabs, slab);
    unsigned left = (unsigned)fli_min(count, record->free), done = left;
    for (unsigned w = 0; left > 0; w++) {
        uint64_t word = fli_load_relaxed(&bits[w]), taken = word; /* relaxed: the lock orders */
        if (word == 0)
            continue;
        unsigned there = (unsigned)__builtin_popcountll(word);
        if (there > left)
            taken = lowest(word, there = left);
        end = spread(taken, start + w * 64 * block_bytes, block_bytes, end);
        fli_store_relaxed(&bits[w], word & ~taken);
        left -= there;
    }
    record->free = (uint16_t)(record->free - done);
    count_free(class, (unsigned)-done);
    return done;
}

/* Whether a slab number is that of a slab of the class, at this home, with at least half of its blocks free. */
static bool is_roomy(struct fli_homes *homes, struct fli_home *home, unsigned class_index, uint32_t slab)
{
    const struct fli_slabs *slabs = homes->slabs;
    /* Relaxed: a slab at this home has its class as long as the lock is held. */
    if (slab == 0 || slab > slabs->span >> FLI_SLAB_SHIFT ||
        fli_load_relaxed(&slabs->classes[slab - 1]) != class_index)
        return false;
    const struct fli_slab *record = fli_slab_at(slabs, slab);
    return fli_load_relaxed(&record->home) == home && record->list >= FLI_HOME_QUARTERS / 2 &&
           record->list <= FLI_HOME_FREE;
}

/* The lowest of the roomy slabs that lie in a row up to this one. */
static uint32_t start_of_run(struct fli_homes *homes, struct fli_home *home, unsigned class_index, uint32_t slab)
{
    for (unsigned n = 0; n < RUN_MOST && is_roomy(homes, home, class_index, slab - 1); n++)
        slab--;
    return slab;
}

/* The slab whose blocks are taken next: the neighbour of the one before if it is roomy, or else one of those with most
 * free blocks but for those that are all free, which can serve others too; or 0. */
static uint32_t pick(struct fli_homes *homes, struct fli_home *home, unsigned class_index)
{
    struct fli_home_class *class = &home->classes[class_index];
    static const unsigned char order[] = {3, 2, 1, FLI_HOME_FREE, 0};
    if (class->latest != 0 && is_roomy(homes, home, class_index, class->latest + 1))
        return class->latest + 1;
    for (unsigned i = 0; i < sizeof order; i++)
        if (class->lists[order[i]] != 0)
            return order[i] == FLI_HOME_FREE ? start_of_run(homes, home, class_index, class->lists[order[i]])
                                             : class->lists[order[i]];
    return 0;
}

unsigned fli_home_take(struct fli_homes *homes, struct fli_home *home, unsigned class_index, unsigned count,
                       void **blocks)
{
    struct fli_home_class *class = &home->classes[class_index];
    fli_home_assert_held(home);
    unsigned left = count;
    while (left > 0) {
        if (class->current == 0) {
            if ((class->current = pick(homes, home, class_index)) == 0)
                break;
            move_slab(homes, class, class->current, FLI_HOME_CURRENT);
        }
        left -= take_from(homes, class, class->current, left, blocks + left);
        if (fli_slab_at(homes->slabs, class->current)->free == 0) {
            move_slab(homes, class, class->current, FLI_HOME_FULL);
            class->latest = class->current;
            class->current = 0;
        }
    }
    if (left > 0)
        memmove(blocks, blocks + left, (count - left) * sizeof *blocks);
    return count - left;
}

/* ---- Slabs that come and go. */

void fli_home_take_in(struct fli_homes *homes, struct fli_home *home, uint32_t slab)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    struct fli_home_class *class = &home->classes[record->class_index];
    fli_home_assert_held(home);
    /* W5: release, pairs with W6 in fli_home_of: the home is whole, though a thread may meet it here first. */
    fli_store_order(&record->home, home, FL_MO_SLAB_SETTLE);
    count_free(class, record->free);
    record->list = FLI_HOME_FULL;
    move_slab(homes, class, slab, list_for(record));
}

void fli_home_give_up(struct fli_homes *homes, struct fli_home *home, uint32_t slab)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    struct fli_home_class *class = &home->classes[record->class_index];
    if (class->current == slab)
        class->current = 0;
    move_slab(homes, class, slab, FLI_HOME_FULL);
    count_free(class, (unsigned)-record->free);
}

uint32_t fli_home_give_up_free(struct fli_homes *homes, struct fli_home *home, unsigned class_index)
{
    struct fli_home_class *class = &home->classes[class_index];
    fli_home_assert_held(home);
    uint32_t slab = class->lists[FLI_HOME_FREE];
    if (slab == 0 && class->current != 0) {
        const struct fli_slab *record = fli_slab_at(homes->slabs, class->current);
        slab = record->free == record->blocks ? class->current : 0;
    }
    if (slab != 0)
        fli_home_give_up(homes, home, slab);
    return slab;
}
