/* SPDX-License-Identifier: MIT */
#include "pool/cache.h"

#include <string.h>

/* The blocks of a stage of a cold magazine. */
enum { STAGE_BLOCKS = FLI_RARE_PATHS ? 1 : 32 };

/* What one prefetch brings. */
enum { LINE_BYTES = 64 };

/* The owner alone writes these words; statistics read single ones. */
#define STORE(place, value) fli_store_public(&(place), (value))
#define LOAD(place)         fli_load_public(&(place))

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
    uint32_t index = loaded != NULL ? fli_load_hint(&loaded->next) : 0;
    return index != 0 ? fli_magazine_at(magazines, index) : NULL;
}

void fli_cache_load_owner(struct fl_cache *cache, struct fli_magazine *magazine, uint32_t previous, unsigned capacity)
{
    void **floor = fli_magazine_floor(magazine, capacity);
    fli_store_own(&magazine->next, previous);
    STORE(cache->top, floor + fli_load_own(&magazine->count));
    STORE(cache->floor, floor);
}

struct fli_magazine *fli_cache_unload_owner(struct fl_cache *cache, unsigned capacity)
{
    struct fli_magazine *magazine = fli_cache_loaded(cache);
    if (magazine != NULL)
        fli_store_own(&magazine->count, (uint16_t)(cache->top - fli_magazine_floor(magazine, capacity)));
    STORE(cache->top, NULL);
    STORE(cache->floor, NULL);
    return magazine;
}

struct fli_magazine *fli_cache_push_owner(struct fl_cache *cache, struct fli_magazine *magazine, unsigned capacity,
                                          const struct fli_magazines *magazines)
{
    struct fli_magazine *previous = fli_cache_previous(cache, magazines);
    struct fli_magazine *loaded = fli_cache_unload_owner(cache, capacity);
    fli_cache_load_owner(cache, magazine, loaded != NULL ? fli_magazine_index(magazines, loaded) : 0, capacity);
    return previous;
}

struct fli_magazine *fli_cache_take_previous_owner(struct fl_cache *cache, const struct fli_magazines *magazines)
{
    struct fli_magazine *previous = fli_cache_previous(cache, magazines);
    fli_store_own(&fli_cache_loaded(cache)->next, 0);
    return previous;
}

void fli_cache_fill_owner(struct fl_cache *cache, unsigned count)
{
    STORE(cache->top, cache->floor + count);
}

void fli_cache_set_room_owner(struct fl_cache *cache, unsigned room, unsigned capacity)
{
    struct fli_magazine *loaded = fli_cache_loaded(cache);
    fli_magazine_set_pad(loaded, capacity - room);
    void **floor = fli_magazine_floor(loaded, capacity);
    STORE(cache->top, floor);
    STORE(cache->floor, floor);
}

void fli_cache_grow_owner(struct fl_cache *cache, unsigned room, unsigned capacity)
{
    struct fli_magazine *loaded = fli_cache_loaded(cache);
    void **floor = fli_magazine_floor(loaded, capacity);
    size_t more = room - fli_magazine_room(loaded, capacity);
    memmove(floor - more, floor, (size_t)(cache->top - floor) * sizeof *floor);
    fli_magazine_set_pad(loaded, capacity - room);
    STORE(cache->top, cache->top - more);
    STORE(cache->floor, cache->floor - more);
}

/* ---- Cold magazines. */

/* The slot `count` slots below `slot`, or `floor` if that is higher. */
static void **down(void **slot, size_t count, void **floor)
{
    return (size_t)(slot - floor) > count ? slot - count : floor;
}

/* Prefetches the first line of each block, in the order in which the blocks will be taken. */
static void fetch(void **from, void **upto)
{
    while (upto-- > from)
        __builtin_prefetch(*upto, 1);
}

/* Whether the blocks lie in the order of their addresses, judged by a sample. */
static bool in_address_order(void **top, void **floor, unsigned class_index)
{
    void **lower = down(top - 1, STAGE_BLOCKS, floor);
    uintptr_t distance = (size_t)(top - 1 - lower) * fli_class_bytes(class_index);
    return (uintptr_t)*lower - (uintptr_t)top[-1] == distance || (uintptr_t)top[-1] - (uintptr_t)*lower == distance;
}

void fli_cache_stage_owner(struct fl_cache *cache, unsigned class_index)
{
    void **top = cache->top, **floor = cache->floor;
    /* The processor fetches lines ahead that are written one after the other. Of larger blocks, programs write some lines
     * and leave out others. */
    if (fli_class_bytes(class_index) < LINE_BYTES && in_address_order(top, floor, class_index))
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

/* ---- Counting. */

size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity)
{
    uintptr_t top = (uintptr_t)LOAD(cache->top), floor = (uintptr_t)fli_cache_floor(cache, capacity);
    /* While the owner works, the two words may belong to different magazines: hence the bound. */
    return top > floor ? fli_min((top - floor) / sizeof(void *), capacity) : 0;
}

size_t fli_cache_blocks(const struct fl_cache *cache, unsigned capacity, const struct fli_magazines *magazines)
{
    const struct fli_magazine *previous = fli_cache_previous(cache, magazines);
    size_t loaded = fli_cache_loaded_blocks(cache, capacity);
    return loaded + (previous != NULL ? fli_min(fli_magazine_count(previous), capacity) : 0);
}
