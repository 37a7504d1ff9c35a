/* SPDX-License-Identifier: MIT
 *
 * Destroying dead objects on an OS thread that has no handle, because memory for one is refused, and does not exit. Its
 * objects are those of the default heap.
 *
 *     the thread has a drain on its stack    an object with words is linked; another ends where it is dropped
 *     otherwise                              the call becomes the drain
 *
 * There is no memory but the words of the objects, and a few of the thread. The host may leave the drain as it may leave
 * that of a handle (destroy.c). What is linked then waits for the next call, or for fl_thread_unwound. If there is none
 * before the thread is gone, it is live for ever; so is, in the child of a fork, what other threads had linked.
 */
#ifndef FLI_BARE_H
#define FLI_BARE_H

#include "api/end.h"

/* Ends an object that waits inside callbacks (heap/dead.h), or has it wait. No lock may be held, here and below. */
FLI_COLD void fli_bare_destroy(struct fl_thread *face, struct fli_dead_object object);

/* Ends what waits, unless a drain on the calling stack will. Does nothing on a thread where nothing does. */
void fli_bare_unwound(void);

#endif
