/* SPDX-License-Identifier: MIT
 *
 * Blocks that come and go one by one, where a thread's cache has no magazine (allowance.h).
 *
 *     cache  <->  the pool's top magazine of the class  <--  the shared home, some blocks at a time
 *
 * A thread pops the magazine, puts a block into it or takes one, and pushes it again. So it needs no lock. In a crowd there
 * are more threads than processors, and some are stopped at any moment: one that is stopped with the lock of the home that
 * all share keeps the others from it. One that is stopped with a magazine keeps only that. For
 * the same reason a full magazine of such a thread leaves blocks of other homes in the pool's top magazine.
 *
 * Trims take home what lies in the pool. A thread takes blocks of its own slabs at home, and brings them there.
 */
#ifndef FLI_SINGLE_H
#define FLI_SINGLE_H

#include "pool/owner.h"

/* A block of the class; NULL if there is none that can be had so: then a refill is due. The owning thread only; no lock
 * may be held, here and below. */
void *fli_single_take_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* A block of the pool's top magazine of the class, or of the shared home; NULL if there is none. */
void *fli_single_take_pooled_owner(unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* Gives a block away. Returns false if no magazine can be had for it. */
bool fli_single_give_owner(void *block, unsigned class_index, struct fli_backing *backing, struct fli_owner *owner);

/* Puts the last of some blocks into the pool's top magazine of the class. Returns how many are left: some, if that is full
 * then, or all, if no magazine can be had. */
unsigned fli_single_pool_owner(void *const *blocks, unsigned count, unsigned class_index, struct fli_backing *backing,
                               struct fli_owner *owner);

#endif
