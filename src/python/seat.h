/* SPDX-License-Identifier: MIT
 *
 * Seats: where a thread-local variable costs a call, the fast paths find the thread's struct fl_py_current in a table
 * (python_inline.h). A seat belongs to one thread, or to none. A thread whose seat is another's uses the variable.
 *
 * A seat is left before its thread ends, since a new thread may have the same address for its control block.
 */
#ifndef FLI_PYTHON_SEAT_H
#define FLI_PYTHON_SEAT_H

#include "python/interpreter.h"

/* Where the calling thread finds its caches from now on: in its seat if that is free, else in the variable. */
struct fl_py_current *fli_py_seat_take_locked(void);

/* If this is a seat, nobody owns it any more. By its owner, or in a forked child where the owner is not. */
void fli_py_seat_leave(struct fl_py_current *current);

#endif
