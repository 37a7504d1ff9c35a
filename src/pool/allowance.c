/* SPDX-License-Identifier: MIT */
#include "pool/allowance.h"
#include "base/check.h"
#include "pool/exchange.h"
#include "pool/reserve.h"

#include <string.h>

/* All caches together may hold the limit divided by this. */
enum { CACHES_PER_LIMIT = 32 };

/* An empty magazine gets what is left divided by MAGAZINES_PER_REST, or room for a few blocks if that is more. One that
 * comes with blocks may take what is left divided by WHOLE_PER_REST. */
enum { MAGAZINES_PER_REST = 32, FEW_BLOCKS = 4, FEW_PER_REST = 8, WHOLE_PER_REST = 2 };

void fli_allowance_init(struct fli_allowance *allowance, size_t limit_bytes)
{
    allowance->most = limit_bytes != SIZE_MAX ? fli_max(limit_bytes / CACHES_PER_LIMIT, 1) : 0;
    fli_store_own(&allowance->share, allowance->most);
    fli_store_own(&allowance->lent, (size_t)0);
}

void fli_allowance_share(struct fli_allowance *allowance, size_t threads)
{
    fli_store_own(&allowance->share, allowance->most / fli_max(threads, 1));
}

/* ---- Counting. */

static size_t room_bytes(const struct fli_magazine *magazine, unsigned class_index, const struct fli_backing *backing)
{
    return magazine != NULL
               ? fli_magazine_room(magazine, backing->magazine_blocks[class_index]) * fli_class_bytes(class_index)
               : 0;
}

/* What all caches of a thread have room for. */
static size_t held_bytes(const struct fl_cache *caches, struct fli_backing *backing)
{
    size_t bytes = 0;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        if (caches[c].floor != NULL)
            bytes += room_bytes(fli_cache_loaded(&caches[c]), c, backing) +
                     room_bytes(fli_cache_previous(&caches[c], &backing->magazines), c, backing);
    return bytes;
}

/* Notes what is lent to a thread. */
static void lend(struct fli_backing *backing, struct fli_owner *owner, size_t bytes)
{
    if (bytes != owner->home->lent)
        fli_add_count(&backing->allowance.lent, bytes - owner->home->lent);
    owner->home->lent = (uint32_t)bytes;
}

static size_t minus(size_t bytes, size_t less)
{
    return bytes - fli_min(bytes, less);
}

void fli_allowance_note_owner(const struct fli_magazine *magazine, bool comes, unsigned class_index,
                              struct fli_backing *backing, struct fli_owner *owner)
{
    size_t bytes = room_bytes(magazine, class_index, backing);
    lend(backing, owner, comes ? owner->home->lent + bytes : minus(owner->home->lent, bytes));
}

/* The bytes that a thread may still be lent. */
static size_t left_to(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    struct fli_allowance *allowance = &backing->allowance;
    if (++owner->home->uncounted == 0)
        lend(backing, owner, held_bytes(cache - class_index, backing));
    return fli_min(minus(fli_load_hint(&allowance->share), owner->home->lent),
                   minus(allowance->most, fli_load_hint(&allowance->lent)));
}

/* Whether a thread may have as much of a class as it likes. */
static bool is_exempt(const struct fli_owner *owner, unsigned class_index)
{
    return owner->realtime || fli_reserve_keeps(owner, class_index);
}

/* How many blocks a magazine may have room for that comes to a cache, in place of one that `had` room for so many. It may
 * have as much as that, and more as long as half of the thread's share is left. */
static unsigned room_for(const struct fl_cache *cache, unsigned class_index, unsigned had,
                         struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (is_exempt(owner, class_index))
        return capacity;
    size_t bytes = fli_class_bytes(class_index), left = left_to(cache, class_index, backing, owner);
    size_t spare = minus(left, fli_load_hint(&backing->allowance.share) / 2);
    size_t grown = had + (spare + MAGAZINES_PER_REST * bytes - 1) / MAGAZINES_PER_REST / bytes;
    size_t few = fli_min(left / FEW_PER_REST, FEW_BLOCKS * bytes);
    size_t room = fli_max(fli_max(left / MAGAZINES_PER_REST, few), grown * bytes);
    return (unsigned)fli_min(fli_min(room, left) / bytes, capacity);
}

bool fli_allowance_has_room_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    return room_for(cache, class_index, 0, backing, owner) > 0;
}

/* ---- Rooms. */

/* The room that a magazine gets, a block at least. */
static unsigned grant(const struct fl_cache *cache, unsigned class_index, unsigned had, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    unsigned room = room_for(cache, class_index, had, backing, owner);
    owner->closes = room == 0;
    return room > 0 ? room : 1;
}

void fli_allowance_fit_owner(struct fli_magazine *magazine, unsigned had, const struct fl_cache *cache,
                             unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    if (fli_magazine_count(magazine) == 0)
        fli_magazine_set_pad(magazine,
                             backing->magazine_blocks[class_index] - grant(cache, class_index, had, backing, owner));
    fli_allowance_note_owner(magazine, true, class_index, backing, owner);
}

void fli_allowance_fit_loaded_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                    struct fli_owner *owner)
{
    struct fli_magazine *loaded = fli_cache_loaded(cache);
    unsigned capacity = backing->magazine_blocks[class_index], had = fli_magazine_room(loaded, capacity);
    if (had == capacity && owner->home->lent <= fli_load_hint(&backing->allowance.share))
        return;
    fli_allowance_note_owner(loaded, false, class_index, backing, owner);
    fli_cache_set_room_owner(cache, grant(cache, class_index, had, backing, owner), capacity);
    fli_allowance_note_owner(loaded, true, class_index, backing, owner);
}

bool fli_allowance_takes_owner(const struct fli_magazine *filled, const struct fl_cache *cache, unsigned class_index,
                               struct fli_backing *backing, struct fli_owner *owner)
{
    const struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    fli_allowance_note_owner(previous, false, class_index, backing, owner);
    bool takes = is_exempt(owner, class_index) || room_bytes(filled, class_index, backing) <=
                                                      left_to(cache, class_index, backing, owner) / WHOLE_PER_REST;
    fli_allowance_note_owner(takes ? filled : previous, true, class_index, backing, owner);
    return takes;
}

/* Sees to it that a cache has a loaded magazine, which is empty, of the room that it may have. */
static bool load_empty(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                       struct fli_owner *owner)
{
    if (cache->floor != NULL) {
        fli_allowance_fit_loaded_owner(cache, class_index, backing, owner);
        return true;
    }
    struct fli_magazine *empty = fli_owner_obtain_empty(backing, NULL, owner);
    if (empty == NULL)
        return false;
    fli_allowance_fit_owner(empty, 0, cache, class_index, backing, owner);
    fli_cache_load_owner(cache, empty, 0, backing->magazine_blocks[class_index]);
    return true;
}

void fli_allowance_load_some_owner(struct fl_cache *cache, struct fli_magazine *filled, unsigned class_index,
                                   struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index], have = fli_magazine_count(filled);
    if (!load_empty(cache, class_index, backing, owner)) {
        fli_cache_load_owner(cache, filled, 0, capacity);
        return;
    }
    unsigned room = fli_magazine_room(fli_cache_loaded(cache), capacity), count = have < room ? have : room;
    void **from = fli_magazine_floor(filled, capacity) + (have - count);
    memcpy(cache->floor, from, count * sizeof *from);
    fli_cache_fill_owner(cache, count);
    fli_store_own(&filled->count, (uint16_t)(have - count));
    if (have > count)
        fli_exchange_pool_filled_owner(filled, class_index, backing, owner);
    else
        fli_owner_give_empty(filled, backing, owner, false);
}

/* ---- Caches without a magazine. */

bool fli_allowance_pass_by_owner(void *block, const struct fl_cache *cache, unsigned class_index,
                                 struct fli_backing *backing, struct fli_owner *owner)
{
    if (cache->floor != NULL || room_for(cache, class_index, 0, backing, owner) > 0 ||
        !fli_exchange_send_home_owner(block, class_index, backing, owner))
        return false;
    fli_allowance_note_home_owner(owner, class_index, 1);
    return true;
}

unsigned fli_allowance_first(const struct fli_backing *backing, unsigned class_index, unsigned ordinary)
{
    unsigned quarter = backing->slabs.by_class[class_index].blocks / 4;
    return quarter > ordinary ? (unsigned)fli_min(quarter, UINT8_MAX) : ordinary;
}

void fli_allowance_close_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    owner->closes = false;
    if (fli_cache_blocks(cache, capacity, &backing->magazines) > 0 ||
        fli_cache_previous(cache, &backing->magazines) != NULL)
        return;
    struct fli_magazine *empty = fli_cache_unload_owner(cache, capacity);
    if (empty == NULL)
        return;
    fli_allowance_note_owner(empty, false, class_index, backing, owner);
    fli_owner_give_empty(empty, backing, owner, false);
}

void fli_allowance_note_home_owner(struct fli_owner *owner, unsigned class_index, unsigned blocks)
{
    uint8_t *first = &owner->home->first[class_index];
    *first = (uint8_t)(*first - (blocks < *first ? blocks : *first));
}

void fli_allowance_move_owner(struct fli_home *from, struct fli_home *to)
{
    to->lent = from->lent;
    from->lent = 0;
}

void fli_allowance_end_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    lend(backing, owner, 0);
}
