/* SPDX-License-Identifier: MIT
 *
 * A thread's cache of one size class: two magazines, after Bonwick and Adams, Magazines and Vmem (USENIX 2001).
 *
 *     loaded      the magazine that floor and top of the struct fl_cache (inline.h) point into, or none
 *     previous    another one of any fill, which the loaded one names as its `next`, or none
 *
 * With two magazines, at least a magazine's worth of allocations or frees passes between two exchanges (exchange.h).
 *
 * A magazine that has just been loaded may be cold: its blocks were freed a while ago, or by another thread. Its
 * array says which blocks the cache will give out, so the cache prefetches them, a stage at a time. The cache's
 * floor stands above the magazine's floor. An allocation that reaches the cache's floor takes its slow half, which
 * fetches the next stage but one and lowers the floor.
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
 * A cache belongs to one thread. Functions that change it (`_owner`) are for that thread, or for any other while
 * that thread is stopped outside the library. Statistics read top, floor, and a magazine's next and count from other
 * threads. These words are therefore atomics, and a magazine is never unmapped while the heap exists.
 */
#ifndef FLI_CACHE_H
#define FLI_CACHE_H

#include "memory/sizeclass.h"
#include "memory/magazine.h"

/* The loaded magazine, or NULL. */
struct fli_magazine *fli_cache_loaded(const struct fl_cache *cache);

/* The floor of the loaded magazine, or NULL. Magazines of the class hold `capacity` blocks, here and below. */
void **fli_cache_floor(const struct fl_cache *cache, unsigned capacity);

/* The previous magazine, or NULL. */
struct fli_magazine *fli_cache_previous(const struct fl_cache *cache, const struct fli_magazines *magazines);

/* Loads a magazine into a cache that has none. `previous` is the index of another one, or 0. */
void fli_cache_load_owner(struct fl_cache *cache, struct fli_magazine *magazine, uint32_t previous,
                          unsigned capacity);

/* Takes the loaded magazine, if there is one, out of the cache. */
struct fli_magazine *fli_cache_unload_owner(struct fl_cache *cache, unsigned capacity);

/* Loads a magazine in place of the loaded one, which becomes the previous one. Returns the magazine that was
 * previous. */
struct fli_magazine *fli_cache_push_owner(struct fl_cache *cache, struct fli_magazine *magazine, unsigned capacity,
                                          const struct fli_magazines *magazines);

/* Takes the previous magazine out of a cache that has one. */
struct fli_magazine *fli_cache_take_previous_owner(struct fl_cache *cache, const struct fli_magazines *magazines);

/* Notes that the loaded magazine, which was empty, now holds `count` blocks, from its floor up. */
void fli_cache_fill_owner(struct fl_cache *cache, unsigned count);

/* Gives the loaded magazine, which is empty, another room. */
void fli_cache_set_room_owner(struct fl_cache *cache, unsigned room, unsigned capacity);

/* Gives the loaded magazine, whatever is in it, more room. */
void fli_cache_grow_owner(struct fl_cache *cache, unsigned room, unsigned capacity);

/* Stages a magazine that has just been loaded and has blocks: prefetches the first stages and raises the cache's
 * floor. */
void fli_cache_stage_owner(struct fl_cache *cache, unsigned class_index);

/* Lowers the cache's floor, which top has reached, by a stage. Returns false if the floor is the magazine's already:
 * then the loaded magazine is empty. */
bool fli_cache_lower_floor_owner(struct fl_cache *cache, unsigned capacity);

/* The blocks in the loaded magazine. Any thread; exact while the owner is quiet. */
size_t fli_cache_loaded_blocks(const struct fl_cache *cache, unsigned capacity);

/* The blocks in a cache. Any thread; exact while the owner is quiet. */
size_t fli_cache_blocks(const struct fl_cache *cache, unsigned capacity, const struct fli_magazines *magazines);

#endif
