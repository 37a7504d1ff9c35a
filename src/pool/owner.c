/* SPDX-License-Identifier: MIT */
#include "pool/owner.h"
#include "pool/allowance.h"

bool fli_owner_come_home(struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    if (!fli_home_try(home) && (owner->realtime || !fli_home_try_briefly(home)))
        return false;
    if (FLI_UNLIKELY(fli_load_hint(&home->away)))
        fli_store_hint(&home->away, false);
    fli_count(&owner->counters.home_visits, 1);
    return true;
}

FLI_COLD bool fli_owner_move(struct fli_backing *backing, struct fli_owner *owner)
{
    for (bool forked = true; forked;) {
        forked = fli_lock_wait_for_fork(FLI_RANK_HOME);
        if (fli_owner_come_home(owner))
            return true;
    }
    struct fli_home *home = fli_homes_enter(&backing->homes);
    if (home == NULL)
        return false;
    if (fli_allowance_is_scarce(backing))
        fli_allowance_move_owner(owner->home, home);
    fli_homes_leave(&backing->homes, owner->home);
    owner->home = home;
    return fli_owner_come_home(owner);
}

/* The bytes that a rack may hold: in empty magazines, in filled ones, and of these how many are always there for small
 * blocks. They get more where there are few large ones. */
struct share {
    size_t empty, filled, small;
};

static struct share share_of(struct fli_backing *backing)
{
    size_t all = fli_load_hint(&backing->rack_bytes), filled = all - all / 4;
    return (struct share){all / 4, filled, fli_min(backing->small_bytes, filled / 2)};
}

static size_t small_most(struct fli_backing *backing, const struct fli_rack *rack)
{
    size_t filled = share_of(backing).filled, large = fli_rack_bytes(&rack->large);
    return fli_min(backing->small_bytes, filled - fli_min(filled, large));
}

static size_t large_most(struct fli_backing *backing, const struct fli_rack *rack)
{
    struct share share = share_of(backing);
    return share.filled - fli_min(share.filled, fli_max(share.small, fli_rack_bytes(&rack->small)));
}

bool fli_owner_keep(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                    struct fli_home *home)
{
    struct fli_rack *rack = &home->rack;
    struct fli_chain *shelf = &home->classes[class_index].shelf;
    if (!fli_owner_is_small(class_index))
        return fli_rack_put(&rack->large, shelf, &backing->magazines, magazine, class_index,
                            large_most(backing, rack));
    size_t most = small_most(backing, rack);
    if (fli_rack_put(&rack->small, shelf, &backing->magazines, magazine, class_index, most))
        return true;
    if (fli_rack_overflows(&rack->small, most))
        fli_rack_forget(&rack->small);
    return false;
}

struct fli_magazine *fli_owner_take_kept(unsigned class_index, struct fli_backing *backing, struct fli_home *home)
{
    struct fli_rack_part *part = fli_owner_is_small(class_index) ? &home->rack.small : &home->rack.large;
    return fli_rack_take(part, &home->classes[class_index].shelf, &backing->magazines, class_index);
}

bool fli_owner_keeps_more(struct fli_backing *backing, const struct fli_home *home)
{
    struct share share = share_of(backing);
    const struct fli_rack *rack = &home->rack;
    return fli_rack_bytes(&rack->small) + fli_rack_bytes(&rack->large) > share.filled ||
           fli_rack_bytes(&rack->empty) > share.empty;
}

/* Gives the pool magazines of a class until the part holds no more than `most` bytes, or none of them. */
static void level_class(struct fli_backing *backing, struct fli_home *home, const struct fli_rack_part *part,
                        unsigned class_index, size_t most, struct fli_pool_counters *counters)
{
    const struct fli_magazines *magazines = &backing->magazines;
    while (fli_rack_bytes(part) > most && fli_chain_first(&home->classes[class_index].shelf, magazines) != NULL)
        fli_stack_push_mpmc(&backing->pool.filled[class_index], magazines,
                            fli_owner_take_kept(class_index, backing, home), counters);
}

static void level_empty(struct fli_backing *backing, struct fli_rack *rack, size_t most,
                        struct fli_pool_counters *counters)
{
    const struct fli_magazines *magazines = &backing->magazines;
    while (fli_rack_bytes(&rack->empty) > most)
        fli_stack_push_mpmc(&backing->pool.empty, magazines,
                            fli_rack_take(&rack->empty, &rack->empty_shelf, magazines, 0), counters);
}

void fli_owner_level(struct fli_backing *backing, struct fli_home *home, struct fli_pool_counters *counters)
{
    struct share share = share_of(backing);
    struct fli_rack *rack = &home->rack;
    unsigned c = FL_CLASS_COUNT - 1;
    for (; !fli_owner_is_small(c); c--)
        level_class(backing, home, &rack->large, c, share.filled - share.small, counters);
    for (size_t most = small_most(backing, rack); c > 0; c--)
        level_class(backing, home, &rack->small, c, most, counters);
    level_empty(backing, rack, share.empty, counters);
}

struct fli_magazine *fli_owner_take_shelved(struct fli_backing *backing, struct fli_home *home, unsigned class_index)
{
    if (fli_chain_first(fli_owner_shelf(home, class_index), &backing->magazines) == NULL)
        return NULL;
    return class_index != 0 ? fli_owner_take_kept(class_index, backing, home)
                            : fli_rack_take(&home->rack.empty, &home->rack.empty_shelf, &backing->magazines, 0);
}

size_t fli_owner_kept_blocks(struct fli_backing *backing, unsigned class_index)
{
    /* While the owner works, its top magazine may have moved to a stack of the pool: hence the bound. It is one of blocks,
     * because magazines of little room may lie there, of which a rack holds more. */
    size_t most = FLI_RACK_BYTES_MOST / fli_class_bytes(class_index), blocks = 0;
    for (struct fli_home *home = fli_homes_first(&backing->homes); home != NULL; home = home->next)
        blocks += fli_min(fli_chain_blocks(&home->classes[class_index].shelf, &backing->magazines), most);
    return blocks;
}

struct fli_magazine *fli_owner_find_empty(struct fli_backing *backing, struct fli_home *home, struct fli_owner *owner)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *magazine = NULL;
    if (home != NULL)
        magazine = fli_rack_take(&home->rack.empty, &home->rack.empty_shelf, magazines, 0);
    if (magazine == NULL)
        magazine = fli_stack_pop_mpmc(&backing->pool.empty, magazines, &owner->counters);
    if (magazine != NULL)
        fli_magazine_set_pad(magazine, 0);
    return magazine;
}

struct fli_magazine *fli_owner_obtain_empty(struct fli_backing *backing, struct fli_home *home,
                                            struct fli_owner *owner)
{
    struct fli_magazine *magazine = fli_owner_find_empty(backing, home, owner);
    return magazine != NULL ? magazine : fli_magazine_carve(&backing->magazines);
}

struct fli_magazine *fli_owner_obtain_empty_anywhere(struct fli_backing *backing, struct fli_owner *owner)
{
    bool at_home = fli_home_try(owner->home);
    struct fli_magazine *magazine = fli_owner_obtain_empty(backing, at_home ? owner->home : NULL, owner);
    if (at_home)
        fli_home_unlock(owner->home);
    return magazine;
}

void fli_owner_give_empty(struct fli_magazine *magazine, struct fli_backing *backing, struct fli_owner *owner,
                          bool at_home)
{
    size_t most = share_of(backing).empty;
    struct fli_rack *rack = &owner->home->rack;
    if (!at_home || !fli_rack_put(&rack->empty, &rack->empty_shelf, &backing->magazines, magazine, 0, most))
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &owner->counters);
}

/* ---- Refills. */

/* How many blocks of a class the first refill brings. */
enum { FIRST_REFILL_BLOCKS = 32 };

unsigned fli_owner_refill_most(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner)
{
    unsigned capacity = backing->magazine_blocks[class_index];
    if (backing->slabs.hardened || fli_load_own(&owner->reserve) != NULL)
        return FLI_MAGAZINE_SLOTS;
    if (cache->floor == NULL)
        return FIRST_REFILL_BLOCKS;
    if (capacity >= 2 * FIRST_REFILL_BLOCKS && fli_cache_previous(cache, &backing->magazines) == NULL)
        return capacity - FIRST_REFILL_BLOCKS;
    return FLI_MAGAZINE_SLOTS;
}
