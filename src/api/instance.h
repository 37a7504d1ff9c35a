/* SPDX-License-Identifier: MIT
 *
 * Instances of a type: their blocks, which are allocated and freed by the type's descriptor (type.c).
 */
#ifndef FLI_INSTANCE_H
#define FLI_INSTANCE_H

#include "api/free.h"

enum {
    /* The alignment of every block. */
    FLI_ALIGNMENT = 16,
    /* Bytes of the two words that a type may name. */
    FLI_WORDS_BYTES = 2 * sizeof(void *),
    /* No class: also not what quick_class (type.c) says of a type that has none. */
    FLI_NO_CLASS = 2 * FL_CLASS_COUNT,
};

/* The name of a kind, for error texts. */
const char *fli_kind_name(enum fl_dealloc_kind kind);

/* The size of the blocks that hold instances. */
static inline size_t fli_instance_size(const struct fl_type *type)
{
    return type->alignment > FLI_ALIGNMENT ? fl_aligned_size(type->alignment, type->size) : type->size;
}

/* Whether the type has instances of different sizes. */
static inline bool fli_instance_varies(const struct fl_type *type)
{
    return (type->flags & FL_TYPE_VARIABLE) != 0;
}

/* The size class of an object in the most frequent case: it lies in the heap's first range, and its type has the heap's
 * header. FLI_NO_CLASS if that is not clear. */
static inline __attribute__((always_inline)) uint32_t
fli_instance_clear_class(const struct fli_thread *thread, const void *object, const struct fl_type *type)
{
    size_t offset = (uintptr_t)object - thread->slabs_base;
    if (FLI_CHECKED || FLI_UNLIKELY(offset >= thread->slabs_span || thread->header != type->header))
        return FLI_NO_CLASS;
    /* Relaxed: see fli_slab_class_of. */
    return fli_load_relaxed(&thread->slab_classes[offset >> FLI_SLAB_SHIFT]);
}

/* Whether an object is clearly one of the class. */
static inline bool fli_instance_is_clearly_of(const struct fli_thread *thread, const void *object,
                                              const struct fl_type *type, uint32_t class_index)
{
    return fli_instance_clear_class(thread, object, type) == class_index;
}

/* Whether a type is ready; reports misuse if not. The offsets of such a type are 0, so every call with it comes to a
 * slow half. */
bool fli_instance_is_ready(const struct fl_type *type, const void *object, const char *call);

/* What a free of an instance knows. */
struct fli_free fli_instance_free_of(const struct fl_type *type, const char *call, bool deferred);

/* Frees the memory of an instance, at once or after a grace period, on behalf of the public function. Keeps errno. The
 * handle's thread; no lock may be held. */
void fli_instance_free(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call);
void fli_instance_defer(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call);

#endif
