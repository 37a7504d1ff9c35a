/* SPDX-License-Identifier: MIT
 *
 * What a thread has set aside for allocations that must not fail (fl_thread_reserve): a chain of magazines per class.
 * Refills of the thread's own caches take them first, and nothing else does: no trim, no other thread, and no call of
 * the thread itself that makes room for another class. A class that was set aside once keeps all its free blocks in the
 * thread: where others are flushed, its magazines go back onto the chain. The reservation ends when the host flushes or
 * detaches the thread, or flushes a stopped heap.
 *
 * The owning thread changes it, or one that flushes a thread that does not run.
 */
#ifndef FLI_RESERVE_H
#define FLI_RESERVE_H

#include "memory/chain.h"
#include "pool/owner.h"

struct fli_reserve {
    struct fli_chain chains[FL_CLASS_COUNT]; /* no magazine is empty */
    bool keeps[FL_CLASS_COUNT];              /* classes that were set aside */
};

static inline bool fli_reserve_keeps(const struct fli_owner *owner, unsigned class_index)
{
    return FLI_UNLIKELY(owner->reserve != NULL) && owner->reserve->keeps[class_index];
}

/* How many blocks of a class are set aside. Any thread, while the table stays. */
static inline size_t fli_reserve_blocks(const struct fli_owner *owner, unsigned class_index,
                                        const struct fli_magazines *magazines)
{
    return owner->reserve != NULL ? fli_chain_blocks(&owner->reserve->chains[class_index], magazines) : 0;
}

/* A magazine of a class that was set aside; NULL if there is none. */
static inline struct fli_magazine *fli_reserve_take_owner(struct fli_owner *owner, unsigned class_index,
                                                          const struct fli_magazines *magazines)
{
    return FLI_UNLIKELY(owner->reserve != NULL) ? fli_chain_take(&owner->reserve->chains[class_index], magazines)
                                                : NULL;
}

/* Sets the magazines of a cache aside, which is without any then. */
void fli_reserve_set_aside_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner);

/* Makes the table, if there is none. Returns false if memory is refused. */
bool fli_reserve_begin_owner(struct fli_owner *owner);

/* Sends home what was set aside of a class beyond `most` blocks, in whole magazines. */
void fli_reserve_give_back_owner(unsigned class_index, size_t most, struct fli_backing *backing,
                                 struct fli_owner *owner);

/* Sends home all that was set aside, and frees the table. */
void fli_reserve_end_owner(struct fli_backing *backing, struct fli_owner *owner);

#endif
