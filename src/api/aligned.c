/* SPDX-License-Identifier: MIT
 *
 * Aligned blocks, and blocks of zeros: taken from the cache as ordinary ones.
 */
#include "api/alloc.h"

#include <errno.h>
#include <string.h>

void *fl_alloc_aligned(struct fl_thread *thread, size_t alignment, size_t size)
{
    if (FLI_UNLIKELY(!fli_is_alignment(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    size_t bytes = fl_aligned_size(alignment, size);
    struct fl_cache *cache = &thread->cache[fl_size_class(bytes)];
    void **top = fl_cache_top(cache);
    if (FLI_UNLIKELY(top == cache->floor))
        return fli_alloc(thread, &(struct fli_request){.call = "fl_alloc_aligned",
                                                       .size = bytes,
                                                       .at_page = alignment > FLI_EXTENT_ALIGNMENT});
    return fl_cache_take(cache, top);
}

void *fl_alloc_zeroed(struct fl_thread *thread, size_t size)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    void **top = fl_cache_top(cache);
    if (FLI_UNLIKELY(top == cache->floor))
        return fli_alloc(thread, &(struct fli_request){.call = "fl_alloc_zeroed", .size = size, .zeroed = true});
    return memset(fl_cache_take(cache, top), 0, size);
}
