/* SPDX-License-Identifier: MIT
 *
 * Exchanging magazines: where a cache (cache.h) gets blocks when it is empty, and where its blocks go when it is
 * full. The slow halves of allocation and freeing (api/) call this, each on the caches of its own thread.
 *
 *     refill       the loaded magazine is empty. In this order: swap with a previous one that has blocks; load one that
 *                  is set aside (reserve.h); load one that is kept at home (rack.h); take free blocks of slabs at home
 *                  (home.h); load one from the pool; send home what is quiet (quiet.h), and then take first blocks from
 *                  the shared home, adopt a slab, or begin one. A cache that has no magazine yet gets no more than some
 *                  blocks of a slab: what a thread of a short life does not use would only go home again. Next it gets
 *                  what makes a full magazine of these.
 *     make room    the loaded magazine is full. In this order: swap with a previous one that has room; keep the full
 *                  previous one at home, or give it to the home its blocks come from, and load an empty one; send
 *                  its blocks home (deliver.h), and load it, empty now; give it to the pool. Large blocks go to the
 *                  pool rather than home.
 *
 * Small blocks go to the pool only if a home is busy at that moment. An exchange with the pool costs two
 * read-modify-writes: a filled magazine one way, an empty one the other. A real-time thread exchanges otherwise
 * (realtime.h).
 */
#ifndef FLI_EXCHANGE_H
#define FLI_EXCHANGE_H

#include "pool/owner.h"

/* Gets at least one block into an empty loaded magazine. Returns the blocks in it, or 0 if the limit or the OS
 * refuses memory. If it is `pressed`, it adopts a slab of any home before it fails. The owning thread
 * only. */
size_t fli_exchange_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner, bool pressed);

/* Gets room for at least one block into a full loaded magazine. Returns false if it can get no magazine. The owning
 * thread only. */
bool fli_exchange_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

/* From how many blocks a hardened heap takes the next one at random, where magazines hold `capacity` blocks: so many at
 * least, unless memory is refused. */
static inline unsigned fli_exchange_many(unsigned capacity)
{
    return capacity / 2;
}

/* Sends a block home, if its home is not busy. Returns whether it did. The owning thread only. */
bool fli_exchange_send_home_owner(void *block, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

/* How much a thread gives away before the heap looks at its bound: so many magazines, or so many bytes. Where a budget of
 * time is to be kept, the heap looks STEPS times as often. Each time it takes a step of a trim instead of a slice
 * (heap/trim.h). */
enum {
    FLI_EXCHANGE_NOTICE_MAGAZINES = FLI_RARE_PATHS ? 1 : 16,
    FLI_EXCHANGE_NOTICE_BYTES = 1 << 20,
    FLI_EXCHANGE_NOTICE_STEPS = 16,
};

/* Whether the thread has given away a `part`th of that (1: all of it) since this was last true. The owning thread
 * only. */
static inline bool fli_exchange_has_given_owner(struct fli_owner *owner, unsigned part)
{
    if (owner->given_magazines < fli_max(FLI_EXCHANGE_NOTICE_MAGAZINES / part, 1) &&
        owner->given_bytes < FLI_EXCHANGE_NOTICE_BYTES / part)
        return false;
    owner->given_magazines = owner->given_bytes = 0;
    return true;
}

/* Gives the pool a magazine with blocks. */
void fli_exchange_pool_filled_owner(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                                    struct fli_owner *owner);

/* Sends the blocks of a magazine home. Gives the magazine to the pool, empty or with the blocks of busy homes. */
void fli_exchange_give_away_owner(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

/* Sends the blocks of both magazines home. The owning thread, or any other while that is stopped outside the
 * library. */
void fli_exchange_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner);

/* Sends home what the home keeps in magazines of a class. The same threads. */
void fli_exchange_clear_shelf_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* Ends a flush, after all caches: sends home what the home keeps in magazines, and lets others adopt its slabs. The
 * owning thread, or any other while that is stopped outside the library. */
void fli_exchange_end_flush_owner(struct fli_backing *backing, struct fli_owner *owner);

#endif
