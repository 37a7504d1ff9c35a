/* SPDX-License-Identifier: MIT
 *
 * The heaps of the main interpreter: that of objects without gc (heap.h) and that of memory (memory.h). The first thread
 * that needs one makes it, and none is ever destroyed, because what lies in it may outlive the interpreter. Where the OS
 * refuses a heap, it is asked again now and then.
 *
 *     label  operation                        order      partner
 *     O3     a heap is stored                 release    O4: the heap is whole, and so is what `prepare` has made
 *     O4     a heap is loaded                 acquire    O3
 *
 * One lock serves all. No thread calls the interpreter while it makes a heap, so none is stopped, or left behind by a
 * fork, with the lock.
 */
#ifndef FLI_PYTHON_MAKER_H
#define FLI_PYTHON_MAKER_H

#include "python/interpreter.h"

struct fli_py_maker {
    int (*prepare)(void);           /* called before the heap is made: 0 or a negative errno value; NULL: nothing */
    const struct fl_header *header; /* what stale readers look at; NULL: there are none */
    struct fl_py_slabs *slabs;      /* where the fast paths find the address range of its slabs */
    FLI_ATOMIC(struct fl_heap *) heap;
    FLI_ATOMIC(unsigned) do_without; /* so many times more, before the OS is asked again */
};

/* The heap; NULL while there is none. */
struct fl_heap *fli_py_maker_get(const struct fli_py_maker *maker);

/* The same, but makes it, with these options, if there is none. NULL where the OS refuses. Keeps errno. Does not detach and
 * runs no code of the host. */
struct fl_heap *fli_py_maker_make(struct fli_py_maker *maker, const struct fl_py_options *options);

#endif
