/* SPDX-License-Identifier: MIT
 *
 * What caches may hold where memory is scarce. Nobody can take what an online thread has in its caches: it may sleep. So
 * all caches of such a heap together have a bound, `most`. The magazines of a thread become smaller as there are more
 * threads, and as it uses more classes.
 *
 * Memory is scarce in a heap with a limit. In another heap it becomes scarce, for good, when there are many threads: if
 * their caches, all full, would hold more than `uncounted`. Those of the threads before may be full then. So all caches of
 * such a heap, with up to 200 threads, hold at most `uncounted` and `most` together. In a heap with grace periods deferred
 * blocks take their part (unsubmitted.h).
 *
 *     most = limit / 40, or 128 MiB if there is none; in a heap with grace periods limit / 50, or 80 MiB
 *     half of it is for the base of 200 threads (quota.h)
 *     uncounted = 128 MiB; in a heap with grace periods 112 MiB, so that caches of eight threads can be full
 *     held by a thread = sum over the magazines of its caches of their room * bytes of a block
 *     lent to a thread = about what it holds
 *
 * A magazine that gets into a cache without blocks has room for a 32nd of what is left, at least for one block and at most
 * for the capacity of its class; in a heap with a limit, at first for no more than 1 KiB. As long as more is left to the
 * thread than it holds, each eighth exchange makes a magazine larger, up to twice as large: so a thread that sleeps after a
 * few calls holds little. A magazine below the capacity is the only one of its cache, and grows in its place.
 *
 * Where less than a block is left, a cache has no magazine: each free gives its block away, and each allocation fetches one
 * (single.h). Each 32nd call that comes to less room than it could use takes the magazines of another class away, of each
 * in its turn. So classes that the thread does not use any more give up what they have. Of those in use none is left out
 * for long.
 *
 * In a crowd a thread begins slabs of its own only when it needs a quarter of one. Few blocks in a cache would keep a slab
 * from all other classes.
 *
 * In a heap without a limit, what is noted of a thread may be too much by up to half of the base. So the thread does not
 * write the shared word at each exchange.
 *
 * What is lent to a thread is noted when a magazine gets into a cache or leaves it. Where that is not noted, for what a
 * real-time thread does and what is set aside, it is counted now and then. Two threads may be lent something at the same
 * time, and then it is a little more than that.
 *
 * Magazines of a real-time thread, and of classes that a thread has set aside, have full room, and are counted.
 *
 * `is_scarce` is relaxed: a flag of a moment ago, which orders nothing.
 */
#ifndef FLI_ALLOWANCE_H
#define FLI_ALLOWANCE_H

#include "pool/sparse.h"

/* Less than this is left to each thread where there is a crowd. There a thread tries the lock of the shared home so many
 * times before it begins a slab of its own. */
enum { FLI_ALLOWANCE_CROWDED = 128 << 10, FLI_ALLOWANCE_TRIES = 16 };

/* Whether memory is scarce. May become true at any time: what follows copes with magazines that were filled before. */
static inline bool fli_allowance_is_scarce(const struct fli_backing *backing)
{
    return !FLI_MODEL && FLI_UNLIKELY(fli_load_hint(&backing->allowance.is_scarce));
}

/* Whether there are so many threads that a magazine can be less than full size though its thread holds nothing else. A
 * hint. */
static inline bool fli_allowance_is_crowded(const struct fli_backing *backing)
{
    return fli_allowance_is_scarce(backing) && fli_load_hint(&backing->allowance.quota.share) < FLI_ALLOWANCE_CROWDED;
}

/* How many blocks of a class a thread in a crowd may have from shared slabs; others may have `ordinary` ones. */
static inline unsigned fli_allowance_first(const struct fli_backing *backing, unsigned class_index, unsigned ordinary)
{
    if (!fli_allowance_is_crowded(backing))
        return ordinary;
    return (unsigned)fli_min(fli_max(backing->slabs.by_class[class_index].blocks / 4, ordinary), UINT8_MAX);
}

/* How many blocks a refill brings into an empty magazine: half of a small room, so that as many frees find some. */
static inline unsigned fli_allowance_to_fill(const struct fli_magazine *magazine, unsigned capacity)
{
    unsigned room = fli_magazine_room(magazine, capacity);
    return room < capacity ? (room + 1) / 2 : room;
}

/* Locks the shared home, if that is possible within a moment, or in a crowd within a longer one. */
static inline bool fli_allowance_try_shared(const struct fli_backing *backing, struct fli_home *shared)
{
    unsigned tries = fli_allowance_is_crowded(backing) ? FLI_ALLOWANCE_TRIES : 1;
    while (!fli_home_try_briefly(shared))
        if (--tries == 0)
            return false;
    return true;
}

/* The allowance of a heap with this limit, SIZE_MAX if it has none, whose magazines have so many blocks by class. If threads
 * may defer blocks, it leaves room for these. */
void fli_allowance_init(struct fli_allowance *allowance, size_t limit_bytes, bool defers,
                        const unsigned *magazine_blocks);

/* Shares it out among so many threads, for whom memory may become scarce. Under the registry lock. */
void fli_allowance_share(struct fli_allowance *allowance, size_t threads);

/* ---- Where memory is scarce. The owning thread only. */

/* Whether a block more is left for a cache. */
bool fli_allowance_has_room_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

/* Whether a cache may have one more magazine. */
bool fli_allowance_adds_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner);

/* Gives the loaded magazine, which is full, more room. Returns false if there is none, or it has all or may have no more. */
bool fli_allowance_grow_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                              struct fli_owner *owner);

/* Notes that a magazine, if it is not NULL, comes into a cache of the class or leaves it. */
void fli_allowance_note_owner(const struct fli_magazine *magazine, bool comes, unsigned class_index,
                              struct fli_backing *backing, struct fli_owner *owner);

/* Called before a magazine gets into a cache, and notes that it comes. If it has no blocks, gives it the room that it may
 * have there, for a block at least. `had` is the room of the magazine that has just left the cache, or 0. */
void fli_allowance_fit_owner(struct fli_magazine *magazine, unsigned had, const struct fl_cache *cache,
                             unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* Does so with the loaded magazine of a cache, which has no blocks. */
void fli_allowance_fit_loaded_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                    struct fli_owner *owner);

/* Whether a filled magazine may get into a cache, in place of the previous one, which is empty. If so, notes it. */
bool fli_allowance_takes_owner(const struct fli_magazine *filled, const struct fl_cache *cache, unsigned class_index,
                               struct fli_backing *backing, struct fli_owner *owner);

/* Loads some blocks of a magazine that may not get into a cache, whose loaded magazine is empty or missing. The others go
 * to the pool. */
void fli_allowance_load_some_owner(struct fl_cache *cache, struct fli_magazine *filled, unsigned class_index,
                                   struct fli_backing *backing, struct fli_owner *owner);

/* Whether a cache that has no magazine may be to get none: where memory is scarce, and of a sparse class (sparse.h). */
static inline bool fli_allowance_skips(const struct fli_backing *backing, const struct fli_owner *owner,
                                       unsigned class_index)
{
    return fli_allowance_is_scarce(backing) || FLI_UNLIKELY(fli_sparse_has(owner->home, class_index));
}

/* Where fli_allowance_skips: gives a block away if its cache, which is full, has no magazine and is to get none. Returns
 * false if it is to get one, or memory is refused. No lock may be held, nor for the next. */
bool fli_allowance_pass_by_owner(void *block, struct fl_cache *cache, unsigned class_index,
                                 struct fli_backing *backing, struct fli_owner *owner);

/* The same: fetches a block if its cache, which is empty, has no magazine and is to get none. Returns NULL if it is to
 * get one, or there is no such block, or a home is busy: then a refill is due. */
void *fli_allowance_fetch_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                struct fli_owner *owner);

/* Takes the magazine, which is empty now, out of a cache that was to have one for a moment (owner->closes). */
FLI_COLD void fli_allowance_close_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                        struct fli_owner *owner);

/* Notes that blocks of the class have gone home: the thread may get as many from shared slabs again. */
void fli_allowance_note_home_owner(struct fli_owner *owner, unsigned class_index, unsigned blocks);

/* Notes that it has got some that are, or may be, of shared slabs. */
void fli_allowance_note_taken_owner(struct fli_owner *owner, unsigned class_index, unsigned blocks);

/* Notes that a thread moves to another home. */
void fli_allowance_move_owner(struct fli_home *from, struct fli_home *to);

/* Notes that the thread's caches have no magazines any more, but for those that hold what is set aside. The owning thread,
 * or any other while that is stopped outside the library. */
void fli_allowance_end_owner(struct fli_backing *backing, struct fli_owner *owner);

/* In the child of a fork, where no other thread runs: counts anew what is noted. */
void fli_allowance_recount_stw(struct fli_backing *backing);

#endif
