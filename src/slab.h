/* SPDX-License-Identifier: MIT
 *
 * Slabs: 64 KiB each, aligned, carved into blocks of one size class. The blocks carry no header and are never written
 * by the library; all that is known of a slab lies apart from it, by slab number:
 *
 *     classes        a byte per slab: its size class, 0 if it has none        read without a lock
 *     slabs          a struct fli_slab each                                   under the lock
 *     parked_bits    a bit per block: free, but in no magazine                under the lock
 *     deferred_bits  two bits per block: deferred, but in no magazine         under the lock
 *     live_bits      a bit per block: the host has it (checked builds)        atomic
 *
 * The slabs of a heap lie in one reserved address range, so ownership of a block is one compare and the number of
 * its slab one shift. A slab that serves a class is on one of the class's lists:
 *
 *     busy     none of its blocks is parked      partly     some are      free     all that were carved are
 *
 * Blocks are cut from one slab of each class at a time. A free slab can be retired: it is off the lists, and the
 * caller's; where readers may still look at it, it keeps its class and its memory for a grace period. Then it is made
 * idle: it loses its class and may serve any. Some idle slabs stay warm: they keep their memory, and are the next to be
 * used. That of the others, the cold ones, goes back to the system; those whose memory the system does not take, because
 * it is locked, are kept apart, so that nobody takes it for given back.
 *
 *     slabs committed = on the lists of the classes + warm + cold + kept + retired
 *     0 <= parked <= carved <= blocks, for each slab
 *
 * A block's class cannot change while anybody may hold the block: a slab is retired only when all its blocks are in
 * the library's hands.
 *
 * A deferred block for which there is no magazine is marked in its slab. There are two marks, for two batches: one
 * collects while the other waits for its grace period (deferred.h).
 */
#ifndef FLI_SLAB_H
#define FLI_SLAB_H

#include "atomic.h"
#include "limit.h"
#include "os.h"
#include "sizeclass.h"

#include <pthread.h>

enum {
    FLI_SLAB_SHIFT = 16,
    FLI_SLAB_BYTES = 1 << FLI_SLAB_SHIFT,
    /* The most blocks of a slab: one of 16-byte blocks is used up to its half. It halves the bits of all slabs. */
    FLI_SLAB_BLOCKS_MAX = 2048,
    FLI_SLAB_BIT_WORDS = FLI_SLAB_BLOCKS_MAX / 64, /* 64-bit words that hold a bit for each block of a slab */
};

enum fli_slab_list { FLI_SLABS_BUSY, FLI_SLABS_PARTLY, FLI_SLABS_FREE, FLI_SLAB_LISTS };

/* Links are slab numbers + 1; 0 ends a list. */
struct fli_slab {
    uint32_t next, previous; /* on the class's list, or `next` on one of idle slabs */
    uint16_t blocks;         /* blocks it has room for */
    uint16_t carved;         /* blocks cut from it so far */
    uint16_t parked;         /* of these, parked */
    uint16_t list;           /* enum fli_slab_list; FLI_SLAB_LISTS while retired */
};

/* What is known of all slabs of one class. */
struct fli_slab_class {
    size_t block_bytes;
    uint32_t reciprocal; /* ceil(2^32 / block_bytes): divides offsets within a slab */
    uint32_t lists[FLI_SLAB_LISTS];
    uint32_t carving; /* the slab that blocks are cut from, number + 1 */
    uint32_t slabs;
    size_t carved;             /* blocks cut from the slabs of this class */
    FLI_ATOMIC(size_t) parked; /* parked blocks; written under the lock */
};

/* Idle slabs, a list through `next`. */
struct fli_idle_slabs {
    uint32_t first; /* number + 1 */
    uint32_t count;
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
    struct fli_slab *slabs;
    uint64_t *parked_bits;
    uint64_t *deferred_bits[2];
    FLI_ATOMIC(uint64_t) * live_bits;
    struct fli_limit *limit;
    bool defers;        /* blocks can be deferred */
    size_t stale_bytes; /* how much of a free block stale readers may read */

    FLI_ATOMIC(bool) has_strays; /* written under the lock, seldom */

    FLI_ON_OWN_LINE pthread_mutex_t lock; /* guards what follows */
    struct fli_region memory;
    struct fli_region class_bytes;
    struct fli_region slab_records;
    struct fli_region parked_words;
    struct fli_region deferred_words[2];
    struct fli_region live_words;
    unsigned collecting; /* which of deferred_bits collects */
    size_t deferred[2];  /* bits set in each */
    uint32_t committed;  /* slabs that have been in use */
    struct fli_idle_slabs warm, cold, kept;
    FLI_ATOMIC(uint32_t) retired;      /* written under the lock */
    uint64_t reused_bytes;             /* bytes of parked blocks and idle slabs that have been taken into use again */
    FLI_ATOMIC(size_t) carved_bytes;   /* of all classes; written under the lock */
    FLI_ATOMIC(size_t) parked_bytes;   /* of all classes; written under the lock */
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

/* Cuts up to `count` blocks into `blocks`, the one with the lowest address last. Returns how many, 0 if the limit or
 * the system refuses a slab. Locks. */
unsigned fli_slab_carve(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks);

/* Parks blocks for which there is no place in a magazine. Strays among them are noted instead. Never fails. Locks. */
void fli_slab_park(struct fli_slabs *slabs, unsigned class_index, unsigned count, void *const *blocks);

/* Takes up to `count` parked blocks of the class, the one with the lowest address last. Returns how many. Locks. */
unsigned fli_slab_unpark(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks);

/* Marks a deferred block for which there is no place in a magazine. Returns false for a stray, which is noted instead.
 * Locks. */
bool fli_slab_defer(struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Begins a batch: what is marked waits from now on, and new marks are another batch's. None may be waiting. Returns
 * how many wait. Locks. */
size_t fli_slab_close_deferred(struct fli_slabs *slabs);

/* Parks what waits, and adds the blocks to `counts`, by class. Locks. */
void fli_slab_release_deferred(struct fli_slabs *slabs, size_t *counts);

/* Adds the blocks that are marked to `counts`, by class. In the child of a fork, where no other thread runs. */
void fli_slab_count_deferred_stw(struct fli_slabs *slabs, size_t *counts);

/* Tells AddressSanitizer that a block is free: what of it no stale reader may read. Checked builds only. */
void fli_slab_poison(struct fli_slabs *slabs, unsigned class_index, void *block);

/* Makes a list of retired slabs, through `next`, free ones of their classes again. Locks. */
void fli_slab_unretire(struct fli_slabs *slabs, uint32_t first);

/* Takes a free slab from the class. It is the caller's, a list of its own, and keeps its class, until it is made
 * idle. Returns the slab's number + 1 and its carved blocks, or 0 if no slab of the class is free. Locks. */
uint32_t fli_slab_retire(struct fli_slabs *slabs, unsigned class_index, unsigned *blocks);

/* Makes a list of retired slabs, through `next`, idle, and leaves at most `warm_most` slabs warm. Returns the bytes
 * given back. Locks. */
size_t fli_slab_make_idle(struct fli_slabs *slabs, uint32_t first, size_t warm_most);

/* Tries again to give back the memory of the slabs that had to be kept. Returns the bytes given back. Locks. */
size_t fli_slab_give_kept(struct fli_slabs *slabs);

/* Gives memory of the metadata back that says nothing. Returns the bytes given back. Locks. */
size_t fli_slab_trim_metadata(struct fli_slabs *slabs);

/* Marks the block live or not, and returns what it was. Checked builds only. */
bool fli_slab_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live);

bool fli_slab_is_parked(struct fli_slabs *slabs, unsigned class_index, const void *block);
bool fli_slab_is_deferred(struct fli_slabs *slabs, unsigned class_index, const void *block);
bool fli_slab_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* Whether an address inside a slab of the class is the start of a block that has been carved. Locks. */
bool fli_slab_is_block(struct fli_slabs *slabs, unsigned class_index, const void *block);

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

static inline uint32_t fli_slab_number(const struct fli_slabs *slabs, const void *block)
{
    return (uint32_t)(fli_slab_offset(slabs, block) >> FLI_SLAB_SHIFT);
}

static inline char *fli_slab_start(const struct fli_slabs *slabs, uint32_t number)
{
    return slabs->base + ((size_t)number << FLI_SLAB_SHIFT);
}

/* Which block of its slab an address lies in. */
static inline uint32_t fli_slab_block_index(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t within = (uint32_t)fli_slab_offset(slabs, block) & (FLI_SLAB_BYTES - 1);
    return (uint32_t)(((uint64_t)within * slabs->by_class[class_index].reciprocal) >> 32);
}

#endif
