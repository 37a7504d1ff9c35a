/* SPDX-License-Identifier: MIT
 *
 * What the copies of Freelane in one process do together. Copies of one version find each other in a list, a capsule in the
 * dict of the main interpreter. The first of them makes the list and joins gc.callbacks, the hooks of os.fork and atexit for
 * all: each later one only enters the list.
 *
 *     a collection, before and after it    each copy begins; the world is stopped once, if any of them wants that, and
 *                                          each of these works; each ends; each drops what may run Python code
 *     a fork, before and after it          each copy in turn
 *     end of the interpreter               likewise
 *
 * So 40 copies stop the world in a full collection as often as one does.
 *
 * The name of the capsule has the version of Freelane and that of the layout of what copies share, which are compiled apart:
 * struct fli_py_copy and struct fli_py_copies. Copies of different versions do not see each other's lists.
 *
 * The object file of a copy stays loaded (base/pin.h), and a copy stays in its list. The list goes with the interpreter. A
 * copy that enters it during a callback takes part in the next one.
 */
#ifndef FLI_PYTHON_COPIES_H
#define FLI_PYTHON_COPIES_H

#include "python/interpreter.h"

/* Raised by each change of what the structs below hold, or of what their functions may expect. */
#define FLI_PY_COPIES_LAYOUT 1

enum fli_py_fork { FLI_PY_FORK_BEFORE, FLI_PY_FORK_IN_PARENT, FLI_PY_FORK_IN_CHILD };

/* A copy, as others of its version see it. Its functions are called with a thread state of the main interpreter. */
struct fli_py_copy {
    struct fli_py_copy *next; /* constant once the copy is in the list */

    /* Of a collection: before it (`starts`) or after it. Returns whether the copy wants the world stopped. */
    bool (*begin)(bool starts, bool full);
    /* If it does, and the world is stopped: neither calls the interpreter nor frees its memory. */
    void (*work_stw)(void);
    void (*end)(bool starts, bool full);
    /* Runs what has waited for a moment like this. */
    void (*resume)(void);

    void (*fork)(enum fli_py_fork when);
    void (*exit)(void);

    bool wants_stop; /* of the thread that runs the callback */
};

/* Enters this copy into the list of the main interpreter, which the calling thread runs. Returns 0, or -1 with an
 * exception. May be called again for the same interpreter, by a caller that has failed afterwards and tries once more: the
 * copy is entered once. */
int fli_py_copies_enter(struct fli_py_copy *copy);

#endif
