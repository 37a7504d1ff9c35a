/* SPDX-License-Identifier: MIT
 *
 * Chains: lists of magazines, linked through `next`. A chain belongs to one thread at a time, or a lock guards it.
 * Other threads may read how many blocks it has, as a number of a moment ago: F1, F2 and F3 let them find the magazine
 * that is the first, and its `below`. All else is relaxed.
 *
 *     below of a magazine in a chain = its count (1 if it is empty) + below of the one behind it
 *
 * The pool's stacks (pool.h) have the same links: what was on a stack becomes a chain without a change.
 */
#ifndef FLI_CHAIN_H
#define FLI_CHAIN_H

#include "memory/magazine.h"

struct fli_chain {
    FLI_ATOMIC(uint32_t) first; /* index of its first magazine; 0: it has none */
};

/* Makes a chain of the magazine with this index and those behind it. */
static inline void fli_chain_begin(struct fli_chain *chain, uint32_t first)
{
    /* F1: release, pairs with F4 in fli_chain_blocks: the magazine, and its `below`. */
    fli_store_release(&chain->first, first);
}

/* Empties a chain. Returns the index of the magazine that was its first, 0 if there was none. */
static inline uint32_t fli_chain_end(struct fli_chain *chain)
{
    uint32_t first = fli_load_relaxed(&chain->first);
    fli_store_relaxed(&chain->first, 0);
    return first;
}

/* A chain's first magazine, or NULL. */
static inline struct fli_magazine *fli_chain_first(struct fli_chain *chain, const struct fli_magazines *magazines)
{
    uint32_t first = fli_load_relaxed(&chain->first);
    return first != 0 ? fli_magazine_at(magazines, first) : NULL;
}

/* The one behind a magazine, or NULL. */
static inline struct fli_magazine *fli_chain_behind(struct fli_magazine *magazine,
                                                    const struct fli_magazines *magazines)
{
    uint32_t next = fli_load_relaxed(&magazine->next);
    return next != 0 ? fli_magazine_at(magazines, next) : NULL;
}

/* How many blocks a chain has; an empty magazine counts as one. Any thread. */
static inline uint64_t fli_chain_blocks(struct fli_chain *chain, const struct fli_magazines *magazines)
{
    /* F4: acquire, pairs with F1 in fli_chain_begin, F2 in fli_chain_put and F3 in fli_chain_take. */
    uint32_t first = fli_load_acquire(&chain->first);
    return first != 0 ? fli_load_relaxed(&fli_magazine_at(magazines, first)->below) : 0;
}

/* Adds a magazine, whose count is set, to a chain, as its first. */
static inline void fli_chain_put(struct fli_chain *chain, const struct fli_magazines *magazines,
                                 struct fli_magazine *magazine)
{
    fli_store_relaxed(&magazine->below, fli_magazine_weight(magazine) + fli_chain_blocks(chain, magazines));
    fli_store_relaxed(&magazine->next, fli_load_relaxed(&chain->first));
    /* F2: release, pairs with F4 in fli_chain_blocks: the magazine, and its `below`. */
    fli_store_release(&chain->first, fli_magazine_index(magazines, magazine));
}

/* Removes a chain's first magazine and returns it, or NULL. */
static inline struct fli_magazine *fli_chain_take(struct fli_chain *chain, const struct fli_magazines *magazines)
{
    struct fli_magazine *first = fli_chain_first(chain, magazines);
    /* F3: release, pairs with F4 in fli_chain_blocks: as F2, of a magazine that another thread may have put. */
    if (first != NULL)
        fli_store_release(&chain->first, fli_load_relaxed(&first->next));
    return first;
}

#endif
