/* SPDX-License-Identifier: MIT
 *
 * A thread's cache of one size class: two magazines, after Bonwick and Adams, Magazines and Vmem (USENIX 2001).
 *
 *     loaded      the magazine that floor and top of the struct fl_cache (inline.h) point into, or none
 *     previous    another one of any fill, which the loaded one names as its `next`, or none
 *
 * Two magazines per cache mean that after each exchange (exchange.h) a whole magazine's worth of either operation goes
 * without another.
 *
 * A magazine that has just been loaded may be cold: its blocks were freed a while ago, or by another thread. The array
 * says which blocks will be handed out, so they are fetched ahead, a stage at a time. The fast path does not notice:
 * the cache's floor is set above the magazine's, and when an allocation gets there its slow half fetches the stage after
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
 * A cache belongs to one thread: functions that change it are for that thread (`_owner`), or for any while it is
 * stopped outside the library. Others read top, floor, and a magazine's next and count for statistics, so these are
 * stored as relaxed atomics; a magazine that is read that way is mapped for ever.
 */
#ifndef FLI_CACHE_H
#define FLI_CACHE_H

#include "base/sizeclass.h"
#include "memory/magazine.h"

/* The loaded magazine, or NULL. */
struct fli_magazine *fli_cache_loaded(const struct fl_cache *cache);

/* The floor of the loaded magazine, or NULL. */
void **fli_cache_floor(const struct fl_cache *cache, unsigned capacity);

/* The previous magazine, or NULL. */
struct fli_magazine *fli_cache_previous(const struct fl_cache *cache, const struct fli_magazines *magazines);

/* Loads a magazine into a cache that has none. `previous` is the index of another one, or 0. */
void fli_cache_load_owner(struct fl_cache *cache, struct fli_magazine *magazine, uint32_t previous,
                          unsigned capacity);

/* Takes the loaded magazine, if there is one, out of the cache. */
struct fli_magazine *fli_cache_unload_owner(struct fl_cache *cache, unsigned capacity);

/* Loads a magazine in the place of the loaded one, which becomes the previous one. Returns what was previous. */
struct fli_magazine *fli_cache_push_owner(struct fl_cache *cache, struct fli_magazine *magazine, unsigned capacity,
                                          const struct fli_magazines *magazines);

/* Takes the previous magazine out of a cache that has one. */
struct fli_magazine *fli_cache_take_previous_owner(struct fl_cache *cache, const struct fli_magazines *magazines);

/* The loaded magazine, which was empty, has been given `count` blocks, from its floor up. */
void fli_cache_fill_owner(struct fl_cache *cache, unsigned count);

/* Stages a magazine that has just been loaded and has blocks: the first of them and as many more are fetched. */
void fli_cache_stage_owner(struct fl_cache *cache, unsigned class_index);

/* Lowers the cache's floor, with top on it, by a stage. Returns false if it is the loaded magazine's, which then is
 * empty. */
bool fli_cache_lower_floor_owner(struct fl_cache *cache, unsigned capacity);

/* The blocks in the loaded magazine, where magazines of the class hold `capacity`. Any thread; exact while the owner is
 * quiet. */
size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity);

/* The blocks in a cache. Likewise. */
size_t fli_cache_blocks(const struct fl_cache *cache, unsigned capacity, const struct fli_magazines *magazines);

#endif
