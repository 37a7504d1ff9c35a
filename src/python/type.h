/* SPDX-License-Identifier: MIT
 *
 * fl_py_type_ready: a declared type against the type object that was made of it. Contradictions are refused here,
 * once and by name, so that the fast paths need not look.
 */
#ifndef FLI_PYTHON_TYPE_H
#define FLI_PYTHON_TYPE_H

#include "python/interpreter.h"

/* The types that have drawers, in their order. An entry is constant once a drawer of its type holds something. */
extern const struct fl_py_type *fli_py_type_of_drawer[FL_PY_TYPES];

/* How many these are. A thread that finds something in a drawer finds this no lower than the number of the drawer. */
extern FLI_ATOMIC(size_t) fli_py_types_with_drawers;

/* The names of enum fl_dealloc_kind. */
extern const char *const fli_py_kind_names[];

#endif
