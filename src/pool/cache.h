/* SPDX-License-Identifier: MIT
 *
 * The slow halves of a thread's caches: exchanging magazines (Bonwick & Adams, Magazines and Vmem, USENIX 2001), and
 * what becomes of blocks that leave them.
 *
 *     loaded magazine    the one that floor and top of the struct fl_cache (inline.h) point into, or none
 *     previous           another one of any fill, which the loaded one names as its `next`, or none
 *
 *     refill       the loaded magazine is empty. In this order: swap with a previous one that has blocks; load one that
 *                  is kept at home (rack.h); take free blocks of slabs at home (home.h); load one from the pool; adopt
 *                  a slab, or begin one.
 *     make room    the loaded magazine is full. In this order: swap with a previous one that has room; keep the full
 *                  previous one at home and load an empty one; send its blocks home, and load it, empty now; give it
 *                  to the pool. Large blocks go to the pool rather than home.
 *
 * Two magazines per cache mean that after each exchange a whole magazine's worth of either operation goes without
 * another. Small blocks come to the pool only if a home is busy at that moment. An exchange with the pool costs two
 * read-modify-writes: a filled magazine one way, an empty one the other.
 *
 * A magazine that is kept or comes from the pool is cold: its blocks were freed a while ago, or by another thread. The
 * array says which blocks will be handed out, so they are fetched ahead, a stage at a time. The fast path knows nothing
 * of it: the cache's floor is set above the magazine's, and when alloc gets there its slow half fetches the stage after
 * the next, lowers the floor, and goes on.
 *
 *      magazine's floor         cache's floor         top
 *            v                        v                v
 *            +-----------+------------+----------------+--
 *            | untouched |  fetched   | fetched, taken |
 *            +-----------+------------+----------------+--
 *
 *     magazine's floor <= cache's floor <= top
 *     blocks in a cache = (top - magazine's floor) + count of previous
 *
 * A cache belongs to one thread. Others read top, floor, and a magazine's next and count for statistics, so these are
 * stored as relaxed atomics; a magazine read that way is mapped for ever.
 */
#ifndef FLI_CACHE_H
#define FLI_CACHE_H

#include "memory/large.h"
#include "pool/home.h"

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
};

/* Lowers the cache's floor, with top on it, by a stage. Returns false if it is the loaded magazine's, which then is
 * empty. The owning thread only. */
bool fli_cache_lower_floor_owner(struct fl_cache *cache, unsigned capacity);

/* Gets at least one block into an empty loaded magazine. Returns the blocks that are in it then, 0 if the limit or
 * the system refuses; if it is `pressed`, slabs of other homes are adopted before that. The owning thread only. */
size_t fli_cache_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner, bool pressed);

/* Gets room for at least one block into a full loaded magazine. Returns false if there is none and none can be had. The
 * owning thread only. */
bool fli_cache_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner);

/* Whether the thread has given away so much since this was last so that the heap may want to trim. The owning thread
 * only. */
bool fli_cache_has_given_much_owner(struct fli_owner *owner);

/* Sends the blocks of both magazines home. The owning thread, or any while it is stopped outside the library. */
void fli_cache_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                           struct fli_owner *owner);

/* When all caches have been flushed, sends home what is kept there in magazines, and its slabs may be adopted.
 * Likewise. */
void fli_cache_end_flush_owner(struct fli_backing *backing, struct fli_owner *owner);

/* The blocks in a cache. Any thread; exact while the owner is quiet. */
size_t fli_cache_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing);

/* The blocks of a class that all homes keep in magazines. Likewise. */
size_t fli_cache_kept_blocks(struct fli_backing *backing, unsigned class_index);

/* A magazine that a home, which is locked, keeps, with blocks of the class or, if that is 0, an empty one; or NULL. */
struct fli_magazine *fli_cache_take_kept(struct fli_backing *backing, struct fli_home *home, unsigned class_index);

/* An empty magazine, or NULL if memory is refused. It is the caller's. */
struct fli_magazine *fli_cache_obtain_empty(struct fli_backing *backing, struct fli_owner *owner);

/* The blocks in the loaded magazine, where magazines of the class hold `capacity`. Any thread, as above. */
size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity);

/* The floor of the loaded magazine, or NULL. */
void **fli_cache_floor(const struct fl_cache *cache, unsigned capacity);

/* The loaded magazine, or NULL. */
struct fli_magazine *fli_cache_loaded(const struct fl_cache *cache);

/* The previous magazine, or NULL. */
struct fli_magazine *fli_cache_previous(const struct fl_cache *cache, const struct fli_magazines *magazines);

#endif
