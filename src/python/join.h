/* SPDX-License-Identifier: MIT
 *
 * Joining an interpreter: once for each, and what it calls at its end.
 */
#ifndef FLI_PYTHON_JOIN_H
#define FLI_PYTHON_JOIN_H

#include "python/interpreter.h"

/* Calls `join`, unless it has succeeded in the calling thread's interpreter before. An address of this copy of Freelane
 * says what is joined. Threads that come meanwhile call it, too, and so may Python code that `join` runs. Returns 0, or -1
 * with an exception. */
int fli_py_join_once(const void *what, int (*join)(void));

/* Whether no thread has asked before whether it is the first to join this in its interpreter: 1 or 0, or -1 with an
 * exception. Runs no Python code. */
int fli_py_join_first(const void *what);

/* Makes `value`, a new object, that of a key, unless there is one. `found` becomes a new reference to the key's; NULL if that
 * fails. Returns 1 if there was one, 0 if not, or -1 with an exception. Several threads, also of other copies of Freelane, may
 * do so at once: one value is found by all. */
int fli_py_join_set_default(PyObject *dict, PyObject *key, PyObject *value, PyObject **found);

/* Has the function called when the interpreter ends, while threads can still attach; `self` is its first argument, or
 * NULL. Returns likewise. */
int fli_py_join_exit(PyMethodDef *method, PyObject *self);

#endif
