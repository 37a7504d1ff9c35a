/* SPDX-License-Identifier: MIT */
#include "pool/cache.h"
#include "base/check.h"

/* What a thread gives away between two notifications of the heap: so many magazines, or fewer that weigh about so
 * much. */
enum { MAGAZINES_PER_NOTICE = FLI_RARE_PATHS ? 1 : 16, BYTES_PER_NOTICE = 1 << 20 };

/* Blocks by which the floor of a cold magazine comes down at a time. */
enum { STAGE_BLOCKS = FLI_RARE_PATHS ? 1 : 32 };

/* Relaxed: the owner alone orders these words; statistics read single numbers. */
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

/* Loads a magazine in the place of the loaded one, which becomes the previous one. Returns what was previous. */
static struct fli_magazine *push_down(struct fl_cache *cache, struct fli_magazine *magazine, unsigned class_index,
                                      struct fli_backing *backing)
{
    struct fli_magazines *magazines = &backing->magazines;
    unsigned capacity = backing->magazine_blocks[class_index];
    struct fli_magazine *previous = fli_cache_previous(cache, magazines);
    struct fli_magazine *loaded = unload(cache, capacity);
    load(cache, magazine, loaded != NULL ? fli_magazine_index(magazines, loaded) : 0, capacity);
    return previous;
}

/* Takes the previous magazine out of a cache that has one. */
static struct fli_magazine *take_previous(struct fl_cache *cache, struct fli_backing *backing)
{
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    fli_store_relaxed(&fli_cache_loaded(cache)->next, 0); /* relaxed: the magazine is ours */
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

/* ---- The owner's home. */

static uint32_t count_of(const struct fli_magazine *magazine)
{
    return fli_load_relaxed(&magazine->count); /* relaxed: an owner's own, or a number for statistics */
}

static bool is_small(unsigned class_index)
{
    return fli_class_bytes(class_index) <= FLI_HOME_BLOCK_MOST;
}

/* Locks the owner's home, if that is possible within a moment. */
static bool come_home(struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    if (!fli_home_try(home) && !fli_home_try_briefly(home))
        return false;
    if (FLI_UNLIKELY(fli_load_relaxed(&home->away))) /* relaxed: a hint */
        fli_store_relaxed(&home->away, false);
    fli_count(&owner->counters.home_visits, 1);
    return true;
}

/* Moves to another home, because the owner's is held by somebody who may have stopped. */
FLI_COLD static bool move(struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = fli_homes_enter(&backing->homes);
    if (home == NULL)
        return false;
    fli_homes_leave(&backing->homes, owner->home);
    owner->home = home;
    return come_home(owner);
}

/* Keeps a filled magazine at home, which is locked, if there is room. */
static bool keep(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                 struct fli_home *home)
{
    size_t most = fli_load_relaxed(&backing->rack_bytes); /* relaxed: a bound, of now or a moment ago */
    most -= most / 4;
    struct fli_rack_part *part = is_small(class_index) ? &home->rack.small : &home->rack.large;
    return fli_rack_put(part, &home->classes[class_index].shelf, &backing->magazines, magazine, class_index,
                        is_small(class_index) ? fli_min(most, backing->small_bytes) : most);
}

/* A filled magazine that is kept at home, which is locked; or NULL. */
static struct fli_magazine *take_kept(unsigned class_index, struct fli_backing *backing, struct fli_home *home)
{
    struct fli_rack_part *part = is_small(class_index) ? &home->rack.small : &home->rack.large;
    return fli_rack_take(part, &home->classes[class_index].shelf, &backing->magazines, class_index);
}

/* An empty magazine from a home, which is locked, unless that is NULL; or from the pool, or a new one; or NULL. */
static struct fli_magazine *obtain_empty(struct fli_backing *backing, struct fli_home *home, struct fli_owner *owner)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *magazine = NULL;
    if (home != NULL)
        magazine = fli_rack_take(&home->rack.empty, &home->rack.empty_shelf, magazines, 0);
    if (magazine == NULL)
        magazine = fli_stack_pop_mpmc(&backing->pool.empty, magazines, &owner->counters);
    return magazine != NULL ? magazine : fli_magazine_carve(magazines);
}

struct fli_magazine *fli_cache_obtain_empty(struct fli_backing *backing, struct fli_owner *owner)
{
    bool at_home = fli_home_try(owner->home);
    struct fli_magazine *magazine = obtain_empty(backing, at_home ? owner->home : NULL, owner);
    if (at_home)
        fli_home_unlock(owner->home);
    return magazine;
}

static void give_empty(struct fli_magazine *magazine, struct fli_backing *backing, struct fli_owner *owner,
                       bool at_home)
{
    size_t most = fli_load_relaxed(&backing->rack_bytes) / 4; /* relaxed: as above */
    struct fli_rack *rack = &owner->home->rack;
    if (!at_home || !fli_rack_put(&rack->empty, &rack->empty_shelf, &backing->magazines, magazine, 0, most))
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &owner->counters);
}

/* ---- What leaves the caches. */

static void note_given(size_t blocks, unsigned class_index, struct fli_owner *owner)
{
    owner->given_bytes += (uint32_t)(blocks * fli_class_bytes(class_index));
    owner->given_magazines++;
}

bool fli_cache_has_given_much_owner(struct fli_owner *owner)
{
    if (owner->given_magazines < MAGAZINES_PER_NOTICE && owner->given_bytes < BYTES_PER_NOTICE)
        return false;
    owner->given_magazines = owner->given_bytes = 0;
    return true;
}

static void pool_filled(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                        struct fli_owner *owner)
{
    fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, &owner->counters);
    fli_count(&owner->counters.exchanges, 1);
}

/* Sends the blocks of a magazine home, to the owner's if that is `at_home`, locked, which it is no more then. */
static void send_home(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner, bool at_home, bool waits)
{
    void **blocks = fli_magazine_floor(magazine, backing->magazine_blocks[class_index]);
    unsigned left = count_of(magazine);
    if (at_home) {
        left = fli_home_put(&backing->homes, owner->home, class_index, blocks, left);
        fli_home_unlock(owner->home);
    }
    if (left > 0)
        left = fli_homes_return(&backing->homes, class_index, blocks, left, waits, &owner->counters);
    fli_store_relaxed(&magazine->count, (uint16_t)left); /* relaxed: the magazine is ours */
}

/* Keeps a full magazine at a home, which is locked, and unlocks that. Returns an empty one; or NULL, and the home is
 * locked still, if there is no room or no empty one. */
static struct fli_magazine *exchange_kept(struct fli_magazine *full, unsigned class_index,
                                          struct fli_backing *backing, struct fli_home *home, struct fli_owner *owner)
{
    if (!keep(full, class_index, backing, home))
        return NULL;
    struct fli_magazine *empty = obtain_empty(backing, home, owner);
    if (empty != NULL)
        fli_home_unlock(home);
    else
        take_kept(class_index, backing, home); /* the full one */
    return empty;
}

/* Hands a full magazine as it is to another home, if its blocks come from there and its thread is there to use it.
 * Returns as above. */
static struct fli_magazine *hand_over(struct fli_magazine *full, unsigned class_index, struct fli_backing *backing,
                                      struct fli_owner *owner)
{
    void **blocks = fli_magazine_floor(full, backing->magazine_blocks[class_index]);
    struct fli_home *home = fli_homes_of_all(&backing->homes, class_index, blocks, count_of(full));
    if (home == NULL || home == owner->home || fli_load_relaxed(&home->away) || /* relaxed: a hint */
        !fli_home_try_briefly(home))
        return NULL;
    fli_count(&owner->counters.home_visits, 1);
    struct fli_magazine *empty = exchange_kept(full, class_index, backing, home, owner);
    if (empty == NULL)
        fli_home_unlock(home);
    return empty;
}

/* A magazine with room in the place of a full one. */
static struct fli_magazine *exchange_full(struct fli_magazine *full, unsigned class_index,
                                          struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    bool at_home = come_home(owner);
    struct fli_magazine *empty = at_home ? exchange_kept(full, class_index, backing, owner->home, owner) : NULL;
    if (empty == NULL && is_small(class_index)) {
        if (at_home)
            fli_home_unlock(owner->home);
        at_home = false;
        empty = hand_over(full, class_index, backing, owner);
    }
    if (empty != NULL)
        return empty;
    if (is_small(class_index))
        send_home(full, class_index, backing, owner, at_home, false);
    else if (at_home)
        fli_home_unlock(owner->home);
    if (count_of(full) < capacity)
        return full;
    empty = fli_cache_obtain_empty(backing, owner);
    if (empty != NULL)
        pool_filled(full, class_index, backing, owner);
    else
        send_home(full, class_index, backing, owner, false, true);
    return empty != NULL ? empty : full;
}

bool fli_cache_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner)
{
    FLI_ASSERT(fl_cache_is_full(cache->top));
    unsigned capacity = backing->magazine_blocks[class_index];
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines), *room;
    if (previous != NULL && count_of(previous) < capacity) {
        push_down(cache, previous, class_index, backing);
        return true;
    }
    room = previous != NULL ? exchange_full(take_previous(cache, backing), class_index, backing, owner)
                            : fli_cache_obtain_empty(backing, owner);
    if (room == NULL && cache->floor == NULL)
        return false;
    if (room == NULL) {
        room = unload(cache, capacity);
        send_home(room, class_index, backing, owner, false, true);
    }
    push_down(cache, room, class_index, backing);
    if (previous != NULL)
        note_given(capacity, class_index, owner);
    return true;
}

/* ---- What comes to the caches. */

/* Loads a magazine with blocks, and puts away an empty one. */
static void load_filled(struct fl_cache *cache, struct fli_magazine *filled, unsigned class_index,
                        struct fli_backing *backing, struct fli_owner *owner, bool at_home)
{
    __builtin_prefetch(&filled->slots[FLI_MAGAZINE_SLOTS - 1]);
    struct fli_magazine *empty = push_down(cache, filled, class_index, backing);
    if (empty != NULL)
        give_empty(empty, backing, owner, at_home);
    stage(cache, class_index);
}

/* Fills the loaded magazine with free blocks of slabs at home, which is locked. */
static bool load_free(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (fli_load_relaxed(&owner->home->classes[class_index].free) == 0) /* relaxed: the lock orders */
        return false;
    if (cache->floor == NULL) {
        struct fli_magazine *empty = obtain_empty(backing, owner->home, owner);
        if (empty == NULL)
            return false;
        load(cache, empty, 0, capacity);
    }
    unsigned count = fli_home_take(&backing->homes, owner->home, class_index, capacity, cache->floor);
    STORE(cache->top, cache->floor + count);
    if (count > 0)
        stage(cache, class_index);
    return count > 0;
}

static bool load_pooled(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                        struct fli_owner *owner, bool at_home)
{
    struct fli_magazine *filled = fli_stack_pop_mpmc(&backing->pool.filled[class_index], &backing->magazines,
                                                     &owner->counters);
    if (filled == NULL)
        return false;
    fli_count(&owner->counters.exchanges, 1);
    load_filled(cache, filled, class_index, backing, owner, at_home);
    return true;
}

static bool load_kept(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    struct fli_magazine *kept = take_kept(class_index, backing, owner->home);
    if (kept != NULL)
        load_filled(cache, kept, class_index, backing, owner, true);
    return kept != NULL;
}

/* Gets a slab home, which is locked. */
static bool get_slab(unsigned class_index, struct fli_backing *backing, struct fli_home *home, bool pressed)
{
    if (fli_home_adopt(&backing->homes, home, class_index, false))
        return true;
    uint32_t slab = fli_slab_begin(&backing->slabs, class_index);
    if (slab == 0)
        return pressed && fli_home_adopt(&backing->homes, home, class_index, true);
    fli_home_take_in(&backing->homes, home, slab);
    return true;
}

size_t fli_cache_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner, bool pressed)
{
    FLI_ASSERT(cache->top == fli_cache_floor(cache, backing->magazine_blocks[class_index]));
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    if (previous != NULL && count_of(previous) > 0) {
        push_down(cache, previous, class_index, backing);
        return fli_cache_loaded_blocks(cache, backing->magazine_blocks[class_index]);
    }
    bool at_home = come_home(owner);
    bool loaded = at_home &&
                  (load_kept(cache, class_index, backing, owner) || load_free(cache, class_index, backing, owner));
    loaded = loaded || load_pooled(cache, class_index, backing, owner, at_home);
    if (!loaded) {
        at_home = at_home || move(backing, owner);
        loaded = at_home && get_slab(class_index, backing, owner->home, pressed) &&
                 load_free(cache, class_index, backing, owner);
    }
    if (at_home)
        fli_home_unlock(owner->home);
    return loaded ? fli_cache_loaded_blocks(cache, backing->magazine_blocks[class_index]) : 0;
}

/* ---- Flushing. */

/* Sends home, or gives to the pool, what is in a magazine and the magazine itself. */
static void give_away(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    if (count_of(magazine) > 0)
        send_home(magazine, class_index, backing, owner, false, false);
    if (count_of(magazine) > 0)
        pool_filled(magazine, class_index, backing, owner);
    else
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &owner->counters);
}

void fli_cache_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                           struct fli_owner *owner)
{
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    struct fli_magazine *loaded = unload(cache, backing->magazine_blocks[class_index]);
    if (loaded != NULL)
        give_away(loaded, class_index, backing, owner);
    if (previous != NULL)
        give_away(previous, class_index, backing, owner);
}

static struct fli_chain *shelf_of(struct fli_home *home, unsigned class_index)
{
    return class_index != 0 ? &home->classes[class_index].shelf : &home->rack.empty_shelf;
}

struct fli_magazine *fli_cache_take_kept(struct fli_backing *backing, struct fli_home *home, unsigned class_index)
{
    if (fli_chain_first(shelf_of(home, class_index), &backing->magazines) == NULL)
        return NULL;
    return class_index != 0 ? take_kept(class_index, backing, home)
                            : fli_rack_take(&home->rack.empty, &home->rack.empty_shelf, &backing->magazines, 0);
}

/* A magazine off a shelf of the owner's home, which is not locked; or NULL. */
static struct fli_magazine *take_shelved(struct fli_backing *backing, struct fli_owner *owner, unsigned class_index)
{
    struct fli_home *home = owner->home;
    struct fli_magazine *magazine = NULL;
    if (fli_chain_first(shelf_of(home, class_index), &backing->magazines) != NULL && fli_home_try_briefly(home)) {
        magazine = fli_cache_take_kept(backing, home, class_index);
        fli_home_unlock(home);
    }
    return magazine;
}

void fli_cache_end_flush_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_magazine *magazine;
    for (unsigned c = 0; c < FL_CLASS_COUNT; c++)
        while ((magazine = take_shelved(backing, owner, c)) != NULL)
            give_away(magazine, c, backing, owner);
    if (fli_home_try_briefly(owner->home)) {
        fli_rack_reset_empty(&owner->home->rack);
        fli_home_unlock(owner->home);
    }
    fli_store_relaxed(&owner->home->away, true); /* relaxed: a hint */
}

/* ---- Counting. */

size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity)
{
    uintptr_t top = (uintptr_t)LOAD(cache->top), floor = (uintptr_t)fli_cache_floor(cache, capacity);
    /* The two words may be of different magazines while the owner works; no magazine holds more than its capacity. */
    return top > floor ? fli_min((top - floor) / sizeof(void *), capacity) : 0;
}

size_t fli_cache_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing)
{
    const struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    size_t capacity = backing->magazine_blocks[class_index];
    size_t loaded = fli_cache_loaded_blocks(cache, (unsigned)capacity);
    return loaded + (previous != NULL ? fli_min(count_of(previous), capacity) : 0);
}

size_t fli_cache_kept_blocks(struct fli_backing *backing, unsigned class_index)
{
    /* A caller that looks while the owner works may have come to a stack of the pool. */
    size_t capacity = backing->magazine_blocks[class_index];
    size_t most = FLI_RACK_BYTES_MOST / (FLI_MAGAZINE_BYTES + capacity * fli_class_bytes(class_index)) * capacity;
    size_t blocks = 0;
    for (struct fli_home *home = fli_homes_first(&backing->homes); home != NULL; home = home->next)
        blocks += fli_min(fli_chain_blocks(&home->classes[class_index].shelf, &backing->magazines), most);
    return blocks;
}
