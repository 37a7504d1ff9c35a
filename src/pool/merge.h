/* SPDX-License-Identifier: MIT
 *
 * Merging: the blocks of magazines that are at most half full are put together, class by class. Those that are fuller
 * are passed on as they are. No magazine that is passed on is empty, and of each class at most one is small; what becomes
 * empty goes to the pool.
 *
 * Whoever merges owns the magazines, and holds the lock that guards the counters.
 */
#ifndef FLI_MERGE_H
#define FLI_MERGE_H

#include "pool/owner.h"

struct fli_merge {
    struct fli_backing *backing;
    struct fli_stack *stack; /* where magazines go; NULL: to those of the pool, by class */
    struct fli_pool_counters *counters;
    size_t passed; /* magazines passed on */
    struct fli_class_set has_partial;
    struct fli_magazine *partial[FL_CLASS_COUNT]; /* of these classes, one magazine that is small */
};

/* Whether a magazine with so many blocks is small. */
static inline bool fli_merge_is_small(size_t blocks, unsigned capacity)
{
    return blocks <= capacity / 2;
}

void fli_merge_begin(struct fli_merge *merge, struct fli_backing *backing, struct fli_stack *stack,
                     struct fli_pool_counters *counters);

/* Passes a magazine on, which says its class, or keeps it until others of its class have come. It may be empty. */
void fli_merge_put(struct fli_merge *merge, struct fli_magazine *magazine);

/* Passes on what is left. */
void fli_merge_end(struct fli_merge *merge);

#endif
