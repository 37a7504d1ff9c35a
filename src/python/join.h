/* SPDX-License-Identifier: MIT
 *
 * Joining an interpreter: once for each, and what it calls at its end.
 */
#ifndef FLI_PYTHON_JOIN_H
#define FLI_PYTHON_JOIN_H

#include "python/interpreter.h"

/* Calls `join`, unless it has succeeded in the calling thread's interpreter before. An address of this copy of Freelane
 * says what is joined. Returns 0, or -1 with an exception. */
int fli_py_join_once(const void *what, int (*join)(void));

/* Has the function called when the interpreter ends, while threads can still attach; `self` is its first argument, or
 * NULL. Returns likewise. */
int fli_py_join_exit(PyMethodDef *method, PyObject *self);

#endif
