/* SPDX-License-Identifier: MIT
 *
 * A thread that has taken an extent off its place, under the lock of the shard, has it in hand: no other touches it.
 */
#include "memory/large.h"
#include "base/check.h"
#include "base/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void fli_large_init(struct fli_large *large, struct fli_limit *limit)
{
    memset(large, 0, sizeof *large);
    large->limit = limit;
    fli_store_relaxed(&large->most, SIZE_MAX); /* relaxed: nobody knows it yet */
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

static struct fli_large_shard *shard_of(struct fli_large *large, const struct fli_extent *extent)
{
    return &large->shards[fli_load_relaxed(&extent->shard)]; /* relaxed: see struct fli_extent */
}

/* ---- Giving extents back. */

/* Puts the record of an extent, which is in hand and has no memory, aside for another. */
static void retire(struct fli_large *large, struct fli_extent *extent)
{
    struct fli_large_shard *shard = shard_of(large, extent);
    fli_lock(&shard->lock);
    extent->state = FLI_EXTENT_UNUSED;
    fli_ring_put_first(&shard->unused, &extent->link);
    fli_unlock(&shard->lock);
}

/* Keeps what the system would not unmap. */
static void keep(struct fli_large *large, struct fli_extent *extent)
{
    struct fli_large_shard *shard = shard_of(large, extent);
    fli_lock(&shard->lock);
    fli_spare_put(&shard->spare, extent);
    fli_unlock(&shard->lock);
}

/* Gives an extent in hand back to the system. Returns the bytes. Its place is left first: another thread may map memory
 * at once where it was. */
static size_t give_up(struct fli_large *large, struct fli_extent *extent)
{
    size_t mapped = extent->mapped;
    fli_starts_remove(&large->starts, extent->start, extent);
    fli_limit_give(large->limit, extent->charged);
    extent->charged = 0;
    if (FLI_LIKELY(fli_extent_unmap(extent))) {
        retire(large, extent);
        return mapped;
    }
    fli_starts_enter(&large->starts, extent->start, extent);
    keep(large, extent);
    return extent->cold ? mapped : 0;
}

/* Takes the oldest spare extent of a shard in hand, as long as more than `kept` bytes are kept there. */
static struct fli_extent *take_oldest(struct fli_large_shard *shard, size_t kept, bool for_bound)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take_oldest(&shard->spare, kept);
    if (extent != NULL && for_bound)
        fli_spare_note_given_up(&shard->spare, extent->mapped);
    fli_unlock(&shard->lock);
    return extent;
}

/* Gives up spare extents of a shard until at most `kept` bytes are left. Returns the bytes given back. Only so many at
 * most as can have been there at first: what the system refuses to take comes back. */
static size_t give_up_beyond(struct fli_large *large, struct fli_large_shard *shard, size_t kept, bool for_bound)
{
    size_t left = fli_load_relaxed(&shard->spare.kept), bytes = 0; /* relaxed: a number a moment ago */
    struct fli_extent *extent;
    while (left > kept && (extent = take_oldest(shard, kept, for_bound)) != NULL) {
        left -= fli_min(left, extent->mapped);
        bytes += give_up(large, extent);
    }
    return bytes;
}

/* The most that a shard may keep. */
static size_t bound_of(struct fli_large *large, const struct fli_large_shard *shard)
{
    return fli_min(shard->spare.bound, fli_load_relaxed(&large->most)); /* relaxed: a bound */
}

size_t fli_large_kept(struct fli_large *large)
{
    size_t kept = 0;
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        kept += fli_load_relaxed(&large->shards[i].spare.kept); /* relaxed: a number a moment ago */
    return kept;
}

size_t fli_large_trim(struct fli_large *large, size_t retain)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++) {
        struct fli_large_shard *shard = &large->shards[i];
        size_t all = fli_large_kept(large), here = fli_load_relaxed(&shard->spare.kept); /* relaxed: as above */
        size_t excess = fli_min(all - fli_min(all, retain), here);
        if (excess > 0)
            bytes += give_up_beyond(large, shard, here - excess, false);
    }
    return bytes;
}

void fli_large_flush(struct fli_large *large, unsigned shard)
{
    give_up_beyond(large, &large->shards[shard], FLI_SPARE_FIRST, true);
}

/* ---- Getting extents. */

/* Takes more or less of the limit for an extent, whose block is to have `size` bytes. Returns false, and changes nothing,
 * if that is too much. */
static bool charge(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (size > extent->charged && !fli_limit_take(large->limit, size - extent->charged))
        return false;
    if (size < extent->charged)
        fli_limit_give(large->limit, extent->charged - size);
    extent->charged = size;
    return true;
}

/* The same, giving up spare extents if need be. No lock may be held. */
static bool charge_hard(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    return charge(large, extent, size) || (fli_large_trim(large, 0) > 0 && charge(large, extent, size));
}

/* Counts a block of an extent, which the calling thread has in hand. */
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
    struct fli_large_shard *shard = shard_of(large, extent);
    fli_lock(&shard->lock);
    begin_life_locked(shard, extent, size);
    fli_unlock(&shard->lock);
}

/* Takes a spare extent of a shard. */
static struct fli_extent *take_spare(struct fli_large_shard *shard, size_t size)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take(&shard->spare, size);
    fli_unlock(&shard->lock);
    return extent;
}

/* Takes a spare extent of any other shard. */
static struct fli_extent *take_elsewhere(struct fli_large *large, unsigned own, size_t size)
{
    struct fli_extent *extent = NULL;
    for (unsigned i = (own + 1) % FLI_LARGE_SHARDS; extent == NULL && i != own; i = (i + 1) % FLI_LARGE_SHARDS)
        if (fli_load_relaxed(&large->shards[i].spare.kept) > 0) /* relaxed: a hint */
            extent = take_spare(&large->shards[i], size);
    return extent;
}

/* Enters a new record among all that were made. */
static void note_made(struct fli_large *large, struct fli_extent *extent)
{
    extent->next_made = fli_load_relaxed(&large->made); /* relaxed: the list is walked only where no thread works */
    while (!fli_cas_weak(&large->made, &extent->next_made, extent, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Makes a record, in hand. NULL if memory is refused. Keeps errno: whoever asks may try again. */
static struct fli_extent *make_record(struct fli_large *large)
{
    int saved = errno;
    struct fli_extent *extent = calloc(1, sizeof *extent);
    if (extent != NULL)
        note_made(large, extent);
    errno = saved;
    return extent;
}

/* A record without memory, in hand. NULL if memory is refused. */
static struct fli_extent *obtain_record(struct fli_large *large, struct fli_large_shard *shard)
{
    struct fli_extent *extent = NULL;
    fli_lock(&shard->lock);
    if (!fli_ring_is_empty(&shard->unused)) {
        extent = FLI_RING_OF(shard->unused.next, struct fli_extent, link);
        fli_ring_remove(&extent->link);
        extent->state = FLI_EXTENT_IN_HAND;
    }
    fli_unlock(&shard->lock);
    return extent != NULL ? extent : make_record(large);
}

/* Maps memory for an extent without any, and enters it. */
static bool map(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (!fli_extent_map(extent, size) && (fli_large_trim(large, 0) == 0 || !fli_extent_map(extent, size)))
        return false;
    if (fli_starts_enter(&large->starts, extent->start, extent))
        return true;
    fli_extent_unmap(extent);
    return false;
}

static void note_mapped(struct fli_large *large, struct fli_large_shard *shard, size_t mapped)
{
    fli_lock(&shard->lock);
    fli_spare_note_mapped(&shard->spare, mapped, fli_load_relaxed(&large->most)); /* relaxed: a bound */
    fli_unlock(&shard->lock);
}

/* A new extent, in hand, that is charged for the size. */
static struct fli_extent *obtain_new(struct fli_large *large, unsigned number, size_t size)
{
    struct fli_large_shard *shard = &large->shards[number];
    struct fli_extent *extent = obtain_record(large, shard);
    if (extent == NULL)
        return NULL;
    fli_store_relaxed(&extent->shard, number); /* relaxed: it is in hand */
    if (charge_hard(large, extent, size)) {
        if (map(large, extent, size)) {
            note_mapped(large, shard, extent->mapped);
            return extent;
        }
        charge(large, extent, 0);
    }
    retire(large, extent);
    return NULL;
}

/* A spare extent, in hand, that is charged for the size. */
static struct fli_extent *obtain_spare(struct fli_large *large, unsigned number, size_t size)
{
    struct fli_extent *extent = take_elsewhere(large, number, size);
    if (extent == NULL)
        return NULL;
    fli_store_relaxed(&extent->shard, number); /* relaxed: it is in hand */
    if (charge_hard(large, extent, size))
        return extent;
    give_up(large, extent);
    return NULL;
}

/* By far the most frequent way: a spare extent of the thread's shard becomes a block at once. */
static struct fli_extent *reuse(struct fli_large_shard *shard, struct fli_large *large, size_t size, bool *is_zero)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take(&shard->spare, size);
    if (FLI_LIKELY(extent != NULL)) {
        *is_zero = extent->cold;
        if (FLI_LIKELY(charge(large, extent, size))) {
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
        extent = obtain_spare(large, shard, size);
        if (extent == NULL)
            extent = obtain_new(large, shard, size);
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

/* Ends the life of the block that starts there. If all is well, its extent is in `*found`, in hand, and the lock of its
 * shard, `*home`, is held. */
static enum fli_large_result end_life(struct fli_large *large, const void *block, bool sized, size_t size,
                                      size_t *actual, struct fli_extent **found, struct fli_large_shard **home)
{
    struct fli_extent *extent = *found = fli_starts_find(&large->starts, block);
    *actual = 0;
    if (extent == NULL)
        return FLI_LARGE_UNKNOWN;
    struct fli_large_shard *shard = *home = shard_of(large, extent);
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

/* Keeps an extent in hand, under the lock of its shard, if the bound can have room for it. */
static bool keep_locked(struct fli_large *large, struct fli_large_shard *shard, struct fli_extent *extent)
{
    fli_assert_held(&shard->lock);
    size_t mapped = extent->mapped;
    if (extent->bin < FLI_EXTENT_BINS && mapped <= bound_of(large, shard)) {
        fli_extent_show(extent, 0);
        fli_spare_put(&shard->spare, extent);
        return true;
    }
    if (extent->bin < FLI_EXTENT_BINS)
        fli_spare_note_given_up(&shard->spare, mapped);
    return false;
}

/* Keeps an extent in hand or gives it up. Under the lock of its shard, which it releases. */
static void put_away(struct fli_large *large, struct fli_large_shard *shard, struct fli_extent *extent)
{
    bool kept = keep_locked(large, shard, extent);
    size_t bound = bound_of(large, shard);
    bool is_over = fli_load_relaxed(&shard->spare.kept) > bound; /* relaxed: the lock is held */
    fli_unlock(&shard->lock);
    if (FLI_UNLIKELY(!kept))
        give_up(large, extent);
    if (FLI_UNLIKELY(is_over))
        give_up_beyond(large, shard, bound, true);
}

enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_extent *extent;
    struct fli_large_shard *shard;
    enum fli_large_result result = end_life(large, block, sized, size, actual, &extent, &shard);
    if (FLI_LIKELY(result == FLI_LARGE_DONE))
        put_away(large, shard, extent);
    return result;
}

/* ---- Other sizes. */

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
    bool done = new_size <= PTRDIFF_MAX && charge_hard(large, extent, fli_max(old_size, new_size)) &&
                make_fit(large, extent, new_size);
    size_t size = done ? new_size : old_size;
    charge(large, extent, size); /* less than it has */
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
        struct fli_large_shard *shard = shard_of(large, extent);
        fli_lock(&shard->lock);
        put_away(large, shard, extent);
    }
    return bytes;
}

struct fli_large_counts fli_large_count(struct fli_large *large)
{
    struct fli_large_counts counts = {.kept_bytes = fli_large_kept(large)};
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
