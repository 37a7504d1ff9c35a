/* SPDX-License-Identifier: MIT */
#include "pool/sparse.h"
#include "pool/exchange.h"
#include "pool/reserve.h"

enum { SLABS_LEAST = 8, CALLS_MOST = 1 << 14 };

/* How many magazines of the pool go home at once. */
enum { GATHERED_MOST = 256 };

/* Whether the home has so many free blocks of a class, with its part of the pool, that they would be half of what a home has
 * of it on the average. */
static bool is_sparse(struct fli_backing *backing, const struct fli_home *home, unsigned class_index)
{
    const struct fli_slab_class *of = &backing->slabs.by_class[class_index];
    size_t homes = fli_load_hint(&backing->homes.count);
    size_t free = fli_load_own(&home->classes[class_index].free) +
                  fli_stack_blocks(&backing->pool.filled[class_index], &backing->magazines) / homes;
    return free >= SLABS_LEAST * of->blocks && 2 * free * homes >= (size_t)fli_load_hint(&of->slabs) * of->blocks;
}

void fli_sparse_judge(struct fli_backing *backing, struct fli_home *home)
{
    fli_home_assert_held(home);
    home->sparse = 0;
    home->sparse_calls = CALLS_MOST;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        if (c >= FLI_SPARSE_FIRST && is_sparse(backing, home, c))
            home->sparse |= (uint32_t)1 << (c - FLI_SPARSE_FIRST);
}

void fli_sparse_gather_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_stack *filled = &backing->pool.filled[class_index];
    for (unsigned i = 0; i < GATHERED_MOST; i++) {
        struct fli_magazine *magazine = fli_stack_pop_mpmc(filled, &backing->magazines, &owner->counters);
        if (magazine == NULL)
            return;
        fli_exchange_give_away_owner(magazine, class_index, backing, owner);
    }
}

/* Counts a call. */
static void note_call(struct fli_home *home)
{
    if (--home->sparse_calls == 0)
        home->sparse = 0;
}

/* Whether blocks of the class are for magazines: the cache has one; the thread keeps what is free of the class (reserve.h); or
 * it may take no lock (realtime.h). */
static bool needs_magazine(const struct fl_cache *cache, unsigned class_index, const struct fli_owner *owner)
{
    return cache->floor != NULL || owner->realtime || fli_reserve_keeps(owner, class_index);
}

void *fli_sparse_take_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                            struct fli_owner *owner)
{
    void *block = NULL;
    if (needs_magazine(cache, class_index, owner) || !fli_owner_come_home(owner))
        return NULL;
    if (fli_home_take(&backing->homes, owner->home, class_index, 1, &block) == 0)
        owner->home->sparse &= ~((uint32_t)1 << (class_index - FLI_SPARSE_FIRST));
    fli_home_unlock(owner->home);
    note_call(owner->home);
    return block;
}

bool fli_sparse_give_owner(void *block, const struct fl_cache *cache, unsigned class_index,
                           struct fli_backing *backing, struct fli_owner *owner)
{
    if (needs_magazine(cache, class_index, owner))
        return false;
    note_call(owner->home);
    return fli_exchange_send_home_owner(block, class_index, backing, owner);
}
