/* SPDX-License-Identifier: MIT */
#include "pool/allowance.h"
#include "base/check.h"
#include "pool/exchange.h"
#include "pool/reserve.h"
#include "pool/single.h"

#include <string.h>

/* All caches together may hold the limit divided by this; or so many bytes, if there is none. The second of each where
 * threads may defer blocks, for which a part is left (unsubmitted.c). */
enum {
    CACHES_PER_LIMIT = 40,
    CACHES_PER_LIMIT_DEFERRING = 50,
    CACHES_UNLIMITED = FLI_RARE_PATHS ? 4 << 20 : 128 << 20,
    CACHES_UNLIMITED_DEFERRING = CACHES_UNLIMITED / 8 * 5,
};

/* Without a limit, caches are not counted as long as all of them could be full and have no more than this. They have it beside
 * what is counted from then on, and where threads may defer blocks beside the room for these. That is twice
 * CACHES_UNLIMITED in all. */
enum { CACHES_UNCOUNTED = CACHES_UNLIMITED, CACHES_UNCOUNTED_DEFERRING = CACHES_UNLIMITED / 8 * 7 };

/* This part of what all caches may hold is for the base of 200 threads. */
enum { BASE_PART = 2 };

/* In a heap with a limit, the first magazine of a cache has room for no more than so many bytes, or for a block. Of so many
 * exchanges one makes the room larger. */
enum { FIRST_BYTES = 1024, EXCHANGES_PER_STEP = 8 };

/* An empty magazine gets what is left divided by MAGAZINES_PER_REST, a block at least. One that comes with blocks may take
 * what is left divided by WHOLE_PER_REST. */
enum { MAGAZINES_PER_REST = 32, WHOLE_PER_REST = 2 };

/* After so many calls that no magazine served, another class gives up its own. */
enum { CALLS_PER_TURN = FLI_RARE_PATHS ? 2 : 32 };

void fli_allowance_init(struct fli_allowance *allowance, size_t limit_bytes, bool defers,
                        const unsigned *magazine_blocks)
{
    bool is_limited = limit_bytes != SIZE_MAX;
    size_t divisor = defers ? CACHES_PER_LIMIT_DEFERRING : CACHES_PER_LIMIT;
    size_t unlimited = defers ? CACHES_UNLIMITED_DEFERRING : CACHES_UNLIMITED;
    allowance->uncounted = defers ? CACHES_UNCOUNTED_DEFERRING : CACHES_UNCOUNTED;
    size_t most = is_limited ? fli_max(limit_bytes / divisor, 1) : unlimited;
    fli_quota_init(&allowance->quota, most, most / BASE_PART);
    allowance->first = is_limited ? (size_t)FIRST_BYTES : SIZE_MAX;
    allowance->full = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        allowance->full += 2 * magazine_blocks[c] * fli_class_bytes(c);
    fli_store_own(&allowance->is_scarce, is_limited);
    allowance->slack = is_limited ? 0 : allowance->quota.base / 4;
}

void fli_allowance_share(struct fli_allowance *allowance, size_t threads)
{
    fli_quota_share(&allowance->quota, threads);
    if (threads > allowance->uncounted / allowance->full && !fli_load_own(&allowance->is_scarce))
        fli_store_own(&allowance->is_scarce, true);
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
    struct fli_allowance *allowance = &backing->allowance;
    struct fli_home *home = owner->home;
    size_t beyond = fli_quota_beyond(&allowance->quota, bytes), slack = allowance->slack;
    home->lent = (uint32_t)bytes;
    if (beyond <= home->noted && beyond + 2 * slack >= home->noted && bytes > 0)
        return;
    size_t noted = beyond > 0 ? beyond + slack : 0;
    if (noted != home->noted)
        fli_add_count(&allowance->quota.beyond, noted - home->noted);
    home->noted = (uint32_t)noted;
}

void fli_allowance_note_owner(const struct fli_magazine *magazine, bool comes, unsigned class_index,
                              struct fli_backing *backing, struct fli_owner *owner)
{
    size_t bytes = room_bytes(magazine, class_index, backing);
    lend(backing, owner, comes ? owner->home->lent + bytes : fli_minus(owner->home->lent, bytes));
}

/* The bytes that a thread may still be lent, where `back` of those that it has come back first. */
static size_t left_to(const struct fl_cache *cache, unsigned class_index, size_t back, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    const struct fli_home *home = owner->home;
    if (++owner->home->uncounted == 0)
        lend(backing, owner, held_bytes(cache - class_index, backing));
    return fli_quota_left(&backing->allowance.quota, fli_minus(home->lent, back), home->noted);
}

/* Whether a thread may have as much of a class as it likes. */
static bool is_exempt(const struct fli_owner *owner, unsigned class_index)
{
    return owner->realtime || fli_reserve_keeps(owner, class_index);
}

bool fli_allowance_has_room_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    return is_exempt(owner, class_index) ||
           left_to(cache, class_index, 0, backing, owner) >= fli_class_bytes(class_index);
}

/* ---- Turns. */

/* Notes that a call came to less room than it could use. */
static void note_left_out(struct fli_owner *owner)
{
    uint8_t *left_out = &owner->home->left_out;
    *left_out = (uint8_t)(*left_out + (*left_out < CALLS_PER_TURN));
}

/* Takes the magazines of another class away, of each in its turn, if that is due. No lock may be held. */
static void take_turn(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                      struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    struct fl_cache *caches = cache - class_index;
    if (FLI_LIKELY(home->left_out < CALLS_PER_TURN))
        return;
    home->left_out = 0;
    for (unsigned looks = 0; looks < FL_CLASS_COUNT; looks++) {
        unsigned c = fli_slabs_next_used(&backing->slabs, home->turn);
        home->turn = (uint8_t)(c < FL_CLASS_COUNT ? c : 0);
        if (c == FL_CLASS_COUNT || c == class_index || caches[c].floor == NULL || is_exempt(owner, c))
            continue;
        fli_exchange_flush_owner(&caches[c], c, backing, owner);
        lend(backing, owner, held_bytes(caches, backing));
        return;
    }
}

/* ---- Rooms. */

/* The room, in blocks, of a magazine that comes to a cache in place of one that `had` room for so many, of which `back`
 * bytes are lent. It is as much as that, and more as long as more is left then than the thread holds. */
static unsigned room_for(const struct fl_cache *cache, unsigned class_index, unsigned had, size_t back,
                         struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (is_exempt(owner, class_index))
        return capacity;
    size_t bytes = fli_class_bytes(class_index), left = left_to(cache, class_index, back, backing, owner);
    size_t others = fli_minus(owner->home->lent, back);
    bool grows = left > others + 2 * had * bytes;
    if (had > 0 && !grows)
        note_left_out(owner);
    if (had > 0 && (!grows || ++owner->home->exchanges % EXCHANGES_PER_STEP != 0))
        return (unsigned)fli_min(had, left / bytes);
    size_t most = had > 0 ? 2 * had : fli_max(backing->allowance.first / bytes, 1);
    size_t room = fli_max(left / MAGAZINES_PER_REST / bytes, had + 1);
    return (unsigned)fli_min(fli_min(room, left / bytes), fli_min(most, capacity));
}

/* The room that a magazine gets, a block at least. */
static unsigned grant(const struct fl_cache *cache, unsigned class_index, unsigned had, size_t back,
                      struct fli_backing *backing, struct fli_owner *owner)
{
    unsigned room = room_for(cache, class_index, had, back, backing, owner);
    owner->closes = room == 0;
    return room > 0 ? room : 1;
}

void fli_allowance_fit_owner(struct fli_magazine *magazine, unsigned had, const struct fl_cache *cache,
                             unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    if (fli_magazine_count(magazine) == 0)
        fli_magazine_set_pad(magazine, backing->magazine_blocks[class_index] -
                                           grant(cache, class_index, had, 0, backing, owner));
    fli_allowance_note_owner(magazine, true, class_index, backing, owner);
}

void fli_allowance_fit_loaded_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                    struct fli_owner *owner)
{
    size_t bytes = fli_class_bytes(class_index);
    unsigned capacity = backing->magazine_blocks[class_index];
    unsigned had = fli_magazine_room(fli_cache_loaded(cache), capacity);
    if (had == capacity && owner->home->lent <= fli_load_hint(&backing->allowance.quota.share))
        return;
    unsigned room = grant(cache, class_index, had, had * bytes, backing, owner);
    fli_cache_set_room_owner(cache, room, capacity);
    lend(backing, owner, fli_minus(owner->home->lent, had * bytes) + room * bytes);
}

bool fli_allowance_grow_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner)
{
    const struct fli_magazine *loaded = fli_cache_loaded(cache);
    unsigned capacity = backing->magazine_blocks[class_index];
    if (loaded == NULL || fli_magazine_pad(loaded) == 0)
        return false;
    size_t bytes = fli_class_bytes(class_index);
    unsigned had = fli_magazine_room(loaded, capacity);
    unsigned room = room_for(cache, class_index, had, had * bytes, backing, owner);
    take_turn(cache, class_index, backing, owner);
    if (room <= had)
        return false;
    fli_cache_grow_owner(cache, room, capacity);
    lend(backing, owner, owner->home->lent + (room - had) * bytes);
    return true;
}

bool fli_allowance_adds_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner)
{
    const struct fli_magazine *loaded = fli_cache_loaded(cache);
    return (loaded == NULL || fli_magazine_pad(loaded) == 0) &&
           fli_allowance_has_room_owner(cache, class_index, backing, owner);
}

bool fli_allowance_takes_owner(const struct fli_magazine *filled, const struct fl_cache *cache, unsigned class_index,
                               struct fli_backing *backing, struct fli_owner *owner)
{
    size_t back = room_bytes(fli_cache_previous(cache, &backing->magazines), class_index, backing);
    size_t bytes = room_bytes(filled, class_index, backing);
    if (!is_exempt(owner, class_index) && bytes > left_to(cache, class_index, back, backing, owner) / WHOLE_PER_REST)
        return false;
    lend(backing, owner, fli_minus(owner->home->lent, back) + bytes);
    return true;
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
    unsigned room = fli_allowance_to_fill(fli_cache_loaded(cache), capacity), count = have < room ? have : room;
    void **from = fli_magazine_floor(filled, capacity) + (have - count);
    memcpy(cache->floor, from, count * sizeof *from);
    fli_cache_fill_owner(cache, count);
    fli_store_own(&filled->count, (uint16_t)(have - count));
    fli_allowance_note_taken_owner(owner, class_index, count);
    if (have > count)
        fli_exchange_pool_filled_owner(filled, class_index, backing, owner);
    else
        fli_owner_give_empty(filled, backing, owner, false);
}

/* ---- Caches without a magazine. */

/* Whether a cache has no magazine and is to get none. */
static bool is_left_out(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                        struct fli_owner *owner)
{
    if (cache->floor != NULL || fli_allowance_has_room_owner(cache, class_index, backing, owner))
        return false;
    note_left_out(owner);
    take_turn(cache, class_index, backing, owner);
    return true;
}

bool fli_allowance_pass_by_owner(void *block, struct fl_cache *cache, unsigned class_index,
                                 struct fli_backing *backing, struct fli_owner *owner)
{
    if (!fli_allowance_is_scarce(backing))
        return fli_sparse_give_owner(block, cache, class_index, backing, owner);
    return is_left_out(cache, class_index, backing, owner) &&
           fli_single_give_owner(block, class_index, backing, owner);
}

void *fli_allowance_fetch_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                struct fli_owner *owner)
{
    if (!fli_allowance_is_scarce(backing))
        return fli_sparse_take_owner(cache, class_index, backing, owner);
    return !backing->slabs.hardened && is_left_out(cache, class_index, backing, owner)
               ? fli_single_take_owner(class_index, backing, owner)
               : NULL;
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
    uint8_t *first = fli_home_first(owner->home, class_index);
    *first = (uint8_t)(*first - (blocks < *first ? blocks : *first));
}

void fli_allowance_note_taken_owner(struct fli_owner *owner, unsigned class_index, unsigned blocks)
{
    uint8_t *first = fli_home_first(owner->home, class_index);
    *first = (uint8_t)fli_min(*first + blocks, UINT8_MAX);
}

void fli_allowance_move_owner(struct fli_home *from, struct fli_home *to)
{
    to->lent = from->lent;
    to->noted = from->noted;
    from->lent = from->noted = 0;
}

void fli_allowance_recount_stw(struct fli_backing *backing)
{
    size_t noted = 0;
    for (const struct fli_home *home = fli_homes_first(&backing->homes); home != NULL; home = home->next)
        noted += home->noted;
    fli_quota_recount_stw(&backing->allowance.quota, noted);
}

void fli_allowance_end_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    lend(backing, owner, 0);
}
