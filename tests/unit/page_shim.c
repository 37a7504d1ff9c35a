/* SPDX-License-Identifier: MIT
 *
 * Stands before the C library (LD_PRELOAD) and gives a program larger pages than the system has: of PAGE_BYTES bytes. As
 * a system with such pages, it refuses addresses that are not of whole pages, and rounds lengths up to whole pages.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t page_bytes(void)
{
    const char *given = getenv("PAGE_BYTES");
    return given != NULL ? (size_t)atol(given) : 4096;
}

static size_t whole_pages(size_t length)
{
    return (length + page_bytes() - 1) / page_bytes() * page_bytes();
}

static int refuses(const void *address)
{
    if ((uintptr_t)address % page_bytes() == 0)
        return 0;
    errno = EINVAL;
    return 1;
}

long sysconf(int name)
{
    static long (*next)(int);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PAGESIZE ? (long)page_bytes() : next(name);
}

/* Maps a page more than is wanted, and unmaps what lies outside of whole pages. */
static void *map_whole_pages(size_t length, int protection, int flags)
{
    size_t more = length + page_bytes();
    char *start = (char *)syscall(SYS_mmap, NULL, more, protection, flags, -1, 0);
    if (start == MAP_FAILED)
        return MAP_FAILED;
    size_t before = whole_pages((uintptr_t)start) - (uintptr_t)start;
    if (before > 0)
        syscall(SYS_munmap, start, before);
    syscall(SYS_munmap, start + before + length, more - before - length);
    return start + before;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (file == -1 && (flags & MAP_FIXED) == 0)
        return map_whole_pages(whole_pages(length), protection, flags);
    if (file == -1 && refuses(address))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, file == -1 ? whole_pages(length) : length, protection, flags, file,
                           offset);
}

int munmap(void *address, size_t length)
{
    return refuses(address) ? -1 : (int)syscall(SYS_munmap, address, whole_pages(length));
}

int mprotect(void *address, size_t length, int protection)
{
    return refuses(address) ? -1 : (int)syscall(SYS_mprotect, address, whole_pages(length), protection);
}

int madvise(void *address, size_t length, int advice)
{
    return refuses(address) ? -1 : (int)syscall(SYS_madvise, address, whole_pages(length), advice);
}

void *mremap(void *address, size_t old_length, size_t length, int flags, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, flags);
    void *target = (flags & MREMAP_FIXED) != 0 ? __builtin_va_arg(arguments, void *) : NULL;
    __builtin_va_end(arguments);
    if (refuses(address) || ((flags & MREMAP_FIXED) != 0 && refuses(target)))
        return MAP_FAILED;
    if ((flags & MREMAP_FIXED) == 0 && (flags & MREMAP_MAYMOVE) != 0) {
        errno = ENOMEM; /* the system may choose an address that is not of whole pages */
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, address, whole_pages(old_length), whole_pages(length), flags, target);
}
