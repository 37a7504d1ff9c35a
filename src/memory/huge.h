/* SPDX-License-Identifier: MIT
 *
 * Which chunks of slabs lie in huge pages. A chunk is 2 MiB. Unless the host wants something else, there are two kinds:
 *
 *     sparse    it began with small pages; the first one is of this kind
 *     dense     the library asks for huge pages before it is first used
 *
 * A slab is lone if it was begun as the first of its class at a home. A few blocks may be all of a lone slab that is ever
 * used. Under the slabs of sixty classes huge pages would take much more memory than the pages that are touched. Any other
 * slab is begun when the one before it is used up. So lone slabs lie in sparse chunks, and the others in dense ones:
 *
 *     | lone slabs, the first few others | not in use |   | the other slabs                |
 *     0           a sparse chunk                      2 MiB         dense chunks
 *
 * The first few others lie in sparse chunks, too, so that a small heap stays small: a huge page of which a program uses a
 * part is memory as well. When more than a third of the slabs are others, further ones lie in dense chunks. The slabs of the
 * sparse chunk that are not in use then wait, cold, for lone slabs. When most slabs are lone and there is no such slab, a
 * new chunk is sparse.
 *
 * A dense chunk gets memory for all of its slabs at once. Where the heap's limit has no room for that, slabs lie in sparse
 * chunks as long as there is one. Where there are kept slabs (idle.h), these come first.
 *
 * When a heap has grown to many chunks, its sparse chunks become dense ones: what a program made first lies there. Slabs
 * that are not in use there are used next, and Linux takes about ten seconds to copy what has small pages by then. A
 * sparse chunk of which slabs have become cold after use stays one.
 *
 * Memory is committed in whole chunks. Otherwise the first touch of a chunk that is committed in part would get a small
 * page. So would all that follow in it.
 *
 * A chunk that is partly cold has small pages, too: idle.h says why.
 *
 * The lock of the slabs guards all of this.
 */
#ifndef FLI_HUGE_H
#define FLI_HUGE_H

#include "memory/idle.h"

/* How many slabs that are not lone lie in sparse chunks at least; in how many chunks a heap has grown. */
enum {
    FLI_HUGE_FEW = FLI_RARE_PATHS ? 2 : 8,
    FLI_HUGE_GROWN_CHUNKS = FLI_RARE_PATHS ? 3 : 8,
};

/* The kind of chunk that a slab should lie in which is begun now. */
enum fli_kind fli_huge_kind(const struct fli_slabs *slabs, bool is_lone);

/* Called before any slab of a chunk is in use, or skipped: makes the chunk one of the kind. */
void fli_huge_open(struct fli_slabs *slabs, uint32_t chunk, enum fli_kind kind);

/* Called when the last range has grown from `before` committed bytes, where the host wants small pages everywhere. */
void fli_huge_refuse(struct fli_slabs *slabs, size_t before);

/* Whether a chunk may get huge pages again when all of it is in use again. A sparse chunk may not: a small heap that is
 * often trimmed would ask again and again. */
static inline bool fli_huge_may_be(const struct fli_slabs *slabs, uint32_t chunk)
{
    return slabs->huge_pages && fli_idle_chunk(slabs, chunk)->kind == FLI_DENSE;
}

/* Gives a chunk huge pages again, if they were taken from it and it may have them. */
void fli_huge_give(struct fli_slabs *slabs, uint32_t chunk);

/* Takes them: gives a chunk small pages. */
void fli_huge_take(struct fli_slabs *slabs, uint32_t chunk);

#endif
