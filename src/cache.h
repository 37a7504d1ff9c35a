/* SPDX-License-Identifier: MIT
 *
 * The slow halves of a thread's caches: exchanging magazines with the thread's rack and with the pool (Bonwick &
 * Adams, Magazines and Vmem, USENIX 2001), and cutting fresh blocks when these have none.
 *
 *     loaded magazine    the one that floor and top of the struct fl_cache (inline.h) point into, or none
 *     previous           another one of any fill, which the loaded one names as its `next`, or none
 *     shelf              full ones of the thread's rack (rack.h), of which the previous one names the top; without a
 *                        previous one there are none
 *
 *     refill       the loaded magazine is empty. In this order: swap with a previous one that has blocks; load a
 *                  filled one, off the shelf or else from the pool; take parked blocks; carve fresh ones.
 *     make room    the loaded magazine is full. In this order: swap with a previous one that has room; put the full
 *                  previous one onto the shelf, or if the rack has no room for it, give it to the pool, and load an
 *                  empty one.
 *
 * Two magazines per cache mean that after each exchange a whole magazine's worth of either operation goes without
 * another. An exchange with the pool costs two read-modify-writes: a filled magazine one way, an empty one the other.
 *
 * A magazine that comes from the pool is cold: its blocks were freed a while ago, or by another thread. The array
 * says which blocks will be handed out, so they are fetched ahead, a stage at a time. The fast path knows nothing of
 * it: the cache's floor is set above the magazine's, and when alloc gets there its slow half fetches the stage after
 * the next, lowers the floor, and goes on.
 *
 *      magazine's floor         cache's floor         top
 *            v                        v                v
 *            +-----------+------------+----------------+--
 *            | untouched |  fetched   | fetched, taken |
 *            +-----------+------------+----------------+--
 *
 *     magazine's floor <= cache's floor <= top
 *     blocks in a cache = (top - magazine's floor) + count of previous + blocks on the shelf
 *
 * A cache belongs to one thread. Others read top, floor, and a magazine's next and count for statistics, so these are
 * stored as relaxed atomics; a magazine read that way is mapped for ever.
 */
#ifndef FLI_CACHE_H
#define FLI_CACHE_H

#include "large.h"
#include "rack.h"
#include "slab.h"

/* What the caches of a heap stand on. */
struct fli_backing {
    struct fli_pool pool;
    struct fli_magazines magazines;
    struct fli_slabs slabs;
    struct fli_large large;
    struct fli_limit limit;
    unsigned magazine_blocks[FL_CLASS_COUNT]; /* blocks a magazine of each class holds */
    FLI_ATOMIC(size_t) rack_bytes; /* the most that a thread's rack may hold; written under the registry lock */
    /* Tells the heap that a thread has given the pool some magazines: it may want to trim. */
    void (*pool_grew)(struct fli_backing *backing);
    /* Tells it that a thread has given everything to the pool, `last` if no other has anything left to give: this
     * is a moment to spend on a larger trim. */
    void (*thread_flushed)(struct fli_backing *backing, bool last);
};

/* Lowers the cache's floor, with top on it, by a stage. Returns false if it is the loaded magazine's, which then is
 * empty. The owning thread only. */
bool fli_cache_lower_floor_owner(struct fl_cache *cache, unsigned capacity);

/* Gets at least one block into an empty loaded magazine. Returns the blocks that are in it then, 0 if the limit or
 * the system refuses. The owning thread only. */
size_t fli_cache_refill_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_rack *rack);

/* Gets room for at least one block into a full loaded magazine. Returns false if no magazine can be had. The owning
 * thread only. */
bool fli_cache_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_rack *rack);

/* Gives both magazines and the shelf to the pool. The owning thread, or any while it is stopped outside the
 * library. */
void fli_cache_flush_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                           struct fli_rack *rack);

/* When all caches have been flushed, gives the rack's empty magazines to the pool, and the rack begins anew.
 * Likewise. */
void fli_cache_end_flush_owner(struct fli_backing *backing, struct fli_rack *rack);

/* Of the blocks in a cache, those on its shelf. Any thread; exact while the owner is quiet. */
size_t fli_cache_racked_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing);

/* The blocks in a cache, its shelf included. Any thread; exact while the owner is quiet. */
size_t fli_cache_blocks(const struct fl_cache *cache, unsigned class_index, const struct fli_backing *backing);

/* An empty magazine, or NULL if memory is refused. It is the caller's. */
struct fli_magazine *fli_cache_obtain_empty(struct fli_backing *backing, struct fli_rack *rack);

/* The blocks in the loaded magazine, where magazines of the class hold `capacity`. Any thread, as above. */
size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity);

/* The floor of the loaded magazine, or NULL. */
void **fli_cache_floor(const struct fl_cache *cache, unsigned capacity);

/* The loaded magazine, or NULL. */
struct fli_magazine *fli_cache_loaded(const struct fl_cache *cache);

/* The previous magazine, or NULL. */
struct fli_magazine *fli_cache_previous(const struct fl_cache *cache, const struct fli_magazines *magazines);

#endif
