/* SPDX-License-Identifier: MIT
 *
 * Telling the host of strays. They are found when a trim parks blocks, under locks; the host is told by the next call that
 * holds none.
 */
#ifndef FLI_STRAY_H
#define FLI_STRAY_H

#include "heap/heap.h"

/* Takes one of the strays that have been noted. Returns false if there is none. Locks. */
bool fli_stray_take(struct fli_slabs *slabs, struct fli_stray *stray);

/* Tells the misuse handler of each stray that has been found, on behalf of a public function. */
FLI_COLD void fli_stray_tell_each(struct fl_heap *heap, const char *call);

/* Whether there are strays that the host has not been told of. A hint. */
static inline bool fli_stray_is_untold(const struct fl_heap *heap)
{
    return FLI_UNLIKELY(fli_load_relaxed(&heap->backing.slabs.has_strays)); /* relaxed: a hint */
}

/* The same as fli_stray_tell_each, at the cost of a look where there is none. No lock may be held. */
static inline void fli_stray_tell(struct fl_heap *heap, const char *call)
{
    if (fli_stray_is_untold(heap))
        fli_stray_tell_each(heap, call);
}

#endif
