/* SPDX-License-Identifier: MIT
 *
 * Dead objects that wait for room on a stack, in lists.
 *
 * An entry of a list is the object itself, linked by the first word of its header, which a dead object does not need.
 * In a free-threaded build this word is the owning thread, and no reader takes the link for one. With the GIL the
 * word is the reference count. Where weak references lead to the object, it has to stay 0, so that they report the
 * object dead. There the entry is a struct fli_py_proxy, marked by the lowest bit. So is the entry of an object of
 * another interpreter than the main one: the proxy says which. Only that interpreter may destroy the object, and an OS
 * thread may run several in turn.
 *
 * A thread's own list needs no lock. What a thread leaves behind at its end becomes orphans: one list for all
 * threads, under the core's registry lock.
 */
#ifndef FLI_PYTHON_WAITING_H
#define FLI_PYTHON_WAITING_H

#include "python/interpreter.h"

/* Makes a dead, untracked object an entry. If memory for a proxy is refused, the main interpreter clears its weak
 * references early, and another one gets NULL. */
void *fli_py_waiting_wrap(PyObject *object);

/* Makes an entry, which is in no list any more, an object again. */
PyObject *fli_py_waiting_unwrap(void *entry);

/* The object of an entry; NULL for NULL. */
PyObject *fli_py_waiting_object(void *entry);

/* Puts an entry first in a list. */
void fli_py_waiting_push(void **list, void *entry);

/* Takes the first entry. Returns NULL if there is none. */
void *fli_py_waiting_pop(void **list);

/* Takes the first entry of an object of the calling thread's interpreter. Returns NULL if there is none. */
void *fli_py_waiting_take(void **list);

/* The same for the orphans. */
void fli_py_waiting_put_orphan(void *entry);
void *fli_py_waiting_take_orphan(void);

#endif
