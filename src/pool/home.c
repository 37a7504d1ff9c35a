/* SPDX-License-Identifier: MIT */
#include "pool/homes.h"
#include "base/check.h"
#include "base/lock.h"
#include "memory/slab_list.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* How long a thread tries a lock: how often it looks at it in a row, and how often it yields the processor between. */
enum { LOOKS = FLI_MODEL ? 2 : 64, TURNS = FLI_RARE_PATHS ? 1 : 8 };

/* How many slabs back the start of a run of free slabs is looked for. */
enum { RUN_MOST = 64 };

/* ---- The lock. */

static bool take_lock(struct fli_home *home)
{
    uint32_t word = fli_load_hint(&home->lock);
    /* W1: seq_cst, pairs with W2 in release_lock, and with W7 in fli_home_await. Failure: relaxed, nothing is read
     * then. */
    return fli_lock_is_free(word) &&
           fli_cas_strong(&home->lock, &word, fli_lock_mark(), memory_order_seq_cst, memory_order_relaxed);
}

static void release_lock(struct fli_home *home)
{
    /* W2: release, pairs with W1 in take_lock and W7 in fli_home_await: all that was done under the lock. */
    fli_store_release(&home->lock, 0);
}

bool fli_home_try(struct fli_home *home)
{
    if (FLI_UNLIKELY(fli_lock_is_forking()) && fli_lock_is_held())
        return true;
    if (!take_lock(home))
        return false;
    if (FLI_LIKELY(!fli_lock_is_closed(FLI_RANK_HOME)))
        return true;
    release_lock(home);
    return false;
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
        if (!fli_lock_wait_for_fork(FLI_RANK_HOME))
            sched_yield();
}

void fli_home_unlock(struct fli_home *home)
{
    if (FLI_LIKELY(!fli_lock_is_forking()))
        release_lock(home);
}

void fli_home_await(struct fli_home *home)
{
    /* W7: seq_cst, pairs with W1 in take_lock and W2 in release_lock: all that was done under the lock. */
    while (!fli_lock_is_free(fli_load_order(&home->lock, memory_order_seq_cst)))
        sched_yield();
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
        fli_sub_count(&homes->free_slabs, 1);
}

static void link_slab(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab)
{
    unsigned list = fli_slab_at(homes->slabs, slab)->list;
    fli_slab_list_add(homes->slabs, &class->lists[list], slab);
    if (list == FLI_HOME_FREE)
        fli_add_count(&homes->free_slabs, 1);
}

/* The list on which a slab with so many free blocks belongs. */
static unsigned list_for(const struct fli_slab *record)
{
    if (record->free == 0)
        return FLI_HOME_FULL;
    return (unsigned)record->free * FLI_HOME_QUARTERS / record->blocks;
}

/* The number of free blocks at which the slab belongs on another list. */
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

void fli_home_sort(struct fli_homes *homes, struct fli_home_class *class, const void *address)
{
    uint32_t slab = fli_slab_number(homes->slabs, address);
    move_slab(homes, class, slab, list_for(fli_slab_at(homes->slabs, slab)));
}

/* ---- Taking blocks. */

/* Whether the bits of a word that is not 0 stand in a row, from its lowest one on. */
static inline bool is_row(uint64_t word)
{
    uint64_t lowest = word & -word;
    return (word & (word + lowest)) == 0;
}

/* Stores pointers to the blocks that a word of bits names, `count` of them, lowest address first, from `end` down.
 * Returns where it stopped. */
static inline void **spread(uint64_t word, unsigned count, char *start, size_t block_bytes, void **end)
{
    if (FLI_LIKELY(is_row(word))) {
        start += (unsigned)__builtin_ctzll(word) * block_bytes;
        for (; count >= 4; count -= 4, start += 4 * block_bytes) {
            *--end = start;
            *--end = start + block_bytes;
            *--end = start + 2 * block_bytes;
            *--end = start + 3 * block_bytes;
        }
        for (; count > 0; count--, start += block_bytes)
            *--end = start;
        return end;
    }
    for (; word != 0; word &= word - 1)
        *--end = start + (unsigned)__builtin_ctzll(word) * block_bytes;
    return end;
}

/* The lowest `count` of the bits of a word that has more than these. */
static uint64_t lowest(uint64_t word, unsigned count)
{
    if (is_row(word))
        return word & ~(UINT64_MAX << ((unsigned)__builtin_ctzll(word) + count));
    uint64_t rest = word;
    while (count-- > 0)
        rest &= rest - 1;
    return word & ~rest;
}

/* Takes up to `count` of the slab's free blocks, lowest address first, from the end of the array down. */
static unsigned take_lowest(struct fli_homes *homes, uint32_t slab, unsigned count, void **end)
{
    const struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    FLI_ATOMIC(uint64_t) *bits = fli_slab_free_bits(homes->slabs, slab);
    size_t block_bytes = homes->slabs->by_class[record->class_index].block_bytes;
    char *start = fli_slab_start(homes->slabs, slab);
    unsigned left = (unsigned)fli_min(count, record->free), done = left;
    for (unsigned w = 0; left > 0; w++) {
        uint64_t word = fli_load_own(&bits[w]), taken = word;
        if (word == 0)
            continue;
        unsigned there = (unsigned)__builtin_popcountll(word);
        if (there > left)
            taken = lowest(word, there = left);
        end = spread(taken, there, start + w * 64 * block_bytes, block_bytes, end);
        fli_store_own(&bits[w], word & ~taken);
        left -= there;
    }
    return done;
}

/* Does the same as take_lowest with a random choice of the blocks, each as likely as any other. Of many free blocks it
 * tries random ones; few it goes through (Knuth, The Art of Computer Programming, 3.4.2, algorithm S). */
static __attribute__((noinline)) unsigned take_random(struct fli_homes *homes, uint32_t slab, unsigned count,
                                                      void **end)
{
    const struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    const struct fli_random_key *key = &homes->slabs->key;
    FLI_ATOMIC(uint64_t) *bits = fli_slab_free_bits(homes->slabs, slab);
    size_t block_bytes = homes->slabs->by_class[record->class_index].block_bytes;
    char *start = fli_slab_start(homes->slabs, slab);
    unsigned unseen = record->free, left = (unsigned)fli_min(count, unseen), done = left;
    bool tries = (size_t)left * record->blocks < (size_t)unseen * unseen;
    for (unsigned i = 0; left > 0; i++) {
        unsigned index = tries ? fli_random_below(key, record->blocks) : i;
        uint64_t word = fli_load_own(&bits[index / 64]), bit = (uint64_t)1 << index % 64;
        if ((word & bit) == 0 || (!tries && fli_random_below(key, unseen--) >= left))
            continue;
        fli_store_own(&bits[index / 64], word & ~bit);
        *--end = start + index * block_bytes;
        left--;
    }
    return done;
}

/* Takes up to `count` of the slab's free blocks, from the end of the array down. */
static unsigned take_from(struct fli_homes *homes, struct fli_home_class *class, uint32_t slab, unsigned count,
                          void **end)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    unsigned done = !FLI_MODEL && FLI_UNLIKELY(homes->slabs->hardened) ? take_random(homes, slab, count, end)
                                                                       : take_lowest(homes, slab, count, end);
    record->free = (uint16_t)(record->free - done);
    count_free(class, (unsigned)-done);
    return done;
}

/* Whether a slab number is that of a slab of the class at this home of which at least half of the blocks are
 * free. */
static bool is_roomy(struct fli_homes *homes, struct fli_home *home, unsigned class_index, uint32_t slab)
{
    const struct fli_slabs *slabs = homes->slabs;
    /* Slabs of other homes may change meanwhile. A slab at this home keeps its class as long as the lock is held. */
    FLI_ATOMIC(uint8_t) *class = slab != 0 ? fli_slab_class_at(slabs, slab) : NULL;
    if (class == NULL || fli_load_hint(class) != class_index)
        return false;
    const struct fli_slab *record = fli_slab_at(slabs, slab);
    return fli_load_hint(&record->home) == home && record->list >= FLI_HOME_QUARTERS / 2 &&
           record->list <= FLI_HOME_FREE;
}

static bool is_all_free(const struct fli_homes *homes, uint32_t slab)
{
    return fli_slab_at(homes->slabs, slab)->list == FLI_HOME_FREE;
}

/* The lowest slab of the row of roomy slabs that ends with this one. If this one is partly in use, so are all. */
static uint32_t start_of_run(struct fli_homes *homes, struct fli_home *home, unsigned class_index, uint32_t slab)
{
    bool may_be_free = is_all_free(homes, slab);
    for (unsigned n = 0; n < RUN_MOST && is_roomy(homes, home, class_index, slab - 1) &&
                         (may_be_free || !is_all_free(homes, slab - 1));
         n++)
        slab--;
    return slab;
}

/* The first slab of the lists, in this order, and its list; 0 if they have none. */
static uint32_t first_of(const struct fli_home_class *class, const unsigned char order[FLI_HOME_LISTS],
                         unsigned *list)
{
    for (unsigned i = 0; i < FLI_HOME_LISTS; i++)
        if (class->lists[ *list = order[i]] != 0)
            return class->lists[*list];
    return 0;
}

/* The slab whose blocks refills take next, or 0. Of small blocks, first choice is the neighbour of the slab before, if it is
 * roomy. Then comes a slab with many free blocks. One that is all free comes late, because it can serve other classes
 * too. Of large blocks, which fill pages, a slab with few free blocks is best: others become all free meanwhile. */
static uint32_t pick(struct fli_homes *homes, struct fli_home *home, unsigned class_index)
{
    struct fli_home_class *class = &home->classes[class_index];
    static const unsigned char small[] = {3, 2, 1, FLI_HOME_FREE, 0}, large[] = {0, 1, 2, 3, FLI_HOME_FREE};
    unsigned list;
    if (!FLI_MODEL && fli_class_bytes(class_index) > FLI_HOME_BLOCK_MOST)
        return first_of(class, large, &list);
    if (class->latest != 0 && is_roomy(homes, home, class_index, class->latest + 1))
        return class->latest + 1;
    uint32_t slab = first_of(class, small, &list);
    return slab != 0 && list >= FLI_HOME_QUARTERS / 2 ? start_of_run(homes, home, class_index, slab) : slab;
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

void fli_home_forget_first(struct fli_home *home)
{
    for (unsigned c = 0; c < FLI_HOME_FIRST; c++)
        home->first[c] = 0;
}

void fli_home_take_in(struct fli_homes *homes, struct fli_home *home, uint32_t slab)
{
    struct fli_slab *record = fli_slab_at(homes->slabs, slab);
    struct fli_home_class *class = &home->classes[record->class_index];
    fli_home_assert_held(home);
    /* W5: release, pairs with W6 in fli_home_of_slab: the home is whole, though a thread may meet it here first. */
    fli_store_release(&record->home, home);
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

void fli_home_close_free(struct fli_homes *homes, struct fli_home *home)
{
    fli_home_assert_held(home);
    FLI_FOR_USED_CLASSES (c, homes->slabs) {
        struct fli_home_class *class = &home->classes[c];
        if (class->current == 0 || list_for(fli_slab_at(homes->slabs, class->current)) != FLI_HOME_FREE)
            continue;
        move_slab(homes, class, class->current, FLI_HOME_FREE);
        class->current = 0;
    }
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
