/* SPDX-License-Identifier: MIT
 *
 * Exchanging magazines: where a cache (cache.h) gets blocks from when it is empty, and where they go when it is full.
 *
 *     refill       the loaded magazine is empty. In this order: swap with a previous one that has blocks; load one that
 *                  is kept at home (rack.h); take free blocks of slabs at home (home.h); load one from the pool; adopt
 *                  a slab, or begin one.
 *     make room    the loaded magazine is full. In this order: swap with a previous one that has room; keep the full
 *                  previous one at home, or hand it over to the home its blocks come from, and load an empty one; send
 *                  its blocks home (deliver.h), and load it, empty now; give it to the pool. Large blocks go to the
 *                  pool rather than home.
 *
 * Small blocks come to the pool only if a home is busy at that moment. An exchange with the pool costs two
 * read-modify-writes: a filled magazine one way, an empty one the other.
 */
#ifndef FLI_EXCHANGE_H
#define FLI_EXCHANGE_H

#include "large/large.h"
#include "pool/cache.h"
#include "pool/homes.h"

/* What the caches of a heap stand on. */
struct fli_backing {
    struct fli_pool pool;
    struct fli_magazines magazines;
    struct fli_slabs slabs;
    struct fli_homes homes;
    struct fli_large large;
    struct fli_limit limit;
    unsigned magazine_blocks[FL_CLASS_COUNT]; /* blocks a magazine of each class holds */
    size_t small_bytes;                       /* the most of small blocks that a home keeps in magazines */
    FLI_ATOMIC(size_t) rack_bytes; /* the most that a thread's rack may hold; written under the registry lock */
};

/* The most bytes of a block that goes home by itself. Larger ones stay in their magazines. */
enum { FLI_HOME_BLOCK_MOST = FLI_MODEL ? 16 : 2048 };

/* What the slow halves know of the thread whose caches they work on. */
struct fli_owner {
    struct fli_home *home;
    struct fli_pool_counters counters;     /* what the thread did to the pool */
    uint32_t given_magazines, given_bytes; /* given away since the heap was last told */
    unsigned large_shard;                  /* where its large blocks are counted */
};

/* Gets at least one block into an empty loaded magazine. Returns the blocks that are in it then, 0 if the limit or
 * the system refuses; if it is `pressed`, slabs of other homes are adopted before that. The owning thread only. */
size_t fli_exchange_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner, bool pressed);

/* Gets room for at least one block into a full loaded magazine. Returns false if there is none and none can be had. The
 * owning thread only. */
bool fli_exchange_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

/* Whether the thread has given away so much since this was last so that the heap may want to trim. The owning thread
 * only. */
bool fli_exchange_has_given_much_owner(struct fli_owner *owner);

/* Sends the blocks of both magazines home. The owning thread, or any while it is stopped outside the library. */
void fli_exchange_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner);

/* When all caches have been flushed, sends home what is kept there in magazines, and its slabs may be adopted.
 * Likewise. */
void fli_exchange_end_flush_owner(struct fli_backing *backing, struct fli_owner *owner);

/* The blocks of a class that all homes keep in magazines. Any thread; exact while the owners are quiet. */
size_t fli_exchange_kept_blocks(struct fli_backing *backing, unsigned class_index);

/* A magazine that a home, which is locked, keeps, with blocks of the class or, if that is 0, an empty one; or NULL. */
struct fli_magazine *fli_exchange_take_kept(struct fli_backing *backing, struct fli_home *home, unsigned class_index);

/* An empty magazine, or NULL if memory is refused. It is the caller's. */
struct fli_magazine *fli_exchange_obtain_empty(struct fli_backing *backing, struct fli_owner *owner);

#endif
