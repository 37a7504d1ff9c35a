/* SPDX-License-Identifier: MIT */
#include "api/bare.h"
#include "base/callback.h"

/* Of the calling OS thread. */
static __thread struct fli_callback drain; /* the call that ends what waits; address 0: there is none */
static __thread struct fli_pile waiting;   /* objects, all of them linked */

/* Notes that the drain has ended, also if an exception leaves it. */
static void stop(struct fli_callback **left)
{
    (*left)->caller.address = 0;
}

/* Ends an object, if there is one, and then all that waits. */
__attribute__((noinline)) static void run(struct fl_thread *face, struct fli_dead_object object)
{
    __attribute__((cleanup(stop))) struct fli_callback *mine = &drain;
    mine->caller = FLI_FRAME_HERE;
    if (object.type != NULL)
        fli_end_object(face, object);
    while (fli_load_own(&waiting.linked) != 0)
        fli_end_object(face, fli_pile_take(&waiting, NULL));
}

__attribute__((noinline)) static bool runs(void)
{
    return fli_callback_runs(&drain, FLI_FRAME_HERE);
}

void fli_bare_destroy(struct fl_thread *face, struct fli_dead_object object)
{
    if (!runs())
        run(face, object);
    else if (!fli_pile_put(&waiting, object, NULL))
        fli_end_object(face, object);
}

void fli_bare_unwound(void)
{
    if (fli_load_own(&waiting.linked) != 0 && !runs())
        run(fl_thread_current, (struct fli_dead_object){0, NULL});
}
