/* SPDX-License-Identifier: MIT
 *
 * Which live blocks a profile has sampled: a table by address. Nearly every free finds out without a lock that its block
 * is none of them.
 *
 *     heads    ┌───┬───┬───┬───┬──
 *              │ 0 │ ─ │ 0 │ 0 │ ..     one for addresses near each other, so that frees read few lines
 *              └───┴─│─┴───┴───┴──
 *                    └─> block, site ─> block, site
 *
 * The profile's lock guards the table. fli_sampled_may_have reads one head without it, as a hint that is never wrong
 * where it says no. A thread that frees a block got it, by whatever the host orders threads with, from the thread that
 * allocated it, which had entered it before. Since then that head has not been NULL, so this thread can read no older
 * NULL. The model check runs sampled.c (tests/model/model_sampled.cpp).
 */
#ifndef FLI_SAMPLED_H
#define FLI_SAMPLED_H

#include "base/arena.h"
#include "base/atomic.h"

struct fli_site;

enum { FLI_SAMPLED_HEADS = FLI_RARE_PATHS ? 16 : 65536 };

/* A sampled block. */
struct fli_sample {
    FLI_PLAIN(const void *) block;
    FLI_PLAIN(struct fli_site *) site;   /* where it was allocated */
    FLI_PLAIN(struct fli_sample *) next; /* with the same head, or unused */
};

struct fli_sampled {
    FLI_PLAIN(size_t) count;
    FLI_PLAIN(struct fli_sample *) unused;
    struct fli_arena arena;
    FLI_ATOMIC(struct fli_sample *) heads[FLI_SAMPLED_HEADS];
};

/* Where in the table a block is. An address above the lowest 7 bits counts, and above 8 MiB is scattered. */
static inline size_t fli_sampled_head(const void *block)
{
    uint64_t address = (uint64_t)(uintptr_t)block;
    return ((address >> 7) + (address >> 23) * 0x9e3779b1u) % FLI_SAMPLED_HEADS;
}

/* Whether the block, which is live, may have been sampled. Any thread that may free it, without a lock. */
static inline bool fli_sampled_may_have(struct fli_sampled *sampled, const void *block)
{
    return fli_load_hint(&sampled->heads[fli_sampled_head(block)]) != NULL;
}

/* Enters a block that is not entered, with the site where it was allocated. Returns false if memory is refused. */
bool fli_sampled_enter(struct fli_sampled *sampled, const void *block, struct fli_site *site);

/* Removes a block. Returns its site, or NULL if it was not entered. */
struct fli_site *fli_sampled_remove(struct fli_sampled *sampled, const void *block);

/* Removes all blocks. */
void fli_sampled_clear(struct fli_sampled *sampled);

#endif
