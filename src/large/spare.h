/* SPDX-License-Identifier: MIT
 *
 * Spare extents: they have no block and are kept for later blocks, by size, up to a bound.
 *
 *     kept = bytes of the spare extents here that have memory
 *     kept + room granted in trays (tray.h) <= bound + one extent, for a moment
 *
 * The bound begins low, so that a program that frees its large blocks soon returns their memory to the OS. If bytes are
 * mapped anew that were given up because of the bound, keeping them would have been better: the bound rises by them.
 * The extent that was kept longest is given up first. Each shard (large.h) has such extents, which its lock
 * guards.
 */
#ifndef FLI_SPARE_H
#define FLI_SPARE_H

#include "large/extent.h"

/* Where the bound begins. */
#define FLI_SPARE_FIRST (FLI_RARE_PATHS ? 128 * FLI_KIB : 512 * FLI_KIB)

/* A block takes an extent from at most so many bins above its own. Two of eight steps to a doubling are at most a
 * quarter more. */
enum { FLI_SPARE_BINS_ABOVE = 2 };

struct fli_spare {
    FLI_ATOMIC(size_t) kept; /* bytes; read without the lock as a hint, relaxed */
    size_t bound;
    size_t given_up;                           /* bytes given up because of the bound and not mapped anew since */
    uint64_t filled[2];                        /* a bit for each bin that is not empty */
    struct fli_link bins[FLI_EXTENT_BINS + 1]; /* the last one is of those too large to be used again */
    struct fli_link by_age;
};

void fli_spare_init(struct fli_spare *spare);

/* Keeps an extent in hand. One whose size has no bin can only be given up later. */
void fli_spare_put(struct fli_spare *spare, struct fli_extent *extent);

/* Takes an extent for a block of `size` bytes, at most a quarter larger than a new extent for it. Returns NULL if there
 * is none. */
struct fli_extent *fli_spare_take(struct fli_spare *spare, size_t size);

/* Takes the extent that was kept longest, if more than `kept` bytes are kept. Otherwise returns NULL. */
struct fli_extent *fli_spare_take_oldest(struct fli_spare *spare, size_t kept);

/* Notes that an extent was given up because of the bound. */
void fli_spare_note_given_up(struct fli_spare *spare, size_t bytes);

/* Notes that an extent was mapped. The bound rises by as many of its bytes as were given up before, at most to
 * `most`. */
void fli_spare_note_mapped(struct fli_spare *spare, size_t bytes, size_t most);

#endif
