/* SPDX-License-Identifier: MIT
 *
 * Which chunks of slabs lie in huge pages. A chunk is 2 MiB. When the library commits memory, it asks for huge pages, unless
 * the host wants none. By default it does not ask for them at the start of a heap:
 *
 *     | small pages                      | huge pages                                       |
 *     0                                  small_chunks                                      committed
 *
 * The first chunk has small pages, so that a small heap stays small. So have the chunks behind it that are committed while
 * at least half of all slabs are lone: each was the first of its class at a home. A few blocks may be all of a lone slab
 * that is ever used. Under the slabs of sixty classes huge pages would take much more memory than the pages that are
 * touched.
 *
 * A heap has grown when two chunks or more are in use, and fewer slabs are lone. From then on the library asks for huge
 * pages in the first chunks, too: what a program made first lies there. Linux takes about ten seconds to copy what has
 * small pages by then. A first chunk of which slabs have become cold has small pages for good.
 *
 * Memory is committed in whole chunks. Otherwise the first touch of a chunk of which a part is not committed would get a
 * small page, and so would all that follow in it.
 *
 * A chunk that is partly cold has small pages, too: idle.h says why.
 *
 * The lock of the slabs guards all of this.
 */
#ifndef FLI_HUGE_H
#define FLI_HUGE_H

#include "memory/slab.h"

/* Called when the last range has grown from `before` committed bytes. Chooses the pages of what is new, and of the first
 * chunks if the heap has grown. */
void fli_huge_choose(struct fli_slabs *slabs, size_t before);

/* Whether a chunk may get huge pages again when all of it is in use again. The first chunks may not: a small heap that is
 * often trimmed would ask again and again. */
static inline bool fli_huge_may_be(const struct fli_slabs *slabs, uint32_t chunk)
{
    return slabs->huge_pages && chunk >= slabs->small_chunks;
}

/* Gives a chunk huge pages again, if they were taken from it and it may have them. */
void fli_huge_give(struct fli_slabs *slabs, uint32_t chunk);

/* Takes them: gives a chunk small pages. */
void fli_huge_take(struct fli_slabs *slabs, uint32_t chunk);

#endif
