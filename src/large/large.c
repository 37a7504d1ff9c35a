/* SPDX-License-Identifier: MIT */
#include "large/seal.h"
#include "large/supply.h"
#include "base/check.h"
#include "base/os.h"

#include <stdlib.h>
#include <string.h>

/* A block is copied if its size changes by a half of the smaller one or more. */
enum { COPIED_CHANGE = 2 };

void fli_large_init(struct fli_large *large, struct fli_limit *limit)
{
    memset(large, 0, sizeof *large);
    large->limit = limit;
    large->is_shown = FLI_ADDRESS_SANITIZER;
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
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        fli_tray_close(&large->shards[i].trays);
    struct fli_extent *extent = fli_load_relaxed(&large->made); /* relaxed: no other thread uses them */
    for (struct fli_extent *next; extent != NULL; extent = next) {
        next = extent->next_made;
        if (fli_large_has_memory(extent))
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
    bool shrinks = most / shards < fli_load_hint(&large->most);
    fli_store_hint(&large->most, most / shards);
    if (shrinks)
        fli_supply_revoke(large);
}

unsigned fli_large_next_shard(struct fli_large *large)
{
    return fli_add_relaxed(&large->threads, 1) % FLI_LARGE_SHARDS; /* relaxed: a counter */
}

/* ---- Keeping extents. */

static inline void put_away(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (FLI_UNLIKELY(large->hardened != NULL))
        fli_seal_end(large, extent, size);
    fli_supply_put_away(large, extent);
}

/* ---- Beginning a block's life. */

/* Makes a live block of an extent in hand, at its offset. */
static inline void begin_life(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (FLI_UNLIKELY(large->hardened != NULL))
        fli_seal_begin(large, extent, size);
    extent->cold = false;
    fli_supply_show(large, extent, size);
    /* E5: release, pairs with E6: what the record says of the extent is visible to the thread that frees the block. */
    fli_store_release(&extent->size, size);
}

static inline __attribute__((always_inline)) void *alloc(struct fli_large *large, unsigned shard, size_t size,
                                                         size_t play, bool zeroed, bool realtime)
{
    struct fli_extent *extent = fli_supply_obtain(large, shard, size, play, realtime);
    if (FLI_UNLIKELY(extent == NULL))
        return NULL;
    bool is_zero = extent->cold;
    uint16_t offset = fli_extent_offset(extent, play);
    void *block = fli_extent_start(extent) + offset;
    fli_store_own(&extent->offset, offset);
    begin_life(large, extent, size);
    return zeroed && !is_zero ? memset(block, 0, size) : block;
}

/* The largest offset of a block. 0 in a hardened heap, where pages that nobody can touch lie close around a block. */
static inline size_t play_for(const struct fli_large *large, size_t size)
{
    return FLI_LIKELY(large->hardened == NULL) ? fli_extent_play(size) : 0;
}

void *fli_large_alloc(struct fli_large *large, unsigned shard, size_t size, bool zeroed)
{
    return alloc(large, shard, size, play_for(large, size), zeroed, false);
}

void *fli_large_alloc_realtime(struct fli_large *large, unsigned shard, size_t size, bool zeroed)
{
    return alloc(large, shard, size, play_for(large, size), zeroed, true);
}

void *fli_large_alloc_page(struct fli_large *large, unsigned shard, size_t size, bool realtime)
{
    return alloc(large, shard, size, 0, false, realtime);
}

/* ---- Ending a block's life. */

/* The extent whose block begins at the address, or whose last one did; NULL if there is none. Any address. */
static inline struct fli_extent *find(struct fli_large *large, const void *block)
{
    struct fli_extent *extent = fli_starts_find(&large->starts, block);
    bool begins = FLI_LIKELY(extent != NULL) && (uintptr_t)block % FLI_EXTENT_PAGE == fli_load_hint(&extent->offset);
    return FLI_LIKELY(begins) ? extent : NULL;
}

size_t fli_large_size(struct fli_large *large, const void *block)
{
    struct fli_extent *extent = find(large, block);
    return extent != NULL ? fli_extent_live_size(extent) : 0;
}

static enum fli_large_result judge(size_t found, bool sized, size_t size, size_t *actual)
{
    *actual = found & ~FLI_EXTENT_IS_DEFERRED;
    if (FLI_UNLIKELY(found != *actual))
        return FLI_LARGE_IS_DEFERRED;
    if (FLI_UNLIKELY(found == 0))
        return FLI_LARGE_UNKNOWN;
    return sized && size != found ? FLI_LARGE_WRONG_SIZE : FLI_LARGE_DONE;
}

/* Takes an extent in hand if the size of its block is `*size`; marks it as deferred if the block `waits`. If not, returns
 * false, and stores the size that it has in `*size`. */
static inline bool take_in_hand(struct fli_extent *extent, size_t *size, bool waits)
{
    /* E6: acquire, pairs with E5. */
    return fli_cas_strong(&extent->size, size, waits ? *size | FLI_EXTENT_IS_DEFERRED : 0, memory_order_acquire,
                          memory_order_relaxed);
}

/* Ends the life of the block that starts at `block`. If the result is FLI_LARGE_DONE, its extent is in `*ended`, in
 * hand, and marked as deferred if the block `waits`. */
static enum fli_large_result end_life(struct fli_large *large, const void *block, bool sized, size_t size, bool waits,
                                      size_t *actual, struct fli_extent **ended)
{
    struct fli_extent *extent = *ended = find(large, block);
    *actual = 0;
    if (FLI_UNLIKELY(extent == NULL))
        return FLI_LARGE_UNKNOWN;
    size_t found = fli_load_hint(&extent->size);
    enum fli_large_result result;
    do {
        result = judge(found, sized, size, actual);
        if (FLI_UNLIKELY(result != FLI_LARGE_DONE))
            return result;
    } while (FLI_UNLIKELY(!take_in_hand(extent, &found, waits)));
    if (FLI_UNLIKELY(large->hardened != NULL))
        fli_seal_inspect(large, extent, found);
    return FLI_LARGE_DONE;
}

bool fli_large_free_quickly(struct fli_large *large, void *block, size_t size)
{
    struct fli_extent *extent = find(large, block);
    if (FLI_UNLIKELY(extent == NULL || large->hardened != NULL || size > PTRDIFF_MAX ||
                     !take_in_hand(extent, &size, false)))
        return false;
    fli_supply_put_away(large, extent);
    return true;
}

enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_extent *extent;
    enum fli_large_result result = end_life(large, block, sized, size, false, actual, &extent);
    if (FLI_LIKELY(result == FLI_LARGE_DONE))
        put_away(large, extent, *actual);
    return result;
}

enum fli_large_result fli_large_free_realtime(struct fli_large *large, void *block, bool sized, size_t size,
                                              size_t *actual)
{
    struct fli_extent *extent;
    enum fli_large_result result = end_life(large, block, sized, size, false, actual, &extent);
    if (FLI_UNLIKELY(result != FLI_LARGE_DONE))
        return result;
    if (FLI_UNLIKELY(large->hardened != NULL))
        fli_seal_end(large, extent, *actual);
    fli_supply_put_aside(large, extent);
    return result;
}

/* ---- Resizing. */

/* Moves an extent in hand to other addresses. */
static bool move(struct fli_large *large, struct fli_extent *extent, size_t mapped)
{
    char *target = fli_extent_map_target(extent, mapped), *start = fli_extent_start(extent);
    if (target == NULL)
        return false;
    if (!fli_starts_enter(&large->starts, target, extent)) {
        fli_extent_unmap_target(extent, target, mapped);
        return false;
    }
    fli_starts_remove(&large->starts, start, extent);
    if (FLI_LIKELY(fli_extent_move(extent, target, mapped)))
        return true;
    fli_starts_enter(&large->starts, start, extent);
    fli_starts_remove(&large->starts, target, extent);
    return false;
}

/* The bytes that are mapped for the block of an extent in hand if it gets another size. */
static size_t bytes_for(const struct fli_extent *extent, size_t size)
{
    return fli_extent_bytes(fli_load_own(&extent->offset) + size);
}

/* Gives an extent in hand room for a block of the size. */
static bool make_fit(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    size_t mapped = bytes_for(extent, size);
    return mapped == extent->mapped || fli_extent_resize(extent, mapped) || move(large, extent, mapped);
}

/* Whether a block may be copied when it gets another size. */
static bool may_copy(struct fli_large *large, const struct fli_extent *extent, size_t old_size, size_t size)
{
    size_t more = fli_max(old_size, size), less = fli_min(old_size, size);
    return more - less >= less / COPIED_CHANGE && bytes_for(extent, size) != extent->mapped &&
           fli_limit_left(large->limit) >= size;
}

/* Copies the block of an extent in hand into another extent, at the same offset: it may have been asked for at a page.
 * Returns the other block; NULL if there is no extent to copy it to. */
static void *copy(struct fli_large *large, struct fli_extent *extent, size_t old_size, size_t size)
{
    uint16_t offset = fli_load_own(&extent->offset);
    unsigned shard = fli_load_own(&extent->shard);
    struct fli_extent *other = fli_min(old_size, size) <= FLI_LARGE_COPIED_MOST
                                   ? fli_supply_obtain(large, shard, size, offset, false)
                                   : fli_supply_obtain_spare(large, shard, size, offset);
    if (other == NULL)
        return NULL;
    fli_store_own(&other->offset, offset);
    begin_life(large, other, size);
    void *block = fli_extent_block(other);
    memcpy(block, fli_extent_block(extent), fli_min(old_size, size));
    put_away(large, extent, old_size);
    return block;
}

enum fli_large_result fli_large_resize(struct fli_large *large, void **block, size_t old_size, size_t new_size,
                                       bool realtime, size_t *actual)
{
    struct fli_extent *extent;
    enum fli_large_result result = end_life(large, *block, true, old_size, false, actual, &extent);
    if (result != FLI_LARGE_DONE)
        return result;
    bool copies = !realtime && may_copy(large, extent, old_size, new_size);
    void *other = copies ? copy(large, extent, old_size, new_size) : NULL;
    if (other != NULL) {
        *block = other;
        return FLI_LARGE_DONE;
    }
    bool done = new_size <= PTRDIFF_MAX && fli_supply_charge_hard(large, extent, fli_max(old_size, new_size)) &&
                make_fit(large, extent, new_size);
    size_t size = done ? new_size : old_size;
    fli_supply_charge(large, extent, size); /* no more than it has, so this succeeds */
    *block = fli_extent_block(extent);
    begin_life(large, extent, size);
    return done ? FLI_LARGE_DONE : FLI_LARGE_REFUSED;
}

/* ---- Deferred blocks. */

static void collect(struct fli_large *large, struct fli_extent *extent)
{
    fli_lock(&large->lock);
    extent->state = FLI_EXTENT_DEFERRED;
    unsigned batch = large->collecting;
    fli_ring_put_first(&large->deferred_of[batch], &extent->link);
    large->deferred[batch]++;
    large->deferred_bytes[batch] += extent->charged;
    fli_unlock(&large->lock);
}

enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_extent *extent;
    enum fli_large_result result = end_life(large, block, sized, size, true, actual, &extent);
    if (result == FLI_LARGE_DONE)
        collect(large, extent);
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
        extent->state = FLI_EXTENT_OUT;
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
        size_t size = fli_load_own(&extent->size) & ~FLI_EXTENT_IS_DEFERRED;
        fli_store_own(&extent->size, 0);
        put_away(large, extent, size);
    }
    return bytes;
}

/* ---- fork */

void fli_large_set_aside(struct fli_large *large)
{
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        if (fli_load_own(&large->shards[i].trays.used) != 0)
            fli_tray_revoke(&large->shards[i].trays, &large->shards[i].spare);
}

void fli_large_forget_stw(struct fli_large *large)
{
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        fli_tray_forget_stw(&large->shards[i].trays);
}
