/* SPDX-License-Identifier: MIT
 *
 * Homes: the slabs of a thread, and all blocks that it keeps beyond the two magazines of each cache.
 *
 *     caches (two magazines per class)  <->  home: shelves (rack.h), free bits of its slabs  <->  other homes, the OS
 *
 * Blocks that leave a thread's caches go home: each sets its bit in its slab. A refill takes the free blocks of one
 * slab, lowest address first, and goes on with another slab when that has none left. Blocks that a program allocates
 * in a row therefore lie in a row, whatever the order in which it freed them. Each slab at home is in one of these
 * places:
 *
 *     current       refills take its blocks                 quarters 0 to 3   some of its blocks are free: the quarter
 *     full          none of its blocks is free              free              all of them are
 *
 *     free of a class = sum over its slabs of their free bits
 *
 * The lock of a home, a word, guards all of it. A thread takes the lock of its own home once for a magazine's worth
 * of work. Other threads take it to send blocks home, to adopt slabs, or to trim. Most callers try the lock for a
 * moment and then use the pool instead. Only these wait for it: a fork, a trim by the host or for an allocation that
 * would fail, a free that can get no magazine, and retired slabs that return to a home. A thread that needs memory and
 * cannot get its own lock moves to another home. So a thread that is stopped inside the library delays no other for
 * long.
 *
 * A home outlives its thread: the next thread that attaches moves in and finds all that is there. Of several vacant
 * homes it takes one whose last thread ended on the same processor. A thread that finds no block at home looks at some
 * other homes before it begins a slab. It may adopt a slab that is all free from any home. It may adopt one that is
 * partly free from a home that is `away`: vacant, or its thread is offline or has flushed. From a home with many free
 * blocks it may adopt one of which a quarter is free: else threads would begin slabs while as much lies free in those
 * of a thread that no longer fills them. A home is never unmapped while the heap exists, so a stale pointer to one is
 * harmless. Under the lock of a home, the slab says whether that is still its home.
 *
 * Most threads need a few blocks of a few classes. Where there are many threads, a slab of each such class for each of
 * them would be memory that nobody else can use. So threads share slabs at one home, that of the heap's own thread. A
 * thread gets its first blocks of a class from there, and only with the next refill a slab of its own. After a flush, and
 * for the next thread that lives there, this begins anew.
 *
 * Locks: a thread that takes the locks of several homes may wait only for the first. The locks of the slabs and
 * magazines come after it.
 *
 *     label  order    where                            pairs with
 *     W1     seq_cst  the lock is taken                W2: what the holder before wrote to the home and its slabs
 *     W2     release  the lock is given back           W1 W7
 *     W3     release  a new home is entered            W4: the home is whole
 *     W4     acquire  the list of homes is walked      W3
 *     W5     release  a slab gets a home               W6: the home is whole
 *     W6     acquire  the home of a slab is read       W5
 *     W7     seq_cst  a fork waits for the lock        W2, and with W1 as lock.h says
 */
#ifndef FLI_HOME_H
#define FLI_HOME_H

#include "memory/class_set.h"
#include "memory/slab.h"
#include "pool/rack.h"

enum fli_home_list {
    FLI_HOME_QUARTERS = 4, /* lists 0 to 3: at least so many quarters of the blocks are free */
    FLI_HOME_FREE = FLI_HOME_QUARTERS,
    FLI_HOME_LISTS,
    FLI_HOME_FULL = FLI_HOME_LISTS, /* on no list */
    FLI_HOME_CURRENT,               /* on no list */
};

/* The most bytes of a small block: these go home one by one. Larger blocks stay in their magazines, see also
 * sparse.h.  */
enum { FLI_HOME_BLOCK_MOST = FLI_MODEL ? 16 : 2048 };

struct fli_home_class {
    FLI_PLAIN(uint32_t) current; /* the slab whose blocks refills take; 0: none */
    FLI_PLAIN(uint32_t) latest;  /* the slab that was current before; 0: none */
    FLI_PLAIN(uint32_t) lists[FLI_HOME_LISTS];
    struct fli_chain shelf;    /* magazines that are kept, see rack.h */
    FLI_ATOMIC(uint32_t) free; /* written under the lock */
};

/* Classes of which threads are counted what they have had from others: each of blocks up to 2 KiB, and all larger ones
 * together. */
enum { FLI_HOME_FIRST = 50 };

struct fli_home {
    FLI_ATOMIC(uint32_t) lock;                /* 0: free; else as the word of a lock (base/lock.h) */
    FLI_ATOMIC(bool) away;                    /* its slabs may be adopted though they are partly free */
    FLI_PLAIN(uint16_t) processor;            /* where its last thread left it; under the lock of the homes */
    FLI_PLAIN(struct fli_home *) next;        /* constant once entered */
    FLI_PLAIN(struct fli_home *) next_vacant; /* on the list of vacant homes; under the lock of the homes */
    FLI_PLAIN(struct fli_home *) looked_at;   /* the home last looked at for a slab to adopt, or NULL */
    struct fli_class_set busy, quiet;         /* its thread's: quiet.h */
    uint32_t sparse;                          /* bits of large classes; its thread's: sparse.h */
    uint32_t sparse_calls;                    /* until these bits are cleared; the same */
    struct fli_rack rack;
    FLI_PLAIN(uint8_t) first[FLI_HOME_FIRST]; /* blocks that its thread has had from shared slabs since it flushed */
    uint8_t begun;                            /* slabs, since its thread judged the classes: quiet.h */
    uint8_t uncounted;                        /* these six are its thread's, where memory is scarce: allowance.h */
    uint8_t exchanges;                        /* of magazines that could become larger */
    uint8_t left_out;                         /* calls that came to less room than they could use */
    uint8_t turn;                             /* the class that gave up its magazines last */
    uint32_t lent;                            /* bytes that its caches have room for */
    uint32_t noted;                           /* bytes beyond the base that are counted for it */
    struct fli_home_class classes[FL_CLASS_COUNT];
};

struct fli_homes;

/* Takes the lock if it is free at once; within a moment; or waits for it. The first two return whether they have
 * it. */
bool fli_home_try(struct fli_home *home);
bool fli_home_try_briefly(struct fli_home *home);
void fli_home_wait(struct fli_home *home);
void fli_home_unlock(struct fli_home *home);

/* For the thread that forks, as fli_lock_await (lock.h). */
void fli_home_await(struct fli_home *home);

/* Asserts that the lock is held, or counts as held; it does not know by which thread. */
static inline void fli_home_assert_held(struct fli_home *home)
{
    FLI_ASSERT(fli_load_own(&home->lock) != 0 || fli_lock_is_forking());
    (void)home;
}

/* ---- Under the lock of `home`. */

/* Moves a slab, in which an address lies, to the list where it now belongs. */
void fli_home_sort(struct fli_homes *homes, struct fli_home_class *home_class, const void *address);

/* Counts `count` blocks whose bits have been set, of the slab in which an address lies. */
static inline void fli_home_count_free(struct fli_homes *homes, struct fli_home_class *home_class,
                                       struct fli_slab *record, const void *address, unsigned count)
{
    record->free = (uint16_t)(record->free + count);
    fli_count(&home_class->free, count);
    if (FLI_UNLIKELY(record->free >= record->moves_at))
        fli_home_sort(homes, home_class, address);
}

/* Takes up to `count` free blocks, the lowest address last. Returns how many. */
unsigned fli_home_take(struct fli_homes *homes, struct fli_home *home, unsigned class_index, unsigned count,
                       void **blocks);

/* The count of a class. */
static inline FLI_PLAIN(uint8_t) * fli_home_first(struct fli_home *home, unsigned class_index)
{
    return &home->first[fli_min(class_index, FLI_HOME_FIRST - 1)];
}

/* Has the thread that lives there get its first blocks from shared slabs again. */
void fli_home_forget_first(struct fli_home *home);

/* Leaves no slab current that is all free, because such a slab can serve any class. */
void fli_home_close_free(struct fli_homes *homes, struct fli_home *home);

/* Takes in a slab that is in no home and belongs to the caller. */
void fli_home_take_in(struct fli_homes *homes, struct fli_home *home, uint32_t slab);

/* Takes a slab out of the home, for the caller to take it in elsewhere. */
void fli_home_give_up(struct fli_homes *homes, struct fli_home *home, uint32_t slab);

/* Takes a slab that is all free out of the home, for the caller to retire it. Returns 0 if there is none. */
uint32_t fli_home_give_up_free(struct fli_homes *homes, struct fli_home *home, unsigned class_index);

/* ---- Any thread. */

/* The home of a slab a moment ago. A caller must ask again under that home's lock. */
static inline struct fli_home *fli_home_of_slab(const struct fli_slab *record)
{
    /* W6: acquire, pairs with W5 in fli_home_take_in. */
    return fli_load_acquire(&record->home);
}

static inline struct fli_home *fli_home_of(const struct fli_slabs *slabs, const void *block)
{
    return fli_home_of_slab(&fli_slab_row_of(slabs, block)->record);
}

#endif
