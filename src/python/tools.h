/* SPDX-License-Identifier: MIT
 *
 * Tools that look at each object of the interpreter: the debug hooks (PYTHONMALLOC=debug, -X dev), the C library's
 * allocator (PYTHONMALLOC=malloc), allocators that a program has put around the interpreter's (PyMem_SetAllocator), and
 * AddressSanitizer, where Freelane does not inform it. With one of them, all types get the interpreter's tp_alloc and
 * tp_free (type.c), so that the tool sees their objects as any others; and caching is off for good. The threads' fast paths
 * then find nothing, so a tp_alloc that is called by its name comes to its slow half, which does the same.
 *
 * The first fl_py_type_ready looks, and asks what is there, not what the environment wanted. tracemalloc is no such
 * tool: caching follows it (collect.h).
 */
#ifndef FLI_PYTHON_TOOLS_H
#define FLI_PYTHON_TOOLS_H

#include "python/interpreter.h"

/* Looks for a tool, once, unless the options say that tools do not matter. The heap is ready. */
void fli_py_tools_ready(void);

/* Whether one was found; constant once fli_py_tools_ready has returned. */
bool fli_py_tools_found(void);

#endif
