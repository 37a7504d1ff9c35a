/* SPDX-License-Identifier: MIT
 *
 * Sparse classes: those of large blocks (home.h) of which a home has more free than live ones, in slabs partly in use.
 *
 * A magazine gives out the block that was put into it last. So where a program frees and allocates in turns, each block that
 * is freed is used again at once, and a slab of which one block is live stays as it is: no slab becomes all free, and none
 * can serve another class. Vectors that grow are such a program: what they need more of lies in ever larger classes, and
 * the slabs of those that they have left hold one live block each.
 *
 *     sparse          as many blocks of the class are free at home, or in its part of the pool, as SLABS_LEAST slabs have,
 *                     and as half of those that a home has on the average; then all magazines go home
 *     while it is     an allocation takes a block from the slab with the fewest free ones, a free sets the block's bit
 *     until           the thread has done so CALLS_MOST times since classes were judged (quiet.h)
 *
 * So the slabs with few live blocks become all free. A call takes some 60 ns instead of 5, which is little beside the use
 * of more than 2 KiB, and the last line bounds it.
 */
#ifndef FLI_SPARSE_H
#define FLI_SPARSE_H

#include "pool/owner.h"

/* The first class of large blocks. A home has a bit for each of them. */
enum { FLI_SPARSE_FIRST = 49 };

/* Whether a class is sparse at a home. The thread that lives there only, here and below. */
static inline bool fli_sparse_has(const struct fli_home *home, unsigned class_index)
{
    return !FLI_MODEL && class_index >= FLI_SPARSE_FIRST &&
           (home->sparse >> (class_index - FLI_SPARSE_FIRST) & 1) != 0;
}

/* Judges the classes of large blocks. The home is locked. */
void fli_sparse_judge(struct fli_backing *backing, struct fli_home *home);

/* Sends home what the pool has of a class. No lock may be held, nor for the next. */
void fli_sparse_gather_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* Takes a block of a sparse class, of which the cache has none, from the owner's slabs. Returns NULL if a magazine has to do:
 * the cache has one, the class is set aside, or no block can be had at once. */
void *fli_sparse_take_owner(const struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                            struct fli_owner *owner);

/* Sends a block of a sparse class home. Returns false if a magazine has to do. */
bool fli_sparse_give_owner(void *block, const struct fl_cache *cache, unsigned class_index,
                           struct fli_backing *backing, struct fli_owner *owner);

#endif
