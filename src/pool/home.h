/* SPDX-License-Identifier: MIT
 *
 * Homes: the slabs of a thread, and all that it keeps beyond the two magazines of each cache.
 *
 *     caches (two magazines per class)  <->  home: shelves (rack.h), free bits of its slabs  <->  other homes, the OS
 *
 * What leaves a thread's caches goes home: into the bit of its block in its slab. A refill takes the free blocks of one
 * slab, lowest address first, until the slab has none left, and then those of another one: so what a program allocates
 * in a row lies in a row, whatever the order in which it freed it. Each slab at home is in one of these places:
 *
 *     current       refills take its blocks                 quarters 0 to 3   some of its blocks are free: the quarter
 *     full          none of its blocks is free              free              all of them are
 *
 *     free of a class = sum over its slabs of their free bits
 *
 * A home is under its lock, a word. A thread takes its own lock once for a magazine's worth of work. Others take it to
 * send blocks home, to adopt slabs, or to trim; nobody waits for it: a caller tries for a moment, and then does without,
 * by way of the pool. Only fork, explicit trims, and a free for which no magazine can be had, wait. A thread that
 * cannot get its own lock when it needs memory moves to another home, so a thread stopped inside the library delays
 * nobody.
 *
 * A home outlives its thread: the next thread that attaches moves in, with all that is there. Who finds nothing at home
 * looks at some other homes before it takes a fresh slab: a slab that is all free may be adopted from any of them, and
 * one that is partly free from a home that is `away`: vacant, or its thread is offline or has flushed. Homes are never
 * unmapped while the heap exists, so a stale pointer to one is harmless: under its lock, the slab says whether it is
 * still the slab's home.
 *
 * Locks: of several homes at a time only the first may be waited for. The locks of the slabs and magazines come after
 * it.
 *
 *     label  order    where                            pairs with
 *     W1     acquire  the lock is taken                W2: what the holder before wrote to the home and its slabs
 *     W2     release  the lock is given back           W1
 *     W3     release  a new home is entered            W4: the home is whole
 *     W4     acquire  the list of homes is walked      W3
 */
#ifndef FLI_HOME_H
#define FLI_HOME_H

#include "memory/slab.h"
#include "pool/rack.h"

enum fli_home_list {
    FLI_HOME_QUARTERS = 4, /* lists 0 to 3: at least so many quarters of the blocks are free */
    FLI_HOME_FREE = FLI_HOME_QUARTERS,
    FLI_HOME_LISTS,
    FLI_HOME_FULL = FLI_HOME_LISTS, /* not on a list */
    FLI_HOME_CURRENT,               /* likewise */
};

struct fli_home_class {
    FLI_PLAIN(uint32_t) current; /* slab */
    FLI_PLAIN(uint32_t) latest;  /* the slab that was current before */
    FLI_PLAIN(uint32_t) lists[FLI_HOME_LISTS];
    struct fli_chain shelf;    /* magazines that are kept, see rack.h */
    FLI_ATOMIC(uint32_t) free; /* written under the lock */
};

struct fli_home {
    FLI_ATOMIC(uint32_t) lock;              /* 1: held */
    FLI_ATOMIC(bool) away;                  /* its slabs may be adopted though they are partly free */
    FLI_PLAIN(bool) vacant;                 /* under the lock of the homes */
    FLI_PLAIN(struct fli_home *) next;      /* constant once entered */
    FLI_PLAIN(struct fli_home *) looked_at; /* the one that was last looked at for a slab to adopt, or NULL */
    struct fli_rack rack;
    struct fli_home_class classes[FL_CLASS_COUNT];
};

struct fli_homes;

/* Takes the lock if that is possible at once, within a moment, or waits for it. */
bool fli_home_try(struct fli_home *home);
bool fli_home_try_briefly(struct fli_home *home);
void fli_home_wait(struct fli_home *home);
void fli_home_unlock(struct fli_home *home);

/* Somebody holds the lock. */
static inline void fli_home_assert_held(struct fli_home *home)
{
    FLI_ASSERT(fli_load_relaxed(&home->lock) != 0); /* relaxed: the caller's own */
    (void)home;
}

/* ---- Under the lock of `home`. */

/* Counts `count` blocks of a slab whose bits have been set. */
void fli_home_count_free(struct fli_homes *homes, struct fli_home_class *home_class, uint32_t slab, unsigned count);

/* Takes up to `count` free blocks, the lowest address last. Returns how many. */
unsigned fli_home_take(struct fli_homes *homes, struct fli_home *home, unsigned class_index, unsigned count,
                       void **blocks);

/* Takes in a slab in hand, all free. */
void fli_home_take_in(struct fli_homes *homes, struct fli_home *home, uint32_t slab);

/* Takes a slab out of the home, to be taken in elsewhere. */
void fli_home_give_up(struct fli_homes *homes, struct fli_home *home, uint32_t slab);

/* Takes a slab that is all free out of the home, to be retired. Returns 0 if there is none. */
uint32_t fli_home_give_up_free(struct fli_homes *homes, struct fli_home *home, unsigned class_index);

/* ---- Any thread. */

/* The home of a slab, of a moment ago; it counts only under the home's lock. */
static inline struct fli_home *fli_home_of_slab(const struct fli_slab *record)
{
    /* W6: acquire, pairs with W5 in fli_home_take_in. */
    return fli_load_order(&record->home, FL_MO_SLAB_VISIT);
}

static inline struct fli_home *fli_home_of(const struct fli_slabs *slabs, const void *block)
{
    return fli_home_of_slab(fli_slab_at(slabs, fli_slab_number(slabs, block)));
}

#endif
