/* SPDX-License-Identifier: MIT
 *
 * The service thread of a heap: a handle under a lock. It serves calls by OS threads without a handle, before they
 * attach and after they have exited. It does not count as an attached thread. Any thread may use it, between
 * fli_service_enter and fli_service_leave.
 */
#ifndef FLI_SERVICE_H
#define FLI_SERVICE_H

#include "heap/thread.h"

/* Creates the service thread of a new heap. Returns 0 or -ENOMEM. */
int fli_service_create(struct fl_heap *heap);
void fli_service_destroy(struct fl_heap *heap);

/* Locks the heap's service thread and returns it. */
struct fli_thread *fli_service_enter(struct fl_heap *heap);

/* Unlocks the thread if it is a service thread. */
void fli_service_leave(struct fli_thread *thread);

/* Flushes the heap's service thread, unless it is at work or is the caller. */
void fli_service_flush(struct fl_heap *heap, const struct fli_thread *caller);

#endif
