/* SPDX-License-Identifier: MIT
 *
 * The fast paths, each inlined into a function that is given the thread handle: what `ceilings.py` counts.
 * The size is known at compile time, the type is not.
 */
#include "caller.h"

void *caller_alloc(struct fl_thread *thread)
{
    return fl_alloc(thread, CALLER_BLOCK_BYTES);
}

void caller_free_sized(struct fl_thread *thread, void *block)
{
    fl_free_sized(thread, block, CALLER_BLOCK_BYTES);
}

void *caller_type_alloc(struct fl_thread *thread, const struct fl_type *type)
{
    return fl_type_alloc(thread, type);
}

void caller_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_dealloc(thread, object, type);
}

void caller_dealloc_tagged(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag)
{
    fl_dealloc_tagged(thread, object, type, tag);
}

void caller_free_deferred(struct fl_thread *thread, void *block)
{
    fl_free_deferred(thread, block, CALLER_BLOCK_BYTES);
}

void caller_dealloc_deferred(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_dealloc_deferred(thread, object, type);
}

void caller_destroy(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_dealloc(thread, object, type);
}

void caller_queue(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_dealloc(thread, object, type);
}

void caller_run_pending(struct fl_thread *thread)
{
    fl_run_pending(thread, fl_budget_objects(1000));
}

struct fl_object *caller_object_alloc(struct fl_thread *thread, const struct fl_type *type)
{
    return fl_object_alloc(thread, type);
}

void caller_incref(struct fl_thread *thread, struct fl_object *object)
{
    fl_incref(thread, object);
}

void caller_decref(struct fl_thread *thread, struct fl_object *object)
{
    fl_decref(thread, object);
}

/* Not folded into the one before, so that they are counted apart. */
__attribute__((no_icf)) void caller_decref_last(struct fl_thread *thread, struct fl_object *object)
{
    fl_decref(thread, object);
}

/* Likewise, here and below. */
__attribute__((no_icf)) struct fl_object *caller_renew(struct fl_thread *thread, const struct fl_type *type)
{
    return fl_object_alloc(thread, type);
}

__attribute__((no_icf)) void caller_keep(struct fl_thread *thread, struct fl_object *object)
{
    fl_decref(thread, object);
}
