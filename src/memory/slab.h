/* SPDX-License-Identifier: MIT
 *
 * Slabs: 64 KiB each, aligned, divided into blocks of one size class. Blocks have no header, and the library never
 * writes them. All that is known of a slab lies apart from it:
 *
 *     class      a byte: its size class, 0 if it has none           read without a lock, written under the slabs' lock
 *     record     a struct fli_slab, on a line of its own            see below
 *     free_bits  a bit per block: free, but in no magazine          as the record
 *     live_bits  a bit per block: the host has it (checked builds)  atomic (block.h)
 *     marks      two bits per block: deferred (mark.h)              the slabs' lock
 *     states     a word per block: who has it (hardened heaps)      atomic (state.h)
 *
 * The slabs of a heap lie in ranges of reserved address space (range.h), mostly in one. So one compare tells whether a
 * block is the heap's, and one shift gives the number of its slab. Slabs are numbered from 1; 0 is no slab. A slab is
 * in one of these states, and the lock in the last column guards its record:
 *
 *     at home    it has a class and belongs to a home                                  the home's lock (home.h)
 *     in hand    it has a class, all its blocks are free, and one thread has it        none
 *     retired    the same, and it waits to be made idle                                the trim lock (heap/retired.h)
 *     warm       it has no class and keeps its memory; it is taken first               the slabs' lock
 *     cold       it has no class and no memory: it was returned, or never used (idle.h) the slabs' lock
 *
 *     slabs committed = at home + in hand + retired + warm + cold
 *     0 <= free <= blocks, for each slab at home; free is the number of its bits
 *
 * When a slab begins, all its blocks are free: its bits are set. A page of it gets memory when a block there is first
 * touched. A block's class cannot change while a thread may hold the block, because a slab is retired only when all its
 * blocks are free. An exchange begins slabs (pool/exchange.h), and a trim retires them (heap/trim.h).
 */
#ifndef FLI_SLAB_H
#define FLI_SLAB_H

#include "base/atomic.h"
#include "memory/limit.h"
#include "base/lock.h"
#include "base/random.h"
#include "memory/range.h"
#include "memory/sizeclass.h"

#include <pthread.h>

enum {
    FLI_SLAB_BLOCKS_MAX = FLI_SLAB_BYTES / 16,
    FLI_SLAB_BIT_WORDS = FLI_SLAB_BLOCKS_MAX / 64, /* 64-bit words that hold a bit for each block of a slab */
    FLI_SLAB_RECORD_BYTES = 64,                    /* a cache line, so that no two homes write to the same one */
};

struct fli_home;

/* What is known of the idle slabs of a chunk (idle.h). A bit per slab. */
struct fli_chunk {
    uint32_t cold;
    uint32_t kept;    /* of these, the ones whose memory the OS did not take */
    uint32_t skipped; /* of the cold ones, those that were never in use */
    uint32_t warm;
    uint8_t kind;      /* enum fli_kind */
    uint8_t small;     /* 1: it has small pages, because slabs of it have been cold after use */
    uint8_t withdrawn; /* 1: all of it is cold, and address space alone */
};

/* Kinds of chunks (huge.h), and what is known of the cold slabs of each kind. */
enum fli_kind { FLI_DENSE, FLI_SPARSE, FLI_KINDS };

struct fli_cold {
    uint32_t count;
    uint32_t kept;    /* of them, those whose memory the OS did not take */
    uint32_t skipped; /* those that were never in use */
    uint32_t lowest;  /* no chunk of the kind before this one has cold slabs */
};

/* One slab. */
struct fli_slab {
    FLI_PLAIN(uint32_t) next, previous; /* on a list, see slab_list.h */
    /* Written under the locks of the old home and of the new one. While a thread holds the lock of the home that it
     * finds here, this does not change. */
    FLI_ATOMIC(struct fli_home *) home;
    FLI_PLAIN(uint16_t) blocks;   /* blocks it has room for */
    FLI_PLAIN(uint16_t) free;     /* of these, free in the bits */
    FLI_PLAIN(uint16_t) list;     /* on which list of its home it is, enum fli_home_list */
    FLI_PLAIN(uint16_t) moves_at; /* as soon as so many blocks are free, it belongs on another list */
    FLI_PLAIN(uint16_t) class_index;
    uint16_t marks; /* of its blocks; under the slabs' lock in every state */
    bool is_lone;   /* it was begun as the first of its class at a home; likewise */
} __attribute__((aligned(FLI_SLAB_RECORD_BYTES)));

/* A slab's record, its free bits and its live bits. For a cold slab, all of it may be zero. */
struct fli_row {
    struct fli_slab record;
    FLI_ATOMIC(uint64_t) free_bits[FLI_SLAB_BIT_WORDS];
    FLI_ATOMIC(uint64_t) live_bits[FLI_CHECKED ? FLI_SLAB_BIT_WORDS : 0];
};

/* What is known of all slabs of one class. */
struct fli_slab_class {
    size_t block_bytes;         /* from one block to the next: those of the class, except on a watched heap */
    uint32_t reciprocal;        /* ceil(2^32 / block_bytes): divides offsets within a slab */
    uint32_t blocks;            /* of a slab */
    FLI_ATOMIC(uint32_t) slabs; /* at home; written under the lock */
};

/* A pointer that was freed as a block of a class, but is none or was free already. Inline calls do not check. */
struct fli_stray {
    const void *block;
    const char *written; /* it is a block that was written, see stray.h; or NULL */
    size_t bytes;        /* of a block of the class, or of that block */
    uint8_t class_index;
    bool was_free;
    uint32_t others; /* strays found after it, when there was no room for more */
};

/* How many strays are kept until the host is told of them. */
enum { FLI_STRAYS_MOST = 16 };

/* Marks of deferred blocks, see mark.h. */
struct fli_marks {
    unsigned collecting; /* the row to which marks are added */
    size_t count[2];     /* bits set in each row, of all slabs */
};

struct fli_slabs {
    struct fli_ranges ranges;

    /* Constant once made. */
    struct fli_limit *limit;
    bool huge_pages;           /* are asked for (huge.h) */
    bool huge_at_once;         /* from the start, for the first chunk, too */
    bool small_pages;          /* are asked for everywhere */
    bool strict;               /* the OS counts memory that could be written: cold chunks are withdrawn */
    bool defers;               /* blocks can be deferred */
    bool watched;              /* by a tool that looks at memory: base/watch.h */
    bool hardened;             /* there is a state per block (state.h), and blocks are handed out in random order */
    uint8_t ready_parts;       /* of the first range (range.h) */
    struct fli_random_key key; /* of checksums, in a hardened heap */
    size_t stale_bytes;        /* bytes of a free block that stale readers may read */

    FLI_ATOMIC(bool) has_strays; /* written under the lock, seldom */

    FLI_ON_OWN_LINE struct fli_mutex lock; /* guards what follows */
    struct fli_marks marks;
    uint32_t committed; /* slabs that have been in use, or were skipped */
    uint32_t warm;      /* a list of the warm slabs */
    uint32_t warm_count;
    struct fli_cold cold[FLI_KINDS];   /* cold slabs of all chunks, by kind */
    uint32_t lone_count;               /* lone slabs, which have a class (huge.h) */
    bool has_grown;                    /* its sparse chunks became dense ones (huge.h) */
    FLI_ATOMIC(uint32_t) retired;      /* written under the lock */
    FLI_ATOMIC(uint64_t) begun;        /* how often an idle slab was given a class; likewise */
    uint64_t reused_bytes;             /* bytes of idle slabs that have been taken into use again */
    FLI_ATOMIC(uint64_t) ever_used[2]; /* a bit per class that has had a slab; written under the lock */
    struct fli_stray strays[FLI_STRAYS_MOST];
    unsigned stray_count;
    struct fli_slab_class by_class[FL_CLASS_COUNT];
};

/* Lays slabs out in `span` bytes at `base` (a multiple of 2 MiB) and their metadata right behind them. They may grow to
 * `most` bytes, in further ranges. Returns 0 or -ENOMEM. */
int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, size_t most, struct fli_limit *limit,
                   bool defers);
void fli_slabs_close(struct fli_slabs *slabs);

/* Takes an idle slab and gives it the class, with all its blocks free. The caller has it in hand, and takes it home.
 * `wanted` and `row` say where it would lie best (idle.h); `wanted` is 0 for the first slab of the class at a home. Returns
 * 0 if the limit or the OS refuses. Locks. */
uint32_t fli_slab_begin(struct fli_slabs *slabs, unsigned class_index, uint32_t wanted, uint32_t row);

/* Gives a slab in hand, whose blocks are all free, another class. Only without stale readers, who would find blocks
 * of the old one. Returns false, and changes nothing, if blocks of it are marked, as fli_slab_retire. Locks. */
bool fli_slab_begin_anew(struct fli_slabs *slabs, unsigned class_index, uint32_t slab);

/* Commits the memory of the next slab and of its metadata, and some ahead. Returns 0 or -ENOMEM. Under the lock. */
int fli_slab_commit(struct fli_slabs *slabs);

/* Bytes of address space reserved for slabs. Locks. */
size_t fli_slabs_reserved(struct fli_slabs *slabs);

/* The highest number of a slab that has ever been in use. Locks. */
uint32_t fli_slab_committed(struct fli_slabs *slabs);

/* Retires a slab in hand, whose blocks are all free. The caller owns the retired slab, and its class can still be
 * looked up until it is made idle. Returns false, and changes nothing, if blocks of it are marked (mark.h). Such blocks
 * have been freed twice, which shows when the marks are released. Locks. */
bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab);

/* Undoes fli_slab_retire: the slab is in hand, as if it had just begun. Locks. */
void fli_slab_unretire(struct fli_slabs *slabs, uint32_t slab);

/* Returns metadata pages that tell only of cold slabs to the OS. Returns the bytes returned. Locks. */
size_t fli_slab_trim_metadata(struct fli_slabs *slabs);

/* ---- Inline functions. */

/* The class of the slab that an address in a range lies in; 0 if it has none. */
static inline unsigned fli_slab_class_in(const struct fli_range *range, const void *address)
{
    /* Relaxed: a thread that holds a block learned of it after its slab got its class. The slab keeps the class
     * meanwhile. */
    return fli_load_relaxed(&range->classes[((uintptr_t)address - (uintptr_t)range->base) >> FLI_SLAB_SHIFT]);
}

/* The same of any address; 0 if it lies in no slab. */
static inline unsigned fli_slab_class_of(const struct fli_slabs *slabs, const void *address)
{
    const struct fli_range *range = fli_range_of(&slabs->ranges, address);
    return FLI_UNLIKELY(range == NULL) ? 0 : fli_slab_class_in(range, address);
}

/* The number of the slab that an address in a slab lies in. */
static inline uint32_t fli_slab_number(const struct fli_slabs *slabs, const void *block)
{
    const struct fli_range *range = fli_range_of(&slabs->ranges, block);
    return (uint32_t)(((uintptr_t)block - (uintptr_t)range->base) >> FLI_SLAB_SHIFT) + range->first;
}

static inline struct fli_row *fli_slab_row(const struct fli_slabs *slabs, uint32_t slab)
{
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    return &range->rows[slab - range->first];
}

/* The row of the slab that an address in a range lies in. */
static inline struct fli_row *fli_slab_row_in(const struct fli_range *range, const void *block)
{
    return &range->rows[((uintptr_t)block - (uintptr_t)range->base) >> FLI_SLAB_SHIFT];
}

/* The row of the slab that an address in a slab lies in. */
static inline struct fli_row *fli_slab_row_of(const struct fli_slabs *slabs, const void *block)
{
    return fli_slab_row_in(fli_range_of(&slabs->ranges, block), block);
}

static inline struct fli_slab *fli_slab_at(const struct fli_slabs *slabs, uint32_t slab)
{
    return &fli_slab_row(slabs, slab)->record;
}

/* The bits of a slab's free blocks. */
static inline FLI_ATOMIC(uint64_t) * fli_slab_free_bits(const struct fli_slabs *slabs, uint32_t slab)
{
    return fli_slab_row(slabs, slab)->free_bits;
}

static inline char *fli_slab_start(const struct fli_slabs *slabs, uint32_t slab)
{
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    return range->base + ((size_t)(slab - range->first) << FLI_SLAB_SHIFT);
}

/* Where the class of a slab stands. NULL if there is no slab with this number. */
static inline FLI_ATOMIC(uint8_t) * fli_slab_class_at(const struct fli_slabs *slabs, uint32_t slab)
{
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    return FLI_LIKELY(range != NULL) ? &range->classes[slab - range->first] : NULL;
}

/* The first class after this one that has had a slab, or FL_CLASS_COUNT: of the others there is no block. */
static inline unsigned fli_slabs_next_used(const struct fli_slabs *slabs, unsigned class_index)
{
    for (unsigned c = class_index + 1; c < FL_CLASS_COUNT; c = (c | 63) + 1) {
        uint64_t used = fli_load_hint(&slabs->ever_used[c / 64]) >> c % 64;
        if (used != 0)
            return c + (unsigned)__builtin_ctzll(used);
    }
    return FL_CLASS_COUNT;
}

/* Repeats a statement for each class that has had a slab. */
#define FLI_FOR_USED_CLASSES(c, slabs)                                                                               \
    for (unsigned c = fli_slabs_next_used((slabs), 0); c < FL_CLASS_COUNT; c = fli_slabs_next_used((slabs), c))

/* Words in which a slab of so many blocks has bits. */
static inline unsigned fli_slab_words(unsigned blocks)
{
    return (blocks + 63) / 64;
}

/* Which block of its slab an address lies in. */
static inline uint32_t fli_slab_block_index(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t within = (uint32_t)(uintptr_t)block & (FLI_SLAB_BYTES - 1);
    return (uint32_t)(((uint64_t)within * slabs->by_class[class_index].reciprocal) >> 32);
}

#endif
