/* SPDX-License-Identifier: MIT */
#include "pool/realtime.h"
#include "pool/deliver.h"
#include "pool/exchange.h"

/* An empty magazine that can be had at once, or NULL. If it is `at_home`, the owner's home is locked. */
static struct fli_magazine *find_empty(struct fli_backing *backing, struct fli_owner *owner, bool at_home)
{
    struct fli_magazine *magazine = fli_owner_find_empty(backing, at_home ? owner->home : NULL, owner);
    return magazine != NULL ? magazine : fli_magazine_carve_quickly(&backing->magazines);
}

/* Loads an empty magazine, and keeps the full one that was previous, or gives it to the pool. If it is `at_home`, the
 * owner's home is locked; this unlocks it. */
static void exchange_full(struct fl_cache *cache, struct fli_magazine *empty, unsigned class_index,
                          struct fli_backing *backing, struct fli_owner *owner, bool at_home)
{
    struct fli_magazine *full = fli_cache_push_owner(cache, empty, backing->magazine_blocks[class_index],
                                                     &backing->magazines);
    if (full != NULL && at_home && fli_owner_keep(full, class_index, backing, owner->home))
        full = NULL;
    if (at_home)
        fli_home_unlock(owner->home);
    if (full != NULL)
        fli_exchange_pool_filled_owner(full, class_index, backing, owner);
}

/* Sends the last blocks of the loaded magazine home. Returns whether some have gone. If it is `at_home`, the owner's home
 * is locked. */
static bool send_some_home(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                           struct fli_owner *owner, bool at_home)
{
    unsigned count = (unsigned)fli_min((size_t)(cache->top - cache->floor), FLI_REALTIME_BLOCKS), left = count;
    void **blocks = cache->top - count;
    if (at_home) {
        left = fli_deliver(&backing->homes, owner->home, class_index, blocks, left);
        fli_home_unlock(owner->home);
    }
    if (left > 0)
        left = fli_homes_return(&backing->homes, class_index, blocks, left, false, &owner->counters);
    fli_store_public(&cache->top, blocks + left);
    return left < count;
}

/* Makes room where no empty magazine can be had at once. If it is `at_home`, the owner's home is locked; this unlocks
 * it. */
FLI_COLD static bool make_room_slowly(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                      struct fli_owner *owner, bool at_home)
{
    bool has_blocks = cache->floor != NULL;
    if (has_blocks && send_some_home(cache, class_index, backing, owner, at_home))
        return true;
    if (!has_blocks && at_home)
        fli_home_unlock(owner->home);
    struct fli_magazine *empty = fli_magazine_carve(&backing->magazines);
    if (empty != NULL)
        exchange_full(cache, empty, class_index, backing, owner, false);
    return empty != NULL;
}

bool fli_realtime_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner)
{
    bool at_home = fli_owner_come_home(owner);
    struct fli_magazine *empty = find_empty(backing, owner, at_home);
    if (FLI_UNLIKELY(empty == NULL))
        return make_room_slowly(cache, class_index, backing, owner, at_home);
    exchange_full(cache, empty, class_index, backing, owner, at_home);
    return true;
}
