/* SPDX-License-Identifier: MIT
 *
 * All homes of a heap: who lives where, blocks that are sent home from elsewhere, and slabs that move to another home.
 *
 * The list of homes only grows, and a home that nobody lives in waits on it for the next thread.
 */
#ifndef FLI_HOMES_H
#define FLI_HOMES_H

#include "pool/home.h"
#include "pool/pool.h"

/* All homes of a heap. */
struct fli_homes {
    struct fli_slabs *slabs;
    FLI_ATOMIC(struct fli_home *) first;           /* a list through `next`, which only grows */
    FLI_ON_OWN_LINE FLI_ATOMIC(size_t) free_slabs; /* on the free lists of all homes */
    FLI_ON_OWN_LINE struct fli_mutex lock;         /* guards who lives where */
};

void fli_homes_init(struct fli_homes *homes, struct fli_slabs *slabs);
void fli_homes_close(struct fli_homes *homes);

/* A home to move into: a vacant one, or a new one; NULL if memory is refused. Locks. */
struct fli_home *fli_homes_enter(struct fli_homes *homes);

/* Moves out. Locks. */
void fli_homes_leave(struct fli_homes *homes, struct fli_home *home);

static inline struct fli_home *fli_homes_first(struct fli_homes *homes)
{
    /* W4: acquire, pairs with W3 in fli_homes_enter. */
    return fli_load_order(&homes->first, FL_MO_HOMES_WALK);
}

/* The free blocks of a class in the slabs of all homes. */
size_t fli_homes_free(struct fli_homes *homes, unsigned class_index);

/* ---- Under the lock of `home`. */

/* Adopts a slab of the class that has free blocks: from homes that can spare it, of which it looks at a few; or, if it
 * is `pressed`, from any. Returns whether it has. */
bool fli_homes_adopt(struct fli_homes *homes, struct fli_home *home, unsigned class_index, bool pressed);

/* ---- Any thread. */

/* Sends blocks home, wherever that is, as far as the locks can be had at once; or `waits` for them. Moves the others
 * down to the start of the array and returns how many these are. What is no block of the class is noted as a stray. The
 * caller has no home locked. */
unsigned fli_homes_return(struct fli_homes *homes, unsigned class_index, void **blocks, unsigned count, bool waits,
                          struct fli_pool_counters *counters);

/* The one home, other than `own`, that blocks freed as ones of the class come from, judged by a sample, a moment ago; or
 * NULL. */
struct fli_home *fli_homes_other(struct fli_homes *homes, const struct fli_home *own, unsigned class_index,
                                 void *const *blocks, unsigned count);

#endif
