/* SPDX-License-Identifier: MIT
 *
 * Valgrind's Memcheck, where the library was built with its client requests (FREELANE_VALGRIND) and the program runs
 * under it. A heap that is created then is watched: Memcheck sees each block as it sees one of malloc.
 *
 *     a call that allocates or frees   all of them take their slow halves, as those of a traced heap do (heap/trace.h),
 *                                      and tell
 *     a block                          is as large as was asked for, and undefined until it is written
 *     between blocks                   lies memory that nobody may touch: a watched heap carves larger blocks than
 *                                      others (memory/slab.c)
 *     a free block                     goes home at once, and no pointer to it stays in a magazine: the leak check
 *                                      would follow that once the block is allocated again
 *
 * The leak check takes the address of a heap's first slab, which the library has in several places, for a pointer to the
 * block that begins there: that one block is never lost.
 *
 * Memory that is free is hidden by fli_poison (sanitizer.h). Outside of Valgrind, none of this is called: `watched` of a
 * heap is false.
 */
#ifndef FLI_WATCH_H
#define FLI_WATCH_H

#include "base/sanitizer.h"

#include <stdbool.h>

#if FLI_VALGRIND

/* Whether the program runs under Memcheck. Valgrind's other tools do not know the request, and it returns 0 there: they
 * count what the program does, and are to see what it does without them. */
static inline bool fli_watch_is_on(void)
{
    char probe = 0, bits;
    return VALGRIND_GET_VBITS(&probe, &bits, 1) == 1;
}

/* A block of `size` bytes begins its life. Those up to `usable` are hidden. */
static inline void fli_watch_alloc(const void *block, size_t size, size_t usable, bool zeroed)
{
    VALGRIND_MALLOCLIKE_BLOCK(block, size, 0, zeroed);
    fli_poison((const char *)block + size, usable - size);
}

/* The block is freed. Its first `readable` bytes can still be read. */
static inline void fli_watch_free(const void *block, size_t readable)
{
    VALGRIND_FREELIKE_BLOCK(block, 0);
    (void)VALGRIND_MAKE_MEM_DEFINED(block, readable);
}

/* The block has another size, and may have moved. Of one that has, the contents count as defined. */
static inline void fli_watch_resize(const void *old, size_t old_size, const void *block, size_t size, size_t usable)
{
    if (block == old) {
        VALGRIND_RESIZEINPLACE_BLOCK(block, old_size, size, 0);
        fli_poison((const char *)block + size, usable - size);
        return;
    }
    VALGRIND_FREELIKE_BLOCK(old, 0);
    VALGRIND_MALLOCLIKE_BLOCK(block, size, 0, 0);
    (void)VALGRIND_MAKE_MEM_DEFINED(block, old_size < size ? old_size : size);
}

/* What the memory holds is no pointer any more. */
static inline void fli_watch_forget(const void *at, size_t size)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(at, size);
}

#else

static inline bool fli_watch_is_on(void)
{
    return false;
}
static inline void fli_watch_alloc(const void *block, size_t size, size_t usable, bool zeroed)
{
    (void)block, (void)size, (void)usable, (void)zeroed;
}
static inline void fli_watch_free(const void *block, size_t readable)
{
    (void)block, (void)readable;
}
static inline void fli_watch_resize(const void *old, size_t old_size, const void *block, size_t size, size_t usable)
{
    (void)old, (void)old_size, (void)block, (void)size, (void)usable;
}
static inline void fli_watch_forget(const void *at, size_t size)
{
    (void)at, (void)size;
}

#endif

#endif
