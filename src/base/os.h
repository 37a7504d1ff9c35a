/* SPDX-License-Identifier: MIT
 *
 * Address space and memory from the operating system: the only file that calls mmap, mremap, mprotect and madvise.
 *
 * Address space for slabs and magazines is reserved once per heap and never split: it is committed from its start in
 * large contiguous steps, so that the kernel keeps one mapping per region however large it grows, and pages are given
 * back with madvise, which leaves them readable as zeros. A large block has memory of its own, which is mapped and
 * unmapped with it.
 */
#ifndef FLI_OS_H
#define FLI_OS_H

#include "base/base.h"

/* Address space of `size` bytes that starts at a multiple of `alignment` (a power of two), without memory
 * behind it. NULL with errno ENOMEM. */
void *fli_os_reserve(size_t size, size_t alignment);

/* Whether the system's pages have FLI_PAGE bytes. */
bool fli_os_has_small_pages(void);

/* Bytes of a processor's second cache, or a usual size where the system does not tell. */
size_t fli_os_cache_bytes(void);

/* Returns reserved address space. */
void fli_os_release(void *base, size_t size);

/* Gives the pages' memory back; they stay readable and writable and read as zeros. Returns 0 or a negative errno
 * value; on failure the pages keep their contents. Keeps errno. */
int fli_os_decommit(void *base, size_t size);

/* Asks for huge pages, or for none, where the system has them. A refusal changes nothing else. Keeps errno. */
void fli_os_advise_huge(void *base, size_t size, bool huge);

/* ---- Memory of its own. Sizes are multiples of FLI_PAGE; errno is kept. */

/* Maps memory that reads as zeros. NULL if the system refuses. */
void *fli_os_map(size_t size);

/* Unmaps it. Returns false, and changes nothing, if the system refuses: it has a most number of mappings. */
bool fli_os_unmap(void *base, size_t size);

/* Makes mapped memory shorter, or longer by what reads as zeros, where it lies. Returns false, and changes nothing, if it
 * cannot. */
bool fli_os_resize(void *base, size_t old_size, size_t new_size);

/* Moves mapped memory to `target`, which was mapped with `new_size` and whose contents are lost. What is new there reads
 * as zeros. Returns false if it cannot: the memory stays where it was, and whether the target is still mapped is not
 * known. */
bool fli_os_move(void *base, size_t old_size, void *target, size_t new_size);

/* ---- Regions. */

/* A piece of reserved address space of which the first `committed` bytes can be used. The caller serialises. */
struct fli_region {
    char *base;
    size_t reserved;
    size_t committed;
};

/* Makes the first `bytes` bytes usable, going ahead by at least `step` bytes if it has to commit anything.
 * Returns 0, or -ENOMEM and has changed nothing. Keeps errno. */
int fli_region_reach(struct fli_region *region, size_t bytes, size_t step);

/* Forgets what sanitizers were told about the region. To be called before it is released. */
void fli_region_close(struct fli_region *region);

#endif
