/* SPDX-License-Identifier: MIT */
#include "api/instance.h"
#include "api/alloc.h"
#include "api/pending.h"
#include "base/check.h"

#include <errno.h>

bool fli_instance_is_ready(const struct fl_type *type, const void *object, const char *call)
{
    if (FLI_UNLIKELY(!type->ready))
        fli_misuse(call, object, type->name, "was given a type that is not ready");
    return type->ready;
}

/* Whether dead objects of the type are to end later in the thread's heap, though they have no words. */
static bool lacks_words(const struct fl_thread *face, const struct fl_type *type)
{
    const struct fli_thread *thread = fli_thread_of(face);
    return FLI_UNLIKELY(fli_pending_is_later(thread, type)) && thread->heap != NULL &&
           (type->flags & FL_TYPE_HAS_WORDS) == 0;
}

/* Allocates an instance in a block of `size` bytes where the quick way is not open. */
FLI_COLD static void *allocate_carefully(struct fl_thread *thread, const struct fl_type *type, size_t size,
                                         const char *call)
{
    if (!lacks_words(thread, type))
        return fli_alloc(thread, &(struct fli_request){.call = call,
                                                       .type = type->name,
                                                       .size = size,
                                                       .at_page = type->alignment > FLI_EXTENT_ALIGNMENT,
                                                       .header = type->header});
    fli_pending_report(call, NULL, type);
    errno = EINVAL;
    return NULL;
}

static inline void *allocate(struct fl_thread *thread, const struct fl_type *type, unsigned class_index, size_t size,
                             const char *call)
{
    void *object = NULL;
    if (class_index != 0 && !lacks_words(thread, type))
        object = fli_alloc_quickly(thread, class_index, type->header);
    return FLI_LIKELY(object != NULL) ? object : allocate_carefully(thread, type, size, call);
}

void *fl_type_alloc_slow(struct fl_thread *thread, const struct fl_type *type)
{
    if (fli_instance_is_ready(type, NULL, "fl_type_alloc"))
        return allocate(thread, type, type->class_index, fli_instance_size(type), "fl_type_alloc");
    errno = EINVAL;
    return NULL;
}

void *fl_type_alloc_sized(struct fl_thread *thread, const struct fl_type *type, size_t size)
{
    if (FLI_LIKELY(type->ready && fli_instance_varies(type) && size >= type->size)) {
        size_t bytes = type->alignment > FLI_ALIGNMENT ? fl_aligned_size(type->alignment, size) : size;
        return allocate(thread, type, fli_class_of_size(bytes), bytes, "fl_type_alloc_sized");
    }
    bool is_ready = fli_instance_is_ready(type, NULL, "fl_type_alloc_sized");
    if (is_ready && !fli_instance_varies(type))
        fli_misuse("fl_type_alloc_sized", NULL, type->name, "has one size, it lacks FL_TYPE_VARIABLE");
    else if (is_ready)
        fli_misuse("fl_type_alloc_sized", NULL, type->name, "was asked for %zu bytes, fewer than its %zu", size,
                   type->size);
    errno = EINVAL;
    return NULL;
}

struct fli_free fli_instance_free_of(const struct fl_type *type, const char *call, bool deferred)
{
    return (struct fli_free){.call = call,
                             .type = type->name,
                             .size = fli_instance_size(type),
                             .sized = !fli_instance_varies(type),
                             .typed = true,
                             .deferred = deferred,
                             .header = type->header};
}

/* Does the same where the quick way is not open. */
FLI_COLD static void free_carefully(struct fl_thread *thread, void *object, const struct fl_type *type,
                                    const char *call, bool deferred)
{
    struct fli_free how = fli_instance_free_of(type, call, deferred);
    fli_free(thread, object, &how);
}

/* The size class of an instance; 0 if it lies in no slab. */
static unsigned class_of(const struct fl_thread *face, const void *object, const struct fl_type *type)
{
    const struct fli_thread *thread = fli_thread_of(face);
    if (FLI_LIKELY(!fli_instance_varies(type)) || thread->heap == NULL)
        return type->class_index;
    return fli_slab_class_of(&thread->heap->backing.slabs, object);
}

void fli_instance_free(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_UNLIKELY(!fli_free_quickly(thread, object, class_of(thread, object, type), type->header)))
        free_carefully(thread, object, type, call, false);
}

void fli_instance_defer(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_UNLIKELY(!fli_defer_quickly(thread, object, class_of(thread, object, type), type->header)))
        free_carefully(thread, object, type, call, true);
}

void fl_type_free_slow(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (fli_instance_is_ready(type, object, "fl_type_free"))
        fli_instance_free(thread, object, type, "fl_type_free");
}

void fl_type_free_deferred(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (fli_instance_is_ready(type, object, "fl_type_free_deferred"))
        fli_instance_defer(thread, object, type, "fl_type_free_deferred");
}
