/* SPDX-License-Identifier: MIT
 *
 * Which thread serves a call. A handle that is attached serves itself; the two stand-ins of thread.h are served by the
 * default heap.
 */
#ifndef FLI_SERVE_H
#define FLI_SERVE_H

#include "heap/thread.h"

/* The thread that serves a call on `thread`: itself; or, for a stand-in, the OS thread's own handle for the default
 * heap, attached if need be, or else the heap's service thread, locked. NULL with errno set if the default heap
 * cannot be made. fli_service_leave ends it. */
struct fli_thread *fli_serve_enter(struct fl_thread *thread);

#endif
