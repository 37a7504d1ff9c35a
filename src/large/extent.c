/* SPDX-License-Identifier: MIT */
#include "large/extent.h"
#include "base/os.h"
#include "base/sanitizer.h"

#include <string.h>

/* An extent that grows to this many bytes, or more, asks for huge pages. */
#define HUGE_FROM (8 * FLI_MIB)

size_t fli_extent_bytes(size_t size)
{
    return fli_round_up(size, (size_t)1 << (fli_extent_log2(size) - FLI_EXTENT_STEPS_LOG2));
}

/* Records the memory of an extent, and registers it with the leak checker, which otherwise does not search it. */
static void enter(struct fli_extent *extent, char *start, size_t mapped)
{
    fli_extent_set_start(extent, start);
    extent->mapped = mapped;
    extent->bin = fli_extent_bin(mapped);
    fli_leak_root_add(start, mapped);
}

static void leave(struct fli_extent *extent)
{
    fli_unpoison(fli_extent_start(extent), extent->mapped);
    fli_leak_root_remove(fli_extent_start(extent), extent->mapped);
}

void fli_extent_show(const struct fli_extent *extent, size_t size)
{
    char *block = fli_extent_block(extent), *end = block + size;
    fli_poison(fli_extent_start(extent), (size_t)(block - fli_extent_start(extent)));
    fli_unpoison(block, size);
    fli_poison(end, (size_t)(fli_extent_start(extent) + extent->mapped - end));
}

char *fli_extent_map_target(const struct fli_extent *extent, size_t mapped)
{
    return extent->guarded ? fli_os_map_guarded(mapped) : fli_os_map(mapped);
}

bool fli_extent_unmap_target(const struct fli_extent *extent, char *target, size_t mapped)
{
    return extent->guarded ? fli_os_unmap_guarded(target, mapped) : fli_os_unmap(target, mapped);
}

bool fli_extent_map(struct fli_extent *extent, size_t size)
{
    size_t mapped = fli_extent_bytes(size);
    char *start = fli_extent_map_target(extent, mapped);
    if (start == NULL)
        return false;
    enter(extent, start, mapped);
    extent->cold = true; /* until a block uses it */
    return true;
}

bool fli_extent_unmap(struct fli_extent *extent)
{
    char *start = fli_extent_start(extent);
    leave(extent);
    fli_extent_set_start(extent, NULL); /* so that a child forked meanwhile does not unmap it, too */
    if (fli_extent_unmap_target(extent, start, extent->mapped))
        return true;
    enter(extent, start, extent->mapped);
    extent->cold = fli_os_decommit(start, extent->mapped) == 0 || extent->cold; /* if it was, it is */
    fli_extent_show(extent, 0);
    return false;
}

/* Enters an extent whose memory was resized or moved. An extent that grows mostly holds an array that is being filled,
 * so huge pages will not lie idle. */
static void enter_again(struct fli_extent *extent, char *start, size_t mapped)
{
    if (!FLI_SANITIZED && mapped > extent->mapped && mapped >= HUGE_FROM)
        fli_os_advise_huge(start, mapped, true);
    enter(extent, start, mapped);
}

bool fli_extent_resize(struct fli_extent *extent, size_t mapped)
{
    char *start = fli_extent_start(extent);
    if (extent->guarded)
        return false;
    leave(extent);
    bool done = fli_os_resize(start, extent->mapped, mapped);
    enter_again(extent, start, done ? mapped : extent->mapped);
    return done;
}

/* Moves memory on a system without mremap. */
static bool copy(const struct fli_extent *extent, char *target, size_t mapped)
{
    memcpy(target, fli_extent_start(extent), fli_min(extent->mapped, mapped));
    fli_extent_unmap_target(extent, fli_extent_start(extent), extent->mapped);
    return true;
}

/* Moves memory, and leaves the pages around it. */
static bool move(const struct fli_extent *extent, char *target, size_t mapped)
{
    char *start = fli_extent_start(extent);
    if (!fli_os_move(start, extent->mapped, target, mapped))
        return false;
    if (extent->guarded)
        fli_os_unmap_guards(start, extent->mapped);
    return true;
}

bool fli_extent_move(struct fli_extent *extent, char *target, size_t mapped)
{
    leave(extent);
    bool done = FLI_HAVE_MREMAP ? move(extent, target, mapped) : copy(extent, target, mapped);
    enter_again(extent, done ? target : fli_extent_start(extent), done ? mapped : extent->mapped);
    return done;
}
