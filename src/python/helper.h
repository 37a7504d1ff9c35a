/* SPDX-License-Identifier: MIT
 *
 * Helpers: threads of the library's own that attach to the main interpreter where no other thread serves in time. Each
 * kind of work has a struct fli_py_helper, and one thread for it at most. It begins when somebody asks for it, and
 * ends when its function returns.
 *
 * The interpreter's end waits for all helpers at work, a fork for those that do not serve, and none begins meanwhile:
 *
 *     end     A thread that attaches while the interpreter ends, is ended at that place. What it had locked, for a stop
 *             of the world, stays locked. So the end begins when no helper will attach any more.
 *     fork    The child has no helper. One that sleeps is no thread of the program, and is sent home. One that serves is
 *             like any other thread that has attached: it may wait for what the forking thread holds.
 *
 * What is said here of all helpers lies under one lock, which no thread holds while it calls the interpreter. It comes
 * before all other locks of the library.
 */
#ifndef FLI_PYTHON_HELPER_H
#define FLI_PYTHON_HELPER_H

#include "base/list.h"
#include "python/interpreter.h"

#include <pthread.h>

struct fli_py_helper {
    /* What the thread does. It has no thread state. It returns soon after fli_py_helper_wait or _goes_on has said so. */
    void (*run)(void);
    /* Whether to run again after that: something came up since. NULL: no. May take the registry lock. */
    bool (*is_needed)(void);
    FLI_ATOMIC(bool) at_work; /* written under the lock */

    /* Under the lock. */
    bool has_begun; /* `thread` is known */
    bool serves;    /* it has attached, or is about to */
    pthread_t thread;
    FLI_LINKS(struct fli_py_helper) links; /* of those at work */
};

/* Lets helpers begin, until the interpreter ends. */
void fli_py_helper_open(void);

/* Begins the helper, unless it is at work or must not begin now. Any thread, without a lock of the library; takes
 * no longer than it takes to start a thread, and does not detach the thread state. */
void fli_py_helper_get(struct fli_py_helper *helper);

/* In a helper: sleeps for so many milliseconds. Returns false at once if the helper is to end. */
bool fli_py_helper_wait(unsigned milliseconds);

/* In a helper: whether it may go on, without a wait. */
bool fli_py_helper_goes_on(void);

/* In a helper: attaches, and calls `serve`. */
void fli_py_helper_serve(struct fli_py_helper *helper, int (*serve)(void *unused));

/* Lets none begin any more, and waits for those at work, which go on as long as one destructor takes. The calling thread has no thread
 * state attached. It may be a helper, for which nobody waits. */
void fli_py_helper_close(void);

/* The same for a fork, but for helpers that serve. It ends in the parent with the second function, in the child with the
 * third. The calling thread has its thread state, and may let others run. */
void fli_py_helper_pause(void);
void fli_py_helper_resume(void);
void fli_py_helper_forked(void);

#endif
