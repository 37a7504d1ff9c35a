/* SPDX-License-Identifier: MIT
 *
 * Which thread serves a call. An attached handle serves its own calls. The default heap serves those on the stand-ins
 * of thread.h.
 */
#ifndef FLI_SERVE_H
#define FLI_SERVE_H

#include "heap/thread.h"

/* The thread that serves a call on `thread`. For an attached handle, that is the handle. For a stand-in, it is the
 * OS thread's own handle for the default heap, which this attaches if need be. If the OS thread cannot attach, it is
 * the heap's service thread, locked. NULL with errno set if the default heap cannot be created. The caller ends the
 * call by fli_service_leave. A handle that is left is served by its heap's service thread. */
struct fli_thread *fli_serve_enter(struct fl_thread *thread);

/* The attached thread that a handle stands for; NULL if none can be had. Keeps errno. */
struct fli_thread *fli_serve_attached(struct fl_thread *face);

#endif
