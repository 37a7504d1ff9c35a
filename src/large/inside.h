/* SPDX-License-Identifier: MIT
 *
 * A table that tells which live large block an address lies in, for a heap walk. No other thread works on large blocks
 * while it is made and used.
 *
 * The table hashes pieces of the address space. A block of 2^k bytes or more, but less than 2^(k+1), is entered once
 * for each piece of 2^k bytes that it touches. There are at most three. To find the block around an address, the table
 * is searched for the piece of each such size that a block has. There are at most 48 of these sizes, and mostly a few,
 * so the search takes constant time, however large or many the blocks are.
 *
 *     a block of 20 pages      [...................]
 *     pieces of 16 pages    |               |               |      it is entered for both
 */
#ifndef FLI_INSIDE_H
#define FLI_INSIDE_H

#include "large/large.h"

struct fli_inside {
    const struct fli_extent **slots; /* a power of two; at most half of them are in use */
    unsigned shift;                  /* 64 minus its logarithm */
    uint64_t sizes;                  /* bit k: a block has 2^k bytes or more, but less than 2^(k+1) */
};

/* How many slots a table of all live blocks takes, at least two. */
size_t fli_inside_slots(struct fli_large *large);

/* Makes the table in so many slots, all of them NULL. */
void fli_inside_make(struct fli_inside *inside, struct fli_large *large, const struct fli_extent **slots,
                     size_t count);

/* The extent in whose live block the address lies, or NULL. */
const struct fli_extent *fli_inside_find(const struct fli_inside *inside, const void *address);

#endif
