/* SPDX-License-Identifier: MIT */
#include "base/callback.h"
#include "base/check.h"

bool fli_callback_runs(const struct fli_callback *callback, struct fli_frame here)
{
    struct fli_frame caller = callback->caller;
    return caller.address > here.address && fli_stack_find(caller) != FLI_NOT_ON_STACK;
}

bool fli_callback_call(struct fli_callback *callback, const char *name, const void *of, void (*body)(void *argument),
                       void *argument)
{
    struct fli_frame here = FLI_FRAME_HERE;
    if (FLI_UNLIKELY(fli_callback_runs(callback, here)))
        return true;
    uintptr_t thread = fli_calling_thread();
    callback->caller = here;
    body(argument);
    callback->caller.address = 0;
    return fli_came_back(thread, name, of, NULL, "has a callback");
}
