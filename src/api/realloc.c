/* SPDX-License-Identifier: MIT
 *
 * Changing the size of a block. Within a size class the block stays where it is. Above all classes its memory may move
 * without a copy (large/large.h). Otherwise the block is copied into a new one.
 */
#include "api/alloc.h"
#include "api/serve.h"
#include "api/verify.h"
#include "base/check.h"
#include "base/watch.h"
#include "memory/state.h"

#include <errno.h>
#include <string.h>

/* Whether the block is one of the size class. False also where only the slow half can tell. */
static inline bool is_of(const struct fli_thread *thread, const void *block, size_t class_index)
{
    size_t offset = (uintptr_t)block - thread->slabs_base;
    return !FLI_CHECKED && offset < thread->slabs_span && thread->header == NULL && class_index != 0 &&
           /* Relaxed: see fli_slab_class_of. */
           class_index == fli_load_relaxed(&thread->slab_classes[offset >> FLI_SLAB_SHIFT]);
}

/* The most frequent move: copies a block from one size class to another. NULL if that is for the slow half. */
static void *copy_quickly(struct fl_thread *face, void *block, size_t old_size, size_t new_size)
{
    unsigned to = (unsigned)fl_size_class(new_size);
    void *other = to != 0 ? fli_alloc_quickly(face, to, NULL) : NULL;
    if (FLI_UNLIKELY(other == NULL))
        return NULL;
    memcpy(other, block, fli_min(old_size, new_size));
    fl_free_sized(face, block, old_size);
    return other;
}

/* Copies a block into a new one of another size, and frees it. */
static void *copy(struct fl_thread *face, void *block, size_t old_size, const struct fli_request *request)
{
    unsigned class_index = fli_class_of_size(request->size);
    void *other = class_index != 0 ? fli_alloc_quickly(face, class_index, NULL) : NULL;
    if (other == NULL)
        other = fli_alloc(face, request);
    if (other == NULL)
        return NULL;
    memcpy(other, block, fli_min(old_size, request->size));
    fli_watch_copied(other, block, fli_min(old_size, request->size));
    fl_free_sized(face, block, old_size);
    return other;
}

/* Changes the size of a block that is live. */
static void *resize(struct fl_thread *face, void *block, size_t old_size, size_t new_size)
{
    struct fli_request request = {.call = "fl_realloc", .size = new_size, .at_page = true};
    unsigned from = fli_class_of_size(old_size), to = fli_class_of_size(new_size);
    bool takes_raw = fl_thread_heap(face)->options.header == NULL;
    if (from != to)
        return copy(face, block, old_size, &request);
    if (to != 0 && takes_raw) {
        if (FLI_UNLIKELY(fl_thread_heap(face)->watched))
            fli_watch_resize(block, old_size, block, new_size, fli_class_bytes(to));
        if (fl_thread_heap(face)->hardened)
            fli_state_resize(&fl_thread_heap(face)->backing.slabs, to, block, new_size);
        return block;
    }
    request.block = block;
    request.old_size = old_size;
    return fli_alloc(face, &request);
}

FLI_COLD static void *realloc_slow(struct fl_thread *face, void *block, size_t old_size, size_t new_size)
{
    struct fli_free how = {.call = "fl_realloc", .size = old_size, .sized = true};
    if (block == NULL && old_size == 0)
        return fli_alloc(face, &(struct fli_request){.call = "fl_realloc", .size = new_size});
    if (block == NULL)
        fli_misuse("fl_realloc", NULL, NULL, "was given NULL as a block of %zu bytes", old_size);
    else if (fli_check_live(face, block, &how))
        return resize(face, block, old_size, new_size);
    errno = EINVAL;
    return NULL;
}

void *fl_realloc(struct fl_thread *face, void *block, size_t old_size, size_t new_size)
{
    size_t class_index = fl_size_class(old_size);
    void *other = NULL;
    if (FLI_LIKELY(is_of(fli_thread_of(face), block, class_index)))
        other = class_index == fl_size_class(new_size) ? block : copy_quickly(face, block, old_size, new_size);
    return FLI_LIKELY(other != NULL) ? other : realloc_slow(face, block, old_size, new_size);
}
