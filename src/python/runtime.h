/* SPDX-License-Identifier: MIT
 *
 * Declarations without slots of their own: those that an extension makes at run time beyond FL_PY_NEW_TYPES.
 * fl_py_type_ready gives their types the interpreter's tp_alloc and tp_free, as in a subinterpreter. Deallocation stays as
 * declared: all of them share one tp_dealloc, which looks the declaration up (lookup.h).
 */
#ifndef FLI_PYTHON_RUNTIME_H
#define FLI_PYTHON_RUNTIME_H

#include "python/interpreter.h"

/* Their tp_dealloc. */
void fli_py_runtime_dealloc(PyObject *object);

/* Whether a declaration is such a one. */
static inline bool fli_py_is_looked_up(const struct fl_py_type *self)
{
    return self->dealloc == fli_py_runtime_dealloc;
}

/* How many of them have been made. */
size_t fli_py_runtime_beyond(void);

#endif
