/* SPDX-License-Identifier: MIT */
#include "large/seal.h"
#include "base/os.h"
#include "memory/state.h"
#include "memory/stray.h"

#include <string.h>

/* What is left of the last page of a block. */
static size_t rest_of(const struct fli_extent *extent, size_t size)
{
    return FLI_ADDRESS_SANITIZER ? 0 : fli_min(fli_round_up(size, fli_os_page()), extent->mapped) - size;
}

/* The checksum of a free block, but for the header that stale readers may write. */
static uint32_t checksum_of(const struct fli_slabs *slabs, const struct fli_extent *extent, size_t size)
{
    size_t header = fli_min(slabs->stale_bytes, size);
    return fli_state_checksum(&slabs->key, fli_extent_start(extent) + header, size - header);
}

void fli_seal_begin(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    struct fli_slabs *slabs = large->hardened;
    char *start = fli_extent_start(extent);
    size_t freed = extent->freed_size;
    if (extent->cold || slabs->watched)
        freed = 0;
    fli_unpoison(start, freed);
    if (freed != 0 && checksum_of(slabs, extent, freed) != extent->checksum)
        fli_stray_note_written(slabs, start, freed, FLI_STRAY_WAS_FREE);
    extent->freed_size = 0;
    memset(start + size, 0, rest_of(extent, size));
}

void fli_seal_inspect(struct fli_large *large, const struct fli_extent *extent, size_t size)
{
    const char *end = fli_extent_start(extent) + size;
    size_t rest = rest_of(extent, size);
    for (size_t i = 0; i < rest; i++)
        if (end[i] != 0) {
            fli_stray_note_written(large->hardened, fli_extent_start(extent), size, FLI_STRAY_BEHIND);
            return;
        }
}

void fli_seal_end(struct fli_large *large, struct fli_extent *extent, size_t size)
{
    const struct fli_slabs *slabs = large->hardened;
    extent->freed_size = size;
    extent->checksum = slabs->watched ? 0 : checksum_of(slabs, extent, size);
}
