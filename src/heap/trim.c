/* SPDX-License-Identifier: MIT */
#include "heap/trim.h"
#include "base/check.h"
#include "base/lock.h"
#include "heap/guest.h"
#include "heap/service.h"
#include "heap/thread.h"
#include "large/supply.h"
#include "memory/chain.h"
#include "memory/idle.h"
#include "memory/slab_list.h"
#include "memory/stray.h"

/* One trim: what it works on and what it has done. */
struct trim {
    struct fli_backing *backing;
    struct fli_pool_counters *counters;
    bool waits;               /* whether it waits for homes that are busy */
    size_t retain;            /* free bytes to leave */
    size_t warm;              /* bytes of idle slabs that may keep their memory */
    size_t free;              /* free bytes that are left at this point */
    size_t emptied;           /* bytes of slabs that have been retired */
    size_t returned;          /* bytes returned to the OS */
    struct fli_chain empties; /* magazines in hand without blocks */
    uint32_t retired;         /* slabs in hand, a list */
};

/* ---- Magazines in hand. */

static void keep_empty(struct trim *trim, struct fli_magazine *magazine)
{
    fli_store_own(&magazine->count, 0);
    fli_chain_put(&trim->empties, &trim->backing->magazines, magazine);
}

/* Returns to the OS the pages that consist of empty magazines, in hand or in the pool. */
static void return_magazines(struct trim *trim)
{
    struct fli_backing *backing = trim->backing;
    struct fli_chain pooled = {fli_stack_take_all_mpmc(&backing->pool.empty, trim->counters)};
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&pooled, &backing->magazines)) != NULL;)
        keep_empty(trim, magazine);
    trim->returned += fli_magazines_return(&backing->magazines, &trim->empties);
}

static void pool_empties(struct trim *trim)
{
    struct fli_backing *backing = trim->backing;
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&trim->empties, &backing->magazines)) != NULL;)
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, trim->counters);
}

/* ---- Blocks. */

/* Sends the blocks of a magazine home. Blocks whose homes are busy stay in it, in the pool. */
static void send_home(struct trim *trim, unsigned class_index, struct fli_magazine *magazine)
{
    struct fli_backing *backing = trim->backing;
    unsigned left = fli_homes_return(&backing->homes, class_index,
                                     fli_magazine_floor(magazine, backing->magazine_blocks[class_index]),
                                     fli_load_own(&magazine->count), trim->waits, trim->counters);
    fli_store_own(&magazine->count, (uint16_t)left);
    if (left == 0)
        keep_empty(trim, magazine);
    else
        fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, trim->counters);
}

/* Sends all pooled blocks of the class home. Other threads may give more to the pool meanwhile. */
static void send_pooled_home(struct trim *trim, unsigned class_index)
{
    struct fli_backing *backing = trim->backing;
    struct fli_chain pooled = {fli_stack_take_all_mpmc(&backing->pool.filled[class_index], trim->counters)};
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&pooled, &backing->magazines)) != NULL;) {
        struct fli_magazine *next = fli_chain_first(&pooled, &backing->magazines);
        if (next != NULL) {
            __builtin_prefetch(next, 1);
            __builtin_prefetch(fli_magazine_floor(next, backing->magazine_blocks[class_index]));
        }
        send_home(trim, class_index, magazine);
    }
}

/* Gives the pool filled magazines of the class that a home keeps, which is locked, until they have `most` bytes.
 * Returns the bytes of their blocks. */
static size_t unshelve(struct trim *trim, struct fli_home *home, unsigned class_index, size_t most)
{
    struct fli_backing *backing = trim->backing;
    struct fli_magazine *magazine;
    size_t bytes = 0;
    while (bytes < most && (magazine = fli_owner_take_shelved(backing, home, class_index)) != NULL) {
        bytes += fli_load_own(&magazine->count) * fli_class_bytes(class_index);
        fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, trim->counters);
    }
    return bytes;
}

/* Takes the magazines that a home keeps, which is locked: gives filled ones to the pool, takes empty ones into
 * hand. */
static void empty_shelves(struct trim *trim, struct fli_home *home)
{
    struct fli_magazine *magazine;
    while ((magazine = fli_owner_take_shelved(trim->backing, home, 0)) != NULL)
        keep_empty(trim, magazine);
    FLI_FOR_USED_CLASSES (c, &trim->backing->slabs)
        trim->free += unshelve(trim, home, c, SIZE_MAX);
}

/* Does the same for all homes, or only for those that are away. */
static void empty_all_shelves(struct trim *trim, bool away_only)
{
    for (struct fli_home *home = fli_homes_first(&trim->backing->homes); home != NULL; home = home->next) {
        if (away_only && !fli_load_hint(&home->away))
            continue;
        fli_home_wait(home);
        empty_shelves(trim, home);
        fli_home_unlock(home);
    }
}

/* Gives the pool about `bytes` bytes of the large blocks that a home keeps, if it is not busy. Returns how many. */
static size_t unshelve_large(struct trim *trim, struct fli_home *home, size_t bytes)
{
    size_t done = 0;
    if (!fli_home_try_briefly(home))
        return 0;
    for (unsigned c = FL_CLASS_COUNT - 1; fli_class_bytes(c) > FLI_HOME_BLOCK_MOST && done < bytes; c--)
        done += unshelve(trim, home, c, bytes - done);
    fli_rack_forget(&home->rack.large);
    fli_home_unlock(home);
    return done;
}

/* Does so for one home after another, until `bytes` bytes are in the pool. */
static void unshelve_all_large(struct trim *trim, size_t bytes)
{
    struct fli_home *home = fli_homes_first(&trim->backing->homes);
    for (size_t done = 0; home != NULL && done < bytes; home = home->next)
        if (fli_rack_bytes(&home->rack.large) > 0)
            done += unshelve_large(trim, home, bytes - done);
}

/* Sends home about `bytes` bytes of the class's pooled blocks. */
static void send_some_home(struct trim *trim, unsigned class_index, size_t bytes)
{
    struct fli_backing *backing = trim->backing;
    size_t magazine_bytes = backing->magazine_blocks[class_index] * fli_class_bytes(class_index);
    for (size_t done = 0; done < bytes; done += magazine_bytes) {
        struct fli_magazine *magazine = fli_stack_pop_mpmc(&backing->pool.filled[class_index], &backing->magazines,
                                                           trim->counters);
        if (magazine == NULL)
            return;
        send_home(trim, class_index, magazine);
    }
}

/* ---- Slabs. */

static bool has_enough(const struct trim *trim)
{
    return trim->free <= trim->retain;
}

/* Retires slabs of a home, which is locked, that are all free, until no more free bytes than wanted are left. */
static void retire_slabs(struct trim *trim, struct fli_home *home, unsigned class_index)
{
    struct fli_slabs *slabs = &trim->backing->slabs;
    uint32_t slab;
    while (!has_enough(trim) && (slab = fli_home_give_up_free(&trim->backing->homes, home, class_index)) != 0) {
        size_t bytes = fli_slab_at(slabs, slab)->blocks * fli_class_bytes(class_index);
        if (FLI_UNLIKELY(!fli_slab_retire(slabs, slab))) {
            fli_home_take_in(&trim->backing->homes, home, slab);
            return;
        }
        trim->free -= fli_min(trim->free, bytes);
        fli_slab_list_add(slabs, &trim->retired, slab);
        trim->emptied += FLI_SLAB_BYTES;
    }
}

/* Does the same for all classes and homes. */
static void retire_from_homes(struct trim *trim)
{
    struct fli_home *home = fli_homes_first(&trim->backing->homes);
    for (; home != NULL && !has_enough(trim); home = home->next) {
        if (trim->waits)
            fli_home_wait(home);
        else if (!fli_home_try_briefly(home))
            continue;
        FLI_FOR_USED_CLASSES (c, &trim->backing->slabs)
            if (!has_enough(trim))
                retire_slabs(trim, home, c);
        fli_home_unlock(home);
    }
}

/* ---- A whole trim. */

static size_t class_pooled_bytes(struct fli_backing *backing, unsigned class_index)
{
    return fli_stack_blocks(&backing->pool.filled[class_index], &backing->magazines) * fli_class_bytes(class_index);
}

size_t fli_trim_pooled_bytes(struct fli_backing *backing)
{
    size_t bytes = 0;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        bytes += class_pooled_bytes(backing, c);
    return bytes;
}

size_t fli_trim_free_slab_bytes(struct fli_backing *backing)
{
    return fli_load_hint(&backing->homes.free_slabs) * FLI_SLAB_BYTES;
}

size_t fli_trim_held_bytes(struct fli_backing *backing)
{
    return fli_trim_pooled_bytes(backing) + fli_trim_free_slab_bytes(backing);
}

static bool has_stale_readers(const struct fl_heap *heap)
{
    return heap->options.header != NULL;
}

/* How many bytes of idle slabs stay warm after a trim that the bound causes. */
static size_t warm_bytes(struct fl_heap *heap)
{
    return has_stale_readers(heap) ? 0 : fli_load_own(&heap->bound.above) / 2;
}

/* Begins a trim. With stale readers, the slabs that collect are in its hand. */
static struct trim begin_locked(struct fl_heap *heap, size_t retain)
{
    fli_assert_held(&heap->trim_lock);
    return (struct trim){.backing = &heap->backing,
                         .counters = &heap->trim_counters,
                         .retain = retain,
                         .warm = warm_bytes(heap),
                         .retired = has_stale_readers(heap) ? heap->retired.collecting : 0};
}

/* Puts away what is still in hand, gives the magazines to the pool, and counts the trim. */
static void finish(struct trim *trim, struct fl_heap *heap)
{
    pool_empties(trim);
    if (has_stale_readers(heap))
        heap->retired.collecting = trim->retired;
    else
        trim->returned += fli_idle_make(&trim->backing->slabs, trim->retired, trim->warm / FLI_SLAB_BYTES);
    fli_count(&heap->trims, 1);
    fli_count(&heap->trimmed_bytes, trim->returned);
    trim->returned += fli_retired_reclaim_locked(heap);
}

/* Trims all classes, until at most `retain` free bytes are left. */
static void trim_classes(struct trim *trim)
{
    struct fli_backing *backing = trim->backing;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        if (class_pooled_bytes(backing, c) > 0)
            send_pooled_home(trim, c);
    retire_from_homes(trim);
    return_magazines(trim);
}

static size_t free_bytes(struct fli_backing *backing)
{
    size_t bytes = fli_trim_pooled_bytes(backing);
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        bytes += fli_homes_free(&backing->homes, c) * fli_class_bytes(c);
    return bytes;
}

/* Bytes of the blocks that homes keep in magazines. */
static size_t kept_bytes(struct fli_backing *backing)
{
    size_t bytes = 0;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        bytes += fli_owner_kept_blocks(backing, c) * fli_class_bytes(c);
    return bytes;
}

size_t fli_trim(struct fl_heap *heap, size_t retain)
{
    fli_lock(&heap->trim_lock);
    struct trim trim = begin_locked(heap, retain);
    trim.waits = true;
    trim.free = free_bytes(&heap->backing);
    empty_all_shelves(&trim, true);
    trim_classes(&trim);
    if (trim.free + kept_bytes(&heap->backing) > retain) {
        empty_all_shelves(&trim, false);
        trim_classes(&trim);
    }
    trim.warm = fli_min(trim.warm, retain - fli_min(trim.free, retain));
    finish(&trim, heap);
    fli_bound_forget_trim(&heap->bound); /* the bound did not cause this trim */
    fli_slab_trim_metadata(&heap->backing.slabs);
    size_t of_kept = fli_idle_return_kept(&heap->backing.slabs);
    size_t left = trim.free + fli_idle_warm_bytes(&heap->backing.slabs);
    of_kept += fli_supply_trim(&heap->backing.large, retain - fli_min(left, retain));
    fli_count(&heap->trimmed_bytes, of_kept);
    fli_unlock(&heap->trim_lock);
    return trim.returned + of_kept;
}

size_t fl_heap_trim(struct fl_heap *heap, size_t retain_bytes)
{
    bool waits = has_stale_readers(heap);
    if (waits && fli_thread_caller_is_inside(heap)) {
        fli_misuse("fl_heap_trim", heap, NULL, "would wait for a grace period inside a read-side section");
        return 0;
    }
    fli_guest_evict_ours(heap);
    /* The host cannot flush the caches of the service thread. */
    struct fli_thread *service = fli_service_enter(heap);
    fli_thread_flush_owner(service);
    fli_service_leave(service);
    fli_thread_flush_unused(heap, false);
    if (heap->grace.kind != FL_GRACE_NONE)
        fli_bound_advance_deferred(heap);
    size_t returned = fli_trim(heap, retain_bytes);
    if (waits)
        returned += fli_retired_drain(heap);
    fli_stray_tell(&heap->backing.slabs, heap, "fl_heap_trim");
    return returned;
}

/* ---- Trims that the bound causes. */

static unsigned class_with_most_pooled(struct fli_backing *backing)
{
    unsigned most = 1;
    for (unsigned c = 2; c < FL_CLASS_COUNT; c++)
        if (class_pooled_bytes(backing, c) > class_pooled_bytes(backing, most))
            most = c;
    return most;
}

size_t fli_trim_slice_locked(struct fl_heap *heap, size_t bytes)
{
    struct trim trim = begin_locked(heap, 0);
    if (fli_trim_free_slab_bytes(trim.backing) < bytes)
        send_some_home(&trim, class_with_most_pooled(trim.backing), bytes);
    trim.free = bytes;
    retire_from_homes(&trim);
    finish(&trim, heap);
    return trim.emptied;
}

size_t fli_trim_down_locked(struct fl_heap *heap, size_t held, size_t retain)
{
    struct trim trim = begin_locked(heap, retain);
    trim.free = held;
    trim_classes(&trim);
    finish(&trim, heap);
    return trim.emptied;
}

size_t fli_trim_return_locked(struct fl_heap *heap, size_t bytes)
{
    struct trim trim = begin_locked(heap, 0);
    size_t warm = fli_idle_warm_bytes(&trim.backing->slabs), of_warm = fli_min(warm, bytes);
    trim.free = bytes - of_warm;
    retire_from_homes(&trim);
    if (trim.free > 0) {
        unshelve_all_large(&trim, trim.free);
        send_some_home(&trim, class_with_most_pooled(trim.backing), trim.free);
        retire_from_homes(&trim);
    }
    trim.warm = warm - of_warm;
    finish(&trim, heap);
    return trim.returned;
}

size_t fli_trim_empty_bytes(struct fli_backing *backing)
{
    return fli_stack_blocks(&backing->pool.empty, &backing->magazines) * FLI_MAGAZINE_BYTES;
}

void fli_trim_empty_locked(struct fl_heap *heap, size_t bytes)
{
    struct trim trim = {.backing = &heap->backing, .counters = &heap->trim_counters};
    struct fli_backing *backing = trim.backing;
    struct fli_magazine *magazine;
    size_t left = fli_trim_empty_bytes(backing);
    struct fli_chain pooled = {fli_stack_take_all_mpmc(&backing->pool.empty, trim.counters)};
    for (; left > bytes && (magazine = fli_chain_take(&pooled, &backing->magazines)); left -= FLI_MAGAZINE_BYTES)
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, trim.counters);
    while ((magazine = fli_chain_take(&pooled, &backing->magazines)) != NULL)
        keep_empty(&trim, magazine);
    fli_count(&heap->trimmed_bytes, fli_magazines_return(&backing->magazines, &trim.empties));
    pool_empties(&trim);
}
