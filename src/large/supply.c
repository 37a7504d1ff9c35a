/* SPDX-License-Identifier: MIT */
#include "large/supply.h"

#include <errno.h>
#include <stdlib.h>

/* ---- The limit. */

bool fli_supply_charge(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (size > extent->charged && !fli_limit_take(large->limit, size - extent->charged))
        return false;
    if (size < extent->charged)
        fli_limit_give(large->limit, extent->charged - size);
    extent->charged = size;
    return true;
}

bool fli_supply_charge_hard(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    return fli_supply_charge(large, extent, size) ||
           (fli_supply_trim(large, 0) > 0 && fli_supply_charge(large, extent, size));
}

/* ---- Giving extents up. */

/* Puts the record of an extent in hand, which has no memory, on the list of unused ones. */
static void retire(struct fli_large *large, struct fli_extent *extent)
{
    struct fli_large_shard *shard = fli_supply_shard_of(large, extent);
    fli_lock(&shard->lock);
    extent->state = FLI_EXTENT_UNUSED;
    fli_ring_put_first(&shard->unused, &extent->link);
    fli_unlock(&shard->lock);
}

/* Keeps an extent in hand that the OS did not unmap. */
static void keep(struct fli_large *large, struct fli_extent *extent)
{
    struct fli_large_shard *shard = fli_supply_shard_of(large, extent);
    fli_lock(&shard->lock);
    fli_spare_put(&shard->spare, extent);
    fli_unlock(&shard->lock);
}

/* Returns an extent in hand to the OS. Returns the bytes returned. It leaves the table first, because another thread
 * may map memory at its address at once. */
static size_t give_up(struct fli_large *large, struct fli_extent *extent)
{
    size_t mapped = extent->mapped, there = fli_extent_memory(extent);
    fli_starts_remove(&large->starts, fli_extent_start(extent), extent);
    fli_limit_give(large->limit, extent->charged);
    extent->charged = 0;
    if (FLI_LIKELY(fli_extent_unmap(extent))) {
        retire(large, extent);
        return mapped;
    }
    fli_starts_enter(&large->starts, fli_extent_start(extent), extent);
    bool returned = extent->cold;
    keep(large, extent);
    return returned ? there : 0;
}

/* Takes the oldest spare extent of a shard, if more than `kept` bytes are kept there. */
static struct fli_extent *take_oldest(struct fli_large_shard *shard, size_t kept, bool for_bound)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take_oldest(&shard->spare, kept);
    if (extent != NULL && for_bound)
        fli_spare_note_given_up(&shard->spare, extent->mapped);
    fli_unlock(&shard->lock);
    return extent;
}

/* Gives up spare extents of a shard until at most `kept` bytes are left. Returns the bytes returned to the OS. Extents
 * that the OS refuses are kept again, so the loop ends after as many bytes as were kept at first. */
static size_t give_up_beyond(struct fli_large *large, struct fli_large_shard *shard, size_t kept, bool for_bound)
{
    size_t left = fli_load_relaxed(&shard->spare.kept), bytes = 0; /* relaxed: a number a moment ago */
    struct fli_extent *extent;
    while (left > kept && (extent = take_oldest(shard, kept, for_bound)) != NULL) {
        left = fli_minus(left, fli_extent_memory(extent));
        bytes += give_up(large, extent);
    }
    return bytes;
}

static size_t kept_in(struct fli_large_shard *shard)
{
    return fli_load_hint(&shard->spare.kept) + fli_tray_bytes(&shard->trays);
}

static void revoke_in(struct fli_large_shard *shard)
{
    fli_lock(&shard->lock);
    fli_tray_revoke(&shard->trays, &shard->spare);
    fli_unlock(&shard->lock);
}

void fli_supply_revoke(struct fli_large *large)
{
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        if (fli_load_hint(&large->shards[i].trays.granted) > 0)
            revoke_in(&large->shards[i]);
}

/* The most that a shard may keep. */
static size_t bound_of(struct fli_large *large, const struct fli_large_shard *shard)
{
    return fli_min(shard->spare.bound, fli_load_relaxed(&large->most)); /* relaxed: a bound */
}

size_t fli_supply_kept(struct fli_large *large)
{
    size_t kept = 0;
    for (unsigned i = 0; i < FLI_LARGE_SHARDS; i++)
        kept += kept_in(&large->shards[i]);
    return kept;
}

size_t fli_supply_trim(struct fli_large *large, size_t retain)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < FLI_LARGE_SHARDS && fli_supply_kept(large) > retain; i++) {
        struct fli_large_shard *shard = &large->shards[i];
        revoke_in(shard);
        size_t all = fli_supply_kept(large), here = fli_load_relaxed(&shard->spare.kept); /* relaxed: as above */
        size_t excess = fli_min(all - fli_min(all, retain), here);
        if (excess > 0)
            bytes += give_up_beyond(large, shard, here - excess, false);
    }
    return bytes;
}

void fli_supply_flush(struct fli_large *large, unsigned shard)
{
    revoke_in(&large->shards[shard]);
    give_up_beyond(large, &large->shards[shard], FLI_SPARE_FIRST, true);
}

/* Whether the shard keeps more than it may, if all room in its trays counts as filled. */
static bool is_over_locked(const struct fli_large_shard *shard, size_t bound)
{
    fli_assert_held(&shard->lock);
    return fli_load_own(&shard->spare.kept) + fli_load_own(&shard->trays.granted) > bound;
}

/* Puts an extent in hand into a tray, which is granted room for it within the bound. Returns whether it did. */
static bool make_room_locked(struct fli_large_shard *shard, struct fli_extent *extent, size_t bound)
{
    fli_assert_held(&shard->lock);
    size_t kept = fli_load_own(&shard->spare.kept);
    bool granted = fli_tray_grant(&shard->trays, extent, bound - fli_min(bound, kept));
    return granted && fli_tray_put(&shard->trays, extent);
}

/* Keeps an extent in hand, if the bound allows one of its size. Returns whether it did. */
static bool keep_locked(struct fli_large_shard *shard, struct fli_extent *extent, size_t bound)
{
    if (extent->bin < FLI_EXTENT_BINS && extent->mapped <= bound) {
        if (!make_room_locked(shard, extent, bound))
            fli_spare_put(&shard->spare, extent);
        return true;
    }
    if (extent->bin < FLI_EXTENT_BINS)
        fli_spare_note_given_up(&shard->spare, extent->mapped);
    return false;
}

void fli_supply_put_away_slowly(struct fli_large *large, struct fli_extent *extent)
{
    struct fli_large_shard *shard = fli_supply_shard_of(large, extent);
    if (extent->bin < FLI_TRAYS)
        fli_tray_make(&shard->trays);
    fli_lock(&shard->lock);
    size_t bound = bound_of(large, shard);
    bool kept = keep_locked(shard, extent, bound);
    bool is_over = is_over_locked(shard, bound);
    if (is_over)
        fli_tray_revoke(&shard->trays, &shard->spare);
    fli_unlock(&shard->lock);
    if (!kept)
        give_up(large, extent);
    if (is_over)
        give_up_beyond(large, shard, bound, true);
}

/* Keeps an extent in hand in a shard whose lock is free, the first one that is asked. Returns whether one was. */
static bool keep_somewhere(struct fli_large *large, struct fli_extent *extent)
{
    unsigned own = fli_load_own(&extent->shard), tries = 0;
    struct fli_large_shard *shard;
    do {
        if (tries == FLI_LARGE_SHARDS)
            return false;
        shard = &large->shards[(own + tries++) % FLI_LARGE_SHARDS];
    } while (!fli_trylock(&shard->lock));
    fli_store_own(&extent->shard, (own + tries - 1) % FLI_LARGE_SHARDS);
    fli_spare_put(&shard->spare, extent);
    fli_unlock(&shard->lock);
    return true;
}

void fli_supply_put_aside(struct fli_large *large, struct fli_extent *extent)
{
    fli_supply_show(large, extent, 0);
    if (!fli_tray_put(&fli_supply_shard_of(large, extent)->trays, extent) && !keep_somewhere(large, extent))
        keep(large, extent);
}

/* ---- Getting extents. */

/* Takes a spare extent off the lists of a shard. */
static struct fli_extent *take_listed(struct fli_large_shard *shard, size_t size)
{
    fli_lock(&shard->lock);
    struct fli_extent *extent = fli_spare_take(&shard->spare, size);
    fli_unlock(&shard->lock);
    return extent;
}

/* Takes an extent out of the trays of a shard. */
static struct fli_extent *take_from_trays(struct fli_large_shard *shard, size_t size)
{
    struct fli_extent *extent = NULL;
    unsigned first = fli_extent_bin(size);
    for (unsigned bin = first; extent == NULL && bin <= first + FLI_SPARE_BINS_ABOVE; bin++)
        extent = fli_tray_take(&shard->trays, bin);
    return extent;
}

/* Takes a spare extent of the thread's shard. */
static struct fli_extent *take_here(struct fli_large_shard *shard, size_t size)
{
    struct fli_extent *extent = take_listed(shard, size);
    return extent != NULL ? extent : take_from_trays(shard, size);
}

/* Takes a spare extent of a shard that may have none. */
static struct fli_extent *try_shard(struct fli_large_shard *shard, size_t size)
{
    struct fli_extent *extent = fli_load_hint(&shard->spare.kept) > 0 ? take_listed(shard, size) : NULL;
    return extent != NULL ? extent : take_from_trays(shard, size);
}

/* Takes a spare extent of any other shard. */
static struct fli_extent *take_elsewhere(struct fli_large *large, unsigned own, size_t size)
{
    struct fli_extent *extent = NULL;
    for (unsigned i = (own + 1) % FLI_LARGE_SHARDS; extent == NULL && i != own; i = (i + 1) % FLI_LARGE_SHARDS)
        extent = try_shard(&large->shards[i], size);
    return extent;
}

/* Adds a new record to the list of all that were made. */
static void note_made(struct fli_large *large, struct fli_extent *extent)
{
    extent->next_made = fli_load_hint(&large->made);
    /* E3: release, pairs with E4: the record can be read. */
    while (!fli_cas_weak(&large->made, &extent->next_made, extent, memory_order_release, memory_order_relaxed))
        ;
}

/* Makes a record, in hand. Returns NULL if memory is refused. Keeps errno, because the caller may try again. */
static struct fli_extent *make_record(struct fli_large *large)
{
    int saved = errno;
    struct fli_extent *extent = calloc(1, sizeof *extent);
    if (extent != NULL) {
        extent->guarded = large->hardened != NULL;
        note_made(large, extent);
    }
    errno = saved;
    return extent;
}

/* Takes an unused record or makes one, in hand and without memory. Returns NULL if memory is refused. */
static struct fli_extent *obtain_record(struct fli_large *large, struct fli_large_shard *shard)
{
    struct fli_extent *extent = NULL;
    fli_lock(&shard->lock);
    if (!fli_ring_is_empty(&shard->unused)) {
        extent = FLI_RING_OF(shard->unused.next, struct fli_extent, link);
        fli_ring_remove(&extent->link);
        extent->state = FLI_EXTENT_OUT;
    }
    unsigned colour = shard->coloured++ % FLI_EXTENT_COLOURS;
    fli_unlock(&shard->lock);
    if (extent == NULL)
        extent = make_record(large);
    if (extent != NULL)
        extent->colour = (uint8_t)colour;
    return extent;
}

/* Charges an extent; unless that is for a real-time thread, gives up spare extents if necessary. */
static bool charge_for(struct fli_large *large, struct fli_extent *extent, size_t size, bool realtime)
{
    return realtime ? fli_supply_charge(large, extent, size) : fli_supply_charge_hard(large, extent, size);
}

/* Maps memory for `size` bytes for an extent without any, and enters it in the table. If the OS refuses, gives up spare
 * extents first; not for a real-time thread. */
static bool map(struct fli_large *large, struct fli_extent *extent, size_t size, bool realtime)
{
    if (!fli_extent_map(extent, size) &&
        (realtime || fli_supply_trim(large, 0) == 0 || !fli_extent_map(extent, size)))
        return false;
    if (fli_starts_enter(&large->starts, fli_extent_start(extent), extent))
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

/* Obtains a new extent, in hand and charged for the size. Returns NULL if the limit or the OS refuses. */
static struct fli_extent *obtain_new(struct fli_large *large, unsigned number, size_t size, size_t play,
                                     bool realtime)
{
    struct fli_large_shard *shard = &large->shards[number];
    struct fli_extent *extent = obtain_record(large, shard);
    if (extent == NULL)
        return NULL;
    fli_store_relaxed(&extent->shard, number); /* relaxed: it is in hand */
    if (charge_for(large, extent, size, realtime)) {
        if (map(large, extent, size + play, realtime)) {
            note_mapped(large, shard, extent->mapped);
            return extent;
        }
        fli_supply_charge(large, extent, 0);
    }
    retire(large, extent);
    return NULL;
}

/* Charges a spare extent in hand for the size. If the limit refuses, gives it up; for a real-time thread, keeps it. */
static bool charge_spare(struct fli_large *large, struct fli_extent *extent, size_t size, bool realtime)
{
    if (FLI_LIKELY(charge_for(large, extent, size, realtime)))
        return true;
    if (realtime)
        fli_supply_put_aside(large, extent);
    else
        give_up(large, extent);
    return false;
}

struct fli_extent *fli_supply_obtain_spare(struct fli_large *large, unsigned shard, size_t size, size_t play)
{
    struct fli_extent *extent = take_here(&large->shards[shard], size + play);
    if (extent == NULL || (!extent->cold && fli_supply_charge(large, extent, size)))
        return extent;
    fli_supply_put_away(large, extent);
    return NULL;
}

struct fli_extent *fli_supply_obtain_slowly(struct fli_large *large, unsigned shard, size_t size, size_t play,
                                            struct fli_extent *extent, bool realtime)
{
    if (size > PTRDIFF_MAX)
        return NULL;
    if (extent == NULL)
        extent = take_here(&large->shards[shard], size + play);
    if (extent == NULL)
        extent = take_elsewhere(large, shard, size + play);
    if (extent == NULL || !charge_spare(large, extent, size, realtime))
        return obtain_new(large, shard, size, play, realtime);
    fli_store_own(&extent->shard, shard);
    return extent;
}
