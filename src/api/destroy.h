/* SPDX-License-Identifier: MIT
 *
 * The end of one dead object, for the calls that run callbacks: fl_dealloc (destroy.c, kind.c) and fl_run_pending
 * (pending.c).
 */
#ifndef FLI_DESTROY_H
#define FLI_DESTROY_H

#include "api/instance.h"

/* Runs the callbacks of an object and frees it. If its `clear_some` leaves more, the object waits again. The handle's
 * thread; no lock may be held. */
void fli_destroy_end(struct fl_thread *thread, struct fli_dead_object object);

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

/* Whether the object can be one of its type in the thread's heap; reports misuse if not. */
bool fli_destroy_is_live(struct fl_thread *thread, struct fli_dead_object object);

#endif
