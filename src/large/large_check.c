/* SPDX-License-Identifier: MIT
 *
 * fli_large_check: what fl_heap_check verifies of large blocks. No other thread works on the extents meanwhile, so
 * atomics are relaxed here.
 */
#include "base/check.h"
#include "large/large.h"

#include <errno.h>

/* What was found, to be compared with what is counted. */
struct found {
    struct fli_large_counts of[FLI_LARGE_SHARDS];
    size_t deferred;
};

static int check_place(struct fli_large *large, const struct fli_extent *extent, char *error, size_t error_size)
{
    const void *start = extent->start;
    if (fli_starts_find(&large->starts, start) != extent)
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p is not found by its address", start);
    size_t size = extent->charged;
    if (size > extent->mapped)
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p has %zu bytes, of which %zu are mapped",
                            start, size, extent->mapped);
    if (fli_load_relaxed(&extent->size) != (extent->state == FLI_EXTENT_LIVE ? size : 0))
        return fli_complain(-EUCLEAN, error, error_size, "the large block %p is said to have %zu bytes, not %zu",
                            start, fli_load_relaxed(&extent->size), size);
    return 0;
}

static void add(struct found *found, const struct fli_extent *extent)
{
    struct fli_large_counts *counts = &found->of[fli_load_relaxed(&extent->shard)];
    if (extent->state == FLI_EXTENT_LIVE) {
        counts->blocks++;
        counts->bytes += extent->charged;
    } else if (extent->state == FLI_EXTENT_SPARE) {
        counts->kept_bytes += extent->cold ? 0 : extent->mapped;
    } else {
        found->deferred++;
    }
}

static int check_shard(const struct fli_large_shard *shard, const struct fli_large_counts *found, char *error,
                       size_t error_size)
{
    if (shard->blocks != found->blocks || shard->bytes != found->bytes)
        return fli_complain(-EUCLEAN, error, error_size,
                            "there are %zu large blocks of %zu bytes, but %zu of %zu are counted", found->blocks,
                            found->bytes, shard->blocks, shard->bytes);
    size_t kept = fli_load_relaxed(&shard->spare.kept);
    if (kept != found->kept_bytes)
        return fli_complain(-EUCLEAN, error, error_size, "%zu bytes are kept for large blocks, but %zu are counted",
                            found->kept_bytes, kept);
    return 0;
}

int fli_large_check(struct fli_large *large, char *error, size_t error_size)
{
    struct found found = {.deferred = 0};
    int failed = 0;
    const struct fli_extent *extent = fli_load_relaxed(&large->made);
    for (; extent != NULL && failed == 0; extent = extent->next_made)
        if (extent->state != FLI_EXTENT_UNUSED && extent->state != FLI_EXTENT_IN_HAND) {
            failed = check_place(large, extent, error, error_size);
            add(&found, extent);
        }
    for (unsigned i = 0; i < FLI_LARGE_SHARDS && failed == 0; i++)
        failed = check_shard(&large->shards[i], &found.of[i], error, error_size);
    size_t deferred = large->deferred[0] + large->deferred[1];
    if (failed == 0 && found.deferred != deferred)
        failed = fli_complain(-EUCLEAN, error, error_size, "%zu large blocks are deferred, but %zu are counted",
                              found.deferred, deferred);
    return failed;
}
