/* SPDX-License-Identifier: MIT
 *
 * Ranges: the address space of a heap's slabs. Behind the slabs of a range lies what is known of them, in this order:
 *
 *     the slabs                     their marks, and states    their table
 *     +-------------+----------+-+  +-------+-------------+    +---------+--------+-------+---------+
 *     | committed   | reserved |G|  | used  | reserved    |    | classes | chunks | rows  |reserved |
 *     +-------------+----------+-+  +-------+-------------+    +---------+--------+-------+---------+
 *
 *     classes    a byte per slab: its size class, 0 if it has none; readable from the start
 *     chunks     what is known of each 2 MiB of slabs (idle.h); readable from the start
 *     rows       struct fli_row (slab.h), one per slab
 *     marks      two rows of bits per slab (mark.h), in a heap that defers
 *     states     a word per block (state.h), in a hardened heap
 *     G          a page that is never committed: what is written beyond the last slab does not reach the metadata
 *
 * Each of the parts is committed from its start, so a range has four mappings, two more with marks, and two with states. The
 * table is last, because the heap's magazines follow (heap/heap.c): what a heap touches of both first is mapped by one
 * page of the page table.
 *
 * A heap begins with one range. When its slabs are used up, a further range is reserved: as large as all before
 * together, or as the first of most heaps if that is more (heap/heap.c), but at most an eighth of the process's limit,
 * and smaller if the OS refuses that. Slabs are numbered on from range to range:
 *
 *     first of a range = 1 + slabs of all ranges before it
 *
 * A heap whose first range is smaller than a chunk completes that chunk with its next ranges. They lie beside others'
 * (os.h). So all but the first chunk of such a heap lie in one range each.
 *
 * Most programs need only the first range. So it is looked at first, by one compare, and the others by calls. A range
 * never changes once it is published, and lives as long as the heap. `count` publishes: a thread that holds a block, or
 * the number of a slab, learned of it after the slab's range was published.
 *
 *     label  order    where                            pairs with
 *     R1     release  a new range is published         R2 R3: the range is whole
 *     R2 R3  acquire  the further ranges are searched  R1
 */
#ifndef FLI_RANGE_H
#define FLI_RANGE_H

#include "base/atomic.h"
#include "base/os.h"

enum {
    FLI_SLAB_SHIFT = 16,
    FLI_SLAB_BYTES = 1 << FLI_SLAB_SHIFT,
    FLI_CHUNK_SLABS = 32,
    FLI_CHUNK_BYTES = FLI_CHUNK_SLABS * FLI_SLAB_BYTES, /* the size of a huge page */
    /* Enough for what the smallest first range grows to, with as many that are smaller than wanted. */
    FLI_RANGES_MOST = 40,
};

struct fli_row;
struct fli_chunk;

struct fli_range {
    char *base;     /* of its slabs, a multiple of FLI_CHUNK_BYTES, or of FLI_SLAB_BYTES if it is smaller */
    size_t span;    /* bytes of its slabs */
    uint32_t first; /* the number of its first slab */
    uint32_t slabs; /* how many it has */
    FLI_ATOMIC(uint8_t) * classes;
    struct fli_row *rows;
    struct fli_chunk *chunks;
    uint64_t *marks;
    FLI_ATOMIC(uint32_t) * states;
} __attribute__((aligned(64)));

/* The parts of a range that are committed as its slabs come into use. */
enum fli_range_part { FLI_RANGE_SLABS, FLI_RANGE_MARKS, FLI_RANGE_STATES, FLI_RANGE_TABLE, FLI_RANGE_PARTS };

/* Which parts there are beside slabs and table. */
struct fli_range_kind {
    bool defers;   /* marks */
    bool hardened; /* states */
    /* So many of the last parts of the first range can be touched at once, with small pages. */
    uint8_t ready_parts;
};

struct fli_ranges {
    struct fli_range at[FLI_RANGES_MOST];
    FLI_ATOMIC(uint32_t) count;
    /* The lock of the slabs guards what follows. */
    size_t span;      /* of all ranges */
    size_t span_most; /* as far as the heap may grow */
    size_t usual;     /* a further range has so many bytes at least, if it may; set before the first slab */
    struct fli_range_kind kind;
    struct fli_region parts[FLI_RANGES_MOST][FLI_RANGE_PARTS];
};

/* Bytes of address space for the metadata of `span` bytes of slabs, with the guard page before it; and of these, for the
 * table, which is last. */
size_t fli_range_metadata_bytes(size_t span, bool hardened);
size_t fli_range_table_bytes(size_t span);

/* Lays the first range out: `span` bytes of slabs at `base`, and their metadata right behind them. It consists of whole
 * chunks, or is smaller than one; or it is all that the heap will ever have. The ranges may grow to `most` bytes of slabs
 * in all. Returns 0 or -ENOMEM. */
int fli_ranges_init(struct fli_ranges *ranges, char *base, size_t span, size_t most, struct fli_range_kind kind);

/* Returns the address space of all ranges but the first to the OS. */
void fli_ranges_close(struct fli_ranges *ranges);

/* Commits the memory of a slab and of its metadata, and `ahead` slabs more if something has to grow. Reserves a range
 * for it if it is the first slab that lies in none. Returns 0 or -ENOMEM. Under the lock of the slabs. */
int fli_ranges_commit(struct fli_ranges *ranges, uint32_t slab, size_t ahead);

/* Bytes committed, of slabs and of metadata. Under the lock of the slabs. */
size_t fli_ranges_committed(const struct fli_ranges *ranges);

/* The slabs of the last range. Under the lock of the slabs. */
const struct fli_region *fli_ranges_last(const struct fli_ranges *ranges);

/* The range of a slab, or around an address, if it is not the first range; NULL if there is none. */
const struct fli_range *fli_range_beyond(const struct fli_ranges *ranges, uint32_t slab);
const struct fli_range *fli_range_around(const struct fli_ranges *ranges, const void *address);

/* The range that lies in address space which can be used at once, among others', is smaller than a chunk. */
static inline bool fli_range_is_small(const struct fli_range *range)
{
    return range->span < FLI_CHUNK_BYTES;
}

static inline bool fli_range_has(const struct fli_range *range, const void *address)
{
    return (uintptr_t)address - (uintptr_t)range->base < range->span;
}

/* The range in which a slab lies, NULL if there is no such slab. Slabs are numbered from 1. */
static inline const struct fli_range *fli_range_of_slab(const struct fli_ranges *ranges, uint32_t slab)
{
    return FLI_LIKELY(slab <= ranges->at[0].slabs) ? &ranges->at[0] : fli_range_beyond(ranges, slab);
}

/* The range in whose slabs an address lies, NULL if it lies in none. */
static inline const struct fli_range *fli_range_of(const struct fli_ranges *ranges, const void *address)
{
    return FLI_LIKELY(fli_range_has(&ranges->at[0], address)) ? &ranges->at[0] : fli_range_around(ranges, address);
}

#endif
