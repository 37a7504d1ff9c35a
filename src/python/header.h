/* SPDX-License-Identifier: MIT
 *
 * The header of objects, as the fast paths of free-threaded builds write it: checked, not believed.
 *
 * fl_py_init writes what PyObject_Init wrote when this was compiled. An interpreter may come that writes something
 * else. So the first fl_py_type_ready compares both, byte for byte. Where they differ, PyObject_Init writes all headers:
 *
 *     the fast paths               find no blocks and take none: fl_py_current leads to the stand-in of the heap
 *     stocks, immortal types       there are none, because they depend on counts in the header
 *     all else                     as before: blocks of the heap, caches of objects with gc
 */
#ifndef FLI_PYTHON_HEADER_H
#define FLI_PYTHON_HEADER_H

#include "python/interpreter.h"

/* Compares, once. Returns 0, or -1 with MemoryError. Under the lock of type.c. */
int fli_py_header_ready(void);

/* Whether the fast paths may write headers; constant once fli_py_header_ready has returned 0. */
bool fli_py_header_is_known(void);

#endif
