/* SPDX-License-Identifier: MIT
 *
 * Which chunks of slabs lie in huge pages. When the library commits memory, it asks for huge pages, unless the host wants
 * none. By default it does not do so at the start of a heap:
 *
 *     | small pages                      | huge pages                                       |
 *     0                                  small_chunks                                      committed
 *
 * The first chunk has small pages, so that a small heap stays small. So have those behind it while many slabs are lone ones,
 * the first of their class at a home. A few blocks may be all of a lone slab that is ever used, and under the slabs of sixty
 * classes a huge page would take much more memory than the pages that are touched.
 *
 * A heap has grown when it has two chunks in use or more, and few slabs are lone. Then the library asks for huge pages in
 * its first chunks, too, where a program has what it made first. Linux copies what has small pages by then within about ten
 * seconds. Once slabs of such a chunk get cold, it has small pages for good.
 *
 * Memory is committed in whole chunks. If a part of a chunk cannot be used yet when its first page is needed, all of it
 * gets small pages.
 *
 * A chunk has small pages while some of its slabs are cold and others are not (idle.h). With a huge page, the OS could bring
 * back memory that was returned.
 *
 * The lock of the slabs guards all of this.
 */
#ifndef FLI_HUGE_H
#define FLI_HUGE_H

#include "memory/slab.h"

/* Chooses the pages of what is new, the memory of the last range committed since that was `before` bytes, and those of the
 * first chunks of a heap that has grown. */
void fli_huge_choose(struct fli_slabs *slabs, size_t before);

/* Whether huge pages are asked for where all of a chunk is in use. If not, a chunk that has small pages keeps them, so that
 * a small heap that is often trimmed asks for them once. */
static inline bool fli_huge_may_be(const struct fli_slabs *slabs, uint32_t chunk)
{
    return slabs->huge_pages && chunk >= slabs->small_chunks;
}

/* Gives a chunk huge pages again, if they were taken from it and it may have them. */
void fli_huge_give(struct fli_slabs *slabs, uint32_t chunk);

/* Takes them: gives a chunk small pages. */
void fli_huge_take(struct fli_slabs *slabs, uint32_t chunk);

#endif
