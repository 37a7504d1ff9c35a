/* SPDX-License-Identifier: MIT
 *
 * Slabs: 64 KiB each, aligned, cut into blocks of one size class. The blocks carry no header and are never written by
 * the library; all that is known of a slab lies apart from it:
 *
 *     classes      a byte per slab: its size class, 0 if it has none    read without a lock, written under the slabs' lock
 *     records      a struct fli_slab each, on a line of its own         see below
 *     free_bits    a bit per block: free, but in no magazine            as the record
 *     marks        two bits per block: deferred (mark.h)                the slabs' lock
 *     live_bits    a bit per block: the host has it (checked builds)    atomic (block.h)
 *
 * The slabs of a heap lie in one reserved address range, so ownership of a block is one compare and the number of
 * its slab one shift. Slabs are numbered from 1; 0 is no slab. A slab is in one of these states, each with a lock that
 * guards its record:
 *
 *     at home    it has a class and belongs to a home                                      the home's lock (home.h)
 *     in hand    it has a class, all its blocks are free, and it is one thread's           none
 *     retired    likewise, and it waits to be made idle                                    the trim lock (heap/retired.h)
 *     warm       it has no class, but its memory: the next to be used                      the slabs' lock
 *     cold       it has no class, and its memory went back to the OS (idle.h)              the slabs' lock
 *
 *     slabs committed = at home + in hand + retired + warm + cold
 *     0 <= free <= blocks, for each slab at home; free is the number of its bits
 *
 * All blocks of a slab that is begun are free: its bits are set, and its pages are touched when a block is. A block's
 * class cannot change while anybody may hold the block: a slab is retired only when all its blocks are free.
 */
#ifndef FLI_SLAB_H
#define FLI_SLAB_H

#include "base/atomic.h"
#include "base/limit.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/sizeclass.h"

#include <pthread.h>

enum {
    FLI_SLAB_SHIFT = 16,
    FLI_SLAB_BYTES = 1 << FLI_SLAB_SHIFT,
    FLI_SLAB_BLOCKS_MAX = FLI_SLAB_BYTES / 16,
    FLI_SLAB_BIT_WORDS = FLI_SLAB_BLOCKS_MAX / 64, /* 64-bit words that hold a bit for each block of a slab */
    FLI_SLAB_RECORD_BYTES = 64,                    /* a line, so that two homes never write to the same one */
};

struct fli_home;

/* What is known of the slabs of a chunk that have no class (idle.h). A bit per slab. */
struct fli_chunk {
    uint32_t cold;
    uint32_t kept;  /* of these, the ones whose memory the OS did not take */
    uint32_t small; /* 1: its pages are small ones */
};

/* One slab. */
struct fli_slab {
    FLI_PLAIN(uint32_t) next, previous; /* on a list, see slab_list.h */
    /* Written under the locks of the old home and of the new one. A thread that holds the lock of a home, and finds
     * that home here, can rely on it. */
    FLI_ATOMIC(struct fli_home *) home;
    FLI_PLAIN(uint16_t) blocks;   /* blocks it has room for */
    FLI_PLAIN(uint16_t) free;     /* of these, free in the bits */
    FLI_PLAIN(uint16_t) list;     /* where in its home it is, enum fli_home_list */
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

/* A pointer that was freed as a block of a class, where inline calls look at nothing, and is none or was free. */
struct fli_stray {
    const void *block;
    uint8_t class_index;
    bool was_free;
    uint32_t others; /* that were found after it, when there was no room for more */
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
    FLI_ATOMIC(uint64_t) * free_bits; /* likewise */
    FLI_ATOMIC(uint64_t) * live_bits; /* likewise */
    struct fli_chunk *chunks;         /* see idle.h; under the lock */
    struct fli_limit *limit;
    bool huge_pages;    /* are asked for */
    bool defers;        /* blocks can be deferred */
    size_t stale_bytes; /* how much of a free block stale readers may read */

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

/* Address space taken beside that of the slabs themselves. */
size_t fli_slabs_metadata_bytes(size_t span);

/* Lays slabs out in `span` bytes at `base` (a multiple of 2 MiB) and their metadata right behind them. Returns 0 or
 * -ENOMEM. */
int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit, bool defers);
void fli_slabs_close(struct fli_slabs *slabs);

/* A slab of the class, all of whose blocks are free: the caller's, who takes it home. Returns 0 if the limit or the
 * system refuses it. Locks. */
uint32_t fli_slab_begin(struct fli_slabs *slabs, unsigned class_index);

/* Commits the memory of the next slab and of its metadata, and of some more. Returns 0 or -ENOMEM. Under the lock. */
int fli_slab_commit(struct fli_slabs *slabs);

/* The highest number of a slab that has ever been in use. Locks. */
uint32_t fli_slab_committed(struct fli_slabs *slabs);

/* Takes a slab out of its class, all of whose blocks are free and which has been taken from home. It is the caller's
 * and keeps its class until it is made idle. Returns false, and leaves it, if blocks of it are marked (mark.h): they
 * have been freed twice, which shows when the marks are released. Locks. */
bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab);

/* Makes a retired slab one of its class again, as if it had begun. Locks. */
void fli_slab_unretire(struct fli_slabs *slabs, uint32_t slab);

/* Returns pages of the metadata to the OS that are all zero. Returns the bytes returned.
 * Locks. */
size_t fli_slab_trim_metadata(struct fli_slabs *slabs);

/* ---- Small enough to be here. */

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
    /* Relaxed: who holds a block learned of it after its slab got its class, and keeps the slab from losing it. */
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
