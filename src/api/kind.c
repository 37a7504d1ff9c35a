/* SPDX-License-Identifier: MIT
 *
 * The deallocations in which the host says the kind: as two bits, or as a tag.
 */
#include "api/destroy.h"
#include "api/pending.h"
#include "base/check.h"

/* Whether a type with FL_TYPE_ANY_KIND has the callback that a kind needs. */
static bool has_callback(const struct fl_type *type, enum fl_dealloc_kind kind)
{
    switch (kind) {
    case FL_DEALLOC_LEGACY:
        return type->dealloc != NULL;
    case FL_DEALLOC_PLAIN:
        return true;
    case FL_DEALLOC_CLEAR:
        return type->clear != NULL || type->clear_some != NULL;
    case FL_DEALLOC_FINALIZE:
        return type->finalize != NULL;
    }
    return false;
}

void fl_dealloc_as_slow(struct fl_thread *thread, void *object, const struct fl_type *type, enum fl_dealloc_kind kind)
{
    if (!fli_instance_is_ready(type, object, "fl_dealloc_as"))
        return;
    if (kind == type->kind)
        fl_dealloc_slow(thread, object, type);
    else if ((type->flags & FL_TYPE_ANY_KIND) == 0)
        fli_misuse("fl_dealloc_as", object, type->name, "is %s, not %s", fli_kind_name(type->kind),
                   fli_kind_name(kind));
    else if (!has_callback(type, kind))
        fli_misuse("fl_dealloc_as", object, type->name, "has no callback for the kind %s", fli_kind_name(kind));
    else if (kind == FL_DEALLOC_PLAIN)
        fli_instance_free(thread, object, type, "fl_dealloc_as");
    else if (kind == FL_DEALLOC_LEGACY && !fli_pending_is_later(fli_thread_of(thread), type))
        type->dealloc(thread, object, type);
    else
        fli_destroy_as(thread, object, type, kind);
}

_Static_assert(2 * FL_CLASS_COUNT * sizeof(struct fl_cache) <= 1 << FL_TAG_BITS, "a tag is small");
_Static_assert(offsetof(struct fl_thread, cache) == 0 && offsetof(struct fl_cache, top) == 0, "a tag is a place");

void fl_dealloc_tagged_slow(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag)
{
    if (!fli_instance_is_ready(type, object, "fl_dealloc_tagged"))
        return;
    if (tag != fl_type_tag(type)) {
        fli_misuse("fl_dealloc_tagged", object, type->name, "has the tag %u, not %zu", fl_type_tag(type), tag);
        return;
    }
    fl_dealloc_slow(thread, object, type);
}
