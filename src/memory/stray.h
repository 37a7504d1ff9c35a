/* SPDX-License-Identifier: MIT
 *
 * Strays: pointers that were freed as blocks of a class, where inline calls look at nothing, and are none, or were free.
 * They are found under locks, when blocks go home. The next call that holds none tells the host.
 */
#ifndef FLI_STRAY_H
#define FLI_STRAY_H

#include "memory/slab.h"

/* Notes a stray. Locks. */
FLI_COLD void fli_stray_note(struct fli_slabs *slabs, unsigned class_index, const void *block, bool was_free);

/* Takes one of the strays that have been noted. Returns false if there is none. Locks. */
bool fli_stray_take(struct fli_slabs *slabs, struct fli_stray *stray);

/* Tells the misuse handler of each stray that has been found in the slabs of a heap, on behalf of a public function. No
 * lock may be held. */
FLI_COLD void fli_stray_tell_each(struct fli_slabs *slabs, const void *heap, const char *call);

/* Whether there are strays that the host has not been told of. A hint. */
static inline bool fli_stray_is_untold(const struct fli_slabs *slabs)
{
    return FLI_UNLIKELY(fli_load_hint(&slabs->has_strays));
}

/* The same as fli_stray_tell_each, at the cost of a look where there is none. */
static inline void fli_stray_tell(struct fli_slabs *slabs, const void *heap, const char *call)
{
    if (fli_stray_is_untold(slabs))
        fli_stray_tell_each(slabs, heap, call);
}

#endif
