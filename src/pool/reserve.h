/* SPDX-License-Identifier: MIT
 *
 * What a thread has set aside for allocations that must not fail (fl_thread_reserve): a chain of magazines per class.
 * Refills of the thread's own caches take them first, and nothing else does: no trim, no other thread, and no call of
 * the thread itself that makes room for another class. A class that was set aside once keeps all its free blocks in the
 * thread: where others are flushed, its magazines go back onto the chain. The reservation ends when the host flushes or
 * detaches the thread, or flushes a stopped heap.
 *
 * What the thread frees in such a class goes onto the chain as its caches overflow. That takes an empty magazine for each
 * full one, which must not be refused: so the magazines that its allocations have emptied stay with the thread, too.
 *
 *     magazines that the class was set aside in <= those in its cache and on its chain + empties
 *
 * The owning thread changes it, or one that flushes a thread that does not run. Statistics count it at any time: so the
 * table stays until the thread has left the list of its heap, also where the reservation ends.
 */
#ifndef FLI_RESERVE_H
#define FLI_RESERVE_H

#include "memory/chain.h"
#include "pool/owner.h"

struct fli_reserve {
    struct fli_chain chains[FL_CLASS_COUNT]; /* no magazine is empty */
    struct fli_chain empties;                /* magazines without blocks, of full room, for any class */
    bool keeps[FL_CLASS_COUNT];              /* classes that were set aside */
    unsigned filling;                        /* the class that is being set aside: refills leave it alone; 0: none */
};

static inline bool fli_reserve_keeps(const struct fli_owner *owner, unsigned class_index)
{
    const struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    return FLI_UNLIKELY(reserve != NULL) && reserve->keeps[class_index] && reserve->filling != class_index;
}

/* How many blocks of a class are set aside. Any thread, while the owner is in the list of its heap. */
static inline size_t fli_reserve_blocks(const struct fli_owner *owner, unsigned class_index,
                                        const struct fli_magazines *magazines)
{
    /* Z2: acquire, pairs with Z1 in fli_reserve_begin_owner: the table is whole. */
    struct fli_reserve *reserve = fli_load_acquire(&owner->reserve);
    return reserve != NULL ? fli_chain_blocks(&reserve->chains[class_index], magazines) : 0;
}

/* A magazine of a class that was set aside; NULL if there is none, or if it is being set aside. */
static inline struct fli_magazine *fli_reserve_take_owner(struct fli_owner *owner, unsigned class_index,
                                                          const struct fli_magazines *magazines)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    return FLI_UNLIKELY(reserve != NULL) && reserve->filling != class_index
               ? fli_chain_take(&reserve->chains[class_index], magazines)
               : NULL;
}

/* Sets the magazines of a cache aside. The cache has none then. */
void fli_reserve_set_aside_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner);

/* Keeps a magazine that the thread's allocations of a class that was set aside have emptied. */
FLI_COLD void fli_reserve_keep_empty_owner(struct fli_magazine *empty, struct fli_backing *backing,
                                           struct fli_owner *owner);

/* Sets the previous magazine of a cache aside, whose magazines are full, and loads an empty one. The class was set aside.
 * Returns false if no empty magazine can be had; for a real-time thread, if none can be had at once. */
FLI_COLD bool fli_reserve_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                          struct fli_owner *owner);

/* Begins to set a class aside. Makes the table, if there is none. Returns false if memory is refused. */
bool fli_reserve_begin_owner(struct fli_owner *owner, unsigned class_index);

/* Ends that. From now on the thread keeps all free blocks of the class if that `is_set_aside`, or was before. */
void fli_reserve_begun_owner(struct fli_owner *owner, bool is_set_aside);

/* Ends the filling of a class, if its thread will not go on with it: a fork has left that behind. */
void fli_reserve_break_off_owner(struct fli_owner *owner);

/* Sends home what was set aside of a class beyond `most` blocks, in whole magazines. */
void fli_reserve_give_back_owner(unsigned class_index, size_t most, struct fli_backing *backing,
                                 struct fli_owner *owner);

/* Forgets the empty magazines. Returns how many these are. */
size_t fli_reserve_forget_empties_owner(struct fli_owner *owner, const struct fli_magazines *magazines);

/* Sends home all that was set aside. */
void fli_reserve_end_owner(struct fli_backing *backing, struct fli_owner *owner);

/* Frees the table of an owner that has nothing set aside, and that nobody else knows any more. */
void fli_reserve_destroy(struct fli_owner *owner);

#endif
