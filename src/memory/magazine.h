/* SPDX-License-Identifier: MIT
 *
 * Magazines: arrays of pointers to free blocks, named by an index.
 *
 *     0        4       6       7     8               16                                    2048
 *     +--------+-------+-------+-----+---------------+---------+---------+--   --+---------+
 *     | next   | count | class | pad | below         | slot 0  | slot 1  |  ..   | slot 253|
 *     +--------+-------+-------+-----+---------------+---------+---------+--   --+---------+
 *                                                               ^ floor, if 253 blocks are the class's capacity
 *
 * The capacity of a class is how many blocks each of its magazines has room for at most. A magazine uses only its last
 * slots, as many as it has room for. So it is full when the address of its next free slot is where the magazine ends
 * (inline.h). Its blocks are the `count` slots from the floor up.
 *
 *     room = capacity - pad, where pad is 0 unless the memory of the heap is scarce (pool/allowance.h),
 *     or the magazine collects deferred blocks (pool/unsubmitted.h)
 *
 * A magazine belongs to one owner at a time: a thread's cache or rack, the pool, or a thread that took it from the
 * pool. Only the owner touches the slots; a slot at or above the count is garbage. `next` and `below` link magazines in
 * the pool (pool.h), in a cache (cache.h) and on a rack (rack.h). A thread that saw a magazine in the pool before may
 * read them at any time. Hence they are atomics, and magazines are never unmapped. Their pages may be decommitted; a
 * late reader then finds zeros. An exchange carves magazines (pool/exchange.h), and a trim returns empty ones
 * (heap/trim.h).
 *
 * Dead objects wait in magazines, too, each with its type (heap/dead.h).
 *
 * Magazines lie in ranges of reserved address space, as slabs do (range.h): mostly in one, which is looked at first, by
 * one compare. When all are carved, a further range is reserved, as large as all before together. Indexes go on from
 * range to range. A range is published before an index of it is.
 *
 *     magazines carved = in caches and on racks + on the pool's stacks + with dead objects + in hand + returned
 *                        + lost in a fork
 *
 *     label  order    where                            pairs with
 *     M1     release  a new range is published         M2 M3: the range is whole
 *     M2 M3  acquire  the further ranges are searched  M1
 */
#ifndef FLI_MAGAZINE_H
#define FLI_MAGAZINE_H

#include "base/atomic.h"
#include "base/lock.h"
#include "base/os.h"

#include <pthread.h>

enum { FLI_MAGAZINE_BYTES = FL_MAGAZINE_BYTES, FLI_MAGAZINE_RANGES_MOST = 32 };

/* As many slots as fill the magazine. */
#if !defined(FREELANE_MODEL)
enum { FLI_MAGAZINE_SLOTS = 254 };
#endif

struct fli_magazine {
    FLI_ATOMIC(uint32_t) next;  /* index of the magazine below on the stack; 0 ends it */
    FLI_ATOMIC(uint16_t) count; /* blocks in it; while a cache has it loaded, the cache's top counts instead */
    uint8_t class_index;        /* of its blocks, while it is deferred */
    FLI_ATOMIC(uint8_t) pad;    /* slots of the capacity that it does not use; the owner's */
    FLI_ATOMIC(uint64_t) below; /* blocks in this magazine and all those below it on the stack */
    void *slots[FLI_MAGAZINE_SLOTS];
};

/* Magazines with consecutive indexes: i lies at base + (i - first) * FLI_MAGAZINE_BYTES. */
struct fli_magazine_range {
    char *base;
    uint32_t first, count;
};

/* All magazines of a heap. There is no magazine 0. */
struct fli_magazines {
    struct fli_magazine_range at[FLI_MAGAZINE_RANGES_MOST];
    FLI_ATOMIC(uint32_t) ranges; /* how many there are; written under the lock */
    struct fli_mutex lock;       /* guards what follows */
    struct fli_region memory[FLI_MAGAZINE_RANGES_MOST];
    char *states[FLI_MAGAZINE_RANGES_MOST]; /* of each range: one byte per magazine, see magazine.c */
    uint32_t room;                          /* indexes of all ranges */
    uint32_t room_most;                     /* as far as they may grow */
    uint32_t usual;                         /* a further range has so many, if it may; set before the first */
    uint32_t per_page;                      /* magazines that fill a page */
    uint32_t carved;                        /* indexes carved so far, 0 included */
    uint32_t returned;                      /* of these, returned */
    uint32_t search_from;                   /* no index below this one is returned */
};

/* Address space that magazines for `slab_bytes` bytes of slabs take. */
size_t fli_magazines_reserve_bytes(size_t slab_bytes);

/* For a heap that begins small: the second range is small, too, and lies beside others' memory (os.h); further ranges have
 * room for as many as `slab_bytes` bytes of slabs want, at least. Before the first is carved. */
void fli_magazines_grow_by(struct fli_magazines *magazines, size_t slab_bytes);

/* Lays the first range out in `bytes` bytes of reserved address space at `base`. If the first `ready` of them can be touched
 * already, all have small pages. Further ranges are reserved until there is room for magazines for `slab_bytes` bytes
 * of slabs. Returns 0 or -ENOMEM. */
int fli_magazines_init(struct fli_magazines *magazines, char *base, size_t bytes, size_t ready, size_t slab_bytes);
void fli_magazines_close(struct fli_magazines *magazines);

/* Bytes committed. Locks. */
size_t fli_magazines_committed(struct fli_magazines *magazines);

/* Carves a magazine, which has no blocks. Returns NULL if memory is refused. Locks. */
struct fli_magazine *fli_magazine_carve(struct fli_magazines *magazines);

/* Carves a magazine if that is possible at once: the lock is free, the memory is committed, and if some were returned
 * one is found nearby. Returns NULL otherwise. */
struct fli_magazine *fli_magazine_carve_quickly(struct fli_magazines *magazines);

struct fli_chain;

/* Returns pages to the OS whose magazines are all in a chain of empty ones, or have been returned before. Such
 * magazines can be carved again. A magazine that shares its page with one in use stays in the chain. Returns the bytes
 * returned to the OS. Locks. */
size_t fli_magazines_return(struct fli_magazines *magazines, struct fli_chain *empties);

/* How many magazines exist: carved and not returned. Locks. */
size_t fli_magazines_count(struct fli_magazines *magazines);

/* The magazine with an index, and the index of a magazine, that lie beyond the first range. */
struct fli_magazine *fli_magazine_beyond(const struct fli_magazines *magazines, uint32_t index);
uint32_t fli_magazine_index_beyond(const struct fli_magazines *magazines, const struct fli_magazine *magazine);

static inline struct fli_magazine *fli_magazine_at(const struct fli_magazines *magazines, uint32_t index)
{
    const struct fli_magazine_range *first = &magazines->at[0];
    if (FLI_UNLIKELY(index >= first->count))
        return fli_magazine_beyond(magazines, index);
    return (struct fli_magazine *)(void *)(first->base + (size_t)index * FLI_MAGAZINE_BYTES);
}

static inline uint32_t fli_magazine_index(const struct fli_magazines *magazines, const struct fli_magazine *magazine)
{
    const struct fli_magazine_range *first = &magazines->at[0];
    size_t index = ((uintptr_t)magazine - (uintptr_t)first->base) / FLI_MAGAZINE_BYTES;
    return FLI_LIKELY(index < first->count) ? (uint32_t)index : fli_magazine_index_beyond(magazines, magazine);
}

/* How many of the slots of its class's capacity a magazine does not use. */
static inline unsigned fli_magazine_pad(const struct fli_magazine *magazine)
{
    return FLI_MODEL ? 0 : fli_load_relaxed(&magazine->pad); /* relaxed: as in fli_magazine_count */
}

/* Gives a magazine, which belongs to the caller, another room. Its blocks have to lie where that begins. */
static inline void fli_magazine_set_pad(struct fli_magazine *magazine, unsigned pad)
{
    if (!FLI_MODEL)
        fli_store_own(&magazine->pad, (uint8_t)pad);
}

/* How many blocks a magazine of this capacity has room for. */
static inline unsigned fli_magazine_room(const struct fli_magazine *magazine, unsigned capacity)
{
    return capacity - fli_magazine_pad(magazine);
}

/* The first slot that a magazine of this capacity uses. */
static inline void **fli_magazine_floor(struct fli_magazine *magazine, unsigned capacity)
{
    return magazine->slots + (FLI_MAGAZINE_SLOTS - fli_magazine_room(magazine, capacity));
}

/* The blocks in a magazine that no cache has loaded. */
static inline uint32_t fli_magazine_count(const struct fli_magazine *magazine)
{
    return fli_load_relaxed(&magazine->count); /* relaxed: the owner's own word, or a number for statistics */
}

/* What a magazine adds to `below` of those above it on a list: its blocks, or 1 if it is empty. */
static inline uint32_t fli_magazine_weight(const struct fli_magazine *magazine)
{
    uint32_t count = fli_load_relaxed(&magazine->count); /* relaxed: the caller's own, or guarded by a list's head */
    return count > 0 ? count : 1;
}

#if !defined(__cplusplus)
_Static_assert(sizeof(struct fli_magazine) == FLI_MAGAZINE_BYTES, "the slots fill the magazine");
#endif

#endif
