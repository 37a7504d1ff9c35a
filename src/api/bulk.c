/* SPDX-License-Identifier: MIT
 *
 * Many blocks at once. As many as the cache has, or has room for, are copied. Then one block takes the slow half, which
 * exchanges magazines, and so on.
 */
#include "api/alloc.h"
#include "api/free.h"
#include "base/watch.h"

#include <errno.h>
#include <string.h>

int fl_alloc_many(struct fl_thread *thread, size_t size, size_t count, void **blocks)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    for (size_t done = 0; done < count;) {
        void **top = fl_cache_top(cache);
        size_t part = fli_min((size_t)(top - cache->floor), count - done);
        if (part > 0) {
            for (size_t i = 0; i < part; i++)
                blocks[done++] = *--top;
            fli_store_public(&cache->top, top);
            continue;
        }
        unsigned class_index = fli_class_of_size(size);
        blocks[done] = class_index != 0 ? fli_alloc_quickly(thread, class_index, NULL) : NULL;
        if (blocks[done] == NULL)
            blocks[done] = fli_alloc(thread, &(struct fli_request){.call = "fl_alloc_many", .size = size});
        if (blocks[done] == NULL) {
            int saved = errno;
            fl_free_many(thread, size, done, blocks);
            errno = saved;
            return -saved;
        }
        done++;
    }
    fli_watch_wrote(blocks, count * sizeof *blocks);
    return 0;
}

void fl_free_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    struct fli_free how = {.call = "fl_free_many", .size = size, .sized = true};
    for (size_t done = 0; done < count;) {
        void **top = fl_cache_top(cache);
        size_t room = (-(uintptr_t)top & (FL_MAGAZINE_BYTES - 1)) / sizeof *top;
        size_t part = fli_min(room, count - done);
        if (part > 0) {
            memcpy(top, blocks + done, part * sizeof *blocks);
            fli_store_public(&cache->top, top + part);
            done += part;
        } else {
            fli_free(thread, blocks[done++], &how);
        }
    }
}
