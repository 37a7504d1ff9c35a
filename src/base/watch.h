/* SPDX-License-Identifier: MIT
 *
 * Tools that watch memory: Valgrind's Memcheck, where the library was built with its client requests (FREELANE_VALGRIND)
 * and the program runs under it; AddressSanitizer and MemorySanitizer, where the program was compiled with one of them
 * and the library was not. A heap that is created then is watched: the tool sees each block as it sees one of malloc.
 *
 *     a call that allocates or frees   all of them take their slow halves, as those of a traced heap do (heap/trace.h),
 *                                      and tell
 *     a block                          is as large as was asked for, and undefined until it is written
 *     between blocks                   lies memory that nobody may touch: a watched heap carves larger blocks than
 *                                      others (memory/slab.c)
 *     a free block                     goes home at once, where a second free of it is noticed, and no pointer to it
 *                                      stays in a magazine: the leak check would follow that once the block is
 *                                      allocated again
 *
 * Memcheck's leak check takes the address of a heap's first slab, which the library has in several places, for a pointer
 * to the block that begins there: that one block is never lost. LeakSanitizer looks for lost blocks of malloc alone. It
 * searches live blocks for pointers to them, and AddressSanitizer keeps it from free ones.
 *
 * MemorySanitizer sees neither what the library writes nor what it passes to callbacks. So the library tells of that, too:
 * fli_watch_wrote, fli_watch_pass. A system without one of these tools has nothing of it: `watched` of a heap is false.
 */
#ifndef FLI_WATCH_H
#define FLI_WATCH_H

#include "base/sanitizer.h"

#include <stdbool.h>

#if FLI_RUNTIMES

/* Whether the program runs under a tool. */
static inline bool fli_watch_is_on(void)
{
    return FLI_UNDER_MEMCHECK || __asan_poison_memory_region != NULL || __msan_poison != NULL;
}

/* The library has written memory that the host reads. */
static inline void fli_watch_wrote(const void *at, size_t size)
{
    FLI_TELL_RUNTIME(__msan_unpoison, at, size);
}

/* The library has copied what the host wrote. */
static inline void fli_watch_copied(const void *to, const void *from, size_t size)
{
    FLI_TELL_RUNTIME(__msan_copy_shadow, to, from, size);
}

/* The library is about to call code of the host, which reads its arguments and perhaps memory of the library's stack. */
static inline void fli_watch_pass(const void *at, size_t size)
{
    enum { ARGUMENTS = 6 }; /* at most */
    FLI_TELL_RUNTIME(__msan_unpoison_param, ARGUMENTS);
    if (size > 0)
        fli_watch_wrote(at, size);
}

/* A block of `size` bytes begins its life. Those up to `usable` are hidden. Stale readers may read its first `readable`
 * bytes. */
static inline void fli_watch_alloc(const void *block, size_t size, size_t usable, size_t readable, bool zeroed)
{
    FLI_TELL_MEMCHECK(MALLOCLIKE_BLOCK, block, size, 0, zeroed);
    FLI_TELL_RUNTIME(__asan_unpoison_memory_region, block, size);
    FLI_TELL_RUNTIME(__msan_allocated_memory, block, size);
    fli_unpoison(block, zeroed || readable > size ? size : readable);
    fli_poison((const char *)block + size, usable - size);
    fli_watch_pass(NULL, 0);
}

/* A block of `size` bytes is freed. Its first `readable` bytes can still be read. */
static inline void fli_watch_free(const void *block, size_t size, size_t readable)
{
    FLI_TELL_MEMCHECK(FREELIKE_BLOCK, block, 0);
    fli_unpoison(block, readable);
    fli_poison((const char *)block + readable, size - readable);
    fli_watch_pass(NULL, 0);
}

/* The block has another size, and may have moved. Of one that has, the contents count as defined. */
static inline void fli_watch_resize(const void *old, size_t old_size, const void *block, size_t size, size_t usable)
{
    size_t kept = old_size < size ? old_size : size;
    if (block == old) {
        FLI_TELL_MEMCHECK(RESIZEINPLACE_BLOCK, block, old_size, size, 0);
    } else {
        FLI_TELL_MEMCHECK(FREELIKE_BLOCK, old, 0);
        FLI_TELL_MEMCHECK(MALLOCLIKE_BLOCK, block, size, 0, 0);
        fli_unpoison(block, kept);
    }
    FLI_TELL_RUNTIME(__asan_unpoison_memory_region, block, size);
    FLI_TELL_RUNTIME(__msan_allocated_memory, (const char *)block + kept, size - kept);
    fli_poison((const char *)block + size, usable - size);
    fli_watch_pass(NULL, 0);
}

/* What the memory holds is no pointer any more. */
static inline void fli_watch_forget(const void *at, size_t size)
{
    (void)at, (void)size;
    (void)FLI_TELL_MEMCHECK(MAKE_MEM_UNDEFINED, at, size);
}

#else

static inline bool fli_watch_is_on(void)
{
    return false;
}
static inline void fli_watch_wrote(const void *at, size_t size)
{
    (void)at, (void)size;
}
static inline void fli_watch_copied(const void *to, const void *from, size_t size)
{
    (void)to, (void)from, (void)size;
}
static inline void fli_watch_pass(const void *at, size_t size)
{
    (void)at, (void)size;
}
static inline void fli_watch_alloc(const void *block, size_t size, size_t usable, size_t readable, bool zeroed)
{
    (void)block, (void)size, (void)usable, (void)readable, (void)zeroed;
}
static inline void fli_watch_free(const void *block, size_t size, size_t readable)
{
    (void)block, (void)size, (void)readable;
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
