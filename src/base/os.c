/* SPDX-License-Identifier: MIT */
#include "base/os.h"
#include "base/atomic.h"
#include "base/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Gives new mappings their name. A system without names refuses, which changes nothing else, and is not asked again. */
static void name(void *base, size_t size)
{
    static FLI_ATOMIC(bool) has_no_names;
    if (fli_load_hint(&has_no_names))
        return;
    int saved = errno;
    if (FLI_NAME_MAPPING(base, size, "freelane") != 0 && errno == EINVAL)
        fli_store_hint(&has_no_names, true);
    errno = saved;
}

/* Maps address space. NULL if the OS refuses. Keeps errno. */
static char *map_space(size_t size, int protection)
{
    int saved = errno;
    char *start = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    return start != MAP_FAILED ? start : NULL;
}

/* Maps address space that starts at a multiple of `alignment`, the last one that will do: kernels map downwards, so that
 * this is beside what was mapped before. NULL if the OS refuses. Keeps errno. */
static char *map_aligned(size_t size, size_t alignment, int protection)
{
    size_t wanted = size + alignment;
    char *start = map_space(wanted, protection);
    if (start == NULL)
        return NULL;
    char *base = (char *)((uintptr_t)(start + wanted - size) & ~(uintptr_t)(alignment - 1));
    if (base > start)
        munmap(start, (size_t)(base - start));
    if (base + size < start + wanted)
        munmap(base + size, (size_t)(start + wanted - (base + size)));
    return base;
}

/* The same where a mapping of just this size is likely to lie right: whole huge pages, or beside others of its kind. */
static char *map_beside(size_t size, size_t alignment, int protection)
{
    char *base = map_space(size, protection);
    if (base != NULL && (uintptr_t)base % alignment != 0) {
        munmap(base, size);
        base = map_aligned(size, alignment, protection);
    }
    return base;
}

void *fli_os_reserve(size_t size, size_t alignment)
{
    bool fits = size % alignment == 0;
    char *base = fits ? map_beside(size, alignment, PROT_NONE) : map_aligned(size, alignment, PROT_NONE);
    if (base != NULL)
        name(base, size);
    return base;
}

void *fli_os_reserve_usable(size_t size, size_t alignment)
{
    char *base = map_beside(size, alignment, PROT_READ | PROT_WRITE);
    if (base == NULL)
        return NULL;
    name(base, size);
    fli_os_advise_huge(base, size, false);
    return base;
}

bool fli_os_guard(void *base, size_t size)
{
    int saved = errno;
    bool done = madvise(base, size, FLI_ADVICE_GUARD) == 0 || mprotect(base, size, PROT_NONE) == 0;
    errno = saved;
    return done;
}

void fli_os_release(void *base, size_t size)
{
    munmap(base, size);
}

int fli_os_decommit(void *base, size_t size)
{
    int saved = errno;
    int result = madvise(base, size, MADV_DONTNEED) == 0 ? 0 : -errno;
    errno = saved;
    return result;
}

static bool read_whether_strict(void)
{
    int saved = errno, file = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    char mode = '0';
    bool is_known = file >= 0 && read(file, &mode, 1) == 1;
    if (file >= 0)
        close(file);
    errno = saved;
    return is_known && mode == '2';
}

bool fli_os_is_strict(void)
{
    enum { UNKNOWN, LAX, STRICT };
    static FLI_ATOMIC(uint8_t) known;
    if (fli_load_hint(&known) == UNKNOWN)
        fli_store_hint(&known, (uint8_t)(read_whether_strict() ? STRICT : LAX));
    return fli_load_hint(&known) == STRICT;
}

bool fli_os_withdraw(void *base, size_t size)
{
    int saved = errno;
    bool done = mmap(base, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == base;
    if (done)
        name(base, size);
    errno = saved;
    return done;
}

bool fli_os_restore(void *base, size_t size)
{
    int saved = errno;
    bool done = mprotect(base, size, PROT_READ | PROT_WRITE) == 0;
    errno = saved;
    return done;
}

void fli_os_advise_huge(void *base, size_t size, bool huge)
{
    int saved = errno;
    if (FLI_HAVE_HUGE_PAGES)
        madvise(base, size, huge ? FLI_ADVICE_HUGE : FLI_ADVICE_SMALL);
    errno = saved;
}

size_t fli_os_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t fli_os_address_limit(void)
{
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited ? (size_t)limit.rlim_cur : SIZE_MAX;
}

size_t fli_os_cache_bytes(void)
{
    const size_t usual = 512 * FLI_KIB, most = 2 * FLI_MIB;
    static FLI_ATOMIC(size_t) known;
    size_t found = fli_load_hint(&known);
    if (found != 0)
        return found;
    long bytes = FLI_SYSCONF_CACHE != -1 ? sysconf(FLI_SYSCONF_CACHE) : -1;
    found = bytes > 0 ? fli_min((size_t)bytes, most) : usual;
    fli_store_hint(&known, found);
    return found;
}

int fli_os_processor(void)
{
    return FLI_PROCESSOR();
}

void *fli_os_map(size_t size)
{
    int saved = errno;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    if (base == MAP_FAILED)
        return NULL;
    name(base, size);
    return base;
}

bool fli_os_unmap(void *base, size_t size)
{
    int saved = errno;
    bool done = munmap(base, size) == 0;
    errno = saved;
    return done;
}

void *fli_os_map_guarded(size_t size)
{
    size_t page = fli_os_page(), inside = fli_round_up(size, page);
    char *base = fli_os_reserve(inside + 2 * page, page);
    if (base == NULL)
        return NULL;
    if (fli_os_restore(base + page, inside))
        return base + page;
    fli_os_release(base, inside + 2 * page);
    return NULL;
}

bool fli_os_unmap_guarded(void *base, size_t size)
{
    size_t page = fli_os_page();
    return fli_os_unmap((char *)base - page, fli_round_up(size, page) + 2 * page);
}

void fli_os_unmap_guards(void *base, size_t size)
{
    size_t page = fli_os_page();
    fli_os_unmap((char *)base - page, page);
    fli_os_unmap((char *)base + fli_round_up(size, page), page);
}

bool fli_os_resize(void *base, size_t old_size, size_t new_size)
{
    int saved = errno;
    bool done = FLI_MREMAP(base, old_size, new_size, 0, NULL) != MAP_FAILED;
    errno = saved;
    return done;
}

bool fli_os_move(void *base, size_t old_size, void *target, size_t new_size)
{
    int saved = errno;
    bool done = FLI_MREMAP(base, old_size, new_size, FLI_MREMAP_TO, target) != MAP_FAILED;
    errno = saved;
    return done;
}

int fli_region_reach(struct fli_region *region, size_t bytes, size_t step)
{
    if (bytes <= region->committed)
        return 0;
    if (bytes > region->reserved)
        return -ENOMEM;
    size_t upto = fli_min(region->reserved, fli_round_up(fli_max(bytes, region->committed + step), fli_os_page()));
    size_t from = fli_max(region->committed, region->usable);
    if (from < upto && !fli_os_restore(region->base + from, upto - from))
        return -ENOMEM;
    /* The leak checker searches mapped memory only where it is told to. */
    if (region->committed > 0)
        fli_leak_root_remove(region->base, region->committed);
    fli_leak_root_add(region->base, upto);
    region->committed = upto;
    return 0;
}

void fli_region_close(struct fli_region *region)
{
    if (region->committed > 0) {
        fli_leak_root_remove(region->base, region->committed);
        fli_unpoison(region->base, region->committed);
    }
    region->committed = 0;
}
