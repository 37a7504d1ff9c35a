/* SPDX-License-Identifier: MIT
 *
 * Submitting the blocks that threads have deferred (pool/unsubmitted.h), and telling the host of pressure.
 */
#ifndef FLI_SUBMIT_H
#define FLI_SUBMIT_H

#include "heap/thread.h"

/* Submits the blocks that the thread has deferred. Returns whether this has raised pressure. The owning thread, or
 * any other while that is stopped. */
bool fli_submit_owner(struct fli_thread *thread);

/* Does the same, and calls on_deferred if this has raised pressure. No lock may be held. */
void fli_submit(struct fli_thread *thread);

/* Does so for each handle of the heap that is bound to the calling OS thread. */
void fli_submit_ours(struct fl_heap *heap);

/* Calls on_deferred. Keeps errno. No lock may be held. */
FLI_COLD void fli_submit_tell_pressure(struct fl_heap *heap);

#endif
