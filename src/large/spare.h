/* SPDX-License-Identifier: MIT
 *
 * Spare extents: their blocks are gone, and they are kept for the next ones, by their size, up to a bound.
 *
 *     kept bytes = bytes of the spare extents that have memory behind them <= bound + one extent, for a moment
 *
 * The bound begins low, so that a program that frees what it had is soon rid of it. It rises with each byte that is
 * mapped anew after as many have been given up for the bound's sake: those had better been kept. What lies here longest
 * is given up first. The caller serialises.
 */
#ifndef FLI_SPARE_H
#define FLI_SPARE_H

#include "large/extent.h"

/* Where the bound begins. */
#define FLI_SPARE_FIRST (FLI_RARE_PATHS ? 128 * FLI_KIB : 512 * FLI_KIB)

struct fli_spare {
    FLI_ATOMIC(size_t) kept; /* bytes; read without the lock as a hint, relaxed */
    size_t bound;
    size_t given_up;    /* bytes given up for the bound's sake and not mapped anew since */
    uint64_t filled[2]; /* a bit for each bin that is not empty */
    struct fli_link bins[FLI_EXTENT_BINS];
    struct fli_link by_age;
};

void fli_spare_init(struct fli_spare *spare);

/* Keeps an extent, whose size has a bin. */
void fli_spare_put(struct fli_spare *spare, struct fli_extent *extent);

/* Takes an extent out that suits a block of `size` bytes, with at most a quarter more than is mapped for such blocks.
 * Returns NULL if there is none. */
struct fli_extent *fli_spare_take(struct fli_spare *spare, size_t size);

/* Takes the extent out that has been here longest, as long as more than `kept` bytes are kept. Returns NULL if they are
 * not. */
struct fli_extent *fli_spare_take_oldest(struct fli_spare *spare, size_t kept);

/* An extent has been given up for the bound's sake. */
void fli_spare_note_given_up(struct fli_spare *spare, size_t bytes);

/* An extent has been mapped: the bound rises, to `most`, if one like it has been given up. */
void fli_spare_note_mapped(struct fli_spare *spare, size_t bytes, size_t most);

#endif
