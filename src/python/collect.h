/* SPDX-License-Identifier: MIT
 *
 * What happens at the interpreter's collections: drawers expire, memory that no reader can look at any more returns
 * to the OS, and caching follows the reference tracer. And what happens at forks, and at the interpreter's end.
 *
 *     collection                  before it                                after it
 *     full (gc.collect())         everything is taken back (reclaim.h)     the same, if anything was used since
 *     of young objects            drawers expire, free slabs are retired   these slabs return to the OS
 *
 * In a free-threaded build, a collection of young objects stops every thread of the interpreter between the callbacks
 * `start` and `stop`. So it is a grace period by itself.
 */
#ifndef FLI_PYTHON_COLLECT_H
#define FLI_PYTHON_COLLECT_H

#include "python/interpreter.h"

/* Joins what copies do together (copies.h), once per interpreter. Returns 0, or -1 with an exception. */
int fli_py_collect_ready(void);

/* Turns caching off if a reference tracer is installed: slow halves of allocations look before a collection does. May run
 * Python code. */
void fli_py_collect_look(void);

/* How many collections have begun. */
extern FLI_ATOMIC(int64_t) fli_py_collections;

#endif
