/* SPDX-License-Identifier: MIT
 *
 * Taking back what all threads keep, idle ones included: what is in their drawers and in their caches of blocks.
 *
 *     while the world runs       room for a haul is prepared
 *     while it is stopped        drawers are hauled empty, caches of blocks flushed, free slabs retired,
 *                                retired buffers taken
 *     while it runs again        the haul is given back to the interpreter, slabs and buffers to the OS
 *
 * The last step takes most of the time.
 */
#ifndef FLI_PYTHON_RECLAIM_H
#define FLI_PYTHON_RECLAIM_H

#include "python/interpreter.h"

/* Takes everything back, except about `retain` bytes of free blocks. Slabs that are free then serve any class, and
 * about `warm` bytes of them keep their memory. The caller has a thread state, holds no lock of
 * the library, and is in no dealloc and no traverse. May run Python code. */
void fli_py_reclaim(size_t retain, size_t warm);

#endif
