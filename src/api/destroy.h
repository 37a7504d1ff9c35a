/* SPDX-License-Identifier: MIT
 *
 * Destroying dead objects, and what dies of them: for fl_dealloc (destroy.c, kind.c), fl_run_pending (pending.c), and
 * the object layer.
 */
#ifndef FLI_DESTROY_H
#define FLI_DESTROY_H

#include "api/end.h"

/* Ends an object as `kind` says, which is not PLAIN: destroys it, or has it wait. Reports misuse of fl_dealloc. The
 * handle's thread; no lock may be held. */
void fli_destroy_as(struct fl_thread *thread, void *object, const struct fl_type *type, enum fl_dealloc_kind kind);

/* Clears and frees an object whose other callbacks have run, in the heap of the handle. Has it wait if such objects end
 * later there. What dies of it is destroyed, too, unless a drain runs that will. The handle's thread; no lock may be
 * held. */
void fli_destroy_rest(struct fli_thread *thread, void *object, const struct fl_type *type);

/* Destroys what waits in the list that the caller is the drain of. The handle's thread; no lock may be held. */
FLI_COLD void fli_destroy_waiting(struct fli_thread *thread, struct fli_dead *list);

/* Whether a drain of the list runs, as far as the calling frame tells. */
static inline __attribute__((always_inline)) bool fli_destroy_is_draining(const struct fli_dead *list)
{
    return FLI_FRAME_BEGIN < list->drain.caller.address;
}

/* Ends a drain, also if an exception leaves it. */
static inline void fli_destroy_stop(struct fli_dead **list)
{
    (*list)->drain.caller.address = 0;
}

#endif
