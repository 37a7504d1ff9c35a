/* SPDX-License-Identifier: MIT
 *
 * Piles of dead objects, each with its type: in magazines, or linked through words of their own when none can be had.
 *
 *     count = pairs in the magazines + linked objects
 *
 *     a linked object                       the list
 *     ┌─────┬──────┬──────┬───              ──> words of the last one ──> words of the one before ──> 0
 *     │     │ link │ type │                     The lowest bits of a link are those of the entry it leads to.
 *     └─────┴──────┴──────┴───
 *
 * Stale readers may look at the word that holds the link. Then the link is spread over the bits that the header sets
 * aside for it (fl_header.link), and readers do not heed these.
 *
 * A pile belongs to one thread at a time, or a lock guards it. In the child of a fork it is as a thread that is gone
 * had it at that instant. So a count is lowered before its objects move, and raised after.
 */
#ifndef FLI_PILE_H
#define FLI_PILE_H

#include "memory/chain.h"
#include "pool/exchange.h"

struct fli_thread;

enum {
    FLI_PILE_PAIRS = FLI_RARE_PATHS ? 4 : FLI_MAGAZINE_SLOTS / 2,
    /* So many objects that came last are left to their prefetches, and others are taken before them. */
    FLI_DEAD_WINDOW = FLI_RARE_PATHS ? 2 : 16,
    /* The bit of an entry whose memory is freed after a grace period. */
    FLI_DEAD_DEFERRED = 1,
    /* The other bits say what comes before. If none is set: `clear`. Else `clear` or `clear_some`, whichever the type has: */
    FLI_DEAD_BEGUN = 2,
    /* its `dealloc`, which also frees it, */
    FLI_DEAD_LEGACY = 4,
    /* or all callbacks that the type has. */
    FLI_DEAD_WHOLE = FLI_DEAD_BEGUN | FLI_DEAD_LEGACY,
    FLI_DEAD_BITS = FLI_DEAD_DEFERRED | FLI_DEAD_WHOLE,
    /* Bits of a link: an address of a program has no more, and the lowest ones are those of its entry. */
    FLI_LINK_BITS = 48,
};

/* An object and its type. */
struct fli_dead_object {
    uintptr_t entry; /* the object's address, and bits */
    const struct fl_type *type;
};

static inline void *fli_dead_address(uintptr_t entry)
{
    return (void *)(entry & ~(uintptr_t)FLI_DEAD_BITS);
}

/* What comes before its memory is freed: one of the constants, or 0. */
static inline uintptr_t fli_dead_end_of(uintptr_t entry)
{
    return entry & FLI_DEAD_WHOLE;
}

/* The entry of an object of which no callback has run, and of one that is to be finalized no more. */
static inline uintptr_t fli_dead_entry(const void *object, const struct fl_type *type)
{
    return (uintptr_t)object | (type->finalize == NULL && type->clear != NULL ? 0u : (uintptr_t)FLI_DEAD_WHOLE);
}

static inline uintptr_t fli_dead_entry_begun(const void *object, const struct fl_type *type)
{
    return (uintptr_t)object | (type->clear != NULL ? 0u : (uintptr_t)FLI_DEAD_BEGUN);
}

/* Prefetches the ends of an object. A small one may lie across two cache lines. */
static inline void fli_dead_prefetch(struct fli_dead_object object)
{
    __builtin_prefetch((const void *)object.entry);
    __builtin_prefetch((const void *)(object.entry + object.type->size - 1));
}

/* The same in a magazine. */
struct fli_pair {
    FLI_ATOMIC(uintptr_t) entry;
    FLI_ATOMIC(const struct fl_type *) type;
};

static inline struct fli_dead_object fli_pair_get(const struct fli_pair *pair)
{
    return (struct fli_dead_object){fli_load_own(&pair->entry), fli_load_own(&pair->type)};
}

/* Sets a pair that does not count now. */
static inline void fli_pair_set(struct fli_pair *pair, struct fli_dead_object object)
{
    /* D15: release, pairs with a fork: the pair no longer counts. */
    fli_store_release(&pair->entry, object.entry);
    /* D16: release, pairs with a fork: as D15. */
    fli_store_release(&pair->type, object.type);
}

/* Objects beyond those on a stack. */
struct fli_pile {
    FLI_ATOMIC(size_t) count;     /* of its objects */
    FLI_ATOMIC(uintptr_t) linked; /* the words of the last linked object, and its bits */
    struct fli_chain magazines;   /* none is empty but the first */
    struct fli_chain empties;     /* magazines that the pile needed, and may need again */
};

static inline struct fli_pair *fli_pile_pairs(struct fli_magazine *magazine)
{
    return (struct fli_pair *)(void *)magazine->slots;
}

/* Changes the count. The owning thread. */
static inline void fli_pile_add(struct fli_pile *pile, size_t change)
{
    fli_store_hint(&pile->count, fli_load_own(&pile->count) + change);
}

/* Puts an object into the first magazine of a pile. Returns false if there is no room. The owning thread, here and
 * below. */
static inline bool fli_pile_put_quickly(struct fli_pile *pile, const struct fli_magazines *magazines,
                                        struct fli_dead_object object)
{
    struct fli_magazine *first = fli_chain_first(&pile->magazines, magazines);
    uint32_t count = first != NULL ? fli_magazine_count(first) : (uint32_t)FLI_PILE_PAIRS;
    if (FLI_UNLIKELY(count == FLI_PILE_PAIRS))
        return false;
    fli_pair_set(&fli_pile_pairs(first)[count], object);
    /* D5: release, pairs with a fork: the pair is in the magazine. */
    fli_store_release(&first->count, (uint16_t)(count + 1));
    fli_pile_add(pile, 1);
    return true;
}

/* Takes up to `*count` pairs, the last ones of the first magazine of a pile. They stay where they are until the next put.
 * Returns the first of them, and how many there are; or NULL if the magazine has none, or objects are linked. */
static inline const struct fli_pair *fli_pile_take_many(struct fli_pile *pile, const struct fli_magazines *magazines,
                                                        size_t *count)
{
    struct fli_magazine *first = fli_chain_first(&pile->magazines, magazines);
    size_t all = first != NULL ? fli_magazine_count(first) : 0;
    if (FLI_UNLIKELY(all == 0 || fli_load_own(&pile->linked) != 0))
        return NULL;
    *count = fli_min(*count, all);
    fli_pile_add(pile, (size_t) - *count);
    fli_store_own(&first->count, (uint16_t)(all - *count));
    return &fli_pile_pairs(first)[all - *count];
}

/* Puts an object onto the pile. Returns false if there is no place for it. `server` is the thread that serves the
 * owner's calls (api/serve.h), or NULL if none does. */
bool fli_pile_put(struct fli_pile *pile, struct fli_dead_object object, struct fli_thread *server);

/* Takes an object off the pile, which has some. */
struct fli_dead_object fli_pile_take(struct fli_pile *pile, const struct fli_magazines *magazines);

/* Puts a magazine onto the pile, with the pairs that it has. */
void fli_pile_put_magazine(struct fli_pile *pile, const struct fli_magazines *magazines,
                           struct fli_magazine *magazine);

/* Moves all of a pile to another, which is empty. */
void fli_pile_move(struct fli_pile *to, struct fli_pile *from);

/* Whether magazines can be given to the pool. */
static inline bool fli_pile_has_empties(const struct fli_pile *pile)
{
    return fli_load_own(&pile->empties.first) != 0;
}

/* Gives one such magazine to the pool. */
void fli_pile_give_empty(struct fli_pile *pile, struct fli_backing *backing, struct fli_pool_counters *counters);

/* Gives magazines that a pile does not need to the pool; all but one, if it `keeps` one. */
void fli_pile_give_empties(struct fli_pile *pile, struct fli_backing *backing, struct fli_pool_counters *counters,
                           bool keeps);

/* The linked object whose words a link leads to. Moves the link on to the object before. */
struct fli_dead_object fli_pile_behind(uintptr_t *link);

/* In the child of a fork, counts a pile anew: its owner may have been at work on it. Otherwise it does nothing. */
void fli_pile_recount(struct fli_pile *pile, const struct fli_magazines *magazines);

/* An empty magazine; NULL if memory is refused. Keeps errno. */
struct fli_magazine *fli_pile_obtain_empty(struct fli_thread *server);

#endif
