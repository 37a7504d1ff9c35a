/* SPDX-License-Identifier: MIT
 *
 * A thread as the owner of caches that lives in a home, and what its caches stand on. The owner comes home to take
 * blocks and to bring them; magazines that are filled, and empty ones, rest there on shelves (rack.h).
 */
#ifndef FLI_OWNER_H
#define FLI_OWNER_H

#include "large/large.h"
#include "pool/cache.h"
#include "pool/homes.h"
#include "pool/quota.h"

/* What the caches of a heap may have room for, where memory is scarce (allowance.h). */
struct fli_allowance {
    FLI_ATOMIC(bool) is_scarce; /* never falls; written under the registry lock */
    struct fli_quota quota;     /* what all caches together may have room for */
    size_t uncounted;           /* bytes, all caches together before memory is scarce; constant */
    size_t full;                /* bytes, all caches of a thread if all are full; constant */
    size_t first;               /* bytes of the first magazine of a cache, or a block if that is more; constant */
    size_t slack;               /* bytes; up to twice as many are noted too many for a thread; constant */
};

/* What the caches of a heap stand on. */
struct fli_backing {
    struct fli_pool pool;
    struct fli_magazines magazines;
    struct fli_slabs slabs;
    struct fli_homes homes;
    struct fli_large large;
    struct fli_limit limit;
    struct fli_allowance allowance;
    unsigned magazine_blocks[FL_CLASS_COUNT]; /* blocks a magazine of each class holds */
    size_t small_bytes;                       /* the most bytes of small blocks that a home keeps in magazines */
    FLI_ATOMIC(size_t) rack_bytes; /* the most that a thread's rack may hold; written under the registry lock */
};

struct fli_reserve;

/* What the slow halves know of the thread whose caches they work on. */
struct fli_owner {
    struct fli_home *home;
    struct fli_pool_counters counters;        /* what the thread did to the pool */
    uint32_t given_bytes;                     /* what it gave away since the heap last looked */
    uint8_t given_magazines;                  /* the same */
    uint8_t large_shard;                      /* where its large blocks are counted */
    bool realtime;                            /* it leaves upkeep to others (realtime.h) */
    bool closes;                              /* a cache has a magazine for a moment (allowance.h) */
    uint8_t tight;                            /* magazines that got less room than they could use (unsubmitted.h) */
    uint16_t submitted_parts;                 /* of a magazine, 256ths, since it took a step with deferred blocks */
    uint32_t unsubmitted;                     /* bytes that its magazines of deferred blocks have room for */
    uint32_t noted;                           /* bytes that are counted beyond the base for these */
    FLI_ATOMIC(struct fli_reserve *) reserve; /* what it has set aside (reserve.h); NULL: nothing ever */
};

/* Whether blocks of the class are small. */
static inline bool fli_owner_is_small(unsigned class_index)
{
    return fli_class_bytes(class_index) <= FLI_HOME_BLOCK_MOST;
}

/* Functions that have the owner are for its thread, or for any other while that is stopped outside the library. Those that
 * have only a home are for any thread that holds its lock. */

/* Locks the owner's home, if that is possible within a moment; for a real-time thread, if it is possible at once. Returns
 * whether it did. */
bool fli_owner_come_home(struct fli_owner *owner);

/* Locks a home that the owner can use, where its own is busy. Waits for a fork that is in the way. Otherwise moves the
 * owner to another home and locks that, since a stopped thread may hold the lock of its own. Returns false, and no home is
 * locked, if memory is refused or that home is busy, too. Takes the lock of the homes. */
FLI_COLD bool fli_owner_move(struct fli_backing *backing, struct fli_owner *owner);

/* Whether a rack holds more than it may, because there are more threads now. A hint. Any thread. */
bool fli_owner_keeps_more(struct fli_backing *backing, const struct fli_home *home);

/* Gives the pool what a rack holds beyond that, the largest blocks first. The home is locked. */
void fli_owner_level(struct fli_backing *backing, struct fli_home *home, struct fli_pool_counters *counters);

/* Keeps a filled magazine at a home, which is locked, if there is room. Returns whether it did. */
bool fli_owner_keep(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                    struct fli_home *home);

/* A filled magazine that is kept at a home, which is locked; or NULL. */
struct fli_magazine *fli_owner_take_kept(unsigned class_index, struct fli_backing *backing, struct fli_home *home);

/* The shelf of a home for filled magazines of a class, for class 0 that for empty ones. */
static inline struct fli_chain *fli_owner_shelf(struct fli_home *home, unsigned class_index)
{
    return class_index != 0 ? &home->classes[class_index].shelf : &home->rack.empty_shelf;
}

/* Takes a magazine that a home keeps: one with blocks of the class, or for class 0 an empty one; NULL if there is
 * none. Under the lock of the home. */
struct fli_magazine *fli_owner_take_shelved(struct fli_backing *backing, struct fli_home *home, unsigned class_index);

/* The blocks of a class that all homes keep in magazines. Any thread; exact while the owners are quiet. */
size_t fli_owner_kept_blocks(struct fli_backing *backing, unsigned class_index);

/* An empty magazine, of full room: from a home, which is locked (NULL: from none), or from the pool; NULL if they have
 * none. */
struct fli_magazine *fli_owner_find_empty(struct fli_backing *backing, struct fli_home *home,
                                          struct fli_owner *owner);

/* The same, or one that is carved; NULL if memory is refused. */
struct fli_magazine *fli_owner_obtain_empty(struct fli_backing *backing, struct fli_home *home,
                                            struct fli_owner *owner);

/* The same, for a caller that holds the lock of no home: from the owner's home, if its lock can be had at once. */
struct fli_magazine *fli_owner_obtain_empty_anywhere(struct fli_backing *backing, struct fli_owner *owner);

/* Puts an empty magazine away: at home, if the owner is `at_home`, or into the pool. */
void fli_owner_give_empty(struct fli_magazine *magazine, struct fli_backing *backing, struct fli_owner *owner,
                          bool at_home);

/* How many blocks of slabs a refill brings at most: some if the cache has no magazine yet, and next what makes a full one
 * of these. So what a thread holds of a class comes to a magazine's end only where it is more than a magazine. */
unsigned fli_owner_refill_most(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner);

#endif
