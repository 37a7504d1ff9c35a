/* SPDX-License-Identifier: MIT
 *
 * Readers that have stalled: whom a grace period has been waiting for longer than the heap's stall_seconds. Nothing
 * watches the clock; whoever defers, passes a quiescent state or waits has a look.
 */
#ifndef FLI_STALL_H
#define FLI_STALL_H

#include "heap/thread.h"

/* Names those that hold the grace period up, once per grace period. No lock may be held. */
void fli_stall_look(struct fl_heap *heap);

/* Waits a while for a grace period of the heap, and has a look if it has not ended. Returns whether it has. The
 * calling OS thread is in no section and holds no lock. A cancellation point where it has not ended: nothing may have
 * to be undone. */
bool fli_stall_wait(struct fl_heap *heap, int64_t token);

/* The same, in the form that fli_batch_drain takes. */
void fli_stall_wait_for(void *heap, int64_t token);

#endif
