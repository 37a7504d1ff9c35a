/* SPDX-License-Identifier: MIT
 *
 * The end of one dead object: its callbacks, and the freeing of its memory. Called by drains (destroy.c) and
 * fl_run_pending (pending.c), which say when it is an object's turn.
 *
 * What comes before the freeing stands in the bits of the object's entry (heap/pile.h). An entry without bits is that
 * of an object that is cleared and freed, and so the common end asks a single question.
 */
#ifndef FLI_END_H
#define FLI_END_H

#include "api/instance.h"
#include "base/check.h"

/* Runs the callbacks of an object and frees it. If its `clear_some` leaves more, the object waits again. The handle's
 * thread; no lock may be held, here and below. */
void fli_end_object(struct fl_thread *thread, struct fli_dead_object object);

/* Begins the end of an object whose entry has bits. Returns whether it is left to do to call its `clear`, if there
 * is one, and to free it. */
bool fli_end_begin(struct fl_thread *thread, struct fli_dead_object object);

/* Whether the object can be one of its type in the thread's heap; reports misuse if not. */
bool fli_end_is_live(struct fl_thread *thread, struct fli_dead_object object);

/* Clears an object. Returns false, reported as misuse of `call`, if `clear` returned on another OS thread. */
static inline bool fli_end_clear(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    uintptr_t caller = fli_calling_thread();
    type->clear(thread, object, type);
    return fli_came_back(caller, call, object, type->name, "has a clear");
}

/* fli_end_object, but for LEGACY objects. */
static inline __attribute__((always_inline)) void fli_end_quickly(struct fl_thread *thread,
                                                                  struct fli_dead_object object)
{
    uintptr_t entry = object.entry;
    bool clears = true;
    if (FLI_UNLIKELY((entry & FLI_DEAD_BITS) != 0)) {
        if (!fli_end_begin(thread, object))
            return;
        entry &= ~(uintptr_t)FLI_DEAD_BITS;
        clears = object.type->clear != NULL;
    }
    if (!clears || fli_end_clear(thread, (void *)entry, object.type, "fl_dealloc"))
        fl_type_free(thread, (void *)entry, object.type);
}

#endif
