/* SPDX-License-Identifier: MIT */
#include "heap/stray.h"
#include "base/check.h"

static void tell(struct fl_heap *heap, const char *call, const struct fli_stray *stray)
{
    char others[32] = "";
    if (stray->others > 0)
        snprintf(others, sizeof others, ", and %u others", (unsigned)stray->others);
    size_t bytes = fli_class_bytes(stray->class_index);
    const void *of = heap;
    if (stray->was_free)
        fli_misuse(call, stray->block, NULL, "is a block of %zu bytes of heap %p that was freed twice%s", bytes, of,
                   others);
    else
        fli_misuse(call, stray->block, NULL, "%sis not a block of heap %p, but was freed as one of %zu bytes%s",
                   stray->block == NULL ? "NULL " : "", of, bytes, others);
}

void fli_stray_tell_each(struct fl_heap *heap, const char *call)
{
    struct fli_stray stray;
    while (fli_slab_take_stray(&heap->backing.slabs, &stray))
        tell(heap, call, &stray);
}
