/* SPDX-License-Identifier: MIT
 *
 * Idle slabs: those without a class. fli_slab_begin takes them; a trim makes slabs idle (heap/trim.h).
 *
 * Warm slabs keep their memory and are taken first. The memory of cold slabs was returned to the OS. If the OS does not
 * take it, because it is locked, the cold slab is a kept one, too. A kept slab does not count toward the heap's limit.
 * Statistics count its memory, and the next trim tries again to return it.
 *
 * A chunk is 2 MiB of slabs, the size of a huge page. huge.h says which chunks may lie in huge pages.
 *
 * A chunk has small pages while some of its slabs are cold and others are not. With a huge page, the OS could bring back
 * memory that was returned. A whole chunk may be cold that may lie in a huge page. Then the first use of a slab brings
 * memory for all, and all become warm at once. Cold slabs are taken lowest address first.
 *
 * Slabs of one home and class that follow each other in memory are used in that order (pool/home.h). A processor fetches
 * ahead what a program walks through in equal steps. So a caller that takes a slab names the one that it wants, which is
 * the neighbour of its last. It also says how many it would like to have in a row. From slabs that were never in use the
 * others of a row are skipped: they are cold, and likely to be wanted next. A home that grows beside others thus gets rows
 * instead of every second slab. At most a sixteenth of all slabs and a mebibyte is skipped, and no more than a quarter: so
 * much address space may be wasted, and memory, where huge pages lie under it. Of each kind of chunk (huge.h) slabs are
 * taken and skipped as if there were no other. Where a chunk of another kind is to follow, the rest of a chunk is skipped.
 *
 * Where the OS counts memory that could be written (vm.overcommit_memory is 2), a chunk that is all cold is withdrawn: it
 * becomes address space, until a slab of it is used again. The OS may refuse either; a chunk that it does not restore
 * stays cold.
 *
 *     warm_count = number of warm bits of all chunks        those slabs are on the list `warm`
 *     lone_count = number of slabs with a class that are lone
 *     cold[k].count, .kept, .skipped = number of cold, kept and skipped bits of all chunks of the kind k
 *     the kept and the skipped bits of a chunk are among its cold bits
 *
 * The lock of the slabs guards all of this.
 */
#ifndef FLI_IDLE_H
#define FLI_IDLE_H

#include "memory/slab.h"

/* The chunk that a slab lies in. Chunks are numbered from 0, on from range to range. */
static inline uint32_t fli_idle_chunk_of(uint32_t slab)
{
    return (slab - 1) / FLI_CHUNK_SLABS;
}

/* What is known of a chunk. Under the lock. */
static inline struct fli_chunk *fli_idle_chunk(const struct fli_slabs *slabs, uint32_t chunk)
{
    uint32_t slab = chunk * FLI_CHUNK_SLABS + 1;
    const struct fli_range *range = fli_range_of_slab(&slabs->ranges, slab);
    return &range->chunks[(slab - range->first) / FLI_CHUNK_SLABS];
}

static inline char *fli_idle_chunk_start(const struct fli_slabs *slabs, uint32_t chunk)
{
    return fli_slab_start(slabs, chunk * FLI_CHUNK_SLABS + 1);
}

/* Whether the slabs of a chunk lie side by side. Those of the first chunk of a heap that begins small do not
 * (range.h). */
static inline bool fli_idle_is_whole(const struct fli_slabs *slabs, uint32_t chunk)
{
    return !fli_range_is_small(fli_range_of_slab(&slabs->ranges, chunk * FLI_CHUNK_SLABS + 1));
}

/* The bit of a slab in the words of its chunk. */
static inline uint32_t fli_idle_bit_of(uint32_t slab)
{
    return (uint32_t)1 << (slab - 1) % FLI_CHUNK_SLABS;
}

/* Whether a committed slab is cold, or warm. A slab without a class may be neither: a trim has it. Under the lock. */
static inline bool fli_idle_is_cold(const struct fli_slabs *slabs, uint32_t slab)
{
    return (fli_idle_chunk(slabs, fli_idle_chunk_of(slab))->cold & fli_idle_bit_of(slab)) != 0;
}

static inline bool fli_idle_is_warm(const struct fli_slabs *slabs, uint32_t slab)
{
    return (fli_idle_chunk(slabs, fli_idle_chunk_of(slab))->warm & fli_idle_bit_of(slab)) != 0;
}

/* Takes a slab without a class, and gives it memory if it has none. Takes the slab `wanted` (0: none) if that is warm, or if
 * it is cold and there are no warm ones. Otherwise takes a warm one, or one that begins a row of `row` slabs without
 * memory, if it finds such a row. Returns 0 if the limit or the OS refuses. Under the lock. */
uint32_t fli_idle_obtain(struct fli_slabs *slabs, uint32_t wanted, uint32_t row);

/* Makes a list of retired slabs idle, and leaves at most `warm_most` slabs warm. Returns the bytes
 * returned to the OS. Locks. */
size_t fli_idle_make(struct fli_slabs *slabs, uint32_t retired, size_t warm_most);

/* Tries again to return the memory of kept slabs. Returns the bytes returned. Locks. */
size_t fli_idle_return_kept(struct fli_slabs *slabs);

/* Cold slabs of all chunks. Under the lock. */
static inline uint32_t fli_idle_cold_count(const struct fli_slabs *slabs)
{
    return slabs->cold[FLI_DENSE].count + slabs->cold[FLI_SPARSE].count;
}

/* Of them, those whose memory the OS did not take. */
static inline uint32_t fli_idle_kept_count(const struct fli_slabs *slabs)
{
    return slabs->cold[FLI_DENSE].kept + slabs->cold[FLI_SPARSE].kept;
}

/* Of them, those that were never in use. */
static inline uint32_t fli_idle_skipped_count(const struct fli_slabs *slabs)
{
    return slabs->cold[FLI_DENSE].skipped + slabs->cold[FLI_SPARSE].skipped;
}

/* Bytes of the slabs that are warm. Locks. */
size_t fli_idle_warm_bytes(struct fli_slabs *slabs);

#endif
