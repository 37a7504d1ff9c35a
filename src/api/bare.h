/* SPDX-License-Identifier: MIT
 *
 * Destroying dead objects on an OS thread that is not exiting and has no handle, because memory for one is refused. Its
 * objects are those of the default heap.
 *
 *     a drain runs on the thread's stack     an object with words is linked; one without ends where it is dropped
 *     otherwise                              the call becomes the drain
 *
 * This uses no memory but the words of the objects, and a few words of the thread. The host may leave the drain as it may
 * leave that of a handle (destroy.c). What is linked then waits for the next call, or for fl_thread_unwound. If neither
 * comes before the thread ends, those objects stay live for good. In the child of a fork, so do objects that other threads
 * had linked.
 */
#ifndef FLI_BARE_H
#define FLI_BARE_H

#include "api/end.h"

/* Ends an object, or links it so that a drain ends it later. No lock may be held, here and below. */
FLI_COLD void fli_bare_destroy(struct fl_thread *face, struct fli_dead_object object);

/* Ends what is linked, unless a drain on the calling stack will. Does nothing on a thread that has linked nothing. */
void fli_bare_unwound(void);

#endif
