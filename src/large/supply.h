/* SPDX-License-Identifier: MIT
 *
 * Where extents of large blocks come from and where they go: the spare extents of a shard, those of other shards, the
 * OS. A thread that has taken an extent out of a tray, off a list or from a block that ends has it in hand: no other
 * thread touches it. No lock is held while the OS is called.
 *
 *     in hand  <──obtain──  spare, here or in another shard  <──put away──  in hand
 *                           the OS, charged to the limit     <──give up───
 */
#ifndef FLI_SUPPLY_H
#define FLI_SUPPLY_H

#include "large/large.h"

/* The shard in which an extent is counted. */
static inline struct fli_large_shard *fli_supply_shard_of(struct fli_large *large, const struct fli_extent *extent)
{
    return &large->shards[fli_load_hint(&extent->shard)];
}

/* Does fli_extent_show if a tool is to be told. */
static inline void fli_supply_show(const struct fli_large *large, struct fli_extent *extent, size_t size)
{
    if (FLI_UNLIKELY(large->is_shown))
        fli_extent_show(extent, size);
}

/* Charges an extent for a block of `size` bytes: takes the difference from the limit, or gives it back. Returns false,
 * and changes nothing, if the limit refuses. */
bool fli_supply_charge(struct fli_large *large, struct fli_extent *extent, size_t size);

/* The same, but gives up spare extents if necessary. No lock may be held. */
bool fli_supply_charge_hard(struct fli_large *large, struct fli_extent *extent, size_t size);

/* Does the same as fli_supply_obtain. `extent` is a spare one in hand, of another charge, or NULL. */
struct fli_extent *fli_supply_obtain_slowly(struct fli_large *large, unsigned shard, size_t size, size_t play,
                                            struct fli_extent *extent, bool realtime);

/* Takes a spare extent of the shard that has memory, in hand and charged for the size, with room for an offset of `play`
 * bytes. Returns NULL if there is none. */
struct fli_extent *fli_supply_obtain_spare(struct fli_large *large, unsigned shard, size_t size, size_t play);

/* Obtains an extent, in hand and charged for the size, with room for an offset of `play` bytes: a spare one, or a new
 * one. Returns NULL if the limit or the OS refuses. For a `realtime` thread, no spare extent is given up before. */
static inline struct fli_extent *fli_supply_obtain(struct fli_large *large, unsigned shard, size_t size, size_t play,
                                                   bool realtime)
{
    struct fli_extent *extent = fli_tray_take(&large->shards[shard].trays, fli_extent_bin(size + play));
    if (FLI_LIKELY(extent != NULL && extent->charged == size))
        return extent;
    return fli_supply_obtain_slowly(large, shard, size, play, extent, realtime);
}

/* Does the same as fli_supply_put_away, where the tray has no room. */
void fli_supply_put_away_slowly(struct fli_large *large, struct fli_extent *extent);

/* Keeps an extent in hand in its shard, or gives it up. */
static inline void fli_supply_put_away(struct fli_large *large, struct fli_extent *extent)
{
    fli_supply_show(large, extent, 0);
    if (FLI_UNLIKELY(!fli_tray_put(&fli_supply_shard_of(large, extent)->trays, extent)))
        fli_supply_put_away_slowly(large, extent);
}

/* Keeps an extent in hand, beyond the bound of its shard if need be. Does not call the OS, and waits for a lock only if
 * those of all shards are held: none is held for long. For real-time threads. */
void fli_supply_put_aside(struct fli_large *large, struct fli_extent *extent);

/* Returns spare extents to the OS until at most `retain` bytes are kept. Returns the bytes returned. */
size_t fli_supply_trim(struct fli_large *large, size_t retain);

/* Called when a thread flushes: its shard gives up spare extents beyond FLI_SPARE_FIRST, where bounds begin. */
void fli_supply_flush(struct fli_large *large, unsigned shard);

/* Takes the room of the trays of all shards away. */
void fli_supply_revoke(struct fli_large *large);

/* Bytes of spare extents that are kept, as a number of a moment ago. */
size_t fli_supply_kept(struct fli_large *large);

#endif
