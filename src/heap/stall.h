/* SPDX-License-Identifier: MIT
 *
 * Stalled readers: those for which a grace period has waited longer than the heap's stall_seconds. No thread watches
 * the clock. A thread that defers, passes a quiescent state or waits looks at it.
 */
#ifndef FLI_STALL_H
#define FLI_STALL_H

#include "heap/thread.h"

/* Names the readers that hold the grace period up, once per grace period. No lock may be held. */
void fli_stall_look(struct fl_heap *heap);

/* Waits a while for a grace period of the heap, and looks for stalled readers if it has not ended. Returns whether
 * it has. The calling OS thread is in no section and holds no lock. A cancellation point if the grace period has not
 * ended: the caller must have nothing to undo. */
bool fli_stall_wait(struct fl_heap *heap, int64_t token);

/* The same, in the form that fli_batch_drain takes. */
void fli_stall_wait_for(void *heap, int64_t token);

#endif
