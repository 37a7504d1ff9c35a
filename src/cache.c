/* SPDX-License-Identifier: MIT */
#include "cache.h"
#include "check.h"

/* What a thread gives to the pool between two notifications of the heap: so many magazines, or fewer that weigh about
 * so much. */
enum { MAGAZINES_PER_NOTICE = FLI_RARE_PATHS ? 1 : 16, BYTES_PER_NOTICE = 1 << 20 };

/* Blocks by which the floor of a cold magazine comes down at a time. */
enum { STAGE_BLOCKS = FLI_RARE_PATHS ? 1 : 32 };

/* Relaxed: the owner alone orders these words; statistics read single numbers. */
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)
#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_RELAXED)

struct fli_magazine *fli_cache_loaded(const struct fl_cache *cache)
{
    uintptr_t floor = (uintptr_t)LOAD(cache->floor);
    return (struct fli_magazine *)(floor & ~(uintptr_t)(FLI_MAGAZINE_BYTES - 1));
}

void **fli_cache_floor(const struct fl_cache *cache, unsigned capacity)
{
    struct fli_magazine *loaded = fli_cache_loaded(cache);
    return loaded != NULL ? fli_magazine_floor(loaded, capacity) : NULL;
}

struct fli_magazine *fli_cache_previous(const struct fl_cache *cache, const struct fli_magazines *magazines)
{
    const struct fli_magazine *loaded = fli_cache_loaded(cache);
    uint32_t index = loaded != NULL ? fli_load_relaxed(&loaded->next) : 0; /* relaxed: as above */
    return index != 0 ? fli_magazine_at(magazines, index) : NULL;
}

/* Loads a magazine into a cache that has none. `previous` is the index of another one, or 0. */
static void load(struct fl_cache *cache, struct fli_magazine *magazine, uint32_t previous, unsigned capacity)
{
    void **floor = fli_magazine_floor(magazine, capacity);
    fli_store_relaxed(&magazine->next, previous);                  /* relaxed: the magazine is ours */
    STORE(cache->top, floor + fli_load_relaxed(&magazine->count)); /* relaxed: likewise */
    STORE(cache->floor, floor);
}

/* Takes the loaded magazine, if there is one, out of the cache. */
static struct fli_magazine *unload(struct fl_cache *cache, unsigned capacity)
{
    struct fli_magazine *magazine = fli_cache_loaded(cache);
    if (magazine != NULL)
        fli_store_relaxed(&magazine->count, /* relaxed: the magazine is ours */
                          (uint16_t)(cache->top - fli_magazine_floor(magazine, capacity)));
    STORE(cache->top, NULL);
    STORE(cache->floor, NULL);
    return magazine;
}

/* Loads a magazine in the place of the loaded one, which becomes the previous one, over the same shelf. Returns what
 * was previous. */
static struct fli_magazine *push_down(struct fl_cache *cache, struct fli_magazine *magazine, unsigned class_index,
                                      struct fli_backing *backing)
{
    struct fli_magazines *magazines = &backing->magazines;
    unsigned capacity = backing->magazine_blocks[class_index];
    struct fli_magazine *previous = fli_cache_previous(cache, magazines);
    uint32_t shelf = previous != NULL ? fli_load_relaxed(&previous->next) : 0; /* relaxed: the magazines are ours */
    struct fli_magazine *loaded = unload(cache, capacity);
    if (loaded != NULL)
        fli_store_relaxed(&loaded->next, shelf);
    load(cache, magazine, loaded != NULL ? fli_magazine_index(magazines, loaded) : 0, capacity);
    return previous;
}

/* ---- Cold magazines. */

/* The slot `count` slots below `slot`, but not below `floor`. */
static void **down(void **slot, size_t count, void **floor)
{
    return (size_t)(slot - floor) > count ? slot - count : floor;
}

/* Fetches the first lines of blocks, in the order in which they will be taken. */
static void fetch(void **from, void **upto)
{
    while (upto-- > from)
        __builtin_prefetch(*upto, 1);
}

/* Whether the blocks lie in the order of their addresses, judged by a sample: the processor fetches these itself. */
static bool in_address_order(void **top, void **floor, unsigned class_index)
{
    void **lower = down(top - 1, STAGE_BLOCKS, floor);
    uintptr_t distance = (size_t)(top - 1 - lower) * fli_class_bytes(class_index);
    return (uintptr_t)*lower - (uintptr_t)top[-1] == distance || (uintptr_t)top[-1] - (uintptr_t)*lower == distance;
}

/* Stages a magazine that has just been loaded and has blocks: the first of them and as many more are fetched. */
static void stage(struct fl_cache *cache, unsigned class_index)
{
    void **top = cache->top, **floor = cache->floor;
    if (in_address_order(top, floor, class_index))
        return;
    fetch(down(top, 2 * STAGE_BLOCKS, floor), top);
    STORE(cache->floor, down(top, STAGE_BLOCKS, floor));
}

bool fli_cache_lower_floor_owner(struct fl_cache *cache, unsigned capacity)
{
    void **floor = fli_cache_floor(cache, capacity);
    if (cache->floor == floor)
        return false;
    void **lower = down(cache->floor, STAGE_BLOCKS, floor);
    fetch(down(lower, STAGE_BLOCKS, floor), lower);
    STORE(cache->floor, lower);
    return true;
}

/* ---- Exchanges. */

static uint32_t count_of(const struct fli_magazine *magazine)
{
    return fli_load_relaxed(&magazine->count); /* relaxed: an owner's own, or a number for statistics */
}

struct fli_magazine *fli_cache_obtain_empty(struct fli_backing *backing, struct fli_rack *rack)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *magazine = fli_rack_take_owner(&rack->empty, &rack->empty_shelf, magazines, 0);
    if (magazine == NULL)
        magazine = fli_stack_pop_mpmc(&backing->pool.empty, magazines, &rack->counters);
    return magazine != NULL ? magazine : fli_magazine_carve(magazines);
}

/* A magazine with blocks, off the cache's shelf or from the pool; or NULL. */
static struct fli_magazine *obtain_filled(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                          struct fli_rack *rack)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *previous = fli_cache_previous(cache, magazines), *filled = NULL;
    if (previous != NULL)
        filled = fli_rack_take_owner(&rack->full, &previous->next, magazines, class_index);
    if (filled != NULL)
        return filled;
    filled = fli_stack_pop_mpmc(&backing->pool.filled[class_index], magazines, &rack->counters);
    if (filled != NULL)
        fli_count(&rack->counters.exchanges, 1);
    return filled;
}

static void pool_filled(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                        struct fli_rack *rack)
{
    size_t bytes = count_of(magazine) * fli_class_bytes(class_index);
    fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, &rack->counters);
    fli_count(&rack->counters.exchanges, 1);
    size_t given = rack->given + (MAGAZINES_PER_NOTICE * bytes + BYTES_PER_NOTICE - 1) / BYTES_PER_NOTICE;
    rack->given = (uint8_t)(given % MAGAZINES_PER_NOTICE);
    if (given >= MAGAZINES_PER_NOTICE)
        backing->pool_grew(backing);
}

/* Gives a magazine of any fill to the stack of the pool where it belongs. */
static void pool(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                 struct fli_rack *rack)
{
    if (count_of(magazine) > 0)
        pool_filled(magazine, class_index, backing, rack);
    else
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &rack->counters);
}

/* Puts what has just come out of a cache, full or empty, onto the rack, or gives it to the pool if there is no
 * room. */
static void put_away(struct fl_cache *cache, struct fli_magazine *magazine, unsigned class_index,
                     struct fli_backing *backing, struct fli_rack *rack)
{
    if (magazine == NULL)
        return;
    struct fli_magazines *magazines = &backing->magazines;
    size_t most = fli_load_relaxed(&backing->rack_bytes); /* relaxed: a bound, of now or a moment ago */
    bool kept = count_of(magazine) > 0
                    ? fli_rack_put_owner(&rack->full, &fli_cache_previous(cache, magazines)->next, magazines,
                                         magazine, class_index, most - most / 4)
                    : fli_rack_put_owner(&rack->empty, &rack->empty_shelf, magazines, magazine, 0, most / 4);
    if (!kept)
        pool(magazine, class_index, backing, rack);
}

static bool load_filled(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                        struct fli_rack *rack)
{
    struct fli_magazine *filled = obtain_filled(cache, class_index, backing, rack);
    if (filled == NULL)
        return false;
    __builtin_prefetch(&filled->slots[FLI_MAGAZINE_SLOTS - 1]);
    put_away(cache, push_down(cache, filled, class_index, backing), class_index, backing, rack);
    stage(cache, class_index);
    return true;
}

/* Fills the loaded magazine with blocks that no magazine holds. */
static bool load_fresh(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                       struct fli_rack *rack)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (cache->floor == NULL) {
        struct fli_magazine *empty = fli_cache_obtain_empty(backing, rack);
        if (empty == NULL)
            return false;
        load(cache, empty, 0, capacity);
    }
    unsigned count = 0;
    /* Relaxed: a hint. */
    if (FLI_UNLIKELY(fli_load_relaxed(&backing->slabs.by_class[class_index].parked) != 0))
        count = fli_slab_unpark(&backing->slabs, class_index, capacity, cache->floor);
    if (count == 0)
        count = fli_slab_carve(&backing->slabs, class_index, capacity, cache->floor);
    STORE(cache->top, cache->floor + count);
    return count > 0;
}

size_t fli_cache_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_rack *rack)
{
    FLI_ASSERT(cache->top == fli_cache_floor(cache, backing->magazine_blocks[class_index]));
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    if (previous != NULL && count_of(previous) > 0)
        push_down(cache, previous, class_index, backing);
    else if (!load_filled(cache, class_index, backing, rack) && !load_fresh(cache, class_index, backing, rack))
        return 0;
    return fli_cache_loaded_blocks(cache, backing->magazine_blocks[class_index]);
}

bool fli_cache_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_rack *rack)
{
    FLI_ASSERT(fl_cache_is_full(cache->top));
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    if (previous != NULL && count_of(previous) < backing->magazine_blocks[class_index]) {
        push_down(cache, previous, class_index, backing);
        return true;
    }
    struct fli_magazine *empty = fli_cache_obtain_empty(backing, rack);
    if (empty == NULL)
        return false;
    put_away(cache, push_down(cache, empty, class_index, backing), class_index, backing, rack);
    return true;
}

void fli_cache_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                           struct fli_rack *rack)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *previous = fli_cache_previous(cache, magazines), *racked;
    while (previous != NULL &&
           (racked = fli_rack_take_owner(&rack->full, &previous->next, magazines, class_index)) != NULL)
        pool(racked, class_index, backing, rack);
    struct fli_magazine *loaded = unload(cache, backing->magazine_blocks[class_index]);
    if (loaded != NULL)
        pool(loaded, class_index, backing, rack);
    if (previous != NULL)
        pool(previous, class_index, backing, rack);
}

void fli_cache_end_flush_owner(struct fli_backing *backing, struct fli_rack *rack)
{
    struct fli_magazine *empty;
    while ((empty = fli_rack_take_owner(&rack->empty, &rack->empty_shelf, &backing->magazines, 0)) != NULL)
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, empty, &rack->counters);
    rack->full = rack->empty = (struct fli_rack_part){0, 0, 0, 0};
}

size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity)
{
    uintptr_t top = (uintptr_t)LOAD(cache->top), floor = (uintptr_t)fli_cache_floor(cache, capacity);
    /* The two words may be of different magazines while the owner works; no magazine holds more than its capacity. */
    return top > floor ? fli_min((top - floor) / sizeof(void *), capacity) : 0;
}

size_t fli_cache_racked_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing)
{
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    /* Who looks while the owner works may have come to a stack of the pool. */
    size_t capacity = backing->magazine_blocks[class_index];
    size_t magazines_most = FLI_RACK_BYTES_MOST / (FLI_MAGAZINE_BYTES + capacity * fli_class_bytes(class_index));
    uint64_t most = magazines_most * capacity;
    return previous != NULL ? fli_min(fli_rack_blocks(&previous->next, &backing->magazines), most) : 0;
}

size_t fli_cache_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing)
{
    const struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    size_t capacity = backing->magazine_blocks[class_index];
    size_t loaded = fli_cache_loaded_blocks(cache, (unsigned)capacity);
    return loaded + (previous != NULL ? fli_min(count_of(previous), capacity) : 0) +
           fli_cache_racked_blocks(cache, class_index, backing);
}
