/* SPDX-License-Identifier: MIT
 *
 * Counting large blocks, and fli_large_check: what fl_heap_check verifies of them. No other thread works on the extents
 * during a check, so its atomics are relaxed.
 */
#include "base/check.h"
#include "large/supply.h"

#include <errno.h>

const struct fli_extent *fli_large_first(struct fli_large *large)
{
    /* E4: acquire, pairs with E3. */
    return fli_load_acquire(&large->made);
}

static void count_live(struct fli_large *large, struct fli_large_counts *counts)
{
    for (const struct fli_extent *extent = fli_large_first(large); extent != NULL; extent = extent->next_made) {
        size_t size = fli_extent_live_size(extent);
        counts->blocks += size > 0;
        counts->bytes += size;
    }
}

struct fli_large_counts fli_large_count(struct fli_large *large)
{
    struct fli_large_counts counts = {.kept_bytes = fli_supply_kept(large)};
    count_live(large, &counts);
    fli_lock(&large->lock);
    counts.deferred_bytes = large->deferred_bytes[0] + large->deferred_bytes[1];
    fli_unlock(&large->lock);
    return counts;
}

/* ---- The check. */

/* What was found, to be compared with what is counted. */
struct found {
    size_t kept[FLI_LARGE_SHARDS]; /* bytes */
    size_t deferred;               /* extents */
};

static int check_place(struct fli_large *large, const struct fli_extent *extent, char *error, size_t error_size)
{
    const void *start = fli_extent_start(extent);
    if (fli_starts_find(&large->starts, start) != extent)
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p is not found by its address", start);
    size_t size = extent->charged, offset = fli_load_own(&extent->offset);
    if (offset + size > extent->mapped)
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p has %zu bytes, of which %zu are mapped",
                            start, size, extent->mapped);
    size_t told = fli_load_relaxed(&extent->size) & ~FLI_EXTENT_IS_DEFERRED;
    if (told != (extent->state == FLI_EXTENT_SPARE ? 0 : size))
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p is said to have %zu bytes, not %zu",
                            start, told, size);
    return 0;
}

static void add(struct found *found, const struct fli_extent *extent)
{
    if (extent->state == FLI_EXTENT_SPARE)
        found->kept[fli_load_relaxed(&extent->shard)] += fli_extent_memory(extent);
    else if (extent->state == FLI_EXTENT_DEFERRED)
        found->deferred++;
}

/* Bytes of the room that the trays of a shard have been granted. */
static size_t room_in(struct fli_trays *trays)
{
    size_t bytes = 0;
    const struct fli_tray *of = fli_load_relaxed(&trays->of);
    for (unsigned i = 0; of != NULL && i < FLI_TRAYS; i++)
        bytes += fli_load_relaxed(&of[i].room) * fli_load_relaxed(&of[i].bytes);
    return bytes;
}

static int check_tray(struct fli_tray *tray, unsigned bin, char *error, size_t error_size)
{
    for (unsigned i = 0; i < FLI_TRAY_SLOTS; i++) {
        struct fli_extent *extent = fli_load_relaxed(&tray->slots[i]);
        if (extent != NULL && (extent->state != FLI_EXTENT_OUT || fli_load_relaxed(&extent->size) != 0 ||
                               extent->bin != bin || extent->mapped != fli_load_relaxed(&tray->bytes)))
            return fli_complain(-EUCLEAN, error, error_size, "an extent of %zu bytes is in tray %u by mistake",
                                extent->mapped, bin);
    }
    return 0;
}

static int check_shard(struct fli_large_shard *shard, size_t found, char *error, size_t error_size)
{
    int failed = 0;
    struct fli_tray *of = fli_load_relaxed(&shard->trays.of);
    for (unsigned i = 0; of != NULL && i < FLI_TRAYS && failed == 0; i++)
        failed = check_tray(&of[i], i, error, error_size);
    size_t kept = fli_load_relaxed(&shard->spare.kept);
    if (failed == 0 && kept != found)
        failed = fli_complain(-EUCLEAN, error, error_size, "%zu bytes are kept for large blocks, but %zu are counted",
                              found, kept);
    size_t room = room_in(&shard->trays), granted = fli_load_relaxed(&shard->trays.granted);
    if (failed == 0 && room != granted)
        failed = fli_complain(-EUCLEAN, error, error_size, "trays have room for %zu bytes, but %zu are granted", room,
                              granted);
    return failed;
}

int fli_large_check(struct fli_large *large, char *error, size_t error_size)
{
    struct found found = {.deferred = 0};
    int failed = 0;
    struct fli_extent *extent = fli_load_relaxed(&large->made);
    for (; extent != NULL && failed == 0; extent = extent->next_made)
        if (fli_large_has_memory(extent)) {
            failed = check_place(large, extent, error, error_size);
            add(&found, extent);
        }
    for (unsigned i = 0; i < FLI_LARGE_SHARDS && failed == 0; i++)
        failed = check_shard(&large->shards[i], found.kept[i], error, error_size);
    size_t deferred = large->deferred[0] + large->deferred[1];
    if (failed == 0 && found.deferred != deferred)
        failed = fli_complain(-EUCLEAN, error, error_size, "%zu large blocks are deferred, but %zu are counted",
                              found.deferred, deferred);
    return failed;
}
