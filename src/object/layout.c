/* SPDX-License-Identifier: MIT */
#include "object/layout.h"
#include "base/check.h"
#include "heap/registry.h"
#include "object/slots.h"

#include <errno.h>

int fli_layout_check(const struct fl_object_layout *layout, char *error, size_t error_size)
{
    uint32_t counts = layout->counts, type = layout->type;
    uint64_t counts_end = (uint64_t)counts + sizeof(struct fl_counts), type_end = (uint64_t)type + sizeof(void *);
    if (counts % _Alignof(struct fl_counts) != 0 || type % sizeof(void *) != 0)
        return fli_complain(-EINVAL, error, error_size,
                            "a header has its counts at %u, or its type at %u, which is not aligned",
                            (unsigned)counts, (unsigned)type);
    if (fli_layout_overlaps_counts(layout, type, sizeof(void *)))
        return fli_complain(-EINVAL, error, error_size,
                            "a header has its counts at %u and its type at %u, where they overlap", (unsigned)counts,
                            (unsigned)type);
    if (counts_end > layout->bytes || type_end > layout->bytes)
        return fli_complain(-EINVAL, error, error_size,
                            "a header of %u bytes has its counts at %u, or its type at %u, beyond its end",
                            (unsigned)layout->bytes, (unsigned)counts, (unsigned)type);
    return 0;
}

int fl_heap_set_object_layout(struct fl_heap *heap, const struct fl_object_layout *layout, char *error,
                              size_t error_size)
{
    int failed = fli_layout_check(layout, error, error_size);
    if (failed != 0)
        return failed;
    struct fli_slots *slots = fli_slots_obtain(heap);
    if (slots == NULL)
        return fli_complain(-ENOMEM, error, error_size, "no memory for the table of those who own objects");
    fli_registry_lock();
    if (slots->used == 0)
        slots->layout = *layout;
    else
        failed = -EBUSY;
    fli_registry_unlock();
    return failed == 0 ? 0 : fli_complain(failed, error, error_size, "the heap has had objects of another layout");
}
