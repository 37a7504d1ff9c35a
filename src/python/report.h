/* SPDX-License-Identifier: MIT
 *
 * What this copy of Freelane tells of itself in Python. Several copies may live in one process, each hidden in its
 * extension. They meet in the interpreter:
 *
 *     sys._freelane                    a list with one function for each copy; the Python package reads it
 *     the function                     takes no argument, and returns a dict of what its copy holds
 *     its __self__                     a dict of pairs, one for each type that the copy has made ready: a weak reference
 *                                      to it, and the address of its declaration
 *     the interpreter's dict           that dict under the key "freelane.types.<address in the copy>"
 *
 * All of this belongs to the interpreter and goes with it. The dict has
 *
 *     version    1: of this layout; a change that readers must know gets another number
 *     types      a list of dicts: type, kind, gc, lent, size, block, live, live_bytes, derived, and of a type with gc kept
 *     sizes      a list of dicts, one for each size class in use: block, slabs, live, kept
 *     others     live blocks of other types: of C subtypes, or being made
 *     caching    whether caching is on
 *     stats      the fields of struct fl_py_stats
 *
 * `lent` says that fl_py_type_ready has given the type the interpreter's tp_alloc and tp_free: its objects without gc are not
 * counted. Sizes are bytes, other numbers are objects or blocks. `block` is the size of the blocks of a type without gc, or 0.
 * Live objects without gc are the heap's live blocks with that type in their header. Live objects with gc are those
 * that the collector tracks and has not frozen. `derived` are objects of subtypes among these. `kept` are freed
 * objects or blocks that the next allocation may take. Numbers are of moments that lie close together.
 *
 * In another interpreter than the main one no blocks are counted: all belong to the main one, and a report does not stop
 * the threads of that.
 */
#ifndef FLI_PYTHON_REPORT_H
#define FLI_PYTHON_REPORT_H

#include "python/interpreter.h"

/* Enters a type that this declaration has made ready. The first type enters this copy, too. Returns
 * 0, or -1 with an exception. May run Python code. */
int fli_py_report_add(const struct fl_py_type *self, PyTypeObject *type);

#endif
