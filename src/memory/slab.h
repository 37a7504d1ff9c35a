/* SPDX-License-Identifier: MIT
 *
 * Slabs: 64 KiB each, aligned, divided into blocks of one size class. Blocks have no header, and the library never
 * writes them. All that is known of a slab lies apart from it:
 *
 *     classes    a byte per slab: its size class, 0 if it has none  read without a lock, written under the slabs' lock
 *     records    a struct fli_slab each, on a line of its own       see below
 *     free_bits  a bit per block: free, but in no magazine          as the record
 *     marks      two bits per block: deferred (mark.h)              the slabs' lock
 *     live_bits  a bit per block: the host has it (checked builds)  atomic (block.h)
 *
 * The slabs of a heap lie in one reserved address range. So one compare tells whether a block is the heap's, and one
 * shift gives the number of its slab. Slabs are numbered from 1; 0 is no slab. A slab is in one of these states, and
 * the lock in the last column guards its record:
 *
 *     at home    it has a class and belongs to a home                                  the home's lock (home.h)
 *     in hand    it has a class, all its blocks are free, and one thread has it        none
 *     retired    the same, and it waits to be made idle                                the trim lock (heap/retired.h)
 *     warm       it has no class and keeps its memory; it is taken first               the slabs' lock
 *     cold       it has no class, and its memory was returned to the OS (idle.h)       the slabs' lock
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
#include "base/os.h"
#include "memory/sizeclass.h"

#include <pthread.h>

enum {
    FLI_SLAB_SHIFT = 16,
    FLI_SLAB_BYTES = 1 << FLI_SLAB_SHIFT,
    FLI_SLAB_BLOCKS_MAX = FLI_SLAB_BYTES / 16,
    FLI_SLAB_BIT_WORDS = FLI_SLAB_BLOCKS_MAX / 64, /* 64-bit words that hold a bit for each block of a slab */
    FLI_SLAB_RECORD_BYTES = 64,                    /* a cache line, so that no two homes write to the same one */
};

struct fli_home;

/* What is known of the idle slabs of a chunk (idle.h). A bit per slab. */
struct fli_chunk {
    uint32_t cold;
    uint32_t kept;  /* of these, the ones whose memory the OS did not take */
    uint32_t small; /* 1: it has small pages */
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
} __attribute__((aligned(FLI_SLAB_RECORD_BYTES)));

/* What is known of all slabs of one class. */
struct fli_slab_class {
    size_t block_bytes;
    uint32_t reciprocal;        /* ceil(2^32 / block_bytes): divides offsets within a slab */
    uint32_t blocks;            /* of a slab */
    FLI_ATOMIC(uint32_t) slabs; /* at home; written under the lock */
};

/* A pointer that was freed as a block of a class, but is none or was free already. Inline calls do not check. */
struct fli_stray {
    const void *block;
    uint8_t class_index;
    bool was_free;
    uint32_t others; /* strays found after it, when there was no room for more */
};

/* How many strays are kept until the host is told of them. */
enum { FLI_STRAYS_MOST = 16 };

/* Parts of the heap's mapping that grow with its slabs. */
enum fli_slab_part {
    FLI_SLAB_MEMORY,
    FLI_SLAB_CLASSES,
    FLI_SLAB_RECORDS,
    FLI_SLAB_FREE_BITS,
    FLI_SLAB_MARKS,
    FLI_SLAB_LIVE_BITS,
    FLI_SLAB_CHUNKS,
    FLI_SLAB_PARTS
};

/* Marks of deferred blocks, see mark.h. */
struct fli_marks {
    uint64_t *bits;      /* two rows a slab, one behind the other */
    unsigned collecting; /* the row to which marks are added */
    size_t count[2];     /* bits set in each row, of all slabs */
};

struct fli_slabs {
    /* Constant once made. */
    char *base;
    size_t span; /* bytes of reserved address space */
    FLI_ATOMIC(uint8_t) * classes;
    struct fli_slab *records;         /* records[0] is no slab's */
    FLI_ATOMIC(uint64_t) * free_bits; /* the same */
    FLI_ATOMIC(uint64_t) * live_bits; /* the same */
    struct fli_chunk *chunks;         /* see idle.h; under the lock */
    struct fli_limit *limit;
    bool huge_pages;    /* are asked for */
    bool defers;        /* blocks can be deferred */
    size_t stale_bytes; /* bytes of a free block that stale readers may read */

    FLI_ATOMIC(bool) has_strays; /* written under the lock, seldom */

    FLI_ON_OWN_LINE struct fli_mutex lock; /* guards what follows */
    struct fli_region parts[FLI_SLAB_PARTS];
    struct fli_marks marks;
    uint32_t committed; /* slabs that have been in use */
    uint32_t warm;      /* a list of the warm slabs */
    uint32_t warm_count;
    uint32_t cold_count; /* cold slabs, and of these the kept ones, of all chunks */
    uint32_t kept_count;
    uint32_t lowest_cold;              /* no chunk before this one has cold slabs */
    FLI_ATOMIC(uint32_t) retired;      /* written under the lock */
    uint64_t reused_bytes;             /* bytes of idle slabs that have been taken into use again */
    FLI_ATOMIC(uint64_t) ever_used[2]; /* a bit per class that has had a slab; written under the lock */
    struct fli_stray strays[FLI_STRAYS_MOST];
    unsigned stray_count;
    struct fli_slab_class by_class[FL_CLASS_COUNT];
};

/* Bytes of address space for the metadata of `span` bytes of slabs. */
size_t fli_slabs_metadata_bytes(size_t span);

/* Lays slabs out in `span` bytes at `base` (a multiple of 2 MiB) and their metadata right behind them. Returns 0 or
 * -ENOMEM. */
int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit, bool defers);
void fli_slabs_close(struct fli_slabs *slabs);

/* Takes an idle slab and gives it the class, with all its blocks free. The caller has it in hand, and takes it home.
 * Returns 0 if the limit or the OS refuses. Locks. */
uint32_t fli_slab_begin(struct fli_slabs *slabs, unsigned class_index);

/* Commits the memory of the next slab and of its metadata, and some ahead. Returns 0 or -ENOMEM. Under the lock. */
int fli_slab_commit(struct fli_slabs *slabs);

/* The highest number of a slab that has ever been in use. Locks. */
uint32_t fli_slab_committed(struct fli_slabs *slabs);

/* Retires a slab in hand, whose blocks are all free. The caller owns the retired slab, and its class can still be
 * looked up until it is made idle. Returns false, and changes nothing, if blocks of it are marked (mark.h). Such blocks
 * have been freed twice, which shows when the marks are released. Locks. */
bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab);

/* Undoes fli_slab_retire: the slab is in hand, as if it had just begun. Locks. */
void fli_slab_unretire(struct fli_slabs *slabs, uint32_t slab);

/* Returns metadata pages that are all zero to the OS. Returns the bytes returned. Locks. */
size_t fli_slab_trim_metadata(struct fli_slabs *slabs);

/* ---- Inline functions. */

static inline size_t fli_slab_offset(const struct fli_slabs *slabs, const void *block)
{
    return (size_t)((uintptr_t)block - (uintptr_t)slabs->base);
}

/* The class of the slab that an address lies in; 0 if in none. */
static inline unsigned fli_slab_class_of(const struct fli_slabs *slabs, const void *address)
{
    size_t offset = fli_slab_offset(slabs, address);
    if (offset >= slabs->span)
        return 0;
    /* Relaxed: a thread that holds a block learned of it after its slab got its class. The slab keeps the class
     * meanwhile. */
    return fli_load_relaxed(&slabs->classes[offset >> FLI_SLAB_SHIFT]);
}

/* The number of the slab that an address within the span lies in. */
static inline uint32_t fli_slab_number(const struct fli_slabs *slabs, const void *block)
{
    return (uint32_t)(fli_slab_offset(slabs, block) >> FLI_SLAB_SHIFT) + 1;
}

static inline struct fli_slab *fli_slab_at(const struct fli_slabs *slabs, uint32_t slab)
{
    return &slabs->records[slab];
}

static inline char *fli_slab_start(const struct fli_slabs *slabs, uint32_t slab)
{
    return slabs->base + ((size_t)(slab - 1) << FLI_SLAB_SHIFT);
}

/* The bits of a slab's free blocks. */
static inline FLI_ATOMIC(uint64_t) * fli_slab_free_bits(const struct fli_slabs *slabs, uint32_t slab)
{
    return slabs->free_bits + (size_t)slab * FLI_SLAB_BIT_WORDS;
}

/* Words in which a slab of so many blocks has bits. */
static inline unsigned fli_slab_words(unsigned blocks)
{
    return (blocks + 63) / 64;
}

/* Which block of its slab an address lies in. */
static inline uint32_t fli_slab_block_index(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t within = (uint32_t)fli_slab_offset(slabs, block) & (FLI_SLAB_BYTES - 1);
    return (uint32_t)(((uint64_t)within * slabs->by_class[class_index].reciprocal) >> 32);
}

#endif
