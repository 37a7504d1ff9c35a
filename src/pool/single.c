/* SPDX-License-Identifier: MIT */
#include "pool/single.h"
#include "pool/allowance.h"
#include "pool/exchange.h"

#include <string.h>

/* How many blocks come from the shared home at a time. */
enum { SHARED_AT_ONCE = 16 };

/* Fills a magazine at the shared home, if the thread may have more blocks from there. NULL if it is to begin a slab, or
 * none can be had at once. */
static struct fli_magazine *take_shared(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *shared = fli_homes_shared(&backing->homes);
    if (shared == NULL || fli_load_hint(&shared->away) || !fli_owner_is_small(class_index))
        return NULL;
    struct fli_magazine *magazine = fli_owner_obtain_empty(backing, NULL, owner);
    if (magazine == NULL)
        return NULL;
    unsigned capacity = backing->magazine_blocks[class_index], count = 0;
    if (fli_allowance_try_shared(backing, shared)) {
        count = fli_home_take(&backing->homes, shared, class_index, (unsigned)fli_min(capacity, SHARED_AT_ONCE),
                              fli_magazine_floor(magazine, capacity));
        fli_home_unlock(shared);
        fli_count(&owner->counters.home_visits, 1);
    }
    fli_store_own(&magazine->count, (uint16_t)count);
    if (count > 0)
        return magazine;
    fli_owner_give_empty(magazine, backing, owner, false);
    return NULL;
}

/* Takes the last block of a magazine, which goes to the pool. */
static void *take_last(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                       struct fli_owner *owner)
{
    unsigned left = fli_magazine_count(magazine) - 1;
    void *block = fli_magazine_floor(magazine, backing->magazine_blocks[class_index])[left];
    fli_store_own(&magazine->count, (uint16_t)left);
    if (left > 0)
        fli_exchange_pool_filled_owner(magazine, class_index, backing, owner);
    else
        fli_owner_give_empty(magazine, backing, owner, false);
    return block;
}

/* Takes a block of the thread's own slabs. */
static void *take_own(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    void *block;
    if (!fli_owner_come_home(owner))
        return NULL;
    unsigned count = fli_home_take(&backing->homes, owner->home, class_index, 1, &block);
    fli_home_unlock(owner->home);
    return count > 0 ? block : NULL;
}

void *fli_single_take_pooled_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_magazine *magazine = fli_stack_pop_mpmc(&backing->pool.filled[class_index], &backing->magazines,
                                                       &owner->counters);
    if (magazine == NULL)
        magazine = take_shared(class_index, backing, owner);
    return magazine != NULL ? take_last(magazine, class_index, backing, owner) : NULL;
}

void *fli_single_take_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    if (fli_chain_first(&home->classes[class_index].shelf, &backing->magazines) != NULL)
        return NULL; /* what is kept comes first */
    if (fli_load_hint(&home->classes[class_index].free) > 0)
        return take_own(class_index, backing, owner);
    if (*fli_home_first(home, class_index) >= fli_allowance_first(backing, class_index, 0))
        return NULL;
    void *block = fli_single_take_pooled_owner(class_index, backing, owner);
    if (block != NULL)
        fli_allowance_note_taken_owner(owner, class_index, 1);
    return block;
}

/* A magazine with room for a block: the pool's top one, or an empty one. NULL if memory is refused. */
static struct fli_magazine *obtain_with_room(unsigned class_index, struct fli_backing *backing,
                                             struct fli_owner *owner)
{
    struct fli_magazine *top = fli_stack_pop_mpmc(&backing->pool.filled[class_index], &backing->magazines,
                                                  &owner->counters);
    if (top == NULL)
        return fli_owner_obtain_empty(backing, NULL, owner);
    if (fli_magazine_count(top) < fli_magazine_room(top, backing->magazine_blocks[class_index]))
        return top;
    fli_exchange_pool_filled_owner(top, class_index, backing, owner);
    owner->given_magazines++;
    return fli_owner_obtain_empty(backing, NULL, owner);
}

unsigned fli_single_pool_owner(void *const *blocks, unsigned count, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner)
{
    struct fli_magazine *magazine = obtain_with_room(class_index, backing, owner);
    if (magazine == NULL)
        return count;
    unsigned capacity = backing->magazine_blocks[class_index], have = fli_magazine_count(magazine);
    unsigned moved = (unsigned)fli_min(count, fli_magazine_room(magazine, capacity) - have);
    memcpy(fli_magazine_floor(magazine, capacity) + have, blocks + (count - moved), moved * sizeof *blocks);
    fli_store_own(&magazine->count, (uint16_t)(have + moved));
    fli_exchange_pool_filled_owner(magazine, class_index, backing, owner);
    return count - moved;
}

bool fli_single_give_owner(void *block, unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    bool given = fli_home_of(&backing->slabs, block) == owner->home || !fli_owner_is_small(class_index)
                     ? fli_exchange_send_home_owner(block, class_index, backing, owner)
                     : fli_single_pool_owner(&block, 1, class_index, backing, owner) == 0;
    if (given)
        fli_allowance_note_home_owner(owner, class_index, 1);
    return given;
}
