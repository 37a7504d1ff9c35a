/* SPDX-License-Identifier: MIT
 *
 * A hash table of types and their declarations, for types whose tp_dealloc is one that many share (runtime.c).
 *
 * Entries are never freed. A type at the address of one that has ended takes over its entry. A type has the shared
 * tp_dealloc only if it is in the table itself, or inherits the slot from such a type: what has ended is not found where
 * another kind of type has its address now.
 *
 *     label  operation                       order     partner
 *     A1     a new entry is put into place   release   A2: its type, and the entries behind it
 *     A2     a search begins                 acquire   A1
 */
#ifndef FLI_PYTHON_LOOKUP_H
#define FLI_PYTHON_LOOKUP_H

#include "python/interpreter.h"

/* Enters a type. One thread at a time. Returns 0, or -1 with MemoryError. */
int fli_py_lookup_add(const struct fl_py_type *self, PyTypeObject *type);

/* The declaration that a type has been entered with, or NULL. Lock-free. */
const struct fl_py_type *fli_py_lookup_find(const PyTypeObject *type);

/* The declaration for which a type, or an object of it, has come to the shared tp_dealloc: that of the type, or of the
 * first of its bases which has it. NULL if none has been entered. Lock-free. */
const struct fl_py_type *fli_py_lookup(PyTypeObject *type, destructor shared);

#endif
