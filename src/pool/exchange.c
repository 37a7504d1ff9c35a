/* SPDX-License-Identifier: MIT */
#include "pool/exchange.h"
#include "base/check.h"
#include "pool/allowance.h"
#include "pool/begin.h"
#include "pool/deliver.h"
#include "pool/quiet.h"
#include "pool/realtime.h"
#include "pool/reserve.h"
#include "pool/single.h"

enum { FIRST_BLOCKS = 12 }; /* so many of a class a thread gets at first from a shared slab (home.h) */

/* ---- What leaves the caches. */

/* Notes what goes home or to the pool. What homes keep in magazines does not count as held (heap/bound.h). */
static void note_given(size_t blocks, unsigned class_index, struct fli_owner *owner)
{
    owner->given_bytes += (uint32_t)(blocks * fli_class_bytes(class_index));
    owner->given_magazines++;
}

bool fli_exchange_send_home_owner(void *block, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    if (fli_homes_return(&backing->homes, class_index, &block, 1, false, &owner->counters) != 0)
        return false;
    owner->given_bytes += (uint32_t)fli_class_bytes(class_index);
    return true;
}

void fli_exchange_pool_filled_owner(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                                    struct fli_owner *owner)
{
    fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, &owner->counters);
    fli_count(&owner->counters.exchanges, 1);
}

/* Sends the blocks of a magazine home. If it is `at_home`, the owner's home is locked; this unlocks it. */
static void send_home(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner, bool at_home, bool waits)
{
    void **blocks = fli_magazine_floor(magazine, backing->magazine_blocks[class_index]);
    unsigned count = fli_magazine_count(magazine), left = count;
    if (at_home) {
        left = fli_deliver(&backing->homes, owner->home, class_index, blocks, left);
        fli_home_unlock(owner->home);
        if (left > 0 && fli_allowance_is_crowded(backing))
            left = fli_single_pool_owner(blocks, left, class_index, backing, owner);
    }
    if (left > 0)
        left = fli_homes_return(&backing->homes, class_index, blocks, left, waits, &owner->counters);
    fli_store_own(&magazine->count, (uint16_t)left);
    if (fli_allowance_is_scarce(backing))
        fli_allowance_note_home_owner(owner, class_index, count - left);
}

/* Keeps a full magazine at a home, which is locked. Returns an empty magazine and unlocks the home. If there is no
 * room or no empty magazine, returns NULL and leaves the home locked. */
static struct fli_magazine *exchange_kept(struct fli_magazine *full, unsigned class_index,
                                          struct fli_backing *backing, struct fli_home *home, struct fli_owner *owner)
{
    if (!fli_owner_keep(full, class_index, backing, home)) {
        if (FLI_UNLIKELY(fli_owner_keeps_more(backing, home)))
            fli_owner_level(backing, home, &owner->counters);
        return NULL;
    }
    struct fli_magazine *empty = fli_owner_obtain_empty(backing, home, owner);
    if (empty != NULL)
        fli_home_unlock(home);
    else
        fli_owner_take_kept(class_index, backing, home); /* the full one */
    return empty;
}

/* A hint whether a home asks for a magazine of the class: its thread is present, and no more than one lies there. More
 * would come back in the order of their frees, but blocks that go home one by one in the order of addresses. */
static bool asks_for_magazine(struct fli_home *home, unsigned class_index, struct fli_backing *backing)
{
    return fli_chain_blocks(&home->classes[class_index].shelf, &backing->magazines) <=
               backing->magazine_blocks[class_index] &&
           !fli_load_hint(&home->away) && home != fli_homes_shared(&backing->homes);
}

/* Gives a full magazine whole to another home. Returns an empty one; or NULL if there is no room or no empty one. */
static struct fli_magazine *hand_over(struct fli_magazine *full, unsigned class_index, struct fli_backing *backing,
                                      struct fli_home *home, struct fli_owner *owner)
{
    if (!fli_home_try_briefly(home))
        return NULL;
    fli_count(&owner->counters.home_visits, 1);
    struct fli_magazine *empty = exchange_kept(full, class_index, backing, home, owner);
    if (empty == NULL)
        fli_home_unlock(home);
    return empty;
}

/* Keeps a full magazine at home, or gives it whole to another home. Returns an empty one, and the owner's home is
 * unlocked; or NULL, and the owner's home is still locked if `*at_home`: not where all blocks come from another one. */
static struct fli_magazine *put_whole(struct fli_magazine *full, unsigned class_index, struct fli_backing *backing,
                                      struct fli_owner *owner, bool *at_home)
{
    struct fli_magazine *empty = *at_home ? exchange_kept(full, class_index, backing, owner->home, owner) : NULL;
    if (empty != NULL || !fli_owner_is_small(class_index))
        return empty;
    void **blocks = fli_magazine_floor(full, backing->magazine_blocks[class_index]);
    struct fli_home *other = fli_homes_other(&backing->homes, owner->home, class_index, blocks,
                                             fli_magazine_count(full));
    if (FLI_LIKELY(other == NULL))
        return NULL;
    if (*at_home)
        fli_home_unlock(owner->home);
    *at_home = false;
    return asks_for_magazine(other, class_index, backing) ? hand_over(full, class_index, backing, other, owner)
                                                          : NULL;
}

/* Returns a magazine with room for a full one. */
static struct fli_magazine *exchange_full(struct fli_magazine *full, unsigned class_index,
                                          struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned room = fli_magazine_room(full, backing->magazine_blocks[class_index]);
    bool at_home = fli_owner_come_home(owner), is_whole = fli_magazine_pad(full) == 0;
    struct fli_magazine *empty = is_whole ? put_whole(full, class_index, backing, owner, &at_home) : NULL;
    if (empty != NULL)
        return empty;
    note_given(room, class_index, owner);
    if (fli_owner_is_small(class_index))
        send_home(full, class_index, backing, owner, at_home, false);
    else if (at_home)
        fli_home_unlock(owner->home);
    if (fli_magazine_count(full) < room)
        return full;
    empty = fli_owner_obtain_empty_anywhere(backing, owner);
    if (empty != NULL)
        fli_exchange_pool_filled_owner(full, class_index, backing, owner);
    else
        send_home(full, class_index, backing, owner, false, true);
    return empty != NULL ? empty : full;
}

bool fli_exchange_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    FLI_ASSERT(fl_cache_is_full(cache->top));
    fli_quiet_note_owner(owner, class_index);
    unsigned capacity = backing->magazine_blocks[class_index];
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines), *full = previous, *room;
    if (previous != NULL && fli_magazine_count(previous) < fli_magazine_room(previous, capacity)) {
        fli_cache_push_owner(cache, previous, capacity, &backing->magazines);
        return true;
    }
    if (fli_reserve_keeps(owner, class_index) && fli_reserve_make_room_owner(cache, class_index, backing, owner))
        return true;
    if (FLI_UNLIKELY(owner->realtime))
        return fli_realtime_make_room_owner(cache, class_index, backing, owner);
    bool is_scarce = fli_allowance_is_scarce(backing);
    if (is_scarce && full == NULL && fli_allowance_grow_owner(cache, class_index, backing, owner))
        return true;
    if (is_scarce && full == NULL && !fli_allowance_adds_owner(cache, class_index, backing, owner))
        full = fli_cache_unload_owner(cache, capacity); /* one magazine has to do */
    else if (full != NULL)
        fli_cache_take_previous_owner(cache, &backing->magazines);
    unsigned had = full != NULL ? fli_magazine_room(full, capacity) : 0;
    if (is_scarce)
        fli_allowance_note_owner(full, false, class_index, backing, owner);
    room = full != NULL ? exchange_full(full, class_index, backing, owner)
                        : fli_owner_obtain_empty_anywhere(backing, owner);
    if (room == NULL && cache->floor == NULL)
        return false;
    if (room == NULL) {
        room = fli_cache_unload_owner(cache, capacity);
        send_home(room, class_index, backing, owner, false, true);
    }
    if (is_scarce)
        fli_allowance_fit_owner(room, had, cache, class_index, backing, owner);
    fli_cache_push_owner(cache, room, capacity, &backing->magazines);
    return true;
}

/* ---- What comes to the caches. */

/* Loads a magazine with blocks, and puts away an empty one. */
static void load_filled(struct fl_cache *cache, struct fli_magazine *filled, unsigned class_index,
                        struct fli_backing *backing, struct fli_owner *owner, bool at_home)
{
    __builtin_prefetch(&filled->slots[FLI_MAGAZINE_SLOTS - 1]);
    if (fli_allowance_is_scarce(backing) && !fli_allowance_takes_owner(filled, cache, class_index, backing, owner)) {
        fli_allowance_load_some_owner(cache, filled, class_index, backing, owner);
        return;
    }
    struct fli_magazine *empty = fli_cache_push_owner(cache, filled, backing->magazine_blocks[class_index],
                                                      &backing->magazines);
    if (empty != NULL && fli_reserve_keeps(owner, class_index))
        fli_reserve_keep_empty_owner(empty, backing, owner);
    else if (empty != NULL)
        fli_owner_give_empty(empty, backing, owner, at_home);
    fli_cache_stage_owner(cache, class_index);
}

/* Fills the loaded magazine with free blocks of slabs at a home, which is locked, but with no more than `most`. */
static bool load_free(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner, struct fli_home *home, unsigned most)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (fli_load_own(&home->classes[class_index].free) == 0)
        return false;
    most = (unsigned)fli_min(most, fli_owner_refill_most(cache, class_index, backing, owner));
    if (cache->floor == NULL) {
        struct fli_magazine *empty = fli_owner_obtain_empty(backing, owner->home, owner);
        if (empty == NULL)
            return false;
        if (fli_allowance_is_scarce(backing))
            fli_allowance_fit_owner(empty, 0, cache, class_index, backing, owner);
        fli_cache_load_owner(cache, empty, 0, capacity);
    } else if (fli_allowance_is_scarce(backing)) {
        fli_allowance_fit_loaded_owner(cache, class_index, backing, owner);
    }
    unsigned room = fli_allowance_to_fill(fli_cache_loaded(cache), capacity), wanted = most < room ? most : room;
    if (FLI_UNLIKELY(owner->realtime) && wanted > FLI_REALTIME_BLOCKS)
        wanted = FLI_REALTIME_BLOCKS;
    unsigned count = fli_home_take(&backing->homes, home, class_index, wanted, cache->floor);
    fli_cache_fill_owner(cache, count);
    if (count > 0)
        fli_cache_stage_owner(cache, class_index);
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
    struct fli_magazine *kept = fli_owner_take_kept(class_index, backing, owner->home);
    if (kept != NULL)
        load_filled(cache, kept, class_index, backing, owner, true);
    return kept != NULL;
}

/* Brings a thread its first blocks of a class from the slabs that threads share, if there are many threads. */
static bool load_first(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                       struct fli_owner *owner)
{
    struct fli_home *shared = fli_homes_shared(&backing->homes);
    unsigned had = *fli_home_first(owner->home, class_index);
    unsigned most = fli_allowance_first(backing, class_index, FIRST_BLOCKS);
    if (shared == NULL || had >= most || !fli_owner_is_small(class_index) || owner->realtime ||
        !fli_allowance_try_shared(backing, shared))
        return false;
    if (fli_load_hint(&shared->away))
        fli_store_hint(&shared->away, false);
    bool loaded = (fli_load_own(&shared->classes[class_index].free) > 0 ||
                   fli_begin_or_adopt(&backing->homes, shared, class_index, false, false)) &&
                  load_free(cache, class_index, backing, owner, shared, most - had);
    fli_home_unlock(shared);
    unsigned blocks = loaded ? (unsigned)fli_cache_loaded_blocks(cache, backing->magazine_blocks[class_index]) : 0;
    *fli_home_first(owner->home, class_index) = (uint8_t)(had + blocks);
    return loaded;
}

/* Fills the loaded magazine from a slab that the owner's home, which is locked, adopts or begins. */
static bool load_new(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                     struct fli_owner *owner, bool pressed)
{
    return fli_begin_or_adopt(&backing->homes, owner->home, class_index, owner->realtime, pressed) &&
           load_free(cache, class_index, backing, owner, owner->home, FLI_MAGAZINE_SLOTS);
}

/* In a hardened heap a home that has few free blocks gets one more slab, if it can: else the next block would be one of
 * few. The home is locked. */
FLI_COLD static void get_many(unsigned class_index, struct fli_backing *backing, struct fli_home *home, bool realtime)
{
    if (fli_load_own(&home->classes[class_index].free) < fli_exchange_many(backing->magazine_blocks[class_index]))
        (void)fli_begin_or_adopt(&backing->homes, home, class_index, realtime, false);
}

/* Loads what the owner has at home, which is locked. */
static bool load_own(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                     struct fli_owner *owner)
{
    if (FLI_UNLIKELY(backing->slabs.hardened))
        get_many(class_index, backing, owner->home, owner->realtime);
    return load_kept(cache, class_index, backing, owner) ||
           load_free(cache, class_index, backing, owner, owner->home, FLI_MAGAZINE_SLOTS);
}

size_t fli_exchange_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner, bool pressed)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    FLI_ASSERT(cache->top == fli_cache_floor(cache, capacity));
    fli_quiet_note_owner(owner, class_index);
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    if (previous != NULL && fli_magazine_count(previous) > 0) {
        fli_cache_push_owner(cache, previous, capacity, &backing->magazines);
        return fli_cache_loaded_blocks(cache, capacity);
    }
    struct fli_magazine *reserved = fli_reserve_take_owner(owner, class_index, &backing->magazines);
    if (FLI_UNLIKELY(reserved != NULL)) {
        load_filled(cache, reserved, class_index, backing, owner, false);
        return fli_cache_loaded_blocks(cache, capacity);
    }
    bool at_home = fli_owner_come_home(owner);
    bool loaded = at_home && load_own(cache, class_index, backing, owner);
    loaded = loaded || load_pooled(cache, class_index, backing, owner, at_home);
    if (!loaded && !at_home) {
        at_home = fli_owner_move(backing, owner); /* to another home, or to the same one after a while */
        loaded = at_home && load_own(cache, class_index, backing, owner);
    }
    if (!loaded && at_home && FLI_UNLIKELY(fli_quiet_is_due_owner(backing, owner)))
        at_home = fli_quiet_send_home_owner(cache - class_index, backing, owner);
    if (!loaded && at_home)
        loaded = load_first(cache, class_index, backing, owner) ||
                 load_new(cache, class_index, backing, owner, pressed);
    if (at_home)
        fli_home_unlock(owner->home);
    return loaded ? fli_cache_loaded_blocks(cache, capacity) : 0;
}

/* ---- Flushing. */

void fli_exchange_give_away_owner(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    if (fli_magazine_count(magazine) > 0)
        send_home(magazine, class_index, backing, owner, false, false);
    if (fli_magazine_count(magazine) > 0)
        fli_exchange_pool_filled_owner(magazine, class_index, backing, owner);
    else
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &owner->counters);
}

void fli_exchange_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner)
{
    if (fli_reserve_keeps(owner, class_index)) {
        fli_reserve_set_aside_owner(cache, class_index, backing, owner);
        return;
    }
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    struct fli_magazine *loaded = fli_cache_unload_owner(cache, backing->magazine_blocks[class_index]);
    if (loaded != NULL)
        fli_exchange_give_away_owner(loaded, class_index, backing, owner);
    if (previous != NULL)
        fli_exchange_give_away_owner(previous, class_index, backing, owner);
}

/* Takes a magazine off a shelf of the owner's home, which is not locked; NULL if there is none or the home is
 * busy. */
static struct fli_magazine *take_shelved(struct fli_backing *backing, struct fli_owner *owner, unsigned class_index)
{
    struct fli_home *home = owner->home;
    struct fli_magazine *magazine = NULL;
    if (fli_chain_first(fli_owner_shelf(home, class_index), &backing->magazines) != NULL &&
        fli_home_try_briefly(home)) {
        magazine = fli_owner_take_shelved(backing, home, class_index);
        fli_home_unlock(home);
    }
    return magazine;
}

void fli_exchange_clear_shelf_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_magazine *magazine;
    while ((magazine = take_shelved(backing, owner, class_index)) != NULL)
        fli_exchange_give_away_owner(magazine, class_index, backing, owner);
}

void fli_exchange_end_flush_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    for (unsigned c = 0; c < FL_CLASS_COUNT && !fli_rack_is_empty(&owner->home->rack); c++)
        fli_exchange_clear_shelf_owner(c, backing, owner);
    if (fli_allowance_is_scarce(backing))
        fli_allowance_end_owner(backing, owner);
    if (fli_home_try_briefly(owner->home)) {
        fli_rack_reset_empty(&owner->home->rack);
        fli_home_forget_first(owner->home);
        fli_home_unlock(owner->home);
    }
    fli_store_hint(&owner->home->away, true);
}
