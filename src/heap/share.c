/* SPDX-License-Identifier: MIT */
#include "heap/share.h"
#include "heap/options.h"
#include "heap/registry.h"
#include "large/supply.h"
#include "pool/allowance.h"

/* All racks together may hold the limit divided by this. */
enum { RACKS_PER_LIMIT = 8 };

/* The bytes that all racks may hold. A heap that retains everything does not keep everything from other threads. */
static size_t all_racks(const struct fl_heap *heap)
{
    const struct fl_options *options = &heap->options;
    size_t retain = options->retain_bytes != SIZE_MAX ? options->retain_bytes : FLI_RETAIN_DEFAULT;
    return fli_min(heap->racks_most != 0 ? heap->racks_most : retain, options->limit_bytes / RACKS_PER_LIMIT);
}

static size_t three_quarters(size_t bytes)
{
    return bytes - bytes / 4;
}

/* Gives the pool what a home keeps beyond its share. Returns false if the home is busy: then its thread does so when it
 * next finds no room there. */
static bool level_home_locked(struct fl_heap *heap, struct fli_home *home)
{
    fli_registry_assert_held();
    if (!fli_owner_keeps_more(&heap->backing, home))
        return true;
    if (!fli_home_try_briefly(home))
        return false;
    fli_owner_level(&heap->backing, home, &heap->detached);
    fli_home_unlock(home);
    return true;
}

static bool level_homes_locked(struct fl_heap *heap)
{
    bool all = true;
    for (struct fli_home *home = fli_homes_first(&heap->backing.homes); home != NULL; home = home->next)
        all = level_home_locked(heap, home) && all;
    return all;
}

/* Sees to it that no rack has more than the share, though its thread may be idle. Homes that are busy are looked at
 * again when the next thread comes or goes. */
static void level_racks_locked(struct fl_heap *heap, size_t share)
{
    fli_registry_assert_held();
    bool levelled = share < three_quarters(heap->levelled) && level_homes_locked(heap);
    if (levelled || share > heap->levelled)
        heap->levelled = share;
}

void fli_share_bound_racks(struct fl_heap *heap, size_t most)
{
    fli_registry_lock();
    heap->racks_most = most;
    fli_share_racks_locked(heap);
    fli_registry_unlock();
}

void fli_share_racks_locked(struct fl_heap *heap)
{
    fli_registry_assert_held();
    size_t all = all_racks(heap), share = heap->thread_count > 0 ? all / heap->thread_count : 0;
    share = fli_min(share, FLI_RACK_BYTES_MOST);
    fli_store_own(&heap->backing.rack_bytes, share);
    fli_allowance_share(&heap->backing.allowance, heap->thread_count);
    fli_quota_share(&heap->deferred.rooms, heap->thread_count);
    fli_large_share(&heap->backing.large, fli_min(heap->options.retain_bytes / 2, all), heap->thread_count);
    if (heap->thread_count > 0)
        level_racks_locked(heap, share);
}
