/* SPDX-License-Identifier: MIT
 *
 * All homes of a heap: which thread lives in which home, blocks that other threads send home, adoption of slabs.
 *
 *     free_slabs = sum over all homes of the slabs on their lists FLI_HOME_FREE
 *
 * The list of homes only grows, and any thread may walk it. A vacant home is on a second list, too, until the next thread
 * moves in. The lock of the homes guards that list and the growth of the first one.
 */
#ifndef FLI_HOMES_H
#define FLI_HOMES_H

#include "pool/home.h"
#include "pool/pool.h"

/* How many homes a thread looks at before it begins a slab. */
enum { FLI_HOMES_LOOKED_AT = 8 };

/* All homes of a heap. */
struct fli_homes {
    struct fli_slabs *slabs;
    FLI_ATOMIC(struct fli_home *) first;           /* a list through `next`, which only grows */
    FLI_ON_OWN_LINE FLI_ATOMIC(size_t) free_slabs; /* on the free lists of all homes */
    struct fli_home *shared;                       /* the first home entered; constant from then on */
    unsigned shared_from;                          /* with so many homes, threads get first blocks there; constant */
    FLI_ON_OWN_LINE struct fli_mutex lock;         /* guards which thread lives in which home, and what follows */
    FLI_ATOMIC(unsigned) count;                    /* of all homes */
    FLI_PLAIN(struct fli_home *) vacant;           /* a list through `next_vacant`, the one left last first */
};

/* Where memory `is_scarce`, threads share slabs as soon as there are two. */
void fli_homes_init(struct fli_homes *homes, struct fli_slabs *slabs, bool is_scarce);
void fli_homes_close(struct fli_homes *homes);

/* Moves a thread into a home: a vacant one, or a new one; NULL if memory is refused. Locks. */
struct fli_home *fli_homes_enter(struct fli_homes *homes);

/* Moves the thread out: the home is vacant from then on. Locks. */
void fli_homes_leave(struct fli_homes *homes, struct fli_home *home);

static inline struct fli_home *fli_homes_first(struct fli_homes *homes)
{
    /* W4: acquire, pairs with W3 in create_locked. */
    return fli_load_acquire(&homes->first);
}

/* The home from which threads get their first blocks of a class; NULL while there are few threads. */
static inline struct fli_home *fli_homes_shared(struct fli_homes *homes)
{
    return fli_load_hint(&homes->count) >= homes->shared_from ? homes->shared : NULL;
}

/* The free blocks of a class in the slabs of all homes. */
size_t fli_homes_free(struct fli_homes *homes, unsigned class_index);

/* Bytes of magazines with blocks above FLI_HOME_BLOCK_MOST that all homes keep. */
size_t fli_homes_large_kept(struct fli_homes *homes);

/* ---- Under the lock of `home`. */

/* Adopts a slab of the class that has free blocks. It looks at a few homes, and takes a slab from one that can spare
 * it. If it is `pressed`, it looks at all homes and takes any slab with a free block. Returns whether it has adopted
 * one. */
bool fli_homes_adopt(struct fli_homes *homes, struct fli_home *home, unsigned class_index, bool pressed);

/* A look at the homes, each in its turn, for slabs that one of them could do without. */
struct fli_homes_look {
    struct fli_homes *homes;
    struct fli_home *home;  /* that wants slabs, and is locked */
    size_t left;            /* how many homes it may look at still */
    struct fli_home *first; /* that it has looked at; NULL: none yet */
};

/* The next home, which may be its own; NULL at the end. */
struct fli_home *fli_homes_look_on(struct fli_homes_look *look);

/* ---- Any thread. */

/* Sends blocks home, to whichever homes they belong. It passes over homes that are busy, or `waits` for them. Moves
 * the blocks that are left down to the start of the array and returns their number. Notes a pointer that is no block
 * of the class as a stray. The caller holds the lock of no home. */
unsigned fli_homes_return(struct fli_homes *homes, unsigned class_index, void **blocks, unsigned count, bool waits,
                          struct fli_pool_counters *counters);

/* The home from which blocks freed as ones of the class come, if that is one home and not `own`; or NULL. Judged by
 * a sample, a moment ago. */
struct fli_home *fli_homes_other(struct fli_homes *homes, const struct fli_home *own, unsigned class_index,
                                 void *const *blocks, unsigned count);

/* ---- For fl_heap_check: 0, or -EUCLEAN with a text in `error`. No other thread uses the heap meanwhile. */

/* Verifies that a slab at home says that it is in the place there that fits its free blocks. */
int fli_homes_check_place(const struct fli_slabs *slabs, unsigned class_index, uint32_t slab, char *error,
                          size_t error_size);

/* Verifies that the slabs of a class that say that they are on lists, of which there are `on_lists`, are there. Adds those
 * that are all free to `*free_slabs`. */
int fli_homes_check_lists(struct fli_homes *homes, unsigned class_index, uint32_t on_lists, size_t *free_slabs,
                          char *error, size_t error_size);

#endif
