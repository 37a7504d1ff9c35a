/* SPDX-License-Identifier: MIT
 *
 * The service thread of a heap: a handle under a lock, which serves calls by OS threads that have none, before they attach
 * and after they have exited. It counts as no attached thread.
 */
#ifndef FLI_SERVICE_H
#define FLI_SERVICE_H

#include "heap/thread.h"

/* Makes the service thread of a new heap. Returns 0 or -ENOMEM. */
int fli_service_create(struct fl_heap *heap);
void fli_service_destroy(struct fl_heap *heap);

/* The heap's service thread, locked. */
struct fli_thread *fli_service_enter(struct fl_heap *heap);

/* Unlocks the thread if it is a service thread. */
void fli_service_leave(struct fli_thread *thread);

/* Flushes the heap's service thread, unless it is at work or is the caller. */
void fli_service_flush(struct fl_heap *heap, const struct fli_thread *caller);

#endif
