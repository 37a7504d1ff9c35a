/* SPDX-License-Identifier: MIT */
#include "memory/stray.h"
#include "base/check.h"

#include <stdio.h>

static void note(struct fli_slabs *slabs, struct fli_stray stray)
{
    fli_lock(&slabs->lock);
    if (slabs->stray_count < FLI_STRAYS_MOST)
        slabs->strays[slabs->stray_count++] = stray;
    else
        slabs->strays[FLI_STRAYS_MOST - 1].others++;
    fli_store_own(&slabs->has_strays, true);
    fli_unlock(&slabs->lock);
}

void fli_stray_note(struct fli_slabs *slabs, unsigned class_index, const void *block, bool was_free)
{
    note(slabs, (struct fli_stray){.block = block,
                                   .bytes = fli_class_bytes(class_index),
                                   .class_index = (uint8_t)class_index,
                                   .was_free = was_free});
}

void fli_stray_note_written(struct fli_slabs *slabs, const void *block, size_t bytes, const char *written)
{
    note(slabs, (struct fli_stray){.block = block, .bytes = bytes, .written = written});
}

bool fli_stray_take(struct fli_slabs *slabs, struct fli_stray *stray)
{
    fli_lock(&slabs->lock);
    bool found = slabs->stray_count > 0;
    if (found)
        *stray = slabs->strays[--slabs->stray_count];
    else
        fli_store_own(&slabs->has_strays, false);
    fli_unlock(&slabs->lock);
    return found;
}

static void tell(const void *heap, const char *call, const struct fli_stray *stray)
{
    char others[32] = "";
    if (stray->others > 0)
        snprintf(others, sizeof others, ", and %u others", (unsigned)stray->others);
    size_t bytes = stray->bytes;
    if (stray->written != NULL)
        fli_misuse(call, stray->block, NULL, "is a block of %zu bytes of heap %p that %s%s", bytes, heap,
                   stray->written, others);
    else if (stray->was_free)
        fli_misuse(call, stray->block, NULL, "is a block of %zu bytes of heap %p that was freed twice%s", bytes, heap,
                   others);
    else
        fli_misuse(call, stray->block, NULL, "%sis not a block of heap %p, but was freed as one of %zu bytes%s",
                   stray->block == NULL ? "NULL " : "", heap, bytes, others);
}

void fli_stray_tell_each(struct fli_slabs *slabs, const void *heap, const char *call)
{
    struct fli_stray stray;
    while (fli_stray_take(slabs, &stray))
        tell(heap, call, &stray);
}
