/* SPDX-License-Identifier: MIT
 *
 * Where objects of a heap have their counts and their type: as in a struct fl_object, or in a header of the host's own.
 * What hands objects over and merges them knows their counts alone. By the layout it finds the object and its type, when
 * the object is dead or misuse is reported.
 */
#ifndef FLI_LAYOUT_H
#define FLI_LAYOUT_H

#include "base/atomic.h"
#include "base/base.h"

#include <freelane/object.h>

#include <stddef.h>

/* That of a struct fl_object. */
static const struct fl_object_layout fli_layout_own = {sizeof(struct fl_object), offsetof(struct fl_object, counts),
                                                       offsetof(struct fl_object, type)};

static inline void *fli_layout_object(const struct fl_object_layout *layout, const struct fl_counts *counts)
{
    return (char *)(uintptr_t)counts - layout->counts;
}

static inline const struct fl_type *fli_layout_type(const struct fl_object_layout *layout,
                                                    const struct fl_counts *counts)
{
    char *object = (char *)fli_layout_object(layout, counts);
    return fli_load_public((const struct fl_type **)(void *)(object + layout->type));
}

/* Whether `bytes` bytes at an offset overlap the counts. */
static inline bool fli_layout_overlaps_counts(const struct fl_object_layout *layout, uint32_t offset, uint32_t bytes)
{
    return offset < (uint64_t)layout->counts + sizeof(struct fl_counts) && layout->counts < (uint64_t)offset + bytes;
}

/* Whether they overlap the counts or the type. */
static inline bool fli_layout_overlaps(const struct fl_object_layout *layout, uint32_t offset, uint32_t bytes)
{
    return fli_layout_overlaps_counts(layout, offset, bytes) ||
           (offset < (uint64_t)layout->type + sizeof(void *) && layout->type < (uint64_t)offset + bytes);
}

/* Whether the type follows the counts, as in a struct fl_object: then both may serve as the words of a dead object. */
static inline bool fli_layout_is_row(const struct fl_object_layout *layout)
{
    return layout->type == layout->counts + sizeof(struct fl_counts) && layout->counts % sizeof(void *) == 0;
}

/* Verifies a layout: of the named type, or if that is NULL of a heap. Returns 0, or -EINVAL with a message. */
int fli_layout_check(const struct fl_object_layout *layout, const char *type, char *error, size_t error_size);

#endif
