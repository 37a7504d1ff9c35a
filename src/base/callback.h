/* SPDX-License-Identifier: MIT
 *
 * Callbacks of the host that are not called from inside themselves.
 *
 * The host may leave a callback by returning, by an exception or by longjmp. Only the first is noticed at once, so
 * that a mark "it runs" may be stale. When the callback is to be called again, the mark is looked into:
 *
 *     the stack is as short as when the callback was called, or shorter    it was left
 *     the function that called it is on the stack                          it runs
 *     the function is not on the stack                                     it was left, or runs on another stack
 *     the stack cannot be read                                             it is taken to run
 *
 * No callback is called from inside itself on one stack, therefore, and none that was left is kept from being called
 * where the stack can be read. Nothing of this costs anything unless a callback is due while its mark is set.
 */
#ifndef FLI_CALLBACK_H
#define FLI_CALLBACK_H

#include "base/stack.h"

/* The mark of one callback: of an OS thread or of a handle. All zero at first. */
struct fli_callback {
    struct fli_frame caller; /* the function that calls it; address 0: it does not run */
};

/* Whether the callback runs, or, by the same rules, a function of the library that has put its frame there. `here` is the
 * frame of the calling function. */
bool fli_callback_runs(const struct fli_callback *callback, struct fli_frame here);

/* Calls `body`, which calls the host, unless it runs already. `name` and `of` say which callback of what it is.
 * Returns false, after the host has been told, if it came back on another OS thread (checked builds only). No lock
 * may be held, and the library's state is such that the call need not return. */
FLI_COLD bool fli_callback_call(struct fli_callback *callback, const char *name, const void *of,
                                void (*body)(void *argument), void *argument);

#endif
