/* SPDX-License-Identifier: MIT
 *
 * What happens at the interpreter's collections: drawers expire, memory that no reader can look at any more returns
 * to the OS, and caching follows the reference tracer. And what happens at a fork.
 *
 * In a free-threaded build, a collection stops every thread of the interpreter between the callbacks `start` and
 * `stop`. A reader that loaded a pointer before has taken its reference, or has given the pointer up, when the world
 * runs again. So slabs are retired before `start` returns, and return to the OS after `stop`. They are retired at no
 * other time, because no thread knows when the next collection comes: what a trim in between would retire stays in
 * use.
 *
 *     a grace period begins with    collection number fli_py_collections + 1
 *     it has ended                  once collections_over >= that number
 *
 * A collection does not stop other interpreters of the process. While there is one, no grace period ends.
 */
#ifndef FLI_PYTHON_COLLECT_H
#define FLI_PYTHON_COLLECT_H

#include "python/interpreter.h"

/* Joins gc.callbacks and the hooks of os.fork, once per interpreter. Returns 0, or -1 with an exception. */
int fli_py_collect_ready(void);

/* How many collections have begun. */
extern FLI_ATOMIC(int64_t) fli_py_collections;

/* The grace periods of the heap. */
extern const struct fl_grace_host fli_py_collect_grace;

#endif
