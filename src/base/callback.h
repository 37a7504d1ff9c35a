/* SPDX-License-Identifier: MIT
 *
 * Callbacks of the host, which the library does not call from inside themselves.
 *
 * The host may leave a callback by returning, by an exception or by longjmp. The library notices only a return at once,
 * so a mark "it runs" may be stale. When the callback is due again, the library checks the mark:
 *
 *     the stack is as short as when the callback was called, or shorter    it was left
 *     the function that called it is on the stack                          it runs
 *     the function is not on the stack                                     it was left, or runs on another stack
 *     the stack cannot be read                                             it is taken to run
 *
 * So no callback is called from inside itself on one stack. Where the stack can be read, a callback that was left can
 * always be called again. The stack is read only if a callback is due while its mark is set.
 */
#ifndef FLI_CALLBACK_H
#define FLI_CALLBACK_H

#include "base/stack.h"

/* The mark of one callback: of an OS thread or of a handle. All zero at first. */
struct fli_callback {
    struct fli_frame caller; /* the function that calls it; address 0: it does not run */
};

/* Whether the callback runs. The mark may also be the frame of a function of the library; then the answer is about that
 * function. `here` is the frame of the calling function. */
bool fli_callback_runs(const struct fli_callback *callback, struct fli_frame here);

/* Calls `body`, which calls the host, unless the callback runs already. `name` and `of` say which callback of what it
 * is. In checked builds, if `body` returns on another OS thread, this reports a misuse and returns false. No lock may
 * be held. The host may leave the call without a return, so the library's state must be complete before it. */
FLI_COLD bool fli_callback_call(struct fli_callback *callback, const char *name, const void *of,
                                void (*body)(void *argument), void *argument);

#endif
