/* SPDX-License-Identifier: MIT
 *
 * Types of objects: fl_type_ready for types whose instances begin with a header, and what it must not overlap.
 */
#include "base/check.h"

#include <freelane/object.h>

#include <errno.h>

const struct fl_header fl_object_header = {.bytes = sizeof(struct fl_object)};

/* Whether dead objects of the type may be linked through their counts. A stale reader would look at these. */
static bool may_link_counts(const struct fl_type *type, const struct fl_type *base)
{
    return type->header == NULL && (base == NULL || base->header == NULL);
}

/* The first byte that the type uses for something else though it lies in the header, or the header's size. Words at 0
 * are the counts and the type, which serve as a link and the type. */
static uint32_t first_overlap(const struct fl_type *type, const struct fl_type *base)
{
    uint32_t header = sizeof(struct fl_object), words = type->words_offset;
    bool may_be_counts = words == 0 && may_link_counts(type, base);
    if ((type->flags & FL_TYPE_HAS_WORDS) != 0 && words < header && !may_be_counts)
        return words;
    if (type->finalized_mask != 0 && type->finalized_offset < header)
        return type->finalized_offset;
    return header;
}

int fl_object_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size)
{
    const char *name = type->name != NULL ? type->name : "(no name)";
    size_t size = type->size == 0 && base != NULL ? base->size : type->size;
    uint32_t overlap = first_overlap(type, base);
    if (size < sizeof(struct fl_object))
        return fli_complain(-EINVAL, error, error_size, "type '%s' has %zu bytes, less than the header of %zu", name,
                            size, sizeof(struct fl_object));
    if (overlap < sizeof(struct fl_object))
        return fli_complain(-EINVAL, error, error_size,
                            "type '%s' has its words or its finalized byte at %u, in the header of %zu bytes", name,
                            (unsigned)overlap, sizeof(struct fl_object));
    struct fl_type ready = *type;
    if ((ready.flags & FL_TYPE_HAS_WORDS) == 0 && may_link_counts(type, base)) {
        ready.flags |= FL_TYPE_HAS_WORDS;
        ready.words_offset = base != NULL && (base->flags & FL_TYPE_HAS_WORDS) != 0 ? base->words_offset : 0;
    }
    int failed = fl_type_ready(&ready, base, error, error_size);
    if (failed == 0)
        *type = ready;
    return failed;
}
