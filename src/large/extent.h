/* SPDX-License-Identifier: MIT
 *
 * Extents: each is memory of its own from the OS, for one large block.
 *
 *     start                        start + size            start + mapped
 *       v                                v                       v
 *       +--------------------------------+-----------------------+
 *       | the block                      | unused, rarely touched|
 *       +--------------------------------+-----------------------+
 *
 * `mapped` is one of eight sizes to each doubling, as blocks of slabs have: an extent that a block leaves serves blocks
 * of some other sizes too, and a block that grows a little grows inside of it.
 *
 * Under AddressSanitizer only the block can be touched, and nothing while there is none.
 *
 * The record of an extent outlives its memory and is used again for another; it is freed with its heap. So whoever
 * finds one by the address of a block may read it without a lock.
 */
#ifndef FLI_EXTENT_H
#define FLI_EXTENT_H

#include "base/atomic.h"
#include "base/base.h"
#include "base/limit.h"
#include "base/ring.h"

/* Sizes of extents: the smallest step between two is a page. Extents up to 2 to the power of KEPT_LOG2 bytes may be kept
 * for another block; there are so many sizes of these. */
enum {
    FLI_EXTENT_FIRST_LOG2 = 15,
    FLI_EXTENT_STEPS_LOG2 = 3,
    FLI_EXTENT_KEPT_LOG2 = 25,
    FLI_EXTENT_BINS = (FLI_EXTENT_KEPT_LOG2 - FLI_EXTENT_FIRST_LOG2) << FLI_EXTENT_STEPS_LOG2
};

enum fli_extent_state {
    FLI_EXTENT_IN_HAND, /* of a thread that maps, unmaps or moves it */
    FLI_EXTENT_UNUSED,  /* it has no memory */
    FLI_EXTENT_LIVE,
    FLI_EXTENT_DEFERRED, /* its block waits for a grace period */
    FLI_EXTENT_SPARE     /* it is kept for another block (spare.h) */
};

/* Atomics are read without a lock, and are relaxed: the numbers of a block that its owner asks about do not change
 * meanwhile. All is guarded by the lock of the shard. */
struct fli_extent {
    FLI_ATOMIC(size_t) size;    /* of the live block; 0: there is none */
    FLI_ATOMIC(unsigned) shard; /* where it is counted (large.h) */
    enum fli_extent_state state;
    char *start;
    size_t mapped;
    unsigned bin;           /* which size that is */
    size_t charged;         /* what it takes of the heap's limit: the size of its block, or of the last one */
    bool cold;              /* spare, without memory behind its addresses */
    struct fli_link link;   /* its bin, or the unused ones, or those deferred */
    struct fli_link by_age; /* of those spare */
    struct fli_extent *next_made;
};

/* The bytes that are mapped for a block of `size` bytes, at least 1 and at most PTRDIFF_MAX. */
size_t fli_extent_bytes(size_t size);

/* The largest power of two below the size, but at least the first one: its logarithm. */
static inline unsigned fli_extent_log2(size_t size)
{
    if (size <= (size_t)1 << FLI_EXTENT_FIRST_LOG2)
        return FLI_EXTENT_FIRST_LOG2;
    return 63u - (unsigned)__builtin_clzll(size - 1);
}

/* Which of the FLI_EXTENT_BINS sizes that is; FLI_EXTENT_BINS if it is larger than all of them. */
static inline unsigned fli_extent_bin(size_t size)
{
    unsigned log2 = fli_extent_log2(size);
    if (log2 >= FLI_EXTENT_KEPT_LOG2)
        return FLI_EXTENT_BINS;
    unsigned step = (unsigned)((size - 1) >> (log2 - FLI_EXTENT_STEPS_LOG2)) & ((1u << FLI_EXTENT_STEPS_LOG2) - 1);
    return ((log2 - FLI_EXTENT_FIRST_LOG2) << FLI_EXTENT_STEPS_LOG2) + step;
}

/* Maps memory for a block of `size` bytes. Returns false if the system refuses. */
bool fli_extent_map(struct fli_extent *extent, size_t size);

/* Unmaps it. Returns false if the system refuses: then it stays mapped, and is cold if the pages went back at least. */
bool fli_extent_unmap(struct fli_extent *extent);

/* Makes the extent shorter or longer in place. Returns false, and changes nothing, if that cannot be. */
bool fli_extent_resize(struct fli_extent *extent, size_t mapped);

/* Moves it to memory that has been mapped with `mapped` bytes. Returns false if that cannot be: then it is where it
 * was. */
bool fli_extent_move(struct fli_extent *extent, char *target, size_t mapped);

/* The first `size` bytes are a block, 0: there is none. */
void fli_extent_show(struct fli_extent *extent, size_t size);

#endif
