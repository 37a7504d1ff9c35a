/* SPDX-License-Identifier: MIT
 *
 * Strays: pointers that were freed as blocks of a class, but are none or were free already. Inline calls do not check
 * that. Threads find strays under locks, when blocks go home, and note them here. The next call that holds no lock
 * reports them to the host.
 *
 * A hardened heap also notes blocks that were written where or when nobody has them.
 */
#ifndef FLI_STRAY_H
#define FLI_STRAY_H

#include "memory/slab.h"

/* Notes a stray. Locks. */
FLI_COLD void fli_stray_note(struct fli_slabs *slabs, unsigned class_index, const void *block, bool was_free);

/* Notes a block of a hardened heap. `written` says when it was written, as below. Locks. */
FLI_COLD void fli_stray_note_written(struct fli_slabs *slabs, const void *block, size_t bytes, const char *written);

#define FLI_STRAY_WAS_FREE "was written after it was freed"
#define FLI_STRAY_BEHIND   "was written behind its end"

/* Takes one of the strays that have been noted. Returns false if there is none. Locks. */
bool fli_stray_take(struct fli_slabs *slabs, struct fli_stray *stray);

/* Reports each noted stray of a heap to the misuse handler, as found by the public function `call`. No lock may be
 * held. */
FLI_COLD void fli_stray_tell_each(struct fli_slabs *slabs, const void *heap, const char *call);

/* Whether there are strays that have not been reported. A hint. */
static inline bool fli_stray_is_untold(const struct fli_slabs *slabs)
{
    return FLI_UNLIKELY(fli_load_hint(&slabs->has_strays));
}

/* Does what fli_stray_tell_each does, at the cost of one load if there is no stray. */
static inline void fli_stray_tell(struct fli_slabs *slabs, const void *heap, const char *call)
{
    if (fli_stray_is_untold(slabs))
        fli_stray_tell_each(slabs, heap, call);
}

#endif
