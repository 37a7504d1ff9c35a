/* SPDX-License-Identifier: MIT */
#include "large/supply.h"
#include "base/check.h"
#include "base/os.h"

#include <stdlib.h>
#include <string.h>

void fli_large_init(struct fli_large *large, struct fli_limit *limit)
{
    memset(large, 0, sizeof *large);
    large->limit = limit;
    fli_store_relaxed(&large->most, SIZE_MAX); /* relaxed: no other thread knows it yet */
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++) {
        fli_mutex_init(&large->shards[i].lock, FLI_RANK_MEMORY);
        fli_spare_init(&large->shards[i].spare);
        fli_ring_init(&large->shards[i].unused);
    }
    fli_mutex_init(&large->lock, FLI_RANK_MEMORY);
    fli_ring_init(&large->deferred_of[0]);
    fli_ring_init(&large->deferred_of[1]);
}

void fli_large_for_each_lock(struct fli_large *large, void (*operation)(struct fli_mutex *))
{
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        operation(&large->shards[i].lock);
    operation(&large->lock);
}

void fli_large_close(struct fli_large *large)
{
    struct fli_extent *extent = fli_load_relaxed(&large->made); /* relaxed: no other thread uses them */
    for (struct fli_extent *next; extent != NULL; extent = next) {
        next = extent->next_made;
        if (extent->state != FLI_EXTENT_UNUSED && extent->state != FLI_EXTENT_IN_HAND)
            fli_extent_unmap(extent);
        free(extent);
    }
    fli_starts_close(&large->starts);
    fli_large_for_each_lock(large, fli_mutex_close);
}

bool fli_large_was_used(struct fli_large *large)
{
    return fli_load_relaxed(&large->made) != NULL; /* relaxed: no other thread uses them */
}

void fli_large_share(struct fli_large *large, size_t most, size_t threads)
{
    size_t shards = fli_min(fli_max(threads, 1), FLI_LARGE_SHARDS);
    fli_store_relaxed(&large->most, most / shards); /* relaxed: a bound */
}

unsigned fli_large_next_shard(struct fli_large *large)
{
    return fli_add_relaxed(&large->threads, 1) % FLI_LARGE_SHARDS; /* relaxed: a counter */
}

/* ---- Beginning a block's life. */

/* Makes a live block of an extent in hand, and counts it. */
static void begin_life_locked(struct fli_large_shard *shard, struct fli_extent *extent, size_t size)
{
    fli_assert_held(&shard->lock);
    extent->state = FLI_EXTENT_LIVE;
    extent->cold = false;
    fli_store_relaxed(&extent->size, size); /* relaxed: see struct fli_extent */
    fli_extent_show(extent, size);
    shard->blocks++;
    shard->bytes += size;
}

static void begin_life(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    struct fli_large_shard *shard = fli_supply_shard_of(large, extent);
    fli_lock(&shard->lock);
    begin_life_locked(shard, extent, size);
    fli_unlock(&shard->lock);
}

/* The most frequent way: turns a spare extent of the thread's shard into a block under one lock. Returns NULL if no
 * extent fits or the limit refuses. */
static struct fli_extent *reuse(struct fli_large_shard *shard, struct fli_large *large, size_t size, bool *is_zero)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take(&shard->spare, size);
    if (FLI_LIKELY(extent != NULL)) {
        *is_zero = extent->cold;
        if (FLI_LIKELY(fli_supply_charge(large, extent, size))) {
            begin_life_locked(shard, extent, size);
        } else {
            fli_spare_put(&shard->spare, extent);
            extent = NULL;
        }
    }
    fli_unlock(&shard->lock);
    return extent;
}

void *fli_large_alloc(struct fli_large *large, unsigned shard, size_t size, bool zeroed)
{
    if (size > PTRDIFF_MAX)
        return NULL;
    bool is_zero;
    struct fli_extent *extent = reuse(&large->shards[shard], large, size, &is_zero);
    if (FLI_UNLIKELY(extent == NULL)) {
        extent = fli_supply_obtain(large, shard, size);
        if (extent == NULL)
            return NULL;
        is_zero = extent->cold;
        begin_life(large, extent, size);
    }
    return zeroed && !is_zero ? memset(extent->start, 0, size) : extent->start;
}

/* ---- Ending a block's life. */

size_t fli_large_size(struct fli_large *large, const void *block)
{
    const struct fli_extent *extent = fli_starts_find(&large->starts, block);
    return extent != NULL ? fli_load_relaxed(&extent->size) : 0; /* relaxed: see struct fli_extent */
}

static enum fli_large_result judge_locked(const struct fli_extent *extent, bool sized, size_t size, size_t *actual)
{
    *actual = extent->charged;
    if (extent->state == FLI_EXTENT_DEFERRED)
        return FLI_LARGE_IS_DEFERRED;
    if (FLI_LIKELY(extent->state == FLI_EXTENT_LIVE))
        return sized && size != extent->charged ? FLI_LARGE_WRONG_SIZE : FLI_LARGE_DONE;
    *actual = 0;
    return FLI_LARGE_UNKNOWN;
}

/* Ends the life of the block that starts at `block`. If the result is FLI_LARGE_DONE, its extent is in `*found`, in
 * hand, and the lock of its shard, `*home`, is held. */
static enum fli_large_result end_life(struct fli_large *large, const void *block, bool sized, size_t size,
                                      size_t *actual, struct fli_extent **found, struct fli_large_shard **home)
{
    struct fli_extent *extent = *found = fli_starts_find(&large->starts, block);
    *actual = 0;
    if (extent == NULL)
        return FLI_LARGE_UNKNOWN;
    struct fli_large_shard *shard = *home = fli_supply_shard_of(large, extent);
    fli_lock(&shard->lock);
    enum fli_large_result result = judge_locked(extent, sized, size, actual);
    if (FLI_UNLIKELY(result != FLI_LARGE_DONE)) {
        fli_unlock(&shard->lock);
        return result;
    }
    extent->state = FLI_EXTENT_IN_HAND;
    fli_store_relaxed(&extent->size, 0); /* relaxed: see struct fli_extent */
    shard->blocks--;
    shard->bytes -= extent->charged;
    return FLI_LARGE_DONE;
}

enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_extent *extent;
    struct fli_large_shard *shard;
    enum fli_large_result result = end_life(large, block, sized, size, actual, &extent, &shard);
    if (FLI_LIKELY(result == FLI_LARGE_DONE))
        fli_supply_put_away(large, shard, extent);
    return result;
}

/* ---- Resizing. */

/* Moves an extent in hand to other addresses. */
static bool move(struct fli_large *large, struct fli_extent *extent, size_t mapped)
{
    char *target = fli_os_map(mapped), *start = extent->start;
    if (target == NULL)
        return false;
    if (!fli_starts_enter(&large->starts, target, extent)) {
        fli_os_unmap(target, mapped);
        return false;
    }
    fli_starts_remove(&large->starts, start, extent);
    if (FLI_LIKELY(fli_extent_move(extent, target, mapped)))
        return true;
    fli_starts_enter(&large->starts, start, extent);
    fli_starts_remove(&large->starts, target, extent);
    return false;
}

/* Gives an extent in hand room for a block of the size. */
static bool make_fit(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    size_t mapped = fli_extent_bytes(size);
    return mapped == extent->mapped || fli_extent_resize(extent, mapped) || move(large, extent, mapped);
}

enum fli_large_result fli_large_resize(struct fli_large *large, void **block, size_t old_size, size_t new_size,
                                       size_t *actual)
{
    struct fli_extent *extent;
    struct fli_large_shard *shard;
    enum fli_large_result result = end_life(large, *block, true, old_size, actual, &extent, &shard);
    if (result != FLI_LARGE_DONE)
        return result;
    fli_unlock(&shard->lock);
    bool done = new_size <= PTRDIFF_MAX && fli_supply_charge_hard(large, extent, fli_max(old_size, new_size)) &&
                make_fit(large, extent, new_size);
    size_t size = done ? new_size : old_size;
    fli_supply_charge(large, extent, size); /* no more than it has, so this succeeds */
    *block = extent->start;
    begin_life(large, extent, size);
    return done ? FLI_LARGE_DONE : FLI_LARGE_REFUSED;
}

/* ---- Deferred blocks. */

static void collect(struct fli_large *large, struct fli_extent *extent)
{
    fli_lock(&large->lock);
    unsigned batch = large->collecting;
    fli_ring_put_first(&large->deferred_of[batch], &extent->link);
    large->deferred[batch]++;
    large->deferred_bytes[batch] += extent->charged;
    fli_unlock(&large->lock);
}

enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_extent *extent;
    struct fli_large_shard *shard;
    enum fli_large_result result = end_life(large, block, sized, size, actual, &extent, &shard);
    if (result == FLI_LARGE_DONE) {
        extent->state = FLI_EXTENT_DEFERRED;
        fli_unlock(&shard->lock);
        collect(large, extent);
    }
    return result;
}

size_t fli_large_close_deferred(struct fli_large *large)
{
    fli_lock(&large->lock);
    size_t waiting = large->deferred[large->collecting];
    large->collecting ^= 1;
    FLI_ASSERT(large->deferred[large->collecting] == 0);
    fli_unlock(&large->lock);
    return waiting;
}

/* Takes one block that waits off its list. Returns NULL if none is left. */
static struct fli_extent *take_waiting(struct fli_large *large)
{
    struct fli_extent *extent = NULL;
    fli_lock(&large->lock);
    unsigned batch = large->collecting ^ 1;
    if (!fli_ring_is_empty(&large->deferred_of[batch])) {
        extent = FLI_RING_OF(large->deferred_of[batch].next, struct fli_extent, link);
        fli_ring_remove(&extent->link);
        large->deferred[batch]--;
        large->deferred_bytes[batch] -= extent->charged;
    }
    fli_unlock(&large->lock);
    return extent;
}

size_t fli_large_release_deferred(struct fli_large *large, size_t *blocks)
{
    size_t bytes = 0;
    *blocks = 0;
    for (struct fli_extent *extent; (extent = take_waiting(large)) != NULL; ++*blocks) {
        bytes += extent->charged;
        struct fli_large_shard *shard = fli_supply_shard_of(large, extent);
        fli_lock(&shard->lock);
        fli_supply_put_away(large, shard, extent);
    }
    return bytes;
}

struct fli_large_counts fli_large_count(struct fli_large *large)
{
    struct fli_large_counts counts = {.kept_bytes = fli_supply_kept(large)};
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++) {
        fli_lock(&large->shards[i].lock);
        counts.blocks += large->shards[i].blocks;
        counts.bytes += large->shards[i].bytes;
        fli_unlock(&large->shards[i].lock);
    }
    fli_lock(&large->lock);
    counts.deferred_bytes = large->deferred_bytes[0] + large->deferred_bytes[1];
    fli_unlock(&large->lock);
    return counts;
}
