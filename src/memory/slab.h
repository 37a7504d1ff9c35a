/* SPDX-License-Identifier: MIT
 *
 * Slabs: 64 KiB each, aligned, cut into blocks of one size class. The blocks carry no header and are never written by
 * the library; all that is known of a slab lies apart from it:
 *
 *     classes        a byte per slab: its size class, 0 if it has none        read without a lock
 *     records        a struct fli_slab each, on a line of its own              see below
 *     free_bits      a bit per block: free, but in no magazine                 the lock of the slab's home (home.h)
 *     deferred_bits  two bits per block: deferred, but in no magazine          under the lock
 *     live_bits      a bit per block: the host has it (checked builds)         atomic
 *
 * The slabs of a heap lie in one reserved address range, so ownership of a block is one compare and the number of
 * its slab one shift. Slabs are numbered from 1; 0 is no slab. A slab is in one of these states:
 *
 *     at home   it has a class and belongs to a home, under whose lock its record is        (home.h)
 *     in hand   it has a class; all its blocks are free; it is the caller's: begun, or retired
 *     warm      it has no class, but its memory: the next to be used                         under the lock
 *     cold      it has no class, and its memory went back to the OS                          under the lock
 *
 *     slabs committed = at home + in hand + warm + cold (idle.h)
 *     0 <= free <= blocks, for each slab at home; free is the number of its bits
 *
 * All blocks of a slab that is begun are free: its bits are set, and its pages are touched when a block is. A block's
 * class cannot change while anybody may hold the block: a slab is retired only when all its blocks are free.
 *
 * A deferred block for which there is no magazine is marked in its slab. There are two marks, for two batches: one
 * collects while the other waits for its grace period (deferred.h).
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

/* One slab. At home, under its home's lock; else as the head of this file says. */
struct fli_slab {
    FLI_PLAIN(uint32_t) next, previous; /* on a list of its home, or `next` on a list of slabs in hand or idle */
    /* Written under the locks of the old home and of the new one: who holds a home's lock and finds that home here
     * can rely on it. */
    FLI_ATOMIC(struct fli_home *) home;
    FLI_PLAIN(uint16_t) blocks;   /* blocks it has room for */
    FLI_PLAIN(uint16_t) free;     /* of these, free in the bits */
    FLI_PLAIN(uint16_t) list;     /* where in its home it is, enum fli_home_list */
    FLI_PLAIN(uint16_t) moves_at; /* as soon as so many blocks are free, it belongs on another list */
    FLI_PLAIN(uint16_t) class_index;
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

struct fli_slabs {
    /* Constant once made. */
    char *base;
    size_t span; /* bytes of reserved address space */
    FLI_ATOMIC(uint8_t) * classes;
    struct fli_slab *records;         /* records[0] is no slab's */
    FLI_ATOMIC(uint64_t) * free_bits; /* likewise */
    uint64_t *deferred_bits[2];
    FLI_ATOMIC(uint64_t) * live_bits;
    struct fli_chunk *chunks; /* see idle.h; under the lock */
    struct fli_limit *limit;
    bool huge_pages;    /* are asked for */
    bool defers;        /* blocks can be deferred */
    size_t stale_bytes; /* how much of a free block stale readers may read */

    FLI_ATOMIC(bool) has_strays; /* written under the lock, seldom */

    FLI_ON_OWN_LINE struct fli_mutex lock; /* guards what follows */
    struct fli_region memory;
    struct fli_region class_bytes;
    struct fli_region slab_records;
    struct fli_region free_words;
    struct fli_region deferred_words[2];
    struct fli_region live_words;
    struct fli_region chunk_words;
    unsigned collecting; /* which of deferred_bits collects */
    size_t deferred[2];  /* bits set in each */
    uint32_t committed;  /* slabs that have been in use */
    uint32_t warm;       /* warm slabs, a list through `next` */
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

/* Marks a deferred block for which there is no place in a magazine. Returns false for a stray, which is noted instead.
 * Locks. */
bool fli_slab_defer(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Notes a stray. Locks. */
FLI_COLD void fli_slab_note_stray(struct fli_slabs *slabs, unsigned class_index, const void *block, bool was_free);

/* Begins a batch: what is marked waits from now on, and new marks are another batch's. None may be waiting. Returns
 * how many wait. Locks. */
size_t fli_slab_close_deferred(struct fli_slabs *slabs);

/* Of the blocks that wait, takes one slab's out: sets their bits in `bits` (FLI_SLAB_BIT_WORDS words). Returns how
 * many, 0 if none of the slab's waits. Locks. */
unsigned fli_slab_take_deferred(struct fli_slabs *slabs, uint32_t slab, uint64_t *bits);

/* How many blocks that are marked still wait, and the highest number of a slab that has ever been in use. Lock. */
size_t fli_slab_count_waiting(struct fli_slabs *slabs);
uint32_t fli_slab_committed(struct fli_slabs *slabs);

/* Adds the blocks that are marked to `counts`, by class. In the child of a fork, where no other thread runs. */
void fli_slab_count_deferred_stw(struct fli_slabs *slabs, size_t *counts);

/* Tells AddressSanitizer that a block is free: what of it no stale reader may read. Checked builds only. */
void fli_slab_poison(struct fli_slabs *slabs, unsigned class_index, void *block);

/* Takes a slab out of its class, all of whose blocks are free and which has been taken from home. It is the caller's
 * and keeps its class until it is made idle. Returns false, and leaves it, if blocks of it are marked as deferred: they
 * have been freed twice, which shows when the marks are released. Locks. */
bool fli_slab_retire(struct fli_slabs *slabs, uint32_t slab);

/* Makes a retired slab one of its class again, as if it had begun. Locks. */
void fli_slab_unretire(struct fli_slabs *slabs, uint32_t slab);

/* Returns pages of the metadata to the OS that are all zero. Returns the bytes returned.
 * Locks. */
size_t fli_slab_trim_metadata(struct fli_slabs *slabs);

/* Marks the block live or not, and returns what it was. Checked builds only. */
bool fli_slab_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live);

bool fli_slab_is_free(struct fli_slabs *slabs, unsigned class_index, const void *block);
bool fli_slab_is_deferred(struct fli_slabs *slabs, unsigned class_index, const void *block);
bool fli_slab_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Whether an address inside a slab of the class is the start of a block. */
bool fli_slab_is_block(const struct fli_slabs *slabs, unsigned class_index, const void *block);

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
