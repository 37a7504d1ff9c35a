/* SPDX-License-Identifier: MIT
 *
 * Extents: separate mappings from the OS, each for one large block. large.c and supply.c call these functions for
 * extents that they have in hand.
 *
 *     start   start + offset               offset + size          start + mapped
 *       v        v                                v                       v
 *       +--------+--------------------------------+-----------------------+
 *       | unused | the block                      | unused, rarely touched|
 *       +--------+--------------------------------+-----------------------+
 *
 *     0 <= offset + size <= mapped        size = 0: there is no live block
 *
 * If all blocks began at pages, the first words of all pages of all blocks would compete for the same few lines of a
 * cache. So each extent has a colour, which says how far behind its start a block begins (Bonwick, The Slab Allocator,
 * 1994). The offset is less than a page, so a block's page tells its extent. It is a multiple of FLI_EXTENT_ALIGNMENT, to
 * which all large blocks are aligned. It is 0 for blocks of hardened heaps, for those that are to be aligned to more, and
 * for those too large to be kept.
 *
 * `mapped` is one of eight sizes to each doubling, like the sizes of blocks in slabs. So an extent can serve blocks of
 * different sizes one after another, and a block that grows a little can stay in it.
 *
 * Under AddressSanitizer only the block can be touched. In a hardened heap a page before the extent and one behind it
 * cannot be touched. Such an extent moves when its size changes.
 *
 * The record of an extent (struct fli_extent) outlives its memory, serves other extents later, and is freed with its
 * heap. So a thread that finds a record by the address of a block may read it without a lock.
 */
#ifndef FLI_EXTENT_H
#define FLI_EXTENT_H

#include "base/atomic.h"
#include "base/base.h"
#include "base/list.h"
#include "base/sanitizer.h"
#include "memory/limit.h"

/* Sizes of extents; the smallest step between two is a page. Extents of up to 2^KEPT_LOG2 bytes may be kept for another
 * block, and BINS is how many such sizes there are. */
enum {
    FLI_EXTENT_FIRST_LOG2 = 15,
    FLI_EXTENT_STEPS_LOG2 = 3,
    FLI_EXTENT_KEPT_LOG2 = 25,
    FLI_EXTENT_BINS = (FLI_EXTENT_KEPT_LOG2 - FLI_EXTENT_FIRST_LOG2) << FLI_EXTENT_STEPS_LOG2
};

/* Offsets of blocks: multiples of FLI_EXTENT_ALIGNMENT, less than a page. A block below FLI_EXTENT_WIDE bytes takes no
 * further page for its offset. A larger one may take one more, which is little beside it. */
enum {
    FLI_EXTENT_PAGE = 4096,
    FLI_EXTENT_COLOURS = 16,
    FLI_EXTENT_ALIGNMENT = FLI_EXTENT_PAGE / FLI_EXTENT_COLOURS,
    FLI_EXTENT_WIDE = 128 << 10
};

enum fli_extent_state {
    FLI_EXTENT_OUT,      /* on no list: a thread has it in hand, it has a live block, or it is in a tray (tray.h) */
    FLI_EXTENT_UNUSED,   /* it has no memory */
    FLI_EXTENT_DEFERRED, /* its block waits for a grace period */
    FLI_EXTENT_SPARE     /* it is kept for another block (spare.h) */
};

/* Set in the size of an extent whose block is deferred. */
#define FLI_EXTENT_IS_DEFERRED ((size_t)1 << (8 * sizeof(size_t) - 1))

/* An extent belongs to the thread that has it in hand, or to the lock of the list that it is on. From a live block a
 * thread takes it in hand by a compare-and-swap of `size`, so of two that free a block one succeeds. Any thread may
 * read the size: while its owner asks about a block, that does not change. */
struct fli_extent {
    FLI_ATOMIC(size_t) size;     /* of the live or deferred block; 0: there is none */
    FLI_ATOMIC(unsigned) shard;  /* where it is counted (large.h) */
    FLI_ATOMIC(uint16_t) offset; /* of the live block, or of the last one */
    enum fli_extent_state state;
    uintptr_t hidden_start; /* the complement: a leak checker does not take it for the host's pointer */
    size_t mapped;
    unsigned bin;   /* which of the sizes that is */
    size_t charged; /* what it takes of the heap's limit: the size of its block, or of the last one */
    bool cold;      /* it is spare, and the OS has its memory back */
    bool guarded;   /* a page lies before its memory, and one behind, that nobody can touch */
    uint8_t colour;
    uint32_t checksum;      /* hardened heaps: of the block that was freed last */
    size_t freed_size;      /* the size of that block; 0: there is none */
    struct fli_link link;   /* on a list: of its bin, of unused extents or of deferred ones */
    struct fli_link by_age; /* on the list of spare extents, by age */
    struct fli_extent *next_made;
};

static inline char *fli_extent_start(const struct fli_extent *extent)
{
    return (char *)~extent->hidden_start;
}

static inline void fli_extent_set_start(struct fli_extent *extent, char *start)
{
    extent->hidden_start = ~(uintptr_t)start;
}

/* Where the extent's live block begins. */
static inline char *fli_extent_block(const struct fli_extent *extent)
{
    return fli_extent_start(extent) + fli_load_own(&extent->offset);
}

/* The size of the extent's live block, 0 if it has none. */
static inline size_t fli_extent_live_size(const struct fli_extent *extent)
{
    size_t size = fli_load_hint(&extent->size); /* a hint: see struct fli_extent */
    return (size & FLI_EXTENT_IS_DEFERRED) == 0 ? size : 0;
}

/* The bytes that are mapped for a block of `size` bytes, at least 1 and at most PTRDIFF_MAX. */
size_t fli_extent_bytes(size_t size);

/* The logarithm of the largest power of two below the size, but at least FLI_EXTENT_FIRST_LOG2. */
static inline unsigned fli_extent_log2(size_t size)
{
    if (size <= (size_t)1 << FLI_EXTENT_FIRST_LOG2)
        return FLI_EXTENT_FIRST_LOG2;
    return 63u - (unsigned)__builtin_clzll(size - 1);
}

/* Which of the FLI_EXTENT_BINS sizes a block of `size` bytes needs; FLI_EXTENT_BINS if it is larger than all of
 * them. */
static inline unsigned fli_extent_bin(size_t size)
{
    unsigned log2 = fli_extent_log2(size);
    if (log2 >= FLI_EXTENT_KEPT_LOG2)
        return FLI_EXTENT_BINS;
    unsigned step = (unsigned)((size - 1) >> (log2 - FLI_EXTENT_STEPS_LOG2)) & ((1u << FLI_EXTENT_STEPS_LOG2) - 1);
    return ((log2 - FLI_EXTENT_FIRST_LOG2) << FLI_EXTENT_STEPS_LOG2) + step;
}

/* The largest offset that a block of `size` bytes may have. */
static inline size_t fli_extent_play(size_t size)
{
    if (size < FLI_EXTENT_WIDE)
        return -size % FLI_EXTENT_PAGE;
    return size <= (size_t)1 << FLI_EXTENT_KEPT_LOG2 ? FLI_EXTENT_PAGE - FLI_EXTENT_ALIGNMENT : 0;
}

/* The offset that the extent's colour stands for, where `play` is the largest. */
static inline uint16_t fli_extent_offset(const struct fli_extent *extent, size_t play)
{
    size_t choices = play / FLI_EXTENT_ALIGNMENT + 1;
    return (uint16_t)(choices * extent->colour / FLI_EXTENT_COLOURS * FLI_EXTENT_ALIGNMENT);
}

/* The bytes of memory that it has: none if it is cold. */
static inline size_t fli_extent_memory(const struct fli_extent *extent)
{
    return extent->cold ? 0 : extent->mapped;
}

/* Maps memory for a block of `size` bytes. Returns false if the OS refuses. */
bool fli_extent_map(struct fli_extent *extent, size_t size);

/* Unmaps the memory of an extent. Returns false if the OS refuses: it stays mapped, and is cold if the OS took its
 * pages. */
bool fli_extent_unmap(struct fli_extent *extent);

/* Maps memory to which an extent can move. NULL if the OS refuses. */
char *fli_extent_map_target(const struct fli_extent *extent, size_t mapped);
bool fli_extent_unmap_target(const struct fli_extent *extent, char *target, size_t mapped);

/* Makes the extent shorter or longer in place. Returns false, and changes nothing, if the OS refuses. */
bool fli_extent_resize(struct fli_extent *extent, size_t mapped);

/* Moves the extent to `target`, a mapping of `mapped` bytes. Returns false if the OS refuses: the extent stays where it
 * was. */
bool fli_extent_move(struct fli_extent *extent, char *target, size_t mapped);

/* Tells tools that look at memory (base/sanitizer.h) that `size` bytes from the offset on are a block; 0: there is no
 * block. */
FLI_COLD void fli_extent_show(const struct fli_extent *extent, size_t size);

#endif
