/* SPDX-License-Identifier: MIT
 *
 * Taking back what all threads keep, idle ones included: what is in their drawers and in their caches of blocks.
 *
 *     fli_py_reclaim_prepare     while the world runs       room for a haul is prepared
 *     fli_py_reclaim_stw         while it is stopped        drawers are hauled empty, caches of blocks flushed, free slabs
 *                                                           retired, retired buffers taken
 *     fli_py_reclaim_finish      while it runs again        the haul is given back to the interpreter, slabs and buffers
 *                                                           to the OS
 *
 * The last step takes most of the time.
 */
#ifndef FLI_PYTHON_RECLAIM_H
#define FLI_PYTHON_RECLAIM_H

#include "python/drawer.h"

struct fli_py_buffer;

struct fli_py_reclaim {
    struct fli_py_haul haul;
    size_t retain; /* bytes of free blocks that stay, about */
    struct fli_py_buffer *buffers;
    bool took_all; /* the world has been stopped, and the haul had room */
};

/* The three steps. After the third, slabs that are free serve any class, and about `warm` bytes of them keep their memory.
 * The caller has a thread state, holds no lock of the library, and is in no dealloc and no traverse. The last one may run
 * Python code. Without the second, nothing is taken back. */
void fli_py_reclaim_prepare(struct fli_py_reclaim *reclaim, size_t retain);
void fli_py_reclaim_stw(struct fli_py_reclaim *reclaim);
void fli_py_reclaim_finish(struct fli_py_reclaim *reclaim, size_t warm);

/* All three, with a stop of the world of their own. */
void fli_py_reclaim(size_t retain, size_t warm);

#endif
