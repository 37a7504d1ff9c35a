/* SPDX-License-Identifier: MIT
 *
 * Where extents for large blocks come from and where they go: the spare ones of a shard, those of other shards, the OS.
 * A thread that has taken an extent off its place, under the lock of the shard, has it in hand: no other touches it. No
 * lock is held over a call of the OS.
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

/* Takes more or less of the limit for an extent, whose block is to have `size` bytes. Returns false, and changes nothing,
 * if that is too much. */
bool fli_supply_charge(struct fli_large *large, struct fli_extent *extent, size_t size);

/* The same, giving up spare extents if need be. No lock may be held. */
bool fli_supply_charge_hard(struct fli_large *large, struct fli_extent *extent, size_t size);

/* An extent, in hand, that is charged for the size: a spare one of another shard, or a new one. NULL if the limit or the
 * system refuses. */
struct fli_extent *fli_supply_obtain(struct fli_large *large, unsigned shard, size_t size);

/* Keeps an extent in hand, or gives it up. Under the lock of its shard, which it releases. */
void fli_supply_put_away(struct fli_large *large, struct fli_large_shard *shard, struct fli_extent *extent);

/* Gives spare extents back to the OS until at most `retain` bytes are kept. Returns the bytes given back. */
size_t fli_supply_trim(struct fli_large *large, size_t retain);

/* A thread has flushed: its shard keeps what a new one may. */
void fli_supply_flush(struct fli_large *large, unsigned shard);

/* Bytes that are kept. A number a moment ago. */
size_t fli_supply_kept(struct fli_large *large);

#endif
