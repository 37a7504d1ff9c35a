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

void *fl_type_alloc_slow(struct fl_thread *thread, const struct fl_type *type)
{
    if (!fli_instance_is_ready(type, NULL, "fl_type_alloc"))
        return NULL;
    if (lacks_words(thread, type)) {
        fli_pending_report("fl_type_alloc", NULL, type);
        errno = EINVAL;
        return NULL;
    }
    void *object = fli_alloc_quickly(thread, type->class_index, type->header);
    if (FLI_LIKELY(object != NULL))
        return object;
    return fli_alloc(thread, &(struct fli_request){.call = "fl_type_alloc",
                                                   .type = type->name,
                                                   .size = fli_instance_size(type),
                                                   .header = type->header});
}

struct fli_free fli_instance_free_of(const struct fl_type *type, const char *call, bool deferred)
{
    return (struct fli_free){.call = call,
                             .type = type->name,
                             .size = fli_instance_size(type),
                             .sized = true,
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

void fli_instance_free(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_UNLIKELY(!fli_free_quickly(thread, object, type->class_index, type->header)))
        free_carefully(thread, object, type, call, false);
}

void fli_instance_defer(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_UNLIKELY(!fli_defer_quickly(thread, object, type->class_index, type->header)))
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
