/* SPDX-License-Identifier: MIT
 *
 * Deallocations inside each other: what destroys an object may drop the next one. An object is destroyed where it is
 * dropped, unless the stack has no room for that. Then it waits in a list of the OS thread.
 *
 *     the stack it is dropped on      it waits
 *     the OS thread's own             if less than the reserve is left, or, far down, few calls of Python functions
 *     another (a fiber's)             if LEVELS deallocations are under way just above it, for OVERDUE_MS at most
 *
 * No frame owns the list. Each deallocation of an object of a kind other than PLAIN that has room destroys what waits
 * when it is done. A collection and the end of a thread state do so too. What an OS thread leaves at its end, the
 * next collection destroys.
 *
 * A destructor may not come back: it may switch to another stack and stay there, or leave by an exception or longjmp.
 * So no state exists that a deallocation would have to undo. Frames of deallocations under way are remembered as
 * addresses, which are compared and never followed: an address counts for what lies just beneath it on the same
 * stack. An address that is out of date makes an object wait without need, until OVERDUE_MS are over.
 *
 * All state here is the OS thread's own.
 */
#ifndef FLI_PYTHON_NEST_H
#define FLI_PYTHON_NEST_H

#include "python/interpreter.h"

struct fli_py_thread;

/* An OS thread's own stack; empty where the C library does not know it. */
struct fli_py_stack {
    uintptr_t low;
    size_t bytes;
};

/* A deallocation under way on another stack. */
struct fli_py_level {
    uintptr_t frame; /* where its frame is */
    unsigned number; /* how many are inside each other down to it */
};

enum { FLI_PY_REGIONS = 16 };

/* What nest.c knows of an OS thread. Frames are addresses, and may be gone. */
struct fli_py_nest {
    struct fli_py_stack stack;
    bool looked;                                /* for the stack */
    struct fli_py_level levels[FLI_PY_REGIONS]; /* by region of addresses, the latest */
    uintptr_t resuming;                         /* the frame that destroys what waits */
    int64_t moved_ms;                           /* when it last took something to destroy */
};

/* Deallocates an object of a kind other than PLAIN, of the exact type, or has it wait. `thread` is the calling one, or
 * NULL if there is none. */
void fli_py_nest_dealloc(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object);

/* Destroys what waits in the calling thread, where there is room for that. */
void fli_py_nest_resume_own(void);

/* The same for the orphans as well. */
void fli_py_nest_resume(void);

/* Makes orphans of what waits in a thread that ends or has ended. */
void fli_py_nest_orphan(struct fli_py_thread *thread);

#endif
