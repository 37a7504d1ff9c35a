/* SPDX-License-Identifier: MIT
 *
 * Address space and memory from the operating system. Only this file calls mmap, mremap, mprotect and madvise.
 *
 * Address space for slabs and magazines is reserved once per heap and never split. It is committed from its start in
 * large contiguous steps, so the kernel keeps one mapping per region, however large the region grows. Small heaps lie
 * in address space that can be used at once. Pages are returned to the OS with madvise, and then read as zeros. Large
 * blocks and tables have separate mappings. Where the system has names for mappings, all are called "freelane". What the
 * system says of itself is asked for once per process, as it takes longer than all else that creates a heap.
 *
 * Any thread may call these functions; for regions, the caller serialises.
 */
#ifndef FLI_OS_H
#define FLI_OS_H

#include "base/base.h"

/* Address space of `size` bytes that starts at a multiple of `alignment` (a power of two), without memory
 * behind it. A size that is a multiple, too, takes fewer calls of the OS. NULL if the OS refuses. Keeps errno. */
void *fli_os_reserve(size_t size, size_t alignment);

/* The same, but all of it can be used at once, with small pages. If size and alignment allow it, it lies right beside the
 * last one that was reserved, so that the kernel keeps one mapping for many. */
void *fli_os_reserve_usable(size_t size, size_t alignment);

/* From now on, nobody can touch these whole pages of usable memory, which nobody has used. Returns false if the OS
 * refuses. Keeps errno. */
bool fli_os_guard(void *base, size_t size);

/* Bytes of a page, a power of two. Memory is committed, and returned to the OS, in multiples of it. */
size_t fli_os_page(void);

/* The most bytes of address space that the process may have, as far as it is limited; SIZE_MAX if it is not. */
size_t fli_os_address_limit(void);

/* Bytes of a processor's second-level cache, or a usual size if the OS does not say. */
size_t fli_os_cache_bytes(void);

/* The processor on which the calling thread was a moment ago, or a number that tells nothing. */
int fli_os_processor(void);

/* Returns reserved address space to the OS. */
void fli_os_release(void *base, size_t size);

/* Returns the memory of whole pages to the OS. They stay readable and writable and read as zeros. Returns 0 or a negative
 * errno value; on failure the pages keep their contents. Keeps errno. */
int fli_os_decommit(void *base, size_t size);

/* Whether the OS counts all memory that could be written, and refuses what it could not serve (vm.overcommit_memory
 * is 2). Keeps errno. */
bool fli_os_is_strict(void);

/* Returns the memory of whole pages to the OS and makes them address space again, which does not count as committed.
 * Returns false, and changes nothing, if the OS refuses. Keeps errno. */
bool fli_os_withdraw(void *base, size_t size);

/* Makes address space usable, also what was withdrawn. It reads as zeros. Returns false if the OS refuses. Keeps errno. */
bool fli_os_restore(void *base, size_t size);

/* Asks for huge pages, or for none, where the OS has them. A refusal changes nothing else. Keeps errno. */
void fli_os_advise_huge(void *base, size_t size, bool huge);

/* ---- Separate mappings. The OS rounds sizes up to whole pages. errno is kept. */

/* Maps memory that reads as zeros. NULL if the OS refuses. */
void *fli_os_map(size_t size);

/* Unmaps memory. Returns false, and changes nothing, if the OS refuses: the number of its mappings is limited. */
bool fli_os_unmap(void *base, size_t size);

/* The same with a page before the memory and one behind it that nobody can touch. */
void *fli_os_map_guarded(size_t size);
bool fli_os_unmap_guarded(void *base, size_t size);

/* Unmaps these pages alone. */
void fli_os_unmap_guards(void *base, size_t size);

/* Changes the size of mapped memory in place; added memory reads as zeros. Returns false, and changes nothing, if the
 * OS refuses. */
bool fli_os_resize(void *base, size_t old_size, size_t new_size);

/* Moves mapped memory to `target`, a mapping of `new_size` bytes whose contents are lost. Added memory reads as zeros.
 * Returns false if the OS refuses: the memory stays where it was, and the target may or may not be mapped still. */
bool fli_os_move(void *base, size_t old_size, void *target, size_t new_size);

/* ---- Regions. */

/* A piece of reserved address space whose first `committed` bytes can be used. The caller serialises. */
struct fli_region {
    char *base;
    size_t reserved;
    size_t committed;
    size_t usable; /* its first bytes, which take no call of the OS to be committed */
};

/* Makes the first `bytes` bytes usable. If it has to commit memory, it commits at least `step` bytes. Returns 0, or
 * -ENOMEM and then has changed nothing. Keeps errno. */
int fli_region_reach(struct fli_region *region, size_t bytes, size_t step);

/* Withdraws what sanitizers were told about the region. The caller calls this before it returns the address space. */
void fli_region_close(struct fli_region *region);

#endif
