/* SPDX-License-Identifier: MIT
 *
 * Lists of dead objects (heap/dead.h) on an OS thread that exits, whose handles have none any more: one for each heap whose
 * objects die inside each other. `stack` of a list names its heap, and `next` is the list of the drain in whose callbacks
 * its own began.
 *
 * A list has memory of its own: what waits in it outlives the frame of its drain, which the host may leave by an exception
 * or by longjmp. After an exception it is left to the heap. After a longjmp the next drain of the thread goes on with it.
 * Only where memory is refused, the list lies in that frame, and what waits is lost with it.
 */
#ifndef FLI_LATE_H
#define FLI_LATE_H

#include "heap/dead.h"

/* The list of the heap; NULL if there is none. */
struct fli_dead *fli_late_find(const struct fl_heap *heap);

/* The same, and makes one: in `frame`, which is all zero, if memory is refused. */
struct fli_dead *fli_late_begin(const struct fl_heap *heap, struct fli_dead *frame);

/* Ends a list. What waits in it is left to the heap, unless it lies in `frame`. No lock may be held. */
void fli_late_end(struct fl_heap *heap, struct fli_dead *list, const struct fli_dead *frame);

#endif
